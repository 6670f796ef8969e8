//! What has been retired, and waits for pins. A file of its own: whoever uses it has the crate that pins among its dependencies,
//! which not all have that use `common`.

/// Has everything freed that waits for pins, if there are none.
pub(crate) fn free_what_was_retired() {
    (0..1_000).for_each(|_| crossbeam_epoch::pin().flush());
}
