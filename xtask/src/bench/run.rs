//! Where and when this runs.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::row::Run;
use crate::process;
use crate::workspace::Workspace;

impl Run {
    /// # Errors
    /// When rustc cannot be asked, or there is no library.
    pub(crate) fn here(workspace: &Workspace) -> Result<Self> {
        let rustc = process::command("rustc").arg("--version").output().context("rustc could not be started")?;
        let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
        let model = cpu_model().unwrap_or("unknown model".into());
        Ok(Self {
            date: Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            machine: format!("{model}, {architecture} {os}"),
            cores: available_parallelism().map_or(0, usize::from),
            rustc: String::from_utf8_lossy(&rustc.stdout).trim().to_owned(),
            version: workspace.library()?.version.to_string(),
        })
    }
}

/// As Linux tells it.
fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let run = Run::here(&Workspace::load().unwrap()).unwrap();
        assert!(run.rustc.starts_with("rustc ") && run.cores > 0 && run.date.ends_with(" UTC"), "{run:?}");
    }
}
