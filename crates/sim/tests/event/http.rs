//! hyper runs on the event engine, and costs no time of its own.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use squall_net::http::{self, BodyError, ServeLimits, Version};
use squall_policy::Instant;
use squall_sim::engine::Engine as _;

use crate::world::{World, at, constant, ms};

async fn echo(request: ::http::Request<http::Incoming>) -> Result<::http::Response<Full<Bytes>>, BodyError> {
    let body = request.into_body().collect().await.map_err(Box::new)?.to_bytes();
    Ok(::http::Response::new(Full::new(body)))
}

/// A request over HTTP between two hosts: one round trip to connect, one to ask.
#[track_caller]
fn http_echo(version: Version) -> (Instant, u64) {
    let mut world = World::new(1);
    world.host("server", move |host, _| async move {
        let mut listener = host.net().listen(at(1, 80)).await.expect("a free port");
        loop {
            let accepted = listener.accept().await.expect("a living listener");
            let served = host.clone();
            host.spawn("serve", async move {
                let limits = ServeLimits::default();
                http::serve(&served, accepted.conn, Some(version), limits, echo, std::future::pending())
                    .await
                    .expect("the client ends it well");
            });
        }
    });
    world.host("client", move |host, log| async move {
        let conn = host.net().connect(at(1, 80)).await.expect("it listens");
        let mut sender = http::connect(&host, conn, version).await.expect("a handshake");
        let request = ::http::Request::post("http://server/echo")
            .header("host", "server")
            .body(Full::new(Bytes::from_static(b"squall")))
            .expect("a request");
        let response = sender.send(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        log.say(host.now(), String::from_utf8_lossy(&body).as_ref());
    });
    world.link("client", "server", constant(ms(1)));
    world.link("server", "client", constant(ms(2)));
    world.run(Duration::from_secs(1));
    let said = world.log.said();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1, "squall");
    (said[0].0, world.engine.trace().digest().hash)
}

#[test]
fn an_http1_echo_takes_two_round_trips_to_the_nanosecond() {
    assert_eq!(http_echo(Version::Http1).0, Instant::from_nanos(6_000_000));
}

#[test]
fn an_http2_echo_takes_two_round_trips_to_the_nanosecond() {
    let first = http_echo(Version::Http2);
    assert_eq!(first.0, Instant::from_nanos(6_000_000));
    assert_eq!(first, http_echo(Version::Http2));
}
