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
//! **Late**: a heartbeat that finds the cell another node's by the time it writes is not taken for that one's; and one that
//! begins when the node is gone is refused, and changes nothing.
//!
//! Two threads, 2 preemptions each. With 3 the first model fails: a create that takes its slot before the tick, and enters its
//! job while the tick is about to see the heartbeat, orphans the job of a node that stays. `limitations` says so.
//!
//! Seen to fail by `cargo xtask mutants-loom heartbeat`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::node::word::Flags;
use crate::{Demand, Heartbeat, JobRequest, JobState, ResourceUse};

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

#[test]
fn a_late_heartbeat_is_not_taken_for_that_of_the_next_node() {
    let outcomes =
        ["it was in time", "it was refused", "what the next one has said is lost", "the next one is heard of"];
    explore(2, &outcomes, |seen| {
        let fleet = Fleet::new([1]);
        let usage = |share| Heartbeat::ready().resources(ResourceUse { cpu: share, ..Default::default() });
        // So that the pool stays.
        fleet.core.register(NodeSpec::new("full").capabilities(asr())).unwrap();
        let late = thread::spawn({
            let fleet = fleet.clone();
            let beat = usage(0.5);
            move || fleet.core.heartbeat(&fleet.nodes[0], &beat).is_ok()
        });
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        assert!(fleet.core.heartbeat(&fleet.nodes[0], &usage(0.25)).is_err(), "it is not registered any more");
        // Vacates the cell, unless the other is in the way.
        for _ in 0..2 {
            crossbeam_epoch::pin().flush();
        }
        let new = add_node(&fleet.core, "new", 1);
        assert!(fleet.core.heartbeat(&fleet.nodes[0], &usage(0.25)).is_err(), "its cell may be the next one's by now");
        fleet.core.heartbeat(&new, &usage(0.75)).unwrap();
        seen.note(if late.join().unwrap() { "it was in time" } else { "it was refused" });
        let cell = fleet.core.cells.at(new.cell);
        let shown = fleet.core.node("new").unwrap().resources.cpu;
        assert!(shown == 0.0 || (shown - 0.75).abs() < 0.001, "the next node uses {shown}, it is shown");
        if shown == 0.0 {
            seen.note("what the next one has said is lost");
        }
        if cell.heard(new.generation).is_some() {
            seen.note("the next one is heard of");
        }
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}
