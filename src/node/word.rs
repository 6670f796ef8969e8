//! The slot word: all that decides whether a slot of a node can be taken, in 64 bits that change at once.
//!
//! ```text
//!  63        54 53   36    35      34..28  27      14 13        0
//! | generation | rises | pending | flags | capacity | in_flight |
//! ```
//! - `in_flight` (14): slots held. Anyone may change it: +1 by reserve, -1 by release.
//! - `capacity` (14): effective capacity, the slots that may be held. It follows the cell's basis. It may be smaller
//!   than `in_flight` after it was lowered; then nothing is taken until enough was released.
//! - `flags` (7): why the node is not to be used, none when it is ready. Writer of the node's shard only.
//! - `pending` (1): a slot came free, and the availability index may not know yet. Set by whoever makes a node with
//!   several slots selectable; whoever takes or releases a slot and finds it set tells the index, too, before it returns.
//!   Cleared by one that told the index, if the node has not stopped being selectable meanwhile.
//! - `rises` (18): how often the node has become selectable, was given more slots, or was moved. It tells these apart:
//!   without it, a node that became full and not full again would have the same word, and its second rise would be
//!   taken for told. It wraps; a thread would have to be held up between two instructions for exactly a multiple of
//!   2^18 rises of one node.
//! - `generation` (10): uses of the cell. Changes when a cell is given to a node and when it is taken back. It wraps,
//!   which does no harm to whoever is pinned or holds a slot: a cell is given to another node only when no slot of it is
//!   held and nobody is pinned who may have found the node there. A reservation or a release on the short way has no pin;
//!   it names the whole word, and the rises are counted on from tenant to tenant: to take an old word for the present
//!   one, it would have to be held up between two instructions until generation and rises both come round to where they
//!   were.
//!
//! Rules: (1) no transition changes two of these fields' meanings by two operations: each is one compare-and-swap of
//! the whole word. (2) `in_flight` grows only while the word is [`selectable`](SlotWord::selectable). (3) `in_flight`
//! never goes below zero and never changes under a generation other than the one that the caller names.

use crate::sync::sized_by_model;

/// See the module's documentation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotWord(pub(crate) u64);

/// Reasons not to use a node; [`SlotWord`] has room for seven.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// It takes jobs.
    #[cfg(test)]
    pub(crate) const NONE: Flags = Flags(0);
    /// It has not said yet that it is ready.
    pub(crate) const REGISTERING: Flags = Flags(1);
    /// It says that it is not to be used.
    pub(crate) const UNREADY: Flags = Flags(1 << 1);
    /// A resource is over its threshold.
    pub(crate) const OVERLOADED: Flags = Flags(1 << 2);
    /// Drained by the operator.
    pub(crate) const DRAINING: Flags = Flags(1 << 3);
    /// Its heartbeats have stopped.
    pub(crate) const OFFLINE: Flags = Flags(1 << 4);
    /// Deregistered or replaced: never to be used again under this generation.
    pub(crate) const GONE: Flags = Flags(1 << 5);
    /// Its weight is zero.
    pub(crate) const WEIGHTLESS: Flags = Flags(1 << 6);

    const ALL: u8 = (1 << 7) - 1;

    pub(crate) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) const fn with(self, flag: Flags, set: bool) -> Flags {
        if set { Flags(self.0 | flag.0) } else { Flags(self.0 & !flag.0) }
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#09b}", self.0)
    }
}

/// The most slots that the word has room for.
pub(crate) const MAX_SLOTS: u32 = (1 << 14) - 1;

const SLOTS_MASK: u64 = MAX_SLOTS as u64;
const CAPACITY_SHIFT: u32 = 14;
const FLAGS_SHIFT: u32 = 28;
const FLAGS_MASK: u64 = (Flags::ALL as u64) << FLAGS_SHIFT;
/// What is below the flags: slots held, and slots there are.
const FLAGS_BELOW: u64 = (1 << FLAGS_SHIFT) - 1;
const PENDING: u64 = 1 << 35;
const RISES_SHIFT: u32 = 36;
const RISES_MASK: u64 = ((1 << 18) - 1) << RISES_SHIFT;
const GENERATION_SHIFT: u32 = 54;
const GENERATION_MASK: u32 = sized_by_model((1 << 10) - 1, 3, (1 << 10) - 1);

impl SlotWord {
    /// An idle node.
    pub(crate) const fn new(generation: u32, capacity: u16, flags: Flags) -> Self {
        Self(((generation & GENERATION_MASK) as u64) << GENERATION_SHIFT).with_flags(flags).with_capacity(capacity)
    }

    #[inline(always)]
    pub(crate) const fn in_flight(self) -> u32 {
        (self.0 & SLOTS_MASK) as u32
    }

    #[inline(always)]
    pub(crate) const fn capacity(self) -> u32 {
        (self.0 >> CAPACITY_SHIFT & SLOTS_MASK) as u32
    }

    pub(crate) const fn flags(self) -> Flags {
        Flags((self.0 >> FLAGS_SHIFT) as u8 & Flags::ALL)
    }

    /// Whether there is no reason not to use the node.
    #[inline(always)]
    pub(crate) const fn is_unflagged(self) -> bool {
        self.0 & FLAGS_MASK == 0
    }

    pub(crate) const fn pending(self) -> bool {
        self.0 & PENDING != 0
    }

    #[inline(always)]
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Whether a slot can be taken now: no reason against it, and one is free.
    #[inline(always)]
    pub(crate) const fn selectable(self) -> bool {
        self.is_unflagged() && self.in_flight() < self.capacity()
    }

    /// Whether, no reason being against it, a slot can be taken and the index has been told all there is to tell.
    #[inline(always)]
    pub(crate) const fn is_settled_with_room(self) -> bool {
        !self.pending() && self.in_flight() < self.capacity()
    }

    /// Whether it is `generation`'s, has no reason against it, and the index has been told all there is to tell.
    #[inline(always)]
    pub(crate) const fn is_settled_and_ready(self, generation: u32) -> bool {
        (self.0 ^ (generation as u64) << GENERATION_SHIFT) & !(RISES_MASK | FLAGS_BELOW) == 0
    }

    /// With the rises of another word counted on: so that words of one cell's tenants differ by more than the generation,
    /// which comes round.
    pub(crate) const fn after(self, earlier: Self) -> Self {
        Self(self.0 & !RISES_MASK | earlier.0 & RISES_MASK).risen(self.pending())
    }

    /// One slot more is held.
    ///
    /// The word must be selectable, so the sum cannot run over into the capacity.
    #[inline(always)]
    pub(crate) const fn reserved(self) -> Self {
        Self(self.0 + 1)
    }

    /// One slot less is held; `None` when none is.
    pub(crate) const fn released(self) -> Option<Self> {
        if self.in_flight() == 0 { None } else { Some(Self(self.0 - 1)) }
    }

    /// `capacity` is at most [`MAX_SLOTS`].
    pub(crate) const fn with_capacity(self, capacity: u16) -> Self {
        debug_assert!(capacity as u32 <= MAX_SLOTS);
        let capacity = (capacity as u64 & SLOTS_MASK) << CAPACITY_SHIFT;
        Self(self.0 & !(SLOTS_MASK << CAPACITY_SHIFT) | capacity)
    }

    pub(crate) const fn with_flags(self, flags: Flags) -> Self {
        Self(self.0 & !FLAGS_MASK | (flags.0 as u64) << FLAGS_SHIFT)
    }

    pub(crate) const fn with_pending(self, pending: bool) -> Self {
        if pending { Self(self.0 | PENDING) } else { Self(self.0 & !PENDING) }
    }

    /// It has become selectable once more, `pending` as said.
    pub(crate) const fn risen(self, pending: bool) -> Self {
        let rises = self.0.wrapping_add(1 << RISES_SHIFT) & RISES_MASK;
        Self(self.0 & !RISES_MASK | rises).with_pending(pending)
    }

    /// The generation after `generation`. Zero is skipped: it is that of a cell never used.
    pub(crate) const fn next_generation(generation: u32) -> u32 {
        let next = (generation + 1) & GENERATION_MASK;
        if next == 0 { 1 } else { next }
    }
}

impl std::fmt::Debug for SlotWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotWord")
            .field("in_flight", &self.in_flight())
            .field("capacity", &self.capacity())
            .field("flags", &self.flags())
            .field("pending", &self.pending())
            .field("generation", &self.generation())
            .finish()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots() -> impl Strategy<Value = u16> {
        0..=MAX_SLOTS as u16
    }

    fn word() -> impl Strategy<Value = (u32, u16, u8, bool, u16)> {
        (0..=GENERATION_MASK, slots(), 0..=Flags::ALL, any::<bool>(), slots())
    }

    fn rises(word: SlotWord) -> u64 {
        (word.0 & RISES_MASK) >> RISES_SHIFT
    }

    proptest! {
        #[test]
        fn fields_come_back_as_they_went_in((generation, capacity, flags, pending, held) in word()) {
            let mut word = SlotWord::new(generation, capacity, Flags(flags)).with_pending(pending);
            word.0 += u64::from(held);
            prop_assert_eq!(word.generation(), generation);
            prop_assert_eq!(word.capacity(), u32::from(capacity));
            prop_assert_eq!(word.flags(), Flags(flags));
            prop_assert_eq!(word.pending(), pending);
            prop_assert_eq!(word.in_flight(), u32::from(held));
            prop_assert_eq!(word.selectable(), flags == 0 && held < capacity);
        }

        #[test]
        fn each_change_leaves_the_other_fields(
            (generation, capacity, flags, pending, held) in word(),
            to_capacity in slots(),
            earlier_rises in 0u64..1 << 18,
            to_flags in 0..=Flags::ALL,
        ) {
            let mut word = SlotWord::new(generation, capacity, Flags(flags)).with_pending(pending);
            word.0 += u64::from(held);
            word.0 |= earlier_rises << RISES_SHIFT;
            let rest = |w: SlotWord| (w.generation(), w.pending(), rises(w));
            let risen = word.risen(!pending);
            prop_assert_eq!((risen.generation(), risen.pending(), rises(risen)), (generation, !pending, (earlier_rises + 1) % (1 << 18)));
            prop_assert_eq!((risen.in_flight(), risen.capacity(), risen.flags()), (word.in_flight(), word.capacity(), word.flags()));
            let changed = word.with_capacity(to_capacity);
            prop_assert_eq!((changed.in_flight(), changed.capacity(), changed.flags()), (u32::from(held), u32::from(to_capacity), Flags(flags)));
            prop_assert_eq!(rest(changed), rest(word));
            let changed = word.with_flags(Flags(to_flags));
            prop_assert_eq!((changed.in_flight(), changed.capacity(), changed.flags()), (u32::from(held), u32::from(capacity), Flags(to_flags)));
            prop_assert_eq!(rest(changed), rest(word));
            match word.released() {
                None => prop_assert_eq!(held, 0),
                Some(less) => prop_assert_eq!((less.in_flight() + 1, less.capacity(), rest(less)), (u32::from(held), u32::from(capacity), rest(word))),
            }
            if word.selectable() {
                let more = word.reserved();
                prop_assert_eq!((more.in_flight(), more.capacity(), rest(more)), (u32::from(held) + 1, u32::from(capacity), rest(word)));
            }
        }

        #[test]
        fn generations_follow_one_another_without_zero(generation in 0..=GENERATION_MASK) {
            let next = SlotWord::next_generation(generation);
            prop_assert_eq!(next, if generation == GENERATION_MASK { 1 } else { generation + 1 });
        }
    }

    #[test]
    fn what_is_said_at_once_is_what_the_fields_say() {
        let flags = (0..8).map(|bit| (1_u8 << bit) & Flags::ALL).chain([Flags::ALL]);
        for (flags, pending) in flags.flat_map(|flags| [(flags, false), (flags, true)]) {
            for (held, capacity) in [(0, 0), (0, 1), (1, 1), (2, 1), (MAX_SLOTS as u16, MAX_SLOTS as u16)] {
                let mut word = SlotWord::new(5, capacity, Flags(flags)).with_pending(pending).risen(pending);
                word.0 += u64::from(held);
                let room = held < capacity;
                assert_eq!(word.is_unflagged(), flags == 0, "{word:?}");
                assert_eq!(word.is_settled_with_room(), !pending && room, "{word:?}");
                for generation in [5, 4, 1, 0, GENERATION_MASK] {
                    let ready = generation == 5 && flags == 0 && !pending;
                    assert_eq!(word.is_settled_and_ready(generation), ready, "{word:?}, {generation}");
                }
                let [told, untold] = [false, true].map(|pending| word.with_pending(pending));
                assert_eq!((told.pending(), untold.pending(), untold.risen(true).pending()), (false, true, true));
                assert_eq!((untold.with_pending(true), told.with_pending(false)), (untold, told));
            }
        }
    }

    #[test]
    fn each_reason_is_set_and_taken_away_alone() {
        let (registering, unready, overloaded) = (Flags::REGISTERING, Flags::UNREADY, Flags::OVERLOADED);
        let (draining, offline, gone, weightless) = (Flags::DRAINING, Flags::OFFLINE, Flags::GONE, Flags::WEIGHTLESS);
        let reasons = [registering, unready, overloaded, draining, offline, gone, weightless];
        let all = reasons.iter().fold(Flags::NONE, |flags, reason| flags.with(*reason, true));
        assert_eq!(all, Flags(Flags::ALL));
        for reason in reasons {
            let (alone, others) = (Flags::NONE.with(reason, true), all.with(reason, false));
            assert_eq!(reasons.map(|other| alone.has(other)), reasons.map(|other| other == reason));
            assert_eq!(reasons.map(|other| others.has(other)), reasons.map(|other| other != reason));
            assert_eq!((alone.with(reason, true), others.with(reason, false)), (alone, others));
        }
    }

    #[test]
    fn a_cell_never_used_is_not_selectable() {
        assert!(!SlotWord(0).selectable());
    }
}
