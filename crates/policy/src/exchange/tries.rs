//! One try of an exchange, and how it ends.

use crate::Instant;
use crate::backend::{Backend, Permit, SlotId};
use crate::exchange::AttemptNumber;
use crate::mesh::AbortWith;
use crate::verdict::Verdict;

/// A try that is not over.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) number: AttemptNumber,
    pub(super) kind: Kind,
    /// Its own time, or the request's, runs out then.
    pub(super) until: Option<Instant>,
    pub(super) phase: Phase,
}

/// Why it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    First,
    Retry,
    Hedge,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// By a fault of the route, until then.
    Held {
        at: Instant,
        abort: Option<AbortWith>,
    },
    Sent(Permit),
}

/// The try whose answer the caller gets.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) number: AttemptNumber,
    pub(super) permit: Permit,
    pub(super) verdict: Verdict,
    /// The shell was told to forward it.
    pub(super) told: bool,
    /// A success that was counted already, by [`Exchange::on_connected`](super::Exchange::on_connected).
    pub(super) counted: bool,
}

/// How a try ends that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another was better.
    Lost,
    /// The request's time ran out.
    OutOfTime,
    /// The caller has gone.
    Quit,
}

impl Try {
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.phase, Phase::Sent(_))
    }

    pub(super) fn slot(&self) -> Option<SlotId> {
        match &self.phase {
            Phase::Sent(permit) => Some(permit.slot()),
            Phase::Held { .. } => None,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Held { at, .. } if at <= now)
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// When something happens to it by itself.
    pub(super) fn wakes(&self) -> Option<Instant> {
        let held = match self.phase {
            Phase::Held { at, .. } => Some(at),
            Phase::Sent(_) => None,
        };
        super::machine::earlier(held, self.until)
    }

    /// Hands everything back. Gives its number if it must be stopped.
    pub(super) fn end(self, now: Instant, backend: &mut Backend, how: End) -> Option<AttemptNumber> {
        self.kind.over(backend);
        let Phase::Sent(permit) = self.phase else { return None };
        let took = now.since(permit.started());
        match how {
            End::Lost => {
                backend.on_lost(now, &permit);
                mutant!("losers-are-no-samples", self.kind.sample(now, backend, took), ());
            }
            End::OutOfTime => {
                backend.judge(now, &permit, Verdict::NO_ANSWER, took);
                backend.on_try_failed(now, false);
                self.kind.sample(now, backend, took);
            }
            End::Quit => {}
        }
        backend.end(permit);
        Some(self.number)
    }
}

impl Kind {
    /// The budgets may count it as over.
    pub(super) fn over(self, backend: &mut Backend) {
        match self {
            Self::First => {}
            Self::Retry | Self::Hedge => backend.on_retry_over(),
        }
    }

    /// It is a fair sample of how long a try takes.
    pub(super) fn sample(self, now: Instant, backend: &mut Backend, took: std::time::Duration) {
        match self {
            Self::First | Self::Retry => backend.on_latency(now, took),
            Self::Hedge => mutant!("hedges-are-samples", (), backend.on_latency(now, took)),
        }
    }
}
