//! TLS between sidecars and to the control plane: rustls, SPIFFE identities.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use squall_policy::Instant;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub use crate::keys::{make_csr, make_key};
use crate::{BoxFuture, Conn, Host, Io, Wall};

/// Sessions that a server, and servers that a client, remembers for resumption.
const SESSIONS: usize = 1024;

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

/// Accepts TLS 1.3. Cheap to clone, made once per identity: clones share the sessions that clients may resume.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    wall: Arc<dyn Wall>,
}

/// Connects with TLS 1.3. Cheap to clone, made once per identity; resumes sessions per server address and port.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    wall: Arc<dyn Wall>,
}

impl Acceptor {
    /// Demands a certificate of the mesh from the peer (`require_client` true), or takes peers without one as well; one that
    /// is shown must be good. `alpn` in order of preference.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if certificate or key cannot be used.
    pub fn new(host: &Host, identity: &Identity, require_client: bool, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = Arc::new(provider(identity.algorithm));
        let clients = WebPkiClientVerifier::builder_with_provider(roots(identity)?, Arc::clone(&provider));
        let clients = if require_client { clients } else { clients.allow_unauthenticated() };
        let clients = clients.build().map_err(bad_identity)?;
        let mut config = ServerConfig::builder_with_details(provider, world_time(host))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(bad_identity)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain(identity), key(identity))
            .map_err(bad_identity)?;
        config.alpn_protocols = owned(alpn);
        // Sessions kept here, not in tickets: rustls' own ticketer reads the OS clock.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self { tls: TlsAcceptor::from(Arc::new(config)), wall: Arc::clone(host.wall()) })
    }

    /// Runs the handshake. No time limit of its own.
    ///
    /// # Errors
    /// [`TlsError::Handshake`].
    pub fn accept(&self, conn: Conn) -> BoxFuture<'_, Result<Secured, TlsError>> {
        Box::pin(async move {
            let stream = self.tls.accept(conn).await.map_err(TlsError::Handshake)?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
            let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let mut conn = TlsConn::new(stream.into());
            let peer_identity = match shown.map(|leaf| spiffe_id(&leaf, self.wall.since_epoch())).transpose() {
                Ok(id) => id,
                Err(why) => {
                    conn.abort();
                    return Err(TlsError::Handshake(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
            };
            Ok(Secured { conn: Box::new(conn), peer_identity, alpn })
        })
    }
}

impl Connector {
    /// Shows `identity` if it has a chain; trusts its roots only. `alpn` in order of preference.
    ///
    /// # Errors
    /// [`TlsError::BadIdentity`] if certificate or key cannot be used.
    pub fn new(host: &Host, identity: &Identity, alpn: &[&[u8]]) -> Result<Self, TlsError> {
        let provider = Arc::new(provider(identity.algorithm));
        let servers = ChainVerifier { roots: roots(identity)?, provider: Arc::clone(&provider) };
        let config = ClientConfig::builder_with_details(provider, world_time(host))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(bad_identity)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers));
        let mut config = if identity.chain.is_empty() {
            config.with_no_client_auth()
        } else {
            config.with_client_auth_cert(chain(identity), key(identity)).map_err(bad_identity)?
        };
        config.alpn_protocols = owned(alpn);
        config.enable_sni = false;
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS)));
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), wall: Arc::clone(host.wall()) })
    }

    /// Runs the handshake and checks that the peer proves to be `expected` (a SPIFFE id in a URI SAN). No time limit of its
    /// own.
    ///
    /// # Errors
    /// [`TlsError::Handshake`], [`TlsError::WrongPeer`].
    pub fn connect(&self, conn: Conn, expected: &Arc<str>) -> BoxFuture<'_, Result<Secured, TlsError>> {
        let expected = Arc::clone(expected);
        Box::pin(async move {
            let name = session_name(conn.peer());
            let stream = self.tls.connect(name, conn).await.map_err(TlsError::Handshake)?;
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
            let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            let mut conn = TlsConn::new(stream.into());
            let id = shown
                .ok_or_else(|| "the server showed no certificate".to_owned())
                .and_then(|leaf| spiffe_id(&leaf, self.wall.since_epoch()));
            match id {
                Ok(id) if id == expected => Ok(Secured { conn: Box::new(conn), peer_identity: Some(id), alpn }),
                Ok(id) => {
                    conn.abort();
                    Err(TlsError::WrongPeer { expected, is: id.to_string() })
                }
                Err(why) => {
                    conn.abort();
                    Err(TlsError::Handshake(io::Error::new(io::ErrorKind::InvalidData, why)))
                }
            }
        })
    }
}

pub(crate) fn bad_identity(error: impl std::fmt::Display) -> TlsError {
    TlsError::BadIdentity { why: error.to_string() }
}

pub(crate) fn provider(algorithm: KeyAlgorithm) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    // First choice where both ends have it, as in BoringSSL: its SHA-256 has instructions of its own in today's processors, which the
    // SHA-384 of AES-256 has not, and a handshake hashes a lot.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    match algorithm {
        KeyAlgorithm::P256 => {}
        KeyAlgorithm::Ed25519 => provider.kx_groups = vec![aws_lc_rs::kx_group::X25519],
    }
    provider
}

fn roots(identity: &Identity) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in &identity.roots {
        roots.add(CertificateDer::from(root.clone())).map_err(bad_identity)?;
    }
    if roots.is_empty() {
        return Err(bad_identity("no trusted root"));
    }
    Ok(Arc::new(roots))
}

fn chain(identity: &Identity) -> Vec<CertificateDer<'static>> {
    identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect()
}

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(identity.key.as_pkcs8().to_vec()).into()
}

pub(crate) fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}

/// What a client files the sessions of this server under. It is never sent (no SNI) and never checked: identities are SPIFFE
/// ids.
fn session_name(server: SocketAddr) -> ServerName<'static> {
    let address = match server.ip() {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => v6.to_string().replace(':', "-"),
    };
    let name = format!("p{port}-{address}-x.peer", port = server.port());
    ServerName::try_from(name).expect("letters, digits, dashes and one dot, at most 50 characters, are a DNS name")
}

/// The SPIFFE id of a workload certificate: its only URI SAN (X.509-SVID §2). A resumed session skips the chain check, so its
/// time is looked at here for every handshake.
fn spiffe_id(leaf: &CertificateDer<'_>, since_epoch: Duration) -> Result<Arc<str>, String> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| format!("certificate: {error}"))?;
    let now_s = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    if now_s > certificate.validity().not_after.timestamp() {
        return Err("the certificate has expired".to_owned());
    }
    let names = certificate.subject_alternative_name().map_err(|error| format!("certificate: {error}"))?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let mut ids = names.iter().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    match (ids.next(), ids.next()) {
        (Some(id), None) if id.starts_with("spiffe://") => Ok(id.into()),
        (Some(id), None) => Err(format!("`{id}` is not a SPIFFE id")),
        (Some(_), Some(_)) => Err("the certificate has more than one URI".to_owned()),
        (None, _) => Err("the certificate has no SPIFFE id".to_owned()),
    }
}

/// The plaintext of a stream after its handshake.
pub(crate) fn plain(stream: TlsStream<Conn>) -> Conn {
    Box::new(TlsConn::new(stream))
}

/// rustls' time is the host's.
struct WorldTime(Arc<dyn Wall>);

pub(crate) fn world_time(host: &Host) -> Arc<dyn TimeProvider> {
    Arc::new(WorldTime(Arc::clone(host.wall())))
}

impl std::fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldTime")
    }
}

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.since_epoch()))
    }
}

/// A server is who it says if its chain leads to a root of the mesh; its SPIFFE id is compared after the handshake, since one
/// connector serves many.
#[derive(Debug)]
struct ChainVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

struct TlsConn {
    stream: TlsStream<Conn>,
    peer: SocketAddr,
    local: SocketAddr,
    /// What [`Io::poll_readable`] met, for the reader.
    failed: Option<io::Error>,
}

impl TlsConn {
    fn new(stream: TlsStream<Conn>) -> Self {
        let (peer, local) = (stream.get_ref().0.peer(), stream.get_ref().0.local());
        Self { stream, peer, local, failed: None }
    }
}

impl AsyncRead for TlsConn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Io for TlsConn {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.failed.is_none() {
            let (transport, session) = self.stream.get_mut();
            if !session.wants_read() {
                break;
            }
            ready!(transport.poll_readable(cx))?;
            // Whole records only: session tickets and parts of records are readable below, but nothing for our reader.
            match Pin::new(&mut self.stream).poll_fill_buf(cx) {
                Poll::Ready(Ok(_)) => break,
                Poll::Ready(Err(error)) => self.failed = Some(error),
                Poll::Pending => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {
        self.stream.get_mut().0.abort();
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}
