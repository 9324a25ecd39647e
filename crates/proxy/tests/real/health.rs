//! The proxy asks endpoints by itself whether they are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use squall_net::after;
use squall_net::http::{BodyError, BoxBody, Incoming};
use squall_policy::{Candidates, HealthCheck, Probe, Protocol};

use crate::common::*;

type Served = squall_net::BoxFuture<'static, Result<Response<BoxBody>, BodyError>>;

/// Answers health checks about `shop.Cart` by gRPC with the status it is told, and all else by echoing. 99: it fails the call.
fn app(status: Arc<AtomicU8>) -> impl Fn(Request<Incoming>) -> Served + Clone {
    move |request| {
        let status = status.load(Ordering::SeqCst);
        Box::pin(async move {
            if request.uri().path() != "/grpc.health.v1.Health/Check" {
                return echo(request).await;
            }
            let (head, body) = request.into_parts();
            let asked =
                (head.method.as_str().to_owned(), head.headers["content-type"].clone(), head.headers["te"].clone());
            assert_eq!(asked, ("POST".into(), "application/grpc".parse()?, "trailers".parse()?));
            assert_eq!(body.collect().await?.to_bytes(), &b"\0\0\0\0\x0b\x0a\x09shop.Cart"[..]);
            let response = Response::builder().header("content-type", "application/grpc");
            if status == 99 {
                return Ok(response.header("grpc-status", "14").body(empty())?);
            }
            let message = Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
            let trailers: HeaderMap = map(&[("grpc-status", "0")]);
            Ok(response.body(frames(vec![message, Frame::trailers(trailers)]))?)
        })
    }
}

#[test]
fn an_endpoint_that_says_by_grpc_that_it_does_not_serve_gets_nothing_until_it_does() {
    run(|host| async move {
        let status = Arc::new(AtomicU8::new(1));
        let moody = origin(&host, app(Arc::clone(&status))).await;
        let steady = origin(&host, app(Arc::new(AtomicU8::new(1)))).await;
        let mut mesh = mesh(Protocol::Http2, &[moody, steady]);
        policy(&mut mesh).candidates = Candidates { panic_percent: 0, ..Candidates::default() };
        policy(&mut mesh).health = Some(HealthCheck {
            probe: Probe::Grpc { service: "shop.Cart".into() },
            interval: Duration::from_millis(10),
            jitter_permille: 0,
            timeout: Duration::from_secs(5),
            unhealthy_after: 1,
            healthy_after: 1,
        });
        let (_proxy, at, story) = outbound(&host, mesh).await;
        let told = async |word: &'static str, times| until(&host, || story.count(word) >= times).await;
        told("Healthy { endpoint", 2).await;
        for (turn, (says, word)) in
            [(2, "NotServing(2)"), (99, "Grpc(14)"), (3, "NotServing(3)")].into_iter().enumerate()
        {
            status.store(says, Ordering::SeqCst);
            told(word, 1).await;
            let picked = story.count("app-0\", over");
            for _ in 0..4 {
                assert_eq!(get(&host, at, "/").await.status(), 200);
            }
            assert_eq!(story.count("app-0\", over"), picked, "the other one serves");
            status.store(1, Ordering::SeqCst);
            told("first: false", turn + 1).await;
        }
        after(host.clock().as_ref(), Duration::from_millis(1)).await;
        let lines = story.lines("Picked").len();
        for _ in 0..4 {
            assert_eq!(get(&host, at, "/").await.status(), 200);
        }
        let both = story.lines("Picked").split_off(lines);
        assert!(
            both.iter().any(|line| line.contains("app-0")) && both.iter().any(|line| line.contains("app-1")),
            "{both:?}"
        );
    });
}
