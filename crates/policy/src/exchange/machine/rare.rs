//! What an exchange keeps only if something went wrong, is injected, or a hedge was sent.

use std::time::Duration;

use super::{AttemptNumber, Exchange, RetryNote, SlotId, Try};
use crate::route_fault::{Injected, Injection};

/// What only some requests need.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) injection: Option<Injection>,
    /// Tries that were retries, and hedges.
    pub(super) retries: u32,
    pub(super) hedges: u32,
    /// The wait before the latest retry.
    pub(super) waited: Duration,
    /// Tries beside that in the state.
    pub(super) rivals: Vec<Try>,
    /// Where tries failed already, or are under way beside a hedge.
    pub(super) tried: Vec<SlotId>,
    /// Tries that the shell must still stop.
    pub(super) cancels: Vec<AttemptNumber>,
    /// For history.
    pub(super) notes: Vec<RetryNote>,
    pub(super) injected: Vec<Injected>,
}

impl Exchange {
    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn hedges(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.hedges)
    }

    pub(super) fn rivals(&self) -> &[Try] {
        self.rare.as_ref().map(|rare| &rare.rivals[..]).unwrap_or_default()
    }

    pub(super) fn tried(&self) -> &[SlotId] {
        self.rare.as_ref().map(|rare| &rare.tried[..]).unwrap_or_default()
    }
}
