//! What a client does about retries, hedges and throttling, on the wire. What is as by default takes no byte.

use squall_policy::{
    BackendPolicy, ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryShare, RetryThrottling,
};

use crate::decode::span as read;
use crate::encode::span;
use crate::proto::{self, squall};

/// Beside a cluster. The share itself stands in the thresholds.
pub(crate) fn encode(policy: &BackendPolicy) -> Option<squall::Client> {
    let limits = &policy.retry_limits;
    let client = squall::Client {
        share: limits.share.is_some(),
        bucket: limits
            .bucket
            .map(|bucket| squall::RetryBucket { deposit_permille: bucket.deposit_permille, size: bucket.size }),
        throttling: limits.throttling.map(|throttling| squall::RetryThrottling {
            max_tokens: throttling.max_tokens,
            ratio_permille: throttling.ratio_permille,
        }),
        breaker: limits
            .breaker
            .map(|breaker| squall::RetryBreaker { percent: breaker.percent, window: breaker.window.and_then(span) }),
        throttle: policy.throttle.map(|throttle| squall::ClientThrottle {
            k_permille: throttle.k_permille,
            window: span(throttle.window),
            min_requests: throttle.min_requests,
        }),
        hedging: policy.hedging.map(|hedging| {
            let (delay, permille, min_samples, window) = match hedging.after {
                HedgeAfter::Delay(delay) => (span(delay), 0, 0, None),
                HedgeAfter::Percentile { permille, min_samples, window } => (None, permille, min_samples, span(window)),
            };
            squall::Hedging {
                delay,
                permille,
                min_samples,
                window,
                attempts: hedging.attempts,
                non_idempotent: hedging.non_idempotent,
                buffer_bytes: hedging.buffer_bytes,
            }
        }),
    };
    (client != squall::Client::default()).then_some(client)
}

/// Completes `policy`, whose share stands there if the thresholds beside have one.
pub(crate) fn decode(client: Option<&squall::Client>, policy: &mut BackendPolicy) -> Result<(), &'static str> {
    let nothing = squall::Client::default();
    let client = client.unwrap_or(&nothing);
    let limits = &mut policy.retry_limits;
    if !client.share {
        // Only the fallback for another budget.
        limits.share = None;
    } else if limits.share.is_none() {
        return Err("a share of retries needs circuit_breakers.thresholds.retry_budget");
    }
    limits.bucket = client
        .bucket
        .as_ref()
        .map(|bucket| RetryBucket { deposit_permille: bucket.deposit_permille, size: bucket.size });
    limits.throttling = client.throttling.as_ref().map(|throttling| RetryThrottling {
        max_tokens: throttling.max_tokens,
        ratio_permille: throttling.ratio_permille,
    });
    limits.breaker = match &client.breaker {
        Some(breaker) => Some(RetryBreaker { percent: breaker.percent, window: read(breaker.window)? }),
        None => None,
    };
    policy.throttle = match &client.throttle {
        Some(throttle) => Some(ClientThrottle {
            k_permille: throttle.k_permille,
            window: read(throttle.window)?.unwrap_or_default(),
            min_requests: throttle.min_requests,
        }),
        None => None,
    };
    policy.hedging = client.hedging.as_ref().map(hedging).transpose()?;
    Ok(())
}

fn hedging(found: &squall::Hedging) -> Result<Hedging, &'static str> {
    let after = match (read(found.delay)?, read(found.window)?) {
        (Some(delay), None) => HedgeAfter::Delay(delay),
        (None, Some(window)) => {
            HedgeAfter::Percentile { permille: found.permille, min_samples: found.min_samples, window }
        }
        (Some(_), Some(_)) | (None, None) => return Err("a hedge comes after a delay or a percentile: one of both"),
    };
    Ok(Hedging {
        after,
        attempts: found.attempts,
        non_idempotent: found.non_idempotent,
        buffer_bytes: found.buffer_bytes,
    })
}

/// A share as Envoy says it.
pub(crate) fn share(found: &proto::RetryBudget) -> Result<RetryShare, (&'static str, &'static str)> {
    // Envoy's defaults: 20 %, 3.
    let percent = found.budget_percent.map_or(20.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) || percent.fract() != 0.0 {
        let field = "circuit_breakers.thresholds.retry_budget.budget_percent";
        return Err((field, "must be a whole number from 0 to 100"));
    }
    let min_concurrent = found.min_retry_concurrency.map_or(3, |number| number.value);
    Ok(RetryShare { percent: percent as u32, min_concurrent })
}
