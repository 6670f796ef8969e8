//! The steps that are calls of cargo.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::fuzz;
use crate::process::{read, run};
use crate::workspace::{LIBRARY, Workspace};

pub(crate) fn fmt(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    run(&mut workspace.cargo(["fmt", "--check", "--manifest-path", fuzz::MANIFEST]))
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // It is built when named, and not with all: the tests in it are programs of their own, too.
    run(&mut workspace.cargo(["clippy", "--package", LIBRARY, "--test", "together", "--", "-D", "warnings"]))?;
    // Without the fuzzer, which is in C++ and is not needed for looking at the targets.
    let mut targets =
        workspace.cargo(["clippy", "--locked", "--no-default-features", "--manifest-path", fuzz::MANIFEST]);
    targets.arg("--target-dir").arg(workspace.target_dir().join("fuzz")).args(["--", "-D", "warnings"]);
    run(&mut targets)
}

pub(crate) fn tests(workspace: &Workspace) -> Result<()> {
    // Integration tests run the examples' programs, which `cargo test --tests` does not build. Both calls name the
    // same packages, so that dependencies get the same features and are built once.
    run(&mut workspace.cargo(["build", "--workspace", "--examples"]))?;
    // Without `--tests`, doc tests would run here and once more in their own step.
    run(&mut workspace.cargo(["test", "--workspace", "--tests"]))
}

pub(crate) fn doc_tests(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["test", "--doc", "--package", LIBRARY]))
}

/// Of the project's own cfg, and crossbeam's.
pub(crate) fn loom(workspace: &Workspace) -> Result<()> {
    models(|| loom_tests(workspace), "loom")
}

pub(crate) fn shuttle(workspace: &Workspace) -> Result<()> {
    models(|| tests_with(workspace, "shuttle", "--cfg slotyard_shuttle"), "shuttle")
}

/// `cargo test` of the library as loom has it.
pub(crate) fn loom_tests(workspace: &Workspace) -> Command {
    tests_with(workspace, "loom", "--cfg slotyard_loom --cfg crossbeam_loom")
}

/// `cargo test` of the library for one of the checkers, under a cfg of its own.
fn tests_with(workspace: &Workspace, checker: &str, flags: &str) -> Command {
    let mut cargo = workspace.cargo(["test", "--release", "--package", LIBRARY, "--lib"]);
    // Other flags would throw away all that the other steps have built.
    cargo.arg("--target-dir").arg(workspace.target_dir().join(checker));
    let inherited = std::env::var("RUSTFLAGS").unwrap_or_default();
    // Set, this one would win over the other.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env("RUSTFLAGS", format!("{inherited} {flags}").trim());
    cargo
}

/// The models are tests of the library, in a module of the checker's name.
fn models(cargo: impl Fn() -> Command, checker: &str) -> Result<()> {
    let module = format!("{checker}_tests");
    // A filter that matches nothing passes; so the models are counted first.
    let found = count_tests(&read(cargo().args([&module, "--", "--list"]))?);
    ensure!(found > 0, "no model was found");
    run(cargo().args([&module, "--", "--nocapture"]))
}

/// How many tests a list of cargo's test runner names.
fn count_tests(list: &str) -> usize {
    list.lines().filter(|line| line.ends_with(": test")).count()
}

pub(crate) fn docs(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_tests_is_told_from_one_with_tests() {
        assert_eq!(count_tests("0 tests, 0 benchmarks\n"), 0);
        assert_eq!(count_tests("a::b: test\na::c: test\n\n2 tests, 0 benchmarks\n"), 2);
    }
}
