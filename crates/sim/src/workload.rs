//! The load generators: hosts that ask through their own sidecar, in open or closed loop.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use squall_net::{Host, after, timeout};
use squall_policy::{Protocol, Rng};

use crate::arrivals::{pick, weights};
use crate::client::{Answer, Client, NoAnswer, Question};
use crate::ledger::{Asked, Gauge, Maybe};
use crate::note::Note;
use crate::scenario::{Arrivals, Distribution, Drawn, Load};
use crate::shared::Shared;

/// The name of the header that carries a request's number through the mesh.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// One host of a load.
pub(crate) struct Generator {
    shared: Arc<Shared>,
    host: Host,
    /// The number of its host.
    id: u32,
    /// Index of its load.
    load: usize,
    client: Client,
    questions: Vec<Question>,
    /// The dice of headers that are drawn for each request.
    headers: Mutex<Rng>,
}

impl Generator {
    /// The generator on host number `id` of load number `load`, whose sidecar's outbound side is at `sidecar`.
    pub(crate) fn new(shared: &Arc<Shared>, host: &Host, id: u32, load: usize, sidecar: SocketAddr) -> Arc<Self> {
        let spec = &shared.scenario.load[load];
        let target = shared.targets.find(&spec.namespace, &spec.to.value);
        let service = target.map(|to| &shared.scenario.services[usize::from(to.0)]);
        let grpc = service.is_some_and(|service| service.grpc);
        // gRPC needs HTTP/2 all the way.
        let protocol = if grpc { Protocol::Http2 } else { spec.http };
        let door = target.and_then(|to| shared.targets.door(sidecar.ip(), to));
        let (sidecar, protocol) = door.map_or((sidecar, protocol), |door| (door, Protocol::Tcp));
        Arc::new(Self {
            shared: Arc::clone(shared),
            host: host.clone(),
            id,
            load,
            client: Client::new(host.clone(), sidecar, protocol),
            questions: questions(spec, grpc),
            headers: Mutex::new(host.rng("load headers")),
        })
    }

    /// Asks from the scenario's start to the end of the load; `index`: which of the load's hosts this is.
    pub(crate) async fn run(self: Arc<Self>, index: usize) {
        let start = self.shared.start.opened().await;
        let load = self.spec();
        match &load.arrivals {
            Arrivals::Open { .. } | Arrivals::Trace(_) => {
                while let Some(arrival) = self.next_arrival(index) {
                    self.host.clock().sleep_until(start + arrival.at).await;
                    let generator = Arc::clone(&self);
                    self.host.spawn("load request", async move {
                        generator.ask(arrival.kind).await;
                    });
                }
            }
            Arrivals::Closed { clients, think } => {
                let mine = (0..*clients).filter(|client| *client as usize % load.hosts as usize == index);
                for client in mine {
                    let rng = self.host.rng(&format!("client {client}"));
                    let (generator, think) = (Arc::clone(&self), think.clone());
                    self.host.spawn("load client", async move {
                        generator.client(start + generator.spec().from, rng, &think).await;
                    });
                }
            }
        }
    }

    async fn client(self: &Arc<Self>, from: squall_policy::Instant, rng: Rng, think: &Distribution) {
        let load = self.spec();
        let (mut thoughts, mut kinds) = (rng.fork("think"), rng.fork("kinds"));
        let weights = weights(&load.mix);
        let until = from + (load.until - load.from);
        self.host.clock().sleep_until(from).await;
        loop {
            let span = think.draw(&mut thoughts);
            if !span.is_zero() {
                after(self.host.clock().as_ref(), span).await;
            }
            if self.host.now() >= until || self.is_spent() {
                return;
            }
            self.ask(pick(&weights, &mut kinds)).await;
        }
    }

    /// Whether the load has sent all the requests it may.
    fn is_spent(&self) -> bool {
        self.spec().requests.is_some_and(|most| self.shared.ledger.book().sent[self.load] >= most)
    }

    fn next_arrival(&self, index: usize) -> Option<crate::arrivals::Arrival> {
        let schedule = self.shared.schedules[self.load].as_ref().expect("an open loop has a schedule");
        schedule.lock().unwrap_or_else(PoisonError::into_inner).next_for(index)
    }

    /// Asks once and waits for the answer, or until the time-out.
    async fn ask(&self, kind: usize) {
        let load = self.spec();
        let mut question = self.questions[kind].clone();
        let drawn = &load.mix[kind].drawn;
        if !drawn.is_empty() {
            let mut dice = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
            question.headers.extend(drawn_headers(drawn, &mut dice));
        }
        let arrived = self.host.now();
        let number = {
            let mut book = self.shared.ledger.book();
            book.sent[self.load] += 1;
            book.asked.push(Asked {
                arrived,
                ended: Maybe::NONE,
                status: 0,
                success: false,
                gave_up: false,
                timeout: load.timeout.into(),
            });
            book.asked.len() as u64
        };
        question.headers.push((REQUEST_ID, HeaderValue::from(number)));
        let (method, path) = (question.method.as_str(), question.path.as_str());
        self.note(&Note::Asked { request: number, method, path, to: &load.to.value });
        let answer = {
            let _asked = self.shared.ledger.hold(self.host.clock(), Duration::ZERO, Gauge::Asked);
            timeout(self.host.clock().as_ref(), arrived + load.timeout, self.client.ask(&question)).await
        };
        let ended = self.host.now();
        let latency = ended.since(arrived);
        self.note(&match answer {
            None => Note::GaveUp { request: number, after: load.timeout },
            Some(Err(NoAnswer)) => Note::Unanswered { request: number, latency },
            Some(Ok(Answer { status, grpc, whole, .. })) => {
                Note::Answered { request: number, status, grpc, whole, latency }
            }
        });
        let answers = {
            let mut book = self.shared.ledger.book();
            let line = &mut book.asked[number as usize - 1];
            line.ended = ended.into();
            line.gave_up = answer.is_none();
            if let Some(Ok(answer)) = answer {
                line.status = if answer.whole { answer.status } else { 0 };
                line.success = answer.is_success();
            }
            book.answered += 1;
            book.answered
        };
        self.shared.after_answer(answers).await;
    }

    fn spec(&self) -> &Load {
        &self.shared.scenario.load[self.load]
    }

    fn note(&self, note: &Note<'_>) {
        self.shared.journal.note(self.host.now(), self.id, note);
    }
}

/// Headers drawn for one request.
pub(crate) fn drawn_headers<'d>(
    drawn: &'d [(String, Drawn)],
    dice: &'d mut Rng,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> + 'd {
    drawn.iter().map(|(name, drawn)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the scenario's headers were checked");
        (name, HeaderValue::from_str(&drawn.draw(dice)).expect("the scenario's headers were checked"))
    })
}

fn questions(load: &Load, grpc: bool) -> Vec<Question> {
    let question = |request: &crate::scenario::Request| {
        let mut headers: Vec<(HeaderName, HeaderValue)> = request
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).expect("the scenario's headers were checked"),
                    HeaderValue::from_str(value).expect("the scenario's headers were checked"),
                )
            })
            .collect();
        if grpc {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
            headers.push((http::header::TE, HeaderValue::from_static("trailers")));
        }
        Question {
            method: Method::from_bytes(request.method.as_bytes()).expect("the scenario's methods were checked"),
            authority: load.to.value.parse().expect("the scenario's host names were checked"),
            path: request.path.parse().expect("the scenario's paths were checked"),
            headers,
            body_bytes: request.request_bytes,
        }
    };
    load.mix.iter().map(question).collect()
}
