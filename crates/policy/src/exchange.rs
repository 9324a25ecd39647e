//! One request from arrival to answer, and the state it shares with the other requests of its backend.
//!
//! The shell (proxy, or the fast model) drives an [`Exchange`]: it reports what happened (`on_*`) and does what
//! [`Exchange::step`] says next. It decides nothing itself.
//!
//! ```text
//!            begin                 on_head (final)        on_body_end
//!  arrival ──────▶ Queued ─▶ Trying ─────────────▶ Answering ─────────▶ Done
//!                    │        │  ▲ on_head/on_failure (worth repeating)
//!                    │        ▼  │
//!                    │     BackingOff
//!                    ▼        ▼
//!                    Refused / deadline  ─▶ Step::Reply (local) ─▶ Done
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::mesh::{BackendName, BackendPolicy, Endpoint, RetryPolicy, RouteTimeouts};
use crate::{Instant, Rng};

/// The shared state of one backend in one proxy: balancer, breakers, outlier ejection, budget, admission queue.
/// The shell keeps it behind a lock that is never held over an await.
#[derive(Debug)]
pub struct Backend {}

/// Names one waiting request, so that the shell can wake it. Unique per [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// The number of a try within its request, from 1.
pub type AttemptNumber = u32;

impl Backend {
    /// A backend without endpoints yet.
    #[must_use]
    pub fn new(name: BackendName, policy: BackendPolicy, rng: Rng) -> Self {
        let _ = (name, policy, rng);
        todo!()
    }

    /// Replaces the policy. Machines whose own settings did not change keep their state.
    pub fn set_policy(&mut self, now: Instant, policy: BackendPolicy) {
        let _ = (now, policy);
        todo!()
    }

    /// Replaces the endpoints. Those that stay (same address and identity) keep their state.
    pub fn set_endpoints(&mut self, now: Instant, endpoints: &[Endpoint]) {
        let _ = (now, endpoints);
        todo!()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> &BackendPolicy {
        todo!()
    }

    /// What changed since it was last asked: breaker transitions, ejections and returns. Drained by the shell after
    /// every call on this backend, and recorded.
    pub fn poll_event(&mut self) -> Option<BackendEvent> {
        todo!()
    }

    /// A request that got its place and must be woken: the shell calls its [`Exchange::step`] again. Drained by the shell
    /// after every call on this backend.
    pub fn poll_granted(&mut self) -> Option<Ticket> {
        todo!()
    }

    /// When to call [`Backend::on_deadline`], and why. Breakers need no timer (they half-open at the next pick);
    /// ejections return at the interval.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<(Instant, &'static str)> {
        todo!()
    }

    /// The time that [`Backend::poll_deadline`] named has come.
    pub fn on_deadline(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Requests with a place now, and requests waiting for one.
    #[must_use]
    pub fn load(&self) -> (u32, u32) {
        todo!()
    }
}

/// A change of a backend's shared state, for history, logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendEvent {
    /// The endpoint's breaker opened until then.
    BreakerOpened {
        /// Whose.
        endpoint: Arc<str>,
        /// Refuses until then.
        until: Instant,
        /// Failures in a row that did it.
        failures: u32,
    },
    /// The breaker lets a probe through.
    BreakerHalfOpen {
        /// Whose.
        endpoint: Arc<str>,
    },
    /// The probe succeeded.
    BreakerClosed {
        /// Whose.
        endpoint: Arc<str>,
    },
    /// Ejected as an outlier.
    Ejected {
        /// Who.
        endpoint: Arc<str>,
        /// Until then at least.
        until: Instant,
    },
    /// Should have been ejected, but too few would be left.
    EjectionRefused {
        /// Who.
        endpoint: Arc<str>,
    },
    /// Back from ejection.
    Returned {
        /// Who.
        endpoint: Arc<str>,
    },
}

/// What must be known of a request to decide about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// Its method may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE: RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The deadline it came with (`grpc-timeout`, or a deadline header of an upstream proxy), if any.
    pub deadline: Option<Instant>,
}

/// One request. Made by [`Exchange::begin`], driven with the [`Backend`] it was begun on, and over when `step` answers
/// [`Step::Done`]. Dropping it earlier without [`Exchange::cancel`] is a bug that leaks a place (and panics in debug).
#[derive(Debug)]
pub struct Exchange {}

/// What the shell must do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send the request to this endpoint now. Report with `on_head` or `on_failure`; keep calling `step` meanwhile only
    /// after an `on_*`.
    Try(Attempt),
    /// Nothing to do before `until` (call [`Exchange::on_deadline`] then) or an event (`on_*`, a granted [`Ticket`]).
    Wait {
        /// `None`: only an event can move it.
        until: Option<Instant>,
        /// For history: `queue`, `back-off`, `try`, `answer`.
        why: &'static str,
    },
    /// Stop this try: drop its connection or reset its stream. Nothing is reported back.
    Cancel(AttemptNumber),
    /// Answer the caller with this try's response and stream its body; then report `on_body_end`.
    Forward(AttemptNumber),
    /// Answer the caller with a response of the proxy's own.
    Reply(LocalReply),
    /// The request is over; every place and permit has been handed back.
    Done,
}

/// One try.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: AttemptNumber,
    /// Where to.
    pub address: SocketAddr,
    /// The endpoint's name, for history.
    pub endpoint: Arc<str>,
    /// Its identity, to be proven under mutual TLS.
    pub identity: Arc<str>,
    /// What the balancer compared it with, and both costs in ns (peak EWMA) or requests (least request).
    pub over: Option<(Arc<str>, u64, u64)>,
    /// This try must have its head by then; the `Exchange` handles it, the proxy may pass it on as a header.
    pub until: Option<Instant>,
    /// The wait for a connection ends after this.
    pub connect_timeout: Duration,
}

/// A response of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// 503, 504 or 500. For gRPC requests the shell turns it into trailers with [`LocalReply::grpc`].
    pub status: u16,
    /// 14 UNAVAILABLE, 4 DEADLINE_EXCEEDED, 13 INTERNAL, 8 RESOURCE_EXHAUSTED.
    pub grpc: u8,
    /// Why, also sent in the `squall-reason` header and the access log.
    pub reason: Reason,
}

/// Why the proxy answered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The backend has no endpoint (or all are draining).
    NoEndpoints,
    /// Every endpoint's breaker is open or it is ejected.
    NoneAvailable,
    /// The queue is full, or has no room (pending 0).
    QueueFull,
    /// Waited too long for a place.
    QueueTimeout,
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
}

/// How a try failed without a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Connection refused or unreachable.
    ConnectRefused,
    /// No connection within the connect time-out.
    ConnectTimeout,
    /// TLS failed, or the peer's identity is not the expected one.
    Tls,
    /// The connection broke before the head.
    Reset,
    /// REFUSED_STREAM or GOAWAY: not processed by the peer.
    RefusedStream,
    /// The caller's request body broke; the try is not the endpoint's fault.
    CallerGone,
}

/// The head of a try's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// `grpc-status` if it stands in the head.
    pub grpc: Option<u8>,
    /// `retry-after` in whole seconds, if given.
    pub retry_after: Option<Duration>,
    /// Whether the request can be sent again: its body is kept whole so far (or has none).
    pub replayable: bool,
}

/// How a forwarded answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Whole; with the `grpc-status` of its trailers, if any.
    Complete {
        /// `grpc-status` if given.
        grpc: Option<u8>,
    },
    /// Broke off on the endpoint's side.
    Broken,
    /// The caller went away.
    CallerGone,
}

impl Exchange {
    /// A request arrives for `backend` over a route with these time-outs and this retry policy. Admission is decided by
    /// the first [`Exchange::step`]. `ticket` wakes it from the queue.
    #[must_use]
    pub fn begin(
        now: Instant,
        backend: &mut Backend,
        facts: RequestFacts,
        timeouts: RouteTimeouts,
        retry: Option<&RetryPolicy>,
    ) -> Self {
        let _ = (now, backend, facts, timeouts, retry);
        todo!()
    }

    /// Its ticket in the backend's queue.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        todo!()
    }

    /// When the whole request must have been answered.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant, backend: &mut Backend) -> Step {
        let _ = (now, backend);
        todo!()
    }

    /// A try's response head is there.
    pub fn on_head(&mut self, now: Instant, backend: &mut Backend, number: AttemptNumber, answer: Answer) {
        let _ = (now, backend, number, answer);
        todo!()
    }

    /// A try failed without a head. `replayable` as in [`Answer::replayable`].
    pub fn on_failure(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        number: AttemptNumber,
        failure: Failure,
        replayable: bool,
    ) {
        let _ = (now, backend, number, failure, replayable);
        todo!()
    }

    /// The forwarded body ended.
    pub fn on_body_end(&mut self, now: Instant, backend: &mut Backend, ended: Ended) {
        let _ = (now, backend, ended);
        todo!()
    }

    /// The time that the last [`Step::Wait`] named has come. `replayable` as in [`Answer::replayable`].
    pub fn on_deadline(&mut self, now: Instant, backend: &mut Backend, replayable: bool) {
        let _ = (now, backend, replayable);
        todo!()
    }

    /// The caller went away: hands everything back.
    pub fn cancel(&mut self, now: Instant, backend: &mut Backend) {
        let _ = (now, backend);
        todo!()
    }

    /// Why the last failed try was, or was not, repeated: `retry 1 of 2, waits 31 ms, budget 4.2`; for history. Cleared
    /// by reading.
    pub fn poll_note(&mut self) -> Option<RetryNote> {
        todo!()
    }
}

/// What became of a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryNote {
    /// It is repeated.
    Retry {
        /// Which repetition, from 1.
        retry: u32,
        /// Of how many at most.
        of: u32,
        /// Waits so long first.
        wait: Duration,
        /// What is left in the budget, in thousandths of a retry; `None`: no budget.
        budget_left: Option<u64>,
    },
    /// All retries are used.
    Exhausted,
    /// The budget is empty.
    OverBudget,
    /// The request's body was not kept, or its method must not be repeated.
    NotRepeatable,
    /// Waiting would pass the deadline.
    NoTime,
}
