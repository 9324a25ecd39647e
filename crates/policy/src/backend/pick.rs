//! The endpoint for a try.
//!
//! ```text
//!   endpoints ─▶ subset (when they are set) ─▶ zone by dice ─▶ usable? ─▶ not tried yet, if such is left ─▶ balancer or table
//!                                                               │
//!                  not draining, breaker admits, and: healthy and not ejected, or its tier panics
//! ```
//!
//! Who is left over is looked for in four rounds: fresh in the zone, fresh anywhere, tried in the zone, tried anywhere.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{Backend, BackendEvent, Permit, Picked, ProbeOrder, Slot, SlotId};
use crate::balance::{Balancer, Choice};
use crate::breaker::Admits;
use crate::consistent::{Load, Table};
use crate::ewma::Decay;
use crate::health::Health;
use crate::mesh::{BackendPolicy, Balancing, Endpoint, SlowStart, WhenDown};
use crate::powers::{ONE, power};
use crate::reply::Reason;
use crate::zones::{Spill, Tier, spill};
use crate::{Instant, Rng, slow_start, subset};

/// Where a proxy is, and which one it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// Its zone; empty: unknown, so that zones do not matter to it.
    pub zone: Arc<str>,
    /// Its id, other than that of any other proxy: it decides which subset of endpoints it uses.
    pub proxy: Arc<str>,
}

/// What picks have between them.
#[derive(Debug)]
pub(super) struct Picks {
    here: Here,
    /// The key's table, under hashing.
    table: Option<Table>,
    zone_dice: Rng,
    /// What was told last.
    told: Spill,
    /// What holds as long as nothing happens; `None`: it must be measured.
    pub(super) steady: Option<Spill>,
    /// Until then some endpoint is new.
    warm_until: Option<Instant>,
    pub(super) checks: VecDeque<ProbeOrder>,
    pub(super) check_number: u64,
    pub(super) next_check: Option<Instant>,
    pub(super) check_dice: Rng,
}

impl Picks {
    pub(super) fn new(rng: &Rng) -> Self {
        Self {
            here: Here::default(),
            table: None,
            zone_dice: rng.fork("zones"),
            told: Spill::NONE,
            steady: None,
            warm_until: None,
            checks: VecDeque::new(),
            check_number: 0,
            next_check: None,
            check_dice: rng.fork("health checks"),
        }
    }
}

impl Slot {
    /// Requests in flight, and what failures count as.
    pub(super) fn requests(&self, now: Instant, policy: &BackendPolicy, decay: Decay) -> u64 {
        let penalty = policy.candidates.penalty.as_ref();
        u64::from(self.pending) + penalty.map_or(0, |config| self.penalty.requests(now, decay, config))
    }

    /// Whether it may be picked, if its tier panics or not.
    fn is_usable(&self, now: Instant, policy: &BackendPolicy, panics: bool) -> bool {
        if !panics {
            return self.admits(now, policy) != Admits::No;
        }
        let breaker = policy.breaker.as_ref();
        !self.endpoint.draining && breaker.is_none_or(|config| self.breaker.admits(now, config) != Admits::No)
    }

    fn tier(&self, zones: bool) -> usize {
        usize::from(zones && !self.is_near)
    }

    /// Its share while it is new, in Q32.
    fn share(&self, now: Instant, slow_start: Option<&SlowStart>) -> u64 {
        slow_start.map_or(ONE, |config| slow_start::share(config, now.since(self.since)))
    }
}

impl Backend {
    /// The same, in a proxy that is `here`. Without this it is nowhere, and every endpoint as near as any other.
    #[must_use]
    pub fn at(mut self, here: Here) -> Self {
        self.picks.here = here;
        self
    }

    /// Those of the endpoints that this proxy uses.
    pub(super) fn chosen<'e>(&self, endpoints: &'e [Endpoint]) -> Vec<&'e Endpoint> {
        let all = endpoints.iter();
        let Some(size) = self.policy.candidates.subset else { return all.collect() };
        let marks: Vec<(SocketAddr, bool)> = endpoints.iter().map(|each| (each.address, each.draining)).collect();
        let chosen = subset::choose(&self.picks.here.proxy, size, &marks);
        all.zip(chosen).filter_map(|(endpoint, chosen)| chosen.then_some(endpoint)).collect()
    }

    /// The endpoints are others than before.
    pub(super) fn place(&mut self, now: Instant) {
        for slot in &mut self.slots {
            slot.is_near = slot.endpoint.zone == self.picks.here.zone;
            if self.policy.health.is_some() && slot.health.is_none() {
                slot.health = Some(Health::new(now));
            }
        }
        self.build_table();
        self.picks.steady = None;
        self.picks.next_check = self.next_check();
        if self.slots.iter().any(|slot| slot.since == now) {
            self.warm_up(now);
        }
    }

    /// Some endpoint is new.
    pub(super) fn warm_up(&mut self, now: Instant) {
        let window = self.policy.candidates.slow_start.as_ref().map(|config| config.window);
        self.picks.warm_until = window.map(|window| now + window).max(self.picks.warm_until);
    }

    /// The policy is another than before.
    pub(super) fn renew_picks(&mut self, now: Instant, old: &BackendPolicy) {
        if self.policy.health != old.health {
            let fresh = || self.policy.health.is_some().then(|| Health::new(now));
            self.slots.iter_mut().for_each(|slot| slot.health = fresh());
            self.picks.next_check = self.next_check();
        }
        if self.policy.balancing != old.balancing {
            self.picks.table = None;
            self.build_table();
        }
        self.picks.steady = None;
    }

    fn build_table(&mut self) {
        let Balancing::Hash(hashing) = &self.policy.balancing else { return };
        let members: Vec<(SocketAddr, u32)> =
            self.slots.iter().map(|slot| (slot.endpoint.address, slot.endpoint.weight)).collect();
        if self.picks.table.as_ref().is_none_or(|table| !table.is_of(&members)) {
            self.picks.table = Some(Table::new(hashing.table, members));
        }
    }

    /// The endpoint for a try, avoiding those in `tried` if another is available. `hash`: the key's.
    pub(crate) fn pick(&mut self, now: Instant, tried: &[SlotId], hash: Option<u64>) -> Result<Picked<'_>, Reason> {
        if self.is_shut(now) {
            return Err(Reason::BreakerOpen);
        }
        let spill = self.measure(now);
        let Some(choice) = self.choose(now, tried, hash, spill) else {
            let all_leave = self.slots.iter().all(|slot| slot.endpoint.draining);
            return Err(if all_leave { Reason::NoEndpoints } else { Reason::NoneAvailable });
        };
        let slots = &self.slots;
        let over = choice.over.map(|(other, own, its)| (Arc::clone(&slots[other].endpoint), own, its));
        let (breaker, service) = self.take_permits(now, choice.index);
        let slot = &mut self.slots[choice.index];
        slot.pending += 1;
        let permit = Permit { slot: slot.id, index: choice.index, started: now, breaker, service };
        Ok(Picked { permit, endpoint: &slot.endpoint, over })
    }

    fn choose(&mut self, now: Instant, tried: &[SlotId], hash: Option<u64>, spill: Spill) -> Option<Choice> {
        let zones = self.minds_zones();
        let Self { slots, policy, decay, balancer, picks, .. } = self;
        let (slots, policy) = (&slots[..], &*policy);
        let usable = |index: usize| {
            let slot: &Slot = &slots[index];
            slot.is_usable(now, policy, spill.panics[slot.tier(zones)])
        };
        let keyed = match (&policy.balancing, &picks.table, hash) {
            (Balancing::Hash(hashing), Some(table), Some(hash)) => Some((hashing, table, hash)),
            _ => None,
        };
        if let Some((hashing, table, hash)) = keyed
            && hashing.when_down == WhenDown::Refuse
        {
            return table.home(hash).filter(|&home| usable(home)).map(|index| Choice { index, over: None });
        }
        let slow_start = policy.candidates.slow_start.as_ref();
        let slow_start = slow_start.filter(|_| picks.warm_until.is_some_and(|until| now < until));
        let mut select = |eligible: &dyn Fn(usize) -> bool| match keyed {
            Some((hashing, table, hash)) => {
                let load = |index: usize| {
                    let slot: &Slot = &slots[index];
                    Load { pending: slot.pending, weight: slot.endpoint.weight }
                };
                let index = table.pick(hash, slots.len(), hashing.bound_percent, eligible, load)?;
                Some(Choice { index, over: None })
            }
            None => balance(balancer, slots, policy, (now, *decay), slow_start, eligible),
        };
        let tier = match (zones, spill.first_percent) {
            (false, _) => None,
            (true, 100) => Some(0),
            (true, 0) => Some(1),
            (true, percent) => {
                // A key stays on its side.
                let roll = hash.map_or_else(|| picks.zone_dice.below(100), |hash| (hash >> 32) % 100);
                Some(usize::from(roll >= u64::from(percent)))
            }
        };
        let there = |index: usize| tier.is_none_or(|tier| slots[index].tier(zones) == tier);
        let fresh = |index: usize| mutant!("retry-on-the-same-endpoint", !tried.contains(&slots[index].id), true);
        let mut found = None;
        if !tried.is_empty() {
            found = select(&|index| fresh(index) && there(index) && usable(index));
            if tier.is_some() && found.is_none() {
                found = select(&|index| fresh(index) && usable(index));
            }
        }
        if found.is_none() {
            found = select(&|index| there(index) && usable(index));
        }
        if tier.is_some() && found.is_none() {
            found = select(&usable);
        }
        found
    }

    fn minds_zones(&self) -> bool {
        self.policy.candidates.zones.is_some() && !self.picks.here.zone.is_empty()
    }

    /// How load is shared between zones, and who panics.
    fn measure(&mut self, now: Instant) -> Spill {
        let candidates = &self.policy.candidates;
        let (zones, panic_percent) = (self.minds_zones(), candidates.panic_percent);
        if !zones && panic_percent == 0 {
            return Spill::NONE;
        }
        if let Some(steady) = self.picks.steady.filter(|_| self.events.is_empty()) {
            return steady;
        }
        let mut tiers = [Tier::default(); 2];
        let mut calm = true;
        for slot in self.slots.iter().filter(|slot| !slot.endpoint.draining) {
            let admits = slot.admits(now, &self.policy);
            calm &= admits == Admits::Yes;
            let tier = &mut tiers[slot.tier(zones)];
            tier.all += 1;
            tier.healthy += u32::from(slot.is_healthy() && !slot.outlier.is_ejected());
            tier.available += u32::from(admits != Admits::No);
        }
        let spill = spill(candidates.zones.as_ref().filter(|_| zones), panic_percent, tiers);
        self.tell(spill, tiers);
        // Only events end a calm; breakers half-open by time.
        self.picks.steady = calm.then_some(spill);
        spill
    }

    fn tell(&mut self, spill: Spill, tiers: [Tier; 2]) {
        let told = std::mem::replace(&mut self.picks.told, spill);
        if told.first_percent != spill.first_percent {
            self.events.push_back(BackendEvent::ZoneShare { own_percent: spill.first_percent });
        }
        match (told.panics.contains(&true), spill.panics.contains(&true)) {
            (false, true) => {
                let [first, second] = tiers;
                let (healthy, of) = (first.healthy + second.healthy, first.all + second.all);
                self.events.push_back(BackendEvent::Panics { healthy, of });
            }
            (true, false) => self.events.push_back(BackendEvent::Calmed),
            (true, true) | (false, false) => {}
        }
    }
}

/// By cost, turn or dice.
fn balance(
    balancer: &mut Balancer,
    slots: &[Slot],
    policy: &BackendPolicy,
    (now, decay): (Instant, Decay),
    slow_start: Option<&SlowStart>,
    eligible: impl Fn(usize) -> bool,
) -> Option<Choice> {
    let cost = |index: usize| slots[index].cost(now, policy, decay);
    let weight = |index: usize| {
        let slot = &slots[index];
        u128::from(slot.endpoint.weight) * u128::from(slot.share(now, slow_start))
    };
    let takes_turns = slow_start.is_some() || balancer.is_uneven();
    match policy.balancing {
        Balancing::PeakEwma { choices, .. } if slow_start.is_some() => {
            balancer.least_of_likely(choices, eligible, cost, |index| slots[index].share(now, slow_start))
        }
        Balancing::RoundRobin if takes_turns => balancer.by_credit(eligible, weight),
        Balancing::LeastRequest { .. } if takes_turns => {
            let bias = u64::from(policy.candidates.request_bias_permille);
            balancer.by_credit(eligible, |index| {
                let requests = slots[index].requests(now, policy, decay).saturating_add(1);
                ((weight(index) * u128::from(power(1, requests, bias))) >> 32).max(1)
            })
        }
        Balancing::PeakEwma { .. }
        | Balancing::RoundRobin
        | Balancing::LeastRequest { .. }
        | Balancing::Random
        | Balancing::Hash(_) => balancer.pick(&policy.balancing, eligible, cost),
    }
}
