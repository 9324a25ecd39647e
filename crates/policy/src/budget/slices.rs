//! Counts over the last span of time, in ten slices that expire one by one.

use std::time::Duration;

use crate::Instant;

const SLICES: u64 = 10;

/// `N` counts.
#[derive(Debug)]
pub(crate) struct Slices<const N: usize> {
    slice: u64,
    counts: [[u64; N]; SLICES as usize],
    sums: [u64; N],
    current: u64,
}

impl<const N: usize> Slices<N> {
    pub(crate) fn new(window: Duration) -> Self {
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self { slice: (nanos / SLICES).max(1), counts: [[0; N]; SLICES as usize], sums: [0; N], current: 0 }
    }

    pub(crate) fn add(&mut self, now: Instant, which: usize, amount: u64) {
        self.expire(now);
        self.counts[(self.current % SLICES) as usize][which] += amount;
        self.sums[which] += amount;
    }

    pub(crate) fn sums(&mut self, now: Instant) -> [u64; N] {
        self.expire(now);
        self.sums
    }

    fn expire(&mut self, now: Instant) {
        let number = now.as_nanos() / self.slice;
        if number <= self.current {
            return;
        }
        for expired in self.current + 1..=number.min(self.current + SLICES) {
            let old = std::mem::replace(&mut self.counts[(expired % SLICES) as usize], [0; N]);
            self.sums.iter_mut().zip(old).for_each(|(sum, old)| *sum -= old);
        }
        self.current = number;
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_are_those_of_the_last_ten_slices(
            window_ns in 1_u64..1000,
            events in prop::collection::vec((0_u64..500, 0_usize..2, 0_u64..9), 1..100),
        ) {
            let mut slices = Slices::<2>::new(Duration::from_nanos(window_ns));
            let slice = (window_ns / 10).max(1);
            let (mut story, mut at): (Vec<(u64, usize, u64)>, u64) = (Vec::new(), 0);
            for (gap, which, amount) in events {
                at += gap;
                slices.add(Instant::from_nanos(at), which, amount);
                story.push((at / slice, which, amount));
                let sum = |wanted| story.iter().filter(|(then, which, _)| *which == wanted && then + 10 > at / slice)
                    .map(|(_, _, amount)| amount).sum::<u64>();
                prop_assert_eq!(slices.sums(Instant::from_nanos(at)), [sum(0), sum(1)]);
            }
        }
    }
}
