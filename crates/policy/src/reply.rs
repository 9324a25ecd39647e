//! What the proxy answers by itself.

use std::fmt;
use std::time::Duration;

/// A response of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// 404, 429, 500, 503 or 504. For gRPC requests the shell turns it into trailers with [`LocalReply::grpc`].
    pub status: u16,
    /// 4 DEADLINE_EXCEEDED, 8 RESOURCE_EXHAUSTED, 12 UNIMPLEMENTED, 13 INTERNAL or 14 UNAVAILABLE.
    pub grpc: u8,
    /// Why, also sent in the `squall-reason` header and the access log.
    pub reason: Reason,
    /// When to come again, sent in whole seconds as `retry-after`.
    pub retry_after: Option<Duration>,
}

/// Why the proxy answered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No virtual host, or no route of it, matches: 404. Said by the shell, before there is an exchange.
    NoRoute,
    /// The route has no backend with a weight: 500, as the Gateway API says. Said by the shell.
    NoBackend,
    /// The backend has no endpoint (or all are draining).
    NoEndpoints,
    /// Every endpoint's breaker is open or it is ejected.
    NoneAvailable,
    /// The breaker of the whole backend is open.
    BreakerOpen,
    /// The queue is full, or has no room (pending 0).
    QueueFull,
    /// Waited too long for a place.
    QueueTimeout,
    /// Would have waited, or taken, longer than its deadline allows.
    WouldBeLate,
    /// Sent away because all had been waiting too long (CoDel).
    QueueDelay,
    /// In a full queue all others matter more; it came last, or gave its place up: 429, as Kubernetes' priority and fairness
    /// says it, so that no breaker takes it for an illness of the endpoint.
    Outranked,
    /// Refused at the client, because the backend accepts too few.
    Throttled,
    /// One too many per time: 429, with `retry-after`.
    RateLimited,
    /// The request's time ran out.
    DeadlineExceeded,
    /// The last try's own time ran out and no retry was left.
    PerTryTimeout,
    /// The last try could not connect.
    ConnectFailure,
    /// The last try's connection broke before its head.
    Reset,
    /// The last try was refused by the peer's HTTP/2.
    RefusedStream,
    /// The route's fault injection aborted the last try, with the status it names.
    FaultInjected,
}

impl LocalReply {
    /// The reply that says `reason`.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        let (status, grpc) = match reason {
            Reason::NoRoute => (404, 12),
            Reason::NoBackend => (500, 13),
            Reason::NoEndpoints
            | Reason::NoneAvailable
            | Reason::BreakerOpen
            | Reason::ConnectFailure
            | Reason::Reset
            | Reason::RefusedStream => (503, 14),
            Reason::QueueFull | Reason::QueueTimeout | Reason::WouldBeLate | Reason::QueueDelay | Reason::Throttled => {
                (503, 8)
            }
            Reason::Outranked | Reason::RateLimited => (429, 8),
            Reason::DeadlineExceeded | Reason::PerTryTimeout => (504, 4),
            Reason::FaultInjected => (503, 14),
        };
        Self { status, grpc, reason, retry_after: None }
    }
}

impl Reason {
    /// Those by which a limit refuses a request, before any try.
    pub const OVERLOAD: [Self; 7] = [
        Self::QueueFull,
        Self::QueueTimeout,
        Self::WouldBeLate,
        Self::QueueDelay,
        Self::Outranked,
        Self::RateLimited,
        Self::Throttled,
    ];

    /// The word for headers, logs and metrics: `queue-full`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::NoBackend => "no-backend",
            Self::NoEndpoints => "no-endpoints",
            Self::NoneAvailable => "none-available",
            Self::BreakerOpen => "breaker-open",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::WouldBeLate => "would-be-late",
            Self::QueueDelay => "queue-delay",
            Self::Outranked => "outranked",
            Self::Throttled => "throttled",
            Self::RateLimited => "rate-limited",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::PerTryTimeout => "per-try-timeout",
            Self::ConnectFailure => "connect-failure",
            Self::Reset => "reset",
            Self::RefusedStream => "refused-stream",
            Self::FaultInjected => "fault-injected",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_word_and_statuses() {
        for (reason, want) in [
            (Reason::NoRoute, "no-route 404 12"),
            (Reason::NoBackend, "no-backend 500 13"),
            (Reason::NoEndpoints, "no-endpoints 503 14"),
            (Reason::NoneAvailable, "none-available 503 14"),
            (Reason::BreakerOpen, "breaker-open 503 14"),
            (Reason::QueueFull, "queue-full 503 8"),
            (Reason::QueueTimeout, "queue-timeout 503 8"),
            (Reason::WouldBeLate, "would-be-late 503 8"),
            (Reason::QueueDelay, "queue-delay 503 8"),
            (Reason::Outranked, "outranked 429 8"),
            (Reason::Throttled, "throttled 503 8"),
            (Reason::RateLimited, "rate-limited 429 8"),
            (Reason::DeadlineExceeded, "deadline-exceeded 504 4"),
            (Reason::PerTryTimeout, "per-try-timeout 504 4"),
            (Reason::ConnectFailure, "connect-failure 503 14"),
            (Reason::Reset, "reset 503 14"),
            (Reason::RefusedStream, "refused-stream 503 14"),
        ] {
            let reply = LocalReply::of(reason);
            assert_eq!(format!("{reason} {} {}", reply.status, reply.grpc), want);
        }
    }
}
