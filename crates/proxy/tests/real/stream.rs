//! Bodies stream through: nothing is gathered, nobody waits for what comes later, and each side learns when the other is gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::common::*;
use http::Response;
use http_body_util::BodyExt;
use squall_net::http::Version;
use squall_policy::{Protocol, RetryOn};

const CHUNK: usize = 64 * 1024;
/// Far more than all buffers of two loopback connections hold.
const CHUNKS: u64 = 2048;

/// Raised when it is dropped.
#[derive(Clone)]
struct Flag(Arc<AtomicBool>);

struct OnDrop(Flag);

impl Flag {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn is_up(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_large_answer_waits_for_a_slow_reader() {
    for (version, protocol) in [(Version::Http1, Protocol::Http1), (Version::Http2, Protocol::Http2)] {
        run(|host| async move {
            let written = Arc::<AtomicU64>::default();
            let (count, of_pump) = (Arc::clone(&written), host.clone());
            let at = origin(&host, move |_| {
                let (pipe, body) = Pipe::new();
                let count = Arc::clone(&count);
                of_pump.spawn("pump", async move {
                    for _ in 0..CHUNKS {
                        if !pipe.send(vec![b'x'; CHUNK]).await {
                            return;
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
                async { Ok(Response::new(body)) }
            })
            .await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            let mut body = client.send(request(version, "GET", "/", empty())).await.expect("a head").into_body();
            // Nobody reads: the origin must come to a stop. It has when nothing more is written for a while.
            let mut before = u64::MAX;
            while before != written.load(Ordering::SeqCst) {
                before = written.load(Ordering::SeqCst);
                squall_net::after(host.clock().as_ref(), Duration::from_millis(200)).await;
            }
            assert!(before < CHUNKS / 2, "{version:?}: {before} chunks were written though nobody read");
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                read += frame.expect("not broken").into_data().map_or(0, |data| data.len());
            }
            assert_eq!(read as u64, CHUNKS * CHUNK as u64);
            assert_eq!(story.count("how: Complete"), 1);
        });
    }
}

#[test]
fn a_large_request_waits_for_a_slow_origin_even_where_retries_keep_a_part() {
    run(|host| async move {
        let (open, gate) = tokio::sync::oneshot::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(Some(gate)));
        let at = origin(&host, move |request| {
            let gate = gate.lock().expect("no panic while locked").take().expect("asked once");
            async move {
                let _ = gate.await;
                let mut read = 0;
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    read += frame?.into_data().map_or(0, |data| data.len());
                }
                Ok(Response::new(text(read.to_string())))
            }
        })
        .await;
        let mut mesh = mesh(Protocol::Http2, &[at]);
        route(&mut mesh).retry = Some(retry(2, &[RetryOn::Status5xx]));
        let (_proxy, proxy_at, _) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let (up, body) = Pipe::new();
        let sent = Arc::<AtomicU64>::default();
        let count = Arc::clone(&sent);
        host.spawn("pump", async move {
            for _ in 0..CHUNKS {
                up.send(vec![b'x'; CHUNK]).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let asking = async {
            let response = client.send(request(Version::Http1, "PUT", "/", body)).await.expect("an answer");
            assert_eq!(whole(response).await.body(), &(CHUNKS * CHUNK as u64).to_string());
        };
        let watching = async {
            let mut before = u64::MAX;
            while before != sent.load(Ordering::SeqCst) || before == 0 {
                before = sent.load(Ordering::SeqCst);
                squall_net::after(host.clock().as_ref(), Duration::from_millis(200)).await;
            }
            assert!(before < CHUNKS / 2, "{before} chunks were sent though nobody read");
            open.send(()).expect("the origin waits");
        };
        both(asking, watching).await;
    });
}

/// Runs both to their ends.
pub(crate) async fn both(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut a_done, mut b_done) = (false, false);
    std::future::poll_fn(|cx| {
        a_done = a_done || a.as_mut().poll(cx).is_ready();
        b_done = b_done || b.as_mut().poll(cx).is_ready();
        if a_done && b_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[test]
fn an_origin_learns_that_its_caller_has_gone() {
    for (version, protocol) in [
        (Version::Http1, Protocol::Http1),
        (Version::Http1, Protocol::Http2),
        (Version::Http2, Protocol::Http1),
        (Version::Http2, Protocol::Http2),
    ] {
        run(|host| async move {
            let (asked, dropped) = (Flag::new(), Flag::new());
            let (asked_by, dropped_by) = (asked.clone(), dropped.clone());
            let at = origin(&host, move |_| {
                drop(OnDrop(asked_by.clone()));
                let guard = OnDrop(dropped_by.clone());
                async move {
                    let _guard = guard;
                    std::future::pending().await
                }
            })
            .await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            {
                let mut asking = Box::pin(client.send(request(version, "GET", "/", empty())));
                let waiting = until(&host, || asked.is_up());
                let mut waiting = Box::pin(waiting);
                std::future::poll_fn(|cx| {
                    assert!(asking.as_mut().poll(cx).is_pending(), "the origin does not answer");
                    waiting.as_mut().poll(cx)
                })
                .await;
            }
            until(&host, || dropped.is_up()).await;
            story.saw(&host, "how: CallerGone").await;
            assert_eq!(story.count("Ended"), 1, "{version:?} {protocol:?}");
        });
    }
}

#[test]
fn an_origin_learns_that_its_reader_has_gone() {
    for (version, protocol) in [(Version::Http1, Protocol::Http1), (Version::Http2, Protocol::Http2)] {
        run(|host| async move {
            let gone = Flag::new();
            let (gone_by, of_pump) = (gone.clone(), host.clone());
            let at = origin(&host, move |_| {
                let (pipe, body) = Pipe::new();
                let guard = OnDrop(gone_by.clone());
                of_pump.spawn("pump", async move {
                    let _guard = guard;
                    while pipe.send("tick").await {}
                });
                async { Ok(Response::new(body)) }
            })
            .await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            let mut body = client.send(request(version, "GET", "/", empty())).await.expect("a head").into_body();
            assert!(body.frame().await.is_some());
            drop((body, client));
            until(&host, || gone.is_up()).await;
            story.saw(&host, "how: CallerGone").await;
        });
    }
}

#[test]
fn a_caller_learns_that_the_answer_broke_off() {
    for (version, protocol) in [
        (Version::Http1, Protocol::Http1),
        (Version::Http1, Protocol::Http2),
        (Version::Http2, Protocol::Http1),
        (Version::Http2, Protocol::Http2),
    ] {
        run(|host| async move {
            let (of_pump, read) = (host.clone(), Flag::new());
            let was_read = read.clone();
            let at = origin(&host, move |_| {
                let (pipe, body) = Pipe::new();
                let (host, was_read) = (of_pump.clone(), was_read.clone());
                of_pump.spawn("pump", async move {
                    pipe.send("half").await;
                    until(&host, || was_read.is_up()).await;
                    pipe.fail().await;
                });
                async { Ok(Response::new(body)) }
            })
            .await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            let mut body = client.send(request(version, "GET", "/", empty())).await.expect("a head").into_body();
            assert!(body.frame().await.is_some());
            drop(OnDrop(read));
            assert!(body.collect().await.is_err(), "{version:?} {protocol:?}: a broken answer must not look whole");
            story.saw(&host, "how: Broken").await;
        });
    }
}

#[test]
fn a_silent_answer_is_ended_by_the_idle_timeout() {
    run(|host| async move {
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let at = origin(&host, move |_| {
            let (pipe, body) = Pipe::new();
            kept.lock().expect("no panic while locked").push(pipe);
            async { Ok(Response::new(body)) }
        })
        .await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).timeouts.idle = Some(Duration::from_millis(50));
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let body = client.send(request(Version::Http1, "GET", "/", empty())).await.expect("a head").into_body();
        assert!(body.collect().await.is_err());
        assert_eq!(story.count("how: Idle"), 1);
    });
}

#[test]
fn an_answer_that_goes_on_is_cut_off_by_the_stream_timeout() {
    run(|host| async move {
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let at = origin(&host, move |_| {
            let (pipe, body) = Pipe::new();
            kept.lock().expect("no panic while locked").push(pipe);
            async { Ok(Response::new(body)) }
        })
        .await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).timeouts.stream = Some(Duration::from_millis(50));
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let body = client.send(request(Version::Http1, "GET", "/", empty())).await.expect("a head").into_body();
        assert!(body.collect().await.is_err());
        assert_eq!(story.count("how: TooLong"), 1);
    });
}

#[test]
fn a_silent_request_is_answered_by_the_idle_timeout() {
    run(|host| async move {
        let at = origin(&host, |request| async move {
            request.into_body().collect().await?;
            Ok(Response::new(text("ok")))
        })
        .await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).timeouts.idle = Some(Duration::from_millis(50));
        let (_proxy, proxy_at, _) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http2).await;
        let (up, body) = Pipe::new();
        up.send("half").await;
        let response = client.send(request(Version::Http2, "POST", "/", body)).await.expect("an answer");
        assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (408, "idle-timeout"));
    });
}
