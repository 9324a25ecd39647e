//! What expectations may name: the contract between the parser, which refuses anything else, and the checker, which
//! measures it.
//!
//! Measures are over a window, requests belonging to the window in which they arrived; gauges are of one instant. Only
//! gauges may stand under `always`; both may stand elsewhere, where a gauge is the largest value it had in the window.
//! CEL's own operators and functions are there too, `duration("120ms")` among them.

/// What an expression gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A CEL `double`; compare with `0.99` or `1.0`.
    Double,
    /// A CEL `int`.
    Int,
    /// A CEL `duration`.
    Duration,
}

/// What a function's argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// The name of a service, a load, as a literal string.
    Name,
    /// A status code, 100 to 599.
    Status,
    /// A whole number, 1 to 1,000,000.
    Count,
    /// A decimal number from 0.0 to 1.0.
    Share,
    /// A `duration("…")`.
    Span,
}

/// A name an expression may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// As written.
    pub name: &'static str,
    /// Empty: a plain variable; otherwise a function of these. One name may be both, with several lists.
    pub arguments: &'static [Argument],
    /// What it is.
    pub kind: Kind,
    /// May stand under `always`.
    pub gauge: bool,
    /// For the reference.
    pub meaning: &'static str,
}

const fn of(name: &'static str, arguments: &'static [Argument], kind: Kind, meaning: &'static str) -> Variable {
    Variable { name, arguments, kind, gauge: false, meaning }
}

const fn gauge(name: &'static str, arguments: &'static [Argument], meaning: &'static str) -> Variable {
    Variable { name, arguments, kind: Kind::Int, gauge: true, meaning }
}

const ONE: &[Argument] = &[Argument::Name];
const EDGE: &[Argument] = &[Argument::Name, Argument::Name];

/// Everything an expectation may name besides CEL's own.
///
/// Without arguments: seen by the load generators, all of them. With one service: of the requests that sidecars were
/// asked to send to it, seen by those sidecars' clients (retries inside one request). With two: only those of the first
/// (a service or a load) to the second.
pub const VARIABLES: &[Variable] = &[
    of("requests", &[], Kind::Int, "requests that arrived"),
    of("requests", ONE, Kind::Int, "requests to a service"),
    of("requests", EDGE, Kind::Int, "requests of one to the other"),
    of("successRate", &[], Kind::Double, "answered without error ÷ arrived; 1.0 if none arrived"),
    of("successRate", ONE, Kind::Double, "the same of requests to a service"),
    of("successRate", EDGE, Kind::Double, "the same of one's requests to the other"),
    of("errorRate", &[], Kind::Double, "1 − successRate"),
    of("errorRate", ONE, Kind::Double, "1 − successRate"),
    of("errorRate", EDGE, Kind::Double, "1 − successRate"),
    of("goodput", &[], Kind::Double, "successes per second of the window"),
    of("goodput", ONE, Kind::Double, "successes per second of requests to a service"),
    of("p50", &[], Kind::Duration, "median latency, failures included, an unanswered request counting its time-out"),
    of("p50", ONE, Kind::Duration, "median latency of requests to a service"),
    of("p90", &[], Kind::Duration, "90th percentile of latency"),
    of("p90", ONE, Kind::Duration, "90th percentile of latency of requests to a service"),
    of("p95", &[], Kind::Duration, "95th percentile of latency"),
    of("p95", ONE, Kind::Duration, "95th percentile of latency of requests to a service"),
    of("p99", &[], Kind::Duration, "99th percentile of latency"),
    of("p99", ONE, Kind::Duration, "99th percentile of latency of requests to a service"),
    of("p999", &[], Kind::Duration, "99.9th percentile of latency"),
    of("p999", ONE, Kind::Duration, "99.9th percentile of latency of requests to a service"),
    of("max", &[], Kind::Duration, "largest latency"),
    of("max", ONE, Kind::Duration, "largest latency of requests to a service"),
    of("mean", &[], Kind::Duration, "mean latency"),
    of("mean", ONE, Kind::Duration, "mean latency of requests to a service"),
    of("status", &[Argument::Status], Kind::Int, "answers with this status to the load generators"),
    of(
        "status",
        &[Argument::Name, Argument::Status],
        Kind::Int,
        "answers with this status by a service's callers' sidecars",
    ),
    of("unanswered", &[], Kind::Int, "requests given up by the load generators, or without an answer at the end"),
    of("amplification", &[], Kind::Double, "attempts sent by all sidecars ÷ the same calls without retries"),
    of("amplification", ONE, Kind::Double, "attempts ÷ requests, to a service"),
    of("amplification", EDGE, Kind::Double, "attempts ÷ requests, of one to the other"),
    of("attempts", &[], Kind::Int, "attempts sent by all sidecars"),
    of("attempts", ONE, Kind::Int, "attempts sent to a service"),
    of("attempts", EDGE, Kind::Int, "attempts of one to the other"),
    of("retries", &[], Kind::Int, "attempts after the first, of all sidecars"),
    of("retries", ONE, Kind::Int, "attempts after the first, to a service"),
    of("retries", EDGE, Kind::Int, "attempts after the first, of one to the other"),
    of("refused", &[], Kind::Int, "requests that sidecars answered themselves because of a limit, breaker or ejection"),
    of("refused", ONE, Kind::Int, "the same of requests to a service"),
    of("calls", EDGE, Kind::Int, "calls one application made to another, its own tries counting as one call"),
    of("failedCalls", EDGE, Kind::Int, "those that failed for good in the eyes of the caller"),
    of("overflowed", ONE, Kind::Int, "requests answered with 503 because a pod's queue was full"),
    of(
        "recovery",
        &[],
        Kind::Duration,
        "from the end of the last fault to the first second from which successRate stays at 99 % or more; the rest of the run if never; over the whole run",
    ),
    of("slower", &[Argument::Span], Kind::Double, "share of requests that took longer than this"),
    of(
        "slower",
        &[Argument::Name, Argument::Span],
        Kind::Double,
        "share of requests to a service that took longer than this, in the eyes of their callers' sidecars",
    ),
    of(
        "regained",
        &[Argument::Share, Argument::Count],
        Kind::Duration,
        "from the end of the last fault to the first of so many whole seconds in a row, in each of which at least this share as many requests were answered without error as arrived; the rest of the run if never; over the whole run",
    ),
    of(
        "regained",
        &[Argument::Name, Argument::Share, Argument::Count],
        Kind::Duration,
        "the same of requests to a service, as their callers' sidecars see them",
    ),
    of("seconds", &[], Kind::Double, "how long the window is"),
    of("arrivals", ONE, Kind::Int, "requests that reached the applications of a service"),
    of("waited", ONE, Kind::Double, "share of those that waited for a slot (lost ones aside)"),
    of("lost", ONE, Kind::Double, "share of those that a full queue lost"),
    of("waitMean", ONE, Kind::Duration, "mean wait for a slot, over all that got one"),
    of("waitP50", ONE, Kind::Duration, "median of the wait for a slot"),
    of("waitP90", ONE, Kind::Duration, "90th percentile of the wait for a slot"),
    of("waitP99", ONE, Kind::Duration, "99th percentile of the wait for a slot"),
    of("waitP999", ONE, Kind::Duration, "99.9th percentile of the wait for a slot"),
    of("waitMax", ONE, Kind::Duration, "longest wait for a slot"),
    of("stayMean", ONE, Kind::Duration, "mean time in the applications of a service, of those that got a slot"),
    of("stayP50", ONE, Kind::Duration, "median of the time in the applications of a service"),
    of("stayP90", ONE, Kind::Duration, "90th percentile of the time in the applications of a service"),
    of("stayP99", ONE, Kind::Duration, "99th percentile of the time in the applications of a service"),
    of("stayP999", ONE, Kind::Duration, "99.9th percentile of the time in the applications of a service"),
    of("stayMax", ONE, Kind::Duration, "longest time in the applications of a service"),
    of("inFlightMean", &[], Kind::Double, "time-average of requests of the load generators without an answer"),
    of("inFlightMean", ONE, Kind::Double, "time-average of requests inside the applications of a service"),
    of("inFlightMean", EDGE, Kind::Double, "time-average of requests of one to the other"),
    of("queuedMean", ONE, Kind::Double, "time-average of requests waiting for a slot in a service"),
    of(
        "limit",
        ONE,
        Kind::Int,
        "median over time of the adaptive limits on requests in flight to a service, in all sidecars; 0 if none moved",
    ),
    of("conflicts", ONE, Kind::Int, "requests that failed because another committed before them"),
    of(
        "trips",
        ONE,
        Kind::Int,
        "how often a closed breaker of the service, or of an endpoint of it, opened, in all sidecars",
    ),
    of(
        "requestsPerTrip",
        ONE,
        Kind::Double,
        "attempts sent through closed breakers up to their opening ÷ trips; 0.0 without trips",
    ),
    gauge("inFlight", &[], "requests of the load generators without an answer yet"),
    gauge("inFlight", ONE, "requests inside the applications of a service, waiting or served"),
    gauge("queued", ONE, "requests waiting for a slot in a service"),
];
