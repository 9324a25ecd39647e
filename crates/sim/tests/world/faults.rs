//! Every kind of fault does what it says, and proves it.

use std::time::Duration;

use squall_sim::{EngineKind, FaultReport, Outcome, Recovery, RunError, RunOptions, run};

use crate::small::{Small, ran};

#[track_caller]
fn struck(faults: &'static str, expect: &'static str) -> (Outcome, FaultReport) {
    let outcome = ran(&Small { faults, expect, duration: "3s", ..Small::default() });
    assert!(outcome.passed(), "{:#?}\n{:#?}", outcome.verdict, outcome.story);
    let fault = outcome.faults[0].clone();
    assert!(fault.touched > 0, "{fault:?}");
    (outcome, fault)
}

#[test]
fn latency_makes_links_longer_while_it_lasts() {
    let expect = "from: 1s, to: 2s, that: 'p50 == duration(\"26ms\") && max < duration(\"40ms\")'";
    let (outcome, fault) = struck("{at: 1s, for: 1s, latency: {between: [web, greeting], add: 10ms}}", expect);
    assert_eq!(fault.unit, "packets");
    assert_eq!((fault.began, fault.ended), (Some(at(1)), Some(at(2))));
    assert_eq!(outcome.summary.latency.p50, Duration::from_millis(6), "most requests came before or after");
}

#[test]
fn jitter_spreads_what_was_constant() {
    let expect = "from: 1s, to: 2s, that: 'p99 > p50 + duration(\"3ms\")'";
    struck("{at: 1s, for: 1s, jitter: {between: [web, greeting], add: 10ms}}", expect);
}

#[test]
fn loss_is_retransmitted_and_costs_time() {
    let expect = "from: 1s, to: 2s, that: 'max > duration(\"200ms\") && p50 < duration(\"20ms\")'";
    let (_, fault) = struck("{at: 1s, for: 1s, loss: {between: [load, web], rate: 5%}}", expect);
    assert_eq!(fault.unit, "packets");
}

#[test]
fn bandwidth_makes_packets_queue() {
    let expect = "from: 1s, to: 2s, that: 'p50 > duration(\"10ms\")'";
    struck("{at: 1s, for: 1s, bandwidth: {between: [load, web], limit: 300kbps}}", expect);
}

#[test]
fn a_partition_cuts_both_ways_and_heals() {
    let faults = "{at: 1s, for: 1s, partition: {between: [web, greeting]}}";
    let (outcome, _) = struck(faults, "duringFaults: 'successRate < 0.2'");
    assert!(matches!(outcome.summary.recovery, Recovery::After(span) if span <= Duration::from_secs(1)));
}

#[test]
fn a_one_way_partition_swallows_the_answers() {
    let faults = "{at: 1s, for: 1s, partition: {from: greeting, to: web}}";
    struck(faults, "duringFaults: 'successRate < 0.2'");
}

#[test]
fn a_crash_resets_what_is_open_and_the_pod_comes_back() {
    let (outcome, fault) = struck("{at: 1s, for: 1s, crash: 'greeting[0]'}", "overall: 'successRate > 0.98'");
    assert_eq!(fault.unit, "tasks and connections");
    let history = outcome.history.expect("it was kept");
    let at = |kind: &str, text: &str| {
        let same = history.entries().iter().filter(|entry| &*entry.host == "greeting-0" && entry.kind == kind);
        same.filter(|entry| entry.text.contains(text))
            .map(|entry| entry.at.as_nanos() / 1_000_000_000)
            .collect::<Vec<_>>()
    };
    assert_eq!(at("ready", ""), [0, 2], "once in the warm-up, once when it is back");
    // At the end of the fault it is back before the probe would have seen that it was gone for a second time.
    assert_eq!(at("registered", "not ready"), [2]);
}

#[test]
fn a_silent_crash_is_only_seen_by_those_who_wait() {
    let (outcome, _) =
        struck("{at: 1s, for: 1s, crash: {target: greeting, mode: silent}}", "overall: 'unanswered == 0'");
    assert!(outcome.summary.succeeded < outcome.summary.requests);
}

#[test]
fn a_pause_holds_polls_and_what_waited_goes_on() {
    let (outcome, fault) = struck("{at: 1s, for: 300ms, pause: greeting}", "overall: 'successRate == 1.0'");
    assert_eq!(fault.unit, "polls");
    assert!(outcome.summary.latency.max > Duration::from_millis(290), "{:?}", outcome.summary.latency);
}

#[test]
fn errors_fail_their_share_with_their_status() {
    let faults = "{at: 1s, for: 1s, errors: {target: greeting, rate: 50%, status: 418}}";
    let (outcome, fault) = struck(faults, "duringFaults: 'successRate(\"greeting\") < 0.8'");
    let edge = outcome.summary.edges.iter().find(|edge| edge.to == "greeting").expect("it was called");
    assert_eq!(edge.requests - edge.succeeded, fault.touched);
}

#[test]
fn slow_stretches_the_work_of_one_replica() {
    let (outcome, fault) =
        struck("{at: 1s, for: 1s, slow: {target: 'greeting[1]', by: 10x}}", "overall: 'p50 < duration(\"7ms\")'");
    assert_eq!(fault.touched, 25, "round robin gives every other of 50 requests to it");
    assert_eq!(outcome.summary.latency.p999, Duration::from_millis(4 + 20));
}

#[test]
fn without_the_control_plane_the_last_good_mesh_stays() {
    let (outcome, _) = struck("{at: 500ms, for: 2s, crash: control}", "overall: 'successRate == 1.0'");
    assert!(outcome.story.iter().any(|line| line.text.contains("lose the control plane")), "{:#?}", outcome.story);
}

#[test]
fn a_rolling_restart_loses_no_request() {
    let outcome = ran(&Small {
        duration: "20s",
        web: "{entry: true, replicas: 2, routes: [{match: GET /, steps: [{call: greeting, timeout: 500ms}]}]}",
        load: "{rate: 100/s}",
        faults: "{at: 1s, rollingRestart: {target: greeting, drain: 3s, down: 500ms, gap: 1s}}",
        policy: "",
        ..Small::default()
    });
    assert!(outcome.passed(), "{:#?}\n{:#?}", outcome.verdict, outcome.story);
    assert_eq!((outcome.faults[0].touched, &*outcome.faults[0].unit), (2, "pods"));
    assert_eq!(outcome.summary.succeeded, outcome.summary.requests);
    assert!(outcome.faults[0].ended.is_some());
}

#[test]
fn a_fault_waits_for_its_request() {
    let (outcome, fault) =
        struck("{afterRequest: 20, for: 1s, slow: {target: greeting, by: 2x}}", "overall: 'successRate == 1.0'");
    let began = fault.began.expect("the request came");
    // Request 21 arrives at 400 ms; the 20th was answered before.
    assert!(began.as_nanos() > 380_000_000 && began.as_nanos() < 400_000_000, "{began}");
    assert_eq!(outcome.summary.requests, 150);
}

#[test]
fn a_fault_that_touches_nothing_fails_the_run() {
    let outcome = ran(&Small {
        load: "{rate: 2/s, arrivals: constant}",
        faults: "{at: 100ms, for: 10ms, slow: {target: greeting, by: 2x}}",
        ..Small::default()
    });
    let failure = outcome.verdict.failures().next().expect("it fails");
    assert_eq!((failure.when.as_str(), outcome.faults[0].touched), ("fault", 0));
    assert!(failure.finding().contains("touched nothing"), "{}", failure.finding());
}

#[test]
fn an_unmet_expectation_says_what_was_and_when() {
    let outcome = ran(&Small {
        faults: "{at: 1s, for: 500ms, errors: {target: greeting, rate: 100%}}",
        expect: "from: 1s, to: 2s, that: 'successRate >= 0.9'",
        ..Small::default()
    });
    let failure = outcome.verdict.failures().next().expect("it fails");
    assert_eq!(failure.finding(), "was 0.5 at 2.0 s");
}

#[test]
fn what_an_engine_cannot_do_is_refused_by_name() {
    let small = Small { faults: "{at: 1s, for: 1s, loss: {between: [load, web], rate: 5%}}", ..Small::default() };
    let options = RunOptions { engine: EngineKind::Turmoil, ..RunOptions::default() };
    let error = run(&small.scenario(), 1, options).expect_err("turmoil never retransmits");
    assert!(error.is_bad_input());
    let RunError::Unsupported(unsupported) = &error else { panic!("{error}") };
    assert_eq!((unsupported.engine, unsupported.knob.as_str()), ("turmoil", "loss"));
}

fn at(seconds: u64) -> squall_policy::Instant {
    squall_policy::Instant::from_nanos(seconds * 1_000_000_000)
}
