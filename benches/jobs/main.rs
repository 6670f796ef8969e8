//! Jobs beside what they cannot do without: a concurrent map of their request ids, and a slot.
//!
//! ```sh
//! cargo bench --bench jobs
//! cargo bench --bench jobs -- "jobs/1000 nodes, 1024 finished"
//! ```

mod bare;
#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../floor/mod.rs"]
mod floor;
#[path = "../harness/mod.rs"]
mod harness;
mod life;
mod repeated;
mod retry;

use std::cell::Cell;

use bare::BareLives;
use floor::Floor;
use harness::{About, Bound, Suite};
use life::{Lives, Yard, plain};
use slotyard::JobRequest;

const SIZES: [u32; 2] = [1_000, 100_000];
/// Finished jobs remembered: none, few, as many as by default.
const FINISHED: [usize; 3] = [0, 1 << 10, 1 << 16];
/// Of a job under a new request id, from its creation to its end.
const BUDGET: Bound = Bound::AtMost(1.5);

fn main() {
    let mut suite = Suite::new("jobs");
    let sizes = if Suite::is_bench() { &SIZES[..] } else { &[100] };
    let finished = if Suite::is_bench() { &FINISHED[..] } else { &FINISHED[..2] };
    for nodes in sizes {
        // First: a map of many ids is slower in memory that is left over from others.
        let case = format!("{nodes} nodes");
        repeated::measure(&mut suite, &case, *nodes);
        retry::measure(&mut suite, &case, *nodes);
        for finished in finished {
            let case = format!("{nodes} nodes, {finished} finished");
            if suite.wants(&case) {
                lives(&mut suite, &case, *nodes, *finished);
            }
        }
    }
    suite.finish();
}

/// A job created under a new request id and completed.
fn lives(suite: &mut Suite, case: &str, nodes: u32, finished: usize) {
    let yard = Yard::new(nodes, finished);
    let next = Cell::new(0);
    let demand = fleet::demand();
    let lives = || Lives::new(&yard, &next, plain(&demand));
    lives().live(finished);

    let prepared = yard.scheduler.prepare(&demand);
    let own_slot = || assert!(yard.scheduler.reserve_prepared(&prepared).is_ok(), "refused with a slot free");
    let (bare, mut random) = (Floor::idle(nodes, 16), fastrand::Rng::with_seed(2));
    let bare_slot = || bare.release(bare.reserve(&mut random).expect("a slot is free"));
    let mut own_floor = BareLives::new(finished, own_slot);
    let mut bare_floor = BareLives::new(finished, bare_slot);

    let floor = "papaya insert + remove, reserve + release";
    let about = About { case, subject: "create and complete", floor, budget: Some(BUDGET) };
    suite.compare(about, &mut lives(), &mut own_floor);
    let mut each_its_own = Lives::new(&yard, &next, |id| JobRequest::new(id, fleet::demand()));
    let subject = "create and complete, a demand for each";
    suite.compare(About { subject, budget: None, ..about }, &mut each_its_own, &mut own_floor);
    let subject = "create and complete, leases running out";
    suite.compare(About { subject, budget: None, ..about }, &mut lives().with_timed_steps(), &mut own_floor);
    let (subject, floor) = ("create and complete, beside a bare slot", "papaya insert + remove, bare slot");
    suite.compare(About { subject, floor, budget: None, ..about }, &mut lives(), &mut bare_floor);
}
