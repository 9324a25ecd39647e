//! Breakers of endpoints and of the whole, floors, and ejection by shares, seen through requests.

use squall_policy::{
    BackendEvent, Balancing, BreakerConfig, Deviation, Ejection, Enforcing, HealthCheck, OutlierConfig, Probe,
    ProbeResult, Reason, SlowCalls, SuccessRate, Trip,
};

use super::*;

/// Opens for 10 s, and not longer.
const OPEN: BreakerConfig = BreakerConfig {
    open_min: Duration::from_secs(10),
    open_max: Duration::from_secs(10),
    jitter_permille: 0,
    ..BreakerConfig::DEFAULT
};

fn by_rate(below_permille: u32, min_requests: u32) -> BreakerConfig {
    let rate = SuccessRate { below_permille, window: Duration::from_secs(10), min_requests };
    BreakerConfig { consecutive_failures: None, success_rate: Some(rate), ..OPEN }
}

/// Slow from 100 ms on; more than half of three or more.
fn by_speed() -> BreakerConfig {
    let slow = SlowCalls { min_requests: 3, ..SlowCalls::slower_than(Duration::from_millis(100)) };
    BreakerConfig { consecutive_failures: None, slow_calls: Some(slow), ..OPEN }
}

fn in_turn(policy: BackendPolicy) -> BackendPolicy {
    BackendPolicy { balancing: Balancing::RoundRobin, ..policy }
}

/// A request in flight.
fn begin(backend: &mut Backend, now: Instant) -> Result<(Exchange, Attempt), Reason> {
    let mut exchange = Exchange::begin(now, backend, GET, RouteTimeouts::default(), None);
    match exchange.step(now, backend) {
        Step::Try(attempt) => Ok((exchange, attempt)),
        Step::Reply(reply) => Err(reply.reason),
        other @ (Step::Wait { .. } | Step::Cancel(_) | Step::Forward(_) | Step::Done) => panic!("{other:?}"),
    }
}

fn answer(backend: &mut Backend, now: Instant, mut exchange: Exchange, status: u16) {
    exchange.on_head(now, backend, 1, head(status));
    assert_eq!(exchange.step(now, backend), Step::Forward(1));
    exchange.on_body_end(now, backend, Ended::Complete { grpc: None });
}

/// One request from its arrival to its end, all at one moment.
fn once(backend: &mut Backend, now: Instant, status: impl Fn(&str) -> u16) -> Result<Arc<str>, Reason> {
    let (exchange, attempt) = begin(backend, now)?;
    answer(backend, now, exchange, status(&attempt.endpoint.name));
    Ok(Arc::clone(&attempt.endpoint.name))
}

fn events(backend: &mut Backend) -> Vec<BackendEvent> {
    std::iter::from_fn(|| backend.poll_event()).collect()
}

#[test]
fn the_breaker_of_the_whole_refuses_everything_at_once_and_closes_after_a_probe() {
    let policy = BackendPolicy { service_breaker: Some(by_rate(700, 10)), ..BackendPolicy::default() };
    let mut backend = backend(in_turn(policy), 3);
    let shard_down = |name: &str| if name == "pod-1" { 503 } else { 200 };
    let served = (0..11).filter(|n| once(&mut backend, ms(*n), shard_down).is_ok()).count();
    assert_eq!(served, 11);
    // 7 of 10 were enough.
    let why = Trip::SuccessRate { successes: 7, of: 11 };
    assert_eq!(events(&mut backend), [BackendEvent::ServiceBreakerOpened { until: ms(10_010), why }]);
    assert_eq!(once(&mut backend, ms(10_009), shard_down), Err(Reason::BreakerOpen));
    let pod = once(&mut backend, ms(10_010), |_| 200).expect("a probe");
    assert_eq!(&*pod, "pod-2", "in turn, and nothing was picked for who was refused");
    assert_eq!(events(&mut backend), [BackendEvent::ServiceBreakerHalfOpen, BackendEvent::ServiceBreakerClosed]);
}

/// One of three shards is dead; a threshold of 30 % failures (Netflix and others: where the breaker sits decides).
#[test]
fn the_breaker_of_the_whole_serves_nothing_where_the_breakers_of_the_endpoints_serve_two_thirds() {
    let shares = |policy: BackendPolicy| {
        // Each shard is asked in turn; a request cannot go elsewhere, so each has a backend of its own but for the breaker of
        // the whole, which sees all three.
        let shared = policy.service_breaker.is_some();
        let mut backends: Vec<Backend> = (0..if shared { 1 } else { 3 })
            .map(|_| backend(in_turn(policy.clone()), if shared { 3 } else { 1 }))
            .collect();
        let mut good = 0;
        for n in 0..3000_u64 {
            let shard = n as usize % backends.len();
            let dead = |name: &str| if shared { name == "pod-1" } else { shard == 1 };
            let served = once(&mut backends[shard], ms(1000 + n), |name| if dead(name) { 503 } else { 200 });
            good += u64::from(n >= 300 && served.is_ok_and(|name| !dead(&name)));
        }
        good * 1000 / 2700
    };
    let breaker = Some(by_rate(700, 20));
    assert_eq!(shares(BackendPolicy { service_breaker: breaker, ..BackendPolicy::default() }), 0);
    assert_eq!(shares(BackendPolicy { breaker, ..BackendPolicy::default() }), 666);
}

#[test]
fn both_kinds_of_breakers_work_at_once_each_by_its_own_counts() {
    let endpoints = BreakerConfig { consecutive_failures: Some(2), ..OPEN };
    let whole = BreakerConfig { consecutive_failures: Some(4), open_min: Duration::from_secs(5), ..OPEN };
    let policy = BackendPolicy { breaker: Some(endpoints), service_breaker: Some(whole), ..BackendPolicy::default() };
    let mut backend = backend(in_turn(policy), 2);
    let refused = (0..9).find_map(|_| once(&mut backend, ms(0), |_| 500).err());
    // Both endpoints opened, and the whole with the last failure: it is asked first.
    assert_eq!(refused, Some(Reason::BreakerOpen));
    assert_eq!(events(&mut backend).len(), 3);
    assert_eq!(once(&mut backend, ms(5_000), |_| 200), Err(Reason::NoneAvailable));
    assert!(once(&mut backend, ms(10_000), |_| 200).is_ok());
    assert_eq!(events(&mut backend).len(), 4, "half-open and closed, twice");
}

#[test]
fn a_queued_request_is_refused_too_when_the_whole_opens() {
    let whole = BreakerConfig { consecutive_failures: Some(1), ..OPEN };
    let limits = Limits { in_flight: 1, ..Limits::default() };
    let policy = BackendPolicy { service_breaker: Some(whole), limits, ..BackendPolicy::default() };
    let mut backend = backend(policy, 1);
    let (first, _) = begin(&mut backend, ms(0)).expect("a place");
    let mut second = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), None);
    assert!(matches!(second.step(ms(0), &mut backend), Step::Wait { why: "queue", .. }));
    answer(&mut backend, ms(1), first, 500);
    assert_eq!(backend.poll_granted(), Some(second.ticket()));
    let Step::Reply(reply) = second.step(ms(1), &mut backend) else { panic!("it is refused") };
    assert_eq!((reply.status, reply.reason), (503, Reason::BreakerOpen));
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn calls_that_hang_count_as_slow_while_they_hang() {
    let policy = BackendPolicy { breaker: Some(by_speed()), ..BackendPolicy::default() };
    let mut backend = backend(in_turn(policy), 1);
    let mut hanging: Vec<_> = (0..3).map(|n| begin(&mut backend, ms(n * 10)).expect("it is closed").0).collect();
    // One has its head in time; two hang. Only the third makes them enough.
    hanging[0].on_head(ms(99), &mut backend, 1, head(200));
    assert_eq!(backend.poll_deadline(), Some((ms(110), "slow calls")));
    backend.on_deadline(ms(105));
    assert_eq!(backend.poll_deadline(), Some((ms(110), "slow calls")), "too early changes nothing");
    backend.on_deadline(ms(110));
    assert_eq!((events(&mut backend), backend.poll_deadline()), (vec![], Some((ms(120), "slow calls"))));
    backend.on_deadline(ms(120));
    let (endpoint, why) = (Arc::<str>::from("pod-0"), Trip::SlowCalls { slow: 2, of: 3 });
    assert_eq!(events(&mut backend), [BackendEvent::BreakerOpened { endpoint, until: ms(10_120), why }]);
    assert_eq!(backend.poll_deadline(), None);
    for mut exchange in hanging {
        exchange.cancel(ms(130), &mut backend);
        while exchange.step(ms(130), &mut backend) != Step::Done {}
    }
    assert_eq!(backend.poll_deadline(), None);
}

#[test]
fn a_call_is_timed_once_whichever_comes_first() {
    let policy = BackendPolicy { service_breaker: Some(by_speed()), ..BackendPolicy::default() };
    // The head comes at the very moment at which the call is slow: in both orders it is slow, and counts once.
    for timer_first in [true, false] {
        let mut backend = backend(policy.clone(), 1);
        for n in 0..3 {
            let (exchange, _) = begin(&mut backend, ms(n * 1000)).expect("closed");
            let later = ms(n * 1000 + 100);
            if timer_first {
                backend.on_deadline(later);
            }
            answer(&mut backend, later, exchange, 200);
            let opened = events(&mut backend);
            assert_eq!(opened.len(), usize::from(n == 2), "three are enough: {opened:?}");
        }
    }
}

#[test]
fn callers_who_leave_early_say_nothing_about_speed() {
    let policy = BackendPolicy { breaker: Some(by_speed()), ..BackendPolicy::default() };
    let mut backend = backend(policy, 1);
    for n in 0..9 {
        let (mut exchange, _) = begin(&mut backend, ms(n)).expect("closed");
        exchange.cancel(ms(n + 50), &mut backend);
        while exchange.step(ms(n + 50), &mut backend) != Step::Done {}
    }
    assert_eq!((backend.poll_deadline(), events(&mut backend)), (None, vec![]));
}

#[test]
fn the_floor_keeps_the_last_ones_closed_and_lets_go_when_others_are_back() {
    let breaker = BreakerConfig { consecutive_failures: Some(1), floor: 2, ..OPEN };
    let mut backend = backend(in_turn(BackendPolicy { breaker: Some(breaker), ..BackendPolicy::default() }), 3);
    let answers: Vec<_> = (0..30).map(|_| once(&mut backend, ms(0), |_| 500)).collect();
    assert!(answers.iter().all(Result::is_ok), "somebody is always left");
    let seen = events(&mut backend);
    let opened = |event: &&BackendEvent| matches!(event, BackendEvent::BreakerOpened { .. });
    let refused = |event: &&BackendEvent| matches!(event, BackendEvent::OpenRefused { .. });
    assert_eq!((seen.iter().filter(opened).count(), seen.iter().filter(refused).count(), seen.len()), (1, 2, 3));
    // The open one leaves; the two that are left serve on. Then one of them drains, and one alone is all there is.
    let rest: Vec<_> = endpoints(3).into_iter().skip(1).collect();
    backend.set_endpoints(ms(1), &rest);
    assert_eq!(events(&mut backend), []);
    backend.set_endpoints(ms(2), &endpoints(4)[1..]);
    assert!((0..4).all(|_| once(&mut backend, ms(2), |_| 500).is_ok()));
    assert_eq!(events(&mut backend).len(), 1, "with one more, one may open at its next failure");
    backend.set_endpoints(ms(3), &endpoints(2));
    assert!((0..4).all(|_| once(&mut backend, ms(3), |_| 200).is_ok()));
}

#[test]
fn an_open_breaker_closes_when_those_who_serve_leave() {
    let breaker = BreakerConfig { consecutive_failures: Some(1), floor: 1, ..OPEN };
    let outliers = OutlierConfig { consecutive_5xx: 1, max_ejection_percent: 100, ..OutlierConfig::DEFAULT };
    for (breaker, outliers, want) in [(breaker, None, 1), (breaker, Some(outliers), 2)] {
        let policy = BackendPolicy { breaker: Some(breaker), outliers, ..BackendPolicy::default() };
        let mut backend = backend(in_turn(policy), 2);
        let ill = once(&mut backend, ms(0), |_| 500).expect("both serve");
        assert_eq!(events(&mut backend).len(), want, "opened, and ejected if that is on");
        let left: Vec<_> = endpoints(2).into_iter().filter(|endpoint| endpoint.name == ill).collect();
        backend.set_endpoints(ms(1), &left);
        let back = events(&mut backend);
        assert_eq!(back.len(), want, "{back:?}");
        assert_eq!(once(&mut backend, ms(2), |_| 200), Ok(ill));
    }
}

#[test]
fn an_open_breaker_closes_when_checks_find_the_others_unhealthy() {
    let breaker = BreakerConfig { consecutive_failures: Some(1), floor: 1, ..OPEN };
    let health = HealthCheck {
        probe: Probe::Connect,
        interval: Duration::from_secs(1),
        jitter_permille: 0,
        timeout: Duration::from_secs(1),
        unhealthy_after: 1,
        healthy_after: 1,
    };
    let policy = BackendPolicy { breaker: Some(breaker), health: Some(health), ..BackendPolicy::default() };
    let mut backend = backend(in_turn(policy), 2);
    let check = |backend: &mut Backend, now: Instant, alive: &dyn Fn(&Endpoint) -> bool| {
        backend.on_deadline(now);
        while let Some(order) = backend.poll_probe() {
            let asked = endpoints(2).into_iter().find(|each| each.address == order.address).expect("one of two");
            let result = if alive(&asked) { ProbeResult::Passed } else { ProbeResult::Broken };
            backend.on_probe(now, order.id, result);
        }
    };
    check(&mut backend, ms(0), &|_| true);
    let ill = once(&mut backend, ms(0), |_| 500).expect("both serve");
    let opened = events(&mut backend).into_iter().filter(|event| matches!(event, BackendEvent::BreakerOpened { .. }));
    assert_eq!(opened.count(), 1);
    let now = ms(1000);
    check(&mut backend, now, &|endpoint| endpoint.name == ill);
    let seen = events(&mut backend);
    assert!(seen.contains(&BackendEvent::BreakerClosed { endpoint: Arc::clone(&ill) }), "{seen:?}");
    assert_eq!(once(&mut backend, now, |_| 500), Ok(Arc::clone(&ill)), "the checks say that it lives");
    assert_eq!(once(&mut backend, now, |_| 500), Ok(ill), "and it stays");
}

#[test]
fn an_ejection_counts_against_the_breakers_floor() {
    let breaker = BreakerConfig { consecutive_failures: Some(9), floor: 2, ..OPEN };
    let outliers = OutlierConfig { consecutive_5xx: 1, max_ejection_percent: 100, ..OutlierConfig::DEFAULT };
    let policy = BackendPolicy { breaker: Some(breaker), outliers: Some(outliers), ..BackendPolicy::default() };
    let mut backend = backend(in_turn(policy), 3);
    for _ in 0..6 {
        assert!(once(&mut backend, ms(0), |_| 500).is_ok());
    }
    let out = events(&mut backend).iter().filter(|event| matches!(event, BackendEvent::Ejected { .. })).count();
    assert_eq!(out, 1, "two of three must serve");
}

#[test]
fn an_endpoint_far_below_the_others_is_ejected_at_the_end_of_the_interval() {
    let outliers = OutlierConfig {
        consecutive_5xx: 1000,
        success_rate: Deviation { minimum_hosts: 5, request_volume: 20, ..OutlierConfig::DEFAULT.success_rate },
        ..OutlierConfig::DEFAULT
    };
    let mut backend = backend(in_turn(BackendPolicy { outliers: Some(outliers), ..BackendPolicy::default() }), 5);
    for n in 0..200 {
        // Each fails now and then; one every other time.
        let fails = |name: &str| if name == "pod-3" { n / 5 % 2 == 0 } else { n / 5 % 20 == 0 };
        let served = once(&mut backend, ms(n), |name| if fails(name) { 500 } else { 200 });
        assert!(served.is_ok());
    }
    assert_eq!(events(&mut backend), []);
    assert_eq!(backend.poll_deadline(), Some((ms(10_000), "outliers")));
    backend.on_deadline(ms(10_000));
    let (successes, of, mean_permille) = (20, 40, 860);
    let why = Ejection::SuccessRate { successes, of, mean_permille, origin: squall_policy::Origin::External };
    let endpoint = Arc::<str>::from("pod-3");
    assert_eq!(events(&mut backend), [BackendEvent::Ejected { endpoint, until: ms(40_000), why }]);
    let ticks = std::iter::from_fn(|| {
        let (at, _) = backend.poll_deadline()?;
        backend.on_deadline(at);
        Some(at)
    });
    assert_eq!(ticks.last(), Some(ms(50_000)), "back at 40 s, forgiven at 50 s, and then the interval rests");
}

#[test]
fn a_failure_percentage_ejects_only_if_it_is_enforced() {
    for (failure_percentage, want) in [(0, 0), (100, 1)] {
        let outliers = OutlierConfig {
            consecutive_5xx: 1000,
            enforcing: Enforcing { failure_percentage, success_rate: 0, ..OutlierConfig::DEFAULT.enforcing },
            ..OutlierConfig::DEFAULT
        };
        let mut backend = backend(in_turn(BackendPolicy { outliers: Some(outliers), ..BackendPolicy::default() }), 5);
        for n in 0..300 {
            assert!(once(&mut backend, ms(n), |name| if name == "pod-3" { 500 } else { 200 }).is_ok());
        }
        assert_eq!(backend.poll_deadline().is_some(), want == 1, "who looks at no shares needs no interval");
        backend.on_deadline(ms(10_000));
        assert_eq!(events(&mut backend).len(), want);
    }
}

#[test]
fn other_settings_close_what_is_open_and_say_so() {
    let whole = BreakerConfig { consecutive_failures: Some(1), ..OPEN };
    let policy = BackendPolicy { breaker: Some(whole), service_breaker: Some(whole), ..BackendPolicy::default() };
    let mut backend = backend(policy.clone(), 1);
    let _ = once(&mut backend, ms(0), |_| 500);
    assert_eq!(events(&mut backend).len(), 2);
    backend.set_policy(ms(1), BackendPolicy { breaker: None, service_breaker: None, ..policy });
    let closed = BackendEvent::BreakerClosed { endpoint: Arc::from("pod-0") };
    assert_eq!(events(&mut backend), [closed, BackendEvent::ServiceBreakerClosed]);
    assert!(once(&mut backend, ms(1), |_| 200).is_ok());
}
