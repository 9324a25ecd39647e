//! Reference of the FaultInjection resource: faults that a route injects on purpose, in production as in a rehearsal.
//!
//! ```yaml
//! apiVersion: squall.dev/v1alpha1
//! kind: FaultInjection
//! metadata: {name: sluggish, namespace: shop}
//! spec:
//!   match: {headers: [{name: x-rehearsal, value: "yes"}]}
//!   delay: {fixed: 2s, percentage: 10%}
//!   abort: {status: 503, percentage: 5%}
//! ---
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: HTTPRoute
//! metadata: {name: catalog, namespace: shop}
//! spec:
//!   parentRefs: [{group: "", kind: Service, name: catalog, port: 80}]
//!   rules:
//!     - filters: [{type: ExtensionRef, extensionRef: {group: squall.dev, kind: FaultInjection, name: sluggish}}]
//!       backendRefs: [{name: catalog, port: 80}]
//! ```
//!
//! A rule names one of its own namespace by an `ExtensionRef` filter; one that no rule names is refused, since it has no effect.
//!
//! Each *try* of a request is hit with these odds, as by a real fault: a retry may get through. (Envoy and Istio hit a request
//! once; with Istio, a route with a fault does not retry.) A delay counts against the time-outs of the try and of the
//! request. An abort does not reach an endpoint, so no breaker opens by it; the retry policy sees its status. Answers made so
//! say `squall-reason: fault-injected`.
//!
//! | field | meaning | range | default |
//! |---|---|---|---|
//! | `match.headers` | only requests with all of these headers, compared exactly | | all requests |
//! | `delay.fixed` | the try begins so late | more than 0, up to 1h | required with `delay` |
//! | `delay.percentage` | how many tries, drawn for each | more than 0%, up to 100% | required with `delay` |
//! | `abort.status` | answered with this status instead; a gRPC caller gets the gRPC status it stands for | 400 to 599 | this or `grpc` |
//! | `abort.grpc` | answered with this gRPC status, such as `unavailable`; another caller gets the status it stands for | | this or `status` |
//! | `abort.percentage` | how many tries, drawn apart from the delay | more than 0%, up to 100% | required with `abort` |
//!
//! One of `delay` and `abort` is needed. A try that meets both is answered after its delay.
