//! A control plane of the smallest kind: signs what is asked for, pushes one mesh to all, and can be stopped.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use squall_net::http::{BodyError, BoxBody, Incoming, ServeLimits, Version};
use squall_net::tls::Acceptor;
use squall_net::{Host, Task};
use squall_policy::Mesh;
use squall_xds::{
    ADS_PATH, CertificateRequest, CertificateResponse, Deframer, Feed, FeedEvent, Resources, SIGN_PATH, encode, frame,
};
use tokio::sync::mpsc;

use crate::ca::Authority;
use crate::common::{Pipe, map};

pub(crate) const CONTROL: &str = "spiffe://cluster.local/ns/squall/sa/control";

pub(crate) struct Plane {
    host: Host,
    pub(crate) authority: Authority,
    /// How long the certificates it signs live.
    pub(crate) life_s: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    version: u64,
    resources: Resources,
    streams: Vec<mpsc::Sender<Told>>,
    tokens: Vec<String>,
    nodes: Vec<String>,
    nacks: Vec<String>,
    tasks: Vec<Task>,
}

enum Told {
    Request(Bytes),
    Changed,
}

impl Plane {
    pub(crate) fn new(host: &Host, mesh: &Mesh, life_s: u64) -> Arc<Self> {
        let state = State { version: 1, resources: encode(mesh), ..State::default() };
        Arc::new(Self { host: host.clone(), authority: Authority::new(), life_s, state: Mutex::new(state) })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().expect("no panic while locked"))
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.with(|state| state.tokens.clone())
    }

    pub(crate) fn nodes(&self) -> Vec<String> {
        self.with(|state| state.nodes.clone())
    }

    pub(crate) fn nacks(&self) -> Vec<String> {
        self.with(|state| state.nacks.clone())
    }

    pub(crate) fn push(&self, mesh: &Mesh) {
        self.push_resources(encode(mesh));
    }

    pub(crate) fn push_resources(&self, resources: Resources) {
        self.with(|state| {
            state.version += 1;
            state.resources = resources;
            state.streams.retain(|stream| stream.try_send(Told::Changed).is_ok());
        });
    }

    /// Listens and serves until it is stopped.
    pub(crate) async fn listen(self: &Arc<Self>, at: SocketAddr) -> SocketAddr {
        let mut listener = self.host.net().listen(at).await.expect("a free port");
        let at = listener.local();
        let acceptor = Acceptor::new(&self.host, &self.authority.identity(CONTROL), false, &[b"h2"]);
        let acceptor = acceptor.expect("a good identity");
        let plane = Arc::clone(self);
        let task = self.host.spawn("control", async move {
            while let Ok(accepted) = listener.accept().await {
                let (of_task, acceptor) = (Arc::clone(&plane), acceptor.clone());
                let task = plane.host.spawn("control connection", async move {
                    let Ok(secured) = acceptor.accept(accepted.conn).await else { return };
                    let of_service = Arc::clone(&of_task);
                    let service = move |request| Arc::clone(&of_service).answer(request);
                    let (version, limits) = (Some(Version::Http2), ServeLimits::default());
                    let never = std::future::pending();
                    let _ = squall_net::http::serve(&of_task.host, secured.conn, version, limits, service, never).await;
                });
                plane.with(|state| state.tasks.push(task));
            }
        });
        self.with(|state| state.tasks.push(task));
        at
    }

    /// Its process dies.
    pub(crate) fn stop(&self) {
        self.with(|state| {
            state.tasks.drain(..).for_each(|task| task.abort());
            state.streams.clear();
        });
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<BoxBody>, BodyError> {
        let (pipe, body) = Pipe::new();
        if request.uri().path() == SIGN_PATH {
            let message = request.into_body().collect().await?.to_bytes();
            let message = Deframer::new(1 << 20).push(&message)?.pop_front().expect("one message");
            let message = CertificateRequest::from_wire(&message)?;
            let now = self.host.wall().since_epoch().as_secs();
            let answer = CertificateResponse {
                chain: vec![self.authority.sign(&message.csr_der).into()],
                roots: vec![self.authority.root.clone().into()],
                not_after_s: now + self.life_s,
            };
            self.with(|state| state.tokens.push(message.token));
            self.host.spawn("control sign", async move {
                pipe.send(frame(&answer.to_wire())).await;
                pipe.trailers(map(&[("grpc-status", "0")])).await;
            });
        } else if request.uri().path() == ADS_PATH {
            let (told, inbox) = mpsc::channel(64);
            self.with(|state| state.streams.push(told.clone()));
            self.host.spawn("control read", async move {
                let (mut body, mut deframer) = (request.into_body(), Deframer::new(1 << 20));
                while let Some(Ok(data)) = body.frame().await {
                    let Ok(data) = data.into_data() else { continue };
                    for message in deframer.push(&data).expect("well framed") {
                        if told.send(Told::Request(message)).await.is_err() {
                            return;
                        }
                    }
                }
            });
            self.host.spawn("control write", Arc::clone(&self).feed(inbox, pipe));
        }
        Ok(Response::builder().header("content-type", "application/grpc").body(body)?)
    }

    async fn feed(self: Arc<Self>, mut inbox: mpsc::Receiver<Told>, pipe: Pipe) {
        let mut feed = Feed::new();
        let (version, resources) = self.with(|state| (state.version, state.resources.clone()));
        feed.set_resources(version, resources);
        while let Some(told) = inbox.recv().await {
            match told {
                Told::Request(message) => feed.on_message(&message).expect("ADS"),
                Told::Changed => {
                    let (version, resources) = self.with(|state| (state.version, state.resources.clone()));
                    feed.set_resources(version, resources);
                }
            }
            while let Some(event) = feed.poll_event() {
                self.with(|state| match event {
                    FeedEvent::Connected { node_id, .. } => state.nodes.push(node_id),
                    FeedEvent::Acked { .. } => {}
                    FeedEvent::Nacked { why, .. } => state.nacks.push(why),
                });
            }
            while let Some(message) = feed.poll_send() {
                if !pipe.send(frame(&message)).await {
                    return;
                }
            }
        }
    }
}
