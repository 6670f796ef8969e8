//! A suite: criterion's measurements, each beside its floor, with the ratios at the end.
//!
//! A ratio of two figures measured one after the other is worth nothing on a machine that others use. So while criterion
//! asks for the time of one contender, that one and its floor take turns of some 50 us: whatever the machine does then
//! hits both alike. Criterion is given the contender's time, for its own statistics and baselines; of the turns come
//! the minimum and the median of both, and their ratio.
//!
//! Names are `suite/case/subject`, and a filter is given as criterion wants it, as the first argument. It is a regular
//! expression, so names do without what means something in one.

#![allow(dead_code, reason = "each suite is a program of its own and uses what it needs of this")]

pub(crate) mod clock;
pub(crate) mod crew;
pub(crate) mod latencies;
mod machine;
mod row;
mod turns;

use std::time::Duration;

use criterion::Criterion;

pub(crate) use row::{Bound, Figures, Row};
pub(crate) use turns::Turns;

/// What is timed. Closures that take how often to run are.
pub(crate) trait Operation {
    /// Gets ready to run so many times, outside of what is timed.
    fn prepare(&mut self, _times: u32) {}

    fn run(&mut self, times: u32);
}

impl<F: FnMut(u32)> Operation for F {
    fn run(&mut self, times: u32) {
        self(times);
    }
}

/// An operation that takes part in a comparison.
pub(crate) type Contender<'a> = &'a mut (dyn Operation + 'a);

/// What does one thing, as an operation.
pub(crate) fn repeat(mut once: impl FnMut()) -> impl FnMut(u32) {
    move |times| (0..times).for_each(|_| once())
}

/// What one program measures.
pub(crate) struct Suite {
    name: &'static str,
    criterion: Criterion,
    filter: Option<String>,
    rows: Vec<Row>,
}

impl Suite {
    pub(crate) fn new(name: &'static str) -> Self {
        let criterion = Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(400))
            .without_plots()
            .configure_from_args();
        let filter = std::env::args().nth(1).filter(|first| !first.starts_with('-'));
        Self { name, criterion, filter, rows: Vec::new() }
    }

    /// Whether this is a benchmark, rather than a test that it runs.
    pub(crate) fn is_bench() -> bool {
        std::env::args().any(|argument| argument == "--bench")
    }

    /// Whether something of a case that begins like this may be asked for: what is costly to set up need not be, if not.
    pub(crate) fn wants(&self, case: &str) -> bool {
        let Some(filter) = &self.filter else { return true };
        let full = format!("{}/{case}", self.name);
        full.contains(filter.as_str()) || filter.starts_with(&full) || !filter.starts_with(self.name)
    }

    /// Measures `ours` beside `floor`. Returns the figures of both, unless a filter left this out.
    pub(crate) fn compare(
        &mut self,
        about: About<'_>,
        ours: Contender<'_>,
        floor: Contender<'_>,
    ) -> Option<(Figures, Figures)> {
        let mut turns = Turns::default();
        let id = format!("{}/{}/{}", self.name, about.case, about.subject);
        self.criterion.bench_function(&id, |bencher| {
            bencher.iter_custom(|iterations| turns.take(iterations, ours, floor));
        });
        let (ours, floor) = turns.figures()?;
        self.record_ratio(about, "ns", ours, floor);
        Some((ours, floor))
    }

    /// Takes in what has a budget of its own rather than a floor.
    pub(crate) fn limit(&mut self, case: &str, subject: &str, unit: &'static str, ours: Figures, budget: f64) {
        let about = About { case, subject, floor: "budget", budget: Some(Bound::AtMost(1.0)) };
        self.record_ratio(about, unit, ours, Figures::once(budget));
    }

    /// Takes in what was measured otherwise; the ratio is that of the medians.
    pub(crate) fn record_ratio(&mut self, about: About<'_>, unit: &'static str, ours: Figures, floor: Figures) {
        self.record(about, unit, ours, floor, ours.median / floor.median);
    }

    /// Takes in what was measured otherwise, and what it comes to.
    pub(crate) fn record(&mut self, about: About<'_>, unit: &'static str, ours: Figures, floor: Figures, ratio: f64) {
        self.rows.push(Row { suite: self.name, about: about.owned(), unit, ours, floor, ratio });
    }

    /// Prints the ratios, and adds them to the file that the environment variable `SLOTYARD_BENCH_ROWS` names.
    ///
    /// # Panics
    /// When that file cannot be written.
    pub(crate) fn finish(self) {
        self.criterion.final_summary();
        if Self::is_bench() && !self.rows.is_empty() {
            print!("\n{}\n{}", row::table(&self.rows), machine::describe());
            row::save(&self.rows);
        }
    }
}

/// What a measurement is of.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    /// The circumstances: how many nodes, under what load.
    pub(crate) case: &'a str,
    /// What is measured.
    pub(crate) subject: &'a str,
    /// What it is held against.
    pub(crate) floor: &'a str,
    /// What the ratio may be; none if there is no budget for it.
    pub(crate) budget: Option<Bound>,
}

impl About<'_> {
    fn owned(self) -> row::About {
        row::About {
            case: self.case.to_owned(),
            subject: self.subject.to_owned(),
            floor: self.floor.to_owned(),
            budget: self.budget,
        }
    }
}
