//! Tests under the sanitizers of the toolchain, and under valgrind.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use crate::process;
use crate::sanitizers::{Sanitizer, check_suppressions, finds};
use crate::stress;
use crate::workspace::{LIBRARY, Workspace};

/// Integration tests that use what is unsafe below in ways of their own; the others would take longer to build than they
/// are worth.
const ADDRESS: [&str; 4] = ["stress", "regressions", "node_changes", "retries"];
/// Unit tests of the files that have unsafe code, and of what is built of them at once.
const UNSAFE: [&str; 8] =
    ["arena::", "job::", "node::", "publish::", "sync::", "text::", "prefetch::", "pool::index::"];
/// What is there at the end: not to be taken for lost.
const LEFT: &str = "left::a_scheduler_is_left_at_the_end";
/// Calls before each stop under valgrind, which makes one of fifty.
const FEW_CALLS: &str = "60";

pub(crate) fn thread(workspace: &Workspace) -> Result<()> {
    let supp = workspace.root().join("tests/stress/thread-sanitizer.supp");
    check_suppressions(&fs::read_to_string(&supp).with_context(|| format!("{} could not be read", supp.display()))?)?;
    let there = match Sanitizer::Thread.find(workspace)? {
        Ok(there) => there,
        Err(missing) => return skipped(&missing),
    };
    there.prove(workspace)?;
    // One after the other: numbers of threads are handed on only by joins then, which it sees.
    process::run(&mut there.tests(workspace, &["--test", "stress", "--", "--test-threads=1"]))
}

pub(crate) fn address(workspace: &Workspace) -> Result<()> {
    let there = match Sanitizer::Address.find(workspace)? {
        Ok(there) => there,
        Err(missing) => return skipped(&missing),
    };
    let mut arguments = vec!["--lib"];
    ADDRESS.iter().for_each(|test| arguments.extend(["--test", test]));
    // Built together, which the flaws are then part of.
    process::run(&mut there.tests(workspace, &arguments))?;
    there.prove(workspace)
}

fn skipped(missing: &impl std::fmt::Display) -> Result<()> {
    eprintln!("SKIPPED: {missing}");
    Ok(())
}

pub(crate) fn memcheck(workspace: &Workspace) -> Result<()> {
    if !cfg!(target_os = "linux") {
        eprintln!("SKIPPED: valgrind is used on Linux only");
        return Ok(());
    }
    let built = built(workspace)?;
    let program = |name: &str| built.iter().find(|(target, _)| target == name).map(|(_, program)| program.as_path());
    let stress = program("stress").context("cargo did not say where it has put the test `stress`")?;
    let library = program(LIBRARY).context("cargo did not say where it has put the unit tests")?;

    let flaw = |name: &str| format!("flaws::{name}");
    let wrong = |name| ["--ignored".to_owned(), "--exact".to_owned(), "--test-threads=1".to_owned(), flaw(name)];
    finds(&mut valgrind(stress, &wrong("freed_memory_is_read")), "Invalid read of size 8")?;
    finds(&mut valgrind(stress, &wrong("memory_is_lost")), "definitely lost")?;

    let listed = process::read(std::process::Command::new(library).args(UNSAFE).arg("--list"))?;
    ensure!(listed.lines().filter(|line| line.ends_with(": test")).count() > UNSAFE.len(), "too few tests: {listed}");
    // As many cases as find a wrong access if there is one: what they find beside that is found without valgrind.
    process::run(valgrind(library, &UNSAFE.map(str::to_owned)).env("PROPTEST_CASES", "4"))?;
    let exact = ["--exact", stress::TEST, LEFT].map(str::to_owned);
    process::run(valgrind(stress, &exact).env("SLOTYARD_STRESS_CALLS", FEW_CALLS))
}

/// The programs of the unit tests and of the stress, as the step `test` has built them.
fn built(workspace: &Workspace) -> Result<Vec<(String, PathBuf)>> {
    let build = ["test", "--package", LIBRARY, "--lib", "--test", "stress", "--no-run"];
    let messages = process::read(workspace.cargo(build).arg("--message-format=json-render-diagnostics"))?;
    let programs = Message::parse_stream(messages.as_bytes()).filter_map(|message| match message {
        Ok(Message::CompilerArtifact(artifact)) => Some((artifact.target.name, artifact.executable?.into())),
        _ => None,
    });
    Ok(programs.collect())
}

fn valgrind(program: &Path, arguments: &[String]) -> std::process::Command {
    let mut valgrind = process::command("valgrind");
    valgrind.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite"]);
    // Threads in turn: by itself it lets one of those that wait for another go on and on.
    valgrind.args(["--errors-for-leak-kinds=definite", "--fair-sched=yes"]);
    valgrind.arg(program).args(arguments).env("RUST_BACKTRACE", "0");
    valgrind
}
