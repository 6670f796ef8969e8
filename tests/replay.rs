//! The replay example, as its users run it: on small input written here, and on the real data where that is at hand.

#[path = "common/example.rs"]
mod example;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

const AZURE_HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";
const NODES: &str =
    "sn,cpu_milli,memory_mib,gpu,model\nsmall,1000,1000,2,T4\nnone,1000,1000,0,\nlarge,1000,1000,8,G3\n";
const PERF: &str = "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel\n\
    m,a100-80gb,128,1,128,80,50,2\nm,a100-80gb,8192,1,128,3000,57,2\n\
    m,h100-80gb,128,1,128,50,30,8\nm,h100-80gb,8192,1,128,850,31,8\n";
const LANGUAGES: &str = r#"{"locales": {"de": {"clips": 10, "avgDurationSecs": 5.1}, "en": {"clips": 30,
    "avgDurationSecs": 5.2}, "sv-SE": {"clips": 4, "avgDurationSecs": 4.3}, "zz": {"clips": 4, "avgDurationSecs": 4}}}"#;
const PAIRS: &str = r#"[{"from_code": "de", "to_code": "en"}, {"from_code": "en", "to_code": "de"},
    {"from_code": "sv", "to_code": "en"}, {"from_code": "en", "to_code": "sv"}]"#;

/// A folder for one test's files.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, contents).expect("a file in the temporary folder");
        path
    }

    fn write_gz(&self, name: &str, contents: &str) -> String {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(contents.as_bytes()).expect("memory");
        self.write(name, packed.finish().expect("memory"))
    }

    /// The arguments for a trace, with all other input in files, too.
    fn all_input(&self, trace: &str) -> Vec<String> {
        let files = [
            ("--trace", trace.to_owned()),
            ("--nodes", self.write("nodes.csv", NODES)),
            ("--perf", self.write("perf.csv", PERF)),
            ("--languages", self.write_gz("languages.json.gz", LANGUAGES)),
            ("--pairs", self.write("pairs.json", PAIRS)),
        ];
        files.into_iter().flat_map(|(name, path)| [name.to_owned(), path]).collect()
    }

    /// Runs a replay that must succeed, and reads its JSON.
    fn replay<S: AsRef<str>>(&self, args: &[S]) -> Value {
        let out = self.path("out.json");
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).chain(["--json", &out]).collect();
        let output = run(&args);
        assert!(output.status.success(), "{args:?}: {}\n{}", output.status, text(&output));
        serde_json::from_str(&fs::read_to_string(&out).expect("the JSON report")).expect("valid JSON")
    }
}

/// The example, beside the tests: `cargo test` has built it, other ways of running them may not have.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = example::path("replay");
        if !binary.exists() {
            example::build("replay", &[]);
        }
        binary
    })
}

fn run<S: AsRef<str>>(args: &[S]) -> Output {
    Command::new(binary()).args(args.iter().map(AsRef::as_ref)).output().expect("the example runs")
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// A trace of the Azure kind: CRLF, and no line end after the last row.
fn azure(requests: usize) -> String {
    let row = |n: usize| {
        let (seconds, fraction) = (n / 3, n % 3 * 3_000_000);
        let (minute, second) = (seconds / 60, seconds % 60);
        let (prompt, generated) = (100 + n * 37 % 4000, 1 + n * 53 % 400);
        format!("2023-11-16 18:{minute:02}:{second:02}.{fraction:07},{prompt},{generated}")
    };
    AZURE_HEADER.to_owned() + &(0..requests).map(row).collect::<Vec<_>>().join("\r\n")
}

/// Every invariant's count, and what does not come out even.
fn assert_invariants(report: &Value) {
    let count = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} is a count: {report}"));
    let broken = [
        "over_capacity",
        "double_release",
        "duplicate_jobs",
        "misplaced",
        "refused_while_free",
        "miscounted",
        "unexpected_answers",
        "events_dropped",
        "unsettled",
        "slots_held_at_end",
    ];
    for name in broken {
        assert_eq!(count(name), 0, "{name}: {report}");
    }
    let ends = ["jobs_completed", "jobs_refused", "jobs_failed", "jobs_cancelled", "jobs_abandoned"];
    assert_eq!(ends.iter().map(|name| count(name)).sum::<u64>(), count("jobs_offered"), "{report}");
    let reasons = report["refused_by_reason"].as_object().expect("an object");
    assert_eq!(reasons.values().filter_map(Value::as_u64).sum::<u64>(), count("jobs_refused"));
}

/// The report without what may differ from run to run.
fn without_times(mut report: Value) -> Value {
    let fields = report.as_object_mut().expect("an object");
    for times in ["decision_ns", "elapsed"] {
        assert!(fields.remove(times).is_some(), "{times}");
    }
    report
}

#[test]
fn an_azure_trace_is_served_whole() {
    let files = Files::new();
    let trace = files.write("trace.csv", azure(600));
    let report = files.replay(&files.all_input(&trace));
    assert_invariants(&report);
    assert_eq!(report["jobs_offered"], 600);
    assert_eq!((&report["workload"]["nodes"], &report["workload"]["slots"]), (&2.into(), &10.into()));
    for quantile in ["p50", "p99", "p999", "max"] {
        assert!(report["decision_ns"][quantile].as_u64() > Some(0), "{report}");
    }
    for quantile in ["p50", "p99", "max"] {
        assert!(report["wait_ms"][quantile].as_f64() >= Some(0.0), "{report}");
    }
    for of in ["mean", "max"] {
        assert!(report["load_spread"][of].as_f64() >= Some(1.0), "{report}");
    }
    for count in ["jobs_retried", "jobs_orphaned", "jobs_expired"] {
        assert!(report[count].is_u64(), "{count}: {report}");
    }
}

#[test]
fn a_packed_trace_is_the_same_trace() {
    let files = Files::new();
    let plain = files.write("trace.csv", azure(300));
    let packed = files.write_gz("trace.csv.gz", &azure(300));
    let [mut plain, mut packed] = [plain, packed].map(|trace| without_times(files.replay(&files.all_input(&trace))));
    for report in [&mut plain, &mut packed] {
        report["workload"]["trace"].take();
    }
    assert_eq!(plain, packed);
}

#[test]
fn json_lines_may_lack_tokens_and_order() {
    let files = Files::new();
    let lines = (0..300).map(|n| match n % 3 {
        0 => format!("{{\"timestamp\": {}, \"input_length\": 700, \"output_length\": {n}}}\n", n * 200),
        1 => format!("{{\"timestamp\": {}.5}}\n\n", n * 200),
        _ => format!("{{\"timestamp\": {}, \"prompt_tokens\": 90, \"hash_ids\": [1, 2]}}\n", 60_000 - n * 200),
    });
    let trace = files.write("trace.jsonl", lines.collect::<String>());
    let report = files.replay(&files.all_input(&trace));
    assert_invariants(&report);
    assert_eq!(report["jobs_offered"], 300);
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let files = Files::new();
    let trace = files.write("trace.csv", azure(1500));
    let args = |seed: &str| {
        let more = ["--scale", "3", "--load", "0.95", "--seed", seed].map(str::to_owned);
        [files.all_input(&trace), more.into()].concat()
    };
    let [one, same, other] = ["7", "7", "8"].map(|seed| files.replay(&args(seed)));
    assert_invariants(&one);
    let [one, same, other] = [one, same, other].map(without_times);
    assert_eq!(one.to_string(), same.to_string());
    assert_ne!(one["wait_ms"], other["wait_ms"]);
}

#[test]
fn every_policy_holds_the_invariants_under_overload() {
    let files = Files::new();
    let trace = files.write("trace.csv", azure(900));
    for policy in ["p2c", "random", "round-robin", "least-loaded", "least-loaded:5"] {
        let more = ["--load", "1.5", "--scale", "4", "--policy", policy].map(str::to_owned);
        let report = files.replay(&[files.all_input(&trace), more.into()].concat());
        assert_invariants(&report);
        assert_eq!(report["jobs_offered"], 3600);
        assert!(report["jobs_refused"].as_u64() > Some(0), "{policy}: {report}");
        let named = report["workload"]["policy"].as_str().expect("a name");
        assert!(named.starts_with(policy), "{named}");
    }
}

#[test]
fn scale_and_load_decide_the_fleet() {
    let files = Files::new();
    let trace = files.write("trace.csv", azure(120));
    let nodes = |more: &[&str]| {
        let more: Vec<String> = more.iter().map(|arg| (*arg).to_owned()).collect();
        let report = files.replay(&[files.all_input(&trace), more].concat());
        assert_invariants(&report);
        (report["workload"]["nodes"].as_u64(), report["jobs_offered"].as_u64())
    };
    assert_eq!(nodes(&["--scale", "5"]), (Some(10), Some(600)));
    let (half, _) = nodes(&["--load", "0.5", "--scale", "5"]);
    let (tenth, _) = nodes(&["--load", "0.1", "--scale", "5"]);
    assert!(half.is_some_and(|half| half > 10) && tenth > half.map(|half| half * 4), "{half:?}, {tenth:?}");
    assert_eq!(nodes(&["--speed", "60"]), (Some(2), Some(120)));
}

#[test]
fn the_page_needs_nothing_else() {
    let files = Files::new();
    let trace = files.write("trace.csv", azure(600));
    let page = files.path("report.html");
    let out = files.path("out.json");
    let args = [files.all_input(&trace), ["--html", &page, "--json", &out].map(str::to_owned).into()].concat();
    assert!(run(&args).status.success());
    let page = fs::read_to_string(page).expect("the page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<svg").count(), 6);
    for fetched in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
}

#[test]
fn the_text_says_what_the_json_says() {
    let files = Files::new();
    let trace = files.write("trace.csv", azure(120));
    let output = run(&files.all_input(&trace));
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in ["requests               120", "utilisation   mean", "load spread", "decision (ns)", "wait (ms)"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("BROKEN") && text.matches(" held\n").count() == 10, "{text}");
    assert!(output.stderr.is_empty(), "no progress bar where nobody watches: {text}");
}

/// Runs what must be refused: exit code 2, one message that holds all of `expected`, and nothing else.
fn refused(args: &[&str], expected: &[&str]) {
    let output = run(args);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    for part in expected {
        assert!(text.contains(part), "{args:?}: expected {part:?} in {text}");
    }
    assert!(!text.contains("panicked") && output.stdout.is_empty(), "{args:?}: {text}");
}

#[test]
fn malformed_traces_are_refused_with_their_place() {
    let files = Files::new();
    let good = "2023-11-16 18:15:46.6805900,374,44\r\n";
    let csv = |rows: &str| format!("{AZURE_HEADER}{good}{rows}");
    let cases: &[(&str, String, &str)] = &[
        ("empty.csv", String::new(), ":1:1: expected a header with the columns TIMESTAMP"),
        ("header.csv", AZURE_HEADER.to_owned(), ":1:1: expected at least one request"),
        ("columns.csv", format!("TIMESTAMP,ContextTokens\r\n{good}"), ":1:1: expected a header with the columns"),
        ("time.csv", csv("16.11.2023 18:15,1,1\r\n"), ":3:1: expected a time like"),
        ("text.csv", csv("2023-11-16 18:15:47,many,1"), ":3:21: expected a whole number of tokens"),
        ("negative.csv", csv("2023-11-16 18:15:47,-1,1"), ":3:21: expected a whole number of tokens"),
        ("nan.csv", csv("2023-11-16 18:15:47,1,NaN"), ":3:23: expected a whole number of tokens"),
        ("huge.csv", csv("2023-11-16 18:15:47,1,123456789012345678901"), ":3:23: expected a whole number"),
        ("short.csv", csv("2023-11-16 18:15:47,1\r\n"), ":3:22: expected 3 fields as in the header, found 2"),
        ("long.csv", csv("2023-11-16 18:15:47,1,1,1"), ":3:25: expected 3 fields as in the header, found 4"),
        ("years.csv", csv("2033-11-16 18:15:47,1,1"), ":3:1: expected a time within 31 days"),
        ("cut.jsonl", "{\"timestamp\": 1}\n{\"timestamp\"".to_owned(), ":2:12: JSON: EOF"),
        ("field.jsonl", "{\"when\": 1}\n".to_owned(), ":1:11: JSON: missing field `timestamp`"),
        ("negative.jsonl", "{\"timestamp\": -1}\n".to_owned(), ":1:17: JSON: expected a time in ms"),
        ("text.jsonl", "{\"timestamp\": 1}\n{\"timestamp\": \"x\"}".to_owned(), ":2:17: JSON: invalid type"),
        ("huge.jsonl", "{\"timestamp\": 1e999}".to_owned(), ":1:19: JSON: number out of range"),
    ];
    for (name, contents, expected) in cases {
        let path = files.write(name, contents);
        refused(&["--trace", &path], &[&format!("{name}{expected}")]);
    }
}

#[test]
fn other_malformed_files_are_refused_with_their_place() {
    let files = Files::new();
    let nodes = "sn,cpu_milli,memory_mib,gpu,model\n";
    let perf = "model,hardware,prompt_size,batch_size,prompt_time,token_time,tensor_parallel\n";
    let cases: &[(&str, &str, String, &str)] = &[
        ("--nodes", "empty.csv", String::new(), ":1:1: expected a header with the columns sn, gpu, model"),
        ("--nodes", "none.csv", format!("{nodes}a,1,1,0,\n"), ":1:1: expected at least one node with a GPU"),
        ("--nodes", "negative.csv", format!("{nodes}a,1,1,-8,T4\n"), ":2:7: expected a number of GPUs"),
        ("--nodes", "huge.csv", format!("{nodes}a,1,1,99999999999,T4\n"), ":2:7: expected a number of GPUs"),
        ("--nodes", "model.csv", format!("{nodes}a,1,1,8,Abacus\n"), ":2:9: expected a GPU model"),
        ("--nodes", "twice.csv", format!("{nodes}a,1,1,8,T4\na,1,1,8,T4\n"), ":3:1: expected a name"),
        ("--perf", "empty.csv", String::new(), ":1:1: expected a header with the columns model"),
        ("--perf", "nan.csv", format!("{perf}m,h100-80gb,128,1,NaN,1,8\n"), ":2:19: expected a time in ms"),
        ("--perf", "zero.csv", format!("{perf}m,h100-80gb,0,1,1,1,8\n"), ":2:13: expected a whole number from 1"),
        ("--perf", "none.csv", perf.to_owned(), ":1:1: expected rows at batch size 1"),
        ("--languages", "empty.json", String::new(), ":1:1: JSON: EOF"),
        ("--languages", "none.json", "{\"locales\": {}}".to_owned(), ":1:1: expected at least one locale"),
        (
            "--languages",
            "negative.json",
            "{\"locales\":\n {\"en\": {\"clips\": -1, \"avgDurationSecs\": 5}}}".to_owned(),
            ":2:20: JSON: invalid value: integer `-1`",
        ),
        (
            "--languages",
            "tag.json",
            "{\"locales\":\n {\"e_n\": {\"clips\": 1, \"avgDurationSecs\": 5}}}".to_owned(),
            ":2:7: JSON: expected a well-formed language tag",
        ),
        ("--pairs", "empty.json", String::new(), ":1:1: JSON: EOF"),
        ("--pairs", "none.json", "[]".to_owned(), ":1:1: expected at least one pair"),
        ("--pairs", "field.json", "[{\"from_code\": \"sv\"}]".to_owned(), ":1:20: JSON: missing field `to_code`"),
    ];
    for (option, name, contents, expected) in cases {
        let path = files.write(name, contents);
        refused(&[option, &path], &[&format!("{name}{expected}")]);
    }
    let pairs = files.write("other.json", r#"[{"from_code": "qq", "to_code": "en"}]"#);
    refused(&["--pairs", &pairs], &["expected a pair of languages that both name"]);
}

#[test]
fn unreadable_files_are_refused() {
    let files = Files::new();
    refused(&["--trace", &files.path("nowhere.csv")], &["nowhere.csv: cannot be read"]);
    refused(&["--trace", &files.path("")], &[": cannot be read"]);
    let text = files.write("text.csv.gz", azure(3));
    refused(&["--trace", &text], &["text.csv.gz:1:1: expected gzip"]);
    let whole = fs::read(files.write_gz("whole.csv.gz", &azure(300))).expect("just written");
    let cut = files.write("cut.csv.gz", &whole[..whole.len() / 2]);
    refused(&["--trace", &cut], &["cut.csv.gz:1:1: expected a whole gzip stream"]);
    let garbled = [&whole[..20], &[0xff; 40][..], &whole[60..]].concat();
    let garbled = files.write("garbled.csv.gz", garbled);
    refused(&["--trace", &garbled], &["garbled.csv.gz:1:1: expected a whole gzip stream"]);
    let bytes = files.write("bytes.csv", b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-\xff");
    refused(&["--trace", &bytes], &["bytes.csv:2:6: expected UTF-8 text"]);
    let report = files.path("no/such/folder.json");
    refused(&["--json", &report], &["folder.json: cannot be written"]);
}

#[test]
fn arguments_out_of_bounds_are_refused() {
    let cases: &[(&[&str], &str)] = &[
        (&["--scale", "0"], "--scale"),
        (&["--scale", "-3"], "--scale"),
        (&["--scale", "99999999999"], "--scale"),
        (&["--scale", "100000"], "--scale 100000: expected at most"),
        (&["--load", "0"], "expected a number from"),
        (&["--load", "-0.5"], "--load"),
        (&["--load", "NaN"], "expected a number from"),
        (&["--load", "inf"], "expected a number from"),
        (&["--load", "0.00001"], "--load 0.00001 at --scale 1: expected at most"),
        (&["--speed", "0"], "expected a number from"),
        (&["--speed", "0.00001"], "--speed 0.00001: the requests would take more than 31 days"),
        (&["--seed", "one"], "--seed"),
        (&["--policy", "best"], "expected p2c, random, round-robin"),
        (&["--policy", "least-loaded:0"], "expected p2c, random, round-robin"),
        (&["--policy", "p2c:2"], "expected p2c, random, round-robin"),
        (&["--instances", "3"], "--redis <URL>"),
        (&["--kill"], "--redis <URL>"),
        (&["--redis", "redis://127.0.0.1/", "--instances", "0"], "--instances"),
        (&["--redis", "redis://127.0.0.1/", "--pace", "0"], "--pace"),
        (&["--redis", "redis://127.0.0.1/", "--html", "page.html"], "cannot be used with"),
        (&["--trace"], "--trace"),
        (&["--unknown"], "--unknown"),
        (&["stray"], "stray"),
    ];
    for (args, expected) in cases {
        refused(args, &[expected]);
    }
}

#[test]
#[cfg(not(feature = "redis"))]
fn several_processes_need_a_build_that_can_talk_to_a_server() {
    let expected = ["--redis: expected a build", "cargo run --release --features redis --example replay"];
    refused(&["--redis", "redis://127.0.0.1:1/"], &expected);
}

#[test]
fn logs_of_several_processes_are_checked() {
    let files = Files::new();
    let setting = r#"{"trace":"t","nodes_from":"n","policy":"p2c","seed":1,"scale":1,"speed":1,"nodes":1,"slots":1,
        "offered_load":1,"seconds":0}"#
        .replace('\n', " ");
    let began = format!(r#"{{"began":{{"setting":{setting},"instances":2,"pace":1,"requests":1,"lease":1000000}}}}"#);
    let given = |request: &str| {
        let of = format!(r#"{{"request":"{request}","job":"{request}","number":1}}"#);
        let slot = r#""node":"n","slot":0,"fence":"00000000000000000000000000000001""#;
        format!(r#"{{"given":{{"lease":{{"of":{of},{slot}}},"call":"create","took":0}}}}"#)
    };
    let node = r#"{"node":{"node":"n","slots":1}}"#.to_owned();
    let settled = r#"{"settled":{"request":"r0","outcome":"completed"}}"#.to_owned();
    let left = r#"{"left":{"held":0,"taken":1}}"#.to_owned();
    let log = |name: &str, events: &[&String]| {
        let line = |(at, event)| format!("{{\"at\":{at},\"by\":1,\"event\":{event}}}\n");
        files.write(name, (0..).zip(events).map(line).collect::<String>())
    };
    let check = |path: &str| run(&["--check", path]);
    let sound = check(&log("sound.jsonl", &[&began, &node, &given("r0"), &settled, &left]));
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound));
    let broken = check(&log("broken.jsonl", &[&began, &node, &given("r0"), &given("r1"), &settled, &left]));
    let told = text(&broken);
    assert_eq!(broken.status.code(), Some(1), "{told}");
    assert!(told.contains("fences of a slot only grow               BROKEN, 1 times"), "{told}");
    assert!(told.contains("line 4: the fence of request r1, job r1, attempt 1 is that of request r0"), "{told}");
    let cut = log("cut.jsonl", &[&began, &node]);
    refused(&["--check", &cut], &["cut.jsonl:2:1: expected a log that ends with"]);
    let malformed = files.write("malformed.jsonl", "{\"at\": 1}\n");
    refused(&["--check", &malformed], &["malformed.jsonl:1:9: JSON: missing field `by`"]);
}

#[test]
fn real_data_is_served() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let file = |name: &str| data.join(name).display().to_string();
    let args = [
        ("--trace", file("AzureLLMInferenceTrace_conv.csv.gz")),
        ("--nodes", file("openb_node_list_all_node.csv")),
        ("--perf", file("perf_model.csv")),
        ("--languages", file("cv-corpus-17.0-2024-03-15.json.gz")),
        ("--pairs", file("argos_index.json")),
        ("--load", "0.9".to_owned()),
    ];
    if let Some((_, missing)) = args[..5].iter().find(|(_, path)| !Path::new(path).exists()) {
        println!("skipped: there is no {missing}");
        return;
    }
    let args: Vec<String> = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let report = Files::new().replay(&args);
    assert_invariants(&report);
    assert_eq!(report["jobs_offered"], 19_366);
    assert!(report["jobs_completed"].as_u64() > Some(15_000), "{report}");
}
