//! Who is an outlier by the shares of one interval: success-rate deviation and failure percentage.
//!
//! Envoy takes the mean and the standard deviation of the success rates in floating point and ejects below
//! mean − factor × deviation. Here the same is decided in integers: with rates x in units of 10⁻⁸, n endpoints, S = Σx and
//! Q = Σx², an endpoint is out when S − n·x > 0 and (S − n·x)²·10⁶ > factor²·(n·Q − S²), factor in thousandths. That is exact
//! but for the cut of the rates, which is the same for equal rates, and fits in 128 bits up to a million endpoints.

use super::Tally;
use crate::mesh::{Deviation, FailurePercentage};

/// A rate of 1.
const WHOLE: u128 = 100_000_000;

impl Tally {
    fn rate(self) -> u128 {
        u128::from(self.good) * WHOLE / u128::from(self.all.max(1))
    }

    fn counts_for(self, volume: u32) -> bool {
        // An endpoint without requests has no rate, whatever volume is asked for.
        self.all >= volume.max(1)
    }
}

/// The success rates of all that had enough requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    hosts: u128,
    sum: u128,
    squares: u128,
}

impl Rates {
    pub(crate) fn of(tallies: impl Iterator<Item = Tally>, config: &Deviation) -> Self {
        let mut rates = Self::default();
        for rate in tallies.filter(|tally| tally.counts_for(config.request_volume)).map(Tally::rate) {
            rates.hosts += 1;
            rates.sum += rate;
            rates.squares += rate * rate;
        }
        rates
    }

    /// The mean, in thousandths.
    pub(crate) fn mean_permille(&self) -> u32 {
        u32::try_from(self.sum * 1000 / (WHOLE * self.hosts.max(1))).unwrap_or(1000)
    }

    /// Whether it is too far below the mean of all.
    pub(crate) fn leave_behind(&self, tally: Tally, config: &Deviation) -> bool {
        if self.hosts < u128::from(config.minimum_hosts) || !tally.counts_for(config.request_volume) {
            return false;
        }
        let factor = u128::from(config.stdev_factor);
        // n·Σx² ≥ (Σx)² (Cauchy and Schwarz).
        let spread = self.hosts * self.squares - self.sum * self.sum;
        match self.sum.checked_sub(self.hosts * tally.rate()) {
            None | Some(0) => false,
            Some(below) => {
                let below = mutant!("deviation-without-its-root", below * below * 1_000_000, below * 1000);
                below > factor * factor * spread
            }
        }
    }
}

/// So many endpoints had enough requests.
pub(crate) fn heard(tallies: impl Iterator<Item = Tally>, config: &FailurePercentage) -> usize {
    tallies.filter(|tally| tally.counts_for(config.request_volume)).count()
}

/// Whether it fails too often, among so many with enough requests.
pub(crate) fn fails_too_often(tally: Tally, heard: usize, config: &FailurePercentage) -> bool {
    let failures = u64::from(tally.all - tally.good);
    heard as u64 >= u64::from(config.minimum_hosts)
        && tally.counts_for(config.request_volume)
        && failures * 100 >= u64::from(config.threshold) * u64::from(tally.all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Deviation = Deviation { minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 };
    const PERCENT: FailurePercentage = FailurePercentage { threshold: 85, minimum_hosts: 5, request_volume: 50 };

    fn tally(good: u32, all: u32) -> Tally {
        Tally { good, all }
    }

    fn outliers(tallies: &[Tally], config: &Deviation) -> Vec<usize> {
        let rates = Rates::of(tallies.iter().copied(), config);
        (0..tallies.len()).filter(|&index| rates.leave_behind(tallies[index], config)).collect()
    }

    #[test]
    fn one_far_below_four_is_out() {
        // Mean 90, deviation 20, threshold 52: the example that Envoy's sources give.
        let mut tallies = [tally(100, 100); 5];
        tallies[0] = tally(50, 100);
        assert_eq!(outliers(&tallies, &CONFIG), [0]);
        assert_eq!(Rates::of(tallies.into_iter(), &CONFIG).mean_permille(), 900);
        // Of five, one alone is just two deviations below the mean, however bad it is.
        assert_eq!(outliers(&tallies, &Deviation { stdev_factor: 2000, ..CONFIG }), [0_usize; 0]);
        assert_eq!(outliers(&tallies, &Deviation { stdev_factor: 1999, ..CONFIG }), [0]);
    }

    #[test]
    fn too_few_hosts_or_requests_say_nothing() {
        let mut tallies = [tally(100, 100); 5];
        tallies[0] = tally(0, 99);
        assert_eq!(outliers(&tallies, &CONFIG), [0_usize; 0], "99 requests are not enough, and four hosts are not");
        tallies[0] = tally(0, 100);
        assert_eq!(outliers(&tallies, &CONFIG), [0]);
        assert_eq!(outliers(&tallies[..4], &CONFIG), [0_usize; 0]);
        let silent = [tally(0, 0); 5];
        assert_eq!(outliers(&silent, &Deviation { request_volume: 0, stdev_factor: 0, ..CONFIG }), [0_usize; 0]);
    }

    #[test]
    fn nobody_is_out_where_all_are_alike() {
        for all in [1, 3, 7, 99, 1000] {
            let config = Deviation { request_volume: 1, stdev_factor: 0, ..CONFIG };
            assert_eq!(outliers(&[tally(all / 3, all); 9], &config), [0_usize; 0]);
        }
    }

    #[test]
    fn a_failure_percentage_counts_from_its_threshold_on() {
        for (good, all, heard, want) in
            [(15, 100, 5, true), (16, 100, 5, false), (15, 100, 4, false), (0, 49, 5, false), (0, 50, 5, true)]
        {
            assert_eq!(fails_too_often(tally(good, all), heard, &PERCENT), want, "{good} {all} {heard}");
        }
        assert!(!fails_too_often(tally(0, 0), 5, &FailurePercentage { threshold: 0, request_volume: 0, ..PERCENT }));
        assert_eq!(heard([tally(1, 50), tally(1, 49)].into_iter(), &PERCENT), 1);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model is Envoy's arithmetic in floating point; where it is within rounding of the threshold it says nothing.
            #[test]
            fn integers_decide_as_floating_point_does(
                counts in prop::collection::vec((0_u32..400, 0_u32..400), 1..40),
                stdev_factor in 0_u32..4000,
                minimum_hosts in 0_u32..8,
                request_volume in 0_u32..200,
            ) {
                let config = Deviation { minimum_hosts, request_volume, stdev_factor };
                let tallies: Vec<Tally> = counts.iter().map(|(good, bad)| tally(*good, good + bad)).collect();
                let found = outliers(&tallies, &config);
                let valid: Vec<(usize, f64)> = tallies
                    .iter()
                    .enumerate()
                    .filter(|(_, tally)| tally.all > 0 && tally.all >= request_volume)
                    .map(|(index, tally)| (index, f64::from(tally.good) * 100.0 / f64::from(tally.all)))
                    .collect();
                let n = valid.len() as f64;
                let mean = valid.iter().map(|(_, rate)| rate).sum::<f64>() / n;
                let deviation = (valid.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / n).sqrt();
                let threshold = mean - f64::from(stdev_factor) / 1000.0 * deviation;
                for (index, rate) in &valid {
                    if (rate - threshold).abs() > 1e-4 {
                        let out = *rate < threshold && valid.len() >= minimum_hosts as usize;
                        prop_assert_eq!(found.contains(index), out, "{} against {}", rate, threshold);
                    }
                }
                prop_assert!(found.iter().all(|index| valid.iter().any(|(valid, _)| valid == index)));
            }

            #[test]
            fn a_million_endpoints_do_not_overflow(good in 0_u32..=1000, stdev_factor in 0_u32..=100_000) {
                let rates = Rates { hosts: 1_000_000, sum: 500_000 * WHOLE, squares: 500_000 * WHOLE * WHOLE };
                let config = Deviation { minimum_hosts: 5, request_volume: 100, stdev_factor };
                // Half of all at 0, half at 1: mean and deviation are a half.
                let want = (500.0 - f64::from(good)) * 1000.0 > f64::from(stdev_factor) * 500.0;
                prop_assert_eq!(rates.leave_behind(tally(good, 1000), &config), want);
            }
        }
    }
}
