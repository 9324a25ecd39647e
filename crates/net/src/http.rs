//! HTTP over any [`Conn`]: hyper with this host's clock and tasks. What proxy, control plane and simulated applications share.

use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn as client;
use hyper::server::conn as server;
use hyper::service::service_fn;
use tokio::io::AsyncReadExt;

use crate::hyper_rt::{Activity, HeadTimer, HostExecutor, HostTimer, HyperIo};
use crate::{BoxFuture, Conn, Host, after};

pub use crate::interim::Interim;

/// Any error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any kind, boxed.
pub type BoxBody = UnsyncBoxBody<Bytes, BodyError>;

/// How a client sends the first bytes of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most bytes of a response head that a client takes.
const RESPONSE_HEAD_BYTES: u32 = 64 * 1024;

/// How long an HTTP/2 client remembers streams it has reset. `h2` looks at the OS clock to forget them; a day is longer than
/// any run, so that the clock decides nothing. Their number is bounded all the same (by 50).
const RESET_STREAM_MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// A request body as it streams in from the wire.
pub use hyper::body::Incoming;

/// How long an HTTP/1.1 connection is at rest before its buffers are given up; up to twice that, as one timer serves many
/// requests. Shorter costs those that come again, longer keeps memory.
const REST: Duration = Duration::from_millis(100);

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Limits of a served connection. Every field has a default.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// The longest wait for a whole request head, from its first byte (HTTP/1.1) or for the HTTP/2 preface. Idle
    /// connections stay. Default 10 s.
    pub head_timeout: Duration,
    /// The most streams at once on one HTTP/2 connection (RFC 9113 §6.5.2: no less than 100). Default 250.
    pub streams: u32,
    /// The most bytes of a request head; above it HTTP/1.1 answers 431 and HTTP/2 resets the stream. Default 64 KiB.
    pub head_bytes: u32,
    /// How long a draining HTTP/1.1 connection without a request stays open for one that may be on its way; its answer says
    /// `connection: close`. Closed at once, such a request would be lost (RFC 9112 §9.6). Default 500 ms; zero: closed at once.
    pub drain_grace: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            streams: 250,
            head_bytes: 64 * 1024,
            drain_grace: Duration::from_millis(500),
        }
    }
}

/// Serves one connection until it ends, calling `service` for each request. `version` `None`: told apart by the HTTP/2
/// preface. `drain` completing starts a graceful end: HTTP/1.1 `connection: close` with the current or next answer (see
/// [`ServeLimits::drain_grace`]), HTTP/2 GOAWAY.
///
/// Nothing is allocated for reading before the first byte comes. A request whose client goes away (HTTP/1.1: EOF or reset, so
/// also a client that only half-closes, as in Envoy; HTTP/2: RST_STREAM) has its `service` future or response body dropped.
/// A service that fails closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
///
/// Adds no `Date` (the caller does, from `Wall`), reads no clock but the host's.
///
/// # Errors
/// What ended the connection, for logs; a peer that goes away between requests is not an error.
pub fn serve<S, F, B>(
    host: &Host,
    conn: Conn,
    version: Option<Version>,
    limits: ServeLimits,
    service: S,
    drain: impl Future<Output = ()> + Send,
) -> impl Future<Output = Result<(), hyper::Error>> + Send
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, BodyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    serve_with_interim(host, conn, version, limits, Interim::default(), service, drain)
}

/// As [`serve`], for a service that sends interim responses by `interim`. Over HTTP/2 that is never open: hyper has no way to
/// send them there.
///
/// # Errors
/// As [`serve`].
#[expect(clippy::manual_async_fn, reason = "see inside")]
pub fn serve_with_interim<S, F, B>(
    host: &Host,
    conn: Conn,
    version: Option<Version>,
    limits: ServeLimits,
    interim: Interim,
    service: S,
    drain: impl Future<Output = ()> + Send,
) -> impl Future<Output = Result<(), hyper::Error>> + Send
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, BodyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    // Not an `async fn`: callers could not prove its future to be `Send`, as the compiler forgets the `'static` of boxed errors
    // in a future whose `Send` it has to look inside for.
    async move {
        let mut conn = conn;
        let mut end = End { host, grace: limits.drain_grace, drain: pin!(drain), drained: false, alarm: None };
        let sniffed = {
            let mut sniff = pin!(sniff(host, &mut conn, version, limits.head_timeout));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(sniffed) = sniff.as_mut().poll(cx) {
                    return Poll::Ready(sniffed);
                }
                end.poll_grace(cx).map(|()| None)
            })
            .await
        };
        let Some((version, already)) = sniffed else {
            return Ok(());
        };
        let io = HyperIo::new(already, conn);
        let mut asked = false;
        match version {
            Version::Http1 => {
                let serving = Arc::<Serving>::default();
                let service = {
                    let (interim, serving) = (interim.clone(), Arc::clone(&serving));
                    service_fn(move |request: Request<Incoming>| {
                        interim.begin(request.version() == http::Version::HTTP_11);
                        let (interim, counted) = (interim.clone(), Counted::new(&serving));
                        Answering { answer: service(request), answered: None, interim, counted }
                    })
                };
                let activity = io.activity();
                let mut builder = server::http1::Builder::new();
                builder
                    .auto_date_header(false)
                    .half_close(false)
                    .timer(HeadTimer::new(host, Arc::clone(&activity)))
                    .header_read_timeout(limits.head_timeout)
                    .max_header_size(limits.head_bytes as usize);
                let (mut io, mut service) = (io.with_interim(interim.clone()), service);
                loop {
                    // Boxed: an idle connection has none.
                    let mut connection = Box::new(builder.serve_connection(io, service).with_upgrades());
                    let mut rest = Rest { host, activity: &activity, reads: activity.reads(), alarm: None };
                    let ended = std::future::poll_fn(|cx| {
                        if end.poll_drain(cx) {
                            serving.ends.store(true, Ordering::Relaxed);
                            let is_asked = serving.unanswered.load(Ordering::Relaxed) > 0;
                            if !asked && (is_asked || end.poll_grace(cx).is_ready()) {
                                asked = true;
                                Pin::new(&mut *connection).graceful_shutdown();
                            }
                        }
                        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(cx) {
                            return Poll::Ready(Some(ended));
                        }
                        interim.register(cx);
                        if asked { Poll::Pending } else { rest.poll(cx).map(|()| None) }
                    })
                    .await;
                    if let Some(ended) = ended {
                        return ended;
                    }
                    // Taken apart between two requests: hyper's buffers would be most of what an idle connection costs.
                    let Some(parts) = connection.into_parts() else { return Ok(()) };
                    (io, service) = (parts.io.again(parts.read_buf), parts.service);
                    let is_over = std::future::poll_fn(|cx| {
                        if io.poll_readable(cx).is_ready() {
                            return Poll::Ready(false);
                        }
                        end.poll_grace(cx).map(|()| true)
                    });
                    if is_over.await {
                        return Ok(());
                    }
                }
            }
            Version::Http2 => {
                let executor = HostExecutor { host: host.clone(), name: "http stream" };
                // One look at the OS clock remains: `h2` forgets after a second which streams this side has reset, and hyper's
                // server has no setting for it. It decides only whether a frame that comes later than that on such a stream is
                // ignored or answered with another reset. In a simulated world that second is one of computing, in which whole
                // simulated minutes pass.
                let connection = server::http2::Builder::new(executor)
                    .auto_date_header(false)
                    .timer(HostTimer::new(host))
                    .max_concurrent_streams(limits.streams)
                    .max_header_list_size(limits.head_bytes)
                    .enable_connect_protocol()
                    // Boxed at once: it is large, and moved several times before its task runs.
                    .serve_connection(io, service_fn(move |request| Box::pin(service(request))));
                // As above: what waits for its first byte has none.
                let mut connection = Box::pin(connection);
                std::future::poll_fn(|cx| {
                    if !asked && end.poll_drain(cx) {
                        asked = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    connection.as_mut().poll(cx)
                })
                .await
            }
        }
    }
}

/// When a connection has rested long enough to be taken apart.
struct Rest<'c> {
    host: &'c Host,
    activity: &'c Activity,
    /// What was read when the alarm was set.
    reads: u64,
    /// One for many requests: set when the connection comes to rest, not again before it has rung.
    alarm: Option<BoxFuture<'static, ()>>,
}

impl Rest<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let is_idle = self.activity.is_idle();
            let Some(alarm) = &mut self.alarm else {
                if !is_idle {
                    return Poll::Pending;
                }
                self.reads = self.activity.reads();
                self.alarm = Some(after(self.host.clock().as_ref(), REST));
                continue;
            };
            ready!(alarm.as_mut().poll(cx));
            self.alarm = None;
            if is_idle && self.reads == self.activity.reads() {
                return Poll::Ready(());
            }
        }
    }
}

/// How a served connection learns that it must end.
struct End<'c, D> {
    host: &'c Host,
    grace: Duration,
    drain: Pin<&'c mut D>,
    drained: bool,
    /// Rings when the grace is over.
    alarm: Option<BoxFuture<'static, ()>>,
}

impl<D: Future<Output = ()>> End<'_, D> {
    /// Whether it must end.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.drained && self.drain.as_mut().poll(cx).is_ready() {
            self.drained = true;
            self.alarm = Some(after(self.host.clock().as_ref(), self.grace));
        }
        self.drained
    }

    /// Ready when it must end though nothing happens on it.
    fn poll_grace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.poll_drain(cx) {
            return Poll::Pending;
        }
        self.alarm.as_mut().map_or(Poll::Ready(()), |alarm| alarm.as_mut().poll(cx))
    }
}

/// What the requests of an HTTP/1.1 connection and the connection know of each other.
#[derive(Default)]
struct Serving {
    unanswered: AtomicU32,
    /// It drains: whichever request is answered from now on is the last one.
    ends: AtomicBool,
}

/// A service's future, which gives its answer when the interim ones are written. Not an `async` block, for the reason above.
struct Answering<F: Future> {
    answer: F,
    answered: Option<F::Output>,
    interim: Interim,
    counted: Counted,
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        #[expect(unsafe_code, reason = "a projection of one field; nothing else here is ever pinned")]
        // SAFETY: `answer` is not moved out of `self` and has no other way to be reached; `Answering` has no `Drop`.
        let (answer, this) = unsafe {
            let this = self.get_unchecked_mut();
            (Pin::new_unchecked(&mut this.answer), (&mut this.answered, &this.interim, &this.counted))
        };
        let (answered, interim, counted) = this;
        let mut given = match answered.take() {
            Some(waited) => waited,
            None => ready!(answer.poll(cx)),
        };
        if interim.poll_end(cx).is_pending() {
            *answered = Some(given);
            return Poll::Pending;
        }
        // Said here too: hyper is told before it reads a request, and may have read and answered this one since.
        if let Ok(answer) = &mut given
            && counted.0.ends.load(Ordering::Relaxed)
            && answer.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            answer.headers_mut().append(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(given)
    }
}

/// One more, until it is dropped.
struct Counted(Arc<Serving>);

impl Counted {
    fn new(serving: &Arc<Serving>) -> Self {
        serving.unanswered.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(serving))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for the first byte, and tells the version by the first bytes if it is not known. Gives what it has read. `None`: the
/// peer went away, or did not finish the preface in time.
async fn sniff(
    host: &Host,
    conn: &mut Conn,
    version: Option<Version>,
    head_timeout: Duration,
) -> Option<(Version, Bytes)> {
    std::future::poll_fn(|cx| conn.poll_readable(cx)).await.ok()?;
    if let Some(version) = version {
        return Some((version, Bytes::new()));
    }
    let mut alarm = after(host.clock().as_ref(), head_timeout);
    let mut already = BytesMut::with_capacity(PREFACE.len());
    while PREFACE.starts_with(&already) && already.len() < PREFACE.len() {
        let missing = PREFACE.len() - already.len();
        let mut part = (&mut *conn).take(missing as u64);
        let mut read = pin!(part.read_buf(&mut already));
        let count = std::future::poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(count) = read.as_mut().poll(cx) {
                return Poll::Ready(count.ok());
            }
            alarm.as_mut().poll(cx).map(|()| None)
        })
        .await?;
        if count == 0 {
            break;
        }
    }
    if already.is_empty() {
        return None;
    }
    let version = if already == PREFACE { Version::Http2 } else { Version::Http1 };
    Some((version, already.freeze()))
}

/// A client connection. HTTP/1.1: one request at a time. HTTP/2: [`Sender::try_clone`] it, many at once.
pub struct Sender<B> {
    requests: Requests<B>,
}

/// A request that got no answer.
pub struct Unsent<B> {
    /// Why.
    pub error: hyper::Error,
    /// The request, if nothing of it was written; its body is untouched.
    pub request: Option<Request<B>>,
}

enum Requests<B> {
    Http1(client::http1::SendRequest<B>),
    Http2(client::http2::SendRequest<B>),
}

/// Makes a client connection of `conn`; its driver runs as a task of `host` and ends with the last `Sender` and response body.
///
/// # Errors
/// The HTTP handshake failed.
pub async fn connect<B>(host: &Host, conn: Conn, version: Version) -> Result<Sender<B>, hyper::Error>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    connect_watched(host, conn, version, None).await
}

/// How a client finds out that a peer is gone without a word. HTTP/2 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// A peer that has said nothing for so long while a stream is open is sent a PING…
    pub silence: Duration,
    /// …and is taken for dead if it does not answer within this.
    pub patience: Duration,
}

/// As [`connect`], for long streams on which nothing may move for a while.
///
/// # Errors
/// The HTTP handshake failed.
pub async fn connect_watched<B>(
    host: &Host,
    conn: Conn,
    version: Version,
    watch: Option<Watch>,
) -> Result<Sender<B>, hyper::Error>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    let io = HyperIo::new(Bytes::new(), conn);
    let requests = match version {
        Version::Http1 => {
            let (requests, connection) = client::http1::Builder::new()
                .max_header_size(RESPONSE_HEAD_BYTES as usize)
                // A proxy must remove it rather than pass it on (RFC 9112 §5.1).
                .allow_spaces_after_header_name_in_responses(true)
                .handshake(io)
                .await?;
            host.spawn("http client", async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "an HTTP/1.1 connection ended");
                }
            });
            Requests::Http1(requests)
        }
        Version::Http2 => {
            let executor = HostExecutor { host: host.clone(), name: "http client stream" };
            let mut builder = client::http2::Builder::new(executor);
            builder
                .timer(HostTimer::new(host))
                .max_header_list_size(RESPONSE_HEAD_BYTES)
                .reset_stream_duration(RESET_STREAM_MEMORY);
            if let Some(watch) = watch {
                builder.keep_alive_interval(watch.silence).keep_alive_timeout(watch.patience);
            }
            let (requests, connection) = builder.handshake(io).await?;
            host.spawn("http client", async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "an HTTP/2 connection ended");
                }
            });
            Requests::Http2(requests)
        }
    };
    Ok(Sender { requests })
}

impl<B> Sender<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    /// Sends a request; resolves at the response's head. Dropping the future cancels it (HTTP/1.1: closes the
    /// connection; HTTP/2: resets the stream). HTTP/1.1 needs a `host` header, HTTP/2 an absolute URI. Waits for
    /// [`Sender::ready`] first.
    ///
    /// # Errors
    /// See `hyper::Error`; [`was_not_sent`] tells whether the peer cannot have seen it.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error> {
        self.ready().await?;
        match &mut self.requests {
            Requests::Http1(requests) => requests.send_request(request).await,
            Requests::Http2(requests) => requests.send_request(request).await,
        }
    }

    /// As [`Sender::send`], but gives a request back of which nothing was written.
    ///
    /// # Errors
    /// [`Unsent`].
    #[expect(clippy::manual_async_fn, reason = "an `async fn` keeps what it is given twice, and copies it")]
    pub fn try_send(
        &mut self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, Box<Unsent<B>>>> {
        async move {
            if let Err(error) = self.ready().await {
                return Err(Box::new(Unsent { error, request: Some(request) }));
            }
            let sent = match &mut self.requests {
                Requests::Http1(requests) => requests.try_send_request(request).await,
                Requests::Http2(requests) => requests.try_send_request(request).await,
            };
            sent.map_err(|mut unsent| {
                let request = unsent.take_message();
                Box::new(Unsent { error: unsent.into_error(), request })
            })
        }
    }

    /// Waits until another request may be sent. HTTP/1.1: the last response was read to its end.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn ready(&mut self) -> Result<(), hyper::Error> {
        std::future::poll_fn(|cx| match &mut self.requests {
            Requests::Http1(requests) => requests.poll_ready(cx),
            Requests::Http2(requests) => requests.poll_ready(cx),
        })
        .await
    }

    /// Whether another request may be sent now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match &self.requests {
            Requests::Http1(requests) => requests.is_ready(),
            Requests::Http2(requests) => requests.is_ready(),
        }
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.requests {
            Requests::Http1(requests) => requests.is_closed(),
            Requests::Http2(requests) => requests.is_closed(),
        }
    }

    /// What it speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        match &self.requests {
            Requests::Http1(_) => Version::Http1,
            Requests::Http2(_) => Version::Http2,
        }
    }

    /// Another sender on the same connection; `None` for HTTP/1.1, which carries one request at a time.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match &self.requests {
            Requests::Http1(_) => None,
            Requests::Http2(requests) => Some(Self { requests: Requests::Http2(requests.clone()) }),
        }
    }
}

/// Has `tell` called with each interim response (1xx but 101) to `request`, if it is sent over HTTP/1.1; over HTTP/2 hyper drops
/// them.
pub fn on_interim<B>(request: &mut Request<B>, tell: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) {
    hyper::ext::on_informational(request, move |response| tell(response.status(), response.headers()));
}

/// Whether the request cannot have been processed: never written, REFUSED_STREAM, or beyond a GOAWAY (RFC 9113 §8.7). Such a
/// request may be sent again elsewhere, whatever its method.
#[must_use]
pub fn was_not_sent(error: &hyper::Error) -> bool {
    if error.is_canceled() || error.is_closed() {
        return true;
    }
    let Some(h2) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return false;
    };
    let refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
    h2.is_remote() && (refused || h2.is_go_away())
}
