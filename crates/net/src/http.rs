//! HTTP over any [`Conn`]: hyper with this host's clock and tasks. What proxy, control plane and simulated applications share.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;

use crate::{Conn, Host};

/// Any error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body of any kind, boxed.
pub type BoxBody = UnsyncBoxBody<Bytes, BodyError>;

/// A request body as it streams in from the wire.
pub use hyper::body::Incoming;

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
    /// The longest wait for a whole request head (HTTP/1.1). Default 10 s.
    pub head_timeout: Duration,
    /// The most streams at once on one HTTP/2 connection. Default 100… see RFC 9113 §6.5.2.
    pub streams: u32,
    /// The most bytes of a request head. Default 64 KiB.
    pub head_bytes: u32,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self { head_timeout: Duration::from_secs(10), streams: 250, head_bytes: 64 * 1024 }
    }
}

/// Serves one connection until it ends, calling `service` for each request. `version` `None`: told apart by the HTTP/2
/// preface. `drain` completing starts a graceful end: HTTP/1.1 `connection: close` after the current request, HTTP/2 GOAWAY.
///
/// Adds no `Date` (the caller does, from `Wall`), reads no clock but the host's.
///
/// # Errors
/// What ended the connection, for logs; a peer that goes away between requests is not an error.
pub async fn serve<S, F, B>(
    host: &Host,
    conn: Conn,
    version: Option<Version>,
    limits: ServeLimits,
    service: S,
    drain: impl Future<Output = ()> + Send,
) -> Result<(), hyper::Error>
where
    S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, BodyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let _ = (host, conn, version, limits, service, drain);
    todo!()
}

/// A client connection. HTTP/1.1: one request at a time. HTTP/2: clone it, many at once.
pub struct Sender<B> {
    _body: std::marker::PhantomData<fn(B)>,
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
    let _ = (host, conn, version);
    todo!()
}

impl<B> Sender<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BodyError>,
{
    /// Sends a request; resolves at the response's head. Dropping the future cancels it (HTTP/1.1: closes the
    /// connection; HTTP/2: resets the stream). HTTP/1.1 needs a `host` header, HTTP/2 an absolute URI.
    ///
    /// # Errors
    /// See `hyper::Error`; [`was_not_sent`] tells whether the peer cannot have seen it.
    pub async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, hyper::Error> {
        let _ = request;
        todo!()
    }

    /// Whether another request may be sent now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        todo!()
    }
}

/// Whether the request cannot have been processed: never written, REFUSED_STREAM, or beyond a GOAWAY.
#[must_use]
pub fn was_not_sent(error: &hyper::Error) -> bool {
    let _ = error;
    todo!()
}
