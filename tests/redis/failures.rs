//! What goes wrong with the server: each has its own error, nothing waits for longer than was said, and it goes on
//! without a restart.

use std::time::Duration;

use pollster::block_on;
use slotyard::{
    CoordinatorError, CreateJobError, Demand, Heartbeat, JobRequest, JobState, NoNode, NodeState, Scheduler,
    SharedConfigError, SharedError, SharedScheduler,
};
use slotyard_servers::{Proxy, Server, wait_until};

use crate::{PATIENCE, goes_on, instance, instance_with, ready_node};

const LEASE: Duration = Duration::from_millis(1500);

fn request(id: impl AsRef<str>) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

/// With short leases, and calls that are given up soon.
fn hasty(server: &Server) -> SharedScheduler {
    instance_with(server, |builder| {
        builder.default_lease(LEASE).max_lease(LEASE).call_timeout(Duration::from_millis(300))
    })
}

fn leases(server: &Server) -> String {
    server.command(&["ZCOUNT", "slotyard:l:node", "1", "(inf"])
}

#[test]
fn a_server_that_was_restarted_empty_is_told_again_and_gives_no_slot_out_that_may_be_held() {
    let server = Server::start();
    let (a, crashed) = (hasty(&server), hasty(&server));
    let node = ready_node(&a, "node", 3);
    wait_until("the other knows the node", || crashed.scheduler().select(&Demand::new()).is_ok());
    let job = block_on(a.create_job(&request("one"))).unwrap();
    block_on(a.dispatched(job.id(), 1)).unwrap();
    block_on(crashed.create_job(&request("two"))).unwrap();
    drop(crashed);
    server.kill();
    let refused = block_on(a.create_job(&request("three"))).unwrap_err();
    assert!(matches!(refused, SharedError::Coordinator(_)), "{refused:?}");
    server.restart();
    // Of the three slots one has a lease that is known, one a lease that nobody is left to tell of.
    let mut has_warmed_up = false;
    wait_until("slots are given out again", || {
        a.heartbeat(&node, &Heartbeat::ready()).unwrap();
        match block_on(a.create_job(&request("three"))) {
            Ok(three) => {
                assert_ne!(three.slot(), job.slot());
                assert!(three.fence() > job.fence());
                true
            }
            Err(SharedError::WarmingUp { retry_after }) => {
                assert!(retry_after <= LEASE);
                has_warmed_up = true;
                false
            }
            Err(SharedError::Coordinator(_)) => false,
            Err(SharedError::Refused(CreateJobError::NoNode(NoNode::Busy(_)))) => false,
            Err(other) => panic!("{other:?}"),
        }
    });
    assert!(has_warmed_up, "slots were given out at once");
    // The job is known again, with its state.
    let again = block_on(a.create_job(&request("one"))).unwrap();
    assert_eq!((again.id(), again.state()), (job.id(), JobState::Dispatched));
    block_on(a.complete(job.id(), 1)).unwrap();
}

#[test]
fn a_job_that_another_has_ended_does_not_come_back_with_its_holder() {
    let server = Server::start();
    // It does not hear of what others tell it.
    let deaf = |builder: slotyard::SharedBuilder| {
        builder.poll_interval(Duration::from_secs(1)).default_lease(LEASE).max_lease(LEASE)
    };
    let (holder, other) = (instance_with(&server, deaf), hasty(&server));
    let node = ready_node(&other, "node", 1);
    wait_until("the other knows the node", || holder.scheduler().select(&Demand::new()).is_ok());
    let job = holder.blocking().create_job(&request("one")).unwrap();
    other.blocking().complete(job.id(), 1).unwrap();
    assert_eq!(holder.stats().held_jobs, 1);
    server.kill();
    server.restart();
    wait_until("the holder knows that it has ended", || {
        other.heartbeat(&node, &Heartbeat::ready()).unwrap();
        holder.stats().held_jobs == 0
    });
    let found = || other.blocking().job_by_request("one").ok().flatten();
    wait_until("all know how", || found().is_some_and(|job| job.state() == JobState::Completed));
}

#[test]
fn what_was_flushed_is_told_again() {
    let server = Server::start();
    let shared = hasty(&server);
    let node = ready_node(&shared, "node", 1);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    server.flush();
    wait_until("the lease is there again", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        leases(&server) == "1"
    });
    let refused = block_on(shared.create_job(&request("two"))).unwrap_err();
    assert!(!matches!(refused, SharedError::Coordinator(_)), "{refused:?}");
    block_on(shared.complete(job.id(), 1)).unwrap();
    block_on(shared.create_job(&request("two"))).unwrap();
}

#[test]
fn what_a_replica_had_not_heard_of_a_node_it_is_told_again() {
    let server = Server::start();
    let (a, b) = (hasty(&server), hasty(&server));
    let node = ready_node(&a, "node", 4);
    wait_until("the other knows the node", || b.scheduler().select(&Demand::new()).is_ok());
    server.command(&["SAVE"]);
    block_on(a.set_capacity(&node, 1)).unwrap();
    block_on(a.drain(&node)).unwrap();
    // As one that takes the place of the master does.
    server.restart_keeping_data();
    let slots = || server.command(&["ZRANGE", "slotyard:l:node", "0", "-1"]);
    wait_until("it has as few slots as it is to have, and is closed", || {
        let slots = slots();
        slots.lines().count() == 3 && slots.starts_with("closed:draining")
    });
    assert_eq!(server.command(&["HMGET", "slotyard:n:node", "capacity", "state"]), "1\ndraining");
    block_on(b.wait_connected(PATIENCE)).unwrap();
    block_on(b.create_job(&request("one"))).unwrap_err();
    block_on(a.undrain(&node)).unwrap();
    let mut taken = 0;
    wait_until("its one slot is given out", || {
        taken += (0..3).filter(|n| block_on(b.create_job(&request(format!("{n}")))).is_ok()).count();
        taken > 0
    });
    assert_eq!((taken, &*leases(&server)), (1, "1"));
}

#[test]
fn slots_that_were_added_while_the_server_was_away_are_there_when_it_is_back() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let builder = SharedScheduler::builder(proxy.url()).call_timeout(Duration::from_millis(300)).max_lease(LEASE);
    let shared = builder.default_lease(LEASE).flush_interval(Duration::from_millis(20)).build().unwrap();
    block_on(shared.wait_connected(PATIENCE)).unwrap();
    let node = ready_node(&shared, "node", 2);
    proxy.refuse(true);
    proxy.cut();
    block_on(shared.set_capacity(&node, 6)).unwrap_err();
    // It was away for so long that what the node is has gone, and its slots have not.
    server.command(&["DEL", "slotyard:n:node"]);
    proxy.refuse(false);
    wait_until("all slots can be had", || {
        (0..6).all(|n| block_on(shared.create_job(&request(format!("{n}")))).is_ok())
    });
    assert_eq!(leases(&server), "6");
}

#[test]
fn jobs_end_while_the_server_is_away_and_it_is_told_in_order() {
    let server = Server::start();
    let (shared, other) = (hasty(&server), hasty(&server));
    ready_node(&shared, "node", 4);
    let jobs = ["a", "b", "c"].map(|id| block_on(shared.create_job(&request(id))).unwrap());
    server.pause();
    let timed_out = block_on(shared.create_job(&request("d"))).unwrap_err();
    assert!(
        matches!(
            timed_out,
            SharedError::Coordinator(CoordinatorError::TimedOut { .. } | CoordinatorError::Unreachable { .. })
        ),
        "{timed_out:?}"
    );
    for job in &jobs[..2] {
        block_on(shared.complete(job.id(), 1)).unwrap();
    }
    // Also by one that cannot know now where the job is.
    block_on(other.complete(jobs[2].id(), 1)).unwrap();
    assert!(other.stats().outbox == 1);
    server.resume();
    wait_until("all slots are free", || leases(&server) == "0");
    for job in &jobs {
        let found = block_on(shared.job_by_request(job.request_id())).unwrap().unwrap();
        assert_eq!(found.state(), JobState::Completed);
    }
}

#[test]
fn a_create_whose_answer_is_lost_makes_one_job() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let builder = SharedScheduler::builder(proxy.url()).call_timeout(PATIENCE).connect_timeout(PATIENCE);
    let shared = builder.build().unwrap();
    block_on(shared.wait_connected(PATIENCE)).unwrap();
    ready_node(&shared, "node", 2);
    for turn in 0..5 {
        proxy.cut_after_request(1);
        let job = block_on(shared.create_job(&request(format!("{turn}")))).unwrap();
        assert_eq!(leases(&server), "1");
        proxy.cut_after_request(1);
        block_on(shared.complete(job.id(), 1)).unwrap();
        assert_eq!(leases(&server), "0");
    }
}

#[test]
fn a_create_that_nobody_waits_for_any_more_is_called_off() {
    let server = Server::start();
    let shared = instance(&server);
    ready_node(&shared, "node", 1);
    server.pause();
    let create = async {
        let request = request("one");
        let create = std::pin::pin!(shared.create_job(&request));
        poll_once(create).await;
    };
    block_on(create);
    server.resume();
    wait_until("it was called off", || shared.stats().undone == 1 && leases(&server) == "0");
    assert!(server.command(&["GET", "slotyard:r:one"]).contains(" failed "));
}

/// Polls a future once, and gives it up.
async fn poll_once(mut future: std::pin::Pin<&mut impl Future>) {
    std::future::poll_fn(|context| {
        assert!(future.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[test]
fn what_is_wrong_with_the_server_is_said() {
    let server = Server::with(&[("requirepass", "secret")]);
    let url = |password: &str| format!("redis://{password}127.0.0.1:{}/", server.port());
    for password in ["", ":guess@"] {
        let wrong = SharedScheduler::builder(url(password)).build().unwrap();
        let error = block_on(wrong.wait_connected(Duration::from_millis(500))).unwrap_err();
        assert!(matches!(error, CoordinatorError::Unauthenticated { .. }), "{error:?}");
    }
    let right = SharedScheduler::builder(url(":secret@")).build().unwrap();
    block_on(right.wait_connected(PATIENCE)).unwrap();

    let master = Server::start();
    let replica = Server::replica_of(&master);
    let wrong = SharedScheduler::builder(replica.url()).build().unwrap();
    let error = block_on(wrong.wait_connected(Duration::from_millis(500))).unwrap_err();
    assert!(matches!(error, CoordinatorError::ReadOnly { .. }), "{error:?}");

    let malformed = SharedScheduler::builder("there").build().unwrap_err();
    assert!(matches!(malformed, SharedConfigError::Url(_)), "{malformed:?}");
}

fn is_completed(shared: &SharedScheduler, id: &str) -> bool {
    let job = block_on(shared.job_by_request(id)).ok().flatten();
    job.is_some_and(|job| job.state() == slotyard::JobState::Completed)
}

#[test]
fn jobs_end_while_the_server_takes_no_writes_and_it_is_told_when_it_does() {
    let server = Server::start();
    let (shared, other) = (instance(&server), instance(&server));
    ready_node(&shared, "node", 4);
    let jobs = ["a", "b", "c"].map(|id| block_on(shared.create_job(&request(id))).unwrap());
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let refused = block_on(shared.create_job(&request("d"))).unwrap_err();
    let SharedError::Coordinator(error @ CoordinatorError::Unavailable { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.is_transient() && error.to_string().contains("NOREPLICAS"), "{error}");
    jobs[..2].iter().for_each(|job| block_on(shared.complete(job.id(), 1)).unwrap());
    block_on(other.complete(jobs[2].id(), 1)).unwrap();
    let asked = || shared.stats().round_trips;
    let before = asked();
    wait_until("it has been asked in vain often", || asked() > before + 20);
    assert_eq!((shared.stats().outbox, other.stats().outbox), (2, 1));
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    wait_until("all have ended", || ["a", "b", "c"].iter().all(|id| is_completed(&shared, id)));
    assert_eq!((shared.stats().outbox_lost, other.stats().outbox_lost), (0, 0));
    assert_eq!(leases(&server), "0");
}

#[test]
fn jobs_end_while_the_password_is_another_and_none_of_that_is_lost() {
    let server = Server::start();
    let page = include_str!("../../src/docs/redis.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER ")).unwrap();
    assert_eq!(server.command(&line.split(' ').collect::<Vec<_>>()), "OK");
    let connected = || {
        let url = format!("redis://gateway:secret@127.0.0.1:{}/", server.port());
        let builder = SharedScheduler::builder(url).connect_timeout(PATIENCE).poll_interval(Duration::from_millis(5));
        let shared = builder.call_timeout(Duration::from_millis(300)).build().unwrap();
        block_on(shared.wait_connected(PATIENCE)).unwrap();
        shared
    };
    let (shared, other) = (connected(), connected());
    ready_node(&shared, "node", 4);
    let jobs = ["a", "b", "c"].map(|id| block_on(shared.create_job(&request(id))).unwrap());
    server.command(&["ACL", "SETUSER", "gateway", "resetpass", ">another"]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    for shared in [&shared, &other] {
        wait_until("it is not let in", || {
            let refused = block_on(shared.job_by_request("a"));
            matches!(refused, Err(CoordinatorError::Unauthenticated { .. }))
        });
    }
    let refused = block_on(shared.create_job(&request("d"))).unwrap_err();
    assert!(matches!(refused, SharedError::Coordinator(CoordinatorError::Unauthenticated { .. })), "{refused:?}");
    jobs[..2].iter().for_each(|job| block_on(shared.complete(job.id(), 1)).unwrap());
    block_on(other.complete(jobs[2].id(), 1)).unwrap();
    assert_eq!((shared.stats().outbox, other.stats().outbox), (2, 1));
    server.command(&["ACL", "SETUSER", "gateway", "resetpass", ">secret"]);
    wait_until("all have ended", || ["a", "b", "c"].iter().all(|id| is_completed(&shared, id)));
    assert_eq!((shared.stats().outbox_lost, other.stats().outbox_lost), (0, 0));
}

#[test]
fn jobs_end_while_sentinels_know_no_master() {
    let sentinel = slotyard_servers::Sentinel::start("speech");
    let builder = SharedScheduler::builder("redis://unused/").sentinels(sentinel.urls(), "speech");
    let builder = builder.call_timeout(Duration::from_millis(300)).poll_interval(Duration::from_millis(5));
    let shared = builder.build().unwrap();
    block_on(shared.wait_connected(PATIENCE)).unwrap();
    ready_node(&shared, "node", 4);
    let jobs = ["a", "b", "c"].map(|id| block_on(shared.create_job(&request(id))).unwrap());
    // There is none to take its place, either.
    sentinel.servers().iter().for_each(Server::pause);
    jobs[..2].iter().for_each(|job| block_on(shared.complete(job.id(), 1)).unwrap());
    wait_until("the sentinels know none", || {
        let refused = block_on(shared.job_by_request("a"));
        let is_it = |detail: &str| detail.contains("MasterNameNotFoundBySentinel");
        matches!(refused, Err(CoordinatorError::Unreachable { detail }) if is_it(&detail))
    });
    block_on(shared.complete(jobs[2].id(), 1)).unwrap();
    assert_eq!((shared.stats().outbox, shared.stats().outbox_lost), (3, 0));
    sentinel.servers().iter().for_each(Server::resume);
    wait_until("all have ended", || ["a", "b", "c"].iter().all(|id| is_completed(&shared, id)));
    assert_eq!(shared.stats().outbox_lost, 0);
}

#[test]
fn a_server_without_memory_takes_no_jobs_and_ends_those_there_are() {
    let server = Server::start();
    let shared = instance(&server);
    ready_node(&shared, "node", 2);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = block_on(shared.create_job(&request("two"))).unwrap_err();
    assert!(matches!(refused, SharedError::Coordinator(CoordinatorError::OutOfMemory { .. })), "{refused:?}");
    block_on(shared.complete(job.id(), 1)).unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    block_on(shared.create_job(&request("two"))).unwrap();
}

#[test]
fn scripts_are_loaded_again_when_the_server_has_forgotten_them() {
    let server = Server::start();
    let shared = instance(&server);
    ready_node(&shared, "node", 2);
    block_on(shared.create_job(&request("one"))).unwrap();
    server.command(&["SCRIPT", "FLUSH"]);
    block_on(shared.create_job(&request("two"))).unwrap();
}

#[test]
fn a_failover_is_followed_and_what_the_new_master_lacks_it_is_told() {
    let sentinel = slotyard_servers::Sentinel::start("speech");
    let builder = SharedScheduler::builder("redis://unused/").sentinels(sentinel.urls(), "speech");
    // Longer than the failover takes, or the job would have lost its slot by right.
    let lease = Duration::from_secs(8);
    let builder = builder.default_lease(lease).max_lease(lease).connect_timeout(PATIENCE);
    let builder = builder.flush_interval(Duration::from_millis(20));
    let shared = builder.build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    let node = ready_node(&shared, "node", 2);
    let job = shared.blocking().create_job(&request("one")).unwrap();
    sentinel.fail_over();
    wait_until("slots are given out again", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        match shared.blocking().create_job(&request("two")) {
            Ok(two) => {
                assert!(two.slot() != job.slot() && two.fence() > job.fence());
                true
            }
            Err(SharedError::Coordinator(_) | SharedError::WarmingUp { .. }) => false,
            Err(SharedError::Refused(CreateJobError::NoNode(_))) => false,
            Err(other) => panic!("{other:?}"),
        }
    });
    shared.blocking().complete(job.id(), 1).unwrap();
    assert_eq!(shared.stats().lost_leases, 0);
}

#[test]
fn a_user_is_allowed_what_the_page_says_and_needs_no_more() {
    let server = Server::start();
    let page = include_str!("../../src/docs/redis.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER ")).unwrap();
    assert_eq!(server.command(&line.split(' ').collect::<Vec<_>>()), "OK");
    let url = |user: &str| format!("redis://{user}@127.0.0.1:{}/", server.port());
    let shared = SharedScheduler::builder(url("gateway:secret")).call_timeout(PATIENCE).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    let node = ready_node(&shared, "node", 2);
    shared.blocking().set_capacity(&node, 3).unwrap();
    let job = shared.blocking().create_job(&request("one")).unwrap();
    shared.blocking().dispatched(job.id(), 1).unwrap();
    shared.blocking().fail(job.id(), 1).unwrap();
    let job = shared.blocking().retry(job.id(), 1).unwrap();
    shared.blocking().complete(job.id(), 2).unwrap();
    shared.blocking().deregister(&node).unwrap();

    server.command(&["ACL", "SETUSER", "guest", "on", ">secret", "~*", "+info"]);
    let guest = SharedScheduler::builder(url("guest:secret")).build().unwrap();
    let error = guest.blocking().wait_connected(Duration::from_millis(500)).unwrap_err();
    assert!(matches!(error, CoordinatorError::NotPermitted { .. }), "{error:?}");
}

/// Two instances, which find nodes dead soon, and give calls up soon.
fn of_short_patience(server: &Server) -> [SharedScheduler; 2] {
    let short = |builder: slotyard::SharedBuilder| {
        let scheduler = Scheduler::builder().heartbeat_timeout(Duration::from_millis(1000));
        let builder = builder.call_timeout(Duration::from_millis(300)).scheduler(scheduler);
        builder.reconcile_interval(Duration::from_millis(20))
    };
    [(); 2].map(|()| instance_with(server, short))
}

#[test]
fn jobs_whose_nodes_could_not_be_heard_of_while_the_server_was_away_go_on() {
    for is_kept_by_server in [true, false] {
        let server = Server::start();
        let [holder, owner] = of_short_patience(&server);
        let node = ready_node(&owner, "node", 1);
        let beat = || owner.heartbeat(&node, &Heartbeat::ready()).unwrap();
        let state = || {
            beat();
            holder.scheduler().node("node").map(|view| view.state)
        };
        wait_until("the other knows the node", || state() == Some(NodeState::Ready));
        let job = block_on(holder.create_job(&request("one"))).unwrap();
        server.pause();
        wait_until("nothing is heard of it", || state() == Some(NodeState::Offline));
        server.resume();
        if !is_kept_by_server {
            // As it would be if the server had been away for longer.
            server.command(&["DEL", "slotyard:n:node"]);
        }
        wait_until("it is heard of again", || state() == Some(NodeState::Ready));
        wait_until("the job goes on", || {
            beat();
            goes_on(&holder, &job)
        });
        assert_eq!(holder.stats().lost_leases, 0);
    }
}

#[test]
fn jobs_of_a_node_that_died_while_the_server_was_away_are_orphaned() {
    let server = Server::start();
    let [holder, owner] = of_short_patience(&server);
    let node = ready_node(&owner, "node", 1);
    let state = || holder.scheduler().node("node").map(|view| view.state);
    wait_until("the other knows the node", || {
        owner.heartbeat(&node, &Heartbeat::ready()).unwrap();
        state() == Some(NodeState::Ready)
    });
    block_on(holder.create_job(&request("one"))).unwrap();
    server.pause();
    drop(owner);
    wait_until("nothing is heard of it", || state() == Some(NodeState::Offline));
    server.resume();
    let found = || block_on(holder.job_by_request("one")).ok().flatten();
    wait_until("the job is orphaned", || found().is_some_and(|job| job.state() == JobState::Orphaned));
    wait_until("its holder knows", || holder.stats().lost_leases == 1);
}
