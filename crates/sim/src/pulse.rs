//! How many requests succeeded over time: the curve of a run, small enough to be kept of every run.

use std::time::Duration;

use crate::timeline::width;
use crate::window::{Measures, Span};

/// At most so many bins.
const BINS_MAX: usize = 40;

/// The requests of a run in bins of equal width, from the scenario's time 0 to the end of its load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The width of a bin: the smallest of 1, 2, 5 × 10ⁿ ms with which there are at most 40. The last may be cut short.
    pub bin: Duration,
    /// Requests that arrived, by bin.
    pub requests: Vec<u64>,
    /// Of them, answered without error, whenever.
    pub succeeded: Vec<u64>,
}

impl Pulse {
    pub(crate) fn of(measures: &Measures) -> Self {
        let whole = measures.whole;
        let bin = width(whole.length(), BINS_MAX);
        let mut pulse = Self { bin, ..Self::default() };
        let mut from = whole.from;
        while from < whole.to {
            let to = (from + bin).min(whole.to);
            let asked = measures.asked(Span { from, to });
            pulse.requests.push(asked.len() as u64);
            pulse.succeeded.push(asked.iter().filter(|asked| asked.success).count() as u64);
            from = to;
        }
        pulse
    }
}
