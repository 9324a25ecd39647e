//! Balancing and health checks on the wire: Envoy's fields, and Squall's extension beside them, which is exact.

use std::ops::RangeInclusive;
use std::time::Duration;

use squall_policy::{
    BackendPolicy, Balancing, Candidates, HashKey, HashTable, Hashing, HealthCheck, Penalty, Probe, Protocol,
    SlowStart, WhenDown, Zones,
};

use crate::decode::span as read;
use crate::encode::span;
use crate::proto::{self, squall};

const fn u64_value(value: u32) -> Option<proto::UInt64> {
    Some(proto::UInt64 { value: value as u64 })
}

fn percent(percent: u32) -> Option<proto::Percent> {
    Some(proto::Percent { value: f64::from(percent) })
}

/// Envoy wants a key under which its operators may change the number.
fn double(permille: u32, key: &str) -> Option<proto::RuntimeDouble> {
    let runtime_key = format!("squall.{key}");
    Some(proto::RuntimeDouble { default_value: f64::from(permille) / 1000.0, runtime_key })
}

/// Fills Envoy's fields of a cluster with what they can say.
pub(crate) fn fill(cluster: &mut proto::Cluster, policy: &BackendPolicy) {
    let candidates = &policy.candidates;
    let slow_start = candidates.slow_start.map(|config| proto::SlowStart {
        window: span(config.window),
        aggression: double(config.aggression_permille, "aggression"),
        min_weight_percent: percent(config.min_weight_percent),
    });
    let mut bound = None;
    match &policy.balancing {
        Balancing::PeakEwma { choices, .. } | Balancing::LeastRequest { choices } => {
            let bias = candidates.request_bias_permille;
            cluster.lb_policy = 1;
            cluster.least_request = Some(proto::LeastRequest {
                // Envoy compares two at least.
                choice_count: Some(proto::UInt32 { value: (*choices).max(2) }),
                active_request_bias: if bias == 1000 { None } else { double(bias, "active_request_bias") },
                slow_start,
            });
        }
        Balancing::RoundRobin => {
            cluster.lb_policy = 0;
            cluster.round_robin = slow_start.map(|slow_start| proto::RoundRobin { slow_start: Some(slow_start) });
        }
        Balancing::Random => cluster.lb_policy = 3,
        Balancing::Hash(hashing) => {
            bound = hashing.bound_percent;
            match hashing.table {
                HashTable::Ring { min, max } => {
                    cluster.lb_policy = 2;
                    let (minimum_ring_size, maximum_ring_size) = (u64_value(min), u64_value(max));
                    cluster.ring_hash =
                        Some(proto::RingHash { minimum_ring_size, hash_function: 0, maximum_ring_size });
                }
                HashTable::Maglev { size } => {
                    cluster.lb_policy = 5;
                    cluster.maglev = Some(proto::MaglevLb { table_size: u64_value(size) });
                }
            }
        }
    }
    // Envoy panics by default; where nothing can make an endpoint unhealthy it has no reason to.
    let is_judged = policy.outliers.is_some() || policy.breaker.is_some() || policy.health.is_some();
    if is_judged || bound.is_some() || candidates.panic_percent > 0 {
        cluster.common_lb = Some(proto::CommonLb {
            healthy_panic_threshold: percent(candidates.panic_percent),
            consistent_hashing: bound
                .map(|value| proto::ConsistentHashing { hash_balance_factor: Some(proto::UInt32 { value }) }),
        });
    }
    cluster.health_checks = policy.health.iter().map(|check| health_check(check, policy.protocol)).collect();
}

fn health_check(check: &HealthCheck, protocol: Protocol) -> proto::HealthCheck {
    let (http, tcp, grpc) = match &check.probe {
        Probe::Connect => (None, Some(proto::Empty {}), None),
        Probe::Grpc { service } => (None, None, Some(proto::GrpcHealthCheck { service_name: service.clone() })),
        Probe::Http { path, expected } => {
            let range = |range: &RangeInclusive<u16>| proto::Int64Range {
                start: i64::from(*range.start()),
                end: i64::from(*range.end()) + 1,
            };
            let http = proto::HttpHealthCheck {
                path: path.clone(),
                expected_statuses: expected.iter().map(range).collect(),
                codec: match protocol {
                    Protocol::Http1 | Protocol::Tcp => 0,
                    Protocol::Http2 => 1,
                },
                // Without these Envoy's threshold does not hold for statuses.
                retriable_statuses: vec![proto::Int64Range { start: 100, end: 600 }],
            };
            (Some(http), None, None)
        }
    };
    proto::HealthCheck {
        timeout: span(check.timeout),
        interval: span(check.interval),
        unhealthy_threshold: Some(proto::UInt32 { value: check.unhealthy_after }),
        healthy_threshold: Some(proto::UInt32 { value: check.healthy_after }),
        http,
        tcp,
        grpc,
        no_traffic_interval: span(check.interval),
        interval_jitter_percent: check.jitter_permille.div_ceil(10),
    }
}

/// The keys as Envoy's clusters have them; it stops at the first that a request has.
pub(crate) fn hash_policy(balancing: &Balancing) -> Vec<proto::HashPolicy> {
    let Balancing::Hash(hashing) = balancing else { return Vec::new() };
    let policy = |key: &HashKey| {
        let named = |name: &String| Some(proto::HashName { name: name.clone() });
        let header = |name: &str| Some(proto::HashHeader { header_name: name.to_owned() });
        let terminal = proto::HashPolicy { terminal: true, ..proto::HashPolicy::default() };
        match key {
            HashKey::Header(name) => proto::HashPolicy { header: header(name), ..terminal },
            HashKey::Cookie(name) => proto::HashPolicy { cookie: named(name), ..terminal },
            HashKey::Query(name) => proto::HashPolicy { query: named(name), ..terminal },
            HashKey::Path => proto::HashPolicy { header: header(":path"), ..terminal },
            HashKey::Source => {
                proto::HashPolicy { connection: Some(proto::HashConnection { source_ip: true }), ..terminal }
            }
        }
    };
    hashing.keys.iter().map(policy).collect()
}

/// Squall's own words. What is as by default takes no byte.
pub(crate) fn encode(policy: &BackendPolicy, backend: &mut squall::Backend) {
    let candidates = &policy.candidates;
    backend.candidates = (*candidates != Candidates::default()).then(|| squall::Candidates {
        penalty_first: candidates.penalty.and_then(|penalty| span(penalty.first)),
        penalty_last: candidates.penalty.and_then(|penalty| span(penalty.last)),
        request_bias_permille: candidates.request_bias_permille,
        overprovisioning_percent: candidates.zones.map_or(0, |zones| zones.overprovisioning_percent),
        panic_percent: candidates.panic_percent,
        slow_start: candidates.slow_start.map(|config| squall::SlowStart {
            window: span(config.window),
            aggression_permille: config.aggression_permille,
            min_weight_percent: config.min_weight_percent,
        }),
        subset: candidates.subset.unwrap_or(0),
    });
    if let Balancing::Hash(hashing) = &policy.balancing {
        let (ring_min, ring_max, maglev_size) = match hashing.table {
            HashTable::Ring { min, max } => (min, max, 0),
            HashTable::Maglev { size } => (0, 0, size),
        };
        let key = |key: &HashKey| {
            let (kind, name) = match key {
                HashKey::Header(name) => (1, name.as_str()),
                HashKey::Cookie(name) => (2, name.as_str()),
                HashKey::Query(name) => (3, name.as_str()),
                HashKey::Path => (4, ""),
                HashKey::Source => (5, ""),
            };
            squall::HashKey { kind, name: name.to_owned() }
        };
        backend.hashing = Some(squall::Hashing {
            ring_min,
            ring_max,
            maglev_size,
            keys: hashing.keys.iter().map(key).collect(),
            bound_percent: hashing.bound_percent.unwrap_or(0),
            refuses: hashing.when_down == WhenDown::Refuse,
        });
    }
    backend.health = policy.health.as_ref().map(|check| {
        let mut grpc = None;
        let (path, expected) = match &check.probe {
            Probe::Connect => (String::new(), Vec::new()),
            Probe::Grpc { service } => {
                grpc = Some(squall::GrpcHealthCheck { service: service.clone() });
                (String::new(), Vec::new())
            }
            Probe::Http { path, expected } => {
                let bounds = expected.iter().flat_map(|range| [u32::from(*range.start()), u32::from(*range.end())]);
                (path.clone(), bounds.collect())
            }
        };
        squall::HealthCheck {
            path,
            expected,
            interval: span(check.interval),
            jitter_permille: check.jitter_permille,
            timeout: span(check.timeout),
            unhealthy_after: check.unhealthy_after,
            healthy_after: check.healthy_after,
            grpc,
        }
    });
}

/// Squall's own words, in place of Envoy's.
pub(crate) fn decode(backend: &squall::Backend, policy: &mut BackendPolicy) -> Result<(), &'static str> {
    policy.candidates = match &backend.candidates {
        None => Candidates::default(),
        Some(found) => Candidates {
            penalty: match (read(found.penalty_first)?, read(found.penalty_last)?) {
                (Some(first), Some(last)) => Some(Penalty { first, last }),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => return Err("half a penalty"),
            },
            request_bias_permille: found.request_bias_permille,
            zones: (found.overprovisioning_percent != 0)
                .then_some(Zones { overprovisioning_percent: found.overprovisioning_percent }),
            panic_percent: found.panic_percent,
            slow_start: match &found.slow_start {
                None => None,
                Some(config) => Some(SlowStart {
                    window: read(config.window)?.unwrap_or_default(),
                    aggression_permille: config.aggression_permille,
                    min_weight_percent: config.min_weight_percent,
                }),
            },
            subset: Some(found.subset).filter(|size| *size != 0),
        },
    };
    policy.health = backend.health.as_ref().map(squall_health_check).transpose()?;
    Ok(())
}

fn squall_health_check(found: &squall::HealthCheck) -> Result<HealthCheck, &'static str> {
    let status = |status: u32| u16::try_from(status).map_err(|_| "a status is too large");
    let (ranges, rest) = found.expected.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a range of statuses has one end");
    }
    let expected: Result<Vec<_>, &str> =
        ranges.iter().map(|[first, last]| Ok(status(*first)?..=status(*last)?)).collect();
    let probe = match (found.path.as_str(), &found.grpc) {
        ("", None) => Probe::Connect,
        ("", Some(grpc)) => Probe::Grpc { service: grpc.service.clone() },
        (_, Some(_)) => return Err("a health check is of HTTP or of gRPC"),
        (path, None) => Probe::Http { path: path.to_owned(), expected: expected? },
    };
    Ok(HealthCheck {
        probe,
        interval: read(found.interval)?.unwrap_or_default(),
        jitter_permille: found.jitter_permille,
        timeout: read(found.timeout)?.unwrap_or_default(),
        unhealthy_after: found.unhealthy_after,
        healthy_after: found.healthy_after,
    })
}

/// The hashing of Squall's own words.
pub(crate) fn hashing(found: Option<&squall::Hashing>) -> Result<Balancing, &'static str> {
    let found = found.ok_or("a balancing by hash does not say how")?;
    let key = |key: &squall::HashKey| match key.kind {
        1 => Ok(HashKey::Header(key.name.clone())),
        2 => Ok(HashKey::Cookie(key.name.clone())),
        3 => Ok(HashKey::Query(key.name.clone())),
        4 => Ok(HashKey::Path),
        5 => Ok(HashKey::Source),
        _ => Err("the kind of a key is unknown"),
    };
    Ok(Balancing::Hash(Hashing {
        table: match found.maglev_size {
            0 => HashTable::Ring { min: found.ring_min, max: found.ring_max },
            size => HashTable::Maglev { size },
        },
        keys: found.keys.iter().map(key).collect::<Result<_, _>>()?,
        bound_percent: Some(found.bound_percent).filter(|percent| *percent != 0),
        when_down: if found.refuses { WhenDown::Refuse } else { WhenDown::Next },
    }))
}

/// A field and what is wrong with it.
type Wrong = (&'static str, &'static str);

/// The hashing of a cluster that another control plane made.
pub(crate) fn envoy_hashing(cluster: &proto::Cluster, keys: &[proto::HashPolicy]) -> Result<Balancing, &'static str> {
    let size = |found: Option<proto::UInt64>, default: u32| {
        found.map_or(Ok(default), |size| u32::try_from(size.value).map_err(|_| "a size of more than 32 bits"))
    };
    let table = if cluster.lb_policy == 2 {
        let ring = cluster.ring_hash.unwrap_or_default();
        if ring.hash_function != 0 {
            return Err("the hash function must be XX_HASH");
        }
        HashTable::Ring { min: size(ring.minimum_ring_size, 1024)?, max: size(ring.maximum_ring_size, 8 << 20)? }
    } else {
        HashTable::Maglev { size: size(cluster.maglev.unwrap_or_default().table_size, 65_537)? }
    };
    if keys.is_empty() {
        return Err("the cluster's HttpProtocolOptions have no hash_policy (Squall reads none from routes)");
    }
    let bound = cluster.common_lb.and_then(|common| common.consistent_hashing?.hash_balance_factor);
    let last = keys.len() - 1;
    let mut found = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        found.push(match (&key.header, &key.cookie, &key.query, key.connection) {
            (Some(header), None, None, None) if !header.header_name.starts_with(':') => {
                HashKey::Header(header.header_name.to_ascii_lowercase())
            }
            (None, Some(cookie), None, None) => HashKey::Cookie(cookie.name.clone()),
            (None, None, Some(query), None) => HashKey::Query(query.name.clone()),
            _ => return Err("a hash_policy must be a header, a cookie or a query parameter"),
        });
        if index != last && !key.terminal {
            return Err("a hash_policy with others after it must be terminal: Squall hashes one key");
        }
    }
    Ok(Balancing::Hash(Hashing {
        table,
        keys: found,
        bound_percent: bound.map(|factor| factor.value),
        when_down: WhenDown::Next,
    }))
}

/// What a cluster that another control plane made says.
pub(crate) fn decode_envoy(cluster: &proto::Cluster, policy: &mut BackendPolicy) -> Result<(), Wrong> {
    policy.candidates = envoy_candidates(cluster)?;
    policy.health = envoy_health_check(cluster, policy.protocol)?;
    Ok(())
}

/// A number in whole thousandths, which a double holds only nearly.
fn permille(value: f64) -> Option<u32> {
    let thousandths = (value * 1000.0).round();
    ((0.0..1e9).contains(&thousandths) && (value * 1000.0 - thousandths).abs() < 1e-6).then_some(thousandths as u32)
}

fn envoy_candidates(cluster: &proto::Cluster) -> Result<Candidates, Wrong> {
    let mut candidates = Candidates { panic_percent: 50, ..Candidates::default() };
    if let Some(threshold) = cluster.common_lb.and_then(|common| common.healthy_panic_threshold) {
        if !(0.0..=100.0).contains(&threshold.value) || threshold.value.fract() != 0.0 {
            return Err(("common_lb_config.healthy_panic_threshold", "must be a whole number from 0 to 100"));
        }
        candidates.panic_percent = threshold.value as u32;
    }
    if let Some(bias) = cluster.least_request.as_ref().and_then(|least| least.active_request_bias.as_ref()) {
        let wrong = ("least_request_lb_config.active_request_bias", "must be 0 or more, in whole thousandths");
        candidates.request_bias_permille = permille(bias.default_value).ok_or(wrong)?;
    }
    let slow_start = match cluster.lb_policy {
        0 => cluster.round_robin.as_ref().and_then(|config| config.slow_start.as_ref()),
        1 => cluster.least_request.as_ref().and_then(|config| config.slow_start.as_ref()),
        _ => None,
    };
    if let Some(found) = slow_start {
        let wrong = |why| ("slow_start_config", why);
        let aggression = found.aggression.as_ref().map_or(1.0, |aggression| aggression.default_value);
        let least = found.min_weight_percent.map_or(10.0, |least| least.value);
        if !(1.0..=100.0).contains(&least) || least.fract() != 0.0 {
            return Err(wrong("min_weight_percent must be a whole number from 1 to 100"));
        }
        let aggression = permille(aggression).ok_or(wrong("aggression must be in whole thousandths"))?;
        // Without a window Envoy does not start slowly.
        candidates.slow_start = read(found.window).map_err(wrong)?.map(|window| SlowStart {
            window,
            aggression_permille: aggression,
            min_weight_percent: least as u32,
        });
    }
    Ok(candidates)
}

fn envoy_health_check(cluster: &proto::Cluster, protocol: Protocol) -> Result<Option<HealthCheck>, Wrong> {
    let found = match &cluster.health_checks[..] {
        [] => return Ok(None),
        [found] => found,
        _ => return Err(("health_checks", "Squall makes one kind per cluster")),
    };
    let needed = |span, field: &'static str| -> Result<Duration, Wrong> {
        read(span).map_err(|why| (field, why))?.ok_or((field, "is missing"))
    };
    let number = |number: Option<proto::UInt32>, field| number.map(|number| number.value).ok_or((field, "is missing"));
    let probe = match (&found.http, &found.tcp, &found.grpc) {
        (Some(http), None, None) => {
            if (http.codec == 1) != (protocol == Protocol::Http2) {
                return Err(("health_checks.http_health_check.codec_client_type", "must be what the cluster speaks"));
            }
            let range = |range: &proto::Int64Range| {
                let first = u16::try_from(range.start).ok()?;
                Some(first..=u16::try_from(range.end).ok()?.checked_sub(1)?)
            };
            let mut expected = Vec::with_capacity(1);
            for found in &http.expected_statuses {
                let wrong = ("health_checks.http_health_check.expected_statuses", "must be statuses, 100 to 599");
                expected.push(range(found).ok_or(wrong)?);
            }
            if expected.is_empty() {
                expected.push(200..=200);
            }
            Probe::Http { path: http.path.clone(), expected }
        }
        (None, Some(_), None) => Probe::Connect,
        (None, None, Some(grpc)) if protocol == Protocol::Http2 => Probe::Grpc { service: grpc.service_name.clone() },
        (None, None, Some(_)) => return Err(("health_checks.grpc_health_check", "needs a cluster that speaks HTTP/2")),
        (_, _, _) => return Err(("health_checks", "must be of one of HTTP, gRPC and TCP")),
    };
    let interval = needed(found.interval, "health_checks.interval")?;
    if read(found.no_traffic_interval).is_ok_and(|other| other.is_some_and(|other| other != interval)) {
        return Err(("health_checks.no_traffic_interval", "must be `interval`: Squall asks as often without traffic"));
    }
    Ok(Some(HealthCheck {
        probe,
        interval,
        jitter_permille: found.interval_jitter_percent.saturating_mul(10),
        timeout: needed(found.timeout, "health_checks.timeout")?,
        unhealthy_after: number(found.unhealthy_threshold, "health_checks.unhealthy_threshold")?,
        healthy_after: number(found.healthy_threshold, "health_checks.healthy_threshold")?,
    }))
}
