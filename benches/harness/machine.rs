//! On what this ran.

use std::thread::available_parallelism;

pub(super) fn describe() -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("machine: {cores} cores, {}, {architecture} {os}\n", cpu_model().unwrap_or("unknown model".into()))
}

/// As Linux tells it.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
