//! Traces in OTLP's JSON encoding, a line for each request of the load: what an OpenTelemetry collector's file receiver and
//! `POST /v1/traces` take. A trace is a request; its spans are those of the load, of sidecars and of applications.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use squall_policy::Instant;
use squall_sim::spans::{Span, SpanKind};
use squall_sim::{Case, Outcome};

/// `Span.kind`: within a process, work for a caller, asking somebody else.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `Status.code`.
const WELL: u8 = 1;
const FAILED: u8 = 2;

/// The traces of one run.
pub(super) fn run(case: &Case, outcome: &Outcome, spans: &[Span]) -> Vec<u8> {
    let mut of_request: BTreeMap<u64, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        of_request.entry(span.request).or_default().push(span);
    }
    // The same run has the same ids, and other runs have others.
    let name = format!("{}\0{}", case.scenario, case.seed);
    let run = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let made = Made { case, outcome, run };
    let mut out = Vec::new();
    for (request, spans) in of_request {
        let mut of_host: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
        for span in spans {
            of_host.entry(&span.host).or_default().push(span);
        }
        let resources: Vec<Value> = of_host.values().map(|spans| made.resource(request, spans)).collect();
        out.extend(format!("{}\n", json!({ "resourceSpans": resources })).into_bytes());
    }
    out
}

struct Made<'c> {
    case: &'c Case,
    outcome: &'c Outcome,
    run: u64,
}

impl Made<'_> {
    /// The spans of one host.
    fn resource(&self, request: u64, spans: &[&Span]) -> Value {
        let (host, service) = spans.first().map_or(("", ""), |span| (&*span.host, &*span.service));
        let attributes = [
            text("service.name", service),
            text("service.instance.id", host),
            text("squall.scenario", &self.case.scenario),
            text("squall.seed", &self.case.seed.to_string()),
        ];
        let spans: Vec<Value> = spans.iter().map(|span| self.span(request, span)).collect();
        json!({
            "resource": { "attributes": attributes },
            "scopeSpans": [{ "scope": { "name": "squall", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
        })
    }

    fn span(&self, request: u64, span: &Span) -> Value {
        let kind = match span.kind {
            SpanKind::Request | SpanKind::Attempt => CLIENT,
            SpanKind::Call | SpanKind::Serve => SERVER,
            SpanKind::Wait | SpanKind::Work => INTERNAL,
        };
        let mut attributes = vec![text("squall.kind", span.kind.name()), number("squall.request", request)];
        if span.status > 0 {
            attributes.push(number("http.response.status_code", span.status));
        }
        if span.kind == SpanKind::Attempt {
            attributes.push(text("squall.endpoint", &span.what));
        }
        let name = if span.kind == SpanKind::Attempt { format!("try {}", span.what) } else { span.what.clone() };
        let mut value = json!({
            "traceId": format!("{:016x}{request:016x}", self.run),
            "spanId": self.id(span.number),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": self.nanos(span.from),
            "endTimeUnixNano": self.nanos(span.to),
            "attributes": attributes,
            "status": { "code": if span.good { WELL } else { FAILED } },
        });
        if let Some(parent) = span.parent {
            value["parentSpanId"] = self.id(parent).into();
        }
        if !span.good {
            value["status"]["message"] = span.end.as_str().into();
        }
        value
    }

    /// Eight bytes that no other span of any run is likely to have, and never none.
    fn id(&self, span: usize) -> String {
        let mut id = self.run.wrapping_add((span as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        format!("{:016x}", (id ^ (id >> 31)).max(1))
    }

    /// By the clock of the simulated world. As text: JSON's readers know no such numbers.
    fn nanos(&self, at: Instant) -> String {
        self.outcome.since_1970(at).as_nanos().to_string()
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}
