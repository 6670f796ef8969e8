//! Select + reserve + release beside its floor, over sizes of fleet and loads.
//!
//! ```sh
//! cargo bench --bench select
//! cargo bench --bench select -- --quick
//! cargo bench --bench select -- --nodes 1000,100000 --slots 8 --loads 0,99 --save select.txt
//! cargo bench --bench select -- --apart
//! cargo bench --bench select -- --nodes 1000 --loads 0 --only prepared      # alone, for a profiler
//! ```
//!
//! Floor and library take turns of some 50 us, so the machine's drift hits both alike; what counts is the ratio of the
//! medians. Times of the library are from call to return: a reservation made and dropped, for a demand prepared once
//! and for a plain one, whose route is looked up each time.
//!
//! Operations follow one another at once, as the budget has it. A processor then works on several of them at a time,
//! the more the shorter they are: of a fleet that is larger than its caches it fetches the nodes of the next two or
//! three while it waits for those of the first. A gateway does something else between two jobs, so nothing of this
//! helps it; `--apart` begins an operation only when the one before has ended.

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../floor/mod.rs"]
mod floor;
mod load;
mod paired;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use load::Fleet;
use paired::{Contender, Effort};
use table::Row;

#[derive(Parser)]
#[command(about = "Select + reserve + release beside its floor")]
struct Args {
    /// Fleet sizes.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    nodes: Vec<u32>,
    /// Slots of each node.
    #[arg(long, value_delimiter = ',', default_value = "1,8", value_parser = clap::value_parser!(u32).range(1..=16_383))]
    slots: Vec<u32>,
    /// Percent of the slots that are held; 100: all but one.
    #[arg(long, value_delimiter = ',', default_value = "0,90,99,100", value_parser = clap::value_parser!(u32).range(0..=100))]
    loads: Vec<u32>,
    /// Under half a minute: short measurements, and the largest fleet with one slot a node only.
    #[arg(long)]
    quick: bool,
    /// Begin each operation only when the one before has ended.
    #[arg(long)]
    apart: bool,
    /// Also write what is printed to this file.
    #[arg(long, value_name = "PATH")]
    save: Option<PathBuf>,
    /// Run one contender alone, untimed, for a profiler to look at.
    #[arg(long)]
    only: Option<Only>,
    /// Operations for `--only`.
    #[arg(long, default_value_t = 1_000_000)]
    operations: u32,
    /// What cargo says to every benchmark; without it this is a test run, which is over at once.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Only {
    Floor,
    Prepared,
    Plain,
}

impl Args {
    fn effort(&self) -> Effort {
        let time = match (self.bench, self.quick) {
            (false, _) => 1,
            (true, true) => 120,
            (true, false) => 1000,
        };
        Effort { time: Duration::from_millis(time), turn: Duration::from_micros(50) }
    }

    fn fleets(&self) -> Vec<(u32, u32)> {
        let nodes = match (&self.nodes[..], self.bench) {
            ([], false) => &[10, 1_000][..],
            ([], true) => &[10, 1_000, 10_000, 100_000, 1_000_000],
            (given, _) => given,
        };
        let all = nodes.iter().flat_map(|&nodes| self.slots.iter().map(move |&slots| (nodes, slots)));
        // Filling eight million slots takes longer than all else.
        all.filter(|&(nodes, slots)| !self.quick || u64::from(nodes) * u64::from(slots) <= 1_000_000).collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut loads = args.loads.clone();
    loads.sort_unstable();
    let mut text = String::new();
    let mut say = |line: &str| {
        print!("{line}");
        text += line;
    };
    let (mut rows, mut registrations) = (Vec::new(), Vec::new());
    if args.only.is_none() {
        say(&table::head(args.apart));
    }
    for (nodes, slots) in args.fleets() {
        let fleet = Fleet::new(nodes, slots);
        registrations.push((nodes, slots, fleet.registered_in));
        let mut held = fleet.fill();
        // Load is lowered, so the highest comes first.
        for &load in loads.iter().rev() {
            let free = held.lower_to(load);
            if let Some(only) = args.only {
                with_contenders(&fleet, &held.floor, args.apart, |all| all[only as usize](args.operations));
                continue;
            }
            let [floor, prepared, plain] =
                with_contenders(&fleet, &held.floor, args.apart, |all| paired::compare(all, args.effort()));
            let row = Row { nodes, capacity: slots, load, free, floor, prepared, plain };
            say(&format!("{}\n", row.line()));
            rows.push(row);
        }
    }
    if args.only.is_none() {
        say(&format!("\n{}{}{}", table::summary(&rows), table::registrations(&registrations), table::machine()));
    }
    if let Some(path) = &args.save {
        std::fs::write(path, &text).map_err(|error| format!("{}: cannot be written: {error}", path.display()))?;
    }
    Ok(())
}

/// Calls `then` with floor, prepared and plain demand, as in [`Only`].
fn with_contenders<R>(
    fleet: &Fleet,
    floor: &floor::Floor,
    apart: bool,
    then: impl FnOnce([Contender<'_>; 3]) -> R,
) -> R {
    let mut random = fastrand::Rng::with_seed(2);
    let bare = &mut |operations| {
        repeat(operations, apart, || {
            let node = floor.reserve(&mut random).expect("a slot is free");
            floor.release(node);
        });
    };
    // The results are looked at and dropped where they are: moving them about would be timed, too.
    let prepared = &mut |operations| {
        repeat(operations, apart, || {
            assert!(fleet.scheduler.reserve_prepared(&fleet.prepared).is_ok(), "refused while a slot was free");
        });
    };
    let plain = &mut |operations| {
        repeat(operations, apart, || {
            assert!(fleet.scheduler.reserve(fleet.prepared.demand()).is_ok(), "refused while a slot was free");
        });
    };
    then([bare, prepared, plain])
}

#[inline(always)]
fn repeat(operations: u32, apart: bool, mut operation: impl FnMut()) {
    for _ in 0..operations {
        if apart {
            wait_for_the_last();
        }
        operation();
    }
}

/// Lets nothing that follows begin before all that came before has ended, as far as the processor can be told.
#[inline(always)]
fn wait_for_the_last() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has this instruction, which touches nothing.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
