//! Breakers and outlier ejection on the wire. A breaker is Squall's extension; Envoy ejects instead, by its nearest detectors.
//! Outlier ejection is Envoy's own, all of it, but for the floor.

use std::time::Duration;

use squall_policy::{
    BackendPolicy, BreakerConfig, Deviation, Enforcing, FailurePercentage, OutlierConfig, SlowCalls, SuccessRate,
};

use crate::decode::{Wrong, span as read, value};
use crate::encode::{number, span};
use crate::proto::{self, squall};

pub(crate) fn encode_breaker(breaker: BreakerConfig) -> squall::Breaker {
    squall::Breaker {
        consecutive_failures: breaker.consecutive_failures.unwrap_or(0),
        open_min: span(breaker.open_min),
        open_max: span(breaker.open_max),
        jitter_permille: breaker.jitter_permille,
        probes: breaker.probes,
        success_rate: breaker.success_rate.map(|rate| squall::SuccessRate {
            below_permille: rate.below_permille,
            window: span(rate.window),
            min_requests: rate.min_requests,
        }),
        slow_calls: breaker.slow_calls.map(|slow| squall::SlowCalls {
            slower_than: span(slow.slower_than),
            above_permille: slow.above_permille,
            window: span(slow.window),
            min_requests: slow.min_requests,
        }),
        floor: breaker.floor,
    }
}

pub(crate) fn decode_breaker(found: Option<&squall::Breaker>) -> Result<Option<BreakerConfig>, &'static str> {
    let Some(found) = found else { return Ok(None) };
    let success_rate = match &found.success_rate {
        None => None,
        Some(rate) => Some(SuccessRate {
            below_permille: rate.below_permille,
            window: read(rate.window)?.unwrap_or_default(),
            min_requests: rate.min_requests,
        }),
    };
    let slow_calls = match &found.slow_calls {
        None => None,
        Some(slow) => Some(SlowCalls {
            slower_than: read(slow.slower_than)?.unwrap_or_default(),
            above_permille: slow.above_permille,
            window: read(slow.window)?.unwrap_or_default(),
            min_requests: slow.min_requests,
        }),
    };
    Ok(Some(BreakerConfig {
        consecutive_failures: Some(found.consecutive_failures).filter(|most| *most > 0),
        success_rate,
        slow_calls,
        open_min: read(found.open_min)?.unwrap_or_default(),
        open_max: read(found.open_max)?.unwrap_or_default(),
        jitter_permille: found.jitter_permille,
        probes: found.probes,
        floor: found.floor,
    }))
}

/// What Envoy is told: the outlier ejection, or what comes nearest to the endpoints' breaker.
pub(crate) fn encode_outliers(policy: &BackendPolicy) -> Option<proto::OutlierDetection> {
    let outliers = match (policy.outliers, policy.breaker) {
        (Some(outliers), _) => outliers,
        (None, Some(breaker)) => nearest(&breaker),
        (None, None) => return None,
    };
    let enforcing = outliers.enforcing;
    Some(proto::OutlierDetection {
        consecutive_5xx: number(outliers.consecutive_5xx),
        interval: span(outliers.interval),
        base_ejection_time: span(outliers.base_ejection),
        max_ejection_percent: number(outliers.max_ejection_percent),
        enforcing_consecutive_5xx: number(enforcing.consecutive_5xx),
        enforcing_success_rate: number(enforcing.success_rate),
        success_rate_minimum_hosts: number(outliers.success_rate.minimum_hosts),
        success_rate_request_volume: number(outliers.success_rate.request_volume),
        success_rate_stdev_factor: number(outliers.success_rate.stdev_factor),
        consecutive_gateway_failure: number(outliers.consecutive_gateway_failure),
        enforcing_consecutive_gateway_failure: number(enforcing.consecutive_gateway_failure),
        split_external_local_origin_errors: outliers.split_local_origin,
        consecutive_local_origin_failure: number(outliers.consecutive_local_origin_failure),
        enforcing_consecutive_local_origin_failure: number(enforcing.consecutive_local_origin_failure),
        enforcing_local_origin_success_rate: number(enforcing.local_origin_success_rate),
        failure_percentage_threshold: number(outliers.failure_percentage.threshold),
        enforcing_failure_percentage: number(enforcing.failure_percentage),
        enforcing_failure_percentage_local_origin: number(enforcing.local_origin_failure_percentage),
        failure_percentage_minimum_hosts: number(outliers.failure_percentage.minimum_hosts),
        failure_percentage_request_volume: number(outliers.failure_percentage.request_volume),
        max_ejection_time: span(outliers.max_ejection),
        max_ejection_time_jitter: span(outliers.max_ejection_jitter),
        always_eject_one_host: Some(proto::Bool { value: outliers.always_eject_one }),
    })
}

/// Ejection after as many failures in a row, or at the same share of failures; slow calls have no counterpart.
fn nearest(breaker: &BreakerConfig) -> OutlierConfig {
    let default = OutlierConfig::DEFAULT;
    let rate = breaker.success_rate;
    let percent = |is_there: bool| if is_there { 100 } else { 0 };
    OutlierConfig {
        consecutive_5xx: breaker.consecutive_failures.unwrap_or(default.consecutive_5xx),
        interval: rate.map_or(breaker.open_min, |rate| rate.window),
        base_ejection: breaker.open_min,
        max_ejection: breaker.open_max,
        max_ejection_percent: 100,
        failure_percentage: rate.map_or(default.failure_percentage, |rate| FailurePercentage {
            threshold: 100 - rate.below_permille / 10,
            minimum_hosts: 1,
            request_volume: rate.min_requests,
        }),
        enforcing: Enforcing {
            consecutive_5xx: percent(breaker.consecutive_failures.is_some()),
            failure_percentage: percent(rate.is_some()),
            success_rate: 0,
            ..default.enforcing
        },
        ..default
    }
}

/// What is not set has Envoy's default, which is Squall's too, but for `always_eject_one_host`.
pub(crate) fn decode_outliers(
    cluster: &proto::Cluster,
    extension: Option<&squall::Backend>,
) -> Result<Option<OutlierConfig>, Wrong> {
    let Some(found) = &cluster.outlier_detection else { return Ok(None) };
    let default = OutlierConfig::DEFAULT;
    let floor = match extension {
        None => default.floor,
        Some(squall::Backend { outliers: Some(outliers), .. }) => outliers.floor,
        // Only the fallback for the breaker.
        Some(squall::Backend { outliers: None, .. }) => return Ok(None),
    };
    let wrong = |field: &'static str| move |why: &'static str| (field, why);
    let base = read(found.base_ejection_time).map_err(wrong("outlier_detection.base_ejection_time"))?;
    let most = read(found.max_ejection_time).map_err(wrong("outlier_detection.max_ejection_time"))?;
    let jitter = read(found.max_ejection_time_jitter).map_err(wrong("outlier_detection.max_ejection_time_jitter"))?;
    let interval = read(found.interval).map_err(wrong("outlier_detection.interval"))?;
    let base_ejection = base.unwrap_or(default.base_ejection);
    let or = |found: Option<proto::UInt32>, default: u32| value(found).unwrap_or(default);
    let (rate, percentage, enforcing) = (default.success_rate, default.failure_percentage, default.enforcing);
    Ok(Some(OutlierConfig {
        consecutive_5xx: or(found.consecutive_5xx, default.consecutive_5xx),
        consecutive_gateway_failure: or(found.consecutive_gateway_failure, default.consecutive_gateway_failure),
        consecutive_local_origin_failure: or(
            found.consecutive_local_origin_failure,
            default.consecutive_local_origin_failure,
        ),
        split_local_origin: found.split_external_local_origin_errors,
        success_rate: Deviation {
            minimum_hosts: or(found.success_rate_minimum_hosts, rate.minimum_hosts),
            request_volume: or(found.success_rate_request_volume, rate.request_volume),
            stdev_factor: or(found.success_rate_stdev_factor, rate.stdev_factor),
        },
        failure_percentage: FailurePercentage {
            threshold: or(found.failure_percentage_threshold, percentage.threshold),
            minimum_hosts: or(found.failure_percentage_minimum_hosts, percentage.minimum_hosts),
            request_volume: or(found.failure_percentage_request_volume, percentage.request_volume),
        },
        enforcing: Enforcing {
            consecutive_5xx: or(found.enforcing_consecutive_5xx, enforcing.consecutive_5xx),
            consecutive_gateway_failure: or(
                found.enforcing_consecutive_gateway_failure,
                enforcing.consecutive_gateway_failure,
            ),
            consecutive_local_origin_failure: or(
                found.enforcing_consecutive_local_origin_failure,
                enforcing.consecutive_local_origin_failure,
            ),
            success_rate: or(found.enforcing_success_rate, enforcing.success_rate),
            local_origin_success_rate: or(
                found.enforcing_local_origin_success_rate,
                enforcing.local_origin_success_rate,
            ),
            failure_percentage: or(found.enforcing_failure_percentage, enforcing.failure_percentage),
            local_origin_failure_percentage: or(
                found.enforcing_failure_percentage_local_origin,
                enforcing.local_origin_failure_percentage,
            ),
        },
        interval: interval.unwrap_or(default.interval),
        base_ejection,
        max_ejection: most.unwrap_or(default.max_ejection.max(base_ejection)),
        max_ejection_jitter: jitter.unwrap_or(Duration::ZERO),
        max_ejection_percent: or(found.max_ejection_percent, default.max_ejection_percent),
        always_eject_one: found.always_eject_one_host.is_some_and(|one| one.value),
        floor,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(breaker: BreakerConfig) -> proto::OutlierDetection {
        let policy = BackendPolicy { breaker: Some(breaker), ..BackendPolicy::default() };
        encode_outliers(&policy).expect("there is something near")
    }

    #[test]
    fn envoy_ejects_where_a_breaker_by_runs_would_open() {
        let told = told(BreakerConfig { consecutive_failures: Some(4), ..BreakerConfig::DEFAULT });
        assert_eq!((value(told.consecutive_5xx), value(told.enforcing_consecutive_5xx)), (Some(4), Some(100)));
        assert_eq!((value(told.enforcing_success_rate), value(told.enforcing_failure_percentage)), (Some(0), Some(0)));
        assert_eq!(
            (told.base_ejection_time, value(told.max_ejection_percent)),
            (span(Duration::from_secs(1)), Some(100))
        );
    }

    #[test]
    fn envoy_ejects_at_the_share_of_failures_at_which_a_breaker_would_open() {
        let rate = SuccessRate { below_permille: 705, window: Duration::from_secs(7), min_requests: 30 };
        let told =
            told(BreakerConfig { consecutive_failures: None, success_rate: Some(rate), ..BreakerConfig::DEFAULT });
        assert_eq!(
            (value(told.failure_percentage_threshold), value(told.enforcing_failure_percentage)),
            (Some(30), Some(100))
        );
        assert_eq!(
            (value(told.failure_percentage_request_volume), value(told.failure_percentage_minimum_hosts)),
            (Some(30), Some(1))
        );
        assert_eq!((told.interval, value(told.enforcing_consecutive_5xx)), (span(Duration::from_secs(7)), Some(0)));
    }

    #[test]
    fn the_fallback_for_a_breaker_is_not_taken_for_outlier_ejection() {
        let policy = BackendPolicy { breaker: Some(BreakerConfig::DEFAULT), ..BackendPolicy::default() };
        let cluster = proto::Cluster { outlier_detection: encode_outliers(&policy), ..proto::Cluster::default() };
        assert_eq!(decode_outliers(&cluster, Some(&squall::Backend::default())), Ok(None));
        assert!(
            decode_outliers(&cluster, None).is_ok_and(|outliers| outliers.is_some()),
            "of another server it is meant so"
        );
    }
}
