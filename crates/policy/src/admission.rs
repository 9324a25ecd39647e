//! Places for requests in flight, and the queue for them.
//!
//! ```text
//!             a place is free and nobody waits
//!   enter ─────────────────────────────────────▶ Placed ─ leave ─▶ (gone; the place goes to the next in the queue)
//!     │ room in the queue, or a worse one in it     ▲
//!     ├──────────────────▶ Queued ── a place ──▶ Granted ─ claim ─┘
//!     │                       ├ withdraw ▶ (gone)   └ withdraw ▶ (gone; the place goes on)
//!     │                       └ outranked by a newcomer, waits too long (CoDel), would be late ▶ Shed ─ claim ▶ (gone)
//!     └─ no room, outranked, would be late ─▶ Refused
//! ```
//!
//! First come, first served, in the order of tickets; nobody overtakes the queue. With priorities, in the order of ranks: served
//! in order of arrival within a class, requests would be kept or lost at each service by the chance of its queue (measured: of
//! three services at 1.5 times their load, 68 of 80 possible requests a second pass all three, in the order of ranks 77). In
//! overload, with an adaptive order, the last comer of the best class is first. A granted place counts as taken until it is
//! claimed or withdrawn.
//!
//! **Would be late** (`deadline_aware`): the latest requests held their places for so long (mean plus twice the mean
//! deviation, as TCP estimates a round trip, RFC 6298), and with as many ahead of it a request gets its place after (ahead + 1) ×
//! mean ÷ places. A newcomer whose place and time together end after its deadline is refused at once; one that is next and
//! whose time alone does is passed over, if somebody else waits. Without, a queue under a steady overload serves those whose
//! time is nearly up, and nobody in time. Measured at twice the load and exponential services (`tests/overload.rs`), answers in
//! time for each that could be: without .01; at the door alone .06, before the place alone .93, both .96; by the mean alone .83.
//!
//! Sources: Envoy's `max_requests` and `max_pending_requests`; for the rest see `gradient`, `vegas`, `codel`, `priority`.

mod limit;
mod queue;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(crate) use self::limit::Left;
use self::limit::Limit;
use self::queue::{Queue, Waiting};
use crate::backend::Ticket;
use crate::codel::Codel;
use crate::gradient::Moved;
use crate::mesh::Limits;
use crate::priority::Rank;
use crate::reply::Reason;
use crate::{Instant, Rng};

/// The machine.
#[derive(Debug)]
pub(crate) struct Admission {
    in_flight: u32,
    limit: Limit,
    queue: Queue,
    codel: Codel,
    granted: BTreeSet<Ticket>,
    /// Sent away from the queue, and not told yet.
    shed: BTreeMap<Ticket, Reason>,
    to_wake: VecDeque<Ticket>,
    held: Held,
    /// What the limit did last, until it is told.
    moved: Option<Moved>,
    dice: Rng,
}

/// Who asks for a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) ticket: Ticket,
    pub(crate) rank: Rank,
    pub(crate) deadline: Option<Instant>,
}

/// What became of a request at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It has a place.
    Placed,
    /// It waits.
    Queued,
    /// It is refused.
    Refused(Reason),
}

/// What became of one that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It waits still.
    Waits,
    /// It has a place.
    Placed,
    /// It was sent away.
    Shed(Reason),
}

/// For how long places are held, in nanoseconds (RFC 6298: gains of an eighth and a quarter).
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    mean: u64,
    deviation: u64,
}

impl Held {
    fn observe(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        if self.mean == 0 {
            *self = Self { mean: nanos, deviation: nanos / 2 };
            return;
        }
        let away = self.mean.abs_diff(nanos);
        self.deviation = self.deviation - self.deviation / 4 + away / 4;
        self.mean = self.mean - self.mean / 8 + nanos / 8;
    }

    /// For how long nearly all are.
    fn likely(self) -> Duration {
        Duration::from_nanos(self.mean.saturating_add(self.deviation.saturating_mul(2)))
    }
}

impl Admission {
    pub(crate) fn new(now: Instant, limits: &Limits, mut dice: Rng) -> Self {
        Self {
            in_flight: 0,
            limit: Limit::new(now, limits, &mut dice),
            queue: Queue::new(limits.queue.priorities),
            codel: Codel::default(),
            granted: BTreeSet::new(),
            shed: BTreeMap::new(),
            to_wake: VecDeque::new(),
            held: Held::default(),
            moved: None,
            dice,
        }
    }

    /// Other limits hold from now on.
    pub(crate) fn set_limits(&mut self, now: Instant, old: &Limits, limits: &Limits) {
        if old.adaptive != limits.adaptive {
            self.limit = Limit::new(now, limits, &mut self.dice);
        }
        self.queue.set_priorities(limits.queue.priorities);
        self.grant(now, limits);
    }

    pub(crate) fn enter(&mut self, now: Instant, asker: Asker, limits: &Limits) -> Entry {
        self.moved = self.limit.on_arrival(now, limits).or(self.moved);
        let places = self.limit.now(limits);
        if self.queue.is_empty() && self.in_flight < places {
            self.in_flight += 1;
            return Entry::Placed;
        }
        let Asker { ticket, deadline, .. } = asker;
        let rank = self.queue.counted(asker.rank);
        if limits.queue.deadline_aware && self.comes_too_late(now, rank, deadline, places, limits) {
            return Entry::Refused(Reason::WouldBeLate);
        }
        if self.queue.len() >= limits.pending as usize {
            match self.queue.worst() {
                Some((worst, loser)) if rank < worst && limits.pending > 0 => self.send_away(loser, Reason::Outranked),
                Some(_) if limits.queue.priorities && limits.pending > 0 => return Entry::Refused(Reason::Outranked),
                Some(_) | None => return Entry::Refused(Reason::QueueFull),
            }
        }
        self.queue.push(now, ticket, Waiting { rank: asker.rank, since: now, deadline });
        Entry::Queued
    }

    fn comes_too_late(
        &self,
        now: Instant,
        rank: Rank,
        deadline: Option<Instant>,
        places: u32,
        limits: &Limits,
    ) -> bool {
        let Some(deadline) = deadline else { return false };
        let ahead = if self.queue.is_lifo(now, limits.queue.order) { 0 } else { self.queue.ahead(rank) };
        let waits = u128::from(self.held.mean) * (ahead as u128 + 1) / u128::from(places.max(1));
        let waits = Duration::from_nanos(u64::try_from(waits).unwrap_or(u64::MAX));
        now + waits + self.held.likely() > deadline
    }

    /// A place is handed back that was held since `since`.
    pub(crate) fn leave(&mut self, now: Instant, (since, left): (Instant, Left), limits: &Limits) {
        if left != Left::Unused {
            self.held.observe(now.since(since));
            let moved = self.limit.on_leave(now, (since, left), self.in_flight, limits, &mut self.dice);
            self.moved = moved.or(self.moved);
        }
        self.in_flight = self.in_flight.checked_sub(1).expect("only who has a place hands one back");
        self.grant(now, limits);
    }

    /// Gives free places to those who wait.
    fn grant(&mut self, now: Instant, limits: &Limits) {
        while self.in_flight < self.limit.now(limits) {
            let Some((oldest, waiting)) = self.queue.oldest() else {
                self.codel.rest();
                return;
            };
            if let Some(codel) = &limits.queue.codel
                && self.codel.sheds(now, now.since(waiting.since), self.queue.len(), codel)
            {
                let worst = self.queue.worst().filter(|_| limits.queue.priorities);
                self.send_away(worst.map_or(oldest, |(_, ticket)| ticket), Reason::QueueDelay);
                continue;
            }
            let ticket = self.queue.next(now, limits.queue.order).expect("somebody waits");
            if limits.queue.deadline_aware && self.queue.len() > 1 && self.takes_too_long(now, ticket) {
                self.send_away(ticket, Reason::WouldBeLate);
                continue;
            }
            self.queue.remove(ticket);
            self.in_flight += 1;
            self.granted.insert(ticket);
            self.to_wake.push_back(ticket);
        }
    }

    fn takes_too_long(&self, now: Instant, ticket: Ticket) -> bool {
        let deadline = self.queue.find(ticket).and_then(|waiting| waiting.deadline);
        deadline.is_some_and(|deadline| now + self.held.likely() > deadline)
    }

    fn send_away(&mut self, ticket: Ticket, reason: Reason) {
        self.queue.remove(ticket).expect("it waits");
        self.shed.insert(ticket, reason);
        self.to_wake.push_back(ticket);
    }

    /// What became of a waiting request. Once it has its place it must `leave`; once it was sent away it is forgotten.
    pub(crate) fn claim(&mut self, ticket: Ticket) -> Claim {
        if !self.granted.is_empty() && self.granted.remove(&ticket) {
            return Claim::Placed;
        }
        match self.shed.remove(&ticket) {
            Some(reason) => Claim::Shed(reason),
            None => Claim::Waits,
        }
    }

    /// A waiting request gives up.
    pub(crate) fn withdraw(&mut self, now: Instant, ticket: Ticket, limits: &Limits) {
        if self.queue.remove(ticket).is_none() && self.shed.remove(&ticket).is_none() && self.granted.remove(&ticket) {
            self.leave(now, (now, Left::Unused), limits);
        }
    }

    /// Next one to wake: it got its place, or was sent away. Those that gave up meanwhile are skipped.
    #[inline]
    pub(crate) fn poll_granted(&mut self) -> Option<Ticket> {
        while let Some(ticket) = self.to_wake.pop_front() {
            if self.granted.contains(&ticket) || self.shed.contains_key(&ticket) {
                return Some(ticket);
            }
        }
        None
    }

    /// What the limit did since it was last asked.
    pub(crate) fn poll_moved(&mut self) -> Option<Moved> {
        self.moved.take()
    }

    /// How many places there are now.
    pub(crate) fn places(&self, limits: &Limits) -> u32 {
        self.limit.now(limits)
    }

    pub(crate) fn load(&self) -> (u32, u32) {
        (self.in_flight, u32::try_from(self.queue.len()).expect("the queue is bounded by a u32"))
    }
}

#[cfg(test)]
mod tests;
