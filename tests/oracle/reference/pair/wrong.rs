//! Calls with something wrong in them. They change nothing, which the next comparison shows.

use std::time::Duration;

use slotyard::{
    Capabilities, CapabilityError, CreateJobError, Demand, ExclusionMode, Heartbeat, HeartbeatError, InvalidId, Job,
    JobError, JobId, JobRequest, NoNode, NodeSpec, RegisterError,
};

use super::super::difference::{Difference, holds, same};
use super::super::setup::MAX_ID_LEN;
use super::super::step::MALFORMED;
use super::{Outcome, Pair};

const LONG: &str = "an-id-of-18-bytes.";

fn invalid(kind: &'static str, id: &str) -> InvalidId {
    InvalidId { kind, id: id.into(), len: id.len(), limit: MAX_ID_LEN }
}

fn nameless() -> CapabilityError {
    CapabilityError::InvalidServiceName { name: String::new() }
}

impl Pair<'_> {
    pub(super) fn malformed(&self, which: u8) -> Outcome {
        const _: () = assert!(MALFORMED == 12, "each number has its call");
        let scheduler = self.scheduler;
        let refused = |result: Result<Job, CreateJobError>| match result {
            Err(CreateJobError::InvalidId(error)) => Ok(error),
            other => Err(Difference::new(format!("an invalid id gives {other:?}"))),
        };
        let create = |request: &str| JobRequest::new(request, Demand::new());
        match which {
            0 | 1 => {
                let id = if which == 0 { "" } else { LONG };
                let error = scheduler.register(NodeSpec::new(id)).err();
                same!(error, Some(RegisterError::InvalidId(invalid("node", id))), "the id of a node");
            }
            2 | 3 => {
                let id = if which == 2 { "" } else { LONG };
                same!(refused(scheduler.create_job(&create(id)))?, invalid("request", id), "the id of a request");
            }
            4 | 5 => {
                let id = if which == 4 { "" } else { LONG };
                let request = create("r0").session(id);
                same!(refused(scheduler.create_job(&request))?, invalid("session", id), "the id of a session");
            }
            6 => {
                let spec = NodeSpec::new("n0").capabilities(Capabilities::new().service(""));
                let error = RegisterError::InvalidCapabilities { id: "n0".into(), error: nameless() };
                same!(scheduler.register(spec).err(), Some(error), "malformed capabilities");
            }
            7 => {
                let error = scheduler.create_job(&create("r0").lease(Duration::ZERO)).err();
                let refused = matches!(error, Some(CreateJobError::InvalidLease { lease: Duration::ZERO, .. }));
                holds!(refused, "no lease at all gives {error:?}");
            }
            8 => {
                let demand = Demand::new().service("");
                let error = scheduler.create_job(&JobRequest::new("r0", demand.clone())).err();
                let refused = matches!(&error, Some(CreateJobError::NoNode(NoNode::Invalid(e))) if *e == nameless());
                holds!(refused, "a malformed demand gives {error:?}");
                same!(scheduler.explain(&demand).invalid, Some(nameless()), "explained");
            }
            9 => {
                let excluded = (0..33).map(|n| format!("n{n}"));
                let error = scheduler.reserve(&Demand::new().exclude(excluded, ExclusionMode::Soft)).err();
                let limit = CapabilityError::TooMany { what: "exclusions", found: 33, limit: 32 };
                holds!(matches!(&error, Some(NoNode::Invalid(e)) if *e == limit), "33 exclusions give {error:?}");
            }
            10 => {
                let error = HeartbeatError::UnknownNode { id: "nobody".into() };
                same!(scheduler.heartbeat_by_id("nobody", &Heartbeat::ready()), Err(error), "of nobody");
                holds!(scheduler.node("nobody").is_none() && scheduler.handle("nobody").is_none(), "nobody is there");
            }
            _ => {
                let job = JobId::from_u128(7);
                let unknown = Err(JobError::UnknownJob { job });
                let calls = [
                    scheduler.dispatched(job, 1),
                    scheduler.running(job, 1),
                    scheduler.renew(job, 1),
                    scheduler.complete(job, 1),
                    scheduler.fail(job, 1),
                    scheduler.cancel(job, 1),
                ];
                same!(calls, std::array::from_fn::<_, 6, _>(|_| unknown.clone()), "of a job that never was");
                holds!(scheduler.retry(job, 1).is_err() && scheduler.job(job).is_none(), "of a job that never was");
            }
        }
        Ok(())
    }
}
