//! The steps that are calls of cargo.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;

use crate::fuzz;
use crate::process::{command, cores, in_parallel, read, run};
use crate::workspace::{LIBRARY, Workspace};

/// The feature, the same with all that can be had beside it, and the package that starts servers for its tests.
const REDIS: &str = "redis";
const REDIS_AND_TLS: &str = "redis-tls";
const SERVERS: &str = "slotyard-servers";

pub(crate) fn fmt(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["fmt", "--all", "--check"]))?;
    run(&mut workspace.cargo(["fmt", "--check", "--manifest-path", fuzz::MANIFEST]))
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Of what several instances share, which is a feature.
    let shared = || workspace.cargo(["clippy", "--package", LIBRARY, "--profile", "test", "--lib", "--features"]);
    run(shared().args([REDIS, "--", "-D", "warnings"]))?;
    run(shared().args([
        REDIS_AND_TLS,
        "--test",
        "redis",
        "--bench",
        "shared",
        "--example",
        "replay",
        "--",
        "-D",
        "warnings",
    ]))?;
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
    let packages = ["--workspace", "--exclude", SERVERS];
    run(workspace.cargo(["build", "--examples"]).args(packages))?;
    // Without `--tests`, doc tests would run here and once more in their own step.
    run(workspace.cargo(["test", "--tests"]).args(packages))
}

/// What needs servers, and the servers themselves.
pub(crate) fn redis(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["test", "--package", SERVERS, "--tests"]))?;
    // With TLS, which changes nothing else: so what it brings along is built, and the rest once.
    let shared = || workspace.cargo(["test", "--package", LIBRARY, "--features", REDIS_AND_TLS]);
    // Of the library's own tests those that only the feature brings along; of the others all.
    run(shared().args(["--lib", "--", "redis::", "written::", "escape::"]))?;
    // The replay with several processes is among them.
    run(&mut workspace.cargo(["build", "--package", LIBRARY, "--features", REDIS_AND_TLS, "--example", "replay"]))?;
    // They wait more than they work: for leases to run out, and for servers.
    let threads = (2 * cores()).to_string();
    run(shared().args(["--test", "redis", "--", "--test-threads", &threads]))
}

pub(crate) fn doc_tests(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["test", "--doc", "--package", LIBRARY, "--features", REDIS_AND_TLS]))
}

/// Each model in a process of its own, as many at a time as there are cores. Loom makes its threads' stacks anew for each
/// execution, and two models of one process wait for one another when they do.
pub(crate) fn loom(workspace: &Workspace) -> Result<()> {
    let program = test_program(&mut loom_tests(workspace))?.to_string_lossy().into_owned();
    let listed = read(command(&program).args(["loom_tests::", "--list"]))?;
    let models: Vec<&str> = tests_in(&listed).collect();
    ensure!(!models.is_empty(), "no model was found");
    // With one thread, it would be the main one, which is not named after the model.
    let one = |model| run(command(&program).args(["--exact", model, "--nocapture", "--test-threads=2"]));
    in_parallel(cores(), models, one).map(|_| ())
}

/// The scenarios are tests of the library, in a module of the checker's name.
pub(crate) fn shuttle(workspace: &Workspace) -> Result<()> {
    let cargo = || tests_with(workspace, "shuttle", "--cfg slotyard_shuttle");
    // A filter that matches nothing passes; so the scenarios are counted first.
    let listed = read(cargo().args(["shuttle_tests", "--", "--list"]))?;
    ensure!(tests_in(&listed).next().is_some(), "no scenario was found");
    run(cargo().args(["shuttle_tests", "--", "--nocapture"]))
}

/// Builds the one program of a `cargo test`, and says where it is.
pub(crate) fn test_program(cargo: &mut Command) -> Result<PathBuf> {
    let messages = read(cargo.args(["--no-run", "--message-format=json-render-diagnostics"]))?;
    let built = Message::parse_stream(messages.as_bytes()).filter_map(|message| match message {
        Ok(Message::CompilerArtifact(artifact)) if artifact.profile.test => artifact.executable,
        _ => None,
    });
    built.last().map(PathBuf::from).context("cargo did not say where it has put the program")
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

/// The tests that a list of cargo's test runner names.
fn tests_in(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test"))
}

pub(crate) fn docs(workspace: &Workspace) -> Result<()> {
    let mut doc = workspace.cargo(["doc", "--no-deps", "--workspace", "--features"]);
    run(doc.arg(format!("{LIBRARY}/{REDIS_AND_TLS}")).env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_tests_is_told_from_one_with_tests() {
        assert_eq!(tests_in("0 tests, 0 benchmarks\n").count(), 0);
        assert!(tests_in("a::b: test\na::c: test\n\n2 tests, 0 benchmarks\n").eq(["a::b", "a::c"]));
    }
}
