//! More nodes than there may be, and more jobs than a node has slots for.

use slotyard::limits::MAX_CAPACITY;
use slotyard::{NodeHandle, RegisterError};

use super::common::*;
use super::*;

#[test]
pub(crate) fn nodes_that_crowd_in_are_refused_and_come_in_when_others_leave() {
    const LIMIT: usize = 40;
    let scheduler = build(builder().max_nodes(LIMIT));
    let crowd = |thread: usize| {
        let (mut mine, mut refused, mut met): (Vec<NodeHandle>, usize, usize) = (Vec::new(), 0, 0);
        for turn in 0..2_000 {
            // More ids than there may be nodes, some of them wanted by all.
            let id = if turn % 5 == 0 { format!("of all {}", turn % 7) } else { format!("{thread}-{}", turn % 50) };
            let spec = worker(&id, 2);
            let spec = if turn % 3 == 0 { spec.replace_existing() } else { spec };
            match scheduler.register(spec) {
                Ok(handle) => mine.push(handle),
                Err(RegisterError::TooManyNodes { id: found, limit }) => {
                    assert_eq!((found.as_str(), limit), (id.as_str(), LIMIT));
                    refused += 1;
                    // Room for some. They may have been replaced by another.
                    (0..3).filter_map(|_| mine.pop()).for_each(|node| _ = scheduler.deregister(&node));
                }
                Err(RegisterError::AlreadyRegistered { .. }) => met += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (refused, met)
    };
    let crowded = under_load(&scheduler, THREADS, crowd, |now| assert!(now.nodes <= LIMIT, "{now:?}"));
    let refused: usize = crowded.iter().map(|(refused, _)| refused).sum();
    assert!(crowded.iter().any(|(_, met)| *met > 0), "nobody has met another");
    assert!(refused > 100, "the bound was hardly reached: {refused}");

    assert_eq!(scheduler.nodes().len(), scheduler.stats().now.nodes);
    scheduler.nodes().iter().for_each(|node| scheduler.deregister(&handle(&scheduler, &node.id)).unwrap());
    assert_eq!((scheduler.stats().now.nodes, scheduler.stats().now.pools), (0, 1));
    add_workers(&scheduler, (0..LIMIT).map(|n| n.to_string()), 2);
    let error = refuses(&scheduler, |s| s.register(worker("one more", 2)));
    assert!(error.to_string().contains("40"), "{error}");
    assert_eq!(fill(&scheduler, "r", &work()).len(), 2 * LIMIT);
}

#[test]
pub(crate) fn the_largest_node_is_filled_by_all_to_the_last_slot() {
    let scheduler = scheduler();
    add(&scheduler, worker("a", MAX_CAPACITY));
    for round in 0..3 {
        let jobs =
            under_load(&scheduler, THREADS, |thread| fill(&scheduler, &format!("{round}-{thread}"), &work()), |_| {});
        let jobs: Vec<_> = jobs.into_iter().flatten().collect();
        assert_eq!((jobs.len(), held(&scheduler)), (MAX_CAPACITY as usize, MAX_CAPACITY as usize));
        let each = |thread: usize| jobs.iter().skip(thread).step_by(THREADS).for_each(|job| complete(&scheduler, job));
        under_load(&scheduler, THREADS, each, |_| {});
        assert_idle(&scheduler);
    }
}

#[test]
fn more_threads_than_have_a_desk_of_their_own_lose_nothing() {
    // Of 32 desks the last is for all others, and so is one stripe of what is counted.
    const MANY: usize = 44;
    let scheduler = build(builder().max_jobs(400).max_finished_jobs(200));
    add_workers(&scheduler, (0..8).map(|n| format!("n{n}")), 8);
    for round in 0..3 {
        // Each is known by a number of its own, as long as all are there.
        let all_known = Barrier::new(MANY);
        let works = |thread: usize| {
            assert!(scheduler.select(&work()).is_ok());
            all_known.wait();
            for n in 0..300 {
                let request = format!("{round}-{thread}-{n}");
                match try_create(&scheduler, &request, work()) {
                    Ok(job) => complete(&scheduler, &job),
                    Err(error) => assert_eq!(refused(Err(error)).kind(), "busy"),
                }
            }
        };
        under_load(&scheduler, MANY, works, |now| assert!(now.jobs <= 400 + MANY, "{now:?}"));
        assert_idle(&scheduler);
        let counters = scheduler.stats().counters;
        assert_eq!(counters.created, counters.completed);
    }
    assert_eq!(fill(&scheduler, "full", &work()).len(), 64);
}
