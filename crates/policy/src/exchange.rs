//! One request from arrival to answer, and the state it shares with the other requests of its backend.
//!
//! The shell (proxy, or the fast model) drives an [`Exchange`]: it reports what happened (`on_*`) and does what
//! [`Exchange::step`] says next. It decides nothing itself.
//!
//! ```text
//!            begin                 on_head (final)        on_body_end
//!  arrival ──────▶ Queued ─▶ Trying ─────────────▶ Answering ─────────▶ Done
//!                    │        │  ▲ on_head/on_failure (worth repeating)
//!                    │        ▼  │
//!                    │     BackingOff
//!                    ▼        ▼
//!                    Refused / deadline  ─▶ Step::Reply (local) ─▶ Done
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Instant;
use crate::admission::{Asker, Claim, Entry, Left};
use crate::backend::{Backend, Permit, SlotId, Ticket};
use crate::mesh::{AbortWith, RetryPolicy, RouteFault, RouteTimeouts};
use crate::priority::Rank;
use crate::reply::{LocalReply, Reason};
use crate::retry::{Fault, Rules};
use crate::route_fault::{Injected, Injection};
use crate::verdict::{Verdict, judge_grpc, judge_head};

/// The number of a try within its request, from 1.
pub type AttemptNumber = u32;

/// What must be known of a request to decide about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts<'r> {
    /// Its method may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE: RFC 9110 §9.2.2).
    pub idempotent: bool,
    /// The deadline it came with (`grpc-timeout`, or a deadline header of an upstream proxy), if any.
    pub deadline: Option<Instant>,
    /// How much it matters, where a queue asks. By default: as much as any, without a key.
    pub rank: Rank,
    /// The SPIFFE id that its caller proved, for rate limits.
    pub caller: Option<&'r str>,
    /// The hash of its key, for backends that balance by one ([`request_hash`](crate::request_hash)); `None`: it has none.
    pub hash: Option<u64>,
}

/// One request. Made by [`Exchange::begin`], driven with the [`Backend`] it was begun on, and over when `step` answers
/// [`Step::Done`]. Dropping it earlier without [`Exchange::cancel`] is a bug that leaks a place (and panics in debug).
#[derive(Debug)]
pub struct Exchange {
    ticket: Ticket,
    idempotent: bool,
    deadline: Option<Instant>,
    rank: Rank,
    /// When it got its place.
    placed_at: Instant,
    per_try: Option<Duration>,
    rules: Option<Rules>,
    state: State,
    /// Tries so far.
    number: AttemptNumber,
    /// The wait before the latest try.
    waited: Duration,
    /// Where tries failed already. Stays empty, and unallocated, unless one did.
    tried: Vec<SlotId>,
    /// Of its key.
    hash: Option<u64>,
    /// A try that the shell must still stop.
    cancel: Option<AttemptNumber>,
    note: Option<RetryNote>,
    injection: Option<Injection>,
    injected: Option<Injected>,
}

/// In all but the first and the last two, the request holds a place or stands in the queue.
#[derive(Debug)]
enum State {
    Arrived,
    Queued {
        until: Option<Instant>,
        then: Reason,
    },
    Ready,
    BackingOff {
        until: Instant,
    },
    /// A fault on purpose: the try begins late, or is to be answered with `abort`.
    Faulted {
        delayed_until: Instant,
        try_ends: Option<Instant>,
        abort: Option<AbortWith>,
    },
    Trying {
        permit: Permit,
        until: Option<Instant>,
    },
    /// The head is final, the shell must be told.
    Deciding {
        permit: Permit,
        verdict: Verdict,
    },
    Answering {
        permit: Permit,
        verdict: Verdict,
    },
    Replying(LocalReply),
    Done,
}

/// What the shell must do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send the request to this endpoint now. Report with `on_head` or `on_failure`; keep calling `step` meanwhile only
    /// after an `on_*`.
    Try(Attempt),
    /// Nothing to do before `until` (call [`Exchange::on_deadline`] then) or an event (`on_*`, a granted [`Ticket`]).
    Wait {
        /// `None`: only an event can move it.
        until: Option<Instant>,
        /// For history: `queue`, `back-off`, `try`, `answer`.
        why: &'static str,
    },
    /// Stop this try: drop its connection, reset its stream, or read the rest of its answer away. Nothing is reported
    /// back. Each try ends in one of three ways: the shell reported `on_failure`, or it gets `Cancel`, or `Forward`.
    Cancel(AttemptNumber),
    /// Answer the caller with this try's response and stream its body; then report `on_body_end`.
    Forward(AttemptNumber),
    /// Answer the caller with a response of the proxy's own.
    Reply(LocalReply),
    /// The request is over; every place and permit has been handed back.
    Done,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Attempt {
    /// 1 for the first.
    pub number: AttemptNumber,
    /// Where to.
    pub address: SocketAddr,
    /// The endpoint's name, for history.
    pub endpoint: Arc<str>,
    /// Its identity, to be proven under mutual TLS.
    pub identity: Arc<str>,
    /// What the balancer compared it with, and both costs in ns (peak EWMA) or requests (least request).
    pub over: Option<(Arc<str>, u64, u64)>,
    /// This try must have its head by then; the `Exchange` handles it, the proxy may pass it on as a header.
    pub until: Option<Instant>,
    /// The wait for a connection ends after this.
    pub connect_timeout: Duration,
}

/// How a try failed without a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// Connection refused or unreachable.
    ConnectRefused,
    /// No connection within the connect time-out.
    ConnectTimeout,
    /// TLS failed, or the peer's identity is not the expected one.
    Tls,
    /// The connection broke before the head.
    Reset,
    /// REFUSED_STREAM or GOAWAY: not processed by the peer.
    RefusedStream,
    /// The caller's request body broke; the try is not the endpoint's fault.
    CallerGone,
}

/// The head of a try's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status, 200 to 599.
    pub status: u16,
    /// `grpc-status` if it stands in the head.
    pub grpc: Option<u8>,
    /// `retry-after` in whole seconds, if given.
    pub retry_after: Option<Duration>,
    /// Whether the request can be sent again: its body is kept whole so far (or has none).
    pub replayable: bool,
}

/// How a forwarded answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Whole; with the `grpc-status` of its trailers, if any.
    Complete {
        /// `grpc-status` if given.
        grpc: Option<u8>,
    },
    /// Broke off on the endpoint's side.
    Broken,
    /// The caller went away.
    CallerGone,
}

impl Exchange {
    /// A request arrives for `backend` over a route with these time-outs and this retry policy. Admission is decided by
    /// the first [`Exchange::step`], but for the rate, which the request counts against now. `ticket` wakes it from the queue.
    #[must_use]
    pub fn begin(
        now: Instant,
        backend: &mut Backend,
        facts: RequestFacts<'_>,
        timeouts: RouteTimeouts,
        retry: Option<&RetryPolicy>,
    ) -> Self {
        let state = match backend.take_rate(now, facts.caller) {
            Ok(()) => State::Arrived,
            Err(wait) => State::Replying(LocalReply { retry_after: Some(wait), ..LocalReply::of(Reason::RateLimited) }),
        };
        Self {
            ticket: backend.issue_ticket(),
            idempotent: facts.idempotent,
            deadline: [timeouts.request, timeouts.stream]
                .into_iter()
                .flatten()
                .min()
                .map(|span| now + span)
                .into_iter()
                .chain(facts.deadline)
                .min(),
            rank: facts.rank,
            placed_at: now,
            per_try: timeouts.per_try,
            rules: retry.map(Rules::new),
            state,
            number: 0,
            waited: Duration::ZERO,
            tried: Vec::new(),
            hash: facts.hash,
            cancel: None,
            note: None,
            injection: None,
            injected: None,
        }
    }

    /// The route injects this fault into each try of the request. Before the first [`Exchange::step`].
    pub fn inject(&mut self, fault: &RouteFault) {
        self.injection = Some(Injection::of(fault));
    }

    /// Its ticket in the backend's queue.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// When the whole request must have been answered.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant, backend: &mut Backend) -> Step {
        if let Some(number) = self.cancel.take() {
            return Step::Cancel(number);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Arrived if self.is_late(now) => self.reply(Reason::DeadlineExceeded),
                State::Arrived if backend.is_shut(now) => self.reply(Reason::BreakerOpen),
                State::Arrived => match backend.enter(now, self.asker()) {
                    Entry::Placed => self.place(now),
                    Entry::Queued => self.state = self.queued(now, backend),
                    Entry::Refused(reason) => self.reply(reason),
                },
                State::Queued { until, then } => {
                    match backend.claim(self.ticket) {
                        Claim::Waits => {}
                        Claim::Placed => {
                            self.place(now);
                            continue;
                        }
                        Claim::Shed(reason) => {
                            self.reply(reason);
                            continue;
                        }
                    }
                    if until.is_none_or(|until| now < until) {
                        self.state = State::Queued { until, then };
                        return Step::Wait { until, why: "queue" };
                    }
                    backend.withdraw_from_queue(now, self.ticket);
                    self.reply(then);
                }
                State::BackingOff { until } if now < until => {
                    self.state = State::BackingOff { until };
                    return Step::Wait { until: Some(until), why: "back-off" };
                }
                State::BackingOff { .. } | State::Ready => {
                    if let Some(attempt) = self.try_next(now, backend) {
                        return Step::Try(attempt);
                    }
                }
                State::Faulted { delayed_until, try_ends, abort } => {
                    let until = [try_ends, self.deadline].into_iter().flatten().fold(delayed_until, Instant::min);
                    if now < until {
                        self.state = State::Faulted { delayed_until, try_ends, abort };
                        return Step::Wait { until: Some(until), why: "fault" };
                    }
                    let is_over = now < delayed_until;
                    if let Some(attempt) = self.after_fault(now, backend, try_ends, is_over, abort) {
                        return Step::Try(attempt);
                    }
                }
                State::Trying { permit, until } => {
                    self.state = State::Trying { permit, until };
                    return Step::Wait { until, why: "try" };
                }
                State::Deciding { permit, verdict } => {
                    self.state = State::Answering { permit, verdict };
                    return Step::Forward(self.number);
                }
                State::Answering { permit, verdict } => {
                    self.state = State::Answering { permit, verdict };
                    return Step::Wait { until: None, why: "answer" };
                }
                State::Replying(reply) => return Step::Reply(reply),
                State::Done => return Step::Done,
            }
        }
    }

    /// A try's response head is there.
    pub fn on_head(&mut self, now: Instant, backend: &mut Backend, number: AttemptNumber, answer: Answer) {
        let Some(mut permit) = self.take_try(number) else { return };
        let verdict = judge_head(answer);
        backend.on_head(now, &mut permit, verdict);
        if self.retries(now, backend, Some(permit.slot()), Fault::Head(answer), answer.replayable) {
            if verdict == Verdict::Success {
                backend.judge(now, &permit, Verdict::Success, Duration::ZERO);
            }
            self.cancel = Some(number);
            backend.end(permit);
        } else {
            self.state = State::Deciding { permit, verdict };
        }
    }

    /// A try failed without a head. `replayable` as in [`Answer::replayable`].
    pub fn on_failure(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        number: AttemptNumber,
        failure: Failure,
        replayable: bool,
    ) {
        let Some(permit) = self.take_try(number) else { return };
        let reason = match failure {
            Failure::ConnectRefused | Failure::ConnectTimeout | Failure::Tls => Reason::ConnectFailure,
            Failure::Reset => Reason::Reset,
            Failure::RefusedStream => Reason::RefusedStream,
            Failure::CallerGone => {
                backend.end(permit);
                self.leave(now, backend, Left::CallerGone);
                return;
            }
        };
        self.fail(now, backend, permit, Fault::Broke(failure), replayable, reason);
    }

    /// The forwarded body ended.
    pub fn on_body_end(&mut self, now: Instant, backend: &mut Backend, ended: Ended) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Answering { permit, verdict } => {
                let end = match ended {
                    Ended::Complete { grpc } => judge_grpc(grpc),
                    Ended::Broken => Verdict::NO_ANSWER,
                    Ended::CallerGone => Verdict::Nothing,
                };
                // A failed head has been counted when it came.
                if verdict == Verdict::Success {
                    backend.judge(now, &permit, end, Duration::ZERO);
                }
                backend.end(permit);
                let left = match (verdict, end) {
                    (_, Verdict::Nothing) => Left::CallerGone,
                    (Verdict::Success, Verdict::Success) => Left::Served,
                    (_, _) => Left::Failed,
                };
                self.leave(now, backend, left);
            }
            other @ (State::Arrived
            | State::Queued { .. }
            | State::Ready
            | State::BackingOff { .. }
            | State::Faulted { .. }
            | State::Trying { .. }
            | State::Deciding { .. }
            | State::Replying(_)
            | State::Done) => self.state = other,
        }
    }

    /// The time that the last [`Step::Wait`] named has come. `replayable` as in [`Answer::replayable`].
    pub fn on_deadline(&mut self, now: Instant, backend: &mut Backend, replayable: bool) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Trying { permit, until } if until.is_some_and(|until| now >= until) => {
                self.cancel = Some(self.number);
                if self.is_late(now) {
                    backend.judge(now, &permit, Verdict::NO_ANSWER, now.since(permit.started()));
                    backend.end(permit);
                    self.leave(now, backend, Left::TimedOut);
                    self.reply(Reason::DeadlineExceeded);
                } else {
                    self.fail(now, backend, permit, Fault::PerTryTimeout, replayable, Reason::PerTryTimeout);
                }
            }
            // The others look at the time when they are stepped; a body may take as long as it streams.
            other @ (State::Arrived
            | State::Queued { .. }
            | State::Ready
            | State::BackingOff { .. }
            | State::Faulted { .. }
            | State::Trying { .. }
            | State::Deciding { .. }
            | State::Answering { .. }
            | State::Replying(_)
            | State::Done) => self.state = other,
        }
    }

    /// The caller went away: hands everything back.
    pub fn cancel(&mut self, now: Instant, backend: &mut Backend) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Arrived | State::Replying(_) | State::Done => {}
            State::Queued { .. } => backend.withdraw_from_queue(now, self.ticket),
            State::Ready => self.leave(now, backend, Left::Unused),
            State::BackingOff { .. } | State::Faulted { .. } => self.leave(now, backend, Left::CallerGone),
            State::Trying { permit, .. } | State::Deciding { permit, .. } | State::Answering { permit, .. } => {
                self.cancel = Some(self.number);
                backend.end(permit);
                self.leave(now, backend, Left::CallerGone);
            }
        }
    }

    /// Why the last failed try was, or was not, repeated: `retry 1 of 2, waits 31 ms, budget 4.2`; for history. Cleared
    /// by reading.
    pub fn poll_note(&mut self) -> Option<RetryNote> {
        self.note.take()
    }

    /// What was done to the latest try on purpose; for history. Cleared by reading.
    pub fn poll_injected(&mut self) -> Option<Injected> {
        self.injected.take()
    }

    fn asker(&self) -> Asker {
        Asker { ticket: self.ticket, rank: self.rank, deadline: self.deadline }
    }

    fn place(&mut self, now: Instant) {
        self.placed_at = now;
        self.state = State::Ready;
    }

    /// Hands the place back.
    fn leave(&self, now: Instant, backend: &mut Backend, left: Left) {
        backend.leave(now, self.placed_at, left);
    }

    fn queued(&self, now: Instant, backend: &Backend) -> State {
        let patience = backend.policy().limits.queue_timeout.map(|span| now + span);
        match (patience, self.deadline) {
            (Some(patience), Some(deadline)) if deadline <= patience => {
                State::Queued { until: Some(deadline), then: Reason::DeadlineExceeded }
            }
            (Some(patience), _) => State::Queued { until: Some(patience), then: Reason::QueueTimeout },
            (None, until) => State::Queued { until, then: Reason::DeadlineExceeded },
        }
    }

    /// Starts a try, or settles on a reply.
    fn try_next(&mut self, now: Instant, backend: &mut Backend) -> Option<Attempt> {
        if self.is_late(now) {
            self.leave(now, backend, if self.number == 0 { Left::Unused } else { Left::TimedOut });
            self.reply(Reason::DeadlineExceeded);
            return None;
        }
        let number = self.number + 1;
        let try_ends = earlier(self.per_try.map(|span| now + span), self.deadline);
        if let Some((delay, abort)) = self.injection.as_ref().and_then(|injection| backend.draw_fault(injection)) {
            let status = abort.map(|abort| abort.reply().status);
            self.injected = Some(Injected { attempt: number, delay, abort: status });
            self.count_try(now, backend, number);
            self.state = State::Faulted { delayed_until: now + delay, try_ends, abort };
            return None;
        }
        self.send(now, backend, number, try_ends)
    }

    fn count_try(&mut self, now: Instant, backend: &mut Backend, number: AttemptNumber) {
        if self.number == 0 {
            backend.deposit(now);
        }
        self.number = number;
    }

    /// Picks an endpoint for a try, or settles on a reply.
    fn send(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        number: AttemptNumber,
        until: Option<Instant>,
    ) -> Option<Attempt> {
        let connect_timeout = backend.policy().connect_timeout;
        match backend.pick(now, &self.tried, self.hash) {
            Ok(picked) => {
                let attempt = Attempt {
                    number,
                    address: picked.endpoint.address,
                    endpoint: Arc::clone(&picked.endpoint.name),
                    identity: Arc::clone(&picked.endpoint.identity),
                    over: picked.over,
                    until,
                    connect_timeout,
                };
                self.state = State::Trying { permit: picked.permit, until };
                self.count_try(now, backend, number);
                Some(attempt)
            }
            Err(reason) => {
                self.leave(now, backend, if self.number == 0 { Left::Unused } else { Left::Failed });
                self.reply(reason);
                None
            }
        }
    }

    /// A delayed or aborted try goes on, is answered, or ran out of time. Nothing of it was sent, so it can be repeated as far
    /// as its body goes.
    fn after_fault(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        try_ends: Option<Instant>,
        is_delayed: bool,
        abort: Option<AbortWith>,
    ) -> Option<Attempt> {
        let (fault, reply, left) = if self.is_late(now) {
            self.leave(now, backend, Left::TimedOut);
            self.reply(Reason::DeadlineExceeded);
            return None;
        } else if is_delayed {
            (Fault::PerTryTimeout, LocalReply::of(Reason::PerTryTimeout), Left::TimedOut)
        } else if let Some(abort) = abort {
            (Fault::Head(abort.answer()), abort.reply(), Left::Failed)
        } else {
            return self.send(now, backend, self.number, try_ends);
        };
        if !self.retries(now, backend, None, fault, true) {
            self.leave(now, backend, left);
            self.state = State::Replying(reply);
        }
        None
    }

    /// A try is over without a head: repeats it or settles on a reply.
    fn fail(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        permit: Permit,
        fault: Fault,
        replayable: bool,
        reason: Reason,
    ) {
        backend.judge(now, &permit, Verdict::NO_ANSWER, now.since(permit.started()));
        let again = self.retries(now, backend, Some(permit.slot()), fault, replayable);
        backend.end(permit);
        if !again {
            let left = if reason == Reason::PerTryTimeout { Left::TimedOut } else { Left::Failed };
            self.leave(now, backend, left);
            self.reply(reason);
        }
    }

    /// Decides about a repetition, and begins the wait for it.
    fn retries(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        slot: Option<SlotId>,
        fault: Fault,
        replayable: bool,
    ) -> bool {
        let Some(rules) = &self.rules else { return false };
        if !rules.lists(fault) {
            return false;
        }
        let retry = self.number;
        if !replayable || !(self.idempotent || rules.non_idempotent || fault.is_unseen()) {
            self.note = Some(RetryNote::NotRepeatable);
            return false;
        }
        if retry > rules.retries {
            self.note = Some(RetryNote::Exhausted);
            return false;
        }
        let drawn = backend.draw_wait(&rules.backoff, retry, self.waited);
        let wait = drawn.max(fault.retry_after());
        let until = now + wait;
        if self.deadline.is_some_and(|deadline| until >= deadline) {
            self.note = Some(RetryNote::NoTime);
            return false;
        }
        let Some(budget_left) = backend.withdraw(now) else {
            self.note = Some(RetryNote::OverBudget);
            return false;
        };
        self.note = Some(RetryNote::Retry { retry, of: rules.retries, wait, budget_left });
        self.waited = drawn;
        self.tried.extend(slot);
        self.state = State::BackingOff { until };
        true
    }

    fn take_try(&mut self, number: AttemptNumber) -> Option<Permit> {
        if number != self.number || !matches!(self.state, State::Trying { .. }) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Trying { permit, .. } => Some(permit),
            State::Arrived
            | State::Queued { .. }
            | State::Ready
            | State::BackingOff { .. }
            | State::Faulted { .. }
            | State::Deciding { .. }
            | State::Answering { .. }
            | State::Replying(_)
            | State::Done => None,
        }
    }

    fn reply(&mut self, reason: Reason) {
        self.state = State::Replying(LocalReply::of(reason));
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let holds = !matches!(self.state, State::Arrived | State::Replying(_) | State::Done);
        debug_assert!(!holds || std::thread::panicking(), "an exchange is dropped while it holds a place: {self:?}");
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// What became of a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryNote {
    /// It is repeated.
    Retry {
        /// Which repetition, from 1.
        retry: u32,
        /// Of how many at most.
        of: u32,
        /// Waits so long first.
        wait: Duration,
        /// What is left in the budget, in thousandths of a retry; `None`: no budget.
        budget_left: Option<u64>,
    },
    /// All retries are used.
    Exhausted,
    /// The budget is empty.
    OverBudget,
    /// The request's body was not kept, or its method must not be repeated.
    NotRepeatable,
    /// Waiting would pass the deadline.
    NoTime,
}

impl fmt::Display for RetryNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { retry, of, wait, budget_left } => {
                write!(f, "retry {retry} of {of}, waits {wait:?}")?;
                match budget_left {
                    Some(left) => write!(f, ", budget {}.{:03}", left / 1000, left % 1000),
                    None => Ok(()),
                }
            }
            Self::Exhausted => f.write_str("exhausted"),
            Self::OverBudget => f.write_str("over-budget"),
            Self::NotRepeatable => f.write_str("not-repeatable"),
            Self::NoTime => f.write_str("no-time"),
        }
    }
}

#[cfg(test)]
mod properties;
