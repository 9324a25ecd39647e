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
use crate::mesh::Outliers as Config;
use crate::verdict::Verdict;

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
            Verdict::Failure(_) if self.until.is_some() => None,
            Verdict::Failure(_) => {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CONFIG: Config = Config {
        consecutive_5xx: 3,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection: Duration::from_secs(70),
        max_ejection_percent: 50,
        floor: 1,
    };
    const FEW: Crowd = Crowd { all: 4, ejected: 0 };

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn fail(outlier: &mut Outlier, now: Instant, times: u32, crowd: Crowd) -> Option<Transition> {
        (0..times).map(|_| outlier.judge(now, Verdict::NO_ANSWER, crowd, &CONFIG)).last().flatten()
    }

    #[test]
    fn ejects_after_failures_in_a_row_and_returns_at_the_first_interval_after() {
        let mut outlier = Outlier::default();
        assert_eq!(fail(&mut outlier, at(0), 2, FEW), None);
        assert_eq!(outlier.judge(at(0), Verdict::Success, FEW, &CONFIG), None);
        assert_eq!(fail(&mut outlier, at(0), 2, FEW), None);
        assert_eq!(outlier.judge(at(0), Verdict::Nothing, FEW, &CONFIG), None);
        assert_eq!(fail(&mut outlier, at(1), 1, FEW), Some(Transition::Ejected { until: at(31) }));
        assert_eq!(fail(&mut outlier, at(2), 9, FEW), None, "failures from before count no more");
        assert_eq!(outlier.on_interval(at(30)), None);
        assert_eq!(outlier.on_interval(at(40)), Some(Transition::Returned));
        assert!(!outlier.is_ejected());
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_most_and_intervals_forgive() {
        let mut outlier = Outlier::default();
        let mut spans = Vec::new();
        for round in 0..4 {
            let now = at(round * 1000);
            if let Some(Transition::Ejected { until }) = fail(&mut outlier, now, 3, FEW) {
                spans.push(until.since(now).as_secs());
            }
            assert_eq!(outlier.on_interval(now + Duration::from_secs(900)), Some(Transition::Returned));
        }
        assert_eq!(spans, [30, 60, 70, 70]);
        (0..3).for_each(|_| assert_eq!(outlier.on_interval(at(9000)), None));
        assert_eq!(
            fail(&mut outlier, at(9000), 3, FEW),
            Some(Transition::Ejected { until: at(9060) }),
            "4 − 3 + 1 = 2"
        );
    }

    #[test]
    fn nobody_is_ejected_if_too_few_would_be_left() {
        let spares = |all, ejected, percent, floor| {
            Crowd { all, ejected }.spares_one(&Config { max_ejection_percent: percent, floor, ..CONFIG })
        };
        for (all, ejected, percent, floor, want) in [
            (10, 0, 10, 1, true),
            (10, 1, 10, 1, false),
            (10, 1, 29, 1, true),
            (10, 2, 29, 1, false),
            (3, 0, 10, 1, true), // less than one whole endpoint: one may go
            (3, 1, 10, 1, false),
            (3, 0, 0, 1, false),
            (1, 0, 100, 1, false),
            (2, 0, 100, 1, true),
            (2, 1, 100, 1, false),
            (5, 1, 100, 4, false),
        ] {
            assert_eq!(spares(all, ejected, percent, floor), want, "{all} {ejected} {percent} {floor}");
        }
        let mut outlier = Outlier::default();
        assert_eq!(fail(&mut outlier, at(0), 3, Crowd { all: 1, ejected: 0 }), Some(Transition::Refused));
        assert!(!outlier.is_ejected());
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn an_ejection_follows_just_so_many_failures_without_a_success(
                verdicts in prop::collection::vec(0_u8..8, 1..100)
            ) {
                let mut outlier = Outlier::default();
                let mut story: Vec<u8> = Vec::new();
                for kind in verdicts {
                    let verdict = match kind {
                        0 | 1 => Verdict::Success,
                        2 => Verdict::Nothing,
                        _ => Verdict::NO_ANSWER,
                    };
                    let transition = outlier.judge(at(0), verdict, FEW, &CONFIG);
                    if verdict != Verdict::Nothing {
                        story.push(kind);
                    }
                    let run = story.iter().rev().take_while(|kind| **kind > 2).count();
                    let due = verdict == Verdict::NO_ANSWER && run == 3;
                    prop_assert_eq!(matches!(transition, Some(Transition::Ejected { .. })), due);
                    if due {
                        prop_assert_eq!(outlier.on_interval(at(1000)), Some(Transition::Returned));
                        story.clear();
                    }
                }
            }
        }
    }
}
