//! Many scenarios on many seeds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::measure::Recovery;
use crate::outcome::{EngineKind, Model, Outcome, RunError, RunOptions};
use crate::run::{run, verify};
use crate::scenario::Scenario;

/// One run of a campaign.
#[derive(Clone, Debug)]
pub struct Case {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What it gave.
    pub result: Result<Outcome, RunError>,
    /// With `verify`: what the second run showed.
    pub verification: Option<Verification>,
}

impl Case {
    /// Whether the run came to a verdict and passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.result.as_ref().is_ok_and(Outcome::passed)
    }
}

/// What two runs of one seed showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The same history, byte for byte.
    Same,
    /// Two histories: nondeterminism, exit code 3.
    Diverged {
        /// The number of the first record that differs, from 1.
        record: u64,
        /// That record in the first run; `None`: the first run ended before.
        first: Option<String>,
        /// In the second.
        second: Option<String>,
    },
}

/// How a campaign's cases are spread over threads: calls `work` once with each number in `0..count`, in any order, on any
/// threads, and returns when all are done. Whoever owns threads (the command line) brings it; [`in_turn`] has none.
pub type ParallelMap<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// The [`ParallelMap`] of one thread: in order.
pub fn in_turn(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(work);
}

/// Scenarios × seeds, and how to run each.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The scenarios, in the order of the report.
    pub scenarios: Vec<Arc<Scenario>>,
    /// The seeds each of them runs on.
    pub seeds: Vec<u64>,
    /// In which world.
    pub engine: EngineKind,
    /// How much of the mesh is simulated.
    pub model: Model,
    /// Run every case twice and compare.
    pub verify: bool,
    /// Keep every record of every run; see [`RunOptions::keep_history`]. `done` may take them away again.
    pub keep_history: bool,
}

impl Campaign {
    /// How many cases there are. They are numbered from 0 in order of scenarios, then seeds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scenarios.len() * self.seeds.len()
    }

    /// Whether there is no case.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs every scenario on every seed; see [`Campaign::run_those`].
    pub fn run(&self, map: ParallelMap<'_>, done: &(dyn Fn(usize, &mut Case) + Sync)) -> Vec<Case> {
        self.run_those(&(0..self.len()).collect::<Vec<_>>(), map, done)
    }

    /// Runs the cases of these numbers, spread over threads by `map`, and gives each with its place in the list
    /// to `done` as it ends (from any thread, in any order), which may take a history away. The result is in the order of the list,
    /// whatever the threads did.
    pub fn run_those(
        &self,
        numbers: &[usize],
        map: ParallelMap<'_>,
        done: &(dyn Fn(usize, &mut Case) + Sync),
    ) -> Vec<Case> {
        let seeds = self.seeds.len();
        let slots = Slots::new(numbers.len());
        map(numbers.len(), &|at| {
            let number = numbers[at];
            let mut case = self.case(&self.scenarios[number / seeds], self.seeds[number % seeds]);
            done(at, &mut case);
            slots.put(at, case);
        });
        slots.take()
    }

    fn case(&self, scenario: &Arc<Scenario>, seed: u64) -> Case {
        let options = RunOptions { engine: self.engine, model: self.model, keep_history: self.keep_history };
        let result = run(scenario, seed, options);
        let verification = match &result {
            Ok(first) if self.verify => Some(verify(scenario, seed, self.engine, first)),
            Ok(_) | Err(_) => None,
        };
        Case { scenario: scenario.name.value.clone(), seed, result, verification }
    }
}

/// Results by case, filled in any order.
struct Slots(Mutex<Vec<Option<Case>>>);

impl Slots {
    fn new(count: usize) -> Self {
        Self(Mutex::new((0..count).map(|_| None).collect()))
    }

    fn put(&self, number: usize, case: Case) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots[number] = Some(case);
    }

    fn take(self) -> Vec<Case> {
        let slots = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        slots.into_iter().map(|case| case.expect("the map runs every case")).collect()
    }
}

/// The cases of each scenario, in the order of the cases.
pub fn by_scenario(cases: &[Case]) -> impl Iterator<Item = &[Case]> + Clone {
    cases.chunk_by(|one, next| one.scenario == next.scenario)
}

/// What the cases of one scenario gave together: a row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// Cases that passed.
    pub passed: usize,
    /// Cases.
    pub cases: usize,
    /// The lowest success rate of its cases.
    pub success_rate: f64,
    /// The longest p99 of its cases.
    pub p99: Duration,
    /// The largest amplification of its cases.
    pub amplification: f64,
    /// The slowest recovery of its cases.
    pub recovery: Recovery,
}

/// One row per scenario, in the order in which the cases first name them. Cases without a verdict count as failed and give
/// no measures.
#[must_use]
pub fn rows(cases: &[Case]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for case in cases {
        let at = rows.iter().position(|row| row.scenario == case.scenario).unwrap_or_else(|| {
            rows.push(Row {
                scenario: case.scenario.clone(),
                passed: 0,
                cases: 0,
                success_rate: 1.0,
                p99: Duration::ZERO,
                amplification: 1.0,
                recovery: Recovery::NoFault,
            });
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.cases += 1;
        row.passed += usize::from(case.passed());
        if let Ok(outcome) = &case.result {
            row.success_rate = row.success_rate.min(outcome.summary.success_rate());
            row.p99 = row.p99.max(outcome.summary.latency.p99);
            row.amplification = row.amplification.max(outcome.summary.amplification);
            row.recovery = row.recovery.max(outcome.summary.recovery);
        }
    }
    rows
}
