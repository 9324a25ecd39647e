//! One try: a connection from the pool or a new one, the request over it, and the head of the answer.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use squall_net::http::{Incoming, Interim, on_interim, was_not_sent};
use squall_net::timeout;
use squall_policy::{AttemptNumber, Failure, Instant, Protocol};

use crate::body::{Meter, RequestBody};
use crate::connect;
use crate::core::Core;
use crate::headers;
use crate::identity::Secrets;
use crate::judge;
use crate::pool::{Found, Key, Lease};
use crate::seen::Seen;
use crate::{Record, RequestNumber};

/// What a try needs.
pub(crate) struct Order {
    pub(crate) core: Arc<Core>,
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) key: Key,
    pub(crate) connect_timeout: Duration,
    /// How long its connection may stay unused afterwards.
    pub(crate) pool_idle: Option<Duration>,
    pub(crate) started: Instant,
    pub(crate) request: RequestNumber,
    pub(crate) attempt: AttemptNumber,
    /// The caller's body, to tell whose fault a break is.
    pub(crate) meter: Option<Arc<Meter>>,
}

/// An answer's head, with the connection its body comes over.
pub(crate) struct Got {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) pool_idle: Option<Duration>,
    /// The fields of the head.
    pub(crate) seen: Seen,
}

/// Makes the try. Dropping it cancels the try: an HTTP/1.1 connection is closed, an HTTP/2 stream reset. Not an `async fn`: it would keep
/// what it is given twice, and copy it.
#[expect(clippy::manual_async_fn, reason = "see above")]
pub(crate) fn run(order: Order, mut request: Request<RequestBody>) -> impl Future<Output = Result<Got, Failure>> {
    async move {
        let started = order.started;
        let mut asked_at = started;
        loop {
            let (mut lease, reused, now) = lease(&order, asked_at).await?;
            order.core.record(
                now,
                &Record::Connected { request: order.request, attempt: order.attempt, reused, took: now.since(started) },
            );
            match lease.sender.try_send(request).await {
                Ok(response) => {
                    let seen = Seen::of(response.headers());
                    return Ok(Got { response, lease, pool_idle: order.pool_idle, seen });
                }
                Err(unsent) => match unsent.request {
                    // A pooled connection was closed by its peer before a byte of this request was written: not a failed
                    // try, and not worth a retry of the policy's. The next one is another connection, at last a new one.
                    Some(back) if reused => (request, asked_at) = (back, order.core.host.now()),
                    Some(_) | None => {
                        let caller_broke = order.meter.as_ref().is_some_and(|meter| meter.is_broken());
                        return Err(judge::send_failure(was_not_sent(&unsent.error), caller_broke));
                    }
                },
            }
        }
    }
}

/// Lets the endpoint's interim responses (1xx) through to a caller who understands them (RFC 9110 §15.2).
pub(crate) fn relay_interim(request: &mut Request<RequestBody>, protocol: Protocol, interim: &Interim) {
    if protocol == Protocol::Http1 && interim.is_open() {
        let interim = interim.clone();
        on_interim(request, move |status, headers| {
            let mut headers = headers.clone();
            let seen = Seen::of(&headers);
            headers::strip_hop_by_hop(&mut headers, seen);
            interim.send(status, &headers);
        });
    }
}

/// A connection, whether it was there before, and when it was.
async fn lease(order: &Order, asked_at: Instant) -> Result<(Lease, bool, Instant), Failure> {
    let core = &order.core;
    let until = order.started + order.connect_timeout;
    let mut now = asked_at;
    loop {
        match core.pool.find(&order.key, now) {
            Found::Ready(lease) => return Ok((lease, true, now)),
            Found::Make(making) => {
                // Boxed: it is large and seldom.
                let opening = Box::pin(connect::open(core, order.secrets.clone(), &order.key));
                return match timeout(core.host.clock().as_ref(), until, opening).await {
                    Some(Ok(sender)) => {
                        if let Some(idle) = order.pool_idle {
                            core.pool.sweep_at(&core.host, core.host.now() + idle);
                        }
                        Ok((making.made(sender, &core.host, order.pool_idle), false, core.host.now()))
                    }
                    Some(Err(failure)) => Err(making.failed(failure)),
                    None => Err(making.failed(Failure::ConnectTimeout)),
                };
            }
            Found::Soon(connecting) => match timeout(core.host.clock().as_ref(), until, connecting.wait()).await {
                Some(Ok(())) => now = core.host.now(),
                Some(Err(failure)) => return Err(failure),
                None => return Err(Failure::ConnectTimeout),
            },
        }
    }
}
