//! What Squall says against overload: limits that find themselves, queues, rates. xDS has a word for none of it per cluster.

use super::Shape::{Leaf, Message};
use super::{SPAN, Table};

pub(crate) static OVERLOAD: Table = Table {
    name: "squall.v1alpha1.Overload",
    known: &[
        (1, "gradient", Message(&GRADIENT)),
        (2, "vegas", Message(&VEGAS)),
        (3, "queue", Message(&QUEUE)),
        (4, "rate", Message(&RATE_LIMIT)),
    ],
    refused: "",
};

static GRADIENT: Table = Table {
    name: "squall.v1alpha1.Gradient",
    known: &[
        (1, "min", Leaf),
        (2, "buffer_permille", Leaf),
        (3, "percentile_permille", Leaf),
        (4, "window", Message(&SPAN)),
        (5, "min_rtt_interval", Message(&SPAN)),
        (6, "min_rtt_jitter_permille", Leaf),
        (7, "min_rtt_requests", Leaf),
    ],
    refused: "",
};

static VEGAS: Table = Table {
    name: "squall.v1alpha1.Vegas",
    known: &[(1, "min", Leaf), (2, "initial", Leaf), (3, "window", Message(&SPAN)), (4, "probe", Leaf)],
    refused: "",
};

static QUEUE: Table = Table {
    name: "squall.v1alpha1.Queue",
    known: &[
        (1, "lifo_after", Message(&SPAN)),
        (2, "priorities", Leaf),
        (3, "codel", Message(&CODEL)),
        (4, "deadline_aware", Leaf),
    ],
    refused: "",
};

static CODEL: Table = Table {
    name: "squall.v1alpha1.Codel",
    known: &[(1, "target", Message(&SPAN)), (2, "interval", Message(&SPAN))],
    refused: "",
};

static RATE_LIMIT: Table = Table {
    name: "squall.v1alpha1.RateLimit",
    known: &[(1, "total", Message(&RATE)), (2, "per_caller", Message(&RATE)), (3, "overrides", Message(&NAMED_RATE))],
    refused: "",
};

static NAMED_RATE: Table = Table {
    name: "squall.v1alpha1.NamedRate",
    known: &[(1, "identity", Leaf), (2, "rate", Message(&RATE))],
    refused: "",
};

static RATE: Table = Table {
    name: "squall.v1alpha1.Rate",
    known: &[(1, "requests", Leaf), (2, "per", Message(&SPAN)), (3, "burst", Leaf)],
    refused: "",
};
