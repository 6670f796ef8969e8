//! What clients do: the steps of `protocol`, and around them those of an instance that has a job, or a node.

use super::client::{Event, LEASE, LONG, Process};
use super::data::Answer;
use super::machine::{FIRST, KEPT};
use crate::id::JobId;
use crate::job::JobState;
use crate::redis::call::{Call, Moved, Refused, Renew};
use crate::redis::error::CoordinatorError;
use crate::redis::keys::NodeText;
use crate::redis::lease::{Binding, Fingerprint, Instance, Lease};
use crate::redis::node_call::{Changed, Deregister, Register, Registered, Restore, Restored, Update};
use crate::redis::protocol::{self, Again, Granted, JobAt, Moment, NewJob, Outcome, Server, Terms};
use crate::redis::spread_call::Give;

pub(super) const TERMS: Terms = Terms { lease: LEASE, binding: LONG, ended: LONG };
/// Jobs that the checks create at the end have larger numbers than those of models.
pub(super) const AT_REST: u128 = 1 << 100;
const MOST_ATTEMPTS: u32 = 5;

/// What a client wants: a job of this number for a request, on one of these nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) request: &'static str,
    pub(super) job: u128,
    pub(super) nodes: &'static [&'static str],
    pub(super) terms: Terms,
}

pub(super) fn wish(request: &'static str, job: u128, nodes: &'static [&'static str]) -> Wish {
    Wish { request, job, nodes, terms: TERMS }
}

fn texts(nodes: &[&str]) -> Vec<NodeText> {
    nodes.iter().map(|node| NodeText::of(node)).collect()
}

/// Asks until it is answered.
pub(super) async fn ask<C: Call + Sync>(process: &Process, call: &C) -> C::Answer {
    loop {
        if let Ok(answer) = process.call(call).await {
            return answer;
        }
    }
}

/// Creates a job; whoever is given it holds it from then on.
pub(super) async fn create(process: &Process, wish: Wish) -> Option<Granted> {
    create_again(process, wish, &mut None).await
}

/// The same, of a job that may have been asked for before.
pub(super) async fn create_again(process: &Process, wish: Wish, first_asked: &mut Option<Moment>) -> Option<Granted> {
    let new = new_job(process, wish);
    let outcome = protocol::create(process, new, &texts(wish.nodes), first_asked).await;
    told(process, wish.request, (new.job, 1), outcome)
}

pub(super) fn new_job(process: &Process, Wish { request, job, terms, .. }: Wish) -> NewJob<'static> {
    let (job, instance) = (JobId::from_u128(job), process.instance);
    NewJob { request, note: "", fingerprint: Fingerprint(0), job, instance, terms }
}

/// The attempt after this one.
pub(super) async fn retry(
    process: &Process,
    request: &'static str,
    at: &JobAt,
    nodes: &[&'static str],
) -> Option<Granted> {
    retry_again(process, request, at, nodes, &mut None).await
}

/// The same, of an attempt that may have been asked for before.
pub(super) async fn retry_again(
    process: &Process,
    request: &'static str,
    at: &JobAt,
    nodes: &[&'static str],
    first_asked: &mut Option<Moment>,
) -> Option<Granted> {
    let again = Again { at, instance: process.instance, most_attempts: MOST_ATTEMPTS, terms: TERMS };
    let outcome = protocol::retry(process, again, &texts(nodes), first_asked).await;
    told(process, request, (at.job, at.attempt + 1), outcome)
}

/// Says what came of it.
fn told(
    process: &Process,
    request: &'static str,
    (job, attempt): (JobId, u32),
    outcome: Result<Outcome, CoordinatorError>,
) -> Option<Granted> {
    match outcome {
        Ok(Outcome::Ours(granted)) => {
            process.saw("it was handed out");
            process.tell(Event::Holds { request, granted: granted.clone() });
            return Some(granted);
        }
        Ok(Outcome::Theirs(binding)) if binding.state.has_ended() => {
            process.saw("it had ended");
            process.tell(Event::Learns { job: binding.lease.job, attempt: binding.lease.attempt });
        }
        Ok(Outcome::Theirs(_)) => process.saw("it was another's"),
        Ok(Outcome::Mismatch(_)) => process.saw("it was another demand's"),
        Ok(Outcome::Refused(refused)) => refused.iter().for_each(|why| {
            process.saw(match why {
                Refused::Unknown => "the node was unknown",
                Refused::Closed(_) => "the node was closed",
                Refused::Full(_) => "the node was full",
                Refused::WarmUp(_) => "the server was warming up",
            });
        }),
        Ok(Outcome::LeaseLost(_)) => {
            process.saw("it was lost before it was handed out");
            process.tell(Event::Learns { job, attempt });
        }
        Ok(Outcome::Not(Moved::Stale(_))) => {
            process.saw("another has tried again");
            process.tell(Event::Learns { job, attempt });
        }
        Ok(Outcome::Not(_)) => process.saw("it could not be tried again"),
        Ok(Outcome::Limit) => process.saw("there were too many attempts"),
        Err(_) => {
            process.saw("nobody knows what came of it");
            process.tell(Event::Learns { job, attempt });
        }
    }
    None
}

pub(super) fn at(request: &str, granted: &Granted) -> JobAt {
    granted.at(request)
}

/// The first attempt of a job that is there from the beginning.
pub(super) fn first_of(request: &str, job: u128, node: &str) -> JobAt {
    let (request, job, node) = (request.to_owned(), JobId::from_u128(job), NodeText::of(node));
    JobAt { request, job, attempt: 1, node, instance: Instance(0), lease: None }
}

/// The first attempt of a job that a client may have created, of which it does not know the lease.
pub(super) fn made_by(process: &Process, request: &str, job: u128, node: &str) -> JobAt {
    JobAt { instance: process.instance, ..first_of(request, job, node) }
}

/// Has it as if the job had never been, unless somebody has moved it on.
pub(super) async fn undo(process: &Process, at: &JobAt) {
    loop {
        process.saw(match protocol::undo(process, at, TERMS).await {
            Ok(Moved::Done) => "it was undone",
            Ok(Moved::Invalid(_)) => "another had moved it on",
            Ok(Moved::Unknown) => "there was nothing to undo",
            Ok(_) => "it had ended before it was undone",
            Err(_) => continue,
        });
        return;
    }
}

/// Asks for a job, and if another has created it, moves it on and completes it: which is then nobody else's to undo.
pub(super) async fn use_if_there(process: Process, request: &'static str, job: u128) {
    let new = new_job(&process, wish(request, job, &["n1"]));
    match protocol::create(&process, new, &texts(&["n1"]), &mut None).await {
        Ok(Outcome::Ours(granted)) => {
            process.saw("it was handed out");
            process.tell(Event::Holds { request, granted: granted.clone() });
            finish(&process, &at(request, &granted), JobState::Completed).await;
        }
        Ok(Outcome::Theirs(binding)) if !binding.state.has_ended() => {
            let granted = Granted { lease: binding.lease, node: binding.node, begun: 0 };
            let at = at(request, &granted);
            if protocol::advance(&process, &at, Some(JobState::Dispatched), TERMS).await == Ok(Moved::Done) {
                process.pause().await;
                let end = JobState::Completed;
                let answer = protocol::finish(&process, &at, end, TERMS).await;
                if let Ok(answer) = answer.clone() {
                    process.tell(Event::Finished { job: at.job, attempt: at.attempt, end, answer });
                }
                match answer {
                    // Whoever has created it may have been handed it all the same, and completed it.
                    Ok(Moved::Done | Moved::Ended(JobState::Expired | JobState::Completed)) => {}
                    other => panic!("a job was undone that had been moved on: {other:?}"),
                }
            }
        }
        _ => process.tell(Event::Learns { job: new.job, attempt: 1 }),
    }
}

/// Ends a job. Whoever completes it knows that its node has done with it.
pub(super) async fn finish(process: &Process, at: &JobAt, end: JobState) {
    let (job, attempt) = (at.job, at.attempt);
    process.tell(Event::LetsGo { job, attempt, ended: end == JobState::Completed });
    match protocol::finish(process, at, end, TERMS).await {
        Ok(answer) => {
            process.saw(match &answer {
                Moved::Done => "it was ended",
                Moved::Ended(JobState::Expired) => "it had expired",
                Moved::Ended(JobState::Orphaned) => "it was orphaned",
                Moved::Ended(_) => "another had ended it",
                Moved::Stale(_) => "another attempt was there",
                Moved::Unknown => "it was unknown",
                Moved::Invalid(_) | Moved::Elsewhere(_) => "this cannot come of ending it",
            });
            process.tell(Event::Finished { job, attempt, end, answer });
        }
        Err(_) => process.saw("nobody knows what came of ending it"),
    }
}

/// Creates a job, starts it and completes it.
pub(super) async fn work(process: Process, wish: Wish) {
    if let Some(granted) = create(&process, wish).await {
        process.tell(Event::Starts { granted: granted.clone() });
        process.pause().await;
        finish(&process, &at(wish.request, &granted), JobState::Completed).await;
    }
}

/// Has the lease begin anew, as an instance does for all its jobs on a node; whether it is there yet.
pub(super) async fn renew(process: &Process, request: &'static str, granted: &mut Granted) -> bool {
    let (job, attempt) = (granted.lease.job, granted.lease.attempt);
    loop {
        let asked = process.now();
        if asked >= granted.begun + LEASE {
            // A server that has lost its last commands may not know that another has had the slot since.
            process.saw("it had run out by the clock of whoever had it");
            process.tell(Event::LetsGo { job, attempt, ended: false });
            return false;
        }
        let renew = Renew { node: &granted.node, lease: LEASE, leases: &[granted.lease] };
        match process.call(&renew).await {
            Ok(lost) if lost == [None] => {
                process.saw("it was renewed");
                granted.begun = asked;
                process.tell(Event::Holds { request, granted: granted.clone() });
                return true;
            }
            Ok(_) => {
                process.saw("it could not be renewed");
                process.tell(Event::LetsGo { job, attempt, ended: false });
                return false;
            }
            Err(_) => {}
        }
    }
}

/// Looks whether a job has ended of which the lease is there yet, and gives that back, as an instance does where keys are
/// spread; whether it has.
pub(super) async fn look_for_end(process: &Process, request: &str, granted: &Granted) -> bool {
    let bound = process.plain(["GET".to_owned(), process.keys().request(request)]).await;
    let goes_on = |bound: Binding| bound.lease == granted.lease && !bound.state.has_ended();
    let Answer::Text(text) = bound else { return false };
    if text.parse().is_ok_and(goes_on) {
        return false;
    }
    process.saw("its job had ended when it was renewed");
    let (job, attempt) = (granted.lease.job, granted.lease.attempt);
    process.tell(Event::LetsGo { job, attempt, ended: false });
    ask(process, &Give { node: &granted.node, lease: Ok(granted.lease) }).await;
    true
}

/// Tells a server of a job that it may have lost, and of what its request is bound to, as `Engine::restore` does; whether it
/// has both now.
pub(super) async fn restore(process: &Process, request: &'static str, granted: &Granted) -> bool {
    if !restore_lease(process, granted).await {
        return false;
    }
    if bind_again(process, request, granted).await != Answer::Nil {
        return true;
    }
    // There is a binding: that of this job, or another's by now.
    let bound = process.plain(["GET".to_owned(), process.keys().request(request)]).await;
    let is_of_it = |bound: Binding| bound.lease == granted.lease;
    let is_ours = matches!(bound, Answer::Text(text) if text.parse().is_ok_and(is_of_it));
    if !is_ours {
        process.saw("the request was another's when it was to be restored");
        let (job, attempt) = (granted.lease.job, granted.lease.attempt);
        process.tell(Event::LetsGo { job, attempt, ended: false });
    }
    is_ours
}

pub(super) async fn restore_lease(process: &Process, Granted { lease, node, begun }: &Granted) -> bool {
    let left = (begun + LEASE).saturating_sub(process.now());
    let mut held = false;
    if left > 0 {
        let leases = [(*lease, left)];
        let answer = ask(process, &restoring(node, 1, &leases)).await;
        held = matches!(answer, Restored::Restored { held, .. } if held == [true]);
        process.saw(if held { "it was restored" } else { "another had its slot when it was to be restored" });
    }
    if !held {
        process.tell(Event::LetsGo { job: lease.job, attempt: lease.attempt, ended: false });
    }
    held
}

pub(super) async fn bind_again(process: &Process, request: &str, Granted { lease, node, .. }: &Granted) -> Answer {
    let (lease, node, earlier) = (*lease, node.clone(), Vec::new());
    let binding = Binding { fingerprint: Fingerprint(0), state: JobState::Reserved, lease, node, earlier };
    let set = ["SET", &process.keys().request(request), &binding.to_string(), "NX", "PX", &LONG.to_string()];
    process.plain(set.map(str::to_owned)).await
}

fn restoring<'a>(node: &'a NodeText, capacity: u32, leases: &'a [(Lease, u64)]) -> Restore<'a> {
    Restore {
        node,
        incarnation: FIRST,
        capacity,
        state: "ready",
        kept: KEPT,
        longest_lease: LEASE,
        leases,
        fields: &[],
    }
}

/// Tells a server of a node that it may have lost, as the instance does that gets its heartbeats.
pub(super) async fn restore_node(process: &Process, node: &str, capacity: u32) {
    ask(process, &restoring(&NodeText::of(node), capacity, &[])).await;
}

/// A node's process begins anew, and registers again.
pub(super) async fn register(process: &Process, (place, node): (usize, &str), capacity: u32) {
    process.tell(Event::Restarts { node: place });
    let node = NodeText::of(node);
    let call = Register { node: &node, replace: true, capacity, state: "ready", kept: KEPT, fields: &[] };
    let registered = ask(process, &call).await;
    assert!(matches!(registered, Registered::Registered(_)), "{registered:?}");
}

/// The node's process ends, and says so.
pub(super) async fn deregister(process: &Process, node: &str, incarnation: u64) {
    ask(process, &Deregister { node: &NodeText::of(node), incarnation, kept: KEPT }).await;
}

/// The node has this many slots from now on.
pub(super) async fn resize(process: &Process, node: &str, capacity: u32) {
    let node = NodeText::of(node);
    let call =
        Update { node: &node, incarnation: FIRST, state: None, capacity: Some(capacity), kept: KEPT, fields: &[] };
    assert_eq!(ask(process, &call).await, Changed::Done);
}
