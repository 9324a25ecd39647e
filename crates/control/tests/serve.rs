//! The control plane over real loopback TCP and TLS, asked by a client of its own.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use squall_control::{
    Authority, CONTROL_ID, Control, ControlConfig, ControlRecord, ControlRecorder, Pod, Registry, Resources, TTL,
    spiffe_id,
};
use squall_net::http::{BodyError, Incoming, Sender, Version, connect};
use squall_net::tcp::Tcp;
use squall_net::tls::{Connector, Identity, KeyAlgorithm, PrivateKey, make_csr, make_key};
use squall_net::{Host, Task};
use squall_policy::{BackendName, Instant, Mesh};
use squall_xds::{
    ADS_PATH, CertificateRequest, CertificateResponse, Deframer, SIGN_PATH, Subscription, SubscriptionEvent, frame,
};
use tokio::sync::mpsc;

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{port: 80, targetPort: 8080}]}
";

const POLICY: &str = "---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catalog}]
  limits: {inFlight: 7}
";

/// Keeps what happened, and passes it on.
struct Recorder(mpsc::UnboundedSender<ControlRecord>);

impl ControlRecorder for Recorder {
    fn record(&self, _: Instant, record: &ControlRecord) {
        let _ = self.0.send(record.clone());
    }
}

struct World {
    host: Host,
    control: Control,
    registry: Arc<Registry>,
    authority: Arc<Authority>,
    algorithm: KeyAlgorithm,
    at: SocketAddr,
    records: mpsc::UnboundedReceiver<ControlRecord>,
    running: Task,
}

impl Drop for World {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn pod(name: &str, last: u8) -> Pod {
    Pod {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        address: [10, 0, 0, last].into(),
        labels: BTreeMap::from([("app".to_owned(), "catalog".to_owned())]),
        ports: BTreeMap::new(),
        zone: String::new(),
        service_account: "catalog".to_owned(),
        weight: 1,
        ready: true,
        terminating: false,
    }
}

fn resources(text: &str) -> Resources {
    Resources::read(&[("shop.yaml", text)]).expect("good resources")
}

impl World {
    async fn new(algorithm: KeyAlgorithm) -> Self {
        let host = Tcp::host();
        let registry = Arc::new(Registry::new());
        registry.put(pod("catalog-0", 1));
        let authority = Authority::new(algorithm, Arc::clone(host.wall()), host.rng("authority"), TTL).expect("a root");
        let authority = Arc::new(authority);
        let (sender, mut records) = mpsc::unbounded_channel();
        let config = ControlConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            resources: resources(SHOP),
            registry: Arc::clone(&registry),
            authority: Arc::clone(&authority),
            tokens: BTreeMap::from([("secret".to_owned(), spiffe_id("shop", "catalog"))]),
            review: None,
            recorder: Arc::new(Recorder(sender)),
        };
        let control = Control::new(host.clone(), config);
        let running = {
            let control = control.clone();
            host.spawn("control", async move {
                let _ = control.run().await;
            })
        };
        let Some(ControlRecord::Listening { at }) = records.recv().await else { panic!("it listens first") };
        Self { host, control, registry, authority, algorithm, at, records, running }
    }

    /// Waits for a record that `wanted` finds.
    async fn until<T>(&mut self, wanted: impl Fn(&ControlRecord) -> Option<T>) -> T {
        loop {
            let record = self.records.recv().await.expect("the control plane runs");
            if let Some(found) = wanted(&record) {
                return found;
            }
        }
    }

    fn nobody(&self) -> Identity {
        Identity {
            chain: Vec::new(),
            key: PrivateKey::from_pkcs8(&[]),
            roots: self.authority.roots(),
            algorithm: self.algorithm,
            not_after_s: 0,
            issued_at: Instant::ZERO,
        }
    }

    async fn connect(&self, identity: &Identity) -> Sender<Outbox> {
        let conn = self.host.net().connect(self.at).await.expect("it listens");
        let connector = Connector::new(&self.host, identity, &[b"h2"]).expect("a good identity");
        let secured = connector.connect(conn, &CONTROL_ID.into()).await.expect("it is the control plane");
        assert_eq!(secured.alpn.as_deref(), Some(&b"h2"[..]));
        connect(&self.host, secured.conn, Version::Http2).await.expect("it speaks HTTP/2")
    }

    /// Asks for a certificate. `Err`: gRPC status and message.
    async fn sign(&self, token: &str, id: &str) -> Result<Identity, (u16, String)> {
        let key = make_key(self.algorithm, &mut self.host.rng("key")).expect("a key");
        let csr_der = make_csr(&key, id).expect("a request").into();
        let request = CertificateRequest { csr_der, token: token.to_owned() };
        let mut sender = self.connect(&self.nobody()).await;
        let mut call = Call::begin(&mut sender, self.at, SIGN_PATH, Outbox::one(&request.to_wire())).await?;
        let answer = call.next().await?.expect("one answer");
        assert_eq!(call.next().await, Ok(None), "and no more");
        let answer = CertificateResponse::from_wire(&answer).expect("a certificate");
        Ok(Identity {
            chain: answer.chain.iter().map(|der| der.to_vec()).collect(),
            key,
            roots: answer.roots.iter().map(|der| der.to_vec()).collect(),
            algorithm: self.algorithm,
            not_after_s: answer.not_after_s,
            issued_at: Instant::ZERO,
        })
    }

    async fn follow(&self, identity: &Identity, node: &str) -> Result<Client, (u16, String)> {
        let mut sender = self.connect(identity).await;
        let (outbox, body) = Outbox::stream();
        let mut subscription = Subscription::new(node, "catalog");
        subscription.on_connect();
        let call = Call::begin(&mut sender, self.at, ADS_PATH, body).await?;
        Ok(Client { _sender: sender, outbox, call, subscription })
    }
}

/// A request's body.
struct Outbox {
    ready: VecDeque<Bytes>,
    later: Option<mpsc::UnboundedReceiver<Bytes>>,
}

impl Outbox {
    fn one(message: &[u8]) -> Self {
        Self { ready: VecDeque::from([frame(message)]), later: None }
    }

    fn stream() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, later) = mpsc::unbounded_channel();
        (sender, Self { ready: VecDeque::new(), later: Some(later) })
    }
}

impl Body for Outbox {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(ready) = self.ready.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(ready))));
        }
        match &mut self.later {
            Some(later) => later.poll_recv(cx).map(|message| message.map(|message| Ok(Frame::data(frame(&message))))),
            None => Poll::Ready(None),
        }
    }
}

struct Call {
    body: Incoming,
    deframer: Deframer,
    ready: VecDeque<Bytes>,
}

fn status(headers: &HeaderMap) -> Result<(), (u16, String)> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned());
    match text("grpc-status").map(|code| code.parse::<u16>().expect("a number")) {
        None | Some(0) => Ok(()),
        Some(code) => Err((code, text("grpc-message").unwrap_or_default())),
    }
}

impl Call {
    async fn begin(
        sender: &mut Sender<Outbox>,
        at: SocketAddr,
        path: &str,
        body: Outbox,
    ) -> Result<Self, (u16, String)> {
        let request = Request::post(format!("https://{at}{path}")).body(body).expect("a good request");
        let response = sender.send(request).await.expect("it answers");
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/grpc".parse().expect("ASCII"))
        );
        status(response.headers())?;
        Ok(Self { body: response.into_body(), deframer: Deframer::new(1 << 20), ready: VecDeque::new() })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, (u16, String)> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            match frame.expect("the stream holds").into_data() {
                Ok(data) => self.ready = self.deframer.push(&data).expect("well framed"),
                Err(frame) => status(frame.trailers_ref().expect("trailers"))?,
            }
        }
    }
}

struct Client {
    _sender: Sender<Outbox>,
    outbox: mpsc::UnboundedSender<Bytes>,
    call: Call,
    subscription: Subscription,
}

impl Client {
    /// Runs the subscription until it has a mesh that `wanted` likes.
    async fn mesh(&mut self, wanted: impl Fn(&Mesh) -> bool) -> Result<Arc<Mesh>, (u16, String)> {
        loop {
            while let Some(message) = self.subscription.poll_send() {
                self.outbox.send(message).expect("the stream is open");
            }
            while let Some(event) = self.subscription.poll_event() {
                match event {
                    SubscriptionEvent::Mesh { mesh, .. } if wanted(&mesh) => return Ok(mesh),
                    SubscriptionEvent::Mesh { .. } => {}
                    SubscriptionEvent::Refused(nack) => panic!("refused: {nack}"),
                }
            }
            let message = self.call.next().await?.expect("the stream stays open");
            self.subscription.on_message(&message).expect("it is ADS");
        }
    }
}

fn endpoints(mesh: &Mesh) -> usize {
    mesh.endpoints.get(&BackendName::new("shop", "catalog", 80)).map_or(0, Vec::len)
}

fn in_flight(mesh: &Mesh) -> u32 {
    mesh.backends.values().next().map_or(0, |policy| policy.limits.in_flight)
}

async fn a_proxy_gets_its_certificate_then_its_mesh_and_follows_every_change(algorithm: KeyAlgorithm) {
    let mut world = World::new(algorithm).await;
    let identity = world.sign("secret", &spiffe_id("shop", "catalog")).await.expect("signed");
    let signed =
        world.until(
            |record| if let ControlRecord::Signed { identity, .. } = record { Some(identity.clone()) } else { None },
        );
    assert_eq!(signed.await, spiffe_id("shop", "catalog"));

    let mut client = world.follow(&identity, "shop/catalog-0").await.expect("let in");
    let mesh = client.mesh(|mesh| endpoints(mesh) == 1).await.expect("a mesh");
    assert!(mesh.hosts[0].domains.contains(&"catalog".to_owned()));
    assert_eq!(mesh.inbound.keys().collect::<Vec<_>>(), [&8080]);

    world.registry.put(pod("catalog-1", 2));
    client.mesh(|mesh| endpoints(mesh) == 2).await.expect("the new pod");
    world.registry.remove("shop", "catalog-1");
    client.mesh(|mesh| endpoints(mesh) == 1).await.expect("without it");

    world.control.update(resources(&format!("{SHOP}{POLICY}"))).expect("good resources");
    client.mesh(|mesh| in_flight(mesh) == 7).await.expect("the policy");

    let bad = format!(
        "{SHOP}{POLICY}---\napiVersion: v1\nkind: Service\nmetadata: {{name: other, namespace: shop}}\n\
         spec: {{selector: {{app: catalog}}, ports: [{{port: 81, targetPort: 8080, appProtocol: grpc}}]}}\n"
    );
    let mistakes = world.control.update(resources(&bad)).expect_err("two protocols on one port");
    assert_eq!(mistakes[0].message, "port 8080 of pod `shop/catalog-0` cannot speak two protocols");
    world.registry.put(pod("catalog-1", 2));
    let mesh = client.mesh(|mesh| endpoints(mesh) == 2).await.expect("the last good resources stay");
    assert_eq!(in_flight(&mesh), 7);

    drop(client);
    let node =
        world.until(|record| if let ControlRecord::Disconnected { node } = record { Some(node.clone()) } else { None });
    assert_eq!(node.await, "shop/catalog-0");
}

#[tokio::test]
async fn with_p256_a_proxy_gets_its_certificate_then_its_mesh_and_follows_every_change() {
    a_proxy_gets_its_certificate_then_its_mesh_and_follows_every_change(KeyAlgorithm::P256).await;
}

#[tokio::test]
async fn with_ed25519_a_proxy_gets_its_certificate_then_its_mesh_and_follows_every_change() {
    a_proxy_gets_its_certificate_then_its_mesh_and_follows_every_change(KeyAlgorithm::Ed25519).await;
}

#[tokio::test]
async fn who_cannot_prove_who_he_is_gets_nothing() {
    let world = World::new(KeyAlgorithm::P256).await;
    let catalog = spiffe_id("shop", "catalog");
    assert_eq!(world.sign("guess", &catalog).await.err(), Some((16, "the token is unknown".to_owned())));
    assert_eq!(world.sign("", &catalog).await.err().map(|(code, _)| code), Some(16));
    let other = spiffe_id("shop", "payment");
    let message = format!("the token proves {catalog}, the request asks for {other}");
    assert_eq!(world.sign("secret", &other).await.err(), Some((7, message)));

    let refused = world.follow(&world.nobody(), "shop/catalog-0").await.err();
    assert_eq!(refused, Some((16, "the mesh is for proxies with a certificate".to_owned())));

    let identity = world.sign("secret", &catalog).await.expect("signed");
    let mut stranger = world.follow(&identity, "money/rates-0").await.expect("the stream begins");
    let refused = stranger.mesh(|_| true).await.expect_err("another namespace");
    assert_eq!(refused, (7, format!("{catalog} is not pod money/rates-0")));
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name() {
    let world = World::new(KeyAlgorithm::P256).await;
    let mut sender = world.connect(&world.nobody()).await;
    let refused = Call::begin(&mut sender, world.at, "/x.Y/Z", Outbox::one(b"")).await.err();
    assert_eq!(refused, Some((12, "/x.Y/Z is not served".to_owned())));
}

#[tokio::test]
async fn streams_end_with_the_control_plane() {
    let world = World::new(KeyAlgorithm::P256).await;
    let identity = world.sign("secret", &spiffe_id("shop", "catalog")).await.expect("signed");
    let mut client = world.follow(&identity, "shop/catalog-0").await.expect("let in");
    client.mesh(|mesh| endpoints(mesh) == 1).await.expect("a mesh");
    world.running.abort();
    // Would wait for ever if the stream outlived its control plane.
    while let Some(Ok(_)) = client.call.body.frame().await {}
    assert_eq!(client.subscription.mesh().map(|mesh| endpoints(mesh)), Some(1), "the last good mesh stays");
}
