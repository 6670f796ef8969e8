//! **The requests**: see `loom-tests/requests.rs`. Of places that are entered under one request id at once, just one is; a place
//! that was entered and has not left is found, whatever comes and goes beside it, and while the table grows; one that has
//! left is not, and is out of the list when its leaving has returned.
//!
//! Nine places in one run of one bucket, by five threads, each of which enters and leaves its own; two orders are wanted by
//! several. Meanwhile buckets are opened in between.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::job::{Places, Requests};
use crate::sync::Ordering as Order;

const ITERATIONS: usize = 15_000;
/// Places 0 to 4 are each a thread's; 5 to 9, too, of two orders.
const ORDERS: [u64; 10] = [3, 5, 1 << 63 | 1, 1 << 63 | 3, 1 << 62 | 5, 7, 7, 7, 1 << 63 | 5, 1 << 63 | 5];

struct Table {
    places: Places,
    requests: Requests,
    /// Of each order that is wanted by several, whether one has entered it.
    taken: [AtomicBool; 2],
}

impl Table {
    fn new() -> Arc<Self> {
        let places = Places::new();
        for (place, order) in (0..).zip(ORDERS) {
            places.ensure(place).order.store(order, Order::Relaxed);
        }
        Arc::new(Self { places, requests: Requests::new(), taken: Default::default() })
    }

    /// Any place of the order of this one.
    fn find(&self, place: u32) -> Option<u32> {
        self.requests.find(&self.places, ORDERS[place as usize], |_| true).ok()
    }

    /// `false`: another of the same order is there.
    fn enter(&self, place: u32) -> bool {
        loop {
            let Err(spot) = self.requests.find(&self.places, ORDERS[place as usize], |_| true) else { return false };
            if self.requests.enter((self.places.at(place), place), spot) {
                return true;
            }
        }
    }

    fn leave(&self, place: u32) {
        self.requests.leave(&self.places, self.places.at(place));
    }

    /// Enters and leaves one that nobody else enters.
    fn visit(&self, place: u32) {
        assert_eq!(self.find(place), None);
        assert!(self.enter(place));
        assert_eq!(self.find(place), Some(place), "one that has entered is not found");
        if draw(0..4) == 0 {
            self.requests.grow(1 << draw(0..4));
        }
        assert_eq!(self.find(place), Some(place), "one that has entered is not found");
        self.leave(place);
        assert_eq!(self.find(place), None, "one that has left is found");
        assert!(!self.requests.links_to(&self.places, place), "one that has left is still in the list");
    }

    /// The same of an order that others want, too.
    fn compete(&self, place: u32, seen: &Seen) {
        let taken = &self.taken[usize::from(ORDERS[place as usize] != 7)];
        if !self.enter(place) {
            return seen.note("another was there");
        }
        assert!(!taken.swap(true, Ordering::SeqCst), "two places of one request id are entered");
        assert_eq!(self.find(place), Some(place), "one that has entered is not found");
        assert!(taken.swap(false, Ordering::SeqCst));
        self.leave(place);
    }
}

#[test]
fn places_enter_and_leave_side_by_side() {
    explore(ITERATIONS, &["another was there"], |seen| {
        let (table, seen) = (Table::new(), seen.clone());
        together(&table, 5, move |table, number| {
            for _ in 0..2 {
                table.visit(number as u32);
                table.compete(number as u32 + 5, &seen);
            }
        });
        for place in 0..ORDERS.len() as u32 {
            assert_eq!(table.find(place), None);
            assert!(!table.requests.links_to(&table.places, place));
        }
    });
}
