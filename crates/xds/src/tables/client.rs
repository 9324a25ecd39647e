//! What a client does about retries, hedges and throttling.

use super::Shape::{Leaf, Message};
use super::{SPAN, Table};

pub(crate) static CLIENT: Table = Table {
    name: "squall.v1alpha1.Client",
    known: &[
        (1, "share", Leaf),
        (2, "bucket", Message(&BUCKET)),
        (3, "throttling", Message(&THROTTLING)),
        (4, "breaker", Message(&RETRY_BREAKER)),
        (5, "throttle", Message(&THROTTLE)),
        (6, "hedging", Message(&HEDGING)),
    ],
    refused: "",
};

static BUCKET: Table = Table {
    name: "squall.v1alpha1.RetryBucket",
    known: &[(1, "deposit_permille", Leaf), (2, "size", Leaf)],
    refused: "",
};

static THROTTLING: Table = Table {
    name: "squall.v1alpha1.RetryThrottling",
    known: &[(1, "max_tokens", Leaf), (2, "ratio_permille", Leaf)],
    refused: "",
};

static RETRY_BREAKER: Table = Table {
    name: "squall.v1alpha1.RetryBreaker",
    known: &[(1, "percent", Leaf), (2, "window", Message(&SPAN))],
    refused: "",
};

static THROTTLE: Table = Table {
    name: "squall.v1alpha1.ClientThrottle",
    known: &[(1, "k_permille", Leaf), (2, "window", Message(&SPAN)), (3, "min_requests", Leaf)],
    refused: "",
};

static HEDGING: Table = Table {
    name: "squall.v1alpha1.Hedging",
    known: &[
        (1, "delay", Message(&SPAN)),
        (2, "permille", Leaf),
        (3, "min_samples", Leaf),
        (4, "window", Message(&SPAN)),
        (5, "attempts", Leaf),
        (6, "non_idempotent", Leaf),
        (7, "buffer_bytes", Leaf),
    ],
    refused: "",
};
