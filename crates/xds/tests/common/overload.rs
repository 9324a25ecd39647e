//! Arbitrary valid settings against overload.

use std::sync::Arc;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use squall_policy::{Adaptive, Codel, Gradient, Queue, QueueOrder, Rate, RateLimit, Vegas};

use super::span;

pub fn adaptive() -> impl Strategy<Value = Option<Adaptive>> {
    let gradient = (
        (1_u32..=200, 0_u32..=10_000, 1_u32..=1000, span(1, 3_600_000)),
        (span(1, 86_400_000), 0_u32..=1000, 1_u32..=1000),
    )
        .prop_map(|((min, buffer_permille, percentile_permille, window), (min_rtt_interval, jitter, requests))| {
            Adaptive::Gradient(Gradient {
                min,
                buffer_permille,
                percentile_permille,
                window,
                min_rtt_interval,
                min_rtt_jitter_permille: jitter,
                min_rtt_requests: requests,
            })
        });
    let vegas = (1_u32..=100, 100_u32..=200, span(1, 3_600_000), 1_u32..=10_000)
        .prop_map(|(min, initial, window, probe)| Adaptive::Vegas(Vegas { min, initial, window, probe }));
    option::of(prop_oneof![gradient, vegas])
}

pub fn queue() -> impl Strategy<Value = Queue> {
    let order =
        prop_oneof![Just(QueueOrder::Fifo), span(1, 3_600_000).prop_map(|after| QueueOrder::AdaptiveLifo { after })];
    let codel = (span(1, 100), span(100, 3_600_000)).prop_map(|(target, interval)| Codel { target, interval });
    (order, any::<bool>(), option::of(codel), any::<bool>())
        .prop_map(|(order, priorities, codel, deadline_aware)| Queue { order, priorities, codel, deadline_aware })
}

pub fn rate() -> impl Strategy<Value = RateLimit> {
    let rate =
        || (1_u32.., span(1, 86_400_000), 1_u32..).prop_map(|(requests, per, burst)| Rate { requests, per, burst });
    (option::of(rate()), option::of(rate()), btree_map("spiffe://[a-z]{1,9}", rate(), 0..3)).prop_map(
        |(total, per_caller, overrides)| RateLimit {
            total,
            per_caller,
            overrides: overrides.into_iter().map(|(identity, rate)| (Arc::from(identity), rate)).collect(),
        },
    )
}
