//! The limits on breakers and on outlier ejection.

use std::time::Duration;

use super::{DAY, HOUR, Invalid, MILLISECOND, require, within};
use crate::mesh::{Breaker, Deviation, Enforcing, FailurePercentage, Outliers, SlowCalls, SuccessRate};

impl Breaker {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        let runs = self.consecutive_failures;
        require(runs.is_none_or(|most| most >= 1), "consecutive_failures", runs.unwrap_or(0), "1 or more")?;
        within("success_rate", self.success_rate.as_ref().map_or(Ok(()), SuccessRate::check))?;
        within("slow_calls", self.slow_calls.as_ref().map_or(Ok(()), SlowCalls::check))?;
        let trips = runs.is_some() || self.success_rate.is_some() || self.slow_calls.is_some();
        require(trips, "consecutive_failures", runs, "set, if neither `success_rate` nor `slow_calls` is")?;
        require(self.open_min >= MILLISECOND, "open_min", self.open_min, "1ms or more")?;
        require(self.open_max >= self.open_min, "open_max", self.open_max, "`open_min` or more")?;
        require(self.open_max <= DAY, "open_max", self.open_max, "24h or less")?;
        require(self.jitter_permille <= 1000, "jitter_permille", self.jitter_permille, "1000 or less")?;
        require(self.probes >= 1, "probes", self.probes, "1 or more")
    }

    /// Checks the limits of a breaker of a whole backend.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check_service(&self) -> Result<(), Invalid> {
        self.check()?;
        require(self.floor == 0, "floor", self.floor, "0, since the breaker is of the whole backend")
    }
}

impl SuccessRate {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require((1..=1000).contains(&self.below_permille), "below_permille", self.below_permille, "1 to 1000")?;
        window(self.window, self.min_requests)
    }
}

impl SlowCalls {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        require((MILLISECOND..=DAY).contains(&self.slower_than), "slower_than", self.slower_than, "1ms to 24h")?;
        require(self.above_permille < 1000, "above_permille", self.above_permille, "999 or less")?;
        window(self.window, self.min_requests)
    }
}

fn window(window: Duration, min_requests: u32) -> Result<(), Invalid> {
    require((Duration::from_millis(100)..=HOUR).contains(&window), "window", window, "100ms to 1h")?;
    require(min_requests >= 1, "min_requests", min_requests, "1 or more")
}

impl Outliers {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        for (field, run) in [
            ("consecutive_5xx", self.consecutive_5xx),
            ("consecutive_gateway_failure", self.consecutive_gateway_failure),
            ("consecutive_local_origin_failure", self.consecutive_local_origin_failure),
        ] {
            require(run >= 1, field, run, "1 or more")?;
        }
        let Deviation { stdev_factor, .. } = self.success_rate;
        require(stdev_factor <= 100_000, "success_rate.stdev_factor", stdev_factor, "100000 or less")?;
        let FailurePercentage { threshold, .. } = self.failure_percentage;
        require(threshold <= 100, "failure_percentage.threshold", threshold, "100 or less")?;
        within("enforcing", self.enforcing.check())?;
        require(self.interval >= MILLISECOND, "interval", self.interval, "1ms or more")?;
        require(self.base_ejection >= MILLISECOND, "base_ejection", self.base_ejection, "1ms or more")?;
        require(self.max_ejection >= self.base_ejection, "max_ejection", self.max_ejection, "`base_ejection` or more")?;
        require(self.max_ejection <= DAY, "max_ejection", self.max_ejection, "24h or less")?;
        require(self.max_ejection_jitter <= DAY, "max_ejection_jitter", self.max_ejection_jitter, "24h or less")?;
        require(self.max_ejection_percent <= 100, "max_ejection_percent", self.max_ejection_percent, "100 or less")?;
        require(self.floor >= 1, "floor", self.floor, "1 or more")
    }
}

impl Enforcing {
    fn check(&self) -> Result<(), Invalid> {
        for (field, percent) in [
            ("consecutive_5xx", self.consecutive_5xx),
            ("consecutive_gateway_failure", self.consecutive_gateway_failure),
            ("consecutive_local_origin_failure", self.consecutive_local_origin_failure),
            ("success_rate", self.success_rate),
            ("local_origin_success_rate", self.local_origin_success_rate),
            ("failure_percentage", self.failure_percentage),
            ("local_origin_failure_percentage", self.local_origin_failure_percentage),
        ] {
            require(percent <= 100, field, percent, "100 or less")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(checked: Result<(), Invalid>, message: &str) {
        assert_eq!(checked.map_err(|invalid| invalid.to_string()), Err(message.to_owned()));
    }

    #[test]
    fn a_breaker_that_nothing_opens_is_refused() {
        let shut = Breaker { consecutive_failures: None, ..Breaker::DEFAULT };
        refused(
            shut.check(),
            "consecutive_failures is None, but must be set, if neither `success_rate` nor `slow_calls` is",
        );
        assert_eq!(Breaker { success_rate: Some(SuccessRate::default()), ..shut }.check(), Ok(()));
        assert_eq!(Breaker { slow_calls: Some(SlowCalls::slower_than(HOUR)), ..shut }.check(), Ok(()));
    }

    #[test]
    fn each_limit_of_a_breaker_is_named_with_field_value_and_range() {
        let rate = |rate| Breaker { success_rate: Some(rate), ..Breaker::DEFAULT }.check();
        let slow = |slow| Breaker { slow_calls: Some(slow), ..Breaker::DEFAULT }.check();
        let (calls, second) = (SuccessRate::default(), SlowCalls::slower_than(Duration::from_secs(1)));
        refused(
            Breaker { consecutive_failures: Some(0), ..Breaker::DEFAULT }.check(),
            "consecutive_failures is 0, but must be 1 or more",
        );
        refused(
            rate(SuccessRate { below_permille: 0, ..calls }),
            "success_rate.below_permille is 0, but must be 1 to 1000",
        );
        refused(
            rate(SuccessRate { below_permille: 1001, ..calls }),
            "success_rate.below_permille is 1001, but must be 1 to 1000",
        );
        refused(
            rate(SuccessRate { window: MILLISECOND, ..calls }),
            "success_rate.window is 1ms, but must be 100ms to 1h",
        );
        refused(
            rate(SuccessRate { min_requests: 0, ..calls }),
            "success_rate.min_requests is 0, but must be 1 or more",
        );
        refused(
            slow(SlowCalls { slower_than: Duration::ZERO, ..second }),
            "slow_calls.slower_than is 0ns, but must be 1ms to 24h",
        );
        refused(
            slow(SlowCalls { above_permille: 1000, ..second }),
            "slow_calls.above_permille is 1000, but must be 999 or less",
        );
        refused(
            Breaker { floor: 1, ..Breaker::DEFAULT }.check_service(),
            "floor is 1, but must be 0, since the breaker is of the whole backend",
        );
    }

    #[test]
    fn each_limit_of_outlier_ejection_is_named_with_field_value_and_range() {
        let outliers = Outliers::DEFAULT;
        assert_eq!(outliers.check(), Ok(()));
        refused(
            Outliers { consecutive_gateway_failure: 0, ..outliers }.check(),
            "consecutive_gateway_failure is 0, but must be 1 or more",
        );
        refused(
            Outliers { enforcing: Enforcing { success_rate: 101, ..outliers.enforcing }, ..outliers }.check(),
            "enforcing.success_rate is 101, but must be 100 or less",
        );
        refused(
            Outliers { success_rate: Deviation { stdev_factor: 100_001, ..outliers.success_rate }, ..outliers }.check(),
            "success_rate.stdev_factor is 100001, but must be 100000 or less",
        );
        let percentage = FailurePercentage { threshold: 101, ..outliers.failure_percentage };
        refused(
            Outliers { failure_percentage: percentage, ..outliers }.check(),
            "failure_percentage.threshold is 101, but must be 100 or less",
        );
    }
}
