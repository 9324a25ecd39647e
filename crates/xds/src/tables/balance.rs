//! Balancing and health checks: Envoy's words for them, and Squall's where it has none.

use super::Shape::{Leaf, Message};
use super::{PERCENT, SPAN, Table, UINT32};

pub(crate) static UINT64: Table =
    Table { name: "google.protobuf.UInt64Value", known: &[(1, "value", Leaf)], refused: "" };

pub(crate) static RUNTIME_DOUBLE: Table = Table {
    name: "envoy.config.core.v3.RuntimeDouble",
    known: &[(1, "default_value", Leaf), (2, "runtime_key", Leaf)],
    refused: "",
};

static INT64_RANGE: Table =
    Table { name: "envoy.type.v3.Int64Range", known: &[(1, "start", Leaf), (2, "end", Leaf)], refused: "" };

pub(crate) static RING_HASH: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.RingHashLbConfig",
    known: &[
        (1, "minimum_ring_size", Message(&UINT64)),
        (3, "hash_function", Leaf),
        (4, "maximum_ring_size", Message(&UINT64)),
    ],
    refused: "",
};

pub(crate) static MAGLEV: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.MaglevLbConfig",
    known: &[(1, "table_size", Message(&UINT64))],
    refused: "",
};

pub(crate) static ROUND_ROBIN: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.RoundRobinLbConfig",
    known: &[(1, "slow_start_config", Message(&SLOW_START))],
    refused: "",
};

pub(crate) static SLOW_START: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.SlowStartConfig",
    known: &[
        (1, "slow_start_window", Message(&SPAN)),
        (2, "aggression", Message(&RUNTIME_DOUBLE)),
        (3, "min_weight_percent", Message(&PERCENT)),
    ],
    refused: "",
};

pub(crate) static COMMON_LB: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.CommonLbConfig",
    known: &[
        (1, "healthy_panic_threshold", Message(&PERCENT)),
        (7, "consistent_hashing_lb_config", Message(&CONSISTENT_HASHING)),
    ],
    refused: "2 zone_aware_lb_config, 3 locality_weighted_lb_config, 4 update_merge_window, 5 \
        ignore_new_hosts_until_first_hc, 6 close_connections_on_host_set_change, 8 override_host_status",
};

static CONSISTENT_HASHING: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
    known: &[(2, "hash_balance_factor", Message(&UINT32))],
    refused: "1 use_hostname_for_hashing",
};

pub(crate) static HEALTH_CHECK: Table = Table {
    name: "envoy.config.core.v3.HealthCheck",
    known: &[
        (1, "timeout", Message(&SPAN)),
        (2, "interval", Message(&SPAN)),
        (4, "unhealthy_threshold", Message(&UINT32)),
        (5, "healthy_threshold", Message(&UINT32)),
        (8, "http_health_check", Message(&HTTP_HEALTH_CHECK)),
        (9, "tcp_health_check", Message(&TCP_HEALTH_CHECK)),
        (11, "grpc_health_check", Message(&GRPC_HEALTH_CHECK)),
        (12, "no_traffic_interval", Message(&SPAN)),
        (18, "interval_jitter_percent", Leaf),
    ],
    refused: "3 interval_jitter, 6 alt_port, 7 reuse_connection, 13 custom_health_check, 14 \
        unhealthy_interval, 15 unhealthy_edge_interval, 16 healthy_edge_interval, 17 event_log_path, 19 \
        always_log_health_check_failures, 20 initial_jitter, 21 tls_options, 22 event_service, 23 \
        transport_socket_match_criteria, 24 no_traffic_healthy_interval, 25 event_logger, 26 \
        always_log_health_check_success",
};

static HTTP_HEALTH_CHECK: Table = Table {
    name: "envoy.config.core.v3.HealthCheck.HttpHealthCheck",
    known: &[
        (2, "path", Leaf),
        (9, "expected_statuses", Message(&INT64_RANGE)),
        (10, "codec_client_type", Leaf),
        (12, "retriable_statuses", Message(&INT64_RANGE)),
    ],
    refused: "1 host, 3 send, 4 receive, 6 request_headers_to_add, 8 request_headers_to_remove, 11 \
        service_name_matcher, 13 method, 14 response_buffer_size",
};

static GRPC_HEALTH_CHECK: Table = Table {
    name: "envoy.config.core.v3.HealthCheck.GrpcHealthCheck",
    known: &[(1, "service_name", Leaf)],
    refused: "2 authority, 3 initial_metadata",
};

static TCP_HEALTH_CHECK: Table = Table {
    name: "envoy.config.core.v3.HealthCheck.TcpHealthCheck",
    known: &[],
    refused: "1 send, 2 receive, 3 proxy_protocol_config",
};

pub(crate) static HASH_POLICY: Table = Table {
    name: "envoy.config.route.v3.RouteAction.HashPolicy",
    known: &[
        (1, "header", Message(&HASH_HEADER)),
        (2, "cookie", Message(&HASH_COOKIE)),
        (3, "connection_properties", Message(&HASH_CONNECTION)),
        (4, "terminal", Leaf),
        (5, "query_parameter", Message(&HASH_QUERY)),
    ],
    refused: "6 filter_state",
};

static HASH_HEADER: Table = Table {
    name: "envoy.config.route.v3.RouteAction.HashPolicy.Header",
    known: &[(1, "header_name", Leaf)],
    refused: "2 regex_rewrite",
};

static HASH_COOKIE: Table = Table {
    name: "envoy.config.route.v3.RouteAction.HashPolicy.Cookie",
    known: &[(1, "name", Leaf)],
    refused: "2 ttl, 3 path, 4 attributes",
};

static HASH_QUERY: Table = Table {
    name: "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter",
    known: &[(1, "name", Leaf)],
    refused: "",
};

static HASH_CONNECTION: Table = Table {
    name: "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties",
    known: &[(1, "source_ip", Leaf)],
    refused: "",
};

pub(crate) static CANDIDATES: Table = Table {
    name: "squall.v1alpha1.Candidates",
    known: &[
        (1, "penalty_first", Message(&SPAN)),
        (2, "penalty_last", Message(&SPAN)),
        (3, "request_bias_permille", Leaf),
        (4, "overprovisioning_percent", Leaf),
        (5, "panic_percent", Leaf),
        (6, "slow_start", Message(&SQUALL_SLOW_START)),
        (7, "subset", Leaf),
    ],
    refused: "",
};

static SQUALL_SLOW_START: Table = Table {
    name: "squall.v1alpha1.SlowStart",
    known: &[(1, "window", Message(&SPAN)), (2, "aggression_permille", Leaf), (3, "min_weight_percent", Leaf)],
    refused: "",
};

pub(crate) static HASHING: Table = Table {
    name: "squall.v1alpha1.Hashing",
    known: &[
        (1, "ring_min", Leaf),
        (2, "ring_max", Leaf),
        (3, "maglev_size", Leaf),
        (4, "keys", Message(&HASH_KEY)),
        (5, "bound_percent", Leaf),
        (6, "refuses", Leaf),
    ],
    refused: "",
};

static HASH_KEY: Table =
    Table { name: "squall.v1alpha1.HashKey", known: &[(1, "kind", Leaf), (2, "name", Leaf)], refused: "" };

pub(crate) static SQUALL_HEALTH_CHECK: Table = Table {
    name: "squall.v1alpha1.HealthCheck",
    known: &[
        (1, "path", Leaf),
        (2, "expected", Leaf),
        (3, "interval", Message(&SPAN)),
        (4, "jitter_permille", Leaf),
        (5, "timeout", Message(&SPAN)),
        (6, "unhealthy_after", Leaf),
        (7, "healthy_after", Leaf),
        (8, "grpc", Message(&SQUALL_GRPC_HEALTH_CHECK)),
    ],
    refused: "",
};

static SQUALL_GRPC_HEALTH_CHECK: Table =
    Table { name: "squall.v1alpha1.GrpcHealthCheck", known: &[(1, "service", Leaf)], refused: "" };
