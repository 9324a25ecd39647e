//! The server half of an ADS stream.
//!
//! ```text
//! set_mesh ─▶ CDS (new and old clusters) ─▶ EDS ─▶ LDS ─▶ RDS ─▶ CDS (new clusters only)
//!             each when it differs from what the proxy has, each after the one before is ACKed; a NACK stops it
//! ```
//!
//! So no route leads to a cluster that the proxy has not got. Source: xDS protocol, "Eventual consistency considerations".

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message as _;
use squall_policy::Mesh;

use crate::encode::type_url;
use crate::proto::{Any, DiscoveryRequest, DiscoveryResponse};
use crate::{KINDS, Kind, Nack, Resources, encode};

/// The server half for one stream: pushes a mesh, part by part, make before break.
#[derive(Debug, Default)]
pub struct Feed {
    connected: bool,
    version: Option<u64>,
    target: Resources,
    acked_version: Option<u64>,
    /// The proxy refused a part of the target: nothing more of it is pushed.
    refused: bool,
    kinds: BTreeMap<Kind, Subscribed>,
    responses: u64,
    events: VecDeque<FeedEvent>,
}

/// What the proxy asked for and has of one kind.
#[derive(Debug, Default)]
struct Subscribed {
    /// Empty: all, for clusters and listeners; none for the others.
    names: BTreeSet<String>,
    /// What the proxy accepted.
    has: BTreeMap<String, Bytes>,
    /// Whether it was ever answered: the first answer is owed even when there is nothing.
    answered: bool,
    /// The answer that waits for ACK or NACK.
    flying: Option<Flying>,
    /// The nonce of the last answer.
    nonce: String,
}

#[derive(Debug)]
struct Flying {
    resources: BTreeMap<String, Bytes>,
    version: u64,
}

/// What happened to a [`Feed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// The first request told who the proxy is.
    Connected {
        /// Envoy's `Node.id`.
        node_id: String,
        /// Envoy's `Node.cluster`.
        cluster: String,
    },
    /// The proxy took all parts of this version.
    Acked {
        /// As given to [`Feed::set_mesh`].
        version: u64,
    },
    /// The proxy refused a part and keeps what it had.
    Nacked {
        /// The version.
        version: u64,
        /// The part.
        kind: Kind,
        /// What it said.
        why: String,
    },
}

impl Feed {
    /// A stream on which nothing was said yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on this is the mesh. Only kinds of resources that changed are pushed. Versions grow.
    pub fn set_mesh(&mut self, version: u64, mesh: &Mesh) {
        self.set_resources(version, encode(mesh));
    }

    /// As [`Feed::set_mesh`], for a mesh that is encoded already.
    pub fn set_resources(&mut self, version: u64, resources: Resources) {
        assert!(self.version.is_none_or(|before| before < version), "versions grow");
        self.version = Some(version);
        self.target = resources;
        self.refused = false;
        self.settle();
    }

    /// A message (a `DiscoveryRequest`, without gRPC framing) came in.
    ///
    /// # Errors
    /// The stream is not ADS and must be closed.
    pub fn on_message(&mut self, message: &[u8]) -> Result<(), Nack> {
        let fatal = |field: &str, why: String| Nack { resource: "stream".to_owned(), field: field.to_owned(), why };
        let request = DiscoveryRequest::decode(message)
            .map_err(|error| fatal("envoy.service.discovery.v3.DiscoveryRequest", error.to_string()))?;
        if !self.connected {
            let field = "envoy.service.discovery.v3.DiscoveryRequest.node";
            let node = request.node.ok_or_else(|| fatal(field, "is missing in the first request".to_owned()))?;
            self.connected = true;
            self.events.push_back(FeedEvent::Connected { node_id: node.id, cluster: node.cluster });
        }
        let Some(kind) = KINDS.into_iter().find(|kind| type_url(*kind) == request.type_url) else {
            let field = "envoy.service.discovery.v3.DiscoveryRequest.type_url";
            return Err(fatal(field, format!("`{}` is not served", request.type_url)));
        };
        let subscribed = self.kinds.entry(kind).or_default();
        // About an answer that another has overtaken; the proxy will speak about that one too.
        if request.response_nonce != subscribed.nonce {
            return Ok(());
        }
        subscribed.names = request.resource_names.into_iter().collect();
        let names = &subscribed.names;
        if matches!(kind, Kind::Endpoints | Kind::Routes) {
            // What is no longer asked for is forgotten there, and must be sent again if it is asked for again.
            subscribed.has.retain(|name, _| names.contains(name));
        }
        if let Some(flying) = subscribed.flying.take() {
            match request.error_detail {
                None => match kind {
                    Kind::Cluster | Kind::Listener => subscribed.has = flying.resources,
                    Kind::Endpoints | Kind::Routes => {
                        let known = flying.resources.into_iter().filter(|(name, _)| subscribed.names.contains(name));
                        subscribed.has.extend(known);
                    }
                },
                Some(status) => {
                    // A refusal of what is no longer wanted must not stop what is.
                    self.refused |= self.version == Some(flying.version);
                    let why = status.message;
                    self.events.push_back(FeedEvent::Nacked { version: flying.version, kind, why });
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// The next message (a `DiscoveryResponse`, without gRPC framing) to send.
    pub fn poll_send(&mut self) -> Option<Bytes> {
        let version = self.version?;
        if self.refused || self.kinds.values().any(|subscribed| subscribed.flying.is_some()) {
            return None;
        }
        let (kind, resources) = KINDS.into_iter().find_map(|kind| Some((kind, self.push_of(kind)?)))?;
        self.responses += 1;
        let nonce = self.responses.to_string();
        let any = |value: &Bytes| Any { type_url: type_url(kind), value: value.to_vec() };
        let response = DiscoveryResponse {
            version_info: version.to_string(),
            resources: resources.values().map(any).collect(),
            type_url: type_url(kind),
            nonce: nonce.clone(),
        };
        let subscribed = self.kinds.get_mut(&kind).expect("only what is subscribed is pushed");
        subscribed.nonce = nonce;
        subscribed.answered = true;
        subscribed.flying = Some(Flying { resources, version });
        Some(response.encode_to_vec().into())
    }

    /// What happened since it was last asked.
    pub fn poll_event(&mut self) -> Option<FeedEvent> {
        self.events.pop_front()
    }

    /// What must be sent of this kind now, if anything. Clusters and listeners go as the whole set, endpoints and routes as what
    /// changed.
    fn push_of(&self, kind: Kind) -> Option<BTreeMap<String, Bytes>> {
        let subscribed = self.kinds.get(&kind)?;
        if matches!(kind, Kind::Listener | Kind::Routes) && !self.endpoints_are_settled() {
            return None;
        }
        let target = self.target.of(kind);
        let asked = |name: &String| subscribed.names.contains(name) || subscribed.names.is_empty();
        match kind {
            Kind::Cluster | Kind::Listener => {
                let wanted = target.iter().filter(|(name, _)| asked(name));
                let mut wanted: BTreeMap<_, _> = wanted.map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
                if kind == Kind::Cluster && !self.behind_clusters_is_settled() {
                    for (name, bytes) in &subscribed.has {
                        wanted.entry(name.clone()).or_insert_with(|| bytes.clone());
                    }
                }
                (wanted != subscribed.has || !subscribed.answered).then_some(wanted)
            }
            Kind::Endpoints | Kind::Routes => {
                let changed = target.iter().filter(|(name, bytes)| {
                    subscribed.names.contains(*name) && subscribed.has.get(*name) != Some(*bytes)
                });
                let changed: BTreeMap<_, _> = changed.map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
                (!changed.is_empty()).then_some(changed)
            }
        }
    }

    /// Whether the proxy has the endpoints of all clusters it has. It asks for new ones only when it has seen their cluster.
    fn endpoints_are_settled(&self) -> bool {
        let Some(clusters) = self.kinds.get(&Kind::Cluster) else { return true };
        let endpoints = self.kinds.get(&Kind::Endpoints);
        self.target
            .endpoints
            .iter()
            .filter(|(name, _)| clusters.has.contains_key(*name))
            .all(|(name, bytes)| endpoints.is_some_and(|endpoints| endpoints.has.get(name) == Some(bytes)))
    }

    /// Whether the proxy has all but the clusters as they should be, so that old clusters can go.
    fn behind_clusters_is_settled(&self) -> bool {
        [Kind::Listener, Kind::Routes].into_iter().all(|kind| !self.kinds.contains_key(&kind) || self.has_all(kind))
    }

    fn has_all(&self, kind: Kind) -> bool {
        let target = self.target.of(kind);
        self.kinds
            .get(&kind)
            .is_some_and(|subscribed| target.iter().all(|(name, bytes)| subscribed.has.get(name) == Some(bytes)))
    }

    /// Notes when the proxy has the whole target.
    fn settle(&mut self) {
        let exact = |kind| self.kinds.get(&kind).is_some_and(|subscribed| subscribed.has == *self.target.of(kind));
        let endpoints = self.target.endpoints.is_empty() || self.has_all(Kind::Endpoints);
        let flying = self.kinds.values().any(|subscribed| subscribed.flying.is_some());
        let whole = exact(Kind::Cluster) && exact(Kind::Listener) && endpoints && self.has_all(Kind::Routes);
        if let Some(version) = self.version
            && whole
            && !flying
            && self.acked_version != Some(version)
        {
            self.acked_version = Some(version);
            self.events.push_back(FeedEvent::Acked { version });
        }
    }
}
