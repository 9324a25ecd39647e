//! gRPC's retry throttling.
//!
//! ```text
//!   max_tokens at first
//!   a try failed as the policy lists:  − 1, not under 0          counted before its own retry is decided, and also
//!   a try succeeded:                   + ratio, at most max      when no try is left
//!   retries while tokens > max_tokens / 2
//! ```
//!
//! What neither succeeded nor is listed counts as neither, as in gRPC. It bites at a share of failures above
//! ratio/(1 + ratio), 9.09 % by default. Source: gRFC A6 `retryThrottling`; where it says nothing, gRPC's C++ core.

use crate::mesh::RetryThrottling as Config;

/// The machine.
#[derive(Debug)]
pub(crate) struct Throttling {
    config: Config,
    tokens: u64,
}

impl Throttling {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, tokens: u64::from(config.max_tokens) * 1000 }
    }

    pub(crate) fn on_failure(&mut self) {
        self.tokens = self.tokens.saturating_sub(1000);
    }

    pub(crate) fn on_success(&mut self) {
        let grown = self.tokens + u64::from(self.config.ratio_permille);
        self.tokens = grown.min(u64::from(self.config.max_tokens) * 1000);
    }

    pub(crate) fn allows(&self) -> bool {
        let (twice, most) = (self.tokens * 2, u64::from(self.config.max_tokens) * 1000);
        mutant!("grpc-throttling-lets-the-half-through", twice > most, twice >= most)
    }

    /// Failures that it stands yet.
    pub(crate) fn left(&self) -> u64 {
        self.tokens.saturating_sub(u64::from(self.config.max_tokens) * 500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::trials::{Load, load};

    #[test]
    fn the_failure_that_reaches_the_half_is_not_retried() {
        let mut throttling = Throttling::new(Config::default());
        let allowed: Vec<bool> = (0..6)
            .map(|_| {
                throttling.on_failure();
                throttling.allows()
            })
            .collect();
        assert_eq!(allowed, [true, true, true, true, false, false]);
        (0..10).for_each(|_| throttling.on_success());
        assert!(!throttling.allows(), "one success in ten of a token: at 5.0 again");
        throttling.on_success();
        assert!(throttling.allows());
    }

    /// Load of a steady stream whose tries fail so often, four tries at most.
    #[test]
    fn stops_retries_above_its_critical_share_of_failures() {
        for (failing, attempts) in [(20, 1_0210), (50, 1_0520), (80, 1_0620), (100, 1_0220), (300, 1_0000)] {
            let limits = crate::mesh::RetryLimits { throttling: Some(Config::default()), ..Default::default() };
            let found = load(limits, failing, 3, 200_000, 1);
            assert!(found.is_near(Load { attempts, ..found }, 0, 40), "{failing} permille fail: {found:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn follows_a_plain_count(
                max_tokens in 1_u32..20,
                ratio_permille in 1_u32..2000,
                events in prop::collection::vec(any::<bool>(), 1..500),
            ) {
                let mut throttling = Throttling::new(Config { max_tokens, ratio_permille });
                let most = i64::from(max_tokens) * 1000;
                let mut tokens = most;
                for failed in events {
                    if failed {
                        throttling.on_failure();
                        tokens = (tokens - 1000).max(0);
                    } else {
                        throttling.on_success();
                        tokens = (tokens + i64::from(ratio_permille)).min(most);
                    }
                    prop_assert_eq!(throttling.allows(), 2 * tokens > most);
                    prop_assert_eq!(throttling.left() as i64, (tokens - most / 2).max(0));
                }
            }
        }
    }
}
