//! What Squall does not support is refused by name; what Envoy's servers leave out gets Envoy's meaning.

use bytes::Bytes;
use squall_policy::{BackendPolicy, Balancing, Budget, Mesh, OutlierConfig, RetryOn};
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
        &resources_with_route(&[field(3, &[])]),
        "RouteConfiguration outbound: envoy.config.route.v3.Route.redirect: not supported by Squall",
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
        "Cluster a: envoy.config.cluster.v3.Cluster.lb_policy: RING_HASH is not supported",
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
