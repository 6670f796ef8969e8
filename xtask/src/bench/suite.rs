//! The suites that there are, and how each is run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Metadata;

use super::row::{self, Row};
use crate::instructions::{self, CASES, Counts};
use crate::peers;
use crate::process;
use crate::tools::{self, CC, CMAKE, CXX, MAKE, REDIS, VALGRIND};
use crate::workspace::Workspace;

/// Where a suite adds its rows.
const ROWS: &str = "SLOTYARD_BENCH_ROWS";
/// The package that measures others beside the library; only when asked for by name, since it builds all of them.
pub(crate) const PEERS: &str = "peers";
/// The feature of what several instances share.
const SHARED: &str = "redis";

/// Something that can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Suite {
    /// A `[[bench]]` of a package of the workspace, and the features without which there is none.
    Bench { package: String, name: String, features: Vec<String> },
    /// Instructions under callgrind.
    Instructions,
    /// The package in `benches/peers/`, a workspace of its own.
    Peers,
}

impl Suite {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Bench { name, .. } => name,
            Self::Instructions => instructions::SUITE,
            Self::Peers => PEERS,
        }
    }

    /// Every suite, in the order of the page.
    pub(crate) fn all(metadata: &Metadata) -> Vec<Self> {
        let mut suites = Vec::new();
        for package in metadata.workspace_packages() {
            for target in package.targets.iter().filter(|target| target.is_bench()) {
                if target.name != instructions::SUITE {
                    let (package, name) = (package.name.to_string(), target.name.clone());
                    suites.push(Self::Bench { package, name, features: target.required_features.clone() });
                }
            }
        }
        suites.extend([Self::Instructions, Self::Peers]);
        suites
    }

    /// Those of these names; with none named, all but the peers, and only criterion's if there are arguments for it.
    pub(crate) fn selected(all: &[Self], names: &[String], with_arguments: bool) -> Result<Vec<Self>> {
        if names.is_empty() {
            let by_default = |suite: &&Self| match suite {
                Self::Bench { .. } => true,
                Self::Instructions => !with_arguments && cfg!(target_os = "linux"),
                Self::Peers => false,
            };
            return Ok(all.iter().filter(by_default).cloned().collect());
        }
        let mut selected = Vec::new();
        for name in names {
            let Some(suite) = all.iter().find(|suite| suite.name() == name) else {
                let known: Vec<_> = all.iter().map(Self::name).collect();
                bail!("there is no suite `{name}`; there are {}", known.join(", "));
            };
            ensure!(*suite != Self::Instructions || !with_arguments, "`{name}` takes no arguments");
            if !selected.contains(suite) {
                selected.push(suite.clone());
            }
        }
        Ok(selected)
    }

    /// Sees to it that what the suites need is there.
    pub(crate) fn ensure_tools(suites: &[Self]) -> Result<()> {
        let mut tools = vec![&CC];
        tools.extend(suites.contains(&Self::Instructions).then_some(&VALGRIND));
        if suites.contains(&Self::Peers) {
            tools.extend([&CXX, &CMAKE, &MAKE]);
        }
        tools.extend(suites.iter().any(Self::needs_servers).then_some(&REDIS));
        tools::ensure(&tools)
    }

    /// Whether it starts servers: that of what several instances share.
    fn needs_servers(&self) -> bool {
        matches!(self, Self::Bench { features, .. } if features.iter().any(|feature| feature == SHARED))
    }

    /// Runs it with `arguments` and returns what it has measured.
    pub(crate) fn run(&self, workspace: &Workspace, arguments: &[String]) -> Result<Vec<Row>> {
        match self {
            Self::Bench { package, name, features } => {
                let mut cargo = workspace.cargo(["bench", "--package", package, "--bench", name]);
                if !features.is_empty() {
                    cargo.args(["--features", &features.join(",")]);
                }
                if !arguments.is_empty() {
                    cargo.arg("--").args(arguments);
                }
                rows_from(workspace, |file| process::run(cargo.env(ROWS, file)))
            }
            Self::Instructions => Ok(rows_of(&instructions::count(workspace)?)),
            Self::Peers => rows_from(workspace, |file| peers::run(workspace, arguments, (ROWS, file))),
        }
    }
}

/// Runs something that adds what it measures to the file that it is given.
fn rows_from(workspace: &Workspace, run: impl FnOnce(&Path) -> Result<()>) -> Result<Vec<Row>> {
    let folder = workspace.target_dir().join("xtask");
    fs::create_dir_all(&folder).with_context(|| format!("{} could not be made", folder.display()))?;
    let file = folder.join("bench-rows.jsonl");
    if file.exists() {
        // The suites add to it; what another run has left must not pass for this one's.
        fs::remove_file(&file).with_context(|| format!("{} could not be removed", file.display()))?;
    }
    run(&file)?;
    row::load(&file)
}

/// Counts beside the counts of their floors.
fn rows_of(counts: &Counts) -> Vec<Row> {
    let of = |operation: &str, slots| counts.get(&instructions::key(operation, slots)).copied();
    let rows = CASES.iter().map(|case| {
        let (ours, floor) = (of(case.operation, case.slots), of(case.floor, case.slots));
        Row {
            suite: instructions::SUITE.to_owned(),
            case: format!("{}, nodes of {}", case.operation, case.slots),
            subject: "instructions".to_owned(),
            floor: case.floor.to_owned(),
            unit: "instructions".to_owned(),
            min: ours,
            median: ours,
            floor_min: floor,
            floor_median: floor,
            ratio: ours.zip(floor).map(|(ours, floor)| ours / floor),
            bound: None,
            budget: None,
            met: None,
            run: row::Run::default(),
        }
    });
    rows.collect()
}

/// The rows of each suite, in the order of the suites; those of suites that are no more are left out.
pub(crate) fn in_order<'r>(all: &'r [Suite], rows: &'r [Row]) -> Vec<(&'r str, Vec<&'r Row>)> {
    let mut of_suite: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        of_suite.entry(&row.suite).or_default().push(row);
    }
    all.iter().filter_map(|suite| Some((suite.name(), of_suite.remove(suite.name())?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row;
    use super::*;

    fn names(suites: &[Suite]) -> Vec<&str> {
        suites.iter().map(Suite::name).collect()
    }

    fn all() -> Vec<Suite> {
        let bench = |name: &str| Suite::Bench { package: "p".to_owned(), name: name.to_owned(), features: Vec::new() };
        vec![bench("one"), bench("two"), Suite::Instructions, Suite::Peers]
    }

    fn selected(named: &[&str], with_arguments: bool) -> Result<Vec<Suite>> {
        let named: Vec<_> = named.iter().map(|name| (*name).to_owned()).collect();
        Suite::selected(&all(), &named, with_arguments)
    }

    #[test]
    fn suites_are_found_in_the_manifests() {
        let found = Suite::all(&Workspace::load().unwrap().metadata);
        let found = names(&found);
        assert!(found.contains(&"select") && found.ends_with(&["instructions", "peers"]), "{found:?}");
        assert_eq!(found.iter().filter(|name| **name == "instructions").count(), 1);
    }

    #[test]
    fn a_suite_is_given_the_features_that_its_manifest_entry_requires() {
        let all = Suite::all(&Workspace::load().unwrap().metadata);
        let with_servers: Vec<_> = all.iter().filter(|suite| suite.needs_servers()).map(Suite::name).collect();
        assert_eq!(with_servers, ["shared"]);
    }

    #[test]
    fn suites_are_chosen_by_name() {
        assert_eq!(names(&selected(&["two", "peers", "two"], true).unwrap()), ["two", "peers"]);
        assert_eq!(names(&selected(&[], true).unwrap()), ["one", "two"]);
        #[cfg(target_os = "linux")]
        assert_eq!(names(&selected(&[], false).unwrap()), ["one", "two", "instructions"]);
        let unknown = selected(&["three"], false).unwrap_err().to_string();
        assert_eq!(unknown, "there is no suite `three`; there are one, two, instructions, peers");
        assert!(selected(&["instructions"], true).is_err());
    }

    #[test]
    fn counts_stand_beside_their_floors() {
        let counts = [("prepared", 300.0), ("floor-reserve", 200.0)];
        let counts = counts.into_iter().map(|(operation, count)| (instructions::key(operation, 8), count)).collect();
        let rows = rows_of(&counts);
        let prepared = rows.iter().find(|row| row.case == "prepared, nodes of 8").unwrap();
        assert_eq!((prepared.ratio, prepared.floor_min), (Some(1.5), Some(200.0)));
        // What was not counted is there, without a ratio.
        assert_eq!(rows.len(), CASES.len());
        assert!(rows.iter().filter(|row| row.ratio.is_none()).count() == CASES.len() - 1);
    }

    #[test]
    fn sections_follow_the_suites_and_forget_those_that_are_gone() {
        let rows = [row("peers", "1", None), row("two", "1", None), row("gone", "1", None), row("two", "2", None)];
        let all = all();
        let sections: Vec<_> = in_order(&all, &rows).into_iter().map(|(name, rows)| (name, rows.len())).collect();
        assert_eq!(sections, [("two", 2), ("peers", 1)]);
    }
}
