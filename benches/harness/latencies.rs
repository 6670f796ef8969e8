//! How long single operations took: not on average, but at worst.

use hdrhistogram::Histogram;

use super::Figures;
use super::clock::Clock;

/// What is told of a histogram, where the samples suffice: name and share of the operations that were no slower.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// Longer than any operation takes, in ticks: some minutes.
const LONGEST: u64 = 1 << 40;
/// Figures of a value. Two, so that the table that is written to between operations stays in the first cache.
const PRECISION: u8 = 2;

/// A histogram of times in ticks of [`Clock`].
#[derive(Clone)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST, PRECISION).expect("bounds that a histogram may have"))
    }

    /// Times an operation.
    #[inline(always)]
    pub(crate) fn time<R>(&mut self, operation: impl FnOnce() -> R) -> R {
        let (result, ticks) = Clock::time(operation);
        self.0.saturating_record(ticks);
        result
    }

    pub(crate) fn absorb(&mut self, others: &Self) {
        self.0.add(&others.0).expect("histograms of the same bounds");
    }

    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }

    /// How many ticks this share of the operations took at most.
    pub(crate) fn ticks_at(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// All that were absorbed, in ns, at one quantile.
    pub(crate) fn figures(&self, clock: Clock, share: f64) -> Figures {
        Figures::once(clock.nanos(self.ticks_at(share)))
    }
}

/// Figures over histograms that were taken in turns, in ns: a disturbance from outside spoils some turns and not the
/// median of them. The maximum is that of all turns, since it is what never happens twice.
pub(crate) fn figures_of(turns: &[Latencies], clock: Clock, share: f64) -> Option<Figures> {
    let values: Vec<f64> = turns.iter().map(|turn| clock.nanos(turn.ticks_at(share))).collect();
    if share < 1.0 { Figures::of(values) } else { values.into_iter().reduce(f64::max).map(Figures::once) }
}
