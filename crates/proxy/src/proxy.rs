//! The proxy as others hold it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use squall_net::tls::TlsError;
use squall_net::{Host, Listener, Task, timeout};
use squall_policy::Mesh;

use crate::accept::{self, Gate, Purpose};
use crate::core::Core;
use crate::drain::{Running, Signal};
use crate::identity::{Keyring, Secrets};
use crate::snapshot::View;
use crate::subscribe::Follower;
use crate::{IdentitySource, ProxyConfig, Source};

/// A running proxy. Dropping it lets it run on; [`Proxy::drain`] ends it.
pub struct Proxy {
    core: Arc<Core>,
    keyring: Arc<Keyring>,
    view: Arc<View>,
    /// Whether an identity is to come.
    secure: bool,
    outbound: Option<(SocketAddr, Arc<Gate>)>,
    inbound: Vec<SocketAddr>,
    /// What each inbound listener is for.
    purposes: Vec<Purpose>,
    inbound_gate: Arc<Gate>,
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
        let core = Arc::new(Core::new(host, Arc::clone(&config.recorder), &config.node, &keyring, secure));
        let outbound = match config.outbound {
            Some(address) => Some(listen(host, address).await?),
            None => None,
        };
        let mut inbound = Vec::with_capacity(config.inbound.len());
        for listener in &config.inbound {
            let secure = secure && listener.mutual_tls;
            inbound.push((listen(host, listener.listen).await?, listener.app.port(), secure));
        }
        let mut listeners = config.inbound.clone();
        for (listener, (bound, ..)) in listeners.iter_mut().zip(&inbound) {
            listener.listen = bound.local();
        }
        let view = Arc::new(View::new(&core, listeners, &config.node.pod));
        let gate = || {
            Arc::new(Gate {
                core: Arc::clone(&core),
                keyring: Arc::clone(&keyring),
                view: Arc::clone(&view),
                limits: config.limits,
                draining: Arc::default(),
                killed: Arc::default(),
                running: Arc::<Running>::default(),
            })
        };
        let (inbound_gate, outbound_gate) = (gate(), gate());
        let outbound = outbound.map(|listener| {
            let at = listener.local();
            host.spawn("proxy outbound", accept::accept(Arc::clone(&outbound_gate), listener, Purpose::Outbound));
            (at, outbound_gate)
        });
        let inbound = inbound.into_iter().map(|(listener, port, secure)| {
            let at = listener.local();
            let purpose = Purpose::Inbound { port, secure };
            host.spawn("proxy inbound", accept::accept(Arc::clone(&inbound_gate), listener, purpose));
            (at, purpose)
        });
        let (inbound, purposes) = inbound.unzip();
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
        Ok(Self { followers, core, keyring, view, secure, outbound, inbound, purposes, inbound_gate, closed })
    }

    /// Serves with one more worker: listens once more at every address, on `host`, whose network must let listeners share ports;
    /// what comes there is served on the runtime that calls this. Everything that decides is shared: limits, breakers and budgets
    /// are those of the whole proxy, whatever the number of its workers.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn join(&self, host: &Host) -> Result<(), StartError> {
        let mut listeners = Vec::new();
        if let Some((at, gate)) = &self.outbound {
            listeners.push((listen(host, *at).await?, Arc::clone(gate), Purpose::Outbound));
        }
        for (at, purpose) in self.inbound.iter().zip(&self.purposes) {
            listeners.push((listen(host, *at).await?, Arc::clone(&self.inbound_gate), *purpose));
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
        self.outbound.as_ref().map(|(at, _)| *at)
    }

    /// Where the inbound sides listen, in the order they were given.
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
        let gates = std::iter::once(&self.inbound_gate).chain(self.outbound.as_ref().map(|(_, gate)| gate));
        for gate in gates {
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
