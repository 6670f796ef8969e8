//! Random steps, made of bytes: mostly of what is there, sometimes of what is not.

use super::super::client::{hello, read};
use super::super::view::{Bound, View};
use super::both::{Both, Done};
use crate::id::JobId;
use crate::job::JobState;
use crate::redis::call::{Advance, Create, Finish, Hello, Renew, Retry};
use crate::redis::keys::NodeText;
use crate::redis::lease::{Fence, Fingerprint, Instance, Lease};
use crate::redis::node_call::{Announce, Beat, Deregister, Glance, Kept, Register, Restore, Update};
use crate::redis::spread_call::{Give, Holder, Move, Rebind, Take};

pub(super) const STEP_BYTES: usize = 8;
const NODES: [&str; 3] = ["n1", "n2", "n3"];
const HOUR: u64 = 3_600_000;
const KEPT: Kept = Kept { node: 5 * HOUR, slots: 7 * HOUR };
const LEASE: u64 = 30_000;

/// A step, as bytes that say what and of what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step(pub(super) [u8; STEP_BYTES]);

/// What a step is about, worked out of its bytes and of what there is.
struct About {
    bytes: [u8; STEP_BYTES],
    view: View,
    job: JobId,
    attempt: u32,
    request: String,
    node: NodeText,
    incarnation: u64,
    instance: Instance,
}

impl Step {
    /// Time passes, and both do a script.
    pub(super) fn take(self, both: &mut Both) -> Done {
        let about = About::of(self.0, both);
        // Not at all, a moment, or so long that leases run out.
        both.now += [0, 7, 1_000_000, LEASE * 400, LEASE * 1100][usize::from(self.0[7]) % 5];
        match self.0[0] % 27 {
            0 => about.hello(both),
            1..=3 => about.create(both),
            4..=5 => about.retry(both),
            6..=7 => about.advance(both),
            8..=9 => about.finish(both),
            10 | 25 => about.renew(both),
            11 => about.register(both),
            12 => about.update(both),
            13 => about.beat(both),
            14 if self.0[1].is_multiple_of(3) => about.deregister(both),
            14 => about.glance(both),
            15 => about.restore(both),
            16..=17 => about.take(both),
            18..=19 => about.give(both),
            20..=22 => about.move_on(both),
            23 => about.retry(both),
            24 if self.0[1].is_multiple_of(3) => about.announce(both),
            _ => about.rebind(both),
        }
    }
}

/// One of these, or none.
fn one_of<T>(items: &[T], byte: u8) -> Option<&T> {
    items.get(usize::from(byte) % items.len().max(1))
}

impl About {
    fn of(bytes: [u8; STEP_BYTES], both: &Both) -> Self {
        let view = View::of(&both.data, &NODES.map(|node| format!("l:{node}")));
        let one_in = |many: u8, byte: usize| bytes[byte].is_multiple_of(many);
        let bound: Option<&Bound> = one_of(&view.bindings, bytes[2]).filter(|_| !one_in(8, 1));
        let place = usize::from(bytes[3]) % NODES.len();
        let there = view.nodes[place].there.map(|there| there.incarnation);
        let (job, attempt, request) = match bound {
            Some(bound) => (bound.job, bound.attempt, bound.request.clone()),
            None => (JobId::from_u128(u128::from(bytes[2] % 9)), 1, format!("r{}", bytes[4] % 5)),
        };
        Self {
            job,
            attempt: if one_in(8, 5) { attempt + 1 } else { attempt },
            request,
            node: NodeText::of(NODES[place]),
            incarnation: there.filter(|_| !one_in(8, 6)).unwrap_or(1_763_700_000_000_000 + u64::from(bytes[2])),
            instance: Instance(u64::from(bytes[4] % 3)),
            view,
            bytes,
        }
    }

    fn byte(&self, place: usize) -> u8 {
        self.bytes[place]
    }

    /// Once in so many steps, as this byte has it.
    fn one_in(&self, many: u8, place: usize) -> bool {
        self.bytes[place].is_multiple_of(many)
    }

    fn nodes(&self) -> Vec<NodeText> {
        let first = usize::from(self.byte(3));
        (0..1 + usize::from(self.byte(5) % 2)).map(|more| NodeText::of(NODES[(first + more) % NODES.len()])).collect()
    }

    /// Where the job is, or is not.
    fn job_node(&self, both: &Both) -> NodeText {
        let text = both.data.value(&format!("r:{}", self.request));
        let node = match text {
            Some(super::super::data::Value::Text(text)) => text.split(' ').nth(3).map(str::to_owned),
            _ => None,
        };
        node.filter(|_| !self.one_in(6, 6)).map_or(self.node.clone(), NodeText)
    }

    /// Leases of the node, and one that is not there.
    fn leases(&self) -> Vec<Lease> {
        let place = usize::from(self.byte(3)) % NODES.len();
        let slots = &self.view.nodes[place];
        let mut leases: Vec<_> = slots.leases.iter().map(|(lease, _)| *lease).collect();
        let slot = u32::from(self.byte(4) % 4);
        let mut fence = Fence::new(1_763_700_000, self.incarnation + u64::from(self.byte(5) % 4));
        if let Some(lease) = one_of(&leases, self.byte(6)).filter(|_| self.one_in(2, 6)) {
            fence = lease.fence;
        }
        leases.push(Lease { job: self.job, attempt: self.attempt, instance: self.instance, slot, fence });
        let first = usize::from(self.byte(2)) % leases.len();
        leases.drain(..first);
        leases
    }

    fn hello(&self, both: &mut Both) -> Done {
        let run = ["run-1", "run-2"][usize::from(self.byte(1) % 2)];
        let known = if self.one_in(4, 2) { both.standing.epoch + u64::from(self.byte(3)) } else { 0 };
        let done = both.ask(&Hello { longest_lease: LEASE, ..hello(run, known) });
        both.standing = read::<Hello<'_>>(done.answer());
        done
    }

    fn create(&self, both: &mut Both) -> Done {
        let (lease, kept) = (LEASE, 3 * HOUR);
        let request = if self.one_in(4, 1) { self.request.clone() } else { format!("r{}", self.byte(4) % 5) };
        let candidates = &self.nodes();
        let fingerprint = Fingerprint(u128::from(self.one_in(5, 6)));
        let job = JobId::from_u128(u128::from(self.byte(2) % 9));
        let (request, instance) = (&*request, self.instance);
        both.ask(&Create { request, note: "what it needs", fingerprint, job, instance, lease, kept, candidates })
    }

    fn retry(&self, both: &mut Both) -> Done {
        let (node, candidates) = (self.job_node(both), self.nodes());
        both.ask(&Retry {
            request: &self.request,
            job: self.job,
            attempt: self.attempt,
            node: &node,
            instance: self.instance,
            lease: LEASE,
            kept: 3 * HOUR,
            most_attempts: 2,
            candidates: &candidates,
        })
    }

    fn advance(&self, both: &mut Both) -> Done {
        let to = [None, Some(JobState::Dispatched), Some(JobState::Running)][usize::from(self.byte(4)) % 3];
        let (request, job, attempt, node) = (&*self.request, self.job, self.attempt, &self.job_node(both));
        both.ask(&Advance { request, job, attempt, node, to, lease: LEASE, kept: 2 * HOUR })
    }

    fn finish(&self, both: &mut Both) -> Done {
        let end = [JobState::Completed, JobState::Failed, JobState::Cancelled][usize::from(self.byte(4)) % 3];
        let (request, job, attempt, node) = (&*self.request, self.job, self.attempt, &self.job_node(both));
        let only = self.one_in(4, 6).then_some(JobState::Reserved);
        both.ask(&Finish { request, job, attempt, node, end, only, kept: 2 * HOUR })
    }

    fn holder(&self) -> Holder {
        Holder { job: self.job, attempt: self.attempt, instance: self.instance }
    }

    fn take(&self, both: &mut Both) -> Done {
        both.ask(&Take { node: &self.node, holder: self.holder(), lease: LEASE, again: self.one_in(2, 4) })
    }

    fn give(&self, both: &mut Both) -> Done {
        let lease = *self.leases().first().expect("one at least");
        let Lease { job, attempt, instance, .. } = lease;
        let lease = if self.one_in(2, 4) { Ok(lease) } else { Err(Holder { job, attempt, instance }) };
        both.ask(&Give { node: &self.node, lease })
    }

    fn move_on(&self, both: &mut Both) -> Done {
        let on = [JobState::Dispatched, JobState::Running].repeat(3);
        let states = [&*on, &[JobState::Completed, JobState::Expired]].concat();
        let to = one_of(&states, self.byte(4)).filter(|_| !self.one_in(6, 6)).copied();
        let only = self.one_in(4, 1).then_some(JobState::Reserved);
        both.ask(&Move { request: &self.request, job: self.job, attempt: self.attempt, to, only, kept: 2 * HOUR })
    }

    fn rebind(&self, both: &mut Both) -> Done {
        let (request, job, attempt) = (&*self.request, self.job, self.attempt);
        let lease = Lease { attempt: attempt + 1, job, ..*self.leases().first().expect("one at least") };
        let next = (!self.one_in(4, 6)).then_some((lease, &self.node));
        both.ask(&Rebind { request, job, attempt, most_attempts: 2, kept: 3 * HOUR, next })
    }

    fn announce(&self, both: &mut Both) -> Done {
        both.ask(&Announce { node: &self.node, is_there: self.one_in(2, 4), kept: KEPT })
    }

    fn renew(&self, both: &mut Both) -> Done {
        both.ask(&Renew { node: &self.node, lease: LEASE, leases: &self.leases() })
    }

    fn state(&self) -> &'static str {
        if self.one_in(4, 5) { "draining" } else { "ready" }
    }

    fn register(&self, both: &mut Both) -> Done {
        both.ask(&Register {
            node: &self.node,
            replace: self.one_in(2, 1),
            capacity: u32::from(self.byte(2) % 4),
            state: self.state(),
            kept: KEPT,
            fields: &[("owner", self.instance.to_string())],
        })
    }

    fn update(&self, both: &mut Both) -> Done {
        both.ask(&Update {
            node: &self.node,
            incarnation: self.incarnation,
            state: (self.one_in(2, 1)).then(|| self.state()),
            capacity: (!self.one_in(4, 2)).then_some(u32::from(self.byte(2) % 6)),
            kept: KEPT,
            fields: &[("weight", self.byte(4).to_string())][..usize::from(self.byte(4) % 2)],
        })
    }

    fn beat(&self, both: &mut Both) -> Done {
        let fields = [("running", self.byte(2).to_string())];
        let (node, incarnation, owner) = (&self.node, self.incarnation, self.instance);
        both.ask(&Beat { node, incarnation, owner, kept: KEPT, fields: &fields })
    }

    fn glance(&self, both: &mut Both) -> Done {
        both.ask(&Glance { nodes: &self.nodes() })
    }

    fn deregister(&self, both: &mut Both) -> Done {
        both.ask(&Deregister { node: &self.node, incarnation: self.incarnation, kept: KEPT })
    }

    fn restore(&self, both: &mut Both) -> Done {
        let left = u64::from(self.byte(1)) * 100;
        let leases: Vec<_> = self.leases().into_iter().map(|lease| (lease, left)).collect();
        both.ask(&Restore {
            node: &self.node,
            incarnation: self.incarnation,
            capacity: u32::from(self.byte(2) % 4),
            state: self.state(),
            kept: KEPT,
            longest_lease: LEASE,
            leases: if self.one_in(4, 6) { &[] } else { &leases },
            fields: &[("owner", self.instance.to_string())],
        })
    }
}
