//! Connections that a firewall rule brought here: where each was meant to go, what it speaks, and so what is done with it.
//!
//! ```text
//!   outbound   own port ─▶ HTTP by `Host`, as without interception
//!              a Service's or pod's address ─▶ declared: HTTP or bytes;  not declared: look
//!              a stranger's ─▶ look, unless its port is known for protocols in which the server speaks first
//!       look   HTTP ─▶ by `Host`, else by address    TLS ─▶ bytes, by name, else by address    else ─▶ bytes, by address
//!   inbound    the port that was meant ─▶ as a listener of that port
//! ```

use std::sync::Arc;

use bytes::Bytes;
use squall_net::detect::Spoken;
use squall_net::http::Version;
use squall_net::{Accepted, Conn, prefixed};
use squall_policy::{Destination, OPAQUE_PORTS, Speaks, StreamPolicy};

use crate::accept::{self, Gate};
use crate::admit::Cell;
use crate::reach::{self, Fallback, Found, Strangers};
use crate::serve::Door;
use crate::snapshot::Snapshot;
use crate::stream::{self, Incoming};
use crate::{Record, Side};

/// The version that an HTTP connection speaks.
pub(crate) fn version(spoken: &Spoken) -> Option<Version> {
    match spoken {
        Spoken::Http1 => Some(Version::Http1),
        Spoken::Http2 => Some(Version::Http2),
        Spoken::Tls(_) | Spoken::Other => None,
    }
}

/// Where bytes go.
type Way<'s> = (Arc<Cell>, &'s str, StreamPolicy);

/// The own application's connection, wherever it was meant to go.
pub(crate) async fn outbound(gate: &Arc<Gate>, accepted: Accepted, strangers: Strangers) {
    let Accepted { mut conn, dialed, .. } = accepted;
    let Some(mesh) = gate.view.current() else { return };
    if accept::is_its_own(dialed, conn.local()) {
        return accept::http(gate, conn, None, Door::Outbound, None).await;
    }
    let found = mesh.reach.find(dialed);
    let speaks = match &found {
        Found::Service(to) | Found::Endpoint(to, _) => to.speaks,
        Found::Stranger if OPAQUE_PORTS.contains(&dialed.port()) => Speaks::Tcp,
        Found::Stranger => Speaks::Unknown,
    };
    let (spoken, already) = match speaks {
        Speaks::Http => (None, Bytes::new()),
        Speaks::Tcp => (Some(Spoken::Other), Bytes::new()),
        Speaks::Unknown => {
            let until = gate.core.host.now() + gate.detect_timeout;
            match stream::look(&gate.core, &mut conn, until).await {
                Ok((spoken, already)) => (Some(spoken), already),
                Err(error) => {
                    tracing::debug!(%error, %dialed, "a connection ended before it said anything");
                    return;
                }
            }
        }
    };
    // Looking may have taken long: what the mesh says now counts.
    let mesh = gate.view.current().unwrap_or(mesh);
    let by_address = |name: &'static str| match mesh.reach.find(dialed) {
        Found::Service(to) => mesh.backend(&to.backend).map(|cell| (Arc::clone(cell), to.backend.as_str(), to.stream)),
        Found::Endpoint(to, endpoint) => {
            let cell = mesh.reach.of_endpoint(&gate.core, to, endpoint);
            Some((cell, to.backend.as_str(), StreamPolicy { retries: 0, ..to.stream }))
        }
        Found::Stranger => match strangers {
            Strangers::Pass => Some((mesh.reach.of_stranger(&gate.core, dialed, name), name, reach::stranger_policy())),
            Strangers::Refuse => None,
        },
    };
    if spoken.as_ref().is_none_or(|spoken| version(spoken).is_some()) {
        let fallback = match mesh.reach.find(dialed) {
            Found::Service(to) => authority(to).map(Fallback::Authority),
            Found::Endpoint(..) | Found::Stranger => {
                by_address(PASSED).map(|(cell, name, _)| Fallback::Backend(reach::plain_route(name), cell))
            }
        };
        let conn = prefixed(already, conn);
        return accept::http(gate, conn, spoken.as_ref().and_then(version), Door::Outbound, fallback).await;
    }
    let named = match &spoken {
        Some(Spoken::Tls(hello)) => hello.server_name.as_deref().and_then(|name| by_name(&mesh, name, dialed.port())),
        Some(Spoken::Http1 | Spoken::Http2 | Spoken::Other) | None => None,
    };
    let Some((cell, route, policy)) = named.or_else(|| by_address(PASSED)) else {
        refuse(gate, conn, dialed);
        return;
    };
    let incoming =
        Incoming { conn, already, side: Side::Outbound, dialed: dialed.to_string(), peer: None, access: None };
    stream::carry(gate, incoming, &cell, route, policy).await;
}

/// What connections to strangers are counted under.
const PASSED: &str = "passthrough";

/// The Service that a ClientHello names. One of HTTP is not meant: TLS is not what it speaks.
fn by_name<'s>(mesh: &'s Snapshot, name: &str, port: u16) -> Option<Way<'s>> {
    let to = mesh.reach.named(name, port).filter(|to| to.speaks != Speaks::Http)?;
    Some((Arc::clone(mesh.backend(&to.backend)?), to.backend.as_str(), to.stream))
}

/// The host whose routes are the Service's.
fn authority(to: &Destination) -> Option<Arc<str>> {
    Some(format!("{}:{}", to.names.last()?, to.port).into())
}

fn refuse(gate: &Gate, mut conn: Conn, dialed: std::net::SocketAddr) {
    conn.abort();
    gate.core.record(gate.core.host.now(), &Record::StrangerRefused { dialed });
}
