//! The shared state of a backend, and one request's hold on it. All calls into `policy` go through here: what they change is
//! recorded and who they let in is woken, in the same breath.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use squall_net::{Carried, in_drop};
use squall_policy::{
    Answer, AttemptNumber, Backend, BackendName, BackendPolicy, Ended, Endpoint, Exchange, Failure, Instant,
    ProbeOrder, Replay, RequestFacts, RetryPolicy, RouteFault, RouteTimeouts, Step, Ticket,
};

use crate::core::Core;
use crate::health;
use crate::{HowEnded, Record, RequestNumber, Side};

/// A backend and who waits for a place in it.
pub(crate) struct Cell {
    core: Arc<Core>,
    name: BackendName,
    state: Mutex<State>,
}

struct State {
    backend: Backend,
    /// Requests in the queue, with whom to wake once they were polled. Granted ones are taken out.
    waiting: BTreeMap<Ticket, Option<Waker>>,
    /// When the backend's own timer rings.
    alarm: Option<Instant>,
}

impl Cell {
    pub(crate) fn new(core: &Arc<Core>, name: &BackendName, policy: BackendPolicy) -> Self {
        let rng = core.host.rng(&format!("backend {name}"));
        let backend = Backend::new(name.clone(), policy, rng).at(core.here.clone());
        let state = State { backend, waiting: BTreeMap::new(), alarm: None };
        Self { core: Arc::clone(core), name: name.clone(), state: Mutex::new(state) }
    }

    pub(crate) fn name(&self) -> &BackendName {
        &self.name
    }

    /// Obeys a new mesh.
    pub(crate) fn update(self: &Arc<Self>, policy: BackendPolicy, endpoints: &[Endpoint]) {
        self.with(|now, state| {
            if *state.backend.policy() != policy {
                state.backend.set_policy(now, policy);
            }
            state.backend.set_endpoints(now, endpoints);
        });
    }

    /// Something of the policy in force.
    pub(crate) fn policy<T>(&self, read: impl FnOnce(&BackendPolicy) -> T) -> T {
        read(self.lock().backend.policy())
    }

    /// What can be seen of the backend now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(Instant, &Backend) -> T) -> T {
        look(self.core.host.now(), &self.lock().backend)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(self: &Arc<Self>, act: impl FnOnce(Instant, &mut State) -> T) -> T {
        let now = self.core.host.now();
        self.with_at(now, |state| act(now, state))
    }

    fn with_at<T>(self: &Arc<Self>, now: Instant, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state);
        self.settle(now, &mut state);
        result
    }

    /// Tells what the last call changed, wakes whom it let in, and keeps the timer.
    fn settle(self: &Arc<Self>, now: Instant, state: &mut State) {
        while let Some(event) = state.backend.poll_event() {
            self.core.record(now, &Record::Backend { backend: &self.name, event: &event });
        }
        while let Some(order) = state.backend.poll_probe() {
            self.check_health(order, state.backend.policy());
        }
        while let Some(ticket) = state.backend.poll_granted() {
            if let Some(Some(waker)) = state.waiting.remove(&ticket) {
                waker.wake();
            }
        }
        if let Some((at, _)) = state.backend.poll_deadline()
            && state.alarm.is_none_or(|alarm| at < alarm)
        {
            state.alarm = Some(at);
            self.ring_at(at);
        }
    }

    /// Makes a health check and reports it. The task holds nothing of a backend that is gone.
    fn check_health(self: &Arc<Self>, order: ProbeOrder, policy: &BackendPolicy) {
        let (cell, id) = (Arc::downgrade(self), order.id);
        let probing = health::probe(Arc::clone(&self.core), order, policy.protocol, policy.mutual_tls);
        self.core.host.spawn("proxy health check", async move {
            let result = probing.await;
            if let Some(cell) = cell.upgrade() {
                cell.with(|now, state| state.backend.on_probe(now, id, result));
            }
        });
    }

    fn ring_at(self: &Arc<Self>, at: Instant) {
        // Only the timer is held: a backend that is gone takes its alarm along.
        let (cell, timer) = (Arc::downgrade(self), self.core.host.clock().sleep_until(at));
        self.core.host.spawn("proxy backend", async move {
            timer.await;
            if let Some(cell) = cell.upgrade() {
                cell.with(|now, state| {
                    if state.alarm == Some(at) {
                        state.alarm = None;
                    }
                    state.backend.on_deadline(now);
                });
            }
        });
    }
}

/// One request's hold on its backend. Dropped before its end, it hands everything back and tells so.
pub(crate) struct Held {
    cell: Arc<Cell>,
    exchange: Exchange,
    over: bool,
    queued_at: Option<Instant>,
    pub(crate) log: Log,
}

/// What is told of a request at its end.
pub(crate) struct Log {
    pub(crate) core: Arc<Core>,
    pub(crate) request: RequestNumber,
    pub(crate) side: Side,
    pub(crate) started: Instant,
    pub(crate) status: u16,
    pub(crate) grpc: Option<u8>,
    pub(crate) attempts: u32,
    pub(crate) meter: Option<Arc<crate::body::Meter>>,
    pub(crate) bytes_down: u64,
    /// It is no request but a connection, which has carried so much.
    pub(crate) carried: Option<Arc<Carried>>,
}

impl Log {
    /// A request begins, or a connection that carries what it may.
    pub(crate) fn begin(core: &Arc<Core>, side: Side, started: Instant, carried: Option<Arc<Carried>>) -> Self {
        let (core, request) = (Arc::clone(core), core.next_request());
        Self { core, request, side, started, status: 0, grpc: None, attempts: 0, meter: None, bytes_down: 0, carried }
    }

    /// The request is over.
    pub(crate) fn ended(&self, now: Instant, how: HowEnded) {
        if let Some(carried) = &self.carried {
            let carried = carried.so_far();
            let record = Record::Closed {
                request: self.request,
                side: self.side,
                attempts: self.attempts,
                total: now.since(self.started),
                bytes_up: carried.sent_bytes,
                bytes_down: carried.received_bytes,
                how,
            };
            return self.core.record(now, &record);
        }
        self.core.record(
            now,
            &Record::Ended {
                request: self.request,
                side: self.side,
                status: self.status,
                grpc: self.grpc,
                attempts: self.attempts,
                total: now.since(self.started),
                bytes_up: self.meter.as_ref().map_or(0, |meter| meter.bytes()),
                bytes_down: self.bytes_down,
                how,
            },
        );
    }
}

impl Held {
    /// The request asks for a place.
    pub(crate) fn begin(
        cell: &Arc<Cell>,
        log: Log,
        facts: RequestFacts<'_>,
        timeouts: RouteTimeouts,
        retry: Option<&RetryPolicy>,
    ) -> Self {
        let now = log.started;
        let exchange = cell.with_at(now, |state| Exchange::begin(now, &mut state.backend, facts, timeouts, retry));
        Self { cell: Arc::clone(cell), exchange, over: false, queued_at: None, log }
    }

    /// Its route injects this fault.
    pub(crate) fn inject(&mut self, fault: &RouteFault) {
        self.exchange.inject(fault);
    }

    pub(crate) fn cell(&self) -> &Arc<Cell> {
        &self.cell
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.exchange.deadline()
    }

    fn with<T>(&mut self, act: impl FnOnce(Instant, &mut Exchange, &mut State) -> T) -> T {
        let now = self.log.core.host.now();
        self.with_at(now, |exchange, state| act(now, exchange, state))
    }

    fn with_at<T>(&mut self, now: Instant, act: impl FnOnce(&mut Exchange, &mut State) -> T) -> T {
        let Self { cell, exchange, .. } = self;
        cell.with_at(now, |state| act(exchange, state))
    }

    /// What to do next, now. `trying`: a try is on its way, so that no place in the queue can be waited for.
    pub(crate) fn step(&mut self, now: Instant, trying: bool) -> Step {
        let step = self.with_at(now, |exchange, state| {
            let step = exchange.step(now, &mut state.backend);
            if !trying && matches!(step, Step::Wait { .. }) {
                // In the same lock as the step: a grant in between is not missed.
                state.waiting.entry(exchange.ticket()).or_insert(None);
            }
            step
        });
        while let Some(note) = self.exchange.poll_note() {
            self.log.core.record(now, &Record::Retry { request: self.log.request, note });
        }
        while let Some(injected) = self.exchange.poll_injected() {
            self.log.core.record(now, &Record::Injected { request: self.log.request, injected });
        }
        match (&step, self.queued_at) {
            (Step::Wait { why: "queue", .. }, None) => {
                self.queued_at = Some(now);
                self.log.core.record(now, &Record::Queued { request: self.log.request });
            }
            (Step::Try(_), Some(at)) => {
                self.queued_at = None;
                let waited = now.since(at);
                self.log.core.record(now, &Record::Granted { request: self.log.request, waited });
            }
            _ => {}
        }
        self.over = matches!(step, Step::Done);
        step
    }

    /// Ready when the request in the queue got its place.
    pub(crate) fn poll_granted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.cell.lock();
        match state.waiting.get_mut(&self.exchange.ticket()) {
            None => Poll::Ready(()),
            Some(waker) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// It waits in the queue no longer (it got its place, or something else moved it).
    pub(crate) fn forget_ticket(&self) {
        self.cell.lock().waiting.remove(&self.exchange.ticket());
    }

    pub(crate) fn on_head(&mut self, now: Instant, number: AttemptNumber, answer: Answer) {
        self.with_at(now, |exchange, state| exchange.on_head(now, &mut state.backend, number, answer));
    }

    pub(crate) fn on_failure(&mut self, now: Instant, number: AttemptNumber, failure: Failure, replayable: bool) {
        self.with_at(now, |exchange, state| {
            exchange.on_failure(now, &mut state.backend, number, failure, replayable);
        });
    }

    pub(crate) fn on_deadline(&mut self, now: Instant, replay: Replay) {
        self.with_at(now, |exchange, state| exchange.on_deadline(now, &mut state.backend, replay));
    }

    /// The connection is there, which is all that it says about the endpoint.
    pub(crate) fn on_connected(&mut self) {
        self.with(|now, exchange, state| exchange.on_connected(now, &mut state.backend));
    }

    /// The answer's body ended, and the request with it.
    pub(crate) fn finish(self, ended: Ended, how: HowEnded) {
        let now = self.log.core.host.now();
        self.finish_at(now, ended, how);
    }

    /// The same, for who has just looked at the clock.
    pub(crate) fn finish_at(mut self, now: Instant, ended: Ended, how: HowEnded) {
        self.with_at(now, |exchange, state| {
            exchange.on_body_end(now, &mut state.backend, ended);
            let step = exchange.step(now, &mut state.backend);
            assert!(step == Step::Done, "an answered request is over");
        });
        self.over = true;
        self.log.ended(now, how);
    }

    /// The request ended without a forwarded answer; `step` said that it is done.
    pub(crate) fn close(mut self, how: HowEnded) {
        self.give_up();
        self.log.ended(self.log.core.host.now(), how);
        self.over = true;
    }

    /// Hands everything back.
    fn give_up(&mut self) {
        if self.over {
            return;
        }
        self.with(|now, exchange, state| {
            state.waiting.remove(&exchange.ticket());
            exchange.cancel(now, &mut state.backend);
            while exchange.step(now, &mut state.backend) != Step::Done {}
        });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.over {
            // Told although the first may have failed, and the other way round.
            in_drop(|| self.give_up());
            self.over = true;
            in_drop(|| self.log.ended(self.log.core.host.now(), HowEnded::CallerGone));
        }
    }
}
