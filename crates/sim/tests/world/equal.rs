//! The simulator and real sockets run the same scenario to the same end: same proxy, same control plane, same file.

use squall_sim::{EngineKind, Field, Outcome};

use crate::small::{Small, ran_in};

/// What one side of a sidecar saw of one request: its host, `out-ended` or `in-ended`, the status it answered, and the
/// tries it took.
type Passage = (String, &'static str, u64, u64);

/// For each request of the load, every sidecar that it passed, sorted: which of two hosts ends first is up to the world.
fn passages(outcome: &Outcome) -> Vec<Vec<Passage>> {
    let mut all = vec![Vec::new(); usize::try_from(outcome.summary.requests).expect("a few")];
    for entry in outcome.history.as_ref().expect("it was asked for").entries() {
        let (Some(request), "out-ended" | "in-ended") = (entry.request, entry.kind) else { continue };
        let number = |wanted: &str| {
            let field = entry.fields.iter().find(|(name, _)| *name == wanted);
            match field.expect("an ended request has it") {
                (_, Field::Number(number)) => *number,
                (_, Field::Text(text)) => panic!("{wanted} is {text}, not a number"),
            }
        };
        let request = usize::try_from(request).expect("a few") - 1;
        all[request].push((entry.host.to_string(), entry.kind, number("status"), number("attempts")));
    }
    all.iter_mut().for_each(|passages| passages.sort());
    all
}

#[test]
fn a_closed_client_sees_the_same_statuses_and_tries_in_both_worlds() {
    let small = Small {
        duration: "4s",
        greeting: "{replicas: 3, time: 1ms}",
        load: "{clients: 1, requests: 32, timeout: 2s}",
        // The pod is gone before the next request is sent, and comes back after the last.
        faults: "{afterRequest: 20, for: 2s, crash: 'greeting[1]'}",
        ..Small::default()
    };
    let (simulated, real) = (ran_in(EngineKind::Event, &small), ran_in(EngineKind::Real, &small));
    let (one, other) = (passages(&simulated), passages(&real));
    assert_eq!(one, other);

    let (before, after) = one.split_at(20);
    let tries = |requests: &[Vec<Passage>]| -> u64 { requests.iter().flatten().map(|passage| passage.3).sum() };
    // Four sidecars see a request. Of three turns one is the dead pod's, and its retry takes the next: every other request
    // needs one more try.
    assert_eq!((before.len(), tries(before)), (20, 80));
    assert_eq!((after.len(), tries(after)), (12, 48 + 6));
    assert!(one.iter().flatten().all(|(_, _, status, _)| *status == 200));
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
