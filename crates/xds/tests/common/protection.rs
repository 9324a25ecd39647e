//! Arbitrary valid breakers and outlier ejection.

use proptest::option;
use proptest::prelude::*;
use squall_policy::{BreakerConfig, Deviation, Enforcing, FailurePercentage, OutlierConfig, SlowCalls, SuccessRate};

use super::span;

/// Of endpoints, of the whole, and outlier ejection.
pub fn all() -> impl Strategy<Value = (Option<BreakerConfig>, Option<BreakerConfig>, Option<OutlierConfig>)> {
    (option::of(breaker()), option::of(service_breaker()), option::of(outliers()))
}

fn breaker() -> impl Strategy<Value = BreakerConfig> {
    let rate = (1_u32..=1000, span(100, 60_000), 1_u32..99)
        .prop_map(|(below_permille, window, min_requests)| SuccessRate { below_permille, window, min_requests });
    let slow = (span(1, 9000), 0_u32..1000, span(100, 60_000), 1_u32..99).prop_map(
        |(slower_than, above_permille, window, min_requests)| SlowCalls {
            slower_than,
            above_permille,
            window,
            min_requests,
        },
    );
    let reasons = (option::of(1_u32..100), option::of(rate), option::of(slow))
        .prop_map(|(run, rate, slow)| (run.or((rate.is_none() && slow.is_none()).then_some(7)), rate, slow));
    (reasons, span(1, 5000), span(5000, 60_000), 0_u32..=1000, 1_u32..5, 0_u32..9).prop_map(
        |((consecutive_failures, success_rate, slow_calls), open_min, open_max, jitter_permille, probes, floor)| {
            BreakerConfig {
                consecutive_failures,
                success_rate,
                slow_calls,
                open_min,
                open_max,
                jitter_permille,
                probes,
                floor,
            }
        },
    )
}

fn service_breaker() -> impl Strategy<Value = BreakerConfig> {
    breaker().prop_map(|breaker| BreakerConfig { floor: 0, ..breaker })
}

fn outliers() -> impl Strategy<Value = OutlierConfig> {
    let runs = [1_u32..100, 1..100, 1..100];
    let volumes = prop::array::uniform4(0_u32..1000);
    let percents = prop::array::uniform9(0_u32..=100);
    let spans = (span(1, 5000), span(1, 5000), span(5000, 60_000), span(0, 5000));
    (runs, volumes, percents, spans, 0_u32..=100_000, any::<[bool; 2]>(), 1_u32..9).prop_map(
        |(runs, volumes, percents, spans, stdev_factor, [split_local_origin, always_eject_one], floor)| OutlierConfig {
            consecutive_5xx: runs[0],
            consecutive_gateway_failure: runs[1],
            consecutive_local_origin_failure: runs[2],
            split_local_origin,
            success_rate: Deviation { minimum_hosts: volumes[0], request_volume: volumes[1], stdev_factor },
            failure_percentage: FailurePercentage {
                threshold: percents[0],
                minimum_hosts: volumes[2],
                request_volume: volumes[3],
            },
            enforcing: Enforcing {
                consecutive_5xx: percents[1],
                consecutive_gateway_failure: percents[2],
                consecutive_local_origin_failure: percents[3],
                success_rate: percents[4],
                local_origin_success_rate: percents[5],
                failure_percentage: percents[6],
                local_origin_failure_percentage: percents[7],
            },
            interval: spans.0,
            base_ejection: spans.1,
            max_ejection: spans.2,
            max_ejection_jitter: spans.3,
            max_ejection_percent: percents[8],
            always_eject_one,
            floor,
        },
    )
}
