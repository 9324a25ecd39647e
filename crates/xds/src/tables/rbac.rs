//! Envoy's RBAC filters, for requests and for connections, and what stands beside the latter.

use super::Shape::{Leaf, Message};
use super::{BOOL, Table, VIRTUAL_HOST};

/// The routes of an inbound listener, which stand in it.
pub(crate) static INLINE_ROUTES: Table = Table {
    name: "envoy.config.route.v3.RouteConfiguration",
    known: &[(1, "name", Leaf), (2, "virtual_hosts", Message(&VIRTUAL_HOST)), (7, "validate_clusters", Message(&BOOL))],
    refused: "3 internal_only_headers, 4 response_headers_to_add, 5 response_headers_to_remove, 6 \
        request_headers_to_add, 8 request_headers_to_remove, 9 vhds, 10 most_specific_header_mutations_wins, 11 \
        max_direct_response_body_size_bytes, 12 cluster_specifier_plugins, 13 request_mirror_policies, 14 \
        ignore_port_in_host_matching, 15 ignore_path_parameters_in_path_matching, 16 typed_per_filter_config, 17 \
        metadata, 18 vhost_header, 19 route_specifiers",
};

pub(crate) static HTTP_RBAC: Table = Table {
    name: "envoy.extensions.filters.http.rbac.v3.RBAC",
    known: &[(1, "rules", Message(&RULES)), (2, "shadow_rules", Message(&RULES))],
    refused: "3 shadow_rules_stat_prefix, 4 matcher, 5 shadow_matcher, 6 rules_stat_prefix, 7 track_per_rule_stats",
};

pub(crate) static NETWORK_RBAC: Table = Table {
    name: "envoy.extensions.filters.network.rbac.v3.RBAC",
    known: &[(1, "rules", Message(&RULES)), (2, "shadow_rules", Message(&RULES)), (3, "stat_prefix", Leaf)],
    refused: "4 enforcement_type, 5 shadow_rules_stat_prefix, 6 matcher, 7 shadow_matcher, 8 delay_deny",
};

pub(crate) static TCP_PROXY: Table = Table {
    name: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    known: &[(1, "stat_prefix", Leaf), (2, "cluster", Leaf)],
    refused: "5 access_log, 7 max_connect_attempts, 8 idle_timeout, 9 metadata_match, 10 weighted_clusters, 11 \
        hash_policy, 12 tunneling_config, 13 max_downstream_connection_duration, 14 access_log_flush_interval, 15 \
        flush_access_log_on_connected, 16 on_demand, 17 access_log_options, 18 backoff_options, 19 \
        proxy_protocol_tlvs",
};

static RULES: Table = Table {
    name: "envoy.config.rbac.v3.RBAC",
    known: &[(1, "action", Leaf), (2, "policies", Message(&POLICIES))],
    refused: "3 audit_logging_options",
};

/// An entry of the map.
static POLICIES: Table = Table {
    name: "envoy.config.rbac.v3.RBAC.PoliciesEntry",
    known: &[(1, "key", Leaf), (2, "value", Message(&POLICY))],
    refused: "",
};

static POLICY: Table = Table {
    name: "envoy.config.rbac.v3.Policy",
    known: &[(1, "permissions", Message(&PERMISSION)), (2, "principals", Message(&PRINCIPAL))],
    refused: "3 condition, 4 checked_condition, 5 cel_config",
};

static PERMISSION: Table = Table {
    name: "envoy.config.rbac.v3.Permission",
    known: &[
        (1, "and_rules", Message(&PERMISSIONS)),
        (2, "or_rules", Message(&PERMISSIONS)),
        (3, "any", Leaf),
        (4, "header", Message(&HEADER)),
        (8, "not_rule", Message(&PERMISSION)),
        (10, "url_path", Message(&PATH)),
    ],
    refused: "5 destination_ip, 6 destination_port, 7 metadata, 9 requested_server_name, 11 destination_port_range, 12 \
        matcher, 13 uri_template, 14 sourced_metadata",
};

static PERMISSIONS: Table =
    Table { name: "envoy.config.rbac.v3.Permission.Set", known: &[(1, "rules", Message(&PERMISSION))], refused: "" };

static PRINCIPAL: Table = Table {
    name: "envoy.config.rbac.v3.Principal",
    known: &[
        (1, "and_ids", Message(&PRINCIPALS)),
        (2, "or_ids", Message(&PRINCIPALS)),
        (3, "any", Leaf),
        (4, "authenticated", Message(&AUTHENTICATED)),
        (8, "not_id", Message(&PRINCIPAL)),
    ],
    refused: "5 source_ip, 6 header, 7 metadata, 9 url_path, 10 direct_remote_ip, 11 remote_ip, 12 filter_state, 13 \
        sourced_metadata, 14 custom",
};

static PRINCIPALS: Table =
    Table { name: "envoy.config.rbac.v3.Principal.Set", known: &[(1, "ids", Message(&PRINCIPAL))], refused: "" };

static AUTHENTICATED: Table = Table {
    name: "envoy.config.rbac.v3.Principal.Authenticated",
    known: &[(2, "principal_name", Message(&TEXT))],
    refused: "",
};

static TEXT: Table = Table {
    name: "envoy.type.matcher.v3.StringMatcher",
    known: &[(1, "exact", Leaf), (2, "prefix", Leaf), (3, "suffix", Leaf), (5, "safe_regex", Message(&REGEX))],
    refused: "6 ignore_case, 7 contains, 8 custom",
};

static REGEX: Table =
    Table { name: "envoy.type.matcher.v3.RegexMatcher", known: &[(2, "regex", Leaf)], refused: "1 google_re2" };

static PATH: Table =
    Table { name: "envoy.type.matcher.v3.PathMatcher", known: &[(1, "path", Message(&TEXT))], refused: "" };

static HEADER: Table = Table {
    name: "envoy.config.route.v3.HeaderMatcher",
    known: &[(1, "name", Leaf), (7, "present_match", Leaf), (13, "string_match", Message(&TEXT))],
    refused: "4 exact_match, 6 range_match, 8 invert_match, 9 prefix_match, 10 suffix_match, 11 safe_regex_match, 12 \
        contains_match, 14 treat_missing_header_as_empty",
};
