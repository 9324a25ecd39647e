//! A small mesh, `load` → `web` → `greeting`, to try one thing on.

use std::path::Path;
use std::sync::Arc;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};
use squall_sim::{EngineKind, Outcome, RunOptions, Scenario, run};

/// The mesh with one change or several.
pub(crate) struct Small {
    pub(crate) duration: &'static str,
    pub(crate) network: &'static str,
    pub(crate) web: &'static str,
    pub(crate) greeting: &'static str,
    pub(crate) load: &'static str,
    pub(crate) faults: &'static str,
    pub(crate) expect: &'static str,
    /// Of `greeting`.
    pub(crate) policy: &'static str,
}

impl Default for Small {
    fn default() -> Self {
        Self {
            duration: "2s",
            network: "{zones: [a, b]}",
            web: "{entry: true, routes: [{match: GET /, steps: [{call: greeting, timeout: 500ms}]}]}",
            greeting: "{replicas: 2, time: 2ms}",
            load: "{rate: 50/s, arrivals: constant, timeout: 2s}",
            faults: "",
            expect: "overall: 'successRate == 1.0'",
            policy: "retries: {attempts: 2, on: [connect-failure, reset], backoff: {base: 5ms, max: 50ms, jitter: full}}",
        }
    }
}

impl Small {
    pub(crate) fn scenario(&self) -> Arc<Scenario> {
        let service = |name: &str| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: test}}\nspec: \
                 {{selector: {{app: {name}}}, ports: [{{name: http, port: 80}}]}}\n"
            )
        };
        let policy = |name: &str, fields: &str| {
            format!(
                "---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: test}}\n\
                 spec:\n  targetRefs: [{{group: \"\", kind: Service, name: {name}}}]\n  \
                 loadBalancing: {{algorithm: RoundRobin}}\n  {fields}\n"
            )
        };
        let mesh = [service("web"), service("greeting"), policy("web", ""), policy("greeting", self.policy)].concat();
        let Self { duration, network, web, greeting, load, faults, expect, .. } = self;
        let faults = if faults.is_empty() { String::new() } else { format!("  faults: [{faults}]\n") };
        let text = format!(
            "# Is it so?\napiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: small}}\nspec:\n  \
             mesh: [mesh.yaml]\n  duration: {duration}\n  network: {network}\n  services:\n    web: {web}\n    \
             greeting: {greeting}\n  load: [{load}]\n{faults}  expect: [{{{expect}}}]\n"
        );
        let files = Memory::new([("mesh.yaml", mesh.as_str()), ("small.yaml", text.as_str())]);
        let scenario = load_file(Path::new("small.yaml"), &files, &IsotopeLoad::default());
        Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")))
    }
}

/// What the mesh gives on the event engine with seed 1, with its history.
#[track_caller]
pub(crate) fn ran(small: &Small) -> Outcome {
    ran_in(EngineKind::Event, small)
}

/// What it gives in this world with seed 1, with its history.
#[track_caller]
pub(crate) fn ran_in(engine: EngineKind, small: &Small) -> Outcome {
    ran_with(RunOptions { engine, keep_history: true, ..RunOptions::default() }, small)
}

#[track_caller]
pub(crate) fn ran_with(options: RunOptions, small: &Small) -> Outcome {
    run(&small.scenario(), 1, options).unwrap_or_else(|error| panic!("{error}"))
}
