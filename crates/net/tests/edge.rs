//! TLS with clients from outside, over real loopback TCP: which certificate is shown to whom, and who is refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use squall_net::edge::{Certificates, EdgeAcceptor, EdgeConnector, EdgeSecured, ServerCertificate};
use squall_net::tcp::Tcp;
use squall_net::tls::{KeyAlgorithm, TlsError};
use squall_net::{Conn, Host, pem};
use tokio_rustls::TlsConnector;

struct Authority {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("the OS has entropy");
        let root = params.self_signed(&key).expect("a root of good parameters").der().to_vec();
        Self { root, issuer: Issuer::new(params, key) }
    }

    /// PEM of a certificate for these names, and of its key.
    fn pem(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("good names");
        let key = KeyPair::generate().expect("the OS has entropy");
        let leaf = params.signed_by(&key, &self.issuer).expect("a leaf of good parameters");
        (pem::encode("CERTIFICATE", leaf.der()), key.serialize_pem())
    }

    fn certificate(&self, names: &[&str]) -> ServerCertificate {
        let (chain, key) = self.pem(names);
        ServerCertificate::from_pem(&chain, &key).expect("they belong together")
    }
}

/// Certificates by name; `""` for clients that name nobody.
#[derive(Default)]
struct Table(Mutex<BTreeMap<String, Vec<ServerCertificate>>>);

impl Table {
    fn set(&self, name: &str, certificates: Vec<ServerCertificate>) {
        self.0.lock().expect("no panic while locked").insert(name.to_owned(), certificates);
    }
}

impl Certificates for Table {
    fn of(&self, server_name: Option<&str>) -> Vec<ServerCertificate> {
        let table = self.0.lock().expect("no panic while locked");
        table.get(server_name.unwrap_or_default()).cloned().unwrap_or_default()
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

async fn pair(host: &Host) -> (Conn, Conn) {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let mut listener = host.net().listen(any).await.expect("a free port");
    let (dialed, accepted) = tokio::join!(host.net().connect(listener.local()), listener.accept());
    (dialed.expect("somebody listens"), accepted.expect("somebody dials").conn)
}

type Shaken = (Result<EdgeSecured, TlsError>, Result<EdgeSecured, TlsError>);

async fn shake(host: &Host, acceptor: &EdgeAcceptor, connector: &EdgeConnector, name: &str) -> Shaken {
    let (client, server) = pair(host).await;
    tokio::join!(connector.connect(client, name), acceptor.accept(server))
}

fn acceptor(host: &Host, table: &Arc<Table>) -> EdgeAcceptor {
    EdgeAcceptor::new(host, KeyAlgorithm::P256, Arc::clone(table) as _, &[b"h2", b"http/1.1"]).expect("ciphers")
}

fn connector(host: &Host, authority: &Authority, alpn: &[&[u8]]) -> EdgeConnector {
    EdgeConnector::new(host, KeyAlgorithm::P256, std::slice::from_ref(&authority.root), alpn).expect("a good root")
}

#[test]
fn each_name_is_shown_its_own_certificate_and_an_unknown_one_none() {
    run(async {
        let (host, authority, table) = (Tcp::host(), Authority::new(), Arc::<Table>::default());
        table.set("shop.example.com", vec![authority.certificate(&["shop.example.com"])]);
        table.set("pay.example.com", vec![authority.certificate(&["*.example.com"])]);
        let (acceptor, connector) = (acceptor(&host, &table), connector(&host, &authority, &[b"h2"]));
        for name in ["shop.example.com", "pay.example.com", "SHOP.example.com"] {
            let (client, server) = shake(&host, &acceptor, &connector, name).await;
            // The client has checked the name.
            assert_eq!(client.map(|client| client.alpn).expect(name), Some(b"h2".to_vec()));
            let server = server.expect(name);
            assert_eq!(server.server_name.as_deref(), Some(name.to_ascii_lowercase().as_str()));
        }
        let (client, server) = shake(&host, &acceptor, &connector, "cart.example.com").await;
        assert!(client.is_err() && server.is_err());
    });
}

#[test]
fn a_certificate_is_replaced_between_two_handshakes_also_for_a_client_that_was_here_before() {
    run(async {
        let (host, old, new, table) = (Tcp::host(), Authority::new(), Authority::new(), Arc::<Table>::default());
        let acceptor = acceptor(&host, &table);
        let (trusts_old, trusts_new) = (connector(&host, &old, &[]), connector(&host, &new, &[]));
        table.set("a.b", vec![old.certificate(&["a.b"])]);
        assert!(shake(&host, &acceptor, &trusts_old, "a.b").await.0.is_ok());
        table.set("a.b", vec![new.certificate(&["a.b"])]);
        assert!(shake(&host, &acceptor, &trusts_new, "a.b").await.0.is_ok());
        table.set("a.b", Vec::new());
        let (client, server) = shake(&host, &acceptor, &trusts_new, "a.b").await;
        assert!(client.is_err() && server.is_err(), "whoever comes again is not let in by a session");
    });
}

#[test]
fn of_several_certificates_the_one_that_is_for_the_name_is_shown() {
    run(async {
        let (host, authority, table) = (Tcp::host(), Authority::new(), Arc::<Table>::default());
        let both = vec![authority.certificate(&["a.com"]), authority.certificate(&["b.com"])];
        table.set("b.com", both);
        let (client, _) = shake(&host, &acceptor(&host, &table), &connector(&host, &authority, &[]), "b.com").await;
        assert!(client.is_ok());
    });
}

#[test]
fn a_client_that_speaks_no_protocol_of_ours_is_refused() {
    run(async {
        let (host, authority, table) = (Tcp::host(), Authority::new(), Arc::<Table>::default());
        table.set("a.b", vec![authority.certificate(&["a.b"])]);
        let acceptor = acceptor(&host, &table);
        let (client, server) = shake(&host, &acceptor, &connector(&host, &authority, &[b"spdy/1"]), "a.b").await;
        assert!(client.is_err() && server.is_err());
        let (_, server) = shake(&host, &acceptor, &connector(&host, &authority, &[]), "a.b").await;
        assert_eq!(server.expect("one that says nothing is taken").alpn, None);
    });
}

#[test]
fn tls_1_2_is_spoken_too() {
    run(async {
        let (host, authority, table) = (Tcp::host(), Authority::new(), Arc::<Table>::default());
        table.set("a.b", vec![authority.certificate(&["a.b"])]);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.root.clone())).expect("a root");
        let config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12]);
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let (client, server) = pair(&host).await;
        let name = ServerName::try_from("a.b").expect("a name");
        let acceptor = acceptor(&host, &table);
        let (client, server) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
        assert!(client.is_ok() && server.is_ok());
    });
}

#[test]
fn what_does_not_belong_together_is_refused_and_a_key_is_never_shown() {
    let authority = Authority::new();
    let ((chain, key), (_, other)) = (authority.pem(&["a.b"]), authority.pem(&["a.b"]));
    let good = ServerCertificate::from_pem(&chain, &key).expect("they belong together");
    assert!(!format!("{good:?}").contains("key:"), "{good:?}");
    let secret = other.lines().nth(1).expect("a line of the key");
    for (chain, key) in [(chain.as_str(), other.as_str()), (&chain, &chain), (&key, &key), (&chain, "")] {
        let why = ServerCertificate::from_pem(chain, key).expect_err("not a pair").to_string();
        assert!(why.contains("cannot be used") && !why.contains(secret), "{why}");
    }
}
