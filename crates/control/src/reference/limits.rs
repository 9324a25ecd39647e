//! The fields of a TrafficPolicy about outliers, limits, time-outs and what clients do by themselves.

use super::Field;
use super::Kind::{Choice, Decimal, List, Other, Percent, Span, Truth, Whole, WholePercent};

const ANY: u64 = u32::MAX as u64;
const GRADIENT: &[(&str, &str)] = &[("limits.inFlight.adaptive", "Gradient")];
const VEGAS: &[(&str, &str)] = &[("limits.inFlight.adaptive", "Vegas")];
const LIFO: &[(&str, &str)] = &[("limits.queue.order", "AdaptiveLifo")];
const SPLIT: &[(&str, &str)] = &[("outlierDetection.splitExternalLocalOriginErrors", "true")];
const PERCENTAGE: &[(&str, &str)] = &[("outlierDetection.enforcing.failurePercentage", "100%")];
const GATEWAY: &[(&str, &str)] = &[("outlierDetection.enforcing.consecutiveGatewayFailure", "100%")];

pub(super) const FIELDS: &[Field] = &[
    // Outliers.
    Field::group(
        "outlierDetection",
        "none",
        "Ejects endpoints as Envoy does, with Envoy's detectors and defaults. Failures are 5xx, and what the sidecar sees itself: no \
         connection, a break (as 503), a try out of time (as 504)",
    )
    .peers(&[("Envoy", "off until set"), ("Istio", "off until set"), ("Linkerd", "not there"), ("Kuma", "off until set")]),
    Field::usual("outlierDetection.consecutive5xx", Whole(1, ANY), "5", "7", "Ejects after so many failures in a row")
        .peers(&[("Envoy", "5"), ("Istio", "5"), ("Kuma", "5")]),
    Field::usual(
        "outlierDetection.consecutiveGatewayFailure",
        Whole(1, ANY),
        "5",
        "3",
        "The same for 502, 503, 504 only; not enforced by default",
    )
    .with(GATEWAY)
    .peers(&[("Envoy", "5, not enforced")]),
    Field::usual(
        "outlierDetection.splitExternalLocalOriginErrors",
        Truth,
        "false",
        "true",
        "Counts what the sidecar sees itself apart",
    )
    .peers(&[("Envoy", "false")]),
    Field::usual(
        "outlierDetection.consecutiveLocalOriginFailure",
        Whole(1, ANY),
        "5",
        "3",
        "Ejects after so many of those in a row; only if split",
    )
    .with(SPLIT)
    .peers(&[("Envoy", "5")]),
    Field::group(
        "outlierDetection.successRate",
        "1.9 standard deviations",
        "Each interval, ejects below mean − `stdevFactor` × standard deviation of the endpoints' success rates",
    )
    .peers(&[("Envoy", "1.9 standard deviations"), ("Istio", "off"), ("Linkerd", "not there")]),
    Field::usual(
        "outlierDetection.successRate.minimumHosts",
        Whole(0, ANY),
        "5",
        "3",
        "Only if so many endpoints had enough requests",
    )
    .peers(&[("Envoy", "5")]),
    Field::usual("outlierDetection.successRate.requestVolume", Whole(0, ANY), "100", "20", "Enough requests in an interval")
        .peers(&[("Envoy", "100")]),
    Field::usual("outlierDetection.successRate.stdevFactor", Decimal("0", "100"), "1.9", "2.5", "How many standard deviations; Envoy's 1900 is 1.9 here")
        .peers(&[("Envoy", "1.9")]),
    Field::group(
        "outlierDetection.failurePercentage",
        "not enforced",
        "Each interval, ejects from a share of failures on",
    )
    .with(PERCENTAGE)
    .peers(&[("Envoy", "85 %, not enforced"), ("Istio", "not there")]),
    Field::usual("outlierDetection.failurePercentage.threshold", WholePercent("0%", "100%"), "85%", "50%", "That share")
        .with(PERCENTAGE)
        .peers(&[("Envoy", "85%")]),
    Field::usual(
        "outlierDetection.failurePercentage.minimumHosts",
        Whole(0, ANY),
        "5",
        "3",
        "Only if so many endpoints had enough requests",
    )
    .with(PERCENTAGE)
    .peers(&[("Envoy", "5")]),
    Field::usual(
        "outlierDetection.failurePercentage.requestVolume",
        Whole(0, ANY),
        "50",
        "20",
        "Enough requests in an interval",
    )
    .with(PERCENTAGE)
    .peers(&[("Envoy", "50")]),
    Field::group("outlierDetection.enforcing", "as below", "In which share of its findings a detector ejects"),
    Field::usual("outlierDetection.enforcing.consecutive5xx", WholePercent("0%", "100%"), "100%", "50%", "Of `consecutive5xx`")
        .peers(&[("Envoy", "100%")]),
    Field::usual(
        "outlierDetection.enforcing.consecutiveGatewayFailure",
        WholePercent("0%", "100%"),
        "0%",
        "100%",
        "Of `consecutiveGatewayFailure`",
    )
    .peers(&[("Envoy", "0%")]),
    Field::usual("outlierDetection.enforcing.successRate", WholePercent("0%", "100%"), "100%", "50%", "Of `successRate`")
        .peers(&[("Envoy", "100%"), ("Istio", "0%")]),
    Field::usual(
        "outlierDetection.enforcing.failurePercentage",
        WholePercent("0%", "100%"),
        "0%",
        "100%",
        "Of `failurePercentage`",
    )
    .peers(&[("Envoy", "0%")]),
    Field::usual(
        "outlierDetection.enforcing.consecutiveLocalOriginFailure",
        WholePercent("0%", "100%"),
        "100%",
        "50%",
        "Of `consecutiveLocalOriginFailure`; only if split",
    )
    .with(SPLIT),
    Field::usual(
        "outlierDetection.enforcing.localOriginSuccessRate",
        WholePercent("0%", "100%"),
        "100%",
        "50%",
        "Of `successRate`, for what the sidecar sees itself; only if split",
    )
    .with(SPLIT),
    Field::usual(
        "outlierDetection.enforcing.localOriginFailurePercentage",
        WholePercent("0%", "100%"),
        "0%",
        "100%",
        "Of `failurePercentage`, for what the sidecar sees itself; only if split",
    )
    .with(SPLIT),
    Field::usual(
        "outlierDetection.interval",
        Span("1ms", "24h"),
        "10s",
        "5s",
        "How often shares are looked at and ejected endpoints may return",
    )
    .peers(&[("Envoy", "10s"), ("Istio", "10s")]),
    Field::usual(
        "outlierDetection.baseEjection",
        Span("1ms", "24h"),
        "30s",
        "10s",
        "The first ejection; times the number of ejections so far",
    )
    .peers(&[("Envoy", "30s"), ("Istio", "30s")]),
    Field::usual(
        "outlierDetection.maxEjection",
        Span("1ms", "24h"),
        "300s",
        "60s",
        "The longest; at least `baseEjection`, which is the default if it is more than 300s",
    )
    .with(&[("outlierDetection.baseEjection", "1ms")])
    .peers(&[("Envoy", "300s")]),
    Field::usual("outlierDetection.maxEjectionJitter", Span("0s", "24h"), "0s", "5s", "Each is longer by up to this"),
    Field::usual(
        "outlierDetection.maxEjectionPercent",
        Whole(0, 100),
        "10",
        "50",
        "Share of the endpoints that may be ejected at once",
    )
    .peers(&[("Envoy", "10"), ("Istio", "10")]),
    Field::usual(
        "outlierDetection.alwaysEjectOne",
        Truth,
        "true",
        "false",
        "One may be ejected even if that is a larger share than `maxEjectionPercent`",
    )
    .peers(&[("Envoy", "false")]),
    Field::usual("outlierDetection.floor", Whole(1, ANY), "1", "2", "Endpoints that are never ejected")
        .peers(&[("Envoy", "not there")]),
    // What clients do by themselves.
    Field::group(
        "clientThrottling",
        "never",
        "Refuses requests in the client's sidecar, by chance, while the target accepts too few: with max(0, (requests − k × accepts) ÷ \
         (requests + 1)), as in the SRE book. They are answered with 503 and `squall-reason: throttled`. Not accepted is what is answered \
         with 429, 503, gRPC RESOURCE_EXHAUSTED or UNAVAILABLE, or not at all",
    )
    .peers(&[("Envoy", "admission control, off: 95 % over 30s"), ("Istio", "not there"), ("Linkerd", "not there"), ("Kuma", "not there")]),
    Field::usual("clientThrottling.k", Decimal("1", "100"), "2", "1.5", "So many times what is accepted is sent"),
    Field::usual("clientThrottling.window", Span("1s", "1h"), "2m", "30s", "How long both count").peers(&[("Envoy", "30s")]),
    Field::usual(
        "clientThrottling.minRequests",
        Whole(0, 1_000_000),
        "0",
        "100",
        "Refuses nothing before so many requests are counted; with 0 it is the formula as it stands, from the first failure on",
    ),
    Field::group(
        "hedging",
        "never",
        "Sends a request once more, to another endpoint, when its answer takes long; the first good answer counts, and the other try is \
         cancelled. Only while its body is small and there as a whole, and within `retries.budget`",
    )
    .peers(&[("Envoy", "only on a per-try time-out"), ("Istio", "not there"), ("Linkerd", "not there"), ("Kuma", "not there")]),
    Field::optional("hedging.delay", Span("1ms", "1h"), "by `percentile`", "50ms", "When, after the try before"),
    Field::usual(
        "hedging.percentile",
        Percent("0.1%", "99.9%"),
        "95%",
        "99%",
        "When: after so long as this share of the target's tries takes at most",
    ),
    Field::usual("hedging.minSamples", Whole(1, 1_000_000), "100", "20", "No hedge before so many tries are known"),
    Field::usual("hedging.window", Span("1s", "1h"), "60s", "10s", "How long a try is known"),
    Field::usual("hedging.attempts", Whole(2, 10), "2", "3", "Tries of a request, retries not counted"),
    Field::usual("hedging.nonIdempotent", Truth, "false", "true", "Also hedge POST, PATCH and other methods that are not idempotent"),
    Field::usual(
        "hedging.bufferBytes",
        Whole(0, 16_777_216),
        "65536",
        "1048576",
        "How much of a request body is kept, where no retries say",
    ),
    // Limits.
    Field::group(
        "limits",
        "1024 in flight, 1024 pending",
        "How many requests a client's sidecar sends at once, how the others wait, and how many per time",
    )
    .peers(&[
        ("Envoy", "1024 connections, 1024 pending, 1024 requests, 3 retries"),
        ("Istio", "none: all four are 2^32 − 1"),
        ("Linkerd", "a queue of 10000, 100000 in flight"),
        ("Kuma", "1024 connections, 1024 pending, 1024 requests, 3 retries"),
    ]),
    Field::usual(
        "limits.inFlight",
        Whole(1, ANY),
        "1024",
        "64",
        "Requests at once: a number, or an adaptive limit, which finds the number by the latency it measures, from a request's place to its \
         end",
    )
    .peers(&[("Envoy", "1024"), ("Istio", "2^32 − 1"), ("Linkerd", "100000"), ("Kuma", "1024")]),
    Field::required(
        "limits.inFlight.adaptive",
        Choice(&["Gradient", "Vegas"]),
        "Gradient",
        "`Gradient` is Envoy's adaptive concurrency: every `window` the limit L becomes gL + √(gL), where g is (1 + `buffer`) × least \
         latency ÷ latency now, within ½ and 2. The least latency is measured at the limit `min` first, and again after every \
         `minRtt.interval`: give the requests that come then a queue. `Vegas` is Netflix' (TCP Vegas): it keeps a queue of 3 to 6 × \
         log10(L), shrinks after failures, and measures nothing at a low limit",
    ),
    Field::usual("limits.inFlight.min", Whole(1, ANY), "3", "10", "The limit stays at or above this, at most `max`; of `Vegas` 1 by default")
        .with(GRADIENT)
        .peers(&[("Envoy", "3")]),
    Field::usual("limits.inFlight.max", Whole(1, ANY), "1000", "200", "The limit stays at or below this")
        .with(GRADIENT)
        .peers(&[("Envoy", "1000")]),
    Field::usual("limits.inFlight.window", Span("1ms", "1h"), "100ms", "500ms", "How often it is set anew").with(GRADIENT),
    Field::usual("limits.inFlight.buffer", Percent("0%", "1000%"), "25%", "50%", "`Gradient`: how much slower than at best is fine")
        .with(GRADIENT)
        .peers(&[("Envoy", "25%")]),
    Field::usual("limits.inFlight.percentile", Percent("0.1%", "100%"), "50%", "90%", "`Gradient`: which of the latencies counts")
        .with(GRADIENT)
        .peers(&[("Envoy", "50%")]),
    Field::group("limits.inFlight.minRtt", "every 60s", "`Gradient`: how the least latency is measured").with(GRADIENT),
    Field::usual("limits.inFlight.minRtt.interval", Span("1ms", "24h"), "60s", "30s", "How often it is measured anew").with(GRADIENT),
    Field::usual("limits.inFlight.minRtt.jitter", Percent("0%", "100%"), "15%", "0%", "Spreads that up by this share")
        .with(GRADIENT)
        .peers(&[("Envoy", "15%")]),
    Field::usual("limits.inFlight.minRtt.requests", Whole(1, 1000), "50", "20", "How many answers measure it")
        .with(GRADIENT)
        .peers(&[("Envoy", "50")]),
    Field::usual("limits.inFlight.initial", Whole(1, ANY), "20", "50", "`Vegas`: the first limit, `min` to `max`").with(VEGAS),
    Field::usual(
        "limits.inFlight.probe",
        Whole(1, 10_000),
        "30",
        "10",
        "`Vegas`: the least latency is forgotten after so many windows × limit",
    )
    .with(VEGAS),
    Field::usual("limits.pending", Whole(0, ANY), "1024", "128", "Requests that wait for a place; one more is refused with 503")
        .peers(&[("Envoy", "1024"), ("Istio", "2^32 − 1"), ("Linkerd", "10000"), ("Kuma", "1024")]),
    Field::optional("limits.queueTimeout", Span("1ns", ""), "the request's deadline", "500ms", "The longest wait for a place")
        .peers(&[("Linkerd", "3s out, 1s in (failfast)")]),
    Field::group("limits.queue", "first in, first out", "How requests wait"),
    Field::usual(
        "limits.queue.order",
        Choice(&["Fifo", "AdaptiveLifo"]),
        "Fifo",
        "AdaptiveLifo",
        "`Fifo`; `AdaptiveLifo`: the last comer first, once somebody has been waiting all the time for `lifoAfter`",
    ),
    Field::usual("limits.queue.lifoAfter", Span("1ms", "1h"), "100ms", "20ms", "When `AdaptiveLifo` turns round").with(LIFO),
    Field::usual(
        "limits.queue.priorities",
        Truth,
        "false",
        "true",
        "Give places by rank, and in a full queue also the places of those who rank lowest. The rank is the header `squall-priority`: \
         `critical`, `default` or `sheddable`, which applications pass on; then a hash of `x-request-id`, which is the same at every service \
         that a request reaches, so that overloaded services all keep the same requests. Who loses a place is answered with 429",
    ),
    Field::group(
        "limits.queue.codel",
        "nobody is sent away",
        "When nobody has waited less than `target` for `interval`, requests are sent away, ever faster, until somebody has (RFC 8289)",
    ),
    Field::usual("limits.queue.codel.target", Span("1ms", "1h"), "5ms", "20ms", "The wait that is fine, not more than `interval`"),
    Field::usual("limits.queue.codel.interval", Span("1ms", "1h"), "100ms", "500ms", "How long it may be more; at least `target`")
        .with(&[("limits.queue.codel.target", "1ms")]),
    Field::usual(
        "limits.queue.deadlineAware",
        Truth,
        "false",
        "true",
        "Refuse a request that would be answered after its deadline, by what the latest took",
    ),
    Field::group("limits.rateLimit", "none", "Requests per time; one too many is answered with 429 and `retry-after`").peers(&[
        ("Envoy", "none; a token bucket by filter"),
        ("Istio", "none; by EnvoyFilter"),
        ("Linkerd", "none; HTTPLocalRateLimitPolicy"),
        ("Kuma", "none; MeshRateLimit"),
    ]),
    Field::group("limits.rateLimit.total", "none", "All requests together"),
    Field::required("limits.rateLimit.total.requests", Whole(1, ANY), "100", "So many requests"),
    Field::usual("limits.rateLimit.total.per", Span("1ms", "24h"), "1s", "1m", "In so long"),
    Field::optional("limits.rateLimit.total.burst", Whole(1, ANY), "as `requests`", "20", "So many at once"),
    Field::group(
        "limits.rateLimit.perCaller",
        "none",
        "The same for each caller by its SPIFFE id; those without share one rate. Only in `inbound`",
    )
    .like("limits.rateLimit.total", &[]),
    Field::group("limits.rateLimit.overrides", "none", "Callers with a rate of their own in place of `perCaller`. Only in `inbound`")
        .of(List)
        .like("limits.rateLimit.total", &[]),
    Field::required(
        "limits.rateLimit.overrides.caller",
        Other("a SPIFFE id"),
        "spiffe://cluster.local/ns/shop/sa/web",
        "Whose rate it is",
    ),
    // Time-outs.
    Field::group("timeouts", "connect 1s, poolIdle 90s", "How long what may take"),
    Field::optional(
        "timeouts.request",
        Span("1ns", ""),
        "none",
        "1s",
        "The whole request, over all tries; an HTTPRoute rule's `timeouts.request` goes first",
    )
    .peers(&[("Envoy", "15s"), ("Istio", "none"), ("Linkerd", "none"), ("Kuma", "15s")]),
    Field::optional(
        "timeouts.perTry",
        Span("1ns", ""),
        "none",
        "250ms",
        "One try, not more than `request`; a rule's `timeouts.backendRequest` goes first",
    )
    .peers(&[("Envoy", "none: as the route's, so that what times out is not tried again"), ("Istio", "as Envoy"), ("Kuma", "16s")]),
    Field::optional("timeouts.idle", Span("1ns", ""), "none; 1h for TCP", "30s", "The longest silence while a body streams, or of a connection of TCP")
        .peers(&[("Envoy", "5m"), ("Kuma", "30m")]),
    Field::optional(
        "timeouts.stream",
        Span("1ns", ""),
        "none",
        "1m",
        "The whole exchange, bodies included, not less than `request`; what streams on is cut off then",
    ),
    Field::usual("timeouts.connect", Span("1ns", ""), "1s", "250ms", "TCP and TLS").peers(&[
        ("Envoy", "5s"),
        ("Istio", "10s"),
        ("Linkerd", "1s"),
        ("Kuma", "5s"),
    ]),
    Field::usual("timeouts.poolIdle", Span("1ns", ""), "90s", "30s", "An unused connection is closed after this")
        .peers(&[("Envoy", "1h"), ("Istio", "1h"), ("Linkerd", "3s"), ("Kuma", "1h")]),
    Field::group(
        "inbound",
        "as of `limits`",
        "As `limits`, but at the pods of the target, in their own sidecars: the load they take from all clients together",
    )
    .like("limits", &[]),
    Field::group("tls", "mutual", "Whether both sides prove who they are"),
    Field::required("tls.mode", Choice(&["Mutual", "None"]), "None", "`Mutual`, each side proves its identity; `None`, plaintext")
        .peers(&[("Istio", "mutual where the peer can"), ("Linkerd", "mutual"), ("Kuma", "mutual, when it is on")]),
];
