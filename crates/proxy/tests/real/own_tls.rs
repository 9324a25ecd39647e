//! TLS of an application's own behind a sidecar: it is passed on as it is where the port takes more than the mesh's, and the mesh's own is told
//! from it by what it offers.

use std::net::SocketAddr;
use std::sync::Arc;

use squall_net::edge::{Certificates, EdgeAcceptor, EdgeConnector, ServerCertificate};
use squall_net::tls::{Connector, KeyAlgorithm};
use squall_net::{Conn, Host, pem};
use squall_policy::{PeerMode, Protocol, Speaks, StreamPolicy};
use squall_proxy::IdentitySource;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::bytes::{DB, WEB, connect, outbound_bytes, tcp_mesh};
use crate::ca::Authority;
use crate::common::*;
use crate::peers::{inbound_of, sidecar};

/// The certificates of an application: one for those who name it, one for those who know its address.
struct Own([ServerCertificate; 2]);

impl Certificates for Own {
    fn of(&self, server_name: Option<&str>) -> Vec<ServerCertificate> {
        vec![self.0[usize::from(server_name.is_none())].clone()]
    }
}

const NAME: &str = "db.example.org";
const ADDRESS: &str = "127.0.0.1";

/// An application with TLS of its own, which says back what it hears, behind the name that it was asked for.
async fn secure_app(host: &Host, authority: &Authority) -> SocketAddr {
    let certificates = [NAME, ADDRESS].map(|name| {
        let (chain, key) = authority.server(name);
        ServerCertificate::from_pem(&pem::encode("CERTIFICATE", &chain), &key).expect("they belong together")
    });
    let alpn = [&b"h2"[..], b"http/1.1", b"postgresql"];
    let acceptor = EdgeAcceptor::new(host, KeyAlgorithm::P256, Arc::new(Own(certificates)), &alpn).expect("ciphers");
    let mut listener = host.net().listen(ANY).await.expect("a free port");
    let (at, of_task) = (listener.local(), host.clone());
    host.spawn("application", async move {
        while let Ok(accepted) = listener.accept().await {
            let acceptor = acceptor.clone();
            of_task.spawn("application connection", async move {
                let Ok(mut secured) = acceptor.accept(accepted.conn).await else { return };
                let mut heard = Vec::new();
                let _ = secured.conn.read_to_end(&mut heard).await;
                let answer = format!("{}: {}", secured.server_name.as_deref().unwrap_or("nobody"), heard.len());
                let _ = secured.conn.write_all(answer.as_bytes()).await;
                let _ = secured.conn.shutdown().await;
            });
        }
    });
    at
}

/// What the application behind `conn` says to a client of its own TLS.
async fn told(host: &Host, authority: &Authority, conn: Conn, name: &str, alpn: &[&[u8]]) -> Option<String> {
    let roots = [authority.root.clone()];
    let connector = EdgeConnector::new(host, KeyAlgorithm::P256, &roots, alpn).expect("a good root");
    let mut conn = connector.connect(conn, name).await.ok()?.conn;
    conn.write_all(&[7; 100_000]).await.ok()?;
    conn.shutdown().await.ok()?;
    let mut heard = String::new();
    conn.read_to_string(&mut heard).await.ok()?;
    Some(heard)
}

#[test]
fn tls_of_an_application_is_its_own_whatever_server_it_names_and_whatever_it_offers() {
    for mode in [PeerMode::Permissive, PeerMode::Disable, PeerMode::Strict] {
        for (protocol, is_redirected) in [(Protocol::Tcp, true), (Protocol::Http1, false), (Protocol::Http2, true)] {
            run(|host| async move {
                let authority = Authority::new();
                let app = secure_app(&host, &authority).await;
                let mesh = inbound_of(app, protocol, Some(mode));
                let identity = IdentitySource::Static(authority.identity(DB));
                let (_proxy, at, story) = sidecar(&host, app, mesh, identity, is_redirected).await;
                let offers = [&[][..], &[&b"h2"[..], b"http/1.1"], &[&b"http/1.1"[..]], &[&b"postgresql"[..]]];
                for (name, seen) in [(NAME, NAME), (ADDRESS, "nobody")] {
                    for alpn in offers {
                        let told = told(&host, &authority, connect(&host, at).await, name, alpn).await;
                        let want = mode.takes_plain().then(|| format!("{seen}: 100000"));
                        assert_eq!(told, want, "{mode:?} {protocol:?} {name} {alpn:?}");
                    }
                }
                assert_eq!(story.count("peer: Some"), 0, "nobody proved anything to the sidecar");
                assert_eq!(story.count("PeerRefused"), if mode.takes_plain() { 0 } else { 2 * offers.len() });
            });
        }
    }
}

#[test]
fn tls_of_an_application_goes_through_the_meshs_own_where_its_client_has_a_sidecar() {
    for mode in [PeerMode::Permissive, PeerMode::Strict] {
        for (name, seen) in [(NAME, NAME), (ADDRESS, "nobody")] {
            run(|host| async move {
                let authority = Authority::new();
                let app = secure_app(&host, &authority).await;
                let identity = |id| IdentitySource::Static(authority.identity(id));
                let mesh = inbound_of(app, Protocol::Tcp, Some(mode));
                let (_proxy, at, story) = sidecar(&host, app, mesh, identity(DB), true).await;
                let mesh = tcp_mesh(&[(at, DB)], Speaks::Tcp, StreamPolicy::default());
                let (_out, at, _) = outbound_bytes(&host, mesh, identity(WEB)).await;
                let told = told(&host, &authority, connect(&host, at).await, name, &[]).await;
                assert_eq!(told, Some(format!("{seen}: 100000")), "{mode:?}");
                assert_eq!(story.count(&format!("peer: Some({WEB:?})")), 1, "{mode:?}");
            });
        }
    }
}

#[test]
fn a_peer_that_does_not_say_that_it_is_of_the_mesh_is_believed_only_where_all_tls_is_the_meshs() {
    for (mode, is_taken) in [(None, true), (Some(PeerMode::Strict), true), (Some(PeerMode::Permissive), false)] {
        run(|host| async move {
            let authority = Authority::new();
            let app = origin(&host, echo).await;
            let mesh = inbound_of(app, Protocol::Http1, mode);
            let identity = IdentitySource::Static(authority.identity(DB));
            let (_proxy, at, story) = sidecar(&host, app, mesh, identity, true).await;
            for (alpn, is_marked) in [(&[&b"http/1.1"[..]][..], false), (&[&b"squall"[..], b"http/1.1"], true)] {
                let connector = Connector::new(&host, &authority.identity(WEB), alpn).expect("a good identity");
                let secured = connector.connect(connect(&host, at).await, &DB.into()).await;
                assert_eq!(secured.is_ok(), is_taken || is_marked, "{mode:?} {alpn:?}");
                let Ok(secured) = secured else { continue };
                // The mark is nothing to speak, whatever the client would like best.
                assert_eq!(secured.alpn.as_deref(), Some(&b"http/1.1"[..]));
                let mut client = squall_net::http::connect(&host, secured.conn, squall_net::http::Version::Http1)
                    .await
                    .expect("HTTP");
                let request = request(squall_net::http::Version::Http1, "GET", "/", empty());
                assert_eq!(client.send(request).await.expect("an answer").status(), 200);
            }
            assert_eq!(story.count(&format!("peer: Some({WEB:?})")), 1 + usize::from(is_taken));
        });
    }
}
