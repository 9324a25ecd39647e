//! Faults that a route injects on purpose, in production as in a rehearsal.

use std::time::Duration;

use super::HeaderMatch;

/// Delays and aborts of a share of a route's tries. Source: Envoy's HTTP fault filter; there, and in Istio, a request is hit once,
/// before its retries, and Istio's faults switch the route's retries off. Here each *try* is hit, as by a real fault.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteFault {
    /// Only requests with all of these headers are hit. Default: all requests.
    pub headers: Vec<HeaderMatch>,
    /// Some tries begin late; `None`: none.
    pub delay: Option<FaultDelay>,
    /// Some tries are answered by the proxy instead of an endpoint; `None`: none. One that is delayed as well is answered after its delay.
    pub abort: Option<FaultAbort>,
}

/// How late, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultDelay {
    /// How late, more than 0, at most 1 h. It counts against the try's and the request's time-outs.
    pub span: Duration,
    /// Of a million tries, 1 to 1,000,000.
    pub ppm: u32,
}

/// Which answer, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultAbort {
    /// What is answered.
    pub with: AbortWith,
    /// Of a million tries, 1 to 1,000,000; drawn apart from the delay.
    pub ppm: u32,
}

/// What an aborted try is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortWith {
    /// This status, 400 to 599. A gRPC caller gets the gRPC status that it stands for.
    Status(u16),
    /// This gRPC status, 1 to 16. Another caller gets the HTTP status that it stands for.
    Grpc(u8),
}
