//! Known answers: what a scenario must measure because a formula, an exact argument or a published experiment says so.
//!
//! ```text
//!   scenario ─▶ replications (seeds 1, 2, …, fixed in advance) ─▶ one value each ─▶ mean, 99 % half-width ─▶ verdict
//!            ─▶ exact answers (pathwise, Little's law, `exact`): must hold in every replication
//! ```
//!
//! Everything runs in two layers, so that a mismatch says which is wrong: `fast` is the policy core and the service model
//! without bytes, `full` the whole thing. What passes is written in scenarios/README.md.

mod answers;
mod grade;
mod pathwise;
mod stats;
mod study;

pub use answers::Found;
pub(crate) use answers::find;
pub(crate) use grade::exact_checks;
pub use grade::{CaseReport, Verdict, ranks, report};
pub use stats::{Estimate, t_quantile};
pub use study::{Study, TrialError};
