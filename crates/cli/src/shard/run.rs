//! A run as a line of a part: what its results, and what is said of it, are made from.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use squall_policy::Instant;
use squall_sim::{
    Case, CheckResult, FaultReport, Latency, Outcome, Pulse, Recovery, RunError, StoryLine, Summary, ToBlame, Verdict,
    Verification,
};

use crate::explain;
use crate::results::MadeBy;
use crate::told::Told;

/// Spans and instants are in nanoseconds, instants from the scenario's time 0. Numbers with fractions are texts, which read back as
/// the same number.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    number: usize,
    scenario: String,
    seed: u64,
    ended: Ended,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verification: Option<Verified>,
    told: Told,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    /// It came to no verdict.
    Broken {
        said: String,
        blame: Blame,
    },
    Done(Box<Done>),
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Blame {
    Input,
    Machine,
    Run,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verified {
    Same,
    Diverged { record: u64, first: Option<String>, second: Option<String> },
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Done {
    digest: String,
    records: u64,
    simulated_ns: u64,
    requests: u64,
    succeeded: u64,
    unanswered: u64,
    /// Mean, p50, p90, p95, p99, p99.9 and the longest.
    latency_ns: [u64; 7],
    amplification: String,
    goodput_per_s: String,
    recovery: Recovered,
    /// Only of a run that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Recovered {
    NoFault,
    AfterNs(u64),
    Never,
}

/// From what a failure is explained.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    checks: Vec<Check>,
    faults: Vec<Fault>,
    story: Vec<(u64, String)>,
    bin_ns: u64,
    bin_requests: Vec<u64>,
    bin_succeeded: Vec<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Check {
    when: String,
    that: String,
    was: Vec<(String, String)>,
    at_ns: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    what: String,
    began_ns: Option<u64>,
    ended_ns: Option<u64>,
    touched: u64,
    unit: String,
}

impl Run {
    pub(super) fn new(number: usize, case: &Case, told: &Told) -> Self {
        let ended = match &case.result {
            Err(error) => Ended::Broken {
                said: error.to_string(),
                blame: match error.blame() {
                    ToBlame::Input => Blame::Input,
                    ToBlame::Machine => Blame::Machine,
                    ToBlame::Run => Blame::Run,
                },
            },
            Ok(outcome) => Ended::Done(Box::new(Done::new(outcome, explain::failed(case)))),
        };
        let verification = case.verification.as_ref().map(|found| match found.clone() {
            Verification::Same => Verified::Same,
            Verification::Diverged { record, first, second } => Verified::Diverged { record, first, second },
        });
        Self { number, scenario: case.scenario.clone(), seed: case.seed, ended, verification, told: told.clone() }
    }

    /// The case as it was, as far as anything is said of it. `None`: a number in it is none.
    pub(super) fn case(self, by: MadeBy) -> Option<(usize, Case, Told)> {
        let result = match self.ended {
            Ended::Broken { said, blame } => Err(RunError::Elsewhere {
                said,
                blame: match blame {
                    Blame::Input => ToBlame::Input,
                    Blame::Machine => ToBlame::Machine,
                    Blame::Run => ToBlame::Run,
                },
            }),
            Ended::Done(done) => Ok(done.outcome(&self.scenario, self.seed, by)?),
        };
        let verification = self.verification.map(|found| match found {
            Verified::Same => Verification::Same,
            Verified::Diverged { record, first, second } => Verification::Diverged { record, first, second },
        });
        let case = Case { scenario: self.scenario, seed: self.seed, result, verification };
        Some((self.number, case, self.told))
    }
}

impl Done {
    fn new(outcome: &Outcome, failed: bool) -> Self {
        let (sum, latency) = (&outcome.summary, &outcome.summary.latency);
        let spans = [latency.mean, latency.p50, latency.p90, latency.p95, latency.p99, latency.p999, latency.max];
        Self {
            digest: format!("{:016x}", outcome.digest),
            records: outcome.records,
            simulated_ns: nanos(outcome.simulated),
            requests: sum.requests,
            succeeded: sum.succeeded,
            unanswered: sum.unanswered,
            latency_ns: spans.map(nanos),
            // Rust writes the shortest text that reads back as the same number; JSON's readers may not.
            amplification: format!("{:?}", sum.amplification),
            goodput_per_s: format!("{:?}", sum.goodput_per_s),
            recovery: match sum.recovery {
                Recovery::NoFault => Recovered::NoFault,
                Recovery::After(after) => Recovered::AfterNs(nanos(after)),
                Recovery::Never => Recovered::Never,
            },
            failure: failed.then(|| Failure::new(outcome)),
        }
    }

    fn outcome(self, scenario: &str, seed: u64, by: MadeBy) -> Option<Outcome> {
        let [mean, p50, p90, p95, p99, p999, max] = self.latency_ns.map(Duration::from_nanos);
        let summary = Summary {
            requests: self.requests,
            succeeded: self.succeeded,
            unanswered: self.unanswered,
            latency: Latency { mean, p50, p90, p95, p99, p999, max },
            amplification: self.amplification.parse().ok()?,
            goodput_per_s: self.goodput_per_s.parse().ok()?,
            recovery: match self.recovery {
                Recovered::NoFault => Recovery::NoFault,
                Recovered::AfterNs(after) => Recovery::After(Duration::from_nanos(after)),
                Recovered::Never => Recovery::Never,
            },
            ..Summary::default()
        };
        let (checks, faults, story, pulse) = self.failure.map(Failure::parts).unwrap_or_default();
        Some(Outcome {
            scenario: scenario.to_owned(),
            seed,
            engine: by.engine,
            model: by.model,
            verdict: Verdict { checks },
            answers: Vec::new(),
            summary,
            pulse,
            faults,
            story,
            digest: u64::from_str_radix(&self.digest, 16).ok()?,
            checkpoints: Vec::new(),
            records: self.records,
            start: Instant::ZERO,
            hosts: Vec::new(),
            simulated: Duration::from_nanos(self.simulated_ns),
            requests: Vec::new(),
            history: None,
        })
    }
}

impl Failure {
    fn new(outcome: &Outcome) -> Self {
        let check = |check: &CheckResult| Check {
            when: check.when.clone(),
            that: check.that.clone(),
            was: check.was.clone(),
            at_ns: check.at.map(Instant::as_nanos),
        };
        let fault = |fault: &FaultReport| Fault {
            what: fault.what.clone(),
            began_ns: fault.began.map(Instant::as_nanos),
            ended_ns: fault.ended.map(Instant::as_nanos),
            touched: fault.touched,
            unit: fault.unit.to_string(),
        };
        Self {
            checks: outcome.verdict.failures().map(check).collect(),
            faults: outcome.faults.iter().map(fault).collect(),
            story: outcome.story.iter().map(|line| (line.at.as_nanos(), line.text.clone())).collect(),
            bin_ns: nanos(outcome.pulse.bin),
            bin_requests: outcome.pulse.requests.clone(),
            bin_succeeded: outcome.pulse.succeeded.clone(),
        }
    }

    fn parts(self) -> (Vec<CheckResult>, Vec<FaultReport>, Vec<StoryLine>, Pulse) {
        let at = |nanos: Option<u64>| nanos.map(Instant::from_nanos);
        let check = |check: Check| {
            let Check { when, that, was, at_ns } = check;
            CheckResult { when, that, passed: false, was, at: at(at_ns) }
        };
        let fault = |fault: Fault| FaultReport {
            what: fault.what,
            began: at(fault.began_ns),
            ended: at(fault.ended_ns),
            touched: fault.touched,
            unit: fault.unit.into(),
        };
        let line = |(at, text)| StoryLine { at: Instant::from_nanos(at), text };
        let pulse = Pulse {
            bin: Duration::from_nanos(self.bin_ns),
            requests: self.bin_requests,
            succeeded: self.bin_succeeded,
        };
        (
            self.checks.into_iter().map(check).collect(),
            self.faults.into_iter().map(fault).collect(),
            self.story.into_iter().map(line).collect(),
            pulse,
        )
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
