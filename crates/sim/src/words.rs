//! What records of proxies and of the control plane say, for people and for machines.

use std::time::Duration;

use squall_control::ControlRecord;
use squall_policy::{BackendEvent, Failure, Injected, Instant, ProbeResult, RetryNote};
use squall_proxy::{HowEnded, Record, RequestNumber, Side};

use crate::history::Field;
use crate::journal::Words;
use crate::note::{Span, Status};

/// Which request of its proxy a record is about.
pub(crate) fn request(record: &Record<'_>) -> Option<RequestNumber> {
    match record {
        Record::Started { request, .. }
        | Record::Routed { request, .. }
        | Record::Queued { request }
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
        | Record::Upgraded { request, .. }
        | Record::Opened { request, .. }
        | Record::Closed { request, .. }
        | Record::Traced { request, .. }
        | Record::Ended { request, .. } => Some(*request),
        Record::StrangerRefused { .. }
        | Record::Backend { .. }
        | Record::MeshApplied { .. }
        | Record::MeshRefused { .. }
        | Record::ControlConnected { .. }
        | Record::ControlLost { .. }
        | Record::CertificateIssued { .. }
        | Record::PeerRefused { .. }
        | Record::Shortage { .. }
        | Record::SpansExported { .. }
        | Record::SpansDropped { .. }
        | Record::CollectorFailed { .. } => None,
    }
}

/// What kind of record it is, for machines.
pub(crate) fn kind(record: &Record<'_>) -> &'static str {
    match record {
        Record::Started { side: Side::Outbound, .. } => "out-started",
        Record::Started { side: Side::Inbound, .. } => "in-started",
        Record::Routed { .. } => "routed",
        Record::Queued { .. } => "queued",
        Record::Granted { .. } => "granted",
        Record::Picked { .. } => "picked",
        Record::Connected { .. } => "connected",
        Record::Head { .. } => "head",
        Record::AttemptFailed { .. } => "attempt-failed",
        Record::AttemptCancelled { .. } => "attempt-cancelled",
        Record::Retry { .. } => "retry",
        Record::Injected { .. } => "injected",
        Record::Access { allowed: true, .. } => "audited",
        Record::Access { allowed: false, .. } => "denied",
        Record::Replied { .. } => "replied",
        Record::Upgraded { .. } => "upgraded",
        Record::Ended { side: Side::Outbound, .. } => "out-ended",
        Record::Ended { side: Side::Inbound, .. } => "in-ended",
        Record::Opened { side: Side::Outbound, .. } => "out-opened",
        Record::Opened { side: Side::Inbound, .. } => "in-opened",
        Record::Closed { side: Side::Outbound, .. } => "out-closed",
        Record::Closed { side: Side::Inbound, .. } => "in-closed",
        Record::StrangerRefused { .. } => "stranger-refused",
        Record::Backend { .. } => "backend",
        Record::MeshApplied { .. } => "mesh-applied",
        Record::MeshRefused { .. } => "mesh-refused",
        Record::ControlConnected { .. } => "control-connected",
        Record::ControlLost { .. } => "control-lost",
        Record::CertificateIssued { .. } => "certificate-issued",
        Record::PeerRefused { .. } => "peer-refused",
        Record::Shortage { .. } => "shortage",
        Record::Traced { .. } => "traced",
        Record::SpansExported { .. } => "spans-exported",
        Record::SpansDropped { .. } => "spans-dropped",
        Record::CollectorFailed { .. } => "collector-failed",
    }
}

/// The record, made at `at` of its proxy's clock, in words, and its numbers with units in their names.
pub(crate) fn of(at: Instant, record: &Record<'_>) -> Words {
    Words { text: text(at, record), fields: fields(at, record) }
}

fn text(at: Instant, record: &Record<'_>) -> String {
    match record {
        Record::Started { side: Side::Outbound, method, authority, path, .. } => {
            format!("sidecar takes {method} {authority}{path}")
        }
        Record::Started { side: Side::Inbound, method, path, peer, .. } => {
            format!("inbound {method} {path} from {}", peer.unwrap_or("nobody proven"))
        }
        Record::Routed { route, backend, deadline: Some(deadline), .. } => {
            format!("route {route} to {backend}, deadline in {}", Span(deadline.since(at)))
        }
        Record::Routed { route, backend, deadline: None, .. } => format!("route {route} to {backend}"),
        Record::Queued { .. } => "waits for a place".to_owned(),
        Record::Granted { waited, .. } => format!("has a place after {}", Span(*waited)),
        Record::Picked { attempt, .. } => match &attempt.over {
            Some((other, cost, others)) => format!(
                "try {}: picked {} over {} (cost {} against {})",
                attempt.number,
                attempt.endpoint.name,
                other.name,
                self::cost(*cost),
                self::cost(*others)
            ),
            None => format!("try {}: picked {}", attempt.number, attempt.endpoint.name),
        },
        Record::Connected { attempt, reused: true, .. } => format!("try {attempt} has a pooled connection"),
        Record::Connected { attempt, took, .. } => format!("try {attempt} connected in {}", Span(*took)),
        Record::Head { attempt, status, grpc, latency, .. } => {
            format!("try {attempt} answered {} after {}", Status(*status, *grpc), Span(*latency))
        }
        Record::AttemptFailed { attempt, failure, latency, .. } => {
            format!("try {attempt} failed after {}: {}", Span(*latency), self::failure(*failure))
        }
        Record::AttemptCancelled { attempt, latency, .. } => {
            format!("try {attempt} timed out after {}", Span(*latency))
        }
        Record::Retry { note, .. } => retry(*note),
        Record::Injected { injected, .. } => injected_words(*injected),
        Record::Access { allowed: true, rule, .. } => format!("audited by {rule}"),
        Record::Access { allowed: false, rule: "default", .. } => "refused: no rule allows it".to_owned(),
        Record::Access { allowed: false, rule, .. } => format!("refused by {rule}"),
        Record::Replied { status, grpc, reason, .. } => {
            format!("sidecar answers {} itself: {reason}", Status(*status, (*grpc != 0).then_some(*grpc)))
        }
        Record::Upgraded { protocol, .. } => format!("speaks {protocol} from here on"),
        Record::Ended { status, grpc, attempts, total, how, .. } => format!(
            "{} {} after {}, {attempts} {}",
            self::how(*how),
            Status(*status, *grpc),
            Span(*total),
            if *attempts == 1 { "try" } else { "tries" }
        ),
        Record::Opened { side, dialed, .. } => match side {
            Side::Outbound => format!("connection to {dialed}"),
            Side::Inbound => format!("connection for port {dialed}"),
        },
        Record::Closed { total, bytes_up, bytes_down, how, .. } => {
            format!("connection {} after {}, {bytes_up} B up, {bytes_down} B down", self::how(*how), Span(*total))
        }
        Record::StrangerRefused { dialed } => format!("refuses a connection to {dialed}, which the mesh does not know"),
        Record::Backend { backend, event } => format!("{backend} {}", backend_event(at, event)),
        Record::MeshApplied { version } => format!("mesh {version} in force"),
        Record::MeshRefused { why } => format!("mesh refused: {why}"),
        Record::ControlConnected { address } => format!("control plane at {address} answers"),
        Record::ControlLost { why, retry_in } => {
            format!("control plane lost ({why}), tries again in {}", Span(*retry_in))
        }
        Record::CertificateIssued { identity, .. } => format!("has a certificate for {identity}"),
        Record::PeerRefused { peer, refusal, why: "" } => format!("refuses {peer}: {}", refusal.words()),
        Record::PeerRefused { peer, why, .. } => format!("refuses {peer}: {why}"),
        Record::Shortage { listens, why } => format!("cannot accept at {listens}: {why}"),
        Record::Traced { trace, span, .. } => format!("is sampled: trace {trace:032x}, span {span:016x}"),
        Record::SpansExported { spans } => format!("{spans} spans exported"),
        Record::SpansDropped { spans, why } => format!("{spans} spans dropped: {why}"),
        Record::CollectorFailed { why, retry_in: Some(retry_in) } => {
            format!("collector takes no spans ({why}), tried again in {}", Span(*retry_in))
        }
        Record::CollectorFailed { why, retry_in: None } => format!("collector takes no spans ({why})"),
    }
}

fn fields(at: Instant, record: &Record<'_>) -> Vec<(&'static str, Field)> {
    let number = |number: u64| Field::Number(number);
    let text = |text: &str| Field::Text(text.to_owned());
    let nanos = |span: Duration| Field::Number(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
    match record {
        Record::Started { request, method, authority, path, request_id, peer, .. } => vec![
            ("exchange", number(request.0)),
            ("method", text(method)),
            ("authority", text(authority)),
            ("path", text(path)),
            ("request_id", text(request_id)),
            ("peer", text(peer.unwrap_or(""))),
        ],
        Record::Routed { request, route, backend, .. } => {
            vec![("exchange", number(request.0)), ("route", text(route)), ("backend", text(backend.as_str()))]
        }
        Record::Queued { request } => vec![("exchange", number(request.0))],
        Record::Granted { request, waited } => vec![("exchange", number(request.0)), ("waited_ns", nanos(*waited))],
        Record::Picked { request, attempt } => vec![
            ("exchange", number(request.0)),
            ("attempt", number(u64::from(attempt.number))),
            ("endpoint", text(&attempt.endpoint.name)),
            ("address", text(&attempt.endpoint.address.to_string())),
        ],
        Record::Connected { request, attempt, reused, took } => vec![
            ("exchange", number(request.0)),
            ("attempt", number(u64::from(*attempt))),
            ("reused", number(u64::from(*reused))),
            ("took_ns", nanos(*took)),
        ],
        Record::Head { request, attempt, status, latency, .. } => vec![
            ("exchange", number(request.0)),
            ("attempt", number(u64::from(*attempt))),
            ("status", number(u64::from(*status))),
            ("latency_ns", nanos(*latency)),
        ],
        Record::AttemptFailed { request, attempt, failure, latency } => vec![
            ("exchange", number(request.0)),
            ("attempt", number(u64::from(*attempt))),
            ("failure", text(self::failure(*failure))),
            ("latency_ns", nanos(*latency)),
        ],
        Record::AttemptCancelled { request, attempt, latency } => vec![
            ("exchange", number(request.0)),
            ("attempt", number(u64::from(*attempt))),
            ("latency_ns", nanos(*latency)),
        ],
        Record::Retry { request, .. } => vec![("exchange", number(request.0))],
        Record::Injected { request, injected } => vec![
            ("exchange", number(request.0)),
            ("attempt", number(u64::from(injected.attempt))),
            ("delay_ns", nanos(injected.delay)),
            ("status", number(u64::from(injected.abort.unwrap_or(0)))),
        ],
        Record::Access { request, rule, .. } => vec![("exchange", number(request.0)), ("rule", text(rule))],
        Record::Replied { request, status, reason, .. } => {
            vec![("exchange", number(request.0)), ("status", number(u64::from(*status))), ("reason", text(reason))]
        }
        Record::Upgraded { request, protocol } => {
            vec![("exchange", number(request.0)), ("protocol", text(protocol))]
        }
        Record::Ended { request, status, attempts, total, bytes_up, bytes_down, .. } => vec![
            ("exchange", number(request.0)),
            ("status", number(u64::from(*status))),
            ("attempts", number(u64::from(*attempts))),
            ("total_ns", nanos(*total)),
            ("up_bytes", number(*bytes_up)),
            ("down_bytes", number(*bytes_down)),
        ],
        Record::Opened { request, dialed, peer, .. } => {
            vec![("exchange", number(request.0)), ("dialed", text(dialed)), ("peer", text(peer.unwrap_or_default()))]
        }
        Record::Closed { request, attempts, total, bytes_up, bytes_down, .. } => vec![
            ("exchange", number(request.0)),
            ("attempts", number(u64::from(*attempts))),
            ("total_ns", nanos(*total)),
            ("up_bytes", number(*bytes_up)),
            ("down_bytes", number(*bytes_down)),
        ],
        Record::StrangerRefused { dialed } => vec![("dialed", text(&dialed.to_string()))],
        Record::Backend { backend, event } => {
            let mut fields = vec![("backend", text(backend.as_str()))];
            fields.extend(backend_fields(at, event));
            fields
        }
        Record::MeshApplied { version } => vec![("version", text(version))],
        Record::MeshRefused { .. } => Vec::new(),
        Record::ControlConnected { address } => vec![("address", text(&address.to_string()))],
        Record::ControlLost { retry_in, .. } => vec![("retry_in_ns", nanos(*retry_in))],
        Record::CertificateIssued { identity, not_after_s, .. } => {
            vec![("identity", text(identity)), ("not_after_s", number(*not_after_s))]
        }
        Record::PeerRefused { peer, refusal, .. } => {
            vec![("peer_address", text(&peer.to_string())), ("reason", text(refusal.word()))]
        }
        Record::Shortage { listens, .. } => vec![("address", text(&listens.to_string()))],
        Record::Traced { request, trace, span, .. } => vec![
            ("exchange", number(request.0)),
            ("trace", text(&format!("{trace:032x}"))),
            ("span", text(&format!("{span:016x}"))),
        ],
        Record::SpansExported { spans } | Record::SpansDropped { spans, .. } => vec![("spans", number(*spans))],
        Record::CollectorFailed { why, .. } => vec![("why", text(why))],
    }
}

/// A balancer's cost: nanoseconds, or a small number of requests.
fn cost(cost: u64) -> String {
    if cost < 10_000 { cost.to_string() } else { Span(Duration::from_nanos(cost)).to_string() }
}

fn failure(failure: Failure) -> &'static str {
    match failure {
        Failure::ConnectRefused => "connection refused",
        Failure::ConnectTimeout => "no connection in time",
        Failure::Tls => "TLS failed",
        Failure::Reset => "connection reset",
        Failure::RefusedStream => "stream refused",
        Failure::CallerGone => "caller gone",
        Failure::Shortage => "nothing left to connect with",
    }
}

fn how(how: HowEnded) -> &'static str {
    match how {
        HowEnded::Complete => "answered",
        HowEnded::Local => "answered by the sidecar",
        HowEnded::Broken => "broke off",
        HowEnded::Idle => "stood still",
        HowEnded::TooLong => "took too long, cut off",
        HowEnded::CallerGone => "caller gone",
    }
}

fn injected_words(injected: Injected) -> String {
    let Injected { attempt, delay, abort } = injected;
    let delay = (!delay.is_zero()).then(|| format!("delayed by {}", Span(delay)));
    let abort = abort.map(|status| format!("answered with {status}"));
    let what = [delay, abort].into_iter().flatten().collect::<Vec<_>>().join(" and ");
    format!("try {attempt} is {what} on purpose")
}

fn retry(note: RetryNote) -> String {
    match note {
        RetryNote::Retry { retry, of, wait, budget_left } => {
            format!("retry {retry} of {of}, waits {}, {}", Span(wait), budget(budget_left))
        }
        RetryNote::Exhausted => "no retry: all are used".to_owned(),
        RetryNote::Hedge { hedge, of, after, budget_left } => {
            format!("hedge {hedge} of {of} beside it after {}, {}", Span(after), budget(budget_left))
        }
        RetryNote::OverBudget => "no retry: the budget is empty".to_owned(),
        RetryNote::HedgeOverBudget => "no hedge: the budget is empty".to_owned(),
        RetryNote::Throttled => "no retry or hedge: the backend accepts too few".to_owned(),
        RetryNote::NotRepeatable => "no retry: the request cannot be repeated".to_owned(),
        RetryNote::NoTime => "no retry: the deadline is too near".to_owned(),
    }
}

fn budget(left: Option<u64>) -> String {
    match left {
        None => "budget off".to_owned(),
        Some(left) => format!("budget {}.{}", left / 1000, left % 1000 / 100),
    }
}

/// `breaker of catalog-1 opened for 1.03 s (7 failures in a row)`.
pub(crate) fn backend_event(at: Instant, event: &BackendEvent) -> String {
    match event {
        BackendEvent::BreakerOpened { endpoint, until, why } => {
            format!("breaker of {endpoint} opened for {} ({why})", Span(until.since(at)))
        }
        BackendEvent::OpenRefused { endpoint, why } => {
            format!("breaker of {endpoint} stays closed ({why}): too few would be left")
        }
        BackendEvent::ServiceBreakerOpened { until, why } => {
            format!("breaker of all opened for {} ({why})", Span(until.since(at)))
        }
        BackendEvent::ServiceBreakerHalfOpen => "breaker of all lets a probe through".to_owned(),
        BackendEvent::ServiceBreakerClosed => "breaker of all closed".to_owned(),
        BackendEvent::BreakerHalfOpen { endpoint } => format!("breaker of {endpoint} lets a probe through"),
        BackendEvent::BreakerClosed { endpoint } => format!("breaker of {endpoint} closed"),
        BackendEvent::Ejected { endpoint, until, why } => {
            format!("{endpoint} ejected for {} ({why})", Span(until.since(at)))
        }
        BackendEvent::EjectionRefused { endpoint, why } => {
            format!("{endpoint} not ejected ({why}): too few would be left")
        }
        BackendEvent::EjectionSpared { endpoint, why } => {
            format!("{endpoint} not ejected ({why}): the dice spare it")
        }
        BackendEvent::Returned { endpoint } => format!("{endpoint} back from ejection"),
        BackendEvent::Unhealthy { endpoint, failures, last } => {
            format!("{endpoint} is unhealthy: {} ({failures} failed health checks in a row)", probe_result(*last))
        }
        BackendEvent::Healthy { endpoint, first: true } => format!("{endpoint} is healthy"),
        BackendEvent::Healthy { endpoint, first: false } => format!("{endpoint} is healthy again"),
        BackendEvent::Panics { healthy, of } => {
            format!("{healthy} of {of} endpoints are healthy, which is too few: the others are used as well")
        }
        BackendEvent::Calmed => "enough endpoints are healthy again".to_owned(),
        BackendEvent::ZoneShare { own_percent } => format!("sends {own_percent} % to its own zone, the rest elsewhere"),
        BackendEvent::LimitMoved { from, to, least, latest: Some(latest) } => {
            format!("limit {from} becomes {to} (latency {}, at best {})", Span(*latest), Span(*least))
        }
        BackendEvent::LimitMoved { from, to, latest: None, .. } => {
            format!("limit {from} becomes {to} to measure the least latency")
        }
    }
}

/// What breakers and outlier detection did, for machines: which turn, whose, for how long, why.
fn backend_fields(at: Instant, event: &BackendEvent) -> Vec<(&'static str, Field)> {
    let (turn, endpoint, until, why) = match event {
        BackendEvent::BreakerOpened { endpoint, until, why } => {
            ("breaker-opened", Some(endpoint), Some(until), Some(why.to_string()))
        }
        BackendEvent::BreakerHalfOpen { endpoint } => ("breaker-half-open", Some(endpoint), None, None),
        BackendEvent::BreakerClosed { endpoint } => ("breaker-closed", Some(endpoint), None, None),
        BackendEvent::OpenRefused { endpoint, why } => {
            ("breaker-kept-closed", Some(endpoint), None, Some(why.to_string()))
        }
        BackendEvent::ServiceBreakerOpened { until, why } => {
            ("service-breaker-opened", None, Some(until), Some(why.to_string()))
        }
        BackendEvent::ServiceBreakerHalfOpen => ("service-breaker-half-open", None, None, None),
        BackendEvent::ServiceBreakerClosed => ("service-breaker-closed", None, None, None),
        BackendEvent::Ejected { endpoint, until, why } => {
            ("ejected", Some(endpoint), Some(until), Some(why.to_string()))
        }
        BackendEvent::EjectionRefused { endpoint, why } => {
            ("ejection-refused", Some(endpoint), None, Some(why.to_string()))
        }
        BackendEvent::EjectionSpared { endpoint, why } => {
            ("ejection-spared", Some(endpoint), None, Some(why.to_string()))
        }
        BackendEvent::Returned { endpoint } => ("returned", Some(endpoint), None, None),
        BackendEvent::Unhealthy { endpoint, last, .. } => {
            ("unhealthy", Some(endpoint), None, Some(probe_result(*last)))
        }
        BackendEvent::Healthy { endpoint, .. } => ("healthy", Some(endpoint), None, None),
        BackendEvent::Panics { healthy, of } => ("panics", None, None, Some(format!("{healthy} of {of} are healthy"))),
        BackendEvent::Calmed => ("calmed", None, None, None),
        BackendEvent::ZoneShare { own_percent } => ("zone-share", None, None, Some(format!("{own_percent} %"))),
        BackendEvent::LimitMoved { .. } => return Vec::new(),
    };
    let mut fields = vec![("turn", Field::Text(turn.to_owned()))];
    fields.extend(endpoint.map(|endpoint| ("endpoint", Field::Text(endpoint.to_string()))));
    let nanos = |until: &Instant| u64::try_from(until.since(at).as_nanos()).unwrap_or(u64::MAX);
    fields.extend(until.map(|until| ("for_ns", Field::Number(nanos(until)))));
    fields.extend(why.map(|why| ("why", Field::Text(why))));
    fields
}

fn probe_result(result: ProbeResult) -> String {
    match result {
        ProbeResult::Passed => "as expected".to_owned(),
        ProbeResult::Status(status) => format!("it answers {status}"),
        ProbeResult::Grpc(status) => format!("it answers gRPC status {status}"),
        ProbeResult::NotServing(2) => "it is not serving".to_owned(),
        ProbeResult::NotServing(3) => "it does not know the service".to_owned(),
        ProbeResult::NotServing(_) => "it does not know whether it serves".to_owned(),
        ProbeResult::TimedOut => "no answer in time".to_owned(),
        ProbeResult::Broken => "no connection".to_owned(),
    }
}

/// What kind of record it is, for machines.
pub(crate) fn control_kind(record: &ControlRecord) -> &'static str {
    match record {
        ControlRecord::Listening { .. } => "control-listening",
        ControlRecord::Connected { .. } => "control-stream-up",
        ControlRecord::Disconnected { .. } => "control-stream-gone",
        ControlRecord::Pushed { .. } => "control-pushed",
        ControlRecord::Acked { .. } => "control-acked",
        ControlRecord::Nacked { .. } => "control-nacked",
        ControlRecord::NotCompiled { .. } => "control-not-compiled",
        ControlRecord::Signed { .. } => "control-signed",
        ControlRecord::HandshakeFailed { .. } | ControlRecord::Refused { .. } => "control-refused",
    }
}

/// A control plane's record in words.
pub(crate) fn control(record: &ControlRecord) -> String {
    match record {
        ControlRecord::Listening { at } => format!("listens at {at}"),
        ControlRecord::Connected { node } => format!("stream of {node} is up"),
        ControlRecord::Disconnected { node } => format!("stream of {node} is gone"),
        ControlRecord::Pushed { node, version } => format!("pushes version {version} to {node}"),
        ControlRecord::Acked { node, version } => format!("{node} took version {version}"),
        ControlRecord::Nacked { node, version, why } => format!("{node} refused version {version}: {why}"),
        ControlRecord::NotCompiled { node, why } => format!("no mesh for {node}: {why}"),
        ControlRecord::Signed { identity, .. } => format!("signs a certificate for {identity}"),
        ControlRecord::HandshakeFailed { peer, why } | ControlRecord::Refused { peer, why } => {
            format!("refuses {peer}: {why}")
        }
    }
}
