//! The program of the models, with the mutants in it: building it, and running one model under one mutant.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wait_timeout::ChildExt as _;

use super::tree::ACTIVE;
use crate::process;
use crate::steps::{loom_tests, test_program};
use crate::workspace::Workspace;

/// What the models' paths begin with.
const BELOW: &str = "core::loom_tests::";

/// The exit status of the program when a model has failed, see `give_up` in `loom-tests/mod.rs`. That of cargo's test
/// runner is the same, which therefore says little.
const FAILED: i32 = 101;

/// The models take seconds: this is for those that a mutant keeps from ending.
pub(super) const LIMIT: Duration = Duration::from_secs(180);

/// What became of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It failed, and said this.
    Failed(String),
    /// All that it promises held; but not all was seen of what it is about.
    Narrow(String),
    Passed,
    /// It did not end.
    Stuck,
    /// The program ended otherwise.
    Broken(String),
}

/// The program.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// What each run says is put here.
    logs: PathBuf,
    /// Of the models, below [`BELOW`].
    pub(super) models: Vec<String>,
}

impl Program {
    /// Builds that of the copy: as the step `loom` does, to have the dependencies in common, but the library with another
    /// profile. To cargo the copy's library is the workspace's, and would otherwise be put, and taken, in its place.
    pub(super) fn build(workspace: &Workspace, copy: &Path, logs: PathBuf) -> Result<Self> {
        let mut cargo = loom_tests(workspace);
        cargo.current_dir(copy).args(["--config", "profile.release.package.slotyard.debug=false"]);
        let path = test_program(&mut cargo)?;
        let list = process::read(process::command(&path.to_string_lossy()).args(["--list", BELOW]))?;
        let models = models_in(&list);
        ensure!(!models.is_empty(), "{} has no models", path.display());
        fs::create_dir_all(&logs).with_context(|| format!("{} could not be made", logs.display()))?;
        Ok(Self { path, logs, models })
    }

    /// Runs one model alone, under a mutant or none.
    pub(super) fn run(
        &self,
        model: &str,
        mutant: Option<(u32, &str)>,
        preemptions: Option<u32>,
    ) -> Result<(Outcome, Duration)> {
        let test = format!("{BELOW}{model}");
        let mut program = process::command(&self.path.to_string_lossy());
        // With one thread, it would be the main one, which is not named after the model.
        program.args(["--exact", &test, "--nocapture", "--test-threads=2"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LOOM_")) {
            program.env_remove(name);
        }
        program.env_remove(ACTIVE);
        if let Some((number, _)) = mutant {
            program.env(ACTIVE, number.to_string());
        }
        if let Some(preemptions) = preemptions {
            program.env("LOOM_MAX_PREEMPTIONS", preemptions.to_string());
        }
        let log = mutant.map_or("none", |(_, name)| name).to_owned() + "." + &model.replace("::", ".") + ".log";
        let log = self.logs.join(log);
        let file = File::create(&log).with_context(|| format!("{} could not be written", log.display()))?;
        program.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begin = Instant::now();
        let mut child = program.spawn().with_context(|| format!("{} could not be started", self.path.display()))?;
        let Some(status) = child.wait_timeout(LIMIT)? else {
            child.kill()?;
            child.wait()?;
            return Ok((Outcome::Stuck, begin.elapsed()));
        };
        let took = begin.elapsed();
        let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        Ok((outcome(&test, status.code(), &status.to_string(), &said), took))
    }
}

/// The models in a list of cargo's test runner.
fn models_in(list: &str) -> Vec<String> {
    let models = list.lines().filter_map(|line| line.strip_suffix(": test")?.strip_prefix(BELOW));
    models.map(str::to_owned).collect()
}

/// What an end of the program means that was to run this test.
fn outcome(test: &str, code: Option<i32>, status: &str, said: &str) -> Outcome {
    let ran = said.lines().any(|line| line.starts_with("test result: ok. 1 passed;"));
    // By `give_up`, which names the model. Cargo's test runner says it otherwise when a test fails before a model begins.
    let given_up = format!("\n{test} failed: panicked at ");
    match (code, said.split_once(&given_up)) {
        (Some(0), None) if ran => Outcome::Passed,
        (Some(FAILED), Some((_, panic))) => {
            let (place, message) = panic.split_once('\n').unwrap_or((panic, ""));
            let message = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
            // By which path the models are a part of the crate, and the column, say nothing.
            let place = place.trim_end_matches(':').rsplit_once(':').map_or(place, |(place, _)| place);
            let place = place.rsplit_once("../").map_or(place, |(_, place)| place);
            let line = format!("{place}: {message}");
            if message.starts_with(NARROW) { Outcome::Narrow(line) } else { Outcome::Failed(line) }
        }
        _ => Outcome::Broken(format!("{status}; {}", said.lines().last().unwrap_or("it said nothing"))),
    }
}

/// What `explore` says when a model has ended well and an outcome was not among those that it was to see.
const NARROW: &str = "no execution in which ";

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "core::loom_tests::a::b";

    fn outcome_of(code: i32, said: &str) -> Outcome {
        outcome(TEST, Some(code), &format!("exit status: {code}"), said)
    }

    #[test]
    fn a_failure_is_one_that_names_the_model() {
        let said = "running 1 test\n\ncore::loom_tests::a::b failed: panicked at src/../loom-tests/a.rs:5:3:\na slot is free\n";
        assert_eq!(outcome_of(101, said), Outcome::Failed("loom-tests/a.rs:5: a slot is free".to_owned()));
        // Of another model, of the runner, or with another end.
        let broken = |code, said: &str| matches!(outcome_of(code, said), Outcome::Broken(_));
        assert!(broken(101, &said.replace("a::b", "a::c")));
        assert!(broken(101, &said.replace("a::b failed", "a::b_too failed")));
        assert!(broken(
            101,
            "running 1 test\ntest core::loom_tests::a::b ... FAILED\ntest result: FAILED. 0 passed;\n"
        ));
        assert!(broken(1, said) && broken(0, said));
        assert!(
            matches!(outcome(TEST, None, "signal: 11", said), Outcome::Broken(why) if why.starts_with("signal: 11"))
        );
    }

    #[test]
    fn a_model_that_has_not_run_has_not_passed() {
        assert_eq!(
            outcome_of(0, "test core::loom_tests::a::b ... ok\n\ntest result: ok. 1 passed; 0 failed;\n"),
            Outcome::Passed
        );
        let none = outcome_of(0, "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 9 filtered out\n");
        assert!(matches!(none, Outcome::Broken(_)), "{none:?}");
    }

    #[test]
    fn an_outcome_that_was_not_seen_is_no_failure_of_the_invariant() {
        let said = "\ncore::loom_tests::a::b failed: panicked at loom-tests/mod.rs:9:9:\nno execution in which it was full; there were: {}\n";
        let narrow = "loom-tests/mod.rs:9: no execution in which it was full; there were: {}".to_owned();
        assert_eq!(outcome_of(101, said), Outcome::Narrow(narrow));
    }

    #[test]
    fn models_are_read_from_a_list() {
        let list =
            "a::tests::c: test\ncore::loom_tests::a::b: test\ncore::loom_tests::d::e: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(models_in(list), ["a::b", "d::e"]);
    }
}
