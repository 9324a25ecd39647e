//! What Squall does not support is refused by name; what Envoy's servers leave out gets Envoy's meaning.

use bytes::Bytes;
use squall_policy::{
    Asked, BackendPolicy, Balancing, Budget, Candidates, HashKey, HashTable, Hashing, HealthCheck, Mesh, OutlierConfig,
    Probe, Protocol, RetryOn, SlowStart, WhenDown,
};
use squall_xds::{Resources, decode, encode};

/// A field delimited by a length.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = varint(u64::from(number << 3 | 2));
    bytes.extend(varint(content.len() as u64));
    bytes.extend(content);
    bytes
}

/// A number field.
fn number(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = varint(u64::from(number << 3));
    bytes.extend(varint(value));
    bytes
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A double field.
fn double(number: u32, value: f64) -> Vec<u8> {
    let mut bytes = varint(u64::from(number << 3 | 1));
    bytes.extend(value.to_le_bytes());
    bytes
}

/// The HTTP options of a cluster that speaks HTTP/1.1.
fn http_options(more: &[Vec<u8>]) -> Vec<u8> {
    let options = message(&[field(3, &field(1, &[])), more.concat()]);
    let name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let any = message(&[field(1, format!("type.googleapis.com/{name}").as_bytes()), field(2, &options)]);
    field(36, &message(&[field(1, name.as_bytes()), field(2, &any)]))
}

#[track_caller]
fn policy(more: &[Vec<u8>]) -> BackendPolicy {
    let mesh = decode(&resources_with_cluster(cluster(more))).unwrap_or_else(|nack| panic!("{nack}"));
    mesh.backends.into_values().next().expect("one cluster")
}

/// A message of these parts.
fn message(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn ads() -> Vec<u8> {
    message(&[field(3, &[]), number(6, 2)])
}

/// A cluster of any server's: name, EDS by ADS, and these fields.
fn cluster(more: &[Vec<u8>]) -> Vec<u8> {
    message(&[field(1, b"a"), number(2, 3), field(3, &field(1, &ads())), more.concat()])
}

fn resources_with_cluster(cluster: Vec<u8>) -> Resources {
    let mut resources = encode(&Mesh::default());
    resources.clusters.insert("a".to_owned(), cluster.into());
    resources.endpoints.insert("a".to_owned(), field(1, b"a").into());
    resources
}

/// One virtual host `a` with this route; the route gets a match for everything.
fn resources_with_route(more: &[Vec<u8>]) -> Resources {
    let mut resources = resources_with_cluster(cluster(&[]));
    let route = message(&[field(1, &field(1, b"/")), more.concat()]);
    let host = message(&[field(1, b"a"), field(2, b"a"), field(3, &route)]);
    let routes = message(&[field(1, b"outbound"), field(2, &host)]);
    resources.routes.insert("outbound".to_owned(), Bytes::from(routes));
    resources
}

#[track_caller]
fn refused(resources: &Resources, want: &str) {
    assert_eq!(decode(resources).expect_err("must be refused").to_string(), want);
}

#[test]
fn an_unsupported_field_is_refused_by_its_full_name() {
    refused(
        &resources_with_cluster(cluster(&[field(22, &[])])),
        "Cluster a: envoy.config.cluster.v3.Cluster.lb_subset_config: not supported by Squall",
    );
    refused(
        &resources_with_route(&[field(2, &message(&[field(1, b"a"), field(27, &[])]))]),
        "RouteConfiguration outbound: envoy.config.route.v3.RouteAction.hedge_policy: not supported by Squall",
    );
    refused(
        &resources_with_route(&[field(3, &field(9, &[]))]),
        "RouteConfiguration outbound: envoy.config.route.v3.RedirectAction.regex_rewrite: not supported by Squall",
    );
}

#[test]
fn an_unknown_field_is_refused_by_its_number() {
    refused(
        &resources_with_cluster(cluster(&[number(977, 1)])),
        "Cluster a: envoy.config.cluster.v3.Cluster field 977: unknown",
    );
}

#[test]
fn an_extension_of_another_type_is_refused_by_its_type() {
    let any = message(&[field(1, b"type.googleapis.com/envoy.config.core.v3.Node"), field(2, &[])]);
    refused(
        &resources_with_cluster(cluster(&[field(24, &message(&[field(1, b"x"), field(3, &any)]))])),
        "Cluster a: envoy.config.core.v3.TransportSocket.typed_config: \
         `envoy.config.core.v3.Node` is not supported here",
    );
}

#[test]
fn a_supported_field_with_an_unsupported_value_is_refused() {
    refused(
        &resources_with_cluster(cluster(&[number(6, 2)])),
        "Cluster a: envoy.config.cluster.v3.Cluster.lb_policy: \
         the cluster's HttpProtocolOptions have no hash_policy (Squall reads none from routes)",
    );
    refused(
        &resources_with_cluster(cluster(&[field(19, &field(24, &[]))])),
        "Cluster a: envoy.config.cluster.v3.OutlierDetection.monitors: not supported by Squall",
    );
    let retry = message(&[field(1, b"5xx,retriable-4xx")]);
    refused(
        &resources_with_route(&[field(2, &message(&[field(1, b"a"), field(9, &retry)]))]),
        "RouteConfiguration outbound: \
         envoy.config.route.v3.RouteConfiguration.virtual_hosts.routes.route.retry_policy.retry_on: \
         `retriable-4xx` is not supported",
    );
}

#[test]
fn an_empty_outlier_detection_is_envoys_own() {
    let mesh = decode(&resources_with_cluster(cluster(&[field(19, &[])]))).expect("supported");
    let policy = mesh.backends.values().next().expect("one cluster");
    // Envoy's default; Squall's control plane says true unless it is told otherwise.
    let want = OutlierConfig { always_eject_one: false, ..OutlierConfig::DEFAULT };
    assert_eq!((policy.outliers, policy.breaker), (Some(want), None));
}

#[test]
fn what_another_server_leaves_out_has_envoys_meaning() {
    let mesh = decode(&resources_with_route(&[field(
        2,
        &message(&[field(1, b"a"), field(9, &field(1, b"gateway-error,unavailable"))]),
    )]))
    .expect("supported");
    let policy = mesh.backends.values().next().expect("one cluster");
    assert_eq!(
        *policy,
        BackendPolicy {
            balancing: Balancing::RoundRobin,
            candidates: Candidates { panic_percent: 50, ..Candidates::default() },
            connect_timeout: std::time::Duration::from_secs(5),
            pool_idle: Some(std::time::Duration::from_secs(3600)),
            budget: Some(Budget::default()),
            ..BackendPolicy::default()
        }
    );
    let route = &mesh.hosts[0].routes[0];
    assert_eq!(route.timeouts.request, Some(std::time::Duration::from_secs(15)));
    assert_eq!(route.timeouts.idle, Some(std::time::Duration::from_secs(300)));
    let retry = route.retry.as_ref().expect("retried");
    assert_eq!((retry.retries, retry.non_idempotent), (1, true), "Envoy repeats every method");
    assert_eq!(retry.on, [RetryOn::GatewayError, RetryOn::Grpc(14)]);
}

#[test]
fn another_servers_hashing_is_followed_where_it_is_of_one_key() {
    let cookie = field(10, &message(&[field(2, &field(1, b"session")), number(4, 1)]));
    let header = field(10, &field(1, &field(1, b"X-User")));
    let options = http_options(&[cookie, header.clone()]);
    let bound = field(27, &field(7, &field(2, &number(1, 125))));
    let found = policy(&[number(6, 5), field(52, &field(1, &number(1, 251))), options, bound]);
    assert_eq!(
        found.balancing,
        Balancing::Hash(Hashing {
            table: HashTable::Maglev { size: 251 },
            keys: vec![HashKey::Cookie("session".into()), HashKey::Header("x-user".into())],
            bound_percent: Some(125),
            when_down: WhenDown::Next,
        })
    );
    let two = http_options(&[header.clone(), header]);
    refused(
        &resources_with_cluster(cluster(&[number(6, 2), two])),
        "Cluster a: envoy.config.cluster.v3.Cluster.lb_policy: \
         a hash_policy with others after it must be terminal: Squall hashes one key",
    );
    let address = http_options(&[field(10, &field(3, &number(1, 1)))]);
    refused(
        &resources_with_cluster(cluster(&[number(6, 2), address])),
        "Cluster a: envoy.config.cluster.v3.Cluster.lb_policy: \
         a hash_policy must be a header, a cookie or a query parameter",
    );
}

#[test]
fn another_servers_slow_start_panic_and_health_checks_are_followed() {
    let aggression = message(&[double(1, 1.1), field(2, b"key")]);
    let slow = message(&[field(1, &number(1, 30)), field(2, &aggression), field(3, &double(1, 25.0))]);
    let least = field(37, &message(&[field(2, &message(&[double(1, 0.5), field(2, b"key")])), field(3, &slow)]));
    let panic = field(27, &field(1, &double(1, 30.0)));
    let statuses = field(9, &message(&[number(1, 200), number(2, 300)]));
    let http = field(8, &message(&[field(2, b"/up"), statuses]));
    let times = message(&[field(1, &number(1, 1)), field(2, &number(1, 5))]);
    let check =
        field(8, &message(&[times.clone(), field(4, &number(1, 3)), field(5, &number(1, 2)), http, number(18, 7)]));
    let found = policy(&[number(6, 1), check, panic, least]);
    let second = std::time::Duration::from_secs(1);
    assert_eq!(
        found.candidates,
        Candidates {
            request_bias_permille: 500,
            panic_percent: 30,
            slow_start: Some(SlowStart { window: 30 * second, aggression_permille: 1100, min_weight_percent: 25 }),
            ..Candidates::default()
        }
    );
    assert_eq!(
        found.health,
        Some(HealthCheck {
            probe: Probe::Http { path: "/up".into(), expected: vec![200..=299] },
            interval: 5 * second,
            jitter_permille: 70,
            timeout: second,
            unhealthy_after: 3,
            healthy_after: 2,
        })
    );
    let grpc = message(&[field(11, &field(1, b"shop.Cart"))]);
    let by_grpc = message(&[times.clone(), field(4, &number(1, 3)), field(5, &number(1, 2)), grpc.clone()]);
    refused(
        &resources_with_cluster(cluster(&[field(8, &by_grpc)])),
        "Cluster a: envoy.config.cluster.v3.Cluster.health_checks.grpc_health_check: needs a cluster that speaks HTTP/2",
    );
    let with_authority = field(11, &message(&[field(1, b"shop.Cart"), field(2, b"cart")]));
    refused(
        &resources_with_cluster(cluster(&[field(8, &message(&[times.clone(), with_authority]))])),
        "Cluster a: envoy.config.core.v3.HealthCheck.GrpcHealthCheck.authority: not supported by Squall",
    );
    refused(
        &resources_with_cluster(cluster(&[field(8, &times)])),
        "Cluster a: envoy.config.cluster.v3.Cluster.health_checks: must be of one of HTTP, gRPC and TCP",
    );
}

fn any_of(name: &str, content: &[u8]) -> Vec<u8> {
    message(&[field(1, format!("type.googleapis.com/{name}").as_bytes()), field(2, content)])
}

/// A filter, or an HTTP filter, of this type.
fn filter(name: &str, content: &[u8]) -> Vec<u8> {
    message(&[field(1, b"any name"), field(4, &any_of(name, content))])
}

const HTTP_RBAC: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const NETWORK_RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";
const MANAGER: &str = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// Another server's inbound listener of port 80, with these filters.
fn with_inbound(filters: &[Vec<u8>]) -> Resources {
    let mut resources = encode(&Mesh::default());
    let address = field(1, &message(&[field(2, b"0.0.0.0"), number(3, 80)]));
    let chain = filters.iter().flat_map(|filter| field(3, filter)).collect::<Vec<u8>>();
    let listener =
        message(&[field(1, b"in"), field(2, &address), field(3, &chain), number(16, 1), field(26, &number(1, 0))]);
    resources.listeners.insert("in".to_owned(), listener.into());
    resources
}

/// A connection manager with these HTTP filters and a router.
fn manager(http_filters: &[Vec<u8>]) -> Vec<u8> {
    let route = message(&[
        field(1, &field(1, b"/")),
        field(2, &message(&[field(1, b"local"), field(8, &[])])),
        field(14, b"default"),
    ]);
    let host = message(&[field(1, b"inbound|http|80"), field(2, b"*"), field(3, &route)]);
    let routes = message(&[field(1, b"in"), field(2, &host)]);
    let router = filter("envoy.extensions.filters.http.router.v3.Router", &[]);
    let filters = http_filters.iter().chain([&router]).flat_map(|filter| field(5, filter)).collect::<Vec<u8>>();
    filter(MANAGER, &message(&[field(2, b"in"), field(4, &routes), filters, field(24, &[])]))
}

/// An RBAC filter's rules: one policy of this permission and this principal.
fn rules(action: u64, permission: &[u8], principal: &[u8]) -> Vec<u8> {
    let policy = message(&[field(1, permission), field(2, principal)]);
    message(&[number(1, action), field(2, &message(&[field(1, b"ns[shop]-policy[web]-rule[0]"), field(2, &policy)]))])
}

fn any() -> Vec<u8> {
    number(3, 1)
}

#[test]
fn another_servers_rules_of_access_are_followed() {
    // `from` an identity and not another, `to` GET or HEAD of a path.
    let named = |text: &[u8]| field(4, &field(2, text));
    let of_web = named(&field(1, b"spiffe://cluster.local/ns/shop/sa/web"));
    let not_bot = field(8, &named(&field(3, b"/sa/bot")));
    let principal = field(1, &message(&[field(1, &of_web), field(1, &not_bot)]));
    let method = |word: &[u8]| field(4, &message(&[field(1, b":method"), field(13, &field(1, word))]));
    let get = field(2, &message(&[field(1, &method(b"GET")), field(1, &method(b"HEAD"))]));
    let path = field(10, &field(1, &field(2, b"/cart")));
    let permission = field(1, &message(&[field(1, &get), field(1, &path)]));
    let allow = filter(HTTP_RBAC, &field(1, &rules(0, &permission, &principal)));
    let mesh = decode(&with_inbound(&[manager(&[allow])])).expect("all of it is supported");
    let access = &mesh.inbound[&80].access;
    for (peer, method, path, allowed) in [
        ("web", "GET", "/cart/1", true),
        ("web", "POST", "/cart/1", false),
        ("web", "HEAD", "/", false),
        ("bot", "GET", "/cart", false),
    ] {
        let peer = format!("spiffe://cluster.local/ns/shop/sa/{peer}");
        let found = access.decide(Asked { peer: Some(&peer), http: Some((method, path)) });
        assert_eq!(found.allowed, allowed, "{peer} {method} {path}");
        assert_eq!(found.by, allowed.then_some("ns[shop]-policy[web]-rule[0]"));
    }
    let deny = filter(NETWORK_RBAC, &message(&[field(1, &rules(1, &any(), &of_web)), field(3, b"tcp.")]));
    let proxy = filter("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", &field(2, b"local"));
    let mesh = decode(&with_inbound(&[deny, proxy])).expect("all of it is supported");
    assert_eq!(mesh.inbound[&80].protocol, Protocol::Tcp);
    assert_eq!(mesh.inbound[&80].access.deny.len(), 1);
}

#[test]
fn rules_of_access_that_squall_cannot_keep_are_refused_by_name() {
    let rbac = |permission: &[u8], principal: &[u8]| {
        with_inbound(&[manager(&[filter(HTTP_RBAC, &field(1, &rules(1, permission, principal)))])])
    };
    let range = message(&[field(1, b"10.0.0.0"), field(2, &number(1, 8))]);
    for (resources, want) in [
        (rbac(&any(), &field(5, &range)), "envoy.config.rbac.v3.Principal.source_ip: not supported by Squall"),
        (rbac(&any(), &field(11, &range)), "envoy.config.rbac.v3.Principal.remote_ip: not supported by Squall"),
        (rbac(&number(6, 80), &any()), "envoy.config.rbac.v3.Permission.destination_port: not supported by Squall"),
        (
            rbac(&field(9, &[]), &any()),
            "envoy.config.rbac.v3.Permission.requested_server_name: not supported by Squall",
        ),
        (
            rbac(&field(10, &field(1, &field(7, b"x"))), &any()),
            "envoy.type.matcher.v3.StringMatcher.contains: not supported by Squall",
        ),
        (
            rbac(&field(1, &field(1, &field(4, &field(1, b"x-user")))), &any()),
            "envoy.config.route.v3.HeaderMatcher.name: policy `ns[shop]-policy[web]-rule[0]`: `x-user` is not supported: \
             only :method is",
        ),
        (
            with_inbound(&[manager(&[filter(HTTP_RBAC, &field(4, &[]))])]),
            "envoy.extensions.filters.http.rbac.v3.RBAC.matcher: not supported by Squall",
        ),
        (
            with_inbound(&[filter(NETWORK_RBAC, &field(1, &rules(1, &any(), &any()))), manager(&[])]),
            "envoy.config.listener.v3.Listener.filter_chains.filters: Squall needs just one where requests are spoken: \
             RBAC filters go into http_filters",
        ),
        (
            with_inbound(&[filter(NETWORK_RBAC, &field(1, &rules(1, &any(), &any())))]),
            "envoy.config.listener.v3.Listener.filter_chains.filters: the last one must be the HTTP connection manager or \
             the TCP proxy",
        ),
    ] {
        refused(&resources, &format!("Listener in: {want}"));
    }
    // Nor are they taken where they would not hold: among those of the application's own requests.
    let mut resources = encode(&Mesh::default());
    let rds = message(&[field(1, &ads()), field(2, b"outbound")]);
    let rbac = filter(HTTP_RBAC, &field(1, &rules(1, &any(), &any())));
    let manager = filter(MANAGER, &message(&[field(2, b"out"), field(3, &rds), field(5, &rbac), field(24, &[])]));
    let listener = message(&[field(1, b"outbound"), field(3, &field(3, &manager)), number(16, 2)]);
    resources.listeners.insert("outbound".to_owned(), listener.into());
    refused(
        &resources,
        "Listener outbound: envoy.config.listener.v3.Listener.filter_chains.filters.http_filters: the last one must be \
         the router",
    );
}
