//! What can be seen of a backend's endpoints from outside: for status pages, never for decisions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, estimate_settings};
use crate::Instant;

/// One endpoint as its backend sees it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointView {
    /// Its name, the pod's.
    pub name: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// Its zone; empty: unknown.
    pub zone: Arc<str>,
    /// Whom it must prove to be; empty: nobody.
    pub identity: Arc<str>,
    /// Gets no new requests.
    pub draining: bool,
    /// Tries that it works on.
    pub in_flight: u32,
    /// `closed`, `open` or `half-open`; `None`: there is no breaker.
    pub breaker: Option<&'static str>,
    /// Its health checks succeed, or it has none.
    pub healthy: bool,
    /// Is ejected as an outlier.
    pub ejected: bool,
    /// The latency that the balancer expects of it now.
    pub expected: Duration,
}

impl Backend {
    /// Every endpoint as it stands at `now`, in the order in which they were given.
    pub fn endpoints(&self, now: Instant) -> impl Iterator<Item = EndpointView> {
        let decay = crate::ewma::Decay::new(estimate_settings(&self.policy.balancing).0);
        self.slots.iter().map(move |slot| EndpointView {
            name: Arc::clone(&slot.endpoint.name),
            address: slot.endpoint.address,
            zone: Arc::clone(&slot.endpoint.zone),
            identity: Arc::clone(&slot.endpoint.identity),
            draining: slot.endpoint.draining,
            in_flight: slot.pending,
            breaker: self.policy.breaker.is_some().then(|| slot.breaker.word()),
            healthy: slot.is_healthy(),
            ejected: slot.outlier.is_ejected(),
            expected: Duration::from_nanos(slot.estimate.at(now, decay)),
        })
    }
}
