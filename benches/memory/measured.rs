//! A measurement, made in a process of its own.

use std::fmt::Write as _;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::counting;
use crate::kinds::{KINDS, Kind};

/// Tells the child what to measure: place of the kind, and how many of it.
const TASK: &str = "SLOTYARD_MEMORY_TASK";

/// What many of a kind take.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) units: u32,
    pub(crate) ids: u32,
    /// Bytes asked of the allocator and not freed.
    pub(crate) held: i64,
    /// Bytes that the system has given; nothing where it does not say.
    pub(crate) resident: Option<i64>,
    pieces: Vec<Piece>,
}

/// What is held of a size: largest size, how many, bytes in all.
#[derive(Debug, Serialize, Deserialize)]
struct Piece {
    up_to: usize,
    allocations: i64,
    bytes: i64,
}

/// What is held now, for the difference to what is held later.
pub(crate) struct Span {
    classes: Vec<counting::Class>,
    resident: Option<i64>,
    held: i64,
}

impl Span {
    pub(crate) fn begin() -> Self {
        let (classes, resident) = (counting::held_by_class(), resident());
        Self { classes, resident, held: counting::so_far().held }
    }

    /// What has come since the beginning.
    pub(crate) fn end(self) -> Self {
        let held = counting::so_far().held - self.held;
        let resident = resident().zip(self.resident).map(|(now, before)| now - before);
        let difference = |(now, before): (counting::Class, counting::Class)| counting::Class {
            allocations: now.allocations - before.allocations,
            bytes: now.bytes - before.bytes,
            ..now
        };
        let classes = counting::held_by_class().into_iter().zip(self.classes).map(difference).collect();
        Self { classes, resident, held }
    }
}

/// Bytes of this process that are in memory. `statm` says so in pages of a size that it does not say.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.trim().parse::<i64>().ok()? * 1024)
}

/// Whether this process is one that a measurement was asked of; then that is done and told.
pub(crate) fn in_child() -> bool {
    let Ok(task) = std::env::var(TASK) else { return false };
    let parsed = task.split_once(' ').and_then(|(kind, units)| Some((kind.parse().ok()?, units.parse().ok()?)));
    let (kind, units): (usize, u32) = parsed.expect("the parent has written it");
    let kind = &KINDS[kind];
    let Span { classes, resident, held } = (kind.make)(units);
    let piece = |class: counting::Class| {
        let counting::Class { up_to, allocations, bytes } = class;
        (allocations != 0).then_some(Piece { up_to, allocations, bytes })
    };
    let pieces = classes.into_iter().filter_map(piece).collect();
    let measured = Measured { units, ids: kind.ids, held, resident, pieces };
    println!("{}", serde_json::to_string(&measured).expect("names and numbers"));
    true
}

impl Measured {
    /// # Panics
    /// When the child cannot be started, or fails.
    pub(crate) fn of(kind: &Kind, units: u32) -> Self {
        let place = KINDS.iter().position(|other| other.name == kind.name).expect("it is one of them");
        let program = std::env::current_exe().expect("this program is somewhere");
        let output = Command::new(program).env(TASK, format!("{place} {units}")).output();
        let output = output.expect("this program can be started");
        assert!(output.status.success(), "{}: {}", kind.name, String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("the child has written it")
    }

    /// Where it goes: what is held for one, by the sizes of the allocations.
    pub(crate) fn breakdown(&self) -> String {
        let apiece = |count: i64| count as f64 / f64::from(self.units);
        let mut text = format!("{:>18}  {:>17}  {:>10}\n", "bytes at a time", "allocations each", "bytes each");
        let mut rest = 0;
        for Piece { up_to, allocations, bytes } in &self.pieces {
            // Less than a byte for each is told in one.
            if apiece(*bytes).abs() < 1.0 {
                rest += bytes;
                continue;
            }
            let size = *bytes as f64 / *allocations as f64;
            let _ = writeln!(
                text,
                "{:>18}  {:>17.4}  {:>10.1}",
                format!("{size:.0} (<= {up_to})"),
                apiece(*allocations),
                apiece(*bytes)
            );
        }
        let allocations = self.pieces.iter().map(|piece| piece.allocations).sum();
        let _ = writeln!(text, "{:>18}  {:>17}  {:>10.1}", "others", "", apiece(rest));
        let _ = writeln!(text, "{:>18}  {:>17.4}  {:>10.1}", "all", apiece(allocations), apiece(self.held));
        text
    }
}
