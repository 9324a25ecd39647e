//! Connections: where they are meant to go, and how long they may last.

use std::net::IpAddr;
use std::time::Duration;

use super::{BackendName, Backoff, Jitter};

/// Ports of protocols in which the server speaks first, or which detection would mistake: TCP unless something else is said
/// (SMTP, MySQL, Galera, PostgreSQL, Redis, Elasticsearch, Memcached; Linkerd's default).
pub const OPAQUE_PORTS: [u16; 8] = [25, 587, 3306, 4444, 5432, 6379, 9300, 11_211];

/// A Service port as connections reach it, by address or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Who serves it.
    pub backend: BackendName,
    /// The Service's own addresses; none: it is headless, and only its endpoints are reached.
    pub addresses: Vec<IpAddr>,
    /// The Service's port.
    pub port: u16,
    /// The Service's host names, lower case, without port, unique over all destinations of one port. The last one is the longest, which
    /// is a domain of its [`VirtualHost`](super::VirtualHost) with `:port`, if it has one.
    pub names: Vec<String>,
    /// What is spoken there.
    pub speaks: Speaks,
    /// How connections are treated that are carried as bytes.
    pub stream: StreamPolicy,
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP, as declared.
    Http,
    /// Anything, as declared: bytes that nobody looks at.
    Tcp,
    /// Nobody said. Each connection's first bytes tell.
    Unknown,
}

/// How connections are treated that are carried as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPolicy {
    /// The longest time without a byte either way, more than 0; `None`: no limit. Default 1 h (Envoy's).
    pub idle: Option<Duration>,
    /// The longest a connection may last, more than 0; `None`: no limit, the default.
    pub longest: Option<Duration>,
    /// How often another connection is tried after one that did not come about, 0 to 1000. Default 2.
    pub retries: u32,
    /// How long to wait in between. Default 25 ms to 250 ms, full jitter.
    pub backoff: Backoff,
}

impl Default for StreamPolicy {
    fn default() -> Self {
        Self {
            idle: Some(Duration::from_secs(3600)),
            longest: None,
            retries: 2,
            backoff: Backoff {
                first: Duration::from_millis(25),
                last: Duration::from_millis(250),
                jitter: Jitter::Full,
            },
        }
    }
}
