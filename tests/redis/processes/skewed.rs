//! Processes whose clocks are minutes apart: what time it is anywhere but on the server does not matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::TERMS;
use super::fleet::{Fleet, Member};
use super::worker::Role;

/// In front of the system's own: the time of day, and no other clock, is another by so many seconds.
const SHIFT: &str = r#"
    #include <stdlib.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    int clock_gettime(clockid_t clock, struct timespec *time) {
        int failed = syscall(SYS_clock_gettime, clock, time);
        const char *shift = getenv("SLOTYARD_TEST_SHIFT");
        if (!failed && clock == CLOCK_REALTIME && shift) time->tv_sec += atoi(shift);
        return failed;
    }
"#;
/// In seconds.
const SHIFTS: [i64; 5] = [-900, -120, 0, 120, 900];

/// The library that shifts clocks. Whatever links Rust links it.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("shift.c"), folder.join("shift.so"));
    fs::write(&source, SHIFT).unwrap();
    let built =
        Command::new("cc").args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.unwrap().success());
    library
}

#[test]
fn clocks_that_are_minutes_apart_make_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path()).display().to_string();
    let environment = |shift: i64| [("LD_PRELOAD", library.clone()), ("SLOTYARD_TEST_SHIFT", shift.to_string())];
    let mut fleet = Fleet::start(TERMS);
    let there = Command::new("date").arg("+%s").envs(environment(SHIFTS[0])).output().unwrap();
    let there: i64 = String::from_utf8(there.stdout).unwrap().trim().parse().unwrap();
    assert!((there - SHIFTS[0] - fleet.time() / 1000).abs() < 60, "the clock was not shifted");
    let url = fleet.server.url();
    let start = |shift| fleet.process_with(&url, Role::Asks, &environment(shift));
    let mut members: Vec<Member> = SHIFTS.into_iter().map(start).collect();
    fleet.until("all processes are done", || members.iter_mut().all(|member| member.is_done()));
    let settled = fleet.settle();
    assert!(settled.given > TERMS.requests / 2, "only {} jobs were given", settled.given);
    assert_eq!(settled.taken_over, 0);
}
