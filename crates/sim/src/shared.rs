//! What all hosts of one run share outside the simulated network: the scenario, the books, the start signal.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_policy::{BackendName, Instant};

use crate::arrivals::Schedule;
use crate::engine::Interrupt;
use crate::journal::Journal;
use crate::knobs::Gate;
use crate::ledger::{Ledger, Party};
use crate::scenario::Scenario;

/// The first of the ports where sidecars take connections to one backend each.
const STREAM_PORTS: u16 = 15_101;

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
    /// The service of each pod, by its name.
    pub(crate) pods: BTreeMap<Arc<str>, Party>,
    /// The names of services, then loads.
    pub(crate) parties: Vec<String>,
    pub(crate) told: Mutex<Told>,
}

/// What the story has had already, and when proxies last took a mesh.
#[derive(Default)]
pub(crate) struct Told {
    lines: BTreeSet<String>,
    last_mesh: Instant,
    broken: BTreeSet<String>,
}

impl Shared {
    /// The service of the pod of this name.
    pub(crate) fn pod_party(&self, name: &str) -> Option<Party> {
        self.pods.get(name).copied()
    }

    /// A party's name.
    pub(crate) fn party_name(&self, party: Party) -> &str {
        &self.parties[usize::from(party.0)]
    }

    /// The namespace of a party's hosts.
    pub(crate) fn namespace(&self, party: Party) -> &Arc<str> {
        let services = &self.scenario.services;
        match services.get(usize::from(party.0)) {
            Some(service) => &service.namespace,
            None => &self.scenario.load[usize::from(party.0) - services.len()].namespace,
        }
    }

    /// `frontend→catalog`.
    pub(crate) fn edge(&self, from: Party, to: Option<Party>) -> String {
        format!("{}→{}", self.party_name(from), to.map_or("?", |to| self.party_name(to)))
    }

    /// A line for the story, unless it was told before, or the load has not begun.
    pub(crate) fn tell_once(&self, at: Instant, line: String) {
        if self.start.get().is_some() && self.told().lines.insert(line.clone()) {
            self.journal.tell(at, line);
        }
    }

    /// A proxy took a mesh.
    pub(crate) fn mesh_applied(&self, at: Instant) {
        self.told().last_mesh = at;
    }

    /// When a proxy last took a mesh.
    pub(crate) fn last_mesh(&self) -> Instant {
        self.told().last_mesh
    }

    /// Something between proxies and control plane went wrong that must not: the run fails.
    pub(crate) fn breaks(&self, what: String) {
        self.told().broken.insert(what);
    }

    /// All that went wrong there.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.told().broken.iter().cloned().collect()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which workload stands behind a host name, as a namespace sees it.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    names: BTreeMap<(Arc<str>, String), Party>,
    /// Workloads that are reached by connections, not by requests, and the backend of each.
    streams: BTreeMap<Party, BackendName>,
}

impl Targets {
    /// Workloads by namespace and host name, lower case.
    pub(crate) fn new(names: impl IntoIterator<Item = ((Arc<str>, String), Party)>) -> Self {
        Self { names: names.into_iter().collect(), streams: BTreeMap::new() }
    }

    /// The same; these workloads are behind ports of TCP.
    pub(crate) fn with_streams(self, streams: BTreeMap<Party, BackendName>) -> Self {
        Self { streams, ..self }
    }

    /// Where every sidecar takes connections to one backend each, on `LOCAL`, as bytes.
    pub(crate) fn doors(&self, local: IpAddr) -> Vec<(Party, SocketAddr, BackendName)> {
        let numbered = (STREAM_PORTS..).zip(&self.streams);
        numbered.map(|(port, (party, backend))| (*party, SocketAddr::new(local, port), backend.clone())).collect()
    }

    /// Where connections to this workload begin, if it is one of TCP.
    pub(crate) fn door(&self, local: IpAddr, to: Party) -> Option<SocketAddr> {
        self.doors(local).into_iter().find(|(party, ..)| *party == to).map(|(_, door, _)| door)
    }

    /// The workload behind `host`, with or without port, as seen from `namespace`.
    pub(crate) fn find(&self, namespace: &Arc<str>, host: &str) -> Option<Party> {
        let host = host.to_ascii_lowercase();
        let bare = host.split(':').next().unwrap_or_default().to_owned();
        let found = self.names.get(&(Arc::clone(namespace), host));
        found.or_else(|| self.names.get(&(Arc::clone(namespace), bare))).copied()
    }
}

/// Stops the world when so many requests have been answered, before the next is sent.
#[derive(Default)]
pub(crate) struct Triggers {
    /// Something is armed. Every answer asks.
    any: AtomicBool,
    armed: Mutex<Vec<(u64, Gate<()>)>>,
}

impl Triggers {
    /// Stops at `answers`; whoever got the last of them waits until the returned gate opens.
    pub(crate) fn arm(&self, answers: u64) -> Gate<()> {
        let gate = Gate::default();
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).push((answers, gate.clone()));
        self.any.store(true, Ordering::Release);
        gate
    }

    /// Whether something waits for just so many answers.
    pub(crate) fn is_armed_for(&self, answers: u64) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        armed.iter().any(|(at, _)| *at == answers)
    }

    /// The gates to wait at now that there are so many answers.
    fn due(&self, answers: u64) -> Vec<Gate<()>> {
        if !self.any.load(Ordering::Acquire) {
            return Vec::new();
        }
        let armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
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
