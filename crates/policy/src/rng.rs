//! Dice: named streams of one seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// One stream of random numbers with one owner. Xoshiro256++ (Blackman, Vigna 2019), seeded through SplitMix64; the
/// algorithm is part of what a seed promises and does not change.
///
/// It is not `Clone`: two owners of one stream would draw the same waits. [`Rng::fork`] makes an independent stream.
#[derive(Debug)]
pub struct Rng {
    key: u64,
    forks: Arc<Mutex<BTreeMap<(u64, String), u64>>>,
    dice: Xoshiro256PlusPlus,
}

impl Rng {
    /// The root stream of a world.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self::keyed(seed, Arc::default())
    }

    fn keyed(key: u64, forks: Arc<Mutex<BTreeMap<(u64, String), u64>>>) -> Self {
        Self { key, forks, dice: Xoshiro256PlusPlus::seed_from_u64(key) }
    }

    /// An independent stream called `name`. The n-th fork of a name differs from the first, so that an endpoint that
    /// comes back does not replay its dice. Drawing from a stream does not change its forks.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let nth = {
            let mut forks = self.forks.lock().unwrap_or_else(PoisonError::into_inner);
            let count = forks.entry((self.key, name.to_owned())).or_insert(0);
            *count += mutant!("second-fork-repeats-the-first", 1, 0);
            *count
        };
        let mut key = self.key ^ 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(nth);
        for byte in mutant!("one-die-for-everybody", name, "").bytes() {
            key = (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            key ^= key >> 29;
        }
        Self::keyed(key, Arc::clone(&self.forks))
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.dice.next_u64()
    }

    /// A whole number uniform in `0..bound`, without bias (Lemire 2019). `bound` is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a die needs a side");
        let mut product = u128::from(self.bits()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.bits()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// True `permille` times of a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// A span uniform in `[least, most]`, to the nanosecond.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let least = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        if most <= least {
            return Duration::from_nanos(least);
        }
        Duration::from_nanos(least + self.below((most - least).saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_of_one_name_differ_and_repeat_per_seed() {
        let draw = |seed| {
            let root = Rng::from_seed(seed);
            let (mut a, mut b, mut c) = (root.fork("x"), root.fork("x"), root.fork("y"));
            [a.bits(), b.bits(), c.bits()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let [a, b, c] = draw(7);
        assert!(a != b && b != c && a != c);
    }

    #[test]
    fn waits_spread_over_the_whole_span() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            let wait = rng.between(Duration::ZERO, Duration::from_secs(1));
            seen[(wait.as_nanos() / 100_000_001) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
