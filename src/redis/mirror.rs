//! What other instances' nodes are like: heard of by the stream of changes, and looked at as a whole now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redis::Value;

use super::engine::Engine;
use super::error::CoordinatorError;
use super::keys::NodeText;
use super::lease::Instance;
use super::nodes::KnownNode;
use crate::capability::Capabilities;
use crate::id::NodeId;
use crate::node::{Heartbeat, NodeSpec, NodeState};
use crate::sync::Ordering;

/// So many nodes are read at once.
const BATCH: usize = 128;

/// How far the stream of changes has been read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Position(Option<String>);

/// A node, as the server describes it.
#[derive(Debug)]
struct Remote {
    incarnation: u64,
    owner: Instance,
    capacity: u32,
    weight: u16,
    state: NodeState,
    capabilities: Capabilities,
}

impl Remote {
    fn of(fields: &BTreeMap<String, String>) -> Option<Self> {
        let field = |name: &str| fields.get(name).map(String::as_str);
        Some(Self {
            incarnation: field("incarnation")?.parse().ok()?,
            owner: Instance(u64::from_str_radix(field("owner")?, 16).ok()?),
            capacity: field("capacity")?.parse().ok()?,
            weight: field("weight")?.parse().ok()?,
            state: NodeState::ALL.into_iter().find(|state| Some(state.as_str()) == field("state"))?,
            capabilities: Capabilities::from_texts(field("capabilities")?, field("labels")?)?,
        })
    }
}

impl Engine {
    /// Reads on in the stream of changes, and looks at the nodes that have changed; at all of them, where it cannot be known
    /// which have.
    pub(super) async fn follow(&self, position: &mut Position) -> Result<(), CoordinatorError> {
        let Some(from) = position.0.clone() else { return self.reconcile(position).await };
        let mut read = redis::cmd("XRANGE");
        read.arg(self.keys.changes()).arg(&from).arg("+").arg("COUNT").arg(1024);
        let entries = entries(self.ask(read).await?);
        // The last one that was read is there yet, and none was left out after it.
        let mut last = entries.first().filter(|entry| entry.id == from).map(|entry| entry.id.clone());
        let is_whole = entries.iter().skip(1).all(|entry| {
            let follows = last.as_ref() == Some(&entry.after);
            last = Some(entry.id.clone());
            follows
        });
        if last.is_none() || !is_whole {
            self.meters.gaps.fetch_add(1, Ordering::Relaxed);
            return self.reconcile(position).await;
        }
        let changed: BTreeSet<_> = entries.iter().skip(1).map(|entry| entry.node.clone()).collect();
        self.read_nodes(&changed.into_iter().collect::<Vec<_>>()).await?;
        position.0 = last;
        let doubtful: Vec<_> = {
            let nodes = self.nodes.pin();
            let doubtful = nodes.values().filter(|known| known.is_doubtful.swap(0, Ordering::Relaxed) != 0);
            doubtful.map(|known| known.text.clone()).collect()
        };
        self.read_nodes(&doubtful).await
    }

    /// Looks at all nodes that there are.
    pub(super) async fn reconcile(&self, position: &mut Position) -> Result<(), CoordinatorError> {
        self.meters.reconciliations.fetch_add(1, Ordering::Relaxed);
        // First, so that what changes meanwhile is read once more.
        let mut last = redis::cmd("XREVRANGE");
        last.arg(self.keys.changes()).arg("+").arg("-").arg("COUNT").arg(1);
        let last = entries(self.ask(last).await?).pop().map(|entry| entry.id);
        let mut all = redis::cmd("ZRANGE");
        all.arg(self.keys.nodes()).arg(0).arg(-1);
        let mut there: BTreeSet<_> = texts(self.ask(all).await?).into_iter().map(NodeText).collect();
        there.extend(self.nodes.pin().values().map(|known| known.text.clone()));
        self.read_nodes(&there.into_iter().collect::<Vec<_>>()).await?;
        position.0 = last;
        Ok(())
    }

    async fn read_nodes(&self, nodes: &[NodeText]) -> Result<(), CoordinatorError> {
        for nodes in nodes.chunks(BATCH) {
            // What is read is applied before anybody here changes a node: it would be taken back else.
            let _managing = self.managing.lock().await;
            let mut pipeline = redis::pipe();
            for node in nodes {
                pipeline.cmd("HGETALL").arg(self.keys.node(node));
            }
            let answers = self.servers.plain(&pipeline, self.within().deadline()).await?;
            for (node, answer) in nodes.iter().zip(answers) {
                let fields: BTreeMap<String, String> = redis::from_redis_value(answer).unwrap_or_default();
                if let Some(pools) = self.apply(node, &fields) {
                    self.leave_pools(node, &pools).await?;
                }
            }
        }
        Ok(())
    }

    /// Has our scheduler know a node as the server describes it. Of our own ones we know better. If the node is gone, the
    /// pools that it was in.
    fn apply(&self, node: &NodeText, fields: &BTreeMap<String, String>) -> Option<Vec<String>> {
        let id = NodeId::from(&*node.id());
        let known = self.nodes.pin().get(&id).cloned();
        if fields.is_empty() {
            // What is ours and has been lost is told again with its next heartbeat.
            let known = known.filter(|known| known.owner() != self.instance)?;
            let pools = self.core().view_of(&known.handle).map(|view| view.pools);
            self.forget(&known);
            return Some(pools.unwrap_or_default());
        }
        let Some(remote) = Remote::of(fields) else {
            // Just being registered, or of a later version.
            return None;
        };
        match known {
            Some(known) if known.incarnation > remote.incarnation => {}
            Some(known) if known.incarnation == remote.incarnation => {
                known.note_owner(remote.owner);
                if known.owner() != self.instance {
                    self.take_over_description(&known, remote);
                }
            }
            _ if remote.owner == self.instance => {}
            _ => self.take_in(id, remote),
        }
        None
    }

    fn forget(&self, known: &KnownNode) {
        // It may have gone by itself.
        let _ = self.scheduler.deregister(&known.handle);
        let _ = self.nodes.pin().remove_if(known.handle.id(), |_, there| there.incarnation == known.incarnation);
    }

    fn take_in(&self, id: NodeId, remote: Remote) {
        let spec = NodeSpec::new(&*id).capacity(remote.capacity).weight(remote.weight).replace_existing();
        match self.scheduler.register(spec.capabilities(remote.capabilities.clone())) {
            Ok(handle) => {
                let known = Arc::new(KnownNode::new(handle, remote.incarnation, remote.owner));
                self.take_over_state(&known, remote.state);
                self.nodes.pin().insert(id, known);
            }
            Err(error) => tracing::warn!(node = %id, %error, "a node of another instance cannot be used here"),
        }
    }

    fn take_over_description(&self, known: &KnownNode, remote: Remote) {
        let Some(view) = self.core().view_of(&known.handle) else {
            // It was not heard of for long, here.
            self.forget(known);
            return self.take_in(known.handle.id().clone(), remote);
        };
        let changed = || {
            if view.capabilities != remote.capabilities {
                self.scheduler.update(&known.handle, remote.capabilities.clone())?;
            }
            if view.capacity != remote.capacity {
                self.scheduler.set_capacity(&known.handle, remote.capacity)?;
            }
            if view.weight != remote.weight {
                self.scheduler.set_weight(&known.handle, remote.weight)?;
            }
            Ok::<_, crate::NodeError>(())
        };
        if let Err(error) = changed() {
            tracing::warn!(node = %known.handle.id(), %error, "a node of another instance cannot be used here as it is");
        }
        if view.state != remote.state {
            self.take_over_state(known, remote.state);
        }
    }

    fn take_over_state(&self, known: &KnownNode, state: NodeState) {
        let handle = &known.handle;
        // Each fails only where the node is gone by now.
        let _ = match state {
            NodeState::Draining => self.scheduler.drain(handle),
            _ => self.scheduler.undrain(handle),
        };
        let _ = match state {
            NodeState::Ready => self.scheduler.heartbeat(handle, &Heartbeat::ready()),
            NodeState::Degraded => self.scheduler.heartbeat(handle, &Heartbeat::not_ready()),
            NodeState::Offline => {
                self.core().put_offline(handle);
                Ok(())
            }
            NodeState::Draining | NodeState::Registering => Ok(()),
        };
    }

    async fn ask(&self, command: redis::Cmd) -> Result<Value, CoordinatorError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command);
        let answers = self.servers.plain(&pipeline, self.within().deadline()).await?;
        Ok(answers.into_iter().next().unwrap_or(Value::Nil))
    }
}

/// An entry of the stream of changes.
struct Entry {
    id: String,
    node: NodeText,
    /// The id of the one before.
    after: String,
}

/// What the server has told of a stream. What nobody of ours has written is left out, and is missed by the next.
fn entries(answer: Value) -> Vec<Entry> {
    let listed: Vec<(String, Vec<String>)> = redis::from_redis_value(answer).unwrap_or_default();
    let entry = |(id, fields): (String, Vec<String>)| {
        let field = |name: &str| fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
        Some(Entry { id, node: NodeText(field("node")?), after: field("after")? })
    };
    listed.into_iter().filter_map(entry).collect()
}

fn texts(answer: Value) -> Vec<String> {
    redis::from_redis_value(answer).unwrap_or_default()
}
