//! A value that readers follow under a pin, in memory that is used again when it has been put away.
//!
//! # Invariant
//! Between [`Reused::fill`] and [`Reused::put_away`] readers find the value, and nobody changes it; what they found is
//! good until their pins end. From `put_away` on nobody finds it, and when all pins that were there have ended, nobody
//! has it but whoever [keeps](Kept) it. Only then, by [`Reused::clear`], it is dropped: in place if nobody keeps it, else
//! the memory is left to those who do, and the last of them drops it.
//!
//! Who has the value is counted in the value itself ([`Holders`]): the place, and each [`Kept`]. It is not an `Arc`
//! because of the first one, whose count is written with the value, before anybody can see it; and because who finds
//! that the place alone is left need not lock out weak references, which there are none of.
//!
//! # Orderings
//! A value is published with Release by `fill` and found with Acquire, so what was written before is seen. The owner of
//! the place hands it on from `put_away` to `clear` to `fill` by what he keeps places in (see `place`). Who gives a
//! reference up does so with Release, and who drops the value sees that with Acquire: nobody reads it any more.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crossbeam_epoch::Guard;

use crate::sync::{AtomicPtr, AtomicU32, Ordering, Zeroed, fence, owned};

/// In the lowest bit of the address: put away.
const AWAY: usize = 1;
/// In the second lowest: put away, and the value was dropped.
const EMPTY: usize = 2;
/// So many keep it that the count is about to overflow: as with an `Arc`, only by leaking them.
const TOO_MANY: u32 = 1 << 31;

/// How many have a value: a field of it.
#[derive(Debug)]
pub(crate) struct Holders(AtomicU32);

impl Holders {
    /// Of a value to be [filled](Reused::fill) in: the place, and the first to keep it.
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(2))
    }
}

/// # Safety
/// `holders` is the same field whenever it is asked for, and nobody but this module touches it. The value is aligned to 4.
pub(crate) unsafe trait Counted {
    fn holders(&self) -> &Holders;
}

/// See the module's documentation.
pub(super) struct Reused<T: Counted> {
    word: AtomicPtr<T>,
    owns: PhantomData<Box<T>>,
}

/// A value that was found, good for `'g`, in which the place or somebody else has it.
pub(crate) struct InUse<'g, T> {
    value: NonNull<T>,
    lives: PhantomData<&'g T>,
}

/// A value for as long as this lives.
pub(crate) struct Kept<T: Counted> {
    value: NonNull<T>,
    owns: PhantomData<Box<T>>,
}

// SAFETY: it owns a `T` together with others, and hands out what an `Arc<T>` shared between threads would.
unsafe impl<T: Counted + Send + Sync> Send for Reused<T> {}
// SAFETY: as above; every access to the pointer itself is atomic.
unsafe impl<T: Counted + Send + Sync> Sync for Reused<T> {}
// SAFETY: as an `Arc<T>`.
unsafe impl<T: Counted + Send + Sync> Send for Kept<T> {}
// SAFETY: as an `Arc<T>`.
unsafe impl<T: Counted + Send + Sync> Sync for Kept<T> {}
// SAFETY: one atomic pointer, null by default.
unsafe impl<T: Counted> Zeroed for Reused<T> {}

impl<T: Counted> Default for Reused<T> {
    fn default() -> Self {
        Self { word: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }
}

fn address<T>(word: *mut T) -> *mut T {
    word.map_addr(|addr| addr & !(AWAY | EMPTY))
}

impl<T: Counted> Reused<T> {
    /// The value, if there is one now.
    #[inline(always)]
    pub(super) fn load<'g>(&self, _pin: &'g Guard) -> Option<InUse<'g, T>> {
        const { assert!(align_of::<T>() > AWAY | EMPTY, "the state lives in the low bits of the address") };
        // Acquire: pairs with `fill`.
        let word = NonNull::new(self.word.load(Ordering::Acquire))?;
        // Not put away, so the address of a value, which the place does not give up before the pins that were there when it
        // was put away, this one among them, have ended.
        (word.as_ptr().addr() & AWAY == 0).then_some(InUse { value: word, lives: PhantomData })
    }

    /// Lets nobody find it any more. For the owner of the place.
    #[inline(always)]
    pub(super) fn put_away(&self) {
        // Relaxed: the owner has filled it, or had it handed over.
        let word = self.word.load(Ordering::Relaxed);
        // Release: what was read of the value is before whatever its memory is used for next.
        self.word.store(word.map_addr(|addr| addr | AWAY), Ordering::Release);
    }

    /// Drops what was put away, if nobody keeps it.
    ///
    /// # Safety
    /// The place is the caller's alone; it was put away, and all pins of that time have ended.
    #[inline(always)]
    pub(super) unsafe fn clear(&self) {
        let word = self.word.load(Ordering::Relaxed);
        let Some(value) = NonNull::new(address(word)).filter(|_| word.addr() & EMPTY == 0) else { return };
        // SAFETY: a value that the place has; no reader follows the pointer any more but those who keep it.
        let holders = unsafe { &value.as_ref().holders().0 };
        // Acquire: pairs with `Kept::drop`. Alone once means alone for good: only who has it can let others have it.
        if holders.load(Ordering::Acquire) == 1 {
            // SAFETY: nobody has it but the place, which is the caller's. It is not looked at before it is filled again.
            unsafe { value.drop_in_place() };
            self.word.store(word.map_addr(|addr| addr | EMPTY), Ordering::Relaxed);
        } else {
            self.word.store(std::ptr::null_mut(), Ordering::Relaxed);
            drop(Kept { value, owns: PhantomData });
        }
    }

    /// Memory for a value: that which is here, if nobody has it any more, or new. For the owner of a place that was
    /// cleared if it was ever filled.
    #[inline(always)]
    pub(super) fn room(&self) -> NonNull<T> {
        NonNull::new(address(self.word.load(Ordering::Relaxed))).unwrap_or_else(new_room)
    }

    /// Lets a value be found that was written to the [`room`](Self::room) here, and that nobody has had yet; it, for the
    /// caller, and to keep.
    ///
    /// # Safety
    /// The place is the caller's alone, and was cleared if it was ever filled. What is returned first is good until the
    /// place is put away, by the caller, and his pin has ended.
    #[inline(always)]
    pub(super) unsafe fn fill<'g>(&self, filled: NonNull<T>, _pin: &'g Guard) -> (InUse<'g, T>, Kept<T>) {
        // Release: publishes the value to `load`.
        self.word.store(filled.as_ptr(), Ordering::Release);
        // The count is two from the beginning: the place's, and this.
        (InUse { value: filled, lives: PhantomData }, Kept { value: filled, owns: PhantomData })
    }
}

#[cold]
fn new_room<T>() -> NonNull<T> {
    NonNull::from(Box::leak(Box::<T>::new_uninit())).cast()
}

impl<T: Counted> Drop for Reused<T> {
    fn drop(&mut self) {
        let word = owned(&mut self.word);
        let Some(value) = NonNull::new(address(word)) else { return };
        if word.addr() & EMPTY == 0 {
            drop(Kept { value, owns: PhantomData });
        } else {
            // SAFETY: from `room`, and the value was dropped.
            drop(unsafe { Box::from_raw(value.cast::<std::mem::MaybeUninit<T>>().as_ptr()) });
        }
    }
}

impl<T: Counted> std::fmt::Debug for Reused<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reused").finish_non_exhaustive()
    }
}

impl<'g, T: Counted> InUse<'g, T> {
    #[inline(always)]
    pub(crate) fn get(self) -> &'g T {
        // SAFETY: a value that somebody has throughout `'g`.
        unsafe { self.value.as_ref() }
    }

    /// To keep it for longer.
    pub(crate) fn keep(self) -> Kept<T> {
        // Relaxed: who has it lets another have it, whom he tells by other means.
        let before = self.get().holders().0.fetch_add(1, Ordering::Relaxed);
        if before >= TOO_MANY {
            std::process::abort();
        }
        Kept { value: self.value, owns: PhantomData }
    }
}

impl<T> Clone for InUse<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for InUse<'_, T> {}

impl<T: Counted> std::ops::Deref for InUse<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        self.get()
    }
}

impl<T: Counted> Clone for Kept<T> {
    fn clone(&self) -> Self {
        InUse { value: self.value, lives: PhantomData }.keep()
    }
}

impl<T: Counted> std::ops::Deref for Kept<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this one has it.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Counted> Drop for Kept<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: what was read of it is before it is dropped by whoever is the last.
        if self.holders().0.fetch_sub(1, Ordering::Release) == 1 {
            // SAFETY: this was the last.
            unsafe { drop_last(self.value) };
        }
    }
}

/// # Safety
/// Nobody else has the value, which is from `room`.
#[cold]
unsafe fn drop_last<T>(value: NonNull<T>) {
    // Acquire: pairs with the Release of all others, see `Kept::drop`.
    fence(Ordering::Acquire);
    // SAFETY: as the caller says.
    drop(unsafe { Box::from_raw(value.as_ptr()) });
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    /// Tells how many there are.
    struct Value {
        number: u32,
        holders: Holders,
        there_are: Rc<Cell<u32>>,
    }

    // SAFETY: a field of it, which nothing else here touches.
    unsafe impl Counted for Value {
        fn holders(&self) -> &Holders {
            &self.holders
        }
    }

    impl Drop for Value {
        fn drop(&mut self) {
            self.there_are.set(self.there_are.get() - 1);
        }
    }

    fn fill(reused: &Reused<Value>, number: u32, there_are: &Rc<Cell<u32>>) -> (NonNull<Value>, Kept<Value>) {
        let room = reused.room();
        there_are.set(there_are.get() + 1);
        // SAFETY: room for a value, which is this test's alone, as the place is; it was cleared if it was filled.
        let kept = unsafe {
            room.write(Value { number, holders: Holders::new(), there_are: there_are.clone() });
            reused.fill(room, crossbeam_epoch::unprotected()).1
        };
        (room, kept)
    }

    fn found(reused: &Reused<Value>) -> Option<u32> {
        // SAFETY: no other thread has it.
        reused.load(unsafe { crossbeam_epoch::unprotected() }).map(|value| value.number)
    }

    #[test]
    fn a_value_is_there_until_nobody_has_it_and_its_memory_is_used_again() {
        let (reused, there_are) = (Reused::default(), Rc::new(Cell::new(0)));
        assert_eq!(found(&reused), None);
        let (room, kept) = fill(&reused, 1, &there_are);
        assert_eq!((found(&reused), kept.number), (Some(1), 1));
        drop(kept.clone());
        drop(kept);
        reused.put_away();
        assert_eq!((found(&reused), there_are.get()), (None, 1));
        // SAFETY: it was put away, and nobody else has looked.
        unsafe { reused.clear() };
        assert_eq!((found(&reused), there_are.get()), (None, 0));
        let (same, kept) = fill(&reused, 2, &there_are);
        assert_eq!((same, found(&reused)), (room, Some(2)));
        // Who keeps it has it for longer than the place.
        reused.put_away();
        // SAFETY: as above.
        unsafe { reused.clear() };
        let (other, next) = fill(&reused, 3, &there_are);
        assert!(other != room, "somebody has that");
        assert_eq!((kept.number, next.number, there_are.get()), (2, 3, 2));
        drop(kept);
        assert_eq!((found(&reused), there_are.get()), (Some(3), 1));
    }

    #[test]
    fn a_place_that_is_dropped_drops_what_nobody_keeps() {
        let there_are = Rc::new(Cell::new(0));
        for (away, clear, keep) in
            [(false, false, false), (false, false, true), (true, false, false), (true, true, false), (true, true, true)]
        {
            let reused = Reused::default();
            let (_, kept) = fill(&reused, 1, &there_are);
            let kept = keep.then_some(kept);
            if away {
                reused.put_away();
            }
            if clear {
                // SAFETY: it was put away, and nobody else has looked.
                unsafe { reused.clear() };
            }
            drop(reused);
            assert_eq!(there_are.get(), u32::from(keep), "{away} {clear}");
            drop(kept);
            assert_eq!(there_are.get(), 0, "{away} {clear} {keep}");
        }
    }
}
