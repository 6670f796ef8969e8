//! Slots held for jobs that a coordinator keeps track of, for `redis`: here a job is no more than a slot that is taken.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use super::nodes::{check_id, slots};
use super::reserving::{Chosen, Slot};
use super::selecting::{Asked, Cells, Extra};
use crate::capability::{Demand, ExclusionMode};
use crate::config::MAX_CAPACITY;
use crate::error::{NoNode, RegisterError};
use crate::id::NodeId;
use crate::job::JobRequest;
use crate::node::cell::{Edge, Report};
use crate::node::word::Flags;
use crate::node::{Heartbeat, Node, NodeHandle, NodeSpec, NodeState, NodeView, ResourceUse, unpack_usage};
use crate::publish::Shared;
use crate::sync::Ordering;

/// A node that was chosen for a job, of which a slot may be held.
#[derive(Debug, Clone)]
pub(crate) struct Pick {
    pub(crate) node: Arc<Node>,
    chosen: Chosen,
    /// Whether a slot of it is held here: to be given back once.
    is_held: bool,
}

/// See [`Core::glimpse`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Glimpse {
    pub(crate) state: NodeState,
    /// Jobs that it has, ours and others', as far as is known here.
    pub(crate) running: u32,
    /// In ms of the scheduler's time.
    pub(crate) heard: u64,
    pub(crate) resources: ResourceUse,
}

impl Pick {
    pub(crate) fn id(&self) -> &NodeId {
        &self.node.id
    }

    /// Whether a slot of it is held.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held
    }

    /// What is held of it is the caller's from now on.
    pub(crate) fn take(&mut self) -> Self {
        let taken = self.clone();
        self.is_held = false;
        taken
    }
}

impl Core {
    /// Checks a node as far as that can be done without registering it.
    pub(crate) fn check_spec(&self, spec: &NodeSpec) -> Result<(), RegisterError> {
        let NodeSpec { id, capacity, capabilities, .. } = spec;
        check_id("node", id, self.config.max_id_len)?;
        if slots(*capacity).is_none() {
            return Err(RegisterError::InvalidCapacity { id: id.clone(), capacity: *capacity, limit: MAX_CAPACITY });
        }
        match self.profile(capabilities.clone(), &crate::sync::pin()) {
            Err(error) => Err(RegisterError::InvalidCapabilities { id: id.clone(), error }),
            Ok(profile) if self.layout.seats(id, &profile).is_empty() => Err(RegisterError::NoPool { id: id.clone() }),
            Ok(_) => Ok(()),
        }
    }

    /// The lease of a job that asks for none, in ms.
    pub(crate) fn default_lease(&self) -> u64 {
        self.default_lease
    }

    /// Why a demand that nobody has taken is refused, as things are now.
    pub(crate) fn refusal(&self, demand: &Demand) -> NoNode {
        let pin = crate::sync::pin();
        let route = match self.route(Asked::Plain(demand), &pin) {
            Ok(route) => return self.refuse(route, &pin, self.threads.ordinal()),
            Err(route) => route,
        };
        self.refuse(Shared::of(&route), &pin, self.threads.ordinal())
    }

    /// A node, if this incarnation has not ended.
    pub(crate) fn view_of(&self, handle: &NodeHandle) -> Option<NodeView> {
        self.node(handle.id()).filter(|view| view.incarnation == handle.incarnation())
    }

    /// Chooses up to `most` nodes for a job, none of them twice, and takes a slot of the first. Those named in `avoid` have
    /// been tried: they are kept off as `mode` says.
    pub(crate) fn pick(
        &self,
        request: &JobRequest,
        avoid: &[NodeId],
        mode: ExclusionMode,
        most: usize,
    ) -> Result<Vec<Pick>, NoNode> {
        let pin = crate::sync::pin();
        let session_mode = request.session_mode.unwrap_or(self.config.session_mode);
        let conversation = self.converse(request.session.as_deref(), session_mode);
        let pool = conversation.as_ref().and_then(|conversation| conversation.pool);
        let spread = conversation.as_ref().and_then(|conversation| self.spread(conversation, &pin));
        let mut kept_off = Cells::new();
        for id in avoid {
            self.shard(self.node_key(id).hash).with(&self.node_key(id), |node| kept_off.push(node.cell));
        }
        let asked = Asked::Plain(&request.demand);
        let extra = Extra { pool, spread, avoid: kept_off.as_slice(), avoid_mode: mode };
        let first = self.choose(asked, extra, &pin, |candidate, thread| {
            let chosen = Chosen::of(&candidate.found, candidate.pool.key);
            self.reserve_on(candidate, thread).then(|| self.picked(chosen, true, &pin))
        })?;
        let mut picks = vec![first];
        while picks.len() < most {
            kept_off.push(picks[picks.len() - 1].chosen.cell);
            let extra = Extra { pool, spread: None, avoid: kept_off.as_slice(), avoid_mode: ExclusionMode::Hard };
            let next = self.choose(asked, extra, &pin, |candidate, _| {
                let chosen = Chosen::of(&candidate.found, candidate.pool.key);
                Some(self.picked(chosen, false, &pin))
            });
            match next {
                Ok(next) => picks.push(next),
                Err(_) => break,
            }
        }
        Ok(picks)
    }

    /// Under the pin under which it was chosen.
    fn picked(&self, chosen: Chosen, is_held: bool, pin: &Guard) -> Pick {
        let node = self.cells.at(chosen.cell).node.load_arc(pin).expect("a pin keeps the node in its cell");
        Pick { node, chosen, is_held }
    }

    /// Takes a slot of a node that was picked, if that has one here. Where it has none the coordinator knows better: the slot
    /// is one that another instance was thought to hold.
    pub(crate) fn hold_pick(&self, pick: &mut Pick) {
        let cell = self.cells.at(pick.chosen.cell);
        let _pin = crate::sync::pin();
        while !pick.is_held && cell.node.is(&pick.node) {
            let word = cell.word();
            if !word.selectable() || word.generation() != pick.chosen.generation() {
                return;
            }
            if let Ok((edge, _)) = cell.reserve(word) {
                if edge != Edge::None {
                    self.tell(cell, edge);
                }
                pick.is_held = true;
            }
        }
    }

    /// Gives back what is held of it.
    pub(crate) fn drop_pick(&self, pick: &mut Pick) {
        if std::mem::take(&mut pick.is_held) {
            self.give_back(Slot { cell: self.cells.at(pick.chosen.cell), chosen: pick.chosen });
        }
    }

    /// The session of the request, if it names one, has a job on this node now.
    pub(crate) fn note_pick(&self, request: &JobRequest, pick: &Pick) {
        let mode = request.session_mode.unwrap_or(self.config.session_mode);
        if let Some(conversation) = self.converse(request.session.as_deref(), mode) {
            self.note(&conversation, &pick.node, pick.chosen.pool, &crate::sync::pin());
        }
    }

    /// So many slots of the node are leased, by whomever: what is more than ours takes up room.
    pub(crate) fn note_leases(&self, node: &Node, leases: u32) {
        let _pin = crate::sync::pin();
        if self.is_current(node) {
            let cell = self.cells.at(node.cell);
            let external = leases.saturating_sub(cell.word().in_flight()).min(MAX_CAPACITY) as u16;
            cell.report.store(Report { external, at: self.clock.now() }.pack(), Ordering::Relaxed);
            self.change_external(node, cell, |_| external);
        }
    }

    /// The node was heard of, by whomever.
    pub(crate) fn note_alive(&self, handle: &NodeHandle) {
        // It is gone: then there is nothing to note.
        let _ = self.heartbeat(handle, &Heartbeat::alive());
    }

    /// A node as it is now, and when it was last heard of. `None`: the incarnation has ended.
    pub(crate) fn glimpse(&self, node: &Node) -> Option<Glimpse> {
        let _pin = crate::sync::pin();
        let cell = self.cells.at(node.cell);
        if !self.is_current(node) {
            return None;
        }
        let (word, basis) = (cell.word(), cell.basis());
        Some(Glimpse {
            state: NodeState::of(word.flags()),
            running: word.in_flight() + u32::from(basis.external),
            heard: cell.heard(node.generation).unwrap_or_default(),
            resources: cell.usage(node.generation).map(unpack_usage).unwrap_or_default(),
        })
    }

    /// Up to `most` nodes that could do this if no slot of theirs were held, each with how many are by us.
    pub(crate) fn busy(&self, demand: &Demand, most: usize) -> Vec<(Pick, u32)> {
        let pin = crate::sync::pin();
        let mut busy = Vec::new();
        for shard in &self.shards {
            shard.for_each(&pin, |node| {
                let cell = self.cells.at(node.cell);
                let word = cell.word();
                let is_busy = word.is_unflagged() && !word.selectable();
                if busy.len() < most && is_busy && node.effective(&pin).satisfies(&demand.requirements).is_ok() {
                    let mut pool = 0;
                    self.for_each_home(cell, &pin, |home, _| pool = home.key);
                    let chosen = Chosen::in_cell(node.cell, node.generation, pool);
                    busy.push((Pick { node: node.to_arc(), chosen, is_held: false }, word.in_flight()));
                }
            });
        }
        busy
    }

    /// Has a node taken for offline, as whoever receives its heartbeats says.
    pub(crate) fn put_offline(&self, handle: &NodeHandle) {
        let mut state = self.shard(handle.node.hash).writer.lock(&self.meters.locks);
        if self.is_current(&handle.node) {
            let pin = crate::sync::pin();
            self.set_flags(&mut state, &handle.node, |flags| flags.with(Flags::OFFLINE, true));
            self.orphan_jobs(&handle.node, &pin);
        }
    }
}
