//! Same seed, same run; and a run that is not the same is found out, with the event where it parts.

use std::time::Duration;

use squall_sim::engine::{Delay, Engine as _, Link};
use squall_sim::trace::{Checkpoint, Mode, Trace, first_difference};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, at, ms};

/// In which order a client asks its servers in each round.
type Order = fn() -> Vec<u8>;

fn sorted() -> Vec<u8> {
    (1..=4).collect()
}

/// Four servers and a client that asks them all, again and again, over links with jitter and loss.
fn run(seed: u64, mode: Mode, order: Order) -> World {
    let mut world = World::tracing(seed, mode);
    for number in 1..=4 {
        world.host(&format!("server-{number}"), move |host, _| async move {
            let mut listener = host.net().listen(at(number, 80)).await.expect("a free port");
            while let Ok(mut accepted) = listener.accept().await {
                host.spawn("answer", async move {
                    let mut buf = [0; 64];
                    while let Ok(count) = accepted.conn.read(&mut buf).await
                        && count > 0
                    {
                        if accepted.conn.write_all(&buf[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }
    world.host("client", move |host, log| async move {
        let mut rng = host.rng("lengths");
        for round in 0..200_u64 {
            for number in order() {
                let mut conn = host.net().connect(at(number, 80)).await.expect("it listens");
                let ask = vec![0; 1 + rng.below(60) as usize];
                conn.write_all(&ask).await.expect("room");
                let mut answer = vec![0; ask.len()];
                conn.read_exact(&mut answer).await.expect("an answer");
            }
            log.say(host.now(), &round.to_string());
        }
    });
    let latency = Delay::LogNormal { p50: ms(1), p99: ms(4) };
    let link = Link { latency, jitter: ms(1), loss_ppm: 5_000, ..Link::default() };
    for number in 1..=4 {
        world.links(&format!("server-{number}"), "client", &link);
    }
    world.run(Duration::from_secs(100));
    assert!(world.log.said().len() == 200, "all rounds were asked");
    world
}

fn digest(seed: u64) -> Checkpoint {
    run(seed, Mode::Digest, sorted).engine.trace().digest()
}

#[test]
fn a_seed_is_a_run_and_another_seed_another() {
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1).hash, digest(2).hash);
}

#[test]
fn worlds_side_by_side_do_not_touch_each_other() {
    let alone = digest(3);
    #[expect(clippy::disallowed_methods, reason = "this shows that worlds in threads are worlds")]
    let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(|| digest(3))).collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), alone);
    }
}

/// The kind of mistake that Squall must not make: the order differs from run to run.
fn hashed() -> Vec<u8> {
    #[expect(clippy::disallowed_types, reason = "planted: the trace must find it")]
    let set: std::collections::HashSet<u8> = (1..=4).collect();
    set.into_iter().collect()
}

#[test]
fn a_planted_leak_is_found_and_bisected_to_its_first_event() {
    let trace = |mode| std::sync::Arc::clone(run(1, mode, hashed).engine.trace());
    let parting = trace(Mode::Digest).parting(&trace(Mode::Digest)).expect("800 orders by chance are not the same");
    // The leak strikes anew in each run; its first connect is in the first window in any of them.
    assert_eq!(parting, Mode::Window { from: 0, to: squall_sim::trace::CHECKPOINT_EVERY });
    let (a, b): (_, std::sync::Arc<Trace>) = (trace(parting), trace(parting));
    let (is, other) = first_difference(&a.kept(), &b.kept()).expect("they part in this window");
    let (is, other) = (is.expect("both go on"), other.expect("both go on"));
    // Both runs are the same up to there, and there the client turns to different servers.
    assert!(a.kept()[..is.index as usize] == b.kept()[..is.index as usize]);
    assert_eq!((is.index, is.at, is.host, is.kind), (other.index, other.at, 4, "connect"));
    assert_ne!(is.b, other.b, "{is:?} {other:?}");
}

#[test]
fn a_wake_up_from_another_thread_ends_the_run() {
    let mut world = World::new(1);
    world.host("host", |host, _| async move {
        host.spawn("waits outside", async move {
            let mut begun = false;
            std::future::poll_fn(|cx| {
                if !std::mem::replace(&mut begun, true) {
                    let waker = cx.waker().clone();
                    #[expect(clippy::disallowed_methods, reason = "planted: the engine must notice")]
                    std::thread::spawn(move || waker.wake()).join().expect("it only wakes");
                }
                std::task::Poll::<()>::Pending
            })
            .await;
        });
    });
    let error = world.engine.run(squall_policy::Instant::ZERO + ms(1)).expect_err("it left the world");
    assert_eq!(error.to_string(), "0.000 s: task `waits outside` of host was woken from another thread");
}
