//! Who asks: open loops that do not wait for answers, and closed loops of clients that do.

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{Protocol, Rng};

use super::{Distribution, Located, Place};

/// A source of requests, on client hosts of its own with a sidecar (outbound only) each.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Where it stands.
    pub place: Place,
    /// Its name, in reports and faults. Default `load`; several need names.
    pub name: Arc<str>,
    /// The namespace its hosts are in. Default: the target's.
    pub namespace: Arc<str>,
    /// The host name asked for: a Service's name, as in [`super::Call::host`]. Default: the service with `entry: true`.
    pub to: Located<String>,
    /// When requests arrive.
    pub arrivals: Arrivals,
    /// What is asked, drawn by weight for each request. Not empty. Default: the target's routes by their weights.
    pub mix: Vec<Request>,
    /// After which an unanswered request is given up, more than 0; it counts as failed, with this as its latency.
    /// Default 30 s.
    pub timeout: Duration,
    /// Over how many client hosts `name-0`, `name-1` … requests go in turn (or clients are spread), 1 to 1000. Default 1.
    pub hosts: u32,
    /// What clients speak to their sidecar. Default HTTP/1.1.
    pub http: Protocol,
    /// The zones of its hosts, in turn, not empty. Default: the first of [`super::Network::zones`].
    pub zones: Vec<Arc<str>>,
    /// Requests arrive from here on. Default 0.
    pub from: Duration,
    /// Requests arrive up to here, more than `from`, at most the scenario's duration, the default.
    pub until: Duration,
    /// Stops after so many requests, at least 1; `None` (default): no limit.
    pub requests: Option<u64>,
    /// So many requests come at each arrival of an open loop, at least 1. Default 1.
    pub batch: u32,
    /// How arrivals of an open loop are dealt to the hosts. Default in turn.
    pub spread: Spread,
}

/// How arrivals are dealt to the hosts of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// One after the other.
    #[default]
    Turn,
    /// Each to any host: with Poisson arrivals every host has Poisson arrivals of its own.
    Random,
}

/// When requests arrive.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// At a rate, whatever the answers do.
    Open {
        /// The rate over time: contiguous, ascending, from [`Load::from`] to [`Load::until`]. Not empty.
        phases: Vec<Phase>,
        /// How arrivals are spaced.
        spacing: Spacing,
    },
    /// At these instants since the start, ascending. Not empty.
    Trace(Vec<Duration>),
    /// Each client asks, waits for the answer (or its time-out), thinks, and asks again. Clients begin with a think time.
    Closed {
        /// How many over all hosts, at least 1.
        clients: u32,
        /// The time between an answer and the next request. Default 0.
        think: Distribution,
    },
}

/// A stretch of time over which the rate goes in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Begins here.
    pub from: Duration,
    /// Ends here.
    pub until: Duration,
    /// The rate at `from`.
    pub first: Rate,
    /// The rate at `until`; the same as `first` for a constant rate.
    pub last: Rate,
}

impl Phase {
    /// Ends at `until`, if it would go on.
    pub(super) fn cut(&mut self, until: Duration) {
        if self.until <= until {
            return;
        }
        let (whole, part) = ((self.until - self.from).as_nanos(), until.saturating_sub(self.from).as_nanos());
        let (first, last) = (i128::from(self.first.0), i128::from(self.last.0));
        let at =
            first + (last - first) * i128::try_from(part).unwrap_or(i128::MAX) / i128::try_from(whole).unwrap_or(1);
        self.last = Rate(u64::try_from(at).unwrap_or(0));
        self.until = until;
    }
}

/// Requests per 1000 seconds: `300/s` is 300,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl Rate {
    /// The most that a load may ask: 1,000,000/s.
    pub(crate) const MAX: Self = Self(1_000_000_000);

    /// Requests per second, for arithmetic of the arrivals and for reports.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// Exponential gaps (a Poisson process, of varying rate in a ramp).
    #[default]
    Poisson,
    /// Even gaps: request n arrives when the integral of the rate reaches n, the first at `from`.
    Constant,
    /// Gamma-distributed gaps of mean 1, in requests: a renewal process, more even than Poisson's or more bursty.
    Gamma {
        /// 1 ÷ (coefficient of variation)², in millionths, at least 100.
        shape_ppm: u64,
    },
}

/// The most clients of a load.
pub(crate) const CLIENTS_MAX: u32 = 100_000;

/// One kind of request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Where it stands.
    pub place: Place,
    /// For people: `GET /cart`.
    pub name: Arc<str>,
    /// Its share: weight ÷ sum of weights, at least 1.
    pub weight: u32,
    /// `GET`, `POST` …
    pub method: String,
    /// With query.
    pub path: String,
    /// Sent along.
    pub headers: Vec<(String, String)>,
    /// Sent along, drawn anew for each request. Default none.
    pub drawn: Vec<(String, Drawn)>,
    /// The body, in bytes. Default 0.
    pub request_bytes: u64,
}

/// The value of a header, drawn for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// A whole number from 0 to below this, at least 1, each as likely: `{below: 1000}`.
    Below(u64),
    /// One of these, by weight (all 1 if none are given): `{oneOf: [a, b]}`, `{oneOf: {a: 9, b: 1}}`.
    OneOf(Vec<(u32, String)>),
}

impl Drawn {
    /// One draw.
    pub fn draw(&self, rng: &mut Rng) -> String {
        match self {
            Self::Below(bound) => rng.below(*bound).to_string(),
            Self::OneOf(values) => {
                let mut left = rng.below(values.iter().map(|(weight, _)| u64::from(*weight)).sum());
                for (weight, value) in values {
                    if left < u64::from(*weight) {
                        return value.clone();
                    }
                    left -= u64::from(*weight);
                }
                unreachable!("the die has as many sides as the weights' sum")
            }
        }
    }
}
