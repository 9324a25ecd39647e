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
//! Its fields, with ranges, defaults and what other meshes have there, are in [`crate::reference::TRAFFIC_POLICY`];
//! `squall explain TrafficPolicy` prints them.
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
//! # Classes of requests
//! The header `squall-priority` says how much a request matters: `critical`, `default` (what says nothing) or `sheddable`. An
//! application, or an HTTPRoute's RequestHeaderModifier, sets it; applications pass it on with the calls they make, as they do
//! `x-request-id` and `traceparent`. A queue with `priorities` serves by rank: by class, then by a hash of `x-request-id`,
//! which is the same at every service that a request reaches. When it is full, a newcomer takes the place of whoever ranks lowest,
//! who is answered with 429.
//! So overloaded services all keep the same requests, and do little work for one that fails elsewhere. Who ranks low waits long:
//! set a `queueTimeout` or a time-out of the request.
