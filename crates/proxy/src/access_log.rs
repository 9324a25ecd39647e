//! One line per request, or per connection that was carried as bytes (`TCP`, status 0), at its end. Queries and headers are not logged: secrets travel in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_net::Wall;
use squall_policy::Instant;

use crate::core::timestamp;
use crate::json::Object;
use crate::{HowEnded, Record, Recorder, RequestNumber, Side};

/// The most characters of a path or name that are logged; the rest is cut off.
const TEXT_MAX: usize = 512;

/// What most lines fit in.
const LINE_BYTES: usize = 512;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// `2026-11-23T03:00:00.250Z outbound GET stock /items 200 4.213ms shop/stock shop/stock:80 stock-0 …`
    Text,
    /// One object per line, with units in the names of the fields.
    Json,
}

/// Writes a line per request to `sink`, which must not block.
pub struct AccessLog {
    format: AccessLogFormat,
    wall: Arc<dyn Wall>,
    sink: Box<dyn Fn(String) + Send + Sync>,
    live: Mutex<BTreeMap<RequestNumber, Line>>,
}

/// What is known of a request before its end.
struct Line {
    side: Side,
    method: String,
    authority: String,
    path: String,
    request_id: String,
    peer: Option<Arc<str>>,
    route: String,
    backend: String,
    endpoint: Option<Arc<str>>,
    reason: Option<&'static str>,
    /// Of access: it refused the request, or audits it.
    rule: Option<String>,
}

impl AccessLog {
    /// Each line goes to `sink` without its end of line.
    #[must_use]
    pub fn new(format: AccessLogFormat, wall: Arc<dyn Wall>, sink: Box<dyn Fn(String) + Send + Sync>) -> Self {
        Self { format, wall, sink, live: Mutex::default() }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<RequestNumber, Line>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, request: RequestNumber, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.live().get_mut(&request) {
            change(line);
        }
    }
}

impl Recorder for AccessLog {
    fn record(&self, _at: Instant, record: &Record<'_>) {
        match record {
            Record::Started { request, side, method, authority, path, request_id, peer } => {
                let line = Line {
                    side: *side,
                    method: cut(method),
                    authority: cut(authority),
                    path: cut(path),
                    request_id: cut(request_id),
                    peer: peer.map(Arc::from),
                    route: String::new(),
                    backend: String::new(),
                    endpoint: None,
                    reason: None,
                    rule: None,
                };
                self.live().insert(*request, line);
            }
            Record::Opened { request, side, dialed, peer } => {
                let line = Line {
                    side: *side,
                    method: "TCP".to_owned(),
                    authority: cut(dialed),
                    path: String::new(),
                    request_id: String::new(),
                    peer: peer.map(Arc::from),
                    route: String::new(),
                    backend: String::new(),
                    endpoint: None,
                    reason: None,
                    rule: None,
                };
                self.live().insert(*request, line);
            }
            Record::Routed { request, route, backend, .. } => self.change(*request, |line| {
                (*route).clone_into(&mut line.route);
                backend.as_str().clone_into(&mut line.backend);
            }),
            Record::Picked { request, attempt } => {
                self.change(*request, |line| line.endpoint = Some(Arc::clone(&attempt.endpoint.name)));
            }
            Record::Replied { request, reason, .. } => self.change(*request, |line| line.reason = Some(reason)),
            Record::Access { request, rule, .. } => self.change(*request, |line| line.rule = Some(cut(rule))),
            Record::Ended { request, .. } | Record::Closed { request, .. } => {
                let line = self.live().remove(request);
                if let Some(line) = line {
                    (self.sink)(self.line(&line, record));
                }
            }
            Record::Queued { .. }
            | Record::Granted { .. }
            | Record::Connected { .. }
            | Record::Head { .. }
            | Record::AttemptFailed { .. }
            | Record::AttemptCancelled { .. }
            | Record::Retry { .. }
            | Record::Injected { .. }
            | Record::Upgraded { .. }
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

impl AccessLog {
    fn line(&self, line: &Line, ended: &Record<'_>) -> String {
        let (status, grpc, attempts, total, bytes_up, bytes_down, how) =
            if let Record::Ended { status, grpc, attempts, total, bytes_up, bytes_down, how, .. } = ended {
                (status, grpc, attempts, total, bytes_up, bytes_down, how)
            } else if let Record::Closed { attempts, total, bytes_up, bytes_down, how, .. } = ended {
                (&0, &None, attempts, total, bytes_up, bytes_down, how)
            } else {
                return String::new();
            };
        let time = timestamp(self.wall.since_epoch());
        let micros = u64::try_from(total.as_micros()).unwrap_or(u64::MAX);
        match self.format {
            AccessLogFormat::Json => {
                let mut object = Object::with_room(LINE_BYTES)
                    .text("time", &time)
                    .text("side", side(line.side))
                    .text("method", &line.method)
                    .text("authority", &line.authority)
                    .text("path", &line.path)
                    .number("status", u64::from(*status))
                    .number("duration_us", micros)
                    .text("ended", how_word(*how))
                    .text("route", &line.route)
                    .text("backend", &line.backend)
                    .text("endpoint", line.endpoint.as_deref().unwrap_or_default())
                    .number("attempts", u64::from(*attempts))
                    .number("bytes_up", *bytes_up)
                    .number("bytes_down", *bytes_down)
                    .text("request_id", &line.request_id);
                if let Some(grpc) = grpc {
                    object = object.number("grpc_status", u64::from(*grpc));
                }
                if let Some(peer) = &line.peer {
                    object = object.text("peer", peer);
                }
                if let Some(reason) = line.reason {
                    object = object.text("reason", reason);
                }
                if let Some(rule) = &line.rule {
                    object = object.text("rule", rule);
                }
                object.finish()
            }
            AccessLogFormat::Text => {
                let (millis, rest) = (micros / 1000, micros % 1000);
                let mut text = String::with_capacity(LINE_BYTES);
                text.push_str(&time);
                text.push(' ');
                text.push_str(side(line.side));
                for word in [&line.method, &line.authority, &line.path] {
                    text.push(' ');
                    push_word(&mut text, word);
                }
                let _ = write!(text, " {status} {millis}.{rest:03}ms {}", how_word(*how));
                let named = [
                    ("route", line.route.as_str()),
                    ("backend", &line.backend),
                    ("endpoint", line.endpoint.as_deref().unwrap_or_default()),
                    ("peer", line.peer.as_deref().unwrap_or_default()),
                    ("reason", line.reason.unwrap_or_default()),
                    ("rule", line.rule.as_deref().unwrap_or_default()),
                    ("id", &line.request_id),
                ];
                for (name, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
                    text.push(' ');
                    text.push_str(name);
                    text.push('=');
                    push_word(&mut text, value);
                }
                let _ = write!(text, " attempts={attempts} up={bytes_up} down={bytes_down}");
                if let Some(grpc) = grpc {
                    let _ = write!(text, " grpc={grpc}");
                }
                text
            }
        }
    }
}

pub(crate) fn cut(text: &str) -> String {
    // No more characters than bytes.
    if text.len() <= TEXT_MAX { text.to_owned() } else { text.chars().take(TEXT_MAX).collect() }
}

/// A word as it is, or quoted if a reader could take it for something else.
fn push_word(text: &mut String, word: &str) {
    let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Noon;

    impl Wall for Noon {
        fn since_epoch(&self) -> Duration {
            Duration::from_millis(784_111_777_250)
        }
    }

    fn logged(format: AccessLogFormat, path: &str) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let sink = move |line| kept.lock().expect("no test panics here").push(line);
        let log = AccessLog::new(format, Arc::new(Noon), Box::new(sink));
        let request = RequestNumber(1);
        let started = Record::Started {
            request,
            side: Side::Outbound,
            method: "GET",
            authority: "stock",
            path,
            request_id: "r1",
            peer: None,
        };
        let replied = Record::Replied { request, status: 404, grpc: 12, reason: "no-route" };
        let ended = Record::Ended {
            request,
            side: Side::Outbound,
            status: 404,
            grpc: None,
            attempts: 0,
            total: Duration::from_micros(1_250),
            bytes_up: 0,
            bytes_down: 9,
            how: HowEnded::Local,
        };
        for record in [started, replied, ended, ended] {
            log.record(Instant::ZERO, &record);
        }
        let lines = lines.lock().expect("no test panics here");
        lines.clone()
    }

    #[test]
    fn a_request_is_one_line_whatever_its_path_holds() {
        let text = logged(AccessLogFormat::Text, "/a b\n\"c");
        assert_eq!(
            text,
            ["1994-11-06T08:49:37.250Z outbound GET stock \"/a b\\n\\\"c\" 404 1.250ms local reason=no-route id=r1 \
              attempts=0 up=0 down=9"]
        );
        let json = logged(AccessLogFormat::Json, "/a\n");
        assert_eq!(
            json,
            [
                "{\"time\":\"1994-11-06T08:49:37.250Z\",\"side\":\"outbound\",\"method\":\"GET\",\"authority\":\"stock\",\
              \"path\":\"/a\\n\",\"status\":404,\"duration_us\":1250,\"ended\":\"local\",\"route\":\"\",\"backend\":\"\",\
              \"endpoint\":\"\",\"attempts\":0,\"bytes_up\":0,\"bytes_down\":9,\"request_id\":\"r1\",\
              \"reason\":\"no-route\"}"
            ]
        );
    }
}
