//! All budgets of a backend together: a retry needs leave from each, and none is charged for one that another refuses.
//!
//! What is counted when: a first try when it is sent, a retry when it is decided, a failure when it is known. Nothing
//! waits for the end of a request, or a storm of slow ones would be seen too late.

use super::breaker::RetryBreaker;
use super::bucket::Bucket;
use super::grpc::Throttling;
use super::window::RetryBudget;
use crate::Instant;
use crate::mesh::{Budget, RetryLimits};

/// The machines that are set.
#[derive(Debug)]
pub(crate) struct Budgets {
    window: Option<RetryBudget>,
    limits: RetryLimits,
    bucket: Option<Bucket>,
    throttling: Option<Throttling>,
    breaker: Option<RetryBreaker>,
    /// Retries decided, and hedges sent, whose tries are not over.
    under_way: u32,
}

impl Budgets {
    pub(crate) fn new(window: Option<Budget>, limits: RetryLimits) -> Self {
        Self {
            window: window.map(RetryBudget::new),
            limits,
            bucket: limits.bucket.map(Bucket::new),
            throttling: limits.throttling.map(Throttling::new),
            breaker: limits.breaker.map(RetryBreaker::new),
            under_way: 0,
        }
    }

    /// Obeys other settings. Machines whose own did not change keep their state.
    pub(crate) fn set(&mut self, window: Option<Budget>, limits: RetryLimits) {
        if self.window.as_ref().map(RetryBudget::config) != window {
            self.window = window.map(RetryBudget::new);
        }
        if self.limits.bucket != limits.bucket {
            self.bucket = limits.bucket.map(Bucket::new);
        }
        if self.limits.throttling != limits.throttling {
            self.throttling = limits.throttling.map(Throttling::new);
        }
        if self.limits.breaker != limits.breaker {
            self.breaker = limits.breaker.map(RetryBreaker::new);
        }
        self.limits = limits;
    }

    /// A request's first try is sent.
    pub(crate) fn on_first_try(&mut self, now: Instant) {
        if let Some(window) = &mut self.window {
            window.deposit(now);
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.on_first_try();
        }
        if let Some(breaker) = &mut self.breaker {
            breaker.on_first_try(now);
        }
    }

    /// A try of a request with a retry policy failed; `listed`: as the policy lists.
    pub(crate) fn on_failure(&mut self, now: Instant, listed: bool) {
        if let Some(throttling) = self.throttling.as_mut().filter(|_| listed) {
            throttling.on_failure();
        }
        if let Some(breaker) = &mut self.breaker {
            breaker.on_failure(now);
        }
    }

    /// A try of a request with a retry policy succeeded, to the end of its answer.
    pub(crate) fn on_success(&mut self) {
        if let Some(throttling) = &mut self.throttling {
            throttling.on_success();
        }
    }

    /// Takes a retry while `requests` are under way, and says what is left in thousandths of a retry, by the tightest
    /// of those that count them. `Err`: one of them refuses. Give it back with [`Budgets::on_retry_over`].
    pub(crate) fn withdraw(&mut self, now: Instant, requests: u32) -> Result<Option<u64>, Refused> {
        if self
            .limits
            .share
            .is_some_and(|share| !share.allows(requests, mutant!("share-counts-no-retries", self.under_way, 0)))
        {
            return Err(Refused);
        }
        if self.bucket.as_ref().is_some_and(|bucket| !bucket.allows())
            || self.throttling.as_ref().is_some_and(|throttling| !throttling.allows())
            || self.breaker.as_mut().is_some_and(|breaker| !breaker.allows(now))
        {
            return Err(Refused);
        }
        // The last: it is charged as it is asked.
        let window = match &mut self.window {
            Some(window) => {
                let left = mutant!("budget-counted-at-completion", window.withdraw(now), window.withdraw_late(now));
                Some(left.ok_or(Refused)?)
            }
            None => None,
        };
        let bucket = self.bucket.as_mut().map(|bucket| {
            mutant!("bucket-takes-nothing", bucket.take(), ());
            bucket.left()
        });
        let throttling = self.throttling.as_ref().map(Throttling::left);
        self.under_way += 1;
        Ok([window, bucket, throttling].into_iter().flatten().min())
    }

    /// Takes one without leave.
    #[cfg(squall_mutants)]
    pub(crate) fn take_unasked(&mut self) -> Option<u64> {
        self.under_way += 1;
        None
    }

    /// A retry's try is over, or will not be sent.
    pub(crate) fn on_retry_over(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("each retry is over once");
        #[cfg(squall_mutants)]
        self.window.as_mut().map_or((), RetryBudget::charge);
    }

    #[cfg(any(test, feature = "harness"))]
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way
    }
}

/// No retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{RetryBucket, RetryShare};

    #[test]
    fn a_retry_needs_leave_from_all_and_charges_none_if_one_refuses() {
        let window = Budget { percent: 0, min_per_second: 1, window: std::time::Duration::from_secs(10) };
        let limits = RetryLimits {
            share: Some(RetryShare { percent: 0, min_concurrent: 1 }),
            bucket: Some(RetryBucket { deposit_permille: 0, size: 100 }),
            ..RetryLimits::default()
        };
        let mut budgets = Budgets::new(Some(window), limits);
        let now = Instant::ZERO;
        assert_eq!(budgets.withdraw(now, 1), Ok(Some(9000)));
        (0..50).for_each(|_| assert_eq!(budgets.withdraw(now, 1), Err(Refused), "one is under way"));
        budgets.on_retry_over();
        assert_eq!(budgets.withdraw(now, 1), Ok(Some(8000)), "the refused ones cost nothing");
        budgets.on_retry_over();
        for _ in 0..8 {
            assert!(budgets.withdraw(now, 1).is_ok());
            budgets.on_retry_over();
        }
        assert_eq!(budgets.withdraw(now, 1), Err(Refused), "the window's ten are used");
        assert_eq!(budgets.bucket.as_ref().map(Bucket::left), Some(90_000));
    }
}
