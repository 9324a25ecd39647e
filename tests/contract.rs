//! The contract of the seam: the same cases in every world. A proxy that works in one then works in the others.

#[path = "contract/exchanges.rs"]
mod exchanges;
#[path = "contract/identities.rs"]
mod identities;
#[path = "contract/streams.rs"]
mod streams;
#[path = "contract/world.rs"]
mod world;

use squall_sim::engine::EventEngine;
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
