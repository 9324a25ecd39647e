//! One request, from its head to the head of its answer: it asks the policy what to do, and does it.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body as _;
use squall_net::BoxFuture;
use squall_net::http::{BodyError, Incoming, Interim};
use squall_policy::{
    Asked, Attempt, Failure, Instant, LocalReply, Reason, RequestFacts, RequestLine, RetryPolicy, Route, RouteFault,
    RouteTimeouts, Step, pick_backend, request_hash,
};

use crate::accept::Gate;
use crate::admit::{Cell, Held, Log};
use crate::alarm::Alarms;
use crate::attempt::{self, Got, Order};
use crate::body::Source;
use crate::core::Core;
use crate::headers::{ATTEMPT_COUNT, REQUEST_ID};
use crate::identity::Keyring;
use crate::outside::Outside;
use crate::pool::Key;
use crate::reach::Fallback;
use crate::respond::{self, AnswerBody, Declined, Reply};
use crate::seen::Seen;
use crate::snapshot::{Snapshot, View};
use crate::trace::Trace;
use crate::tunnel::{self, Ask};
use crate::{HowEnded, Record, RequestNumber, Side, access, deadline, headers, judge, route};

/// The most that is read away of an answer that is not passed on, to keep its HTTP/1.1 connection.
const DISCARD_BYTES: usize = 64 * 1024;
/// The longest time it may take.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// What the requests of one connection share.
pub(crate) struct Site {
    pub(crate) core: Arc<Core>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) view: Arc<View>,
    pub(crate) door: Door,
    /// What a tunnel ends with.
    pub(crate) gate: Arc<Gate>,
    /// What wakes its requests.
    pub(crate) alarms: Alarms,
    /// Takes 1xx responses to the caller.
    pub(crate) interim: Interim,
    /// Where requests go that no route is for, if the connection was intercepted.
    pub(crate) fallback: Option<Fallback>,
}

/// Where a connection came in.
#[derive(Clone)]
pub(crate) enum Door {
    /// From the own application.
    Outbound,
    /// From outside the mesh, at a gateway.
    Gateway(Outside),
    /// From the mesh.
    Inbound {
        /// The application's port.
        port: u16,
        /// Who the peer proved to be.
        peer: Option<Arc<str>>,
    },
}

/// A body of a request from elsewhere may stand still for so many times as long as a head may take: 5 min, as in Envoy.
const UPLOAD_IDLE_HEADS: u32 = 30;

/// Where a request goes.
enum Way {
    /// And whether the route's fault is meant for the request.
    Route(Arc<Route>, bool),
    Application,
}

impl Way {
    fn name(&self) -> &str {
        match self {
            Self::Route(route, _) => &route.name,
            Self::Application => "inbound",
        }
    }

    fn timeouts(&self) -> RouteTimeouts {
        match self {
            Self::Route(route, _) => route.timeouts,
            Self::Application => RouteTimeouts::default(),
        }
    }

    fn retry(&self) -> Option<&RetryPolicy> {
        match self {
            Self::Route(route, _) => route.retry.as_ref(),
            Self::Application => None,
        }
    }

    /// The fault that the request meets.
    fn fault(&self) -> Option<&RouteFault> {
        match self {
            Self::Route(route, true) => route.fault.as_ref(),
            Self::Route(_, false) | Self::Application => None,
        }
    }
}

impl Site {
    fn side(&self) -> Side {
        match self.door {
            // A gateway's requests go out by routes, as an application's do.
            Door::Outbound | Door::Gateway(_) => Side::Outbound,
            Door::Inbound { .. } => Side::Inbound,
        }
    }

    /// How long a request's body may stand still before there is an answer. Who asks from elsewhere has a limit also where no route sets one:
    /// its request has a place that others wait for.
    fn upload_idle(&self, timeouts: RouteTimeouts) -> Option<Duration> {
        timeouts.idle.or_else(|| match self.door {
            Door::Outbound => None,
            Door::Gateway(_) | Door::Inbound { .. } => Some(self.gate.limits.head_timeout * UPLOAD_IDLE_HEADS),
        })
    }

    fn peer(&self) -> Option<&str> {
        match &self.door {
            Door::Outbound | Door::Gateway(_) => None,
            Door::Inbound { peer, .. } => peer.as_deref(),
        }
    }

    /// The hash of a request's key, if its backend balances by one.
    fn hash(&self, head: &Parts, cell: &Cell) -> Option<u64> {
        match self.door {
            Door::Inbound { .. } => None,
            Door::Outbound | Door::Gateway(_) => cell.policy(|policy| {
                route::with_line(head, "", |line| request_hash(&policy.balancing, line, self.core.own.as_deref()))
            }),
        }
    }

    /// The way of a request and the backend it leads to.
    fn find(&self, head: &Parts, authority: &str, request: RequestNumber) -> Result<(Way, Arc<Cell>), Declined> {
        let mesh = self.view.current().ok_or(Reply::NOT_READY)?;
        match &self.door {
            Door::Inbound { port, peer } => {
                let cell = mesh.inbound(*port).ok_or(Reply::UNKNOWN_PORT)?;
                let asked = Asked { peer: peer.as_deref(), http: Some((head.method.as_str(), head.uri.path())) };
                access::check(&self.core, mesh.access(*port), request, asked)?;
                Ok((Way::Application, Arc::clone(cell)))
            }
            Door::Outbound => {
                let find = |line: &RequestLine<'_>| {
                    let route = mesh.routes.find(line)?;
                    Some((Arc::clone(route), route.fault.as_ref().is_some_and(|fault| fault.hits(line))))
                };
                let found = route::with_line(head, authority, find).or_else(|| match &self.fallback {
                    Some(Fallback::Authority(authority)) => route::with_line(head, authority, find),
                    Some(Fallback::Backend(..)) | None => None,
                });
                if let (None, Some(Fallback::Backend(route, cell))) = (&found, &self.fallback) {
                    return Ok((Way::Route(Arc::clone(route), false), Arc::clone(cell)));
                }
                let (route, is_hit) = found.ok_or_else(|| LocalReply::of(Reason::NoRoute))?;
                self.follow(&mesh, head, authority, route, is_hit)
            }
            Door::Gateway(outside) => {
                let (route, is_hit) = outside.find(&mesh, head, authority)?;
                self.follow(&mesh, head, authority, route, is_hit)
            }
        }
    }

    /// Where a route leads.
    fn follow(
        &self,
        mesh: &Snapshot,
        head: &Parts,
        authority: &str,
        route: Arc<Route>,
        is_hit: bool,
    ) -> Result<(Way, Arc<Cell>), Declined> {
        // Whoever may have anything may not have a tunnel.
        if head.method == Method::CONNECT && route.matches.method.is_none() {
            return Err(Reply::CONNECT.into());
        }
        if let Some(redirect) = &route.redirect {
            return Err(Declined::elsewhere(&self.door, head, authority, redirect, &route.matches.path));
        }
        let name = self.core.roll(|dice| pick_backend(&route, dice).cloned());
        let cell = name.and_then(|name| mesh.backend(&name).map(Arc::clone));
        let cell = cell.ok_or_else(|| LocalReply::of(Reason::NoBackend))?;
        Ok((Way::Route(route, is_hit), cell))
    }
}

/// Answers one request. Its future is dropped when the caller goes away; everything is handed back then. Not an `async fn`, which keeps what it
/// is given twice.
#[expect(clippy::manual_async_fn, reason = "see above")]
pub(crate) fn request(
    site: Arc<Site>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, BodyError>> + Send {
    async move {
        let core = &site.core;
        let started = core.host.now();
        let (mut head, body) = request.into_parts();
        if let Door::Gateway(outside) = &site.door {
            outside.cleanse(&mut head);
        }
        let seen = Seen::of(&head.headers);
        headers::ensure_request_id(&mut head.headers, seen, || core.roll(|dice| [dice.bits(), dice.bits()]));
        let log = Log::begin(core, site.side(), started, None);
        let grpc = headers::is_grpc(&head.headers, seen);
        let ask = tunnel::ask(&mut head, body.is_end_stream(), || core.roll(|dice| [dice.bits(), dice.bits()]));
        let trace = trace(core, started, log.request, &mut head.headers, seen);
        let authority = route::authority(&head, seen);
        core.record(
            started,
            &Record::Started {
                request: log.request,
                side: log.side,
                method: head.method.as_str(),
                authority: authority.unwrap_or_default(),
                path: head.uri.path(),
                request_id: head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default(),
                peer: site.peer(),
            },
        );
        let found = authority
            .map_err(|unfit| Reply::from(unfit).into())
            .and_then(|authority| site.find(&head, authority, log.request));
        let found = found.and_then(|found| Ok((ask.map_err(Declined::from)?, found)));
        let (ask, (way, cell)) = match found {
            Ok(found) => found,
            Err(declined) => return Ok(refuse(log, grpc, declined)),
        };
        let deadline = route::deadline(&head, seen, started);
        let seen = prepare(&site, &mut head, seen, &way, trace);
        if let Some(ask) = &ask {
            ask.wanted().write(&mut head.headers);
        }
        // After the route's changes, so that a route can set the class.
        let mut facts = route::facts(&head, seen, deadline, site.peer());
        facts.hash = site.hash(&head, &cell);
        let timeouts = way.timeouts();
        let upload_idle = site.upload_idle(timeouts);
        let clock = upload_idle.filter(|_| !body.is_end_stream()).map(|_| Arc::clone(core.host.clock()));
        let hedging = cell.policy(|policy| policy.hedging.map(|hedging| hedging.buffer_bytes));
        let kept = way.retry().map(|retry| retry.buffer_bytes).or(hedging);
        let source = Source::new(body, kept.unwrap_or(0), clock);
        let held = begin(&cell, log, &way, facts, &source);
        let mut drive =
            Drive { site: &site, way: &way, grpc, head: Some(head), seen, repeats: kept.is_some(), source, ask, trace };
        drive.run(started, held).await
    }
}

/// The request's trace, if this proxy traces.
fn trace(
    core: &Core,
    now: Instant,
    request: RequestNumber,
    headers: &mut http::HeaderMap,
    seen: Seen,
) -> Option<Trace> {
    let sampling = core.tracing?;
    let trace = core.roll(|dice| Trace::begin(sampling, headers, seen, dice));
    if trace.sampled {
        let Trace { id, span, parent, .. } = trace;
        core.record(now, &Record::Traced { request, trace: id, span, parent, state: trace.state(headers) });
    }
    Some(trace)
}

fn begin(cell: &Arc<Cell>, mut log: Log, way: &Way, facts: RequestFacts<'_>, source: &Source) -> Held {
    log.meter = source.meter().map(Arc::clone);
    let (core, request, started) = (Arc::clone(&log.core), log.request, log.started);
    let mut held = Held::begin(cell, log, facts, way.timeouts(), way.retry());
    if let Some(fault) = way.fault() {
        held.inject(fault);
    }
    core.record(
        started,
        &Record::Routed { request, route: way.name(), backend: cell.name(), deadline: held.deadline() },
    );
    held
}

/// Changes of the head that hold for every try. The fields that it has then, at least.
fn prepare(site: &Site, head: &mut Parts, seen: Seen, way: &Way, trace: Option<Trace>) -> Seen {
    head.extensions = http::Extensions::new();
    headers::strip_hop_by_hop(&mut head.headers, seen);
    headers::strip_expect(&mut head.headers, seen);
    headers::count_forward(&head.method, &mut head.headers);
    match trace {
        Some(trace) => trace.write(&mut head.headers),
        None => headers::pass_trace_on(&mut head.headers, seen),
    }
    headers::set_client_cert(&mut head.headers, seen, site.peer());
    match way {
        Way::Route(route, _) if !route.request_headers.is_empty() => {
            headers::apply(&route.request_headers, &mut head.headers);
            Seen::of(&head.headers)
        }
        Way::Route(..) | Way::Application => seen,
    }
}

/// Answers a request that never got to a backend.
fn refuse(mut log: Log, grpc: bool, declined: Declined) -> Response<AnswerBody> {
    let now = log.core.host.now();
    let Declined { reply, location } = declined;
    // gRPC has no word for it; a client that does not follow sees a status that it does not know.
    let grpc = grpc && location.is_none();
    tell_reply(&mut log, now, grpc, reply);
    log.ended(now, HowEnded::Local);
    let mut answer = respond::local(&log.core, grpc, reply);
    if let Some(location) = location {
        answer.headers_mut().insert(http::header::LOCATION, *location);
    }
    answer
}

fn tell_reply(log: &mut Log, now: Instant, grpc: bool, reply: Reply) {
    log.status = if grpc { 200 } else { reply.status };
    log.grpc = grpc.then_some(reply.grpc);
    let Reply { status, grpc, reason, .. } = reply;
    log.core.record(now, &Record::Replied { request: log.request, status, grpc, reason });
}

/// A request under way.
struct Drive<'r> {
    site: &'r Site,
    way: &'r Way,
    grpc: bool,
    /// `None` once the only try has it.
    head: Option<Parts>,
    /// The fields of `head`, at least.
    seen: Seen,
    /// Another try may come.
    repeats: bool,
    source: Source,
    /// It asks for another protocol.
    ask: Option<Box<Ask>>,
    trace: Option<Trace>,
}

/// What can move a waiting request.
#[expect(clippy::large_enum_variant, reason = "it lives from one poll to the next line, on the stack")]
enum Event {
    Tried(Current, Result<Got, Failure>),
    Granted,
    Alarm,
}

/// A try under way.
#[derive(Clone, Copy)]
struct Current {
    number: u32,
    started: Instant,
}

/// A try beside the one that has the place of its own. Boxed: only hedges need it.
type Beside = (Current, BoxFuture<'static, Result<Got, Failure>>);

impl Drive<'_> {
    /// Does what the policy says until there is an answer. By reference: a future keeps what it takes by value twice.
    async fn run(&mut self, started: Instant, mut held: Held) -> Result<Response<AnswerBody>, BodyError> {
        let core = Arc::clone(&self.site.core);
        let request = held.log.request;
        let mut trying = pin!(None);
        let mut current: Option<Current> = None;
        let mut beside: Vec<Beside> = Vec::new();
        let mut got: Option<(u32, Got)> = None;
        let mut alarm = self.site.alarms.alarm(core.host.clock().as_ref());
        // Looked at once after each wait.
        let mut now = started;
        loop {
            let is_trying = current.is_some() || !beside.is_empty();
            let until = match held.step(now, is_trying) {
                Step::Try(attempt) => {
                    held.log.attempts = attempt.number;
                    core.record(now, &Record::Picked { request, attempt: &attempt });
                    let this = Current { number: attempt.number, started: now };
                    match self.order(&held, now, &attempt, is_trying) {
                        Some((order, request)) if current.is_none() => {
                            current = Some(this);
                            trying.set(Some(attempt::run(order, request)));
                        }
                        Some((order, request)) => beside.push((this, Box::pin(attempt::run(order, request)))),
                        None => held.on_failure(now, attempt.number, Failure::Reset, false),
                    }
                    continue;
                }
                Step::Wait { until, .. } => {
                    if !is_trying && held.log.attempts > 0 {
                        self.source.halt();
                    }
                    until
                }
                Step::Cancel(attempt) => {
                    let cancelled = if let Some((_, got)) = got.take_if(|(number, _)| *number == attempt) {
                        // Its head was judged and is not passed on.
                        discard(&core, got);
                        None
                    } else if let Some(this) = current.take_if(|current| current.number == attempt) {
                        trying.set(None);
                        Some(this)
                    } else {
                        let index = beside.iter().position(|(this, _)| this.number == attempt);
                        index.map(|index| beside.remove(index).0)
                    };
                    if let Some(Current { started, .. }) = cancelled {
                        let latency = now.since(started);
                        core.record(now, &Record::AttemptCancelled { request, attempt, latency });
                    }
                    continue;
                }
                Step::Forward(_) => {
                    let (_, got) = got.take().expect("a try is forwarded after its head came");
                    self.source.keep_no_more();
                    let changes = match self.way {
                        Way::Route(route, _) => &route.response_headers[..],
                        Way::Application => &[],
                    };
                    let timeouts = self.way.timeouts();
                    let status = got.response.status();
                    return Ok(match self.ask.take_if(|ask| ask.wanted().is_met_by(status)) {
                        Some(ask) => tunnel::open(&self.site.gate, held, got, *ask, changes, timeouts),
                        None => respond::forward(held, got, changes, timeouts),
                    });
                }
                Step::Reply(reply) => return Ok(self.reply(now, held, reply.into(), HowEnded::Local)),
                Step::Done => {
                    // Nobody is left to be answered: the caller's body broke.
                    held.close(HowEnded::CallerGone);
                    return Err("the caller broke off".into());
                }
            };
            let stalls_at = self.stalls_at(is_trying);
            alarm.set(until.into_iter().chain(stalls_at).min());
            let event = std::future::poll_fn(|cx| {
                // In this order: an answer that is there beats the time-out that comes with it, the older try's first.
                if let (Some(trying), Some(this)) = (trying.as_mut().as_pin_mut(), current)
                    && let Poll::Ready(tried) = trying.poll(cx)
                {
                    return Poll::Ready(Event::Tried(this, tried));
                }
                for (this, trying) in &mut beside {
                    if let Poll::Ready(tried) = trying.as_mut().poll(cx) {
                        return Poll::Ready(Event::Tried(*this, tried));
                    }
                }
                if !is_trying && held.poll_granted(cx).is_ready() {
                    return Poll::Ready(Event::Granted);
                }
                alarm.poll(cx).map(|()| Event::Alarm)
            })
            .await;
            now = core.host.now();
            if !is_trying {
                held.forget_ticket();
            }
            match event {
                Event::Granted => {}
                Event::Tried(this, tried) => {
                    if current.take_if(|current| current.number == this.number).is_some() {
                        trying.set(None);
                    }
                    beside.retain(|(other, _)| other.number != this.number);
                    if let Some(new) = self.judge(now, &mut held, this, tried) {
                        got = Some((this.number, new));
                    }
                }
                Event::Alarm => {
                    if until.is_some_and(|until| until <= now) {
                        held.on_deadline(now, self.source.replay());
                    } else if self.stalls_at(is_trying).is_some_and(|at| at <= now) {
                        trying.set(None);
                        return Ok(self.reply(now, held, Reply::IDLE, HowEnded::Idle));
                    }
                }
            }
        }
    }

    /// Tells the policy how a try went.
    fn judge(&self, now: Instant, held: &mut Held, this: Current, tried: Result<Got, Failure>) -> Option<Got> {
        let core = &self.site.core;
        let request = held.log.request;
        let Current { number: attempt, started } = this;
        let latency = now.since(started);
        let replayable = self.source.is_replayable();
        let wanted = self.ask.as_ref().map(|ask| ask.wanted());
        // What is no sound answer cannot be understood, and nothing after it on its connection: it is closed.
        let is_sound = |got: &Got| judge::is_sound(&got.response, got.seen, wanted);
        let tried = tried.and_then(|got| if is_sound(&got) { Ok(got) } else { Err(Failure::Reset) });
        match tried {
            Ok(got) => {
                let (head, body) = got.response.into_parts();
                let answer = judge::answer(&head, got.seen, replayable);
                let (status, grpc) = (head.status.as_u16(), answer.grpc);
                core.record(now, &Record::Head { request, attempt, status, grpc, latency });
                held.on_head(now, attempt, answer);
                Some(Got { response: Response::from_parts(head, body), ..got })
            }
            Err(failure) => {
                core.record(now, &Record::AttemptFailed { request, attempt, failure, latency });
                held.on_failure(now, attempt, failure, replayable);
                None
            }
        }
    }

    /// When the caller's body has stood still for too long. Only while it is sent: what is not read cannot move.
    fn stalls_at(&self, trying: bool) -> Option<Instant> {
        let idle = self.site.upload_idle(self.way.timeouts()).filter(|_| trying)?;
        let meter = self.source.meter().filter(|meter| !meter.is_ended())?;
        Some(meter.moved_at() + idle)
    }

    /// The request for one try. `None`: its body is gone.
    fn order(
        &mut self,
        held: &Held,
        now: Instant,
        attempt: &Attempt,
        is_trying: bool,
    ) -> Option<(Order, Request<crate::body::RequestBody>)> {
        let core = &self.site.core;
        let body = if is_trying { self.source.beside() } else { self.source.next() }?;
        let (protocol, tls, pool_idle) =
            held.cell().policy(|policy| (policy.protocol, policy.mutual_tls, policy.pool_idle));
        let protocol = tunnel::protocol(self.ask.as_deref(), protocol);
        // Before it is copied: a copy has no room for more fields.
        let fields = &mut self.head.as_mut()?.headers;
        fields.insert(ATTEMPT_COUNT, headers::decimal(attempt.number.into()));
        deadline::write(fields, self.seen, now, attempt.until, self.grpc, |ms| core.decimal(ms));
        if let Some(trace) = self.trace.filter(|trace| trace.sampled) {
            trace.write_try(fields, attempt.number);
        }
        // Kept only where another try may come.
        let mut head = if self.repeats { self.head.clone() } else { self.head.take() }?;
        route::address(&mut head, self.seen, protocol, tls);
        let order = Order {
            core: Arc::clone(core),
            secrets: if tls { self.site.keyring.current() } else { None },
            key: Key {
                address: attempt.endpoint.address,
                identity: tls.then(|| Arc::clone(&attempt.endpoint.identity)),
                protocol,
            },
            connect_timeout: attempt.connect_timeout,
            pool_idle,
            started: now,
            request: held.log.request,
            attempt: attempt.number,
            meter: self.source.meter().map(Arc::clone),
        };
        let mut request = Request::from_parts(head, body);
        attempt::relay_interim(&mut request, protocol, &self.site.interim);
        Some((order, request))
    }

    fn reply(&self, now: Instant, mut held: Held, reply: Reply, how: HowEnded) -> Response<AnswerBody> {
        let core = Arc::clone(&held.log.core);
        tell_reply(&mut held.log, now, self.grpc, reply);
        held.close(how);
        respond::local(&core, self.grpc, reply)
    }
}

/// Reads an unwanted answer away in the background, so that its HTTP/1.1 connection stays; a long or slow one is not worth it.
fn discard(core: &Arc<Core>, got: Got) {
    let Got { response, lease, pool_idle, seen: _ } = got;
    let mut body = response.into_body();
    if body.is_end_stream() {
        lease.give_back(&core.pool, &core.host, core.host.now(), pool_idle);
        return;
    }
    if lease.is_shared() || body.size_hint().lower() > DISCARD_BYTES as u64 {
        return;
    }
    let (task, alarm) = (Arc::clone(core), squall_net::after(core.host.clock().as_ref(), DISCARD_TIME));
    core.host.spawn("proxy discard", async move {
        let (core, mut alarm) = (task, alarm);
        let mut room = DISCARD_BYTES;
        let whole = std::future::poll_fn(|cx| {
            loop {
                match std::pin::Pin::new(&mut body).poll_frame(cx) {
                    Poll::Ready(None) => return Poll::Ready(true),
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                    Poll::Ready(Some(Ok(frame))) => {
                        let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                        let Some(left) = room.checked_sub(bytes) else { return Poll::Ready(false) };
                        room = left;
                    }
                    Poll::Pending => return alarm.as_mut().poll(cx).map(|()| false),
                }
            }
        })
        .await;
        if whole {
            lease.give_back(&core.pool, &core.host, core.host.now(), pool_idle);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    /// Each request in flight costs one of these, copied where it is spawned.
    #[test]
    fn the_future_of_a_request_stays_small() {
        let bytes = size_of_future(request);
        assert!(bytes <= 4096, "{bytes} bytes");
    }
}
