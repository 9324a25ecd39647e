//! What a scenario file says: a mesh, its services, their load, what goes wrong, and what must hold all the same.
//!
//! These are the types of a *checked* scenario: every name in it refers to something, every number is in its range,
//! every default is filled in. The world runs them as they are. Nothing here depends on a seed.

mod answer;
mod discover;
mod distribution;
mod expect;
mod fault;
mod files;
mod isotope;
mod load;
mod network;
mod read;
mod service;
mod units;
pub mod variables;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub use squall_control::{Mistake, Place};

pub use answer::{Answer, Control, Expected, Layer, PerLayer, Question, Sample, Sampling, Tolerance};
pub use discover::{load_dir, load_file};
pub use distribution::Distribution;
pub(crate) use distribution::standard_gamma;
pub use expect::{Expectation, Window};
pub use fault::{Crashing, Ends, Fault, FaultKind, OutageArrivals, Restart, Start, Strike, Target};
pub use files::{Disk, Files, Memory, Refusal};
pub(crate) use files::{beside, once};
pub use isotope::IsotopeLoad;
pub(crate) use load::CLIENTS_MAX;
pub use load::{Arrivals, Drawn, Load, Phase, Rate, Request, Spacing, Spread};
pub use network::{Between, Group, LinkRule, LinkSetting, Network};
pub(crate) use read::{Measured, expression, header};
pub use service::{Call, Contention, Pod, RequestMatch, RouteScript, ServiceSpec, Step, Version, Work};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where the value begins.
    pub place: Place,
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A question about a mesh, with the answer it must get.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// `metadata.name`: unique in a run; lower-case letters, digits and `-`.
    pub name: Located<String>,
    /// The comment at the top of the file, or `metadata.annotations.question`; may be empty.
    pub question: String,
    /// When it runs. Default `test`.
    pub suite: Suite,
    /// The production manifests, in the order given, as they were read. A generated mesh has one file,
    /// `generated.yaml`.
    pub mesh: Vec<MeshFile>,
    /// How long load arrives, more than 0. Arrivals stop then.
    pub duration: Duration,
    /// How long requests in flight may still take after `duration`, before they count as lost. Default: the longest
    /// time-out of `load` and 1 s more.
    pub drain: Duration,
    /// How exact the world's time must be for the expectations to mean what they say, more than 0; `None`: no claim. An
    /// engine that is coarser refuses the scenario.
    pub resolution: Option<Duration>,
    /// Zones and links.
    pub network: Network,
    /// Where the control plane runs.
    pub control: ControlSpec,
    /// The workloads, by name in the order of the file. At least one.
    pub services: Vec<ServiceSpec>,
    /// Who asks. At least one.
    pub load: Vec<Load>,
    /// What goes wrong, in the order of the file.
    pub faults: Vec<Fault>,
    /// What must hold. At least one, unless there are answers.
    pub expect: Vec<Expectation>,
    /// How often it runs under `squall validate`.
    pub layers: PerLayer<Sampling>,
    /// What is known of it. Only in [`Suite::Validate`].
    pub answers: Vec<Answer>,
}

impl Scenario {
    /// The service called `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceSpec> {
        self.services.iter().find(|service| service.name.value == name)
    }

    /// The same scenario, ended after `duration`, which is not longer: loads that would go on end then.
    #[must_use]
    pub fn lasting(&self, duration: Duration) -> Self {
        let mut scenario = self.clone();
        scenario.duration = duration;
        for load in &mut scenario.load {
            load.until = load.until.min(duration);
            if let Arrivals::Open { phases, .. } = &mut load.arrivals {
                phases.retain(|phase| phase.from < duration);
                for phase in phases {
                    phase.cut(duration);
                }
            }
            if let Arrivals::Trace(instants) = &mut load.arrivals {
                instants.retain(|at| *at < duration);
            }
        }
        scenario
    }

    /// The same scenario, going on to `duration`, which is not shorter: loads that last to its end go on at their last rate.
    #[must_use]
    pub fn going_on(&self, duration: Duration) -> Self {
        let mut scenario = self.clone();
        scenario.duration = duration;
        for load in scenario.load.iter_mut().filter(|load| load.until == self.duration) {
            load.until = duration;
            if let Arrivals::Open { phases, .. } = &mut load.arrivals
                && let Some(last) = phases.last_mut()
            {
                match last.first == last.last {
                    true => last.until = duration,
                    false => {
                        let (from, rate) = (last.until, last.last);
                        phases.push(Phase { from, until: duration, first: rate, last: rate });
                    }
                }
            }
        }
        scenario
    }

    /// The same scenario over other manifests.
    ///
    /// # Errors
    /// What is wrong with them, or no longer fits the scenario.
    pub fn over(&self, mesh: Vec<MeshFile>) -> Result<Self, Vec<Mistake>> {
        let mistakes = squall_control::Mistakes::new();
        read::check_again(&mesh, &self.services, &mistakes);
        mistakes.check(())?;
        Ok(Self { mesh, ..self.clone() })
    }

    /// The end of the last scheduled fault; `None` if there is none, or if one lasts to the end. Faults that start
    /// after a number of requests are left out; their times are known only in a run.
    #[must_use]
    pub fn last_fault_end(&self) -> Option<Duration> {
        let mut last = None;
        for fault in &self.faults {
            let Start::At(at) = fault.start else { continue };
            last = last.max(Some(at + fault.lasts?));
        }
        last
    }
}

/// When a scenario runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// With `squall test DIR`.
    #[default]
    Test,
    /// Under `squall validate`, or when its file is named.
    Validate,
}

/// One production manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshFile {
    /// Its path, for messages.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

/// The control plane's host.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlSpec {
    /// Its zone, one of [`Network::zones`]. Default: the first.
    pub zone: Arc<str>,
}

impl ControlSpec {
    /// The name of the control plane's host, in faults and links.
    pub const HOST: &'static str = "control";
}
