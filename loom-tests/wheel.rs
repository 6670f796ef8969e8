//! **The wheel of leases**: a lease that was entered is looked at by the first turn that begins after both the entry
//! and its deadline, even if a turn went past its bucket while it was entered.
//!
//! Two threads, 5 preemptions; four buckets. Seen to fail without either fence, and without the late ones.

use loom::thread;

use super::*;
use crate::JobId;
use crate::job::{Lease, Wheel};

#[test]
fn a_lease_entered_while_the_wheel_turns_is_not_lost() {
    for deadline in [1, 2, 3, 9] {
        let outcomes: &[_] = if deadline < 3 { &["it came in the first turn", "it came in the second"] } else { &[] };
        explore(5, outcomes, move |seen| {
            let wheel = Arc::new(Wheel::new(1));
            let entering = thread::spawn({
                let wheel = wheel.clone();
                move || wheel.insert(Lease { job: JobId::from_u128(1), attempt: 1, deadline })
            });
            let mut came = 0;
            wheel.turn(2, |_| came += 1);
            entering.join().unwrap();
            seen.note(if came > 0 { "it came in the first turn" } else { "it came in the second" });
            assert!(came == 0 || deadline <= 2, "it came too early");
            wheel.turn(deadline.max(3), |_| came += 1);
            assert!(came > 0, "a lease was lost");
        });
    }
}
