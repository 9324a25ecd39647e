//! Breakers and outlier ejection of a TrafficPolicy, as the proxies get them, and what a person reads when they are wrong.

#[expect(dead_code, reason = "shared with the tests of references, which use the rest")]
mod shop;

use std::time::Duration;

use shop::SHOP;
use squall_control::Resources;
use squall_policy::{
    BackendName, BackendPolicy, BreakerConfig, Deviation, Enforcing, FailurePercentage, OutlierConfig, SlowCalls,
    SuccessRate,
};

fn policy(spec: &str) -> BackendPolicy {
    let mesh = shop::mesh(&format!("{SHOP}  {spec}\n")).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    mesh.backends[&BackendName::new("shop", "catalog", 80)].clone()
}

#[track_caller]
fn refused(spec: &str, want: &[&str]) {
    let text = format!("{SHOP}  {spec}\n");
    let mistakes = Resources::read(&[("shop.yaml", &text)]).expect_err("must be refused");
    let shown: Vec<String> = mistakes
        .iter()
        .map(|mistake| {
            let (place, help) = (&mistake.place, mistake.help.as_ref().map(|help| format!(" ({help})")));
            format!("{}:{}: {}{}", place.line, place.column, mistake.message, help.unwrap_or_default())
        })
        .collect();
    assert_eq!(shown, want);
}

#[test]
fn a_breaker_has_what_it_says_and_the_defaults_beside_it() {
    assert_eq!(policy("circuitBreaker: {}").breaker, Some(BreakerConfig::DEFAULT));
    assert_eq!(policy("limits: {inFlight: 7}").breaker, None);
    let all = policy(
        "circuitBreaker: {consecutiveFailures: 5, successRate: {below: 70%, window: 5s, minRequests: 9}, \
         slowCalls: {slowerThan: 1s, above: 12.5%, window: 1m, minRequests: 3}, \
         open: {min: 2s, max: 4s, jitter: 10%}, probes: 3, floor: 1}",
    );
    let want = BreakerConfig {
        consecutive_failures: Some(5),
        success_rate: Some(SuccessRate { below_permille: 700, window: Duration::from_secs(5), min_requests: 9 }),
        slow_calls: Some(SlowCalls {
            slower_than: Duration::from_secs(1),
            above_permille: 125,
            window: Duration::from_secs(60),
            min_requests: 3,
        }),
        open_min: Duration::from_secs(2),
        open_max: Duration::from_secs(4),
        jitter_permille: 100,
        probes: 3,
        floor: 1,
    };
    assert_eq!((all.breaker, all.service_breaker), (Some(want), None));
}

#[test]
fn runs_of_failures_do_not_matter_where_only_shares_are_given() {
    let rate = policy("circuitBreaker: {successRate: {below: 70%}}").breaker.expect("it is set");
    let success_rate = Some(SuccessRate { below_permille: 700, ..SuccessRate::default() });
    assert_eq!(rate, BreakerConfig { consecutive_failures: None, success_rate, ..BreakerConfig::DEFAULT });
    let slow = policy("serviceCircuitBreaker: {slowCalls: {slowerThan: 250ms}}");
    let slow_calls = Some(SlowCalls::slower_than(Duration::from_millis(250)));
    let want = BreakerConfig { consecutive_failures: None, slow_calls, ..BreakerConfig::DEFAULT };
    assert_eq!((slow.breaker, slow.service_breaker), (None, Some(want)));
    let both = policy("circuitBreaker: {consecutiveFailures: 7, successRate: {}}").breaker.expect("it is set");
    assert_eq!(both.consecutive_failures, Some(7));
}

#[test]
fn outlier_detection_has_envoys_defaults() {
    assert_eq!(policy("outlierDetection: {}").outliers, Some(OutlierConfig::DEFAULT));
    let all = policy(
        "outlierDetection: {consecutive5xx: 2, consecutiveGatewayFailure: 3, consecutiveLocalOriginFailure: 4, \
         splitExternalLocalOriginErrors: true, successRate: {minimumHosts: 3, requestVolume: 9, stdevFactor: 1.2}, \
         failurePercentage: {threshold: 50%, minimumHosts: 2, requestVolume: 8}, \
         enforcing: {consecutiveGatewayFailure: 10%, failurePercentage: 20%, localOriginFailurePercentage: 30%, \
         localOriginSuccessRate: 40%, consecutiveLocalOriginFailure: 50%, successRate: 60%, consecutive5xx: 70%}, \
         interval: 1s, baseEjection: 2s, maxEjection: 3s, maxEjectionJitter: 4s, maxEjectionPercent: 50, \
         alwaysEjectOne: false, floor: 2}",
    );
    let want = OutlierConfig {
        consecutive_5xx: 2,
        consecutive_gateway_failure: 3,
        consecutive_local_origin_failure: 4,
        split_local_origin: true,
        success_rate: Deviation { minimum_hosts: 3, request_volume: 9, stdev_factor: 1200 },
        failure_percentage: FailurePercentage { threshold: 50, minimum_hosts: 2, request_volume: 8 },
        enforcing: Enforcing {
            consecutive_gateway_failure: 10,
            failure_percentage: 20,
            local_origin_failure_percentage: 30,
            local_origin_success_rate: 40,
            consecutive_local_origin_failure: 50,
            success_rate: 60,
            consecutive_5xx: 70,
        },
        interval: Duration::from_secs(1),
        base_ejection: Duration::from_secs(2),
        max_ejection: Duration::from_secs(3),
        max_ejection_jitter: Duration::from_secs(4),
        max_ejection_percent: 50,
        always_eject_one: false,
        floor: 2,
    };
    assert_eq!(all.outliers, Some(want));
}

#[test]
fn impossible_breakers_are_refused_where_they_stand() {
    refused("circuitBreaker: {successRate: {below: 0%}}", &["11:41: no success rate is below 0%"]);
    refused(
        "circuitBreaker: {slowCalls: {above: 100%}}",
        &["11:31: slowCalls needs `slowerThan`", "11:39: no share of slow calls is above 100%"],
    );
    refused(
        "serviceCircuitBreaker: {floor: 1}",
        &["11:27: `floor` of serviceCircuitBreaker is not supported \
           (the breaker of a Service has no endpoints of its own to keep: set it in `circuitBreaker`)"],
    );
}

#[test]
fn settings_without_an_effect_are_refused_by_name() {
    refused(
        "outlierDetection: {consecutiveGatewayFailure: 3, failurePercentage: {threshold: 50%}}",
        &[
            "11:22: `consecutiveGatewayFailure` has no effect: it is not enforced \
             (write enforcing: {consecutiveGatewayFailure: 100%})",
            "11:52: `failurePercentage` has no effect: it is not enforced \
             (write enforcing: {failurePercentage: 100%})",
        ],
    );
    refused(
        "outlierDetection: {consecutiveLocalOriginFailure: 3, enforcing: {localOriginSuccessRate: 10%}}",
        &[
            "11:22: `consecutiveLocalOriginFailure` has no effect unless \
             `splitExternalLocalOriginErrors` is true",
            "11:68: `localOriginSuccessRate` has no effect unless `splitExternalLocalOriginErrors` is true",
        ],
    );
    refused(
        "outlierDetection: {successRate: {stdevFactor: 1900}, enforcing: {consecutive5xx: 12.5%}}",
        &["11:49: must be a number from 0 to 100, such as 1.9 (Envoy's 1900)", "11:84: must be a whole percentage"],
    );
}
