//! Any program that a test has run beside it.

use std::io;
use std::process::{Command, ExitStatus};

use crate::process::Process;

/// A process of a test, such as a user of a server. It does not outlive the test's; dropping it kills it.
#[derive(Debug)]
pub struct Program(Process);

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// As of [`Command::spawn`].
    pub fn start(command: Command) -> io::Result<Self> {
        Process::spawn(command).map(Self)
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.ended()
    }

    /// Kills it with SIGKILL. It does nothing more when this returns.
    pub fn kill(self) {
        drop(self);
    }

    /// Stops it with SIGSTOP, and says whether it is stopped: it may have ended. It does nothing more when this returns.
    pub fn pause(&mut self) -> bool {
        self.0.try_stop()
    }

    /// Whether it is stopped, also by itself. Not while it goes on again.
    pub fn is_paused(&self) -> bool {
        self.0.has_stopped()
    }

    /// Lets it go on with SIGCONT.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resume(&mut self) {
        self.0.go_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_until;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::start(command).unwrap()
    }

    #[test]
    fn a_program_is_seen_to_stop_to_go_on_and_to_end() {
        let mut program = shell("kill -STOP $$; exit 3");
        wait_until("it has stopped itself", || program.is_paused());
        assert_eq!(program.ended(), None);
        program.resume();
        wait_until("it has ended", || program.ended().is_some());
        assert_eq!(program.ended().and_then(|status| status.code()), Some(3));
        assert!(Program::start(Command::new("no-such-program-here")).is_err());
    }

    #[test]
    fn a_program_can_be_paused_and_killed() {
        let mut program = shell("while :; do :; done");
        assert!(!program.is_paused());
        assert!(program.pause() && program.is_paused());
        program.resume();
        wait_until("it goes on", || !program.is_paused());
        program.kill();
    }
}
