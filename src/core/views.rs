//! What there is, as it is shown.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use crate::capability::Demand;
use crate::explain::{Explanation, Reason};
use crate::id::JobId;
use crate::job::JobView;
use crate::node::{Node, NodeState, NodeView, ShardState, unpack_usage};
use crate::pool::PoolView;
use crate::snapshot::Snapshot;
use crate::stats::{Gauges, Stats};

impl Core {
    pub(crate) fn node(&self, id: &str) -> Option<NodeView> {
        let key = self.node_key(id);
        let shard = self.shard(key.hash);
        let pin = crate::sync::pin();
        // Who is not there needs no lock to say so.
        shard.find(&key, &pin)?;
        let state = shard.writer.lock(&self.meters.locks);
        shard.find(&key, &pin).map(|node| self.node_view(&state, &node, &pin))
    }

    pub(crate) fn nodes(&self) -> Vec<NodeView> {
        let mut nodes = Vec::with_capacity(self.live_nodes());
        for shard in &self.shards {
            let state = shard.writer.lock(&self.meters.locks);
            let pin = crate::sync::pin();
            shard.for_each(&pin, |node| nodes.push(self.node_view(&state, &node, &pin)));
        }
        nodes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        nodes
    }

    /// For whoever has the node's shard locked.
    fn node_view(&self, state: &ShardState, node: &Node, pin: &Guard) -> NodeView {
        let capabilities = &*node.declared(pin).get().capabilities;
        let mut pools = Vec::new();
        let cell = self.cells.at(node.cell);
        let (word, basis) = (cell.word(), cell.basis());
        self.for_each_home(cell, pin, |pool, _| pools.push(pool.name.to_string()));
        NodeView {
            id: node.id.clone(),
            incarnation: node.incarnation,
            state: NodeState::of(word.flags()),
            capacity: basis.capacity.into(),
            in_flight: word.in_flight(),
            external: basis.external.into(),
            weight: basis.weight,
            pools,
            capabilities: capabilities.clone(),
            services_off: capabilities.services().filter(|service| !state.is_on(node, service, pin)).cloned().collect(),
            resources: cell.usage(node.generation).map(unpack_usage).unwrap_or_default(),
        }
    }

    pub(crate) fn pools(&self) -> Vec<PoolView> {
        let pin = crate::sync::pin();
        self.snapshot(&pin).pools().collect()
    }

    pub(crate) fn pool_name(&self, key: u64) -> Option<Arc<str>> {
        let pin = crate::sync::pin();
        let pool = self.snapshot(&pin).table().get(key as u32).filter(|pool| pool.key == key)?;
        Some(pool.name.clone())
    }

    pub(crate) fn snapshot_arc(&self) -> Arc<Snapshot> {
        let pin = crate::sync::pin();
        self.snapshot.load_arc(&pin).expect("a snapshot is published when the scheduler is built, and ever after")
    }

    /// The node of a cell that cannot be given to another while the caller pins it, or holds a slot of it.
    pub(crate) fn node_in<'g>(&self, cell: u32, pin: &'g Guard) -> Option<&'g Node> {
        self.cells.get(cell)?.node.load(pin)
    }

    /// The node of a cell of which the caller holds a slot, which keeps the cell from another node.
    pub(crate) fn node_held(&self, cell: u32) -> Arc<Node> {
        let node = self.cells.at(cell).node.load_arc(&crate::sync::pin());
        node.expect("a slot that is held keeps the node in its cell")
    }

    pub(crate) fn job(&self, id: JobId) -> Option<JobView> {
        self.jobs.get(id, &crate::sync::pin()).map(|record| JobView::of(&record))
    }

    pub(crate) fn job_by_request(&self, request_id: &str) -> Option<JobView> {
        let pin = crate::sync::pin();
        self.jobs.find(&self.prehash(request_id), &pin).ok().map(|record| JobView::of(&record))
    }

    pub(crate) fn stats(&self) -> Stats {
        let pin = crate::sync::pin();
        let snapshot = self.snapshot(&pin);
        self.meters.read(Gauges {
            nodes: self.live_nodes(),
            pools: snapshot.table().iter().count(),
            jobs: self.jobs.len(),
            finished_jobs: self.jobs.finished_len(),
            sessions: self.sessions.len(),
            routes: snapshot.routes().len(),
            snapshot_version: snapshot.version(),
            events_dropped: self.events.dropped(),
        })
    }

    pub(crate) fn explain(&self, demand: &Demand) -> Explanation {
        let mut explanation = Explanation::default();
        if let Err(error) = demand.validate() {
            explanation.invalid = Some(error);
            return explanation;
        }
        let pin = crate::sync::pin();
        for shard in &self.shards {
            shard.for_each(&pin, |node| {
                let reason = self.reason(&node, demand, &pin);
                let mut pools = Vec::new();
                let cell = self.cells.at(node.cell);
                self.for_each_home(cell, &pin, |pool, _| pools.push(pool.name.clone()));
                explanation.add(&node.id, reason, &pools);
            });
        }
        explanation.finish();
        explanation
    }

    /// Why a node cannot be used for a demand: what it cannot do at all first, then what it cannot do now.
    fn reason(&self, node: &Node, demand: &Demand, pin: &Guard) -> Reason {
        let cell = self.cells.at(node.cell);
        let word = cell.word();
        let flags = word.flags();
        if let Err(unmet) = node.effective(pin).satisfies(&demand.requirements) {
            return Reason::of_unmet(&unmet);
        }
        let mut homes = 0;
        let mut others = 0;
        self.for_each_home(cell, pin, |pool, _| {
            homes += 1;
            others += u32::from(pool.tenant.is_some() && pool.tenant != demand.requirements.tenant);
        });
        if homes == others {
            return Reason::OtherTenant;
        }
        if let Some(reason) = Reason::of_flags(flags) {
            return reason;
        }
        let timeout = crate::clock::millis(self.config.heartbeat_timeout);
        if cell.heard(word.generation()).is_some_and(|at| at.saturating_add(timeout) <= self.clock.now()) {
            return Reason::Stale;
        }
        if demand.exclusions.nodes.contains(&node.id) {
            return Reason::Excluded;
        }
        if word.selectable() { Reason::Available } else { Reason::Full }
    }
}
