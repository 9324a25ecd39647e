//! Draws from the distributions of [`Delay`], the same on every platform.
//!
//! The standard library's `ln` and `exp` come from the platform's maths library, whose last bit differs between systems;
//! a seed would not mean the same run everywhere. The two here use only `+ - * /` and `sqrt`, which IEEE 754 defines to
//! the bit.

use std::time::Duration;

use squall_policy::Rng;

use super::Delay;

/// The standard normal distribution's 99th percentile.
const Z99: f64 = 2.326_347_874_040_841;

impl Delay {
    /// One span, to the nanosecond. Draws nothing for [`Delay::Constant`].
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Sum(ref one, ref other) => one.draw(rng) + other.draw(rng),
            Self::Constant(span) => span,
            Self::Uniform(least, most) => rng.between(least, most),
            Self::Normal { mean, deviation } => nanos(float(mean) + float(deviation) * normal(rng)),
            Self::LogNormal { p50, p99 } => {
                if p50.is_zero() {
                    return Duration::ZERO;
                }
                let sigma = ln(float(p99) / float(p50)) / Z99;
                nanos(float(p50) * exp(sigma * normal(rng)))
            }
            // 1 - unit is in (0, 1], so that the logarithm is finite.
            Self::Exponential(mean) => nanos(-ln(1.0 - rng.unit()) * float(mean)),
        }
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        match self {
            Self::Sum(one, other) => one.mistake().or_else(|| other.mistake()),
            Self::Uniform(least, most) if least > most => Some("the least is above the most"),
            Self::LogNormal { p50, p99 } if p50 > p99 => Some("the median is above the 99th percentile"),
            Self::LogNormal { p50, p99 } if p50.is_zero() && !p99.is_zero() => Some("the median is zero"),
            Self::Constant(_)
            | Self::Uniform(..)
            | Self::Normal { .. }
            | Self::LogNormal { .. }
            | Self::Exponential(_) => None,
        }
    }
}

fn float(span: Duration) -> f64 {
    span.as_nanos() as f64
}

/// Rounded to the nanosecond; below zero is zero, beyond 584 years is 584 years.
fn nanos(value: f64) -> Duration {
    Duration::from_nanos((value + 0.5) as u64)
}

/// A standard normal number: Marsaglia's polar method (1964).
fn normal(rng: &mut Rng) -> f64 {
    loop {
        let (x, y) = (2.0 * rng.unit() - 1.0, 2.0 * rng.unit() - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * (-2.0 * ln(square) / square).sqrt();
        }
    }
}

/// The natural logarithm of a positive, normal number; within 2 units in the last place.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh((m-1)/(m+1)); |s| < 0.172, so that 11 terms reach 2^-56.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for term in (0..11).rev() {
        sum = sum * square + 1.0 / f64::from(2 * term + 1);
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * sum
}

/// e to the power of `x`, for |x| < 700.
fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let scaled = x / std::f64::consts::LN_2;
    let power = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i64;
    let rest = x - power as f64 * std::f64::consts::LN_2;
    // |rest| < 0.35: 14 terms of the series reach 2^-60.
    let mut sum = 1.0;
    for term in (1..15).rev() {
        sum = 1.0 + sum * rest / f64::from(term);
    }
    sum * f64::from_bits(((power + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[track_caller]
    fn check(delay: Delay, percentiles: &[(usize, u64, u64)]) {
        let mut rng = Rng::from_seed(7);
        let mut draws: Vec<u64> = (0..20_000).map(|_| delay.draw(&mut rng).as_nanos() as u64).collect();
        draws.sort_unstable();
        for &(percent, least, most) in percentiles {
            let is = draws[draws.len() * percent / 100];
            assert!((least..=most).contains(&is), "p{percent} of {delay:?} is {is} ns");
        }
    }

    #[test]
    fn draws_follow_their_distribution() {
        check(Delay::Uniform(MS, 3 * MS), &[(1, 1_000_000, 1_050_000), (50, 1_950_000, 2_050_000)]);
        check(
            Delay::Normal { mean: 10 * MS, deviation: MS },
            &[(50, 9_950_000, 10_050_000), (84, 10_930_000, 11_050_000)],
        );
        check(Delay::Normal { mean: Duration::ZERO, deviation: MS }, &[(10, 0, 0), (84, 930_000, 1_050_000)]);
        check(Delay::LogNormal { p50: MS, p99: 10 * MS }, &[(50, 970_000, 1_030_000), (99, 9_000_000, 11_000_000)]);
        check(Delay::Exponential(MS), &[(50, 670_000, 715_000), (95, 2_880_000, 3_110_000)]);
    }

    #[test]
    fn a_seed_means_these_very_draws() {
        let mut rng = Rng::from_seed(1);
        let delay = Delay::LogNormal { p50: MS, p99: 10 * MS };
        let draws: Vec<u128> = (0..4).map(|_| delay.draw(&mut rng).as_nanos()).collect();
        // The same from an independent implementation (Python, its own `log` and `exp`).
        assert_eq!(draws, [2_100_379, 655_512, 290_753, 1_370_836]);
    }

    #[test]
    fn ln_and_exp_are_right_to_fourteen_digits() {
        for step in 1..2000 {
            let x = f64::from(step) * 0.173;
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0), "ln {x}");
            let y = f64::from(step - 1000) * 0.05;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-13, "exp {y}");
        }
    }
}
