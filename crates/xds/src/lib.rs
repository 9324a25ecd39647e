//! Says a [`Mesh`](squall_policy::Mesh) on the wire: xDS v3 over one ADS stream, as two halves without I/O, and protobuf.

mod frame;
mod halves;
mod sign;

pub use frame::{Deframer, FrameError, frame};
pub use halves::{Feed, FeedEvent, Subscription, SubscriptionEvent};
pub use sign::{CertificateRequest, CertificateResponse, MalformedMessage};

use squall_policy::Mesh;

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
    pub clusters: std::collections::BTreeMap<String, bytes::Bytes>,
    /// Encoded `ClusterLoadAssignment`s.
    pub endpoints: std::collections::BTreeMap<String, bytes::Bytes>,
    /// Encoded `Listener`s.
    pub listeners: std::collections::BTreeMap<String, bytes::Bytes>,
    /// Encoded `RouteConfiguration`s.
    pub routes: std::collections::BTreeMap<String, bytes::Bytes>,
}

/// The resources that say `mesh`. [`decode`] of them is `mesh` again.
#[must_use]
pub fn encode(mesh: &Mesh) -> Resources {
    let _ = mesh;
    todo!()
}

/// The mesh that the resources say.
///
/// # Errors
/// The first resource that is malformed, uses an unsupported field, or has a value out of range.
pub fn decode(resources: &Resources) -> Result<Mesh, Nack> {
    let _ = resources;
    todo!()
}

/// The path of the gRPC method that carries everything, state of the world.
pub const ADS_PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";

/// The path of the gRPC method that signs a workload's certificate.
pub const SIGN_PATH: &str = "/squall.v1alpha1.Certificates/Sign";
