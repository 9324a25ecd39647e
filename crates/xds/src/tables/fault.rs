//! Envoy's fault filter.

use super::Shape::{Leaf, Message};
use super::{HEADER_MATCHER, SPAN, Table};

pub(crate) static HTTP_FAULT: Table = Table {
    name: "envoy.extensions.filters.http.fault.v3.HTTPFault",
    known: &[(1, "delay", Message(&DELAY)), (2, "abort", Message(&ABORT)), (4, "headers", Message(&HEADER_MATCHER))],
    refused: "3 upstream_cluster, 5 downstream_nodes, 6 max_active_faults, 7 response_rate_limit, 8 \
        delay_percent_runtime, 9 abort_percent_runtime, 10 delay_duration_runtime, 11 abort_http_status_runtime, 12 \
        max_active_faults_runtime, 13 response_rate_limit_percent_runtime, 14 abort_grpc_status_runtime, 15 \
        disable_downstream_cluster_stats, 16 filter_metadata",
};

static DELAY: Table = Table {
    name: "envoy.extensions.filters.common.fault.v3.FaultDelay",
    known: &[(3, "fixed_delay", Message(&SPAN)), (4, "percentage", Message(&FRACTION))],
    refused: "1 type, 5 header_delay",
};

static ABORT: Table = Table {
    name: "envoy.extensions.filters.http.fault.v3.FaultAbort",
    known: &[(2, "http_status", Leaf), (3, "percentage", Message(&FRACTION)), (5, "grpc_status", Leaf)],
    refused: "4 header_abort",
};

static FRACTION: Table = Table {
    name: "envoy.type.v3.FractionalPercent",
    known: &[(1, "numerator", Leaf), (2, "denominator", Leaf)],
    refused: "",
};
