//! What the requests of one backend share in one proxy: endpoints with their breakers, outlier counts and latency
//! estimates; balancer, retry budget, admission queue.
//!
//! ```text
//!   admission ─▶ pick: draining out ─▶ ejected, unhealthy, open out ─▶ tried out (if another is left) ─▶ balancer ─▶ permit
//!                                                                                                        │
//!   estimate, breaker, outlier ◀── judge (head, break, time-out, end of body) ◀─────────────────────────┘
//! ```

mod check;
mod client;
mod guard;
mod pick;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Admission, Asker, Claim, Entry, Left};
use crate::balance::{Balancer, Cost};
use crate::breaker::{self, Admits, Breaker, Trip};
use crate::ewma::{Decay, Estimate, Penalty};
use crate::health::Health;
use crate::mesh::{BackendName, BackendPolicy, Balancing, Endpoint};
use crate::outlier::{Ejection, Outlier};
use crate::rate_limit::RateLimit;
use crate::verdict::Verdict;
use crate::{Instant, ProbeResult, Rng};

pub use check::{ProbeId, ProbeOrder};
use guard::Guard;
pub use pick::Here;
use pick::Picks;
pub use view::EndpointView;

/// The shared state of one backend in one proxy: balancer, breakers, outlier ejection, budget, admission queue.
/// The shell keeps it behind a lock that is never held over an await.
#[derive(Debug)]
pub struct Backend {
    name: BackendName,
    policy: BackendPolicy,
    decay: Decay,
    slots: Vec<Slot>,
    next_slot: u32,
    next_ticket: u64,
    balancer: Balancer,
    admission: Admission,
    /// Made by the first request, which brings the time.
    rate: Option<RateLimit>,
    client: client::Client,
    guard: Guard,
    events: VecDeque<BackendEvent>,
    picks: Picks,
}

/// Names one waiting request, so that the shell can wake it. Unique per [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// A change of a backend's shared state, for history, logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BackendEvent {
    /// The endpoint's breaker opened until then.
    BreakerOpened {
        /// Whose.
        endpoint: Arc<str>,
        /// Refuses until then.
        until: Instant,
        /// What did it.
        why: Trip,
    },
    /// The breaker lets a probe through.
    BreakerHalfOpen {
        /// Whose.
        endpoint: Arc<str>,
    },
    /// The probe succeeded.
    BreakerClosed {
        /// Whose.
        endpoint: Arc<str>,
    },
    /// The breaker should have opened, but fewer than its floor would serve. Said once until its reason is over.
    OpenRefused {
        /// Whose.
        endpoint: Arc<str>,
        /// What should have done it.
        why: Trip,
    },
    /// The breaker of the whole backend opened until then.
    ServiceBreakerOpened {
        /// Refuses until then.
        until: Instant,
        /// What did it.
        why: Trip,
    },
    /// The breaker of the whole backend lets a probe through.
    ServiceBreakerHalfOpen,
    /// The breaker of the whole backend sends again.
    ServiceBreakerClosed,
    /// Ejected as an outlier.
    Ejected {
        /// Who.
        endpoint: Arc<str>,
        /// Until then at least.
        until: Instant,
        /// What did it.
        why: Ejection,
    },
    /// Should have been ejected, but too few would be left.
    EjectionRefused {
        /// Who.
        endpoint: Arc<str>,
        /// What should have done it.
        why: Ejection,
    },
    /// Should have been ejected, but the dice of `enforcing` said no.
    EjectionSpared {
        /// Who.
        endpoint: Arc<str>,
        /// What should have done it.
        why: Ejection,
    },
    /// Back from ejection.
    Returned {
        /// Who.
        endpoint: Arc<str>,
    },
    /// Its health checks failed: it is picked no more.
    Unhealthy {
        /// Who.
        endpoint: Arc<str>,
        /// Failures in a row.
        failures: u32,
        /// How the last one failed.
        last: ProbeResult,
    },
    /// Its health checks succeed: it is picked.
    Healthy {
        /// Who.
        endpoint: Arc<str>,
        /// For the first time.
        first: bool,
    },
    /// Too few endpoints are healthy: ejected and unhealthy ones are picked as well.
    Panics {
        /// How many are healthy.
        healthy: u32,
        /// How many there are.
        of: u32,
    },
    /// There are enough healthy ones again.
    Calmed,
    /// The own zone now takes this share of the load, the others the rest.
    ZoneShare {
        /// Of a hundred requests.
        own_percent: u32,
    },
    /// An adaptive limit on requests in flight has moved.
    LimitMoved {
        /// It was this.
        from: u32,
        /// It is this.
        to: u32,
        /// The least latency known.
        least: Duration,
        /// The latency now; `None`: the limit has gone down to measure the least.
        latest: Option<Duration>,
    },
}

/// One endpoint and its state.
#[derive(Debug)]
struct Slot {
    id: SlotId,
    endpoint: Arc<Endpoint>,
    pending: u32,
    estimate: Estimate,
    breaker: Breaker,
    outlier: Outlier,
    penalty: Penalty,
    /// New since then.
    since: Instant,
    /// In the proxy's own zone.
    is_near: bool,
    health: Option<Health>,
}

/// Names one stay of an endpoint: it never comes again, also if the endpoint does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotId(u32);

/// Leave to send one try to one endpoint.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit {
    slot: SlotId,
    /// Where the slot was at the pick.
    index: usize,
    started: Instant,
    breaker: Option<breaker::Permit>,
    /// Of the breaker of the whole.
    service: Option<breaker::Permit>,
}

/// The endpoint for one try.
#[derive(Debug)]
pub(crate) struct Picked<'b> {
    pub(crate) permit: Permit,
    pub(crate) endpoint: &'b Arc<Endpoint>,
    pub(crate) over: Option<(Arc<Endpoint>, u64, u64)>,
}

impl Permit {
    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }
}

impl Slot {
    fn new(id: SlotId, now: Instant, endpoint: Arc<Endpoint>, default_rtt: Duration) -> Self {
        Self {
            id,
            endpoint,
            pending: 0,
            estimate: Estimate::new(now, default_rtt),
            breaker: Breaker::new(),
            outlier: Outlier::default(),
            penalty: Penalty::default(),
            since: now,
            is_near: true,
            health: None,
        }
    }

    fn admits(&self, now: Instant, policy: &BackendPolicy) -> Admits {
        if self.endpoint.draining || self.outlier.is_ejected() || !self.is_healthy() {
            return Admits::No;
        }
        policy.breaker.as_ref().map_or(Admits::Yes, |config| self.breaker.admits(now, config))
    }

    fn cost(&self, now: Instant, policy: &BackendPolicy, decay: Decay) -> Cost {
        let value = match policy.balancing {
            Balancing::PeakEwma { .. } => self.estimate.at(now, decay).saturating_mul(u64::from(self.pending) + 1),
            Balancing::LeastRequest { .. } => self.requests(now, policy, decay),
            Balancing::RoundRobin | Balancing::Random | Balancing::Hash(_) => 0,
        };
        Cost { probe: self.admits(now, policy) == Admits::Probe, value }
    }
}

impl Backend {
    /// A backend without endpoints yet.
    #[must_use]
    pub fn new(name: BackendName, policy: BackendPolicy, rng: Rng) -> Self {
        Self {
            name,
            decay: Decay::new(estimate_settings(&policy.balancing).0),
            slots: Vec::new(),
            next_slot: 0,
            next_ticket: 0,
            balancer: Balancer::new(rng.fork("balance")),
            admission: Admission::new(Instant::ZERO, &policy.limits, rng.fork("limits")),
            rate: None,
            client: client::Client::new(&policy, &rng),
            guard: Guard::new(&rng),
            events: VecDeque::new(),
            picks: Picks::new(&rng),
            policy,
        }
    }

    /// Replaces the policy. Machines whose own settings did not change keep their state.
    pub fn set_policy(&mut self, now: Instant, policy: BackendPolicy) {
        let old = std::mem::replace(&mut self.policy, policy);
        if estimate_settings(&self.policy.balancing) != estimate_settings(&old.balancing) {
            let (decay, default_rtt) = estimate_settings(&self.policy.balancing);
            self.decay = Decay::new(decay);
            self.slots.iter_mut().for_each(|slot| slot.estimate = Estimate::new(now, default_rtt));
        }
        self.guard_by_policy(now, &old);
        self.renew_picks(now, &old);
        self.client.set_policy(&old, &self.policy);
        if self.policy.rate != old.rate {
            self.rate = None;
        }
        self.admission.set_limits(now, &old.limits, &self.policy.limits);
        self.tell_limit();
    }

    /// Replaces the endpoints. Those that stay (same address and identity) keep their state; of several that are the same
    /// the first counts.
    pub fn set_endpoints(&mut self, now: Instant, endpoints: &[Endpoint]) {
        let mut old: BTreeMap<_, Slot> = std::mem::take(&mut self.slots)
            .into_iter()
            .map(|slot| ((slot.endpoint.address, Arc::clone(&slot.endpoint.identity)), slot))
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        let default_rtt = estimate_settings(&self.policy.balancing).1;
        for endpoint in self.chosen(endpoints) {
            let key = (endpoint.address, Arc::clone(&endpoint.identity));
            if !seen.insert(key.clone()) {
                continue;
            }
            let slot = match old.remove(&key) {
                Some(slot) => Slot { endpoint: Arc::new(endpoint.clone()), ..slot },
                None => {
                    let id = SlotId(self.next_slot);
                    self.next_slot = self.next_slot.wrapping_add(1);
                    Slot::new(id, now, Arc::new(endpoint.clone()), default_rtt)
                }
            };
            self.slots.push(slot);
        }
        self.balancer.set_weights(self.slots.iter().map(|slot| slot.endpoint.weight).collect());
        self.place(now);
        self.uphold_floors(now);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &BackendName {
        &self.name
    }

    /// The policy in force.
    #[must_use]
    #[inline]
    pub fn policy(&self) -> &BackendPolicy {
        &self.policy
    }

    /// What changed since it was last asked: breaker transitions, ejections and returns. Drained by the shell after
    /// every call on this backend, and recorded.
    #[inline]
    pub fn poll_event(&mut self) -> Option<BackendEvent> {
        let event = self.events.pop_front()?;
        // Whatever it is, it may change who can be picked.
        self.picks.steady = None;
        Some(event)
    }

    /// A request in the queue that got its place, or was sent away, and must be woken: the shell calls its [`Exchange::step`](crate::Exchange::step)
    /// again. Drained by the shell after every call on this backend.
    #[inline]
    pub fn poll_granted(&mut self) -> Option<Ticket> {
        self.admission.poll_granted()
    }

    /// When to call [`Backend::on_deadline`], and why. Breakers need no timer (they half-open at the next pick), but for
    /// calls that become slow; outliers are found and return at the interval.
    #[must_use]
    #[inline]
    pub fn poll_deadline(&self) -> Option<(Instant, &'static str)> {
        let guard = self.guard_deadline();
        guard.into_iter().chain(self.picks.next_check.map(|at| (at, "health check"))).min_by_key(|(at, _)| *at)
    }

    /// The time that [`Backend::poll_deadline`] named has come.
    pub fn on_deadline(&mut self, now: Instant) {
        self.start_checks(now);
        self.guard_on_deadline(now);
    }

    /// The most requests in flight that are let in now.
    #[must_use]
    pub fn places(&self) -> u32 {
        self.admission.places(&self.policy.limits)
    }

    /// Requests with a place now, and requests waiting for one.
    #[must_use]
    pub fn load(&self) -> (u32, u32) {
        self.admission.load()
    }

    /// Tries that hold a permit, over all endpoints.
    #[cfg(any(test, feature = "harness"))]
    pub(crate) fn pending_total(&self) -> u32 {
        self.slots.iter().map(|slot| slot.pending).sum()
    }

    pub(crate) fn issue_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Takes a request of `caller` from the rate. `Err`: one too many, and when to come again.
    pub(crate) fn take_rate(&mut self, now: Instant, caller: Option<&str>) -> Result<(), Duration> {
        let Some(config) = &self.policy.rate else { return Ok(()) };
        match &mut self.rate {
            Some(rate) => rate.take(now, caller),
            rate @ None => rate.insert(RateLimit::new(now, config.clone())).take(now, caller),
        }
    }

    pub(crate) fn enter(&mut self, now: Instant, asker: Asker) -> Entry {
        let entry = self.admission.enter(now, asker, &self.policy.limits);
        self.tell_limit();
        entry
    }

    pub(crate) fn claim(&mut self, ticket: Ticket) -> Claim {
        self.admission.claim(ticket)
    }

    pub(crate) fn withdraw_from_queue(&mut self, now: Instant, ticket: Ticket) {
        self.admission.withdraw(now, ticket, &self.policy.limits);
    }

    /// A request gives the place back that it had since `since`.
    pub(crate) fn leave(&mut self, now: Instant, since: Instant, left: Left) {
        self.admission.leave(now, (since, left), &self.policy.limits);
        self.tell_limit();
    }

    fn tell_limit(&mut self) {
        let Some(moved) = self.admission.poll_moved().filter(|moved| moved.from != moved.to) else { return };
        self.events.push_back(BackendEvent::LimitMoved {
            from: moved.from,
            to: moved.to,
            least: Duration::from_nanos(moved.least),
            latest: moved.latest.map(Duration::from_nanos),
        });
    }

    /// The head of a try has come, and says this.
    pub(crate) fn on_head(&mut self, now: Instant, permit: &mut Permit, verdict: Verdict) {
        self.guard_head(now, permit, verdict);
        match verdict {
            Verdict::Success => {
                if let Some(slot) = find(&mut self.slots, permit) {
                    slot.estimate.observe(now, self.decay, now.since(permit.started));
                }
            }
            Verdict::Failure(_) => self.judge(now, permit, verdict, now.since(permit.started)),
            Verdict::Nothing => {}
        }
    }

    /// Counts what a try says about its endpoint. `waited` is how long its head took (zero if it came: how long a stream
    /// lived before it broke is no latency).
    pub(crate) fn judge(&mut self, now: Instant, permit: &Permit, verdict: Verdict, waited: Duration) {
        if verdict.is_failure()
            && let Some(slot) = find(&mut self.slots, permit)
        {
            let penalty = self.policy.candidates.penalty.as_ref();
            slot.estimate.penalise(now, self.decay, penalty, waited);
            if let Some(config) = penalty {
                slot.penalty.add(now, self.decay, config);
            }
        }
        self.guard_judge(now, permit, verdict);
    }

    /// A try is over: hands its permit back.
    pub(crate) fn end(&mut self, permit: Permit) {
        let index = self.index_of(&permit);
        if let Some(index) = index {
            let pending = &mut self.slots[index].pending;
            *pending = pending.checked_sub(1).expect("each permit counts once as pending");
        }
        self.guard_end(index, permit.breaker, permit.service);
    }
}

/// The slot of a permit, unless its endpoint has gone. Endpoints seldom change, so it is nearly always where it was.
fn find<'s>(slots: &'s mut [Slot], permit: &Permit) -> Option<&'s mut Slot> {
    if slots.get(permit.index).is_some_and(|slot| slot.id == permit.slot) {
        return slots.get_mut(permit.index);
    }
    slots.iter_mut().find(|slot| slot.id == permit.slot)
}

/// Decay and first estimate. Policies that do not look at estimates keep them by the defaults.
fn estimate_settings(balancing: &Balancing) -> (Duration, Duration) {
    match *balancing {
        Balancing::PeakEwma { decay, default_rtt, .. } => (decay, default_rtt),
        Balancing::LeastRequest { .. } | Balancing::RoundRobin | Balancing::Random | Balancing::Hash(_) => {
            (Duration::from_secs(10), Duration::from_millis(30))
        }
    }
}
