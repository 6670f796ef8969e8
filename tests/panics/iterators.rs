//! Iterators that panic while a batch takes from them.

use slotyard::{Heartbeat, Job, JobState, NodeState};

use super::common::*;
use super::*;

/// What a batch takes from its iterator before it sees to the first, as its documentation says.
const TOGETHER: usize = 16;

/// The items, and a panic after `good` of them.
fn panicking<T>(items: impl Iterator<Item = T>, good: usize) -> impl Iterator<Item = T> {
    items.enumerate().map(move |(n, item)| if n < good { item } else { panic_as_wanted() })
}

#[test]
fn of_completions_whose_iterator_panics_the_last_few_taken_are_not_made_and_can_be_made_again() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 100));
    for good in 0..50 {
        let jobs: Vec<Job> = (0..50).map(|n| create(&scheduler, format!("{good}-{n}"), work())).collect();
        panics(|| scheduler.complete_jobs(panicking(jobs.iter().map(|job| (job.id(), 1)), good)));
        let completed = good / TOGETHER * TOGETHER;
        for (n, job) in jobs.iter().enumerate() {
            let expected = if n < completed { JobState::Completed } else { JobState::Reserved };
            assert_eq!(job_state(&scheduler, job), expected, "{n} of {good}");
        }
        assert_eq!(in_flight(&scheduler, "a") as usize, 50 - completed);
        let refused = scheduler.complete_jobs(jobs.iter().map(|job| (job.id(), 1)));
        assert!(refused.iter().map(|(place, _)| *place).eq(0..completed));
        assert_eq!(in_flight(&scheduler, "a"), 0);
    }
    assert_whole(&scheduler, 100, "whole");
}

#[test]
fn of_heartbeats_whose_iterator_panics_the_last_few_taken_are_not_taken_in() {
    let scheduler = scheduler();
    let ids: Vec<String> = (0..40).map(|n| format!("n{n:02}")).collect();
    let handles = add_workers(&scheduler, &ids, 1);
    let not_ready = Heartbeat::not_ready();
    for good in 0..40 {
        let beats = handles.iter().map(|handle| (handle, &not_ready));
        panics(|| scheduler.heartbeat_batch(panicking(beats, good)));
        let taken = good / TOGETHER * TOGETHER;
        let ready = scheduler.nodes().iter().filter(|node| node.state == NodeState::Ready).count();
        assert_eq!(ready, 40 - taken, "{good} of 40");
        let ready = Heartbeat::ready();
        assert_eq!(scheduler.heartbeat_batch(handles.iter().map(|handle| (handle, &ready))), []);
    }
    assert_whole(&scheduler, 40, "whole");
}

#[test]
fn an_iterator_that_uses_the_scheduler_and_panics_harms_neither_call() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", 64));
    let calls = std::cell::Cell::new(0);
    let attempts = std::iter::from_fn(|| {
        calls.set(calls.get() + 1);
        let job = create(&scheduler, format!("r{}", calls.get()), work());
        let _held = scheduler.reserve(&work()).expect("a slot is free");
        if calls.get() == 20 { panic_as_wanted() } else { Some((job.id(), 1)) }
    });
    panics(|| scheduler.complete_jobs(attempts));
    let active = (1..=20).filter(|n| scheduler.job_by_request(&format!("r{n}")).unwrap().state == JobState::Reserved);
    let active: Vec<_> = active.map(|n| (scheduler.job_by_request(&format!("r{n}")).unwrap().id, 1)).collect();
    assert_eq!((active.len(), in_flight(&scheduler, "a")), (20 - TOGETHER, 4));
    assert_eq!(scheduler.complete_jobs(active), []);
    assert_whole(&scheduler, 64, "whole");
}
