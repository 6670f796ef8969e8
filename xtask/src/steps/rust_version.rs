//! Checks that the library's `rust-version` is true: what a user of the library compiles asks for no newer Rust, and
//! the toolchain at hand is new enough to have run the other steps at all.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::semver::Version;
use cargo_metadata::{DependencyKind, Metadata, NodeDep, Package, PackageId};

use crate::process;
use crate::workspace::Workspace;

pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let library = workspace.library()?;
    let stated = library.rust_version.as_ref().context("the library states no rust-version")?;
    let users = compiled_with(&workspace.metadata, &library.id)?;
    let newer: Vec<_> = users.iter().filter_map(|package| newer_than(stated, package)).collect();
    ensure!(newer.is_empty(), "the stated rust-version {stated} is not true:\n  {}", newer.join("\n  "));

    let toolchain = toolchain()?;
    ensure!(is_at_least(&toolchain, stated), "this is Rust {toolchain}, older than the stated rust-version {stated}");
    eprintln!("rust-version {stated} holds for the library's {} dependencies", users.len());
    if !is_at_least(stated, &toolchain) {
        eprintln!("note: this is Rust {toolchain}; that the library itself builds with {stated} needs a run with that");
    }
    Ok(())
}

/// All packages that are compiled with `root` when it is somebody's dependency: normal and build dependencies,
/// theirs too, for every platform.
fn compiled_with<'a>(metadata: &'a Metadata, root: &'a PackageId) -> Result<Vec<&'a Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved no dependencies")?;
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::from([root]);
    let mut open = vec![root];
    while let Some(id) = open.pop() {
        let node = nodes.get(id).with_context(|| format!("cargo did not resolve {id}"))?;
        let shipped = |used: &&NodeDep| used.dep_kinds.iter().any(|how| how.kind != DependencyKind::Development);
        open.extend(node.deps.iter().filter(shipped).map(|used| &used.pkg).filter(|&id| seen.insert(id)));
    }
    Ok(metadata.packages.iter().filter(|package| package.id != *root && seen.contains(&package.id)).collect())
}

fn newer_than(stated: &Version, package: &Package) -> Option<String> {
    let wanted = package.rust_version.as_ref().filter(|wanted| !is_at_least(stated, wanted))?;
    Some(format!("{} {} wants {wanted}", package.name, package.version))
}

/// By their numbers only: a nightly 1.95 takes what a 1.95 takes.
fn is_at_least(have: &Version, want: &Version) -> bool {
    (have.major, have.minor, have.patch) >= (want.major, want.minor, want.patch)
}

fn toolchain() -> Result<Version> {
    let output = process::command("rustc").arg("-vV").output().context("rustc could not be started")?;
    release(&String::from_utf8_lossy(&output.stdout))
}

fn release(about: &str) -> Result<Version> {
    let Some(release) = about.lines().find_map(|line| line.strip_prefix("release: ")) else {
        bail!("rustc did not tell its release: {about:?}");
    };
    Version::parse(release.trim()).with_context(|| format!("rustc told the release {release:?}"))
}

#[cfg(test)]
mod tests {
    use cargo_metadata::MetadataCommand;
    use serde_json::{Value, json};

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    /// `library` uses `used`, which builds with `builder` and tests with `tester`.
    fn metadata() -> Metadata {
        let package = |name: &str, rust: &str| {
            json!({
                "name": name, "version": "1.0.0", "id": name, "rust_version": rust, "manifest_path": "Cargo.toml",
                "dependencies": [], "targets": [], "features": {}
            })
        };
        let used = |(name, kind): &(&str, Value)| json!({ "name": name, "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let node = |id: &str, uses: &[(&str, Value)]| {
            let names: Vec<_> = uses.iter().map(|(name, _)| name).collect();
            json!({ "id": id, "dependencies": names, "deps": uses.iter().map(used).collect::<Vec<_>>() })
        };
        let text = json!({
            "packages": [
                package("library", "1.85"), package("used", "1.70"), package("builder", "1.99"), package("tester", "1.99"),
            ],
            "resolve": { "root": "library", "nodes": [
                node("library", &[("used", Value::Null), ("tester", json!("dev"))]),
                node("used", &[("builder", json!("build")), ("tester", json!("dev"))]),
                node("builder", &[]), node("tester", &[]),
            ] },
            "workspace_members": ["library"], "workspace_root": "", "target_directory": "", "version": 1
        });
        MetadataCommand::parse(text.to_string()).unwrap()
    }

    #[test]
    fn what_users_compile_is_found_and_tests_are_not() {
        let metadata = metadata();
        let packages = compiled_with(&metadata, &metadata.packages[0].id).unwrap();
        assert_eq!(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["used", "builder"]);
    }

    #[test]
    fn a_dependency_that_wants_more_is_named() {
        let metadata = metadata();
        let newer = |stated: &str| -> Vec<_> {
            metadata.packages.iter().filter_map(|package| newer_than(&version(stated), package)).collect()
        };
        assert_eq!(newer("1.85.0"), ["builder 1.0.0 wants 1.99.0", "tester 1.0.0 wants 1.99.0"]);
        assert!(newer("1.99.0").is_empty());
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(is_at_least(&version("1.95.0"), &version("1.95.0")));
        assert!(is_at_least(&version("1.95.0-nightly"), &version("1.95.0")));
        assert!(is_at_least(&version("1.100.0"), &version("1.95.0")));
        assert!(!is_at_least(&version("1.9.0"), &version("1.95.0")));
        assert!(!is_at_least(&version("1.94.9"), &version("1.95.0")));
    }

    #[test]
    fn the_release_is_read() {
        assert_eq!(release("rustc 1.2.3\nbinary: rustc\nrelease: 1.2.3\nhost: x\n").unwrap(), version("1.2.3"));
        assert!(release("rustc 1.2.3").is_err());
        assert!(release("release: one").is_err());
        toolchain().unwrap();
    }
}
