//! Registering nodes, and what selection sees of it.
//!
//! ```sh
//! cargo bench --bench register
//! cargo bench --bench register -- register/beside       # one node more, by size of fleet
//! cargo bench --bench register -- register/storm        # 100,000 nodes at once
//! cargo bench --bench register -- register/while        # selection while nodes come, go, and report
//! ```
//!
//! Single operations are timed with the processor's counter, whose own cost is in every time of theirs; see
//! `benches/harness/clock.rs`.

#[path = "../fleet/mod.rs"]
mod fleet;
#[path = "../harness/mod.rs"]
mod harness;
mod meanwhile;
mod registering;
mod storms;

use harness::Suite;

fn main() {
    let mut suite = Suite::new("register");
    registering::one_more(&mut suite);
    registering::storm(&mut suite);
    meanwhile::measure(&mut suite);
    suite.finish();
}
