//! The protobuf messages that are spoken: the supported subset of Envoy's v3 API, and Squall's extensions of it.
//!
//! Field numbers are those of Envoy's public API definition. What is left out here is refused by [`crate::tables`] before
//! a message is decoded, so that leaving out is never ignoring.

use std::collections::BTreeMap;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty => ($($prost:tt)*),)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, ::prost::Message)]
        pub(crate) struct $name {
            $($(#[$field_doc])* #[prost($($prost)*)] pub(crate) $field: $type,)*
        }
    )*};
}

pub(crate) mod rbac;

// google.protobuf, google.rpc, envoy.type
messages! {
    Any { type_url: String => (string, tag = "1"), value: Vec<u8> => (bytes = "vec", tag = "2"), }
    #[derive(Copy)]
    Span { seconds: i64 => (int64, tag = "1"), nanos: i32 => (int32, tag = "2"), }
    #[derive(Copy)]
    UInt32 { value: u32 => (uint32, tag = "1"), }
    #[derive(Copy)]
    Bool { value: bool => (bool, tag = "1"), }
    #[derive(Copy)]
    UInt64 { value: u64 => (uint64, tag = "1"), }
    #[derive(Copy)]
    Int64Range { start: i64 => (int64, tag = "1"), end: i64 => (int64, tag = "2"), }
    RuntimeDouble {
        default_value: f64 => (double, tag = "1"),
        runtime_key: String => (string, tag = "2"),
    }
    #[derive(Copy)]
    Percent { value: f64 => (double, tag = "1"), }
    Status { code: i32 => (int32, tag = "1"), message: String => (string, tag = "2"), }
    StringMatcher { exact: Option<String> => (string, optional, tag = "1"), }
    #[derive(Copy)]
    Empty {}
}

// envoy.service.discovery.v3, envoy.config.core.v3
messages! {
    DiscoveryRequest {
        version_info: String => (string, tag = "1"),
        node: Option<Node> => (message, optional, tag = "2"),
        resource_names: Vec<String> => (string, repeated, tag = "3"),
        type_url: String => (string, tag = "4"),
        response_nonce: String => (string, tag = "5"),
        error_detail: Option<Status> => (message, optional, tag = "6"),
    }
    DiscoveryResponse {
        version_info: String => (string, tag = "1"),
        resources: Vec<Any> => (message, repeated, tag = "2"),
        type_url: String => (string, tag = "4"),
        nonce: String => (string, tag = "5"),
    }
    Node {
        id: String => (string, tag = "1"),
        cluster: String => (string, tag = "2"),
        user_agent_name: String => (string, tag = "6"),
    }
    Locality { zone: String => (string, tag = "2"), }
    Metadata { typed: BTreeMap<String, Any> => (btree_map = "string, message", tag = "2"), }
    Address { socket: Option<SocketAddress> => (message, optional, tag = "1"), }
    SocketAddress {
        protocol: i32 => (int32, tag = "1"),
        address: String => (string, tag = "2"),
        port: u32 => (uint32, tag = "3"),
    }
    #[derive(Copy)]
    ConfigSource {
        ads: Option<Empty> => (message, optional, tag = "3"),
        /// 2 is V3.
        resource_api_version: i32 => (int32, tag = "6"),
    }
    HeaderValue { key: String => (string, tag = "1"), value: String => (string, tag = "2"), }
    HeaderValueOption {
        header: Option<HeaderValue> => (message, optional, tag = "1"),
        /// 0 append, 2 overwrite or add.
        append_action: i32 => (int32, tag = "3"),
        keep_empty_value: bool => (bool, tag = "4"),
    }
    TransportSocket {
        name: String => (string, tag = "1"),
        typed_config: Option<Any> => (message, optional, tag = "3"),
    }
}

// envoy.config.listener.v3, the HTTP connection manager and its router filter
messages! {
    Listener {
        name: String => (string, tag = "1"),
        address: Option<Address> => (message, optional, tag = "2"),
        filter_chains: Vec<FilterChain> => (message, repeated, tag = "3"),
        metadata: Option<Metadata> => (message, optional, tag = "6"),
        /// 1 is INBOUND, 2 OUTBOUND.
        traffic_direction: i32 => (int32, tag = "16"),
        bind_to_port: Option<Bool> => (message, optional, tag = "26"),
    }
    FilterChain {
        filters: Vec<Filter> => (message, repeated, tag = "3"),
        name: String => (string, tag = "7"),
    }
    Filter {
        name: String => (string, tag = "1"),
        typed_config: Option<Any> => (message, optional, tag = "4"),
    }
    ConnectionManager {
        codec_type: i32 => (int32, tag = "1"),
        stat_prefix: String => (string, tag = "2"),
        rds: Option<Rds> => (message, optional, tag = "3"),
        route_config: Option<RouteConfiguration> => (message, optional, tag = "4"),
        http_filters: Vec<Filter> => (message, repeated, tag = "5"),
        stream_idle_timeout: Option<Span> => (message, optional, tag = "24"),
    }
    Rds {
        config_source: Option<ConfigSource> => (message, optional, tag = "1"),
        route_config_name: String => (string, tag = "2"),
    }
}

// envoy.config.route.v3
messages! {
    RouteConfiguration {
        name: String => (string, tag = "1"),
        virtual_hosts: Vec<VirtualHost> => (message, repeated, tag = "2"),
        validate_clusters: Option<Bool> => (message, optional, tag = "7"),
        metadata: Option<Metadata> => (message, optional, tag = "17"),
    }
    VirtualHost {
        name: String => (string, tag = "1"),
        domains: Vec<String> => (string, repeated, tag = "2"),
        routes: Vec<Route> => (message, repeated, tag = "3"),
    }
    Route {
        matches: Option<RouteMatch> => (message, optional, tag = "1"),
        action: Option<RouteAction> => (message, optional, tag = "2"),
        redirect: Option<RedirectAction> => (message, optional, tag = "3"),
        metadata: Option<Metadata> => (message, optional, tag = "4"),
        direct_response: Option<DirectResponse> => (message, optional, tag = "7"),
        request_headers_to_add: Vec<HeaderValueOption> => (message, repeated, tag = "9"),
        response_headers_to_add: Vec<HeaderValueOption> => (message, repeated, tag = "10"),
        response_headers_to_remove: Vec<String> => (string, repeated, tag = "11"),
        request_headers_to_remove: Vec<String> => (string, repeated, tag = "12"),
        filter_config: BTreeMap<String, Any> => (btree_map = "string, message", tag = "13"),
        name: String => (string, tag = "14"),
        buffer_bytes: Option<UInt32> => (message, optional, tag = "16"),
    }
    RedirectAction {
        host_redirect: String => (string, tag = "1"),
        path_redirect: Option<String> => (string, optional, tag = "2"),
        response_code: u32 => (uint32, tag = "3"),
        prefix_rewrite: Option<String> => (string, optional, tag = "5"),
        scheme_redirect: Option<String> => (string, optional, tag = "7"),
        port_redirect: u32 => (uint32, tag = "8"),
    }
    RouteMatch {
        prefix: Option<String> => (string, optional, tag = "1"),
        path: Option<String> => (string, optional, tag = "2"),
        case_sensitive: Option<Bool> => (message, optional, tag = "4"),
        headers: Vec<HeaderMatcher> => (message, repeated, tag = "6"),
        query: Vec<QueryMatcher> => (message, repeated, tag = "7"),
        path_separated_prefix: Option<String> => (string, optional, tag = "14"),
    }
    HeaderMatcher {
        name: String => (string, tag = "1"),
        exact_match: Option<String> => (string, optional, tag = "4"),
        string_match: Option<StringMatcher> => (message, optional, tag = "13"),
    }
    QueryMatcher {
        name: String => (string, tag = "1"),
        string_match: Option<StringMatcher> => (message, optional, tag = "5"),
    }
    RouteAction {
        cluster: Option<String> => (string, optional, tag = "1"),
        weighted: Option<WeightedCluster> => (message, optional, tag = "3"),
        timeout: Option<Span> => (message, optional, tag = "8"),
        retry_policy: Option<RetryPolicy> => (message, optional, tag = "9"),
        idle_timeout: Option<Span> => (message, optional, tag = "24"),
        max_stream_duration: Option<MaxStreamDuration> => (message, optional, tag = "36"),
    }
    WeightedCluster {
        clusters: Vec<ClusterWeight> => (message, repeated, tag = "1"),
        total_weight: Option<UInt32> => (message, optional, tag = "3"),
    }
    ClusterWeight {
        name: String => (string, tag = "1"),
        weight: Option<UInt32> => (message, optional, tag = "2"),
    }
    RetryPolicy {
        retry_on: String => (string, tag = "1"),
        num_retries: Option<UInt32> => (message, optional, tag = "2"),
        per_try_timeout: Option<Span> => (message, optional, tag = "3"),
        retriable_status_codes: Vec<u32> => (uint32, repeated, tag = "7"),
        back_off: Option<RetryBackOff> => (message, optional, tag = "8"),
        retriable_request_headers: Vec<HeaderMatcher> => (message, repeated, tag = "10"),
    }
    RetryBackOff {
        base_interval: Option<Span> => (message, optional, tag = "1"),
        max_interval: Option<Span> => (message, optional, tag = "2"),
    }
    #[derive(Copy)]
    MaxStreamDuration { max_stream_duration: Option<Span> => (message, optional, tag = "1"), }
    DirectResponse { status: u32 => (uint32, tag = "1"), }
}

// envoy.extensions.filters.http.fault.v3
messages! {
    HttpFault {
        delay: Option<FaultDelay> => (message, optional, tag = "1"),
        abort: Option<FaultAbort> => (message, optional, tag = "2"),
        headers: Vec<HeaderMatcher> => (message, repeated, tag = "4"),
    }
    #[derive(Copy)]
    FaultDelay {
        fixed_delay: Option<Span> => (message, optional, tag = "3"),
        percentage: Option<FractionalPercent> => (message, optional, tag = "4"),
    }
    #[derive(Copy)]
    FaultAbort {
        http_status: Option<u32> => (uint32, optional, tag = "2"),
        percentage: Option<FractionalPercent> => (message, optional, tag = "3"),
        grpc_status: Option<u32> => (uint32, optional, tag = "5"),
    }
    #[derive(Copy)]
    FractionalPercent {
        numerator: u32 => (uint32, tag = "1"),
        /// 0 hundred, 1 ten thousand, 2 million.
        denominator: i32 => (int32, tag = "2"),
    }
}

// envoy.config.cluster.v3, upstream HTTP and TLS
messages! {
    Cluster {
        name: String => (string, tag = "1"),
        /// 3 is EDS.
        discovery_type: i32 => (int32, tag = "2"),
        eds: Option<EdsConfig> => (message, optional, tag = "3"),
        connect_timeout: Option<Span> => (message, optional, tag = "4"),
        /// 0 round robin, 1 least request, 2 ring hash, 3 random, 5 Maglev.
        lb_policy: i32 => (int32, tag = "6"),
        health_checks: Vec<HealthCheck> => (message, repeated, tag = "8"),
        circuit_breakers: Option<CircuitBreakers> => (message, optional, tag = "10"),
        outlier_detection: Option<OutlierDetection> => (message, optional, tag = "19"),
        ring_hash: Option<RingHash> => (message, optional, tag = "23"),
        transport_socket: Option<TransportSocket> => (message, optional, tag = "24"),
        metadata: Option<Metadata> => (message, optional, tag = "25"),
        common_lb: Option<CommonLb> => (message, optional, tag = "27"),
        protocol_options: BTreeMap<String, Any> => (btree_map = "string, message", tag = "36"),
        least_request: Option<LeastRequest> => (message, optional, tag = "37"),
        maglev: Option<MaglevLb> => (message, optional, tag = "52"),
        round_robin: Option<RoundRobin> => (message, optional, tag = "56"),
    }
    EdsConfig {
        eds_config: Option<ConfigSource> => (message, optional, tag = "1"),
        service_name: String => (string, tag = "2"),
    }
    LeastRequest {
        choice_count: Option<UInt32> => (message, optional, tag = "1"),
        active_request_bias: Option<RuntimeDouble> => (message, optional, tag = "2"),
        slow_start: Option<SlowStart> => (message, optional, tag = "3"),
    }
    RoundRobin { slow_start: Option<SlowStart> => (message, optional, tag = "1"), }
    SlowStart {
        window: Option<Span> => (message, optional, tag = "1"),
        aggression: Option<RuntimeDouble> => (message, optional, tag = "2"),
        min_weight_percent: Option<Percent> => (message, optional, tag = "3"),
    }
    #[derive(Copy)]
    RingHash {
        minimum_ring_size: Option<UInt64> => (message, optional, tag = "1"),
        /// 0 is XX_HASH.
        hash_function: i32 => (int32, tag = "3"),
        maximum_ring_size: Option<UInt64> => (message, optional, tag = "4"),
    }
    #[derive(Copy)]
    MaglevLb { table_size: Option<UInt64> => (message, optional, tag = "1"), }
    #[derive(Copy)]
    CommonLb {
        healthy_panic_threshold: Option<Percent> => (message, optional, tag = "1"),
        consistent_hashing: Option<ConsistentHashing> => (message, optional, tag = "7"),
    }
    #[derive(Copy)]
    ConsistentHashing { hash_balance_factor: Option<UInt32> => (message, optional, tag = "2"), }
    HealthCheck {
        timeout: Option<Span> => (message, optional, tag = "1"),
        interval: Option<Span> => (message, optional, tag = "2"),
        unhealthy_threshold: Option<UInt32> => (message, optional, tag = "4"),
        healthy_threshold: Option<UInt32> => (message, optional, tag = "5"),
        http: Option<HttpHealthCheck> => (message, optional, tag = "8"),
        tcp: Option<Empty> => (message, optional, tag = "9"),
        grpc: Option<GrpcHealthCheck> => (message, optional, tag = "11"),
        no_traffic_interval: Option<Span> => (message, optional, tag = "12"),
        interval_jitter_percent: u32 => (uint32, tag = "18"),
    }
    GrpcHealthCheck { service_name: String => (string, tag = "1"), }
    HttpHealthCheck {
        path: String => (string, tag = "2"),
        expected_statuses: Vec<Int64Range> => (message, repeated, tag = "9"),
        /// 1 is HTTP2.
        codec: i32 => (int32, tag = "10"),
        retriable_statuses: Vec<Int64Range> => (message, repeated, tag = "12"),
    }
    HashPolicy {
        header: Option<HashHeader> => (message, optional, tag = "1"),
        cookie: Option<HashName> => (message, optional, tag = "2"),
        connection: Option<HashConnection> => (message, optional, tag = "3"),
        terminal: bool => (bool, tag = "4"),
        query: Option<HashName> => (message, optional, tag = "5"),
    }
    HashHeader { header_name: String => (string, tag = "1"), }
    HashName { name: String => (string, tag = "1"), }
    #[derive(Copy)]
    HashConnection { source_ip: bool => (bool, tag = "1"), }
    CircuitBreakers { thresholds: Vec<Thresholds> => (message, repeated, tag = "1"), }
    Thresholds {
        /// 0 is DEFAULT.
        priority: i32 => (int32, tag = "1"),
        max_connections: Option<UInt32> => (message, optional, tag = "2"),
        max_pending_requests: Option<UInt32> => (message, optional, tag = "3"),
        max_requests: Option<UInt32> => (message, optional, tag = "4"),
        max_retries: Option<UInt32> => (message, optional, tag = "5"),
        retry_budget: Option<RetryBudget> => (message, optional, tag = "8"),
    }
    RetryBudget {
        budget_percent: Option<Percent> => (message, optional, tag = "1"),
        min_retry_concurrency: Option<UInt32> => (message, optional, tag = "2"),
    }
    OutlierDetection {
        consecutive_5xx: Option<UInt32> => (message, optional, tag = "1"),
        interval: Option<Span> => (message, optional, tag = "2"),
        base_ejection_time: Option<Span> => (message, optional, tag = "3"),
        max_ejection_percent: Option<UInt32> => (message, optional, tag = "4"),
        enforcing_consecutive_5xx: Option<UInt32> => (message, optional, tag = "5"),
        enforcing_success_rate: Option<UInt32> => (message, optional, tag = "6"),
        success_rate_minimum_hosts: Option<UInt32> => (message, optional, tag = "7"),
        success_rate_request_volume: Option<UInt32> => (message, optional, tag = "8"),
        success_rate_stdev_factor: Option<UInt32> => (message, optional, tag = "9"),
        consecutive_gateway_failure: Option<UInt32> => (message, optional, tag = "10"),
        enforcing_consecutive_gateway_failure: Option<UInt32> => (message, optional, tag = "11"),
        split_external_local_origin_errors: bool => (bool, tag = "12"),
        consecutive_local_origin_failure: Option<UInt32> => (message, optional, tag = "13"),
        enforcing_consecutive_local_origin_failure: Option<UInt32> => (message, optional, tag = "14"),
        enforcing_local_origin_success_rate: Option<UInt32> => (message, optional, tag = "15"),
        failure_percentage_threshold: Option<UInt32> => (message, optional, tag = "16"),
        enforcing_failure_percentage: Option<UInt32> => (message, optional, tag = "17"),
        enforcing_failure_percentage_local_origin: Option<UInt32> => (message, optional, tag = "18"),
        failure_percentage_minimum_hosts: Option<UInt32> => (message, optional, tag = "19"),
        failure_percentage_request_volume: Option<UInt32> => (message, optional, tag = "20"),
        max_ejection_time: Option<Span> => (message, optional, tag = "21"),
        max_ejection_time_jitter: Option<Span> => (message, optional, tag = "22"),
        always_eject_one_host: Option<Bool> => (message, optional, tag = "25"),
    }
    UpstreamHttp {
        common: Option<CommonHttp> => (message, optional, tag = "1"),
        explicit: Option<ExplicitHttp> => (message, optional, tag = "3"),
        hash_policy: Vec<HashPolicy> => (message, repeated, tag = "10"),
    }
    #[derive(Copy)]
    CommonHttp { idle_timeout: Option<Span> => (message, optional, tag = "1"), }
    #[derive(Copy)]
    ExplicitHttp {
        http1: Option<Empty> => (message, optional, tag = "1"),
        http2: Option<Empty> => (message, optional, tag = "2"),
    }
    UpstreamTls { common: Option<CommonTls> => (message, optional, tag = "1"), }
    CommonTls {
        alpn_protocols: Vec<String> => (string, repeated, tag = "4"),
        certificates: Vec<SdsSecret> => (message, repeated, tag = "6"),
        validation: Option<CombinedValidation> => (message, optional, tag = "8"),
    }
    SdsSecret {
        name: String => (string, tag = "1"),
        sds_config: Option<ConfigSource> => (message, optional, tag = "2"),
    }
    CombinedValidation {
        default: Option<Validation> => (message, optional, tag = "1"),
        roots: Option<SdsSecret> => (message, optional, tag = "2"),
    }
    Validation { names: Vec<SanMatcher> => (message, repeated, tag = "15"), }
    SanMatcher {
        /// 3 is URI.
        san_type: i32 => (int32, tag = "1"),
        matcher: Option<StringMatcher> => (message, optional, tag = "2"),
    }
}

// envoy.config.endpoint.v3
messages! {
    LoadAssignment {
        cluster_name: String => (string, tag = "1"),
        localities: Vec<LocalityEndpoints> => (message, repeated, tag = "2"),
    }
    LocalityEndpoints {
        locality: Option<Locality> => (message, optional, tag = "1"),
        endpoints: Vec<LbEndpoint> => (message, repeated, tag = "2"),
        weight: Option<UInt32> => (message, optional, tag = "3"),
    }
    LbEndpoint {
        endpoint: Option<Endpoint> => (message, optional, tag = "1"),
        /// 0 unknown, 1 healthy, 2 unhealthy, 3 draining, 4 timeout, 5 degraded.
        health: i32 => (int32, tag = "2"),
        metadata: Option<Metadata> => (message, optional, tag = "3"),
        weight: Option<UInt32> => (message, optional, tag = "4"),
    }
    Endpoint { address: Option<Address> => (message, optional, tag = "1"), }
}

/// `squall.v1alpha1`: what xDS cannot say. Carried as `Any` in `typed_filter_metadata` under the key `squall.v1alpha1`. Where
/// one of these is there, it is exact, and the Envoy fields beside it that say the same are the fallback for Envoy.
pub(crate) mod squall {
    use super::Span;

    messages! {
        /// Beside a route.
        Route {
            retry: Option<Retry> => (message, optional, tag = "1"),
            /// The action of a route whose weights are all 0, which Envoy has no form for.
            unserved: Option<super::RouteAction> => (message, optional, tag = "2"),
        }
        Retry {
            /// By the names of `crate::retry_on`.
            on: Vec<String> => (string, repeated, tag = "1"),
            /// 1 none, 2 full, 3 equal, 4 decorrelated.
            jitter: u32 => (uint32, tag = "2"),
            non_idempotent: bool => (bool, tag = "3"),
        }
        /// Beside a cluster.
        Backend {
            balancing: Option<Balancing> => (message, optional, tag = "1"),
            breaker: Option<Breaker> => (message, optional, tag = "2"),
            /// There: the outlier detection beside it is meant as such. Not there: it is only the fallback for the breaker.
            outliers: Option<Outliers> => (message, optional, tag = "3"),
            budget: Option<Budget> => (message, optional, tag = "4"),
            queue_timeout: Option<Span> => (message, optional, tag = "5"),
            /// Of the backend as a whole; its floor is 0.
            service_breaker: Option<Breaker> => (message, optional, tag = "30"),
            overload: Option<Overload> => (message, optional, tag = "20"),
            client: Option<Client> => (message, optional, tag = "21"),
            /// Not there: as by default.
            candidates: Option<Candidates> => (message, optional, tag = "40"),
            hashing: Option<Hashing> => (message, optional, tag = "41"),
            health: Option<HealthCheck> => (message, optional, tag = "42"),
            /// Its endpoints speak anything, and no HTTP that anybody should look at.
            opaque: bool => (bool, tag = "50"),
        }
        #[derive(Copy)]
        Candidates {
            penalty_first: Option<Span> => (message, optional, tag = "1"),
            penalty_last: Option<Span> => (message, optional, tag = "2"),
            request_bias_permille: u32 => (uint32, tag = "3"),
            /// 0: zones do not matter.
            overprovisioning_percent: u32 => (uint32, tag = "4"),
            panic_percent: u32 => (uint32, tag = "5"),
            slow_start: Option<SlowStart> => (message, optional, tag = "6"),
            /// 0: all.
            subset: u32 => (uint32, tag = "7"),
        }
        #[derive(Copy)]
        SlowStart {
            window: Option<Span> => (message, optional, tag = "1"),
            aggression_permille: u32 => (uint32, tag = "2"),
            min_weight_percent: u32 => (uint32, tag = "3"),
        }
        Hashing {
            ring_min: u32 => (uint32, tag = "1"),
            ring_max: u32 => (uint32, tag = "2"),
            /// 0: a ring.
            maglev_size: u32 => (uint32, tag = "3"),
            keys: Vec<HashKey> => (message, repeated, tag = "4"),
            /// 0: no bound.
            bound_percent: u32 => (uint32, tag = "5"),
            refuses: bool => (bool, tag = "6"),
        }
        HashKey {
            /// 1 header, 2 cookie, 3 query parameter, 4 path, 5 source.
            kind: u32 => (uint32, tag = "1"),
            name: String => (string, tag = "2"),
        }
        HealthCheck {
            /// Empty: a connection will do.
            path: String => (string, tag = "1"),
            /// First and last status of each range.
            expected: Vec<u32> => (uint32, repeated, tag = "2"),
            interval: Option<Span> => (message, optional, tag = "3"),
            jitter_permille: u32 => (uint32, tag = "4"),
            timeout: Option<Span> => (message, optional, tag = "5"),
            unhealthy_after: u32 => (uint32, tag = "6"),
            healthy_after: u32 => (uint32, tag = "7"),
            /// Instead of `path`.
            grpc: Option<GrpcHealthCheck> => (message, optional, tag = "8"),
        }
        GrpcHealthCheck { service: String => (string, tag = "1"), }
        Balancing {
            /// 1 peak EWMA, 2 least request, 3 round robin, 4 random, 5 by hash.
            algorithm: u32 => (uint32, tag = "1"),
            decay: Option<Span> => (message, optional, tag = "2"),
            default_rtt: Option<Span> => (message, optional, tag = "3"),
            choices: u32 => (uint32, tag = "4"),
        }
        Breaker {
            /// 0: runs of failures do not matter.
            consecutive_failures: u32 => (uint32, tag = "1"),
            open_min: Option<Span> => (message, optional, tag = "2"),
            open_max: Option<Span> => (message, optional, tag = "3"),
            jitter_permille: u32 => (uint32, tag = "4"),
            probes: u32 => (uint32, tag = "5"),
            success_rate: Option<SuccessRate> => (message, optional, tag = "6"),
            slow_calls: Option<SlowCalls> => (message, optional, tag = "7"),
            floor: u32 => (uint32, tag = "8"),
        }
        SuccessRate {
            below_permille: u32 => (uint32, tag = "1"),
            window: Option<Span> => (message, optional, tag = "2"),
            min_requests: u32 => (uint32, tag = "3"),
        }
        SlowCalls {
            slower_than: Option<Span> => (message, optional, tag = "1"),
            above_permille: u32 => (uint32, tag = "2"),
            window: Option<Span> => (message, optional, tag = "3"),
            min_requests: u32 => (uint32, tag = "4"),
        }
        Outliers { floor: u32 => (uint32, tag = "1"), }
        Budget {
            percent: u32 => (uint32, tag = "1"),
            min_per_second: u32 => (uint32, tag = "2"),
            window: Option<Span> => (message, optional, tag = "3"),
        }
        /// Beside an endpoint.
        Endpoint {
            name: String => (string, tag = "1"),
            identity: String => (string, tag = "2"),
        }
        /// Beside the listener: where requests from outside come in.
        Gateway { listeners: Vec<GatewayListener> => (message, repeated, tag = "1"), }
        /// Where requests from outside the mesh come in.
        GatewayListener {
            name: String => (string, tag = "1"),
            port: u32 => (uint32, tag = "2"),
            /// Empty: every one.
            hostname: String => (string, tag = "3"),
            secure: bool => (bool, tag = "4"),
            /// `namespace/name` each.
            certificates: Vec<String> => (string, repeated, tag = "5"),
            routes: Option<super::RouteConfiguration> => (message, optional, tag = "6"),
        }
        /// Beside an inbound listener: how requests for the own workload are treated.
        InboundPort {
            port: u32 => (uint32, tag = "1"),
            in_flight: u32 => (uint32, tag = "2"),
            pending: u32 => (uint32, tag = "3"),
            queue_timeout: Option<Span> => (message, optional, tag = "4"),
            /// 1 HTTP/1.1, 2 HTTP/2, 3 anything.
            protocol: u32 => (uint32, tag = "5"),
            /// Nobody said so: each connection tells.
            detect: bool => (bool, tag = "6"),
            /// What peers must prove: 0 nobody said, 1 mutual TLS, 2 mutual TLS or nothing, 3 nothing.
            peers: u32 => (uint32, tag = "7"),
            overload: Option<Overload> => (message, optional, tag = "20"),
        }
    }

    messages! {
        /// Beside the routes: where connections go.
        Destinations { destinations: Vec<Destination> => (message, repeated, tag = "1"), }
        Destination {
            backend: String => (string, tag = "1"),
            addresses: Vec<String> => (string, repeated, tag = "2"),
            port: u32 => (uint32, tag = "3"),
            names: Vec<String> => (string, repeated, tag = "4"),
            /// 1 HTTP, 2 anything, 3 nobody said.
            speaks: u32 => (uint32, tag = "5"),
            idle: Option<Span> => (message, optional, tag = "6"),
            longest: Option<Span> => (message, optional, tag = "7"),
            retries: u32 => (uint32, tag = "8"),
            backoff_first: Option<Span> => (message, optional, tag = "9"),
            backoff_last: Option<Span> => (message, optional, tag = "10"),
            /// As in a retry policy.
            jitter: u32 => (uint32, tag = "11"),
        }
    }

    messages! {
        /// What a client does about retries, hedges and throttling.
        Client {
            /// The `retry_budget` beside it is meant as such. If not, it is only the fallback for another budget.
            share: bool => (bool, tag = "1"),
            bucket: Option<RetryBucket> => (message, optional, tag = "2"),
            throttling: Option<RetryThrottling> => (message, optional, tag = "3"),
            breaker: Option<RetryBreaker> => (message, optional, tag = "4"),
            throttle: Option<ClientThrottle> => (message, optional, tag = "5"),
            hedging: Option<Hedging> => (message, optional, tag = "6"),
        }
        #[derive(Copy)]
        RetryBucket {
            deposit_permille: u32 => (uint32, tag = "1"),
            size: u32 => (uint32, tag = "2"),
        }
        #[derive(Copy)]
        RetryThrottling {
            max_tokens: u32 => (uint32, tag = "1"),
            ratio_permille: u32 => (uint32, tag = "2"),
        }
        #[derive(Copy)]
        RetryBreaker {
            percent: u32 => (uint32, tag = "1"),
            window: Option<Span> => (message, optional, tag = "2"),
        }
        #[derive(Copy)]
        ClientThrottle {
            k_permille: u32 => (uint32, tag = "1"),
            window: Option<Span> => (message, optional, tag = "2"),
            min_requests: u32 => (uint32, tag = "3"),
        }
        #[derive(Copy)]
        Hedging {
            delay: Option<Span> => (message, optional, tag = "1"),
            permille: u32 => (uint32, tag = "2"),
            min_samples: u32 => (uint32, tag = "3"),
            window: Option<Span> => (message, optional, tag = "4"),
            attempts: u32 => (uint32, tag = "5"),
            non_idempotent: bool => (bool, tag = "6"),
            buffer_bytes: u32 => (uint32, tag = "7"),
        }
    }

    messages! {
        /// Beside a cluster and an inbound port. Not there: a fixed limit, first come first served, any rate.
        Overload {
            /// This or the next: the limit on requests in flight follows the latency, up to the fixed one.
            gradient: Option<Gradient> => (message, optional, tag = "1"),
            vegas: Option<Vegas> => (message, optional, tag = "2"),
            queue: Option<Queue> => (message, optional, tag = "3"),
            rate: Option<RateLimit> => (message, optional, tag = "4"),
        }
        #[derive(Copy)]
        Gradient {
            min: u32 => (uint32, tag = "1"),
            buffer_permille: u32 => (uint32, tag = "2"),
            percentile_permille: u32 => (uint32, tag = "3"),
            window: Option<Span> => (message, optional, tag = "4"),
            min_rtt_interval: Option<Span> => (message, optional, tag = "5"),
            min_rtt_jitter_permille: u32 => (uint32, tag = "6"),
            min_rtt_requests: u32 => (uint32, tag = "7"),
        }
        #[derive(Copy)]
        Vegas {
            min: u32 => (uint32, tag = "1"),
            initial: u32 => (uint32, tag = "2"),
            window: Option<Span> => (message, optional, tag = "3"),
            probe: u32 => (uint32, tag = "4"),
        }
        #[derive(Copy)]
        Queue {
            /// There: the last comer is first after so long; not there: first come, first served.
            lifo_after: Option<Span> => (message, optional, tag = "1"),
            priorities: bool => (bool, tag = "2"),
            codel: Option<Codel> => (message, optional, tag = "3"),
            deadline_aware: bool => (bool, tag = "4"),
        }
        #[derive(Copy)]
        Codel {
            target: Option<Span> => (message, optional, tag = "1"),
            interval: Option<Span> => (message, optional, tag = "2"),
        }
        RateLimit {
            total: Option<Rate> => (message, optional, tag = "1"),
            per_caller: Option<Rate> => (message, optional, tag = "2"),
            overrides: Vec<NamedRate> => (message, repeated, tag = "3"),
        }
        NamedRate {
            identity: String => (string, tag = "1"),
            rate: Option<Rate> => (message, optional, tag = "2"),
        }
        #[derive(Copy)]
        Rate {
            requests: u32 => (uint32, tag = "1"),
            per: Option<Span> => (message, optional, tag = "2"),
            burst: u32 => (uint32, tag = "3"),
        }
    }
}
