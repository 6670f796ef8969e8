//! Several instances, each with its own scheduler, in one process.

use std::collections::BTreeSet;
use std::time::Duration;

use pollster::block_on;
use slotyard::{Capabilities, Demand, Heartbeat, JobRequest, NodeSpec, NodeState, SharedError};
use slotyard_servers::{Server, wait_until};

use crate::{instance, instance_with, ready_node};

fn request(id: impl AsRef<str>) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

#[test]
fn each_knows_the_nodes_of_the_others_as_they_are() {
    let server = Server::start();
    let (a, b) = (instance(&server), instance(&server));
    let node = ready_node(&a, "gpu 7", 4);
    let seen = || b.scheduler().node("gpu 7");
    wait_until("the other knows the node", || seen().is_some_and(|view| view.state == NodeState::Ready));
    let view = seen().unwrap();
    assert_eq!((view.capacity, view.capabilities), (4, Capabilities::new().service("embed")));
    block_on(a.set_capacity(&node, 2)).unwrap();
    let wider = Capabilities::new().asr(["zh", "en"]).label("zone", "a");
    block_on(a.update(&node, wider.clone())).unwrap();
    block_on(a.drain(&node)).unwrap();
    let is_as_it_is = |view: slotyard::NodeView| {
        (view.capacity, view.state) == (2, NodeState::Draining) && view.capabilities == wider
    };
    wait_until("the other knows of all changes", || seen().is_some_and(is_as_it_is));
    block_on(a.undrain(&node)).unwrap();
    wait_until("the other uses it again", || seen().is_some_and(|view| view.state == NodeState::Ready));
    block_on(a.deregister(&node)).unwrap();
    wait_until("the other has forgotten it", || seen().is_none());
}

#[test]
fn a_request_has_one_job_whichever_is_asked() {
    let server = Server::start();
    let instances = [(); 4].map(|()| instance(&server));
    ready_node(&instances[0], "node", 64);
    for shared in &instances {
        wait_until("all know the node", || shared.scheduler().select(&Demand::new()).is_ok());
    }
    for id in 0..50 {
        let jobs: BTreeSet<_> = std::thread::scope(|scope| {
            let creating = instances.each_ref().map(|shared| {
                scope.spawn(move || block_on(shared.create_job(&request(format!("request {id}")))).unwrap())
            });
            creating.map(|thread| thread.join().unwrap()).map(|job| (job.id(), job.fence())).into_iter().collect()
        });
        assert_eq!(jobs.len(), 1, "{jobs:?}");
    }
    assert_eq!(server.command(&["ZCOUNT", "slotyard:l:node", "1", "(inf"]), "50");
}

#[test]
fn no_more_slots_are_held_than_there_are_and_none_is_refused_that_is_free() {
    let server = Server::start();
    let instances = [(); 4].map(|()| instance(&server));
    let nodes = 5;
    for node in 0..nodes {
        ready_node(&instances[node % 4], &format!("node {node}"), 2);
    }
    for shared in &instances {
        wait_until("all know all nodes", || {
            shared.scheduler().nodes().iter().filter(|n| n.state == NodeState::Ready).count() == nodes
        });
    }
    let created = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (number, shared) in instances.iter().enumerate() {
            let created = &created;
            scope.spawn(move || {
                for turn in 0..8 {
                    if let Ok(job) = block_on(shared.create_job(&request(format!("{number} {turn}")))) {
                        created.lock().unwrap().push(job);
                    }
                }
            });
        }
    });
    let created = created.into_inner().unwrap();
    let slots: BTreeSet<_> = created.iter().map(|job| (job.node_id(), job.slot())).collect();
    assert_eq!(slots.len(), created.len(), "a slot is held twice");
    assert_eq!(created.len(), 10, "slots were refused that were free");
    // What one ends another finds free, though it was full for all it knew.
    for (turn, job) in created.iter().enumerate() {
        block_on(instances[turn % 4].complete(job.id(), 1)).unwrap();
        let next = block_on(instances[(turn + 1) % 4].create_job(&request(format!("next {turn}")))).unwrap();
        assert_eq!((next.node_id(), next.slot()), (job.node_id(), job.slot()));
    }
}

#[test]
fn a_job_is_moved_on_by_one_that_has_not_created_it() {
    let server = Server::start();
    let (a, b) = (instance(&server), instance(&server));
    ready_node(&a, "node", 1);
    let job = block_on(a.create_job(&request("one"))).unwrap();
    assert_eq!(block_on(b.job_by_request("one")).unwrap().unwrap().id(), job.id());
    block_on(b.dispatched(job.id(), 1)).unwrap();
    block_on(b.running(job.id(), 1)).unwrap();
    block_on(b.renew(job.id(), 1)).unwrap();
    block_on(b.fail(job.id(), 1)).unwrap();
    wait_until("its creator has given the slot back", || a.scheduler().node("node").unwrap().in_flight == 0);
    wait_until("the other knows the node", || b.scheduler().select(&Demand::new()).is_ok());
    let second = block_on(b.retry(job.id(), 1)).unwrap();
    assert_eq!((second.id(), second.attempt()), (job.id(), 2));
    block_on(a.complete(job.id(), 2)).unwrap();
}

#[test]
fn a_lease_is_renewed_while_its_instance_lives_and_runs_out_when_that_has_died() {
    let server = Server::start();
    let lease = Duration::from_millis(600);
    let a = instance_with(&server, |builder| builder.default_lease(lease).max_lease(lease));
    let b = instance_with(&server, |builder| builder.default_lease(lease).max_lease(lease));
    ready_node(&b, "node", 1);
    wait_until("the other knows the node", || a.scheduler().select(&Demand::new()).is_ok());
    let job = block_on(a.create_job(&request("one"))).unwrap();
    let score = || server.command(&["ZRANGE", "slotyard:l:node", "0", "0", "WITHSCORES"]);
    let before = score();
    wait_until("the lease is renewed", || score() != before);
    let refused = block_on(b.create_job(&request("two"))).unwrap_err();
    assert!(matches!(refused, SharedError::Refused(_)), "{refused:?}");
    drop(a);
    wait_until("the slot comes free", || block_on(b.create_job(&request("two"))).is_ok());
    let ended = block_on(b.complete(job.id(), 1)).unwrap_err();
    let state = slotyard::JobState::Expired;
    assert_eq!(ended, SharedError::Refused(slotyard::JobError::AlreadyEnded { job: job.id(), attempt: 1, state }));
}

#[test]
fn leases_are_renewed_in_time_however_rarely_changes_are_fetched() {
    let server = Server::start();
    let (lease, shorter) = (Duration::from_millis(1200), Duration::from_millis(600));
    let shared = instance_with(&server, |builder| {
        builder.default_lease(lease).max_lease(lease).poll_interval(Duration::from_secs(3))
    });
    ready_node(&shared, "node", 2);
    // The second has a lease that is over before the first one's is looked at.
    let jobs = [request("one"), request("two").lease(shorter)].map(|request| block_on(shared.create_job(&request)));
    let jobs = jobs.map(Result::unwrap);
    let ends = || server.command(&["ZRANGE", "slotyard:l:node", "0", "1", "WITHSCORES"]);
    for _ in 0..4 {
        let before = ends();
        wait_until("a lease is renewed", || ends() != before);
    }
    jobs.iter().for_each(|job| block_on(shared.renew(job.id(), 1)).unwrap());
    assert_eq!(shared.stats().lost_leases, 0);
}

#[test]
fn a_lease_that_was_looked_after_with_shorter_ones_is_renewed_for_as_long_as_it_was_made_for() {
    let server = Server::start();
    let (short, long) = (Duration::from_millis(600), Duration::from_secs(10));
    // It does not hear of what others tell it.
    let deaf = |builder: slotyard::SharedBuilder| builder.poll_interval(Duration::from_secs(3));
    let shared = instance_with(&server, |builder| deaf(builder).default_lease(short).max_lease(long));
    let other = instance(&server);
    ready_node(&shared, "node", 10);
    let create = |id: String, lease| block_on(shared.create_job(&request(id).lease(lease))).unwrap();
    let job = create("long".to_owned(), long);
    let _others: Vec<_> = (0..8).map(|number| create(format!("short {number}"), short)).collect();
    let leases = server.command(&["ZRANGE", "slotyard:l:node", "0", "-1"]);
    let lease = leases.split_whitespace().find(|lease| lease.contains(&job.id().to_string())).unwrap().to_owned();
    let ends = || server.command(&["ZSCORE", "slotyard:l:node", &lease]);
    let (before, mut turn) = (ends(), 0);
    wait_until("it is renewed", || {
        // The node is full for all that is known here, so it looks which leases there are.
        let last = create(format!("last {turn}"), short);
        block_on(other.complete(last.id(), 1)).unwrap();
        turn += 1;
        assert_eq!(shared.stats().lost_leases, 0);
        ends() != before
    });
    let now = server.command(&["TIME"]);
    let seconds: f64 = now.split_whitespace().next().unwrap().parse().unwrap();
    assert!(ends().parse::<f64>().unwrap() > seconds * 1000.0 + 2000.0, "it was renewed as the shorter ones are");
}

#[test]
fn a_node_that_comes_back_to_another_instance_is_that_ones() {
    let server = Server::start();
    let (a, b) = (instance(&server), instance(&server));
    ready_node(&a, "node", 1);
    let job = block_on(a.create_job(&request("one"))).unwrap();
    let owner = || server.command(&["HGET", "slotyard:n:node", "owner"]);
    let before = owner();
    wait_until("the other knows the node", || b.node("node").is_some());
    let node = b.node("node").unwrap();
    b.heartbeat(&node, &Heartbeat::ready()).unwrap();
    wait_until("it has another owner", || owner() != before);
    // Its jobs run on.
    block_on(a.complete(job.id(), 1)).unwrap();
    // One that has been restarted has lost them.
    let job = block_on(a.create_job(&request("two"))).unwrap();
    let spec = NodeSpec::new("node").service("embed").ready();
    let refused = block_on(b.register(spec.clone())).unwrap_err();
    assert!(matches!(refused, SharedError::Refused(slotyard::RegisterError::AlreadyRegistered { .. })), "{refused:?}");
    let later = block_on(b.register(spec.replace_existing())).unwrap();
    assert!(later.incarnation() > node.incarnation());
    let ended = block_on(a.complete(job.id(), 1)).unwrap_err();
    let state = slotyard::JobState::Orphaned;
    assert_eq!(ended, SharedError::Refused(slotyard::JobError::AlreadyEnded { job: job.id(), attempt: 1, state }));
}

#[test]
fn jobs_of_a_node_whose_heartbeats_have_stopped_are_orphaned_and_it_is_forgotten() {
    let server = Server::start();
    let short = |builder: slotyard::SharedBuilder| {
        let scheduler = slotyard::Scheduler::builder().heartbeat_timeout(Duration::from_millis(300));
        builder.scheduler(scheduler.offline_retention(Duration::from_millis(300)))
    };
    let (a, b) = (instance_with(&server, short), instance_with(&server, short));
    let events = b.scheduler().subscribe(64);
    let node = ready_node(&a, "node", 1);
    let beat = || a.heartbeat(&node, &Heartbeat::ready()).unwrap();
    wait_until("the other knows the node", || {
        beat();
        b.scheduler().select(&Demand::new()).is_ok()
    });
    beat();
    let job = block_on(b.create_job(&request("one"))).unwrap();
    let is_orphaned = |event: &slotyard::Event| matches!(event, slotyard::Event::JobOrphaned { job: orphan, .. } if *orphan == job.id());
    wait_until("it is orphaned", || std::iter::from_fn(|| events.try_recv()).any(|event| is_orphaned(&event)));
    let found = block_on(b.job_by_request("one")).unwrap().unwrap();
    assert_eq!(found.state(), slotyard::JobState::Orphaned);
    wait_until("all have forgotten the node", || {
        [&a, &b].iter().all(|shared| shared.node("node").is_none())
            && server.command(&["EXISTS", "slotyard:n:node"]) == "0"
    });
}

#[test]
fn a_job_whose_instance_has_died_is_seen_to_have_run_out_and_may_be_tried_again() {
    let server = Server::start();
    let lease = Duration::from_millis(400);
    let short = |builder: slotyard::SharedBuilder| builder.default_lease(lease).max_lease(lease);
    let (a, b) = (instance_with(&server, short), instance_with(&server, short));
    ready_node(&b, "node", 1);
    wait_until("the other knows the node", || a.scheduler().select(&Demand::new()).is_ok());
    let job = block_on(a.create_job(&request("one"))).unwrap();
    drop(a);
    wait_until("its lease has run out", || {
        let again = block_on(b.create_job(&request("one"))).unwrap();
        assert_eq!(again.id(), job.id());
        again.state() == slotyard::JobState::Expired
    });
    let second = block_on(b.retry(job.id(), 1)).unwrap();
    assert_eq!((second.attempt(), second.state()), (2, slotyard::JobState::Reserved));
    block_on(b.complete(job.id(), 2)).unwrap();
}

#[test]
fn a_slot_of_an_attempt_that_was_never_found_to_have_ended_is_not_counted_once_there_is_a_later_one() {
    let server = Server::start();
    // It does not hear for a long time of what the other does.
    let deaf = |builder: slotyard::SharedBuilder| builder.poll_interval(Duration::from_secs(2));
    let (a, b) = (instance(&server), instance_with(&server, deaf));
    ready_node(&b, "node", 2);
    wait_until("the other knows the node", || a.scheduler().select(&Demand::new()).is_ok());
    let job = block_on(b.create_job(&request("one"))).unwrap();
    block_on(a.fail(job.id(), 1)).unwrap();
    block_on(a.retry(job.id(), 1)).unwrap();
    block_on(a.fail(job.id(), 2)).unwrap();
    let third = block_on(b.retry(job.id(), 2)).unwrap();
    assert_eq!(b.scheduler().node("node").unwrap().in_flight, 1);
    block_on(b.complete(job.id(), third.attempt())).unwrap();
    assert_eq!((b.stats().held_jobs, b.scheduler().node("node").unwrap().in_flight), (0, 0));
}
