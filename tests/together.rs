//! The quick tests of the whole library in one program, which `cargo xtask mutants` links once a mutant rather than thirty
//! times. Built only when it is asked for by name; elsewhere each file is a program of its own.
#![allow(clippy::duplicate_mod, reason = "what they share is in each")]

#[path = "bad_input.rs"]
mod bad_input;
#[path = "configured_pools.rs"]
mod configured_pools;
#[path = "events.rs"]
mod events;
#[path = "explain.rs"]
mod explain;
#[path = "interleavings.rs"]
mod interleavings;
#[path = "jobs.rs"]
mod jobs;
#[path = "languages.rs"]
mod languages;
#[path = "leases.rs"]
mod leases;
#[path = "limits.rs"]
mod limits;
#[path = "node_changes.rs"]
mod node_changes;
#[path = "nodes.rs"]
mod nodes;
#[path = "oracle/main.rs"]
mod oracle;
#[path = "panics/main.rs"]
mod panics;
#[path = "policies.rs"]
mod policies;
#[path = "pools.rs"]
mod pools;
#[path = "properties/main.rs"]
mod properties;
#[path = "regressions.rs"]
mod regressions;
#[path = "reproducible.rs"]
mod reproducible;
#[path = "retries.rs"]
mod retries;
#[path = "selection.rs"]
mod selection;
#[path = "sessions.rs"]
mod sessions;
#[path = "time.rs"]
mod time;
#[path = "values.rs"]
mod values;
#[path = "wraps.rs"]
mod wraps;
