//! The replay example with several processes, as its users run it.

#[path = "../common/example.rs"]
mod example;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;

use serde_json::Value;
use slotyard_servers::Server;

/// What must not have happened.
const BROKEN: [&str; 9] = [
    "over_capacity",
    "held_twice",
    "fences_fell",
    "double_release",
    "duplicate_jobs",
    "misplaced",
    "unexpected_answers",
    "unsettled",
    "slots_held_at_end",
];
/// So few requests, on so few nodes, that it is done in seconds where nothing else is.
const SMALL: [&str; 10] = ["--instances", "3", "--seconds", "2", "--pace", "16", "--speed", "0.05", "--load", "0.7"];

fn run(args: &[&str]) -> Output {
    // One that was built without the feature may be there.
    static BUILT: Once = Once::new();
    // With what this was built with, so that it is not built twice.
    let features = if cfg!(feature = "redis-tls") { "redis-tls" } else { "redis" };
    BUILT.call_once(|| example::build("replay", &["--features", features]));
    Command::new(example::path("replay")).args(args).output().expect("the example runs")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// A run that must go well, and the JSON of its report.
fn replay(server: &Server, folder: &Path, more: &[&str]) -> Value {
    let path = |name: &str| folder.join(name).display().to_string();
    let (json, log) = (path("report.json"), path("log.jsonl"));
    let of_run = ["--redis", &server.url(), "--json", &json, "--log", &log];
    let output = run(&[&SMALL, &of_run[..], more].concat());
    let told = text(&output);
    assert!(output.status.success(), "{}: {told}", output.status);
    assert!(told.contains("create (ms)   p50") && told.matches(" held\n").count() == BROKEN.len(), "{told}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} is a count: {report}"));
    for name in BROKEN {
        assert_eq!(count(name), 0, "{name}: {report}");
    }
    let ends = ["jobs_completed", "jobs_refused", "jobs_failed", "jobs_cancelled", "jobs_abandoned"];
    assert_eq!(ends.iter().map(|name| count(name)).sum::<u64>(), count("jobs_offered"), "{report}");
    assert!(count("jobs_completed") > 0 && count("jobs_told_elsewhere") > 0, "{report}");
    assert!(report["round_trips_per_create"].as_f64() > Some(1.0), "{report}");
    // The same is found in the log once more.
    let again = run(&["--check", &log]);
    assert_eq!((again.status.code(), text(&again)), (Some(0), told));
    report
}

#[test]
fn several_processes_replay_a_trace_together() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let report = replay(&server, folder.path(), &[]);
    assert_eq!((&report["instances"], &report["killed"]), (&3.into(), &0.into()));
    // What is left on the server goes by itself.
    for key in server.command(&["KEYS", "*"]).lines() {
        assert!(key.starts_with("slotyard-replay-"), "{key}");
        assert!(server.command(&["PTTL", key]).parse::<i64>().is_ok_and(|ms| ms != -1), "{key} is kept for ever");
    }
}

#[test]
fn one_of_them_is_killed_and_another_takes_its_place() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let report = replay(&server, folder.path(), &["--kill"]);
    assert_eq!(report["killed"], 1, "{report}");
}

#[test]
fn a_server_that_cannot_be_used_is_refused() {
    let server = Server::start();
    server.kill();
    let cases = [(server.url(), "--redis: expected a server that can be used"), ("elsewhere".to_owned(), "--redis: ")];
    for (url, expected) in cases {
        let output = run(&["--redis", &url]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(expected) && output.stdout.is_empty(), "{}", text(&output));
    }
}
