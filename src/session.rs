//! Sessions: client conversations whose jobs keep to one pool, or keep off the last node.
//!
//! Invariant: a session is bound to a pool by its first job, of any number at once just one binds it, and stays so
//! while that pool exists; when it does not any more, the next job binds anew.

use std::sync::Arc;

use crate::id::{CarriedHash, Prehashed, PrehashedKey};
use crate::sync::{AtomicU64, Map, Ordering};

/// One conversation. Fields are hints for the next job, written by whichever job came last.
#[derive(Debug)]
pub(crate) struct Session {
    /// Key of its pool plus one; 0: not bound yet.
    pool: AtomicU64,
    /// Cell and incarnation tell the last node apart; 0: none yet.
    last_cell: AtomicU64,
    last_incarnation: AtomicU64,
    /// Coarse time of its last job, in ms.
    last_used: AtomicU64,
}

impl Session {
    fn new(now: u64) -> Self {
        Self {
            pool: AtomicU64::new(0),
            last_cell: AtomicU64::new(0),
            last_incarnation: AtomicU64::new(0),
            last_used: AtomicU64::new(now),
        }
    }

    /// Key of the pool that it keeps to.
    pub(crate) fn pool(&self) -> Option<u64> {
        // Relaxed: a hint, held against the route before it is used.
        self.pool.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Binds it to a pool, if it is bound as `found`; whoever is first decides.
    pub(crate) fn bind(&self, found: Option<u64>, pool: u64) {
        let from = found.map_or(0, |key| key + 1);
        // Relaxed: as in `pool`; a failure means that another job has bound it.
        let _ = self.pool.compare_exchange(from, pool + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Cell of the last job's node, if that is still the same incarnation.
    pub(crate) fn last_node(&self, incarnation_of: impl Fn(u32) -> Option<u64>) -> Option<u32> {
        let cell = self.last_cell.load(Ordering::Relaxed).checked_sub(1)? as u32;
        (incarnation_of(cell)? == self.last_incarnation.load(Ordering::Relaxed)).then_some(cell)
    }

    pub(crate) fn note_node(&self, cell: u32, incarnation: u64) {
        self.last_cell.store(u64::from(cell) + 1, Ordering::Relaxed);
        self.last_incarnation.store(incarnation, Ordering::Relaxed);
    }
}

/// The sessions of a scheduler, in shards by the hash of their id. Bounded.
#[derive(Debug)]
pub(crate) struct Sessions {
    shards: Box<[Map<PrehashedKey, Arc<Session>, CarriedHash>]>,
    limit: usize,
}

impl Sessions {
    pub(crate) fn new(limit: usize, shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Map::with_hasher(CarriedHash::default())).collect(), limit }
    }

    fn shard(&self, hash: u64) -> &Map<PrehashedKey, Arc<Session>, CarriedHash> {
        &self.shards[(hash >> 40) as usize % self.shards.len()]
    }

    /// The session of this id, if there is one; asking for a job is use, whether it gets one or not.
    pub(crate) fn find(&self, id: &Prehashed<&str>, now: u64) -> Option<Arc<Session>> {
        let session = self.shard(id.hash).pin().get(id).cloned()?;
        session.last_used.store(now, Ordering::Relaxed);
        Some(session)
    }

    /// Whether no further session may begin. Sessions that begin at the same time may exceed the limit by as many as
    /// there are threads.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// The session of this id, which has a job now; begun if need be, `None` if there is no room for it.
    pub(crate) fn used(&self, id: &Prehashed<&str>, now: u64) -> Option<Arc<Session>> {
        let sessions = self.shard(id.hash).pin();
        let session = match sessions.get(id) {
            Some(session) => session,
            None if self.is_full() => return None,
            None => sessions.get_or_insert_with(id.owned(), || Arc::new(Session::new(now))),
        };
        session.last_used.store(now, Ordering::Relaxed);
        Some(session.clone())
    }

    /// Forgets sessions without a job since before `deadline`.
    pub(crate) fn forget_before(&self, deadline: u64) {
        for shard in &self.shards {
            shard.pin().retain(|_, session| session.last_used.load(Ordering::Relaxed) >= deadline);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(Map::len).sum()
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use crate::id::fixed_hasher;

    #[test]
    fn where_there_is_no_room_no_session_begins_and_those_there_go_on() {
        let sessions = Sessions::new(2, 4);
        let id = |text| Prehashed::new(fixed_hasher(), text);
        let [a, b] = ["a", "b"].map(|text| sessions.used(&id(text), 1).expect("there is room"));
        // A create looks before; this one comes after two others that began meanwhile.
        assert!(sessions.is_full() && sessions.used(&id("c"), 1).is_none() && sessions.find(&id("c"), 1).is_none());
        for (text, known) in [("a", a), ("b", b)] {
            assert!(Arc::ptr_eq(&sessions.used(&id(text), 2).unwrap(), &known));
        }
        assert_eq!(sessions.len(), 2);
    }
}
