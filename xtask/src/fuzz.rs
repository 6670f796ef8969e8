//! The fuzz targets of `fuzz/`: `cargo xtask fuzz`, and the step of that name.
//!
//! They are built as cargo-fuzz builds them, with the flags that it uses: installing it takes longer than building them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;

use crate::process;
use crate::sanitizers::Sanitizer;
use crate::tools::{self, CC, CXX, Tool};
use crate::workspace::Workspace;

pub(crate) const MANIFEST: &str = "fuzz/Cargo.toml";
/// libFuzzer is in C++.
pub(crate) const NEEDS: &[&Tool] = if cfg!(target_os = "linux") { &[&CC, &CXX] } else { &[&CC] };

/// What cargo-fuzz 0.13 says to rustc, for a fuzzer that sees which code was reached and which comparisons were made.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Cllvm-args=-sanitizer-coverage-stack-depth -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 --cfg fuzzing";

/// At a time: one more than the machines have cores on which this is run for everyone, so that all are done in two minutes.
const AT_A_TIME: usize = 3;

/// Which targets, and for how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wish {
    /// Only these.
    targets: Vec<String>,
    /// Each for so long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Afterwards, take into fuzz/corpus/ the inputs that reach what none there does.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run_all(&Wish { targets: Vec::new(), seconds: 60, keep: false }, workspace)
}

/// Runs the targets, once what they need is there.
///
/// # Errors
/// When one fails, or cannot be built.
pub(crate) fn run(wish: &Wish, workspace: &Workspace) -> Result<()> {
    tools::ensure(NEEDS)?;
    run_all(wish, workspace)
}

fn run_all(wish: &Wish, workspace: &Workspace) -> Result<()> {
    let targets = targets(workspace)?;
    if let Some(unknown) = wish.targets.iter().find(|name| !targets.contains(name)) {
        bail!("there is no fuzz target `{unknown}`; there are {}", targets.join(", "));
    }
    let triple = match Sanitizer::Address.find(workspace)? {
        Ok(there) => there.target().to_owned(),
        Err(missing) => {
            eprintln!("SKIPPED: {missing}");
            return Ok(());
        }
    };
    let chosen = targets.into_iter().filter(|name| wish.targets.is_empty() || wish.targets.contains(name));
    let chosen: Vec<String> = chosen.collect();
    let folder = workspace.target_dir().join("fuzz");
    build(workspace, &triple, &folder)?;
    let programs = folder.join(&triple).join("release");
    // All are run, also when one fails.
    let one = |name: &String| match fuzz(workspace, &folder, &programs, name, wish) {
        Ok(outcome) => {
            eprintln!("{name}: {outcome}");
            Ok(None)
        }
        Err(error) => Ok(Some(format!("{error:#}"))),
    };
    let failures: Vec<String> = process::in_parallel(AT_A_TIME, &chosen, one)?.into_iter().flatten().collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// The targets that the package has.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(workspace.root().join(MANIFEST)).no_deps().exec()?;
    let programs = metadata.packages.iter().flat_map(|package| &package.targets).filter(|target| target.is_bin());
    let names: Vec<String> = programs.map(|target| target.name.clone()).collect();
    ensure!(!names.is_empty(), "{MANIFEST} has no target");
    Ok(names)
}

fn build(workspace: &Workspace, triple: &str, folder: &Path) -> Result<()> {
    let mut cargo = workspace.cargo(["build", "--locked", "--release", "--bins", "--manifest-path", MANIFEST]);
    cargo.args(["--config", "profile.release.debug=\"line-tables-only\"", "--target", triple, "--target-dir"]);
    cargo.arg(folder).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    // Set, this one would win over the other.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut cargo)
}

/// First what is in the repository, then whatever comes of it. Says how much that was.
fn fuzz(workspace: &Workspace, folder: &Path, programs: &Path, name: &str, wish: &Wish) -> Result<String> {
    let source = workspace.root().join("fuzz/corpus").join(name);
    // A copy, to which new inputs are added: the checkout is left as it is.
    let corpus = folder.join("corpus").join(name);
    let files = copy(&source, &corpus)?;
    let artifacts = folder.join("artifacts").join(name);
    fs::create_dir_all(&artifacts).with_context(|| format!("{} could not be made", artifacts.display()))?;
    let dictionary = workspace.root().join("fuzz/dictionaries").join(format!("{name}.dict"));
    let call = |arguments: &[String]| {
        let mut program = Command::new(programs.join(name));
        // What is freed is kept from use for 16 MB: a scheduler is a megabyte, and 256 would be touched anew again and again.
        program.env("ASAN_OPTIONS", "detect_odr_violation=0:quarantine_size_mb=16");
        // What is lost the step `address-sanitizer` finds; to look after each input would take more than half of the time.
        program.args(["-detect_leaks=0", "-print_final_stats=1", "-timeout=20"]);
        // Where there is a symbolizer, naming each function that is reached takes longer than reaching it.
        program.arg("-print_funcs=0").args(arguments);
        program.arg(format!("-artifact_prefix={}/", artifacts.display()));
        if dictionary.exists() {
            program.arg(format!("-dict={}", dictionary.display()));
        }
        program.arg(&corpus);
        program
    };
    let log = folder.join(format!("{name}.log"));
    logged(&mut call(&["-runs=0".to_owned()]), &log)
        .with_context(|| format!("{name}: an input of the corpus fails"))?;
    let said = logged(&mut call(&[format!("-max_total_time={}", wish.seconds)]), &log)
        .with_context(|| format!("{name}: an input was found; it is in {}", artifacts.display()))?;
    let executions = statistic(&said, "stat::number_of_executed_units:").context("libFuzzer did not say how often")?;
    ensure!(executions > files as u64, "{name}: {executions} executions are no more than there were files");
    if wish.keep {
        // Places alone count: how often each was passed would keep ten times as many.
        let places = ["-merge=1", "-use_counters=0", "-use_cmp=0"].map(str::to_owned);
        let into = source.to_string_lossy().into_owned();
        logged(&mut call(&[&places[..], &[into]].concat()), &folder.join(format!("{name}-merge.log")))?;
    }
    let covered = said.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next());
    Ok(format!("{executions} executions, {} places covered, {files} files to begin with", covered.unwrap_or("?")))
}

/// Runs with all output in a file, and gives it.
fn logged(program: &mut Command, log: &Path) -> Result<String> {
    let file = fs::File::create(log).with_context(|| format!("{} could not be made", log.display()))?;
    let both = file.try_clone()?;
    let status = program.stdin(Stdio::null()).stdout(file).stderr(both).status();
    let status = status.with_context(|| format!("{:?} could not be started", program.get_program()))?;
    let said = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    ensure!(status.success(), "{status}\n{}", what_counts(&said));
    Ok(said)
}

/// What a failed run has said, less its progress.
fn what_counts(said: &str) -> String {
    let progress =
        |line: &&str| !(line.starts_with('#') || line.starts_with("INFO:") || line.starts_with("Dictionary:"));
    said.lines()
        .filter(progress)
        .take(60)
        .map(|line| line.chars().take(400).collect())
        .collect::<Vec<String>>()
        .join("\n")
}

fn statistic(said: &str, name: &str) -> Option<u64> {
    said.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Copies the files of one folder to another, and says how many they are.
fn copy(from: &Path, to: &Path) -> Result<usize> {
    let unreadable = || format!("{} could not be copied", from.display());
    fs::create_dir_all(to).with_context(unreadable)?;
    let mut files = 0;
    for entry in fs::read_dir(from).with_context(unreadable)? {
        let file: PathBuf = entry.with_context(unreadable)?.path();
        fs::copy(&file, to.join(file.file_name().unwrap_or_default())).with_context(unreadable)?;
        files += 1;
    }
    ensure!(files > 0, "{} has no files", from.display());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_read_and_progress_left_out() {
        let said = "INFO: Seed: 1\n#2\tINITED cov: 7 ft: 8\nthread panicked\nstat::number_of_executed_units: 42\n";
        assert_eq!(statistic(said, "stat::number_of_executed_units:"), Some(42));
        assert_eq!(statistic(said, "stat::other:"), None);
        assert_eq!(what_counts(said), "thread panicked\nstat::number_of_executed_units: 42");
    }

    #[test]
    fn a_failed_run_says_what_it_has_said() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut failing = Command::new("sh");
        let error = logged(failing.args(["-c", "echo found >&2; exit 3"]), &log).unwrap_err().to_string();
        assert!(error.contains("found") && error.contains('3'), "{error}");
        assert_eq!(logged(Command::new("echo").arg("fine"), &log).unwrap(), "fine\n");
    }

    #[test]
    fn a_corpus_without_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        assert!(copy(&from, &to).is_err());
        fs::create_dir(&from).unwrap();
        assert!(copy(&from, &to).unwrap_err().to_string().contains("has no files"));
        fs::write(from.join("a"), "b").unwrap();
        assert_eq!(copy(&from, &to).unwrap(), 1);
        assert_eq!(fs::read(to.join("a")).unwrap(), b"b");
    }

    #[test]
    fn each_target_has_a_corpus_and_the_other_way_round() {
        let workspace = Workspace::load().unwrap();
        let mut targets = targets(&workspace).unwrap();
        let corpora = fs::read_dir(workspace.root().join("fuzz/corpus")).unwrap();
        let mut corpora: Vec<_> = corpora.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        targets.sort();
        corpora.sort();
        assert_eq!(targets, corpora);
    }
}
