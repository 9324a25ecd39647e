//! What one request costs the policy core: `cargo bench --bench policy`. In CPU time, not by the clock on the wall.
//!
//! `-- --count ROW REQUESTS` makes so many requests with everything on and measures nothing, for `valgrind --tool=callgrind`: the
//! difference of two such runs tells the instructions of a request. The rows are those of `everything`, from 0.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkId, Criterion};
use squall_policy::{
    Adaptive, Answer, Backend, BackendName, BackendPolicy, Backoff, Balancing, BreakerConfig, Candidates, Class,
    ClientThrottle, Codel, Ended, Endpoint, Exchange, Gradient, HashKey, HashTable, Hashing, HedgeAfter, Hedging, Here,
    Instant, Jitter, Limits, OutlierConfig, PathMatch, Queue, Rank, Rate, RateLimit, Replay, RequestFacts, RequestLine,
    RetryBreaker, RetryBucket, RetryLimits, RetryOn, RetryPolicy, RetryShare, RetryThrottling, Rng, Route, RouteMatch,
    RouteTable, RouteTimeouts, SlowCalls, SlowStart, Step, SuccessRate, Ticket, Vegas, VirtualHost, WhenDown, Zones,
};

/// CPU time of this thread: on a shared machine the clock on the wall tells how busy the others are. The kernel brings it up to
/// date at each tick, so samples want to be much longer than one.
struct Cpu;

impl Measurement for Cpu {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells a thread's CPU time");
        let nanos = stat.split(' ').next().and_then(|field| field.parse().ok());
        Duration::from_nanos(nanos.expect("its first field is nanoseconds"))
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn endpoints(count: u16) -> Vec<Endpoint> {
    (0..count)
        .map(|n| {
            let [high, low] = n.to_be_bytes();
            Endpoint {
                address: ([10, 0, high, low], 80).into(),
                name: format!("pod-{n}").into(),
                zone: Arc::from(""),
                weight: 1,
                identity: "spiffe://cluster.local/ns/shop/sa/cart".into(),
                draining: false,
            }
        })
        .collect()
}

/// Everything on: breaker, outliers, budget.
fn backend(balancing: Balancing, count: u16) -> Backend {
    let policy = BackendPolicy {
        balancing,
        breaker: Some(BreakerConfig::default()),
        outliers: Some(OutlierConfig::default()),
        ..BackendPolicy::default()
    };
    let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1));
    backend.set_endpoints(Instant::ZERO, &endpoints(count));
    backend
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        retries: 2,
        on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::GatewayError],
        backoff: Backoff { first: Duration::from_millis(25), last: Duration::from_millis(250), jitter: Jitter::Full },
        non_idempotent: false,
        buffer_bytes: 65_536,
    }
}

/// One request whose tries answer `statuses` one after the other.
fn request(backend: &mut Backend, now: &mut Instant, retry: &RetryPolicy, statuses: &[u16]) {
    let hash = Some(now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let facts = RequestFacts { idempotent: true, hash, ..RequestFacts::default() };
    let timeouts = RouteTimeouts {
        request: Some(Duration::from_secs(1)),
        per_try: Some(Duration::from_millis(250)),
        ..RouteTimeouts::default()
    };
    let mut exchange = Exchange::begin(*now, backend, facts, timeouts, Some(retry));
    let mut statuses = statuses.iter();
    loop {
        match black_box(exchange.step(*now, backend)) {
            Step::Try(attempt) => {
                *now = *now + Duration::from_micros(300);
                let status = *statuses.next().expect("a status for each try");
                let answer = Answer { status, grpc: None, retry_after: None, replayable: true };
                exchange.on_head(*now, backend, attempt.number, answer);
            }
            Step::Forward(_) => exchange.on_body_end(*now, backend, Ended::Complete { grpc: None }),
            Step::Wait { until, .. } => *now = until.expect("only back-offs wait here"),
            Step::Cancel(_) | Step::Reply(_) => {}
            Step::Done => break,
        }
    }
    // As a shell does: events that wait to be told keep zones and panic from being remembered.
    while black_box(backend.poll_event()).is_some() {}
}

fn exchange(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("exchange");
    let retry = retry();
    for count in [3, 100, 1000] {
        for (name, balancing) in [("peak-ewma", Balancing::default()), ("random", Balancing::Random)] {
            let mut backend = backend(balancing, count);
            let mut now = Instant::from_nanos(1);
            group.bench_with_input(BenchmarkId::new(name, count), &count, |b, _| {
                b.iter(|| request(&mut backend, &mut now, &retry, &[200]));
            });
        }
    }
    let mut backend = backend(Balancing::default(), 100);
    // Half of all tries fail here: whatever would refuse some is off.
    let unprotected = BackendPolicy { breaker: None, outliers: None, budget: None, ..backend.policy().clone() };
    backend.set_policy(Instant::ZERO, unprotected);
    let mut now = Instant::from_nanos(1);
    group.bench_function("one retry", |b| b.iter(|| request(&mut backend, &mut now, &retry, &[503, 200])));
    group.finish();
}

/// What the other ways to pick cost a request: by key, by weight, by zone, while endpoints are new.
fn balancing(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("balancing");
    let retry = retry();
    let hash = |table, bound_percent| {
        let keys = vec![HashKey::Path];
        Balancing::Hash(Hashing { table, keys, bound_percent, when_down: WhenDown::Next })
    };
    let slow_start = SlowStart { window: HOUR, aggression_permille: 1000, min_weight_percent: 10 };
    let zones = Candidates { zones: Some(Zones::default()), panic_percent: 50, ..Candidates::default() };
    let warming = Candidates { slow_start: Some(slow_start), ..Candidates::default() };
    let least = Balancing::LeastRequest { choices: 2 };
    for (name, balancing, candidates) in [
        ("ring", hash(HashTable::RING, None), Candidates::default()),
        ("maglev", hash(HashTable::MAGLEV, None), Candidates::default()),
        ("ring, bounded loads", hash(HashTable::RING, Some(125)), Candidates::default()),
        ("peak-ewma, own zone first", Balancing::default(), zones),
        ("peak-ewma, slow start", Balancing::default(), warming.clone()),
        ("least-request, slow start", least, warming.clone()),
        ("round-robin, slow start", Balancing::RoundRobin, warming),
    ] {
        let base = backend(balancing.clone(), 1);
        let policy = BackendPolicy { candidates, ..base.policy().clone() };
        let here = Here { zone: "a".into(), proxy: "shop/web-0".into() };
        let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1)).at(here);
        backend.set_endpoints(Instant::ZERO, &endpoints(100));
        let mut now = Instant::from_nanos(1);
        group.bench_function(name, |b| b.iter(|| request(&mut backend, &mut now, &retry, &[200])));
    }
    for (name, table) in [("ring", HashTable::RING), ("maglev", HashTable::MAGLEV)] {
        let list = endpoints(100);
        group.bench_function(format!("set 100 endpoints, {name}"), |b| {
            b.iter_batched_ref(
                || backend(hash(table, None), 1),
                |backend| backend.set_endpoints(Instant::from_nanos(1), black_box(&list)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

const HOUR: Duration = Duration::from_secs(3600);

/// What budgets, throttle and hedging cost a request that needs none of them, and what a hedge costs.
fn client(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("client");
    let limits = RetryLimits {
        share: Some(RetryShare::default()),
        bucket: Some(RetryBucket::default()),
        throttling: Some(RetryThrottling::default()),
        breaker: Some(RetryBreaker { window: Some(Duration::from_secs(10)), ..RetryBreaker::default() }),
    };
    let throttle = Some(ClientThrottle::default());
    let hedging = Some(Hedging::default());
    for (name, retry_limits, throttle, hedging) in [
        ("all budgets", limits, None, None),
        ("throttle", RetryLimits::default(), throttle, None),
        ("hedging by percentile", RetryLimits::default(), None, hedging),
    ] {
        let mut backend = backend(Balancing::default(), 100);
        let policy = BackendPolicy { retry_limits, throttle, hedging, ..backend.policy().clone() };
        backend.set_policy(Instant::ZERO, policy);
        let (mut now, retry) = (Instant::from_nanos(1), retry());
        group.bench_function(name, |b| b.iter(|| request(&mut backend, &mut now, &retry, &[200])));
    }
    let mut backend = backend(Balancing::default(), 100);
    let hedging = Hedging { after: HedgeAfter::Delay(Duration::from_millis(1)), ..Hedging::default() };
    let policy = BackendPolicy { hedging: Some(hedging), budget: None, ..backend.policy().clone() };
    backend.set_policy(Instant::ZERO, policy);
    let mut now = Instant::from_nanos(1);
    group.bench_function("one hedge", |b| {
        b.iter(|| {
            let facts = RequestFacts { idempotent: true, ..RequestFacts::default() };
            let mut exchange = Exchange::begin(now, &mut backend, facts, RouteTimeouts::default(), None);
            loop {
                match black_box(exchange.step(now, &mut backend)) {
                    Step::Try(attempt) if attempt.number == 2 => {
                        let answer = Answer { status: 200, grpc: None, retry_after: None, replayable: true };
                        exchange.on_head(now, &mut backend, 2, answer);
                    }
                    Step::Wait { until, .. } => {
                        now = until.expect("a hedge is waited for");
                        exchange.on_deadline(now, &mut backend, Replay::AtOnce);
                    }
                    Step::Forward(_) => exchange.on_body_end(now, &mut backend, Ended::Complete { grpc: None }),
                    Step::Try(_) | Step::Cancel(_) | Step::Reply(_) => {}
                    Step::Done => break,
                }
            }
            while exchange.poll_note().is_some() {}
        });
    });
    group.finish();
}

/// What limits cost a request that they let in.
fn overload(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("overload");
    let rate = Rate { requests: u32::MAX, per: Duration::from_secs(1), burst: u32::MAX };
    let rates = RateLimit { total: Some(rate), per_caller: Some(rate), overrides: Vec::new() };
    let queue = Queue { priorities: true, codel: Some(Codel::default()), deadline_aware: true, ..Queue::default() };
    let gradient = Some(Adaptive::Gradient(Gradient::default()));
    let vegas = Some(Adaptive::Vegas(Vegas::default()));
    let default = Limits::default();
    for (name, limits, rate) in [
        ("fixed", default, None),
        ("gradient", Limits { adaptive: gradient, ..default }, None),
        ("vegas", Limits { adaptive: vegas, ..default }, None),
        ("queue", Limits { queue, ..default }, None),
        ("rates", default, Some(rates)),
    ] {
        let mut backend = backend(Balancing::RoundRobin, 1);
        let policy = BackendPolicy { limits, rate, breaker: None, outliers: None, ..backend.policy().clone() };
        backend.set_policy(Instant::ZERO, policy);
        let (mut now, retry) = (Instant::from_nanos(1), retry());
        group.bench_function(name, |b| {
            b.iter(|| request(&mut backend, &mut now, &retry, &[200]));
        });
    }
    // A full queue: each newcomer takes the place of the worst, or is refused.
    let mut backend = backend(Balancing::RoundRobin, 1);
    let limits = Limits { in_flight: 1, pending: 1024, queue, ..default };
    backend.set_policy(Instant::ZERO, BackendPolicy { limits, ..backend.policy().clone() });
    let mut waiting: BTreeMap<Ticket, Exchange> = BTreeMap::new();
    let mut number = 0_u64;
    group.bench_function("full queue with priorities", |b| {
        b.iter(|| {
            number += 1;
            let facts =
                RequestFacts { rank: Rank::new(Class::Default, &number.to_string()), ..RequestFacts::default() };
            let mut exchange = Exchange::begin(Instant::ZERO, &mut backend, facts, RouteTimeouts::default(), None);
            if matches!(exchange.step(Instant::ZERO, &mut backend), Step::Wait { .. } | Step::Try(_)) {
                waiting.insert(exchange.ticket(), exchange);
            }
            while let Some(ticket) = backend.poll_granted() {
                let mut exchange = waiting.remove(&ticket).expect("it waits");
                assert!(matches!(exchange.step(Instant::ZERO, &mut backend), Step::Reply(_)));
            }
        });
    });
    waiting.into_values().for_each(|mut exchange| exchange.cancel(Instant::ZERO, &mut backend));
    group.finish();
}

/// One request with one kind of protection each, and with all: what a setting costs where all is well.
fn protection(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("protection");
    let rate = BreakerConfig { success_rate: Some(SuccessRate::default()), ..BreakerConfig::default() };
    let slow = SlowCalls::slower_than(Duration::from_secs(1));
    let slow = BreakerConfig { slow_calls: Some(slow), floor: 1, ..rate };
    let split = OutlierConfig { split_local_origin: true, ..OutlierConfig::default() };
    let none = BackendPolicy { budget: None, ..BackendPolicy::default() };
    for (name, policy) in [
        ("none", none.clone()),
        ("breaker by runs", BackendPolicy { breaker: Some(BreakerConfig::default()), ..none.clone() }),
        ("breaker by success rate", BackendPolicy { breaker: Some(rate), ..none.clone() }),
        ("breaker by slow calls, floor", BackendPolicy { breaker: Some(slow), ..none.clone() }),
        ("breaker of the service", BackendPolicy { service_breaker: Some(rate), ..none.clone() }),
        ("outliers", BackendPolicy { outliers: Some(OutlierConfig::default()), ..none.clone() }),
        (
            "all",
            BackendPolicy {
                breaker: Some(slow),
                service_breaker: Some(BreakerConfig { floor: 0, ..slow }),
                outliers: Some(split),
                ..none.clone()
            },
        ),
    ] {
        let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1));
        backend.set_endpoints(Instant::ZERO, &endpoints(100));
        let (retry, mut now) = (retry(), Instant::from_nanos(1));
        group.bench_function(name, |b| {
            b.iter(|| {
                request(&mut backend, &mut now, &retry, &[200]);
                backend.poll_deadline()
            });
        });
    }
    group.finish();
}

fn endpoints_change(c: &mut Criterion<Cpu>) {
    let list = endpoints(1000);
    c.bench_function("set 1000 endpoints", |b| {
        b.iter_batched_ref(
            || backend(Balancing::default(), 1000),
            |backend| backend.set_endpoints(Instant::from_nanos(1), black_box(&list)),
            BatchSize::LargeInput,
        );
    });
}

fn routes(c: &mut Criterion<Cpu>) {
    let route = |name: &str, prefix: &str| Route {
        name: name.into(),
        matches: RouteMatch {
            path: PathMatch::Prefix(prefix.to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        backends: Vec::new(),
        timeouts: RouteTimeouts::default(),
        retry: None,
        fault: None,
        redirect: None,
    };
    let hosts: Vec<VirtualHost> = (0..1000)
        .map(|n| VirtualHost {
            name: format!("shop/service-{n}:80"),
            domains: vec![
                format!("service-{n}"),
                format!("service-{n}:80"),
                format!("service-{n}.shop.svc.cluster.local"),
            ],
            routes: vec![route("a", "/a"), route("b", "/b"), route("rest", "/")],
        })
        .collect();
    let table = RouteTable::new(&hosts);
    let header = |_: &str| None;
    let request =
        RequestLine { authority: "service-777:8080", method: "GET", path: "/cart", query: None, header: &header };
    c.bench_function("route of 1000 services", |b| b.iter(|| table.find(black_box(&request)).is_some()));
}

/// Everything that can be on at once, on ten endpoints in two zones.
fn all_on(balancing: Balancing, adaptive: Adaptive) -> Backend {
    let breaker = BreakerConfig {
        success_rate: Some(SuccessRate::default()),
        slow_calls: Some(SlowCalls::slower_than(Duration::from_secs(1))),
        ..BreakerConfig::default()
    };
    let rate = Rate { requests: u32::MAX, per: Duration::from_secs(1), burst: u32::MAX };
    let queue = Queue { priorities: true, codel: Some(Codel::default()), deadline_aware: true, ..Queue::default() };
    let policy = BackendPolicy {
        balancing,
        candidates: Candidates { zones: Some(Zones::default()), panic_percent: 50, ..Candidates::default() },
        breaker: Some(BreakerConfig { floor: 1, ..breaker }),
        service_breaker: Some(breaker),
        outliers: Some(OutlierConfig { split_local_origin: true, ..OutlierConfig::default() }),
        limits: Limits { adaptive: Some(adaptive), queue, ..Limits::default() },
        rate: Some(RateLimit { total: Some(rate), per_caller: None, overrides: Vec::new() }),
        retry_limits: RetryLimits {
            share: Some(RetryShare::default()),
            bucket: Some(RetryBucket::default()),
            throttling: Some(RetryThrottling::default()),
            breaker: Some(RetryBreaker { window: Some(Duration::from_secs(10)), ..RetryBreaker::default() }),
        },
        throttle: Some(ClientThrottle::default()),
        hedging: Some(Hedging::default()),
        ..BackendPolicy::default()
    };
    let here = Here { zone: "a".into(), proxy: "shop/web-0".into() };
    let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1)).at(here);
    let zoned = endpoints(10).into_iter().enumerate();
    let zoned = zoned.map(|(n, endpoint)| Endpoint { zone: ["a", "b"][n % 2].into(), ..endpoint });
    backend.set_endpoints(Instant::ZERO, &zoned.collect::<Vec<_>>());
    backend
}

fn rows() -> [(&'static str, Backend); 5] {
    let hash = |table, bound_percent| {
        let keys = vec![HashKey::Path];
        Balancing::Hash(Hashing { table, keys, bound_percent, when_down: WhenDown::Next })
    };
    let gradient = || Adaptive::Gradient(Gradient::default());
    [
        ("peak-ewma, gradient", all_on(Balancing::default(), gradient())),
        ("peak-ewma, vegas", all_on(Balancing::default(), Adaptive::Vegas(Vegas::default()))),
        ("least-request, gradient", all_on(Balancing::LeastRequest { choices: 2 }, gradient())),
        ("ring with bounded loads, gradient", all_on(hash(HashTable::RING, Some(125)), gradient())),
        ("maglev with bounded loads, gradient", all_on(hash(HashTable::MAGLEV, Some(125)), gradient())),
    ]
}

/// A request as a shell makes it: with what the shell asks for after each.
fn whole_request(backend: &mut Backend, now: &mut Instant, retry: &RetryPolicy) {
    request(backend, now, retry, &[200]);
    while backend.poll_granted().is_some() {}
    if backend.poll_deadline().is_some_and(|(at, _)| at <= *now) {
        backend.on_deadline(*now);
    }
}

/// A request that goes well where every policy is on: three breakers' worth of samples, outliers, budgets, throttle, rate, an
/// adaptive limit, a hedge armed and not sent.
fn everything(c: &mut Criterion<Cpu>) {
    let mut group = c.benchmark_group("everything");
    for (name, mut backend) in rows() {
        let (retry, mut now) = (retry(), Instant::from_nanos(1));
        group.bench_function(name, |b| b.iter(|| whole_request(&mut backend, &mut now, &retry)));
    }
    group.finish();
}

fn main() {
    let after: Vec<String> = std::env::args().skip_while(|argument| argument != "--count").skip(1).collect();
    if let [row, requests, ..] = &after[..] {
        let whole = |text: &String| text.parse::<usize>().unwrap_or_else(|error| panic!("{text}: {error}"));
        let (name, mut backend) = rows().into_iter().nth(whole(row)).expect("there are five rows");
        let (retry, mut now) = (retry(), Instant::from_nanos(1));
        (0..whole(requests)).for_each(|_| whole_request(&mut backend, &mut now, &retry));
        println!("{name}: {requests} requests");
        return;
    }
    let mut c = Criterion::default().with_measurement(Cpu).sample_size(10).configure_from_args();
    for bench in [exchange, client, balancing, overload, endpoints_change, routes, protection, everything] {
        bench(&mut c);
    }
    c.final_summary();
}
