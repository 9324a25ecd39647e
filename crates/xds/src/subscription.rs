//! The client half of an ADS stream.
//!
//! Asks for all clusters and listeners, then by name for the endpoints and routes they lead to. Each response is taken whole
//! or refused whole. Source: xDS protocol, "Basic Protocol Overview", state of the world.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use squall_policy::Mesh;

use crate::decode::Parts;
use crate::encode::type_url;
use crate::proto::{DiscoveryRequest, DiscoveryResponse, Node, Status};
use crate::{KINDS, Kind, Nack};

/// The client half: asks for everything, and yields a whole new mesh when all its parts are in.
#[derive(Debug)]
pub struct Subscription {
    node: Node,
    stream: Option<Stream>,
    mesh: Option<Arc<Mesh>>,
    events: VecDeque<SubscriptionEvent>,
}

/// What is known on this stream.
#[derive(Debug, Default)]
struct Stream {
    introduced: bool,
    parts: Parts,
    asked: BTreeMap<Kind, Asked>,
    outbox: VecDeque<DiscoveryRequest>,
}

/// The last request of a kind.
#[derive(Debug, Default)]
struct Asked {
    names: Vec<String>,
    version: String,
    nonce: String,
}

/// What happened to a [`Subscription`].
#[derive(Clone, Debug)]
pub enum SubscriptionEvent {
    /// All parts of a new mesh are in; it replaces the one before.
    Mesh {
        /// The mesh.
        mesh: Arc<Mesh>,
        /// The server's version of the last part, for people.
        version: String,
    },
    /// A response was refused and the last good mesh stays. The refusal is on its way to the server.
    Refused(Nack),
}

impl Subscription {
    /// Of the proxy called `node_id` in `cluster` (Envoy's `Node.id`, `Node.cluster`). It is not connected yet.
    #[must_use]
    pub fn new(node_id: &str, cluster: &str) -> Self {
        let node = Node { id: node_id.to_owned(), cluster: cluster.to_owned(), user_agent_name: "squall".to_owned() };
        Self { node, stream: None, mesh: None, events: VecDeque::new() }
    }

    /// A new stream is up: the subscription starts anew and keeps the last good mesh.
    pub fn on_connect(&mut self) {
        let mut stream = Stream::default();
        for kind in [Kind::Cluster, Kind::Listener] {
            stream.asked.insert(kind, Asked::default());
            stream.request(kind, None);
        }
        self.stream = Some(stream);
    }

    /// A message (a `DiscoveryResponse`, without gRPC framing) came in.
    ///
    /// # Errors
    /// The stream is not ADS and must be closed: the message is no `DiscoveryResponse`, or of a kind never asked for.
    pub fn on_message(&mut self, message: &[u8]) -> Result<(), Nack> {
        let fatal = |field: &str, why: String| Nack { resource: "stream".to_owned(), field: field.to_owned(), why };
        let response = DiscoveryResponse::decode(message)
            .map_err(|error| fatal("envoy.service.discovery.v3.DiscoveryResponse", error.to_string()))?;
        let url = "envoy.service.discovery.v3.DiscoveryResponse.type_url";
        let kind = KINDS.into_iter().find(|kind| type_url(*kind) == response.type_url);
        let (Some(stream), Some(kind)) = (&mut self.stream, kind) else {
            return Err(fatal(url, format!("`{}` was never asked for", response.type_url)));
        };
        let Some(asked) = stream.asked.get_mut(&kind) else {
            return Err(fatal(url, format!("`{}` was not asked for yet", response.type_url)));
        };
        asked.nonce = response.nonce;
        let taken = take(&mut stream.parts, kind, &response.resources);
        match taken {
            Ok(()) => {
                asked.version.clone_from(&response.version_info);
                stream.parts.forget_unwanted();
                stream.request(kind, None);
                stream.ask_for_names();
                self.assemble(&response.version_info);
            }
            Err(refused) => {
                stream.request(kind, Some(&refused));
                self.events.push_back(SubscriptionEvent::Refused(refused));
            }
        }
        Ok(())
    }

    /// The next message (a `DiscoveryRequest`, without gRPC framing) to send.
    pub fn poll_send(&mut self) -> Option<Bytes> {
        let stream = self.stream.as_mut()?;
        let mut request = stream.outbox.pop_front()?;
        if !stream.introduced {
            stream.introduced = true;
            request.node = Some(self.node.clone());
        }
        Some(request.encode_to_vec().into())
    }

    /// What happened since it was last asked.
    pub fn poll_event(&mut self) -> Option<SubscriptionEvent> {
        self.events.pop_front()
    }

    /// The last good mesh.
    #[must_use]
    pub fn mesh(&self) -> Option<&Arc<Mesh>> {
        self.mesh.as_ref()
    }

    fn assemble(&mut self, version: &str) {
        let Some(stream) = &self.stream else { return };
        let Some(mesh) = stream.parts.mesh() else { return };
        if self.mesh.as_deref() != Some(&mesh) {
            let mesh = Arc::new(mesh);
            self.mesh = Some(Arc::clone(&mesh));
            self.events.push_back(SubscriptionEvent::Mesh { mesh, version: version.to_owned() });
        }
    }
}

fn take(parts: &mut Parts, kind: Kind, resources: &[crate::proto::Any]) -> Result<(), Nack> {
    let url = type_url(kind);
    if let Some(other) = resources.iter().find(|any| any.type_url != url) {
        return Err(Nack {
            resource: url,
            field: "envoy.service.discovery.v3.DiscoveryResponse.resources".to_owned(),
            why: format!("`{}` among them is not supported", other.type_url),
        });
    }
    parts.take(kind, resources.iter().map(|any| &any.value[..]))
}

impl Stream {
    /// Queues a request that says what is asked for now, which also answers the last response.
    fn request(&mut self, kind: Kind, refused: Option<&Nack>) {
        let asked = self.asked.entry(kind).or_default();
        self.outbox.push_back(DiscoveryRequest {
            version_info: asked.version.clone(),
            node: None,
            resource_names: asked.names.clone(),
            type_url: type_url(kind),
            response_nonce: asked.nonce.clone(),
            // INVALID_ARGUMENT.
            error_detail: refused.map(|refused| Status { code: 3, message: refused.to_string() }),
        });
    }

    /// Asks for the endpoints and routes that are wanted now, if those differ from what was asked for.
    fn ask_for_names(&mut self) {
        for kind in [Kind::Endpoints, Kind::Routes] {
            let names = self.parts.wanted(kind);
            let asked = self.asked.get(&kind).map_or(&[][..], |asked| &asked.names);
            if names != asked {
                self.asked.entry(kind).or_default().names = names;
                self.request(kind, None);
            }
        }
    }
}
