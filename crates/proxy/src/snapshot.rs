//! The mesh in force: routes, and the backends they lead to. A new mesh replaces the old one whole; backends that stay keep
//! their state, and requests in flight keep the backends that go.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use squall_policy::{
    Authorization, BackendName, BackendPolicy, Balancing, Endpoint, GatewayListener, GatewayTable, Inbound, Mesh,
    PeerMode, Protocol, RouteTable, Speaks, StreamPolicy, VirtualHost,
};

use crate::admit::Cell;
use crate::core::Core;
use crate::drain::Signal;
use crate::reach::Reach;
use crate::{InboundListener, Record};

/// One version of the mesh, ready for requests.
pub(crate) struct Snapshot {
    pub(crate) routes: RouteTable,
    backends: BTreeMap<BackendName, Arc<Cell>>,
    /// The application's ports, each a backend with one endpoint.
    inbound: BTreeMap<u16, Arc<Cell>>,
    /// Who may ask them for what; none: everybody for everything.
    access: BTreeMap<u16, Arc<Authorization>>,
    /// What their peers must prove, where the mesh says it.
    peers: BTreeMap<u16, PeerMode>,
    /// Whether they take connections without an identity, by what the mesh or their listener says.
    takes_plain: BTreeMap<u16, bool>,
    /// What is spoken at those that the mesh knows.
    speaks: BTreeMap<u16, Speaks>,
    /// How connections to a backend are carried.
    streams: BTreeMap<BackendName, StreamPolicy>,
    /// Where intercepted connections go.
    pub(crate) reach: Reach,
    /// As it was given, for people.
    pub(crate) hosts: Vec<VirtualHost>,
    /// What comes in from outside.
    pub(crate) gateway: GatewayTable,
    /// The same as it was given, for people.
    pub(crate) listeners: Vec<GatewayListener>,
    /// The version its source gave it.
    pub(crate) version: String,
}

/// How connections to a port of the application are taken.
pub(crate) struct ApplicationView {
    pub(crate) port: u16,
    pub(crate) speaks: Speaks,
    /// What the mesh says of its peers; `None`: nothing.
    pub(crate) peers: Option<PeerMode>,
    /// Whether connections without an identity are taken.
    pub(crate) takes_plain: bool,
}

impl Snapshot {
    pub(crate) fn backend(&self, name: &BackendName) -> Option<&Arc<Cell>> {
        self.backends.get(name)
    }

    /// Every backend, then every application port.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.backends.values().chain(self.inbound.values())
    }

    pub(crate) fn inbound(&self, port: u16) -> Option<&Arc<Cell>> {
        self.inbound.get(&port)
    }

    /// Every port of the application, for people.
    pub(crate) fn applications(&self) -> impl Iterator<Item = ApplicationView> {
        self.speaks.iter().map(|(port, speaks)| ApplicationView {
            port: *port,
            speaks: *speaks,
            peers: self.peers.get(port).copied(),
            takes_plain: self.takes_plain.get(port).copied().unwrap_or(false),
        })
    }

    /// Who may ask an application's port for what.
    pub(crate) fn access(&self, port: u16) -> Option<&Arc<Authorization>> {
        self.access.get(&port)
    }

    /// How connections to a backend are carried.
    pub(crate) fn stream(&self, backend: &BackendName) -> StreamPolicy {
        self.streams.get(backend).copied().unwrap_or_default()
    }
}

/// Holds the mesh in force.
pub(crate) struct View {
    core: Arc<Core>,
    listeners: Vec<InboundListener>,
    /// Connections are intercepted, and the application's ports are reached at this address.
    intercepted: Option<IpAddr>,
    pod: Arc<str>,
    current: Mutex<Option<Arc<Snapshot>>>,
    here: Signal,
    /// Another mesh came.
    changed: Notify,
}

impl View {
    pub(crate) fn new(
        core: &Arc<Core>,
        listeners: Vec<InboundListener>,
        intercepted: Option<IpAddr>,
        pod: &str,
    ) -> Self {
        Self {
            core: Arc::clone(core),
            listeners,
            intercepted,
            pod: pod.into(),
            current: Mutex::new(None),
            here: Signal::default(),
            changed: Notify::new(),
        }
    }

    /// The mesh now; `None`: none has come yet.
    pub(crate) fn current(&self) -> Option<Arc<Snapshot>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_here(&self) -> bool {
        self.here.is_raised()
    }

    /// Ready when there is a mesh.
    pub(crate) async fn wait(&self) {
        self.here.wait().await;
    }

    /// Ready when a mesh names this port of the application.
    pub(crate) async fn wait_inbound(&self, port: u16) {
        self.wait_for(|mesh| mesh.inbound(port).is_some()).await;
    }

    /// Ready when a mesh has a listener of the gateway at this port.
    pub(crate) async fn wait_gateway(&self, port: u16) {
        self.wait_for(|mesh| mesh.gateway.port(port).is_some()).await;
    }

    async fn wait_for(&self, is_so: impl Fn(&Snapshot) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registered before the look: a mesh in between is not missed.
            changed.as_mut().enable();
            if self.current().is_some_and(|mesh| is_so(&mesh)) {
                return;
            }
            changed.await;
        }
    }

    /// Puts a mesh in force.
    pub(crate) fn apply(&self, mesh: &Mesh, version: &str) {
        let old = self.current();
        let old = old.as_deref();
        let mut backends = BTreeMap::new();
        for (name, policy) in &mesh.backends {
            let cell = match old.and_then(|old| old.backends.get(name)) {
                Some(cell) => Arc::clone(cell),
                None => Arc::new(Cell::new(&self.core, name, policy.clone())),
            };
            cell.update(policy.clone(), mesh.endpoints.get(name).map_or(&[], Vec::as_slice));
            backends.insert(name.clone(), cell);
        }
        let mut inbound = BTreeMap::new();
        let mut speaks = BTreeMap::new();
        let mut access = BTreeMap::new();
        let mut peers = BTreeMap::new();
        let mut takes_plain = BTreeMap::new();
        let listeners = self.listeners_of(mesh);
        for listener in &listeners {
            let port = listener.app.port();
            // The mesh names the port others connect to: the sidecar's own, or the application's, where a firewall redirects.
            let named = mesh.inbound.get(&listener.listen.port()).or_else(|| mesh.inbound.get(&port));
            let Some(settings) = named else { continue };
            let policy = application_policy(settings);
            let cell = match old.and_then(|old| old.inbound.get(&port)) {
                Some(cell) => Arc::clone(cell),
                None => {
                    let name = BackendName::from_wire(&format!("inbound:{port}"));
                    Arc::new(Cell::new(&self.core, &name, policy.clone()))
                }
            };
            cell.update(policy, &[self.application(listener)]);
            inbound.insert(port, cell);
            speaks.insert(port, what_speaks(settings));
            peers.extend(settings.peers.map(|mode| (port, mode)));
            let by_itself = !(listener.mutual_tls && self.core.own.is_some());
            takes_plain.insert(port, settings.peers.map_or(by_itself, PeerMode::takes_plain));
            if settings.access != Authorization::default() {
                access.insert(port, Arc::new(settings.access.clone()));
            }
        }
        let applications: Vec<Endpoint> = listeners.iter().map(|listener| self.application(listener)).collect();
        self.core.pool.retain(mesh.endpoints.values().flatten().chain(&applications));
        let (hosts, version_kept) = (mesh.hosts.clone(), version.to_owned());
        let streams = mesh.destinations.iter().map(|to| (to.backend.clone(), to.stream)).collect();
        let reach = if self.intercepted.is_some() { Reach::new(mesh) } else { Reach::default() };
        let routes = RouteTable::new(&mesh.hosts);
        let (gateway, listeners) = (GatewayTable::new(&mesh.gateway), mesh.gateway.clone());
        let next = Snapshot {
            routes,
            backends,
            inbound,
            access,
            peers,
            takes_plain,
            speaks,
            streams,
            reach,
            hosts,
            gateway,
            listeners,
            version: version_kept,
        };
        let next = Arc::new(next);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
        self.core.record(self.core.host.now(), &Record::MeshApplied { version });
        self.here.raise();
        self.changed.notify_waiters();
    }

    /// What is spoken at a port of the application; `None`: the mesh does not know it.
    pub(crate) fn speaks(&self, port: u16) -> Option<Speaks> {
        self.current().and_then(|mesh| mesh.speaks.get(&port).copied())
    }

    /// What peers of a port must prove; `None`: the mesh does not say.
    pub(crate) fn peers(&self, port: u16) -> Option<PeerMode> {
        self.current().and_then(|mesh| mesh.peers.get(&port).copied())
    }

    /// Whether a port takes connections without an identity; `None`: the mesh does not know it.
    pub(crate) fn takes_plain(&self, port: u16) -> Option<bool> {
        self.current().and_then(|mesh| mesh.takes_plain.get(&port).copied())
    }

    /// Ready when a mesh says that a port takes no connections without an identity.
    pub(crate) async fn wait_secured(&self, port: u16) {
        self.wait_for(|mesh| mesh.takes_plain.get(&port) == Some(&false)).await;
    }

    /// The listeners, and one in thought for each further port, if connections to all of them come in.
    fn listeners_of(&self, mesh: &Mesh) -> Vec<InboundListener> {
        let mut listeners = self.listeners.clone();
        if let Some(ip) = self.intercepted {
            let known: Vec<u16> = listeners.iter().map(|listener| listener.app.port()).collect();
            let further = mesh.inbound.keys().filter(|port| !known.contains(port)).map(|port| {
                let app = SocketAddr::new(ip, *port);
                InboundListener { listen: app, mutual_tls: true, app }
            });
            listeners.extend(further);
        }
        listeners
    }

    fn application(&self, listener: &InboundListener) -> Endpoint {
        Endpoint {
            address: listener.app,
            name: Arc::clone(&self.pod),
            zone: "".into(),
            weight: 1,
            identity: "".into(),
            draining: false,
        }
    }
}

fn what_speaks(inbound: &Inbound) -> Speaks {
    match inbound.protocol {
        Protocol::Tcp => Speaks::Tcp,
        Protocol::Http1 | Protocol::Http2 if inbound.detect => Speaks::Unknown,
        Protocol::Http1 | Protocol::Http2 => Speaks::Http,
    }
}

/// The own application is one endpoint: there is nothing to balance, to eject or to retry elsewhere, only a limit.
#[must_use]
pub fn application_policy(inbound: &Inbound) -> BackendPolicy {
    BackendPolicy {
        balancing: Balancing::RoundRobin,
        breaker: None,
        outliers: None,
        limits: inbound.limits,
        rate: inbound.rate.clone(),
        budget: None,
        protocol: inbound.protocol,
        mutual_tls: false,
        ..BackendPolicy::default()
    }
}
