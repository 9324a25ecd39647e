//! The two halves of an ADS stream.

use std::sync::Arc;

use bytes::Bytes;
use squall_policy::Mesh;

use crate::{Kind, Nack};

/// The client half: asks for everything, and yields a whole new mesh when all its parts are in.
#[derive(Debug)]
pub struct Subscription {}

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
        let _ = (node_id, cluster);
        todo!()
    }

    /// A new stream is up: the subscription starts anew and keeps the last good mesh.
    pub fn on_connect(&mut self) {
        todo!()
    }

    /// A message (a `DiscoveryResponse`, without gRPC framing) came in.
    ///
    /// # Errors
    /// The stream is not ADS and must be closed: the message is no `DiscoveryResponse`, or of a kind never asked for.
    pub fn on_message(&mut self, message: &[u8]) -> Result<(), Nack> {
        let _ = message;
        todo!()
    }

    /// The next message (a `DiscoveryRequest`, without gRPC framing) to send.
    pub fn poll_send(&mut self) -> Option<Bytes> {
        todo!()
    }

    /// What happened since it was last asked.
    pub fn poll_event(&mut self) -> Option<SubscriptionEvent> {
        todo!()
    }

    /// The last good mesh.
    #[must_use]
    pub fn mesh(&self) -> Option<&Arc<Mesh>> {
        todo!()
    }
}

/// The server half for one stream: pushes a mesh, part by part, make before break.
#[derive(Debug)]
pub struct Feed {}

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
        todo!()
    }

    /// From now on this is the mesh. Only kinds of resources that changed are pushed. Versions grow.
    pub fn set_mesh(&mut self, version: u64, mesh: &Mesh) {
        let _ = (version, mesh);
        todo!()
    }

    /// A message (a `DiscoveryRequest`, without gRPC framing) came in.
    ///
    /// # Errors
    /// The stream is not ADS and must be closed.
    pub fn on_message(&mut self, message: &[u8]) -> Result<(), Nack> {
        let _ = message;
        todo!()
    }

    /// The next message (a `DiscoveryResponse`, without gRPC framing) to send.
    pub fn poll_send(&mut self) -> Option<Bytes> {
        todo!()
    }

    /// What happened since it was last asked.
    pub fn poll_event(&mut self) -> Option<FeedEvent> {
        todo!()
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}
