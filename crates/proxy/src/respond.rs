//! Answers: the proxy's own, and those it streams from an endpoint.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, UPGRADE};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use squall_net::BoxFuture;
use squall_net::http::{BodyError, Incoming};
use squall_policy::{AskedUri, Ended, HeaderChange, Instant, LocalReply, PathMatch, Reason, Redirect, RouteTimeouts};

use crate::HowEnded;
use crate::admit::Held;
use crate::attempt::Got;
use crate::body::cleaned;
use crate::core::Core;
use crate::headers::{self, GRPC_MESSAGE, GRPC_STATUS, REASON};
use crate::judge;
use crate::pool::Lease;
use crate::route::Unfit;
use crate::seen::Seen;
use crate::serve::Door;

/// How often an answer whose time is over is looked at again while its caller waits for more.
const UNREAD_LOOK: Duration = Duration::from_secs(1);

/// A reply of the proxy's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) grpc: u8,
    pub(crate) reason: &'static str,
    /// When to come again.
    pub(crate) retry_after: Option<Duration>,
}

impl Reply {
    /// There is no mesh yet.
    pub(crate) const NOT_READY: Self = Self::new(503, 14, "not-ready");
    /// The mesh does not know the application's port, perhaps not yet: others may learn of an endpoint before its own sidecar does.
    pub(crate) const UNKNOWN_PORT: Self = Self::new(503, 14, "unknown-port");
    /// The request is for another listener of the gateway than its connection (RFC 9110 §15.5.20).
    pub(crate) const MISDIRECTED: Self = Self::new(421, 5, "misdirected");
    /// The mesh does not allow the caller what it asks for.
    pub(crate) const DENIED: Self = Self::new(403, 7, "rbac-denied");
    /// CONNECT asks for a tunnel, and no route says that there may be one.
    pub(crate) const CONNECT: Self = Self::new(501, 12, "connect");
    /// The caller's body stood still for longer than the route's idle time-out.
    pub(crate) const IDLE: Self = Self::new(408, 4, "idle-timeout");

    const fn new(status: u16, grpc: u8, reason: &'static str) -> Self {
        Self { status, grpc, reason, retry_after: None }
    }
}

impl From<LocalReply> for Reply {
    fn from(reply: LocalReply) -> Self {
        Self { retry_after: reply.retry_after, ..Self::new(reply.status, reply.grpc, reply.reason.as_str()) }
    }
}

impl From<Unfit> for Reply {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NoAuthority => Self::new(400, 13, "no-authority"),
            Unfit::BadTarget => Self::new(400, 13, "bad-target"),
            Unfit::TransferCoding => Self::new(501, 12, "transfer-coding"),
            Unfit::LastOptions => Self::new(200, 12, "max-forwards"),
            Unfit::LastTrace => Self::new(501, 12, "max-forwards"),
        }
    }
}

/// Why a request goes to no backend.
pub(crate) struct Declined {
    pub(crate) reply: Reply,
    /// Where its caller is to ask instead.
    pub(crate) location: Option<Box<HeaderValue>>,
}

impl<R: Into<Reply>> From<R> for Declined {
    fn from(reply: R) -> Self {
        Self { reply: reply.into(), location: None }
    }
}

impl Declined {
    /// What a route's redirect says to this request.
    pub(crate) fn elsewhere(
        door: &Door,
        head: &Parts,
        authority: &str,
        redirect: &Redirect,
        matched: &PathMatch,
    ) -> Self {
        let (https, port) = match door {
            Door::Gateway(outside) => (outside.is_secure, Some(outside.port)),
            Door::Outbound | Door::Inbound { .. } => (false, None),
        };
        let path = if head.uri.path().starts_with('/') { head.uri.path() } else { "/" };
        let asked = AskedUri { https, authority, port, path, query: head.uri.query() };
        match HeaderValue::try_from(redirect.location(asked, matched)) {
            Ok(location) => {
                Self { reply: Reply::new(redirect.status, 12, "redirect"), location: Some(Box::new(location)) }
            }
            // Nothing that came over HTTP, and nothing that a mesh may say, gets here.
            Err(_) => LocalReply::of(Reason::NoRoute).into(),
        }
    }
}

/// The body of an answer.
pub(crate) enum AnswerBody {
    /// There is none.
    Empty,
    /// As it comes from the endpoint.
    Streaming(Box<Streaming>),
    /// The same, when a limit of silence is watched: also when the caller reads nothing, and so nobody asks for more of it.
    Watched(Arc<Mutex<Streaming>>),
}

/// An answer in motion, with the request's hold on everything it uses.
pub(crate) struct Streaming {
    /// `None`: given up.
    body: Option<Incoming>,
    rest: Option<Rest>,
    idle: Option<Idle>,
    /// Cut off when this rings.
    ends: Option<(Duration, BoxFuture<'static, ()>)>,
    /// Somebody waits for the next frame.
    asked: bool,
}

/// What is handed back at the end.
struct Rest {
    held: Held,
    lease: Lease,
    pool_idle: Option<Duration>,
}

/// Watches for silence.
struct Idle {
    span: Duration,
    moved_at: Instant,
    alarm: BoxFuture<'static, ()>,
}

/// Nothing moved for too long.
#[derive(Debug, thiserror::Error)]
#[error("nothing moved for {0:?}")]
struct Stalled(Duration);

/// The exchange took too long.
#[derive(Debug, thiserror::Error)]
#[error("not over after {0:?}")]
struct TooLong(Duration);

/// An answer of the proxy's own: for a gRPC caller trailers only, with the status gRPC has for it.
pub(crate) fn local(core: &Core, grpc: bool, reply: Reply) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Empty);
    let headers = response.headers_mut();
    headers.insert(DATE, core.date());
    headers.insert(REASON, HeaderValue::from_static(reply.reason));
    if let Some(wait) = reply.retry_after {
        // In whole seconds (RFC 9110 §10.2.3): rounded up, or it would be too early.
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_nanos().div_ceil(1_000_000_000) as u64));
    }
    if grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(reply.grpc)));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(reply.reason));
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        *response.status_mut() = StatusCode::from_u16(reply.status).expect("our own statuses are valid");
    }
    response
}

/// Passes an endpoint's answer on.
pub(crate) fn forward(
    mut held: Held,
    got: Got,
    changes: &[HeaderChange],
    timeouts: RouteTimeouts,
) -> Response<AnswerBody> {
    let Got { response, lease, pool_idle, seen } = got;
    let (mut head, body) = response.into_parts();
    held.log.status = head.status.as_u16();
    held.log.grpc = judge::grpc_status(&head.headers, seen);
    let offer = (head.status == StatusCode::UPGRADE_REQUIRED).then(|| head.headers.remove(UPGRADE)).flatten();
    headers::strip_hop_by_hop(&mut head.headers, seen);
    if let Some(offer) = offer {
        // The server's word on what it wants instead (RFC 9110 §15.5.22); upgrades do pass through here.
        head.headers.insert(UPGRADE, offer);
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers::apply(changes, &mut head.headers);
    let core = Arc::clone(&held.log.core);
    let is_dated = if changes.is_empty() { seen.any(Seen::DATE) } else { head.headers.contains_key(DATE) };
    if !is_dated {
        head.headers.insert(DATE, core.date());
    }
    // The connection to the caller has its own version.
    head.version = Version::HTTP_11;
    let rest = Rest { held, lease, pool_idle };
    if body.is_end_stream() {
        rest.complete();
        return Response::from_parts(head, AnswerBody::Empty);
    }
    let alarm = |at| core.host.clock().sleep_until(at);
    let idle = timeouts.idle.map(|span| {
        let now = core.host.now();
        Idle { span, moved_at: now, alarm: alarm(now + span) }
    });
    let started = rest.held.log.started;
    let ends = timeouts.stream.map(|span| (span, alarm(started + span)));
    let streaming = Streaming { body: Some(body), rest: Some(rest), idle, ends, asked: false };
    let Some(look_at) = streaming.due() else {
        return Response::from_parts(head, AnswerBody::Streaming(Box::new(streaming)));
    };
    let streaming = Arc::new(Mutex::new(streaming));
    watch(&core, &streaming, look_at);
    Response::from_parts(head, AnswerBody::Watched(streaming))
}

/// Gives an answer up when its time is over though nobody asks for more of it: the caller has stopped reading. What it holds is
/// free then, and the caller finds it broken if it ever reads on.
fn watch(core: &Arc<Core>, streaming: &Arc<Mutex<Streaming>>, first_look_at: Instant) {
    let (clock, streaming) = (Arc::clone(core.host.clock()), Arc::downgrade(streaming));
    core.host.spawn("proxy answer watch", async move {
        let mut look_at = first_look_at;
        loop {
            clock.sleep_until(look_at).await;
            let Some(streaming) = streaming.upgrade() else { return };
            match lock(&streaming).give_up_if_unread(clock.now()) {
                Some(next) => look_at = next,
                None => return,
            }
        }
    });
}

fn lock(streaming: &Mutex<Streaming>) -> MutexGuard<'_, Streaming> {
    streaming.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rest {
    /// The answer is whole.
    fn complete(self) {
        let Self { held, lease, pool_idle } = self;
        let now = held.log.core.host.now();
        // An HTTP/1.1 connection that still takes the caller's body is not free; it ends with it.
        if held.log.meter.as_ref().is_none_or(|meter| meter.is_ended()) {
            let core = &held.log.core;
            lease.give_back(&core.pool, &core.host, now, pool_idle);
        }
        let grpc = held.log.grpc;
        held.finish_at(now, Ended::Complete { grpc }, HowEnded::Complete);
    }

    /// The answer broke off.
    fn broken(self, how: HowEnded) {
        let caller_broke = self.held.log.meter.as_ref().is_some_and(|meter| meter.is_broken());
        if caller_broke {
            self.held.finish(Ended::CallerGone, HowEnded::CallerGone);
        } else if how == HowEnded::TooLong {
            // The endpoint may have done all it could: it says nothing about it.
            self.held.finish(Ended::CallerGone, how);
        } else {
            self.held.finish(Ended::Broken, how);
        }
    }
}

impl Streaming {
    fn moved(&mut self, frame: &Frame<Bytes>) {
        let Some(rest) = &mut self.rest else { return };
        if let Some(data) = frame.data_ref() {
            rest.held.log.bytes_down += data.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref() {
            rest.held.log.grpc = judge::grpc_status(trailers, Seen::GRPC_STATUS).or(rest.held.log.grpc);
        }
        if let Some(idle) = &mut self.idle {
            idle.moved_at = rest.held.log.core.host.now();
        }
    }

    /// When it has been silent for too long if nothing moves until then.
    fn idle_at(&self) -> Option<Instant> {
        let (idle, rest) = (self.idle.as_ref()?, self.rest.as_ref()?);
        let sent_at = rest.held.log.meter.as_ref().map_or(Instant::ZERO, |meter| meter.moved_at());
        Some(idle.moved_at.max(sent_at) + idle.span)
    }

    /// When its time is over if nothing moves until then. `None`: never, or it is over.
    fn due(&self) -> Option<Instant> {
        let rest = self.rest.as_ref()?;
        let ends_at = self.ends.as_ref().map(|(span, _)| rest.held.log.started + *span);
        self.idle_at().into_iter().chain(ends_at).min()
    }

    /// Gives up if its time is over and nobody asked for more; else when to look again. `None`: it is over.
    fn give_up_if_unread(&mut self, now: Instant) -> Option<Instant> {
        let due = self.due()?;
        if due > now {
            return Some(due);
        }
        if self.asked {
            // Whoever asked is woken by an alarm of its own, which tells the endpoint's silence from the caller's.
            return Some(now + UNREAD_LOOK);
        }
        let how = if self.idle_at().is_some_and(|at| at <= now) { HowEnded::Idle } else { HowEnded::TooLong };
        self.body = None;
        if let Some(rest) = self.rest.take() {
            rest.held.finish(Ended::CallerGone, how);
        }
        None
    }

    /// Ready when nothing has moved for too long, either way.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Stalled> {
        let Some(until) = self.idle_at() else { return Poll::Pending };
        let (Some(idle), Some(rest)) = (&mut self.idle, &self.rest) else { return Poll::Pending };
        let core = &rest.held.log.core;
        while idle.alarm.as_mut().poll(cx).is_ready() {
            if until <= core.host.now() {
                return Poll::Ready(Stalled(idle.span));
            }
            idle.alarm = core.host.clock().sleep_until(until);
        }
        Poll::Pending
    }

    /// Ready when the exchange has taken too long, however it moves.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<TooLong> {
        match &mut self.ends {
            Some((span, alarm)) => alarm.as_mut().poll(cx).map(|()| TooLong(*span)),
            None => Poll::Pending,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.body.is_none() {
            let span = self.idle.as_ref().map_or(Duration::ZERO, |idle| idle.span);
            return Poll::Ready(Some(Err(Stalled(span).into())));
        }
        if self.rest.is_none() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(late) = self.poll_end(cx) {
            if let Some(rest) = self.rest.take() {
                rest.broken(HowEnded::TooLong);
            }
            return Poll::Ready(Some(Err(late.into())));
        }
        self.asked = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let (error, how) = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let frame = cleaned(frame);
                // Not only at `None`: nobody asks again after trailers, or after the last byte of a content-length.
                let is_last = frame.is_trailers() || body.is_end_stream();
                self.moved(&frame);
                if is_last && let Some(rest) = self.rest.take() {
                    rest.complete();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Poll::Ready(None) => {
                if let Some(rest) = self.rest.take() {
                    rest.complete();
                }
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(error))) => (error.into(), HowEnded::Broken),
            Poll::Pending => match self.poll_idle(cx) {
                Poll::Ready(stalled) => (BodyError::from(stalled), HowEnded::Idle),
                Poll::Pending => {
                    self.asked = true;
                    return Poll::Pending;
                }
            },
        };
        if let Some(rest) = self.rest.take() {
            rest.broken(how);
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl Streaming {
    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_some()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(streaming) => streaming.poll(cx),
            Self::Watched(streaming) => lock(streaming).poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(streaming) => streaming.is_end_stream(),
            Self::Watched(streaming) => lock(streaming).is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(streaming) => streaming.size_hint(),
            Self::Watched(streaming) => lock(streaming).size_hint(),
        }
    }
}
