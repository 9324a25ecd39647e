//! Traces in the simulated world, where a collector may be slow, busy or gone for as long as it takes: requests do not notice, and
//! every span is exported or counted as lost.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use squall_net::http::{BodyError, Incoming, ServeLimits, Version};
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after};
use squall_policy::{
    BackendName, BackendPolicy, Endpoint, Instant, Mesh, PathMatch, Route, RouteMatch, RouteTimeouts, VirtualHost,
    WeightedBackend,
};
use squall_proxy::{
    Collector, Exporter, IdentitySource, Node, Proxy, ProxyConfig, Record, Recorder, Sampling, Several, Source,
};
use squall_sim::engine::{Boot, Engine as _, EventEngine, HostSpec};
use squall_xds::otlp::{ExportTraces, ExportedTraces, PartialSuccess};

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Longer than any test takes, of simulated time.
const LIMIT: Duration = Duration::from_secs(600);

/// What the exporter told, counted.
#[derive(Default)]
struct Told(Mutex<BTreeMap<&'static str, u64>>);

impl Recorder for Told {
    fn record(&self, _: Instant, record: &Record<'_>) {
        let mut told = self.0.lock().expect("no panic while locked");
        if let Record::SpansExported { spans } = record {
            *told.entry("exported").or_default() += spans;
        } else if let Record::SpansDropped { spans, why } = record {
            *told.entry(why).or_default() += spans;
        } else if let Record::CollectorFailed { .. } = record {
            *told.entry("failures").or_default() += 1;
        }
    }
}

/// How a collector behaves.
#[derive(Clone, Default)]
struct Behaviour {
    /// Answers before it does better.
    statuses: Vec<u16>,
    /// Spans of a batch that it does not want.
    rejects: i64,
    /// It takes connections and never says a word.
    silent: bool,
    /// It does not listen.
    gone: bool,
}

/// What a run came to: what was told, the batches a collector got, the longest request, and the hash of all that happened.
type Outcome = (BTreeMap<&'static str, u64>, Vec<Vec<u8>>, Duration, u64);

/// `requests` requests, one after the other, through a sidecar that samples all; then `rest` passes, and the sidecar ends.
fn run(behaviour: Behaviour, requests: usize, rest: Duration) -> Outcome {
    let mut engine = EventEngine::new(1, Duration::from_secs(1_767_225_600));
    let outcome = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&outcome);
    let boot: Boot = Arc::new(move |host: Host| {
        let (behaviour, noted) = (behaviour.clone(), Arc::clone(&noted));
        Box::pin(async move {
            let found = story(host, behaviour, requests, rest).await;
            *noted.lock().expect("no panic while locked") = Some(found);
        })
    });
    engine.add_host(HostSpec {
        name: "all".into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
        boot,
        clock_ahead: Duration::ZERO,
        cpu_per_poll: Duration::from_micros(1),
    });
    let end = engine.now() + LIMIT;
    while engine.now() < end {
        let until = engine.now() + Duration::from_secs(1);
        engine.run(until).expect("the world goes on");
        if let Some((told, batches, longest)) = outcome.lock().expect("no panic while locked").take() {
            return (told, batches, longest, engine.trace().digest().hash);
        }
    }
    panic!("it does not end within {LIMIT:?}");
}

async fn story(
    host: Host,
    behaviour: Behaviour,
    requests: usize,
    rest: Duration,
) -> (BTreeMap<&'static str, u64>, Vec<Vec<u8>>, Duration) {
    let app = serve(&host, |_| Box::pin(async { Ok(Response::new(Full::from("hello"))) })).await;
    let batches = Arc::new(Mutex::new(Vec::new()));
    let collector = collector(&host, behaviour, &batches).await;
    let node = Node {
        ip: LOCAL.ip(),
        pod: "front-0".into(),
        namespace: "shop".into(),
        service_account: "front".into(),
        zone: "a".into(),
        labels: BTreeMap::new(),
    };
    let told = Arc::<Told>::default();
    let exporter = Exporter::start(&host, collector, &node, Arc::clone(&told) as _);
    let config = ProxyConfig {
        node,
        outbound: Some(LOCAL),
        inbound: Vec::new(),
        streams: Vec::new(),
        entrances: Vec::new(),
        certificates: Default::default(),
        interception: None,
        detect_timeout: Duration::from_secs(10),
        handshakes: 1_000,
        source: Source::Static(Box::new(mesh(app))),
        identity: IdentitySource::None,
        key_algorithm: KeyAlgorithm::P256,
        limits: ServeLimits::default(),
        tracing: Sampling::new(1_000_000),
        recorder: Arc::new(Several::new(vec![exporter.spans() as Arc<dyn Recorder>])),
    };
    let proxy = Proxy::start(&host, config).await.expect("starts");
    proxy.ready().await;
    let conn = host.net().connect(proxy.outbound().expect("asked for")).await.expect("it listens");
    let mut client = squall_net::http::connect(&host, conn, Version::Http1).await.expect("HTTP");
    let mut longest = Duration::ZERO;
    for _ in 0..requests {
        let asked = host.now();
        let request = Request::get("/items").header("host", "app").body(Full::<Bytes>::default()).expect("a request");
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.into_body().collect().await.expect("a whole body").to_bytes(), "hello");
        longest = longest.max(host.now().since(asked));
    }
    after(host.clock().as_ref(), rest).await;
    drop(client);
    proxy.drain(Duration::ZERO).await;
    exporter.flush(Duration::from_secs(3)).await;
    let told = told.0.lock().expect("no panic while locked").clone();
    let batches = batches.lock().expect("no panic while locked").clone();
    (told, batches, longest)
}

async fn collector(host: &Host, behaviour: Behaviour, batches: &Arc<Mutex<Vec<Vec<u8>>>>) -> Collector {
    let at = if behaviour.silent || behaviour.gone {
        let mut listener = host.net().listen(LOCAL).await.expect("a free port");
        let at = listener.local();
        if behaviour.silent {
            host.spawn("silent", async move {
                let mut kept = Vec::new();
                while let Ok(accepted) = listener.accept().await {
                    kept.push(accepted.conn);
                }
            });
        }
        at
    } else {
        let (batches, rejects) = (Arc::clone(batches), behaviour.rejects);
        let statuses = Arc::new(Mutex::new(behaviour.statuses));
        serve(host, move |request| {
            let (batches, statuses) = (Arc::clone(&batches), Arc::clone(&statuses));
            Box::pin(async move {
                assert_eq!(request.uri().path(), "/v1/traces");
                let bytes = request.into_body().collect().await?.to_bytes().to_vec();
                let status = statuses.lock().expect("no panic while locked").pop();
                if let Some(status) = status {
                    return Ok(Response::builder().status(status).body(Full::default())?);
                }
                batches.lock().expect("no panic while locked").push(bytes);
                let partial = PartialSuccess { rejected_spans: rejects, error_message: String::new() };
                let answer = ExportedTraces { partial_success: (rejects > 0).then_some(partial) };
                Ok(Response::new(Full::from(answer.encode())))
            })
        })
        .await
    };
    Collector::parse(&format!("http://{at}")).expect("a URL")
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, BodyError>> + Send>>;

async fn serve(
    host: &Host,
    service: impl Fn(Request<Incoming>) -> Answering + Clone + Send + Sync + 'static,
) -> SocketAddr {
    let mut listener = host.net().listen(LOCAL).await.expect("a free port");
    let (at, of_task) = (listener.local(), host.clone());
    host.spawn("server", async move {
        while let Ok(accepted) = listener.accept().await {
            let (host, service) = (of_task.clone(), service.clone());
            of_task.spawn("server connection", async move {
                let limits = ServeLimits::default();
                let _ =
                    squall_net::http::serve(&host, accepted.conn, None, limits, service, std::future::pending()).await;
            });
        }
    });
    at
}

fn mesh(at: SocketAddr) -> Mesh {
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
        hosts: vec![VirtualHost { name: "shop/app:80".into(), domains: vec!["app".into()], routes: vec![route] }],
        backends: BTreeMap::from([(backend.clone(), BackendPolicy::default())]),
        endpoints: BTreeMap::from([(backend, vec![endpoint])]),
        ..Mesh::default()
    }
}

fn told(pairs: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
    pairs.iter().copied().collect()
}

#[test]
fn the_same_seed_makes_the_same_spans_at_the_same_times() {
    let first = run(Behaviour::default(), 5, Duration::ZERO);
    assert_eq!(first, run(Behaviour::default(), 5, Duration::ZERO));
    assert_eq!(first.0, told(&[("exported", 10)]));
    let request = ExportTraces::decode(&first.1[0]).expect("OTLP");
    let words: Vec<&str> = request.resource_spans[0]
        .resource
        .iter()
        .flat_map(|resource| &resource.attributes)
        .filter_map(|attribute| attribute.value.as_ref()?.string_value.as_deref())
        .collect();
    assert_eq!(words[..5], ["front", "shop", "front-0", "shop", "front-0"]);
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.start_time_unix_nano / 1_000_000_000, 1_767_225_600, "by the world's own clock");
}

#[test]
fn spans_go_by_themselves_after_a_while_and_at_once_when_there_are_many() {
    let few = run(Behaviour::default(), 5, Duration::from_secs(6));
    assert_eq!((few.0, few.1.len()), (told(&[("exported", 10)]), 1));
    let many = run(Behaviour::default(), 300, Duration::ZERO);
    let sizes = many.1.iter().map(|bytes| {
        let request = ExportTraces::decode(bytes).expect("OTLP");
        request.resource_spans[0].scope_spans[0].spans.len()
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [256, 256, 88]);
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let rest = Duration::from_secs(120);
    for (statuses, rejects, want) in [
        (vec![503, 429], 0, &[("exported", 2), ("failures", 2)][..]),
        (vec![502, 504, 503, 503], 0, &[("exported", 2), ("failures", 4)]),
        (vec![503; 5], 0, &[("collector", 2), ("failures", 5)]),
        (vec![400], 0, &[("rejected", 2), ("failures", 1)]),
        (vec![404], 0, &[("rejected", 2), ("failures", 1)]),
        (vec![], 1, &[("rejected", 1), ("exported", 1)]),
    ] {
        let shown = format!("{statuses:?} {rejects}");
        let behaviour = Behaviour { statuses, rejects, ..Behaviour::default() };
        assert_eq!(run(behaviour, 1, rest).0, told(want), "{shown}");
    }
}

#[test]
fn a_collector_that_is_silent_or_gone_delays_no_request_and_every_span_is_accounted_for() {
    let quick = run(Behaviour::default(), 1500, Duration::ZERO).2;
    for behaviour in
        [Behaviour { silent: true, ..Behaviour::default() }, Behaviour { gone: true, ..Behaviour::default() }]
    {
        // Two spans each: 256 are on their way, 2,048 wait, the others find no room.
        let (lost, batches, longest, _) = run(behaviour.clone(), 1500, Duration::ZERO);
        assert!(batches.is_empty());
        assert_eq!(lost["queue"] + lost["collector"], 3000, "{lost:?}");
        assert!(longest <= quick, "as quick as beside a collector that takes all");
        // It goes on trying, and gives up what it has tried for long enough.
        let (later, ..) = run(behaviour, 100, Duration::from_secs(200));
        assert_eq!(later["collector"], 200, "{later:?}");
    }
}
