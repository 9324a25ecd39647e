//! Lives of single requests, told step by step.

#[path = "life/breakers.rs"]
mod breakers;
#[path = "life/protection.rs"]
mod protection;

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Answer, Attempt, Backend, BackendName, BackendPolicy, Backoff, Class, Ended, Endpoint, Exchange, Failure, Instant,
    Jitter, Limits, LocalReply, Rank, Reason, Replay, RequestFacts, RetryNote, RetryOn, RetryPolicy, Rng,
    RouteTimeouts, Step,
};

const fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn endpoints(count: u8) -> Vec<Endpoint> {
    (0..count)
        .map(|n| Endpoint {
            address: ([10, 0, 0, n], 80).into(),
            name: format!("pod-{n}").into(),
            zone: Arc::from(""),
            weight: 1,
            identity: Arc::from(""),
            draining: false,
        })
        .collect()
}

fn backend(policy: BackendPolicy, count: u8) -> Backend {
    let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1));
    backend.set_endpoints(Instant::ZERO, &endpoints(count));
    backend
}

fn retry(retries: u32) -> RetryPolicy {
    RetryPolicy {
        retries,
        on: vec![RetryOn::Status5xx, RetryOn::ConnectFailure, RetryOn::PerTryTimeout],
        backoff: Backoff { first: Duration::from_millis(10), last: Duration::from_millis(100), jitter: Jitter::None },
        non_idempotent: false,
        buffer_bytes: 65_536,
    }
}

const RANK: Rank = Rank { class: Class::Default, key: 0 };
const GET: RequestFacts<'_> = RequestFacts { idempotent: true, deadline: None, rank: RANK, caller: None, hash: None };
const POST: RequestFacts<'_> = RequestFacts { idempotent: false, ..GET };

fn head(status: u16) -> Answer {
    Answer { status, grpc: None, retry_after: None, replayable: true }
}

#[track_caller]
fn tried(step: Step) -> Attempt {
    match step {
        Step::Try(attempt) => attempt,
        other @ (Step::Wait { .. } | Step::Cancel(_) | Step::Forward(_) | Step::Reply(_) | Step::Done) => {
            panic!("expected a try, got {other:?}")
        }
    }
}

#[test]
fn a_good_answer_is_forwarded_and_everything_handed_back() {
    let mut backend = backend(BackendPolicy::default(), 3);
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), None);
    let attempt = tried(exchange.step(ms(0), &mut backend));
    assert_eq!(attempt.number, 1);
    assert_eq!(backend.load(), (1, 0));
    assert_eq!(exchange.step(ms(0), &mut backend), Step::Wait { until: None, why: "try" });
    exchange.on_head(ms(5), &mut backend, 1, head(200));
    assert_eq!(exchange.step(ms(5), &mut backend), Step::Forward(1));
    assert_eq!(exchange.step(ms(5), &mut backend), Step::Wait { until: None, why: "answer" });
    exchange.on_body_end(ms(6), &mut backend, Ended::Complete { grpc: None });
    assert_eq!(exchange.step(ms(6), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn a_failed_head_is_cancelled_and_tried_elsewhere_and_the_last_one_is_forwarded() {
    let mut backend = backend(BackendPolicy::default(), 2);
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), Some(&retry(1)));
    let first = tried(exchange.step(ms(0), &mut backend));
    exchange.on_head(ms(1), &mut backend, 1, head(503));
    assert_eq!(
        exchange.poll_note().map(|note| note.to_string()).as_deref(),
        Some("retry 1 of 1, waits 10ms, budget 99.200")
    );
    assert_eq!(exchange.step(ms(1), &mut backend), Step::Cancel(1));
    assert_eq!(exchange.step(ms(1), &mut backend), Step::Wait { until: Some(ms(11)), why: "back-off" });
    exchange.on_deadline(ms(11), &mut backend, Replay::AtOnce);
    let second = tried(exchange.step(ms(11), &mut backend));
    assert_eq!(second.number, 2);
    assert_ne!(first.endpoint.address, second.endpoint.address);
    exchange.on_head(ms(12), &mut backend, 2, head(503));
    assert_eq!(exchange.step(ms(12), &mut backend), Step::Forward(2));
    exchange.on_body_end(ms(12), &mut backend, Ended::Complete { grpc: None });
    assert_eq!(exchange.step(ms(12), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn a_post_is_repeated_only_if_no_server_saw_it() {
    let mut backend = backend(BackendPolicy::default(), 2);
    let mut exchange = Exchange::begin(ms(0), &mut backend, POST, RouteTimeouts::default(), Some(&retry(2)));
    let _ = tried(exchange.step(ms(0), &mut backend));
    exchange.on_failure(ms(1), &mut backend, 1, Failure::ConnectRefused, true);
    assert_eq!(exchange.step(ms(1), &mut backend), Step::Wait { until: Some(ms(11)), why: "back-off" });
    let _ = tried(exchange.step(ms(11), &mut backend));
    exchange.on_head(ms(12), &mut backend, 2, head(503));
    assert_eq!(exchange.step(ms(12), &mut backend), Step::Forward(2));
    exchange.on_body_end(ms(12), &mut backend, Ended::Broken);
    assert_eq!(exchange.step(ms(12), &mut backend), Step::Done);
}

#[test]
fn the_deadline_stops_a_try_and_is_answered_with_504() {
    let mut backend = backend(BackendPolicy::default(), 2);
    let timeouts = RouteTimeouts { request: Some(Duration::from_millis(50)), ..RouteTimeouts::default() };
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, timeouts, Some(&retry(2)));
    let attempt = tried(exchange.step(ms(0), &mut backend));
    assert_eq!(attempt.until, Some(ms(50)));
    exchange.on_deadline(ms(50), &mut backend, Replay::AtOnce);
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Cancel(1));
    let reply = LocalReply { status: 504, grpc: 4, reason: Reason::DeadlineExceeded, retry_after: None };
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Reply(reply));
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn a_request_waits_for_a_place_and_is_woken_by_its_ticket() {
    let limits =
        Limits { in_flight: 1, pending: 1, queue_timeout: Some(Duration::from_millis(20)), ..Limits::default() };
    let mut backend = backend(BackendPolicy { limits, ..BackendPolicy::default() }, 2);
    let begin = |backend: &mut Backend| Exchange::begin(ms(0), backend, GET, RouteTimeouts::default(), None);
    let (mut first, mut second, mut third) = (begin(&mut backend), begin(&mut backend), begin(&mut backend));
    let _ = tried(first.step(ms(0), &mut backend));
    assert_eq!(second.step(ms(0), &mut backend), Step::Wait { until: Some(ms(20)), why: "queue" });
    assert_eq!(third.step(ms(0), &mut backend), Step::Reply(LocalReply::of(Reason::QueueFull)));
    assert_eq!(backend.load(), (1, 1));
    first.cancel(ms(5), &mut backend);
    assert_eq!(first.step(ms(5), &mut backend), Step::Cancel(1));
    assert_eq!(backend.poll_granted(), Some(second.ticket()));
    assert_eq!(backend.poll_granted(), None);
    let _ = tried(second.step(ms(5), &mut backend));
    second.cancel(ms(6), &mut backend);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
fn who_waits_too_long_for_a_place_is_refused() {
    for (queue_ms, request_ms, reason) in [(20, 50, Reason::QueueTimeout), (50, 20, Reason::DeadlineExceeded)] {
        let limits = Limits {
            in_flight: 1,
            pending: 1,
            queue_timeout: Some(Duration::from_millis(queue_ms)),
            ..Limits::default()
        };
        let mut backend = backend(BackendPolicy { limits, ..BackendPolicy::default() }, 2);
        let timeouts = RouteTimeouts { request: Some(Duration::from_millis(request_ms)), ..RouteTimeouts::default() };
        let mut first = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), None);
        let mut second = Exchange::begin(ms(0), &mut backend, GET, timeouts, None);
        let _ = tried(first.step(ms(0), &mut backend));
        assert_eq!(second.step(ms(0), &mut backend), Step::Wait { until: Some(ms(20)), why: "queue" });
        second.on_deadline(ms(20), &mut backend, Replay::AtOnce);
        assert_eq!(second.step(ms(20), &mut backend), Step::Reply(LocalReply::of(reason)));
        assert_eq!(backend.load(), (1, 0));
        first.cancel(ms(20), &mut backend);
    }
}

#[test]
fn retry_after_is_waited_for_unless_the_deadline_comes_first() {
    let answer = Answer { retry_after: Some(Duration::from_secs(2)), ..head(503) };
    for (request_s, want) in [(3, Step::Cancel(1)), (2, Step::Forward(1))] {
        let mut backend = backend(BackendPolicy::default(), 2);
        let timeouts = RouteTimeouts { request: Some(Duration::from_secs(request_s)), ..RouteTimeouts::default() };
        let mut exchange = Exchange::begin(ms(0), &mut backend, GET, timeouts, Some(&retry(1)));
        let _ = tried(exchange.step(ms(0), &mut backend));
        exchange.on_head(ms(0), &mut backend, 1, answer);
        let repeats = want == Step::Cancel(1);
        assert_eq!(exchange.poll_note() == Some(RetryNote::NoTime), !repeats);
        assert_eq!(exchange.step(ms(0), &mut backend), want);
        if repeats {
            assert_eq!(exchange.step(ms(0), &mut backend), Step::Wait { until: Some(ms(2000)), why: "back-off" });
        }
        exchange.cancel(ms(1), &mut backend);
        assert_eq!(backend.load(), (0, 0));
    }
}

#[test]
fn an_empty_budget_forwards_the_failure_at_once() {
    let budget = Some(squall_policy::Budget { percent: 0, min_per_second: 0, window: Duration::from_secs(10) });
    let mut backend = backend(BackendPolicy { budget, ..BackendPolicy::default() }, 2);
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), Some(&retry(1)));
    let _ = tried(exchange.step(ms(0), &mut backend));
    exchange.on_head(ms(1), &mut backend, 1, head(503));
    assert_eq!(exchange.poll_note(), Some(RetryNote::OverBudget));
    assert_eq!(exchange.step(ms(1), &mut backend), Step::Forward(1));
    exchange.cancel(ms(1), &mut backend);
}

#[test]
fn a_try_that_runs_out_of_time_is_stopped_and_repeated_and_the_last_one_answered_with_504() {
    let mut backend = backend(BackendPolicy::default(), 2);
    let timeouts = RouteTimeouts { per_try: Some(Duration::from_millis(30)), ..RouteTimeouts::default() };
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, timeouts, Some(&retry(1)));
    let _ = tried(exchange.step(ms(0), &mut backend));
    exchange.on_deadline(ms(29), &mut backend, Replay::AtOnce);
    assert_eq!(exchange.step(ms(29), &mut backend), Step::Wait { until: Some(ms(30)), why: "try" }, "not yet");
    exchange.on_deadline(ms(30), &mut backend, Replay::AtOnce);
    assert_eq!(exchange.step(ms(30), &mut backend), Step::Cancel(1));
    exchange.on_head(ms(31), &mut backend, 1, head(200));
    assert_eq!(exchange.step(ms(31), &mut backend), Step::Wait { until: Some(ms(40)), why: "back-off" }, "too late");
    let _ = tried(exchange.step(ms(40), &mut backend));
    exchange.on_deadline(ms(70), &mut backend, Replay::AtOnce);
    assert_eq!(exchange.step(ms(70), &mut backend), Step::Cancel(2));
    assert_eq!(exchange.step(ms(70), &mut backend), Step::Reply(LocalReply::of(Reason::PerTryTimeout)));
    assert_eq!(exchange.step(ms(70), &mut backend), Step::Done);
}

#[test]
fn a_body_may_stream_past_the_deadline() {
    let mut backend = backend(BackendPolicy::default(), 2);
    let timeouts = RouteTimeouts { request: Some(Duration::from_millis(50)), ..RouteTimeouts::default() };
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, timeouts, None);
    let _ = tried(exchange.step(ms(0), &mut backend));
    exchange.on_head(ms(49), &mut backend, 1, head(200));
    assert_eq!(exchange.step(ms(49), &mut backend), Step::Forward(1));
    exchange.on_deadline(ms(50), &mut backend, Replay::AtOnce);
    assert_eq!(exchange.step(ms(900), &mut backend), Step::Wait { until: None, why: "answer" });
    exchange.on_body_end(ms(901), &mut backend, Ended::Complete { grpc: None });
    assert_eq!(exchange.step(ms(901), &mut backend), Step::Done);
}

#[test]
fn without_endpoints_the_answer_is_503_at_once() {
    let mut backend = backend(BackendPolicy::default(), 0);
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), Some(&retry(2)));
    assert_eq!(exchange.step(ms(0), &mut backend), Step::Reply(LocalReply::of(Reason::NoEndpoints)));
    assert_eq!(exchange.step(ms(0), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "dropped while it holds a place")]
fn dropping_a_request_that_holds_a_place_is_noticed() {
    let mut backend = backend(BackendPolicy::default(), 1);
    let mut exchange = Exchange::begin(ms(0), &mut backend, GET, RouteTimeouts::default(), None);
    let _ = tried(exchange.step(ms(0), &mut backend));
    drop(exchange);
}
