//! Measures: what a run's numbers were.

use std::time::Duration;

/// The measures of a whole run, seen by the load generator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Requests that arrived.
    pub requests: u64,
    /// Answered without error.
    pub succeeded: u64,
    /// Answered in no time at all: the client gave up.
    pub unanswered: u64,
    /// Time to the answer over all requests, failures included, an unanswered one counting its time-out.
    pub latency: Latency,
    /// Attempts sent by all sidecars ÷ the same calls without retries; 1 without calls.
    pub amplification: f64,
    /// Successes per second of the scenario's duration.
    pub goodput_per_s: f64,
    /// Whether and when the expected rate came back after the last fault.
    pub recovery: Recovery,
    /// What each service saw, by name.
    pub services: Vec<ServiceSummary>,
    /// What each pair of caller and called saw, by name.
    pub edges: Vec<EdgeSummary>,
}

impl Summary {
    /// Answered without error ÷ arrived; 1 if none arrived.
    #[must_use]
    pub fn success_rate(&self) -> f64 {
        if self.requests == 0 { 1.0 } else { self.succeeded as f64 / self.requests as f64 }
    }
}

/// Percentiles of a set of spans, exact (nearest rank).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The mean.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The 99.9th percentile.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

/// Whether a run came back to its expected rate after its faults. Ordered from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recovery {
    /// There was no fault to recover from, or the last one did not end.
    #[default]
    NoFault,
    /// So long after the end of the last fault the expected rate was met, and stayed so.
    After(Duration),
    /// Not before the end of the run.
    Never,
}

/// What a service saw at its applications.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSummary {
    /// Its name in the scenario.
    pub name: String,
    /// Requests that reached its applications.
    pub requests: u64,
    /// Answered without error.
    pub succeeded: u64,
    /// Refused because the application's queue was full.
    pub refused: u64,
    /// From arrival at the application to its answer.
    pub latency: Latency,
    /// The most requests in its applications at once, all replicas together.
    pub in_flight_max: u64,
    /// The most of them waiting for a slot.
    pub queue_max: u64,
}

/// What went from one service (or the load) to another, seen by the callers' sidecars.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeSummary {
    /// The caller: a service's name, or `load`.
    pub from: String,
    /// The called service.
    pub to: String,
    /// Requests.
    pub requests: u64,
    /// Attempts sent.
    pub attempts: u64,
    /// Answered without error.
    pub succeeded: u64,
    /// Retries that a budget forbade.
    pub over_budget: u64,
    /// Refused by the sidecar: queue full, no endpoint, breakers open.
    pub refused: u64,
    /// Time to the answer, seen by the caller's sidecar.
    pub latency: Latency,
}

impl EdgeSummary {
    /// Attempts ÷ requests; 1 without requests.
    #[must_use]
    pub fn amplification(&self) -> f64 {
        if self.requests == 0 { 1.0 } else { self.attempts as f64 / self.requests as f64 }
    }
}
