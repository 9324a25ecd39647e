//! Active health checks of one endpoint.
//!
//! ```text
//!                    first answer ok                    `unhealthy_after` failures in a row
//!   Unchecked ─────────────────────────▶ Healthy ──────────────────────────────────────────▶ Unhealthy
//!       │                                   ▲                                                   ▲  │
//!       │                                   └───────── `healthy_after` successes in a row ──────┼──┘
//!       └────────────────── first answer failed ────────────────────────────────────────────────┘
//!
//!   due ──poll──▶ under way ──on_result──▶ waits interval · [1, 1 + jitter] ──▶ due
//! ```
//!
//! A new endpoint is not picked before it has answered once, as in Envoy; that check is made at once, and alone decides. While
//! nothing is known of anyone, the panic threshold lets requests through. One check at a time; what belongs to an endpoint that
//! is gone, or to settings that were replaced, is not counted. Source: Envoy, "health checking".

use crate::mesh::HealthCheck as Config;
use crate::{Instant, Rng};

/// The machine.
#[derive(Debug)]
pub(crate) struct Health {
    state: State,
    /// Answers in a row that speak against the state.
    against: u32,
    /// When the next check is due; `None`: one is under way.
    due: Option<Instant>,
    /// The number of the check under way, or of the last one.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unchecked,
    Healthy,
    Unhealthy,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeResult {
    /// As expected.
    Passed,
    /// Another status.
    Status(u16),
    /// The call failed with this gRPC status, or ended without one (2, unknown).
    Grpc(u8),
    /// Asked by gRPC, the endpoint says that it is not serving: 0 unknown, 2 not serving, 3 service unknown.
    NotServing(u8),
    /// No answer in time.
    TimedOut,
    /// No connection, or it broke.
    Broken,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// For the first time, or again.
    Healthy { first: bool },
    /// After so many failures in a row, the last of which was this.
    Unhealthy { failures: u32, last: ProbeResult },
}

impl Health {
    /// Nothing is known yet, and the first check is due.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { state: State::Unchecked, against: 0, due: Some(now), number: 0 }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.state == State::Healthy
    }

    /// When the next check is due; `None`: one is under way.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The check that is due begins now, under this number.
    pub(crate) fn begin(&mut self, number: u64) {
        self.due = None;
        self.number = number;
    }

    /// The check of this number has ended. Another than the one under way does not count.
    pub(crate) fn on_result(
        &mut self,
        now: Instant,
        number: u64,
        result: ProbeResult,
        config: &Config,
        dice: &mut Rng,
    ) -> Option<Transition> {
        if self.due.is_some() || self.number != number {
            return None;
        }
        let spread = config.interval * config.jitter_permille / 1000;
        self.due = Some(now + dice.between(config.interval, config.interval + spread));
        let passed = result == ProbeResult::Passed;
        let needed = match (self.state, passed) {
            (State::Healthy, true) | (State::Unhealthy, false) => {
                self.against = 0;
                return None;
            }
            (State::Unchecked, _) => 1,
            (State::Healthy, false) => config.unhealthy_after,
            (State::Unhealthy, true) => config.healthy_after,
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        let count = std::mem::take(&mut self.against);
        if passed {
            let first = self.state == State::Unchecked;
            self.state = State::Healthy;
            Some(Transition::Healthy { first })
        } else {
            self.state = State::Unhealthy;
            Some(Transition::Unhealthy { failures: count, last: result })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mesh::Probe;

    fn config() -> Config {
        Config {
            probe: Probe::Connect,
            interval: Duration::from_secs(5),
            jitter_permille: 100,
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }

    /// `+` passed, `-` failed; what is seen after each: `h`ealthy or not, upper case at a transition.
    #[track_caller]
    fn check(answers: &str, want: &str) {
        let mut health = Health::new(Instant::ZERO);
        let mut dice = Rng::from_seed(1);
        let mut now = Instant::ZERO;
        let mut seen = String::new();
        for answer in answers.chars() {
            now = now.max(health.due().expect("none is under way"));
            health.begin(1);
            assert_eq!(health.due(), None);
            let result = if answer == '+' { ProbeResult::Passed } else { ProbeResult::TimedOut };
            let changed = health.on_result(now, 1, result, &config(), &mut dice).is_some();
            let letter = if health.is_healthy() { 'h' } else { 'u' };
            seen.push(if changed { letter.to_ascii_uppercase() } else { letter });
        }
        assert_eq!(seen, want, "{answers}");
    }

    #[test]
    fn the_first_answer_decides_alone() {
        check("+", "H");
        check("-", "U");
    }

    #[test]
    fn so_many_in_a_row_change_the_state() {
        check("+--+---", "HhhhhhU");
        check("-+-++", "UuuuH");
        check("+---++", "HhhUuH");
    }

    #[test]
    fn checks_spread_over_the_jitter() {
        let mut dice = Rng::from_seed(3);
        let mut waits: Vec<u64> = (0..1000)
            .map(|_| {
                let mut health = Health::new(Instant::ZERO);
                health.begin(1);
                let _ = health.on_result(Instant::ZERO, 1, ProbeResult::Passed, &config(), &mut dice);
                health.due().expect("waits").as_nanos() / 10_000_000
            })
            .collect();
        assert!(waits.iter().all(|wait| (500..=550).contains(wait)));
        waits.sort_unstable();
        waits.dedup();
        assert!(waits.len() > 45, "{}", waits.len());
    }

    #[test]
    fn a_check_that_is_not_under_way_does_not_count() {
        let (mut health, mut dice) = (Health::new(Instant::ZERO), Rng::from_seed(1));
        assert_eq!(health.on_result(Instant::ZERO, 0, ProbeResult::Passed, &config(), &mut dice), None);
        health.begin(7);
        assert_eq!(health.on_result(Instant::ZERO, 6, ProbeResult::Passed, &config(), &mut dice), None);
        assert!(!health.is_healthy() && health.due().is_none());
        assert_eq!(
            health.on_result(Instant::ZERO, 7, ProbeResult::Passed, &config(), &mut dice),
            Some(Transition::Healthy { first: true })
        );
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            /// The model looks back at the whole story.
            #[test]
            fn the_state_follows_the_last_run_that_was_long_enough(answers in prop::collection::vec(any::<bool>(), 1..60)) {
                let mut health = Health::new(Instant::ZERO);
                let mut dice = Rng::from_seed(1);
                let mut model = answers[0];
                for end in 1..=answers.len() {
                    let passed = answers[end - 1];
                    health.begin(1);
                    let result = if passed { ProbeResult::Passed } else { ProbeResult::Status(503) };
                    let transition = health.on_result(Instant::ZERO, 1, result, &config(), &mut dice);
                    let before = model;
                    let run = answers[..end].iter().rev().take_while(|answer| **answer == passed).count();
                    if passed != model && run >= if passed { 2 } else { 3 } {
                        model = passed;
                    }
                    prop_assert_eq!(health.is_healthy(), model);
                    prop_assert_eq!(transition.is_some(), before != model || end == 1);
                }
            }
        }
    }
}
