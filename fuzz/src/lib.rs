//! What the fuzz targets do with the bytes that they are given: a module for each, with a function that panics when
//! something does not hold.

pub mod languages;
pub mod traces;
