//! Each script by itself, on a real server.

mod nodes;
mod spread;
mod together;

use redis::{Commands, Connection};
use slotyard_servers::Server;

use crate::id::JobId;
use crate::job::JobState;
use crate::redis::call::{
    Advance, Call, Create, Creation, Finish, Hello, Moved, Refused, Renew, Reply, Retry, Standing,
};
use crate::redis::keys::{Keys, NodeText};
use crate::redis::lease::{Binding, Fence, Fingerprint, Instance, Lease};
use crate::redis::node_call::{
    Beat, Changed, Deregister, Glance, Kept, Register, Registered, Restore, Restored, Update,
};
use crate::redis::script;

const LEASE: u64 = 60_000;
const KEPT: Kept = Kept { node: 100_000, slots: 200_000 };
const US: Instance = Instance(7);

/// A server, and what an instance knows of it.
struct Asked {
    server: Server,
    connection: Connection,
    keys: Keys,
    standing: Standing,
}

impl Asked {
    fn new() -> Self {
        let server = Server::start();
        let connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        Self { server, connection, keys: Keys::new("s:", false), standing: Standing { epoch: 100, warm_until: 0 } }
    }

    fn ask<C: Call>(&mut self, call: &C) -> C::Answer {
        let arguments = call.arguments(&self.keys, self.standing);
        let mut eval = redis::cmd("EVAL");
        eval.arg(C::SCRIPT.source).arg(arguments.keys.len()).arg(&arguments.keys).arg(&arguments.arguments);
        let value = eval.query(&mut self.connection).unwrap_or_else(|error| panic!("{}: {error}", C::SCRIPT.name));
        C::read(Reply::new(value).unwrap()).unwrap()
    }

    /// A node that is ready; its incarnation.
    fn node(&mut self, node: &NodeText, capacity: u32) -> u64 {
        self.register(node, capacity, "ready", false)
    }

    fn register(&mut self, node: &NodeText, capacity: u32, state: &str, replace: bool) -> u64 {
        let fields = [("owner", US.to_string())];
        match self.ask(&Register { node, replace, capacity, state, kept: KEPT, fields: &fields }) {
            Registered::Registered(incarnation) => incarnation,
            Registered::Exists(..) => panic!("it was there"),
        }
    }

    fn create(&mut self, request: &str, candidates: &[NodeText]) -> Creation {
        let (fingerprint, job) = (Fingerprint(1), job(request));
        let (lease, kept) = (LEASE, KEPT.slots);
        self.ask(&Create { request, note: "", fingerprint, job, instance: US, lease, kept, candidates })
    }

    fn created(&mut self, request: &str, node: &NodeText) -> Lease {
        match self.create(request, std::slice::from_ref(node)) {
            Creation::Created(lease, 0) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, request: &str, attempt: u32, node: &NodeText) -> Moved {
        let end = JobState::Completed;
        self.ask(&Finish { request, job: job(request), attempt, node, end, only: None, kept: KEPT.slots })
    }

    fn advance(&mut self, request: &str, node: &NodeText, to: Option<JobState>) -> Moved {
        let (lease, kept) = (LEASE, KEPT.slots);
        self.ask(&Advance { request, job: job(request), attempt: 1, node, to, lease, kept })
    }

    fn retry(&mut self, request: &str, attempt: u32, node: &NodeText, candidates: &[NodeText]) -> Creation {
        let (job, lease, kept, instance) = (job(request), LEASE, KEPT.slots, US);
        self.ask(&Retry { request, job, attempt, node, instance, lease, kept, most_attempts: 3, candidates })
    }

    fn binding(&mut self, request: &str) -> Binding {
        let text: String = self.connection.get(self.keys.request(request)).unwrap();
        text.parse().unwrap()
    }

    /// The node's slots, each as it is, with its score.
    fn slots(&mut self, node: &NodeText) -> Vec<(String, f64)> {
        self.connection.zrange_withscores(self.keys.slots(node), 0, -1).unwrap()
    }

    fn free(&mut self, node: &NodeText) -> usize {
        self.slots(node).iter().filter(|(member, _)| member.starts_with("free:")).count()
    }

    /// Has the lease run out.
    fn run_out(&mut self, node: &NodeText, lease: &Lease) {
        let _: () = self.connection.zadd(self.keys.slots(node), lease.to_string(), 1).unwrap();
    }
}

/// The job of a request, as these tests have it.
fn job(request: &str) -> JobId {
    JobId::from_u128(request.bytes().fold(1, |job, byte| job << 8 | u128::from(byte)))
}

fn node(id: &str) -> NodeText {
    NodeText::of(id)
}

#[test]
fn every_script_is_one_that_the_server_takes() {
    let mut asked = Asked::new();
    for script in script::ALL {
        let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(script.source).query(&mut asked.connection).unwrap();
        assert_eq!(hash, *script.hash, "{}", script.name);
    }
}

#[test]
fn hello_knows_a_server_again_and_tells_another_from_it() {
    let mut asked = Asked::new();
    let mut hello = |run, known| asked.ask(&Hello { key: "epoch", run, known, longest_lease: LEASE, kept: KEPT.slots });
    let first = hello("a", 0);
    assert_eq!(hello("a", first.epoch), first);
    assert_eq!(hello("a", 0), first);
    let failed_over = hello("b", 0);
    assert!(failed_over.epoch > first.epoch && failed_over.warm_until >= first.warm_until);
    // It has lost what somebody knows.
    let lost = hello("b", failed_over.epoch + 1000);
    assert_eq!(lost.epoch, failed_over.epoch + 1001);
    asked.server.flush();
    let hello = Hello { key: "epoch", run: "b", known: lost.epoch, longest_lease: LEASE, kept: KEPT.slots };
    assert_eq!(asked.ask(&hello).epoch, lost.epoch + 1);
}

#[test]
fn create_takes_the_first_candidate_that_has_room_and_says_why_the_others_have_none() {
    let mut asked = Asked::new();
    let nodes = ["unknown", "closed", "full", "open"].map(node);
    asked.register(&nodes[1], 1, "draining", false);
    asked.node(&nodes[2], 1);
    let incarnation = asked.node(&nodes[3], 1);
    let full = asked.created("a", &nodes[2]);
    let Creation::Created(lease, 3) = asked.create("b", &nodes) else { panic!("it has room") };
    assert_eq!((lease.job, lease.attempt, lease.instance, lease.slot), (job("b"), 1, US, 0));
    assert_eq!(lease.fence, Fence::new(100, incarnation + 1));
    let Creation::None(refused) = asked.create("c", &nodes) else { panic!("none has room") };
    let [Refused::Unknown, Refused::Closed(state), Refused::Full(after), Refused::Full(_)] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert!(state == "draining" && (LEASE / 2..=LEASE).contains(after), "{refused:?}");
    let bound = Binding {
        fingerprint: Fingerprint(1),
        state: JobState::Reserved,
        lease,
        node: nodes[3].clone(),
        earlier: Vec::new(),
    };
    assert_eq!(asked.binding("b"), bound);
    // Nothing was changed by what was refused.
    assert_eq!(asked.slots(&nodes[2])[0].0, full.to_string());
    assert_eq!(asked.slots(&nodes[1])[0], ("closed:draining".to_owned(), -1.0));
}

#[test]
fn create_answers_what_the_request_is_bound_to() {
    let mut asked = Asked::new();
    let nodes = [node("n")];
    asked.node(&nodes[0], 2);
    let lease = asked.created("a", &nodes[0]);
    let Creation::Existing(binding) = asked.create("a", &nodes) else { panic!("it is bound") };
    assert_eq!(binding.lease, lease);
    let (fingerprint, job, lease, kept) = (Fingerprint(2), JobId::from_u128(9), LEASE, LEASE);
    let other = Create { request: "a", note: "", fingerprint, job, instance: US, lease, kept, candidates: &nodes };
    assert!(matches!(asked.ask(&other), Creation::Mismatch(_)));
    assert_eq!(asked.free(&nodes[0]), 1);
}

#[test]
fn a_lease_that_has_run_out_is_the_next_ones_and_not_before() {
    let mut asked = Asked::new();
    let n = node("n");
    asked.node(&n, 1);
    let first = asked.created("a", &n);
    assert!(matches!(asked.create("b", std::slice::from_ref(&n)), Creation::None(_)));
    asked.run_out(&n, &first);
    let second = asked.created("b", &n);
    assert!(second.slot == first.slot && second.fence > first.fence);
    assert_eq!(asked.advance("a", &n, None), Moved::Ended(JobState::Expired));
    assert_eq!(asked.finish("a", 1, &n), Moved::Ended(JobState::Expired));
    assert_eq!(asked.finish("b", 1, &n), Moved::Done);
}

#[test]
fn slots_of_an_earlier_epoch_are_given_out_when_no_lease_can_have_been_lost_any_more() {
    let mut asked = Asked::new();
    let [old, new] = ["old", "new"].map(node);
    asked.node(&old, 1);
    asked.standing = Standing { epoch: 101, warm_until: u64::MAX >> 12 };
    asked.node(&new, 1);
    let refused = asked.create("a", std::slice::from_ref(&old));
    assert!(matches!(&refused, Creation::None(refused) if matches!(refused[..], [Refused::WarmUp(_)])), "{refused:?}");
    asked.created("b", &new);
    asked.standing.warm_until = 1;
    assert_eq!(asked.created("a", &old).fence.to_u128() >> 64, 101);
}

#[test]
fn finish_frees_the_slot_once_and_says_how_a_job_had_ended() {
    let mut asked = Asked::new();
    let n = node("n");
    asked.node(&n, 2);
    assert_eq!(asked.finish("a", 1, &n), Moved::Unknown);
    asked.created("a", &n);
    assert_eq!(asked.finish("a", 2, &n), Moved::Stale(1));
    assert_eq!(asked.finish("a", 1, &node("m")), Moved::Elsewhere(n.clone()));
    assert_eq!(asked.free(&n), 1);
    assert_eq!((asked.finish("a", 1, &n), asked.free(&n)), (Moved::Done, 2));
    assert_eq!((asked.finish("a", 1, &n), asked.free(&n)), (Moved::Ended(JobState::Completed), 2));
    assert_eq!(asked.binding("a").state, JobState::Completed);
}

#[test]
fn advance_goes_forward_only_and_has_the_lease_begin_anew() {
    let mut asked = Asked::new();
    let n = node("n");
    asked.node(&n, 1);
    let lease = asked.created("a", &n);
    let soon = asked.slots(&n)[0].1 - (LEASE / 2) as f64;
    let _: () = asked.connection.zadd(asked.keys.slots(&n), lease.to_string(), soon).unwrap();
    for (to, expected) in [
        (None, Moved::Done),
        (Some(JobState::Dispatched), Moved::Done),
        (Some(JobState::Dispatched), Moved::Invalid(JobState::Dispatched)),
        (Some(JobState::Running), Moved::Done),
        (Some(JobState::Running), Moved::Invalid(JobState::Running)),
        (Some(JobState::Dispatched), Moved::Invalid(JobState::Running)),
        (None, Moved::Done),
    ] {
        assert_eq!(asked.advance("a", &n, to), expected);
        assert!(asked.slots(&n)[0].1 > soon);
    }
    assert_eq!(asked.binding("a").state, JobState::Running);
}

#[test]
fn renew_keeps_leases_and_brings_none_back() {
    let mut asked = Asked::new();
    let n = node("n");
    assert!(asked.ask(&Renew { node: &n, lease: LEASE, leases: &[] }).is_empty());
    asked.node(&n, 2);
    let (a, b) = (asked.created("a", &n), asked.created("b", &n));
    let soon = 1.0 + asked.slots(&n)[0].1 - (LEASE / 2) as f64;
    let _: () = asked.connection.zadd(asked.keys.slots(&n), a.to_string(), soon).unwrap();
    asked.finish("b", 1, &n);
    assert_eq!(asked.ask(&Renew { node: &n, lease: LEASE, leases: &[a, b] }), [None, Some(JobState::Expired)]);
    let slots = asked.slots(&n);
    assert!(slots.iter().any(|(member, score)| *member == a.to_string() && *score > soon), "{slots:?}");
    assert!(slots.iter().all(|(member, _)| *member != b.to_string()));
    asked.run_out(&n, &a);
    assert_eq!(asked.ask(&Renew { node: &n, lease: LEASE, leases: &[a] }), [Some(JobState::Expired)]);
    let _: () = asked.connection.zadd(asked.keys.slots(&n), a.to_string(), soon).unwrap();
    // No lease is shortened.
    let before = asked.slots(&n);
    asked.ask(&Renew { node: &n, lease: 1, leases: &[a] });
    assert_eq!(asked.slots(&n), before);
}

#[test]
fn retry_takes_another_slot_and_frees_the_one_before() {
    let mut asked = Asked::new();
    let nodes = ["a", "b"].map(node);
    for node in &nodes {
        asked.node(node, 1);
    }
    asked.created("r", &nodes[0]);
    let only = &nodes[1..];
    assert!(matches!(asked.retry("r", 1, &nodes[1], only), Creation::Not(Moved::Elsewhere(_))));
    let Creation::Created(lease, 0) = asked.retry("r", 1, &nodes[0], only) else { panic!("there is room") };
    assert_eq!((lease.attempt, asked.free(&nodes[0]), asked.free(&nodes[1])), (2, 1, 0));
    let binding = asked.binding("r");
    assert_eq!((&binding.node, &binding.earlier[..]), (&nodes[1], &nodes[..1]));
    assert!(matches!(asked.retry("r", 1, &nodes[0], only), Creation::Behind(behind) if behind.lease == lease));
    // None has room: the job stays as it was.
    assert!(matches!(asked.retry("r", 2, &nodes[1], only), Creation::None(_)));
    assert_eq!(asked.binding("r"), binding);
    let Creation::Created(_, 0) = asked.retry("r", 2, &nodes[1], &nodes[..1]) else { panic!("there is room") };
    assert_eq!(asked.retry("r", 3, &nodes[0], only), Creation::Limit);
    asked.finish("r", 3, &nodes[0]);
    assert_eq!(asked.retry("r", 3, &nodes[0], only), Creation::Not(Moved::Ended(JobState::Completed)));
}

#[test]
fn register_begins_a_new_incarnation_of_which_earlier_leases_are_none() {
    let mut asked = Asked::new();
    let n = node("n");
    let first = asked.node(&n, 2);
    let lease = asked.created("a", &n);
    let fields = [("owner", "8".to_owned())];
    let again = Register { node: &n, replace: false, capacity: 1, state: "ready", kept: KEPT, fields: &fields };
    assert_eq!(asked.ask(&again), Registered::Exists(first, US.to_string()));
    let second = asked.register(&n, 3, "registering", true);
    assert!(second > first && u128::from(second) > lease.fence.to_u128() & u128::from(u64::MAX));
    assert_eq!((asked.free(&n), asked.advance("a", &n, None)), (3, Moved::Ended(JobState::Orphaned)));
    assert!(matches!(&asked.create("b", &[n])[..], [Refused::Closed(state)] if state == "registering"));
}

impl std::ops::Deref for Creation {
    type Target = [Refused];

    /// Of what was refused why.
    fn deref(&self) -> &[Refused] {
        match self {
            Self::None(refused) => refused,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn update_changes_state_and_capacity_and_leases_stay() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.node(&n, 3);
    let change = |asked: &mut Asked, incarnation, state, capacity| {
        asked.ask(&Update { node: &n, incarnation, state, capacity, kept: KEPT, fields: &[("weight", "5".to_owned())] })
    };
    assert_eq!(change(&mut asked, incarnation + 1, None, None), Changed::Stale(incarnation));
    let leases = ["a", "b"].map(|request| asked.created(request, &n));
    assert_eq!(change(&mut asked, incarnation, Some("draining"), Some(1)), Changed::Done);
    assert_eq!(asked.free(&n), 0);
    assert!(
        matches!(&asked.create("c", std::slice::from_ref(&n))[..], [Refused::Closed(state)] if state == "draining")
    );
    assert_eq!(change(&mut asked, incarnation, Some("ready"), None), Changed::Done);
    // Of two leases and one slot, the first that ends frees none.
    assert_eq!((asked.finish("a", 1, &n), asked.free(&n)), (Moved::Done, 0));
    assert_eq!((asked.finish("b", 1, &n), asked.free(&n)), (Moved::Done, 1));
    assert_eq!(change(&mut asked, incarnation, None, Some(4)), Changed::Done);
    assert_eq!(asked.free(&n), 4);
    let mut slots: Vec<_> = ["d", "e", "f", "g"].iter().map(|request| asked.created(request, &n)).collect();
    assert!(matches!(&asked.create("h", std::slice::from_ref(&n))[..], [Refused::Full(_)]));
    // No fence comes again.
    assert!(slots.iter().all(|later| leases.iter().all(|lease| later.slot != lease.slot || later.fence > lease.fence)));
    slots.sort_by_key(|lease| lease.slot);
    slots.dedup_by_key(|lease| lease.slot);
    assert_eq!(slots.len(), 4);
    let weight: String = asked.connection.hget("s:n:n", "weight").unwrap();
    assert_eq!(weight, "5");
}

#[test]
fn beat_counts_leases_and_is_refused_of_what_is_not_ours() {
    let mut asked = Asked::new();
    let n = node("n");
    let beat = |asked: &mut Asked, incarnation, owner| {
        asked.ask(&Beat { node: &n, incarnation, owner, kept: KEPT, fields: &[("cpu", "0.5".to_owned())] })
    };
    assert_eq!(beat(&mut asked, 1, US).0, Changed::Unknown);
    let incarnation = asked.node(&n, 2);
    asked.created("a", &n);
    assert_eq!(beat(&mut asked, incarnation, US), (Changed::Done, 1));
    assert_eq!(beat(&mut asked, incarnation + 1, US).0, Changed::Stale(incarnation));
    assert_eq!(beat(&mut asked, incarnation, Instance(8)).0, Changed::Owned(US.to_string()));
}

#[test]
fn glance_sees_leases_and_the_age_of_heartbeats() {
    let mut asked = Asked::new();
    let nodes = ["n", "unknown"].map(node);
    asked.node(&nodes[0], 2);
    let lease = asked.created("a", &nodes[0]);
    let seen = asked.ask(&Glance { nodes: &nodes });
    assert!(seen[0].is_some_and(|seen| seen.leases == 1 && seen.age < 60_000) && seen[1].is_none(), "{seen:?}");
    asked.run_out(&nodes[0], &lease);
    assert_eq!(asked.ask(&Glance { nodes: &nodes })[0].unwrap().leases, 0);
}

#[test]
fn deregister_removes_one_incarnation() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.node(&n, 1);
    asked.created("a", &n);
    let deregister = |incarnation| Deregister { node: &n, incarnation, kept: KEPT };
    assert_eq!(asked.ask(&deregister(incarnation + 1)), Changed::Stale(incarnation));
    assert_eq!(asked.ask(&deregister(incarnation)), Changed::Done);
    assert_eq!(asked.ask(&deregister(incarnation)), Changed::Unknown);
    assert_eq!(asked.finish("a", 1, &n), Moved::Ended(JobState::Orphaned));
    assert!(asked.node(&n, 1) > incarnation);
}

#[test]
fn no_fence_comes_again_when_a_node_goes_and_comes() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.node(&n, 1);
    // As if the counter were ahead of the clock.
    let ahead = format!("free:0:{}:100", incarnation + 1_000_000_000_000);
    let _: () = asked.connection.zrem(asked.keys.slots(&n), format!("free:0:{incarnation}:100")).unwrap();
    let _: () = asked.connection.zadd(asked.keys.slots(&n), ahead, 0).unwrap();
    let before = asked.created("a", &n);
    asked.ask(&Deregister { node: &n, incarnation, kept: KEPT });
    asked.node(&n, 1);
    assert!(asked.created("b", &n).fence > before.fence);
}

#[test]
fn a_slot_too_many_is_let_go_when_its_lease_has_run_out() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.node(&n, 2);
    let leases = ["a", "b"].map(|request| asked.created(request, &n));
    let (state, kept, fields) = (None, KEPT, &[][..]);
    asked.ask(&Update { node: &n, incarnation, state, capacity: Some(1), kept, fields });
    leases.iter().for_each(|lease| asked.run_out(&n, lease));
    asked.created("c", &n);
    assert!(matches!(&asked.create("d", std::slice::from_ref(&n))[..], [Refused::Full(_)]));
}

#[test]
fn restore_brings_back_what_was_lost_and_nothing_that_another_has_by_now() {
    let mut asked = Asked::new();
    let n = node("n");
    let incarnation = asked.node(&n, 2);
    let [a, b] = ["a", "b"].map(|request| asked.created(request, &n));
    let restore = |asked: &mut Asked, incarnation, leases: &[Lease]| {
        let leases: Vec<_> = leases.iter().map(|lease| (*lease, LEASE)).collect();
        let (state, kept, fields) = ("ready", KEPT, [("owner", US.to_string())]);
        // The first to run out is the one that there may be.
        let longest_lease = LEASE / 2;
        let leases = &leases[..];
        asked.ask(&Restore { node: &n, incarnation, capacity: 2, state, kept, longest_lease, leases, fields: &fields })
    };
    assert_eq!(restore(&mut asked, incarnation, &[a]), Restored::Restored { held: vec![true], made: false });
    assert_eq!(restore(&mut asked, incarnation - 1, &[a]), Restored::Stale(incarnation));
    asked.server.flush();
    assert_eq!(restore(&mut asked, incarnation, &[a]), Restored::Restored { held: vec![true], made: true });
    assert!(matches!(&asked.create("c", std::slice::from_ref(&n))[..], [Refused::WarmUp(_)]));
    // One more that knew of a lease.
    assert_eq!(restore(&mut asked, incarnation, &[b]), Restored::Restored { held: vec![true], made: false });
    assert!(matches!(&asked.create("c", std::slice::from_ref(&n))[..], [Refused::Full(_)]));
    asked.run_out(&n, &b);
    let c = asked.created("c", &n);
    assert!(c.slot == b.slot && c.fence > b.fence);
    assert_eq!(restore(&mut asked, incarnation, &[a, b]), Restored::Restored { held: vec![true, false], made: false });
}
