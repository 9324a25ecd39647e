//! What each fuzz target does with its bytes: the same for the fuzzer and for the test that replays what it found.

pub mod detect;
pub mod mesh;
pub mod proxy_protocol;
pub mod scenario;
pub mod xds;
