//! Every decision Squall makes, as synchronous machines without I/O, clock or dice of their own.
//!
//! Callers tell each machine the time ([`Instant`]) and give it dice ([`Rng`]). The same code decides in production, in
//! the simulator and in the fast model.

#[macro_use]
mod mutant;

mod admission;
mod backend;
mod backoff;
mod balance;
mod breaker;
mod budget;
mod check;
mod codel;
mod ewma;
mod exchange;
mod gradient;
mod mesh;
mod outlier;
mod priority;
mod rate_limit;
mod reply;
mod retry;
mod rng;
mod route;
mod route_fault;
mod time;
mod vegas;
mod verdict;

pub use backend::{Backend, BackendEvent, Ticket};
pub use breaker::Trip;
pub use check::Invalid;
pub use exchange::{Answer, Attempt, AttemptNumber, Ended, Exchange, Failure, RequestFacts, RetryNote, Step};
pub use mesh::{AbortWith, FaultAbort, FaultDelay, RouteFault};
pub use mesh::{
    Adaptive, BackendName, BackendPolicy, Backoff, Balancing, Breaker as BreakerConfig, Budget, Endpoint, HeaderChange,
    HeaderMatch, Inbound, Jitter, Limits, Mesh, Outliers as OutlierConfig, PathMatch, Protocol, QueryMatch, RetryOn,
    RetryPolicy, Route, RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};
pub use mesh::{Codel, Gradient, Queue, QueueOrder, Rate, RateLimit, Vegas};
pub use mesh::{Deviation, Enforcing, FailurePercentage, SlowCalls, SuccessRate};
pub use outlier::{Ejection, Origin};
pub use priority::{Class, Rank};
pub use reply::{LocalReply, Reason};
pub use rng::Rng;
pub use route::{RequestLine, RouteTable, pick_backend};
pub use route_fault::Injected;
pub use time::Instant;
