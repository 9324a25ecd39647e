//! One scenario, three worlds: simulated by two engines, and real.

use squall_sim::{EngineKind, Field, Model, RunOptions, run};

use crate::small::{Small, ran_in};

/// What became of each call of `greeting`, in order: its status and how many tries it took.
fn calls(small: &Small, engine: EngineKind) -> Vec<(u64, u64)> {
    let outcome = ran_in(engine, small);
    assert!(outcome.passed(), "{engine:?}: {:#?}\n{:#?}", outcome.verdict, outcome.story);
    let history = outcome.history.expect("it was asked for");
    let ended = history.entries().iter().filter(|entry| &*entry.host == "web-0" && entry.kind == "out-ended");
    let number = |fields: &[(&'static str, Field)], name: &str| {
        fields.iter().find_map(|(field, value)| match value {
            Field::Number(number) if *field == name => Some(*number),
            Field::Number(_) | Field::Text(_) => None,
        })
    };
    ended
        .map(|entry| {
            let field = |name| number(&entry.fields, name).expect("every end has it");
            (field("status"), field("attempts"))
        })
        .collect()
}

#[test]
fn a_crash_between_two_requests_gives_the_same_answers_in_every_world() {
    // Nothing in it depends on a clock: one client, round robin, a breaker that counts, a crash that stays.
    let small = Small {
        duration: "8s",
        web: "{entry: true, routes: [{match: GET /, steps: [{call: greeting}]}]}",
        greeting: "{replicas: 3}",
        load: "{clients: 1, requests: 60, timeout: 20s}",
        faults: "{afterRequest: 20, crash: 'greeting[1]'}",
        policy: "retries: {attempts: 1, on: [connect-failure, reset], backoff: {base: 1ms, max: 1ms, jitter: none}}\n  \
                 circuitBreaker: {consecutiveFailures: 3, open: {min: 60s, max: 60s}}",
        expect: "overall: 'successRate == 1.0 && requests == 60'",
        ..Small::default()
    };
    let event = calls(&small, EngineKind::Event);
    assert_eq!(event.len(), 60);
    assert_eq!(
        event.iter().filter(|(_, attempts)| *attempts == 2).count(),
        3,
        "the breaker opens at the third: {event:?}"
    );
    assert!(event[..20].iter().all(|call| *call == (200, 1)), "the crash comes after the 20th answer: {event:?}");
    assert_eq!(calls(&small, EngineKind::Turmoil), event);
    assert_eq!(calls(&small, EngineKind::Real), event);
}

#[test]
fn under_open_load_the_verdicts_are_equal() {
    for (faults, expect) in [
        ("{at: 1s, for: 1s, crash: 'greeting[1]'}", "overall: 'successRate == 1.0'"),
        ("{at: 1s, for: 1s, errors: {target: greeting, rate: 100%}}", "overall: 'successRate >= 0.9'"),
        ("{at: 1s, for: 1s, slow: {target: greeting, add: 2s}}", "overall: 'successRate == 1.0'"),
    ] {
        let small = Small { duration: "3s", faults, expect, ..Small::default() };
        let (simulated, real) = (ran_in(EngineKind::Event, &small), ran_in(EngineKind::Real, &small));
        assert_eq!(simulated.passed(), real.passed(), "{faults}: {:#?}\n{:#?}", simulated.verdict, real.verdict);
        assert!(simulated.faults.iter().chain(&real.faults).all(|fault| fault.touched > 0));
    }
}

#[test]
fn a_gateway_in_the_mesh_of_a_scenario_is_refused_by_its_place() {
    let small = Small {
        policy: "retries: {attempts: 1, on: [reset]}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n\
                 metadata: {name: edge, namespace: test}\nspec:\n  gatewayClassName: squall\n  \
                 listeners: [{name: http, port: 80, protocol: HTTP}]",
        ..Small::default()
    };
    for model in [Model::Full, Model::Fast] {
        let refused = run(&small.scenario(), 1, RunOptions { model, ..RunOptions::default() });
        let why = refused.expect_err("nobody comes from outside there").to_string();
        assert!(why.contains("Gateway `test/edge` has no effect in a scenario") && why.contains("mesh.yaml:"), "{why}");
    }
}
