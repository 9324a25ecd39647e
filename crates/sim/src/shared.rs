//! What all hosts of one run share outside the simulated network: the scenario, the books, the start signal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use squall_policy::Instant;

use crate::arrivals::Schedule;
use crate::engine::Interrupt;
use crate::journal::Journal;
use crate::knobs::Gate;
use crate::ledger::{Ledger, Party};
use crate::scenario::Scenario;

/// See the module.
pub(crate) struct Shared {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Journal,
    pub(crate) targets: Targets,
    /// Opens with the world time of the scenario's time 0.
    pub(crate) start: Gate<Instant>,
    /// The arrivals of each open load.
    pub(crate) schedules: Vec<Option<Mutex<Schedule>>>,
    /// Faults that wait for a number of answers.
    pub(crate) triggers: Triggers,
    pub(crate) interrupt: Interrupt,
}

/// Which workload stands behind a host name.
#[derive(Debug, Default)]
pub(crate) struct Targets(BTreeMap<String, Party>);

impl Targets {
    /// Workloads by host name, lower case, without port.
    pub(crate) fn new(names: impl IntoIterator<Item = (String, Party)>) -> Self {
        Self(names.into_iter().collect())
    }

    /// The workload behind `host`, which may have a port.
    pub(crate) fn find(&self, host: &str) -> Option<Party> {
        let name = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
        self.0.get(&name).copied()
    }
}

/// Stops the world when so many requests have been answered, before the next is sent.
#[derive(Default)]
pub(crate) struct Triggers(Mutex<Vec<(u64, Gate<()>)>>);

impl Triggers {
    /// Stops at `answers`; whoever got the last of them waits until the returned gate opens.
    pub(crate) fn arm(&self, answers: u64) -> Gate<()> {
        let gate = Gate::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((answers, gate.clone()));
        gate
    }

    /// The gates to wait at now that there are so many answers.
    fn due(&self, answers: u64) -> Vec<Gate<()>> {
        let armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        armed.iter().filter(|(at, _)| *at == answers).map(|(_, gate)| gate.clone()).collect()
    }
}

impl Shared {
    /// Called by a load generator after each answer with the number of answers so far: waits out what is triggered by it.
    pub(crate) async fn after_answer(&self, answers: u64) {
        let due = self.triggers.due(answers);
        if !due.is_empty() {
            self.interrupt.raise();
        }
        for gate in due {
            gate.opened().await;
        }
    }
}
