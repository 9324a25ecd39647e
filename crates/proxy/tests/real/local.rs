//! What the proxy answers by itself, and what it does to heads on the way.

use std::time::Duration;

use crate::common::*;
use http::{Request, Response};
use squall_net::http::Version;
use squall_policy::{HeaderChange, Inbound, Limits, Mesh, PathMatch, Protocol, Queue, Rate, RateLimit};

#[test]
fn an_unknown_host_is_a_404_with_its_reason() {
    run(|host| async move {
        let (_proxy, at, story) = outbound(&host, Mesh::default()).await;
        let response = get(&host, at, "/").await;
        assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (404, "no-route"));
        assert!(header(&response, "date").ends_with(" GMT"));
        assert_eq!(story.count("how: Local"), 1);
    });
}

#[test]
fn a_local_reply_to_grpc_is_trailers_only() {
    run(|host| async move {
        let mut mesh = mesh(Protocol::Http2, &[]);
        let (_proxy, at, _) = outbound(&host, mesh.clone()).await;
        let mut client = client(&host, at, Version::Http2).await;
        let mut call = request(Version::Http2, "POST", "/shop.Cart/Get", text("x"));
        call.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        let response = client.send(call).await.expect("an answer");
        assert_eq!(response.status(), 200);
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("grpc-status", "14"),
            ("grpc-message", "no-endpoints"),
            ("squall-reason", "no-endpoints"),
        ] {
            assert_eq!(header(&response, name), value);
        }
        assert!(whole(response).await.body().is_empty());

        route(&mut mesh).backends.clear();
        let (_proxy, at, _) = outbound(&host, mesh).await;
        let response = get(&host, at, "/").await;
        assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (500, "no-backend"));
    });
}

#[test]
fn a_head_without_a_destination_is_refused() {
    run(|host| async move {
        let (_proxy, at, _) = outbound(&host, mesh(Protocol::Http1, &[])).await;
        for (request, status, reason) in [
            (Request::get("/").body(empty()), 400, "no-authority"),
            (Request::get("/").header("host", "a").header("host", "b").body(empty()), 400, "no-authority"),
            (Request::get("/").header("host", "a b").body(empty()), 400, "no-authority"),
            (Request::connect("app:80").header("host", "app:80").body(empty()), 501, "connect"),
        ] {
            let mut client = client(&host, at, Version::Http1).await;
            let response = client.send(request.expect("a request")).await.expect("an answer");
            assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (status, reason));
        }
    });
}

#[test]
fn a_full_queue_refuses_and_a_free_place_wakes_the_next() {
    run(|host| async move {
        let (enter, gate) = tokio::sync::mpsc::channel::<()>(1);
        let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
        let at = origin(&host, move |_| {
            let gate = std::sync::Arc::clone(&gate);
            async move {
                std::future::poll_fn(|cx| gate.lock().expect("no panic while locked").poll_recv(cx)).await;
                Ok(Response::new(text("ok")))
            }
        })
        .await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        policy(&mut mesh).limits = Limits { in_flight: 1, pending: 1, ..Limits::default() };
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let ask = |n: u32| {
            let host = host.clone();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            host.clone().spawn("client", async move {
                let _ = sender.send(get(&host, proxy_at, &format!("/{n}")).await);
            });
            receiver
        };
        let first = ask(1);
        story.saw(&host, "Picked").await;
        let second = ask(2);
        story.saw(&host, "Queued").await;
        let third = ask(3).await.expect("answered");
        assert_eq!((third.status().as_u16(), header(&third, "squall-reason")), (503, "queue-full"));
        enter.send(()).await.expect("the origin waits");
        assert_eq!(first.await.expect("answered").body(), "ok");
        enter.send(()).await.expect("the origin waits");
        assert_eq!(second.await.expect("answered").body(), "ok");
        assert_eq!(story.count("Granted"), 1);
    });
}

#[test]
fn one_request_too_many_is_told_when_to_come_again() {
    run(|host| async move {
        let at = origin(&host, echo).await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        let rate = Rate { requests: 2, per: Duration::from_secs(60), burst: 2 };
        policy(&mut mesh).rate = Some(RateLimit { total: Some(rate), ..RateLimit::default() });
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        for _ in 0..2 {
            assert_eq!(get(&host, proxy_at, "/").await.status(), 200);
        }
        let third = get(&host, proxy_at, "/").await;
        assert_eq!((third.status().as_u16(), header(&third, "squall-reason")), (429, "rate-limited"));
        let seconds: u64 = header(&third, "retry-after").parse().expect("whole seconds");
        assert!((1..=30).contains(&seconds), "a token in half a minute: {seconds}");
        assert_eq!(story.count("Picked"), 2);
    });
}

#[test]
fn a_route_says_how_much_a_request_matters_and_who_matters_more_goes_first() {
    run(|host| async move {
        let (enter, gate) = tokio::sync::mpsc::channel::<()>(1);
        let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
        let at = origin(&host, move |request| {
            let gate = std::sync::Arc::clone(&gate);
            async move {
                std::future::poll_fn(|cx| gate.lock().expect("no panic while locked").poll_recv(cx)).await;
                echo(request).await
            }
        })
        .await;
        let mut mesh = mesh(Protocol::Http1, &[at]);
        let queue = Queue { priorities: true, ..Queue::default() };
        policy(&mut mesh).limits = Limits { in_flight: 1, pending: 1, queue, ..Limits::default() };
        let name = "squall-priority".to_owned();
        mesh.hosts[0].routes[0].request_headers = vec![HeaderChange::Set { name, value: "sheddable".to_owned() }];
        let mut matters = mesh.hosts[0].routes[0].clone();
        matters.matches.path = PathMatch::Exact("/pay".to_owned());
        matters.request_headers = Vec::new();
        mesh.hosts[0].routes.insert(0, matters);
        let (_proxy, proxy_at, story) = outbound(&host, mesh).await;
        let ask = |path: &'static str| {
            let host = host.clone();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            host.clone().spawn("client", async move {
                let _ = sender.send(get(&host, proxy_at, path).await);
            });
            receiver
        };
        let first = ask("/1");
        story.saw(&host, "Picked").await;
        let second = ask("/2");
        story.saw(&host, "Queued").await;
        let pays = ask("/pay");
        let second = second.await.expect("answered");
        assert_eq!((second.status().as_u16(), header(&second, "squall-reason")), (429, "outranked"));
        enter.send(()).await.expect("the origin waits");
        let first = first.await.expect("answered");
        assert_eq!(header(&first, "saw-squall-priority"), "sheddable", "it is passed on");
        enter.send(()).await.expect("the origin waits");
        assert_eq!(pays.await.expect("answered").status(), 200);
    });
}

#[test]
fn what_concerns_one_connection_stays_on_it() {
    run(|host| async move {
        let at = origin(&host, |request| async move {
            let mut response = echo(request).await?;
            response.headers_mut().extend(map(&[
                ("connection", "x-private"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-authenticate", "Basic"),
                ("x-public", "1"),
            ]));
            Ok(response)
        })
        .await;
        let (_proxy, proxy_at, _) = outbound(&host, mesh(Protocol::Http1, &[at])).await;
        let mut client = client(&host, proxy_at, Version::Http1).await;
        let mut request = request(Version::Http1, "GET", "/", empty());
        request.headers_mut().extend(map(&[
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "websocket"),
            ("te", "gzip"),
            ("x-forwarded-client-cert", "URI=spiffe://evil"),
            ("x-theirs", "1"),
        ]));
        let response = client.send(request).await.expect("an answer");
        for gone in ["x-mine", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade", "te", "connection"] {
            assert_eq!(header(&response, &format!("saw-{gone}")), "", "{gone}");
        }
        assert_eq!(header(&response, "saw-x-forwarded-client-cert"), "");
        assert_eq!((header(&response, "saw-x-theirs"), header(&response, "x-public")), ("1", "1"));
        for gone in ["connection", "x-private", "keep-alive", "proxy-authenticate"] {
            assert_eq!(header(&response, gone), "", "{gone}");
        }
        assert_eq!(header(&response, "saw-x-request-id").len(), 36);
        assert_eq!(header(&response, "saw-traceparent"), "", "nobody traces");
    });
}

#[test]
fn a_port_that_the_mesh_does_not_know_is_refused() {
    run(|host| async move {
        let app = origin(&host, echo).await;
        let (proxy, at, _) = inbound(&host, app, Protocol::Http1, squall_proxy::IdentitySource::None).await;
        assert_eq!(get(&host, at, "/").await.status(), 200);
        let other = Inbound {
            limits: Limits::default(),
            rate: None,
            protocol: Protocol::Http1,
            detect: false,
            access: Default::default(),
            peers: None,
        };
        proxy.update(&Mesh { inbound: [(1, other)].into(), ..Mesh::default() });
        let response = get(&host, at, "/").await;
        assert_eq!((response.status().as_u16(), header(&response, "squall-reason")), (503, "unknown-port"));
    });
}
