//! Requests whose tries fail by chance, for tests of budgets.

use super::all::Budgets;
use crate::mesh::RetryLimits;
use crate::{Instant, Rng};

/// What came of it, in ten-thousandths per request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) success: u64,
    pub(crate) attempts: u64,
}

impl Load {
    pub(crate) fn is_near(self, other: Self, success: u64, attempts: u64) -> bool {
        self.success.abs_diff(other.success) <= success && self.attempts.abs_diff(other.attempts) <= attempts
    }
}

/// `clients` times `calls` requests one after the other, each try failing with `permille`, at most `retries` more.
pub(crate) fn load(limits: RetryLimits, permille: u32, retries: u32, calls: u64, clients: u64) -> Load {
    let mut rng = Rng::from_seed(7).fork("trials");
    let (mut good, mut tries) = (0, 0);
    for _ in 0..clients {
        let mut budgets = Budgets::new(None, limits);
        for call in 0..calls {
            let now = Instant::from_nanos(call * 100_000_000);
            budgets.on_first_try(now);
            let mut left = retries;
            loop {
                tries += 1;
                if !rng.chance(permille) {
                    budgets.on_success();
                    good += 1;
                    break;
                }
                budgets.on_failure(now, true);
                if left == 0 || budgets.withdraw(now, 1).is_err() {
                    break;
                }
                budgets.on_retry_over();
                left -= 1;
            }
        }
    }
    let per = |count: u64| count * 10_000 / (calls * clients);
    Load { success: per(good), attempts: per(tries) }
}
