//! Every decision Squall makes, as synchronous machines without I/O, clock or dice of their own.
//!
//! Callers tell each machine the time ([`Instant`]) and give it dice ([`Rng`]). The same code decides in production, in
//! the simulator and in the fast model.

#[macro_use]
mod mutant;

mod admission;
mod authorize;
mod backend;
mod backoff;
mod balance;
mod breaker;
mod budget;
mod check;
mod codel;
mod consistent;
mod domains;
mod ewma;
mod exchange;
mod gateway;
mod gradient;
mod hash;
mod health;
mod hedge;
mod maglev;
mod mesh;
mod outlier;
mod powers;
mod priority;
mod rate_limit;
mod redirect;
mod reply;
mod request_hash;
mod retry;
mod ring_hash;
mod rng;
mod route;
mod route_fault;
mod slow_start;
mod subset;
mod throttle;
mod time;
mod vegas;
mod verdict;
mod zones;

pub use authorize::{Access, Asked};
pub use backend::{Backend, BackendEvent, EndpointView, Here, ProbeId, ProbeOrder, Ticket};
pub use breaker::Trip;
pub use check::Invalid;
pub use exchange::{Answer, Attempt, AttemptNumber, Ended, Exchange, Failure, Replay, RequestFacts, RetryNote, Step};
pub use gateway::{Astray, GatewayPort, GatewayTable};
pub use health::ProbeResult;
pub use mesh::GatewayListener;
pub use mesh::PeerMode;
pub use mesh::{AbortWith, FaultAbort, FaultDelay, RouteFault};
pub use mesh::{AccessRule, Authorization, Caller, Operation, TextMatch};
pub use mesh::{
    Adaptive, BackendName, BackendPolicy, Backoff, Balancing, Breaker as BreakerConfig, Budget, Endpoint, HeaderChange,
    HeaderMatch, Inbound, Jitter, Limits, Mesh, Outliers as OutlierConfig, PathMatch, Protocol, QueryMatch, RetryOn,
    RetryPolicy, Route, RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};
pub use mesh::{Candidates, HashKey, HashTable, Hashing, HealthCheck, Penalty, Probe, SlowStart, WhenDown, Zones};
pub use mesh::{
    ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryLimits, RetryShare, RetryThrottling,
};
pub use mesh::{Codel, Gradient, Queue, QueueOrder, Rate, RateLimit, Vegas};
pub use mesh::{Destination, OPAQUE_PORTS, Speaks, StreamPolicy};
pub use mesh::{Deviation, Enforcing, FailurePercentage, SlowCalls, SuccessRate};
pub use mesh::{Redirect, RedirectPath};
pub use outlier::{Ejection, Origin};
pub use priority::{Class, Rank};
pub use redirect::AskedUri;
pub use reply::{LocalReply, Reason};
pub use request_hash::request_hash;
pub use rng::Rng;
pub use route::{RequestLine, RouteTable, pick_backend};
pub use route_fault::Injected;
pub use time::Instant;

/// The property tests of requests, for `fuzz/`.
#[cfg(feature = "harness")]
#[doc(hidden)]
pub mod harness {
    /// Runs the case that these bytes say. Panics if it breaks an invariant.
    pub fn run(bytes: &[u8]) {
        drop(crate::exchange::properties::run_bytes(bytes));
    }
}
