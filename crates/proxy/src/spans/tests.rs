use squall_policy::{BackendName, Endpoint};

use super::*;

struct Noon;

impl Wall for Noon {
    fn since_epoch(&self) -> Duration {
        Duration::from_secs(1_000)
    }
}

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

fn spans() -> Spans {
    Spans::new(Arc::new(Noon))
}

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn begin(spans: &Spans, number: u64, parent: Option<u64>) {
    let request = RequestNumber(number);
    spans.record(at(0), &Record::Traced { request, trace: TRACE, span: 7, parent, state: "x=1" });
    start(spans, number);
}

fn start(spans: &Spans, number: u64) {
    let request = RequestNumber(number);
    let (side, authority) = (Side::Outbound, "stock:80");
    let started =
        Record::Started { request, side, method: "GET", authority, path: "/items", request_id: "r1", peer: None };
    spans.record(at(0), &started);
    let backend = BackendName::new("shop", "stock", 80);
    spans.record(at(0), &Record::Routed { request, route: "shop/stock rule 0", backend: &backend, deadline: None });
}

fn attempt(spans: &Spans, number: u64, attempt: AttemptNumber, from_ms: u64) {
    let attempt = Attempt {
        number: attempt,
        endpoint: Arc::new(Endpoint {
            address: "10.0.0.3:80".parse().expect("an address"),
            name: "stock-0".into(),
            zone: "".into(),
            weight: 1,
            identity: "spiffe://mesh/ns/shop/sa/stock".into(),
            draining: false,
        }),
        over: None,
        until: None,
        connect_timeout: Duration::from_secs(1),
    };
    spans.record(at(from_ms), &Record::Picked { request: RequestNumber(number), attempt: &attempt });
}

fn head(spans: &Spans, number: u64, attempt: AttemptNumber, at_ms: u64, status: u16) {
    let (request, latency) = (RequestNumber(number), Duration::ZERO);
    spans.record(at(at_ms), &Record::Head { request, attempt, status, grpc: None, latency });
}

fn end(spans: &Spans, number: u64, at_ms: u64, status: u16, how: HowEnded) {
    let ended = Record::Ended {
        request: RequestNumber(number),
        side: Side::Outbound,
        status,
        grpc: None,
        attempts: 1,
        total: Duration::from_millis(at_ms),
        bytes_up: 3,
        bytes_down: 5,
        how,
    };
    spans.record(at(at_ms), &ended);
}

/// A span as one line: kind, name, times in ms since the request began, and what is asked for of its attributes.
fn line(span: &Span, keys: &[&str]) -> String {
    let ms = |nanos: u64| (nanos - 1_000_000_000_000) / 1_000_000;
    let mut line =
        format!("{} {} {}..{}", span.kind, span.name, ms(span.start_time_unix_nano), ms(span.end_time_unix_nano));
    for key in keys {
        if let Some(KeyValue { value: Some(value), .. }) = span.attributes.iter().find(|found| found.key == *key) {
            let number = value.int_value.map(|number| number.to_string());
            line.push_str(&format!(" {key}={}", number.or(value.string_value.clone()).unwrap_or_default()));
        }
    }
    line
}

#[test]
fn a_retried_request_is_a_span_of_its_own_and_one_of_each_try() {
    let spans = spans();
    begin(&spans, 1, Some(9));
    attempt(&spans, 1, 1, 1);
    head(&spans, 1, 1, 5, 503);
    attempt(&spans, 1, 2, 6);
    head(&spans, 1, 2, 8, 200);
    end(&spans, 1, 20, 200, HowEnded::Complete);
    let made = spans.take();
    let keys =
        ["http.response.status_code", "error.type", "http.request.resend_count", "squall.backend", "server.port"];
    let lines: Vec<String> = made.iter().map(|span| line(span, &keys)).collect();
    assert_eq!(
        lines,
        [
            "3 GET 1..5 http.response.status_code=503 error.type=503 server.port=80",
            // Until the last byte of the answer.
            "3 GET 6..20 http.response.status_code=200 http.request.resend_count=1 server.port=80",
            "2 GET shop/stock rule 0 0..20 http.response.status_code=200 squall.backend=shop/stock:80 server.port=80",
        ]
    );
    assert!(made.iter().all(|span| span.trace_id == TRACE.to_be_bytes() && span.trace_state == "x=1"));
    assert_eq!(
        (&made[2].span_id[..], &made[2].parent_span_id[..]),
        (&7_u64.to_be_bytes()[..], &9_u64.to_be_bytes()[..])
    );
    assert_eq!(made[0].span_id, span_of(7, 1).to_be_bytes());
    assert_eq!(made[1].parent_span_id, 7_u64.to_be_bytes());
    assert_eq!(made.iter().map(|span| span.status.is_some()).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn what_went_wrong_is_said() {
    for (how, status, tried, want) in [
        (HowEnded::Local, 503, false, "2 GET shop/stock rule 0 0..9 error.type=503"),
        (HowEnded::Local, 404, false, "2 GET shop/stock rule 0 0..9"),
        (HowEnded::Broken, 200, true, "2 GET shop/stock rule 0 0..9 error.type=broken"),
        (HowEnded::CallerGone, 0, true, "2 GET shop/stock rule 0 0..9 error.type=caller-gone"),
    ] {
        let spans = spans();
        begin(&spans, 1, None);
        if tried {
            attempt(&spans, 1, 1, 1);
        }
        end(&spans, 1, 9, status, how);
        let made = spans.take();
        assert_eq!(line(made.last().expect("one of the request"), &["error.type"]), want);
        if tried {
            assert_eq!(line(&made[0], &["error.type"]), "3 GET 1..9 error.type=cancelled");
        }
    }
}

#[test]
fn requests_that_are_not_sampled_leave_nothing() {
    let spans = spans();
    begin(&spans, 1, None);
    // On the same place as the sampled one, and on another.
    for number in [1 + PLACES as u64, 2] {
        start(&spans, number);
        attempt(&spans, number, 1, 1);
        end(&spans, number, 5, 200, HowEnded::Complete);
    }
    assert!(spans.take().is_empty());
    end(&spans, 1, 5, 200, HowEnded::Complete);
    assert_eq!(spans.take().len(), 1);
    assert!(spans.sampled.iter().all(|place| place.load(Ordering::Relaxed) == 0));
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let spans = spans();
    for number in 0..(REQUESTS as u64 + 5) {
        begin(&spans, number, None);
    }
    assert_eq!(spans.take_dropped(), 5);
    for number in 0..(REQUESTS as u64 + 5) {
        end(&spans, number, 1, 200, HowEnded::Complete);
    }
    begin(&spans, 1, None);
    attempt(&spans, 1, 1, 1);
    end(&spans, 1, 1, 200, HowEnded::Complete);
    assert_eq!(spans.take_dropped(), 2, "{WAITING} wait");
    assert_eq!(spans.take_dropped(), 0);
    let mut taken = 0;
    while let batch @ 1.. = spans.take().len() {
        taken += batch;
    }
    assert_eq!(taken, WAITING);
}

#[test]
fn tries_without_number_do_not_make_spans_without_number() {
    let spans = spans();
    begin(&spans, 1, None);
    for number in 1..=(TRIES as u32 + 3) {
        attempt(&spans, 1, number, 1);
    }
    end(&spans, 1, 9, 200, HowEnded::Complete);
    assert_eq!((spans.take().len(), spans.take_dropped()), (TRIES + 1, 3));
}

#[test]
fn a_method_that_nobody_knows_is_no_name() {
    let spans = spans();
    let request = RequestNumber(1);
    spans.record(at(0), &Record::Traced { request, trace: TRACE, span: 7, parent: None, state: "" });
    let (side, authority) = (Side::Inbound, "[::1]:8080");
    let peer = Some("spiffe://mesh/ns/shop/sa/front");
    spans.record(at(0), &Record::Started { request, side, method: "BREW", authority, path: "/", request_id: "", peer });
    end(&spans, 1, 1, 200, HowEnded::Complete);
    let keys = ["http.request.method", "http.request.method_original", "server.address", "server.port", "url.scheme"];
    let want = "2 HTTP 0..1 http.request.method=_OTHER http.request.method_original=BREW server.address=::1 \
                server.port=8080 url.scheme=https";
    assert_eq!(line(&spans.take()[0], &keys), want);
}
