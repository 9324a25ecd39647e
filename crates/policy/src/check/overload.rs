//! The limits on settings against overload.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{DAY, HOUR, Invalid, MILLISECOND, require, within};
use crate::mesh::{Adaptive, Codel, Gradient, Queue, QueueOrder, Rate, RateLimit, Vegas};

fn between(span: Duration, most: Duration, field: &str, allowed: &'static str) -> Result<(), Invalid> {
    require((MILLISECOND..=most).contains(&span), field, span, allowed)
}

impl Adaptive {
    /// Checks the limits; `most` is [`crate::Limits::in_flight`].
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self, most: u32) -> Result<(), Invalid> {
        match self {
            Self::Gradient(gradient) => within("gradient", gradient.check(most)),
            Self::Vegas(vegas) => within("vegas", vegas.check(most)),
        }
    }
}

impl Gradient {
    fn check(&self, most: u32) -> Result<(), Invalid> {
        require((1..=most).contains(&self.min), "min", self.min, "1 to `in_flight`")?;
        require(self.buffer_permille <= 10_000, "buffer_permille", self.buffer_permille, "10000 or less")?;
        let percentile = self.percentile_permille;
        require((1..=1000).contains(&percentile), "percentile_permille", percentile, "1 to 1000")?;
        between(self.window, HOUR, "window", "1ms to 1h")?;
        between(self.min_rtt_interval, DAY, "min_rtt_interval", "1ms to 24h")?;
        let jitter = self.min_rtt_jitter_permille;
        require(jitter <= 1000, "min_rtt_jitter_permille", jitter, "1000 or less")?;
        let requests = self.min_rtt_requests;
        require((1..=1000).contains(&requests), "min_rtt_requests", requests, "1 to 1000")
    }
}

impl Vegas {
    fn check(&self, most: u32) -> Result<(), Invalid> {
        require((1..=most).contains(&self.min), "min", self.min, "1 to `in_flight`")?;
        require((self.min..=most).contains(&self.initial), "initial", self.initial, "`min` to `in_flight`")?;
        between(self.window, HOUR, "window", "1ms to 1h")?;
        require((1..=10_000).contains(&self.probe), "probe", self.probe, "1 to 10000")
    }
}

impl Queue {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        if let QueueOrder::AdaptiveLifo { after } = self.order {
            between(after, HOUR, "order.after", "1ms to 1h")?;
        }
        if let Some(Codel { target, interval }) = self.codel {
            between(interval, HOUR, "codel.interval", "1ms to 1h")?;
            require((MILLISECOND..=interval).contains(&target), "codel.target", target, "1ms to `interval`")?;
        }
        Ok(())
    }
}

impl RateLimit {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits, such as `per_caller.burst`, or an identity that is named twice.
    pub fn check(&self) -> Result<(), Invalid> {
        within("total", self.total.as_ref().map_or(Ok(()), Rate::check))?;
        within("per_caller", self.per_caller.as_ref().map_or(Ok(()), Rate::check))?;
        let mut seen = BTreeSet::new();
        for (identity, rate) in &self.overrides {
            require(!identity.is_empty(), "overrides.identity", identity, "a SPIFFE id")?;
            require(seen.insert(identity), "overrides.identity", identity, "named once")?;
            within("overrides", rate.check())?;
        }
        Ok(())
    }
}

impl Rate {
    fn check(&self) -> Result<(), Invalid> {
        require(self.requests >= 1, "requests", self.requests, "1 or more")?;
        between(self.per, DAY, "per", "1ms to 24h")?;
        require(self.burst >= 1, "burst", self.burst, "1 or more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Limits;

    #[track_caller]
    fn refused(checked: Result<(), Invalid>, message: &str) {
        assert_eq!(checked.map_err(|invalid| invalid.to_string()), Err(message.to_owned()));
    }

    fn gradient(change: impl FnOnce(&mut Gradient)) -> Result<(), Invalid> {
        let mut gradient = Gradient::default();
        change(&mut gradient);
        Limits { adaptive: Some(Adaptive::Gradient(gradient)), in_flight: 1000, ..Limits::default() }.check()
    }

    #[test]
    fn each_limit_of_the_adaptive_limits_is_named() {
        assert_eq!(gradient(|_| {}), Ok(()));
        refused(gradient(|g| g.min = 0), "adaptive.gradient.min is 0, but must be 1 to `in_flight`");
        refused(gradient(|g| g.min = 1001), "adaptive.gradient.min is 1001, but must be 1 to `in_flight`");
        refused(
            gradient(|g| g.percentile_permille = 0),
            "adaptive.gradient.percentile_permille is 0, but must be 1 to 1000",
        );
        refused(gradient(|g| g.window = Duration::ZERO), "adaptive.gradient.window is 0ns, but must be 1ms to 1h");
        let vegas = Vegas { initial: 5, min: 6, ..Vegas::default() };
        let limits = Limits { adaptive: Some(Adaptive::Vegas(vegas)), ..Limits::default() };
        refused(limits.check(), "adaptive.vegas.initial is 5, but must be `min` to `in_flight`");
    }

    #[test]
    fn each_limit_of_the_queue_is_named() {
        let queue = |queue| Limits { queue, ..Limits::default() }.check();
        assert_eq!(queue(Queue { codel: Some(Codel::default()), ..Queue::default() }), Ok(()));
        let codel = Codel { target: MILLISECOND * 101, ..Codel::default() };
        refused(
            queue(Queue { codel: Some(codel), ..Queue::default() }),
            "queue.codel.target is 101ms, but must be 1ms to `interval`",
        );
        let order = QueueOrder::AdaptiveLifo { after: Duration::ZERO };
        refused(queue(Queue { order, ..Queue::default() }), "queue.order.after is 0ns, but must be 1ms to 1h");
    }

    #[test]
    fn each_limit_of_rates_is_named() {
        let rate = Rate { requests: 1, per: Duration::from_secs(1), burst: 1 };
        let named = |name: &str, rate| (name.into(), rate);
        let limit = |overrides| RateLimit { overrides, ..RateLimit::default() }.check();
        assert_eq!(limit(vec![named("a", rate), named("b", rate)]), Ok(()));
        refused(limit(vec![named("a", rate), named("a", rate)]), "overrides.identity is \"a\", but must be named once");
        refused(limit(vec![named("a", Rate { burst: 0, ..rate })]), "overrides.burst is 0, but must be 1 or more");
        refused(
            RateLimit { total: Some(Rate { requests: 0, ..rate }), ..RateLimit::default() }.check(),
            "total.requests is 0, but must be 1 or more",
        );
    }
}
