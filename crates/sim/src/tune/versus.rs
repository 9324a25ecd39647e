//! Policies against each other: on the same scenarios and seeds, pair by pair.

use std::sync::{Arc, Mutex, PoisonError};

use super::evidence::{Contrast, Evidence, contrast};
use super::want::{Across, Objective, measure};
use super::{Rival, Sample};
use crate::campaign::ParallelMap;
use crate::outcome::Model;
use crate::scenario::{MeshFile, Scenario};

/// Policies to compare, and on what.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The scenarios, at least one.
    pub scenarios: Vec<Arc<Scenario>>,
    /// The policies, in place of the scenarios' own. One without manifests stands for the scenarios' own.
    pub policies: Vec<Rival>,
    /// The seeds, at least two.
    pub seeds: Vec<u64>,
    /// How much is simulated.
    pub model: Model,
    /// What a difference must be more than to count, by the measures of [`Objective::compared`], in their units (durations: seconds).
    pub margins: Vec<f64>,
}

/// What a comparison measured.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The measures.
    pub measures: Vec<Objective>,
    /// What a difference in each must be more than to count.
    pub margins: Vec<f64>,
    /// By policy and scenario, the values by seed and measure; or why there are none.
    pub values: Vec<Vec<Result<Vec<Vec<f64>>, String>>>,
}

/// Who is better in one measure of one scenario, with 99 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The first.
    First,
    /// The second.
    Second,
    /// It cannot be told.
    Neither,
}

impl Comparison {
    /// The manifests of a scenario under a policy.
    #[must_use]
    pub fn manifests(&self, policy: usize, scenario: usize) -> Vec<MeshFile> {
        let (policy, scenario) = (&self.policies[policy], &self.scenarios[scenario]);
        if policy.mesh.is_empty() { scenario.mesh.clone() } else { policy.instead(scenario) }
    }

    /// Runs everything, spread by `map`; `done` is called as each run ends.
    #[must_use]
    pub fn run(&self, map: ParallelMap<'_>, done: &(dyn Fn(&Sample) + Sync)) -> Compared {
        let measures = Objective::compared();
        let mut variants: Vec<Result<Arc<Scenario>, String>> = Vec::new();
        for policy in 0..self.policies.len() {
            for (at, scenario) in self.scenarios.iter().enumerate() {
                variants.push(super::tuner::changed(scenario, self.manifests(policy, at)));
            }
        }
        let seeds = self.seeds.len();
        let slots: Mutex<Vec<Option<Sample>>> = Mutex::new(vec![None; variants.len() * seeds]);
        map(variants.len() * seeds, &|number| {
            let sample = match &variants[number / seeds] {
                Ok(scenario) => {
                    let seed = self.seeds[number % seeds];
                    measure(scenario, seed, self.model, &measures, &[]).map_err(|error| error.to_string())
                }
                Err(why) => Err(why.clone()),
            };
            done(&sample);
            slots.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(sample);
        });
        let slots = slots.into_inner().unwrap_or_else(PoisonError::into_inner);
        let samples: Vec<Sample> = slots.into_iter().map(|slot| slot.expect("the map runs every run")).collect();
        let of_scenario = |samples: &[Sample]| samples.iter().cloned().collect::<Result<Vec<_>, _>>();
        let of_policy = |samples: &[Sample]| samples.chunks(seeds).map(of_scenario).collect();
        let values = samples.chunks(self.scenarios.len() * seeds).map(of_policy).collect();
        Compared { measures, margins: self.margins.clone(), values }
    }
}

impl Compared {
    fn column(&self, policy: usize, scenario: usize, measure: usize) -> Option<Vec<Vec<f64>>> {
        let seeds = self.values[policy][scenario].as_ref().ok()?;
        Some(vec![seeds.iter().map(|sample| sample[measure]).collect()])
    }

    /// A measure of a policy on a scenario; `None` if it could not be run.
    #[must_use]
    pub fn evidence(&self, policy: usize, scenario: usize, measure: usize) -> Option<Evidence> {
        Some(Evidence::of(&self.column(policy, scenario, measure)?, Across::Mean, false))
    }

    /// By how much a measure of the first policy is more than of the second, paired by seed.
    #[must_use]
    pub fn contrast(&self, (first, second): (usize, usize), scenario: usize, measure: usize) -> Option<Contrast> {
        let (first, second) = (self.column(first, scenario, measure)?, self.column(second, scenario, measure)?);
        Some(contrast(&first, &second, Across::Mean, false))
    }

    /// Who is better in a measure: by more than its margin, with 99 % confidence. One that could not be run is worse.
    #[must_use]
    pub fn better(&self, pair: (usize, usize), scenario: usize, measure: usize) -> Better {
        let runs = |policy: usize| self.values[policy][scenario].is_ok();
        let Some(found) = self.contrast(pair, scenario, measure) else {
            return match (runs(pair.0), runs(pair.1)) {
                (true, false) => Better::First,
                (false, true) => Better::Second,
                (_, _) => Better::Neither,
            };
        };
        if found.mean.abs() <= found.half_width_99 + self.margins[measure] {
            return Better::Neither;
        }
        if self.measures[measure].cost(found.mean) < 0.0 { Better::First } else { Better::Second }
    }

    /// Who dominates a scenario: better in some measure, and worse in none.
    #[must_use]
    pub fn dominates(&self, pair: (usize, usize), scenario: usize) -> Better {
        let all: Vec<Better> = (0..self.measures.len()).map(|measure| self.better(pair, scenario, measure)).collect();
        match (all.contains(&Better::First), all.contains(&Better::Second)) {
            (true, false) => Better::First,
            (false, true) => Better::Second,
            (true, true) | (false, false) => Better::Neither,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(first: &[[f64; 4]], second: &[[f64; 4]]) -> Compared {
        let rows = |rows: &[[f64; 4]]| vec![Ok(rows.iter().map(|row| row.to_vec()).collect())];
        Compared { measures: Objective::compared(), margins: vec![0.0; 4], values: vec![rows(first), rows(second)] }
    }

    #[test]
    fn a_difference_within_the_margin_does_not_count() {
        let first = [[0.99, 0.20, 1.00, 1.0], [0.99, 0.21, 1.00, 1.0], [0.99, 0.20, 1.00, 1.0]];
        let second =
            first.map(|[success, p99, amplification, recovery]| [success, p99 * 2.0, amplification - 0.01, recovery]);
        let mut compared = compared(&first, &second);
        assert_eq!(compared.dominates((0, 1), 0), Better::Neither);
        compared.margins[2] = 0.02;
        assert_eq!(compared.better((0, 1), 0, 2), Better::Neither);
        assert_eq!(compared.dominates((0, 1), 0), Better::First);
        compared.margins[1] = 1.0;
        assert_eq!(compared.dominates((0, 1), 0), Better::Neither);
    }

    #[test]
    fn who_is_better_in_something_and_worse_in_nothing_dominates() {
        // success, p99, amplification, recovery; the seeds differ more than the policies.
        let first = [[0.99, 0.20, 1.0, 1.0], [0.89, 0.60, 1.0, 3.0], [0.95, 0.40, 1.0, 2.0]];
        let slower = first.map(|[success, p99, amplification, recovery]| [success, p99 + 0.1, amplification, recovery]);
        let mixed =
            first.map(|[success, p99, amplification, recovery]| [success + 0.01, p99 + 0.1, amplification, recovery]);
        let found = compared(&first, &slower);
        assert_eq!((found.dominates((0, 1), 0), found.dominates((1, 0), 0)), (Better::First, Better::Second));
        assert_eq!(compared(&first, &mixed).dominates((0, 1), 0), Better::Neither);
        assert_eq!(compared(&first, &first).dominates((0, 1), 0), Better::Neither);
    }

    #[test]
    fn who_cannot_be_run_is_worse() {
        let mut found = compared(&[[1.0; 4], [1.0; 4]], &[[1.0; 4], [1.0; 4]]);
        found.values[1][0] = Err("refused".to_owned());
        assert_eq!(found.dominates((0, 1), 0), Better::First);
    }
}
