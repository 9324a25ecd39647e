//! Outlier ejection: Envoy's outlier detection, complete, with a floor.
//!
//! ```text
//!             a finding, its dice (`enforcing`), and enough others stay
//!   Serving ───────────────────────────────────────────────────────────▶ Ejected { until }
//!     │  ▲                                                                  │
//!     └──┘ each interval: back-off − 1      first interval after `until`    │
//!      ▲────────────────────────────────────────────────────────────────────┘
//!
//!   with each answer:   consecutive_5xx, consecutive_gateway_failure, consecutive_local_origin_failure in a row
//!   each interval:      success rate far below the others', failure percentage in itself too high
//! ```
//!
//! An ejection lasts back-off × `base_ejection`, at most `max_ejection`, and up to `max_ejection_jitter` more. The back-off
//! grows by one with each ejection, as long as that makes it longer, and shrinks by one with each whole interval of serving.
//! A run that has been found begins anew, whether it led to an ejection or not.
//!
//! Failures that the proxy sees itself ([`Cause::Local`]) count as gateway failures, or, with `split_local_origin`, only in
//! counts of their own; any answer is a success of those. While an endpoint is ejected, what comes in belongs to requests
//! from before and counts no more (Envoy counts it for rates).
//!
//! Intervals begin with the first sample after a rest (Envoy's run always), and rest when one passes without a sample, an
//! ejected endpoint or a back-off to forgive. The floor is ours (Linkerd's is planned), since ejecting the last endpoints
//! turns an ill service into an absent one.
//!
//! Source: Envoy, `OutlierDetection` of its API and `source/common/upstream/outlier_detection_impl.cc`.

use std::fmt;
use std::time::Duration;

use crate::breaker::percent;
use crate::mesh::Outliers as Config;
use crate::verdict::{Cause, Verdict};
use crate::{Instant, Rng};

mod rates;

pub(crate) use rates::{Rates, fails_too_often, heard};

/// The machine of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    run_5xx: u32,
    run_gateway: u32,
    run_local: u32,
    /// What the interval brought so far: of servers (or all), and of the proxy's own, if apart.
    tallies: [Tally; 2],
    /// Base ejections in the next ejection, less one.
    backoff: u32,
    until: Option<Instant>,
    returned: Option<Instant>,
}

/// Requests, and the good ones of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) good: u32,
    pub(crate) all: u32,
}

impl Tally {
    fn add(&mut self, good: bool) {
        if let Some(all) = self.all.checked_add(1) {
            self.all = all;
            self.good += u32::from(good);
        }
    }
}

/// Whose failures a finding counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Servers', or all, if they are not counted apart.
    External,
    /// The proxy's own: connections that fail or break, tries out of time.
    Local,
}

/// Why an endpoint is an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ejection {
    /// So many 5xx in a row.
    Consecutive5xx {
        /// The length of the run.
        in_a_row: u32,
    },
    /// So many 502, 503, 504 in a row.
    ConsecutiveGatewayFailure {
        /// The length of the run.
        in_a_row: u32,
    },
    /// So many failures of connections in a row.
    ConsecutiveLocalOriginFailure {
        /// The length of the run.
        in_a_row: u32,
    },
    /// Its success rate is far below the others'.
    SuccessRate {
        /// So many requests succeeded in the interval.
        successes: u32,
        /// Of so many.
        of: u32,
        /// The mean over all endpoints with enough requests, in thousandths.
        mean_permille: u32,
        /// Whose failures.
        origin: Origin,
    },
    /// It fails too often.
    FailurePercentage {
        /// So many requests failed in the interval.
        failures: u32,
        /// Of so many.
        of: u32,
        /// Whose failures.
        origin: Origin,
    },
}

impl fmt::Display for Ejection {
    /// `5 failures in a row`, `success rate 43 % of 120, mean 97 %`. Percentages are cut, not rounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = |origin| match origin {
            Origin::External => "",
            Origin::Local => " of connections",
        };
        match *self {
            Self::Consecutive5xx { in_a_row } => write!(f, "{in_a_row} failures in a row"),
            Self::ConsecutiveGatewayFailure { in_a_row } => write!(f, "{in_a_row} gateway failures in a row"),
            Self::ConsecutiveLocalOriginFailure { in_a_row } => write!(f, "{in_a_row} connection failures in a row"),
            Self::SuccessRate { successes, of, mean_permille, origin } => {
                let (rate, mean) = (percent(successes, of), mean_permille / 10);
                write!(f, "success rate{} {rate} % of {of}, mean {mean} %", connections(origin))
            }
            Self::FailurePercentage { failures, of, origin } => {
                write!(f, "failures{} {} % of {of}", connections(origin), percent(failures, of))
            }
        }
    }
}

impl Ejection {
    /// In how many percent of such findings the endpoint is ejected.
    fn enforcing(&self, config: &Config) -> u32 {
        let enforcing = &config.enforcing;
        match self {
            Self::Consecutive5xx { .. } => enforcing.consecutive_5xx,
            Self::ConsecutiveGatewayFailure { .. } => enforcing.consecutive_gateway_failure,
            Self::ConsecutiveLocalOriginFailure { .. } => enforcing.consecutive_local_origin_failure,
            Self::SuccessRate { origin: Origin::External, .. } => enforcing.success_rate,
            Self::SuccessRate { origin: Origin::Local, .. } => enforcing.local_origin_success_rate,
            Self::FailurePercentage { origin: Origin::External, .. } => enforcing.failure_percentage,
            Self::FailurePercentage { origin: Origin::Local, .. } => enforcing.local_origin_failure_percentage,
        }
    }
}

/// How the others are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Endpoints that are not draining.
    pub(crate) all: u32,
    /// Those of them that are ejected.
    pub(crate) ejected: u32,
    /// One more ejection would leave fewer serving than the breakers' floor.
    pub(crate) at_floor: bool,
}

impl Crowd {
    /// Whether one more may go.
    fn spares_one(self, config: &Config) -> bool {
        let quota = u64::from(self.all) * u64::from(config.max_ejection_percent) / 100;
        let one = config.always_eject_one && config.max_ejection_percent > 0;
        let serving = self.all - self.ejected;
        u64::from(self.ejected) < quota.max(u64::from(one)) && serving > config.floor && !self.at_floor
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Out until then at least.
    Ejected { until: Instant, why: Ejection },
    /// Should be out, but too few would be left.
    Refused { why: Ejection },
    /// Should be out, but the dice of `enforcing` say no.
    Spared { why: Ejection },
    /// Back.
    Returned,
}

impl Outlier {
    pub(crate) fn is_ejected(&self) -> bool {
        self.until.is_some()
    }

    /// Whether an interval can change it.
    pub(crate) fn is_marked(&self) -> bool {
        self.until.is_some() || self.backoff > 0
    }

    /// Until when at least it is out.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Comes back, in time or, because others left, before it.
    pub(crate) fn pardon(&mut self, now: Instant) -> Transition {
        self.until = None;
        self.returned = Some(now);
        (self.run_5xx, self.run_gateway, self.run_local) = (0, 0, 0);
        Transition::Returned
    }

    /// Counts a verdict: what is found by it, in the order in which it is to be tried.
    pub(crate) fn judge(&mut self, verdict: Verdict, config: &Config) -> [Option<Ejection>; 2] {
        if mutant!("ejected-go-on-being-judged", self.until.is_some(), false) {
            return [None; 2];
        }
        let [external, local] = &mut self.tallies;
        let mut found = [None; 2];
        match verdict {
            Verdict::Nothing => return found,
            Verdict::Failure(Cause::Local) if config.split_local_origin => {
                local.add(false);
                self.run_local += 1;
                if self.run_local >= config.consecutive_local_origin_failure {
                    found[0] = Some(Ejection::ConsecutiveLocalOriginFailure { in_a_row: self.run_local });
                    self.run_local = 0;
                }
                return found;
            }
            Verdict::Success => {
                external.add(true);
                (self.run_5xx, self.run_gateway) = (0, 0);
            }
            Verdict::Failure(cause) => {
                external.add(false);
                self.run_5xx += 1;
                self.run_gateway = match cause {
                    Cause::Server => mutant!("a-500-is-a-gateway-failure", 0, self.run_gateway),
                    Cause::Gateway | Cause::Local => self.run_gateway + 1,
                };
                if self.run_gateway >= config.consecutive_gateway_failure {
                    found[0] = Some(Ejection::ConsecutiveGatewayFailure { in_a_row: self.run_gateway });
                    self.run_gateway = 0;
                }
                if self.run_5xx >= config.consecutive_5xx {
                    found[1] = Some(Ejection::Consecutive5xx { in_a_row: self.run_5xx });
                    self.run_5xx = 0;
                }
            }
        }
        if config.split_local_origin {
            // It answered, whatever it said.
            local.add(true);
            self.run_local = 0;
        }
        found
    }

    /// Acts on a finding: ejects, unless it is out already, too few others would be left, or the dice say no.
    pub(crate) fn eject(
        &mut self,
        now: Instant,
        why: Ejection,
        crowd: Crowd,
        config: &Config,
        dice: &mut Rng,
    ) -> Option<Transition> {
        let enforcing = why.enforcing(config);
        if self.until.is_some() || enforcing == 0 {
            return None;
        }
        if !crowd.spares_one(config) {
            return Some(Transition::Refused { why });
        }
        if mutant!("every-finding-is-enforced", enforcing < 100, false) && dice.below(100) >= u64::from(enforcing) {
            return Some(Transition::Spared { why });
        }
        if config.base_ejection.saturating_mul(self.backoff) < config.max_ejection.saturating_add(config.base_ejection)
        {
            self.backoff += 1;
        }
        let span = config.base_ejection.saturating_mul(self.backoff).min(config.max_ejection);
        let jitter = match config.max_ejection_jitter {
            Duration::ZERO => Duration::ZERO,
            most => dice.between(Duration::ZERO, most),
        };
        let until = now + span + jitter;
        self.until = Some(until);
        Some(Transition::Ejected { until, why })
    }

    /// An interval has passed: whether it comes back, and what the interval brought.
    pub(crate) fn on_interval(&mut self, now: Instant) -> (Option<Transition>, [Tally; 2]) {
        let back = self.until.is_some_and(|until| now >= until).then(|| self.pardon(now));
        (back, std::mem::take(&mut self.tallies))
    }

    /// The end of the interval: who served all of it is forgiven one ejection.
    pub(crate) fn forgive(&mut self, now: Instant, config: &Config) {
        let served = self.returned.is_none_or(|at| now.since(at) >= config.interval);
        if self.until.is_none() && served {
            self.backoff = mutant!("ejections-are-never-forgiven", self.backoff.saturating_sub(1), self.backoff);
        }
    }
}

#[cfg(test)]
mod tests;
