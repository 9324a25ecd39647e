//! What is told of a request, or of a connection that was carried as bytes (`TCP`, status 0), at its end. Queries and headers are not
//! told: secrets travel in them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::json::{Object, push_number};
use crate::{HowEnded, Record, RequestNumber, Side};

/// The most characters of a path or name that are told; the rest is cut off.
const TEXT_MAX: usize = 512;

/// What most lines fit in.
const LINE_BYTES: usize = 512;

/// What the words of most lines fit in.
const WORDS_BYTES: usize = 256;

/// What is known of a request before its end.
pub(crate) struct Line {
    pub(crate) side: Side,
    /// Its words, one after the other: one allocation a request.
    words: String,
    /// Where each of them ends; what is not known yet is empty.
    ends: [usize; Word::COUNT],
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) reason: Option<&'static str>,
    /// Of access: it refused the request, or audits it.
    pub(crate) rule: Option<String>,
}

/// In the order in which they become known.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    Method,
    Authority,
    Path,
    RequestId,
    /// The SPIFFE id of the caller, if it proved one.
    Peer,
    Route,
    Backend,
}

impl Word {
    const COUNT: usize = Self::Backend as usize + 1;
}

/// What is known at its end.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub(crate) request: RequestNumber,
    pub(crate) status: u16,
    grpc: Option<u8>,
    attempts: u32,
    pub(crate) total: Duration,
    bytes_up: u64,
    bytes_down: u64,
    pub(crate) how: HowEnded,
}

impl End {
    /// If this is one.
    pub(crate) fn of(record: &Record<'_>) -> Option<Self> {
        if let Record::Ended { request, status, grpc, attempts, total, bytes_up, bytes_down, how, .. } = *record {
            Some(Self { request, status, grpc, attempts, total, bytes_up, bytes_down, how })
        } else if let Record::Closed { request, attempts, total, bytes_up, bytes_down, how, .. } = *record {
            Some(Self { request, status: 0, grpc: None, attempts, total, bytes_up, bytes_down, how })
        } else {
            None
        }
    }

    /// Microseconds since its head was read.
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.total.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Line {
    /// If something begins with this.
    pub(crate) fn begin(record: &Record<'_>) -> Option<(RequestNumber, Self)> {
        let new = |side, words: [&str; 5]| {
            let mut line = Self {
                side,
                words: String::with_capacity(WORDS_BYTES),
                ends: [0; Word::COUNT],
                endpoint: None,
                reason: None,
                rule: None,
            };
            line.say_from(Word::Method, &words);
            line
        };
        if let Record::Started { request, side, method, authority, path, request_id, peer } = *record {
            Some((request, new(side, [method, authority, path, request_id, peer.unwrap_or_default()])))
        } else if let Record::Opened { request, side, dialed, peer } = *record {
            Some((request, new(side, ["TCP", dialed, "", "", peer.unwrap_or_default()])))
        } else {
            None
        }
    }

    /// These are the words from there on; the others after it are not known.
    fn say_from(&mut self, first: Word, words: &[&str]) {
        let first = first as usize;
        self.words.truncate(self.start(first));
        for (place, end) in self.ends.iter_mut().enumerate().skip(first) {
            self.words.push_str(words.get(place - first).map_or("", |word| cut(word)));
            *end = self.words.len();
        }
    }

    /// It goes there.
    pub(crate) fn routed(&mut self, route: &str, backend: &str) {
        self.say_from(Word::Route, &[route, backend]);
    }

    /// One of its words; empty: it has none, or it is not known yet.
    pub(crate) fn word(&self, word: Word) -> &str {
        let place = word as usize;
        &self.words[self.start(place)..self.ends[place]]
    }

    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    pub(crate) fn json(&self, time: &str, end: &End) -> Object {
        let mut object = Object::with_room(LINE_BYTES)
            .text("time", time)
            .text("side", side(self.side))
            .text("method", self.word(Word::Method))
            .text("authority", self.word(Word::Authority))
            .text("path", self.word(Word::Path))
            .number("status", u64::from(end.status))
            .number("duration_us", end.micros())
            .text("ended", how_word(end.how))
            .text("route", self.word(Word::Route))
            .text("backend", self.word(Word::Backend))
            .text("endpoint", self.endpoint.as_deref().unwrap_or_default())
            .number("attempts", u64::from(end.attempts))
            .number("bytes_up", end.bytes_up)
            .number("bytes_down", end.bytes_down)
            .text("request_id", self.word(Word::RequestId));
        if let Some(grpc) = end.grpc {
            object = object.number("grpc_status", u64::from(grpc));
        }
        if !self.word(Word::Peer).is_empty() {
            object = object.text("peer", self.word(Word::Peer));
        }
        if let Some(reason) = self.reason {
            object = object.text("reason", reason);
        }
        if let Some(rule) = &self.rule {
            object = object.text("rule", rule);
        }
        object
    }

    pub(crate) fn text(&self, time: &str, end: &End) -> String {
        let mut text = String::with_capacity(LINE_BYTES);
        text.push_str(time);
        text.push(' ');
        text.push_str(side(self.side));
        for word in [self.word(Word::Method), self.word(Word::Authority), self.word(Word::Path)] {
            text.push(' ');
            push_word(&mut text, word);
        }
        text.push(' ');
        push_number(&mut text, u64::from(end.status));
        text.push(' ');
        push_number(&mut text, end.micros() / 1000);
        text.push('.');
        let micros = end.micros() % 1000;
        text.push_str(["00", "0", ""][usize::from(micros > 9) + usize::from(micros > 99)]);
        push_number(&mut text, micros);
        text.push_str("ms ");
        text.push_str(how_word(end.how));
        let named = [
            ("route", self.word(Word::Route)),
            ("backend", self.word(Word::Backend)),
            ("endpoint", self.endpoint.as_deref().unwrap_or_default()),
            ("peer", self.word(Word::Peer)),
            ("reason", self.reason.unwrap_or_default()),
            ("rule", self.rule.as_deref().unwrap_or_default()),
            ("id", self.word(Word::RequestId)),
        ];
        for (name, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            push_word(&mut text, value);
        }
        let counts = [("attempts", u64::from(end.attempts)), ("up", end.bytes_up), ("down", end.bytes_down)];
        for (name, count) in counts.into_iter().chain(end.grpc.map(|grpc| ("grpc", u64::from(grpc)))) {
            text.push(' ');
            text.push_str(name);
            text.push('=');
            push_number(&mut text, count);
        }
        text
    }
}

pub(crate) fn cut(text: &str) -> &str {
    // No more characters than bytes.
    if text.len() <= TEXT_MAX {
        return text;
    }
    text.char_indices().nth(TEXT_MAX).map_or(text, |(place, _)| &text[..place])
}

/// A word as it is, or quoted if a reader could take it for something else.
fn push_word(text: &mut String, word: &str) {
    // Every byte is looked at, many at once: most words are plain.
    let plain = word.bytes().fold(!word.is_empty(), |plain, byte| plain & byte.is_ascii_graphic() & (byte != b'"'));
    if plain {
        text.push_str(word);
    } else {
        let _ = write!(text, "{word:?}");
    }
}

pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Outbound => "outbound",
        Side::Inbound => "inbound",
    }
}

pub(crate) fn how_word(how: HowEnded) -> &'static str {
    match how {
        HowEnded::Complete => "complete",
        HowEnded::Local => "local",
        HowEnded::Broken => "broken",
        HowEnded::Idle => "idle",
        HowEnded::CallerGone => "caller-gone",
        HowEnded::TooLong => "too-long",
    }
}
