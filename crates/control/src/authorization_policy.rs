//! Reference of the AuthorizationPolicy resource: who may ask a workload for what. Its words and meaning are those of Istio's.
//!
//! ```yaml
//! apiVersion: squall.dev/v1alpha1
//! kind: AuthorizationPolicy
//! metadata: {name: only-web, namespace: shop}
//! spec:
//!   targetRefs: [{group: "", kind: Service, name: cart}]
//!   action: ALLOW
//!   rules:
//!     - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
//!       to: [{operation: {methods: [GET, POST], paths: [/cart/*]}}]
//! ---
//! # Nobody may do what nobody says.
//! apiVersion: squall.dev/v1alpha1
//! kind: AuthorizationPolicy
//! metadata: {name: default-deny, namespace: shop}
//! spec: {}
//! ```
//!
//! The pod's own sidecar decides, by the identity that the caller's certificate proves. What a `DENY` rule names is refused; else, if
//! the workload has any `ALLOW` policy, what none of its rules names is refused too; `AUDIT` decides nothing, and is told in the
//! metrics, the access log and a run's history. The refusal is 403 (gRPC 7, PERMISSION_DENIED) and says `squall-reason:
//! rbac-denied`; a connection that is not HTTP is reset.
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `targetRefs` | the pods of these Services, at their ports | `selector` |
//! | `selector.matchLabels` | pods with these labels. Refused where only EndpointSlices say which pods there are, for they have no labels | all pods of the namespace |
//! | `action` | `ALLOW`, `DENY`, `AUDIT` | `ALLOW` |
//! | `rules` | a request fits if one of them does. None: `ALLOW` allows nobody | none, which only `ALLOW` may have |
//! | `rules[].from[].source` | `principals`, `notPrincipals` (identities without `spiffe://`), `namespaces`, `notNamespaces`: all that are given must fit, one of the sources | anybody, also without an identity |
//! | `rules[].to[].operation` | `methods`, `notMethods`, `paths`, `notPaths`, `ports`, `notPorts` (of the pod): all that are given must fit, one of the operations | anything |
//!
//! A text is compared whole; `abc*` is its beginning, `*abc` its end, `*` any. Paths are without query, and are looked at both as they
//! came and as a server may understand them (`/a/../b`, `//b`, `/%62` are `/b`): a `DENY` needs to fit one of the two, an `ALLOW` both.
//! What is not HTTP has no method and no path: a `DENY` about these refuses it, an `ALLOW` does not let it in.
