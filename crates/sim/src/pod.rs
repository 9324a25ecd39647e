//! What runs on a host: a sidecar with an application, a sidecar with a load generator, or the control plane.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use squall_control::{Authority, CONTROL_ID, Control, ControlConfig, Registry, Resources};
use squall_net::http::ServeLimits;
use squall_net::tls::KeyAlgorithm;
use squall_net::{Host, after};
use squall_policy::Instant;
use squall_proxy::{ControlSource, IdentitySource, InboundListener, Node, Proxy, ProxyConfig, Source, TokenSource};

use crate::knobs::{Gate, Knobs};
use crate::ledger::Party;
use crate::note::Note;
use crate::recorder::{ControlListener, Listener};
use crate::scenario::Pod;
use crate::service::App;
use crate::shared::Shared;
use crate::workload::Generator;

/// Where sidecars take their application's requests, on `LOCAL`.
const OUTBOUND_PORT: u16 = 15001;
/// How long a connection may take to tell what it speaks: the default in production.
const DETECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKES: u32 = 1_000;
/// Where the control plane listens.
const CONTROL_PORT: u16 = 15010;
/// How long certificates of a scenario last. Sidecars renew at half of it.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A host's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Known to others.
    pub(crate) pod: IpAddr,
    /// For itself.
    pub(crate) local: IpAddr,
}

/// Whether a host is up, and how often it was booted.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ready: bool,
    boots: u32,
    drains: Gate<Instant>,
}

impl Status {
    /// Its sidecar has mesh and certificate, its application listens.
    pub(crate) fn is_ready(&self) -> bool {
        self.state().ready
    }

    /// How often it was booted.
    pub(crate) fn boots(&self) -> u32 {
        self.state().boots
    }

    /// It crashed, or was stopped.
    pub(crate) fn down(&self) {
        self.state().ready = false;
    }

    /// Asks it to drain by `until`, on its clock.
    pub(crate) fn drain(&self, until: Instant) {
        let drains = self.state().drains.clone();
        drains.open(until);
    }

    /// It boots; the gate asks it to drain.
    pub(crate) fn boot(&self) -> Gate<Instant> {
        let mut state = self.state();
        state.boots += 1;
        state.ready = false;
        state.drains = Gate::default();
        state.drains.clone()
    }

    /// It is ready.
    pub(crate) fn up(&self) {
        self.state().ready = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all hosts know of the control plane.
pub(crate) struct ControlPlan {
    pub(crate) shared: Arc<Shared>,
    /// The number of its host.
    pub(crate) id: u32,
    pub(crate) address: IpAddr,
    pub(crate) resources: Resources,
    pub(crate) registry: Arc<Registry>,
    /// Which SPIFFE id each host's token proves.
    pub(crate) tokens: BTreeMap<String, String>,
    /// Made at the first start of the control plane; its root outlives a crash, as a Secret does.
    pub(crate) authority: OnceLock<Arc<Authority>>,
    /// Opens when the roots are known.
    pub(crate) rooted: Gate<()>,
}

impl ControlPlan {
    /// The control plane's main task.
    pub(crate) async fn run(self: Arc<Self>, host: Host) {
        let authority = self.authority.get_or_init(|| {
            let wall = Arc::clone(host.wall());
            let made = Authority::new(KeyAlgorithm::Ed25519, wall, host.rng("authority"), CERTIFICATE_LIFE);
            Arc::new(made.expect("a key can be made from any dice"))
        });
        self.rooted.open(());
        let config = ControlConfig {
            listen: SocketAddr::new(self.address, CONTROL_PORT),
            resources: self.resources.clone(),
            registry: Arc::clone(&self.registry),
            authority: Arc::clone(authority),
            tokens: self.tokens.clone(),
            review: None,
            recorder: Arc::new(ControlListener { shared: Arc::clone(&self.shared), host: self.id }),
        };
        let ended = Control::new(host, config).run().await;
        ended.expect("the control plane's port is free, and its listener lives as long as its host");
    }

    async fn source(&self, host: &str) -> Source {
        self.rooted.opened().await;
        let authority = self.authority.get().expect("the gate opens when it is made");
        Source::Control(ControlSource {
            address: SocketAddr::new(self.address, CONTROL_PORT),
            identity: CONTROL_ID.into(),
            roots: authority.roots(),
            token: Some(told(token(host))),
        })
    }
}

fn told(token: String) -> TokenSource {
    Arc::new(move || Ok(token.clone()))
}

/// What proves to the control plane whose sidecar asks.
pub(crate) fn token(host: &str) -> String {
    format!("token of {host}")
}

/// A host with a sidecar.
#[derive(Clone)]
pub(crate) struct SidecarPlan {
    pub(crate) shared: Arc<Shared>,
    pub(crate) control: Arc<ControlPlan>,
    /// The number of its host.
    pub(crate) id: u32,
    pub(crate) node: Node,
    pub(crate) addresses: Addresses,
    pub(crate) party: Party,
    pub(crate) ahead: Duration,
    pub(crate) status: Arc<Status>,
}

impl SidecarPlan {
    fn outbound(&self) -> SocketAddr {
        SocketAddr::new(self.addresses.local, OUTBOUND_PORT)
    }

    /// Starts the sidecar and waits until it has mesh and certificate.
    async fn start(&self, host: &Host, inbound: Vec<InboundListener>) -> Proxy {
        let doors = self.shared.targets.doors(self.addresses.local);
        let streams = doors.into_iter().map(|(_, door, backend)| (door, backend)).collect();
        let config = ProxyConfig {
            node: self.node.clone(),
            outbound: Some(self.outbound()),
            inbound,
            streams,
            entrances: Vec::new(),
            certificates: BTreeMap::new(),
            interception: None,
            detect_timeout: DETECT_TIMEOUT,
            handshakes: HANDSHAKES,
            source: self.control.source(&self.node.pod).await,
            identity: IdentitySource::FromControl,
            key_algorithm: KeyAlgorithm::Ed25519,
            limits: ServeLimits::default(),
            tracing: None,
            recorder: Listener::new(&self.shared, self.id, self.party, self.ahead),
        };
        let proxy = Proxy::start(host, config).await.expect("a fresh host's ports are free");
        proxy.ready().await;
        proxy
    }

    fn note(&self, host: &Host, note: &Note<'_>) {
        self.shared.journal.note(host.now() - self.ahead, self.id, note);
    }
}

/// A pod: application and sidecar.
pub(crate) struct PodPlan {
    pub(crate) sidecar: SidecarPlan,
    pub(crate) pod: Pod,
    /// Its sidecar takes mutual TLS only.
    pub(crate) mutual_tls: bool,
    pub(crate) knobs: Knobs,
}

/// How long a draining pod goes on serving new requests, so that proxies hear of it first; at most half of its time.
/// Kubernetes' answer is a `preStop` sleep.
const DRAIN_NOTICE: Duration = Duration::from_secs(1);

impl PodPlan {
    /// The pod's main task: up, ready, and on demand down again.
    pub(crate) async fn run(self: Arc<Self>, host: Host) {
        let sidecar = &self.sidecar;
        let drains = sidecar.status.boot();
        let spec = &sidecar.shared.scenario.services[self.pod.service];
        let app = App::new(
            &sidecar.shared,
            &host,
            sidecar.id,
            sidecar.party,
            self.pod.version,
            self.knobs.clone(),
            sidecar.outbound(),
        );
        let stops = Gate::default();
        let local = SocketAddr::new(sidecar.addresses.local, spec.port);
        app.serve(local, &stops).await.expect("a fresh host's ports are free");
        let listen = SocketAddr::new(sidecar.addresses.pod, spec.port);
        let proxy =
            sidecar.start(&host, vec![InboundListener { listen, mutual_tls: self.mutual_tls, app: local }]).await;
        sidecar.status.up();
        sidecar.note(&host, &Note::Ready);
        self.register(&host, true, false);
        let until = drains.opened().await;
        sidecar.note(&host, &Note::Drains);
        self.register(&host, true, true);
        let left = until.since(host.now());
        after(host.clock().as_ref(), DRAIN_NOTICE.min(left / 2)).await;
        proxy.drain(until.since(host.now())).await;
        stops.open(());
        sidecar.note(&host, &Note::Drained);
    }

    /// Shows the pod so in the registry.
    fn register(&self, host: &Host, ready: bool, terminating: bool) {
        self.sidecar.control.registry.put(self.entry(ready, terminating));
        self.sidecar.note(host, &Note::Registered { ready, terminating });
    }

    fn version(&self) -> &crate::scenario::Version {
        &self.sidecar.shared.scenario.services[self.pod.service].versions[self.pod.version]
    }

    /// The pod as the registry shows it.
    pub(crate) fn entry(&self, ready: bool, terminating: bool) -> squall_control::Pod {
        let node = &self.sidecar.node;
        squall_control::Pod {
            name: node.pod.clone(),
            namespace: node.namespace.clone(),
            address: node.ip,
            labels: node.labels.clone(),
            ports: self.sidecar.shared.scenario.services[self.pod.service].ports(),
            zone: node.zone.clone(),
            service_account: node.service_account.clone(),
            weight: self.version().endpoint_weight,
            ready,
            terminating,
        }
    }
}

/// A host of a load: sidecar (outbound only) and generator.
pub(crate) struct ClientPlan {
    pub(crate) sidecar: SidecarPlan,
    /// Index of its load.
    pub(crate) load: usize,
    /// Which of the load's hosts it is.
    pub(crate) index: usize,
}

impl ClientPlan {
    /// The host's main task. A load host that crashes does not ask again when it comes back: its clients are gone.
    pub(crate) async fn run(self: Arc<Self>, host: Host) {
        let sidecar = &self.sidecar;
        sidecar.status.boot();
        let proxy = sidecar.start(&host, Vec::new()).await;
        sidecar.status.up();
        sidecar.note(&host, &Note::Ready);
        if sidecar.status.boots() == 1 {
            Generator::new(&sidecar.shared, &host, sidecar.id, self.load, sidecar.outbound()).run(self.index).await;
        }
        proxy.closed().await;
    }
}
