//! Health checks of a backend's endpoints: which are due, and what they say.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Backend, BackendEvent, Slot, SlotId};
use crate::Instant;
use crate::health::{ProbeResult, Transition};
use crate::mesh::Probe;

/// Names one health check. Unique per [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeId {
    slot: SlotId,
    number: u64,
}

/// A health check that the shell must make now, and report by [`Backend::on_probe`].
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeOrder {
    /// Which.
    pub id: ProbeId,
    /// Where to.
    pub address: SocketAddr,
    /// The SPIFFE id to be proven under mutual TLS.
    pub identity: Arc<str>,
    /// What to ask.
    pub probe: Probe,
    /// It must have ended by then; else it is [`ProbeResult::TimedOut`].
    pub until: Instant,
}

impl ProbeOrder {
    /// What an answer of this status says.
    #[must_use]
    pub fn judge(&self, status: u16) -> ProbeResult {
        match &self.probe {
            Probe::Http { expected, .. } if expected.iter().any(|range| range.contains(&status)) => ProbeResult::Passed,
            Probe::Http { .. } => ProbeResult::Status(status),
            Probe::Connect => ProbeResult::Passed,
        }
    }
}

impl Slot {
    /// Healthy as far as health checks know; without any it is.
    pub(super) fn is_healthy(&self) -> bool {
        self.health.as_ref().is_none_or(crate::health::Health::is_healthy)
    }
}

impl Backend {
    /// A health check to be made now. Drained by the shell after every call on this backend.
    pub fn poll_probe(&mut self) -> Option<ProbeOrder> {
        self.picks.checks.pop_front()
    }

    /// A health check has ended. One whose endpoint or settings are gone does not count.
    pub fn on_probe(&mut self, now: Instant, id: ProbeId, result: ProbeResult) {
        let Some(config) = &self.policy.health else { return };
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id.slot) else { return };
        let Some(health) = &mut slot.health else { return };
        let transition = health.on_result(now, id.number, result, config, &mut self.picks.check_dice);
        self.picks.next_check = self.picks.next_check.into_iter().chain(health.due()).min();
        let endpoint = Arc::clone(&slot.endpoint.name);
        match transition {
            Some(Transition::Healthy { first }) => {
                slot.since = now;
                self.events.push_back(BackendEvent::Healthy { endpoint, first });
                self.warm_up(now);
            }
            Some(Transition::Unhealthy { failures, last }) => {
                self.events.push_back(BackendEvent::Unhealthy { endpoint, failures, last });
                self.uphold_floors(now);
            }
            None => {}
        }
    }

    /// Orders the checks that are due. Draining endpoints take no request, and are not asked.
    pub(super) fn start_checks(&mut self, now: Instant) {
        if self.picks.next_check.is_none_or(|at| now < at) {
            return;
        }
        let Some(config) = &self.policy.health else { return };
        for slot in self.slots.iter_mut().filter(|slot| !slot.endpoint.draining) {
            let Some(health) = slot.health.as_mut().filter(|health| health.due().is_some_and(|due| due <= now)) else {
                continue;
            };
            self.picks.check_number += 1;
            let id = ProbeId { slot: slot.id, number: self.picks.check_number };
            health.begin(id.number);
            self.picks.checks.push_back(ProbeOrder {
                id,
                address: slot.endpoint.address,
                identity: Arc::clone(&slot.endpoint.identity),
                probe: config.probe.clone(),
                until: now + config.timeout,
            });
        }
        self.picks.next_check = self.next_check();
    }

    /// When the next check of all is due.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let asked = self.slots.iter().filter(|slot| !slot.endpoint.draining);
        asked.filter_map(|slot| slot.health.as_ref()?.due()).min()
    }
}
