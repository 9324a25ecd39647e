//! The log of a proxy's life: meshes, certificates, the control plane, breakers and ejections. Requests are the access log's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use squall_net::Seldom;
use squall_policy::{BackendEvent, Instant};

use crate::{Record, Recorder, Refusal};

/// Connections to addresses that nobody knows that are said in ten seconds: an application may have several such.
const STRANGERS: u32 = 10;

/// Writes what happens to the proxy as a whole through `tracing`.
#[derive(Debug, Default)]
pub struct Lifecycle {
    /// Of refusals for the same reason one is said in ten seconds. Metrics count them all.
    refusals: Mutex<BTreeMap<Refusal, Seldom>>,
    /// Of connections to addresses that nobody knows, a few.
    strangers: Mutex<Seldom>,
}

impl Lifecycle {
    fn refused(&self, at: Instant, peer: SocketAddr, refusal: Refusal, why: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = refusals.entry(refusal).or_default().may_say(at, 1) else { return };
        drop(refusals);
        let why = if why.is_empty() { refusal.words() } else { why };
        let reason = refusal.word();
        if left_out == 0 {
            tracing::warn!(%peer, reason, why, "a peer was refused");
        } else {
            tracing::warn!(%peer, reason, why, left_out, "a peer was refused, as others were since this was last said");
        }
    }

    fn stranger(&self, at: Instant, dialed: SocketAddr) {
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(left_out) = strangers.may_say(at, STRANGERS) else { return };
        drop(strangers);
        if left_out == 0 {
            tracing::info!(%dialed, "a connection to an address that the mesh does not know was refused");
        } else {
            tracing::info!(%dialed, left_out, "a connection to an address that the mesh does not know was refused, as others were since this was last said");
        }
    }
}

impl Recorder for Lifecycle {
    fn record(&self, at: Instant, record: &Record<'_>) {
        match record {
            Record::MeshApplied { version } => tracing::info!(version, "a mesh is in force"),
            Record::MeshRefused { why } => tracing::warn!(why, "a mesh was refused; the last good one stays"),
            Record::ControlConnected { address } => tracing::info!(%address, "the control plane answers"),
            Record::ControlLost { why, retry_in } => {
                let retry_ms = millis(*retry_in);
                tracing::warn!(why, retry_ms, "no control plane; what is in force stays in force");
            }
            Record::CertificateIssued { identity, not_after_s, renew_at } => {
                let renew_in_s = renew_at.since(at).as_secs();
                tracing::info!(identity, not_after_s, renew_in_s, "a certificate was issued");
            }
            Record::PeerRefused { peer, refusal, why } => self.refused(at, *peer, *refusal, why),
            Record::Backend { backend, event } => match event {
                BackendEvent::BreakerOpened { endpoint, until, why } => {
                    let for_ms = millis(until.since(at));
                    tracing::warn!(%backend, %endpoint, %why, for_ms, "a breaker opened");
                }
                BackendEvent::BreakerHalfOpen { endpoint } => tracing::info!(%backend, %endpoint, "a breaker probes"),
                BackendEvent::BreakerClosed { endpoint } => tracing::info!(%backend, %endpoint, "a breaker closed"),
                BackendEvent::OpenRefused { endpoint, why } => {
                    tracing::warn!(%backend, %endpoint, %why, "a breaker stays closed, since too few would be left");
                }
                BackendEvent::ServiceBreakerOpened { until, why } => {
                    let for_ms = millis(until.since(at));
                    tracing::warn!(%backend, %why, for_ms, "a breaker of the whole service opened");
                }
                BackendEvent::ServiceBreakerHalfOpen => {
                    tracing::info!(%backend, "a breaker of the whole service probes")
                }
                BackendEvent::ServiceBreakerClosed => tracing::info!(%backend, "a breaker of the whole service closed"),
                BackendEvent::Ejected { endpoint, until, why } => {
                    let for_ms = millis(until.since(at));
                    tracing::warn!(%backend, %endpoint, %why, for_ms, "an endpoint was ejected");
                }
                BackendEvent::EjectionRefused { endpoint, why } => {
                    tracing::warn!(%backend, %endpoint, %why, "an endpoint is bad, but too few would be left without it");
                }
                BackendEvent::EjectionSpared { endpoint, why } => {
                    tracing::info!(%backend, %endpoint, %why, "an endpoint is bad, but the dice spared it");
                }
                BackendEvent::Returned { endpoint } => tracing::info!(%backend, %endpoint, "an endpoint is back"),
                BackendEvent::Unhealthy { endpoint, failures, last } => {
                    tracing::warn!(%backend, %endpoint, failures, ?last, "an endpoint fails its health checks");
                }
                BackendEvent::Healthy { endpoint, first } => {
                    tracing::info!(%backend, %endpoint, first, "an endpoint passes its health checks");
                }
                BackendEvent::Panics { healthy, of } => {
                    tracing::warn!(%backend, healthy, of, "too few endpoints are healthy: all are picked");
                }
                BackendEvent::Calmed => tracing::info!(%backend, "enough endpoints are healthy again"),
                BackendEvent::ZoneShare { own_percent } => {
                    tracing::debug!(%backend, own_percent, "the own zone's share moved");
                }
                BackendEvent::LimitMoved { from, to, .. } => tracing::debug!(%backend, from, to, "a limit moved"),
            },
            Record::StrangerRefused { dialed } => self.stranger(at, *dialed),
            Record::SpansDropped { spans, why } => tracing::warn!(spans, why, "spans were dropped"),
            Record::CollectorFailed { why, retry_in: Some(retry_in) } => {
                tracing::warn!(why, retry_ms = millis(*retry_in), "the trace collector takes no spans");
            }
            Record::CollectorFailed { why, retry_in: None } => {
                tracing::warn!(why, "the trace collector takes no spans");
            }
            // Its listener says so, seldom enough.
            Record::Shortage { .. }
            | Record::Started { .. }
            | Record::Traced { .. }
            | Record::SpansExported { .. }
            | Record::Routed { .. }
            | Record::Queued { .. }
            | Record::Granted { .. }
            | Record::Picked { .. }
            | Record::Connected { .. }
            | Record::Head { .. }
            | Record::AttemptFailed { .. }
            | Record::AttemptCancelled { .. }
            | Record::Retry { .. }
            | Record::Injected { .. }
            | Record::Access { .. }
            | Record::Replied { .. }
            | Record::Upgraded { .. }
            | Record::Ended { .. }
            | Record::Opened { .. }
            | Record::Closed { .. } => {}
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
