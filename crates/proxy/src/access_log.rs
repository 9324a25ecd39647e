//! One line per request, or per connection that was carried as bytes, at its end; see `line`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_net::Wall;
use squall_policy::Instant;

use crate::core::timestamp;
use crate::line::{End, Line, cut};
use crate::{Record, Recorder, RequestNumber};

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
    sink: Box<dyn Fn(&str) + Send + Sync>,
    live: Mutex<BTreeMap<RequestNumber, Box<Line>>>,
}

impl AccessLog {
    /// Each line goes to `sink` without its end of line.
    #[must_use]
    pub fn new(format: AccessLogFormat, wall: Arc<dyn Wall>, sink: Box<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { format, wall, sink, live: Mutex::default() }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<RequestNumber, Box<Line>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, request: RequestNumber, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.live().get_mut(&request) {
            change(line);
        }
    }

    fn begin(&self, record: &Record<'_>) {
        if let Some((request, line)) = Line::begin(record) {
            self.live().insert(request, Box::new(line));
        }
    }

    fn end(&self, record: &Record<'_>) {
        let Some(end) = End::of(record) else { return };
        let line = self.live().remove(&end.request);
        if let Some(line) = line {
            let time = timestamp(self.wall.since_epoch());
            (self.sink)(&match self.format {
                AccessLogFormat::Json => line.json(&time, &end).finish(),
                AccessLogFormat::Text => line.text(&time, &end),
            });
        }
    }
}

impl Recorder for AccessLog {
    fn record(&self, _at: Instant, record: &Record<'_>) {
        match record {
            Record::Started { .. } | Record::Opened { .. } => self.begin(record),
            Record::Routed { request, route, backend, .. } => {
                self.change(*request, |line| line.routed(route, backend.as_str()))
            }
            Record::Picked { request, attempt } => {
                self.change(*request, |line| line.endpoint = Some(Arc::clone(&attempt.endpoint.name)));
            }
            Record::Replied { request, reason, .. } => self.change(*request, |line| line.reason = Some(reason)),
            Record::Access { request, rule, .. } => {
                self.change(*request, |line| line.rule = Some(cut(rule).to_owned()))
            }
            Record::Ended { .. } | Record::Closed { .. } => self.end(record),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{HowEnded, Side};

    struct Noon;

    impl Wall for Noon {
        fn since_epoch(&self) -> Duration {
            Duration::from_millis(784_111_777_250)
        }
    }

    fn logged(format: AccessLogFormat, path: &str) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let sink = move |line: &str| kept.lock().expect("no test panics here").push(line.to_owned());
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
