//! Connections that a load balancer makes for clients: the PROXY protocol tells where each client connected from.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::BytesMut;
use squall_net::proxy_protocol::{Look, NoHeader, look};
use squall_net::{Conn, prefixed, timeout};
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::accept::Gate;
use crate::{Record, Refusal};

/// Most headers come whole with this.
const PART_BYTES: usize = 536;

/// Why there is no header.
enum Missing {
    /// Not one byte came, as when a balancer only looks whether anybody listens.
    Silent,
    /// It broke off.
    Ended,
    /// What came is none.
    Other(NoHeader),
}

/// Takes the header from a connection that must begin with one, and says who the client is: `peer` itself, if the header names nobody. `None`:
/// there was none in time, which is recorded, and the connection is reset.
pub(crate) async fn read_header(gate: &Gate, mut conn: Conn, peer: SocketAddr) -> Option<(Conn, SocketAddr)> {
    let host = &gate.core.host;
    let until = host.now() + gate.limits.head_timeout;
    let mut first = BytesMut::new();
    let reading = async {
        loop {
            let mut part = [0; PART_BYTES];
            let mut part = ReadBuf::new(&mut part);
            let read: io::Result<()> = poll_fn(|cx| Pin::new(&mut conn).poll_read(cx, &mut part)).await;
            if read.is_err() || part.filled().is_empty() {
                return Err(if first.is_empty() { Missing::Silent } else { Missing::Ended });
            }
            // No more than a header's bytes and one part: `look` asks for no more once there are as many as one may have.
            first.extend_from_slice(part.filled());
            match look(&first) {
                Ok(Look::More) => {}
                Ok(Look::Is { proxied, bytes }) => return Ok((proxied, bytes)),
                Err(error) => return Err(Missing::Other(error)),
            }
        }
    };
    let why = match timeout(host.clock().as_ref(), until, reading).await {
        Some(Ok((proxied, bytes))) => {
            let rest = first.split_off(bytes).freeze();
            return Some((prefixed(rest, conn), proxied.map_or(peer, |proxied| proxied.source)));
        }
        Some(Err(Missing::Silent)) => return None,
        Some(Err(Missing::Ended)) => "it ended within its header of the PROXY protocol".to_owned(),
        Some(Err(Missing::Other(error))) => error.to_string(),
        None => "its header of the PROXY protocol took too long".to_owned(),
    };
    conn.abort();
    gate.core.record(host.now(), &Record::PeerRefused { peer, refusal: Refusal::ProxyProtocol, why: &why });
    None
}
