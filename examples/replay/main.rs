//! Replays a fleet that serves jobs through the real scheduler, in virtual time, and checks that nothing goes wrong.
//!
//! ```sh
//! cargo run --release --example replay
//! cargo run --release --example replay -- --trace conv.csv.gz --nodes nodes.csv --load 0.9 --html report.html
//! ```
//!
//! Who is who: `input` reads files, `embedded` stands in for those not given, and `workload` joins them; `demands` says
//! what requests ask for, `teams` what workers can do; `requests` is the stream of requests; `engine` plays clients and
//! nodes around the scheduler; `ledger` keeps the books that it is checked by; `output` says what was found. `shared` is the
//! same with several processes, which share a Redis, in real time.

mod args;
mod demands;
mod embedded;
mod engine;
mod input;
mod ledger;
mod output;
mod progress;
mod random;
mod requests;
mod shared;
mod teams;
mod workload;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde::Serialize;

use args::Args;
use output::Report;
use progress::Progress;
use workload::Workload;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every invariant held.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    if args.shared.is_asked() { together(args) } else { alone(args) }
}

/// What is about several processes.
fn together(args: &Args) -> Result<bool, Box<dyn Error>> {
    // Opened before the work, so that a mistyped path is told at once; by one process of them all.
    let json = args.json.as_deref().filter(|_| args.shared.told.is_none()).map(create).transpose()?;
    match shared::run(args)? {
        Some(report) => {
            deliver(&report.text(), json, &report)?;
            Ok(report.holds())
        }
        None => Ok(true),
    }
}

/// The replay in one process.
fn alone(args: &Args) -> Result<bool, Box<dyn Error>> {
    let workload = Workload::new(args)?;
    // Opened before the work, so that a mistyped path is told at once.
    let json = args.json.as_deref().map(create).transpose()?;
    let html = args.html.as_deref().map(create).transpose()?;
    let progress = Progress::new(workload.requests());
    let started = Instant::now();
    let outcome = engine::replay(&workload, args, &progress)?;
    progress.clear();
    let report = Report::new(args, &workload, outcome, started.elapsed());
    deliver(&output::text(&report), json, &report)?;
    if let Some(mut file) = html {
        file.write_all(output::page(&report)?.as_bytes())?;
    }
    Ok(report.holds())
}

/// Prints a report, and writes it as JSON if that was asked for.
fn deliver(text: &str, json: Option<File>, report: &impl Serialize) -> Result<(), Box<dyn Error>> {
    print(text)?;
    if let Some(mut file) = json {
        file.write_all((serde_json::to_string_pretty(report)? + "\n").as_bytes())?;
    }
    Ok(())
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// Prints, unless nobody reads on: a closed pipe is no error.
fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
