//! What a simulated world costs: `cargo bench --bench world`. CPU time, one thread; a table, no statistics.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use squall_net::http::{self as wire, BodyError, ServeLimits, Version};
use squall_net::{BoxFuture, Conn, Host, Io, after};
use squall_policy::Instant;
use squall_sim::engine::{Action, Boot, Delay, Engine as _, EventEngine, HostSpec, Link};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

const EPOCH: Duration = Duration::from_secs(1_767_225_600);
const SECOND: Duration = Duration::from_secs(1);
/// Requests a second of each pod.
const RATE: u64 = 10;

fn main() {
    timers();
    for pods in [10, 100, 300] {
        idle(pods);
    }
    for version in [Version::Http1, Version::Http2] {
        pipe(version);
        for pods in [10, 100, 300] {
            hops(pods, version);
        }
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's CPU time");
    let nanos = stat.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanos.expect("its first field is nanoseconds"))
}

fn address(pod: u32) -> IpAddr {
    IpAddr::from([10, 0, (pod / 250) as u8, (pod % 250) as u8 + 1])
}

fn world(pods: u32, boot: impl Fn(u32) -> Boot) -> EventEngine {
    let mut engine = EventEngine::new(1, EPOCH);
    let hosts: Vec<_> = (0..pods)
        .map(|pod| {
            engine.add_host(HostSpec {
                name: format!("pod-{pod}").into(),
                address: address(pod),
                boot: boot(pod),
                clock_ahead: Duration::ZERO,
                cpu_per_poll: Duration::ZERO,
            })
        })
        .collect();
    let link = Link { latency: Delay::Constant(Duration::from_millis(1)), ..Link::default() };
    engine.apply(Action::SetLink { from: hosts.clone(), to: hosts, link }).expect("a plain link");
    engine
}

/// Runs for `span` of simulated time after a second of warming up; the CPU time that took.
fn measure(engine: &mut EventEngine, span: Duration) -> Duration {
    let warm = engine.now() + SECOND;
    engine.run(warm).expect("a sound world");
    let begun = cpu();
    engine.run(warm + span).expect("a sound world");
    cpu() - begun
}

fn timers() {
    const STEP: Duration = Duration::from_nanos(1000);
    let mut engine = world(1, |_| {
        Arc::new(|host: Host| {
            Box::pin(async move {
                loop {
                    after(host.clock().as_ref(), STEP).await;
                }
            })
        })
    });
    let took = measure(&mut engine, 2 * SECOND);
    println!("timers: {:.3} µs an event", took.as_secs_f64() * 1e6 / 2e6);
}

fn idle(pods: u32) {
    let mut engine = world(pods, |_| {
        Arc::new(|host: Host| {
            Box::pin(async move {
                let mut rng = host.rng("heartbeat");
                after(host.clock().as_ref(), rng.between(Duration::ZERO, SECOND)).await;
                loop {
                    after(host.clock().as_ref(), SECOND).await;
                }
            })
        })
    });
    let took = measure(&mut engine, 10_000 * SECOND);
    println!("idle: {pods} pods, {:.0} simulated seconds per CPU second", 10_000.0 / took.as_secs_f64());
}

async fn echo(request: http::Request<wire::Incoming>) -> Result<http::Response<Full<Bytes>>, BodyError> {
    let body = request.into_body().collect().await.map_err(Box::new)?.to_bytes();
    Ok(http::Response::new(Full::new(body)))
}

fn serve(host: Host, conn: Conn, version: Version) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let limits = ServeLimits::default();
        let _ended = wire::serve(&host, conn, Some(version), limits, echo, std::future::pending()).await;
    })
}

async fn ask(sender: &mut wire::Sender<Full<Bytes>>) {
    let request = http::Request::post("http://pod/echo")
        .header("host", "pod")
        .body(Full::new(Bytes::from_static(&[7; 256])))
        .expect("a request");
    let response = sender.send(request).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(body.len(), 256);
}

/// Every pod asks its neighbour over HTTP, on one connection.
fn hops(pods: u32, version: Version) {
    let asked = Arc::new(AtomicU64::new(0));
    let mut engine = world(pods, |pod| {
        let asked = Arc::clone(&asked);
        Arc::new(move |host: Host| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let mut listener = host.net().listen(SocketAddr::new(address(pod), 80)).await.expect("a free port");
                let client = host.clone();
                host.spawn("ask", async move {
                    let conn = client.net().connect(SocketAddr::new(address((pod + 1) % pods), 80)).await;
                    let mut sender = wire::connect(&client, conn.expect("it listens"), version).await.expect("HTTP");
                    let mut rng = client.rng("arrivals");
                    loop {
                        let wait = rng.between(Duration::ZERO, 2 * SECOND / RATE as u32);
                        after(client.clock().as_ref(), wait).await;
                        ask(&mut sender).await;
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
                while let Ok(accepted) = listener.accept().await {
                    host.tasks().spawn("serve", serve(host.clone(), accepted.conn, version));
                }
            })
        })
    });
    let seconds = 20_000 / u64::from(pods);
    let (warm, span) = (engine.now() + SECOND, Duration::from_secs(seconds));
    engine.run(warm).expect("a sound world");
    let (before, effort) = (asked.load(Ordering::Relaxed), engine.effort());
    let begun = cpu();
    engine.run(warm + span).expect("a sound world");
    let took = (cpu() - begun).as_secs_f64();
    let requests = (asked.load(Ordering::Relaxed) - before) as f64;
    let (events, polls) = (engine.effort().events - effort.events, engine.effort().polls - effort.polls);
    println!(
        "hop, {version:?}: {pods} pods, {:.2} µs a request, {:.1} events, {:.1} polls; {:.0} simulated seconds per CPU second",
        took * 1e6 / requests,
        events as f64 / requests,
        polls as f64 / requests,
        seconds as f64 / took,
    );
}

/// The same without a network: what hyper itself costs.
fn pipe(version: Version) {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let mut engine = world(1, |_| {
        let asked = Arc::clone(&counted);
        Arc::new(move |host: Host| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                host.tasks().spawn("serve", serve(host.clone(), Box::new(Pipe(far)), version));
                let mut sender = wire::connect(&host, Box::new(Pipe(near)), version).await.expect("HTTP");
                loop {
                    ask(&mut sender).await;
                    if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(100) {
                        after(host.clock().as_ref(), Duration::from_millis(1)).await;
                    }
                }
            })
        })
    });
    engine.run(Instant::ZERO + SECOND).expect("a sound world");
    let (before, begun) = (asked.load(Ordering::Relaxed), cpu());
    engine.run(Instant::ZERO + 3 * SECOND).expect("a sound world");
    let took = (cpu() - begun).as_secs_f64();
    let requests = (asked.load(Ordering::Relaxed) - before) as f64;
    println!("pipe, {version:?}: {:.2} µs a request without a network", took * 1e6 / requests);
}

struct Pipe(DuplexStream);

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Io for Pipe {
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {}

    fn peer(&self) -> SocketAddr {
        SocketAddr::new(address(0), 1)
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::new(address(0), 2)
    }
}
