//! The steps of `cargo xtask test`, in their order.

mod builds;
mod examples;
mod house_rules;
mod instructions;
mod rust_version;
mod sanitizers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::tools::{self, CC, CLIPPY, REDIS, RUSTFMT, Tool, VALGRIND};
use crate::workspace::Workspace;
use crate::{fuzz, mutants_loom, stress};
pub(crate) use builds::{loom_tests, test_program};

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    name: &'static str,
    about: &'static str,
    /// What it needs on the machine.
    needs: &'static [&'static Tool],
    run: fn(&Workspace) -> Result<()>,
}

/// Elsewhere there is no valgrind to be had, and the step says so.
const COUNTING: &[&Tool] = if cfg!(target_os = "linux") { &[&CC, &VALGRIND] } else { &[&CC] };

/// All steps, quick ones first: a new step is one line here.
#[rustfmt::skip]
const STEPS: &[Step] = &[
    Step { name: "fmt", about: "every file is formatted", needs: &[&RUSTFMT], run: builds::fmt },
    Step { name: "house-rules", about: "atomics and pins are named in one file, clocks in few, no file is too long", needs: &[], run: house_rules::check },
    Step { name: "rust-version", about: "the stated rust-version is true", needs: &[], run: rust_version::check },
    Step { name: "clippy", about: "clippy and the compiler have no warning", needs: &[&CLIPPY, &CC], run: builds::clippy },
    Step { name: "test", about: "unit, integration and property tests", needs: &[&CC], run: builds::tests },
    Step { name: "redis", about: "several instances on real servers are one scheduler", needs: &[&CC, &REDIS], run: builds::redis },
    Step { name: "doctest", about: "the examples in the documentation run", needs: &[&CC], run: builds::doc_tests },
    Step { name: "loom", about: "the concurrent parts are right at every interleaving that loom explores", needs: &[&CC], run: builds::loom },
    Step { name: "mutants-loom", about: "each model fails under the mutants that it is known to notice", needs: &[&CC], run: mutants_loom::check },
    Step { name: "shuttle", about: "larger scenarios hold in the interleavings that shuttle draws", needs: &[&CC], run: builds::shuttle },
    Step { name: "stress", about: "everything at once for 30 s, everything checked at stops", needs: &[&CC], run: stress::check },
    Step { name: "thread-sanitizer", about: "no data race in the stress tests", needs: &[&CC], run: sanitizers::thread },
    Step { name: "address-sanitizer", about: "no access outside of what is allocated, nothing lost", needs: &[&CC], run: sanitizers::address },
    Step { name: "memcheck", about: "the same by valgrind, of the files with unsafe code and a short stress", needs: COUNTING, run: sanitizers::memcheck },
    Step { name: "fuzz", about: "the fuzz targets find nothing in a minute each", needs: fuzz::NEEDS, run: fuzz::check },
    Step { name: "examples", about: "each example runs on small input; the replay's invariants hold", needs: &[&CC], run: examples::run },
    Step { name: "instructions", about: "no operation takes more instructions than recorded", needs: COUNTING, run: instructions::check },
    Step { name: "doc", about: "the documentation builds without a warning", needs: &[&CC], run: builds::docs },
];

/// The name of each step.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.name)
}

/// A line for each step.
pub(crate) fn list() -> String {
    let width = names().map(str::len).max().unwrap_or(0);
    STEPS.iter().map(|step| format!("{:width$}  {}\n", step.name, step.about)).collect()
}

/// The steps named in `only`; with none named, all.
pub(crate) fn selected(only: &[String]) -> Vec<&'static Step> {
    STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)).collect()
}

/// Runs the steps one after the other.
///
/// # Errors
/// At the first step that fails, or when something that one of them needs cannot be had.
pub(crate) fn run(steps: &[&Step], workspace: &Workspace) -> Result<()> {
    let needs: Vec<_> = steps.iter().flat_map(|step| step.needs).copied().collect();
    tools::ensure(&needs)?;
    in_order(steps, |step| (step.run)(workspace))
}

fn in_order(steps: &[&Step], mut run: impl FnMut(&Step) -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    let mut times = String::new();
    for (number, step) in steps.iter().enumerate() {
        eprintln!("\n== {} ({} of {}): {}", step.name, number + 1, steps.len(), step.about);
        let begin = Instant::now();
        let outcome = run(step);
        let took = spoken(begin.elapsed());
        outcome.with_context(|| format!("step `{}` failed after {took}", step.name))?;
        eprintln!("== {}: passed in {took}", step.name);
        times += &format!("{took:>14}  {}\n", step.name);
    }
    eprintln!("\n{times}{:>14}  in all: every step passed", spoken(begin.elapsed()));
    Ok(())
}

fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anyhow::bail;

    use super::*;

    fn selected_names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        selected(&only).iter().map(|step| step.name).collect()
    }

    #[test]
    fn names_differ_and_are_listed() {
        let distinct: BTreeSet<_> = names().collect();
        assert_eq!(distinct.len(), STEPS.len());
        assert!(list().lines().zip(names()).all(|(line, name)| line.starts_with(name)), "{}", list());
    }

    #[test]
    fn the_order_is_that_of_the_table() {
        assert_eq!(selected_names(&["clippy", "fmt"]), ["fmt", "clippy"]);
        assert_eq!(selected_names(&[]), names().collect::<Vec<_>>());
    }

    #[test]
    fn the_first_failure_ends_the_run_and_is_named() {
        let mut seen = Vec::new();
        let outcome = in_order(&selected(&[]), |step| {
            seen.push(step.name);
            if seen.len() == 2 { bail!("broken") } else { Ok(()) }
        });
        assert_eq!(seen.len(), 2);
        let error = format!("{:#}", outcome.unwrap_err());
        assert!(error.starts_with(&format!("step `{}` failed after", seen[1])) && error.ends_with("broken"), "{error}");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(spoken(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(spoken(Duration::from_secs(125)), "2 min 05 s");
    }
}
