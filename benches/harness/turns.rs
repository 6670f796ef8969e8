//! Two contenders timed in turns.

use std::time::{Duration, Instant};

use super::{Contender, Figures};

/// Long enough that reading the clock does not show, short enough that a disturbance spoils some turns and not all.
const TURN: Duration = Duration::from_micros(50);
/// Before a turn is timed this share of it is run, for the caches and the branch predictor that the other one left.
const WARM_UP: u32 = 8;

/// The turns taken so far.
#[derive(Default)]
pub(crate) struct Turns {
    /// Operations of a turn: ours, the floor's.
    sizes: [u32; 2],
    /// Time of one operation in ns, a turn each: ours, the floor's.
    times: [Vec<f64>; 2],
}

impl Turns {
    /// Runs both for some `iterations` of ours, in turns; returns what that many of ours have taken.
    pub(crate) fn take<'a>(&mut self, iterations: u64, ours: Contender<'a>, floor: Contender<'a>) -> Duration {
        let contenders = [ours, floor];
        let (mut done, mut time) = (0u64, Duration::ZERO);
        while done < iterations {
            // Neither is always the first.
            let order = if self.times[0].len().is_multiple_of(2) { [0, 1] } else { [1, 0] };
            for one in order {
                let size = self.sizes[one].max(1);
                contenders[one](size / WARM_UP);
                let start = Instant::now();
                contenders[one](size);
                let took = start.elapsed();
                if self.grow(one, size, took) {
                    continue;
                }
                self.times[one].push(took.as_secs_f64() * 1e9 / f64::from(size));
                if one == 0 {
                    done += u64::from(size);
                    time += took;
                }
            }
        }
        time.mul_f64(iterations as f64 / done.max(1) as f64)
    }

    /// Finds out how many operations take a turn; `true` while they are too few.
    fn grow(&mut self, one: usize, size: u32, took: Duration) -> bool {
        self.sizes[one] = size;
        let found = !self.times[one].is_empty() || took >= TURN / 4;
        if !found {
            self.sizes[one] = size.saturating_mul(2);
        } else if self.times[one].is_empty() {
            let scaled = f64::from(size) * TURN.as_secs_f64() / took.as_secs_f64();
            self.sizes[one] = (scaled as u32).max(1);
        }
        !found
    }

    /// Ours and the floor's; `None` if nothing was measured.
    pub(crate) fn figures(self) -> Option<(Figures, Figures)> {
        let [ours, floor] = self.times.map(Figures::of);
        Some((ours?, floor?))
    }
}
