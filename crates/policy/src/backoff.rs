//! How long to wait before a repetition.
//!
//! ```text
//!   n-th repetition:  ceiling = min(last, first·2^(n−1))
//!   none          ceiling                 full      uniform [0, ceiling]
//!   equal         uniform [ceiling/2, ceiling]      decorrelated  uniform [first, min(last, 3·wait before)]
//! ```
//!
//! Source: Brooker, "Exponential backoff and jitter" (AWS architecture blog, 2015). All in integer nanoseconds, so that
//! jitter does spread: scaled seconds and truncated fractions have made it vanish elsewhere.

use std::time::Duration;

use crate::Rng;
use crate::mesh::{Backoff, Jitter};

impl Backoff {
    /// The wait before repetition `nth` (from 1); `before` is the wait before the previous one, zero at first.
    #[must_use]
    pub fn wait(&self, nth: u32, before: Duration, rng: &mut Rng) -> Duration {
        let doubling = 1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX);
        let ceiling = self.first.saturating_mul(doubling).min(self.last);
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => rng.between(Duration::ZERO, ceiling),
            Jitter::Equal => rng.between(ceiling / 2, ceiling),
            Jitter::Decorrelated => {
                let most = before.max(self.first).saturating_mul(3).min(self.last);
                rng.between(self.first, most)
            }
        }
    }
}
