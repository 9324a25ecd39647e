//! The proxy's own certificate, and what is made of it. It is replaced while connections live: they keep theirs.

use std::sync::{Arc, Mutex, PoisonError};

use squall_net::Host;
use squall_net::tls::{Acceptor, Connector, Identity, TlsError};
use squall_policy::Protocol;

use crate::drain::Signal;

/// ALPN names (RFC 7301): HTTP/2 and HTTP/1.1.
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const H1: &[u8] = b"http/1.1";
/// And of bytes that nobody looks at.
pub(crate) const TCP: &[u8] = b"squall-tcp";
/// The mark of the mesh's own TLS: clients offer it beside what they want to speak, and servers never choose it. By it a port that takes
/// other TLS too (PERMISSIVE) tells whose TLS it is, as Istio's does by `istio`.
pub(crate) const MESH: &[u8] = b"squall";

/// An identity ready for use.
pub(crate) struct Secrets {
    pub(crate) identity: Identity,
    http1: Connector,
    http2: Connector,
    pub(crate) tcp: Connector,
    pub(crate) acceptor: Acceptor,
}

impl Secrets {
    pub(crate) fn new(host: &Host, identity: Identity) -> Result<Self, TlsError> {
        Ok(Self {
            http1: Connector::new(host, &identity, &[H1, MESH])?,
            http2: Connector::new(host, &identity, &[H2, MESH])?,
            tcp: Connector::new(host, &identity, &[TCP, MESH])?,
            acceptor: Acceptor::new(host, &identity, true, &[H2, H1, TCP])?,
            identity,
        })
    }

    pub(crate) fn connector(&self, protocol: Protocol) -> &Connector {
        match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
            Protocol::Tcp => &self.tcp,
        }
    }
}

/// Holds the identity in force.
#[derive(Default)]
pub(crate) struct Keyring {
    secrets: Mutex<Option<Arc<Secrets>>>,
    here: Signal,
}

impl Keyring {
    pub(crate) fn put(&self, secrets: Secrets) {
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(secrets));
        self.here.raise();
    }

    pub(crate) fn current(&self) -> Option<Arc<Secrets>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_here(&self) -> bool {
        self.here.is_raised()
    }

    /// The identity, as soon as there is one.
    pub(crate) async fn wait(&self) -> Arc<Secrets> {
        self.here.wait().await;
        self.current().expect("put before the signal, and never taken away")
    }
}
