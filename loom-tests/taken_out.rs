//! **Taken out of use**, through the whole engine: no slot is taken of a node when the call that has taken it out of use has
//! returned, be it drained or found offline, or given fewer slots; and when one that has put it in use again has returned, it is
//! found. Reserved is by the short way, without a pin.
//!
//! See `slot_word` for the cell alone, `short_way` for a node that moves or is replaced, `replacement` for one that goes.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | drained, and undrained in the end | 2 | 2 |
//! | found offline by a tick, and heard of in the end | 2 | 2 |
//! | drained and undrained meanwhile | 2 | 2 |
//! | given fewer slots, and more in the end | 2 | 2 |
//!
//! Seen to fail by `cargo xtask mutants-loom taken_out`.

use std::time::Duration;

use loom::thread;

use super::*;
use crate::core::Asked;
use crate::{Demand, Heartbeat};

/// A node, and a demand by which it is found the short way.
fn fleet(capacity: u32) -> (Arc<Fleet>, Demand) {
    let (fleet, demand) = (Fleet::new([capacity]), Demand::new().service(Service::ASR));
    for _ in 0..2 {
        let slot = fleet.core.reserve(Asked::Plain(&demand)).expect("it is ready");
        fleet.core.give_back(slot);
    }
    (fleet, demand)
}

/// Reserves while another thread changes the node: the slot, if there was one, and how many slots were held when the change
/// had been made.
fn reserve_while<'f>(
    fleet: &'f Arc<Fleet>,
    demand: &Demand,
    change: fn(&Fleet),
) -> (Option<crate::core::Slot<'f>>, u32) {
    let other = thread::spawn({
        let fleet = fleet.clone();
        move || {
            fleet.stir();
            change(&fleet);
            let held = fleet.word(0).in_flight();
            fleet.stir();
            held
        }
    });
    fleet.stir();
    let slot = fleet.core.reserve(Asked::Plain(demand)).ok();
    fleet.stir();
    (slot, other.join().unwrap())
}

/// Taken out of use by the one, and put in use again by the other.
fn taken_out(preemptions: usize, take_out: fn(&Fleet), put_back: fn(&Fleet)) {
    explore(preemptions, &["it was reserved before", "it was refused"], move |seen| {
        let (fleet, demand) = fleet(1);
        let (slot, held) = reserve_while(&fleet, &demand, take_out);
        assert!(slot.is_none() || held == 1, "a slot was taken of a node that was out of use");
        seen.note(if slot.is_some() { "it was reserved before" } else { "it was refused" });
        slot.into_iter().for_each(|slot| fleet.core.give_back(slot));
        assert!(fleet.core.reserve(Asked::Plain(&demand)).is_err(), "it is out of use");
        put_back(&fleet);
        let slot = fleet.core.reserve(Asked::Plain(&demand)).expect("it is in use");
        fleet.core.give_back(slot);
        assert_told(&fleet.core);
    });
}

fn drain(fleet: &Fleet) {
    fleet.core.set_draining(&fleet.nodes[0], true).unwrap();
}

fn undrain(fleet: &Fleet) {
    fleet.core.set_draining(&fleet.nodes[0], false).unwrap();
}

#[test]
fn a_node_that_is_drained() {
    taken_out(2, drain, undrain);
}

#[test]
fn a_node_that_is_found_offline() {
    let heard = |fleet: &Fleet| fleet.core.heartbeat(&fleet.nodes[0], &Heartbeat::ready()).unwrap();
    taken_out(2, |fleet| fleet.core.tick(Duration::from_secs(16)), heard);
}

#[test]
fn a_node_that_is_drained_for_a_moment() {
    explore(2, &["it was reserved after all", "it was refused meanwhile"], |seen| {
        let (fleet, demand) = fleet(1);
        let (slot, _) = reserve_while(&fleet, &demand, |fleet| {
            drain(fleet);
            undrain(fleet);
        });
        seen.note(if slot.is_some() { "it was reserved after all" } else { "it was refused meanwhile" });
        let slot = slot.or_else(|| fleet.core.reserve(Asked::Plain(&demand)).ok());
        fleet.core.give_back(slot.expect("it is in use again, and nobody else wants its slot"));
        assert_told(&fleet.core);
    });
}

#[test]
fn a_node_that_is_given_fewer_slots() {
    explore(2, &["it was reserved before", "it was refused"], |seen| {
        let (fleet, demand) = fleet(2);
        let first = fleet.core.reserve(Asked::Plain(&demand)).unwrap();
        let fewer = |fleet: &Fleet| fleet.core.set_capacity(&fleet.nodes[0], 1).unwrap();
        let (second, held) = reserve_while(&fleet, &demand, fewer);
        assert!(second.is_none() || held == 2, "a slot was taken that was not there any more");
        seen.note(if second.is_some() { "it was reserved before" } else { "it was refused" });
        second.into_iter().for_each(|slot| fleet.core.give_back(slot));
        assert!(fleet.core.reserve(Asked::Plain(&demand)).is_err(), "its one slot is held");
        fleet.core.set_capacity(&fleet.nodes[0], 2).unwrap();
        fleet.core.give_back(fleet.core.reserve(Asked::Plain(&demand)).expect("it has another"));
        fleet.core.give_back(first);
        assert_told(&fleet.core);
    });
}
