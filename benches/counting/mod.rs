//! An allocator that counts, for each thread apart, what is allocated and what of that is still held.
//!
//! A program that includes this has it as its global allocator. Counts are exact and cost a few instructions; times
//! are not to be measured with it all the same.

#![allow(dead_code, reason = "each program uses what it needs of this")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::{Add, Sub};

/// Up to this size classes are exact to what an allocator rounds up to anyway.
const FINE: usize = 1024;
const GRAIN: usize = 16;
/// Then one class for each power of two.
const CLASSES: usize = FINE / GRAIN + usize::BITS as usize;

/// What a thread has allocated and freed so far, or what it has between two such looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Reallocations are counted, too: they may move and copy.
    pub(crate) allocations: u64,
    pub(crate) frees: u64,
    /// In all allocations, as they were asked for.
    pub(crate) bytes: u64,
    /// Of them what is not freed.
    pub(crate) held: i64,
}

/// Allocations of about a size that are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    /// The largest size in it.
    pub(crate) up_to: usize,
    pub(crate) allocations: i64,
    pub(crate) bytes: i64,
}

struct Counting;

#[derive(Clone, Copy)]
struct Held {
    allocations: i64,
    bytes: i64,
}

// Constant and without a destructor, so that looking at them allocates nothing and is possible to a thread's very end.
thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { allocations: 0, frees: 0, bytes: 0, held: 0 }) };
    static HELD: [Cell<Held>; CLASSES] = const { [const { Cell::new(Held { allocations: 0, bytes: 0 }) }; CLASSES] };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread has done so far.
pub(crate) fn so_far() -> Tally {
    TALLY.get()
}

/// What this thread does during a call.
pub(crate) fn during(call: impl FnOnce()) -> Tally {
    let before = so_far();
    call();
    so_far() - before
}

/// What this thread holds, by size; classes of which it holds nothing included.
pub(crate) fn held_by_class() -> Vec<Class> {
    // Made first: it is held, too, but by neither of two looks more than by the other.
    let mut classes = Vec::with_capacity(CLASSES);
    HELD.with(|held| {
        for (number, held) in held.iter().enumerate() {
            let Held { allocations, bytes } = held.get();
            classes.push(Class { up_to: largest(number), allocations, bytes });
        }
    });
    classes
}

fn class(size: usize) -> usize {
    if size <= FINE {
        size.saturating_sub(1) / GRAIN
    } else {
        FINE / GRAIN + (size - 1).ilog2() as usize - FINE.ilog2() as usize
    }
}

fn largest(class: usize) -> usize {
    match class.checked_sub(FINE / GRAIN) {
        None => (class + 1) * GRAIN,
        Some(power) => FINE.checked_shl(power as u32 + 1).filter(|size| *size > 0).unwrap_or(usize::MAX),
    }
}

fn taken(size: usize) {
    let Tally { allocations, frees, bytes, held } = TALLY.get();
    let (allocations, bytes, held) = (allocations + 1, bytes + size as u64, held + size as i64);
    TALLY.set(Tally { allocations, frees, bytes, held });
    change(size, 1);
}

fn given_back(size: usize) {
    let Tally { allocations, frees, bytes, held } = TALLY.get();
    TALLY.set(Tally { allocations, frees: frees + 1, bytes, held: held - size as i64 });
    change(size, -1);
}

fn change(size: usize, by: i64) {
    HELD.with(|held| {
        let cell = &held[class(size)];
        let Held { allocations, bytes } = cell.get();
        cell.set(Held { allocations: allocations + by, bytes: bytes + by * size as i64 });
    });
}

// SAFETY: the system's allocator, and counters that neither allocate nor fail. Each method is passed on as it is: the
// default of `alloc_zeroed`, for one, would write to memory that the system has zeroed, and make it resident.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        given_back(layout.size());
        taken(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            allocations: self.allocations + more.allocations,
            frees: self.frees + more.frees,
            bytes: self.bytes + more.bytes,
            held: self.held + more.held,
        }
    }
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            frees: self.frees - before.frees,
            bytes: self.bytes - before.bytes,
            held: self.held - before.held,
        }
    }
}
