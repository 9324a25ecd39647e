//! What must hold.

use std::time::Duration;

use super::{Located, Place};

/// An expectation: an expression that must be true of a window. See [`super::variables`] for what it may name.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Where it stands.
    pub place: Place,
    /// Over which requests.
    pub window: Window,
    /// A CEL expression (cel 0.15) of type bool that compiles and names only known variables and services.
    pub that: Located<String>,
}

/// Over which requests: those that arrived in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// No window: true at every instant of the run, every 10 ms and whenever a fault begins or ends. Only gauges.
    Always,
    /// The whole run.
    Overall,
    /// From the first to before the second, since the start.
    Between(Duration, Duration),
    /// While any fault is active, from the start of the first to the end of the last.
    DuringFaults,
    /// From so long after the end of the last fault to the end.
    AfterFaults(Duration),
}
