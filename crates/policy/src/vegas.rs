//! A concurrency limit that keeps a short queue, after TCP Vegas, as Netflix' concurrency-limits does.
//!
//! ```text
//!   each window of 50 answers or more:  queue = ⌈L·(1 − least/mean)⌉        d = log10(L), at least 1
//!
//!     queue ≤ d     L + 6d   nobody waits          (only if half of L was in flight: who has no load proves nothing)
//!     queue < 3d    L + d    few wait
//!     queue ≤ 6d    L        as it should be
//!     queue > 6d    L − d    too many wait
//!     a failure     L − d    whatever the queue
//! ```
//!
//! `least` is the least mean of a window; after `probe`·L windows (spread over half of that to all of it) the window's own mean
//! takes its place, so that a service that has become slower is not starved for ever; under a load that never pauses it takes
//! its own queue for the service then, and the limit drifts up, as the original's does. Callers who left are no sample, but what
//! timed out or failed is a failure.
//!
//! Source: Netflix' concurrency-limits, `VegasLimit` over `WindowedLimit`, where windows last a second; ours are a tenth of
//! that by default, since the limit moves by a few only each time. A window has ten
//! answers there; the mean of so few varies by a third if services vary much, and the least of those means is far too low (measured
//! with exponential services: a limit of 7 for ten places). Its `log10` becomes a square root from 1000 on; ours does not.

use crate::gradient::Moved;
use crate::mesh::Vegas as Config;
use crate::{Instant, Rng};

/// A window has so many answers at least.
const ANSWERS: u32 = 50;

/// The machine.
#[derive(Debug)]
pub(crate) struct Vegas {
    limit: u32,
    /// The least mean in nanoseconds; 0: none yet.
    least: u64,
    window_ends: Instant,
    answers: u32,
    /// The sum of their latencies in nanoseconds.
    sum: u128,
    most_in_flight: u32,
    failed: bool,
    windows: u64,
    /// The number of windows at which `least` is forgotten.
    probe_at: u64,
}

impl Vegas {
    pub(crate) fn new(now: Instant, config: &Config, dice: &mut Rng) -> Self {
        Self {
            limit: config.initial,
            least: 0,
            window_ends: now + config.window,
            answers: 0,
            sum: 0,
            most_in_flight: 0,
            failed: false,
            windows: 0,
            probe_at: probe_at(config.initial, config, dice),
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// A request that got its place at `since` is over: answered, or failed. `in_flight` counts it too. Tells what the limit
    /// became if a window ended with it.
    pub(crate) fn on_latency(
        &mut self,
        now: Instant,
        (since, outcome): (Instant, Outcome),
        in_flight: u32,
        most: u32,
        config: &Config,
        dice: &mut Rng,
    ) -> Option<Moved> {
        self.answers += 1;
        self.sum += now.since(since).as_nanos();
        self.most_in_flight = self.most_in_flight.max(in_flight);
        self.failed |= outcome == Outcome::Failed;
        if now < self.window_ends || self.answers < ANSWERS {
            return None;
        }
        let mean = u64::try_from(self.sum / u128::from(self.answers)).unwrap_or(u64::MAX).max(1);
        let from = self.limit;
        self.limit = self.next(mean, config, dice).clamp(config.min, most);
        self.window_ends = now + config.window;
        (self.answers, self.sum, self.most_in_flight, self.failed) = (0, 0, 0, false);
        Some(Moved { from, to: self.limit, least: self.least, latest: Some(mean) })
    }

    fn next(&mut self, mean: u64, config: &Config, dice: &mut Rng) -> u32 {
        self.windows += 1;
        if self.windows >= self.probe_at {
            self.windows = 0;
            self.probe_at = probe_at(self.limit, config, dice);
            self.least = mean;
            return self.limit;
        }
        let digits = digits(self.limit);
        if self.failed {
            return mutant!("vegas-grows-on-failures", self.limit.saturating_sub(digits), self.limit + digits);
        }
        if self.least == 0 || mean < self.least {
            self.least = mean;
            return self.limit;
        }
        if u64::from(self.most_in_flight) * 2 < u64::from(self.limit) {
            return self.limit;
        }
        let moving = u128::from(self.limit) * u128::from(self.least) / u128::from(mean);
        let queue = self.limit - u32::try_from(moving).expect("the least latency is no more than the mean");
        if queue <= digits {
            self.limit.saturating_add(6 * digits)
        } else if queue < 3 * digits {
            self.limit.saturating_add(digits)
        } else if queue <= 6 * digits {
            self.limit
        } else {
            self.limit.saturating_sub(digits)
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Well, or at least not by overload.
    Answered,
    /// It timed out or failed.
    Failed,
}

/// log10, at least 1.
fn digits(limit: u32) -> u32 {
    limit.checked_ilog10().unwrap_or(0).max(1)
}

fn probe_at(limit: u32, config: &Config, dice: &mut Rng) -> u64 {
    let all = u64::from(config.probe) * u64::from(limit);
    all / 2 + dice.below(all / 2 + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CONFIG: Config = Config { min: 1, initial: 20, window: Duration::from_millis(100), probe: 30 };

    /// Windows in which `places` servers are always busy: the latency is 1 ms × limit ÷ places, or 1 ms.
    fn saturated(places: u64, windows: u32) -> u32 {
        let mut dice = Rng::from_seed(7);
        let mut vegas = Vegas::new(Instant::ZERO, &CONFIG, &mut dice);
        let mut now = Instant::ZERO;
        // Once alone.
        for _ in 0..ANSWERS {
            now = now + Duration::from_millis(10);
            let since = now - Duration::from_millis(1);
            let _ = vegas.on_latency(now, (since, Outcome::Answered), 1, 1000, &CONFIG, &mut dice);
        }
        for _ in 0..windows {
            let limit = vegas.limit();
            let latency = Duration::from_micros((1000 * u64::from(limit)).div_ceil(places).max(1000));
            for _ in 0..ANSWERS {
                now = now + Duration::from_millis(10);
                let _ = vegas.on_latency(now, (now - latency, Outcome::Answered), limit, 1000, &CONFIG, &mut dice);
            }
        }
        vegas.limit()
    }

    #[test]
    fn rests_with_a_queue_of_three_to_six_digits() {
        for (places, least, most) in [(10, 13, 16), (100, 106, 112), (300, 306, 312)] {
            // Before it forgets the least latency.
            let limit = saturated(places, 250);
            assert!((least..=most).contains(&limit), "{places}: {limit}");
        }
    }

    /// One window of just enough answers in which `in_flight` were there.
    fn window(vegas: &mut Vegas, millis: u64, in_flight: u32, outcome: Outcome) -> Option<Moved> {
        let mut dice = Rng::from_seed(7);
        let now = vegas.window_ends;
        let since = now - Duration::from_millis(millis);
        (0..ANSWERS)
            .map(|_| vegas.on_latency(now, (since, outcome), in_flight, 1000, &CONFIG, &mut dice))
            .last()
            .flatten()
    }

    #[test]
    fn grows_without_a_queue_and_shrinks_with_one_or_a_failure() {
        let mut dice = Rng::from_seed(7);
        let mut vegas = Vegas::new(Instant::ZERO, &CONFIG, &mut dice);
        let mut limits = Vec::new();
        for (millis, in_flight, outcome) in [
            (10, 20, Outcome::Answered), // the least latency is known now
            (10, 20, Outcome::Answered), // no queue: + 6
            (10, 12, Outcome::Answered), // not half of it in use
            (11, 26, Outcome::Answered), // a queue of 3: as it should be
            (20, 26, Outcome::Answered), // a queue of 13: − 1
            (10, 26, Outcome::Failed),   // − 1, though there is no queue
        ] {
            limits.push(window(&mut vegas, millis, in_flight, outcome).map(|moved| moved.to));
        }
        assert_eq!(limits, [20, 26, 26, 26, 25, 24].map(Some));
    }

    #[test]
    fn forgets_the_least_latency_in_time() {
        let mut dice = Rng::from_seed(7);
        let mut vegas = Vegas::new(Instant::ZERO, &CONFIG, &mut dice);
        let _ = window(&mut vegas, 1, 20, Outcome::Answered);
        for _ in 0..20 * 30 {
            let _ = window(&mut vegas, 2, 1, Outcome::Answered);
        }
        assert_eq!(vegas.least, 2_000_000);
    }

    #[test]
    fn digits_are_those_of_the_limit() {
        assert_eq!([1, 9, 10, 99, 100, 999, 1000, 100_000].map(digits), [1, 1, 1, 1, 2, 2, 3, 5]);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            /// The model is the published rule in floating point.
            #[test]
            fn decides_as_the_published_rule(
                windows in prop::collection::vec((1_u64..50, 1_u32..200, any::<bool>()), 1..100),
            ) {
                let mut dice = Rng::from_seed(7);
                let mut vegas = Vegas::new(Instant::ZERO, &Config { probe: 10_000, ..CONFIG }, &mut dice);
                let (mut limit, mut least) = (20_i64, None::<u64>);
                for (millis, in_flight, failed) in windows {
                    let outcome = if failed { Outcome::Failed } else { Outcome::Answered };
                    let moved = window(&mut vegas, millis, in_flight, outcome).expect("a window ended");
                    let log = (limit as f64).log10().floor().max(1.0) as i64;
                    let known = least.is_some_and(|least| millis >= least);
                    if failed {
                        limit -= log;
                    } else if !known {
                        least = Some(millis);
                    } else if i64::from(in_flight) * 2 >= limit {
                        let ratio = least.expect("known") as f64 / millis as f64;
                        let queue = (limit as f64 * (1.0 - ratio) - 1e-9).ceil() as i64;
                        limit += match queue {
                            queue if queue <= log => 6 * log,
                            queue if queue < 3 * log => log,
                            queue if queue > 6 * log => -log,
                            _ => 0,
                        };
                    }
                    limit = limit.clamp(1, 1000);
                    prop_assert_eq!(i64::from(moved.to), limit);
                }
            }
        }
    }
}
