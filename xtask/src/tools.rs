//! What the steps need on the machine, and how it gets there.
//!
//! A new tool is one constant here, named in the `needs` of the steps that use it.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use crate::process;

/// Something that must be on the machine before a step can run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    name: &'static str,
    /// A command that succeeds just when the tool is there.
    probe: &'static [&'static str],
    source: Source,
}

/// Where a tool comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// A component of the Rust toolchain.
    Rustup(&'static str),
    /// Packages of Debian and Ubuntu.
    Apt(&'static [&'static str]),
    /// A program of crates.io.
    Cargo(&'static str),
}

pub(crate) const RUSTFMT: Tool =
    Tool { name: "rustfmt", probe: &["cargo", "fmt", "--version"], source: Source::Rustup("rustfmt") };
pub(crate) const CLIPPY: Tool =
    Tool { name: "clippy", probe: &["cargo", "clippy", "--version"], source: Source::Rustup("clippy") };
/// Links whatever is built. Without libc6-dev, which gcc only recommends, it would find no C library to link.
pub(crate) const CC: Tool =
    Tool { name: "a C compiler", probe: &["cc", "--version"], source: Source::Apt(&["gcc", "libc6-dev"]) };
/// Counts instructions.
pub(crate) const VALGRIND: Tool =
    Tool { name: "valgrind", probe: &["valgrind", "--version"], source: Source::Apt(&["valgrind"]) };
/// What several instances share. Sentinels are the same program under another name, which is a package of its own.
pub(crate) const REDIS: Tool = Tool {
    name: "Redis",
    probe: &["sh", "-c", "redis-server --version && redis-sentinel --version"],
    source: Source::Apt(&["redis-server", "redis-sentinel"]),
};
/// What some of the peers in `benches/peers/` bring along is in C++, and is built with cmake and make.
pub(crate) const CXX: Tool =
    Tool { name: "a C++ compiler", probe: &["c++", "--version"], source: Source::Apt(&["g++"]) };
pub(crate) const CMAKE: Tool = Tool { name: "cmake", probe: &["cmake", "--version"], source: Source::Apt(&["cmake"]) };
pub(crate) const MAKE: Tool = Tool { name: "make", probe: &["make", "--version"], source: Source::Apt(&["make"]) };
/// Changes the library a little, again and again.
pub(crate) const MUTANTS: Tool =
    Tool { name: "cargo-mutants", probe: &["cargo", "mutants", "--version"], source: Source::Cargo("cargo-mutants") };

/// What can be used for installing.
#[derive(Debug, Clone, Copy)]
struct Machine {
    root: bool,
    apt: bool,
    rustup: bool,
}

/// Sees to it that all of `tools` are there: installs what is missing, and says so.
///
/// # Errors
/// When something is missing that cannot be installed from here: what a person has to install.
pub(crate) fn ensure(tools: &[&'static Tool]) -> Result<()> {
    let missing = missing(tools, present);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|tool| tool.name).collect::<Vec<_>>().join(", ");
    let commands = plan(&missing, Machine::here())?;
    eprintln!("Missing: {names}. Installing:");
    for line in commands {
        process::run(process::command(line[0]).args(&line[1..]))?;
    }
    for tool in missing {
        ensure!(present(tool), "{} was installed, and yet `{}` fails", tool.name, tool.probe.join(" "));
    }
    Ok(())
}

fn missing(tools: &[&'static Tool], present: impl Fn(&Tool) -> bool) -> Vec<&'static Tool> {
    let mut missing = Vec::new();
    for &tool in tools {
        if !missing.contains(&tool) && !present(tool) {
            missing.push(tool);
        }
    }
    missing
}

/// The commands that install `missing`.
fn plan(missing: &[&Tool], machine: Machine) -> Result<Vec<Vec<&'static str>>> {
    let mut components = BTreeSet::new();
    let mut packages = BTreeSet::new();
    let mut crates = BTreeSet::new();
    for tool in missing {
        match tool.source {
            Source::Cargo(name) => crates.extend([name]),
            Source::Rustup(component) => components.extend([component]),
            Source::Apt(names) => packages.extend(names),
        }
    }
    let listed = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(" ");
    let mut by_hand = Vec::new();
    if !components.is_empty() && !machine.rustup {
        by_hand.push(format!("the toolchain's components `{}` (there is no rustup here)", listed(&components)));
    }
    if !packages.is_empty() && !machine.apt {
        by_hand.push(format!("what Debian calls `{}` (there is no apt-get here)", listed(&packages)));
    } else if !packages.is_empty() && !machine.root {
        by_hand.push(format!("as root: apt-get install {}", listed(&packages)));
    }
    if !by_hand.is_empty() {
        bail!("these must be installed first: {}", by_hand.join("; "));
    }

    let mut commands = Vec::new();
    if !components.is_empty() {
        commands.push(["rustup", "component", "add"].into_iter().chain(components).collect());
    }
    if !packages.is_empty() {
        // A fresh machine has no lists of packages, and nobody who could answer a package's questions.
        commands.push(vec!["apt-get", "update"]);
        let install =
            ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"];
        commands.push(install.into_iter().chain(packages).collect());
    }
    if !crates.is_empty() {
        commands.push(["cargo", "install", "--locked"].into_iter().chain(crates).collect());
    }
    Ok(commands)
}

fn present(tool: &Tool) -> bool {
    let (program, arguments) = tool.probe.split_first().expect("every tool has a probe");
    process::succeeds(process::command(program).args(arguments))
}

impl Machine {
    fn here() -> Self {
        let runs = |program: &str| process::succeeds(process::command(program).arg("--version"));
        Self { root: is_root(), apt: runs("apt-get"), rustup: runs("rustup") }
    }
}

/// Whether this process may install packages. Linux shows a process's user as the owner of its entry in `/proc`.
fn is_root() -> bool {
    #[cfg(unix)]
    return std::fs::metadata("/proc/self").is_ok_and(|entry| std::os::unix::fs::MetadataExt::uid(&entry) == 0);
    #[cfg(not(unix))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&Tool; 3] = [&RUSTFMT, &CLIPPY, &CC];
    const FRESH: Machine = Machine { root: true, apt: true, rustup: true };

    #[test]
    fn each_missing_tool_is_found_once() {
        assert_eq!(missing(&[&CC, &RUSTFMT, &CC], |_| false), [&CC, &RUSTFMT]);
        assert_eq!(missing(&ALL, |tool| *tool != CLIPPY), [&CLIPPY]);
        assert!(missing(&ALL, |_| true).is_empty());
    }

    #[test]
    fn a_probe_can_fail() {
        assert!(!present(&Tool { name: "nothing", probe: &["no-such-program-here"], source: Source::Apt(&[]) }));
        assert!(present(&Tool { name: "cargo", probe: &["cargo", "--version"], source: Source::Apt(&[]) }));
    }

    #[test]
    fn a_fresh_machine_gets_all() {
        let commands = plan(&ALL, FRESH).unwrap();
        let lines: Vec<_> = commands.iter().map(|command| command.join(" ")).collect();
        assert_eq!(lines[..2], ["rustup component add clippy rustfmt", "apt-get update"]);
        assert!(lines[2].ends_with("apt-get install --yes --no-install-recommends gcc libc6-dev"), "{lines:?}");
    }

    #[test]
    fn packages_of_several_tools_are_installed_together_and_once() {
        let other = Tool { name: "another", probe: &["another"], source: Source::Apt(&["another", "gcc"]) };
        let commands = plan(&[&CC, &other], FRESH).unwrap();
        assert_eq!(commands.len(), 2);
        assert!(commands[1].ends_with(&["another", "gcc", "libc6-dev"]), "{commands:?}");
    }

    #[test]
    fn without_root_it_says_what_to_install() {
        let refusal = plan(&ALL, Machine { root: false, ..FRESH }).unwrap_err().to_string();
        assert_eq!(refusal, "these must be installed first: as root: apt-get install gcc libc6-dev");
        // What cargo installs needs no root.
        let commands = plan(&[&MUTANTS], Machine { root: false, apt: false, rustup: false }).unwrap();
        assert_eq!(commands, [["cargo", "install", "--locked", "cargo-mutants"]]);
        // Nor does a component of a toolchain.
        let commands = plan(&[&CLIPPY], Machine { root: false, ..FRESH }).unwrap();
        assert_eq!(commands, [["rustup", "component", "add", "clippy"]]);
    }

    #[test]
    fn without_rustup_and_apt_it_says_what_to_install() {
        let refusal = plan(&ALL, Machine { root: true, apt: false, rustup: false }).unwrap_err().to_string();
        assert!(refusal.contains("`clippy rustfmt`") && refusal.contains("`gcc libc6-dev`"), "{refusal}");
    }
}
