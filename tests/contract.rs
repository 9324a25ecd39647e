//! The contract of the seam: the same cases in every world. A proxy that works in one then works in the others.

#[path = "contract/exchanges.rs"]
mod exchanges;
#[path = "contract/identities.rs"]
mod identities;
#[path = "contract/streams.rs"]
mod streams;
#[path = "contract/world.rs"]
mod world;

use world::{Case, TcpWorld, World, hold};

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
