//! How long to wait before the control plane is tried again: exponential with full jitter (AWS architecture blog,
//! "Exponential backoff and jitter", 2015), so that proxies that lost it together do not come back together.

use std::time::Duration;

use squall_policy::Rng;

/// Before the first try again, at most.
const FIRST: Duration = Duration::from_millis(20);
/// Before any try again, at most.
const LAST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
pub(crate) struct Backoff {
    failures: u32,
    dice: Rng,
}

impl Backoff {
    pub(crate) fn new(dice: Rng) -> Self {
        Self { failures: 0, dice }
    }

    /// It worked: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: wait so long.
    pub(crate) fn next(&mut self) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures += 1;
        self.dice.between(Duration::ZERO, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_spread_below() {
        let mut most = [Duration::ZERO; 40];
        for seed in 0..500 {
            let mut backoff = Backoff::new(Rng::from_seed(seed));
            for (nth, most) in most.iter_mut().enumerate() {
                let wait = backoff.next();
                assert!(wait <= FIRST.saturating_mul(1 << nth.min(16)).min(LAST), "{nth} {wait:?}");
                *most = wait.max(*most);
            }
            backoff.reset();
            assert!(backoff.next() <= FIRST);
        }
        assert!(most[0] > FIRST * 9 / 10 && most[4] > FIRST * 16 * 9 / 10 && most[39] > LAST * 9 / 10, "{most:?}");
    }
}
