//! Who may ask the application for what, by the identity that its certificate proves.

use std::sync::Arc;

use squall_net::Host;
use squall_net::http::Version;
use squall_policy::{AccessRule, Authorization, Caller, Inbound, Limits, Mesh, Operation, Protocol, TextMatch};
use squall_proxy::{IdentitySource, InboundListener, Proxy, ProxyConfig};

use crate::ca::Authority;
use crate::common::*;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const BOT: &str = "spiffe://cluster.local/ns/shop/sa/bot";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// The web may ask for anything but what is under `/admin`; deletions are audited.
fn access() -> Authorization {
    let web = Caller { principals: vec![TextMatch::Exact("cluster.local/ns/shop/sa/web".into())], ..Caller::default() };
    let admin = Operation { paths: vec![TextMatch::Prefix("/admin".into())], ..Operation::default() };
    let delete = Operation { methods: vec![TextMatch::Exact("DELETE".into())], ..Operation::default() };
    let rule = |name: &str, from, to| AccessRule { name: name.into(), from, to };
    Authorization {
        deny: vec![rule("shop/no-admin rule 0", Vec::new(), vec![admin])],
        allow: Some(vec![rule("shop/web rule 0", vec![web], Vec::new())]),
        audit: vec![rule("shop/deletes rule 0", Vec::new(), vec![delete])],
    }
}

/// The application's own sidecar, and what it tells.
async fn cart(host: &Host, authority: &Authority, protocol: Protocol) -> (Proxy, std::net::SocketAddr, Arc<Story>) {
    let app = origin(host, echo).await;
    let story = Arc::<Story>::default();
    let treated =
        Inbound { limits: Limits::default(), rate: None, protocol, detect: false, access: access(), peers: None };
    let mesh = Mesh { inbound: [(app.port(), treated)].into(), ..Mesh::default() };
    let config = ProxyConfig {
        inbound: vec![InboundListener { listen: ANY, mutual_tls: true, app }],
        identity: IdentitySource::Static(authority.identity(CART)),
        ..config(&story, mesh)
    };
    let proxy = Proxy::start(host, config).await.expect("starts");
    proxy.ready().await;
    let at = proxy.inbound()[0];
    (proxy, at, story)
}

/// A client's sidecar.
async fn caller(
    host: &Host,
    authority: &Authority,
    who: &str,
    to: std::net::SocketAddr,
) -> (Proxy, std::net::SocketAddr) {
    let mut mesh = mesh(Protocol::Http2, &[]);
    policy(&mut mesh).mutual_tls = true;
    mesh.endpoints.insert(backend(), vec![endpoint(to, "cart-0", CART)]);
    let story = Arc::<Story>::default();
    let identity = IdentitySource::Static(authority.identity(who));
    let proxy = Proxy::start(host, ProxyConfig { outbound: Some(ANY), identity, ..config(&story, mesh) }).await;
    let proxy = proxy.expect("starts");
    let at = proxy.outbound().expect("asked for");
    (proxy, at)
}

#[test]
fn another_identity_is_refused_and_the_story_says_by_which_rule() {
    run(|host| async move {
        let authority = Authority::new();
        let (_cart, to, story) = cart(&host, &authority, Protocol::Http1).await;
        let (_web, web) = caller(&host, &authority, WEB, to).await;
        let (_bot, bot) = caller(&host, &authority, BOT, to).await;
        for (at, method, path, status, rule) in [
            (web, "GET", "/", 200, ""),
            (bot, "GET", "/", 403, "allowed: false, rule: \"default\""),
            (web, "GET", "/admin/users", 403, "allowed: false, rule: \"shop/no-admin rule 0\""),
            (web, "GET", "/x/..%2f%61dmin", 403, "allowed: false, rule: \"shop/no-admin rule 0\""),
            (web, "DELETE", "/x", 200, "allowed: true, rule: \"shop/deletes rule 0\""),
        ] {
            let before = story.count("Access {");
            let mut client = client(&host, at, Version::Http1).await;
            let response = client.send(request(Version::Http1, method, path, empty())).await.expect("an answer");
            assert_eq!(response.status(), status, "{method} {path}");
            assert_eq!(header(&response, "squall-reason"), if status == 403 { "rbac-denied" } else { "" });
            let told = story.lines("Access {").split_off(before);
            assert_eq!(told.len(), usize::from(!rule.is_empty()), "{told:?}");
            assert!(told.iter().all(|line| line.contains(rule)), "{told:?}");
        }
        // gRPC has a status of its own.
        let mut client = client(&host, bot, Version::Http2).await;
        let mut call = request(Version::Http2, "POST", "/shop.Cart/Get", empty());
        call.headers_mut().extend(map(&[("content-type", "application/grpc")]));
        let response = client.send(call).await.expect("an answer");
        assert_eq!((response.status().as_u16(), header(&response, "grpc-status")), (200, "7"));
    });
}

#[test]
fn a_connection_that_is_not_http_is_let_in_by_who_it_is_and_not_by_what_it_asks() {
    run(|host| async move {
        let authority = Authority::new();
        let (_cart, to, story) = cart(&host, &authority, Protocol::Tcp).await;
        // A deny rule about paths: what has none is refused.
        let (_web, web) = caller(&host, &authority, WEB, to).await;
        assert_eq!(get(&host, web, "/").await.status(), 503);
        story.saw(&host, "shop/no-admin rule 0").await;
        assert_eq!(story.count("Picked"), 0, "the application saw nothing");
    });
}
