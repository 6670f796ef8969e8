//! `cargo xtask mutants`: shows that the tests would notice a mistake in the logic that one thread runs.
//!
//! cargo-mutants changes one thing at a time, an operator, a constant, what a function returns, and the tests must fail. It
//! has no say about what hangs on the order of several threads' steps: for that there is `cargo xtask mutants-loom`. Which
//! files are mutated, and which mutants no test can notice and why, `.cargo/mutants.toml` says.
//!
//! The whole suite takes more than a minute, and there are 3,500 mutants: so there are rounds, each slower than the one
//! before, and each only of what has gone unnoticed so far.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::process;
use crate::tools::{self, MUTANTS};
use crate::workspace::{LIBRARY, Workspace};

/// What is argued, and which files there are.
const CONFIG: &str = ".cargo/mutants.toml";

/// Which files, and how many at a time.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wish {
    /// Only these source files; all that `.cargo/mutants.toml` names, if none is named.
    files: Vec<String>,
    /// So many mutants at a time. Each has a build of its own.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Go on with what an earlier run has left unnoticed.
    #[arg(long)]
    iterate: bool,
}

/// Tests that are run together.
struct Round {
    what: &'static str,
    /// Which programs are built: less is linked the sooner.
    programs: &'static str,
    /// Which tests are left to a later round: they are slow, or need a process of their own.
    skipped: &'static [&'static str],
    /// Seconds after which it is taken that the tests never end.
    timeout: u32,
}

const ROUNDS: [Round; 3] = [
    Round {
        what: "the quick unit tests",
        programs: "--lib",
        skipped: &[
            "each_place_is_looked_at_in_the_first_turn",
            "what_is_entered_is_found_until_it_is_struck",
            "finds_agree_with_a_set",
            "most_nodes_of_a_large_pool_live_in_its_own_cells",
            "a_handle_is_not_taken_for_that_of_a_later_node",
        ],
        timeout: 30,
    },
    Round {
        what: "the quick integration tests, in one program",
        programs: "--test=together",
        skipped: &[
            "oracle::",
            "in_every_process",
            "leases_of_all_lengths",
            "selection_does_what_explanation_says",
            "a_refusal_names_something_missing",
            "what_panicking_calls_have_seen",
            "a_cell_that_was_used_very_often",
            "whatever_the_time",
            "the_same_seed_gives",
            "a_node_is_found_however_often",
            "what_others_take_of_a_node",
            "wherever_a_policy_panics",
            "when_a_tick_is_late",
            "a_node_of_the_largest",
            "receivers_that_come",
            "random_takes_all",
            "threads_that_die",
            "a_late_heartbeat_was_written",
            "a_report_was_faded_away",
            "the_only_finished_job_was",
            "a_policy_that_had_panicked_met",
        ],
        timeout: 90,
    },
    Round { what: "all tests", programs: "--tests", skipped: &[], timeout: 600 },
];

/// Of cargo-mutants.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The files that are changed.
    examine_globs: Vec<String>,
    /// Files that are not, whatever the others say.
    exclude_globs: Vec<String>,
    /// Mutants that no test notices.
    exclude_re: Vec<String>,
}

impl Config {
    fn read(workspace: &Workspace) -> Result<Self> {
        let path = workspace.root().join(CONFIG);
        let text = fs::read_to_string(&path).with_context(|| format!("{CONFIG} could not be read"))?;
        toml::from_str(&text).with_context(|| format!("{CONFIG} is not understood"))
    }
}

/// Runs the rounds.
///
/// # Errors
/// When a mutant goes unnoticed in all of them, or one that is excused is not there.
pub(crate) fn run(wish: &Wish, workspace: &Workspace) -> Result<()> {
    tools::ensure(&[&MUTANTS])?;
    let mut config = Config::read(workspace)?;
    check_excuses(&config, workspace)?;
    let folder = workspace.target_dir().join("mutants");
    fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
    // Named files would be added to those of the configuration.
    if !wish.files.is_empty() {
        config.examine_globs.clone_from(&wish.files);
    }
    let wished = folder.join("config.toml");
    fs::write(&wished, toml::to_string(&config)?)
        .with_context(|| format!("{} could not be written", wished.display()))?;
    for (number, round) in ROUNDS.iter().enumerate() {
        eprintln!("== round {} of {}: {}", number + 1, ROUNDS.len(), round.what);
        let unnoticed = go_round(round, wish, wish.iterate || number > 0, workspace, &folder)?;
        eprintln!("{} mutants are unnoticed", unnoticed.len());
        if unnoticed.is_empty() {
            return Ok(());
        }
        if number + 1 == ROUNDS.len() {
            bail!("no test notices these, and {CONFIG} does not say why:\n{}", unnoticed.join("\n"));
        }
    }
    Ok(())
}

/// The mutants that nobody has noticed by the end of the round.
fn go_round(round: &Round, wish: &Wish, iterate: bool, workspace: &Workspace, folder: &Path) -> Result<Vec<String>> {
    let mut cargo = workspace.cargo(["mutants", "--package", LIBRARY, "--no-shuffle", "--cap-lints=true"]);
    cargo.arg("--output").arg(folder).arg(format!("--jobs={}", wish.jobs));
    cargo.arg(format!("--timeout={}", round.timeout)).arg(format!("--cargo-arg={}", round.programs));
    cargo.arg("--config").arg(folder.join("config.toml"));
    if iterate {
        cargo.arg("--iterate");
    }
    cargo.arg("--").arg("--");
    for test in round.skipped {
        cargo.args(["--skip", test]);
    }
    // What is not asked for is not written: half of the time of a build.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    cargo.env_remove("CARGO_TARGET_DIR");
    eprintln!("$ {}", process::shown(&cargo));
    let status = cargo.stdin(Stdio::null()).status().context("cargo-mutants could not be started")?;
    // 0: all were noticed; 2: some were not; 3: of some the tests did not end. Anything else is no verdict.
    ensure!(matches!(status.code(), Some(0 | 2 | 3)), "cargo-mutants: {status}");
    let said = folder.join("mutants.out");
    let read = |name: &str| fs::read_to_string(said.join(name)).with_context(|| format!("{name} of cargo-mutants"));
    // That the tests never end is noticed, too; left where it is, the next round would try them again.
    let endless = read("timeout.txt")?;
    fs::write(said.join("caught.txt"), read("caught.txt")? + &endless).context("caught.txt of cargo-mutants")?;
    Ok(read("missed.txt")?.lines().map(str::to_owned).collect())
}

/// Each excuse is for a mutant that there is: code that has gone takes its excuses with it.
fn check_excuses(config: &Config, workspace: &Workspace) -> Result<()> {
    let mut idle = Vec::new();
    for excuse in &config.exclude_re {
        let mut cargo = workspace.cargo(["mutants", "--list", "--no-config", "--package", LIBRARY, "--re", excuse]);
        let output = cargo.output().context("cargo-mutants could not be started")?;
        ensure!(output.status.success(), "{excuse}: {}", String::from_utf8_lossy(&output.stderr));
        if output.stdout.is_empty() {
            idle.push(excuse.as_str());
        }
    }
    ensure!(idle.is_empty(), "{CONFIG} excuses mutants that are not there:\n{}", idle.join("\n"));
    Ok(())
}
