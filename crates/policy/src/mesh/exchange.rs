//! Settings of one exchange: budgets of retries, throttling at the client, hedging.

use std::time::Duration;

/// Budgets beside [`super::Budget`]. A retry, or a hedge, needs leave from all that are set. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryLimits {
    /// A share of the requests under way.
    pub share: Option<RetryShare>,
    /// A token bucket.
    pub bucket: Option<RetryBucket>,
    /// As gRPC throttles.
    pub throttling: Option<RetryThrottling>,
    /// None while too many tries fail.
    pub breaker: Option<RetryBreaker>,
}

/// As many retries under way as `percent` of the requests under way, and `min_concurrent` at least.
/// Source: Envoy `retry_budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryShare {
    /// 0 to 100. Default 20.
    pub percent: u32,
    /// Allowed in any case. Default 3.
    pub min_concurrent: u32,
}

impl Default for RetryShare {
    fn default() -> Self {
        Self { percent: 20, min_concurrent: 3 }
    }
}

/// A bucket that is full at first. Each first try deposits, each retry takes one token and needs more than one to be there.
/// Source: Brooker, "Fixing retries with token buckets and circuit breakers", 2022-02-28.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBucket {
    /// Thousandths of a token per first try, 0 to 10,000. Default 100.
    pub deposit_permille: u32,
    /// The most tokens, 1 to 1,000,000. Default 5.
    pub size: u32,
}

impl Default for RetryBucket {
    fn default() -> Self {
        Self { deposit_permille: 100, size: 5 }
    }
}

/// Tokens that failures take and successes give; no retry while there are no more than half of them.
/// Source: gRFC A6 `retryThrottling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryThrottling {
    /// 1 to 1000. Default 10.
    pub max_tokens: u32,
    /// Thousandths of a token per success, 1 to 1,000,000. Default 100.
    pub ratio_permille: u32,
}

impl Default for RetryThrottling {
    fn default() -> Self {
        Self { max_tokens: 10, ratio_permille: 100 }
    }
}

/// No retry while more than `percent` failures come on a hundred first tries.
/// Source: Brooker, as [`RetryBucket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBreaker {
    /// 0 to 100. Default 10.
    pub percent: u32,
    /// How long both count, 1 s to 1 h; `None`, the default: for ever.
    pub window: Option<Duration>,
}

impl Default for RetryBreaker {
    fn default() -> Self {
        Self { percent: 10, window: None }
    }
}

/// Refuses tries at the client, by chance, while the backend accepts too few: with max(0, (requests − k × accepts) ÷
/// (requests + 1)). Source: SRE book, chapter 21, adaptive throttling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientThrottle {
    /// k in thousandths, 1000 to 100,000. Default 2000. Less refuses sooner.
    pub k_permille: u32,
    /// How long both count, 1 s to 1 h. Default 2 min.
    pub window: Duration,
    /// Refuses nothing before so many requests are counted, so that the first failures of a client without a past do not
    /// throttle it. 0 to 1,000,000. Default 0, the book's formula as it stands: a first failure makes the second request one in
    /// two.
    pub min_requests: u32,
}

impl Default for ClientThrottle {
    fn default() -> Self {
        Self { k_permille: 2000, window: Duration::from_secs(120), min_requests: 0 }
    }
}

/// A second try beside the first when that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedging {
    /// When.
    pub after: HedgeAfter,
    /// Tries of one request at most, retries not counted, 2 to 10. Default 2.
    pub attempts: u32,
    /// Also hedge methods that are not idempotent (RFC 9110 §9.2.2). Default no.
    pub non_idempotent: bool,
    /// The most request body kept for it, in bytes, where no retry policy says. At most 16 MiB. Default 64 KiB.
    pub buffer_bytes: u32,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { after: HedgeAfter::default(), attempts: 2, non_idempotent: false, buffer_bytes: 65_536 }
    }
}

/// When a hedge is sent, counted from the try before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeAfter {
    /// After this, 1 ms to 1 h.
    Delay(Duration),
    /// After a percentile of the latency of this backend's tries, hedges not counted.
    Percentile {
        /// 1 to 999. Default 950.
        permille: u32,
        /// None is sent before so many tries are known in the window, 1 to 1,000,000. Default 100.
        min_samples: u32,
        /// How long a try is known, 1 s to 1 h. Default 60 s.
        window: Duration,
    },
}

impl Default for HedgeAfter {
    fn default() -> Self {
        Self::Percentile { permille: 950, min_samples: 100, window: Duration::from_secs(60) }
    }
}
