//! Breakers and outlier ejection.

use super::Shape::{Leaf, Message};
use super::{BOOL, SPAN, Table, UINT32};

pub(crate) static OUTLIER_DETECTION: Table = Table {
    name: "envoy.config.cluster.v3.OutlierDetection",
    known: &[
        (1, "consecutive_5xx", Message(&UINT32)),
        (2, "interval", Message(&SPAN)),
        (3, "base_ejection_time", Message(&SPAN)),
        (4, "max_ejection_percent", Message(&UINT32)),
        (5, "enforcing_consecutive_5xx", Message(&UINT32)),
        (6, "enforcing_success_rate", Message(&UINT32)),
        (7, "success_rate_minimum_hosts", Message(&UINT32)),
        (8, "success_rate_request_volume", Message(&UINT32)),
        (9, "success_rate_stdev_factor", Message(&UINT32)),
        (10, "consecutive_gateway_failure", Message(&UINT32)),
        (11, "enforcing_consecutive_gateway_failure", Message(&UINT32)),
        (12, "split_external_local_origin_errors", Leaf),
        (13, "consecutive_local_origin_failure", Message(&UINT32)),
        (14, "enforcing_consecutive_local_origin_failure", Message(&UINT32)),
        (15, "enforcing_local_origin_success_rate", Message(&UINT32)),
        (16, "failure_percentage_threshold", Message(&UINT32)),
        (17, "enforcing_failure_percentage", Message(&UINT32)),
        (18, "enforcing_failure_percentage_local_origin", Message(&UINT32)),
        (19, "failure_percentage_minimum_hosts", Message(&UINT32)),
        (20, "failure_percentage_request_volume", Message(&UINT32)),
        (21, "max_ejection_time", Message(&SPAN)),
        (22, "max_ejection_time_jitter", Message(&SPAN)),
        (25, "always_eject_one_host", Message(&BOOL)),
    ],
    refused: "23 successful_active_health_check_uneject_host, 24 monitors, 26 detect_degraded_hosts",
};

pub(crate) static BREAKER: Table = Table {
    name: "squall.v1alpha1.Breaker",
    known: &[
        (1, "consecutive_failures", Leaf),
        (2, "open_min", Message(&SPAN)),
        (3, "open_max", Message(&SPAN)),
        (4, "jitter_permille", Leaf),
        (5, "probes", Leaf),
        (6, "success_rate", Message(&SUCCESS_RATE)),
        (7, "slow_calls", Message(&SLOW_CALLS)),
        (8, "floor", Leaf),
    ],
    refused: "",
};

static SUCCESS_RATE: Table = Table {
    name: "squall.v1alpha1.SuccessRate",
    known: &[(1, "below_permille", Leaf), (2, "window", Message(&SPAN)), (3, "min_requests", Leaf)],
    refused: "",
};

static SLOW_CALLS: Table = Table {
    name: "squall.v1alpha1.SlowCalls",
    known: &[
        (1, "slower_than", Message(&SPAN)),
        (2, "above_permille", Leaf),
        (3, "window", Message(&SPAN)),
        (4, "min_requests", Leaf),
    ],
    refused: "",
};

pub(crate) static OUTLIERS: Table =
    Table { name: "squall.v1alpha1.Outliers", known: &[(1, "floor", Leaf)], refused: "" };
