//! How many places there are: a fixed number, or one that follows the latency.

use crate::gradient::{Gradient, Moved};
use crate::mesh::{Adaptive, Limits};
use crate::vegas::{Outcome, Vegas};
use crate::{Instant, Rng};

/// The limit now, and what it is made of.
#[derive(Debug)]
pub(super) enum Limit {
    Fixed,
    Gradient(Gradient),
    Vegas(Vegas),
}

/// How a request gave its place back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Answered well, to the last byte.
    Served,
    /// Answered with a failure, broken off, or no try got through.
    Failed,
    /// Its time, or its last try's, ran out.
    TimedOut,
    /// Its caller went away.
    CallerGone,
    /// It made no try.
    Unused,
}

impl Limit {
    pub(super) fn new(now: Instant, limits: &Limits, dice: &mut Rng) -> Self {
        match &limits.adaptive {
            None => Self::Fixed,
            Some(Adaptive::Gradient(config)) => Self::Gradient(Gradient::new(now, config)),
            Some(Adaptive::Vegas(config)) => Self::Vegas(Vegas::new(now, config, dice)),
        }
    }

    /// Never more than the limits now in force allow.
    pub(super) fn now(&self, limits: &Limits) -> u32 {
        match self {
            Self::Fixed => limits.in_flight,
            Self::Gradient(gradient) => gradient.limit().min(limits.in_flight),
            Self::Vegas(vegas) => vegas.limit().min(limits.in_flight),
        }
    }

    /// A request asks for a place.
    pub(super) fn on_arrival(&mut self, now: Instant, limits: &Limits) -> Option<Moved> {
        match (self, &limits.adaptive) {
            (Self::Gradient(gradient), Some(Adaptive::Gradient(config))) => gradient.on_arrival(now, config),
            (Self::Fixed | Self::Gradient(_) | Self::Vegas(_), _) => None,
        }
    }

    /// A request gives the place back that it had since `since`. `in_flight` counts it too.
    pub(super) fn on_leave(
        &mut self,
        now: Instant,
        (since, left): (Instant, Left),
        in_flight: u32,
        limits: &Limits,
        dice: &mut Rng,
    ) -> Option<Moved> {
        match (self, &limits.adaptive) {
            (Self::Gradient(gradient), Some(Adaptive::Gradient(config))) => {
                let counts = match left {
                    Left::Served | Left::TimedOut => true,
                    Left::CallerGone => {
                        let waited = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
                        gradient.counts_as_slow(waited, config)
                    }
                    Left::Failed | Left::Unused => false,
                };
                if counts { gradient.on_latency(now, since, limits.in_flight, config, dice) } else { None }
            }
            (Self::Vegas(vegas), Some(Adaptive::Vegas(config))) => {
                let outcome = match left {
                    Left::Served => Outcome::Answered,
                    Left::Failed | Left::TimedOut => Outcome::Failed,
                    Left::CallerGone | Left::Unused => return None,
                };
                vegas.on_latency(now, (since, outcome), in_flight, limits.in_flight, config, dice)
            }
            (Self::Fixed | Self::Gradient(_) | Self::Vegas(_), _) => None,
        }
    }
}
