//! slotyard: one pool of nodes of equal capabilities, a demand prepared once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use slotyard::{Heartbeat, NodeHandle, NodeSpec, PreparedDemand, Scheduler};

use super::SLOTS;
use crate::fleet;
use crate::peer::{ANY_SIZE, Does, Entry, Operation, Peer, Refusal};

/// Different nodes that heartbeats come from, in random order.
const HANDLES: usize = 1 << 16;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        Entry {
            name: "slotyard",
            does: Does::Reserve,
            lacks: "`reserve_prepared` and the drop of the reservation; `register` + `deregister`; `heartbeat` by handle",
            has: &[Operation::Change, Operation::Load],
            most: ANY_SIZE,
            build: |nodes| Ok(Box::new(Reserving(Fleet::new(nodes)))),
        },
        Entry {
            name: "slotyard, select alone",
            does: Does::Select,
            lacks: "`select_prepared`; what only selects is compared to it",
            has: &[],
            most: ANY_SIZE,
            build: |nodes| -> Result<Box<dyn Peer>, Refusal> { Ok(Box::new(Selecting(Fleet::new(nodes)))) },
        },
    ]
}

struct Fleet {
    scheduler: Scheduler,
    prepared: PreparedDemand,
    handles: Vec<NodeHandle>,
    /// Of the next node.
    number: u32,
    beats: [Heartbeat; 2],
}

struct Reserving(Fleet);
struct Selecting(Fleet);

impl Fleet {
    fn new(nodes: u32) -> Self {
        let (scheduler, _) = fleet::scheduler(nodes, SLOTS);
        let prepared = scheduler.prepare(&fleet::demand());
        let mut random = fastrand::Rng::with_seed(3);
        let some = |_| scheduler.handle(&fleet::node_id(random.u32(..nodes))).expect("it is registered");
        let handles = (0..HANDLES).map(some).collect();
        let beats = [Heartbeat::ready().running(0), Heartbeat::ready().running(1)];
        Self { scheduler, prepared, handles, number: nodes, beats }
    }
}

impl Peer for Reserving {
    fn select(&mut self, count: u32) -> Duration {
        let Fleet { scheduler, prepared, .. } = &self.0;
        let start = Instant::now();
        for _ in 0..count {
            assert!(scheduler.reserve_prepared(prepared).is_ok(), "refused while slots were free");
        }
        start.elapsed()
    }

    fn change(&mut self, count: u32) -> Duration {
        let fleet = &mut self.0;
        let capabilities = fleet::capabilities();
        let numbers = fleet.number..fleet.number + count;
        let specs: Vec<NodeSpec> = numbers.map(|number| fleet::spec(number, SLOTS, &capabilities)).collect();
        fleet.number += count;
        let start = Instant::now();
        for spec in specs {
            let handle = fleet.scheduler.register(spec).expect("the id is new");
            fleet.scheduler.deregister(&handle).expect("it was just registered");
        }
        start.elapsed()
    }

    fn load(&mut self, count: u32) -> Duration {
        let Fleet { scheduler, handles, beats, .. } = &self.0;
        let start = Instant::now();
        for (turn, handle) in handles.iter().cycle().take(count as usize).enumerate() {
            scheduler.heartbeat(handle, &beats[turn & 1]).expect("it is registered");
        }
        start.elapsed()
    }
}

impl Peer for Selecting {
    fn select(&mut self, count: u32) -> Duration {
        let Fleet { scheduler, prepared, .. } = &self.0;
        let start = Instant::now();
        for _ in 0..count {
            assert!(black_box(scheduler.select_prepared(prepared)).is_ok(), "refused while slots were free");
        }
        start.elapsed()
    }

    fn change(&mut self, _: u32) -> Duration {
        unreachable!("the other one has it")
    }

    fn load(&mut self, _: u32) -> Duration {
        unreachable!("the other one has it")
    }
}
