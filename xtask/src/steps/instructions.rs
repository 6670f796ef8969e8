//! Counts the instructions of the operations that matter, and fails when one has become longer than it was.

use anyhow::{Result, bail};

use crate::instructions::record::{Difference, Origin, Record};
use crate::instructions::{Counts, count};
use crate::workspace::Workspace;

const HOW: &str = "`cargo xtask bench instructions --record` records the present ones";

pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    if !cfg!(target_os = "linux") {
        eprintln!("note: instructions are counted on Linux only");
        return Ok(());
    }
    judge(&Record::load(workspace)?, &Origin::here()?, &count(workspace)?)
}

fn judge(record: &Record, here: &Origin, counts: &Counts) -> Result<()> {
    eprint!("{}", record.table(counts));
    let Difference { worse, better } = record.compare(counts);
    if !better.is_empty() {
        eprintln!("fewer instructions than recorded ({HOW}):\n  {}", better.join("\n  "));
    }
    if worse.is_empty() {
        return Ok(());
    }
    let worse = worse.join("\n  ");
    if let Some(why) = record.elsewhere(here) {
        eprintln!("note: these differ from the record, which is of no consequence here ({why}):\n  {worse}");
        return Ok(());
    }
    bail!("more instructions than recorded:\n  {worse}\nIf that is meant to be, {HOW}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn origin(rustc: &str) -> Origin {
        serde_json::from_value(json!({ "rustc": rustc, "target": "x86_64", "libc": "glibc 2.36" })).unwrap()
    }

    fn counts(of_one: f64) -> Counts {
        Counts::from([("one".to_owned(), of_one)])
    }

    #[test]
    fn a_longer_operation_fails_and_is_named() {
        let record = Record::new(origin("rustc 1"), counts(500.0));
        judge(&record, &origin("rustc 1"), &counts(505.0)).unwrap();
        judge(&record, &origin("rustc 1"), &counts(300.0)).unwrap();
        let error = judge(&record, &origin("rustc 1"), &counts(550.0)).unwrap_err().to_string();
        assert!(
            error.contains("one: 550 instructions, recorded 500 (+10.0 %)") && error.contains("--record"),
            "{error}"
        );
    }

    #[test]
    fn another_compiler_cannot_fail_it() {
        let record = Record::new(origin("rustc 1"), counts(500.0));
        judge(&record, &origin("rustc 2"), &counts(5_000.0)).unwrap();
    }
}
