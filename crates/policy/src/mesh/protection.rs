//! Settings of circuit breakers and of outlier ejection.

use std::time::Duration;

/// A circuit breaker: closed (sending), open (refusing), half-open (probing). Of each endpoint
/// ([`BackendPolicy::breaker`](super::BackendPolicy::breaker)), or of a whole backend
/// ([`BackendPolicy::service_breaker`](super::BackendPolicy::service_breaker)). Each of `consecutive_failures`,
/// `success_rate` and `slow_calls` that is set may open it; one at least must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Opens after so many failures in a row, at least 1; `None`: runs of failures do not matter. Default 7 (Linkerd's).
    pub consecutive_failures: Option<u32>,
    /// Opens when too few of the latest calls succeed; `None`, the default: shares do not matter.
    pub success_rate: Option<SuccessRate>,
    /// Opens when too many of the latest calls are slow; `None`, the default: speed does not matter.
    pub slow_calls: Option<SlowCalls>,
    /// How long it stays open the first time, at least 1 ms. Doubles while probes fail. Default 1 s.
    pub open_min: Duration,
    /// The most it stays open, `open_min` to 24 h. Default 60 s.
    pub open_max: Duration,
    /// Spreads the open time: uniform in [t, t·(1 + jitter/1000)]. 0 to 1000. Default 500.
    pub jitter_permille: u32,
    /// How many requests may probe at once while half-open; as many successes close it. At least 1. Default 1.
    pub probes: u32,
    /// At least so many endpoints keep serving (breaker closed, not ejected, not draining), whatever they do: a breaker
    /// that would leave fewer stays closed. Default 0: all may open, and the backend is refused at once while all are.
    /// Must be 0 for the breaker of a whole backend.
    pub floor: u32,
}

impl Breaker {
    /// The defaults, for constants.
    pub const DEFAULT: Self = Self {
        consecutive_failures: Some(7),
        success_rate: None,
        slow_calls: None,
        open_min: Duration::from_secs(1),
        open_max: Duration::from_secs(60),
        jitter_permille: 500,
        probes: 1,
        floor: 0,
    };
}

impl Default for Breaker {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Too few of the calls of the latest `window` succeed. Hystrix's `errorThresholdPercentage` 50, `requestVolumeThreshold`
/// 20 and 10 s; resilience4j's `failureRateThreshold` 50 and `minimumNumberOfCalls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// Opens when fewer than so many of a thousand calls succeed, 1 to 1000. Default 500.
    pub below_permille: u32,
    /// How long a call counts, in ten buckets: at least nine tenths of this, at most all of it. 100 ms to 1 h. Default 10 s.
    pub window: Duration,
    /// Says nothing before so many calls are in the window, at least 1. Default 20.
    pub min_requests: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { below_permille: 500, window: Duration::from_secs(10), min_requests: 20 }
    }
}

/// Too many of the calls of the latest `window` are slow. resilience4j's `slowCallDurationThreshold` and
/// `slowCallRateThreshold`; unlike there, a call counts as soon as it *is* slow and not when it ends, since a backend that
/// hangs ends no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowCalls {
    /// A call without a head after so long is slow, 1 ms to 24 h. No default.
    pub slower_than: Duration,
    /// Opens when more than so many of a thousand calls are slow, 0 to 999. Default 500.
    pub above_permille: u32,
    /// As [`SuccessRate::window`].
    pub window: Duration,
    /// As [`SuccessRate::min_requests`].
    pub min_requests: u32,
}

impl SlowCalls {
    /// The defaults beside this threshold.
    #[must_use]
    pub const fn slower_than(slower_than: Duration) -> Self {
        Self { slower_than, above_permille: 500, window: Duration::from_secs(10), min_requests: 20 }
    }
}

/// Outlier ejection: all of Envoy's outlier detection, with its defaults, and a floor.
///
/// Failures are what a server says (5xx) or, unless `split_local_origin`, also what the proxy sees itself: no connection
/// (taken for a 503), a break (503), a try out of time (504).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// Ejects after so many 5xx in a row, at least 1. Default 5.
    pub consecutive_5xx: u32,
    /// Ejects after so many 502, 503 and 504 in a row, at least 1. Default 5; not enforced by default.
    pub consecutive_gateway_failure: u32,
    /// Ejects after so many failures in a row that the proxy sees itself, at least 1. Only if `split_local_origin`.
    /// Default 5.
    pub consecutive_local_origin_failure: u32,
    /// Counts what the proxy sees itself (no connection, a break, a try out of time) apart from what servers say.
    /// Default false. Envoy's `split_external_local_origin_errors`.
    pub split_local_origin: bool,
    /// Who is far below the others.
    pub success_rate: Deviation,
    /// Who fails in itself too often.
    pub failure_percentage: FailurePercentage,
    /// How seriously each finding is taken.
    pub enforcing: Enforcing,
    /// How often rates are looked at and ejected endpoints may return, at least 1 ms. Default 10 s.
    pub interval: Duration,
    /// Ejected for this × the number of ejections so far, at least 1 ms. Default 30 s.
    pub base_ejection: Duration,
    /// The most, `base_ejection` to 24 h. Default 300 s.
    pub max_ejection: Duration,
    /// Spreads the return: uniform in [0, this], added to each ejection. To 24 h. Default 0.
    pub max_ejection_jitter: Duration,
    /// At most so many percent of the endpoints are ejected at once, 0 to 100. Default 10.
    pub max_ejection_percent: u32,
    /// One may be ejected even if that is more than `max_ejection_percent` of them (unless that is 0). Default true; Envoy's
    /// `always_eject_one_host` is false by default, so that there 10 % of nine endpoints are none.
    pub always_eject_one: bool,
    /// At least so many endpoints are never ejected, at least 1. Default 1. Envoy has none.
    pub floor: u32,
}

impl Outliers {
    /// The defaults, for constants.
    pub const DEFAULT: Self = Self {
        consecutive_5xx: 5,
        consecutive_gateway_failure: 5,
        consecutive_local_origin_failure: 5,
        split_local_origin: false,
        success_rate: Deviation { minimum_hosts: 5, request_volume: 100, stdev_factor: 1900 },
        failure_percentage: FailurePercentage { threshold: 85, minimum_hosts: 5, request_volume: 50 },
        enforcing: Enforcing {
            consecutive_5xx: 100,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 100,
            success_rate: 100,
            local_origin_success_rate: 100,
            failure_percentage: 0,
            local_origin_failure_percentage: 0,
        },
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(300),
        max_ejection_jitter: Duration::ZERO,
        max_ejection_percent: 10,
        always_eject_one: true,
        floor: 1,
    };

    /// Whether the shares of an interval matter to anybody, or only runs of failures do.
    #[must_use]
    pub fn looks_at_rates(&self) -> bool {
        let Enforcing { success_rate, local_origin_success_rate, .. } = self.enforcing;
        let Enforcing { failure_percentage, local_origin_failure_percentage, .. } = self.enforcing;
        let local = local_origin_success_rate > 0 || local_origin_failure_percentage > 0;
        success_rate > 0 || failure_percentage > 0 || (self.split_local_origin && local)
    }
}

impl Default for Outliers {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// At the end of each interval, ejects whose success rate is less than the mean − factor × standard deviation, over the
/// endpoints with enough requests in that interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Only if so many endpoints had enough requests. Default 5.
    pub minimum_hosts: u32,
    /// Enough requests in one interval. Default 100.
    pub request_volume: u32,
    /// In thousandths of a standard deviation, 0 to 100,000. Default 1900.
    pub stdev_factor: u32,
}

/// At the end of each interval, ejects who failed too often in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// Ejects when so many percent of its requests failed or more, 0 to 100. Default 85.
    pub threshold: u32,
    /// Only if so many endpoints had enough requests. Default 5.
    pub minimum_hosts: u32,
    /// Enough requests in one interval. Default 50.
    pub request_volume: u32,
}

/// In how many percent of its findings a detector ejects, 0 (off) to 100 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforcing {
    /// Default 100.
    pub consecutive_5xx: u32,
    /// Default 0.
    pub consecutive_gateway_failure: u32,
    /// Default 100. Only if `split_local_origin`.
    pub consecutive_local_origin_failure: u32,
    /// Default 100.
    pub success_rate: u32,
    /// Default 100. Only if `split_local_origin`.
    pub local_origin_success_rate: u32,
    /// Default 0.
    pub failure_percentage: u32,
    /// Default 0. Only if `split_local_origin`.
    pub local_origin_failure_percentage: u32,
}
