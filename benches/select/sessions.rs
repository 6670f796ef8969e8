//! Jobs in a session, which keep to its pool or off its last node, beside jobs without. Sessions act where a job is
//! created, so that is what is measured, with the job's end.

use std::cell::Cell;

use slotyard::{ExclusionMode, JobRequest, SessionMode};

use crate::fleet;
use crate::harness::{About, Suite};
use crate::life::{Lives, Yard, plain};

/// Sessions that go on, each having every so-manieth job.
const SESSIONS: u64 = 1_000;
/// Finished jobs remembered.
const FINISHED: usize = 1 << 10;

pub(crate) fn measure(suite: &mut Suite) {
    let nodes = if Suite::is_bench() { 1_000 } else { 100 };
    let case = format!("create and complete on {nodes} nodes");
    if !suite.wants(&case) {
        return;
    }
    let spread = SessionMode::Spread(ExclusionMode::Hard);
    for (subject, mode, sessions) in [
        ("in a session with affinity", SessionMode::Affinity, SESSIONS),
        ("in a session that spreads", spread, SESSIONS),
        ("in a new session", SessionMode::Affinity, u64::MAX),
    ] {
        let yard = Yard::new(nodes, FINISHED);
        let (next, begun) = (Cell::new(0), Cell::new(0));
        let demand = fleet::demand();
        let in_session = |id: String| {
            let session = begun.replace(begun.get() + 1) % sessions;
            JobRequest::new(id, demand.clone()).session(format!("session-{session:016x}")).session_mode(mode)
        };
        let mut ours = Lives::new(&yard, &next, in_session);
        ours.live(FINISHED);
        let mut floor = Lives::new(&yard, &next, plain(&demand));
        let about = About { case: &case, subject, floor: "without a session", budget: None };
        suite.compare(about, &mut ours, &mut floor);
    }
}
