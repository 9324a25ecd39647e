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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { in_flight: 2, pending: 2, queue_timeout: None };

    fn full_house() -> Admission {
        let mut admission = Admission::new();
        let entries: Vec<_> = (1..=5).map(|n| admission.enter(Ticket(n), &LIMITS)).collect();
        assert_eq!(entries, [Entry::Placed, Entry::Placed, Entry::Queued, Entry::Queued, Entry::Full]);
        assert_eq!(admission.load(), (2, 2));
        admission
    }

    #[test]
    fn a_free_place_goes_to_the_first_in_the_queue() {
        let mut admission = full_house();
        admission.leave(&LIMITS);
        assert_eq!(admission.poll_granted(), Some(Ticket(3)));
        assert_eq!(admission.poll_granted(), None);
        assert!(!admission.claim(Ticket(4)) && admission.claim(Ticket(3)) && !admission.claim(Ticket(3)));
        assert_eq!(admission.load(), (2, 1));
    }

    #[test]
    fn who_gives_up_leaves_the_queue_or_passes_the_place_on() {
        let mut admission = full_house();
        admission.leave(&LIMITS);
        admission.withdraw(Ticket(3), &LIMITS);
        assert_eq!(admission.poll_granted(), Some(Ticket(4)), "the place of 3 has gone on");
        assert!(admission.claim(Ticket(4)));
        assert_eq!(admission.load(), (2, 0));
        admission.withdraw(Ticket(9), &LIMITS);
        assert_eq!(admission.load(), (2, 0), "strangers change nothing");
    }

    #[test]
    fn raised_limits_let_the_queue_in_and_lowered_ones_wait_for_leavers() {
        let mut admission = full_house();
        admission.grant(&Limits { in_flight: 4, ..LIMITS });
        assert_eq!(admission.load(), (4, 0));
        let low = Limits { in_flight: 1, ..LIMITS };
        assert_eq!(admission.enter(Ticket(6), &low), Entry::Queued);
        (0..3).for_each(|_| admission.leave(&low));
        assert_eq!(admission.load(), (1, 1));
        admission.leave(&low);
        assert_eq!(admission.load(), (1, 0));
    }

    #[test]
    fn without_a_queue_the_next_is_refused_at_once() {
        let mut admission = Admission::new();
        let limits = Limits { in_flight: 1, pending: 0, queue_timeout: None };
        assert_eq!(admission.enter(Ticket(1), &limits), Entry::Placed);
        assert_eq!(admission.enter(Ticket(2), &limits), Entry::Full);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model is a line of people and a count.
            #[test]
            fn decides_as_a_line_of_people(
                events in prop::collection::vec((0_u8..6, any::<u16>()), 1..200),
                in_flight in 1_u32..5,
                pending in 0_u32..5,
            ) {
                let mut limits = Limits { in_flight, pending, queue_timeout: None };
                let mut admission = Admission::new();
                let (mut inside, mut line): (Vec<Ticket>, Vec<Ticket>) = (Vec::new(), Vec::new());
                for (number, (kind, die)) in events.into_iter().enumerate() {
                    let die = usize::from(die);
                    match kind {
                        0..3 => {
                            let ticket = Ticket(number as u64);
                            let want = if line.is_empty() && (inside.len() as u32) < limits.in_flight {
                                inside.push(ticket);
                                Entry::Placed
                            } else if (line.len() as u32) < limits.pending {
                                line.push(ticket);
                                Entry::Queued
                            } else {
                                Entry::Full
                            };
                            prop_assert_eq!(admission.enter(ticket, &limits), want);
                        }
                        3 if !inside.is_empty() => {
                            inside.remove(die % inside.len());
                            admission.leave(&limits);
                        }
                        4 if !line.is_empty() => {
                            let ticket = line.remove(die % line.len());
                            admission.withdraw(ticket, &limits);
                        }
                        _ => {
                            limits.in_flight = 1 + die as u32 % 5;
                            admission.grant(&limits);
                        }
                    }
                    while (inside.len() as u32) < limits.in_flight && !line.is_empty() {
                        let ticket = line.remove(0);
                        inside.push(ticket);
                        prop_assert_eq!(admission.poll_granted(), Some(ticket));
                        prop_assert!(admission.claim(ticket));
                    }
                    prop_assert_eq!(admission.poll_granted(), None);
                    prop_assert_eq!(admission.load(), (inside.len() as u32, line.len() as u32));
                }
            }
        }
    }
}
