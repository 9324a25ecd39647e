//! The HTTP client of applications and load generators: kept-alive connections to the own sidecar.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use squall_net::http::{Incoming, Sender, Version, connect, was_not_sent};
use squall_net::{BoxFuture, Host};
use squall_policy::Protocol;

use crate::payload::Payload;

/// A client of one sidecar.
pub(crate) struct Client {
    host: Host,
    to: SocketAddr,
    version: Version,
    idle: Mutex<Vec<Sender<Payload>>>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// The host name asked for.
    pub(crate) authority: Authority,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body_bytes: u64,
}

/// An answer, read to its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// From the head or the trailers.
    pub(crate) grpc: Option<u8>,
    pub(crate) body_bytes: u64,
    /// The body came whole.
    pub(crate) whole: bool,
}

impl Answer {
    /// Neither an HTTP error (400 or above), nor a gRPC error, nor broken off.
    pub(crate) fn is_success(&self) -> bool {
        self.whole && self.status < 400 && self.grpc.unwrap_or(0) == 0
    }
}

/// No answer came: the connection to the sidecar failed, or broke before an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer;

impl Client {
    /// A client that asks the sidecar at `to`, in `protocol`.
    pub(crate) fn new(host: Host, to: SocketAddr, protocol: Protocol) -> Self {
        let version = match protocol {
            // Applications behind ports of TCP speak what the load can speak.
            Protocol::Http1 | Protocol::Tcp => Version::Http1,
            Protocol::Http2 => Version::Http2,
        };
        Self { host, to, version, idle: Mutex::default() }
    }

    /// Asks and reads the answer. Dropping the future cancels the request. A request that a kept connection cannot have
    /// carried any more is sent once again on a new one, as HTTP clients do.
    pub(crate) fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        Box::pin(async move {
            let (mut sender, kept) = match self.kept() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            let response = match sender.send(self.request(question)).await {
                Ok(response) => response,
                Err(error) if kept && was_not_sent(&error) => {
                    sender = self.connect().await?;
                    sender.send(self.request(question)).await.map_err(|_| NoAnswer)?
                }
                Err(_) => return Err(NoAnswer),
            };
            let status = response.status().as_u16();
            let mut grpc = response.headers().get("grpc-status").and_then(grpc_status);
            let (body_bytes, whole) = drain(response.into_body(), &mut grpc).await;
            if whole {
                self.keep(sender);
            }
            Ok(Answer { status, grpc, body_bytes, whole })
        })
    }

    fn kept(&self) -> Option<Sender<Payload>> {
        let mut idle = self.idle();
        idle.retain(|sender| !sender.is_closed());
        match self.version {
            Version::Http1 => idle.pop(),
            Version::Http2 => idle.first().and_then(Sender::try_clone),
        }
    }

    fn keep(&self, sender: Sender<Payload>) {
        if self.version == Version::Http1 && !sender.is_closed() {
            self.idle().push(sender);
        }
    }

    async fn connect(&self) -> Result<Sender<Payload>, NoAnswer> {
        let conn = self.host.net().connect(self.to).await.map_err(|_| NoAnswer)?;
        let sender = connect(&self.host, conn, self.version).await.map_err(|_| NoAnswer)?;
        let Some(shared) = sender.try_clone() else { return Ok(sender) };
        let mut idle = self.idle();
        // Several may have connected at once; the first one's connection carries all.
        match idle.iter().find(|kept| !kept.is_closed()).and_then(Sender::try_clone) {
            Some(first) => Ok(first),
            None => {
                idle.push(shared);
                Ok(sender)
            }
        }
    }

    fn request(&self, question: &Question) -> Request<Payload> {
        let mut request = Request::new(Payload::zeros(question.body_bytes));
        *request.method_mut() = question.method.clone();
        *request.uri_mut() = match self.version {
            Version::Http1 => Uri::from(question.path.clone()),
            Version::Http2 => Uri::builder()
                .scheme(Scheme::HTTP)
                .authority(question.authority.clone())
                .path_and_query(question.path.clone())
                .build()
                .expect("scheme, authority and path make a URI"),
        };
        let headers = request.headers_mut();
        if self.version == Version::Http1 {
            let host = HeaderValue::from_str(question.authority.as_str()).expect("an authority is visible ASCII");
            headers.insert(HOST, host);
        }
        for (name, value) in &question.headers {
            headers.append(name.clone(), value.clone());
        }
        request
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Sender<Payload>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a body to its end: how many bytes, and whether it was whole.
pub(crate) async fn drain(mut body: Incoming, grpc: &mut Option<u8>) -> (u64, bool) {
    let mut bytes = 0;
    loop {
        match body.frame().await {
            None => return (bytes, true),
            Some(Err(_)) => return (bytes, false),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    bytes += data.len() as u64;
                }
                if let Some(status) = frame.trailers_ref().and_then(|it| it.get("grpc-status")).and_then(grpc_status) {
                    *grpc = Some(status);
                }
            }
        }
    }
}

/// A `grpc-status` that is no number is taken for 2, unknown (the gRPC specification says so).
fn grpc_status(value: &HeaderValue) -> Option<u8> {
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(2))
}
