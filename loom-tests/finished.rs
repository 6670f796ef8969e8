//! **Each that has ended is forgotten once**: a thread enters jobs on its own desk, and takes the oldest off at the same
//! time, while maintenance takes off what it finds there. No place is lost, and none is taken off twice.
//!
//! One model, of 2 threads and 3 preemptions, with the real queue.
//!
//! Seen to fail by `cargo xtask mutants-loom finished`.

use loom::thread;

use super::*;
use crate::job::OwnDesk;

#[test]
fn jobs_end_while_others_are_forgotten() {
    explore(3, &["it took the oldest off itself", "another was at it"], |seen| {
        let desk = Arc::new(OwnDesk::new(3));
        let upkeep = thread::spawn({
            let desk = desk.clone();
            move || desk.forget_all()
        });
        for place in 0..3 {
            seen.note(if desk.end(place) { "it took the oldest off itself" } else { "another was at it" });
        }
        upkeep.join().unwrap();
        // Of an entry that another was in the middle of, maintenance leaves the rest for next time.
        desk.forget_all();
        assert_eq!([0, 1, 2].map(|place| desk.taken(place)), [1, 1, 1]);
    });
}
