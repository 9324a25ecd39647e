//! Faults on purpose: what a route does to a try before it is sent.
//!
//! ```text
//!   try begins ─▶ dice: delay? ─▶ wait (as far as the try's and the request's time go) ─▶ dice: abort? ─▶ answered with it
//!                                                                                          └ no ─▶ pick an endpoint, send
//! ```
//!
//! An aborted try never gets to an endpoint: it says nothing about one, takes no permit and opens no breaker. To the retry
//! policy its status is like an endpoint's.
//!
//! Sources: Envoy's HTTP fault filter; gRPC's "HTTP to gRPC status code mapping" and `google.rpc.Code` for what stands for what.

use std::fmt;
use std::time::Duration;

use crate::Rng;
use crate::exchange::Answer;
use crate::mesh::{AbortWith, FaultAbort, FaultDelay, RouteFault};
use crate::reply::{LocalReply, Reason};
use crate::route::{RequestLine, has_headers};

/// What was done to a try on purpose, for history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Injected {
    /// Which try, from 1.
    pub attempt: u32,
    /// It begins so late; zero: at once.
    pub delay: Duration,
    /// It is answered with this HTTP status instead of being sent.
    pub abort: Option<u16>,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.delay.is_zero(), self.abort) {
            (false, None) => write!(f, "delayed by {:?}", self.delay),
            (true, Some(status)) => write!(f, "aborted with {status}"),
            (false, Some(status)) => write!(f, "delayed by {:?} and aborted with {status}", self.delay),
            (true, None) => f.write_str("left alone"),
        }
    }
}

/// The part of a [`RouteFault`] that a request meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    delay: Option<FaultDelay>,
    abort: Option<FaultAbort>,
}

impl RouteFault {
    /// Whether it is meant for this request.
    #[must_use]
    pub fn hits(&self, request: &RequestLine<'_>) -> bool {
        has_headers(&self.headers, request)
    }
}

impl Injection {
    pub(crate) fn of(fault: &RouteFault) -> Self {
        Self { delay: fault.delay, abort: fault.abort }
    }

    /// What happens to a try: how late it begins, and what it is answered with. `None`: nothing.
    pub(crate) fn draw(&self, dice: &mut Rng) -> Option<(Duration, Option<AbortWith>)> {
        // Both are drawn for each try, so that a change of one leaves the other's dice as they are.
        let delay = self.delay.filter(|delay| dice.below(1_000_000) < u64::from(delay.ppm));
        let abort = self.abort.filter(|abort| dice.below(1_000_000) < u64::from(abort.ppm));
        let span = mutant!("fault-delays-everybody", delay, self.delay).map_or(Duration::ZERO, |delay| delay.span);
        (delay.is_some() || abort.is_some()).then_some((span, abort.map(|abort| abort.with)))
    }
}

impl AbortWith {
    /// As a retry policy sees it.
    pub(crate) fn answer(self) -> Answer {
        let (status, grpc) = match self {
            Self::Status(status) => (status, None),
            Self::Grpc(code) => (200, Some(code)),
        };
        Answer { status, grpc, retry_after: None, replayable: true }
    }

    /// As the caller gets it.
    pub(crate) fn reply(self) -> LocalReply {
        let (status, grpc) = match self {
            Self::Status(status) => (status, grpc_of(status)),
            Self::Grpc(code) => (status_of(code), code),
        };
        LocalReply { status, grpc, reason: Reason::FaultInjected, retry_after: None }
    }
}

fn grpc_of(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

fn status_of(grpc: u8) -> u16 {
    match grpc {
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: FaultDelay = FaultDelay { span: Duration::from_secs(2), ppm: 250_000 };
    const ABORT: FaultAbort = FaultAbort { with: AbortWith::Status(503), ppm: 500_000 };

    fn shares(delay: Option<FaultDelay>, abort: Option<FaultAbort>) -> [u32; 4] {
        let mut dice = Rng::from_seed(5);
        let injection = Injection { delay, abort };
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[match injection.draw(&mut dice) {
                None => 0,
                Some((span, None)) if span == DELAY.span => 1,
                Some((Duration::ZERO, Some(AbortWith::Status(503)))) => 2,
                Some((span, Some(AbortWith::Status(503)))) if span == DELAY.span => 3,
                Some(other) => panic!("{other:?}"),
            }] += 1;
        }
        counts
    }

    #[test]
    fn delays_and_aborts_hit_their_shares_and_are_drawn_apart() {
        for (counts, want) in [
            (shares(None, None), [10_000, 0, 0, 0]),
            (shares(Some(DELAY), None), [7500, 2500, 0, 0]),
            (shares(None, Some(ABORT)), [5000, 0, 5000, 0]),
            (shares(Some(DELAY), Some(ABORT)), [3750, 1250, 3750, 1250]),
        ] {
            for (count, want) in counts.into_iter().zip(want) {
                // Five standard deviations of the most variable share.
                assert!(u32::abs_diff(count, want) <= if want % 10_000 == 0 { 0 } else { 250 }, "{counts:?} {want}");
            }
        }
    }

    #[test]
    fn what_hits_all_hits_all() {
        let all = Injection { delay: None, abort: Some(FaultAbort { ppm: 1_000_000, ..ABORT }) };
        let mut dice = Rng::from_seed(1);
        assert!((0..1000).all(|_| all.draw(&mut dice).is_some()));
    }

    #[test]
    fn a_status_stands_for_a_grpc_status_and_back() {
        for (with, status, grpc) in [
            (AbortWith::Status(503), 503, 14),
            (AbortWith::Status(500), 500, 2),
            (AbortWith::Status(429), 429, 14),
            (AbortWith::Grpc(14), 503, 14),
            (AbortWith::Grpc(8), 429, 8),
            (AbortWith::Grpc(2), 500, 2),
        ] {
            let reply = with.reply();
            assert_eq!((reply.status, reply.grpc, reply.reason), (status, grpc, Reason::FaultInjected), "{with:?}");
        }
    }
}
