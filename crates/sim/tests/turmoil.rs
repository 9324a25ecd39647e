//! What the reference engine does and what it refuses.

#[path = "event/log.rs"]
mod log;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use log::Log;
use squall_net::Host;
use squall_policy::Instant;
use squall_sim::engine::{
    Action, CrashMode, Delay, Engine as _, EngineError, HostId, HostSpec, Link, Stopped, TurmoilEngine,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MS: Duration = Duration::from_millis(1);

fn at(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 80))
}

fn add<F>(engine: &mut TurmoilEngine, number: u8, log: &Log, main: fn(Host, Log) -> F) -> HostId
where
    F: Future<Output = ()> + Send + 'static,
{
    let log = log.clone();
    engine.add_host(HostSpec {
        name: format!("host-{number}").into(),
        address: IpAddr::from([10, 0, 0, number]),
        boot: Arc::new(move |host| Box::pin(main(host, log.clone()))),
        clock_ahead: Duration::ZERO,
        cpu_per_poll: Duration::ZERO,
    })
}

/// Answers each byte with itself.
async fn serves(host: Host, log: Log) {
    log.say(host.now(), "boots");
    let mut listener = host.net().listen(at(1)).await.expect("a free port");
    while let Ok(mut accepted) = listener.accept().await {
        host.spawn("echo", async move {
            while let Ok(byte) = accepted.conn.read_u8().await
                && accepted.conn.write_u8(byte).await.is_ok()
            {}
        });
    }
}

/// Asks every 10 ms, each time anew, and says how it went if that changes.
async fn asks(host: Host, log: Log) {
    let mut last = String::new();
    loop {
        squall_net::after(host.clock().as_ref(), 10 * MS).await;
        let ask = async {
            let mut conn = host.net().connect(at(1)).await.map_err(|error| error.kind())?;
            conn.write_u8(7).await.map_err(|error| error.kind())?;
            conn.read_u8().await.map_err(|error| error.kind())
        };
        let end = host.now() + 50 * MS;
        let answer = squall_net::timeout(host.clock().as_ref(), end, ask).await;
        let answer = answer.map_or_else(|| "silence".to_owned(), |answer| format!("{answer:?}"));
        if answer != last {
            log.say(host.now(), &answer);
            last = answer;
        }
    }
}

fn pair() -> (TurmoilEngine, Log) {
    let (mut engine, log) = (TurmoilEngine::new(1, Duration::from_secs(1_700_000_000)), Log::default());
    add(&mut engine, 1, &log, serves);
    add(&mut engine, 2, &log, asks);
    set(&mut engine, Link { latency: Delay::Constant(2 * MS), ..Link::default() });
    (engine, log)
}

fn set(engine: &mut TurmoilEngine, link: Link) {
    let all = vec![HostId(0), HostId(1)];
    engine.apply(Action::SetLink { from: all.clone(), to: all, link }).expect("both ways alike");
}

#[track_caller]
fn run(engine: &mut TurmoilEngine, until: Duration) {
    assert_eq!(engine.run(Instant::ZERO + until), Ok(Stopped::Reached));
}

fn words(log: &Log) -> Vec<String> {
    log.said().into_iter().map(|(_, what)| what).collect()
}

#[test]
fn a_crashed_host_refuses_and_a_restarted_one_answers() {
    let (mut engine, log) = pair();
    run(&mut engine, 200 * MS);
    engine.apply(Action::Crash(HostId(0), CrashMode::Reset)).expect("a crash");
    assert!(engine.crash_count(HostId(0)) > 0);
    run(&mut engine, 400 * MS);
    engine.apply(Action::Restart(HostId(0))).expect("a restart");
    run(&mut engine, 600 * MS);
    assert_eq!(words(&log), ["boots", "Ok(7)", "Err(ConnectionRefused)", "boots", "Ok(7)"]);
}

#[test]
fn a_cut_is_silence_and_its_end_is_not() {
    let (mut engine, log) = pair();
    run(&mut engine, 200 * MS);
    let link = Link { latency: Delay::Constant(2 * MS), ..Link::default() };
    set(&mut engine, Link { cut: true, ..link.clone() });
    run(&mut engine, 500 * MS);
    assert!(engine.count(HostId(1), HostId(0)).cut > 0);
    set(&mut engine, link);
    run(&mut engine, 1000 * MS);
    assert_eq!(words(&log), ["boots", "Ok(7)", "silence", "Ok(7)"]);
}

#[test]
fn a_seed_is_a_run() {
    let digest = || {
        let (mut engine, _) = pair();
        run(&mut engine, 500 * MS);
        engine.trace().digest()
    };
    let first = digest();
    assert!(first.events > 100);
    assert_eq!(first, digest());
}

#[test]
fn a_panic_in_a_task_ends_the_run() {
    let (mut engine, log) = (TurmoilEngine::new(1, Duration::ZERO), Log::default());
    add(&mut engine, 1, &log, |host, _| async move {
        let clock = Arc::clone(host.clock());
        host.spawn("breaks", async move {
            squall_net::after(clock.as_ref(), 3 * MS).await;
            panic!("on purpose");
        });
        std::future::pending::<()>().await;
    });
    let error = engine.run(Instant::ZERO + 100 * MS).expect_err("a panic");
    let EngineError::Panicked { host, task, message, .. } = error else { panic!("{error}") };
    assert_eq!((host.as_str(), task, message.as_str()), ("host-1", "breaks", "on purpose"));
}

#[test]
fn what_it_cannot_do_is_refused_by_name() {
    let refused = |action: Action| pair().0.apply(action).expect_err("it cannot").knob;
    let plain = Link { latency: Delay::Constant(2 * MS), ..Link::default() };
    let link = |link: Link| refused(Action::SetLink { from: vec![HostId(0)], to: vec![HostId(1)], link });
    assert_eq!(link(Link { latency: Delay::Constant(Duration::from_micros(500)), ..plain.clone() }), "latency");
    assert_eq!(link(Link { latency: Delay::Exponential(MS), ..plain.clone() }), "latency distribution");
    assert_eq!(link(Link { jitter: MS, ..plain.clone() }), "jitter");
    assert_eq!(link(Link { loss_ppm: 1, ..plain.clone() }), "loss");
    assert_eq!(link(Link { bandwidth_bps: Some(1_000_000), ..plain.clone() }), "bandwidth");
    assert_eq!(refused(Action::Crash(HostId(0), CrashMode::Silent)), "silent crash");
    assert_eq!(refused(Action::Pause(HostId(0))), "pause");
    assert_eq!(refused(Action::SetCpu(HostId(0), MS)), "cpu");
}

#[test]
fn links_that_are_not_alike_both_ways_are_refused_when_they_would_be_used() {
    let one_way = |link: Link| {
        let (mut engine, _) = pair();
        engine
            .apply(Action::SetLink { from: vec![HostId(0)], to: vec![HostId(1)], link: link.clone() })
            .expect("so far");
        let refused = match engine.run(Instant::ZERO + MS) {
            Err(EngineError::Unsupported(refused)) => refused.knob,
            other => panic!("{other:?}"),
        };
        // With the other way it is possible after all.
        engine.apply(Action::SetLink { from: vec![HostId(1)], to: vec![HostId(0)], link }).expect("alike");
        run(&mut engine, MS);
        refused
    };
    assert_eq!(one_way(Link { latency: Delay::Constant(3 * MS), ..Link::default() }), "latency");
    let cut = Link { latency: Delay::Constant(2 * MS), cut: true, ..Link::default() };
    assert_eq!(one_way(cut), "one-way partition");
}

#[test]
fn hosts_with_clocks_or_cores_of_their_own_are_refused() {
    let refused = |clock_ahead: Duration, cpu_per_poll: Duration| {
        let mut engine = TurmoilEngine::new(1, Duration::ZERO);
        engine.add_host(HostSpec {
            name: "host".into(),
            address: IpAddr::from([10, 0, 0, 1]),
            boot: Arc::new(|_| Box::pin(std::future::ready(()))),
            clock_ahead,
            cpu_per_poll,
        });
        match engine.run(Instant::ZERO + MS) {
            Err(EngineError::Unsupported(refused)) => refused.knob,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(MS, Duration::ZERO), "clock skew");
    assert_eq!(refused(Duration::ZERO, MS), "cpu");
}
