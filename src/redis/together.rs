//! Calls of one script that come at the same time are sent as one, by a script that does many: that costs the server half of
//! what they would cost it one by one, and each is answered as if it had been asked by itself.
//!
//! None waits for others to come. Whoever finds nobody about to send becomes the one who does: it lets those go first that
//! are ready, and then sends what has come, its own among it. So how many go together follows from how many come.

use std::sync::PoisonError;

use redis::{Cmd, Value};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::call::Arguments;
use super::link::Declined;
use crate::sync::Mutex;

/// One script does so many at most: nobody else is served meanwhile.
pub(super) const MOST: usize = 16;

/// What is to be sent on one connection.
#[derive(Debug, Default)]
pub(super) struct Together(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    calls: Vec<Waits>,
    /// Somebody is about to send them.
    has_sender: bool,
}

/// A call, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) arguments: Arguments,
    /// What goes before it.
    pub(super) beside: Option<Cmd>,
    /// Nobody waits for it any more after that.
    pub(super) deadline: Instant,
    tells: oneshot::Sender<Result<Value, Declined>>,
}

impl Together {
    /// What it is answered, and whether the caller has to send it, with what else has come until then.
    pub(super) fn put(
        &self,
        arguments: Arguments,
        beside: Option<Cmd>,
        deadline: Instant,
    ) -> (oneshot::Receiver<Result<Value, Declined>>, bool) {
        let (tells, told) = oneshot::channel();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.calls.push(Waits { arguments, beside, deadline, tells });
        (told, !std::mem::replace(&mut waiting.has_sender, true))
    }

    /// All that has come.
    pub(super) fn take(&self) -> Vec<Waits> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.has_sender = false;
        std::mem::take(&mut waiting.calls)
    }
}

/// As many.lua is given them: the keys of all, and for each how many of its keys and arguments there are.
pub(super) fn joined<'a>(calls: impl IntoIterator<Item = &'a Arguments>) -> Arguments {
    let mut joined = Arguments::default();
    for Arguments { keys, arguments } in calls {
        joined.argument(keys.len()).argument(arguments.len());
        joined.keys.extend_from_slice(keys);
        joined.arguments.extend_from_slice(arguments);
    }
    joined
}

impl Waits {
    /// Whoever has waited for it may be gone.
    pub(super) fn tell(self, answer: Result<Value, Declined>) {
        let _ = self.tells.send(answer);
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;

    fn arguments(key: &str, arguments: &[&str]) -> Arguments {
        let mut all = Arguments::default();
        all.key(key.to_owned());
        for argument in arguments {
            all.argument(argument);
        }
        all
    }

    #[test]
    fn one_sends_what_has_come_and_each_is_told_its_own() {
        let (together, now) = (Together::default(), Instant::now());
        let (mut first, sends) = together.put(arguments("a", &["1", "2"]), None, now);
        assert!(sends);
        let (mut second, sends) = together.put(arguments("b", &[]), None, now);
        assert!(!sends, "another does");
        let calls = together.take();
        let joined = joined(calls.iter().map(|call| &call.arguments));
        assert_eq!(joined.keys, ["a", "b"]);
        assert_eq!(joined.arguments, ["1", "2", "1", "2", "1", "0"]);
        for (call, answer) in calls.into_iter().zip([1, 2]) {
            call.tell(Ok(Value::Int(answer)));
        }
        assert!(matches!(first.try_recv(), Ok(Ok(Value::Int(1)))));
        assert!(matches!(second.try_recv(), Ok(Ok(Value::Int(2)))));
        assert!(together.put(arguments("c", &[]), None, now).1, "what comes later has a sender of its own");
    }
}
