//! Retry budgets, throttling and hedging of a TrafficPolicy, as the proxies get them, and what is refused.

#[expect(dead_code, reason = "shared with the tests of references, which use the rest")]
mod shop;

use std::time::Duration;

use shop::SHOP;
use squall_policy::{
    BackendName, BackendPolicy, Budget, ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryLimits,
    RetryShare, RetryThrottling,
};

fn read(policy: &str) -> Result<BackendPolicy, String> {
    let mesh = shop::mesh(&format!("{SHOP}  {policy}\n"))
        .map_err(|mistakes| mistakes.iter().map(|mistake| mistake.message.clone()).collect::<Vec<_>>().join("; "))?;
    Ok(mesh.backends[&BackendName::new("shop", "catalog", 80)].clone())
}

#[track_caller]
fn budget(text: &str) -> (Option<Budget>, RetryLimits) {
    let policy = read(&format!("retries: {{attempts: 1000, budget: {text}}}")).expect("it is read");
    (policy.budget, policy.retry_limits)
}

#[track_caller]
fn refused(policy: &str, message: &str) {
    assert_eq!(read(policy).map(|_| ()), Err(message.to_owned()));
}

#[test]
fn a_budget_of_another_kind_holds_alone_unless_the_window_is_said_too() {
    let default = RetryLimits::default();
    assert_eq!(budget("{}"), (Some(Budget::default()), default));
    assert_eq!(budget("{unlimited: true}"), (None, default));
    let share = RetryLimits { share: Some(RetryShare::default()), ..default };
    assert_eq!(budget("{share: {}}"), (None, share));
    let with_window = Budget { percent: 5, ..Budget::default() };
    assert_eq!(budget("{share: {}, percent: 5}"), (Some(with_window), share));
    let all = RetryLimits {
        share: Some(RetryShare { percent: 7, min_concurrent: 1 }),
        bucket: Some(RetryBucket { deposit_permille: 250, size: 9 }),
        throttling: Some(RetryThrottling { max_tokens: 20, ratio_permille: 1500 }),
        breaker: Some(RetryBreaker { percent: 30, window: Some(Duration::from_secs(60)) }),
    };
    let text = "{share: {percent: 7, minConcurrent: 1}, bucket: {deposit: 0.25, size: 9}, \
                throttling: {maxTokens: 20, tokenRatio: 1.5}, breaker: {percent: 30, window: 60s}}";
    assert_eq!(budget(text), (None, all));
}

#[test]
fn throttling_and_hedging_have_their_defaults() {
    assert_eq!(read("clientThrottling: {}").expect("read").throttle, Some(ClientThrottle::default()));
    let throttle = ClientThrottle { k_permille: 1100, window: Duration::from_secs(10), min_requests: 50 };
    assert_eq!(
        read("clientThrottling: {k: 1.1, window: 10s, minRequests: 50}").expect("read").throttle,
        Some(throttle)
    );
    assert_eq!(read("hedging: {}").expect("read").hedging, Some(Hedging::default()));
    let after = HedgeAfter::Delay(Duration::from_millis(50));
    let hedging = Hedging { after, attempts: 3, non_idempotent: true, buffer_bytes: 0 };
    let text = "hedging: {delay: 50ms, attempts: 3, nonIdempotent: true, bufferBytes: 0}";
    assert_eq!(read(text).expect("read").hedging, Some(hedging));
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(
        "retries: {attempts: 1, budget: {unlimited: true, bucket: {}}}",
        "`bucket` has no meaning without a budget",
    );
    refused("retries: {attempts: 1, budget: {bucket: {deposit: 11}}}", "must be 0 to 10");
    refused(
        "retries: {attempts: 1, budget: {bucket: {deposit: .1}}}",
        "`.1` is not a number with up to three decimals",
    );
    refused("clientThrottling: {k: 0.9}", "must be 1 to 100");
    refused("hedging: {delay: 1s, percentile: 99%}", "`percentile` has no meaning with a fixed delay");
    refused("hedging: {percentile: 0%}", "must be more than 0%");
}
