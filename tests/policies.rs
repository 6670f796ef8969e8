//! Policies: how jobs spread over the free nodes of a pool.

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::*;
use slotyard::{Candidate, Choose, Drawing, ExclusionMode, Policy, Scheduler};

fn with_policy(policy: Policy) -> Scheduler {
    build(builder().policy(policy))
}

fn select_times(scheduler: &Scheduler, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    (0..times).for_each(|_| *counts.entry(selected(scheduler, &work())).or_default() += 1);
    counts
}

/// Asserts that `count` of `times` is what a share would give, to five standard deviations.
fn assert_share(count: usize, times: usize, share: f64) {
    let (count, times) = (count as f64, times as f64);
    let slack = 5.0 * (times * share * (1.0 - share)).sqrt();
    assert!((count - times * share).abs() <= slack, "{count} of {times} for a share of {share}");
}

/// The fullest and the emptiest of 100 nodes of 100 slots after half the slots were taken.
fn spread_of(policy: Policy) -> (u32, u32) {
    let scheduler = with_policy(policy);
    add_workers(&scheduler, (0..100).map(|n| format!("n{n:02}")), 100);
    (0..5000).for_each(|n| drop(create(&scheduler, n.to_string(), work())));
    let loads: Vec<u32> = scheduler.nodes().iter().map(|view| view.in_flight).collect();
    (*loads.iter().max().unwrap(), *loads.iter().min().unwrap())
}

#[test]
fn two_choices_keep_every_node_near_the_mean_and_one_does_not() {
    let (max, min) = spread_of(Policy::power_of_two());
    assert!(max <= 54 && min >= 42, "two choices: {min} to {max} around 50");
    let (max, min) = spread_of(Policy::random());
    assert!(max > 60 && min < 40, "random: {min} to {max} around 50");
}

#[test]
fn more_choices_keep_closer_to_the_mean() {
    let (max, min) = spread_of(Policy::least_loaded(8));
    assert!(max <= 52 && min >= 47, "eight choices: {min} to {max} around 50");
}

#[test]
fn the_default_is_two_choices() {
    assert_eq!(format!("{:?}", scheduler().config().policy), format!("{:?}", Policy::power_of_two()));
}

#[test]
fn load_is_jobs_in_relation_to_capacity() {
    let scheduler = scheduler();
    add(&scheduler, worker("small", 200));
    add(&scheduler, worker("large", 300));
    (0..250).for_each(|n| drop(create(&scheduler, n.to_string(), work())));
    let (small, large) = (in_flight(&scheduler, "small"), in_flight(&scheduler, "large"));
    assert!((95..=105).contains(&small), "{small} and {large}");
}

#[test]
fn load_is_jobs_in_relation_to_weight() {
    let scheduler = scheduler();
    add(&scheduler, worker("light", 300).weight(50));
    add(&scheduler, worker("heavy", 300).weight(100));
    (0..300).for_each(|n| drop(create(&scheduler, n.to_string(), work())));
    let (light, heavy) = (in_flight(&scheduler, "light"), in_flight(&scheduler, "heavy"));
    assert!((95..=105).contains(&light), "{light} and {heavy}");
}

#[test]
fn load_counts_jobs_of_others() {
    let scheduler = scheduler();
    let a = add(&scheduler, worker("a", 100));
    add(&scheduler, worker("b", 100));
    scheduler.heartbeat(&a, &slotyard::Heartbeat::alive().running(40)).unwrap();
    (0..40).for_each(|n| drop(create(&scheduler, n.to_string(), work())));
    let (a, b) = (in_flight(&scheduler, "a"), in_flight(&scheduler, "b"));
    // A select that draws the same node twice takes it, so a quarter of the first 40 still go to the loaded one.
    assert!(b > a + 10, "{a} and {b}");
}

#[test]
fn ties_break_at_random() {
    let scheduler = scheduler();
    add_workers(&scheduler, ["a", "b"], 4);
    assert_share(select_times(&scheduler, 10_000)["a"], 10_000, 0.5);
}

#[test]
fn random_takes_nodes_in_proportion_to_their_weight() {
    let scheduler = with_policy(Policy::random());
    for (id, weight) in [("a", 100), ("b", 50), ("c", 25)] {
        add(&scheduler, worker(id, 4).weight(weight));
    }
    let counts = select_times(&scheduler, 20_000);
    for (id, share) in [("a", 100.0 / 175.0), ("b", 50.0 / 175.0), ("c", 25.0 / 175.0)] {
        assert_share(counts[id], 20_000, share);
    }
}

#[test]
fn random_follows_a_weight_that_changes() {
    let scheduler = with_policy(Policy::random());
    let a = add(&scheduler, worker("a", 4).weight(100));
    add(&scheduler, worker("b", 4).weight(30));
    scheduler.set_weight(&a, 10).unwrap();
    assert_share(select_times(&scheduler, 10_000)["a"], 10_000, 0.25);
}

#[test]
fn random_takes_all_of_many_free_nodes_alike() {
    let scheduler = with_policy(Policy::random());
    add_workers(&scheduler, (0..97).map(|n| format!("n{n}")), 1);
    let counts = select_times(&scheduler, 50_000);
    assert_eq!(counts.len(), 97);
    counts.values().for_each(|count| assert_share(*count, 50_000, 1.0 / 97.0));
}

#[test]
fn round_robin_takes_one_node_after_the_other() {
    let scheduler = with_policy(Policy::round_robin());
    add_workers(&scheduler, ["a", "b", "c"], 4);
    let order: String = (0..9).map(|_| selected(&scheduler, &work())).collect();
    assert_eq!(order, "abcabcabc");
}

#[test]
fn round_robin_leaves_out_full_nodes_and_takes_them_in_again() {
    let scheduler = with_policy(Policy::round_robin());
    for (id, capacity) in [("a", 9), ("b", 1), ("c", 9)] {
        add(&scheduler, worker(id, capacity));
    }
    let jobs: Vec<_> = (0..6).map(|n| create(&scheduler, n.to_string(), work())).collect();
    let order: String = jobs.iter().map(|job| job.node_id().as_str()).collect();
    assert_eq!(order, "abcaca");
    complete(&scheduler, &jobs[1]);
    let order: String = (0..3).map(|n| create(&scheduler, format!("more-{n}"), work()).node_id().to_string()).collect();
    assert_eq!(order, "bca");
}

#[test]
fn round_robin_takes_each_node_as_often_as_its_weight_says_spread_evenly() {
    let scheduler = with_policy(Policy::round_robin());
    for (id, weight) in [("a", 100), ("b", 50), ("c", 25)] {
        add(&scheduler, worker(id, 4).weight(weight));
    }
    // Four turns: the one of half the weight in every second, the one of a quarter in every fourth.
    let cycle: Vec<String> = (0..7).map(|_| selected(&scheduler, &work())).collect();
    assert_eq!(cycle.iter().filter(|id| *id == "a").count(), 4, "{cycle:?}");
    assert_eq!(cycle.iter().filter(|id| *id == "b").count(), 2, "{cycle:?}");
    let again: Vec<String> = (0..7).map(|_| selected(&scheduler, &work())).collect();
    assert_eq!(cycle, again);
}

#[test]
fn round_robin_goes_by_the_weights_that_there_are_by_now() {
    let scheduler = with_policy(Policy::round_robin());
    let [a, b] = ["a", "b"].map(|id| add(&scheduler, worker(id, 4).weight(100)));
    let times_of_a = || (0..12).filter(|_| selected(&scheduler, &work()) == "a").count();
    assert_eq!(times_of_a(), 6);
    scheduler.set_weight(&a, 200).unwrap();
    assert_eq!(times_of_a(), 8);
    scheduler.set_weight(&b, 200).unwrap();
    assert_eq!(times_of_a(), 6);
    scheduler.set_weight(&a, 50).unwrap();
    scheduler.set_weight(&b, 50).unwrap();
    assert_eq!(times_of_a(), 6);
}

#[test]
fn round_robin_counts_its_turns_also_where_the_last_node_is_not_to_be_had() {
    let scheduler = with_policy(Policy::round_robin());
    let [_, _, last] =
        [("a", 100), ("b", 50), ("c", 100)].map(|(id, weight)| add(&scheduler, worker(id, 4).weight(weight)));
    scheduler.drain(&last).unwrap();
    let turns: Vec<String> = (0..12).map(|_| selected(&scheduler, &work())).collect();
    let times = |id| turns.iter().filter(|found| *found == id).count();
    assert_eq!((times("a"), times("b")), (8, 4), "{turns:?}");
}

#[test]
fn round_robin_goes_on_to_other_pools_when_the_one_drawn_has_none_that_is_wanted() {
    let scheduler = with_policy(Policy::round_robin());
    add(&scheduler, worker("a", 8).service("one"));
    add(&scheduler, worker("b", 8).service("two"));
    let demand = work().exclude(["a"], ExclusionMode::Hard);
    for turn in 0..50 {
        assert_eq!(kind(&scheduler, &demand), "selected", "turn {turn}");
    }
}

#[test]
fn the_least_loaded_of_very_many_draws_is_the_least_loaded() {
    let scheduler = with_policy(Policy::least_loaded(64));
    add_workers(&scheduler, ["a", "b", "c", "d"], 20);
    for n in 0..80 {
        create(&scheduler, n.to_string(), work());
        let loads: Vec<u32> = scheduler.nodes().iter().map(|view| view.in_flight).collect();
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1, "{loads:?}");
    }
}

#[test]
fn the_least_loaded_of_one_is_random() {
    let scheduler = with_policy(Policy::least_loaded(1));
    add_workers(&scheduler, ["a", "b"], 1000);
    let first = scheduler.reserve(&work()).unwrap();
    assert_share(select_times(&scheduler, 10_000)["a"], 10_000, 0.5);
    drop(first);
}

/// The larger of two nodes.
#[derive(Debug)]
struct Largest;

impl Choose for Largest {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let (mut best, mut draws) = (drawing.draw()?, 0);
        while draws < 20 {
            let next = drawing.draw()?;
            best = if next.capacity() > best.capacity() { next } else { best };
            draws += 1;
        }
        Some(best)
    }
}

#[test]
fn a_policy_of_ones_own_decides() {
    let scheduler = with_policy(Policy::custom(Largest));
    for (id, capacity) in [("a", 1), ("b", 3), ("c", 2)] {
        add(&scheduler, worker(id, capacity));
    }
    let jobs = fill(&scheduler, "r", &work());
    let order: String = jobs.iter().map(|job| job.node_id().as_str()).collect();
    assert_eq!(order, "bbbcca");
}

/// Shows what a policy can see of a candidate.
#[derive(Debug)]
struct Seen;

impl Choose for Seen {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let seen = drawing.draw()?;
        assert_eq!((seen.in_flight(), seen.external(), seen.capacity()), (1, 2, 10));
        assert_eq!((seen.weight(), seen.max_weight()), (50, 50));
        assert_eq!(seen.load(), 3.0 / 500.0);
        let shown = format!("{seen:?}");
        assert!(shown.ends_with("in_flight: 1, external: 2, capacity: 10, weight: 50 }"), "{shown}");
        assert!(drawing.below(5) < 5 && drawing.below(0) == 0);
        Some(seen)
    }
}

#[test]
fn a_policy_sees_jobs_capacity_and_weight() {
    let policy = Arc::new(AtomicBool::new(false));
    let scheduler = with_policy(Policy::custom(Late(policy.clone())));
    let a = add(&scheduler, worker("a", 10).weight(50));
    create(&scheduler, "r", work());
    scheduler.heartbeat(&a, &slotyard::Heartbeat::alive().running(3)).unwrap();
    policy.store(true, Ordering::Relaxed);
    assert_eq!(selected(&scheduler, &work()), "a");
}

/// [`Seen`], from when it is switched on.
#[derive(Debug)]
struct Late(Arc<AtomicBool>);

impl Choose for Late {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        if self.0.load(Ordering::Relaxed) { Seen.choose(drawing) } else { None }
    }
}

/// Never has a preference.
#[derive(Debug)]
struct Indifferent;

impl Choose for Indifferent {
    fn choose<'d>(&self, _: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        None
    }
}

#[test]
fn a_policy_without_a_preference_refuses_nothing_while_a_slot_is_free() {
    let scheduler = with_policy(Policy::custom(Indifferent));
    (0..10).for_each(|n| drop(add(&scheduler, worker(format!("n{n}"), 3).service(format!("s{}", n % 4)))));
    assert_eq!(fill(&scheduler, "r", &work()).len(), 30);
    let demand = work().exclude((0..9).map(|n| format!("n{n}")), ExclusionMode::Hard);
    assert_eq!(kind(&scheduler, &demand), "busy");
}

/// Panics while it is told to, after it has drawn.
#[derive(Debug)]
struct Panics(Arc<AtomicBool>);

impl Choose for Panics {
    fn choose<'d>(&self, drawing: &mut Drawing<'d>) -> Option<Candidate<'d>> {
        let drawn = drawing.draw();
        assert!(!self.0.load(Ordering::Relaxed), "the policy panics, as the test wants");
        drawn
    }
}

fn with_panicking_policy() -> (Scheduler, Arc<AtomicBool>) {
    let panics = Arc::new(AtomicBool::new(true));
    let scheduler = with_policy(Policy::custom(Panics(panics.clone())));
    add(&scheduler, worker("a", 2));
    (scheduler, panics)
}

#[test]
fn after_a_policy_has_panicked_nothing_is_held_and_the_scheduler_is_as_good_as_before() {
    let (scheduler, panics) = with_panicking_policy();
    assert!(catch_unwind(AssertUnwindSafe(|| scheduler.select(&work()).is_ok())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| scheduler.reserve(&work()).is_ok())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| create(&scheduler, "r", work()))).is_err());
    panics.store(false, Ordering::Relaxed);
    assert_eq!(in_flight(&scheduler, "a"), 0);
    let jobs = [create(&scheduler, "r", work()), create(&scheduler, "s", work())];
    assert_eq!((jobs[0].attempt(), kind(&scheduler, &work())), (1, "busy"));
    jobs.iter().for_each(|job| complete(&scheduler, job));
    scheduler.tick(secs(1));
    assert_eq!(in_flight(&scheduler, "a"), 0);
}

#[test]
fn a_create_in_which_the_policy_panicked_leaves_no_trace_of_the_request() {
    let (scheduler, panics) = with_panicking_policy();
    let before = picture(&scheduler);
    assert!(catch_unwind(AssertUnwindSafe(|| create(&scheduler, "r", work()))).is_err());
    assert_eq!(picture(&scheduler), before);
    panics.store(false, Ordering::Relaxed);
    // The id is free, also for another demand.
    create(&scheduler, "r", work().routing_key("other"));
}

#[test]
fn a_retry_in_which_the_policy_panicked_leaves_the_job_as_it_was() {
    let (scheduler, panics) = with_panicking_policy();
    panics.store(false, Ordering::Relaxed);
    let job = create(&scheduler, "r", work());
    panics.store(true, Ordering::Relaxed);
    let before = picture(&scheduler);
    assert!(catch_unwind(AssertUnwindSafe(|| scheduler.retry(job.id(), 1).is_ok())).is_err());
    assert_eq!(picture(&scheduler), before);
    panics.store(false, Ordering::Relaxed);
    complete(&scheduler, &job);
    assert_eq!(in_flight(&scheduler, "a"), 0);
}
