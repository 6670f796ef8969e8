//! Operations held against the reference scheduler: any bytes are a setup and a history of steps.

#[path = "../../tests/oracle/reference/mod.rs"]
#[allow(unused_imports, clippy::type_complexity, reason = "the property tests use the rest, and see to it")]
mod reference;

/// Does what the bytes say to a scheduler and to its reference, which must agree after each step.
pub fn check(bytes: &[u8]) {
    if let Err(difference) = reference::run_bytes(bytes) {
        panic!("{difference}");
    }
}
