//! Limits on settings of an exchange.

use std::time::Duration;

use super::{HOUR, Invalid, MEBIBYTES_16, MILLISECOND, SECOND, require, within};
use crate::mesh::{
    ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryLimits, RetryShare, RetryThrottling,
};

const MILLION: u32 = 1_000_000;

impl RetryLimits {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        within("share", self.share.as_ref().map_or(Ok(()), RetryShare::check))?;
        within("bucket", self.bucket.as_ref().map_or(Ok(()), RetryBucket::check))?;
        within("throttling", self.throttling.as_ref().map_or(Ok(()), RetryThrottling::check))?;
        within("breaker", self.breaker.as_ref().map_or(Ok(()), RetryBreaker::check))
    }
}

impl RetryShare {
    fn check(&self) -> Result<(), Invalid> {
        require(self.percent <= 100, "percent", self.percent, "100 or less")
    }
}

impl RetryBucket {
    fn check(&self) -> Result<(), Invalid> {
        require(self.deposit_permille <= 10_000, "deposit_permille", self.deposit_permille, "10000 or less")?;
        require((1..=MILLION).contains(&self.size), "size", self.size, "1 to 1000000")
    }
}

impl RetryThrottling {
    fn check(&self) -> Result<(), Invalid> {
        require((1..=1000).contains(&self.max_tokens), "max_tokens", self.max_tokens, "1 to 1000")?;
        require((1..=MILLION).contains(&self.ratio_permille), "ratio_permille", self.ratio_permille, "1 to 1000000")
    }
}

impl RetryBreaker {
    fn check(&self) -> Result<(), Invalid> {
        require(self.percent <= 100, "percent", self.percent, "100 or less")?;
        window(self.window.unwrap_or(SECOND))
    }
}

impl ClientThrottle {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require((1000..=100_000).contains(&self.k_permille), "k_permille", self.k_permille, "1000 to 100000")?;
        require(self.min_requests <= MILLION, "min_requests", self.min_requests, "1000000 or less")?;
        window(self.window)
    }
}

impl Hedging {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        match self.after {
            HedgeAfter::Delay(delay) => {
                require((MILLISECOND..=HOUR).contains(&delay), "after.delay", delay, "1ms to 1h")?;
            }
            HedgeAfter::Percentile { permille, min_samples, window: span } => {
                require((1..=999).contains(&permille), "after.permille", permille, "1 to 999")?;
                require((1..=MILLION).contains(&min_samples), "after.min_samples", min_samples, "1 to 1000000")?;
                within("after", window(span))?;
            }
        }
        require((2..=10).contains(&self.attempts), "attempts", self.attempts, "2 to 10")?;
        require(self.buffer_bytes <= MEBIBYTES_16, "buffer_bytes", self.buffer_bytes, "16 MiB or less")
    }
}

fn window(span: Duration) -> Result<(), Invalid> {
    require((SECOND..=HOUR).contains(&span), "window", span, "1s to 1h")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::BackendPolicy;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut BackendPolicy), message: &str) {
        let mut policy = BackendPolicy {
            retry_limits: RetryLimits {
                share: Some(RetryShare::default()),
                bucket: Some(RetryBucket::default()),
                throttling: Some(RetryThrottling::default()),
                breaker: Some(RetryBreaker::default()),
            },
            throttle: Some(ClientThrottle::default()),
            hedging: Some(Hedging::default()),
            ..BackendPolicy::default()
        };
        assert_eq!(policy.check(), Ok(()), "the defaults are within their limits");
        change(&mut policy);
        assert_eq!(policy.check().map_err(|invalid| invalid.to_string()), Err(message.to_owned()));
    }

    #[test]
    fn each_limit_is_named_with_field_value_and_range() {
        refused(
            |p| p.retry_limits.share = Some(RetryShare { percent: 101, min_concurrent: 0 }),
            "retry_limits.share.percent is 101, but must be 100 or less",
        );
        refused(
            |p| p.retry_limits.bucket = Some(RetryBucket { size: 0, ..RetryBucket::default() }),
            "retry_limits.bucket.size is 0, but must be 1 to 1000000",
        );
        refused(
            |p| p.retry_limits.throttling = Some(RetryThrottling { max_tokens: 1001, ..RetryThrottling::default() }),
            "retry_limits.throttling.max_tokens is 1001, but must be 1 to 1000",
        );
        refused(
            |p| p.retry_limits.breaker = Some(RetryBreaker { window: Some(MILLISECOND), ..RetryBreaker::default() }),
            "retry_limits.breaker.window is 1ms, but must be 1s to 1h",
        );
        refused(
            |p| p.throttle = Some(ClientThrottle { k_permille: 999, ..ClientThrottle::default() }),
            "throttle.k_permille is 999, but must be 1000 to 100000",
        );
        refused(
            |p| p.throttle = Some(ClientThrottle { min_requests: 1_000_001, ..ClientThrottle::default() }),
            "throttle.min_requests is 1000001, but must be 1000000 or less",
        );
        refused(
            |p| p.hedging = Some(Hedging { attempts: 1, ..Hedging::default() }),
            "hedging.attempts is 1, but must be 2 to 10",
        );
        refused(
            |p| p.hedging = Some(Hedging { after: HedgeAfter::Delay(Duration::ZERO), ..Hedging::default() }),
            "hedging.after.delay is 0ns, but must be 1ms to 1h",
        );
    }
}
