//! Everything at once, for as long as is wished: `cargo xtask stress`, and the step of that name.

use anyhow::{Result, ensure};
use clap::Args;

use crate::process;
use crate::sanitizers::Sanitizer;
use crate::workspace::{LIBRARY, Workspace};

/// The test that does it.
pub(crate) const TEST: &str = "everything::everything_at_once_keeps_every_promise_at_every_stop";

/// How long, and how.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Wish {
    /// For so long; added to the minutes and hours. 30 s when nothing is said.
    #[arg(long, default_value_t)]
    pub(crate) seconds: u64,
    #[arg(long, default_value_t)]
    minutes: u64,
    #[arg(long, default_value_t)]
    hours: u64,
    /// Threads. By default three more than there are cores, so that some are always held up.
    #[arg(long)]
    threads: Option<u32>,
    /// What the calls are drawn from. By default another one each time; it is printed. Where there are several threads, the
    /// same seed does not give the same run, but the same calls.
    #[arg(long)]
    seed: Option<u64>,
    /// Under a sanitizer.
    #[arg(long)]
    sanitizer: Option<Sanitizer>,
}

impl Wish {
    fn total_seconds(&self) -> u64 {
        match self.seconds + 60 * self.minutes + 3600 * self.hours {
            0 => 30,
            said => said,
        }
    }
}

/// Runs it.
///
/// # Errors
/// When something does not hold, or the sanitizer is not to be had.
pub(crate) fn run(wish: &Wish, workspace: &Workspace) -> Result<()> {
    let command = |arguments: &[&str]| -> Result<_> {
        let mut cargo = match wish.sanitizer {
            // Ten times as many calls as without optimisation.
            None => {
                let mut cargo = workspace.cargo(["test", "--release", "--package", LIBRARY]);
                cargo.args(arguments);
                cargo
            }
            Some(sanitizer) => match sanitizer.find(workspace)? {
                Ok(there) => there.tests(workspace, arguments),
                Err(missing) => anyhow::bail!("{missing}"),
            },
        };
        cargo.env("SLOTYARD_STRESS_SECONDS", wish.total_seconds().to_string());
        if let Some(threads) = wish.threads {
            cargo.env("SLOTYARD_STRESS_THREADS", threads.to_string());
        }
        if let Some(seed) = wish.seed {
            cargo.env("SLOTYARD_STRESS_SEED", seed.to_string());
        }
        Ok(cargo)
    };
    // A filter that matches nothing passes; so it is looked for first.
    let listed = process::read(&mut command(&["--test", "stress", "--", "--list"])?)?;
    ensure!(listed.lines().any(|line| line == format!("{TEST}: test")), "there is no test {TEST}");
    process::run(&mut command(&["--test", "stress", "--", "--exact", TEST, "--nocapture"])?)
}

/// The step.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run(&Wish::default(), workspace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_added_up() {
        let wish = |seconds, minutes, hours| Wish { seconds, minutes, hours, ..Wish::default() }.total_seconds();
        assert_eq!((wish(0, 0, 0), wish(7, 0, 0), wish(1, 2, 3)), (30, 7, 3600 * 3 + 121));
    }
}
