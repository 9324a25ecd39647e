//! A leak of determinism that is planted, and caught.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use squall_net::{BoxFuture, Host};
use squall_policy::Instant;
use squall_sim::engine::{Engine as _, EventEngine, HostSpec};
use squall_sim::trace::{Mode, Trace, first_difference};

const PEERS: u8 = 12;

fn address(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

/// A world in which one host connects to its peers in the order of a map.
fn world(mode: Mode, order: fn() -> Vec<u8>) -> Arc<Trace> {
    let mut engine = EventEngine::with_trace(7, Duration::ZERO, mode);
    let mut add = |number: u8, boot: Arc<dyn Fn(Host) -> BoxFuture<'static, ()> + Send + Sync>| {
        engine.add_host(HostSpec {
            name: format!("host-{number}").into(),
            address: address(number),
            boot,
            clock_ahead: Duration::ZERO,
            cpu_per_poll: Duration::ZERO,
        });
    };
    add(
        1,
        Arc::new(move |host| {
            Box::pin(async move {
                for peer in order() {
                    let conn = host.net().connect(SocketAddr::new(address(peer), 80)).await;
                    drop(conn.expect("it listens"));
                }
            })
        }),
    );
    for peer in 2..2 + PEERS {
        add(
            peer,
            Arc::new(move |host| {
                Box::pin(async move {
                    let mut listener = host.net().listen(SocketAddr::new(address(peer), 80)).await.expect("it is free");
                    while let Ok(accepted) = listener.accept().await {
                        drop(accepted);
                    }
                })
            }),
        );
    }
    engine.run(Instant::ZERO + Duration::from_secs(1)).expect("nothing panics");
    Arc::clone(engine.trace())
}

/// As the standard library's map has it: another order for every map.
#[expect(clippy::disallowed_types, reason = "this is the leak")]
fn leaky() -> Vec<u8> {
    std::collections::HashMap::<u8, ()>::from_iter((2..2 + PEERS).map(|peer| (peer, ()))).into_keys().collect()
}

fn tight() -> Vec<u8> {
    (2..2 + PEERS).collect()
}

#[test]
fn a_hash_map_that_decides_is_caught_and_its_first_event_is_named() {
    let mode =
        world(Mode::Digest, leaky).parting(&world(Mode::Digest, leaky)).expect("12! orders: two alike are unheard of");
    let (one, other) = (world(mode, leaky).kept(), world(mode, leaky).kept());
    let (is, was) = first_difference(&one, &other).expect("they differ within the window");
    let (is, was) = (is.expect("both runs go on"), was.expect("both runs go on"));
    assert_eq!(is.index, was.index);
    assert_eq!(one[..is.index as usize], other[..is.index as usize], "everything before is the same");
}

#[test]
fn the_same_world_without_the_leak_is_the_same_twice() {
    assert_eq!(world(Mode::Digest, tight).parting(&world(Mode::Digest, tight)), None);
}
