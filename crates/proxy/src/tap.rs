//! Live requests, for a person who watches: one JSON object per request (or connection that was carried as bytes) at its end, with its
//! tries, if it fits what the watcher asked for. While nobody watches, an event costs one look.

mod filter;
mod story;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use bytes::Bytes;
use squall_net::Wall;
use squall_net::page::{Lines, Page};
use squall_policy::Instant;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Sender, channel};

use crate::core::timestamp;
use crate::line::{End, Line};
use crate::{Record, Recorder, RequestNumber};
use filter::Filter;
use story::Story;

/// The most that watch at once.
const WATCHERS: usize = 8;
/// The most lines that wait for one watcher; what comes when as many wait is dropped, and counted.
const WAITING: usize = 1_024;
/// The most requests that are followed at once; others are dropped, and counted.
const FOLLOWED: usize = 4_096;

/// Tells watchers of requests. A recorder; [`Tap::page`] begins to watch.
pub struct Tap {
    wall: Arc<dyn Wall>,
    /// As many as `state` has, so that one look tells that there is none.
    watchers: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watchers: Vec<Watcher>,
    /// Numbers watchers.
    next: u64,
    /// Requests that began while somebody watched, and may fit.
    live: BTreeMap<RequestNumber, Story>,
}

struct Watcher {
    number: u64,
    filter: Filter,
    sink: Sender<Bytes>,
    /// Lines for which there was no room, since it was last told.
    dropped: u64,
}

impl Watcher {
    /// Says `line`, or counts it.
    fn say(&mut self, line: Bytes) {
        if self.dropped > 0 {
            let told = Bytes::from(format!("{{\"dropped\":{}}}\n", self.dropped));
            match self.sink.try_send(told) {
                Ok(()) => self.dropped = 0,
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
            }
        }
        match self.sink.try_send(line) {
            Ok(()) => {}
            // One that is gone takes itself out.
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.dropped += 1,
        }
    }
}

/// Ends watching when it is dropped.
struct Watching {
    tap: Arc<Tap>,
    number: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut state = self.tap.state();
        state.watchers.retain(|watcher| watcher.number != self.number);
        if state.watchers.is_empty() {
            state.live.clear();
        }
        self.tap.watchers.store(state.watchers.len(), Ordering::Relaxed);
    }
}

impl Tap {
    /// `wall` dates what is told.
    #[must_use]
    pub fn new(wall: Arc<dyn Wall>) -> Self {
        Self { wall, watchers: AtomicUsize::new(0), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page that goes on for as long as somebody reads it. Status 400: `query` is no filter, and why; 503: as many watch as may.
    #[must_use]
    pub fn page(self: &Arc<Self>, query: &str) -> Page {
        let filter = match Filter::read(query) {
            Ok(filter) => filter,
            Err(why) => return Page::text(400, why),
        };
        let (sink, mut lines) = channel(WAITING);
        let mut state = self.state();
        if state.watchers.len() >= WATCHERS {
            return Page::text(503, format!("{WATCHERS} watch already; no more may at once"));
        }
        let number = state.next;
        state.next += 1;
        state.watchers.push(Watcher { number, filter, sink, dropped: 0 });
        self.watchers.store(state.watchers.len(), Ordering::Relaxed);
        drop(state);
        let watching = Watching { tap: Arc::clone(self), number };
        let lines: Lines = Box::new(move |cx: &mut Context<'_>| {
            let _watching = &watching;
            lines.poll_recv(cx)
        });
        Page::lines(lines)
    }

    fn begin(&self, record: &Record<'_>) {
        let Some((request, line)) = Line::begin(record) else { return };
        let mut state = self.state();
        let State { watchers, live, .. } = &mut *state;
        let mut fits = watchers.iter_mut().filter(|watcher| watcher.filter.may_fit(&line)).peekable();
        if fits.peek().is_none() {
            return;
        }
        if live.len() >= FOLLOWED {
            fits.for_each(|watcher| watcher.dropped += 1);
            return;
        }
        live.insert(request, Story::new(line));
    }

    fn tell(&self, request: RequestNumber, record: &Record<'_>) {
        if let Some(story) = self.state().live.get_mut(&request) {
            story.see(record);
        }
    }

    fn end(&self, record: &Record<'_>) {
        let Some(end) = End::of(record) else { return };
        let mut state = self.state();
        let Some(story) = state.live.remove(&end.request) else { return };
        let mut line = None;
        for watcher in state.watchers.iter_mut().filter(|watcher| watcher.filter.fits(&story, &end)) {
            let line = line.get_or_insert_with(|| {
                let mut text = story.json(&timestamp(self.wall.since_epoch()), &end);
                text.push('\n');
                Bytes::from(text)
            });
            watcher.say(line.clone());
        }
    }
}

impl Recorder for Tap {
    fn record(&self, _at: Instant, record: &Record<'_>) {
        if self.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        match record {
            Record::Started { .. } | Record::Opened { .. } => self.begin(record),
            Record::Ended { .. } | Record::Closed { .. } => self.end(record),
            Record::Routed { request, .. }
            | Record::Granted { request, .. }
            | Record::Picked { request, .. }
            | Record::Connected { request, .. }
            | Record::Head { request, .. }
            | Record::AttemptFailed { request, .. }
            | Record::AttemptCancelled { request, .. }
            | Record::Retry { request, .. }
            | Record::Injected { request, .. }
            | Record::Access { request, .. }
            | Record::Replied { request, .. }
            | Record::Upgraded { request, .. } => self.tell(*request, record),
            Record::Queued { .. }
            | Record::StrangerRefused { .. }
            | Record::Backend { .. }
            | Record::MeshApplied { .. }
            | Record::MeshRefused { .. }
            | Record::ControlConnected { .. }
            | Record::ControlLost { .. }
            | Record::CertificateIssued { .. }
            | Record::PeerRefused { .. }
            | Record::Shortage { .. }
            | Record::Traced { .. }
            | Record::SpansExported { .. }
            | Record::SpansDropped { .. }
            | Record::CollectorFailed { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Poll, Waker};
    use std::time::Duration;

    use squall_net::page::Body;

    use super::*;
    use crate::{HowEnded, Side};

    struct Noon;

    impl Wall for Noon {
        fn since_epoch(&self) -> Duration {
            Duration::from_millis(784_111_777_250)
        }
    }

    fn tap() -> Arc<Tap> {
        Arc::new(Tap::new(Arc::new(Noon)))
    }

    #[track_caller]
    fn watch(tap: &Arc<Tap>, query: &str) -> Lines {
        match tap.page(query).body {
            Body::Lines(lines) => lines,
            Body::Text(why) => panic!("{query}: {why}"),
        }
    }

    fn started(number: u64, path: &'static str) -> Record<'static> {
        let (request, side) = (RequestNumber(number), Side::Outbound);
        Record::Started { request, side, method: "GET", authority: "stock", path, request_id: "r", peer: None }
    }

    fn ended(number: u64, status: u16) -> Record<'static> {
        Record::Ended {
            request: RequestNumber(number),
            side: Side::Outbound,
            status,
            grpc: None,
            attempts: 0,
            total: Duration::from_micros(1_250),
            bytes_up: 0,
            bytes_down: 9,
            how: HowEnded::Local,
        }
    }

    fn record(tap: &Tap, records: &[Record<'_>]) {
        records.iter().for_each(|record| tap.record(Instant::ZERO, record));
    }

    /// What is there to read now.
    fn read(lines: &mut Lines) -> Vec<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut read = Vec::new();
        while let Poll::Ready(Some(bytes)) = lines(&mut cx) {
            read.push(String::from_utf8(bytes.to_vec()).expect("UTF-8"));
        }
        read
    }

    #[test]
    fn who_watches_sees_what_began_since_and_fits() {
        let tap = tap();
        record(&tap, &[started(1, "/a")]);
        let (mut all, mut some) = (watch(&tap, ""), watch(&tap, "path=/b*&status=5xx"));
        record(&tap, &[started(2, "/b"), started(3, "/bc"), started(4, "/c")]);
        record(&tap, &[ended(1, 503), ended(3, 503), ended(2, 200), ended(4, 500)]);
        let paths = |lines: Vec<String>| -> Vec<String> {
            let path = |line: &String| Some(line.split_once("\"path\":\"")?.1.split_once('"')?.0.to_owned());
            lines.iter().map(|line| path(line).expect("a path")).collect()
        };
        assert_eq!(paths(read(&mut some)), ["/bc"]);
        assert_eq!(paths(read(&mut all)), ["/bc", "/b", "/c"]);
    }

    #[test]
    fn who_goes_is_forgotten_and_nothing_is_followed_for_nobody() {
        let tap = tap();
        let (one, other) = (watch(&tap, ""), watch(&tap, "path=/b"));
        record(&tap, &[started(1, "/a")]);
        drop(one);
        record(&tap, &[started(2, "/a"), started(3, "/b")]);
        assert_eq!(tap.state().live.keys().copied().collect::<Vec<_>>(), [RequestNumber(1), RequestNumber(3)]);
        drop(other);
        record(&tap, &[started(4, "/b")]);
        assert!(tap.state().live.is_empty());
        assert_eq!(tap.watchers.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_watcher_that_does_not_read_is_told_how_much_it_missed() {
        let tap = tap();
        let mut lines = watch(&tap, "");
        for number in 0..WAITING as u64 + 7 {
            record(&tap, &[started(number, "/"), ended(number, 200)]);
        }
        assert_eq!(read(&mut lines).len(), WAITING);
        record(&tap, &[started(0, "/"), ended(0, 200)]);
        let read = read(&mut lines);
        assert_eq!((read.len(), &*read[0]), (2, "{\"dropped\":7}\n"));
    }

    #[test]
    fn no_more_are_followed_nor_watch_than_may() {
        let tap = tap();
        let mut lines: Vec<_> = (0..WATCHERS).map(|_| watch(&tap, "")).collect();
        let page = tap.page("");
        assert!(page.status == 503 && matches!(page.body, Body::Text(_)), "{page:?}");
        for number in 0..FOLLOWED as u64 + 3 {
            record(&tap, &[started(number, "/")]);
        }
        record(&tap, &[ended(0, 200)]);
        assert_eq!(read(&mut lines[0])[0], "{\"dropped\":3}\n");
        assert_eq!(tap.state().live.len(), FOLLOWED - 1);
        lines.pop();
        assert_eq!(tap.page("").status, 200);
    }
}
