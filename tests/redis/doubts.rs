//! Creates of which nobody knows what has come of them.

use std::time::Duration;

use pollster::block_on;
use slotyard::{Demand, Heartbeat, JobRequest, JobState, SharedError, SharedJob, SharedScheduler};
use slotyard_servers::{Proxy, Server, wait_until};

use crate::{PATIENCE, instance_with, ready_node};

const LEASE: Duration = Duration::from_millis(1500);

fn request(id: &str) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

fn leases(server: &Server) -> String {
    server.command(&["ZCOUNT", "slotyard:l:node", "1", "(inf"])
}

/// An instance whose calls are given up soon, behind a proxy.
fn hasty(proxy: &Proxy, lease: Duration) -> SharedScheduler {
    let builder = SharedScheduler::builder(proxy.url()).connect_timeout(PATIENCE).default_lease(lease).max_lease(lease);
    let builder = builder.call_timeout(Duration::from_millis(100)).poll_interval(Duration::from_millis(5));
    let shared = builder.flush_interval(Duration::from_millis(20)).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    shared
}

/// Nobody is told whether it was created.
fn doubtful(shared: &SharedScheduler, proxy: &Proxy, id: &str) {
    proxy.swallow_replies(true);
    let outcome = block_on(shared.create_job(&request(id)));
    proxy.swallow_replies(false);
    let Err(SharedError::Coordinator(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.outcome_is_unknown(), "{error:?}");
}

#[test]
fn who_asks_for_it_again_has_it_as_if_it_had_never_been_in_doubt() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let shared = hasty(&proxy, Duration::from_secs(60));
    let node = ready_node(&shared, "node", 1);
    for turn in 0..10 {
        let id = format!("r{turn}");
        doubtful(&shared, &proxy, &id);
        let mut job = None;
        wait_until("it is created", || {
            shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
            job = block_on(shared.create_job(&request(&id))).ok();
            job.is_some()
        });
        let job = job.unwrap();
        assert_eq!((job.state(), job.attempt(), &*leases(&server)), (JobState::Reserved, 1, "1"));
        wait_until("it is completed", || block_on(shared.complete(job.id(), 1)).is_ok());
        wait_until("its slot is free", || leases(&server) == "0");
    }
}

#[test]
fn what_nobody_asks_for_again_has_never_been() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let shared = hasty(&proxy, Duration::from_secs(60));
    let node = ready_node(&shared, "node", 1);
    doubtful(&shared, &proxy, "one");
    wait_until("it is undone", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        server.command(&["EXISTS", "slotyard:r:one"]) == "0" && leases(&server) == "0" && shared.stats().outbox == 0
    });
    assert_eq!(shared.stats().undone, 1);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    assert_eq!(job.state(), JobState::Reserved);
}

#[test]
fn what_another_has_moved_on_is_left_to_it_and_keeps_its_lease() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let other = instance_with(&server, |builder| builder.default_lease(LEASE).max_lease(LEASE));
    let node = ready_node(&other, "node", 1);
    let beat = || other.heartbeat(&node, &Heartbeat::ready()).unwrap();
    let shared = hasty(&proxy, LEASE);
    wait_until("the node is known", || shared.scheduler().select(&Demand::new().service("embed")).is_ok());
    // Which instance has created it.
    let by = |job: &SharedJob| job.id().to_u128() >> 64;
    let first = block_on(other.create_job(&request("first"))).unwrap();
    block_on(other.complete(first.id(), 1)).unwrap();
    let mut turn = 0;
    let job = loop {
        // The server does what it is asked for the last time; nobody is told, and nothing more gets through.
        let id = format!("r{turn}");
        proxy.cut_after_request(1);
        proxy.refuse(true);
        let made = block_on(shared.create_job(&request(&id)));
        beat();
        let job = block_on(other.create_job(&request(&id))).unwrap();
        // What got through may have been something else.
        if by(&job) != by(&first) {
            assert!(made.is_err(), "{made:?}");
            break job;
        }
        block_on(other.complete(job.id(), 1)).unwrap();
        proxy.refuse(false);
        turn += 1;
    };
    block_on(other.dispatched(job.id(), 1)).unwrap();
    proxy.refuse(false);
    wait_until("who has created it holds it", || shared.stats().held_jobs == 1);
    let bound = || server.command(&["GET", &format!("slotyard:r:{}", job.request_id())]);
    let until = server.command(&["ZRANGE", "slotyard:l:node", "0", "0", "WITHSCORES"]);
    wait_until("its lease was renewed", || {
        beat();
        server.command(&["ZRANGE", "slotyard:l:node", "0", "0", "WITHSCORES"]) != until
    });
    assert!(bound().contains(" dispatched "), "{}", bound());
    block_on(other.complete(job.id(), 1)).unwrap();
}
