//! What protects a backend from its endpoints: breakers of endpoints and of the whole, outlier ejection, and the floors
//! that keep them from leaving nobody.
//!
//! An endpoint *serves* while it is not draining, not ejected, not unhealthy by its checks, and its breaker is closed. A breaker that would leave fewer
//! than its `floor` serving stays closed, and an ejection that would is refused. Which one is refused: the one that comes
//! last. If others leave and too few serve, breakers close and ejected endpoints come back, the earliest due first.

use std::sync::Arc;

use super::{Backend, BackendEvent, Permit, Slot, SlotId, estimate_settings};
use crate::breaker::{self, Admits, Breaker, Effect, InFlight};
use crate::ewma::{Estimate, Penalty};
use crate::mesh::{BackendPolicy, Breaker as BreakerConfig, Endpoint, Outliers};
use crate::outlier::{self, Crowd, Ejection, Origin, Rates, Tally, fails_too_often, heard};
use crate::verdict::Verdict;
use crate::{Instant, Rng};

/// What the machines of the endpoints share, and the breaker of the whole.
#[derive(Debug)]
pub(super) struct Guard {
    service: Breaker,
    /// Those that may become slow for their endpoint, and for the whole.
    calls: InFlight,
    service_calls: InFlight,
    /// The end of the outlier detection's interval.
    interval_ends: Option<Instant>,
    breaker_dice: Rng,
    service_dice: Rng,
    outlier_dice: Rng,
}

impl Guard {
    pub(super) fn new(rng: &Rng) -> Self {
        Self {
            service: Breaker::new(),
            calls: InFlight::default(),
            service_calls: InFlight::default(),
            interval_ends: None,
            breaker_dice: rng.fork("breaker"),
            service_dice: rng.fork("service breaker"),
            outlier_dice: rng.fork("outliers"),
        }
    }
}

impl Slot {
    fn serves(&self) -> bool {
        !self.endpoint.draining && !self.outlier.is_ejected() && self.is_healthy() && self.breaker.is_closed()
    }
}

impl Backend {
    /// The policy is another than `old` now.
    pub(super) fn guard_by_policy(&mut self, now: Instant, old: &BackendPolicy) {
        if self.policy.breaker != old.breaker {
            self.guard.calls.clear();
            for slot in self.slots.iter_mut().filter(|slot| !slot.breaker.is_closed()) {
                self.events.push_back(BackendEvent::BreakerClosed { endpoint: Arc::clone(&slot.endpoint.name) });
            }
            self.slots.iter_mut().for_each(|slot| slot.breaker.reset());
        }
        if self.policy.service_breaker != old.service_breaker {
            self.guard.service_calls.clear();
            if !self.guard.service.is_closed() {
                self.events.push_back(BackendEvent::ServiceBreakerClosed);
            }
            self.guard.service.reset();
        }
        if self.policy.outliers != old.outliers {
            for slot in &mut self.slots {
                if std::mem::take(&mut slot.outlier).is_ejected() {
                    self.events.push_back(BackendEvent::Returned { endpoint: Arc::clone(&slot.endpoint.name) });
                }
            }
            self.guard.interval_ends = None;
        }
        self.uphold_floors(now);
    }

    /// Brings endpoints back, the earliest due first, when others left and too few serve.
    pub(super) fn uphold_floors(&mut self, now: Instant) {
        if let Some(config) = self.policy.outliers {
            let (all, mut ejected) = self.count_ejected();
            while ejected > 0 && all - ejected < config.floor {
                let out = self.slots.iter_mut().filter(|slot| !slot.endpoint.draining && slot.outlier.is_ejected());
                let Some(slot) = out.min_by_key(|slot| slot.outlier.until()) else { return };
                self.events.push_back(outlier_event(&slot.endpoint, slot.outlier.pardon(now)));
                ejected -= 1;
            }
        }
        let Some(config) = self.policy.breaker.filter(|config| config.floor > 0) else { return };
        while self.serving() < config.floor {
            // Checks alone bring the unhealthy back.
            let could = |slot: &&mut Slot| !slot.endpoint.draining && slot.is_healthy() && !slot.serves();
            let idle = self.slots.iter_mut().filter(could);
            // An open breaker first: an ejection has the statistics of all the others behind it.
            let due = |slot: &&mut Slot| (slot.outlier.until(), slot.breaker.until());
            let Some(slot) = idle.min_by_key(due) else { return };
            if slot.outlier.is_ejected() {
                self.events.push_back(outlier_event(&slot.endpoint, slot.outlier.pardon(now)));
            }
            if !slot.breaker.is_closed() {
                slot.breaker.reset();
                self.events.push_back(BackendEvent::BreakerClosed { endpoint: Arc::clone(&slot.endpoint.name) });
            }
        }
    }

    /// When [`Backend::guard_on_deadline`] has something to do, and what.
    pub(super) fn guard_deadline(&self) -> Option<(Instant, &'static str)> {
        let slow = |config: &Option<BreakerConfig>, calls: &InFlight| {
            let limit = config.as_ref()?.slow_calls.as_ref()?;
            calls.next_slow(limit.slower_than).map(|at| (at, "slow calls"))
        };
        let interval = self.guard.interval_ends.map(|at| (at, "outliers"));
        let endpoints = slow(&self.policy.breaker, &self.guard.calls);
        let service = slow(&self.policy.service_breaker, &self.guard.service_calls);
        interval.into_iter().chain(endpoints).chain(service).min_by_key(|(at, _)| *at)
    }

    /// Does what is due by now; nothing, if nothing is.
    pub(super) fn guard_on_deadline(&mut self, now: Instant) {
        if let Some(limit) = self.policy.breaker.and_then(|config| config.slow_calls) {
            while let Some(call) = self.guard.calls.pop_slow(now, limit.slower_than) {
                if let Some(index) = self.slots.iter().position(|slot| slot.id == call.slot) {
                    self.time_endpoint(now, index, call.epoch, true);
                }
            }
        }
        if let Some(limit) = self.policy.service_breaker.and_then(|config| config.slow_calls) {
            while let Some(call) = self.guard.service_calls.pop_slow(now, limit.slower_than) {
                self.time_service(now, call.epoch, true);
            }
        }
        if let Some(config) = self.policy.outliers
            && self.guard.interval_ends.is_some_and(|at| now >= at)
        {
            self.end_interval(now, &config);
        }
    }

    /// Whether the breaker of the whole refuses requests.
    #[inline]
    pub(crate) fn is_shut(&self, now: Instant) -> bool {
        let config = self.policy.service_breaker.as_ref();
        config.is_some_and(|config| self.guard.service.admits(now, config) == Admits::No)
    }

    /// Leave of the endpoint's breaker and of the whole's, which both admit the request.
    pub(super) fn take_permits(
        &mut self,
        now: Instant,
        index: usize,
    ) -> (Option<breaker::Permit>, Option<breaker::Permit>) {
        let slot = &mut self.slots[index];
        let mut own = None;
        if let Some(config) = &self.policy.breaker {
            let (mut permit, transition) = slot.breaker.take(now, config);
            if let Some(transition) = transition {
                self.events.push_back(breaker_event(&slot.endpoint, transition));
            }
            let timed = config.slow_calls.is_some();
            permit.call = timed.then(|| self.guard.calls.begin(now, slot.id, permit.epoch()));
            own = Some(permit);
        }
        let mut whole = None;
        if let Some(config) = &self.policy.service_breaker {
            let (mut permit, transition) = self.guard.service.take(now, config);
            if let Some(transition) = transition {
                self.events.push_back(service_event(transition));
            }
            let timed = config.slow_calls.is_some();
            permit.call = timed.then(|| self.guard.service_calls.begin(now, slot.id, permit.epoch()));
            whole = Some(permit);
        }
        (own, whole)
    }

    /// The head of a try has come.
    pub(super) fn guard_head(&mut self, now: Instant, permit: &mut Permit, verdict: Verdict) {
        self.time(now, permit);
        if verdict.is_failure() {
            return;
        }
        if let Some(index) = self.index_of(permit)
            && let Some(own) = &mut permit.breaker
        {
            self.slots[index].breaker.head(own);
        }
        if let Some(whole) = &mut permit.service {
            self.guard.service.head(whole);
        }
    }

    /// A try says this about its endpoint.
    pub(super) fn guard_judge(&mut self, now: Instant, permit: &Permit, verdict: Verdict) {
        if verdict == Verdict::Nothing {
            return;
        }
        self.time(now, permit);
        if let Some(index) = self.index_of(permit) {
            if let (Some(config), Some(own)) = (&self.policy.breaker, &permit.breaker) {
                let effect = self.slots[index].breaker.judge(now, own.epoch(), verdict, config);
                self.settle_endpoint(now, index, effect);
            }
            self.judge_outlier(now, index, verdict);
        }
        if let (Some(config), Some(whole)) = (&self.policy.service_breaker, &permit.service) {
            let effect = self.guard.service.judge(now, whole.epoch(), verdict, config);
            self.settle_service(now, effect);
        }
    }

    /// A try is over: whatever has not been counted by now says nothing.
    pub(super) fn guard_end(
        &mut self,
        index: Option<usize>,
        own: Option<breaker::Permit>,
        whole: Option<breaker::Permit>,
    ) {
        if let Some(own) = own {
            own.call.map(|call| self.guard.calls.settle(call));
            if let Some(index) = index {
                self.slots[index].breaker.end(own);
            }
        }
        if let Some(whole) = whole {
            whole.call.map(|call| self.guard.service_calls.settle(call));
            self.guard.service.end(whole);
        }
    }

    /// Where the slot of a permit is, unless its endpoint has gone.
    pub(super) fn index_of(&self, permit: &Permit) -> Option<usize> {
        let is_it = |slot: &Slot, id: SlotId| slot.id == id;
        if self.slots.get(permit.index).is_some_and(|slot| is_it(slot, permit.slot)) {
            return Some(permit.index);
        }
        self.slots.iter().position(|slot| is_it(slot, permit.slot))
    }

    /// Counts how long a try took to its head or failure, once.
    fn time(&mut self, now: Instant, permit: &Permit) {
        let took = now.since(permit.started);
        if let Some(limit) = self.policy.breaker.as_ref().and_then(|config| config.slow_calls)
            && let Some((call, epoch)) = permit.breaker.as_ref().and_then(|own| Some((own.call?, own.epoch())))
            && self.guard.calls.settle(call)
            && let Some(index) = self.index_of(permit)
        {
            self.time_endpoint(now, index, epoch, took >= limit.slower_than);
        }
        if let Some(limit) = self.policy.service_breaker.as_ref().and_then(|config| config.slow_calls)
            && let Some((call, epoch)) = permit.service.as_ref().and_then(|whole| Some((whole.call?, whole.epoch())))
            && self.guard.service_calls.settle(call)
        {
            self.time_service(now, epoch, took >= limit.slower_than);
        }
    }

    fn time_endpoint(&mut self, now: Instant, index: usize, epoch: u32, slow: bool) {
        let Some(config) = &self.policy.breaker else { return };
        let effect = self.slots[index].breaker.time(now, epoch, slow, config);
        self.settle_endpoint(now, index, effect);
    }

    fn time_service(&mut self, now: Instant, epoch: u32, slow: bool) {
        let Some(config) = &self.policy.service_breaker else { return };
        let effect = self.guard.service.time(now, epoch, slow, config);
        self.settle_service(now, effect);
    }

    fn settle_endpoint(&mut self, now: Instant, index: usize, effect: Option<Effect>) {
        let (Some(effect), Some(config)) = (effect, self.policy.breaker) else { return };
        let transition = match effect {
            Effect::Closed => {
                // What was measured while it was ill says nothing about it now.
                self.slots[index].estimate = Estimate::new(now, estimate_settings(&self.policy.balancing).1);
                self.slots[index].penalty = Penalty::default();
                Some(breaker::Transition::Closed)
            }
            Effect::Trips(why) => {
                let kept = self.is_needed(index);
                self.slots[index].breaker.trip(now, why, kept, &config, &mut self.guard.breaker_dice)
            }
        };
        if let Some(transition) = transition {
            self.events.push_back(breaker_event(&self.slots[index].endpoint, transition));
        }
    }

    fn settle_service(&mut self, now: Instant, effect: Option<Effect>) {
        let (Some(effect), Some(config)) = (effect, self.policy.service_breaker) else { return };
        let transition = match effect {
            Effect::Closed => Some(breaker::Transition::Closed),
            Effect::Trips(why) => self.guard.service.trip(now, why, false, &config, &mut self.guard.service_dice),
        };
        self.events.extend(transition.map(service_event));
    }

    fn judge_outlier(&mut self, now: Instant, index: usize, verdict: Verdict) {
        let Some(config) = self.policy.outliers else { return };
        if self.slots[index].endpoint.draining {
            return;
        }
        for why in self.slots[index].outlier.judge(verdict, &config).into_iter().flatten() {
            self.eject(now, index, why, &config);
        }
        let begins = config.looks_at_rates() || self.slots[index].outlier.is_ejected();
        if begins && self.guard.interval_ends.is_none() {
            self.guard.interval_ends = Some(now + config.interval);
        }
    }

    fn eject(&mut self, now: Instant, index: usize, why: Ejection, config: &Outliers) {
        let (all, ejected) = self.count_ejected();
        let crowd = Crowd { all, ejected, at_floor: self.is_needed(index) };
        let Slot { outlier, endpoint, .. } = &mut self.slots[index];
        if let Some(transition) = outlier.eject(now, why, crowd, config, &mut self.guard.outlier_dice) {
            self.events.push_back(outlier_event(endpoint, transition));
        }
    }

    /// Returns, findings and forgiveness, in this order, as Envoy has it.
    fn end_interval(&mut self, now: Instant, config: &Outliers) {
        let mut tallies = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            let (back, tally) = slot.outlier.on_interval(now);
            self.events.extend(back.map(|transition| outlier_event(&slot.endpoint, transition)));
            let present = !slot.endpoint.draining && !slot.outlier.is_ejected();
            tallies.push(if present { tally } else { Default::default() });
        }
        self.find_outliers(now, Origin::External, &tallies.iter().map(|tally| tally[0]).collect::<Vec<_>>(), config);
        if config.split_local_origin {
            self.find_outliers(now, Origin::Local, &tallies.iter().map(|tally| tally[1]).collect::<Vec<_>>(), config);
        }
        self.slots.iter_mut().for_each(|slot| slot.outlier.forgive(now, config));
        let marked = self.slots.iter().any(|slot| slot.outlier.is_marked());
        let heard = config.looks_at_rates() && tallies.iter().flatten().any(|tally| tally.all > 0);
        self.guard.interval_ends = (marked || heard).then(|| now + config.interval);
    }

    fn find_outliers(&mut self, now: Instant, origin: Origin, tallies: &[Tally], config: &Outliers) {
        let rates = Rates::of(tallies.iter().copied(), &config.success_rate);
        for (index, tally) in tallies.iter().enumerate() {
            if rates.leave_behind(*tally, &config.success_rate) {
                let (successes, of, mean_permille) = (tally.good, tally.all, rates.mean_permille());
                self.eject(now, index, Ejection::SuccessRate { successes, of, mean_permille, origin }, config);
            }
        }
        let heard = heard(tallies.iter().copied(), &config.failure_percentage);
        for (index, tally) in tallies.iter().enumerate() {
            if fails_too_often(*tally, heard, &config.failure_percentage) {
                let (failures, of) = (tally.all - tally.good, tally.all);
                self.eject(now, index, Ejection::FailurePercentage { failures, of, origin }, config);
            }
        }
    }

    /// Without it, fewer than the breakers' floor would serve. Looks at every endpoint only if there is a floor.
    fn is_needed(&self, index: usize) -> bool {
        let floor = self.policy.breaker.as_ref().map_or(0, |config| config.floor);
        let fewest = mutant!("floor-is-one-too-low", floor, floor.saturating_sub(1));
        floor > 0 && self.slots[index].serves() && self.serving() <= fewest
    }

    fn serving(&self) -> u32 {
        self.slots.iter().map(|slot| u32::from(slot.serves())).sum()
    }

    /// Endpoints that are not draining, and the ejected ones of them.
    fn count_ejected(&self) -> (u32, u32) {
        let here = self.slots.iter().filter(|slot| !slot.endpoint.draining);
        here.fold((0, 0), |(all, ejected), slot| (all + 1, ejected + u32::from(slot.outlier.is_ejected())))
    }
}

fn breaker_event(endpoint: &Endpoint, transition: breaker::Transition) -> BackendEvent {
    let endpoint = Arc::clone(&endpoint.name);
    match transition {
        breaker::Transition::Opened { until, why } => BackendEvent::BreakerOpened { endpoint, until, why },
        breaker::Transition::Refused { why } => BackendEvent::OpenRefused { endpoint, why },
        breaker::Transition::HalfOpened => BackendEvent::BreakerHalfOpen { endpoint },
        breaker::Transition::Closed => BackendEvent::BreakerClosed { endpoint },
    }
}

fn service_event(transition: breaker::Transition) -> BackendEvent {
    match transition {
        breaker::Transition::Opened { until, why } => BackendEvent::ServiceBreakerOpened { until, why },
        breaker::Transition::Refused { .. } => unreachable!("no floor keeps the breaker of a whole backend closed"),
        breaker::Transition::HalfOpened => BackendEvent::ServiceBreakerHalfOpen,
        breaker::Transition::Closed => BackendEvent::ServiceBreakerClosed,
    }
}

fn outlier_event(endpoint: &Endpoint, transition: outlier::Transition) -> BackendEvent {
    let endpoint = Arc::clone(&endpoint.name);
    match transition {
        outlier::Transition::Ejected { until, why } => BackendEvent::Ejected { endpoint, until, why },
        outlier::Transition::Refused { why } => BackendEvent::EjectionRefused { endpoint, why },
        outlier::Transition::Spared { why } => BackendEvent::EjectionSpared { endpoint, why },
        outlier::Transition::Returned => BackendEvent::Returned { endpoint },
    }
}

#[cfg(test)]
mod properties;
