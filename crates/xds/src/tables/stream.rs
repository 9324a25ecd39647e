//! Destinations of connections.

use super::Shape::{AnyMap, Leaf, Message};
use super::{SPAN, Table};

pub(crate) static ROUTES_METADATA: Table = Table {
    name: "envoy.config.core.v3.Metadata",
    known: &[(2, "typed_filter_metadata", AnyMap(&[&DESTINATIONS]))],
    refused: "1 filter_metadata",
};

pub(crate) static DESTINATIONS: Table =
    Table { name: "squall.v1alpha1.Destinations", known: &[(1, "destinations", Message(&DESTINATION))], refused: "" };

static DESTINATION: Table = Table {
    name: "squall.v1alpha1.Destination",
    known: &[
        (1, "backend", Leaf),
        (2, "addresses", Leaf),
        (3, "port", Leaf),
        (4, "names", Leaf),
        (5, "speaks", Leaf),
        (6, "idle", Message(&SPAN)),
        (7, "longest", Message(&SPAN)),
        (8, "retries", Leaf),
        (9, "backoff_first", Message(&SPAN)),
        (10, "backoff_last", Message(&SPAN)),
        (11, "jitter", Leaf),
    ],
    refused: "",
};
