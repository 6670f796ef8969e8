//! A clock to time single operations with.
//!
//! On x86-64 the processor's time stamp counter, which costs about a third of `Instant::now` and needs no call; held
//! against `Instant` once. Its two readings are part of every time measured, nothing is subtracted: what they cost is
//! seen where nothing is timed between them.

use std::time::{Duration, Instant};

/// Over how long the counter is held against `Instant`.
const CALIBRATION: Duration = Duration::from_millis(20);

/// How long a tick is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    nanos: f64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let (start, first) = (Instant::now(), Self::ticks());
        while start.elapsed() < CALIBRATION {
            std::hint::spin_loop();
        }
        let (took, last) = (start.elapsed(), Self::ticks());
        Self { nanos: took.as_secs_f64() * 1e9 / (last - first) as f64 }
    }

    pub(crate) fn nanos(self, ticks: u64) -> f64 {
        ticks as f64 * self.nanos
    }

    /// Runs an operation, once all that came before has ended, and until it has ended itself; the ticks that took.
    #[inline(always)]
    pub(crate) fn time<R>(operation: impl FnOnce() -> R) -> (R, u64) {
        let start = Self::ticks();
        let result = operation();
        // A thread may have moved to a core whose counter is a little behind.
        (result, Self::ticks().saturating_sub(start))
    }

    /// Ticks that timing nothing takes.
    pub(crate) fn cost() -> u64 {
        let mut costs: Vec<u64> = (0..1001).map(|_| Self::time(|| ()).1).collect();
        costs.sort_unstable();
        costs[costs.len() / 2]
    }

    /// Waits for so many ticks, without a call to the system.
    pub(crate) fn wait(ticks: u64) {
        let start = Self::ticks();
        while Self::ticks().saturating_sub(start) < ticks {}
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn ticks() -> u64 {
        wait_for_the_last();
        // SAFETY: every x86-64 processor has this instruction, which touches nothing.
        let ticks = unsafe { std::arch::x86_64::_rdtsc() };
        wait_for_the_last();
        ticks
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn ticks() -> u64 {
        static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        ORIGIN.elapsed().as_nanos() as u64
    }
}

/// Lets nothing that follows begin before all that came before has ended, as far as the processor can be told.
#[inline(always)]
pub(crate) fn wait_for_the_last() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has this instruction, which touches nothing.
    unsafe {
        std::arch::x86_64::_mm_lfence();
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
