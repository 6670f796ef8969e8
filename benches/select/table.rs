//! What was measured, as text.

use std::fmt::Write;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::paired::Figures;

/// Median of ours over median of the floor: no more than this.
pub(crate) const BUDGET: f64 = 1.5;

/// One fleet under one load.
pub(crate) struct Row {
    pub(crate) nodes: u32,
    pub(crate) capacity: u32,
    pub(crate) load: u32,
    pub(crate) free: usize,
    pub(crate) floor: Figures,
    pub(crate) prepared: Figures,
    pub(crate) plain: Figures,
}

pub(crate) fn head(apart: bool) -> String {
    let order = if apart { "apart" } else { "in a row" };
    let above = format!("operations {order}; ns, min / median");
    format!(
        "{:>32} {above:^44}   {:^28}\n{:>7}  {:>5}  {:>6}  {:>8}  {:>13} {:>14} {:>14}   {:>12}   {:>12}\n",
        "", "ratio of medians", "nodes", "slots", "load %", "free", "floor", "prepared", "plain", "prepared", "plain",
    )
}

impl Row {
    fn ratio(&self, ours: Figures) -> f64 {
        ours.median / self.floor.median
    }

    pub(crate) fn line(&self) -> String {
        let times = |figures: Figures| format!("{:.1} / {:.1}", figures.min, figures.median);
        let verdict = |ours| {
            let ratio = self.ratio(ours);
            format!("{ratio:.2} {}", if ratio <= BUDGET { "met" } else { "NOT met" })
        };
        format!(
            "{:>7}  {:>5}  {:>6}  {:>8}  {:>13} {:>14} {:>14}   {:>12}   {:>12}",
            self.nodes,
            self.capacity,
            self.load,
            self.free,
            times(self.floor),
            times(self.prepared),
            times(self.plain),
            verdict(self.prepared),
            verdict(self.plain),
        )
    }
}

/// How many rows keep to the budget, and which is worst.
pub(crate) fn summary(rows: &[Row]) -> String {
    let mut text = String::new();
    for (name, ours) in [("prepared", (|row| row.prepared) as fn(&Row) -> Figures), ("plain", |row| row.plain)] {
        let ratio = |row: &Row| row.ratio(ours(row));
        let met = rows.iter().filter(|row| ratio(row) <= BUDGET).count();
        let Some(worst) = rows.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))) else { continue };
        let _ = writeln!(
            text,
            "{name} demand: budget {BUDGET} met in {met} of {} rows; worst {:.2} at {} nodes of {}, {} %",
            rows.len(),
            ratio(worst),
            worst.nodes,
            worst.capacity,
            worst.load,
        );
    }
    text
}

/// What registering each fleet cost.
pub(crate) fn registrations(fleets: &[(u32, u32, Duration)]) -> String {
    let of = |(nodes, capacity, time): &(u32, u32, Duration)| {
        let micros = time.as_secs_f64() * 1e6 / f64::from(*nodes);
        format!("{micros:.2} for {nodes} of {capacity}")
    };
    format!("registration, us a node: {}\n", fleets.iter().map(of).collect::<Vec<_>>().join(", "))
}

/// On what this ran.
pub(crate) fn machine() -> String {
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
