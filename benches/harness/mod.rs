//! A suite: criterion's measurements, each beside its floor, with the ratios at the end.
//!
//! A ratio of two figures measured one after the other is worth nothing on a machine that others use. So while criterion
//! asks for the time of one contender, that one and its floor take turns of some 50 us: whatever the machine does then
//! hits both alike. Criterion is given the contender's time, for its own statistics and baselines; of the turns come
//! the minimum and the median of both, and their ratio.
//!
//! Names are `suite/case/subject`, and a filter is given as criterion wants it, as the first argument.

// Each suite is a program of its own and uses what it needs of this.
#![allow(dead_code)]

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

/// An operation, run so many times.
pub(crate) type Contender<'a> = &'a mut (dyn FnMut(u32) + 'a);

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

    /// Measures `ours` beside `floor`.
    pub(crate) fn compare(&mut self, about: About<'_>, ours: Contender<'_>, floor: Contender<'_>) {
        let mut turns = Turns::default();
        let id = format!("{}/{}/{}", self.name, about.case, about.subject);
        self.criterion.bench_function(&id, |bencher| {
            bencher.iter_custom(|iterations| turns.take(iterations, ours, floor));
        });
        if let Some((ours, floor)) = turns.figures() {
            self.record_ratio(about, "ns", ours, floor);
        }
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
