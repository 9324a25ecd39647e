//! The contract of the seam: the same cases in every world. A proxy that works in one then works in the others.

#[path = "contract/exchanges.rs"]
mod exchanges;
#[path = "contract/identities.rs"]
mod identities;
#[path = "contract/streams.rs"]
mod streams;
#[path = "contract/world.rs"]
mod world;

use squall_sim::engine::{Engine, EventEngine, RealEngine, TurmoilEngine};
use world::{Case, EngineWorld, TcpWorld, World, hold, simulated};

/// Runs all cases in a world, and fails with the names of all that do not hold.
fn hold_all(world: &dyn World, cases: &[Case]) {
    for case in cases {
        hold(world, *case);
    }
}

#[test]
fn streams_of_real_tcp_keep_the_contract() {
    hold_all(&TcpWorld, streams::CASES);
}

#[test]
fn http_over_real_tcp_keeps_the_contract() {
    hold_all(&TcpWorld, &exchanges::cases());
}

/// 2026-01-01, the wall clock at the beginning of simulated worlds.
const EPOCH: std::time::Duration = std::time::Duration::from_secs(1_767_225_600);

/// The default engine. It holds every case.
const EVENT: EngineWorld =
    EngineWorld { name: "event", new: || Box::new(EventEngine::new(1, EPOCH)), cannot: &[], address: simulated };

#[test]
fn streams_of_the_event_engine_keep_the_contract() {
    hold_all(&EVENT, streams::CASES);
}

#[test]
fn http_in_the_event_engine_keeps_the_contract() {
    hold_all(&EVENT, &exchanges::cases());
}

/// hyper and rustls draw entropy of their own and may look at clocks; nothing of it may reach the order, time or length of
/// what happens.
#[test]
fn the_event_engine_repeats_every_case_event_for_event() {
    for case in streams::CASES.iter().copied().chain(exchanges::cases()) {
        let history = || {
            let mut engine = (EVENT.new)();
            EVENT.run_in(engine.as_mut(), case).expect("it holds, as another test says");
            engine.trace().digest()
        };
        let (first, second) = (history(), history());
        assert!(first.events > 0);
        assert_eq!(first, second, "{} ({:?})", case.name, case.speech);
    }
}

fn real() -> Box<dyn Engine> {
    Box::new(RealEngine::new(1).expect("a runtime and a free block of addresses"))
}

/// Hosts that share this machine, with 1 ms between them.
const REAL: EngineWorld = EngineWorld {
    name: "real",
    new: real,
    cannot: &[
        ("connects_into_silence_until_the_callers_timeout", "loopback cannot be cut"),
        ("a_connect_into_silence_can_be_cancelled", "loopback cannot be cut"),
    ],
    address: simulated,
};

#[test]
fn streams_between_hosts_on_loopback_keep_the_contract() {
    hold_all(&REAL, streams::CASES);
}

#[test]
fn http_between_hosts_on_loopback_keeps_the_contract() {
    hold_all(&REAL, &exchanges::cases());
}

/// The reference engine, and what it cannot hold.
const TURMOIL: EngineWorld = EngineWorld {
    name: "turmoil",
    new: || Box::new(TurmoilEngine::new(1, EPOCH)),
    cannot: &[
        ("a_reset_is_a_connection_reset", "it has no way to send RST: an abort ends with FIN"),
        ("readable_means_a_reset_too", "it has no way to send RST: an abort ends with FIN"),
        ("a_dropped_listener_resets_what_waits", "a connection is established when it is accepted, not before"),
    ],
    address: simulated,
};

#[test]
fn streams_of_turmoil_keep_the_contract() {
    hold_all(&TURMOIL, streams::CASES);
}

#[test]
fn http_over_turmoil_keeps_the_contract() {
    hold_all(&TURMOIL, &exchanges::cases());
}
