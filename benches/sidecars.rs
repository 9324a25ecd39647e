//! What a mesh costs to simulate: `cargo bench --bench sidecars -- [--only busy|reference|idle] [FILE.csv]`.
//!
//! Half of the pods are clients, half are servers, each with its sidecar; 10 requests a second per pod go from an application
//! through two sidecars to another, 1 ms away. CPU time of one thread. Each world runs twice, once twice as long, and the
//! difference counts: starting pods, issuing certificates and (but for the shortest rows) opening connections is not part of
//! it. Retries, breakers, budgets and time-outs are on.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};
use squall_sim::{EngineKind, Outcome, RunOptions, Scenario, run};

/// One row.
struct Case {
    engine: EngineKind,
    pods: u32,
    protocol: &'static str,
    tls: bool,
    /// Requests a second per pod, in thousandths; 0: a single request in all, the world stands idle.
    rate_permille: u64,
    /// Simulated seconds of the shorter run.
    seconds: u64,
    /// Measured on both engines.
    next_to_reference: bool,
}

impl Case {
    /// `busy`, `reference` (rows next to the reference engine) or `idle`.
    fn name(&self) -> &'static str {
        match (self.rate_permille, self.next_to_reference) {
            (0, _) => "idle",
            (_, true) => "reference",
            (_, false) => "busy",
        }
    }
}

fn main() {
    let only = std::env::args().skip_while(|argument| argument != "--only").nth(1);
    let mut csv = String::from(
        "engine,pods,protocol,tls,requests_per_s,simulated_s,requests,cpu_us_per_request,simulated_s_per_cpu_s\n",
    );
    println!("{csv}");
    for case in cases().iter().filter(|case| only.as_ref().is_none_or(|only| case.name() == *only)) {
        let row = measure(case);
        print!("{row}");
        csv.push_str(&row);
    }
    let file = std::env::args().skip(1).find(|argument| argument.ends_with(".csv"));
    if let Some(file) = file {
        let written = std::fs::File::create(&file).and_then(|mut out| out.write_all(csv.as_bytes()));
        written.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

fn cases() -> Vec<Case> {
    let event = |pods, protocol, tls, seconds| Case {
        engine: EngineKind::Event,
        pods,
        protocol,
        tls,
        rate_permille: 10_000,
        seconds,
        next_to_reference: false,
    };
    let mut cases = Vec::new();
    for (pods, seconds) in [(10, 60), (100, 60), (300, 40)] {
        for protocol in ["http1", "http2"] {
            cases.extend([true, false].map(|tls| event(pods, protocol, tls, seconds)));
        }
    }
    let on = |engine, case: Case| Case { engine, next_to_reference: true, ..case };
    let idle = |case: Case| Case { rate_permille: 0, ..case };
    // As long as the reference engine can be measured at.
    for (pods, seconds) in [(10, 30), (100, 20)] {
        for engine in [EngineKind::Event, EngineKind::Turmoil] {
            cases.push(on(engine, event(pods, "http1", true, seconds)));
        }
    }
    for (pods, events, turmoil) in [(10, 40_000, 60), (100, 20_000, 4)] {
        cases.push(on(EngineKind::Event, idle(event(pods, "http1", true, events))));
        cases.push(on(EngineKind::Turmoil, idle(event(pods, "http1", true, turmoil))));
    }
    cases
}

fn measure(case: &Case) -> String {
    let (short, cpu_short) = timed(case, case.seconds);
    let (long, cpu_long) = timed(case, case.seconds * 2);
    let requests = long.summary.requests - short.summary.requests;
    let cpu = cpu_long.saturating_sub(cpu_short);
    let per_request = cpu.as_secs_f64() * 1e6 / requests as f64;
    let Case { engine, pods, protocol, tls, rate_permille, seconds, .. } = case;
    format!(
        "{},{pods},{protocol},{tls},{},{seconds},{requests},{},{:.2}\n",
        engine.name(),
        u64::from(*pods) * rate_permille / 1000,
        if requests == 0 { String::new() } else { format!("{per_request:.1}") },
        *seconds as f64 / cpu.as_secs_f64().max(1e-9),
    )
}

/// The same run twice: the same work each time, so that the lesser CPU time is the nearer to its cost.
fn timed(case: &Case, seconds: u64) -> (Outcome, Duration) {
    let scenario = scenario(case, seconds);
    let timed = || {
        let before = cpu();
        let options = RunOptions { engine: case.engine, ..RunOptions::default() };
        let outcome = run(&scenario, 1, options).unwrap_or_else(|error| panic!("{error}"));
        let spent = cpu() - before;
        assert!(outcome.passed(), "{:#?}", outcome.verdict);
        (outcome, spent)
    };
    let (first, second) = (timed(), timed());
    if first.1 <= second.1 { first } else { second }
}

fn scenario(case: &Case, seconds: u64) -> Arc<Scenario> {
    let Case { pods, protocol, tls, rate_permille, .. } = case;
    let app_protocol = if *protocol == "http2" { ", appProtocol: kubernetes.io/h2c" } else { "" };
    let tls = if *tls { "Mutual" } else { "None" };
    let mesh = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: bench}}\n\
         spec: {{selector: {{app: web}}, ports: [{{name: web, port: 80{app_protocol}}}]}}\n---\n\
         apiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: web, namespace: bench}}\n\
         spec:\n  targetRefs: [{{group: \"\", kind: Service, name: web}}]\n  tls: {{mode: {tls}}}\n  \
         retries: {{attempts: 2, on: [connect-failure, reset, \"503\"], backoff: {{base: 25ms, max: 250ms, jitter: full}}}}\n  \
         circuitBreaker: {{consecutiveFailures: 7, open: {{min: 1s, max: 60s}}}}\n"
    );
    let (rate, requests) = match rate_permille {
        0 => (1, ", requests: 1"),
        permille => (u64::from(*pods) * permille / 1000, ""),
    };
    let text = format!(
        "# What does it cost?\napiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: bench}}\nspec:\n  \
         mesh: [mesh.yaml]\n  duration: {seconds}s\n  services:\n    \
         web: {{entry: true, replicas: {half}, protocol: {protocol}, responseSize: 256}}\n  load:\n    \
         - {{rate: {rate}/s, arrivals: constant, hosts: {half}, http: {protocol}{requests}}}\n  expect:\n    \
         - {{overall: 'successRate == 1.0'}}\n",
        half = pods / 2
    );
    let files = Memory::new([("mesh.yaml", mesh.as_str()), ("bench.yaml", text.as_str())]);
    let scenario = load_file(Path::new("bench.yaml"), &files, &IsotopeLoad::default());
    Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")))
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's CPU time");
    let nanos = stat.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("its first field is nanoseconds"))
}
