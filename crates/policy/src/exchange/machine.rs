//! The machine.

mod rare;

use std::sync::Arc;
use std::time::Duration;

use self::rare::Rare;
use super::tries::{Chosen, End, Kind, Phase, Try};
use super::{Answer, Attempt, AttemptNumber, Ended, Failure, Replay, RequestFacts, RetryNote, Step};
use crate::Instant;
use crate::admission::{Asker, Claim, Entry, Left};
use crate::backend::{Backend, Permit, Picked, SlotId, Ticket};
use crate::mesh::{AbortWith, RetryPolicy, RouteFault, RouteTimeouts};
use crate::priority::Rank;
use crate::reply::{LocalReply, Reason};
use crate::retry::{Fault, Rules};
use crate::route_fault::{Injected, Injection};
use crate::verdict::{Verdict, judge_grpc, judge_head};

/// One request. Made by [`Exchange::begin`], driven with the [`Backend`] it was begun on, and over when `step` answers
/// [`Step::Done`]. Dropping it earlier without [`Exchange::cancel`] is a bug that leaks a place (and panics in debug).
#[derive(Debug)]
pub struct Exchange {
    ticket: Ticket,
    idempotent: bool,
    deadline: Option<Instant>,
    /// Of its key.
    hash: Option<u64>,
    rank: Rank,
    /// When it got its place.
    placed_at: Instant,
    per_try: Option<Duration>,
    rules: Option<Rules>,
    state: State,
    /// Tries so far.
    number: AttemptNumber,
    /// A retry or a hedge is withdrawn from the budgets, and its try has not begun.
    owes: bool,
    /// When to hedge, and how long after the latest try that is.
    hedge_at: Option<(Instant, Duration)>,
    /// `None` as long as one try after the other goes well: the common request is small, and allocates nothing.
    rare: Option<Box<Rare>>,
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
    /// This try, and those in `rivals`.
    Trying(Try),
    /// The head is final; the shell must be told, if it was not yet.
    Answering(Chosen),
    Replying(LocalReply),
    Done,
}

impl Exchange {
    /// A request arrives for `backend` over a route with these time-outs and this retry policy. Admission is decided by
    /// the first [`Exchange::step`], but for throttle and rate, which the request counts against now. `ticket` wakes it from
    /// the queue.
    #[must_use]
    pub fn begin(
        now: Instant,
        backend: &mut Backend,
        facts: RequestFacts<'_>,
        timeouts: RouteTimeouts,
        retry: Option<&RetryPolicy>,
    ) -> Self {
        let limits = [timeouts.request, timeouts.stream].map(|span| span.map(|span| now + span));
        let callers = mutant!("callers-deadline-is-forgotten", facts.deadline, None);
        let deadline = limits.into_iter().fold(callers, earlier);
        let mut exchange = Self {
            ticket: backend.issue_ticket(),
            idempotent: facts.idempotent,
            deadline,
            hash: facts.hash,
            rank: facts.rank,
            placed_at: now,
            per_try: timeouts.per_try,
            rules: retry.map(Rules::new),
            state: State::Arrived,
            number: 0,
            owes: false,
            hedge_at: None,
            rare: None,
        };
        if !exchange.is_late(now) && !backend.admits(now) {
            exchange.reply(Reason::Throttled);
        } else if let Err(wait) = backend.take_rate(now, facts.caller) {
            let reply = LocalReply { retry_after: Some(wait), ..LocalReply::of(Reason::RateLimited) };
            exchange.state = State::Replying(reply);
        }
        exchange
    }

    /// The route injects this fault into each try of the request. Before the first [`Exchange::step`].
    pub fn inject(&mut self, fault: &RouteFault) {
        self.rare_mut().injection = Some(Injection::of(fault));
    }

    /// Its ticket in the backend's queue.
    #[must_use]
    #[inline]
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// When the whole request must have been answered, to the end of the answer's head.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What to do next.
    pub fn step(&mut self, now: Instant, backend: &mut Backend) -> Step {
        if let Some(rare) = &mut self.rare
            && !rare.cancels.is_empty()
        {
            return Step::Cancel(rare.cancels.remove(0));
        }
        loop {
            // States are large, and most steps leave them as they are: looked at where they stand.
            match &self.state {
                State::Arrived if self.is_late(now) => self.reply(Reason::DeadlineExceeded),
                State::Arrived if backend.is_shut(now) => self.reply(Reason::BreakerOpen),
                State::Arrived => match backend.enter(now, self.asker()) {
                    Entry::Placed => self.place(now),
                    Entry::Queued => self.state = self.queued(now, backend),
                    Entry::Refused(reason) => self.reply(reason),
                },
                &State::Queued { until, then } => {
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
                        return Step::Wait { until, why: "queue" };
                    }
                    backend.withdraw_from_queue(now, self.ticket);
                    self.reply(then);
                }
                &State::BackingOff { until } if now < until => {
                    return Step::Wait { until: Some(until), why: "back-off" };
                }
                State::BackingOff { .. } | State::Ready => {
                    let kind = if self.number == 0 { Kind::First } else { Kind::Retry };
                    if let Some(step) = self.begin_try(now, backend, kind) {
                        return step;
                    }
                }
                State::Trying(_) => {
                    if let Some(step) = self.step_tries(now, backend) {
                        return step;
                    }
                }
                State::Answering(Chosen { told: true, .. }) => return Step::Wait { until: None, why: "answer" },
                &State::Answering(Chosen { number, .. }) => {
                    if let State::Answering(chosen) = &mut self.state {
                        chosen.told = true;
                    }
                    return Step::Forward(number);
                }
                &State::Replying(reply) => {
                    self.state = State::Done;
                    return Step::Reply(reply);
                }
                State::Done => return Step::Done,
            }
        }
    }

    /// A try's response head is there.
    pub fn on_head(&mut self, now: Instant, backend: &mut Backend, number: AttemptNumber, answer: Answer) {
        let Some((kind, mut permit)) = self.take_sent(backend, number) else { return };
        let (verdict, fault) = (judge_head(answer), Fault::Head(answer));
        let took = now.since(permit.started());
        backend.on_head(now, &mut permit, verdict);
        backend.on_answer(now, answer);
        let listed = self.lists(fault);
        let is_good = !listed && !verdict.is_failure();
        if verdict.is_failure() || listed {
            backend.on_try_failed(now, listed);
        }
        if !verdict.is_failure() {
            kind.sample(now, backend, took);
        }
        kind.over(backend);
        let over = if self.is_trying() {
            !is_good
        } else {
            self.retries(now, backend, Some(permit.slot()), fault, answer.replayable)
        };
        if over {
            if verdict == Verdict::Success {
                backend.judge(now, &permit, Verdict::Success, Duration::ZERO);
            }
            self.rare_mut().cancels.push(number);
            self.avoid(permit.slot());
            backend.end(permit);
        } else {
            self.end_tries(now, backend, End::Lost);
            self.state = State::Answering(Chosen { number, permit, verdict, told: false, counted: false });
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
        let Some((kind, permit)) = self.take_sent(backend, number) else { return };
        let reason = match failure {
            Failure::ConnectRefused | Failure::ConnectTimeout | Failure::Tls | Failure::Shortage => {
                Reason::ConnectFailure
            }
            Failure::Reset => Reason::Reset,
            Failure::RefusedStream => Reason::RefusedStream,
            Failure::CallerGone => {
                kind.over(backend);
                backend.end(permit);
                self.end_tries(now, backend, End::Quit);
                self.leave(now, backend, Left::CallerGone);
                return;
            }
        };
        let sent = Try { number, kind, until: None, phase: Phase::Sent(permit) };
        self.fail(now, backend, sent, Fault::Broke(failure), replayable, reason);
    }

    /// What is forwarded is a stream, of which only its beginning says something about the endpoint: the success counts now, and
    /// not when it ends, which may be long after.
    pub fn on_connected(&mut self, now: Instant, backend: &mut Backend) {
        if let State::Answering(chosen) = &mut self.state
            && chosen.told
            && chosen.verdict == Verdict::Success
            && !chosen.counted
        {
            chosen.counted = true;
            backend.judge(now, &chosen.permit, Verdict::Success, Duration::ZERO);
        }
    }

    /// The forwarded body ended.
    pub fn on_body_end(&mut self, now: Instant, backend: &mut Backend, ended: Ended) {
        if !matches!(self.state, State::Answering(Chosen { told: true, .. })) {
            return;
        }
        let State::Answering(chosen) = std::mem::replace(&mut self.state, State::Done) else { return };
        let Chosen { permit, verdict, counted, .. } = chosen;
        let end = match ended {
            Ended::Complete { grpc } => judge_grpc(grpc),
            Ended::Broken => Verdict::NO_ANSWER,
            Ended::CallerGone => Verdict::Nothing,
        };
        // A failed head has been counted when it came.
        if verdict == Verdict::Success {
            if !counted {
                backend.judge(now, &permit, end, Duration::ZERO);
            }
            match end {
                Verdict::Success if self.rules.is_some() => backend.on_try_succeeded(),
                Verdict::Success | Verdict::Nothing => {}
                Verdict::Failure(_) => {
                    let listed = match ended {
                        Ended::Complete { grpc } => {
                            self.lists(Fault::Head(Answer { status: 200, grpc, retry_after: None, replayable: false }))
                        }
                        Ended::Broken | Ended::CallerGone => false,
                    };
                    backend.on_try_failed(now, listed);
                }
            }
        }
        backend.end(permit);
        let left = match (verdict, end) {
            (_, Verdict::Nothing) => Left::CallerGone,
            (Verdict::Success, Verdict::Success) => Left::Served,
            (_, _) => Left::Failed,
        };
        self.leave(now, backend, left);
    }

    /// The time that the last [`Step::Wait`] named has come.
    pub fn on_deadline(&mut self, now: Instant, backend: &mut Backend, replay: Replay) {
        // The other states look at the time when they are stepped; a body may take as long as it streams.
        if !self.is_trying() {
            return;
        }
        self.forget_hedge(backend);
        if self.is_late(now) {
            self.end_tries(now, backend, End::OutOfTime);
            self.leave(now, backend, Left::TimedOut);
            self.reply(Reason::DeadlineExceeded);
            return;
        }
        while let Some(late) = self.take(|one| one.is_late(now)) {
            if late.is_sent() {
                self.rare_mut().cancels.push(late.number);
                if let Phase::Sent(permit) = &late.phase {
                    late.kind.sample(now, backend, now.since(permit.started()));
                }
            }
            self.fail(now, backend, late, Fault::PerTryTimeout, replay != Replay::No, Reason::PerTryTimeout);
        }
        if let Some((_, after)) = self.hedge_at.filter(|(at, _)| *at <= now)
            && self.is_trying()
        {
            self.hedge_at = None;
            if replay == Replay::AtOnce {
                self.hedge(now, backend, after);
            }
        }
    }

    /// The request is over, and [`Exchange::step`] has nothing but [`Step::Done`] to say.
    #[must_use]
    #[inline]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done) && !self.owes && self.rare.as_ref().is_none_or(|rare| rare.cancels.is_empty())
    }

    /// The caller went away: hands everything back.
    pub fn cancel(&mut self, now: Instant, backend: &mut Backend) {
        if mutant!("retry-of-who-left-stays-under-way", std::mem::take(&mut self.owes), false) {
            backend.on_retry_over();
        }
        if self.is_trying() {
            self.end_tries(now, backend, End::Quit);
            self.leave(now, backend, Left::CallerGone);
            return;
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Arrived | State::Replying(_) | State::Done => {}
            State::Queued { .. } => backend.withdraw_from_queue(now, self.ticket),
            State::Ready => self.leave(now, backend, Left::Unused),
            State::BackingOff { .. } | State::Trying(_) => self.leave(now, backend, Left::CallerGone),
            State::Answering(chosen) => {
                self.rare_mut().cancels.push(chosen.number);
                backend.end(chosen.permit);
                self.leave(now, backend, Left::CallerGone);
            }
        }
    }

    /// Whether [`Exchange::poll_note`] or [`Exchange::poll_injected`] has something to tell.
    #[must_use]
    #[inline]
    pub fn has_news(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.notes.is_empty() || !rare.injected.is_empty())
    }

    /// What became of a failed try, or of one that takes long: `retry 1 of 2, waits 31 ms, budget 4.2`; for history. Ask
    /// until there is no more.
    #[inline]
    pub fn poll_note(&mut self) -> Option<RetryNote> {
        let notes = &mut self.rare.as_mut()?.notes;
        if notes.is_empty() { None } else { Some(notes.remove(0)) }
    }

    /// What a fault of the route does to a try; for history. Ask until there is no more.
    #[inline]
    pub fn poll_injected(&mut self) -> Option<Injected> {
        let injected = &mut self.rare.as_mut()?.injected;
        if injected.is_empty() { None } else { Some(injected.remove(0)) }
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

    /// Sends what is due, or says what is waited for. `None`: look at the state again.
    fn step_tries(&mut self, now: Instant, backend: &mut Backend) -> Option<Step> {
        if self.owes {
            self.rare_mut().hedges += 1;
            return self.begin_try(now, backend, Kind::Hedge);
        }
        let hedge_at = self.hedge_at.map(|(at, _)| at);
        if let State::Trying(Try { phase: Phase::Sent(_), until, .. }) = &self.state
            && self.rivals().is_empty()
        {
            return Some(Step::Wait { until: earlier(hedge_at, *until), why: "try" });
        }
        if let Some(held) = self.take(|one| one.is_due(now)) {
            return match held.phase {
                Phase::Held { abort: Some(with), .. } => {
                    self.abort(now, backend, held.kind, with);
                    None
                }
                Phase::Held { abort: None, .. } | Phase::Sent(_) => {
                    self.send(now, backend, held.kind, held.until, Some(held.number))
                }
            };
        }
        let until = self.tries().map(Try::wakes).fold(hedge_at, earlier);
        let why = if self.tries().any(Try::is_sent) { "try" } else { "fault" };
        Some(Step::Wait { until, why })
    }

    /// Begins a try: throws the dice of the route's fault first.
    fn begin_try(&mut self, now: Instant, backend: &mut Backend, kind: Kind) -> Option<Step> {
        self.owes = false;
        let until = earlier(self.per_try.map(|span| now + span), self.deadline);
        if self.is_too_late_to_try(now) {
            return self.give_up(now, backend, kind, Reason::DeadlineExceeded);
        }
        let injection = self.rare.as_ref().and_then(|rare| rare.injection);
        let Some((delay, abort)) = injection.and_then(|injection| backend.draw_fault(&injection)) else {
            return self.send(now, backend, kind, until, None);
        };
        let number = self.count_try(now, backend);
        let status = abort.map(|abort| abort.reply().status);
        self.rare_mut().injected.push(Injected { attempt: number, delay, abort: status });
        self.add(Try { number, kind, until, phase: Phase::Held { at: now + delay, abort } });
        None
    }

    /// Picks an endpoint for a try; `number` is its own if it has begun before.
    fn send(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        kind: Kind,
        until: Option<Instant>,
        number: Option<AttemptNumber>,
    ) -> Option<Step> {
        if self.is_too_late_to_try(now) {
            return self.give_up(now, backend, kind, Reason::DeadlineExceeded);
        }
        if self.is_trying() {
            // Where one is under way.
            for index in 0..=self.rivals().len() {
                let slot = self.tries().nth(index).and_then(Try::slot);
                slot.into_iter().for_each(|slot| self.avoid(slot));
            }
        }
        let connect_timeout = backend.policy().connect_timeout;
        let picked = match backend.pick(now, self.tried(), self.hash) {
            Ok(picked) => picked,
            Err(reason) => return self.give_up(now, backend, kind, reason),
        };
        let Picked { permit, endpoint, over } = picked;
        let endpoint = Arc::clone(endpoint);
        let number = number.unwrap_or_else(|| self.count_try(now, backend));
        self.add(Try { number, kind, until, phase: Phase::Sent(permit) });
        Some(Step::Try(Attempt { number, endpoint, over, until, connect_timeout }))
    }

    /// A try that cannot be sent: the others go on, or the request ends.
    fn give_up(&mut self, now: Instant, backend: &mut Backend, kind: Kind, reason: Reason) -> Option<Step> {
        kind.over(backend);
        if !self.is_trying() {
            let left = match self.number {
                0 => Left::Unused,
                _ if reason == Reason::DeadlineExceeded => Left::TimedOut,
                _ => Left::Failed,
            };
            self.leave(now, backend, left);
            self.reply(reason);
        }
        None
    }

    /// The number of a try that begins now.
    fn count_try(&mut self, now: Instant, backend: &mut Backend) -> AttemptNumber {
        self.number += 1;
        if self.number == 1 {
            backend.on_first_try(now);
        }
        self.hedge_at = None;
        let hedges = self.hedges();
        if let Some(hedging) = &backend.policy().hedging
            && hedges + 1 < hedging.attempts
            && (self.idempotent || hedging.non_idempotent)
            && let Some(delay) = backend.hedge_delay(now)
            && self.deadline.is_none_or(|deadline| now + delay < deadline)
        {
            self.hedge_at = Some((now + delay, delay));
        }
        self.number
    }

    fn add(&mut self, one: Try) {
        if self.is_trying() {
            self.rare_mut().rivals.push(one);
        } else {
            self.state = State::Trying(one);
        }
    }

    /// Decides whether another try is sent beside those under way.
    fn hedge(&mut self, now: Instant, backend: &mut Backend, after: Duration) {
        // The settings may be others than when it was planned.
        let hedging = backend.policy().hedging.filter(|hedging| self.hedges() + 1 < hedging.attempts);
        let Some(hedging) = hedging else { return };
        let note = match mutant!("hedge-outside-the-budget", backend.withdraw(now), Ok(backend.take_unasked())) {
            Ok(budget_left) if backend.admits(now) => {
                self.owes = true;
                RetryNote::Hedge { hedge: self.hedges() + 1, of: hedging.attempts - 1, after, budget_left }
            }
            Ok(_) => {
                backend.on_retry_over();
                RetryNote::Throttled
            }
            Err(_) => RetryNote::HedgeOverBudget,
        };
        self.rare_mut().notes.push(note);
    }

    /// A hedge that was decided and has not begun is not needed any more.
    fn forget_hedge(&mut self, backend: &mut Backend) {
        if self.is_trying() && std::mem::take(&mut self.owes) {
            backend.on_retry_over();
        }
    }

    /// A fault of the route answers a try.
    fn abort(&mut self, now: Instant, backend: &mut Backend, kind: Kind, with: AbortWith) {
        // Nothing of its body was sent.
        let answer = with.answer();
        let (verdict, fault) = (judge_head(answer), Fault::Head(answer));
        let listed = self.lists(fault);
        backend.on_answer(now, answer);
        kind.over(backend);
        if listed || verdict.is_failure() {
            backend.on_try_failed(now, listed);
            if self.is_trying() || self.retries(now, backend, None, fault, true) {
                return;
            }
        }
        self.end_tries(now, backend, End::Lost);
        self.leave(now, backend, Left::Failed);
        self.state = State::Replying(with.reply());
    }

    /// A try is over without a head: the others go on, or it is repeated, or the request ends.
    fn fail(
        &mut self,
        now: Instant,
        backend: &mut Backend,
        failed: Try,
        fault: Fault,
        replayable: bool,
        reason: Reason,
    ) {
        let slot = match &failed.phase {
            Phase::Sent(permit) => {
                backend.judge(now, permit, fault.verdict(), now.since(permit.started()));
                Some(permit.slot())
            }
            Phase::Held { .. } => None,
        };
        backend.on_try_failed(now, self.lists(fault));
        failed.kind.over(backend);
        let others = self.is_trying();
        let again = others || self.retries(now, backend, slot, fault, replayable);
        if let Some(slot) = slot.filter(|_| others) {
            self.avoid(slot);
        }
        if let Phase::Sent(permit) = failed.phase {
            backend.end(permit);
        }
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
        let Some(rules) = self.rules.filter(|rules| rules.lists(fault)) else { return false };
        let rare = &mut **self.rare.get_or_insert_default();
        let retry = rare.retries + 1;
        if !replayable || !(self.idempotent || rules.non_idempotent || fault.is_unseen()) {
            rare.notes.push(RetryNote::NotRepeatable);
            return false;
        }
        if retry > rules.retries {
            rare.notes.push(RetryNote::Exhausted);
            return false;
        }
        let drawn = backend.draw_wait(&rules.backoff, retry, rare.waited);
        let wait = drawn.max(fault.retry_after());
        let until = now + wait;
        if mutant!("retry-waits-past-the-deadline", self.deadline, None).is_some_and(|deadline| until >= deadline) {
            rare.notes.push(RetryNote::NoTime);
            return false;
        }
        let Ok(budget_left) = backend.withdraw(now) else {
            rare.notes.push(RetryNote::OverBudget);
            return false;
        };
        if !backend.admits(now) {
            backend.on_retry_over();
            rare.notes.push(RetryNote::Throttled);
            return false;
        }
        let of = rules.retries;
        rare.notes.push(RetryNote::Retry { retry, of, wait, budget_left });
        rare.retries = retry;
        rare.waited = drawn;
        self.hedge_at = None;
        self.owes = true;
        if let Some(slot) = slot {
            self.avoid(slot);
        }
        self.state = State::BackingOff { until };
        true
    }

    fn lists(&self, fault: Fault) -> bool {
        self.rules.as_ref().is_some_and(|rules| rules.lists(fault))
    }

    fn avoid(&mut self, slot: SlotId) {
        let tried = &mut self.rare_mut().tried;
        if !tried.contains(&slot) {
            tried.push(slot);
        }
    }

    fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying(_))
    }

    fn tries(&self) -> impl Iterator<Item = &Try> {
        let first = match &self.state {
            State::Trying(first) => Some(first),
            State::Arrived
            | State::Queued { .. }
            | State::Ready
            | State::BackingOff { .. }
            | State::Answering(_)
            | State::Replying(_)
            | State::Done => None,
        };
        first.into_iter().chain(self.rivals())
    }

    /// Takes out the first try that fits; the state is `Done`, for the caller to set, if it was the last.
    fn take(&mut self, fits: impl Fn(&Try) -> bool) -> Option<Try> {
        let index = self.tries().position(fits)?;
        if index > 0 {
            return Some(self.rare_mut().rivals.remove(index - 1));
        }
        let next = match &mut self.rare {
            Some(rare) if !rare.rivals.is_empty() => State::Trying(rare.rivals.remove(0)),
            Some(_) | None => State::Done,
        };
        match std::mem::replace(&mut self.state, next) {
            State::Trying(first) => Some(first),
            other @ (State::Arrived
            | State::Queued { .. }
            | State::Ready
            | State::BackingOff { .. }
            | State::Answering(_)
            | State::Replying(_)
            | State::Done) => unreachable!("a try was found in {other:?}"),
        }
    }

    /// Takes out a try that the shell reports about.
    fn take_sent(&mut self, backend: &mut Backend, number: AttemptNumber) -> Option<(Kind, Permit)> {
        self.forget_hedge(backend);
        if let State::Trying(Try { number: own, phase: Phase::Sent(_), .. }) = &self.state
            && *own == number
            && self.rivals().is_empty()
        {
            let State::Trying(Try { kind, phase: Phase::Sent(permit), .. }) =
                std::mem::replace(&mut self.state, State::Done)
            else {
                unreachable!("it was just looked at")
            };
            return Some((kind, permit));
        }
        let Try { kind, phase, .. } = self.take(|one| one.number == number && one.is_sent())?;
        match phase {
            Phase::Sent(permit) => Some((kind, permit)),
            Phase::Held { .. } => None,
        }
    }

    /// Ends every try under way.
    fn end_tries(&mut self, now: Instant, backend: &mut Backend, how: End) {
        if !self.is_trying() {
            return;
        }
        while let Some(one) = self.take(|_| true) {
            let running = one.end(now, backend, how);
            if let Some(number) = mutant!("loser-is-not-cancelled", running, running.filter(|_| how != End::Lost)) {
                self.rare_mut().cancels.push(number);
            }
        }
    }

    fn reply(&mut self, reason: Reason) {
        self.state = State::Replying(LocalReply::of(reason));
    }

    fn is_too_late_to_try(&self, now: Instant) -> bool {
        mutant!("tries-begin-after-the-deadline", self.is_late(now), false)
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

/// The earlier of two moments that may not be.
pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
