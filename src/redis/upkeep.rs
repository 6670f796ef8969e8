//! What an instance does by itself: keeps its leases and its nodes alive, and follows what others do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::timeout;

use super::call::{Moved, Renew};
use super::engine::Engine;
use super::error::CoordinatorError;
use super::held::HeldJob;
use super::keys::NodeText;
use super::lease::{Binding, Lease};
use super::mirror::Position;
use super::protocol::{self, JobAt};
use super::spread_call::Give;
use crate::clock::millis;
use crate::event::Event;
use crate::id::NodeId;
use crate::job::JobState;
use crate::node::NodeState;
use crate::sync::Ordering;

/// So many of an instance's nodes are told of at once.
const AT_ONCE: usize = 64;
/// What could not be read is read again after so long.
const SOON: Duration = Duration::from_millis(100);
/// So many leases are renewed by one call.
pub(super) const LEASES: usize = 256;

impl Engine {
    /// Keeps the leases of jobs, and sees to those that nobody works on. Does not end by itself.
    pub(super) async fn renew_leases(self: Arc<Self>) {
        // What has to wait for the server's answers must not keep leases from being renewed.
        join(self.renew_in_time(), self.see_to_jobs()).await;
    }

    /// Renews leases, a third of one after it has begun.
    async fn renew_in_time(&self) {
        loop {
            let _ = timeout(self.until_renewals(), self.has_short_lease.notified()).await;
            if self.ensure_restored().await.is_err() {
                continue;
            }
            let now = self.now();
            let is_due = |held: &&Arc<HeldJob>| now.saturating_sub(held.begun()) >= held.terms.lease / 3;
            let due: Vec<_> = self.held.pin().values().filter(is_due).cloned().collect();
            self.renew_all(due).await;
        }
    }

    /// How long no lease has to be looked at: a lease that is not due then is in time with the next look.
    fn until_renewals(&self) -> Duration {
        let shortest = self.held.pin().values().map(|held| held.terms.lease).min();
        let shortest = shortest.unwrap_or(u64::MAX).min(self.core().default_lease());
        self.config.poll_interval.min(Duration::from_millis((shortest / 6).max(1)))
    }

    /// There is a job with a lease of so many ms.
    pub(super) fn note_lease(&self, lease: u64) {
        if lease < self.core().default_lease() && u128::from(lease / 6) < self.config.poll_interval.as_millis() {
            self.has_short_lease.notify_one();
        }
    }

    /// Has the server know of jobs that it does not know of, and ends those that nobody works on.
    async fn see_to_jobs(&self) {
        let mut unknown = BTreeSet::new();
        loop {
            tokio::time::sleep(self.config.poll_interval.min(self.config.flush_interval)).await;
            self.orphan_alone();
            if self.ensure_restored().await.is_ok() {
                self.make_known().await;
                self.check_unknown(&mut unknown).await;
                self.orphan_jobs().await;
            }
        }
    }

    /// Renews leases, of all nodes at once: one after the other they would take as many round trips as there are nodes.
    async fn renew_all(&self, jobs: impl IntoIterator<Item = Arc<HeldJob>>) {
        let mut together: BTreeMap<(NodeText, u64), Vec<Arc<HeldJob>>> = BTreeMap::new();
        for held in jobs {
            together.entry((held.node.clone(), held.terms.lease)).or_default().push(held);
        }
        let calls: Vec<_> = together
            .iter()
            .flat_map(|((node, lease), jobs)| jobs.chunks(LEASES).map(move |jobs| (node, *lease, jobs)))
            .collect();
        for calls in calls.chunks(AT_ONCE) {
            join_all(calls.iter().map(|(node, lease, jobs)| self.renew(node, *lease, jobs))).await;
        }
    }

    /// Renews leases of one node; those that turn out to be gone are let go.
    async fn renew(&self, node: &NodeText, lease: u64, jobs: &[Arc<HeldJob>]) {
        let leases: Vec<Lease> = jobs.iter().map(|held| held.lease).collect();
        let asked = self.now();
        // What is not renewed now is next time; what runs out meanwhile is found to be gone then.
        let Ok(answers) = self.within().ask(&Renew { node, lease, leases: &leases }).await else { return };
        if answers.is_empty() {
            let known = self.nodes.pin().get(&*node.id()).cloned();
            match known {
                Some(known) => drop(self.restore(&known).await),
                None => drop(join_all(jobs.iter().map(|held| self.ask_what_became_of(held))).await),
            }
            return;
        }
        for (held, lost) in jobs.iter().zip(answers) {
            match lost {
                None => held.renewed(asked),
                Some(_) => self.ask_what_became_of(held).await,
            }
        }
        if self.keys.are_spread() {
            self.look_for_ends(jobs).await;
        }
    }

    /// A lease that is there may be of a job that has ended, where the two are on different servers: whoever was to give it
    /// back has crashed.
    async fn look_for_ends(&self, jobs: &[Arc<HeldJob>]) {
        let mut pipeline = redis::pipe();
        for held in jobs {
            pipeline.cmd("GET").arg(self.keys.request(&held.request));
        }
        let Ok(answers) = self.servers.plain(&pipeline, self.within().deadline()).await else { return };
        for (held, answer) in jobs.iter().zip(answers) {
            // What is not bound at all is to be bound again, or so old that nobody asks.
            if answer != redis::Value::Nil && !held.is_bound(answer) {
                let give = Give { node: &held.node, lease: Ok(held.lease) };
                let _ = self.within().ask(&give).await;
                self.let_go(held.lease.job, held.lease.attempt);
            }
        }
    }

    /// A lease is gone: the job has been ended elsewhere, or runs without one.
    pub(super) async fn ask_what_became_of(&self, held: &HeldJob) {
        match protocol::advance(&self.within(), &held.at(), None, held.terms).await {
            // It was just being made.
            Ok(Moved::Done) => {}
            Ok(Moved::Ended(end @ (JobState::Expired | JobState::Orphaned))) => self.lost(&held.lease, end),
            Ok(Moved::Unknown) => self.lost(&held.lease, JobState::Expired),
            Ok(_) => self.let_go(held.lease.job, held.lease.attempt),
            Err(_) => {}
        }
    }

    /// A lease of ours is gone from the server: the job has ended so.
    pub(super) fn lost(&self, lease: &Lease, end: JobState) {
        // Of several who find that out one tells of it.
        let held = self.held.pin();
        let Ok(Some((_, held))) = held.remove_if(&lease.job, |_, held| held.lease == *lease) else { return };
        held.let_go(self);
        self.meters.lost_leases.fetch_add(1, Ordering::Relaxed);
        let (job, attempt) = (lease.job, lease.attempt);
        self.core().events.emit(|| {
            let (node, request_id) = (NodeId::from(&*held.node.id()), held.request.as_str().into());
            match end {
                JobState::Orphaned => Event::JobOrphaned { job, attempt, node, request_id },
                _ => Event::JobExpired { job, attempt, node, request_id },
            }
        });
    }

    /// A job was ended by us. A server that loses that is told again, before whoever holds its lease has it begin anew.
    pub(super) fn remember_end(&self, request: &str, binding: Binding, end: JobState) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, kept) = (self.now(), millis(self.config.max_lease));
        while ends.len() >= self.config.max_outbox || ends.front().is_some_and(|(at, ..)| at + kept < now) {
            ends.pop_front();
        }
        ends.push_back((now, request.to_owned(), Binding { state: end, ..binding }));
    }

    async fn tell_of_ends(&self) -> Result<(), CoordinatorError> {
        let ends: Vec<_> = self.ends.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        for ends in ends.chunks(LEASES) {
            let mut pipeline = redis::pipe();
            for (_, request, binding) in ends {
                let kept = self.terms(0).ended;
                let (key, text) = (self.keys.request(request), binding.to_string());
                pipeline.cmd("SET").arg(key).arg(text).arg("NX").arg("PX").arg(kept);
            }
            let answers = self.servers.plain(&pipeline, self.within().deadline()).await?;
            // Of what is bound, its holder may have come first, who had not heard yet that it has ended.
            let bound = ends.iter().zip(answers).filter(|(_, answer)| *answer == redis::Value::Nil);
            for ((_, request, Binding { lease, node, state, .. }), _) in bound {
                let (request, node) = (request.clone(), node.clone());
                let (job, attempt, instance, lease) = (lease.job, lease.attempt, lease.instance, Some(*lease));
                let at = JobAt { request, job, attempt, node, instance, lease };
                protocol::finish(&self.within(), &at, *state, self.terms(0)).await?;
            }
        }
        Ok(())
    }

    /// Ends the jobs of ours whose node is offline or has ended: nobody works on them any more.
    async fn orphan_jobs(&self) {
        let is_gone = |held: &HeldJob| {
            let known = self.nodes.pin().get(&*held.node.id()).cloned();
            let is_ours = known.as_ref().is_some_and(|known| known.owner() == self.instance);
            // A lease is of an incarnation if its fence is larger; of an earlier one the server has let go.
            let glimpse = known.and_then(|known| self.core().glimpse(&known.handle.node));
            glimpse.is_none_or(|glimpse| glimpse.state == NodeState::Offline)
                // Of another's node that says nothing yet: while the server was away nothing could be heard of it.
                && (is_ours || self.watches.is_given_up(&held.node, self.now()))
        };
        let orphans: Vec<_> = self.held.pin().values().filter(|held| is_gone(held)).cloned().collect();
        for orphans in orphans.chunks(AT_ONCE) {
            // The server may have been away meanwhile.
            let orphans = orphans.iter().filter(|held| is_gone(held));
            join_all(orphans.map(|held| self.orphan(held))).await;
        }
    }

    async fn orphan(&self, held: &HeldJob) {
        match protocol::finish(&self.within(), &held.at(), JobState::Orphaned, held.terms).await {
            Ok(Moved::Done) => self.lost(&held.lease, JobState::Orphaned),
            Ok(Moved::Ended(end @ (JobState::Expired | JobState::Orphaned))) => self.lost(&held.lease, end),
            Ok(_) => self.let_go(held.lease.job, held.lease.attempt),
            // Next time.
            Err(_) => {}
        }
    }

    /// Looks at once whether the leases of jobs are there whose node is not known any more: with one that was deregistered
    /// they have gone. `before`: those that were not known before.
    async fn check_unknown(&self, before: &mut BTreeSet<NodeText>) {
        let unknown = self.unknown_nodes();
        let ids: Vec<_> = unknown.difference(before).map(|node| NodeId::from(&*node.id())).collect();
        self.check_held(&ids).await;
        *before = unknown;
    }

    /// Nodes of jobs of ours that are not known here.
    fn unknown_nodes(&self) -> BTreeSet<NodeText> {
        let nodes = self.nodes.pin();
        let is_unknown = |held: &&Arc<HeldJob>| !nodes.contains_key(&*held.node.id());
        self.held.pin().values().filter(is_unknown).map(|held| held.node.clone()).collect()
    }

    /// Holds what is held here against what the server has: of nodes of which fewer slots are leased than we hold.
    pub(super) async fn check_held(&self, nodes: &[NodeId]) {
        if nodes.is_empty() {
            return;
        }
        let nodes: BTreeSet<_> = nodes.iter().map(|id| NodeText::of(id)).collect();
        let held: Vec<_> = self.held.pin().values().filter(|held| nodes.contains(&held.node)).cloned().collect();
        self.renew_all(held).await;
    }

    /// Sees to it that a server that is not the one that granted our leases has been told of them.
    pub(super) async fn ensure_restored(&self) -> Result<(), CoordinatorError> {
        let epoch = || self.servers.traffic().epochs.load(Ordering::Relaxed);
        let is_done = || self.meters.restored.load(Ordering::Relaxed) == epoch();
        if is_done() {
            return Ok(());
        }
        // One does it for all that wait.
        let _restoring = self.restoring.lock().await;
        if is_done() {
            return Ok(());
        }
        let epoch = epoch();
        self.tell_of_ends().await?;
        let mut nodes: BTreeSet<_> = self.held.pin().values().map(|held| NodeId::from(&*held.node.id())).collect();
        let ours: Vec<_> = self.nodes.pin().values().cloned().collect();
        for known in ours {
            if nodes.remove(known.handle.id()) || known.owner() == self.instance {
                self.restore(&known).await?;
            }
        }
        self.meters.restored.store(epoch, Ordering::Relaxed);
        Ok(())
    }

    /// Passes heartbeats on, and fetches how busy the others' nodes are.
    pub(super) async fn flush(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.config.flush_interval).await;
            let (ours, theirs): (Vec<_>, Vec<_>) =
                self.nodes.pin().values().cloned().partition(|known| known.owner() == self.instance);
            let telling = async {
                for known in ours.chunks(AT_ONCE) {
                    join_all(known.iter().map(|known| self.tell(known))).await;
                }
                let _ = self.live(ours.len()).await;
            };
            let mut watched = self.unknown_nodes();
            watched.extend(theirs.iter().map(|known| known.text.clone()));
            self.watches.retain(&watched);
            let watched: Vec<_> = watched.iter().map(|node| NodeId::from(&*node.id())).collect();
            // What cannot be told has nobody wait who could be heard of.
            let _ = join(telling, self.glance(&watched, self.within().deadline())).await;
        }
    }

    /// Follows the changes of nodes that other instances make.
    pub(super) async fn mirror(self: Arc<Self>) {
        let mut position = Position::default();
        let mut reconciled = self.now();
        loop {
            let outcome = if self.now().saturating_sub(reconciled) >= millis(self.config.reconcile_interval) {
                reconciled = self.now();
                self.reconcile(&mut position).await
            } else {
                self.follow(&mut position).await
            };
            // What could not be read now is next time.
            let _ = self.read_inbox().await;
            let mut wait = self.config.poll_interval;
            match outcome {
                Ok(()) => drop(self.meters.followed.send_replace(self.now())),
                // Whoever waits to be connected waits for this.
                Err(_) => wait = wait.min(SOON),
            }
            tokio::time::sleep(wait).await;
        }
    }
}
