//! `cargo xtask bench`: runs the suites and writes one page of what they measured, with a plot a suite.
//!
//! Each suite adds its rows to a file that the environment names. They are kept with those of earlier runs, in
//! `benches/results/rows.jsonl`, of which the page is made: so one suite can be measured anew by itself.

mod page;
mod plot;
mod row;
mod run;
mod suite;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use self::row::{Row, Run};
use self::suite::Suite;
use crate::instructions::{self, record};
use crate::workspace::Workspace;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    /// All, if none is named.
    pub(crate) suites: Vec<String>,
    /// Fail when a budget is not met.
    pub(crate) check: bool,
    /// Record the counts of instructions.
    pub(crate) record: bool,
    /// For the suites.
    pub(crate) arguments: Vec<String>,
}

/// Measures and writes the page.
///
/// # Errors
/// When a suite fails (those before it are on the page), a file cannot be written, or, if so wished, a budget is not met.
pub(crate) fn run(wish: &Wish, workspace: &Workspace) -> Result<()> {
    let all = Suite::all(&workspace.metadata);
    let suites = Suite::selected(&all, &wish.suites, !wish.arguments.is_empty())?;
    ensure!(
        !wish.record || suites == [Suite::Instructions],
        "what is recorded is instructions: `cargo xtask bench {} --record`",
        instructions::SUITE
    );
    Suite::ensure_tools(&suites)?;
    let results = Results::open(workspace.root().join("benches").join("results"))?;
    let measured = measure(wish, workspace, &all, &suites, results)?;
    conclude(&measured.iter().collect::<Vec<_>>(), wish.check)
}

/// Runs one suite after the other, and puts each on the page. Returns the rows of all.
fn measure(
    wish: &Wish,
    workspace: &Workspace,
    all: &[Suite],
    suites: &[Suite],
    mut results: Results,
) -> Result<Vec<Row>> {
    let mut measured = Vec::new();
    for suite in suites {
        let run = Run::here(workspace)?;
        let rows = suite.run(workspace, &wish.arguments)?;
        if rows.is_empty() {
            eprintln!("note: {} has measured nothing for the page", suite.name());
            continue;
        }
        let rows: Vec<_> = rows.into_iter().map(|row| Row { run: run.clone(), ..row }).collect();
        if wish.record {
            record_counts(&rows, workspace)?;
        }
        measured.extend(rows.iter().cloned());
        row::replace(&mut results.rows, suite.name(), rows, wish.arguments.is_empty());
        results.write(all)?;
    }
    eprintln!("the page is {}", results.page().display());
    Ok(measured)
}

/// The counts, those of the floors with them, as what they are held against from now on.
fn record_counts(rows: &[Row], workspace: &Workspace) -> Result<()> {
    let ours = rows.iter().filter_map(|row| Some((row.case.clone(), row.median?)));
    let floors = rows.iter().filter_map(|row| {
        let (_, circumstances) = row.case.split_once(", ")?;
        Some((format!("{}, {circumstances}", row.floor), row.floor_median?))
    });
    record::Record::new(record::Origin::here()?, ours.chain(floors).collect()).save(workspace)
}

/// Says what became of the budgets, in the last lines.
fn conclude(rows: &[&Row], check: bool) -> Result<()> {
    let groups = page::grouped(rows);
    for group in &groups {
        println!("{}", group.line());
    }
    let broken = groups.iter().filter(|group| group.met() < group.rows.len()).count();
    let verdict = match (groups.len(), broken) {
        (0, _) => "budgets: no row has one".to_owned(),
        (all, 0) => format!("budgets: all {all} met"),
        (all, broken) => format!("budgets: {broken} of {all} NOT met"),
    };
    println!("{verdict}");
    ensure!(!check || broken == 0, "{verdict}");
    Ok(())
}

/// The folder with the rows, the page and the plots.
struct Results {
    folder: PathBuf,
    rows: Vec<Row>,
}

impl Results {
    fn open(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
        let rows = row::load(&folder.join("rows.jsonl"))?;
        Ok(Self { folder, rows })
    }

    fn page(&self) -> PathBuf {
        self.folder.join("README.md")
    }

    /// Writes the rows of suites that there are, and what follows from them.
    fn write(&self, all: &[Suite]) -> Result<()> {
        let suites = suite::in_order(all, &self.rows);
        let kept: Vec<_> = suites.iter().flat_map(|(_, rows)| rows.iter().map(|row| (*row).clone())).collect();
        row::save(&self.folder.join("rows.jsonl"), &kept)?;
        for (name, rows) in &suites {
            write(&self.folder.join(format!("{name}.svg")), &plot::plot(name, rows)?)?;
        }
        write(&self.page(), &page::page(&suites))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} could not be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::row::Bound;
    use super::row::tests::{judged, row};
    use super::*;

    #[test]
    fn a_budget_that_is_not_met_fails_only_if_so_wished() {
        let good = judged(row("a", "1", Some(1.0)), Bound::AtMost, 1.5);
        let bad = judged(row("a", "2", Some(2.0)), Bound::AtMost, 1.5);
        conclude(&[], true).unwrap();
        conclude(&[&good, &row("a", "3", None)], true).unwrap();
        conclude(&[&good, &bad], false).unwrap();
        assert_eq!(conclude(&[&good, &bad], true).unwrap_err().to_string(), "budgets: 1 of 1 NOT met");
    }

    #[test]
    fn the_page_and_the_plots_are_written_from_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::open(folder.path().join("results")).unwrap();
        let bench = Suite::Bench { package: "p".to_owned(), name: "one".to_owned(), features: Vec::new() };
        row::replace(&mut results.rows, "one", vec![row("one", "1", Some(1.0)), row("one", "2", None)], true);
        row::replace(&mut results.rows, "gone", vec![row("gone", "1", Some(1.0))], true);
        results.write(&[bench]).unwrap();
        let text = fs::read_to_string(results.page()).unwrap();
        assert!(text.contains("## one") && !text.contains("gone"), "{text}");
        assert!(results.folder.join("one.svg").exists());
        assert_eq!(Results::open(results.folder).unwrap().rows.len(), 2);
    }
}
