//! Who may ask for what, in Envoy's words: its two RBAC filters and the rules in them. What is a `oneof` there is a field for each case here;
//! whoever reads it sees to it that there is just one.

use std::collections::BTreeMap;

// envoy.extensions.filters.http.rbac.v3, envoy.extensions.filters.network.rbac.v3, envoy.extensions.filters.network.tcp_proxy.v3
messages! {
    HttpRbac {
        rules: Option<Rules> => (message, optional, tag = "1"),
        shadow_rules: Option<Rules> => (message, optional, tag = "2"),
    }
    NetworkRbac {
        rules: Option<Rules> => (message, optional, tag = "1"),
        shadow_rules: Option<Rules> => (message, optional, tag = "2"),
        stat_prefix: String => (string, tag = "3"),
    }
    TcpProxy {
        stat_prefix: String => (string, tag = "1"),
        cluster: Option<String> => (string, optional, tag = "2"),
    }
}

// envoy.config.rbac.v3
messages! {
    Rules {
        /// 0 ALLOW, 1 DENY, 2 LOG.
        action: i32 => (int32, tag = "1"),
        policies: BTreeMap<String, Policy> => (btree_map = "string, message", tag = "2"),
    }
    Policy {
        permissions: Vec<Permission> => (message, repeated, tag = "1"),
        principals: Vec<Principal> => (message, repeated, tag = "2"),
    }
    Permission {
        and_rules: Option<Permissions> => (message, optional, tag = "1"),
        or_rules: Option<Permissions> => (message, optional, tag = "2"),
        any: Option<bool> => (bool, optional, tag = "3"),
        header: Option<Header> => (message, optional, tag = "4"),
        not_rule: Option<Box<Permission>> => (message, optional, boxed, tag = "8"),
        url_path: Option<Path> => (message, optional, tag = "10"),
    }
    Permissions { rules: Vec<Permission> => (message, repeated, tag = "1"), }
    Principal {
        and_ids: Option<Principals> => (message, optional, tag = "1"),
        or_ids: Option<Principals> => (message, optional, tag = "2"),
        any: Option<bool> => (bool, optional, tag = "3"),
        authenticated: Option<Authenticated> => (message, optional, tag = "4"),
        not_id: Option<Box<Principal>> => (message, optional, boxed, tag = "8"),
    }
    Principals { ids: Vec<Principal> => (message, repeated, tag = "1"), }
    /// Without a name: whoever has proved one.
    Authenticated { principal_name: Option<Text> => (message, optional, tag = "2"), }
}

// envoy.type.matcher.v3, envoy.config.route.v3
messages! {
    Text {
        exact: Option<String> => (string, optional, tag = "1"),
        prefix: Option<String> => (string, optional, tag = "2"),
        suffix: Option<String> => (string, optional, tag = "3"),
        safe_regex: Option<Regex> => (message, optional, tag = "5"),
    }
    Regex { regex: String => (string, tag = "2"), }
    Path { path: Option<Text> => (message, optional, tag = "1"), }
    Header {
        name: String => (string, tag = "1"),
        present_match: Option<bool> => (bool, optional, tag = "7"),
        string_match: Option<Text> => (message, optional, tag = "13"),
    }
}
