//! **The requests**: of places that are entered under one request id at once, just one is; a place that was entered and has
//! not left is found, whatever comes and goes beside it, and while the table grows; one that has left is not, and is
//! out of the list when its leaving has returned.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | two enter the same | 2 | 5 |
//! | one enters, its neighbour leaves | 2 | 5 |
//! | neighbours leave | 2 | 5 |
//! | one is looked for while a bucket is opened between it and its neighbour | 2 | 4 |
//!
//! Seen to fail by `cargo xtask mutants-loom requests`.

use loom::thread;

use super::*;
use crate::job::{Places, Requests};
use crate::sync::Ordering;

struct Table {
    places: Places,
    requests: Requests,
}

impl Table {
    /// With places that have these orders, none entered.
    fn new<const N: usize>(orders: [u64; N]) -> Arc<Self> {
        let places = Places::new();
        for (place, order) in (0..).zip(orders) {
            places.ensure(place).order.store(order, Ordering::Relaxed);
        }
        Arc::new(Self { places, requests: Requests::new() })
    }

    fn order(&self, place: u32) -> u64 {
        self.places.at(place).order.load(Ordering::Relaxed)
    }

    /// Any place of the order of this one: so two of one order have the same request id.
    fn find(&self, place: u32) -> Option<u32> {
        self.requests.find(&self.places, self.order(place), |_| true).ok()
    }

    /// `false`: another of the same request id is there.
    fn enter(&self, place: u32) -> bool {
        loop {
            let Err(spot) = self.requests.find(&self.places, self.order(place), |_| true) else { return false };
            if self.requests.enter((self.places.at(place), place), spot) {
                return true;
            }
        }
    }

    fn leave(&self, place: u32) {
        self.requests.leave(&self.places, self.places.at(place));
    }

    fn beside(self: &Arc<Self>, act: impl FnOnce(&Self) + 'static) -> thread::JoinHandle<()> {
        let table = self.clone();
        thread::spawn(move || act(&table))
    }
}

#[test]
fn of_two_that_enter_the_same_one_is_entered() {
    explore(5, &["the first", "the second"], |seen| {
        let table = Table::new([5, 5, 3]);
        assert!(table.enter(2));
        let other = thread::spawn({
            let table = table.clone();
            move || table.enter(1)
        });
        let mine = table.enter(0);
        assert_eq!(other.join().unwrap(), !mine);
        assert_eq!((table.find(0), table.find(2)), (Some(u32::from(!mine)), Some(2)));
        seen.note(if mine { "the first" } else { "the second" });
    });
}

#[test]
fn one_that_is_entered_behind_one_that_leaves_is_not_lost() {
    explore(5, &[], |_| {
        let table = Table::new([3, 5, 7]);
        assert!(table.enter(0) && table.enter(2));
        let other = table.beside(|table| table.leave(0));
        assert!(table.enter(1));
        other.join().unwrap();
        assert_eq!([0, 1, 2].map(|place| table.find(place)), [None, Some(1), Some(2)]);
    });
}

#[test]
fn neighbours_that_leave_are_out_of_the_list() {
    explore(5, &[], |_| {
        let table = Table::new([3, 5, 7]);
        assert!(table.enter(0) && table.enter(1) && table.enter(2));
        let other = table.beside(|table| table.leave(0));
        table.leave(1);
        assert!(!table.requests.links_to(&table.places, 1), "it has left");
        other.join().unwrap();
        assert!(!table.requests.links_to(&table.places, 0) && !table.requests.links_to(&table.places, 1));
        assert_eq!([0, 1, 2].map(|place| table.find(place)), [None, None, Some(2)]);
    });
}

#[test]
fn what_is_entered_while_a_bucket_is_opened_is_found() {
    explore(4, &[], |_| {
        // The point of bucket 1 comes between the two.
        let table = Table::new([3, 1 << 63 | 1, 1 << 63 | 3, 5]);
        assert!(table.enter(0) && table.enter(1));
        table.requests.grow(2);
        // The second is entered where the point is to be.
        let other = table.beside(|table| assert!(table.enter(2) && table.enter(3)));
        assert_eq!((table.find(1), table.find(0)), (Some(1), Some(0)));
        other.join().unwrap();
        table.leave(1);
        assert_eq!([0, 1, 2, 3].map(|place| table.find(place)), [Some(0), None, Some(2), Some(3)]);
    });
}
