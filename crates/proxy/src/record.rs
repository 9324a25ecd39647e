//! What a proxy tells of its work: one event per step. Metrics and logs are made of it in production, the history of a run in
//! the simulator.

use std::net::SocketAddr;
use std::time::Duration;

use squall_policy::{Attempt, AttemptNumber, BackendEvent, BackendName, Failure, Injected, Instant, RetryNote};

/// Names one request of one proxy, from 1, in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub u64);

/// Which way a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// From the own application to the mesh.
    Outbound,
    /// From the mesh to the own application.
    Inbound,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HowEnded {
    /// Answered, to the last byte.
    Complete,
    /// Answered by the proxy itself.
    Local,
    /// The answer broke off on the endpoint's side.
    Broken,
    /// The answer or the request's body stood still for longer than the route's idle time-out.
    Idle,
    /// It took longer than the route's stream time-out, and its answer was cut off.
    TooLong,
    /// The caller went away before the end.
    CallerGone,
}

/// Why a connection that came in was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The peer could not prove who it is, or did not speak TLS.
    Tls,
    /// Its handshake took too long.
    HandshakeTimeout,
    /// As many handshakes as may be at once were under way, for as long as one may take.
    HandshakeLimit,
    /// Its port takes mutual TLS only, for which this proxy has no identity.
    NoIdentity,
    /// It brings bytes to a port that speaks HTTP.
    NotHttp,
    /// No application is known at its port, or no listener of the gateway.
    UnknownPort,
    /// It was not redirected to where redirected connections come in, so that no application is meant.
    NotRedirected,
    /// It should begin with a header of the PROXY protocol, and did not.
    ProxyProtocol,
    /// What it sent is no HTTP. It may have asked for something before.
    Malformed,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Tls,
        Self::HandshakeTimeout,
        Self::HandshakeLimit,
        Self::NoIdentity,
        Self::NotHttp,
        Self::UnknownPort,
        Self::NotRedirected,
        Self::ProxyProtocol,
        Self::Malformed,
    ];

    /// One word, for metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::HandshakeLimit => "handshake-limit",
            Self::NoIdentity => "no-identity",
            Self::NotHttp => "not-http",
            Self::UnknownPort => "unknown-port",
            Self::NotRedirected => "not-redirected",
            Self::ProxyProtocol => "proxy-protocol",
            Self::Malformed => "malformed",
        }
    }

    /// A sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Tls => "it proved nothing good",
            Self::HandshakeTimeout => "the TLS handshake took too long",
            Self::HandshakeLimit => "too many handshakes were under way for too long",
            Self::NoIdentity => "its port takes mutual TLS only, for which this proxy has no identity",
            Self::NotHttp => "it brings bytes to a port that speaks HTTP",
            Self::UnknownPort => "nothing is known at its port",
            Self::NotRedirected => "it was not redirected here, so that no application is meant",
            Self::ProxyProtocol => "it does not begin with a header of the PROXY protocol",
            Self::Malformed => "what it sent is no HTTP",
        }
    }
}

/// Is told what a proxy does. Called in the middle of requests: it must be quick, and must not call back into the proxy.
pub trait Recorder: Send + Sync + 'static {
    /// One event at `at`, the proxy's clock.
    fn record(&self, at: Instant, record: &Record<'_>);
}

/// A recorder that keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore;

impl Recorder for Ignore {
    fn record(&self, _at: Instant, _record: &Record<'_>) {}
}

/// Tells several recorders, in their order.
#[derive(Default)]
pub struct Several(Vec<std::sync::Arc<dyn Recorder>>);

impl Several {
    /// These.
    #[must_use]
    pub fn new(recorders: Vec<std::sync::Arc<dyn Recorder>>) -> Self {
        Self(recorders)
    }
}

impl Recorder for Several {
    fn record(&self, at: Instant, record: &Record<'_>) {
        for recorder in &self.0 {
            recorder.record(at, record);
        }
    }
}

/// One event of a proxy's work. Text is borrowed: an event that is not kept costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub enum Record<'a> {
    /// A request's head was read.
    Started {
        /// Which request.
        request: RequestNumber,
        /// Which way it goes.
        side: Side,
        /// Such as `GET`.
        method: &'a str,
        /// `Host` or `:authority` as it came; empty: none.
        authority: &'a str,
        /// Path without query.
        path: &'a str,
        /// `x-request-id`, the caller's or made up.
        request_id: &'a str,
        /// The SPIFFE id of the caller, if it proved one.
        peer: Option<&'a str>,
    },
    /// Its route and backend were found.
    Routed {
        /// Which request.
        request: RequestNumber,
        /// The route's name; on the inbound side `inbound`.
        route: &'a str,
        /// The chosen backend.
        backend: &'a BackendName,
        /// When it must have been answered.
        deadline: Option<Instant>,
    },
    /// It must wait for a place.
    Queued {
        /// Which request.
        request: RequestNumber,
    },
    /// It got its place.
    Granted {
        /// Which request.
        request: RequestNumber,
        /// How long it waited.
        waited: Duration,
    },
    /// An endpoint was picked for a try.
    Picked {
        /// Which request.
        request: RequestNumber,
        /// The try: endpoint, what it was compared with, costs, time limit.
        attempt: &'a Attempt,
    },
    /// The try has a connection.
    Connected {
        /// Which request.
        request: RequestNumber,
        /// Which try.
        attempt: AttemptNumber,
        /// It was in the pool.
        reused: bool,
        /// How long it took to get it.
        took: Duration,
    },
    /// The head of a try's answer is there.
    Head {
        /// Which request.
        request: RequestNumber,
        /// Which try.
        attempt: AttemptNumber,
        /// Status, 200 to 599.
        status: u16,
        /// `grpc-status`, if it stands in the head.
        grpc: Option<u8>,
        /// Since the try began.
        latency: Duration,
    },
    /// A try failed without a head.
    AttemptFailed {
        /// Which request.
        request: RequestNumber,
        /// Which try.
        attempt: AttemptNumber,
        /// How.
        failure: Failure,
        /// Since the try began.
        latency: Duration,
    },
    /// A try was stopped by the proxy: its own time ran out, or the request's, or another one was better.
    AttemptCancelled {
        /// Which request.
        request: RequestNumber,
        /// Which try.
        attempt: AttemptNumber,
        /// Since the try began.
        latency: Duration,
    },
    /// Whether a failed try is repeated, or a slow one hedged, and why not.
    Retry {
        /// Which request.
        request: RequestNumber,
        /// The decision.
        note: RetryNote,
    },
    /// A try was delayed or aborted on purpose, as its route says.
    Injected {
        /// Which request.
        request: RequestNumber,
        /// What was done.
        injected: Injected,
    },
    /// A rule about access fits: it refused the request, or audits it.
    Access {
        /// Which request, or connection.
        request: RequestNumber,
        /// It is not refused by this.
        allowed: bool,
        /// `namespace/policy rule 0`; `default` where it is refused because no rule allows it.
        rule: &'a str,
    },
    /// The proxy answers by itself.
    Replied {
        /// Which request.
        request: RequestNumber,
        /// HTTP status as decided; a gRPC caller sees 200 and `grpc`.
        status: u16,
        /// gRPC status as decided.
        grpc: u8,
        /// Why: the value of `squall-reason`.
        reason: &'static str,
    },
    /// Both sides agreed on another protocol; from here on bytes are carried both ways, until the request ends.
    Upgraded {
        /// Which request.
        request: RequestNumber,
        /// `websocket`, `connect`, or `other`.
        protocol: &'static str,
    },
    /// The request is over.
    Ended {
        /// Which request.
        request: RequestNumber,
        /// Which way it went.
        side: Side,
        /// The status answered; 0: none was.
        status: u16,
        /// The `grpc-status` answered, in head or trailers.
        grpc: Option<u8>,
        /// Tries made.
        attempts: u32,
        /// Since its head was read.
        total: Duration,
        /// Body bytes from the caller.
        bytes_up: u64,
        /// Body bytes to the caller.
        bytes_down: u64,
        /// How.
        how: HowEnded,
    },
    /// A connection came in that is carried as bytes. What becomes of it is told as of a request; it has a number among them.
    Opened {
        /// Which.
        request: RequestNumber,
        /// Which way it goes.
        side: Side,
        /// Where it was meant to go: an address, or a port of the own application.
        dialed: &'a str,
        /// The SPIFFE id of the caller, if it proved one.
        peer: Option<&'a str>,
    },
    /// A connection that was carried as bytes is over.
    Closed {
        /// Which.
        request: RequestNumber,
        /// Which way it went.
        side: Side,
        /// Tries to connect.
        attempts: u32,
        /// Since it came in.
        total: Duration,
        /// Bytes from the caller.
        bytes_up: u64,
        /// Bytes to the caller.
        bytes_down: u64,
        /// How.
        how: HowEnded,
    },
    /// The application's connection to an address that the mesh does not know was refused, as was asked for.
    StrangerRefused {
        /// Where it was meant to go.
        dialed: SocketAddr,
    },
    /// A change of a backend's shared state.
    Backend {
        /// Whose.
        backend: &'a BackendName,
        /// What.
        event: &'a BackendEvent,
    },
    /// A new mesh is in force.
    MeshApplied {
        /// The version its source gave it; `static` for a given one.
        version: &'a str,
    },
    /// A pushed mesh was refused; the last good one stays.
    MeshRefused {
        /// Why, as it was told to the control plane.
        why: &'a str,
    },
    /// The control plane answers.
    ControlConnected {
        /// Where.
        address: SocketAddr,
    },
    /// The control plane cannot be reached or went away; the last good mesh stays.
    ControlLost {
        /// Why.
        why: &'a str,
        /// Tried again after this.
        retry_in: Duration,
    },
    /// A certificate was signed for this proxy.
    CertificateIssued {
        /// Its SPIFFE id.
        identity: &'a str,
        /// When it ends, seconds since 1970.
        not_after_s: u64,
        /// When it is renewed.
        renew_at: Instant,
    },
    /// A connection that came in was refused, before it could ask for anything or as soon as it said what nobody understands.
    PeerRefused {
        /// Where it came from.
        peer: SocketAddr,
        /// Why.
        refusal: Refusal,
        /// More of it: what TLS says, or nothing.
        why: &'a str,
    },
    /// A connection could not be accepted, and waits, because the machine has nothing left to have it with.
    Shortage {
        /// Where it came in.
        listens: SocketAddr,
        /// The machine's words.
        why: &'a str,
    },
    /// The request that comes next belongs to a trace, and is sampled: spans are made of what is told of it.
    Traced {
        /// Which request.
        request: RequestNumber,
        /// The trace.
        trace: u128,
        /// The span of serving it; never 0.
        span: u64,
        /// The caller's span; `None`: the trace begins here.
        parent: Option<u64>,
        /// The caller's `tracestate`.
        state: &'a str,
    },
    /// A collector took spans.
    SpansExported {
        /// How many.
        spans: u64,
    },
    /// Spans were lost.
    SpansDropped {
        /// How many.
        spans: u64,
        /// `queue`: too many waited; `collector`: it could not be reached, or had no room, for too long; `rejected`: it will not have them.
        why: &'static str,
    },
    /// A collector did not take spans.
    CollectorFailed {
        /// Why.
        why: &'a str,
        /// It is tried again after this; `None`: with the next spans.
        retry_in: Option<Duration>,
    },
}
