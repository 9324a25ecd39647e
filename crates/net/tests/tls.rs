//! TLS over real loopback TCP: who is believed, who is refused, and how many bytes it takes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, SanType,
};
use squall_net::tcp::Tcp;
use squall_net::tls::{Acceptor, Connector, Identity, KeyAlgorithm, PrivateKey, Secured, TlsError};
use squall_net::{Conn, Host, Io};
use squall_policy::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

struct Authority {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    algorithm: KeyAlgorithm,
}

impl Authority {
    fn new(algorithm: KeyAlgorithm) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names to be wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = new_key(algorithm);
        let root = params.self_signed(&key).expect("a root of good parameters").der().to_vec();
        Self { root, issuer: Issuer::new(params, key), algorithm }
    }

    fn issue(&self, uris: &[&str]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names to be wrong");
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().expect("ASCII")));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = new_key(self.algorithm);
        let leaf = params.signed_by(&key, &self.issuer).expect("a leaf of good parameters");
        Identity {
            chain: vec![leaf.der().to_vec()],
            key: PrivateKey::from_pkcs8(&key.serialize_der()),
            roots: vec![self.root.clone()],
            algorithm: self.algorithm,
            not_after_s: u64::MAX,
            issued_at: Instant::ZERO,
        }
    }

    fn stranger(&self) -> Identity {
        Identity { chain: Vec::new(), ..self.issue(&[]) }
    }
}

fn new_key(algorithm: KeyAlgorithm) -> KeyPair {
    let algorithm = match algorithm {
        KeyAlgorithm::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::Ed25519 => &PKCS_ED25519,
    };
    KeyPair::generate_for(algorithm).expect("the OS has entropy")
}

const WEB: &str = "spiffe://mesh/ns/shop/sa/web";
const CART: &str = "spiffe://mesh/ns/shop/sa/cart";

fn id(id: &str) -> Arc<str> {
    id.into()
}

/// Counts what crosses a connection.
struct Counted {
    conn: Conn,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.conn).poll_read(cx, buf);
        self.read.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.conn).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &polled {
            self.written.fetch_add(*count as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }
}

impl Io for Counted {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_readable(cx)
    }

    fn abort(&mut self) {
        self.conn.abort();
    }

    fn peer(&self) -> SocketAddr {
        self.conn.peer()
    }

    fn local(&self) -> SocketAddr {
        self.conn.local()
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A handshake both ways, and what the client read and wrote until both sides had sent 5 bytes to each other.
struct Shaken {
    server: Result<Secured, TlsError>,
    client: Result<Secured, TlsError>,
    read: u64,
    written: u64,
}

async fn shake(host: &Host, acceptor: &Acceptor, connector: &Connector, port: SocketAddr, expected: &str) -> Shaken {
    let mut listener = host.net().listen(port).await.expect("a free port");
    let at = listener.local();
    let (read, written) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let expected = id(expected);
    let (mut server, mut client) = tokio::join!(
        async {
            let accepted = listener.accept().await.expect("a connection");
            let mut secured = acceptor.accept(accepted.conn).await;
            if let Ok(secured) = &mut secured {
                let _ = secured.conn.write_all(b"hello").await;
                let _ = secured.conn.flush().await;
            }
            secured
        },
        async {
            let conn = host.net().connect(at).await.expect("it listens");
            let conn = Counted { conn, read: Arc::clone(&read), written: Arc::clone(&written) };
            let mut secured = connector.connect(Box::new(conn), &expected).await;
            if let Ok(secured) = &mut secured {
                let _ = secured.conn.write_all(b"hallo").await;
                let _ = secured.conn.flush().await;
            }
            secured
        }
    );
    if let (Ok(server), Ok(client)) = (&mut server, &mut client) {
        let mut buf = [0; 5];
        if server.conn.read_exact(&mut buf).await.is_ok() {
            assert_eq!(&buf, b"hallo");
            client.conn.read_exact(&mut buf).await.expect("the server's bytes");
            assert_eq!(&buf, b"hello");
        }
    }
    Shaken { server, client, read: read.load(Ordering::Relaxed), written: written.load(Ordering::Relaxed) }
}

fn both_prove_who_they_are(algorithm: KeyAlgorithm) {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(algorithm));
        let acceptor = Acceptor::new(&host, &authority.issue(&[CART]), true, &[b"h2", b"http/1.1"]).expect("good");
        let connector = Connector::new(&host, &authority.issue(&[WEB]), &[b"h2"]).expect("good");
        let shaken = shake(&host, &acceptor, &connector, any_port(), CART).await;
        let (server, client) = (shaken.server.expect("accepted"), shaken.client.expect("connected"));
        assert_eq!(server.peer_identity, Some(id(WEB)));
        assert_eq!(client.peer_identity, Some(id(CART)));
        assert_eq!(server.alpn.as_deref(), Some(&b"h2"[..]));
        assert_eq!(client.alpn.as_deref(), Some(&b"h2"[..]));
    });
}

#[test]
fn both_prove_who_they_are_with_ed25519() {
    both_prove_who_they_are(KeyAlgorithm::Ed25519);
}

#[test]
fn both_prove_who_they_are_with_p256() {
    both_prove_who_they_are(KeyAlgorithm::P256);
}

#[test]
fn another_workload_of_the_mesh_is_the_wrong_peer() {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519));
        let acceptor = Acceptor::new(&host, &authority.issue(&[CART]), true, &[]).expect("good");
        let connector = Connector::new(&host, &authority.issue(&[WEB]), &[]).expect("good");
        let shaken = shake(&host, &acceptor, &connector, any_port(), "spiffe://mesh/ns/shop/sa/pay").await;
        match shaken.client {
            Err(TlsError::WrongPeer { expected, is }) => {
                assert_eq!((&*expected, &*is), ("spiffe://mesh/ns/shop/sa/pay", CART));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("took the wrong peer"),
        }
    });
}

#[test]
fn a_server_of_another_mesh_is_refused() {
    run(async {
        let (host, ours, theirs) =
            (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519), Authority::new(KeyAlgorithm::Ed25519));
        let acceptor = Acceptor::new(&host, &theirs.issue(&[CART]), false, &[]).expect("good");
        let connector = Connector::new(&host, &ours.issue(&[WEB]), &[]).expect("good");
        let shaken = shake(&host, &acceptor, &connector, any_port(), CART).await;
        assert!(matches!(shaken.client, Err(TlsError::Handshake(_))));
        assert!(matches!(shaken.server, Err(TlsError::Handshake(_))));
    });
}

#[test]
fn a_client_of_another_mesh_is_refused_even_where_none_is_demanded() {
    run(async {
        let (host, ours, theirs) =
            (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519), Authority::new(KeyAlgorithm::Ed25519));
        let acceptor = Acceptor::new(&host, &ours.issue(&[CART]), false, &[]).expect("good");
        let mut client = theirs.issue(&[WEB]);
        client.roots = ours.issue(&[]).roots;
        let connector = Connector::new(&host, &client, &[]).expect("good");
        let shaken = shake(&host, &acceptor, &connector, any_port(), CART).await;
        assert!(matches!(shaken.server, Err(TlsError::Handshake(_))));
    });
}

#[test]
fn a_client_without_a_certificate_is_refused_only_where_one_is_demanded() {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519));
        let identity = authority.issue(&[CART]);
        let connector = Connector::new(&host, &authority.stranger(), &[]).expect("good");
        let demanding = Acceptor::new(&host, &identity, true, &[]).expect("good");
        let refused = shake(&host, &demanding, &connector, any_port(), CART).await;
        assert!(matches!(refused.server, Err(TlsError::Handshake(_))));
        let open = Acceptor::new(&host, &identity, false, &[]).expect("good");
        let taken = shake(&host, &open, &connector, any_port(), CART).await;
        assert_eq!(taken.server.expect("accepted").peer_identity, None);
    });
}

#[test]
fn a_certificate_without_exactly_one_spiffe_id_is_refused() {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519));
        let connector = Connector::new(&host, &authority.issue(&[WEB]), &[]).expect("good");
        for uris in [&[][..], &["https://cart"], &[CART, WEB]] {
            let acceptor = Acceptor::new(&host, &authority.issue(uris), true, &[]).expect("good");
            let shaken = shake(&host, &acceptor, &connector, any_port(), CART).await;
            assert!(matches!(shaken.client, Err(TlsError::Handshake(_))), "{uris:?}");
        }
    });
}

#[test]
fn an_identity_whose_key_is_anothers_is_bad() {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519));
        let identity = Identity { key: authority.issue(&[WEB]).key, ..authority.issue(&[CART]) };
        assert!(matches!(Acceptor::new(&host, &identity, true, &[]), Err(TlsError::BadIdentity { .. })));
        let identity = Identity { roots: Vec::new(), ..authority.issue(&[CART]) };
        assert!(matches!(Connector::new(&host, &identity, &[]), Err(TlsError::BadIdentity { .. })));
    });
}

#[test]
fn ed25519_handshakes_take_the_same_bytes_each_time_and_fewer_when_resumed() {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519));
        let (cart, web) = (authority.issue(&[CART]), authority.issue(&[WEB]));
        let mut full = Vec::new();
        let mut resumed = Vec::new();
        for _ in 0..20 {
            let acceptor = Acceptor::new(&host, &cart, true, &[b"h2"]).expect("good");
            let connector = Connector::new(&host, &web, &[b"h2"]).expect("good");
            let shaken = shake(&host, &acceptor, &connector, any_port(), CART).await;
            let server = shaken.server.expect("accepted").conn.local();
            full.push((shaken.read, shaken.written));
            drop(shaken.client);
            let shaken = shake(&host, &acceptor, &connector, server, CART).await;
            assert_eq!(shaken.server.expect("accepted").peer_identity, Some(id(WEB)));
            resumed.push((shaken.read, shaken.written));
        }
        full.dedup();
        resumed.dedup();
        let ([full], [resumed]) = (&full[..], &resumed[..]) else {
            panic!("lengths differ: full {full:?}, resumed {resumed:?}");
        };
        assert!(resumed.0 < full.0 && resumed.1 < full.1, "full {full:?}, resumed {resumed:?}");
    });
}

#[test]
fn an_idle_connection_is_not_readable_although_session_tickets_came() {
    run(async {
        let (host, authority) = (Tcp::host(), Authority::new(KeyAlgorithm::Ed25519));
        let acceptor = Acceptor::new(&host, &authority.issue(&[CART]), true, &[]).expect("good");
        let connector = Connector::new(&host, &authority.issue(&[WEB]), &[]).expect("good");
        let mut listener = host.net().listen(any_port()).await.expect("a free port");
        let at = listener.local();
        let cart = id(CART);
        let (server, client) = tokio::join!(
            async { acceptor.accept(listener.accept().await.expect("a connection").conn).await.expect("accepted") },
            async {
                connector.connect(host.net().connect(at).await.expect("it listens"), &cart).await.expect("connected")
            }
        );
        let (mut server, mut client) = (server.conn, client.conn);
        // The tickets are there when the server's task is done; they are not data.
        let early = std::future::poll_fn(|cx| Poll::Ready(client.poll_readable(cx).is_ready())).await;
        assert!(!early, "nothing was written yet");
        let (readable, written) = tokio::join!(
            async {
                std::future::poll_fn(|cx| client.poll_readable(cx)).await.expect("readable");
                let mut byte = [0];
                client.read_exact(&mut byte).await.expect("a byte");
                byte[0]
            },
            async {
                server.write_all(b"x").await.expect("written");
                server.flush().await.expect("flushed");
                server.shutdown().await
            }
        );
        assert_eq!(readable, b'x');
        written.expect("half-closed");
        std::future::poll_fn(|cx| client.poll_readable(cx)).await.expect("readable at EOF");
        assert_eq!(client.read(&mut [0; 8]).await.expect("EOF"), 0);
    });
}
