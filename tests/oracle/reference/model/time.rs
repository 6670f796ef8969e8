//! What time does.

use std::collections::{BTreeMap, BTreeSet};

use slotyard::{JobId, JobState, NodeState};

use super::super::difference::{Difference, holds};
use super::{Life, Model};

/// What comes due to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A service may be on again.
    Restore,
    /// It was offline for long, and is forgotten.
    Forget,
}

impl Model {
    /// Leases first, then what is due to a node, then who is silent, then what is old.
    ///
    /// `gone`: whether the scheduler has forgotten a job; `externals`: how many jobs of others it shows for a node, which
    /// fade by and by, at least as often as nodes are looked at.
    pub(crate) fn tick(
        &mut self,
        now: u64,
        gone: &dyn Fn(JobId) -> bool,
        externals: &BTreeMap<u8, u32>,
    ) -> Result<(), Difference> {
        self.now = self.now.max(now);
        let now = self.now;
        self.expire(now);
        while let Some((id, what)) = self.due(now) {
            match what {
                Due::Restore => {
                    self.node(id).restore(now);
                    self.reseat(id);
                }
                Due::Forget => self.forget_node(id),
            }
        }
        self.sweep(now, externals)?;
        self.forget_beyond(gone)?;
        if let Some(until) = now.checked_sub(self.setup.remembered) {
            self.jobs.retain(|_, job| !job.state.has_ended() || job.ended_at > until);
        }
        let ttl = self.setup.session_ttl;
        if now >= self.last_sessions + (ttl / 8).max(1) {
            self.last_sessions = now;
            self.sessions.retain(|_, session| session.last_used >= (now + 1).saturating_sub(ttl));
        }
        Ok(())
    }

    /// The times after now at which something comes due: only there it shows whether that very time is one too many.
    pub(crate) fn times_due(&self) -> BTreeSet<u64> {
        let setup = &self.setup;
        let jobs = self
            .jobs
            .values()
            .map(|job| if job.state.has_ended() { job.ended_at + setup.remembered } else { job.deadline });
        let nodes = self.nodes.values().flat_map(|node| {
            let silent = Some(node.last_seen + setup.timeout);
            [node.restores_at(), node.forgotten_at(setup.retention), silent].into_iter().flatten()
        });
        let sessions = self.sessions.values().map(|session| session.last_used + setup.session_ttl);
        jobs.chain(nodes).chain(sessions).filter(|due| *due > self.now).collect()
    }

    fn expire(&mut self, now: u64) {
        let due = self.jobs.iter().filter(|(_, job)| !job.state.has_ended() && job.deadline <= now);
        let mut due: Vec<(u64, JobId, u8)> = due.map(|(request, job)| (job.deadline, job.id, *request)).collect();
        due.sort_unstable();
        due.into_iter().for_each(|(.., request)| self.end(request, JobState::Expired));
    }

    /// The node to which something is to be done next, and what: in the order of times, then of incarnations.
    fn due(&self, now: u64) -> Option<(u8, Due)> {
        let due = self.nodes.iter().flat_map(|(id, node)| {
            let restore = node.restores_at().map(|at| (at, node.incarnation, Due::Restore, *id));
            let forget = node.forgotten_at(self.setup.retention).map(|at| (at, node.incarnation, Due::Forget, *id));
            restore.into_iter().chain(forget)
        });
        due.filter(|(at, ..)| *at <= now).min().map(|(.., what, id)| (id, what))
    }

    fn sweep(&mut self, now: u64, externals: &BTreeMap<u8, u32>) -> Result<(), Difference> {
        let all = now >= self.next_sweep;
        // Counted as each node is looked at, before what it said of others' jobs is made to fade.
        let free: BTreeMap<u8, u32> = self.nodes.keys().map(|id| (*id, self.free_slots(*id))).collect();
        for (id, node) in &mut self.nodes {
            let shown = externals.get(id).copied().unwrap_or(node.external);
            let faded = node.faded(now, self.setup.decay);
            let most = if all { faded } else { node.external };
            holds!((faded..=most).contains(&shown), "n{id} has {shown} jobs of others, not {faded} to {most}");
            node.external = shown;
        }
        let silent = self.nodes.iter().filter(|(_, node)| node.is_silent(now, self.setup.timeout));
        let mut silent: Vec<Life> = silent.map(|(id, node)| (*id, node.incarnation)).collect();
        silent.sort_unstable_by_key(|(_, incarnation)| *incarnation);
        for life in silent {
            self.change(life.0, |node| node.go_offline(now));
            self.orphan(life);
        }
        if all {
            self.next_sweep = now + (self.setup.timeout.min(self.setup.decay) / 8).max(1);
            self.count_free(&free);
        }
        Ok(())
    }

    fn free_slots(&self, id: u8) -> u32 {
        let node = &self.nodes[&id];
        node.capacity.saturating_sub(node.external).saturating_sub(self.in_flight(id))
    }

    /// By how much the free slots of each pool's ready nodes differ from those offered.
    fn count_free(&mut self, of_each: &BTreeMap<u8, u32>) {
        let births: Vec<_> = self.pools.keys().copied().collect();
        for birth in births {
            let ready = self.members(birth).filter(|id| self.nodes[id].state() == NodeState::Ready);
            let free: u32 = ready.map(|id| of_each[&id]).sum();
            let found = i64::from(free) - self.offered(birth);
            self.pools.get_mut(&birth).expect("it is there").found = found;
        }
    }
}
