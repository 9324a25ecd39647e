//! Traces: what sidecars and applications say to each other, and what a collector is told of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use squall_net::Host;
use squall_net::http::{BodyError, BoxBody, Incoming, Version};
use squall_policy::{Protocol, RetryOn};
use squall_proxy::{Collector, Exporter, Proxy, ProxyConfig, Recorder, Sampling, Several};
use squall_xds::otlp::{ExportTraces, ExportedTraces, KeyValue, Span};

use crate::common::*;

/// A collector that keeps what it is sent. Those that fail are in `tests/traces.rs`, where time costs nothing.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<ExportTraces>>>);

impl Kept {
    fn spans(&self) -> Vec<Span> {
        let kept = self.0.lock().expect("no panic while locked");
        let of = |request: &ExportTraces| request.resource_spans.clone();
        let resources = kept.iter().flat_map(of);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<BoxBody>, BodyError> {
        let (head, body) = request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
        assert_eq!(head.headers["content-type"], "application/x-protobuf");
        let bytes = body.collect().await?.to_bytes();
        let request = ExportTraces::decode(&bytes).expect("OTLP");
        self.0.lock().expect("no panic while locked").push(request);
        let answer = ExportedTraces { partial_success: None };
        Ok(Response::new(text(Bytes::from(answer.encode()))))
    }

    async fn listen(&self, host: &Host) -> Collector {
        let kept = self.clone();
        let at = origin(host, move |request| kept.clone().take(request)).await;
        Collector::parse(&format!("http://{at}")).expect("a URL")
    }
}

/// A proxy that traces a share of what begins with it.
async fn traced(
    host: &Host,
    config: ProxyConfig,
    collector: Collector,
    millionths: u32,
) -> (Proxy, Exporter, Arc<Story>) {
    let told = Arc::<Story>::default();
    let exporter = Exporter::start(host, collector, &config.node, Arc::clone(&told) as _);
    let recorder = Several::new(vec![Arc::clone(&config.recorder), exporter.spans() as Arc<dyn Recorder>]);
    let tracing = Sampling::new(millionths);
    let proxy =
        Proxy::start(host, ProxyConfig { tracing, recorder: Arc::new(recorder), ..config }).await.expect("starts");
    proxy.ready().await;
    (proxy, exporter, told)
}

fn of<'s>(span: &'s Span, key: &str) -> Option<&'s KeyValue> {
    span.attributes.iter().find(|found| found.key == key)
}

fn number(span: &Span, key: &str) -> Option<i64> {
    of(span, key)?.value.as_ref()?.int_value
}

fn word<'s>(span: &'s Span, key: &str) -> &'s str {
    let value = of(span, key).and_then(|found| found.value.as_ref());
    value.and_then(|value| value.string_value.as_deref()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_sidecars_and_two_tries_are_one_trace() {
    run(|host| async move {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let app = origin(&host, move |request: Request<Incoming>| {
            let mut seen = kept.lock().expect("no panic while locked");
            seen.push(request.headers()["traceparent"].to_str().expect("ascii").to_owned());
            let status = if seen.len() == 1 { 503 } else { 200 };
            async move { Ok(Response::builder().status(status).body(text("hello"))?) }
        })
        .await;
        let spans = Kept::default();
        let collector = spans.listen(&host).await;
        let story = Arc::<Story>::default();
        let inbound = vec![squall_proxy::InboundListener { listen: ANY, mutual_tls: true, app }];
        let of_app = ProxyConfig { inbound, ..config(&story, inbound_mesh(app.port(), Protocol::Http1)) };
        // It samples nothing by itself: it does as its caller says.
        let (stock, stock_traces, _) = traced(&host, of_app, collector.clone(), 0).await;
        let mut mesh = mesh(Protocol::Http1, &[stock.inbound()[0]]);
        route(&mut mesh).retry = Some(retry(2, &[RetryOn::Status(503)]));
        let of_front = ProxyConfig { outbound: Some(ANY), ..config(&story, mesh) };
        let (front, front_traces, told) = traced(&host, of_front, collector, 1_000_000).await;
        assert_eq!(get(&host, front.outbound().expect("asked for"), "/items?secret=1").await.body(), "hello");
        front_traces.flush(SECOND).await;
        stock_traces.flush(SECOND).await;
        assert_eq!(told.lines("Spans"), ["SpansExported { spans: 3 }"]);

        let spans = spans.spans();
        assert_eq!(spans.len(), 3 + 2 * 2, "{spans:#?}");
        assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
        assert!(!format!("{spans:?}").contains("secret"), "queries are not told");
        let parent = |span: &Span| spans.iter().find(|one| one.span_id == span.parent_span_id).cloned();
        let root: Vec<_> = spans.iter().filter(|span| parent(span).is_none()).collect();
        assert_eq!(root.len(), 1, "one request of the application began it");
        assert_eq!(
            (root[0].name.as_str(), root[0].kind, word(root[0], "squall.side")),
            ("GET shop/app rule 0", 2, "outbound")
        );
        assert!(root[0].parent_span_id.is_empty());
        let tries: Vec<_> = spans.iter().filter(|span| span.parent_span_id == root[0].span_id).collect();
        let told = |span: &&Span| {
            (span.kind, number(span, "http.response.status_code"), number(span, "http.request.resend_count"))
        };
        assert_eq!(tries.iter().map(told).collect::<Vec<_>>(), [(3, Some(503), None), (3, Some(200), Some(1))]);
        assert_eq!(word(tries[0], "squall.endpoint"), "app-0");
        assert!(tries[0].end_time_unix_nano <= tries[1].start_time_unix_nano);
        // Each try is the parent of what the other sidecar did for it, and that of what its application was asked.
        let seen = seen.lock().expect("no panic while locked").clone();
        for (attempt, seen) in tries.iter().zip(&seen) {
            let server = spans.iter().find(|span| span.parent_span_id == attempt.span_id).expect("the other sidecar's");
            assert_eq!((server.kind, word(server, "squall.side")), (2, "inbound"));
            let client = spans.iter().find(|span| span.parent_span_id == server.span_id).expect("its request");
            assert_eq!(*seen, format!("00-{}-{}-01", hex(&client.trace_id), hex(&client.span_id)));
        }
    });
}

#[test]
fn nothing_is_sent_of_what_callers_do_not_sample_and_they_are_told_so() {
    run(|host| async move {
        let spans = Kept::default();
        let collector = spans.listen(&host).await;
        let app = origin(&host, echo).await;
        let story = Arc::<Story>::default();
        let of_front = ProxyConfig { outbound: Some(ANY), ..config(&story, mesh(Protocol::Http1, &[app])) };
        let (front, traces, told) = traced(&host, of_front, collector, 1_000_000).await;
        let mut client = client(&host, front.outbound().expect("asked for"), Version::Http1).await;
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let mut request = request(Version::Http1, "GET", "/", empty());
        request.headers_mut().insert("traceparent", caller.parse().expect("ascii"));
        request.headers_mut().insert("tracestate", "x=1".parse().expect("ascii"));
        let answer = whole(client.send(request).await.expect("an answer")).await;
        let passed_on = header(&answer, "saw-traceparent");
        assert_eq!((&passed_on[..36], &passed_on[52..]), (&caller[..36], "-00"));
        assert_eq!(header(&answer, "saw-tracestate"), "x=1");
        traces.flush(SECOND).await;
        assert_eq!((spans.spans().len(), told.count("")), (0, 0));
    });
}

/// What the application of a traced request is told in B3, and the spans that a collector got of it.
fn of_b3(millionths: u32, lines: &'static [(&'static str, &'static str)], check: fn(&Response<Bytes>, &[Span])) {
    run(move |host| async move {
        let spans = Kept::default();
        let collector = spans.listen(&host).await;
        let app = origin(&host, echo).await;
        let story = Arc::<Story>::default();
        let of_front = ProxyConfig { outbound: Some(ANY), ..config(&story, mesh(Protocol::Http1, &[app])) };
        let (front, traces, _) = traced(&host, of_front, collector, millionths).await;
        let mut client = client(&host, front.outbound().expect("asked for"), Version::Http1).await;
        let mut request = request(Version::Http1, "GET", "/", empty());
        request.headers_mut().extend(map(lines));
        let answer = whole(client.send(request).await.expect("an answer")).await;
        traces.flush(SECOND).await;
        check(&answer, &spans.spans());
    });
}

#[test]
fn sidecars_that_do_not_trace_pass_a_trace_on_as_it_came_and_begin_none() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0-05e3ac9a4f6e3b90";
    const NAMES: [&str; 8] = [
        "traceparent",
        "tracestate",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
    ];
    for (version, protocol) in [(Version::Http1, Protocol::Http1), (Version::Http2, Protocol::Http2)] {
        for lines in [
            &[][..],
            &[("traceparent", PARENT), ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")],
            &[("traceparent", PARENT), ("b3", B3)],
            &[("traceparent", "of no form")],
            &[("b3", B3)],
            &[("b3", "0")],
            &[("x-b3-traceid", "64fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1"), ("x-b3-sampled", "0")],
        ] {
            run(move |host| async move {
                let app = origin(&host, echo).await;
                let (_stock, at, _) = inbound(&host, app, protocol, squall_proxy::IdentitySource::None).await;
                let (_front, at, _) = outbound(&host, mesh(protocol, &[at])).await;
                let mut client = client(&host, at, version).await;
                let mut request = request(version, "GET", "/", empty());
                request.headers_mut().extend(map(lines));
                let answer = whole(client.send(request).await.expect("an answer")).await;
                assert_eq!(header(&answer, "saw-x-request-id").len(), 36, "both sidecars had it");
                for name in NAMES {
                    let came = lines.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value);
                    assert_eq!(header(&answer, &format!("saw-{name}")), came, "{version:?} {name} of {lines:?}");
                }
            });
        }
    }
}

#[test]
fn a_trace_of_b3_goes_on_in_both_of_its_forms_and_as_a_traceparent() {
    let several = &[
        ("x-b3-traceid", "64fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
        ("x-b3-sampled", "true"),
    ];
    of_b3(0, several, |answer, spans| {
        let [attempt, server] = spans else { panic!("{spans:#?}") };
        assert_eq!(hex(&server.parent_span_id), "e457b5a2e4d86bd1");
        assert_eq!(hex(&server.trace_id), "000000000000000064fe8b2a57d3eff7");
        assert_eq!(attempt.parent_span_id, server.span_id);
        let (span, parent) = (hex(&attempt.span_id), hex(&server.span_id));
        for (name, want) in [
            ("x-b3-traceid", "64fe8b2a57d3eff7"),
            ("x-b3-spanid", &span),
            ("x-b3-parentspanid", &parent),
            ("x-b3-sampled", "1"),
            ("x-b3-flags", ""),
            ("b3", ""),
            ("traceparent", &format!("00-000000000000000064fe8b2a57d3eff7-{span}-01")),
        ] {
            assert_eq!(header(answer, &format!("saw-{name}")), want, "{name}");
        }
    });
    of_b3(0, &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d")], |answer, spans| {
        let [attempt, server] = spans else { panic!("{spans:#?}") };
        let (span, parent) = (hex(&attempt.span_id), hex(&server.span_id));
        assert_eq!(header(answer, "saw-b3"), format!("80f198ee56343ba864fe8b2a57d3eff7-{span}-d-{parent}"));
        assert_eq!(header(answer, "saw-traceparent"), format!("00-80f198ee56343ba864fe8b2a57d3eff7-{span}-01"));
        assert_eq!(header(answer, "saw-x-b3-traceid"), "");
    });
}

#[test]
fn what_b3_denies_is_not_sampled_and_what_is_no_b3_is_not_passed_on() {
    of_b3(1_000_000, &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0")], |answer, spans| {
        assert!(spans.is_empty());
        let b3 = header(answer, "saw-b3");
        assert!(b3.starts_with("80f198ee56343ba864fe8b2a57d3eff7-") && b3.ends_with("-0-e457b5a2e4d86bd1"), "{b3}");
        assert!(header(answer, "saw-traceparent").ends_with("-00"));
    });
    of_b3(1_000_000, &[("b3", "a trace"), ("x-b3-spanid", "e457b5a2e4d86bd1")], |answer, spans| {
        assert_eq!((spans.len(), header(answer, "saw-b3"), header(answer, "saw-x-b3-spanid")), (2, "", ""));
        assert!(spans[1].parent_span_id.is_empty(), "it begins here");
    });
}
