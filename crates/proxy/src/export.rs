//! Takes spans to an OpenTelemetry collector: OTLP over HTTP, as protobuf. A task of its own, beside the requests: a collector that is
//! slow or gone costs them nothing, and no more memory than [`Spans`] has room for.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode};
use http_body::Body as _;
use http_body_util::Full;
use squall_net::http::{Sender, Version};
use squall_net::{Host, Task, after, timeout};
use squall_policy::Rng;
use squall_xds::otlp::{
    ExportTraces, ExportedTraces, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, TRACES_PATH,
};

use crate::drain::Signal;
use crate::headers;
use crate::spans::Spans;
use crate::{Node, Record, Recorder};

/// How long spans wait for more before they go. Also how often lost ones are told of.
const EVERY: Duration = Duration::from_secs(5);
/// How long a collector may take for one batch (OpenTelemetry's own).
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a batch is tried.
const TRIES: u32 = 5;
/// Before the first try again, at most; doubled each time. Source: OpenTelemetry's protocol asks for exponential backoff with jitter.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait, also when the collector asks for more.
const LAST_WAIT: Duration = Duration::from_secs(30);
/// The most that is read of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("squall/", env!("CARGO_PKG_VERSION")));
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// Where a collector takes traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    host: String,
    port: u16,
    path: String,
}

impl Collector {
    /// From an OTLP base address as OpenTelemetry's SDKs have it, `http://collector:4318`; traces go to `/v1/traces` behind it. Without a
    /// port it is 4318.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let said = "say http://HOST:PORT, such as http://collector:4318";
        if text.starts_with("https://") {
            return Err(format!("`{text}`: spans are only sent in the clear so far, to a collector nearby; {said}"));
        }
        let uri: http::Uri = text.parse().map_err(|_| format!("`{text}` is no URL; {said}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("`{text}` is no HTTP URL; {said}"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!("`{text}`: names and passwords are not sent; {said}"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(format!("`{text}`: it can have a path, but no query; {said}"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(4318);
        if host.is_empty() || port == 0 || uri.port().is_some() && uri.port_u16().is_none() {
            return Err(format!("`{text}` names no host and port; {said}"));
        }
        let base = uri.path().trim_end_matches('/');
        // As the SDKs do; who has given the whole address means no other.
        let path = if base.ends_with(TRACES_PATH) { base.to_owned() } else { format!("{base}{TRACES_PATH}") };
        Ok(Self { host, port, path })
    }
}

/// Sends spans. Dropping it lets it run on; [`Exporter::flush`] ends it.
pub struct Exporter {
    host: Host,
    spans: Arc<Spans>,
    told: Arc<dyn Recorder>,
    ended: Arc<Signal>,
    task: Task,
}

impl Exporter {
    /// Begins to send the spans of a proxy. `told` hears what becomes of them ([`Record::SpansExported`] and others), and must not be or
    /// have [`Exporter::spans`].
    #[must_use]
    pub fn start(host: &Host, collector: Collector, node: &Node, told: Arc<dyn Recorder>) -> Self {
        let spans = Arc::new(Spans::new(Arc::clone(host.wall())));
        let ended = Arc::<Signal>::default();
        let sending = Sending {
            host: host.clone(),
            spans: Arc::clone(&spans),
            authority: HeaderValue::try_from(authority(&collector)).expect("a part of a URL is visible ASCII"),
            collector,
            resource: resource(node),
            told: Arc::clone(&told),
            dice: host.rng("otlp"),
            sender: None,
        };
        let done = Arc::clone(&ended);
        let task = host.spawn("proxy traces", async move {
            sending.run().await;
            done.raise();
        });
        Self { host: host.clone(), spans, told, ended, task }
    }

    /// What makes the spans; the proxy's recorder must tell it everything.
    #[must_use]
    pub fn spans(&self) -> Arc<Spans> {
        Arc::clone(&self.spans)
    }

    /// Sends what there is, once, and ends it; what cannot be sent within `limit` is dropped.
    pub async fn flush(&self, limit: Duration) {
        self.spans.flush();
        if timeout(self.host.clock().as_ref(), self.host.now() + limit, self.ended.wait()).await.is_none() {
            self.task.abort();
            let lost = [(self.spans.take_dropped(), "queue"), (self.spans.abandon(), "collector")];
            for (spans, why) in lost.into_iter().filter(|(spans, _)| *spans > 0) {
                self.told.record(self.host.now(), &Record::SpansDropped { spans, why });
            }
        }
    }
}

fn authority(Collector { host, port, .. }: &Collector) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whose spans they are.
fn resource(node: &Node) -> Resource {
    let mut attributes = vec![
        KeyValue::text("service.name", &*node.service_account),
        KeyValue::text("service.namespace", &*node.namespace),
        KeyValue::text("service.instance.id", &*node.pod),
        KeyValue::text("k8s.namespace.name", &*node.namespace),
        KeyValue::text("k8s.pod.name", &*node.pod),
        KeyValue::text("squall.node", node.id()),
    ];
    if !node.zone.is_empty() {
        attributes.push(KeyValue::text("cloud.availability_zone", &*node.zone));
    }
    Resource { attributes }
}

struct Sending {
    host: Host,
    spans: Arc<Spans>,
    collector: Collector,
    authority: HeaderValue,
    resource: Resource,
    told: Arc<dyn Recorder>,
    dice: Rng,
    /// The connection to the collector, if there is one.
    sender: Option<Sender<Full<Bytes>>>,
}

/// Why spans go now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// There is a whole batch.
    Whole,
    /// They have waited for long enough.
    Time,
    /// For the last time.
    Flush,
}

/// Why a collector has not taken spans.
enum Refusal {
    /// It may take them later, perhaps after so long.
    Later { why: String, wait: Option<Duration> },
    /// It will never take them.
    Never { why: String },
}

impl Sending {
    async fn run(mut self) {
        loop {
            let why = self.wait().await;
            loop {
                self.tell_dropped();
                let batch = self.spans.take();
                let is_whole = batch.len() == crate::spans::BATCH;
                if !batch.is_empty() {
                    self.deliver(batch).await;
                    self.spans.settled();
                }
                // What is left may wait for more.
                if !is_whole || why == Why::Whole {
                    break;
                }
            }
            if why == Why::Flush {
                return self.tell_dropped();
            }
        }
    }

    /// Until spans must go.
    async fn wait(&self) -> Why {
        let mut alarm = after(self.host.clock().as_ref(), EVERY);
        poll_fn(|cx| match self.spans.poll_batch(cx) {
            Poll::Ready(true) => Poll::Ready(Why::Flush),
            Poll::Ready(false) => Poll::Ready(Why::Whole),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| Why::Time),
        })
        .await
    }

    fn tell(&self, record: &Record<'_>) {
        self.told.record(self.host.now(), record);
    }

    fn tell_dropped(&self) {
        let spans = self.spans.take_dropped();
        if spans > 0 {
            self.tell(&Record::SpansDropped { spans, why: "queue" });
        }
    }

    /// Sends spans until they are taken, or it makes no sense any more.
    async fn deliver(&mut self, batch: Vec<squall_xds::otlp::Span>) {
        let spans = batch.len() as u64;
        let scope = Scope { name: "squall".into(), version: env!("CARGO_PKG_VERSION").into() };
        let resource = Some(self.resource.clone());
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: batch }];
        let request = ExportTraces { resource_spans: vec![ResourceSpans { resource, scope_spans }] };
        let body = Bytes::from(request.encode());
        drop(request);
        for number in 1..=TRIES {
            let until = self.host.now() + PATIENCE;
            let sent = {
                let clock = Arc::clone(self.host.clock());
                let sending = Box::pin(self.send(body.clone()));
                timeout(clock.as_ref(), until, sending).await
            };
            let sent = sent.unwrap_or_else(|| {
                // Nobody knows what its connection is at.
                self.sender = None;
                Err(Refusal::Later { why: format!("no answer within {PATIENCE:?}"), wait: None })
            });
            match sent {
                Ok(rejected) => {
                    let rejected = rejected.min(spans);
                    if rejected > 0 {
                        self.tell(&Record::SpansDropped { spans: rejected, why: "rejected" });
                    }
                    return self.tell(&Record::SpansExported { spans: spans - rejected });
                }
                Err(Refusal::Never { why }) => {
                    self.tell(&Record::CollectorFailed { why: &why, retry_in: None });
                    return self.tell(&Record::SpansDropped { spans, why: "rejected" });
                }
                Err(Refusal::Later { why, wait }) => {
                    let most = FIRST_WAIT.saturating_mul(1 << (number - 1)).min(LAST_WAIT);
                    let wait = wait.map_or_else(|| self.dice.between(most / 2, most), |wait| wait.min(LAST_WAIT));
                    let is_last = number == TRIES;
                    self.tell(&Record::CollectorFailed { why: &why, retry_in: (!is_last).then_some(wait) });
                    if is_last || self.pause(wait).await {
                        break;
                    }
                    self.tell_dropped();
                }
            }
        }
        self.tell(&Record::SpansDropped { spans, why: "collector" });
    }

    /// Waits; true: there is no more time to.
    async fn pause(&self, wait: Duration) -> bool {
        let mut alarm = after(self.host.clock().as_ref(), wait);
        poll_fn(|cx| match self.spans.poll_flush(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => alarm.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    /// Sends spans once. How many of them the collector does not want.
    async fn send(&mut self, body: Bytes) -> Result<u64, Refusal> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let request = Request::post(&self.collector.path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, PROTOBUF)
            .body(Full::new(body));
        let request = request.map_err(|error| Refusal::Never { why: error.to_string() })?;
        let later = |why: String| Refusal::Later { why, wait: None };
        let response = sender.send(request).await.map_err(|error| later(error.to_string()))?;
        let (head, mut answer) = response.into_parts();
        let mut bytes = Vec::new();
        let mut is_whole = true;
        {
            let mut answer = pin!(&mut answer);
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut *answer).poll_frame(cx)).await {
                let frame = frame.map_err(|error| later(error.to_string()))?;
                let data = frame.into_data().unwrap_or_default();
                if bytes.len() + data.len() > ANSWER_BYTES {
                    is_whole = false;
                    break;
                }
                bytes.extend_from_slice(&data);
            }
        }
        if is_whole {
            self.sender = Some(sender);
        }
        let why = format!("it answers {}", head.status);
        match head.status {
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                let partial = ExportedTraces::decode(&bytes).and_then(|answer| answer.partial_success);
                Ok(partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0)))
            }
            // These and no others are worth another try, says the protocol.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(Refusal::Later { why, wait: retry_after(&head.headers) }),
            _ => Err(Refusal::Never { why }),
        }
    }

    async fn connect(&self) -> Result<Sender<Full<Bytes>>, Refusal> {
        let later = |why: String| Refusal::Later { why, wait: None };
        let found = match self.collector.host.parse() {
            Ok(address) => address,
            Err(_) => {
                let found = self.host.net().resolve(&self.collector.host).await;
                let found = found.map_err(|error| later(format!("{}: {error}", self.collector.host)))?;
                *found.first().ok_or_else(|| later(format!("{} has no address", self.collector.host)))?
            }
        };
        let at = SocketAddr::new(found, self.collector.port);
        let conn = self.host.net().connect(at).await.map_err(|error| later(format!("{at}: {error}")))?;
        squall_net::http::connect(&self.host, conn, Version::Http1).await.map_err(|error| later(error.to_string()))
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers::number(headers, RETRY_AFTER).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_base_address() {
        for (text, host, port, path) in [
            ("http://collector:4318", "collector", 4318, "/v1/traces"),
            ("http://collector", "collector", 4318, "/v1/traces"),
            ("http://collector:80/", "collector", 80, "/v1/traces"),
            ("http://10.0.0.1:4318/otlp/", "10.0.0.1", 4318, "/otlp/v1/traces"),
            ("http://c:4318/v1/traces", "c", 4318, "/v1/traces"),
            ("http://[::1]:4318", "::1", 4318, "/v1/traces"),
        ] {
            let want = Collector { host: host.into(), port, path: path.into() };
            assert_eq!(Collector::parse(text), Ok(want), "{text}");
        }
        for (text, want) in [
            ("https://collector:4318", "in the clear"),
            ("collector:4318", "no HTTP URL"),
            ("grpc://collector:4317", "no HTTP URL"),
            ("http://me:secret@collector:4318", "passwords"),
            ("http://collector:4318/?x=1", "no query"),
            ("http://collector:0", "no host and port"),
            ("http://", "no"),
            ("", "no"),
        ] {
            let why = Collector::parse(text).expect_err(text);
            assert!(why.contains(want), "`{text}`: {why}");
        }
    }
}
