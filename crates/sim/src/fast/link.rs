//! The ways between hosts: delay, the queue for bandwidth, cuts, and what went over them. One draw per message.

use std::time::Duration;

use squall_policy::Rng;

use super::plan::nanos;
use crate::engine::{Delay, HostId, Link, LinkCount, Unsupported};

/// What heads, records and packets of a message weigh besides its body. Only matters for bandwidth.
const HEAD_BYTES: u64 = 600;
/// Below this a link's bandwidth shapes traffic in ways that need TCP.
pub(super) const WIDE_BPS: u64 = 1_000_000_000;

/// Every way of a world.
#[derive(Default)]
pub(super) struct Ways {
    hosts: usize,
    /// Different links; ways point into it.
    links: Vec<Link>,
    ways: Vec<Way>,
}

struct Way {
    link: u32,
    packets: u64,
    cut: u64,
    /// When the last message in the queue has left.
    free_at: u64,
    dice: Option<Box<Rng>>,
}

impl Ways {
    /// The ways between so many hosts, all of zero length.
    pub(super) fn new(hosts: usize) -> Self {
        let way = || Way { link: 0, packets: 0, cut: 0, free_at: 0, dice: None };
        Self { hosts, links: vec![Link::default()], ways: (0..hosts * hosts).map(|_| way()).collect() }
    }

    /// Replaces links.
    pub(super) fn set(&mut self, from: &[HostId], to: &[HostId], link: &Link) -> Result<(), Unsupported> {
        check(link)?;
        let known = self.links.iter().position(|known| known == link);
        let number = known.unwrap_or_else(|| {
            self.links.push(link.clone());
            self.links.len() - 1
        });
        for &HostId(a) in from {
            for &HostId(b) in to.iter().filter(|to| to.0 != a) {
                let at = self.at(a, b);
                self.ways[at].link = u32::try_from(number).expect("there are few links");
            }
        }
        Ok(())
    }

    /// Sends a message with a body of so many bytes; when it arrives, or `None`: the way is cut.
    pub(super) fn send(&mut self, root: &Rng, now: u64, from: u32, to: u32, bytes: u64) -> Option<u64> {
        if from == to {
            return Some(now);
        }
        let at = self.at(from, to);
        let way = &mut self.ways[at];
        let link = &self.links[way.link as usize];
        way.packets += 1;
        if link.cut {
            way.cut += 1;
            return None;
        }
        let mut left = now;
        if let Some(bps) = link.bandwidth_bps {
            let bits = u128::from(bytes + HEAD_BYTES) * 8_000_000_000;
            let span = u64::try_from(bits.div_ceil(u128::from(bps))).unwrap_or(u64::MAX);
            left = now.max(way.free_at).saturating_add(span);
            way.free_at = left;
        }
        let delay = match &link.latency {
            Delay::Constant(span) if link.jitter.is_zero() => nanos(*span),
            latency @ (Delay::Constant(_)
            | Delay::Uniform(..)
            | Delay::Normal { .. }
            | Delay::LogNormal { .. }
            | Delay::Exponential(_)
            | Delay::Sum(..)) => {
                let dice = way.dice.get_or_insert_with(|| Box::new(root.fork(&format!("way {from} {to}"))));
                let drawn = latency.draw(dice);
                let jitter =
                    if link.jitter.is_zero() { Duration::ZERO } else { dice.between(Duration::ZERO, link.jitter) };
                nanos(drawn + jitter)
            }
        };
        Some(left.saturating_add(delay))
    }

    /// What went over a way so far.
    pub(super) fn count(&self, from: u32, to: u32) -> LinkCount {
        let way = &self.ways[self.at(from, to)];
        LinkCount { packets: way.packets, cut: way.cut, ..LinkCount::default() }
    }

    fn at(&self, from: u32, to: u32) -> usize {
        from as usize * self.hosts + to as usize
    }
}

/// Refuses links that mean nothing, and what only packets can show.
fn check(link: &Link) -> Result<(), Unsupported> {
    let refuse =
        |knob: &str, why: &str| Err(Unsupported { engine: super::NAME, knob: knob.to_owned(), why: why.to_owned() });
    if let Some(why) = link.latency.mistake() {
        return refuse("latency", why);
    }
    if link.loss_ppm > 0 {
        return refuse("loss", "only TCP feels a lost packet, and there is no TCP");
    }
    if link.bandwidth_bps.is_some_and(|bps| bps < WIDE_BPS) {
        return refuse("bandwidth", "below 1Gbps it shapes packets, and there are only messages");
    }
    Ok(())
}
