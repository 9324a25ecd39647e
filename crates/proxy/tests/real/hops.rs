//! Deadlines and cancellations over two sidecars with mutual TLS between them: what one hop decides, all hops do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::ca::Authority;
use crate::common::*;
use http::{Request, Response};
use squall_net::Host;
use squall_net::http::{BodyError, BoxBody, Incoming, Version};
use squall_policy::{HedgeAfter, Hedging, Limits, Mesh, Protocol};
use squall_proxy::{IdentitySource, InboundListener, Proxy, ProxyConfig};

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const EXPECTED: &str = "x-envoy-expected-rq-timeout-ms";

/// How many requests an application was asked, and how many of them were given up.
#[derive(Clone, Default)]
struct Seen {
    asked: Arc<AtomicU32>,
    gone: Arc<AtomicU32>,
}

impl Seen {
    /// An application that never answers.
    fn hanging(&self) -> impl Fn(Request<Incoming>) -> squall_net::BoxFuture<'static, Answer> + Clone + use<> {
        let seen = self.clone();
        move |_| {
            seen.asked.fetch_add(1, Ordering::SeqCst);
            let gone = Gone(Arc::clone(&seen.gone));
            Box::pin(async move {
                let _gone = gone;
                std::future::pending().await
            })
        }
    }

    fn counts(&self) -> (u32, u32) {
        (self.asked.load(Ordering::SeqCst), self.gone.load(Ordering::SeqCst))
    }
}

type Answer = Result<Response<BoxBody>, BodyError>;

/// Counts when it is dropped.
struct Gone(Arc<AtomicU32>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The sidecar of an application, which takes so many requests at once.
async fn far(host: &Host, authority: &Authority, app: SocketAddr, in_flight: u32) -> (Proxy, SocketAddr, Arc<Story>) {
    let story = Arc::<Story>::default();
    let mut mesh = inbound_mesh(app.port(), Protocol::Http1);
    mesh.inbound.get_mut(&app.port()).expect("just made").limits = Limits { in_flight, ..Limits::default() };
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

/// The sidecar of the caller, with the mesh that leads to these sidecars.
async fn near(
    host: &Host,
    authority: &Authority,
    protocol: Protocol,
    to: &[SocketAddr],
    change: impl FnOnce(&mut Mesh),
) -> (Proxy, SocketAddr, Arc<Story>) {
    let mut mesh = mesh(protocol, &[]);
    policy(&mut mesh).mutual_tls = true;
    let named = to.iter().enumerate().map(|(n, at)| endpoint(*at, &format!("cart-{n}"), CART));
    mesh.endpoints.insert(backend(), named.collect());
    change(&mut mesh);
    let story = Arc::<Story>::default();
    let identity = IdentitySource::Static(authority.identity(WEB));
    let proxy = Proxy::start(host, ProxyConfig { outbound: Some(ANY), identity, ..config(&story, mesh) }).await;
    let proxy = proxy.expect("starts");
    proxy.ready().await;
    let at = proxy.outbound().expect("asked for");
    (proxy, at, story)
}

/// A GET that says how long its caller waits.
async fn ask(host: &Host, at: SocketAddr, ms: u32) -> Response<bytes::Bytes> {
    let mut client = client(host, at, Version::Http1).await;
    let mut request = request(Version::Http1, "GET", "/", empty());
    request.headers_mut().insert(EXPECTED, ms.into());
    whole(client.send(request).await.expect("an answer")).await
}

fn outcome<T>(response: &Response<T>) -> (u16, &str) {
    (response.status().as_u16(), header(response, "squall-reason"))
}

#[test]
fn the_application_learns_what_is_left_of_the_callers_time() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let authority = Authority::new();
            let app = origin(&host, echo).await;
            let (_far, far_at, _) = far(&host, &authority, app, 10).await;
            let (_near, near_at, _) = near(&host, &authority, protocol, &[far_at], |mesh| {
                route(mesh).timeouts.request = Some(Duration::from_secs(60));
            })
            .await;
            let left = |response: &Response<bytes::Bytes>| -> u64 {
                header(response, &format!("saw-{EXPECTED}")).parse().expect("a number")
            };
            let response = ask(&host, near_at, 20_000).await;
            assert!((1..=20_000).contains(&left(&response)), "the caller's: {}", left(&response));
            // Who says nothing has the route's time.
            let response = get(&host, near_at, "/").await;
            assert!((1..=60_000).contains(&left(&response)), "the route's: {}", left(&response));
        });
    }
}

#[test]
fn a_grpc_deadline_passes_both_sidecars() {
    run(|host| async move {
        let authority = Authority::new();
        let app = origin(&host, echo).await;
        let (_far, far_at, _) = far(&host, &authority, app, 10).await;
        let (_near, near_at, _) = near(&host, &authority, Protocol::Http2, &[far_at], |_| {}).await;
        let mut client = client(&host, near_at, Version::Http2).await;
        let mut request = request(Version::Http2, "POST", "/", empty());
        request.headers_mut().extend(map(&[("content-type", "application/grpc"), ("grpc-timeout", "20S")]));
        let response = client.send(request).await.expect("an answer");
        let left = header(&response, "saw-grpc-timeout");
        let micros: u64 =
            left.strip_suffix('u').expect("microseconds need no more than eight digits").parse().expect("digits");
        assert!((1..=20_000_000).contains(&micros), "{left}");
    });
}

#[test]
fn whose_time_ends_in_the_far_queue_never_reaches_the_application() {
    run(|host| async move {
        let authority = Authority::new();
        let seen = Seen::default();
        let app = origin(&host, seen.hanging()).await;
        let (_far, far_at, far_story) = far(&host, &authority, app, 1).await;
        let (_near, near_at, _) = near(&host, &authority, Protocol::Http2, &[far_at], |_| {}).await;
        // The first one has the only place.
        let of_task = host.clone();
        host.spawn("first", async move {
            ask(&of_task, near_at, 20_000).await;
        });
        until(&host, || seen.counts() == (1, 0)).await;
        let late = ask(&host, near_at, 50).await;
        assert_eq!(outcome(&late), (504, "deadline-exceeded"));
        far_story.saw(&host, "Queued").await;
        far_story.saw(&host, "Ended").await;
        assert_eq!(seen.counts(), (1, 0), "{:?}", far_story.lines("Picked"));
        assert_eq!(far_story.count("Picked"), 1);
    });
}

#[test]
fn a_deadline_that_passes_ends_the_work_at_the_far_end() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let authority = Authority::new();
            let seen = Seen::default();
            let app = origin(&host, seen.hanging()).await;
            let (_far, far_at, far_story) = far(&host, &authority, app, 10).await;
            let (_near, near_at, _) = near(&host, &authority, protocol, &[far_at], |_| {}).await;
            let response = ask(&host, near_at, 100).await;
            assert_eq!(outcome(&response), (504, "deadline-exceeded"));
            until(&host, || seen.counts() == (1, 1)).await;
            far_story.saw(&host, "Ended").await;
        });
    }
}

#[test]
fn the_hedge_that_lost_is_taken_back_from_the_application() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let authority = Authority::new();
            let seen = Seen::default();
            let slow = origin(&host, seen.hanging()).await;
            let quick = origin(&host, echo).await;
            let (_slow, slow_at, slow_story) = far(&host, &authority, slow, 10).await;
            let (_quick, quick_at, quick_story) = far(&host, &authority, quick, 10).await;
            let (_near, near_at, story) = near(&host, &authority, protocol, &[slow_at, quick_at], |mesh| {
                let after = HedgeAfter::Delay(Duration::from_millis(20));
                policy(mesh).hedging = Some(Hedging { after, ..Hedging::default() });
            })
            .await;
            // In turn: one of the two meets the slow one first.
            for _ in 0..2 {
                assert_eq!(get(&host, near_at, "/").await.status(), 200);
            }
            until(&host, || seen.counts() == (1, 1)).await;
            assert_eq!(story.count("AttemptCancelled"), 1, "{:?}", story.lines("Attempt"));
            slow_story.saw(&host, "CallerGone").await;
            assert_eq!(quick_story.count("CallerGone"), 0);
        });
    }
}
