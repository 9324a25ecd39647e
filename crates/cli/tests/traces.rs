//! Traces of `squall proxy` as a process: a collector on loopback is told of every sampled request, the last of them when the process ends.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "the tests of deployments use the rest")]
mod stage;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use squall_net::http::{BodyError, Incoming, ServeLimits, serve};
use squall_net::process;
use squall_net::tcp::Tcp;
use squall_xds::otlp::ExportTraces;
use stage::{App, Process, beside, directory, get, service, slice, write};

/// The longest wait for spans.
const PATIENCE: Duration = Duration::from_secs(60);

/// A collector: where it is, and what it is sent.
fn collector() -> (SocketAddr, Receiver<ExportTraces>) {
    let (told, at) = channel();
    let (sent, taken) = channel();
    beside(move || process::run(collect(told, sent)));
    (at.recv_timeout(PATIENCE).expect("it listens"), taken)
}

async fn collect(told: Sender<SocketAddr>, sent: Sender<ExportTraces>) {
    let host = Tcp::host();
    let mut listener = host.net().listen("127.0.0.1:0".parse().expect("an address")).await.expect("loopback");
    told.send(listener.local()).expect("the test waits for it");
    while let Ok(accepted) = listener.accept().await {
        let (of_host, sent) = (host.clone(), sent.clone());
        host.spawn("collector", async move {
            let service = move |request: Request<Incoming>| {
                let sent = sent.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let bytes = request.into_body().collect().await?.to_bytes();
                    let _ = sent.send(ExportTraces::decode(&bytes).expect("OTLP"));
                    Ok::<_, BodyError>(Response::new(Full::<Bytes>::default()))
                }
            };
            let limits = ServeLimits::default();
            let _ = serve(&of_host, accepted.conn, None, limits, service, std::future::pending()).await;
        });
    }
}

#[test]
fn a_process_that_ends_has_told_its_collector_of_the_last_request_and_counted_it() {
    let dir = directory("traces");
    let (app, (at, taken)) = (App::start(), collector());
    let mesh = dir.join("mesh.yaml");
    let port = app.address.port();
    write(&mesh, &(service("stock", "port: 80") + &slice("stock", "stock", "stock-0", port)));
    let (mesh, otlp) = (mesh.to_str().expect("UTF-8"), format!("http://{at}"));
    let args = ["--mesh", mesh, "--plaintext", "--service-account", "shop/front", "--pod", "front-0"];
    let more = ["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--otlp", &otlp, "--trace-sample", "100%"];
    let mut proxy = Process::start("proxy", &[&args[..], &more].concat());
    let listens = proxy.line("the proxy listens");
    let (outbound, admin) = (listens.text("outbound"), listens.text("admin"));
    proxy.line("the proxy is ready");
    let answer = get(&outbound, "stock", "/items?secret=1");
    let parent = answer.line("traceparent");
    assert_eq!((answer.status, parent.len(), &parent[52..]), (200, 55, "-01"), "{answer:?}");

    // These go by themselves, and are counted when they are there.
    let of = |request: ExportTraces| {
        let resource = request.resource_spans.into_iter().next().expect("of one process");
        resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(|span| (span.kind, span)).collect::<Vec<_>>()
    };
    let first = of(taken.recv_timeout(PATIENCE).expect("spans go by themselves"));
    assert_eq!(first.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [3, 2]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (client, server) = (&first[0].1, &first[1].1);
    assert_eq!(parent, format!("00-{}-{}-01", hex(&client.trace_id), hex(&client.span_id)), "the application's parent");
    assert_eq!(client.parent_span_id, server.span_id);
    let is_counted = || get(&admin, "x", "/metrics").body.contains("\nsquall_spans_total{result=\"exported\"} 2\n");
    while !is_counted() {}

    assert_eq!(get(&outbound, "stock", "/last").status, 200);
    proxy.terminate();
    assert_eq!(proxy.ends(), Some(0));
    let last = of(taken.recv_timeout(PATIENCE).expect("the last go when it ends"));
    assert_eq!(last.len(), 2);
    assert!(format!("{last:?}").contains("/last") && !format!("{first:?}").contains("secret"));
}

#[test]
fn a_collector_that_is_gone_does_not_keep_a_process_from_serving_and_ending() {
    let dir = directory("traces-gone");
    let app = App::start();
    let mesh = dir.join("mesh.yaml");
    let port = app.address.port();
    write(&mesh, &(service("stock", "port: 80") + &slice("stock", "stock", "stock-0", port)));
    let mesh = mesh.to_str().expect("UTF-8");
    // `.invalid` is never found (RFC 6761 §6.4).
    let args = ["--mesh", mesh, "--plaintext", "--service-account", "shop/front", "--otlp", "http://collector.invalid"];
    let more = ["--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--trace-sample", "100%"];
    let mut proxy = Process::start("proxy", &[&args[..], &more].concat());
    let outbound = proxy.line("the proxy listens").text("outbound");
    proxy.line("the proxy is ready");
    assert_eq!(get(&outbound, "stock", "/").status, 200);
    proxy.terminate();
    proxy.line("the trace collector takes no spans");
    assert_eq!(proxy.line("spans were dropped").text("why"), "collector");
    assert_eq!(proxy.ends(), Some(0));
}
