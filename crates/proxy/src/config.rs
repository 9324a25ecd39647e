//! What a proxy is told when it starts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use squall_net::edge::ServerCertificate;
use squall_net::http::ServeLimits;
use squall_net::tls::{Identity, KeyAlgorithm};
use squall_policy::{BackendName, Mesh};

use crate::{Recorder, Sampling, Strangers};

/// All a proxy is told when it starts.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Whose sidecar it is.
    pub node: Node,
    /// Where its application's own requests come in, in plain HTTP; `None`: it has no outbound side.
    pub outbound: Option<SocketAddr>,
    /// Where requests for its application come in.
    pub inbound: Vec<InboundListener>,
    /// Where its application's connections to one backend each come in, to be carried as bytes.
    pub streams: Vec<(SocketAddr, BackendName)>,
    /// Where requests from outside the mesh come in, if it is a gateway: by its own routes ([`Mesh::gateway`]), to any backend.
    pub entrances: Vec<Entrance>,
    /// The certificates that it shows there, by `namespace/name`. See [`Proxy::certify`](crate::Proxy::certify).
    pub certificates: BTreeMap<String, ServerCertificate>,
    /// Connections that firewall rules redirect; `None`: none are.
    pub interception: Option<Interception>,
    /// How long a connection may take to tell what it speaks where nobody declared it; then it is carried as bytes. Default 10 s
    /// (Linkerd's).
    pub detect_timeout: Duration,
    /// How many TLS handshakes of those who come in may be under way at once, 1 or more. More wait for as long as one may take
    /// ([`ServeLimits::head_timeout`]), and then are refused. One takes some 20 KiB. Default 1,000.
    pub handshakes: u32,
    /// Where the mesh comes from.
    pub source: Source,
    /// Where its own certificate comes from.
    pub identity: IdentitySource,
    /// Which key it makes when its certificate comes from the control plane.
    pub key_algorithm: KeyAlgorithm,
    /// Limits of every served connection.
    pub limits: ServeLimits,
    /// Which requests are traced: [`Record::Traced`](crate::Record::Traced) is told of those sampled, and each of their tries says in its
    /// `traceparent` which span it is. `None`: a caller's trace is passed on as it came, and none is begun.
    pub tracing: Option<Sampling>,
    /// Who is told what happens.
    pub recorder: Arc<dyn Recorder>,
}

/// Connections that firewall rules redirect to the proxy, which asks the kernel where they were meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interception {
    /// Where those come in that its application makes, to any address.
    pub outbound: Vec<SocketAddr>,
    /// Where those come in that are for its application, at any port.
    pub inbound: Vec<SocketAddr>,
    /// What is done with those to addresses that the mesh does not know.
    pub strangers: Strangers,
}

/// Whose sidecar a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The pod's address.
    pub ip: IpAddr,
    /// The pod's name, `catalog-v1-0`.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its service account: who it is to others.
    pub service_account: String,
    /// Its zone; empty: unknown.
    pub zone: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
}

impl Node {
    /// The id it calls itself on the wire, in Istio's form: `sidecar~10.0.0.3~catalog-v1-0.shop~shop.svc.cluster.local`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("sidecar~{}~{}.{}~{}.svc.cluster.local", self.ip, self.pod, self.namespace, self.namespace)
    }

    /// The SPIFFE id it asks a certificate for: `spiffe://cluster.local/ns/shop/sa/catalog`.
    #[must_use]
    pub fn spiffe_id(&self) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{}", self.namespace, self.service_account)
    }
}

/// A port where requests for the application come in, and the application's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundListener {
    /// Where other sidecars connect: `POD:targetPort`.
    pub listen: SocketAddr,
    /// Takes mutual TLS only, from the time the proxy has its identity; a proxy that is to have none takes plain connections
    /// all the same. False: plain, for a Service whose policy says `tls: {mode: None}`.
    pub mutual_tls: bool,
    /// Where the application listens: `LOCAL:targetPort`; each port once. The port in `Mesh::inbound` is that of `listen`, or, where
    /// a firewall redirects to the sidecar, the application's.
    pub app: SocketAddr,
}

/// Where clients from outside the mesh connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Which port of the Gateway that is. It takes connections as soon as the mesh has a listener of this port, which says whether they
    /// are TLS.
    pub port: u16,
    /// Each connection must begin with a header of the PROXY protocol, version 1 or 2: the client is who it names. False: none is
    /// looked for, and the client is who connects. To be true only where nobody but a load balancer can connect, for a header proves nothing.
    pub proxy_protocol: bool,
}

/// Where the mesh comes from.
#[derive(Clone)]
pub enum Source {
    /// Given, and changed only by [`Proxy::update`](crate::Proxy::update).
    Static(Box<Mesh>),
    /// Pushed by a control plane.
    Control(ControlSource),
}

/// Gives a token. `Err`: why there is none, without a word of it.
pub type TokenSource = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// A control plane to follow.
#[derive(Clone)]
pub struct ControlSource {
    /// Where it listens, for TLS and HTTP/2.
    pub address: SocketAddr,
    /// The SPIFFE id it must prove: `spiffe://cluster.local/ns/squall/sa/control`.
    pub identity: Arc<str>,
    /// The roots it is checked against, DER.
    pub roots: Vec<Vec<u8>>,
    /// Proves to the control plane whose sidecar asks for a certificate, before there is one (a Kubernetes service account
    /// token); sent with each signing request, and asked for anew before it, since Kubernetes changes them. `None`: nothing is sent.
    pub token: Option<TokenSource>,
}

/// Without the token, which is a secret.
impl fmt::Debug for ControlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, identity, roots, token } = self;
        let token = token.as_ref().map(|_| "..");
        let mut shown = f.debug_struct("ControlSource");
        shown.field("address", address).field("identity", identity);
        shown.field("roots", &roots.len()).field("token", &token).finish()
    }
}

/// Where a proxy's own certificate comes from.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// It has none: the inbound side is plain HTTP, and backends with mutual TLS cannot be reached.
    None,
    /// Given.
    Static(Identity),
    /// Signed by the control plane, and renewed at half its life.
    FromControl,
}

#[cfg(test)]
mod tests {
    use squall_net::tls::PrivateKey;
    use squall_policy::Instant;

    use super::*;

    #[test]
    fn what_is_shown_for_debugging_shows_no_secret() {
        let source = ControlSource {
            address: SocketAddr::from(([10, 0, 0, 1], 15010)),
            identity: "spiffe://cluster.local/ns/squall/sa/control".into(),
            roots: vec![vec![1, 2]],
            token: Some(Arc::new(|| Ok("0123456789abcdef".to_owned()))),
        };
        let identity = IdentitySource::Static(Identity {
            chain: vec![vec![1]],
            key: PrivateKey::from_pkcs8(&[171, 205, 239]),
            roots: Vec::new(),
            algorithm: KeyAlgorithm::P256,
            not_after_s: 0,
            issued_at: Instant::ZERO,
        });
        let shown = format!("{source:?} {source:#?} {identity:?}");
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("205"), "{shown}");
    }
}
