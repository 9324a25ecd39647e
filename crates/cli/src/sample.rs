//! Runs as if they had happened, for tests of what is said about them.

use std::time::Duration;

use squall_policy::Instant;
use squall_sim::{
    Case, CheckResult, EngineKind, FaultReport, Latency, Outcome, Pulse, Recovery, StoryLine, Summary, Verdict,
    Verification,
};

pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

/// A run of `slow-replica` that passed on this seed.
pub(crate) fn passed(seed: u64) -> Case {
    let ms = Duration::from_millis;
    let summary = Summary {
        requests: 18_000,
        succeeded: 17_999,
        latency: Latency {
            mean: ms(20),
            p50: ms(18),
            p90: ms(30),
            p95: ms(35),
            p99: ms(41),
            p999: ms(60),
            max: ms(80),
        },
        amplification: 1.0,
        goodput_per_s: 299.98,
        recovery: Recovery::After(ms(2100)),
        ..Summary::default()
    };
    let outcome = Outcome {
        scenario: "slow-replica".into(),
        seed,
        engine: EngineKind::Event,
        model: squall_sim::Model::Full,
        verdict: Verdict { checks: vec![check("overall", "amplification <= 1.2", true, &[])] },
        answers: Vec::new(),
        summary,
        pulse: Pulse::default(),
        faults: vec![FaultReport {
            what: "catalog[0] slow ×20".into(),
            began: Some(at(15_000)),
            ended: Some(at(45_000)),
            touched: 412,
            unit: "requests".into(),
        }],
        story: Vec::new(),
        digest: 0x1234_5678_9abc_def0,
        checkpoints: Vec::new(),
        records: 480_000,
        start: Instant::ZERO,
        hosts: Vec::new(),
        simulated: Duration::from_secs(61),
        requests: Vec::new(),
        history: None,
    };
    Case { scenario: outcome.scenario.clone(), seed, result: Ok(outcome), verification: None }
}

/// The same, failed.
pub(crate) fn failed(seed: u64) -> Case {
    let mut case = passed(seed);
    let Ok(outcome) = &mut case.result else { return case };
    outcome.verdict.checks.push(CheckResult {
        at: Some(at(55_000)),
        ..check("afterFaults 10s", "successRate >= 0.999", false, &[("successRate", "0.412")])
    });
    outcome.verdict.checks.push(CheckResult {
        at: Some(at(16_400)),
        ..check("always", "inFlight(\"catalog\") <= 600", false, &[("inFlight(\"catalog\")", "601")])
    });
    outcome.summary.succeeded = 16_416;
    outcome.summary.latency.p99 = Duration::from_secs(1);
    outcome.summary.amplification = 2.713;
    outcome.summary.recovery = Recovery::Never;
    outcome.story = vec![
        StoryLine { at: at(7_250), text: "catalog[0] first retry".into() },
        StoryLine { at: at(16_400), text: "catalog[1] queue full".into() },
    ];
    case
}

/// The same seed, two histories.
pub(crate) fn diverged(seed: u64) -> Case {
    let mut case = passed(seed);
    case.verification =
        Some(Verification::Diverged { record: 42, first: Some("1.000 front-0 pick a".into()), second: None });
    case
}

fn check(when: &str, that: &str, passed: bool, was: &[(&str, &str)]) -> CheckResult {
    let was = was.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
    CheckResult { when: when.into(), that: that.into(), passed, was, at: None }
}
