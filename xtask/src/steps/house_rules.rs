//! Rules of this project that no lint knows: which file may name atomics, which may read a clock or sleep, and how long a
//! file may be.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use crate::workspace::Workspace;

/// A longer source file fails.
const MOST_LINES: usize = 600;
/// A longer source file is warned of.
const MANY_LINES: usize = 500;

/// The one file that chooses between the real atomics and loom's, relative to the root.
const SWITCH: &str = "src/sync.rs";
/// What only that file may name: the rest would escape the model checkers.
const ONLY_IN_SWITCH: [&[&str]; 3] =
    [&["std", "sync", "atomic"], &["core", "sync", "atomic"], &["crossbeam_epoch", "pin"]];

/// What reads a clock, or waits for one.
const CLOCKS: [&[&str]; 6] = [
    &["time", "Instant"],
    &["time", "SystemTime"],
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["thread", "sleep"],
    &["thread", "park_timeout"],
];
/// Where that is not to be: the path of a job reads no clock, and no test's verdict hangs on one.
const CLOCKLESS: [&str; 3] = ["src", "tests", "loom-tests"];
/// Which files may do so all the same, and what for.
const CLOCKED: [(&str, &str); 14] = [
    ("src/lock.rs", "it measures how long writers wait, one time in so many"),
    ("src/keeper.rs", "the maintenance thread makes the time of all others"),
    ("src/redis/engine.rs", "leases are measured, and calls have deadlines"),
    ("src/redis/link.rs", "calls have deadlines"),
    ("src/redis/live.rs", "calls have deadlines"),
    ("src/redis/together.rs", "calls have deadlines"),
    ("src/redis/cluster.rs", "calls have deadlines"),
    ("src/redis/servers.rs", "calls have deadlines"),
    ("src/redis/nodes.rs", "calls have deadlines"),
    ("tests/servers/src/wait.rs", "servers take their time to start, and a proxy delays; no verdict hangs on it"),
    ("loom-tests/mod.rs", "it shows how long each model took"),
    ("tests/stress/everything/mod.rs", "it runs for so long as it is told to, and ticks come late"),
    ("tests/stress/everything/meeting.rs", "who waits for a check leaves the processor to it"),
    ("tests/regressions.rs", "two races are run for so long; what they find does not hang on it"),
];

pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let mut files = Vec::new();
    rust_files(root, &mut files)?;
    files.sort();
    let mut broken = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("{} could not be read", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(file);
        check_file(name, &text, &mut broken)?;
    }
    ensure!(!files.is_empty(), "no source file was found under {}", root.display());
    ensure!(broken.is_empty(), "house rules are broken:\n  {}", broken.join("\n  "));
    eprintln!("the house rules hold in {} files", files.len());
    Ok(())
}

/// Every Rust file below `folder`, but for hidden folders and cargo's output, which cargo marks with a tag.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = || format!("{} could not be read", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(unreadable)?);
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if kind.is_dir() && !hidden && !path.join("CACHEDIR.TAG").exists() {
            rust_files(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(name: &Path, text: &str, broken: &mut Vec<String>) -> Result<()> {
    let lines = text.lines().count();
    if lines > MOST_LINES {
        broken.push(format!("{}: {lines} lines, the most is {MOST_LINES}", name.display()));
    } else if lines > MANY_LINES {
        eprintln!("warning: {}: {lines} lines, consider a split: the most is {MOST_LINES}", name.display());
    }
    if name.starts_with("src") && name != Path::new(SWITCH) {
        // Tokens and not text: comments may speak of atomics, and a nested `use` hides the path from a text search.
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{}: {error}", name.display()))?;
        walk(tokens, &[], &ONLY_IN_SWITCH, &mut |line, path| {
            broken.push(format!("{}:{line}: names {path}, which only {SWITCH} may", name.display()));
        });
    }
    let is_clocked = CLOCKED.iter().any(|(file, _)| name == Path::new(file));
    if CLOCKLESS.iter().any(|folder| name.starts_with(folder)) && !is_clocked {
        let tokens: TokenStream = text.parse().map_err(|error| anyhow!("{}: {error}", name.display()))?;
        walk(tokens, &[], &CLOCKS, &mut |line, path| {
            let of_time = "use the manual clock and ticks, count steps, or wait for an event";
            broken.push(format!("{}:{line}: names {path}, {of_time}", name.display()));
        });
    }
    Ok(())
}

/// Follows the paths in `tokens`, into groups and nested `use` lists, and reports the forbidden ones. `base` is the
/// path in front of the list that `tokens` are in.
fn walk(tokens: TokenStream, base: &[String], forbidden: &[&[&str]], report: &mut impl FnMut(usize, String)) {
    let mut path = base.to_vec();
    // Whether the next name goes on with `path`, rather than beginning another.
    let mut goes_on = !base.is_empty();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) => {
                if !goes_on {
                    path.clear();
                }
                path.push(name.to_string());
                goes_on = false;
                if forbidden.iter().any(|forbidden| ends_with(&path, forbidden)) {
                    report(name.span().start().line, path.join("::"));
                }
            }
            TokenTree::Punct(colon) if colon.as_char() == ':' && colon.spacing() == Spacing::Joint => {
                let colon = |next: &TokenTree| matches!(next, TokenTree::Punct(next) if next.as_char() == ':');
                goes_on = tokens.next_if(colon).is_some();
            }
            TokenTree::Group(group) => {
                let list = goes_on && group.delimiter() == Delimiter::Brace;
                walk(group.stream(), if list { &path } else { &[] }, forbidden, report);
                (path, goes_on) = (Vec::new(), false);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => (path, goes_on) = (base.to_vec(), !base.is_empty()),
        }
    }
}

/// Ends with, and not equals: `use ::std::...` arrives as the words `use`, `std`, ...
fn ends_with(path: &[String], end: &[&str]) -> bool {
    path.len() >= end.len() && path[path.len() - end.len()..] == *end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(name: &str, text: &str) -> Vec<String> {
        let mut broken = Vec::new();
        check_file(Path::new(name), text, &mut broken).unwrap();
        broken
    }

    #[test]
    fn atomics_are_found_however_they_are_named() {
        for text in [
            "use std::sync::atomic::AtomicU64;",
            "use ::core::sync::atomic;",
            "fn f() { let guard = &crossbeam_epoch::pin(); }",
            "use crossbeam_epoch::{Guard, pin};",
            "use std::{fmt, sync::{Arc, atomic::{AtomicU64, Ordering}}, time};",
            "fn f() { let x = [std::sync::atomic::AtomicU8::new(0)]; }",
            "macro_rules! m { () => { ::std::sync::atomic::fence(x) } }",
            "struct S<'a>(&'a core :: sync :: atomic :: AtomicBool);",
        ] {
            let broken = broken("src/node/mod.rs", &format!("//! Text.\n{text}\n"));
            assert_eq!(broken.len(), 1, "{text}: {broken:?}");
            assert!(broken[0].starts_with("src/node/mod.rs:2: names "), "{broken:?}");
        }
    }

    #[test]
    fn what_only_looks_like_atomics_is_let_be() {
        for text in [
            "// use std::sync::atomic::AtomicU64;",
            "/// See `std::sync::atomic`, or:\n/// ```\n/// use std::sync::atomic::AtomicU64;\n/// ```\nstruct S;",
            "const TEXT: &str = \"std::sync::atomic\";",
            "use crate::sync::atomic::AtomicU64;",
            "use std::{sync::Arc, fmt}; use crate::{sync::{atomic, Mutex}};",
            "use std::sync::{Arc}; mod atomic {}",
        ] {
            assert_eq!(broken("src/node/mod.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn the_switch_and_other_folders_may_name_atomics() {
        let text = "pub(crate) use std::sync::atomic::AtomicU64;";
        for name in ["src/sync.rs", "tests/stress.rs", "benches/select.rs"] {
            assert_eq!(broken(name, text), [""; 0], "{name}");
        }
        assert_eq!(broken("src/pool/sync.rs", text).len(), 1);
    }

    #[test]
    fn clocks_are_found_however_they_are_read() {
        for text in [
            "use std::time::Instant;",
            "use std::time::{Duration, SystemTime};",
            "use std::{thread, time::{Duration, Instant as Clock}};",
            "fn f() { thread::sleep(ms(1)); }",
            "fn f() { assert!(std::thread::park_timeout(x)); }",
            "fn f() { let begin = Instant::now(); }",
        ] {
            for file in ["src/core/jobs.rs", "tests/leases.rs", "tests/stress/races.rs", "loom-tests/one_end.rs"] {
                let broken = broken(file, &format!("//! Text.\n{text}\n"));
                assert_eq!(broken.len(), 1, "{text}: {broken:?}");
                assert!(broken[0].starts_with(&format!("{file}:2: names ")), "{broken:?}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_clock_is_let_be_and_so_is_who_may_have_one() {
        for text in [
            "use std::time::Duration;",
            "/// Not as `Instant::now` does.\nfn f() { events.recv_timeout(LONG); }",
            "fn sleep() {} fn now() -> u64 { clock.now() }",
        ] {
            assert_eq!(broken("tests/leases.rs", text), [""; 0], "{text}");
        }
        let text = "use std::time::Instant; fn f() { Instant::now(); }";
        for file in CLOCKED.map(|(file, _)| file).into_iter().chain(["benches/select.rs", "examples/embed/node.rs"]) {
            assert_eq!(broken(file, text), [""; 0], "{file}");
        }
    }

    #[test]
    fn long_files_fail() {
        assert_eq!(broken("tests/long.rs", &"\n".repeat(MOST_LINES)), [""; 0]);
        let broken = broken("tests/long.rs", &"\n".repeat(MOST_LINES + 1));
        assert_eq!(broken, ["tests/long.rs: 601 lines, the most is 600"]);
    }

    #[test]
    fn what_cannot_be_read_as_rust_is_an_error() {
        let error = check_file(Path::new("src/lib.rs"), "fn f( {", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().starts_with("src/lib.rs: "), "{error}");
    }

    #[test]
    fn files_are_found_but_for_hidden_and_built_ones() {
        let root = std::env::temp_dir().join(format!("xtask-house-rules-{}", std::process::id()));
        for file in ["src/a.rs", "src/deep/b.rs", "src/c.md", ".hidden/d.rs", "target/CACHEDIR.TAG", "target/e.rs"] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let mut files = Vec::new();
        let found = rust_files(&root, &mut files);
        fs::remove_dir_all(&root).unwrap();
        found.unwrap();
        files.sort();
        assert_eq!(files, [root.join("src/a.rs"), root.join("src/deep/b.rs")]);
    }
}
