//! TLS for clients from outside the mesh: servers are known by name, and a certificate is picked by the name a client asks for.
//!
//! TLS 1.2 and 1.3. Clients show no certificate. Which names there are, and which certificates belong to them, is asked anew in each
//! handshake ([`Certificates`]), a resumed one too, so that a certificate that is replaced, or a name that is gone, needs no new acceptor.

use std::io;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::{self, KeyAlgorithm, TlsError};
use crate::{BoxFuture, Conn, Host};

/// Sessions that a server remembers for resumption.
const SESSIONS: usize = 4096;

/// A certificate with those between it and its root, and its key. Its `Debug` shows nothing of the key.
#[derive(Clone)]
pub struct ServerCertificate {
    key: Arc<CertifiedKey>,
    not_after_s: u64,
}

impl ServerCertificate {
    /// From PEM: the certificates, leaf first, and the key of the leaf (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if one of them cannot be used, or the key is not that of the leaf. Nothing of the key is in it.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, TlsError> {
        let bad = |why: String| TlsError::BadIdentity { why };
        let chain = crate::pem::certificates(chain).map_err(|error| bad(error.to_string()))?;
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(CertificateDer::from).collect();
        let (_, leaf) =
            X509Certificate::from_der(&chain[0]).map_err(|error| bad(format!("not a certificate: {error}")))?;
        let not_after_s = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or(0);
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            bad("there is no `BEGIN PRIVATE KEY` (or RSA, or EC PRIVATE KEY) in the key's text".to_owned())
        })?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| bad(error.to_string()))?;
        Ok(Self { key: Arc::new(key), not_after_s })
    }

    /// When it ends, seconds since 1970.
    #[must_use]
    pub fn not_after_s(&self) -> u64 {
        self.not_after_s
    }

    /// Whether it says that it is for this name.
    fn names(&self, name: &ServerName<'_>) -> bool {
        let leaf = self.key.end_entity_cert().and_then(ParsedCertificate::try_from);
        leaf.is_ok_and(|leaf| verify_server_name(&leaf, name).is_ok())
    }
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate").field("not_after_s", &self.not_after_s).finish_non_exhaustive()
    }
}

/// Knows which certificates are shown to whom.
pub trait Certificates: Send + Sync + 'static {
    /// Those for a client that asks for this name (lower case; `None`: it names nobody), the best first. Of several the first is shown
    /// that is for the name and whose signatures the client understands. Empty: the handshake is refused.
    fn of(&self, server_name: Option<&str>) -> Vec<ServerCertificate>;
}

/// Accepts TLS 1.2 and 1.3 from clients without a certificate. Cheap to clone: clones share the sessions that clients may resume.
#[derive(Clone)]
pub struct EdgeAcceptor(TlsAcceptor);

/// A finished handshake.
pub struct EdgeSecured {
    /// The plaintext stream. Its `abort`, `poll_readable`, `peer` and `local` go through to the transport.
    pub conn: Conn,
    /// The protocol agreed on by ALPN, if any.
    pub alpn: Option<Vec<u8>>,
    /// The name that the client asked for, lower case.
    pub server_name: Option<Arc<str>>,
}

impl EdgeAcceptor {
    /// `alpn` in order of preference; a client that offers only others is refused. `algorithm` decides key exchange.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`]: the library has no ciphers for TLS.
    pub fn new(
        host: &Host,
        algorithm: KeyAlgorithm,
        certificates: Arc<dyn Certificates>,
        alpn: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_details(Arc::new(tls::provider(algorithm)), tls::world_time(host))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(tls::bad_identity)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(Picked(certificates)));
        config.alpn_protocols = tls::owned(alpn);
        // Kept here, not in tickets: rustls' own ticketer reads the OS clock.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Runs the handshake. No time limit of its own.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub fn accept(&self, conn: Conn) -> BoxFuture<'_, Result<EdgeSecured, TlsError>> {
        Box::pin(async move {
            let stream = self.0.accept(conn).await.map_err(TlsError::Handshake)?;
            let session = stream.get_ref().1;
            let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
            // rustls has it in lower case.
            let server_name = session.server_name().map(Arc::from);
            Ok(EdgeSecured { alpn, server_name, conn: tls::plain(stream.into()) })
        })
    }
}

/// Connects as clients outside do: to a server that is known by name. Cheap to clone.
#[derive(Clone)]
pub struct EdgeConnector(TlsConnector);

impl EdgeConnector {
    /// Trusts servers that one of `roots` (DER) has signed for the name they are asked by. `alpn` in order of preference.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if a root cannot be used.
    pub fn new(host: &Host, algorithm: KeyAlgorithm, roots: &[Vec<u8>], alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let mut trusted = RootCertStore::empty();
        for root in roots {
            trusted.add(CertificateDer::from(root.clone())).map_err(tls::bad_identity)?;
        }
        let provider = Arc::new(tls::provider(algorithm));
        let config = ClientConfig::builder_with_details(provider, tls::world_time(host))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(tls::bad_identity)?;
        let mut config = config.with_root_certificates(trusted).with_no_client_auth();
        config.alpn_protocols = tls::owned(alpn);
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Runs the handshake with the server called `name`. No time limit of its own.
    ///
    /// # Errors
    /// [`TlsError::Handshake`]; also if `name` is no DNS name.
    pub fn connect(&self, conn: Conn, name: &str) -> BoxFuture<'_, Result<EdgeSecured, TlsError>> {
        let server_name = Some(Arc::from(name));
        let name = ServerName::try_from(name.to_owned());
        Box::pin(async move {
            let bad_name = |error| TlsError::Handshake(io::Error::new(io::ErrorKind::InvalidInput, error));
            let stream = self.0.connect(name.map_err(bad_name)?, conn).await.map_err(TlsError::Handshake)?;
            let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            Ok(EdgeSecured { alpn, server_name, conn: tls::plain(stream.into()) })
        })
    }
}

fn provider() -> CryptoProvider {
    tls::provider(KeyAlgorithm::P256)
}

struct Picked(Arc<dyn Certificates>);

impl std::fmt::Debug for Picked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Picked")
    }
}

impl ResolvesServerCert for Picked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let mut found = self.0.of(name);
        found.retain(|certificate| certificate.key.key.choose_scheme(hello.signature_schemes()).is_some());
        let wanted = name.and_then(|name| ServerName::try_from(name).ok());
        let best = wanted.and_then(|name| found.iter().position(|certificate| certificate.names(&name))).unwrap_or(0);
        (best < found.len()).then(|| found.swap_remove(best).key)
    }
}
