//! Faults on purpose, through the face that a shell uses: they hit tries, and compose with retries and time-outs.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes is what the test is about")]

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    AbortWith, Backend, BackendName, BackendPolicy, Backoff, Endpoint, Exchange, FaultAbort, FaultDelay, Instant,
    Jitter, LocalReply, Reason, Replay, RequestFacts, RetryOn, RetryPolicy, Rng, RouteFault, RouteTimeouts, Step,
};

const fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn backend(seed: u64) -> Backend {
    let mut backend =
        Backend::new(BackendName::new("shop", "cart", 80), BackendPolicy::default(), Rng::from_seed(seed));
    let endpoint = |n: u8| Endpoint {
        address: ([10, 0, 0, n], 80).into(),
        name: format!("pod-{n}").into(),
        zone: Arc::from(""),
        weight: 1,
        identity: Arc::from(""),
        draining: false,
    };
    backend.set_endpoints(ms(0), &[endpoint(1), endpoint(2)]);
    backend
}

fn abort(with: AbortWith, ppm: u32) -> RouteFault {
    RouteFault { abort: Some(FaultAbort { with, ppm }), ..RouteFault::default() }
}

fn delay(millis: u64) -> RouteFault {
    let span = Duration::from_millis(millis);
    RouteFault { delay: Some(FaultDelay { span, ppm: 1_000_000 }), ..RouteFault::default() }
}

fn retries(on: RetryOn) -> RetryPolicy {
    RetryPolicy {
        retries: 2,
        on: vec![on],
        backoff: Backoff { first: Duration::from_millis(10), last: Duration::from_millis(10), jitter: Jitter::None },
        non_idempotent: false,
        buffer_bytes: 65_536,
    }
}

fn begin(backend: &mut Backend, timeouts: RouteTimeouts, retry: Option<&RetryPolicy>, fault: &RouteFault) -> Exchange {
    let facts = RequestFacts { idempotent: true, ..RequestFacts::default() };
    let mut exchange = Exchange::begin(ms(0), backend, facts, timeouts, retry);
    exchange.inject(fault);
    exchange
}

/// Steps from wait to wait until something else comes, and tells when.
fn run(exchange: &mut Exchange, backend: &mut Backend) -> (Instant, Step, Vec<String>) {
    let (mut now, mut story) = (ms(0), Vec::new());
    loop {
        let step = exchange.step(now, backend);
        story.extend(exchange.poll_injected().map(|injected| injected.to_string()));
        match step {
            Step::Wait { until: Some(until), .. } => {
                now = until;
                exchange.on_deadline(now, backend, Replay::AtOnce);
            }
            other => return (now, other, story),
        }
    }
}

fn reply(status: u16, grpc: u8, reason: Reason) -> Step {
    Step::Reply(LocalReply { status, grpc, reason, retry_after: None })
}

#[test]
fn an_abort_is_answered_by_the_proxy_and_takes_nothing() {
    let mut backend = backend(1);
    let mut exchange = begin(&mut backend, RouteTimeouts::default(), None, &abort(AbortWith::Status(418), 1_000_000));
    assert_eq!(
        run(&mut exchange, &mut backend),
        (ms(0), reply(418, 2, Reason::FaultInjected), vec!["aborted with 418".to_owned()])
    );
    assert_eq!(exchange.step(ms(0), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
    assert_eq!(backend.poll_event(), None);
}

#[test]
fn each_try_is_hit_and_a_retry_may_get_through() {
    let fault = abort(AbortWith::Status(503), 500_000);
    let retry = retries(RetryOn::Status(503));
    let (mut sent, mut aborts) = (0, [0; 4]);
    for seed in 0..1000 {
        let mut backend = backend(seed);
        let mut exchange = begin(&mut backend, RouteTimeouts::default(), Some(&retry), &fault);
        let (now, step, story) = run(&mut exchange, &mut backend);
        aborts[story.len()] += 1;
        match step {
            Step::Try(attempt) => {
                assert_eq!((attempt.number as usize, now), (story.len() + 1, ms(10 * story.len() as u64)));
                sent += 1;
                exchange.cancel(now, &mut backend);
                while exchange.step(now, &mut backend) != Step::Done {}
            }
            other => {
                assert_eq!((other, story.len()), (reply(503, 14, Reason::FaultInjected), 3));
                assert_eq!(exchange.step(now, &mut backend), Step::Done);
            }
        }
        assert_eq!(backend.load(), (0, 0));
    }
    // One in eight loses all three tries; five standard deviations are 52.
    assert!((823..=927).contains(&sent), "{sent} {aborts:?}");
}

#[test]
fn a_delay_comes_before_the_try_and_counts_against_its_time() {
    let mut backend = backend(1);
    let mut exchange = begin(&mut backend, RouteTimeouts::default(), None, &delay(200));
    let (now, step, story) = run(&mut exchange, &mut backend);
    assert!(matches!(step, Step::Try(_)) && now == ms(200), "{step:?} {now}");
    assert_eq!(story, ["delayed by 200ms"]);
    exchange.cancel(now, &mut backend);
    while exchange.step(now, &mut backend) != Step::Done {}

    let per_try = RouteTimeouts { per_try: Some(Duration::from_millis(150)), ..RouteTimeouts::default() };
    let mut exchange = begin(&mut backend, per_try, None, &delay(200));
    assert_eq!(
        run(&mut exchange, &mut backend),
        (ms(150), reply(504, 4, Reason::PerTryTimeout), vec!["delayed by 200ms".to_owned()])
    );
    assert_eq!(exchange.step(ms(150), &mut backend), Step::Done);

    // Three tries of 150 ms with 10 ms between them.
    let mut exchange = begin(&mut backend, per_try, Some(&retries(RetryOn::PerTryTimeout)), &delay(200));
    let (now, step, story) = run(&mut exchange, &mut backend);
    assert_eq!((now, step, story.len()), (ms(470), reply(504, 4, Reason::PerTryTimeout), 3));
    assert_eq!(exchange.step(now, &mut backend), Step::Done);

    let request = RouteTimeouts { request: Some(Duration::from_millis(120)), ..per_try };
    let mut exchange = begin(&mut backend, request, Some(&retries(RetryOn::PerTryTimeout)), &delay(200));
    let (now, step, _) = run(&mut exchange, &mut backend);
    assert_eq!((now, step), (ms(120), reply(504, 4, Reason::DeadlineExceeded)));
    assert_eq!(exchange.step(now, &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn a_caller_who_leaves_during_a_delay_hands_its_place_back() {
    let mut backend = backend(1);
    let mut exchange = begin(&mut backend, RouteTimeouts::default(), None, &delay(200));
    assert_eq!(exchange.step(ms(0), &mut backend), Step::Wait { until: Some(ms(200)), why: "fault" });
    assert_eq!(backend.load(), (1, 0));
    exchange.cancel(ms(50), &mut backend);
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn a_grpc_abort_is_listed_by_its_grpc_status_only() {
    let fault = abort(AbortWith::Grpc(14), 1_000_000);
    for (on, tries) in [(RetryOn::Grpc(14), 3), (RetryOn::Status5xx, 1), (RetryOn::Grpc(8), 1)] {
        let mut backend = backend(1);
        let retry = retries(on);
        let mut exchange = begin(&mut backend, RouteTimeouts::default(), Some(&retry), &fault);
        let (now, step, story) = run(&mut exchange, &mut backend);
        assert_eq!((step, story.len()), (reply(503, 14, Reason::FaultInjected), tries), "{on:?}");
        assert_eq!(exchange.step(now, &mut backend), Step::Done);
    }
}
