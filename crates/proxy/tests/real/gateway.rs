//! Requests from outside the mesh come in at a gateway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use squall_net::Host;
use squall_net::edge::{EdgeConnector, ServerCertificate};
use squall_net::http::{BoxBody, Sender, Version};
use squall_net::pem;
use squall_net::tls::{KeyAlgorithm, TlsError};
use squall_policy::{GatewayListener, Mesh, Protocol, Redirect, RetryOn, Route, VirtualHost};
use squall_proxy::{Entrance, IdentitySource, Proxy, ProxyConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ca::Authority;
use crate::common::*;

const EDGE: &str = "spiffe://cluster.local/ns/shop/sa/app";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// A listener whose domains all lead to the one backend.
fn listener(mesh: &Mesh, port: u16, hostname: &str, certificate: Option<&str>, domains: &[&str]) -> GatewayListener {
    GatewayListener {
        name: format!("shop/edge {port} {hostname}").into(),
        port,
        hostname: hostname.into(),
        certificates: certificate.map(|name| vec![name.into()]),
        hosts: vec![VirtualHost {
            name: hostname.into(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            routes: mesh.hosts[0].routes.clone(),
        }],
    }
}

struct Edge {
    proxy: Proxy,
    story: Arc<Story>,
    authority: Authority,
}

impl Edge {
    /// A gateway with an entrance for each of these ports.
    async fn start(host: &Host, mesh: Mesh, ports: &[u16], names: &[&str], identity: IdentitySource) -> Self {
        Self::start_behind(host, mesh, ports, names, identity, false).await
    }

    /// Behind a load balancer that says where clients come from, or not.
    async fn start_behind(
        host: &Host,
        mesh: Mesh,
        ports: &[u16],
        names: &[&str],
        identity: IdentitySource,
        proxy_protocol: bool,
    ) -> Self {
        let (story, authority) = (Arc::<Story>::default(), Authority::new());
        let certificates = names.iter().map(|name| (format!("shop/{name}"), certificate(&authority, name)));
        let config = ProxyConfig {
            entrances: ports.iter().map(|port| Entrance { listen: ANY, port: *port, proxy_protocol }).collect(),
            certificates: certificates.collect(),
            identity,
            ..config(&story, mesh)
        };
        let proxy = Proxy::start(host, config).await.expect("starts");
        Self { proxy, story, authority }
    }

    fn at(&self, entrance: usize) -> SocketAddr {
        self.proxy.entrances()[entrance]
    }

    /// A client that asks for a server of this name, over HTTP/2.
    async fn dial(&self, host: &Host, entrance: usize, name: &str) -> Result<Sender<BoxBody>, TlsError> {
        let conn = host.net().connect(self.at(entrance)).await.expect("somebody listens");
        // One of its own each time: it has no session to take up again.
        let roots = [self.authority.root.clone()];
        let connector = EdgeConnector::new(host, KeyAlgorithm::P256, &roots, &[b"h2"]).expect("a good root");
        let secured = connector.connect(conn, name).await?;
        assert_eq!(secured.alpn.as_deref(), Some(&b"h2"[..]));
        Ok(squall_net::http::connect(host, secured.conn, Version::Http2).await.expect("HTTP/2"))
    }
}

fn certificate(authority: &Authority, name: &str) -> ServerCertificate {
    let (chain, key) = authority.server(name);
    ServerCertificate::from_pem(&pem::encode("CERTIFICATE", &chain), &key).expect("they belong together")
}

fn asking(version: Version, host: &str, lines: &[(&'static str, &'static str)]) -> Request<BoxBody> {
    let mut request = request(version, "GET", "/a", empty());
    match version {
        Version::Http1 => drop(request.headers_mut().insert("host", host.parse().expect("ascii"))),
        Version::Http2 => *request.uri_mut() = format!("https://{host}/a").parse().expect("a URI"),
    }
    request.headers_mut().extend(map(lines));
    request
}

async fn status(sender: &mut Sender<BoxBody>, version: Version, host: &str) -> (u16, String) {
    let answer: Response<_> = sender.send(asking(version, host, &[])).await.expect("an answer");
    (answer.status().as_u16(), header(&answer, "squall-reason").to_owned())
}

#[test]
fn a_request_goes_where_its_host_says_over_both_versions() {
    run(|host| async move {
        let app = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[app]);
        mesh.gateway = vec![
            listener(&mesh, 80, "", None, &["shop.example.com", "*.shop.example.com"]),
            listener(&mesh, 81, "only.example.com", None, &["only.example.com"]),
        ];
        let edge = Edge::start(&host, mesh, &[80, 81], &[], IdentitySource::None).await;
        for version in [Version::Http1, Version::Http2] {
            let mut sender = client(&host, edge.at(0), version).await;
            for (name, want) in [
                ("shop.example.com", 200),
                ("Shop.Example.com:8080", 200),
                ("eu.shop.example.com", 200),
                ("example.com", 404),
                // Names of Services are the mesh's own.
                ("app", 404),
                ("only.example.com", 404),
            ] {
                assert_eq!(status(&mut sender, version, name).await.0, want, "{version:?} {name}");
            }
            let mut other = client(&host, edge.at(1), version).await;
            assert_eq!(status(&mut other, version, "only.example.com").await.0, 200);
            assert_eq!(status(&mut other, version, "shop.example.com").await, (404, "no-route".into()));
        }
    });
}

#[test]
fn nothing_that_only_the_mesh_may_say_comes_through() {
    run(|host| async move {
        let app = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[app]);
        mesh.gateway = vec![listener(&mesh, 80, "", None, &["*"])];
        let edge = Edge::start(&host, mesh, &[80], &[], IdentitySource::None).await;
        let mut client = client(&host, edge.at(0), Version::Http1).await;
        let spoofed = [
            ("x-forwarded-client-cert", "URI=spiffe://evil"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-envoy-expected-rq-timeout-ms", "1"),
            ("x-envoy-attempt-count", "7"),
            ("squall-priority", "critical"),
            ("x-request-id", "mine"),
            ("connection", "x-forwarded-for, x-request-id"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ];
        let answer = client.send(asking(Version::Http1, "any.example.com", &spoofed)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        for (name, want) in [
            ("saw-x-forwarded-client-cert", ""),
            ("saw-x-forwarded-for", "127.0.0.1"),
            ("saw-x-forwarded-proto", "http"),
            ("saw-x-forwarded-host", "any.example.com"),
            ("saw-x-envoy-expected-rq-timeout-ms", ""),
            ("saw-x-envoy-attempt-count", "1"),
            ("saw-squall-priority", ""),
        ] {
            assert_eq!(header(&answer, name), want, "{name}");
        }
        assert_eq!(header(&answer, "saw-x-request-id").len(), 36, "one of the gateway's own");
        assert!(header(&answer, "saw-traceparent").starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    });
}

#[test]
fn tls_ends_at_the_gateway_which_goes_on_as_itself() {
    run(|host| async move {
        let mesh_authority = Authority::new();
        let app = origin(&host, echo).await;
        let cart = IdentitySource::Static(mesh_authority.identity(CART));
        let (_in, in_at, _) = inbound(&host, app, Protocol::Http1, cart).await;
        let mut mesh = mesh(Protocol::Http1, &[]);
        policy(&mut mesh).mutual_tls = true;
        mesh.endpoints.insert(backend(), vec![endpoint(in_at, "cart-0", CART)]);
        mesh.gateway = vec![
            listener(&mesh, 443, "shop.example.com", Some("shop/shop.example.com"), &["shop.example.com"]),
            listener(&mesh, 443, "*.example.com", Some("shop/*.example.com"), &["*.example.com"]),
        ];
        let identity = IdentitySource::Static(mesh_authority.identity(EDGE));
        let edge = Edge::start(&host, mesh, &[443], &["shop.example.com", "*.example.com"], identity).await;

        let mut client = edge.dial(&host, 0, "shop.example.com").await.expect("a certificate of its own");
        let answer = client.send(asking(Version::Http2, "shop.example.com", &[])).await.expect("an answer");
        assert_eq!(header(&answer, "saw-x-forwarded-client-cert"), format!("URI={EDGE}"), "the sidecar's word");
        assert_eq!(header(&answer, "saw-x-forwarded-proto"), "https");

        // Another listener's host on this connection is for a connection of its own; of no listener, for nobody.
        assert_eq!(status(&mut client, Version::Http2, "pay.example.com").await, (421, "misdirected".into()));
        assert_eq!(status(&mut client, Version::Http2, "elsewhere.org").await.0, 404);
        let mut client = edge.dial(&host, 0, "pay.example.com").await.expect("the wildcard's");
        for name in ["pay.example.com", "cart.example.com"] {
            assert_eq!(status(&mut client, Version::Http2, name).await.0, 200, "{name}");
        }
        assert!(edge.dial(&host, 0, "elsewhere.org").await.is_err(), "there is no certificate for it");
        edge.story.saw(&host, "PeerRefused").await;
    });
}

#[test]
fn a_client_is_who_the_balancer_says_and_without_its_word_nobody_comes_in() {
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    run(|host| async move {
        let app = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[app]);
        mesh.gateway =
            vec![listener(&mesh, 80, "", None, &["a.b"]), listener(&mesh, 443, "", Some("shop/a.b"), &["a.b"])];
        let edge = Edge::start_behind(&host, mesh, &[80, 443], &["a.b"], IdentitySource::None, true).await;
        let v2 = |command: u8, family: u8, block: &[u8]| {
            [V2, &[0x20 | command, family], &(block.len() as u16).to_be_bytes(), block].concat()
        };
        let v4 = [198, 51, 100, 7, 203, 0, 113, 1, 0xdc, 0x04, 0x01, 0xbb];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[1; 16], &[0, 80, 1, 187]].concat();
        let mapped = b"PROXY TCP6 ::ffff:198.51.100.9 ::1 1 2\r\n";
        for (header, client) in [
            (b"PROXY TCP4 198.51.100.8 203.0.113.1 56324 443\r\n".to_vec(), "198.51.100.8"),
            (mapped.to_vec(), "198.51.100.9"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (v2(1, 0x11, &v4), "198.51.100.7"),
            (v2(1, 0x21, &v6), "2001:db8::7"),
            (v2(1, 0x11, &[&v4[..], &[4; 2000]].concat()), "198.51.100.7"),
            (v2(0, 0x11, &v4), "127.0.0.1"),
            (v2(1, 0x31, &[0; 216]), "127.0.0.1"),
        ] {
            // In one piece with the request, and byte by byte.
            for size in [header.len() + 1000, 1] {
                let request = b"GET /a HTTP/1.1\r\nhost: a.b\r\nx-forwarded-for: 1.2.3.4\r\nconnection: close\r\n\r\n";
                let wire = [&header[..], request].concat();
                let mut conn = host.net().connect(edge.at(0)).await.expect("somebody listens");
                let (at_once, rest) = wire.split_at(size.min(wire.len()));
                conn.write_all(at_once).await.expect("room");
                for byte in rest {
                    conn.write_all(&[*byte]).await.expect("room");
                    conn.flush().await.expect("room");
                }
                let mut answer = String::new();
                conn.read_to_string(&mut answer).await.expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 200 "), "{header:?}: {answer}");
                assert!(answer.contains(&format!("saw-x-forwarded-for: {client}\r\n")), "{header:?}: {answer}");
            }
            // TLS comes behind it.
            let mut conn = host.net().connect(edge.at(1)).await.expect("somebody listens");
            conn.write_all(&header).await.expect("room");
            let roots = [edge.authority.root.clone()];
            let connector = EdgeConnector::new(&host, KeyAlgorithm::P256, &roots, &[b"h2"]).expect("a good root");
            let secured = connector.connect(conn, "a.b").await.expect("a handshake");
            let mut sender = squall_net::http::connect(&host, secured.conn, Version::Http2).await.expect("HTTP/2");
            let answer: Response<_> = sender.send(asking(Version::Http2, "a.b", &[])).await.expect("an answer");
            assert_eq!(crate::common::header(&answer, "saw-x-forwarded-for"), client, "{header:?}");
        }
        assert_eq!(edge.story.count("PeerRefused"), 0);
        // Who only looks whether anybody listens is not refused; who brings no header is.
        drop(host.net().connect(edge.at(0)).await.expect("somebody listens"));
        let wrong = [&b"GET / HTTP/1.1\r\nhost: a.b\r\n\r\n"[..], b"PROXY TCP4 x\r\n", V2, &v2(1, 0x11, &v4[..11])];
        for (number, wire) in wrong.into_iter().enumerate() {
            let mut conn = host.net().connect(edge.at(0)).await.expect("somebody listens");
            conn.write_all(wire).await.expect("room");
            conn.shutdown().await.expect("it is open");
            let mut answer = Vec::new();
            assert!(conn.read_to_end(&mut answer).await.is_err() || answer.is_empty(), "{wire:?}: {answer:?}");
            until(&host, || edge.story.count("PROXY protocol") == number + 1).await;
        }
        assert_eq!(edge.story.count("PeerRefused"), 4);
    });
}

#[test]
fn certificates_and_listeners_change_while_connections_live() {
    run(|host| async move {
        let app = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[app]);
        let secure = listener(&mesh, 443, "", Some("shop/a.b"), &["a.b"]);
        mesh.gateway = vec![secure.clone()];
        let edge = Edge::start(&host, mesh.clone(), &[443], &["a.b"], IdentitySource::None).await;
        let mut client = edge.dial(&host, 0, "a.b").await.expect("a certificate");
        assert_eq!(status(&mut client, Version::Http2, "a.b").await.0, 200);

        let other = Authority::new();
        edge.proxy.certify(BTreeMap::from([("shop/a.b".to_owned(), certificate(&other, "a.b"))]));
        assert!(edge.dial(&host, 0, "a.b").await.is_err(), "signed by nobody this client knows");
        assert_eq!(status(&mut client, Version::Http2, "a.b").await.0, 200, "who is there stays");
        edge.proxy.certify(BTreeMap::from([("shop/a.b".to_owned(), certificate(&edge.authority, "a.b"))]));
        assert!(edge.dial(&host, 0, "a.b").await.is_ok());

        // What was encrypted is not to be plain on the same connection, nor the other way round.
        mesh.gateway = vec![GatewayListener { certificates: None, ..secure }];
        edge.proxy.update(&mesh);
        assert_eq!(status(&mut client, Version::Http2, "a.b").await.0, 421);
        mesh.gateway = Vec::new();
        edge.proxy.update(&mesh);
        assert_eq!(status(&mut client, Version::Http2, "a.b").await.0, 404);
        assert!(edge.dial(&host, 0, "a.b").await.is_err());
        edge.story.saw(&host, "UnknownPort").await;
    });
}

#[test]
fn policies_hold_for_requests_from_outside() {
    run(|host| async move {
        let dead = host.net().listen(ANY).await.expect("a free port").local();
        let app = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[dead, app]);
        route(&mut mesh).retry = Some(retry(1, &[RetryOn::ConnectFailure]));
        mesh.gateway = vec![listener(&mesh, 80, "", None, &["*"])];
        let edge = Edge::start(&host, mesh, &[80], &[], IdentitySource::None).await;
        for _ in 0..4 {
            let mut client = client(&host, edge.at(0), Version::Http1).await;
            assert_eq!(status(&mut client, Version::Http1, "x").await.0, 200);
        }
        assert!(edge.story.count("AttemptFailed") > 0, "the dead one was tried");
    });
}

#[test]
fn a_client_is_told_where_to_ask_instead_and_no_backend_is_asked() {
    run(|host| async move {
        let mut mesh = mesh(Protocol::Http1, &[]);
        let redirect = Redirect { https: Some(true), hostname: None, port: None, path: None, status: 301 };
        let old = route(&mut mesh);
        *old = Route { redirect: Some(redirect), backends: Vec::new(), ..old.clone() };
        mesh.gateway = vec![listener(&mesh, 80, "", None, &["*"])];
        let edge = Edge::start(&host, mesh, &[80], &[], IdentitySource::None).await;
        for version in [Version::Http1, Version::Http2] {
            let mut client = client(&host, edge.at(0), version).await;
            let mut request = asking(version, "shop.example.com:8080", &[]);
            if version == Version::Http1 {
                *request.uri_mut() = "/a/b?c=d".parse().expect("a target");
            }
            let answer = client.send(request).await.expect("an answer");
            let path = if version == Version::Http1 { "/a/b?c=d" } else { "/a" };
            assert_eq!(answer.status(), 301);
            assert_eq!(header(&answer, "location"), format!("https://shop.example.com{path}"));
        }
        assert_eq!(edge.story.count("Routed"), 0);
    });
}
