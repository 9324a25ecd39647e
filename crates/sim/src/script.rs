//! What an application does for a request after its own time: sleeps and calls, in sequence and at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use squall_net::{BoxFuture, Task, after, timeout};
use squall_policy::{Instant, Protocol};
use tokio::sync::oneshot;

use crate::client::{Answer, NoAnswer, Question};
use crate::ledger::AppCall;
use crate::note::Note;
use crate::scenario::{Call, Step};
use crate::service::App;

/// A fatal failure of a step, in words.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) String);

/// What goes with every call made for a request.
pub(crate) struct PassedOn {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// When the caller wants its answer, on the host's clock.
    pub(crate) deadline: Option<Instant>,
}

/// The time that is left for a request, in milliseconds, as Envoy and Squall's proxy write it.
const TIME_LEFT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

impl PassedOn {
    /// What a request, arriving now, asks to be passed on.
    pub(crate) fn of(headers: &HeaderMap, now: Instant) -> Arc<Self> {
        let left = headers.get(TIME_LEFT).and_then(|value| value.to_str().ok()?.parse().ok());
        // Hardly anybody speaks B3.
        let is_b3 = |name: &HeaderName| name == "b3" || name.as_str().starts_with("x-b3-");
        let b3 = if headers.keys().any(is_b3) { &B3[..] } else { &[] };
        let passed_on = PASSED_ON
            .iter()
            .chain(b3)
            .flat_map(|name| headers.get_all(*name).iter().map(|value| (HeaderName::from_static(name), value.clone())));
        Arc::new(Self {
            headers: passed_on.collect(),
            deadline: left.filter(|ms| *ms > 0).map(|ms| now + Duration::from_millis(ms)),
        })
    }
}

/// Headers of a request that an application passes on with every call it makes for it.
const PASSED_ON: [&str; 5] = ["x-request-id", "traceparent", "tracestate", "baggage", "squall-priority"];
/// Those of Zipkin's traces.
const B3: [&str; 6] = ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"];

impl App {
    /// Runs the steps in order, up to the first fatal failure.
    pub(crate) fn run_steps<'a>(
        self: &'a Arc<Self>,
        steps: &'a [Step],
        request: Option<u64>,
        passed_on: Arc<PassedOn>,
    ) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            for step in steps {
                match step {
                    Step::Sleep(span) => {
                        let span = self.draw(span);
                        after(self.host.clock().as_ref(), span).await;
                    }
                    Step::Call(call) => self.call_step(call, request, &passed_on).await?,
                    Step::Parallel(branches) => {
                        let branches = branches.iter().map(|branch| {
                            let (app, branch, passed_on) = (Arc::clone(self), branch.clone(), Arc::clone(&passed_on));
                            async move { app.run_steps(&branch, request, passed_on).await }
                        });
                        self.all(branches).await?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Runs all at once, each as a task of its own; over when all are. The first failure in their order counts.
    async fn all<F>(&self, branches: impl Iterator<Item = F>) -> Result<(), Failed>
    where
        F: Future<Output = Result<(), Failed>> + Send + 'static,
    {
        let running: Vec<_> = branches
            .map(|branch| {
                let (give, take) = oneshot::channel();
                let task = self.host.spawn("application branch", async move {
                    // Nobody listens if the request was dropped meanwhile.
                    let _ = give.send(branch.await);
                });
                (take, EndsWithRequest(task))
            })
            .collect();
        let mut first = Ok(());
        for (result, _task) in running {
            let result = result.await.unwrap_or_else(|_| Err(Failed("a branch ended early".to_owned())));
            first = first.and(result);
        }
        first
    }

    async fn call_step(
        self: &Arc<Self>,
        call: &Call,
        request: Option<u64>,
        passed_on: &Arc<PassedOn>,
    ) -> Result<(), Failed> {
        if !self.dice_say(call.probability_ppm) {
            return Ok(());
        }
        for _ in 0..call.repeat {
            if call.fan_out > 1 {
                let branches = (0..call.fan_out).map(|_| {
                    let (app, call, passed_on) = (Arc::clone(self), call.clone(), Arc::clone(passed_on));
                    async move { app.call(&call, request, &passed_on).await }
                });
                self.all(branches).await?;
            } else {
                self.call(call, request, passed_on).await?;
            }
        }
        Ok(())
    }

    /// One call with its tries.
    async fn call(
        self: &Arc<Self>,
        call: &Call,
        request: Option<u64>,
        passed_on: &Arc<PassedOn>,
    ) -> Result<(), Failed> {
        let target = self.shared.targets.find(&self.spec().namespace, &call.host.value);
        let spec = target.map(|to| &self.shared.scenario.services[usize::from(to.0)]);
        let (protocol, grpc) = spec.map_or((Protocol::Http1, false), |spec| (spec.protocol, spec.grpc));
        let client = match protocol {
            Protocol::Http1 | Protocol::Tcp => &self.clients[0],
            Protocol::Http2 => &self.clients[1],
        };
        let client = target.and_then(|to| self.streams.get(&to)).unwrap_or(client);
        let mut question = question(call, grpc, passed_on);
        self.draw_headers(&call.drawn, &mut question);
        let arrived = self.now();
        let mut failure = String::new();
        for try_number in 1..=call.tries {
            let (host, path) = (call.host.value.as_str(), call.path.as_str());
            let (method, tries) = (call.method.as_str(), call.tries);
            self.note(&Note::Calls { request, host, method, path, try_number, tries });
            let since = self.now();
            self.write_deadline(&mut question, passed_on);
            let asking = client.ask(&question);
            let answer = match call.timeout {
                None => Some(asking.await),
                Some(span) => timeout(self.host.clock().as_ref(), self.host.now() + span, asking).await,
            };
            let took = self.now().since(since);
            match answer {
                None => {
                    let after = call.timeout.expect("only a call with a time-out gets no answer by time");
                    self.note(&Note::CallTimedOut { request, host, after });
                    failure = format!("call of {host} timed out");
                }
                Some(Err(NoAnswer)) => {
                    self.note(&Note::CallEnded { request, host, status: 0, grpc: None, took });
                    failure = format!("call of {host} got no answer");
                }
                Some(Ok(Answer { status, grpc, whole, .. })) => {
                    self.note(&Note::CallEnded { request, host, status, grpc, took });
                    if whole && !is_failure(status, grpc) {
                        failure = String::new();
                        break;
                    }
                    failure = format!("call of {host} gave {}", crate::note::Status(status, grpc));
                }
            }
        }
        let failed = !failure.is_empty();
        let line = AppCall { from: self.service, to: target, request: request.into(), arrived, failed };
        self.shared.ledger.book().app_calls.push(line);
        if failed && !call.optional { Err(Failed(failure)) } else { Ok(()) }
    }

    /// Tells the callee how much of the caller's time is left, at least 1 ms (0 would mean no limit).
    fn write_deadline(&self, question: &mut Question, passed_on: &PassedOn) {
        question.headers.retain(|(name, _)| *name != TIME_LEFT);
        if let Some(deadline) = passed_on.deadline {
            let ms = u64::try_from(deadline.since(self.host.now()).as_millis()).unwrap_or(u64::MAX);
            question.headers.push((TIME_LEFT, HeaderValue::from(ms.max(1))));
        }
    }
}

/// Whether an answer fails the call it is given to, in the eyes of an application: it was refused, or the server failed.
pub(crate) fn is_failure(status: u16, grpc: Option<u8>) -> bool {
    status >= 500 || status == 429 || grpc.unwrap_or(0) != 0
}

fn question(call: &Call, grpc: bool, passed_on: &PassedOn) -> Question {
    let mut headers = passed_on.headers.clone();
    for (name, value) in &call.headers {
        headers.push((
            HeaderName::from_bytes(name.as_bytes()).expect("the scenario's headers were checked"),
            HeaderValue::from_str(value).expect("the scenario's headers were checked"),
        ));
    }
    if grpc {
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
        headers.push((http::header::TE, HeaderValue::from_static("trailers")));
    }
    Question {
        method: Method::from_bytes(call.method.as_bytes()).expect("the scenario's methods were checked"),
        authority: call.host.value.parse().expect("the scenario's host names were checked"),
        path: call.path.parse().expect("the scenario's paths were checked"),
        headers,
        body_bytes: call.request_bytes,
    }
}

/// Aborts a task when the request it belongs to is dropped.
struct EndsWithRequest(Task);

impl Drop for EndsWithRequest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
