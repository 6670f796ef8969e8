//! The project's own commands: `cargo xtask test` runs every check, `cargo xtask bench` the benchmarks.

#![forbid(unsafe_code)]

mod peers;
mod process;
mod steps;
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
    /// Run `cargo bench`, by default all of it; `bench peers` measures other balancers beside this one.
    Bench {
        /// Passed on to `cargo bench`, for example `--bench select`; after `peers`, to that program.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
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
        Task::Bench { arguments } if arguments.first().is_some_and(|first| first == peers::NAME) => {
            peers::run(&Workspace::load()?, &arguments[1..])
        }
        Task::Bench { arguments } => {
            tools::ensure(&[&tools::CC])?;
            process::run(Workspace::load()?.cargo(["bench"]).args(arguments))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(arguments: &[&str]) -> Result<Vec<String>, clap::Error> {
        match Cli::try_parse_from([&["xtask", "test"], arguments].concat())?.command {
            Task::Test { only, .. } => Ok(only),
            Task::Bench { .. } => unreachable!("`test` was asked for"),
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
    fn bench_passes_its_arguments_on() {
        let cli = Cli::try_parse_from(["xtask", "bench", "--bench", "select"]).unwrap();
        assert!(matches!(cli.command, Task::Bench { arguments } if arguments == ["--bench", "select"]));
        let cli = Cli::try_parse_from(["xtask", "bench", "peers", "--quick"]).unwrap();
        assert!(matches!(cli.command, Task::Bench { arguments } if arguments == [peers::NAME, "--quick"]));
    }
}
