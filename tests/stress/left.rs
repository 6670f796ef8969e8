//! What is still there when the program ends is not lost: so it must seem to LeakSanitizer and to valgrind, which look for
//! pointers. This test passes without them, whatever it leaves.

use std::sync::OnceLock;

use slotyard::{Capabilities, Demand, JobRequest, NodeSpec, Scheduler};

/// As a gateway has it that never drops it.
static LEFT: OnceLock<Scheduler> = OnceLock::new();

/// So many that each array that grows has grown: of nodes, of a pool's members, of jobs, of requests.
const NODES: usize = 1200;
const POOLS: usize = 3;

#[test]
fn a_scheduler_is_left_at_the_end() {
    let build = || Scheduler::builder().manual_maintenance().build().expect("the configuration is valid");
    let scheduler = LEFT.get_or_init(build);
    let service = |n: usize| format!("service-{}", n % POOLS);
    for n in 0..NODES {
        let spec = NodeSpec::new(format!("node-{n}")).capacity(2).service(service(n)).ready();
        let node = scheduler.register(spec).expect("there is room");
        // Some move to another pool, where their cell is not of its own.
        if n % 4 == 0 {
            scheduler.update(&node, Capabilities::new().service(service(n + 1))).expect("it is registered");
        }
    }
    for n in 0..NODES {
        let demand = Demand::new().service(service(n));
        scheduler.create_job(&JobRequest::new(format!("request-{n}"), demand)).expect("a slot is free");
    }
}
