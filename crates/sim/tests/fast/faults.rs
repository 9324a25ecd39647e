//! Faults do in the fast model what they do in the full world, and prove it.

use std::time::Duration;

use squall_sim::{Model, Outcome, RunError, RunOptions, Verification, run, verify};

use crate::mesh::{self, Small, ran_with};

#[track_caller]
fn ran(model: Model, small: &Small) -> Outcome {
    match model {
        Model::Full => mesh::ran(small),
        Model::Fast => ran_with(RunOptions { model, keep_history: true, ..RunOptions::default() }, small),
    }
}

/// Runs in both models; each fault must touch something in both, and each expectation hold in both.
#[track_caller]
fn struck(faults: &'static str, expect: &'static str) -> (Outcome, Outcome) {
    let small = Small { faults, expect, duration: "3s", ..Small::default() };
    let (fast, full) = (ran(Model::Fast, &small), ran(Model::Full, &small));
    for outcome in [&fast, &full] {
        assert!(outcome.passed(), "{} {:#?}\n{:#?}", outcome.model.name(), outcome.verdict, outcome.story);
        assert!(outcome.faults[0].touched > 0, "{:?}", outcome.faults[0]);
    }
    let course = |outcome: &Outcome| (outcome.faults[0].began, outcome.faults[0].ended, outcome.faults[0].unit.clone());
    assert_eq!(course(&fast), course(&full));
    assert_eq!(fast.summary.requests, full.summary.requests);
    (fast, full)
}

/// Successes within so many requests of each other.
#[track_caller]
fn near(fast: &Outcome, full: &Outcome, requests: u64) {
    let (a, b) = (fast.summary.succeeded, full.summary.succeeded);
    assert!(a.abs_diff(b) <= requests, "{a} succeeded, in the full world {b}");
}

#[test]
fn without_faults_each_request_takes_as_long_as_in_the_full_world() {
    let small = Small::default();
    let (fast, full) = (ran(Model::Fast, &small), ran(Model::Full, &small));
    assert_eq!(fast.summary, full.summary);
}

#[test]
fn latency_and_jitter_are_those_of_the_links() {
    let expect = "from: 1s, to: 2s, that: 'p50 == duration(\"26ms\") && max < duration(\"40ms\")'";
    let (fast, full) = struck("{at: 1s, for: 1s, latency: {between: [web, greeting], add: 10ms}}", expect);
    assert_eq!(fast.summary.latency.p50, full.summary.latency.p50);
    let expect = "from: 1s, to: 2s, that: 'p99 > p50 + duration(\"3ms\")'";
    struck("{at: 1s, for: 1s, jitter: {between: [web, greeting], add: 10ms}}", expect);
}

#[test]
fn partitions_cut_one_way_or_both() {
    let faults = "{at: 1s, for: 1s, partition: {between: [web, greeting]}}";
    let (fast, full) = struck(faults, "duringFaults: 'successRate < 0.2'");
    near(&fast, &full, 5);
    let faults = "{at: 1s, for: 1s, partition: {from: greeting, to: web}}";
    let (fast, full) = struck(faults, "duringFaults: 'successRate < 0.2'");
    near(&fast, &full, 5);
}

#[test]
fn a_process_that_died_refuses_and_a_machine_that_died_is_silent() {
    let (fast, full) = struck("{at: 1s, for: 1s, crash: 'greeting[0]'}", "overall: 'successRate > 0.98'");
    near(&fast, &full, 1);
    let retries =
        |outcome: &Outcome| outcome.summary.edges.iter().map(|edge| edge.attempts - edge.requests).sum::<u64>();
    assert!(
        retries(&fast) > 0 && retries(&fast).abs_diff(retries(&full)) <= 3,
        "{} {}",
        retries(&fast),
        retries(&full)
    );
    let faults = "{at: 1s, for: 1s, crash: {target: greeting, mode: silent}}";
    let (fast, full) = struck(faults, "overall: 'unanswered == 0'");
    assert!(fast.summary.succeeded < fast.summary.requests);
    near(&fast, &full, 5);
    let registered = |outcome: &Outcome| {
        let history = outcome.history.as_ref().expect("it was kept");
        let entries = history.entries().iter().filter(|entry| entry.kind == "registered" && entry.at.as_nanos() > 0);
        entries.map(|entry| (entry.host.to_string(), entry.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(registered(&fast), registered(&full));
}

#[test]
fn a_pause_holds_up_what_comes_and_it_goes_on_afterwards() {
    let (fast, _) = struck("{at: 1s, for: 300ms, pause: greeting}", "overall: 'successRate == 1.0'");
    assert!(fast.summary.latency.max > Duration::from_millis(290), "{:?}", fast.summary.latency);
}

#[test]
fn errors_and_slowness_touch_the_same_requests() {
    let faults = "{at: 1s, for: 1s, errors: {target: greeting, rate: 50%, status: 418}}";
    let (fast, full) = struck(faults, "duringFaults: 'successRate(\"greeting\") < 0.8'");
    assert_eq!(fast.faults[0].touched, full.faults[0].touched, "the dice are the same");
    assert_eq!(fast.summary.edges, full.summary.edges);
    let (fast, full) =
        struck("{at: 1s, for: 1s, slow: {target: 'greeting[1]', by: 10x}}", "overall: 'p50 < duration(\"7ms\")'");
    assert_eq!(fast.faults[0].touched, full.faults[0].touched);
    assert_eq!(fast.summary.latency.p999, Duration::from_millis(4 + 20));
    let faults = "{afterRequest: 20, for: 1s, slow: {target: greeting, by: 2x}}";
    let (fast, full) = struck(faults, "overall: 'successRate == 1.0'");
    assert_eq!(fast.faults, full.faults);
}

#[test]
fn without_the_control_plane_the_last_good_mesh_stays() {
    let (fast, _) = struck("{at: 500ms, for: 2s, crash: control}", "overall: 'successRate == 1.0'");
    assert!(fast.story.iter().any(|line| line.text.contains("lose the control plane")), "{:#?}", fast.story);
}

#[test]
fn a_pod_that_dies_without_a_control_plane_is_not_missed_until_that_is_back() {
    let small = |mode: &'static str| Small {
        faults: mode,
        duration: "8s",
        policy: "",
        expect: "from: 0s, to: 1s, that: 'successRate == 1.0'",
        ..Small::default()
    };
    // Without retries every other request fails until the registry's news arrives.
    let with = ran(Model::Fast, &small("{at: 1s, for: 6s, crash: 'greeting[0]'}"));
    let without = ran(
        Model::Fast,
        &small("{at: 1s, for: 6s, crash: 'greeting[0]'}, {at: 500ms, for: 4s, controlDown: {mode: reset}}"),
    );
    assert!(with.passed() && without.passed());
    let failed = |outcome: &Outcome| outcome.summary.requests - outcome.summary.succeeded;
    assert!((20..=28).contains(&failed(&with)), "one second of every other request: {}", failed(&with));
    assert!((80..=210).contains(&failed(&without)), "up to some seconds more: {}", failed(&without));
}

#[test]
fn an_outage_lets_in_at_its_end_refuses_or_loses() {
    for (arrivals, good) in [("held", 150), ("refused", 100), ("lost", 100)] {
        let faults: &'static str =
            Box::leak(format!("{{at: 1s, for: 1s, outage: {{target: greeting, arrivals: {arrivals}}}}}").into());
        let small = Small {
            faults,
            duration: "3s",
            web: "{entry: true, routes: [{match: GET /, steps: [{call: greeting, timeout: 1500ms}]}]}",
            expect: "from: 0s, to: 1s, that: 'successRate == 1.0'",
            policy: "",
            ..Small::default()
        };
        let (fast, full) = (ran(Model::Fast, &small), ran(Model::Full, &small));
        assert!(fast.passed(), "{:#?}", fast.verdict);
        assert_eq!(fast.summary.succeeded, full.summary.succeeded, "{arrivals}");
        assert!(fast.summary.succeeded.abs_diff(good) <= 1, "{arrivals}: {}", fast.summary.succeeded);
        assert_eq!(fast.faults[0].touched, full.faults[0].touched, "{arrivals}");
    }
}

#[test]
fn a_fault_that_touches_nothing_fails_the_run() {
    for faults in [
        "{at: 100ms, for: 10ms, slow: {target: greeting, by: 2x}}",
        "{at: 100ms, for: 10ms, errors: {target: greeting, rate: 100%}}",
        "{at: 100ms, for: 10ms, latency: {between: [web, greeting], add: 10ms}}",
        "{at: 100ms, for: 10ms, partition: {between: [load, greeting]}}",
        "{at: 100ms, for: 10ms, pause: greeting}",
        "{at: 100ms, for: 10ms, outage: {target: greeting, arrivals: held}}",
        "{afterRequest: 1000, for: 1s, slow: {target: greeting, by: 2x}}",
    ] {
        let outcome = ran(Model::Fast, &Small { load: "{rate: 2/s, arrivals: constant}", faults, ..Small::default() });
        let failure = outcome.verdict.failures().next().unwrap_or_else(|| panic!("{faults} passed"));
        assert_eq!((failure.when.as_str(), outcome.faults[0].touched), ("fault", 0), "{faults}");
    }
}

#[test]
fn what_needs_bytes_is_refused_by_name_and_place() {
    let refused = |small: &Small| {
        let options = RunOptions { model: Model::Fast, ..RunOptions::default() };
        let error = run(&small.scenario(), 1, options).expect_err("it is refused");
        assert!(error.is_bad_input() && matches!(error, RunError::Unsupported(_)), "{error}");
        error.to_string()
    };
    for (small, name) in [
        (Small { faults: "{at: 1s, for: 1s, loss: {between: [load, web], rate: 5%}}", ..Small::default() }, "loss"),
        (
            Small { faults: "{at: 1s, for: 1s, bandwidth: {between: [load, web], limit: 1Mbps}}", ..Small::default() },
            "bandwidth",
        ),
        (
            Small { faults: "{at: 1s, rollingRestart: {target: greeting}}", duration: "30s", ..Small::default() },
            "rolling restart",
        ),
        (Small { network: "{zones: [a, b], links: [{bandwidth: 10Mbps}]}", ..Small::default() }, "bandwidth"),
        (Small { network: "{zones: [a, b], links: [{loss: 1%}]}", ..Small::default() }, "loss"),
        (Small { greeting: "{replicas: 2, cpuPerPoll: 10us}", ..Small::default() }, "cpuPerPoll"),
        (Small { greeting: "{replicas: 2, responseSize: 1MiB}", ..Small::default() }, "responseSize"),
    ] {
        let said = refused(&small);
        assert!(said.starts_with("the fast model cannot do") && said.contains(name), "{name}: {said}");
    }
    let said =
        refused(&Small { faults: "{at: 1s, for: 1s, loss: {between: [load, web], rate: 5%}}", ..Small::default() });
    assert!(said.contains("small.yaml:"), "{said}");
}

#[test]
fn one_seed_is_one_history_kept_or_not() {
    let small = Small {
        load: "{rate: 200/s}",
        network: "{zones: [a, b], links: [{latency: {p50: 1ms, p99: 4ms}}]}",
        faults: "{at: 500ms, for: 500ms, crash: 'greeting[0]'}",
        ..Small::default()
    };
    let scenario = small.scenario();
    let outcome = |seed, keep_history| {
        let options = RunOptions { model: Model::Fast, keep_history, ..RunOptions::default() };
        run(&scenario, seed, options).unwrap_or_else(|error| panic!("{error}"))
    };
    let (first, second) = (outcome(1, false), outcome(1, true));
    assert_eq!((first.digest, first.records), (second.digest, second.records));
    assert_eq!(first.checkpoints, second.checkpoints);
    assert_ne!(first.digest, outcome(2, false).digest);
    assert_eq!(verify(&scenario, 1, first.engine, &first), Verification::Same);
    let said = verify(&scenario, 2, first.engine, &first);
    assert!(matches!(said, Verification::Diverged { record, .. } if record >= 1), "{said:?}");
}

#[test]
fn a_story_has_the_same_kinds_of_lines_as_in_the_full_world() {
    let faults = "{at: 500ms, for: 500ms, errors: {target: greeting, rate: 50%, status: 503}}";
    let policy = "retries: {attempts: 2, on: ['503'], backoff: {base: 5ms, max: 50ms, jitter: none}}";
    let small = Small { faults, policy, ..Small::default() };
    let (fast, full) = (ran(Model::Fast, &small), ran(Model::Full, &small));
    let kinds = |outcome: &Outcome, request: u64| {
        let history = outcome.history.as_ref().expect("it was kept");
        let mine = history.entries().iter().filter(|entry| entry.request == Some(request));
        // A pod's sidecar has no connection to its own application here.
        let mine = mine.filter(|entry| entry.kind != "connected");
        mine.map(|entry| (entry.host.to_string(), entry.kind)).collect::<Vec<_>>()
    };
    let retried = (1..100).filter(|request| kinds(&full, *request).iter().any(|(_, kind)| *kind == "retry")).count();
    assert!(retried > 5, "{retried}");
    for request in 3..100 {
        // The first requests connect, which takes its time in a different order.
        let (mut fast, mut full) = (kinds(&fast, request), kinds(&full, request));
        fast.sort();
        full.sort();
        assert_eq!(fast, full, "request {request}");
    }
}
