//! What the hosts of a world say.

use std::sync::{Arc, Mutex, PoisonError};

use squall_policy::Instant;

/// What the hosts of a world said, and when.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(Instant, String)>>>);

impl Log {
    pub(crate) fn say(&self, at: Instant, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, what.to_owned()));
    }

    pub(crate) fn said(&self) -> Vec<(Instant, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
