//! A share of the latest first tries, and a minimum rate.
//!
//! ```text
//!   first try sent:  + percent·10 thousandths         window, in ten slices that expire one by one
//!   retry decided:   − 1000 thousandths               ┌─┬─┬─┬─┬─┬─┬─┬─┬─┬─┐
//!   allowed:  sum of the window + min_per_second·window ≥ 1000
//! ```
//!
//! Deposits and withdrawals expire alike, so over the ten slices that end with any retry, retries ≤ percent/100 × requests +
//! min_per_second × window. A retry is withdrawn when it is decided, not when its wait is over: a caller who cannot be retried gets the
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
    #[cfg(squall_mutants)]
    owed: u32,
}

impl RetryBudget {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            slices: [0; SLICES as usize],
            sum: 0,
            current: 0,
            #[cfg(squall_mutants)]
            owed: 0,
        }
    }

    pub(crate) fn config(&self) -> Config {
        self.config
    }

    /// A request's first try is sent.
    pub(crate) fn deposit(&mut self, now: Instant) {
        let percent = i64::from(self.config.percent);
        self.add(now, mutant!("budget-ratio-cut-to-integers", percent * 10, (percent + 99) / 100 * RETRY));
    }

    /// Takes a retry, and says what is left in thousandths; `None`: the budget is empty.
    pub(crate) fn withdraw(&mut self, now: Instant) -> Option<u64> {
        if self.left(now) < RETRY {
            return None;
        }
        self.add(now, -RETRY);
        Some(u64::try_from(self.left(now)).unwrap_or(0))
    }

    /// As [`RetryBudget::withdraw`], but takes nothing before a retry is over.
    #[cfg(squall_mutants)]
    pub(crate) fn withdraw_late(&mut self, now: Instant) -> Option<u64> {
        let left = u64::try_from(self.left(now) - RETRY).ok()?;
        self.owed += 1;
        Some(left)
    }

    /// A retry is over: takes what is owed for one.
    #[cfg(squall_mutants)]
    pub(crate) fn charge(&mut self) {
        if self.owed > 0 {
            self.owed -= 1;
            self.slices[(self.current % SLICES) as usize] -= RETRY;
            self.sum -= RETRY;
        }
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
            self.sum -= mutant!("budget-never-expires", std::mem::take(slice), 0);
        }
        self.current = number;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(percent: u32, min_per_second: u32) -> Config {
        Config { percent, min_per_second, window: Duration::from_secs(10) }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// How many retries follow if every request of a steady load fails and wants one, over `seconds`.
    fn storm(config: Config, per_second: u64, seconds: u64) -> u64 {
        let mut budget = RetryBudget::new(config);
        let mut retries = 0;
        for request in 0..per_second * seconds {
            let now = at(request * 1000 / per_second);
            budget.deposit(now);
            retries += u64::from(budget.withdraw(now).is_some());
        }
        retries
    }

    #[test]
    fn a_request_buys_its_share_of_a_retry() {
        let mut budget = RetryBudget::new(config(20, 0));
        assert_eq!(budget.withdraw(at(0)), None);
        (0..4).for_each(|_| budget.deposit(at(0)));
        assert_eq!(budget.withdraw(at(0)), None, "800 thousandths are no retry");
        (0..7).for_each(|_| budget.deposit(at(500)));
        assert_eq!(budget.withdraw(at(9_999)), Some(1200));
        assert_eq!(budget.withdraw(at(9_999)), Some(200));
        assert_eq!(budget.withdraw(at(9_999)), None);
    }

    #[test]
    fn deposits_expire_with_the_window() {
        let mut budget = RetryBudget::new(config(100, 0));
        budget.deposit(at(500));
        assert_eq!(budget.withdraw(at(10_000)), None);
        budget.deposit(at(10_500));
        assert_eq!(budget.withdraw(at(19_999)), Some(0));
        budget.deposit(at(21_000));
        assert_eq!(budget.withdraw(at(10_000_000)), None, "long silence leaves nothing");
    }

    #[test]
    fn load_stays_within_the_share_plus_the_minimum() {
        assert_eq!(storm(config(20, 10), 1000, 100), 20_000 + 1000);
        assert_eq!(storm(config(20, 10), 20, 1000), 4000 + 10_000);
        assert_eq!(storm(config(60, 0), 100, 100), 6000, "a ratio of .6 is not cut to 1");
        assert_eq!(storm(config(0, 0), 100, 10), 0);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model keeps every deposit and withdrawal and adds up those of the last ten slices.
            #[test]
            fn decides_as_a_list_of_all_that_happened(
                percent in 0_u32..200,
                min_per_second in 0_u32..3,
                window_ms in 1000_u64..5000,
                events in prop::collection::vec((0_u64..400, any::<bool>()), 1..300),
            ) {
                let window = Duration::from_millis(window_ms);
                let config = Config { percent, min_per_second, window };
                let mut budget = RetryBudget::new(config);
                let slice = window.as_nanos() as u64 / 10;
                let mut story: Vec<(u64, i64)> = Vec::new();
                let mut now = 0;
                let reserve = (u64::from(min_per_second) * window_ms) as i64;
                for (gap, is_retry) in events {
                    now += gap;
                    let number = at(now).as_nanos() / slice;
                    let sum: i64 = story.iter().filter(|(at, _)| at + 10 > number).map(|(_, amount)| amount).sum();
                    if is_retry {
                        let left = sum + reserve - 1000;
                        prop_assert_eq!(budget.withdraw(at(now)), (left >= 0).then_some(left.max(0) as u64));
                        if left >= 0 {
                            story.push((number, -1000));
                        }
                    } else {
                        budget.deposit(at(now));
                        story.push((number, i64::from(percent) * 10));
                    }
                }
                // Hence, over each window that ends with a retry: no more retries than its share plus the minimum.
                for end in story.iter().filter(|(_, amount)| *amount < 0).map(|(at, _)| *at) {
                    let inside = story.iter().filter(|(at, _)| *at <= end && at + 10 > end);
                    let retries = inside.clone().filter(|(_, amount)| *amount < 0).count() as i64 * 1000;
                    let share: i64 = inside.map(|(_, amount)| (*amount).max(0)).sum();
                    prop_assert!(retries <= share + reserve, "{} > {} + {}", retries, share, reserve);
                }
            }
        }
    }
}
