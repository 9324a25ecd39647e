//! Listens to one sidecar (from its start to its end or crash) and writes what it says into the books.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use squall_control::{ControlRecord, ControlRecorder};
use squall_policy::{BackendEvent, BackendName, Instant, Reason, RetryNote};
use squall_proxy::{HowEnded, Record, Recorder, RequestNumber, Side};

use crate::journal::Words;
use crate::ledger::{Book, BreakerLine, BreakerTurn, Call, Gauge, LimitLine, Maybe, Party};
use crate::shared::Shared;
use crate::words;

/// The recorder of one sidecar.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    /// The number of its host.
    host: u32,
    /// Whose sidecar.
    party: Party,
    /// The namespace it is in.
    namespace: Arc<str>,
    /// How much its clock runs ahead.
    ahead: Duration,
    live: Mutex<BTreeMap<RequestNumber, Live>>,
}

/// A request in the sidecar.
#[derive(Clone, Copy)]
struct Live {
    /// Its line in the book, on the outbound side.
    call: Option<usize>,
    /// The load's request it is made for.
    request: Option<u64>,
}

impl Listener {
    /// A listener for the sidecar on host number `host`.
    pub(crate) fn new(shared: &Arc<Shared>, host: u32, party: Party, ahead: Duration) -> Arc<Self> {
        let namespace = Arc::clone(shared.namespace(party));
        Arc::new(Self { shared: Arc::clone(shared), host, party, namespace, ahead, live: Mutex::default() })
    }

    fn live(&self, request: RequestNumber) -> Option<Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).get(&request).copied()
    }

    /// Changes the request's line in the book, if it has one.
    fn line(&self, request: RequestNumber, change: impl FnOnce(&mut Call)) {
        let Some(call) = self.live(request).and_then(|live| live.call) else { return };
        // The book is closed before the world is torn down, and what is still in flight then ends in no line.
        if let Some(line) = self.shared.ledger.book().calls.get_mut(call) {
            change(line);
        }
    }

    /// Between whom the request goes, in words.
    fn edge(&self, request: RequestNumber) -> String {
        let mut to = None;
        self.line(request, |line| to = line.to);
        self.shared.edge(self.party, to)
    }

    fn begin(&self, at: Instant, record: &Record<'_>) {
        let Record::Started { request, side, authority, request_id, .. } = record else { return };
        let number = request_id.parse().ok();
        let call = (*side == Side::Outbound).then(|| {
            let to = self.shared.targets.find(&self.namespace, authority);
            let mut book = self.shared.ledger.book();
            if let Some(to) = to {
                book.gauges.step(at, Gauge::Between(self.party, to), true);
            }
            book.calls.push(Call {
                from: self.party,
                to,
                meant: to,
                request: number.into(),
                arrived: at,
                ended: Maybe::NONE,
                status: 0,
                success: false,
                attempts: 0,
                refused: false,
                over_budget: false,
            });
            book.calls.len() - 1
        });
        let live = Live { call, request: number };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).insert(*request, live);
    }

    /// Writes what the record means for the request's line in the book.
    fn count(&self, at: Instant, record: &Record<'_>) {
        if let Record::Picked { request, attempt } = record {
            let to = self.shared.pod_party(&attempt.endpoint.name);
            self.line(*request, |line| {
                line.attempts += 1;
                line.to = to.or(line.to);
            });
        } else if let Record::Retry { request, note: RetryNote::OverBudget | RetryNote::HedgeOverBudget } = record {
            self.line(*request, |line| line.over_budget = true);
        } else if let Record::Replied { request, reason, .. } = record {
            let refusals = Reason::OVERLOAD.iter().chain(&[Reason::NoneAvailable, Reason::BreakerOpen]);
            let refused = refusals.into_iter().any(|refusal| refusal.as_str() == *reason);
            self.line(*request, |line| line.refused = refused);
        } else if let Record::Ended { request, status, grpc, how, .. } = record {
            let whole = matches!(how, HowEnded::Complete | HowEnded::Local);
            self.line(*request, |line| {
                line.ended = at.into();
                line.status = *status;
                line.success = whole && (*status == 101 || (200..400).contains(status)) && grpc.unwrap_or(0) == 0;
            });
            let mut meant = None;
            self.line(*request, |line| meant = line.meant);
            if let Some(to) = meant {
                let gauge = Gauge::Between(self.party, to);
                self.shared.ledger.book().gauges.step(at, gauge, false);
            }
        } else if let Record::Backend { backend, event } = record {
            let book = &mut *self.shared.ledger.book();
            self.shared.write_backend(book, at, (self.host, self.party), backend, event);
        } else if let Record::MeshApplied { .. } = record {
            self.shared.mesh_applied(at);
        }
    }

    /// Tells the story of the run what a person wants to know of: what is rare, and the first of what is not.
    fn story(&self, at: Instant, record: &Record<'_>) {
        match record {
            // Too many to tell; the first says that it moves.
            Record::Backend { backend, event: BackendEvent::LimitMoved { .. } } => {
                let whose = self.shared.party_name(self.party);
                self.shared.tell_once(at, format!("{whose}: {backend} moves its limit on requests in flight"));
            }
            Record::Backend { event: BackendEvent::Healthy { first: true, .. }, .. } => {}
            Record::Backend { backend, event } => self.shared.tell_backend(at, self.ahead, self.party, backend, event),
            Record::Retry { request, note: RetryNote::Retry { .. } } => {
                self.shared.tell_once(at, format!("{} retries start", self.edge(*request)));
            }
            Record::Retry { request, note: RetryNote::OverBudget } => {
                self.shared.tell_once(at, format!("{} retries go over budget", self.edge(*request)));
            }
            Record::Injected { request, .. } => {
                self.shared.tell_once(at, format!("{} the route begins to inject faults", self.edge(*request)));
            }
            Record::Access { request, allowed, rule } => {
                let edge = self.edge(*request);
                let what = if *allowed { "is audited" } else { "is refused" };
                self.shared.tell_once(at, format!("{edge} {what} by {rule}"));
            }
            Record::Replied { request, reason, .. } => {
                let edge = self.edge(*request);
                self.shared.tell_once(at, format!("{edge} first answered by the sidecar itself: {reason}"));
            }
            Record::ControlLost { .. } => {
                self.shared.tell_once(at, "sidecars lose the control plane, and keep the last good mesh".to_owned());
            }
            Record::MeshRefused { why } => {
                self.shared.breaks(format!("a sidecar refused a mesh: {why}"));
            }
            Record::PeerRefused { refusal, .. } => {
                self.shared.tell_once(at, format!("sidecars refuse a peer: {}", refusal.words()));
            }
            Record::Started { .. }
            | Record::Routed { .. }
            | Record::Queued { .. }
            | Record::Granted { .. }
            | Record::Picked { .. }
            | Record::Connected { .. }
            | Record::Head { .. }
            | Record::AttemptFailed { .. }
            | Record::AttemptCancelled { .. }
            | Record::Retry { .. }
            | Record::Upgraded { .. }
            | Record::Ended { .. }
            | Record::Opened { .. }
            | Record::Closed { .. }
            | Record::StrangerRefused { .. }
            | Record::MeshApplied { .. }
            | Record::ControlConnected { .. }
            | Record::CertificateIssued { .. }
            | Record::Traced { .. }
            | Record::Shortage { .. }
            | Record::SpansExported { .. }
            | Record::SpansDropped { .. }
            | Record::CollectorFailed { .. } => {}
        }
    }
}

impl Recorder for Listener {
    fn record(&self, at: Instant, record: &Record<'_>) {
        let own = at;
        let at = at - self.ahead;
        self.begin(at, record);
        self.count(at, record);
        self.story(at, record);
        let request = words::request(record).and_then(|request| self.live(request)).and_then(|live| live.request);
        self.shared.journal.take(at, self.host, words::kind(record), request, record, || words::of(own, record));
        if let Record::Ended { request, .. } = record {
            self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(request);
        }
    }
}

/// The recorder of the control plane.
pub(crate) struct ControlListener {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: u32,
}

impl ControlRecorder for ControlListener {
    fn record(&self, now: Instant, record: &ControlRecord) {
        if let ControlRecord::NotCompiled { node, why } = record {
            self.shared.breaks(format!("the control plane has no mesh for {node}: {why}"));
        }
        self.shared.journal.take(now, self.host, words::control_kind(record), None, record, || Words {
            text: words::control(record),
            fields: Vec::new(),
        });
    }
}

impl Shared {
    /// The workload behind a backend, as `party` sees it; the own one, if it is no Service: the sidecar's inbound side.
    pub(crate) fn behind(&self, party: Party, backend: &BackendName) -> Party {
        let service = backend.as_str().split_once('/').and_then(|(namespace, rest)| {
            let (name, port) = rest.split_once(':')?;
            self.targets.find(self.namespace(party), &format!("{name}.{namespace}:{port}"))
        });
        service.unwrap_or(party)
    }

    /// Writes what breakers and limits do into the book, in the sidecar of that party on that host.
    pub(crate) fn write_backend(
        &self,
        book: &mut Book,
        at: Instant,
        (host, party): (u32, Party),
        backend: &BackendName,
        event: &BackendEvent,
    ) {
        let (endpoint, turn) = match event {
            BackendEvent::BreakerOpened { endpoint, .. } => (Some(endpoint), BreakerTurn::Opened),
            BackendEvent::BreakerHalfOpen { endpoint } => (Some(endpoint), BreakerTurn::HalfOpened),
            BackendEvent::BreakerClosed { endpoint } => (Some(endpoint), BreakerTurn::Closed),
            BackendEvent::ServiceBreakerOpened { .. } => (None, BreakerTurn::Opened),
            BackendEvent::ServiceBreakerHalfOpen => (None, BreakerTurn::HalfOpened),
            BackendEvent::ServiceBreakerClosed => (None, BreakerTurn::Closed),
            BackendEvent::OpenRefused { .. }
            | BackendEvent::Ejected { .. }
            | BackendEvent::EjectionRefused { .. }
            | BackendEvent::EjectionSpared { .. }
            | BackendEvent::Returned { .. }
            | BackendEvent::Unhealthy { .. }
            | BackendEvent::Healthy { .. }
            | BackendEvent::Panics { .. }
            | BackendEvent::Calmed
            | BackendEvent::ZoneShare { .. } => return,
            BackendEvent::LimitMoved { to, .. } => {
                book.limits.push(LimitLine { at, host, service: self.behind(party, backend), limit: *to });
                return;
            }
        };
        let service = endpoint.map_or(Some(self.behind(party, backend)), |endpoint| self.pod_party(endpoint));
        book.breakers.extend(service.map(|service| BreakerLine { at, service, turn }));
    }

    fn tell_backend(
        &self,
        at: Instant,
        ahead: Duration,
        party: Party,
        backend: &squall_policy::BackendName,
        event: &BackendEvent,
    ) {
        let whose = self.party_name(party);
        self.journal.tell(at, format!("{whose}: {backend} {}", words::backend_event(at + ahead, event)));
    }
}
