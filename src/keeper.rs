//! The maintenance thread of a scheduler whose time passes by itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::error::ConfigError;
use crate::sync::{Flag, Ordering};

/// The maintenance thread; stopped and joined when dropped.
pub(crate) struct Keeper {
    stop: Arc<Flag>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(core: Arc<Core>) -> Result<Self, ConfigError> {
        let stop = Arc::new(Flag::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("slotyard-upkeep".into());
        let thread = thread.spawn(move || keep_up(&core, &stopped)).map_err(|e| ConfigError::Thread(e.to_string()))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Ticks until told to stop.
///
/// Time goes on after a panic, which the panic hook has told of: code of others runs here, too, a subscriber of `tracing`
/// and what others defer to the end of pins. A fleet without a clock would be lost without a word.
fn keep_up(core: &Core, stop: &Flag) {
    let (start, mut pace) = (Instant::now(), Pace::new(core.config.tick_interval, core.config.heartbeat_timeout));
    // Acquire: pairs with the Release in `drop`.
    while !stop.load(Ordering::Acquire) {
        std::thread::park_timeout(core.config.tick_interval);
        let (now, late) = pace.step(start.elapsed());
        // What a tick that has panicked was about to do is left to later ones; locks are taken over as they are.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if let Some(step) = late {
                tracing::warn!(?step, longest = ?pace.longest, "maintenance came late; the time beyond is left out");
            }
            core.tick(now);
        }));
    }
}

/// How the time of a scheduler follows that of the machine.
///
/// The scheduler's time is that of its maintenance: when a tick comes much too late (the process was stopped, the
/// machine suspended), the excess is left out, so nodes and leases are not found dead for a pause of our own: whatever
/// its length, half of the time that nodes have for a heartbeat is theirs.
#[derive(Debug)]
struct Pace {
    /// No step of the scheduler's time is longer.
    longest: Duration,
    /// When the last step was, by the machine.
    last: Duration,
    left_out: Duration,
}

impl Pace {
    fn new(interval: Duration, timeout: Duration) -> Self {
        let longest = interval.saturating_mul(4).max(Duration::from_secs(1)).min(timeout / 2);
        Self { longest, last: Duration::ZERO, left_out: Duration::ZERO }
    }

    /// The scheduler's time when so much has `elapsed` of the machine's since the beginning, and the step that it was if that
    /// came late.
    fn step(&mut self, elapsed: Duration) -> (Duration, Option<Duration>) {
        let step = elapsed.saturating_sub(self.last);
        self.last = elapsed;
        self.left_out += step.saturating_sub(self.longest);
        (elapsed.saturating_sub(self.left_out), (step > self.longest).then_some(step))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `keep_up`.
        self.stop.store(true, Ordering::Release);
        // By that very thread, if what dropped the last clone was deferred by others: then it ends by itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            thread.thread().unpark();
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, not(any(slotyard_loom, slotyard_shuttle))))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    proptest! {
        /// Whatever the machine does, the scheduler's time follows it, but for what is too much of a step.
        #[test]
        fn time_follows_but_for_what_is_too_long_a_step(
            interval in 1u64..10_000,
            rarer in 4u64..1_000,
            steps in proptest::collection::vec(prop_oneof![0u64..50, 0u64..100_000, 0u64..1 << 44], 1..100),
        ) {
            let timeout = ms(interval * rarer);
            let mut pace = Pace::new(ms(interval), timeout);
            let longest = ms(4 * interval).max(ms(1_000)).min(timeout / 2);
            let (mut machine, mut expected) = (Duration::ZERO, Duration::ZERO);
            for step in steps.into_iter().map(ms) {
                machine += step;
                expected += step.min(longest);
                prop_assert_eq!(pace.step(machine), (expected, (step > longest).then_some(step)));
            }
        }
    }

    #[test]
    fn a_machine_that_was_suspended_for_a_year_is_half_a_timeout_later() {
        let mut pace = Pace::new(ms(10), ms(15_000));
        let year = Duration::from_secs(366 * 24 * 3600);
        assert_eq!(pace.step(ms(10)), (ms(10), None));
        assert_eq!(pace.step(year), (ms(1_010), Some(year - ms(10))));
        assert_eq!(pace.step(year + ms(10)), (ms(1_020), None));
        // The longest that is not too long.
        assert_eq!(pace.step(year + ms(1_010)), (ms(2_020), None));
        // A clock of the machine that stands still is no step.
        assert_eq!(pace.step(year + ms(1_010)), (ms(2_020), None));
        // With a short timeout it is half of that.
        assert_eq!(Pace::new(ms(10), ms(40)).step(year), (ms(20), Some(year)));
    }
}
