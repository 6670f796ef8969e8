//! `cargo xtask mutants-loom`: shows that the models can fail.
//!
//! A model that passes shows something only if it would not pass otherwise. So for every model there are mutants, small
//! changes of the code that break what it is about (`loom-tests/mutants/`), and the model, run alone, has to fail under
//! each. All mutants are put into one copy of the workspace and built once, see [`schemata`]; which one there is, if any,
//! the environment says to each run.
//!
//! That nothing else was changed by that is shown by the models that are named, without a mutant and with few preemptions:
//! the step `loom` runs them in full.

mod list;
mod models;
mod schemata;
mod tree;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use self::list::List;
use self::models::{LIMIT, Outcome, Program};
use crate::process;
use crate::workspace::Workspace;

/// Preemptions of the runs without a mutant. Not even one, which is all that some models have: with that they take minutes.
const FEW: u32 = 0;

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Mutants, or groups of them; all, if none is named.
    pub(crate) names: Vec<String>,
    /// Name them and run none.
    pub(crate) list: bool,
    /// Models that run at the same time; as many as there are cores, if not said.
    pub(crate) jobs: Option<usize>,
}

/// A model to be run.
#[derive(Debug)]
struct Run<'a> {
    model: &'a str,
    mutant: Option<(u32, &'a str)>,
    /// Other than it has by itself.
    preemptions: Option<u32>,
    /// Whether it may be stuck.
    timeout: bool,
}

/// All mutants, as a step.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run(&Wish::default(), workspace)
}

/// # Errors
/// When a model does not fail under a mutant, or is not known to fail under any; or when one cannot be run.
pub(crate) fn run(wish: &Wish, workspace: &Workspace) -> Result<()> {
    let list = List::load(&workspace.root().join("loom-tests").join("mutants"))?;
    let selected = list.selected(&wish.names)?;
    if wish.list {
        print!("{}", list.shown());
        return Ok(());
    }
    let folder = workspace.target_dir().join("mutants-loom");
    let copy = folder.join("tree");
    tree::make(workspace.root(), &copy, &list)?;
    let begin = Instant::now();
    let program = Program::build(workspace, &copy, folder.join("logs"))?;
    eprintln!("{} mutants are built in {:.1?}", list.mutants.len(), begin.elapsed());
    let wrong = list.unknown_in(&program.models);
    ensure!(wrong.is_empty(), "the list of mutants is wrong:\n  {}", wrong.join("\n  "));

    let with = selected.iter().flat_map(|&(number, mutant)| {
        let run = move |model| Run {
            model,
            mutant: Some((number, mutant.name.as_str())),
            preemptions: mutant.preemptions,
            timeout: mutant.timeout,
        };
        mutant.fails.iter().map(move |model| run(model.as_str()))
    });
    let with: Vec<_> = with.collect();
    let runs: Vec<_> = without_mutants(&with).into_iter().chain(with).collect();
    let jobs = wish.jobs.unwrap_or_else(process::cores);
    let begin = Instant::now();
    let mut bad = in_parallel(jobs, &runs, |run| program.run(run.model, run.mutant, run.preemptions))?;
    eprintln!("{} runs of {} mutants in {:.1?}", runs.len(), selected.len(), begin.elapsed());
    if wish.names.is_empty() {
        bad.extend(list.unsaid_of(&program.models));
    }
    ensure!(bad.is_empty(), "what was said is in {}:\n  {}", folder.join("logs").display(), bad.join("\n  "));
    Ok(())
}

/// The models of these runs, each once. With as many preemptions as one of these asks for, so that it is not by those that a
/// model fails.
fn without_mutants<'a>(with: &[Run<'a>]) -> Vec<Run<'a>> {
    let mut models = BTreeMap::new();
    for run in with {
        let preemptions = models.entry(run.model).or_insert(FEW);
        *preemptions = run.preemptions.unwrap_or(FEW).max(*preemptions);
    }
    let run = |(model, preemptions)| Run { model, mutant: None, preemptions: Some(preemptions), timeout: false };
    models.into_iter().map(run).collect()
}

/// Runs all, so many at a time, and says how each went. Returns those that did not go as they must.
fn in_parallel(
    jobs: usize,
    runs: &[Run<'_>],
    run: impl Fn(&Run<'_>) -> Result<(Outcome, Duration)> + Sync,
) -> Result<Vec<String>> {
    let judge = |one: &Run<'_>| {
        let (outcome, took) = run(one)?;
        let verdict = verdict(one, &outcome);
        let name = one.mutant.map_or("(no mutant)", |(_, name)| name);
        let (mark, said) = match &verdict {
            Ok(said) => ("ok  ", said),
            Err(wrong) => ("BAD ", wrong),
        };
        eprintln!("{mark} {name:<44} {} {:.1} s: {said}", one.model, took.as_secs_f64());
        Ok(verdict.err().map(|wrong| format!("{name}, {}: {wrong}", one.model)))
    };
    Ok(process::in_parallel(jobs, runs, judge)?.into_iter().flatten().collect())
}

/// Whether it went as it must, and how.
fn verdict(run: &Run<'_>, outcome: &Outcome) -> Result<String, String> {
    let stuck = || format!("not ended after {} s", LIMIT.as_secs());
    match (run.mutant, outcome) {
        (_, Outcome::Broken(how)) => Err(format!("BROKEN: {how}")),
        (Some(_), Outcome::Failed(said)) => Ok(said.clone()),
        (Some(_), Outcome::Stuck) if run.timeout => Ok(stuck()),
        (_, Outcome::Stuck) => Err(format!("TIMEOUT: {}", stuck())),
        (Some(_), Outcome::Passed) => Err("SURVIVED: the model passes".to_owned()),
        (Some(_), Outcome::Narrow(said)) => Err(format!("SURVIVED: what it promises held, though {said}")),
        // With few preemptions a model need not see all that it is about.
        (None, Outcome::Passed | Outcome::Narrow(_)) => Ok("passes".to_owned()),
        (None, Outcome::Failed(said)) => Err(format!("FAILED without a mutant: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    const MUTANT: Option<(u32, &str)> = Some((1, "m"));

    fn run_of(mutant: Option<(u32, &'static str)>, timeout: bool) -> Run<'static> {
        Run { model: "a::b", mutant, preemptions: None, timeout }
    }

    #[test]
    fn a_survivor_is_found_whatever_the_others_do() {
        let runs = [run_of(None, false), run_of(MUTANT, false), run_of(Some((2, "n")), false), run_of(MUTANT, false)];
        let outcome = |run: &Run<'_>| match run.mutant {
            Some((1, _)) => Outcome::Failed("a slot is free".to_owned()),
            _ => Outcome::Passed,
        };
        for jobs in [1, 3] {
            let bad = in_parallel(jobs, &runs, |run| Ok((outcome(run), Duration::ZERO))).unwrap();
            assert_eq!(bad, ["n, a::b: SURVIVED: the model passes"]);
        }
        let error = in_parallel(2, &runs, |run| {
            if run.mutant.is_none() { bail!("no program") } else { Ok((outcome(run), Duration::ZERO)) }
        });
        assert_eq!(error.unwrap_err().to_string(), "no program");
    }

    #[test]
    fn only_a_failure_is_one() {
        let judged = |mutant, timeout, outcome| verdict(&run_of(mutant, timeout), &outcome);
        let said = || "said".to_owned();
        assert_eq!(judged(MUTANT, false, Outcome::Failed(said())), Ok(said()));
        for survived in [Outcome::Passed, Outcome::Narrow(said())] {
            assert!(judged(MUTANT, true, survived).unwrap_err().starts_with("SURVIVED"));
        }
        assert!(judged(MUTANT, true, Outcome::Broken(said())).unwrap_err().starts_with("BROKEN"));
        assert!(judged(MUTANT, false, Outcome::Stuck).unwrap_err().starts_with("TIMEOUT"));
        assert!(judged(MUTANT, true, Outcome::Stuck).is_ok());
    }

    #[test]
    fn each_model_runs_once_without_a_mutant_and_with_the_most_preemptions() {
        let with = |model, preemptions| Run { model, preemptions, ..run_of(MUTANT, true) };
        let runs = without_mutants(&[with("a", None), with("b", Some(2)), with("b", Some(1)), with("a", None)]);
        let seen: Vec<_> = runs.iter().map(|run| (run.model, run.mutant, run.preemptions, run.timeout)).collect();
        assert_eq!(seen, [("a", None, Some(FEW), false), ("b", None, Some(2), false)]);
    }

    #[test]
    fn without_a_mutant_a_model_must_not_fail() {
        let judged = |outcome| verdict(&run_of(None, true), &outcome);
        assert!(judged(Outcome::Passed).is_ok() && judged(Outcome::Narrow(String::new())).is_ok());
        assert!(judged(Outcome::Failed("said".to_owned())).unwrap_err().starts_with("FAILED without a mutant"));
        assert!(judged(Outcome::Stuck).unwrap_err().starts_with("TIMEOUT"));
        assert!(judged(Outcome::Broken(String::new())).is_err());
    }
}
