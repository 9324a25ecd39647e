//! Clocks, cores, tasks and the errors of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use squall_policy::Instant;
use squall_sim::engine::{Action, Engine as _, EngineError, Link, Stopped};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, at, ms, until};

#[test]
fn sleeps_end_at_their_nanosecond_in_the_order_they_were_begun() {
    let mut world = World::new(1);
    world.host("host", |host, log| async move {
        for (name, nanos) in [("c", 3), ("a", 1), ("b", 2), ("a2", 1)] {
            let (clock, log, inside) = (Arc::clone(host.clock()), log.clone(), host.clone());
            host.spawn("sleep", async move {
                clock.sleep_until(Instant::from_nanos(nanos)).await;
                log.say(inside.now(), name);
            });
        }
    });
    world.run(ms(1));
    assert_eq!(world.log.lines(), ["1 a", "1 a2", "2 b", "3 c"]);
}

#[test]
fn a_clock_that_is_ahead_shows_and_sleeps_by_its_own_time() {
    let mut world = World::new(1);
    world.host_with("host", ms(500), Duration::ZERO, |host, log| async move {
        log.say(host.now(), "boot");
        until(&host, ms(700)).await;
        log.say(host.now(), &format!("{:?}", host.wall().since_epoch()));
    });
    world.run(ms(200));
    assert_eq!(world.log.lines(), ["500000000 boot"]);
    world.run(ms(201));
    assert_eq!(world.log.lines(), ["500000000 boot", "700000000 1700000000.7s"]);
}

#[test]
fn one_core_does_one_poll_after_the_other() {
    let mut world = World::new(1);
    world.host_with("slow", Duration::ZERO, ms(1), |host, log| async move {
        for name in ["a", "b", "c"] {
            let (log, inside) = (log.clone(), host.clone());
            host.spawn("work", async move {
                log.say(inside.now(), name);
                until(&inside, ms(10)).await;
                log.say(inside.now(), name);
            });
        }
    });
    world.host("fast", |host, log| async move {
        until(&host, ms(2)).await;
        log.say(host.now(), "not slowed");
    });
    world.run(ms(11));
    let slow = world.id("slow");
    world.apply(Action::SetCpu(slow, Duration::ZERO));
    world.run(ms(20));
    // Main takes the first millisecond, then one after the other. All wake at 10 ms; at 11 ms polls become free.
    let want = ["2000000 not slowed", "2000000 a", "3000000 b", "4000000 c", "11000000 a", "11000000 b", "11000000 c"];
    assert_eq!(world.log.lines(), want);
}

#[test]
fn a_panic_ends_the_run_with_the_tasks_name() {
    let mut world = World::new(1);
    world.host("host", |host, _| async move {
        let inside = host.clone();
        host.spawn("breaks", async move {
            until(&inside, ms(3)).await;
            panic!("on purpose: {}", 7);
        });
    });
    let error = world.engine.run(Instant::ZERO + ms(10)).expect_err("a task panics");
    let want = EngineError::Panicked {
        at: Instant::ZERO + ms(3),
        host: "host".to_owned(),
        task: "breaks",
        message: "on purpose: 7".to_owned(),
    };
    assert_eq!(error, want);
    // The world is still whole.
    world.run(ms(10));
}

#[test]
fn a_world_without_time_is_a_livelock() {
    let mut world = World::new(1);
    world.engine.set_livelock(10_000);
    world.host("host", |host, _| async move {
        until(&host, ms(3)).await;
        loop {
            let mut woken = false;
            std::future::poll_fn(|cx| {
                if std::mem::replace(&mut woken, true) {
                    return std::task::Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
        }
    });
    let error = world.engine.run(Instant::ZERO + ms(10)).expect_err("it does not move");
    assert_eq!(error, EngineError::Livelock { at: Instant::ZERO + ms(3), events: 10_001 });
}

#[test]
fn an_interrupt_stops_the_world_between_two_events() {
    let mut world = World::new(1);
    let interrupt = world.engine.interrupt();
    world.host("host", move |host, log| {
        let interrupt = interrupt.clone();
        async move {
            until(&host, ms(3)).await;
            interrupt.raise();
            until(&host, ms(4)).await;
            log.say(host.now(), "went on");
        }
    });
    assert_eq!(world.engine.run(Instant::ZERO + ms(10)), Ok(Stopped::Interrupted));
    assert_eq!(world.engine.now(), Instant::ZERO + ms(3));
    assert!(world.log.lines().is_empty());
    assert_eq!(world.engine.run(Instant::ZERO + ms(10)), Ok(Stopped::Reached));
    assert_eq!(world.log.lines(), ["4000000 went on"]);
}

#[test]
fn events_at_the_end_of_a_run_are_left_for_the_next() {
    let mut world = World::new(1);
    world.host("host", |host, log| async move {
        until(&host, ms(5)).await;
        log.say(host.now(), "woke");
    });
    world.run(ms(5));
    assert!(world.log.lines().is_empty());
    world.run(ms(5) + Duration::from_nanos(1));
    assert_eq!(world.log.lines(), ["5000000 woke"]);
}

#[test]
fn links_that_mean_nothing_are_refused_by_name() {
    let mut world = World::new(1);
    let (a, b) = (world.host("a", |_, _| std::future::pending()), world.host("b", |_, _| std::future::pending()));
    let mut refused = |link: Link| {
        let action = Action::SetLink { from: vec![a], to: vec![b], link };
        world.engine.apply(action).expect_err("it means nothing").knob
    };
    assert_eq!(refused(Link { bandwidth_bps: Some(0), ..Link::default() }), "bandwidth");
    assert_eq!(refused(Link { loss_ppm: 1_000_001, ..Link::default() }), "loss");
    let upside_down = squall_sim::engine::Delay::LogNormal { p50: ms(2), p99: ms(1) };
    assert_eq!(refused(Link { latency: upside_down, ..Link::default() }), "latency");
}

#[test]
fn ports_are_not_used_again_at_once() {
    let mut world = World::new(1);
    world.host("server", |host, _| async move {
        let mut listener = host.net().listen(at(1, 80)).await.expect("a free port");
        while let Ok(mut accepted) = listener.accept().await {
            let _eof = accepted.conn.read(&mut [0; 1]).await;
        }
    });
    world.host("client", |host, log| async move {
        let mut ports = std::collections::BTreeSet::new();
        for _ in 0..28_232 {
            let conn = host.net().connect(at(1, 80)).await.expect("a port is left");
            assert!(ports.insert(conn.local().port()), "port {} twice", conn.local().port());
        }
        let none = host.net().connect(at(1, 80)).await.err().map(|error| error.kind());
        log.say(host.now(), &format!("{none:?}"));
        until(&host, Duration::from_secs(61)).await;
        host.net().connect(at(1, 80)).await.expect("ports are free again after a minute");
        log.say(host.now(), "free again");
    });
    world.run(Duration::from_secs(100));
    assert_eq!(world.log.lines(), ["0 Some(AddrNotAvailable)", "61000000000 free again"]);
}

#[test]
fn a_dropped_world_drops_everything_in_it() {
    static HELD: AtomicU64 = AtomicU64::new(0);
    struct Held;
    impl Drop for Held {
        fn drop(&mut self) {
            HELD.fetch_add(1, Ordering::Relaxed);
        }
    }
    let outside = Arc::new(Held);
    let mut world = World::new(1);
    for name in ["server", "client"] {
        let inside = Arc::clone(&outside);
        world.host(name, move |host, _| {
            let held = (Arc::clone(&inside), Held);
            async move {
                let mut listener = host.net().listen(at(1, 80)).await.ok();
                let mut conn = host.net().connect(at(1, 80)).await.expect("it listens");
                conn.write_all(b"unread").await.expect("room");
                let _held = (held, conn, &mut listener);
                until(&host, Duration::from_secs(1000)).await;
            }
        });
    }
    world.run(Duration::from_secs(1));
    assert_eq!((HELD.load(Ordering::Relaxed), Arc::strong_count(&outside)), (0, 5));
    drop(world);
    assert_eq!((HELD.load(Ordering::Relaxed), Arc::strong_count(&outside)), (2, 1));
}
