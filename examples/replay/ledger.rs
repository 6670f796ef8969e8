//! The replay's own account of slots, kept only from what the scheduler told its clients: each slot that it gave and
//! each that it took back. What does not add up is noted.

use std::fmt;

use serde::Serialize;

/// Something that must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Broken {
    /// A slot was given on a node that had none left.
    OverCapacity,
    /// A slot was taken back twice, or the end of a job accepted twice.
    DoubleRelease,
    /// A request sent again got another job.
    DuplicateJobs,
    /// A job was given to a node that cannot do it, is drained or gone, or to an incarnation that has ended.
    Misplaced,
    /// A request was refused while a node that could have served it had a free slot.
    RefusedWhileFree,
    /// The scheduler's count of slots held on a node is not the ledger's.
    Miscounted,
    /// The scheduler refused a step that must succeed.
    UnexpectedAnswers,
    /// Events were lost, so that clients do not learn what became of their jobs.
    EventsDropped,
    /// Requests whose client still waited long after the last one must have been answered.
    Unsettled,
    /// Slots were held when all jobs had ended.
    SlotsHeldAtEnd,
    /// A slot was given to another while its lease ran.
    HeldTwice,
    /// A later lease of a slot has no larger fence.
    FenceFell,
}

impl Broken {
    /// What a replay in one process is checked for.
    pub(crate) const ALONE: [Self; 10] = [
        Self::OverCapacity,
        Self::DoubleRelease,
        Self::DuplicateJobs,
        Self::Misplaced,
        Self::RefusedWhileFree,
        Self::Miscounted,
        Self::UnexpectedAnswers,
        Self::EventsDropped,
        Self::Unsettled,
        Self::SlotsHeldAtEnd,
    ];
    /// What one in several is checked for, over all of them together.
    pub(crate) const SHARED: [Self; 9] = [
        Self::OverCapacity,
        Self::HeldTwice,
        Self::FenceFell,
        Self::DoubleRelease,
        Self::DuplicateJobs,
        Self::Misplaced,
        Self::UnexpectedAnswers,
        Self::Unsettled,
        Self::SlotsHeldAtEnd,
    ];
    const COUNT: usize = Self::FenceFell as usize + 1;

    /// What holds as long as this has not happened.
    pub(crate) fn invariant(self) -> &'static str {
        match self {
            Self::OverCapacity => "no node above its capacity",
            Self::DoubleRelease => "every slot released once",
            Self::DuplicateJobs => "one job a request",
            Self::Misplaced => "jobs only on nodes that can serve them",
            Self::RefusedWhileFree => "no refusal while a slot is free",
            Self::Miscounted => "the scheduler counts as its clients do",
            Self::UnexpectedAnswers => "every valid step accepted",
            Self::EventsDropped => "no event lost",
            Self::Unsettled => "every request answered",
            Self::SlotsHeldAtEnd => "no slot held at the end",
            Self::HeldTwice => "no slot held by two at once",
            Self::FenceFell => "fences of a slot only grow",
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.invariant())
    }
}

/// What did not add up, and when it first did not.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    counts: [u64; Broken::COUNT],
    examples: Vec<String>,
}

impl Violations {
    /// More examples than this help nobody.
    const MAX_EXAMPLES: usize = 10;

    pub(crate) fn note(&mut self, broken: Broken, now: u64, example: impl FnOnce() -> String) {
        self.add(broken, 1);
        if self.examples.len() < Self::MAX_EXAMPLES {
            self.examples.push(format!("at {:.3} s, {broken}: {}", now as f64 / 1e6, example()));
        }
    }

    pub(crate) fn add(&mut self, broken: Broken, times: u64) {
        self.counts[broken as usize] += times;
    }

    pub(crate) fn count(&self, broken: Broken) -> u64 {
        self.counts[broken as usize]
    }

    #[cfg(test)]
    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn examples(&self) -> &[String] {
        &self.examples
    }
}

/// A slot that a client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) worker: usize,
    pub(crate) incarnation: u64,
}

/// What is known of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    incarnation: u64,
    pub(crate) capacity: u32,
    pub(crate) held: u32,
    /// Whether a heartbeat of this incarnation said that it takes jobs.
    ready: bool,
    draining: bool,
    /// Whether the scheduler said that it is down, or it was deregistered.
    down: bool,
    /// Since when it is as it is, held slots apart.
    pub(crate) settled_since: u64,
    /// Slots held times microseconds since the last reading, up to `counted_to`.
    busy: u64,
    counted_to: u64,
}

impl Account {
    /// Whether the scheduler may give it jobs.
    pub(crate) fn open(&self) -> bool {
        self.ready && !self.draining && !self.down
    }

    fn count_to(&mut self, now: u64) {
        self.busy += u64::from(self.held) * (now - self.counted_to);
        self.counted_to = now;
    }

    /// Slots held times microseconds since this was last asked.
    pub(crate) fn take_busy(&mut self, now: u64) -> u64 {
        self.count_to(now);
        std::mem::take(&mut self.busy)
    }
}

/// All nodes' accounts.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) accounts: Vec<Account>,
    pub(crate) violations: Violations,
    held: u64,
}

impl Ledger {
    pub(crate) fn new(workers: usize) -> Self {
        Self { accounts: vec![Account::default(); workers], violations: Violations::default(), held: 0 }
    }

    /// Slots held in all, on nodes that are gone, too.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// A node has registered: nothing is held on this incarnation.
    pub(crate) fn opens(&mut self, worker: usize, incarnation: u64, capacity: u32, now: u64) {
        let account = &mut self.accounts[worker];
        account.count_to(now);
        let (busy, counted_to) = (account.busy, account.counted_to);
        *account = Account { incarnation, capacity, busy, counted_to, settled_since: now, ..Account::default() };
    }

    /// A heartbeat was taken that says that the node is alive and takes jobs.
    pub(crate) fn heard(&mut self, worker: usize, now: u64) {
        let account = &mut self.accounts[worker];
        if !account.ready || account.down {
            (account.ready, account.down, account.settled_since) = (true, false, now);
        }
    }

    pub(crate) fn drains(&mut self, worker: usize, draining: bool, now: u64) {
        (self.accounts[worker].draining, self.accounts[worker].settled_since) = (draining, now);
    }

    pub(crate) fn resizes(&mut self, worker: usize, capacity: u32, now: u64) {
        (self.accounts[worker].capacity, self.accounts[worker].settled_since) = (capacity, now);
    }

    /// A node was deregistered.
    pub(crate) fn leaves(&mut self, worker: usize, now: u64) {
        self.goes_down(worker, self.accounts[worker].incarnation, now);
    }

    /// An incarnation of a node gets no more jobs until it is heard again; whether that is news.
    pub(crate) fn goes_down(&mut self, worker: usize, incarnation: u64, now: u64) -> bool {
        let account = &mut self.accounts[worker];
        let news = account.incarnation == incarnation && !account.down;
        if news {
            (account.down, account.settled_since) = (true, now);
        }
        news
    }

    /// The scheduler gave a slot.
    pub(crate) fn acquire(&mut self, hold: Hold, now: u64) {
        let account = &mut self.accounts[hold.worker];
        account.count_to(now);
        self.held += 1;
        let Account { incarnation, capacity, held, .. } = *account;
        let Hold { worker, incarnation: given } = hold;
        if !account.open() || incarnation != given {
            let standing = format!("{account:?}");
            let example = || format!("a slot on worker {worker}, incarnation {given}, which is {standing}");
            self.violations.note(Broken::Misplaced, now, example);
        }
        if incarnation == given {
            account.held += 1;
            if held >= capacity {
                let example = || format!("a slot on worker {worker}, which has {capacity} and holds {held}");
                self.violations.note(Broken::OverCapacity, now, example);
            }
        }
    }

    /// The scheduler took a slot back.
    pub(crate) fn release(&mut self, hold: Hold, now: u64) {
        let account = &mut self.accounts[hold.worker];
        account.count_to(now);
        self.held = self.held.saturating_sub(1);
        // An ended incarnation's slots went with it.
        if account.incarnation == hold.incarnation {
            match account.held.checked_sub(1) {
                Some(held) => account.held = held,
                None => {
                    let example = || format!("worker {} holds no slot to release", hold.worker);
                    self.violations.note(Broken::DoubleRelease, now, example);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Hold = Hold { worker: 0, incarnation: 7 };

    fn open() -> Ledger {
        let mut ledger = Ledger::new(1);
        ledger.opens(0, 7, 2, 0);
        ledger.heard(0, 0);
        ledger
    }

    #[test]
    fn slots_are_counted_over_time() {
        let mut ledger = open();
        ledger.acquire(HOLD, 10);
        ledger.acquire(HOLD, 20);
        ledger.release(HOLD, 40);
        assert_eq!(ledger.accounts[0].take_busy(50), 10 + 2 * 20 + 10);
        assert_eq!((ledger.held(), ledger.violations.total()), (1, 0));
    }

    #[test]
    fn one_slot_too_many_or_too_few_is_noted() {
        let mut ledger = open();
        for _ in 0..3 {
            ledger.acquire(HOLD, 1);
        }
        assert_eq!(ledger.violations.count(Broken::OverCapacity), 1);
        for _ in 0..4 {
            ledger.release(HOLD, 2);
        }
        assert_eq!(ledger.violations.count(Broken::DoubleRelease), 1);
        assert_eq!(ledger.violations.examples().len(), 2);
    }

    #[test]
    fn only_open_nodes_may_get_jobs() {
        let mut ledger = open();
        ledger.acquire(Hold { incarnation: 6, ..HOLD }, 1);
        ledger.drains(0, true, 1);
        ledger.acquire(HOLD, 1);
        ledger.drains(0, false, 1);
        assert!(!ledger.goes_down(0, 6, 1));
        assert!(ledger.goes_down(0, 7, 1));
        ledger.acquire(HOLD, 1);
        assert_eq!(ledger.violations.count(Broken::Misplaced), 3);
        ledger.heard(0, 2);
        ledger.release(HOLD, 2);
        ledger.acquire(HOLD, 2);
        assert_eq!(ledger.violations.count(Broken::Misplaced), 3);
    }

    #[test]
    fn a_new_incarnation_starts_empty() {
        let mut ledger = open();
        ledger.acquire(HOLD, 0);
        ledger.opens(0, 8, 2, 10);
        ledger.release(HOLD, 20);
        assert_eq!((ledger.held(), ledger.accounts[0].held, ledger.violations.total()), (0, 0, 0));
        assert_eq!(ledger.accounts[0].take_busy(30), 10);
    }
}
