//! Leases by the time at which they run out: a hashed timing wheel (Varghese and Lauck, Hashed and Hierarchical Timing
//! Wheels, 1987) of lock-free buckets, linked through the places of the jobs.
//!
//! Invariant: a place whose job has a lease is looked at by the first turn that begins after the lease was entered and
//! its deadline has come. An entry is a note of the *place*, not of the lease: whoever looks holds the clock against
//! whatever job is there. So one too many does no harm, and a note that was left by an earlier job of the place, or an
//! earlier deadline of this one, is good for what comes later: in a steady state a job is created without entering any.
//!
//! # Protocol
//! `note` says when the note of a place comes due; 0: it has none. Who changes it from 0 enters it. A turn sets it back
//! to 0 when it takes the note off, and then looks at the job; whoever has begun a lease looks at the note. One of the
//! two is seen by the other, for there is a SeqCst fence between the two steps on both sides: either the turn sees the
//! lease that relied on the note, or the note is entered anew. A lease that runs out before the note comes due is
//! entered apart, for the turns to sort.
//!
//! A turn first publishes how far it goes, then empties the buckets up to there. An entry is first put in its bucket,
//! then looks how far turns have gone; if past its bucket, it is entered apart, too. One of the two is seen by the
//! other, for there is a SeqCst fence between the two steps on both sides.

use std::collections::BTreeSet;

use super::place::{Link, Place, Places};
use crate::sync::{AtomicU32, AtomicU64, Fenced, Mutex, Ordering, SegQueue, fence, sized, zeroed_slice};

/// Buckets; a lease further off than a turn of the wheel is looked at once in each.
const BUCKETS: u64 = sized(4096, 4) as u64;
/// Every bucket is this many lists, by number of thread: jobs that begin at the same time end up in the same bucket.
const STRIPES: usize = sized(8, 1) as usize;
/// The note is in a bucket that turns have gone past, so it comes late.
const LATE: u64 = u64::MAX;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// By stripe, then by bucket: the first place of a list.
    lists: Box<[AtomicU32]>,
    /// Entered apart: deadline and place.
    apart: SegQueue<(u64, u32)>,
    /// Of these, those that are not due yet. Held through a turn.
    sorted: Mutex<BTreeSet<(u64, u32)>>,
    /// Width of a bucket, in ms.
    grain: u64,
    /// The first bucket, counted from the beginning of time, that no turn has gone past.
    cursor: AtomicU64,
}

impl Wheel {
    pub(crate) fn new(grain: u64) -> Self {
        Self {
            lists: zeroed_slice(BUCKETS as usize * STRIPES),
            apart: SegQueue::new(),
            sorted: Mutex::new(BTreeSet::new()),
            grain: grain.max(1),
            cursor: AtomicU64::new(0),
        }
    }

    fn list(&self, stripe: usize, bucket: u64) -> &AtomicU32 {
        &self.lists[stripe * BUCKETS as usize + (bucket % BUCKETS) as usize]
    }

    /// Sees to it that a place is looked at when the lease of its job runs out, which the job had before the fence.
    #[inline(always)]
    pub(crate) fn note(&self, places: &Places, number: u32, deadline: u64, thread: u32, fenced: Fenced) {
        // Relaxed: what it says before a turn has set it back is good, by the fences.
        let found = places.at(number).note.load(Ordering::Relaxed);
        if found == 0 || found > deadline {
            self.note_anew(places, number, deadline, thread, fenced);
        }
    }

    #[cold]
    fn note_anew(&self, places: &Places, number: u32, deadline: u64, thread: u32, _fenced: Fenced) {
        // 0 is no note, and `LATE` is no time.
        let deadline = deadline.clamp(1, LATE - 1);
        // AcqRel: what the turn that has set it back has read of the place is read. Relaxed: as in `note`.
        match places.at(number).note.compare_exchange(0, deadline, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => self.enter(places, number, deadline, thread),
            Err(found) if found <= deadline => {}
            Err(_) => self.apart.push((deadline, number)),
        }
    }

    fn enter(&self, places: &Places, number: u32, deadline: u64, thread: u32) {
        let bucket = deadline / self.grain;
        let place = places.at(number);
        push(self.list(thread as usize % STRIPES, bucket), place, number);
        // SeqCst: pairs with the fence in `turn`.
        fence(Ordering::SeqCst);
        if self.cursor.load(Ordering::Relaxed) > bucket {
            // Not for others to rely on. A failure means that it came all the same.
            let _ = place.note.compare_exchange(deadline, LATE, Ordering::AcqRel, Ordering::Relaxed);
            self.apart.push((deadline, number));
        }
    }

    /// Hands every place whose note comes due at or before `now` to `due`. For one thread at a time.
    pub(crate) fn turn(&self, places: &Places, now: u64, mut due: impl FnMut(u32)) {
        let (from, to) = (self.cursor.load(Ordering::Relaxed), now / self.grain);
        // The bucket of now itself is not past: more may come into it.
        self.cursor.store(to.max(from), Ordering::Relaxed);
        // SeqCst: pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        let mut taken = self.due_apart(now);
        for bucket in from..=to.min(from + BUCKETS - 1) {
            for stripe in 0..STRIPES {
                let list = self.list(stripe, bucket);
                if list.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                // Acquire: pairs with `push`.
                let mut rest = list.swap(0, Ordering::Acquire);
                while let Some(number) = rest.checked_sub(1) {
                    let place = places.at(number);
                    rest = place.note_next.load(Ordering::Relaxed);
                    let note = place.note.load(Ordering::Relaxed);
                    if note > now && note != LATE {
                        push(list, place, number);
                    } else {
                        // Release: pairs with `note_anew`.
                        place.note.store(0, Ordering::Release);
                        taken.push(number);
                    }
                }
            }
        }
        // Pairs with that of whoever has begun a lease, before `note`.
        Fenced::here();
        taken.into_iter().for_each(&mut due);
    }

    /// Takes in what was entered apart, and takes out what is due of it.
    fn due_apart(&self, now: u64) -> Vec<u32> {
        let mut sorted = self.sorted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sorted.extend((0..self.apart.len()).map_while(|_| self.apart.pop()));
        let mut due = Vec::new();
        while let Some((deadline, number)) = sorted.first().copied().filter(|(deadline, _)| *deadline <= now) {
            sorted.remove(&(deadline, number));
            due.push(number);
        }
        due
    }
}

fn push(list: &AtomicU32, place: &Place, number: u32) {
    let mut first: Link = list.load(Ordering::Relaxed);
    loop {
        place.note_next.store(first, Ordering::Relaxed);
        // Release: pairs with `turn`.
        match list.compare_exchange(first, number + 1, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(newer) => first = newer,
        }
    }
}

#[cfg(all(test, not(slotyard_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the steps of the clock, and however leases come to one place: it is looked at in the first turn at or
        /// after each deadline.
        #[test]
        fn each_place_is_looked_at_in_the_first_turn_after_each_deadline(
            leases in proptest::collection::vec((0u32..5, 1u64..200_000), 1..80),
            steps in proptest::collection::vec(0u64..120_000, 1..60),
        ) {
            let (wheel, places) = (Wheel::new(10), Places::new());
            places.ensure(5);
            let (mut now, mut open) = (0, Vec::new());
            let mut leases = leases.into_iter();
            for step in steps {
                for (place, length) in leases.by_ref().take(2) {
                    wheel.note(&places, place, now + length, 0, Fenced::here());
                    open.push((place, now + length));
                }
                now += step;
                let mut looked = Vec::new();
                wheel.turn(&places, now, |place| looked.push(place));
                prop_assert!(open.iter().all(|(place, deadline)| *deadline > now || looked.contains(place)));
                open.retain(|(_, deadline)| *deadline > now);
                // As whoever looks does: what is not due is entered again.
                for place in looked {
                    let left = open.iter().filter(|(other, _)| *other == place);
                    left.for_each(|(_, deadline)| wheel.note(&places, place, *deadline, 0, Fenced::here()));
                }
            }
        }
    }

    #[test]
    fn a_lease_entered_behind_the_cursor_is_not_lost_and_nobody_relies_on_its_note() {
        let (wheel, places) = (Wheel::new(10), Places::new());
        places.ensure(0);
        wheel.turn(&places, 100_000, |_| unreachable!());
        let looks = |deadline| {
            wheel.note(&places, 0, deadline, 0, Fenced::here());
            let mut looks = 0;
            wheel.turn(&places, 100_000, |_| looks += 1);
            looks
        };
        assert_eq!([looks(50_000), looks(50_010)], [1, 1]);
        // A revolution later the note itself comes.
        let mut late = 0;
        wheel.turn(&places, 200_000, |_| late += 1);
        assert_eq!((late, places.at(0).note.load(Ordering::Relaxed)), (1, 0));
    }

    #[test]
    fn a_later_lease_of_a_place_enters_nothing() {
        let (wheel, places) = (Wheel::new(10), Places::new());
        places.ensure(0);
        for deadline in 1000..1100 {
            wheel.note(&places, 0, deadline, 0, Fenced::here());
        }
        let mut looks = 0;
        wheel.turn(&places, 2000, |_| looks += 1);
        assert_eq!((looks, wheel.apart.len()), (1, 0));
    }
}
