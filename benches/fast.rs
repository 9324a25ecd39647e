//! What a request costs the fast model, next to the full world: `cargo bench --bench fast -- [--only fast|full] [FILE.csv]`.
//!
//! `-- --once NUMBER SECONDS [full]` runs a model once on the case with this number, from 0, for as long, and measures nothing: for
//! profilers. The instructions of a request are the difference of two such runs under `valgrind --tool=callgrind`.
//!
//! CPU time of one thread. Each row is the difference of two runs of which one is longer, so that starting the world is not
//! part of it; measures and checks are. Every run is made ROUNDS times, both models in turn, and the least counts: the same work
//! again and again takes longer only because of others on the machine. The requests of the load are counted; in Online Boutique each makes some thirteen
//! calls, every one of which goes through two sidecars like the requests of the other rows.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};
use squall_sim::{Model, Outcome, RunOptions, Scenario, run};

/// One row: a name, a scenario of any length, and how long it runs in each model.
struct Case {
    name: &'static str,
    scenario: fn(u64) -> Arc<Scenario>,
    fast_s: u64,
    full_s: u64,
}

const ROUNDS: usize = 5;

const CASES: [Case; 4] = [
    Case { name: "M/M/1, load .8", scenario: |s| queue(1, 800, s), fast_s: 1000, full_s: 20 },
    Case { name: "M/M/10, load .8", scenario: |s| queue(10, 8000, s), fast_s: 100, full_s: 2 },
    Case { name: "M/M/10, load .8, everything on", scenario: |s| guarded(8000, s), fast_s: 100, full_s: 2 },
    Case { name: "Online Boutique, 50/s", scenario: boutique, fast_s: 200, full_s: 20 },
];

fn main() {
    let after = |name: &str| std::env::args().skip_while(|argument| argument != name).skip(1).collect::<Vec<_>>();
    if let [number, seconds, rest @ ..] = &after("--once")[..] {
        let whole = |text: &String| text.parse::<u64>().unwrap_or_else(|error| panic!("{text}: {error}"));
        let scenario = (CASES[whole(number) as usize].scenario)(whole(seconds));
        let model = if rest.first().is_some_and(|word| word == "full") { Model::Full } else { Model::Fast };
        let options = RunOptions { model, ..RunOptions::default() };
        let outcome = run(&scenario, 1, options).unwrap_or_else(|error| panic!("{error}"));
        println!("{} requests, digest {:?}", outcome.summary.requests, outcome.digest);
        return;
    }
    let mut csv = String::from("case,model,requests,calls,cpu_us_per_request,cpu_us_per_call,requests_per_cpu_s\n");
    print!("{csv}");
    let only = after("--only").first().cloned();
    for case in &CASES {
        let models = [(Model::Fast, case.fast_s), (Model::Full, case.full_s)];
        let mut spans =
            models.map(|(model, seconds)| [Measured::new(model, seconds), Measured::new(model, seconds * 2)]);
        let wanted = |model: Model| only.as_ref().is_none_or(|only| only == model.name());
        for _ in 0..ROUNDS {
            spans.iter_mut().flatten().filter(|one| wanted(one.model)).for_each(|one| one.measure(case));
        }
        for [short, long] in spans.iter().filter(|[short, _]| wanted(short.model)) {
            let row = row(case, short, long);
            print!("{row}");
            csv.push_str(&row);
        }
    }
    if let Some(file) = std::env::args().skip(1).find(|argument| argument.ends_with(".csv")) {
        let written = std::fs::File::create(&file).and_then(|mut out| out.write_all(csv.as_bytes()));
        written.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// One run, as often as it was made.
struct Measured {
    model: Model,
    seconds: u64,
    outcome: Option<Outcome>,
    least: Duration,
}

impl Measured {
    fn new(model: Model, seconds: u64) -> Self {
        Self { model, seconds, outcome: None, least: Duration::MAX }
    }

    fn measure(&mut self, case: &Case) {
        let scenario = (case.scenario)(self.seconds);
        let options = RunOptions { model: self.model, ..RunOptions::default() };
        let before = cpu();
        let outcome = run(&scenario, 1, options).unwrap_or_else(|error| panic!("{error}"));
        self.least = self.least.min(cpu() - before);
        self.outcome = Some(outcome);
    }

    /// Requests of the load, and calls.
    fn counts(&self) -> (u64, u64) {
        let summary = &self.outcome.as_ref().expect("it was measured").summary;
        (summary.requests, summary.edges.iter().map(|edge| edge.requests).sum())
    }
}

fn row(case: &Case, short: &Measured, long: &Measured) -> String {
    let (before, after) = (short.counts(), long.counts());
    let (requests, calls) = (after.0 - before.0, after.1 - before.1);
    let cpu = long.least.saturating_sub(short.least).as_secs_f64();
    format!(
        "\"{}\",{},{requests},{calls},{:.3},{:.3},{:.0}\n",
        case.name,
        long.model.name(),
        cpu * 1e6 / requests as f64,
        cpu * 1e6 / calls as f64,
        requests as f64 / cpu,
    )
}

/// A queue behind one Service with the default policy: a request passes two sidecars.
fn queue(slots: u32, rate: u32, seconds: u64) -> Arc<Scenario> {
    shop(slots, rate, seconds, "")
}

/// The same with time-outs, retries with a budget, a breaker, outlier ejection and limits.
fn guarded(rate: u32, seconds: u64) -> Arc<Scenario> {
    let policy = "---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: shop, namespace: test}\nspec:\n  \
                  targetRefs: [{group: \"\", kind: Service, name: shop}]\n  \
                  loadBalancing: {algorithm: PeakEwma, decay: 10s}\n  timeouts: {request: 2s, perTry: 500ms}\n  \
                  retries: {attempts: 2, on: [connect-failure, reset, \"503\"], backoff: {base: 10ms, max: 100ms, jitter: full}, budget: {percent: 20, minPerSecond: 10, window: 10s}}\n  \
                  circuitBreaker: {consecutiveFailures: 7, open: {min: 1s, max: 60s, jitter: 50%}, probes: 1}\n";
    shop(10, rate, seconds, policy)
}

fn shop(slots: u32, rate: u32, seconds: u64, policy: &str) -> Arc<Scenario> {
    let mesh = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: shop, namespace: test}}\nspec: {{selector: {{app: shop}}, ports: [{{port: 80}}]}}\n{policy}"
    );
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: queue}}\nspec:\n  mesh: [mesh.yaml]\n  \
         duration: {seconds}s\n  services:\n    shop: {{slots: {slots}, time: {{exponential: 1ms}}}}\n  \
         load: [{{to: shop, rate: {rate}/s}}]\n  expect: [{{overall: 'successRate == 1.0'}}]\n"
    );
    let files = Memory::new([("mesh.yaml", mesh.as_str()), ("queue.yaml", text.as_str())]);
    let scenario = load_file(Path::new("queue.yaml"), &files, &IsotopeLoad::default());
    Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")))
}

/// The shipped application under an open load.
fn boutique(seconds: u64) -> Arc<Scenario> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/boutique");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: boutique}}\nspec:\n  base: app.yaml\n  \
         duration: {seconds}s\n  load: [{{rate: 50/s, timeout: 10s, zones: [a]}}]\n  \
         expect: [{{overall: 'successRate >= 0.99'}}]\n"
    );
    let files = ["app.yaml", "mesh/shop.yaml", "mesh/policy.yaml"].map(|name| (name, read(name)));
    let given = files.iter().map(|(name, text)| (*name, text.as_str())).chain([("boutique.yaml", text.as_str())]);
    let scenario = load_file(Path::new("boutique.yaml"), &Memory::new(given), &IsotopeLoad::default());
    Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")))
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's CPU time");
    let nanos = stat.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("its first field is nanoseconds"))
}
