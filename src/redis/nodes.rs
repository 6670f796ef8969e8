//! Nodes of all instances: each is registered with the scheduler of every one, and owned by that which receives its
//! heartbeats. Only the owner says how it is.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::call::Fields;
use super::engine::Engine;
use super::error::CoordinatorError;
use super::held::HeldJob;
use super::keys::NodeText;
use super::lease::Instance;
use super::node_call::{Announce, Beat, Changed, Deregister, Glance, Register, Registered, Restore, Restored, Update};
use super::shared_error::SharedError;
use super::upkeep::LEASES;
use crate::error::{NodeError, RegisterError};
use crate::id::NodeId;
use crate::node::{NodeHandle, NodeSpec, NodeState, NodeView};
use std::sync::PoisonError;
use tokio::sync::Mutex as AsyncMutex;

use crate::sync::{Mutex, Ordering, Statistic};

/// A node that is registered with the server.
#[derive(Debug)]
pub(super) struct KnownNode {
    /// As our own scheduler knows it.
    pub(super) handle: NodeHandle,
    pub(super) text: NodeText,
    /// As the server counts.
    pub(super) incarnation: u64,
    /// The instance that receives its heartbeats.
    owner: Statistic,
    /// 1: we are the owner since we have received one, which the server has not been told yet.
    claimed: Statistic,
    /// The server said something of it that we did not know.
    pub(super) is_doubtful: Statistic,
    /// When it had last been heard of, as far as the server has been told.
    told: Statistic,
    /// Held while the server is told how it is, or that it is gone: in the order in which that was so.
    telling: AsyncMutex<()>,
    /// What the server was last told of it.
    published: Mutex<Published>,
}

/// What the server was last told of a node.
#[derive(Debug, Default)]
struct Published {
    described: Option<Described>,
    /// It may have something else by now: it has lost that, or another has told it.
    is_doubtful: bool,
}

/// What there is to say of a node, beside its load.
#[derive(Debug, Clone, PartialEq)]
struct Described {
    state: NodeState,
    capacity: u32,
    pools: Vec<String>,
    fields: Vec<(&'static str, String)>,
}

impl KnownNode {
    pub(super) fn new(handle: NodeHandle, incarnation: u64, owner: Instance) -> Self {
        let text = NodeText::of(handle.id());
        let [claimed, is_doubtful, told] = std::array::from_fn(|_| Statistic::new(0));
        let (owner, published) = (Statistic::new(owner.0), Mutex::new(Published::default()));
        let telling = AsyncMutex::new(());
        Self { handle, text, incarnation, owner, claimed, is_doubtful, told, telling, published }
    }

    pub(super) fn owner(&self) -> Instance {
        Instance(self.owner.load(Ordering::Relaxed))
    }

    /// We have received a heartbeat of it, or have been told to change it.
    pub(super) fn claim(&self, owner: Instance) {
        if self.owner.swap(owner.0, Ordering::Relaxed) != owner.0 {
            self.claimed.store(1, Ordering::Relaxed);
            self.doubt_published();
        }
    }

    /// The server says whose it is. What we have claimed meanwhile it has not heard of.
    pub(super) fn note_owner(&self, owner: Instance) {
        if self.claimed.load(Ordering::Relaxed) == 0 {
            self.owner.store(owner.0, Ordering::Relaxed);
        }
    }

    fn is_published(&self, described: &Described) -> bool {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        !published.is_doubtful && published.described.as_ref() == Some(described)
    }

    fn set_published(&self, described: Described) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) =
            Published { described: Some(described), is_doubtful: false };
    }

    /// The server is to be told how it is, whatever it was told before.
    fn doubt_published(&self) {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).is_doubtful = true;
    }

    /// The pools that the server was last told it is in, and whether it may have forgotten that.
    fn published_pools(&self) -> (Vec<String>, bool) {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let pools = published.described.as_ref().map(|described| described.pools.clone());
        (pools.unwrap_or_default(), published.is_doubtful)
    }
}

/// What is told of a node.
fn describe(view: &NodeView, owner: Instance, address: &str) -> Described {
    let off = |service: &crate::Service| !view.services_off.contains(service);
    let capabilities = view.capabilities.retain(off);
    let services: Vec<_> = capabilities.services().map(|service| service.name().to_owned()).collect();
    let languages: Vec<_> = capabilities.languages().into_iter().map(|language| language.tag().to_owned()).collect();
    let fields = vec![
        ("owner", owner.to_string()),
        ("address", address.to_owned()),
        ("weight", view.weight.to_string()),
        ("services", services.join(",")),
        ("languages", languages.join(",")),
        ("capabilities", capabilities.services_text()),
        ("labels", capabilities.labels_text()),
        ("pools", view.pools.join(",")),
    ];
    Described { state: view.state, capacity: view.capacity, pools: view.pools.clone(), fields }
}

impl Engine {
    fn described(&self, view: &NodeView) -> Described {
        describe(view, self.instance, &self.config.address)
    }

    /// Registers a node here and with the server.
    pub(super) async fn register(&self, spec: NodeSpec) -> Result<Arc<KnownNode>, SharedError<RegisterError>> {
        let _managing = self.managing.lock().await;
        self.core().check_spec(&spec)?;
        let text = NodeText::of(&spec.id);
        // How it will be when it is registered here, which is only then to be seen.
        let register = Register {
            node: &text,
            replace: spec.replace,
            capacity: spec.capacity,
            state: NodeState::Registering.as_str(),
            kept: self.kept(),
            fields: &[("owner", self.instance.to_string())],
        };
        let incarnation = match self.within().ask(&register).await? {
            Registered::Registered(incarnation) => incarnation,
            // The answer to an earlier one was lost: nobody else registers in our name.
            Registered::Exists(incarnation, owner)
                if owner == self.instance.to_string() && !self.nodes.pin().contains_key(&spec.id) =>
            {
                incarnation
            }
            Registered::Exists(incarnation, _) => {
                return Err(RegisterError::AlreadyRegistered { id: spec.id, incarnation }.into());
            }
        };
        let handle = match self.scheduler.register(spec.replace_existing()) {
            Ok(handle) => handle,
            Err(error) => {
                let deregister = Deregister { node: &text, incarnation, kept: self.kept() };
                let _ = self.within().ask(&deregister).await;
                return Err(error.into());
            }
        };
        let known = Arc::new(KnownNode::new(handle, incarnation, self.instance));
        self.nodes.pin().insert(known.handle.id().clone(), known.clone());
        self.publish(&known).await.map_err(|error| match error {
            SharedError::Coordinator(error) => SharedError::Coordinator(error),
            _ => SharedError::Stopped,
        })?;
        Ok(known)
    }

    /// Tells the server how a node of ours is, if it has not been told.
    pub(super) async fn publish(&self, known: &KnownNode) -> Result<(), SharedError<NodeError>> {
        let stale = || NodeError::StaleHandle { id: known.handle.id().clone(), incarnation: known.incarnation };
        let _telling = known.telling.lock().await;
        // What the server has of it when it was restored may be from before this change: then it is told once more.
        for _ in 0..3 {
            let Some(view) = self.core().view_of(&known.handle) else { return Err(stale().into()) };
            let described = self.described(&view);
            if known.is_published(&described) {
                return Ok(());
            }
            let update = Update {
                node: &known.text,
                incarnation: known.incarnation,
                state: Some(described.state.as_str()),
                capacity: Some(described.capacity),
                kept: self.kept(),
                fields: &described.fields,
            };
            match self.within().ask(&update).await? {
                Changed::Done => {
                    self.announce(&known.text, true).await?;
                    self.tell_pools(known, &described.pools).await?;
                    known.claimed.store(0, Ordering::Relaxed);
                    known.set_published(described);
                    return Ok(());
                }
                Changed::Unknown if self.put_back(known).await? => {}
                Changed::Unknown => return Err(stale().into()),
                Changed::Stale(_) | Changed::Owned(_) => {
                    known.is_doubtful.store(1, Ordering::Relaxed);
                    return Err(stale().into());
                }
            }
        }
        let detail = format!("the server has lost node {} again and again", known.handle.id());
        Err(CoordinatorError::Lost { detail }.into())
    }

    /// Says to all that a node has changed or is gone, where what has changed it could not.
    async fn announce(&self, node: &NodeText, is_there: bool) -> Result<(), CoordinatorError> {
        if self.keys.are_spread() {
            self.within().ask(&Announce { node, is_there, kept: self.kept() }).await?;
        }
        Ok(())
    }

    /// A node of ours that our scheduler has forgotten, for it was away for too long, is removed from the server, too.
    async fn bury(&self, known: &KnownNode) -> Result<(), CoordinatorError> {
        let _managing = self.managing.lock().await;
        let _telling = known.telling.lock().await;
        let deregister = Deregister { node: &known.text, incarnation: known.incarnation, kept: self.kept() };
        self.within().ask(&deregister).await?;
        self.announce(&known.text, false).await?;
        self.leave_pools(&known.text, &known.published_pools().0).await?;
        let _ = self.nodes.pin().remove_if(known.handle.id(), |_, there| there.incarnation == known.incarnation);
        Ok(())
    }

    /// Tells the server of a node of ours. What could not be told now is told next time.
    pub(super) async fn tell(&self, known: &KnownNode) {
        if self.core().view_of(&known.handle).is_none() {
            let _ = self.bury(known).await;
            return;
        }
        let _ = self.publish(known).await;
        let _ = self.beat(known).await;
    }

    /// Has the sets of pools' members, which are for people and other programs, say that the node is in these.
    async fn tell_pools(&self, known: &KnownNode, pools: &[String]) -> Result<(), CoordinatorError> {
        let (before, is_doubtful) = known.published_pools();
        let mut pipeline = redis::pipe();
        for left in before.iter().filter(|pool| !pools.contains(pool)) {
            pipeline.cmd("SREM").arg(self.keys.pool(left)).arg(&known.text.0);
        }
        for joined in pools.iter().filter(|pool| is_doubtful || !before.contains(pool)) {
            let key = self.keys.pool(joined);
            pipeline.cmd("SADD").arg(&key).arg(&known.text.0).cmd("PEXPIRE").arg(&key).arg(self.kept().slots);
        }
        if pipeline.is_empty() {
            Ok(())
        } else {
            self.servers.plain(&pipeline, self.within().deadline()).await.map(drop)
        }
    }

    /// A node that is gone is in no pool any more, whoever notices first.
    pub(super) async fn leave_pools(&self, node: &NodeText, pools: &[String]) -> Result<(), CoordinatorError> {
        let mut pipeline = redis::pipe();
        for pool in pools {
            pipeline.cmd("SREM").arg(self.keys.pool(pool)).arg(&node.0);
        }
        pipeline.cmd("ZREM").arg(self.keys.nodes()).arg(&node.0);
        self.servers.plain(&pipeline, self.within().deadline()).await.map(drop)
    }

    /// Says that this instance lives, and keeps what all instances share.
    pub(super) async fn live(&self, nodes: usize) -> Result<(), CoordinatorError> {
        let (instance, kept) = (self.keys.instance(self.instance), self.kept());
        let mut pipeline = redis::pipe();
        pipeline.cmd("HSET").arg(&instance).arg("address").arg(&self.config.address).arg("nodes").arg(nodes);
        pipeline.cmd("PEXPIRE").arg(&instance).arg(kept.node);
        let pools = self.scheduler.pools().into_iter().map(|pool| self.keys.pool(&pool.name));
        let epochs = self.servers.epoch_keys();
        for key in [self.keys.nodes(), self.keys.changes()].into_iter().chain(epochs).chain(pools) {
            pipeline.cmd("PEXPIRE").arg(key).arg(kept.slots);
        }
        self.servers.plain(&pipeline, self.within().deadline()).await.map(drop)
    }

    /// Removes a node here and from the server.
    pub(super) async fn deregister(&self, known: &KnownNode) -> Result<(), SharedError<NodeError>> {
        let _managing = self.managing.lock().await;
        self.scheduler.deregister(&known.handle)?;
        let _ = self.nodes.pin().remove_if(known.handle.id(), |_, there| there.incarnation == known.incarnation);
        let deregister = Deregister { node: &known.text, incarnation: known.incarnation, kept: self.kept() };
        let _telling = known.telling.lock().await;
        // Gone is gone, whoever was first.
        self.within().ask(&deregister).await?;
        self.announce(&known.text, false).await?;
        self.leave_pools(&known.text, &known.published_pools().0).await?;
        Ok(())
    }

    /// Passes the heartbeats of a node of ours on, if there were any since.
    pub(super) async fn beat(&self, known: &KnownNode) -> Result<(), CoordinatorError> {
        let Some(glimpse) = self.core().glimpse(&known.handle.node) else { return Ok(()) };
        if glimpse.heard <= known.told.load(Ordering::Relaxed) {
            return Ok(());
        }
        let resources = glimpse.resources.named().map(|(name, share)| (name, format!("{share:.3}")));
        let mut fields = resources.to_vec();
        fields.push(("running", glimpse.running.to_string()));
        let beat = Beat {
            node: &known.text,
            incarnation: known.incarnation,
            owner: self.instance,
            kept: self.kept(),
            fields: &fields,
        };
        match self.within().ask(&beat).await? {
            (Changed::Done, leases) => {
                known.told.store(glimpse.heard, Ordering::Relaxed);
                self.core().note_leases(&known.handle.node, leases);
            }
            (Changed::Unknown, _) => self.restore(known).await?,
            // It has come to us from another.
            (Changed::Owned(_), _) => known.doubt_published(),
            (Changed::Stale(_), _) => known.is_doubtful.store(1, Ordering::Relaxed),
        }
        Ok(())
    }

    /// Tells the server again of a node, and of our leases on it.
    pub(super) async fn restore(&self, known: &KnownNode) -> Result<(), CoordinatorError> {
        let _telling = known.telling.lock().await;
        self.put_back(known).await.map(drop)
    }

    /// The same for whoever tells of the node; whether it is there now. How it is the server may know from before, or have
    /// from another: it is to be told next.
    async fn put_back(&self, known: &KnownNode) -> Result<bool, CoordinatorError> {
        let Some(view) = self.core().view_of(&known.handle) else { return Ok(false) };
        known.doubt_published();
        let described = self.described(&view);
        let now = self.now();
        let is_alive = |held: &HeldJob| held.node == known.text && held.runs_out() > now;
        let held: Vec<_> = self.held.pin().values().filter(|held| is_alive(held)).cloned().collect();
        let leases: Vec<_> =
            held.iter().filter(|held| held.runs_out() > now).map(|held| (held.lease, held.runs_out() - now)).collect();
        let restore = Restore {
            node: &known.text,
            incarnation: known.incarnation,
            capacity: described.capacity,
            state: described.state.as_str(),
            kept: self.kept(),
            longest_lease: crate::clock::millis(self.config.max_lease),
            leases: &leases,
            fields: &described.fields as &Fields,
        };
        match self.within().ask(&restore).await? {
            Restored::Restored { held: there, .. } => {
                self.announce(&known.text, true).await?;
                self.bind_again(&held).await?;
                for (held, _) in held.iter().zip(there).filter(|(_, is_there)| !is_there) {
                    self.ask_what_became_of(held).await;
                }
                Ok(true)
            }
            Restored::Stale(_) => {
                known.is_doubtful.store(1, Ordering::Relaxed);
                Ok(false)
            }
        }
    }

    /// Tells the server again what requests are bound to, of jobs of ours. Those that it knows to have ended, others have ended.
    async fn bind_again(&self, jobs: &[Arc<HeldJob>]) -> Result<(), CoordinatorError> {
        for jobs in jobs.chunks(LEASES) {
            let mut pipeline = redis::pipe();
            jobs.iter().for_each(|held| held.bind_again(&self.keys, &mut pipeline));
            let answers = self.servers.plain(&pipeline, self.within().deadline()).await?;
            for (held, answer) in jobs.iter().zip(answers.into_iter().skip(2).step_by(3)) {
                if !held.is_bound(answer) {
                    self.let_go(held.lease.job, held.lease.attempt);
                }
            }
        }
        Ok(())
    }

    /// Asks how busy nodes are, and whether they were heard of; says how many slots of each are leased, as far as that is known
    /// by then.
    ///
    /// # Errors
    /// Of none of them it could be known.
    pub(super) async fn glance(&self, ids: &[NodeId], by: Instant) -> Result<Vec<Option<u32>>, CoordinatorError> {
        // Where each may be on another server, none waits for another's.
        let together = if self.keys.are_spread() { 1 } else { 256 };
        let looks = ids.chunks(together).map(|ids| async move { (ids.len(), self.look_at(ids, by).await) });
        let (mut leases, mut failed) = (Vec::with_capacity(ids.len()), None);
        for (count, seen) in join_all(looks).await {
            match seen {
                Ok(seen) => leases.extend(seen),
                Err(error) => {
                    leases.extend(std::iter::repeat_n(None, count));
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if leases.iter().all(Option::is_none) => Err(error),
            _ => Ok(leases),
        }
    }

    /// The same of nodes whose keys are on one server.
    async fn look_at(&self, ids: &[NodeId], by: Instant) -> Result<Vec<Option<u32>>, CoordinatorError> {
        let timeout = crate::clock::millis(self.scheduler.config().heartbeat_timeout);
        let nodes: Vec<_> = ids.iter().map(|id| NodeText::of(id)).collect();
        let asked = self.now();
        let answer = self.within_by(by).ask(&Glance { nodes: &nodes }).await;
        let seen = answer.inspect_err(|_| nodes.iter().for_each(|node| self.watches.failed(node)))?;
        let (now, known) = (self.now(), self.nodes.pin());
        for ((id, node), seen) in ids.iter().zip(&nodes).zip(&seen) {
            self.watches.answered(node, asked, now, seen.map(|seen| seen.age));
            if let (Some(known), Some(seen)) = (known.get(id), seen) {
                self.core().note_leases(&known.handle.node, seen.leases);
                if known.owner() != self.instance && seen.age < timeout {
                    self.core().note_alive(&known.handle);
                    // Our scheduler has forgotten it while the server was away.
                    if self.core().glimpse(&known.handle.node).is_none() {
                        known.is_doubtful.store(1, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(seen.iter().map(|seen| seen.map(|seen| seen.leases)).collect())
    }
}
