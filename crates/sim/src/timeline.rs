//! What a run looked like over time, folded into bins, and the stories of its worst requests: what a report draws.
//!
//! A request belongs to the bin in which it arrived, and so does all that was done for it, as in every window of the
//! measures: the bins of a run add up to its [`Summary`](crate::Summary). Gauges, breakers and proofs belong to the bin in
//! which they happened.

mod lanes;
mod worst;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::Instant;

use crate::history::{Entry, Field, History};
use crate::ledger::{Gauge, Party};
use crate::outcome::{Outcome, RunError, RunOptions};
use crate::scenario::Scenario;
use crate::trace::Mode;
use crate::window::{Measures, Span, latency};

pub use lanes::{Lane, LaneState};
pub use worst::{Bar, BarKind, Line, Story};

/// How much of a run is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detail {
    /// At most so many bins, at least 1, and fewer where there are few requests (20, or five requests for each); the width is the smallest of 1, 2, 5 × 10ⁿ ms that keeps to it.
    pub bins_max: usize,
    /// Stories of at most so many requests. 0: none.
    pub stories_max: usize,
}

/// A run with what it looked like.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What it gave, as [`run`](crate::run) has it, without history.
    pub outcome: Outcome,
    /// What happened when.
    pub timeline: Timeline,
    /// The requests that went worst: those that failed, those that took most attempts, the slowest; worst first of each in turn.
    pub stories: Vec<Story>,
}

/// A run in bins of equal width, from the scenario's time 0 to the end of its load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The width of a bin. The last may be cut short by the end of the load.
    pub bin: Duration,
    /// What the load saw, by bin.
    pub bins: Vec<Bin>,
    /// Upper bounds, included, of the buckets in [`Bin::heat`], ascending, in nanoseconds.
    pub buckets_ns: Vec<u64>,
    /// The services in the scenario's order.
    pub services: Vec<ServiceLine>,
    /// The pairs of caller and called between whom something went, in the order of their first names in the scenario.
    pub edges: Vec<EdgeLine>,
    /// Endpoints that breakers, outlier detection or health checks took out of service at any time.
    pub lanes: Vec<Lane>,
}

/// What the load saw in one bin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bin {
    /// Requests that arrived.
    pub requests: u64,
    /// Of them, answered without error, whenever.
    pub succeeded: u64,
    /// Attempts that all sidecars sent for them.
    pub attempts: u64,
    /// Calls of sidecars that sent at least one.
    pub firsts: u64,
    /// The most requests of the loads without an answer.
    pub in_flight_max: u64,
    /// Their latency, an unanswered one counting its time-out.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// How many of them fell into each of [`Timeline::buckets_ns`].
    pub heat: Vec<u64>,
}

/// A service over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceLine {
    /// Its name in the scenario.
    pub name: String,
    /// The most requests waiting for a slot in its applications, by bin.
    pub queue_max: Vec<u64>,
    /// The most requests in its applications, by bin.
    pub in_flight_max: Vec<u64>,
    /// Requests and connections whose caller proved who it is (mutual TLS), by bin.
    pub proven: Vec<u64>,
    /// Those whose caller did not.
    pub unproven: Vec<u64>,
}

/// What went from one workload to another over time, as the caller's sidecars saw it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeLine {
    /// The caller: a service or a load.
    pub from: String,
    /// The called service, or `unknown`.
    pub to: String,
    /// Requests, by bin.
    pub requests: Vec<u64>,
    /// Those that failed or got no answer, by bin.
    pub failed: Vec<u64>,
    /// Attempts sent, by bin.
    pub attempts: Vec<u64>,
    /// Requests and connections that came to the called service's pods from this caller, who proved who it is (mutual TLS), by bin.
    pub proven: Vec<u64>,
    /// Those without proof.
    pub unproven: Vec<u64>,
}

/// Runs a scenario on one seed and folds what happened. Equal to [`run`](crate::run) in all that both give.
///
/// # Errors
/// As [`run`](crate::run).
pub fn observe(scenario: &Arc<Scenario>, seed: u64, options: RunOptions, detail: Detail) -> Result<Observed, RunError> {
    let options = RunOptions { keep_history: true, ..options };
    let mut measures = None;
    let mut look = |found: &Arc<Measures>| {
        measures = Some(Arc::clone(found));
        Ok(())
    };
    let (mut outcome, _) = crate::run::run_looked_at(scenario, seed, options, Mode::Digest, &mut look)?;
    let measures = measures.expect("a run that ended was looked at");
    let history = outcome.history.take().unwrap_or_default();
    let frame = Frame::new(&measures, detail.bins_max);
    let stories = worst::stories(&measures, &history, outcome.start, detail.stories_max);
    Ok(Observed { timeline: fold(scenario, &measures, &history, &frame), stories, outcome })
}

/// The bins of a run, in world time.
struct Frame {
    whole: Span,
    bin: Duration,
    count: usize,
}

impl Frame {
    fn new(measures: &Measures, bins_max: usize) -> Self {
        let whole = measures.whole;
        // A handful of requests for each bin: percentiles of one say nothing.
        let bins = (measures.asked(whole).len() / 5).max(20).min(bins_max);
        let bin = width(whole.length(), bins);
        let count = whole.length().as_nanos().div_ceil(bin.as_nanos()).max(1);
        Self { whole, bin, count: usize::try_from(count).unwrap_or(usize::MAX) }
    }

    fn span(&self, number: usize) -> Span {
        let from = self.whole.from + self.bin * u32::try_from(number).unwrap_or(u32::MAX);
        Span { from, to: (from + self.bin).min(self.whole.to) }
    }

    /// The bin of this instant of scenario time, if it has one.
    fn of(&self, entry: &Entry) -> Option<usize> {
        if entry.before_start_ns > 0 {
            return None;
        }
        self.at(entry.at)
    }

    /// The bin of an instant of scenario time.
    fn at(&self, at: Instant) -> Option<usize> {
        let number = u128::from(at.as_nanos()) / self.bin.as_nanos();
        usize::try_from(number).ok().filter(|number| *number < self.count)
    }
}

/// The smallest of 1, 2, 5 × 10ⁿ ms with which a run of `length` has at most `bins_max` bins.
pub(crate) fn width(length: Duration, bins_max: usize) -> Duration {
    let mut tens = Duration::from_millis(1);
    loop {
        for factor in [1, 2, 5] {
            let bin = tens * factor;
            if length.as_nanos().div_ceil(bin.as_nanos()) <= bins_max.max(1) as u128 {
                return bin;
            }
        }
        tens *= 10;
    }
}

fn fold(scenario: &Scenario, measures: &Measures, history: &History, frame: &Frame) -> Timeline {
    let parties = measures.parties();
    let services = scenario.services.len();
    let mut timeline = Timeline {
        bin: frame.bin,
        buckets_ns: buckets(measures.latencies(measures.whole)),
        services: parties.iter().take(services).map(|name| empty(name, frame.count)).collect(),
        lanes: lanes::lanes(history, frame),
        ..Timeline::default()
    };
    let mut edges: BTreeMap<(Party, Option<Party>), EdgeLine> = BTreeMap::new();
    for number in 0..frame.count {
        let span = frame.span(number);
        timeline.bins.push(bin(measures, span, &timeline.buckets_ns));
        for (service, line) in timeline.services.iter_mut().enumerate() {
            let Ok(party) = u16::try_from(service).map(Party) else { continue };
            line.queue_max[number] = peak(measures, Gauge::Queued(party), span);
            line.in_flight_max[number] = peak(measures, Gauge::Inside(party), span);
        }
        for call in measures.calls(span, None, None) {
            let line = edges.entry((call.from, call.to)).or_insert_with(|| EdgeLine {
                from: parties[usize::from(call.from.0)].clone(),
                to: call.to.map_or_else(|| "unknown".to_owned(), |to| parties[usize::from(to.0)].clone()),
                requests: vec![0; frame.count],
                failed: vec![0; frame.count],
                attempts: vec![0; frame.count],
                proven: vec![0; frame.count],
                unproven: vec![0; frame.count],
            });
            line.requests[number] += 1;
            line.failed[number] += u64::from(!call.success);
            line.attempts[number] += u64::from(call.attempts);
        }
    }
    timeline.edges = edges.into_values().collect();
    prove(scenario, history, frame, &mut timeline);
    timeline
}

fn empty(name: &str, count: usize) -> ServiceLine {
    let none = vec![0; count];
    ServiceLine {
        name: name.to_owned(),
        queue_max: none.clone(),
        in_flight_max: none.clone(),
        proven: none.clone(),
        unproven: none,
    }
}

fn bin(measures: &Measures, span: Span, buckets_ns: &[u64]) -> Bin {
    let asked = measures.asked(span);
    let spans = measures.latencies(span);
    let mut heat = vec![0; buckets_ns.len()];
    for nanos in &spans {
        heat[buckets_ns.partition_point(|bound| bound < nanos)] += 1;
    }
    let (attempts, firsts) = Measures::attempts(measures.calls(span, None, None));
    let found = latency(spans);
    Bin {
        requests: asked.len() as u64,
        succeeded: asked.iter().filter(|asked| asked.success).count() as u64,
        attempts,
        firsts,
        in_flight_max: peak(measures, Gauge::Asked, span),
        p50: found.p50,
        p90: found.p90,
        p99: found.p99,
        max: found.max,
        heat,
    }
}

fn peak(measures: &Measures, gauge: Gauge, span: Span) -> u64 {
    u64::try_from(measures.gauge_max(gauge, span)).unwrap_or(0)
}

/// Bounds of 1, 1.5, 2, 3, 5, 7 × 10ⁿ ns, from the one that holds the smallest of these to the one that holds the largest.
fn buckets(nanos: Vec<u64>) -> Vec<u64> {
    let (Some(least), Some(most)) = (nanos.iter().min(), nanos.iter().max()) else { return Vec::new() };
    let mut bounds = vec![0];
    let mut tens: u128 = 1;
    while bounds.last().is_some_and(|last| last < most) {
        let next = [10, 15, 20, 30, 50, 70].map(|tenths| u64::try_from(tens * tenths / 10).unwrap_or(u64::MAX));
        bounds.extend(next);
        tens *= 10;
    }
    // Half a nanosecond is none.
    bounds.dedup();
    let first = bounds.partition_point(|bound| bound < least);
    let last = bounds.partition_point(|bound| bound < most);
    bounds.drain(first..=last).collect()
}

/// Counts whose callers proved who they are, by called service and by edge.
fn prove(scenario: &Scenario, history: &History, frame: &Frame, timeline: &mut Timeline) {
    let pods = scenario.pods();
    let service_of: BTreeMap<&str, usize> = pods.iter().map(|pod| (&*pod.name, pod.service)).collect();
    let mut party_of: BTreeMap<String, &str> =
        pods.iter().map(|pod| (pod.name.to_string(), scenario.services[pod.service].name.value.as_str())).collect();
    for load in &scenario.load {
        party_of.extend((0..load.hosts).map(|nth| (format!("{}-{nth}", load.name), &*load.name)));
    }
    let edge_of: BTreeMap<(String, String), usize> =
        timeline.edges.iter().enumerate().map(|(nth, edge)| ((edge.from.clone(), edge.to.clone()), nth)).collect();
    // Who tried which pod last for a request: that is who comes there.
    let mut tried: BTreeMap<(Option<u64>, &str), &str> = BTreeMap::new();
    for entry in history.entries() {
        if entry.kind == "picked" {
            tried.insert((entry.request, text(entry, "endpoint")), &entry.host);
        }
        if !matches!(entry.kind, "in-started" | "in-opened") {
            continue;
        }
        let (Some(number), Some(service)) = (frame.of(entry), service_of.get(&*entry.host)) else { continue };
        let proven = !text(entry, "peer").is_empty();
        let line = &mut timeline.services[*service];
        let counts = if proven { &mut line.proven } else { &mut line.unproven };
        counts[number] += 1;
        let caller = tried.get(&(entry.request, &*entry.host)).and_then(|host| party_of.get(*host));
        let edge = caller.and_then(|caller| edge_of.get(&((*caller).to_owned(), line.name.clone())));
        if let Some(edge) = edge.and_then(|edge| timeline.edges.get_mut(*edge)) {
            let counts = if proven { &mut edge.proven } else { &mut edge.unproven };
            counts[number] += 1;
        }
    }
}

/// A field of a record that is text; empty if there is none.
fn text<'e>(entry: &'e Entry, name: &str) -> &'e str {
    let found = entry.fields.iter().find_map(|(field, value)| match value {
        Field::Text(text) if *field == name => Some(text.as_str()),
        Field::Text(_) | Field::Number(_) => None,
    });
    found.unwrap_or_default()
}

/// A field of a record that is a number.
fn number(entry: &Entry, name: &str) -> Option<u64> {
    entry.fields.iter().find_map(|(field, value)| match value {
        Field::Number(number) if *field == name => Some(*number),
        Field::Text(_) | Field::Number(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_as_narrow_as_their_number_allows() {
        let ms = Duration::from_millis;
        assert_eq!(width(ms(60_000), 240), ms(500));
        assert_eq!(width(ms(60_000), 60), ms(1000));
        assert_eq!(width(ms(60_001), 60), ms(2000));
        assert_eq!(width(ms(1), 240), ms(1));
        assert_eq!(width(ms(3_600_000), 100), ms(50_000));
    }

    #[test]
    fn buckets_hold_the_smallest_and_the_largest_and_no_more() {
        assert_eq!(buckets(vec![16, 44]), [20, 30, 50]);
        assert_eq!(buckets(vec![30]), [30]);
        assert_eq!(buckets(Vec::new()), [0; 0]);
        assert_eq!(buckets(vec![0]), [0]);
        let all = buckets(vec![0, u64::MAX]);
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    }
}
