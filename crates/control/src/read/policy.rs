//! `squall.dev/v1alpha1` TrafficPolicy. Its reference is [`crate::traffic_policy`].

use std::time::Duration;

use squall_policy::{Backoff, Jitter, RetryOn};
use squall_xds::retry_on;

use super::balancing::{health_check, load_balancing};
use super::client;
use super::limits::{self, Side};
use super::protection;
use super::{Metadata, each, optional, service_ref};
use crate::resources::{PolicyTimeouts, Retries, ServiceRef, TrafficPolicy};
use crate::yaml::{Fields, Value};
use crate::{Mistake, units};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<TrafficPolicy> {
    let known = &[
        "targetRefs",
        "loadBalancing",
        "healthCheck",
        "retries",
        "circuitBreaker",
        "serviceCircuitBreaker",
        "outlierDetection",
        "clientThrottling",
        "hedging",
        "limits",
        "timeouts",
        "inbound",
        "tls",
    ];
    let fields = spec.fields("TrafficPolicy spec", known)?;
    let targets = fields.required("targetRefs").and_then(|list| {
        let targets = each(list, |value| target(value, &metadata.id.0))?;
        if targets.is_empty() { list.refuse("a policy without a target has no effect") } else { Some(targets) }
    });
    let balancing = optional(&fields, "loadBalancing", load_balancing);
    let health = optional(&fields, "healthCheck", health_check);
    let retries = optional(&fields, "retries", retries);
    let breaker = optional(&fields, "circuitBreaker", protection::breaker);
    let service_breaker = optional(&fields, "serviceCircuitBreaker", protection::service_breaker);
    let outliers = optional(&fields, "outlierDetection", protection::outliers);
    let throttle = optional(&fields, "clientThrottling", client::throttle);
    let hedging = optional(&fields, "hedging", client::hedging);
    let limits = optional(&fields, "limits", |value| limits::read(value, Side::Outbound));
    let timeouts = optional(&fields, "timeouts", timeouts);
    let inbound = optional(&fields, "inbound", |value| limits::read(value, Side::Inbound));
    let mutual_tls = optional(&fields, "tls", |value| {
        value.fields("tls", &["mode"])?.required("mode")?.choice(&[("Mutual", true), ("None", false)])
    });
    Some(TrafficPolicy {
        id: metadata.id,
        place: metadata.place,
        targets: targets?,
        balancing: balancing?,
        health: health?,
        health_place: fields.place_of("healthCheck").clone(),
        retries: retries?,
        breaker: breaker?,
        service_breaker: service_breaker?,
        outliers: outliers?,
        throttle: throttle?,
        hedging: hedging?,
        limits: limits?,
        timeouts: timeouts?.unwrap_or_default(),
        inbound: inbound?,
        mutual_tls: mutual_tls?,
    })
}

pub(super) fn target(value: Value<'_>, namespace: &str) -> Option<ServiceRef> {
    let why = "a policy is about the whole Service";
    let fields = value.fields_beside("targetRef", &["group", "kind", "name", "namespace"], &[("sectionName", why)])?;
    service_ref(&fields, namespace, ("", "Service"))
}

pub(super) fn above_zero(value: Value<'_>) -> Option<Duration> {
    let span = value.duration()?;
    if span.is_zero() { value.refuse("must be more than 0") } else { Some(span) }
}

/// Refuses `least` over `most`, showing both.
pub(super) fn ordered(
    fields: &Fields<'_>,
    (least, low): (&str, Duration),
    (most, high): (&str, Duration),
) -> Option<()> {
    if low <= high {
        return Some(());
    }
    let message = format!("`{least}` is {}, more than `{most}` ({})", units::show(low), units::show(high));
    let place = fields.get(least).or(fields.get(most)).map_or(fields.whole().place(), |value| value.place());
    let mut mistake = Mistake::new(place, message);
    if let (Some(_), Some(other)) = (fields.get(least), fields.get(most)) {
        mistake = mistake.label(other.place(), format!("`{most}` is given here"));
    }
    fields.whole().mistakes().push(mistake);
    None
}

fn retries(value: Value<'_>) -> Option<Retries> {
    let fields = value.fields("retries", &["attempts", "on", "backoff", "budget", "nonIdempotent", "bufferBytes"])?;
    let attempts = fields.required("attempts").and_then(|value| value.integer_u32(1, 1000));
    let on = optional(&fields, "on", |list| {
        let on = each(list, reason)?;
        if on.is_empty() { list.refuse("retries need a reason") } else { Some(on) }
    });
    let backoff = fields.get("backoff").map_or(
        Some(Backoff { first: Duration::from_millis(25), last: Duration::from_millis(250), jitter: Jitter::Full }),
        backoff,
    );
    let budget = optional(&fields, "budget", client::budget);
    let non_idempotent = optional(&fields, "nonIdempotent", |value| value.boolean());
    let buffer_bytes = optional(&fields, "bufferBytes", |value| value.integer_u32(0, 16 << 20));
    let mut on = on?.unwrap_or_else(|| vec![RetryOn::ConnectFailure, RetryOn::RefusedStream]);
    on.sort();
    on.dedup();
    Some(Retries {
        place: value.place().clone(),
        attempts: attempts?,
        on,
        backoff: backoff?,
        budget: budget?.map(|(budget, _)| budget),
        limits: budget?.map(|(_, limits)| limits).unwrap_or_default(),
        non_idempotent: non_idempotent?.unwrap_or(false),
        buffer_bytes: buffer_bytes?.unwrap_or(64 * 1024),
    })
}

fn reason(value: Value<'_>) -> Option<RetryOn> {
    let text = value.scalar()?;
    if let Some(reason) = retry_on::parse(text) {
        return Some(reason);
    }
    let grpc: Vec<String> = retry_on::GRPC.iter().map(|name| format!("grpc-{name}")).collect();
    let known: Vec<&str> =
        retry_on::NAMED.iter().map(|(name, _)| *name).chain(grpc.iter().map(String::as_str)).collect();
    let mistake = Mistake::new(value.place(), format!("`{text}` is not a reason to retry"));
    value.mistakes().push(match crate::closest(text, &known) {
        Some(near) => mistake.help(format!("did you mean `{near}`?")),
        None => mistake.help("write connect-failure, reset, refused-stream, per-try-timeout, 5xx, gateway-error, a status such as 503, or a gRPC status such as grpc-unavailable"),
    });
    None
}

fn backoff(value: Value<'_>) -> Option<Backoff> {
    let fields = value.fields("backoff", &["base", "max", "jitter"])?;
    let most = Duration::from_secs(300);
    let base = optional(&fields, "base", |value| value.duration_within(MILLISECOND, most));
    let last = optional(&fields, "max", |value| value.duration_within(MILLISECOND, most));
    let jitter = optional(&fields, "jitter", |value| {
        value.choice(&[
            ("none", Jitter::None),
            ("full", Jitter::Full),
            ("equal", Jitter::Equal),
            ("decorrelated", Jitter::Decorrelated),
        ])
    });
    let first = base?.unwrap_or(Duration::from_millis(25));
    let last = last?.unwrap_or(Duration::from_millis(250).max(first));
    ordered(&fields, ("base", first), ("max", last))?;
    Some(Backoff { first, last, jitter: jitter?.unwrap_or(Jitter::Full) })
}

fn timeouts(value: Value<'_>) -> Option<PolicyTimeouts> {
    let fields = value.fields("timeouts", &["request", "perTry", "idle", "stream", "connect", "poolIdle"])?;
    let placed = |name| optional(&fields, name, |value| Some((above_zero(value)?, value.place().clone())));
    let span = |name| optional(&fields, name, above_zero);
    let (request, per_try) = (placed("request"), placed("perTry"));
    let (idle, connect, pool_idle) = (span("idle"), span("connect"), span("poolIdle"));
    let stream = span("stream");
    let (request, per_try, stream) = (request?, per_try?, stream?);
    if let (Some((request, _)), Some(stream)) = (&request, stream) {
        ordered(&fields, ("request", *request), ("stream", stream))?;
    }
    if let (Some((request, _)), Some((per_try, _))) = (&request, &per_try) {
        ordered(&fields, ("perTry", *per_try), ("request", *request))?;
    }
    Some(PolicyTimeouts { request, per_try, idle: idle?, stream, connect: connect?, pool_idle: pool_idle? })
}
