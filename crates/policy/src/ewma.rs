//! The peak-EWMA latency estimate of one endpoint, in integers.
//!
//! ```text
//!  sample > estimate   estimate = sample                                  (a peak counts at once)
//!  otherwise           estimate = sample + (estimate − sample)·e^(−dt/decay)
//!  reading at `now`    estimate·e^(−dt/decay)                             (silence is forgiven slowly)
//!  a failed try        estimate = max(elapsed, 2·estimate, first), at most max(elapsed, last)
//! ```
//!
//! Source: Finagle's `PeakEwma` and tower's `RttEstimate` for the average (10 s, 30 ms are Linkerd's constants); Linkerd's
//! load-biaser for the idea that a failure is a slow answer (its penalty, 5 s, is the default of `last`). An endpoint that
//! fails fast would otherwise look like the best one and attract all load. One failure costs little, a series costs much.
//! Only time forgives: a success in between says that the endpoint is up, not that it is well. Where all endpoints fail now
//! and then, all are marked alike, and requests in flight decide.
//!
//! Least request has no latency that a failure could raise, and the same need: an endpoint that fails at once has nothing in
//! flight. There a failure counts as the requests that would be in flight if it had been as slow ([`Penalty::requests`]).

use std::time::Duration;

use crate::Instant;
use crate::mesh::Penalty as PenaltyConfig;
use crate::powers::{ONE, halved};

/// log2(e) in Q64.
const LOG2_E: u128 = 26_613_026_195_688_644_983;

/// How fast estimates forget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decay {
    /// log2(e) ÷ decay in ns, Q64.
    per_nano: u64,
}

impl Decay {
    pub(crate) fn new(decay: Duration) -> Self {
        let nanos = decay.as_nanos().max(1);
        Self { per_nano: u64::try_from(LOG2_E / nanos).unwrap_or(u64::MAX) }
    }

    /// e^(−dt/decay) in Q32.
    fn factor(self, dt: Duration) -> u64 {
        let nanos = u64::try_from(dt.as_nanos()).unwrap_or(u64::MAX);
        let exponent = (u128::from(nanos) * u128::from(self.per_nano)) >> 32;
        halved(u64::try_from(exponent).unwrap_or(u64::MAX))
    }
}

/// What an endpoint's next answer is taken to need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    nanos: u64,
    at: Instant,
}

impl Estimate {
    pub(crate) fn new(now: Instant, default_rtt: Duration) -> Self {
        Self { nanos: nanos(default_rtt).max(1), at: now }
    }

    /// The estimate now, in ns; at least 1, so that requests in flight always weigh.
    pub(crate) fn at(&self, now: Instant, decay: Decay) -> u64 {
        let factor = mutant!("ewma-without-decay", decay.factor(now.since(self.at)), ONE);
        scaled(self.nanos, factor).max(1)
    }

    /// An answer came after `rtt`.
    pub(crate) fn observe(&mut self, now: Instant, decay: Decay, rtt: Duration) {
        let rtt = nanos(rtt);
        self.nanos =
            if rtt >= self.nanos { rtt } else { rtt + scaled(self.nanos - rtt, decay.factor(now.since(self.at))) };
        self.at = now;
    }

    /// A try failed after `elapsed`.
    pub(crate) fn penalise(&mut self, now: Instant, decay: Decay, config: Option<&PenaltyConfig>, elapsed: Duration) {
        let elapsed = nanos(elapsed);
        let current = self.at(now, decay);
        let penalty = config.map_or(0, |config| worse(current, config));
        self.nanos = penalty.max(current).max(elapsed);
        self.at = now;
    }
}

/// What failures add to the requests in flight of an endpoint, for least request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Penalty {
    nanos: u64,
    at: Instant,
}

impl Penalty {
    /// As many requests as it counts for: ten for one failure.
    pub(crate) fn requests(&self, now: Instant, decay: Decay, config: &PenaltyConfig) -> u64 {
        if self.nanos == 0 {
            return 0;
        }
        self.nanos(now, decay).saturating_mul(10) / nanos(config.first).max(1)
    }

    fn nanos(&self, now: Instant, decay: Decay) -> u64 {
        scaled(self.nanos, decay.factor(now.since(self.at)))
    }

    /// A try failed.
    pub(crate) fn add(&mut self, now: Instant, decay: Decay, config: &PenaltyConfig) {
        self.nanos = worse(self.nanos(now, decay), config);
        self.at = now;
    }
}

/// Twice as bad, from `first` to `last`.
fn worse(nanos_now: u64, config: &PenaltyConfig) -> u64 {
    mutant!("failures-do-not-add-up", nanos_now.saturating_mul(2), nanos_now)
        .max(nanos(config.first))
        .min(nanos(config.last))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn scaled(value: u64, factor: u64) -> u64 {
    debug_assert!(factor <= ONE, "a decay never grows");
    ((u128::from(value) * u128::from(factor)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);
    const RTT: Duration = Duration::from_millis(30);
    const PENALTY: PenaltyConfig = PenaltyConfig { first: Duration::from_millis(300), last: Duration::from_secs(5) };

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades_by_e_in_one_decay() {
        let decay = Decay::new(DECAY);
        let mut estimate = Estimate::new(at(0), RTT);
        assert_eq!(estimate.at(at(0), decay), 30_000_000);
        estimate.observe(at(0), decay, Duration::from_secs(1));
        assert_eq!(estimate.at(at(0), decay), 1_000_000_000);
        assert_eq!(estimate.at(at(10_000), decay) / 1000, 367_879);
        estimate.observe(at(10_000), decay, Duration::ZERO);
        assert_eq!(estimate.at(at(10_000), decay) / 1000, 367_879);
        assert_eq!(estimate.at(at(10_000_000), decay), 1, "never 0, so that requests in flight weigh");
    }

    #[test]
    fn each_failure_in_a_row_doubles_the_estimate_up_to_five_seconds() {
        let decay = Decay::new(DECAY);
        let mut estimate = Estimate::new(at(0), RTT);
        let mut seen = Vec::new();
        for _ in 0..7 {
            estimate.penalise(at(0), decay, Some(&PENALTY), Duration::from_millis(1));
            seen.push(estimate.at(at(0), decay) / 1_000_000);
        }
        assert_eq!(seen, [300, 600, 1200, 2400, 4800, 5000, 5000]);
        estimate.penalise(at(0), decay, Some(&PENALTY), Duration::from_secs(7));
        assert_eq!(estimate.at(at(0), decay), 7_000_000_000, "a longer wait is believed");
    }

    #[test]
    fn without_a_penalty_a_failure_is_as_slow_as_it_was() {
        let decay = Decay::new(DECAY);
        let mut estimate = Estimate::new(at(0), RTT);
        estimate.penalise(at(0), decay, None, Duration::from_millis(1));
        assert_eq!(estimate.at(at(0), decay), 30_000_000);
    }

    #[test]
    fn a_failure_counts_as_ten_requests_and_each_further_one_doubles_them() {
        let decay = Decay::new(DECAY);
        let mut penalty = Penalty::default();
        assert_eq!(penalty.requests(at(0), decay, &PENALTY), 0);
        let mut seen = Vec::new();
        for _ in 0..7 {
            penalty.add(at(0), decay, &PENALTY);
            seen.push(penalty.requests(at(0), decay, &PENALTY));
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 166, 166]);
        assert_eq!(penalty.requests(at(10_000), decay, &PENALTY), 61, "a decay later, 1/e of it");
        assert_eq!(penalty.requests(at(1_000_000), decay, &PENALTY), 0);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn the_factor_is_the_exponential(decay_us in 1_u64..3_600_000_000, quotient in 0.0_f64..25.0) {
                let decay = Duration::from_micros(decay_us);
                let dt = decay.mul_f64(quotient);
                let exact = (-(dt.as_nanos() as f64 / decay.as_nanos() as f64)).exp();
                let ours = Decay::new(decay).factor(dt) as f64 / ONE as f64;
                prop_assert!((ours - exact).abs() < 2e-6, "{} and {}", ours, exact);
            }

            /// The model keeps the whole story in floating point.
            #[test]
            fn failures_double_and_time_forgives(gaps in prop::collection::vec(0_u64..8_000, 1..40)) {
                let decay = Decay::new(DECAY);
                let (mut penalty, mut model, mut now) = (Penalty::default(), 0.0_f64, 0);
                for gap in gaps {
                    now += gap;
                    model = (model * (-(gap as f64) / 10_000.0).exp() * 2.0).clamp(300.0, 5000.0);
                    penalty.add(at(now), decay, &PENALTY);
                    let ours = penalty.nanos(at(now), decay) as f64 / 1e6;
                    prop_assert!((ours - model).abs() < 0.1, "{} and {}", ours, model);
                }
            }

            #[test]
            fn an_estimate_lies_between_silence_and_its_highest_sample(
                samples in prop::collection::vec((0_u64..5_000, 0_u64..2_000), 1..40)
            ) {
                let decay = Decay::new(DECAY);
                let mut estimate = Estimate::new(Instant::ZERO, RTT);
                let (mut now, mut highest) = (0, RTT);
                for (gap, rtt) in samples {
                    now += gap;
                    let rtt = Duration::from_millis(rtt);
                    highest = highest.max(rtt);
                    let before = estimate.at(at(now), decay);
                    estimate.observe(at(now), decay, rtt);
                    let after = u128::from(estimate.at(at(now), decay));
                    prop_assert!(after <= highest.as_nanos());
                    prop_assert!(after + 1 >= u128::from(before).max(rtt.as_nanos()), "a sample never lowers a peak at once");
                }
            }
        }
    }
}
