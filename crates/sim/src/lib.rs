//! The simulated world: engines, faults, workload, checks.

mod arrivals;
mod campaign;
mod check;
mod client;
pub mod engine;
mod evaluate;
mod history;
mod journal;
mod knobs;
mod ledger;
mod measure;
mod note;
mod outcome;
mod payload;
mod run;
pub mod scenario;
mod script;
mod service;
mod shared;
mod slots;
mod window;
mod workload;

pub use campaign::{Campaign, Case, ParallelMap, Row, Verification, in_turn, rows};
pub use check::{CheckResult, Verdict};
pub use history::{Entry, Field, History, StoryLine};
pub use measure::{EdgeSummary, Latency, Recovery, ServiceSummary, Summary};
pub use outcome::{Checkpoint, EngineKind, FaultReport, Outcome, RunError, RunOptions};
pub use run::{run, verify};
pub use scenario::Scenario;
