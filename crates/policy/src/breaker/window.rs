//! Counts over the latest span of time, in ten buckets.
//!
//! ```text
//!   width = window / 10        bucket of a moment = nanoseconds / width        a bucket leaves whole, ten widths after it began
//! ```
//!
//! A sample counts for at least nine tenths of the window and at most all of it. Source: Hystrix's rolling numbers (ten
//! buckets), resilience4j's time-based window.

use std::time::Duration;

use crate::Instant;

const BUCKETS: usize = 10;

/// So many, and so many of them that count against the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bad: u32,
    pub(super) all: u32,
}

/// The machine.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: [Counts; BUCKETS],
    /// The number of the latest bucket, from the beginning of the world.
    latest: u64,
    /// Over all buckets.
    sum: Counts,
}

impl Window {
    /// Counts a sample, and says what the window holds now.
    pub(super) fn add(&mut self, now: Instant, window: Duration, bad: bool) -> Counts {
        let _ = self.at(now, window);
        // At the most that a bucket holds it stays: 2^32 calls of one endpoint within one window.
        if let Some(all) = self.sum.all.checked_add(1) {
            let bucket = &mut self.buckets[place(self.latest)];
            bucket.all += 1;
            let counts = mutant!("breaker-loses-samples", bad, bad && all.is_multiple_of(2));
            bucket.bad += u32::from(counts);
            self.sum = Counts { bad: self.sum.bad + u32::from(counts), all };
        }
        self.sum
    }

    /// What the window holds now. Time that went back stands still.
    pub(super) fn at(&mut self, now: Instant, window: Duration) -> Counts {
        let width = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX) / BUCKETS as u64;
        let bucket = now.as_nanos() / width.max(1);
        let passed = bucket.saturating_sub(self.latest);
        if passed >= BUCKETS as u64 {
            self.forget();
        } else {
            for number in self.latest + 1..=bucket {
                let Counts { bad, all } = mutant!(
                    "breaker-remembers-for-ever",
                    std::mem::take(&mut self.buckets[place(number)]),
                    Counts::default()
                );
                self.sum = Counts { bad: self.sum.bad - bad, all: self.sum.all - all };
            }
        }
        self.latest = self.latest.max(bucket);
        self.sum
    }

    /// Forgets every sample.
    pub(super) fn forget(&mut self) {
        self.buckets = Default::default();
        self.sum = Counts::default();
    }
}

fn place(bucket: u64) -> usize {
    (bucket % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_sample_counts_for_nine_tenths_of_the_window_to_all_of_it() {
        let mut window = Window::default();
        assert_eq!(window.add(ms(0), SECOND, true), Counts { bad: 1, all: 1 });
        assert_eq!(window.add(ms(99), SECOND, false), Counts { bad: 1, all: 2 });
        assert_eq!(window.at(ms(999), SECOND), Counts { bad: 1, all: 2 });
        assert_eq!(window.at(ms(1000), SECOND), Counts { bad: 0, all: 0 });
        assert_eq!(window.add(ms(1000), SECOND, true), Counts { bad: 1, all: 1 });
        assert_eq!(window.at(ms(1_000_000), SECOND), Counts { bad: 0, all: 0 });
    }

    #[test]
    fn a_full_window_stays_full() {
        let mut window = Window { sum: Counts { bad: 5, all: u32::MAX }, ..Window::default() };
        window.buckets[0] = window.sum;
        assert_eq!(window.add(ms(1), SECOND, true), Counts { bad: 5, all: u32::MAX });
        assert_eq!(window.at(ms(1001), SECOND), Counts { bad: 0, all: 0 });
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model keeps every sample and looks at all of them.
            #[test]
            fn no_sample_is_lost_and_none_counts_for_longer_than_the_window(
                samples in prop::collection::vec((0_u64..400, any::<bool>()), 1..200),
                window_ms in 100_u64..2000,
            ) {
                let span = Duration::from_millis(window_ms);
                let width = window_ms * 1_000_000 / 10;
                let mut window = Window::default();
                let mut story: Vec<(u64, bool)> = Vec::new();
                let mut now = 0;
                for (gap, bad) in samples {
                    now += gap;
                    story.push((now * 1_000_000, bad));
                    let this = now * 1_000_000 / width;
                    let within: Vec<_> = story.iter().filter(|(at, _)| at / width + 10 > this).collect();
                    let bad = within.iter().filter(|(_, bad)| *bad).count() as u32;
                    prop_assert_eq!(window.add(ms(now), span, story[story.len() - 1].1), Counts {
                        bad,
                        all: within.len() as u32,
                    });
                    let oldest = within.first().expect("the latest").0;
                    prop_assert!(now * 1_000_000 - oldest <= window_ms * 1_000_000);
                    let first_out = story.len() - within.len();
                    if let Some((at, _)) = first_out.checked_sub(1).map(|last| story[last]) {
                        prop_assert!(now * 1_000_000 - at > 9 * width);
                    }
                }
            }
        }
    }
}
