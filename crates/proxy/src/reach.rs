//! Where an intercepted connection goes: by the address it was meant for, or the name in its ClientHello.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use squall_policy::{
    BackendName, BackendPolicy, Balancing, Candidates, Destination, Endpoint, Mesh, Protocol, Route, StreamPolicy,
};

use crate::admit::Cell;
use crate::core::Core;

/// What is done with connections to addresses that the mesh does not know (Istio's `outboundTrafficPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    /// They go where they were meant to go, in plain (`ALLOW_ANY`).
    #[default]
    Pass,
    /// They are refused (`REGISTRY_ONLY`).
    Refuse,
}

/// What the mesh knows of addresses and names.
#[derive(Default)]
pub(crate) struct Reach {
    destinations: Vec<Arc<Destination>>,
    /// Addresses of Services.
    services: BTreeMap<SocketAddr, usize>,
    /// Addresses of pods behind them.
    endpoints: BTreeMap<SocketAddr, (usize, Endpoint)>,
    names: BTreeMap<(String, u16), usize>,
    policies: BTreeMap<BackendName, BackendPolicy>,
    /// Backends of one address each, as long as somebody uses them.
    pinned: Mutex<BTreeMap<SocketAddr, Weak<Cell>>>,
}

/// What an address belongs to.
pub(crate) enum Found<'r> {
    /// A Service.
    Service(&'r Arc<Destination>),
    /// One pod of a Service.
    Endpoint(&'r Arc<Destination>, &'r Endpoint),
    /// Nothing that the mesh knows.
    Stranger,
}

impl Reach {
    pub(crate) fn new(mesh: &Mesh) -> Self {
        let mut reach = Self { policies: mesh.backends.clone(), ..Self::default() };
        for (index, destination) in mesh.destinations.iter().enumerate() {
            let Destination { addresses, port, names, backend, .. } = destination;
            for address in addresses {
                reach.services.entry(SocketAddr::new(*address, *port)).or_insert(index);
            }
            for name in names {
                reach.names.entry((name.clone(), *port)).or_insert(index);
            }
            for endpoint in mesh.endpoints.get(backend).into_iter().flatten() {
                reach.endpoints.entry(endpoint.address).or_insert_with(|| (index, endpoint.clone()));
            }
            reach.destinations.push(Arc::new(destination.clone()));
        }
        reach
    }

    /// Whom `address` belongs to. A Service's own address comes before one of a pod.
    pub(crate) fn find(&self, address: SocketAddr) -> Found<'_> {
        if let Some(index) = self.services.get(&address) {
            return Found::Service(&self.destinations[*index]);
        }
        match self.endpoints.get(&address) {
            Some((index, endpoint)) => Found::Endpoint(&self.destinations[*index], endpoint),
            None => Found::Stranger,
        }
    }

    /// The Service of this name, in lower case, at this port.
    pub(crate) fn named(&self, name: &str, port: u16) -> Option<&Arc<Destination>> {
        self.names.get(&(name.to_owned(), port)).map(|index| &self.destinations[*index])
    }

    /// A backend of one pod only, treated as its Service is.
    pub(crate) fn of_endpoint(&self, core: &Arc<Core>, destination: &Destination, endpoint: &Endpoint) -> Arc<Cell> {
        let policy = self.policies.get(&destination.backend).cloned().unwrap_or_default();
        // There is nothing to choose from, and nobody else to go to.
        let policy = BackendPolicy {
            balancing: Balancing::RoundRobin,
            candidates: Candidates::default(),
            health: None,
            outliers: None,
            hedging: None,
            ..policy
        };
        let name = BackendName::from_wire(&format!("{}@{}", destination.backend, endpoint.name));
        self.pin(core, endpoint.address, &name, policy, endpoint.clone())
    }

    /// A backend for an address that the mesh does not know: plain, and without any policy but the default limits. All
    /// have one name, so that strangers do not fill the metrics.
    pub(crate) fn of_stranger(&self, core: &Arc<Core>, address: SocketAddr, name: &str) -> Arc<Cell> {
        let policy = BackendPolicy {
            balancing: Balancing::RoundRobin,
            budget: None,
            protocol: Protocol::Http1,
            mutual_tls: false,
            ..BackendPolicy::default()
        };
        let endpoint =
            Endpoint { address, name: name.into(), zone: "".into(), weight: 1, identity: "".into(), draining: false };
        self.pin(core, address, &BackendName::from_wire(name), policy, endpoint)
    }

    fn pin(
        &self,
        core: &Arc<Core>,
        address: SocketAddr,
        name: &BackendName,
        policy: BackendPolicy,
        mut endpoint: Endpoint,
    ) -> Arc<Cell> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = pinned.get(&address).and_then(Weak::upgrade) {
            return cell;
        }
        // Now and then, when there are twice as many: those that nobody uses go.
        if pinned.len().is_power_of_two() {
            pinned.retain(|_, cell| cell.strong_count() > 0);
        }
        endpoint.draining = false;
        let cell = Arc::new(Cell::new(core, name, policy.clone()));
        cell.update(policy, &[endpoint]);
        pinned.insert(address, Arc::downgrade(&cell));
        cell
    }
}

/// How a connection to a stranger is treated: as by default, but tried once.
pub(crate) fn stranger_policy() -> StreamPolicy {
    StreamPolicy { retries: 0, ..StreamPolicy::default() }
}

/// Where requests of an intercepted connection go when no route is for their `Host`.
#[derive(Clone)]
pub(crate) enum Fallback {
    /// By the routes of this host.
    Authority(Arc<str>),
    /// To this backend, by this route that changes nothing.
    Backend(Arc<Route>, Arc<Cell>),
}

/// The route of a pinned backend.
pub(crate) fn plain_route(name: &str) -> Arc<Route> {
    Arc::new(Route {
        name: name.into(),
        matches: squall_policy::RouteMatch {
            path: squall_policy::PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        backends: Vec::new(),
        timeouts: squall_policy::RouteTimeouts::default(),
        retry: None,
        fault: None,
        redirect: None,
    })
}
