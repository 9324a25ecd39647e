//! Means of independent replications and how sure they are: Student's t, by the incomplete beta function.
//!
//! Sources: Law, "Simulation Modeling and Analysis", 9.4 (independent replications); DLMF 8.17 (the incomplete beta
//! function and its continued fraction, evaluated by Lentz's method); Lavenberg and Welch, "A perspective on the use of control
//! variables to increase the efficiency of Monte Carlo simulations" (1981).

/// The mean of independent values and its 99 % confidence half-width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The mean is this far from the truth at most, with 99 % confidence. Infinite for fewer than two values.
    pub half_width_99: f64,
    /// The standard error of the mean. Infinite for fewer than two values.
    pub error: f64,
}

impl Estimate {
    /// What independent values say about their mean. At least one value.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if values.len() < 2 {
            return Self { mean, half_width_99: f64::INFINITY, error: f64::INFINITY };
        }
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / (count - 1.0) / count).sqrt();
        Self { mean, half_width_99: t_quantile(0.995, values.len() as u32 - 1) * error, error }
    }

    /// The same with a control variate: another measure of each run whose mean, `known`, is known. Where the dice gave more of it
    /// than they should, the values went with it, and by how much the runs themselves say: the mean is where the regression
    /// line of the values on the controls passes `known`. One more degree of freedom is gone for its slope. As many
    /// controls as values. With fewer than three of them, or controls that are all the same, it is [`Estimate::of`].
    #[must_use]
    pub fn controlled(values: &[f64], controls: &[f64], known: f64) -> Self {
        let (plain, control) = (Self::of(values), Self::of(controls));
        let count = values.len() as f64;
        let pairs = || values.iter().zip(controls).map(|(value, given)| (value - plain.mean, given - control.mean));
        let spread: f64 = pairs().map(|(_, given)| given * given).sum();
        if values.len() < 3 || spread == 0.0 {
            return plain;
        }
        let slope = pairs().map(|(value, given)| value * given).sum::<f64>() / spread;
        let off = control.mean - known;
        let rest: f64 = pairs().map(|(value, given)| (value - slope * given).powi(2)).sum();
        let error = (rest / (count - 2.0) * (1.0 / count + off * off / spread)).sqrt();
        let half_width_99 = t_quantile(0.995, values.len() as u32 - 2) * error;
        Self { mean: plain.mean - slope * off, half_width_99, error }
    }
}

/// The `p` quantile of Student's t distribution with so many degrees of freedom, at least 1; 0.5 <= p < 1.
#[must_use]
pub fn t_quantile(p: f64, freedom: u32) -> f64 {
    assert!((0.5..1.0).contains(&p) && freedom >= 1, "a quantile from 0.5 to below 1, of a distribution");
    let (mut low, mut high) = (0.0, 1.0);
    while t_distribution(high, freedom) < p {
        high *= 2.0;
    }
    // Each step halves the interval: 200 leave nothing but the last bit.
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if t_distribution(middle, freedom) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}

/// The probability of a value of at most `t`, which is 0 or more.
fn t_distribution(t: f64, freedom: u32) -> f64 {
    let n = f64::from(freedom);
    1.0 - 0.5 * incomplete_beta(n / (n + t * t), n / 2.0, 0.5)
}

/// The regularised incomplete beta function I_x(a, b), 0 <= x <= 1.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The continued fraction converges fast on this side; the other side is its mirror.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (a * x.ln() + b * (1.0 - x).ln() - ln_beta(a, b)).exp() / a;
    front * continued_fraction(x, a, b)
}

fn continued_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        for term in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The logarithm of the gamma function of x > 0: Stirling's series, after shifting x to where it converges.
fn ln_gamma(x: f64) -> f64 {
    let mut shift = 0.0;
    let mut x = x;
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = 1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse / 1680.0));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series / x - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let table = [
            (1, 63.656_741),
            (2, 9.924_843),
            (3, 5.840_909),
            (4, 4.604_095),
            (9, 3.249_836),
            (19, 2.860_935),
            (29, 2.756_386),
            (99, 2.626_405),
            (100_000, 2.575_879),
        ];
        for (freedom, want) in table {
            let got = t_quantile(0.995, freedom);
            assert!((got - want).abs() < 2e-6 * want, "{freedom} degrees: {got} instead of {want}");
        }
        assert!((t_quantile(0.975, 10) - 2.228_139).abs() < 1e-5);
        assert!(t_quantile(0.5, 5).abs() < 1e-9);
    }

    #[test]
    fn ln_gamma_is_the_factorials() {
        assert!((ln_gamma(5.0) - 24_f64.ln()).abs() < 1e-12);
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
        assert!((ln_gamma(51.0) - (1..=50).map(|n| f64::from(n).ln()).sum::<f64>()).abs() < 1e-9);
    }

    #[test]
    fn a_half_width_is_the_quantile_times_the_standard_error() {
        let estimate = Estimate::of(&[9.0, 10.0, 11.0]);
        assert!((estimate.mean - 10.0).abs() < 1e-12);
        assert!((estimate.error - (1.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((estimate.half_width_99 - 9.924_843 * (1.0_f64 / 3.0).sqrt()).abs() < 1e-5);
    }

    #[test]
    fn one_value_says_nothing_about_its_error() {
        let one = Estimate::of(&[3.0]);
        assert!(one.mean == 3.0 && one.half_width_99.is_infinite());
        let same = Estimate::of(&[3.0, 3.0, 3.0]);
        assert!(same.half_width_99 == 0.0);
    }

    #[test]
    fn a_control_takes_out_what_its_dice_did() {
        // Twice the control and nothing else: the mean is known although no run had it.
        let controls = [0.9, 1.1, 1.3, 1.2];
        let values: Vec<f64> = controls.iter().map(|control| 7.0 + 2.0 * control).collect();
        let estimate = Estimate::controlled(&values, &controls, 1.0);
        assert!((estimate.mean - 9.0).abs() < 1e-12 && estimate.half_width_99 < 1e-6, "{estimate:?}");
        assert_eq!(Estimate::controlled(&values, &[1.0; 4], 1.0), Estimate::of(&values));
        assert_eq!(Estimate::controlled(&values[..2], &controls[..2], 1.0), Estimate::of(&values[..2]));
    }

    #[test]
    fn controlled_intervals_cover_the_truth_as_often_as_they_say_and_are_narrower() {
        let mut rng = squall_policy::Rng::from_seed(8);
        let mut normal = || (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
        let trials = 20_000;
        let (mut covered, mut width, mut plain) = (0, 0.0, 0.0);
        for _ in 0..trials {
            let controls: Vec<f64> = (0..8).map(|_| 5.0 + normal()).collect();
            let values: Vec<f64> = controls.iter().map(|control| 3.0 * control + normal()).collect();
            let estimate = Estimate::controlled(&values, &controls, 5.0);
            covered += u32::from((estimate.mean - 15.0).abs() <= estimate.half_width_99);
            width += estimate.half_width_99;
            plain += Estimate::of(&values).half_width_99;
        }
        let share = f64::from(covered) / f64::from(trials);
        assert!((0.986..0.994).contains(&share), "{share}");
        assert!(width < 0.5 * plain, "{width} against {plain}");
    }

    /// In a hundred experiments, about ninety-nine intervals hold the truth.
    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut rng = squall_policy::Rng::from_seed(7);
        let trials = 20_000;
        let covered = (0..trials)
            .filter(|_| {
                let values: Vec<f64> = (0..6)
                    .map(|_| {
                        // Normal enough: the sum of twelve uniform ones.
                        (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0
                    })
                    .collect();
                let estimate = Estimate::of(&values);
                estimate.mean.abs() <= estimate.half_width_99
            })
            .count();
        let share = covered as f64 / f64::from(trials);
        assert!((0.986..0.994).contains(&share), "{share}");
    }
}
