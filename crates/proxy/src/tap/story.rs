//! A request as a watcher is told of it: what the access log has, and its tries.

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{AttemptNumber, Failure, Injected};

use crate::Record;
use crate::json::{Object, list, string};
use crate::line::{End, Line, cut};
use crate::metrics::failure_word;

/// The most tries and decisions that are told of one request.
const STEPS: usize = 64;

pub(super) struct Story {
    line: Line,
    waited: Option<Duration>,
    injected: Option<Injected>,
    upgraded: Option<&'static str>,
    tries: Vec<Try>,
    /// What was decided about repeating it, in words.
    retries: Vec<String>,
}

struct Try {
    number: AttemptNumber,
    endpoint: Arc<str>,
    reused: Option<bool>,
    ended: Option<(TryEnd, Duration)>,
}

enum TryEnd {
    Head(u16),
    Failed(Failure),
    Cancelled,
}

impl Story {
    pub(super) fn new(line: Line) -> Self {
        Self { line, waited: None, injected: None, upgraded: None, tries: Vec::new(), retries: Vec::new() }
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// The endpoints that were tried.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.tries.iter().map(|one| &*one.endpoint)
    }

    fn of(&mut self, number: AttemptNumber) -> Option<&mut Try> {
        self.tries.iter_mut().find(|one| one.number == number)
    }

    fn ended(&mut self, number: AttemptNumber, end: TryEnd, latency: Duration) {
        if let Some(one) = self.of(number) {
            one.ended = Some((end, latency));
        }
    }

    /// An event of this request.
    pub(super) fn see(&mut self, record: &Record<'_>) {
        // Those that are events of a request between its beginning and its end; there are no others here.
        if let Record::Routed { route, backend, .. } = *record {
            self.line.routed(route, backend.as_str());
        } else if let Record::Granted { waited, .. } = *record {
            self.waited = Some(waited);
        } else if let Record::Picked { attempt, .. } = *record {
            self.line.endpoint = Some(Arc::clone(&attempt.endpoint.name));
            if self.tries.len() < STEPS {
                let endpoint = Arc::clone(&attempt.endpoint.name);
                self.tries.push(Try { number: attempt.number, endpoint, reused: None, ended: None });
            }
        } else if let Record::Connected { attempt, reused, .. } = *record {
            if let Some(one) = self.of(attempt) {
                one.reused = Some(reused);
            }
        } else if let Record::Head { attempt, status, latency, .. } = *record {
            self.ended(attempt, TryEnd::Head(status), latency);
        } else if let Record::AttemptFailed { attempt, failure, latency, .. } = *record {
            self.ended(attempt, TryEnd::Failed(failure), latency);
        } else if let Record::AttemptCancelled { attempt, latency, .. } = *record {
            self.ended(attempt, TryEnd::Cancelled, latency);
        } else if let Record::Retry { note, .. } = *record {
            if self.retries.len() < STEPS {
                self.retries.push(note.to_string());
            }
        } else if let Record::Injected { injected, .. } = *record {
            self.injected = Some(injected);
        } else if let Record::Access { rule, .. } = *record {
            self.line.rule = Some(cut(rule).to_owned());
        } else if let Record::Replied { reason, .. } = *record {
            self.line.reason = Some(reason);
        } else if let Record::Upgraded { protocol, .. } = *record {
            self.upgraded = Some(protocol);
        }
    }

    /// Of the request, now that it is over: the fields of the access log, then these.
    pub(super) fn json(&self, time: &str, end: &End) -> String {
        let mut object = self.line.json(time, end);
        if let Some(waited) = self.waited {
            object = object.number("waited_us", micros(waited));
        }
        if let Some(protocol) = self.upgraded {
            object = object.text("upgraded", protocol);
        }
        if let Some(injected) = self.injected {
            object = object.number("injected_delay_us", micros(injected.delay));
            if let Some(status) = injected.abort {
                object = object.number("injected_abort", u64::from(status));
            }
        }
        object = object.raw("tries", &list(self.tries.iter().map(Try::json)));
        object.raw("retries", &list(self.retries.iter().map(|note| string(note)))).finish()
    }
}

impl Try {
    fn json(&self) -> String {
        let mut object = Object::new().text("endpoint", &self.endpoint);
        if let Some(reused) = self.reused {
            object = object.flag("reused_connection", reused);
        }
        let Some((end, latency)) = &self.ended else { return object.finish() };
        object = match end {
            TryEnd::Head(status) => object.number("status", u64::from(*status)),
            TryEnd::Failed(failure) => object.text("failed", failure_word(*failure)),
            TryEnd::Cancelled => object.text("failed", "cancelled"),
        };
        object.number("latency_us", micros(*latency)).finish()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
