//! Other protocols between two sidecars: mutual TLS in between, bytes both ways, and an end that both proxies know of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use squall_net::{Conn, Host};
use squall_policy::{Limits, Protocol};
use squall_proxy::{IdentitySource, Metrics, Proxy, ProxyConfig, Recorder, Several};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ca::Authority;
use crate::common::*;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const ASK: &[u8] = b"GET /chat HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const AGREE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

/// An application that agrees to every upgrade and sends back what comes then.
async fn chatty(host: &Host) -> SocketAddr {
    let mut listener = host.net().listen(ANY).await.expect("a free port");
    let at = listener.local();
    let spawner = host.clone();
    host.spawn("chatty", async move {
        while let Ok(accepted) = listener.accept().await {
            let mut conn = accepted.conn;
            spawner.spawn("chatty connection", async move {
                read_head(&mut conn).await;
                let _ = conn.write_all(AGREE).await;
                let mut room = [0; 4096];
                while let Ok(count @ 1..) = conn.read(&mut room).await {
                    let _ = conn.write_all(&room[..count]).await;
                }
                let _ = conn.shutdown().await;
            });
        }
    });
    at
}

async fn read_head(conn: &mut Conn) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(conn.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).expect("text")
}

/// Two sidecars in front of a chatty application, which speak HTTP/2 to each other where they can.
struct Way {
    caller: Proxy,
    callee: Proxy,
    at: SocketAddr,
    story: Arc<Story>,
    metrics: Arc<Metrics>,
}

async fn way(host: &Host, limits: Limits) -> Way {
    let authority = Authority::new();
    let app = chatty(host).await;
    let cart = IdentitySource::Static(authority.identity(CART));
    let (callee, in_at, _) = inbound(host, app, Protocol::Http1, cart).await;
    let mut mesh = mesh(Protocol::Http2, &[]);
    policy(&mut mesh).mutual_tls = true;
    policy(&mut mesh).limits = limits;
    mesh.endpoints.insert(backend(), vec![endpoint(in_at, "cart-0", CART)]);
    let (story, metrics) = (Arc::<Story>::default(), Arc::new(Metrics::new()));
    let recorders: Vec<Arc<dyn Recorder>> = vec![Arc::clone(&story) as _, Arc::clone(&metrics) as _];
    let config = ProxyConfig {
        outbound: Some(ANY),
        identity: IdentitySource::Static(authority.identity(WEB)),
        recorder: Arc::new(Several::new(recorders)),
        ..config(&story, mesh)
    };
    let caller = Proxy::start(host, config).await.expect("starts");
    let at = caller.outbound().expect("asked for");
    Way { caller, callee, at, story, metrics }
}

/// A connection that speaks the other protocol.
async fn chat(host: &Host, at: SocketAddr) -> Conn {
    let mut conn = host.net().connect(at).await.expect("the proxy listens");
    conn.write_all(ASK).await.expect("room");
    let head = read_head(&mut conn).await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    conn
}

async fn says(conn: &mut Conn, word: &[u8]) {
    conn.write_all(word).await.expect("room");
    let mut back = vec![0; word.len()];
    conn.read_exact(&mut back).await.expect("sent back");
    assert_eq!(back, word);
}

async fn ends(conn: &mut Conn) {
    conn.shutdown().await.expect("open");
    assert_eq!(conn.read(&mut [0; 1]).await.expect("an orderly end"), 0);
}

#[test]
fn bytes_pass_both_ways_through_mutual_tls_and_are_counted() {
    run(|host| async move {
        let way = way(&host, Limits::default()).await;
        let mut conn = chat(&host, way.at).await;
        says(&mut conn, b"hello").await;
        // More than any buffer on the way holds.
        let much = vec![7; 300_000];
        let (mut back, mut sent) = (Vec::new(), 0);
        let mut room = [0; 16 * 1024];
        while back.len() < much.len() {
            sent += conn.write(&much[sent..much.len().min(sent + 8192)]).await.expect("room");
            let count = conn.read(&mut room).await.expect("sent back");
            back.extend_from_slice(&room[..count]);
        }
        assert!(back == much);
        let page = way.metrics.render();
        assert!(page.contains("squall_tunnels_open{side=\"outbound\"} 1"), "{page}");
        ends(&mut conn).await;
        way.story.saw(&host, "how: Complete").await;
        assert_eq!(way.story.count("bytes_up: 300005, bytes_down: 300005"), 1, "{:?}", way.story.lines("Ended"));
        let page = way.metrics.render();
        assert!(page.contains("squall_upgrades_total{side=\"outbound\",protocol=\"websocket\"} 1"), "{page}");
        assert!(page.contains("squall_tunnels_open{side=\"outbound\"} 0"), "{page}");
    });
}

#[test]
fn a_tunnel_holds_its_place_until_its_end() {
    run(|host| async move {
        let way = way(&host, Limits { in_flight: 1, pending: 0, ..Limits::default() }).await;
        let mut conn = chat(&host, way.at).await;
        assert_eq!(header(&get(&host, way.at, "/").await, "squall-reason"), "queue-full");
        ends(&mut conn).await;
        way.story.saw(&host, "how: Complete").await;
        ends(&mut chat(&host, way.at).await).await;
    });
}

#[test]
fn draining_waits_for_a_tunnel_and_cuts_it_off_at_its_limit() {
    run(|host| async move {
        for of_caller in [true, false] {
            let way = way(&host, Limits::default()).await;
            let mut conn = chat(&host, way.at).await;
            let proxy = if of_caller { &way.caller } else { &way.callee };
            let limit = Duration::from_millis(200);
            let until = host.now() + limit;
            let mut draining = Box::pin(proxy.drain(limit));
            let mut talking = Box::pin(async {
                says(&mut conn, b"still here").await;
                let cut_off = conn.read(&mut [0; 1]).await;
                assert!(cut_off.is_err() || cut_off.is_ok_and(|count| count == 0));
                assert!(host.now() >= until, "not before the limit");
            });
            let (mut drained, mut talked) = (false, false);
            std::future::poll_fn(|cx| {
                drained = drained || draining.as_mut().poll(cx).is_ready();
                talked = talked || talking.as_mut().poll(cx).is_ready();
                if drained && talked { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            way.story.saw(&host, "Ended").await;
        }
    });
}

#[test]
fn draining_ends_with_the_last_tunnel() {
    run(|host| async move {
        let way = way(&host, Limits::default()).await;
        let mut conn = chat(&host, way.at).await;
        let began = host.now();
        let mut draining = Box::pin(way.caller.drain(Duration::from_secs(600)));
        let mut talking = Box::pin(async {
            says(&mut conn, b"last words").await;
            ends(&mut conn).await;
        });
        let mut talked = false;
        std::future::poll_fn(|cx| {
            talked = talked || talking.as_mut().poll(cx).is_ready();
            let drained = draining.as_mut().poll(cx);
            assert!(talked || drained.is_pending(), "a tunnel is open");
            drained
        })
        .await;
        assert!(host.now().since(began) < Duration::from_secs(600));
        assert_eq!(way.story.count("how: Complete"), 1);
    });
}
