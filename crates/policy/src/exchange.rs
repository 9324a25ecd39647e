//! One request from arrival to answer.
//!
//! The shell (proxy, or the fast model) drives an [`Exchange`]: it reports what happened (`on_*`) and does what
//! [`Exchange::step`] says next. It decides nothing itself.
//!
//! ```text
//!            begin                 on_head (good)         on_body_end
//!  arrival ──────▶ Queued ─▶ Trying ─────────────▶ Answering ─────────▶ Done
//!                    │        │  ▲ │  on_head/on_failure of the last try, worth repeating
//!                    │        │  │ ▼
//!                    │        │ BackingOff
//!                    ▼        ▼
//!                    Refused / deadline  ─▶ Step::Reply (local) ─▶ Done
//!
//!  Trying: one try, or several at once (hedges).  held by a fault ─▶ sent ─▶ over
//!    good answer: the others are lost, and cancelled       bad answer, failure: over; the others go on
//! ```
//!
//! An answer is good unless the retry policy lists it or it tells of a failure; the last of several tries is judged as the
//! only one would be. A hedge is no retry: it is not counted as one, but needs leave from the same budgets.

mod machine;
mod note;
mod tries;

pub use machine::Exchange;
pub use note::RetryNote;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::Instant;
use crate::mesh::Endpoint;
use crate::priority::Rank;
use crate::reply::LocalReply;

/// The number of a try within its request, from 1.
pub type AttemptNumber = u32;

/// What must be known of a request to decide about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts<'r> {
    /// Its method may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE: RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The deadline it came with (`grpc-timeout`, or a deadline header of an upstream proxy), if any.
    pub deadline: Option<Instant>,
    /// How much it matters, where a queue asks. By default: as much as any, without a key.
    pub rank: Rank,
    /// The SPIFFE id that its caller proved, for rate limits.
    pub caller: Option<&'r str>,
    /// The hash of its key, for backends that balance by one ([`request_hash`](crate::request_hash)); `None`: it has none.
    pub hash: Option<u64>,
}

/// What the shell must do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send the request to this endpoint now, beside tries that are under way. Report with `on_head` or `on_failure`; keep
    /// calling `step` meanwhile only after an `on_*`.
    Try(Attempt),
    /// Nothing to do before `until` (call [`Exchange::on_deadline`] then) or an event (`on_*`, a granted [`Ticket`](crate::Ticket)).
    Wait {
        /// `None`: only an event can move it.
        until: Option<Instant>,
        /// For history: `queue`, `back-off`, `fault`, `try`, `answer`.
        why: &'static str,
    },
    /// Stop this try: drop its connection, reset its stream, or read the rest of its answer away. Nothing is reported
    /// back. Each try ends in one of three ways: the shell reported `on_failure`, or it gets `Cancel`, or `Forward`.
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
    pub endpoint: Arc<Endpoint>,
    /// What the balancer compared it with, and both costs in ns (peak EWMA) or requests (least request).
    pub over: Option<(Arc<Endpoint>, u64, u64)>,
    /// This try must have its head by then; the `Exchange` handles it, the proxy may pass it on as a header.
    pub until: Option<Instant>,
    /// The wait for a connection ends after this.
    pub connect_timeout: Duration,
}

/// Of the endpoints, what tells them apart.
impl Hash for Attempt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { number, endpoint, over, until, connect_timeout } = self;
        (number, endpoint.address, &endpoint.name, &endpoint.identity).hash(state);
        over.as_ref().map(|(other, own, its)| (&other.name, own, its)).hash(state);
        (until, connect_timeout).hash(state);
    }
}

/// How a try failed without a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The proxy itself had nothing left to make a connection with (descriptors, memory, own ports). It says nothing about the
    /// endpoint, and is not repeated: the next try would have no more.
    Shortage,
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

/// Whether a request can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// No: its body is gone.
    No,
    /// Once the try under way is stopped: its body is still coming in.
    Again,
    /// Also beside the try under way: its body is kept whole, or there is none.
    AtOnce,
}

#[cfg(any(test, feature = "harness"))]
pub(crate) mod properties;
