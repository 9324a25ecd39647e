//! How long to wait before a repetition.
//!
//! ```text
//!   n-th repetition:  ceiling = min(last, first·2^(n−1))
//!   none          ceiling                 full      uniform [0, ceiling]
//!   equal         uniform [ceiling/2, ceiling]      decorrelated  uniform [first, min(last, 3·wait before)]
//! ```
//!
//! Source: Brooker, "Exponential backoff and jitter" (AWS architecture blog, 2015). All in integer nanoseconds, so that
//! jitter does spread: scaled seconds and truncated fractions have made it vanish elsewhere.

use std::time::Duration;

use crate::Rng;
use crate::mesh::{Backoff, Jitter};

impl Backoff {
    /// The wait before repetition `nth` (from 1); `before` is the wait before the previous one, zero at first.
    #[must_use]
    pub fn wait(&self, nth: u32, before: Duration, rng: &mut Rng) -> Duration {
        let doubling =
            1_u32.checked_shl(mutant!("back-off-doubles-too-early", nth.saturating_sub(1), nth)).unwrap_or(u32::MAX);
        let ceiling = self.first.saturating_mul(doubling).min(self.last);
        match self.jitter {
            Jitter::None => ceiling,
            Jitter::Full => mutant!(
                "jitter-does-not-spread",
                rng.between(Duration::ZERO, ceiling),
                Duration::from_secs(rng.between(Duration::ZERO, ceiling).as_secs()),
            ),
            Jitter::Equal => rng.between(ceiling / 2, ceiling),
            Jitter::Decorrelated => {
                let most = before.max(self.first).saturating_mul(3);
                let most = mutant!("decorrelated-without-a-limit", most.min(self.last), most);
                rng.between(self.first, most)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(jitter: Jitter) -> Backoff {
        Backoff { first: Duration::from_millis(25), last: Duration::from_millis(250), jitter }
    }

    #[test]
    fn doubles_from_the_first_to_the_last() {
        let mut rng = Rng::from_seed(1);
        let waits: Vec<_> = [1, 2, 3, 4, 5, 10, 40, u32::MAX]
            .into_iter()
            .map(|nth| backoff(Jitter::None).wait(nth, Duration::ZERO, &mut rng).as_millis())
            .collect();
        assert_eq!(waits, [25, 50, 100, 200, 250, 250, 250, 250]);
    }

    /// Waits must spread over the whole span, down to the nanosecond: jitter that truncates is none.
    #[track_caller]
    fn spreads(jitter: Jitter, nth: u32, before_ms: u64, least_ms: u64, most_ms: u64) {
        let mut rng = Rng::from_seed(9);
        let (least, most) = (Duration::from_millis(least_ms), Duration::from_millis(most_ms));
        let mut tenths = [0_u32; 10];
        let mut distinct = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            let wait = backoff(jitter).wait(nth, Duration::from_millis(before_ms), &mut rng);
            assert!((least..=most).contains(&wait), "{wait:?} is outside {least:?} to {most:?}");
            let tenth = (wait - least).as_nanos() * 10 / ((most - least).as_nanos() + 1);
            tenths[tenth as usize] += 1;
            distinct.insert(wait);
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
        assert!(distinct.len() > 9900, "{} of 10000 waits differ", distinct.len());
    }

    #[test]
    fn jitter_spreads_the_waits_over_its_span() {
        spreads(Jitter::Full, 1, 0, 0, 25);
        spreads(Jitter::Full, 9, 0, 0, 250);
        spreads(Jitter::Equal, 2, 0, 25, 50);
        spreads(Jitter::Decorrelated, 1, 0, 25, 75);
        spreads(Jitter::Decorrelated, 3, 60, 25, 180);
        spreads(Jitter::Decorrelated, 4, 200, 25, 250);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            #[test]
            fn no_wait_leaves_its_limits(
                first_ms in 1_u64..1000,
                more_ms in 0_u64..300_000,
                nth in 1_u32..50,
                before_ms in 0_u64..400_000,
                seed in any::<u64>(),
            ) {
                let mut rng = Rng::from_seed(seed);
                let (first, last) = (Duration::from_millis(first_ms), Duration::from_millis(first_ms + more_ms));
                let mut ceiling = first;
                (1..nth).for_each(|_| ceiling = (ceiling * 2).min(last));
                for (jitter, least, most) in [
                    (Jitter::None, ceiling, ceiling),
                    (Jitter::Full, Duration::ZERO, ceiling),
                    (Jitter::Equal, ceiling / 2, ceiling),
                    (Jitter::Decorrelated, first, last),
                ] {
                    let wait = Backoff { first, last, jitter }.wait(nth, Duration::from_millis(before_ms), &mut rng);
                    prop_assert!((least..=most).contains(&wait), "{:?}: {:?}", jitter, wait);
                }
            }
        }
    }
}
