//! Hedges, through the face that a shell uses: a second try beside a slow one.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes is what the test is about")]

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Answer, Attempt, Backend, BackendEvent, BackendName, BackendPolicy, BreakerConfig, Budget, ClientThrottle, Ended,
    Endpoint, Exchange, Failure, HedgeAfter, Hedging, Instant, Reason, Replay, RequestFacts, RetryLimits, RetryNote,
    RetryShare, Rng, RouteTimeouts, Step,
};

const GET: RequestFacts<'_> = RequestFacts {
    idempotent: true,
    deadline: None,
    rank: squall_policy::Rank { class: squall_policy::Class::Default, key: 0 },
    caller: None,
    hash: None,
};

const fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn backend(policy: BackendPolicy) -> Backend {
    let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1));
    let endpoint = |n: u8| Endpoint {
        address: ([10, 0, 0, n], 80).into(),
        name: format!("pod-{n}").into(),
        zone: Arc::from(""),
        weight: 1,
        identity: Arc::from(""),
        draining: false,
    };
    backend.set_endpoints(ms(0), &[endpoint(1), endpoint(2), endpoint(3)]);
    backend
}

fn hedging(attempts: u32) -> BackendPolicy {
    let after = HedgeAfter::Delay(Duration::from_millis(10));
    BackendPolicy { hedging: Some(Hedging { after, attempts, ..Hedging::default() }), ..BackendPolicy::default() }
}

fn begin(backend: &mut Backend, facts: RequestFacts<'_>) -> (Exchange, Attempt) {
    let mut exchange = Exchange::begin(ms(0), backend, facts, RouteTimeouts::default(), None);
    let first = tried(&mut exchange, backend, 0);
    (exchange, first)
}

#[track_caller]
fn tried(exchange: &mut Exchange, backend: &mut Backend, at: u64) -> Attempt {
    match exchange.step(ms(at), backend) {
        Step::Try(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

const fn answer(status: u16) -> Answer {
    Answer { status, grpc: None, retry_after: None, replayable: true }
}

#[track_caller]
fn waits(exchange: &mut Exchange, backend: &mut Backend, at: u64, until: Option<u64>) {
    assert_eq!(exchange.step(ms(at), backend), Step::Wait { until: until.map(ms), why: "try" });
}

fn finish(mut exchange: Exchange, backend: &mut Backend, at: u64) {
    exchange.on_body_end(ms(at), backend, Ended::Complete { grpc: None });
    assert_eq!(exchange.step(ms(at), backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn the_first_good_answer_wins_and_the_other_try_is_cancelled() {
    for winner in [1, 2] {
        let mut backend = backend(hedging(2));
        let (mut exchange, first) = begin(&mut backend, GET);
        waits(&mut exchange, &mut backend, 0, Some(10));
        exchange.on_deadline(ms(10), &mut backend, Replay::AtOnce);
        let second = tried(&mut exchange, &mut backend, 10);
        assert_eq!((first.number, second.number), (1, 2));
        assert_ne!(first.endpoint, second.endpoint, "another is up");
        assert_eq!(
            exchange.poll_note(),
            Some(RetryNote::Hedge { hedge: 1, of: 1, after: Duration::from_millis(10), budget_left: Some(99_200) })
        );
        waits(&mut exchange, &mut backend, 10, None);
        exchange.on_head(ms(12), &mut backend, winner, answer(200));
        assert_eq!(exchange.step(ms(12), &mut backend), Step::Cancel(3 - winner));
        assert_eq!(exchange.step(ms(12), &mut backend), Step::Forward(winner));
        finish(exchange, &mut backend, 12);
    }
}

#[test]
fn a_bad_answer_leaves_the_other_try_its_chance_and_the_last_is_passed_on() {
    let mut backend = backend(hedging(2));
    let (mut exchange, _) = begin(&mut backend, GET);
    exchange.on_deadline(ms(10), &mut backend, Replay::AtOnce);
    tried(&mut exchange, &mut backend, 10);
    exchange.on_head(ms(11), &mut backend, 2, answer(503));
    assert_eq!(exchange.step(ms(11), &mut backend), Step::Cancel(2));
    waits(&mut exchange, &mut backend, 11, None);
    exchange.on_head(ms(20), &mut backend, 1, answer(500));
    assert_eq!(exchange.step(ms(20), &mut backend), Step::Forward(1));
    finish(exchange, &mut backend, 20);
    let (mut exchange, _) = begin(&mut backend, GET);
    exchange.on_deadline(ms(10), &mut backend, Replay::AtOnce);
    tried(&mut exchange, &mut backend, 10);
    exchange.on_failure(ms(11), &mut backend, 1, Failure::Reset, true);
    waits(&mut exchange, &mut backend, 11, None);
    exchange.on_failure(ms(12), &mut backend, 2, Failure::Reset, true);
    assert!(matches!(exchange.step(ms(12), &mut backend), Step::Reply(reply) if reply.reason == Reason::Reset));
}

#[test]
fn a_lost_try_says_nothing_bad_about_its_endpoint() {
    let breaker = BreakerConfig { consecutive_failures: Some(1), ..BreakerConfig::default() };
    let mut backend = backend(BackendPolicy { breaker: Some(breaker), ..hedging(2) });
    for _ in 0..50 {
        let (mut exchange, _) = begin(&mut backend, GET);
        exchange.on_deadline(ms(10), &mut backend, Replay::AtOnce);
        tried(&mut exchange, &mut backend, 10);
        exchange.on_head(ms(12), &mut backend, 2, answer(200));
        while exchange.step(ms(12), &mut backend) != Step::Forward(2) {}
        finish(exchange, &mut backend, 12);
    }
    let events: Vec<BackendEvent> = std::iter::from_fn(|| backend.poll_event()).collect();
    assert_eq!(events, []);
}

#[test]
fn up_to_so_many_tries_run_at_once_and_a_caller_who_leaves_cancels_them_all() {
    let mut backend = backend(hedging(3));
    let (mut exchange, first) = begin(&mut backend, GET);
    let mut endpoints = vec![first.endpoint];
    for at in [10, 20] {
        exchange.on_deadline(ms(at), &mut backend, Replay::AtOnce);
        endpoints.push(tried(&mut exchange, &mut backend, at).endpoint);
    }
    waits(&mut exchange, &mut backend, 20, None);
    endpoints.sort_by_key(|endpoint| endpoint.address);
    endpoints.dedup();
    assert_eq!(endpoints.len(), 3, "all on different endpoints");
    exchange.cancel(ms(25), &mut backend);
    let steps: Vec<Step> = (0..4).map(|_| exchange.step(ms(25), &mut backend)).collect();
    assert_eq!(steps, [Step::Cancel(1), Step::Cancel(2), Step::Cancel(3), Step::Done]);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn no_hedge_without_the_body_the_method_or_a_budget() {
    let share = RetryLimits { share: Some(RetryShare { percent: 0, min_concurrent: 0 }), ..RetryLimits::default() };
    let none = Budget { percent: 0, min_per_second: 0, ..Budget::default() };
    let post = RequestFacts { idempotent: false, ..GET };
    for (policy, facts, replay, note) in [
        (hedging(2), GET, Replay::Again, None),
        (hedging(2), GET, Replay::No, None),
        (hedging(2), post, Replay::AtOnce, None),
        (BackendPolicy { budget: Some(none), ..hedging(2) }, GET, Replay::AtOnce, Some(RetryNote::HedgeOverBudget)),
        (BackendPolicy { retry_limits: share, ..hedging(2) }, GET, Replay::AtOnce, Some(RetryNote::HedgeOverBudget)),
    ] {
        let mut backend = backend(policy);
        let (mut exchange, _) = begin(&mut backend, facts);
        exchange.on_deadline(ms(10), &mut backend, replay);
        waits(&mut exchange, &mut backend, 10, None);
        assert_eq!(exchange.poll_note(), note);
        exchange.on_head(ms(20), &mut backend, 1, answer(200));
        assert_eq!(exchange.step(ms(20), &mut backend), Step::Forward(1));
        finish(exchange, &mut backend, 20);
    }
}

#[test]
fn a_percentile_needs_its_samples_first() {
    let after = HedgeAfter::Percentile { permille: 950, min_samples: 20, window: Duration::from_secs(60) };
    let mut backend =
        backend(BackendPolicy { hedging: Some(Hedging { after, ..Hedging::default() }), ..BackendPolicy::default() });
    for n in 0..21 {
        let (mut exchange, _) = begin(&mut backend, GET);
        match exchange.step(ms(0), &mut backend) {
            Step::Wait { until: None, .. } => assert!(n < 20),
            Step::Wait { until: Some(until), .. } => {
                assert_eq!(n, 20);
                assert!((4_900_000..5_100_000).contains(&until.as_nanos()), "{until:?}");
            }
            other => panic!("{other:?}"),
        }
        exchange.on_head(ms(5), &mut backend, 1, answer(200));
        assert_eq!(exchange.step(ms(5), &mut backend), Step::Forward(1));
        finish(exchange, &mut backend, 5);
    }
}

/// Firsts hang, hedges take 50 ms: the two-fifths quantile is that of the firsts, which were given up after their delay and
/// 50 ms, and neither the 50 ms of hedges nor the 10 ms of the quick ones before.
#[test]
fn a_percentile_is_that_of_tries_that_are_no_hedges_also_of_those_that_lost() {
    let after = HedgeAfter::Percentile { permille: 400, min_samples: 20, window: Duration::from_secs(600) };
    let mut backend =
        backend(BackendPolicy { hedging: Some(Hedging { after, ..Hedging::default() }), ..BackendPolicy::default() });
    for _ in 0..20 {
        let (mut exchange, _) = begin(&mut backend, GET);
        exchange.on_head(ms(10), &mut backend, 1, answer(200));
        assert_eq!(exchange.step(ms(10), &mut backend), Step::Forward(1));
        finish(exchange, &mut backend, 10);
    }
    let mut delay = Duration::ZERO;
    for _ in 0..100 {
        let (mut exchange, _) = begin(&mut backend, GET);
        let Step::Wait { until: Some(until), .. } = exchange.step(ms(0), &mut backend) else { panic!("it hedges") };
        delay = until.since(ms(0));
        exchange.on_deadline(until, &mut backend, Replay::AtOnce);
        let Step::Try(hedge) = exchange.step(until, &mut backend) else { panic!("budgets allow it") };
        let answered = until + Duration::from_millis(50);
        exchange.on_head(answered, &mut backend, hedge.number, answer(200));
        assert_eq!(exchange.step(answered, &mut backend), Step::Cancel(1));
        assert_eq!(exchange.step(answered, &mut backend), Step::Forward(2));
        exchange.on_body_end(answered, &mut backend, Ended::Complete { grpc: None });
        assert_eq!(exchange.step(answered, &mut backend), Step::Done);
    }
    assert!(delay > Duration::from_millis(58), "{delay:?}");
}

#[test]
fn a_client_that_is_refused_too_often_refuses_by_itself() {
    let throttle = Some(ClientThrottle { k_permille: 1000, ..ClientThrottle::default() });
    let mut backend = backend(BackendPolicy { throttle, ..BackendPolicy::default() });
    let mut sent = 0;
    for _ in 0..1000 {
        let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), None);
        match exchange.step(ms(0), &mut backend) {
            Step::Try(attempt) => {
                sent += 1;
                exchange.on_head(ms(1), &mut backend, attempt.number, answer(503));
                assert_eq!(exchange.step(ms(1), &mut backend), Step::Forward(1));
                finish(exchange, &mut backend, 1);
            }
            Step::Reply(reply) => assert_eq!((reply.reason, reply.status), (Reason::Throttled, 503)),
            other => panic!("{other:?}"),
        }
    }
    // 1 + 1/2 + 1/3 + … + 1/1000 of them.
    assert!((3..=16).contains(&sent), "{sent}");
}
