//! **Creates beside one another, and beside ends**: of three creates of one request id all have the same job, and one slot is
//! held for it; one that comes while the job of its id ends has that job, or, when it is forgotten, a new one; and a job is
//! found by the tick at which its lease has run out, and by whoever orphans the jobs of its node, wherever its create has got to.
//!
//! As `one_job`, which has two creates, and nodes that go.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | the ends of three creates, each of which has a slot | 3 | 1 |
//! | a create, and the lease of the job of its id runs out | 2 | 2 |
//! | the same, and the job is forgotten at once | 2 | 2 |
//! | a create, and the job of its id is completed and remembered | 2 | 3 |
//! | a create, and the ticks at which its lease runs out | 2 | 2 |
//! | the end of a create, step by step, and its node goes offline, under a pin from before | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom creates`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::core::selecting::{Asked, Extra};
use crate::job::{End, Job, Wish};
use crate::node::word::Flags;
use crate::{CreateJobError, Demand, JobRequest, JobState, SessionMode};

const LEASE: u64 = 10;

fn request() -> JobRequest {
    let request = JobRequest::new("request", Demand::new().service(Service::ASR));
    request.lease(Duration::from_millis(LEASE))
}

fn create(core: &Core) -> Result<Job, CreateJobError> {
    core.create_job(&request(), &crossbeam_epoch::pin())
}

/// Slots that are held, and that were given back.
fn slots(fleet: &Fleet) -> (u32, u64) {
    (fleet.word(0).in_flight(), fleet.core.stats().counters.released)
}

/// What threads may have that are joined before it goes.
fn until_joined<T: ?Sized>(value: &T) -> &'static T {
    // SAFETY: its one user keeps the value until it has joined them.
    unsafe { &*std::ptr::from_ref(value) }
}

#[test]
fn three_creates_of_one_request_make_one_job() {
    explore(1, &["the first entered it", "the second entered it", "the third entered it"], |seen| {
        let (fleet, request) = (Fleet::new([3]), request());
        let (core, request) = (until_joined(&*fleet.core), until_joined(&request));
        // None has found a job, and each has a slot: all of that is over before the first of them enters one. Nor do they
        // pin: what is taken back was not entered, and nobody else has seen it.
        let creators = [(); 3].map(|()| {
            let (key, here) = (core.prehash(&*request.request_id), core.here());
            let spot = core.jobs.find(&key, unpinned()).err().expect("there is no job yet");
            let vacancy = core.jobs.vacancy(here, unpinned()).expect("there is room");
            let held = core.hold(vacancy.number(), Asked::Plain(&request.demand), Extra::default(), unpinned());
            let (mode, kinds) = (SessionMode::default(), &core.kinds);
            let wish = Wish { request, mode, lease: LEASE, now: 0, deadline: LEASE, kinds };
            let held = held.expect("a slot is free");
            move || match core.begin(vacancy, held, wish, &key, spot, here, unpinned()) {
                Some((job, _)) => (true, job),
                None => {
                    let record = core.jobs.find(&key, unpinned()).ok().expect("another has entered one");
                    (
                        false,
                        core.repeated(record, request).expect("it is not forgotten").expect("it is the same request"),
                    )
                }
            }
        });
        let [first, second, third] = creators;
        let (second, third) = (thread::spawn(second), thread::spawn(third));
        let jobs = [first(), second.join().unwrap(), third.join().unwrap()];
        let [entered] = jobs.iter().enumerate().filter(|(_, job)| job.0).map(|(by, _)| by).collect::<Vec<_>>()[..]
        else {
            panic!("one of them enters it: {jobs:?}")
        };
        assert!(jobs.iter().all(|(_, job)| job.id() == jobs[0].1.id() && job.attempt() == 1), "{jobs:?}");
        assert_eq!(jobs[0].1.state(), JobState::Reserved);
        let counters = fleet.core.stats().counters;
        assert_eq!((counters.created, counters.repeated, slots(&fleet)), (1, 2, (1, 2)));
        assert_eq!(fleet.core.stats().now.jobs, 1);
        seen.note(["the first entered it", "the second entered it", "the third entered it"][entered]);
        assert_told(&fleet.core);
    });
}

/// A create while this is done to the job of its id, which it leaves in this state.
fn create_beside(preemptions: usize, finished: usize, end: fn(&Core, &Job), state: JobState) {
    let outcomes: &[_] =
        if finished > 0 { &["it got the old job"] } else { &["it got the old job", "it got a new job"] };
    explore(preemptions, outcomes, move |seen| {
        let fleet = Fleet::of(scheduler(|builder| builder.max_finished_jobs(finished)), [1]);
        let old = create(&fleet.core).unwrap();
        fleet.core.clock.advance(LEASE);
        let ender = thread::spawn({
            let (core, old) = (fleet.core.clone(), old.clone());
            move || end(&core, &old)
        });
        let created = create(&fleet.core).expect("the slot was the job's, or free");
        ender.join().unwrap();
        assert_eq!(old.state(), state);
        if created.id() == old.id() {
            assert_eq!((created.attempt(), slots(&fleet)), (1, (0, 1)));
            seen.note("it got the old job");
        } else {
            assert_eq!(finished, 0, "it is remembered");
            assert_eq!((created.state(), slots(&fleet)), (JobState::Reserved, (1, 1)));
            seen.note("it got a new job");
        }
        assert_told(&fleet.core);
    });
}

fn expire(core: &Core, job: &Job) {
    core.look_at_lease(job.place(), LEASE, &crossbeam_epoch::pin());
}

#[test]
fn a_create_while_the_lease_of_the_job_runs_out() {
    create_beside(2, 4, expire, JobState::Expired);
}

#[test]
fn a_create_while_the_job_expires_and_is_forgotten() {
    create_beside(2, 0, expire, JobState::Expired);
}

#[test]
fn a_create_while_the_job_is_completed() {
    let complete = |core: &Core, job: &Job| core.end(job.id(), 1, End::Completed, &crossbeam_epoch::pin()).unwrap();
    create_beside(3, 4, complete, JobState::Completed);
}

#[test]
fn a_create_while_its_own_lease_runs_out() {
    explore(2, &["its lease began before", "its lease began at the tick"], |seen| {
        let fleet = Fleet::new([1]);
        let upkeep = thread::spawn({
            let core = fleet.core.clone();
            move || core.tick(Duration::from_millis(LEASE))
        });
        let job = create(&fleet.core).expect("a slot is free");
        upkeep.join().unwrap();
        let early = fleet.core.tick_and_state(&job, LEASE);
        let late = fleet.core.tick_and_state(&job, 2 * LEASE);
        assert_eq!(late, JobState::Expired, "its lease has run out, and nobody has seen it");
        seen.note(if early == JobState::Expired { "its lease began before" } else { "its lease began at the tick" });
        assert_eq!(slots(&fleet), (0, 1));
        assert_told(&fleet.core);
    });
}

impl Core {
    fn tick_and_state(&self, job: &Job, now: u64) -> JobState {
        self.tick(Duration::from_millis(now));
        job.state()
    }
}

/// As the last model of `one_job`, but for the pin, which is there before the node is taken out of use, as in
/// `Core::take_out`: so it has no part in the order of that and the look at the node's jobs.
#[test]
fn a_job_that_is_entered_while_its_node_goes_offline_under_a_pin_from_before() {
    explore(2, &["its owner has seen it", "the job was orphaned"], |seen| {
        let fleet = Fleet::new([1]);
        let (core, pin, request) = (&fleet.core, crossbeam_epoch::pin(), request());
        let (key, here) = (core.prehash(&request.request_id), core.here());
        let spot = core.jobs.find(&key, &pin).err().expect("there is no job");
        let vacancy = core.jobs.vacancy(here, &pin).expect("there is room");
        let other = thread::spawn({
            let fleet = fleet.clone();
            move || {
                let pin = crossbeam_epoch::pin();
                fleet.core.cells.at(0).change(fleet.nodes[0].node.generation, |word| word.with_flags(Flags::OFFLINE));
                fleet.stir();
                fleet.core.orphan_jobs(&fleet.nodes[0].node, &pin);
                fleet.stir();
            }
        });
        let asked = Asked::Plain(&request.demand);
        let Ok(held) = core.hold(vacancy.number(), asked, Extra::default(), &pin) else {
            drop(vacancy);
            return other.join().unwrap();
        };
        let (mode, lease, deadline, kinds) = (SessionMode::default(), LEASE, LEASE, &core.kinds);
        let wish = Wish { request: &request, mode, lease, now: 0, deadline, kinds };
        let (place, record, _kept) = vacancy.fill(wish, held, &pin);
        assert!(core.jobs.enter((place, record.place), &key, spot, &pin));
        one_job::assert_orphaned_by_one(&fleet, &record, other, seen);
    });
}
