//! Runs every example that cargo knows of, and looks at the replay's report.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{Package, Target};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

/// The example that is the main job; it must be there.
const REPLAY: &str = "replay";

/// Counts in the replay's report that are 0 as long as the scheduler keeps its promises.
const ALWAYS_ZERO: [&str; 4] = ["over_capacity", "double_release", "duplicate_jobs", "slots_held_at_end"];

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let packages = workspace.metadata.workspace_packages();
    let examples: Vec<_> = packages.iter().flat_map(|package| examples_of(package)).collect();
    ensure!(examples.iter().any(|(_, target)| target.name == REPLAY), "there is no example `{REPLAY}`");
    for (package, target) in examples {
        let mut cargo = workspace.cargo(["run", "--release", "--package", &package.name, "--example", &target.name]);
        if !target.required_features.is_empty() {
            cargo.arg("--features").arg(target.required_features.join(","));
        }
        if target.name == REPLAY {
            let report = workspace.target_dir().join("xtask").join("replay.json");
            clear(&report)?;
            process::run(cargo.arg("--").arg("--json").arg(&report))?;
            let text = fs::read_to_string(&report).with_context(|| format!("no report at {}", report.display()))?;
            check_report(&text)?;
        } else {
            process::run(&mut cargo)?;
        }
    }
    Ok(())
}

fn examples_of(package: &Package) -> impl Iterator<Item = (&Package, &Target)> {
    package.targets.iter().filter(|target| target.is_example()).map(move |target| (package, target))
}

/// Takes away the report of an earlier run, which must not pass for this one's.
fn clear(report: &Path) -> Result<()> {
    if let Some(folder) = report.parent() {
        fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
    }
    if report.exists() {
        fs::remove_file(report).with_context(|| format!("{} could not be removed", report.display()))?;
    }
    Ok(())
}

/// The replay checks itself by its exit code; this sees to it that the code and the report say the same.
fn check_report(text: &str) -> Result<()> {
    let report: Value = serde_json::from_str(text).context("the replay's report is not JSON")?;
    let count = |name: &str| {
        report[name].as_u64().with_context(|| format!("the replay's report has no count `{name}`: {}", report[name]))
    };
    for name in ALWAYS_ZERO {
        let count = count(name)?;
        ensure!(count == 0, "the replay's report has {name} = {count}, which must be 0");
    }
    ensure!(count("jobs_completed")? > 0, "the replay completed no job");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "jobs_completed": 7, "over_capacity": 0, "double_release": 0, "duplicate_jobs": 0, "slots_held_at_end": 0
        })
    }

    fn refusal(report: &Value) -> String {
        format!("{:#}", check_report(&report.to_string()).unwrap_err())
    }

    #[test]
    fn a_sound_report_passes() {
        check_report(&report().to_string()).unwrap();
    }

    #[test]
    fn each_broken_invariant_is_named() {
        for name in ALWAYS_ZERO {
            let mut broken = report();
            broken[name] = json!(3);
            assert!(refusal(&broken).contains(&format!("{name} = 3")));
            broken[name] = Value::Null;
            assert!(refusal(&broken).contains(name));
        }
    }

    #[test]
    fn an_empty_run_or_report_does_not_pass() {
        let mut idle = report();
        idle["jobs_completed"] = json!(0);
        assert_eq!(refusal(&idle), "the replay completed no job");
        assert!(check_report("").is_err());
    }
}
