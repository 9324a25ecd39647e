//! What happens, for the digest, the history and the story: the same kinds of records and lines as the full world's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{BackendEvent, Injected, Instant, Reason, RetryNote};
use squall_proxy::{HowEnded, Record, RequestNumber, Side};

use super::World;
use super::sidecar::Own;
use super::slab::Key;
use super::state::Reply;
use crate::journal::{Fold, Words};
use crate::ledger::{Gauge, Party};
use crate::note::Note;
use crate::trace::Recording;
use crate::words;
use std::hash::{Hash as _, Hasher as _};

/// Writes into the digest.
pub(super) struct Pen(pub(super) Recording);

impl Pen {
    /// An event of a host; `kind` as in the history.
    #[inline]
    pub(super) fn note(&mut self, now: u64, host: u32, kind: &'static str, a: u64, b: u64) {
        self.0.note_short(Instant::from_nanos(now), host, kind, a, b);
    }
}

/// What the story tells the first time only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum First {
    QueueFull(u32),
    Retries(Party, Option<Party>),
    OverBudget(Party, Option<Party>),
    Replied(Party, Option<Party>, &'static str),
    LimitMoved(u32, u32),
    ControlLost,
}

/// What the story has had already.
pub(super) type Told = BTreeSet<First>;

impl World {
    pub(super) fn keep_note(&self, host: u32, note: &Note<'_>) {
        let words = || Words { text: note.to_string(), fields: note.fields() };
        self.shared.journal.keep(Instant::from_nanos(self.now), host, note.kind(), note.request(), words);
    }

    pub(super) fn keep_record(&self, host: u32, request: u32, record: &Record<'_>) {
        let own = self.local(host);
        let request = (request > 0).then_some(u64::from(request));
        let now = Instant::from_nanos(self.now);
        self.shared.journal.keep(now, host, words::kind(record), request, || words::of(own, record));
    }

    pub(super) fn keep_started(
        &self,
        host: u32,
        question: u32,
        request: u32,
        number: u64,
        side: Side,
        peer: Option<u32>,
    ) {
        let asked = &self.plan.questions[question as usize];
        let id = request.to_string();
        let peer = peer.map(|peer| self.identities[peer as usize].as_str());
        let record = Record::Started {
            request: RequestNumber(number),
            side,
            method: &asked.method,
            authority: &asked.authority,
            path: asked.path(),
            request_id: &id,
            peer,
        };
        self.keep_record(host, request, &record);
    }

    pub(super) fn keep_routed(
        &self,
        host: u32,
        cell: u32,
        request: u32,
        number: u64,
        route: &str,
        deadline: Option<Instant>,
    ) {
        let backend = &self.nodes[host as usize].cells[cell as usize].name;
        let record = Record::Routed { request: RequestNumber(number), route, backend, deadline };
        self.keep_record(host, request, &record);
    }

    /// A sidecar answers by itself. `line`: the request's line in the book, on the outbound side.
    pub(super) fn tell_reply(
        &mut self,
        host: u32,
        number: u64,
        request: u32,
        grpc: bool,
        own: Own,
        line: Option<u32>,
    ) -> Reply {
        let Own { status, grpc: code, reason, retry_after } = own;
        // Rounded up, or it would be too early.
        let retry_after_s = retry_after.map_or(0, |wait| wait.as_nanos().div_ceil(1_000_000_000) as u32);
        let party = self.nodes[host as usize].party;
        let mut to = None;
        if let Some(line) = line {
            let line = &mut self.book.calls[line as usize];
            let mut refusals = Reason::OVERLOAD.iter().chain(&[Reason::NoneAvailable, Reason::BreakerOpen]);
            line.refused = refusals.any(|refusal| refusal.as_str() == reason);
            to = line.to;
        }
        let tag = self.reason_tag(reason);
        self.pen.note(self.now, host, "replied", u64::from(status) << 8 | tag, u64::from(request));
        if self.keeps {
            let record = Record::Replied { request: RequestNumber(number), status, grpc: code, reason };
            self.keep_record(host, request, &record);
        }
        self.tell_first(First::Replied(party, to, reason));
        Reply {
            status: if grpc { 200 } else { status },
            grpc: grpc.then_some(code),
            in_head: true,
            retry_after_s,
            too_many: status == 429,
            bytes: 0,
        }
    }

    fn reason_tag(&self, reason: &'static str) -> u64 {
        reason.len() as u64 ^ u64::from(reason.as_bytes().first().copied().unwrap_or(0))
    }

    /// A request in a sidecar is over.
    #[expect(clippy::too_many_arguments, reason = "a record has so many parts")]
    pub(super) fn end_record(
        &mut self,
        host: u32,
        number: u64,
        request: u32,
        line: u32,
        is_inbound: bool,
        reply: &Reply,
        attempts: u32,
        started: u64,
        how: HowEnded,
    ) {
        let at = Instant::from_nanos(self.now);
        let (status, grpc) = (reply.status, reply.grpc);
        if !is_inbound {
            let whole = matches!(how, HowEnded::Complete | HowEnded::Local);
            let line = &mut self.book.calls[line as usize];
            line.ended = at.into();
            line.status = status;
            line.success = whole && (200..400).contains(&status) && grpc.unwrap_or(0) == 0;
            if let (from, Some(to)) = (line.from, line.meant) {
                self.gauge(Gauge::Between(from, to), false);
            }
            self.pen.note(self.now, host, "out-ended", u64::from(status) << 8 | how as u64, u64::from(request));
        }
        if self.keeps {
            let record = Record::Ended {
                request: RequestNumber(number),
                side: if is_inbound { Side::Inbound } else { Side::Outbound },
                status,
                grpc,
                attempts,
                total: Duration::from_nanos(self.now - started),
                bytes_up: 0,
                bytes_down: reply.bytes,
                how,
            };
            self.keep_record(host, request, &record);
        }
    }

    /// Whether a failed try is repeated.
    pub(super) fn tell_retry(&mut self, key: Key, note: RetryNote) {
        let Some(hold) = self.holds.get(key) else { return };
        let (host, request, number) = (hold.host, hold.request, hold.number);
        let mut to = None;
        if let Some(line) = self.book.calls.get_mut(hold.line as usize) {
            line.over_budget |= matches!(note, RetryNote::OverBudget | RetryNote::HedgeOverBudget);
            to = line.to;
        }
        let mut fold = Fold::default();
        note.hash(&mut fold);
        self.pen.note(self.now, host, "retry", fold.finish(), u64::from(request));
        if self.keeps {
            self.keep_record(host, request, &Record::Retry { request: RequestNumber(number), note });
        }
        let party = self.nodes[host as usize].party;
        match note {
            RetryNote::Retry { .. } => self.tell_first(First::Retries(party, to)),
            RetryNote::OverBudget => self.tell_first(First::OverBudget(party, to)),
            RetryNote::Hedge { .. }
            | RetryNote::Exhausted
            | RetryNote::HedgeOverBudget
            | RetryNote::Throttled
            | RetryNote::NotRepeatable
            | RetryNote::NoTime => {}
        }
    }

    /// A try was delayed or aborted on purpose.
    pub(super) fn tell_injected(&mut self, key: Key, injected: Injected) {
        let Some(hold) = self.holds.get(key) else { return };
        let (host, request, number) = (hold.host, hold.request, hold.number);
        let mut fold = Fold::default();
        injected.hash(&mut fold);
        self.pen.note(self.now, host, "injected", fold.finish(), u64::from(request));
        if self.keeps {
            self.keep_record(host, request, &Record::Injected { request: RequestNumber(number), injected });
        }
    }

    /// A backend's shared state changed.
    pub(super) fn tell_backend(&mut self, host: u32, cell: u32, event: &BackendEvent) {
        let mut fold = Fold::default();
        event.hash(&mut fold);
        self.pen.note(self.now, host, "backend", fold.finish(), u64::from(cell));
        let node = &self.nodes[host as usize];
        let (at, whose) = (Instant::from_nanos(self.now), (host, node.party));
        self.shared.write_backend(&mut self.book, at, whose, &node.cells[cell as usize].name, event);
        let (own, node) = (self.local(host), &self.nodes[host as usize]);
        let backend = &node.cells[cell as usize].name;
        if self.keeps {
            self.keep_record(host, 0, &Record::Backend { backend, event });
        }
        if let BackendEvent::LimitMoved { .. } = event {
            // Too many to tell; the first says that it moves.
            self.tell_first(First::LimitMoved(host, cell));
            return;
        }
        let whose = self.shared.party_name(node.party);
        let line = format!("{whose}: {backend} {}", words::backend_event(own, event));
        self.shared.journal.tell(Instant::from_nanos(self.now), line);
    }

    /// A line for the story, the first time that this happens.
    pub(super) fn tell_first(&mut self, first: First) {
        if self.shared.start.get().is_none() || !self.told.insert(first) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let line = match first {
            First::QueueFull(host) => format!("{} queue full", self.nodes[host as usize].name),
            First::Retries(from, to) => format!("{} retries start", shared.edge(from, to)),
            First::OverBudget(from, to) => format!("{} retries go over budget", shared.edge(from, to)),
            First::Replied(from, to, reason) => {
                format!("{} first answered by the sidecar itself: {reason}", shared.edge(from, to))
            }
            First::LimitMoved(host, cell) => {
                let node = &self.nodes[host as usize];
                let backend = &node.cells[cell as usize].name;
                format!("{}: {backend} moves its limit on requests in flight", shared.party_name(node.party))
            }
            First::ControlLost => "sidecars lose the control plane, and keep the last good mesh".to_owned(),
        };
        shared.tell_once(Instant::from_nanos(self.now), line);
    }
}
