//! What each connected proxy is told: the mesh of now, compiled once per namespace, and one [`Feed`] per stream.
//!
//! Proxies are told in the order of their names, whatever woke whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use squall_policy::Mesh;
use squall_xds::{Feed, FeedEvent, Nack, encode};

use crate::grpc::{Code, Status};
use crate::{ControlRecord, Mistake, NodeInfo, RegistrySnapshot, Resources, compile, gateway};

/// All streams, and what they are told.
pub(crate) struct Pushes(Mutex<State>);

struct State {
    /// Counts what was told; grows with every change.
    version: u64,
    resources: Resources,
    pods: RegistrySnapshot,
    /// What all proxies of a namespace share. Forgotten at every change.
    shared: BTreeMap<String, squall_xds::Resources>,
    streams: BTreeMap<u64, Arc<Stream>>,
    next_stream: u64,
}

/// One proxy's stream.
pub(crate) struct Stream {
    number: u64,
    /// The SPIFFE id that its TLS proved.
    peer: Arc<str>,
    half: Mutex<Half>,
}

#[derive(Default)]
struct Half {
    feed: Feed,
    node: Option<NodeInfo>,
    /// As whom it runs, if that is an account of its namespace.
    account: Option<String>,
    told: Option<squall_xds::Resources>,
    /// The last mistakes, so that the same are not reported again and again.
    mistakes: Option<Vec<Mistake>>,
    end: Option<Status>,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pushes {
    pub(crate) fn new(resources: Resources, pods: RegistrySnapshot) -> Self {
        let (shared, streams) = (BTreeMap::new(), BTreeMap::new());
        Self(Mutex::new(State { version: 1, resources, pods, shared, streams, next_stream: 0 }))
    }

    /// A new stream of a proxy that proved to be `peer`.
    pub(crate) fn open(&self, peer: &Arc<str>) -> Arc<Stream> {
        let mut state = lock(&self.0);
        state.next_stream += 1;
        let number = state.next_stream;
        let stream = Arc::new(Stream { number, peer: Arc::clone(peer), half: Mutex::default() });
        state.streams.insert(number, Arc::clone(&stream));
        stream
    }

    /// The stream is gone.
    pub(crate) fn close(&self, stream: &Stream) -> Vec<ControlRecord> {
        lock(&self.0).streams.remove(&stream.number);
        let node = lock(&stream.half).node.as_ref().map(NodeInfo::id);
        node.map(|node| ControlRecord::Disconnected { node }).into_iter().collect()
    }

    /// The pods changed.
    pub(crate) fn set_pods(&self, pods: RegistrySnapshot) -> Vec<ControlRecord> {
        let mut state = lock(&self.0);
        if state.pods == pods {
            return Vec::new();
        }
        state.pods = pods;
        state.changed()
    }

    /// New resources, if they suit all connected proxies.
    pub(crate) fn update(&self, resources: Resources) -> Result<Vec<ControlRecord>, Vec<Mistake>> {
        let mut state = lock(&self.0);
        let mut mistakes = Vec::new();
        for stream in state.in_order() {
            let Some(node) = lock(&stream.half).node.clone() else { continue };
            if let Err(found) = compile::inbound(&resources, &state.pods, &node) {
                mistakes.extend(found);
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        if state.resources == resources {
            return Ok(Vec::new());
        }
        state.resources = resources;
        Ok(state.changed())
    }

    /// A message of the proxy came in. An error ends the stream.
    pub(crate) fn on_message(&self, stream: &Stream, message: &[u8]) -> Result<Vec<ControlRecord>, Status> {
        let mut state = lock(&self.0);
        let mut half = lock(&stream.half);
        let understood = half.feed.on_message(message);
        let mut records = Vec::new();
        while let Some(event) = half.feed.poll_event() {
            if let FeedEvent::Connected { node_id, .. } = &event {
                let node = state.who(node_id, &stream.peer)?;
                records.push(ControlRecord::Connected { node: node.id() });
                half.account = stream.peer.strip_prefix(&crate::spiffe_id(&node.namespace, "")).map(str::to_owned);
                half.node = Some(node);
                state.tell(&mut half, &mut records);
            }
            records.extend(half.record(event));
        }
        understood.map_err(|nack: Nack| Status::new(Code::InvalidArgument, nack.to_string()))?;
        // What the request asked for may be at hand.
        half.wake();
        Ok(records)
    }
}

impl State {
    /// The streams in the order of their proxies' names; those that have not said theirs yet go first.
    fn in_order(&self) -> Vec<Arc<Stream>> {
        let mut streams: Vec<(Option<NodeInfo>, Arc<Stream>)> =
            self.streams.values().map(|stream| (lock(&stream.half).node.clone(), Arc::clone(stream))).collect();
        streams.sort_by(|(a, first), (b, second)| (a, first.number).cmp(&(b, second.number)));
        streams.into_iter().map(|(_, stream)| stream).collect()
    }

    fn changed(&mut self) -> Vec<ControlRecord> {
        self.version += 1;
        self.shared.clear();
        let mut records = Vec::new();
        for stream in self.in_order() {
            self.tell(&mut lock(&stream.half), &mut records);
        }
        records
    }

    /// Checks that a proxy is who it says: it proved a service account of its namespace, and, if its pod is known, the pod's own.
    fn who(&self, node_id: &str, peer: &str) -> Result<NodeInfo, Status> {
        let node = NodeInfo::from_id(node_id)
            .ok_or_else(|| Status::new(Code::InvalidArgument, format!("`{node_id}` is not NAMESPACE/POD")))?;
        let known = self.pods.pods.get(&(node.namespace.clone(), node.pod.clone())).cloned();
        let wanted = match known.or_else(|| self.resources.sliced(&node.namespace, &node.pod)) {
            Some(pod) => pod.spiffe_id() == peer,
            None => peer.starts_with(&crate::spiffe_id(&node.namespace, "")),
        };
        if wanted {
            return Ok(node);
        }
        Err(Status::new(Code::PermissionDenied, format!("{peer} is not pod {}", node.id())))
    }

    /// Gives the proxy what it should have now, if that is not what it was given last.
    fn tell(&mut self, half: &mut Half, records: &mut Vec<ControlRecord>) {
        let Some(node) = half.node.clone() else { return };
        let inbound = match compile::inbound(&self.resources, &self.pods, &node) {
            Ok(inbound) => inbound,
            Err(mistakes) => {
                if half.mistakes.as_ref() != Some(&mistakes) {
                    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                    records.push(ControlRecord::NotCompiled { node: node.id(), why: lines.join("\n") });
                    half.mistakes = Some(mistakes);
                }
                return;
            }
        };
        half.mistakes = None;
        let shared = match self.shared.get(&node.namespace) {
            Some(shared) => shared,
            None => {
                let mesh = compile::outbound(&self.resources, &self.pods, &node.namespace);
                self.shared.entry(node.namespace.clone()).or_insert(encode(&mesh))
            }
        };
        // Only the listener is the proxy's own.
        let account = half.account.as_deref().unwrap_or_default();
        let gateway = gateway::gateway_listeners(&self.resources, &node.namespace, account);
        let own = encode(&Mesh { inbound, gateway, ..Mesh::default() });
        let resources = squall_xds::Resources { listeners: own.listeners, ..shared.clone() };
        if half.told.as_ref() == Some(&resources) {
            return;
        }
        half.feed.set_resources(self.version, resources.clone());
        half.told = Some(resources);
        records.push(ControlRecord::Pushed { node: node.id(), version: self.version });
        let acked: Vec<FeedEvent> = std::iter::from_fn(|| half.feed.poll_event()).collect();
        records.extend(acked.into_iter().filter_map(|event| half.record(event)));
        half.wake();
    }
}

impl Half {
    fn record(&self, event: FeedEvent) -> Option<ControlRecord> {
        let node = self.node.as_ref().map(NodeInfo::id)?;
        match event {
            FeedEvent::Connected { .. } => None,
            FeedEvent::Acked { version } => Some(ControlRecord::Acked { node, version }),
            FeedEvent::Nacked { version, why, kind: _ } => Some(ControlRecord::Nacked { node, version, why }),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What a stream's response body does next.
pub(crate) enum Next {
    /// Sends this.
    Message(bytes::Bytes),
    /// Ends with this.
    End(Status),
    /// Waits; the waker is kept.
    Wait,
}

impl Stream {
    /// What to send next. The proxy's own pace decides when this is called, so nothing queues up.
    pub(crate) fn next(&self, waker: &Waker) -> Next {
        let mut half = lock(&self.half);
        if let Some(status) = half.end.clone() {
            return Next::End(status);
        }
        if let Some(message) = half.feed.poll_send() {
            return Next::Message(message);
        }
        half.waker = Some(waker.clone());
        Next::Wait
    }

    /// Ends the stream.
    pub(crate) fn end(&self, status: Status) {
        let mut half = lock(&self.half);
        half.end.get_or_insert(status);
        half.wake();
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Arc<str> {
        &self.peer
    }
}
