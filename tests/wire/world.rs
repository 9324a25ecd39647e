//! A proxy between the client and the upstream of a row, in the event engine and on real sockets of this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall_net::http::ServeLimits;
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after};
use squall_policy::{
    BackendName, BackendPolicy, Endpoint, Instant, Mesh, PathMatch, Protocol, Rng, Route, RouteMatch, RouteTimeouts,
    VirtualHost, WeightedBackend,
};
use squall_proxy::{IdentitySource, Node, Proxy, ProxyConfig, Record, Recorder, Source};
use squall_sim::engine::{Boot, Engine as _, EventEngine, HostSpec};

use crate::client::{self, Elsewhere};
use crate::row::Row;
use crate::upstream::Upstream;

/// Any port of the own machine.
pub const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Longer than any row takes.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How often a peer looks at the other.
pub const TICK: Duration = Duration::from_millis(1);
/// How long requests that nobody ends may hold up the end of a row.
const DRAIN: Duration = Duration::from_millis(200);

struct Deaf;

impl Recorder for Deaf {
    fn record(&self, _: Instant, _: &Record<'_>) {}
}

struct Rest<'r> {
    host: &'r Host,
    upstream: &'r Upstream,
    proxy: Arc<Proxy>,
}

impl Elsewhere for Rest<'_> {
    fn upstream_heads(&self) -> usize {
        self.upstream.heads()
    }

    fn upstream_ends(&self) -> usize {
        self.upstream.ends()
    }

    fn drain(&self) {
        let proxy = Arc::clone(&self.proxy);
        self.host.spawn("drain", async move { proxy.drain(PATIENCE).await });
    }
}

/// Runs the row on a host: `Err` says what was expected and what came.
async fn run(host: Host, row: Row) -> Result<(), String> {
    let (upstream, at) = Upstream::start(&host, &row).await;
    let mut mesh = mesh(row.upstream, at);
    (row.mesh)(&mut mesh);
    let mut limits = ServeLimits::default();
    (row.limits)(&mut limits);
    let proxy = Arc::new(Proxy::start(&host, config(mesh, limits)).await.expect("a free port"));
    proxy.ready().await;
    let rest = Rest { host: &host, upstream: &upstream, proxy: Arc::clone(&proxy) };
    let got = client::run(&host, proxy.outbound().expect("asked for"), &row, &rest).await;
    // Whatever the proxy was about to do is done: nothing of a row is seen too late.
    proxy.drain(DRAIN).await;
    proxy.closed().await;
    drop((rest, proxy));
    let until = host.now() + PATIENCE;
    while !upstream.is_over() && host.now() < until {
        after(host.clock().as_ref(), TICK).await;
    }
    let seen = upstream.told();
    if seen == row.seen && got == row.got {
        return Ok(());
    }
    let (claim, section) = (row.claim, row.section);
    Err(format!(
        "RFC {section}: {claim}\n  upstream saw {seen}\n        wanted {}\n    client got {got}\n        wanted {}",
        row.seen, row.got
    ))
}

/// On real sockets.
pub fn real(row: &Row) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(Tcp::host_with(Rng::from_seed(1)), row.clone()))
}

/// In the simulator; also what it did, as a number.
pub fn event(row: &Row) -> (Result<(), String>, u64) {
    let mut engine = EventEngine::new(1, Duration::from_secs(1_767_225_600));
    let verdict = Arc::new(Mutex::new(None));
    let (row, noted) = (row.clone(), Arc::clone(&verdict));
    let boot: Boot = Arc::new(move |host: Host| {
        let (row, noted) = (row.clone(), Arc::clone(&noted));
        Box::pin(async move {
            let verdict = run(host, row).await;
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        })
    });
    engine.add_host(HostSpec {
        name: "all".into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        boot,
        clock_ahead: Duration::ZERO,
        cpu_per_poll: Duration::ZERO,
    });
    let end = engine.now() + PATIENCE * 5;
    let verdict = || verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut result = None;
    while result.is_none() && engine.now() < end {
        let until = engine.now() + Duration::from_millis(50);
        if let Err(error) = engine.run(until) {
            result = Some(Err(format!("the world stopped: {error}")));
        } else {
            result = verdict();
        }
    }
    (result.unwrap_or_else(|| Err("it does not end".into())), engine.trace().digest().hash)
}

fn config(mesh: Mesh, limits: ServeLimits) -> ProxyConfig {
    ProxyConfig {
        node: Node {
            ip: LOCAL.ip(),
            pod: "app-0".into(),
            namespace: "shop".into(),
            service_account: "app".into(),
            zone: String::new(),
            labels: BTreeMap::new(),
        },
        outbound: Some(LOCAL),
        inbound: Vec::new(),
        streams: Vec::new(),
        entrances: Vec::new(),
        certificates: Default::default(),
        interception: None,
        detect_timeout: Duration::from_secs(10),
        handshakes: 1_000,
        source: Source::Static(Box::new(mesh)),
        identity: IdentitySource::None,
        key_algorithm: KeyAlgorithm::P256,
        limits,
        tracing: None,
        recorder: Arc::new(Deaf),
    }
}

/// A mesh in which `app` is one backend with one endpoint.
fn mesh(protocol: Protocol, at: SocketAddr) -> Mesh {
    let backend = BackendName::new("shop", "app", 80);
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
        backends: vec![WeightedBackend { backend: backend.clone(), weight: 1 }],
        timeouts: RouteTimeouts::default(),
        retry: None,
        fault: None,
        redirect: None,
    };
    let endpoint = Endpoint {
        address: at,
        name: "app-0".into(),
        zone: "".into(),
        weight: 1,
        identity: "".into(),
        draining: false,
    };
    Mesh {
        hosts: vec![VirtualHost {
            name: "shop/app:80".into(),
            domains: vec!["app".into(), "app:80".into()],
            routes: vec![route],
        }],
        backends: BTreeMap::from([(backend.clone(), BackendPolicy { protocol, ..BackendPolicy::default() })]),
        endpoints: BTreeMap::from([(backend, vec![endpoint])]),
        ..Mesh::default()
    }
}
