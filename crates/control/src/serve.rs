//! Listens, and serves the mesh stream and certificates.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use squall_net::http::{BodyError, BoxBody, Incoming, ServeLimits, Version, serve};
use squall_net::tls::Acceptor;
use squall_net::{Conn, Task, timeout};
use squall_policy::Instant;
use squall_xds::{ADS_PATH, CertificateRequest, CertificateResponse, SIGN_PATH, frame};

use crate::control::Inner;
use crate::grpc::{self, Code, Messages, Status};
use crate::push::{Next, Stream};
use crate::token_review::ReviewError;
use crate::{AuthorityError, CONTROL_ID, ControlError, ControlRecord};

/// The longest TLS handshake, and the longest signing call.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The longest `DiscoveryRequest`: names of some ten thousand clusters.
const REQUEST_BYTES: usize = 4 << 20;

/// The longest signing request.
const SIGN_BYTES: usize = 64 << 10;

/// Tasks that end with their owner.
#[derive(Default)]
struct Running(Mutex<(u64, BTreeMap<u64, Task>)>);

impl Running {
    /// Runs `work` until it ends or its owner is gone.
    fn spawn(self: &Arc<Self>, inner: &Inner, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.0 += 1;
        let number = tasks.0;
        let running = Arc::downgrade(self);
        let task = inner.host.spawn(name, async move {
            work.await;
            if let Some(running) = running.upgrade() {
                running.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&number);
            }
        });
        // Were the task over already, its entry would stay: it cannot be, since it waits for this lock.
        tasks.1.insert(number, task);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).1.values() {
            task.abort();
        }
    }
}

/// Listens and serves until the listener dies.
pub(crate) async fn run(inner: &Arc<Inner>) -> Result<(), ControlError> {
    let at = inner.listen;
    let dead = |why| ControlError::Listen { at, why };
    let mut listener = inner.host.net().listen(at).await.map_err(dead)?;
    inner.record(&ControlRecord::Listening { at: listener.local() });
    let running = Arc::new(Running::default());
    running.spawn(inner, "control push", follow(Arc::clone(inner)));
    let (mut acceptor, mut renew_at) = acceptor(inner)?;
    loop {
        let accepted = listener.accept().await.map_err(dead)?;
        if inner.host.now() >= renew_at {
            (acceptor, renew_at) = self::acceptor(inner)?;
        }
        let connection = connection(Arc::clone(inner), acceptor.clone(), accepted.conn);
        running.spawn(inner, "control connection", connection);
    }
}

/// TLS with a fresh certificate of our own, and when to make the next: at half its life.
fn acceptor(inner: &Inner) -> Result<(Acceptor, Instant), ControlError> {
    let identity = inner.authority.identity(&inner.host, CONTROL_ID)?;
    let life = Duration::from_secs(identity.not_after_s).saturating_sub(inner.host.wall().since_epoch());
    // Without a client certificate too: a proxy gets its first one here.
    let acceptor = Acceptor::new(&inner.host, &identity, false, &[b"h2"])?;
    Ok((acceptor, inner.host.now() + life / 2))
}

/// Pushes when pods change. The only one who waits for that, so that wake order decides nothing.
async fn follow(inner: Arc<Inner>) {
    let mut changes = inner.registry.changes();
    loop {
        changes.borrow_and_update();
        let records = inner.pushes.set_pods(inner.registry.snapshot());
        inner.record_all(&records);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn connection(inner: Arc<Inner>, acceptor: Acceptor, conn: Conn) {
    let peer = conn.peer().to_string();
    let until = inner.host.now() + HANDSHAKE;
    let secured = match timeout(inner.host.clock().as_ref(), until, acceptor.accept(conn)).await {
        Some(Ok(secured)) => secured,
        Some(Err(error)) => {
            inner.record(&ControlRecord::HandshakeFailed { peer, why: error.to_string() });
            return;
        }
        None => {
            inner.record(&ControlRecord::HandshakeFailed { peer, why: "no TLS handshake in time".to_owned() });
            return;
        }
    };
    let running = Arc::new(Running::default());
    let caller = Caller { peer, identity: secured.peer_identity };
    let service = {
        let (inner, running) = (Arc::clone(&inner), Arc::clone(&running));
        move |request| {
            let (inner, running, caller) = (Arc::clone(&inner), Arc::clone(&running), caller.clone());
            async move { Ok::<_, BodyError>(respond(inner, running, caller, request).await) }
        }
    };
    let limits = ServeLimits::default();
    let ended = serve(&inner.host, secured.conn, Some(Version::Http2), limits, service, std::future::pending()).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a control connection ended");
    }
    drop(running);
}

/// Who calls.
#[derive(Clone)]
struct Caller {
    peer: String,
    /// Proven by its certificate, if it has one yet.
    identity: Option<Arc<str>>,
}

async fn respond(
    inner: Arc<Inner>,
    running: Arc<Running>,
    caller: Caller,
    request: Request<Incoming>,
) -> Response<BoxBody> {
    let refuse = |status: Status| {
        let peer = caller.identity.as_deref().unwrap_or(&caller.peer).to_owned();
        inner.record(&ControlRecord::Refused { peer, why: status.message.clone() });
        grpc::failed(&status)
    };
    let called = request.uri().path().to_owned();
    if request.method() != Method::POST {
        return refuse(Status::new(Code::Unimplemented, format!("{} {called} is not served", request.method())));
    }
    match called.as_str() {
        ADS_PATH => match &caller.identity {
            Some(identity) => stream(&inner, &running, identity, request.into_body()),
            None => refuse(Status::new(Code::Unauthenticated, "the mesh is for proxies with a certificate")),
        },
        SIGN_PATH => {
            let until = inner.host.now() + HANDSHAKE;
            let signing = sign(&inner, &caller, request.into_body());
            match timeout(inner.host.clock().as_ref(), until, signing).await {
                Some(Ok(answer)) => grpc::answer(&answer.to_wire()),
                Some(Err(status)) => refuse(status),
                None => refuse(Status::new(Code::InvalidArgument, "the signing request did not come in time")),
            }
        }
        _ => refuse(Status::new(Code::Unimplemented, format!("{called} is not served"))),
    }
}

/// Signs for whom the token proves (a join token, or one that the API server knows), or, without a token, for whom the caller's certificate does.
async fn sign(inner: &Inner, caller: &Caller, body: Incoming) -> Result<CertificateResponse, Status> {
    let message = Messages::new(body, SIGN_BYTES).next().await?;
    let message = message.ok_or_else(|| Status::new(Code::InvalidArgument, "no signing request"))?;
    let request = CertificateRequest::from_wire(&message)
        .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))?;
    let by_token = match (inner.proven_by(&request.token), &inner.review) {
        (None, Some(review)) if !request.token.is_empty() => {
            Some(review.proven_by(&request.token).await.map_err(|error| match error {
                ReviewError::Unproven(_) => Status::new(Code::Unauthenticated, error.to_string()),
                ReviewError::Away(_) => Status::new(Code::Unavailable, error.to_string()),
            })?)
        }
        (proven, _) => proven,
    };
    let proven = match (&by_token, &caller.identity) {
        (Some(identity), _) => identity.as_str(),
        (None, Some(identity)) if request.token.is_empty() => identity,
        (None, _) => return Err(Status::new(Code::Unauthenticated, AuthorityError::UnknownToken.to_string())),
    };
    let issued = inner.authority.sign(&request.csr_der, proven).map_err(|error| match error {
        AuthorityError::BadRequest(_) => Status::new(Code::InvalidArgument, error.to_string()),
        AuthorityError::WrongIdentity { .. } => Status::new(Code::PermissionDenied, error.to_string()),
        AuthorityError::UnknownToken => Status::new(Code::Unauthenticated, error.to_string()),
        AuthorityError::Crypto(_) | AuthorityError::Changing { .. } => Status::new(Code::Internal, error.to_string()),
    })?;
    inner.record(&ControlRecord::Signed { identity: proven.to_owned(), not_after_s: issued.not_after_s });
    Ok(CertificateResponse {
        chain: issued.chain.into_iter().map(Bytes::from).collect(),
        roots: inner.authority.roots().into_iter().map(Bytes::from).collect(),
        not_after_s: issued.not_after_s,
    })
}

/// Begins a mesh stream: a task reads what the proxy says, the response body tells it what it should have.
fn stream(inner: &Arc<Inner>, running: &Arc<Running>, identity: &Arc<str>, body: Incoming) -> Response<BoxBody> {
    let stream = inner.pushes.open(identity);
    let open = Open { inner: Arc::clone(inner), stream: Arc::clone(&stream), trailers: false };
    let inner = Arc::clone(inner);
    running.spawn(&Arc::clone(&inner), "control stream", async move {
        let mut messages = Messages::new(body, REQUEST_BYTES);
        let status = loop {
            match messages.next().await {
                Ok(Some(message)) => match inner.pushes.on_message(&stream, &message) {
                    Ok(records) => inner.record_all(&records),
                    Err(status) => {
                        let peer = stream.peer().to_string();
                        inner.record(&ControlRecord::Refused { peer, why: status.message.clone() });
                        break status;
                    }
                },
                Ok(None) => break Status::ok(),
                Err(status) => break status,
            }
        };
        stream.end(status);
    });
    grpc::response(BoxBody::new(open))
}

/// The response body of an open stream. When it is dropped, the stream is gone.
struct Open {
    inner: Arc<Inner>,
    stream: Arc<Stream>,
    trailers: bool,
}

impl Body for Open {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.trailers {
            return Poll::Ready(None);
        }
        match self.stream.next(cx.waker()) {
            Next::Message(message) => Poll::Ready(Some(Ok(Frame::data(frame(&message))))),
            Next::End(status) => {
                self.trailers = true;
                Poll::Ready(Some(Ok(Frame::trailers(status.headers()))))
            }
            Next::Wait => Poll::Pending,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let records = self.inner.pushes.close(&self.stream);
        self.inner.record_all(&records);
    }
}
