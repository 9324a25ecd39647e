//! Spans of OpenTelemetry, made of the records of sampled requests: one of serving the request, one of each try, in the words of
//! OpenTelemetry's conventions for HTTP, and with `squall.` before what they have no word for. Queries and headers are not told:
//! secrets travel in them. Connections that are carried as bytes belong to no trace.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use squall_net::Wall;
use squall_policy::{Attempt, AttemptNumber, Failure, Instant};
use squall_xds::otlp::{self, KeyValue, Span, SpanStatus};

use crate::line::{cut, how_word, side as side_word};
use crate::metrics::failure_word;
use crate::trace::span_of;
use crate::{HowEnded, Record, Recorder, RequestNumber, Side};

/// The most requests whose spans are being made.
const REQUESTS: usize = 2_048;
/// The most spans that wait for a collector (that of OpenTelemetry's own batches).
const WAITING: usize = 2_048;
/// The most tries of one request that get a span each.
const TRIES: usize = 64;
/// As many spans go to a collector at once, at most.
pub(crate) const BATCH: usize = 256;
/// Requests are told apart by so many places.
const PLACES: usize = 64;

/// Makes spans of records. Bounded: what finds no room is dropped and counted.
pub struct Spans {
    wall: Arc<dyn Wall>,
    /// How many sampled requests there are whose number falls on the place: most records are of requests that are not sampled, and need
    /// one look here.
    sampled: [AtomicU32; PLACES],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    making: BTreeMap<RequestNumber, Making>,
    /// Those that are over, the oldest first.
    waiting: Vec<Span>,
    /// Those for which there was no room, since it was last asked.
    dropped: u64,
    /// Those that were taken, and of which nobody knows yet what becomes of them.
    on_their_way: u64,
    /// Whatever waits is to go now.
    flush: bool,
    waker: Option<Waker>,
}

/// What is known of a sampled request.
struct Making {
    trace: u128,
    span: u64,
    parent: Option<u64>,
    state: String,
    /// When it began, by both clocks.
    began: Instant,
    began_unix: Duration,
    method: String,
    authority: String,
    path: String,
    attributes: Vec<KeyValue>,
    route: String,
    tries: Vec<Try>,
    /// Tries beyond those.
    more: u64,
}

struct Try {
    number: AttemptNumber,
    began: Instant,
    address: SocketAddr,
    endpoint: Arc<str>,
    identity: Arc<str>,
    connection: Option<(bool, Duration)>,
    ended: Option<(Instant, TryEnd)>,
}

#[derive(Clone, Copy)]
enum TryEnd {
    Head { status: u16, grpc: Option<u8> },
    Failed(Failure),
    Cancelled,
}

impl Spans {
    pub(crate) fn new(wall: Arc<dyn Wall>) -> Self {
        Self { wall, sampled: std::array::from_fn(|_| AtomicU32::new(0)), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, request: RequestNumber) -> &AtomicU32 {
        &self.sampled[(request.0 % PLACES as u64) as usize]
    }

    /// Ready when there is a whole batch, or whatever there is must go: then true.
    pub(crate) fn poll_batch(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if state.flush || state.waiting.len() >= BATCH {
            return Poll::Ready(state.flush);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when whatever there is must go.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        state.waker = Some(cx.waker().clone());
        if state.flush { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Lets whatever there is go now.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        state.flush = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// The oldest spans, as many as go at once.
    pub(crate) fn take(&self) -> Vec<Span> {
        let mut state = self.state();
        let most = state.waiting.len().min(BATCH);
        state.on_their_way = most as u64;
        state.waiting.drain(..most).collect()
    }

    /// It is known what became of those taken last.
    pub(crate) fn settled(&self) {
        self.state().on_their_way = 0;
    }

    /// Gives up all that is not known to be at its collector: how many that was.
    pub(crate) fn abandon(&self) -> u64 {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting).len() as u64;
        std::mem::take(&mut state.on_their_way) + waiting
    }

    /// Those for which there was no room, since this was last asked.
    pub(crate) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }

    fn begin(&self, at: Instant, request: RequestNumber, making: Making) {
        let mut state = self.state();
        if state.making.len() >= REQUESTS {
            state.dropped += 1;
            return;
        }
        let making = Making { began: at, began_unix: self.wall.since_epoch(), ..making };
        state.making.insert(request, making);
        self.place(request).fetch_add(1, Ordering::Relaxed);
    }

    /// Something is known of a request, if it is sampled.
    fn tell(&self, request: RequestNumber, tell: impl FnOnce(&mut Making)) {
        if self.place(request).load(Ordering::Relaxed) != 0
            && let Some(making) = self.state().making.get_mut(&request)
        {
            tell(making);
        }
    }

    fn end(&self, at: Instant, request: RequestNumber, ended: &Record<'_>) {
        if self.place(request).load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.state();
        let Some(making) = state.making.remove(&request) else { return };
        self.place(request).fetch_sub(1, Ordering::Relaxed);
        let (number, more) = (making.tries.len() + 1, making.more);
        if state.waiting.len() + number > WAITING {
            state.dropped += number as u64 + more;
            return;
        }
        state.dropped += more;
        making.finish(at, ended, &mut state.waiting);
        if state.waiting.len() >= BATCH
            && let Some(waker) = state.waker.take()
        {
            waker.wake();
        }
    }
}

impl Recorder for Spans {
    fn record(&self, at: Instant, record: &Record<'_>) {
        match *record {
            Record::Traced { request, trace, span, parent, state } => {
                self.begin(at, request, Making::new(trace, span, parent, state));
            }
            Record::Started { request, side, method, authority, path, request_id, peer } => {
                self.tell(request, |making| making.start(side, method, authority, path, request_id, peer));
            }
            Record::Routed { request, route, backend, .. } => self.tell(request, |making| {
                making.route = cut(route).to_owned();
                making.add(KeyValue::text("squall.route", route));
                making.add(KeyValue::text("squall.backend", backend.as_str()));
            }),
            Record::Granted { request, waited } => {
                self.tell(request, |making| making.add(KeyValue::number("squall.queue.wait_us", micros(waited))));
            }
            Record::Picked { request, attempt } => self.tell(request, |making| making.picked(at, attempt)),
            Record::Connected { request, attempt, reused, took } => {
                self.tell(request, |making| making.of(attempt, |one| one.connection = Some((reused, took))));
            }
            Record::Head { request, attempt, status, grpc, .. } => {
                self.tell(request, |making| making.ended(attempt, at, TryEnd::Head { status, grpc }));
            }
            Record::AttemptFailed { request, attempt, failure, .. } => {
                self.tell(request, |making| making.ended(attempt, at, TryEnd::Failed(failure)));
            }
            Record::AttemptCancelled { request, attempt, .. } => {
                self.tell(request, |making| making.ended(attempt, at, TryEnd::Cancelled));
            }
            Record::Injected { request, injected } => self.tell(request, |making| {
                if !injected.delay.is_zero() {
                    making.add(KeyValue::number("squall.fault.delay_us", micros(injected.delay)));
                }
                if let Some(status) = injected.abort {
                    making.add(KeyValue::number("squall.fault.abort_status", i64::from(status)));
                }
            }),
            Record::Access { request, allowed, rule } => self.tell(request, |making| {
                let key = if allowed { "squall.access.audited_by" } else { "squall.access.denied_by" };
                making.add(KeyValue::text(key, rule));
            }),
            Record::Replied { request, reason, .. } => {
                self.tell(request, |making| making.add(KeyValue::text("squall.reason", reason)));
            }
            Record::Upgraded { request, protocol } => {
                self.tell(request, |making| making.add(KeyValue::text("squall.upgraded", protocol)));
            }
            Record::Ended { request, .. } => self.end(at, request, record),
            Record::Queued { .. }
            | Record::Retry { .. }
            | Record::Opened { .. }
            | Record::Closed { .. }
            | Record::StrangerRefused { .. }
            | Record::Backend { .. }
            | Record::MeshApplied { .. }
            | Record::MeshRefused { .. }
            | Record::ControlConnected { .. }
            | Record::ControlLost { .. }
            | Record::CertificateIssued { .. }
            | Record::PeerRefused { .. }
            | Record::Shortage { .. }
            | Record::SpansExported { .. }
            | Record::SpansDropped { .. }
            | Record::CollectorFailed { .. } => {}
        }
    }
}

/// The methods that are named; what else there may be is of no bounded number.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

impl Making {
    fn new(trace: u128, span: u64, parent: Option<u64>, state: &str) -> Self {
        Self {
            trace,
            span,
            parent,
            state: state.to_owned(),
            began: Instant::ZERO,
            began_unix: Duration::ZERO,
            method: String::new(),
            authority: String::new(),
            path: String::new(),
            attributes: Vec::with_capacity(16),
            route: String::new(),
            tries: Vec::with_capacity(1),
            more: 0,
        }
    }

    fn add(&mut self, attribute: KeyValue) {
        self.attributes.push(attribute);
    }

    fn start(&mut self, side: Side, method: &str, authority: &str, path: &str, request_id: &str, peer: Option<&str>) {
        (self.method, self.authority, self.path) =
            (cut(method).to_owned(), cut(authority).to_owned(), cut(path).to_owned());
        method_of(&self.method, &mut self.attributes);
        self.add(KeyValue::text("url.path", self.path.clone()));
        // Between sidecars the request is secured; the applications speak plainly.
        self.add(KeyValue::text("url.scheme", if peer.is_some() { "https" } else { "http" }));
        server_of(&self.authority, &mut self.attributes);
        self.add(KeyValue::text("squall.side", side_word(side)));
        self.add(KeyValue::text("squall.request_id", cut(request_id)));
        if let Some(peer) = peer {
            self.add(KeyValue::text("squall.peer.identity", peer));
        }
    }

    fn picked(&mut self, at: Instant, attempt: &Attempt) {
        if self.tries.len() >= TRIES {
            self.more += 1;
            return;
        }
        self.tries.push(Try {
            number: attempt.number,
            began: at,
            address: attempt.endpoint.address,
            endpoint: Arc::clone(&attempt.endpoint.name),
            identity: Arc::clone(&attempt.endpoint.identity),
            connection: None,
            ended: None,
        });
    }

    fn of(&mut self, number: AttemptNumber, tell: impl FnOnce(&mut Try)) {
        if let Some(one) = self.tries.iter_mut().find(|one| one.number == number) {
            tell(one);
        }
    }

    fn ended(&mut self, number: AttemptNumber, at: Instant, end: TryEnd) {
        self.of(number, |one| one.ended = Some((at, end)));
    }

    fn unix(&self, at: Instant) -> u64 {
        u64::try_from((self.began_unix + at.since(self.began)).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The spans of a request that is over.
    fn finish(mut self, at: Instant, ended: &Record<'_>, spans: &mut Vec<Span>) {
        let Record::Ended { side, status, grpc, attempts, bytes_up, bytes_down, how, .. } = *ended else { return };
        let is_answered = matches!(how, HowEnded::Complete | HowEnded::Local);
        // The answer that was passed on: the try lasts as long as its body.
        let passed_on = self.tries.iter().filter_map(|one| match one.ended {
            Some((at, TryEnd::Head { .. })) => Some((at, one.number)),
            Some((_, TryEnd::Failed(_) | TryEnd::Cancelled)) | None => None,
        });
        let passed_on = passed_on.max().map(|(_, number)| number).filter(|_| how != HowEnded::Local);
        for one in &self.tries {
            let how = (passed_on == Some(one.number)).then_some((at, how));
            spans.push(self.of_try(one, at, how));
        }
        if status != 0 {
            self.add(KeyValue::number("http.response.status_code", i64::from(status)));
        }
        if let Some(grpc) = grpc {
            self.add(KeyValue::number("rpc.grpc.status_code", i64::from(grpc)));
        }
        self.add(KeyValue::number("http.request.body.size", number(bytes_up)));
        self.add(KeyValue::number("http.response.body.size", number(bytes_down)));
        self.add(KeyValue::number("squall.attempts", i64::from(attempts)));
        self.add(KeyValue::text("squall.ended", how_word(how)));
        // What the server could not do, as gRPC's own conventions have it: the other statuses are the caller's doing.
        let failed = match grpc {
            Some(grpc) => matches!(grpc, 2 | 4 | 12 | 13 | 14 | 15),
            None => status >= 500,
        };
        let error = match grpc {
            _ if !is_answered => Some(how_word(how).to_owned()),
            Some(grpc) if failed => Some(grpc.to_string()),
            None if failed => Some(status.to_string()),
            Some(_) | None => None,
        };
        let name = match side {
            Side::Outbound if !self.route.is_empty() => format!("{} {}", named(&self.method), self.route),
            Side::Outbound | Side::Inbound => named(&self.method).to_owned(),
        };
        let remote = if self.parent.is_some() { otlp::REMOTE } else { 0 };
        spans.push(Span {
            span_id: self.span.to_be_bytes().to_vec(),
            trace_state: self.state.clone(),
            parent_span_id: self.parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
            name,
            kind: otlp::SERVER,
            end_time_unix_nano: self.unix(at),
            status: status_of(error, &mut self.attributes),
            flags: 1 | otlp::KNOWS_REMOTE | remote,
            ..self.blank()
        });
        let last = spans.last_mut().expect("it has just been put there");
        last.attributes = self.attributes;
    }

    /// What all spans of the request share.
    fn blank(&self) -> Span {
        Span {
            trace_id: self.trace.to_be_bytes().to_vec(),
            start_time_unix_nano: self.unix(self.began),
            ..Span::default()
        }
    }

    fn of_try(&self, one: &Try, over: Instant, passed_on: Option<(Instant, HowEnded)>) -> Span {
        let mut attributes = Vec::with_capacity(14);
        method_of(&self.method, &mut attributes);
        attributes.push(KeyValue::text("url.full", format!("http://{}{}", self.authority, self.path)));
        server_of(&self.authority, &mut attributes);
        attributes.push(KeyValue::text("network.peer.address", one.address.ip().to_string()));
        attributes.push(KeyValue::number("network.peer.port", i64::from(one.address.port())));
        attributes.push(KeyValue::text("squall.endpoint", &*one.endpoint));
        if !one.identity.is_empty() {
            attributes.push(KeyValue::text("squall.peer.identity", &*one.identity));
        }
        if one.number > 1 {
            attributes.push(KeyValue::number("http.request.resend_count", i64::from(one.number) - 1));
        }
        if let Some((reused, took)) = one.connection {
            attributes.push(KeyValue::flag("squall.connection.reused", reused));
            if !reused {
                attributes.push(KeyValue::number("squall.connection.took_us", micros(took)));
            }
        }
        let (ended, error) = match one.ended {
            Some((at, TryEnd::Head { status, grpc })) => {
                attributes.push(KeyValue::number("http.response.status_code", i64::from(status)));
                if let Some(grpc) = grpc {
                    attributes.push(KeyValue::number("rpc.grpc.status_code", i64::from(grpc)));
                }
                let error = match (passed_on, grpc) {
                    (Some((_, how)), _) if how != HowEnded::Complete => Some(how_word(how).to_owned()),
                    (_, Some(grpc)) if grpc != 0 => Some(grpc.to_string()),
                    _ if status >= 400 => Some(status.to_string()),
                    _ => None,
                };
                (passed_on.map_or(at, |(at, _)| at), error)
            }
            Some((at, TryEnd::Failed(failure))) => (at, Some(failure_word(failure).to_owned())),
            Some((at, TryEnd::Cancelled)) => (at, Some("cancelled".to_owned())),
            // The request was over first: its caller went away.
            None => (over, Some("cancelled".to_owned())),
        };
        Span {
            span_id: span_of(self.span, one.number).to_be_bytes().to_vec(),
            parent_span_id: self.span.to_be_bytes().to_vec(),
            trace_state: self.state.clone(),
            name: named(&self.method).to_owned(),
            kind: otlp::CLIENT,
            start_time_unix_nano: self.unix(one.began),
            end_time_unix_nano: self.unix(ended),
            status: status_of(error, &mut attributes),
            attributes,
            flags: 1 | otlp::KNOWS_REMOTE,
            ..self.blank()
        }
    }
}

fn status_of(error: Option<String>, attributes: &mut Vec<KeyValue>) -> Option<SpanStatus> {
    let error = error?;
    attributes.push(KeyValue::text("error.type", error));
    Some(SpanStatus { message: String::new(), code: otlp::FAILED })
}

fn is_known(method: &str) -> bool {
    METHODS.contains(&method)
}

/// The first word of a span's name.
fn named(method: &str) -> &str {
    if is_known(method) { method } else { "HTTP" }
}

fn method_of(method: &str, attributes: &mut Vec<KeyValue>) {
    let known = is_known(method);
    attributes.push(KeyValue::text("http.request.method", if known { method } else { "_OTHER" }));
    if !known {
        attributes.push(KeyValue::text("http.request.method_original", method));
    }
}

fn server_of(authority: &str, attributes: &mut Vec<KeyValue>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()),
        _ => (authority, None),
    };
    if !host.is_empty() {
        attributes.push(KeyValue::text("server.address", host.trim_start_matches('[').trim_end_matches(']')));
    }
    if let Some(port) = port {
        attributes.push(KeyValue::number("server.port", i64::from(port)));
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "spans/tests.rs"]
mod tests;
