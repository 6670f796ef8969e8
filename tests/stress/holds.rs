//! What must hold at every moment while many threads take slots and give them back.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use slotyard::{Capabilities, Heartbeat, NodeSpec, NodeState, Policy, Reservation, Scheduler};

use crate::common::*;
use crate::{Stop, at_once};

const THREADS: usize = 4;

fn policies() -> [Policy; 4] {
    [Policy::power_of_two(), Policy::random(), Policy::round_robin(), Policy::least_loaded(3)]
}

/// As many slots as threads, and each thread holds one at most: whoever asks leaves one free at least for himself.
fn nobody_is_refused(policy: &Policy, nodes: usize, turns: u32) {
    let scheduler = build(builder().policy(policy.clone()));
    add_workers(&scheduler, (0..nodes).map(|n| n.to_string()), (THREADS / nodes) as u32);
    at_once(THREADS, |_| {
        for turn in 0..turns {
            let held = scheduler.reserve(&work());
            assert!(held.is_ok(), "turn {turn} of {policy:?} on {nodes} nodes: {held:?}");
        }
    });
}

#[test]
fn within_a_pool_nobody_is_refused_while_there_are_as_many_slots_as_threads() {
    for policy in policies() {
        for nodes in [1, 2, THREADS] {
            nobody_is_refused(&policy, nodes, 10_000);
        }
    }
}

/// As above, with a full pool of many nodes around the few that have slots: bits of the index come and go at several
/// levels.
#[test]
fn the_few_free_slots_of_a_large_pool_are_found_by_all_who_need_them() {
    let scheduler = scheduler();
    add_workers(&scheduler, (0..1100).map(|n| n.to_string()), 1);
    let mut held: Vec<Option<Reservation<'_>>> = (0..1100).map(|_| scheduler.reserve(&work()).ok()).collect();
    assert!(scheduler.select(&work()).is_err());
    // Far apart, and in words of the index of their own.
    (0..THREADS).for_each(|n| held[n * 333] = None);
    at_once(THREADS, |_| {
        for turn in 0..5000 {
            assert!(scheduler.reserve(&work()).is_ok(), "turn {turn}");
        }
    });
    drop(held);
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
}

#[test]
fn no_job_is_refused_while_there_are_as_many_slots_as_threads() {
    let scheduler = build(builder().max_finished_jobs(10));
    add_workers(&scheduler, (0..THREADS).map(|n| n.to_string()), 1);
    at_once(THREADS, |thread| {
        for turn in 0..3000 {
            let job = create(&scheduler, format!("{thread}-{turn}"), work());
            complete(&scheduler, &job);
        }
    });
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
}

#[test]
fn no_node_ever_holds_more_than_its_capacity() {
    for policy in policies() {
        let scheduler = build(builder().policy(policy));
        let capacities = [1, 2, 3, 5];
        for (n, capacity) in capacities.into_iter().enumerate() {
            add(&scheduler, worker(n.to_string(), capacity));
        }
        // What the threads themselves hold, counted from when they have it until before they give it back.
        let ours: [AtomicU32; 4] = Default::default();
        let stop = AtomicBool::new(false);
        at_once(THREADS + 1, |thread| {
            if thread == THREADS {
                while !stop.load(Ordering::Relaxed) {
                    scheduler.nodes().iter().for_each(|view| assert!(view.in_flight <= view.capacity, "{view:?}"));
                }
                return;
            }
            let _done = Stop(&stop);
            let mut held = std::collections::VecDeque::new();
            for _ in 0..3000 {
                match scheduler.reserve(&work()) {
                    Ok(reservation) => {
                        let node: usize = reservation.node_id().parse().unwrap();
                        let count = ours[node].fetch_add(1, Ordering::AcqRel) + 1;
                        assert!(count <= capacities[node], "{count} on a node of {}", capacities[node]);
                        held.push_back((node, reservation));
                    }
                    Err(no_node) => assert_eq!(no_node.kind(), "busy"),
                }
                if held.len() > 3 {
                    let (node, reservation) = held.pop_front().expect("there are more than three");
                    ours[node].fetch_sub(1, Ordering::AcqRel);
                    drop(reservation);
                }
            }
            for (node, _) in &held {
                ours[*node].fetch_sub(1, Ordering::AcqRel);
            }
        });
        assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
    }
}

#[test]
fn after_a_drain_has_returned_no_job_lands_on_the_node() {
    let scheduler = scheduler();
    let handle = add(&scheduler, worker("a", 6));
    add(&scheduler, worker("b", 2));
    let stop = AtomicBool::new(false);
    at_once(THREADS, |thread| {
        if thread > 0 {
            while !stop.load(Ordering::Relaxed) {
                let held = [scheduler.reserve(&work()), scheduler.reserve(&work())];
                drop(held);
            }
            return;
        }
        let _done = Stop(&stop);
        for _ in 0..500 {
            scheduler.drain(&handle).unwrap();
            let counts: Vec<u32> = (0..5).map(|_| in_flight(&scheduler, "a")).collect();
            assert!(counts.is_sorted_by(|before, after| before >= after), "{counts:?}");
            scheduler.undrain(&handle).unwrap();
        }
    });
    assert!(scheduler.nodes().iter().all(|view| view.in_flight == 0));
    assert_eq!(fill(&scheduler, "r", &work()).len(), 8);
}

#[test]
fn a_node_that_stays_is_found_while_pools_come_and_go_around_it() {
    let scheduler = build(builder().max_pools(6));
    add(&scheduler, worker("stays", 1000));
    let stop = AtomicBool::new(false);
    at_once(THREADS, |thread| {
        if thread > 1 {
            let prepared = scheduler.prepare(&work());
            while !stop.load(Ordering::Relaxed) {
                assert!(scheduler.select(&work()).is_ok() && scheduler.reserve_prepared(&prepared).is_ok());
            }
            return;
        }
        let _done = Stop(&stop);
        for round in 0..300 {
            let id = format!("{thread}-{}", round % 4);
            let spec = worker(&id, 1).service(format!("s{}", round % 9)).replace_existing();
            let handle = add(&scheduler, spec);
            if round % 3 == 0 {
                scheduler.deregister(&handle).unwrap();
            }
        }
    });
}

/// A heartbeat, an update and a drain of one node at once, again and again: what was said last must be what is.
#[test]
fn changes_of_one_node_by_many_threads_leave_no_trace_of_one_another() {
    let scheduler = scheduler();
    let handle = add(&scheduler, NodeSpec::new("a").service("work").capacity(4));
    at_once(THREADS, |thread| {
        for turn in 0..1500 {
            match thread {
                0 => scheduler.heartbeat(&handle, &Heartbeat::ready().running(turn % 7)).unwrap(),
                1 => scheduler.set_capacity(&handle, 1 + turn % 4).unwrap(),
                2 => {
                    let also = format!("s{}", turn % 3);
                    scheduler.update(&handle, Capabilities::new().service("work").service(also)).unwrap();
                }
                _ => drop([scheduler.reserve(&work()), scheduler.reserve(&work())]),
            }
        }
    });
    scheduler.set_capacity(&handle, 4).unwrap();
    scheduler.heartbeat(&handle, &Heartbeat::ready().running(0)).unwrap();
    let view = node(&scheduler, "a");
    assert_eq!((view.state, view.capacity, view.in_flight, view.external), (NodeState::Ready, 4, 0, 0));
    assert_eq!((view.pools.len(), peopled_pools(&scheduler)), (1, view.pools.clone()));
    fills_to(&scheduler, 4);
}

fn fills_to(scheduler: &Scheduler, slots: usize) {
    let jobs = fill(scheduler, "r", &work());
    assert_eq!(jobs.len(), slots);
    jobs.iter().for_each(|job| complete(scheduler, job));
}
