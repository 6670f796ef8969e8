//! The report for the terminal.

use std::collections::BTreeMap;
use std::fmt::Write;

use indicatif::{HumanCount as Count, HumanFloatCount as Decimal};

use super::{Report, Setting};
use crate::ledger::Broken;

/// The report as text. What differs from run to run is in its last two lines.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(report, &mut out);
    out
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    let setting = &report.workload;
    heading(setting, &format!("{} pools, ", report.pools.len()), out)?;
    let activity = &report.activity;
    let happened = [
        ("crashes", activity.crashes),
        ("nodes cut off", activity.silences),
        ("drains", activity.drains),
        ("resizes", activity.resizes),
        ("services unavailable", activity.services_unavailable),
    ];
    let happened: Vec<String> = happened.iter().map(|(what, count)| format!("{} {what}", Count(*count))).collect();
    writeln!(out, "happened      {}", happened.join(", "))?;
    writeln!(
        out,
        "time          {} s virtual, {} heartbeats",
        Decimal(setting.seconds.round()),
        Count(activity.heartbeats)
    )?;
    writeln!(out)?;
    writeln!(out, "requests      {:>12}", Count(report.jobs_offered).to_string())?;
    let reasons = reasons(&report.refused_by_reason);
    let outcomes = [
        ("completed", report.jobs_completed, String::new()),
        ("refused", report.jobs_refused, reasons),
        ("failed", report.jobs_failed, "all attempts".to_owned()),
        ("cancelled", report.jobs_cancelled, String::new()),
        ("abandoned", report.jobs_abandoned, "the client vanished".to_owned()),
    ];
    for (name, count, note) in outcomes {
        outcome(name, count, report.jobs_offered, &note, out)?;
    }
    let again =
        [("retried", report.jobs_retried), ("orphaned", report.jobs_orphaned), ("expired", report.jobs_expired)];
    let again: Vec<String> = again.iter().map(|(name, count)| format!("{name} {}", Count(*count))).collect();
    writeln!(out, "attempts      {}", again.join(", "))?;
    writeln!(out, "decisions     {}, of which {} refused", Count(activity.decisions), Count(activity.refusals))?;
    writeln!(out)?;
    let wait = &report.wait_ms;
    let ms = |value: f64| Decimal((value * 10.0).round() / 10.0);
    writeln!(
        out,
        "wait (ms)     mean {}, p50 {}, p99 {}, p99.9 {}, max {}",
        ms(wait.mean),
        ms(wait.p50),
        ms(wait.p99),
        ms(wait.p999),
        ms(wait.max)
    )?;
    writeln!(out, "utilisation   mean {}, max {}", percent(report.utilisation.mean), percent(report.utilisation.max))?;
    let (spread, variation) = (&report.load_spread, &report.load_variation);
    writeln!(
        out,
        "load spread   busiest node over mean {:.2}, at most {:.2}; variation {:.3}, at most {:.3}",
        spread.mean, spread.max, variation.mean, variation.max
    )?;
    let of = &report.node_utilisation;
    writeln!(
        out,
        "nodes         utilisation p5 {}, p50 {}, p95 {}, max {}",
        percent(of.p5),
        percent(of.p50),
        percent(of.p95),
        percent(of.max)
    )?;
    writeln!(out, "pools         {:>8} {:>10} {:>12}", "nodes", "slots", "utilisation")?;
    for pool in &report.pools {
        let (nodes, slots) = (Count(pool.nodes as u64).to_string(), Count(pool.slots).to_string());
        writeln!(
            out,
            "              {nodes:>8} {slots:>10} {:>12}  {}",
            percent(pool.utilisation),
            shortened(&pool.name)
        )?;
    }
    writeln!(out)?;
    verdicts(&report.invariants(), &report.violations, out)?;
    writeln!(out)?;
    let took = &report.decision_ns;
    writeln!(
        out,
        "decision (ns) mean {}, p50 {}, p99 {}, p99.9 {}, max {}",
        Decimal(took.mean.round()),
        Count(took.p50),
        Count(took.p99),
        Count(took.p999),
        Count(took.max)
    )?;
    writeln!(
        out,
        "took          {:.1} s, {} requests a second",
        report.elapsed.seconds,
        Decimal(report.elapsed.requests_per_second)
    )
}

/// What was replayed, on which fleet.
pub(crate) fn heading(setting: &Setting, of_fleet: &str, out: &mut String) -> std::fmt::Result {
    let (trace, policy, seed) = (&setting.trace, &setting.policy, setting.seed);
    writeln!(out, "replay of the {trace} trace, policy {policy}, seed {seed}, scale {}", setting.scale)?;
    let (nodes, slots) = (Count(setting.nodes as u64), Count(setting.slots));
    let load = percent(setting.offered_load);
    writeln!(out, "fleet         {nodes} nodes, {slots} slots, {of_fleet}offered load {load}")
}

/// How many of the requests have ended like this.
pub(crate) fn outcome(name: &str, count: u64, of: u64, note: &str, out: &mut String) -> std::fmt::Result {
    let share = percent(count as f64 / of.max(1) as f64);
    writeln!(out, "{}", format!("  {name:<12}{:>12} {share:>9}  {note}", Count(count).to_string()).trim_end())
}

/// What was refused, by the reason.
pub(crate) fn reasons<R: std::fmt::Display>(counts: &BTreeMap<R, u64>) -> String {
    let reasons: Vec<_> = counts.iter().map(|(reason, count)| format!("{reason} {}", Count(*count))).collect();
    reasons.join(", ")
}

/// Which invariants held, and what was seen of those that did not.
pub(crate) fn verdicts(invariants: &[(Broken, u64)], violations: &[String], out: &mut String) -> std::fmt::Result {
    for (broken, count) in invariants {
        let verdict = if *count == 0 { "held".to_owned() } else { format!("BROKEN, {} times", Count(*count)) };
        writeln!(out, "invariant     {:<40} {verdict}", broken.invariant())?;
    }
    violations.iter().try_for_each(|violation| writeln!(out, "  {violation}"))
}

/// Names of pools list all their languages; a line has room for some.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 60;
    match name.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}...", &name[..cut]),
        None => name.to_owned(),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
