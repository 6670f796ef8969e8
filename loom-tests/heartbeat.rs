//! **Coming back**: a job that is created after a heartbeat has brought its node back is not orphaned by the tick that
//! took the node offline; a job on a node that is offline in the end is.
//!
//! A heartbeat and a tick of the same moment may miss one another, then the node is offline until the next heartbeat, or
//! for the moment until the tick sees that it has come (see `Core::take_offline`); so the model asks only that job and
//! node agree.
//!
//! **Reports**: what a node has reported of others' jobs fades from the last report on, and never below it because of an
//! earlier one; the capacity in the word is in line with that.
//!
//! Two threads, 2 preemptions each. Seen to fail with:
//! - `Core::take_offline` letting go of the shard's lock before it orphans the node's jobs: first model;
//! - `Core::fade` reading the report once, before it changes the basis: second model;
//! - `Core::note_heartbeat` changing the basis only when it is another: second model;
//! - `Cell::change_basis` without the revision: second model.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::node::word::Flags;
use crate::{Demand, Heartbeat, JobRequest, JobState};

#[test]
fn a_job_of_a_node_that_is_back_is_left_alone() {
    explore(2, &["it was never offline", "it went offline and came back", "it stayed offline"], |seen| {
        let fleet = Fleet::new([1]);
        let upkeep = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                fleet.core.tick(Duration::from_secs(16));
                fleet.stir();
            }
        });
        fleet.stir();
        fleet.core.heartbeat(&fleet.nodes[0], &Heartbeat::ready()).unwrap();
        fleet.stir();
        let request = JobRequest::new("request", Demand::new().service(Service::ASR));
        let job = fleet.core.create_job(&request, &crossbeam_epoch::pin()).ok();
        upkeep.join().unwrap();
        let offline = fleet.word(0).flags().has(Flags::OFFLINE);
        let created = job.is_some();
        match job {
            None if offline => {}
            None => seen.note("it was offline for a moment"),
            Some(job) if offline => assert_eq!(job.state(), JobState::Orphaned),
            Some(job) => assert_eq!(job.state(), JobState::Reserved, "a job of a node that is up was orphaned"),
        }
        seen.note(if offline { "it stayed offline" } else { "it was never offline" });
        if !offline && fleet.core.stats().counters.refused_gone == 0 {
            seen.note("it went offline and came back");
        }
        assert_eq!(fleet.word(0).in_flight(), u32::from(created && !offline));
        assert_told(&fleet.core);
    });
}

#[test]
fn a_report_is_not_faded_by_an_earlier_one() {
    // Others' 5 jobs count for 3 after half of the decay and for 1 near its end; 3 that are reported at that time count
    // for 3, or for 2 when the clock has moved on since.
    explore(2, &["it is faded", "it has just come"], |seen| {
        let minute = Duration::from_secs(60);
        let times = |builder: SchedulerBuilder| builder.heartbeat_timeout(minute).external_load_decay(minute / 2);
        let fleet = Fleet::of(scheduler(times), [8]);
        let report = |jobs| fleet.core.heartbeat(&fleet.nodes[0], &Heartbeat::ready().running(jobs));
        report(5).unwrap();
        fleet.core.tick(Duration::from_secs(15));
        let faded = fleet.core.cells.at(0).basis().external;
        assert_eq!(faded, 3);
        let upkeep = thread::spawn({
            let core = fleet.core.clone();
            move || core.tick(Duration::from_secs(29))
        });
        report(3).unwrap();
        upkeep.join().unwrap();
        let external = fleet.core.cells.at(0).basis().external;
        assert!((2..=3).contains(&external), "of 3 reported just now {external} are left");
        seen.note(if external == 2 { "it is faded" } else { "it has just come" });
        assert_eq!(fleet.word(0).capacity(), 8 - u32::from(external));
    });
}
