//! Whole worlds: real sidecars, a real control plane, real TLS, in virtual time.

use std::path::Path;
use std::sync::Arc;

use squall_sim::scenario::{Disk, IsotopeLoad, load_file};
use squall_sim::{EngineKind, Outcome, RunOptions, Scenario, run};

fn shipped(path: &str) -> Arc<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(path);
    Arc::new(load_file(&path, &Disk, &IsotopeLoad::default()).unwrap_or_else(|refusal| panic!("{refusal}")))
}

#[track_caller]
fn outcome(scenario: &Arc<Scenario>, seed: u64, keep_history: bool) -> Outcome {
    let options = RunOptions { engine: EngineKind::Event, keep_history };
    run(scenario, seed, options).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn hello_world_is_answered_through_two_sidecars() {
    let scenario = shipped("hello/hello.yaml");
    let outcome = outcome(&scenario, 1, true);
    println!("{:#?}", outcome.verdict);
    println!("{:#?}", outcome.summary);
    println!("{:#?}", outcome.story);
    for line in outcome.history.expect("kept").story(3).unwrap_or_default() {
        println!("{line}");
    }
    assert!(outcome.verdict.passed());
}
