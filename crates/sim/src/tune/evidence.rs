//! How sure a difference is: paired over the same scenarios and seeds, within each scenario.

use super::want::Across;
use crate::validate::t_quantile;

/// A mean with its half-widths of confidence, by Student's t. Infinite where nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The mean over scenarios of the means over seeds (or the mean over seeds of the worst scenario).
    pub mean: f64,
    /// At most so far from the truth, with 95 % confidence.
    pub half_width_95: f64,
    /// With 99 %.
    pub half_width_99: f64,
}

/// A difference of two candidates, the first less the second.
pub type Contrast = Evidence;

impl Evidence {
    /// Of values by scenario and seed. At least one scenario, and a seed of each.
    #[must_use]
    pub fn of(values: &[Vec<f64>], across: Across, maximize: bool) -> Self {
        match across {
            Across::Mean => stratified(values),
            Across::Worst => stratified(&[worst(values, maximize)]),
        }
    }

    /// Whether the truth may well be 0.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.mean.abs() <= self.half_width_95
    }
}

/// By how much `ours` are more than `theirs`: values by scenario and seed, of the same scenarios and seeds.
#[must_use]
pub fn contrast(ours: &[Vec<f64>], theirs: &[Vec<f64>], across: Across, maximize: bool) -> Contrast {
    let less = |one: &Vec<f64>, other: &Vec<f64>| one.iter().zip(other).map(|(one, other)| one - other).collect();
    match across {
        Across::Mean => {
            let pairs: Vec<Vec<f64>> = ours.iter().zip(theirs).map(|(ours, theirs)| less(ours, theirs)).collect();
            stratified(&pairs)
        }
        Across::Worst => stratified(&[less(&worst(ours, maximize), &worst(theirs, maximize))]),
    }
}

/// By seed, the value of the scenario in which it is worst.
fn worst(values: &[Vec<f64>], maximize: bool) -> Vec<f64> {
    let seeds = values.iter().map(Vec::len).min().unwrap_or(0);
    let of = |seed: usize| values.iter().map(move |scenario| scenario[seed]);
    (0..seeds)
        .map(
            |seed| {
                if maximize {
                    of(seed).fold(f64::INFINITY, f64::min)
                } else {
                    of(seed).fold(f64::NEG_INFINITY, f64::max)
                }
            },
        )
        .collect()
}

/// The mean over strata (scenarios), whose error is that of the seeds within each: scenarios are chosen, not drawn.
fn stratified(strata: &[Vec<f64>]) -> Evidence {
    let count = strata.len() as f64;
    let (mut mean, mut variance, mut freedom) = (0.0, 0.0, 0);
    for values in strata {
        let n = values.len() as f64;
        let middle = values.iter().sum::<f64>() / n;
        mean += middle / count;
        if values.len() < 2 {
            return Evidence { mean, half_width_95: f64::INFINITY, half_width_99: f64::INFINITY };
        }
        let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
        variance += squares / (n - 1.0) / n / (count * count);
        freedom += values.len() as u32 - 1;
    }
    let error = variance.sqrt();
    let width = |p| if error == 0.0 { 0.0 } else { t_quantile(p, freedom.max(1)) * error };
    Evidence { mean, half_width_95: width(0.975), half_width_99: width(0.995) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_share_says_nothing_of_their_difference() {
        // Seeds differ by whole units, the candidates by 0.1.
        let ours = vec![vec![1.1, 5.1, 9.1], vec![100.1, 200.1, 300.1]];
        let theirs = vec![vec![1.0, 5.0, 9.0], vec![100.0, 200.0, 300.0]];
        let found = contrast(&ours, &theirs, Across::Mean, false);
        assert!((found.mean - 0.1).abs() < 1e-9 && found.half_width_99 < 1e-9, "{found:?}");
        assert!(!found.is_nothing() && Evidence::of(&ours, Across::Mean, false).half_width_95 > 50.0);
    }

    #[test]
    fn the_worst_scenario_is_the_worst_of_each_seed() {
        let values = vec![vec![1.0, 4.0], vec![3.0, 2.0]];
        assert_eq!(worst(&values, false), [3.0, 4.0]);
        assert_eq!(worst(&values, true), [1.0, 2.0]);
    }

    #[test]
    fn one_scenario_is_a_plain_t_interval() {
        let found = Evidence::of(&[vec![9.0, 10.0, 11.0]], Across::Mean, false);
        assert!((found.half_width_99 - 9.924_843 * (1.0_f64 / 3.0).sqrt()).abs() < 1e-5, "{found:?}");
        assert!(Evidence::of(&[vec![3.0]], Across::Mean, false).half_width_95.is_infinite());
    }
}
