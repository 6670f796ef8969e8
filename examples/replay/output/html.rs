//! The report as one page that needs nothing else: no script, no network.

use indicatif::HumanCount;

use super::Report;
use super::plots::{self, PlotError};
use super::text::{percent, text};

const STYLE: &str = "\
:root { color-scheme: light; font: 16px/1.5 system-ui, sans-serif; color: #1c2733; background: #f4f6f8 }
body { margin: 0 auto; max-width: 1000px; padding: 24px }
h1 { font-size: 1.5rem; margin: 0 0 4px } h2 { font-size: 1.1rem; margin: 0 } p { margin: 4px 0 12px; color: #51606f }
section, .tiles div { background: #fff; border: 1px solid #dde3e9; border-radius: 8px; padding: 16px; margin: 16px 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px }
.tiles div { margin: 0 } .tiles b { display: block; font-size: 1.4rem } .tiles span { color: #51606f }
.held { color: #17803d } .broken { color: #b91c1c } svg { width: 100%; height: auto }
table { border-collapse: collapse; width: 100% } th, td { text-align: right; padding: 3px 10px; border-top: 1px solid #eee }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere } pre { overflow-x: auto; font-size: 0.85rem }
";

/// The whole page.
pub(crate) fn page(report: &Report) -> Result<String, PlotError> {
    let setting = &report.workload;
    let title = format!("Replay of the {} trace", escaped(&setting.trace));
    let summary = format!(
        "{} nodes with {} slots, policy {}, seed {}, scale {}, offered load {}",
        HumanCount(setting.nodes as u64),
        HumanCount(setting.slots),
        escaped(&setting.policy),
        setting.seed,
        setting.scale,
        percent(setting.offered_load)
    );
    let windows = &report.windows;
    let plots = [
        ("Utilisation over time", "Slots in use, of those on nodes that take jobs.", plots::utilisation(windows)?),
        ("Clients waiting over time", "Refused for now, and trying again.", plots::waiting(windows)?),
        (
            "Load spread over time",
            "Utilisation of nodes within each window: the busiest node's over the mean, and how much they vary.",
            plots::spread(windows)?,
        ),
        ("Nodes over time", "Nodes crash, are cut off, drain, and come back.", plots::open_nodes(windows)?),
        (
            "Wait",
            "From a request's arrival to its slot, or to giving up. Requests served at once are left of the plot.",
            plots::tail(&report.wait_us, 1e3, "milliseconds")?,
        ),
        (
            "Decision latency",
            "How long the scheduler took to give or refuse a slot, clock readings included.",
            plots::tail(&report.decisions, 1e3, "microseconds")?,
        ),
    ];
    let plots: String = plots
        .iter()
        .map(|(title, about, svg)| format!("<section><h2>{title}</h2><p>{about}</p>{svg}</section>\n"))
        .collect();
    let (tiles, pools, invariants) = (tiles(report), pools(report), invariants(report));
    let text = escaped(&text(report));
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><h1>{title}</h1><p>{summary}</p>\n\
         {tiles}\n{plots}{pools}{invariants}\
         <section><h2>The whole report</h2><pre>{text}</pre></section></body></html>\n"
    ))
}

/// What to see at a glance.
fn tiles(report: &Report) -> String {
    let tiles = [
        ("requests", HumanCount(report.jobs_offered).to_string()),
        ("completed", HumanCount(report.jobs_completed).to_string()),
        ("refused", HumanCount(report.jobs_refused).to_string()),
        ("orphaned", HumanCount(report.jobs_orphaned).to_string()),
        ("mean utilisation", percent(report.utilisation.mean)),
        ("wait p99", format!("{} ms", HumanCount(report.wait_ms.p99.round() as u64))),
        ("decision p99", format!("{} ns", HumanCount(report.decision_ns.p99))),
    ];
    let tiles: String =
        tiles.iter().map(|(name, value)| format!("<div><b>{value}</b><span>{name}</span></div>")).collect();
    format!("<div class=\"tiles\">{tiles}</div>")
}

fn pools(report: &Report) -> String {
    let row = |name: &str, cells: [String; 3]| {
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr><td>{}</td>{cells}</tr>\n", escaped(name))
    };
    let rows: String = report
        .pools
        .iter()
        .map(|pool| {
            row(
                &pool.name,
                [
                    HumanCount(pool.nodes as u64).to_string(),
                    HumanCount(pool.slots).to_string(),
                    percent(pool.utilisation),
                ],
            )
        })
        .collect();
    let head = "<tr><th>pool</th><th>nodes</th><th>slots</th><th>utilisation</th></tr>";
    format!("<section><h2>Pools</h2><table>{head}\n{rows}</table></section>\n")
}

fn invariants(report: &Report) -> String {
    let row = |(broken, count): (crate::ledger::Broken, u64)| {
        let (class, verdict) =
            if count == 0 { ("held", "held".to_owned()) } else { ("broken", format!("broken {count} times")) };
        format!("<tr><td>{}</td><td class=\"{class}\">{verdict}</td></tr>\n", broken.invariant())
    };
    let rows: String = report.invariants().into_iter().map(row).collect();
    format!("<section><h2>Invariants</h2><table>{rows}</table></section>\n")
}

/// Text that HTML takes as text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
