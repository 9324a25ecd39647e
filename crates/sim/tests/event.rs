//! What the event engine promises, to the nanosecond.

#[path = "event/determinism.rs"]
mod determinism;
#[path = "event/faults.rs"]
mod faults;
#[path = "event/hosts.rs"]
mod hosts;
#[path = "event/http.rs"]
mod http;
#[path = "event/links.rs"]
mod links;
#[path = "event/log.rs"]
mod log;
#[path = "event/world.rs"]
mod world;
