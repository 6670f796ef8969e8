//! **The wheel of leases**: a place whose job has a lease is looked at by the first turn that begins after both the entry
//! and its deadline, even if a turn went past its bucket while it was entered, or took off the note on which it relies.
//!
//! Two threads, 5 preemptions; three, 3 preemptions, in the last model; four buckets.
//!
//! Seen to fail by `cargo xtask mutants-loom wheel`; and, before the wheel was linked through places, without either fence
//! between a bucket and the cursor.

use loom::thread;

use super::*;
use crate::job::{Places, Wheel};
use crate::sync::{AtomicU64, Fenced, Ordering};

struct Wheeled {
    wheel: Wheel,
    places: Places,
    /// When the lease of the job at place 0 runs out; 0: there is none.
    deadline: AtomicU64,
}

impl Wheeled {
    fn new() -> Arc<Self> {
        let places = Places::new();
        places.ensure(0);
        Arc::new(Self { wheel: Wheel::new(1), places, deadline: AtomicU64::new(0) })
    }

    /// A job with this lease begins.
    fn begin(&self, deadline: u64) {
        // Relaxed: that a turn sees it is the wheel's to see to.
        self.deadline.store(deadline, Ordering::Relaxed);
        self.wheel.note((self.places.at(0), 0), deadline, 0, Fenced::here());
    }

    /// Whether the lease was found to have run out. One that has not is entered again, as whoever looks does.
    fn turn(&self, now: u64) -> bool {
        let mut out = false;
        self.wheel.turn(&self.places, now, |place| match self.deadline.load(Ordering::Relaxed) {
            0 => {}
            deadline if deadline <= now => out = true,
            deadline => self.wheel.note((self.places.at(place), place), deadline, 0, Fenced::here()),
        });
        out
    }
}

#[test]
fn a_lease_entered_while_the_wheel_turns_is_not_lost() {
    for deadline in [1, 2, 3, 9] {
        let outcomes: &[_] = if deadline < 3 { &["it came in the first turn", "it came in the second"] } else { &[] };
        explore(5, outcomes, move |seen| {
            let wheel = Wheeled::new();
            let entering = thread::spawn({
                let wheel = wheel.clone();
                move || wheel.begin(deadline)
            });
            let first = wheel.turn(2);
            entering.join().unwrap();
            seen.note(if first { "it came in the first turn" } else { "it came in the second" });
            assert!(!first || deadline <= 2, "it came too early");
            assert!(wheel.turn(deadline.max(3)) || first, "a lease was lost");
        });
    }
}

#[test]
fn a_lease_that_runs_out_before_the_note_is_not_lost() {
    explore(5, &["it came in the first turn", "it came in the second"], |seen| {
        let wheel = Wheeled::new();
        wheel.begin(3);
        let entering = thread::spawn({
            let wheel = wheel.clone();
            move || wheel.begin(2)
        });
        let first = wheel.turn(2);
        entering.join().unwrap();
        seen.note(if first { "it came in the first turn" } else { "it came in the second" });
        assert!(wheel.turn(2) || first, "a lease was lost");
    });
}

#[test]
fn a_lease_that_relies_on_a_note_taken_off_meanwhile_is_not_lost() {
    explore(5, &["it was entered anew"], |seen| {
        let wheel = Wheeled::new();
        // The note of a job that has ended.
        wheel.begin(2);
        wheel.deadline.store(0, Ordering::Relaxed);
        let entering = thread::spawn({
            let wheel = wheel.clone();
            move || wheel.begin(3)
        });
        assert!(!wheel.turn(2), "it came too early");
        entering.join().unwrap();
        seen.note("it was entered anew");
        assert!(wheel.turn(3), "a lease was lost");
    });
}

/// A place with the notes of jobs that have ended: one in a bucket which the turns of the models do not come to, and a
/// shorter one, apart.
fn with_notes(shorter: u64) -> Arc<Wheeled> {
    let wheel = Wheeled::new();
    wheel.begin(7);
    wheel.begin(shorter);
    wheel.deadline.store(0, Ordering::Relaxed);
    wheel
}

#[test]
fn a_lease_that_relies_on_an_entry_apart_handed_out_meanwhile_is_not_lost() {
    for (shorter, deadline) in [(1, 1), (1, 2), (2, 2), (1, 6)] {
        let outcomes = ["it came in the second turn", "it came in the first turn"];
        explore(5, &outcomes[..if deadline == 1 { 2 } else { 1 }], move |seen| {
            let wheel = with_notes(shorter);
            let entering = thread::spawn({
                let wheel = wheel.clone();
                move || wheel.begin(deadline)
            });
            let first = wheel.turn(1);
            entering.join().unwrap();
            seen.note(outcomes[usize::from(first)]);
            assert!(!first || deadline == 1, "it came too early");
            assert!(wheel.turn(deadline) || first, "a lease was lost");
        });
    }
}

#[test]
fn leases_of_two_attempts_entered_while_the_wheel_turns_are_not_lost() {
    explore(3, &["the first attempt's is the last", "the second attempt's is the last"], |seen| {
        let wheel = with_notes(3);
        let [first, second] = [2, 1].map(|deadline| {
            let wheel = wheel.clone();
            thread::spawn(move || wheel.begin(deadline))
        });
        let early = wheel.turn(1);
        first.join().unwrap();
        second.join().unwrap();
        let last = wheel.deadline.load(Ordering::Relaxed);
        seen.note(if last == 2 { "the first attempt's is the last" } else { "the second attempt's is the last" });
        assert!(wheel.turn(last) || early && last == 1, "a lease was lost");
    });
}
