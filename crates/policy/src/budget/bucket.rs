//! A plain token bucket, without a clock.
//!
//! ```text
//!   full at first
//!   first try sent:  + deposit, at most size
//!   retry decided:   needs more than one token, takes one
//! ```
//!
//! Source: Brooker, "Fixing retries with token buckets and circuit breakers" (2022-02-28): .1 per call, 5 tokens. Counted
//! in thousandths of a token.

use crate::mesh::RetryBucket as Config;

const RETRY: u64 = 1000;

/// The machine.
#[derive(Debug)]
pub(crate) struct Bucket {
    config: Config,
    tokens: u64,
}

impl Bucket {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, tokens: u64::from(config.size) * 1000 }
    }

    pub(crate) fn on_first_try(&mut self) {
        let grown = self.tokens + u64::from(self.config.deposit_permille);
        self.tokens = mutant!("bucket-grows-past-its-size", grown.min(u64::from(self.config.size) * 1000), grown);
    }

    pub(crate) fn allows(&self) -> bool {
        self.tokens > RETRY
    }

    pub(crate) fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(RETRY);
    }

    pub(crate) fn left(&self) -> u64 {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::trials::{Load, load};

    #[test]
    fn a_retry_needs_more_than_one_token() {
        let mut bucket = Bucket::new(Config::default());
        let mut taken = 0;
        while bucket.allows() {
            bucket.take();
            taken += 1;
        }
        assert_eq!((taken, bucket.left()), (4, 1000), "five tokens are four retries: the last one is not enough");
        bucket.on_first_try();
        assert!(bucket.allows(), "1.1 is more than one");
        (0..1000).for_each(|_| bucket.on_first_try());
        assert_eq!(bucket.left(), 5000, "never more than its size");
    }

    /// Brooker's figures, of 100 calls per client and three retries at most: success and load.
    #[test]
    fn bounds_the_load_as_published() {
        for (failing, success, attempts) in [(50, 9997, 10_530), (100, 9915, 11_020), (500, 5697, 11_420)] {
            let limits = crate::mesh::RetryLimits { bucket: Some(Config::default()), ..Default::default() };
            let found = load(limits, failing, 3, 100, 4000);
            let want = Load { success, attempts };
            assert!(found.is_near(want, 40, 60), "{failing} permille fail: {found:?}, published {want:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// Whatever happens in whatever order: retries ≤ size + deposits.
            #[test]
            fn retries_never_exceed_size_and_deposits(
                size in 1_u32..10,
                deposit_permille in 0_u32..2000,
                events in prop::collection::vec(any::<bool>(), 1..500),
            ) {
                let mut bucket = Bucket::new(Config { deposit_permille, size });
                let (mut model, mut deposits, mut retries) = (f64::from(size), 0_u64, 0_u64);
                for is_retry in events {
                    if !is_retry {
                        bucket.on_first_try();
                        deposits += 1;
                        model = (model + f64::from(deposit_permille) / 1000.0).min(f64::from(size));
                        continue;
                    }
                    prop_assert_eq!(bucket.allows(), model > 1.0 + 1e-6);
                    if bucket.allows() {
                        bucket.take();
                        model -= 1.0;
                        retries += 1;
                        prop_assert!(retries * 1000 < u64::from(size) * 1000 + deposits * u64::from(deposit_permille));
                    }
                }
            }
        }
    }
}
