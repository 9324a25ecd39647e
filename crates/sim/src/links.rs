//! The links of a world: what the scenario's network says, and what the faults at work make of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::{Action, Delay, Engine, HostId, Link, LinkCount, Unsupported};
use crate::scenario::{Ends, FaultKind, Group, Scenario};

/// See the module.
pub(crate) struct Links {
    scenario: Arc<Scenario>,
    /// Every host, in the order of its number.
    groups: Vec<Group>,
    /// Faults on links that are at work, by their index.
    active: BTreeMap<usize, FaultKind>,
}

impl Links {
    /// The links between hosts of these groups, in the order of their numbers.
    pub(crate) fn new(scenario: &Arc<Scenario>, groups: Vec<Group>) -> Self {
        Self { scenario: Arc::clone(scenario), groups, active: BTreeMap::new() }
    }

    /// Sets every link.
    pub(crate) fn set_all(&self, engine: &mut dyn Engine) -> Result<(), Unsupported> {
        self.set(engine, |_, _| true)
    }

    /// Fault number `fault` begins.
    pub(crate) fn begin(&mut self, engine: &mut dyn Engine, fault: usize, kind: &FaultKind) -> Result<(), Unsupported> {
        self.active.insert(fault, kind.clone());
        self.set_touched(engine, kind)
    }

    /// Fault number `fault` ends.
    pub(crate) fn end(&mut self, engine: &mut dyn Engine, fault: usize) -> Result<(), Unsupported> {
        match self.active.remove(&fault) {
            Some(kind) => self.set_touched(engine, &kind),
            None => Ok(()),
        }
    }

    /// What went over the links that `ends` mean, so far.
    pub(crate) fn count(&self, engine: &dyn Engine, ends: &Ends) -> LinkCount {
        let mut sum = LinkCount::default();
        for (from, to) in self.pairs(|from, to| ends.matches(from, to)) {
            let LinkCount { packets, lost, cut, bytes, queued, overflowed } = engine.count(from, to);
            sum.packets += packets;
            sum.lost += lost;
            sum.cut += cut;
            sum.bytes += bytes;
            sum.queued += queued;
            sum.overflowed += overflowed;
        }
        sum
    }

    fn set_touched(&self, engine: &mut dyn Engine, kind: &FaultKind) -> Result<(), Unsupported> {
        match ends(kind) {
            Some(ends) => self.set(engine, |from, to| ends.matches(from, to)),
            None => Ok(()),
        }
    }

    /// Sets the links that are meant, those of one sender that are alike at once.
    fn set(&self, engine: &mut dyn Engine, meant: impl Fn(&Group, &Group) -> bool) -> Result<(), Unsupported> {
        let mut alike: Vec<(HostId, Link, Vec<HostId>)> = Vec::new();
        for (from, to) in self.pairs(meant) {
            let link = self.link(from, to);
            match alike.iter_mut().rev().take_while(|(sender, _, _)| *sender == from).find(|(_, is, _)| *is == link) {
                Some((_, _, receivers)) => receivers.push(to),
                None => alike.push((from, link, vec![to])),
            }
        }
        for (from, link, to) in alike {
            engine.apply(Action::SetLink { from: vec![from], to, link })?;
        }
        Ok(())
    }

    fn pairs(&self, meant: impl Fn(&Group, &Group) -> bool) -> Vec<(HostId, HostId)> {
        let hosts = || (0..).map(HostId).zip(&self.groups);
        hosts()
            .flat_map(|(from, sender)| {
                let meant = &meant;
                hosts()
                    .filter(move |(to, receiver)| from != *to && meant(sender, receiver))
                    .map(move |(to, _)| (from, to))
            })
            .collect()
    }

    /// The link as it is now.
    fn link(&self, from: HostId, to: HostId) -> Link {
        let (from, to) = (&self.groups[from.0 as usize], &self.groups[to.0 as usize]);
        let mut link = self.scenario.network.link(from, to);
        for kind in self.active.values().filter(|kind| ends(kind).is_some_and(|ends| ends.matches(from, to))) {
            match kind {
                FaultKind::Latency { add, .. } => link.latency = sum(link.latency, add.clone()),
                FaultKind::Jitter { add, .. } => link.jitter += *add,
                FaultKind::Loss { ppm, .. } => link.loss_ppm = link.loss_ppm.max(*ppm),
                FaultKind::Bandwidth { bps, .. } => {
                    link.bandwidth_bps = Some(link.bandwidth_bps.map_or(*bps, |own| own.min(*bps)));
                }
                FaultKind::Partition { .. } => link.cut = true,
                FaultKind::Crash(_)
                | FaultKind::Pause { .. }
                | FaultKind::Errors { .. }
                | FaultKind::Slow { .. }
                | FaultKind::Outage { .. }
                | FaultKind::RollingRestart(_) => {}
            }
        }
        link
    }
}

/// Which links a fault is about; `None`: it is not about links.
pub(crate) fn ends(kind: &FaultKind) -> Option<&Ends> {
    match kind {
        FaultKind::Latency { ends, .. }
        | FaultKind::Jitter { ends, .. }
        | FaultKind::Loss { ends, .. }
        | FaultKind::Bandwidth { ends, .. }
        | FaultKind::Partition { ends } => Some(ends),
        FaultKind::Crash(_)
        | FaultKind::Pause { .. }
        | FaultKind::Errors { .. }
        | FaultKind::Slow { .. }
        | FaultKind::Outage { .. }
        | FaultKind::RollingRestart(_) => None,
    }
}

/// One delay after the other.
fn sum(one: Delay, other: Delay) -> Delay {
    match (one, other) {
        (Delay::Constant(one), Delay::Constant(other)) => Delay::Constant(one + other),
        (one, other) => Delay::Sum(Box::new(one), Box::new(other)),
    }
}
