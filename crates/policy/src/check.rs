//! The limits on settings: each type says what it allows, and whoever makes one (control plane, xDS) asks it.
//!
//! The machines rely on checked settings. What no limit forbids is obeyed to the letter; nothing is clamped in silence.

mod balance;
mod exchange;
mod overload;

mod protection;

use std::fmt::Debug;
use std::time::Duration;

use crate::mesh::{
    AbortWith, Adaptive, BackendPolicy, Backoff, Balancing, Breaker, Budget, ClientThrottle, Endpoint, FaultAbort,
    FaultDelay, Hedging, Inbound, Limits, Outliers, RateLimit, RetryOn, RetryPolicy, RouteFault, RouteTimeouts,
    StreamPolicy,
};

/// A setting outside its limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be {allowed}")]
pub struct Invalid {
    /// Which, from the checked value on: `breaker.open_min`.
    pub field: String,
    /// What it is: `0ns`.
    pub value: String,
    /// What it may be: `1ms or more`.
    pub allowed: &'static str,
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTES_5: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const MEBIBYTES_16: u32 = 16 << 20;

fn require(holds: bool, field: &str, value: impl Debug, allowed: &'static str) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid { field: field.to_owned(), value: format!("{value:?}"), allowed }) }
}

fn positive(span: Option<Duration>, field: &str) -> Result<(), Invalid> {
    require(span.is_none_or(|span| !span.is_zero()), field, span.unwrap_or_default(), "more than 0")
}

fn within(part: &str, checked: Result<(), Invalid>) -> Result<(), Invalid> {
    checked.map_err(|invalid| Invalid { field: format!("{part}.{}", invalid.field), ..invalid })
}

impl RetryPolicy {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require((1..=1000).contains(&self.retries), "retries", self.retries, "1 to 1000")?;
        require(!self.on.is_empty(), "on", &self.on, "one reason at least")?;
        for &on in &self.on {
            match on {
                RetryOn::Status(status) => {
                    require((400..=599).contains(&status), "on.status", status, "400 to 599")?;
                }
                RetryOn::Grpc(status) => require((1..=16).contains(&status), "on.grpc", status, "1 to 16")?,
                RetryOn::ConnectFailure
                | RetryOn::Reset
                | RetryOn::RefusedStream
                | RetryOn::PerTryTimeout
                | RetryOn::Status5xx
                | RetryOn::GatewayError => {}
            }
        }
        require(self.buffer_bytes <= MEBIBYTES_16, "buffer_bytes", self.buffer_bytes, "16 MiB or less")?;
        within("backoff", self.backoff.check())
    }
}

impl Backoff {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require(self.first >= MILLISECOND, "first", self.first, "1ms or more")?;
        require(self.last >= self.first, "last", self.last, "`first` or more")?;
        require(self.last <= MINUTES_5, "last", self.last, "5min or less")
    }
}

impl RouteTimeouts {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        positive(self.request, "request")?;
        positive(self.per_try, "per_try")?;
        positive(self.idle, "idle")?;
        positive(self.stream, "stream")
    }
}

impl StreamPolicy {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        positive(self.idle, "idle")?;
        positive(self.longest, "longest")?;
        require(self.retries <= 1000, "retries", self.retries, "0 to 1000")?;
        within("backoff", self.backoff.check())
    }
}

impl RouteFault {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        let some = self.delay.is_some() || self.abort.is_some();
        require(some, "fault", self, "a delay, an abort or both")?;
        let share = |ppm: u32| (1..=1_000_000).contains(&ppm);
        if let Some(FaultDelay { span, ppm }) = self.delay {
            require(!span.is_zero() && span <= HOUR, "delay.span", span, "more than 0, at most 1h")?;
            require(share(ppm), "delay.ppm", ppm, "1 to 1000000")?;
        }
        if let Some(FaultAbort { with, ppm }) = self.abort {
            match with {
                AbortWith::Status(status) => {
                    require((400..=599).contains(&status), "abort.status", status, "400 to 599")?;
                }
                AbortWith::Grpc(code) => require((1..=16).contains(&code), "abort.grpc", code, "1 to 16")?,
            }
            require(share(ppm), "abort.ppm", ppm, "1 to 1000000")?;
        }
        Ok(())
    }
}

impl Balancing {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        match *self {
            Self::PeakEwma { decay, default_rtt, choices } => {
                positive(Some(decay), "decay")?;
                positive(Some(default_rtt), "default_rtt")?;
                require(choices >= 1, "choices", choices, "1 or more")
            }
            Self::LeastRequest { choices } => require(choices >= 1, "choices", choices, "1 or more"),
            Self::RoundRobin | Self::Random => Ok(()),
            Self::Hash(ref hashing) => hashing.check(),
        }
    }
}

impl Budget {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require(self.percent <= 1000, "percent", self.percent, "1000 or less")?;
        require((SECOND..=HOUR).contains(&self.window), "window", self.window, "1s to 1h")
    }
}

impl Limits {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require(self.in_flight >= 1, "in_flight", self.in_flight, "1 or more")?;
        positive(self.queue_timeout, "queue_timeout")?;
        within(
            "adaptive",
            self.adaptive.as_ref().map_or(Ok(()), |adaptive| Adaptive::check(adaptive, self.in_flight)),
        )?;
        within("queue", self.queue.check())
    }
}

impl BackendPolicy {
    /// Checks the limits, those of the parts too.
    ///
    /// # Errors
    /// The first field outside its limits, such as `breaker.open_min`.
    pub fn check(&self) -> Result<(), Invalid> {
        within("balancing", self.balancing.check())?;
        within("candidates", self.candidates.check(&self.balancing))?;
        within("health", self.health.as_ref().map_or(Ok(()), |check| check.check(self.protocol)))?;
        within("breaker", self.breaker.as_ref().map_or(Ok(()), Breaker::check))?;
        within("service_breaker", self.service_breaker.as_ref().map_or(Ok(()), Breaker::check_service))?;
        within("outliers", self.outliers.as_ref().map_or(Ok(()), Outliers::check))?;
        within("limits", self.limits.check())?;
        within("rate", self.rate.as_ref().map_or(Ok(()), RateLimit::check))?;
        within("budget", self.budget.as_ref().map_or(Ok(()), Budget::check))?;
        within("retry_limits", self.retry_limits.check())?;
        within("throttle", self.throttle.as_ref().map_or(Ok(()), ClientThrottle::check))?;
        within("hedging", self.hedging.as_ref().map_or(Ok(()), Hedging::check))?;
        positive(Some(self.connect_timeout), "connect_timeout")?;
        positive(self.pool_idle, "pool_idle")
    }
}

impl Inbound {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        within("limits", self.limits.check())?;
        within("rate", self.rate.as_ref().map_or(Ok(()), RateLimit::check))?;
        let rules = self.access.deny.iter().chain(self.access.allow.iter().flatten()).chain(&self.access.audit);
        let nameless = rules.filter(|rule| rule.name.is_empty()).count();
        require(nameless == 0, "access.name", "empty", "a name for each rule")
    }
}

impl Endpoint {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require(self.weight >= 1, "weight", self.weight, "1 or more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Jitter;

    #[track_caller]
    fn refused(checked: Result<(), Invalid>, message: &str) {
        assert_eq!(checked.map_err(|invalid| invalid.to_string()), Err(message.to_owned()));
    }

    #[test]
    fn the_defaults_are_within_their_own_limits() {
        let policy = BackendPolicy {
            breaker: Some(Breaker::default()),
            outliers: Some(Outliers::default()),
            ..BackendPolicy::default()
        };
        assert_eq!(policy.check(), Ok(()));
        assert_eq!(RouteTimeouts::default().check(), Ok(()));
    }

    #[test]
    fn each_limit_is_named_with_field_value_and_range() {
        let policy = |change: &dyn Fn(&mut BackendPolicy)| {
            let mut policy = BackendPolicy {
                breaker: Some(Breaker::default()),
                outliers: Some(Outliers::default()),
                ..BackendPolicy::default()
            };
            change(&mut policy);
            policy.check()
        };
        let breaker = |change: &dyn Fn(&mut Breaker)| policy(&|p| change(p.breaker.as_mut().expect("set above")));
        let outliers = |change: &dyn Fn(&mut Outliers)| policy(&|p| change(p.outliers.as_mut().expect("set above")));
        let budget = |change: &dyn Fn(&mut Budget)| policy(&|p| change(p.budget.as_mut().expect("set by default")));

        refused(breaker(&|b| b.open_min = Duration::ZERO), "breaker.open_min is 0ns, but must be 1ms or more");
        refused(breaker(&|b| b.open_max = MILLISECOND), "breaker.open_max is 1ms, but must be `open_min` or more");
        refused(breaker(&|b| b.jitter_permille = 1001), "breaker.jitter_permille is 1001, but must be 1000 or less");
        refused(breaker(&|b| b.probes = 0), "breaker.probes is 0, but must be 1 or more");
        refused(
            breaker(&|b| b.consecutive_failures = Some(0)),
            "breaker.consecutive_failures is 0, but must be 1 or more",
        );
        refused(outliers(&|o| o.floor = 0), "outliers.floor is 0, but must be 1 or more");
        refused(
            outliers(&|o| o.max_ejection = SECOND),
            "outliers.max_ejection is 1s, but must be `base_ejection` or more",
        );
        refused(
            outliers(&|o| o.max_ejection_percent = 101),
            "outliers.max_ejection_percent is 101, but must be 100 or less",
        );
        refused(budget(&|b| b.percent = 1001), "budget.percent is 1001, but must be 1000 or less");
        refused(budget(&|b| b.window = Duration::from_millis(999)), "budget.window is 999ms, but must be 1s to 1h");
        refused(policy(&|p| p.limits.in_flight = 0), "limits.in_flight is 0, but must be 1 or more");
        refused(
            policy(&|p| p.limits.queue_timeout = Some(Duration::ZERO)),
            "limits.queue_timeout is 0ns, but must be more than 0",
        );
        refused(policy(&|p| p.connect_timeout = Duration::ZERO), "connect_timeout is 0ns, but must be more than 0");
        refused(
            policy(&|p| p.balancing = Balancing::LeastRequest { choices: 0 }),
            "balancing.choices is 0, but must be 1 or more",
        );
    }

    #[test]
    fn a_retry_policy_outside_its_limits_is_refused() {
        let policy = |change: &dyn Fn(&mut RetryPolicy)| {
            let mut policy = RetryPolicy {
                retries: 2,
                on: vec![RetryOn::Status5xx],
                backoff: Backoff {
                    first: Duration::from_millis(25),
                    last: Duration::from_millis(250),
                    jitter: Jitter::Full,
                },
                non_idempotent: false,
                buffer_bytes: 65_536,
            };
            change(&mut policy);
            policy.check()
        };
        assert_eq!(policy(&|_| {}), Ok(()));
        refused(policy(&|p| p.retries = 0), "retries is 0, but must be 1 to 1000");
        refused(policy(&|p| p.retries = 1001), "retries is 1001, but must be 1 to 1000");
        refused(policy(&|p| p.on.clear()), "on is [], but must be one reason at least");
        refused(policy(&|p| p.on.push(RetryOn::Status(399))), "on.status is 399, but must be 400 to 599");
        refused(policy(&|p| p.on.push(RetryOn::Grpc(0))), "on.grpc is 0, but must be 1 to 16");
        refused(policy(&|p| p.backoff.last = MILLISECOND), "backoff.last is 1ms, but must be `first` or more");
        refused(policy(&|p| p.backoff.last = HOUR), "backoff.last is 3600s, but must be 5min or less");
        refused(policy(&|p| p.buffer_bytes = u32::MAX), "buffer_bytes is 4294967295, but must be 16 MiB or less");
    }
}
