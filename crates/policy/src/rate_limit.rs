//! So many requests per time: token buckets, one for all and one for each caller.
//!
//! ```text
//!   request ─▶ bucket of its caller has a token? ─▶ bucket of all has one? ─▶ both give one, let in
//!                        └ no                                └ no
//!                        ▼                                   ▼
//!                  429, retry-after: when the emptier bucket has a token again; nothing is taken
//! ```
//!
//! A bucket of `burst` tokens gains `requests` per `per`, continuously. Exact in integers: a token is `per` in nanoseconds, and a
//! nanosecond brings `requests`, so that nothing is lost by rounding however small the steps.
//!
//! A full bucket is like a new one, so buckets that have filled up are forgotten. At most [`CALLERS`] others are known; further
//! callers share one bucket of the same rate until some have filled up. Callers without an identity share one bucket too.
//!
//! Sources: Linkerd's HTTPLocalRateLimitPolicy (total, per identity, overrides); Envoy's local rate limit filter; RFC 6585 (429).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::Instant;
use crate::mesh::{Rate, RateLimit as Config};

/// How many callers have a bucket of their own.
const CALLERS: usize = 1024;
/// How often full buckets are looked for at most.
const SWEEP: Duration = Duration::from_millis(100);

/// The machine.
#[derive(Debug)]
pub(crate) struct RateLimit {
    config: Config,
    total: Option<Bucket>,
    /// Those with a rate of their own, in the order of `config.overrides`.
    named: Vec<Bucket>,
    callers: BTreeMap<Arc<str>, Bucket>,
    /// For callers beyond [`CALLERS`].
    others: Option<Bucket>,
    swept_at: Option<Instant>,
}

/// Tokens as of an instant.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    /// In parts of a token, `per` nanoseconds each.
    level: u128,
    at: Instant,
}

impl Bucket {
    fn full(now: Instant, rate: Rate) -> Self {
        Self { rate, level: u128::from(rate.burst) * rate.per.as_nanos(), at: now }
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.since(self.at).as_nanos() * u128::from(self.rate.requests);
        let full = u128::from(self.rate.burst) * self.rate.per.as_nanos();
        self.level = mutant!("tokens-pile-up-past-the-burst", (self.level + gained).min(full), self.level + gained);
        self.at = self.at.max(now);
    }

    /// How long until there is a token; zero: there is one.
    fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        let missing = self.rate.per.as_nanos().saturating_sub(self.level);
        if missing == 0 {
            return Duration::ZERO;
        }
        let nanos = missing.div_ceil(u128::from(self.rate.requests));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn take(&mut self) {
        self.level = self.level.checked_sub(self.rate.per.as_nanos()).expect("only from who has a token");
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level == u128::from(self.rate.burst) * self.rate.per.as_nanos()
    }
}

impl RateLimit {
    pub(crate) fn new(now: Instant, config: Config) -> Self {
        Self {
            total: config.total.map(|rate| Bucket::full(now, rate)),
            named: config.overrides.iter().map(|(_, rate)| Bucket::full(now, *rate)).collect(),
            callers: BTreeMap::new(),
            others: config.per_caller.map(|rate| Bucket::full(now, rate)),
            swept_at: None,
            config,
        }
    }

    /// A request of `caller` comes. `Err`: it is one too many, and may come again after so long.
    pub(crate) fn take(&mut self, now: Instant, caller: Option<&str>) -> Result<(), Duration> {
        let caller = mutant!("callers-share-one-bucket", caller.unwrap_or_default(), "");
        let own = match self.config.overrides.iter().position(|(name, _)| **name == *caller) {
            Some(place) => self.named.get_mut(place),
            None => match self.config.per_caller {
                Some(rate) => {
                    make_room(now, &mut self.callers, &mut self.swept_at, caller);
                    if !self.callers.contains_key(caller) && self.callers.len() < CALLERS {
                        self.callers.insert(caller.into(), Bucket::full(now, rate));
                    }
                    self.callers.get_mut(caller).or(self.others.as_mut())
                }
                None => None,
            },
        };
        let mut buckets = [own, self.total.as_mut()];
        let wait = buckets.iter_mut().flatten().map(|bucket| bucket.wait(now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        buckets.into_iter().flatten().for_each(Bucket::take);
        Ok(())
    }
}

/// Forgets full buckets when a new caller finds no room.
fn make_room(now: Instant, callers: &mut BTreeMap<Arc<str>, Bucket>, swept_at: &mut Option<Instant>, caller: &str) {
    let due = swept_at.is_none_or(|at| now.since(at) >= SWEEP);
    if callers.len() >= CALLERS && due && !callers.contains_key(caller) {
        *swept_at = Some(now);
        callers.retain(|_, bucket| !bucket.is_full(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    const fn rate(requests: u32, burst: u32) -> Rate {
        Rate { requests, per: Duration::from_secs(1), burst }
    }

    fn wait(millis: u64) -> Result<(), Duration> {
        Err(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_passes_and_then_one_per_time() {
        let mut limit = RateLimit::new(ms(0), Config { total: Some(rate(10, 3)), ..Config::default() });
        let mut ask = |at| limit.take(ms(at), None);
        assert_eq!([ask(0), ask(0), ask(0), ask(0)], [Ok(()), Ok(()), Ok(()), wait(100)]);
        assert_eq!([ask(99), ask(100), ask(100)], [wait(1), Ok(()), wait(100)]);
        assert_eq!([ask(5000), ask(5000), ask(5000), ask(5000)], [Ok(()), Ok(()), Ok(()), wait(100)]);
    }

    #[test]
    fn each_caller_has_a_bucket_and_some_have_a_larger_one() {
        let config = Config {
            total: Some(rate(1000, 6)),
            per_caller: Some(rate(1, 1)),
            overrides: vec![("spiffe://a".into(), rate(2, 2))],
        };
        let mut limit = RateLimit::new(ms(0), config);
        let mut ask = |caller| limit.take(ms(0), caller).is_ok();
        assert_eq!([ask(Some("spiffe://a")), ask(Some("spiffe://a")), ask(Some("spiffe://a"))], [true, true, false]);
        assert_eq!([ask(Some("b")), ask(Some("b")), ask(Some("c"))], [true, false, true]);
        assert_eq!([ask(None), ask(None)], [true, false], "those without an identity are one");
        assert_eq!([ask(Some("d")), ask(Some("e"))], [true, false], "the total is used up");
    }

    #[test]
    fn who_is_refused_by_one_bucket_takes_nothing_from_the_other() {
        let config = Config { total: Some(rate(1, 2)), per_caller: Some(rate(1, 1)), overrides: Vec::new() };
        let mut limit = RateLimit::new(ms(0), config);
        assert_eq!(limit.take(ms(0), Some("a")), Ok(()));
        assert!((0..5).all(|_| limit.take(ms(0), Some("a")).is_err()));
        assert_eq!(limit.take(ms(0), Some("b")), Ok(()));
        assert_eq!(limit.take(ms(0), Some("c")), wait(1000));
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let mut limit = RateLimit::new(ms(0), Config { per_caller: Some(rate(1, 2)), ..Config::default() });
        for n in 0..CALLERS {
            assert_eq!(limit.take(ms(0), Some(&n.to_string())), Ok(()));
        }
        let let_in = (0..1000).filter(|n| limit.take(ms(1), Some(&format!("new {n}"))).is_ok()).count();
        assert_eq!((let_in, limit.callers.len()), (2, CALLERS), "they share one bucket");
        assert_eq!(limit.take(ms(1), Some("7")), Ok(()), "who is known has its own");
        // All but the last asker's are full again.
        assert_eq!(limit.take(ms(1000), Some("newer")), Ok(()));
        assert_eq!(limit.callers.len(), 2);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// Over any stretch no more than burst + rate × time pass, and whoever waits as long as told passes.
            #[test]
            fn never_more_than_the_rate_and_never_less(
                gaps in prop::collection::vec(0_u64..50_000_000, 1..200),
                requests in 1_u32..200,
                burst in 1_u32..20,
            ) {
                let rate = rate(requests, burst);
                let mut limit = RateLimit::new(Instant::ZERO, Config { total: Some(rate), ..Config::default() });
                let mut now = Instant::ZERO;
                let mut passed: Vec<Instant> = Vec::new();
                for gap in gaps {
                    now = now + Duration::from_nanos(gap);
                    match limit.take(now, None) {
                        Ok(()) => passed.push(now),
                        Err(wait) => {
                            let since = passed.iter().filter(|at| now.since(**at) < Duration::from_secs(1)).count();
                            prop_assert!(since > 0, "an idle bucket has a token");
                            let early = now + (wait - Duration::from_nanos(1));
                            prop_assert!(limit.take(early, None).is_err());
                            now = now + wait;
                            prop_assert_eq!(limit.take(now, None), Ok(()));
                            passed.push(now);
                        }
                    }
                }
                for (nth, first) in passed.iter().enumerate() {
                    for (count, last) in passed[nth..].iter().enumerate() {
                        let most = u128::from(burst) * 1_000_000_000 + last.since(*first).as_nanos() * u128::from(requests);
                        prop_assert!((count as u128 + 1) * 1_000_000_000 <= most);
                    }
                }
            }
        }
    }
}
