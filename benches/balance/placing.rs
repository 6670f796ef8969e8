//! Who says where a job goes.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;
use slotyard::{CreateJobError, Demand, JobRequest, NoNode, Policy, Scheduler};

use super::simulation::{Job, NODES, SLOTS};
use crate::fleet;

pub(crate) trait Placing {
    /// The node for a job; `None` if it is to wait until a slot is free.
    fn place(&mut self, job: Job) -> Option<usize>;
    /// A job that was placed has ended.
    fn end(&mut self, job: Job);
    /// It is so late now.
    fn pass(&mut self, _now: f64) {}
}

/// How long a job is on average, to the library.
const DURATION: Duration = Duration::from_secs(1);

/// The library, with one of its policies.
pub(crate) struct Library {
    scheduler: Scheduler,
    demand: Demand,
    jobs: HashMap<Job, slotyard::Job>,
    ticked: Duration,
}

impl Library {
    pub(crate) fn new(policy: Policy) -> Self {
        // Nobody sends heartbeats here, and every job ends by itself.
        let day = Duration::from_secs(24 * 3600);
        let builder = Scheduler::builder().seed(1).manual_maintenance().policy(policy);
        let builder = builder.heartbeat_timeout(day).default_lease(day).max_finished_jobs(1024);
        let scheduler = builder.build().expect("the configuration is valid");
        fleet::register(&scheduler, 0..NODES as u32, SLOTS as u32);
        Self { scheduler, demand: fleet::demand(), jobs: HashMap::new(), ticked: Duration::ZERO }
    }
}

impl Placing for Library {
    fn place(&mut self, job: Job) -> Option<usize> {
        let request = JobRequest::new(format!("job-{job}"), self.demand.clone());
        match self.scheduler.create_job(&request) {
            Ok(created) => {
                let node = fleet::number_of(created.node_id()) as usize;
                self.jobs.insert(job, created);
                Some(node)
            }
            Err(CreateJobError::NoNode(NoNode::Busy(_))) => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn end(&mut self, job: Job) {
        let ended = self.jobs.remove(&job).expect("it was placed");
        self.scheduler.complete(ended.id(), ended.attempt()).expect("it is running");
    }

    fn pass(&mut self, now: f64) {
        let now = DURATION.mul_f64(now);
        if now >= self.ticked + self.scheduler.config().tick_interval {
            self.ticked = now;
            self.scheduler.tick(now);
        }
    }
}

/// A node at random, full or not.
pub(crate) struct Blind {
    random: Rng,
}

impl Blind {
    pub(crate) fn new() -> Self {
        Self { random: Rng::with_seed(5) }
    }
}

impl Placing for Blind {
    fn place(&mut self, _: Job) -> Option<usize> {
        Some(self.random.usize(..NODES))
    }

    fn end(&mut self, _: Job) {}
}

/// Who knows how many jobs each node has.
pub(crate) struct Knowing {
    among: Among,
    random: Rng,
    held: [usize; NODES],
    jobs: HashMap<Job, usize>,
}

/// Of which nodes the one with the fewest jobs is taken.
#[derive(Clone, Copy)]
pub(crate) enum Among {
    All,
    /// Two of those with a free slot, each as likely as any other: what power of two choices should be.
    TwoFree,
}

impl Knowing {
    pub(crate) fn new(among: Among) -> Self {
        Self { among, random: Rng::with_seed(5), held: [0; NODES], jobs: HashMap::new() }
    }

    /// None if every slot is taken.
    fn choose(&mut self) -> Option<usize> {
        let from = self.random.usize(..NODES);
        let free = (0..NODES).map(|step| (from + step) % NODES).filter(|node| self.held[*node] < SLOTS);
        match self.among {
            Among::All => free.min_by_key(|node| self.held[*node]),
            Among::TwoFree => {
                let free: Vec<usize> = free.collect();
                let first = *self.random.choice(&free)?;
                let second = *self.random.choice(&free)?;
                // They come in no order, so it does not matter which of two equals this takes.
                Some(if self.held[second] < self.held[first] { second } else { first })
            }
        }
    }
}

impl Placing for Knowing {
    fn place(&mut self, job: Job) -> Option<usize> {
        let node = self.choose()?;
        self.held[node] += 1;
        self.jobs.insert(job, node);
        Some(node)
    }

    fn end(&mut self, job: Job) {
        self.held[self.jobs.remove(&job).expect("it was placed")] -= 1;
    }
}
