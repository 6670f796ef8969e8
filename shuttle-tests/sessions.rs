//! **Sessions**: see `loom-tests/session.rs`. Jobs of one session that begin at the same time are of one session, which keeps
//! to one pool as long as that is there; sessions are counted, and forgotten in their time.
//!
//! Two sessions, two pools that satisfy the demand, of which one may go; four threads that create and end, and one that
//! ticks and takes a pool away.

use std::time::Duration;

use super::*;
use crate::SessionMode;
use crate::job::End;

const ITERATIONS: usize = 2000;

#[test]
fn jobs_of_a_session_keep_to_one_pool() {
    explore(ITERATIONS, &["it kept to its pool", "a pool went"], |seen| {
        let core = scheduler(|builder| builder.max_jobs(16).session_mode(SessionMode::Affinity));
        let plain = core.register(spec("plain", 4)).unwrap();
        core.register(NodeSpec::new("more").capacity(4).capabilities(asr().service(Service::TTS)).ready()).unwrap();
        let goes = draw(0..2) == 0;
        let noted = seen.clone();
        let pools = together(&core, 5, move |core, number| {
            if number == 4 {
                core.tick(Duration::from_millis(1));
                if goes {
                    core.deregister(&plain).unwrap();
                    noted.note("a pool went");
                }
                return Vec::new();
            }
            let session = format!("session-{}", number % 2);
            let job = |turn: usize| {
                let request = request(&format!("{number}-{turn}")).session(&*session);
                let job = core.create_job(&request, &pin()).expect("there is room");
                let pool = job.pool().to_owned();
                // It may have been orphaned.
                let _ = core.end(job.id(), 1, End::Completed, &pin());
                (session.clone(), pool)
            };
            (0..3).map(job).collect()
        });
        assert_eq!(core.stats().now.sessions, 2);
        if !goes {
            // The first jobs of a session may be on their way before it is bound; those that begin afterwards follow it.
            for number in 0..2 {
                let id = format!("session-{number}");
                let bound = core.sessions.find(&core.prehash(&id), 1).unwrap().pool().expect("it is bound");
                let name = core.pool_name(bound).unwrap();
                let last = pools.iter().filter_map(|jobs| jobs.last()).filter(|job| job.0 == id);
                for (_, pool) in last {
                    assert_eq!(**pool, *name, "a job of a session that was bound is in another pool");
                    seen.note("it kept to its pool");
                }
            }
        }
        assert_settled(&core);
        core.tick(Duration::from_secs(24 * 3600));
        core.tick(Duration::from_secs(48 * 3600));
        assert_eq!(core.stats().now.sessions, 0, "sessions are not forgotten");
    });
}
