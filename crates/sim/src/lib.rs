//! The simulated world: engines, faults, workload, checks.

pub mod engine;
