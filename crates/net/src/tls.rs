//! TLS between sidecars and to the control plane: rustls, SPIFFE identities.

use std::sync::Arc;

use squall_policy::Instant;

use crate::{BoxFuture, Conn, Host};

/// A private key, PKCS#8 DER. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKey(Arc<[u8]>);

impl PrivateKey {
    /// A key from PKCS#8 DER.
    #[must_use]
    pub fn from_pkcs8(der: &[u8]) -> Self {
        Self(der.into())
    }

    /// PKCS#8 DER.
    #[must_use]
    pub fn as_pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// Which keys and key exchange are used. The one declared difference between production and scenarios: rustls' entropy
/// cannot be seeded, and ECDSA signatures vary in length; Ed25519 and X25519 keep every length constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA P-256: production (Envoy refuses Ed25519 client certificates).
    P256,
    /// Ed25519 with X25519: scenarios.
    Ed25519,
}

/// Who we are and whom we trust: a workload certificate with its key, and the roots of the mesh.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Leaf first, DER.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's key.
    pub key: PrivateKey,
    /// Trusted roots, DER.
    pub roots: Vec<Vec<u8>>,
    /// Decides key exchange and signature schemes.
    pub algorithm: KeyAlgorithm,
    /// When the leaf ends, on the host's wall clock, seconds since 1970.
    pub not_after_s: u64,
    /// When it was given.
    pub issued_at: Instant,
}

/// A finished handshake.
pub struct Secured {
    /// The plaintext stream. Its `abort`, `poll_readable`, `peer` and `local` go through to the transport.
    pub conn: Conn,
    /// The peer's SPIFFE id (URI SAN), proven by its certificate; `None`: the peer showed no certificate.
    pub peer_identity: Option<Arc<str>>,
    /// The protocol agreed on by ALPN, if any.
    pub alpn: Option<Vec<u8>>,
}

/// Why TLS did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The identity cannot be used.
    #[error("certificate or key cannot be used: {why}")]
    BadIdentity {
        /// What is wrong with it.
        why: String,
    },
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[source] std::io::Error),
    /// The peer proved to be someone else.
    #[error("peer is {is}, expected {expected}")]
    WrongPeer {
        /// Who was expected.
        expected: Arc<str>,
        /// Who it is.
        is: String,
    },
}

/// Accepts TLS. Cheap to clone, made once per identity.
#[derive(Clone)]
pub struct Acceptor {}

/// Connects with TLS. Cheap to clone, made once per identity; resumes sessions per server name.
#[derive(Clone)]
pub struct Connector {}

impl Acceptor {
    /// Demands a certificate of the mesh from the peer (`require_client` true) or not. `alpn` in order of preference.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if certificate or key cannot be used.
    pub fn new(host: &Host, identity: &Identity, require_client: bool, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let _ = (host, identity, require_client, alpn);
        todo!()
    }

    /// Runs the handshake. No time limit of its own.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub fn accept(&self, conn: Conn) -> BoxFuture<'_, Result<Secured, TlsError>> {
        let _ = conn;
        todo!()
    }
}

impl Connector {
    /// Shows `identity` if it has a chain; trusts its roots only. `alpn` in order of preference.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if certificate or key cannot be used.
    pub fn new(host: &Host, identity: &Identity, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let _ = (host, identity, alpn);
        todo!()
    }

    /// Runs the handshake and checks that the peer proves to be `expected` (a SPIFFE id in a URI SAN).
    ///
    /// # Errors
    /// [`TlsError::Handshake`], [`TlsError::WrongPeer`].
    pub fn connect(&self, conn: Conn, expected: &Arc<str>) -> BoxFuture<'_, Result<Secured, TlsError>> {
        let _ = (conn, expected);
        todo!()
    }
}
