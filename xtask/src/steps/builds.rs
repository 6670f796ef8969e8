//! The steps that are calls of cargo.

use anyhow::Result;

use crate::process::run;
use crate::workspace::{LIBRARY, Workspace};

/// How many times loom may preempt a thread in one execution, for the models that set no bound themselves. Loom's
/// authors find that 2 or 3 show most bugs; each further one multiplies the time.
const LOOM_MAX_PREEMPTIONS: &str = "3";

pub(crate) fn fmt(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["fmt", "--all", "--check"]))
}

pub(crate) fn clippy(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

pub(crate) fn tests(workspace: &Workspace) -> Result<()> {
    // Integration tests run the examples' programs, which `cargo test --tests` does not build. Both calls name the
    // same packages, so that dependencies get the same features and are built once.
    let packages = ["--workspace", "--exclude", "loom-tests"];
    run(workspace.cargo(["build"]).args(packages).arg("--examples"))?;
    // Without `--tests`, doc tests would run here and once more in their own step.
    run(workspace.cargo(["test"]).args(packages).arg("--tests"))
}

pub(crate) fn doc_tests(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(["test", "--doc", "--package", LIBRARY]))
}

pub(crate) fn loom(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo(["test", "--release", "--package", "loom-tests"]);
    // Other flags would throw away all that the other steps have built.
    cargo.arg("--target-dir").arg(workspace.target_dir().join("loom"));
    let inherited = std::env::var("RUSTFLAGS").unwrap_or_default();
    // Set, this one would win over the other.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env("RUSTFLAGS", format!("{inherited} --cfg slotyard_loom --cfg crossbeam_loom").trim());
    let preemptions = std::env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| LOOM_MAX_PREEMPTIONS.to_owned());
    run(cargo.env("LOOM_MAX_PREEMPTIONS", preemptions))
}

pub(crate) fn docs(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}
