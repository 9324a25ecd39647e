//! What the exchanges of one backend share of retries, hedges, throttling and faults.

use std::time::Duration;

use super::{Backend, Permit, find};

use crate::budget::{Budgets, Refused};
use crate::exchange::Answer;
use crate::hedge::Quantile;
use crate::mesh::{AbortWith, BackendPolicy, Backoff, HedgeAfter, Hedging};
use crate::route_fault::Injection;
use crate::throttle::{self, Throttle};
use crate::{Instant, Rng};

/// The machines.
#[derive(Debug)]
pub(super) struct Client {
    budgets: Budgets,
    throttle: Option<Box<Throttle>>,
    /// Where hedges follow a percentile.
    latencies: Option<Quantile>,
    backoff_dice: Rng,
    throttle_dice: Rng,
    fault_dice: Rng,
}

impl Client {
    pub(super) fn new(policy: &BackendPolicy, rng: &Rng) -> Self {
        Self {
            budgets: Budgets::new(policy.budget, policy.retry_limits),
            throttle: policy.throttle.map(|config| Box::new(Throttle::new(config))),
            latencies: quantile(policy.hedging),
            backoff_dice: rng.fork("back-off"),
            throttle_dice: rng.fork("throttle"),
            fault_dice: rng.fork("fault"),
        }
    }

    /// Obeys another policy. Machines whose own settings did not change keep their state.
    pub(super) fn set_policy(&mut self, old: &BackendPolicy, new: &BackendPolicy) {
        self.budgets.set(new.budget, new.retry_limits);
        if old.throttle != new.throttle {
            self.throttle = new.throttle.map(|config| Box::new(Throttle::new(config)));
        }
        let after = |policy: &BackendPolicy| policy.hedging.map(|hedging| hedging.after);
        if after(old) != after(new) {
            self.latencies = quantile(new.hedging);
        }
    }
}

fn quantile(hedging: Option<Hedging>) -> Option<Quantile> {
    hedging.and_then(|hedging| Quantile::new(hedging.after))
}

impl Backend {
    /// A request wants a try: whether the client may send it.
    pub(crate) fn admits(&mut self, now: Instant) -> bool {
        let Client { throttle, throttle_dice, .. } = &mut self.client;
        throttle.as_mut().is_none_or(|throttle| throttle.admits(now, throttle_dice))
    }

    /// A request's first try is sent: the budgets grow.
    pub(crate) fn on_first_try(&mut self, now: Instant) {
        self.client.budgets.on_first_try(now);
    }

    /// The head of a try has come.
    pub(crate) fn on_answer(&mut self, now: Instant, answer: Answer) {
        if let Some(throttle) = self.client.throttle.as_mut().filter(|_| throttle::accepts(answer)) {
            throttle.on_accept(now);
        }
    }

    /// A try failed; `listed`: its request's retry policy lists how.
    pub(crate) fn on_try_failed(&mut self, now: Instant, listed: bool) {
        self.client.budgets.on_failure(now, listed);
    }

    /// A try of a request with a retry policy succeeded, to its end.
    pub(crate) fn on_try_succeeded(&mut self) {
        self.client.budgets.on_success();
    }

    /// Takes a retry or a hedge from the budgets, and says what is left.
    pub(crate) fn withdraw(&mut self, now: Instant) -> Result<Option<u64>, Refused> {
        let (placed, queued) = self.load();
        self.client.budgets.withdraw(now, placed.saturating_add(queued))
    }

    /// Takes one without leave.
    #[cfg(squall_mutants)]
    pub(crate) fn take_unasked(&mut self) -> Option<u64> {
        self.client.budgets.take_unasked()
    }

    /// What was withdrawn is over.
    pub(crate) fn on_retry_over(&mut self) {
        self.client.budgets.on_retry_over();
    }

    pub(crate) fn draw_wait(&mut self, backoff: &Backoff, nth: u32, before: Duration) -> Duration {
        backoff.wait(nth, before, &mut self.client.backoff_dice)
    }

    /// What the dice do to one try.
    pub(crate) fn draw_fault(&mut self, injection: &Injection) -> Option<(Duration, Option<AbortWith>)> {
        injection.draw(&mut self.client.fault_dice)
    }

    /// How long to wait for a try before another is sent beside it; `None`: none is.
    pub(crate) fn hedge_delay(&mut self, now: Instant) -> Option<Duration> {
        match self.policy.hedging?.after {
            HedgeAfter::Delay(delay) => Some(delay),
            HedgeAfter::Percentile { .. } => self.client.latencies.as_mut()?.get(now),
        }
    }

    /// A try that is no hedge took so long, or was given up after it.
    pub(crate) fn on_latency(&mut self, now: Instant, took: Duration) {
        if let Some(latencies) = &mut self.client.latencies {
            latencies.observe(now, took);
        }
    }

    /// A try is given up because another was better: nothing bad, but it takes at least so long.
    pub(crate) fn on_lost(&mut self, now: Instant, permit: &Permit) {
        let decay = self.decay;
        let Some(slot) = find(&mut self.slots, permit) else { return };
        let took = now.since(permit.started());
        if took.as_nanos() > u128::from(slot.estimate.at(now, decay)) {
            slot.estimate.observe(now, decay, took);
        }
    }

    /// Retries and hedges that are not over.
    #[cfg(any(test, feature = "harness"))]
    pub(crate) fn retries_under_way(&self) -> u32 {
        self.client.budgets.under_way()
    }
}
