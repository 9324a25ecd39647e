//! A gateway in the simulated world: manifests are compiled, a client of another host comes in over TLS, and a second run is the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ED25519};
use squall_control::{RegistrySnapshot, Resources, compile_gateway};
use squall_net::edge::{EdgeConnector, ServerCertificate};
use squall_net::http::{BodyError, Incoming, ServeLimits, Version};
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after, pem};
use squall_proxy::{Entrance, IdentitySource, Ignore, Node, Proxy, ProxyConfig, Source};
use squall_sim::engine::{Boot, Engine as _, EventEngine, HostSpec};
use tokio::io::AsyncReadExt as _;

const EDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const HTTP: SocketAddr = SocketAddr::new(EDGE, 8080);
const HTTPS: SocketAddr = SocketAddr::new(EDGE, 8443);
/// Longer than the test takes, of simulated time.
const LIMIT: Duration = Duration::from_secs(60);

/// Of the two endpoints one is nobody's.
const MESH: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80, appProtocol: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 9000}]
endpoints: [{addresses: [127.0.0.1]}, {addresses: [127.0.0.9]}]
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: \"\", kind: Service, name: web}]
  loadBalancing: {algorithm: RoundRobin}
  retries: {attempts: 1, on: [connect-failure]}
  tls: {mode: None}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: squall
  listeners:
    - {name: http, port: 80, protocol: HTTP}
    - {name: shop, port: 443, protocol: HTTPS, hostname: shop.example.com, tls: {certificateRefs: [{name: shop}]}}
    - {name: rest, port: 443, protocol: HTTPS, hostname: \"*.example.com\", tls: {certificateRefs: [{name: rest}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [shop.example.com, pay.example.com]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";

/// Certificates, made once for all runs.
struct Keys {
    root: Vec<u8>,
    certificates: BTreeMap<String, ServerCertificate>,
}

impl Keys {
    fn new() -> Self {
        // Good in the simulated world, whose clock begins in 2026.
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("the OS has entropy");
        let root = params.self_signed(&key).expect("a root of good parameters").der().to_vec();
        let issuer = Issuer::new(params, key);
        let certificate = |name: &str| {
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a good name");
            let key = KeyPair::generate_for(&PKCS_ED25519).expect("the OS has entropy");
            let leaf = params.signed_by(&key, &issuer).expect("a leaf of good parameters");
            ServerCertificate::from_pem(&pem::encode("CERTIFICATE", leaf.der()), &key.serialize_pem()).expect("a pair")
        };
        let certificates = [("shop/shop", "shop.example.com"), ("shop/rest", "*.example.com")];
        let certificates = certificates.map(|(name, host)| (name.to_owned(), certificate(host)));
        Self { root, certificates: BTreeMap::from(certificates) }
    }
}

/// The gateway, and an application beside it that answers with the head it was sent.
async fn edge(host: Host, keys: Arc<Keys>) {
    let mut app = host.net().listen(SocketAddr::from(([127, 0, 0, 1], 9000))).await.expect("a fresh host");
    let of_app = host.clone();
    host.spawn("app", async move {
        while let Ok(accepted) = app.accept().await {
            let host = of_app.clone();
            of_app.spawn("app connection", async move {
                let limits = ServeLimits::default();
                let never = std::future::pending();
                let _ = squall_net::http::serve(&host, accepted.conn, None, limits, told, never).await;
            });
        }
    });
    let resources = Resources::read(&[("mesh.yaml", MESH)]).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let mesh = compile_gateway(&resources, &RegistrySnapshot::default(), "shop", "edge");
    let config = ProxyConfig {
        node: Node {
            ip: EDGE,
            pod: "edge-0".into(),
            namespace: "shop".into(),
            service_account: "edge".into(),
            zone: String::new(),
            labels: BTreeMap::new(),
        },
        outbound: None,
        inbound: Vec::new(),
        streams: Vec::new(),
        entrances: [(HTTP, 80), (HTTPS, 443)]
            .map(|(listen, port)| Entrance { listen, port, proxy_protocol: false })
            .to_vec(),
        certificates: keys.certificates.clone(),
        interception: None,
        detect_timeout: Duration::from_secs(10),
        handshakes: 1_000,
        source: Source::Static(Box::new(mesh)),
        identity: IdentitySource::None,
        key_algorithm: KeyAlgorithm::Ed25519,
        limits: ServeLimits::default(),
        tracing: None,
        recorder: Arc::new(Ignore),
    };
    let proxy = Proxy::start(&host, config).await.expect("a fresh host's ports are free");
    proxy.closed().await;
}

async fn told(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BodyError> {
    let of = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let text = format!("{} {}", of("x-forwarded-proto"), of("x-forwarded-for"));
    Ok(Response::new(Full::from(text)))
}

/// What a client of another host sees, one line for each thing.
async fn client(host: Host, keys: &Keys) -> Vec<String> {
    let mut seen = Vec::new();
    while host.net().connect(HTTP).await.is_err() {
        after(host.clock().as_ref(), Duration::from_millis(10)).await;
    }
    let asks = [
        (None, "shop.example.com"),
        (None, "example.org"),
        (Some("shop.example.com"), "shop.example.com"),
        (Some("shop.example.com"), "shop.example.com"),
        (Some("shop.example.com"), "pay.example.com"),
        (Some("pay.example.com"), "pay.example.com"),
        (Some("cart.example.com"), "cart.example.com"),
        (Some("example.org"), "example.org"),
    ];
    let roots = [keys.root.clone()];
    let connector = EdgeConnector::new(&host, KeyAlgorithm::Ed25519, &roots, &[b"h2"]).expect("a good root");
    for (server_name, authority) in asks {
        let mut conn = host.net().connect(if server_name.is_some() { HTTPS } else { HTTP }).await.expect("it listens");
        if let Some(name) = server_name {
            match connector.connect(conn, name).await {
                Ok(secured) => conn = secured.conn,
                Err(_) => {
                    seen.push(format!("{name}: no TLS"));
                    continue;
                }
            }
        }
        let mut sender = squall_net::http::connect(&host, conn, Version::Http2).await.expect("HTTP/2");
        let uri = format!("http://{authority}/");
        let request = Request::get(uri).version(http::Version::HTTP_2).header("x-forwarded-for", "1.2.3.4");
        let answer = sender.send(request.body(Empty::<Bytes>::new()).expect("a request")).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        seen.push(format!("{status} {}", String::from_utf8_lossy(&body)).trim_end().to_owned());
    }
    // Who says nothing at all does not keep the gateway busy for ever.
    let mut silent = host.net().connect(HTTPS).await.expect("it listens");
    let since = host.now();
    let read = silent.read(&mut [0; 16]).await;
    seen.push(format!("{:?} after {} s", read.ok(), host.now().since(since).as_secs()));
    seen
}

/// One run of the world: what the client saw, and the hash of all that happened.
fn run(keys: &Arc<Keys>) -> (Vec<String>, u64) {
    let mut engine = EventEngine::new(1, Duration::from_secs(1_767_225_600));
    let outcome = Arc::new(Mutex::new(None));
    let (of_edge, of_client, noted) = (Arc::clone(keys), Arc::clone(keys), Arc::clone(&outcome));
    let edge: Boot = Arc::new(move |host: Host| Box::pin(edge(host, Arc::clone(&of_edge))));
    let client: Boot = Arc::new(move |host: Host| {
        let (keys, noted) = (Arc::clone(&of_client), Arc::clone(&noted));
        Box::pin(async move {
            let seen = client(host, &keys).await;
            *noted.lock().expect("no panic while locked") = Some(seen);
        })
    });
    for (name, address, boot) in [("edge", EDGE, edge), ("client", CLIENT, client)] {
        let (clock_ahead, cpu_per_poll) = (Duration::ZERO, Duration::from_micros(1));
        engine.add_host(HostSpec { name: name.into(), address, boot, clock_ahead, cpu_per_poll });
    }
    let end = engine.now() + LIMIT;
    while engine.now() < end {
        let until = engine.now() + Duration::from_secs(1);
        engine.run(until).expect("the world goes on");
        if let Some(seen) = outcome.lock().expect("no panic while locked").take() {
            return (seen, engine.trace().digest().hash);
        }
    }
    panic!("it does not end within {LIMIT:?}");
}

#[test]
fn a_simulated_gateway_is_the_production_one_and_the_same_each_time() {
    let keys = Arc::new(Keys::new());
    let (seen, hash) = run(&keys);
    assert_eq!(
        seen,
        [
            "200 http 10.0.0.2",
            "404",
            "200 https 10.0.0.2",
            "200 https 10.0.0.2",
            "421",
            "200 https 10.0.0.2",
            "404",
            "example.org: no TLS",
            "Some(0) after 10 s",
        ]
    );
    assert_eq!(run(&keys), (seen, hash));
}
