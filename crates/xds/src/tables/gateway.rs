//! Listeners of a gateway.

use super::Shape::{Leaf, Message};
use super::{ROUTE_CONFIGURATION, Table};

/// Beside the outbound listener.
pub(crate) static GATEWAY: Table =
    Table { name: "squall.v1alpha1.Gateway", known: &[(1, "listeners", Message(&GATEWAY_LISTENER))], refused: "" };

static GATEWAY_LISTENER: Table = Table {
    name: "squall.v1alpha1.GatewayListener",
    known: &[
        (1, "name", Leaf),
        (2, "port", Leaf),
        (3, "hostname", Leaf),
        (4, "secure", Leaf),
        (5, "certificates", Leaf),
        (6, "routes", Message(&ROUTE_CONFIGURATION)),
    ],
    refused: "",
};
