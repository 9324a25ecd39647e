//! The listeners of the own workload: one for each port that its application listens at. For Envoy they are what Istio's are, chains of
//! filters that nothing binds to (`bind_to_port: false`): who may ask for what is in its RBAC filters, and the one route leads to a cluster
//! of the listener's own name. What a listener of Envoy's cannot say stands beside it.

use prost::Message as _;
use squall_policy::{Authorization, Inbound, Limits, PeerMode, Protocol};

use crate::decode::{extension, nack, span as read_span};
use crate::encode::{any, metadata, protocol_number, socket_address, span, span_or_zero};
use crate::proto::rbac::{HttpRbac, NetworkRbac, TcpProxy};
use crate::proto::{self, squall};
use crate::wire::TYPE_PREFIX;
use crate::{Kind, Nack, SQUALL_KEY, access, overload, tables};

/// `envoy.config.core.v3.TrafficDirection.INBOUND`.
pub(crate) const INBOUND: i32 = 1;

const HTTP_RBAC: &str = "envoy.filters.http.rbac";
const NETWORK_RBAC: &str = "envoy.filters.network.rbac";
const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";

/// The name of a port's listener.
pub(crate) fn name(port: u16) -> String {
    format!("inbound:{port}")
}

pub(crate) fn encode(port: u16, inbound: &Inbound) -> proto::Listener {
    let name = name(port);
    let filters = match inbound.protocol {
        Protocol::Http1 | Protocol::Http2 => vec![manager(&name, &inbound.access)],
        Protocol::Tcp => bytes(&name, &inbound.access),
    };
    let extension = squall::InboundPort {
        port: u32::from(port),
        in_flight: inbound.limits.in_flight,
        pending: inbound.limits.pending,
        queue_timeout: inbound.limits.queue_timeout.and_then(span),
        protocol: protocol_number(inbound.protocol),
        detect: inbound.detect,
        peers: match inbound.peers {
            None => 0,
            Some(PeerMode::Strict) => 1,
            Some(PeerMode::Permissive) => 2,
            Some(PeerMode::Disable) => 3,
        },
        overload: overload::encode(&inbound.limits, inbound.rate.as_ref()),
    };
    proto::Listener {
        address: socket_address("0.0.0.0", port),
        filter_chains: vec![proto::FilterChain { filters, name: String::new() }],
        metadata: metadata(&tables::INBOUND_PORT, &extension),
        traffic_direction: INBOUND,
        bind_to_port: Some(proto::Bool { value: false }),
        name,
    }
}

/// The HTTP connection manager of a port.
fn manager(name: &str, access: &Authorization) -> proto::Filter {
    let rbac = access::encode(access, true).into_iter().map(|(rules, shadow_rules)| proto::Filter {
        name: HTTP_RBAC.to_owned(),
        typed_config: Some(any(&tables::rbac::HTTP_RBAC, &HttpRbac { rules, shadow_rules })),
    });
    let router = proto::Filter {
        name: "envoy.filters.http.router".to_owned(),
        typed_config: Some(any(&tables::ROUTER, &proto::Empty {})),
    };
    let manager = proto::ConnectionManager {
        codec_type: 0,
        stat_prefix: name.to_owned(),
        rds: None,
        route_config: Some(route(name)),
        http_filters: rbac.chain([router]).collect(),
        stream_idle_timeout: span_or_zero(None),
    };
    proto::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        typed_config: Some(any(&tables::CONNECTION_MANAGER, &manager)),
    }
}

/// Everything goes to the cluster of this name, and takes as long as it takes.
fn route(cluster: &str) -> proto::RouteConfiguration {
    let action = proto::RouteAction {
        cluster: Some(cluster.to_owned()),
        timeout: span_or_zero(None),
        ..proto::RouteAction::default()
    };
    let matches = proto::RouteMatch { prefix: Some("/".to_owned()), ..proto::RouteMatch::default() };
    let route = proto::Route { matches: Some(matches), action: Some(action), ..proto::Route::default() };
    let host = proto::VirtualHost { name: cluster.to_owned(), domains: vec!["*".to_owned()], routes: vec![route] };
    proto::RouteConfiguration {
        name: cluster.to_owned(),
        virtual_hosts: vec![host],
        // It is the sidecar's own, and not told.
        validate_clusters: Some(proto::Bool { value: false }),
        metadata: None,
    }
}

/// The filters of a port of bytes.
fn bytes(name: &str, access: &Authorization) -> Vec<proto::Filter> {
    let rbac = access::encode(access, false).into_iter().map(|(rules, shadow_rules)| {
        let filter = NetworkRbac { rules, shadow_rules, stat_prefix: name.to_owned() };
        proto::Filter { name: NETWORK_RBAC.to_owned(), typed_config: Some(any(&tables::rbac::NETWORK_RBAC, &filter)) }
    });
    let tcp = TcpProxy { stat_prefix: name.to_owned(), cluster: Some(name.to_owned()) };
    let tcp = proto::Filter { name: TCP_PROXY.to_owned(), typed_config: Some(any(&tables::rbac::TCP_PROXY, &tcp)) };
    rbac.chain([tcp]).collect()
}

/// Reads a listener whose direction is INBOUND: the port and how it is treated.
pub(crate) fn decode(listener: &proto::Listener) -> Result<(u16, Inbound), Nack> {
    let bad = |field: &str, why: &str| nack(Kind::Listener, &listener.name, field, why);
    let refused = |(field, why): access::Refused| Nack { resource: bad("", "").resource, field: field.to_owned(), why };
    let port = listener.address.as_ref().and_then(|address| u16::try_from(address.socket.as_ref()?.port).ok());
    let port = port.filter(|port| *port > 0).ok_or_else(|| bad("address.socket_address.port_value", "is missing"))?;
    if listener.bind_to_port.is_none_or(|binds| binds.value) {
        return Err(bad("bind_to_port", "must be false: where a sidecar listens is its own affair"));
    }
    let [chain] = &listener.filter_chains[..] else {
        return Err(bad("filter_chains", "Squall needs just one"));
    };
    let Some((last, rbac)) = chain.filters.split_last() else {
        return Err(bad("filter_chains.filters", "is empty"));
    };
    let (access, is_http) = if is(last, &tables::CONNECTION_MANAGER) {
        if !rbac.is_empty() {
            return Err(bad(
                "filter_chains.filters",
                "Squall needs just one where requests are spoken: RBAC filters go into http_filters",
            ));
        }
        let filters = http_filters(last).map_err(|(field, why)| bad(field, why))?;
        (access::decode(&filters, true).map_err(refused)?, true)
    } else if is(last, &tables::rbac::TCP_PROXY) {
        let mut filters = Vec::new();
        for filter in rbac {
            let found = filter.typed_config.as_ref().filter(|_| is(filter, &tables::rbac::NETWORK_RBAC));
            let Some(Ok(found)) = found.map(|any| NetworkRbac::decode(&any.value[..])) else {
                return Err(bad("filter_chains.filters", "Squall needs just RBAC filters before the last"));
            };
            filters.push((found.rules, found.shadow_rules));
        }
        (access::decode(&filters, false).map_err(refused)?, false)
    } else {
        return Err(bad("filter_chains.filters", "the last one must be the HTTP connection manager or the TCP proxy"));
    };
    if listener.metadata.as_ref().is_some_and(|beside| !is_beside(beside, &tables::INBOUND_PORT)) {
        return Err(bad("metadata", "is not for INBOUND listeners"));
    }
    let inbound = match extension::<squall::InboundPort>(listener.metadata.as_ref()) {
        Some(told) => {
            let wrong = |why: &str| bad("metadata", why);
            if told.port != u32::from(port) {
                return Err(wrong("is of another port"));
            }
            let protocol = match told.protocol {
                1 => Protocol::Http1,
                2 => Protocol::Http2,
                3 => Protocol::Tcp,
                other => return Err(wrong(&format!("protocol {other} is unknown"))),
            };
            if is_http == (protocol == Protocol::Tcp) {
                return Err(wrong("protocol is not that of the filters"));
            }
            let peers = match told.peers {
                0 => None,
                1 => Some(PeerMode::Strict),
                2 => Some(PeerMode::Permissive),
                3 => Some(PeerMode::Disable),
                other => return Err(wrong(&format!("peers {other} is unknown"))),
            };
            let queue_timeout = read_span(told.queue_timeout).map_err(wrong)?;
            let (in_flight, pending) = (told.in_flight, told.pending);
            let mut limits = Limits { in_flight, pending, queue_timeout, ..Limits::default() };
            let rate = overload::decode(told.overload.as_ref(), &mut limits).map_err(wrong)?;
            Inbound { limits, rate, protocol, detect: told.detect, access, peers }
        }
        None => {
            let protocol = if is_http { Protocol::Http1 } else { Protocol::Tcp };
            Inbound { limits: Limits::default(), rate: None, protocol, detect: false, access, peers: None }
        }
    };
    inbound.check().map_err(|invalid| bad("metadata", &invalid.to_string()))?;
    Ok((port, inbound))
}

/// The RBAC filters of a connection manager, which has a router after them, and nothing else of its own.
fn http_filters(filter: &proto::Filter) -> Result<Vec<access::Filter>, (&'static str, &'static str)> {
    let manager = filter.typed_config.as_ref().map(|any| proto::ConnectionManager::decode(&any.value[..]));
    let Some(Ok(manager)) = manager else {
        return Err(("filter_chains.filters.typed_config", "is missing or malformed"));
    };
    if manager.codec_type != 0 {
        return Err(("filter_chains.filters.codec_type", "Squall always finds out by itself (AUTO)"));
    }
    if read_span(manager.stream_idle_timeout) != Ok(Some(std::time::Duration::ZERO)) {
        let why = "set it to 0; Envoy's default of 5 min is not Squall's";
        return Err(("filter_chains.filters.stream_idle_timeout", why));
    }
    if manager.rds.is_some() || !manager.route_config.as_ref().is_some_and(is_plain) {
        let why = "must be one route of all requests to one cluster, with timeout 0: the application";
        return Err(("filter_chains.filters.route_config", why));
    }
    let Some((router, rbac)) = manager.http_filters.split_last() else {
        return Err(("filter_chains.filters.http_filters", "is empty"));
    };
    if !is(router, &tables::ROUTER) {
        return Err(("filter_chains.filters.http_filters", "the last one must be the router"));
    }
    let read = |filter: &proto::Filter| {
        let found = filter.typed_config.as_ref().filter(|_| is(filter, &tables::rbac::HTTP_RBAC));
        match found.map(|any| HttpRbac::decode(&any.value[..])) {
            Some(Ok(found)) => Ok((found.rules, found.shadow_rules)),
            Some(Err(_)) | None => {
                Err(("filter_chains.filters.http_filters", "Squall needs just RBAC filters before the router"))
            }
        }
    };
    rbac.iter().map(read).collect()
}

/// Whether a filter is of this type.
pub(crate) fn is(filter: &proto::Filter, table: &tables::Table) -> bool {
    filter.typed_config.as_ref().is_some_and(|any| any.type_url.strip_prefix(TYPE_PREFIX) == Some(table.name))
}

/// Whether Squall's extension, if there is one, is of this type.
pub(crate) fn is_beside(metadata: &proto::Metadata, table: &tables::Table) -> bool {
    metadata.typed.get(SQUALL_KEY).is_none_or(|any| any.type_url.strip_prefix(TYPE_PREFIX) == Some(table.name))
}

/// Whether it is [`route`], whatever its parts are called.
fn is_plain(config: &proto::RouteConfiguration) -> bool {
    let [host] = &config.virtual_hosts[..] else { return false };
    let [one] = &host.routes[..] else { return false };
    let Some(cluster) = one.action.as_ref().and_then(|action| action.cluster.clone()) else { return false };
    let mut named = config.clone();
    named.name.clone_from(&cluster);
    named.validate_clusters = Some(proto::Bool { value: false });
    for host in &mut named.virtual_hosts {
        host.name.clone_from(&cluster);
        host.routes.iter_mut().for_each(|route| route.name.clear());
    }
    named == route(&cluster)
}
