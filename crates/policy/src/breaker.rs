//! The circuit breaker of one endpoint.
//!
//! ```text
//!            failures in a row ≥ consecutive_failures
//!   Closed ──────────────────────────────────────────▶ Open (refuses until `until`)
//!     ▲                                                 │  ▲
//!     │ `probes` successes                 until passed,│  │ a probe failed: open time doubles, up to open_max
//!     └────────────────────────────── HalfOpen ◀────────┘──┘
//!                                      (at most `probes` requests at once without a head)
//! ```
//!
//! Closed is sending, open is refusing. Leave to send is a [`Permit`], handed back once with [`Breaker::end`]. Every
//! transition begins a new epoch, and a permit of an old one says nothing any more: answers to requests sent before the
//! breaker opened neither close it nor open it again. A probe stops counting against `probes` when its head comes, so that
//! an endless stream does not keep its endpoint half-open; its verdict still counts when it ends.
//!
//! Sources: Linkerd's failure accrual (consecutive failures 7, 1 s to 60 s, jitter .5, a probe); Nygard, "Release It!".

use std::time::Duration;

use crate::mesh::Breaker as Config;
use crate::verdict::Verdict;
use crate::{Instant, Rng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: u32, passed: u32 },
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: State,
    epoch: u32,
    /// Failures in a row.
    failures: u32,
    /// The latest open time, before jitter.
    open_for: Duration,
}

/// Leave to send one request.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit {
    epoch: u32,
    /// It occupies a probe's place.
    probing: bool,
}

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admits {
    /// Not now.
    No,
    /// Like any other.
    Yes,
    /// As a probe.
    Probe,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Refuses until then, after so many failures in a row.
    Opened { until: Instant, failures: u32 },
    /// Lets probes through.
    HalfOpened,
    /// Sends again.
    Closed,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self { state: State::Closed, epoch: 0, failures: 0, open_for: Duration::ZERO }
    }

    /// Closes and forgets, because other settings hold now. Permits given before say nothing any more.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.open_for = Duration::ZERO;
        self.enter(State::Closed);
    }

    pub(crate) fn admits(&self, now: Instant, config: &Config) -> Admits {
        match self.state {
            State::Closed => Admits::Yes,
            State::Open { until } if now < until => Admits::No,
            State::Open { .. } => Admits::Probe,
            State::HalfOpen { probing, .. } if probing < config.probes => Admits::Probe,
            State::HalfOpen { .. } => Admits::No,
        }
    }

    /// Takes a permit. Only after [`Breaker::admits`] did not say no.
    pub(crate) fn take(&mut self, now: Instant, config: &Config) -> (Permit, Option<Transition>) {
        let mut transition = None;
        if let State::Open { until } = self.state {
            assert!(now >= until, "an open breaker gives no permit");
            self.enter(State::HalfOpen { probing: 0, passed: 0 });
            transition = Some(Transition::HalfOpened);
        }
        let mut probing = false;
        if let State::HalfOpen { probing: places, .. } = &mut self.state {
            assert!(*places < config.probes, "a half-open breaker gives no more permits than probes");
            *places += 1;
            probing = true;
        }
        (Permit { epoch: self.epoch, probing }, transition)
    }

    /// The head of the answer came: a probe's place is free again.
    pub(crate) fn head(&mut self, permit: &mut Permit) {
        if !std::mem::take(&mut permit.probing) || permit.epoch != self.epoch {
            return;
        }
        if let State::HalfOpen { probing, .. } = &mut self.state {
            *probing = probing.checked_sub(1).expect("a probe's permit of this epoch holds a place");
        }
    }

    /// Counts a verdict. A permit may bring one before it ends (a failed head whose body is still streamed).
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        permit: &Permit,
        verdict: Verdict,
        config: &Config,
        rng: &mut Rng,
    ) -> Option<Transition> {
        if permit.epoch != self.epoch {
            return None;
        }
        match (verdict, &mut self.state) {
            (Verdict::Nothing, _) => None,
            (_, State::Open { .. }) => None,
            (Verdict::Success, State::Closed) => {
                self.failures = 0;
                None
            }
            (Verdict::Success, State::HalfOpen { passed, .. }) => {
                *passed += 1;
                if *passed < config.probes {
                    return None;
                }
                self.failures = 0;
                self.enter(State::Closed);
                Some(Transition::Closed)
            }
            (Verdict::Failure(_), State::Closed) => {
                self.failures = self.failures.saturating_add(1);
                (self.failures >= config.consecutive_failures).then(|| self.open(now, config.open_min, config, rng))
            }
            (Verdict::Failure(_), State::HalfOpen { .. }) => {
                self.failures = self.failures.saturating_add(1);
                let doubled = self.open_for.saturating_mul(2).max(config.open_min);
                Some(self.open(now, doubled, config, rng))
            }
        }
    }

    /// The request is over: hands the permit back.
    pub(crate) fn end(&mut self, mut permit: Permit) {
        self.head(&mut permit);
    }

    fn open(&mut self, now: Instant, open_for: Duration, config: &Config, rng: &mut Rng) -> Transition {
        self.open_for = open_for.min(config.open_max);
        let most = self.open_for.saturating_mul(1000 + config.jitter_permille) / 1000;
        let until = now + rng.between(self.open_for, most);
        self.enter(State::Open { until });
        Transition::Opened { until, failures: self.failures }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch = self.epoch.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const CONFIG: Config = Config {
        consecutive_failures: 2,
        open_min: Duration::from_secs(1),
        open_max: Duration::from_secs(4),
        jitter_permille: 0,
        probes: 1,
    };

    /// Each word at its second: `ask`, `ok`, `fail`, `gone` (asked and judged at once), `late-ok`, `late-fail` (a permit
    /// from the very beginning).
    #[track_caller]
    fn check(config: Config, script: &str, want: &[&str]) {
        let mut rng = Rng::from_seed(3);
        let mut breaker = Breaker::new();
        let (early, _) = breaker.take(Instant::ZERO, &config);
        let mut seen = Vec::new();
        for line in script.split(", ") {
            let (second, word) = line.split_once(' ').expect("`second word`");
            let second: u64 = second.parse().expect("a number of seconds");
            let now = Instant::from_nanos(second * 1_000_000_000);
            let verdict = match word.trim_start_matches("late-") {
                "ok" => Verdict::Success,
                "fail" => Verdict::NO_ANSWER,
                "gone" | "ask" => Verdict::Nothing,
                other => panic!("what is {other}?"),
            };
            let mut note = |transition: Option<Transition>| match transition {
                None => {}
                Some(Transition::Opened { until, failures }) => {
                    seen.push(format!("{second} open till {until} after {failures}"))
                }
                Some(Transition::HalfOpened) => seen.push(format!("{second} half-open")),
                Some(Transition::Closed) => seen.push(format!("{second} closed")),
            };
            if word.starts_with("late-") {
                note(breaker.judge(now, &early, verdict, &config, &mut rng));
            } else if breaker.admits(now, &config) == Admits::No {
                seen.push(format!("{second} refused"));
            } else {
                let (permit, transition) = breaker.take(now, &config);
                note(transition);
                note(breaker.judge(now, &permit, verdict, &config, &mut rng));
                if word != "ask" {
                    breaker.end(permit);
                }
            }
        }
        assert_eq!(seen, want);
    }

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_a_probe() {
        check(
            CONFIG,
            "0 fail, 0 ok, 0 fail, 0 fail, 0 ask, 1 ok, 1 ok",
            &["0 open till 1.000 after 2", "0 refused", "1 half-open", "1 closed"],
        );
    }

    #[test]
    fn waits_twice_as_long_after_a_failed_probe_up_to_the_most() {
        check(
            CONFIG,
            "0 fail, 0 fail, 1 fail, 2 ask, 3 fail, 7 fail, 11 ok, 11 fail, 11 fail",
            &[
                "0 open till 1.000 after 2",
                "1 half-open",
                "1 open till 3.000 after 3",
                "2 refused",
                "3 half-open",
                "3 open till 7.000 after 4",
                "7 half-open",
                "7 open till 11.000 after 5",
                "11 half-open",
                "11 closed",
                "11 open till 12.000 after 2",
            ],
        );
    }

    #[test]
    fn late_answers_say_nothing() {
        check(
            CONFIG,
            "0 fail, 0 fail, 0 late-ok, 0 late-fail, 1 ask, 1 late-ok, 1 late-fail, 1 ok",
            &["0 open till 1.000 after 2", "1 half-open", "1 refused"],
        );
    }

    #[test]
    fn a_probe_whose_caller_left_makes_room_for_another() {
        check(CONFIG, "0 fail, 0 fail, 1 gone, 1 ok", &["0 open till 1.000 after 2", "1 half-open", "1 closed"]);
    }

    #[test]
    fn as_many_successes_as_probes_close_it() {
        let config = Config { probes: 2, ..CONFIG };
        check(config, "0 fail, 0 fail, 1 ok, 1 ask, 1 ok", &["0 open till 1.000 after 2", "1 half-open", "1 closed"]);
        check(
            config,
            "0 fail, 0 fail, 1 ask, 1 ask, 1 ask",
            &["0 open till 1.000 after 2", "1 half-open", "1 refused"],
        );
    }

    #[test]
    fn the_head_of_a_probe_frees_its_place_but_its_end_gives_the_verdict() {
        let mut rng = Rng::from_seed(1);
        let mut breaker = Breaker::new();
        let now = Instant::from_nanos(1);
        for _ in 0..2 {
            let (permit, _) = breaker.take(now, &CONFIG);
            let _ = breaker.judge(now, &permit, Verdict::NO_ANSWER, &CONFIG, &mut rng);
            breaker.end(permit);
        }
        let later = now + CONFIG.open_min;
        let (mut probe, _) = breaker.take(later, &CONFIG);
        assert_eq!(breaker.admits(later, &CONFIG), Admits::No);
        breaker.head(&mut probe);
        assert_eq!(breaker.admits(later, &CONFIG), Admits::Probe);
        assert_eq!(breaker.judge(later, &probe, Verdict::Success, &CONFIG, &mut rng), Some(Transition::Closed));
        breaker.end(probe);
    }

    #[test]
    fn open_times_spread_over_the_jitter() {
        let config = Config { jitter_permille: 500, ..CONFIG };
        let mut rng = Rng::from_seed(5);
        let mut seen: Vec<u64> = (0..1000)
            .map(|_| {
                let mut breaker = Breaker::new();
                match breaker.open(Instant::ZERO, config.open_min, &config, &mut rng) {
                    Transition::Opened { until, .. } => until.as_nanos() / 50_000_000,
                    other @ (Transition::HalfOpened | Transition::Closed) => panic!("{other:?}"),
                }
            })
            .collect();
        assert!(seen.iter().all(|tick| (20..=30).contains(tick)));
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() >= 10, "1.0 to 1.5 s in steps of 50 ms: {seen:?}");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            /// The model remembers the whole story and looks back at it.
            #[test]
            fn never_refuses_without_a_run_of_failures_and_never_sends_while_open(
                script in prop::collection::vec((0_u64..1500, 0_u8..5), 1..200)
            ) {
                let mut rng = Rng::from_seed(1);
                let mut breaker = Breaker::new();
                let (mut now, mut run, mut open_until) = (Instant::ZERO, 0_u32, None::<Instant>);
                for (gap, kind) in script {
                    now = now + Duration::from_millis(gap);
                    let admits = breaker.admits(now, &CONFIG);
                    match open_until {
                        Some(until) if now < until => prop_assert_eq!(admits, Admits::No),
                        Some(_) => prop_assert_eq!(admits, Admits::Probe),
                        None => prop_assert_eq!(admits, Admits::Yes),
                    }
                    if admits == Admits::No {
                        continue;
                    }
                    let (permit, _) = breaker.take(now, &CONFIG);
                    let verdict = if kind < 2 { Verdict::Success } else { Verdict::NO_ANSWER };
                    let transition = breaker.judge(now, &permit, verdict, &CONFIG, &mut rng);
                    breaker.end(permit);
                    let was_open = open_until.is_some();
                    match verdict {
                        Verdict::Success => {
                            run = 0;
                            open_until = None;
                            prop_assert_eq!(transition, was_open.then_some(Transition::Closed));
                        }
                        Verdict::Failure(_) | Verdict::Nothing => {
                            run += 1;
                            if was_open || run >= CONFIG.consecutive_failures {
                                let power = run - CONFIG.consecutive_failures;
                                let span = Duration::from_secs(1_u64 << power.min(2));
                                open_until = Some(now + span);
                                prop_assert_eq!(transition, Some(Transition::Opened { until: now + span, failures: run }));
                            } else {
                                prop_assert_eq!(transition, None);
                            }
                        }
                    }
                }
            }
        }
    }
}
