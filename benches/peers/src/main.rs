//! Other balancers beside slotyard, measured in one run: choosing a node, changing who is there, telling of load.
//!
//! ```sh
//! cargo xtask bench peers                                # all of it, into benches/RESULTS.md
//! cargo xtask bench peers --quick                        # under half a minute, only printed
//! cargo xtask bench peers --nodes 1000 --peers tower,pingora
//! ```
//!
//! Each peer is used as its documentation says, at its best: on one thread, with nothing else held, without whatever
//! it does not need for that. What it does not do, beside slotyard, stands in a line below the table. A peer that
//! panics or answers wrongly at some size is shown to do so, and not measured there.
//!
//! A package of its own: the peers have a few hundred dependencies.

mod peer;
mod peers;
mod report;
mod rows;
mod turns;
mod versions;

#[path = "../../fleet/mod.rs"]
mod fleet;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

use peer::{Entry, Operation, Peer, Refusal};
use report::{Cell, Measured};
use turns::{Contender, Effort};

/// The file that rows are appended to, for other programs to read.
const ROWS: &str = "SLOTYARD_BENCH_ROWS";
/// More nodes than the caches of a core hold.
const MANY: u32 = 200_000;

#[derive(Parser)]
#[command(name = "cargo xtask bench peers", about = "Other balancers beside slotyard, in one run")]
struct Args {
    /// Fleet sizes.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..=2_000_000))]
    nodes: Vec<u32>,
    /// Only peers with one of these in their name.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Under half a minute: short measurements, and no fleet of a million.
    #[arg(long)]
    quick: bool,
}

impl Args {
    fn sizes(&self) -> Vec<u32> {
        match (&self.nodes[..], self.quick) {
            ([], true) => vec![10, 1_000, 10_000, 100_000],
            ([], false) => vec![10, 1_000, 10_000, 100_000, 1_000_000],
            (given, _) => given.to_vec(),
        }
    }

    /// Choosing is what counts most, and is the shortest, so it gets most of the time.
    ///
    /// Turns among many nodes are longer: the others have filled the caches with nodes of theirs, and what is wanted is what
    /// an operation takes that comes after many of its own kind.
    fn effort(&self, operation: Operation, nodes: u32) -> Effort {
        let millis = match operation {
            Operation::Select => 700,
            Operation::Change => 300,
            Operation::Load => 200,
        };
        let millis = if self.quick { millis / 7 } else { millis };
        let turn = if nodes < MANY { 1 } else { 10 };
        Effort { share: Duration::from_millis(millis), turn: Duration::from_millis(turn) }
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = peers::all();
        let wanted = |entry: &Entry| self.peers.iter().any(|part| entry.name.contains(part.as_str()));
        if !self.peers.is_empty() {
            let mut place = 0;
            entries.retain(|entry| {
                place += 1;
                place <= peers::OURS || wanted(entry)
            });
            ensure!(entries.len() > peers::OURS, "no peer has one of {:?} in its name", self.peers);
        }
        Ok(entries)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let entries = args.entries()?;
    let load = report::load_average();
    let mut measured = Vec::new();
    for nodes in args.sizes() {
        eprintln!("{nodes} nodes ...");
        measured.extend(measure(&entries, nodes, &args));
    }
    print!("{}", report::section(&entries, &measured, &load));
    match std::env::var_os(ROWS).map(PathBuf::from) {
        Some(path) => rows::append(&path, &entries, &measured),
        None => Ok(()),
    }
}

/// All contenders with so many nodes, all there at once, each operation in turns.
fn measure(entries: &[Entry], nodes: u32, args: &Args) -> Vec<Measured> {
    let mut peers: Vec<Result<Box<dyn Peer>, Refusal>> = entries.iter().map(|entry| entry.with_nodes(nodes)).collect();
    let mut measured = Vec::new();
    for operation in Operation::ALL {
        let mut cells: Vec<Cell> = Vec::new();
        let mut running: Vec<Contender<'_>> = Vec::new();
        for (entry, peer) in entries.iter().zip(&mut peers) {
            cells.push(match peer {
                _ if !entry.has(operation) => Cell::Absent,
                Err(refusal) => Cell::Refused(refusal.clone()),
                Ok(peer) => {
                    running.push(Box::new(|count| peer.run(operation, count)));
                    Cell::Pending
                }
            });
        }
        let mut figures = turns::compare(running, args.effort(operation, nodes)).into_iter();
        for cell in cells.iter_mut().filter(|cell| matches!(cell, Cell::Pending)) {
            *cell = Cell::Figures(figures.next().expect("as many as ran"));
        }
        measured.push(Measured { nodes, operation, cells });
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_chosen_by_a_part_of_their_name() {
        let names = |peers: &[&str]| {
            let args = Args { nodes: vec![], peers: peers.iter().map(|&part| part.to_owned()).collect(), quick: true };
            args.entries().map(|entries| entries.iter().map(|entry| entry.name).collect::<Vec<_>>())
        };
        let chosen = names(&["DashMap", "loadwise"]).unwrap();
        assert_eq!(chosen[peers::OURS..], ["loadwise p2c", "DashMap scan"]);
        assert_eq!(names(&[]).unwrap().len(), peers::all().len());
        assert!(names(&["nonsense"]).is_err());
    }
}
