//! What the property tests of requests are made of: settings, routes and events, drawn by proptest or read from bytes.

use std::time::Duration;

use super::super::{Ended, Failure};
use crate::mesh::{
    AbortWith, Adaptive, BackendPolicy, Backoff, Balancing, Breaker, Budget, ClientThrottle, FaultAbort, FaultDelay,
    Gradient, HashKey, HashTable, Hashing, HedgeAfter, Hedging, Jitter, Limits, Outliers, Queue, Rate, RateLimit,
    RetryBreaker, RetryBucket, RetryLimits, RetryOn, RetryPolicy, RetryShare, RetryThrottling, RouteFault,
    RouteTimeouts, Vegas, WhenDown,
};
use crate::{Deviation, Enforcing, SlowCalls, SuccessRate};

pub(super) const PODS: u8 = 5;
pub(super) const VARIANTS: u8 = 48;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Begin { idempotent: bool, deadline_ms: Option<u64>, route: u8, fault: u8 },
    Head { which: usize, status: u16, grpc: Option<u8>, retry_after_s: Option<u64>, replayable: bool },
    Fail { which: usize, failure: Failure, replayable: bool },
    BodyEnd { which: usize, ended: Ended },
    Cancel { which: usize },
    Advance { micros: u64 },
    Endpoints { present: u8, draining: u8 },
    Policy { variant: u8, limits: Limits },
}

pub(super) fn policy(variant: u8, limits: Limits) -> BackendPolicy {
    let balancing = match variant % 4 {
        0 => Balancing::default(),
        1 => Balancing::LeastRequest { choices: 3 },
        2 => Balancing::RoundRobin,
        _ if variant % 8 == 7 => Balancing::Hash(Hashing {
            table: HashTable::RING,
            keys: vec![HashKey::Path],
            bound_percent: Some(150),
            when_down: WhenDown::Next,
        }),
        _ => Balancing::Random,
    };
    let window = Duration::from_millis(300);
    let rate = SuccessRate { below_permille: 600, window, min_requests: 3 };
    let slower_than = Duration::from_millis(5 + u64::from(variant % 2) * 30);
    let slow = SlowCalls { slower_than, above_permille: 400, window, min_requests: 3 };
    let breaker = Breaker {
        consecutive_failures: (variant % 3 != 2).then_some(2),
        success_rate: (!variant.is_multiple_of(3)).then_some(rate),
        slow_calls: (variant % 4 > 1).then_some(slow),
        open_min: Duration::from_millis(50),
        open_max: Duration::from_millis(400),
        probes: 1 + u32::from(variant % 3),
        floor: u32::from(variant / 2 % 3),
        ..Breaker::default()
    };
    let service_breaker = Breaker { floor: 0, success_rate: Some(rate), ..breaker };
    let outliers = Outliers {
        consecutive_5xx: 3,
        interval: Duration::from_millis(100),
        base_ejection: Duration::from_millis(150),
        max_ejection: Duration::from_secs(1),
        max_ejection_percent: 60,
        floor: 1 + u32::from(variant % 2),
        split_local_origin: variant % 4 == 1,
        success_rate: Deviation { minimum_hosts: 2, request_volume: 2, stdev_factor: 900 },
        enforcing: Enforcing { consecutive_5xx: 70, failure_percentage: 50, ..Outliers::DEFAULT.enforcing },
        ..Outliers::default()
    };
    let budget = Budget { percent: 50, min_per_second: u32::from(variant % 3), window: Duration::from_secs(1) };
    BackendPolicy {
        balancing,
        breaker: (variant % 5 != 4).then_some(breaker),
        service_breaker: (variant % 4 == 3).then_some(service_breaker),
        outliers: (variant % 7 != 6).then_some(outliers),
        limits,
        rate: (variant % 8 == 7).then(|| RateLimit {
            total: Some(Rate { requests: 100, per: Duration::from_secs(1), burst: 3 }),
            ..RateLimit::default()
        }),
        budget: (variant % 4 != 3).then_some(budget),
        retry_limits: retry_limits(variant / 8),
        throttle: (variant % 9 == 8).then(|| ClientThrottle {
            min_requests: 2,
            k_permille: 1500,
            window: Duration::from_secs(1),
        }),
        hedging: hedging(variant),
        ..BackendPolicy::default()
    }
}

fn retry_limits(variant: u8) -> RetryLimits {
    RetryLimits {
        share: (variant % 2 == 1).then_some(RetryShare { percent: 40, min_concurrent: 1 }),
        bucket: (variant % 3 == 1).then_some(RetryBucket { deposit_permille: 400, size: 3 }),
        throttling: (variant % 3 == 2).then_some(RetryThrottling { max_tokens: 4, ratio_permille: 500 }),
        breaker: (variant > 3)
            .then(|| RetryBreaker { percent: 60, window: (variant > 4).then_some(Duration::from_secs(1)) }),
    }
}

fn hedging(variant: u8) -> Option<Hedging> {
    let after = match variant % 3 {
        0 => return None,
        1 => HedgeAfter::Delay(Duration::from_millis(4)),
        _ => HedgeAfter::Percentile { permille: 700, min_samples: 3, window: Duration::from_secs(1) },
    };
    Some(Hedging { after, attempts: 2 + u32::from(variant % 2), ..Hedging::default() })
}

pub(super) fn fault(kind: u8) -> Option<RouteFault> {
    let delay = (kind % 2 == 1).then(|| FaultDelay { span: Duration::from_millis(12), ppm: 600_000 });
    let with = if kind == 6 { AbortWith::Grpc(14) } else { AbortWith::Status(503) };
    let abort = (kind > 5).then_some(FaultAbort { with, ppm: 500_000 });
    (kind > 4).then(|| RouteFault { headers: Vec::new(), delay, abort })
}

pub(super) fn route(kind: u8) -> (RouteTimeouts, Option<RetryPolicy>) {
    let retry = RetryPolicy {
        retries: 1 + u32::from(kind),
        on: vec![
            RetryOn::ConnectFailure,
            RetryOn::Reset,
            RetryOn::RefusedStream,
            RetryOn::PerTryTimeout,
            RetryOn::GatewayError,
            RetryOn::Status(429),
            RetryOn::Grpc(14),
        ],
        backoff: Backoff { first: Duration::from_millis(2), last: Duration::from_millis(40), jitter: Jitter::Full },
        non_idempotent: kind == 2,
        buffer_bytes: 65_536,
    };
    let timeouts = RouteTimeouts {
        request: (kind > 0).then_some(Duration::from_millis(200)),
        per_try: (kind > 1).then_some(Duration::from_millis(30)),
        idle: None,
        stream: (kind == 3).then_some(Duration::from_millis(150)),
    };
    (timeouts, (kind < 4).then_some(retry))
}

/// Bytes as a fuzzer makes them: each is one choice, so that changing one changes little.
pub(super) struct Choices<'b>(pub(super) std::slice::Iter<'b, u8>);

impl Choices<'_> {
    pub(super) fn of(&mut self, most: u64) -> u64 {
        let byte = u64::from(self.0.next().copied().unwrap_or(0));
        if most <= 256 { byte % most } else { byte * most / 256 }
    }

    fn maybe(&mut self, most: u64) -> Option<u64> {
        (self.of(2) == 1).then(|| self.of(most))
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.of(of.len() as u64) as usize]
    }

    pub(super) fn limits(&mut self) -> Limits {
        let window = Duration::from_millis(10);
        Limits {
            in_flight: 1 + self.of(5) as u32,
            pending: self.of(6) as u32,
            queue_timeout: self.maybe(99).map(|ms| Duration::from_millis(1 + ms)),
            adaptive: match self.of(6) {
                0 => Some(Adaptive::Gradient(Gradient { min: 1, window, min_rtt_requests: 2, ..Gradient::default() })),
                1 => Some(Adaptive::Vegas(Vegas { initial: 1, window, ..Vegas::default() })),
                _ => None,
            },
            queue: Queue { priorities: self.of(2) == 1, deadline_aware: self.of(2) == 1, ..Queue::default() },
        }
    }

    pub(super) fn op(&mut self) -> Op {
        let which = |choices: &mut Self| choices.of(256) as usize;
        match self.of(26) {
            0..7 => Op::Begin {
                idempotent: self.of(5) > 0,
                deadline_ms: self.maybe(300),
                route: self.of(4) as u8,
                fault: self.of(8) as u8,
            },
            7..14 => Op::Head {
                which: which(self),
                status: self.one(&[200, 204, 404, 429, 500, 502, 503, 503]),
                grpc: self.one(&[None, None, None, Some(0), Some(5), Some(8), Some(13), Some(14)]),
                retry_after_s: self.one(&[None, None, None, Some(1)]),
                replayable: self.of(10) > 0,
            },
            14..17 => Op::Fail {
                which: which(self),
                failure: self.one(&[
                    Failure::ConnectRefused,
                    Failure::ConnectTimeout,
                    Failure::Tls,
                    Failure::Reset,
                    Failure::RefusedStream,
                    Failure::CallerGone,
                    Failure::Shortage,
                ]),
                replayable: self.of(10) > 0,
            },
            17..20 => Op::BodyEnd {
                which: which(self),
                ended: match self.of(6) {
                    0 => Ended::Broken,
                    1 => Ended::CallerGone,
                    _ => Ended::Complete { grpc: self.one(&[None, None, Some(0), Some(14)]) },
                },
            },
            20 => Op::Cancel { which: which(self) },
            21..24 => Op::Advance { micros: self.of(20_000) },
            24 => Op::Endpoints { present: self.of(256) as u8, draining: (self.of(256) & self.of(256)) as u8 },
            _ => match self.of(3) {
                0 => Op::Advance { micros: self.of(3_000_000) },
                _ => Op::Policy { variant: self.of(u64::from(VARIANTS)) as u8, limits: self.limits() },
            },
        }
    }
}

#[cfg(test)]
pub(super) mod strategies {
    use proptest::prelude::*;

    use super::*;
    use crate::mesh::{Codel, QueueOrder};

    /// Settings, and what happens.
    pub(crate) fn case() -> impl Strategy<Value = (u64, Limits, u8, Vec<Op>)> {
        (any::<u64>(), limits(), 0_u8..VARIANTS, prop::collection::vec(op(), 1..120))
    }

    fn op() -> impl Strategy<Value = Op> {
        let which = any::<usize>();
        let grpc = prop::option::weighted(0.2, prop::sample::select(vec![0_u8, 5, 8, 13, 14]));
        prop_oneof![
            8 => (prop::bool::weighted(0.8), prop::option::of(0_u64..300), 0_u8..4, 0_u8..8)
                .prop_map(|(idempotent, deadline_ms, route, fault)| Op::Begin { idempotent, deadline_ms, route, fault }),
            8 => (
                which,
                prop::sample::select(vec![200_u16, 204, 404, 429, 500, 502, 503, 503, 503]),
                grpc.clone(),
                prop::option::weighted(0.1, 0_u64..2),
                prop::bool::weighted(0.9),
            )
                .prop_map(|(which, status, grpc, retry_after_s, replayable)| Op::Head {
                    which, status, grpc, retry_after_s, replayable
                }),
            4 => (
                which,
                prop::sample::select(vec![
                    Failure::ConnectRefused,
                    Failure::ConnectTimeout,
                    Failure::Tls,
                    Failure::Reset,
                    Failure::RefusedStream,
                    Failure::CallerGone,
                    Failure::Shortage,
                ]),
                prop::bool::weighted(0.9),
            )
                .prop_map(|(which, failure, replayable)| Op::Fail { which, failure, replayable }),
            6 => (which, grpc, 0_u8..6).prop_map(|(which, grpc, kind)| Op::BodyEnd {
                which,
                ended: match kind {
                    0 => Ended::Broken,
                    1 => Ended::CallerGone,
                    _ => Ended::Complete { grpc },
                },
            }),
            1 => which.prop_map(|which| Op::Cancel { which }),
            6 => prop_oneof![0_u64..20_000, 0_u64..3_000_000].prop_map(|micros| Op::Advance { micros }),
            1 => (any::<u8>(), any::<u8>(), any::<u8>())
                .prop_map(|(present, a, b)| Op::Endpoints { present, draining: a & b }),
            1 => (0_u8..VARIANTS, limits()).prop_map(|(variant, limits)| Op::Policy { variant, limits }),
        ]
    }

    fn limits() -> impl Strategy<Value = Limits> {
        (1_u32..6, 0_u32..6, prop::option::of(1_u64..100), adaptive(), queue()).prop_map(
            |(in_flight, pending, queue_timeout, adaptive, queue)| Limits {
                in_flight,
                pending,
                queue_timeout: queue_timeout.map(Duration::from_millis),
                adaptive,
                queue,
            },
        )
    }

    fn adaptive() -> impl Strategy<Value = Option<Adaptive>> {
        let window = Duration::from_millis(10);
        let gradient = Gradient { min: 1, window, min_rtt_requests: 2, ..Gradient::default() };
        let vegas = Vegas { initial: 1, window, ..Vegas::default() };
        prop_oneof![
            4 => Just(None),
            1 => Just(Some(Adaptive::Gradient(gradient))),
            1 => Just(Some(Adaptive::Vegas(vegas))),
        ]
    }

    fn queue() -> impl Strategy<Value = Queue> {
        let codel = Codel { target: Duration::from_millis(1), interval: Duration::from_millis(5) };
        let order = QueueOrder::AdaptiveLifo { after: Duration::from_millis(10) };
        let other =
            (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(lifo, p, c, d)| Queue {
                order: if lifo { order } else { QueueOrder::Fifo },
                priorities: p,
                codel: c.then_some(codel),
                deadline_aware: d,
            });
        prop_oneof![Just(Queue::default()), other]
    }
}
