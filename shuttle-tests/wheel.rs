//! **The wheel of leases**: see `loom-tests/wheel.rs`. A place whose job has a lease is looked at by the first turn that begins
//! after both the entry and its deadline, whatever was noted of the place before; and no lease runs out before its time.
//!
//! Three places, four threads that begin leases, renew and end them, and one that turns the wheel, of four buckets.

use std::sync::atomic::{AtomicU64 as Plain, Ordering as Order};

use super::*;
use crate::job::{Places, Wheel};
use crate::sync::{AtomicU64, Fenced, Ordering};

const ITERATIONS: usize = 30_000;
const PLACES: usize = 4;

struct Wheeled {
    wheel: Wheel,
    places: Places,
    /// When the lease of the job at each place runs out; 0: there is none.
    deadlines: [AtomicU64; PLACES],
    /// The time, as far as turns have begun.
    now: Plain,
}

impl Wheeled {
    fn new() -> Arc<Self> {
        let places = Places::new();
        (0..PLACES as u32).for_each(|place| _ = places.ensure(place));
        let deadlines = std::array::from_fn(|_| AtomicU64::new(0));
        Arc::new(Self { wheel: Wheel::new(1), places, deadlines, now: Plain::new(0) })
    }

    fn note(&self, place: usize, deadline: u64) {
        self.wheel.note((self.places.at(place as u32), place as u32), deadline, place as u32, Fenced::here());
    }

    /// A job with this lease begins, at a place where none is.
    fn begin(&self, place: usize, deadline: u64) {
        self.deadlines[place].store(deadline, Ordering::Relaxed);
        self.note(place, deadline);
    }

    /// Ends all leases that have run out; one that has not is entered again, as whoever looks does.
    fn turn(&self, now: u64, seen: &Seen) {
        self.now.store(now, Order::SeqCst);
        self.wheel.turn(&self.places, now, |place| {
            loop {
                let deadline = self.deadlines[place as usize].load(Ordering::Relaxed);
                if deadline == 0 {
                    return;
                }
                if deadline > now {
                    seen.note("it was looked at too early and put back");
                    return self.note(place as usize, deadline);
                }
                let taken =
                    self.deadlines[place as usize].compare_exchange(deadline, 0, Ordering::AcqRel, Ordering::Relaxed);
                if taken.is_ok() {
                    return seen.note("it ran out");
                }
            }
        });
    }
}

#[test]
fn leases_begin_and_end_while_the_wheel_turns() {
    explore(ITERATIONS, &["it ran out", "it was looked at too early and put back", "it was ended in time"], |seen| {
        let (world, noted) = (Wheeled::new(), seen.clone());
        together(&world, PLACES + 1, move |world, number| {
            if number == PLACES {
                return (1..6).for_each(|now| world.turn(now, &noted));
            }
            for _ in 0..4 {
                let lease = [1, 2, 3, 5, 9][draw(0..5)];
                let begun = world.now.load(Order::SeqCst);
                world.begin(number, begun + lease);
                // It is renewed, which only changes the deadline, or ended, or left to run out, and made again.
                let now = &world.deadlines[number];
                if draw(0..2) == 0 {
                    let found = now.load(Ordering::Relaxed);
                    let renewed = found > 0
                        && now.compare_exchange(found, found + 2, Ordering::AcqRel, Ordering::Relaxed).is_ok();
                    assert!(renewed || world.now.load(Order::SeqCst) >= begun + lease, "it ran out too early");
                }
                if now.swap(0, Ordering::AcqRel) > 0 {
                    noted.note("it was ended in time");
                }
            }
            world.begin(number, world.now.load(Order::SeqCst) + draw(1..10) as u64);
        });
        // From here on each turn finds all that has come due.
        for now in 5..25 {
            world.turn(now, seen);
            for deadline in &world.deadlines {
                let deadline = deadline.load(Ordering::Relaxed);
                assert!(deadline == 0 || deadline > now, "a lease was lost: it ran out at {deadline}, it is {now}");
            }
        }
    });
}
