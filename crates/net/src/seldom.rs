//! One of many lines of a log that say the same.

use std::time::Duration;

use squall_policy::Instant;

/// How long nothing more is said.
const QUIET: Duration = Duration::from_secs(10);

/// Decides which of many events is worth a line of a log, where strangers cause them: the first few in ten seconds. Who scans ports does not
/// fill a log then; a metric is to count all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seldom {
    /// When these ten seconds began; `None`: nothing has been said.
    since: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Seldom {
    /// Of an event at `at`: how many were not said since the last that was, if this one may be. `burst`: how many may be said in ten
    /// seconds, at least 1.
    #[must_use]
    pub fn may_say(&mut self, at: Instant, burst: u32) -> Option<u64> {
        match self.since {
            Some(since) if at.since(since) < QUIET => {
                if self.said >= burst {
                    self.left_out += 1;
                    return None;
                }
            }
            Some(_) | None => (self.since, self.said) = (Some(at), 0),
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(burst: u32, seconds: &[(u64, Option<u64>)]) {
        let mut seldom = Seldom::default();
        for (at, want) in seconds {
            assert_eq!(seldom.may_say(Instant::ZERO + Duration::from_secs(*at), burst), *want, "at {at}s");
        }
    }

    #[test]
    fn the_first_few_in_ten_seconds_are_said_and_how_many_were_not() {
        check(1, &[(0, Some(0)), (1, None), (9, None), (10, Some(2)), (19, None), (40, Some(1)), (50, Some(0))]);
        check(3, &[(5, Some(0)), (5, Some(0)), (6, Some(0)), (7, None), (14, None), (15, Some(2)), (16, Some(0))]);
    }
}
