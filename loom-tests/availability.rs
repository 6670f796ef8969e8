//! **No lost slot**: a find that starts after a release has returned cannot miss the slot that came free, and when all
//! threads are done every member that can be selected has its bit, all the bits above it, and its pool's.
//!
//! In each model the releasing thread looks for a node right after, while the others are somewhere in the middle of
//! what they do, and by the numbers some slot must be free all the while: a find that comes back empty is wrong.
//!
//! | model | threads | preemptions |
//! |---|---|---|
//! | a reserve that makes a node full clears its bit, a release marks it | 2 | 4 |
//! | two releases of one full node: the second relies on the first | 2 | 4 |
//! | two releases of one full node, which fills and empties once more between them | 3 | 2 |
//! | two releases of two nodes in one empty word below a summary | 2 | 4 |
//! | a find meets an empty word and clears the bit above, a release fills it | 2 | 4 |
//! | the same, and the word is told, and empty, once more in between | 2 | 4 |
//! | all of this at once, in a word of three levels | 3 | 1 |
//! | the last bits of a pool: a find goes by the occupancy, over two pools | 2 | 3 |
//!
//! Seen to fail by `cargo xtask mutants-loom availability`: the first of it is the obvious protocol, "clear the bit, look
//! again, mark it if there is room", by which a find between the two misses the slot.
//!
//! What finds do that come to the topmost word is in `emptied`, and that a mark that is late to say that the level above was
//! told has to compare.

use loom::thread;

use super::*;

#[test]
fn a_clear_spares_a_newer_release() {
    explore(4, &["the release came first", "the reserve came first"], |seen| {
        let fleet = Fleet::new([2]);
        let held = fleet.take().unwrap();
        let other = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.take().is_some()
        });
        fleet.give(held);
        // From here on the other's slot is the only one that can be held.
        let found = fleet.find().expect("a slot is free");
        seen.note(if found.word.in_flight() == 0 { "the release came first" } else { "the reserve came first" });
        assert!(other.join().unwrap(), "a slot was free all the while");
        assert_told(&fleet.core);
    });
}

#[test]
fn the_second_release_helps_the_first() {
    explore(4, &["both were free at once"], |seen| {
        let fleet = Fleet::new([2]);
        let [first, second] = fleet.take_all()[..] else { panic!("two slots") };
        let release = |slot| {
            let fleet = fleet.clone();
            move || {
                fleet.give(slot);
                fleet.find().expect("a slot is free, and nobody takes one").word.in_flight()
            }
        };
        let other = thread::spawn(release(first));
        if release(second)() == 0 {
            seen.note("both were free at once");
        }
        other.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn a_node_that_fills_and_empties_between_two_releases_is_told() {
    explore(2, &["the node was full for a while", "the node was never full again"], |seen| {
        let fleet = Fleet::new([2]);
        let [first, second] = fleet.take_all()[..] else { panic!("two slots") };
        // Frees a slot, and tells the index at any later time.
        let late = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.give(first)
        });
        // If it finds that slot, the node may be full again, and then not, while the first is yet to tell.
        let other = thread::spawn({
            let (fleet, seen) = (fleet.clone(), seen.clone());
            move || {
                let Some(slot) = fleet.take() else { return };
                let full = fleet.word(0).in_flight() == 2;
                seen.note(if full { "the node was full for a while" } else { "the node was never full again" });
                fleet.give(slot);
                fleet.find().expect("its slot is free, and nobody takes one");
            }
        });
        fleet.give(second);
        late.join().unwrap();
        other.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn a_mark_beside_an_unfinished_one_helps_it() {
    for from in 0..4 {
        explore(4, &["the other's was found"], move |seen| {
            let fleet = Fleet::from_position(from, [1, 1, 1, 1]);
            let slots = fleet.exhaust();
            let release = |node: usize| {
                let (fleet, slot) = (fleet.clone(), slots[node]);
                move || {
                    fleet.give(slot);
                    fleet.find().expect("a slot is free, and nobody takes one").number
                }
            };
            let other = thread::spawn(release(2));
            let mine = release(3)();
            if other.join().unwrap() == 3 || mine == 2 {
                seen.note("the other's was found");
            }
            assert_told(&fleet.core);
        });
    }
}

/// Four nodes in two words, all full, of which the second word has become empty since it was told: the bit above it is
/// stale. Finds begin in the first word.
fn with_a_stale_summary() -> (Arc<Fleet>, Vec<Slot>) {
    let fleet = Fleet::from_position(0, [1, 1, 1, 1]);
    let mut slots = fleet.exhaust();
    fleet.give(slots[3]);
    slots[3] = fleet.take_of(3).expect("it was just given back");
    (fleet, slots)
}

#[test]
fn a_clear_of_a_summary_spares_a_newer_mark() {
    explore(4, &["the find came first", "the release came first"], |seen| {
        let (fleet, slots) = with_a_stale_summary();
        let finder = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                fleet.find().is_some()
            }
        });
        fleet.stir();
        fleet.give(slots[2]);
        fleet.find().expect("a slot is free, and nobody takes one");
        let found = finder.join().unwrap();
        seen.note(if found { "the release came first" } else { "the find came first" });
        assert_told(&fleet.core);
    });
}

#[test]
fn a_clear_of_a_summary_is_not_misled_by_a_word_that_is_empty_again() {
    explore(4, &["the find came first", "the find came between"], |seen| {
        let (fleet, slots) = with_a_stale_summary();
        let finder = thread::spawn({
            let fleet = fleet.clone();
            move || {
                fleet.stir();
                fleet.find().is_some()
            }
        });
        // Told above, and empty again.
        fleet.stir();
        fleet.give(slots[2]);
        fleet.take_of(2).expect("it was just given back");
        fleet.stir();
        fleet.give(slots[3]);
        fleet.find().expect("a slot is free, and nobody takes one");
        seen.note(if finder.join().unwrap() { "the find came between" } else { "the find came first" });
        assert_told(&fleet.core);
    });
}

#[test]
fn three_threads_at_three_levels() {
    explore(1, &["the word was empty for a while", "two came free"], |seen| {
        // Five nodes: words of two bits, so three levels. Node 4 has the last word for itself.
        let fleet = Fleet::from_position(4, [1, 1, 1, 1, 1]);
        let slots = fleet.take_all();
        fleet.give(slots[3]);
        let taker = thread::spawn({
            let fleet = fleet.clone();
            move || fleet.take().expect("there are more free ones than takers").cell
        });
        let releaser = thread::spawn({
            let (fleet, slot) = (fleet.clone(), slots[2]);
            move || {
                fleet.give(slot);
                fleet.find().expect("there are more free ones than takers");
            }
        });
        fleet.give(slots[4]);
        fleet.find().expect("there are more free ones than takers");
        if taker.join().unwrap() == 3 {
            seen.note("the word was empty for a while");
        } else {
            seen.note("two came free");
        }
        releaser.join().unwrap();
        assert_told(&fleet.core);
    });
}

#[test]
fn the_occupancy_of_a_pool_is_not_lost() {
    // The scheduler draws the one pool or the other first.
    for seed in 0..2 {
        explore(3, &["the release came first", "the reserve came first"], move |seen| {
            let fleet = Fleet::of(scheduler(|builder| builder.seed(seed)), [1]);
            let both = asr().service(Service::TTS);
            fleet.core.register(NodeSpec::new("other").capacity(2).capabilities(both).ready()).unwrap();
            let demand = crate::Demand::new().service(Service::ASR);
            let take = || fleet.core.reserve(crate::core::Asked::Plain(&demand));
            // All slots are taken, then the larger node's pool has one of its two free.
            let taken: Vec<_> = std::iter::from_fn(|| take().ok()).collect();
            let larger = |slot: &&crate::core::Slot<'_>| slot.cell.basis().capacity == 2;
            let [one, two] = taken.iter().filter(larger).copied().collect::<Vec<_>>()[..] else {
                panic!("two slots of the larger node")
            };
            fleet.core.give_back(one);
            let other = thread::spawn({
                let (fleet, demand) = (fleet.clone(), demand.clone());
                move || fleet.core.reserve(crate::core::Asked::Plain(&demand)).is_ok()
            });
            fleet.core.give_back(two);
            let found = fleet.core.select(crate::core::Asked::Plain(&demand), unpinned());
            let (_, found) = found.expect("of two free slots the other can take one");
            seen.note(if found.in_flight == 0 { "the release came first" } else { "the reserve came first" });
            assert!(other.join().unwrap(), "a slot was free all the while");
            assert_told(&fleet.core);
        });
    }
}
