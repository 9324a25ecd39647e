//! The fields of a TrafficPolicy.

use super::Kind::{Choice, Decimal, Other, Percent, Span, Truth, Whole, WholePercent};
use super::{Field, Reference};

const ANY: u64 = u32::MAX as u64;
const RING: &[(&str, &str)] = &[("loadBalancing.algorithm", "RingHash"), ("loadBalancing.key", "path")];
const MAGLEV: &[(&str, &str)] = &[("loadBalancing.algorithm", "Maglev"), ("loadBalancing.key", "path")];
const LEAST: &[(&str, &str)] = &[("loadBalancing.algorithm", "LeastRequest")];
const PROBE: &[(&str, &str)] = &[("healthCheck.path", "/healthz")];

/// `squall.dev/v1alpha1` TrafficPolicy.
pub const TRAFFIC_POLICY: Reference = Reference {
    kind: "TrafficPolicy",
    says: "What the Gateway API has no word for: balancing, retries, breakers, limits and time-outs of requests *to* its targets. A Service \
           has one policy at most. One without takes over that of the Service whose HTTPRoute leads to it. Every limit holds per proxy: two \
           clients have two. Durations have units (`250ms`, `1s`, `1m30s`); unknown fields and impossible values are refused.",
    parts: &[FIELDS, super::limits::FIELDS],
};

const FIELDS: &[Field] = &[
    Field::required(
        "targetRefs",
        Other("a list of Services"),
        "[{group: \"\", kind: Service, name: cart}]",
        "The Services of the policy's own namespace that it is about: `{group: \"\", kind: Service, name: NAME}`",
    ),
    // Balancing.
    Field::group("loadBalancing", "PeakEwma", "Which endpoint a request goes to").peers(&[
        ("Envoy", "round robin; least request, ring hash and maglev by choice"),
        ("Istio", "least request of two"),
        ("Linkerd", "peak EWMA of two; not for the user to choose"),
        ("Kuma", "round robin"),
    ]),
    Field::usual(
        "loadBalancing.algorithm",
        Choice(&["PeakEwma", "LeastRequest", "RoundRobin", "Random", "RingHash", "Maglev"]),
        "PeakEwma",
        "LeastRequest",
        "`PeakEwma`: the least cost (latency × requests in flight) of a few random endpoints; `LeastRequest`: the fewest requests in \
         flight of a few; `RoundRobin`: in turn; `Random`; `RingHash` and `Maglev`: by a key of the request, so that requests of one key \
         go to one endpoint",
    )
    .peers(&[
        ("Envoy", "round robin"),
        ("Istio", "LEAST_REQUEST"),
        ("Linkerd", "peak EWMA"),
        ("Kuma", "round robin"),
    ]),
    Field::usual("loadBalancing.decay", Span("1ns", ""), "10s", "2s", "How fast `PeakEwma` forgets")
        .peers(&[("Linkerd", "10s"), ("Envoy", "10s (contrib)")]),
    Field::usual(
        "loadBalancing.defaultRtt",
        Span("1ns", ""),
        "30ms",
        "5ms",
        "What `PeakEwma` takes an endpoint without a sample for",
    )
    .peers(&[("Linkerd", "30ms")]),
    Field::usual(
        "loadBalancing.choices",
        Whole(1, ANY),
        "2",
        "3",
        "How many random endpoints `PeakEwma` and `LeastRequest` compare",
    )
    .peers(&[("Envoy", "2"), ("Istio", "2"), ("Kuma", "2")]),
    Field::group(
        "loadBalancing.failurePenalty",
        "300ms, up to 5s",
        "`PeakEwma`, `LeastRequest`: a failure is a slow answer, so that an endpoint that fails fast does not look like the best",
    )
    .peers(&[("Envoy", "none"), ("Istio", "none"), ("Linkerd", "5s on 429 and 5xx (alpha)"), ("Kuma", "none")]),
    Field::usual(
        "loadBalancing.failurePenalty.first",
        Span("1ms", "1h"),
        "300ms",
        "50ms",
        "What a failed try counts as at least; each further one doubles it, `decay` forgives. By default 10 × `defaultRtt`. \
         `LeastRequest` takes it for ten requests in flight",
    ),
    Field::usual(
        "loadBalancing.failurePenalty.max",
        Span("1ms", "1h"),
        "5s",
        "10s",
        "What failures alone come to at most, not less than `first`",
    ),
    Field::usual("loadBalancing.failurePenalty.off", Truth, "false", "true", "`true`: no penalty"),
    Field::usual(
        "loadBalancing.requestBias",
        Decimal("0", "10"),
        "1",
        "2",
        "`LeastRequest` with unequal weights: weight ÷ (requests + 1)^bias",
    )
    .with(LEAST)
    .peers(&[("Envoy", "1.0")]),
    Field::optional(
        "loadBalancing.key",
        Other("`{header: NAME}`, `{cookie: NAME}`, `{query: NAME}`, `path`, `source`, or a list of them"),
        "required by `RingHash` and `Maglev`",
        "path",
        "What is hashed. `source` is the client's SPIFFE id. Of a list the first that a request has; a request with none goes to a random \
         endpoint",
    )
    .with(&[("loadBalancing.algorithm", "RingHash")]),
    Field::optional("loadBalancing.key.header", Other("a header's name"), "none", "x-user", "The value of this header")
        .with(&[("loadBalancing.algorithm", "RingHash")]),
    Field::optional("loadBalancing.key.cookie", Other("a cookie's name"), "none", "session", "The value of this cookie")
        .with(&[("loadBalancing.algorithm", "RingHash")]),
    Field::optional("loadBalancing.key.query", Other("a parameter's name"), "none", "user", "This parameter of the query")
        .with(&[("loadBalancing.algorithm", "RingHash")]),
    Field::usual(
        "loadBalancing.whenDown",
        Choice(&["Next", "Refuse"]),
        "Next",
        "Refuse",
        "A key whose endpoint is ejected, unhealthy, draining or behind an open breaker goes on to the `Next`, or is answered with 503 \
         (`Refuse`: for shards; retries stay with it too)",
    )
    .with(RING),
    Field::optional(
        "loadBalancing.boundedLoads",
        WholePercent("100%", "100000%"),
        "no bound",
        "125%",
        "With a hash: no endpoint takes more than this share of the mean load; what is too much goes on to the next",
    )
    .with(RING),
    Field::group("loadBalancing.ring", "1024 to 8388608", "Points on the ring of `RingHash`").with(RING),
    Field::usual("loadBalancing.ring.min", Whole(1, 8_388_608), "1024", "4096", "So many at least, not more than `max`")
        .with(RING)
        .peers(&[("Envoy", "1024"), ("Istio", "1024"), ("Kuma", "1024")]),
    Field::usual("loadBalancing.ring.max", Whole(1, 8_388_608), "8388608", "65536", "So many at most")
        .with(RING)
        .peers(&[("Kuma", "8388608")]),
    Field::usual(
        "loadBalancing.tableSize",
        Other("a prime, 2 to 5000011"),
        "65537",
        "251",
        "Places in the table of `Maglev`",
    )
    .with(MAGLEV)
    .peers(&[("Envoy", "65537"), ("Istio", "65537"), ("Kuma", "65537")]),
    Field::group(
        "loadBalancing.slowStart",
        "none",
        "`PeakEwma`, `LeastRequest`, `RoundRobin`: a new endpoint, or one that is healthy again, comes to its full share slowly",
    )
    .peers(&[("Istio", "none; `warmup`"), ("Linkerd", "not there"), ("Kuma", "not there")]),
    Field::required("loadBalancing.slowStart.window", Span("1ms", "1h"), "30s", "It has its full share after this"),
    Field::usual(
        "loadBalancing.slowStart.aggression",
        Decimal("0.001", "100"),
        "1",
        "2",
        "share = (age ÷ window)^(1 ÷ aggression)",
    )
    .peers(&[("Envoy", "1.0"), ("Istio", "1.0")]),
    Field::usual("loadBalancing.slowStart.minWeight", WholePercent("1%", "100%"), "10%", "5%", "The least share")
        .peers(&[("Envoy", "10%"), ("Istio", "10%")]),
    Field::optional(
        "loadBalancing.subset",
        Whole(1, ANY),
        "all",
        "4",
        "Each proxy uses only so many of the endpoints, always the same ones; not with a hash",
    ),
    Field::group(
        "loadBalancing.zones",
        "any zone",
        "Whether endpoints of the client's own zone come first",
    )
    .peers(&[
        ("Istio", "on, but only with outlier detection"),
        ("Linkerd", "hints of EndpointSlices"),
        ("Kuma", "own zone first"),
    ]),
    Field::required(
        "loadBalancing.zones.mode",
        Choice(&["PreferLocal", "Any"]),
        "PreferLocal",
        "`PreferLocal`: endpoints of the client's own zone first, the others as far as those cannot take the load; `Any`",
    ),
    Field::usual(
        "loadBalancing.zones.overprovisioning",
        WholePercent("100%", "1000%"),
        "140%",
        "200%",
        "The own zone takes all load while this × its available share is 100 %",
    )
    .peers(&[("Envoy", "140%")]),
    Field::optional(
        "loadBalancing.panicThreshold",
        WholePercent("0%", "100%"),
        "50% with `healthCheck` or `PreferLocal`; else 0%, since `outlierDetection` has a `floor`",
        "30%",
        "When fewer are healthy (not ejected, not found unhealthy), all but draining ones are used; `0%`: never",
    )
    .peers(&[("Envoy", "50%"), ("Istio", "0% with outlier detection"), ("Linkerd", "not there: 503 at once")]),
    // Health checks.
    Field::group(
        "healthCheck",
        "none",
        "Every client asks every endpoint by itself, and picks none before it has answered once. One of `path`, `grpc` and `connect`",
    ),
    Field::optional(
        "healthCheck.path",
        Other("a path"),
        "this, `grpc` or `connect`",
        "/healthz",
        "GET this, over mutual TLS where requests have it",
    ),
    Field::group(
        "healthCheck.grpc",
        "this, `path` or `connect`",
        "Call `grpc.health.v1.Health/Check`. Every targeted port must speak HTTP/2",
    ),
    Field::optional("healthCheck.grpc.service", Other("a gRPC service"), "the whole server", "shop.Cart", "Ask about this service"),
    Field::optional(
        "healthCheck.connect",
        Truth,
        "this, `path` or `grpc`",
        "true",
        "`true`: only make a connection",
    ),
    Field::usual(
        "healthCheck.expect",
        Other("a list of statuses and ranges, 100 to 599"),
        "[200]",
        "[200, 301-308]",
        "Statuses that pass",
    )
    .with(PROBE),
    Field::usual(
        "healthCheck.interval",
        Span("10ms", "1h"),
        "5s",
        "1s",
        "From the end of one check to the next",
    )
    .with(PROBE),
    Field::usual("healthCheck.jitter", Percent("0%", "100%"), "10%", "50%", "Spreads the interval up by this share").with(PROBE),
    Field::usual(
        "healthCheck.timeout",
        Span("1ms", "1h"),
        "1s",
        "200ms",
        "The longest wait for the answer, connecting included",
    )
    .with(PROBE),
    Field::usual(
        "healthCheck.unhealthyAfter",
        Whole(1, ANY),
        "3",
        "5",
        "Failures in a row; the first check decides alone",
    )
    .with(PROBE),
    Field::usual("healthCheck.healthyAfter", Whole(1, ANY), "2", "1", "Successes in a row").with(PROBE),
    // Retries.
    Field::group(
        "retries",
        "none",
        "Further tries of a request that failed. They hold for the routes of the targets; an HTTPRoute rule's own `retry` may not be set \
         beside it",
    )
    .peers(&[("Envoy", "none"), ("Istio", "2"), ("Linkerd", "none"), ("Kuma", "5")]),
    Field::required("retries.attempts", Whole(1, 1000), "2", "Tries after the first").peers(&[
        ("Envoy", "1, when retries are on"),
        ("Istio", "2"),
        ("Linkerd", "1, when retries are on"),
        ("Kuma", "5"),
    ]),
    Field::usual(
        "retries.on",
        Other("a list of reasons"),
        "[connect-failure, refused-stream]",
        "[connect-failure, reset, \"503\"]",
        "Reasons to try again: `connect-failure`, `reset`, `refused-stream`, `per-try-timeout`, `5xx`, `gateway-error` (502, 503, 504), a \
         status such as `\"503\"`, a gRPC status such as `grpc-unavailable`",
    )
    .peers(&[
        ("Istio", "connect-failure, refused-stream, unavailable, cancelled"),
        ("Linkerd", "5xx, gateway-error or codes by annotation; not connect failures"),
        ("Kuma", "5xx, gateway-error and others by policy"),
        ("Gateway API", "500, 502, 503, 504"),
    ]),
    Field::group("retries.backoff", "25ms to 250ms, full jitter", "How long a retry waits").peers(&[
        ("Envoy", "25ms to 250ms, full jitter"),
        ("Istio", "25ms base, jitter"),
        ("Linkerd", "25ms to 250ms, full jitter"),
        ("Kuma", "25ms to 250ms"),
    ]),
    Field::usual(
        "retries.backoff.base",
        Span("1ms", "5m"),
        "25ms",
        "50ms",
        "The wait before the first retry, not more than `max`; doubles",
    )
    .peers(&[("Envoy", "25ms"), ("Istio", "25ms"), ("Linkerd", "25ms"), ("Kuma", "25ms")]),
    Field::usual(
        "retries.backoff.max",
        Span("1ms", "5m"),
        "250ms",
        "1s",
        "The longest wait; at least `base`, which is the default if it is more than 250ms",
    )
    .with(&[("retries.backoff.base", "1ms")])
    .peers(&[("Envoy", "250ms"), ("Linkerd", "250ms"), ("Kuma", "250ms")]),
    Field::usual(
        "retries.backoff.jitter",
        Choice(&["none", "full", "equal", "decorrelated"]),
        "full",
        "equal",
        "`none`; `full`: uniform from 0; `equal`: uniform from a half; `decorrelated`",
    )
    .peers(&[("Envoy", "full"), ("Linkerd", "full")]),
    Field::group(
        "retries.budget",
        "20 % and 10 per second, over 10s",
        "How many retries there may be beside the requests, so that they cannot become a storm. Budgets of several kinds may be combined: a \
         retry, or a hedge, needs leave from all. The window's (`percent`, `minPerSecond`, `window`) holds if one of its fields is set, or \
         none of another kind is",
    )
    .peers(&[
        ("Envoy", "off; else at most 3 retries at once"),
        ("Istio", "off; retries at once are unlimited"),
        ("Linkerd", "none with route annotations; 20 %, 10/s, 10s with ServiceProfiles"),
        ("Kuma", "at most 3 retries at once"),
        ("Gateway API", "20 %, 10/s, 10s (experimental)"),
    ]),
    Field::usual("retries.budget.percent", Whole(0, 1000), "20", "10", "Retries per hundred requests").peers(&[
        ("Envoy", "20, of requests at once, when it is on"),
        ("Istio", "20, of requests at once, when it is on"),
        ("Linkerd", "20 (ServiceProfiles)"),
        ("Gateway API", "20"),
    ]),
    Field::usual(
        "retries.budget.minPerSecond",
        Whole(0, ANY),
        "10",
        "1",
        "Retries that are always allowed, per second",
    )
    .peers(&[("Linkerd", "10 (ServiceProfiles)"), ("Gateway API", "10")]),
    Field::usual("retries.budget.window", Span("1s", "1h"), "10s", "30s", "How long requests count")
        .peers(&[("Linkerd", "10s (ServiceProfiles)"), ("Gateway API", "10s")]),
    Field::usual(
        "retries.budget.unlimited",
        Truth,
        "false",
        "true",
        "`true`: no budget at all, as most meshes have it; nothing else may be set beside it",
    ),
    Field::group("retries.budget.share", "none", "Envoy's budget: retries under way against requests under way"),
    Field::usual(
        "retries.budget.share.percent",
        Whole(0, 100),
        "20",
        "10",
        "At most so many retries under way per hundred requests under way",
    )
    .peers(&[("Envoy", "20"), ("Istio", "20")]),
    Field::usual("retries.budget.share.minConcurrent", Whole(0, ANY), "3", "1", "So many are allowed in any case")
        .peers(&[("Envoy", "3"), ("Istio", "3")]),
    Field::group("retries.budget.bucket", "none", "A token bucket, full at first: each retry takes one out and needs more than one to be there"),
    Field::usual("retries.budget.bucket.deposit", Decimal("0", "10"), "0.1", "0.2", "What each request puts in"),
    Field::usual("retries.budget.bucket.size", Whole(1, 1_000_000), "5", "50", "How much it holds"),
    Field::group(
        "retries.budget.throttling",
        "none",
        "gRPC's `retryThrottling`: no retry while half of the tokens or less are there",
    ),
    Field::usual(
        "retries.budget.throttling.maxTokens",
        Whole(1, 1000),
        "10",
        "100",
        "How many tokens there are; a failure takes one",
    ),
    Field::usual("retries.budget.throttling.tokenRatio", Decimal("0.001", "1000"), "0.1", "0.5", "What a success gives back"),
    Field::group("retries.budget.breaker", "none", "No retry at all while too many requests fail"),
    Field::usual("retries.budget.breaker.percent", Whole(0, 100), "10", "20", "More failures than this per hundred requests"),
    Field::optional("retries.budget.breaker.window", Span("1s", "1h"), "all time", "30s", "How long requests count"),
    Field::usual(
        "retries.nonIdempotent",
        Truth,
        "false",
        "true",
        "Also repeat POST, PATCH and other methods that are not idempotent (RFC 9110 §9.2.2). Failures that no server saw are repeated for \
         every method anyway",
    )
    .peers(&[("Istio", "all methods (istio#50506)")]),
    Field::usual(
        "retries.bufferBytes",
        Whole(0, 16_777_216),
        "65536",
        "1048576",
        "How much of a request body is kept for a retry; a longer one is sent once",
    )
    .peers(&[("Envoy", "1 MiB"), ("Istio", "1 MiB"), ("Linkerd", "64 KiB")]),
    // Breakers.
    Field::group(
        "circuitBreaker",
        "none",
        "A breaker per endpoint: closed it sends, open it refuses, half-open it lets probes through. Each of `consecutiveFailures`, \
         `successRate` and `slowCalls` that is set may open it, and any combination of them",
    )
    .peers(&[
        ("Envoy", "none of this kind; outlier detection ejects"),
        ("Istio", "none of this kind"),
        ("Linkerd", "off; 7 failures in a row by annotation"),
        ("Kuma", "none of this kind"),
    ]),
    Field::optional(
        "circuitBreaker.consecutiveFailures",
        Whole(1, ANY),
        "7; off, if `successRate` or `slowCalls` is set and it is not",
        "5",
        "Opens after so many failures in a row",
    )
    .peers(&[("Linkerd", "7")]),
    Field::group("circuitBreaker.successRate", "off", "Opens when too few of the latest calls succeed")
        .peers(&[("Linkerd", "80 % of 5 or more in 10s (alpha)")]),
    Field::usual("circuitBreaker.successRate.below", Percent("0.1%", "100%"), "50%", "70%", "Fewer than this share")
        .peers(&[("Linkerd", "80% (alpha)")]),
    Field::usual(
        "circuitBreaker.successRate.window",
        Span("100ms", "1h"),
        "10s",
        "30s",
        "How long a call counts: in ten buckets, so nine tenths of this at least",
    )
    .peers(&[("Linkerd", "10s (alpha)")]),
    Field::usual(
        "circuitBreaker.successRate.minRequests",
        Whole(1, ANY),
        "20",
        "50",
        "Calls in the window before it says anything",
    )
    .peers(&[("Linkerd", "5 (alpha)")]),
    Field::group("circuitBreaker.slowCalls", "off", "Opens when too many of the latest calls are slow"),
    Field::required(
        "circuitBreaker.slowCalls.slowerThan",
        Span("1ms", "24h"),
        "1s",
        "Slow is a call without an answer's head after so long; it counts at that moment and does not have to end first",
    ),
    Field::usual("circuitBreaker.slowCalls.above", Percent("0%", "99.9%"), "50%", "30%", "More than this share"),
    Field::usual("circuitBreaker.slowCalls.window", Span("100ms", "1h"), "10s", "30s", "How long a call counts"),
    Field::usual("circuitBreaker.slowCalls.minRequests", Whole(1, ANY), "20", "50", "Calls in the window before it says anything"),
    Field::group("circuitBreaker.open", "1s to 60s, 50 % jitter", "How long it stays open"),
    Field::usual(
        "circuitBreaker.open.min",
        Span("1ms", "24h"),
        "1s",
        "500ms",
        "At first; doubles while probes fail or are slow",
    )
    .peers(&[("Linkerd", "1s")]),
    Field::usual(
        "circuitBreaker.open.max",
        Span("1ms", "24h"),
        "60s",
        "30s",
        "At most; at least `min`, which is the default if it is more than 60s",
    )
    .with(&[("circuitBreaker.open.min", "1ms")])
    .peers(&[("Linkerd", "60s")]),
    Field::usual("circuitBreaker.open.jitter", Percent("0%", "100%"), "50%", "20%", "Spreads the open time up by this share")
        .peers(&[("Linkerd", "50%")]),
    Field::usual(
        "circuitBreaker.probes",
        Whole(1, ANY),
        "1",
        "3",
        "Requests let through while half-open; as many successes close it",
    )
    .peers(&[("Envoy", "not there: an endpoint comes back whole"), ("Linkerd", "1")]),
    Field::usual(
        "circuitBreaker.floor",
        Whole(0, ANY),
        "0",
        "1",
        "So many endpoints keep serving, whatever they do; a breaker that would leave fewer stays closed, and opens as soon as others serve \
         again. With 0 all may open, and requests are refused at once while all are",
    ),
    Field::group(
        "serviceCircuitBreaker",
        "none",
        "A breaker of the Service as a whole, in each client: it counts the tries to all endpoints, and while it is open every request is \
         refused with 503 at once (`squall-reason: breaker-open`). Where a few of many endpoints fail, it refuses also what the others \
         would have served",
    )
    .like("circuitBreaker", &["floor"]),
];
