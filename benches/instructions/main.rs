//! One operation, run so many times and then left without cleaning up, for a program that counts instructions.
//!
//! Times of operations vary with the machine and with whatever else runs on it; counts of instructions hardly do. So
//! these can be held against recorded ones in every run of the tests (`cargo xtask test --only instructions`), which
//! counts this program's twice, with few operations and with many: setting up is the same in both, and what is left is
//! the operations.
//!
//! ```sh
//! cargo xtask bench instructions
//! cargo build --release --bench instructions
//! valgrind --tool=callgrind target/release/deps/instructions-* --operation prepared --slots 8 --operations 10000
//! ```

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../floor/mod.rs"]
mod floor;

use std::hint::black_box;
use std::process::exit;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use floor::Floor;
use slotyard::{Heartbeat, JobRequest, NodeHandle, NodeSpec, Scheduler};

/// What operations use up (ids, requests, specs) is made for so many beforehand, however many are run: making it must
/// not be counted.
const MOST: usize = 4096;

#[derive(Parser)]
struct Arguments {
    /// Which; without, a few of each are run, to see that they work.
    #[arg(long, value_enum)]
    operation: Option<Operation>,
    /// How many times.
    #[arg(long, default_value_t = 8)]
    operations: usize,
    #[arg(long, default_value_t = 1000)]
    nodes: u32,
    /// Of each node.
    #[arg(long, default_value_t = 8)]
    slots: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What `cargo bench` says to every suite.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    /// Select, reserve and release for a prepared demand.
    Prepared,
    /// The same for a plain demand.
    Plain,
    /// Select for a prepared demand.
    Select,
    /// A job under a new request id, completed.
    Job,
    /// A heartbeat that changes nothing, by handle.
    HeartbeatByHandle,
    /// The same by the node's id.
    HeartbeatById,
    /// A node more.
    Register,
    /// Floor: a slot of the bare structure taken and given back.
    FloorReserve,
    /// Floor: a key put into a concurrent map and taken out, and a slot as above.
    FloorJob,
    /// Floor: a look-up in a concurrent map of the nodes' ids.
    FloorGet,
    /// Floor: a key put into a concurrent map and taken out.
    FloorInsertRemove,
}

fn main() {
    let arguments = Arguments::parse();
    assert!(arguments.operations <= MOST, "at most {MOST} operations");
    match arguments.operation {
        Some(operation) => run(operation, &arguments),
        None => Operation::value_variants().iter().for_each(|operation| run(*operation, &arguments)),
    }
    // Threads' own leavings, too, would be counted by how much the operations have left behind.
    exit(0);
}

fn run(operation: Operation, arguments: &Arguments) {
    match operation {
        Operation::Prepared => of_demands(arguments, |scheduler, prepared| {
            assert!(scheduler.reserve_prepared(prepared).is_ok(), "refused with a slot free");
        }),
        Operation::Plain => of_demands(arguments, |scheduler, prepared| {
            assert!(scheduler.reserve(prepared.demand()).is_ok(), "refused with a slot free");
        }),
        Operation::Select => of_demands(arguments, |scheduler, prepared| {
            assert!(scheduler.select_prepared(prepared).is_ok(), "refused with a slot free");
        }),
        Operation::Job => jobs(arguments),
        Operation::HeartbeatByHandle => {
            let (scheduler, handles) = kept(handles(arguments));
            let beat = Heartbeat::ready();
            repeat(arguments, |turn| scheduler.heartbeat(&handles[turn], &beat).expect("it is registered"));
        }
        Operation::HeartbeatById => {
            let (scheduler, beat) = (kept(scheduler(arguments)), Heartbeat::ready());
            let ids = kept(node_ids(arguments));
            repeat(arguments, |turn| scheduler.heartbeat_by_id(&ids[turn], &beat).expect("it is registered"));
        }
        Operation::Register => register(arguments),
        Operation::FloorReserve => {
            let mut slot = floor_slot(arguments);
            repeat(arguments, |_| slot());
        }
        Operation::FloorJob => {
            let mut slot = floor_slot(arguments);
            insert_and_remove(arguments, &mut slot);
        }
        Operation::FloorGet => {
            let numbered = (0..arguments.nodes).map(|number| (fleet::node_id(number), number));
            let map = kept(numbered.collect::<papaya::HashMap<String, u32, ahash::RandomState>>());
            let ids = kept(node_ids(arguments));
            repeat(arguments, |turn| assert!(black_box(map.pin().get(&ids[turn])).is_some()));
        }
        Operation::FloorInsertRemove => insert_and_remove(arguments, &mut || ()),
    }
}

fn repeat(arguments: &Arguments, mut operation: impl FnMut(usize)) {
    (0..arguments.operations).for_each(&mut operation);
}

/// Is never dropped: what the operations have left in it would be cleared away at a cost.
fn kept<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

/// One that never looks at the clock, with nodes that never fall silent.
fn scheduler(arguments: &Arguments) -> Scheduler {
    let builder = Scheduler::builder().seed(arguments.seed).manual_maintenance().max_finished_jobs(1024);
    let scheduler = builder.build().expect("the configuration is valid");
    fleet::register(&scheduler, 0..arguments.nodes, arguments.slots);
    scheduler
}

/// A node's number for each turn.
fn drawn(arguments: &Arguments) -> impl Iterator<Item = u32> {
    let (mut random, nodes) = (fastrand::Rng::with_seed(arguments.seed), arguments.nodes);
    std::iter::repeat_with(move || random.u32(..nodes)).take(MOST)
}

fn node_ids(arguments: &Arguments) -> Vec<String> {
    drawn(arguments).map(fleet::node_id).collect()
}

fn handles(arguments: &Arguments) -> (Scheduler, Vec<NodeHandle>) {
    let scheduler = scheduler(arguments);
    let handle = |id: String| scheduler.handle(&id).expect("it is registered");
    let handles = node_ids(arguments).into_iter().map(handle).collect();
    (scheduler, handles)
}

fn of_demands(arguments: &Arguments, mut operation: impl FnMut(&Scheduler, &slotyard::PreparedDemand)) {
    let scheduler = kept(scheduler(arguments));
    let prepared = scheduler.prepare(&fleet::demand());
    // The first finds the route.
    operation(scheduler, &prepared);
    repeat(arguments, |_| operation(scheduler, &prepared));
    std::mem::forget(prepared);
}

fn request_ids() -> impl Iterator<Item = String> {
    (0..MOST).map(|number| format!("request-{number:016x}"))
}

fn jobs(arguments: &Arguments) {
    let scheduler = kept(scheduler(arguments));
    let demand = fleet::demand();
    let requests = kept(request_ids().map(|id| JobRequest::new(id, demand.clone())).collect::<Vec<_>>());
    repeat(arguments, |turn| {
        let job = scheduler.create_job(&requests[turn]).expect("a slot is free");
        scheduler.complete(job.id(), job.attempt()).expect("it has just been created");
    });
}

fn register(arguments: &Arguments) {
    let scheduler = kept(scheduler(arguments));
    let (first, capabilities) = (arguments.nodes, fleet::capabilities());
    let numbers = first..first + MOST as u32;
    let specs = numbers.map(|number| Some(fleet::spec(number, arguments.slots, &capabilities)));
    let specs = kept(specs.collect::<Vec<Option<NodeSpec>>>());
    repeat(arguments, |turn| {
        let spec = specs[turn].take().expect("each is registered once");
        scheduler.register(spec).expect("the id is new");
    });
}

/// The bare structure with every slot free.
fn floor_slot(arguments: &Arguments) -> impl FnMut() + use<> {
    let floor = Floor::full(arguments.nodes, arguments.slots);
    for node in 0..arguments.nodes {
        (0..arguments.slots).for_each(|_| floor.release(node));
    }
    let floor = kept(floor);
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    move || {
        let node = floor.reserve(&mut random).expect("a slot is free");
        floor.release(node);
    }
}

/// Keys of a job's length, and `meanwhile` between the two.
fn insert_and_remove(arguments: &Arguments, meanwhile: &mut dyn FnMut()) {
    let ids = kept(request_ids().map(Arc::from).collect::<Vec<Arc<str>>>());
    let map = kept(papaya::HashMap::<Arc<str>, u32, ahash::RandomState>::default());
    repeat(arguments, |turn| {
        map.pin().insert(ids[turn].clone(), 1);
        meanwhile();
        map.pin().remove(&*ids[turn]);
    });
}
