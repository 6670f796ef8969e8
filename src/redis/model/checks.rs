//! What must hold, and what has to be remembered to see whether it does.
//!
//! - **A** A request has one job while its binding is kept, and an attempt of it is handed to one client.
//! - **B** A node has no more leases than slots, no two slots have one number, and a lease that has not run out goes only when
//!   its job ends or moves on, or its node does. No two clients go by leases of one slot at a time.
//! - **C** Fences of a slot increase with each lease, whatever became of the server in between, so that a node that keeps the
//!   largest never refuses whom the server has given the slot, nor runs two jobs in it.
//! - **D** A job is handed out while not more than half of its lease has passed, and it has its lease on the server then.
//! - **E** When all is quiet and every lease has run out, each slot can be taken, and no more: `Machine` sees to that.
//! - **F** A job ends once: whoever is told that it has ended it, has.
//! - **G** Whoever has created a job learns of it, unless it crashes.

use super::client::{Event, LEASE};
use super::view::{Bound, View};
use super::world::Time;
use crate::id::JobId;
use crate::job::JobState;
use crate::redis::call::Moved;
use crate::redis::lease::{Instance, Lease};

/// What the checks remember.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Ghost {
    grants: Vec<Grant>,
    beliefs: Vec<Belief>,
    handed: Vec<(usize, JobId, u32)>,
    /// Who has been told something of a job of its own that it may not hold.
    learned: Vec<(usize, JobId, u32)>,
    ends: Vec<End>,
}

/// A lease that the server has given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Grant {
    node: usize,
    lease: Lease,
    incarnation: u64,
    run: u32,
    /// Whether a request was ever bound to it.
    bound: bool,
    /// Nobody waited for it any more.
    late: bool,
}

/// A client goes by its lease, until this time at most.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Belief {
    client: usize,
    request: &'static str,
    grant: Grant,
    until: Time,
}

/// What a client was told when it ended a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct End {
    client: usize,
    job: JobId,
    attempt: u32,
    wanted: JobState,
    /// How it has ended; or `None`: the client was told something else.
    told: Option<JobState>,
    /// Whether by this client.
    done: bool,
}

/// A script that was done.
pub(super) struct Done<'a> {
    pub(super) script: &'a str,
    pub(super) arguments: &'a [String],
    pub(super) before: &'a View,
    pub(super) after: &'a View,
    /// By the server's clock.
    pub(super) now: u64,
    pub(super) run: u32,
    pub(super) late: bool,
}

/// What a client said, and when.
pub(super) struct Said<'a> {
    pub(super) client: usize,
    /// By the model's clock, and how much the client's and the server's show more.
    pub(super) now: Time,
    pub(super) clock: u64,
    pub(super) server: u64,
    pub(super) view: &'a View,
    pub(super) run: u32,
    /// Whether a request may have a second job since its binding has expired.
    pub(super) bindings_go: bool,
}

/// How it is when all is quiet.
pub(super) struct Rest<'a> {
    pub(super) run: u32,
    pub(super) view: &'a View,
    /// Which clients have crashed.
    pub(super) crashed: &'a [bool],
    pub(super) bindings_go: bool,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Ghost {
    /// Looks at what a script has done.
    pub(super) fn after(&mut self, done: &Done<'_>) -> Result<(), String> {
        done.one_job()?;
        done.slots_hold()?;
        done.leases_stay()?;
        self.note_grants(done)?;
        // Who ends a job or moves it on takes it from whoever holds it: the node's fence is what counts from here on.
        self.beliefs.retain(|belief| {
            let is_it = |view: &View| {
                view.bound(belief.request, done.now).is_some_and(|bound| {
                    let Lease { job, attempt, .. } = belief.grant.lease;
                    (bound.job, bound.attempt) == (job, attempt) && !bound.state.has_ended()
                })
            };
            !is_it(done.before) || is_it(done.after)
        });
        Ok(())
    }

    /// C: fences increase.
    fn note_grants(&mut self, done: &Done<'_>) -> Result<(), String> {
        for (node, slots) in done.after.nodes.iter().enumerate() {
            for (lease, _) in &slots.leases {
                let known = |grant: &Grant| grant.node == node && grant.lease == *lease;
                if done.before.nodes[node].end_of(lease).is_some() || self.grants.iter().any(known) {
                    continue;
                }
                let described = slots.there.ok_or("a lease on a node that is not described")?;
                for grant in self.grants.iter().filter(|grant| (grant.node, grant.lease.slot) == (node, lease.slot)) {
                    ensure(grant.lease.fence < lease.fence, || {
                        format!("C: the fence of {lease} is not larger than that of {}, given before", grant.lease)
                    })?;
                }
                let (incarnation, run, late) = (described.incarnation, done.run, done.late);
                self.grants.push(Grant { node, lease: *lease, incarnation, run, bound: false, late });
            }
        }
        for grant in self.grants.iter_mut().filter(|grant| !grant.bound) {
            if done.after.bindings.iter().any(|bound| bound.lease == grant.lease) {
                (grant.bound, grant.late) = (true, grant.late || done.late);
            }
        }
        self.grants.sort_by_key(|grant| (grant.node, grant.lease.slot, grant.lease.fence));
        Ok(())
    }

    fn grant(&self, node: usize, lease: &Lease) -> Result<&Grant, String> {
        let found = self.grants.iter().find(|grant| (grant.node, &grant.lease) == (node, lease));
        found.ok_or_else(|| format!("A: {lease} was handed out, and no server has given it"))
    }

    /// Looks at what a client says.
    pub(super) fn hear(
        &mut self,
        event: &Event,
        node_of: impl Fn(&str) -> usize,
        said: &Said<'_>,
    ) -> Result<(), String> {
        let client = said.client;
        match event {
            Event::Holds { request, granted } => {
                let node = node_of(&granted.node.0);
                let grant = self.grant(node, &granted.lease)?.clone();
                let begun = granted.begun.saturating_sub(said.clock);
                self.hold(Belief { client, request, grant, until: begun + LEASE }, said)
            }
            Event::Learns { job, attempt } => {
                self.learned.push((client, *job, *attempt));
                self.learned.sort();
                Ok(())
            }
            Event::LetsGo { job, attempt, .. } => {
                self.beliefs.retain(|belief| !belief.is(client, *job, *attempt));
                Ok(())
            }
            Event::Finished { job, attempt, end, answer } => {
                let told = match answer {
                    Moved::Done => Some(*end),
                    Moved::Ended(state) => Some(*state),
                    _ => None,
                };
                let (job, attempt, wanted, done) = (*job, *attempt, *end, *answer == Moved::Done);
                self.ends.push(End { client, job, attempt, wanted, told, done });
                self.ends.sort_by_key(|end| (end.client, end.job, end.attempt, end.wanted));
                Ok(())
            }
            Event::Starts { .. } | Event::Restarts { .. } | Event::Saw(_) => Ok(()),
        }
    }

    fn hold(&mut self, belief: Belief, said: &Said<'_>) -> Result<(), String> {
        let Lease { job, attempt, slot, .. } = belief.grant.lease;
        let first_time = !self.handed.contains(&(belief.client, job, attempt));
        if first_time {
            let others = self.handed.iter().find(|handed| (handed.1, handed.2) == (job, attempt));
            if let Some((client, ..)) = others {
                return Err(format!("A: attempt {attempt} of {job} was handed to client {client}, too"));
            }
            belief.is_young_and_alive(said)?;
            self.handed.push((belief.client, job, attempt));
            self.handed.sort();
        }
        let Grant { node, incarnation, .. } = belief.grant;
        self.beliefs.retain(|other| said.now < other.until && !other.is(belief.client, job, attempt));
        // What is over by now, or was taken from it before it was told, is nothing that it goes by.
        if belief.until <= said.now || belief.is_taken(said) {
            return Ok(());
        }
        for other in &self.beliefs {
            let (theirs, client) = (&other.grant, other.client);
            let one_slot = (theirs.node, theirs.incarnation, theirs.lease.slot) == (node, incarnation, slot);
            ensure(!one_slot, || {
                format!(
                    "B: client {client} goes by {} until {}, and now {}, too",
                    theirs.lease, other.until, belief.grant.lease
                )
            })?;
            ensure(said.bindings_go || other.request != belief.request, || {
                format!("A: client {client} has {} of the same request, and now {}", theirs.lease, belief.grant.lease)
            })?;
        }
        self.beliefs.push(belief);
        self.beliefs.sort_by_key(|belief| (belief.client, belief.grant.lease.job, belief.grant.lease.attempt));
        Ok(())
    }

    /// A client has crashed: it goes by nothing any more.
    pub(super) fn forget(&mut self, client: usize) {
        self.beliefs.retain(|belief| belief.client != client);
    }

    /// It is as late as this.
    pub(super) fn pass(&mut self, now: Time) {
        self.beliefs.retain(|belief| now < belief.until);
    }

    /// F and G, when all is quiet. Somebody who has crashed may have been about to tell what is missed.
    pub(super) fn at_rest(&self, rest: &Rest<'_>) -> Result<(), String> {
        self.creators_know(rest)?;
        if rest.run > 0 {
            // What a lost server has been told of, the next may not know.
            return Ok(());
        }
        for end in &self.ends {
            let Some(told) = end.told else { continue };
            let same = |other: &&End| (other.job, other.attempt) == (end.job, end.attempt);
            for other in self.ends.iter().filter(same) {
                let agree = other.told.is_none_or(|state| state == told);
                ensure(agree, || format!("F: two clients were told of different ends: {end:?}, {other:?}"))?;
            }
            let bound = rest.view.bindings.iter().find(|bound| (bound.job, bound.attempt) == (end.job, end.attempt));
            ensure(bound.is_none_or(|bound| bound.state == told), || format!("F: it is {bound:?}: {end:?}"))?;
            let by_server = matches!(told, JobState::Expired | JobState::Orphaned);
            let by_somebody = self.ends.iter().filter(same).any(|other| other.done);
            ensure(by_somebody || by_server || rest.crashed.contains(&true), || {
                format!("F: nobody was told that it ended it: {end:?}")
            })?;
        }
        Ok(())
    }

    fn creators_know(&self, Rest { run, crashed, bindings_go, .. }: &Rest<'_>) -> Result<(), String> {
        // One that no request was bound to is nobody's job.
        for Grant { lease, late, run: of, .. } in self.grants.iter().filter(|grant| grant.bound) {
            let Lease { job, attempt, instance, .. } = *lease;
            let told = self.handed.iter().chain(&self.learned).any(|entry| (entry.1, entry.2) == (job, attempt));
            let nobody_can_know = *late || of != run || *bindings_go || has_crashed(crashed, instance);
            ensure(told || nobody_can_know, || {
                format!("G: {lease} was given, and whoever asked for it was told nothing of it")
            })?;
        }
        Ok(())
    }
}

/// Whether the client that is this instance has; who is none of the clients was gone from the beginning.
fn has_crashed(crashed: &[bool], Instance(number): Instance) -> bool {
    (number as usize).checked_sub(1).and_then(|client| crashed.get(client)).is_none_or(|crashed| *crashed)
}

impl Belief {
    fn is(&self, client: usize, job: JobId, attempt: u32) -> bool {
        (self.client, self.grant.lease.job, self.grant.lease.attempt) == (client, job, attempt)
    }

    /// Whether it was ended by another, moved on, or has gone with its node, or with the server: none of which the client can
    /// know of. What counts then is the fence.
    fn is_taken(&self, said: &Said<'_>) -> bool {
        let Grant { node, lease, incarnation, run, .. } = &self.grant;
        let bound = said.view.bound(self.request, said.now + said.server);
        let is_its = bound
            .is_some_and(|bound| (bound.job, bound.attempt) == (lease.job, lease.attempt) && !bound.state.has_ended());
        let there = said.view.nodes[*node].there.is_some_and(|there| there.incarnation == *incarnation);
        *run == said.run && !(is_its && there)
    }

    /// D.
    fn is_young_and_alive(&self, said: &Said<'_>) -> Result<(), String> {
        let Grant { node, lease, run, .. } = &self.grant;
        let passed = said.now + LEASE - self.until;
        ensure(passed <= LEASE / 2, || format!("D: {lease} was handed out after {passed} of {LEASE} ms"))?;
        let now = said.now + said.server;
        let excused = *run != said.run || self.is_taken(said);
        let ends = said.view.nodes[*node].end_of(lease);
        ensure(excused || ends.is_some_and(|ends| now < ends), || {
            format!("D: {lease} was handed out, and the server has it until {ends:?}; it is {now} there")
        })
    }
}

impl Done<'_> {
    /// A.
    fn one_job(&self) -> Result<(), String> {
        for after in &self.after.bindings {
            if let Some(before) = self.before.bound(&after.request, self.now) {
                let (job, other) = (before.job, after.job);
                ensure(job == other, || format!("A: {} was bound to {job}, and now to {other}", after.request))?;
                ensure(before.attempt <= after.attempt, || format!("A: {job} has gone back to {}", after.attempt))?;
            }
        }
        Ok(())
    }

    /// B: so many slots, each once, and no more leases.
    fn slots_hold(&self) -> Result<(), String> {
        for (before, after) in self.before.nodes.iter().zip(&self.after.nodes) {
            let Some(there) = after.there else { continue };
            for (place, slot) in after.slots.iter().enumerate() {
                ensure(!after.slots[..place].contains(slot), || format!("B: slot {slot} is there twice: {after:?}"))?;
            }
            let (slots, capacity) = (after.slots.len(), there.capacity);
            // A lease may be restored of a slot that the server has forgotten with its last commands: none is free then.
            if self.script == "restore" && slots == after.leases.len() + after.lost.len() {
                continue;
            }
            ensure(slots <= capacity.max(before.slots.len()), || format!("B: {slots} slots of {capacity}: {after:?}"))?;
            // A node that has lost some of its slots keeps its leases; but it gets none above what it has.
            let is_new = after.leases.iter().any(|(lease, _)| before.end_of(lease).is_none());
            let alive = after.alive(self.now);
            ensure(!is_new || alive <= capacity, || format!("B: {alive} leases on {capacity} slots: {after:?}"))?;
        }
        Ok(())
    }

    /// B: a lease that has not run out stays until its job ends or moves on, or its node goes; or until another of a larger
    /// fence is restored, which had taken its place before.
    fn leases_stay(&self) -> Result<(), String> {
        if matches!(self.script, "register" | "deregister") {
            return Ok(());
        }
        for (node, lease, ends) in self.before.leases().filter(|(.., ends)| *ends > self.now) {
            let Some(now) = self.after.nodes[node].end_of(lease) else {
                let after = &self.after.nodes[node];
                let is_later = |other: &Lease| other.slot == lease.slot && other.fence > lease.fence;
                let outdone = after.leases.iter().any(|(other, _)| is_later(other));
                if self.script == "restore" && (outdone || after.there != self.before.nodes[node].there) {
                    continue;
                }
                if self.script == "give" {
                    // Where a request and its node are apart, the request says first that it is over.
                    let goes_on = |bound: &&Bound| bound.lease == *lease && !bound.state.has_ended();
                    let bound = self.after.bindings.iter().find(goes_on);
                    ensure(bound.is_none(), || format!("B: {lease} was given back, and goes on: {bound:?}"))?;
                    continue;
                }
                let of = matches!(self.script, "finish" | "retry").then(|| (&*self.arguments[0], &*self.arguments[1]));
                let (job, attempt) = (lease.job.to_string(), lease.attempt.to_string());
                ensure(of == Some((&job, &attempt)), || format!("B: {} took {lease}, which lasts yet", self.script))?;
                continue;
            };
            ensure(now >= ends, || format!("B: {lease} lasted until {ends}, and now until {now}"))?;
        }
        Ok(())
    }
}
