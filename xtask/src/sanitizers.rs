//! Tests under a sanitizer, with the stable toolchain: the sanitizers' runtimes come with it, the flag that asks for them
//! is a nightly's, which `RUSTC_BOOTSTRAP` allows. The standard library comes compiled without; so ThreadSanitizer does not
//! see what happens in there, see `tests/stress/seen.rs`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::process;
use crate::workspace::{LIBRARY, Workspace};

/// A sanitizer that the toolchain brings along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sanitizer {
    /// Finds data races.
    Thread,
    /// Finds accesses outside of what is allocated, and what is lost.
    Address,
}

/// Why there is no sanitizer here.
#[derive(Debug)]
pub(crate) struct Missing(String);

/// A sanitizer that is there, for this target.
#[derive(Debug)]
pub(crate) struct Instrumented {
    sanitizer: Sanitizer,
    target: String,
}

/// The standard library's count-downs of references are led to `tests/stress/seen.rs`.
const WRAPPED: &str = "-Clink-arg=-Wl,--wrap=__tsan_atomic64_fetch_sub";

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Address => "address",
        }
    }

    /// What a program has to print in which it has found something.
    fn says(self) -> &'static str {
        match self {
            Self::Thread => "WARNING: ThreadSanitizer: data race",
            Self::Address => "ERROR: AddressSanitizer: heap-use-after-free",
        }
    }

    fn flags(self) -> String {
        // Crossbeam's own cfg: what was replaced is freed as soon as possible, and by what the sanitizer can see.
        let common = format!("{} -Copt-level=1 --cfg crossbeam_sanitize", self.asked_for());
        match self {
            Self::Thread => {
                format!("{common} --cfg crossbeam_sanitize_thread --cfg slotyard_sanitize_thread {WRAPPED}")
            }
            Self::Address => common,
        }
    }

    fn asked_for(self) -> String {
        // The second: that the standard library was not built with it is known.
        format!("-Zsanitizer={} -Cunsafe-allow-abi-mismatch=sanitizer", self.name())
    }

    /// The sanitizer, if this machine has it.
    ///
    /// # Errors
    /// When the toolchain cannot be asked.
    pub(crate) fn find(self, workspace: &Workspace) -> Result<std::result::Result<Instrumented, Missing>> {
        let target = process::read(process::command("rustc").args(["--print", "host-tuple"]))?.trim().to_owned();
        if !["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"].contains(&&*target) {
            return Ok(Err(Missing(format!(
                "{} is tried on Linux with x86_64 and aarch64 only, not on {target}",
                self.name()
            ))));
        }
        // The smallest program there is: whether the toolchain takes the flags, and has the runtime to link with.
        let folder = workspace.target_dir().join("xtask");
        fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
        let (source, program) = (folder.join("empty.rs"), folder.join("empty"));
        fs::write(&source, "fn main() {}\n").with_context(|| format!("{} could not be written", source.display()))?;
        let mut rustc = process::command("rustc");
        rustc.env("RUSTC_BOOTSTRAP", "1").args(self.asked_for().split(' '));
        rustc.args(["--edition", "2024", "--target", &target, "-o"]).arg(&program).arg(&source);
        let tried = process::quietly(&mut rustc).and_then(|()| process::quietly(&mut Command::new(&program)));
        Ok(match tried {
            Ok(()) => Ok(Instrumented { sanitizer: self, target }),
            Err(refusal) => Err(Missing(format!("the toolchain refuses: {refusal}"))),
        })
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Instrumented {
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// `cargo test` of the library with it. In a folder of its own, for other flags would throw away what is built.
    pub(crate) fn tests(&self, workspace: &Workspace, arguments: &[&str]) -> Command {
        let folder: PathBuf = workspace.target_dir().join(self.sanitizer.name());
        let mut cargo = workspace.cargo(["test", "--package", LIBRARY, "--target", &self.target, "--target-dir"]);
        cargo.arg(folder).args(arguments);
        // Set, this one would win over the other. Flags of one's own are for another build than this.
        cargo
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", self.sanitizer.flags());
        match self.sanitizer {
            Sanitizer::Thread => {
                let suppressions = workspace.root().join("tests/stress/thread-sanitizer.supp");
                cargo.env("TSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
            }
            Sanitizer::Address => {
                cargo.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=0");
            }
        }
        cargo
    }

    /// Sees to it that it is looking: a test that is wrong on purpose must be found out.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn prove(&self, workspace: &Workspace) -> Result<()> {
        let flaws: &[&str] = match self.sanitizer {
            Sanitizer::Thread => &["two_threads_write_one_place"],
            Sanitizer::Address => &["freed_memory_is_read", "memory_is_lost"],
        };
        for flaw in flaws {
            let says = if *flaw == "memory_is_lost" { "ERROR: LeakSanitizer" } else { self.sanitizer.says() };
            let filter = format!("flaws::{flaw}");
            let arguments = ["--test", "stress", "--", "--ignored", "--exact", "--test-threads=1", &filter];
            finds(&mut self.tests(workspace, &arguments), says)?;
        }
        Ok(())
    }
}

/// Runs what must fail, and must say so with these words.
///
/// # Errors
/// When it passes, or fails for another reason.
pub(crate) fn finds(command: &mut Command, words: &str) -> Result<()> {
    match process::quietly(command) {
        Err(found) if format!("{found:#}").contains(words) => {
            eprintln!("what is wrong on purpose was found: {words}");
            Ok(())
        }
        Err(other) => bail!("{words:?} was expected, and not: {other:#}"),
        Ok(()) => bail!("{words:?} was expected, and nothing was found: it does not look"),
    }
}

/// The words that open each suppression, in order.
#[cfg(test)]
fn suppressed(file: &str) -> Vec<&str> {
    file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Sees to it that nothing of the library's own is kept quiet.
///
/// # Errors
/// When something is.
pub(crate) fn check_suppressions(file: &str) -> Result<()> {
    let mut explained = false;
    for line in file.lines() {
        if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else {
            ensure!(explained, "no reason is given before: {line}");
            ensure!(
                !line.contains(LIBRARY) && !line.contains("src/core"),
                "keeps quiet what is the library's own: {line}"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_expected_must_be_said() {
        let sh = |script: &str| {
            let mut sh = Command::new("sh");
            sh.args(["-c", script]);
            sh
        };
        finds(&mut sh("echo a data race was seen; exit 1"), "data race").unwrap();
        let passed = finds(&mut sh("echo a data race was seen"), "data race").unwrap_err().to_string();
        assert!(passed.contains("it does not look"), "{passed}");
        let other = finds(&mut sh("echo no space left; exit 1"), "data race").unwrap_err().to_string();
        assert!(other.contains("no space left"), "{other}");
    }

    #[test]
    fn each_suppression_has_its_reason_and_none_is_of_the_library() {
        let ours = include_str!("../../tests/stress/thread-sanitizer.supp");
        check_suppressions(ours).unwrap();
        assert_eq!(suppressed(ours).len(), 4);
        check_suppressions("# It is\n# so.\nrace:a\nrace:b\n\n# And this.\nrace:c\n").unwrap();
        check_suppressions("# It is so.\nrace:a\n\nrace:b\n").unwrap_err();
        check_suppressions("# It is so.\nrace:slotyard::node\n").unwrap_err();
    }
}
