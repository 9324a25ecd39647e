//! What spans say of services: who calls whom, how often, in which order and what at once; own times, errors, arrivals.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::spans::{Side, Span};
use super::tally::Spread;

/// The most spans that wait for the rest of their traces; beyond, the oldest trace is taken as it is.
const SPANS: usize = 500_000;
/// The most services; spans of further ones are left out and counted.
const SERVICES: usize = 500;
/// The most processes of a service that are told apart.
const INSTANCES: usize = 1000;

/// What is known of a service.
#[derive(Default)]
pub(super) struct Known {
    pub(super) instances: BTreeSet<String>,
    /// Requests that it served.
    pub(super) served: u64,
    /// Of these failed without a failed call.
    pub(super) failed: u64,
    /// Its spans without the calls it made.
    pub(super) own: Spread,
    pub(super) calls: BTreeMap<String, Calls>,
    /// How often calls of two services overlapped, and how often a request had both.
    pub(super) together: BTreeMap<(String, String), (u64, u64)>,
    /// It tells of nothing itself: what is known is what its callers say.
    pub(super) silent: bool,
}

/// The calls of one service to another.
#[derive(Default)]
pub(super) struct Calls {
    /// All of them.
    pub(super) count: u64,
    /// The requests that made any.
    pub(super) requests: u64,
    /// The sum of the places of the first call of a request, in thousandths of the request's calls.
    pub(super) places: u64,
    /// How many of those after the first of a request overlapped the one before.
    pub(super) at_once: u64,
    /// Requests with a failed call, and how many of these went well all the same.
    pub(super) failed: u64,
    pub(super) tolerated: u64,
}

/// What all spans came to.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) services: BTreeMap<String, Known>,
    /// Requests that came from outside, by service, and how many of them failed.
    pub(super) arrivals: BTreeMap<String, (u64, u64)>,
    /// What they took.
    pub(super) took: Spread,
    /// From the first arrival to the last.
    pub(super) first: u64,
    pub(super) last: u64,
    /// What calls took beyond their servers, there and back.
    pub(super) on_the_way: Spread,
    pub(super) traces: u64,
    pub(super) spans: u64,
    /// Spans whose parent is not there.
    pub(super) orphans: u64,
    /// Spans of traces that had been taken before they came.
    pub(super) late: u64,
    /// Spans of services beyond the most.
    pub(super) beyond: u64,
    /// Tries of calls after the first.
    pub(super) retries: u64,
}

/// Gathers spans by trace.
#[derive(Default)]
pub(super) struct Gather {
    graph: Graph,
    open: BTreeMap<String, Vec<Span>>,
    order: VecDeque<String>,
    /// The latest traces that were taken, so that late spans are known for what they are.
    taken: BTreeSet<String>,
    taken_order: VecDeque<String>,
    held: usize,
}

impl Gather {
    pub(super) fn add(&mut self, span: Span) {
        self.graph.spans += 1;
        if self.taken.contains(&span.trace) {
            self.graph.late += 1;
            return;
        }
        let spans = self.open.entry(span.trace.clone()).or_default();
        if spans.is_empty() {
            self.order.push_back(span.trace.clone());
        }
        spans.push(span);
        self.held += 1;
        while self.held > SPANS {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(spans) = self.open.remove(&oldest) {
                self.held -= spans.len();
                self.graph.take(&spans);
                self.taken.insert(oldest.clone());
                self.taken_order.push_back(oldest);
            }
            if self.taken_order.len() > SPANS
                && let Some(forgotten) = self.taken_order.pop_front()
            {
                self.taken.remove(&forgotten);
            }
        }
    }

    pub(super) fn finish(mut self) -> Graph {
        while let Some(oldest) = self.order.pop_front() {
            if let Some(spans) = self.open.remove(&oldest) {
                self.graph.take(&spans);
            }
        }
        self.graph
    }
}

/// A call that a request made.
struct Call<'s> {
    to: String,
    /// The span that it is part of.
    under: &'s str,
    start: u64,
    end: u64,
    failed: bool,
}

impl Graph {
    /// Takes a whole trace.
    fn take(&mut self, spans: &[Span]) {
        self.traces += 1;
        let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
        let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            if !span.parent.is_empty() && span.parent != span.id {
                children.entry(&span.parent).or_default().push(span);
            }
        }
        for span in spans {
            let parent = by_id.get(span.parent.as_str()).filter(|parent| parent.id != span.id);
            match parent {
                // Work of the same request, unless it is served by a process of the service for another.
                Some(parent) if parent.service == span.service => {}
                Some(_) => self.serve(span, &children),
                None => {
                    if span.parent.is_empty() {
                        self.arrive(span, &children);
                    } else {
                        self.orphans += 1;
                    }
                    // Who begins a trace by a call is a client of the mesh, and no service of it.
                    if span.side != Side::Client {
                        self.serve(span, &children);
                    }
                }
            }
        }
    }

    fn arrive(&mut self, span: &Span, children: &BTreeMap<&str, Vec<&Span>>) {
        let mut arrived = Vec::new();
        if span.side == Side::Client {
            for call in self.calls(span, children).0 {
                arrived.push((call.to, call.start, call.end, call.failed));
            }
        } else {
            arrived.push((span.service.clone(), span.start, span.end, span.failed));
        }
        for (service, start, end, failed) in arrived {
            let entry = self.arrivals.entry(service).or_default();
            entry.0 += 1;
            entry.1 += u64::from(failed);
            self.took.add(Duration::from_nanos(end.saturating_sub(start)));
            self.first = if self.first == 0 { start } else { self.first.min(start) };
            self.last = self.last.max(start);
        }
    }

    fn known(&mut self, service: &str) -> Option<&mut Known> {
        if self.services.len() >= SERVICES && !self.services.contains_key(service) {
            self.beyond += 1;
            return None;
        }
        Some(self.services.entry(service.to_owned()).or_default())
    }

    /// A service serves a request: `span` is the first of its spans.
    fn serve(&mut self, span: &Span, children: &BTreeMap<&str, Vec<&Span>>) {
        let (calls, waits) = self.calls(span, children);
        let own = (span.end - span.start).saturating_sub(covered(&waits, span.start, span.end));
        let Some(known) = self.known(&span.service) else { return };
        known.served += 1;
        known.failed += u64::from(span.failed && calls.iter().all(|call| !call.failed));
        known.own.add(Duration::from_nanos(own));
        known.silent = false;
        if known.instances.len() < INSTANCES && !span.instance.is_empty() {
            known.instances.insert(span.instance.clone());
        }
        known.tell(&calls, span.failed);
    }

    /// The calls to other services that a span and the work below it made, a call each whatever its tries; and when it waited for any
    /// answer, ascending.
    fn calls<'s>(
        &mut self,
        span: &'s Span,
        children: &BTreeMap<&str, Vec<&'s Span>>,
    ) -> (Vec<Call<'s>>, Vec<(u64, u64)>) {
        let mut found: Vec<Call<'s>> = Vec::new();
        let mut waits = Vec::new();
        let mut todo: Vec<&'s Span> = vec![span];
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        while let Some(at) = todo.pop() {
            if !seen.insert(&at.id) {
                continue;
            }
            if at.side == Side::Client && at.id != span.id {
                waits.push((at.start, at.end));
            }
            let below = children.get(at.id.as_str()).map_or(&[][..], Vec::as_slice);
            let served: Vec<&&Span> = below.iter().filter(|child| child.service != at.service).collect();
            for child in below.iter().filter(|child| child.service == at.service) {
                if child.resent {
                    self.retries += 1;
                    // Its servers are told of by themselves; the call is that of the first try.
                    continue;
                }
                todo.push(child);
            }
            match served.first() {
                Some(child) => {
                    // Seen from the caller, if it has a span of the call.
                    let whole = at.side == Side::Client && (at.id != span.id || span.parent.is_empty());
                    if whole {
                        let there_and_back = (at.end - at.start).saturating_sub(child.end - child.start);
                        self.on_the_way.add(Duration::from_nanos(there_and_back));
                        // Of servers that follow each other the later are for further tries; at the same time they are other calls, whose
                        // spans were taken for this one.
                        let mut until = child.end;
                        for other in &served[1..] {
                            if other.start >= until {
                                self.retries += 1;
                                until = other.end;
                            } else {
                                let (start, end) = (other.start, other.end);
                                found.push(Call {
                                    to: other.service.clone(),
                                    under: &at.id,
                                    start,
                                    end,
                                    failed: other.failed,
                                });
                            }
                        }
                        found.push(Call {
                            to: child.service.clone(),
                            under: &at.parent,
                            start: at.start,
                            end: at.end,
                            failed: at.failed || child.failed,
                        });
                    } else {
                        for child in served {
                            found.push(Call {
                                to: child.service.clone(),
                                under: &at.id,
                                start: child.start,
                                end: child.end,
                                failed: child.failed,
                            });
                        }
                    }
                }
                None => {
                    let leaf = at.side == Side::Client && at.id != span.id && below.is_empty();
                    if leaf && !at.peer.is_empty() && at.peer != at.service {
                        self.silent(at);
                        found.push(Call {
                            to: at.peer.clone(),
                            under: &at.parent,
                            start: at.start,
                            end: at.end,
                            failed: at.failed,
                        });
                    }
                }
            }
        }
        found.sort_by(|one, other| (one.start, &one.to).cmp(&(other.start, &other.to)));
        waits.extend(found.iter().map(|call| (call.start, call.end)));
        waits.sort_unstable();
        (self.without_retries(found), waits)
    }

    /// What was called again after a failure, by the same span, is the same call.
    fn without_retries<'s>(&mut self, calls: Vec<Call<'s>>) -> Vec<Call<'s>> {
        let mut kept: Vec<Call<'s>> = Vec::new();
        for call in calls {
            let same = |before: &&mut Call<'_>| {
                before.to == call.to && before.under == call.under && before.failed && before.end <= call.start
            };
            match kept.iter_mut().rev().find(same) {
                Some(before) => {
                    (before.end, before.failed) = (call.end, call.failed);
                    self.retries += 1;
                }
                None => kept.push(call),
            }
        }
        kept
    }

    /// A call to somebody who tells nothing: what it took is that service's own.
    fn silent(&mut self, span: &Span) {
        let is_new = !self.services.contains_key(&span.peer);
        let Some(known) = self.known(&span.peer) else { return };
        known.silent |= is_new;
        if known.silent {
            known.served += 1;
            known.failed += u64::from(span.failed);
            known.own.add(Duration::from_nanos(span.end - span.start));
        }
    }
}

impl Known {
    /// The calls of one request, by their beginnings.
    fn tell(&mut self, calls: &[Call<'_>], failed: bool) {
        let mut first: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
        let most = calls.len().max(1) as u64;
        for (nth, call) in calls.iter().enumerate() {
            let entry = self.calls.entry(call.to.clone()).or_default();
            entry.count += 1;
            match first.get_mut(call.to.as_str()) {
                None => {
                    entry.requests += 1;
                    entry.places += nth as u64 * 1000 / most;
                    first.insert(&call.to, (nth, call.end));
                }
                Some((_, end)) => {
                    entry.at_once += u64::from(call.start < *end);
                    *end = (*end).max(call.end);
                }
            }
        }
        let names: Vec<&str> = first.keys().copied().collect();
        for name in &names {
            if calls.iter().any(|call| call.to == *name && call.failed)
                && let Some(entry) = self.calls.get_mut(*name)
            {
                entry.failed += 1;
                entry.tolerated += u64::from(!failed);
            }
        }
        for (nth, one) in names.iter().enumerate() {
            for other in &names[nth + 1..] {
                let of = |name: &str| calls.iter().find(|call| call.to == name);
                let (Some(a), Some(b)) = (of(one), of(other)) else { continue };
                let pair = self.together.entry(((*one).to_owned(), (*other).to_owned())).or_default();
                pair.0 += u64::from(a.start < b.end && b.start < a.end);
                pair.1 += 1;
            }
        }
    }

    /// Whether calls to both are mostly made at once.
    pub(super) fn at_once(&self, one: &str, other: &str) -> bool {
        let key = if one < other { (one.to_owned(), other.to_owned()) } else { (other.to_owned(), one.to_owned()) };
        self.together.get(&key).is_some_and(|(overlapped, both)| overlapped * 2 > *both)
    }
}

/// How much of a span its calls take, in the order of their beginnings, each moment counted once.
fn covered(calls: &[(u64, u64)], start: u64, end: u64) -> u64 {
    let (mut sum, mut until) = (0, start);
    for (from, to) in calls {
        let (from, to) = ((*from).clamp(until, end), (*to).clamp(until, end));
        sum += to - from;
        until = until.max(to);
    }
    sum
}
