//! The report: everything that was found, as numbers. Its fields are those of the JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::engine::{Outcome, SlotTime, Window};
use crate::ledger::Broken;
use crate::workload::Workload;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) workload: Setting,
    pub(crate) jobs_offered: u64,
    pub(crate) jobs_completed: u64,
    /// Clients whose patience ended before they got a slot, or another one after their attempt was lost.
    pub(crate) jobs_refused: u64,
    pub(crate) refused_by_reason: BTreeMap<&'static str, u64>,
    /// All attempts failed.
    pub(crate) jobs_failed: u64,
    pub(crate) jobs_cancelled: u64,
    /// The client vanished.
    pub(crate) jobs_abandoned: u64,
    /// Further attempts; a job may have several.
    pub(crate) jobs_retried: u64,
    pub(crate) jobs_orphaned: u64,
    pub(crate) jobs_expired: u64,
    /// The invariants; each is the number of times that it did not hold.
    pub(crate) over_capacity: u64,
    pub(crate) double_release: u64,
    pub(crate) duplicate_jobs: u64,
    pub(crate) misplaced: u64,
    pub(crate) refused_while_free: u64,
    pub(crate) miscounted: u64,
    pub(crate) unexpected_answers: u64,
    pub(crate) events_dropped: u64,
    pub(crate) unsettled: u64,
    pub(crate) slots_held_at_end: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) wait_ms: WaitMs,
    pub(crate) utilisation: Utilisation,
    /// The busiest node's utilisation over the mean, window by window: the mean and the largest of the windows. Nodes
    /// count that took jobs and were unchanged for the whole window; windows, that had at least half the mean load: the
    /// first jobs of a run are no load to spread.
    pub(crate) load_spread: Spread,
    /// The same for the coefficient of variation of the nodes' utilisation.
    pub(crate) load_variation: Spread,
    /// Utilisation of the nodes over the whole run.
    pub(crate) node_utilisation: Quantiles,
    pub(crate) pools: Vec<PoolReport>,
    pub(crate) activity: Activity,
    pub(crate) decision_ns: DecisionNs,
    pub(crate) elapsed: Elapsed,
    #[serde(skip)]
    pub(crate) windows: Vec<Window>,
    #[serde(skip)]
    pub(crate) wait_us: Histogram<u64>,
    #[serde(skip)]
    pub(crate) decisions: Histogram<u64>,
}

/// What was replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setting {
    pub(crate) trace: String,
    pub(crate) nodes_from: String,
    pub(crate) policy: String,
    pub(crate) seed: u64,
    pub(crate) scale: u32,
    pub(crate) speed: f64,
    pub(crate) nodes: usize,
    pub(crate) slots: u64,
    /// Mean slots in use if every request were served at once, of the slots that there are.
    pub(crate) offered_load: f64,
    /// From the start to the last answer, in the time of the trace.
    pub(crate) seconds: f64,
}

/// From arrival to the first slot, or to giving up.
#[derive(Debug, Serialize)]
pub(crate) struct WaitMs {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// How long the scheduler took to give or refuse a slot, as the caller sees it: it includes reading the clock twice.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionNs {
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

/// Slots held, of the slots of the nodes that took jobs, while requests arrived. It may pass 1 when nodes shrink under
/// running jobs.
#[derive(Debug, Serialize)]
pub(crate) struct Utilisation {
    pub(crate) mean: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Quantiles {
    pub(crate) p5: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) max: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct PoolReport {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) slots: u64,
    pub(crate) utilisation: f64,
}

/// What else happened.
#[derive(Debug, Serialize)]
pub(crate) struct Activity {
    pub(crate) decisions: u64,
    pub(crate) refusals: u64,
    pub(crate) heartbeats: u64,
    pub(crate) renewals: u64,
    pub(crate) requests_sent_again: u64,
    pub(crate) late_results_turned_down: u64,
    pub(crate) crashes: u64,
    pub(crate) silences: u64,
    pub(crate) drains: u64,
    pub(crate) resizes: u64,
    pub(crate) services_unavailable: u64,
    pub(crate) nodes_declared_offline: u64,
}

/// Real time that the replay took; differs from run to run.
#[derive(Debug, Serialize)]
pub(crate) struct Elapsed {
    pub(crate) seconds: f64,
    pub(crate) requests_per_second: f64,
}

impl Setting {
    pub(crate) fn new(args: &Args, workload: &Workload, seconds: f64) -> Self {
        let given = |path: &Option<std::path::PathBuf>| match path {
            Some(path) => path.display().to_string(),
            None => "embedded".to_owned(),
        };
        let slots = workload.fleet.iter().map(|(machine, _)| u64::from(machine.slots)).sum();
        Self {
            trace: given(&args.trace),
            nodes_from: given(&args.nodes),
            policy: args.policy.name.clone(),
            seed: args.seed,
            scale: args.scale,
            speed: args.speed,
            nodes: workload.fleet.len(),
            slots,
            offered_load: rounded(workload.offered_slots / slots as f64),
            seconds,
        }
    }
}

impl Report {
    pub(crate) fn new(args: &Args, workload: &Workload, outcome: Outcome, elapsed: Duration) -> Self {
        let Outcome { tally, ledger, series, pools, slots_held_at_end, seconds } = outcome;
        let broken = |broken| ledger.violations.count(broken);
        let (mean, max) = mean_and_max(series.windows.iter().map(|window| window.utilisation));
        let spread = |of: fn((f64, f64)) -> f64| {
            let loaded = series.windows.iter().filter(|window| window.utilisation >= mean / 2.0);
            let (mean, max) = mean_and_max(loaded.filter_map(|window| window.spread).map(of));
            Spread { mean, max }
        };
        Self {
            workload: Setting::new(args, workload, seconds),
            jobs_offered: tally.offered,
            jobs_completed: tally.completed,
            jobs_refused: tally.all_refused(),
            jobs_failed: tally.failed,
            jobs_cancelled: tally.cancelled,
            jobs_abandoned: tally.abandoned,
            jobs_retried: tally.retried,
            jobs_orphaned: tally.orphaned,
            jobs_expired: tally.expired,
            over_capacity: broken(Broken::OverCapacity),
            double_release: broken(Broken::DoubleRelease),
            duplicate_jobs: broken(Broken::DuplicateJobs),
            misplaced: broken(Broken::Misplaced),
            refused_while_free: broken(Broken::RefusedWhileFree),
            miscounted: broken(Broken::Miscounted),
            unexpected_answers: broken(Broken::UnexpectedAnswers),
            events_dropped: broken(Broken::EventsDropped),
            unsettled: broken(Broken::Unsettled),
            slots_held_at_end,
            violations: ledger.violations.examples().to_vec(),
            wait_ms: WaitMs::new(&tally.wait_us),
            utilisation: Utilisation { mean, max },
            load_spread: spread(|(over_mean, _)| over_mean),
            load_variation: spread(|(_, variation)| variation),
            node_utilisation: Quantiles::new(&series.nodes),
            pools: pools
                .into_iter()
                .map(|pool| PoolReport {
                    name: pool.name,
                    nodes: pool.nodes,
                    slots: pool.slots,
                    utilisation: rounded(pool.time.utilisation()),
                })
                .collect(),
            activity: Activity {
                decisions: tally.decisions,
                refusals: tally.refusals,
                heartbeats: tally.heartbeats,
                renewals: tally.renewals,
                requests_sent_again: tally.resent,
                late_results_turned_down: tally.late_results,
                crashes: tally.crashes,
                silences: tally.silences,
                drains: tally.drains,
                resizes: tally.resizes,
                services_unavailable: tally.unavailable,
                nodes_declared_offline: tally.nodes_down,
            },
            decision_ns: DecisionNs::new(&tally.decision_ns),
            elapsed: Elapsed {
                seconds: elapsed.as_secs_f64(),
                requests_per_second: (tally.offered as f64 / elapsed.as_secs_f64()).round(),
            },
            refused_by_reason: tally.refused,
            windows: series.windows,
            wait_us: tally.wait_us,
            decisions: tally.decision_ns,
        }
    }

    /// How often each invariant was broken.
    pub(crate) fn invariants(&self) -> [(Broken, u64); Broken::ALONE.len()] {
        Broken::ALONE.map(|broken| {
            let count = match broken {
                Broken::OverCapacity => self.over_capacity,
                Broken::DoubleRelease => self.double_release,
                Broken::DuplicateJobs => self.duplicate_jobs,
                Broken::Misplaced => self.misplaced,
                Broken::RefusedWhileFree => self.refused_while_free,
                Broken::Miscounted => self.miscounted,
                Broken::UnexpectedAnswers => self.unexpected_answers,
                Broken::EventsDropped => self.events_dropped,
                Broken::Unsettled => self.unsettled,
                Broken::SlotsHeldAtEnd => self.slots_held_at_end,
                Broken::HeldTwice | Broken::FenceFell => 0,
            };
            (broken, count)
        })
    }

    /// Whether every invariant held.
    pub(crate) fn holds(&self) -> bool {
        self.invariants().iter().all(|(_, count)| *count == 0)
    }
}

impl WaitMs {
    fn new(waits: &Histogram<u64>) -> Self {
        let at = |quantile| waits.value_at_quantile(quantile) as f64 / 1e3;
        let mean = rounded(waits.mean() / 1e3);
        Self { mean, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: waits.max() as f64 / 1e3 }
    }
}

impl DecisionNs {
    fn new(times: &Histogram<u64>) -> Self {
        let at = |quantile| times.value_at_quantile(quantile);
        Self { mean: rounded(times.mean()), p50: at(0.5), p99: at(0.99), p999: at(0.999), max: times.max() }
    }
}

impl Quantiles {
    /// Over the nodes that took jobs at some time.
    fn new(nodes: &[SlotTime]) -> Self {
        let mut all: Vec<f64> =
            nodes.iter().filter(|time| time.offered > 0).map(|time| rounded(time.utilisation())).collect();
        all.sort_by(f64::total_cmp);
        let at = |quantile: f64| all.get((all.len().saturating_sub(1) as f64 * quantile) as usize).copied();
        let at = |quantile| at(quantile).unwrap_or(0.0);
        Self { p5: at(0.05), p50: at(0.5), p95: at(0.95), max: at(1.0) }
    }
}

fn mean_and_max(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (count, sum, max) =
        values.fold((0.0, 0.0, 0.0_f64), |(count, sum, max), value| (count + 1.0, sum + value, max.max(value)));
    if count > 0.0 { (rounded(sum / count), rounded(max)) } else { (0.0, 0.0) }
}

/// To four digits after the point: what is beyond is noise.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
