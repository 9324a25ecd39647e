//! A connection to the control plane, and gRPC calls over it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use squall_net::http::{BodyError, Incoming, Sender, Version, Watch, connect_watched};
use squall_net::tls::{Connector, Identity, KeyAlgorithm, PrivateKey};
use squall_net::{Host, timeout};
use squall_policy::Instant;
use squall_xds::{Deframer, frame};
use tokio::sync::mpsc;

use crate::ControlSource;
use crate::identity::H2;

/// The longest wait for a connection (TCP, TLS and HTTP), and for the head of an answer.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A stream of meshes may be silent for hours; a control plane that crashed in silence must be noticed all the same.
const WATCH: Watch = Watch { silence: Duration::from_secs(10), patience: Duration::from_secs(5) };
/// The longest message that is taken.
const MESSAGE_BYTES: usize = 16 << 20;
/// Messages that may wait to be sent.
const OUTBOX: usize = 64;

/// Why there is no answer from the control plane. Shown in records.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("{0} took longer than {CONNECT_TIMEOUT:?}")]
    Slow(&'static str),
    #[error(transparent)]
    Tls(#[from] squall_net::tls::TlsError),
    #[error("HTTP/2: {0}")]
    Http(BodyError),
    #[error("answered with HTTP status {0}")]
    Status(u16),
    #[error("answered with gRPC status {code}: {message}")]
    Grpc { code: u16, message: String },
    #[error("the stream ended")]
    Ended,
    #[error("it does not read what it is sent")]
    Deaf,
    #[error("{0}")]
    Protocol(String),
    #[error("there is no token to ask with: {0}")]
    Token(String),
}

/// Connects, and checks that it is the control plane. `identity`: who we are, if we are somebody yet. `roots`: whom we trust, if the
/// control plane has told us since.
pub(crate) async fn connect(
    host: &Host,
    source: &ControlSource,
    identity: Option<Identity>,
    roots: Option<Vec<Vec<u8>>>,
    algorithm: KeyAlgorithm,
) -> Result<Sender<Outbox>, Lost> {
    let until = host.now() + CONNECT_TIMEOUT;
    let connecting = async {
        let conn = host.net().connect(source.address).await.map_err(Lost::Connect)?;
        let mut identity = identity.unwrap_or_else(|| nobody(algorithm));
        identity.roots = roots.unwrap_or_else(|| source.roots.clone());
        let connector = Connector::new(host, &identity, &[H2])?;
        let conn = connector.connect(conn, &source.identity).await?.conn;
        let connected = connect_watched(host, conn, Version::Http2, Some(WATCH)).await;
        connected.map_err(|error| Lost::Http(error.into()))
    };
    timeout(host.clock().as_ref(), until, connecting).await.unwrap_or(Err(Lost::Slow("connecting")))
}

/// Somebody without a certificate.
fn nobody(algorithm: KeyAlgorithm) -> Identity {
    Identity {
        chain: Vec::new(),
        key: PrivateKey::from_pkcs8(&[]),
        roots: Vec::new(),
        algorithm,
        not_after_s: 0,
        issued_at: Instant::ZERO,
    }
}

/// Messages on their way to the control plane, as a request's body.
pub(crate) enum Outbox {
    /// One message.
    One(Option<Bytes>),
    /// As they come.
    Stream(mpsc::Receiver<Bytes>),
}

impl Outbox {
    /// Messages as they come, and where to put them.
    pub(crate) fn stream() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(OUTBOX);
        (sender, Self::Stream(receiver))
    }
}

impl Body for Outbox {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let message = match &mut *self {
            Self::One(message) => Poll::Ready(message.take()),
            Self::Stream(messages) => messages.poll_recv(cx),
        };
        message.map(|message| message.map(|message| Ok(Frame::data(frame(&message)))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::One(None))
    }
}

/// The messages of an answer.
pub(crate) struct Inbox {
    body: Incoming,
    deframer: Deframer,
    ready: VecDeque<Bytes>,
}

/// Begins a call of the gRPC method at `path`.
pub(crate) async fn call(
    host: &Host,
    sender: &mut Sender<Outbox>,
    source: &ControlSource,
    path: &str,
    body: Outbox,
) -> Result<Inbox, Lost> {
    let request = Request::post(format!("https://{}{path}", source.address))
        .version(http::Version::HTTP_2)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .body(body)
        .expect("an address and a path make a URI");
    let until = host.now() + CONNECT_TIMEOUT;
    let response = timeout(host.clock().as_ref(), until, sender.send(request)).await;
    let response = response.ok_or(Lost::Slow("its answer"))?.map_err(|error| Lost::Http(error.into()))?;
    begin(response)
}

fn begin(response: Response<Incoming>) -> Result<Inbox, Lost> {
    let (head, body) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Lost::Status(head.status.as_u16()));
    }
    // A call that fails at once says so in its head.
    grpc_status(&head.headers)?;
    Ok(Inbox { body, deframer: Deframer::new(MESSAGE_BYTES), ready: VecDeque::new() })
}

/// `Err` if the call failed, or its headers say nothing of it but should.
fn grpc_status(headers: &HeaderMap) -> Result<(), Lost> {
    let code = crate::headers::number(headers, crate::headers::GRPC_STATUS).unwrap_or(0);
    if code == 0 {
        return Ok(());
    }
    let message = headers.get(crate::headers::GRPC_MESSAGE).and_then(|message| message.to_str().ok());
    Err(Lost::Grpc { code, message: message.unwrap_or_default().to_owned() })
}

impl Inbox {
    /// The next message; `None`: the call ended well.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Lost::Http(error.into())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let messages = self.deframer.push(&data);
                        self.ready = messages.map_err(|error| Lost::Protocol(error.to_string()))?;
                    }
                    Err(frame) => {
                        if let Some(trailers) = frame.trailers_ref() {
                            grpc_status(trailers)?;
                        }
                    }
                },
            }
        }
    }
}

/// A call with one answer.
pub(crate) async fn unary(
    host: &Host,
    sender: &mut Sender<Outbox>,
    source: &ControlSource,
    path: &str,
    message: Bytes,
) -> Result<Bytes, Lost> {
    let until = host.now() + CONNECT_TIMEOUT;
    let calling = async {
        let mut inbox = call(host, sender, source, path, Outbox::One(Some(message))).await?;
        let answer = inbox.next().await?.ok_or(Lost::Ended)?;
        // Read to the end: the status of the call comes last.
        while inbox.next().await?.is_some() {}
        Ok(answer)
    };
    timeout(host.clock().as_ref(), until, calling).await.unwrap_or(Err(Lost::Slow("its answer")))
}
