//! Zones and links.

use std::sync::Arc;
use std::time::Duration;

use super::{ControlSpec, Pod, Scenario, Target};
use crate::engine::{Delay, Link};

/// Zones and the links between hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Zones by name, not empty. Default one, called `zone`.
    pub zones: Vec<Arc<str>>,
    /// In the order of the file. Each sets what it names on the links it matches; later ones win.
    pub links: Vec<LinkRule>,
}

impl Network {
    /// A link that no rule touches: 1 ms each way, no jitter, no loss, unlimited bandwidth.
    #[must_use]
    pub fn default_link() -> Link {
        Link { latency: Delay::Constant(Duration::from_millis(1)), ..Link::default() }
    }

    /// The one-way link from one host to another.
    #[must_use]
    pub fn link(&self, from: &Group, to: &Group) -> Link {
        let mut link = Self::default_link();
        for rule in self.links.iter().filter(|rule| rule.between.matches(from, to)) {
            let LinkSetting { latency, jitter, loss_ppm, bandwidth_bps } = &rule.setting;
            if let Some(latency) = latency {
                link.latency = latency.clone();
            }
            link.jitter = jitter.unwrap_or(link.jitter);
            link.loss_ppm = loss_ppm.unwrap_or(link.loss_ppm);
            link.bandwidth_bps = bandwidth_bps.or(link.bandwidth_bps);
        }
        link
    }
}

/// What links are like.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkRule {
    /// Which links.
    pub between: Between,
    /// What they are like.
    pub setting: LinkSetting,
}

/// What a rule says about its links; `None`: as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkSetting {
    /// Propagation, one way.
    pub latency: Option<Delay>,
    /// Added to it, uniform in [0, jitter].
    pub jitter: Option<Duration>,
    /// Packets lost, in millionths.
    pub loss_ppm: Option<u32>,
    /// Bits per second, at least 1.
    pub bandwidth_bps: Option<u64>,
}

/// Which links a rule is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Between {
    /// All: `{latency: 1ms}`.
    All,
    /// Between hosts of one zone: `{within: zone}`.
    WithinZones,
    /// Between hosts of different zones: `{between: zones}`.
    Zones,
    /// Both ways between two groups: `{between: [frontend, {zone: b}]}`.
    Both(Target, Target),
    /// One way: `{from: frontend, to: catalog}`.
    OneWay(Target, Target),
}

impl Between {
    fn matches(&self, from: &Group, to: &Group) -> bool {
        match self {
            Self::All => true,
            Self::WithinZones => from.zone == to.zone,
            Self::Zones => from.zone != to.zone,
            Self::Both(a, b) => from.is(a) && to.is(b) || from.is(b) && to.is(a),
            Self::OneWay(a, b) => from.is(a) && to.is(b),
        }
    }
}

/// What one host belongs to, for links and faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The service's name, the load's name, or [`ControlSpec::HOST`].
    pub name: Arc<str>,
    /// Empty: none.
    pub version: Arc<str>,
    /// Its index in the service or load.
    pub replica: u32,
    /// Its zone.
    pub zone: Arc<str>,
}

impl Group {
    /// What `pod` belongs to.
    #[must_use]
    pub fn of_pod(scenario: &Scenario, pod: &Pod) -> Self {
        let service = &scenario.services[pod.service];
        Self {
            name: service.name.value.as_str().into(),
            version: Arc::clone(&service.versions[pod.version].name),
            replica: pod.replica,
            zone: Arc::clone(&pod.zone),
        }
    }

    /// What client host `index` of load `load` (an index into [`Scenario::load`]) belongs to.
    #[must_use]
    pub fn of_client(scenario: &Scenario, load: usize, index: u32) -> Self {
        let load = &scenario.load[load];
        Self {
            name: Arc::clone(&load.name),
            version: "".into(),
            replica: index,
            zone: Arc::clone(&load.zones[index as usize % load.zones.len()]),
        }
    }

    /// What the control plane belongs to.
    #[must_use]
    pub fn of_control(scenario: &Scenario) -> Self {
        Self {
            name: ControlSpec::HOST.into(),
            version: "".into(),
            replica: 0,
            zone: Arc::clone(&scenario.control.zone),
        }
    }

    /// Whether `target` means this host.
    #[must_use]
    pub fn is(&self, target: &Target) -> bool {
        match target {
            Target::All => true,
            Target::Service(name) => self.name == *name,
            Target::Version(name, version) => self.name == *name && self.version == *version,
            Target::Replica(name, replica) => self.name == *name && self.replica == *replica,
            Target::Zone(zone) => self.zone == *zone,
        }
    }
}
