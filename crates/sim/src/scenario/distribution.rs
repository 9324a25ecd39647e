//! How spans of time spread.

use std::time::Duration;

use squall_policy::Rng;

/// A span drawn anew for each request: a service's time, a client's think time, a sleep.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// Always this: `4ms`.
    Constant(Duration),
    /// Exponential: `{exponential: 4ms}`.
    Exponential {
        /// The mean, more than 0.
        mean: Duration,
    },
    /// Normal, cut at 0: `{normal: {mean: 167ms, deviation: 5ms}}`.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
    /// Lognormal through two percentiles: `{p50: 4ms, p99: 40ms}`. `{lognormal: {mean: 4ms, cv: 2}}` is turned into this.
    LogNormal {
        /// The median, more than 0.
        p50: Duration,
        /// The 99th percentile, at least `p50`.
        p99: Duration,
    },
    /// Uniform in [least, most]: `{uniform: {from: 1s, to: 10s}}`.
    Uniform {
        /// The least.
        least: Duration,
        /// The most, at least `least`.
        most: Duration,
    },
    /// Gamma: `{gamma: {mean: 4ms, cv: 0.5}}`; `{erlang: {mean: 4ms, stages: 3}}` is turned into this.
    Gamma {
        /// The mean, more than 0.
        mean: Duration,
        /// 1 ÷ (coefficient of variation)², in millionths, at least 100.
        shape_ppm: u64,
    },
    /// Weibull: `{weibull: {scale: 4ms, shape: 0.5}}`.
    Weibull {
        /// The 63.2th percentile, more than 0.
        scale: Duration,
        /// In thousandths, at least 100.
        shape_permille: u32,
    },
    /// Pareto: `{pareto: {least: 1ms, shape: 2.5}}`.
    Pareto {
        /// The least, more than 0.
        least: Duration,
        /// In thousandths, more than 1000, so that there is a mean.
        shape_permille: u32,
    },
    /// One of several, by weight: `{bimodal: [{weight: 99, time: 1ms}, {weight: 1, time: {exponential: 100ms}}]}`.
    Mixture(Vec<(u32, Distribution)>),
    /// One of these, each as likely as its neighbour: `{empirical: [1ms, 2ms, 2ms, 9ms]}`. Not empty.
    Empirical(Vec<Duration>),
    /// Through these percentiles, in straight lines between them: `{percentiles: {0: 1ms, 50: 4ms, 99.9: 80ms, 100: 1s}}`.
    /// Parts per million and the value there, both ascending; the first is 0, the last 1,000,000.
    Percentiles(Vec<(u32, Duration)>),
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

impl Distribution {
    /// One draw. Normal and lognormal draws use Marsaglia's polar method, which takes a varying number of dice.
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        match self {
            Self::Constant(span) => *span,
            Self::Exponential { mean } => mean.mul_f64(-(1.0 - rng.unit()).ln()),
            Self::Normal { mean, deviation } => {
                let nanos = mean.as_nanos() as f64 + deviation.as_nanos() as f64 * standard_normal(rng);
                Duration::from_nanos(nanos.max(0.0) as u64)
            }
            Self::LogNormal { p50, p99 } => {
                let sigma = (p99.as_nanos() as f64 / p50.as_nanos() as f64).ln() / Z99;
                let nanos = p50.as_nanos() as f64 * (sigma * standard_normal(rng)).exp();
                Duration::from_nanos(nanos as u64)
            }
            Self::Uniform { least, most } => rng.between(*least, *most),
            Self::Gamma { mean, shape_ppm } => {
                let shape = *shape_ppm as f64 / 1e6;
                nanos(mean.as_nanos() as f64 * standard_gamma(shape, rng) / shape)
            }
            Self::Weibull { scale, shape_permille } => {
                let power = 1000.0 / f64::from(*shape_permille);
                nanos(scale.as_nanos() as f64 * (-(1.0 - rng.unit()).ln()).powf(power))
            }
            Self::Pareto { least, shape_permille } => {
                let power = -1000.0 / f64::from(*shape_permille);
                nanos(least.as_nanos() as f64 * (1.0 - rng.unit()).powf(power))
            }
            Self::Mixture(parts) => {
                let total = parts.iter().map(|(weight, _)| u64::from(*weight)).sum();
                let mut left = rng.below(total);
                for (weight, part) in parts {
                    if left < u64::from(*weight) {
                        return part.draw(rng);
                    }
                    left -= u64::from(*weight);
                }
                unreachable!("the die has as many sides as the weights' sum")
            }
            Self::Empirical(values) => values[rng.below(values.len() as u64) as usize],
            Self::Percentiles(points) => {
                let at = rng.below(1_000_000_000_000);
                let ppm = (at / 1_000_000) as u32;
                let above = points.partition_point(|(point, _)| *point <= ppm);
                let (low, least) = points[above - 1];
                let (high, most) = points[above];
                let into = u128::from(at - u64::from(low) * 1_000_000);
                let width = u128::from(high - low) * 1_000_000;
                let rise = (most - least).as_nanos() * into / width;
                least + Duration::from_nanos(rise as u64)
            }
        }
    }

    /// Lognormal with this mean and coefficient of variation (standard deviation ÷ mean), as its percentiles.
    pub(super) fn log_normal(mean: Duration, cv: f64) -> Self {
        let variance = (1.0 + cv * cv).ln();
        let p50 = mean.mul_f64((-variance / 2.0).exp());
        Self::LogNormal { p50, p99: p50.mul_f64((variance.sqrt() * Z99).exp()) }
    }

    /// Two exponentials with this mean and coefficient of variation, at least 1, each bringing half of the mean (balanced
    /// means).
    pub(super) fn hyperexponential(mean: Duration, cv: f64) -> Self {
        let square = cv * cv;
        let often = ((1.0 + ((square - 1.0) / (square + 1.0)).sqrt()) / 2.0 * 1e6).round();
        let part = |weight: f64| {
            let mean = mean.mul_f64(0.5e6 / weight);
            (weight as u32, Self::Exponential { mean })
        };
        match 1e6 - often {
            0.0 => Self::Exponential { mean },
            rare => Self::Mixture(vec![part(often), part(rare)]),
        }
    }

    /// The mean, for reports and sanity checks; of a normal distribution without regard to the cut at 0. Saturates at 584 years.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match self {
            Self::Constant(span) => *span,
            Self::Exponential { mean } | Self::Normal { mean, .. } | Self::Gamma { mean, .. } => *mean,
            Self::Weibull { scale, shape_permille } => {
                nanos(scale.as_nanos() as f64 * gamma_function(1.0 + 1000.0 / f64::from(*shape_permille)))
            }
            Self::Pareto { least, shape_permille } => {
                let shape = f64::from(*shape_permille) / 1000.0;
                nanos(least.as_nanos() as f64 * shape / (shape - 1.0))
            }
            Self::LogNormal { p50, p99 } => {
                let sigma = (p99.as_nanos() as f64 / p50.as_nanos() as f64).ln() / Z99;
                Duration::from_nanos((p50.as_nanos() as f64 * (sigma * sigma / 2.0).exp()) as u64)
            }
            Self::Uniform { least, most } => (*least + *most) / 2,
            Self::Mixture(parts) => {
                let total: u64 = parts.iter().map(|(weight, _)| u64::from(*weight)).sum();
                let sum: f64 = parts.iter().map(|(weight, part)| f64::from(*weight) * part.mean().as_secs_f64()).sum();
                Duration::from_secs_f64(sum / total as f64)
            }
            Self::Empirical(values) => {
                values.iter().sum::<Duration>() / u32::try_from(values.len()).unwrap_or(u32::MAX)
            }
            Self::Percentiles(points) => {
                let sum: f64 = points
                    .windows(2)
                    .map(|pair| f64::from(pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1).as_secs_f64() / 2.0)
                    .sum();
                Duration::from_secs_f64(sum / 1e6)
            }
        }
    }
}

/// Saturates at 584 years.
fn nanos(nanos: f64) -> Duration {
    Duration::from_nanos(nanos as u64)
}

/// A gamma draw of this shape and scale 1, by Marsaglia and Tsang (2000). For small shapes one of shape + 1, shrunk.
pub(crate) fn standard_gamma(shape: f64, rng: &mut Rng) -> f64 {
    if shape < 1.0 {
        let shrunk = (1.0 - rng.unit()).powf(1.0 / shape);
        return standard_gamma(shape + 1.0, rng) * shrunk;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = standard_normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// The gamma function from 1 on: Stirling's series, after shifting up to where it is exact.
fn gamma_function(x: f64) -> f64 {
    let (mut shifted, mut product) = (x, 1.0);
    while shifted < 12.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let series = 1.0 / (12.0 * shifted) - 1.0 / (360.0 * shifted.powi(3)) + 1.0 / (1260.0 * shifted.powi(5));
    let ln = (shifted - 0.5) * shifted.ln() - shifted + 0.5 * (2.0 * std::f64::consts::PI).ln() + series;
    ln.exp() / product
}

fn standard_normal(rng: &mut Rng) -> f64 {
    loop {
        let (x, y) = (2.0 * rng.unit() - 1.0, 2.0 * rng.unit() - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * square.ln() / square).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Mean and given quantiles of 200,000 draws, in microseconds.
    fn measured(drawn: &Distribution, quantiles: &[f64]) -> (f64, Vec<f64>) {
        let mut rng = Rng::from_seed(11);
        let mut draws: Vec<f64> = (0..200_000).map(|_| drawn.draw(&mut rng).as_nanos() as f64 / 1000.0).collect();
        draws.sort_by(f64::total_cmp);
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        (mean, quantiles.iter().map(|at| draws[(at * draws.len() as f64) as usize]).collect())
    }

    #[track_caller]
    fn check(drawn: &Distribution, mean: f64, quantiles: &[(f64, f64)]) {
        let at: Vec<f64> = quantiles.iter().map(|(at, _)| *at).collect();
        let (got, values) = measured(drawn, &at);
        assert!((got / mean - 1.0).abs() < 0.02, "mean {got} instead of {mean}");
        let own = drawn.mean().as_nanos() as f64 / 1000.0;
        assert!((own / mean - 1.0).abs() < 0.01, "says its mean is {own} instead of {mean}");
        for ((at, want), value) in quantiles.iter().zip(values) {
            assert!((value / want - 1.0).abs() < 0.03, "quantile {at} is {value} instead of {want}");
        }
    }

    #[test]
    fn draws_have_the_mean_and_the_quantiles_that_are_asked_for() {
        check(&Distribution::Constant(4 * MS), 4000.0, &[(0.5, 4000.0)]);
        // Exponential: ln 2 and ln 100 times the mean.
        check(&Distribution::Exponential { mean: MS }, 1000.0, &[(0.5, 693.1), (0.99, 4605.2)]);
        check(
            &Distribution::Normal { mean: 167 * MS, deviation: 5 * MS },
            167_000.0,
            &[(0.5, 167_000.0), (0.99, 178_632.0)],
        );
        check(&Distribution::Uniform { least: MS, most: 3 * MS }, 2000.0, &[(0.25, 1500.0), (0.75, 2500.0)]);
        check(&Distribution::LogNormal { p50: 4 * MS, p99: 20 * MS }, 5081.0, &[(0.5, 4000.0), (0.99, 20_000.0)]);
        check(
            &Distribution::Empirical(vec![MS, MS, 2 * MS, 8 * MS]),
            3000.0,
            &[(0.4, 1000.0), (0.6, 2000.0), (0.9, 8000.0)],
        );
        let slow = Distribution::Exponential { mean: 100 * MS };
        check(&Distribution::Mixture(vec![(9, Distribution::Constant(MS)), (1, slow)]), 10_900.0, &[(0.5, 1000.0)]);
        // Gamma: of shape 4, the quantiles of chi-squared with 8 degrees of freedom ÷ 8; of shape 1/4, with 1/2 ÷ 1/2.
        let gamma = |shape_ppm| Distribution::Gamma { mean: MS, shape_ppm };
        check(&gamma(4_000_000), 1000.0, &[(0.5, 918.0), (0.99, 2511.3)]);
        check(&gamma(250_000), 1000.0, &[(0.5, 174.7), (0.9, 3000.0)]);
        let weibull = Distribution::Weibull { scale: MS, shape_permille: 500 };
        check(&weibull, 2000.0, &[(0.5, 480.5), (0.99, 21_207.6)]);
        let pareto = Distribution::Pareto { least: MS, shape_permille: 3000 };
        check(&pareto, 1500.0, &[(0.5, 1259.9), (0.99, 4641.6)]);
        let points = vec![(0, MS), (500_000, 2 * MS), (1_000_000, 10 * MS)];
        check(&Distribution::Percentiles(points), 3750.0, &[(0.25, 1500.0), (0.5, 2000.0), (0.75, 6000.0)]);
    }

    #[test]
    fn a_lognormal_by_mean_and_variation_has_both() {
        // cv² = 4, as M/G/1 tables have it.
        let drawn = Distribution::log_normal(10 * MS, 2.0);
        let mut rng = Rng::from_seed(5);
        let draws: Vec<f64> = (0..400_000).map(|_| drawn.draw(&mut rng).as_secs_f64() * 1000.0).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean / 10.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance / (mean * mean) / 4.0 - 1.0).abs() < 0.1, "{}", variance / (mean * mean));
    }

    #[test]
    fn a_hyperexponential_has_its_mean_and_variation() {
        let drawn = Distribution::hyperexponential(10 * MS, 2.0);
        assert!((drawn.mean().as_secs_f64() - 0.01).abs() < 1e-6);
        let mut rng = Rng::from_seed(5);
        let draws: Vec<f64> = (0..400_000).map(|_| drawn.draw(&mut rng).as_secs_f64() * 1000.0).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean / 10.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance / (mean * mean) / 4.0 - 1.0).abs() < 0.05, "{}", variance / (mean * mean));
        let plain = Distribution::hyperexponential(10 * MS, 1.0);
        assert!((plain.mean().as_secs_f64() - 0.01).abs() < 1e-6);
    }

    #[test]
    fn extreme_distributions_saturate() {
        let wild = Distribution::LogNormal { p50: Duration::from_nanos(1), p99: Duration::from_secs(86_400) };
        let mut rng = Rng::from_seed(1);
        assert!((0..1000).all(|_| wild.draw(&mut rng) <= Duration::from_nanos(u64::MAX)));
        assert_eq!(wild.mean(), Duration::from_nanos(u64::MAX));
        assert_eq!(Distribution::log_normal(Duration::from_nanos(1), 100.0).draw(&mut rng), Duration::ZERO);
    }
}
