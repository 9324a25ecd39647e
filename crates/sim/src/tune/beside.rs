//! How far a candidate is behind other policies, scenario by scenario.

use super::Tuning;
use super::tuner::Finalist;
use super::want::Objective;

/// What a policy came to: by scenario, seed and measure.
pub(super) type Samples = Vec<Vec<Vec<f64>>>;

/// By how much a candidate breaks `noWorseThan` and `undominatedBy`: the sum over scenarios, rivals and objectives of how much worse it is
/// than a rival, beyond the margin, as a share of the larger of the two values. 0 if it breaks neither.
///
/// Means are compared over the seeds that both ran on, which are the same: common random numbers. A candidate of an early rung
/// has fewer.
pub(super) fn behind(tuning: &Tuning, ours: &[Vec<Vec<f64>>], beside: &[Samples]) -> f64 {
    let of = |(rival, theirs): (usize, &Samples)| {
        if tuning.no_worse_than.contains(&rival) {
            behind_one(tuning, ours, theirs, true)
        } else if tuning.undominated_by.contains(&rival) {
            behind_one(tuning, ours, theirs, false)
        } else {
            0.0
        }
    };
    beside.iter().enumerate().map(of).sum()
}

/// By how much a candidate is behind one rival: in each objective, or on the scenarios where the rival is worse in nothing.
fn behind_one(tuning: &Tuning, ours: &[Vec<Vec<f64>>], theirs: &[Vec<Vec<f64>>], in_each: bool) -> f64 {
    let of = |(ours, theirs): (&Vec<Vec<f64>>, &Vec<Vec<f64>>)| {
        let (worse, better) = difference(&tuning.objectives, ours, theirs);
        if in_each || better <= 0.0 { worse } else { 0.0 }
    };
    ours.iter().zip(theirs).map(of).sum()
}

/// Each constraint of a tuning in words, and whether a finalist keeps it on the scenarios and seeds of the search.
#[must_use]
pub fn kept(tuning: &Tuning, finalist: &Finalist, rivals: &[Finalist]) -> Vec<(String, bool)> {
    let first = tuning.objectives.len();
    let keeps = |at: usize| finalist.searched.iter().flatten().all(|sample| sample[at] == 0.0);
    let mut found: Vec<(String, bool)> =
        tuning.constraints.iter().enumerate().map(|(at, one)| (one.that.clone(), keeps(first + at))).collect();
    for (numbers, words, in_each) in
        [(&tuning.no_worse_than, "no worse than", true), (&tuning.undominated_by, "not dominated by", false)]
    {
        found.extend(numbers.iter().map(|at| {
            let rival = &rivals[*at];
            let behind = behind_one(tuning, &finalist.searched, &rival.searched, in_each);
            (format!("{words} {}", rival.name), rival.refused.is_none() && behind == 0.0)
        }));
    }
    found
}

/// By how much ours are worse in those objectives in which they are worse, and better in the others, beyond the margins.
fn difference(objectives: &[Objective], ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> (f64, f64) {
    let seeds = ours.len().min(theirs.len());
    let (mut worse, mut better) = (0.0, 0.0);
    if seeds == 0 {
        return (worse, better);
    }
    for (at, objective) in objectives.iter().enumerate() {
        let mean = |samples: &[Vec<f64>]| samples[..seeds].iter().map(|sample| sample[at]).sum::<f64>() / seeds as f64;
        let (ours, theirs) = (mean(ours), mean(theirs));
        let scale = ours.abs().max(theirs.abs());
        let off = objective.cost(ours) - objective.cost(theirs);
        let over = off.abs() - objective.margin.of(theirs);
        // Endless beside endless is no difference.
        if over > 0.0 && scale > 0.0 {
            let share = if scale.is_finite() { over / scale } else { 1.0 };
            if off > 0.0 { worse += share } else { better += share }
        }
    }
    (worse, better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::want::Margin;

    /// Success rate, p99 in seconds, amplification.
    #[track_caller]
    fn check(ours: [f64; 3], theirs: [f64; 3], want: (f64, f64)) {
        let mut objectives = Objective::usual();
        objectives[0].margin = Margin::Value(0.01);
        objectives[1].margin = Margin::Share(100);
        let rows = |of: [f64; 3]| vec![of.to_vec(), of.to_vec()];
        let (worse, better) = difference(&objectives, &rows(ours), &rows(theirs));
        assert!((worse - want.0).abs() < 1e-9 && (better - want.1).abs() < 1e-9, "{worse} {better}");
    }

    #[test]
    fn only_what_is_beyond_its_margin_is_a_difference() {
        check([0.99, 1.0, 1.0], [1.0, 1.0, 1.0], (0.0, 0.0));
        check([0.99, 1.09, 1.0], [1.0, 1.0, 1.0], (0.0, 0.0));
        check([0.5, 1.0, 1.0], [1.0, 1.0, 1.0], (0.49, 0.0));
        check([1.0, 2.0, 1.0], [0.5, 1.0, 1.0], (0.45, 0.49));
        check([1.0, f64::INFINITY, 1.0], [1.0, 1.0, 1.0], (1.0, 0.0));
        check([1.0, f64::INFINITY, 1.0], [1.0, f64::INFINITY, 1.0], (0.0, 0.0));
        check([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], (0.0, 0.0));
    }

    #[test]
    fn those_of_an_early_rung_are_compared_on_their_own_seeds() {
        let objectives = Objective::usual();
        let theirs = vec![vec![1.0, 1.0, 1.0], vec![0.0, 9.0, 1.0]];
        assert_eq!(difference(&objectives, &theirs[..1], &theirs), (0.0, 0.0));
    }
}
