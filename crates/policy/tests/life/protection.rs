//! Breakers, ejection and estimates, seen through requests.

use squall_policy::{BackendEvent, Balancing, BreakerConfig, OutlierConfig, Trip};

use super::*;

fn guarded(breaker: Option<BreakerConfig>, outliers: Option<OutlierConfig>) -> BackendPolicy {
    BackendPolicy { balancing: Balancing::RoundRobin, breaker, outliers, ..BackendPolicy::default() }
}

const BREAKER: BreakerConfig = BreakerConfig {
    consecutive_failures: Some(2),
    open_min: Duration::from_millis(100),
    open_max: Duration::from_secs(1),
    jitter_permille: 0,
    ..BreakerConfig::DEFAULT
};

/// One request from its arrival to its end, all at one moment; the local reply if there was one.
fn once(backend: &mut Backend, now: Instant, outcome: impl Fn(&Attempt) -> Outcome) -> Result<Attempt, Reason> {
    let mut exchange = Exchange::begin(now, backend, GET, RouteTimeouts::default(), None);
    let attempt = match exchange.step(now, backend) {
        Step::Try(attempt) => attempt,
        Step::Reply(reply) => return Err(reply.reason),
        other @ (Step::Wait { .. } | Step::Cancel(_) | Step::Forward(_) | Step::Done) => panic!("{other:?}"),
    };
    match outcome(&attempt) {
        Outcome::Head(status) => {
            exchange.on_head(now, backend, 1, head(status));
            assert_eq!(exchange.step(now, backend), Step::Forward(1));
            exchange.on_body_end(now, backend, Ended::Complete { grpc: None });
        }
        Outcome::Trailers(grpc) => {
            exchange.on_head(now, backend, 1, head(200));
            assert_eq!(exchange.step(now, backend), Step::Forward(1));
            exchange.on_body_end(now, backend, Ended::Complete { grpc: Some(grpc) });
        }
        Outcome::Gone => exchange.on_failure(now, backend, 1, Failure::CallerGone, false),
    }
    Ok(attempt)
}

#[derive(Clone, Copy)]
enum Outcome {
    Head(u16),
    Trailers(u8),
    Gone,
}

fn events(backend: &mut Backend) -> Vec<BackendEvent> {
    std::iter::from_fn(|| backend.poll_event()).collect()
}

#[test]
fn a_backend_whose_only_breaker_is_open_refuses_at_once_and_probes_later() {
    let mut backend = backend(guarded(Some(BREAKER), None), 1);
    let pod = Arc::<str>::from("pod-0");
    for _ in 0..2 {
        assert!(once(&mut backend, ms(0), |_| Outcome::Head(500)).is_ok());
    }
    let opened =
        BackendEvent::BreakerOpened { endpoint: Arc::clone(&pod), until: ms(100), why: Trip::Failures { in_a_row: 2 } };
    assert_eq!(events(&mut backend), [opened]);
    assert_eq!(once(&mut backend, ms(99), |_| Outcome::Head(200)), Err(Reason::NoneAvailable));
    assert!(once(&mut backend, ms(100), |_| Outcome::Head(200)).is_ok());
    let half_open = BackendEvent::BreakerHalfOpen { endpoint: Arc::clone(&pod) };
    assert_eq!(events(&mut backend), [half_open, BackendEvent::BreakerClosed { endpoint: pod }]);
}

#[test]
fn failing_trailers_open_the_breaker_and_callers_who_leave_do_not() {
    let mut backend = backend(guarded(Some(BREAKER), None), 1);
    for _ in 0..9 {
        assert!(once(&mut backend, ms(0), |_| Outcome::Gone).is_ok());
    }
    assert_eq!(events(&mut backend), []);
    for _ in 0..2 {
        assert!(once(&mut backend, ms(0), |_| Outcome::Trailers(14)).is_ok());
    }
    assert_eq!(events(&mut backend).len(), 1);
}

#[test]
fn only_the_broken_endpoint_is_left_out() {
    let mut backend = backend(guarded(Some(BREAKER), None), 3);
    let ill = |attempt: &Attempt| Outcome::Head(if &*attempt.endpoint.name == "pod-1" { 503 } else { 200 });
    for _ in 0..6 {
        assert!(once(&mut backend, ms(0), ill).is_ok());
    }
    for _ in 0..20 {
        let attempt = once(&mut backend, ms(50), ill).expect("two are well");
        assert_ne!(&*attempt.endpoint.name, "pod-1");
    }
}

#[test]
fn an_outlier_is_ejected_and_returns_at_an_interval_and_the_floor_holds() {
    let outliers = OutlierConfig {
        consecutive_5xx: 2,
        interval: Duration::from_millis(40),
        base_ejection: Duration::from_millis(100),
        max_ejection: Duration::from_secs(1),
        max_ejection_percent: 100,
        floor: 2,
        ..OutlierConfig::DEFAULT
    };
    let mut backend = backend(guarded(None, Some(outliers)), 3);
    for _ in 0..6 {
        assert!(once(&mut backend, ms(0), |_| Outcome::Head(503)).is_ok());
    }
    let seen = events(&mut backend);
    let ejected = seen.iter().filter(|event| matches!(event, BackendEvent::Ejected { .. })).count();
    let refused = seen.iter().filter(|event| matches!(event, BackendEvent::EjectionRefused { .. })).count();
    assert_eq!((ejected, refused, seen.len()), (1, 2, 3));
    let mut ticks = Vec::new();
    while let Some((at, why)) = backend.poll_deadline() {
        assert_eq!(why, "outliers");
        backend.on_deadline(at);
        ticks.push((at.as_nanos() / 1_000_000, events(&mut backend).len()));
    }
    // Back at the first interval after 100 ms; the next one forgives the ejection; then the timer rests.
    assert_eq!(ticks, [(40, 0), (80, 0), (120, 1), (160, 0)]);
}

#[test]
fn endpoints_that_leave_bring_ejected_ones_back_up_to_the_floor() {
    let outliers = OutlierConfig { consecutive_5xx: 1, max_ejection_percent: 50, ..OutlierConfig::default() };
    let mut backend = backend(guarded(None, Some(outliers)), 2);
    let attempt = once(&mut backend, ms(0), |_| Outcome::Head(503)).expect("both serve");
    assert_eq!(events(&mut backend).len(), 1);
    let left: Vec<_> = endpoints(2).into_iter().filter(|endpoint| endpoint.name == attempt.endpoint.name).collect();
    backend.set_endpoints(ms(1), &left);
    assert_eq!(events(&mut backend), [BackendEvent::Returned { endpoint: Arc::clone(&attempt.endpoint.name) }]);
    assert!(once(&mut backend, ms(2), |_| Outcome::Head(200)).is_ok());
}

#[test]
fn an_endpoint_that_fails_fast_does_not_attract_the_load() {
    let mut backend = backend(BackendPolicy { budget: None, ..BackendPolicy::default() }, 5);
    let mut to_the_ill_one = 0;
    for n in 0..2000 {
        let now = ms(n * 10);
        let mut exchange = Exchange::begin(now, &mut backend, GET, RouteTimeouts::default(), None);
        let attempt = tried(exchange.step(now, &mut backend));
        let ill = &*attempt.endpoint.name == "pod-0";
        to_the_ill_one += u32::from(ill);
        // It refuses in 1 ms what the others serve in 20.
        let (then, status) =
            if ill { (now + Duration::from_millis(1), 503) } else { (now + Duration::from_millis(20), 200) };
        exchange.on_head(then, &mut backend, 1, head(status));
        assert_eq!(exchange.step(then, &mut backend), Step::Forward(1));
        exchange.on_body_end(then, &mut backend, Ended::Complete { grpc: None });
    }
    assert!(to_the_ill_one < 20, "{to_the_ill_one} of 2000 went to the endpoint that fails fast");
}

#[test]
fn the_slow_one_of_two_is_avoided_and_the_record_says_why() {
    let mut backend = backend(BackendPolicy::default(), 2);
    let mut slow = 0;
    for n in 0..100 {
        let now = ms(n * 100);
        let mut exchange = Exchange::begin(now, &mut backend, GET, RouteTimeouts::default(), None);
        let attempt = tried(exchange.step(now, &mut backend));
        let (other, own, its) = attempt.over.clone().expect("two were compared");
        assert!(own <= its && other != attempt.endpoint);
        let rtt = Duration::from_millis(if &*attempt.endpoint.name == "pod-1" { 900 } else { 3 });
        slow += u32::from(rtt > Duration::from_millis(3));
        exchange.on_head(now + rtt, &mut backend, 1, head(200));
        assert_eq!(exchange.step(now + rtt, &mut backend), Step::Forward(1));
        exchange.on_body_end(now + rtt, &mut backend, Ended::Complete { grpc: None });
    }
    assert!((1..5).contains(&slow), "{slow}");
}

#[test]
fn a_draining_endpoint_gets_nothing_new_but_ends_what_it_has() {
    let mut backend = backend(BackendPolicy::default(), 1);
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), None);
    let _ = tried(exchange.step(ms(0), &mut backend));
    let draining: Vec<_> = endpoints(1).into_iter().map(|endpoint| Endpoint { draining: true, ..endpoint }).collect();
    backend.set_endpoints(ms(1), &draining);
    assert_eq!(once(&mut backend, ms(1), |_| Outcome::Head(200)), Err(Reason::NoEndpoints));
    exchange.on_head(ms(2), &mut backend, 1, head(200));
    assert_eq!(exchange.step(ms(2), &mut backend), Step::Forward(1));
    exchange.on_body_end(ms(2), &mut backend, Ended::Complete { grpc: None });
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn a_policy_that_changes_one_part_keeps_the_state_of_the_others() {
    let mut backend = backend(guarded(Some(BREAKER), None), 1);
    for _ in 0..2 {
        assert!(once(&mut backend, ms(0), |_| Outcome::Head(500)).is_ok());
    }
    let mut policy = backend.policy().clone();
    policy.limits.in_flight = 7;
    backend.set_policy(ms(1), policy.clone());
    assert_eq!(once(&mut backend, ms(1), |_| Outcome::Head(200)), Err(Reason::NoneAvailable), "still open");
    policy.breaker = Some(BreakerConfig { consecutive_failures: Some(3), ..BREAKER });
    backend.set_policy(ms(1), policy);
    assert!(once(&mut backend, ms(1), |_| Outcome::Head(200)).is_ok(), "another breaker begins closed");
}
