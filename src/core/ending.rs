//! How jobs end: by a caller's word, when their leases run out, when their nodes go.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use super::Core;
use super::jobs::active;
use crate::error::JobError;
use crate::event::Event;
use crate::id::JobId;
use crate::job::attempt::Attempt;
use crate::job::binding::Phase;
use crate::job::{End, Here, JobRecord};
use crate::node::Node;
use crate::stats::Count;
use crate::sync::Fenced;

impl Core {
    /// Ends a job by a caller's word.
    #[inline(always)]
    pub(crate) fn end(&self, job: JobId, attempt: u32, end: End, pin: &Guard) -> Result<(), JobError> {
        let record = self.record(job, pin)?;
        loop {
            let (bound, current) = active(record, attempt)?;
            if record.binding.advance(bound, end.phase()) {
                self.ended_here(record, current, end, pin);
                return Ok(());
            }
        }
    }

    /// What follows from an attempt having ended, for the one who ended it: the slot is given back, once.
    #[inline(never)]
    pub(super) fn ended(&self, record: &JobRecord, attempt: &Attempt, end: End, pin: &Guard) {
        self.ended_here(record, attempt, end, pin);
    }

    #[inline(always)]
    fn ended_here(&self, record: &JobRecord, attempt: &Attempt, end: End, pin: &Guard) {
        self.let_go(record, attempt);
        self.touch_session(record);
        let Here { thread, now } = self.here();
        if end == End::Completed {
            attempt.pool().tally.note_duration(now.saturating_sub(attempt.reserved_at));
        }
        self.jobs.finished(record, attempt, Here { thread, now }, pin);
        let count = match end {
            End::Completed => Count::completed,
            End::Failed => Count::failed,
            End::Cancelled => Count::cancelled,
            End::Expired => Count::expired,
            End::Orphaned => Count::orphaned,
        };
        self.meters.counts.add(thread, count);
        if let End::Expired | End::Orphaned = end {
            self.tell_of_end(record, attempt, end);
        }
    }

    #[cold]
    fn tell_of_end(&self, record: &JobRecord, attempt: &Attempt, end: End) {
        self.events.emit(|| {
            let (job, request_id) = (record.id, Arc::from(record.request.as_str()));
            let (attempt, node) = (attempt.number, attempt.node.id.clone());
            match end {
                End::Expired => Event::JobExpired { job, attempt, node, request_id },
                _ => Event::JobOrphaned { job, attempt, node, request_id },
            }
        });
    }

    /// Orphans every job that holds a slot of a node that is out of use, which its slot word says by now.
    pub(super) fn orphan_jobs(&self, node: &Arc<Node>, pin: &Guard) {
        // Pairs with that in `bound`.
        Fenced::here();
        self.rows.numbers(node, |number| {
            if let Some(record) = self.jobs.settled_number(number, pin) {
                self.orphan(&record, |attempt| Arc::ptr_eq(&attempt.node, node), pin);
            }
        });
    }

    /// Orphans the job, if its attempt is one of `those` and is active.
    pub(super) fn orphan(&self, record: &JobRecord, those: impl Fn(&Attempt) -> bool, pin: &Guard) {
        loop {
            let bound = record.binding.load();
            let attempt = bound.attempt();
            if !those(attempt) || !bound.phase().is_active() {
                return;
            }
            if record.binding.advance(bound, Phase::Orphaned) {
                return self.ended(record, attempt, End::Orphaned, pin);
            }
        }
    }

    /// Looks at the leases that may have run out by now. In their own order, not in that of the wheel, which hangs on when
    /// places have become vacant: with a seed, a run repeats itself.
    pub(super) fn look_at_leases(&self, now: u64, pin: &Guard) {
        let places = self.jobs.places();
        let mut due = Vec::new();
        self.wheel.turn(places, now, |place| due.push(place));
        due.sort_by_cached_key(|place| {
            let record = self.jobs.settled(*place, pin)?;
            Some((record.binding.load().attempt().deadline(), record.id))
        });
        due.into_iter().for_each(|place| self.look_at_lease(place, now, pin));
    }

    /// Looks at a place because a lease of its job may have run out: it may have been renewed, the job may have ended, or
    /// be another.
    pub(super) fn look_at_lease(&self, place: u32, now: u64, pin: &Guard) {
        let Some(record) = self.jobs.settled(place, pin) else { return };
        loop {
            let bound = record.binding.load();
            if !bound.is_active() {
                return;
            }
            let attempt = bound.attempt();
            if let Err(deadline) = attempt.run_out(now) {
                let thread = self.threads.ordinal();
                let place = (self.jobs.places().at(place), place);
                return self.wheel.note(place, deadline, thread, Fenced::here());
            }
            if record.binding.advance(bound, Phase::Expired) {
                return self.ended(&record, attempt, End::Expired, pin);
            }
        }
    }
}
