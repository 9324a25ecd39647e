//! The control plane as a program: follows resources and registry, and pushes to every proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use squall_net::Host;
use squall_policy::Instant;

use crate::push::Pushes;
use crate::{Authority, Mistake, Registry, Resources, TokenReview, serve};

/// What a control plane needs.
pub struct ControlConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The resources to begin with.
    pub resources: Resources,
    /// The pods.
    pub registry: Arc<Registry>,
    /// Who signs.
    pub authority: Arc<Authority>,
    /// Which SPIFFE id each join token proves.
    pub tokens: BTreeMap<String, String>,
    /// Who says whose tokens are that are none of these, Kubernetes' own; `None`: nobody, they prove nothing.
    pub review: Option<TokenReview>,
    /// Told what happens.
    pub recorder: Arc<dyn ControlRecorder>,
}

/// The SPIFFE id of the control plane itself, which proxies expect of it.
pub const CONTROL_ID: &str = "spiffe://cluster.local/ns/squall/sa/control";

/// Told what the control plane does: logs and metrics in production, history in the simulator.
pub trait ControlRecorder: Send + Sync + 'static {
    /// `record` happened at `now`.
    fn record(&self, now: Instant, record: &ControlRecord);
}

/// What a control plane does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ControlRecord {
    /// It listens there.
    Listening {
        /// With the port that was given for port 0.
        at: SocketAddr,
    },
    /// A proxy's stream is up.
    Connected {
        /// `namespace/pod`.
        node: String,
    },
    /// A proxy's stream is gone.
    Disconnected {
        /// `namespace/pod`.
        node: String,
    },
    /// A new version is on its way to a proxy.
    Pushed {
        /// `namespace/pod`.
        node: String,
        /// The version.
        version: u64,
    },
    /// A proxy took the whole version.
    Acked {
        /// `namespace/pod`.
        node: String,
        /// The version.
        version: u64,
    },
    /// A proxy refused a part and keeps what it had.
    Nacked {
        /// `namespace/pod`.
        node: String,
        /// The version.
        version: u64,
        /// What it said.
        why: String,
    },
    /// What changed cannot be pushed to this proxy; it keeps what it had.
    NotCompiled {
        /// `namespace/pod`.
        node: String,
        /// The mistakes, one a line.
        why: String,
    },
    /// A certificate was issued.
    Signed {
        /// For whom.
        identity: String,
        /// When it ends, seconds since 1970.
        not_after_s: u64,
    },
    /// A caller did not come through the TLS handshake.
    HandshakeFailed {
        /// Where it came from.
        peer: String,
        /// Why.
        why: String,
    },
    /// A certificate, or a stream, was refused.
    Refused {
        /// Who asked, as far as is known.
        peer: String,
        /// Why.
        why: String,
    },
}

/// Why a control plane ended or did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It cannot listen, or its listener died.
    #[error("cannot listen at {at}: {why}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// Why.
        why: std::io::Error,
    },
    /// Its own identity could not be made.
    #[error(transparent)]
    Authority(#[from] crate::AuthorityError),
    /// Its own identity cannot be used.
    #[error(transparent)]
    Tls(#[from] squall_net::tls::TlsError),
}

/// The control plane. Cheap to clone; clones are the same control plane.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) host: Host,
    pub(crate) listen: SocketAddr,
    pub(crate) registry: Arc<Registry>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: Mutex<BTreeMap<String, String>>,
    pub(crate) review: Option<TokenReview>,
    pub(crate) pushes: Pushes,
    recorder: Arc<dyn ControlRecorder>,
}

impl Inner {
    /// The SPIFFE id that a join token proves.
    pub(crate) fn proven_by(&self, token: &str) -> Option<String> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(crate) fn record(&self, record: &ControlRecord) {
        self.recorder.record(self.host.now(), record);
    }

    pub(crate) fn record_all(&self, records: &[ControlRecord]) {
        for record in records {
            self.record(record);
        }
    }
}

impl Control {
    /// A control plane that does not listen yet.
    #[must_use]
    pub fn new(host: Host, config: ControlConfig) -> Self {
        Self(Arc::new(Inner {
            host,
            listen: config.listen,
            pushes: Pushes::new(config.resources, config.registry.snapshot()),
            registry: config.registry,
            authority: config.authority,
            tokens: Mutex::new(config.tokens),
            review: config.review,
            recorder: config.recorder,
        }))
    }

    /// Listens and serves. Returns only when the listener dies; dropping the future ends it, and with it every stream.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn run(&self) -> Result<(), ControlError> {
        serve::run(&self.0).await
    }

    /// Replaces the join tokens: which SPIFFE id each proves. Certificates that were signed for others stay good until they end.
    pub fn set_tokens(&self, tokens: BTreeMap<String, String>) {
        *self.0.tokens.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// Replaces the resources, if every connected proxy's mesh compiles with them; pushes follow.
    ///
    /// # Errors
    /// The mistakes; the resources before it stay in force.
    pub fn update(&self, resources: Resources) -> Result<(), Vec<Mistake>> {
        let records = self.0.pushes.update(resources)?;
        self.0.record_all(&records);
        Ok(())
    }
}
