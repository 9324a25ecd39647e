//! The requests that went worst, each as bars over time with the reason of every attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use squall_policy::Instant;

use super::{number, text};
use crate::history::{Entry, History};
use crate::window::Measures;

/// A story longer than this is cut; `squall replay --request` has all of it.
const LINES_MAX: usize = 80;

/// What became of one request of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Its number, from 1, in order of arrival: what `squall replay --request` takes.
    pub request: u64,
    /// When it arrived, in scenario time.
    pub at: Instant,
    /// How long it took; its time-out if it got no answer.
    pub took: Duration,
    /// Whether it was answered without error.
    pub success: bool,
    /// The status it got; 0: none.
    pub status: u16,
    /// Attempts that all sidecars made for it.
    pub attempts: u64,
    /// `GET /checkout to front`.
    pub title: String,
    /// What took time, in order of beginning.
    pub bars: Vec<Bar>,
    /// Every event in words.
    pub lines: Vec<Line>,
    /// How many more lines there are.
    pub cut: usize,
}

/// A stretch of time in a story. Times count from the request's arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What it is.
    pub kind: BarKind,
    /// On which host.
    pub host: String,
    /// When it began.
    pub from: Duration,
    /// When it ended; `None`: not in the story's time.
    pub to: Option<Duration>,
    /// What was done: `catalog-1`, `GET /items`.
    pub what: String,
    /// Why it was done: for an attempt, `first attempt`, or the retry's words.
    pub why: String,
    /// How it ended, in words.
    pub end: String,
    /// Whether it ended well.
    pub good: bool,
}

/// What a [`Bar`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BarKind {
    /// A call in its caller's sidecar, from its head to its end.
    Call,
    /// The wait for a place in a sidecar.
    Wait,
    /// One attempt of a sidecar at an endpoint.
    Attempt,
    /// The application's work.
    Work,
}

/// An event in a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the request's arrival.
    pub after: Duration,
    /// On which host.
    pub host: String,
    /// In words.
    pub text: String,
}

/// The stories of the worst `most` requests.
pub(super) fn stories(measures: &Measures, history: &History, start: Instant, most: usize) -> Vec<Story> {
    let chosen = choose(measures, most);
    let wanted: BTreeSet<u64> = chosen.iter().map(|(request, _)| *request).collect();
    let mut entries: BTreeMap<u64, Vec<&Entry>> = BTreeMap::new();
    for entry in history.entries() {
        if let Some(request) = entry.request.filter(|request| wanted.contains(request)) {
            entries.entry(request).or_default().push(entry);
        }
    }
    let all = measures.asked(measures.whole);
    let spans = measures.latencies(measures.whole);
    let story = |(request, attempts): (u64, u64)| {
        let index = usize::try_from(request - 1).ok()?;
        let (asked, mine) = (all.get(index)?, entries.get(&request)?);
        let at = Instant::ZERO + asked.arrived.since(start);
        Some(Story {
            request,
            at,
            took: Duration::from_nanos(*spans.get(index)?),
            success: asked.success,
            status: asked.status,
            attempts,
            title: mine.first()?.text.clone(),
            bars: bars(mine, at),
            lines: mine.iter().take(LINES_MAX).map(|entry| line(entry, at)).collect(),
            cut: mine.len().saturating_sub(LINES_MAX),
        })
    };
    chosen.into_iter().filter_map(story).collect()
}

/// The numbers of the worst requests with their attempts: the slowest that failed, the one with most attempts, the slowest that
/// succeeded, and so on in turn.
fn choose(measures: &Measures, most: usize) -> Vec<(u64, u64)> {
    let asked = measures.asked(measures.whole);
    let spans = measures.latencies(measures.whole);
    let mut attempts = vec![0; asked.len()];
    for call in measures.calls(measures.whole, None, None) {
        let index = call.request.get().and_then(|request| usize::try_from(request - 1).ok());
        if let Some(sum) = index.and_then(|index| attempts.get_mut(index)) {
            *sum += u64::from(call.attempts);
        }
    }
    let sorted = |which: &dyn Fn(usize) -> bool, by: &dyn Fn(usize) -> u64| {
        let mut numbers: Vec<usize> = (0..asked.len()).filter(|index| which(*index)).collect();
        numbers.sort_by_key(|index| (std::cmp::Reverse(by(*index)), *index));
        numbers.truncate(most);
        numbers
    };
    let orders = [
        sorted(&|index| !asked[index].success, &|index| spans[index]),
        sorted(&|index| attempts[index] > 1, &|index| attempts[index]),
        sorted(&|index| asked[index].success, &|index| spans[index]),
    ];
    let mut chosen: Vec<usize> = Vec::new();
    for place in 0..most {
        for order in &orders {
            if let Some(index) = order.get(place).filter(|index| !chosen.contains(index)) {
                chosen.push(*index);
            }
        }
    }
    chosen.truncate(most);
    chosen.into_iter().map(|index| (index as u64 + 1, attempts[index])).collect()
}

fn line(entry: &Entry, start: Instant) -> Line {
    Line { after: entry.at.since(start), host: entry.host.to_string(), text: entry.text.clone() }
}

/// The bars of one request's records.
fn bars(entries: &[&Entry], start: Instant) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    // Which bar is open, by kind, host, exchange and attempt.
    let mut open: BTreeMap<(BarKind, &str, u64, u64), usize> = BTreeMap::new();
    let mut why: BTreeMap<(&str, u64), String> = BTreeMap::new();
    // The work of an application has no number: the first that began on a host ends first.
    let mut works: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for entry in entries {
        let after = entry.at.since(start);
        let host = &*entry.host;
        let exchange = number(entry, "exchange").unwrap_or(0);
        let attempt = number(entry, "attempt").unwrap_or(0);
        let mut begin = |bars: &mut Vec<Bar>, kind, attempt, what: &str, why: String| {
            open.insert((kind, host, exchange, attempt), bars.len());
            bars.push(bar(kind, host, after, what, why));
        };
        match entry.kind {
            "out-started" => {
                let what = format!("{} {}{}", text(entry, "method"), text(entry, "authority"), text(entry, "path"));
                begin(&mut bars, BarKind::Call, 0, &what, String::new());
            }
            "queued" => begin(&mut bars, BarKind::Wait, 0, "waits for a place", String::new()),
            "picked" => {
                let first = || if attempt <= 1 { "first attempt" } else { "attempt beside the others" }.to_owned();
                let why = why.remove(&(host, exchange)).unwrap_or_else(first);
                begin(&mut bars, BarKind::Attempt, attempt, text(entry, "endpoint"), why);
            }
            "retry" => {
                why.insert((host, exchange), entry.text.clone());
            }
            "begins" => {
                works.entry(host).or_default().push(bars.len());
                bars.push(bar(BarKind::Work, host, after, "application", String::new()));
            }
            "answers" => {
                let mine = works.get_mut(host).filter(|mine| !mine.is_empty()).map(|mine| mine.remove(0));
                let good = number(entry, "status").is_some_and(|status| status < 400);
                close(&mut bars, mine, after, entry, good);
            }
            "granted" => {
                let index = open.remove(&(BarKind::Wait, host, exchange, 0));
                close(&mut bars, index, after, entry, true);
            }
            "head" => {
                let good = number(entry, "status").is_some_and(|status| status < 500);
                let index = open.remove(&(BarKind::Attempt, host, exchange, attempt));
                close(&mut bars, index, after, entry, good);
            }
            "attempt-failed" | "attempt-cancelled" => {
                let index = open.remove(&(BarKind::Attempt, host, exchange, attempt));
                close(&mut bars, index, after, entry, false);
            }
            "out-ended" => {
                let good = number(entry, "status").is_some_and(|status| status > 0 && status < 400);
                for kind in [BarKind::Wait, BarKind::Call] {
                    let index = open.remove(&(kind, host, exchange, 0));
                    close(&mut bars, index, after, entry, good);
                }
            }
            _ => {}
        }
    }
    bars
}

fn bar(kind: BarKind, host: &str, from: Duration, what: &str, why: String) -> Bar {
    Bar { kind, host: host.to_owned(), from, to: None, what: what.to_owned(), why, end: String::new(), good: false }
}

fn close(bars: &mut [Bar], index: Option<usize>, after: Duration, entry: &Entry, good: bool) {
    if let Some(bar) = index.and_then(|index| bars.get_mut(index)) {
        bar.to = Some(after);
        bar.end.clone_from(&entry.text);
        bar.good = good;
    }
}
