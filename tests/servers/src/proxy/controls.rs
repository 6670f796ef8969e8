//! What a proxy is told to do, and which connections it has: one lock, and one signal for all that waits for a change of it.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wait::Due;

/// How long the server may take to answer the last request of a connection.
const ANSWER: Duration = Duration::from_secs(3);

/// Both ends of a connection through the proxy.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: TcpStream,
    pub(super) server: TcpStream,
}

impl Link {
    /// Whoever reads or writes it sees that.
    fn close(&self) {
        for end in [&self.client, &self.server] {
            // It is closed already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// What is known of a connection that is open.
#[derive(Debug)]
struct Open {
    link: Arc<Link>,
    /// Its last request has passed: nothing of an answer does.
    is_muted: bool,
    /// The server has sent something since.
    is_answered: bool,
}

/// What a proxy is told to do.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) delay: Duration,
    pub(super) refuse: bool,
    pub(super) swallow: bool,
    pub(super) hold: bool,
    pub(super) requests_left: Option<u32>,
    has_ended: bool,
    open: BTreeMap<u64, Open>,
    last: u64,
}

/// What is to be done with a chunk for the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// It passes.
    Pass,
    /// It passes, and nothing after it.
    PassLast,
    /// It does not pass, and nothing after it.
    Refuse,
}

#[derive(Debug, Default)]
pub(super) struct Controls {
    state: Mutex<State>,
    changed: Condvar,
}

impl Controls {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub(super) fn refuses(&self) -> bool {
        self.lock().refuse
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    pub(super) fn connections(&self) -> usize {
        self.lock().open.len()
    }

    /// Closes all connections.
    pub(super) fn cut(&self) {
        self.set(|state| std::mem::take(&mut state.open).values().for_each(|open| open.link.close()));
    }

    /// Closes all connections, and there are no new ones.
    pub(super) fn end(&self) {
        self.set(|state| state.has_ended = true);
        self.cut();
    }

    /// A new connection, if there may be one; its number.
    pub(super) fn enter(&self, link: &Arc<Link>) -> Option<u64> {
        let mut state = self.lock();
        if state.has_ended {
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.open.insert(number, Open { link: Arc::clone(link), is_muted: false, is_answered: false });
        Some(number)
    }

    /// Closes a connection.
    pub(super) fn leave(&self, number: u64) {
        self.set(|state| {
            if let Some(open) = state.open.remove(&number) {
                open.link.close();
            }
        });
    }

    /// When what comes now is to pass.
    pub(super) fn due(&self) -> Due {
        Due::after(self.lock().delay)
    }

    /// As [`due`](Self::due), for what the server has sent.
    pub(super) fn answered(&self, number: u64) -> Due {
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&number).filter(|open| open.is_muted) {
            open.is_answered = true;
            self.changed.notify_all();
        }
        Due::after(state.delay)
    }

    /// Waits until a chunk may pass. Returns whether its connection is still open.
    pub(super) fn wait(&self, number: u64, due: Due) -> bool {
        let mut state = self.lock();
        loop {
            let left = due.left();
            if !state.open.contains_key(&number) {
                return false;
            } else if state.hold {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if left.is_zero() {
                return true;
            } else {
                let waited = self.changed.wait_timeout(state, left);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// A chunk for the server, in its turn.
    pub(super) fn request(&self, number: u64) -> Request {
        let mut state = self.lock();
        let Some(left) = state.requests_left else { return Request::Pass };
        state.requests_left = (left > 1).then(|| left - 1);
        match left {
            0 => Request::Refuse,
            1 => {
                // Before it passes: else its answer could be faster.
                state.open.entry(number).and_modify(|open| open.is_muted = true);
                Request::PassLast
            }
            _ => Request::Pass,
        }
    }

    /// Whether a chunk for the client is dropped, in its turn.
    pub(super) fn drops_reply(&self, number: u64) -> bool {
        let state = self.lock();
        state.swallow || state.open.get(&number).is_none_or(|open| open.is_muted)
    }

    /// Waits until the server has answered the last request, or long enough.
    pub(super) fn wait_for_answer(&self, number: u64) {
        let is_missing = |state: &mut State| state.open.get(&number).is_some_and(|open| !open.is_answered);
        // Whatever came of it, the connection is closed next.
        drop(self.changed.wait_timeout_while(self.lock(), ANSWER, is_missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_to_the_last_and_then_no_more() {
        let controls = Controls::default();
        let next = || controls.request(1);
        assert_eq!(next(), Request::Pass);
        controls.set(|state| state.requests_left = Some(3));
        assert_eq!([next(), next(), next(), next()], [Request::Pass, Request::Pass, Request::PassLast, Request::Pass]);
        controls.set(|state| state.requests_left = Some(0));
        assert_eq!([next(), next()], [Request::Refuse, Request::Pass]);
    }
}
