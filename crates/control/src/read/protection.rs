//! `circuitBreaker`, `serviceCircuitBreaker` and `outlierDetection` of a TrafficPolicy.

use std::time::Duration;

use squall_policy::{BreakerConfig, Deviation, Enforcing, FailurePercentage, OutlierConfig, SlowCalls, SuccessRate};

use super::optional;
use super::policy::{DAY, MILLISECOND, ordered};
use crate::yaml::{Fields, Value};
use crate::{Mistake, units};

const HOUR: Duration = Duration::from_secs(3600);

/// Of each endpoint.
pub(super) fn breaker(value: Value<'_>) -> Option<BreakerConfig> {
    let known = &["consecutiveFailures", "successRate", "slowCalls", "open", "probes", "floor"];
    let fields = value.fields("circuitBreaker", known)?;
    let floor = optional(&fields, "floor", |value| value.integer_u32(0, u32::MAX));
    let breaker = read_breaker(&fields)?;
    Some(BreakerConfig { floor: floor?.unwrap_or(breaker.floor), ..breaker })
}

/// Of the whole Service.
pub(super) fn service_breaker(value: Value<'_>) -> Option<BreakerConfig> {
    let known = &["consecutiveFailures", "successRate", "slowCalls", "open", "probes"];
    let why = "the breaker of a Service has no endpoints of its own to keep: set it in `circuitBreaker`";
    read_breaker(&value.fields_beside("serviceCircuitBreaker", known, &[("floor", why)])?)
}

fn read_breaker(fields: &Fields<'_>) -> Option<BreakerConfig> {
    let default = BreakerConfig::DEFAULT;
    let count = |name| optional(fields, name, |value| value.integer_u32(1, u32::MAX));
    let (failures, probes) = (count("consecutiveFailures"), count("probes"));
    let success_rate = optional(fields, "successRate", success_rate);
    let slow_calls = optional(fields, "slowCalls", slow_calls);
    let open = match fields.get("open") {
        None => Some((default.open_min, default.open_max, default.jitter_permille)),
        Some(value) => read_open(value, &default),
    };
    let (success_rate, slow_calls) = (success_rate?, slow_calls?);
    let alone = success_rate.is_none() && slow_calls.is_none();
    let (open_min, open_max, jitter_permille) = open?;
    Some(BreakerConfig {
        consecutive_failures: failures?.or(default.consecutive_failures.filter(|_| alone)),
        success_rate,
        slow_calls,
        open_min,
        open_max,
        jitter_permille,
        probes: probes?.unwrap_or(default.probes),
        floor: default.floor,
    })
}

fn success_rate(value: Value<'_>) -> Option<SuccessRate> {
    let fields = value.fields("successRate", &["below", "window", "minRequests"])?;
    let below = optional(&fields, "below", |value| match value.permille(1000)? {
        0 => value.refuse("no success rate is below 0%"),
        below => Some(below),
    });
    let (window, min_requests) = volume(&fields);
    let default = SuccessRate::default();
    Some(SuccessRate {
        below_permille: below?.unwrap_or(default.below_permille),
        window: window?.unwrap_or(default.window),
        min_requests: min_requests?.unwrap_or(default.min_requests),
    })
}

fn slow_calls(value: Value<'_>) -> Option<SlowCalls> {
    let fields = value.fields("slowCalls", &["slowerThan", "above", "window", "minRequests"])?;
    let slower_than = fields.required("slowerThan").and_then(|value| value.duration_within(MILLISECOND, DAY));
    let above = optional(&fields, "above", |value| match value.permille(1000)? {
        1000 => value.refuse("no share of slow calls is above 100%"),
        above => Some(above),
    });
    let (window, min_requests) = volume(&fields);
    let default = SlowCalls::slower_than(slower_than?);
    Some(SlowCalls {
        above_permille: above?.unwrap_or(default.above_permille),
        window: window?.unwrap_or(default.window),
        min_requests: min_requests?.unwrap_or(default.min_requests),
        ..default
    })
}

fn volume(fields: &Fields<'_>) -> (Option<Option<Duration>>, Option<Option<u32>>) {
    let window = optional(fields, "window", |value| value.duration_within(Duration::from_millis(100), HOUR));
    (window, optional(fields, "minRequests", |value| value.integer_u32(1, u32::MAX)))
}

fn read_open(value: Value<'_>, default: &BreakerConfig) -> Option<(Duration, Duration, u32)> {
    let fields = value.fields("open", &["min", "max", "jitter"])?;
    let span = |name| optional(&fields, name, |value| value.duration_within(MILLISECOND, DAY));
    let (least, most) = (span("min"), span("max"));
    let jitter = optional(&fields, "jitter", |value| value.permille(1000));
    let least = least?.unwrap_or(default.open_min);
    let most = most?.unwrap_or(default.open_max.max(least));
    ordered(&fields, ("min", least), ("max", most))?;
    Some((least, most, jitter?.unwrap_or(default.jitter_permille)))
}

pub(super) fn outliers(value: Value<'_>) -> Option<OutlierConfig> {
    let known = &[
        "consecutive5xx",
        "consecutiveGatewayFailure",
        "consecutiveLocalOriginFailure",
        "splitExternalLocalOriginErrors",
        "successRate",
        "failurePercentage",
        "enforcing",
        "interval",
        "baseEjection",
        "maxEjection",
        "maxEjectionJitter",
        "maxEjectionPercent",
        "alwaysEjectOne",
        "floor",
    ];
    let fields = value.fields("outlierDetection", known)?;
    let default = OutlierConfig::DEFAULT;
    let count = |name, most| optional(&fields, name, move |value| value.integer_u32(1, most));
    let span = |name| optional(&fields, name, |value| value.duration_within(MILLISECOND, DAY));
    let truth = |name| optional(&fields, name, |value| value.boolean());
    let (consecutive, floor) = (count("consecutive5xx", u32::MAX), count("floor", u32::MAX));
    let gateway = count("consecutiveGatewayFailure", u32::MAX);
    let local = count("consecutiveLocalOriginFailure", u32::MAX);
    let (split, one) = (truth("splitExternalLocalOriginErrors"), truth("alwaysEjectOne"));
    let deviation = optional(&fields, "successRate", deviation);
    let percentage = optional(&fields, "failurePercentage", failure_percentage);
    let (interval, base, most) = (span("interval"), span("baseEjection"), span("maxEjection"));
    let jitter = optional(&fields, "maxEjectionJitter", |value| value.duration_within(Duration::ZERO, DAY));
    let percent = optional(&fields, "maxEjectionPercent", |value| value.integer_u32(0, 100));
    let split_local_origin = split?.unwrap_or(default.split_local_origin);
    let enforcing = match fields.get("enforcing") {
        None => Some(default.enforcing),
        Some(value) => enforcing(value, split_local_origin),
    };
    let enforcing = enforcing?;
    has_effect(&fields, &enforcing, split_local_origin);
    let base_ejection = base?.unwrap_or(default.base_ejection);
    let max_ejection = most?.unwrap_or(default.max_ejection.max(base_ejection));
    ordered(&fields, ("baseEjection", base_ejection), ("maxEjection", max_ejection))?;
    Some(OutlierConfig {
        consecutive_5xx: consecutive?.unwrap_or(default.consecutive_5xx),
        consecutive_gateway_failure: gateway?.unwrap_or(default.consecutive_gateway_failure),
        consecutive_local_origin_failure: local?.unwrap_or(default.consecutive_local_origin_failure),
        split_local_origin,
        success_rate: deviation?.unwrap_or(default.success_rate),
        failure_percentage: percentage?.unwrap_or(default.failure_percentage),
        enforcing,
        interval: interval?.unwrap_or(default.interval),
        base_ejection,
        max_ejection,
        max_ejection_jitter: jitter?.unwrap_or(default.max_ejection_jitter),
        max_ejection_percent: percent?.unwrap_or(default.max_ejection_percent),
        always_eject_one: one?.unwrap_or(default.always_eject_one),
        floor: floor?.unwrap_or(default.floor),
    })
}

fn deviation(value: Value<'_>) -> Option<Deviation> {
    let fields = value.fields("successRate", &["minimumHosts", "requestVolume", "stdevFactor"])?;
    let count = |name| optional(&fields, name, |value| value.integer_u32(0, u32::MAX));
    let (hosts, volume) = (count("minimumHosts"), count("requestVolume"));
    let factor = optional(&fields, "stdevFactor", |value| {
        let factor = units::scaled(value.scalar()?, 1000).and_then(|factor| u32::try_from(factor).ok());
        match factor.filter(|factor| *factor <= 100_000) {
            Some(factor) => Some(factor),
            None => value.refuse("must be a number from 0 to 100, such as 1.9 (Envoy's 1900)"),
        }
    });
    let default = OutlierConfig::DEFAULT.success_rate;
    Some(Deviation {
        minimum_hosts: hosts?.unwrap_or(default.minimum_hosts),
        request_volume: volume?.unwrap_or(default.request_volume),
        stdev_factor: factor?.unwrap_or(default.stdev_factor),
    })
}

fn failure_percentage(value: Value<'_>) -> Option<FailurePercentage> {
    let fields = value.fields("failurePercentage", &["threshold", "minimumHosts", "requestVolume"])?;
    let count = |name| optional(&fields, name, |value| value.integer_u32(0, u32::MAX));
    let (hosts, volume) = (count("minimumHosts"), count("requestVolume"));
    let threshold = optional(&fields, "threshold", whole_percent);
    let default = OutlierConfig::DEFAULT.failure_percentage;
    Some(FailurePercentage {
        threshold: threshold?.unwrap_or(default.threshold),
        minimum_hosts: hosts?.unwrap_or(default.minimum_hosts),
        request_volume: volume?.unwrap_or(default.request_volume),
    })
}

fn enforcing(value: Value<'_>, split: bool) -> Option<Enforcing> {
    let local = ["consecutiveLocalOriginFailure", "localOriginSuccessRate", "localOriginFailurePercentage"];
    let known = &[
        "consecutive5xx",
        "consecutiveGatewayFailure",
        "successRate",
        "failurePercentage",
        "consecutiveLocalOriginFailure",
        "localOriginSuccessRate",
        "localOriginFailurePercentage",
    ];
    let fields = value.fields("enforcing", known)?;
    if !split {
        local.iter().for_each(|name| refuse_local(&fields, name));
    }
    let percent = |name| optional(&fields, name, whole_percent);
    let (consecutive, gateway, rate) =
        (percent("consecutive5xx"), percent("consecutiveGatewayFailure"), percent("successRate"));
    let percentage = percent("failurePercentage");
    let [run, local_rate, local_percentage] = local.map(percent);
    let default = OutlierConfig::DEFAULT.enforcing;
    Some(Enforcing {
        consecutive_5xx: consecutive?.unwrap_or(default.consecutive_5xx),
        consecutive_gateway_failure: gateway?.unwrap_or(default.consecutive_gateway_failure),
        consecutive_local_origin_failure: run?.unwrap_or(default.consecutive_local_origin_failure),
        success_rate: rate?.unwrap_or(default.success_rate),
        local_origin_success_rate: local_rate?.unwrap_or(default.local_origin_success_rate),
        failure_percentage: percentage?.unwrap_or(default.failure_percentage),
        local_origin_failure_percentage: local_percentage?.unwrap_or(default.local_origin_failure_percentage),
    })
}

fn whole_percent(value: Value<'_>) -> Option<u32> {
    let permille = value.permille(1000)?;
    if permille.is_multiple_of(10) { Some(permille / 10) } else { value.refuse("must be a whole percentage") }
}

/// Envoy takes settings of detectors that eject nobody, and says nothing.
fn has_effect(fields: &Fields<'_>, enforcing: &Enforcing, split: bool) {
    if !split {
        refuse_local(fields, "consecutiveLocalOriginFailure");
    }
    let local = |percent: u32| if split { percent } else { 0 };
    for (name, percent) in [
        ("consecutive5xx", enforcing.consecutive_5xx),
        ("consecutiveGatewayFailure", enforcing.consecutive_gateway_failure),
        ("successRate", enforcing.success_rate.max(local(enforcing.local_origin_success_rate))),
        ("failurePercentage", enforcing.failure_percentage.max(local(enforcing.local_origin_failure_percentage))),
    ] {
        if let Some((key, _)) = fields.keyed(name).filter(|_| percent == 0) {
            let mistake = Mistake::new(&key.place, format!("`{name}` has no effect: it is not enforced"));
            fields.whole().mistakes().push(mistake.help(format!("write enforcing: {{{name}: 100%}}")));
        }
    }
}

fn refuse_local(fields: &Fields<'_>, name: &str) {
    if let Some((key, _)) = fields.keyed(name) {
        let message = format!("`{name}` has no effect unless `splitExternalLocalOriginErrors` is true");
        fields.whole().mistakes().push(Mistake::new(&key.place, message));
    }
}
