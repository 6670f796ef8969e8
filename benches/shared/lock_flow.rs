//! How jobs were created before: by six round trips, with a lock.
//!
//! 1. `GET` the request's binding: if there is one, that is the job;
//! 2. a node is selected, here; then `SET NX PX` the request's lock, again and again until nobody else has it;
//! 3. `GET` the binding once more, for who had the lock may have written it;
//! 4. `HINCRBY` the node's count: above its capacity it is taken back, and another node is tried;
//! 5. `SET` the binding;
//! 6. a script that deletes the lock if it is still ours.
//!
//! At its best: no caller asks for a request that another asks for, so no lock is waited for; the slot is a count without a
//! lease, which is forgotten with whoever dies; nothing fences; the node's state is not looked at; and one that has no room is
//! never tried.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Script, cmd};
use slotyard::{Demand, SharedScheduler};

use crate::stage::Sent;

pub(crate) const SENT: Sent = &[("get", 2.0), ("set", 2.0), ("hincrby", 1.0), ("evalsha", 1.0)];
/// How long a lock is kept if whoever has it dies.
const LOCKED: Duration = Duration::from_secs(5);
/// As a binding of ours.
const BOUND: Duration = Duration::from_secs(24 * 3600);
/// Between two looks at a lock that another has: the first, doubled each time up to the last, and up to as much again by chance.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct LockFlow {
    pub(crate) connection: MultiplexedConnection,
    /// Its own scheduler selects.
    pub(crate) shared: SharedScheduler,
    pub(crate) demand: Demand,
    /// Of each node.
    pub(crate) slots: u32,
    pub(crate) unlock: Script,
}

/// Deletes a lock that is still the caller's.
pub(crate) fn unlock() -> Script {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
}

impl LockFlow {
    /// Creates the job of a request; the node that it is on.
    ///
    /// # Panics
    /// When the server does not answer, or no node has room.
    pub(crate) async fn create(mut self, request: String) -> String {
        let connection = &mut self.connection;
        let (binding, lock) = (format!("old:r:{request}"), format!("old:lock:{request}"));
        let answered = "the server answers";
        let bound: Option<String> = cmd("GET").arg(&binding).query_async(connection).await.expect(answered);
        if let Some(node) = bound {
            return node;
        }
        let mut node = self.shared.scheduler().select(&self.demand).expect("a slot is free").node_id().to_string();
        let token = format!("{:032x}", fastrand::u128(..));
        let mut wait = BACKOFF.0;
        loop {
            let mut set = cmd("SET");
            set.arg(&lock).arg(&token).arg("NX").arg("PX").arg(LOCKED.as_millis() as u64);
            let locked: Option<String> = set.query_async(connection).await.expect(answered);
            if locked.is_some() {
                break;
            }
            tokio::time::sleep(wait + wait.mul_f64(fastrand::f64())).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
        let bound: Option<String> = cmd("GET").arg(&binding).query_async(connection).await.expect(answered);
        if let Some(bound) = bound {
            node = bound;
        } else {
            loop {
                let count: u32 = count(&node, 1).query_async(connection).await.expect(answered);
                if count <= self.slots {
                    break;
                }
                let _: i64 = count_down(&node, 1).query_async(connection).await.expect(answered);
                node = self.shared.scheduler().select(&self.demand).expect("a slot is free").node_id().to_string();
            }
            let mut set = cmd("SET");
            set.arg(&binding).arg(&node).arg("PX").arg(BOUND.as_millis() as u64);
            let () = set.query_async(connection).await.expect(answered);
        }
        let unlocked: i64 = self.unlock.key(lock).arg(token).invoke_async(connection).await.expect(answered);
        assert_eq!(unlocked, 1, "a lock was lost");
        node
    }
}

/// Counts jobs of a node.
fn count(node: &str, jobs: i64) -> redis::Cmd {
    let mut count = cmd("HINCRBY");
    count.arg(format!("old:n:{node}")).arg("load").arg(jobs);
    count
}

/// Takes jobs of a node back.
pub(crate) fn count_down(node: &str, jobs: i64) -> redis::Cmd {
    count(node, -jobs)
}
