//! **Sessions that spread**: a job is not put on the node of the session's last job, whoever of several was the last; and a
//! node that was the last is not kept off any more when it is gone, nor another one that has its cell.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | two jobs of a session at once, and then a third | 2 | 1 |
//! | a job of a session, while its node goes and another gets its cell, and then a second | 2 | 1 |
//!
//! Seen to fail by `cargo xtask mutants-loom spread`.

use loom::thread;

use super::*;
use crate::capability::ExclusionMode;
use crate::job::Job;
use crate::{Demand, JobRequest, SessionMode};

/// Another job of the session, which keeps off the last node, whatever that means.
fn create(core: &Core, id: &str) -> Option<Job> {
    let request = JobRequest::new(id, Demand::new().service(Service::ASR)).session("session");
    let request = request.session_mode(SessionMode::Spread(ExclusionMode::Hard));
    core.create_job(&request, &crossbeam_epoch::pin()).ok()
}

#[test]
fn the_third_job_keeps_off_the_last_node() {
    explore(1, &["both were on one node", "they were on two nodes"], |seen| {
        let fleet = Fleet::new([3, 3]);
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || create(&core, "first").expect("a slot is free")
        });
        let mine = create(&fleet.core, "second").expect("a slot is free");
        let other = other.join().unwrap();
        let third = create(&fleet.core, "third").expect("there is another node");
        if mine.node_id() == other.node_id() {
            assert_ne!(third.node_id(), mine.node_id(), "the last node has it");
            seen.note("both were on one node");
        } else {
            seen.note("they were on two nodes");
        }
        assert_eq!(fleet.core.stats().now.sessions, 1);
        let fourth = create(&fleet.core, "fourth").expect("there is another node");
        assert_ne!(fourth.node_id(), third.node_id(), "the last node has it");
        assert_told(&fleet.core);
    });
}

#[test]
fn one_in_the_cell_of_the_last_node_is_not_kept_off() {
    explore(1, &["the other has the cell", "it was created before", "it was created after"], |seen| {
        let fleet = Fleet::new([1]);
        let old = fleet.nodes[0].node.clone();
        // So that the pool stays.
        fleet.core.register(NodeSpec::new("full").capabilities(asr())).unwrap();
        let creator = thread::spawn({
            let core = fleet.core.clone();
            move || {
                let job = create(&core, "first");
                crossbeam_epoch::pin().flush();
                job
            }
        });
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        for _ in 0..4 {
            crossbeam_epoch::pin().flush();
        }
        let new = add_node(&fleet.core, "new", 2);
        if new.cell == old.cell {
            seen.note("the other has the cell");
        }
        let first = creator.join().unwrap();
        let is_on_old = first.as_ref().is_some_and(|job| job.incarnation() == old.incarnation);
        let is_on_new = first.as_ref().is_some_and(|job| job.incarnation() == new.incarnation());
        match create(&fleet.core, "second") {
            Some(second) => {
                assert!(!is_on_new, "the last node has it");
                assert_eq!(second.incarnation(), new.incarnation());
            }
            None => assert!(is_on_new, "the last node is gone, and another was kept off for it"),
        }
        if is_on_old {
            seen.note("it was created before");
        }
        if is_on_new {
            seen.note("it was created after");
        }
        drop(first);
        assert_told(&fleet.core);
        reclaim(|| fleet.core.cells.at(old.cell).word().generation() != old.generation);
    });
}
