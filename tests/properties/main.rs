//! Properties that hold whatever the fleet and the demand: what selection does held against what explanation says.

#[path = "../common/mod.rs"]
mod common;

mod agreement;
