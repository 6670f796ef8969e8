//! `cargo xtask bench peers`: other balancers beside slotyard, and the page of results that shows them.
//!
//! They are a package of their own in `benches/peers/`, which no other command builds.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::workspace::Workspace;

const MANIFEST: &str = "benches/peers/Cargo.toml";
const RESULTS: &str = "benches/RESULTS.md";
const BEGIN: &str = "<!-- peers:begin -->";
const END: &str = "<!-- peers:end -->";

/// Builds the package and runs it. What it prints goes into the page of results, too, if all was measured: a run with
/// arguments is a look at some of it. `rows`: the environment variable that names the file for what was measured, and
/// that file.
///
/// # Errors
/// When it does not build or run, or the page cannot be written.
pub(crate) fn run(workspace: &Workspace, arguments: &[String], rows: (&str, &Path)) -> Result<()> {
    let mut cargo = workspace.cargo(["run", "--release", "--manifest-path", MANIFEST]);
    // A folder of its own: its dependencies have other features than ours, and each would throw away what the other built.
    cargo.arg("--target-dir").arg(workspace.target_dir().join("peers")).arg("--").args(arguments);
    cargo.env(rows.0, rows.1);
    let section = process::read(&mut cargo)?;
    print!("{section}");
    if !arguments.is_empty() {
        eprintln!("{RESULTS} is left as it is: only a run without arguments goes there");
        return Ok(());
    }
    let path = workspace.root().join(RESULTS);
    let page = fs::read_to_string(&path).with_context(|| format!("{} could not be read", path.display()))?;
    let page = with_section(&page, &section)?;
    fs::write(&path, page).with_context(|| format!("{} could not be written", path.display()))
}

/// The page with this section between its marks, which go to the end of a page that has none.
fn with_section(page: &str, section: &str) -> Result<String> {
    let marked = format!("{BEGIN}\n{}\n{END}", section.trim_end());
    let Some((before, rest)) = page.split_once(BEGIN) else {
        ensure!(!page.contains(END), "{RESULTS} has {END} but no {BEGIN}");
        return Ok(format!("{}\n\n{marked}\n", page.trim_end()));
    };
    let (_, after) = rest.split_once(END).with_context(|| format!("{RESULTS} has {BEGIN} but no {END} after it"))?;
    Ok(format!("{before}{marked}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let page = format!("# Results\n\n{BEGIN}\nold\nlines\n{END}\n\n## Other\n");
        let new = with_section(&page, "## New\n\ntext\n\n").unwrap();
        assert_eq!(new, format!("# Results\n\n{BEGIN}\n## New\n\ntext\n{END}\n\n## Other\n"));
        assert_eq!(with_section(&new, "## New\n\ntext\n").unwrap(), new);
    }

    #[test]
    fn a_page_without_the_section_gets_it_at_its_end() {
        let page = with_section("# Results\n\ntext\n", "## New\n").unwrap();
        assert_eq!(page, format!("# Results\n\ntext\n\n{BEGIN}\n## New\n{END}\n"));
    }

    #[test]
    fn a_mark_without_the_other_is_an_error() {
        for page in [format!("text\n{BEGIN}\ntext\n"), format!("text\n{END}\n"), format!("{END}\n{BEGIN}\n")] {
            assert!(with_section(&page, "new").is_err(), "{page}");
        }
    }
}
