//! What was measured, for other programs: a JSON object a line.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::peer::{Does, Entry, Operation};
use crate::peers;
use crate::report::Measured;

/// slotyard's median over the peer's: no more than this, to select and to change the fleet. That a load is told is a
/// heartbeat, which has a budget of its own.
const BUDGET: f64 = 1.0;

/// Appends a row for each peer, operation and size.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn append(path: &Path, entries: &[Entry], measured: &[Measured]) -> Result<()> {
    let lines: String = measured.iter().flat_map(|one| rows(entries, one)).map(|row| format!("{row}\n")).collect();
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .with_context(|| format!("{} cannot be written", path.display()))
}

fn rows(entries: &[Entry], measured: &Measured) -> Vec<Value> {
    let peers = entries.iter().zip(&measured.cells).skip(peers::OURS);
    peers
        .filter_map(|(entry, cell)| {
            let (ours, peer) = (measured.ours(entry)?, cell.figures()?);
            let ratio = ours.median / peer.median;
            let budget = (measured.operation != Operation::Load).then_some(BUDGET);
            Some(json!({
                "suite": "peers",
                "case": format!("{} nodes: {}", measured.nodes, case(measured.operation, entry.does)),
                "subject": "slotyard",
                "floor": entry.name,
                "unit": "ns",
                "min": ours.min,
                "median": ours.median,
                "floor_min": peer.min,
                "floor_median": peer.median,
                "ratio": ratio,
                "bound": budget.map(|_| "at most"),
                "budget": budget,
                "met": budget.map(|budget| ratio <= budget),
            }))
        })
        .collect()
}

fn case(operation: Operation, does: Does) -> &'static str {
    match (operation, does) {
        (Operation::Select, Does::Reserve) => "select + reserve",
        (Operation::Select, Does::Select) => "select",
        (Operation::Change, _) => "a node added and removed",
        (Operation::Load, _) => "load of a node told",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Cell;
    use crate::turns::Figures;

    #[test]
    fn a_row_has_the_ratio_of_ours_to_the_peer() {
        let entries = peers::all();
        let cells = (0..entries.len()).map(|place| match place {
            0 => Cell::Figures(Figures { min: 10.0, median: 20.0 }),
            place if place == peers::OURS => Cell::Figures(Figures { min: 30.0, median: 40.0 }),
            _ => Cell::Absent,
        });
        let mut measured = Measured { nodes: 10, operation: Operation::Select, cells: cells.collect() };
        let rows_of = |measured: &Measured| rows(&entries, measured);
        let rows = rows_of(&measured);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["case"], "10 nodes: select + reserve");
        assert_eq!(rows[0]["floor"], entries[peers::OURS].name);
        assert_eq!((&rows[0]["ratio"], &rows[0]["met"]), (&json!(0.5), &json!(true)));
        measured.operation = Operation::Load;
        assert_eq!(rows_of(&measured)[0]["met"], Value::Null);
    }
}
