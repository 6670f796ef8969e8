//! **One request, one job, one slot**: of creates of one request id, however many at once, all that succeed have the
//! same job, and one slot is held for it; a slot that another one took meanwhile is given back. No slot is lost to a
//! node that goes away while a job is created on it: the job is refused, or orphaned.
//!
//! All of it is the real `Core::create_job`, with the real table of requests and pinning with the real epoch.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | two creates, two slots | 2 | 1 |
//! | two creates, one slot: one of them may be told busy | 2 | 1 |
//! | two creates, no slot, one comes free meanwhile | 3 | 1 |
//! | a create, and the end of the job that has its id, which is forgotten at once | 2 | 2 |
//! | two creates, and then the jobs of the node are orphaned | 2 | 1 |
//! | a create, and the node is deregistered | 2 | 2 |
//! | a create, and the node's heartbeats are found to have stopped | 2 | 2 |
//! | the end of a create, step by step, and the node goes offline | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom one_job`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::core::selecting::{Asked, Extra};
use crate::job::{End, Job, JobRecord, Wish};
use crate::node::word::Flags;
use crate::sync::Fenced;
use crate::{CreateJobError, Demand, JobRequest, JobState, SessionMode};

fn request() -> JobRequest {
    JobRequest::new("request", Demand::new().service(Service::ASR))
}

fn create(core: &Core) -> Result<Job, CreateJobError> {
    core.create_job(&request(), &crossbeam_epoch::pin())
}

/// Slots of all nodes that are held, and jobs that these nodes know of.
fn held(fleet: &Fleet) -> (u32, usize) {
    let mut entered = 0;
    for node in &fleet.nodes {
        fleet.core.rows.numbers(&node.node, |_| entered += 1);
    }
    ((0..fleet.nodes.len()).map(|node| fleet.word(node).in_flight()).sum(), entered)
}

#[test]
fn two_creates_of_one_request_make_one_job() {
    // The node stays, and places are not used again: so nothing waits for pins, and the model is smaller without.
    let create = |core: &Core| core.create_job(&request(), unpinned());
    explore(1, &["both reserved a slot", "the second found the job"], move |seen| {
        let fleet = Fleet::new([2]);
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || create(&core).expect("there are two slots").id()
        });
        let job = create(&fleet.core).expect("there are two slots");
        assert_eq!(job.id(), other.join().unwrap());
        assert_eq!((job.attempt(), job.state()), (1, JobState::Reserved));
        assert_eq!(held(&fleet), (1, 1));
        let counters = fleet.core.stats().counters;
        assert_eq!((counters.created, counters.reserved - counters.released), (1, 1));
        seen.note(if counters.reserved == 2 { "both reserved a slot" } else { "the second found the job" });
        assert_told(&fleet.core);
    });
}

#[test]
fn two_creates_with_one_slot_make_one_job() {
    explore(1, &["one was told busy", "both have the job"], |seen| {
        let fleet = Fleet::new([1]);
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || create(&core).ok().map(|job| job.id())
        });
        let mine = create(&fleet.core).ok().map(|job| job.id());
        let other = other.join().unwrap();
        let job = mine.or(other).expect("one slot is free, and nobody else wants one");
        if let (Some(mine), Some(other)) = (mine, other) {
            assert_eq!(mine, other);
            seen.note("both have the job");
        } else {
            seen.note("one was told busy");
        }
        assert_eq!(fleet.core.job(job).unwrap().state, JobState::Reserved);
        assert_eq!(held(&fleet), (1, 1));
        assert_eq!(create(&fleet.core).unwrap().id(), job);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_refused_create_leaves_nothing_behind() {
    explore(1, &["both were refused", "one or both have the job"], |seen| {
        let fleet = Fleet::new([1]);
        let slot = fleet.take().unwrap();
        let releaser = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.give(slot)
        });
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || create(&core).ok().map(|job| job.id())
        });
        let mine = create(&fleet.core).ok().map(|job| job.id());
        let other = other.join().unwrap();
        releaser.join().unwrap();
        let jobs = fleet.core.stats().now.jobs;
        match mine.or(other) {
            Some(job) => {
                assert!(mine.is_none_or(|mine| mine == job) && other.is_none_or(|other| other == job));
                assert_eq!((held(&fleet), jobs), ((1, 1), 1));
                seen.note("one or both have the job");
            }
            None => {
                assert_eq!((held(&fleet), jobs), ((0, 0), 0));
                seen.note("both were refused");
            }
        }
        // The id is not spoilt.
        create(&fleet.core).expect("the slot is free, or the job's");
        assert_eq!(held(&fleet), (1, 1));
        assert_told(&fleet.core);
    });
}

#[test]
fn a_create_while_the_job_of_its_id_is_forgotten() {
    explore(2, &["it got the old job", "it got a new job"], |seen| {
        let fleet = Fleet::of(scheduler(|builder| builder.max_finished_jobs(0)), [1]);
        let old = create(&fleet.core).unwrap().id();
        let ender = thread::spawn({
            let core = fleet.core.clone();
            move || core.end(old, 1, End::Completed, &crossbeam_epoch::pin()).expect("it is active")
        });
        let created = create(&fleet.core);
        ender.join().unwrap();
        match created {
            Ok(job) if job.id() == old => {
                assert_eq!(job.state(), JobState::Completed);
                assert_eq!(held(&fleet), (0, 0));
                seen.note("it got the old job");
            }
            Ok(job) => {
                assert_eq!(fleet.core.job(job.id()).unwrap().state, JobState::Reserved);
                assert_eq!(held(&fleet), (1, 1));
                seen.note("it got a new job");
            }
            Err(error) => panic!("the slot was the job's, or free: {error}"),
        }
        assert!(fleet.core.job(old).is_none(), "no finished job is kept");
        assert_told(&fleet.core);
    });
}

#[test]
fn two_creates_and_then_the_jobs_of_the_node_are_orphaned() {
    explore(1, &["both reserved a slot", "the second found the job"], |seen| {
        let fleet = Fleet::new([2]);
        let other = thread::spawn({
            let core = fleet.core.clone();
            move || create(&core).expect("there are two slots").id()
        });
        // So that a preemption is left for the other one's, in the middle.
        thread::yield_now();
        let mine = create(&fleet.core).expect("there are two slots");
        // Whoever has made it may not have said so yet.
        assert!(fleet.core.job(mine.id()).is_some(), "a job that a create has returned is not known by its id");
        // What a sweep does with a node that it has taken offline.
        fleet.core.orphan_jobs(&fleet.nodes[0].node, &crossbeam_epoch::pin());
        assert_eq!((mine.state(), other.join().unwrap()), (JobState::Orphaned, mine.id()));
        let counters = fleet.core.stats().counters;
        assert_eq!((counters.orphaned, counters.reserved), (1, counters.released));
        seen.note(if counters.reserved == 2 { "both reserved a slot" } else { "the second found the job" });
        assert_eq!(held(&fleet), (0, 0));
        assert_told(&fleet.core);
    });
}

#[test]
fn a_create_while_the_node_is_deregistered() {
    explore(2, &["it was refused", "the job was orphaned"], |seen| {
        let fleet = Fleet::new([1]);
        let creator = thread::spawn({
            let core = fleet.core.clone();
            move || {
                let job = create(&core).ok();
                // What this thread has retired is not to wait for its end.
                crossbeam_epoch::pin().flush();
                job
            }
        });
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        match creator.join().unwrap() {
            Some(job) => {
                assert_eq!(job.state(), JobState::Orphaned);
                seen.note("the job was orphaned");
            }
            None => seen.note("it was refused"),
        }
        let old = fleet.nodes[0].node.generation;
        assert_vacated_once(&fleet.core, 0, old);
        let mut entered = 0;
        fleet.core.rows.numbers(&fleet.nodes[0].node, |_| entered += 1);
        assert_eq!(entered, 0);
        assert_told(&fleet.core);
    });
}

#[test]
fn a_create_while_the_node_is_found_offline() {
    explore(2, &["it was refused", "the job was orphaned"], |seen| {
        let fleet = Fleet::new([1]);
        let creator = thread::spawn({
            let core = fleet.core.clone();
            move || create(&core).ok()
        });
        fleet.core.tick(Duration::from_secs(16));
        match creator.join().unwrap() {
            Some(job) => {
                assert_eq!(job.state(), JobState::Orphaned);
                seen.note("the job was orphaned");
            }
            None => seen.note("it was refused"),
        }
        assert_eq!(held(&fleet), (0, 0));
        assert!(fleet.word(0).flags().has(Flags::OFFLINE));
        assert_told(&fleet.core);
    });
}

/// What follows when a job is entered, while another thread takes its node offline and orphans its jobs.
pub(super) fn assert_orphaned_by_one(fleet: &Fleet, record: &JobRecord, other: thread::JoinHandle<()>, seen: &Seen) {
    Fenced::after_exchange();
    record.set_entered();
    fleet.stir();
    let offline = fleet.word(0).flags().has(Flags::OFFLINE);
    other.join().unwrap();
    let orphaned = record.binding.load().phase().state() == JobState::Orphaned;
    assert!(offline || orphaned, "a job that is active and nobody orphans");
    seen.note(if offline { "its owner has seen it" } else { "the job was orphaned" });
}

/// The steps of `Core::begin` and `Core::bound`, one by one, so that loom tries the one order in which nobody but who
/// orphans the jobs can see what has happened: its owner has looked at the node already, and has not said of the job that
/// it is entered, as far as the other thread can see.
#[test]
fn a_job_that_is_entered_and_not_said_to_be_while_its_node_goes_offline() {
    explore(2, &["its owner has seen it", "the job was orphaned"], |seen| {
        let fleet = Fleet::new([1]);
        let (core, pin, request) = (&fleet.core, crossbeam_epoch::pin(), request());
        let (key, here) = (core.prehash(&request.request_id), core.here());
        let spot = core.jobs.find(&key, &pin).err().expect("there is no job");
        let vacancy = core.jobs.vacancy(here, &pin).expect("there is room");
        let held =
            core.hold(vacancy.number(), Asked::Plain(&request.demand), Extra::default(), &pin).expect("a slot is free");
        let (mode, lease, deadline, kinds) = (SessionMode::default(), 10, 10, &core.kinds);
        let wish = Wish { request: &request, mode, lease, now: 0, deadline, kinds };
        let (place, record, _kept) = vacancy.fill(wish, held, &pin);
        let other = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.core.cells.at(0).change(fleet.nodes[0].node.generation, |word| word.with_flags(Flags::OFFLINE));
                fleet.stir();
                fleet.core.orphan_jobs(&fleet.nodes[0].node, &crossbeam_epoch::pin());
            }
        });
        assert!(core.jobs.enter((place, record.place), &key, spot, &pin));
        assert_orphaned_by_one(&fleet, &record, other, seen);
    });
}
