//! The words of a cell beside the slot word, bit by bit.

use crate::clock::END;

/// The last heartbeat: `at` (54 bits from 10) which coarse time in ms, of the node of which `generation` (10 bits from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) at: u64,
    pub(super) generation: u32,
}

impl Heard {
    const GENERATION_BITS: u32 = 10;

    #[inline(always)]
    pub(super) fn pack(self) -> u64 {
        const { assert!(END <= u64::MAX >> Self::GENERATION_BITS, "every time has room") };
        self.at << Self::GENERATION_BITS | u64::from(self.generation)
    }

    #[inline(always)]
    pub(super) fn unpack(bits: u64) -> Self {
        Self { at: bits >> Self::GENERATION_BITS, generation: bits as u32 & ((1 << Self::GENERATION_BITS) - 1) }
    }
}

/// Resource use: four times 16 bits, of which the last 5 of the first share and the last 5 of the second give way to the
/// `generation` (10 bits: 5 and 5) of the node whose it is. Those 10 are in a word of their own. That is not tagged: what a
/// late heartbeat, or another one of the node at the same time, can put wrong is less than 1/2,000 of two shares.
pub(super) struct Usage;

impl Usage {
    const PART: u64 = 31;
    const TAG: u64 = Self::PART | Self::PART << 16;

    #[inline(always)]
    fn tag(generation: u32) -> u64 {
        u64::from(generation) & Self::PART | (u64::from(generation) >> 5 & Self::PART) << 16
    }

    #[inline(always)]
    pub(super) fn split(usage: u64, generation: u32) -> (u64, u32) {
        (usage & !Self::TAG | Self::tag(generation), (usage & Self::TAG) as u32)
    }

    pub(super) fn join(tagged: u64, rest: u32, generation: u32) -> Option<u64> {
        (tagged & Self::TAG == Self::tag(generation)).then_some(tagged & !Self::TAG | u64::from(rest))
    }
}

/// What a node's load is held against: `external` (16 bits from 32) of others' jobs, `capacity` (16 from 16) and
/// `weight` (16 from 0). The word has a revision (16 from 48) beside it, so that a change that leaves all three as they
/// are is seen by another under way, which goes by an older report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The node's own capacity, what others put on it not taken off.
    pub(crate) capacity: u16,
    pub(crate) weight: u16,
    pub(crate) external: u16,
}

impl Basis {
    const REVISION: u64 = 0xffff << 48;

    pub(super) fn next_revision(bits: u64) -> u64 {
        (bits & Self::REVISION).wrapping_add(1 << 48)
    }

    pub(super) fn pack(self) -> u64 {
        u64::from(self.external) << 32 | u64::from(self.capacity) << 16 | u64::from(self.weight)
    }

    #[inline(always)]
    pub(super) fn unpack(bits: u64) -> Self {
        Self { external: (bits >> 32) as u16, capacity: (bits >> 16) as u16, weight: bits as u16 }
    }

    /// The slots that are left for us.
    pub(crate) fn effective_capacity(self) -> u16 {
        self.capacity.saturating_sub(self.external)
    }
}

/// What the node itself last counted beyond our own jobs: `external` (16 bits from 48) jobs of others, `at` (48 bits
/// from 0) which time in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) external: u16,
    pub(crate) at: u64,
}

impl Report {
    const AT: u64 = (1 << 48) - 1;

    pub(crate) fn pack(self) -> u64 {
        const { assert!(END <= Self::AT, "every time has room") };
        u64::from(self.external) << 48 | (self.at & Self::AT)
    }

    pub(crate) fn unpack(bits: u64) -> Self {
        Self { external: (bits >> 48) as u16, at: bits & Self::AT }
    }

    /// What is left of it at `now`: it fades to nothing over `decay` ms, never faster.
    pub(crate) fn decayed(self, now: u64, decay: u64) -> u16 {
        let left = decay.saturating_sub(now.saturating_sub(self.at));
        (u64::from(self.external) * left).div_ceil(decay.max(1)) as u16
    }
}

/// Where a node stands: nowhere, at a position of one pool, or in several pools (then its record says where).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    None,
    At { pool: u32, position: u32 },
    Several,
}

impl Home {
    pub(super) fn pack(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Several => u64::MAX,
            Self::At { pool, position } => u64::from(pool + 1) << 32 | u64::from(position),
        }
    }

    pub(super) fn unpack(bits: u64) -> Self {
        match bits {
            0 => Self::None,
            u64::MAX => Self::Several,
            _ => Self::At { pool: (bits >> 32) as u32 - 1, position: bits as u32 },
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn homes_come_back_as_they_went_in() {
        for home in [
            Home::None,
            Home::Several,
            Home::At { pool: 0, position: 0 },
            Home::At { pool: 65_535, position: u32::MAX },
        ] {
            assert_eq!(Home::unpack(home.pack()), home);
        }
    }

    #[test]
    fn a_revision_that_comes_round_changes_nothing_else() {
        let basis = Basis { capacity: u16::MAX, weight: 7, external: u16::MAX };
        for revision in [0u64, 1, 0xfffe, 0xffff] {
            let next = Basis::next_revision(revision << 48 | basis.pack());
            assert_eq!(next, ((revision + 1) % (1 << 16)) << 48);
            assert_eq!(Basis::unpack(next | basis.pack()), basis);
        }
    }

    #[test]
    fn times_up_to_the_end_come_back_as_they_went_in() {
        for at in [0, 1, (1 << 31) - 1, 1 << 31, 1 << 32, END - 1, END] {
            let heard = Heard { at, generation: 1023 };
            assert_eq!(Heard::unpack(heard.pack()), heard);
            let report = Report { external: u16::MAX, at };
            assert_eq!(Report::unpack(report.pack()), report);
            assert_eq!((report.decayed(at, 10), report.decayed(at + 10, 10)), (u16::MAX, 0));
        }
    }
}
