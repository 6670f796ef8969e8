//! The set bit of a given rank in a word, without a branch: a guess would be wrong half of the time, and a loop ends by
//! one.
//!
//! Where the processor has the instruction for it and is fast at it, that is used; it decides at run time, because it is
//! newer than what the library may be built for. Elsewhere it is worked out.

use std::hint::select_unpredictable;

/// A set bit of `bits`, all alike; `random` is uniform in its upper half. Of no bits, any number.
#[inline(always)]
pub(crate) fn random_bit(bits: u32, random: u64) -> u32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if x86::is_fast() {
        return x86::random_bit(bits, random);
    }
    worked_out(bits, random)
}

/// As [`random_bit`], for words of which most often the first few bits are set and no others.
#[inline(always)]
pub(crate) fn random_bit_of_few(bits: u32, random: u64) -> u32 {
    // A case for a processor to foresee, in which the rank is the place.
    if bits & bits.wrapping_add(1) == 0 { rank(random, bits.trailing_ones()) } else { random_bit(bits, random) }
}

/// The rank among `count`, from a number that is uniform in its upper half.
#[inline(always)]
fn rank(random: u64, count: u32) -> u32 {
    (((random >> 32) * u64::from(count)) >> 32) as u32
}

/// Counts how many bits are set in each two, four and eight of them, and up to each eight (Warren, Hacker's Delight, 2012,
/// chapter 5), then goes down to the one of the rank.
fn worked_out(bits: u32, random: u64) -> u32 {
    let bits = bits.max(1);
    let twos = bits - (bits >> 1 & 0x5555_5555);
    let fours = (twos & 0x3333_3333) + (twos >> 2 & 0x3333_3333);
    let eights = (fours + (fours >> 4)) & 0x0f0f_0f0f;
    let sums = eights.wrapping_mul(0x0101_0101);
    let mut rank = rank(random, sums >> 24);
    // Into the eight in which the sum passes the rank; sums are at most 32, so they do not run over into each other.
    let passed = ((rank.wrapping_mul(0x0101_0101) | 0x8080_8080) - sums) & 0x8080_8080;
    let mut place = ((passed >> 7).wrapping_mul(0x0101_0101) >> 24) * 8;
    rank -= (u64::from(sums) << 8 >> place) as u32 & 0xff;
    for (counts, width) in [(fours, 4), (twos, 2), (bits, 1)] {
        let here = counts >> place & ((1 << width) - 1);
        let further = rank >= here;
        rank -= select_unpredictable(further, here, 0);
        place += select_unpredictable(further, width, 0);
    }
    place
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid;

    use crate::sync::{Ordering, Statistic};

    const UNKNOWN: u64 = 0;
    const SLOW: u64 = 1;
    const FAST: u64 = 2;

    #[inline(always)]
    pub(super) fn is_fast() -> bool {
        static KNOWN: Statistic = Statistic::new(UNKNOWN);
        // Relaxed: whoever finds nothing finds out the same.
        match KNOWN.load(Ordering::Relaxed) {
            UNKNOWN => {
                let found = if find_out() { FAST } else { SLOW };
                KNOWN.store(found, Ordering::Relaxed);
                found == FAST
            }
            known => known == FAST,
        }
    }

    /// Whether there are POPCNT and BMI2, and not those of AMD before family 19h, which do PDEP step by step.
    #[cold]
    fn find_out() -> bool {
        let vendor = __cpuid(0);
        let amd = (vendor.ebx, vendor.edx, vendor.ecx) == (0x6874_7541, 0x6974_6e65, 0x444d_4163);
        let version = __cpuid(1).eax;
        let family = (version >> 8 & 0xf) + (version >> 20 & 0xff);
        let slow = amd && family < 0x19;
        std::arch::is_x86_feature_detected!("bmi2") && std::arch::is_x86_feature_detected!("popcnt") && !slow
    }

    /// For processors that [are fast](is_fast) at it.
    #[inline(always)]
    pub(super) fn random_bit(bits: u32, random: u64) -> u32 {
        let (count, deposited): (u32, u32);
        // SAFETY: POPCNT is there, and touches neither memory nor stack.
        unsafe { asm!("popcnt {:e}, {:e}", out(reg) count, in(reg) bits, options(pure, nomem, nostack)) };
        let rank = super::rank(random, count);
        // SAFETY: BMI2 is there; PDEP touches neither memory, stack nor flags.
        unsafe {
            asm!("pdep {:e}, {:e}, {:e}", out(reg) deposited, in(reg) 1u32 << rank, in(reg) bits,
                options(pure, nomem, nostack, preserves_flags));
        }
        deposited.trailing_zeros()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Equal shares of all random numbers lead to each set bit, in their order.
        #[test]
        fn each_rank_leads_to_its_bit(bits in prop_oneof![1u32.., (0u32..32).prop_map(|n| u32::MAX >> n)], rank in any::<proptest::sample::Index>()) {
            let set: Vec<u32> = (0..32).filter(|bit| bits >> bit & 1 == 1).collect();
            let rank = rank.index(set.len());
            let least = ((rank as u64) << 32).div_ceil(set.len() as u64);
            let most = (((rank as u64 + 1) << 32).div_ceil(set.len() as u64)) - 1;
            for random in [least << 32, most << 32 | u64::from(u32::MAX)] {
                prop_assert_eq!(random_bit(bits, random), set[rank]);
                prop_assert_eq!(worked_out(bits, random), set[rank]);
                prop_assert_eq!(random_bit_of_few(bits, random), set[rank]);
            }
        }
    }
}
