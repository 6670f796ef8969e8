//! **Pools come and go**: whoever follows what he knows of a pool, a route or a memo, while it is dropped and its number
//! given to another, gets no node that cannot do what he wants; and what was known of it does not hide the pool that is made
//! in its place.
//!
//! In the models a number is used again as soon as nobody can see its pool any more, see `core::pools::REST`.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | reserved by a memo, without a pin, and the pool's number is given to another | 2 | 1 |
//! | reserved by a route that is kept in the snapshot, and the same | 2 | 1 |
//! | reserved by a prepared demand, and the same | 2 | 1 |
//! | the pool is dropped and made again, and a prepared demand has its route | 2 | 1 |
//! | a job is created by the short way on a node that leaves the pool, which is dropped | 2 | 1 |
//!
//! Seen to fail by `cargo xtask mutants-loom pools`.

use loom::thread;

use super::*;
use crate::core::Asked;
use crate::select::PreparedDemand;
use crate::{Demand, JobRequest, JobState};

fn demand() -> Demand {
    Demand::new().service(Service::ASR)
}

fn tts() -> Capabilities {
    Capabilities::new().service(Service::TTS)
}

/// What is known of the pool, and how it is asked for.
enum Known {
    Memo(Demand),
    Route,
    Prepared(PreparedDemand),
}

impl Known {
    fn reserve<'c>(&self, core: &'c Core) -> Option<crate::core::Slot<'c>> {
        match self {
            Self::Memo(demand) => core.reserve(Asked::Plain(demand)).ok(),
            // One that has no memo.
            Self::Route => core.reserve(Asked::Plain(&demand())).ok(),
            Self::Prepared(prepared) => core.reserve(Asked::Prepared(prepared)).ok(),
        }
    }

    fn use_once(&self, core: &Core) {
        core.give_back(self.reserve(core).expect("it is ready"));
    }
}

/// Reserves while the only node that does `asr` goes, and its pool's number is given to that of another which does not.
fn reserve_while_the_number_changes_hands(known: fn(&Core) -> Known) {
    explore(1, &["it was reserved before", "it was refused", "the number was given away"], move |seen| {
        let fleet = Fleet::new([1]);
        let known = known(&fleet.core);
        known.use_once(&fleet.core);
        known.use_once(&fleet.core);
        let other = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                fleet.core.deregister(&fleet.nodes[0]).unwrap();
                for _ in 0..3 {
                    crossbeam_epoch::pin().flush();
                }
                fleet.core.register(NodeSpec::new("other").capabilities(tts()).ready()).unwrap();
                fleet.stir();
                crossbeam_epoch::pin().flush();
            }
        });
        fleet.stir();
        match known.reserve(&fleet.core) {
            Some(slot) => {
                let node = slot.cell.node.load_arc(&crossbeam_epoch::pin()).expect("its slot is held");
                assert_eq!(&*node.id, "node-0", "a slot was taken of a node that cannot do it");
                fleet.core.give_back(slot);
                seen.note("it was reserved before");
            }
            None => seen.note("it was refused"),
        }
        other.join().unwrap();
        if fleet.core.find_pool(&Arc::new(tts())).is_some_and(|pool| pool.number == fleet.pool.number) {
            seen.note("the number was given away");
        }
        assert!(known.reserve(&fleet.core).is_none(), "nobody does it");
        assert_told(&fleet.core);
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}

#[test]
fn a_memo_does_not_lead_into_another_pool() {
    reserve_while_the_number_changes_hands(|_| Known::Memo(demand()));
}

#[test]
fn a_route_does_not_lead_into_another_pool() {
    reserve_while_the_number_changes_hands(|_| Known::Route);
}

#[test]
fn a_prepared_demand_does_not_lead_into_another_pool() {
    reserve_while_the_number_changes_hands(|core| {
        Known::Prepared(PreparedDemand::new(demand(), core.threads.scheduler()))
    });
}

#[test]
fn a_route_does_not_hide_the_pool_that_is_made_again() {
    explore(1, &["the new one's was used", "the old one's was used"], |seen| {
        let fleet = Fleet::new([1]);
        let prepared = PreparedDemand::new(demand(), fleet.core.threads.scheduler());
        let known = Arc::new(Known::Prepared(prepared));
        known.use_once(&fleet.core);
        let user = thread::spawn({
            let (fleet, known) = (fleet.clone(), known.clone());
            move || {
                known.reserve(&fleet.core).map(|slot| {
                    fleet.core.give_back(slot);
                    slot.chosen.cell
                })
            }
        });
        fleet.core.deregister(&fleet.nodes[0]).unwrap();
        let new = fleet.core.register(NodeSpec::new("new").capabilities(asr()).ready()).unwrap();
        let slot = known.reserve(&fleet.core);
        let used = user.join().unwrap();
        let slot = slot.or_else(|| known.reserve(&fleet.core)).expect("the new one's is free");
        assert_eq!(slot.chosen.cell, new.cell);
        fleet.core.give_back(slot);
        match used {
            Some(cell) if cell == new.cell => seen.note("the new one's was used"),
            Some(_) => seen.note("the old one's was used"),
            None => {}
        }
        assert_told(&fleet.core);
        reclaim(|| fleet.word(0).generation() != fleet.nodes[0].generation);
    });
}

#[test]
fn a_job_is_created_on_a_node_that_leaves_a_pool_which_is_dropped() {
    explore(1, &["it was created before", "its slot was given back", "no slot was found"], |seen| {
        let fleet = Fleet::new([1]);
        fleet.core.register(NodeSpec::new("elsewhere").capabilities(tts())).unwrap();
        let demand = demand();
        // No job yet, so the node keeps nothing of its pool.
        for _ in 0..2 {
            fleet.core.give_back(fleet.core.reserve(Asked::Plain(&demand)).expect("it is ready"));
        }
        let before = fleet.core.stats().counters.reserved;
        let creator = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                let request = JobRequest::new("request", demand);
                let job = fleet.core.create_job(&request, &crossbeam_epoch::pin()).ok();
                fleet.stir();
                crossbeam_epoch::pin().flush();
                job
            }
        });
        // The other's turn, which is no preemption.
        thread::yield_now();
        fleet.stir();
        fleet.core.update(&fleet.nodes[0], tts()).unwrap();
        fleet.stir();
        let job = creator.join().unwrap();
        let counters = fleet.core.stats().counters;
        seen.note(match &job {
            Some(job) => {
                assert_eq!((job.state(), job.pool()), (JobState::Reserved, &*fleet.pool.name));
                "it was created before"
            }
            None if counters.reserved > before => "its slot was given back",
            None => "no slot was found",
        });
        let held = u32::from(job.is_some());
        assert_eq!((fleet.word(0).in_flight(), counters.reserved - counters.released), (held, held.into()));
        assert_eq!(fleet.core.stats().now.jobs, held as usize);
        assert_told(&fleet.core);
    });
}
