//! The scripts that reach a request or a node, not both.

use redis::Commands;

use super::*;
use crate::redis::keys::Keys;
use crate::redis::node_call::Announce;
use crate::redis::spread_call::{Give, Holder, Move, Rebind, Rebound, Take};

fn asked() -> Asked {
    Asked { keys: Keys::new("s:", true), ..Asked::new() }
}

fn holder(request: &str, attempt: u32) -> Holder {
    Holder { job: job(request), attempt, instance: US }
}

impl Asked {
    fn take(&mut self, request: &str, node: &NodeText, again: bool) -> Result<Lease, Refused> {
        self.ask(&Take { node, holder: holder(request, 1), lease: LEASE, again })
    }

    /// A job that is bound, with its lease.
    fn bound(&mut self, request: &str, node: &NodeText) -> Lease {
        let lease = self.take(request, node, false).unwrap();
        let (fingerprint, state, earlier) = (Fingerprint(1), JobState::Reserved, Vec::new());
        let binding = Binding { fingerprint, state, lease, node: node.clone(), earlier };
        let _: () = self.connection.pset_ex(self.keys.request(request), binding.to_string(), KEPT.slots).unwrap();
        lease
    }

    fn moved(&mut self, request: &str, attempt: u32, to: Option<JobState>) -> Moved {
        self.ask(&Move { request, job: job(request), attempt, to, only: None, kept: 1000 })
    }

    fn rebind(&mut self, request: &str, attempt: u32, next: Option<(Lease, &NodeText)>) -> Rebound {
        self.ask(&Rebind { request, job: job(request), attempt, most_attempts: 3, kept: KEPT.slots, next })
    }
}

#[test]
fn take_takes_a_slot_and_finds_what_it_has_taken() {
    let mut asked = asked();
    let n = node("n");
    assert_eq!(asked.take("a", &n, false), Err(Refused::Unknown));
    asked.node(&n, 2);
    let a = asked.take("a", &n, false).unwrap();
    assert_eq!(asked.take("a", &n, true), Ok(a));
    let b = asked.take("b", &n, true).unwrap();
    assert_ne!(a.slot, b.slot);
    assert!(matches!(asked.take("c", &n, true), Err(Refused::Full(_))));
    asked.run_out(&n, &a);
    let c = asked.take("c", &n, false).unwrap();
    assert!(c.slot == a.slot && c.fence > a.fence);
    assert!(matches!(asked.take("a", &n, true), Err(Refused::Full(_))), "what has run out and was taken is not found");
}

#[test]
fn give_gives_a_slot_back_once_by_its_lease_or_by_whose_it_is() {
    let mut asked = asked();
    let n = node("n");
    asked.node(&n, 2);
    let (a, b) = (asked.take("a", &n, false).unwrap(), asked.take("b", &n, false).unwrap());
    assert!(asked.ask(&Give { node: &n, lease: Ok(a) }));
    assert!(!asked.ask(&Give { node: &n, lease: Ok(a) }));
    assert!(!asked.ask(&Give { node: &n, lease: Err(holder("a", 1)) }));
    assert_eq!(asked.free(&n), 1);
    // Its first number is that of another attempt's: whose it is is told by all of it.
    assert!(!asked.ask(&Give { node: &n, lease: Err(holder("b", 11)) }));
    assert!(asked.ask(&Give { node: &n, lease: Err(holder("b", 1)) }));
    assert_eq!(asked.free(&n), 2);
    // The slot is another's by now.
    let c = asked.take("c", &n, false).unwrap();
    assert!(!asked.ask(&Give { node: &n, lease: Ok(if c.slot == a.slot { a } else { b }) }));
    assert_eq!(asked.free(&n), 1);
}

#[test]
fn move_moves_a_job_on_and_ends_it_once() {
    let mut asked = asked();
    let n = node("n");
    asked.node(&n, 1);
    assert_eq!(asked.moved("a", 1, None), Moved::Unknown);
    asked.bound("a", &n);
    assert_eq!(asked.moved("a", 2, None), Moved::Stale(1));
    assert_eq!(asked.moved("a", 1, None), Moved::Done);
    assert_eq!(asked.moved("a", 1, Some(JobState::Dispatched)), Moved::Done);
    assert_eq!(asked.moved("a", 1, Some(JobState::Dispatched)), Moved::Invalid(JobState::Dispatched));
    assert_eq!(asked.moved("a", 1, Some(JobState::Running)), Moved::Done);
    assert_eq!(asked.binding("a").state, JobState::Running);
    assert_eq!(asked.moved("a", 1, Some(JobState::Failed)), Moved::Done);
    assert_eq!(asked.moved("a", 1, Some(JobState::Completed)), Moved::Ended(JobState::Failed));
    let ttl: i64 = asked.connection.pttl(asked.keys.request("a")).unwrap();
    assert!((1..=1000).contains(&ttl), "a job that has ended is remembered for as long as it says: {ttl}");
}

#[test]
fn rebind_has_a_request_name_its_next_attempt_once() {
    let mut asked = asked();
    let [n, m] = ["n", "m"].map(node);
    asked.node(&n, 1);
    asked.node(&m, 1);
    let first = asked.bound("a", &n);
    let second = asked.ask(&Take { node: &m, holder: holder("a", 2), lease: LEASE, again: false }).unwrap();
    assert_eq!(asked.rebind("a", 1, None), Rebound::Done(Some((first, n.clone()))));
    assert_eq!(asked.binding("a").lease, first, "to look changes nothing");
    assert_eq!(asked.rebind("a", 1, Some((second, &m))), Rebound::Done(Some((first, n.clone()))));
    let there = asked.binding("a");
    assert_eq!((there.lease, &there.node, &*there.earlier), (second, &m, &[n][..]));
    assert_eq!(asked.rebind("a", 1, Some((second, &m))), Rebound::Refused(Creation::Behind(Box::new(there))));
    assert_eq!(asked.moved("a", 2, Some(JobState::Failed)), Moved::Done);
    assert_eq!(asked.rebind("a", 2, None), Rebound::Done(None), "what has failed holds nothing");
    let third = Lease { attempt: 3, ..second };
    assert_eq!(asked.rebind("a", 2, Some((third, &m))), Rebound::Done(None));
    assert_eq!(asked.rebind("a", 3, None), Rebound::Refused(Creation::Limit));
    assert_eq!(asked.moved("a", 3, Some(JobState::Completed)), Moved::Done);
    assert_eq!(asked.rebind("a", 3, None), Rebound::Refused(Creation::Not(Moved::Ended(JobState::Completed))));
}

#[test]
fn announce_says_that_a_node_is_there_or_gone_and_that_it_has_changed() {
    let mut asked = asked();
    let n = node("n");
    asked.node(&n, 1);
    let nodes = |asked: &mut Asked| -> Vec<String> { asked.connection.zrange(asked.keys.nodes(), 0, -1).unwrap() };
    assert!(nodes(&mut asked).is_empty(), "to register does not reach what all share");
    asked.ask(&Announce { node: &n, is_there: true, kept: KEPT });
    assert_eq!(nodes(&mut asked), ["n"]);
    asked.ask(&Announce { node: &n, is_there: false, kept: KEPT });
    assert!(nodes(&mut asked).is_empty());
    let changes: usize = redis::cmd("XLEN").arg(asked.keys.changes()).query(&mut asked.connection).unwrap();
    assert_eq!(changes, 2);
}
