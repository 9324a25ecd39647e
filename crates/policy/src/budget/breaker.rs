//! A breaker of retries: no retry while too many tries fail.
//!
//! ```text
//!   first try sent:  calls + 1
//!   a try failed:    failures + 1                    its own retry is decided after this
//!   allowed while failures ≤ percent × calls         over all time, or the last `window` in ten slices
//! ```
//!
//! Failures of retries count too, first tries alone are calls. Source: Brooker, "Fixing retries with token buckets and
//! circuit breakers" (2022-02-28): 10 %, cumulative.

use crate::Instant;
use crate::budget::slices::Slices;
use crate::mesh::RetryBreaker as Config;

/// The machine.
#[derive(Debug)]
pub(crate) struct RetryBreaker {
    config: Config,
    calls: u64,
    failures: u64,
    /// Both by slice, where there is a window.
    recent: Option<Box<Slices<2>>>,
}

impl RetryBreaker {
    pub(crate) fn new(config: Config) -> Self {
        let recent = config.window.map(|window| Box::new(Slices::new(window)));
        Self { config, calls: 0, failures: 0, recent }
    }

    pub(crate) fn on_first_try(&mut self, now: Instant) {
        match &mut self.recent {
            Some(recent) => recent.add(now, 0, 1),
            None => self.calls += 1,
        }
    }

    pub(crate) fn on_failure(&mut self, now: Instant) {
        match &mut self.recent {
            Some(recent) => recent.add(now, 1, 1),
            None => self.failures += 1,
        }
    }

    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let [calls, failures] = match &mut self.recent {
            Some(recent) => recent.sums(now),
            None => [self.calls, self.failures],
        };
        u128::from(failures) * 100 <= u128::from(calls) * u128::from(self.config.percent)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::budget::trials::{Load, load};

    #[test]
    fn retries_stop_above_the_share_and_come_back_below() {
        let mut breaker = RetryBreaker::new(Config::default());
        let now = Instant::ZERO;
        (0..10).for_each(|_| breaker.on_first_try(now));
        breaker.on_failure(now);
        assert!(breaker.allows(now), "just 10 %");
        breaker.on_failure(now);
        assert!(!breaker.allows(now));
        (0..10).for_each(|_| breaker.on_first_try(now));
        assert!(breaker.allows(now));
    }

    #[test]
    fn a_window_forgets() {
        let window = Some(Duration::from_secs(10));
        let mut breaker = RetryBreaker::new(Config { window, ..Config::default() });
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        breaker.on_first_try(at(0));
        breaker.on_failure(at(0));
        assert!(!breaker.allows(at(9)));
        assert!(breaker.allows(at(10)));
        let mut forever = RetryBreaker::new(Config::default());
        forever.on_first_try(at(0));
        forever.on_failure(at(0));
        assert!(!forever.allows(at(1_000_000)));
    }

    /// Brooker's figures, of 100 calls per client and three retries at most: success and load.
    #[test]
    fn bounds_the_load_as_published() {
        for (failing, success, attempts) in [(50, 9858, 10_380), (100, 9270, 10_310), (500, 4990, 10_000)] {
            let limits = crate::mesh::RetryLimits { breaker: Some(Config::default()), ..Default::default() };
            let found = load(limits, failing, 3, 100, 4000);
            let want = Load { success, attempts };
            assert!(found.is_near(want, 40, 40), "{failing} permille fail: {found:?}, published {want:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model keeps the time of everything.
            #[test]
            fn decides_as_a_list_of_all_that_happened(
                percent in 0_u32..100,
                window_ms in prop::option::of(1000_u64..5000),
                events in prop::collection::vec((0_u64..400, 0_u8..3), 1..300),
            ) {
                let config = Config { percent, window: window_ms.map(Duration::from_millis) };
                let mut breaker = RetryBreaker::new(config);
                let (mut calls, mut failures, mut at) = (Vec::new(), Vec::new(), 0_u64);
                for (gap, what) in events {
                    at += gap;
                    let now = Instant::from_nanos(at * 1_000_000);
                    match what {
                        0 => { breaker.on_first_try(now); calls.push(at); }
                        1 => { breaker.on_failure(now); failures.push(at); }
                        _ => {}
                    }
                    let counts = |story: &[u64]| story.iter().filter(|then| window_ms.is_none_or(|window| {
                        let slice = window * 1_000_000 / 10;
                        **then * 1_000_000 / slice + 10 > at * 1_000_000 / slice
                    })).count() as u64;
                    prop_assert_eq!(breaker.allows(now), counts(&failures) * 100 <= counts(&calls) * u64::from(percent));
                }
            }
        }
    }
}
