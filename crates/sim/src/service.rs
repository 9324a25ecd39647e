//! The simulated application: a real HTTP server behind its sidecar, with slots, a queue, a time per request, and a script
//! of calls that it makes through its own sidecar with a real HTTP client.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use squall_net::http::{BodyError, Incoming, ServeLimits, Version, serve};
use squall_net::{Host, Listener, after};
use squall_policy::{Instant, Protocol, Rng};
use tokio::sync::oneshot;

use crate::client::{Client, Question, drain};
use crate::knobs::{Gate, Knobs, Shut};
use crate::ledger::{Gauge, Maybe, Party, Served};
use crate::note::Note;
use crate::payload::Payload;
use crate::scenario::{Drawn, RouteScript, ServiceSpec};
use crate::script::PassedOn;
use crate::shared::Shared;
use crate::slots::{Entry, Full, Slot, Slots};
use crate::workload::drawn_headers;

/// What an answer says in plain text about why it is an error.
const WHY: HeaderName = HeaderName::from_static("x-application-error");

/// One pod's application. Lives as long as its process.
pub(crate) struct App {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: Host,
    /// The number of its host.
    pub(crate) id: u32,
    pub(crate) service: Party,
    pub(crate) version: usize,
    pub(crate) knobs: Knobs,
    /// To its own sidecar, for callees that speak HTTP/1.1 and HTTP/2.
    pub(crate) clients: [Client; 2],
    /// To workloads behind ports of TCP.
    pub(crate) streams: BTreeMap<Party, Client>,
    slots: Arc<Slots>,
    dice: Mutex<Dice>,
}

struct Dice {
    time: Rng,
    errors: Rng,
    faults: Rng,
    calls: Rng,
    rows: Rng,
    headers: Rng,
    health: Rng,
}

/// Where a request is written down.
#[derive(Clone, Copy)]
struct Line {
    /// The number of the load's request it is made for.
    number: Option<u64>,
    /// Its line in the book.
    served: usize,
}

/// What a request in an application came to.
struct Verdict {
    status: u16,
    why: String,
    bytes: u64,
}

impl App {
    /// The application of host number `id`, whose sidecar's outbound side is at `sidecar`.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        host: &Host,
        id: u32,
        service: Party,
        version: usize,
        knobs: Knobs,
        sidecar: SocketAddr,
    ) -> Arc<Self> {
        let spec = &shared.scenario.services[usize::from(service.0)];
        let client = |protocol| Client::new(host.clone(), sidecar, protocol);
        let doors = shared.targets.doors(sidecar.ip()).into_iter();
        Arc::new(Self {
            shared: Arc::clone(shared),
            host: host.clone(),
            id,
            service,
            version,
            knobs,
            clients: [client(Protocol::Http1), client(Protocol::Http2)],
            streams: doors.map(|(party, door, _)| (party, Client::new(host.clone(), door, Protocol::Tcp))).collect(),
            slots: Slots::new(spec.slots, spec.queue),
            dice: Mutex::new(Dice {
                time: host.rng("application time"),
                errors: host.rng("application errors"),
                faults: host.rng("application faults"),
                calls: host.rng("application calls"),
                rows: host.rng("application rows"),
                headers: host.rng("application headers"),
                health: host.rng("application health"),
            }),
        })
    }

    /// Serves every connection that comes to `at`, until `drains` opens; then those that are there to their end.
    ///
    /// # Errors
    /// It cannot listen at `at`.
    pub(crate) async fn serve(self: &Arc<Self>, at: SocketAddr, drains: &Gate<()>) -> io::Result<()> {
        let mut listener: Box<dyn Listener> = self.host.net().listen(at).await?;
        let app = Arc::clone(self);
        let drains = drains.clone();
        self.host.spawn("application accept", async move {
            while let Ok(accepted) = listener.accept().await {
                let (app, drains) = (Arc::clone(&app), drains.clone());
                let host = app.host.clone();
                host.clone().spawn("application connection", async move {
                    let version = match app.spec().protocol {
                        Protocol::Http1 | Protocol::Tcp => Version::Http1,
                        Protocol::Http2 => Version::Http2,
                    };
                    let service = move |request| Arc::clone(&app).answer(request);
                    let limits = ServeLimits::default();
                    // How a connection ends is its sidecar's business.
                    let _ = serve(&host, accepted.conn, Some(version), limits, service, drains.opened()).await;
                });
            }
        });
        Ok(())
    }

    /// Its service.
    pub(crate) fn spec(&self) -> &ServiceSpec {
        &self.shared.scenario.services[usize::from(self.service.0)]
    }

    /// Notes something, now.
    pub(crate) fn note(&self, note: &Note<'_>) {
        self.shared.journal.note(self.now(), self.id, note);
    }

    /// World time.
    pub(crate) fn now(&self) -> Instant {
        self.host.now() - self.spec().clock_ahead
    }

    /// Whether something this likely happens to a call, in millionths.
    pub(crate) fn dice_say(&self, ppm: u32) -> bool {
        ppm >= 1_000_000 || self.dice(|dice| dice.calls.below(1_000_000)) < u64::from(ppm)
    }

    /// A span drawn for a step of a script.
    pub(crate) fn draw(&self, span: &crate::scenario::Distribution) -> Duration {
        self.dice(|dice| span.draw(&mut dice.time))
    }

    /// Headers drawn for one call.
    pub(crate) fn draw_headers(&self, drawn: &[(String, Drawn)], question: &mut Question) {
        if !drawn.is_empty() {
            self.dice(|dice| question.headers.extend(drawn_headers(drawn, &mut dice.headers)));
        }
    }

    fn dice<T>(&self, throw: impl FnOnce(&mut Dice) -> T) -> T {
        throw(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A fault has touched a request.
    fn touch(&self, fault: usize) {
        self.shared.ledger.book().touched[fault] += 1;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Payload>, BodyError> {
        if self.spec().finishes_abandoned {
            let (give, take) = oneshot::channel();
            let app = Arc::clone(&self);
            self.host.spawn("application request", async move {
                let response = app.work(request).await;
                // The caller may have gone away meanwhile; the work was done all the same.
                let _ = give.send(response);
            });
            take.await?
        } else {
            self.work(request).await
        }
    }

    async fn work(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Payload>, BodyError> {
        let (head, body) = request.into_parts();
        let number = request_number(&head.headers);
        if self.spec().health_check.as_deref() == Some(head.uri.path()) {
            let whole = drain(body, &mut None).await.1;
            return if whole { Ok(self.health().await) } else { Err("the check was given up".into()) };
        }
        let passed_on = PassedOn::of(&head.headers, self.host.now());
        self.note(&Note::Arrived { request: number, method: head.method.as_str(), path: head.uri.path() });
        if !body.is_end_stream() && !drain(body, &mut None).await.1 {
            return Err("the caller went away before the end of its request".into());
        }
        let refused = self.outage().await;
        let arrived = self.now();
        let _inside = self.shared.ledger.hold(self.host.clock(), self.spec().clock_ahead, Gauge::Inside(self.service));
        let served = {
            let mut book = self.shared.ledger.book();
            let line = Served {
                service: self.service,
                pod: self.id,
                request: number.into(),
                arrived,
                began: Maybe::NONE,
                time: Duration::ZERO.into(),
                ended: Maybe::NONE,
                success: false,
                overflowed: false,
                conflict: false,
            };
            book.served.push(line);
            book.served.len() - 1
        };
        let path = head.uri.path();
        let routes = &self.spec().versions[self.version].routes;
        let route = routes.iter().find(|route| route.matches.matches(head.method.as_str(), path));
        let verdict = match (refused, route) {
            (Some(status), _) => Verdict { status, why: "an outage of the scenario".to_owned(), bytes: 0 },
            (None, None) => Verdict { status: 404, why: format!("no route for {} {path}", head.method), bytes: 0 },
            (None, Some(route)) => match self.slot(number).await {
                Err(Full) => {
                    self.shared.ledger.book().served[served].overflowed = true;
                    self.note(&Note::Overflows { request: number });
                    let line = format!("{} queue full", self.shared.journal.host(self.id));
                    self.shared.tell_once(self.now(), line);
                    Verdict { status: 503, why: "queue full".to_owned(), bytes: 0 }
                }
                Ok((_slot, waited)) => {
                    let line = Line { number, served };
                    self.do_route(route, line, waited, passed_on).await
                }
            },
        };
        let response = self.response(number, &verdict);
        let mut book = self.shared.ledger.book();
        let line = &mut book.served[served];
        line.ended = self.now().into();
        line.success = verdict.status < 400;
        Ok(response)
    }

    /// What an outage of the scenario does to a request that arrives now: holds it up to the outage's end, or tells the
    /// status it is refused with.
    async fn outage(&self) -> Option<u16> {
        while let Some(outage) = self.knobs.outage(|fault| self.touch(fault)) {
            match outage {
                Shut::Held(end) => end.opened().await,
                Shut::Refused(status) => return Some(status),
            }
        }
        None
    }

    /// Answers a health check: at once and without a slot, unless a fault is at work.
    async fn health(&self) -> Response<Payload> {
        let time = self.knobs.stretch(Duration::ZERO, |_| {});
        if !time.is_zero() {
            after(self.host.clock().as_ref(), time).await;
        }
        let mut refused = None;
        while let Some(outage) = self.knobs.outage(|_| {}).filter(|_| refused.is_none()) {
            match outage {
                Shut::Held(end) => end.opened().await,
                Shut::Refused(status) => refused = Some(status),
            }
        }
        let failure = self.dice(|dice| self.knobs.failure(&mut dice.health, |_| {}));
        let status = refused.or(failure);
        let grpc = self.spec().grpc.then(|| grpc_status(status.unwrap_or(200)));
        let mut response = Response::new(if grpc == Some(0) { Payload::serving() } else { Payload::zeros(0) });
        if let Some(grpc) = grpc {
            grpc_headers(response.headers_mut(), grpc);
        } else if let Some(status) = status {
            *response.status_mut() = StatusCode::from_u16(status).expect("scenarios name statuses from 200 to 599");
        }
        response
    }

    /// Waits for a slot; tells how long.
    async fn slot(&self, number: Option<u64>) -> Result<(Slot, Duration), Full> {
        match self.slots.enter()? {
            Entry::Slot(slot) => Ok((slot, Duration::ZERO)),
            Entry::Turn(turn) => {
                let since = self.now();
                let ahead = self.spec().clock_ahead;
                let _queued = self.shared.ledger.hold(self.host.clock(), ahead, Gauge::Queued(self.service));
                self.note(&Note::Waits { request: number });
                let slot = turn.wait().await;
                Ok((slot, self.now().since(since)))
            }
        }
    }

    async fn do_route(
        self: &Arc<Self>,
        route: &RouteScript,
        line: Line,
        waited: Duration,
        passed_on: Arc<PassedOn>,
    ) -> Verdict {
        let drawn = self.dice(|dice| route.work.time.draw(&mut dice.time));
        let time = self.knobs.stretch(drawn, |fault| self.touch(fault));
        let began = self.now();
        {
            let mut book = self.shared.ledger.book();
            let written = &mut book.served[line.served];
            (written.began, written.time) = (began.into(), time.into());
        }
        let row = route.work.contention.map(|contention| {
            let row = self.dice(|dice| contention.row(&mut dice.rows));
            (contention, row, self.shared.ledger.book().commits.get(&(self.service, row)).copied())
        });
        self.note(&Note::Begins { request: line.number, waited, time });
        if !time.is_zero() {
            after(self.host.clock().as_ref(), time).await;
        }
        if let Some(status) = self.dice(|dice| self.knobs.failure(&mut dice.faults, |fault| self.touch(fault))) {
            return Verdict { status, why: "a fault of the scenario".to_owned(), bytes: 0 };
        }
        let error_ppm = route.work.error_ppm;
        if error_ppm > 0 && self.dice(|dice| dice.errors.below(1_000_000)) < u64::from(error_ppm) {
            return Verdict { status: route.work.error_status, why: "its own error rate".to_owned(), bytes: 0 };
        }
        if let Err(failed) = self.run_steps(&route.steps, line.number, passed_on).await {
            return Verdict { status: 500, why: failed.0, bytes: 0 };
        }
        if let Some((contention, row, before)) = row {
            let mut book = self.shared.ledger.book();
            let version = book.commits.entry((self.service, row)).or_default();
            if *version != before.unwrap_or(0) {
                book.served[line.served].conflict = true;
                return Verdict { status: contention.status, why: "another committed before it".to_owned(), bytes: 0 };
            }
            *version += 1;
        }
        Verdict { status: 200, why: String::new(), bytes: route.work.response_bytes }
    }

    fn response(&self, number: Option<u64>, verdict: &Verdict) -> Response<Payload> {
        let grpc = self.spec().grpc.then(|| grpc_status(verdict.status));
        let status = if grpc.is_some() { 200 } else { verdict.status };
        self.note(&Note::Answers { request: number, status, grpc, why: &verdict.why });
        let body = match grpc {
            Some(0) => Payload::grpc(verdict.bytes, 0),
            Some(_) | None => Payload::zeros(verdict.bytes),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).expect("scenarios name statuses from 200 to 599");
        let headers = response.headers_mut();
        if let Some(grpc) = grpc {
            grpc_headers(headers, grpc);
        }
        if !verdict.why.is_empty()
            && let Ok(why) = HeaderValue::from_str(&verdict.why)
        {
            headers.insert(WHY, why);
        }
        response
    }
}

/// The number of the load's request that a request is made for: load generators write it into `x-request-id`.
pub(crate) fn request_number(headers: &HeaderMap) -> Option<u64> {
    headers.get("x-request-id")?.to_str().ok()?.parse().ok()
}

/// What a gRPC service makes of a status.
fn grpc_status(status: u16) -> u8 {
    match status {
        ..400 => 0,
        503 => 14,
        404 => 12,
        _ => 13,
    }
}

/// Those of a gRPC answer; one that failed has nothing else.
fn grpc_headers(headers: &mut HeaderMap, status: u8) {
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if status != 0 {
        headers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    }
}
