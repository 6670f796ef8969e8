//! How often each operation asks the allocator for memory, in a steady state.
//!
//! ```sh
//! cargo bench --bench allocations
//! ```
//!
//! A call may be charged with what others have left to it: what they retired is collected in batches, and a batch takes
//! an allocation at times.

#[path = "../counting/mod.rs"]
mod counting;
#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod jobs;
mod nodes;

use counting::Tally;
use harness::{About, Bound, Figures, Suite};

/// Calls counted of each operation, after half as many that are not, in which all is made that is made once.
const CALLS: u32 = 10_000;

/// Of what must not allocate.
pub(crate) const NONE: Option<Bound> = Some(Bound::AtMost(0.0));

/// What the operations have allocated.
pub(crate) struct Counts {
    suite: Suite,
    table: Vec<String>,
    calls: u32,
}

fn main() {
    let suite = Suite::new("allocations");
    let calls = if Suite::is_bench() { CALLS } else { 200 };
    let mut counts = Counts { suite, table: Vec::new(), calls };
    nodes::count(&mut counts);
    jobs::count(&mut counts);
    if Suite::is_bench() {
        println!("{:<40}{:>12}{:>12}{:>12}", "a call of", "allocations", "frees", "bytes");
        counts.table.iter().for_each(|line| println!("{line}"));
    }
    counts.suite.finish();
}

impl Counts {
    /// Counts what `call` does with what `before` gives; `after` clears away what that has made.
    pub(crate) fn take<T, U>(
        &mut self,
        operation: &str,
        budget: Option<Bound>,
        mut before: impl FnMut() -> T,
        mut call: impl FnMut(&T) -> U,
        mut after: impl FnMut(T, U),
    ) {
        let mut sum = Tally::default();
        for number in 0..self.calls + self.calls / 2 {
            let given = before();
            let start = counting::so_far();
            let made = call(&given);
            let done = counting::so_far() - start;
            after(given, made);
            if number >= self.calls / 2 {
                sum = sum + done;
            }
        }
        let each = |count: u64| count as f64 / f64::from(self.calls);
        let (allocations, frees, bytes) = (each(sum.allocations), each(sum.frees), each(sum.bytes));
        self.table.push(format!("{operation:<40}{allocations:>12.3}{frees:>12.3}{bytes:>12.1}"));
        let about = About { case: "a call", subject: operation, floor: "none", budget };
        let none = Figures::once(0.0);
        self.suite.record(about, "allocations", Figures::once(allocations), none, allocations);
    }

    /// As [`take`](Self::take), of what leaves nothing and needs nothing.
    pub(crate) fn simple(&mut self, operation: &str, budget: Option<Bound>, mut call: impl FnMut()) {
        self.take(operation, budget, || (), |()| call(), |(), ()| ());
    }
}
