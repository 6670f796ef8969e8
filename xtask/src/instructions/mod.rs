//! Instructions of one operation, counted under callgrind.
//!
//! A time varies with the machine and with what else runs there; a count hardly does. Six runs of the same differed by 1
//! instruction at most where no hash table is, by 3 or 0.4 % where one is (its keys are mixed anew in every process);
//! five seeds by 24 of a job's 4656, by 5 of a heartbeat's 432 by id, and by 1 or 0.1 % in all else that is ours. So a
//! check on counts can fail for one operation that has become a few percent longer, on any machine.
//!
//! The program (`benches/instructions/`) is run twice for each operation, with few and with many; the difference is that
//! of the operations alone, without what it took to start and set up. Nothing in the program knows of the counting, and
//! nothing is needed but valgrind itself: no macros of its headers, no names of functions that an optimiser may inline.

pub(crate) mod record;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use crate::process;
use crate::workspace::{LIBRARY, Workspace};

/// The program's name among the benchmarks.
pub(crate) const SUITE: &str = "instructions";

/// Operations of the two runs. The first is past what only the first ones do (growing tables, filling queues).
const FEW: u32 = 1024;
const MANY: u32 = 4096;

/// What is counted, and what it is held against: names of the program's operations.
pub(crate) struct Case {
    pub(crate) operation: &'static str,
    /// Of each node.
    pub(crate) slots: u32,
    pub(crate) floor: &'static str,
}

#[rustfmt::skip]
pub(crate) const CASES: [Case; 10] = [
    Case { operation: "prepared", slots: 1, floor: "floor-reserve" },
    Case { operation: "prepared", slots: 8, floor: "floor-reserve" },
    Case { operation: "plain", slots: 1, floor: "floor-reserve" },
    Case { operation: "plain", slots: 8, floor: "floor-reserve" },
    Case { operation: "select", slots: 1, floor: "floor-reserve" },
    Case { operation: "select", slots: 8, floor: "floor-reserve" },
    Case { operation: "job", slots: 8, floor: "floor-job" },
    Case { operation: "heartbeat-by-handle", slots: 8, floor: "floor-get" },
    Case { operation: "heartbeat-by-id", slots: 8, floor: "floor-get" },
    Case { operation: "register", slots: 8, floor: "floor-insert-remove" },
];

/// Instructions of one operation, by [`key`].
pub(crate) type Counts = BTreeMap<String, f64>;

pub(crate) fn key(operation: &str, slots: u32) -> String {
    format!("{operation}, nodes of {slots}")
}

/// Builds the program and counts all cases and their floors.
///
/// # Errors
/// When it cannot be built, or valgrind not run it.
pub(crate) fn count(workspace: &Workspace) -> Result<Counts> {
    let program = build(workspace)?;
    let folder = workspace.target_dir().join("xtask").join("callgrind");
    fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
    let mut wanted = BTreeMap::new();
    for Case { operation, slots, floor } in CASES {
        wanted.insert(key(operation, slots), (operation, slots));
        wanted.insert(key(floor, slots), (floor, slots));
    }
    eprintln!("counting the instructions of {} operations under callgrind", wanted.len());
    in_parallel(wanted, |(operation, slots)| count_one(&program, &folder, operation, slots))
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let build = ["build", "--release", "--package", LIBRARY, "--bench", SUITE];
    let messages = process::read(workspace.cargo(build).arg("--message-format=json-render-diagnostics"))?;
    let built = Message::parse_stream(messages.as_bytes()).filter_map(|message| match message {
        Ok(Message::CompilerArtifact(artifact)) if artifact.target.name == SUITE => artifact.executable,
        _ => None,
    });
    built.last().map(PathBuf::from).context("cargo did not say where it has put the program")
}

/// On as many threads as there are cores.
fn in_parallel<T: Copy + Send>(wanted: BTreeMap<String, T>, count: impl Fn(T) -> Result<f64> + Sync) -> Result<Counts> {
    let counts = process::in_parallel(process::cores(), wanted, |(key, what)| Ok((key, count(what)?)))?;
    Ok(counts.into_iter().collect())
}

fn count_one(program: &Path, folder: &Path, operation: &str, slots: u32) -> Result<f64> {
    let total = |operations: u32| {
        let profile = folder.join(format!("{operation}-{slots}-{operations}.out"));
        let mut valgrind = process::command("valgrind");
        valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", profile.display())).arg(program);
        valgrind.args(["--operation", operation, "--slots", &slots.to_string()]);
        process::quietly(valgrind.args(["--operations", &operations.to_string()]))?;
        let text = fs::read_to_string(&profile).with_context(|| format!("no profile at {}", profile.display()))?;
        total_of(&text).with_context(|| format!("no count in {}", profile.display()))
    };
    let (few, many) = (total(FEW)?, total(MANY)?);
    ensure!(many > few, "{operation}: {MANY} operations took {many} instructions, {FEW} took {few}");
    Ok((many - few) as f64 / f64::from(MANY - FEW))
}

/// The instructions that a profile of callgrind says were run. The format is documented, the messages are not.
fn total_of(profile: &str) -> Option<u64> {
    let total = profile.lines().rev().find_map(|line| line.strip_prefix("totals:"))?;
    total.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_profile_is_read() {
        assert_eq!(
            total_of("version: 1\nevents: Ir\nsummary: 12\nfn=(1) main\n3 4\n\ntotals: 123456\n"),
            Some(123_456)
        );
        assert_eq!(total_of("totals: 7 8 9"), Some(7));
        for broken in ["", "events: Ir\n", "totals: many\n", "totals:\n"] {
            assert_eq!(total_of(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn all_are_counted_once_and_a_failure_is_told() {
        let wanted = || (0..20).map(|number| (format!("{number}"), number)).collect::<BTreeMap<_, _>>();
        let counts = in_parallel(wanted(), |number| Ok(f64::from(number))).unwrap();
        assert_eq!(counts.len(), 20);
        assert!(counts.iter().all(|(key, count)| *key == count.to_string()));
        let failing = |number| if number == 7 { Err(anyhow::anyhow!("seven")) } else { Ok(0.0) };
        assert_eq!(in_parallel(wanted(), failing).unwrap_err().to_string(), "seven");
    }
}
