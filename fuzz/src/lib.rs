//! What the fuzz targets do with the bytes that they are given: a module for each, with a function that panics when
//! something does not hold.

#[path = "../../tests/common/mod.rs"]
mod common;

pub mod configuration;
pub mod demands;
pub mod described;
pub mod languages;
pub mod operations;
pub mod traces;
pub mod words;
