//! Crashes and pauses: what peers notice, and when.

use std::time::Duration;

use squall_sim::engine::{Action, CrashMode, Engine as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Log, World, accepted, at, connected, constant, ms, read_all, until};

const SECOND: Duration = Duration::from_secs(1);

/// A server that answers each byte, and a client with a connection to it; 1 ms each way.
fn pair<F>(client: impl Fn(squall_net::Host, Log) -> F + Send + Sync + 'static) -> World
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        log.say(host.now(), "boots");
        let mut listener = host.net().listen(at(1, 80)).await.expect("a free port");
        loop {
            let mut conn = listener.accept().await.expect("a connection").conn;
            host.spawn("echo", async move {
                while let Ok(byte) = conn.read_u8().await {
                    if conn.write_u8(byte).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    world.host("client", client);
    world.links("server", "client", &constant(ms(1)));
    world
}

#[test]
fn a_dead_process_resets_its_connections_and_refuses_new_ones() {
    let mut world = pair(|host, log| async move {
        let mut conn = connected(&host).await;
        read_all(&host, &log, &mut conn).await;
        let refused = host.net().connect(at(1, 80)).await.err().map(|error| error.kind());
        log.say(host.now(), &format!("{refused:?}"));
        until(&host, ms(100)).await;
        let mut conn = connected(&host).await;
        conn.write_u8(1).await.expect("room");
        conn.read_u8().await.expect("an echo");
        log.say(host.now(), "echo");
    });
    world.run(ms(10));
    let server = world.id("server");
    world.apply(Action::Crash(server, CrashMode::Reset));
    // Three tasks: main, echo; and one connection.
    assert_eq!(world.engine.crash_count(server), 3);
    world.run(ms(50));
    world.apply(Action::Restart(server));
    world.run(SECOND);
    let want =
        ["0 boots", "11000000 ConnectionReset", "13000000 Some(ConnectionRefused)", "50000000 boots", "104000000 echo"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn a_dead_machine_is_silent_and_resets_what_it_does_not_know_when_it_is_back() {
    let mut world = pair(|host, log| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(20)).await;
        conn.write_u8(1).await.expect("room");
        log.say(host.now(), "written");
        read_all(&host, &log, &mut conn).await;
    });
    world.run(ms(10));
    let server = world.id("server");
    world.apply(Action::Crash(server, CrashMode::Silent));
    world.run(ms(400));
    world.apply(Action::Restart(server));
    world.run(SECOND);
    // Tries at 20, 222 and 626 ms; the last one meets a kernel that has never heard of the connection.
    let want = ["0 boots", "20000000 written", "400000000 boots", "628000000 ConnectionReset"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn connecting_to_a_dead_machine_waits_until_it_is_back() {
    let mut world = pair(|host, log| async move {
        until(&host, ms(20)).await;
        let _conn = connected(&host).await;
        log.say(host.now(), "connected");
    });
    world.run(ms(10));
    let server = world.id("server");
    world.apply(Action::Crash(server, CrashMode::Silent));
    world.run(SECOND);
    world.apply(Action::Restart(server));
    world.run(3 * SECOND);
    assert_eq!(world.log.lines(), ["0 boots", "1000000000 boots", "1022000000 connected"]);
}

#[test]
fn an_idle_peer_of_a_dead_machine_stays_half_open() {
    let mut world = pair(|host, log| async move {
        let mut conn = connected(&host).await;
        read_all(&host, &log, &mut conn).await;
    });
    world.run(ms(10));
    let server = world.id("server");
    world.apply(Action::Crash(server, CrashMode::Silent));
    world.run(3000 * SECOND);
    assert_eq!(world.log.lines(), ["0 boots"]);
}

#[test]
fn a_paused_host_takes_data_but_does_nothing_until_it_resumes() {
    let mut world = World::new(1);
    world.host("server", |host, log| async move {
        let conn = accepted(&host).await;
        let (mut reader, mut writer) = tokio::io::split(conn);
        let other = (host.clone(), log.clone());
        host.spawn("alarm", async move {
            until(&other.0, ms(50)).await;
            other.1.say(other.0.now(), "alarm");
        });
        let mut byte = [0; 3];
        reader.read_exact(&mut byte).await.expect("three bytes");
        log.say(host.now(), "read");
        writer.write_all(b"ok").await.expect("room");
    });
    world.host("client", |host, log| async move {
        let mut conn = connected(&host).await;
        until(&host, ms(20)).await;
        conn.write_all(b"abc").await.expect("room");
        read_all(&host, &log, &mut conn).await;
    });
    world.links("server", "client", &constant(ms(1)));
    world.run(ms(10));
    let server = world.id("server");
    world.apply(Action::Pause(server));
    world.run(ms(200));
    assert!(world.log.lines().is_empty());
    // The kernel acknowledged: nothing was sent twice. SYN, ACK, data.
    assert_eq!(world.engine.count(world.id("client"), server).packets, 3);
    world.apply(Action::Resume(server));
    world.run(SECOND);
    let want = ["200000000 read", "200000000 alarm", "201000000 read 2", "201000000 end"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn what_a_crash_drops_may_use_the_host_while_it_is_dropped() {
    struct Last(squall_net::Host, Log);
    impl Drop for Last {
        fn drop(&mut self) {
            self.1.say(self.0.now(), "dropped");
            let log = self.1.clone();
            let host = self.0.clone();
            self.0.spawn("after the end", async move { log.say(host.now(), "never") });
        }
    }
    let mut world = pair(|host, log| async move {
        let conn = connected(&host).await;
        let last = Last(host.clone(), log.clone());
        host.clone()
            .spawn("sleeper", async move {
                let _held = (last, conn);
                until(&host, 100 * SECOND).await;
            })
            .abort();
        std::future::pending::<()>().await;
    });
    world.run(ms(10));
    assert_eq!(world.log.lines().last().map(String::as_str), Some("2000000 never"));
    let client = world.id("client");
    world.apply(Action::Crash(client, CrashMode::Reset));
    world.apply(Action::Restart(client));
    world.run(ms(13));
    world.apply(Action::Crash(client, CrashMode::Silent));
    world.run(SECOND);
    assert_eq!(world.log.lines().iter().filter(|line| line.contains("dropped")).count(), 2);
}
