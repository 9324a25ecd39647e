//! `loadBalancing` and `healthCheck` of a TrafficPolicy.

use std::ops::RangeInclusive;
use std::time::Duration;

use squall_policy::{
    Balancing, Candidates, HashKey, HashTable, Hashing, HealthCheck, Penalty, Probe, SlowStart, WhenDown, Zones,
};

use super::policy::{MILLISECOND, above_zero, ordered};
use super::{each, optional};
use crate::resources::LoadBalancing;
use crate::yaml::{Fields, Value};
use crate::{Mistake, units};

const HOUR: Duration = Duration::from_secs(3600);
const EWMA: &str = "PeakEwma";
const LEAST: &str = "LeastRequest";
const ROBIN: &str = "RoundRobin";
const RANDOM: &str = "Random";
const RING: &str = "RingHash";
const MAGLEV: &str = "Maglev";
const ALGORITHMS: [&str; 6] = [EWMA, LEAST, ROBIN, RANDOM, RING, MAGLEV];

/// Which setting belongs to which algorithms.
const BELONGS: [(&str, &[&str]); 12] = [
    ("decay", &[EWMA]),
    ("defaultRtt", &[EWMA]),
    ("choices", &[EWMA, LEAST]),
    ("requestBias", &[LEAST]),
    ("failurePenalty", &[EWMA, LEAST]),
    ("slowStart", &[EWMA, LEAST, ROBIN]),
    ("subset", &[EWMA, LEAST, ROBIN, RANDOM]),
    ("key", &[RING, MAGLEV]),
    ("whenDown", &[RING, MAGLEV]),
    ("boundedLoads", &[RING, MAGLEV]),
    ("ring", &[RING]),
    ("tableSize", &[MAGLEV]),
];

pub(super) fn load_balancing(value: Value<'_>) -> Option<LoadBalancing> {
    let known = &[
        "algorithm",
        "decay",
        "defaultRtt",
        "choices",
        "requestBias",
        "failurePenalty",
        "slowStart",
        "subset",
        "key",
        "whenDown",
        "boundedLoads",
        "ring",
        "tableSize",
        "zones",
        "panicThreshold",
    ];
    let fields = value.fields("loadBalancing", known)?;
    let algorithm = optional(&fields, "algorithm", |value| value.choice(&ALGORITHMS.map(|name| (name, name))))?;
    let algorithm = algorithm.unwrap_or(EWMA);
    for (name, of) in BELONGS {
        if let Some((key, _)) = fields.keyed(name).filter(|_| !of.contains(&algorithm)) {
            let mistake = Mistake::new(&key.place, format!("`{name}` has no meaning with `{algorithm}`"));
            let mistake = match fields.get("algorithm") {
                Some(algorithm) => mistake.label(algorithm.place(), "chosen here"),
                None => mistake,
            };
            value.mistakes().push(mistake.help(format!("it belongs to {}", of.join(" and "))));
        }
    }
    let default_rtt = optional(&fields, "defaultRtt", above_zero)?.unwrap_or(Duration::from_millis(30));
    let balancing = balancing(&fields, algorithm, default_rtt);
    let zones = optional(&fields, "zones", zones);
    let panic_percent = optional(&fields, "panicThreshold", |value| percent(value, 0, 100));
    let slow_start = optional(&fields, "slowStart", slow_start);
    let subset = optional(&fields, "subset", |value| value.integer_u32(1, u32::MAX));
    let bias = optional(&fields, "requestBias", |value| decimal(value, 0, 10_000));
    let penalty = fields
        .get("failurePenalty")
        .map_or(Some(Some(default_penalty(default_rtt))), |value| penalty(value, default_penalty(default_rtt)));
    let (balancing, zones) = (balancing?, zones?.flatten());
    if let Balancing::Hash(Hashing { when_down: WhenDown::Refuse, bound_percent, .. }) = &balancing {
        for (name, is_set) in [("boundedLoads", bound_percent.is_some()), ("zones", zones.is_some())] {
            if let Some((key, _)) = fields.keyed(name).filter(|_| is_set) {
                let message =
                    format!("`{name}` sends a key elsewhere, and `whenDown: Refuse` says that nobody else has it");
                let mistake = Mistake::new(&key.place, message);
                value.mistakes().push(mistake.label(fields.place_of("whenDown"), "said here"));
            }
        }
    }
    let candidates = Candidates {
        penalty: penalty?,
        request_bias_permille: bias?.unwrap_or(1000),
        zones,
        panic_percent: 0,
        slow_start: slow_start?,
        subset: subset?,
    };
    Some(LoadBalancing { balancing, candidates, panic_percent: panic_percent? })
}

fn balancing(fields: &Fields<'_>, algorithm: &str, default_rtt: Duration) -> Option<Balancing> {
    let choices = optional(fields, "choices", |value| value.integer_u32(1, u32::MAX));
    let decay = optional(fields, "decay", above_zero);
    let choices = choices?.unwrap_or(2);
    Some(match algorithm {
        LEAST => Balancing::LeastRequest { choices },
        ROBIN => Balancing::RoundRobin,
        RANDOM => Balancing::Random,
        RING | MAGLEV => Balancing::Hash(hashing(fields, algorithm == RING)?),
        _ => Balancing::PeakEwma { decay: decay?.unwrap_or(Duration::from_secs(10)), default_rtt, choices },
    })
}

fn hashing(fields: &Fields<'_>, is_ring: bool) -> Option<Hashing> {
    let keys = fields.required("key").and_then(keys);
    let when_down =
        optional(fields, "whenDown", |value| value.choice(&[("Next", WhenDown::Next), ("Refuse", WhenDown::Refuse)]));
    let bound_percent = optional(fields, "boundedLoads", |value| percent(value, 100, 100_000));
    let ring = fields.get("ring").map_or(Some(HashTable::RING), ring);
    let size = optional(fields, "tableSize", |value| {
        let size = value.integer_u32(2, 5_000_011)?;
        let is_prime = (2..).take_while(|factor| factor * factor <= size).all(|factor| !size.is_multiple_of(factor));
        if is_prime { Some(size) } else { value.refuse(format!("{size} is not a prime, such as 251, 65537 or 655373")) }
    });
    let table = if is_ring { ring? } else { size?.map_or(HashTable::MAGLEV, |size| HashTable::Maglev { size }) };
    Some(Hashing { table, keys: keys?, bound_percent: bound_percent?, when_down: when_down?.unwrap_or_default() })
}

fn ring(value: Value<'_>) -> Option<HashTable> {
    const MOST: u32 = 8 << 20;
    let fields = value.fields("ring", &["min", "max"])?;
    let size = |name| optional(&fields, name, |value| value.integer_u32(1, MOST));
    let (min, max) = (size("min")?, size("max")?);
    let max = max.unwrap_or(MOST);
    let min = min.unwrap_or(1024.min(max));
    if min > max {
        return value.refuse(format!("`min` is {min}, more than `max` ({max})"));
    }
    Some(HashTable::Ring { min, max })
}

/// One key or a list of them.
fn keys(value: Value<'_>) -> Option<Vec<HashKey>> {
    if !value.is_list() {
        return Some(vec![key(value)?]);
    }
    let keys = each(value, key)?;
    if keys.is_empty() { value.refuse("a balancing by hash needs a key") } else { Some(keys) }
}

fn key(value: Value<'_>) -> Option<HashKey> {
    if value.is_scalar() {
        return value.choice(&[("path", HashKey::Path), ("source", HashKey::Source)]);
    }
    let fields = value.fields("key", &["header", "cookie", "query"])?;
    let named = |name| optional(&fields, name, |value| value.text().map(str::to_owned));
    match (named("header")?, named("cookie")?, named("query")?) {
        (Some(name), None, None) if !name.is_empty() => Some(HashKey::Header(name.to_ascii_lowercase())),
        (None, Some(name), None) if !name.is_empty() => Some(HashKey::Cookie(name)),
        (None, None, Some(name)) if !name.is_empty() => Some(HashKey::Query(name)),
        _ => value.refuse("a key is `path`, `source`, or one of {header: NAME}, {cookie: NAME}, {query: NAME}"),
    }
}

fn default_penalty(default_rtt: Duration) -> Penalty {
    let last = Penalty::default().last;
    Penalty { first: default_rtt.saturating_mul(10).clamp(MILLISECOND, last), last }
}

fn penalty(value: Value<'_>, default: Penalty) -> Option<Option<Penalty>> {
    let fields = value.fields("failurePenalty", &["first", "max", "off"])?;
    if optional(&fields, "off", |value| value.boolean())?.unwrap_or(false) {
        for name in ["first", "max"] {
            if let Some((key, _)) = fields.keyed(name) {
                let mistake = Mistake::new(&key.place, format!("`{name}` has no meaning without a penalty"));
                value.mistakes().push(mistake.label(fields.place_of("off"), "there is none"));
            }
        }
        return Some(None);
    }
    let span = |name| optional(&fields, name, |value| value.duration_within(MILLISECOND, HOUR));
    let (first, last) = (span("first"), span("max"));
    let (first, last) = (first?, last?);
    let last = last.unwrap_or(default.last.max(first.unwrap_or_default()));
    let first = first.unwrap_or(default.first.min(last));
    ordered(&fields, ("first", first), ("max", last))?;
    Some(Some(Penalty { first, last }))
}

fn zones(value: Value<'_>) -> Option<Option<Zones>> {
    let fields = value.fields("zones", &["mode", "overprovisioning"])?;
    let is_local = fields.required("mode").and_then(|mode| mode.choice(&[("PreferLocal", true), ("Any", false)]));
    let over = optional(&fields, "overprovisioning", |value| percent(value, 100, 1000))?;
    if let (Some(false), Some((key, _))) = (is_local, fields.keyed("overprovisioning")) {
        let mistake = Mistake::new(&key.place, "`overprovisioning` has no meaning where zones do not matter");
        value.mistakes().push(mistake.label(fields.place_of("mode"), "said here"));
    }
    let zones = over.map_or_else(Zones::default, |over| Zones { overprovisioning_percent: over });
    Some(is_local?.then_some(zones))
}

fn slow_start(value: Value<'_>) -> Option<SlowStart> {
    let fields = value.fields("slowStart", &["window", "aggression", "minWeight"])?;
    let window = fields.required("window").and_then(|value| value.duration_within(MILLISECOND, HOUR));
    let aggression = optional(&fields, "aggression", |value| decimal(value, 1, 100_000));
    let least = optional(&fields, "minWeight", |value| percent(value, 1, 100));
    Some(SlowStart {
        window: window?,
        aggression_permille: aggression?.unwrap_or(1000),
        min_weight_percent: least?.unwrap_or(10),
    })
}

pub(super) fn health_check(value: Value<'_>) -> Option<HealthCheck> {
    let known =
        &["path", "expect", "grpc", "connect", "interval", "jitter", "timeout", "unhealthyAfter", "healthyAfter"];
    let fields = value.fields("healthCheck", known)?;
    let path = optional(&fields, "path", |value| {
        let path = value.text()?;
        let whole = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
        if whole { Some(path.to_owned()) } else { value.refuse("a path begins with `/` and has no spaces") }
    });
    let grpc = optional(&fields, "grpc", grpc);
    let connect = optional(&fields, "connect", |value| value.boolean())?.unwrap_or(false);
    let expected = optional(&fields, "expect", |list| each(list, statuses));
    let interval = optional(&fields, "interval", |value| value.duration_within(10 * MILLISECOND, HOUR));
    let jitter = optional(&fields, "jitter", |value| value.permille(1000));
    let timeout = optional(&fields, "timeout", |value| value.duration_within(MILLISECOND, HOUR));
    let count = |name| optional(&fields, name, |value| value.integer_u32(1, u32::MAX));
    let (unhealthy_after, healthy_after) = (count("unhealthyAfter"), count("healthyAfter"));
    let expected = expected?;
    let no_status = |what, says| {
        if let Some((key, _)) = fields.keyed("expect") {
            let mistake = Mistake::new(&key.place, "`expect` has no meaning where no status comes back");
            value.mistakes().push(mistake.label(fields.place_of(what), says));
        }
    };
    let probe = match (path?, grpc?, connect) {
        (Some(path), None, false) => {
            let expected = expected.unwrap_or_else(|| vec![200..=200]);
            if expected.is_empty() {
                return fields.get("expect").unwrap_or(value).refuse("no status would pass");
            }
            Probe::Http { path, expected }
        }
        (None, Some(service), false) => {
            no_status("grpc", "gRPC's protocol says what passes");
            Probe::Grpc { service }
        }
        (None, None, true) => {
            no_status("connect", "only a connection is made");
            Probe::Connect
        }
        (_, _, _) => {
            return value.refuse(
                "a health check asks for a `path`, or by `grpc`, or only makes a connection (`connect: true`): one of them",
            );
        }
    };
    Some(HealthCheck {
        probe,
        interval: interval?.unwrap_or(Duration::from_secs(5)),
        jitter_permille: jitter?.unwrap_or(100),
        timeout: timeout?.unwrap_or(Duration::from_secs(1)),
        unhealthy_after: unhealthy_after?.unwrap_or(3),
        healthy_after: healthy_after?.unwrap_or(2),
    })
}

/// `{service: shop.Cart}`, or `{}` for the whole server.
fn grpc(value: Value<'_>) -> Option<String> {
    let fields = value.fields("grpc", &["service"])?;
    let service = optional(&fields, "service", |value| {
        let name = value.text()?;
        let fits = (1..=256).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Some(name.to_owned()) } else { value.refuse("a service has a name such as `shop.Cart`") }
    });
    Some(service?.unwrap_or_default())
}

/// `200` or `200-299`.
fn statuses(value: Value<'_>) -> Option<RangeInclusive<u16>> {
    value.parsed(|text| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(first..=last),
            _ => Err(format!("`{text}` is not a status such as 204, or a range such as 200-299")),
        }
    })
}

/// A share in whole percent.
fn percent(value: Value<'_>, least: u32, most: u32) -> Option<u32> {
    let share = value.permille(u32::MAX)?;
    if share.is_multiple_of(10) && (least..=most).contains(&(share / 10)) {
        return Some(share / 10);
    }
    value.refuse(format!("must be whole percent, {least}% to {most}%"))
}

/// A decimal number, in thousandths.
fn decimal(value: Value<'_>, least: u32, most: u32) -> Option<u32> {
    let thousandths = units::scaled(value.scalar()?, 1000).and_then(|number| u32::try_from(number).ok());
    let show = |number| f64::from(number) / 1000.0;
    match thousandths.filter(|number| (least..=most).contains(number)) {
        Some(number) => Some(number),
        None => value.refuse(format!("expected a number from {} to {}, to thousandths", show(least), show(most))),
    }
}
