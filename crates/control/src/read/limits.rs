//! `limits` and `inbound` of a TrafficPolicy: how much at once, who waits how, how much per time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{Adaptive, Codel, Gradient, Limits, Queue, QueueOrder, Rate, RateLimit, Vegas};

use super::optional;
use super::policy::{DAY, MILLISECOND, above_zero, ordered};
use crate::resources::LimitsSpec;
use crate::yaml::{Fields, Value};
use crate::{Mistake, Place};

const HOUR: Duration = Duration::from_secs(3600);
/// What an adaptive limit comes to at most, unless it is said (Envoy's).
const ADAPTIVE_MAX: u32 = 1000;

pub(super) fn read(value: Value<'_>, side: Side) -> Option<LimitsSpec> {
    let known = &["inFlight", "pending", "queueTimeout", "queue", "rateLimit"];
    let fields = value.fields(side.name(), known)?;
    let default = Limits::default();
    let in_flight = optional(&fields, "inFlight", in_flight);
    let pending = optional(&fields, "pending", |value| value.integer_u32(0, u32::MAX));
    let queue_timeout = optional(&fields, "queueTimeout", above_zero);
    let queue = optional(&fields, "queue", queue);
    let rate = optional(&fields, "rateLimit", |value| rate_limit(value, side));
    let (in_flight, adaptive) = in_flight?.unwrap_or((default.in_flight, None));
    let pending = pending?.unwrap_or(default.pending);
    if let Some((key, _)) = fields.keyed("queue").filter(|_| pending == 0) {
        let mistake = Mistake::new(&key.place, "a queue for nobody has no effect");
        value.mistakes().push(mistake.label(fields.place_of("pending"), "nobody may wait"));
        return None;
    }
    let queue_timeout = queue_timeout?;
    let limits = Limits { in_flight, pending, queue_timeout, adaptive, queue: queue?.unwrap_or_default() };
    Some(LimitsSpec { limits, rate: rate?, place: value.place().clone() })
}

/// Whose limits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Of a client, for what it asks of the targets.
    Outbound,
    /// Of the targets' pods, for what all clients ask of them.
    Inbound,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "limits",
            Self::Inbound => "inbound",
        }
    }
}

/// A number, or an adaptive limit and the most it comes to.
fn in_flight(value: Value<'_>) -> Option<(u32, Option<Adaptive>)> {
    if !value.is_map() {
        return Some((value.integer_u32(1, u32::MAX)?, None));
    }
    let known = &["adaptive", "min", "max", "window", "buffer", "percentile", "minRtt", "initial", "probe"];
    let fields = value.fields("inFlight", known)?;
    let names = ["Gradient", "Vegas"];
    let algorithm = fields.required("adaptive")?.choice(&names.map(|name| (name, name)))?;
    for (name, of) in [("buffer", 0), ("percentile", 0), ("minRtt", 0), ("initial", 1), ("probe", 1)] {
        if let Some((key, _)) = fields.keyed(name).filter(|_| names[of] != algorithm) {
            let mistake = Mistake::new(&key.place, format!("`{name}` has no meaning with `{algorithm}`"));
            let mistake = mistake.label(fields.place_of("adaptive"), "chosen here");
            value.mistakes().push(mistake.help(format!("it belongs to {}", names[of])));
        }
    }
    let count = |name| optional(&fields, name, |value| value.integer_u32(1, u32::MAX));
    let (min, max, initial) = (count("min"), count("max"), count("initial"));
    let window = optional(&fields, "window", |value| value.duration_within(MILLISECOND, HOUR));
    let max = max?.unwrap_or(ADAPTIVE_MAX);
    let adaptive = match algorithm {
        "Vegas" => {
            let default = Vegas::default();
            let probe = optional(&fields, "probe", |value| value.integer_u32(1, 10_000));
            let min = min?.unwrap_or(default.min.min(max));
            let initial = initial?.unwrap_or(default.initial.clamp(min.min(max), max));
            at_most(&fields, ("min", min), ("max", max))?;
            at_most(&fields, ("initial", initial), ("max", max))?;
            at_most(&fields, ("min", min), ("initial", initial))?;
            Adaptive::Vegas(Vegas {
                min,
                initial,
                window: window?.unwrap_or(default.window),
                probe: probe?.unwrap_or(default.probe),
            })
        }
        _ => {
            let default = Gradient::default();
            let buffer = optional(&fields, "buffer", |value| value.permille(10_000));
            let percentile = optional(&fields, "percentile", percentile);
            let min_rtt = optional(&fields, "minRtt", min_rtt);
            let min = min?.unwrap_or(default.min.min(max));
            at_most(&fields, ("min", min), ("max", max))?;
            Adaptive::Gradient(Gradient {
                min,
                buffer_permille: buffer?.unwrap_or(default.buffer_permille),
                percentile_permille: percentile?.unwrap_or(default.percentile_permille),
                window: window?.unwrap_or(default.window),
                ..min_rtt?.unwrap_or(default)
            })
        }
    };
    Some((max, Some(adaptive)))
}

fn percentile(value: Value<'_>) -> Option<u32> {
    let permille = value.permille(1000)?;
    if permille == 0 { value.refuse("must be more than 0%") } else { Some(permille) }
}

/// A gradient of which only these fields count.
fn min_rtt(value: Value<'_>) -> Option<Gradient> {
    let fields = value.fields("minRtt", &["interval", "jitter", "requests"])?;
    let default = Gradient::default();
    let interval = optional(&fields, "interval", |value| value.duration_within(MILLISECOND, DAY));
    let jitter = optional(&fields, "jitter", |value| value.permille(1000));
    let requests = optional(&fields, "requests", |value| value.integer_u32(1, 1000));
    Some(Gradient {
        min_rtt_interval: interval?.unwrap_or(default.min_rtt_interval),
        min_rtt_jitter_permille: jitter?.unwrap_or(default.min_rtt_jitter_permille),
        min_rtt_requests: requests?.unwrap_or(default.min_rtt_requests),
        ..default
    })
}

/// Refuses `least` over `most`, showing both.
fn at_most(fields: &Fields<'_>, (least, low): (&str, u32), (most, high): (&str, u32)) -> Option<()> {
    if low <= high {
        return Some(());
    }
    let place = fields.get(least).or(fields.get(most)).map_or(fields.whole().place(), |value| value.place());
    let mut mistake = Mistake::new(place, format!("`{least}` is {low}, more than `{most}` ({high})"));
    if let (Some(_), Some(other)) = (fields.get(least), fields.get(most)) {
        mistake = mistake.label(other.place(), format!("`{most}` is given here"));
    }
    fields.whole().mistakes().push(mistake);
    None
}

fn queue(value: Value<'_>) -> Option<Queue> {
    let fields = value.fields("queue", &["order", "lifoAfter", "priorities", "codel", "deadlineAware"])?;
    let lifo = optional(&fields, "order", |value| value.choice(&[("Fifo", false), ("AdaptiveLifo", true)]));
    let after = optional(&fields, "lifoAfter", |value| value.duration_within(MILLISECOND, HOUR));
    let priorities = optional(&fields, "priorities", |value| value.boolean());
    let deadline_aware = optional(&fields, "deadlineAware", |value| value.boolean());
    let codel = optional(&fields, "codel", codel);
    let lifo = lifo?.unwrap_or(false);
    if let Some((key, _)) = fields.keyed("lifoAfter").filter(|_| !lifo) {
        let mistake = Mistake::new(&key.place, "`lifoAfter` has no meaning with `Fifo`");
        value.mistakes().push(mistake.help("it belongs to `order: AdaptiveLifo`"));
    }
    let after = after?.unwrap_or(Duration::from_millis(100));
    Some(Queue {
        order: if lifo { QueueOrder::AdaptiveLifo { after } } else { QueueOrder::Fifo },
        priorities: priorities?.unwrap_or(false),
        codel: codel?,
        deadline_aware: deadline_aware?.unwrap_or(false),
    })
}

fn codel(value: Value<'_>) -> Option<Codel> {
    let fields = value.fields("codel", &["target", "interval"])?;
    let default = Codel::default();
    let span = |name| optional(&fields, name, |value| value.duration_within(MILLISECOND, HOUR));
    let (target, interval) = (span("target"), span("interval"));
    let target = target?.unwrap_or(default.target);
    let interval = interval?.unwrap_or(default.interval.max(target));
    ordered(&fields, ("target", target), ("interval", interval))?;
    Some(Codel { target, interval })
}

fn rate_limit(value: Value<'_>, side: Side) -> Option<RateLimit> {
    let fields = value.fields("rateLimit", &["total", "perCaller", "overrides"])?;
    let rate = |name| optional(&fields, name, |value| rate(&value.fields("rate", &["requests", "per", "burst"])?));
    let (total, per_caller) = (rate("total"), rate("perCaller"));
    let overrides = optional(&fields, "overrides", overrides);
    for name in ["perCaller", "overrides"] {
        if let Some((key, _)) = fields.keyed(name).filter(|_| side == Side::Outbound) {
            let mistake =
                Mistake::new(&key.place, format!("`{name}` has no meaning here: a client is its only caller"));
            value.mistakes().push(mistake.help("it belongs to `inbound`"));
        }
    }
    let limit = RateLimit { total: total?, per_caller: per_caller?, overrides: overrides?.unwrap_or_default() };
    if limit == RateLimit::default() { value.refuse("a limit without a rate has no effect") } else { Some(limit) }
}

fn rate(fields: &Fields<'_>) -> Option<Rate> {
    let requests = fields.required("requests").and_then(|value| value.integer_u32(1, u32::MAX));
    let per = optional(fields, "per", |value| value.duration_within(MILLISECOND, DAY));
    let burst = optional(fields, "burst", |value| value.integer_u32(1, u32::MAX));
    let requests = requests?;
    Some(Rate { requests, per: per?.unwrap_or(Duration::from_secs(1)), burst: burst?.unwrap_or(requests) })
}

fn overrides(list: Value<'_>) -> Option<Vec<(Arc<str>, Rate)>> {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    let mut found = Vec::new();
    for value in list.list()? {
        let fields = value.fields("override", &["caller", "requests", "per", "burst"])?;
        let caller = fields.required("caller")?;
        let identity = caller.name()?;
        if !identity.starts_with("spiffe://") {
            let mistake = Mistake::new(caller.place(), format!("`{identity}` is not a SPIFFE id"));
            value.mistakes().push(mistake.help("write spiffe://cluster.local/ns/NAMESPACE/sa/SERVICEACCOUNT"));
            return None;
        }
        if let Some(first) = seen.insert(identity, caller.place()) {
            let mistake = Mistake::new(caller.place(), format!("`{identity}` has two rates"));
            value.mistakes().push(mistake.label(first, "the first"));
            return None;
        }
        found.push((identity.into(), rate(&fields)?));
    }
    Some(found)
}
