//! A little mesh on loopback: origins, proxies, clients, and what the proxies told.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use squall_net::http::{BodyError, BoxBody, Incoming, Sender, ServeLimits, Version};
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after};
use squall_policy::{
    BackendName, BackendPolicy, Balancing, Endpoint, Inbound, Instant, Limits, Mesh, PathMatch, Protocol, RetryPolicy,
    Rng, Route, RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};
use squall_proxy::{IdentitySource, InboundListener, Node, Proxy, ProxyConfig, Record, Recorder, Source};

/// Everything in a test ends within this.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a test in a world of its own. It must end by itself.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let host = squall_net::tcp::Tcp::host_with(Rng::from_seed(1));
        let until = host.now() + LIMIT;
        let done = squall_net::timeout(host.clock().as_ref(), until, test(host.clone())).await;
        assert!(done.is_some(), "the test did not end within {LIMIT:?}");
    });
}

/// The own machine, any port.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a proxy told, as text.
#[derive(Default)]
pub(crate) struct Story(pub(crate) Mutex<Vec<String>>);

impl Recorder for Story {
    fn record(&self, _at: Instant, record: &Record<'_>) {
        self.0.lock().expect("no panic while locked").push(format!("{record:?}"));
    }
}

impl Story {
    /// Lines that contain `word`.
    pub(crate) fn lines(&self, word: &str) -> Vec<String> {
        self.0.lock().expect("no panic while locked").iter().filter(|line| line.contains(word)).cloned().collect()
    }

    pub(crate) fn count(&self, word: &str) -> usize {
        self.lines(word).len()
    }

    /// Waits until a line contains `word`.
    pub(crate) async fn saw(&self, host: &Host, word: &str) {
        while self.count(word) == 0 {
            after(host.clock().as_ref(), Duration::from_millis(1)).await;
        }
    }
}

/// Waits until it is so.
pub(crate) async fn until(host: &Host, what: impl Fn() -> bool) {
    while !what() {
        after(host.clock().as_ref(), Duration::from_millis(1)).await;
    }
}

pub(crate) fn text(text: impl Into<Bytes>) -> BoxBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn empty() -> BoxBody {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is sent piece by piece, as its other end says.
pub(crate) struct Pipe(tokio::sync::mpsc::Sender<Result<Frame<Bytes>, BodyError>>);

impl Pipe {
    pub(crate) fn new() -> (Self, BoxBody) {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        (Self(sender), PipeBody(receiver).boxed_unsync())
    }

    pub(crate) async fn send(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(data.into()))).await.is_ok()
    }

    pub(crate) async fn trailers(&self, trailers: HeaderMap) {
        let _ = self.0.send(Ok(Frame::trailers(trailers))).await;
    }

    pub(crate) async fn fail(self) {
        let _ = self.0.send(Err("on purpose".into())).await;
    }
}

struct PipeBody(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, BodyError>>);

impl Body for PipeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.poll_recv(cx)
    }
}

pub(crate) fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
        .collect()
}

/// A server that answers with `service`.
pub(crate) async fn origin<F>(
    host: &Host,
    service: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = Result<Response<BoxBody>, BodyError>> + Send + 'static,
{
    let mut listener = host.net().listen(ANY).await.expect("a free port");
    let at = listener.local();
    let of_task = host.clone();
    host.spawn("origin", async move {
        while let Ok(accepted) = listener.accept().await {
            let (host, service) = (of_task.clone(), service.clone());
            of_task.spawn("origin connection", async move {
                let never = std::future::pending();
                let limits = ServeLimits::default();
                let _ = squall_net::http::serve(&host, accepted.conn, None, limits, service, never).await;
            });
        }
    });
    at
}

/// Answers with the request's body and trailers, and its head in headers.
pub(crate) async fn echo(request: Request<Incoming>) -> Result<Response<BoxBody>, BodyError> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body.map_err(BodyError::from).boxed_unsync());
    for (name, value) in &head.headers {
        response
            .headers_mut()
            .append(http::HeaderName::from_bytes(format!("saw-{name}").as_bytes()).expect("a name"), value.clone());
    }
    for name in ["trailer", "content-type"] {
        if let Some(value) = head.headers.get(name) {
            response.headers_mut().insert(http::HeaderName::from_static(name), value.clone());
        }
    }
    let line = format!("{:?} {} {}", head.version, head.method, head.uri);
    response.headers_mut().insert("saw-line", line.parse().expect("visible"));
    Ok(response)
}

/// The one backend of most tests.
pub(crate) fn backend() -> BackendName {
    BackendName::new("shop", "app", 80)
}

pub(crate) fn endpoint(address: SocketAddr, name: &str, identity: &str) -> Endpoint {
    Endpoint { address, name: name.into(), zone: "".into(), weight: 1, identity: identity.into(), draining: false }
}

/// A mesh in which `app` is one backend with these endpoints, in turn.
pub(crate) fn mesh(protocol: Protocol, endpoints: &[SocketAddr]) -> Mesh {
    let route = Route {
        name: "shop/app rule 0".into(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        backends: vec![WeightedBackend { backend: backend(), weight: 1 }],
        timeouts: RouteTimeouts::default(),
        retry: None,
        fault: None,
        redirect: None,
    };
    let policy = BackendPolicy { protocol, balancing: Balancing::RoundRobin, ..BackendPolicy::default() };
    let named = endpoints.iter().enumerate().map(|(n, at)| endpoint(*at, &format!("app-{n}"), ""));
    Mesh {
        hosts: vec![VirtualHost {
            name: "shop/app:80".into(),
            domains: vec!["app".into(), "app:80".into()],
            routes: vec![route],
        }],
        backends: BTreeMap::from([(backend(), policy)]),
        endpoints: BTreeMap::from([(backend(), named.collect())]),
        ..Mesh::default()
    }
}

/// A mesh in which the application at `port` is served.
pub(crate) fn inbound_mesh(port: u16, protocol: Protocol) -> Mesh {
    Mesh {
        inbound: BTreeMap::from([(
            port,
            Inbound {
                limits: Limits::default(),
                rate: None,
                protocol,
                detect: false,
                access: Default::default(),
                peers: None,
            },
        )]),
        ..Mesh::default()
    }
}

/// The one route of [`mesh`].
pub(crate) fn route(mesh: &mut Mesh) -> &mut Route {
    &mut mesh.hosts[0].routes[0]
}

/// The policy of the one backend of [`mesh`].
pub(crate) fn policy(mesh: &mut Mesh) -> &mut BackendPolicy {
    mesh.backends.get_mut(&backend()).expect("made by `mesh`")
}

pub(crate) fn retry(retries: u32, on: &[squall_policy::RetryOn]) -> RetryPolicy {
    RetryPolicy {
        retries,
        on: on.to_vec(),
        backoff: squall_policy::Backoff {
            first: Duration::from_millis(1),
            last: Duration::from_millis(1),
            jitter: squall_policy::Jitter::None,
        },
        non_idempotent: false,
        buffer_bytes: 64 * 1024,
    }
}

pub(crate) fn config(story: &Arc<Story>, mesh: Mesh) -> ProxyConfig {
    ProxyConfig {
        node: Node {
            ip: ANY.ip(),
            pod: "app-0".into(),
            namespace: "shop".into(),
            service_account: "app".into(),
            zone: String::new(),
            labels: BTreeMap::new(),
        },
        outbound: None,
        inbound: Vec::new(),
        streams: Vec::new(),
        entrances: Vec::new(),
        certificates: BTreeMap::new(),
        interception: None,
        detect_timeout: Duration::from_secs(10),
        handshakes: 1_000,
        source: Source::Static(Box::new(mesh)),
        identity: IdentitySource::None,
        key_algorithm: KeyAlgorithm::P256,
        limits: ServeLimits::default(),
        tracing: None,
        recorder: Arc::clone(story) as Arc<dyn Recorder>,
    }
}

/// A proxy with an outbound side, and what it tells.
pub(crate) async fn outbound(host: &Host, mesh: Mesh) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let proxy = Proxy::start(host, ProxyConfig { outbound: Some(ANY), ..config(&story, mesh) }).await;
    let proxy = proxy.expect("starts");
    proxy.ready().await;
    let at = proxy.outbound().expect("asked for");
    (proxy, at, story)
}

/// A proxy in front of the application at `app`.
pub(crate) async fn inbound(
    host: &Host,
    app: SocketAddr,
    protocol: Protocol,
    identity: IdentitySource,
) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let config = ProxyConfig {
        inbound: vec![InboundListener { listen: ANY, mutual_tls: true, app }],
        identity,
        ..config(&story, inbound_mesh(app.port(), protocol))
    };
    let proxy = Proxy::start(host, config).await.expect("starts");
    proxy.ready().await;
    let at = proxy.inbound()[0];
    (proxy, at, story)
}

/// A client connection.
pub(crate) async fn client(host: &Host, at: SocketAddr, version: Version) -> Sender<BoxBody> {
    let conn = host.net().connect(at).await.expect("somebody listens");
    squall_net::http::connect(host, conn, version).await.expect("HTTP")
}

/// A request to `app`, in the form that `version` needs.
pub(crate) fn request(version: Version, method: &str, path: &str, body: BoxBody) -> Request<BoxBody> {
    let request = Request::builder().method(method);
    let request = match version {
        Version::Http1 => request.uri(path).header("host", "app"),
        Version::Http2 => request.uri(format!("http://app{path}")).version(http::Version::HTTP_2),
    };
    request.body(body).expect("a request")
}

/// One GET over a connection of its own.
pub(crate) async fn get(host: &Host, at: SocketAddr, path: &str) -> Response<Bytes> {
    let mut client = client(host, at, Version::Http1).await;
    whole(client.send(request(Version::Http1, "GET", path, empty())).await.expect("an answer")).await
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response<Incoming>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.expect("a whole body").to_bytes())
}

/// A header of an answer as text; empty if it is not there.
pub(crate) fn header<'r, T>(response: &'r Response<T>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("ascii"))
}

/// A body of these frames.
pub(crate) fn frames(frames: Vec<Frame<Bytes>>) -> BoxBody {
    Frames(frames.into_iter()).boxed_unsync()
}

struct Frames(std::vec::IntoIter<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        std::task::Poll::Ready(self.0.next().map(Ok))
    }
}
