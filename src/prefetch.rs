//! Memory asked for before it is needed.

/// Asks the processor to fetch the line on which this begins, without waiting for it. To be written, soon: where the
/// processor makes a difference, it is fetched for that.
#[inline(always)]
pub(crate) fn fetch_ahead<T>(item: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 has the instruction; it reads nothing that the program sees, and the address is one of an item.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: every AArch64 has the instruction; it changes neither memory, stack nor flags.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) std::ptr::from_ref(item),
            options(readonly, nostack, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = item;
}
