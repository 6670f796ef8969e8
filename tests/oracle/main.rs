//! A scheduler held against a reference at every step of random histories, by one thread.
//!
//! `SLOTYARD_CASES` says how many histories each property takes, `SLOTYARD_STEPS` how long they are at most:
//!
//! ```console
//! SLOTYARD_CASES=100000 SLOTYARD_STEPS=1000 cargo test --release --test oracle
//! ```

mod histories;
mod reference;
