//! When a queue has become a standing one, and how fast to empty it (controlled delay).
//!
//! ```text
//!            nobody waited less than target for an interval: one is sent away
//!   Serving ────────────────────────────────────────────────────────────────▶ Shedding ─┐ the n-th after
//!      ▲                                                                        │  ▲     │ interval ÷ √n
//!      └──────── somebody waited less than target, or nobody else waits ────────┘  └─────┘ is sent away
//! ```
//!
//! Asked when a place is to be given, about the longest wait in the queue. A burst that is worked off within an interval costs
//! nothing. The queue's last request is always served. Back within sixteen intervals, it goes on nearly where it stopped.
//!
//! Source: RFC 8289 (Nichols, Jacobson), §5; there packets are dropped, here requests are answered with 503 at once.

use std::time::Duration;

use crate::Instant;
use crate::mesh::Codel as Config;

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct Codel {
    /// When waits will have been above the target for an interval.
    above_at: Option<Instant>,
    shedding: bool,
    /// When the next one is sent away.
    next_at: Instant,
    /// Sent away since shedding began, and then.
    count: u32,
    count_before: u32,
}

impl Codel {
    /// A place is free: whether one of `waiting` requests, of whom the first has waited for `waited`, is to be sent away. Asked
    /// again until it says no.
    pub(crate) fn sheds(&mut self, now: Instant, waited: Duration, waiting: usize, config: &Config) -> bool {
        let standing = self.is_standing(now, waited, waiting, config);
        if !self.shedding {
            if !standing {
                return false;
            }
            self.shedding = true;
            let again = self.count - self.count_before;
            let soon = now.since(self.next_at) < config.interval.saturating_mul(16);
            self.count = if again > 1 && soon { again } else { 1 };
            self.count_before = self.count;
            self.next_at = now + pace(config.interval, self.count);
            return true;
        }
        if !standing {
            self.shedding = false;
            return false;
        }
        if now < self.next_at {
            return false;
        }
        self.count += 1;
        self.next_at = self.next_at + pace(config.interval, self.count);
        true
    }

    /// Nobody waits.
    pub(crate) fn rest(&mut self) {
        self.above_at = None;
        self.shedding = false;
    }

    fn is_standing(&mut self, now: Instant, waited: Duration, waiting: usize, config: &Config) -> bool {
        if waited < config.target || mutant!("codel-sheds-the-last-one-too", waiting <= 1, false) {
            self.above_at = None;
            return false;
        }
        let above_at = *self.above_at.get_or_insert(now + config.interval);
        now >= above_at
    }
}

/// `interval` ÷ √`count`, to the nanosecond.
fn pace(interval: Duration, count: u32) -> Duration {
    let root = (u128::from(mutant!("codel-does-not-speed-up", count, 1)) << 64).isqrt();
    Duration::from_nanos(u64::try_from((interval.as_nanos() << 32) / root).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Config = Config { target: Duration::from_millis(5), interval: Duration::from_millis(100) };

    const fn ms(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// A place is free every ten milliseconds and the first has always waited for `waited`: when one is sent away.
    fn sheds_at(waited: u64, waiting: usize, until: u64) -> Vec<u64> {
        let mut codel = Codel::default();
        let mut shed = Vec::new();
        for now in (0..until).step_by(10) {
            while codel.sheds(ms(now), Duration::from_millis(waited), waiting, &CONFIG) {
                shed.push(now);
            }
        }
        shed
    }

    #[test]
    fn a_standing_queue_is_shed_ever_faster() {
        // At 100 + 100/√1, + 100/√2, + 100/√3, ..., each at the next free place.
        assert_eq!(sheds_at(50, 9, 500), [100, 200, 280, 330, 380, 430, 470]);
    }

    #[test]
    fn short_waits_and_the_last_in_the_queue_are_left_alone() {
        assert_eq!(sheds_at(4, 9, 10_000), [0; 0]);
        assert_eq!(sheds_at(50, 1, 10_000), [0; 0]);
    }

    #[test]
    fn a_burst_that_is_worked_off_within_the_interval_costs_nothing() {
        let mut codel = Codel::default();
        for round in 0..100 {
            for (at, waited) in [(0, 0), (10, 90), (99, 5), (110, 1)] {
                let now = ms(round * 200 + at);
                assert!(!codel.sheds(now, Duration::from_millis(waited), 9, &CONFIG), "{now}");
            }
        }
    }

    #[test]
    fn it_goes_on_where_it_stopped_if_the_queue_is_soon_back() {
        let mut codel = Codel::default();
        let long = Duration::from_millis(50);
        let mut shed = |from: u64, until: u64| {
            let mut count = 0;
            for now in from..until {
                while codel.sheds(ms(now), long, 9, &CONFIG) {
                    count += 1;
                }
            }
            assert!(!codel.sheds(ms(until), Duration::ZERO, 9, &CONFIG));
            count
        };
        // It sheds at 2√n per interval: the longer, the faster.
        let (first, second, late) = (shed(0, 1000), shed(1100, 2100), shed(10_000, 11_000));
        assert!(second > first + 10, "{first}, then {second}");
        assert_eq!(late, first, "long after, it has forgotten");
    }

    #[test]
    fn the_pace_is_the_interval_by_the_root() {
        let second = Duration::from_secs(1);
        for (count, want) in [(1, 1_000_000_000), (2, 707_106_781), (4, 500_000_000), (1_000_000, 1_000_000)] {
            let nanos = pace(second, count).as_nanos();
            assert!(nanos.abs_diff(want) <= 1, "{count}: {nanos}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model is the RFC's own form: take one, look at it, drop it or hand it out.
            #[test]
            fn decides_as_the_rfc_writes_it(
                events in prop::collection::vec((0_u64..40, 0_u64..40, 1_usize..4), 1..400),
            ) {
                let mut codel = Codel::default();
                let mut model = Model::default();
                let mut now = Instant::ZERO;
                for (gap, waited, waiting) in events {
                    now = now + Duration::from_millis(gap);
                    let waited = Duration::from_millis(waited);
                    let mut shed = 0;
                    while codel.sheds(now, waited, waiting, &CONFIG) {
                        shed += 1;
                    }
                    prop_assert_eq!(shed, model.dequeue(now, waited, waiting), "at {}", now);
                }
            }
        }

        /// The queue stays as it is while several are dropped at once.
        #[derive(Default)]
        struct Model {
            first_above: Option<Instant>,
            dropping: bool,
            drop_next: Instant,
            count: u32,
            last_count: u32,
        }

        impl Model {
            fn ok_to_drop(&mut self, now: Instant, sojourn: Duration, waiting: usize) -> bool {
                if sojourn < CONFIG.target || waiting <= 1 {
                    self.first_above = None;
                    return false;
                }
                match self.first_above {
                    None => {
                        self.first_above = Some(now + CONFIG.interval);
                        false
                    }
                    Some(at) => now >= at,
                }
            }

            fn dequeue(&mut self, now: Instant, sojourn: Duration, waiting: usize) -> u32 {
                let mut dropped = 0;
                let mut ok = self.ok_to_drop(now, sojourn, waiting);
                if self.dropping {
                    if !ok {
                        self.dropping = false;
                    }
                    while self.dropping && now >= self.drop_next {
                        dropped += 1;
                        self.count += 1;
                        ok = self.ok_to_drop(now, sojourn, waiting);
                        if ok {
                            self.drop_next = self.drop_next + pace(CONFIG.interval, self.count);
                        } else {
                            self.dropping = false;
                        }
                    }
                } else if ok {
                    dropped += 1;
                    self.dropping = true;
                    let delta = self.count - self.last_count;
                    self.count = 1;
                    if delta > 1 && now.since(self.drop_next) < CONFIG.interval * 16 {
                        self.count = delta;
                    }
                    self.drop_next = now + pace(CONFIG.interval, self.count);
                    self.last_count = self.count;
                }
                dropped
            }
        }
    }
}
