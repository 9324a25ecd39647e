//! What comes in from outside the mesh.

use std::sync::Arc;

use super::VirtualHost;

/// A listener of a gateway, with the routes that are attached to it (Gateway API `Gateway.spec.listeners`).
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayListener {
    /// For people and metrics: `shop/edge https`, unique.
    pub name: Arc<str>,
    /// The port that clients connect to, 1 to 65535. All listeners of one port have TLS, or none has.
    pub port: u16,
    /// Whom it is for, lower case: `shop.example.com`, or `*.example.com` for every name under it; empty: every name that no other
    /// listener of the port is for. Unique for its port.
    pub hostname: String,
    /// The certificates that it may show, `namespace/name` each; never empty. `None`: plain HTTP.
    pub certificates: Option<Vec<Arc<str>>>,
    /// Where requests go, by host name. A domain is `*`, a name or `*.` and a name, without port.
    pub hosts: Vec<VirtualHost>,
}
