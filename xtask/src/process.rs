//! Running other programs, with what is run said beforehand, and several at a time.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

/// A command for `program`, where `cargo` is the cargo that runs us: the one of a `+toolchain`, too.
pub(crate) fn command(program: &str) -> Command {
    match std::env::var_os("CARGO") {
        Some(cargo) if program == "cargo" => Command::new(cargo),
        _ => Command::new(program),
    }
}

/// Runs to the end, with its output shown.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    // No input: a program that asks a question must fail, not wait.
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("`{line}` could not be started"))?;
    ensure!(status.success(), "`{line}`: {status}");
    Ok(())
}

/// Runs to the end and returns what it prints to standard output; the rest is shown.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let line = shown(command);
    eprintln!("$ {line}");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("`{line}` could not be started"))?;
    ensure!(output.status.success(), "`{line}`: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end; what it prints is shown only if it fails.
///
/// # Errors
/// When it cannot be started or does not exit with 0, with what it printed.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("`{line}` could not be started"))?;
    let printed = || String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "`{line}`: {}\n{}", output.status, printed());
    Ok(())
}

/// Whether it can be started and exits with 0; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// As many as there are cores.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Does `each` of these, so many at a time; what came of them, in no order. All that were begun are waited for.
///
/// # Errors
/// One of those of `each`, after which fewer are done at a time.
pub(crate) fn in_parallel<T, R: Send>(
    at_a_time: usize,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    each: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let left = Mutex::new(items.into_iter());
    let next = || left.lock().ok()?.next();
    let work = || std::iter::from_fn(next).map(&each).collect::<Result<Vec<_>>>();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_a_time.max(1)).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a thread has panicked"))?);
        Ok(ended.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let settings = set.map(|(name, value)| format!("{}={}", name.display(), quoted(&value.to_string_lossy())));
    let arguments = command.get_args().map(|argument| quoted(&argument.to_string_lossy()));
    settings.chain([program.into_owned()]).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--lib"]).env("RUSTFLAGS", "--cfg a --cfg b").env_remove("HOME");
        assert_eq!(shown(&command), "RUSTFLAGS=\"--cfg a --cfg b\" cargo test --lib");
    }

    #[test]
    fn each_is_done_once_and_what_fails_is_told() {
        for at_a_time in [0, 1, 3, 100] {
            let mut done = in_parallel(at_a_time, 0..20, |number| Ok(2 * number)).unwrap();
            done.sort_unstable();
            assert!(done.into_iter().eq((0..20).map(|number| 2 * number)));
        }
        let odd = |number| if number == 7 { Err(anyhow!("seven")) } else { Ok(number) };
        assert_eq!(in_parallel(2, 0..20, odd).unwrap_err().to_string(), "seven");
    }

    #[test]
    fn failure_names_the_command() {
        let failed = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(failed.starts_with("`false`: ") && failed.contains('1'), "{failed}");
        let missing = run(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert_eq!(missing, "`no-such-program-here` could not be started");
        let mut told = Command::new("cargo");
        let told = quietly(told.arg("no-such-command")).unwrap_err().to_string();
        assert!(told.starts_with("`cargo no-such-command`: ") && told.contains("no such command"), "{told}");
        assert!(!succeeds(&mut Command::new("false")) && succeeds(&mut Command::new("true")));
    }
}
