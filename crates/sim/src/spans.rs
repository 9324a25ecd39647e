//! What was done for every request of a run, as spans of time in which one belongs to another: what programs that show traces read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::Instant;

use crate::history::{Entry, Field};
use crate::outcome::Outcome;
use crate::scenario::Scenario;
use crate::window::Measures;

/// A request of the load, as the measures count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrived, in scenario time.
    pub at: Instant,
    /// How long it took; its time-out if it got no answer.
    pub took: Duration,
    /// Whether it was answered without error.
    pub success: bool,
    /// The status it got; 0: none.
    pub status: u16,
}

impl Arrival {
    /// All of a run, in order of arrival: the first is request 1.
    pub(crate) fn all(measures: &Measures, start: Instant) -> Vec<Self> {
        let asked = measures.asked(measures.whole).iter().zip(measures.latencies(measures.whole));
        let arrival = asked.map(|(asked, nanos)| Self {
            at: Instant::ZERO + asked.arrived.since(start),
            took: Duration::from_nanos(nanos),
            success: asked.success,
            status: asked.status,
        });
        arrival.collect()
    }
}

/// What a [`Span`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpanKind {
    /// A request of the load, from its arrival to its answer.
    Request,
    /// A call in its caller's sidecar.
    Call,
    /// The wait for a place in a sidecar.
    Wait,
    /// One attempt of a sidecar at an endpoint.
    Attempt,
    /// The called pod's own sidecar.
    Serve,
    /// The application: from the request's arrival there to its answer.
    Work,
}

impl SpanKind {
    /// In one word, for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Call => "call",
            Self::Wait => "wait",
            Self::Attempt => "attempt",
            Self::Serve => "serve",
            Self::Work => "work",
        }
    }
}

/// Something that took time for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The load's request it was done for, from 1.
    pub request: u64,
    /// Its place among the spans of the run.
    pub number: usize,
    /// The span that it was done for.
    pub parent: Option<usize>,
    /// What it is.
    pub kind: SpanKind,
    /// On which host, and of which service or load that is.
    pub host: Arc<str>,
    /// See [`Span::host`].
    pub service: Arc<str>,
    /// When it began, in scenario time.
    pub from: Instant,
    /// When it ended. What was still going on at the end of the run ends there.
    pub to: Instant,
    /// `GET /items to catalog`, or the endpoint of an attempt.
    pub what: String,
    /// How it ended, in words; empty: it did not.
    pub end: String,
    /// Whether it ended well.
    pub good: bool,
    /// The HTTP status it ended with; 0: none.
    pub status: u64,
}

/// The spans of a run that kept its history, in order of beginning. Empty without a history.
#[must_use]
pub fn spans(scenario: &Scenario, outcome: &Outcome) -> Vec<Span> {
    let Some(history) = &outcome.history else { return Vec::new() };
    let services: BTreeMap<Arc<str>, Arc<str>> = scenario
        .pods()
        .into_iter()
        .map(|pod| (Arc::from(&*pod.name), Arc::from(scenario.services[pod.service].name.value.as_str())))
        .chain(scenario.load.iter().flat_map(|load| {
            (0..load.hosts).map(move |nth| (Arc::from(format!("{}-{nth}", load.name)), Arc::clone(&load.name)))
        }))
        .collect();
    let mut making =
        Making { services, spans: Vec::new(), open: BTreeMap::new(), arrivals: &outcome.requests, keys: Vec::new() };
    let end = Instant::ZERO + outcome.simulated;
    for entry in history.entries().iter().filter(|entry| entry.before_start_ns == 0) {
        if let Some(request) = entry.request {
            making.take(request, entry);
        }
    }
    for (_, open) in std::mem::take(&mut making.open) {
        for number in open {
            let span = &mut making.spans[number];
            if span.kind != SpanKind::Request {
                span.to = end.max(span.from);
            }
        }
    }
    making.spans
}

struct Making<'o> {
    services: BTreeMap<Arc<str>, Arc<str>>,
    spans: Vec<Span>,
    /// The spans of each request that have not ended, in order of beginning.
    open: BTreeMap<u64, Vec<usize>>,
    arrivals: &'o [Arrival],
    /// By the number of a span of a proxy, its exchange and attempt.
    keys: Vec<u64>,
}

impl Making<'_> {
    fn take(&mut self, request: u64, entry: &Entry) {
        let is_ours = |kind| move |span: &Span| span.kind == kind;
        match entry.kind {
            "asked" => {
                let what = format!("{} {} to {}", text(entry, "method"), text(entry, "path"), text(entry, "to"));
                let number = self.begin(request, entry, SpanKind::Request, None, what);
                let index = usize::try_from(request).ok().and_then(|request| request.checked_sub(1));
                // What the measures count: also one that is never answered has an end.
                if let Some(arrival) = index.and_then(|index| self.arrivals.get(index)) {
                    let span = &mut self.spans[number];
                    (span.from, span.to) = (arrival.at, arrival.at + arrival.took);
                    (span.good, span.status) = (arrival.success, u64::from(arrival.status));
                }
            }
            "answered" | "unanswered" | "gave-up" => {
                if let Some(number) = self.find(request, &is_ours(SpanKind::Request)) {
                    self.spans[number].end.clone_from(&entry.text);
                    self.close(request, number);
                }
            }
            "out-started" => {
                let host = &*entry.host;
                let parent = self.find(request, &|span| {
                    &*span.host == host && matches!(span.kind, SpanKind::Work | SpanKind::Request)
                });
                let what = format!("{} {}{}", text(entry, "method"), text(entry, "authority"), text(entry, "path"));
                let number = self.begin(request, entry, SpanKind::Call, parent, what);
                self.keyed(number, entry);
            }
            "queued" | "picked" => {
                let parent = self.of_exchange(request, entry, SpanKind::Call);
                let (kind, what) = match entry.kind {
                    "queued" => (SpanKind::Wait, "waits for a place"),
                    _ => (SpanKind::Attempt, text(entry, "endpoint")),
                };
                let parent = parent.or_else(|| self.of_exchange(request, entry, SpanKind::Serve));
                // The own sidecar's attempts are at its application, which has a span of its own.
                if parent.is_some_and(|parent| kind == SpanKind::Attempt && self.spans[parent].kind == SpanKind::Serve)
                {
                    return;
                }
                let number = self.begin(request, entry, kind, parent, what.to_owned());
                self.keyed(number, entry);
            }
            "in-started" => {
                let parent = self.attempt_at(request, &entry.host);
                let what = format!("{} {}", text(entry, "method"), text(entry, "path"));
                let number = self.begin(request, entry, SpanKind::Serve, parent, what);
                self.keyed(number, entry);
            }
            "arrived" => {
                let host = &*entry.host;
                let taken: Vec<usize> = self.children(request, SpanKind::Work);
                let free =
                    |span: &Span| &*span.host == host && span.kind == SpanKind::Serve && !taken.contains(&span.number);
                let parent = self.find(request, &free).or_else(|| self.attempt_at(request, &entry.host));
                let what = format!("{} {}", text(entry, "method"), text(entry, "path"));
                self.begin(request, entry, SpanKind::Work, parent, what);
            }
            "answers" => {
                // The work of an application has no number: the first that began on a host ends first.
                let host = &*entry.host;
                let open = self.open.get(&request).into_iter().flatten().copied();
                let mine = open.into_iter().find(|number| {
                    let span = &self.spans[*number];
                    span.kind == SpanKind::Work && &*span.host == host
                });
                self.end(request, mine, entry, number(entry, "status") < 500);
            }
            "granted" => {
                let mine = self.of_exchange(request, entry, SpanKind::Wait);
                self.end(request, mine, entry, true);
            }
            "head" | "attempt-failed" | "attempt-cancelled" => {
                let mine = self.of_exchange(request, entry, SpanKind::Attempt);
                self.end(request, mine, entry, entry.kind == "head" && number(entry, "status") < 500);
            }
            "out-ended" | "in-ended" => {
                let good = (1..500).contains(&number(entry, "status"));
                let kind = if entry.kind == "out-ended" { SpanKind::Call } else { SpanKind::Serve };
                for kind in [SpanKind::Wait, kind] {
                    let mine = self.of_exchange(request, entry, kind);
                    self.end(request, mine, entry, good);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, request: u64, entry: &Entry, kind: SpanKind, parent: Option<usize>, what: String) -> usize {
        let number = self.spans.len();
        let host = Arc::clone(&entry.host);
        let service = self.services.get(&host).unwrap_or(&host).clone();
        let (from, end) = (entry.at, String::new());
        let span =
            Span { request, number, parent, kind, host, service, from, to: from, what, end, good: false, status: 0 };
        self.spans.push(span);
        self.keys.push(0);
        self.open.entry(request).or_default().push(number);
        number
    }

    fn keyed(&mut self, span: usize, entry: &Entry) {
        self.keys[span] = key(entry, self.spans[span].kind);
    }

    /// The last that began of those that have not ended.
    fn find(&self, request: u64, which: &dyn Fn(&Span) -> bool) -> Option<usize> {
        self.open.get(&request)?.iter().rev().copied().find(|number| which(&self.spans[*number]))
    }

    fn of_exchange(&self, request: u64, entry: &Entry, kind: SpanKind) -> Option<usize> {
        let key = key(entry, kind);
        self.find(request, &|span| span.kind == kind && span.host == entry.host && self.keys[span.number] == key)
    }

    fn attempt_at(&self, request: u64, host: &str) -> Option<usize> {
        self.find(request, &|span| span.kind == SpanKind::Attempt && span.what == host)
    }

    /// The parents of the spans of this kind that have not ended.
    fn children(&self, request: u64, kind: SpanKind) -> Vec<usize> {
        let open = self.open.get(&request).into_iter().flatten();
        open.filter(|number| self.spans[**number].kind == kind)
            .filter_map(|number| self.spans[*number].parent)
            .collect()
    }

    fn end(&mut self, request: u64, span: Option<usize>, entry: &Entry, good: bool) {
        let Some(index) = span else { return };
        let span = &mut self.spans[index];
        span.to = entry.at;
        span.end.clone_from(&entry.text);
        span.good = good;
        span.status = number(entry, "status");
        self.close(request, index);
    }

    fn close(&mut self, request: u64, span: usize) {
        if let Some(open) = self.open.get_mut(&request) {
            open.retain(|other| *other != span);
            if open.is_empty() {
                self.open.remove(&request);
            }
        }
    }
}

/// Which exchange of a proxy, and which attempt of it.
fn key(entry: &Entry, kind: SpanKind) -> u64 {
    let attempt = if kind == SpanKind::Attempt { number(entry, "attempt") } else { 0 };
    (number(entry, "exchange") << 16) | attempt
}

fn text<'e>(entry: &'e Entry, name: &str) -> &'e str {
    let found = entry.fields.iter().find_map(|(field, value)| match value {
        Field::Text(text) if *field == name => Some(text.as_str()),
        Field::Text(_) | Field::Number(_) => None,
    });
    found.unwrap_or_default()
}

fn number(entry: &Entry, name: &str) -> u64 {
    let found = entry.fields.iter().find_map(|(field, value)| match value {
        Field::Number(number) if *field == name => Some(*number),
        Field::Text(_) | Field::Number(_) => None,
    });
    found.unwrap_or(0)
}
