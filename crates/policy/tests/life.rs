//! Lives of single requests, told step by step.

use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Answer, Attempt, Backend, BackendName, BackendPolicy, Backoff, Ended, Endpoint, Exchange, Failure, Instant, Jitter,
    LocalReply, Reason, RequestFacts, RetryOn, RetryPolicy, Rng, RouteTimeouts, Step,
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

const GET: RequestFacts = RequestFacts { idempotent: true, deadline: None };
const POST: RequestFacts = RequestFacts { idempotent: false, deadline: None };

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
    exchange.on_deadline(ms(11), &mut backend, true);
    let second = tried(exchange.step(ms(11), &mut backend));
    assert_eq!(second.number, 2);
    assert_ne!(first.address, second.address);
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
    exchange.on_deadline(ms(50), &mut backend, true);
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Cancel(1));
    let reply = LocalReply { status: 504, grpc: 4, reason: Reason::DeadlineExceeded };
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Reply(reply));
    assert_eq!(exchange.step(ms(50), &mut backend), Step::Done);
    assert_eq!(backend.load(), (0, 0));
}
