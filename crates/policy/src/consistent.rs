//! Where a key goes: the first endpoint from its place on that takes it.
//!
//! ```text
//!   hash ─▶ walk the table ─▶ eligible? ─no─▶ next
//!                                └─yes─▶ below its bound? ─no─▶ next
//!                                               └─yes─▶ it
//! ```
//!
//! *Bounded loads*: with m requests in flight and one to come, an endpoint of weight w takes at most
//! ⌈bound · (m + 1) · w ÷ W⌉, W and m over those that are eligible. The bound is 100 % or more, so that there is always one
//! with room. Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads" (SODA 2018).

use std::net::SocketAddr;

use crate::maglev::Maglev;
use crate::mesh::HashTable;
use crate::ring_hash::Ring;

/// A built table.
#[derive(Debug)]
pub(crate) struct Table {
    members: Vec<(SocketAddr, u32)>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    Ring(Ring),
    Maglev(Maglev),
}

/// What an endpoint bears, and should.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) pending: u32,
    pub(crate) weight: u32,
}

impl Table {
    /// The table of these addresses and weights.
    pub(crate) fn new(config: HashTable, members: Vec<(SocketAddr, u32)>) -> Self {
        let places = match config {
            HashTable::Ring { min, max } => Places::Ring(Ring::new(&members, min, max)),
            HashTable::Maglev { size } => Places::Maglev(Maglev::new(&members, size)),
        };
        Self { members, places }
    }

    /// Whether it is that of these.
    pub(crate) fn is_of(&self, members: &[(SocketAddr, u32)]) -> bool {
        self.members == members
    }

    /// Whose the key is when all are up.
    pub(crate) fn home(&self, hash: u64) -> Option<usize> {
        match &self.places {
            Places::Ring(ring) => ring.walk(hash).next(),
            Places::Maglev(maglev) => maglev.walk(hash).next(),
        }
    }

    /// The first of `0..count` from the key's place on that is eligible and below its bound.
    pub(crate) fn pick(
        &self,
        hash: u64,
        count: usize,
        bound_percent: Option<u32>,
        eligible: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> Load,
    ) -> Option<usize> {
        let bound = bound_percent.map(|percent| {
            let (mut pending, mut weight) = (1_u64, 0_u64);
            for load in (0..count).filter(|&index| eligible(index)).map(&load) {
                pending += u64::from(load.pending);
                weight += u64::from(load.weight);
            }
            (u128::from(percent) * u128::from(pending), u128::from(weight) * 100)
        });
        let takes = |index: usize| {
            eligible(index)
                && bound.is_none_or(|(above, below)| {
                    let load = load(index);
                    u128::from(load.pending) < (above * u128::from(load.weight)).div_ceil(below)
                })
        };
        let found = match &self.places {
            Places::Ring(ring) => ring.walk(hash).find(|&index| takes(index)),
            Places::Maglev(maglev) => maglev.walk(hash).find(|&index| takes(index)),
        };
        // A table that is too small for all leads to some of them only.
        found.or_else(|| (0..count).find(|&index| takes(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: u8) -> Vec<(SocketAddr, u32)> {
        (1..=n).map(|n| (([10, 0, 0, n], 80).into(), 1)).collect()
    }

    const IDLE: Load = Load { pending: 0, weight: 1 };

    #[test]
    fn a_key_goes_home_or_to_the_next() {
        for config in [HashTable::RING, HashTable::MAGLEV] {
            let table = Table::new(config, members(5));
            for key in (0..100).map(|n: u64| crate::hash::xxh64(&n.to_le_bytes(), 0)) {
                let home = table.home(key);
                assert_eq!(table.pick(key, 5, None, |_| true, |_| IDLE), home);
                let next = table.pick(key, 5, None, |index| Some(index) != home, |_| IDLE);
                assert!(next.is_some() && next != home);
                assert_eq!(next, table.pick(key, 5, None, |index| Some(index) != home, |_| IDLE), "the same next");
                assert_eq!(table.pick(key, 5, None, |_| false, |_| IDLE), None);
            }
        }
    }

    #[test]
    fn a_table_too_small_for_all_still_finds_who_is_left() {
        let table = Table::new(HashTable::Maglev { size: 2 }, members(5));
        assert!((0..5).all(|only| table.pick(1, 5, None, |index| index == only, |_| IDLE) == Some(only)));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// Keys as skewed as can be: nobody bears more than the bound, and there is always room.
            #[test]
            fn nobody_bears_more_than_its_bound(
                keys in prop::collection::vec(0_u64..3, 1..200),
                weights in prop::collection::vec(1_u32..5, 1..8),
                down in any::<u8>(),
                percent in 100_u32..300,
                maglev in any::<bool>(),
            ) {
                let n = weights.len();
                let members: Vec<_> = members(n as u8).into_iter().zip(&weights).map(|((at, _), w)| (at, *w)).collect();
                let config = if maglev { HashTable::Maglev { size: 251 } } else { HashTable::RING };
                let table = Table::new(config, members);
                let eligible = |index: usize| index == 0 || down >> index & 1 == 0;
                let whole: u32 = (0..n).filter(|&i| eligible(i)).map(|i| weights[i]).sum();
                let mut pending = vec![0_u32; n];
                for (sent, key) in (1_u64..).zip(keys) {
                    let load = |index: usize| Load { pending: pending[index], weight: weights[index] };
                    let index = table.pick(key, n, Some(percent), eligible, load).expect("there is always room");
                    pending[index] += 1;
                    let bound = u64::from(percent) * sent * u64::from(weights[index]);
                    prop_assert!(u64::from(pending[index]) <= bound.div_ceil(100 * u64::from(whole)));
                }
            }
        }
    }
}
