//! Whole worlds: real sidecars, a real control plane and real TLS, in virtual time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use squall_sim::scenario::{Disk, IsotopeLoad, load_file};
use squall_sim::{EngineKind, Outcome, RunOptions, Scenario, Verification, run, verify};

#[path = "world/faults.rs"]
mod faults;
#[path = "world/ports.rs"]
mod ports;
#[path = "world/protection.rs"]
mod protection;
#[path = "world/small.rs"]
mod small;
#[path = "world/worlds.rs"]
mod worlds;

use small::{Small, ran};

fn shipped(path: &str) -> Arc<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(path);
    Arc::new(load_file(&path, &Disk, &IsotopeLoad::default()).unwrap_or_else(|refusal| panic!("{refusal}")))
}

#[track_caller]
fn outcome(scenario: &Arc<Scenario>, seed: u64, keep_history: bool) -> Outcome {
    let options = RunOptions { keep_history, ..RunOptions::default() };
    run(scenario, seed, options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_request_through_two_sidecars_takes_its_links_and_its_work_to_the_nanosecond() {
    let outcome = ran(&Small::default());
    assert!(outcome.passed(), "{:#?}", outcome.verdict);
    let summary = &outcome.summary;
    assert_eq!((summary.requests, summary.succeeded, summary.unanswered), (100, 100, 0));
    // Two links of 1 ms there and back, 2 ms of work; a first try also connects (1 round trip) and shows certificates (1 more).
    assert_eq!(summary.latency.p50, Duration::from_millis(6));
    assert_eq!(summary.latency.max, Duration::from_millis(6 + 4 + 4));
    let edge = |from, to| summary.edges.iter().find(|edge| edge.from == from && edge.to == to).expect("it was used");
    for edge in [edge("load", "web"), edge("web", "greeting")] {
        assert_eq!((edge.requests, edge.attempts, edge.succeeded), (100, 100, 100));
    }
}

#[test]
fn a_requests_story_is_told_over_all_hosts() {
    let scenario = shipped("hello/hello.yaml");
    let history = outcome(&scenario, 1, true).history.expect("it was asked for");
    let story = history.story(3).expect("there were more than three").join("\n");
    assert!(story.starts_with("3  GET / to web"), "{story}");
    for said in [
        "inbound GET / from spiffe://cluster.local/ns/hello/sa/load",
        "calls greeting: GET /",
        "route hello/greeting",
        "application works 2.00 ms",
        "call of greeting gave 200",
    ] {
        assert!(story.contains(said), "{said} is missing in\n{story}");
    }
    assert_eq!(history.story(100_000), None);
}

#[test]
fn one_seed_is_one_history_and_another_seed_is_another() {
    let scenario = shipped("hello/hello.yaml");
    let first = outcome(&scenario, 1, false);
    let again = outcome(&scenario, 1, true);
    assert_eq!((first.digest, first.records), (again.digest, again.records), "keeping the history changes nothing");
    assert_eq!(first.checkpoints, again.checkpoints);
    assert_ne!(first.digest, outcome(&scenario, 2, false).digest);
    assert_eq!(verify(&scenario, 1, EngineKind::Event, &first), Verification::Same);
}

#[test]
fn worlds_in_parallel_threads_are_the_worlds_of_one_thread() {
    let scenario = shipped("hello/crash.yaml");
    let alone: Vec<u64> = [1, 2].map(|seed| outcome(&scenario, seed, false).digest).to_vec();
    #[expect(clippy::disallowed_methods, reason = "threads are what is tested")]
    let together: Vec<u64> = std::thread::scope(|scope| {
        let runs = [1, 2].map(|seed| {
            let scenario = &scenario;
            scope.spawn(move || outcome(scenario, seed, false).digest)
        });
        runs.into_iter().map(|run| run.join().expect("no panic")).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn two_histories_are_told_apart_at_their_first_different_record() {
    let scenario = shipped("hello/hello.yaml");
    // What a leak does: the first run was another.
    let mut first = outcome(&scenario, 1, false);
    first.digest ^= 1;
    let said = verify(&scenario, 1, EngineKind::Event, &first);
    assert!(matches!(said, Verification::Diverged { .. }), "{said:?}");
}

#[test]
fn json_lines_carry_units_and_a_request_number() {
    let scenario = shipped("hello/hello.yaml");
    let history = outcome(&scenario, 1, true).history.expect("it was asked for");
    let mut text = Vec::new();
    history.write_json_lines(&mut text).expect("memory takes all");
    let text = String::from_utf8(text).expect("JSON is text");
    let begins = text.lines().find(|line| line.contains(r#""kind":"begins""#)).expect("applications worked");
    let begins: serde_json::Value = serde_json::from_str(begins).expect("each line is JSON");
    assert_eq!(begins["request"], 1);
    assert!(begins["time_ns"].is_u64() && begins["at_ns"].is_i64(), "{begins}");
    assert_eq!(text.lines().count(), history.entries().len());
}

#[test]
fn expectations_finer_than_an_engines_time_are_refused_by_name() {
    let options = RunOptions { engine: EngineKind::Turmoil, ..RunOptions::default() };
    let error = run(&shipped("isotope/chain.yaml"), 1, options).expect_err("turmoil's time is too coarse");
    assert!(error.is_bad_input());
    assert_eq!(
        error.to_string(),
        "the turmoil engine cannot do resolution 1ms: its time moves in milliseconds, which every hop of a request rounds \
         up to; it honours 100ms and more"
    );
}

#[test]
fn a_service_without_tls_is_as_plain_as_its_policy_says() {
    let plain = ran(&Small { policy: "tls: {mode: None}", greeting: "{time: 2ms}", ..Small::default() });
    assert!(plain.passed(), "{:#?}\n{:#?}", plain.verdict, plain.story);
    let story = plain.history.expect("it was kept").story(1).expect("it was asked").join("\n");
    assert!(story.contains("inbound GET / from nobody proven"), "{story}");
    assert!(story.contains("inbound GET / from spiffe://cluster.local/ns/test/sa/load"), "{story}");
    assert!(story.contains("try 1 connected in 2.00 ms"), "without a handshake it is one round trip: {story}");
}
