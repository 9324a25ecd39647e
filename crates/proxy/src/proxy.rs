//! The proxy as others hold it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use squall_net::Host;
use squall_net::tls::TlsError;
use squall_policy::Mesh;

use crate::ProxyConfig;

/// A running proxy. Dropping it lets it run on; [`Proxy::drain`] ends it.
pub struct Proxy {}

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
        let _ = (host, config);
        todo!()
    }

    /// Where the outbound side listens.
    #[must_use]
    pub fn outbound(&self) -> Option<SocketAddr> {
        todo!()
    }

    /// Where the inbound sides listen, in the order they were given.
    #[must_use]
    pub fn inbound(&self) -> &[SocketAddr] {
        todo!()
    }

    /// Ready when a mesh is in force and the identity is there.
    pub async fn ready(&self) {
        todo!()
    }

    /// Whether [`Proxy::ready`] would be ready now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    /// Replaces a static mesh. Requests in flight go on; backends, endpoints and connections that stay keep their state.
    pub fn update(&self, mesh: &Mesh) {
        let _ = mesh;
        todo!()
    }

    /// Ends it gracefully: the inbound side accepts no more, `connection: close` and GOAWAY ask callers to leave, and
    /// requests in flight may end; then the same for the outbound side, which the application needs until then. What is
    /// still running `limit` after the call is cut off.
    pub async fn drain(&self, limit: Duration) {
        let _ = limit;
        todo!()
    }

    /// Ready when [`Proxy::drain`] has ended the proxy, or its listeners have died.
    pub async fn closed(&self) {
        todo!()
    }
}
