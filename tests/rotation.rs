//! The root of a mesh is changed under load, and no request fails: in the simulator, in hours of virtual time, and on real sockets
//! with certificates that live for seconds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use squall_control::{
    Authority, CONTROL_ID, Control, ControlConfig, ControlRecord, ControlRecorder, Registry, Resources, spiffe_id,
};
use squall_net::http::{BodyError, Incoming, ServeLimits, Version, connect, serve};
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after};
use squall_policy::{Instant, Rng};
use squall_proxy::{
    ControlSource, IdentitySource, InboundListener, Node, Proxy, ProxyConfig, Record, Recorder, Source,
};
use squall_sim::engine::{Boot, Engine as _, EventEngine, HostSpec};

/// Any port of the own machine.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const TOKENS: [(&str, &str); 2] = [("0123456789abcdef0", "front"), ("0123456789abcdef1", "stock")];

/// How quick the world is.
#[derive(Clone, Copy)]
struct Pace {
    /// Of a certificate.
    life: Duration,
    /// Between two requests.
    step: Duration,
    /// How long a connection is kept for the next request: less than a step, so that each has a handshake of its own.
    kept: &'static str,
}

/// Where the control plane listens, and how many certificates it has signed.
#[derive(Default)]
struct Told(Mutex<(Option<SocketAddr>, usize)>);

impl Told {
    fn with<T>(&self, act: impl FnOnce(&mut (Option<SocketAddr>, usize)) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ControlRecorder for Told {
    fn record(&self, _: Instant, record: &ControlRecord) {
        if let ControlRecord::Listening { at } = record {
            self.with(|told| told.0 = Some(*at));
        } else if let ControlRecord::Signed { .. } = record {
            self.with(|told| told.1 += 1);
        }
    }
}

/// Counts connections that were made for requests.
#[derive(Default)]
struct Handshakes(Mutex<usize>);

impl Recorder for Handshakes {
    fn record(&self, _: Instant, record: &Record<'_>) {
        if let Record::Connected { reused: false, .. } = record {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
    }
}

fn resources(port: u16, pace: Pace) -> Resources {
    let text = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: stock, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: stock
  namespace: shop
  labels: {{kubernetes.io/service-name: stock}}
  annotations: {{squall.dev/service-account: stock}}
addressType: IPv4
ports: [{{port: {port}}}]
endpoints: [{{addresses: [127.0.0.1], targetRef: {{kind: Pod, name: stock-0}}}}]
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: stock, namespace: shop}}
spec:
  targetRefs: [{{group: '', kind: Service, name: stock}}]
  timeouts: {{poolIdle: {}}}
",
        pace.kept
    );
    Resources::read(&[("mesh.yaml", &text)]).expect("no mistake")
}

async fn until(host: &Host, what: impl Fn() -> bool) {
    while !what() {
        after(host.clock().as_ref(), Duration::from_millis(1)).await;
    }
}

async fn application(host: &Host) -> SocketAddr {
    let mut listener = host.net().listen(ANY).await.expect("a free port");
    let (at, of_task) = (listener.local(), host.clone());
    host.spawn("application", async move {
        while let Ok(accepted) = listener.accept().await {
            let host = of_task.clone();
            of_task.spawn("application connection", async move {
                let answer = |_: Request<Incoming>| async { Ok::<_, BodyError>(Response::new(Empty::<Bytes>::new())) };
                let never = std::future::pending();
                let _ = serve(&host, accepted.conn, None, ServeLimits::default(), answer, never).await;
            });
        }
    });
    at
}

async fn status(host: &Host, at: SocketAddr) -> u16 {
    let conn = host.net().connect(at).await.expect("the proxy listens");
    let mut client = connect(host, conn, Version::Http1).await.expect("HTTP");
    let request = Request::get("/").header("host", "stock").body(Empty::<Bytes>::new()).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let status = response.status().as_u16();
    response.into_body().collect().await.expect("a whole body");
    status
}

/// The world, in which the root is changed while requests go on; says what it saw.
async fn run(host: Host, pace: Pace) -> String {
    let authority = Authority::new(KeyAlgorithm::Ed25519, Arc::clone(host.wall()), host.rng("authority"), pace.life);
    let authority = Arc::new(authority.expect("a root"));
    let told = Arc::<Told>::default();
    let control = Control::new(
        host.clone(),
        ControlConfig {
            listen: ANY,
            resources: Resources::default(),
            registry: Arc::new(Registry::new()),
            authority: Arc::clone(&authority),
            tokens: TOKENS.iter().map(|(token, name)| ((*token).to_owned(), spiffe_id("shop", name))).collect(),
            review: None,
            recorder: Arc::clone(&told) as _,
        },
    );
    let running = control.clone();
    host.spawn("control", async move {
        let _ = running.run().await;
    });
    until(&host, || told.with(|told| told.0.is_some())).await;
    let control_at = told.with(|told| told.0).expect("waited for");
    let old = authority.roots();
    let handshakes = Arc::<Handshakes>::default();
    let config = |(token, name): (&str, &str), roots: Vec<Vec<u8>>| ProxyConfig {
        node: Node {
            ip: ANY.ip(),
            pod: format!("{name}-0"),
            namespace: "shop".into(),
            service_account: name.into(),
            zone: String::new(),
            labels: BTreeMap::new(),
        },
        outbound: None,
        inbound: Vec::new(),
        streams: Vec::new(),
        entrances: Vec::new(),
        certificates: Default::default(),
        interception: None,
        detect_timeout: Duration::from_secs(10),
        handshakes: 1_000,
        source: Source::Control(ControlSource {
            address: control_at,
            identity: CONTROL_ID.into(),
            roots,
            token: Some(Arc::new({
                let token = token.to_owned();
                move || Ok(token.clone())
            })),
        }),
        identity: IdentitySource::FromControl,
        key_algorithm: KeyAlgorithm::Ed25519,
        limits: ServeLimits::default(),
        tracing: None,
        recorder: Arc::clone(&handshakes) as _,
    };
    let app = application(&host).await;
    let inbound = vec![InboundListener { listen: ANY, mutual_tls: true, app }];
    let stock = Proxy::start(&host, ProxyConfig { inbound, ..config(TOKENS[1], old.clone()) }).await.expect("starts");
    let front = ProxyConfig { outbound: Some(ANY), ..config(TOKENS[0], old.clone()) };
    let front = Proxy::start(&host, front).await.expect("starts");
    stock.ready().await;
    front.ready().await;
    control.update(resources(stock.inbound()[0].port(), pace)).expect("it compiles");
    let at = front.outbound().expect("asked for");
    while status(&host, at).await != 200 {
        after(host.clock().as_ref(), Duration::from_millis(1)).await;
    }

    let (mut asked, mut latecomers) = (0, Vec::new());
    authority.change_root(host.rng("next root")).expect("none is being changed");
    let both = authority.roots();
    assert_eq!((both.len(), &both[..1]), (2, &old[..]));
    let mut ends: Option<Instant> = None;
    // For another life after the old root is forgotten: its last certificates have all been shown by then.
    while ends.is_none_or(|ends| host.now() < ends) {
        assert_eq!(status(&host, at).await, 200, "request {asked}");
        asked += 1;
        if asked % 40 == 0 {
            // Somebody who comes late, with the roots of his day.
            let late = ProxyConfig { outbound: Some(ANY), ..config(TOKENS[0], authority.roots()) };
            let late = Proxy::start(&host, late).await.expect("starts");
            late.ready().await;
            assert_eq!(status(&host, late.outbound().expect("asked for")).await, 200, "with request {asked}");
            latecomers.push(late);
        }
        if ends.is_none() && authority.changes_until().is_none() {
            ends = Some(host.now() + pace.life);
        }
        after(host.clock().as_ref(), pace.step).await;
    }
    assert_eq!(authority.roots(), both[1..]);
    let handshakes = *handshakes.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(handshakes > asked, "each request has a handshake of its own: {handshakes} of {asked}");
    let signed = told.with(|told| told.1);
    assert!(signed >= 2 * 5, "both proxies have renewed: {signed} certificates");
    for proxy in latecomers.iter().chain([&front, &stock]) {
        proxy.drain(Duration::ZERO).await;
    }
    format!("{asked} requests, {handshakes} handshakes, {signed} certificates")
}

#[test]
fn no_request_fails_while_the_root_is_changed_on_real_sockets() {
    let pace = Pace { life: Duration::from_secs(2), step: Duration::from_millis(20), kept: "5ms" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let story = runtime.block_on(run(Tcp::host_with(Rng::from_seed(1)), pace));
    assert!(story.contains("requests"), "{story}");
}

#[test]
fn no_request_fails_while_the_root_is_changed_in_the_simulator() {
    assert_eq!(simulated(), simulated(), "it happens the same way twice");
}

fn simulated() -> (String, u64) {
    let pace = Pace { life: Duration::from_secs(3600), step: Duration::from_secs(25), kept: "5s" };
    let mut engine = EventEngine::new(1, Duration::from_secs(1_767_225_600));
    let story = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&story);
    let boot: Boot = Arc::new(move |host: Host| {
        let noted = Arc::clone(&noted);
        Box::pin(async move {
            let story = run(host, pace).await;
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(story);
        })
    });
    engine.add_host(HostSpec {
        name: "all".into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        boot,
        clock_ahead: Duration::ZERO,
        cpu_per_poll: Duration::ZERO,
    });
    let end = engine.now() + pace.life * 5;
    loop {
        let until = engine.now() + pace.step;
        engine.run(until).expect("the world goes on");
        if let Some(story) = story.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return (story, engine.trace().digest().hash);
        }
        assert!(engine.now() < end, "it does not end");
    }
}
