//! A pointer to a shared value that readers follow without counting references.
//!
//! Invariant: a value that a reader found under a pin is not freed before that pin ends. The cell owns one reference
//! of the [`Arc`]; replacing hands that reference to epoch reclamation, which drops it when every pin that could have
//! seen the pointer has ended.
//!
//! # Orderings
//! A value is published with Release (`swap`: AcqRel, to take over the one it replaces; `fill`, `put`) and found with Acquire, so
//! what was written to it before it was published is seen by whoever finds it. It is withdrawn with Release, too: who finds
//! nothing sees what was done before.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::sync::{AtomicPtr, Ordering, Zeroed, owned};

/// A published `Arc<T>`, or nothing.
pub(crate) struct Published<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<Arc<T>>,
}

// SAFETY: it holds an `Arc<T>`, and hands out what an `Arc<T>` shared between threads would.
unsafe impl<T: Send + Sync> Send for Published<T> {}
// SAFETY: as above; every access to the pointer itself is atomic.
unsafe impl<T: Send + Sync> Sync for Published<T> {}

fn into_pointer<T>(value: Option<Arc<T>>) -> *mut T {
    value.map_or(std::ptr::null_mut(), |value| Arc::into_raw(value).cast_mut())
}

impl<T> Default for Published<T> {
    fn default() -> Self {
        Self { value: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }
}

impl<T> Published<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self { value: AtomicPtr::new(into_pointer(Some(value))), owns: PhantomData }
    }

    /// The value now, for as long as the pin lasts.
    #[inline(always)]
    pub(crate) fn load<'g>(&self, pin: &'g Guard) -> Option<&'g T> {
        self.load_shared(pin).map(Shared::get)
    }

    /// As [`load`](Self::load), and may be kept for longer.
    #[inline(always)]
    pub(crate) fn load_shared<'g>(&self, _pin: &'g Guard) -> Option<Shared<'g, T>> {
        // Acquire: pairs with the Release half of `swap`, with `fill` and `put`.
        let value = self.value.load(Ordering::Acquire);
        // Null, or from `Arc::into_raw`; and this cell owned a reference of that `Arc` when it was loaded, which is
        // dropped only after all pins that were there when it was replaced, this one among them.
        NonNull::new(value).map(|value| Shared { value, lives: PhantomData })
    }

    /// Takes the value out, from whoever has all of this for himself.
    pub(crate) fn take(&mut self) -> Option<Arc<T>> {
        let value = owned(&mut self.value);
        self.value = AtomicPtr::new(std::ptr::null_mut());
        // SAFETY: from `Arc::into_raw`, if it is not null, and the reference that was owned here is handed on.
        (!value.is_null()).then(|| unsafe { Arc::from_raw(value) })
    }

    /// Whether this very value is published. It cannot be another at the same address: the caller's keeps the address.
    pub(crate) fn is(&self, value: &T) -> bool {
        // Relaxed: nothing is read through the pointer.
        std::ptr::eq(self.value.load(Ordering::Relaxed), value)
    }

    /// The value now, as a reference of one's own.
    pub(crate) fn load_arc(&self, pin: &Guard) -> Option<Arc<T>> {
        self.load_shared(pin).map(Shared::to_arc)
    }

    /// Puts `value` where nothing is. For the one who knows that, and that nobody else puts anything there now.
    pub(crate) fn put(&self, value: Arc<T>) {
        debug_assert!(self.value.load(Ordering::Relaxed).is_null(), "what was there would be lost");
        // Release: publishes the value to `load`.
        self.value.store(into_pointer(Some(value)), Ordering::Release);
    }

    /// Puts `value` in place if nothing is there yet; else gives it back.
    pub(crate) fn fill(&self, value: Arc<T>) -> Result<(), Arc<T>> {
        let value = into_pointer(Some(value));
        // Release: publishes the value to `load`.
        match self.value.compare_exchange(std::ptr::null_mut(), value, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            // SAFETY: from `Arc::into_raw` just above, and nobody else has seen it.
            Err(_) => Err(unsafe { Arc::from_raw(value) }),
        }
    }
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Puts `value` in place. Whoever finds the old one may follow it until their pin ends.
    pub(crate) fn swap(&self, value: Option<Arc<T>>, pin: &Guard) {
        // Release: publishes the new value. Acquire: the old one is dropped later on behalf of this thread.
        let old = self.value.swap(into_pointer(value), Ordering::AcqRel);
        if !old.is_null() {
            let old = Retired(old);
            // SAFETY: the reference that the cell owned is ours now; no later reader can find the pointer, and those
            // that did are pinned, so dropping it after their pins is safe. `T` is Send, for it may be dropped by any
            // thread, and 'static.
            unsafe { pin.defer_unchecked(move || old.release()) };
        }
    }

    /// Takes the value out, if there is one, to those withdrawn before. For the one who alone changes what is here.
    pub(crate) fn withdraw(&self, withdrawn: &mut Withdrawn<T>) {
        // Relaxed: the one who put it there, at the latest, is this one.
        let value = self.value.load(Ordering::Relaxed);
        if !value.is_null() {
            // Release: pairs with `load`.
            self.value.store(std::ptr::null_mut(), Ordering::Release);
            // SAFETY: from `Arc::into_raw`, and the reference that the cell owned is ours now.
            withdrawn.0.push(unsafe { Arc::from_raw(value) });
        }
    }
}

/// Values that were published. Whoever found one may follow it until their pin ends; so they are not let go of, nor handed
/// to anybody, before such pins have ended.
pub(crate) struct Withdrawn<T: Send + Sync + 'static>(Vec<Arc<T>>);

impl<T: Send + Sync + 'static> Withdrawn<T> {
    /// Hands them to `then` when all pins that are there now have ended.
    pub(crate) fn after_pins(mut self, pin: &Guard, then: impl FnOnce(Vec<Arc<T>>) + Send + 'static) {
        let values = std::mem::take(&mut self.0);
        pin.defer(move || then(values));
    }
}

impl<T: Send + Sync + 'static> Default for Withdrawn<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Send + Sync + 'static> Drop for Withdrawn<T> {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            std::mem::take(self).after_pins(&crate::sync::pin(), drop);
        }
    }
}

impl<T: Send + Sync + 'static> std::fmt::Debug for Withdrawn<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Withdrawn").field(&self.0.len()).finish()
    }
}

/// A shared value that is put in place once, and then stays there.
pub(crate) struct Lasting<T>(Published<T>);

impl<T> Default for Lasting<T> {
    fn default() -> Self {
        Self(Published::default())
    }
}

impl<T> Lasting<T> {
    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with `fill`.
        let value = self.0.value.load(Ordering::Acquire);
        // SAFETY: null, or the pointee of an `Arc` of which this has a reference, for as long as it lives: it is never replaced.
        unsafe { value.as_ref() }
    }

    /// The value; that of `make`, if there was none.
    pub(crate) fn get_or_fill(&self, make: impl FnOnce() -> T) -> &T {
        self.get().unwrap_or_else(|| self.fill(Arc::new(make())))
    }

    /// The value; this one, if there was none.
    pub(crate) fn get_or_share(&self, value: &Arc<T>) -> &T {
        self.get().unwrap_or_else(|| self.fill(value.clone()))
    }

    fn fill(&self, value: Arc<T>) -> &T {
        // A failure means that another has filled it.
        let _ = self.0.fill(value);
        self.get().expect("it was filled just now, if not before")
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Lasting<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lasting").field(&self.get()).finish()
    }
}

/// What an [`Arc`] shares, without counting: good for `'g`, in which some reference of the `Arc` lives.
pub(crate) struct Shared<'g, T> {
    /// From [`Arc::into_raw`] or [`Arc::as_ptr`].
    value: NonNull<T>,
    lives: PhantomData<&'g Arc<T>>,
}

impl<'g, T> Shared<'g, T> {
    pub(crate) fn of(value: &'g Arc<T>) -> Self {
        let value = NonNull::new(Arc::as_ptr(value).cast_mut()).expect("an Arc is not null");
        Self { value, lives: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn get(self) -> &'g T {
        // SAFETY: the pointee of an `Arc` of which a reference lives throughout `'g`.
        unsafe { self.value.as_ref() }
    }

    /// A reference of one's own.
    pub(crate) fn to_arc(self) -> Arc<T> {
        let value = self.value.as_ptr().cast_const();
        // SAFETY: as in `get`, so the count is not zero; the new count is handed to the `Arc` that is returned.
        unsafe {
            Arc::increment_strong_count(value);
            Arc::from_raw(value)
        }
    }
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

impl<T> std::ops::Deref for Shared<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        self.get()
    }
}

/// A reference on its way to be dropped.
struct Retired<T>(*const T);

impl<T> Retired<T> {
    fn release(self) {
        // SAFETY: made from the pointer of an `Arc` whose reference this value took over; released once, by value.
        drop(unsafe { Arc::from_raw(self.0) });
    }
}

// SAFETY: one atomic pointer, null by default.
unsafe impl<T> Zeroed for Published<T> {}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let value = owned(&mut self.value);
        if !value.is_null() {
            Retired(value).release();
        }
    }
}

impl<T> std::fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::sync::{collect_until, pin};

    fn assert_had_by(value: &Arc<u32>, references: usize) {
        collect_until(|| Arc::strong_count(value) == references);
    }

    #[test]
    fn what_is_replaced_or_dropped_is_let_go_of_when_pins_have_ended() {
        let (first, second) = (Arc::new(1), Arc::new(2));
        let published = Published::new(first.clone());
        let before = pin();
        let found = published.load(&before).unwrap();
        assert!(published.is(&first) && !published.is(&second));
        published.swap(Some(second.clone()), &before);
        assert!(published.is(&second) && !published.is(&first));
        assert_eq!((*found, Arc::strong_count(&first)), (1, 2), "it may be followed");
        drop(before);
        assert_had_by(&first, 1);
        assert_eq!(published.load_arc(&pin()), Some(second.clone()));
        drop(published);
        assert_eq!(Arc::strong_count(&second), 1);
    }

    #[test]
    fn what_is_taken_out_is_the_takers() {
        let value = Arc::new(1);
        let mut published = Published::default();
        assert_eq!(published.take(), None);
        published.put(value.clone());
        assert_eq!(published.fill(Arc::new(2)).unwrap_err(), Arc::new(2));
        assert_eq!((published.take(), published.take()), (Some(value.clone()), None));
        assert_eq!(Arc::strong_count(&value), 1);
        assert!(published.fill(value.clone()).is_ok() && published.is(&value));
    }

    #[test]
    fn what_is_withdrawn_is_let_go_of_or_handed_over_when_pins_have_ended() {
        let (first, second) = (Arc::new(1), Arc::new(2));
        let published = [Published::new(first.clone()), Published::new(second.clone()), Published::default()];
        let mut withdrawn = Withdrawn::default();
        published.iter().for_each(|published| published.withdraw(&mut withdrawn));
        published.iter().for_each(|published| published.withdraw(&mut withdrawn));
        assert!(published.iter().all(|published| published.load(&pin()).is_none()));
        let before = pin();
        let (handed, seen) = std::sync::mpsc::channel();
        withdrawn.after_pins(&before, move |values| handed.send(values).unwrap());
        assert!(seen.try_recv().is_err());
        drop(before);
        assert_had_by(&first, 2);
        let handed = std::iter::repeat_with(|| {
            pin().flush();
            seen.try_recv()
        });
        assert_eq!(handed.flatten().next(), Some(vec![first.clone(), second.clone()]));
        assert_had_by(&first, 1);
        published[0].put(second.clone());
        let mut withdrawn = Withdrawn::default();
        published[0].withdraw(&mut withdrawn);
        let before = pin();
        drop(withdrawn);
        assert_eq!(Arc::strong_count(&second), 2, "who has found it may still follow it");
        drop(before);
        assert_had_by(&second, 1);
    }
}
