//! What an instance does by itself: keeps its leases and its nodes alive, and follows what others do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::engine::Engine;
use super::held::HeldJob;
use super::keys::NodeText;
use super::lease::Lease;
use super::mirror::Position;
use super::nodes::KnownNode;
use super::protocol::Server;
use crate::id::NodeId;
use crate::sync::Ordering;

/// So many of an instance's nodes are told of at once.
const AT_ONCE: usize = 64;
/// So many leases are renewed by one call.
const LEASES: usize = 256;

impl Engine {
    /// Renews leases, a third of one after it has begun.
    pub(super) async fn renew_leases(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.config.poll_interval).await;
            let now = self.now();
            let mut due: BTreeMap<(NodeText, u64), Vec<Arc<HeldJob>>> = BTreeMap::new();
            for held in self.held.pin().values() {
                if now.saturating_sub(held.begun()) >= held.terms.lease / 3 {
                    due.entry((held.node.clone(), held.terms.lease)).or_default().push(held.clone());
                }
            }
            for ((node, lease), jobs) in due {
                for jobs in jobs.chunks(LEASES) {
                    self.renew(&node, lease, jobs).await;
                }
            }
        }
    }

    async fn renew(&self, node: &NodeText, lease: u64, jobs: &[Arc<HeldJob>]) {
        let leases: Vec<Lease> = jobs.iter().map(|held| held.lease).collect();
        let asked = self.now();
        let call = super::call::Renew { node, lease, leases: &leases };
        // What is not renewed now is next time; what runs out meanwhile is found to be gone then.
        let Ok(answers) = self.within().call(&call).await else { return };
        for (held, is_there) in jobs.iter().zip(answers) {
            if is_there {
                held.renewed(asked);
            } else {
                self.ask_what_became_of(held).await;
            }
        }
    }

    /// A lease is gone: the job has ended elsewhere, or runs without one. Or the server has lost it, with the node.
    async fn ask_what_became_of(&self, held: &HeldJob) {
        let known = self.nodes.pin().get(&NodeId::from(&*held.node.id())).cloned();
        if let Some(known) = known {
            // It puts back what the server has lost; what another has by now it finds lost.
            if self.restore(&known).await.is_err() {
                return;
            }
        }
        let Lease { job, attempt, .. } = held.lease;
        match super::protocol::advance(&self.within(), &held.at(), None, held.terms).await {
            Ok(super::call::Moved::Done) => held.renewed(self.now().saturating_sub(held.terms.lease / 3)),
            Ok(_) => self.lost(job, attempt),
            Err(_) => {}
        }
    }

    /// Passes heartbeats on, and fetches how busy the others' nodes are.
    pub(super) async fn flush(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.config.flush_interval).await;
            let (ours, theirs): (Vec<_>, Vec<_>) =
                self.nodes.pin().values().cloned().partition(|known| known.owner() == self.instance);
            for known in ours.chunks(AT_ONCE) {
                futures_util::future::join_all(known.iter().map(|known| self.tell(known))).await;
            }
            let theirs: Vec<_> = theirs.iter().map(|known| known.handle.id().clone()).collect();
            let _ = self.glance(&theirs).await;
        }
    }

    /// Tells the server of a node of ours. What could not be told now is told next time.
    async fn tell(&self, known: &KnownNode) {
        let _ = self.publish(known).await;
        let _ = self.beat(known).await;
    }

    /// Follows the changes of nodes that other instances make.
    pub(super) async fn mirror(self: Arc<Self>) {
        let mut position = Position::default();
        let mut reconciled = self.now();
        loop {
            let outcome =
                if self.now().saturating_sub(reconciled) >= crate::clock::millis(self.config.reconcile_interval) {
                    reconciled = self.now();
                    self.reconcile(&mut position).await
                } else {
                    self.follow(&mut position).await
                };
            if outcome.is_ok() {
                self.meters.followed.store(self.now(), Ordering::Relaxed);
            }
            tokio::time::sleep(self.config.poll_interval).await;
        }
    }
}
