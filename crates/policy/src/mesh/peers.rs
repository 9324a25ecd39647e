//! What the peers of a port must prove.

/// How a port of the own workload takes connections of its peers (Istio's `PeerAuthentication` modes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerMode {
    /// Mutual TLS only: who does not prove an identity is refused.
    Strict,
    /// Mutual TLS, or plain connections, whose peers have no identity. The first bytes tell: the mesh's own TLS offers the ALPN `squall`, and
    /// other TLS is the application's own and passed on as it is, whether it names a server or not.
    Permissive,
    /// As `Permissive`, but clients are told to begin no mutual TLS: the mesh's own is taken from those who learn of a change before or after
    /// the port does. Other TLS is the application's, and passed on as it is.
    Disable,
}

impl PeerMode {
    /// Its name, as a PeerAuthentication says it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "STRICT",
            Self::Permissive => "PERMISSIVE",
            Self::Disable => "DISABLE",
        }
    }

    /// Whether clients begin the mesh's mutual TLS.
    #[must_use]
    pub fn takes_mutual_tls(self) -> bool {
        match self {
            Self::Strict | Self::Permissive => true,
            Self::Disable => false,
        }
    }

    /// Whether a connection without an identity is taken.
    #[must_use]
    pub fn takes_plain(self) -> bool {
        match self {
            Self::Strict => false,
            Self::Permissive | Self::Disable => true,
        }
    }
}
