//! A copy of the workspace in which the mutants are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::list::List;
use super::schemata::Schemata;

/// What says which mutant there is: its number, or nothing.
pub(super) const ACTIVE: &str = "SLOTYARD_MUTANT";

/// The file that has [`SWITCH`] in the copy.
const SWITCH_IN: &str = "src/sync.rs";

/// Asked by every function that has a mutant. With atomics that loom does not see.
const SWITCH: &str = r#"
/// Whether it is this mutant.
pub(crate) fn mutant(number: u32) -> bool {
    static ACTIVE: std::sync::LazyLock<Option<u32>> =
        std::sync::LazyLock::new(|| std::env::var("ACTIVE").ok()?.parse().ok());
    *ACTIVE == Some(number)
}
"#;

/// A mutant may leave something unused.
const ROOT: &str = "src/lib.rs";
const NO_WARNINGS: &str = "#![allow(warnings)] ";

/// Files by their paths from the root.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Makes `copy` one of the workspace at `root`, with all mutants of the list.
///
/// Files that are there already as they are to be are not written: so cargo sees what has changed.
pub(super) fn make(root: &Path, copy: &Path, list: &List) -> Result<()> {
    let mut files = Files::new();
    read_all(root, root, &mut files)?;
    put_in(list, &mut files)?;
    let mut there = Files::new();
    if copy.is_dir() {
        read_all(copy, copy, &mut there)?;
    }
    for name in there.keys().filter(|name| !files.contains_key(*name)) {
        let path = copy.join(name);
        fs::remove_file(&path).with_context(|| format!("{} could not be removed", path.display()))?;
    }
    for (name, text) in files.iter().filter(|(name, text)| there.get(*name) != Some(*text)) {
        let path = copy.join(name);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("{} could not be written", path.display()))?;
    }
    Ok(())
}

/// All files below `folder`, but for hidden ones and cargo's output, which cargo marks with a tag. So it is what git has,
/// where git is; a clone can do without.
fn read_all(root: &Path, folder: &Path, files: &mut Files) -> Result<()> {
    let unreadable = |path: &Path| format!("{} could not be read", path.display());
    for entry in fs::read_dir(folder).with_context(|| unreadable(folder))? {
        let entry = entry.with_context(|| unreadable(folder))?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(|| unreadable(folder))?);
        if entry.file_name().to_string_lossy().starts_with('.') || path.join("CACHEDIR.TAG").exists() {
            continue;
        }
        if kind.is_dir() {
            read_all(root, &path, files)?;
        } else if kind.is_file() {
            let text = fs::read(&path).with_context(|| unreadable(&path))?;
            files.insert(path.strip_prefix(root).unwrap_or(&path).to_owned(), text);
        }
    }
    Ok(())
}

fn put_in(list: &List, files: &mut Files) -> Result<()> {
    let mut edits: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (number, mutant) in (1..).zip(&list.mutants) {
        for edit in &mutant.edit {
            edits.entry(edit.file.as_str()).or_default().push((number, mutant, edit));
        }
    }
    for (file, edits) in edits {
        let text = text_of(files, file).with_context(|| format!("mutant `{}`", edits[0].1.name))?;
        let mut schemata = Schemata::of(file, &text)?;
        for (number, mutant, edit) in edits {
            schemata.add(number, mutant, edit)?;
        }
        let written = schemata.written();
        files.insert(file.into(), written.into_bytes());
    }
    let switch = text_of(files, SWITCH_IN)? + &SWITCH.replace("ACTIVE\"", &format!("{ACTIVE}\""));
    files.insert(SWITCH_IN.into(), switch.into_bytes());
    let root = NO_WARNINGS.to_owned() + &text_of(files, ROOT)?;
    files.insert(ROOT.into(), root.into_bytes());
    Ok(())
}

fn text_of(files: &Files, name: &str) -> Result<String> {
    let text = files.get(Path::new(name)).with_context(|| format!("there is no file {name}"))?;
    String::from_utf8(text.clone()).with_context(|| format!("{name} is not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(file: &str) -> List {
        let mutant = format!(
            "name = 'm'\nfails = ['a::b']\nwhy = 'so'\n[[edit]]\nfile = '{file}'\nfrom = 'one()'\nto = 'two()'\n"
        );
        List { mutants: vec![toml::from_str(&mutant).unwrap()], unshown: Vec::new() }
    }

    #[test]
    fn the_copy_follows_the_tree_and_has_the_mutants() {
        let folder = tempfile::tempdir().unwrap();
        let (root, copy) = (folder.path().join("root"), folder.path().join("root/target/copy"));
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "//! Library.\n");
        write("src/sync.rs", "// Atomics.\n");
        write("src/a.rs", "fn a() { one() }\n");
        write("src/left.rs", "");
        write("target/CACHEDIR.TAG", "");
        write(".hidden/b.rs", "");
        make(&root, &copy, &list("src/a.rs")).unwrap();
        let read = |name: &str| fs::read_to_string(copy.join(name)).unwrap();
        assert_eq!(read("src/lib.rs"), "#![allow(warnings)] //! Library.\n");
        assert!(read("src/sync.rs").starts_with("// Atomics.\n\n/// Whether"));
        assert!(read("src/sync.rs").contains("var(\"SLOTYARD_MUTANT\")"));
        assert!(read("src/a.rs").contains("if crate::sync::mutant(1) { two() } else { one() }"));
        assert!(copy.join("src/left.rs").exists() && !copy.join("target").exists() && !copy.join(".hidden").exists());

        // Again: what is gone goes, what is as it was is left as it is.
        fs::remove_file(root.join("src/left.rs")).unwrap();
        let written = |name: &str| fs::metadata(copy.join(name)).unwrap().modified().unwrap();
        let before = written("src/a.rs");
        make(&root, &copy, &list("src/a.rs")).unwrap();
        assert!(!copy.join("src/left.rs").exists());
        assert_eq!(written("src/a.rs"), before);

        let error = format!("{:#}", make(&root, &copy, &list("src/none.rs")).unwrap_err());
        assert_eq!(error, "mutant `m`: there is no file src/none.rs");
    }
}
