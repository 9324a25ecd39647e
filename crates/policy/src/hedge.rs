//! When to send a second try beside a slow one.
//!
//! ```text
//!   try sent ──delay──▶ hedge? ─ budgets refuse, body gone, no time ─▶ none for this request any more
//!                        └ yes ─▶ another endpoint, if another is up ──delay──▶ hedge? … up to `attempts`
//!   a good answer ─▶ the others are cancelled: nothing bad is said of them
//! ```
//!
//! The percentile is that of the tries that are no hedges: they alone are a fair sample of how long a try takes. One that was
//! cancelled counts with the time it had: it is longer than the delay, so the percentile stays where it would be. What failed
//! counts only if its time ran out; fast failures would make hedging nervous.
//!
//! Samples lie in a histogram of buckets 1/64 of their value wide, in two halves of the window that take turns, so that a
//! sample is known for between half and the whole of it. All in integers.
//!
//! Sources: Dean and Barroso, "The tail at scale" (CACM 2013); gRFC A6 `hedgingPolicy`.

use std::time::Duration;

use crate::Instant;
use crate::mesh::HedgeAfter;

/// Buckets per doubling.
const STEPS: u64 = 64;
/// From 1 µs to 2^42 ns, more than an hour: 32 doublings.
const BUCKETS: usize = 33 * STEPS as usize;
/// Values under this are taken for it, in units of 2^-4 µs.
const UNIT_NS: u64 = 16;

/// The quantile of a window of latencies.
#[derive(Debug)]
pub(crate) struct Quantile {
    permille: u32,
    min_samples: u64,
    half_ns: u64,
    /// The half that is written now, by number.
    current: u64,
    halves: [Box<[u32]>; 2],
    counts: [u64; 2],
    /// The answer, and how many samples have come since.
    known: Option<Duration>,
    fresh: u64,
}

impl Quantile {
    /// `None`: the delay is fixed.
    pub(crate) fn new(after: HedgeAfter) -> Option<Self> {
        let HedgeAfter::Percentile { permille, min_samples, window } = after else { return None };
        let empty = || vec![0_u32; BUCKETS].into_boxed_slice();
        Some(Self {
            permille,
            min_samples: u64::from(min_samples),
            half_ns: u64::try_from(window.as_nanos() / 2).unwrap_or(u64::MAX).max(1),
            current: 0,
            halves: [empty(), empty()],
            counts: [0; 2],
            known: None,
            fresh: 0,
        })
    }

    /// A try took so long.
    pub(crate) fn observe(&mut self, now: Instant, took: Duration) {
        self.turn(now);
        let half = (self.current % 2) as usize;
        let bucket = &mut self.halves[half][bucket(took)];
        *bucket = bucket.saturating_add(1);
        self.counts[half] += 1;
        self.fresh += 1;
    }

    /// The quantile; `None`: too little is known.
    pub(crate) fn get(&mut self, now: Instant) -> Option<Duration> {
        self.turn(now);
        let count = self.counts[0] + self.counts[1];
        if count < self.min_samples {
            return None;
        }
        // Looking at every bucket is dear, and a few samples among many change little.
        if self.known.is_none() || mutant!("percentile-is-never-updated", self.fresh * 32 >= count, false) {
            self.fresh = 0;
            self.known = Some(self.look(count));
        }
        self.known
    }

    fn look(&self, count: u64) -> Duration {
        // The sample of this rank, from 1: nearest-rank, as percentiles of lists are.
        let rank = (count * u64::from(self.permille)).div_ceil(1000).max(1);
        let mut below = 0;
        for (index, (first, second)) in self.halves[0].iter().zip(&self.halves[1]).enumerate() {
            below += u64::from(*first) + u64::from(*second);
            if below >= rank {
                return middle(index);
            }
        }
        middle(BUCKETS - 1)
    }

    fn turn(&mut self, now: Instant) {
        let number = now.as_nanos() / self.half_ns;
        if number <= self.current {
            return;
        }
        // The half that is written next is the older one; after a long silence both are old.
        let old = if number - self.current >= 2 { &[0, 1][..] } else { &[(number % 2) as usize][..] };
        for &half in old {
            if self.counts[half] > 0 {
                self.halves[half].fill(0);
                self.counts[half] = 0;
            }
        }
        self.known = None;
        self.current = number;
    }
}

/// Linear up to `STEPS`, then `STEPS` buckets for each doubling.
fn bucket(took: Duration) -> usize {
    let value = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / UNIT_NS;
    let doubling = (value / STEPS).checked_ilog2().map_or(0, |log| log + 1);
    let step = if doubling == 0 { value } else { (value >> (doubling - 1)) - STEPS };
    (u64::from(doubling) * STEPS + step).min(BUCKETS as u64 - 1) as usize
}

/// The middle of a bucket.
fn middle(index: usize) -> Duration {
    let (doubling, step) = (index as u64 / STEPS, index as u64 % STEPS);
    let (low, width) = if doubling == 0 { (step, 1) } else { ((step + STEPS) << (doubling - 1), 1 << (doubling - 1)) };
    Duration::from_nanos(low * UNIT_NS + width * UNIT_NS / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantile(permille: u32, min_samples: u32, window_s: u64) -> Quantile {
        let window = Duration::from_secs(window_s);
        Quantile::new(HedgeAfter::Percentile { permille, min_samples, window }).expect("not fixed")
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let mut before = 0;
        for exponent in 0..42 {
            for part in [0, 1, 3, 7, 11, 15] {
                let value = (1_u64 << exponent) + ((1_u64 << exponent) * part / 16);
                let index = bucket(Duration::from_nanos(value));
                assert!(index >= before, "{value}");
                before = index;
                let off = (middle(index).as_nanos() as u64).abs_diff(value);
                assert!(off <= UNIT_NS || off * 100 <= value, "{value} is taken for {:?}", middle(index));
            }
        }
    }

    #[test]
    fn says_nothing_before_enough_is_known_and_forgets() {
        let mut quantile = quantile(950, 100, 10);
        (1..=99).for_each(|ms| quantile.observe(at(0), Duration::from_millis(ms)));
        assert_eq!(quantile.get(at(1)), None);
        quantile.observe(at(0), Duration::from_millis(100));
        let found = quantile.get(at(1)).expect("a hundred are enough").as_micros();
        assert!((94_000..96_000).contains(&found), "{found}");
        assert!(quantile.get(at(9_999)).is_some());
        assert_eq!(quantile.get(at(10_000)), None, "the window is over");
    }

    #[test]
    fn the_answer_follows_the_samples() {
        let mut quantile = quantile(500, 1, 1000);
        for (samples, ms) in [(100, 10), (300, 100), (1000, 20)] {
            (0..samples).for_each(|_| quantile.observe(at(0), Duration::from_millis(ms)));
            let found = quantile.get(at(1)).expect("enough is known").as_micros() as u64;
            assert!(found.abs_diff(ms * 1000) < ms * 20, "{found} after {samples} of {ms} ms");
        }
    }

    /// The p95 of an exponential with mean 1 is 2.9957.
    #[test]
    fn finds_the_percentile_of_a_known_distribution() {
        let mut rng = crate::Rng::from_seed(5);
        let mut quantile = quantile(950, 100, 1000);
        for n in 0..100_000 {
            let took = -(1.0 - rng.unit()).ln();
            quantile.observe(at(n), Duration::from_nanos((took * 1e6) as u64));
        }
        let found = quantile.get(at(100_000)).expect("many are known").as_nanos() as f64 / 1e6;
        assert!((found - 2.9957).abs() < 0.05, "{found}");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model sorts all samples of the two halves.
            #[test]
            fn is_near_the_sorted_list_s(
                permille in 1_u32..1000,
                samples in prop::collection::vec((0_u64..400, 0_u64..40_000_000_000), 1..200),
            ) {
                let mut quantile = quantile(permille, 1, 2);
                let (mut story, mut now): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
                for (gap, nanos) in samples {
                    now += gap;
                    quantile.observe(at(now), Duration::from_nanos(nanos));
                    story.push((now / 1000, nanos));
                    // Now and again only: each answer is taken over for a while.
                    quantile.known = None;
                    let mut known: Vec<u64> =
                        story.iter().filter(|(half, _)| half + 1 >= now / 1000).map(|(_, nanos)| *nanos).collect();
                    known.sort_unstable();
                    let rank = (known.len() as u64 * u64::from(permille)).div_ceil(1000).max(1);
                    let want = known[rank as usize - 1];
                    let found = quantile.get(at(now)).expect("one is enough").as_nanos() as u64;
                    prop_assert!(found.abs_diff(want) <= UNIT_NS + want / 64, "{} for {}", found, want);
                }
            }
        }
    }
}
