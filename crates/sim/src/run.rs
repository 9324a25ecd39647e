//! One run: a scenario, a seed, a verdict.

use std::sync::Arc;

use crate::campaign::Verification;
use crate::outcome::{EngineKind, Outcome, RunError, RunOptions};
use crate::scenario::Scenario;

/// Runs a scenario on one seed.
///
/// # Errors
/// See [`RunError`]: the engine cannot do what is asked, the mesh does not compile, or the world broke.
pub fn run(scenario: &Arc<Scenario>, seed: u64, options: RunOptions) -> Result<Outcome, RunError> {
    let _ = (scenario, seed, options);
    todo!()
}

/// Runs a scenario that gave `first` again and compares: equal digests, or the first record that differs.
#[must_use]
pub fn verify(scenario: &Arc<Scenario>, seed: u64, engine: EngineKind, first: &Outcome) -> Verification {
    let _ = (scenario, seed, engine, first);
    todo!()
}
