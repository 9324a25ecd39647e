//! A request that goes well allocates nothing in the policy core, whatever is switched on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Adaptive, Answer, Backend, BackendName, BackendPolicy, Backoff, Balancing, BreakerConfig, Candidates,
    ClientThrottle, Codel, Ended, Endpoint, Exchange, Gradient, HashKey, HashTable, Hashing, Hedging, Here, Instant,
    Jitter, Limits, OutlierConfig, Queue, Rate, RateLimit, RequestFacts, RetryBreaker, RetryBucket, RetryLimits,
    RetryOn, RetryPolicy, RetryShare, RetryThrottling, Rng, RouteTimeouts, SlowCalls, SlowStart, Step, SuccessRate,
    Vegas, WhenDown, Zones,
};

thread_local! {
    /// Allocations of this thread so far, a growth counted as one.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that ends may allocate when its locals are gone already.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is the system allocator's, with what was given; a counter of this thread is all that is added.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: as the trait says.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as the trait says.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: what was allocated here is the system allocator's.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: as the trait says.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: what was allocated here is the system allocator's.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLER: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn endpoints() -> Vec<Endpoint> {
    (0..10_u8)
        .map(|n| Endpoint {
            address: ([10, 0, 0, n], 80).into(),
            name: format!("pod-{n}").into(),
            zone: Arc::from(if n % 2 == 0 { "a" } else { "b" }),
            weight: 1 + u32::from(n % 3),
            identity: "spiffe://cluster.local/ns/shop/sa/cart".into(),
            draining: false,
        })
        .collect()
}

/// Everything that can be on at once.
fn policy(balancing: Balancing, adaptive: Adaptive, slow_start: bool) -> BackendPolicy {
    let breaker = BreakerConfig {
        success_rate: Some(SuccessRate::default()),
        slow_calls: Some(SlowCalls::slower_than(Duration::from_secs(1))),
        ..BreakerConfig::default()
    };
    let rate = Rate { requests: 1_000_000, per: Duration::from_secs(1), burst: 1_000_000 };
    let slow_start = slow_start.then_some(SlowStart {
        window: Duration::from_secs(3600),
        aggression_permille: 1000,
        min_weight_percent: 10,
    });
    let queue = Queue { priorities: true, codel: Some(Codel::default()), deadline_aware: true, ..Queue::default() };
    BackendPolicy {
        balancing,
        candidates: Candidates {
            zones: Some(Zones::default()),
            panic_percent: 50,
            slow_start,
            subset: Some(8),
            ..Candidates::default()
        },
        breaker: Some(BreakerConfig { floor: 1, ..breaker }),
        service_breaker: Some(breaker),
        outliers: Some(OutlierConfig { split_local_origin: true, ..OutlierConfig::default() }),
        limits: Limits { adaptive: Some(adaptive), queue, ..Limits::default() },
        rate: Some(RateLimit { total: Some(rate), per_caller: Some(rate), overrides: Vec::new() }),
        retry_limits: RetryLimits {
            share: Some(RetryShare::default()),
            bucket: Some(RetryBucket::default()),
            throttling: Some(RetryThrottling::default()),
            breaker: Some(RetryBreaker { window: Some(Duration::from_secs(10)), ..RetryBreaker::default() }),
        },
        throttle: Some(ClientThrottle::default()),
        hedging: Some(Hedging::default()),
        ..BackendPolicy::default()
    }
}

/// One request that is answered well at once; whether a hedge was armed for it.
fn request(backend: &mut Backend, now: &mut Instant, retry: &RetryPolicy, number: u64) -> bool {
    let facts = RequestFacts {
        idempotent: true,
        deadline: Some(*now + Duration::from_secs(5)),
        caller: Some(CALLER),
        hash: Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        ..RequestFacts::default()
    };
    // Without limits of the tries' own, only a hedge is waited for before the deadline.
    let timeouts = RouteTimeouts { request: Some(Duration::from_secs(2)), ..RouteTimeouts::default() };
    let deadline = *now + Duration::from_secs(2);
    let mut exchange = Exchange::begin(*now, backend, facts, timeouts, Some(retry));
    let mut hedges = false;
    let Step::Try(attempt) = exchange.step(*now, backend) else { panic!("request {number} is let in") };
    if let Step::Wait { until, .. } = exchange.step(*now, backend) {
        hedges = until < Some(deadline);
    }
    *now = *now + Duration::from_micros(200 + number % 200);
    let answer = Answer { status: 200, grpc: None, retry_after: None, replayable: true };
    exchange.on_head(*now, backend, attempt.number, answer);
    assert!(matches!(exchange.step(*now, backend), Step::Forward(_)), "a good answer is passed on");
    exchange.on_body_end(*now, backend, Ended::Complete { grpc: None });
    assert_eq!(exchange.step(*now, backend), Step::Done);
    // As a shell does after every call.
    while backend.poll_granted().is_some() {}
    while backend.poll_event().is_some() {}
    hedges
}

/// Timers belong to no request: the end of an interval may allocate.
fn timers(backend: &mut Backend, now: Instant) -> u64 {
    let before = COUNT.get();
    if backend.poll_deadline().is_some_and(|(at, _)| at <= now) {
        backend.on_deadline(now);
    }
    COUNT.get() - before
}

#[track_caller]
fn allocates_nothing(name: &str, policy: BackendPolicy) {
    let here = Here { zone: "a".into(), proxy: "shop/web-0".into() };
    let mut backend = Backend::new(BackendName::new("shop", "cart", 80), policy, Rng::from_seed(1)).at(here);
    backend.set_endpoints(Instant::ZERO, &endpoints());
    let retry = RetryPolicy {
        retries: 2,
        on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Reset, RetryOn::GatewayError],
        backoff: Backoff { first: Duration::from_millis(25), last: Duration::from_millis(250), jitter: Jitter::Full },
        non_idempotent: false,
        buffer_bytes: 65_536,
    };
    let mut now = Instant::from_nanos(1);
    // As long as the longest window, and longer.
    let warm = 50_000;
    for number in 0..warm {
        request(&mut backend, &mut now, &retry, number);
        timers(&mut backend, now);
    }
    let (mut hedges, mut by_timers) = (0, 0);
    let before = COUNT.get();
    for number in warm..warm + 20_000 {
        hedges += u32::from(request(&mut backend, &mut now, &retry, number));
        by_timers += timers(&mut backend, now);
    }
    let allocated = COUNT.get() - before - by_timers;
    assert!(hedges > 18_000, "{name}: only {hedges} hedges were armed");
    assert_eq!(allocated, 0, "{name}: allocations in 20,000 requests");
}

#[test]
fn a_request_that_goes_well_allocates_nothing_with_every_policy_on() {
    let hash = |table, bound_percent| {
        let keys = vec![HashKey::Path];
        Balancing::Hash(Hashing { table, keys, bound_percent, when_down: WhenDown::Next })
    };
    let gradient = || Adaptive::Gradient(Gradient::default());
    let vegas = || Adaptive::Vegas(Vegas::default());
    for (name, balancing, adaptive, slow_start) in [
        ("peak EWMA, gradient", Balancing::default(), gradient(), false),
        ("peak EWMA, slow start, Vegas", Balancing::default(), vegas(), true),
        ("least request, gradient", Balancing::LeastRequest { choices: 2 }, gradient(), true),
        ("round robin, Vegas", Balancing::RoundRobin, vegas(), true),
        ("random, gradient", Balancing::Random, gradient(), false),
        ("ring, gradient", hash(HashTable::RING, None), gradient(), false),
        ("ring with bounded loads, Vegas", hash(HashTable::RING, Some(125)), vegas(), false),
        ("Maglev, gradient", hash(HashTable::MAGLEV, None), gradient(), false),
        ("Maglev with bounded loads, Vegas", hash(HashTable::MAGLEV, Some(125)), vegas(), false),
    ] {
        allocates_nothing(name, policy(balancing, adaptive, slow_start));
    }
}

#[test]
fn the_counter_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(Vec::<u64>::with_capacity(8)));
    assert_eq!(COUNT.get() - before, 1);
}
