//! `retries.budget`, `clientThrottling` and `hedging` of a TrafficPolicy.

use std::time::Duration;

use squall_policy::{
    Budget, ClientThrottle, HedgeAfter, Hedging, RetryBreaker, RetryBucket, RetryLimits, RetryShare, RetryThrottling,
};

use super::optional;
use super::policy::MILLISECOND;
use crate::Mistake;
use crate::yaml::Value;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn window(value: Value<'_>) -> Option<Duration> {
    value.duration_within(SECOND, HOUR)
}

/// A number with up to three decimals, in thousandths from `least` to `most`.
fn thousandths(value: Value<'_>, least: u32, most: u32) -> Option<u32> {
    let found = value.parsed(|text| {
        let wrong = || format!("`{text}` is not a number with up to three decimals");
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        if part.is_empty() || part.len() > 3 || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let part: u32 = format!("{part:0<3}").parse().map_err(|_| wrong())?;
        whole.checked_mul(1000).and_then(|whole| whole.checked_add(part)).ok_or_else(wrong)
    })?;
    if (least..=most).contains(&found) {
        return Some(found);
    }
    value.refuse(format!("must be {} to {}", f64::from(least) / 1000.0, f64::from(most) / 1000.0))
}

/// The budget by window, and those of other kinds. Kinds that are said hold alone; without any, the default holds.
pub(super) fn budget(value: Value<'_>) -> Option<(Option<Budget>, RetryLimits)> {
    let by_window = ["percent", "minPerSecond", "window"];
    let others = ["share", "bucket", "throttling", "breaker"];
    let fields = value.fields(
        "budget",
        &["percent", "minPerSecond", "window", "share", "bucket", "throttling", "breaker", "unlimited"],
    )?;
    let unlimited = optional(&fields, "unlimited", |value| value.boolean())?.unwrap_or(false);
    if unlimited {
        for name in by_window.into_iter().chain(others) {
            if let Some((key, _)) = fields.keyed(name) {
                let mistake = Mistake::new(&key.place, format!("`{name}` has no meaning without a budget"));
                value.mistakes().push(mistake.label(fields.place_of("unlimited"), "there is none"));
            }
        }
        return Some((None, RetryLimits::default()));
    }
    let default = Budget::default();
    let percent = optional(&fields, "percent", |value| value.integer_u32(0, 1000));
    let min_per_second = optional(&fields, "minPerSecond", |value| value.integer_u32(0, u32::MAX));
    let span = optional(&fields, "window", window);
    let share = optional(&fields, "share", share);
    let bucket = optional(&fields, "bucket", bucket);
    let throttling = optional(&fields, "throttling", throttling);
    let breaker = optional(&fields, "breaker", breaker);
    let budget = Budget {
        percent: percent?.unwrap_or(default.percent),
        min_per_second: min_per_second?.unwrap_or(default.min_per_second),
        window: span?.unwrap_or(default.window),
    };
    let limits = RetryLimits { share: share?, bucket: bucket?, throttling: throttling?, breaker: breaker? };
    let wanted = limits == RetryLimits::default() || by_window.iter().any(|name| fields.get(name).is_some());
    Some((wanted.then_some(budget), limits))
}

fn share(value: Value<'_>) -> Option<RetryShare> {
    let fields = value.fields("share", &["percent", "minConcurrent"])?;
    let default = RetryShare::default();
    let percent = optional(&fields, "percent", |value| value.integer_u32(0, 100));
    let least = optional(&fields, "minConcurrent", |value| value.integer_u32(0, u32::MAX));
    Some(RetryShare {
        percent: percent?.unwrap_or(default.percent),
        min_concurrent: least?.unwrap_or(default.min_concurrent),
    })
}

fn bucket(value: Value<'_>) -> Option<RetryBucket> {
    let fields = value.fields("bucket", &["deposit", "size"])?;
    let default = RetryBucket::default();
    let deposit = optional(&fields, "deposit", |value| thousandths(value, 0, 10_000));
    let size = optional(&fields, "size", |value| value.integer_u32(1, 1_000_000));
    Some(RetryBucket {
        deposit_permille: deposit?.unwrap_or(default.deposit_permille),
        size: size?.unwrap_or(default.size),
    })
}

fn throttling(value: Value<'_>) -> Option<RetryThrottling> {
    let fields = value.fields("throttling", &["maxTokens", "tokenRatio"])?;
    let default = RetryThrottling::default();
    let most = optional(&fields, "maxTokens", |value| value.integer_u32(1, 1000));
    let ratio = optional(&fields, "tokenRatio", |value| thousandths(value, 1, 1_000_000));
    Some(RetryThrottling {
        max_tokens: most?.unwrap_or(default.max_tokens),
        ratio_permille: ratio?.unwrap_or(default.ratio_permille),
    })
}

fn breaker(value: Value<'_>) -> Option<RetryBreaker> {
    let fields = value.fields("breaker", &["percent", "window"])?;
    let percent = optional(&fields, "percent", |value| value.integer_u32(0, 100));
    let span = optional(&fields, "window", window);
    Some(RetryBreaker { percent: percent?.unwrap_or(RetryBreaker::default().percent), window: span? })
}

pub(super) fn throttle(value: Value<'_>) -> Option<ClientThrottle> {
    let fields = value.fields("clientThrottling", &["k", "window", "minRequests"])?;
    let default = ClientThrottle::default();
    let k = optional(&fields, "k", |value| thousandths(value, 1000, 100_000));
    let span = optional(&fields, "window", window);
    let least = optional(&fields, "minRequests", |value| value.integer_u32(0, 1_000_000));
    Some(ClientThrottle {
        k_permille: k?.unwrap_or(default.k_permille),
        window: span?.unwrap_or(default.window),
        min_requests: least?.unwrap_or(default.min_requests),
    })
}

pub(super) fn hedging(value: Value<'_>) -> Option<Hedging> {
    let known = ["delay", "percentile", "minSamples", "window", "attempts", "nonIdempotent", "bufferBytes"];
    let fields = value.fields("hedging", &known)?;
    let default = Hedging::default();
    let HedgeAfter::Percentile { permille, min_samples, window: span } = default.after else { return None };
    let delay = optional(&fields, "delay", |value| value.duration_within(MILLISECOND, HOUR));
    let percentile = optional(&fields, "percentile", |value| match value.permille(999)? {
        0 => value.refuse("must be more than 0%"),
        found => Some(found),
    });
    let samples = optional(&fields, "minSamples", |value| value.integer_u32(1, 1_000_000));
    let found = optional(&fields, "window", window);
    let attempts = optional(&fields, "attempts", |value| value.integer_u32(2, 10));
    let non_idempotent = optional(&fields, "nonIdempotent", |value| value.boolean());
    let buffer_bytes = optional(&fields, "bufferBytes", |value| value.integer_u32(0, 16 << 20));
    if fields.get("delay").is_some() {
        for name in ["percentile", "minSamples", "window"] {
            if let Some((key, _)) = fields.keyed(name) {
                let mistake = Mistake::new(&key.place, format!("`{name}` has no meaning with a fixed delay"));
                value.mistakes().push(mistake.label(fields.place_of("delay"), "given here"));
            }
        }
    }
    let after = match delay? {
        Some(delay) => HedgeAfter::Delay(delay),
        None => HedgeAfter::Percentile {
            permille: percentile?.unwrap_or(permille),
            min_samples: samples?.unwrap_or(min_samples),
            window: found?.unwrap_or(span),
        },
    };
    Some(Hedging {
        after,
        attempts: attempts?.unwrap_or(default.attempts),
        non_idempotent: non_idempotent?.unwrap_or(default.non_idempotent),
        buffer_bytes: buffer_bytes?.unwrap_or(default.buffer_bytes),
    })
}
