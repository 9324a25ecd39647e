//! The raw numbers of a run: one line per request, per call and per change of a gauge. [`crate::measure`] reads them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_policy::Instant;

/// A service (by its index in the scenario) or, behind the services, a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Party(pub(crate) u16);

/// An instant, if there is one, in eight bytes: a run has millions of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maybe(Instant);

impl Maybe {
    /// There is none (yet).
    pub(crate) const NONE: Self = Self(Instant::MAX);

    /// The instant.
    pub(crate) fn get(self) -> Option<Instant> {
        (self.0 != Instant::MAX).then_some(self.0)
    }
}

impl From<Instant> for Maybe {
    fn from(at: Instant) -> Self {
        Self(at)
    }
}

/// A span of at most 584 years, in eight bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Length(u64);

impl Length {
    /// The span.
    pub(crate) fn get(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The same in nanoseconds.
    pub(crate) fn nanos(self) -> u64 {
        self.0
    }
}

impl From<Duration> for Length {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The number of a load's request, from 1, if there is one, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u32);

impl Number {
    /// The number.
    pub(crate) fn get(self) -> Option<u64> {
        (self.0 > 0).then_some(u64::from(self.0))
    }
}

impl From<Option<u64>> for Number {
    /// A number beyond four billion is none of a load's: runs have fewer requests.
    fn from(number: Option<u64>) -> Self {
        Self(number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0))
    }
}

/// A request of the load, as its generator saw it. Times are the world's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// When it was due.
    pub(crate) arrived: Instant,
    /// When it was answered, to the last byte, or failed; `None`: in flight.
    pub(crate) ended: Maybe,
    /// The status; 0: none came, or the answer broke off.
    pub(crate) status: u16,
    /// Answered without error: a status below 400, gRPC status 0, and a whole body.
    pub(crate) success: bool,
    /// The generator gave up waiting.
    pub(crate) gave_up: bool,
    /// Given up after this.
    pub(crate) timeout: Length,
}

/// A request of one sidecar's outbound side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Whose sidecar.
    pub(crate) from: Party,
    /// The workload it went to; `None`: not known (no route matched).
    pub(crate) to: Option<Party>,
    /// The workload behind the name asked for, before a route chose; the gauge [`Gauge::Between`] counts by it.
    pub(crate) meant: Option<Party>,
    /// The load's request it is made for, from 1; `None`: for none, or unknown.
    pub(crate) request: Number,
    /// When its head was read.
    pub(crate) arrived: Instant,
    /// Whether and when it was over; `None`: in flight, or its sidecar crashed.
    pub(crate) ended: Maybe,
    /// The status; 0: none was answered.
    pub(crate) status: u16,
    /// Answered without error.
    pub(crate) success: bool,
    /// Tries made.
    pub(crate) attempts: u32,
    /// Answered by the sidecar itself because of a limit, a breaker or an ejection.
    pub(crate) refused: bool,
    /// Retries that the budget forbade.
    pub(crate) over_budget: bool,
}

/// A call of an application, its own tries included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppCall {
    /// Who called.
    pub(crate) from: Party,
    /// The workload behind the host name, if one is.
    pub(crate) to: Option<Party>,
    /// The load's request it is made for.
    pub(crate) request: Number,
    /// When.
    pub(crate) arrived: Instant,
    /// It failed for good.
    pub(crate) failed: bool,
}

/// A request inside an application.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    /// Whose.
    pub(crate) service: Party,
    /// On which host, by its number.
    pub(crate) pod: u32,
    /// The load's request it is made for.
    pub(crate) request: Number,
    /// When it arrived, to the last byte; held up by an outage, when that ended.
    pub(crate) arrived: Instant,
    /// When it got a slot; `None`: it did not.
    pub(crate) began: Maybe,
    /// Its own time, from then on.
    pub(crate) time: Length,
    /// When it was answered; `None`: it is not yet, or never was.
    pub(crate) ended: Maybe,
    /// Answered without error.
    pub(crate) success: bool,
    /// The queue was full.
    pub(crate) overflowed: bool,
    /// Another request committed before it.
    pub(crate) conflict: bool,
}

/// What a breaker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerTurn {
    Opened,
    HalfOpened,
    Closed,
}

/// A breaker of an endpoint changed its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerLine {
    /// When.
    pub(crate) at: Instant,
    /// The service of the endpoint.
    pub(crate) service: Party,
    /// What it did.
    pub(crate) turn: BreakerTurn,
}

/// An adaptive limit moved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitLine {
    /// When.
    pub(crate) at: Instant,
    /// In which host's sidecar.
    pub(crate) host: u32,
    /// The service whose requests it limits.
    pub(crate) service: Party,
    /// It is this now.
    pub(crate) limit: u32,
}

/// Something that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gauge {
    /// Requests of the loads without an answer.
    Asked,
    /// Requests inside the applications of a service.
    Inside(Party),
    /// Requests waiting for a slot in a service.
    Queued(Party),
    /// Requests in the sidecars of the first on their way to the second, as it was meant.
    Between(Party, Party),
}

/// From then on a gauge has this value.
type Step = (Instant, i64);

/// Every step of every gauge, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    asked: Vec<Step>,
    /// By party.
    inside: Vec<Vec<Step>>,
    queued: Vec<Vec<Step>>,
    between: BTreeMap<(Party, Party), Vec<Step>>,
}

impl Gauges {
    /// A gauge goes up or down by one.
    pub(crate) fn step(&mut self, at: Instant, gauge: Gauge, up: bool) {
        let steps = match gauge {
            Gauge::Asked => &mut self.asked,
            Gauge::Inside(party) => place(&mut self.inside, party),
            Gauge::Queued(party) => place(&mut self.queued, party),
            Gauge::Between(from, to) => self.between.entry((from, to)).or_default(),
        };
        let by = if up { 1 } else { -1 };
        match steps.last_mut() {
            // Of several steps at one instant the last counts, for values at that instant; a peak within it is no peak.
            Some((last, value)) if *last == at => *value += by,
            last => {
                let before = last.map_or(0, |(_, value)| *value);
                steps.push((at, before + by));
            }
        }
    }

    /// The steps of a gauge.
    pub(crate) fn steps(&self, gauge: Gauge) -> &[Step] {
        match gauge {
            Gauge::Asked => &self.asked,
            Gauge::Inside(party) => of(&self.inside, party),
            Gauge::Queued(party) => of(&self.queued, party),
            Gauge::Between(from, to) => self.between.get(&(from, to)).map(Vec::as_slice).unwrap_or_default(),
        }
    }

    /// The pairs between whom something went.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Party, Party)> {
        self.between.keys().copied()
    }
}

fn of(steps: &[Vec<Step>], party: Party) -> &[Step] {
    steps.get(usize::from(party.0)).map(Vec::as_slice).unwrap_or_default()
}

fn place(steps: &mut Vec<Vec<Step>>, party: Party) -> &mut Vec<Step> {
    let index = usize::from(party.0);
    if index >= steps.len() {
        steps.resize_with(index + 1, Vec::new);
    }
    &mut steps[index]
}

/// Everything counted in a run.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// In order of arrival: request number n stands at n − 1.
    pub(crate) asked: Vec<Asked>,
    /// Requests sent, by load.
    pub(crate) sent: Vec<u64>,
    /// Requests of the loads that have ended.
    pub(crate) answered: u64,
    /// In order of arrival.
    pub(crate) calls: Vec<Call>,
    /// In order of their end.
    pub(crate) app_calls: Vec<AppCall>,
    /// In order of arrival.
    pub(crate) served: Vec<Served>,
    pub(crate) gauges: Gauges,
    /// In order of time.
    pub(crate) breakers: Vec<BreakerLine>,
    /// In order of time.
    pub(crate) limits: Vec<LimitLine>,
    /// Commits under optimistic contention so far, by service and row.
    pub(crate) commits: BTreeMap<(Party, u32), u64>,
    /// What each fault touched inside hosts (requests slowed, requests failed), by the fault's index.
    pub(crate) touched: Vec<u64>,
}

/// The book of a run, shared by all who write in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    /// An empty book for so many loads and faults.
    pub(crate) fn new(loads: usize, faults: usize) -> Self {
        Self(Arc::new(Mutex::new(Book { sent: vec![0; loads], touched: vec![0; faults], ..Book::default() })))
    }

    /// The book, to read or write. Not to be held over an await.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one up until the guard is dropped, crash or not.
    pub(crate) fn hold(&self, clock: &Arc<dyn squall_net::Clock>, ahead: Duration, gauge: Gauge) -> Held {
        let held = Held { ledger: self.clone(), clock: Arc::clone(clock), ahead, gauge };
        held.change(true);
        held
    }
}

/// A gauge held up.
pub(crate) struct Held {
    ledger: Ledger,
    clock: Arc<dyn squall_net::Clock>,
    ahead: Duration,
    gauge: Gauge,
}

impl Held {
    fn change(&self, up: bool) {
        let at = self.clock.now() - self.ahead;
        self.ledger.book().gauges.step(at, self.gauge, up);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.change(false);
    }
}
