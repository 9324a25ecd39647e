//! Places for requests in flight, and the queue for them.
//!
//! ```text
//!             a place is free and nobody waits
//!   enter ─────────────────────────────────────▶ Placed ─ leave ─▶ (gone; the place goes to the first in the queue)
//!     │ room in the queue                           ▲
//!     ├──────────────────▶ Queued ── a place ──▶ Granted ─ claim ─┘
//!     │                       └ withdraw ▶ (gone)   └ withdraw ▶ (gone; the place goes on)
//!     └─ no room ─▶ Full
//! ```
//!
//! First come, first served, in the order of tickets; nobody overtakes the queue. A granted place counts as taken until it
//! is claimed or withdrawn. Source: Envoy's `max_requests` and `max_pending_requests`.

use std::collections::{BTreeSet, VecDeque};

use crate::backend::Ticket;
use crate::mesh::Limits;

/// The machine.
#[derive(Debug)]
pub(crate) struct Admission {
    in_flight: u32,
    queue: BTreeSet<Ticket>,
    granted: BTreeSet<Ticket>,
    to_wake: VecDeque<Ticket>,
}

/// What became of a request at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It has a place.
    Placed,
    /// It waits.
    Queued,
    /// It is refused.
    Full,
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { in_flight: 0, queue: BTreeSet::new(), granted: BTreeSet::new(), to_wake: VecDeque::new() }
    }

    pub(crate) fn enter(&mut self, ticket: Ticket, limits: &Limits) -> Entry {
        if self.queue.is_empty() && self.in_flight < limits.in_flight {
            self.in_flight += 1;
            return Entry::Placed;
        }
        if self.queue.len() < limits.pending as usize {
            self.queue.insert(ticket);
            return Entry::Queued;
        }
        Entry::Full
    }

    /// A place is handed back.
    pub(crate) fn leave(&mut self, limits: &Limits) {
        self.in_flight = self.in_flight.checked_sub(1).expect("only who has a place hands one back");
        self.grant(limits);
    }

    /// Gives free places to those who wait; also after the limits changed.
    pub(crate) fn grant(&mut self, limits: &Limits) {
        while self.in_flight < limits.in_flight {
            let Some(ticket) = self.queue.pop_first() else { return };
            self.in_flight += 1;
            self.granted.insert(ticket);
            self.to_wake.push_back(ticket);
        }
    }

    /// Whether a waiting request has got its place; from then on it must `leave`.
    pub(crate) fn claim(&mut self, ticket: Ticket) -> bool {
        !self.granted.is_empty() && self.granted.remove(&ticket)
    }

    /// A waiting request gives up.
    pub(crate) fn withdraw(&mut self, ticket: Ticket, limits: &Limits) {
        if !self.queue.remove(&ticket) && self.granted.remove(&ticket) {
            self.leave(limits);
        }
    }

    /// Next one to wake. Those that gave up meanwhile are skipped.
    pub(crate) fn poll_granted(&mut self) -> Option<Ticket> {
        while let Some(ticket) = self.to_wake.pop_front() {
            if self.granted.contains(&ticket) {
                return Some(ticket);
            }
        }
        None
    }

    pub(crate) fn load(&self) -> (u32, u32) {
        (self.in_flight, u32::try_from(self.queue.len()).expect("the queue is bounded by a u32"))
    }
}
