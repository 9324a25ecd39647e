//! A mesh as resources: Envoy's fields, and Squall's extensions beside them where those cannot say it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use squall_policy::{
    BackendName, BackendPolicy, Balancing, Destination, Endpoint, HeaderChange, Jitter, Mesh, PathMatch, Protocol,
    RetryOn, RetryPolicy, Route, VirtualHost,
};

use crate::proto::{self, Span, squall};
use crate::wire::TYPE_PREFIX;
use crate::{
    Kind, LISTENER, ROUTES, Resources, SQUALL_KEY, balance, client, fault, gateway, inbound, overload, protection,
    redirect, retry_on, stream, tables,
};

/// The methods that may be repeated (RFC 9110 §9.2.2), as Envoy is told them.
pub(crate) const IDEMPOTENT: [&str; 6] = ["DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"];

/// The key of HTTP options in a cluster.
pub(crate) const UPSTREAM_HTTP_KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Encodes a whole mesh.
pub(crate) fn mesh(mesh: &Mesh) -> Resources {
    let mut resources = Resources::default();
    let none = Vec::new();
    for (name, policy) in &mesh.backends {
        let endpoints = mesh.endpoints.get(name).unwrap_or(&none);
        resources.clusters.insert(name.as_str().to_owned(), cluster(name, policy, endpoints));
        resources.endpoints.insert(name.as_str().to_owned(), load_assignment(name, endpoints));
    }
    resources.listeners.insert(LISTENER.to_owned(), listener(mesh));
    for (port, treated) in &mesh.inbound {
        resources.listeners.insert(inbound::name(*port), inbound::encode(*port, treated).encode_to_vec().into());
    }
    resources.routes.insert(ROUTES.to_owned(), routes(&mesh.hosts, &mesh.destinations));
    resources
}

pub(crate) fn type_url(kind: Kind) -> String {
    let table = match kind {
        Kind::Cluster => &tables::CLUSTER,
        Kind::Endpoints => &tables::LOAD_ASSIGNMENT,
        Kind::Listener => &tables::LISTENER,
        Kind::Routes => &tables::ROUTE_CONFIGURATION,
    };
    format!("{TYPE_PREFIX}{}", table.name)
}

pub(crate) fn any(table: &tables::Table, message: &impl Message) -> proto::Any {
    proto::Any { type_url: format!("{TYPE_PREFIX}{}", table.name), value: message.encode_to_vec() }
}

pub(crate) fn metadata(table: &tables::Table, extension: &impl Message) -> Option<proto::Metadata> {
    Some(proto::Metadata { typed: BTreeMap::from([(SQUALL_KEY.to_owned(), any(table, extension))]) })
}

pub(crate) fn span(span: Duration) -> Option<Span> {
    Some(Span {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(span.subsec_nanos()).expect("less than a billion"),
    })
}

/// Where Envoy takes 0 for "no limit".
pub(crate) fn span_or_zero(limit: Option<Duration>) -> Option<Span> {
    span(limit.unwrap_or_default())
}

pub(crate) const fn number(value: u32) -> Option<proto::UInt32> {
    Some(proto::UInt32 { value })
}

fn ads() -> Option<proto::ConfigSource> {
    Some(proto::ConfigSource { ads: Some(proto::Empty {}), resource_api_version: 2 })
}

fn exactly(text: &str) -> Option<proto::StringMatcher> {
    Some(proto::StringMatcher { exact: Some(text.to_owned()) })
}

pub(crate) fn header(name: &str, value: &str) -> proto::HeaderMatcher {
    proto::HeaderMatcher { name: name.to_owned(), exact_match: None, string_match: exactly(value) }
}

pub(crate) fn socket_address(address: &str, port: u16) -> Option<proto::Address> {
    let socket = proto::SocketAddress { protocol: 0, address: address.to_owned(), port: u32::from(port) };
    Some(proto::Address { socket: Some(socket) })
}

pub(crate) const fn protocol_number(protocol: Protocol) -> u32 {
    match protocol {
        Protocol::Http1 => 1,
        Protocol::Http2 => 2,
        Protocol::Tcp => 3,
    }
}

pub(crate) const fn jitter_number(jitter: Jitter) -> u32 {
    match jitter {
        Jitter::None => 1,
        Jitter::Full => 2,
        Jitter::Equal => 3,
        Jitter::Decorrelated => 4,
    }
}

fn has_fault(host: &VirtualHost) -> bool {
    host.routes.iter().any(|route| route.fault.is_some())
}

fn listener(mesh: &Mesh) -> Bytes {
    // For the fault of a route Envoy needs its filter.
    let faults = mesh.hosts.iter().any(has_fault);
    let router = proto::Filter {
        name: "envoy.filters.http.router".to_owned(),
        typed_config: Some(any(&tables::ROUTER, &proto::Empty {})),
    };
    let manager = proto::ConnectionManager {
        codec_type: 0,
        stat_prefix: LISTENER.to_owned(),
        route_config: None,
        rds: Some(proto::Rds { config_source: ads(), route_config_name: ROUTES.to_owned() }),
        http_filters: faults.then(fault::filter).into_iter().chain([router]).collect(),
        stream_idle_timeout: span_or_zero(None),
    };
    let filter = proto::Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        typed_config: Some(any(&tables::CONNECTION_MANAGER, &manager)),
    };
    let listener = proto::Listener {
        name: LISTENER.to_owned(),
        address: socket_address("127.0.0.1", 15001),
        filter_chains: vec![proto::FilterChain { filters: vec![filter], name: String::new() }],
        metadata: if mesh.gateway.is_empty() {
            None
        } else {
            let listeners = mesh.gateway.iter().map(gateway::encode).collect();
            metadata(&tables::gateway::GATEWAY, &squall::Gateway { listeners })
        },
        traffic_direction: 2,
        bind_to_port: None,
    };
    listener.encode_to_vec().into()
}

fn routes(hosts: &[VirtualHost], destinations: &[Destination]) -> Bytes {
    let destinations = squall::Destinations { destinations: destinations.iter().map(stream::encode).collect() };
    let beside = (!destinations.destinations.is_empty())
        .then(|| metadata(&tables::stream::DESTINATIONS, &destinations))
        .flatten();
    proto::RouteConfiguration {
        name: ROUTES.to_owned(),
        virtual_hosts: virtual_hosts(hosts),
        validate_clusters: None,
        metadata: beside,
    }
    .encode_to_vec()
    .into()
}

pub(crate) fn virtual_hosts(hosts: &[VirtualHost]) -> Vec<proto::VirtualHost> {
    let hosts = hosts.iter().map(|host| proto::VirtualHost {
        name: host.name.clone(),
        domains: host.domains.clone(),
        routes: host.routes.iter().map(route).collect(),
    });
    hosts.collect()
}

fn route(route: &Route) -> proto::Route {
    let (request_headers_to_remove, request_headers_to_add) = header_changes(&route.request_headers);
    let (response_headers_to_remove, response_headers_to_add) = header_changes(&route.response_headers);
    let total: u64 = route.backends.iter().map(|backend| u64::from(backend.weight)).sum();
    let retry = route.retry.as_ref().map(|retry| squall::Retry {
        on: retry.on.iter().map(|on| retry_on::name(*on)).collect(),
        jitter: jitter_number(retry.backoff.jitter),
        non_idempotent: retry.non_idempotent,
    });
    let action = Some(route_action(route));
    // Envoy has no form for an action that leads nowhere; it answers as the Gateway API asks.
    let (action, unserved) = match (total, &route.redirect) {
        (_, Some(_)) => (None, None),
        (0, None) => (None, action),
        (_, None) => (action, None),
    };
    proto::Route {
        matches: Some(route_match(route)),
        action,
        metadata: metadata(&tables::SQUALL_ROUTE, &squall::Route { retry, unserved }),
        redirect: route.redirect.as_ref().map(redirect::encode),
        direct_response: (total == 0 && route.redirect.is_none()).then_some(proto::DirectResponse { status: 500 }),
        request_headers_to_add,
        response_headers_to_add,
        response_headers_to_remove,
        request_headers_to_remove,
        filter_config: fault::encode(route.fault.as_ref()),
        name: route.name.to_string(),
        buffer_bytes: route.retry.as_ref().and_then(|retry| number(retry.buffer_bytes)),
    }
}

fn route_match(route: &Route) -> proto::RouteMatch {
    let (mut prefix, mut path, mut path_separated_prefix) = (None, None, None);
    match &route.matches.path {
        PathMatch::Exact(text) => path = Some(text.clone()),
        PathMatch::Prefix(text) => match text.trim_end_matches('/') {
            "" => prefix = Some("/".to_owned()),
            text => path_separated_prefix = Some(text.to_owned()),
        },
    }
    let method = route.matches.method.iter().map(|method| header(":method", method));
    let headers = route.matches.headers.iter().map(|wanted| header(&wanted.name, &wanted.value));
    let query = route
        .matches
        .query
        .iter()
        .map(|wanted| proto::QueryMatcher { name: wanted.name.clone(), string_match: exactly(&wanted.value) });
    proto::RouteMatch {
        prefix,
        path,
        case_sensitive: None,
        headers: method.chain(headers).collect(),
        query: query.collect(),
        path_separated_prefix,
    }
}

/// Envoy removes before it adds, so removals come first in a mesh too.
fn header_changes(changes: &[HeaderChange]) -> (Vec<String>, Vec<proto::HeaderValueOption>) {
    let (mut remove, mut add) = (Vec::new(), Vec::new());
    let mut value = |name: &String, value: &String, append_action| {
        add.push(proto::HeaderValueOption {
            // A single percent sign would begin a format command.
            header: Some(proto::HeaderValue { key: name.clone(), value: value.replace('%', "%%") }),
            append_action,
            keep_empty_value: value.is_empty(),
        });
    };
    for change in changes {
        match change {
            HeaderChange::Add { name, value: text } => value(name, text, 0),
            HeaderChange::Set { name, value: text } => value(name, text, 2),
            HeaderChange::Remove { name } => remove.push(name.clone()),
        }
    }
    (remove, add)
}

fn route_action(route: &Route) -> proto::RouteAction {
    let (mut cluster, mut weighted) = (None, None);
    match route.backends.as_slice() {
        [only] if only.weight == 1 => cluster = Some(only.backend.as_str().to_owned()),
        backends => {
            let clusters = backends.iter().map(|backend| proto::ClusterWeight {
                name: backend.backend.as_str().to_owned(),
                weight: number(backend.weight),
            });
            weighted = Some(proto::WeightedCluster { clusters: clusters.collect(), total_weight: None });
        }
    }
    let retry_policy = match (&route.retry, route.timeouts.per_try) {
        (None, None) => None,
        (None, per_try) => Some(proto::RetryPolicy {
            num_retries: number(0),
            per_try_timeout: per_try.and_then(span),
            ..proto::RetryPolicy::default()
        }),
        (Some(retry), per_try) => Some(retry_policy(retry, per_try)),
    };
    proto::RouteAction {
        cluster,
        weighted,
        timeout: span_or_zero(route.timeouts.request),
        retry_policy,
        idle_timeout: span_or_zero(route.timeouts.idle),
        max_stream_duration: route
            .timeouts
            .stream
            .map(|limit| proto::MaxStreamDuration { max_stream_duration: span(limit) }),
    }
}

fn retry_policy(retry: &RetryPolicy, per_try: Option<Duration>) -> proto::RetryPolicy {
    let (mut reasons, mut codes) = (BTreeSet::new(), Vec::new());
    for on in &retry.on {
        match on {
            RetryOn::Status(status) => {
                reasons.insert("retriable-status-codes".to_owned());
                codes.push(u32::from(*status));
            }
            // Envoy counts a time-out of the try as a reset.
            RetryOn::PerTryTimeout | RetryOn::Reset => {
                reasons.insert("reset".to_owned());
            }
            RetryOn::Grpc(1 | 4 | 8 | 13 | 14) => {
                reasons.insert(retry_on::name(*on).trim_start_matches("grpc-").to_owned());
            }
            // Envoy knows only those five.
            RetryOn::Grpc(_) => {}
            RetryOn::ConnectFailure | RetryOn::RefusedStream | RetryOn::Status5xx | RetryOn::GatewayError => {
                reasons.insert(retry_on::name(*on));
            }
        }
    }
    let methods = if retry.non_idempotent { &[][..] } else { &IDEMPOTENT[..] };
    proto::RetryPolicy {
        retry_on: reasons.into_iter().collect::<Vec<_>>().join(","),
        num_retries: number(retry.retries),
        per_try_timeout: per_try.and_then(span),
        retriable_status_codes: codes,
        back_off: Some(proto::RetryBackOff {
            base_interval: span(retry.backoff.first),
            max_interval: span(retry.backoff.last),
        }),
        retriable_request_headers: methods.iter().map(|method| header(":method", method)).collect(),
    }
}

fn cluster(name: &BackendName, policy: &BackendPolicy, endpoints: &[Endpoint]) -> Bytes {
    let mut cluster = proto::Cluster {
        name: name.as_str().to_owned(),
        discovery_type: 3,
        eds: Some(proto::EdsConfig { eds_config: ads(), service_name: String::new() }),
        connect_timeout: span(policy.connect_timeout),
        circuit_breakers: Some(proto::CircuitBreakers { thresholds: vec![thresholds(policy)] }),
        outlier_detection: protection::encode_outliers(policy),
        transport_socket: policy.mutual_tls.then(|| transport_socket(policy, endpoints)),
        metadata: metadata(&tables::BACKEND, &backend(policy)),
        protocol_options: BTreeMap::from([(
            UPSTREAM_HTTP_KEY.to_owned(),
            any(&tables::UPSTREAM_HTTP, &upstream_http(policy)),
        )]),
        ..proto::Cluster::default()
    };
    balance::fill(&mut cluster, policy);
    cluster.encode_to_vec().into()
}

fn thresholds(policy: &BackendPolicy) -> proto::Thresholds {
    let share = policy.retry_limits.share.map(|share| (share.percent, share.min_concurrent));
    let share = share.or(policy.budget.map(|budget| (budget.percent.min(100), budget.min_per_second)));
    proto::Thresholds {
        priority: 0,
        // Squall limits requests, not connections; Envoy's default for both this and retries would add limits of its own.
        max_connections: number(u32::MAX),
        max_pending_requests: number(policy.limits.pending),
        max_requests: number(policy.limits.in_flight),
        max_retries: if share.is_none() { number(u32::MAX) } else { None },
        retry_budget: share.map(|(percent, least)| proto::RetryBudget {
            budget_percent: Some(proto::Percent { value: f64::from(percent) }),
            min_retry_concurrency: number(least),
        }),
    }
}

fn backend(policy: &BackendPolicy) -> squall::Backend {
    let (algorithm, decay, default_rtt, choices) = match policy.balancing {
        Balancing::PeakEwma { decay, default_rtt, choices } => (1, span(decay), span(default_rtt), choices),
        Balancing::LeastRequest { choices } => (2, None, None, choices),
        Balancing::RoundRobin => (3, None, None, 0),
        Balancing::Random => (4, None, None, 0),
        Balancing::Hash(_) => (5, None, None, 0),
    };
    let mut backend = squall::Backend {
        balancing: Some(squall::Balancing { algorithm, decay, default_rtt, choices }),
        breaker: policy.breaker.map(protection::encode_breaker),
        service_breaker: policy.service_breaker.map(protection::encode_breaker),
        outliers: policy.outliers.map(|outliers| squall::Outliers { floor: outliers.floor }),
        budget: policy.budget.map(|budget| squall::Budget {
            percent: budget.percent,
            min_per_second: budget.min_per_second,
            window: span(budget.window),
        }),
        queue_timeout: policy.limits.queue_timeout.and_then(span),
        overload: overload::encode(&policy.limits, policy.rate.as_ref()),
        client: client::encode(policy),
        opaque: policy.protocol == Protocol::Tcp,
        ..squall::Backend::default()
    };
    balance::encode(policy, &mut backend);
    backend
}

fn upstream_http(policy: &BackendPolicy) -> proto::UpstreamHttp {
    let (http1, http2) = match policy.protocol {
        Protocol::Http1 => (Some(proto::Empty {}), None),
        Protocol::Http2 => (None, Some(proto::Empty {})),
        Protocol::Tcp => (None, None),
    };
    proto::UpstreamHttp {
        common: Some(proto::CommonHttp { idle_timeout: span_or_zero(policy.pool_idle) }),
        explicit: (policy.protocol != Protocol::Tcp).then_some(proto::ExplicitHttp { http1, http2 }),
        hash_policy: balance::hash_policy(&policy.balancing),
    }
}

fn transport_socket(policy: &BackendPolicy, endpoints: &[Endpoint]) -> proto::TransportSocket {
    let identities: BTreeSet<&Arc<str>> =
        endpoints.iter().map(|endpoint| &endpoint.identity).filter(|identity| !identity.is_empty()).collect();
    let names = identities.into_iter().map(|id| proto::SanMatcher { san_type: 3, matcher: exactly(id) }).collect();
    let secret = |name: &str| proto::SdsSecret { name: name.to_owned(), sds_config: ads() };
    let alpn = match policy.protocol {
        Protocol::Http1 => "http/1.1",
        Protocol::Http2 => "h2",
        Protocol::Tcp => stream::TCP_ALPN,
    };
    let context = proto::UpstreamTls {
        common: Some(proto::CommonTls {
            alpn_protocols: vec![alpn.to_owned(), stream::MESH_ALPN.to_owned()],
            certificates: vec![secret("default")],
            validation: Some(proto::CombinedValidation {
                default: Some(proto::Validation { names }),
                roots: Some(secret("ROOTCA")),
            }),
        }),
    };
    proto::TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        typed_config: Some(any(&tables::UPSTREAM_TLS, &context)),
    }
}

fn load_assignment(name: &BackendName, endpoints: &[Endpoint]) -> Bytes {
    let mut localities: BTreeMap<&str, Vec<proto::LbEndpoint>> = BTreeMap::new();
    for endpoint in endpoints {
        let extension = squall::Endpoint { name: endpoint.name.to_string(), identity: endpoint.identity.to_string() };
        localities.entry(&endpoint.zone).or_default().push(proto::LbEndpoint {
            endpoint: Some(proto::Endpoint {
                address: socket_address(&endpoint.address.ip().to_string(), endpoint.address.port()),
            }),
            health: if endpoint.draining { 3 } else { 1 },
            metadata: metadata(&tables::SQUALL_ENDPOINT, &extension),
            weight: number(endpoint.weight),
        });
    }
    let localities = localities.into_iter().map(|(zone, endpoints)| proto::LocalityEndpoints {
        locality: Some(proto::Locality { zone: zone.to_owned() }),
        // gRPC skips a locality without a weight; zones share by their endpoints.
        weight: number(u32::try_from(endpoints.len()).unwrap_or(u32::MAX)),
        endpoints,
    });
    let assignment = proto::LoadAssignment { cluster_name: name.as_str().to_owned(), localities: localities.collect() };
    assignment.encode_to_vec().into()
}
