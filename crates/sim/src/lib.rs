//! The simulated world: engines, faults, workload, checks.

mod agenda;
mod arrivals;
#[cfg(test)]
mod bare;
mod campaign;
mod check;
mod client;
pub mod engine;
mod evaluate;
mod fast;
mod fault;
mod history;
mod journal;
mod knobs;
mod ledger;
mod links;
mod measure;
mod note;
mod outcome;
mod payload;
mod pod;
mod pulse;
mod recorder;
mod run;
pub mod scenario;
mod script;
pub mod search;
mod service;
mod shared;
mod slots;
pub mod timeline;
pub mod trace;
pub mod tune;
pub mod validate;
mod window;
mod words;
mod workload;
mod world;

pub use campaign::{Campaign, Case, ParallelMap, Row, Verification, in_turn, rows};
pub use check::{CheckResult, Verdict};
pub use history::{Entry, Field, History, StoryLine};
pub use measure::{EdgeSummary, Latency, Recovery, ServiceSummary, Summary};
pub use outcome::{Checkpoint, EngineKind, FaultReport, Model, Outcome, RunError, RunOptions};
pub use pulse::Pulse;
pub use run::{run, verify};
pub use scenario::Scenario;
