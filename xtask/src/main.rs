//! The project's own commands: `cargo xtask test` runs every check, `cargo xtask bench` the benchmarks.

#![forbid(unsafe_code)]

mod bench;
mod fuzz;
mod instructions;
mod mutants;
mod mutants_loom;
mod peers;
mod process;
mod sanitizers;
mod steps;
mod stress;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every check; on Debian and Ubuntu, install first what is missing.
    Test {
        /// Run only these steps, in their usual order.
        #[arg(long, value_name = "STEP,...", value_delimiter = ',', value_parser = PossibleValuesParser::new(steps::names()))]
        only: Vec<String>,
        /// Name the steps and run none.
        #[arg(long, conflicts_with = "only")]
        list: bool,
    },
    /// Everything that the library can do at once, with everything checked at stops, for as long as you like.
    Stress(stress::Wish),
    /// Run the fuzz targets, two at a time: first on the corpus in the repository, then on what comes of it.
    Fuzz(fuzz::Wish),
    /// Run the benchmarks and write the page of their results, benches/results/README.md.
    Bench {
        /// Only these suites; the others keep their place on the page. By default all but the peers.
        suites: Vec<String>,
        /// Exit with 1 when a budget is not met.
        #[arg(long)]
        check: bool,
        /// With `instructions`: record the counts, for `cargo xtask test` to hold later ones against.
        #[arg(long)]
        record: bool,
        /// Passed on to criterion: a filter, its flags.
        #[arg(last = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Change the logic of the library, one thing at a time, and see the tests fail; exit with 1 when none does. Takes hours.
    Mutants(mutants::Wish),
    /// Change the code as the lists in loom-tests/mutants/ say, and see the models fail; exit with 1 when one does not.
    MutantsLoom {
        /// Only these mutants, or those of these files of the list (their names without `.toml`).
        names: Vec<String>,
        /// Name the mutants, the models that fail under them and why, and run none.
        #[arg(long, conflicts_with = "names")]
        list: bool,
        /// So many models at a time; as many as there are cores, if not said.
        #[arg(long, value_name = "N")]
        jobs: Option<usize>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Test { list: true, .. } => {
            print!("{}", steps::list());
            Ok(())
        }
        Task::Test { only, list: false } => steps::run(&steps::selected(&only), &Workspace::load()?),
        Task::Stress(wish) => stress::run(&wish, &Workspace::load()?),
        Task::Fuzz(wish) => fuzz::run(&wish, &Workspace::load()?),
        Task::Bench { suites, check, record, arguments } => {
            bench::run(&bench::Wish { suites, check, record, arguments }, &Workspace::load()?)
        }
        Task::Mutants(wish) => mutants::run(&wish, &Workspace::load()?),
        Task::MutantsLoom { names, list, jobs } => {
            mutants_loom::run(&mutants_loom::Wish { names, list, jobs }, &Workspace::load()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(arguments: &[&str]) -> Result<Vec<String>, clap::Error> {
        match Cli::try_parse_from([&["xtask", "test"], arguments].concat())?.command {
            Task::Test { only, .. } => Ok(only),
            _ => unreachable!("`test` was asked for"),
        }
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert_eq!(only(&["--only", "fmt,clippy"]).unwrap(), ["fmt", "clippy"]);
        assert!(only(&[]).unwrap().is_empty());
        let unknown = only(&["--only", "fmt,nonsense"]).unwrap_err().to_string();
        assert!(unknown.contains("nonsense") && unknown.contains("clippy"), "{unknown}");
    }

    #[test]
    fn bench_takes_suites_and_passes_arguments_on() {
        let parsed = |arguments: &[&str]| match Cli::try_parse_from([&["xtask", "bench"], arguments].concat()) {
            Ok(Cli { command: Task::Bench { suites, check, arguments, .. } }) => Some((suites, check, arguments)),
            _ => None,
        };
        let (suites, check, arguments) = parsed(&["select", "--check", "--", "1000 nodes", "--quick"]).unwrap();
        assert_eq!((suites.as_slice(), check), (["select".to_owned()].as_slice(), true));
        assert_eq!(arguments, ["1000 nodes", "--quick"]);
        let (suites, check, arguments) = parsed(&[]).unwrap();
        assert!(suites.is_empty() && !check && arguments.is_empty());
        // What criterion is to be told comes after the dashes.
        assert!(parsed(&["--quick"]).is_none());
    }
}
