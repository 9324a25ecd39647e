//! Reference of the TrafficPolicy resource: what the Gateway API has no word for.
//!
//! ```yaml
//! apiVersion: squall.dev/v1alpha1
//! kind: TrafficPolicy
//! metadata: {name: catalog, namespace: shop}
//! spec:
//!   targetRefs: [{group: "", kind: Service, name: catalog}]
//!   loadBalancing: {algorithm: PeakEwma, decay: 10s, zones: {mode: PreferLocal}}
//!   healthCheck: {path: /healthz, interval: 5s}
//!   retries:
//!     attempts: 2
//!     on: [connect-failure, reset, "503"]
//!     backoff: {base: 25ms, max: 250ms, jitter: full}
//!     budget: {percent: 20, minPerSecond: 10, window: 10s}
//!   circuitBreaker: {consecutiveFailures: 7, open: {min: 1s, max: 60s, jitter: 50%}, probes: 1}
//!   serviceCircuitBreaker: {successRate: {below: 30%, window: 10s, minRequests: 50}, slowCalls: {slowerThan: 1s, above: 50%}}
//!   outlierDetection: {consecutive5xx: 5}
//!   limits: {inFlight: 1024, pending: 256}
//!   timeouts: {request: 1s, perTry: 250ms, connect: 500ms}
//!   inbound: {inFlight: 64, pending: 128}
//!   tls: {mode: Mutual}
//! ```
//!
//! A policy is about requests *to* its targets. A Service has one policy at most. One without takes over that of the Service
//! whose HTTPRoute leads to it, so that a policy for `catalog` also holds for `catalog-v1` and `catalog-v2` behind it; if routes of
//! Services with different policies lead to it, it needs one of its own. Every limit holds per proxy: two clients have two.
//! Durations have units (`250ms`, `1s`, `1m30s`); unknown fields and impossible values are refused.
//!
//! # `targetRefs`
//! Services of the policy's own namespace: `{group: "", kind: Service, name: NAME}`. Required.
//!
//! # Ports of TCP
//! A Service port speaks what its `appProtocol` says, else the beginning of its name up to a `-`: `http`, `http2`, `grpc`, `grpc-web`,
//! `kubernetes.io/h2c`, `kubernetes.io/ws` are HTTP; `tcp`, `tls`, `https`, `mongo`, `mysql`, `redis`, `kubernetes.io/wss` are TCP. Of
//! undeclared ports 25, 587, 3306, 4444, 5432, 6379, 9300 and 11211 are TCP; any other is HTTP for those who name it by `Host`, and told
//! by the first bytes of each connection that is intercepted. For TCP a request is a connection: `loadBalancing` is `LeastRequest` by
//! default, that is least connections; `limits` and `inbound` count connections; breakers and outlier detection count those that did not
//! come about, and so do `retries` with `connect-failure` (2 by default); `timeouts.idle` is the longest silence (1h by default) and
//! `timeouts.stream` the longest connection. `timeouts.request`, `timeouts.perTry`, `hedging`, `clientThrottling`, an adaptive `limits.inFlight`,
//! hashing and health checks by requests are refused where all targets speak TCP.
//!
//! # `loadBalancing`
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `algorithm` | `PeakEwma`: the least cost (latency × requests in flight) of a few random endpoints; `LeastRequest`: the fewest requests in flight of a few; `RoundRobin`: in turn; `Random`; `RingHash` and `Maglev`: by a key of the request, so that requests of one key go to one endpoint | | `PeakEwma` |
//! | `decay` | how fast `PeakEwma` forgets | more than 0 | 10s |
//! | `defaultRtt` | what `PeakEwma` takes an endpoint without a sample for | more than 0 | 30ms |
//! | `choices` | how many are compared by `PeakEwma` and `LeastRequest` | 1 or more | 2 |
//! | `failurePenalty.first` | `PeakEwma`, `LeastRequest`: what a failed try counts as at least; each further one doubles it, `decay` (10s) forgives. `LeastRequest` takes it for ten requests in flight | 1ms to `max` | 10 × `defaultRtt` |
//! | `failurePenalty.max` | what failures alone come to at most | to 1h | 5s |
//! | `failurePenalty.off` | `true`: none, so that an endpoint that fails fast looks like the best | | `false` |
//! | `requestBias` | `LeastRequest` with unequal weights: weight ÷ (requests + 1)^bias | 0 to 10 | 1 |
//! | `key` | `RingHash`, `Maglev`: what is hashed: `{header: NAME}`, `{cookie: NAME}`, `{query: NAME}`, `path`, `source` (the client's SPIFFE id); or a list of them, the first that a request has. A request with none goes to a random endpoint | | required |
//! | `whenDown` | a key whose endpoint is ejected, unhealthy, draining or behind an open breaker goes on to the `Next`, or is answered with 503 (`Refuse`: for shards; retries stay with it too) | | `Next` |
//! | `boundedLoads` | no endpoint takes more than this share of the mean load; what is too much goes on to the next | 100% to 100000% | none |
//! | `ring.min`, `ring.max` | points on the ring of `RingHash` | 1 to 8388608 | 1024, 8388608 |
//! | `tableSize` | places in the table of `Maglev` | a prime, 2 to 5000011 | 65537 |
//! | `slowStart.window` | `PeakEwma`, `LeastRequest`, `RoundRobin`: a new endpoint, or one that is healthy again, comes to its full share after this | 1ms to 1h | required |
//! | `slowStart.aggression` | share = (age ÷ window)^(1 ÷ aggression) | 0.001 to 100 | 1 |
//! | `slowStart.minWeight` | the least share | 1% to 100% | 10% |
//! | `subset` | each proxy uses only so many of the endpoints, always the same ones; not with a hash | 1 or more | all |
//! | `zones.mode` | `PreferLocal`: endpoints of the client's own zone first, the others as far as those cannot take the load; `Any` | | `Any` |
//! | `zones.overprovisioning` | the own zone takes all load while this × its available share is 100 % | 100% to 1000% | 140% |
//! | `panicThreshold` | when fewer are healthy (not ejected, not found unhealthy), all but draining ones are used; `0%`: never | 0% to 100% | 50% with `healthCheck` or `PreferLocal`; else 0%, since `outlierDetection` has a `floor` |
//!
//! # `healthCheck`
//! Every client asks every endpoint by itself, and picks none before it has answered once. Absent: none.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `path` | GET this, over mutual TLS where requests have it | | this, `grpc` or `connect` |
//! | `grpc` | call `grpc.health.v1.Health/Check` for this `service`; `{}`: for the whole server. Every targeted port must speak HTTP/2 | | |
//! | `connect` | `true`: only make a connection | | `false` |
//! | `expect` | statuses that pass, such as `[200, 301-308]` | 100 to 599 | 200 |
//! | `interval` | from the end of one check to the next | 10ms to 1h | 5s |
//! | `jitter` | spreads it up by this share | 0% to 100% | 10% |
//! | `timeout` | the longest wait for the answer, connecting included | 1ms to 1h | 1s |
//! | `unhealthyAfter` | failures in a row | 1 or more | 3; the first check decides alone |
//! | `healthyAfter` | successes in a row | 1 or more | 2 |
//!
//! # `retries`
//! Absent: none. They hold for the routes of the targets; an HTTPRoute rule's own `retry` may not be set beside it.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `attempts` | tries after the first | 1 to 1000 | required |
//! | `on` | reasons: `connect-failure`, `reset`, `refused-stream`, `per-try-timeout`, `5xx`, `gateway-error` (502, 503, 504), a status such as `"503"`, a gRPC status such as `grpc-unavailable` | | `connect-failure`, `refused-stream` |
//! | `backoff.base` | wait before the first retry; doubles | 1ms to `max` | 25ms |
//! | `backoff.max` | the longest wait | to 5m | 250ms, or `base` if that is more |
//! | `backoff.jitter` | `none`; `full`: uniform from 0; `equal`: uniform from a half; `decorrelated` | | `full` |
//! | `budget.percent` | retries per hundred requests | 0 to 1000 | 20 |
//! | `budget.minPerSecond` | retries that are always allowed, per second | 0 or more | 10 |
//! | `budget.window` | how long requests count | 1s to 1h | 10s |
//! | `budget.unlimited` | `true`: no budget at all, as most meshes have it; nothing else may be set beside it | | `false` |
//! | `budget.share` | Envoy's: at most so many retries under way as `percent` (0 to 100) of the requests under way, and `minConcurrent` in any case | | none; 20, 3 |
//! | `budget.bucket` | a token bucket of `size` (1 to 1000000), full at first: each request puts `deposit` (0 to 10) in, each retry takes one out and needs more than one to be there (Brooker) | | none; 5, 0.1 |
//! | `budget.throttling` | gRPC's `retryThrottling`: a failure takes one of `maxTokens` (1 to 1000), a success gives `tokenRatio` (0.001 to 1000); no retry while half or less are there | | none; 10, 0.1 |
//! | `budget.breaker` | no retry while failures are more than `percent` (0 to 100) of requests, over all time or a `window` (1s to 1h) (Brooker) | | none; 10, all time |
//! | `nonIdempotent` | also repeat POST, PATCH and other methods that are not idempotent (RFC 9110 §9.2.2); failures that no server saw are repeated for every method anyway | | `false` |
//! | `bufferBytes` | how much of a request body is kept for a retry; a longer one is sent once | 0 to 16777216 | 65536 |
//!
//! Budgets of several kinds may be combined: a retry, or a hedge, needs leave from all. The window's (`percent`,
//! `minPerSecond`, `window`) holds if one of its fields is set, or none of another kind is.
//!
//! # `clientThrottling`
//! Refuses requests in the client's sidecar, by chance, while the target accepts too few: with max(0, (requests − k × accepts) ÷
//! (requests + 1)), as in the SRE book. They are answered with 503 and `squall-reason: throttled`. Not accepted is what is
//! answered with 429, 503, gRPC RESOURCE_EXHAUSTED or UNAVAILABLE, or not at all. Absent: never.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `k` | so many times what is accepted is sent | 1 to 100 | 2 |
//! | `window` | how long both count | 1s to 1h | 2m |
//! | `minRequests` | refuses nothing before so many requests are counted | 0 to 1000000 | 0: the formula as it stands, from the first failure on |
//!
//! # `hedging`
//! Sends a request once more, to another endpoint, when its answer takes long; the first good answer counts, and the other try is
//! cancelled. Only while its body is small and there as a whole, and within `retries.budget`. Absent: never.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `delay` | when, after the try before | 1ms to 1h | by `percentile` |
//! | `percentile` | when: after so long as this share of the target's tries takes at most | 0.1% to 99.9% | 95% |
//! | `minSamples` | no hedge before so many tries are known | 1 to 1000000 | 100 |
//! | `window` | how long a try is known | 1s to 1h | 60s |
//! | `attempts` | tries of a request, retries not counted | 2 to 10 | 2 |
//! | `nonIdempotent` | also hedge POST, PATCH and other methods that are not idempotent | | `false` |
//! | `bufferBytes` | how much of a request body is kept, where no retries say | 0 to 16777216 | 65536 |
//!
//! # `circuitBreaker`
//! A breaker per endpoint: closed it sends, open it refuses, half-open it lets probes through. Absent: none. Each of
//! `consecutiveFailures`, `successRate` and `slowCalls` that is set may open it, and any combination of them.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `consecutiveFailures` | opens after so many failures in a row | 1 or more | 7; off, if `successRate` or `slowCalls` is set and it is not |
//! | `successRate` | opens when too few of the latest calls succeed | | off |
//! | `successRate.below` | fewer than this share | more than 0% to 100% | 50% |
//! | `successRate.window` | how long a call counts: in ten buckets, so nine tenths of this at least | 100ms to 1h | 10s |
//! | `successRate.minRequests` | calls in the window before it says anything | 1 or more | 20 |
//! | `slowCalls` | opens when too many of the latest calls are slow | | off |
//! | `slowCalls.slowerThan` | slow is a call without an answer's head after so long; it counts at that moment and does not have to end first | 1ms to 24h | required |
//! | `slowCalls.above` | more than this share | 0% to less than 100% | 50% |
//! | `slowCalls.window`, `slowCalls.minRequests` | as of `successRate` | | 10s, 20 |
//! | `open.min` | stays open at first; doubles while probes fail or are slow | 1ms to `max` | 1s |
//! | `open.max` | stays open at most | to 24h | 60s, or `min` if that is more |
//! | `open.jitter` | spreads the open time up by this share | 0% to 100% | 50% |
//! | `probes` | requests let through while half-open; as many successes close it | 1 or more | 1 |
//! | `floor` | so many endpoints keep serving, whatever they do (breaker closed, not ejected, not draining); a breaker that would leave fewer stays closed, and opens as soon as others serve again | 0 or more | 0: all may open, and requests are refused at once while all are |
//!
//! # `serviceCircuitBreaker`
//! A breaker of the Service as a whole, in each client: it counts the tries to all endpoints, and while it is open every
//! request is refused with 503 at once (`squall-reason: breaker-open`). Fields as of `circuitBreaker`, without `floor`. Both
//! breakers may be set; each has its own counts. Where a few of many endpoints fail, it refuses also what the others would
//! have served: with three shards, one of them dead, and `successRate: {below: 70%}`, nothing is served, and with the breaker per
//! endpoint two thirds are.
//!
//! # `outlierDetection`
//! Ejects endpoints as Envoy does, with Envoy's detectors and defaults. Absent: none. Failures are 5xx, and what the
//! sidecar sees itself: no connection, a break (as 503), a try out of time (as 504).
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `consecutive5xx` | ejects after so many failures in a row | 1 or more | 5 |
//! | `consecutiveGatewayFailure` | the same for 502, 503, 504 only | 1 or more | 5, not enforced |
//! | `splitExternalLocalOriginErrors` | counts what the sidecar sees itself apart | | `false` |
//! | `consecutiveLocalOriginFailure` | ejects after so many of those in a row; only if split | 1 or more | 5 |
//! | `successRate` | each interval, ejects below mean − `stdevFactor` × standard deviation of the success rates | | |
//! | `successRate.minimumHosts` | only if so many endpoints had enough requests | 0 or more | 5 |
//! | `successRate.requestVolume` | enough requests in an interval | 0 or more | 100 |
//! | `successRate.stdevFactor` | Envoy's 1900 is 1.9 here | 0 to 100, thousandths | 1.9 |
//! | `failurePercentage` | each interval, ejects from a share of failures on | | not enforced |
//! | `failurePercentage.threshold` | that share | 0% to 100% | 85% |
//! | `failurePercentage.minimumHosts`, `.requestVolume` | as of `successRate` | | 5, 50 |
//! | `enforcing` | in which share of its findings a detector ejects; by name: `consecutive5xx`, `consecutiveGatewayFailure`, `successRate`, `failurePercentage`, and if split `consecutiveLocalOriginFailure`, `localOriginSuccessRate`, `localOriginFailurePercentage` | 0% to 100% | 100%; 0% for `consecutiveGatewayFailure`, `failurePercentage` and `localOriginFailurePercentage` |
//! | `interval` | how often shares are looked at and ejected endpoints may return | 1ms or more | 10s |
//! | `baseEjection` | first ejection; times the number of ejections so far | 1ms or more | 30s |
//! | `maxEjection` | the longest | `baseEjection` to 24h | 300s, or `baseEjection` if that is more |
//! | `maxEjectionJitter` | each is longer by up to this | 0s to 24h | 0s |
//! | `maxEjectionPercent` | share of the endpoints that may be ejected at once | 0 to 100 | 10 |
//! | `alwaysEjectOne` | one may be ejected even if that is a larger share (Envoy's default is `false`) | | `true` |
//! | `floor` | endpoints that are never ejected | 1 or more | 1 |
//!
//! # `limits`
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `inFlight` | requests at once: a number, or an adaptive limit (see there) | 1 or more | 1024 |
//! | `pending` | requests that wait for a place; one more is refused with 503 | 0 or more | 1024 |
//! | `queueTimeout` | the longest wait for a place | more than 0 | the request's deadline |
//! | `queue.order` | `Fifo`; `AdaptiveLifo`: the last comer first, once somebody has been waiting all the time for `queue.lifoAfter` | | `Fifo` |
//! | `queue.lifoAfter` | see `queue.order` | 1ms to 1h | 100ms |
//! | `queue.priorities` | give places by rank, and in a full queue also the places of those who rank lowest (see there) | | `false` |
//! | `queue.codel.target`, `.interval` | when nobody has waited less than `target` for `interval`, requests are sent away, ever faster, until somebody has (RFC 8289) | 1ms to `interval`; to 1h | 5ms, 100ms; without `codel` nobody is |
//! | `queue.deadlineAware` | refuse a request that would be answered after its deadline, by what the latest took | | `false` |
//! | `rateLimit.total` | requests per time: `{requests: 100, per: 1s, burst: 100}`; one too many is answered with 429 and `retry-after` | | none; `per` 1s, `burst` as `requests` |
//! | `rateLimit.perCaller` | the same for each caller by its SPIFFE id; those without share one rate; `inbound` only | | none |
//! | `rateLimit.overrides` | callers with a rate of their own in place of `perCaller`: `[{caller: spiffe://…, requests: 10}]`; `inbound` only | | none |
//!
//! ## Adaptive limits
//! `inFlight: {adaptive: Gradient, min: 3, max: 1000}` finds the limit by the latency it measures, from a request's place to its
//! end. `Gradient` is Envoy's adaptive concurrency: every `window` the limit L becomes gL + √(gL), where g is (1 + `buffer`) ×
//! least latency ÷ latency now, within ½ and 2. With c places behind it that are all that slows requests down it rests at (1 +
//! `buffer`)c + √((1 + `buffer`)c). The least latency is measured at the limit `min` first, and again after every
//! `minRtt.interval`: give the requests that come then a queue. `Vegas` is Netflix' (TCP Vegas): it keeps a queue of 3 to 6 ×
//! log10(L), shrinks after failures, and measures nothing at a low limit.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `min`, `max` | the limit stays within | 1 or more | 3 (`Vegas`: 1), 1000 |
//! | `window` | how often it is set anew | 1ms to 1h | 100ms |
//! | `buffer` | `Gradient`: how much slower than at best is fine | 0% to 1000% | 25% |
//! | `percentile` | `Gradient`: which of the latencies counts | 0.1% to 100% | 50% |
//! | `minRtt.interval` | `Gradient`: how often the least latency is measured anew | 1ms to 24h | 60s |
//! | `minRtt.jitter` | `Gradient`: spreads that up by this share | 0% to 100% | 15% |
//! | `minRtt.requests` | `Gradient`: how many answers measure it | 1 to 1000 | 50 |
//! | `initial` | `Vegas`: the first limit | `min` to `max` | 20 |
//! | `probe` | `Vegas`: the least latency is forgotten after so many windows × limit | 1 to 10000 | 30 |
//!
//! ## Classes of requests
//! The header `squall-priority` says how much a request matters: `critical`, `default` (what says nothing) or `sheddable`. An
//! application, or an HTTPRoute's RequestHeaderModifier, sets it; applications pass it on with the calls they make, as they do
//! `x-request-id` and `traceparent`. A queue with `priorities` serves by rank: by class, then by a hash of `x-request-id`,
//! which is the same at every service that a request reaches. When it is full, a newcomer takes the place of whoever ranks lowest,
//! who is answered with 429.
//! So overloaded services all keep the same requests, and do little work for one that fails elsewhere. Who ranks low waits long:
//! set a `queueTimeout` or a time-out of the request.
//!
//! # `timeouts`
//! | field | meaning | default |
//! |---|---|---|
//! | `request` | the whole request, over all tries; a rule's `timeouts.request` goes first | none |
//! | `perTry` | one try, not more than `request`; a rule's `timeouts.backendRequest` goes first | none |
//! | `idle` | the longest silence while a body streams | none |
//! | `stream` | the whole exchange, bodies included, not less than `request`; what streams on is cut off then | none |
//! | `connect` | TCP and TLS | 1s |
//! | `poolIdle` | an unused connection is closed after this | 90s |
//!
//! # `inbound`
//! As `limits`, but at the pods of the target, in their own sidecars: the load they take from all clients together. Defaults are
//! those of `limits`.
//!
//! # `tls`
//! `mode`: `Mutual` (default), each side proves its identity; `None`, plaintext.
