//! What is measured: how to make so many of it.

use std::time::Duration;

use slotyard::{JobRequest, Scheduler};

use crate::counting;
use crate::fleet;
use crate::measured::Span;

/// Something that a scheduler keeps many of.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Bytes of ids in each.
    pub(crate) ids: u32,
    pub(crate) budget: bool,
    /// Makes so many in a scheduler, with nothing else left over, and hands over what that took.
    pub(crate) make: fn(u32) -> Span,
}

const NODE_ID: u32 = "speech-worker-00000000".len() as u32;
const REQUEST_ID: u32 = "request-0000000000000000".len() as u32;
const SESSION_ID: u32 = "session-0000000000000000".len() as u32;

pub(crate) const KINDS: [Kind; 4] = [
    Kind { name: "nodes", ids: NODE_ID, budget: true, make: nodes },
    Kind { name: "jobs", ids: REQUEST_ID, budget: true, make: |jobs| create(jobs, false, false) },
    Kind { name: "finished jobs", ids: REQUEST_ID, budget: false, make: |jobs| create(jobs, true, false) },
    Kind {
        name: "jobs in sessions",
        ids: REQUEST_ID + SESSION_ID,
        budget: false,
        make: |jobs| create(jobs, false, true),
    },
];

/// Slots of the nodes that jobs go to: so many that the nodes are few beside the jobs.
const CAPACITY: u32 = 256;

fn nodes(nodes: u32) -> Span {
    let (scheduler, _) = fleet::scheduler(1, 8);
    settle(&scheduler);
    let span = Span::begin();
    fleet::register(&scheduler, 1..nodes + 1, 8);
    settle(&scheduler);
    span.end()
}

fn create(jobs: u32, complete: bool, in_sessions: bool) -> Span {
    let builder = Scheduler::builder().seed(1).manual_maintenance().max_finished_jobs(1 << 20);
    let scheduler = builder.build().expect("the configuration is valid");
    fleet::register(&scheduler, 0..jobs.div_ceil(CAPACITY) + 1, CAPACITY);
    let demand = fleet::demand();
    let create = |number: u32| {
        let request = JobRequest::new(format!("request-{number:016x}"), demand.clone());
        let in_session = |request: JobRequest| request.session(format!("session-{number:016x}"));
        let request = if in_sessions { in_session(request) } else { request };
        let job = scheduler.create_job(&request).expect("a slot is free");
        if complete {
            scheduler.complete(job.id(), job.attempt()).expect("it has just been created");
        }
    };
    create(0);
    settle(&scheduler);
    let span = Span::begin();
    (1..=jobs).for_each(create);
    settle(&scheduler);
    span.end()
}

/// Lets what was replaced be freed: that waits for others to have looked away, and for the next to come by.
fn settle(scheduler: &Scheduler) {
    let demand = fleet::demand();
    let mut held = i64::MAX;
    for _ in 0..100 {
        (0..10_000).for_each(|_| drop(scheduler.select(&demand)));
        scheduler.tick(Duration::from_millis(1));
        let before = std::mem::replace(&mut held, counting::so_far().held);
        if before <= held {
            return;
        }
    }
}
