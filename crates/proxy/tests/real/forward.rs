//! What goes in comes out, in both versions of HTTP on both sides.

use crate::common::*;
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use squall_net::http::Version;
use squall_policy::Protocol;

const BOTH: [(Version, Protocol); 4] = [
    (Version::Http1, Protocol::Http1),
    (Version::Http1, Protocol::Http2),
    (Version::Http2, Protocol::Http1),
    (Version::Http2, Protocol::Http2),
];

#[test]
fn a_body_and_its_trailers_come_back_in_every_version() {
    for (version, protocol) in BOTH {
        run(|host| async move {
            let at = origin(&host, echo).await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            let body = frames(vec![
                Frame::data("one ".into()),
                Frame::data("two".into()),
                Frame::trailers(map(&[("checksum", "7")])),
            ]);
            let mut request = request(version, "POST", "/a?b=c", body);
            request.headers_mut().extend(map(&[("trailer", "checksum"), ("te", "trailers")]));
            let response = client.send(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let line = match protocol {
                Protocol::Http1 | Protocol::Tcp => "HTTP/1.1 POST /a?b=c",
                Protocol::Http2 => "HTTP/2.0 POST http://app/a?b=c",
            };
            assert_eq!(header(&response, "saw-line"), line);
            assert_eq!(header(&response, "saw-x-envoy-attempt-count"), "1");
            assert!(!header(&response, "date").is_empty());
            let body = response.into_body().collect().await.expect("a whole body");
            assert_eq!(body.trailers(), Some(&map(&[("checksum", "7")])), "{version:?} {protocol:?}");
            assert_eq!(body.to_bytes(), "one two");
            assert_eq!(story.count("bytes_up: 7, bytes_down: 7, how: Complete"), 1, "{:?}", story.lines("Ended"));
        });
    }
}

#[test]
fn connections_are_used_again() {
    for (version, protocol) in BOTH {
        run(|host| async move {
            let at = origin(&host, echo).await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            for n in 0..10 {
                let response = client.send(request(version, "POST", "/", text(format!("{n}")))).await;
                assert_eq!(whole(response.expect("an answer")).await.body(), &format!("{n}"));
                let response = client.send(request(version, "GET", "/", empty())).await;
                assert_eq!(whole(response.expect("an answer")).await.status(), 200);
            }
            assert_eq!(story.count("reused: false"), 1, "{version:?} {protocol:?}");
            assert_eq!(story.count("reused: true"), 19);
        });
    }
}

#[test]
fn answers_without_a_body_stay_without() {
    for (version, protocol) in BOTH {
        run(|host| async move {
            let at = origin(&host, |request| async move {
                let status = if request.method() == "HEAD" { 200 } else { 204 };
                let mut response = Response::builder().status(status);
                if status == 200 {
                    response = response.header("content-length", "1000");
                }
                Ok(response.body(empty())?)
            })
            .await;
            let (_proxy, proxy_at, story) = outbound(&host, mesh(protocol, &[at])).await;
            let mut client = client(&host, proxy_at, version).await;
            for (method, status, length) in [("HEAD", 200, "1000"), ("DELETE", 204, ""), ("HEAD", 200, "1000")] {
                let response = client.send(request(version, method, "/", empty())).await.expect("an answer");
                assert_eq!((response.status().as_u16(), header(&response, "content-length")), (status, length));
                assert!(whole(response).await.body().is_empty());
            }
            assert_eq!(story.count("reused: false"), 1, "{version:?} {protocol:?}");
        });
    }
}

#[test]
fn both_sidecars_carry_a_request_to_the_application() {
    for (version, protocol) in BOTH {
        run(|host| async move {
            let app = origin(&host, echo).await;
            let (_in, in_at, in_story) = inbound(&host, app, Protocol::Http1, squall_proxy::IdentitySource::None).await;
            let (_out, out_at, _) = outbound(&host, mesh(protocol, &[in_at])).await;
            let mut client = client(&host, out_at, version).await;
            let response = client.send(request(version, "POST", "/x", text("hello"))).await.expect("an answer");
            assert_eq!(header(&response, "saw-line"), "HTTP/1.1 POST /x");
            assert_eq!(header(&response, "saw-host"), "app");
            assert_eq!(whole(response).await.body(), "hello");
            assert_eq!(in_story.count("side: Inbound"), 2);
        });
    }
}

#[test]
fn a_grpc_stream_runs_both_ways_at_once() {
    run(|host| async move {
        let at = origin(&host, |request| async move {
            // Each message is answered before the next one is sent.
            let (pipe, answer) = Pipe::new();
            let mut body = request.into_body();
            let pump = async move {
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { break };
                    if data.is_empty() {
                        continue; // The end of an HTTP/2 stream may come as an empty frame.
                    }
                    pipe.send(format!("<{}>", String::from_utf8_lossy(&data))).await;
                }
                pipe.trailers(map(&[("grpc-status", "0")])).await;
            };
            squall_net::tcp::Tcp::host_with(squall_policy::Rng::from_seed(2)).spawn("pump", pump);
            Ok(Response::builder().header("content-type", "application/grpc").body(answer)?)
        })
        .await;
        let mut mesh = mesh(Protocol::Http2, &[at]);
        route(&mut mesh).retry = Some(retry(2, &[squall_policy::RetryOn::Status5xx]));
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let mut client = client(&host, proxy_at, Version::Http2).await;
        let (up, body) = Pipe::new();
        let mut request = request(Version::Http2, "POST", "/shop.Cart/Watch", body);
        request.headers_mut().extend(map(&[("content-type", "application/grpc"), ("te", "trailers")]));
        let mut down = client.send(request).await.expect("the head comes before the first message").into_body();
        for n in 0..100 {
            up.send(format!("{n}")).await;
            let frame = down.frame().await.expect("not the end").expect("not broken");
            assert_eq!(frame.into_data().expect("data"), format!("<{n}>"));
        }
        drop(up);
        let frame = down.frame().await.expect("trailers").expect("not broken");
        assert_eq!(frame.into_trailers().expect("trailers"), map(&[("grpc-status", "0")]));
        assert!(down.frame().await.is_none());
        assert_eq!(story.count("grpc: Some(0), attempts: 1"), 1, "{:?}", story.lines("Ended"));
    });
}

#[test]
fn a_burst_shares_few_http2_connections() {
    run(|host| async move {
        let at = origin(&host, echo).await;
        let (_proxy, proxy_at, story) = outbound(&host, mesh(Protocol::Http2, &[at])).await;
        let answered = std::sync::Arc::<std::sync::atomic::AtomicU32>::default();
        let client = client(&host, proxy_at, Version::Http2).await;
        for _ in 0..250 {
            let mut client = client.try_clone().expect("HTTP/2");
            let count = std::sync::Arc::clone(&answered);
            host.spawn("client", async move {
                let response = client.send(request(Version::Http2, "GET", "/", empty())).await.expect("an answer");
                assert_eq!(whole(response).await.status(), 200);
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            });
        }
        until(&host, || answered.load(std::sync::atomic::Ordering::SeqCst) == 250).await;
        let made = story.count("reused: false");
        assert!((1..=3).contains(&made), "{made} connections for 250 streams, 100 on each");
    });
}

#[test]
fn an_unused_connection_is_closed_when_its_time_is_up() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        run(|host| async move {
            let open = std::sync::Arc::new(());
            let of_conn = std::sync::Arc::clone(&open);
            let at = origin(&host, move |request| {
                let _ = &of_conn;
                echo(request)
            })
            .await;
            let unconnected = std::sync::Arc::strong_count(&open);
            let mut mesh = mesh(protocol, &[at]);
            policy(&mut mesh).pool_idle = Some(std::time::Duration::from_millis(50));
            let (_proxy, proxy_at, _) = outbound(&host, mesh).await;
            assert_eq!(get(&host, proxy_at, "/").await.status(), 200);
            // Each of the origin's connections holds a copy of its service.
            until(&host, || std::sync::Arc::strong_count(&open) == unconnected).await;
        });
    }
}
