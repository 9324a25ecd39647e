//! Prometheus metrics, made of the same records that the simulator keeps.
//!
//! The number of series is bounded whatever requests come in: labels are names of the mesh (routes, backends, endpoints), proven
//! identities, and words of our own. What the mesh does not name, a request cannot bring in. Beyond [`NAMES`] names of one kind
//! or [`SERIES`] series of one family, what comes is counted under `other`, and `squall_series_folded_total` says how often.

mod family;
mod streams;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_net::exposition::{Exposition, Kind};
use squall_policy::{BackendEvent, BackendName, Failure, Instant, RetryNote};

use crate::line::{how_word, side as side_word};
use crate::{HowEnded, Record, Recorder, Refusal, RequestNumber, Side};
use family::{Family, Histogram, Name, Names};

/// The most names of one kind (routes, backends, endpoints, identities).
const NAMES: usize = 2_000;

/// The most series of one family; a histogram counts as one.
const SERIES: usize = 10_000;

/// Counts what a proxy records.
#[derive(Default)]
pub struct Metrics(Mutex<State>);

#[derive(Default)]
struct State {
    routes: Names,
    backends: Names,
    endpoints: Names,
    peers: Names,
    rules: Names,
    live: BTreeMap<RequestNumber, Live>,
    in_flight: [u64; 2],
    requests: Family<(Side, Name, Name, u16, &'static str), u64>,
    durations: Family<(Side, Name, Name), Histogram>,
    grpc: Family<(Side, Name, Name, u8), u64>,
    peer_requests: Family<(Name, bool), u64>,
    bytes: Family<(Side, &'static str), u64>,
    replies: Family<(Side, Name, Name, &'static str), u64>,
    streams_open: [u64; 2],
    streams: Family<(Side, Name, Name, &'static str), u64>,
    stream_durations: Family<(Side, Name, Name), Histogram>,
    stream_bytes: Family<(Side, Name, Name, &'static str), u64>,
    strangers_refused: u64,
    attempts: Family<(Name, &'static str), u64>,
    attempt_durations: Family<Name, Histogram>,
    connections: Family<(Name, &'static str), u64>,
    connecting: Family<Name, Histogram>,
    retries: Family<(Name, &'static str), u64>,
    access: Family<(Name, &'static str), u64>,
    injected: Family<(Name, &'static str), u64>,
    budget_left: Family<Name, u64>,
    waits: Family<Name, Histogram>,
    breakers: Family<(Name, Name, &'static str), u64>,
    ejections: Family<(Name, Name, &'static str), u64>,
    limits: Family<Name, u64>,
    panics: Family<Name, u64>,
    own_zone: Family<Name, u64>,
    meshes_applied: u64,
    meshes_refused: u64,
    control_connected: bool,
    control_lost: u64,
    certificates: u64,
    certificate_ends_s: u64,
    peers_refused: BTreeMap<Refusal, u64>,
    shortages: u64,
    upgrades: Family<(Side, &'static str), u64>,
    tunnels: [u64; 2],
    lines_dropped: u64,
    log_lines_dropped: u64,
    spans: BTreeMap<&'static str, u64>,
    ready: bool,
}

/// A request that has not ended.
#[derive(Clone, Copy)]
struct Live {
    side: Side,
    route: Name,
    backend: Name,
    peer: Option<Name>,
    /// It is a tunnel by now.
    upgraded: bool,
}

impl Metrics {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lines of the access log were not written: their reader is too slow or gone, or their disk is full.
    pub fn lines_dropped(&self, lines: u64) {
        self.state().lines_dropped += lines;
    }

    /// The same of the proxy's own log.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.state().log_lines_dropped += lines;
    }

    /// Whether the proxy is ready, as it was seen last.
    pub(crate) fn see_ready(&self, ready: bool) {
        self.state().ready = ready;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for Metrics {
    fn record(&self, _at: Instant, record: &Record<'_>) {
        self.state().count(record);
    }
}

impl State {
    fn count(&mut self, record: &Record<'_>) {
        match *record {
            Record::Started { request, side, peer, .. } => {
                let peer = peer.map(|peer| self.peers.name(peer));
                self.live.insert(request, Live { side, route: Name::NONE, backend: Name::NONE, peer, upgraded: false });
                self.in_flight[usize::from(side == Side::Inbound)] += 1;
            }
            Record::Opened { request, side, peer, .. } => {
                let peer = peer.map(|peer| self.peers.name(peer));
                self.live.insert(request, Live { side, route: Name::NONE, backend: Name::NONE, peer, upgraded: false });
                self.streams_open[usize::from(side == Side::Inbound)] += 1;
            }
            Record::Closed { request, side, total, bytes_up, bytes_down, how, .. } => {
                let Some(Live { route, backend, peer, .. }) = self.live.remove(&request) else { return };
                self.streams_open[usize::from(side == Side::Inbound)] -= 1;
                *self.streams.at((side, route, backend, how_word(how))) += 1;
                self.stream_durations.at((side, route, backend)).add(total);
                if let Some(peer) = peer {
                    *self.peer_requests.at((peer, how == HowEnded::Complete)) += 1;
                }
                *self.stream_bytes.at((side, route, backend, "up")) += bytes_up;
                *self.stream_bytes.at((side, route, backend, "down")) += bytes_down;
            }
            Record::StrangerRefused { .. } => self.strangers_refused += 1,
            Record::Routed { request, route, backend, .. } => {
                let (route, backend) = (self.routes.name(route), self.backends.name(backend.as_str()));
                if let Some(live) = self.live.get_mut(&request) {
                    (live.route, live.backend) = (route, backend);
                }
            }
            // How long it waited says that it waited.
            Record::Queued { .. } | Record::Picked { .. } => {}
            Record::Granted { request, waited } => {
                if let Some(live) = self.live(request) {
                    self.waits.at(live.backend).add(waited);
                }
            }
            Record::Connected { request, reused, took, .. } => {
                if let Some(Live { backend, .. }) = self.live(request) {
                    *self.connections.at((backend, if reused { "reused" } else { "new" })) += 1;
                    if !reused {
                        self.connecting.at(backend).add(took);
                    }
                }
            }
            Record::Head { request, status, latency, .. } => self.attempt(request, class(status), latency),
            Record::AttemptFailed { request, failure, latency, .. } => {
                self.attempt(request, failure_word(failure), latency);
            }
            Record::AttemptCancelled { request, latency, .. } => self.attempt(request, "cancelled", latency),
            Record::Retry { request, note } => {
                if let Some(Live { backend, .. }) = self.live(request) {
                    *self.retries.at((backend, retry_word(note))) += 1;
                    if let RetryNote::Retry { budget_left: Some(left), .. }
                    | RetryNote::Hedge { budget_left: Some(left), .. } = note
                    {
                        *self.budget_left.at(backend) = left;
                    } else if matches!(note, RetryNote::OverBudget | RetryNote::HedgeOverBudget) {
                        *self.budget_left.at(backend) = 0;
                    }
                }
            }
            Record::Injected { request, injected } => {
                if let Some(Live { backend, .. }) = self.live(request) {
                    let done = [(!injected.delay.is_zero(), "delay"), (injected.abort.is_some(), "abort")];
                    for (_, what) in done.into_iter().filter(|(done, _)| *done) {
                        *self.injected.at((backend, what)) += 1;
                    }
                }
            }
            Record::Access { allowed, rule, .. } => {
                let rule = self.rules.name(rule);
                *self.access.at((rule, if allowed { "audited" } else { "denied" })) += 1;
            }
            Record::Replied { request, reason, .. } => {
                if let Some(Live { side, route, backend, .. }) = self.live(request) {
                    *self.replies.at((side, route, backend, reason)) += 1;
                }
            }
            Record::Upgraded { request, protocol } => {
                let Some(live) = self.live.get_mut(&request) else { return };
                live.upgraded = true;
                self.tunnels[usize::from(live.side == Side::Inbound)] += 1;
                *self.upgrades.at((live.side, protocol)) += 1;
            }
            Record::Ended { request, side, status, grpc, total, bytes_up, bytes_down, how, .. } => {
                let Some(Live { route, backend, peer, upgraded, .. }) = self.live.remove(&request) else { return };
                self.tunnels[usize::from(side == Side::Inbound)] -= u64::from(upgraded);
                self.in_flight[usize::from(side == Side::Inbound)] -= 1;
                *self.requests.at((side, route, backend, status, how_word(how))) += 1;
                self.durations.at((side, route, backend)).add(total);
                if let Some(grpc) = grpc {
                    *self.grpc.at((side, route, backend, grpc)) += 1;
                }
                if let Some(peer) = peer {
                    *self.peer_requests.at((peer, (100..500).contains(&status) && grpc.unwrap_or(0) == 0)) += 1;
                }
                *self.bytes.at((side, "up")) += bytes_up;
                *self.bytes.at((side, "down")) += bytes_down;
            }
            Record::Backend { backend, event } => self.backend(backend, event),
            Record::MeshApplied { .. } => self.meshes_applied += 1,
            Record::MeshRefused { .. } => self.meshes_refused += 1,
            Record::ControlConnected { .. } => self.control_connected = true,
            Record::ControlLost { .. } => {
                self.control_lost += 1;
                self.control_connected = false;
            }
            Record::CertificateIssued { not_after_s, .. } => {
                self.certificates += 1;
                self.certificate_ends_s = not_after_s;
            }
            Record::PeerRefused { refusal, .. } => *self.peers_refused.entry(refusal).or_default() += 1,
            Record::Shortage { .. } => self.shortages += 1,
            Record::SpansExported { spans } => *self.spans.entry("exported").or_default() += spans,
            Record::SpansDropped { spans, why } => *self.spans.entry(why).or_default() += spans,
            Record::Traced { .. } | Record::CollectorFailed { .. } => {}
        }
    }

    fn live(&self, request: RequestNumber) -> Option<Live> {
        self.live.get(&request).copied()
    }

    fn attempt(&mut self, request: RequestNumber, outcome: &'static str, latency: Duration) {
        let Some(Live { backend, .. }) = self.live(request) else { return };
        *self.attempts.at((backend, outcome)) += 1;
        self.attempt_durations.at(backend).add(latency);
    }

    fn backend(&mut self, backend: &BackendName, event: &BackendEvent) {
        let backend = self.backends.name(backend.as_str());
        // The breaker of the whole service has no endpoint.
        let (of_breaker, endpoint, word): (bool, &str, _) = match event {
            BackendEvent::ServiceBreakerOpened { .. } => (true, "", "open"),
            BackendEvent::ServiceBreakerHalfOpen => (true, "", "half-open"),
            BackendEvent::ServiceBreakerClosed => (true, "", "closed"),
            BackendEvent::OpenRefused { endpoint, .. } => (true, endpoint, "refused"),
            BackendEvent::BreakerOpened { endpoint, .. } => (true, endpoint, "open"),
            BackendEvent::BreakerHalfOpen { endpoint } => (true, endpoint, "half-open"),
            BackendEvent::BreakerClosed { endpoint } => (true, endpoint, "closed"),
            BackendEvent::Ejected { endpoint, .. } => (false, endpoint, "ejected"),
            BackendEvent::EjectionRefused { endpoint, .. } => (false, endpoint, "refused"),
            BackendEvent::EjectionSpared { endpoint, .. } => (false, endpoint, "spared"),
            BackendEvent::Returned { endpoint } => (false, endpoint, "returned"),
            BackendEvent::Unhealthy { endpoint, .. } => (false, endpoint, "unhealthy"),
            BackendEvent::Healthy { endpoint, .. } => (false, endpoint, "healthy"),
            BackendEvent::Panics { .. } | BackendEvent::Calmed => {
                *self.panics.at(backend) = u64::from(matches!(event, BackendEvent::Panics { .. }));
                return;
            }
            BackendEvent::ZoneShare { own_percent } => {
                *self.own_zone.at(backend) = u64::from(*own_percent);
                return;
            }
            BackendEvent::LimitMoved { to, .. } => {
                *self.limits.at(backend) = u64::from(*to);
                return;
            }
        };
        let endpoint = if endpoint.is_empty() { Name::NONE } else { self.endpoints.name(endpoint) };
        let family = if of_breaker { &mut self.breakers } else { &mut self.ejections };
        *family.at((backend, endpoint, word)) += 1;
    }
}

impl Metrics {
    /// All of them, in the exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        let state = self.state();
        let mut page = Exposition::default();
        state.render_requests(&mut page);
        state.render_streams(&mut page);
        state.render_attempts(&mut page);
        state.render_proxy(&mut page);
        page.finish()
    }
}

impl State {
    fn render_requests(&self, page: &mut Exposition) {
        let name = "squall_requests_total";
        page.family(name, Kind::Counter, "Requests that ended, by the status answered (0: none) and how they ended.");
        for ((side, route, backend, status, ended), count) in self.requests.iter() {
            let status = status.to_string();
            let labels = self.labels(*side, *route, *backend);
            let more = [("status", status.as_str()), ("ended", ended)];
            page.sample(name, &[&labels[..], &more].concat(), count);
        }
        let name = "squall_request_duration_seconds";
        page.family(name, Kind::Histogram, "From a request's head to its end.");
        for ((side, route, backend), histogram) in self.durations.iter() {
            histogram.render(page, name, &self.labels(*side, *route, *backend));
        }
        let name = "squall_grpc_requests_total";
        page.family(name, Kind::Counter, "Requests that ended with a grpc-status.");
        for ((side, route, backend, grpc), count) in self.grpc.iter() {
            let grpc = grpc.to_string();
            let labels = self.labels(*side, *route, *backend);
            page.sample(name, &[&labels[..], &[("grpc_status", grpc.as_str())]].concat(), count);
        }
        let name = "squall_requests_in_flight";
        page.family(name, Kind::Gauge, "Requests that have not ended.");
        for (side, count) in [Side::Outbound, Side::Inbound].into_iter().zip(self.in_flight) {
            page.sample(name, &[("side", side_word(side))], count);
        }
        let name = "squall_upgrades_total";
        page.family(name, Kind::Counter, "Requests that became tunnels, by protocol: websocket, connect, other.");
        for ((side, protocol), count) in self.upgrades.iter() {
            page.sample(name, &[("side", side_word(*side)), ("protocol", protocol)], count);
        }
        let name = "squall_tunnels_open";
        page.family(name, Kind::Gauge, "Tunnels that have not ended; they are requests in flight too.");
        for (side, count) in [Side::Outbound, Side::Inbound].into_iter().zip(self.tunnels) {
            page.sample(name, &[("side", side_word(side))], count);
        }
        let name = "squall_peer_requests_total";
        page.family(
            name,
            Kind::Counter,
            "Requests and carried connections by the identity that the caller proved; ok: status below 500 and gRPC status 0, or closed by both.",
        );
        for ((peer, ok), count) in self.peer_requests.iter() {
            let result = if *ok { "ok" } else { "failed" };
            page.sample(name, &[("peer", self.peers.text(*peer)), ("result", result)], count);
        }
        let name = "squall_body_bytes_total";
        page.family(name, Kind::Counter, "Body bytes from callers (up) and to them (down).");
        for ((side, direction), count) in self.bytes.iter() {
            page.sample(name, &[("side", side_word(*side)), ("direction", direction)], count);
        }
        let name = "squall_local_replies_total";
        page.family(name, Kind::Counter, "Requests that the proxy answered by itself, by its reason.");
        for ((side, route, backend, reason), count) in self.replies.iter() {
            let labels = self.labels(*side, *route, *backend);
            page.sample(name, &[&labels[..], &[("reason", *reason)]].concat(), count);
        }
    }

    fn render_attempts(&self, page: &mut Exposition) {
        let by_word = [
            (
                "squall_attempts_total",
                "outcome",
                &self.attempts,
                "Tries by the class of their status or how they failed.",
            ),
            ("squall_connections_total", "kind", &self.connections, "Connections that tries used."),
            (
                "squall_faults_injected_total",
                "fault",
                &self.injected,
                "Tries delayed or aborted on purpose, as a route says.",
            ),
            ("squall_retries_total", "decision", &self.retries, "Whether a failed try was repeated, and why not."),
        ];
        for (name, label, family, help) in by_word {
            page.family(name, Kind::Counter, help);
            for ((backend, word), count) in family.iter() {
                page.sample(name, &[("backend", self.backends.text(*backend)), (label, word)], count);
            }
        }
        let name = "squall_access_total";
        page.family(
            name,
            Kind::Counter,
            "Requests and connections that a rule of an AuthorizationPolicy refused or audits.",
        );
        for ((rule, effect), count) in self.access.iter() {
            page.sample(name, &[("rule", self.rules.text(*rule)), ("effect", effect)], count);
        }
        let spans = [
            (
                "squall_attempt_duration_seconds",
                &self.attempt_durations,
                "From the beginning of a try to its head or failure.",
            ),
            ("squall_connect_duration_seconds", &self.connecting, "How long a new connection took, TLS included."),
            ("squall_queue_wait_seconds", &self.waits, "How long requests waited for a place."),
        ];
        for (name, family, help) in spans {
            page.family(name, Kind::Histogram, help);
            for (backend, histogram) in family.iter() {
                histogram.render(page, name, &[("backend", self.backends.text(*backend))]);
            }
        }
        let name = "squall_retry_budget_left";
        page.family(name, Kind::Gauge, "Retries that the budget had left when a retry was last decided.");
        for (backend, left) in self.budget_left.iter() {
            let left = format!("{}.{:03}", left / 1000, left % 1000);
            page.sample(name, &[("backend", self.backends.text(*backend))], left);
        }
        let gauges = [
            ("squall_in_flight_limit", &self.limits, "An adaptive limit on requests in flight, since it first moved."),
            ("squall_balancer_panic", &self.panics, "1: too few endpoints are healthy, and all are picked."),
            ("squall_own_zone_percent", &self.own_zone, "The own zone's share of the load, since it first moved."),
        ];
        for (name, family, help) in gauges {
            page.family(name, Kind::Gauge, help);
            for (backend, value) in family.iter() {
                page.sample(name, &[("backend", self.backends.text(*backend))], value);
            }
        }
        let by_endpoint = [
            (
                "squall_breaker_transitions_total",
                "to",
                &self.breakers,
                "Changes of a breaker's state; without an endpoint: of the whole service's.",
            ),
            (
                "squall_endpoint_events_total",
                "event",
                &self.ejections,
                "Outliers ejected, refused (too few would be left), spared and returned; health checks failed and passed.",
            ),
        ];
        for (name, label, family, help) in by_endpoint {
            page.family(name, Kind::Counter, help);
            for ((backend, endpoint, word), count) in family.iter() {
                let labels = [("backend", self.backends.text(*backend)), ("endpoint", self.endpoints.text(*endpoint))];
                page.sample(name, &[&labels[..], &[(label, *word)]].concat(), count);
            }
        }
    }

    fn render_proxy(&self, page: &mut Exposition) {
        use Kind::{Counter, Gauge};
        page.single("squall_ready", Gauge, "1: it has mesh and certificate, and does not drain.", u8::from(self.ready));
        page.single("squall_meshes_applied_total", Counter, "Meshes put in force.", self.meshes_applied);
        page.single(
            "squall_meshes_refused_total",
            Counter,
            "Meshes refused; the last good one stayed.",
            self.meshes_refused,
        );
        let connected = u8::from(self.control_connected);
        page.single("squall_control_connected", Gauge, "1: the control plane's stream is up.", connected);
        page.single(
            "squall_control_lost_total",
            Counter,
            "Times the control plane was lost or not reached.",
            self.control_lost,
        );
        page.single(
            "squall_certificates_issued_total",
            Counter,
            "Certificates signed for this proxy.",
            self.certificates,
        );
        let ends = self.certificate_ends_s;
        page.single(
            "squall_certificate_not_after_seconds",
            Gauge,
            "When the certificate ends, since 1970; 0: none.",
            ends,
        );
        page.family("squall_peers_refused_total", Counter, "Connections that came in and were refused, by the reason.");
        for refusal in Refusal::ALL {
            let refused = self.peers_refused.get(&refusal).copied().unwrap_or_default();
            page.sample("squall_peers_refused_total", &[("reason", refusal.word())], refused);
        }
        page.single(
            "squall_accept_shortages_total",
            Counter,
            "Times a connection had to wait because no descriptor was left to accept it with.",
            self.shortages,
        );
        page.single(
            "squall_access_log_dropped_total",
            Counter,
            "Lines of the access log not written.",
            self.lines_dropped,
        );
        let dropped = self.log_lines_dropped;
        page.single("squall_log_dropped_total", Counter, "Lines of the proxy's own log not written.", dropped);
        let name = "squall_spans_total";
        page.family(
            name,
            Counter,
            "Spans a collector took (exported), and those lost: queue (too many waited), collector (it failed for too long), rejected.",
        );
        for result in ["exported", "queue", "collector", "rejected"] {
            page.sample(name, &[("result", result)], self.spans.get(result).copied().unwrap_or(0));
        }
        let folded =
            self.routes.folded + self.backends.folded + self.endpoints.folded + self.peers.folded + self.rules.folded;
        page.single(
            "squall_series_folded_total",
            Counter,
            "Times something was counted under `other`.",
            folded + self.folded(),
        );
    }

    fn folded(&self) -> u64 {
        let requests = self.requests.folded() + self.durations.folded() + self.grpc.folded() + self.replies.folded();
        let requests = requests + self.streams.folded() + self.stream_durations.folded() + self.stream_bytes.folded();
        requests + self.breakers.folded() + self.ejections.folded() + self.peer_requests.folded() + self.access.folded()
    }

    fn labels(&self, side: Side, route: Name, backend: Name) -> [(&'static str, &str); 3] {
        [("side", side_word(side)), ("route", self.routes.text(route)), ("backend", self.backends.text(backend))]
    }
}

fn class(status: u16) -> &'static str {
    match status {
        0..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        500.. => "5xx",
    }
}

pub(crate) fn failure_word(failure: Failure) -> &'static str {
    match failure {
        Failure::ConnectRefused => "connect-refused",
        Failure::ConnectTimeout => "connect-timeout",
        Failure::Tls => "tls",
        Failure::Reset => "reset",
        Failure::RefusedStream => "refused-stream",
        Failure::CallerGone => "caller-gone",
        Failure::Shortage => "shortage",
    }
}

fn retry_word(note: RetryNote) -> &'static str {
    match note {
        RetryNote::Retry { .. } => "retry",
        RetryNote::Hedge { .. } => "hedge",
        RetryNote::HedgeOverBudget => "hedge-over-budget",
        RetryNote::Throttled => "throttled",
        RetryNote::Exhausted => "exhausted",
        RetryNote::OverBudget => "over-budget",
        RetryNote::NotRepeatable => "not-repeatable",
        RetryNote::NoTime => "no-time",
    }
}

#[cfg(test)]
mod tests {
    use squall_policy::BackendName;

    use super::*;
    use crate::HowEnded;

    fn request(metrics: &Metrics, number: u64, route: Option<&str>, status: u16, total_ms: u64) {
        let request = RequestNumber(number);
        let backend = BackendName::new("shop", "stock", 80);
        let tell = |record: Record<'_>| metrics.record(Instant::ZERO, &record);
        tell(Record::Started {
            request,
            side: Side::Outbound,
            method: "GET",
            authority: "stock",
            path: "/",
            request_id: "",
            peer: None,
        });
        if let Some(route) = route {
            tell(Record::Routed { request, route, backend: &backend, deadline: None });
            tell(Record::Retry { request, note: RetryNote::OverBudget });
        }
        tell(Record::Ended {
            request,
            side: Side::Outbound,
            status,
            grpc: None,
            attempts: 1,
            total: Duration::from_millis(total_ms),
            bytes_up: 3,
            bytes_down: 5,
            how: HowEnded::Complete,
        });
    }

    #[track_caller]
    fn has(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(page.lines().any(|found| found == *line), "no `{line}` in\n{page}");
        }
    }

    #[test]
    fn requests_are_counted_by_route_and_backend_with_their_times() {
        let metrics = Metrics::new();
        request(&metrics, 1, Some("shop/stock"), 200, 3);
        request(&metrics, 2, Some("shop/stock"), 200, 30);
        request(&metrics, 3, None, 404, 0);
        let of = "side=\"outbound\",route=\"shop/stock\",backend=\"shop/stock:80\"";
        has(
            &metrics.render(),
            &[
                &format!("squall_requests_total{{{of},status=\"200\",ended=\"complete\"}} 2"),
                "squall_requests_total{side=\"outbound\",route=\"\",backend=\"\",status=\"404\",ended=\"complete\"} 1",
                &format!("squall_request_duration_seconds_bucket{{{of},le=\"0.005\"}} 1"),
                &format!("squall_request_duration_seconds_bucket{{{of},le=\"0.05\"}} 2"),
                &format!("squall_request_duration_seconds_bucket{{{of},le=\"+Inf\"}} 2"),
                &format!("squall_request_duration_seconds_sum{{{of}}} 0.033000000"),
                "squall_retries_total{backend=\"shop/stock:80\",decision=\"over-budget\"} 2",
                "squall_body_bytes_total{side=\"outbound\",direction=\"down\"} 15",
                "squall_requests_in_flight{side=\"outbound\"} 0",
                "squall_series_folded_total 0",
            ],
        );
    }

    #[test]
    fn more_names_than_there_is_room_for_are_counted_together() {
        let metrics = Metrics::new();
        for number in 0..(NAMES as u64 + 50) {
            request(&metrics, number, Some(&format!("r{number}")), 200, 1);
        }
        let page = metrics.render();
        let samples = page.lines().filter(|line| line.starts_with("squall_requests_total{")).count();
        assert_eq!(samples, NAMES + 1, "and `other`");
        let other = "side=\"outbound\",route=\"other\",backend=\"shop/stock:80\"";
        has(&page, &[&format!("squall_requests_total{{{other},status=\"200\",ended=\"complete\"}} 50")]);
        has(&page, &["squall_series_folded_total 50"]);
    }

    #[test]
    fn more_series_than_there_is_room_for_are_counted_together() {
        let metrics = Metrics::new();
        for number in 0..(SERIES as u64 + 50) {
            request(&metrics, number, Some(&format!("r{}", number / 400)), 200 + (number % 400) as u16, 1);
        }
        let page = metrics.render();
        let samples = page.lines().filter(|line| line.starts_with("squall_requests_total{")).count();
        assert_eq!(samples, SERIES + 1);
        has(&page, &["squall_series_folded_total 50"]);
    }
}
