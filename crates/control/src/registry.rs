//! The pods of the cluster, as they come and go.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, unique in its namespace: `catalog-v1-0`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its address.
    pub address: IpAddr,
    /// What Services select it by.
    pub labels: BTreeMap<String, String>,
    /// Its named container ports, for Services whose `targetPort` is a name.
    pub ports: BTreeMap<String, u16>,
    /// Its zone; empty: unknown.
    pub zone: String,
    /// Its service account, the last part of its SPIFFE id.
    pub service_account: String,
    /// Its share of the load beside the others of its Services, 1 or more (1 is usual): twice the weight, twice the requests. For
    /// balancing that weighs.
    pub weight: u32,
    /// Takes requests: its readiness probe holds. One that is not ready is no endpoint.
    pub ready: bool,
    /// Is being deleted. While it is still ready it is a draining endpoint: no new requests, but what is in flight may end.
    pub terminating: bool,
}

impl Pod {
    /// Its identity: `spiffe://cluster.local/ns/NS/sa/SA`.
    #[must_use]
    pub fn spiffe_id(&self) -> String {
        spiffe_id(&self.namespace, &self.service_account)
    }
}

/// The identity of a service account: `spiffe://cluster.local/ns/NS/sa/SA`. An account that is a whole SPIFFE id, of another trust
/// domain, is that id.
#[must_use]
pub fn spiffe_id(namespace: &str, service_account: &str) -> String {
    if service_account.starts_with("spiffe://") {
        return service_account.to_owned();
    }
    format!("spiffe://cluster.local/ns/{namespace}/sa/{service_account}")
}

/// The pods at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistrySnapshot {
    /// By namespace and name.
    pub pods: BTreeMap<(String, String), Pod>,
}

impl RegistrySnapshot {
    /// A snapshot of these pods.
    #[must_use]
    pub fn new(pods: impl IntoIterator<Item = Pod>) -> Self {
        Self { pods: pods.into_iter().map(|pod| ((pod.namespace.clone(), pod.name.clone()), pod)).collect() }
    }
}

/// The pods as they are known now. Whoever knows the cluster (the simulator, a watch on the API server) writes it; the control plane
/// follows.
#[derive(Debug)]
pub struct Registry {
    now: Mutex<RegistrySnapshot>,
    changed: watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { now: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Registry {
    /// No pods yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the pod, or replaces the one of its name.
    pub fn put(&self, pod: Pod) {
        self.change(|now| {
            let key = (pod.namespace.clone(), pod.name.clone());
            if now.pods.get(&key) == Some(&pod) {
                return false;
            }
            now.pods.insert(key, pod);
            true
        });
    }

    /// Removes the pod, if it is there.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.change(|now| now.pods.remove(&(namespace.to_owned(), name.to_owned())).is_some());
    }

    /// Replaces all pods.
    pub fn set(&self, snapshot: RegistrySnapshot) {
        self.change(|now| {
            let changed = *now != snapshot;
            *now = snapshot;
            changed
        });
    }

    /// The pods now.
    #[must_use]
    pub fn snapshot(&self) -> RegistrySnapshot {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts changes; the control plane waits on it. Only one task of it does, so that wake order decides nothing.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn change(&self, edit: impl FnOnce(&mut RegistrySnapshot) -> bool) {
        let changed = edit(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}
