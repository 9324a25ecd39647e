//! Sidecars prove who they are to each other, or nothing passes.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::ca::Authority;
use crate::common::*;
use squall_net::Host;
use squall_net::http::Version;
use squall_policy::{Mesh, Protocol};
use squall_proxy::{IdentitySource, Proxy, ProxyConfig};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// A mesh whose one endpoint must prove to be `expected`.
fn secure_mesh(protocol: Protocol, at: SocketAddr, expected: &str) -> Mesh {
    let mut mesh = mesh(protocol, &[]);
    policy(&mut mesh).mutual_tls = true;
    mesh.endpoints.insert(backend(), vec![endpoint(at, "cart-0", expected)]);
    mesh
}

async fn outbound_as(host: &Host, mesh: Mesh, identity: IdentitySource) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let config = ProxyConfig { outbound: Some(ANY), identity, ..config(&story, mesh) };
    let proxy = Proxy::start(host, config).await.expect("starts");
    let at = proxy.outbound().expect("asked for");
    (proxy, at, story)
}

#[test]
fn the_right_identities_pass_and_the_application_sees_who_called() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let authority = Authority::new();
            let app = origin(&host, echo).await;
            let cart = IdentitySource::Static(authority.identity(CART));
            let (_in, in_at, in_story) = inbound(&host, app, Protocol::Http1, cart).await;
            let web = IdentitySource::Static(authority.identity(WEB));
            let (_out, out_at, story) = outbound_as(&host, secure_mesh(protocol, in_at, CART), web).await;
            for version in [Version::Http1, Version::Http2] {
                let mut client = client(&host, out_at, version).await;
                let mut request = request(version, "POST", "/", text("hello"));
                request.headers_mut().extend(map(&[("x-forwarded-client-cert", "URI=spiffe://evil")]));
                let response = client.send(request).await.expect("an answer");
                assert_eq!(header(&response, "saw-x-forwarded-client-cert"), format!("URI={WEB}"));
                assert_eq!(whole(response).await.body(), "hello");
            }
            assert_eq!(in_story.count(&format!("peer: Some({WEB:?})")), 2);
            assert_eq!(story.count("reused: false"), 1, "one handshake for both");
        });
    }
}

#[test]
fn an_endpoint_that_proves_to_be_someone_else_gets_nothing() {
    run(|host| async move {
        let authority = Authority::new();
        let app = origin(&host, echo).await;
        let (_in, in_at, in_story) =
            inbound(&host, app, Protocol::Http1, IdentitySource::Static(authority.identity(WEB))).await;
        let web = IdentitySource::Static(authority.identity(WEB));
        for (expected, why) in [(CART, "someone else"), ("", "nobody known")] {
            let mesh = secure_mesh(Protocol::Http2, in_at, expected);
            let (_out, out_at, story) = outbound_as(&host, mesh, web.clone()).await;
            let response = get(&host, out_at, "/").await;
            assert_eq!(
                (response.status().as_u16(), header(&response, "squall-reason")),
                (503, "connect-failure"),
                "{why}"
            );
            assert_eq!(story.count("failure: Tls"), 1);
        }
        assert_eq!(in_story.count("Started"), 0);
    });
}

#[test]
fn a_caller_that_the_mesh_does_not_know_gets_nothing() {
    run(|host| async move {
        let (authority, other) = (Authority::new(), Authority::new());
        let app = origin(&host, echo).await;
        let (_in, in_at, in_story) =
            inbound(&host, app, Protocol::Http1, IdentitySource::Static(authority.identity(CART))).await;
        // Signed by another authority, though it trusts this one.
        let mut stranger = other.identity(WEB);
        stranger.roots = vec![authority.root.clone()];
        let callers = [IdentitySource::Static(stranger), IdentitySource::None];
        for caller in callers {
            let (_out, out_at, _) = outbound_as(&host, secure_mesh(Protocol::Http1, in_at, CART), caller).await;
            assert_eq!(get(&host, out_at, "/").await.status(), 503);
        }
        // In the clear.
        let mut mesh = secure_mesh(Protocol::Http1, in_at, CART);
        policy(&mut mesh).mutual_tls = false;
        let (_out, out_at, _) = outbound_as(&host, mesh, IdentitySource::None).await;
        assert_eq!(get(&host, out_at, "/").await.status(), 503);
        in_story.saw(&host, "PeerRefused").await;
        assert_eq!(in_story.count("Started"), 0);
    });
}
