//! Each thing that can be done to the servers does what it says.

mod cluster;
mod proxy;
mod replication;
mod sentinel;
mod server;
