//! Whether what threads are given, at the same time, can be explained by one order: recorded histories held against a
//! specification by Wing and Gong's search (as improved by Lowe), and promises that hold at every moment of longer runs.
//!
//! `SLOTYARD_HISTORIES` says how many histories are recorded of each kind, `SLOTYARD_TURNS` how long the longer runs are:
//!
//! ```console
//! SLOTYARD_HISTORIES=1000000 SLOTYARD_TURNS=10000000 cargo test --release --test linearizability
//! ```

mod checker;
mod histories;
mod history;
mod promises;
mod specification;
mod worker;

/// A number from the environment, for longer runs.
fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text:?}: a number")))
}
