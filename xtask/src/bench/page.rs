//! The page of results: `benches/results/README.md`.

use std::fmt::Write as _;

use super::row::{Budget, Row, Run, worst};

/// What the page says of itself.
const HEAD: &str = "# Results of the benchmarks

Written by `cargo xtask bench`, from the rows in `rows.jsonl`: not to be edited. What counts is the **ratio** in each line:
a subject and its floor take turns in one run, so that whatever the machine does hits both. Times are of this machine
only. Ratios are of medians; a budget is what a ratio may be.
";

/// The whole page; `suites` in their order.
pub(crate) fn page(suites: &[(&str, Vec<&Row>)]) -> String {
    let all: Vec<&Row> = suites.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    let mut text = HEAD.to_owned();
    text += "\n## Budgets\n\n";
    text += &verdict(&all);
    text += "\n";
    text += &budgets(&all);
    text += "\n## Where and when\n\n";
    text += &runs(suites);
    for (name, rows) in suites {
        text += &section(name, rows);
    }
    text
}

/// One line: how many budgets are met, and the worst.
pub(crate) fn verdict(rows: &[&Row]) -> String {
    let judged: Vec<bool> = rows.iter().filter_map(|row| row.met()).collect();
    let met = judged.iter().filter(|met| **met).count();
    let Some(worst) = worst(rows.iter().copied()) else { return "No row has a budget.\n".to_owned() };
    let all = if met == judged.len() { "All met" } else { "**NOT all met**" };
    format!(
        "{all}: {met} of {} rows that have a budget keep to it. The worst, for its budget: {}, {}, {}: {} ({}).\n",
        judged.len(),
        cell(&worst.suite),
        cell(&worst.subject),
        cell(&worst.place()),
        number(worst.ratio),
        spoken(worst.budget()),
    )
}

/// A budget with the rows that it holds for.
pub(crate) struct Group<'r> {
    pub(crate) budget: Budget,
    pub(crate) rows: Vec<&'r Row>,
}

impl Group<'_> {
    pub(crate) fn met(&self) -> usize {
        self.rows.iter().filter(|row| row.met() == Some(true)).count()
    }

    pub(crate) fn line(&self) -> String {
        let worst = worst(self.rows.iter().copied());
        let (ratio, case) = worst.map_or((None, String::new()), |row| (row.ratio, row.place()));
        let verdict = if self.met() == self.rows.len() { "met" } else { "NOT met" };
        let Some(first) = self.rows.first() else { return String::new() };
        format!(
            "{}, {}, {}: {verdict}, {} of {}; worst {} ({case})",
            first.suite,
            first.subject,
            spoken(Some(self.budget)),
            self.met(),
            self.rows.len(),
            number(ratio),
        )
    }
}

/// Rows with a budget, those of one suite, subject and budget together.
pub(crate) fn grouped<'r>(rows: &[&'r Row]) -> Vec<Group<'r>> {
    let mut groups: Vec<Group<'r>> = Vec::new();
    for &row in rows {
        let Some(budget) = row.budget() else { continue };
        let same = |group: &&mut Group<'r>| {
            let first = group.rows[0];
            group.budget == budget && first.suite == row.suite && first.subject == row.subject
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group { budget, rows: vec![row] }),
        }
    }
    groups
}

/// Those not met first.
fn budgets(rows: &[&Row]) -> String {
    let mut groups = grouped(rows);
    groups.sort_by_key(|group| group.met() == group.rows.len());
    let mut text =
        "| suite | subject | budget | met | rows | worst | where |\n|---|---|---|---|--:|--:|---|\n".to_owned();
    for group in groups {
        let Some(worst) = worst(group.rows.iter().copied()) else { continue };
        let verdict = if group.met() == group.rows.len() { "yes" } else { "**no**" };
        let cells = [
            cell(&worst.suite),
            cell(&worst.subject),
            spoken(Some(group.budget)),
            verdict.to_owned(),
            format!("{} of {}", group.met(), group.rows.len()),
            number(worst.ratio),
            cell(&worst.place()),
        ];
        line(&mut text, &cells);
    }
    text
}

fn runs(suites: &[(&str, Vec<&Row>)]) -> String {
    let mut text = "| suite | date | machine | cores | compiler | slotyard |\n|---|---|---|--:|---|---|\n".to_owned();
    for (name, rows) in suites {
        let mut seen: Vec<&Run> = Vec::new();
        for row in rows {
            if !seen.contains(&&row.run) {
                seen.push(&row.run);
            }
        }
        for Run { date, machine, cores, rustc, version } in seen {
            let cells = [cell(name), cell(date), cell(machine), cores.to_string(), cell(rustc), cell(version)];
            line(&mut text, &cells);
        }
    }
    text
}

/// What a suite has measured: its plot and its table.
fn section(name: &str, rows: &[&Row]) -> String {
    let mut text = format!("\n## {name}\n\n![{name}: ratio to the floor by case]({name}.svg)\n\n");
    text += "| case | subject | min / median | floor | its min / median | ratio | budget | met |\n";
    text += "|---|---|--:|---|--:|--:|---|---|\n";
    for row in rows {
        let pair = |min, median| format!("{} / {} {}", short(min), short(median), row.unit);
        let verdict = match row.met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let cells = [
            cell(&row.case),
            cell(&row.subject),
            pair(row.min, row.median),
            cell(&row.floor),
            pair(row.floor_min, row.floor_median),
            number(row.ratio),
            spoken(row.budget()),
            verdict.to_owned(),
        ];
        line(&mut text, &cells);
    }
    text
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Text that stays in its cell, and is not taken for HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}

fn spoken(budget: Option<Budget>) -> String {
    budget.map_or(String::new(), |budget| format!("{} {}", budget.bound.name(), budget.limit))
}

/// A ratio, with three digits that say something.
pub(crate) fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "not a number".to_owned() };
    let digits = if value == 0.0 { 1.0 } else { value.abs().log10().floor() + 1.0 };
    format!("{value:.*}", (3.0 - digits).clamp(0.0, 6.0) as usize)
}

/// A figure with a unit: digits behind the point only where they say something.
fn short(value: Option<f64>) -> String {
    match value {
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Bound;
    use super::super::row::tests::{judged, row};
    use super::*;

    #[test]
    fn budgets_come_first_and_those_not_met_before_the_others() {
        let good = judged(row("select", "10 nodes", Some(1.2)), Bound::AtMost, 1.5);
        let bad = judged(row("jobs", "all | idle", Some(3.0)), Bound::AtMost, 1.5);
        let odd = judged(row("jobs", "odd", None), Bound::AtMost, 1.5);
        let free = row("jobs", "free", Some(7.0));
        let text = page(&[("select", vec![&good]), ("jobs", vec![&bad, &odd, &free])]);
        assert!(text.contains("**NOT all met**: 1 of 3 rows"), "{text}");
        assert!(text.contains("The worst, for its budget: jobs, ours, odd: not a number (at most 1.5)."), "{text}");
        let no = "| jobs | ours | at most 1.5 | **no** | 0 of 2 | not a number | odd |";
        let yes = "| select | ours | at most 1.5 | yes | 1 of 1 | 1.20 | 10 nodes |";
        assert!(text.find(no).unwrap() < text.find(yes).unwrap(), "{text}");
        assert!(text.find(yes).unwrap() < text.find("## select").unwrap());
        assert!(
            text.contains(
                "| all \\| idle | ours | 10.0 / 12.0 ns | floor | 8.0 / 8.5 ns | 3.00 | at most 1.5 | **no** |"
            )
        );
        assert!(text.contains("| free | ours | 10.0 / 12.0 ns | floor | 8.0 / 8.5 ns | 7.00 |  |  |"), "{text}");
    }

    #[test]
    fn runs_of_one_suite_at_different_times_are_told_apart() {
        let (one, same, mut later) = (row("a", "1", None), row("a", "2", None), row("a", "3", None));
        later.run.date = "2027-01-01 00:00 UTC".to_owned();
        let text = runs(&[("a", vec![&one, &same, &later])]);
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn names_of_types_are_no_tags() {
        let of_type = Row { floor: "RwLock<Vec>".to_owned(), ..judged(row("a", "1", None), Bound::AtMost, 1.0) };
        let text = page(&[("a", vec![&of_type])]);
        assert!(!text.contains("<Vec") && text.matches("RwLock&lt;Vec>").count() == 3, "{text}");
    }

    #[test]
    fn ratios_are_short_and_say_something() {
        let shown = |value| number(Some(value));
        assert_eq!(
            [shown(1.5), shown(0.999), shown(12.34), shown(123.4), shown(45_678.9)],
            ["1.50", "0.999", "12.3", "123", "45679"]
        );
        assert_eq!([shown(0.000_123_4), shown(0.0), shown(-2.0)], ["0.000123", "0.00", "-2.00"]);
        assert_eq!(number(None), "not a number");
    }

    #[test]
    fn without_budgets_there_is_a_page_too() {
        let one = row("a", "1", None);
        let text = page(&[("a", vec![&one])]);
        assert!(text.contains("No row has a budget.") && text.contains("![a: "), "{text}");
        assert!(page(&[]).contains("No row has a budget."));
    }

    #[test]
    fn a_budget_that_is_met_is_told_as_such() {
        let good = judged(row("two threads", "1000", Some(1.8)), Bound::AtLeast, 1.6);
        assert!(verdict(&[&good]).starts_with("All met: 1 of 1 rows"));
        let groups = grouped(&[&good]);
        assert_eq!(groups[0].line(), "two threads, ours, at least 1.6: met, 1 of 1; worst 1.80 (1000)");
    }
}
