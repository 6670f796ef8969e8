//! A model of the coordination: every order in which clients, the server, the network and the nodes can take their steps, up
//! to bounds, and what must hold in each.
//!
//! ```console
//! cargo test --features redis --lib redis::model
//! cargo test --features redis --lib redis::model::large -- --ignored
//! ```
//!
//! The clients run the code of `protocol` and the calls of `call` and `node_call`, which are generic over where calls go; the
//! server runs the scripts that ship, in an interpreter of the Lua that Redis has (`lua`). What is modelled is what these
//! stand on: the commands that the scripts use (`commands`, `data`), held against a real server by `differential`; the
//! connection, which says hello to a server that it does not know before anything else (`client`); a node's process, which
//! keeps the largest fence of each slot (`worker`); and what an instance does around `protocol` (`programs`).
//!
//! # What may happen
//! A request comes in, and its script is done as a whole; its answer comes. A client is told that nobody knows what has come
//! of its request: which the server may do later, or may have done. A client crashes; what it has sent may come yet. A job
//! that was sent to a node comes at any time, or never. Time passes until something changes by itself (`Machine::steps`): by
//! all clocks alike, but each clock shows something else. The server is lost, and another takes its place, empty or without
//! the last commands; its clock may be a minute off. How often each of these may happen is bounded, and stands in the head of
//! each file of models.
//!
//! # How it is explored
//! States that several orders of steps lead to are gone on from once (`explore`); so each model visits thousands of states
//! for millions of executions, and none is left out up to its bounds, preemptions included. A script's outcome depends on
//! data, arguments and time alone, and a client's next step on what it has been told, so each is worked out once (`machine`).
//! Two things are not tried in each order, since no check can tell: an answer that makes a client do nothing but ask on, or
//! end, is delivered at once when nothing can get lost any more; and a client crashes right after a step of its own.
//!
//! | file | models of |
//! |---|---|
//! | `creates` | one job a request, one lease a slot |
//! | `ends`, `retries` | one end an attempt, one attempt after another |
//! | `leases` | renewal against running out |
//! | `servers` | servers that come back empty, or without the last commands |
//! | `nodes` | nodes that register again, and are resized |
//! | `spread` | the same where a request and its node are on different servers |
//! | `large` | more of all of them |
//!
//! What holds is in the head of `checks`. That the models can fail is shown by `weakened`: a script or a client that leaves
//! out one thing breaks a property.
//!
//! # What is not shown
//! - More clients, slots, losses and jumps of time than the tables say.
//! - Clocks that do not run equally fast: a lease is handed out until half of it has passed, which allows for much.
//! - Two servers that are masters at a time, and a server that is the one again after another was; scripts that a server
//!   has done in part when it fails.
//! - What instances do beside `protocol`: heartbeats, the stream of changes, the outbox, and when they renew.

mod checks;
mod client;
mod commands;
mod creates;
mod data;
mod differential;
mod ends;
mod explore;
mod interner;
mod large;
mod leases;
mod lua;
mod machine;
mod nodes;
mod programs;
mod retries;
mod scenario;
mod servers;
mod spread;
mod steps;
mod view;
mod weakened;
mod worker;
mod world;
