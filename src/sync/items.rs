//! Memory of many items, as of an arena's chunks: zeroed, and not touched before it is used.
//!
//! The standard library zeroes memory by hand when its items are aligned to more than a word or two, all of it at once: a
//! fleet that grew past half a million nodes had one registration wait for 32 MiB. So it is asked for with the alignment
//! that the system has anyway, and with room to begin where the items may; before them is written where it begins, and
//! by what its owner is led to it ([`Trail`]).
//!
//! What is large is asked to be on pages of 2 MiB (Linux; elsewhere the system decides). What is drawn at random from it lies
//! on other pages each time, and to look up which those are takes longer than to fetch what is there.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{NonNull, null_mut};

use super::{AtomicPtr, Ordering, Zeroed};

/// What stands before the items.
#[derive(Debug)]
struct Header {
    /// Where the allocation begins.
    begin: *mut u8,
    /// Where the one before it on its owner's [`Trail`] does.
    before: *mut u8,
}

/// By this the allocations can be found of an owner whose own pointers lead elsewhere: it has the last, in whose header is
/// where the one before is. The library has no need of it. But leak checkers take for lost what no pointer leads to, and
/// would tell of any scheduler that is still there when the program ends.
#[derive(Debug, Default)]
pub(crate) struct Trail(AtomicPtr<u8>);

impl Trail {
    /// Adds an allocation.
    ///
    /// # Safety
    /// The items are [`allocate`]d, and were not added before.
    pub(crate) unsafe fn keep<T>(&self, items: NonNull<T>) {
        let header = items.cast::<Header>().as_ptr().wrapping_sub(1);
        // SAFETY: `allocate` wrote it, and only the caller writes to it, once.
        let (begin, before) = unsafe { ((*header).begin, &raw mut (*header).before) };
        let mut last = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: as above.
            unsafe { before.write(last) };
            // Relaxed: only who has stopped all threads follows it.
            match self.0.compare_exchange_weak(last, begin, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(newer) => last = newer,
            }
        }
    }
}

/// Of this size there are pages of 2 MiB in it, wherever it begins.
const LARGE: usize = 4 << 20;

/// Where the items are aligned to.
const fn alignment<T>() -> usize {
    if align_of::<T>() > align_of::<Header>() { align_of::<T>() } else { align_of::<Header>() }
}

fn layout<T>(len: usize) -> Layout {
    let size =
        len.checked_mul(size_of::<T>()).and_then(|items| items.checked_add(size_of::<Header>() + alignment::<T>()));
    let layout = size.and_then(|size| Layout::from_size_align(size, align_of::<Header>()).ok());
    layout.expect("what is numbered with 32 bits fits into the address space")
}

/// A slice of zeroed values.
pub(crate) fn zeroed_slice<T: Zeroed>(len: usize) -> Box<[T]> {
    // SAFETY: `Zeroed` promises that all-zero bytes are a valid value.
    let slice = unsafe { Box::<[T]>::new_zeroed_slice(len).assume_init() };
    ask_for_large_pages(NonNull::from(&*slice).cast::<T>(), len);
    slice
}

/// So many items, to be given back with [`free`].
pub(crate) fn allocate<T: Zeroed>(len: usize) -> NonNull<T> {
    let layout = layout::<T>(len);
    // SAFETY: it has a size, for there is more to it than items.
    let begin = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
    // SAFETY: the next place behind a header that is aligned, for which `layout` has room, and for all items behind.
    // `Zeroed` promises that all-zero bytes are one.
    unsafe {
        let past = begin.add(size_of::<Header>());
        let items = past.add(past.align_offset(alignment::<T>())).cast::<T>();
        items.cast::<Header>().sub(1).write(Header { begin: begin.as_ptr(), before: null_mut() });
        ask_for_large_pages(items, len);
        items
    }
}

/// Drops the items, and gives their memory back.
///
/// # Safety
/// As many items as were [`allocate`]d there, which nobody has any more.
pub(crate) unsafe fn free<T>(items: NonNull<T>, len: usize) {
    // SAFETY: from `allocate`, which wrote where the allocation begins; its layout is the same for the same length.
    unsafe {
        NonNull::slice_from_raw_parts(items, len).drop_in_place();
        dealloc(items.cast::<Header>().sub(1).read().begin, layout::<T>(len));
    }
}

/// For memory that nothing was written to yet. If it is not granted, nothing is lost but time.
fn ask_for_large_pages<T>(items: NonNull<T>, len: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        // As large as the system's small pages are anywhere: it wants a whole one to begin with.
        const PAGE: usize = 64 << 10;
        let bytes = len * size_of::<T>();
        if bytes < LARGE {
            return;
        }
        let first = items.cast::<u8>();
        let skipped = first.align_offset(PAGE);
        // SAFETY: whole pages of one allocation; this changes on which pages they are, and nothing of what is on them.
        unsafe {
            libc::madvise(first.add(skipped).as_ptr().cast(), (bytes - skipped) / PAGE * PAGE, libc::MADV_HUGEPAGE)
        };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (items, len, LARGE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, Ordering};

    #[repr(align(64))]
    #[derive(Default)]
    struct Line(AtomicU64);

    // SAFETY: an atomic integer.
    unsafe impl Zeroed for Line {}

    #[test]
    fn items_are_zeroed_aligned_and_the_callers() {
        for len in [1, 3, 1 << 17] {
            let items = allocate::<Line>(len);
            assert!(items.is_aligned());
            // SAFETY: just allocated.
            let all = unsafe { NonNull::slice_from_raw_parts(items, len).as_ref() };
            assert!(all.iter().all(|line| line.0.swap(7, Ordering::Relaxed) == 0));
            // SAFETY: as many, and `all` is not used any more.
            unsafe { free(items, len) };
        }
    }
}
