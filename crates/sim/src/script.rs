//! What an application does for a request after its own time: sleeps and calls, in sequence and at once.

use std::future::Future;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use squall_net::{BoxFuture, Task, after, timeout};
use squall_policy::Protocol;
use tokio::sync::oneshot;

use crate::client::{Answer, NoAnswer, Question};
use crate::ledger::AppCall;
use crate::note::Note;
use crate::scenario::{Call, Step};
use crate::service::App;

/// A fatal failure of a step, in words.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) String);

/// Headers that go with every call made for a request.
pub(crate) type PassedOn = Arc<Vec<(HeaderName, HeaderValue)>>;

impl App {
    /// Runs the steps in order, up to the first fatal failure.
    pub(crate) fn run_steps<'a>(
        self: &'a Arc<Self>,
        steps: &'a [Step],
        request: Option<u64>,
        headers: PassedOn,
    ) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            for step in steps {
                match step {
                    Step::Sleep(span) => {
                        let span = self.draw(span);
                        after(self.host.clock().as_ref(), span).await;
                    }
                    Step::Call(call) => self.call_step(call, request, &headers).await?,
                    Step::Parallel(branches) => {
                        let branches = branches.iter().map(|branch| {
                            let (app, branch, headers) = (Arc::clone(self), branch.clone(), Arc::clone(&headers));
                            async move { app.run_steps(&branch, request, headers).await }
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

    async fn call_step(self: &Arc<Self>, call: &Call, request: Option<u64>, headers: &PassedOn) -> Result<(), Failed> {
        if !self.dice_say(call.probability_ppm) {
            return Ok(());
        }
        for _ in 0..call.repeat {
            if call.fan_out > 1 {
                let branches = (0..call.fan_out).map(|_| {
                    let (app, call, headers) = (Arc::clone(self), call.clone(), Arc::clone(headers));
                    async move { app.call(&call, request, &headers).await }
                });
                self.all(branches).await?;
            } else {
                self.call(call, request, headers).await?;
            }
        }
        Ok(())
    }

    /// One call with its tries.
    async fn call(self: &Arc<Self>, call: &Call, request: Option<u64>, headers: &PassedOn) -> Result<(), Failed> {
        let target = self.shared.targets.find(&call.host.value);
        let spec = target.map(|to| &self.shared.scenario.services[usize::from(to.0)]);
        let (protocol, grpc) = spec.map_or((Protocol::Http1, false), |spec| (spec.protocol, spec.grpc));
        let client = match protocol {
            Protocol::Http1 => &self.clients[0],
            Protocol::Http2 => &self.clients[1],
        };
        let question = question(call, grpc, headers);
        let arrived = self.now();
        let mut failure = String::new();
        for try_number in 1..=call.tries {
            let (host, path) = (call.host.value.as_str(), call.path.as_str());
            let (method, tries) = (call.method.as_str(), call.tries);
            self.note(&Note::Calls { request, host, method, path, try_number, tries });
            let since = self.now();
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
                    if whole && status < 500 && grpc.unwrap_or(0) == 0 {
                        failure = String::new();
                        break;
                    }
                    failure = format!("call of {host} gave {}", crate::note::Status(status, grpc));
                }
            }
        }
        let failed = !failure.is_empty();
        let line = AppCall { from: self.service, to: target, arrived, failed };
        self.shared.ledger.book().app_calls.push(line);
        if failed && !call.optional { Err(Failed(failure)) } else { Ok(()) }
    }
}

fn question(call: &Call, grpc: bool, passed_on: &PassedOn) -> Question {
    let mut headers = passed_on.as_ref().clone();
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
