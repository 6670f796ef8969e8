//! What is loom's.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
pub(crate) use loom::sync::{Mutex, MutexGuard};
/// Not loom's: to it all threads of a model are one in what they have for themselves.
pub(crate) use std::thread_local;
