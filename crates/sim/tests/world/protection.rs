//! What breakers and outlier detection do in a whole world, and what its history says of it.

use std::time::Duration;

use squall_sim::{Field, Outcome};

use crate::small::{Small, ran};

/// What the sidecar of `web` tells of its backends: each turn, whose, and why.
fn turns(outcome: Outcome) -> Vec<(String, String, String)> {
    let history = outcome.history.expect("it was asked for");
    let told = history.entries().iter().filter(|entry| &*entry.host == "web-0" && entry.kind == "backend");
    let text = |fields: &[(&'static str, Field)], name: &str| {
        fields.iter().find_map(|(field, value)| match value {
            Field::Text(text) if *field == name => Some(text.clone()),
            Field::Text(_) | Field::Number(_) => None,
        })
    };
    told.map(|entry| {
        let field = |name| text(&entry.fields, name).unwrap_or_default();
        (field("turn"), field("endpoint"), field("why"))
    })
    .collect()
}

/// Half a second of failures from 1 s on, under this policy.
fn failing(policy: &'static str) -> Small {
    Small {
        duration: "4s",
        faults: "{at: 1s, for: 500ms, errors: {target: 'greeting[1]', rate: 100%}}",
        expect: "overall: 'successRate < 1.0'",
        policy,
        ..Small::default()
    }
}

#[test]
fn each_turn_of_a_breaker_is_in_the_history_with_its_reason() {
    let outcome = ran(&failing(
        "circuitBreaker: {successRate: {below: 80%, window: 1s, minRequests: 10}, open: {min: 1s, max: 1s, jitter: 0%}}",
    ));
    assert!(outcome.passed(), "{:#?}", outcome.verdict);
    let story: Vec<&str> = outcome.story.iter().map(|line| line.text.as_str()).collect();
    let opened = story.iter().find(|line| line.contains("breaker of greeting-1 opened")).expect("it is told");
    assert!(opened.contains("opened for 1.00 s (success rate 7"), "{opened}");
    let turns = turns(outcome);
    let seen: Vec<(&str, &str)> = turns.iter().map(|(turn, endpoint, _)| (&**turn, &**endpoint)).collect();
    let want = ["breaker-opened", "breaker-half-open", "breaker-closed"].map(|turn| (turn, "greeting-1"));
    assert_eq!(seen, want);
    assert!(turns[0].2.starts_with("success rate 7") && turns[1].2.is_empty(), "{turns:?}");
}

#[test]
fn while_the_breaker_of_the_service_is_open_its_callers_are_answered_at_once() {
    let outcome = ran(&failing(
        "serviceCircuitBreaker: {successRate: {below: 80%, window: 1s, minRequests: 10}, \
         open: {min: 1s, max: 1s, jitter: 0%}}",
    ));
    assert!(outcome.summary.latency.p99 < Duration::from_millis(20), "{:?}", outcome.summary.latency.p99);
    let history = outcome.history.as_ref().expect("it was asked for");
    let refused = history.entries().iter().filter(|entry| entry.text.ends_with("itself: breaker-open")).count();
    assert!((45..=51).contains(&refused), "a second of fifty calls: {refused}");
    let turns: Vec<String> = turns(outcome).into_iter().map(|(turn, ..)| turn).collect();
    assert_eq!(turns, ["service-breaker-opened", "service-breaker-half-open", "service-breaker-closed"]);
}

#[test]
fn an_ejection_is_in_the_history_with_its_reason_and_its_end() {
    let outcome = ran(&failing("outlierDetection: {consecutive5xx: 3, interval: 500ms, baseEjection: 700ms}"));
    let turns = turns(outcome);
    let want = [("ejected", "greeting-1", "3 failures in a row"), ("returned", "greeting-1", "")];
    let seen: Vec<_> = turns.iter().map(|(turn, endpoint, why)| (&**turn, &**endpoint, &**why)).collect();
    assert_eq!(seen, want);
}
