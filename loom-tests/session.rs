//! **Sessions**: jobs of one session that begin at the same time are of one session, and one of them binds it to its
//! pool; whoever has bound, or tried to, knows the pool in which it stays.
//!
//! Two threads, 5 preemptions.
//!
//! Seen to fail by `cargo xtask mutants-loom session`.

use loom::thread;

use super::*;
use crate::id::Prehashed;
use crate::session::Sessions;

#[test]
fn a_session_is_bound_once() {
    explore(5, &["the first pool", "the second pool"], |seen| {
        let sessions = Arc::new(Sessions::new(4, 1));
        let job = |pool| {
            let sessions = sessions.clone();
            move || {
                let session = sessions.used(&Prehashed { hash: 7, text: "session" }, 0).expect("there is room");
                if session.pool().is_none() {
                    session.bind(None, pool);
                }
                session.pool().expect("it was bound by now")
            }
        };
        let other = thread::spawn(job(1));
        let mine = job(2)();
        let other = other.join().unwrap();
        assert_eq!(mine, other, "a session was bound to two pools");
        assert_eq!(sessions.len(), 1);
        seen.note(if mine == 1 { "the first pool" } else { "the second pool" });
    });
}
