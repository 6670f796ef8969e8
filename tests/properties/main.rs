//! Properties that hold for whatever is done to a scheduler: histories held against a small sequential model, and what
//! selection does held against what explanation says.

#[path = "../common/mod.rs"]
mod common;

mod agreement;
mod histories;
mod model;
