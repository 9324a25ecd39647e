//! Files for programs that read data and traces: their numbers are the CSV's. `tests/data/run` reads them with those programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/policies/breaker-success-rate.yaml");
const FILES: [&str; 5] = ["runs.csv", "runs.parquet", "runs.hlog", "trace.json", "otlp.jsonl"];

/// The bytes of [`FILES`] of two runs.
fn files(test: &str, more: &[&str]) -> Vec<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&dir).expect("the build's directory can be written");
    let mut squall = Command::new(env!("CARGO_BIN_EXE_squall"));
    squall.args(["test", SCENARIO, "--seeds", "3,4", "--quiet"]).args(more);
    for (flag, name) in ["--csv", "--parquet", "--hdr", "--perfetto", "--otlp"].iter().zip(FILES) {
        squall.arg(flag).arg(dir.join(name));
    }
    let output = squall.output().expect("the binary starts");
    assert!(output.status.code().is_some_and(|code| code <= 1), "{}", String::from_utf8_lossy(&output.stderr));
    FILES.iter().map(|name| std::fs::read(dir.join(name)).expect("it was written")).collect()
}

/// What one run's requests were.
#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    requests: u64,
    succeeded: u64,
    sum_ns: u128,
    max_ns: u128,
    attempts: u64,
    /// Calls that made at least one.
    firsts: u64,
}

impl Found {
    fn request(&mut self, nanos: u128, good: bool) {
        self.requests += 1;
        self.succeeded += u64::from(good);
        self.sum_ns += nanos;
        self.max_ns = self.max_ns.max(nanos);
    }

    /// In the words of the CSV.
    fn cells(&self) -> [(&'static str, String); 5] {
        let millis = |nanos: u128| format!("{}.{:06}", nanos / 1_000_000, nanos % 1_000_000);
        [
            ("requests", self.requests.to_string()),
            ("succeeded", self.succeeded.to_string()),
            ("latency_mean_ms", millis(self.sum_ns / u128::from(self.requests.max(1)))),
            ("latency_max_ms", millis(self.max_ns)),
            ("amplification_ratio", format!("{:.6}", self.attempts as f64 / self.firsts as f64)),
        ]
    }
}

fn rows(csv: &[u8]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(csv);
    let all = reader.deserialize().map(|row| row.expect("it is CSV"));
    all.map(|row: BTreeMap<String, String>| (format!("{}/{}", row["scenario"], row["seed"]), row)).collect()
}

#[track_caller]
fn same(found: &BTreeMap<String, Found>, rows: &BTreeMap<String, BTreeMap<String, String>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>());
    for (run, found) in found {
        for (column, cell) in found.cells() {
            assert_eq!(cell, rows[run][column], "{column} of {run}");
        }
    }
}

fn attribute<'v>(of: &'v Value, key: &str) -> &'v str {
    let all = of["attributes"].as_array().expect("attributes are a list");
    let one = all.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("no {key} in {of}"));
    let value = &one["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str()).expect("a text or a number as text")
}

fn of_otlp(text: &str) -> BTreeMap<String, Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let mut spans = BTreeMap::new();
        for of_host in line["resourceSpans"].as_array().expect("a list") {
            let run = format!(
                "{}/{}",
                attribute(&of_host["resource"], "squall.scenario"),
                attribute(&of_host["resource"], "squall.seed")
            );
            for span in of_host["scopeSpans"][0]["spans"].as_array().expect("a list") {
                let id = span["spanId"].as_str().expect("a text").to_owned();
                assert!(id.len() == 16 && ids.insert(id.clone()), "{id} is no span id, or there twice");
                spans.insert(id, (run.clone(), span.clone()));
            }
        }
        let mut called = BTreeSet::new();
        for (run, span) in spans.values() {
            let number = |name: &str| span[name].as_str().expect("a text").parse::<u128>().expect("a number");
            let took =
                number("endTimeUnixNano").checked_sub(number("startTimeUnixNano")).expect("it ends after it began");
            let of = found.entry(run.clone()).or_default();
            let parent = span["parentSpanId"].as_str().map(|parent| &spans[parent].1);
            if let Some(parent) = parent {
                assert_eq!(parent["traceId"], span["traceId"]);
                let parent_began = parent["startTimeUnixNano"].as_str().expect("a text");
                assert!(parent_began.parse::<u128>().expect("a number") <= number("startTimeUnixNano"));
            }
            match (attribute(span, "squall.kind"), parent.map(|parent| attribute(parent, "squall.kind"))) {
                ("request", None) => of.request(took, span["status"]["code"] == 1),
                ("call", Some("request" | "work")) | ("wait", Some("call" | "serve")) => {}
                ("serve", Some("attempt")) | ("work", Some("serve")) => {}
                ("attempt", Some("call")) => {
                    of.attempts += 1;
                    of.firsts += u64::from(called.insert(span["parentSpanId"].to_string()));
                }
                (kind, parent) => panic!("a {kind} in {parent:?}: {span}"),
            }
        }
    }
    found
}

fn of_perfetto(text: &str) -> BTreeMap<String, Found> {
    let trace: Value = serde_json::from_str(text).expect("it is JSON");
    let events = trace["traceEvents"].as_array().expect("events are a list");
    let mut names: BTreeMap<u64, &str> = BTreeMap::new();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut open: BTreeMap<String, &Value> = BTreeMap::new();
    let mut called = BTreeSet::new();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        let pid = event["pid"].as_u64().expect("a number");
        let key = || format!("{pid} {} {}", event["cat"], event["id2"]["local"]);
        let kind = event["ph"].as_str().expect("a text");
        *kinds.entry(kind).or_default() += 1;
        match kind {
            "M" => assert!(names.insert(pid, event["args"]["name"].as_str().expect("a text")).is_none()),
            "b" => assert!(open.insert(key(), event).is_none(), "{event} begins twice"),
            "e" => {
                let begun = open.remove(&key()).unwrap_or_else(|| panic!("{event} never began"));
                let (run, _) = names[&pid].split_once(": ").expect("a run and a host");
                let of = found.entry(run.replace(" seed ", "/")).or_default();
                let nanos = |event: &Value| (event["ts"].as_f64().expect("a number") * 1000.0).round() as u128;
                let args = &begun["args"];
                match begun["cat"].as_str() {
                    Some("request") => of.request(nanos(event) - nanos(begun), args["good"] == true),
                    Some("attempt") => {
                        of.attempts += 1;
                        of.firsts += u64::from(called.insert((run, args["parent"].as_u64().expect("a number"))));
                    }
                    Some("call" | "wait" | "serve" | "work" | "fault") => {}
                    other => panic!("{other:?} is no category"),
                }
            }
            "i" | "C" => assert!(names.contains_key(&pid)),
            other => panic!("{other} is no phase"),
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
    assert!(["i", "C", "b"].iter().all(|kind| kinds[kind] > 0), "{kinds:?}");
    found
}

#[track_caller]
fn check_numbers(test: &str, more: &[&str]) {
    let files = files(test, more);
    let rows = rows(&files[0]);
    let text = |nth: usize| std::str::from_utf8(&files[nth]).expect("it is text");
    same(&of_perfetto(text(3)), &rows);
    same(&of_otlp(text(4)), &rows);
    let mut logged: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    let mut read = Deserializer::new();
    for entry in IntervalLogIterator::new(&files[2]) {
        let LogEntry::Interval(interval) = entry.expect("it is a log") else { continue };
        let bytes = base64(interval.encoded_histogram());
        let histogram: Histogram<u64> = read.deserialize(&mut bytes.as_slice()).expect("it is a histogram");
        let run = interval.tag().expect("every interval has one").as_str().to_owned();
        let whole = logged.entry(run).or_insert_with(|| Histogram::new(3).expect("three digits are fine"));
        whole.add(histogram).expect("it grows");
    }
    assert_eq!(logged.keys().collect::<Vec<_>>(), rows.keys().collect::<Vec<_>>());
    for (run, histogram) in logged {
        assert_eq!(histogram.len().to_string(), rows[&run]["requests"], "{run}");
        for (column, value) in [
            ("latency_p50_ms", histogram.value_at_quantile(0.5)),
            ("latency_p99_ms", histogram.value_at_quantile(0.99)),
            ("latency_max_ms", histogram.max()),
        ] {
            let (found, wanted) = (value as f64 / 1e6, rows[&run][column].parse::<f64>().expect("a number"));
            assert!((found - wanted).abs() <= wanted / 1000.0, "{column} of {run}: {found} and {wanted}");
        }
    }
}

/// As RFC 4648 has it; the tests need no crate for it.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|c| *c != b'=');
    let digits: Vec<u8> = digits
        .map(|c| alphabet.iter().position(|known| *known == c).and_then(|at| u8::try_from(at).ok()).expect("a digit"))
        .collect();
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let bits = group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}

#[test]
fn the_numbers_of_every_format_are_those_of_the_csv() {
    check_numbers("data-full", &[]);
}

#[test]
fn the_fast_model_writes_them_too() {
    check_numbers("data-fast", &["--model", "fast"]);
}

#[test]
fn the_same_runs_give_the_same_bytes_on_any_number_of_threads() {
    let one = files("data-one", &["--model", "fast", "--jobs", "1"]);
    let two = files("data-two", &["--model", "fast", "--jobs", "2"]);
    for ((name, one), two) in FILES.iter().zip(&one).zip(&two) {
        assert!(one == two, "{name} differs");
    }
}
