//! Arbitrary valid meshes.
#![expect(unreachable_pub, reason = "shared by several tests")]

mod client;
mod overload;
mod protection;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use squall_policy::{
    AbortWith, BackendName, BackendPolicy, Backoff, Balancing, Budget, Candidates, Destination, Endpoint, FaultAbort,
    FaultDelay, HashKey, HashTable, Hashing, HeaderChange, HeaderMatch, HealthCheck, Inbound, Jitter, Limits, Mesh,
    PathMatch, Penalty, Probe, Protocol, QueryMatch, RetryOn, RetryPolicy, Route, RouteFault, RouteMatch,
    RouteTimeouts, SlowStart, Speaks, StreamPolicy, VirtualHost, WeightedBackend, WhenDown, Zones,
};
use squall_policy::{AccessRule, Authorization, Caller, Operation, PeerMode, TextMatch};

pub fn span(least_ms: u64, most_ms: u64) -> impl Strategy<Value = Duration> {
    (least_ms * 1_000_000..=most_ms * 1_000_000).prop_map(Duration::from_nanos)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Http1), Just(Protocol::Http2), Just(Protocol::Tcp)]
}

fn limits() -> impl Strategy<Value = Limits> {
    (1_u32.., any::<u32>(), option::of(span(1, 60_000)), overload::adaptive(), overload::queue()).prop_map(
        |(most, pending, queue_timeout, adaptive, queue)| {
            let in_flight = most.max(if adaptive.is_some() { 200 } else { 1 });
            Limits { in_flight, pending, queue_timeout, adaptive, queue }
        },
    )
}

fn balancing() -> impl Strategy<Value = Balancing> {
    prop_oneof![
        (span(1, 60_000), span(1, 60_000), 1_u32..9).prop_map(|(decay, default_rtt, choices)| Balancing::PeakEwma {
            decay,
            default_rtt,
            choices
        }),
        (1_u32..9).prop_map(|choices| Balancing::LeastRequest { choices }),
        Just(Balancing::RoundRobin),
        Just(Balancing::Random),
        hashing().prop_map(Balancing::Hash),
    ]
}

fn hashing() -> impl Strategy<Value = Hashing> {
    let table = prop_oneof![
        (1_u32..1000, 1000_u32..1 << 23).prop_map(|(min, max)| HashTable::Ring { min, max }),
        prop::sample::select(vec![2_u32, 251, 65_537]).prop_map(|size| HashTable::Maglev { size }),
    ];
    let key = prop_oneof![
        word().prop_map(HashKey::Header),
        word().prop_map(HashKey::Cookie),
        word().prop_map(HashKey::Query),
        Just(HashKey::Path),
        Just(HashKey::Source),
    ];
    (table, vec(key, 1..4), option::of(100_u32..1000), any::<bool>()).prop_map(|(table, keys, bound, refuses)| {
        let when_down = if refuses { WhenDown::Refuse } else { WhenDown::Next };
        Hashing { table, keys, bound_percent: bound.filter(|_| !refuses), when_down }
    })
}

/// Without what does not go together with `balancing`.
fn fitting(balancing: &Balancing, candidates: Candidates) -> Candidates {
    let is_sharded = matches!(balancing, Balancing::Hash(Hashing { when_down: WhenDown::Refuse, .. }));
    let (is_hash, is_random) = (matches!(balancing, Balancing::Hash(_)), matches!(balancing, Balancing::Random));
    Candidates {
        zones: candidates.zones.filter(|_| !is_sharded),
        slow_start: candidates.slow_start.filter(|_| !is_hash && !is_random),
        subset: candidates.subset.filter(|_| !is_hash),
        ..candidates
    }
}

fn candidates() -> impl Strategy<Value = Candidates> {
    let penalty = (span(1, 300), span(300, 60_000)).prop_map(|(first, last)| Penalty { first, last });
    let zones = (100_u32..=1000).prop_map(|overprovisioning_percent| Zones { overprovisioning_percent });
    let slow_start =
        (span(1, 60_000), 1_u32..10_000, 1_u32..=100).prop_map(|(window, aggression_permille, min_weight_percent)| {
            SlowStart { window, aggression_permille, min_weight_percent }
        });
    let parts = (
        option::of(penalty),
        0_u32..10_000,
        option::of(zones),
        0_u32..=100,
        option::of(slow_start),
        option::of(1_u32..),
    );
    parts.prop_map(|(penalty, request_bias_permille, zones, panic_percent, slow_start, subset)| Candidates {
        penalty,
        request_bias_permille,
        zones,
        panic_percent,
        slow_start,
        subset,
    })
}

fn health_check() -> impl Strategy<Value = HealthCheck> {
    let range = (100_u16..300, 300_u16..600).prop_map(|(first, last)| first..=last);
    let http = ("(/[a-z]{1,5}){1,3}", vec(range, 1..3)).prop_map(|(path, expected)| Probe::Http { path, expected });
    let probe = prop_oneof![http, Just(Probe::Connect), "[!-~]{0,9}".prop_map(|service| Probe::Grpc { service })];
    (probe, span(10, 60_000), 0_u32..=1000, span(1, 60_000), 1_u32..9, 1_u32..9).prop_map(
        |(probe, interval, jitter_permille, timeout, unhealthy_after, healthy_after)| HealthCheck {
            probe,
            interval,
            jitter_permille,
            timeout,
            unhealthy_after,
            healthy_after,
        },
    )
}

fn budget() -> impl Strategy<Value = Budget> {
    (0_u32..=1000, any::<u32>(), span(1000, 3_600_000)).prop_map(|(percent, min_per_second, window)| Budget {
        percent,
        min_per_second,
        window,
    })
}

pub fn backend_policy() -> impl Strategy<Value = BackendPolicy> {
    (
        ((balancing(), candidates(), option::of(health_check())), protection::all(), limits()),
        (
            option::of(overload::rate()),
            option::of(budget()),
            span(1, 60_000),
            option::of(span(1, 60_000)),
            protocol(),
            any::<bool>(),
        ),
        (client::retry_limits(), option::of(client::throttle()), option::of(client::hedging())),
    )
        .prop_map(
            |(
                ((balancing, candidates, health), (breaker, service_breaker, outliers), limits),
                (rate, budget, connect_timeout, pool_idle, protocol, mutual_tls),
                (retry_limits, throttle, hedging),
            )| {
                BackendPolicy {
                    candidates: fitting(&balancing, candidates),
                    balancing,
                    // gRPC is spoken over HTTP/2 only.
                    health: health.filter(|it| !matches!(it.probe, Probe::Grpc { .. }) || protocol == Protocol::Http2),
                    breaker,
                    service_breaker,
                    outliers,
                    limits,
                    rate,
                    budget,
                    retry_limits,
                    throttle,
                    hedging,
                    connect_timeout,
                    pool_idle,
                    protocol,
                    mutual_tls,
                }
            },
        )
}

fn retry_on() -> impl Strategy<Value = RetryOn> {
    prop_oneof![
        Just(RetryOn::ConnectFailure),
        Just(RetryOn::Reset),
        Just(RetryOn::RefusedStream),
        Just(RetryOn::PerTryTimeout),
        Just(RetryOn::Status5xx),
        Just(RetryOn::GatewayError),
        (400_u16..600).prop_map(RetryOn::Status),
        (1_u8..=16).prop_map(RetryOn::Grpc),
    ]
}

fn retry_policy() -> impl Strategy<Value = RetryPolicy> {
    let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal), Just(Jitter::Decorrelated)];
    (1_u32..=1000, btree_set(retry_on(), 1..5), span(1, 100), span(100, 300_000), jitter, any::<bool>(), 0_u32..1 << 24)
        .prop_map(|(retries, on, first, last, jitter, non_idempotent, buffer_bytes)| RetryPolicy {
            retries,
            on: on.into_iter().collect(),
            backoff: Backoff { first, last, jitter },
            non_idempotent,
            buffer_bytes,
        })
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,6}"
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        "(/[A-Za-z0-9._-]{1,5}){1,3}/?".prop_map(PathMatch::Exact),
        "(/[A-Za-z0-9._-]{1,5}){1,3}".prop_map(PathMatch::Prefix),
        Just(PathMatch::Prefix("/".to_owned())),
    ];
    let header = (word(), ".{0,4}").prop_map(|(name, value)| HeaderMatch { name, value });
    let query = (word(), ".{0,4}").prop_map(|(name, value)| QueryMatch { name, value });
    let method = option::of(prop_oneof![Just("GET".to_owned()), Just("post".to_owned())]);
    (path, method, vec(header, 0..3), vec(query, 0..3)).prop_map(|(path, method, headers, query)| RouteMatch {
        path,
        method,
        headers,
        query,
    })
}

fn header_changes() -> impl Strategy<Value = Vec<HeaderChange>> {
    let later = prop_oneof![
        (word(), "[a-z%]{0,3}").prop_map(|(name, value)| HeaderChange::Set { name, value }),
        (word(), "[a-z%]{0,3}").prop_map(|(name, value)| HeaderChange::Add { name, value }),
    ];
    (vec(word().prop_map(|name| HeaderChange::Remove { name }), 0..2), vec(later, 0..3))
        .prop_map(|(first, later)| first.into_iter().chain(later).collect())
}

fn route(names: Vec<BackendName>) -> BoxedStrategy<Route> {
    let backends = if names.is_empty() {
        Just(Vec::new()).boxed()
    } else {
        let backend = (prop::sample::select(names), prop_oneof![Just(0_u32), Just(1), 0_u32..=1_000_000])
            .prop_map(|(backend, weight)| WeightedBackend { backend, weight });
        vec(backend, 0..3).boxed()
    };
    let limit = || option::of(span(1, 60_000));
    let timeouts = (limit(), limit(), limit(), limit()).prop_map(|(request, per_try, idle, stream)| RouteTimeouts {
        request,
        per_try,
        idle,
        stream,
    });
    let rest = (timeouts, option::of(retry_policy()), option::of(fault()));
    (word(), route_match(), header_changes(), header_changes(), backends, rest)
        .prop_map(|(name, matches, request_headers, response_headers, backends, rest)| Route {
            name: name.into(),
            matches,
            request_headers,
            response_headers,
            backends,
            timeouts: rest.0,
            retry: rest.1,
            fault: rest.2,
            redirect: None,
        })
        .boxed()
}

fn fault() -> impl Strategy<Value = RouteFault> {
    let with = prop_oneof![(400_u16..600).prop_map(AbortWith::Status), (1_u8..17).prop_map(AbortWith::Grpc)];
    let delay = (span(1, 3_600_000), 1_u32..=1_000_000).prop_map(|(span, ppm)| FaultDelay { span, ppm });
    let abort = (with, 1_u32..=1_000_000).prop_map(|(with, ppm)| FaultAbort { with, ppm });
    let headers = vec((word(), "[ -~]{0,8}").prop_map(|(name, value)| HeaderMatch { name, value }), 0..3);
    (headers, delay, option::of(abort)).prop_map(|(headers, delay, abort)| RouteFault {
        headers,
        delay: Some(delay),
        abort,
    })
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let endpoint = (word(), "[abc]?", 1_u32..1000, option::of(word()), any::<bool>());
    btree_map(any::<([u8; 4], u16)>(), endpoint, 0..5).prop_map(|found| {
        let found = found.into_iter().map(|(address, (name, zone, weight, account, draining))| Endpoint {
            address: SocketAddr::from(address),
            name: name.into(),
            zone: zone.into(),
            weight,
            identity: account
                .map_or(String::new(), |account| format!("spiffe://cluster.local/ns/shop/sa/{account}"))
                .into(),
            draining,
        });
        found.collect()
    })
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal), Just(Jitter::Decorrelated)];
    (span(1, 100), span(100, 300_000), jitter).prop_map(|(first, last, jitter)| Backoff { first, last, jitter })
}

fn destination() -> impl Strategy<Value = Destination> {
    let speaks = prop_oneof![Just(Speaks::Http), Just(Speaks::Tcp), Just(Speaks::Unknown)];
    let policy = (option::of(span(1, 60_000)), option::of(span(1, 60_000)), 0_u32..1001, backoff());
    let policy = policy.prop_map(|(idle, longest, retries, backoff)| StreamPolicy { idle, longest, retries, backoff });
    (vec(any::<std::net::IpAddr>(), 0..3), any::<u16>(), vec(word(), 0..3), speaks, policy).prop_map(
        |(addresses, port, names, speaks, stream)| Destination {
            backend: BackendName::from_wire(""),
            addresses,
            port,
            names,
            speaks,
            stream,
        },
    )
}

fn access() -> impl Strategy<Value = Authorization> {
    let text = || {
        prop_oneof![
            Just(TextMatch::Any),
            "[ -9;-~]{0,6}".prop_map(TextMatch::Exact),
            "[ -9;-~]{1,6}".prop_map(TextMatch::Prefix),
            "[ -9;-~]{1,6}".prop_map(TextMatch::Suffix),
        ]
    };
    let four = move || [vec(text(), 0..3), vec(text(), 0..3), vec(text(), 0..3), vec(text(), 0..3)];
    let caller = move || {
        four().prop_map(|[principals, not_principals, namespaces, not_namespaces]| Caller {
            principals,
            not_principals,
            namespaces,
            not_namespaces,
        })
    };
    let operation = move || {
        four().prop_map(|[methods, not_methods, paths, not_paths]| Operation { methods, not_methods, paths, not_paths })
    };
    let rule = move || {
        (word(), vec(caller(), 0..3), vec(operation(), 0..3)).prop_map(|(name, from, to)| AccessRule {
            name,
            // One that says nothing is none.
            from: if from == [Caller::default()] { Vec::new() } else { from },
            to: if to == [Operation::default()] { Vec::new() } else { to },
        })
    };
    let rules = move || vec(rule(), 0..2);
    (rules(), option::of(rules()), rules()).prop_map(|(deny, allow, audit)| Authorization { deny, allow, audit })
}

fn peers() -> impl Strategy<Value = PeerMode> {
    prop::sample::select(&[PeerMode::Strict, PeerMode::Permissive, PeerMode::Disable][..])
}

/// Any mesh in normal form.
pub fn mesh() -> impl Strategy<Value = Mesh> {
    let name = (word(), word(), 1_u16..).prop_map(|(namespace, name, port)| BackendName::new(&namespace, &name, port));
    let backends = btree_map(name, (backend_policy(), endpoints()), 0..4);
    let inbound = btree_map(
        1_u16..,
        (limits(), option::of(overload::rate()), protocol(), access(), option::of(peers())).prop_map(
            |(limits, rate, protocol, mut access, peers)| {
                if protocol == Protocol::Tcp {
                    // Bytes have no method and no path.
                    let rules = [&mut access.deny, &mut access.audit].into_iter().chain(&mut access.allow);
                    rules.flatten().for_each(|rule| rule.to.clear());
                }
                Inbound { access, limits, rate, protocol, detect: protocol == Protocol::Http1, peers }
            },
        ),
        0..3,
    );
    (backends, inbound).prop_flat_map(|(backends, inbound)| {
        let names: Vec<BackendName> = backends.keys().cloned().collect();
        let hosts = vec((word(), btree_set(word(), 0..3), vec(route(names.clone()), 0..3)), 0..3);
        (hosts, vec(destination(), names.len())).prop_map(move |(hosts, reached)| {
            // One each, in the order of the backends.
            let named = names.iter().zip(reached);
            let destinations: Vec<Destination> =
                named.map(|(backend, found)| Destination { backend: backend.clone(), ..found }).collect();
            let mut taken = BTreeSet::new();
            let hosts = hosts.into_iter().map(|(name, domains, routes)| VirtualHost {
                name,
                domains: domains.into_iter().filter(|domain| taken.insert(domain.clone())).collect(),
                routes,
            });
            Mesh {
                hosts: hosts.collect(),
                backends: backends.iter().map(|(name, (policy, _))| (name.clone(), policy.clone())).collect(),
                endpoints: backends
                    .iter()
                    .filter(|(_, (_, endpoints))| !endpoints.is_empty())
                    .map(|(name, (_, endpoints))| (name.clone(), endpoints.clone()))
                    .collect::<BTreeMap<_, _>>(),
                inbound: inbound.clone(),
                destinations,
                gateway: Vec::new(),
            }
        })
    })
}
