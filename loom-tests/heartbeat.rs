//! **Coming back**: a job that is created after a heartbeat has brought its node back is not orphaned by the tick that
//! took the node offline; a job on a node that is offline in the end is.
//!
//! A heartbeat and a tick of the same moment may miss one another, then the node is offline until the next heartbeat
//! (see `Core::take_offline`); so the model asks only that job and node agree.
//!
//! Two threads, 2 preemptions. Seen to fail with `Core::take_offline` letting go of the shard's lock before it orphans
//! the node's jobs.

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
            let core = fleet.core.clone();
            move || core.tick(Duration::from_secs(16))
        });
        fleet.core.heartbeat(&fleet.nodes[0], &Heartbeat::ready()).unwrap();
        let request = JobRequest::new("request", Demand::new().service(Service::ASR));
        let job = fleet.core.create_job(&request).ok();
        upkeep.join().unwrap();
        let offline = fleet.word(0).flags().has(Flags::OFFLINE);
        match job {
            None => assert!(offline, "there was a slot"),
            Some(job) if offline => assert_eq!(job.state(), JobState::Orphaned),
            Some(job) => assert_eq!(job.state(), JobState::Reserved, "a job of a node that is up was orphaned"),
        }
        seen.note(if offline { "it stayed offline" } else { "it was never offline" });
        if !offline && fleet.core.stats().counters.refused_gone == 0 {
            seen.note("it went offline and came back");
        }
        assert_eq!(fleet.word(0).in_flight(), u32::from(!offline));
        assert_told(&fleet.core);
    });
}
