//! Outlier ejection of one endpoint.
//!
//! ```text
//!             consecutive_5xx failures in a row, and enough others stay
//!   Serving ───────────────────────────────────────────────────────────▶ Ejected { until }
//!     │  ▲                                                                  │
//!     └──┘ each interval: ejections − 1        first interval after `until` │
//!      ▲────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The n-th ejection lasts n × base_ejection, at most max_ejection. While an endpoint serves, each interval forgives one
//! ejection. Source: Envoy's outlier detection, `consecutive_5xx`; the floor is ours (Linkerd's is planned), since ejecting
//! the last endpoints turns an ill service into an absent one.

use crate::Instant;
use crate::breaker::Verdict;
use crate::mesh::Outliers as Config;

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    failures: u32,
    ejections: u32,
    until: Option<Instant>,
}

/// How the others are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Endpoints that are not draining.
    pub(crate) all: u32,
    /// Those of them that are ejected.
    pub(crate) ejected: u32,
}

impl Crowd {
    /// Whether one more may go.
    fn spares_one(self, config: &Config) -> bool {
        let quota = u64::from(self.all) * u64::from(config.max_ejection_percent) / 100;
        let quota = if config.max_ejection_percent == 0 { 0 } else { quota.max(1) };
        let serving = self.all - self.ejected;
        u64::from(self.ejected) < quota && serving > config.floor
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Out until then at least.
    Ejected { until: Instant },
    /// Should be out, but too few would be left.
    Refused,
    /// Back.
    Returned,
}

impl Outlier {
    pub(crate) fn is_ejected(&self) -> bool {
        self.until.is_some()
    }

    /// Whether an interval can change it.
    pub(crate) fn is_marked(&self) -> bool {
        self.until.is_some() || self.ejections > 0
    }

    /// Until when at least it is out.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Comes back before its time, because others left.
    pub(crate) fn pardon(&mut self) -> Transition {
        self.until = None;
        self.failures = 0;
        Transition::Returned
    }

    /// Counts a verdict. What comes in while ejected belongs to requests from before and counts no more.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        verdict: Verdict,
        crowd: Crowd,
        config: &Config,
    ) -> Option<Transition> {
        match verdict {
            Verdict::Nothing => None,
            Verdict::Success => {
                self.failures = 0;
                None
            }
            Verdict::Failure if self.until.is_some() => None,
            Verdict::Failure => {
                self.failures += 1;
                if self.failures < config.consecutive_5xx {
                    return None;
                }
                self.failures = 0;
                if !crowd.spares_one(config) {
                    return Some(Transition::Refused);
                }
                self.ejections = self.ejections.saturating_add(1);
                let span = config.base_ejection.saturating_mul(self.ejections).min(config.max_ejection);
                let until = now + span;
                self.until = Some(until);
                Some(Transition::Ejected { until })
            }
        }
    }

    /// An interval has passed.
    pub(crate) fn on_interval(&mut self, now: Instant) -> Option<Transition> {
        match self.until {
            Some(until) if now >= until => Some(self.pardon()),
            Some(_) => None,
            None => {
                self.ejections = self.ejections.saturating_sub(1);
                None
            }
        }
    }
}
