//! Threads that work together, turn after turn.
//!
//! They are the same from first to last: the library knows threads by numbers that it gives out once, and the first
//! ones have counters of their own, so that a bench with new threads every turn would measure what only a program with
//! many threads gets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Barrier};
use std::thread::{Scope, available_parallelism};
use std::time::{Duration, Instant};

type Order<'scope> = Box<dyn FnOnce() + Send + 'scope>;

/// See the module's documentation.
pub(crate) struct Crew<'scope> {
    members: Vec<mpsc::Sender<Order<'scope>>>,
}

/// Whether the turn goes on.
pub(crate) struct Signal(AtomicBool);

impl Signal {
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: it only ends the turn; results come over a channel.
        self.0.load(Ordering::Relaxed)
    }
}

/// How long this thread has waited for a core so far, though it could have run; nothing where that is not known.
///
/// Linux tells it, to the ns: of a turn, a wait longer than nothing means that others had the core.
pub(crate) fn waited() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
    nanos.map_or(Duration::ZERO, Duration::from_nanos)
}

/// Cores that there are.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

impl<'scope> Crew<'scope> {
    pub(crate) fn new(scope: &'scope Scope<'scope, '_>, size: usize) -> Self {
        let enlist = |_| {
            let (sender, orders) = mpsc::channel::<Order<'scope>>();
            scope.spawn(move || orders.into_iter().for_each(|order| order()));
            sender
        };
        Self { members: (0..size).map(enlist).collect() }
    }

    /// Lets the first `threads` members work at once, each with its number; what they return, in their order. The turn
    /// ends for all after `time`, or when the first of them has ended.
    ///
    /// # Panics
    /// When one of them does.
    pub(crate) fn turn<R: Send + 'scope>(
        &self,
        threads: usize,
        time: Duration,
        work: impl Fn(usize, &Signal) -> R + Clone + Send + 'scope,
    ) -> Vec<R> {
        let signal = Arc::new(Signal(AtomicBool::new(true)));
        let start = Arc::new(Barrier::new(threads + 1));
        let (sender, results) = mpsc::channel();
        for (number, member) in self.members[..threads].iter().enumerate() {
            let (signal, start, sender, work) = (signal.clone(), start.clone(), sender.clone(), work.clone());
            let order = move || {
                start.wait();
                // Nobody listens any more if another member has panicked.
                let _ = sender.send((number, work(number, &signal)));
            };
            member.send(Box::new(order)).expect("a member takes orders for as long as the crew is there");
        }
        drop(sender);
        start.wait();
        let end = Instant::now() + time;
        let mut done = Vec::with_capacity(threads);
        while done.len() < threads {
            let left = if signal.is_on() { end.saturating_duration_since(Instant::now()) } else { Duration::MAX };
            let result = results.recv_timeout(left);
            signal.0.store(false, Ordering::Relaxed);
            match result {
                Ok(result) => done.push(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("a member of the crew has panicked"),
            }
        }
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, result)| result).collect()
    }
}
