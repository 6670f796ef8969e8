//! **Renewal**: a lease whose renewal has returned is not ended by a tick that looked at the old deadline, however the
//! two come to lie; and a lease that has run out is not revived.
//!
//! Two threads, 3 preemptions.
//!
//! Seen to fail by `cargo xtask mutants-loom lease`. A bit of the binding that flips with each renewal, as was here
//! once, fails with two renewals: the second model.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::job::End;
use crate::{Demand, JobRequest, JobState};

/// A tick that finds the lease's first deadline come, against so many renewals.
fn renewed_while_it_expires(renewals: u32) {
    explore(3, &["it was renewed", "it expired"], move |seen| {
        let fleet = Fleet::new([1]);
        let request = JobRequest::new("request", Demand::new().service(Service::ASR));
        let job = fleet.core.create_job(&request.lease(Duration::from_millis(10)), &crossbeam_epoch::pin()).unwrap();
        // It is just so late that the lease runs out.
        fleet.core.clock.advance(10);
        let upkeep = thread::spawn({
            let (core, place) = (fleet.core.clone(), job.place());
            move || core.look_at_lease(place, 10, &crossbeam_epoch::pin())
        });
        let renewed = (0..renewals).filter(|_| fleet.core.renew(job.id(), 1).is_ok()).count();
        assert!(renewed == 0 || renewed == renewals as usize, "a lease that has run out was revived, or the reverse");
        upkeep.join().unwrap();
        if renewed > 0 {
            assert_eq!(job.state(), JobState::Reserved, "a lease that was renewed has expired");
            fleet.core.end(job.id(), 1, End::Completed, &crossbeam_epoch::pin()).unwrap();
            seen.note("it was renewed");
        } else {
            assert_eq!(job.state(), JobState::Expired);
            seen.note("it expired");
        }
        assert_eq!(fleet.word(0).in_flight(), 0);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_renewed_lease_does_not_expire() {
    renewed_while_it_expires(1);
}

#[test]
fn a_lease_renewed_twice_does_not_expire() {
    renewed_while_it_expires(2);
}
