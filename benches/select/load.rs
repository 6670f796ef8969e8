//! A fleet under load, and the floor under just the same load.

use slotyard::{Demand, NoNode, PreparedDemand, Reservation, Scheduler};

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
        Self::of(scheduler, nodes, capacity, &fleet::demand())
    }

    /// A fleet that is there, for what every node of it can do.
    pub(crate) fn of(scheduler: Scheduler, nodes: u32, capacity: u32, demand: &Demand) -> Self {
        let prepared = scheduler.prepare(demand);
        Self { nodes, capacity, scheduler, prepared }
    }

    /// Reserves for the prepared demand and releases. The result is looked at and dropped where it is: moving it about
    /// would be timed, too.
    pub(crate) fn prepared_once(&self) -> impl FnMut() {
        || assert!(self.scheduler.reserve_prepared(&self.prepared).is_ok(), "refused with a slot free")
    }

    pub(crate) fn slots(&self) -> usize {
        self.nodes as usize * self.capacity as usize
    }

    /// Takes every slot. Lowered from there, the load is at random, which it would not be if the scheduler, that
    /// balances, had chosen the nodes.
    pub(crate) fn fill(&self) -> Held<'_> {
        self.fill_for(&self.prepared)
    }

    /// Takes every slot for another demand, that every node can serve.
    pub(crate) fn fill_for(&self, demand: &PreparedDemand) -> Held<'_> {
        let mut reservations = Vec::with_capacity(self.slots());
        let refusal = loop {
            match self.scheduler.reserve_prepared(demand) {
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
    /// Reserves and releases on the floor.
    pub(crate) fn bare(&self) -> impl FnMut() {
        let mut random = fastrand::Rng::with_seed(2);
        move || {
            let node = self.floor.reserve(&mut random).expect("a slot is free");
            self.floor.release(node);
        }
    }

    /// Gives slots back until `percent` of all are held, but one at least: there has to be one to choose. Says how
    /// many are free then.
    pub(crate) fn lower_to(&mut self, percent: u32) -> usize {
        let slots = self.fleet.slots();
        let keep = (slots * percent as usize / 100).min(slots - 1);
        let free = self.reservations.split_off(keep);
        self.release(free);
        slots - keep
    }

    /// Gives the slots of these nodes back, by their numbers.
    pub(crate) fn free(&mut self, which: impl Fn(u32) -> bool) {
        let reservations = std::mem::take(&mut self.reservations);
        let (free, held) =
            reservations.into_iter().partition(|reservation| which(fleet::number_of(&reservation.node_id())));
        self.reservations = held;
        self.release(free);
    }

    fn release(&self, reservations: Vec<Reservation<'_>>) {
        for reservation in reservations {
            self.floor.release(fleet::number_of(&reservation.node_id()));
        }
    }
}
