//! A connection that is carried as bytes: it gets a place, an endpoint and a connection to it by the same policy as a request
//! does, and then its bytes go both ways until it ends.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use squall_net::detect::LOOK_BYTES;
use squall_net::{BoxFuture, Carried, Conn, RelayEnd, RelayLimits, RelayOutcome, relay, timeout};
use squall_policy::{
    Answer, Asked, Attempt, AttemptNumber, Authorization, Ended, Failure, Instant, Replay, RequestFacts, RetryOn,
    RetryPolicy, RouteTimeouts, Step, StreamPolicy,
};
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::accept::Gate;
use crate::admit::{Cell, Held, Log};
use crate::core::Core;
use crate::identity::Secrets;
use crate::{HowEnded, Record, Side, access, judge};

/// A connection that came in, and what is known of it.
pub(crate) struct Incoming {
    pub(crate) conn: Conn,
    /// What was read of it already.
    pub(crate) already: Bytes,
    pub(crate) side: Side,
    /// Where it was meant to go, for people.
    pub(crate) dialed: String,
    /// Who the peer proved to be.
    pub(crate) peer: Option<Arc<str>>,
    /// Who may connect; `None`: everybody.
    pub(crate) access: Option<Arc<Authorization>>,
}

/// Carries the connection to an endpoint of `cell`, to its end.
pub(crate) async fn carry(gate: &Gate, incoming: Incoming, cell: &Arc<Cell>, route: &str, policy: StreamPolicy) {
    let core = &gate.core;
    let Incoming { mut conn, already, side, dialed, peer, access } = incoming;
    let started = core.host.now();
    let carried = Arc::<Carried>::default();
    let log = Log::begin(core, side, started, Some(Arc::clone(&carried)));
    let request = log.request;
    core.record(started, &Record::Opened { request, side, dialed: &dialed, peer: peer.as_deref() });
    let asked = Asked { peer: peer.as_deref(), http: None };
    if access::check(core, access.as_ref(), request, asked).is_err() {
        conn.abort();
        let ended = Record::Closed {
            request,
            side,
            attempts: 0,
            total: Duration::ZERO,
            bytes_up: 0,
            bytes_down: 0,
            how: HowEnded::Local,
        };
        return core.record(started, &ended);
    }
    let facts = RequestFacts { idempotent: true, caller: peer.as_deref(), ..RequestFacts::default() };
    let retry = retry_policy(policy);
    let mut held = Held::begin(cell, log, facts, RouteTimeouts::default(), retry.as_ref());
    core.record(started, &Record::Routed { request, route, backend: cell.name(), deadline: None });
    let mut caller = Caller { conn, already: BytesMut::from(&already[..]), is_watched: true };
    match connect(gate, &mut held, &mut caller).await {
        Connected::To(endpoint) => {
            held.on_connected();
            let Caller { conn, already, .. } = caller;
            let limits = RelayLimits { idle: policy.idle, until: policy.longest.map(|longest| started + longest) };
            let outcome = relay(core.host.clock(), conn, already.freeze(), endpoint, limits, &carried).await;
            // What a connection came to after it was made says nothing about its endpoint: many end with a reset.
            let (ended, how) = match outcome {
                RelayOutcome::Complete => (Ended::Complete { grpc: None }, HowEnded::Complete),
                RelayOutcome::Idle => (Ended::CallerGone, HowEnded::Idle),
                RelayOutcome::TooLong => (Ended::CallerGone, HowEnded::TooLong),
                RelayOutcome::Broken(RelayEnd::Caller, _) => (Ended::CallerGone, HowEnded::CallerGone),
                RelayOutcome::Broken(RelayEnd::Endpoint, _) => (Ended::CallerGone, HowEnded::Broken),
            };
            held.finish(ended, how);
        }
        Connected::Refused => {
            // With a reset: nobody should take this for an answer.
            caller.conn.abort();
            held.close(HowEnded::Local);
        }
        Connected::Gone => held.close(HowEnded::CallerGone),
    }
}

/// Only connections that did not come about are tried again.
fn retry_policy(policy: StreamPolicy) -> Option<RetryPolicy> {
    (policy.retries > 0).then(|| RetryPolicy {
        retries: policy.retries,
        on: vec![RetryOn::ConnectFailure],
        backoff: policy.backoff,
        non_idempotent: false,
        buffer_bytes: 0,
    })
}

/// A try under way: its number, and when it began.
type Dialing = (AttemptNumber, Instant, BoxFuture<'static, Result<Conn, Failure>>);

/// How the way to an endpoint ended.
enum Connected {
    To(Conn),
    Refused,
    Gone,
}

/// What can move a waiting connection.
enum Event {
    Dialed(Result<Conn, Failure>),
    Granted,
    Alarm,
    CallerGone,
}

/// Does what the policy says until there is a connection to an endpoint, or none will be.
async fn connect(gate: &Gate, held: &mut Held, caller: &mut Caller) -> Connected {
    let core = &gate.core;
    let request = held.log.request;
    let mut dialing: Option<Dialing> = None;
    let mut got: Option<Conn> = None;
    loop {
        let now = core.host.now();
        let until = match held.step(now, dialing.is_some()) {
            Step::Try(attempt) => {
                held.log.attempts = attempt.number;
                core.record(now, &Record::Picked { request, attempt: &attempt });
                let mutual_tls = held.cell().policy(|policy| policy.mutual_tls);
                let secrets = gate.keyring.current();
                let (number, core) = (attempt.number, Arc::clone(core));
                let dial = Box::pin(async move { dial(&core, secrets, &attempt, mutual_tls).await });
                dialing = Some((number, now, dial));
                continue;
            }
            Step::Wait { until, .. } => until,
            Step::Cancel(attempt) => {
                got = None;
                if let Some((_, started, _)) = dialing.take() {
                    let now = core.host.now();
                    let latency = now.since(started);
                    core.record(now, &Record::AttemptCancelled { request, attempt, latency });
                }
                continue;
            }
            Step::Forward(_) => return Connected::To(got.take().expect("a try is forwarded after it was connected")),
            Step::Reply(reply) => {
                let reason = reply.reason.as_str();
                core.record(core.host.now(), &Record::Replied { request, status: 0, grpc: 0, reason });
                return Connected::Refused;
            }
            Step::Done => return Connected::Gone,
        };
        let mut alarm = until.map(|until| core.host.clock().sleep_until(until));
        let is_dialing = dialing.is_some();
        let event = std::future::poll_fn(|cx| {
            if let Some((.., dialing)) = &mut dialing
                && let Poll::Ready(dialed) = dialing.as_mut().poll(cx)
            {
                return Poll::Ready(Event::Dialed(dialed));
            }
            if !is_dialing && held.poll_granted(cx).is_ready() {
                return Poll::Ready(Event::Granted);
            }
            if caller.poll_gone(cx).is_ready() {
                return Poll::Ready(Event::CallerGone);
            }
            match &mut alarm {
                Some(alarm) => alarm.as_mut().poll(cx).map(|()| Event::Alarm),
                None => Poll::Pending,
            }
        })
        .await;
        if !is_dialing {
            held.forget_ticket();
        }
        let now = core.host.now();
        match event {
            Event::Granted => {}
            Event::Alarm => held.on_deadline(now, Replay::AtOnce),
            Event::CallerGone => return Connected::Gone,
            Event::Dialed(dialed) => {
                let Some((attempt, started, _)) = dialing.take() else { continue };
                let took = now.since(started);
                match dialed {
                    Ok(conn) => {
                        core.record(now, &Record::Connected { request, attempt, reused: false, took });
                        got = Some(conn);
                        let answer = Answer { status: 200, grpc: None, retry_after: None, replayable: false };
                        held.on_head(now, attempt, answer);
                    }
                    Err(failure) => {
                        core.record(now, &Record::AttemptFailed { request, attempt, failure, latency: took });
                        held.on_failure(now, attempt, failure, true);
                    }
                }
            }
        }
    }
}

/// Connects to the endpoint of a try, and lets it prove who it is.
async fn dial(
    core: &Core,
    secrets: Option<Arc<Secrets>>,
    attempt: &Attempt,
    mutual_tls: bool,
) -> Result<Conn, Failure> {
    let dialing = async {
        let conn =
            core.host.net().connect(attempt.endpoint.address).await.map_err(|error| judge::connect_failure(&error))?;
        if !mutual_tls {
            return Ok(conn);
        }
        // As for requests: refused, never sent in the clear.
        let expected = &attempt.endpoint.identity;
        let Some(secrets) = secrets.filter(|_| !expected.is_empty()) else { return Err(Failure::Tls) };
        let secured = secrets.tcp.connect(conn, expected).await;
        Ok(secured.map_err(|error| judge::tls_failure(&error))?.conn)
    };
    let until = core.host.now() + attempt.connect_timeout;
    timeout(core.host.clock().as_ref(), until, dialing).await.unwrap_or(Err(Failure::ConnectTimeout))
}

/// The caller, who may go while the endpoint is not there yet.
struct Caller {
    conn: Conn,
    /// What was read of it.
    already: BytesMut,
    /// It is read on, to see that it is still there.
    is_watched: bool,
}

impl Caller {
    /// Ready when it has broken off. Keeps what it says, up to a limit; who has said more, or ended, is heard later.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.is_watched {
            let mut part = [0; 2048];
            let room = LOOK_BYTES.saturating_sub(self.already.len()).min(part.len());
            if room == 0 {
                self.is_watched = false;
                break;
            }
            let mut part = ReadBuf::new(&mut part[..room]);
            match Pin::new(&mut self.conn).poll_read(cx, &mut part) {
                Poll::Ready(Ok(())) if part.filled().is_empty() => self.is_watched = false,
                Poll::Ready(Ok(())) => self.already.extend_from_slice(part.filled()),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }
}

/// The first bytes of `conn` and what they tell; at `until` they are taken for what nobody knows. `Err`: it broke, or ended without
/// a byte.
pub(crate) async fn look(
    core: &Core,
    conn: &mut Conn,
    until: Instant,
) -> io::Result<(squall_net::detect::Spoken, Bytes)> {
    use squall_net::detect::{Look, Spoken, detect};
    let mut first = BytesMut::new();
    let looking = async {
        loop {
            let mut part = [0; 2048];
            let room = (LOOK_BYTES - first.len()).min(part.len());
            let mut part = ReadBuf::new(&mut part[..room]);
            std::future::poll_fn(|cx| Pin::new(&mut *conn).poll_read(cx, &mut part)).await?;
            if part.filled().is_empty() {
                let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
                return if first.is_empty() { Err(ended) } else { Ok(Spoken::Other) };
            }
            first.extend_from_slice(part.filled());
            if let Look::Is(spoken) = detect(&first) {
                return Ok(spoken);
            }
        }
    };
    let spoken = timeout(core.host.clock().as_ref(), until, pin!(looking)).await;
    Ok((spoken.unwrap_or(Ok(Spoken::Other))?, first.freeze()))
}
