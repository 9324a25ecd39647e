//! The simulated world: engines, faults, workload, checks.

mod campaign;
mod check;
pub mod engine;
mod history;
mod measure;
mod outcome;
mod run;
pub mod scenario;

pub use campaign::{Campaign, Case, ParallelMap, Row, Verification, in_turn, rows};
pub use check::{CheckResult, Verdict};
pub use history::{Entry, Field, History, StoryLine};
pub use measure::{EdgeSummary, Latency, Recovery, ServiceSummary, Summary};
pub use outcome::{Checkpoint, EngineKind, FaultReport, Outcome, RunError, RunOptions};
pub use run::{run, verify};
pub use scenario::Scenario;
