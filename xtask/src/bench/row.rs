//! Rows as the suites write them, with where and when they were measured, and the file that keeps them.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One subject beside its floor: what a suite writes, a line each (`benches/harness/row.rs`). A number that is none, NaN
/// or infinite, is `null` there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) suite: String,
    pub(crate) case: String,
    pub(crate) subject: String,
    pub(crate) floor: String,
    pub(crate) unit: String,
    pub(crate) min: Option<f64>,
    pub(crate) median: Option<f64>,
    pub(crate) floor_min: Option<f64>,
    pub(crate) floor_median: Option<f64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) bound: Option<Bound>,
    pub(crate) budget: Option<f64>,
    pub(crate) met: Option<bool>,
    /// Not written by the suites.
    #[serde(default)]
    pub(crate) run: Run,
}

/// Which way a budget holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Bound {
    #[serde(rename = "at most")]
    AtMost,
    #[serde(rename = "at least")]
    AtLeast,
}

/// Where and when something was measured. Each row has its own: suites are measured at different times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) cores: usize,
    pub(crate) rustc: String,
    pub(crate) version: String,
}

/// A budget as it was stated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Budget {
    pub(crate) bound: Bound,
    pub(crate) limit: f64,
}

impl Bound {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AtMost => "at most",
            Self::AtLeast => "at least",
        }
    }
}

impl Row {
    /// What it is of; a later measurement of the same replaces it.
    fn key(&self) -> [&str; 4] {
        [&self.suite, &self.case, &self.subject, &self.floor]
    }

    /// The case, and what it is held against if that is more than a floor: another program.
    pub(crate) fn place(&self) -> String {
        if self.floor.starts_with("floor") {
            self.case.clone()
        } else {
            format!("{}, beside {}", self.case, self.floor)
        }
    }

    pub(crate) fn budget(&self) -> Option<Budget> {
        Some(Budget { bound: self.bound?, limit: self.budget? })
    }

    /// Whether the budget is met, if there is one. A ratio that is no number meets none.
    pub(crate) fn met(&self) -> Option<bool> {
        self.budget().map(|_| self.ratio.is_some() && self.met == Some(true))
    }

    /// How much of its budget it takes: more than 1 is too much.
    pub(crate) fn strain(&self) -> Option<f64> {
        let Budget { bound, limit } = self.budget()?;
        let Some(ratio) = self.ratio else { return Some(f64::INFINITY) };
        Some(match bound {
            Bound::AtMost => ratio / limit,
            Bound::AtLeast => limit / ratio,
        })
    }
}

/// The one that is worst for its budget.
pub(crate) fn worst<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Option<&'r Row> {
    rows.into_iter().filter(|row| row.budget().is_some()).max_by(|one, other| {
        let strain = |row: &Row| row.strain().unwrap_or(f64::NEG_INFINITY);
        strain(one).partial_cmp(&strain(other)).unwrap_or(Ordering::Equal)
    })
}

/// The rows of a file. One that is not there has none: a suite may have nothing to say.
///
/// # Errors
/// When it cannot be read, or a line is no row: which.
pub(crate) fn load(path: &Path) -> Result<Vec<Row>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("{} could not be read", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| serde_json::from_str(line).with_context(|| format!("line {} is no row", at + 1))).collect()
}

/// # Errors
/// When the file cannot be written.
pub(crate) fn save(path: &Path, rows: &[Row]) -> Result<()> {
    let lines: Result<Vec<_>, _> = rows.iter().map(serde_json::to_string).collect();
    let text: String = lines?.into_iter().map(|line| line + "\n").collect();
    fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))
}

/// Puts a suite's new rows in place of its old ones: of all, if `whole`, or else of those that were measured again.
pub(crate) fn replace(rows: &mut Vec<Row>, suite: &str, new: Vec<Row>, whole: bool) {
    if new.is_empty() {
        return;
    }
    if whole {
        rows.retain(|row| row.suite != suite);
    }
    for row in new {
        match rows.iter_mut().find(|old| old.key() == row.key()) {
            Some(old) => *old = row,
            None => rows.push(row),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(suite: &str, case: &str, ratio: Option<f64>) -> Row {
        Row {
            suite: suite.to_owned(),
            case: case.to_owned(),
            subject: "ours".to_owned(),
            floor: "floor".to_owned(),
            unit: "ns".to_owned(),
            min: Some(10.0),
            median: Some(12.0),
            floor_min: Some(8.0),
            floor_median: Some(8.5),
            ratio,
            bound: None,
            budget: None,
            met: None,
            run: Run { date: "2026-01-02 03:04 UTC".to_owned(), cores: 2, ..Run::default() },
        }
    }

    pub(crate) fn judged(row: Row, bound: Bound, limit: f64) -> Row {
        let met = row.ratio.is_some_and(|ratio| if bound == Bound::AtMost { ratio <= limit } else { ratio >= limit });
        Row { bound: Some(bound), budget: Some(limit), met: Some(met), ..row }
    }

    #[test]
    fn lines_of_a_suite_are_read() {
        let text = r#"{"suite":"select","case":"10 nodes","subject":"plain","floor":"floor","unit":"ns","min":1.0,"median":2.0,"floor_min":1.0,"floor_median":1.0,"ratio":2.0,"bound":"at most","budget":1.5,"met":false}

{"suite":"select","case":"10 nodes","subject":"odd","floor":"floor","unit":"ns","min":1,"median":null,"floor_min":1.0,"floor_median":0.0,"ratio":null,"bound":null,"budget":null,"met":null}
"#;
        let rows = parse(text).unwrap();
        assert_eq!(rows[0].budget(), Some(Budget { bound: Bound::AtMost, limit: 1.5 }));
        assert_eq!((rows[0].met(), rows[1].met(), rows[1].ratio), (Some(false), None, None));
        let error = format!("{:#}", parse("{}\n").unwrap_err());
        assert!(error.starts_with("line 1 is no row: "), "{error}");
    }

    #[test]
    fn rows_are_kept_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        assert_eq!(load(&path).unwrap(), []);
        let rows = [row("a", "1", Some(1.5)), judged(row("a", "2", Some(f64::NAN)), Bound::AtLeast, 2.0)];
        save(&path, &rows).unwrap();
        let back = load(&path).unwrap();
        assert_eq!(back[0], rows[0]);
        assert_eq!((back[1].ratio, back[1].met()), (None, Some(false)));
    }

    #[test]
    fn a_suite_that_was_run_again_replaces_its_rows() {
        let old = || vec![row("a", "1", None), row("b", "1", None), row("a", "2", None)];
        let cases = |rows: &[Row]| rows.iter().map(|row| format!("{}{}", row.suite, row.case)).collect::<Vec<_>>();
        let mut rows = old();
        replace(&mut rows, "a", vec![row("a", "2", Some(2.0)), row("a", "3", None)], true);
        assert_eq!(cases(&rows), ["b1", "a2", "a3"]);
        let mut rows = old();
        replace(&mut rows, "a", vec![row("a", "2", Some(2.0)), row("a", "3", None)], false);
        assert_eq!(cases(&rows), ["a1", "b1", "a2", "a3"]);
        assert_eq!(rows[2].ratio, Some(2.0));
        // One subject may be held against several others.
        let beside = |floor: &str| Row { floor: floor.to_owned(), ..row("a", "2", None) };
        replace(&mut rows, "a", vec![beside("this"), beside("that")], false);
        assert_eq!(cases(&rows), ["a1", "b1", "a2", "a3", "a2", "a2"]);
        assert_eq!((rows[2].place(), rows[4].place()), ("2".to_owned(), "2, beside this".to_owned()));
        // A run that measured nothing (a filter that matches nothing, `--list`) takes nothing away.
        replace(&mut rows, "a", Vec::new(), true);
        assert_eq!(rows.len(), 6);
    }

    #[test]
    fn the_worst_is_the_farthest_from_its_budget() {
        let most = |case, ratio| judged(row("a", case, ratio), Bound::AtMost, 1.5);
        let least = |case, ratio| judged(row("a", case, ratio), Bound::AtLeast, 10.0);
        let case = |rows: &[Row]| worst(rows).map(|row| row.case.clone());
        assert_eq!(case(&[row("a", "none", Some(99.0))]), None);
        assert_eq!(case(&[most("2", Some(3.0)), least("5", Some(2.0)), row("a", "none", None)]).unwrap(), "5");
        assert_eq!(case(&[most("2", Some(3.0)), most("nan", None), least("5", Some(2.0))]).unwrap(), "nan");
    }
}
