//! `loadBalancing` and `healthCheck` of a TrafficPolicy, as the proxies get them, and what a person reads when they are wrong.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes is what the test is about")]

#[expect(dead_code, reason = "shared with the tests of references, which use the rest")]
mod shop;

use std::time::Duration;

use shop::SHOP;
use squall_control::Resources;
use squall_policy::{
    BackendName, BackendPolicy, Balancing, Candidates, HashKey, HashTable, Hashing, HealthCheck, Penalty, Probe,
    SlowStart, WhenDown, Zones,
};

fn policy(more: &str) -> BackendPolicy {
    policy_of(&format!("{SHOP}{more}"))
}

fn policy_of(text: &str) -> BackendPolicy {
    let mesh = shop::mesh(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let policy = mesh.backends[&BackendName::new("shop", "catalog", 80)].clone();
    assert_eq!(policy.check(), Ok(()), "what is read is within its limits");
    policy
}

#[track_caller]
fn refused(more: &str, want: &[&str]) {
    let text = format!("{SHOP}{more}");
    let Err(mistakes) = Resources::read(&[("shop.yaml", &text)]) else { panic!("taken: {more}") };
    let found: Vec<String> =
        mistakes.iter().map(|mistake| format!("{}: {}", mistake.place.line, mistake.message)).collect();
    assert_eq!(found, want, "{more}");
}

#[test]
fn a_key_is_hashed_as_said() {
    let hashing = |more: &str| match policy(&format!("  loadBalancing: {more}\n")).balancing {
        Balancing::Hash(hashing) => hashing,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        hashing("{algorithm: RingHash, key: {header: X-User}}"),
        Hashing {
            table: HashTable::Ring { min: 1024, max: 8_388_608 },
            keys: vec![HashKey::Header("x-user".into())],
            bound_percent: None,
            when_down: WhenDown::Next,
        }
    );
    assert_eq!(
        hashing(
            "{algorithm: Maglev, tableSize: 251, key: [{cookie: session}, {query: user}, path, source], boundedLoads: 125%}"
        ),
        Hashing {
            table: HashTable::Maglev { size: 251 },
            keys: vec![
                HashKey::Cookie("session".into()),
                HashKey::Query("user".into()),
                HashKey::Path,
                HashKey::Source
            ],
            bound_percent: Some(125),
            when_down: WhenDown::Next,
        }
    );
    let sharded = hashing("{algorithm: RingHash, ring: {max: 512}, key: path, whenDown: Refuse}");
    assert_eq!((sharded.table, sharded.when_down), (HashTable::Ring { min: 512, max: 512 }, WhenDown::Refuse));
}

#[test]
fn candidates_are_chosen_as_said_and_by_default_as_ever() {
    assert_eq!(policy("  loadBalancing: {algorithm: RoundRobin}\n").candidates, Candidates::default());
    assert_eq!(policy("  limits: {inFlight: 7}\n").candidates, Candidates::default());
    assert_eq!(
        policy(
            "  loadBalancing:
    algorithm: LeastRequest
    requestBias: 0.5
    failurePenalty: {first: 100ms, max: 1s}
    slowStart: {window: 30s, aggression: 1.5, minWeight: 5%}
    subset: 20
    zones: {mode: PreferLocal, overprovisioning: 120%}
    panicThreshold: 30%
"
        )
        .candidates,
        Candidates {
            penalty: Some(Penalty { first: Duration::from_millis(100), last: Duration::from_secs(1) }),
            request_bias_permille: 500,
            zones: Some(Zones { overprovisioning_percent: 120 }),
            panic_percent: 30,
            slow_start: Some(SlowStart {
                window: Duration::from_secs(30),
                aggression_permille: 1500,
                min_weight_percent: 5
            }),
            subset: Some(20),
        }
    );
    assert_eq!(policy("  loadBalancing: {failurePenalty: {off: true}}\n").candidates.penalty, None);
    let first =
        |more: &str| policy(&format!("  loadBalancing: {more}\n")).candidates.penalty.map(|penalty| penalty.first);
    assert_eq!(first("{defaultRtt: 5ms}"), Some(Duration::from_millis(50)), "ten times an unknown endpoint");
    assert_eq!(first("{defaultRtt: 50s}"), Some(Duration::from_secs(5)));
    assert_eq!(policy("  loadBalancing: {zones: {mode: Any}}\n").candidates.zones, None);
}

#[test]
fn half_of_the_endpoints_is_the_panic_threshold_where_somebody_says_who_is_healthy() {
    let panic = |more: &str| policy(more).candidates.panic_percent;
    assert_eq!(panic("  outlierDetection: {}\n"), 0);
    assert_eq!(panic("  healthCheck: {path: /}\n"), 50);
    assert_eq!(panic("  loadBalancing: {zones: {mode: PreferLocal}}\n"), 50);
    assert_eq!(panic("  loadBalancing: {panicThreshold: 0%}\n  healthCheck: {path: /}\n"), 0);
}

#[test]
fn health_checks_are_made_as_said() {
    assert_eq!(
        policy("  healthCheck: {path: /healthz}\n").health,
        Some(HealthCheck {
            probe: Probe::Http { path: "/healthz".into(), expected: vec![200..=200] },
            interval: Duration::from_secs(5),
            jitter_permille: 100,
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        })
    );
    let said = "  healthCheck: {path: /up, expect: [204, 300-399], interval: 1s, jitter: 0%, timeout: 100ms, unhealthyAfter: 1, healthyAfter: 5}\n";
    let found = policy(said).health.expect("said");
    assert_eq!(found.probe, Probe::Http { path: "/up".into(), expected: vec![204..=204, 300..=399] });
    assert_eq!((found.interval, found.timeout), (Duration::from_secs(1), Duration::from_millis(100)));
    assert_eq!((found.jitter_permille, found.unhealthy_after, found.healthy_after), (0, 1, 5));
    assert_eq!(policy("  healthCheck: {connect: true}\n").health.map(|check| check.probe), Some(Probe::Connect));
    assert_eq!(policy("  loadBalancing: {}\n").health, None);
}

#[test]
fn health_checks_by_grpc_need_ports_that_speak_it() {
    let grpc = SHOP.replace("{port: 80}", "{port: 80, appProtocol: grpc}");
    let asked = |more: &str| {
        let found = policy_of(&format!("{grpc}  healthCheck: {more}\n"));
        found.health.expect("said").probe
    };
    assert_eq!(asked("{grpc: {}}"), Probe::Grpc { service: String::new() });
    assert_eq!(asked("{grpc: {service: shop.Catalog}}"), Probe::Grpc { service: "shop.Catalog".into() });
    refused(
        "  healthCheck: {grpc: {}}\n",
        &["11: port 80 of Service `catalog` speaks HTTP/1.1, so it cannot be asked by gRPC"],
    );
    refused("  healthCheck: {grpc: {}, expect: [200]}\n", &["11: `expect` has no meaning where no status comes back"]);
    let one =
        "11: a health check asks for a `path`, or by `grpc`, or only makes a connection (`connect: true`): one of them";
    refused("  healthCheck: {grpc: {}, path: /}\n", &[one]);
    refused("  healthCheck: {grpc: {service: ''}}\n", &["11: a service has a name such as `shop.Cart`"]);
}

#[test]
fn settings_that_do_not_go_together_are_refused_where_they_stand() {
    refused("  loadBalancing: {algorithm: RingHash}\n", &["11: loadBalancing needs `key`"]);
    refused(
        "  loadBalancing: {algorithm: RingHash, key: path, tableSize: 251, slowStart: {window: 1s}, subset: 3}\n",
        &[
            "11: `tableSize` has no meaning with `RingHash`",
            "11: `slowStart` has no meaning with `RingHash`",
            "11: `subset` has no meaning with `RingHash`",
        ],
    );
    refused(
        "  loadBalancing: {algorithm: Maglev, key: path, tableSize: 65536}\n",
        &["11: 65536 is not a prime, such as 251, 65537 or 655373"],
    );
    refused(
        "  loadBalancing:
    algorithm: Maglev
    key: path
    whenDown: Refuse
    boundedLoads: 125%
    zones: {mode: PreferLocal}
",
        &[
            "15: `boundedLoads` sends a key elsewhere, and `whenDown: Refuse` says that nobody else has it",
            "16: `zones` sends a key elsewhere, and `whenDown: Refuse` says that nobody else has it",
        ],
    );
    refused(
        "  loadBalancing: {algorithm: Random, slowStart: {window: 1s}}\n",
        &["11: `slowStart` has no meaning with `Random`"],
    );
    refused(
        "  loadBalancing: {algorithm: RingHash, key: {header: a, cookie: b}}\n",
        &["11: a key is `path`, `source`, or one of {header: NAME}, {cookie: NAME}, {query: NAME}"],
    );
    refused("  loadBalancing: {panicThreshold: 12.5%}\n", &["11: must be whole percent, 0% to 100%"]);
    refused(
        "  loadBalancing: {zones: {mode: PreferLocal, overprovisioning: 90%}}\n",
        &["11: must be whole percent, 100% to 1000%"],
    );
    refused(
        "  loadBalancing: {zones: {mode: Any, overprovisioning: 150%}}\n",
        &["11: `overprovisioning` has no meaning where zones do not matter"],
    );
    refused("  loadBalancing: {slowStart: {aggression: 2}}\n", &["11: slowStart needs `window`"]);
    refused(
        "  loadBalancing: {failurePenalty: {off: true, max: 1s}}\n",
        &["11: `max` has no meaning without a penalty"],
    );
    refused(
        "  healthCheck: {interval: 1s}\n",
        &[
            "11: a health check asks for a `path`, or by `grpc`, or only makes a connection (`connect: true`): one of them",
        ],
    );
    refused("  healthCheck: {path: healthz}\n", &["11: a path begins with `/` and has no spaces"]);
    refused(
        "  healthCheck: {path: /, expect: [20]}\n",
        &["11: `20` is not a status such as 204, or a range such as 200-299"],
    );
    refused(
        "  healthCheck: {connect: true, expect: [204]}\n",
        &["11: `expect` has no meaning where no status comes back"],
    );
}
