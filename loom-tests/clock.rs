//! **The coarse clock** goes on for everybody: nobody reads an earlier time than he, or whoever he has heard from, has read
//! before, whatever times it is moved on to and by whom. And a lease begins when its slot was taken, not when the create was
//! called: so it does not run out early because choosing a node took long.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | two move it on, to times in no order, and one reads | 3 | 5 |
//! | it is moved on while a policy chooses a node | 2 | 3 |
//!
//! Seen to fail by `cargo xtask mutants-loom clock`.

use std::sync::{OnceLock, Weak};
use std::time::Duration;

use loom::thread;

use super::*;
use crate::clock::Clock;
use crate::select::{Choose, Drawing};
use crate::{Demand, JobRequest, JobState, Policy};

#[test]
fn time_goes_on_for_all() {
    explore(5, &["the later time came first", "the later time came last"], |seen| {
        let clock = Arc::new(Clock::new());
        let move_on = |to| {
            let clock = clock.clone();
            move || {
                let reached = clock.advance(to);
                assert!(reached >= to && clock.now() >= reached, "the time has not come");
                reached
            }
        };
        let others = [thread::spawn(move_on(5)), thread::spawn(move_on(3))];
        let first = clock.now();
        assert!(clock.now() >= first, "time went back");
        let [_, earlier] = others.map(|other| other.join().unwrap());
        seen.note(if earlier == 5 { "the later time came first" } else { "the later time came last" });
        assert_eq!(clock.now(), 5);
    });
}

/// Reads the clock, and notes the time.
#[derive(Debug, Default)]
struct Slow {
    core: OnceLock<Weak<Core>>,
    chosen_at: AtomicU64,
}

#[derive(Debug)]
struct Noted(Arc<Slow>);

impl Choose for Noted {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let core = self.0.core.get().and_then(Weak::upgrade).expect("it is not used before");
        self.0.chosen_at.store(core.clock.now(), Ordering::Relaxed);
        drawing.draw()
    }
}

#[test]
fn a_lease_begins_when_its_node_is_chosen() {
    const LEASE: u64 = 10;
    explore(3, &["time has passed before", "no time has passed before"], |seen| {
        let slow = Arc::<Slow>::default();
        let policy = Policy::custom(Noted(slow.clone()));
        let fleet = Fleet::of(scheduler(|builder| builder.policy(policy)), [1]);
        slow.core.set(Arc::downgrade(&fleet.core)).expect("it is set once");
        let upkeep = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.core.clock.advance(5);
            }
        });
        let request = JobRequest::new("request", Demand::new().service(Service::ASR));
        let request = request.lease(Duration::from_millis(LEASE));
        let job = fleet.core.create_job(&request, &crossbeam_epoch::pin()).unwrap();
        upkeep.join().unwrap();
        let chosen_at = slow.chosen_at.load(Ordering::Relaxed);
        seen.note(if chosen_at > 0 { "time has passed before" } else { "no time has passed before" });
        fleet.core.tick(Duration::from_millis(chosen_at + LEASE - 1));
        assert_eq!(job.state(), JobState::Reserved, "its lease ran out early");
        fleet.core.tick(Duration::from_millis(5 + LEASE));
        assert_eq!(job.state(), JobState::Expired);
    });
}
