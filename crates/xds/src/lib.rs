//! Says a [`Mesh`] on the wire: xDS v3 over one ADS stream, as two halves without I/O, and protobuf. (Also that of [`otlp`], for it is here
//! that protobuf is spoken.)

//!
//! [`encode`] fills Envoy's fields with what they can say, so that Envoy can follow the same control plane, and puts beside
//! them, as typed metadata in the package `squall.v1alpha1`, what they cannot: the breaker with half-open probes, the token
//! budget, peak EWMA, kinds of jitter, queue time-outs, adaptive limits, queue disciplines, rates, inbound limits, names and identities of endpoints. Where both are
//! there, Squall obeys the extension. What Envoy does instead:
//!
//! | Squall | Envoy |
//! |---|---|
//! | peak EWMA | least request of as many choices, two at least |
//! | breaker with half-open probes | if no outlier ejection is set: ejection after as many failures in a row, or at the same share of failures in an interval |
//! | breaker by slow calls, breaker of a whole backend | nothing |
//! | outlier ejection | the same, but for the floor |
//! | budget per request and second | `retry_budget`: the same percentage of the requests in flight, at least that many retries at once |
//! | a share of the requests under way | the same `retry_budget`, alone or with other budgets |
//! | other budgets, alone | no budget but that one: none without it |
//! | throttling at the client, hedging | nothing: its admission control and `hedge_policy` hold for a route, and mean other things |
//! | jitter other than full | full jitter |
//! | only idempotent methods are repeated | the same, but not even connect failures of others |
//! | retry on a time-out of the try | retry on reset, which includes it |
//! | adaptive limits, queue disciplines and rates of a cluster | a fixed limit of as many requests as the adaptive one comes to at most, a queue first come first served, no rate: its filters for them hold for a listener or a route, not for a cluster |
//! | ring hash, Maglev, bounded loads | the same, on the same tables (`hash_policy` of the cluster's HTTP options); the path with its query, the source's address in place of its identity; a bound goes on to a random other |
//! | a key whose endpoint is down is refused | it goes on to the next |
//! | weights and bias under least request, slow start, panic threshold | the same; no slow start under peak EWMA alone, whose fallback has it |
//! | a penalty for failures, own zone first, a subset of the endpoints | nothing: all zones and endpoints alike |
//! | health checks | the same, but over one connection that stays |
//! | floor of endpoints never ejected or broken, queue time-out, inbound limits | nothing |
//! | who may ask for what | the same, by the RBAC filters of inbound listeners (`bind_to_port: false`, so that they wait for an interception as Istio's do): deny, then allow; what is audited are the shadow rules. Of a path it sees one form, that in which it came |
//! | destinations of connections, opaque clusters, ports whose protocol nobody declared | nothing: it would need a listener for each address |
//! | listeners of a gateway, for requests from outside | nothing: it would need listeners and certificates of its own |
//! | a route's faults hit each try | its fault filter hits each request once, before the tries |
//! | each endpoint's identity is checked | any identity of the cluster's endpoints will do |
//!
//! [`decode`] refuses what it does not support by name ([`Nack`]), whether it comes from Squall's control plane or another.
//! Values that are not set get Envoy's defaults (a route's `timeout` 15 s, `connect_timeout` 5 s, …), except that a cluster
//! without `max_retries` and `retry_budget` gets Squall's default budget. A health check's unexpected status counts towards
//! `unhealthy_threshold` also where Envoy would not wait for it (`retriable_statuses`).
//!
//! Of RBAC it follows `envoy.filters.http.rbac` and `envoy.filters.network.rbac`, one filter that allows at most: principals by identity (exact,
//! prefix, suffix, and the regular expression by which [`encode`] says a namespace), permissions by `url_path` and the header `:method`, `any`,
//! and `and`, `or` and `not` of these as far as an AuthorizationPolicy could say them. Addresses, ports, other headers and other regular
//! expressions are refused by name.

mod access;
mod balance;
mod client;
mod decode;
mod decode_route;
mod encode;
mod fault;
mod feed;
mod frame;
mod gateway;
mod inbound;
pub mod otlp;
mod overload;
mod protection;
mod proto;
mod redirect;
pub mod retry_on;
mod sign;
mod stream;
mod subscription;
mod tables;
mod wire;

pub use feed::{Feed, FeedEvent};
pub use frame::{Deframer, FrameError, frame};
pub use sign::{CertificateRequest, CertificateResponse, MalformedMessage};
pub use subscription::{Subscription, SubscriptionEvent};

use std::collections::BTreeMap;

use bytes::Bytes;
use squall_policy::Mesh;

/// The name of the one listener.
pub(crate) const LISTENER: &str = "outbound";

/// The name of its route configuration.
pub(crate) const ROUTES: &str = "outbound";

/// The key of Squall's extensions in metadata.
pub(crate) const SQUALL_KEY: &str = "squall.v1alpha1";

/// All kinds, in the order in which they are pushed.
pub(crate) const KINDS: [Kind; 4] = [Kind::Cluster, Kind::Endpoints, Kind::Listener, Kind::Routes];

/// Why a resource was not taken over. The last good mesh stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{resource}: {field}: {why}")]
pub struct Nack {
    /// Which resource, `Cluster shop/catalog:80`.
    pub resource: String,
    /// Which field, by its full name, `envoy.config.cluster.v3.Cluster.lb_subset_config`; unknown ones by number, `… field 77`.
    pub field: String,
    /// Why, for a person.
    pub why: String,
}

/// The kinds of resources that the two halves exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoints,
    /// `envoy.config.listener.v3.Listener`.
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`.
    Routes,
}

/// The resources of a mesh, encoded, each under its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Encoded `Cluster`s.
    pub clusters: BTreeMap<String, Bytes>,
    /// Encoded `ClusterLoadAssignment`s.
    pub endpoints: BTreeMap<String, Bytes>,
    /// Encoded `Listener`s.
    pub listeners: BTreeMap<String, Bytes>,
    /// Encoded `RouteConfiguration`s.
    pub routes: BTreeMap<String, Bytes>,
}

impl Resources {
    /// Those of one kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &BTreeMap<String, Bytes> {
        match kind {
            Kind::Cluster => &self.clusters,
            Kind::Endpoints => &self.endpoints,
            Kind::Listener => &self.listeners,
            Kind::Routes => &self.routes,
        }
    }
}

/// The resources that say `mesh`. [`decode`] of them is `mesh` again, if it is in normal form, as the compiler makes it:
/// endpoints in the order of their addresses and none for backends without, `RetryPolicy::on` sorted, header removals before
/// other changes, prefixes without a trailing `/`.
#[must_use]
pub fn encode(mesh: &Mesh) -> Resources {
    encode::mesh(mesh)
}

/// The mesh that the resources say.
///
/// # Errors
/// The first resource that is malformed, uses an unsupported field, or has a value out of range.
pub fn decode(resources: &Resources) -> Result<Mesh, Nack> {
    decode::mesh(resources)
}

/// The path of the gRPC method that carries everything, state of the world.
pub const ADS_PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The path of the gRPC method that signs a workload's certificate.
pub const SIGN_PATH: &str = "/squall.v1alpha1.Certificates/Sign";
