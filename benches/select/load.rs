//! A fleet under load, and the floor under just the same load.

use slotyard::{NoNode, PreparedDemand, Reservation, Scheduler};

use crate::fleet;
use crate::floor::Floor;

/// A fleet with nothing held.
pub(crate) struct Fleet {
    pub(crate) nodes: u32,
    pub(crate) capacity: u32,
    pub(crate) scheduler: Scheduler,
    pub(crate) prepared: PreparedDemand,
}

/// Slots held on the nodes of a fleet, and on the nodes of the same numbers of the floor.
pub(crate) struct Held<'f> {
    fleet: &'f Fleet,
    pub(crate) floor: Floor,
    reservations: Vec<Reservation<'f>>,
}

impl Fleet {
    pub(crate) fn new(nodes: u32, capacity: u32) -> Self {
        let (scheduler, _) = fleet::scheduler(nodes, capacity);
        let prepared = scheduler.prepare(&fleet::demand());
        Self { nodes, capacity, scheduler, prepared }
    }

    pub(crate) fn slots(&self) -> usize {
        self.nodes as usize * self.capacity as usize
    }

    /// Takes every slot. Lowered from there, the load is at random, which it would not be if the scheduler, that
    /// balances, had chosen the nodes.
    pub(crate) fn fill(&self) -> Held<'_> {
        let mut reservations = Vec::with_capacity(self.slots());
        let refusal = loop {
            match self.scheduler.reserve_prepared(&self.prepared) {
                Ok(reservation) => reservations.push(reservation),
                Err(refusal) => break refusal,
            }
        };
        assert!(matches!(refusal, NoNode::Busy(_)), "refused for another reason: {refusal}");
        assert_eq!(reservations.len(), self.slots(), "refused while a slot was free, or more slots than there are");
        fastrand::Rng::with_seed(1).shuffle(&mut reservations);
        Held { fleet: self, floor: Floor::full(self.nodes, self.capacity), reservations }
    }
}

impl Held<'_> {
    /// Gives slots back until `percent` of all are held, but one at least: there has to be one to choose. Says how
    /// many are free then.
    pub(crate) fn lower_to(&mut self, percent: u32) -> usize {
        let slots = self.fleet.slots();
        let keep = (slots * percent as usize / 100).min(slots - 1);
        for reservation in self.reservations.drain(keep..) {
            let id = reservation.node_id();
            let number = id.rsplit('-').next().and_then(|digits| digits.parse().ok());
            self.floor.release(number.expect("the id ends with the node's number"));
        }
        slots - keep
    }
}
