//! Heartbeats: what a node says of itself. One that changes nothing in what the node can do touches only its cell.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use crate::capability::Service;
use crate::config::MAX_CAPACITY;
use crate::error::HeartbeatError;
use crate::node::cell::{Basis, Cell, Report};
use crate::node::word::Flags;
use crate::node::{Heartbeat, Node, NodeHandle, Readiness, ResourceUse, ShardState, pack_usage};
use crate::stats::Count;
use crate::sync::Ordering;

impl Core {
    #[inline]
    pub(crate) fn heartbeat(&self, handle: &NodeHandle, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        if self.heartbeat_shortly(&handle.0, beat) {
            return Ok(());
        }
        self.heartbeat_node(&handle.0, beat, &crossbeam_epoch::pin())
    }

    /// As [`heartbeat`](Self::heartbeat), for whoever has a pin.
    pub(crate) fn heartbeat_under(
        &self,
        handle: &NodeHandle,
        beat: &Heartbeat,
        pin: &Guard,
    ) -> Result<(), HeartbeatError> {
        if self.heartbeat_shortly(&handle.0, beat) {
            return Ok(());
        }
        self.heartbeat_node(&handle.0, beat, pin)
    }

    /// Takes in a heartbeat that says nothing new, as most often: that the node was heard of is all that is written, and
    /// says of which node, so no pin has to keep the cell from being given to another. `false`: nothing was done.
    #[inline(always)]
    fn heartbeat_shortly(&self, node: &Node, beat: &Heartbeat) -> bool {
        // None: it is another scheduler's.
        let Some(cell) = self.cells.get(node.cell) else { return false };
        let (word, basis) = (cell.word(), cell.basis());
        let flags = word.flags();
        let says_more = beat.resources.is_some() || beat.services.is_some();
        // What it says of others' jobs is written beside what is known of them, if there are any.
        let others = beat.running.is_some_and(|running| running > word.in_flight()) || basis.external > 0;
        if says_more || others || !self.is_current(node) || self.flags_after(flags, beat) != flags {
            return false;
        }
        cell.hear(node.generation, self.clock.now());
        self.count(Count::heartbeats);
        true
    }

    pub(crate) fn heartbeat_by_id(&self, id: &str, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        let key = self.prehash(id);
        let pin = crossbeam_epoch::pin();
        match self.shard(key.hash).find(&key, &pin) {
            Some(node) => self.heartbeat_node(&node, beat, &pin),
            None => Err(HeartbeatError::UnknownNode { id: id.to_owned() }),
        }
    }

    /// The pin is there before the node is seen in its cell, so that is not given to another while it is written to.
    fn heartbeat_node(&self, node: &Node, beat: &Heartbeat, pin: &Guard) -> Result<(), HeartbeatError> {
        let stale = || HeartbeatError::StaleHandle { id: node.id.clone(), incarnation: node.incarnation };
        if !self.is_current(node) {
            return Err(stale());
        }
        if let Some(usage) = &beat.resources {
            check_usage(node, usage)?;
        }
        let locked = || {
            let state = self.shard(node.hash).writer.lock(&self.meters.locks);
            if self.is_current(node) { Ok(state) } else { Err(stale()) }
        };
        // The only part that can be refused comes first.
        if let Some(services) =
            beat.services.as_ref().filter(|services| node.ready_services.load(pin) != Some(*services))
        {
            self.set_ready_services(&*locked()?, node, services, pin)?;
        }
        let cell = self.cells.at(node.cell);
        self.note_heartbeat(node, cell, beat);
        let wanted = |flags: Flags| self.flags_after(flags, beat);
        let flags = cell.word().flags();
        if wanted(flags) != flags {
            self.set_flags(&mut *locked()?, node, wanted);
        }
        self.count(Count::heartbeats);
        Ok(())
    }

    /// The part of a heartbeat that touches nothing but the node's cell.
    fn note_heartbeat(&self, node: &Node, cell: &Cell, beat: &Heartbeat) {
        let now = self.clock.now();
        cell.hear(node.generation, now);
        if let Some(usage) = &beat.resources {
            cell.usage.store(pack_usage(usage), Ordering::Relaxed);
        }
        if let Some(running) = beat.running {
            let external = running.saturating_sub(cell.word().in_flight()).min(MAX_CAPACITY) as u16;
            cell.report.store(Report { external, at: now }.pack(), Ordering::Relaxed);
            // Only with no jobs of others there is nothing that could be fading, and no need to say so.
            if external > 0 || cell.basis().external > 0 {
                self.change_external(node, cell, |_| external);
            }
        }
    }

    /// Others' jobs take up slots: takes them off the effective capacity. Needs no lock; see `Cell::change_basis`.
    pub(super) fn change_external(&self, node: &Node, cell: &Cell, to: impl Fn(u16) -> u16) {
        cell.change_basis(
            node.generation,
            |basis| Basis { external: to(basis.external), ..basis },
            |change| self.tell(cell, change.edge),
        );
    }

    /// The flags of a node after a heartbeat.
    fn flags_after(&self, flags: Flags, beat: &Heartbeat) -> Flags {
        let flags = flags.with(Flags::OFFLINE, false);
        let flags = match beat.readiness {
            Readiness::Unchanged => flags,
            Readiness::Ready => flags.with(Flags::REGISTERING, false).with(Flags::UNREADY, false),
            Readiness::NotReady => flags.with(Flags::UNREADY, true),
        };
        match &beat.resources {
            None => flags,
            Some(usage) => {
                let overloaded = self.config.thresholds.degraded(flags.has(Flags::OVERLOADED), usage);
                flags.with(Flags::OVERLOADED, overloaded)
            }
        }
    }

    fn set_ready_services(
        &self,
        state: &ShardState,
        node: &Node,
        services: &[Service],
        pin: &Guard,
    ) -> Result<(), HeartbeatError> {
        let declared = &node.declared(pin).get().capabilities;
        if let Some(unknown) = services.iter().find(|service| !declared.offers(service)) {
            return Err(HeartbeatError::UnknownService { id: node.id.clone(), service: unknown.clone() });
        }
        node.ready_services.swap(Some(Arc::new(services.to_vec())), pin);
        self.reseat(state, node, pin);
        Ok(())
    }
}

fn check_usage(node: &Node, usage: &ResourceUse) -> Result<(), HeartbeatError> {
    // Written so that a NaN, which is in no range, is refused.
    match usage.named().into_iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
        Some((resource, value)) => Err(HeartbeatError::InvalidResource { id: node.id.clone(), resource, value }),
        None => Ok(()),
    }
}
