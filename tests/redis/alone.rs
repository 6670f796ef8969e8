//! Instances that create jobs without the server while it is away.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use pollster::block_on;
use slotyard::{CreateJobError, Demand, Heartbeat, JobError, JobRequest, JobState, SharedError, SharedScheduler};
use slotyard_servers::{Server, wait_until};

use crate::{PATIENCE, instance, ready_node};

fn request(id: &str) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

/// One that may.
fn local(server: &Server) -> SharedScheduler {
    let lease = Duration::from_millis(1500);
    let builder = SharedScheduler::builder(server.url()).local_only(true).default_lease(lease).max_lease(lease);
    let builder = builder.call_timeout(Duration::from_millis(100)).connect_timeout(PATIENCE);
    let builder = builder.poll_interval(Duration::from_millis(5)).flush_interval(Duration::from_millis(20));
    let shared = builder.build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    shared
}

fn leases(server: &Server, node: &str) -> String {
    server.command(&["ZCOUNT", &format!("slotyard:l:{node}"), "1", "(inf"])
}

#[test]
fn jobs_go_on_while_the_server_is_away_and_it_is_told_of_them_when_it_is_back() {
    let server = Server::start();
    let (shared, other) = (local(&server), instance(&server));
    let (ours, _theirs) = (ready_node(&shared, "ours", 2), ready_node(&other, "theirs", 2));
    wait_until("the other's node is known", || shared.scheduler().node("theirs").is_some());
    server.kill();
    let jobs = ["one", "two"].map(|id| block_on(shared.create_job(&request(id))).unwrap());
    assert!(jobs.iter().all(|job| job.is_local() && &*job.node_id() == "ours"), "{jobs:?}");
    assert_eq!(block_on(shared.create_job(&request("one"))).unwrap().id(), jobs[0].id());
    // No slot of ours is left, and others' nodes are not ours to use.
    assert!(block_on(shared.create_job(&request("three"))).is_err());
    let mismatch = block_on(shared.create_job(&JobRequest::new("one", Demand::new()))).unwrap_err();
    assert!(matches!(mismatch, SharedError::Refused(CreateJobError::RequestMismatch { .. })), "{mismatch:?}");
    block_on(shared.dispatched(jobs[0].id(), 1)).unwrap();
    let again = block_on(shared.dispatched(jobs[0].id(), 1)).unwrap_err();
    assert!(matches!(again, SharedError::Refused(JobError::InvalidTransition { .. })), "{again:?}");
    block_on(shared.complete(jobs[1].id(), 1)).unwrap();
    let three = block_on(shared.create_job(&request("three"))).unwrap();
    assert_eq!((shared.stats().created_alone, shared.stats().local_jobs), (3, 2));

    server.restart();
    wait_until("the server knows of them", || {
        shared.heartbeat(&ours, &Heartbeat::ready()).unwrap();
        shared.stats().local_jobs == 0
    });
    assert_eq!((&*leases(&server, "ours"), shared.stats().doubled), ("2", 0));
    let bound = block_on(other.job_by_request("one")).unwrap().unwrap();
    assert_eq!((bound.id(), bound.state(), bound.is_local()), (jobs[0].id(), JobState::Dispatched, false));
    block_on(other.complete(jobs[0].id(), 1)).unwrap();
    block_on(shared.complete(three.id(), 1)).unwrap();
    assert_eq!(leases(&server, "ours"), "0");
}

#[test]
fn a_request_that_came_to_two_instances_meanwhile_has_two_jobs_and_that_is_said() {
    let server = Server::start();
    let (a, b) = (local(&server), local(&server));
    let (of_a, of_b) = (ready_node(&a, "a", 1), ready_node(&b, "b", 1));
    server.kill();
    let [first, second] = [&a, &b].map(|shared| block_on(shared.create_job(&request("one"))).unwrap());
    assert!(first.is_local() && second.is_local() && first.id() != second.id());
    server.restart();
    wait_until("the server knows of one of them, and somebody of the other", || {
        a.heartbeat(&of_a, &Heartbeat::ready()).unwrap();
        b.heartbeat(&of_b, &Heartbeat::ready()).unwrap();
        let count = |count: fn(&SharedScheduler) -> u64| count(&a) + count(&b);
        count(|shared| shared.stats().doubled) == 1 && count(|shared| shared.stats().local_jobs as u64) == 1
    });
    for (shared, job) in [(&a, &first), (&b, &second)] {
        wait_until("each is completed where it was created", || block_on(shared.complete(job.id(), 1)).is_ok());
    }
    wait_until("nothing is left", || a.stats().local_jobs + b.stats().local_jobs == 0);
}

#[test]
fn jobs_are_created_alone_while_the_server_takes_no_writes() {
    let server = Server::start();
    let shared = local(&server);
    let node = ready_node(&shared, "node", 1);
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    assert!(job.is_local());
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    wait_until("the server knows of it", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        shared.stats().local_jobs == 0
    });
    assert_eq!(leases(&server, "node"), "1");
    block_on(shared.complete(job.id(), 1)).unwrap();
}

#[test]
fn who_may_not_creates_none() {
    let server = Server::start();
    let shared = SharedScheduler::builder(server.url()).call_timeout(Duration::from_millis(100)).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    ready_node(&shared, "node", 1);
    server.kill();
    let error = block_on(shared.create_job(&request("one"))).unwrap_err();
    assert!(matches!(error, SharedError::Coordinator(_)), "{error:?}");
    assert_eq!((shared.stats().created_alone, shared.stats().local_jobs), (0, 0));
}

#[test]
fn those_who_ask_for_a_request_at_once_have_one_job() {
    let server = Server::start();
    let shared = local(&server);
    let node = ready_node(&shared, "node", 8);
    server.kill();
    for turn in 1..=5 {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        let request = request(&format!("r{turn}"));
        let [first, others @ ..] = std::thread::scope(|scope| {
            let creating = [(); 4].map(|()| scope.spawn(|| block_on(shared.create_job(&request)).unwrap()));
            creating.map(|thread| thread.join().unwrap())
        });
        assert!(first.is_local() && others.iter().all(|other| other.id() == first.id()), "{first:?} {others:?}");
        let in_flight = shared.scheduler().node("node").unwrap().in_flight;
        assert_eq!(
            (in_flight, shared.stats().local_jobs, shared.stats().created_alone),
            (turn, turn as usize, turn.into())
        );
    }
}

#[test]
fn what_is_looked_at_in_vain_is_not_counted_as_taken() {
    let server = Server::start();
    let (shared, other) = (local(&server), instance(&server));
    let (ours, _theirs) = (ready_node(&shared, "ours", 8), ready_node(&other, "theirs", 8));
    wait_until("the other's node is known", || shared.scheduler().node("theirs").is_some());
    server.kill();
    for turn in 0..8 {
        shared.heartbeat(&ours, &Heartbeat::ready()).unwrap();
        assert!(block_on(shared.create_job(&request(&format!("r{turn}")))).unwrap().is_local());
    }
    assert!(block_on(shared.create_job(&request("another"))).is_err());
    assert_eq!(["ours", "theirs"].map(|node| shared.scheduler().node(node).unwrap().in_flight), [8, 0]);
}

#[test]
fn one_that_nobody_waits_for_any_more_has_never_been() {
    let server = Server::start();
    let shared = local(&server);
    let node = ready_node(&shared, "node", 1);
    server.kill();
    let request = request("one");
    {
        let mut dropped = pin!(shared.create_job(&request));
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    wait_until("it was created and called off", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        (shared.stats().created_alone, shared.stats().local_jobs) == (1, 0)
    });
    // Its slot is free, and its request has no job.
    assert!(block_on(shared.create_job(&request)).unwrap().is_local());
    assert_eq!(shared.stats().local_jobs, 1);
}
