//! Requests in sidecars: what `proxy::serve` and `proxy::admit` do, without bytes. The policy decides; this file reports to it
//! and does what it says.

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Attempt, AttemptNumber, Balancing, Ended, Exchange, Failure, Instant, LocalReply, Rank, Reason, Replay,
    RequestFacts, RequestLine, Route, RouteTimeouts, Step, pick_backend, request_hash,
};
use squall_proxy::{HowEnded, Record, RequestNumber, Side};

use super::World;
use super::clock::Event;
use super::load::rank_key;
use super::slab::Key;
use super::state::{Asker, Hold, NEVER, Next, Node, Reply, Routed, Target, Tries, judged};
use crate::ledger::{Call, Gauge, Maybe};

/// A request that enters a sidecar.
pub(super) struct Entering {
    pub(super) host: u32,
    pub(super) asker: Asker,
    pub(super) question: u32,
    pub(super) request: u32,
    pub(super) passed: u32,
    /// How much time it says it has.
    pub(super) left: Option<Duration>,
}

impl World {
    /// The clock of a host.
    pub(super) fn local(&self, host: u32) -> Instant {
        Instant::from_nanos(self.now + self.nodes[host as usize].ahead)
    }

    /// An application's request enters its own sidecar. Gives its key, unless it is answered already.
    pub(super) fn enter_outbound(&mut self, entering: Entering) -> Key {
        let Entering { host, asker, question, request, passed, left } = entering;
        let line = self.write_call(host, question, request);
        let number = self.next_exchange(host);
        let asked = &self.plan.questions[question as usize];
        let grpc = asked.grpc;
        if self.keeps {
            self.keep_started(host, question, request, number, Side::Outbound, None);
        }
        let found = self.route(host, question, passed);
        let node = &mut self.nodes[host as usize];
        let cell = match found {
            Ok(at) => {
                let routed = node.ways[at].as_ref().expect("it was just found");
                let picked = pick_backend(&routed.route, &mut node.dice);
                let place = picked.and_then(|picked| {
                    routed.route.backends.iter().position(|backend| std::ptr::eq(&raw const backend.backend, picked))
                });
                place.and_then(|place| routed.cells[place]).ok_or(LocalReply::of(Reason::NoBackend).into())
            }
            Err(reply) => Err(reply),
        };
        let cell = match cell {
            Ok(cell) => cell,
            Err(reply) => {
                let reply = self.tell_reply(host, number, request, grpc, reply, Some(line));
                self.end_record(host, number, request, line, false, &reply, 0, self.now, HowEnded::Local);
                self.next.push_back(Next::Answer(asker, Some(reply)));
                return Key::NONE;
            }
        };
        let routed = node.ways[question as usize].as_ref().expect("it was just found");
        // Its key may be drawn for it, and is not passed on then.
        let brought = passed;
        let passed = self.plan.pass_on(question, passed, &routed.route.request_headers);
        let asked = &self.plan.questions[question as usize];
        let now = self.local(host);
        let facts = RequestFacts {
            idempotent: asked.idempotent,
            deadline: left.map(|left| now + left),
            rank: self.rank(host, cell, request, passed),
            hash: self.hash(host, cell, question, brought),
            ..RequestFacts::default()
        };
        let Node { ways, cells, .. } = &mut self.nodes[host as usize];
        let Routed { route, is_hit, .. } = ways[question as usize].as_ref().expect("it was just found");
        let backend = &mut cells[cell as usize].backend;
        let hedging = backend.policy().hedging;
        let kept = route.retry.as_ref().map(|retry| retry.buffer_bytes).or(hedging.map(|hedging| hedging.buffer_bytes));
        let keeps_body = asked.bytes == 0 || kept.is_some_and(|kept| asked.bytes <= u64::from(kept));
        let mut exchange = Exchange::begin(now, backend, facts, route.timeouts, route.retry.as_ref());
        if let Some(fault) = route.fault.as_ref().filter(|_| *is_hit) {
            exchange.inject(fault);
        }
        if self.keeps {
            let name = Arc::clone(&route.name);
            self.keep_routed(host, cell, request, number, &name, exchange.deadline());
        }
        let key = self.holds.insert(Hold {
            exchange,
            host,
            cell,
            is_inbound: false,
            asker,
            number,
            question,
            request,
            passed,
            line,
            started: self.now,
            attempts: 0,
            alarm: NEVER,
            queued_at: NEVER,
            keeps_body,
            tries: Tries::default(),
            got: None,
        });
        self.drive(key);
        key
    }

    /// A request of another sidecar enters a pod's; `peer`: the host that it proved to be. Gives its key, unless it is answered
    /// already.
    pub(super) fn enter_inbound(&mut self, entering: Entering, peer: Option<u32>) -> Key {
        let Entering { host, asker, question, request, passed, left } = entering;
        let number = self.next_exchange(host);
        if self.keeps {
            self.keep_started(host, question, request, number, Side::Inbound, peer);
        }
        let node = &mut self.nodes[host as usize];
        let Some(cell) = node.inbound else {
            let grpc = self.plan.questions[question as usize].grpc;
            let reply = self.tell_reply(host, number, request, grpc, Own::UNKNOWN_PORT, None);
            self.end_record(host, number, request, u32::MAX, true, &reply, 0, self.now, HowEnded::Local);
            self.next.push_back(Next::Answer(asker, Some(reply)));
            return Key::NONE;
        };
        let now = self.local(host);
        let asked = &self.plan.questions[question as usize];
        let facts = RequestFacts {
            idempotent: asked.idempotent,
            deadline: left.map(|left| now + left),
            rank: self.rank(host, cell, request, passed),
            caller: peer.map(|peer| self.identities[peer as usize].as_str()),
            ..RequestFacts::default()
        };
        let backend = &mut self.nodes[host as usize].cells[cell as usize].backend;
        let exchange = Exchange::begin(now, backend, facts, RouteTimeouts::default(), None);
        if self.keeps {
            self.keep_routed(host, cell, request, number, "inbound", exchange.deadline());
        }
        let key = self.holds.insert(Hold {
            exchange,
            host,
            cell,
            is_inbound: true,
            asker,
            number,
            question,
            request,
            passed,
            line: u32::MAX,
            started: self.now,
            attempts: 0,
            alarm: NEVER,
            queued_at: NEVER,
            keeps_body: true,
            tries: Tries::default(),
            got: None,
        });
        self.drive(key);
        key
    }

    /// How much a request matters: by its class, then by the load's request it is made for. Where no queue asks for it, the latter
    /// is not worked out.
    fn rank(&self, host: u32, cell: u32, request: u32, passed: u32) -> Rank {
        let asks = self.nodes[host as usize].cells[cell as usize].backend.policy().limits.queue.priorities;
        let key = if asks && request > 0 { rank_key(request) } else { 0 };
        Rank { class: self.plan.brought(passed).class, key }
    }

    fn next_exchange(&mut self, host: u32) -> u64 {
        let node = &mut self.nodes[host as usize];
        node.exchanges += 1;
        node.exchanges
    }

    fn write_call(&mut self, host: u32, question: u32, request: u32) -> u32 {
        let line = self.book.calls.len();
        let (from, to) = (self.nodes[host as usize].party, self.plan.questions[question as usize].to);
        if let Some(to) = to {
            self.gauge(Gauge::Between(from, to), true);
        }
        self.book.calls.push(Call {
            from,
            to,
            meant: to,
            request: (request > 0).then_some(u64::from(request)).into(),
            arrived: Instant::from_nanos(self.now),
            ended: Maybe::NONE,
            status: 0,
            success: false,
            attempts: 0,
            refused: false,
            over_budget: false,
        });
        u32::try_from(line).expect("a run has fewer than 2^32 calls")
    }

    /// The hash of a request's key, if its backend balances by one.
    fn hash(&self, host: u32, cell: u32, question: u32, passed: u32) -> Option<u64> {
        let node = &self.nodes[host as usize];
        let balancing = &node.cells[cell as usize].backend.policy().balancing;
        let Balancing::Hash(_) = balancing else { return None };
        let asked = &self.plan.questions[question as usize];
        let brought = self.plan.brought(passed);
        let header = |name: &str| asked.header(name, brought).map(std::borrow::Cow::Owned);
        let line = RequestLine {
            authority: &asked.authority,
            method: &asked.method,
            path: asked.path(),
            query: asked.query(),
            header: &header,
        };
        request_hash(balancing, &line, Some(&self.identities[host as usize]))
    }

    /// Where in the host's `ways` the route of a question is.
    fn route(&mut self, host: u32, question: u32, passed: u32) -> Result<usize, Own> {
        let node = &mut self.nodes[host as usize];
        let at = question as usize;
        let Some(mesh) = &node.mesh else { return Err(Own::NOT_READY) };
        // Where routes look at headers, what a request brings along may lead it elsewhere than the one before.
        let is_plain = passed == 0 || !mesh.looks_at_headers;
        if is_plain && node.ways[at].is_some() {
            return Ok(at);
        }
        let asked = &self.plan.questions[at];
        let brought = self.plan.brought(passed);
        let header = |name: &str| asked.header(name, brought).map(std::borrow::Cow::Owned);
        let line = RequestLine {
            authority: &asked.authority,
            method: &asked.method,
            path: asked.path(),
            query: asked.query(),
            header: &header,
        };
        let route: &Arc<Route> = mesh.routes.find(&line).ok_or(Own::from(LocalReply::of(Reason::NoRoute)))?;
        let cells = route.backends.iter().map(|weighted| node.cell_of.get(&weighted.backend).copied()).collect();
        let is_hit = route.fault.as_ref().is_some_and(|fault| fault.hits(&line));
        node.ways[at] = Some(Routed { route: Arc::clone(route), cells, is_hit });
        if !is_plain {
            // Only for this request; the next may bring something else.
            self.forget.push((host, question));
        }
        Ok(at)
    }

    /// Does what the policy says about a request until it must wait, or is over.
    pub(super) fn drive(&mut self, key: Key) {
        loop {
            let Some(hold) = self.holds.get_mut(key) else { return };
            let (host, cell) = (hold.host, hold.cell);
            let now = Instant::from_nanos(self.now + self.nodes[host as usize].ahead);
            let backend = &mut self.nodes[host as usize].cells[cell as usize].backend;
            let step = hold.exchange.step(now, backend);
            if hold.exchange.has_news() {
                self.tell_news(key);
            }
            match step {
                Step::Try(attempt) => self.begin_try(key, now, &attempt),
                Step::Wait { until, why } => {
                    self.settle(host, cell);
                    self.wait(key, until, why);
                    return;
                }
                Step::Cancel(attempt) => self.cancel_try(key, attempt),
                Step::Forward(_) => {
                    self.forward(key);
                    return;
                }
                Step::Reply(reply) => {
                    let Some(hold) = self.holds.get(key) else { return };
                    let (number, request) = (hold.number, hold.request);
                    let (grpc, line, side) =
                        (self.plan.questions[hold.question as usize].grpc, hold.line, hold.is_inbound);
                    let line_told = (!side).then_some(line);
                    let reply = self.tell_reply(host, number, request, grpc, reply.into(), line_told);
                    self.close(key, Some(reply), HowEnded::Local);
                    return;
                }
                Step::Done => {
                    self.close(key, None, HowEnded::CallerGone);
                    return;
                }
            }
        }
    }

    /// Tells what the policy did to a request since it was last asked: retries and hedges, then faults.
    #[cold]
    fn tell_news(&mut self, key: Key) {
        while let Some(note) = self.holds.get_mut(key).and_then(|hold| hold.exchange.poll_note()) {
            self.tell_retry(key, note);
        }
        while let Some(injected) = self.holds.get_mut(key).and_then(|hold| hold.exchange.poll_injected()) {
            self.tell_injected(key, injected);
        }
    }

    fn begin_try(&mut self, key: Key, now: Instant, attempt: &Attempt) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        hold.attempts = attempt.number;
        let (host, number, request, line, is_inbound) =
            (hold.host, hold.number, hold.request, hold.line, hold.is_inbound);
        let question = hold.question;
        let waited = std::mem::replace(&mut hold.queued_at, NEVER);
        if self.keeps {
            let number = RequestNumber(number);
            if waited != NEVER {
                let waited = Duration::from_nanos(self.now - waited);
                self.keep_record(host, request, &Record::Granted { request: number, waited });
            }
            self.keep_record(host, request, &Record::Picked { request: number, attempt });
        }
        let grpc = self.plan.questions[question as usize].grpc;
        let left = attempt.until.map(|until| deadline_header(until.since(now), grpc));
        if is_inbound {
            self.begin_work(key, attempt.number, left);
            return;
        }
        let to = self.host_at(attempt.endpoint.address);
        if let Some(line) = self.book.calls.get_mut(line as usize) {
            line.attempts += 1;
            line.to = to.map(|to| self.nodes[to as usize].party).or(line.to);
        }
        self.pen.note(self.now, host, "picked", u64::from(to.unwrap_or(u32::MAX)), u64::from(request));
        let target = match to {
            Some(to) => self.send_try(key, attempt.number, to, left, attempt.connect_timeout),
            None => None,
        };
        let target = target.unwrap_or(Key::NONE);
        if let Some(hold) = self.holds.get_mut(key) {
            hold.tries.add(attempt.number, Target { started: self.now, key: target });
        }
        if target == Key::NONE {
            self.fail_try(key, attempt.number, Failure::ConnectRefused, true);
        }
    }

    fn wait(&mut self, key: Key, until: Option<Instant>, why: &'static str) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        let (host, number, request) = (hold.host, hold.number, hold.request);
        let node = &mut self.nodes[host as usize];
        if why == "queue" {
            node.cells[hold.cell as usize].waiting.insert(hold.exchange.ticket(), key);
            if hold.queued_at == NEVER {
                hold.queued_at = self.now;
                if self.keeps {
                    self.keep_record(host, request, &Record::Queued { request: RequestNumber(number) });
                }
            }
        }
        let Some(until) = until else { return };
        let at = until.as_nanos().saturating_sub(self.nodes[host as usize].ahead).max(self.now);
        let Some(hold) = self.holds.get_mut(key) else { return };
        if hold.alarm != at {
            hold.alarm = at;
            self.arm(at, Event::Alarm(key));
        }
    }

    /// The time that a request named has come.
    pub(super) fn alarm(&mut self, key: Key) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        hold.alarm = NEVER;
        let (host, cell) = (hold.host, hold.cell);
        let replay = if hold.keeps_body { Replay::AtOnce } else { Replay::No };
        let now = Instant::from_nanos(self.now + self.nodes[host as usize].ahead);
        let cell = &mut self.nodes[host as usize].cells[cell as usize];
        cell.waiting.remove(&hold.exchange.ticket());
        hold.exchange.on_deadline(now, &mut cell.backend, replay);
        self.drive(key);
    }

    /// The answer of a try has come.
    pub(super) fn on_head(&mut self, key: Key, attempt: AttemptNumber, reply: Reply) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        let Some(target) = hold.tries.take(attempt) else { return };
        let (host, cell) = (hold.host, hold.cell);
        let now = Instant::from_nanos(self.now + self.nodes[host as usize].ahead);
        let answer = judged(&reply, hold.keeps_body);
        hold.got = Some((attempt, reply));
        hold.exchange.on_head(now, &mut self.nodes[host as usize].cells[cell as usize].backend, attempt, answer);
        if self.keeps {
            let (request, of) = (RequestNumber(hold.number), hold.request);
            let latency = Duration::from_nanos(self.now - target.started);
            let (status, grpc) = (answer.status, answer.grpc);
            self.keep_record(host, of, &Record::Head { request, attempt, status, grpc, latency });
        }
        self.drive(key);
    }

    /// A try failed without an answer.
    pub(super) fn fail_try(&mut self, key: Key, attempt: AttemptNumber, failure: Failure, unread: bool) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        let Some(target) = hold.tries.take(attempt) else { return };
        let (host, cell) = (hold.host, hold.cell);
        let replayable = hold.keeps_body || unread;
        let now = Instant::from_nanos(self.now + self.nodes[host as usize].ahead);
        let backend = &mut self.nodes[host as usize].cells[cell as usize].backend;
        hold.exchange.on_failure(now, backend, attempt, failure, replayable);
        let (request, of) = (RequestNumber(hold.number), hold.request);
        self.pen.note(self.now, host, "attempt-failed", failure as u64, u64::from(of));
        if self.keeps {
            let latency = Duration::from_nanos(self.now - target.started);
            self.keep_record(host, of, &Record::AttemptFailed { request, attempt, failure, latency });
        }
        self.drive(key);
    }

    /// The policy stops a try, or throws its answer away.
    fn cancel_try(&mut self, key: Key, attempt: AttemptNumber) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        if hold.got.take_if(|(got, _)| *got == attempt).is_some() {
            return;
        }
        let Some(target) = hold.tries.take(attempt) else { return };
        let (host, number, request, is_inbound) = (hold.host, hold.number, hold.request, hold.is_inbound);
        self.pen.note(self.now, host, "attempt-cancelled", u64::from(attempt), u64::from(request));
        if self.keeps {
            let latency = Duration::from_nanos(self.now - target.started);
            let number = RequestNumber(number);
            self.keep_record(host, request, &Record::AttemptCancelled { request: number, attempt, latency });
        }
        self.drop_try(is_inbound, target.key);
    }

    fn drop_try(&mut self, is_inbound: bool, key: Key) {
        if is_inbound {
            self.abandon_work(key);
        } else {
            self.leave_try(key);
        }
    }

    /// Passes an answer on, whole at once.
    fn forward(&mut self, key: Key) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        let (host, cell) = (hold.host, hold.cell);
        let (_, reply) = hold.got.take().expect("a try is forwarded after its head came");
        let now = Instant::from_nanos(self.now + self.nodes[host as usize].ahead);
        let backend = &mut self.nodes[host as usize].cells[cell as usize].backend;
        hold.exchange.on_body_end(now, backend, Ended::Complete { grpc: reply.grpc });
        self.close(key, Some(reply), HowEnded::Complete);
    }

    /// The request is over.
    fn close(&mut self, key: Key, reply: Option<Reply>, how: HowEnded) {
        self.hand_back(key);
        let Some(hold) = self.holds.get(key) else { return };
        let Hold { host, cell, number, request, line, is_inbound, attempts, started, asker, .. } = *hold;
        self.holds.free(key);
        self.settle(host, cell);
        let shown = reply.unwrap_or(Reply::NONE);
        self.end_record(host, number, request, line, is_inbound, &shown, attempts, started, how);
        self.next.push_back(Next::Answer(asker, reply));
    }

    /// Takes the request to its end in the policy, and drops what it still tries.
    fn hand_back(&mut self, key: Key) {
        let Some(hold) = self.holds.get_mut(key) else { return };
        let (host, cell, is_inbound) = (hold.host, hold.cell, hold.is_inbound);
        let now = Instant::from_nanos(self.now + self.nodes[host as usize].ahead);
        let cell = &mut self.nodes[host as usize].cells[cell as usize];
        if hold.queued_at != NEVER {
            cell.waiting.remove(&hold.exchange.ticket());
        }
        if !hold.exchange.is_done() {
            hold.exchange.cancel(now, &mut cell.backend);
            while hold.exchange.step(now, &mut cell.backend) != Step::Done {}
        }
        if hold.tries.is_empty() {
            return;
        }
        for (_, target) in hold.tries.drain() {
            self.drop_try(is_inbound, target.key);
        }
    }

    /// Whoever asked has gone.
    pub(super) fn leave_hold(&mut self, key: Key) {
        if let Some(hold) = self.holds.get_mut(key) {
            hold.asker = Asker::Nobody;
            self.close(key, None, HowEnded::CallerGone);
        }
    }

    /// Tells what the last call of a backend changed, lets in whom it let in, and keeps its timer.
    pub(super) fn settle(&mut self, host: u32, cell: u32) {
        let node = &mut self.nodes[host as usize];
        let boot = node.boot;
        let cell_state = &mut node.cells[cell as usize];
        while let Some(ticket) = cell_state.backend.poll_granted() {
            if let Some(hold) = cell_state.waiting.remove(&ticket) {
                self.next.push_back(Next::Drive(hold));
            }
        }
        if let Some((at, _)) = cell_state.backend.poll_deadline() {
            let at = at.as_nanos().saturating_sub(node.ahead).max(self.now);
            if at < cell_state.alarm {
                cell_state.alarm = at;
                self.clock.push(at, Event::Backend(host, boot, cell));
            }
        }
        while let Some(event) = self.nodes[host as usize].cells[cell as usize].backend.poll_event() {
            self.tell_backend(host, cell, &event);
        }
    }

    /// A backend's own timer rings.
    pub(super) fn backend_alarm(&mut self, host: u32, boot: u32, cell: u32) {
        let now = self.local(host);
        let node = &mut self.nodes[host as usize];
        if node.boot != boot {
            return;
        }
        let state = &mut node.cells[cell as usize];
        state.alarm = NEVER;
        state.backend.on_deadline(now);
        self.settle(host, cell);
    }
}

/// A reply of a sidecar's own.
#[derive(Clone, Copy)]
pub(super) struct Own {
    pub(super) status: u16,
    pub(super) grpc: u8,
    pub(super) reason: &'static str,
    /// When to come again.
    pub(super) retry_after: Option<Duration>,
}

impl Own {
    /// There is no mesh yet.
    const NOT_READY: Self = Self { status: 503, grpc: 14, reason: "not-ready", retry_after: None };
    /// The mesh does not know the application's port.
    const UNKNOWN_PORT: Self = Self { status: 503, grpc: 14, reason: "unknown-port", retry_after: None };
}

impl From<LocalReply> for Own {
    fn from(reply: LocalReply) -> Self {
        let LocalReply { status, grpc, reason, retry_after } = reply;
        Self { status, grpc, reason: reason.as_str(), retry_after }
    }
}

/// What is left of so much time when a header has carried it: whole milliseconds, at least one. gRPC says it in nanoseconds too,
/// and the less counts.
pub(super) fn deadline_header(left: Duration, grpc: bool) -> Duration {
    if grpc && left < Duration::from_millis(1) {
        return left;
    }
    Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
}
