//! Settings against overload: limits that find themselves, the queue's discipline, rates.

use std::sync::Arc;
use std::time::Duration;

/// A concurrency limit that follows the latency it measures, between its `min` and [`super::Limits::in_flight`]. A request is
/// measured from getting its place to its end, tries and back-offs included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adaptive {
    /// By the ratio of the least latency to that of now (Envoy).
    Gradient(Gradient),
    /// By the length of the queue that the latency implies (Netflix).
    Vegas(Vegas),
}

/// The gradient limit: every `window`, `L' = gL + √(gL)`, `g` = (1 + `buffer`) · least latency ÷ latency of the window, within
/// [.5, 2]. Source: Envoy's adaptive concurrency filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gradient {
    /// The least limit, also while the least latency is measured. 1 to `in_flight`. Default 3 (Envoy's).
    pub min: u32,
    /// How much slower than at best is still fine, in thousandths. 0 to 10,000. Default 250 (Envoy's).
    pub buffer_permille: u32,
    /// Which percentile of the latencies counts, in thousandths. 1 to 1000. Default 500: the median (Envoy's).
    pub percentile_permille: u32,
    /// How often the limit is set anew, 1 ms to 1 h. Default 100 ms. Without an answer in it, it goes on.
    pub window: Duration,
    /// How often the least latency is measured anew, at `min`. 1 ms to 24 h. Default 60 s.
    pub min_rtt_interval: Duration,
    /// Spreads that: uniform in [interval, interval·(1 + jitter/1000)]. 0 to 1000. Default 150 (Envoy's).
    pub min_rtt_jitter_permille: u32,
    /// How many answers measure it, 1 to 1000. Default 50 (Envoy's).
    pub min_rtt_requests: u32,
}

impl Default for Gradient {
    fn default() -> Self {
        Self {
            min: 3,
            buffer_permille: 250,
            percentile_permille: 500,
            window: Duration::from_millis(100),
            min_rtt_interval: Duration::from_secs(60),
            min_rtt_jitter_permille: 150,
            min_rtt_requests: 50,
        }
    }
}

/// The Vegas limit: every `window`, the queue is taken for `L·(1 − least latency ÷ mean latency)`; below 3·log10(L) the limit
/// grows, above 6·log10(L), or after a failure, it shrinks. Source: Netflix' concurrency-limits (`VegasLimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vegas {
    /// The least limit, 1 to `in_flight`. Default 1.
    pub min: u32,
    /// The first limit, `min` to `in_flight`. Default 20, or the nearest that is allowed.
    pub initial: u32,
    /// How often the limit is set anew, 1 ms to 1 h. Default 100 ms. It goes on until it has 50 answers.
    pub window: Duration,
    /// After `probe`·limit windows (half of that to all of it) the least latency is forgotten. 1 to 10,000. Default 30.
    pub probe: u32,
}

impl Default for Vegas {
    fn default() -> Self {
        Self { min: 1, initial: 20, window: Duration::from_millis(100), probe: 30 }
    }
}

/// Who waits how, who is served next, and who is sent away. By default: first come, first served, and only a full queue refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// In which order places are given. Default first come, first served.
    pub order: QueueOrder,
    /// Places are given by rank ([`crate::Rank`]: the class, then a key that is the same in all proxies), and who ranks higher
    /// takes the place of who ranks lowest in a full queue, so that all proxies keep the same requests. Default off.
    pub priorities: bool,
    /// Sends requests away while they wait too long all the time; `None`: never.
    pub codel: Option<Codel>,
    /// A request that would be answered after its deadline, by what the latest ones took, is refused. Default off: it waits
    /// until its deadline has passed.
    pub deadline_aware: bool,
}

/// In which order places are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueOrder {
    /// First come, first served.
    #[default]
    Fifo,
    /// First come, first served, until somebody has been waiting all the time for `after`; then the last comer is first, until
    /// the queue is empty. Source: Facebook, "Fail at scale" (ACM Queue, 2015).
    AdaptiveLifo {
        /// 1 ms to 1 h. Default 100 ms.
        after: Duration,
    },
}

/// Controlled delay (Nichols and Jacobson, RFC 8289): when nobody has waited less than `target` for an `interval`, requests are
/// sent away one by one, ever faster, until somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codel {
    /// A wait that is fine all the time, 1 ms to `interval`. Default 5 ms (RFC 8289).
    pub target: Duration,
    /// For how long more is fine, up to 1 h. Default 100 ms (RFC 8289).
    pub interval: Duration,
}

impl Default for Codel {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// How many requests per time, as token buckets in each proxy; one too many is answered with 429. Source: Linkerd's
/// HTTPLocalRateLimitPolicy, Envoy's local rate limit filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// All requests together; `None`: no limit.
    pub total: Option<Rate>,
    /// The requests of each caller (by SPIFFE id; those without share one bucket); `None`: no limit.
    pub per_caller: Option<Rate>,
    /// Callers with a rate of their own in place of `per_caller`. Each identity once.
    pub overrides: Vec<(Arc<str>, Rate)>,
}

/// So many requests per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens per `per`, at least 1.
    pub requests: u32,
    /// 1 ms to 24 h. Default 1 s.
    pub per: Duration,
    /// The most tokens, which a bucket has at first, at least 1. Default `requests`.
    pub burst: u32,
}
