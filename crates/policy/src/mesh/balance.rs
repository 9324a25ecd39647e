//! Settings of balancing: consistent hashing, who is a candidate and with what weight, active health checks.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Requests of one key go to one endpoint (consistent hashing). The hash is xxh64; tables are those that Envoy builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// How hashes lead to endpoints.
    pub table: HashTable,
    /// What of a request is hashed: the first of these that it has. One at least. A request with none of them goes to a
    /// random endpoint.
    pub keys: Vec<HashKey>,
    /// Bounded loads: no endpoint takes more than this percentage of the mean load (requests in flight, by weight); what is
    /// too much goes on to the next. 100 to 100,000; `None`: no bound. Costs a look at every endpoint.
    /// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads" (2016); Envoy `hash_balance_factor`.
    pub bound_percent: Option<u32>,
    /// What becomes of a key whose endpoint is ejected, unhealthy, draining or behind an open breaker. Default next.
    pub when_down: WhenDown,
}

/// How hashes lead to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// A ring of points, several for each endpoint (ketama). An endpoint that comes or goes moves its own keys only.
    Ring {
        /// At least so many points, 1 to `max`. Default 1024 (Envoy's).
        min: u32,
        /// At most so many points, to 8,388,608 (8 Mi, Envoy's). Default that.
        max: u32,
    },
    /// Maglev: a table of this many places, shared as evenly as can be; moves a few more keys than the ring. A prime, 2 to
    /// 5,000,011. Default 65,537. Source: Eisenbud et al., "Maglev" (NSDI 2016).
    Maglev {
        /// Places in the table.
        size: u32,
    },
}

impl HashTable {
    /// The default ring.
    pub const RING: Self = Self::Ring { min: 1024, max: 8 << 20 };
    /// The default Maglev table.
    pub const MAGLEV: Self = Self::Maglev { size: 65_537 };
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashKey {
    /// The value of this header; several lines of it are joined by `,`. Lower case.
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this query parameter, undecoded; the first of several counts.
    Query(String),
    /// The path without its query.
    Path,
    /// The SPIFFE id of the workload that the request comes from. A proxy without one has none.
    Source,
}

/// What becomes of a key whose endpoint takes no request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenDown {
    /// It goes to the next endpoint of the ring or table.
    #[default]
    Next,
    /// It is refused (503 `none-available`), and retries stay with the endpoint: for services of which each replica holds a
    /// part of the data.
    Refuse,
}

/// Which endpoints are candidates for a pick, and how much each counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// What a failed try makes its endpoint look like to peak EWMA and least request; `None`: nothing, so that an endpoint
    /// that fails fast looks like the best.
    pub penalty: Option<Penalty>,
    /// How much requests in flight count against the weight under least request with unequal weights: weight ÷ (requests +
    /// 1)^bias, in thousandths. 0 to 10,000. Default 1000; 0: weights alone. Source: Envoy `active_request_bias`.
    pub request_bias_permille: u32,
    /// The own zone goes first; `None`: zones do not matter.
    pub zones: Option<Zones>,
    /// Below this percentage of healthy endpoints all but the draining ones are used, ejected or not: it is likelier that the
    /// measure is wrong, and few endpoints would fall under the load of all. 0 to 100; 0 (default): never. Breakers stay in force.
    /// Source: Envoy `healthy_panic_threshold` (there 50; so is the control plane's default for services with health checks
    /// or zones).
    pub panic_percent: u32,
    /// New endpoints begin with a small share; `None`: with a full one.
    pub slow_start: Option<SlowStart>,
    /// This proxy uses only so many of the endpoints, the same ones as long as they are there, 1 or more; `None`: all.
    pub subset: Option<u32>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            penalty: Some(Penalty::default()),
            request_bias_permille: 1000,
            zones: None,
            panic_percent: 0,
            slow_start: None,
            subset: None,
        }
    }
}

/// A failed try counts as a slow answer, and each further one as twice as slow; time forgives (see `decay` of peak EWMA; 10 s
/// for least request).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// What the first failure counts as at least, 1 ms to `last`. Default 300 ms: ten times an unknown endpoint. Least
    /// request takes it for ten requests in flight.
    pub first: Duration,
    /// What failures alone come to at most, to 1 h. Default 5 s (Linkerd's load biaser).
    pub last: Duration,
}

impl Default for Penalty {
    fn default() -> Self {
        Self { first: Duration::from_millis(300), last: Duration::from_secs(5) }
    }
}

/// The proxy's own zone goes first, others take over what it cannot bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zones {
    /// A zone counts as whole while this percentage of its available share is 100 % or more: at the default of 140, load
    /// spills over when less than 71 % of it is available. 100 to 1000. Source: Envoy `overprovisioning_factor`.
    pub overprovisioning_percent: u32,
}

impl Default for Zones {
    fn default() -> Self {
        Self { overprovisioning_percent: 140 }
    }
}

/// A new endpoint's weight grows over a window: weight × max(`min_weight`, (age ÷ window)^(1 ÷ aggression)). Under peak EWMA it
/// is a candidate with that probability. It is new when it appears, and when its health checks find it healthy again.
/// Source: Envoy `slow_start_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// How long, 1 ms to 1 h.
    pub window: Duration,
    /// The shape, in thousandths: 1000 (default) is a straight line, more is faster at first. 1 to 100,000.
    pub aggression_permille: u32,
    /// The least share of its weight, in percent. 1 to 100. Default 10.
    pub min_weight_percent: u32,
}

/// Active health checks: the proxy asks each endpoint by itself, and picks none that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one check to the next, 10 ms to 1 h. Default 5 s.
    pub interval: Duration,
    /// Spreads it: uniform in [interval, interval·(1 + jitter/1000)]. 0 to 1000. Default 100. The first check of an endpoint
    /// is made at once.
    pub jitter_permille: u32,
    /// The longest wait for the answer, connecting included, 1 ms to 1 h. Default 1 s.
    pub timeout: Duration,
    /// Unhealthy after so many failures in a row, 1 or more. Default 3. The first check of all decides alone.
    pub unhealthy_after: u32,
    /// Healthy again after so many successes in a row, 1 or more. Default 2.
    pub healthy_after: u32,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// GET this path, over a connection as requests have it (protocol, mutual TLS).
    Http {
        /// Begins with `/`.
        path: String,
        /// Statuses that are healthy, within 100 to 599. Not empty. Default 200 to 200 (Envoy's).
        expected: Vec<RangeInclusive<u16>>,
    },
    /// Call `grpc.health.v1.Health/Check`, over HTTP/2 as requests have it: `SERVING` passes.
    Grpc {
        /// The service whose health it is; empty: the server's as a whole. 256 visible ASCII characters at most.
        service: String,
    },
    /// A connection comes about (TCP, and mutual TLS where requests have it).
    Connect,
}
