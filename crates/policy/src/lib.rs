//! Every decision Squall makes, as synchronous machines without I/O, clock or dice of their own.
//!
//! Callers tell each machine the time ([`Instant`]) and give it dice ([`Rng`]). The same code decides in production, in
//! the simulator and in the fast model.

mod exchange;
mod mesh;
mod rng;
mod route;
mod time;

pub use exchange::{
    Answer, Attempt, AttemptNumber, Backend, BackendEvent, Ended, Exchange, Failure, LocalReply, Reason, RequestFacts,
    RetryNote, Step, Ticket,
};
pub use mesh::{
    BackendName, BackendPolicy, Backoff, Balancing, Breaker as BreakerConfig, Budget, Endpoint, HeaderChange,
    HeaderMatch, Inbound, Jitter, Limits, Mesh, Outliers as OutlierConfig, PathMatch, Protocol, QueryMatch, RetryOn,
    RetryPolicy, Route, RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};
pub use rng::Rng;
pub use route::{RequestLine, RouteTable, pick_backend};
pub use time::Instant;
