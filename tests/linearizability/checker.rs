//! The checker itself: histories written by hand, of which some cannot have been.

use slotyard::{JobError, JobId, JobState};

use crate::history::{Call, Did, Step, is_linearizable, steps};
use crate::specification::{Life, Op, Slot};

const A: Life = (0, 1);
const AGAIN: Life = (0, 2);
const X: Slot = Slot::Reservation(1);
const Y: Slot = Slot::Reservation(2);

fn job(n: u128) -> JobId {
    JobId::from_u128(n)
}

/// Whether some order explains these, each with the time from its call to its return.
fn explained(history: &[(u64, u64, Op)]) -> bool {
    let step = |(from, to, op): &(u64, u64, Op)| Step { from: *from, to: *to, op: op.clone() };
    is_linearizable(&history.iter().map(step).collect::<Vec<_>>())
}

/// The same after a node of one slot has come.
fn explained_on_one_slot(history: &[(u64, u64, Op)]) -> bool {
    let come = (0, 1, Op::Come { life: A, capacity: 1 });
    explained(&[&[come], history].concat())
}

fn create(request: u8, n: u128, attempt: u32) -> Op {
    Op::Create { request, job: job(n), attempt, life: A }
}

fn end(n: u128, state: JobState) -> Op {
    Op::End { job: job(n), attempt: 1, state }
}

fn first_slot(n: u128) -> Slot {
    Slot::Attempt(job(n), 1)
}

const REFUSED: Op = Op::Refused { spare: 0 };

#[test]
fn what_happens_one_after_the_other_is_explained() {
    assert!(explained_on_one_slot(&[
        (2, 3, create(0, 1, 1)),
        (4, 5, REFUSED),
        (6, 7, create(0, 1, 1)),
        (8, 9, end(1, JobState::Completed)),
        (8, 9, Op::Give(first_slot(1))),
        (10, 11, Op::Selected(A)),
        (12, 13, Op::Take(X, A)),
        (14, 15, Op::Drain(A, true)),
        (16, 17, Op::Give(X)),
        (18, 19, REFUSED),
        (20, 21, Op::Gone(A)),
        (22, 23, Op::Stale(A)),
        (24, 25, Op::Come { life: AGAIN, capacity: 2 }),
        (26, 27, Op::AlreadyThere(AGAIN)),
    ]));
}

#[test]
fn a_slot_is_not_held_twice() {
    assert!(!explained_on_one_slot(&[(2, 9, Op::Take(X, A)), (2, 9, Op::Take(Y, A))]));
    assert!(explained_on_one_slot(&[(2, 9, Op::Take(X, A)), (2, 9, Op::Take(Y, A)), (2, 9, Op::Give(X))]));
    assert!(!explained_on_one_slot(&[(2, 5, Op::Take(X, A)), (2, 5, Op::Take(Y, A)), (6, 9, Op::Give(X))]));
    assert!(!explained_on_one_slot(&[(2, 3, Op::Take(X, A)), (4, 5, create(0, 1, 1))]));
    assert!(!explained_on_one_slot(&[(2, 3, Op::Take(X, A)), (4, 5, Op::Selected(A))]));
}

#[test]
fn a_refusal_is_explained_by_an_instant_without_a_free_slot_only() {
    assert!(!explained_on_one_slot(&[(2, 3, REFUSED)]));
    // The slot was free from before the call on.
    assert!(!explained_on_one_slot(&[(2, 3, Op::Take(X, A)), (4, 5, Op::Give(X)), (6, 7, REFUSED)]));
    // It may not have been yet.
    assert!(explained_on_one_slot(&[(2, 3, Op::Take(X, A)), (4, 7, Op::Give(X)), (5, 8, REFUSED)]));
    // One of two is.
    let two = (2, 3, Op::Capacity(A, 2));
    assert!(!explained_on_one_slot(&[two, (4, 5, Op::Take(X, A)), (6, 7, REFUSED)]));
}

#[test]
fn nobody_lands_on_a_node_after_it_was_taken_out_of_use() {
    for out in [Op::Drain(A, true), Op::Gone(A)] {
        for landing in [Op::Take(X, A), Op::Selected(A), create(0, 1, 1)] {
            assert!(
                !explained_on_one_slot(&[(2, 3, out.clone()), (4, 5, landing.clone())]),
                "{landing:?} after {out:?}"
            );
            assert!(explained_on_one_slot(&[(2, 4, out.clone()), (3, 5, landing)]));
        }
    }
    let back = [(2, 3, Op::Gone(A)), (4, 5, Op::Come { life: AGAIN, capacity: 1 })];
    assert!(!explained_on_one_slot(&[&back[..], &[(6, 7, Op::Take(X, A))]].concat()));
    assert!(explained_on_one_slot(&[&back[..], &[(6, 7, Op::Take(X, AGAIN))]].concat()));
    assert!(!explained_on_one_slot(&[(2, 3, Op::Stale(A))]));
    assert!(!explained_on_one_slot(&[(2, 3, Op::AlreadyThere(AGAIN))]));
}

#[test]
fn a_request_has_one_job() {
    let two = (2, 3, Op::Capacity(A, 2));
    assert!(!explained_on_one_slot(&[two.clone(), (4, 9, create(0, 1, 1)), (4, 9, create(0, 2, 1))]));
    assert!(explained_on_one_slot(&[two, (4, 9, create(0, 1, 1)), (4, 9, create(0, 1, 1))]));
    // Nobody is given a later attempt than there is, nor an earlier one.
    assert!(!explained_on_one_slot(&[(2, 3, create(0, 1, 1)), (4, 5, create(0, 1, 2))]));
    // It is found although there is no slot for another.
    let refused = |excused| Op::CreateRefused { request: 0, spare: 0, excused };
    assert!(!explained_on_one_slot(&[(2, 3, create(0, 1, 1)), (4, 5, refused(false))]));
    assert!(explained_on_one_slot(&[(2, 3, create(0, 1, 1)), (4, 5, refused(true))]));
    assert!(!explained_on_one_slot(&[(2, 3, refused(true))]));
}

#[test]
fn a_create_has_its_slot_before_its_request_is_bound() {
    let take = (2, 9, Op::Take(first_slot(1), A));
    let [meanwhile, unnamed] = [(3, 4, REFUSED), (5, 6, Op::Unnamed(0))];
    let create = (2, 9, create(0, 1, 1));
    assert!(explained_on_one_slot(&[take.clone(), create.clone(), meanwhile.clone(), unnamed.clone()]));
    assert!(!explained_on_one_slot(&[create.clone(), meanwhile.clone(), unnamed.clone()]));
    // It is one slot, and not free when the create has returned.
    assert!(!explained_on_one_slot(&[take.clone(), create.clone(), (10, 11, Op::Take(X, A))]));
    let elsewhere = (2, 9, Op::Take(first_slot(1), AGAIN));
    assert!(!explained_on_one_slot(&[elsewhere, create, meanwhile, unnamed]));
}

#[test]
fn an_attempt_ends_once_and_gives_its_slot_back_once() {
    let created = (2, 3, create(0, 1, 1));
    let completed = (4, 9, end(1, JobState::Completed));
    let given = (4, 9, Op::Give(first_slot(1)));
    let after = |more: &[(u64, u64, Op)]| explained_on_one_slot(&[std::slice::from_ref(&created), more].concat());
    assert!(after(&[completed.clone(), given.clone()]));
    assert!(!after(std::slice::from_ref(&given)));
    assert!(!after(&[completed.clone(), given.clone(), given.clone()]));
    assert!(!after(&[completed.clone(), (4, 9, end(1, JobState::Failed))]));
    // Its slot is free when the call returns.
    assert!(!after(&[completed.clone(), given.clone(), (10, 11, REFUSED)]));
    // Not so when another one knows already that it has ended.
    let ended = |state| Op::AlreadyEnded { job: job(1), attempt: 1, state };
    assert!(after(&[completed.clone(), given.clone(), (5, 6, ended(JobState::Completed)), (7, 8, REFUSED)]));
    assert!(!after(&[completed, given, (5, 6, ended(JobState::Failed))]));
    assert!(!after(&[(4, 5, ended(JobState::Completed))]));
    assert!(!after(&[(4, 5, end(1, JobState::Orphaned))]));
    assert!(after(&[(4, 5, Op::Gone(A)), (4, 5, end(1, JobState::Orphaned))]));
}

#[test]
fn what_is_shown_of_a_job_was_so_at_an_instant() {
    let shown = |attempt, state| Op::Shown { job: job(1), attempt, life: A, state };
    let renew = Op::Renew { job: job(1), attempt: 1 };
    let during =
        |op: Op| explained_on_one_slot(&[(2, 9, create(0, 1, 1)), (8, 12, end(1, JobState::Failed)), (5, 6, op)]);
    let after =
        |op: Op| explained_on_one_slot(&[(2, 3, create(0, 1, 1)), (4, 5, end(1, JobState::Failed)), (6, 7, op)]);
    assert!(during(Op::Unnamed(0)) && during(Op::Named(0, job(1))) && !during(Op::Named(0, job(2))));
    assert!(during(shown(1, JobState::Reserved)));
    assert!(!during(shown(2, JobState::Reserved)) && !during(shown(1, JobState::Failed)));
    assert!(during(renew.clone()) && !after(renew));
    assert!(!after(Op::Unnamed(0)) && after(Op::Named(0, job(1))));
    assert!(after(shown(1, JobState::Failed)));
    assert!(!after(shown(1, JobState::Reserved)) && !after(shown(1, JobState::Expired)));
}

#[test]
fn a_job_is_moved_on_and_never_back() {
    use JobState::{Dispatched, Reserved, Running};
    let step = |state| Op::Move { job: job(1), attempt: 1, state };
    let refused = |state, wanted| Op::NoMove { job: job(1), attempt: 1, state, wanted };
    let one_then = |first: &Op, then: &Op| {
        explained_on_one_slot(&[(2, 3, create(0, 1, 1)), (4, 5, first.clone()), (6, 7, then.clone())])
    };
    assert!(
        one_then(&step(Dispatched), &step(Running)) && one_then(&step(Dispatched), &refused(Dispatched, Dispatched))
    );
    assert!(!one_then(&step(Running), &step(Dispatched)) && one_then(&step(Running), &refused(Running, Dispatched)));
    assert!(!one_then(&step(Dispatched), &refused(Dispatched, Running)));
    assert!(!one_then(&step(Dispatched), &refused(Reserved, Reserved)));
    assert!(!one_then(&end(1, JobState::Failed), &step(Running)));
}

#[test]
fn a_retry_has_both_slots_for_a_while_and_one_in_the_end() {
    let next = Slot::Attempt(job(1), 2);
    let (take, rebind) = (Op::Take(next, A), Op::Rebind { job: job(1), attempt: 2 });
    let before = [(2, 3, Op::Capacity(A, 2)), (4, 5, create(0, 1, 1))];
    let after = |more: &[(u64, u64, Op)]| explained_on_one_slot(&[&before[..], more].concat());
    let retry = [(6, 9, take.clone()), (6, 9, rebind.clone()), (6, 9, Op::Give(first_slot(1)))];
    assert!(after(&[&retry[..], &[(7, 8, REFUSED)]].concat()));
    assert!(!after(&[&retry[..], &[(10, 11, REFUSED)]].concat()));
    assert!(!after(&[(6, 9, rebind.clone())]), "without a slot");
    assert!(!after(&[(6, 7, end(1, JobState::Cancelled)), (8, 9, take), (8, 9, rebind)]));
    let stale = |attempt, current| Op::StaleAttempt { job: job(1), attempt, current };
    assert!(after(&[&retry[..], &[(10, 11, stale(1, 2))]].concat()));
    assert!(!after(&[(6, 7, stale(1, 2))]));
}

/// What is excused is what is documented, and only while it can be.
#[test]
fn a_slot_held_for_a_moment_excuses_refusals_of_that_moment_only() {
    let call = |from, to, did| Call { from, to, did };
    let created = |from, to| call(from, to, Did::Create { request: 0, job: job(1), attempt: 1, life: A });
    let come = call(0, 1, Did::Register { node: 0, capacity: 2, incarnation: 1 });
    let refused = |from, to| call(from, to, Did::Refused);
    let explained = |calls: &[Call]| is_linearizable(&steps(&[std::slice::from_ref(&come), calls].concat(), &[]));
    assert!(explained(&[created(2, 9), created(3, 6), refused(4, 5)]), "both may have had a slot");
    assert!(!explained(&[created(2, 9), refused(4, 5)]), "there was one create");
    assert!(!explained(&[created(2, 5), created(3, 6), refused(7, 8)]), "both had returned");
    assert!(!explained(&[created(2, 3), created(4, 9), refused(5, 6)]), "the second had found the job at once");
    let late = |from, to| {
        call(from, to, Did::RetryDenied(JobError::AlreadyEnded { job: job(1), attempt: 1, state: JobState::Completed }))
    };
    let completed = call(3, 4, Did::End(job(1), 1, JobState::Completed));
    let one_held = call(2, 3, Did::Reserve(7, A));
    assert!(explained(&[created(2, 3), completed.clone(), one_held.clone(), late(2, 8), refused(5, 6)]));
    assert!(!explained(&[created(2, 3), completed, one_held, late(7, 8), refused(5, 6)]));
}
