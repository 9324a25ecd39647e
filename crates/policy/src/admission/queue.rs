//! Those who wait, by rank and in order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use crate::Instant;
use crate::backend::Ticket;
use crate::mesh::QueueOrder;
use crate::priority::{Class, Rank};

/// The queue. By rank, and in a line for each class.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: [BTreeMap<Ticket, Waiting>; Class::ALL.len()],
    by_rank: BTreeSet<(Rank, Ticket)>,
    /// Ranks count. Otherwise all are of the default one.
    priorities: bool,
    /// Since when there has been somebody all the time.
    busy_since: Option<Instant>,
}

/// One who waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Its own, whether ranks count or not.
    pub(super) rank: Rank,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
}

impl Queue {
    pub(super) fn new(priorities: bool) -> Self {
        Self { priorities, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_rank.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.by_rank.len()
    }

    pub(super) fn push(&mut self, now: Instant, ticket: Ticket, waiting: Waiting) {
        self.busy_since.get_or_insert(now);
        let rank = self.counted(waiting.rank);
        self.by_rank.insert((rank, ticket));
        self.lines[rank.class as usize].insert(ticket, waiting);
    }

    /// The rank as far as ranks count.
    pub(super) fn counted(&self, rank: Rank) -> Rank {
        if self.priorities { rank } else { Rank::default() }
    }

    /// Whether ranks count from now on, also among those who wait.
    pub(super) fn set_priorities(&mut self, priorities: bool) {
        if priorities == self.priorities {
            return;
        }
        self.priorities = priorities;
        self.by_rank.clear();
        let all: Vec<_> = self.lines.iter_mut().flat_map(std::mem::take).collect();
        for (ticket, waiting) in all {
            self.push(waiting.since, ticket, waiting);
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.lines.iter_mut().find_map(|line| line.remove(&ticket))?;
        self.by_rank.remove(&(self.counted(waiting.rank), ticket));
        if self.by_rank.is_empty() {
            self.busy_since = None;
        }
        Some(waiting)
    }

    pub(super) fn find(&self, ticket: Ticket) -> Option<&Waiting> {
        self.lines.iter().find_map(|line| line.get(&ticket))
    }

    /// Who is served next.
    pub(super) fn next(&self, now: Instant, order: QueueOrder) -> Option<Ticket> {
        if mutant!("last-come-first-served", self.is_lifo(now, order), true) {
            let line = self.lines.iter().find(|line| !line.is_empty())?;
            return line.last_key_value().map(|(ticket, _)| *ticket);
        }
        // Without priorities all are of one rank, and tickets count.
        self.by_rank.first().map(|(_, ticket)| *ticket)
    }

    /// Whether the last comer is first now.
    pub(super) fn is_lifo(&self, now: Instant, order: QueueOrder) -> bool {
        match order {
            QueueOrder::Fifo => false,
            QueueOrder::AdaptiveLifo { after } => self.busy_since.is_some_and(|since| now.since(since) >= after),
        }
    }

    /// Who has waited longest.
    pub(super) fn oldest(&self) -> Option<(Ticket, Waiting)> {
        let firsts = self.lines.iter().filter_map(BTreeMap::first_key_value);
        firsts.min_by_key(|(ticket, _)| **ticket).map(|(ticket, waiting)| (*ticket, *waiting))
    }

    /// Who matters least.
    pub(super) fn worst(&self) -> Option<(Rank, Ticket)> {
        mutant!("the-best-in-the-queue-is-sent-away", self.by_rank.last(), self.by_rank.first()).copied()
    }

    /// How many would be served before a newcomer of this rank.
    pub(super) fn ahead(&self, rank: Rank) -> usize {
        let ahead = |(waiting, _): &&(Rank, Ticket)| *waiting <= rank;
        if self.priorities { self.by_rank.iter().take_while(ahead).count() } else { self.len() }
    }
}
