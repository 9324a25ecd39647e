//! Reference of the PeerAuthentication resource: what the peers of a workload must prove. Its words and precedence are those of
//! Istio's.
//!
//! ```yaml
//! # The whole mesh takes plain connections too, while workloads move into it.
//! apiVersion: squall.dev/v1alpha1
//! kind: PeerAuthentication
//! metadata: {name: default, namespace: squall}
//! spec: {mtls: {mode: PERMISSIVE}}
//! ---
//! # But nobody speaks to the database without an identity; its metrics are plain.
//! apiVersion: squall.dev/v1alpha1
//! kind: PeerAuthentication
//! metadata: {name: db, namespace: shop}
//! spec:
//!   selector: {matchLabels: {app: db}}
//!   mtls: {mode: STRICT}
//!   portLevelMtls:
//!     9090: {mode: DISABLE}
//! ```
//!
//! What is nearest to the port decides: the policy of its workload for that port, the same for all its ports, that of the namespace
//! (without a `selector`), that of the mesh (without a `selector`, in namespace `squall`). Where none says anything, a sidecar takes mutual
//! TLS only, unless it was told otherwise when it started. Two policies of the same reach for one workload are refused, as nobody
//! could tell which holds.
//!
//! | mode | the sidecar takes | clients of the mesh send |
//! |---|---|---|
//! | `STRICT` | mutual TLS; anything else is refused | mutual TLS |
//! | `PERMISSIVE` | mutual TLS, and plain connections of peers without an identity. TLS that does not say that it is the mesh's (by the ALPN `squall`) is the application's own and passed on as it is, with a server name or without; so the first bytes are waited for, up to `--detect-timeout` where the server speaks first | mutual TLS |
//! | `DISABLE` | plain connections of peers without an identity, and as `PERMISSIVE` the mutual TLS of clients who have not heard of a change yet. All other TLS is the application's own and passed on as it is | plain connections |
//! | `UNSET` | what the next wider policy says | |
//!
//! | field | meaning | default |
//! |---|---|---|
//! | `selector.matchLabels` | pods of this namespace with these labels | the namespace, or in `squall` the mesh |
//! | `mtls.mode` | for all ports | `UNSET` |
//! | `portLevelMtls.PORT.mode` | for this port of the pod (not of a Service); only with a `selector` | `UNSET` |
//!
//! A change takes hold for new connections at once. Where plain connections are no longer taken, those of HTTP that are there are
//! asked to leave (`connection: close`, GOAWAY) and end after the requests under way; opaque ones end by themselves. Clients and
//! servers learn of a change one after the other, in any order: from `STRICT` to `DISABLE` or back go by way of `PERMISSIVE`, so that no client
//! is plain any more, or none is yet, where only mutual TLS is taken; then no request is lost.
//!
//! Clients decide by Service. A selector whose labels may fit only some pods of a Service is refused if its mode would decide whether
//! clients may begin mutual TLS; so is a TrafficPolicy's `tls` that contradicts.
