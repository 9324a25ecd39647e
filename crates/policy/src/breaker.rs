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
use crate::{Instant, Rng};

/// What one request says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered properly.
    Success,
    /// It did not.
    Failure,
    /// Neither: the caller went away, for example.
    Nothing,
}

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
            (Verdict::Failure, State::Closed) => {
                self.failures = self.failures.saturating_add(1);
                (self.failures >= config.consecutive_failures).then(|| self.open(now, config.open_min, config, rng))
            }
            (Verdict::Failure, State::HalfOpen { .. }) => {
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
