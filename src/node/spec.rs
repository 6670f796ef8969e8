//! How a node describes itself: on registration, and with every heartbeat.

use std::collections::BTreeSet;

use crate::capability::{Capabilities, IntoLanguage, Service};
use crate::id::NodeId;

/// Weight of a node that says nothing else.
pub const DEFAULT_WEIGHT: u16 = 100;

/// What a node is when it registers.
///
/// The builder methods never fail; [`register`](crate::Scheduler::register) tells what is wrong.
///
/// ```
/// use slotyard::NodeSpec;
///
/// let spec = NodeSpec::new("gpu-7").capacity(8).asr(["zh", "en"]).nmt_any(["zh", "en"]).tts(["en"]).label("zone", "a");
/// # let _ = spec;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpec {
    pub(crate) id: NodeId,
    pub(crate) capacity: u32,
    pub(crate) weight: u16,
    pub(crate) capabilities: Capabilities,
    pub(crate) ready: bool,
    pub(crate) replace: bool,
}

impl NodeSpec {
    /// A node of one slot that can do nothing in particular.
    pub fn new(id: impl Into<NodeId>) -> Self {
        Self {
            id: id.into(),
            capacity: 1,
            weight: DEFAULT_WEIGHT,
            capabilities: Capabilities::new(),
            ready: false,
            replace: false,
        }
    }

    /// How many jobs it runs at once: 1 to 16,383 slots.
    pub fn capacity(mut self, slots: u32) -> Self {
        self.capacity = slots;
        self
    }

    /// How much of the load it takes in relation to others, slot for slot; 100 unless said. 0 means drained.
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// All capabilities at once, in place of those named so far.
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// It is ready from the start; otherwise it is `Registering` until a heartbeat says so.
    pub fn ready(mut self) -> Self {
        self.ready = true;
        self
    }

    /// Replace a node that is registered under this id: its jobs become orphans, and a new incarnation starts.
    /// Otherwise a known id is refused.
    pub fn replace_existing(mut self) -> Self {
        self.replace = true;
        self
    }

    /// See [`Capabilities::asr`].
    pub fn asr<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.with(|capabilities| capabilities.asr(languages))
    }

    /// See [`Capabilities::nmt_any`].
    pub fn nmt_any<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.with(|capabilities| capabilities.nmt_any(languages))
    }

    /// See [`Capabilities::nmt_pairs`].
    pub fn nmt_pairs<S: IntoLanguage, T: IntoLanguage>(self, pairs: impl IntoIterator<Item = (S, T)>) -> Self {
        self.with(|capabilities| capabilities.nmt_pairs(pairs))
    }

    /// See [`Capabilities::tts`].
    pub fn tts<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.with(|capabilities| capabilities.tts(languages))
    }

    /// See [`Capabilities::semantic`].
    pub fn semantic<L: IntoLanguage>(self, languages: impl IntoIterator<Item = L>) -> Self {
        self.with(|capabilities| capabilities.semantic(languages))
    }

    /// See [`Capabilities::service`].
    pub fn service(self, service: impl Into<Service>) -> Self {
        self.with(|capabilities| capabilities.service(service))
    }

    /// See [`Capabilities::service_in`].
    pub fn service_in<L: IntoLanguage>(
        self,
        service: impl Into<Service>,
        languages: impl IntoIterator<Item = L>,
    ) -> Self {
        self.with(|capabilities| capabilities.service_in(service, languages))
    }

    /// See [`Capabilities::label`].
    pub fn label(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.with(|capabilities| capabilities.label(name, value))
    }

    fn with(mut self, change: impl FnOnce(Capabilities) -> Capabilities) -> Self {
        self.capabilities = change(std::mem::take(&mut self.capabilities));
        self
    }
}

/// How much of a node's resources is in use, each from 0 (idle) to 1 (all).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ResourceUse {
    /// Processor.
    pub cpu: f32,
    /// Memory.
    pub memory: f32,
    /// Accelerator.
    pub gpu: f32,
    /// Accelerator memory.
    pub gpu_memory: f32,
}

impl ResourceUse {
    /// In the order of the fields.
    #[inline(always)]
    pub(crate) fn shares(&self) -> [f32; 4] {
        [self.cpu, self.memory, self.gpu, self.gpu_memory]
    }

    /// Each with its name, in the order of the fields.
    pub(crate) fn named(&self) -> [(&'static str, f32); 4] {
        [("cpu", self.cpu), ("memory", self.memory), ("gpu", self.gpu), ("gpu_memory", self.gpu_memory)]
    }
}

/// What a node says of itself while it lives. What a heartbeat leaves out stays as it was.
///
/// ```
/// use slotyard::{Heartbeat, ResourceUse};
///
/// let beat = Heartbeat::ready().running(3).resources(ResourceUse { gpu: 0.8, ..Default::default() });
/// # let _ = beat;
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heartbeat {
    pub(crate) readiness: Readiness,
    pub(crate) running: Option<u32>,
    pub(crate) resources: Option<ResourceUse>,
    pub(crate) services: Option<Vec<Service>>,
}

/// Whether a node takes jobs, by its own word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Readiness {
    /// As before.
    #[default]
    Unchanged,
    /// It takes jobs.
    Ready,
    /// It is alive, but not to be used: loading a model, say.
    NotReady,
}

impl Heartbeat {
    /// Alive, and nothing has changed.
    pub fn alive() -> Self {
        Self::default()
    }

    /// Alive and taking jobs.
    pub fn ready() -> Self {
        Self { readiness: Readiness::Ready, ..Self::default() }
    }

    /// Alive, but not to be used for now.
    pub fn not_ready() -> Self {
        Self { readiness: Readiness::NotReady, ..Self::default() }
    }

    /// How many jobs the node itself counts, those of other gateways included. What it counts beyond ours takes up
    /// slots, and is forgotten by and by when no heartbeat repeats it.
    pub fn running(mut self, jobs: u32) -> Self {
        self.running = Some(jobs);
        self
    }

    /// What it uses of its resources.
    pub fn resources(mut self, resources: ResourceUse) -> Self {
        self.resources = Some(resources);
        self
    }

    /// Which of its services are ready; the others are off until a heartbeat names them again.
    pub fn services<S: Into<Service>>(mut self, services: impl IntoIterator<Item = S>) -> Self {
        // In one order, so that naming the same ones otherwise is no change.
        let services: BTreeSet<Service> = services.into_iter().map(Into::into).collect();
        self.services = Some(services.into_iter().collect());
        self
    }
}
