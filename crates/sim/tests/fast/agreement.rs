//! The shipped scenarios get the same verdict in the fast model as in the full world.

use std::path::Path;
use std::sync::Arc;

use squall_sim::scenario::{Arrivals, Disk, Rate, Suite, load_dir};
use squall_sim::{Model, Outcome, RunError, RunOptions, Scenario, run};

/// What the fast model refuses, and why: everything else it runs.
const REFUSED: &[(&str, &str)] = &[
    ("boutique-rolling-restart", "connections drain by HTTP's rules"),
    ("health-check", "they take connections of their own"),
    ("health-check-grpc", "they take connections of their own"),
    ("authorization", "nobody has an identity"),
    ("tcp-connections", "there are no connections"),
];

/// What takes minutes in the full world is asked by a fifth of the load there: with less, a single page decides.
const LARGE: &[&str] = &["boutique", "hotel"];

fn shipped() -> Vec<Scenario> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let all = load_dir(&root, &Disk).unwrap_or_else(|refusal| panic!("{refusal}"));
    all.into_iter().filter(|scenario| scenario.suite == Suite::Test).collect()
}

fn ran(scenario: &Arc<Scenario>, model: Model) -> Result<Outcome, RunError> {
    run(scenario, 1, RunOptions { model, ..RunOptions::default() })
}

/// Each check, and whether it held.
fn verdict(outcome: &Outcome) -> Vec<(String, bool)> {
    let checks = outcome.verdict.checks.iter();
    checks.map(|check| (format!("{}: {}", check.when, check.that), check.passed)).collect()
}

#[test]
fn every_shipped_scenario_passes_or_is_refused_for_a_reason() {
    for scenario in shipped() {
        let name = scenario.name.value.clone();
        let refused = REFUSED.iter().find(|(refused, _)| *refused == name);
        match (ran(&Arc::new(scenario), Model::Fast), refused) {
            // All of them pass in the full world: `squall test scenarios/`.
            (Ok(outcome), None) => assert!(outcome.passed(), "{name}: {:#?}", outcome.verdict),
            (Err(error @ RunError::Unsupported(_)), Some((_, why))) => {
                assert!(error.to_string().contains(why), "{name}: {error}");
            }
            (result, _) => panic!("{name}: {:?}", result.map(|outcome| outcome.verdict)),
        }
    }
}

#[test]
fn the_verdicts_agree_check_by_check() {
    for mut scenario in shipped() {
        let name = scenario.name.value.clone();
        if REFUSED.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        if LARGE.iter().any(|large| name.starts_with(large)) {
            thin(&mut scenario);
        }
        let scenario = Arc::new(scenario);
        let [fast, full] = [Model::Fast, Model::Full]
            .map(|model| ran(&scenario, model).unwrap_or_else(|error| panic!("{name}: {error}")));
        assert_eq!(verdict(&fast), verdict(&full), "{name}");
        let (fast, full) = (fast.summary, full.summary);
        assert!(
            fast.requests.abs_diff(full.requests) * 50 <= full.requests,
            "{name}: {} requests, in the full world {}",
            fast.requests,
            full.requests
        );
        let (a, b) = (fast.success_rate(), full.success_rate());
        // Where many fail, two runs differ by chance alone: 99 % of all differences of two such shares.
        let chance = 2.58 * (2.0 * b * (1.0 - b) / full.requests as f64).sqrt();
        assert!((a - b).abs() <= chance.max(0.01), "{name}: {a} succeeded, in the full world {b}");
        let (a, b) = (fast.latency.p50.as_secs_f64(), full.latency.p50.as_secs_f64());
        assert!(a == b || (a / b - 1.0).abs() <= 0.05, "{name}: p50 {a} s, in the full world {b} s");
        let (a, b) = (fast.amplification, full.amplification);
        assert!((a / b - 1.0).abs() <= 0.02, "{name}: amplification {a}, in the full world {b}");
    }
}

/// A fifth of the load.
fn thin(scenario: &mut Scenario) {
    for load in &mut scenario.load {
        match &mut load.arrivals {
            Arrivals::Open { phases, .. } => {
                for phase in phases {
                    (phase.first, phase.last) = (Rate(phase.first.0 / 5), Rate(phase.last.0 / 5));
                }
            }
            Arrivals::Closed { clients, .. } => *clients /= 5,
            Arrivals::Trace(_) => panic!("no shipped scenario has one"),
        }
    }
}
