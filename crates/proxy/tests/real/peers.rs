//! What the peers of a port must prove, by its mode, for listeners of one port and for those that connections are redirected to.

use std::net::SocketAddr;
use std::sync::Arc;

use squall_net::Host;
use squall_net::http::Version;
use squall_net::page::{Asked, Body, Page};
use squall_policy::{Inbound, Limits, Mesh, PeerMode, Protocol, Speaks, StreamPolicy};
use squall_proxy::{IdentitySource, InboundListener, Interception, Metrics, Proxy, ProxyConfig, Strangers, Tap, pages};

use crate::bytes::{DB, WEB, connect, echo_bytes, hello, outbound_bytes, redirected, say, tcp_mesh};
use crate::ca::Authority;
use crate::common::*;
use crate::stream::both;

const MODES: [Option<PeerMode>; 4] =
    [None, Some(PeerMode::Strict), Some(PeerMode::Permissive), Some(PeerMode::Disable)];

pub(crate) fn inbound_of(app: SocketAddr, protocol: Protocol, peers: Option<PeerMode>) -> Mesh {
    let treated =
        Inbound { limits: Limits::default(), rate: None, protocol, detect: false, access: Default::default(), peers };
    Mesh { inbound: [(app.port(), treated)].into(), ..Mesh::default() }
}

/// A sidecar before the application, with a listener of its port or with one for all that is redirected.
pub(crate) async fn sidecar(
    host: &Host,
    app: SocketAddr,
    mesh: Mesh,
    identity: IdentitySource,
    is_redirected: bool,
) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let settings = ProxyConfig { identity, ..config(&story, mesh) };
    let proxy = if is_redirected {
        let (host, meant) = redirected(host);
        *meant.lock().expect("no panic while locked") = Some(SocketAddr::from(([10, 9, 0, 1], app.port())));
        let interception = Some(Interception { outbound: vec![], inbound: vec![ANY], strangers: Strangers::Pass });
        Proxy::start(&host, ProxyConfig { interception, ..settings }).await
    } else {
        let inbound = vec![InboundListener { listen: ANY, mutual_tls: true, app }];
        Proxy::start(host, ProxyConfig { inbound, ..settings }).await
    };
    let proxy = proxy.expect("starts");
    proxy.ready().await;
    let at = proxy.inbound()[0];
    (proxy, at, story)
}

/// The status that a client's sidecar gets, with mutual TLS or without.
async fn asks(host: &Host, authority: &Authority, at: SocketAddr, mutual_tls: bool) -> u16 {
    let mut mesh = mesh(Protocol::Http2, &[]);
    policy(&mut mesh).mutual_tls = mutual_tls;
    mesh.endpoints.insert(backend(), vec![endpoint(at, "cart-0", DB)]);
    let story = Arc::<Story>::default();
    let identity = IdentitySource::Static(authority.identity(WEB));
    let proxy = Proxy::start(host, ProxyConfig { outbound: Some(ANY), identity, ..config(&story, mesh) }).await;
    let proxy = proxy.expect("starts");
    get(host, proxy.outbound().expect("asked for"), "/").await.status().as_u16()
}

#[test]
fn requests_with_and_without_an_identity_are_taken_as_the_mode_says() {
    for is_redirected in [false, true] {
        for mode in MODES {
            run(|host| async move {
                let authority = Authority::new();
                let app = origin(&host, echo).await;
                let mesh = inbound_of(app, Protocol::Http1, mode);
                let identity = IdentitySource::Static(authority.identity(DB));
                let (_proxy, at, story) = sidecar(&host, app, mesh, identity, is_redirected).await;
                let takes_plain = mode.is_some_and(PeerMode::takes_plain);
                let plain = asks(&host, &authority, at, false).await;
                assert_eq!(plain == 200, takes_plain, "{mode:?} redirected: {is_redirected}: {plain}");
                assert_eq!(story.count("peer: None"), usize::from(takes_plain), "{:?}", story.lines(""));
                // Where the mode is DISABLE too: of a client that has not heard of it.
                let tls = asks(&host, &authority, at, true).await;
                assert_eq!(tls, 200, "{mode:?} redirected: {is_redirected}");
                assert_eq!(story.count(&format!("peer: Some({WEB:?})")), 1);
            });
        }
    }
}

#[test]
fn tls_of_the_applications_own_is_passed_on_as_it_is_where_plain_connections_are_taken() {
    for is_redirected in [false, true] {
        for protocol in [Protocol::Tcp, Protocol::Http1] {
            for mode in MODES {
                run(|host| async move {
                    let authority = Authority::new();
                    let app = echo_bytes(&host).await;
                    let mesh = inbound_of(app, protocol, mode);
                    let identity = IdentitySource::Static(authority.identity(DB));
                    let (_proxy, at, _) = sidecar(&host, app, mesh, identity, is_redirected).await;
                    let hello = hello("db.example.org");
                    let heard = say(connect(&host, at).await, &hello).await;
                    let want = format!("{} goodbye", String::from_utf8_lossy(&hello));
                    let is_passed = heard.as_deref() == Some(&want[..]);
                    assert_eq!(is_passed, mode.is_some_and(PeerMode::takes_plain), "{mode:?} {protocol:?}: {heard:?}");
                });
            }
        }
    }
}

#[test]
fn bytes_with_and_without_an_identity_are_carried_as_the_mode_says() {
    for mode in MODES {
        run(|host| async move {
            let authority = Authority::new();
            let app = echo_bytes(&host).await;
            let mesh = inbound_of(app, Protocol::Tcp, mode);
            let identity = |id| IdentitySource::Static(authority.identity(id));
            let (_proxy, at, story) = sidecar(&host, app, mesh, identity(DB), true).await;
            let plain = say(connect(&host, at).await, b"hello").await;
            let is_carried = plain.as_deref() == Some("hello goodbye");
            assert_eq!(is_carried, mode.is_some_and(PeerMode::takes_plain), "{mode:?}: {plain:?}");
            let mesh = tcp_mesh(&[(at, DB)], Speaks::Tcp, StreamPolicy::default());
            let (_out, at, _) = outbound_bytes(&host, mesh, identity(WEB)).await;
            assert_eq!(say(connect(&host, at).await, b"hello").await.as_deref(), Some("hello goodbye"));
            assert_eq!(story.count(&format!("peer: Some({WEB:?})")), 1);
        });
    }
}

#[test]
fn a_sidecar_without_an_identity_refuses_everybody_where_mutual_tls_is_a_must() {
    run(|host| async move {
        let authority = Authority::new();
        let app = origin(&host, echo).await;
        for (mode, status) in [(PeerMode::Strict, 503), (PeerMode::Permissive, 200), (PeerMode::Disable, 200)] {
            let mesh = inbound_of(app, Protocol::Http1, Some(mode));
            let (_proxy, at, story) = sidecar(&host, app, mesh, IdentitySource::None, false).await;
            assert_eq!(asks(&host, &authority, at, false).await, status, "{mode:?}");
            assert_eq!(story.count("NoIdentity") > 0, status == 503);
        }
    });
}

#[test]
fn the_mode_in_force_is_shown() {
    for (mode, shown) in [
        (None, "null,\"takes_plain\":false"),
        (Some(PeerMode::Strict), "\"STRICT\",\"takes_plain\":false"),
        (Some(PeerMode::Permissive), "\"PERMISSIVE\",\"takes_plain\":true"),
        (Some(PeerMode::Disable), "\"DISABLE\",\"takes_plain\":true"),
    ] {
        run(|host| async move {
            let authority = Authority::new();
            let app = origin(&host, echo).await;
            let identity = IdentitySource::Static(authority.identity(DB));
            let (proxy, ..) = sidecar(&host, app, inbound_of(app, Protocol::Http1, mode), identity, false).await;
            let (metrics, tap) = (Arc::new(Metrics::new()), Arc::new(Tap::new(Arc::clone(host.wall()))));
            let answer = pages(Arc::new(proxy), metrics, tap, || {}, |_, _| Page::text(404, "no log here"));
            let asked = Asked { method: &http::Method::GET, path: "/config", query: "", words: "" };
            let Body::Text(config) = answer(&asked).body else { panic!("it has an end") };
            let port = app.port();
            let want = format!("{{\"port\":{port},\"speaks\":\"HTTP\",\"peer_authentication\":{shown}}}");
            assert!(config.contains(&want), "{config}");
        });
    }
}

#[test]
fn a_plain_connection_ends_what_it_has_begun_when_mutual_tls_becomes_a_must_and_none_comes_after_it() {
    for version in [Version::Http1, Version::Http2] {
        run(|host| async move {
            let authority = Authority::new();
            let app = origin(&host, echo).await;
            let of_mode = |mode| inbound_of(app, Protocol::Http1, Some(mode));
            let identity = IdentitySource::Static(authority.identity(DB));
            let (proxy, at, story) = sidecar(&host, app, of_mode(PeerMode::Permissive), identity, true).await;
            let mut plain = client(&host, at, version).await;
            let (feed, body) = Pipe::new();
            let mut answer = None;
            let asking = async { answer = Some(plain.send(request(version, "POST", "/", body)).await) };
            let change = async {
                story.saw(&host, "Started").await;
                proxy.update(&of_mode(PeerMode::Strict));
                assert!(feed.send("hello").await, "it is still read");
                drop(feed);
            };
            both(asking, change).await;
            let answer = whole(answer.expect("it was asked").expect("an answer")).await;
            assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hello"[..]));
            // One that may have been on its way is still answered, with a goodbye.
            match plain.send(request(version, "GET", "/", empty())).await {
                Ok(answer) => assert_eq!(answer.headers()["connection"], "close", "{version:?}: it was asked to leave"),
                Err(_) => assert!(plain.is_closed(), "{version:?}"),
            }
            assert_ne!(asks(&host, &authority, at, false).await, 200);
            assert_eq!(asks(&host, &authority, at, true).await, 200);
            // And back: mutual TLS that is there stays.
            proxy.update(&of_mode(PeerMode::Permissive));
            assert_eq!(asks(&host, &authority, at, false).await, 200);
        });
    }
}
