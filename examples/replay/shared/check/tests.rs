//! Logs of which one thing is wrong each, which is found; and sound ones.

use super::*;

const SECOND: u64 = 1_000_000;

/// A log of one node with two slots, and leases of two seconds, to which lines are added.
struct Told(Vec<Line>);

impl Told {
    fn new(requests: u64) -> Self {
        let setting = Setting {
            trace: "t".to_owned(),
            nodes_from: "n".to_owned(),
            policy: "p2c".to_owned(),
            seed: 1,
            scale: 1,
            speed: 1.0,
            nodes: 1,
            slots: 2,
            offered_load: 0.5,
            seconds: 0.0,
        };
        let mut told = Self(Vec::new());
        told.say(0, 0, Event::Began { setting, instances: 2, pace: 4.0, requests, lease: 2 * SECOND });
        told.say(0, 1, Event::Node { node: "n".to_owned(), slots: 2 });
        told.say(0, 0, Event::Open { at: 0 });
        told
    }

    fn say(&mut self, at: u64, by: u32, event: Event) -> &mut Self {
        self.0.push(Line { at, by, event });
        self
    }

    /// A process asks, and is given a slot at once.
    fn given(&mut self, at: u64, by: u32, of: &Attempt, slot: u32, fence: u128) -> &mut Self {
        let lease = Lease { attempt: of.clone(), node: "n".to_owned(), slot, fence: Fence(fence) };
        self.say(at, by, Event::Asked { request: of.request.clone() });
        self.say(at, by, Event::Given { lease, call: Call::Create, took: 0 })
    }

    fn ends(&mut self, at: u64, by: u32, of: &Attempt) -> &mut Self {
        self.say(at, by, Event::Ends { of: of.clone() })
    }

    fn ended(&mut self, at: u64, by: u32, of: &Attempt, how: End) -> &mut Self {
        self.say(at, by, Event::Ended { of: of.clone(), how, took: 0 })
    }

    fn settled(&mut self, request: u64) -> &mut Self {
        let request = crate::requests::request_id(request);
        self.say(9 * SECOND, 1, Event::Settled { request, outcome: Settlement::Completed })
    }

    fn left(&mut self, held: u64, taken: u64) -> &mut Self {
        self.say(9 * SECOND, 0, Event::Left { held, taken })
    }

    fn checked(&self) -> Result<Findings, String> {
        let lines = self.0.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        check(&Source::named("log", &lines.collect::<String>())).map_err(|error| error.to_string())
    }

    /// What is broken, and how often; all else holds.
    fn broken(&self) -> Vec<(Broken, u64)> {
        let violations = self.checked().unwrap().violations;
        let counts = Broken::SHARED.map(|broken| (broken, violations.count(broken)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

fn of(request: u64, number: u32) -> Attempt {
    Attempt { request: crate::requests::request_id(request), job: format!("j{request}"), number }
}

#[test]
fn a_sound_log_is_found_sound_and_is_counted() {
    let (a, b, c) = (of(0, 1), of(1, 1), of(1, 2));
    let mut told = Told::new(3);
    told.given(1, 1, &a, 0, 10).given(2, 2, &a, 0, 10).given(3, 1, &b, 1, 10);
    told.ends(4, 2, &a).ended(5, 2, &a, End::Completed);
    // The one who was told of it, too, comes later.
    told.given(6, 2, &of(2, 1), 0, 11).ends(7, 1, &a);
    told.say(8, 1, Event::TurnedDown { of: a, found: "completed".to_owned() });
    told.ends(9, 1, &b).ended(9, 1, &b, End::Failed).given(10, 1, &c, 1, 11);
    told.ends(11, 1, &c).ended(12, 1, &c, End::Completed);
    told.settled(0).settled(1);
    let refused = Settlement::Refused("busy".to_owned());
    told.say(9 * SECOND, 2, Event::Settled { request: "r2".to_owned(), outcome: refused.clone() });
    for round_trips in [5, 7] {
        told.say(9 * SECOND, 1, Event::Counted { stats: Counts { round_trips, ..Counts::default() } });
    }
    told.say(9 * SECOND, 2, Event::Counted { stats: Counts { round_trips: 1, ..Counts::default() } });
    told.left(0, 2);
    let found = told.checked().unwrap();
    assert_eq!(told.broken(), []);
    assert_eq!((found.jobs, found.retried, found.asked_elsewhere, found.ended_elsewhere), (3, 1, 1, 1));
    assert_eq!(found.settled, [(Settlement::Completed, 2), (refused, 1)].into());
    assert_eq!((found.counts.round_trips, found.creates.len(), found.took), (8, 5, 9 * SECOND));
}

#[test]
fn a_request_with_two_jobs_is_found() {
    let mut told = Told::new(1);
    told.given(1, 1, &of(0, 1), 0, 10).given(2, 2, &Attempt { job: "other".to_owned(), ..of(0, 1) }, 1, 10);
    assert_eq!(told.settled(0).left(0, 2).broken(), [(Broken::DuplicateJobs, 1)]);
    let known = Event::Known {
        request: "r0".to_owned(),
        job: "other".to_owned(),
        state: "completed".to_owned(),
        call: Call::Create,
        took: 0,
    };
    let mut told = Told::new(1);
    told.given(1, 1, &of(0, 1), 0, 10).say(2, 2, known);
    assert_eq!(told.settled(0).left(0, 2).broken(), [(Broken::DuplicateJobs, 1)]);
}

#[test]
fn more_leases_than_slots_are_found() {
    let mut told = Told::new(0);
    for slot in 0..3 {
        told.given(1, 1, &of(slot.into(), 1), slot, 10);
    }
    assert_eq!(told.left(0, 2).broken(), [(Broken::OverCapacity, 1)]);
    assert_eq!(Told::new(0).left(0, 3).broken(), [(Broken::OverCapacity, 1)]);
}

#[test]
fn a_slot_that_is_held_twice_is_found() {
    let mut told = Told::new(0);
    told.given(1, 1, &of(0, 1), 0, 10).given(SECOND, 2, &of(1, 1), 0, 11);
    // Said too late, as is that it was ended.
    told.ends(SECOND, 1, &of(0, 1)).ended(SECOND, 1, &of(0, 1), End::Completed);
    assert_eq!(told.left(0, 2).broken(), [(Broken::HeldTwice, 1)]);
    assert!(told.checked().unwrap().violations.examples()[0].contains("line 7: slot 0 of n goes to request r1"));
}

#[test]
fn a_lease_that_ran_out_may_be_taken_and_one_that_began_anew_may_not() {
    let mut told = Told::new(0);
    told.given(1, 1, &of(0, 1), 0, 10).say(2, 0, Event::Killed { process: 1, heir: 2 });
    let sound = |told: &mut Told| told.given(2 * SECOND + 2, 2, &of(1, 1), 0, 11).left(0, 2).broken();
    assert_eq!(sound(&mut Told(told.0.clone())), []);
    // That its process was killed does not end a lease.
    let mut early = Told(told.0.clone());
    early.given(SECOND, 2, &of(1, 1), 0, 11).left(0, 2);
    assert_eq!(early.broken(), [(Broken::HeldTwice, 1)]);
    told.say(SECOND, 1, Event::Moved { of: of(0, 1), took: 0 });
    assert_eq!(sound(&mut told), [(Broken::HeldTwice, 1)]);
    assert_eq!(early.checked().unwrap().killed, 1);
}

#[test]
fn one_that_is_told_of_anothers_lease_does_not_know_when_it_began() {
    let mut told = Told::new(0);
    // Who was given it first was killed before it could say so.
    told.say(1, 1, Event::Asked { request: "r0".to_owned() }).given(SECOND, 2, &of(0, 1), 0, 10);
    assert_eq!(told.given(2 * SECOND + 2, 2, &of(1, 1), 0, 11).left(0, 2).broken(), []);
    told.0.remove(3);
    assert_eq!(told.broken(), [(Broken::HeldTwice, 1)]);
}

#[test]
fn what_the_library_ended_by_itself_is_not_known_to_be_held() {
    let uncertain = [
        Event::TurnedDown { of: of(0, 1), found: ORPHANED.to_owned() },
        Event::Refused {
            request: "r0".to_owned(),
            reason: "coordinator".to_owned(),
            call: Call::Create,
            took: 0,
            uncertain: true,
        },
    ];
    for event in uncertain {
        let mut told = Told::new(0);
        told.given(1, 1, &of(0, 1), 0, 10).given(SECOND, 2, &of(1, 1), 0, 11).say(SECOND, 1, event);
        assert_eq!(told.left(0, 2).broken(), []);
        told.0.remove(7);
        assert_eq!(told.broken(), [(Broken::HeldTwice, 1)]);
    }
}

#[test]
fn a_fence_that_falls_or_comes_again_is_found() {
    for fence in [10, 9] {
        let mut told = Told::new(0);
        told.given(1, 1, &of(0, 1), 0, 10).ends(2, 1, &of(0, 1)).given(3, 2, &of(1, 1), 0, fence);
        assert_eq!(told.left(0, 2).broken(), [(Broken::FenceFell, 1)], "{fence}");
    }
    // Told late, of a lease that had run out by then.
    let mut told = Told::new(0);
    told.given(3 * SECOND, 2, &of(1, 1), 0, 11);
    let lease = Lease { attempt: of(0, 1), node: "n".to_owned(), slot: 0, fence: Fence(10) };
    told.say(1, 1, Event::Asked { request: "r0".to_owned() });
    told.say(4 * SECOND, 1, Event::Given { lease, call: Call::Create, took: 4 * SECOND - 1 });
    assert_eq!(told.left(0, 2).broken(), []);
}

#[test]
fn an_attempt_that_is_ended_twice_and_a_job_that_goes_on_after_its_end_are_found() {
    let mut told = Told::new(0);
    told.given(1, 1, &of(0, 1), 0, 10).ends(2, 1, &of(0, 1)).ended(3, 1, &of(0, 1), End::Completed);
    told.ended(4, 2, &of(0, 1), End::Cancelled);
    assert_eq!(told.left(0, 2).broken(), [(Broken::DoubleRelease, 1)]);
    for (how, broken) in [(End::Completed, 1), (End::Cancelled, 1), (End::Failed, 0)] {
        let mut told = Told::new(0);
        told.given(1, 1, &of(0, 1), 0, 10).ends(2, 1, &of(0, 1)).ended(3, 1, &of(0, 1), how);
        told.given(4, 2, &of(0, 2), 1, 10).left(0, 2);
        assert_eq!(told.checked().unwrap().violations.count(Broken::DoubleRelease), broken, "{how:?}");
    }
}

#[test]
fn what_is_left_undone_is_found() {
    assert_eq!(Told::new(2).settled(1).left(0, 2).broken(), [(Broken::Unsettled, 1)]);
    assert_eq!(Told::new(0).left(3, 2).broken(), [(Broken::SlotsHeldAtEnd, 1)]);
    assert_eq!(Told::new(0).left(0, 1).broken(), [(Broken::SlotsHeldAtEnd, 1)]);
}

#[test]
fn what_processes_complain_of_is_found() {
    let misplaced = Event::Misplaced { request: "r0".to_owned(), node: "n".to_owned() };
    assert_eq!(Told::new(0).say(1, 1, misplaced).left(0, 2).broken(), [(Broken::Misplaced, 1)]);
    let unexpected = Event::Unexpected { what: "no".to_owned() };
    assert_eq!(Told::new(0).say(1, 1, unexpected).left(0, 2).broken(), [(Broken::UnexpectedAnswers, 1)]);
}

#[test]
fn lines_that_do_not_follow_are_refused_with_their_place() {
    let error = |told: &mut Told| told.checked().unwrap_err();
    assert_eq!(error(&mut Told(Vec::new())), "log:1:1: expected a log that begins with a line `began`");
    assert!(error(&mut Told::new(0)).starts_with("log:3:1: expected a log that ends with a line `left`"));
    let mut told = Told::new(0);
    let began = told.0[0].event.clone();
    assert_eq!(error(told.say(1, 0, began).left(0, 2)), "log:4:1: expected `began` in the first line alone");
    let again = Event::Node { node: "n".to_owned(), slots: 1 };
    assert_eq!(error(Told::new(0).say(1, 1, again).left(0, 2)), "log:4:1: expected each node once, found n again");
    let lease = Lease { attempt: of(0, 1), node: "m".to_owned(), slot: 0, fence: Fence(1) };
    let given = Event::Given { lease, call: Call::Create, took: 0 };
    let error_of_node = "log:4:1: expected a node that was registered before, found m";
    assert_eq!(error(Told::new(0).say(1, 1, given).left(0, 2)), error_of_node);
    let not_given = "log:4:1: expected an attempt that was given before, found request r0, job j0, attempt 1";
    assert_eq!(error(Told::new(0).ends(1, 1, &of(0, 1)).left(0, 2)), not_given);
    assert_eq!(error(Told::new(0).ended(1, 1, &of(0, 1), End::Failed).left(0, 2)), not_given);
    let moved = Event::Moved { of: of(0, 1), took: 0 };
    assert_eq!(error(Told::new(0).say(1, 1, moved).left(0, 2)), not_given);
}
