//! Delay, bandwidth, loss and cuts of links, as a connection feels them.

use std::time::Duration;

use squall_sim::engine::{Delay, Engine as _, Link};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, accepted, at, connected, constant, ms, read_all, until};

const SECOND: Duration = Duration::from_secs(1);

/// Two hosts: `server` accepts one connection and says what it reads, `client` does what it is told; 1 ms each way.
fn pair<F>(client: impl Fn(squall_net::Host, crate::world::Log) -> F + Send + Sync + 'static) -> World
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        let mut conn = accepted(&host).await;
        log.say(host.now(), "accepted");
        read_all(&host, &log, &mut conn).await;
    });
    world.host("client", client);
    world.links("server", "client", &constant(ms(1)));
    world
}

#[test]
fn each_way_has_its_own_delay() {
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        let mut conn = accepted(&host).await;
        log.say(host.now(), "accepted");
        let mut buf = [0; 4];
        conn.read_exact(&mut buf).await.expect("four bytes");
        log.say(host.now(), "asked");
        conn.write_all(b"pong").await.expect("room");
    });
    world.host("client", |host, log| async move {
        let mut conn = connected(&host).await;
        log.say(host.now(), "connected");
        conn.write_all(b"ping").await.expect("room");
        read_all(&host, &log, &mut conn).await;
    });
    world.link("client", "server", constant(Duration::from_nanos(1_000_003)));
    world.link("server", "client", constant(Duration::from_nanos(20)));
    world.run(SECOND);
    let want = ["1000023 connected", "2000026 accepted", "2000026 asked", "2000046 read 4", "2000046 end"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn the_loopback_takes_no_time_and_is_the_hosts_own() {
    let mut world = World::new(1);
    for name in ["one", "two"] {
        world.host(name, |host, log| async move {
            let here = std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
            let mut listener = host.net().listen(here).await.expect("its own");
            let mut there = host.net().connect(here).await.expect("it listens");
            let mut conn = listener.accept().await.expect("a connection").conn;
            there.write_all(b"hi").await.expect("room");
            let mut buf = [0; 2];
            conn.read_exact(&mut buf).await.expect("two bytes");
            log.say(host.now(), "hi");
            let away = host.net().connect(at(1, 8080)).await.err().map(|error| error.kind());
            log.say(host.now(), &format!("{away:?}"));
        });
    }
    world.links("one", "two", &constant(ms(3)));
    world.run(SECOND);
    let refused = "Some(ConnectionRefused)";
    assert_eq!(world.log.lines(), ["0 hi", "0 hi", &format!("0 {refused}"), &format!("6000000 {refused}")]);
}

#[test]
fn bytes_leave_one_after_the_other_at_the_bandwidth() {
    let mut world = pair(|host, _| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(10)).await;
        // 10 full packets: 15,000 bytes on the wire, 15 ms at 8 Mbit/s; then one more, 1.5 ms.
        conn.write_all(&[0; 14_600]).await.expect("room");
        conn.write_all(&[0; 1460]).await.expect("room");
        std::future::pending::<()>().await;
    });
    world.run(ms(5));
    world.link("client", "server", Link { bandwidth_bps: Some(8_000_000), ..constant(ms(1)) });
    world.run(SECOND);
    assert_eq!(world.log.lines(), ["3000000 accepted", "26000000 read 14600", "27500000 read 1460"]);
    let count = world.engine.count(world.id("client"), world.id("server"));
    // SYN, ACK and data; only the last packet found the link busy.
    assert_eq!((count.packets, count.bytes, count.queued), (13, 14_600 + 1460 + 13 * 40, 1));
}

#[test]
fn connections_of_a_link_share_its_bandwidth_but_other_links_have_their_own() {
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        let mut listener = host.net().listen(at(1, 80)).await.expect("a free port");
        loop {
            let mut accepted = listener.accept().await.expect("a connection");
            let (host, log) = (host.clone(), log.clone());
            let task = host.clone();
            task.spawn("read", async move {
                let mut buf = vec![0; 1 << 16];
                let count = accepted.conn.read(&mut buf).await.expect("data");
                log.say(host.now(), &format!("{} sent {count}", accepted.peer.ip()));
            });
        }
    });
    for name in ["twice", "once"] {
        world.host(name, move |host, _| async move {
            let mut conns = vec![connected(&host).await];
            if name == "twice" {
                conns.push(connected(&host).await);
            }
            until(&host, ms(10)).await;
            for conn in &mut conns {
                conn.write_all(&[0; 14_600]).await.expect("room");
            }
            std::future::pending::<()>().await;
        });
        world.links(name, "server", &constant(ms(1)));
    }
    world.run(ms(8));
    for name in ["twice", "once"] {
        world.link(name, "server", Link { bandwidth_bps: Some(8_000_000), ..constant(ms(1)) });
    }
    world.run(SECOND);
    let want = ["26000000 10.0.0.3 sent 14600", "26000000 10.0.0.2 sent 14600", "41000000 10.0.0.2 sent 14600"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn a_lost_packet_comes_after_a_round_trip_and_200_ms_and_doubling() {
    let mut world = pair(|host, _| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(10)).await;
        conn.write_all(b"lost").await.expect("room");
        until(&host, ms(20)).await;
        conn.write_all(b"behind it").await.expect("room");
        std::future::pending::<()>().await;
    });
    world.run(ms(5));
    let whole = constant(ms(1));
    world.link("client", "server", Link { loss_ppm: 1_000_000, ..whole.clone() });
    // Tries at 10 ms and 10 + 202 ms are lost; the one 404 ms later is not.
    world.run(ms(300));
    world.link("client", "server", whole);
    world.run(SECOND);
    assert_eq!(world.log.lines(), ["3000000 accepted", "617000000 read 13"]);
    assert_eq!(world.engine.count(world.id("client"), world.id("server")).lost, 2);
}

#[test]
fn bytes_arrive_whole_and_in_order_over_a_bad_link() {
    let mut world = World::new(7);
    world.host("server", |host, log| async move {
        let mut conn = accepted(&host).await;
        let mut read = Vec::new();
        conn.read_to_end(&mut read).await.expect("EOF");
        let whole = read.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8);
        log.say(host.now(), &format!("{} {whole}", read.len()));
    });
    world.host("client", |host, _| async move {
        let mut conn = connected(&host).await;
        let data: Vec<u8> = (0..1_000_000).map(|at| (at % 251) as u8).collect();
        for chunk in data.chunks(777) {
            conn.write_all(chunk).await.expect("room");
        }
    });
    let latency = Delay::LogNormal { p50: ms(5), p99: ms(80) };
    world.links("server", "client", &Link { latency, jitter: ms(10), loss_ppm: 20_000, ..Link::default() });
    world.run(600 * SECOND);
    let said = world.log.said();
    assert_eq!(said.len(), 1, "it did not arrive in time");
    assert_eq!(said[0].1, "1000000 true");
    assert!(world.engine.count(world.id("client"), world.id("server")).lost > 10);
}

#[test]
fn a_cut_forward_holds_data_up_until_a_retransmission_gets_through() {
    let mut world = pair(|host, log| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(10)).await;
        conn.write_all(b"held up").await.expect("room");
        log.say(host.now(), "written");
        std::future::pending::<()>().await;
    });
    world.run(ms(5));
    world.link("client", "server", Link { cut: true, ..constant(ms(1)) });
    world.run(ms(250));
    world.link("client", "server", constant(ms(1)));
    world.run(SECOND);
    assert_eq!(world.log.lines(), ["3000000 accepted", "10000000 written", "617000000 read 7"]);
    assert_eq!(world.engine.count(world.id("client"), world.id("server")).cut, 2);
}

#[test]
fn a_cut_back_lets_the_first_flight_through_and_holds_up_what_follows() {
    let mut world = pair(|host, _| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(10)).await;
        conn.write_all(b"first").await.expect("room");
        until(&host, ms(20)).await;
        conn.write_all(b"second").await.expect("room");
        std::future::pending::<()>().await;
    });
    world.run(ms(5));
    world.link("server", "client", Link { cut: true, ..constant(ms(1)) });
    world.run(ms(300));
    world.link("server", "client", constant(ms(1)));
    world.run(SECOND);
    // Acknowledged at the retransmission of 10 + 202 + 404 ms.
    assert_eq!(world.log.lines(), ["3000000 accepted", "11000000 read 5", "617000000 read 6"]);
}

#[test]
fn a_syn_is_repeated_after_a_second_and_doubling() {
    let mut world = pair(|host, log| async move {
        let _conn = connected(&host).await;
        log.say(host.now(), "connected");
        std::future::pending::<()>().await;
    });
    world.link("client", "server", Link { cut: true, ..constant(ms(1)) });
    world.run(ms(2500));
    world.link("client", "server", constant(ms(1)));
    world.run(10 * SECOND);
    assert_eq!(world.log.lines(), ["3002000000 connected", "3003000000 accepted"]);
}

#[test]
fn connecting_into_a_cut_times_out_after_127_seconds() {
    for way in [("client", "server"), ("server", "client")] {
        let mut world = pair(|host, log| async move {
            let error = host.net().connect(at(1, 80)).await.err().expect("silence");
            log.say(host.now(), &format!("{:?}", error.kind()));
        });
        world.link(way.0, way.1, Link { cut: true, ..constant(ms(1)) });
        world.run(300 * SECOND);
        assert_eq!(world.log.lines(), ["127000000000 TimedOut"]);
        assert_eq!(world.engine.count(world.id(way.0), world.id(way.1)).cut, 7);
    }
}

#[test]
fn a_connection_is_given_up_after_fifteen_retransmissions() {
    let mut world = pair(|host, log| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(10)).await;
        conn.write_all(b"nobody").await.expect("room");
        read_all(&host, &log, &mut conn).await;
        let error = conn.write_all(b"more").await.expect_err("given up");
        log.say(host.now(), &format!("{:?}", error.kind()));
    });
    world.run(ms(5));
    world.link("client", "server", Link { cut: true, ..constant(ms(1)) });
    world.run(2000 * SECOND);
    // 202 ms doubling ten times, then 120 s six times.
    let at = ms(10) + ms(202) * 1023 + 720 * SECOND;
    let at = at.as_nanos();
    assert_eq!(world.log.lines(), ["3000000 accepted", &format!("{at} TimedOut"), &format!("{at} TimedOut")]);
}

#[test]
fn nobody_home_is_refused_after_a_round_trip_and_no_host_after_three_seconds() {
    let mut world = World::new(1);
    world.host("server", |_, _| std::future::pending());
    world.host("client", |host, log| async move {
        for to in [at(1, 80), at(77, 80)] {
            let error = host.net().connect(to).await.err().expect("nobody");
            log.say(host.now(), &format!("{:?}", error.kind()));
        }
    });
    world.links("server", "client", &constant(ms(2)));
    world.run(10 * SECOND);
    assert_eq!(world.log.lines(), ["4000000 ConnectionRefused", "3004000000 HostUnreachable"]);
}

#[test]
fn a_writer_waits_at_256_kib_and_hears_of_room_a_delay_after_the_read() {
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        let mut conn = accepted(&host).await;
        until(&host, ms(100)).await;
        let mut buf = vec![0; 1 << 20];
        conn.read_exact(&mut buf[..256 * 1024]).await.expect("as much as fits");
        log.say(host.now(), "read");
        read_all(&host, &log, &mut conn).await;
    });
    world.host("client", |host, log| async move {
        let mut conn = connected(&host).await;
        let mut written = 0;
        while written < 256 * 1024 {
            written += conn.write(&[0; 1 << 20]).await.expect("room");
        }
        log.say(host.now(), &format!("{written} written"));
        let more = conn.write(&[0; 10]).await.expect("room at last");
        log.say(host.now(), &format!("{more} more"));
        std::future::pending::<()>().await;
    });
    world.links("server", "client", &constant(ms(1)));
    world.run(SECOND);
    let want = ["2000000 262144 written", "100000000 read", "101000000 10 more", "102000000 read 10"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn a_full_accept_queue_drops_syns_which_come_again() {
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        let mut listener = host.net().listen(at(1, 80)).await.expect("a free port");
        until(&host, ms(500)).await;
        for number in 1..=1030 {
            let _conn = listener.accept().await.expect("a connection");
            if number % 1024 == 0 || number == 1030 {
                log.say(host.now(), &format!("{number} accepted"));
            }
        }
    });
    world.host("client", |host, log| async move {
        for _ in 0..1030 {
            let (net, log, inside) = (host.net().clone(), log.clone(), host.clone());
            host.spawn("connect", async move {
                let _conn = net.connect(at(1, 80)).await.expect("room in the end");
                if inside.now().as_nanos() > 2_000_000 {
                    log.say(inside.now(), "late");
                }
                std::future::pending::<()>().await;
            });
        }
        std::future::pending::<()>().await;
    });
    world.links("server", "client", &constant(ms(1)));
    world.run(10 * SECOND);
    let mut want = vec!["500000000 1024 accepted"];
    want.extend(["1002000000 late"; 6]);
    want.push("1003000000 1030 accepted");
    assert_eq!(world.log.lines(), want);
    assert_eq!(world.engine.count(world.id("client"), world.id("server")).overflowed, 6);
}

#[test]
fn a_server_forgets_half_made_connections_after_63_seconds() {
    let mut world = World::new(1);
    world.host("server", |host, _| async move {
        let _listener = host.net().listen(at(1, 80)).await.expect("a free port");
        std::future::pending::<()>().await;
    });
    world.host("client", |host, log| async move {
        // 1024 SYNs arrive, no answer comes back, and everybody gives up: the accept queue is full of nobody.
        for _ in 0..1024 {
            let (net, inside) = (host.net().clone(), host.clone());
            host.spawn("gives up", async move {
                let end = inside.now() + ms(100);
                let connected = squall_net::timeout(inside.clock().as_ref(), end, net.connect(at(1, 80))).await;
                assert!(connected.is_none(), "the way back is cut");
            });
        }
        until(&host, ms(500)).await;
        let end = host.now() + 10 * SECOND;
        let full = squall_net::timeout(host.clock().as_ref(), end, host.net().connect(at(1, 80))).await;
        log.say(host.now(), if full.is_none() { "full" } else { "not full" });
        until(&host, 64 * SECOND).await;
        let _conn = connected(&host).await;
        log.say(host.now(), "connected");
    });
    world.link("client", "server", constant(ms(1)));
    world.link("server", "client", Link { cut: true, ..constant(ms(1)) });
    world.run(ms(400));
    world.link("server", "client", constant(ms(1)));
    world.run(100 * SECOND);
    assert_eq!(world.log.lines(), ["10500000000 full", "64002000000 connected"]);
}
