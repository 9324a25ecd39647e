//! One way from one host to another: delay, queue, loss, and what went over it.

use squall_policy::Rng;

use crate::engine::{Delay, Link, LinkCount};

/// Payload of a full packet: Ethernet's 1500 bytes without the headers.
const PACKET_BYTES: u64 = 1460;
/// IPv4 and TCP headers of each packet.
const HEADER_BYTES: u64 = 40;

/// What became of packets that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All arrive; the last at this nanosecond.
    Arrives(u64),
    /// So many of them were lost.
    Lost(u64),
}

/// How many packets carry so many bytes.
pub(super) fn packets(bytes: u64) -> u64 {
    bytes.div_ceil(PACKET_BYTES).max(1)
}

/// A one-way link with its state.
pub(super) struct Way {
    pub(super) link: Link,
    pub(super) count: LinkCount,
    /// When the last packet in the queue has left.
    free_at: u64,
    rng: Rng,
}

impl Way {
    pub(super) fn new(rng: Rng) -> Self {
        Self { link: Link::default(), count: LinkCount::default(), free_at: 0, rng }
    }

    /// Sends `packets` packets carrying `payload` bytes together. They leave one after the other; loss is drawn for each.
    pub(super) fn send(&mut self, now: u64, packets: u64, payload: u64) -> Fate {
        let bytes = payload + packets * HEADER_BYTES;
        self.count.packets += packets;
        self.count.bytes += bytes;
        if self.link.cut {
            self.count.cut += packets;
            return Fate::Lost(packets);
        }
        let mut left = now;
        if let Some(bps) = self.link.bandwidth_bps {
            let start = now.max(self.free_at);
            if start > now {
                self.count.queued += packets;
            }
            let span = (u128::from(bytes) * 8_000_000_000).div_ceil(u128::from(bps));
            left = start.saturating_add(u64::try_from(span).unwrap_or(u64::MAX));
            self.free_at = left;
        }
        if self.link.loss_ppm > 0 {
            let lost =
                (0..packets).filter(|_| self.rng.below(1_000_000) < u64::from(self.link.loss_ppm)).count() as u64;
            if lost > 0 {
                self.count.lost += lost;
                return Fate::Lost(lost);
            }
        }
        Fate::Arrives(left.saturating_add(self.delay()))
    }

    /// How long a packet is under way that does not queue: an acknowledgement.
    pub(super) fn delay(&mut self) -> u64 {
        let mut delay = match &self.link.latency {
            Delay::Constant(span) => *span,
            other @ (Delay::Uniform(..)
            | Delay::Normal { .. }
            | Delay::LogNormal { .. }
            | Delay::Exponential(_)
            | Delay::Sum(..)) => other.draw(&mut self.rng),
        };
        if !self.link.jitter.is_zero() {
            delay += self.rng.between(std::time::Duration::ZERO, self.link.jitter);
        }
        u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)
    }
}
