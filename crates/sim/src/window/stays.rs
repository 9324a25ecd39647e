//! What happened inside the applications of a service, and averages over time.

use std::collections::BTreeMap;
use std::time::Duration;

use squall_policy::Instant;

use super::{Measures, Span, between, moment, within};
use crate::ledger::{BreakerTurn, Gauge, Party, Served};

impl Measures {
    /// The requests inside the applications of `service` that belong to `span`.
    pub(crate) fn served(&self, span: Span, service: Party) -> impl Iterator<Item = &Served> {
        let lines = within(&self.served, span, |line| moment(&self.asked, line.request, line.arrived)).iter();
        lines.filter(move |line| line.service == service)
    }

    /// All requests inside the applications of `service`, in order of the moments by which they belong to windows.
    pub(crate) fn served_ever(&self, service: Party) -> impl Iterator<Item = &Served> {
        self.served.iter().filter(move |line| line.service == service)
    }

    /// The pairs between whom something went, as it was meant.
    pub(crate) fn links(&self) -> Vec<(Party, Party)> {
        self.gauges.pairs().collect()
    }

    /// How long each of them waited for its slot. Those without one (lost, or still waiting) have no wait.
    pub(crate) fn waits(&self, span: Span, service: Party) -> Vec<u64> {
        self.served(span, service).filter_map(|line| Some(between(line.arrived, line.began.get()?))).collect()
    }

    /// How long each of them that had a slot was inside, from its arrival to its answer.
    pub(crate) fn stays(&self, span: Span, service: Party) -> Vec<u64> {
        let stays = self.served(span, service).filter(|line| line.began.get().is_some());
        stays.filter_map(|line| Some(between(line.arrived, line.ended.get()?))).collect()
    }

    /// The average of a gauge over the time of `span`.
    pub(crate) fn gauge_mean(&self, gauge: Gauge, span: Span) -> f64 {
        let length = span.length().as_nanos();
        if length == 0 { 0.0 } else { self.gauge_area(gauge, span) as f64 / length as f64 }
    }

    /// The integral of a gauge over the time of `span`, in nanoseconds.
    pub(crate) fn gauge_area(&self, gauge: Gauge, span: Span) -> i128 {
        let steps = self.gauges.steps(gauge);
        let first = steps.partition_point(|(since, _)| *since <= span.from);
        let mut value = if first == 0 { 0 } else { steps[first - 1].1 };
        let (mut since, mut area) = (span.from, 0_i128);
        let until = |from: Instant, to: Instant| i128::try_from(to.since(from).as_nanos()).unwrap_or(i128::MAX);
        for (at, next) in steps[first..].iter().take_while(|(at, _)| *at < span.to) {
            area += i128::from(value) * until(since, *at);
            (since, value) = (*at, *next);
        }
        area + i128::from(value) * until(since, span.to)
    }

    /// The share of the loads' requests, or of those to a service, that took longer than `limit`; 0 if none arrived.
    pub(crate) fn slower(&self, span: Span, to: Option<Party>, limit: Duration) -> f64 {
        let latencies = to.map_or_else(|| self.latencies(span), |to| self.call_latencies(span, to));
        let slower = latencies.iter().filter(|latency| Duration::from_nanos(**latency) > limit).count();
        if latencies.is_empty() { 0.0 } else { slower as f64 / latencies.len() as f64 }
    }

    /// From the end of the last fault to the first of `row` whole seconds in a row, in each of which at least `share` as many
    /// requests were answered without error as arrived, of all loads or to a service; `None`: there are none before the end.
    pub(crate) fn regained(&self, to: Option<Party>, share: f64, row: usize) -> Option<Duration> {
        let from = self.faults?.to;
        let second = Duration::from_secs(1);
        let seconds = usize::try_from(self.whole.to.since(from).as_secs()).unwrap_or(usize::MAX);
        // What arrived and what was answered in each second.
        let mut counts = vec![(0_u64, 0_u64); seconds];
        let place = |at: Instant| {
            let index = usize::try_from(at.since(from).as_nanos() / second.as_nanos()).ok()?;
            (at >= from && index < seconds).then_some(index)
        };
        let mut count = |arrived: Instant, answered: Option<Instant>| {
            if let Some(index) = place(arrived) {
                counts[index].0 += 1;
            }
            if let Some(index) = answered.and_then(place) {
                counts[index].1 += 1;
            }
        };
        match to {
            None => self.asked.iter().for_each(|line| count(line.arrived, line.ended.get().filter(|_| line.success))),
            Some(to) => {
                let lines = self.calls.iter().filter(|line| line.to == Some(to));
                lines.for_each(|line| count(line.arrived, line.ended.get().filter(|_| line.success)));
            }
        }
        let good: Vec<bool> =
            counts.iter().map(|(arrived, answered)| *answered as f64 >= share * *arrived as f64).collect();
        let first = good.windows(row.max(1)).position(|seconds| seconds.iter().all(|good| *good))?;
        Some(second * u32::try_from(first).unwrap_or(u32::MAX))
    }

    /// The median over time of the adaptive limits on requests to a service, over all sidecars; `None`: none ever moved.
    pub(crate) fn limit(&self, span: Span, service: Party) -> Option<u32> {
        let mut held: BTreeMap<u32, Duration> = BTreeMap::new();
        let mut now: BTreeMap<u32, (Instant, u32)> = BTreeMap::new();
        let mut hold = |limit: u32, from: Instant, to: Instant| {
            *held.entry(limit).or_default() += to.min(span.to).since(from.max(span.from));
        };
        for line in self.limits.iter().filter(|line| line.service == service) {
            if let Some((since, limit)) = now.insert(line.host, (line.at, line.limit)) {
                hold(limit, since, line.at);
            }
        }
        for (since, limit) in now.into_values() {
            hold(limit, since, span.to);
        }
        let whole: Duration = held.values().sum();
        let mut passed = Duration::ZERO;
        held.into_iter().find_map(|(limit, time)| {
            passed += time;
            (!whole.is_zero() && passed * 2 >= whole).then_some(limit)
        })
    }

    /// (closed breakers that opened, attempts through closed breakers) for a service: a breaker opens when it is closed, or
    /// again after a probe; each half-open breaker lets one attempt through that is none of a closed one.
    pub(crate) fn trips(&self, span: Span, service: Party) -> (u64, u64) {
        let (mut opened, mut probes, mut closed) = (0_u64, 0_u64, 0_u64);
        for line in within(&self.breakers, span, |line| line.at).iter().filter(|line| line.service == service) {
            match line.turn {
                BreakerTurn::Opened => opened += 1,
                BreakerTurn::HalfOpened => probes += 1,
                BreakerTurn::Closed => closed += 1,
            }
        }
        let (attempts, _) = Self::attempts(self.calls(span, None, Some(service)));
        // Every probe ends in another opening or in closing.
        (opened.saturating_sub(probes.saturating_sub(closed)), attempts.saturating_sub(probes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Asked, Book, BreakerLine, Call, LimitLine};

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn span(from: u64, to: u64) -> Span {
        Span { from: at(from), to: at(to) }
    }

    fn measures(book: Book, faults: Option<Span>) -> Measures {
        Measures::new(book, span(0, 60_000), faults, vec!["db".to_owned(), "load".to_owned()])
    }

    #[test]
    fn a_gauge_is_averaged_over_the_time_it_had_each_value() {
        let mut book = Book::default();
        for (ms, up) in [(10, true), (20, true), (40, false), (70, false)] {
            book.gauges.step(at(ms), Gauge::Inside(Party(0)), up);
        }
        let all = measures(book, None);
        let mean = |from, to| all.gauge_mean(Gauge::Inside(Party(0)), span(from, to));
        assert!((mean(0, 100) - 0.8).abs() < 1e-12, "10 ms of one, 20 of two, 30 of one");
        assert!((mean(20, 40) - 2.0).abs() < 1e-12 && mean(70, 100) == 0.0);
        assert!((mean(30, 50) - 1.5).abs() < 1e-12, "a window may begin and end within a step");
        assert_eq!(all.gauge_mean(Gauge::Queued(Party(0)), span(0, 10)), 0.0);
    }

    fn served(arrived: u64, began: Option<u64>, ended: u64) -> Served {
        Served {
            service: Party(0),
            pod: 1,
            request: None.into(),
            arrived: at(arrived),
            began: began.map(at).map_or(crate::ledger::Maybe::NONE, Into::into),
            time: Duration::ZERO.into(),
            ended: at(ended).into(),
            success: began.is_some(),
            overflowed: began.is_none(),
            conflict: false,
        }
    }

    #[test]
    fn the_lost_neither_wait_nor_stay() {
        let lines = vec![served(0, Some(0), 10), served(5, Some(10), 30), served(6, None, 6)];
        let all = measures(Book { served: lines, ..Book::default() }, None);
        let ms = |ms: u64| ms * 1_000_000;
        assert_eq!(all.waits(span(0, 100), Party(0)), [ms(0), ms(5)]);
        assert_eq!(all.stays(span(0, 100), Party(0)), [ms(10), ms(25)]);
        assert_eq!(all.waits(span(5, 100), Party(0)), [ms(5)]);
    }

    #[test]
    fn success_is_regained_when_it_stays_for_some_seconds() {
        let run = |bad: &[u64]| {
            let asked = |second: u64| Asked {
                arrived: at(second * 1000),
                ended: at(second * 1000 + 1).into(),
                status: 200,
                success: !bad.contains(&second),
                gave_up: false,
                timeout: Duration::from_secs(1).into(),
            };
            let book = Book { asked: (0..60).map(asked).collect(), ..Book::default() };
            measures(book, Some(span(5000, 10_000)))
        };
        let s = Duration::from_secs;
        assert_eq!(run(&[]).regained(None, 0.95, 5), Some(s(0)));
        assert_eq!(run(&[10, 11, 14]).regained(None, 0.95, 5), Some(s(5)), "12 and 13 alone are no five");
        assert_eq!(run(&[10, 11, 14]).regained(None, 0.95, 2), Some(s(2)));
        let never: Vec<u64> = (10..60).step_by(4).collect();
        assert_eq!(run(&never).regained(None, 0.95, 5), None);
    }

    #[test]
    fn a_probe_that_fails_is_no_trip() {
        let line = |ms, turn| BreakerLine { at: at(ms), service: Party(0), turn };
        let call = |ms| Call {
            from: Party(1),
            to: Some(Party(0)),
            meant: Some(Party(0)),
            request: None.into(),
            arrived: at(ms),
            ended: at(ms).into(),
            status: 500,
            success: false,
            attempts: 1,
            refused: false,
            over_budget: false,
        };
        let breakers = vec![
            line(3, BreakerTurn::Opened),
            line(10, BreakerTurn::HalfOpened),
            line(10, BreakerTurn::Opened),
            line(20, BreakerTurn::HalfOpened),
            line(20, BreakerTurn::Closed),
            line(25, BreakerTurn::Opened),
        ];
        // Three before the first trip, two probes, five before the second.
        let calls = [1, 2, 3, 10, 20, 21, 22, 23, 24, 25].map(call).to_vec();
        let all = measures(Book { calls, breakers, ..Book::default() }, None);
        assert_eq!(all.trips(span(0, 60_000), Party(0)), (2, 8));
    }

    #[test]
    fn a_limit_is_where_it_is_half_of_the_time() {
        let line = |ms, host, limit| LimitLine { at: at(ms), host, service: Party(0), limit };
        let limits = vec![line(0, 1, 10), line(10, 1, 3), line(20, 1, 17), line(20, 2, 16), line(90, 1, 3)];
        let all = measures(Book { limits, ..Book::default() }, None);
        assert_eq!(all.limit(span(0, 100), Party(0)), Some(16));
        assert_eq!(all.limit(span(10, 20), Party(0)), Some(3), "the other one had not moved yet");
        assert_eq!(all.limit(span(0, 100), Party(1)), None);
    }

    #[test]
    fn slower_is_a_share() {
        let asked = |ms: u64| Asked {
            arrived: at(0),
            ended: at(ms).into(),
            status: 200,
            success: true,
            gave_up: false,
            timeout: Duration::from_secs(1).into(),
        };
        let all = measures(Book { asked: vec![asked(1), asked(5), asked(6), asked(9)], ..Book::default() }, None);
        assert!((all.slower(span(0, 10), None, Duration::from_millis(5)) - 0.5).abs() < 1e-12);
    }
}
