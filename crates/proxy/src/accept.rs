//! Connections that come in: accepted, secured on the inbound side, served until they end or the proxy drains.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use squall_net::http::{Interim, ServeLimits, Version};
use squall_net::tls::Secured;
use squall_net::{Accepted, Conn, Listener, timeout};

use crate::Record;
use crate::core::Core;
use crate::drain::{Running, Signal};
use crate::identity::{H2, Keyring};
use crate::serve::{self, Door, Site};
use crate::snapshot::View;

/// One side of the proxy: its listeners, and everything they accepted.
pub(crate) struct Gate {
    pub(crate) core: Arc<Core>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) view: Arc<View>,
    pub(crate) limits: ServeLimits,
    /// Accept no more, and let what runs end.
    pub(crate) draining: Arc<Signal>,
    /// Cut off what still runs.
    pub(crate) killed: Arc<Signal>,
    pub(crate) running: Arc<Running>,
}

/// What a listener is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// The own application's requests.
    Outbound,
    /// Requests for the application at this port.
    Inbound {
        /// The application's port.
        port: u16,
        /// Peers must prove who they are.
        secure: bool,
    },
}

/// `a`'s result, or `None` if `b` comes first. If both are ready, `a` wins.
pub(crate) async fn unless<T>(a: impl Future<Output = T>, b: impl Future<Output = ()>) -> Option<T> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = a.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        b.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Accepts until the proxy drains. Waits first for what a request needs; connections wait in the listener until then. A port that
/// the mesh does not name yet is such a thing: others may learn of an endpoint before its own sidecar does.
pub(crate) async fn accept(gate: Arc<Gate>, mut listener: Box<dyn Listener>, purpose: Purpose) {
    let _running = gate.running.mark();
    let needs = async {
        gate.view.wait().await;
        if let Purpose::Inbound { port, secure } = purpose {
            gate.view.wait_inbound(port).await;
            if secure {
                gate.keyring.wait().await;
            }
        }
    };
    if unless(needs, gate.draining.wait()).await.is_none() {
        return;
    }
    // Draining wins over a connection that is there: a client that is refused tries elsewhere.
    while let Some(accepted) = unless_first(gate.draining.wait(), listener.accept()).await {
        match accepted {
            Ok(accepted) => {
                let mark = gate.running.mark();
                let gate_of_conn = Arc::clone(&gate);
                gate.core.host.spawn("proxy connection", async move {
                    let _mark = mark;
                    let gate = gate_of_conn;
                    unless_first(gate.killed.wait(), connection(&gate, accepted, purpose)).await;
                });
            }
            Err(error) => {
                tracing::error!(%error, at = %listener.local(), "a listener has died");
                return;
            }
        }
    }
}

/// `b`'s result, or `None` if `a` comes first. If both are ready, `a` wins.
pub(crate) async fn unless_first<T>(a: impl Future<Output = ()>, b: impl Future<Output = T>) -> Option<T> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| {
        if a.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        b.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Serves one connection to its end.
async fn connection(gate: &Arc<Gate>, accepted: Accepted, purpose: Purpose) {
    let Accepted { conn, peer, dialed: _ } = accepted;
    let (conn, version, door) = match purpose {
        Purpose::Outbound => (conn, None, Door::Outbound),
        Purpose::Inbound { port, secure: false } => (conn, None, Door::Inbound { port, peer: None }),
        Purpose::Inbound { port, secure: true } => match secure(gate, conn, peer).await {
            Some(Secured { conn, peer_identity, alpn }) => {
                let version = alpn.map(|alpn| if alpn == H2 { Version::Http2 } else { Version::Http1 });
                (conn, version, Door::Inbound { port, peer: peer_identity })
            }
            None => return,
        },
    };
    let interim = Interim::default();
    let site = Arc::new(Site {
        core: Arc::clone(&gate.core),
        keyring: Arc::clone(&gate.keyring),
        view: Arc::clone(&gate.view),
        door,
        gate: Arc::clone(gate),
        interim: interim.clone(),
    });
    let service = move |request| serve::request(Arc::clone(&site), request);
    let drain = gate.draining.wait();
    let host = &gate.core.host;
    let served = squall_net::http::serve_with_interim(host, conn, version, gate.limits, interim, service, drain).await;
    if let Err(error) = served {
        tracing::debug!(%error, %peer, "a served connection ended");
    }
}

/// Lets the peer prove who it is.
async fn secure(gate: &Gate, conn: Conn, peer: SocketAddr) -> Option<Secured> {
    let host = &gate.core.host;
    let secrets = gate.keyring.wait().await;
    let until = host.now() + gate.limits.head_timeout;
    let why = match timeout(host.clock().as_ref(), until, secrets.acceptor.accept(conn)).await {
        Some(Ok(secured)) => return Some(secured),
        Some(Err(error)) => error.to_string(),
        None => "the TLS handshake took too long".to_owned(),
    };
    gate.core.record(host.now(), &Record::PeerRefused { peer, why: &why });
    None
}
