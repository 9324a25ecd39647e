//! How many retries a backend gets.
//!
//! ```text
//!   first try sent:  + percent·10 thousandths         window, in ten slices that expire one by one
//!   retry decided:   − 1000 thousandths               ┌─┬─┬─┬─┬─┬─┬─┬─┬─┬─┐
//!   allowed:  sum of the window + min_per_second·window ≥ 1000
//! ```
//!
//! Deposits and withdrawals expire alike, so within any aligned window retries ≤ percent/100 × requests + min_per_second ×
//! window. A retry is withdrawn when it is decided, not when its wait is over: a caller who cannot be retried gets the
//! answer in hand at once, and a wait is never in vain. One that is then not sent (its caller left) is not given back.
//!
//! Sources: Finagle's `RetryBudget`, Linkerd's ServiceProfile budget (20 %, 10/s, 10 s), Gateway API GEP-3388. Counted
//! in thousandths because whole tokens cut ratios (a budget of 0.6 must not permit 100 %).

use crate::Instant;
use crate::mesh::Budget as Config;

const SLICES: u64 = 10;
const RETRY: i64 = 1000;

/// The machine.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    config: Config,
    /// Deposits minus withdrawals, in thousandths, by slice number modulo [`SLICES`].
    slices: [i64; SLICES as usize],
    /// Their sum.
    sum: i64,
    /// The slice that is written now.
    current: u64,
}

impl RetryBudget {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, slices: [0; SLICES as usize], sum: 0, current: 0 }
    }

    pub(crate) fn config(&self) -> Config {
        self.config
    }

    /// A request's first try is sent.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.add(now, i64::from(self.config.percent) * 10);
    }

    /// Takes a retry, and says what is left in thousandths; `None`: the budget is empty.
    pub(crate) fn withdraw(&mut self, now: Instant) -> Option<u64> {
        if self.left(now) < RETRY {
            return None;
        }
        self.add(now, -RETRY);
        Some(u64::try_from(self.left(now)).unwrap_or(0))
    }

    fn left(&mut self, now: Instant) -> i64 {
        self.expire(now);
        let reserve = u128::from(self.config.min_per_second) * 1000 * self.config.window.as_millis() / 1000;
        self.sum.saturating_add(i64::try_from(reserve).unwrap_or(i64::MAX))
    }

    fn add(&mut self, now: Instant, amount: i64) {
        self.expire(now);
        let slice = &mut self.slices[(self.current % SLICES) as usize];
        *slice = slice.saturating_add(amount);
        self.sum = self.sum.saturating_add(amount);
    }

    fn expire(&mut self, now: Instant) {
        let span = u64::try_from(self.config.window.as_nanos()).unwrap_or(u64::MAX) / SLICES;
        let number = now.as_nanos() / span.max(1);
        if number <= self.current {
            return;
        }
        for expired in self.current + 1..=number.min(self.current + SLICES) {
            let slice = &mut self.slices[(expired % SLICES) as usize];
            self.sum -= std::mem::take(slice);
        }
        self.current = number;
    }
}
