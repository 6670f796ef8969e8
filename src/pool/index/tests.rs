//! Tests of the index as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::node::word::Flags;
use crate::random::Random;

/// An index, and cells to which it is indifferent: each can always be selected. Members are in cells of the number
/// of their position.
pub(super) fn index(positions: u32) -> (Index, Cells) {
    let (index, cells) = (Index::new(0, Arc::new(Occupancy::new(1))), Cells::new());
    (0..positions).for_each(|position| add(&index, &cells, position));
    (index, cells)
}

fn add(index: &Index, cells: &Cells, position: u32) {
    let cell = index.own_cell(position, cells);
    assert_eq!(cell, position);
    cells.at(cell).occupy(2, 100, Flags::NONE);
    index.set_member(position, Some(cell));
}

fn draw(index: &Index, cells: &Cells, random: &mut Random) -> Option<u32> {
    index.draw(cells, random).map(|found| found.number)
}

/// What is done to the position: of what is there, if it is to be cleared and anything is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Mark(u32),
    Clear(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let position = prop_oneof![0u32..40, 0u32..1_100, 0u32..40_000];
    prop_oneof![position.prop_map(Step::Mark), any::<prop::sample::Index>().prop_map(Step::Clear)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Marks, clears and growth in any order against a plain set, which is small and often empty: finds tell exactly what is
    /// in it.
    #[test]
    fn finds_agree_with_a_set(steps in proptest::collection::vec(step(), 1..100), seed in any::<u64>()) {
        let (index, cells) = index(1);
        let (mut set, mut size, mut from) = (BTreeSet::new(), 1, 0);
        let mut random = Random::new(seed);
        for step in steps {
            match step {
                Step::Mark(position) => {
                    for new in size..=position {
                        add(&index, &cells, new);
                    }
                    size = size.max(position + 1);
                    set.insert(position);
                    index.mark(position);
                    from = position;
                }
                Step::Clear(which) if set.is_empty() => index.clear(which.index(size as usize) as u32, || true),
                Step::Clear(which) => {
                    from = *which.get(&set.iter().copied().collect::<Vec<_>>());
                    set.remove(&from);
                    index.clear(from, || true);
                }
            }
            match draw(&index, &cells, &mut random) {
                None => prop_assert!(set.is_empty()),
                Some(found) => prop_assert!(set.contains(&found) && index.is_told(found)),
            }
            // Growth leaves a stale bit, which the draw has mended if it found nothing.
            prop_assert_eq!(index.is_empty(), set.is_empty());
            index.mend_occupancy();
            prop_assert_eq!(index.occupancy.is_marked(0), !set.is_empty());
            for from in [from, 0, size / 2, size - 1, size] {
                let after = set.range(from..).next().or_else(|| set.iter().next()).copied();
                prop_assert_eq!(index.next(from), after);
            }
        }
    }
}

#[test]
fn the_only_free_position_is_found_at_every_size() {
    for size in [1, 31, 32, 33, 1024, 1025, 32_768, 32_769, 100_000] {
        let (index, cells) = index(size);
        let mut random = Random::new(7);
        for position in [0, size / 2, size - 1] {
            index.mark(position);
            for _ in 0..20 {
                assert_eq!(draw(&index, &cells, &mut random), Some(position));
            }
            index.clear(position, || true);
            assert_eq!(draw(&index, &cells, &mut random), None);
        }
    }
}

#[test]
fn draws_are_uniform_while_most_are_free() {
    // 33 positions: the last word has a single one, which must not get half of the draws.
    let (index, cells) = index(33);
    (0..33).for_each(|position| index.mark(position));
    let mut random = Random::new(1);
    let mut drawn = [0u32; 33];
    for _ in 0..330_000 {
        drawn[draw(&index, &cells, &mut random).unwrap() as usize] += 1;
    }
    assert!(drawn.iter().all(|&n| (9_500..10_500).contains(&n)), "{drawn:?}");
}

/// A member that stands in a cell elsewhere, as one that came from another pool.
fn make_a_stranger(index: &Index, cells: &Cells, position: u32) -> u32 {
    let cell = cells.vacant_block() * FANOUT + (position + 5) % FANOUT;
    cells.at(cell).occupy(2, 100, Flags::NONE);
    index.set_member(position, Some(cell));
    cell
}

#[test]
fn the_lighter_of_two_is_chosen_and_those_that_are_alike_as_often() {
    let every = |nth: usize, below: u32| (0..below).step_by(nth).collect::<Vec<u32>>();
    // So many positions, and which of them are available. Each second one of those has a job.
    let fleets = [
        (2, every(1, 2)),
        (32, every(1, 6)),
        (100, vec![40, 50]),
        (128, every(32, 128)),
        (2_048, every(1, 2_048)),
        (2_048, every(64, 2_048)),
        (2_048, vec![0, 1_900]),
        (16_384, every(3, 16_384)),
        (16_384, every(512, 16_384)),
    ];
    let strangers = fleets.clone().into_iter().filter(|(_, available)| available.len() <= 32);
    let fleets = fleets.iter().cloned().map(|fleet| (fleet, false)).chain(strangers.map(|fleet| (fleet, true)));
    for ((positions, available), are_strangers) in fleets {
        let what = format!("{} of {positions}, strangers: {are_strangers}", available.len());
        let (index, cells) = index(positions);
        let part = Part::whole(index.high_water());
        let cell_of = |position| if are_strangers { make_a_stranger(&index, &cells, position) } else { position };
        let available: Vec<u32> = available
            .into_iter()
            .map(|position| {
                let cell = cell_of(position);
                index.mark(position);
                cell
            })
            .collect();
        for &busy in available.iter().skip(1).step_by(2) {
            cells.at(busy).reserve(cells.at(busy).word()).unwrap();
        }
        let (mut random, mut chosen, draws) = (Random::new(1), BTreeMap::new(), 20_000);
        for _ in 0..draws {
            *chosen.entry(index.draw_lighter(&cells, part, &mut random).unwrap().number).or_insert(0) += 1;
        }
        let of_these =
            |first| available.iter().skip(first).step_by(2).map(|cell| chosen.get(cell).copied().unwrap_or(0));
        let (idle, busy) = (of_these(0).sum::<u32>(), of_these(1).sum::<u32>());
        assert_eq!(idle + busy, draws, "{what}: others were chosen, too");
        assert!((draws / 5..draws * 3 / 10).contains(&busy), "{what}: {busy} times a busy one");
        if available.len() <= 32 {
            let even = idle / of_these(0).count() as u32;
            assert!(
                of_these(0).all(|times| times.abs_diff(even) < even / 5),
                "{what}: {:?}",
                of_these(0).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn bits_of_members_that_cannot_be_selected_are_passed_over_and_cleared() {
    for (positions, strangers) in [(1, vec![]), (100, vec![]), (100, vec![0, 40, 70]), (2_000, vec![1_999])] {
        let (index, cells) = index(positions);
        for &position in &strangers {
            make_a_stranger(&index, &cells, position);
        }
        (0..positions).for_each(|position| index.mark(position));
        let fill = |position| {
            let cell = cells.at(index.member(position).unwrap());
            while cell.word().selectable() {
                cell.reserve(cell.word()).unwrap();
            }
        };
        let last = strangers.last().copied().unwrap_or(positions / 2);
        (0..positions).filter(|&position| position != last).for_each(fill);
        let part = Part::whole(index.high_water());
        for seed in 0..20 {
            let mut random = Random::new(seed);
            assert_eq!(draw(&index, &cells, &mut random), index.member(last));
            assert_eq!(index.draw_lighter(&cells, part, &mut random).map(|found| found.number), index.member(last));
        }
        fill(last);
        assert!(index.draw_lighter(&cells, part, &mut Random::new(1)).is_none());
        assert!(index.is_empty(), "each that was met was mended, or there would be no end");
    }
}

#[test]
fn a_position_that_was_never_given_out_is_passed_over() {
    for size in [1, 256] {
        let (index, _) = index(size);
        index.mark(size);
        assert!(index.is_empty() && !index.occupancy.is_marked(0));
        index.clear(size, || panic!("nobody is there"));
        assert_eq!(index.member(size), None);
    }
}

#[test]
fn a_leaf_has_a_cell_for_each_place_also_where_a_stranger_was_first() {
    let (index, cells) = index(0);
    let elsewhere = cells.vacant_block() * FANOUT + 5;
    index.set_member(0, Some(elsewhere));
    assert_eq!(index.own_cell(7, &cells) % FANOUT, 7, "the first for which there has to be a block");
    let own: Vec<u32> = (0..FANOUT).map(|place| index.own_cell(place, &cells)).collect();
    assert!(own.iter().enumerate().all(|(place, &cell)| cell == own[0] + place as u32), "{own:?}");
    index.set_member(1, Some(own[1]));
    // At the place of a leaf is who is in that leaf's cell, or a stranger whose cell has the place of another.
    index.set_member(2, Some(own[3]));
    assert_eq!(
        [0, 1, 2, 3].map(|position| index.member(position)),
        [Some(elsewhere), Some(own[1]), Some(own[3]), None]
    );
    index.set_member(2, None);
    index.set_member(0, Some(own[0]));
    assert_eq!([0, 1, 2].map(|position| index.member(position)), [Some(own[0]), Some(own[1]), None]);
}

#[test]
fn a_cell_is_that_of_its_position_for_good() {
    let (index, cells) = index(2_048);
    assert!((0..2_048).all(|position| index.own_cell(position, &cells) == position));
}

#[test]
fn a_stranger_is_chosen_as_any_other() {
    for (positions, position) in [(1, 0), (100, 0), (100, 70)] {
        let (index, cells) = index(positions);
        let part = Part::whole(index.high_water());
        let elsewhere = make_a_stranger(&index, &cells, position);
        index.mark(position);
        for seed in 0..20 {
            let mut random = Random::new(seed);
            assert_eq!(draw(&index, &cells, &mut random), Some(elsewhere));
            assert_eq!(index.draw_lighter(&cells, part, &mut random).unwrap().number, elsewhere);
        }
    }
}
