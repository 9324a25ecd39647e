//! gRPC over `net::http`, as far as a server needs it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use squall_net::http::{BodyError, BoxBody, Incoming};
use squall_xds::{Deframer, frame};

/// gRPC's status codes, as far as they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Ok = 0,
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Status {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// As headers or trailers. The message is percent-encoded, as gRPC asks.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from(self.code as u16));
        if !self.message.is_empty() {
            let mut text = String::new();
            for byte in self.message.bytes() {
                match byte {
                    b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
                    _ => text.push_str(&format!("%{byte:02X}")),
                }
            }
            let message = HeaderValue::from_str(&text).expect("printable ASCII only");
            headers.insert("grpc-message", message);
        }
        headers
    }
}

/// The head of every answer.
pub(crate) fn response(body: BoxBody) -> Response<BoxBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer without a message.
pub(crate) fn failed(status: &Status) -> Response<BoxBody> {
    let mut response = response(BoxBody::new(http_body_util::Empty::new().map_err(|never| match never {})));
    response.headers_mut().extend(status.headers());
    response
}

/// An answer of one message.
pub(crate) fn answer(message: &[u8]) -> Response<BoxBody> {
    response(BoxBody::new(One { message: Some(frame(message)), trailers: Some(Status::ok().headers()) }))
}

struct One {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for One {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = match self.message.take() {
            Some(message) => Some(Frame::data(message)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(next.map(Ok))
    }
}

/// The messages of a request, one after the other.
pub(crate) struct Messages {
    body: Incoming,
    deframer: Deframer,
    ready: std::collections::VecDeque<Bytes>,
}

impl Messages {
    /// Refuses messages longer than `message_bytes_max`.
    pub(crate) fn new(body: Incoming, message_bytes_max: usize) -> Self {
        Self { body, deframer: Deframer::new(message_bytes_max), ready: std::collections::VecDeque::new() }
    }

    /// The next message; `None`: the client has no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None if self.deframer.is_empty() => return Ok(None),
                None => return Err(Status::new(Code::Internal, "the request ends in the middle of a message")),
                Some(Err(error)) => return Err(Status::new(Code::Internal, error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.ready = self
                            .deframer
                            .push(&data)
                            .map_err(|error| Status::new(Code::ResourceExhausted, error.to_string()))?;
                    }
                }
            }
        }
    }
}
