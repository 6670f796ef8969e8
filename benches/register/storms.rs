//! What else goes on while nodes are selected.

use std::time::Duration;

use slotyard::{Capabilities, Demand, Heartbeat, JobRequest, NodeHandle, NodeSpec, Scheduler};

use crate::fleet;

/// Something done again and again by a thread beside the one that selects.
pub(crate) trait Storm: Send {
    /// Gets ready for a turn; not part of it.
    fn prepare(&mut self) {}
    /// Does it once. `false`: there is nothing left to do in this turn.
    fn step(&mut self) -> bool;
    /// Takes back what a turn has changed; not part of it.
    fn clear_up(&mut self) {}
}

/// Nodes come, as fast as they can.
pub(crate) struct Registrations<'s> {
    scheduler: &'s Scheduler,
    capabilities: fn(u32) -> Capabilities,
    most: u32,
    next: u32,
    specs: Vec<NodeSpec>,
    handles: Vec<NodeHandle>,
}

impl<'s> Registrations<'s> {
    /// Up to `most` a turn, which join the pool that is selected from.
    pub(crate) fn of_the_same(scheduler: &'s Scheduler, first: u32, most: u32) -> Self {
        Self::new(scheduler, first, most, |_| fleet::capabilities())
    }

    /// Up to `most` a turn, each of which has a pool made for it: every time a new snapshot, and a new route.
    pub(crate) fn of_others(scheduler: &'s Scheduler, first: u32, most: u32) -> Self {
        Self::new(scheduler, first, most, |number| Capabilities::new().service(format!("other-{number}")))
    }

    fn new(scheduler: &'s Scheduler, first: u32, most: u32, capabilities: fn(u32) -> Capabilities) -> Self {
        Self { scheduler, capabilities, most, next: first, specs: Vec::new(), handles: Vec::new() }
    }
}

impl Storm for Registrations<'_> {
    fn prepare(&mut self) {
        // Making specs is not what is looked at. Nor is what is left of the last turn, or growing the list.
        let first = self.next;
        self.specs = (first..first + self.most).map(|id| fleet::spec(id, 8, &(self.capabilities)(id))).collect();
        self.handles.reserve(self.specs.len());
        self.next += self.most;
    }

    fn step(&mut self) -> bool {
        let Some(spec) = self.specs.pop() else { return false };
        self.handles.push(self.scheduler.register(spec).expect("the id is new"));
        true
    }

    fn clear_up(&mut self) {
        for handle in self.handles.drain(..) {
            self.scheduler.deregister(&handle).expect("it is registered");
        }
    }
}

/// Every node reports that nothing has changed, one after the other.
pub(crate) struct Heartbeats<'s> {
    pub(crate) scheduler: &'s Scheduler,
    pub(crate) handles: &'s [NodeHandle],
    pub(crate) next: usize,
}

impl Storm for Heartbeats<'_> {
    fn step(&mut self) -> bool {
        self.next = (self.next + 1) % self.handles.len();
        self.scheduler.heartbeat(&self.handles[self.next], &Heartbeat::ready()).expect("it is registered");
        true
    }
}

/// One node after the other is drained, and taken back.
pub(crate) struct Drains<'s> {
    pub(crate) scheduler: &'s Scheduler,
    pub(crate) handles: &'s [NodeHandle],
    pub(crate) next: usize,
}

impl Storm for Drains<'_> {
    fn step(&mut self) -> bool {
        self.next = (self.next + 1) % self.handles.len();
        let handle = &self.handles[self.next];
        self.scheduler.drain(handle).expect("it is registered");
        self.scheduler.undrain(handle).expect("it is registered");
        true
    }
}

/// Leases run out and nodes go offline with their jobs, tick after tick.
///
/// For each tick of a turn some nodes had their last heartbeat just so long before that they go offline then, and as
/// many jobs had been created that their leases run out.
pub(crate) struct Expiries<'s> {
    scheduler: &'s Scheduler,
    demand: Demand,
    /// Those that go offline, a group a tick, and those that do not.
    mortal: Vec<&'s [NodeHandle]>,
    others: &'s [NodeHandle],
    now: Duration,
    /// Ticks that were taken in this turn.
    ticks: usize,
    requests: u64,
}

/// Nodes that go offline at a tick.
const GROUP: usize = 8;
/// Jobs whose leases run out at a tick.
const LEASES: usize = 16;
/// No more ticks than this have nodes going offline, so that they are over before the others want a heartbeat.
const MOST_TICKS: usize = 1024;

impl<'s> Expiries<'s> {
    /// The handles in random order, so that nodes of all parts of the fleet go. `scheduler` keeps its own time.
    pub(crate) fn new(scheduler: &'s Scheduler, handles: &'s [NodeHandle]) -> Self {
        let (mortal, others) = handles.split_at(handles.len() / 2 / GROUP * GROUP);
        let mut mortal: Vec<_> = mortal.chunks(GROUP).collect();
        mortal.truncate(MOST_TICKS);
        Self { scheduler, demand: fleet::demand(), mortal, others, now: Duration::ZERO, ticks: 0, requests: 0 }
    }

    fn tick(&mut self) {
        self.now += self.scheduler.config().tick_interval;
        self.scheduler.tick(self.now);
    }

    fn beat(&self, handles: &[NodeHandle]) {
        for handle in handles {
            self.scheduler.heartbeat(handle, &Heartbeat::ready()).expect("offline nodes are not forgotten so soon");
        }
    }
}

impl Storm for Expiries<'_> {
    fn prepare(&mut self) {
        self.beat(self.others);
        let first = self.now;
        let timeout = self.scheduler.config().heartbeat_timeout;
        for group in self.mortal.clone() {
            self.tick();
            self.beat(group);
            for _ in 0..LEASES {
                self.requests += 1;
                let request = JobRequest::new(format!("expires-{}", self.requests), self.demand.clone());
                self.scheduler.create_job(&request.lease(timeout)).expect("slots are free");
            }
        }
        // Those with half of their time gone must not go, too.
        self.beat(self.others);
        self.now = self.now.max(first + timeout);
        self.scheduler.tick(self.now);
        self.beat(self.others);
        self.ticks = 0;
    }

    fn step(&mut self) -> bool {
        self.ticks += 1;
        self.tick();
        self.ticks < self.mortal.len()
    }
}
