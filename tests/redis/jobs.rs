//! Jobs of one instance.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use pollster::block_on;
use slotyard::{
    CreateJobError, Demand, JobError, JobRequest, JobState, NoNode, RetryError, Scheduler, SharedError, SharedScheduler,
};
use slotyard_servers::{Proxy, Server};

use crate::{PATIENCE, instance, ready_node};

fn request(id: &str) -> JobRequest {
    JobRequest::new(id, Demand::new().service("embed"))
}

#[test]
fn a_job_takes_a_slot_once_and_gives_it_back_once() {
    let server = Server::start();
    let shared = instance(&server);
    ready_node(&shared, "node", 1);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    assert_eq!((job.node_id().as_str(), job.attempt(), job.state()), ("node", 1, JobState::Reserved));
    let again = block_on(shared.create_job(&request("one"))).unwrap();
    assert_eq!((again.id(), again.fence()), (job.id(), job.fence()));
    let refused = block_on(shared.create_job(&request("two"))).unwrap_err();
    assert!(matches!(refused, SharedError::Refused(CreateJobError::NoNode(NoNode::Busy(_)))), "{refused:?}");
    block_on(shared.dispatched(job.id(), 1)).unwrap();
    block_on(shared.running(job.id(), 1)).unwrap();
    block_on(shared.complete(job.id(), 1)).unwrap();
    let ended = block_on(shared.complete(job.id(), 1)).unwrap_err();
    let expected = JobError::AlreadyEnded { job: job.id(), attempt: 1, state: JobState::Completed };
    assert_eq!(ended, SharedError::Refused(expected));
    let two = block_on(shared.create_job(&request("two"))).unwrap();
    assert!(two.slot() == job.slot() && two.fence() > job.fence());
}

#[test]
fn creates_that_come_at_once_share_requests_and_each_has_its_job() {
    let server = Server::start();
    let shared = instance(&server);
    ready_node(&shared, "node", 60);
    let requests: Vec<_> = (0..60).map(|number| request(&format!("r{number}"))).collect();
    let before = shared.stats().round_trips;
    let made = block_on(join_all(requests.iter().map(|request| shared.create_job(request))));
    let sent = shared.stats().round_trips - before;
    assert!(sent < 60, "{sent} requests");
    let ids: BTreeSet<_> = made.iter().map(|made| made.as_ref().unwrap().id()).collect();
    assert_eq!((ids.len(), shared.stats().held_jobs), (60, 60));
    // Those that have a job are told of it, and those that there is no room for are refused, each by itself.
    let more: Vec<_> = (30..90).map(|number| request(&format!("r{number}"))).collect();
    let made = block_on(join_all(more.iter().map(|request| shared.create_job(request))));
    let (old, new) = made.split_at(30);
    assert!(old.iter().all(|made| made.as_ref().is_ok_and(|job| ids.contains(&job.id()))), "{old:?}");
    let is_busy =
        |made: &Result<_, _>| matches!(made, Err(SharedError::Refused(CreateJobError::NoNode(NoNode::Busy(_)))));
    assert!(new.iter().all(is_busy), "{new:?}");
}

#[test]
fn another_demand_under_the_same_request_id_is_refused() {
    let server = Server::start();
    let shared = instance(&server);
    ready_node(&shared, "node", 2);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    let other = JobRequest::new("one", Demand::new());
    let refused = block_on(shared.create_job(&other)).unwrap_err();
    let SharedError::Refused(CreateJobError::RequestMismatch { request_id, job: found }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((request_id.as_str(), found), ("one", job.id()));
}

#[test]
fn a_job_is_tried_again_on_another_node_and_no_more_often_than_may_be() {
    let server = Server::start();
    let shared = instance(&server);
    for id in ["a", "b"] {
        ready_node(&shared, id, 1);
    }
    let first = block_on(shared.create_job(&request("one"))).unwrap();
    block_on(shared.fail(first.id(), 1)).unwrap();
    let second = block_on(shared.retry(first.id(), 1)).unwrap();
    assert_eq!((second.id(), second.attempt()), (first.id(), 2));
    assert_ne!(second.node_id(), first.node_id());
    let stale = block_on(shared.complete(first.id(), 1)).unwrap_err();
    let expected = JobError::StaleAttempt { job: first.id(), attempt: 1, current: 2 };
    assert_eq!(stale, SharedError::Refused(expected));
    // While it is under way, too: then the slot of the attempt before comes free.
    let third = block_on(shared.retry(first.id(), 2)).unwrap();
    let refused = block_on(shared.retry(first.id(), 3)).unwrap_err();
    assert!(matches!(refused, SharedError::Refused(slotyard::RetryError::TooManyAttempts { limit: 3, .. })));
    block_on(shared.complete(third.id(), 3)).unwrap();
    for id in ["two", "three"] {
        block_on(shared.create_job(&request(id))).unwrap();
    }
}

#[test]
fn a_job_nobody_knows_is_not_known() {
    let server = Server::start();
    let shared = instance(&server);
    let job = slotyard::JobId::from_u128(42);
    assert_eq!(block_on(shared.complete(job, 1)), Err(SharedError::Refused(JobError::UnknownJob { job })));
    assert_eq!(block_on(shared.job_by_request("none")), Ok(None));
}

#[test]
fn of_two_that_try_a_job_again_at_once_one_has_it_though_answers_are_lost() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let builder = SharedScheduler::builder(proxy.url()).call_timeout(PATIENCE).connect_timeout(PATIENCE);
    let shared = builder.scheduler(Scheduler::builder().max_attempts(1000)).build().unwrap();
    block_on(shared.wait_connected(PATIENCE)).unwrap();
    ready_node(&shared, "node", 4);
    let job = block_on(shared.create_job(&request("one"))).unwrap();
    for attempt in 1..=30 {
        block_on(shared.fail(job.id(), attempt)).unwrap();
        // Each asks the server three things.
        proxy.cut_after_request(3 + attempt % 4);
        let outcomes = std::thread::scope(|scope| {
            let retrying = [(); 2].map(|()| scope.spawn(|| block_on(shared.retry(job.id(), attempt))));
            retrying.map(|thread| thread.join().unwrap())
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{attempt}: {outcomes:?}");
        let stale = JobError::StaleAttempt { job: job.id(), attempt, current: attempt + 1 };
        assert!(outcomes.iter().flat_map(Result::as_ref).all(|next| next.attempt() == attempt + 1));
        let refused = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        let Some(SharedError::Refused(RetryError::Job(refused))) = refused else { panic!("{refused:?}") };
        assert_eq!(*refused, stale);
    }
}
