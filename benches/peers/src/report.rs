//! What was measured, as a section of the page of results.

use std::fmt::Write;

use crate::peer::{Does, Entry, Operation, Refusal};
use crate::peers;
use crate::turns::Figures;
use crate::versions;

/// A contender at one size.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Figures(Figures),
    /// It has no such operation.
    Absent,
    /// It does not run at this size.
    Refused(Refusal),
    /// It runs, and has no figures yet.
    Pending,
}

/// One operation at one size.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) nodes: u32,
    pub(crate) operation: Operation,
    /// One for each contender.
    pub(crate) cells: Vec<Cell>,
}

impl Cell {
    pub(crate) fn figures(&self) -> Option<Figures> {
        match self {
            Self::Figures(figures) => Some(*figures),
            _ => None,
        }
    }
}

impl Measured {
    /// What slotyard takes for as much as this contender does.
    pub(crate) fn ours(&self, entry: &Entry) -> Option<Figures> {
        let does = if self.operation == Operation::Select { entry.does } else { Does::Reserve };
        self.cells[peers::ours(does)].figures()
    }

    fn text(&self, entry: &Entry, cell: &Cell) -> String {
        match (cell, self.ours(entry)) {
            (Cell::Figures(figures), Some(ours)) => {
                format!("{} x{}", times(*figures), ratio(figures.median / ours.median))
            }
            (Cell::Figures(figures), None) => times(*figures),
            (Cell::Refused(refusal), _) => refusal.word.to_owned(),
            (Cell::Absent | Cell::Pending, _) => "-".to_owned(),
        }
    }
}

/// The whole section. `load` is how busy the machine was before.
pub(crate) fn section(entries: &[Entry], measured: &[Measured], load: &str) -> String {
    let mut text = format!("## Beside other balancers, {}\n\n", jiff::Zoned::now().date());
    let about = format!(
        "`cargo xtask bench peers`, {}, {load}; {}. All contenders of one size take turns in one run, on one \
         thread; min / median of an operation, and how many times slotyard's median that is: below 1, the peer is the \
         faster one. Nothing else is held; nodes have 8 slots where slots are known.",
        machine(),
        versions::listed(),
    );
    text += &wrapped(&about, "");
    text += "\n";
    text += "\n```text\n";
    for (place, operation) in Operation::ALL.into_iter().enumerate() {
        if place > 0 {
            text += "\n";
        }
        text += &table(entries, measured, operation);
    }
    text += "```\n\n";
    for entry in entries {
        text += &wrapped(&format!("- {}: {}.", entry.name, entry.lacks), "  ");
        text += "\n";
    }
    text += &refusals(entries, measured);
    text
}

fn title(operation: Operation) -> &'static str {
    match operation {
        Operation::Select => "select (+ reserve + release, where there is such a thing)",
        Operation::Change => "a node added and removed",
        Operation::Load => "load of a node told",
    }
}

/// One operation: a line for each contender that has it, a column for each size.
fn table(entries: &[Entry], measured: &[Measured], operation: Operation) -> String {
    let columns: Vec<&Measured> = measured.iter().filter(|measured| measured.operation == operation).collect();
    let mut lines = vec![vec![title(operation).to_owned()], vec!["nodes".to_owned()]];
    lines[1].extend(columns.iter().map(|column| column.nodes.to_string()));
    for (place, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.has(operation)) {
        let cells = columns.iter().map(|column| column.text(entry, &column.cells[place]));
        lines.push([entry.name.to_owned()].into_iter().chain(cells).collect());
    }
    let width = |column: usize| lines[1..].iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
    let mut text = format!("{}\n", lines[0][0]);
    for line in &lines[1..] {
        let mut row = format!("{:<1$}", line[0], widths[0]);
        for (cell, width) in line[1..].iter().zip(&widths[1..]) {
            let _ = write!(row, "   {cell:>width$}");
        }
        text += row.trim_end();
        text += "\n";
    }
    text
}

/// Why contenders did not run, once for each reason.
fn refusals(entries: &[Entry], measured: &[Measured]) -> String {
    let mut text = String::new();
    for (place, entry) in entries.iter().enumerate() {
        let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
        for measured in measured.iter().filter(|measured| measured.operation == Operation::Select) {
            let Cell::Refused(Refusal { reason, .. }) = &measured.cells[place] else { continue };
            let nodes = measured.nodes.to_string();
            match reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, sizes)) => sizes.push(nodes),
                None => reasons.push((reason, vec![nodes])),
            }
        }
        for (reason, sizes) in reasons {
            text += &wrapped(&format!("- {} at {} nodes: {reason}.", entry.name, sizes.join(", ")), "  ");
            text += "\n";
        }
    }
    if text.is_empty() { text } else { format!("\nNot measured:\n\n{text}") }
}

/// Min and median, in the unit of the median.
fn times(figures: Figures) -> String {
    let (unit, name) = match figures.median {
        median if median < 1e4 => (1.0, "ns"),
        median if median < 1e7 => (1e3, "us"),
        _ => (1e6, "ms"),
    };
    format!("{} / {} {name}", digits(figures.min / unit), digits(figures.median / unit))
}

fn digits(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn ratio(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// Lines of the width that the repository's text has.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() > 118 {
            lines.push(format!("{indent}{word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// How busy the machine is, as Linux tells it.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average before {}", text.split(' ').next().filter(|first| !first.is_empty()).unwrap_or("unknown"))
}

/// On what this ran.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = cpu_model().unwrap_or_else(|| "unknown processor".to_owned());
    format!("{cores} cores, {model}, {} {}", std::env::consts::ARCH, std::env::consts::OS)
}

/// As Linux tells it.
fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ten(operation: Operation, cell: impl Fn(usize) -> Cell) -> Measured {
        Measured { nodes: 10, operation, cells: (0..peers::all().len()).map(cell).collect() }
    }

    fn figures(median: f64) -> Cell {
        Cell::Figures(Figures { min: median / 2.0, median })
    }

    #[test]
    fn a_peer_is_compared_to_what_does_as_much() {
        let entries = peers::all();
        let selecting = entries.iter().rposition(|entry| entry.does == Does::Select).unwrap();
        let measured = at_ten(Operation::Select, |place| figures(10.0 * (place + 1) as f64));
        assert_eq!(measured.ours(&entries[peers::OURS]).unwrap().median, 10.0);
        assert_eq!(measured.ours(&entries[selecting]).unwrap().median, 20.0);
        let changed = at_ten(Operation::Change, |place| figures(10.0 * (place + 1) as f64));
        assert_eq!(changed.ours(&entries[selecting]).unwrap().median, 10.0);
    }

    #[test]
    fn what_does_not_run_is_told_why() {
        let entries = peers::all();
        let refusal = || Refusal { word: "panics", reason: "panics: too many".to_owned() };
        let last = entries.len() - 1;
        let measured = [at_ten(Operation::Select, |place| match place {
            place if place == last => Cell::Refused(refusal()),
            _ => figures(20.0),
        })];
        let text = section(&entries, &measured, "load average before 0.00");
        assert!(text.contains(&format!("- {} at 10 nodes: panics: too many.", entries[last].name)), "{text}");
        assert!(text.contains("10.0 / 20.0 ns x1.00"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    }

    #[test]
    fn times_are_readable() {
        let shown = |median| times(Figures { min: median, median });
        assert_eq!(shown(57.26), "57.3 / 57.3 ns");
        assert_eq!(shown(8_400.0), "8400 / 8400 ns");
        assert_eq!(shown(96_100.0), "96.1 / 96.1 us");
        assert_eq!(shown(494e6), "494 / 494 ms");
    }
}
