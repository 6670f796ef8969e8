//! What a node and a job take in memory, and of what pieces that is made up.
//!
//! ```sh
//! cargo bench --bench memory
//! cargo bench --bench memory -- memory/jobs
//! ```
//!
//! Counted is what was asked of the allocator and is held; resident is what the system gives for it, which takes in
//! what the allocator adds and what it has left over. Each measurement is a process of its own, so that nothing is
//! found in the leftovers of another. Of both the ids are taken off, once, as long as they are.

#[path = "../counting/mod.rs"]
mod counting;
#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod kinds;
mod measured;

use harness::{About, Bound, Figures, Suite};
use kinds::KINDS;
use measured::Measured;

const UNITS: u32 = 1_000_000;
/// In bytes a node and a job, ids apart.
const BUDGET: f64 = 256.0;

fn main() {
    if measured::in_child() {
        return;
    }
    let mut suite = Suite::new("memory");
    let units = if Suite::is_bench() { UNITS } else { 1_000 };
    for kind in &KINDS {
        let case = format!("{units} {}", kind.name);
        if !suite.wants(&case) && !suite.wants(kind.name) {
            continue;
        }
        let measured = Measured::of(kind, units);
        assert!(measured.held > 0, "{case} take memory");
        record(&mut suite, &case, &measured, kind.budget);
        if Suite::is_bench() {
            println!("\n{case}, {} bytes of ids in each\n{}", kind.ids, measured.breakdown());
        }
    }
    suite.finish();
}

fn record(suite: &mut Suite, case: &str, measured: &Measured, budget: bool) {
    let Measured { units, ids, held, resident, .. } = *measured;
    let apiece = |bytes: i64| bytes as f64 / f64::from(units) - f64::from(ids);
    let figures = [("counted", Some(held)), ("resident", resident)];
    for (subject, bytes) in figures.into_iter().filter_map(|(subject, bytes)| Some((subject, bytes?))) {
        let bytes = apiece(bytes);
        let about = About { case, subject, floor: "budget", budget: budget.then_some(Bound::AtMost(1.0)) };
        suite.record(about, "bytes", Figures::once(bytes), Figures::once(BUDGET), bytes / BUDGET);
    }
}
