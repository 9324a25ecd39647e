//! The circuit breaker of one endpoint, or of a whole backend.
//!
//! ```text
//!            a run of failures │ too few successes │ too many slow calls
//!   Closed ───────────────────────────────────────────────────────────▶ Open (refuses until `until`)
//!     ▲  ▲ │ unless fewer than `floor` endpoints would serve:             │  ▲
//!     │  └─┘ stays closed (`Refused`), and opens at a later               │  │
//!     │      sample, once others serve again                              │  │
//!     │ `probes` successes                                   until passed,│  │ a probe failed, or was slow:
//!     └────────────────────────────── HalfOpen ◀──────────────────────────┘──┘ open time doubles, up to open_max
//!                                      (at most `probes` requests at once without a head)
//! ```
//!
//! Closed is sending, open is refusing. Leave to send is a [`Permit`], handed back once with [`Breaker::end`]. Every
//! transition begins a new epoch, and a permit of an old one says nothing any more: answers to requests sent before the
//! breaker opened neither close it nor open it again. A probe stops counting against `probes` when its head comes, so that
//! an endless stream does not keep its endpoint half-open; its verdict still counts when it ends.
//!
//! Success is counted when a call ends, speed when its head comes or, if that is earlier, when it *is* too slow: a call in
//! flight for just `slower_than` is slow. Shares are looked at with each sample, of the latest `window` and not before
//! `min_requests` ([`window`]). A breaker that opens or closes forgets its samples.
//!
//! What a sample leads to is an [`Effect`]; who holds several breakers decides whether the floor lets one trip.
//!
//! Sources: Linkerd's failure accrual (consecutive failures 7, 1 s to 60 s, jitter .5, a probe; and its success rate over a
//! window with a minimum volume); Hystrix (rolling windows of ten buckets, request volume threshold); resilience4j (failure
//! rate, slow call rate); Nygard, "Release It!". Envoy has no such breaker, only ejection ([`crate::outlier`]).

use std::fmt;
use std::time::Duration;

use crate::mesh::Breaker as Config;
use crate::verdict::Verdict;
use crate::{Instant, Rng};

mod flight;
mod window;

pub(crate) use flight::InFlight;
use window::Window;

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
    /// A run of failures opened it.
    by_run: bool,
    /// The floor keeps it closed, and it has been said.
    refused: bool,
    /// There when shares matter.
    shares: Option<Box<Shares>>,
}

#[derive(Debug, Default)]
struct Shares {
    outcomes: Window,
    speeds: Window,
}

/// Leave to send one request.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit {
    epoch: u32,
    /// It occupies a probe's place.
    probing: bool,
    /// Its number among those in flight, where slow ones matter.
    pub(crate) call: Option<u64>,
}

impl Permit {
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }
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

/// What a sample leads to.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Sends again.
    Closed,
    /// Must open: [`Breaker::trip`].
    Trips(Trip),
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// Refuses until then.
    Opened { until: Instant, why: Trip },
    /// Should open, but too few would be left.
    Refused { why: Trip },
    /// Lets probes through.
    HalfOpened,
    /// Sends again.
    Closed,
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trip {
    /// So many failures in a row.
    Failures {
        /// The length of the run.
        in_a_row: u32,
    },
    /// Too few of the latest calls succeeded.
    SuccessRate {
        /// So many did.
        successes: u32,
        /// Of so many.
        of: u32,
    },
    /// Too many of the latest calls were slow.
    SlowCalls {
        /// So many were.
        slow: u32,
        /// Of so many.
        of: u32,
    },
    /// A probe failed, after something else than a run of failures opened it.
    ProbeFailed,
    /// A probe was slow.
    ProbeSlow,
}

impl fmt::Display for Trip {
    /// `7 failures in a row`, `success rate 43 % of 120`, `slow calls 61 % of 80`. Percentages are cut, not rounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Failures { in_a_row } => write!(f, "{in_a_row} failures in a row"),
            Self::SuccessRate { successes, of } => write!(f, "success rate {} % of {of}", percent(successes, of)),
            Self::SlowCalls { slow, of } => write!(f, "slow calls {} % of {of}", percent(slow, of)),
            Self::ProbeFailed => f.write_str("its probe failed"),
            Self::ProbeSlow => f.write_str("its probe was slow"),
        }
    }
}

/// Whole percent of `of`, which is not 0.
pub(crate) fn percent(part: u32, of: u32) -> u64 {
    u64::from(part) * 100 / u64::from(of.max(1))
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Closed,
            epoch: 0,
            failures: 0,
            open_for: Duration::ZERO,
            by_run: false,
            refused: false,
            shares: None,
        }
    }

    /// Closes and forgets, because other settings hold now or too few others serve. Permits given before say nothing any
    /// more.
    pub(crate) fn reset(&mut self) {
        let epoch = self.epoch;
        *self = Self::new();
        self.epoch = epoch.wrapping_add(1);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Until when it refuses, or refused.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open { until } => Some(until),
            State::HalfOpen { .. } => Some(Instant::ZERO),
        }
    }

    pub(crate) fn admits(&self, now: Instant, config: &Config) -> Admits {
        match self.state {
            State::Closed => Admits::Yes,
            State::Open { until } if now < until => Admits::No,
            State::Open { .. } => Admits::Probe,
            State::HalfOpen { probing, .. }
                if mutant!("half-open-lets-everything-through", probing < config.probes, true) =>
            {
                Admits::Probe
            }
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
        (Permit { epoch: self.epoch, probing, call: None }, transition)
    }

    /// Its state in a word, for people.
    pub(crate) fn word(&self) -> &'static str {
        match self.state {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half-open",
        }
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
    pub(crate) fn judge(&mut self, now: Instant, epoch: u32, verdict: Verdict, config: &Config) -> Option<Effect> {
        if mutant!("late-answers-count", epoch != self.epoch, false) {
            return None;
        }
        let failed = match verdict {
            Verdict::Nothing => return None,
            Verdict::Success => false,
            Verdict::Failure(_) => true,
        };
        match &mut self.state {
            State::Open { .. } => None,
            State::HalfOpen { .. } if failed => {
                self.failures = self.failures.saturating_add(1);
                let run = Trip::Failures { in_a_row: self.failures };
                Some(Effect::Trips(if self.by_run { run } else { Trip::ProbeFailed }))
            }
            State::HalfOpen { passed, .. } => {
                *passed += 1;
                if *passed < config.probes {
                    return None;
                }
                self.failures = 0;
                self.enter(State::Closed);
                Some(Effect::Closed)
            }
            State::Closed => {
                self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
                if let Some(rate) = &config.success_rate {
                    self.shares.get_or_insert_default().outcomes.add(now, rate.window, failed);
                }
                self.due(now, config)
            }
        }
    }

    /// Counts how fast a call was, or that it is slow already. Only where slow calls matter.
    pub(crate) fn time(&mut self, now: Instant, epoch: u32, slow: bool, config: &Config) -> Option<Effect> {
        let limit = config.slow_calls.as_ref()?;
        if epoch != self.epoch {
            return None;
        }
        match self.state {
            State::Open { .. } => None,
            State::HalfOpen { .. } => slow.then_some(Effect::Trips(Trip::ProbeSlow)),
            State::Closed => {
                self.shares.get_or_insert_default().speeds.add(now, limit.window, slow);
                self.due(now, config)
            }
        }
    }

    /// Whether it must open by now.
    fn due(&mut self, now: Instant, config: &Config) -> Option<Effect> {
        let why = self.why(now, config);
        // What was refused and is over may be said again.
        self.refused &= why.is_some();
        why.map(Effect::Trips)
    }

    fn why(&mut self, now: Instant, config: &Config) -> Option<Trip> {
        if config.consecutive_failures.is_some_and(|most| self.failures >= most) {
            return Some(Trip::Failures { in_a_row: self.failures });
        }
        let shares = self.shares.as_mut()?;
        if let Some(rate) = &config.success_rate {
            let counts = shares.outcomes.at(now, rate.window);
            let successes = counts.all - counts.bad;
            let too_few = u64::from(successes) * 1000 < u64::from(rate.below_permille) * u64::from(counts.all);
            if mutant!("one-failure-is-a-rate", counts.all >= rate.min_requests, true) && too_few {
                return Some(Trip::SuccessRate { successes, of: counts.all });
            }
        }
        if let Some(limit) = &config.slow_calls {
            let counts = shares.speeds.at(now, limit.window);
            let too_many = u64::from(counts.bad) * 1000 > u64::from(limit.above_permille) * u64::from(counts.all);
            if counts.all >= limit.min_requests && too_many {
                return Some(Trip::SlowCalls { slow: counts.bad, of: counts.all });
            }
        }
        None
    }

    /// What [`Effect::Trips`] asks for: opens. With `kept`, the floor keeps a closed one closed, which is said once.
    pub(crate) fn trip(
        &mut self,
        now: Instant,
        why: Trip,
        kept: bool,
        config: &Config,
        rng: &mut Rng,
    ) -> Option<Transition> {
        let again = match self.state {
            State::Closed if mutant!("no-floor-under-breakers", kept, false) => {
                let said = std::mem::replace(&mut self.refused, true);
                return (!said).then_some(Transition::Refused { why });
            }
            State::Closed => false,
            State::Open { .. } | State::HalfOpen { .. } => true,
        };
        let open_for = if mutant!("open-time-does-not-grow", again, false) {
            self.open_for.saturating_mul(2).max(config.open_min)
        } else {
            config.open_min
        };
        self.by_run = matches!(why, Trip::Failures { .. });
        self.open_for = open_for.min(config.open_max);
        let most = self.open_for.saturating_mul(1000 + config.jitter_permille) / 1000;
        let until = now + mutant!("breakers-reopen-together", rng.between(self.open_for, most), self.open_for);
        self.enter(State::Open { until });
        Some(Transition::Opened { until, why })
    }

    /// The request is over: hands the permit back.
    pub(crate) fn end(&mut self, mut permit: Permit) {
        self.head(&mut permit);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch = self.epoch.wrapping_add(1);
        self.refused = false;
        if let Some(shares) = &mut self.shares {
            shares.outcomes.forget();
            shares.speeds.forget();
        }
    }
}

#[cfg(test)]
mod tests;
