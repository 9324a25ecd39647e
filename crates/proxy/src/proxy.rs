//! The proxy as others hold it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use squall_net::edge::{EdgeAcceptor, ServerCertificate};
use squall_net::tls::TlsError;
use squall_net::{Host, Listener, Task, timeout};
use squall_policy::Mesh;

use crate::accept::{self, Gate, Purpose};
use crate::core::Core;
use crate::drain::{Running, Signal};
use crate::identity::{H1, H2, Keyring, Secrets};
use crate::outside::{OfPort, Vault};
use crate::snapshot::View;
use crate::subscribe::Follower;
use crate::{IdentitySource, ProxyConfig, Source};

/// A running proxy. Dropping it lets it run on; [`Proxy::drain`] ends it.
pub struct Proxy {
    core: Arc<Core>,
    keyring: Arc<Keyring>,
    view: Arc<View>,
    /// The certificates for clients from outside.
    vault: Arc<Vault>,
    /// Whether an identity is to come.
    secure: bool,
    outbound: Option<SocketAddr>,
    inbound: Vec<SocketAddr>,
    streams: Vec<SocketAddr>,
    /// Every listener, with its side and what it is for.
    listeners: Vec<(SocketAddr, Arc<Gate>, Purpose)>,
    inbound_gate: Arc<Gate>,
    outbound_gate: Arc<Gate>,
    /// What follows the control plane; ended with the proxy.
    followers: Vec<Task>,
    closed: Arc<Signal>,
}

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address cannot be used.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The given identity cannot be used.
    #[error(transparent)]
    Identity(#[from] TlsError),
    /// The identity should come from a control plane, but none is named.
    #[error("the identity should come from a control plane, but the mesh is static")]
    NoControl,
}

impl Proxy {
    /// Starts a proxy on `host`: listens at once, serves as soon as it has a mesh and (if it is to have one) an identity.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(host: &Host, config: ProxyConfig) -> Result<Self, StartError> {
        let keyring = Arc::<Keyring>::default();
        let secure = match &config.identity {
            IdentitySource::None => false,
            IdentitySource::Static(identity) => {
                keyring.put(Secrets::new(host, identity.clone())?);
                true
            }
            IdentitySource::FromControl => match &config.source {
                Source::Static(_) => return Err(StartError::NoControl),
                Source::Control(_) => true,
            },
        };
        let recorder = Arc::clone(&config.recorder);
        let core = Core::new(host, recorder, &config.node, &keyring, secure, config.tracing, config.handshakes);
        let core = Arc::new(core);
        let intercepted = config.interception.as_ref();
        let mut outgoing = Vec::new();
        if let Some(address) = config.outbound {
            outgoing.push((listen(host, address).await?, Purpose::Outbound));
        }
        for (address, backend) in &config.streams {
            outgoing.push((listen(host, *address).await?, Purpose::Stream(backend.clone())));
        }
        let mut incoming = Vec::with_capacity(config.inbound.len());
        for listener in &config.inbound {
            let secure = secure && listener.mutual_tls;
            let purpose = Purpose::Inbound { port: listener.app.port(), secure };
            incoming.push((listen(host, listener.listen).await?, purpose));
        }
        let mut entrances = Vec::with_capacity(config.entrances.len());
        for entrance in &config.entrances {
            entrances.push((listen(host, entrance.listen).await?, *entrance));
        }
        let mut listeners = config.inbound.clone();
        for (listener, (bound, _)) in listeners.iter_mut().zip(&incoming) {
            listener.listen = bound.local();
        }
        if let Some(interception) = intercepted {
            for address in &interception.outbound {
                outgoing.push((listen(host, *address).await?, Purpose::Intercepted(interception.strangers)));
            }
            for address in &interception.inbound {
                incoming.push((listen(host, *address).await?, Purpose::InterceptedInbound { secure }));
            }
        }
        // The application listens where its pod's loopback is, of the family of the pod's address.
        let local = intercepted.map(|_| match config.node.ip {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        });
        let view = Arc::new(View::new(&core, listeners, local, &config.node.pod));
        let vault = Arc::<Vault>::default();
        vault.put(config.certificates);
        for (listener, entrance) in entrances {
            let port = entrance.port;
            let certificates = Arc::new(OfPort { view: Arc::clone(&view), vault: Arc::clone(&vault), port });
            let acceptor = EdgeAcceptor::new(host, config.key_algorithm, certificates, &[H2, H1])?;
            incoming.push((listener, Purpose::Gateway { entrance, acceptor }));
        }
        let gate = || {
            Arc::new(Gate {
                core: Arc::clone(&core),
                keyring: Arc::clone(&keyring),
                view: Arc::clone(&view),
                limits: config.limits,
                detect_timeout: config.detect_timeout,
                draining: Arc::default(),
                killed: Arc::default(),
                running: Arc::<Running>::default(),
            })
        };
        let (inbound_gate, outbound_gate) = (gate(), gate());
        let begin = |name: &'static str, gate: &Arc<Gate>, (listener, purpose): (Box<dyn Listener>, Purpose)| {
            let at = listener.local();
            host.spawn(name, accept::accept(Arc::clone(gate), listener, purpose.clone()));
            (at, Arc::clone(gate), purpose)
        };
        let outgoing: Vec<_> = outgoing.into_iter().map(|each| begin("proxy outbound", &outbound_gate, each)).collect();
        let incoming: Vec<_> = incoming.into_iter().map(|each| begin("proxy inbound", &inbound_gate, each)).collect();
        let outbound = config.outbound.and(outgoing.first()).map(|(at, ..)| *at);
        let inbound = incoming.iter().map(|(at, ..)| *at).collect();
        let streams = outgoing.iter().filter(|(.., purpose)| matches!(purpose, Purpose::Stream(_)));
        let streams = streams.map(|(at, ..)| *at).collect();
        let listeners = outgoing.into_iter().chain(incoming).collect();
        let mut followers = Vec::new();
        match config.source {
            Source::Static(mesh) => view.apply(&mesh, "static"),
            Source::Control(source) => {
                let certified = matches!(config.identity, IdentitySource::FromControl);
                let follower = Arc::new(Follower {
                    core: Arc::clone(&core),
                    keyring: Arc::clone(&keyring),
                    view: Arc::clone(&view),
                    source,
                    node: config.node,
                    algorithm: config.key_algorithm,
                    certified,
                });
                if certified {
                    followers.push(host.spawn("proxy identity", Arc::clone(&follower).keep_identity()));
                }
                followers.push(host.spawn("proxy subscribe", follower.keep_mesh()));
            }
        }
        let closed = Arc::default();
        let (inbound_gate, outbound_gate) = (Arc::clone(&inbound_gate), Arc::clone(&outbound_gate));
        Ok(Self {
            followers,
            core,
            keyring,
            view,
            vault,
            secure,
            outbound,
            inbound,
            streams,
            listeners,
            inbound_gate,
            outbound_gate,
            closed,
        })
    }

    /// Serves with one more worker: listens once more at every address, on `host`, whose network must let listeners share ports;
    /// what comes there is served on the runtime that calls this. Everything that decides is shared: limits, breakers and budgets
    /// are those of the whole proxy, whatever the number of its workers.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn join(&self, host: &Host) -> Result<(), StartError> {
        let mut listeners = Vec::new();
        for (at, gate, purpose) in &self.listeners {
            listeners.push((listen(host, *at).await?, Arc::clone(gate), purpose.clone()));
        }
        for (listener, gate, purpose) in listeners {
            host.spawn("proxy worker", accept::accept(gate, listener, purpose));
        }
        Ok(())
    }

    /// What it waits for before it is ready, in words; empty: nothing.
    #[must_use]
    pub fn waits_for(&self) -> Vec<&'static str> {
        let missing = [(self.view.is_here(), "a mesh"), (!self.secure || self.keyring.is_here(), "a certificate")];
        missing.into_iter().filter(|(here, _)| !here).map(|(_, what)| what).collect()
    }

    /// Whether [`Proxy::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inbound_gate.draining.is_raised()
    }

    /// The mesh in force and its backends, for people.
    pub(crate) fn snapshot(&self) -> Option<Arc<crate::snapshot::Snapshot>> {
        self.view.current()
    }

    /// Where the outbound side listens.
    #[must_use]
    pub fn outbound(&self) -> Option<SocketAddr> {
        self.outbound
    }

    /// Where connections to one backend each come in, in the order they were given.
    #[must_use]
    pub fn streams(&self) -> &[SocketAddr] {
        &self.streams
    }

    /// Where redirected connections of the application come in, in the order they were given.
    #[must_use]
    pub fn intercepted(&self) -> Vec<SocketAddr> {
        let of_side = self.listeners.iter().filter(|(.., purpose)| matches!(purpose, Purpose::Intercepted(_)));
        of_side.map(|(at, ..)| *at).collect()
    }

    /// Where clients from outside connect, in the order the entrances were given.
    #[must_use]
    pub fn entrances(&self) -> Vec<SocketAddr> {
        let of_side = self.listeners.iter().filter(|(.., purpose)| matches!(purpose, Purpose::Gateway { .. }));
        of_side.map(|(at, ..)| *at).collect()
    }

    /// Replaces the certificates that are shown to clients from outside, by `namespace/name`, all at once: whoever connects from now on is
    /// shown the new ones. Connections that are there stay.
    pub fn certify(&self, certificates: BTreeMap<String, ServerCertificate>) {
        self.vault.put(certificates);
    }

    /// What is shown to clients from outside.
    pub(crate) fn certificates(&self) -> Arc<BTreeMap<String, ServerCertificate>> {
        self.vault.current()
    }

    /// Where the inbound sides listen, in the order they were given; then those for intercepted connections, and the entrances.
    #[must_use]
    pub fn inbound(&self) -> &[SocketAddr] {
        &self.inbound
    }

    /// Ready when a mesh is in force and the identity is there.
    pub async fn ready(&self) {
        self.view.wait().await;
        if self.secure {
            self.keyring.wait().await;
        }
    }

    /// Whether [`Proxy::ready`] would be ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.view.is_here() && (!self.secure || self.keyring.is_here())
    }

    /// Replaces the mesh (until the control plane's next push, if there is one). Requests in flight go on; backends, endpoints and connections that stay keep their state.
    pub fn update(&self, mesh: &Mesh) {
        self.view.apply(mesh, "static");
    }

    /// Ends it gracefully: the inbound side accepts no more, `connection: close` and GOAWAY ask callers to leave, and
    /// requests in flight may end; then the same for the outbound side, which the application needs until then. What is
    /// still running `limit` after the call is cut off.
    pub async fn drain(&self, limit: Duration) {
        let until = self.core.host.now() + limit;
        for gate in [&self.inbound_gate, &self.outbound_gate] {
            gate.draining.raise();
            if timeout(self.core.host.clock().as_ref(), until, gate.running.none()).await.is_none() {
                gate.killed.raise();
                gate.running.none().await;
            }
        }
        self.followers.iter().for_each(Task::abort);
        self.closed.raise();
    }

    /// Ready when [`Proxy::drain`] has ended the proxy.
    pub async fn closed(&self) {
        self.closed.wait().await;
    }
}

async fn listen(host: &Host, address: SocketAddr) -> Result<Box<dyn Listener>, StartError> {
    host.net().listen(address).await.map_err(|source| StartError::Listen { address, source })
}
