//! What was measured: as lines for people, and as JSON for `cargo xtask bench`.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use serde::Serialize;

/// Figures of one operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) min: f64,
    pub(crate) median: f64,
}

impl Figures {
    /// `None` of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self { min: *values.first()?, median: values[values.len() / 2] })
    }

    /// Of something that was measured once.
    pub(crate) fn once(value: f64) -> Self {
        Self { min: value, median: value }
    }
}

/// What a ratio may be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn parts(self) -> (&'static str, f64) {
        match self {
            Self::AtMost(limit) => ("at most", limit),
            Self::AtLeast(limit) => ("at least", limit),
        }
    }

    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtMost(limit) => ratio <= limit,
            Self::AtLeast(limit) => ratio >= limit,
        }
    }
}

/// See [`super::About`].
pub(crate) struct About {
    pub(super) case: String,
    pub(super) subject: String,
    pub(super) floor: String,
    pub(super) budget: Option<Bound>,
}

/// One subject beside its floor.
pub(crate) struct Row {
    pub(super) suite: &'static str,
    pub(super) about: About,
    pub(super) unit: &'static str,
    pub(super) ours: Figures,
    pub(super) floor: Figures,
    pub(super) ratio: f64,
}

/// A row as it is written to the file.
#[derive(Serialize)]
struct Line<'a> {
    suite: &'a str,
    case: &'a str,
    subject: &'a str,
    floor: &'a str,
    unit: &'a str,
    min: f64,
    median: f64,
    floor_min: f64,
    floor_median: f64,
    ratio: f64,
    bound: Option<&'a str>,
    budget: Option<f64>,
    met: Option<bool>,
}

impl Row {
    fn met(&self) -> Option<bool> {
        self.about.budget.map(|bound| bound.holds(self.ratio))
    }

    fn line(&self) -> Line<'_> {
        let (bound, budget) = self.about.budget.map(Bound::parts).unzip();
        Line {
            suite: self.suite,
            case: &self.about.case,
            subject: &self.about.subject,
            floor: &self.about.floor,
            unit: self.unit,
            min: self.ours.min,
            median: self.ours.median,
            floor_min: self.floor.min,
            floor_median: self.floor.median,
            ratio: self.ratio,
            bound,
            budget,
            met: self.met(),
        }
    }
}

/// All rows, and how many keep to their budget.
pub(super) fn table(rows: &[Row]) -> String {
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let case = width(|row| &row.about.case);
    let subject = width(|row| &row.about.subject);
    let floor = width(|row| &row.about.floor);
    let mut text = format!("min / median{:>1$}\n", "ratio of medians", case + subject + floor + 42);
    for row in rows {
        let Line { bound, budget, unit, .. } = row.line();
        let verdict = match (bound, budget, row.met()) {
            (Some(bound), Some(budget), Some(true)) => format!("{bound} {budget}: met"),
            (Some(bound), Some(budget), _) => format!("{bound} {budget}: NOT met"),
            _ => String::new(),
        };
        let pair = |figures: Figures| format!("{} / {}", short(figures.min), short(figures.median));
        let _ = writeln!(
            text,
            "{:case$}  {:subject$} {:>18} {unit}  {:floor$} {:>18} {unit}  {:>7.2}  {verdict}",
            row.about.case,
            row.about.subject,
            pair(row.ours),
            row.about.floor,
            pair(row.floor),
            row.ratio,
        );
    }
    let judged: Vec<bool> = rows.iter().filter_map(Row::met).collect();
    let met = judged.iter().filter(|met| **met).count();
    let _ = writeln!(text, "\nbudget met in {met} of {} rows that have one", judged.len());
    text
}

/// Some three figures of a value.
fn short(value: f64) -> String {
    format!("{value:.*}", if value.abs() < 10.0 { 3 } else { 1 })
}

/// Adds the rows to the file named in the environment, if one is.
pub(super) fn save(rows: &[Row]) {
    let Some(path) = std::env::var_os("SLOTYARD_BENCH_ROWS") else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let mut file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for row in rows {
        let line = serde_json::to_string(&row.line()).expect("strings and numbers");
        writeln!(file, "{line}").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
