//! Which field of which message is supported, and the names of those that are not.
//!
//! Names and numbers are those of Envoy's API as of Envoy 1.40; a number that is in neither list is shown as `field 77`.

mod balance;
mod client;
pub(crate) mod fault;
pub(crate) mod gateway;
mod overload;
mod protection;
pub(crate) mod rbac;
mod redirect;
pub(crate) mod stream;

use Shape::{Any, AnyMap, Leaf, Message};

/// One message.
pub(crate) struct Table {
    /// Its full name.
    pub(crate) name: &'static str,
    /// Supported: number, name, what is in it.
    pub(crate) known: &'static [(u32, &'static str, Shape)],
    /// Refused: numbers and names, `5 prefix_rewrite, 7 cors`.
    pub(crate) refused: &'static str,
}

/// What is in a field.
pub(crate) enum Shape {
    /// A number, a text or an enum.
    Leaf,
    /// A message.
    Message(&'static Table),
    /// A `google.protobuf.Any` with one of these.
    Any(&'static [&'static Table]),
    /// A map from text to such an `Any`.
    AnyMap(&'static [&'static Table]),
}

pub(crate) static SPAN: Table =
    Table { name: "google.protobuf.Duration", known: &[(1, "seconds", Leaf), (2, "nanos", Leaf)], refused: "" };

pub(crate) static UINT32: Table =
    Table { name: "google.protobuf.UInt32Value", known: &[(1, "value", Leaf)], refused: "" };

pub(crate) static BOOL: Table = Table { name: "google.protobuf.BoolValue", known: &[(1, "value", Leaf)], refused: "" };

pub(crate) static PERCENT: Table = Table { name: "envoy.type.v3.Percent", known: &[(1, "value", Leaf)], refused: "" };

pub(crate) static STRING_MATCHER: Table = Table {
    name: "envoy.type.matcher.v3.StringMatcher",
    known: &[(1, "exact", Leaf)],
    refused: "2 prefix, 3 suffix, 5 safe_regex, 6 ignore_case, 7 contains, 8 custom",
};

pub(crate) static ADS: Table = Table { name: "envoy.config.core.v3.AggregatedConfigSource", known: &[], refused: "" };

pub(crate) static CONFIG_SOURCE: Table = Table {
    name: "envoy.config.core.v3.ConfigSource",
    known: &[(3, "ads", Message(&ADS)), (6, "resource_api_version", Leaf)],
    refused: "1 path, 2 api_config_source, 4 initial_fetch_timeout, 5 self, 7 authorities, 8 path_config_source",
};

pub(crate) static LOCALITY: Table =
    Table { name: "envoy.config.core.v3.Locality", known: &[(2, "zone", Leaf)], refused: "1 region, 3 sub_zone" };

pub(crate) static SOCKET_ADDRESS: Table = Table {
    name: "envoy.config.core.v3.SocketAddress",
    known: &[(1, "protocol", Leaf), (2, "address", Leaf), (3, "port_value", Leaf)],
    refused: "4 named_port, 5 resolver_name, 6 ipv4_compat, 7 network_namespace_filepath",
};

pub(crate) static ADDRESS: Table = Table {
    name: "envoy.config.core.v3.Address",
    known: &[(1, "socket_address", Message(&SOCKET_ADDRESS))],
    refused: "2 pipe, 3 envoy_internal_address",
};

pub(crate) static HEADER_VALUE: Table = Table {
    name: "envoy.config.core.v3.HeaderValue",
    known: &[(1, "key", Leaf), (2, "value", Leaf)],
    refused: "3 raw_value",
};

pub(crate) static HEADER_VALUE_OPTION: Table = Table {
    name: "envoy.config.core.v3.HeaderValueOption",
    known: &[(1, "header", Message(&HEADER_VALUE)), (3, "append_action", Leaf), (4, "keep_empty_value", Leaf)],
    refused: "2 append",
};

pub(crate) static LISTENER: Table = Table {
    name: "envoy.config.listener.v3.Listener",
    known: &[
        (1, "name", Leaf),
        (2, "address", Message(&ADDRESS)),
        (3, "filter_chains", Message(&FILTER_CHAIN)),
        (6, "metadata", Message(&LISTENER_METADATA)),
        (16, "traffic_direction", Leaf),
        (26, "bind_to_port", Message(&BOOL)),
    ],
    refused: "4 use_original_dst, 5 per_connection_buffer_limit_bytes, 7 deprecated_v1, 8 drain_type, 9 \
        listener_filters, 10 transparent, 11 freebind, 12 tcp_fast_open_queue_length, 13 socket_options, 15 \
        listener_filters_timeout, 17 continue_on_listener_filters_timeout, 18 udp_listener_config, 19 \
        api_listener, 20 connection_balance_config, 21 reuse_port, 22 access_log, 24 tcp_backlog_size, 25 \
        default_filter_chain, 27 internal_listener, 28 stat_prefix, 29 enable_reuse_port, 30 \
        enable_mptcp, 31 ignore_global_conn_limit, 32 filter_chain_matcher, 33 additional_addresses, 34 \
        max_connections_to_accept_per_socket_event, 35 bypass_overload_manager, 36 fcds_config, 37 tcp_keepalive, \
        38 per_connection_buffer_high_watermark_timeout, 39 stats_matcher",
};

pub(crate) static FILTER_CHAIN: Table = Table {
    name: "envoy.config.listener.v3.FilterChain",
    known: &[(3, "filters", Message(&FILTER)), (7, "name", Leaf)],
    refused: "1 filter_chain_match, 4 use_proxy_proto, 5 metadata, 6 transport_socket, 9 \
        transport_socket_connect_timeout",
};

pub(crate) static FILTER: Table = Table {
    name: "envoy.config.listener.v3.Filter",
    known: &[
        (1, "name", Leaf),
        (4, "typed_config", Any(&[&CONNECTION_MANAGER, &rbac::NETWORK_RBAC, &rbac::TCP_PROXY])),
    ],
    refused: "5 config_discovery",
};

pub(crate) static CONNECTION_MANAGER: Table = Table {
    name: "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    known: &[
        (1, "codec_type", Leaf),
        (2, "stat_prefix", Leaf),
        (3, "rds", Message(&RDS)),
        (4, "route_config", Message(&rbac::INLINE_ROUTES)),
        (5, "http_filters", Message(&HTTP_FILTER)),
        (24, "stream_idle_timeout", Message(&SPAN)),
    ],
    refused: "6 add_user_agent, 7 tracing, 8 http_protocol_options, 9 http2_protocol_options, 10 \
        server_name, 12 drain_timeout, 13 access_log, 14 use_remote_address, 15 generate_request_id, 16 \
        forward_client_cert_details, 17 set_current_client_cert_details, 18 proxy_100_continue, 19 \
        xff_num_trusted_hops, 20 represent_ipv4_remote_address_as_ipv4_mapped_ipv6, 21 skip_xff_append, 22 via, \
        23 upgrade_configs, 25 internal_address_config, 26 delayed_close_timeout, 28 request_timeout, 29 \
        max_request_headers_kb, 30 normalize_path, 31 scoped_routes, 32 preserve_external_request_id, 33 \
        merge_slashes, 34 server_header_transformation, 35 common_http_protocol_options, 36 request_id_extension, \
        37 always_set_request_id_in_response, 38 local_reply_config, 39 strip_matching_host_port, 40 \
        stream_error_on_invalid_http_message, 41 request_headers_timeout, 42 strip_any_host_port, 43 \
        path_normalization_options, 44 http3_protocol_options, 45 path_with_escaped_slashes_action, 46 \
        original_ip_detection_extensions, 47 strip_trailing_host_dot, 48 scheme_header_transformation, 49 \
        proxy_status_config, 50 typed_header_validation_config, 51 append_x_forwarded_port, 52 \
        early_header_mutation_extensions, 53 add_proxy_protocol_connection_state, 54 access_log_flush_interval, \
        55 flush_access_log_on_new_request, 56 access_log_options, 57 append_local_overload, 58 \
        http1_safe_max_connection_duration, 59 stream_flush_timeout, 60 forward_client_cert_matcher, 61 \
        forward_proto_config, 62 drain_timeout_jitter",
};

pub(crate) static RDS: Table = Table {
    name: "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
    known: &[(1, "config_source", Message(&CONFIG_SOURCE)), (2, "route_config_name", Leaf)],
    refused: "",
};

pub(crate) static HTTP_FILTER: Table = Table {
    name: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    known: &[(1, "name", Leaf), (4, "typed_config", Any(&[&fault::HTTP_FAULT, &rbac::HTTP_RBAC, &ROUTER]))],
    refused: "5 config_discovery, 6 is_optional, 7 disabled",
};

pub(crate) static ROUTER: Table = Table {
    name: "envoy.extensions.filters.http.router.v3.Router",
    known: &[],
    refused: "1 dynamic_stats, 2 start_child_span, 3 upstream_log, 4 suppress_envoy_headers, 5 strict_check_headers, 6 \
        respect_expected_rq_timeout, 7 suppress_grpc_request_failure_code_stats, 8 upstream_http_filters, 9 \
        upstream_log_options, 10 reject_connect_request_early_data",
};

pub(crate) static ROUTE_CONFIGURATION: Table = Table {
    name: "envoy.config.route.v3.RouteConfiguration",
    known: &[
        (1, "name", Leaf),
        (2, "virtual_hosts", Message(&VIRTUAL_HOST)),
        (17, "metadata", Message(&stream::ROUTES_METADATA)),
    ],
    refused: "3 internal_only_headers, 4 response_headers_to_add, 5 response_headers_to_remove, 6 \
        request_headers_to_add, 7 validate_clusters, 8 request_headers_to_remove, 9 vhds, 10 \
        most_specific_header_mutations_wins, 11 max_direct_response_body_size_bytes, 12 \
        cluster_specifier_plugins, 13 request_mirror_policies, 14 ignore_port_in_host_matching, 15 \
        ignore_path_parameters_in_path_matching, 16 typed_per_filter_config, 18 vhost_header, 19 \
        route_specifiers",
};

pub(crate) static VIRTUAL_HOST: Table = Table {
    name: "envoy.config.route.v3.VirtualHost",
    known: &[(1, "name", Leaf), (2, "domains", Leaf), (3, "routes", Message(&ROUTE))],
    refused: "4 require_tls, 5 virtual_clusters, 6 rate_limits, 7 request_headers_to_add, 8 cors, 10 \
        response_headers_to_add, 11 response_headers_to_remove, 13 request_headers_to_remove, 14 \
        include_request_attempt_count, 15 typed_per_filter_config, 16 retry_policy, 17 hedge_policy, 18 \
        per_request_buffer_limit_bytes, 19 include_attempt_count_in_response, 20 retry_policy_typed_config, 21 \
        matcher, 22 request_mirror_policies, 23 include_is_timeout_retry_header, 24 metadata, 25 \
        request_body_buffer_limit, 26 route_specifiers",
};

pub(crate) static ROUTE: Table = Table {
    name: "envoy.config.route.v3.Route",
    known: &[
        (1, "match", Message(&ROUTE_MATCH)),
        (2, "route", Message(&ROUTE_ACTION)),
        (3, "redirect", Message(&redirect::REDIRECT_ACTION)),
        (4, "metadata", Message(&ROUTE_METADATA)),
        (7, "direct_response", Message(&DIRECT_RESPONSE)),
        (9, "request_headers_to_add", Message(&HEADER_VALUE_OPTION)),
        (10, "response_headers_to_add", Message(&HEADER_VALUE_OPTION)),
        (11, "response_headers_to_remove", Leaf),
        (12, "request_headers_to_remove", Leaf),
        (13, "typed_per_filter_config", AnyMap(&[&fault::HTTP_FAULT])),
        (14, "name", Leaf),
        (16, "per_request_buffer_limit_bytes", Message(&UINT32)),
    ],
    refused: "5 decorator, 15 tracing, 17 filter_action, 18 \
        non_forwarding_action, 19 stat_prefix, 20 request_body_buffer_limit, 21 route_specifiers",
};

pub(crate) static ROUTE_MATCH: Table = Table {
    name: "envoy.config.route.v3.RouteMatch",
    known: &[
        (1, "prefix", Leaf),
        (2, "path", Leaf),
        (4, "case_sensitive", Message(&BOOL)),
        (6, "headers", Message(&HEADER_MATCHER)),
        (7, "query_parameters", Message(&QUERY_MATCHER)),
        (14, "path_separated_prefix", Leaf),
    ],
    refused: "8 grpc, 9 runtime_fraction, 10 safe_regex, 11 tls_context, 12 connect_matcher, 13 dynamic_metadata, 15 \
        path_match_policy, 16 filter_state, 17 cookies",
};

pub(crate) static HEADER_MATCHER: Table = Table {
    name: "envoy.config.route.v3.HeaderMatcher",
    known: &[(1, "name", Leaf), (4, "exact_match", Leaf), (13, "string_match", Message(&STRING_MATCHER))],
    refused: "6 range_match, 7 present_match, 8 invert_match, 9 prefix_match, 10 suffix_match, 11 safe_regex_match, 12 \
        contains_match, 14 treat_missing_header_as_empty",
};

pub(crate) static QUERY_MATCHER: Table = Table {
    name: "envoy.config.route.v3.QueryParameterMatcher",
    known: &[(1, "name", Leaf), (5, "string_match", Message(&STRING_MATCHER))],
    refused: "6 present_match",
};

static MAX_STREAM_DURATION: Table = Table {
    name: "envoy.config.route.v3.RouteAction.MaxStreamDuration",
    known: &[(1, "max_stream_duration", Message(&SPAN))],
    refused: "2 grpc_timeout_header_max, 3 grpc_timeout_header_offset",
};

pub(crate) static ROUTE_ACTION: Table = Table {
    name: "envoy.config.route.v3.RouteAction",
    known: &[
        (1, "cluster", Leaf),
        (3, "weighted_clusters", Message(&WEIGHTED_CLUSTER)),
        (8, "timeout", Message(&SPAN)),
        (9, "retry_policy", Message(&RETRY_POLICY)),
        (24, "idle_timeout", Message(&SPAN)),
        (36, "max_stream_duration", Message(&MAX_STREAM_DURATION)),
    ],
    refused: "2 cluster_header, 4 metadata_match, 5 prefix_rewrite, 6 host_rewrite_literal, 7 auto_host_rewrite, 11 \
        priority, 13 rate_limits, 14 include_vh_rate_limits, 15 hash_policy, 17 cors, 20 \
        cluster_not_found_response_code, 23 max_grpc_timeout, 25 upgrade_configs, 26 internal_redirect_action, 27 \
        hedge_policy, 28 grpc_timeout_offset, 29 host_rewrite_header, 30 request_mirror_policies, 31 \
        max_internal_redirects, 32 regex_rewrite, 33 retry_policy_typed_config, 34 internal_redirect_policy, 35 \
        host_rewrite_path_regex, 37 cluster_specifier_plugin, 38 append_x_forwarded_host, \
        39 inline_cluster_specifier_plugin, 40 early_data_policy, 41 path_rewrite_policy, 42 flush_timeout, 44 \
        host_rewrite, 45 path_rewrite",
};

pub(crate) static WEIGHTED_CLUSTER: Table = Table {
    name: "envoy.config.route.v3.WeightedCluster",
    known: &[(1, "clusters", Message(&CLUSTER_WEIGHT)), (3, "total_weight", Message(&UINT32))],
    refused: "2 runtime_key_prefix, 4 header_name, 5 use_hash_policy",
};

pub(crate) static CLUSTER_WEIGHT: Table = Table {
    name: "envoy.config.route.v3.WeightedCluster.ClusterWeight",
    known: &[(1, "name", Leaf), (2, "weight", Message(&UINT32))],
    refused: "3 metadata_match, 4 request_headers_to_add, 5 response_headers_to_add, 6 response_headers_to_remove, 9 \
        request_headers_to_remove, 10 typed_per_filter_config, 11 host_rewrite_literal, 12 cluster_header",
};

pub(crate) static RETRY_POLICY: Table = Table {
    name: "envoy.config.route.v3.RetryPolicy",
    known: &[
        (1, "retry_on", Leaf),
        (2, "num_retries", Message(&UINT32)),
        (3, "per_try_timeout", Message(&SPAN)),
        (7, "retriable_status_codes", Leaf),
        (8, "retry_back_off", Message(&RETRY_BACK_OFF)),
        (10, "retriable_request_headers", Message(&HEADER_MATCHER)),
    ],
    refused: "4 retry_priority, 5 retry_host_predicate, 6 host_selection_retry_max_attempts, 9 retriable_headers, 11 \
        rate_limited_retry_back_off, 12 retry_options_predicates, 13 per_try_idle_timeout, 14 \
        refresh_cluster_on_retry",
};

pub(crate) static RETRY_BACK_OFF: Table = Table {
    name: "envoy.config.route.v3.RetryPolicy.RetryBackOff",
    known: &[(1, "base_interval", Message(&SPAN)), (2, "max_interval", Message(&SPAN))],
    refused: "",
};

pub(crate) static DIRECT_RESPONSE: Table = Table {
    name: "envoy.config.route.v3.DirectResponseAction",
    known: &[(1, "status", Leaf)],
    refused: "2 body, 3 body_format",
};

pub(crate) static CLUSTER: Table = Table {
    name: "envoy.config.cluster.v3.Cluster",
    known: &[
        (1, "name", Leaf),
        (2, "type", Leaf),
        (3, "eds_cluster_config", Message(&EDS_CONFIG)),
        (4, "connect_timeout", Message(&SPAN)),
        (6, "lb_policy", Leaf),
        (8, "health_checks", Message(&balance::HEALTH_CHECK)),
        (10, "circuit_breakers", Message(&CIRCUIT_BREAKERS)),
        (19, "outlier_detection", Message(&protection::OUTLIER_DETECTION)),
        (23, "ring_hash_lb_config", Message(&balance::RING_HASH)),
        (24, "transport_socket", Message(&TRANSPORT_SOCKET)),
        (25, "metadata", Message(&CLUSTER_METADATA)),
        (27, "common_lb_config", Message(&balance::COMMON_LB)),
        (36, "typed_extension_protocol_options", AnyMap(&[&UPSTREAM_HTTP])),
        (37, "least_request_lb_config", Message(&LEAST_REQUEST)),
        (52, "maglev_lb_config", Message(&balance::MAGLEV)),
        (56, "round_robin_lb_config", Message(&balance::ROUND_ROBIN)),
    ],
    refused: "5 per_connection_buffer_limit_bytes, 9 max_requests_per_connection, 13 \
        http_protocol_options, 14 http2_protocol_options, 16 dns_refresh_rate, 17 dns_lookup_family, 18 \
        dns_resolvers, 20 cleanup_interval, 21 upstream_bind_config, 22 lb_subset_config, \
        26 protocol_selection, 28 alt_stat_name, 29 common_http_protocol_options, 30 \
        upstream_connection_options, 31 close_connections_on_host_health_failure, 32 \
        ignore_health_on_host_removal, 33 load_assignment, 34 original_dst_lb_config, 38 cluster_type, 39 \
        respect_dns_ttl, 40 filters, 41 load_balancing_policy, 42 lrs_server, 43 transport_socket_matches, 44 \
        dns_failure_refresh_rate, 45 use_tcp_for_dns_lookups, 46 upstream_http_protocol_options, 47 \
        track_timeout_budgets, 48 upstream_config, 49 track_cluster_stats, 50 preconnect_policy, 51 \
        connection_pool_per_downstream_connection, 53 dns_resolution_config, 54 \
        wait_for_warm_on_init, 55 typed_dns_resolver_config, 57 \
        lrs_report_endpoint_metrics, 58 dns_jitter, 59 transport_socket_matcher, 60 \
        per_connection_buffer_high_watermark_timeout, 61 stats_matcher, 62 queuing_policies",
};

pub(crate) static EDS_CONFIG: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.EdsClusterConfig",
    known: &[(1, "eds_config", Message(&CONFIG_SOURCE)), (2, "service_name", Leaf)],
    refused: "",
};

pub(crate) static LEAST_REQUEST: Table = Table {
    name: "envoy.config.cluster.v3.Cluster.LeastRequestLbConfig",
    known: &[
        (1, "choice_count", Message(&UINT32)),
        (2, "active_request_bias", Message(&balance::RUNTIME_DOUBLE)),
        (3, "slow_start_config", Message(&balance::SLOW_START)),
    ],
    refused: "",
};

pub(crate) static CIRCUIT_BREAKERS: Table = Table {
    name: "envoy.config.cluster.v3.CircuitBreakers",
    known: &[(1, "thresholds", Message(&THRESHOLDS))],
    refused: "2 per_host_thresholds",
};

pub(crate) static THRESHOLDS: Table = Table {
    name: "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    known: &[
        (1, "priority", Leaf),
        (2, "max_connections", Message(&UINT32)),
        (3, "max_pending_requests", Message(&UINT32)),
        (4, "max_requests", Message(&UINT32)),
        (5, "max_retries", Message(&UINT32)),
        (8, "retry_budget", Message(&RETRY_BUDGET)),
    ],
    refused: "6 track_remaining, 7 max_connection_pools",
};

pub(crate) static RETRY_BUDGET: Table = Table {
    name: "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
    known: &[(1, "budget_percent", Message(&PERCENT)), (2, "min_retry_concurrency", Message(&UINT32))],
    refused: "3 budget_interval",
};

pub(crate) static TRANSPORT_SOCKET: Table = Table {
    name: "envoy.config.core.v3.TransportSocket",
    known: &[(1, "name", Leaf), (3, "typed_config", Any(&[&UPSTREAM_TLS]))],
    refused: "",
};

pub(crate) static UPSTREAM_HTTP: Table = Table {
    name: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    known: &[
        (1, "common_http_protocol_options", Message(&COMMON_HTTP)),
        (3, "explicit_http_config", Message(&EXPLICIT_HTTP)),
        (10, "hash_policy", Message(&balance::HASH_POLICY)),
    ],
    refused: "2 upstream_http_protocol_options, 4 use_downstream_protocol_config, 5 auto_config, 6 http_filters, 7 \
        header_validation_config, 8 outlier_detection, 9 request_mirror_policies, 11 retry_policy",
};

pub(crate) static COMMON_HTTP: Table = Table {
    name: "envoy.config.core.v3.HttpProtocolOptions",
    known: &[(1, "idle_timeout", Message(&SPAN))],
    refused: "2 max_headers_count, 3 max_connection_duration, 4 max_stream_duration, 5 headers_with_underscores_action, \
        6 max_requests_per_connection, 7 max_response_headers_kb, 8 max_connection_duration_jitter",
};

pub(crate) static EXPLICIT_HTTP: Table = Table {
    name: "envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig",
    known: &[(1, "http_protocol_options", Message(&HTTP1)), (2, "http2_protocol_options", Message(&HTTP2))],
    refused: "3 http3_protocol_options",
};

pub(crate) static HTTP1: Table = Table {
    name: "envoy.config.core.v3.Http1ProtocolOptions",
    known: &[],
    refused: "1 allow_absolute_url, 2 accept_http_10, 3 default_host_for_http_10, 4 header_key_format, 5 \
        enable_trailers, 6 allow_chunked_length, 7 override_stream_error_on_invalid_http_message, 8 \
        send_fully_qualified_url, 9 use_balsa_parser, 10 allow_custom_methods, 11 ignore_http_11_upgrade",
};

pub(crate) static HTTP2: Table = Table {
    name: "envoy.config.core.v3.Http2ProtocolOptions",
    known: &[],
    refused: "1 hpack_table_size, 2 max_concurrent_streams, 3 initial_stream_window_size, 4 \
        initial_connection_window_size, 5 allow_connect, 6 allow_metadata, 7 max_outbound_frames, 8 \
        max_outbound_control_frames, 9 max_consecutive_inbound_frames_with_empty_payload, 10 \
        max_inbound_priority_frames_per_stream, 11 max_inbound_window_update_frames_per_data_frame_sent, 12 \
        stream_error_on_invalid_http_messaging, 13 custom_settings_parameters, 14 \
        override_stream_error_on_invalid_http_message, 15 connection_keepalive, 16 use_oghttp2_codec, 17 \
        max_metadata_size, 18 enable_huffman_encoding, 19 max_header_field_size_kb, 20 disallow_obs_text, 21 \
        stream_reset_burst, 22 stream_reset_rate",
};

pub(crate) static UPSTREAM_TLS: Table = Table {
    name: "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    known: &[(1, "common_tls_context", Message(&COMMON_TLS))],
    refused: "2 sni, 3 allow_renegotiation, 4 max_session_keys, 5 enforce_rsa_key_usage, 6 auto_host_sni, 7 \
        auto_sni_san_validation",
};

pub(crate) static COMMON_TLS: Table = Table {
    name: "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
    known: &[
        (4, "alpn_protocols", Leaf),
        (6, "tls_certificate_sds_secret_configs", Message(&SDS_SECRET)),
        (8, "combined_validation_context", Message(&COMBINED_VALIDATION)),
    ],
    refused: "1 tls_params, 2 tls_certificates, 3 validation_context, 7 validation_context_sds_secret_config, 9 \
        tls_certificate_certificate_provider, 10 validation_context_certificate_provider, 11 \
        tls_certificate_certificate_provider_instance, 12 validation_context_certificate_provider_instance, 13 \
        custom_handshaker, 14 tls_certificate_provider_instance, 15 key_log, 16 custom_tls_certificate_selector",
};

pub(crate) static SDS_SECRET: Table = Table {
    name: "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
    known: &[(1, "name", Leaf), (2, "sds_config", Message(&CONFIG_SOURCE))],
    refused: "",
};

pub(crate) static COMBINED_VALIDATION: Table = Table {
    name: "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
    known: &[
        (1, "default_validation_context", Message(&VALIDATION)),
        (2, "validation_context_sds_secret_config", Message(&SDS_SECRET)),
    ],
    refused: "3 validation_context_certificate_provider, 4 validation_context_certificate_provider_instance",
};

pub(crate) static VALIDATION: Table = Table {
    name: "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
    known: &[(15, "match_typed_subject_alt_names", Message(&SAN_MATCHER))],
    refused: "1 trusted_ca, 2 verify_certificate_hash, 3 verify_certificate_spki, 6 \
        require_signed_certificate_timestamp, 7 crl, 8 allow_expired_certificate, 9 match_subject_alt_names, 10 \
        trust_chain_verification, 11 watched_directory, 12 custom_validator_config, 13 \
        ca_certificate_provider_instance, 14 only_verify_leaf_cert_crl, 16 max_verify_depth, 17 \
        system_root_certs, 18 suppress_client_ca_list",
};

pub(crate) static SAN_MATCHER: Table = Table {
    name: "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
    known: &[(1, "san_type", Leaf), (2, "matcher", Message(&STRING_MATCHER))],
    refused: "3 oid",
};

pub(crate) static LOAD_ASSIGNMENT: Table = Table {
    name: "envoy.config.endpoint.v3.ClusterLoadAssignment",
    known: &[(1, "cluster_name", Leaf), (2, "endpoints", Message(&LOCALITY_ENDPOINTS))],
    refused: "4 policy, 5 named_endpoints",
};

pub(crate) static LOCALITY_ENDPOINTS: Table = Table {
    name: "envoy.config.endpoint.v3.LocalityLbEndpoints",
    known: &[
        (1, "locality", Message(&LOCALITY)),
        (2, "lb_endpoints", Message(&LB_ENDPOINT)),
        (3, "load_balancing_weight", Message(&UINT32)),
    ],
    refused: "5 priority, 6 proximity, 7 load_balancer_endpoints, 8 leds_cluster_locality_config, 9 metadata",
};

pub(crate) static LB_ENDPOINT: Table = Table {
    name: "envoy.config.endpoint.v3.LbEndpoint",
    known: &[
        (1, "endpoint", Message(&ENDPOINT)),
        (2, "health_status", Leaf),
        (3, "metadata", Message(&ENDPOINT_METADATA)),
        (4, "load_balancing_weight", Message(&UINT32)),
    ],
    refused: "5 endpoint_name",
};

pub(crate) static ENDPOINT: Table = Table {
    name: "envoy.config.endpoint.v3.Endpoint",
    known: &[(1, "address", Message(&ADDRESS))],
    refused: "2 health_check_config, 3 hostname, 4 additional_addresses, 5 observability_name",
};

pub(crate) static LISTENER_METADATA: Table = Table {
    name: "envoy.config.core.v3.Metadata",
    known: &[(2, "typed_filter_metadata", AnyMap(&[&INBOUND_PORT, &gateway::GATEWAY]))],
    refused: "1 filter_metadata",
};

pub(crate) static ROUTE_METADATA: Table = Table {
    name: "envoy.config.core.v3.Metadata",
    known: &[(2, "typed_filter_metadata", AnyMap(&[&SQUALL_ROUTE]))],
    refused: "1 filter_metadata",
};

pub(crate) static CLUSTER_METADATA: Table = Table {
    name: "envoy.config.core.v3.Metadata",
    known: &[(2, "typed_filter_metadata", AnyMap(&[&BACKEND]))],
    refused: "1 filter_metadata",
};

pub(crate) static ENDPOINT_METADATA: Table = Table {
    name: "envoy.config.core.v3.Metadata",
    known: &[(2, "typed_filter_metadata", AnyMap(&[&SQUALL_ENDPOINT]))],
    refused: "1 filter_metadata",
};

pub(crate) static SQUALL_ROUTE: Table = Table {
    name: "squall.v1alpha1.Route",
    known: &[(1, "retry", Message(&RETRY)), (2, "unserved", Message(&ROUTE_ACTION))],
    refused: "",
};

pub(crate) static RETRY: Table = Table {
    name: "squall.v1alpha1.Retry",
    known: &[(1, "on", Leaf), (2, "jitter", Leaf), (3, "non_idempotent", Leaf)],
    refused: "",
};

pub(crate) static BACKEND: Table = Table {
    name: "squall.v1alpha1.Backend",
    known: &[
        (1, "balancing", Message(&BALANCING)),
        (2, "breaker", Message(&protection::BREAKER)),
        (3, "outliers", Message(&protection::OUTLIERS)),
        (30, "service_breaker", Message(&protection::BREAKER)),
        (4, "budget", Message(&BUDGET)),
        (5, "queue_timeout", Message(&SPAN)),
        (20, "overload", Message(&overload::OVERLOAD)),
        (40, "candidates", Message(&balance::CANDIDATES)),
        (41, "hashing", Message(&balance::HASHING)),
        (42, "health", Message(&balance::SQUALL_HEALTH_CHECK)),
        (21, "client", Message(&client::CLIENT)),
        (50, "opaque", Leaf),
    ],
    refused: "",
};

pub(crate) static BALANCING: Table = Table {
    name: "squall.v1alpha1.Balancing",
    known: &[
        (1, "algorithm", Leaf),
        (2, "decay", Message(&SPAN)),
        (3, "default_rtt", Message(&SPAN)),
        (4, "choices", Leaf),
    ],
    refused: "",
};

pub(crate) static BUDGET: Table = Table {
    name: "squall.v1alpha1.Budget",
    known: &[(1, "percent", Leaf), (2, "min_per_second", Leaf), (3, "window", Message(&SPAN))],
    refused: "",
};

pub(crate) static SQUALL_ENDPOINT: Table =
    Table { name: "squall.v1alpha1.Endpoint", known: &[(1, "name", Leaf), (2, "identity", Leaf)], refused: "" };

pub(crate) static INBOUND_PORT: Table = Table {
    name: "squall.v1alpha1.InboundPort",
    known: &[
        (1, "port", Leaf),
        (2, "in_flight", Leaf),
        (3, "pending", Leaf),
        (4, "queue_timeout", Message(&SPAN)),
        (5, "protocol", Leaf),
        (6, "detect", Leaf),
        (7, "peers", Leaf),
        (20, "overload", Message(&overload::OVERLOAD)),
    ],
    refused: "",
};
