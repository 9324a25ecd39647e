//! The limits on settings of balancing and health checks.

use std::time::Duration;

use super::{HOUR, Invalid, MILLISECOND, require, within};
use crate::mesh::{
    Balancing, Candidates, HashKey, HashTable, Hashing, HealthCheck, Penalty, Probe, Protocol, SlowStart, WhenDown,
    Zones,
};

const RING_MAX: u32 = 8 << 20;
const MAGLEV_MAX: u32 = 5_000_011;

fn between(span: Duration, least: Duration, field: &str, allowed: &'static str) -> Result<(), Invalid> {
    require((least..=HOUR).contains(&span), field, span, allowed)
}

impl Hashing {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self) -> Result<(), Invalid> {
        match self.table {
            HashTable::Ring { min, max } => {
                require(max <= RING_MAX, "ring.max", max, "8388608 or less")?;
                require((1..=max).contains(&min), "ring.min", min, "1 to `max`")?;
            }
            HashTable::Maglev { size } => {
                let allowed = "a prime, 2 to 5000011";
                require(size <= MAGLEV_MAX && is_prime(size), "maglev.size", size, allowed)?;
            }
        }
        require(!self.keys.is_empty(), "keys", &self.keys, "one at least")?;
        for key in &self.keys {
            match key {
                HashKey::Header(name) => {
                    let is_lower = !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
                    require(is_lower, "keys.header", name, "a name in lower case")?;
                }
                HashKey::Cookie(name) => require(!name.is_empty(), "keys.cookie", name, "a name")?,
                HashKey::Query(name) => require(!name.is_empty(), "keys.query", name, "a name")?,
                HashKey::Path | HashKey::Source => {}
            }
        }
        if let Some(percent) = self.bound_percent {
            require((100..=100_000).contains(&percent), "bound_percent", percent, "100 to 100000")?;
            let next = self.when_down == WhenDown::Next;
            require(
                next,
                "bound_percent",
                percent,
                "absent where `when_down` refuses: what is too much must go elsewhere",
            )?;
        }
        Ok(())
    }
}

fn is_prime(number: u32) -> bool {
    let number = u64::from(number);
    number >= 2 && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

impl Candidates {
    /// Checks the limits, and whether they go together with how endpoints are picked.
    ///
    /// # Errors
    /// The first field outside its limits.
    pub fn check(&self, balancing: &Balancing) -> Result<(), Invalid> {
        within("penalty", self.penalty.as_ref().map_or(Ok(()), Penalty::check))?;
        let bias = self.request_bias_permille;
        require(bias <= 10_000, "request_bias_permille", bias, "10000 or less")?;
        within("zones", self.zones.as_ref().map_or(Ok(()), Zones::check))?;
        require(self.panic_percent <= 100, "panic_percent", self.panic_percent, "100 or less")?;
        within("slow_start", self.slow_start.as_ref().map_or(Ok(()), SlowStart::check))?;
        require(self.subset != Some(0), "subset", self.subset.unwrap_or(0), "1 or more")?;
        match balancing {
            Balancing::Hash(hashing) => {
                require(self.slow_start.is_none(), "slow_start", self.slow_start, "absent under hashing")?;
                require(self.subset.is_none(), "subset", self.subset, "absent under hashing: proxies would disagree")?;
                if hashing.when_down == WhenDown::Refuse {
                    require(self.zones.is_none(), "zones", self.zones, "absent where only one endpoint has the data")?;
                }
                Ok(())
            }
            Balancing::Random => {
                require(self.slow_start.is_none(), "slow_start", self.slow_start, "absent under random")
            }
            Balancing::PeakEwma { .. } | Balancing::LeastRequest { .. } | Balancing::RoundRobin => Ok(()),
        }
    }
}

impl Penalty {
    fn check(&self) -> Result<(), Invalid> {
        between(self.last, MILLISECOND, "last", "1ms to 1h")?;
        require((MILLISECOND..=self.last).contains(&self.first), "first", self.first, "1ms to `last`")
    }
}

impl Zones {
    fn check(&self) -> Result<(), Invalid> {
        let percent = self.overprovisioning_percent;
        require((100..=1000).contains(&percent), "overprovisioning_percent", percent, "100 to 1000")
    }
}

impl SlowStart {
    fn check(&self) -> Result<(), Invalid> {
        between(self.window, MILLISECOND, "window", "1ms to 1h")?;
        let aggression = self.aggression_permille;
        require((1..=100_000).contains(&aggression), "aggression_permille", aggression, "1 to 100000")?;
        let least = self.min_weight_percent;
        require((1..=100).contains(&least), "min_weight_percent", least, "1 to 100")
    }
}

impl HealthCheck {
    /// Checks the limits, for endpoints that speak `protocol`.
    ///
    /// # Errors
    /// The first field outside its limits, or gRPC over HTTP/1.1.
    pub fn check(&self, protocol: Protocol) -> Result<(), Invalid> {
        let speaks = !matches!(self.probe, Probe::Grpc { .. }) || protocol == Protocol::Http2;
        require(speaks, "protocol", protocol, "HTTP/2 where the health check is gRPC's")?;
        match &self.probe {
            Probe::Http { path, expected } => {
                let whole = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
                require(whole, "path", path, "a path that begins with `/`")?;
                let fit = |range: &std::ops::RangeInclusive<u16>| {
                    *range.start() >= 100 && *range.end() <= 599 && range.start() <= range.end()
                };
                require(
                    !expected.is_empty() && expected.iter().all(fit),
                    "expected",
                    expected,
                    "statuses, 100 to 599",
                )?;
            }
            Probe::Grpc { service } => {
                let fits = service.len() <= 256 && service.bytes().all(|byte| byte.is_ascii_graphic());
                require(fits, "service", service, "up to 256 visible ASCII characters")?;
            }
            Probe::Connect => {}
        }
        between(self.interval, 10 * MILLISECOND, "interval", "10ms to 1h")?;
        require(self.jitter_permille <= 1000, "jitter_permille", self.jitter_permille, "1000 or less")?;
        between(self.timeout, MILLISECOND, "timeout", "1ms to 1h")?;
        require(self.unhealthy_after >= 1, "unhealthy_after", self.unhealthy_after, "1 or more")?;
        require(self.healthy_after >= 1, "healthy_after", self.healthy_after, "1 or more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::BackendPolicy;

    #[track_caller]
    fn refused(change: impl FnOnce(&mut BackendPolicy), message: &str) {
        let mut policy = BackendPolicy { balancing: Balancing::Hash(hashing()), ..BackendPolicy::default() };
        assert_eq!(policy.check(), Ok(()));
        change(&mut policy);
        assert_eq!(policy.check().map_err(|invalid| invalid.to_string()), Err(message.to_owned()));
    }

    fn hashing() -> Hashing {
        Hashing {
            table: HashTable::MAGLEV,
            keys: vec![HashKey::Header("x-user".into()), HashKey::Path],
            bound_percent: None,
            when_down: WhenDown::Next,
        }
    }

    #[test]
    fn only_primes_are_sizes_of_maglev_tables() {
        assert!([2, 3, 251, 65_537, 5_000_011].into_iter().all(is_prime));
        assert!(![0, 1, 4, 65_536, 65_535, 5_000_009].into_iter().any(is_prime));
    }

    #[test]
    fn each_limit_is_named_with_field_value_and_range() {
        let hash = |change: &dyn Fn(&mut Hashing)| {
            let mut hashing = hashing();
            change(&mut hashing);
            move |policy: &mut BackendPolicy| policy.balancing = Balancing::Hash(hashing)
        };
        refused(
            hash(&|h| h.table = HashTable::Maglev { size: 65_536 }),
            "balancing.maglev.size is 65536, but must be a prime, 2 to 5000011",
        );
        refused(
            hash(&|h| h.table = HashTable::Ring { min: 9, max: 8 }),
            "balancing.ring.min is 9, but must be 1 to `max`",
        );
        refused(hash(&|h| h.keys.clear()), "balancing.keys is [], but must be one at least");
        refused(hash(&|h| h.bound_percent = Some(99)), "balancing.bound_percent is 99, but must be 100 to 100000");
        let wrong = |h: &mut Hashing| {
            (h.bound_percent, h.when_down) = (Some(125), WhenDown::Refuse);
        };
        refused(
            hash(&wrong),
            "balancing.bound_percent is 125, but must be absent where `when_down` refuses: what is too much must go elsewhere",
        );
        let zones = |policy: &mut BackendPolicy| {
            let refuse = Hashing { when_down: WhenDown::Refuse, ..hashing() };
            policy.balancing = Balancing::Hash(refuse);
            policy.candidates.zones = Some(Zones::default());
        };
        refused(
            zones,
            "candidates.zones is Some(Zones { overprovisioning_percent: 140 }), but must be absent where only one endpoint has the data",
        );
        refused(
            |p| p.candidates.subset = Some(3),
            "candidates.subset is Some(3), but must be absent under hashing: proxies would disagree",
        );
        refused(|p| p.candidates.subset = Some(0), "candidates.subset is 0, but must be 1 or more");
        refused(|p| p.candidates.panic_percent = 101, "candidates.panic_percent is 101, but must be 100 or less");
        let check = HealthCheck {
            probe: Probe::Connect,
            interval: Duration::from_secs(5),
            jitter_permille: 0,
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        };
        let health = |change: &dyn Fn(&mut HealthCheck)| {
            let mut check = check.clone();
            change(&mut check);
            move |policy: &mut BackendPolicy| policy.health = Some(check)
        };
        refused(health(&|h| h.interval = MILLISECOND), "health.interval is 1ms, but must be 10ms to 1h");
        refused(health(&|h| h.unhealthy_after = 0), "health.unhealthy_after is 0, but must be 1 or more");
        let http = |path: &str, expected| Probe::Http { path: path.to_owned(), expected };
        refused(
            health(&|h| h.probe = http("healthz", vec![200..=200])),
            "health.path is \"healthz\", but must be a path that begins with `/`",
        );
        let grpc = |service: &str| Probe::Grpc { service: service.to_owned() };
        refused(
            health(&|h| h.probe = grpc("")),
            "health.protocol is Http1, but must be HTTP/2 where the health check is gRPC's",
        );
        refused(
            |p| {
                p.protocol = Protocol::Http2;
                p.health = Some(HealthCheck { probe: grpc("two words"), ..check.clone() });
            },
            "health.service is \"two words\", but must be up to 256 visible ASCII characters",
        );
        refused(health(&|h| h.probe = http("/", vec![])), "health.expected is [], but must be statuses, 100 to 599");
    }
}
