//! How the load spreads over nodes and teams, window by window.

use crate::ledger::Ledger;

/// What one window of time was like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Its end, in seconds.
    pub(crate) end: f64,
    /// Slots held, of the slots of the nodes that may get jobs.
    pub(crate) utilisation: f64,
    /// Clients that hold no slot, at its end.
    pub(crate) waiting: usize,
    /// Nodes that may get jobs, at its end.
    pub(crate) open: usize,
    /// The utilisation of the busiest node over the mean of all, and their coefficient of variation; nodes count that
    /// were open and unchanged all the while. `None` when there is no load to spread.
    pub(crate) spread: Option<(f64, f64)>,
}

/// Slot time of nodes that belong together, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SlotTime {
    pub(crate) held: u64,
    pub(crate) offered: u64,
}

impl SlotTime {
    pub(crate) fn utilisation(self) -> f64 {
        if self.offered == 0 { 0.0 } else { self.held as f64 / self.offered as f64 }
    }

    fn add(&mut self, other: Self) {
        self.held += other.held;
        self.offered += other.offered;
    }
}

/// All windows in which requests arrived to the end, and sums over them.
#[derive(Debug)]
pub(crate) struct Series {
    /// Length of a window, in microseconds.
    window: u64,
    pub(crate) windows: Vec<Window>,
    pub(crate) nodes: Vec<SlotTime>,
    pub(crate) teams: Vec<SlotTime>,
}

impl Series {
    pub(super) fn new(window: u64, nodes: usize, teams: usize) -> Self {
        Self {
            window,
            windows: Vec::new(),
            nodes: vec![SlotTime::default(); nodes],
            teams: vec![SlotTime::default(); teams],
        }
    }

    /// Whether a window ends now.
    pub(super) fn due(&self, now: u64) -> bool {
        now >= (self.windows.len() as u64 + 1) * self.window
    }

    /// Ends a window.
    pub(super) fn end(&mut self, now: u64, ledger: &mut Ledger, team_of: impl Fn(usize) -> usize, waiting: usize) {
        let begin = now.saturating_sub(self.window);
        let (mut all, mut open) = (SlotTime::default(), 0);
        let (mut steady, mut sum, mut squares, mut busiest) = (0.0, 0.0, 0.0, 0.0_f64);
        for (worker, account) in ledger.accounts.iter_mut().enumerate() {
            let held = account.take_busy(now);
            if !account.open() {
                continue;
            }
            open += 1;
            let time = SlotTime { held, offered: u64::from(account.capacity) * (now - begin) };
            all.add(time);
            self.nodes[worker].add(time);
            self.teams[team_of(worker)].add(time);
            if account.settled_since <= begin {
                let utilisation = time.utilisation();
                steady += 1.0;
                sum += utilisation;
                squares += utilisation * utilisation;
                busiest = busiest.max(utilisation);
            }
        }
        let mean = sum / steady;
        let spread = (sum > 0.0).then(|| (busiest / mean, (squares / steady - mean * mean).max(0.0).sqrt() / mean));
        let utilisation = all.utilisation();
        self.windows.push(Window { end: now as f64 / 1e6, utilisation, waiting, open, spread });
    }
}
