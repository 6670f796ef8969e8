//! Heartbeats: what a node says of itself. One that changes nothing in what the node can do touches only its cell.
//!
//! # Without a pin
//! Most heartbeats say nothing that has to be acted upon. Such a one takes no pin and waits for no memory but the cell's one
//! line. What it must not do is to speak for another node, and a cell may be given to another at any time:
//!
//! - That the cell is the incarnation's is looked at once. By handle it is when the address of its record is in the cell,
//!   which no other record can have while there is a handle. Who reads in the slot word what came after the node has left
//!   sees that the address has gone, too: it is taken out before the word is changed. By id it is when the cell is called
//!   that, and neither gone nor another generation's before and after this is read (see `node::cells`).
//! - What is written then is tagged with the generation, and whoever reads it holds it against that of the slot word. So a
//!   heartbeat that is late, and finds the cell another's by the time it writes, is not taken for that one's. What it has
//!   overwritten is lost: the time of that one's last heartbeat, which the next sweep sets anew ([`Cell::heard`]), or its
//!   resource use until it says so again ([`Cell::usage`]).
//!
//! The generation has 10 bits. A handle may be kept for as long as one likes, so it is not told by these alone. Between
//! looking and writing they are enough: to be taken for another's, a heartbeat would have to be held up between two of its
//! instructions while the cell is left and taken 1,023 times over, or a multiple of that, exactly; and what came of it is
//! that a node counts as heard of.
//!
//! Anything else takes the long way, under a pin from before the node is seen in its cell and not gone: then what vacates the
//! cell was not deferred yet, and the cell is not given to another before the pin ends. (A node that is gone may be in its
//! cell and that be about to be vacated, whatever is pinned since.)

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use crate::capability::Service;
use crate::config::MAX_CAPACITY;
use crate::error::HeartbeatError;
use crate::id::NodeKey;
use crate::node::cell::{Basis, Cell, Report};
use crate::node::word::{Flags, SlotWord};
use crate::node::{Heartbeat, Node, NodeHandle, Readiness, ResourceUse, ShardState, pack_usage};
use crate::prefetch::fetch_ahead;
use crate::stats::Count;
use crate::sync::Ordering;

impl Core {
    #[inline(always)]
    pub(crate) fn heartbeat(&self, handle: &NodeHandle, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        if self.heartbeat_shortly(handle, beat) { Ok(()) } else { self.heartbeat_at_length(handle, beat) }
    }

    /// Apart, so that the short way has no registers to save.
    #[cold]
    #[inline(never)]
    fn heartbeat_at_length(&self, handle: &NodeHandle, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        self.heartbeat_node(&handle.node, beat, &crate::sync::pin())
    }

    /// As [`heartbeat`](Self::heartbeat), for whoever has a pin.
    pub(crate) fn heartbeat_under(
        &self,
        handle: &NodeHandle,
        beat: &Heartbeat,
        pin: &Guard,
    ) -> Result<(), HeartbeatError> {
        if self.heartbeat_shortly(handle, beat) {
            return Ok(());
        }
        self.heartbeat_node(&handle.node, beat, pin)
    }

    /// Has what a heartbeat of this node needs of memory fetched, without waiting for it.
    #[inline(always)]
    pub(crate) fn fetch(&self, handle: &NodeHandle) {
        if let Some(cell) = self.cells.get(handle.cell) {
            fetch_ahead(cell);
        }
    }

    /// `false`: nothing was done.
    #[inline(always)]
    fn heartbeat_shortly(&self, handle: &NodeHandle, beat: &Heartbeat) -> bool {
        // None, or not there: it is another scheduler's.
        let Some(cell) = self.cells.get(handle.cell) else { return false };
        // Before it is looked whose the cell is, see the module's documentation.
        let word = cell.word();
        cell.node.is(&handle.node) && self.take_in_shortly(cell, word, handle.generation, beat)
    }

    /// Takes in a heartbeat that says nothing that has to be acted upon, of the node that had this word. `false`: nothing
    /// was done.
    #[inline(always)]
    fn take_in_shortly(&self, cell: &Cell, word: SlotWord, generation: u32, beat: &Heartbeat) -> bool {
        // As most often: a node that is in use says that it is alive, and no more.
        let says_more = beat.resources.is_some() || beat.running.is_some() || beat.services.is_some();
        let quiet = word.is_unflagged() && !says_more && beat.readiness != Readiness::NotReady;
        if !quiet && self.has_to_act(cell, word, beat) {
            return false;
        }
        cell.hear(generation, self.clock.now());
        if let Some(usage) = &beat.resources {
            cell.put_usage(generation, pack_usage(usage));
        }
        self.count(Count::heartbeats);
        true
    }

    #[inline(always)]
    pub(crate) fn heartbeat_by_id(&self, id: &str, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        let key = self.node_key(id);
        match self.shard(key.hash).look(&key) {
            Some((cell, word)) if self.take_in_shortly(cell, word, word.generation(), beat) => Ok(()),
            _ => self.heartbeat_by_id_at_length(&key, beat),
        }
    }

    #[cold]
    #[inline(never)]
    fn heartbeat_by_id_at_length(&self, key: &NodeKey<'_>, beat: &Heartbeat) -> Result<(), HeartbeatError> {
        let pin = crate::sync::pin();
        while let Some(node) = self.registered(key, &pin) {
            match self.heartbeat_node(&node, beat, &pin) {
                // It has been replaced or removed since it was found.
                Err(HeartbeatError::StaleHandle { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(HeartbeatError::UnknownNode { id: key.text.to_owned() })
    }

    /// Whether this heartbeat, of the node that had this word, says something that has to be acted upon, or refused.
    #[inline(always)]
    fn has_to_act(&self, cell: &Cell, word: SlotWord, beat: &Heartbeat) -> bool {
        let flags = word.flags();
        // What it says of others' jobs is written beside what is known of them, if there are any.
        let others = |running: u32| running > word.in_flight() || cell.basis().external > 0;
        let refused = || beat.resources.as_ref().is_some_and(|usage| !are_shares(usage));
        flags.has(Flags::GONE)
            || beat.services.is_some()
            || beat.running.is_some_and(others)
            || refused()
            || self.flags_after(flags, beat) != flags
    }

    /// The pin is there before the node is seen in its cell and not gone, so that is not given to another while it is
    /// written to.
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
            cell.put_usage(node.generation, pack_usage(usage));
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
    match usage.named().into_iter().find(|(_, value)| !is_share(*value)) {
        Some((resource, value)) => Err(HeartbeatError::InvalidResource { id: node.id.clone(), resource, value }),
        None => Ok(()),
    }
}

/// Whether each is from 0 to 1.
#[inline(always)]
fn are_shares(usage: &ResourceUse) -> bool {
    // All four at once, rather than up to the first that is none.
    usage.shares().iter().fold(true, |all, share| all & is_share(*share))
}

/// Not a NaN, which is in no range.
#[inline(always)]
fn is_share(value: f32) -> bool {
    (0.0..=1.0).contains(&value)
}
