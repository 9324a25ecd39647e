//! A scenario's replications in one layer.

use std::sync::Arc;

use super::answers::Found;
use super::grade::{CaseReport, report};
use crate::outcome::{Model, RunError, RunOptions};
use crate::run::run;
use crate::scenario::{Layer, Sample, Sampling, Scenario};

/// A scenario in a layer, to be run on the seeds 1 to [`Study::replications`].
#[derive(Clone, Debug)]
pub struct Study {
    /// The scenario as it is written.
    scenario: Arc<Scenario>,
    /// As it runs: shorter, if the layer says so.
    runs: Arc<Scenario>,
    layer: Layer,
    sample: Option<Sample>,
}

/// Why a replication found nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrialError {
    /// It did not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It ran, but something that it takes for granted did not hold: an expectation, or a fault that touched nothing.
    #[error("{0}")]
    Broken(String),
}

impl Study {
    /// The study of `scenario` in `layer`.
    #[must_use]
    pub fn new(scenario: &Arc<Scenario>, layer: Layer) -> Self {
        let sample = match scenario.layers.of(layer) {
            Sampling::Runs(sample) => Some(*sample),
            Sampling::Exempt(_) => None,
        };
        let runs = match sample.and_then(|sample| sample.duration) {
            Some(duration) => Arc::new(scenario.lasting(duration)),
            None => Arc::clone(scenario),
        };
        Self { scenario: Arc::clone(scenario), runs, layer, sample }
    }

    /// The scenario as it is written.
    #[must_use]
    pub fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }

    /// In which layer.
    #[must_use]
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// How often it runs; 0: it is exempt, or no answer is asked in this layer.
    #[must_use]
    pub fn replications(&self) -> u32 {
        let asks = |(only, _): &(Layer, String)| *only == self.layer;
        let asked = self.scenario.answers.iter().any(|answer| answer.only.as_ref().is_none_or(asks));
        self.sample.filter(|_| asked).map_or(0, |sample| sample.replications)
    }

    /// Whether a quick validation leaves it out.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.sample.is_some_and(|sample| sample.slow)
    }

    /// One replication.
    ///
    /// # Errors
    /// See [`TrialError`].
    pub fn trial(&self, seed: u64) -> Result<Vec<Found>, TrialError> {
        let outcome = run(&self.runs, seed, self.options())?;
        let broken = outcome.verdict.failures().find(|check| check.when != "answer");
        if let Some(check) = broken {
            let what = format!("seed {seed}: {}: {} {}", check.when, check.that, check.finding());
            return Err(TrialError::Broken(what));
        }
        Ok(outcome.answers)
    }

    fn options(&self) -> RunOptions {
        let model = match self.layer {
            Layer::Fast => Model::Fast,
            Layer::Full => Model::Full,
        };
        RunOptions { model, ..RunOptions::default() }
    }

    /// The rows of its answers, from what its replications found.
    #[must_use]
    pub fn report(&self, trials: &[Result<Vec<Found>, TrialError>]) -> Vec<CaseReport> {
        let runs: Vec<Result<Vec<Found>, String>> =
            trials.iter().map(|trial| trial.clone().map_err(|error| error.to_string())).collect();
        report(&self.scenario, self.layer, &runs)
    }
}
