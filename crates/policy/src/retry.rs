//! Whether a failed try is worth repeating, and what counts as a failure of the endpoint.
//!
//! Two different questions. *Worth repeating* is what the route's `on` lists. *The endpoint's failure* (for breaker,
//! outliers and latency estimate) is fixed: a status of 500 or more, gRPC 4 DEADLINE_EXCEEDED, 8 RESOURCE_EXHAUSTED, 13
//! INTERNAL and 14 UNAVAILABLE, no connection, a break before the end, and a try that ran out of time. A caller who went
//! away says nothing.
//!
//! Methods that are not idempotent are repeated only where no server saw the request, unless the policy says otherwise
//! (RFC 9110 §9.2.2). `Retry-After` is honoured up to 300 s (Envoy's `rate_limited_retry_back_off`).

use std::time::Duration;

use crate::exchange::{Answer, Failure};
use crate::mesh::{Backoff, RetryOn, RetryPolicy};
use crate::verdict::Verdict;

const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The bits of 500 to 599 in [`Rules::statuses`].
const SERVER_ERRORS: [u64; 4] = [0, !0 << (100 - 64), !0, (1 << (200 - 192)) - 1];

/// A [`RetryPolicy`] as one request needs it: flat, so that beginning a request allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) non_idempotent: bool,
    connect: bool,
    reset: bool,
    refused: bool,
    per_try: bool,
    /// One bit per status 400 to 599.
    statuses: [u64; 4],
    /// One bit per gRPC status.
    grpc: u32,
}

/// Why a try is over without success.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It has a head.
    Head(Answer),
    /// It broke.
    Broke(Failure),
    /// Its own time ran out.
    PerTryTimeout,
}

impl Rules {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        let mut rules = Self {
            retries: policy.retries,
            backoff: policy.backoff,
            non_idempotent: policy.non_idempotent,
            connect: false,
            reset: false,
            refused: false,
            per_try: false,
            statuses: [0; 4],
            grpc: 0,
        };
        for &on in &policy.on {
            match on {
                RetryOn::ConnectFailure => rules.connect = true,
                RetryOn::Reset => rules.reset = true,
                RetryOn::RefusedStream => rules.refused = true,
                RetryOn::PerTryTimeout => rules.per_try = true,
                RetryOn::Status5xx => {
                    rules.statuses.iter_mut().zip(SERVER_ERRORS).for_each(|(known, all)| *known |= all);
                }
                RetryOn::GatewayError => (502..505).for_each(|status| rules.add_status(status)),
                RetryOn::Status(status) => rules.add_status(status),
                RetryOn::Grpc(status) => rules.grpc |= 1_u32.checked_shl(u32::from(status)).unwrap_or(0),
            }
        }
        rules
    }

    fn add_status(&mut self, status: u16) {
        if let Some(bit) = bit(status) {
            self.statuses[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Whether the policy lists this.
    pub(crate) fn lists(&self, fault: Fault) -> bool {
        match fault {
            Fault::Head(answer) => {
                bit(answer.status).is_some_and(|bit| self.statuses[bit / 64] >> (bit % 64) & 1 == 1)
                    || answer.grpc.is_some_and(|status| self.grpc.checked_shr(u32::from(status)).unwrap_or(0) & 1 == 1)
            }
            Fault::Broke(Failure::ConnectRefused | Failure::ConnectTimeout | Failure::Tls) => self.connect,
            Fault::Broke(Failure::Reset) => self.reset,
            Fault::Broke(Failure::RefusedStream) => self.refused,
            Fault::Broke(Failure::CallerGone | Failure::Shortage) => false,
            Fault::PerTryTimeout => self.per_try,
        }
    }
}

impl Fault {
    /// What it says about the endpoint, if it is no answer.
    pub(crate) fn verdict(self) -> Verdict {
        if matches!(self, Self::Broke(Failure::Shortage)) { Verdict::Nothing } else { Verdict::NO_ANSWER }
    }

    /// No server has processed the request.
    pub(crate) fn is_unseen(self) -> bool {
        match self {
            Self::Broke(
                Failure::ConnectRefused
                | Failure::ConnectTimeout
                | Failure::Tls
                | Failure::RefusedStream
                | Failure::Shortage,
            ) => true,
            Self::Broke(Failure::Reset | Failure::CallerGone) | Self::Head(_) | Self::PerTryTimeout => false,
        }
    }

    /// The wait that the endpoint asks for.
    pub(crate) fn retry_after(self) -> Duration {
        match self {
            Self::Head(answer) => mutant!(
                "retry-after-without-a-limit",
                answer.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX),
                answer.retry_after.unwrap_or_default(),
            ),
            Self::Broke(_) | Self::PerTryTimeout => Duration::ZERO,
        }
    }
}

fn bit(status: u16) -> Option<usize> {
    (400..600).contains(&status).then(|| usize::from(status) - 400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Jitter;

    fn rules(on: &[RetryOn]) -> Rules {
        Rules::new(&RetryPolicy {
            retries: 1,
            on: on.to_vec(),
            backoff: Backoff { first: Duration::from_millis(1), last: Duration::from_millis(1), jitter: Jitter::None },
            non_idempotent: false,
            buffer_bytes: 0,
        })
    }

    fn head(status: u16, grpc: Option<u8>) -> Fault {
        Fault::Head(Answer { status, grpc, retry_after: None, replayable: true })
    }

    const ALL: [RetryOn; 8] = [
        RetryOn::ConnectFailure,
        RetryOn::Reset,
        RetryOn::RefusedStream,
        RetryOn::PerTryTimeout,
        RetryOn::Status5xx,
        RetryOn::GatewayError,
        RetryOn::Status(429),
        RetryOn::Grpc(14),
    ];

    #[test]
    fn each_condition_lists_its_own_faults_and_no_other() {
        let faults: [(Fault, &[RetryOn]); 15] = [
            (Fault::Broke(Failure::ConnectRefused), &[RetryOn::ConnectFailure]),
            (Fault::Broke(Failure::ConnectTimeout), &[RetryOn::ConnectFailure]),
            (Fault::Broke(Failure::Tls), &[RetryOn::ConnectFailure]),
            (Fault::Broke(Failure::Reset), &[RetryOn::Reset]),
            (Fault::Broke(Failure::RefusedStream), &[RetryOn::RefusedStream]),
            (Fault::Broke(Failure::CallerGone), &[]),
            (Fault::Broke(Failure::Shortage), &[]),
            (Fault::PerTryTimeout, &[RetryOn::PerTryTimeout]),
            (head(500, None), &[RetryOn::Status5xx]),
            (head(599, None), &[RetryOn::Status5xx]),
            (head(503, None), &[RetryOn::Status5xx, RetryOn::GatewayError]),
            (head(505, Some(2)), &[RetryOn::Status5xx]),
            (head(429, None), &[RetryOn::Status(429)]),
            (head(200, Some(14)), &[RetryOn::Grpc(14)]),
            (head(499, Some(0)), &[]),
        ];
        for (fault, listed_by) in faults {
            for on in ALL {
                assert_eq!(rules(&[on]).lists(fault), listed_by.contains(&on), "{on:?} {fault:?}");
            }
        }
    }

    #[test]
    fn retry_after_is_capped() {
        let answer = Answer { status: 503, grpc: None, retry_after: Some(Duration::from_secs(999)), replayable: true };
        assert_eq!(Fault::Head(answer).retry_after(), Duration::from_secs(300));
        assert_eq!(Fault::PerTryTimeout.retry_after(), Duration::ZERO);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn a_status_is_listed_just_if_one_condition_names_it(
                wanted in prop::collection::vec(400_u16..600, 0..5),
                ranges in 0_u8..4,
                status in 100_u16..1000,
            ) {
                let mut on: Vec<_> = wanted.iter().map(|status| RetryOn::Status(*status)).collect();
                on.extend((ranges & 1 == 1).then_some(RetryOn::Status5xx));
                on.extend((ranges & 2 == 2).then_some(RetryOn::GatewayError));
                let want = wanted.contains(&status)
                    || (ranges & 1 == 1 && status / 100 == 5)
                    || (ranges & 2 == 2 && [502, 503, 504].contains(&status));
                prop_assert_eq!(rules(&on).lists(head(status, None)), want);
            }
        }
    }
}
