//! A ring of points on which the keys' hashes lie (ketama).
//!
//! ```text
//!   points:  xxh64("10.0.0.1:80_0"), xxh64("10.0.0.1:80_1"), …   sorted; each leads to its endpoint
//!   key:     the first point at or after its hash; then round the ring
//! ```
//!
//! The endpoint of the least weight has ⌈min · weight ÷ sum⌉ points, others in proportion; `max` caps the ring. An endpoint
//! that comes or goes moves only the keys of its own points, about its share of all. With the default of 1024 points shares
//! differ by about 1 ÷ √(points of an endpoint): 10 % at ten endpoints. Source: Karger et al., "Consistent hashing and random
//! trees" (1997); points and their number as Envoy's `ring_hash` makes them, so that both agree on where a key lies.

use std::net::SocketAddr;

use crate::hash::xxh64;

/// The points in order, each with the index of its endpoint.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// The ring of these addresses and weights; `min` and `max` as in [`crate::HashTable::Ring`].
    pub(crate) fn new(members: &[(SocketAddr, u32)], min: u32, max: u32) -> Self {
        let sum: u128 = members.iter().map(|(_, weight)| u128::from(*weight)).sum();
        let Some(least) = members.iter().map(|(_, weight)| u128::from(*weight)).min() else {
            return Self { points: Vec::new() };
        };
        let fewest = (least * u128::from(min)).div_ceil(sum);
        // Points up to and with an endpoint, as a fraction: weights so far × scale.
        let (over, under) =
            if fewest * sum > u128::from(max) * least { (u128::from(max), sum) } else { (fewest, least) };
        let mut points = Vec::with_capacity((sum * over).div_ceil(under) as usize);
        let (mut so_far, mut name) = (0, Vec::with_capacity(32));
        for (index, (address, weight)) in (0_u32..).zip(members) {
            so_far += u128::from(*weight);
            let end = (so_far * over).div_ceil(under) as usize;
            for nth in 0..end.saturating_sub(points.len()) {
                use std::io::Write as _;
                name.clear();
                write!(name, "{address}_{nth}").expect("a Vec takes all");
                points.push((xxh64(&name, 0), index));
            }
        }
        // By address where hashes collide, so that the order of the list does not matter.
        points.sort_unstable_by_key(|(hash, index)| (*hash, members[*index as usize].0));
        Self { points }
    }

    /// The endpoints of the points from `hash` on, once round.
    pub(crate) fn walk(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<(SocketAddr, u32)> {
        (1..).zip(weights).map(|(n, weight)| (([10, 0, 0, n], 80).into(), *weight)).collect()
    }

    fn count(ring: &Ring, of: u32) -> usize {
        ring.points.iter().filter(|(_, index)| *index == of).count()
    }

    #[test]
    fn points_are_in_proportion_and_within_the_sizes() {
        for (weights, min, max, want) in [
            (&[1, 1][..], 1024, 8 << 20, &[512, 512][..]),
            (&[1, 1, 1], 1024, 8 << 20, &[342, 342, 342]), // ⌈1024/3⌉ each
            (&[1, 3], 1024, 8 << 20, &[256, 768]),
            (&[1, 1, 1], 1, 8 << 20, &[1, 1, 1]),
            (&[1, 1000], 1024, 100, &[1, 99]),
            (&[1, 1, 1, 1], 1024, 2, &[1, 0, 1, 0]), // too small for all
            (&[], 1024, 8 << 20, &[]),
        ] {
            let ring = Ring::new(&members(weights), min, max);
            let got: Vec<usize> = (0_u32..).zip(weights).map(|(index, _)| count(&ring, index)).collect();
            assert_eq!(got, want, "{weights:?} {min} {max}");
        }
    }

    #[test]
    fn a_key_lies_where_it_lay_in_every_run() {
        let ring = Ring::new(&members(&[1, 1, 1]), 1024, 8 << 20);
        let homes: Vec<Option<usize>> =
            ["alice", "bob", "carol", "dave"].iter().map(|key| ring.walk(xxh64(key.as_bytes(), 0)).next()).collect();
        assert_eq!(homes, HOMES.map(Some), "users' keys must not move between versions");
    }

    const HOMES: [usize; 4] = [1, 0, 0, 1];

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// The slow model: the nearest point of all, looked for one by one.
        fn nearest(members: &[(SocketAddr, u32)], per: usize, key: u64) -> usize {
            let mut points = Vec::new();
            for (index, (address, _)) in members.iter().enumerate() {
                points.extend((0..per).map(|nth| (xxh64(format!("{address}_{nth}").as_bytes(), 0), index)));
            }
            points.into_iter().min_by_key(|(point, _)| point.wrapping_sub(key)).expect("there are some").1
        }

        proptest! {
            #[test]
            fn a_key_goes_to_the_nearest_point(n in 1_usize..8, keys in prop::collection::vec(any::<u64>(), 1..20)) {
                let members = members(&vec![1; n]);
                let ring = Ring::new(&members, 64, 8 << 20);
                let per = 64_usize.div_ceil(n);
                for key in keys {
                    prop_assert_eq!(ring.walk(key).next(), Some(nearest(&members, per, key)));
                    let mut all: Vec<usize> = ring.walk(key).collect();
                    prop_assert_eq!(all.len(), n * per);
                    all.sort_unstable();
                    all.dedup();
                    prop_assert_eq!(all.len(), n, "a walk comes by everyone");
                }
            }

            #[test]
            fn who_leaves_moves_its_own_keys_only(n in 2_usize..8, gone in any::<prop::sample::Index>(), keys in prop::collection::vec(any::<u64>(), 50)) {
                let all = members(&vec![1; n]);
                let gone = gone.index(n);
                let mut left = all.clone();
                left.remove(gone);
                // As many points each, so that only the membership differs.
                let before = Ring::new(&all, 100 * n as u32, 8 << 20);
                let after = Ring::new(&left, 100 * (n as u32 - 1), 8 << 20);
                for key in keys {
                    let home = all[before.walk(key).next().expect("not empty")].0;
                    if home != all[gone].0 {
                        prop_assert_eq!(left[after.walk(key).next().expect("not empty")].0, home);
                    }
                }
            }
        }
    }
}
