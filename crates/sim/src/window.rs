//! The measures of any window of a run, from the book of its raw numbers.

mod stays;

use std::collections::BTreeMap;
use std::time::Duration;

use squall_policy::Instant;

use crate::ledger::{AppCall, Asked, Book, BreakerLine, Call, Gauge, Gauges, LimitLine, Number, Party, Served};
use crate::measure::{EdgeSummary, Latency, Recovery, ServiceSummary, Summary};

/// From the first (included) to the second, in world time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Span {
    /// How long it is.
    pub(crate) fn length(&self) -> Duration {
        self.to.since(self.from)
    }
}

/// All measures of a run that is over.
#[derive(Debug)]
pub(crate) struct Measures {
    /// The requests of the loads, in order of arrival.
    asked: Vec<Asked>,
    /// What sidecars and applications did, in order of the moment by which it belongs to a window: the arrival of the load's
    /// request it was done for, or its own.
    calls: Vec<Call>,
    app_calls: Vec<AppCall>,
    served: Vec<Served>,
    gauges: Gauges,
    /// What breakers did, in order of time.
    breakers: Vec<BreakerLine>,
    /// How adaptive limits moved, in order of time.
    limits: Vec<LimitLine>,
    /// The measured time: from the scenario's time 0 to the end of its load.
    pub(crate) whole: Span,
    /// From the start of the first fault to the end of the last; `None`: no fault began.
    pub(crate) faults: Option<Span>,
    /// When the last request may have been answered: what is in flight then counts its time-out.
    parties: Vec<String>,
}

impl Measures {
    /// The measures of `book` over `whole`. `parties`: the names of services, then loads.
    pub(crate) fn new(book: Book, whole: Span, faults: Option<Span>, parties: Vec<String>) -> Self {
        let Book { asked, calls, app_calls, served, gauges, breakers, limits, .. } = book;
        Self {
            calls: by(calls, |call| moment(&asked, call.request, call.arrived)),
            app_calls: by(app_calls, |call| moment(&asked, call.request, call.arrived)),
            served: by(served, |line| moment(&asked, line.request, line.arrived)),
            gauges,
            breakers,
            limits,
            asked,
            whole,
            faults,
            parties,
        }
    }

    /// The names of services, then loads.
    pub(crate) fn parties(&self) -> &[String] {
        &self.parties
    }

    /// The party of this name.
    pub(crate) fn party(&self, name: &str) -> Option<Party> {
        let at = self.parties.iter().position(|party| party == name)?;
        u16::try_from(at).ok().map(Party)
    }

    /// The requests of the loads that arrived in `span`.
    pub(crate) fn asked(&self, span: Span) -> &[Asked] {
        within(&self.asked, span, |asked| asked.arrived)
    }

    /// The sidecars' requests that belong to `span`, from one (`None`: from all) to another (`None`: to all).
    pub(crate) fn calls(&self, span: Span, from: Option<Party>, to: Option<Party>) -> impl Iterator<Item = &Call> {
        within(&self.calls, span, |call| moment(&self.asked, call.request, call.arrived))
            .iter()
            .filter(move |call| from.is_none_or(|from| call.from == from) && (to.is_none() || call.to == to))
    }

    /// How long each request of the loads took, in ns; an unanswered one counts its time-out. Not sorted.
    pub(crate) fn latencies(&self, span: Span) -> Vec<u64> {
        self.asked(span)
            .iter()
            .map(|asked| match asked.ended.get() {
                Some(ended) if !asked.gave_up => between(asked.arrived, ended),
                Some(_) | None => asked.timeout.nanos(),
            })
            .collect()
    }

    /// How long each call to `to` took, in ns. One whose caller's sidecar crashed has no length. Not sorted.
    pub(crate) fn call_latencies(&self, span: Span, to: Party) -> Vec<u64> {
        self.calls(span, None, Some(to)).filter_map(|call| Some(between(call.arrived, call.ended.get()?))).collect()
    }

    /// (calls, failed for good) of one application to another.
    pub(crate) fn app_calls(&self, span: Span, from: Party, to: Party) -> (u64, u64) {
        let mine = within(&self.app_calls, span, |call| moment(&self.asked, call.request, call.arrived)).iter();
        let mine = mine.filter(|call| call.from == from && call.to == Some(to));
        mine.fold((0, 0), |(calls, failed), call| (calls + 1, failed + u64::from(call.failed)))
    }

    /// Requests that a full queue of `service` refused.
    pub(crate) fn overflowed(&self, span: Span, service: Party) -> u64 {
        self.served(span, service).filter(|line| line.overflowed).count() as u64
    }

    /// The value of a gauge at an instant, after what happened then.
    pub(crate) fn gauge_at(&self, gauge: Gauge, at: Instant) -> i64 {
        let steps = self.gauges.steps(gauge);
        let next = steps.partition_point(|(since, _)| *since <= at);
        if next == 0 { 0 } else { steps[next - 1].1 }
    }

    /// Every step of a gauge: from then on it has this value.
    #[cfg(test)]
    pub(crate) fn gauge_steps(&self, gauge: Gauge) -> &[(Instant, i64)] {
        self.gauges.steps(gauge)
    }

    /// The largest value of a gauge in `span`.
    pub(crate) fn gauge_max(&self, gauge: Gauge, span: Span) -> i64 {
        let before = self.gauge_at(gauge, span.from);
        let steps = self.gauges.steps(gauge);
        let first = steps.partition_point(|(since, _)| *since < span.from);
        steps[first..].iter().take_while(|(since, _)| *since < span.to).map(|(_, value)| *value).fold(before, i64::max)
    }

    /// From the end of the last fault to the first second from which success stays at 99 % or more.
    pub(crate) fn recovery(&self) -> Recovery {
        let Some(faults) = self.faults.filter(|faults| faults.to < self.whole.to) else { return Recovery::NoFault };
        let second = Duration::from_secs(1);
        let seconds = self.whole.to.since(faults.to).as_nanos().div_ceil(second.as_nanos());
        let mut recovered = seconds;
        for number in (0..seconds).rev() {
            let from = faults.to + second * u32::try_from(number).unwrap_or(u32::MAX);
            let asked = self.asked(Span { from, to: from + second });
            let succeeded = asked.iter().filter(|asked| asked.success).count();
            if succeeded * 100 < asked.len() * 99 {
                break;
            }
            recovered = number;
        }
        if recovered == seconds {
            Recovery::Never
        } else {
            Recovery::After(second * u32::try_from(recovered).unwrap_or(u32::MAX))
        }
    }

    /// Attempts of these calls, and of those that sent any, the number: without retries each would have had one.
    pub(crate) fn attempts<'a>(calls: impl Iterator<Item = &'a Call>) -> (u64, u64) {
        calls.fold((0, 0), |(attempts, firsts), call| {
            (attempts + u64::from(call.attempts), firsts + u64::from(call.attempts > 0))
        })
    }

    /// The summary of the whole run.
    pub(crate) fn summary(&self, services: usize) -> Summary {
        let span = self.whole;
        let asked = self.asked(span);
        let succeeded = asked.iter().filter(|asked| asked.success).count() as u64;
        let (attempts, firsts) = Self::attempts(self.calls(span, None, None));
        Summary {
            requests: asked.len() as u64,
            succeeded,
            unanswered: asked.iter().filter(|asked| asked.gave_up || asked.ended.get().is_none()).count() as u64,
            latency: latency(self.latencies(span)),
            amplification: ratio(attempts, firsts),
            goodput_per_s: succeeded as f64 / span.length().as_secs_f64(),
            recovery: self.recovery(),
            services: (0..services).map(|service| self.service(service)).collect(),
            edges: self.edges(),
        }
    }

    fn service(&self, service: usize) -> ServiceSummary {
        let party = Party(u16::try_from(service).expect("scenarios have fewer services"));
        let mut row = ServiceSummary { name: self.parties[service].clone(), ..ServiceSummary::default() };
        let mut spans = Vec::new();
        for line in self.served(self.whole, party) {
            row.requests += 1;
            row.succeeded += u64::from(line.success);
            row.refused += u64::from(line.overflowed);
            spans.extend(line.ended.get().map(|ended| between(line.arrived, ended)));
        }
        row.latency = latency(spans);
        let peak = |gauge| u64::try_from(self.gauge_max(gauge, self.whole)).unwrap_or(0);
        row.in_flight_max = peak(Gauge::Inside(party));
        row.queue_max = peak(Gauge::Queued(party));
        row
    }

    fn edges(&self) -> Vec<EdgeSummary> {
        let mut rows: BTreeMap<(Party, Option<Party>), (EdgeSummary, Vec<u64>)> = BTreeMap::new();
        for call in self.calls(self.whole, None, None) {
            let (row, spans) = rows.entry((call.from, call.to)).or_default();
            row.requests += 1;
            row.attempts += u64::from(call.attempts);
            row.succeeded += u64::from(call.success);
            row.over_budget += u64::from(call.over_budget);
            row.refused += u64::from(call.refused);
            spans.extend(call.ended.get().map(|ended| between(call.arrived, ended)));
        }
        let name = |party: Party| self.parties[usize::from(party.0)].clone();
        rows.into_iter()
            .map(|((from, to), (row, spans))| EdgeSummary {
                from: name(from),
                to: to.map_or_else(|| "unknown".to_owned(), name),
                latency: latency(spans),
                ..row
            })
            .collect()
    }
}

/// The moment by which what was done for a request of the loads belongs to a window; what was done for none has its own.
fn moment(asked: &[Asked], request: Number, own: Instant) -> Instant {
    let number = request.get().and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
    number.and_then(|number| asked.get(number)).map_or(own, |asked| asked.arrived)
}

/// These in order of their moments. Where requests make no calls of their own, they are already.
/// Lines are nearly in this order already, as far apart as requests overtake each other: each moves up to where it belongs. If that
/// is too far for too many, they are sorted as anything is.
fn by<T>(mut lines: Vec<T>, at: impl Fn(&T) -> Instant) -> Vec<T> {
    let mut patience = lines.len() * 8;
    for place in 1..lines.len() {
        let own = at(&lines[place]);
        let mut to = place;
        while to > 0 && at(&lines[to - 1]) > own {
            to -= 1;
        }
        if to < place {
            lines[to..=place].rotate_right(1);
            patience = patience.saturating_sub(place - to);
            if patience == 0 {
                lines.sort_by_cached_key(at);
                break;
            }
        }
    }
    lines
}

/// In nanoseconds.
fn between(from: Instant, to: Instant) -> u64 {
    to.as_nanos().saturating_sub(from.as_nanos())
}

/// Those of sorted lines that lie in `span`.
fn within<T>(lines: &[T], span: Span, at: impl Fn(&T) -> Instant) -> &[T] {
    let from = lines.partition_point(|line| at(line) < span.from);
    let to = lines.partition_point(|line| at(line) < span.to);
    &lines[from..to.max(from)]
}

/// `of` ÷ `by`; 1 if `by` is 0.
pub(crate) fn ratio(of: u64, by: u64) -> f64 {
    if by == 0 { 1.0 } else { of as f64 / by as f64 }
}

/// Percentiles of these spans, in ns.
pub(crate) fn latency(mut nanos: Vec<u64>) -> Latency {
    let sum: u128 = nanos.iter().map(|span| u128::from(*span)).sum();
    let mean = sum.checked_div(nanos.len() as u128).and_then(|mean| u64::try_from(mean).ok());
    let mean = Duration::from_nanos(mean.unwrap_or_default());
    let max = Duration::from_nanos(nanos.iter().max().copied().unwrap_or_default());
    let ranks = [500_000, 900_000, 950_000, 990_000, 999_000].map(|ppm| rank(nanos.len(), ppm));
    let [p50, p90, p95, p99, p999] = ranks_of(&mut nanos, ranks);
    Latency { mean, p50, p90, p95, p99, p999, max }
}

/// The index of the nearest-rank percentile among so many.
fn rank(count: usize, ppm: u64) -> usize {
    (count as u64 * ppm).div_ceil(1_000_000).max(1) as usize - 1
}

/// The values that would stand at these indices, which ascend, if all were sorted; zero if there are none. Each selection
/// leaves the larger ones behind its index, so that a run's percentiles cost little more than one look at each value.
fn ranks_of<const N: usize>(values: &mut [u64], ranks: [usize; N]) -> [Duration; N] {
    let mut first = 0;
    ranks.map(|rank| {
        if values.is_empty() {
            return Duration::ZERO;
        }
        if rank >= first {
            values[first..].select_nth_unstable(rank - first);
            first = rank;
        }
        Duration::from_nanos(values[rank])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn asked(arrived_ms: u64, took_ms: u64, success: bool) -> Asked {
        Asked {
            arrived: at(arrived_ms),
            ended: at(arrived_ms + took_ms).into(),
            status: if success { 200 } else { 503 },
            success,
            gave_up: false,
            timeout: Duration::from_secs(1).into(),
        }
    }

    fn measures(asked: Vec<Asked>, faults: Option<Span>) -> Measures {
        let book = Book { asked, ..Book::default() };
        Measures::new(book, Span { from: at(0), to: at(10_000) }, faults, vec!["shop".to_owned()])
    }

    #[test]
    fn a_request_belongs_to_the_window_in_which_it_arrived() {
        let all = measures(vec![asked(0, 5000, true), asked(999, 1, true), asked(1000, 1, false)], None);
        let first = all.asked(Span { from: at(0), to: at(1000) });
        assert_eq!(first.len(), 2);
        assert_eq!(all.latencies(Span { from: at(0), to: at(1) }), [5_000_000_000]);
    }

    #[test]
    fn an_unanswered_request_counts_its_timeout() {
        let mut lost = asked(10, 0, false);
        lost.ended = crate::ledger::Maybe::NONE;
        let all = measures(vec![lost], None);
        assert_eq!(all.summary(1).latency.max, Duration::from_secs(1));
        assert_eq!(all.summary(1).unanswered, 1);
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let spans = (1..=100).map(|ms| ms * 1_000_000).collect();
        let latency = latency(spans);
        let ms = |span: Duration| span.as_millis();
        assert_eq!([ms(latency.p50), ms(latency.p99), ms(latency.p999), ms(latency.max)], [50, 99, 100, 100]);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_spans() {
        let mut rng = squall_policy::Rng::from_seed(3);
        for count in [0, 1, 2, 3, 9, 10, 11, 99, 1000, 1001] {
            let spans: Vec<u64> = (0..count).map(|_| rng.below(500)).collect();
            let mut sorted = spans.clone();
            sorted.sort_unstable();
            let at = |ppm| Duration::from_nanos(if count == 0 { 0 } else { sorted[rank(count, ppm)] });
            let Latency { p50, p90, p95, p99, p999, max, .. } = latency(spans);
            let want = [at(500_000), at(900_000), at(950_000), at(990_000), at(999_000)];
            assert_eq!([p50, p90, p95, p99, p999], want, "{count}");
            assert_eq!(max, Duration::from_nanos(sorted.last().copied().unwrap_or_default()));
        }
    }

    #[test]
    fn recovery_is_the_first_second_from_which_success_stays() {
        let faults = Some(Span { from: at(1000), to: at(4000) });
        let run = |bad: &[u64]| {
            let all = (0..100).map(|tenth| asked(tenth * 100, 1, !bad.contains(&tenth))).collect();
            measures(all, faults).recovery()
        };
        assert_eq!(run(&[]), Recovery::After(Duration::ZERO));
        assert_eq!(run(&[45, 61]), Recovery::After(Duration::from_secs(3)));
        assert_eq!(run(&[99]), Recovery::Never);
        assert_eq!(run(&[20]), Recovery::After(Duration::ZERO));

        let to_the_end = Some(Span { from: at(1000), to: at(10_000) });
        let all = (0..100).map(|tenth| asked(tenth * 100, 1, true)).collect();
        assert_eq!(measures(all, to_the_end).recovery(), Recovery::NoFault);
    }

    #[test]
    fn gauges_step_and_peak() {
        let mut book = Book::default();
        for (ms, up) in [(1, true), (2, true), (5, false), (5, true), (9, false)] {
            book.gauges.step(at(ms), Gauge::Asked, up);
        }
        let all = Measures::new(book, Span { from: at(0), to: at(10) }, None, Vec::new());
        assert_eq!([0, 1, 4, 5, 9].map(|ms| all.gauge_at(Gauge::Asked, at(ms))), [0, 1, 2, 2, 1]);
        assert_eq!(all.gauge_max(Gauge::Asked, Span { from: at(3), to: at(9) }), 2);
        assert_eq!(all.gauge_max(Gauge::Asked, Span { from: at(0), to: at(2) }), 1);
    }
}
