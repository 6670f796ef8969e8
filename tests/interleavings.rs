//! What may happen between the choice of a node and the reservation of its slot, made to happen just there: by a policy
//! that does it after it has chosen.

mod common;

use std::fmt;
use std::sync::{Arc, Mutex};

use common::*;
use slotyard::{
    Candidate, Choose, CreateJobError, Drawing, Heartbeat, Job, JobError, JobRequest, JobState, NodeSpec, Policy,
    RetryError, Scheduler, SchedulerBuilder,
};

/// Something to be done once.
type Act = Box<dyn FnOnce(&Scheduler) + Send>;

/// What is to be done after the next choice, and to which scheduler.
#[derive(Clone, Default)]
struct Meanwhile(Arc<Mutex<Option<(Scheduler, Act)>>>);

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl Choose for Meanwhile {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let chosen = drawing.draw();
        let act = self.0.lock().expect("no act panics").take();
        if let Some((scheduler, act)) = act {
            act(&scheduler);
        }
        chosen
    }
}

impl Meanwhile {
    fn scheduler(&self, builder: SchedulerBuilder) -> Scheduler {
        build(builder.policy(Policy::custom(self.clone())))
    }

    fn do_next(&self, scheduler: &Scheduler, act: impl FnOnce(&Scheduler) + Send + 'static) {
        *self.0.lock().expect("no act panics") = Some((scheduler.clone(), Box::new(act)));
    }

    fn was_done(&self) -> bool {
        self.0.lock().expect("no act panics").is_none()
    }
}

/// A node `a` of one slot, and what is to happen to it.
fn with_node() -> (Scheduler, Meanwhile) {
    let meanwhile = Meanwhile::default();
    let scheduler = meanwhile.scheduler(builder());
    add(&scheduler, worker("a", 1));
    (scheduler, meanwhile)
}

fn assert_all_is_given_back(scheduler: &Scheduler) {
    let counted = scheduler.stats().counters;
    assert_eq!((counted.reserved, counted.double_released), (counted.released, 0));
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
}

#[test]
fn no_slot_is_taken_on_a_node_that_went_out_of_use_since_it_was_chosen() {
    type Change = fn(&Scheduler);
    let changes: [(&str, Change, &str); 8] = [
        ("drained", |s| s.drain(&handle(s, "a")).unwrap(), "gone"),
        ("weight 0", |s| s.set_weight(&handle(s, "a"), 0).unwrap(), "gone"),
        ("offline", |s| s.tick(secs(15)), "gone"),
        ("not ready", |s| s.heartbeat_by_id("a", &Heartbeat::not_ready()).unwrap(), "gone"),
        ("replaced", |s| drop(add(s, NodeSpec::new("a").service("work").replace_existing())), "gone"),
        ("deregistered", |s| s.deregister(&handle(s, "a")).unwrap(), "unsupported"),
        ("full of ours", |s| std::mem::forget(s.reserve(&work()).unwrap()), "busy"),
        ("full of others'", |s| s.heartbeat_by_id("a", &Heartbeat::alive().running(1)).unwrap(), "busy"),
    ];
    for (name, change, kind) in changes {
        let (scheduler, meanwhile) = with_node();
        meanwhile.do_next(&scheduler, change);
        let no_node = refused(try_create(&scheduler, "r", work()));
        assert_eq!((no_node.kind(), meanwhile.was_done()), (kind, true), "{name}");
        assert!(scheduler.job_by_request("r").is_none());
        let (scheduler, meanwhile) = with_node();
        meanwhile.do_next(&scheduler, change);
        assert_eq!(scheduler.reserve(&work()).map(drop).unwrap_err().kind(), kind, "{name}");
    }
}

#[test]
fn the_slot_of_a_new_incarnation_is_taken_as_its_own() {
    let (scheduler, meanwhile) = with_node();
    let old = node(&scheduler, "a").incarnation;
    meanwhile.do_next(&scheduler, |s| drop(add(s, worker("a", 1).replace_existing())));
    let job = create(&scheduler, "r", work());
    assert!(job.incarnation() > old && in_flight(&scheduler, "a") == 1);
    complete(&scheduler, &job);
    assert_all_is_given_back(&scheduler);
}

#[test]
fn when_the_chosen_node_is_gone_another_is_chosen() {
    let (scheduler, meanwhile) = with_node();
    add(&scheduler, worker("b", 1));
    meanwhile.do_next(&scheduler, |s| {
        // Whichever was chosen, one of these two is not it.
        s.drain(&handle(s, "a")).unwrap();
    });
    assert_eq!(create(&scheduler, "r", work()).node_id(), "b");
}

#[test]
fn a_selection_stays_readable_when_its_node_has_gone() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 1));
    let selection = scheduler.select(&work()).unwrap();
    scheduler.deregister(&handle).unwrap();
    add(&scheduler, worker("b", 1));
    assert_eq!((selection.node_id(), selection.incarnation()), ("a", handle.incarnation()));
    assert_eq!(selection.pool(), None, "its pool went with it, and another has come since");
}

#[test]
fn a_request_that_was_created_by_another_meanwhile_is_one_job_with_one_slot() {
    let meanwhile = Meanwhile::default();
    let scheduler = meanwhile.scheduler(builder());
    add(&scheduler, worker("a", 5));
    meanwhile.do_next(&scheduler, |s| drop(create(s, "r", work())));
    let job = create(&scheduler, "r", work());
    assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().now.jobs), (1, 1));
    complete(&scheduler, &job);
    assert_all_is_given_back(&scheduler);
}

#[test]
fn of_two_requests_of_one_id_that_ask_for_different_things_one_is_told_so() {
    let meanwhile = Meanwhile::default();
    let scheduler = meanwhile.scheduler(builder());
    add(&scheduler, worker("a", 5));
    meanwhile.do_next(&scheduler, |s| drop(try_create(s, "r", work().routing_key("other")).unwrap()));
    let second = try_create(&scheduler, "r", work());
    assert!(matches!(second, Err(CreateJobError::RequestMismatch { .. })), "{second:?}");
    assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().now.jobs), (1, 1));
}

#[test]
fn a_request_whose_job_was_created_ended_and_forgotten_meanwhile_holds_nothing() {
    let meanwhile = Meanwhile::default();
    let scheduler = meanwhile.scheduler(builder().max_finished_jobs(0));
    add(&scheduler, worker("a", 5));
    meanwhile.do_next(&scheduler, |s| {
        let job = create(s, "r", work());
        complete(s, &job);
    });
    let job = create(&scheduler, "r", work());
    // Either that job, which has ended, or one of its own: no third.
    if job.state() == JobState::Reserved {
        complete(&scheduler, &job);
    }
    assert_eq!((job.state(), scheduler.stats().now.jobs), (JobState::Completed, 0));
    assert_all_is_given_back(&scheduler);
}

#[test]
fn a_create_that_another_has_overtaken_for_the_last_slot_gets_that_job() {
    let (scheduler, meanwhile) = with_node();
    meanwhile.do_next(&scheduler, |s| drop(create(s, "r", work())));
    let job = create(&scheduler, "r", work());
    assert_eq!((in_flight(&scheduler, "a"), scheduler.stats().now.jobs), (1, 1));
    complete(&scheduler, &job);
    assert_all_is_given_back(&scheduler);
}

/// A job on `a`, about to be tried again on `b`.
fn with_job(capacity: u32) -> (Scheduler, Meanwhile, Job) {
    let meanwhile = Meanwhile::default();
    let scheduler = meanwhile.scheduler(builder().default_lease(secs(5)));
    add(&scheduler, worker("a", capacity));
    let job = create(&scheduler, "r", work());
    add(&scheduler, worker("b", capacity));
    (scheduler, meanwhile, job)
}

#[test]
fn a_job_that_ended_for_good_while_it_was_tried_again_stays_so() {
    for (end, state) in [
        ((|s, job| s.complete(job.id(), 1).unwrap()) as fn(&Scheduler, &Job), JobState::Completed),
        (|s, job| s.cancel(job.id(), 1).unwrap(), JobState::Cancelled),
    ] {
        let (scheduler, meanwhile, job) = with_job(2);
        let ending = job.clone();
        meanwhile.do_next(&scheduler, move |s| end(s, &ending));
        let error = scheduler.retry(job.id(), 1).unwrap_err();
        let expected = JobError::AlreadyEnded { job: job.id(), attempt: 1, state };
        assert!(matches!(error, RetryError::Job(found) if found == expected));
        assert_eq!(job_state(&scheduler, &job), state);
        assert_all_is_given_back(&scheduler);
    }
}

#[test]
fn a_job_that_ended_so_that_it_may_be_tried_again_while_it_was_is_tried_again() {
    let ends: [fn(&Scheduler, &Job); 3] =
        [|s, job| s.fail(job.id(), 1).unwrap(), |s, _| s.tick(secs(5)), |s, _| s.deregister(&handle(s, "a")).unwrap()];
    for end in ends {
        let (scheduler, meanwhile, job) = with_job(2);
        let ending = job.clone();
        meanwhile.do_next(&scheduler, move |s| end(s, &ending));
        let next = scheduler.retry(job.id(), 1).unwrap();
        assert_eq!(
            (next.attempt(), next.node_id().as_str(), job_state(&scheduler, &job)),
            (2, "b", JobState::Reserved)
        );
        assert_eq!(scheduler.nodes().iter().map(|view| view.in_flight).sum::<u32>(), 1);
        scheduler.complete(job.id(), 2).unwrap();
        assert_all_is_given_back(&scheduler);
    }
}

#[test]
fn an_attempt_that_was_tried_again_by_another_meanwhile_is_stale() {
    let (scheduler, meanwhile, job) = with_job(2);
    let retried = job.id();
    meanwhile.do_next(&scheduler, move |s| drop(s.retry(retried, 1).unwrap()));
    let error = scheduler.retry(job.id(), 1).unwrap_err();
    assert!(matches!(error, RetryError::Job(JobError::StaleAttempt { attempt: 1, current: 2, .. })), "{error}");
    assert_eq!(scheduler.nodes().iter().map(|view| view.in_flight).sum::<u32>(), 1);
    scheduler.complete(job.id(), 2).unwrap();
    assert_all_is_given_back(&scheduler);
}

#[test]
fn a_job_whose_next_node_has_gone_meanwhile_stays_as_it_was() {
    let (scheduler, meanwhile, job) = with_job(1);
    meanwhile.do_next(&scheduler, |s| s.deregister(&handle(s, "b")).unwrap());
    let error = scheduler.retry(job.id(), 1).unwrap_err();
    assert!(matches!(error, RetryError::NoNode(no_node) if no_node.kind() == "busy"));
    assert_eq!((job_state(&scheduler, &job), in_flight(&scheduler, "a")), (JobState::Reserved, 1));
    complete(&scheduler, &job);
    assert_all_is_given_back(&scheduler);
}

#[test]
fn the_time_that_a_policy_takes_is_not_taken_off_the_lease() {
    let (scheduler, meanwhile) = with_node();
    for (number, session) in [(0, None), (1, Some("s"))] {
        meanwhile.do_next(&scheduler, move |s| s.tick(secs(number * 100 + 10)));
        let mut request = JobRequest::new(format!("r{number}"), work()).lease(secs(12));
        if let Some(session) = session {
            request = request.session(session);
        }
        let job = scheduler.create_job(&request).unwrap();
        assert!(meanwhile.was_done());
        scheduler.heartbeat_by_id("a", &Heartbeat::ready()).unwrap();
        scheduler.dispatched(job.id(), 1).unwrap();
        scheduler.tick(secs(number * 100 + 21));
        assert_eq!(job.state(), JobState::Dispatched);
        scheduler.tick(secs(number * 100 + 22));
        assert_eq!(job.state(), JobState::Expired);
        scheduler.tick(secs(100));
        scheduler.heartbeat_by_id("a", &Heartbeat::ready()).unwrap();
    }
    let latency = scheduler.stats().dispatch_latency;
    assert!(
        latency.count == 2 && latency.max < ms(1),
        "nor does it count as time until the job was dispatched: {latency:?}"
    );
}
