//! What a proxy works on: the compiled mesh. Made by `control`, carried by `xds`, obeyed by `proxy`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod authorization;
mod balance;
mod exchange;
mod fault;
mod gateway;
mod overload;
mod peers;
mod redirect;
mod stream;

pub use authorization::{AccessRule, Authorization, Caller, Operation, TextMatch};
pub use balance::{Candidates, HashKey, HashTable, Hashing, HealthCheck, Penalty, Probe, SlowStart, WhenDown, Zones};
pub use exchange::{
    ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryLimits, RetryShare, RetryThrottling,
};
pub use fault::{AbortWith, FaultAbort, FaultDelay, RouteFault};
pub use gateway::GatewayListener;
pub use overload::{Adaptive, Codel, Gradient, Queue, QueueOrder, Rate, RateLimit, Vegas};
pub use peers::PeerMode;

pub use redirect::{Redirect, RedirectPath};
pub use stream::{Destination, OPAQUE_PORTS, Speaks, StreamPolicy};

mod protection;

pub use protection::{Breaker, Deviation, Enforcing, FailurePercentage, Outliers, SlowCalls, SuccessRate};

/// All that one proxy knows of the mesh. Immutable once built; a new version replaces the old one whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh {
    /// Where outbound requests go, by host name. Domains are unique over all virtual hosts.
    pub hosts: Vec<VirtualHost>,
    /// How each backend is treated.
    pub backends: BTreeMap<BackendName, BackendPolicy>,
    /// Who serves each backend now. A backend without an entry has no endpoints.
    pub endpoints: BTreeMap<BackendName, Vec<Endpoint>>,
    /// How requests that arrive for this proxy's own workload are treated, by application port.
    pub inbound: BTreeMap<u16, Inbound>,
    /// Where connections go that name no host, or are no HTTP: by the address they were meant for, or the name in their ClientHello.
    /// Sorted by backend; one each at most.
    pub destinations: Vec<Destination>,
    /// What comes in from outside, if this proxy is a gateway. Sorted by name.
    pub gateway: Vec<GatewayListener>,
}

/// One Service port, written `namespace/name:port`: the unit of balancing, breaking and budgets (an xDS cluster).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendName(Arc<str>);

impl BackendName {
    /// The backend for port `port` of Service `namespace/name`.
    #[must_use]
    pub fn new(namespace: &str, name: &str, port: u16) -> Self {
        Self(format!("{namespace}/{name}:{port}").into())
    }

    /// A name as it came over the wire or from a mesh file. Any non-empty text will do.
    #[must_use]
    pub fn from_wire(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of host names and their routes (xDS `VirtualHost`).
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualHost {
    /// For people: the Service it belongs to, `namespace/name:port`.
    pub name: String,
    /// Host names without or with port, lower case: `catalog`, `catalog:80`, `catalog.shop.svc.cluster.local`, or `*`.
    pub domains: Vec<String>,
    /// In order of precedence (the compiler sorts by Gateway API's rules): the first match wins.
    pub routes: Vec<Route>,
}

/// One match and where it leads (xDS `Route`; a Gateway API rule with several matches becomes several of these).
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// For people and metrics: `shop/catalog rule 0`.
    pub name: Arc<str>,
    /// What a request must look like.
    pub matches: RouteMatch,
    /// Applied to the request before it is sent on.
    pub request_headers: Vec<HeaderChange>,
    /// Applied to the response before it is answered.
    pub response_headers: Vec<HeaderChange>,
    /// Chosen by weight, once per request. Empty, or all weights 0: answered with 500, as the Gateway API says.
    pub backends: Vec<WeightedBackend>,
    /// Limits on time.
    pub timeouts: RouteTimeouts,
    /// When to try again; `None`: never.
    pub retry: Option<RetryPolicy>,
    /// Faults on purpose; `None`: none.
    pub fault: Option<RouteFault>,
    /// The client is told to ask elsewhere; then there are no backends, and nothing else is done. `None`: it is not.
    pub redirect: Option<Redirect>,
}

/// What a request must look like. All parts must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// The path, without its query.
    pub path: PathMatch,
    /// The method, compared exactly (RFC 9110 §9.1); `None`: any.
    pub method: Option<String>,
    /// Headers that must be there.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters that must be there.
    pub query: Vec<QueryMatch>,
}

/// How the path is compared. Paths start with `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole leading segments: `/a` matches `/a` and `/a/b`, not `/ab`. A trailing `/` of the prefix is ignored.
    Prefix(String),
}

/// A header that must be there with just this value (Gateway API `Exact`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    /// Compared byte for byte. Several lines of one header are joined by `,` first.
    pub value: String,
}

/// A query parameter that must be there with just this value; the first of several counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// Compared byte for byte, undecoded.
    pub name: String,
    /// Compared byte for byte, undecoded.
    pub value: String,
}

/// One change to a header (Gateway API `RequestHeaderModifier`, `ResponseHeaderModifier`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderChange {
    /// Replaces every line of the header.
    Set {
        /// Lower case.
        name: String,
        /// The new value.
        value: String,
    },
    /// Adds a line.
    Add {
        /// Lower case.
        name: String,
        /// The added value.
        value: String,
    },
    /// Removes every line.
    Remove {
        /// Lower case.
        name: String,
    },
}

/// A backend and its share.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedBackend {
    /// Whose endpoints serve it.
    pub backend: BackendName,
    /// 0 to 1,000,000; its share is weight ÷ sum of weights. 0: nothing.
    pub weight: u32,
}

/// Limits on the time of one request. `None`: no limit of this kind. None may be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the request's arrival to the end of the answer's head, over all tries (Gateway API `timeouts.request`).
    pub request: Option<Duration>,
    /// One try, from its start to the end of its head (Gateway API `timeouts.backendRequest`).
    pub per_try: Option<Duration>,
    /// The longest silence while a body streams, either way. `None`: only a request body from elsewhere has a limit, 5 min.
    pub idle: Option<Duration>,
    /// The whole exchange, from the request's arrival to the last byte of the answer, bodies included. Before the answer's head it is a
    /// deadline like `request`; after it, the answer is cut off, which says nothing about the endpoint.
    pub stream: Option<Duration>,
}

/// When and how a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries after the first, 1 to 1000.
    pub retries: u32,
    /// What makes a try worth repeating.
    pub on: Vec<RetryOn>,
    /// How long to wait in between.
    pub backoff: Backoff,
    /// Also repeat methods that are not idempotent (RFC 9110 §9.2.2). Connect failures and refused streams, which no
    /// server saw, are repeated for every method.
    pub non_idempotent: bool,
    /// The most request body kept for a repetition, in bytes; a larger body is sent once. At most 16 MiB. Default 64 KiB.
    pub buffer_bytes: u32,
}

/// A reason to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryOn {
    /// No connection came about (refused, timed out, TLS failed).
    ConnectFailure,
    /// The connection broke before an answer's head.
    Reset,
    /// HTTP/2 REFUSED_STREAM, or GOAWAY before the stream was processed.
    RefusedStream,
    /// The try's own time ran out.
    PerTryTimeout,
    /// Any status 500 to 599.
    Status5xx,
    /// 502, 503 or 504.
    GatewayError,
    /// Just this status, 400 to 599.
    Status(u16),
    /// Just this gRPC status, 1 to 16, when it comes in the head (a trailers-only answer).
    Grpc(u8),
}

/// Exponential back-off: `first`·2^(n−1), at most `last`, spread by `jitter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first repetition, 1 ms to `last`. Default 25 ms.
    pub first: Duration,
    /// The most, up to 5 min. Default 250 ms.
    pub last: Duration,
    /// How waits spread. Default full.
    pub jitter: Jitter,
}

/// How waits spread (AWS architecture blog, "Exponential backoff and jitter", 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// None: the bare exponential.
    None,
    /// Uniform in [0, wait].
    Full,
    /// Uniform in [wait/2, wait].
    Equal,
    /// Uniform in [first, 3 × the wait before], at most `last`.
    Decorrelated,
}

/// How one backend is treated. Everything here has a state per proxy and backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendPolicy {
    /// How an endpoint is picked.
    pub balancing: Balancing,
    /// From which endpoints, and how much each counts.
    pub candidates: Candidates,
    /// Active health checks; `None`: none.
    pub health: Option<HealthCheck>,
    /// The circuit breaker of each endpoint; `None`: none.
    pub breaker: Option<Breaker>,
    /// The circuit breaker of the backend as a whole: while it is open, requests are refused with 503 at once. `None`: none.
    /// Both kinds at once work, each with its own counts.
    pub service_breaker: Option<Breaker>,
    /// Outlier ejection; `None`: none.
    pub outliers: Option<Outliers>,
    /// How much at once.
    pub limits: Limits,
    /// How many requests per time; `None`: any. On the outbound side only `total` has a meaning.
    pub rate: Option<RateLimit>,
    /// How many retries; `None`: no budget, as the peers have it.
    pub budget: Option<Budget>,
    /// More budgets, which retries need leave from too. Default none.
    pub retry_limits: RetryLimits,
    /// Refuses tries at the client while the backend refuses too many; `None`: never.
    pub throttle: Option<ClientThrottle>,
    /// A second try beside a slow one; `None`: never.
    pub hedging: Option<Hedging>,
    /// The longest wait for a connection (TCP and TLS), more than 0. Default 1 s.
    pub connect_timeout: Duration,
    /// An unused pooled connection is closed after this. Default 90 s; `None`: never.
    pub pool_idle: Option<Duration>,
    /// What the endpoints speak.
    pub protocol: Protocol,
    /// Mutual TLS; the endpoint must prove its [`Endpoint::identity`].
    pub mutual_tls: bool,
}

impl Default for BackendPolicy {
    fn default() -> Self {
        Self {
            balancing: Balancing::default(),
            candidates: Candidates::default(),
            health: None,
            breaker: None,
            service_breaker: None,
            outliers: None,
            limits: Limits::default(),
            rate: None,
            budget: Some(Budget::default()),
            retry_limits: RetryLimits::default(),
            throttle: None,
            hedging: None,
            connect_timeout: Duration::from_secs(1),
            pool_idle: Some(Duration::from_secs(90)),
            protocol: Protocol::Http1,
            mutual_tls: false,
        }
    }
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time per connection.
    Http1,
    /// HTTP/2 with prior knowledge (ALPN `h2` under TLS).
    Http2,
    /// Anything: bytes that nobody looks at (ALPN `squall-tcp` under TLS).
    Tcp,
}

/// How an endpoint is picked.
#[derive(Clone, Debug, PartialEq)]
pub enum Balancing {
    /// Of `choices` random endpoints, the one with the least peak-EWMA cost (Finagle's; Linkerd's constants).
    PeakEwma {
        /// How fast the average forgets, more than 0. Default 10 s.
        decay: Duration,
        /// What an endpoint without a sample is taken for, more than 0. Default 30 ms.
        default_rtt: Duration,
        /// How many are compared, at least 1. Default 2.
        choices: u32,
    },
    /// Of `choices` random endpoints, the one with the fewest requests in flight. Endpoints of unequal weight take turns by
    /// weight ÷ (requests + 1)^bias instead (see [`Candidates::request_bias_permille`]), as in Envoy.
    LeastRequest {
        /// How many are compared, at least 1. Default 2.
        choices: u32,
    },
    /// In turn, by weight (smooth: no endpoint's turns come in a row).
    RoundRobin,
    /// Any, by weight.
    Random,
    /// By a key of the request.
    Hash(Hashing),
}

impl Default for Balancing {
    fn default() -> Self {
        Self::PeakEwma { decay: Duration::from_secs(10), default_rtt: Duration::from_millis(30), choices: 2 }
    }
}

/// How much at once, per proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight, at least 1. Default 1024 (Envoy's). The most that an adaptive limit comes to; its default is 1000.
    pub in_flight: u32,
    /// Requests waiting for a place; one more is refused with 503. Default 1024 (Envoy's). 0: refuse at once.
    pub pending: u32,
    /// The longest wait for a place; `None`: until the request's deadline.
    pub queue_timeout: Option<Duration>,
    /// The limit on requests in flight follows the latency; `None`: it is `in_flight`.
    pub adaptive: Option<Adaptive>,
    /// The queue's discipline.
    pub queue: Queue,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 1024, pending: 1024, queue_timeout: None, adaptive: None, queue: Queue::default() }
    }
}

/// How many retries a backend gets: a token bucket. Each request deposits `percent`/100 of a token, each retry takes
/// one; tokens older than `window` expire; `min_per_second` retries are free. Defaults as Linkerd's ServiceProfile and
/// Gateway API's XBackendTrafficPolicy: 20 %, 10/s, 10 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Retries per hundred requests, 0 to 1000. Default 20.
    pub percent: u32,
    /// Always allowed, per second. Default 10.
    pub min_per_second: u32,
    /// How long requests count, 1 s to 1 h. Default 10 s.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 10, window: Duration::from_secs(10) }
    }
}

/// One pod behind a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect (in a mesh: the sidecar's inbound side).
    pub address: SocketAddr,
    /// For people and history: the pod's name, `catalog-v1-0`. Not used for decisions.
    pub name: Arc<str>,
    /// Its zone; empty: unknown.
    pub zone: Arc<str>,
    /// Relative share under round robin, random, least request and hashing, at least 1; peak EWMA measures instead.
    pub weight: u32,
    /// The SPIFFE id it must prove under mutual TLS, `spiffe://cluster.local/ns/shop/sa/catalog`; empty: none known.
    pub identity: Arc<str>,
    /// Takes no new requests, but is not gone: what is in flight may end (EndpointSlice `terminating`).
    pub draining: bool,
}

/// How requests for the own workload are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// How much at once.
    pub limits: Limits,
    /// How many requests per time; `None`: any.
    pub rate: Option<RateLimit>,
    /// What the application speaks.
    pub protocol: Protocol,
    /// Nobody said so: the first bytes of each connection tell, and what is no HTTP is carried as bytes.
    pub detect: bool,
    /// Who may ask for what. Default: everybody for everything.
    pub access: Authorization,
    /// What its peers must prove; `None`: nobody said, and it is as the proxy was told when it started (mutual TLS, if it has an identity).
    pub peers: Option<PeerMode>,
}
