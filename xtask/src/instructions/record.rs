//! The counts that are recorded, and the present ones held against them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Counts;
use crate::process;
use crate::workspace::Workspace;

/// How far a count may be from the recorded one: so much of it, or so many instructions, whichever is more. Several
/// times what counts vary by without a change.
const SHARE: f64 = 0.02;
const INSTRUCTIONS: f64 = 5.0;

/// What a count depends on beside the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    rustc: String,
    target: String,
    /// Its allocator and its ways of copying memory are counted, too.
    libc: String,
}

/// As in `benches/instructions/recorded.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    origin: Origin,
    counts: Counts,
}

/// What became of the counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// More instructions than recorded; or not recorded, or no longer counted.
    pub(crate) worse: Vec<String>,
    /// Fewer.
    pub(crate) better: Vec<String>,
}

impl Record {
    pub(crate) fn new(origin: Origin, mut counts: Counts) -> Self {
        // Digits behind the point are noise, and would change with every recording.
        counts.values_mut().for_each(|count| *count = count.round());
        Self { origin, counts }
    }

    pub(crate) fn path(workspace: &Workspace) -> PathBuf {
        workspace.root().join("benches/instructions/recorded.json")
    }

    /// # Errors
    /// When there is none, or it is not what was written here.
    pub(crate) fn load(workspace: &Workspace) -> Result<Self> {
        let path = Self::path(workspace);
        let text = fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no record", path.display()))
    }

    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, workspace: &Workspace) -> Result<()> {
        let (path, text) = (Self::path(workspace), serde_json::to_string_pretty(self)? + "\n");
        fs::write(&path, text).with_context(|| format!("{} could not be written", path.display()))?;
        eprintln!("recorded in {}", path.display());
        Ok(())
    }

    /// Why counts of `here` say nothing about the recorded ones, if they do not.
    pub(crate) fn elsewhere(&self, here: &Origin) -> Option<String> {
        let pairs =
            [(&self.origin.rustc, &here.rustc), (&self.origin.target, &here.target), (&self.origin.libc, &here.libc)];
        let differing = pairs.iter().filter(|(then, now)| then != now);
        let told: Vec<_> = differing.map(|(then, now)| format!("recorded with {then}, this is {now}")).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The present counts beside the recorded ones.
    pub(crate) fn compare(&self, counts: &Counts) -> Difference {
        let mut difference = Difference::default();
        for (key, count) in counts {
            let Some(recorded) = self.counts.get(key) else {
                difference.worse.push(format!("{key}: {count:.0} instructions, none recorded"));
                continue;
            };
            let change = format!(
                "{key}: {count:.0} instructions, recorded {recorded:.0} ({:+.1} %)",
                (count / recorded - 1.0) * 100.0
            );
            if *count > recorded + allowance(*recorded) {
                difference.worse.push(change);
            } else if *count < recorded - allowance(*recorded) {
                difference.better.push(change);
            }
        }
        let gone = self.counts.keys().filter(|key| !counts.contains_key(*key));
        difference.worse.extend(gone.map(|key| format!("{key}: recorded, and no longer counted")));
        difference
    }

    /// A line for each count.
    pub(crate) fn table(&self, counts: &Counts) -> String {
        let width = counts.keys().map(String::len).max().unwrap_or(0);
        let mut text = format!("{:width$}  instructions  recorded\n", "");
        for (key, count) in counts {
            let recorded = self.counts.get(key).map_or("none".to_owned(), |recorded| format!("{recorded:.0}"));
            let _ = writeln!(text, "{key:width$}  {count:>12.1}  {recorded:>8}");
        }
        text
    }
}

fn allowance(recorded: f64) -> f64 {
    (recorded * SHARE).max(INSTRUCTIONS)
}

impl Origin {
    /// # Errors
    /// When rustc does not say what it is.
    pub(crate) fn here() -> Result<Self> {
        let about = process::command("rustc").arg("-vV").output().context("rustc could not be started")?;
        let about = String::from_utf8_lossy(&about.stdout).into_owned();
        let target =
            about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc did not tell its host")?;
        let rustc = about.lines().next().unwrap_or_default().to_owned();
        Ok(Self { rustc, target: target.to_owned(), libc: libc_version() })
    }
}

/// As the system names it; programs are linked to it while they start.
fn libc_version() -> String {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or("another libc".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(rustc: &str) -> Origin {
        Origin { rustc: rustc.to_owned(), target: "x86_64".to_owned(), libc: "glibc 2.36".to_owned() }
    }

    fn counts(of: &[(&str, f64)]) -> Counts {
        of.iter().map(|(key, count)| ((*key).to_owned(), *count)).collect()
    }

    fn record() -> Record {
        Record::new(origin("rustc 1"), counts(&[("short", 100.4), ("long", 10_000.0)]))
    }

    #[test]
    fn small_changes_are_let_be() {
        for same in [[("short", 104.9), ("long", 10_199.0)], [("short", 95.1), ("long", 9_801.0)]] {
            assert_eq!(record().compare(&counts(&same)), Difference::default());
        }
    }

    #[test]
    fn more_instructions_are_worse_and_fewer_are_better() {
        let difference = record().compare(&counts(&[("short", 106.0), ("long", 9_000.0)]));
        assert_eq!(difference.worse, ["short: 106 instructions, recorded 100 (+6.0 %)"]);
        assert_eq!(difference.better, ["long: 9000 instructions, recorded 10000 (-10.0 %)"]);
    }

    #[test]
    fn what_is_not_recorded_and_what_is_not_counted_is_told() {
        let difference = record().compare(&counts(&[("short", 100.0), ("new", 5.0)]));
        assert_eq!(difference.worse, ["new: 5 instructions, none recorded", "long: recorded, and no longer counted"]);
        assert!(record().table(&counts(&[("new", 5.0)])).contains("none"));
    }

    #[test]
    fn counts_of_another_compiler_say_nothing() {
        assert_eq!(record().elsewhere(&origin("rustc 1")), None);
        let why = record().elsewhere(&origin("rustc 2")).unwrap();
        assert_eq!(why, "recorded with rustc 1, this is rustc 2");
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let text = serde_json::to_string_pretty(&record()).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record());
        assert!(Origin::here().unwrap().rustc.starts_with("rustc 1."));
    }
}
