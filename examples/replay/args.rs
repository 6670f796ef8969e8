//! The command line.

use std::path::PathBuf;

use clap::Parser;
use slotyard::Policy;

use crate::shared::args::SharedArgs;

/// Replay a fleet that serves jobs, in virtual time, through the scheduler.
///
/// Without arguments it replays an embedded workload. Each file given takes the place of the embedded part that it
/// corresponds to. Exit status: 0 when every invariant held, 1 when one did not, 2 for malformed input.
#[derive(Debug, Parser)]
#[command(name = "replay", version, max_term_width = 110)]
pub(crate) struct Args {
    /// Arrivals: the Azure LLM CSV (TIMESTAMP, ContextTokens, GeneratedTokens), or JSON lines with a `timestamp` in ms
    /// and optional token counts; plain or gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Workers: a CSV with the columns sn, gpu and model; one slot a GPU, nodes without one are left out
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// What tokens cost on which hardware: the splitwise-sim perf_model.csv
    #[arg(long, value_name = "FILE")]
    pub(crate) perf: Option<PathBuf>,
    /// How often each language is spoken: the Common Voice corpus JSON; plain or gzip
    #[arg(long, value_name = "FILE")]
    pub(crate) languages: Option<PathBuf>,
    /// Which translations there are: the Argos package index JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) pairs: Option<PathBuf>,
    /// How many times as fast as recorded the requests arrive (service times stay)
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) speed: f64,
    /// Seed of every random choice, the scheduler's included
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// How the scheduler chooses a node: p2c, random, round-robin, least-loaded, or least-loaded:K
    #[arg(long, value_name = "POLICY", default_value = "p2c", value_parser = PolicyArg::parse)]
    pub(crate) policy: PolicyArg,
    /// Multiplies the fleet and the arrivals
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000),
        allow_negative_numbers = true)]
    pub(crate) scale: u32,
    /// Takes as many nodes of the list as make the offered load this share of the slots; a list that is too short is
    /// repeated under new names. Without it the fleet is the whole list, SCALE times
    #[arg(long, value_name = "SHARE", value_parser = positive, allow_negative_numbers = true)]
    pub(crate) load: Option<f64>,
    /// Writes the report as JSON
    #[arg(long, value_name = "OUT")]
    pub(crate) json: Option<PathBuf>,
    /// Writes the report as one self-contained page with plots
    #[arg(long, value_name = "OUT")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shared: SharedArgs,
}

/// A policy under the name that the report repeats.
#[derive(Debug, Clone)]
pub(crate) struct PolicyArg {
    pub(crate) name: String,
    pub(crate) policy: Policy,
}

/// Candidates that `least-loaded` looks at when no number is given.
const DEFAULT_CANDIDATES: u32 = 3;

impl PolicyArg {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected p2c, random, round-robin, least-loaded or least-loaded:K with K from 1".to_owned();
        let (name, candidates) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count.parse::<u32>().ok().filter(|k| *k > 0).ok_or_else(expected)?)),
            None => (text, None),
        };
        let (name, policy) = match (name, candidates) {
            ("p2c", None) => (text.to_owned(), Policy::power_of_two()),
            ("random", None) => (text.to_owned(), Policy::random()),
            ("round-robin", None) => (text.to_owned(), Policy::round_robin()),
            ("least-loaded", candidates) => {
                let k = candidates.unwrap_or(DEFAULT_CANDIDATES);
                (format!("least-loaded:{k}"), Policy::least_loaded(k))
            }
            _ => return Err(expected()),
        };
        Ok(Self { name, policy })
    }
}

/// A factor that neither stops the replay nor makes it endless.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (1e-6..=1e6).contains(&value) => Ok(value),
        _ => Err("expected a number from 0.000001 to 1000000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_a_full_name() {
        let named = |text| PolicyArg::parse(text).map(|policy| policy.name);
        assert_eq!(named("p2c").as_deref(), Ok("p2c"));
        assert_eq!(named("least-loaded").as_deref(), Ok("least-loaded:3"));
        assert_eq!(named("least-loaded:5").as_deref(), Ok("least-loaded:5"));
        for bad in ["", "p3c", "p2c:2", "least-loaded:", "least-loaded:0", "least-loaded:-1", "least-loaded:x"] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn factors_are_positive_and_finite() {
        assert_eq!(positive("0.9"), Ok(0.9));
        for bad in ["0", "-1", "NaN", "inf", "1e99", "", "x"] {
            assert!(positive(bad).is_err(), "{bad}");
        }
    }
}
