//! The growing share of a new endpoint.
//!
//! ```text
//!   share │        ________ 1
//!         │      ╱            aggression 1: a straight line; more: steep at first
//!         │    ╱
//!         │__╱ min_weight
//!         └──────────┬───── age
//!                  window
//! ```
//!
//! share(age) = max(min_weight, (age ÷ window)^(1 ÷ aggression)). Source: Envoy, "slow start mode"; there for round robin and
//! least request, where it scales the weight. Peak EWMA has no weights: there it is how likely the endpoint is compared at all.
//! Endpoints that are all new at once share evenly, as they should.

use std::time::Duration;

use crate::mesh::SlowStart as Config;
use crate::powers::{ONE, power};

/// The share of an endpoint of this age, in Q32: [`ONE`] is all of it.
pub(crate) fn share(config: &Config, age: Duration) -> u64 {
    if age >= config.window {
        return ONE;
    }
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    // 1 ÷ aggression in thousandths, rounded: within a thousandth of the exponent up to an aggression of 1.
    let exponent = 1_000_000 / u64::from(config.aggression_permille.max(1));
    let least = ONE * u64::from(config.min_weight_percent) / 100;
    power(nanos(age), nanos(config.window), exponent).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(aggression_permille: u32, age_ms: u64) -> u64 {
        let config = Config { window: Duration::from_secs(10), aggression_permille, min_weight_percent: 10 };
        (share(&config, Duration::from_millis(age_ms)) * 1000 / ONE).div_ceil(10)
    }

    #[test]
    fn a_share_grows_in_a_line_from_the_least() {
        let seen: Vec<u64> = [0, 500, 1000, 2500, 5000, 9000, 10_000, 99_000].map(|ms| percent(1000, ms)).into();
        assert_eq!(seen, [10, 10, 10, 25, 50, 90, 100, 100]);
    }

    #[test]
    fn more_aggression_is_faster_at_first() {
        assert_eq!([500, 1000, 2000].map(|aggression| percent(aggression, 2500)), [10, 25, 50]);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn it_is_envoy_s_formula_and_never_shrinks(
                window_ms in 1_u64..3_600_000,
                aggression_permille in 100_u32..10_000,
                min_weight_percent in 1_u32..=100,
                quotient in 0.0_f64..1.2,
            ) {
                let window = Duration::from_millis(window_ms);
                let config = Config { window, aggression_permille, min_weight_percent };
                let age = window.mul_f64(quotient);
                let ours = share(&config, age) as f64 / ONE as f64;
                let exact = quotient.min(1.0).powf(1000.0 / f64::from(aggression_permille));
                let exact = exact.max(f64::from(min_weight_percent) / 100.0);
                prop_assert!((ours - exact).abs() < 0.006, "{} and {}", ours, exact);
                prop_assert!(share(&config, age + window / 10) >= share(&config, age));
            }
        }
    }
}
