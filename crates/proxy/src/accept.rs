//! Connections that come in: accepted, secured on the inbound side, served until they end or the proxy drains.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use squall_net::detect::Spoken;
use squall_net::edge::EdgeAcceptor;
use squall_net::http::{Interim, ServeLimits, Version};
use squall_net::tls::{Secured, TlsError};
use squall_net::{Accepted, BoxFuture, Conn, Listener, prefixed, timeout};
use squall_policy::{BackendName, PeerMode, Speaks, StreamPolicy};

use crate::alarm::Alarms;
use crate::core::Core;
use crate::drain::{Running, Signal};
use crate::identity::{H2, Keyring, MESH, TCP};
use crate::intercept;
use crate::reach::{Fallback, Strangers};
use crate::serve::{self, Door, Site};
use crate::snapshot::View;
use crate::stream::{self, Incoming};
use crate::{Entrance, Record, Refusal, Side, outside};

/// One side of the proxy: its listeners, and everything they accepted.
pub(crate) struct Gate {
    pub(crate) core: Arc<Core>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) view: Arc<View>,
    pub(crate) limits: ServeLimits,
    /// How long a connection may take to tell what it speaks, where nobody said.
    pub(crate) detect_timeout: Duration,
    /// Accept no more, and let what runs end.
    pub(crate) draining: Arc<Signal>,
    /// Cut off what still runs.
    pub(crate) killed: Arc<Signal>,
    pub(crate) running: Arc<Running>,
}

/// What a listener is for.
#[derive(Clone)]
pub(crate) enum Purpose {
    /// The own application's requests.
    Outbound,
    /// The own application's connections, wherever they were meant to go.
    Intercepted(Strangers),
    /// The own application's connections to this backend, as bytes.
    Stream(BackendName),
    /// Requests from outside.
    Gateway {
        /// Where, at which port of the Gateway.
        entrance: Entrance,
        /// For the listeners that have TLS.
        acceptor: EdgeAcceptor,
    },
    /// Connections for the application at whatever port they were meant for.
    InterceptedInbound {
        /// Peers must prove who they are.
        secure: bool,
    },
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
        if let Purpose::Inbound { port, .. } = purpose {
            gate.view.wait_inbound(port).await;
        }
        if let Purpose::Gateway { entrance, .. } = purpose {
            gate.view.wait_gateway(entrance.port).await;
        }
        if let Purpose::Inbound { secure: true, .. } | Purpose::InterceptedInbound { secure: true } = purpose {
            gate.keyring.wait().await;
        }
    };
    if unless(needs, gate.draining.wait()).await.is_none() {
        return;
    }
    let (told, listens) = (Arc::clone(&gate), listener.local());
    listener.on_shortage(Box::new(move |error| {
        told.core.record(told.core.host.now(), &Record::Shortage { listens, why: &error.to_string() });
    }));
    // Draining wins over a connection that is there: a client that is refused tries elsewhere.
    while let Some(accepted) = unless_first(gate.draining.wait(), listener.accept()).await {
        match accepted {
            Ok(accepted) => {
                let mark = gate.running.mark();
                let (gate_of_conn, purpose) = (Arc::clone(&gate), purpose.clone());
                gate.core.host.spawn("proxy connection", async move {
                    let _mark = mark;
                    let gate = gate_of_conn;
                    // Pinned here: given away by value, it would be kept twice.
                    let serving = pin!(connection(&gate, accepted, purpose));
                    unless_first(gate.killed.wait(), serving).await;
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

/// Serves one connection to its end. What is larger than serving the own application is boxed, as its connections are the most.
async fn connection(gate: &Arc<Gate>, accepted: Accepted, purpose: Purpose) {
    match purpose {
        Purpose::Outbound => http(gate, accepted.conn, None, Door::Outbound, None).await,
        Purpose::Intercepted(strangers) => Box::pin(intercept::outbound(gate, accepted, strangers)).await,
        Purpose::Stream(backend) => Box::pin(outbound_stream(gate, accepted, &backend)).await,
        Purpose::Gateway { entrance, acceptor } => {
            Box::pin(outside::enter(gate, accepted, entrance, &acceptor)).await;
        }
        Purpose::Inbound { port, secure } => Box::pin(inbound(gate, accepted, port, secure)).await,
        Purpose::InterceptedInbound { secure } => {
            let Accepted { conn, peer, dialed } = &accepted;
            if is_its_own(*dialed, conn.local()) {
                // Taken on, it would come back here without end.
                return refused(gate, *peer, Refusal::NotRedirected);
            }
            let port = dialed.port();
            Box::pin(inbound(gate, accepted, port, secure)).await;
        }
    }
}

/// Whether a connection was meant for the very address it came in at: nobody redirected it. IPv4 connections to a listener for both
/// families have addresses that are mapped into IPv6.
pub(crate) fn is_its_own(dialed: SocketAddr, local: SocketAddr) -> bool {
    (dialed.ip().to_canonical(), dialed.port()) == (local.ip().to_canonical(), local.port())
}

/// A connection for the application at `port`.
async fn inbound(gate: &Arc<Gate>, accepted: Accepted, port: u16, is_secure: bool) {
    let Accepted { mut conn, peer, dialed: _ } = accepted;
    let (mut version, mut already, mut identity, mut is_bytes) = (None, Bytes::new(), None, false);
    // What the mesh says comes before what the listener was told.
    let mode = gate.view.peers(port);
    let mut is_secure = is_secure;
    match mode {
        None => {}
        Some(PeerMode::Strict) if gate.core.own.is_none() => {
            conn.abort();
            return refused(gate, peer, Refusal::NoIdentity);
        }
        Some(PeerMode::Strict) => is_secure = true,
        Some(PeerMode::Permissive | PeerMode::Disable) => {
            let until = gate.core.host.now() + gate.detect_timeout;
            let Ok((spoken, first)) = Box::pin(stream::look(&gate.core, &mut conn, until)).await else { return };
            // The mesh's own TLS says that it is. Other TLS is the application's, whatever server it names. Where the mode is DISABLE the mesh's
            // own is of clients who have not heard of that yet, or have heard of its end before this sidecar.
            is_secure = gate.core.own.is_some() && matches!(&spoken, Spoken::Tls(hello) if hello.offers(MESH));
            if is_secure {
                conn = prefixed(first, conn);
            } else {
                is_bytes = match (&spoken, gate.view.speaks(port)) {
                    (Spoken::Tls(_), _) | (_, Some(Speaks::Tcp)) | (Spoken::Other, Some(Speaks::Unknown)) => true,
                    (Spoken::Http1 | Spoken::Http2 | Spoken::Other, _) => false,
                };
                (version, already) = (intercept::version(&spoken), first);
            }
        }
    }
    if is_secure {
        let Some(secured) = secure(gate, conn, peer).await else { return };
        (conn, identity) = (secured.conn, secured.peer_identity);
        let speaks = gate.view.speaks(port);
        match secured.alpn.as_deref() {
            Some(alpn) if alpn == TCP => {
                if speaks == Some(Speaks::Http) {
                    // What is said of requests there would not hold.
                    conn.abort();
                    return refused(gate, peer, Refusal::NotHttp);
                }
                is_bytes = true;
            }
            Some(alpn) => version = Some(if alpn == H2 { Version::Http2 } else { Version::Http1 }),
            None => {}
        }
        is_bytes |= speaks == Some(Speaks::Tcp);
    } else if mode.is_none() {
        match gate.view.speaks(port) {
            Some(Speaks::Tcp) => is_bytes = true,
            Some(Speaks::Unknown) => {
                let until = gate.core.host.now() + gate.detect_timeout;
                let Ok((spoken, first)) = stream::look(&gate.core, &mut conn, until).await else { return };
                (version, already) = (intercept::version(&spoken), first);
                is_bytes = version.is_none();
            }
            Some(Speaks::Http) | None => {}
        }
    }
    if !is_bytes {
        let door = Door::Inbound { port, peer: identity };
        return http(gate, prefixed(already, conn), version, door, None).await;
    }
    let mesh = gate.view.current();
    let known = mesh.as_ref().and_then(|mesh| Some((mesh.inbound(port)?, mesh.access(port).map(Arc::clone))));
    let Some((cell, access)) = known else {
        conn.abort();
        return refused(gate, peer, Refusal::UnknownPort);
    };
    let dialed = port.to_string();
    let incoming = Incoming { conn, already, side: Side::Inbound, dialed, peer: identity, access };
    let policy = StreamPolicy { retries: 0, ..StreamPolicy::default() };
    Box::pin(stream::carry(gate, incoming, cell, "inbound", policy)).await;
}

/// The own application's connection to a backend that its listener is for.
async fn outbound_stream(gate: &Arc<Gate>, accepted: Accepted, backend: &BackendName) {
    let Accepted { mut conn, dialed, .. } = accepted;
    let Some(mesh) = gate.view.current() else { return };
    let Some(cell) = mesh.backend(backend) else {
        conn.abort();
        return gate.core.record(gate.core.host.now(), &Record::StrangerRefused { dialed });
    };
    let policy = mesh.stream(backend);
    let dialed = backend.to_string();
    let incoming = Incoming { conn, already: Bytes::new(), side: Side::Outbound, dialed, peer: None, access: None };
    stream::carry(gate, incoming, cell, backend.as_str(), policy).await;
}

/// Serves HTTP, to the connection's end. `version` `None`: it tells by itself.
pub(crate) async fn http(
    gate: &Arc<Gate>,
    conn: Conn,
    version: Option<Version>,
    door: Door,
    fallback: Option<Fallback>,
) {
    let (interim, peer) = (Interim::default(), conn.peer());
    let site = Arc::new(Site {
        alarms: Alarms::default(),
        core: Arc::clone(&gate.core),
        keyring: Arc::clone(&gate.keyring),
        view: Arc::clone(&gate.view),
        door,
        gate: Arc::clone(gate),
        interim: interim.clone(),
        fallback,
    });
    let left = secured(gate, &site.door);
    let service = move |request| serve::request(Arc::clone(&site), request);
    // Pinned here: given away by value, it would be kept twice.
    let drain = pin!(async {
        match left {
            Some(left) => drop(unless(gate.draining.wait(), left).await),
            None => gate.draining.wait().await,
        }
    });
    let host = &gate.core.host;
    let served = squall_net::http::serve_with_interim(host, conn, version, gate.limits, interim, service, drain).await;
    if let Err(error) = served {
        tracing::debug!(%error, %peer, "a served connection ended");
        if error.is_parse() {
            let record = Record::PeerRefused { peer, refusal: Refusal::Malformed, why: &error.to_string() };
            gate.core.record(host.now(), &record);
        }
    }
}

/// Ready when a plain connection is no longer what its port takes: it may end what it has begun. `None`: it is not plain.
fn secured(gate: &Arc<Gate>, door: &Door) -> Option<BoxFuture<'static, ()>> {
    let Door::Inbound { port, peer: None } = *door else { return None };
    let gate = (gate.view.takes_plain(port)?).then(|| Arc::clone(gate))?;
    Some(Box::pin(async move { gate.view.wait_secured(port).await }))
}

/// Lets the peer prove who it is.
async fn secure(gate: &Gate, conn: Conn, peer: SocketAddr) -> Option<Secured> {
    let secrets = gate.keyring.wait().await;
    handshake(gate, conn, peer, |conn| secrets.acceptor.accept(conn)).await
}

/// A handshake with a peer, if it ends well and in time. Its time counts from here, the wait for its turn included. Who says nothing waits
/// for no turn and has none: otherwise a few silent connections would keep everybody out.
pub(crate) async fn handshake<T, F: Future<Output = Result<T, TlsError>>>(
    gate: &Gate,
    mut conn: Conn,
    peer: SocketAddr,
    work: impl FnOnce(Conn) -> F,
) -> Option<T> {
    let host = &gate.core.host;
    let until = host.now() + gate.limits.head_timeout;
    let begins = timeout(host.clock().as_ref(), until, poll_fn(|cx| conn.poll_readable(cx)));
    // What is wrong with the connection, its handshake finds too.
    if begins.await.is_none() {
        refused(gate, peer, Refusal::HandshakeTimeout);
        return None;
    }
    let turn = timeout(host.clock().as_ref(), until, gate.core.handshakes.acquire()).await;
    // A turn that comes at the end of its time is none. It is given back when this returns.
    let Some(Ok(_turn)) = turn.filter(|_| host.now() < until) else {
        refused(gate, peer, Refusal::HandshakeLimit);
        return None;
    };
    match timeout(host.clock().as_ref(), until, work(conn)).await {
        Some(Ok(done)) => return Some(done),
        Some(Err(error)) => {
            let record = Record::PeerRefused { peer, refusal: Refusal::Tls, why: &error.to_string() };
            gate.core.record(host.now(), &record);
        }
        None => refused(gate, peer, Refusal::HandshakeTimeout),
    }
    None
}

/// Tells that a connection was refused.
pub(crate) fn refused(gate: &Gate, peer: SocketAddr, refusal: Refusal) {
    gate.core.record(gate.core.host.now(), &Record::PeerRefused { peer, refusal, why: "" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    /// Each connection has one of these as long as it lasts, whatever it does.
    #[test]
    fn the_future_of_a_connection_stays_small() {
        let bytes = size_of_future::<&Arc<Gate>, _, _, _>(connection);
        assert!(bytes <= 1536, "{bytes} bytes");
    }
}
