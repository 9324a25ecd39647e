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
            Probe::Grpc { .. } if status == 200 => ProbeResult::Passed,
            Probe::Http { .. } | Probe::Grpc { .. } => ProbeResult::Status(status),
            Probe::Connect => ProbeResult::Passed,
        }
    }

    /// What the end of a gRPC call says: its `grpc-status`, and the message before it.
    ///
    /// `message` is the body, a length-prefixed `grpc.health.v1.HealthCheckResponse { status = 1 }`. One that is compressed,
    /// cut off or not protobuf counts as unknown.
    #[must_use]
    pub fn judge_grpc(&self, status: Option<u8>, message: &[u8]) -> ProbeResult {
        match status {
            Some(0) => match serving(message).unwrap_or(0) {
                1 => ProbeResult::Passed,
                other => ProbeResult::NotServing(other),
            },
            Some(failed) => ProbeResult::Grpc(failed),
            None => ProbeResult::Grpc(2),
        }
    }
}

/// The `status` of a `HealthCheckResponse`; a field that is not there is 0. `None`: it is none.
fn serving(framed: &[u8]) -> Option<u8> {
    let (prefix, mut message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if prefix[0] != 0 || usize::try_from(length) != Ok(message.len()) {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        match varint(&mut message)? {
            0x08 => status = u8::try_from(varint(&mut message)?).unwrap_or(u8::MAX),
            // Later versions may say more: skipped by its wire type.
            tag => match tag & 7 {
                0 => drop(varint(&mut message)?),
                1 => message = message.get(8..)?,
                2 => {
                    let length = usize::try_from(varint(&mut message)?).ok()?;
                    message = message.get(length..)?;
                }
                5 => message = message.get(4..)?,
                _ => return None,
            },
        }
    }
    Some(status)
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
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

#[cfg(test)]
mod tests {
    use super::serving;

    #[test]
    fn a_health_answer_is_read_whatever_else_it_says() {
        for (framed, want) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            // A string of three bytes, a fixed64, a fixed32 and a number before it.
            (
                &[0, 0, 0, 0, 23, 0x12, 3, 1, 2, 3, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4, 0x28, 9, 8, 1],
                Some(1),
            ),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 8], None),
            (&[0, 0, 0, 0, 2, 8, 0x81], None),
            (&[0, 0, 0, 0, 3, 0x12, 9, 1], None),
            (&[0, 0, 0, 0, 1, 0x0b], None),
            (&[0, 0], None),
            (&[], None),
        ] {
            assert_eq!(serving(framed), want, "{framed:?}");
        }
    }
}
