//! When requests of an open loop arrive, and of which kind they are.

use std::collections::VecDeque;
use std::time::Duration;

use squall_policy::Rng;

use crate::scenario::{Arrivals, Load, Phase, Request, Spacing, Spread, standard_gamma};

/// One arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Since the scenario's time 0.
    pub(crate) at: Duration,
    /// Index into the load's mix.
    pub(crate) kind: usize,
}

/// The arrivals of one open load, drawn once and dealt to its hosts in turn: host i gets the arrivals i, i + n, i + 2n …
pub(crate) struct Schedule {
    source: Source,
    spacing: Spacing,
    gaps: Rng,
    kinds: Rng,
    /// Which host an arrival goes to, if not to the next.
    hosts: Option<Rng>,
    batch: u32,
    /// The arrivals of a batch that are not dealt yet.
    pending: Option<(Duration, u32)>,
    weights: Vec<u32>,
    left: Option<u64>,
    until: Duration,
    dealt: usize,
    hands: Vec<VecDeque<Arrival>>,
}

enum Source {
    Phases {
        phases: VecDeque<Phase>,
        /// Requests that the first of the phases has had so far.
        used: f64,
        /// Nothing has arrived yet.
        first: bool,
    },
    Trace(VecDeque<Duration>),
}

impl Schedule {
    /// The schedule of `load`; `None`: it is a closed loop.
    pub(crate) fn new(load: &Load, rng: &Rng) -> Option<Self> {
        let (source, spacing) = match &load.arrivals {
            Arrivals::Open { phases, spacing } => {
                (Source::Phases { phases: phases.iter().copied().collect(), used: 0.0, first: true }, *spacing)
            }
            Arrivals::Trace(instants) => (Source::Trace(instants.iter().copied().collect()), Spacing::Constant),
            Arrivals::Closed { .. } => return None,
        };
        Some(Self {
            source,
            spacing,
            gaps: rng.fork("gaps"),
            kinds: rng.fork("kinds"),
            hosts: match load.spread {
                Spread::Turn => None,
                Spread::Random => Some(rng.fork("hosts")),
            },
            batch: load.batch,
            pending: None,
            weights: load.mix.iter().map(|request| request.weight).collect(),
            left: load.requests,
            until: load.until,
            dealt: 0,
            hands: vec![VecDeque::new(); load.hosts as usize],
        })
    }

    /// The next arrival for host `host` of the load; `None`: there is none any more.
    pub(crate) fn next_for(&mut self, host: usize) -> Option<Arrival> {
        while self.hands[host].is_empty() {
            let arrival = self.draw()?;
            let hands = self.hands.len();
            let hand = match &mut self.hosts {
                None => self.dealt % hands,
                Some(dice) => dice.below(hands as u64) as usize,
            };
            self.hands[hand].push_back(arrival);
            self.dealt += 1;
        }
        self.hands[host].pop_front()
    }

    fn draw(&mut self) -> Option<Arrival> {
        if self.left == Some(0) {
            return None;
        }
        let at = match self.pending.take() {
            Some((at, left)) => {
                self.pending = (left > 1).then_some((at, left - 1));
                at
            }
            None => {
                let at = self.draw_instant()?;
                self.pending = (self.batch > 1).then_some((at, self.batch - 1));
                at
            }
        };
        if at >= self.until {
            self.left = Some(0);
            return None;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Some(Arrival { at, kind: pick(&self.weights, &mut self.kinds) })
    }
}

impl Schedule {
    /// When the next arrival, or batch of them, is due.
    fn draw_instant(&mut self) -> Option<Duration> {
        match &mut self.source {
            Source::Trace(instants) => instants.pop_front(),
            Source::Phases { phases, used, first } => {
                let gap = match self.spacing {
                    Spacing::Poisson => -(1.0 - self.gaps.unit()).ln(),
                    Spacing::Constant if std::mem::take(first) => 0.0,
                    Spacing::Constant => 1.0,
                    Spacing::Gamma { shape_ppm } => {
                        let shape = shape_ppm as f64 / 1e6;
                        standard_gamma(shape, &mut self.gaps) / shape
                    }
                };
                advance(phases, used, gap)
            }
        }
    }
}

/// The index of a weight, each as likely as its share.
pub(crate) fn pick(weights: &[u32], rng: &mut Rng) -> usize {
    if weights.len() == 1 {
        return 0;
    }
    let mut left = rng.below(weights.iter().map(|weight| u64::from(*weight)).sum());
    for (index, weight) in weights.iter().enumerate() {
        if left < u64::from(*weight) {
            return index;
        }
        left -= u64::from(*weight);
    }
    unreachable!("the die has as many sides as the weights' sum")
}

/// The weights of a mix.
pub(crate) fn weights(mix: &[Request]) -> Vec<u32> {
    mix.iter().map(|request| request.weight).collect()
}

/// When the integral of the rate has grown by `gap` more requests; `None`: it does not before the end.
fn advance(phases: &mut VecDeque<Phase>, used: &mut f64, mut gap: f64) -> Option<Duration> {
    loop {
        let phase = phases.front()?;
        let (first, last) = (phase.first.per_second(), phase.last.per_second());
        let length = (phase.until - phase.from).as_secs_f64();
        let whole = (first + last) / 2.0 * length;
        if *used + gap < whole {
            *used += gap;
            // The root of first·t + slope·t²/2 = used that does not cancel.
            let slope = (last - first) / length;
            let root = (first * first + 2.0 * slope * *used).max(0.0).sqrt();
            let seconds = if *used == 0.0 { 0.0 } else { 2.0 * *used / (first + root) };
            return Some(phase.from + Duration::from_secs_f64(seconds));
        }
        gap -= whole - *used;
        *used = 0.0;
        phases.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Rate;

    fn phase(from_s: u64, until_s: u64, first: u64, last: u64) -> Phase {
        let at = Duration::from_secs;
        Phase { from: at(from_s), until: at(until_s), first: Rate(first * 1000), last: Rate(last * 1000) }
    }

    fn instants(phases: &[Phase], gap: f64) -> Vec<f64> {
        let mut phases = phases.iter().copied().collect();
        let mut used = 0.0;
        let mut found: Vec<f64> = advance(&mut phases, &mut used, 0.0).map(|at| at.as_secs_f64()).into_iter().collect();
        while let Some(at) = advance(&mut phases, &mut used, gap) {
            found.push(at.as_secs_f64());
        }
        found
    }

    #[test]
    fn constant_spacing_arrives_when_the_integral_is_whole() {
        let found = instants(&[phase(0, 2, 2, 2), phase(2, 3, 4, 4)], 1.0);
        assert_eq!(found, [0.0, 0.5, 1.0, 1.5, 2.0, 2.25, 2.5, 2.75]);
    }

    #[test]
    fn a_ramp_brings_its_area() {
        let found = instants(&[phase(0, 10, 0, 20)], 1.0);
        assert_eq!(found.len(), 100);
        assert!((found[25] - 5.0).abs() < 1e-6, "a quarter of the area lies in the first half: {}", found[25]);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_pause_in_the_load_is_skipped() {
        let found = instants(&[phase(0, 1, 2, 2), phase(1, 5, 0, 0), phase(5, 6, 2, 2)], 1.0);
        assert_eq!(found, [0.0, 0.5, 5.0, 5.5]);
    }
}
