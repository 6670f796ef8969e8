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
//! lease that relied on the note, or the note is entered anew.
//!
//! A lease that runs out before the note comes due makes the note come due then, and is entered apart, for the turns to
//! sort; later leases of the place rely on that. The entry in the bucket stays, for a place is in one bucket as long as it
//! has a note. When what is apart comes due, the note is [`LATE`]: to be relied upon by nobody. So of what is apart one
//! entry of each place counts at most, the one for which the note stands. Others are left over: there the note was made
//! to come due still earlier, or was taken off with its bucket, and whoever has done either looks at the job after that,
//! or has it looked at. What is left over is dropped when there is as much of it as of the rest.
//!
//! A turn first publishes how far it goes, then empties the buckets up to there. An entry is first put in its bucket,
//! then looks how far turns have gone; if past its bucket, it is entered apart, too. One of the two is seen by the
//! other, for there is a SeqCst fence between the two steps on both sides.

use std::collections::BTreeSet;

use super::place::{Link, Place, Places};
use crate::sync::{AtomicU32, AtomicU64, Fenced, Mutex, Ordering, SegQueue, sized, sized_by_model, zeroed_slice};

/// Buckets; a lease further off than a turn of the wheel is looked at once in each.
const BUCKETS: u64 = sized(4096, 4) as u64;
/// Every bucket is this many lists, by number of thread: jobs that begin at the same time end up in the same bucket.
const STRIPES: usize = sized_by_model(8, 1, 2) as usize;
/// The note is in a bucket, and comes later than it should.
const LATE: u64 = u64::MAX;
/// So many entries apart are kept in any case.
const FEW: usize = sized(1 << 10, 0) as usize;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// By stripe, then by bucket: the first place of a list.
    lists: Box<[AtomicU32]>,
    /// Entered apart: deadline and place.
    apart: SegQueue<(u64, u32)>,
    sorted: Mutex<Sorted>,
    /// Width of a bucket, in ms.
    grain: u64,
    /// The first bucket, counted from the beginning of time, that no turn has gone past.
    cursor: AtomicU64,
}

/// Of those entered apart, those that are not due yet.
#[derive(Debug, Default)]
struct Sorted {
    entries: BTreeSet<(u64, u32)>,
    /// With more than this, those that are left over are dropped.
    most: usize,
}

impl Wheel {
    pub(crate) fn new(grain: u64) -> Self {
        Self {
            lists: zeroed_slice(BUCKETS as usize * STRIPES),
            apart: SegQueue::new(),
            sorted: Mutex::default(),
            grain: grain.max(1),
            cursor: AtomicU64::new(0),
        }
    }

    fn list(&self, stripe: usize, bucket: u64) -> &AtomicU32 {
        &self.lists[stripe * BUCKETS as usize + (bucket % BUCKETS) as usize]
    }

    /// Sees to it that a place is looked at when the lease of its job runs out, which the job had before the fence.
    #[inline(always)]
    pub(crate) fn note(&self, (place, number): (&Place, u32), deadline: u64, thread: u32, fenced: Fenced) {
        // Relaxed: what it says before a turn has set it back is good, by the fences.
        let found = place.note.load(Ordering::Relaxed);
        if found == 0 || found > deadline {
            self.note_anew((place, number), deadline, thread, fenced);
        }
    }

    #[cold]
    fn note_anew(&self, (place, number): (&Place, u32), deadline: u64, thread: u32, _fenced: Fenced) {
        // 0 is no note, and `LATE` is no time.
        let deadline = deadline.clamp(1, LATE - 1);
        let mut found = 0;
        loop {
            // AcqRel: what the turn that has set it back has read of the place is read. Relaxed: as in `note`.
            match place.note.compare_exchange(found, deadline, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(0) => return self.enter((place, number), deadline, thread),
                Ok(_) => return self.apart.push((deadline, number)),
                Err(newer) if newer != 0 && newer <= deadline => return,
                Err(newer) => found = newer,
            }
        }
    }

    fn enter(&self, (place, number): (&Place, u32), deadline: u64, thread: u32) {
        let bucket = deadline / self.grain;
        push(self.list(thread as usize % STRIPES, bucket), place, number);
        // Pairs with that in `turn`.
        Fenced::after_exchange();
        if self.cursor.load(Ordering::Relaxed) > bucket {
            self.apart.push((deadline, number));
        }
    }

    /// Hands every place whose note comes due at or before `now` to `due`. For one thread at a time.
    pub(crate) fn turn(&self, places: &Places, now: u64, mut due: impl FnMut(u32)) {
        let (from, to) = (self.cursor.load(Ordering::Relaxed), now / self.grain);
        // The bucket of now itself is not past: more may come into it.
        self.cursor.store(to.max(from), Ordering::Relaxed);
        // Pairs with that in `enter`.
        Fenced::here();
        let mut taken = self.due_apart(places, now);
        for bucket in from..=to.min(from.saturating_add(BUCKETS - 1)) {
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
                    // It has further to go round; or it stands for an entry apart, and may come into the bucket of its lease.
                    if note > now && note != LATE && note / self.grain % BUCKETS == bucket % BUCKETS {
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
    fn due_apart(&self, places: &Places, now: u64) -> Vec<u32> {
        let mut sorted = self.sorted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Sorted { entries, most } = &mut *sorted;
        entries.extend((0..self.apart.len()).map_while(|_| self.apart.pop()));
        let mut due = Vec::new();
        while let Some((deadline, number)) = entries.first().copied().filter(|(deadline, _)| *deadline <= now) {
            entries.remove(&(deadline, number));
            // Release: pairs with `note_anew`. A failure means that the note does not stand for this one, or was taken off.
            let note = &places.at(number).note;
            let _ = note.compare_exchange(deadline, LATE, Ordering::AcqRel, Ordering::Relaxed);
            due.push(number);
        }
        if entries.len() > *most {
            // Relaxed: what is apart was taken off the queue, so at least what the note was when it was put there is seen.
            entries.retain(|(deadline, number)| places.at(*number).note.load(Ordering::Relaxed) == *deadline);
            *most = (2 * entries.len()).max(FEW);
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

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
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
                    wheel.note((places.at(place), place), now + length, 0, Fenced::here());
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
                    left.for_each(|(_, deadline)| wheel.note((places.at(place), place), *deadline, 0, Fenced::here()));
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
            wheel.note((places.at(0), 0), deadline, 0, Fenced::here());
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

    /// What is apart, taken in or not.
    fn apart(wheel: &Wheel) -> usize {
        wheel.apart.len() + wheel.sorted.lock().unwrap().entries.len()
    }

    #[test]
    fn leases_shorter_than_what_an_earlier_one_has_left_share_one_entry() {
        let (wheel, places) = (Wheel::new(10), Places::new());
        places.ensure(0);
        wheel.note((places.at(0), 0), 3_600_000, 0, Fenced::here());
        let mut looks = 0;
        // Many jobs a tick, and each with a minute.
        for now in (0..600_000).step_by(100) {
            (0..10).for_each(|_| wheel.note((places.at(0), 0), now + 60_000, 0, Fenced::here()));
            wheel.turn(&places, now, |_| looks += 1);
            assert!(apart(&wheel) <= 1, "{} entries for one place", apart(&wheel));
        }
        assert!((9..20).contains(&looks), "looked at {looks} times in ten minutes");
    }

    #[test]
    fn leases_of_many_lengths_leave_no_more_entries_than_places_have() {
        let (wheel, places) = (Wheel::new(10), Places::new());
        places.ensure(1);
        for now in (0..1_000_000).step_by(100) {
            // The long one is apart, the short one comes before it, is due, and leaves it over.
            for length in [3_600_000, 3_000_000, 50] {
                wheel.note((places.at(1), 1), now + length, 0, Fenced::here());
            }
            wheel.turn(&places, now, |_| {});
            assert!(apart(&wheel) <= 2 * FEW, "{} entries for one place", apart(&wheel));
        }
    }

    #[test]
    fn two_turns_at_the_end_of_time() {
        let (wheel, places) = (Wheel::new(1), Places::new());
        places.ensure(0);
        wheel.note((places.at(0), 0), u64::MAX, 0, Fenced::here());
        wheel.turn(&places, 2 * BUCKETS, |_| unreachable!());
        let mut looks = 0;
        (0..3).for_each(|_| wheel.turn(&places, u64::MAX, |_| looks += 1));
        assert_eq!(looks, 1);
    }

    #[test]
    fn places_are_looked_at_once_each_when_their_leases_run_out_whichever_threads_began_them() {
        let (wheel, places) = (Wheel::new(10), Places::new());
        places.ensure(255);
        let begun = 3 * 10 * BUCKETS;
        wheel.turn(&places, begun, |_| unreachable!());
        // From the grain of now on, and most of them further off than a revolution.
        let deadline = |place: u32| begun + 5 + 1_000 * u64::from(place);
        for place in 0..256 {
            wheel.note((places.at(place), place), deadline(place), place, Fenced::here());
        }
        for place in 0..256 {
            wheel.turn(&places, deadline(place) - 1, |_| unreachable!());
            let mut looked = Vec::new();
            wheel.turn(&places, deadline(place), |place| looked.push(place));
            assert_eq!(looked, [place]);
        }
    }

    #[test]
    fn a_later_lease_of_a_place_enters_nothing() {
        let (wheel, places) = (Wheel::new(10), Places::new());
        places.ensure(0);
        for deadline in 1000..1100 {
            wheel.note((places.at(0), 0), deadline, 0, Fenced::here());
        }
        let mut looks = 0;
        wheel.turn(&places, 2000, |_| looks += 1);
        assert_eq!((looks, wheel.apart.len()), (1, 0));
    }
}
