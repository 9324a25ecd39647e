//! What fails is tried again as the policy says, and no more than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::common::*;
use http::{Request, Response};
use http_body_util::BodyExt;
use squall_net::http::{BodyError, BoxBody, Incoming, Version};
use squall_policy::{Budget, Protocol, RetryOn};

type Served = squall_net::BoxFuture<'static, Result<Response<BoxBody>, BodyError>>;

/// Fails the first `failures` requests with 503, then echoes; says how often it was asked.
fn flaky(failures: u32) -> (Arc<AtomicU32>, impl Fn(Request<Incoming>) -> Served + Clone) {
    let asked = Arc::<AtomicU32>::default();
    let count = Arc::clone(&asked);
    let service = move |request: Request<Incoming>| -> Served {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if nth >= failures {
                return echo(request).await;
            }
            // Read, so that the connection can be used again.
            let _ = request.into_body().collect().await;
            Ok(Response::builder().status(503).body(text("not now"))?)
        })
    };
    (asked, service)
}

#[test]
fn a_503_is_repeated_with_the_same_body() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let (asked, service) = flaky(2);
            let at = origin(&host, service).await;
            let mut mesh = mesh(protocol, &[at]);
            route(&mut mesh).retry = Some(retry(3, &[RetryOn::Status(503)]));
            let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
            let mut client = client(&host, proxy_at, Version::Http1).await;
            let response = client.send(request(Version::Http1, "PUT", "/", text("again"))).await.expect("an answer");
            assert_eq!(response.status(), 200);
            assert_eq!(header(&response, "saw-x-envoy-attempt-count"), "3");
            assert_eq!(whole(response).await.body(), "again");
            assert_eq!(asked.load(Ordering::SeqCst), 3);
            assert_eq!(story.count("Retry {"), 2, "{:?}", story.lines("Retry"));
            // The 503s were read away, so that one connection served all tries.
            assert_eq!(story.count("reused: false"), 1, "{:?}", story.lines("Connected"));
        });
    }
}

#[test]
fn a_post_is_not_repeated_after_it_was_seen() {
    run(|host| async move {
        let (asked, service) = flaky(1);
        let at = origin(&host, service).await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).retry = Some(retry(3, &[RetryOn::Status5xx]));
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let response = client.send(request(Version::Http1, "POST", "/", text("once"))).await.expect("an answer");
        assert_eq!(response.status(), 503);
        assert_eq!(whole(response).await.body(), "not now");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert_eq!(story.count("NotRepeatable"), 1);
    });
}

#[test]
fn a_body_larger_than_the_buffer_is_sent_once() {
    run(|host| async move {
        let (asked, service) = flaky(1);
        let at = origin(&host, service).await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).retry =
            Some(squall_policy::RetryPolicy { buffer_bytes: 1000, ..retry(3, &[RetryOn::Status5xx]) });
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let response = client.send(request(Version::Http1, "PUT", "/", text(vec![b'x'; 1001]))).await;
        assert_eq!(response.expect("an answer").status(), 503);
        assert_eq!((asked.load(Ordering::SeqCst), story.count("NotRepeatable")), (1, 1));
    });
}

#[test]
fn a_try_without_a_head_in_time_is_given_up_and_repeated() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let slow = origin(&host, |_| std::future::pending()).await;
            let quick = origin(&host, echo).await;
            let mut mesh = mesh(protocol, &[slow, quick]);
            route(&mut mesh).timeouts.per_try = Some(Duration::from_millis(50));
            route(&mut mesh).retry = Some(retry(1, &[RetryOn::PerTryTimeout]));
            let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
            for _ in 0..2 {
                let response = get(&host, proxy_at, "/").await;
                assert_eq!(response.status(), 200);
            }
            assert_eq!(story.count("AttemptCancelled"), 1, "round robin meets the slow one once in two requests");
        });
    }
}

#[test]
fn the_last_try_out_of_time_is_a_504() {
    run(|host| async move {
        let slow = origin(&host, |_| std::future::pending()).await;
        let mut mesh = mesh(Protocol::Http1, &[slow]);
        route(&mut mesh).timeouts.per_try = Some(Duration::from_millis(20));
        route(&mut mesh).retry = Some(retry(1, &[RetryOn::PerTryTimeout]));
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let response = get(&host, proxy_at, "/").await;
        assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (504, "per-try-timeout"));
        assert_eq!(story.count("AttemptCancelled"), 2);
    });
}

#[test]
fn the_deadline_of_the_caller_counts_and_is_sent_on() {
    run(|host| async move {
        let slow = origin(&host, |_| std::future::pending()).await;
        let (_proxy, proxy_at, _) = outbound(&host, mesh(Protocol::Http1, &[slow])).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let mut late = request(Version::Http1, "GET", "/", empty());
        late.headers_mut().insert("x-envoy-expected-rq-timeout-ms", 30.into());
        let response = client.send(late).await.expect("an answer");
        assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (504, "deadline-exceeded"));

        let at = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).timeouts.request = Some(Duration::from_secs(7));
        let (_proxy, proxy_at, _) = outbound(&host, mesh).await;
        let response = get(&host, proxy_at, "/").await;
        let left: u64 = header(&response, "saw-x-envoy-expected-rq-timeout-ms").parse().expect("a number");
        assert!((1..=7000).contains(&left), "{left}");
    });
}

#[test]
fn an_empty_budget_stops_retries() {
    run(|host| async move {
        let (asked, service) = flaky(u32::MAX);
        let at = origin(&host, service).await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        route(&mut mesh).retry = Some(retry(3, &[RetryOn::Status5xx]));
        let window = Duration::from_secs(3600);
        policy(&mut mesh).budget = Some(Budget { percent: 20, min_per_second: 0, window });
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        for _ in 0..20 {
            assert_eq!(get(&host, proxy_at, "/").await.status(), 503);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 24, "20 requests deposit 4 retries");
        assert!(story.count("OverBudget") >= 16, "{:?}", story.lines("Retry"));
    });
}

#[test]
fn a_refused_connection_is_tried_elsewhere() {
    run(|host| async move {
        let gone = host.net().listen(ANY).await.expect("a free port").local();
        let (_, service) = flaky(0);
        let at = origin(&host, service).await;
        let mut mesh = mesh(Protocol::Http1, &[gone, at]);
        route(&mut mesh).retry = Some(retry(1, &[RetryOn::ConnectFailure]));
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        for _ in 0..4 {
            let response = client.send(request(Version::Http1, "POST", "/", text("x"))).await.expect("an answer");
            assert_eq!(whole(response).await.status(), 200);
        }
        assert!(story.count("failure: ConnectRefused") >= 1);
    });
}

#[test]
fn a_connection_closed_while_it_waited_costs_no_try() {
    run(|host| async move {
        // Closes each connection after one answer without saying so.
        let mut listener = host.net().listen(ANY).await.expect("a free port");
        let at = listener.local();
        let closed = Arc::<AtomicU32>::default();
        let count = Arc::clone(&closed);
        host.spawn("rude origin", async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok(mut accepted) = listener.accept().await {
                let mut head = [0; 4096];
                let read = accepted.conn.read(&mut head).await.expect("a request");
                assert!(head[..read].ends_with(b"\r\n\r\n"));
                accepted.conn.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("written");
                drop(accepted);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (_proxy, proxy_at, story) = outbound(&host, mesh(Protocol::Http1, &[at])).await;
        for n in 0..20 {
            assert_eq!(get(&host, proxy_at, "/").await.body(), "ok");
            until(&host, || closed.load(Ordering::SeqCst) > n).await;
        }
        assert_eq!(story.count("attempts: 1,"), 20, "{:?}", story.lines("Ended"));
        assert_eq!(story.count("AttemptFailed"), 0);
    });
}
