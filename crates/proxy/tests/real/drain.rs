//! A mesh changes and a proxy ends without a request noticing.

use std::future::Future;
use std::time::Duration;

use crate::common::*;
use http::Response;
use squall_net::http::Version;
use squall_policy::Protocol;
use squall_proxy::IdentitySource;

/// An origin that answers when it is told to: `enter` lets one request through.
async fn gated(host: &squall_net::Host, name: &'static str) -> (tokio::sync::mpsc::Sender<()>, std::net::SocketAddr) {
    let (enter, gate) = tokio::sync::mpsc::channel::<()>(16);
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    let at = origin(host, move |_| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            std::future::poll_fn(|cx| gate.lock().expect("no panic while locked").poll_recv(cx)).await;
            Ok(Response::new(text(name)))
        }
    })
    .await;
    (enter, at)
}

#[test]
fn requests_in_flight_end_and_new_ones_are_refused() {
    for version in [Version::Http1, Version::Http2] {
        run(|host| async move {
            let (enter, app) = gated(&host, "done").await;
            let (proxy, at, story) = inbound(&host, app, Protocol::Http1, IdentitySource::None).await;
            let mut client = client(&host, at, version).await;
            let mut asking = Box::pin(client.send(request(version, "GET", "/", empty())));
            let mut draining = Box::pin(async {
                story.saw(&host, "Picked").await;
                proxy.drain(Duration::from_secs(20)).await;
            });
            let mut refused = Box::pin(async {
                story.saw(&host, "Picked").await;
                loop {
                    if host.net().connect(at).await.is_err() {
                        break;
                    }
                }
                enter.send(()).await.expect("the application waits");
            });
            let (mut response, mut let_in, mut drained) = (None, false, false);
            std::future::poll_fn(|cx| {
                if response.is_none()
                    && let std::task::Poll::Ready(answer) = asking.as_mut().poll(cx)
                {
                    response = Some(answer);
                }
                drained = drained || draining.as_mut().poll(cx).is_ready();
                assert!(!drained || let_in, "a request is in flight");
                let_in = let_in || refused.as_mut().poll(cx).is_ready();
                if response.is_some() && drained { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            let response = response.expect("answered").expect("an answer");
            if version == Version::Http1 {
                assert_eq!(header(&response, "connection"), "close");
            }
            assert_eq!(whole(response).await.body(), "done");
            proxy.closed().await;
        });
    }
}

#[test]
fn what_does_not_end_is_cut_off_at_the_limit() {
    run(|host| async move {
        let (_enter, app) = gated(&host, "never").await;
        let (proxy, at, story) = inbound(&host, app, Protocol::Http1, IdentitySource::None).await;
        let mut client = client(&host, at, Version::Http1).await;
        let mut asking = Box::pin(client.send(request(Version::Http1, "GET", "/", empty())));
        let mut draining = Box::pin(async {
            story.saw(&host, "Picked").await;
            proxy.drain(Duration::from_millis(50)).await;
        });
        let mut drained = false;
        let answer = std::future::poll_fn(|cx| {
            drained = drained || draining.as_mut().poll(cx).is_ready();
            asking.as_mut().poll(cx)
        })
        .await;
        assert!(answer.is_err());
        proxy.closed().await;
        assert_eq!(story.count("how: CallerGone"), 1);
    });
}

#[test]
fn a_new_mesh_keeps_the_requests_of_the_old_one() {
    run(|host| async move {
        let (enter, old) = gated(&host, "old").await;
        let (_, new) = gated(&host, "new").await;
        let mut first = mesh(Protocol::Http1, &[old]);
        let (proxy, at, story) = outbound(&host, first.clone()).await;
        let mut client = client(&host, at, Version::Http1).await;
        let mut asking = Box::pin(client.send(request(Version::Http1, "GET", "/", empty())));
        let mut changing = Box::pin(async {
            story.saw(&host, "Connected").await;
            // The endpoint goes, then the backend and its route.
            proxy.update(&mesh(Protocol::Http1, &[new]));
            first.backends.clear();
            first.hosts.clear();
            proxy.update(&first);
            assert_eq!(header(&get(&host, at, "/").await, "squall-reason"), "no-route");
            enter.send(()).await.expect("the origin waits");
        });
        let mut changed = false;
        let response = std::future::poll_fn(|cx| {
            changed = changed || changing.as_mut().poll(cx).is_ready();
            asking.as_mut().poll(cx)
        })
        .await;
        let response = response.expect("an answer");
        assert_eq!(whole(response).await.body(), "old");
        assert_eq!(story.count("MeshApplied"), 3);
    });
}

#[test]
fn endpoints_come_and_go() {
    run(|host| async move {
        let (enter_a, a) = gated(&host, "a").await;
        let (enter_b, b) = gated(&host, "b").await;
        let (proxy, at, _) = outbound(&host, mesh(Protocol::Http2, &[a])).await;
        let mut bodies = Vec::new();
        for step in [&[a][..], &[a, b], &[b], &[a]] {
            proxy.update(&mesh(Protocol::Http2, step));
            for _ in 0..2 {
                enter_a.try_send(()).ok();
                enter_b.try_send(()).ok();
                bodies.push(String::from_utf8(get(&host, at, "/").await.into_body().to_vec()).expect("text"));
            }
        }
        assert_eq!(bodies[..2], ["a", "a"]);
        assert!(bodies[2..4].contains(&"a".to_owned()) && bodies[2..4].contains(&"b".to_owned()), "{bodies:?}");
        assert_eq!(bodies[4..], ["b", "b", "a", "a"]);
    });
}
