//! What a hostile or broken peer can do to others: nothing. It is cut off in its time, its place is free again, and who was on the other
//! side learns that what came is not the whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::ca::Authority;
use crate::common::*;
use http::Response;
use http_body_util::BodyExt;
use squall_net::http::{ServeLimits, Version};
use squall_net::tls::Connector;
use squall_net::{Conn, Host, after};
use squall_policy::{Instant, Limits, Protocol};
use squall_proxy::{
    IdentitySource, InboundListener, Metrics, Proxy, ProxyConfig, Record, Recorder, RequestNumber, Several,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";

async fn dial(host: &Host, at: SocketAddr) -> Conn {
    host.net().connect(at).await.expect("somebody listens")
}

/// A proxy that asks for certificates and gives nobody more than half a second for a handshake, with all that is told of it.
struct Guarded {
    /// Where it listens for others.
    at: SocketAddr,
    story: Arc<Story>,
    metrics: Arc<Metrics>,
    /// Somebody whom it lets in.
    connector: Connector,
    _proxy: Proxy,
}

/// One that is ready, with at most so many handshakes under way at once.
async fn guarded(host: &Host, handshakes: u32) -> Guarded {
    let authority = Authority::new();
    let app = origin(host, echo).await;
    let (story, metrics) = (Arc::<Story>::default(), Arc::new(Metrics::new()));
    let both = Several::new(vec![Arc::clone(&story) as Arc<dyn Recorder>, Arc::clone(&metrics) as _]);
    let config = ProxyConfig {
        inbound: vec![InboundListener { listen: ANY, mutual_tls: true, app }],
        identity: IdentitySource::Static(authority.identity(CART)),
        limits: ServeLimits { head_timeout: Duration::from_millis(500), ..ServeLimits::default() },
        handshakes,
        recorder: Arc::new(both),
        ..config(&story, inbound_mesh(app.port(), Protocol::Http1))
    };
    let proxy = Proxy::start(host, config).await.expect("starts");
    proxy.ready().await;
    let connector = Connector::new(host, &authority.identity(WEB), &[b"http/1.1"]).expect("an identity");
    Guarded { at: proxy.inbound()[0], story, metrics, connector, _proxy: proxy }
}

/// The first bytes of a ClientHello: a record of 512 bytes, of which few ever come.
const HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

#[test]
fn who_never_ends_a_handshake_is_cut_off_in_time_and_the_others_are_served() {
    run(|host| async move {
        let Guarded { at, story, metrics, connector, .. } = guarded(&host, 1_000).await;
        // Nothing; one byte; a beginning; and a byte now and then, which gains no time.
        let mut slow: Vec<Conn> = Vec::new();
        for sent in [&[][..], &HELLO[..1], &HELLO] {
            for _ in 0..20 {
                let mut conn = dial(&host, at).await;
                conn.write_all(sent).await.expect("the kernel has room");
                slow.push(conn);
            }
        }
        let mut drip = dial(&host, at).await;
        let of_drip = host.clone();
        host.spawn("drip", async move {
            let mut bytes = HELLO.iter().copied().chain(std::iter::repeat(0));
            while drip.write_all(&[bytes.next().expect("without end")]).await.is_ok() {
                after(of_drip.clock().as_ref(), Duration::from_millis(20)).await;
            }
        });
        // Meanwhile the others are served.
        for _ in 0..5 {
            let secured = connector.connect(dial(&host, at).await, &CART.into()).await.expect("a handshake");
            let mut client = squall_net::http::connect(&host, secured.conn, Version::Http1).await.expect("HTTP");
            let answer = client.send(request(Version::Http1, "GET", "/", empty())).await.expect("an answer");
            assert_eq!(answer.status(), 200);
        }
        for mut conn in slow {
            // The end or a reset, which depends on what it has left unread.
            assert_eq!(conn.read_u8().await.ok(), None);
        }
        until(&host, || story.count("HandshakeTimeout") == 61).await;
        assert!(metrics.render().contains("\nsquall_peers_refused_total{reason=\"handshake-timeout\"} 61\n"));
    });
}

#[test]
fn of_too_many_handshakes_some_wait_for_their_turn_and_are_refused_if_it_does_not_come() {
    run(|host| async move {
        let Guarded { at, story, metrics, connector, .. } = guarded(&host, 2).await;
        // Who says nothing has no turn: the others are served all the same.
        let mut silent: Vec<Conn> = Vec::new();
        for _ in 0..20 {
            silent.push(dial(&host, at).await);
        }
        drop(connector.connect(dial(&host, at).await, &CART.into()).await.expect("a handshake"));
        assert_eq!(story.count("HandshakeLimit"), 0);
        drop(silent);
        until(&host, || story.count("PeerRefused") == 20).await;

        let (told, late) = (story.count("PeerRefused"), story.count("HandshakeTimeout"));
        let mut slow: Vec<Conn> = Vec::new();
        for _ in 0..20 {
            let mut conn = dial(&host, at).await;
            conn.write_all(&HELLO).await.expect("room");
            slow.push(conn);
        }
        until(&host, || story.count("PeerRefused") == told + 20).await;
        // Those who come a little later may have their turn when the first are cut off, and are cut off in it.
        let refused = story.count("HandshakeLimit");
        assert!((1..=18).contains(&refused), "{:?}", story.lines("PeerRefused"));
        assert_eq!(refused + story.count("HandshakeTimeout"), late + 20);
        let counted = format!("\nsquall_peers_refused_total{{reason=\"handshake-limit\"}} {refused}\n");
        assert!(metrics.render().contains(&counted));

        // Every turn was given back: one after the other, more than there are.
        let mut good = Vec::new();
        for _ in 0..5 {
            let secured = connector.connect(dial(&host, at).await, &CART.into()).await.expect("a handshake");
            good.push(secured);
        }
        assert_eq!(story.count("PeerRefused"), told + 20);
    });
}

#[test]
fn an_upload_that_stands_still_is_cut_off_and_a_slow_one_is_not() {
    run(|host| async move {
        let app = origin(&host, |request| async move {
            let body = request.into_body().collect().await?.to_bytes();
            Ok(Response::new(text(body)))
        })
        .await;
        let story = Arc::<Story>::default();
        let mut mesh = inbound_mesh(app.port(), Protocol::Http1);
        for inbound in mesh.inbound.values_mut() {
            inbound.limits = Limits { in_flight: 2, pending: 0, ..Limits::default() };
        }
        let config = ProxyConfig {
            inbound: vec![InboundListener { listen: ANY, mutual_tls: false, app }],
            // 30 times this is how long a body may stand still.
            limits: ServeLimits { head_timeout: Duration::from_millis(50), ..ServeLimits::default() },
            ..config(&story, mesh)
        };
        let proxy = Proxy::start(&host, config).await.expect("starts");
        let at = proxy.inbound()[0];
        let (mut still, mut slow) = (dial(&host, at).await, dial(&host, at).await);
        still.write_all(b"POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 9\r\n\r\nhalf").await.expect("room");
        slow.write_all(b"POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\n").await.expect("room");
        let (of_slow, told) = (host.clone(), Arc::clone(&story));
        host.spawn("slow", async move {
            for byte in b"slow" {
                slow.write_all(&[*byte]).await.expect("it is open");
                after(of_slow.clock().as_ref(), Duration::from_millis(400)).await;
            }
            // By now the other has been cut off, had it the same time.
            told.saw(&of_slow, "idle-timeout").await;
            slow.write_all(b"!").await.expect("it is open");
            let mut answer = [0; 17];
            slow.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 200 OK\r\n");
            told.saw(&of_slow, "status: 200").await;
        });
        let mut answer = [0; 12];
        still.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 408");
        until(&host, || story.count("Ended") == 2).await;
        assert_eq!(story.count("how: Complete"), 1);
        assert_eq!(get(&host, at, "/").await.status(), 200, "both places are free");
    });
}

/// A mesh of one place: a permit that is not handed back would be missed by the next request.
async fn narrow(host: &Host, protocol: Protocol, at: SocketAddr) -> (Proxy, SocketAddr, Arc<Story>, Arc<Metrics>) {
    let mut mesh = mesh(protocol, &[at]);
    policy(&mut mesh).limits = Limits { in_flight: 1, pending: 0, ..Limits::default() };
    let (story, metrics) = (Arc::<Story>::default(), Arc::new(Metrics::new()));
    let both = Several::new(vec![Arc::clone(&story) as Arc<dyn Recorder>, Arc::clone(&metrics) as _]);
    let config = ProxyConfig { outbound: Some(ANY), recorder: Arc::new(both), ..config(&story, mesh) };
    let proxy = Proxy::start(host, config).await.expect("starts");
    proxy.ready().await;
    let at = proxy.outbound().expect("asked for");
    (proxy, at, story, metrics)
}

/// Nothing is in flight, and there is a place.
async fn all_is_handed_back(host: &Host, at: SocketAddr, metrics: &Metrics) {
    until(host, || metrics.render().contains("squall_requests_in_flight{side=\"outbound\"} 0\n")).await;
    let response = get(host, at, "/well").await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, &b"well"[..]));
    until(host, || metrics.render().contains("squall_requests_in_flight{side=\"outbound\"} 0\n")).await;
}

/// An application that takes uploads, and whether each of them was whole.
async fn taker(host: &Host) -> (SocketAddr, Arc<Mutex<Vec<bool>>>) {
    let ends = Arc::<Mutex<Vec<bool>>>::default();
    let told = Arc::clone(&ends);
    let app = origin(host, move |request| {
        let told = Arc::clone(&told);
        async move {
            if request.uri().path() == "/well" {
                return Ok(Response::new(text("well")));
            }
            let whole = request.into_body().collect().await.is_ok();
            told.lock().expect("no panic while locked").push(whole);
            Ok(Response::new(text("got it")))
        }
    })
    .await;
    (app, ends)
}

#[test]
fn an_application_sees_that_an_upload_broke_off_however_its_caller_vanished() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (how, length) in [("fin", "content-length: 1000"), ("rst", "content-length: 1000"), ("fin", "chunked")] {
            run(|host| async move {
                let (app, ends) = taker(&host).await;
                let (_proxy, at, story, metrics) = narrow(&host, protocol, app).await;
                let mut conn = dial(&host, at).await;
                let head = if length == "chunked" { "transfer-encoding: chunked" } else { length };
                let part = if length == "chunked" { "4\r\nhalf\r\n" } else { "half" };
                let sent = format!("POST /up HTTP/1.1\r\nhost: app\r\n{head}\r\n\r\n{part}");
                conn.write_all(sent.as_bytes()).await.expect("the kernel has room");
                story.saw(&host, "Connected").await;
                if how == "rst" {
                    conn.abort();
                }
                drop(conn);
                until(&host, || !ends.lock().expect("no panic while locked").is_empty()).await;
                assert_eq!(*ends.lock().expect("no panic while locked"), [false], "{protocol:?} {how} {length}");
                all_is_handed_back(&host, at, &metrics).await;
            });
        }
    }
}

#[test]
fn an_upload_over_http2_that_breaks_off_is_no_whole_one() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let (app, ends) = taker(&host).await;
            let (_proxy, at, story, metrics) = narrow(&host, protocol, app).await;
            let mut client = client(&host, at, Version::Http2).await;
            let (pipe, body) = Pipe::new();
            pipe.send("half").await;
            let (seen, of_pipe) = (Arc::clone(&story), host.clone());
            host.spawn("caller", async move {
                seen.saw(&of_pipe, "Connected").await;
                pipe.fail().await;
            });
            assert!(client.send(request(Version::Http2, "POST", "/up", body)).await.is_err());
            until(&host, || !ends.lock().expect("no panic while locked").is_empty()).await;
            assert_eq!(*ends.lock().expect("no panic while locked"), [false], "{protocol:?}");
            all_is_handed_back(&host, at, &metrics).await;
        });
    }
}

/// An application of bytes: each connection gets this answer to its first request, and then ends. To `/well` it answers well.
async fn vanishing(host: &Host, answer: &'static str, resets: bool) -> SocketAddr {
    let mut listener = host.net().listen(ANY).await.expect("a free port");
    let at = listener.local();
    let of_host = host.clone();
    host.spawn("vanishing", async move {
        while let Ok(mut accepted) = listener.accept().await {
            let host = of_host.clone();
            of_host.spawn("vanishing connection", async move {
                let (mut head, mut piece) = (Vec::new(), [0; 1024]);
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    match accepted.conn.read(&mut piece).await {
                        Ok(count) if count > 0 => head.extend_from_slice(&piece[..count]),
                        _ => return,
                    }
                }
                if head.starts_with(b"GET /well") {
                    let _ = accepted.conn.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell").await;
                    return;
                }
                let _ = accepted.conn.write_all(answer.as_bytes()).await;
                if resets {
                    // What was sent is to arrive before the reset, which would overtake it.
                    after(host.clock().as_ref(), Duration::from_millis(50)).await;
                    accepted.conn.abort();
                }
            });
        }
    });
    at
}

#[test]
fn a_caller_sees_that_an_answer_broke_off_however_the_application_vanished() {
    const SIZED: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    const TORN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\nhalf";
    const CLOSING: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhalf";
    for version in [Version::Http1, Version::Http2] {
        for (answer, resets) in
            [(SIZED, false), (SIZED, true), (CHUNKED, false), (CHUNKED, true), (TORN, false), (CLOSING, true)]
        {
            run(|host| async move {
                let app = vanishing(&host, answer, resets).await;
                let (_proxy, at, story, metrics) = narrow(&host, Protocol::Http1, app).await;
                let mut client = client(&host, at, version).await;
                let response = client.send(request(version, "GET", "/", empty())).await.expect("a head");
                assert_eq!(response.status(), 200);
                let whole = response.into_body().collect().await;
                assert!(whole.is_err(), "{version:?} {answer:?} {resets}: a part is not the whole");
                story.saw(&host, "how: Broken").await;
                all_is_handed_back(&host, at, &metrics).await;
            });
        }
    }
}

/// Panics at every record of a `/boom` request from the one with this number on: also at those that are told while the first panic unwinds.
#[derive(Default)]
struct Bomb(Mutex<BTreeMap<RequestNumber, u32>>, Mutex<u32>);

impl Recorder for Bomb {
    fn record(&self, _at: Instant, record: &Record<'_>) {
        if let Record::Started { request, path: "/boom", .. } = record {
            self.0.lock().unwrap_or_else(|poison| poison.into_inner()).insert(*request, 0);
        }
        let (Record::Started { request, .. }
        | Record::Routed { request, .. }
        | Record::Picked { request, .. }
        | Record::Connected { request, .. }
        | Record::Head { request, .. }
        | Record::AttemptCancelled { request, .. }
        | Record::Ended { request, .. }) = record
        else {
            return;
        };
        let mut seen = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        let Some(count) = seen.get_mut(request) else { return };
        *count += 1;
        let fuse = *self.1.lock().expect("no panic while locked");
        assert!(*count <= fuse, "on purpose, at {record:?}");
    }
}

#[test]
fn a_panic_in_one_connection_stops_no_other_and_hands_back_its_place() {
    run(|host| async move {
        let app = origin(&host, |_| async { Ok(Response::new(text("well"))) }).await;
        let mut mesh = mesh(Protocol::Http1, &[app]);
        policy(&mut mesh).limits = Limits { in_flight: 1, pending: 0, ..Limits::default() };
        let (story, bomb) = (Arc::<Story>::default(), Arc::<Bomb>::default());
        let both = Several::new(vec![Arc::clone(&story) as Arc<dyn Recorder>, Arc::clone(&bomb) as _]);
        let config = ProxyConfig { outbound: Some(ANY), recorder: Arc::new(both), ..config(&story, mesh) };
        let proxy = Proxy::start(&host, config).await.expect("starts");
        let at = proxy.outbound().expect("asked for");
        for version in [Version::Http1, Version::Http2] {
            let mut lost = 0;
            for fuse in 0..8 {
                *bomb.1.lock().expect("no panic while locked") = fuse;
                let mut doomed = client(&host, at, version).await;
                let answer = doomed.send(request(version, "GET", "/boom", empty())).await;
                let whole = match answer {
                    Ok(answer) => answer.into_body().collect().await.is_ok(),
                    Err(_) => false,
                };
                lost += u32::from(!whole);
                drop(doomed);
                // The place is free at the latest when its connection is gone; others get it.
                let mut next = get(&host, at, "/").await;
                while header(&next, "squall-reason") == "queue-full" {
                    next = get(&host, at, "/").await;
                }
                assert_eq!((next.status().as_u16(), next.body().as_ref()), (200, &b"well"[..]), "{version:?} {fuse}");
            }
            assert!(lost >= 4, "{version:?}: the bomb went off {lost} times");
        }
    });
}
