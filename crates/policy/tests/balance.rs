//! Where requests go: keys, zones, panic, weights, new endpoints, subsets, health checks, failures. Seen as the shell sees it.

#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else comes is what the test is about")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Answer, Backend, BackendEvent, BackendName, BackendPolicy, Backoff, Balancing, BreakerConfig, Candidates, Ended,
    Endpoint, Exchange, HashKey, HashTable, Hashing, HealthCheck, Here, Instant, Jitter, Probe, ProbeOrder,
    ProbeResult, Reason, RequestFacts, RetryOn, RetryPolicy, Rng, RouteTimeouts, SlowStart, Step, WhenDown, Zones,
};

/// `n` endpoints of each of these zones: `a-0`, `a-1`, `b-0`, …
fn endpoints(zones: &[(&str, u8)]) -> Vec<Endpoint> {
    let of = |(number, (zone, n)): (u8, &(&str, u8))| {
        let zone = (*zone).to_owned();
        (0..*n).map(move |index| Endpoint {
            address: ([10, 0, number, index], 80).into(),
            name: format!("{zone}-{index}").into(),
            zone: zone.as_str().into(),
            weight: 1,
            identity: Arc::from(""),
            draining: false,
        })
    };
    (0_u8..).zip(zones).flat_map(of).collect()
}

fn backend(policy: BackendPolicy, endpoints: &[Endpoint]) -> Backend {
    assert_eq!(policy.check(), Ok(()));
    let here = Here { zone: "a".into(), proxy: "shop/web-0".into() };
    let name = BackendName::new("shop", "cart", 80);
    let mut backend = Backend::new(name, policy, Rng::from_seed(1)).at(here);
    backend.set_endpoints(Instant::ZERO, endpoints);
    backend
}

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// A request under way.
fn open(backend: &mut Backend, now: Instant, hash: Option<u64>) -> Result<(Exchange, Arc<str>), Reason> {
    let facts = RequestFacts { idempotent: true, hash, ..RequestFacts::default() };
    let mut exchange = Exchange::begin(now, backend, facts, RouteTimeouts::default(), None);
    match exchange.step(now, backend) {
        Step::Try(attempt) => Ok((exchange, Arc::clone(&attempt.endpoint.name))),
        Step::Reply(reply) => Err(reply.reason),
        other => panic!("{other:?}"),
    }
}

fn close(backend: &mut Backend, now: Instant, mut exchange: Exchange, status: u16) {
    exchange.on_head(now, backend, 1, Answer { status, grpc: None, retry_after: None, replayable: true });
    assert_eq!(exchange.step(now, backend), Step::Forward(1));
    exchange.on_body_end(now, backend, Ended::Complete { grpc: None });
}

/// One request to its end.
fn send(backend: &mut Backend, now: Instant, hash: Option<u64>, status: u16) -> Result<Arc<str>, Reason> {
    let (exchange, endpoint) = open(backend, now, hash)?;
    // As long as peak EWMA takes an unknown endpoint for.
    close(backend, now + Duration::from_millis(30), exchange, status);
    Ok(endpoint)
}

/// How many of `count` requests, one after the other, go to each.
fn shares(backend: &mut Backend, now: Instant, count: u32) -> BTreeMap<Arc<str>, u32> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        *seen.entry(send(backend, now, None, 200).expect("someone is up")).or_insert(0) += 1;
    }
    seen
}

fn in_zone(shares: &BTreeMap<Arc<str>, u32>, zone: &str) -> u32 {
    shares.iter().filter(|(name, _)| name.starts_with(zone)).map(|(_, count)| count).sum()
}

fn events(backend: &mut Backend) -> Vec<BackendEvent> {
    std::iter::from_fn(|| backend.poll_event()).collect()
}

/// Answers all checks that are due.
fn check(backend: &mut Backend, now: Instant, result: impl Fn(&ProbeOrder) -> ProbeResult) -> usize {
    backend.on_deadline(now);
    let orders: Vec<_> = std::iter::from_fn(|| backend.poll_probe()).collect();
    orders.iter().for_each(|order| backend.on_probe(now, order.id, result(order)));
    orders.len()
}

fn hashing(table: HashTable, when_down: WhenDown, bound_percent: Option<u32>) -> BackendPolicy {
    let keys = vec![HashKey::Path];
    let balancing = Balancing::Hash(Hashing { table, keys, bound_percent, when_down });
    let breaker = BreakerConfig { consecutive_failures: Some(1), ..BreakerConfig::default() };
    BackendPolicy { balancing, breaker: Some(breaker), budget: None, ..BackendPolicy::default() }
}

fn with(change: impl FnOnce(&mut Candidates)) -> BackendPolicy {
    let mut policy = BackendPolicy { balancing: Balancing::RoundRobin, ..BackendPolicy::default() };
    change(&mut policy.candidates);
    policy
}

fn health_checked(panic_percent: u32) -> BackendPolicy {
    BackendPolicy {
        health: Some(HealthCheck {
            probe: Probe::Http { path: "/healthz".into(), expected: vec![200..=200] },
            interval: Duration::from_secs(1),
            jitter_permille: 0,
            timeout: Duration::from_millis(500),
            unhealthy_after: 2,
            healthy_after: 2,
        }),
        ..with(|candidates| candidates.panic_percent = panic_percent)
    }
}

const TABLES: [HashTable; 2] = [HashTable::RING, HashTable::MAGLEV];

#[test]
fn a_key_stays_and_moves_to_one_other_while_its_endpoint_is_down() {
    for table in TABLES {
        let mut backend = backend(hashing(table, WhenDown::Next, None), &endpoints(&[("a", 5)]));
        let home = send(&mut backend, at(0), Some(7), 200).expect("up");
        assert!((0..50).all(|_| send(&mut backend, at(1), Some(7), 200).as_ref() == Ok(&home)));
        assert_eq!(send(&mut backend, at(2), Some(7), 500).as_ref(), Ok(&home), "this opens its breaker");
        let next = send(&mut backend, at(3), Some(7), 200).expect("others are up");
        assert_ne!(next, home);
        assert!((0..50).all(|_| send(&mut backend, at(4), Some(7), 200).as_ref() == Ok(&next)));
        assert_eq!(send(&mut backend, at(5000), Some(7), 200).as_ref(), Ok(&home), "the probe goes home");
        assert_eq!(send(&mut backend, at(5001), Some(7), 200).as_ref(), Ok(&home));
    }
}

#[test]
fn a_key_of_a_shard_that_is_down_is_refused_and_others_are_served() {
    for table in TABLES {
        let mut backend = backend(hashing(table, WhenDown::Refuse, None), &endpoints(&[("a", 3)]));
        let home = send(&mut backend, at(0), Some(7), 500).expect("up");
        assert_eq!(send(&mut backend, at(1), Some(7), 200), Err(Reason::NoneAvailable));
        let keys = (0..300_u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let refused = keys.filter(|key| send(&mut backend, at(2), Some(*key), 200).is_err()).count();
        assert!((70..130).contains(&refused), "a third of the keys: {refused}");
        assert!((0..50).all(|_| send(&mut backend, at(3), None, 200).is_ok_and(|it| it != home)), "without a key");
    }
}

#[test]
fn a_retry_goes_to_the_next_or_stays_with_its_shard() {
    let retry = RetryPolicy {
        retries: 1,
        on: vec![RetryOn::Status5xx],
        backoff: Backoff { first: Duration::from_millis(1), last: Duration::from_millis(1), jitter: Jitter::None },
        non_idempotent: false,
        buffer_bytes: 0,
    };
    for (when_down, stays) in [(WhenDown::Next, false), (WhenDown::Refuse, true)] {
        let policy = BackendPolicy { breaker: None, ..hashing(HashTable::RING, when_down, None) };
        let mut backend = backend(policy, &endpoints(&[("a", 3)]));
        let facts = RequestFacts { idempotent: true, hash: Some(7), ..RequestFacts::default() };
        let mut exchange = Exchange::begin(at(0), &mut backend, facts, RouteTimeouts::default(), Some(&retry));
        let mut seen = Vec::new();
        for now in [at(0), at(10)] {
            let attempt = loop {
                match exchange.step(now, &mut backend) {
                    Step::Try(attempt) => break attempt,
                    Step::Cancel(_) => {}
                    other => panic!("{other:?}"),
                }
            };
            seen.push(Arc::clone(&attempt.endpoint.name));
            let answer = Answer { status: 503, grpc: None, retry_after: None, replayable: true };
            exchange.on_head(now, &mut backend, attempt.number, answer);
        }
        exchange.cancel(at(10), &mut backend);
        assert_eq!(seen[0] == seen[1], stays, "{seen:?}");
    }
}

#[test]
fn a_hot_key_spills_at_its_bound_and_no_earlier() {
    let mut backend = backend(hashing(HashTable::RING, WhenDown::Next, Some(150)), &endpoints(&[("a", 4)]));
    let mut open_ones = Vec::new();
    for _ in 0..40 {
        open_ones.push(open(&mut backend, at(0), Some(7)).expect("up"));
    }
    let mut pending: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    open_ones.iter().for_each(|(_, endpoint)| *pending.entry(Arc::clone(endpoint)).or_insert(0) += 1);
    let mut counts: Vec<u32> = pending.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [10, 15, 15], "40 ÷ 4 · 1.5");
    open_ones.into_iter().for_each(|(exchange, _)| close(&mut backend, at(1), exchange, 200));
    let home = send(&mut backend, at(2), Some(7), 200);
    assert!((0..20).all(|_| send(&mut backend, at(2), Some(7), 200) == home), "one at a time stays at home");
}

#[test]
fn the_own_zone_goes_first_and_spills_by_envoy_s_formula() {
    let policy = with(|candidates| (candidates.zones, candidates.panic_percent) = (Some(Zones::default()), 50));
    let policy = BackendPolicy {
        breaker: Some(BreakerConfig {
            consecutive_failures: Some(1),
            open_min: Duration::from_secs(60),
            ..BreakerConfig::default()
        }),
        ..policy
    };
    let mut backend = backend(policy, &endpoints(&[("a", 4), ("b", 4), ("c", 4)]));
    assert_eq!(in_zone(&shares(&mut backend, at(0), 1000), "a"), 1000);
    // Two of four open: 140 % of a half stays.
    for _ in 0..2 {
        assert!(send(&mut backend, at(1), None, 500).is_ok());
    }
    let seen = shares(&mut backend, at(2), 10_000);
    assert!((6800..7200).contains(&in_zone(&seen, "a")), "{seen:?}");
    assert_eq!(seen.len(), 2 + 8, "and the rest goes everywhere: {seen:?}");
    assert!(events(&mut backend).contains(&BackendEvent::ZoneShare { own_percent: 70 }));
}

#[test]
fn who_knows_no_zone_treats_all_alike() {
    let policy = with(|candidates| candidates.zones = Some(Zones::default()));
    let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1));
    backend.set_endpoints(at(0), &endpoints(&[("a", 2), ("b", 2)]));
    assert_eq!(shares(&mut backend, at(0), 400).len(), 4);
}

#[test]
fn an_endpoint_is_not_picked_before_its_first_check_and_not_while_it_fails() {
    let mut backend = backend(health_checked(0), &endpoints(&[("a", 3)]));
    assert_eq!(send(&mut backend, at(0), None, 200), Err(Reason::NoneAvailable), "nothing is known, and nobody panics");
    let sick = |order: &ProbeOrder| {
        if order.address.to_string() == "10.0.0.1:80" { ProbeResult::TimedOut } else { order.judge(200) }
    };
    assert_eq!(check(&mut backend, at(0), |order| order.judge(200)), 3, "the first checks are made at once");
    assert_eq!(shares(&mut backend, at(1), 30).len(), 3);
    assert_eq!(check(&mut backend, at(999), sick), 0);
    assert_eq!(check(&mut backend, at(1000), sick), 3);
    assert_eq!(shares(&mut backend, at(1001), 30).len(), 3, "one failure is not enough");
    assert_eq!(check(&mut backend, at(2000), sick), 3);
    assert_eq!(shares(&mut backend, at(2001), 30).keys().map(|name| &**name).collect::<Vec<_>>(), ["a-0", "a-2"]);
    assert!(events(&mut backend).contains(&BackendEvent::Unhealthy {
        endpoint: "a-1".into(),
        failures: 2,
        last: ProbeResult::TimedOut
    }));
    for second in [3, 4] {
        assert_eq!(check(&mut backend, at(second * 1000), |order| order.judge(200)), 3);
    }
    assert_eq!(shares(&mut backend, at(4001), 30).len(), 3);
    assert_eq!(events(&mut backend), [BackendEvent::Healthy { endpoint: "a-1".into(), first: false }]);
}

#[test]
fn only_expected_statuses_pass() {
    let mut backend = backend(health_checked(0), &endpoints(&[("a", 1)]));
    backend.on_deadline(at(0));
    let order = backend.poll_probe().expect("one is due");
    assert_eq!(
        [200, 204, 503].map(|status| order.judge(status)),
        [ProbeResult::Passed, ProbeResult::Status(204), ProbeResult::Status(503)]
    );
    assert_eq!(order.until, at(500));
    assert_eq!(backend.poll_probe(), None, "one at a time");
    assert_eq!(backend.poll_deadline(), None, "while it is under way");
}

#[test]
fn below_the_panic_threshold_the_unhealthy_serve_as_well_but_not_the_draining() {
    let mut list = endpoints(&[("a", 6)]);
    list[5].draining = true;
    let mut backend = backend(health_checked(50), &list);
    assert_eq!(shares(&mut backend, at(0), 50).len(), 5, "nothing is known: all are asked");
    check(&mut backend, at(0), |order| {
        if order.address.to_string().as_str() < "10.0.0.2" { order.judge(200) } else { order.judge(503) }
    });
    assert_eq!(shares(&mut backend, at(1), 50).len(), 5, "2 of 5 are too few");
    for second in [1, 2] {
        check(&mut backend, at(second * 1000), |order| {
            if order.address.to_string().as_str() < "10.0.0.3" { order.judge(200) } else { order.judge(503) }
        });
    }
    let seen = shares(&mut backend, at(2001), 50);
    assert_eq!(seen.keys().map(|name| &**name).collect::<Vec<_>>(), ["a-0", "a-1", "a-2"]);
    let told = events(&mut backend);
    assert!(
        told.contains(&BackendEvent::Panics { healthy: 0, of: 5 }) && told.contains(&BackendEvent::Calmed),
        "{told:?}"
    );
}

#[test]
fn a_check_of_settings_that_are_gone_does_not_count() {
    let mut backend = backend(health_checked(0), &endpoints(&[("a", 1)]));
    backend.on_deadline(at(0));
    let old = backend.poll_probe().expect("one is due");
    let mut policy = health_checked(0);
    policy.health.as_mut().expect("it has one").unhealthy_after = 7;
    backend.set_policy(at(1), policy);
    backend.on_deadline(at(1));
    assert!(backend.poll_probe().is_some(), "begun anew");
    backend.on_probe(at(2), old.id, ProbeResult::Passed);
    assert_eq!(send(&mut backend, at(2), None, 200), Err(Reason::NoneAvailable));
}

#[test]
fn a_new_endpoint_begins_with_a_small_share_under_every_policy_that_can() {
    let slow = SlowStart { window: Duration::from_secs(10), aggression_permille: 1000, min_weight_percent: 10 };
    for balancing in [Balancing::RoundRobin, Balancing::LeastRequest { choices: 2 }, Balancing::default()] {
        let policy =
            BackendPolicy { balancing: balancing.clone(), ..with(|candidates| candidates.slow_start = Some(slow)) };
        let all = endpoints(&[("a", 5)]);
        let mut backend = backend(policy, &all[..4]);
        assert!(shares(&mut backend, at(0), 1000).values().all(|count| (150..350).contains(count)), "all are new");
        backend.set_endpoints(at(60_000), &all);
        // Of 4.1, 4.5 and 5 parts; two draws of peak EWMA give it as much.
        for (after, share) in [(0, 24), (5000, 111), (10_000, 200)] {
            let seen = shares(&mut backend, at(60_000 + after), 1000).get("a-4").copied().unwrap_or(0);
            assert!(
                (share * 6 / 10..=share * 14 / 10).contains(&seen),
                "{balancing:?} after {after}: {seen} for {share}"
            );
        }
    }
}

#[test]
fn weighted_least_request_shares_by_weight_when_idle_and_by_weight_over_load_when_not() {
    let mut list = endpoints(&[("a", 3)]);
    (list[0].weight, list[1].weight, list[2].weight) = (1, 2, 7);
    let policy = |bias| BackendPolicy {
        balancing: Balancing::LeastRequest { choices: 2 },
        ..with(|candidates| candidates.request_bias_permille = bias)
    };
    let mut idle = backend(policy(1000), &list);
    let seen: Vec<u32> = shares(&mut idle, at(0), 1000).into_values().collect();
    assert!(seen.iter().zip([100_u32, 200, 700]).all(|(seen, want)| seen.abs_diff(want) <= 2), "{seen:?}");
    // 20 requests stay with the heaviest: weight 7 ÷ 21 is 1/3, so that it gets one in ten.
    let busy = |bias| {
        let mut backend = backend(policy(bias), &list);
        let mut held = Vec::new();
        while held.len() < 20 {
            let (exchange, endpoint) = open(&mut backend, at(0), None).expect("up");
            if &*endpoint == "a-2" { held.push(exchange) } else { close(&mut backend, at(0), exchange, 200) }
        }
        let seen = shares(&mut backend, at(0), 1000).get("a-2").copied().unwrap_or(0);
        held.into_iter().for_each(|exchange| close(&mut backend, at(0), exchange, 200));
        seen
    };
    assert!((90..=110).contains(&busy(1000)), "{}", busy(1000));
    assert!((690..=710).contains(&busy(0)), "without a bias only the weight counts: {}", busy(0));
}

#[test]
fn a_subset_is_kept_while_others_come_and_go() {
    let all = endpoints(&[("a", 20)]);
    let mut backend = backend(with(|candidates| candidates.subset = Some(4)), &all);
    let used: Vec<_> = shares(&mut backend, at(0), 200).into_keys().collect();
    assert_eq!(used.len(), 4);
    let others: Vec<_> = all
        .iter()
        .filter(|endpoint| used.contains(&endpoint.name) || endpoint.address.port() == 80 && endpoint.name.len() == 3)
        .cloned()
        .collect();
    backend.set_endpoints(at(1), &others);
    assert_eq!(shares(&mut backend, at(1), 200).into_keys().collect::<Vec<_>>(), used);
    let gone: Vec<_> = all.iter().filter(|endpoint| endpoint.name != used[0]).cloned().collect();
    backend.set_endpoints(at(2), &gone);
    let now: Vec<_> = shares(&mut backend, at(2), 200).into_keys().collect();
    assert_eq!(now.len(), 4);
    assert_eq!(now.iter().filter(|name| used.contains(name)).count(), 3);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// An endpoint that fails at once looks idle. It must not get more than its share all the same, as long as the others
        /// cost less than the most that failures make it cost (5 s): where they are more overloaded than that, it takes turns.
        #[test]
        fn fast_failures_do_not_attract_load(
            n in 2_u8..6,
            rate_per_s in 20_u64..400,
            service_ms in 5_u64..200,
            least_request in any::<bool>(),
        ) {
            // Little's law: what is in flight, spread over the healthy ones, each request of it as dear as it is slow.
            let in_flight = rate_per_s * service_ms / 1000 / u64::from(n - 1) + 1;
            prop_assume!(least_request || in_flight * service_ms < 2500);
            let balancing = if least_request { Balancing::LeastRequest { choices: 2 } } else { Balancing::default() };
            let policy = BackendPolicy { balancing, ..BackendPolicy::default() };
            let mut backend = backend(policy, &endpoints(&[("a", n)]));
            let (mut live, mut to_ill, sent) = (std::collections::VecDeque::new(), 0_u64, 1000_u64);
            for number in 0..sent {
                let now = Instant::from_nanos(number * 1_000_000_000 / rate_per_s);
                while live.front().is_some_and(|(ends, _)| *ends <= now) {
                    let (ends, exchange) = live.pop_front().expect("just seen");
                    close(&mut backend, ends, exchange, 200);
                }
                let (exchange, endpoint) = open(&mut backend, now, None).expect("no breaker is on");
                if &*endpoint == "a-0" {
                    to_ill += 1;
                    close(&mut backend, now, exchange, 503);
                } else {
                    live.push_back((now + Duration::from_millis(service_ms), exchange));
                }
            }
            live.into_iter().for_each(|(ends, exchange)| close(&mut backend, ends, exchange, 200));
            prop_assert!(to_ill <= sent / u64::from(n), "{} of {} to one of {}", to_ill, sent, n);
        }
    }
}
