//! Resources as a mesh. The wire was checked against the tables; here values are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use squall_policy::{
    BackendName, BackendPolicy, Balancing, Budget, Candidates, Destination, Endpoint, GatewayListener, Inbound,
    Invalid, Jitter, Limits, Mesh, Protocol, RetryLimits, VirtualHost,
};

use crate::encode::UPSTREAM_HTTP_KEY;
use crate::proto::{self, Span, squall};
use crate::{
    Kind, Nack, Resources, SQUALL_KEY, balance, client, decode_route, fault, gateway, inbound, overload, protection,
    tables, wire,
};

/// Decodes a whole mesh.
pub(crate) fn mesh(resources: &Resources) -> Result<Mesh, Nack> {
    let mut parts = Parts { clusters: Some(BTreeMap::new()), ..Parts::default() };
    for (kind, set) in [
        (Kind::Cluster, &resources.clusters),
        (Kind::Endpoints, &resources.endpoints),
        (Kind::Listener, &resources.listeners),
        (Kind::Routes, &resources.routes),
    ] {
        parts.take(kind, set.values().map(|bytes| &bytes[..]))?;
    }
    parts.mesh().ok_or_else(|| Nack {
        resource: "mesh".to_owned(),
        field: "resources".to_owned(),
        why: "the listener, its routes, a cluster they lead to, or its endpoints are missing".to_owned(),
    })
}

/// The parts of a mesh that have come in.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    clusters: Option<BTreeMap<BackendName, Cluster>>,
    endpoints: BTreeMap<BackendName, Vec<Found>>,
    listener: Option<Listener>,
    routes: BTreeMap<String, Routed>,
}

/// What a route configuration says, and what stands beside it.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) hosts: Vec<VirtualHost>,
    pub(crate) destinations: Vec<Destination>,
}

#[derive(Debug)]
struct Cluster {
    policy: BackendPolicy,
    /// What an endpoint that does not say its own must prove; empty: nothing.
    identity: Arc<str>,
}

/// An endpoint, and whether it said its own identity.
#[derive(Debug)]
struct Found {
    endpoint: Endpoint,
    own_identity: bool,
}

#[derive(Debug)]
struct Listener {
    routes: String,
    inbound: BTreeMap<u16, Inbound>,
    gateway: Vec<GatewayListener>,
}

impl Parts {
    /// Takes a response. Clusters and listeners are the whole set; endpoints and routes replace those of their names.
    pub(crate) fn take<'w>(&mut self, kind: Kind, resources: impl Iterator<Item = &'w [u8]>) -> Result<(), Nack> {
        match kind {
            Kind::Cluster => {
                let mut clusters = BTreeMap::new();
                for resource in resources {
                    let (name, cluster) = cluster(resource)?;
                    if clusters.insert(name.clone(), cluster).is_some() {
                        return Err(nack(kind, name.as_str(), "name", "given twice"));
                    }
                }
                self.clusters = Some(clusters);
            }
            Kind::Endpoints => {
                let found = resources.map(load_assignment).collect::<Result<Vec<_>, _>>()?;
                self.endpoints.extend(found);
            }
            Kind::Listener => {
                let (mut outbound, mut ports) = (None, BTreeMap::new());
                for resource in resources {
                    let found: proto::Listener = self::resource(kind, resource, |found: &proto::Listener| &found.name)?;
                    if found.traffic_direction == inbound::INBOUND {
                        let (port, treated) = inbound::decode(&found)?;
                        if ports.insert(port, treated).is_some() {
                            return Err(nack(kind, &found.name, "address", "another listener is of the same port"));
                        }
                    } else if outbound.replace(listener(&found)?).is_some() {
                        let why = "Squall follows one listener that is not INBOUND, and this is another";
                        return Err(nack(kind, &found.name, "name", why));
                    }
                }
                self.listener = outbound.map(|outbound| Listener { inbound: ports, ..outbound });
            }
            Kind::Routes => {
                let found = resources.map(decode_route::configuration).collect::<Result<Vec<_>, _>>()?;
                self.routes.extend(found);
            }
        }
        Ok(())
    }

    /// The names of the resources of this kind that are wanted now. Empty for those that are wanted whole.
    pub(crate) fn wanted(&self, kind: Kind) -> Vec<String> {
        match kind {
            Kind::Cluster | Kind::Listener => Vec::new(),
            Kind::Endpoints => self.clusters.iter().flatten().map(|(name, _)| name.as_str().to_owned()).collect(),
            Kind::Routes => self.listener.iter().map(|listener| listener.routes.clone()).collect(),
        }
    }

    /// Drops what is wanted no more.
    pub(crate) fn forget_unwanted(&mut self) {
        let clusters = self.clusters.as_ref();
        self.endpoints.retain(|name, _| clusters.is_some_and(|clusters| clusters.contains_key(name)));
        let routes = self.listener.as_ref().map(|listener| &listener.routes);
        self.routes.retain(|name, _| Some(name) == routes);
    }

    /// The mesh, if all its parts are in and refer to nothing that is not.
    pub(crate) fn mesh(&self) -> Option<Mesh> {
        let (clusters, listener) = (self.clusters.as_ref()?, self.listener.as_ref()?);
        let Routed { hosts, destinations } = self.routes.get(&listener.routes)?;
        let outside = listener.gateway.iter().flat_map(|listener| &listener.hosts);
        let mut routes = hosts.iter().chain(outside).flat_map(|host| &host.routes);
        let whole = routes.all(|route| route.backends.iter().all(|backend| clusters.contains_key(&backend.backend)));
        let whole = whole && destinations.iter().all(|destination| clusters.contains_key(&destination.backend));
        if !whole || !clusters.keys().all(|name| self.endpoints.contains_key(name)) {
            return None;
        }
        let endpoints = self.endpoints.iter().filter_map(|(name, found)| {
            let cluster = clusters.get(name)?;
            let endpoints = found.iter().map(|found| {
                let mut endpoint = found.endpoint.clone();
                if !found.own_identity {
                    endpoint.identity = Arc::clone(&cluster.identity);
                }
                endpoint
            });
            Some((name.clone(), endpoints.collect())).filter(|(_, endpoints): &(_, Vec<_>)| !endpoints.is_empty())
        });
        Some(Mesh {
            hosts: hosts.clone(),
            backends: clusters.iter().map(|(name, cluster)| (name.clone(), cluster.policy.clone())).collect(),
            endpoints: endpoints.collect(),
            inbound: listener.inbound.clone(),
            destinations: destinations.clone(),
            gateway: listener.gateway.clone(),
        })
    }
}

pub(crate) const fn table(kind: Kind) -> &'static tables::Table {
    match kind {
        Kind::Cluster => &tables::CLUSTER,
        Kind::Endpoints => &tables::LOAD_ASSIGNMENT,
        Kind::Listener => &tables::LISTENER,
        Kind::Routes => &tables::ROUTE_CONFIGURATION,
    }
}

/// The refusal of a field, named from the resource's message on.
pub(crate) fn nack(kind: Kind, name: &str, field: &str, why: impl Into<String>) -> Nack {
    let message = table(kind).name;
    let short = message.rsplit('.').next().unwrap_or(message);
    Nack { resource: format!("{short} {name}"), field: format!("{message}.{field}"), why: why.into() }
}

/// The refusal of a value that policy does not allow.
pub(crate) fn invalid(kind: Kind, name: &str, field: &str, invalid: &Invalid) -> Nack {
    nack(kind, name, field, invalid.to_string())
}

/// Checks the tags and decodes a resource whose name `name_of` finds.
pub(crate) fn resource<M: Message + Default>(
    kind: Kind,
    wire: &[u8],
    name_of: impl Fn(&M) -> &String,
) -> Result<M, Nack> {
    let checked = wire::check(table(kind), wire);
    let decoded = M::decode(wire);
    let name = decoded.as_ref().map(|message| name_of(message).clone()).unwrap_or_default();
    checked.map_err(|refused| Nack { resource: nack(kind, &name, "", "").resource, ..refused })?;
    let message = decoded.map_err(|error| nack(kind, &name, "name", format!("malformed: {error}")))?;
    if name.is_empty() {
        return Err(nack(kind, "", "name", "is missing"));
    }
    Ok(message)
}

/// Decodes Squall's extension, if there is one. The wire check has seen its type.
pub(crate) fn extension<M: Message + Default>(metadata: Option<&proto::Metadata>) -> Option<M> {
    let any = metadata?.typed.get(SQUALL_KEY)?;
    M::decode(&any.value[..]).ok()
}

/// A span of time. `None` if it is not there; negative or malformed ones are refused.
pub(crate) fn span(span: Option<Span>) -> Result<Option<Duration>, &'static str> {
    let Some(span) = span else { return Ok(None) };
    match (u64::try_from(span.seconds), u32::try_from(span.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Some(Duration::new(seconds, nanos))),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Err("is not a duration of zero or more"),
    }
}

pub(crate) fn value(number: Option<proto::UInt32>) -> Option<u32> {
    number.map(|number| number.value)
}

/// Reads the outbound listener.
fn listener(listener: &proto::Listener) -> Result<Listener, Nack> {
    let name = &listener.name;
    let bad = |field: &str, why: &str| nack(Kind::Listener, name, field, why);
    let [chain] = &listener.filter_chains[..] else {
        return Err(bad("filter_chains", "Squall needs just one"));
    };
    let [filter] = &chain.filters[..] else {
        return Err(bad("filter_chains.filters", "Squall needs just one, the HTTP connection manager"));
    };
    let config = filter.typed_config.as_ref().filter(|_| inbound::is(filter, &tables::CONNECTION_MANAGER));
    let config = config.map(|any| proto::ConnectionManager::decode(&any.value[..]));
    let Some(Ok(manager)) = config else {
        return Err(bad("filter_chains.filters.typed_config", "is missing or malformed"));
    };
    let router = match manager.http_filters.as_slice() {
        [router] => router,
        [fault, router] if fault.name == fault::FILTER => {
            let is_fault = inbound::is(fault, &tables::fault::HTTP_FAULT);
            if !is_fault || fault.typed_config.as_ref().is_none_or(|config| !config.value.is_empty()) {
                let why = "must be there and empty: faults are set on routes";
                return Err(bad("filter_chains.filters.http_filters.typed_config", why));
            }
            router
        }
        _ => {
            return Err(bad(
                "filter_chains.filters.http_filters",
                "Squall needs just the router, after the fault filter",
            ));
        }
    };
    if !inbound::is(router, &tables::ROUTER) {
        return Err(bad("filter_chains.filters.http_filters", "the last one must be the router"));
    }
    if manager.codec_type != 0 {
        return Err(bad("filter_chains.filters.codec_type", "Squall always finds out by itself (AUTO)"));
    }
    if span(manager.stream_idle_timeout) != Ok(Some(Duration::ZERO)) {
        return Err(bad(
            "filter_chains.filters.stream_idle_timeout",
            "set it to 0 and use the routes' idle_timeout; Envoy's default of 5 min is not Squall's",
        ));
    }
    let Some(rds) = manager.rds else { return Err(bad("filter_chains.filters.rds", "is missing")) };
    if rds.config_source.is_none_or(|source| source.ads.is_none()) {
        return Err(bad("filter_chains.filters.rds.config_source", "must be ads"));
    }
    if manager.route_config.is_some() {
        return Err(bad("filter_chains.filters.route_config", "must be rds"));
    }
    if listener.bind_to_port.is_some() {
        return Err(bad("bind_to_port", "is for INBOUND listeners"));
    }
    let extension: squall::Gateway = match &listener.metadata {
        Some(metadata) if !inbound::is_beside(metadata, &tables::gateway::GATEWAY) => {
            return Err(bad("metadata", "is for INBOUND listeners"));
        }
        metadata => extension(metadata.as_ref()).unwrap_or_default(),
    };
    let gateway = gateway::decode(extension.listeners)?;
    Ok(Listener { routes: rds.route_config_name, inbound: BTreeMap::new(), gateway })
}

fn cluster(wire: &[u8]) -> Result<(BackendName, Cluster), Nack> {
    let cluster: proto::Cluster = resource(Kind::Cluster, wire, |cluster: &proto::Cluster| &cluster.name)?;
    let name = cluster.name.as_str();
    let bad = |field: &str, why: &str| nack(Kind::Cluster, name, field, why);
    let by_ads = |source: Option<proto::ConfigSource>| source.is_some_and(|source| source.ads.is_some());
    if cluster.discovery_type != 3 {
        return Err(bad("type", "must be EDS"));
    }
    let eds = cluster.eds.as_ref().ok_or_else(|| bad("eds_cluster_config", "is missing"))?;
    if !by_ads(eds.eds_config) {
        return Err(bad("eds_cluster_config.eds_config", "must be ads"));
    }
    if !eds.service_name.is_empty() && eds.service_name != name {
        return Err(bad("eds_cluster_config.service_name", "must be the cluster's name"));
    }
    let extension: Option<squall::Backend> = extension(cluster.metadata.as_ref());
    let http = upstream_http(&cluster)?;
    let mut policy = BackendPolicy {
        balancing: balancing(&cluster, extension.as_ref(), &http).map_err(|why| bad("lb_policy", &why))?,
        candidates: Candidates::default(),
        health: None,
        breaker: protection::decode_breaker(extension.as_ref().and_then(|extension| extension.breaker.as_ref()))
            .map_err(|why| bad("metadata.breaker", why))?,
        service_breaker: protection::decode_breaker(
            extension.as_ref().and_then(|extension| extension.service_breaker.as_ref()),
        )
        .map_err(|why| bad("metadata.service_breaker", why))?,
        outliers: protection::decode_outliers(&cluster, extension.as_ref()).map_err(|(field, why)| bad(field, why))?,
        limits: Limits::default(),
        rate: None,
        budget: Some(Budget::default()),
        retry_limits: RetryLimits::default(),
        throttle: None,
        hedging: None,
        // Envoy's default.
        connect_timeout: span(cluster.connect_timeout)
            .map_err(|why| bad("connect_timeout", why))?
            .unwrap_or(Duration::from_secs(5)),
        pool_idle: http.pool_idle,
        protocol: match &extension {
            Some(extension) if extension.opaque => Protocol::Tcp,
            Some(_) | None => http.protocol,
        },
        mutual_tls: cluster.transport_socket.is_some(),
    };
    thresholds(&cluster, &mut policy).map_err(|(field, why)| bad(field, why))?;
    if extension.is_none() {
        balance::decode_envoy(&cluster, &mut policy).map_err(|(field, why)| bad(field, why))?;
    }
    if let Some(extension) = &extension {
        policy.limits.queue_timeout =
            span(extension.queue_timeout).map_err(|why| bad("metadata.queue_timeout", why))?;
        balance::decode(extension, &mut policy).map_err(|why| bad("metadata", why))?;
        policy.rate = overload::decode(extension.overload.as_ref(), &mut policy.limits)
            .map_err(|why| bad("metadata.overload", why))?;
        client::decode(extension.client.as_ref(), &mut policy).map_err(|why| bad("metadata.client", why))?;
        policy.budget = extension.budget.as_ref().map(budget).transpose().map_err(|why| bad("metadata.budget", why))?;
    }
    policy.check().map_err(|wrong| invalid(Kind::Cluster, name, &wrong.field, &wrong))?;
    let identity = identity(&cluster).map_err(|(field, why)| bad(field, why))?;
    Ok((BackendName::from_wire(name), Cluster { policy, identity }))
}

struct Http {
    pool_idle: Option<Duration>,
    protocol: Protocol,
    hash_policy: Vec<proto::HashPolicy>,
}

fn upstream_http(cluster: &proto::Cluster) -> Result<Http, Nack> {
    let field = "typed_extension_protocol_options";
    let bad = |why: &str| nack(Kind::Cluster, &cluster.name, field, why);
    if let Some(other) = cluster.protocol_options.keys().find(|key| *key != UPSTREAM_HTTP_KEY) {
        return Err(bad(&format!("`{other}` is not supported")));
    }
    let options = match cluster.protocol_options.get(UPSTREAM_HTTP_KEY) {
        Some(any) => proto::UpstreamHttp::decode(&any.value[..]).map_err(|_| bad("malformed"))?,
        None => proto::UpstreamHttp::default(),
    };
    let idle = options.common.map(|common| span(common.idle_timeout)).transpose().map_err(bad)?.flatten();
    let protocol = match options.explicit {
        Some(proto::ExplicitHttp { http2: Some(_), .. }) => Protocol::Http2,
        Some(proto::ExplicitHttp { http2: None, .. }) | None => Protocol::Http1,
    };
    // Envoy's default is an hour, and 0 means never.
    let pool_idle = Some(idle.unwrap_or(Duration::from_secs(3600))).filter(|idle| !idle.is_zero());
    Ok(Http { pool_idle, protocol, hash_policy: options.hash_policy })
}

fn balancing(cluster: &proto::Cluster, extension: Option<&squall::Backend>, http: &Http) -> Result<Balancing, String> {
    if let Some(balancing) = extension.and_then(|extension| extension.balancing.as_ref()) {
        let choices = balancing.choices;
        return match balancing.algorithm {
            1 => Ok(Balancing::PeakEwma {
                decay: span(balancing.decay)?.unwrap_or_default(),
                default_rtt: span(balancing.default_rtt)?.unwrap_or_default(),
                choices,
            }),
            2 => Ok(Balancing::LeastRequest { choices }),
            3 => Ok(Balancing::RoundRobin),
            4 => Ok(Balancing::Random),
            5 => Ok(balance::hashing(extension.and_then(|extension| extension.hashing.as_ref()))?),
            other => Err(format!("algorithm {other} is unknown")),
        };
    }
    let choices = cluster.least_request.as_ref().and_then(|least| value(least.choice_count)).unwrap_or(2);
    match cluster.lb_policy {
        0 => Ok(Balancing::RoundRobin),
        1 => Ok(Balancing::LeastRequest { choices }),
        3 => Ok(Balancing::Random),
        2 | 5 => Ok(balance::envoy_hashing(cluster, &http.hash_policy)?),
        6 => Err("CLUSTER_PROVIDED is not supported".to_owned()),
        7 => Err("LOAD_BALANCING_POLICY_CONFIG is not supported".to_owned()),
        other => Err(format!("{other} is unknown")),
    }
}

fn budget(budget: &squall::Budget) -> Result<Budget, &'static str> {
    Ok(Budget {
        percent: budget.percent,
        min_per_second: budget.min_per_second,
        window: span(budget.window)?.unwrap_or_default(),
    })
}

/// A field and what is wrong with it.
pub(crate) type Wrong = (&'static str, &'static str);

/// Limits, and the budget as Envoy says it: a share of the requests under way.
fn thresholds(cluster: &proto::Cluster, policy: &mut BackendPolicy) -> Result<(), Wrong> {
    let Some(found) = &cluster.circuit_breakers else { return Ok(()) };
    let [thresholds] = &found.thresholds[..] else {
        return Err(("circuit_breakers.thresholds", "Squall needs just one"));
    };
    if thresholds.priority != 0 {
        return Err(("circuit_breakers.thresholds.priority", "only DEFAULT is supported"));
    }
    if value(thresholds.max_connections).is_some_and(|most| most != u32::MAX) {
        return Err(("circuit_breakers.thresholds.max_connections", "Squall limits requests, not connections"));
    }
    policy.limits.in_flight = value(thresholds.max_requests).unwrap_or(policy.limits.in_flight);
    policy.limits.pending = value(thresholds.max_pending_requests).unwrap_or(policy.limits.pending);
    match (value(thresholds.max_retries), &thresholds.retry_budget) {
        (None, None) => {}
        (Some(u32::MAX), None) => policy.budget = None,
        (Some(_), _) => {
            return Err((
                "circuit_breakers.thresholds.max_retries",
                "Squall limits retries by a budget: use retry_budget, or 4294967295 for no limit",
            ));
        }
        (None, Some(budget)) => {
            policy.budget = None;
            policy.retry_limits.share = Some(client::share(budget)?);
        }
    }
    Ok(())
}

/// What the cluster's TLS context demands of every endpoint, if that is just one identity.
fn identity(cluster: &proto::Cluster) -> Result<Arc<str>, Wrong> {
    let Some(socket) = &cluster.transport_socket else { return Ok(Arc::default()) };
    let context = socket.typed_config.as_ref().map(|any| proto::UpstreamTls::decode(&any.value[..]));
    let Some(Ok(context)) = context else {
        return Err(("transport_socket.typed_config", "is missing or malformed"));
    };
    let common = context.common.unwrap_or_default();
    if common.certificates.is_empty() {
        return Err((
            "transport_socket.typed_config.common_tls_context",
            "Squall's TLS is mutual: tls_certificate_sds_secret_configs is missing",
        ));
    }
    let names = common.validation.and_then(|validation| validation.default).unwrap_or_default().names;
    let mut identities = BTreeSet::new();
    for name in names {
        match (name.san_type, name.matcher.and_then(|matcher| matcher.exact)) {
            (3, Some(identity)) => identities.insert(identity),
            (_, _) => return Err(("transport_socket.match_typed_subject_alt_names", "must be exact URIs")),
        };
    }
    let mut identities = identities.into_iter();
    match (identities.next(), identities.next()) {
        (Some(only), None) => Ok(only.into()),
        (_, _) => Ok(Arc::default()),
    }
}

fn load_assignment(wire: &[u8]) -> Result<(BackendName, Vec<Found>), Nack> {
    let found: proto::LoadAssignment =
        resource(Kind::Endpoints, wire, |found: &proto::LoadAssignment| &found.cluster_name)?;
    let name = found.cluster_name.as_str();
    let mut endpoints: BTreeMap<SocketAddr, Found> = BTreeMap::new();
    for locality in &found.localities {
        let zone: Arc<str> = locality.locality.as_ref().map_or("", |locality| &locality.zone).into();
        for found in &locality.endpoints {
            let bad =
                |field: &str, why: &str| nack(Kind::Endpoints, name, &format!("endpoints.lb_endpoints.{field}"), why);
            let read = endpoint(found, &zone).map_err(|(field, why)| bad(field, &why))?;
            read.endpoint.check().map_err(|wrong| bad("load_balancing_weight", &wrong.to_string()))?;
            if let Some(double) = endpoints.insert(read.endpoint.address, read) {
                return Err(bad("endpoint.address", &format!("{} is given twice", double.endpoint.address)));
            }
        }
    }
    Ok((BackendName::from_wire(name), endpoints.into_values().collect()))
}

fn endpoint(found: &proto::LbEndpoint, zone: &Arc<str>) -> Result<Found, (&'static str, String)> {
    let address = found.endpoint.as_ref().and_then(|endpoint| endpoint.address.as_ref());
    let Some(socket) = address.and_then(|address| address.socket.as_ref()) else {
        return Err(("endpoint.address.socket_address", "is missing".to_owned()));
    };
    if socket.protocol != 0 {
        return Err(("endpoint.address.socket_address.protocol", "must be TCP".to_owned()));
    }
    let (Ok(ip), Ok(port)) = (socket.address.parse(), u16::try_from(socket.port)) else {
        let why = format!("`{}` port {} is not an address", socket.address, socket.port);
        return Err(("endpoint.address.socket_address", why));
    };
    let draining = match found.health {
        0 | 1 => false,
        // Takes no new requests, in Envoy too.
        2..=4 => true,
        other => return Err(("health_status", format!("{other} is not supported"))),
    };
    let extension: Option<squall::Endpoint> = extension(found.metadata.as_ref());
    let own_identity = extension.is_some();
    let address = SocketAddr::new(ip, port);
    let extension =
        extension.unwrap_or_else(|| squall::Endpoint { name: address.to_string(), identity: String::new() });
    let endpoint = Endpoint {
        address,
        name: extension.name.into(),
        zone: Arc::clone(zone),
        weight: value(found.weight).unwrap_or(1),
        identity: extension.identity.into(),
        draining,
    };
    Ok(Found { endpoint, own_identity })
}

/// The jitter of this number.
pub(crate) fn jitter(number: u32) -> Option<Jitter> {
    [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated]
        .into_iter()
        .find(|jitter| crate::encode::jitter_number(*jitter) == number)
}
