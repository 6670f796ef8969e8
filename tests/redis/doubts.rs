//! Creates of which nobody knows what has come of them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use pollster::block_on;
use slotyard::{Demand, Heartbeat, JobRequest, JobState, SharedError, SharedJob, SharedScheduler};
use slotyard_servers::{Proxy, Server, wait_until};

use crate::{PATIENCE, instance, instance_with, ready_node};

const LEASE: Duration = Duration::from_millis(1500);

fn request(id: &str) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

fn leases(server: &Server) -> String {
    server.command(&["ZCOUNT", "slotyard:l:node", "1", "(inf"])
}

/// An instance whose calls are given up soon, behind a proxy. Connecting is, too: what is swallowed of that does not come.
fn hasty(proxy: &Proxy, lease: Duration, poll: Duration) -> SharedScheduler {
    let builder = SharedScheduler::builder(proxy.url()).default_lease(lease).max_lease(lease);
    let builder = builder.call_timeout(Duration::from_millis(1000)).poll_interval(poll);
    let shared = builder.flush_interval(Duration::from_secs(1)).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    shared
}

#[test]
fn who_asks_for_it_again_has_it_or_may_try_it_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    // What waits for the server is tried again much later than the test asks.
    let shared = hasty(&proxy, Duration::from_secs(60), Duration::from_secs(30));
    let node = ready_node(&shared, "node", 1);
    for turn in 0..5 {
        let id = format!("r{turn}");
        // The server does it, and nobody is told.
        proxy.cut_after_request(1);
        proxy.refuse(true);
        let doubtful = block_on(shared.create_job(&request(&id))).unwrap_err();
        assert!(matches!(&doubtful, SharedError::Coordinator(error) if error.outcome_is_unknown()), "{doubtful:?}");
        let there = server.command(&["GET", &format!("slotyard:r:{id}")]);
        proxy.refuse(false);
        let mut job = None;
        wait_until("it is there", || {
            shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
            job = block_on(shared.create_job(&request(&id))).ok();
            job.is_some()
        });
        let job = job.unwrap();
        assert!(there == "(nil)" || there.contains(&job.id().to_string()), "{there}");
        // It has the job, or the server could be asked before, and the job is there to be tried again.
        let attempt = match job.state() {
            JobState::Reserved => job.attempt(),
            JobState::Failed => block_on(shared.retry(job.id(), 1)).unwrap().attempt(),
            other => panic!("{other}"),
        };
        assert_eq!(leases(&server), "1");
        block_on(shared.complete(job.id(), attempt)).unwrap();
        wait_until("its slot is free", || leases(&server) == "0");
    }
}

#[test]
fn what_nobody_asks_for_again_is_called_off() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let shared = hasty(&proxy, Duration::from_secs(60), Duration::from_millis(5));
    let node = ready_node(&shared, "node", 1);
    // So that the server has the scripts: to be told that it has not would be lost, too.
    let first = block_on(shared.create_job(&request("first"))).unwrap();
    block_on(shared.complete(first.id(), 1)).unwrap();
    proxy.swallow_replies(true);
    let outcome = block_on(shared.create_job(&request("one")));
    proxy.swallow_replies(false);
    let Err(SharedError::Coordinator(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.outcome_is_unknown(), "{error:?}");
    wait_until("it is called off", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        server.command(&["GET", "slotyard:r:one"]).contains(" failed ") && leases(&server) == "0"
    });
    assert_eq!(shared.stats().undone, 1);
    // Whoever asks for it later may try it again.
    shared.blocking().wait_connected(PATIENCE).unwrap();
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    assert_eq!((job.state(), block_on(shared.retry(job.id(), 1)).unwrap().attempt()), (JobState::Failed, 2));
}

#[test]
fn what_another_has_moved_on_is_left_to_it_and_keeps_its_lease() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let other = instance_with(&server, |builder| builder.default_lease(LEASE).max_lease(LEASE));
    let node = ready_node(&other, "node", 1);
    let beat = || other.heartbeat(&node, &Heartbeat::ready()).unwrap();
    let shared = hasty(&proxy, LEASE, Duration::from_millis(5));
    wait_until("the node is known", || shared.scheduler().select(&Demand::new().service("embed")).is_ok());
    // Which instance has created it.
    let by = |job: &SharedJob| job.id().to_u128() >> 64;
    let first = block_on(other.create_job(&request("first"))).unwrap();
    block_on(other.complete(first.id(), 1)).unwrap();
    let created_and_not_told = |turn: u32| {
        beat();
        // Without a connection it would be the connecting that gets through.
        shared.blocking().wait_connected(PATIENCE).unwrap();
        let id = format!("r{turn}");
        // The server does what it is asked for the last time; nobody is told, and nothing more gets through.
        proxy.refuse(true);
        proxy.cut_after_request(1);
        let made = block_on(shared.create_job(&request(&id)));
        let job = block_on(other.create_job(&request(&id))).unwrap();
        if by(&job) != by(&first) {
            assert!(made.is_err(), "{made:?}");
            return Some(job);
        }
        // What got through was something else.
        block_on(other.complete(job.id(), 1)).unwrap();
        proxy.refuse(false);
        None
    };
    let job = (0..50).find_map(created_and_not_told).expect("of so many creates one gets through");
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

/// Whether a future has been told to look.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Has something done that the server has a part in, and drops the future when the outcome is there, without a look at it.
fn done_and_dropped(server: &Server, work: impl Future) {
    let (mut work, woken) = (pin!(work), Arc::new(Woken::default()));
    server.pause();
    assert!(work.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
    server.resume();
    wait_until("the outcome is there", || woken.0.load(Ordering::Acquire));
}

#[test]
fn what_was_created_and_nobody_has_looked_at_is_called_off() {
    let server = Server::start();
    let shared = instance(&server);
    let node = ready_node(&shared, "node", 1);
    done_and_dropped(&server, shared.create_job(&request("one")));
    wait_until("it is called off", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        leases(&server) == "0" && shared.stats().held_jobs == 0
    });
    assert_eq!(shared.stats().undone, 1);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    assert_eq!((job.state(), block_on(shared.retry(job.id(), 1)).unwrap().attempt()), (JobState::Failed, 2));
}

#[test]
fn a_further_attempt_that_nobody_has_looked_at_is_called_off_and_the_next_may_be_made() {
    let server = Server::start();
    let shared = instance(&server);
    let node = ready_node(&shared, "node", 1);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    block_on(shared.fail(job.id(), 1)).unwrap();
    done_and_dropped(&server, shared.retry(job.id(), 1));
    wait_until("it is called off", || {
        shared.heartbeat(&node, &Heartbeat::ready()).unwrap();
        leases(&server) == "0" && shared.stats().held_jobs == 0
    });
    let there = block_on(shared.job_by_request("one")).unwrap().unwrap();
    assert_eq!((there.attempt(), there.state(), shared.stats().undone), (2, JobState::Failed, 1));
    assert_eq!(block_on(shared.retry(job.id(), 2)).unwrap().attempt(), 3);
    // What somebody has is not.
    block_on(shared.complete(job.id(), 3)).unwrap();
}

#[test]
fn a_request_that_is_asked_for_again_and_again_takes_one_place_in_the_outbox() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let patient = instance(&server);
    let node = ready_node(&patient, "node", 4);
    let builder = SharedScheduler::builder(proxy.url()).call_timeout(Duration::from_millis(300)).max_outbox(5);
    let shared = builder.poll_interval(Duration::from_millis(5)).build().unwrap();
    shared.blocking().wait_connected(PATIENCE).unwrap();
    let created = |id| {
        let mut job = None;
        wait_until("it is created", || {
            patient.heartbeat(&node, &Heartbeat::ready()).unwrap();
            job = block_on(shared.create_job(&request(id))).ok();
            job.is_some()
        });
        job.unwrap()
    };
    let (first, last) = (created("first"), created("last"));
    proxy.swallow_replies(true);
    let mut doubtful = 0;
    for turn in 0..12 {
        let error = block_on(shared.create_job(&request("one"))).unwrap_err();
        let SharedError::Coordinator(error) = error else { panic!("{error:?}") };
        doubtful += usize::from(error.outcome_is_unknown());
        if turn == 0 {
            block_on(shared.complete(first.id(), 1)).unwrap();
        }
    }
    assert!(doubtful > 0);
    block_on(shared.complete(last.id(), 1)).unwrap();
    assert_eq!((shared.stats().outbox, shared.stats().outbox_lost), (3, 0));
    proxy.swallow_replies(false);
    proxy.cut();
    wait_until("the server is told of all", || {
        patient.heartbeat(&node, &Heartbeat::ready()).unwrap();
        shared.stats().outbox == 0 && leases(&server) == "0"
    });
    assert_eq!(shared.stats().outbox_lost, 0);
}
