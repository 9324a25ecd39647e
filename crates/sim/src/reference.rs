//! What may stand in a scenario: every field with its meaning, unit, range and default. See [`squall_control::reference`], whose tables
//! are those of the resources of the mesh; `tests/reference.rs` holds these against the readers.

mod checks;
mod distribution;
mod scenario;
mod tuning;

pub use distribution::DISTRIBUTION;
pub use scenario::SCENARIO;
pub use tuning::TUNING;
