//! What goes wrong, where, when and for how long.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Group, Place};
use crate::engine::{CrashMode, Delay};

/// One entry of the schedule. A fault that touched nothing fails the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// For people: `slow catalog[0] ×20`.
    pub name: String,
    /// When it begins.
    pub start: Start,
    /// How long it lasts, more than 0; `None`: to the end. Ends within the scenario's duration. A rolling restart has none;
    /// it ends when its last pod is back.
    pub lasts: Option<Duration>,
    /// What happens.
    pub kind: FaultKind,
}

impl Fault {
    /// When it is over, since the start; `None`: it is not known, or it never is.
    #[must_use]
    pub fn over_at(&self) -> Option<Duration> {
        match self.start {
            Start::At(at) => Some(at + self.lasts?),
            Start::AfterRequest(_) => None,
        }
    }
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// So long after the start.
    At(Duration),
    /// When the load generators have had answers to so many requests, before the next one is sent. At least 1.
    AfterRequest(u64),
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Links take longer.
    Latency {
        /// Which links.
        ends: Ends,
        /// Added to what they take.
        add: Delay,
    },
    /// Links jitter more.
    Jitter {
        /// Which links.
        ends: Ends,
        /// Added to their jitter.
        add: Duration,
    },
    /// Links lose packets.
    Loss {
        /// Which links.
        ends: Ends,
        /// In millionths, 1 to 1,000,000; the larger of this and the link's own counts.
        ppm: u32,
    },
    /// Links are narrow.
    Bandwidth {
        /// Which links.
        ends: Ends,
        /// Bits per second, at least 1; the smaller of this and the link's own counts.
        bps: u64,
    },
    /// Nothing gets through.
    Partition {
        /// Which links.
        ends: Ends,
    },
    /// Pods crash; when the fault ends they boot again.
    Crash(Crashing),
    /// Pods stand still (SIGSTOP); when the fault ends they go on.
    Pause {
        /// Which pods.
        target: Target,
    },
    /// Applications fail requests, after their time and without their steps.
    Errors {
        /// Whose.
        target: Target,
        /// Requests in millionths, 1 to 1,000,000, on top of their own error rate.
        ppm: u32,
        /// The status, 400 to 599. Default 500. gRPC: 14 (unavailable) for 503, else 13.
        status: u16,
    },
    /// Applications take longer.
    Slow {
        /// Whose.
        target: Target,
        /// How.
        strike: Strike,
    },
    /// Applications take no new requests; what is inside them is served.
    Outage {
        /// Whose.
        target: Target,
        /// What becomes of requests that arrive meanwhile.
        arrivals: OutageArrivals,
    },
    /// Pods of a service are restarted, one after the other.
    RollingRestart(Restart),
}

/// What becomes of requests that arrive at a pod in an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageArrivals {
    /// They arrive at its end, in the order in which they came, also those whose callers have gone meanwhile.
    Held,
    /// They are answered with this status at once, 400 to 599.
    Refused(u16),
    /// They are never answered.
    Lost,
}

/// A crash.
#[derive(Clone, Debug, PartialEq)]
pub struct Crashing {
    /// Which hosts; the control plane may be one.
    pub target: Target,
    /// How peers notice. Default [`CrashMode::Reset`].
    pub mode: CrashMode,
}

/// A rolling restart. Each pod in turn: the registry marks its endpoint as draining and its proxy is told to drain; after
/// `drain` its process ends; after `down` it boots and is in the registry again; after `gap` it is the next one's turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// Which pods.
    pub target: Target,
    /// Between its endpoint being marked as draining and the end of its process. Default 5 s.
    pub drain: Duration,
    /// Between the end of its process and its next start. Default 1 s.
    pub down: Duration,
    /// Between the start of a pod and the draining of the next. Default 1 s.
    pub gap: Duration,
}

/// How a service becomes slow. Times that would take longer end when they would have, also past the end of the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// Its time × this, in thousandths, more than 1000.
    Times(u32),
    /// This on top of its time, more than 0.
    Add(Duration),
    /// This instead of its time, more than 0.
    To(Duration),
}

/// Which one-way links: from each of `from` to each of `to`; the other way too if `both`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ends {
    /// Senders.
    pub from: Target,
    /// Receivers.
    pub to: Target,
    /// Both ways.
    pub both: bool,
}

impl Ends {
    /// Whether the one-way link between these hosts is meant.
    #[must_use]
    pub fn matches(&self, from: &Group, to: &Group) -> bool {
        let forward = |from: &Group, to: &Group| match (&self.from, &self.to) {
            (Target::All, Target::All) => true,
            (Target::All, end) => to.is(end) && !from.is(end),
            (end, Target::All) => from.is(end) && !to.is(end),
            (sender, receiver) => from.is(sender) && to.is(receiver),
        };
        forward(from, to) || self.both && forward(to, from)
    }
}

/// Whom a fault hits, or whom a link ends at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Everyone; as one end of a link: everyone who is not at the other end.
    All,
    /// All pods of a service, all hosts of a load, or the control plane: `catalog`, `load`, `control`.
    Service(Arc<str>),
    /// Pods of one version: `reviews/v2`.
    Version(Arc<str>, Arc<str>),
    /// One pod, by its index over all versions: `catalog[0]`.
    Replica(Arc<str>, u32),
    /// Everyone in a zone: `{zone: a}`.
    Zone(Arc<str>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("everyone else"),
            Self::Service(name) => f.write_str(name),
            Self::Version(name, version) => write!(f, "{name}/{version}"),
            Self::Replica(name, replica) => write!(f, "{name}[{replica}]"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
        }
    }
}
