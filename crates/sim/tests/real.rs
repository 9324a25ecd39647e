//! What the real engine adds to the contract: it stops where it is told, crashes and restarts, delays, and refuses by name.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall_net::{BoxFuture, Host, after};
use squall_policy::Instant;
use squall_sim::engine::{
    Action, Boot, CrashMode, Delay, Engine, EngineError, HostId, HostSpec, Link, RealEngine, Stopped,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Later than any test runs; each ends by an interrupt.
const END: Instant = Instant::from_nanos(30_000_000_000);

fn boot<F: Future<Output = ()> + Send + 'static>(main: impl Fn(Host) -> F + Send + Sync + 'static) -> Boot {
    Arc::new(move |host| Box::pin(main(host)) as BoxFuture<'static, ()>)
}

fn spec(number: u8, boot: Boot) -> HostSpec {
    HostSpec {
        name: format!("host-{number}").into(),
        address: Ipv4Addr::new(10, 0, 0, number).into(),
        boot,
        clock_ahead: Duration::ZERO,
        cpu_per_poll: Duration::ZERO,
    }
}

fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

fn engine() -> RealEngine {
    RealEngine::new(7).expect("a runtime and a free block of addresses")
}

/// Echoes single bytes, for ever.
fn echo() -> Boot {
    boot(|host| async move {
        let mut listener = host.net().listen(at(1)).await.expect("a free port");
        loop {
            let mut conn = listener.accept().await.expect("a living listener").conn;
            host.spawn("echo", async move {
                while let Ok(byte) = conn.read_u8().await {
                    if conn.write_u8(byte).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

/// Waits until the server is up.
async fn connect(host: &Host) -> squall_net::Conn {
    loop {
        match host.net().connect(at(1)).await {
            Ok(conn) => return conn,
            Err(_) => after(host.clock().as_ref(), Duration::from_millis(1)).await,
        }
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "tasks that are always ready, and let others go first, are what is tested"
)]
fn nothing_is_polled_between_an_interrupt_and_the_next_run() {
    let mut engine = engine();
    let interrupt = engine.interrupt();
    let steps = Arc::new(AtomicU64::new(0));
    for number in 1..=20 {
        let (interrupt, steps) = (interrupt.clone(), Arc::clone(&steps));
        engine.add_host(spec(
            number,
            boot(move |host| {
                let (interrupt, steps) = (interrupt.clone(), Arc::clone(&steps));
                async move {
                    loop {
                        steps.fetch_add(1, Ordering::SeqCst);
                        interrupt.raise();
                        after(host.clock().as_ref(), Duration::ZERO).await;
                        tokio::task::yield_now().await;
                    }
                }
            }),
        ));
    }
    for run in 1..=100 {
        assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
        assert_eq!(steps.load(Ordering::SeqCst), run);
    }
}

#[test]
fn a_run_ends_at_its_time() {
    let mut engine = engine();
    engine.add_host(spec(1, echo()));
    let until = Instant::ZERO + Duration::from_millis(20);
    assert_eq!(engine.run(until), Ok(Stopped::Reached));
    assert!(engine.now() >= until);
}

#[test]
fn a_panic_is_told_with_its_host_and_task() {
    let mut engine = engine();
    engine.add_host(spec(1, echo()));
    engine.add_host(spec(
        2,
        boot(|host| async move {
            host.spawn("careless", async { panic!("no such thing") });
        }),
    ));
    match engine.run(END) {
        Err(EngineError::Panicked { host, task, message, .. }) => {
            assert_eq!((&*host, task, &*message), ("host-2", "careless", "no such thing"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_crash_resets_and_refuses_until_the_restart() {
    let mut engine = engine();
    let (interrupt, seen) = (engine.interrupt(), Arc::new(Mutex::new(Vec::new())));
    let server = engine.add_host(spec(1, echo()));
    let says = Arc::clone(&seen);
    engine.add_host(spec(
        2,
        boot(move |host| {
            let (interrupt, seen) = (interrupt.clone(), Arc::clone(&says));
            async move {
                let say = |what: String| {
                    seen.lock().expect("no panic holds it").push(what);
                    interrupt.raise();
                };
                let mut conn = connect(&host).await;
                conn.write_u8(1).await.expect("the server reads");
                say(format!("echo {}", conn.read_u8().await.expect("an echo")));
                say(format!("read {:?}", conn.read_u8().await.expect_err("crashed").kind()));
                let refused = host.net().connect(at(1)).await.err().expect("crashed");
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
                let mut conn = connect(&host).await;
                conn.write_u8(2).await.expect("the server reads");
                say(format!("echo {}", conn.read_u8().await.expect("an echo")));
            }
        }),
    ));
    let last = |seen: &Mutex<Vec<String>>| seen.lock().expect("no panic holds it").last().cloned().unwrap_or_default();
    assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
    assert_eq!(last(&seen), "echo 1");
    engine.apply(Action::Crash(server, CrashMode::Reset)).expect("a crash can be done");
    // Main and echo tasks, and the one connection.
    assert_eq!(engine.crash_count(server), 3);
    assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
    assert_eq!(last(&seen), "read ConnectionReset");
    let soon = engine.now() + Duration::from_millis(20);
    assert_eq!(engine.run(soon), Ok(Stopped::Reached));
    engine.apply(Action::Restart(server)).expect("a restart can be done");
    assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
    assert_eq!(last(&seen), "echo 2");
}

#[test]
fn a_paused_host_does_not_answer_until_it_goes_on() {
    let mut engine = engine();
    let (interrupt, echoed) = (engine.interrupt(), Arc::new(AtomicU64::new(0)));
    let server = engine.add_host(spec(1, echo()));
    let counts = Arc::clone(&echoed);
    engine.add_host(spec(
        2,
        boot(move |host| {
            let (interrupt, echoed) = (interrupt.clone(), Arc::clone(&counts));
            async move {
                let mut conn = connect(&host).await;
                for _ in 0..2 {
                    conn.write_u8(1).await.expect("the kernel takes it");
                    conn.read_u8().await.expect("an echo");
                    echoed.fetch_add(1, Ordering::SeqCst);
                    interrupt.raise();
                }
            }
        }),
    ));
    assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
    engine.apply(Action::Pause(server)).expect("a pause can be done");
    let later = engine.now() + Duration::from_millis(50);
    assert_eq!(engine.run(later), Ok(Stopped::Reached));
    assert_eq!(echoed.load(Ordering::SeqCst), 1);
    engine.apply(Action::Resume(server)).expect("a pause can end");
    assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
    assert_eq!(echoed.load(Ordering::SeqCst), 2);
}

#[test]
fn each_way_is_delayed_and_counted() {
    let mut engine = engine();
    let (interrupt, took) = (engine.interrupt(), Arc::new(Mutex::new(Duration::ZERO)));
    let server = engine.add_host(spec(1, echo()));
    let tells = Arc::clone(&took);
    let client = engine.add_host(spec(
        2,
        boot(move |host| {
            let (interrupt, took) = (interrupt.clone(), Arc::clone(&tells));
            async move {
                let mut conn = connect(&host).await;
                let begun = host.now();
                conn.write_u8(1).await.expect("the server reads");
                conn.read_u8().await.expect("an echo");
                *took.lock().expect("no panic holds it") = host.now().since(begun);
                interrupt.raise();
            }
        }),
    ));
    let slow = |ms| Link { latency: Delay::Constant(Duration::from_millis(ms)), ..Link::default() };
    let mut link = |from: HostId, to: HostId, ms| {
        engine.apply(Action::SetLink { from: vec![from], to: vec![to], link: slow(ms) }).expect("latency can be done");
    };
    link(client, server, 30);
    link(server, client, 50);
    assert_eq!(engine.run(END), Ok(Stopped::Interrupted));
    let took = *took.lock().expect("no panic holds it");
    assert!(took >= Duration::from_millis(80), "an echo in {took:?}");
    for (from, to) in [(client, server), (server, client)] {
        let count = engine.count(from, to);
        assert!(count.packets >= 2 && count.bytes > count.packets * 40, "{count:?}");
    }
}

#[test]
fn what_loopback_cannot_do_is_refused_by_name() {
    let mut engine = engine();
    let host = engine.add_host(spec(1, echo()));
    let other = engine.add_host(spec(2, echo()));
    let link = |link: Link| Action::SetLink { from: vec![host], to: vec![other], link };
    let check = |engine: &mut RealEngine, action: Action, knob: &str| {
        let refused = engine.apply(action).expect_err(knob);
        assert_eq!((refused.engine, &*refused.knob), ("real", knob));
    };
    check(&mut engine, Action::Crash(host, CrashMode::Silent), "silent crash");
    check(&mut engine, Action::SetCpu(host, Duration::from_micros(1)), "CPU cost per poll");
    check(&mut engine, link(Link { loss_ppm: 1, ..Link::default() }), "loss");
    check(&mut engine, link(Link { bandwidth_bps: Some(1), ..Link::default() }), "bandwidth");
    check(&mut engine, link(Link { cut: true, ..Link::default() }), "partition");
    let busy = HostSpec { cpu_per_poll: Duration::from_micros(1), ..spec(3, echo()) };
    engine.add_host(busy);
    check(&mut engine, link(Link::default()), "CPU cost per poll");
}
