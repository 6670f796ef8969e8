//! The same request id once more.

use slotyard::JobRequest;

use crate::fleet;
use crate::harness::{About, Suite, repeat};
use crate::life::{Yard, plain, request_id};

/// Jobs that there are, each node's half full.
const JOBS_A_NODE: u32 = 8;

/// Creates jobs that exist, in no order, beside one look-up in a concurrent map of the same ids.
pub(crate) fn measure(suite: &mut Suite, case: &str, nodes: u32) {
    let case = format!("{case}, {JOBS_A_NODE} jobs on each");
    if !suite.wants(&case) {
        return;
    }
    let yard = Yard::new(nodes, 0);
    let scheduler = &yard.scheduler;
    let mut ids: Vec<String> = (0..u64::from(nodes * JOBS_A_NODE)).map(request_id).collect();
    let mut requests: Vec<JobRequest> = ids.iter().cloned().map(plain(&fleet::demand())).collect();
    for request in &requests {
        scheduler.create_job(request).expect("a slot is free");
    }
    let map: papaya::HashMap<String, u32, ahash::RandomState> = ids.iter().cloned().zip(0..).collect();
    // Alike for both, and neither in the order in which memory was taken for them.
    fastrand::Rng::with_seed(1).shuffle(&mut requests);
    fastrand::Rng::with_seed(1).shuffle(&mut ids);
    let (mut request, mut id) = (requests.iter().cycle(), ids.iter().cycle());
    let mut ours = || {
        let request = request.next().expect("a cycle has no end");
        assert!(scheduler.create_job(request).is_ok(), "it exists");
    };
    let mut floor = || {
        let id = id.next().expect("a cycle has no end");
        assert!(map.pin().get(id).is_some(), "it exists");
    };
    let about = About { case: &case, subject: "create once more", floor: "papaya get", budget: None };
    suite.compare(about, &mut repeat(&mut ours), &mut repeat(&mut floor));
}
