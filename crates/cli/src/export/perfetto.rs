//! The trace event format (JSON) that ui.perfetto.dev and chrome://tracing open: a process for each host of each run, a slice for all
//! that took time for a request, an instant for each fault and each turn of a breaker, counters.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use squall_policy::Instant;
use squall_sim::spans::{Span, SpanKind};
use squall_sim::{Case, Outcome};

/// Hosts of a run have numbers below this.
const HOSTS_MAX: usize = 4096;

pub(super) fn head() -> Vec<u8> {
    let all = json!({ "name": "process_name", "ph": "M", "pid": 0, "tid": 0, "args": { "name": "squall" } });
    let version = env!("CARGO_PKG_VERSION");
    format!("{{\"displayTimeUnit\":\"ms\",\"otherData\":{{\"squall\":\"{version}\"}},\"traceEvents\":[\n{all}")
        .into_bytes()
}

pub(super) fn tail() -> Vec<u8> {
    b"\n]}\n".to_vec()
}

/// The events of one run, the `number`th.
pub(super) fn run(number: usize, case: &Case, outcome: &Outcome, spans: &[Span]) -> Vec<u8> {
    let mut events =
        Events { out: Vec::new(), first: number * HOSTS_MAX + 1, hosts: BTreeMap::new(), run: String::new() };
    events.run = format!("{} seed {}", case.scenario, case.seed);
    let whole = events.process("run");
    for fault in &outcome.faults {
        let Some(began) = fault.began else { continue };
        events.slice(
            whole,
            "fault",
            &fault.what,
            began,
            fault.ended.unwrap_or(Instant::ZERO + outcome.simulated),
            &json!({
                "touched": fault.touched, "unit": fault.unit,
            }),
        );
    }
    for line in &outcome.story {
        events.instant(whole, "story", &line.text, line.at);
    }
    let mut at = Instant::ZERO;
    for (requests, succeeded) in outcome.pulse.requests.iter().zip(&outcome.pulse.succeeded) {
        events.counter(
            whole,
            "requests by arrival",
            at,
            &json!({ "succeeded": succeeded, "failed": requests - succeeded }),
        );
        at = at + outcome.pulse.bin;
    }
    for span in spans {
        let pid = events.process(&span.host);
        let args = json!({
            "request": span.request, "span": span.number, "parent": span.parent, "good": span.good, "status": span.status,
            "end": span.end,
        });
        events.slice(pid, span.kind.name(), &span.what, span.from, span.to, &args);
    }
    for (host, steps) in inside(spans) {
        let pid = events.process(&host);
        for (at, inside) in steps {
            events.counter(pid, "requests inside", at, &json!({ "requests": inside }));
        }
    }
    let entries = outcome.history.iter().flat_map(|history| history.entries());
    for entry in entries.filter(|entry| entry.kind == "backend" && entry.before_start_ns == 0) {
        let pid = events.process(&entry.host);
        events.instant(pid, "backend", &entry.text, entry.at);
    }
    events.out
}

/// How many requests are in the application of each host, at every step.
fn inside(spans: &[Span]) -> BTreeMap<Arc<str>, Vec<(Instant, i64)>> {
    let mut steps: BTreeMap<Arc<str>, BTreeMap<Instant, i64>> = BTreeMap::new();
    for span in spans.iter().filter(|span| span.kind == SpanKind::Work) {
        let of = steps.entry(Arc::clone(&span.host)).or_default();
        *of.entry(span.from).or_default() += 1;
        *of.entry(span.to).or_default() -= 1;
    }
    let sum = |steps: BTreeMap<Instant, i64>| {
        let mut inside = 0;
        steps
            .into_iter()
            .map(|(at, step)| {
                inside += step;
                (at, inside)
            })
            .collect()
    };
    steps.into_iter().map(|(host, steps)| (host, sum(steps))).collect()
}

struct Events {
    out: Vec<u8>,
    /// The number of its first process.
    first: usize,
    hosts: BTreeMap<String, usize>,
    run: String,
}

impl Events {
    /// The number of a host's process, which is named when it is first used.
    fn process(&mut self, host: &str) -> usize {
        if let Some(pid) = self.hosts.get(host) {
            return *pid;
        }
        let pid = self.first + self.hosts.len();
        self.hosts.insert(host.to_owned(), pid);
        let name = format!("{}: {host}", self.run);
        self.event(&json!({ "name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": { "name": name } }));
        pid
    }

    /// Slices overlap: each has a track of its own, and the viewer packs tracks of a name.
    fn slice(&mut self, pid: usize, kind: &str, name: &str, from: Instant, to: Instant, args: &Value) {
        let id = self.out.len();
        let id = json!({ "local": format!("{id:#x}") });
        self.event(&json!({
            "name": name, "cat": kind, "ph": "b", "ts": micros(from), "pid": pid, "tid": 0, "id2": id, "args": args,
        }));
        self.event(&json!({ "name": name, "cat": kind, "ph": "e", "ts": micros(to), "pid": pid, "tid": 0, "id2": id }));
    }

    fn instant(&mut self, pid: usize, kind: &str, name: &str, at: Instant) {
        self.event(&json!({ "name": name, "cat": kind, "ph": "i", "s": "p", "ts": micros(at), "pid": pid, "tid": 0 }));
    }

    fn counter(&mut self, pid: usize, name: &str, at: Instant, values: &Value) {
        self.event(&json!({ "name": name, "ph": "C", "ts": micros(at), "pid": pid, "tid": 0, "args": values }));
    }

    fn event(&mut self, event: &Value) {
        self.out.extend(format!(",\n{event}").into_bytes());
    }
}

/// Microseconds with all their digits. A whole number of nanoseconds below 2⁵³ loses none.
fn micros(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1000.0
}
