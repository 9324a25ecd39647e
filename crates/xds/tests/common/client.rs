//! Arbitrary valid settings of a client.

use proptest::option;
use proptest::prelude::*;
use squall_policy::{
    ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryLimits, RetryShare, RetryThrottling,
};

use super::span;

pub fn retry_limits() -> impl Strategy<Value = RetryLimits> {
    let share =
        (0_u32..=100, any::<u32>()).prop_map(|(percent, min_concurrent)| RetryShare { percent, min_concurrent });
    let bucket =
        (0_u32..=10_000, 1_u32..=1_000_000).prop_map(|(deposit_permille, size)| RetryBucket { deposit_permille, size });
    let throttling = (1_u32..=1000, 1_u32..=1_000_000)
        .prop_map(|(max_tokens, ratio_permille)| RetryThrottling { max_tokens, ratio_permille });
    let breaker =
        (0_u32..=100, option::of(span(1000, 3_600_000))).prop_map(|(percent, window)| RetryBreaker { percent, window });
    (option::of(share), option::of(bucket), option::of(throttling), option::of(breaker))
        .prop_map(|(share, bucket, throttling, breaker)| RetryLimits { share, bucket, throttling, breaker })
}

pub fn throttle() -> impl Strategy<Value = ClientThrottle> {
    (1000_u32..=100_000, span(1000, 3_600_000), 0_u32..=1_000_000)
        .prop_map(|(k_permille, window, min_requests)| ClientThrottle { k_permille, window, min_requests })
}

pub fn hedging() -> impl Strategy<Value = Hedging> {
    let after = prop_oneof![
        span(1, 3_600_000).prop_map(HedgeAfter::Delay),
        (1_u32..=999, 1_u32..=1_000_000, span(1000, 3_600_000))
            .prop_map(|(permille, min_samples, window)| { HedgeAfter::Percentile { permille, min_samples, window } }),
    ];
    (after, 2_u32..=10, any::<bool>(), 0_u32..1 << 24).prop_map(|(after, attempts, non_idempotent, buffer_bytes)| {
        Hedging { after, attempts, non_idempotent, buffer_bytes }
    })
}
