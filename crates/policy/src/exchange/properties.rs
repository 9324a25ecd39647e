//! Many requests on one backend, in any order of events, against what can be seen from outside.
//!
//! The model knows only what the shell knows: the steps it was told, the events it drained, the clock. It checks that
//! every request ends exactly once, that places and permits never leak, and that tries, retries and hedges alike, stay within
//! deadline, number, budgets and the choice of endpoints.
//!
//! The same harness is what `fuzz/` runs: each byte is a choice.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::backend::{Backend, Ticket};
use crate::mesh::{BackendName, BackendPolicy, Endpoint, Limits, Queue, RetryBreaker};
use crate::priority::Class;
use crate::reply::Reason;
use crate::verdict::judge_head;
use crate::{BackendEvent, Rng};

mod cases;

use cases::{Choices, Op, PODS, VARIANTS, fault, policy, route};

fn endpoint(n: u8, draining: bool) -> Endpoint {
    Endpoint {
        address: ([10, 0, 0, n], 80).into(),
        name: format!("pod-{n}").into(),
        zone: Arc::from(""),
        weight: 1,
        identity: Arc::from(""),
        draining,
    }
}

fn rank(kind: u8, deadline_ms: Option<u64>) -> Rank {
    Rank { class: Class::ALL[usize::from(kind % 3)], key: deadline_ms.map_or(7, |ms| ms as u32) }
}

/// What the shell knows of a request.
struct Live {
    exchange: Exchange,
    idempotent: bool,
    /// The caller's own.
    deadline: Option<Instant>,
    retries: u32,
    /// The tries in flight, and those whose head was told and not yet decided about.
    trying: BTreeSet<AttemptNumber>,
    headed: BTreeSet<AttemptNumber>,
    answering: Option<AttemptNumber>,
    waits: Option<Instant>,
    queued: bool,
    sent: BTreeSet<AttemptNumber>,
    /// The highest number of a try, sent or not.
    begun: AttemptNumber,
    /// Retries and hedges decided.
    decided: [u32; 2],
    tried: BTreeSet<Arc<str>>,
    told: u32,
    quit: bool,
}

/// What the shell knows of an endpoint.
#[derive(Clone, Copy, PartialEq)]
enum Light {
    Closed,
    Open(Instant),
    HalfOpen,
}

struct World {
    now: Instant,
    backend: Backend,
    live: BTreeMap<Ticket, Live>,
    /// Draining?
    endpoints: BTreeMap<Arc<str>, bool>,
    lights: BTreeMap<Arc<str>, Light>,
    /// Of the breaker of the whole.
    service: Light,
    /// The settings or the endpoints change: breakers may close without a probe.
    changing: bool,
    ejected: BTreeSet<Arc<str>>,
    /// Times of first tries and of retries decided, since the budget's settings hold.
    first_tries: Vec<Instant>,
    retries: Vec<Instant>,
    purse: Purse,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64, limits: Limits, variant: u8) -> Self {
        let name = BackendName::new("shop", "cart", 80);
        let mut world = Self {
            now: Instant::from_nanos(1_000_000),
            backend: Backend::new(name, policy(variant, limits), Rng::from_seed(seed)),
            live: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            lights: BTreeMap::new(),
            service: Light::Closed,
            changing: false,
            ejected: BTreeSet::new(),
            first_tries: Vec::new(),
            retries: Vec::new(),
            purse: Purse::default(),
            trace: Vec::new(),
        };
        world.set_endpoints(0xff, 0);
        world
    }

    fn set_endpoints(&mut self, present: u8, draining: u8) {
        let list: Vec<_> =
            (0..PODS).filter(|n| present >> n & 1 == 1).map(|n| endpoint(n, draining >> n & 1 == 1)).collect();
        self.backend.set_endpoints(self.now, &list);
        self.endpoints = list.iter().map(|endpoint| (Arc::clone(&endpoint.name), endpoint.draining)).collect();
        let here = &self.endpoints;
        self.lights.retain(|name, _| here.contains_key(name));
        self.ejected.retain(|name| here.contains_key(name));
        self.changing = true;
        self.drain_events();
        self.changing = false;
        let here = &self.endpoints;
        // An endpoint that comes back is another one.
        self.live.values_mut().for_each(|live| live.tried.retain(|name| here.contains_key(name)));
    }

    fn set_policy(&mut self, policy: BackendPolicy) {
        let old = self.backend.policy().clone();
        if old.budget != policy.budget {
            self.first_tries.clear();
            self.retries.clear();
        }
        if old.retry_limits != policy.retry_limits {
            // Fewer machines than these may begin anew; a full purse refuses nothing that they allow.
            self.purse = Purse::default();
        }
        let another = old.breaker != policy.breaker;
        self.backend.set_policy(self.now, policy);
        self.changing = true;
        self.drain_events();
        self.changing = false;
        assert!(!another || self.lights.values().all(|light| *light == Light::Closed), "another breaker begins closed");
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Begin { idempotent, deadline_ms, route: kind, fault: of } => {
                let (timeouts, retry) = route(kind);
                let deadline = deadline_ms.map(|ms| self.now + Duration::from_millis(ms));
                let facts = RequestFacts {
                    idempotent,
                    deadline,
                    rank: rank(kind, deadline_ms),
                    caller: None,
                    hash: deadline_ms,
                };
                let mut exchange = Exchange::begin(self.now, &mut self.backend, facts, timeouts, retry.as_ref());
                if let Some(fault) = fault(of) {
                    exchange.inject(&fault);
                }
                let ticket = exchange.ticket();
                let live = Live {
                    exchange,
                    idempotent,
                    deadline,
                    retries: retry.map_or(0, |retry| retry.retries),
                    trying: BTreeSet::new(),
                    headed: BTreeSet::new(),
                    answering: None,
                    waits: None,
                    queued: false,
                    sent: BTreeSet::new(),
                    begun: 0,
                    decided: [0, 0],
                    tried: BTreeSet::new(),
                    told: 0,
                    quit: false,
                };
                assert!(self.live.insert(ticket, live).is_none(), "tickets are unique");
                self.drive(ticket);
            }
            Op::Head { which, status, grpc, retry_after_s, replayable } => {
                let Some(ticket) = self.nth(which, |live| !live.trying.is_empty()) else { return };
                let retry_after = retry_after_s.map(Duration::from_secs);
                let answer = Answer { status, grpc, retry_after, replayable };
                self.purse.failures += u64::from(judge_head(answer).is_failure());
                self.report(ticket, which, |live, now, backend, number| {
                    live.headed.insert(number);
                    live.exchange.on_head(now, backend, number, answer);
                });
            }
            Op::Fail { which, failure, replayable } => {
                let Some(ticket) = self.nth(which, |live| !live.trying.is_empty()) else { return };
                let live = self.live.get_mut(&ticket).expect("just found");
                live.quit |= failure == Failure::CallerGone;
                self.purse.failures += u64::from(failure != Failure::CallerGone);
                self.report(ticket, which, |live, now, backend, number| {
                    live.exchange.on_failure(now, backend, number, failure, replayable);
                });
                let over = failure != Failure::CallerGone || !self.live.contains_key(&ticket);
                assert!(over, "who has gone gets no answer");
            }
            Op::BodyEnd { which, ended } => {
                let Some(ticket) = self.nth(which, |live| live.answering.is_some()) else { return };
                let live = self.live.get_mut(&ticket).expect("just found");
                live.exchange.on_body_end(self.now, &mut self.backend, ended);
                live.answering = None;
                self.drive(ticket);
                assert!(!self.live.contains_key(&ticket), "the end of the body is the end of the request");
            }
            Op::Cancel { which } => {
                let Some(ticket) = self.nth(which, |_| true) else { return };
                self.cancel(ticket);
            }
            Op::Advance { micros } => self.advance(self.now + Duration::from_micros(micros)),
            Op::Endpoints { present, draining } => self.set_endpoints(present, draining),
            Op::Policy { variant, limits } => self.set_policy(policy(variant, limits)),
        }
        self.settle();
    }

    fn cancel(&mut self, ticket: Ticket) {
        let live = self.live.get_mut(&ticket).expect("the caller found it");
        live.quit = true;
        live.exchange.cancel(self.now, &mut self.backend);
        self.drive(ticket);
        assert!(!self.live.contains_key(&ticket), "a cancelled request is over");
    }

    fn nth(&self, which: usize, fits: impl Fn(&Live) -> bool) -> Option<Ticket> {
        let fitting: Vec<_> = self.live.iter().filter(|(_, live)| fits(live)).map(|(ticket, _)| *ticket).collect();
        (!fitting.is_empty()).then(|| fitting[which % fitting.len()])
    }

    /// Reports about one of its tries.
    fn report(
        &mut self,
        ticket: Ticket,
        which: usize,
        report: impl FnOnce(&mut Live, Instant, &mut Backend, AttemptNumber),
    ) {
        let live = self.live.get_mut(&ticket).expect("the caller found it");
        let number = *live.trying.iter().nth(which / 7 % live.trying.len()).expect("the caller found one");
        live.trying.remove(&number);
        report(live, self.now, &mut self.backend, number);
        self.drive(ticket);
    }

    /// Jumps from deadline to deadline, as a shell's timers do.
    fn advance(&mut self, to: Instant) {
        loop {
            let request = self.live.iter().filter_map(|(ticket, live)| Some((live.waits?, *ticket))).min();
            let shared = self.backend.poll_deadline();
            let next = [request.map(|(at, _)| at), shared.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= to) else { break };
            self.now = self.now.max(next);
            if shared.is_some_and(|(at, _)| at <= self.now) {
                self.backend.on_deadline(self.now);
                assert!(self.backend.poll_deadline().is_none_or(|(at, _)| at > self.now), "a deadline passes");
            } else if let Some((_, ticket)) = request {
                let live = self.live.get_mut(&ticket).expect("just found");
                let replay = match ticket.0 % 8 {
                    0 => Replay::No,
                    1 => Replay::Again,
                    _ => Replay::AtOnce,
                };
                live.exchange.on_deadline(self.now, &mut self.backend, replay);
                self.drive(ticket);
                let passed = self.live.get(&ticket).and_then(|live| live.waits).is_none_or(|at| at > self.now);
                assert!(passed, "a wait passes");
            }
            self.settle();
        }
        self.now = to;
    }

    /// Does what one exchange says until it waits.
    fn drive(&mut self, ticket: Ticket) {
        loop {
            self.drain_events();
            self.read_notes(ticket);
            let live = self.live.get_mut(&ticket).expect("driven while it lives");
            let step = live.exchange.step(self.now, &mut self.backend);
            self.read_notes(ticket);
            let live = self.live.get_mut(&ticket).expect("driven while it lives");
            self.trace.push(format!("{:?} {:?} {step:?}", self.now, ticket));
            live.queued = false;
            live.waits = None;
            match step {
                Step::Try(attempt) => {
                    assert!(live.answering.is_none() && live.told == 0, "no try after the answer");
                    assert!(live.sent.insert(attempt.number), "each try is sent once");
                    if live.begun == 0 {
                        self.first_tries.push(self.now);
                        self.purse.first_try(&self.backend);
                    }
                    live.begun = live.begun.max(attempt.number);
                    let [retries, hedges] = live.decided;
                    assert!(live.begun <= 1 + retries + hedges, "tries stay within 1 + retries + hedges");
                    let deadlines = [live.deadline, live.exchange.deadline()];
                    assert!(deadlines.iter().flatten().all(|at| self.now < *at), "no try after the deadline");
                    assert!(attempt.until.is_none_or(|until| self.now < until), "no try that is over");
                    live.trying.insert(attempt.number);
                    assert!(live.trying.len() <= 3, "as many at once as hedging says");
                    let tried = live.tried.clone();
                    live.tried.insert(Arc::clone(&attempt.endpoint.name));
                    self.drain_events();
                    self.check_choice(&attempt.endpoint.name, &tried);
                    assert!(!matches!(self.service, Light::Open(_)), "no try while the whole is refused");
                }
                Step::Wait { until, why } => {
                    live.queued = why == "queue";
                    live.waits = until;
                    assert_eq!(why == "try", !live.trying.is_empty());
                    assert_eq!(why == "answer", live.answering.is_some());
                    assert!(live.headed.is_empty(), "each head is decided about at once");
                    return;
                }
                Step::Cancel(number) => {
                    let headed = live.headed.remove(&number) || live.answering.take_if(|it| *it == number).is_some();
                    assert!(live.trying.remove(&number) || headed, "what is cancelled runs");
                }
                Step::Forward(number) => {
                    assert!(live.headed.remove(&number), "the answer that is passed on has come");
                    assert!(live.trying.is_empty(), "the others were cancelled first");
                    live.told += 1;
                    live.answering = Some(number);
                }
                Step::Reply(reply) => {
                    assert!(live.trying.is_empty(), "whoever replies has stopped the tries");
                    assert!(reply.reason != Reason::Throttled || live.begun == 0, "in place of the first try");
                    live.told += 1;
                    if matches!(reply.reason, Reason::NoEndpoints | Reason::NoneAvailable) {
                        let healthy: Vec<_> = self.healthy().cloned().collect();
                        assert!(healthy.is_empty(), "{} although {healthy:?} serve", reply.reason);
                    }
                    assert!(reply.reason != Reason::BreakerOpen || self.service != Light::Closed);
                }
                Step::Done => {
                    assert!(live.trying.is_empty() && live.headed.is_empty(), "no request ends under its tries");
                    assert_eq!(live.exchange.step(self.now, &mut self.backend), Step::Done, "done stays done");
                    assert!(live.told == 1 || live.quit && live.told <= 1, "answered {} times", live.told);
                    self.live.remove(&ticket);
                    return;
                }
            }
        }
    }

    /// What the exchange decided about repetitions, against budgets and limits.
    fn read_notes(&mut self, ticket: Ticket) {
        let live = self.live.get_mut(&ticket).expect("driven while it lives");
        while let Some(injected) = live.exchange.poll_injected() {
            if live.begun == 0 {
                self.first_tries.push(self.now);
                self.purse.first_try(&self.backend);
            }
            live.begun = live.begun.max(injected.attempt);
        }
        while let Some(note) = live.exchange.poll_note() {
            self.trace.push(format!("{:?} {ticket:?} note {note:?}", self.now));
            match note {
                RetryNote::Retry { wait, retry, .. } => {
                    live.decided[0] += 1;
                    assert!(retry == live.decided[0] && retry <= live.retries, "retries are counted");
                    let until = self.now + wait;
                    assert!(
                        live.exchange.deadline().is_none_or(|deadline| until < deadline),
                        "none passes the deadline"
                    );
                }
                RetryNote::Hedge { hedge, of, .. } => {
                    live.decided[1] += 1;
                    assert!(hedge == live.decided[1] && hedge <= of, "hedges are counted");
                    assert!(live.idempotent, "none is asked for others");
                    assert!(ticket.0 % 8 > 1, "its body was there as a whole");
                }
                RetryNote::Exhausted
                | RetryNote::OverBudget
                | RetryNote::HedgeOverBudget
                | RetryNote::Throttled
                | RetryNote::NotRepeatable
                | RetryNote::NoTime => continue,
            }
            self.retries.push(self.now);
            if self.backend.policy().budget.is_some() {
                check_budget(self.now, &self.backend, &self.first_tries, &self.retries);
            }
            self.purse.retry(&self.backend);
        }
    }

    /// Endpoints that are certainly available.
    fn healthy(&self) -> impl Iterator<Item = &Arc<str>> {
        self.endpoints
            .iter()
            .filter(|(name, draining)| {
                let light = self.lights.get(*name).copied().unwrap_or(Light::Closed);
                !**draining && !self.ejected.contains(*name) && light == Light::Closed
            })
            .map(|(name, _)| name)
    }

    fn check_choice(&self, chosen: &Arc<str>, tried: &BTreeSet<Arc<str>>) {
        assert_eq!(self.endpoints.get(chosen), Some(&false), "no try to a draining or unknown endpoint");
        assert!(!self.ejected.contains(chosen), "no try to an ejected endpoint");
        if let Some(Light::Open(until)) = self.lights.get(chosen) {
            panic!("a try at {:?} to {chosen}, open until {until:?}", self.now);
        }
        if tried.contains(chosen) {
            let other = self.healthy().find(|name| !tried.contains(*name));
            assert_eq!(other, None, "{chosen} has been tried already");
        }
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.backend.poll_event() {
            self.trace.push(format!("{:?} {event:?}", self.now));
            match event {
                BackendEvent::BreakerOpened { endpoint, until, .. } => {
                    assert!(until > self.now);
                    self.lights.insert(endpoint, Light::Open(until));
                }
                BackendEvent::BreakerHalfOpen { endpoint } => {
                    let before = self.lights.insert(endpoint, Light::HalfOpen);
                    assert!(matches!(before, Some(Light::Open(until)) if until <= self.now), "half-open after open");
                }
                BackendEvent::BreakerClosed { endpoint } => {
                    let before = self.lights.insert(endpoint, Light::Closed);
                    let open = matches!(before, Some(Light::HalfOpen | Light::Open(_)));
                    assert!(before == Some(Light::HalfOpen) || self.changing && open, "closed after a probe only");
                }
                BackendEvent::OpenRefused { endpoint, .. } => {
                    assert!(self.healthy().any(|name| *name == endpoint), "it serves");
                    let floor = self.backend.policy().breaker.expect("it has a breaker").floor;
                    assert!(self.healthy().count() <= floor as usize, "it is needed");
                }
                BackendEvent::ServiceBreakerOpened { until, .. } => {
                    assert!(until > self.now);
                    self.service = Light::Open(until);
                }
                BackendEvent::ServiceBreakerHalfOpen => {
                    assert!(matches!(self.service, Light::Open(until) if until <= self.now), "half-open after open");
                    self.service = Light::HalfOpen;
                }
                BackendEvent::ServiceBreakerClosed => {
                    assert!(self.service == Light::HalfOpen || self.changing, "closed after a probe only");
                    self.service = Light::Closed;
                }
                BackendEvent::Ejected { endpoint, .. } => {
                    assert!(self.ejected.insert(endpoint), "ejected once");
                }
                BackendEvent::Returned { endpoint } => {
                    assert!(self.ejected.remove(&endpoint), "only the ejected return");
                }
                BackendEvent::EjectionRefused { .. } | BackendEvent::EjectionSpared { .. } => {}
                BackendEvent::Unhealthy { .. }
                | BackendEvent::Healthy { .. }
                | BackendEvent::Panics { .. }
                | BackendEvent::Calmed
                | BackendEvent::ZoneShare { .. } => unreachable!("these policies have no health checks and no zones"),
                BackendEvent::LimitMoved { from, to, .. } => assert_ne!(from, to, "a move moves"),
            }
        }
    }

    /// Wakes whom the backend woke, then looks at the invariants.
    fn settle(&mut self) {
        self.drain_events();
        while let Some(ticket) = self.backend.poll_granted() {
            assert!(self.live[&ticket].queued, "only who waits is granted a place");
            let first = self.live.iter().find(|(_, live)| live.queued).map(|(ticket, _)| *ticket);
            let by_turn = self.backend.policy().limits.queue == Queue::default();
            assert!(!by_turn || first == Some(ticket), "first come, first served");
            // Some callers leave just between getting their place and being woken.
            if (ticket.0 + self.now.as_nanos() / 1000).is_multiple_of(4) {
                self.cancel(ticket);
            } else {
                self.drive(ticket);
            }
        }
        self.drain_events();
        let queued = self.live.values().filter(|live| live.queued).count() as u32;
        let placed = self.live.len() as u32 - queued;
        let tries = self.live.values().map(|live| live.trying.len() + usize::from(live.answering.is_some()));
        assert!(self.backend.pending_total() as usize <= tries.sum(), "each permit has its try");
        assert_eq!(self.backend.load(), (placed, queued), "each request has one place");
        assert!(queued == 0 || placed >= self.backend.places(), "nobody waits while a place is free");
        assert!(self.backend.places() <= self.backend.policy().limits.in_flight);
        if let Some(outliers) = self.backend.policy().outliers {
            let all = self.endpoints.values().filter(|draining| !**draining).count();
            let serving =
                self.endpoints.iter().filter(|(name, draining)| !**draining && !self.ejected.contains(*name)).count();
            assert!(serving >= all.min(outliers.floor as usize), "the floor holds");
        }
        if let Some(breaker) = self.backend.policy().breaker {
            let all = self.endpoints.values().filter(|draining| !**draining).count();
            let serving = self.healthy().count();
            assert!(serving >= all.min(breaker.floor as usize), "the breakers' floor holds");
        }
    }

    fn finish(mut self) -> Vec<String> {
        while let Some((&ticket, _)) = self.live.first_key_value() {
            self.cancel(ticket);
            self.settle();
        }
        assert_eq!(self.backend.load(), (0, 0), "all places are back");
        assert_eq!(self.backend.pending_total(), 0, "all permits are back");
        assert_eq!(self.backend.retries_under_way(), 0, "all retries are over");
        self.trace
    }
}

/// The budgets without a window, as far as a shell can know them: never tighter than they are.
#[derive(Default)]
struct Purse {
    first_tries: u64,
    failures: u64,
    /// Thousandths of a token, less the size of the bucket.
    bucket: i64,
}

impl Purse {
    fn first_try(&mut self, backend: &Backend) {
        self.first_tries += 1;
        let deposit = backend.policy().retry_limits.bucket.map_or(0, |bucket| bucket.deposit_permille);
        self.bucket = (self.bucket + i64::from(deposit)).min(0);
    }

    fn retry(&mut self, backend: &Backend) {
        let limits = backend.policy().retry_limits;
        if let Some(bucket) = limits.bucket {
            let tokens = self.bucket + i64::from(bucket.size) * 1000;
            assert!(tokens > 1000, "a retry needs more than one token: {tokens}");
            self.bucket -= 1000;
        }
        if let Some(share) = limits.share {
            let (placed, queued) = backend.load();
            let most =
                (u64::from(placed + queued + 1) * u64::from(share.percent) / 100).max(u64::from(share.min_concurrent));
            assert!(u64::from(backend.retries_under_way()) <= most, "retries under way stay within their share");
        }
        if let Some(RetryBreaker { percent, window: None }) = limits.breaker {
            assert!(self.failures * 100 <= self.first_tries * u64::from(percent), "no retry while so many fail");
        }
    }
}

/// The budget as a list: whatever lies in the last ten tenths of the window counts.
fn check_budget(now: Instant, backend: &Backend, first_tries: &[Instant], retries: &[Instant]) {
    let budget = backend.policy().budget.expect("the note named a budget");
    let slice = budget.window.as_nanos() as u64 / 10;
    let counts = |at: &&Instant| at.as_nanos() / slice + 10 > now.as_nanos() / slice;
    let deposits = first_tries.iter().filter(counts).count() as u64 * u64::from(budget.percent) * 10;
    let reserve = u64::from(budget.min_per_second) * 1000 * budget.window.as_secs();
    let spent = retries.iter().filter(counts).count() as u64 * 1000;
    assert!(spent <= deposits + reserve, "{spent} of {deposits} + {reserve} spent");
}

fn run(seed: u64, limits: Limits, variant: u8, ops: &[Op]) -> Vec<String> {
    let mut world = World::new(seed, limits, variant);
    ops.iter().for_each(|op| world.apply(op));
    world.finish()
}

/// Runs the case that these bytes say. Panics if it breaks an invariant.
pub(crate) fn run_bytes(bytes: &[u8]) -> Vec<String> {
    let mut choices = Choices(bytes.iter());
    let (seed, limits) = (choices.of(256), choices.limits());
    let variant = choices.of(u64::from(VARIANTS)) as u8;
    let mut ops = Vec::new();
    while choices.0.len() > 0 {
        ops.push(choices.op());
    }
    run(seed, limits, variant, &ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_case() {
        run_bytes(&[]);
        let mut dice = Rng::from_seed(1);
        for length in [1, 10, 100, 1000] {
            let bytes: Vec<u8> = (0..length).map(|_| dice.bits() as u8).collect();
            run_bytes(&bytes);
        }
    }

    /// A harness in which hedges, retries and faults never meet would prove nothing about them.
    #[test]
    fn cases_hedge_retry_and_end_in_every_way() {
        let mut dice = Rng::from_seed(2);
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..1000).map(|_| dice.bits() as u8).collect();
            for line in run_bytes(&bytes) {
                for word in [
                    "note Retry",
                    "note Hedge {",
                    "note OverBudget",
                    "note HedgeOverBudget",
                    "note Throttled",
                    "note NotRepeatable",
                    "note NoTime",
                    "note Exhausted",
                    "Throttled",
                    "FaultInjected",
                    "PerTryTimeout",
                    "DeadlineExceeded",
                    "\"fault\"",
                    "Cancel(",
                    "Forward(3)",
                    "Ejected",
                    "BreakerOpened",
                ] {
                    if line.contains(word) {
                        seen.insert(word);
                    }
                }
            }
        }
        assert_eq!(seen.len(), 17, "{seen:?}");
    }
}

#[cfg(test)]
proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: proptest::prelude::ProptestConfig::default().cases.max(10_000), ..proptest::prelude::ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_within_its_limits(
        (seed, limits, variant, ops) in cases::strategies::case(),
    ) {
        let trace = run(seed, limits, variant, &ops);
        proptest::prop_assert_eq!(trace, run(seed, limits, variant, &ops), "the same dice decide the same");
    }
}
