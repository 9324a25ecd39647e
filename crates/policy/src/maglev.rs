//! A table of places, dealt out to endpoints by their preferences (Maglev).
//!
//! ```text
//!   endpoint i prefers the places  (offset + k · skip) mod size,  k = 0, 1, …
//!                                  offset = xxh64(address, 0) mod size,  skip = xxh64(address, 1) mod (size − 1) + 1
//!   in turns each takes its most preferred free place, lesser weights less often, until none is free
//!   key: the place hash mod size; then the places after it
//! ```
//!
//! The size is a prime, so that a skip leads through all places. Endpoints of one weight differ by one place at most. Source:
//! Eisenbud et al., "Maglev: a fast and reliable software network load balancer" (NSDI 2016); hashes and weights as in Envoy's
//! `maglev`, where the endpoints come in one order: ours is that of their addresses, whatever the list's.

use std::net::SocketAddr;

use crate::hash::xxh64;

/// For each place the index of its endpoint. Empty without endpoints.
#[derive(Debug)]
pub(crate) struct Maglev {
    places: Vec<u32>,
}

struct Player {
    index: u32,
    weight: u64,
    /// It takes a place when rounds × weight come up to this.
    target: u64,
    place: u64,
    skip: u64,
}

const FREE: u32 = u32::MAX;

impl Maglev {
    /// The table of these addresses and weights.
    pub(crate) fn new(members: &[(SocketAddr, u32)], size: u32) -> Self {
        let Some(most) = members.iter().map(|(_, weight)| u64::from(*weight)).max() else {
            return Self { places: Vec::new() };
        };
        let size = u64::from(size);
        let mut order: Vec<(u32, &(SocketAddr, u32))> = (0..).zip(members).collect();
        order.sort_unstable_by_key(|(_, (address, _))| *address);
        let mut players: Vec<Player> = order
            .into_iter()
            .map(|(index, (address, weight))| {
                let name = address.to_string();
                let skip = xxh64(name.as_bytes(), 1) % (size - 1) + 1;
                let place = xxh64(name.as_bytes(), 0) % size;
                Player { index, weight: u64::from(*weight), target: 0, place, skip }
            })
            .collect();
        let mut places = vec![FREE; size as usize];
        let mut free = places.len();
        let mut round = 0;
        while free > 0 {
            round += 1;
            for player in &mut players {
                if free == 0 {
                    break;
                }
                if round * player.weight < player.target {
                    continue;
                }
                player.target += most;
                while places[player.place as usize] != FREE {
                    player.place = (player.place + player.skip) % size;
                }
                places[player.place as usize] = player.index;
                free -= 1;
            }
        }
        Self { places }
    }

    /// The endpoints of the places from that of `hash` on, once round.
    pub(crate) fn walk(&self, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let start = hash.checked_rem(self.places.len() as u64).unwrap_or(0) as usize;
        let (before, after) = self.places.split_at(start);
        after.iter().chain(before).map(|index| *index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<(SocketAddr, u32)> {
        (1..).zip(weights).map(|(n, weight)| (([10, 0, 0, n], 80).into(), *weight)).collect()
    }

    fn shares(table: &Maglev, n: usize) -> Vec<usize> {
        (0..n).map(|index| table.places.iter().filter(|at| **at as usize == index).count()).collect()
    }

    #[test]
    fn equal_weights_differ_by_one_place_at_most() {
        for n in [1, 2, 3, 7, 100] {
            let seen = shares(&Maglev::new(&members(&vec![1; n]), 65_537), n);
            let (least, most) = (seen.iter().min(), seen.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{seen:?}");
        }
    }

    #[test]
    fn unequal_weights_share_by_them() {
        let seen = shares(&Maglev::new(&members(&[1, 2, 5]), 65_537), 3);
        for (seen, want) in seen.iter().zip([8192, 16_384, 40_961]) {
            assert!(seen.abs_diff(want) <= 4, "{seen} {want}");
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let forth = members(&[1, 2, 3]);
        let back: Vec<_> = forth.iter().rev().copied().collect();
        let (a, b) = (Maglev::new(&forth, 997), Maglev::new(&back, 997));
        assert!((0..997).all(|key| {
            forth[a.walk(key).next().expect("not empty")].0 == back[b.walk(key).next().expect("not empty")].0
        }));
    }

    #[test]
    fn nobody_leads_nowhere() {
        assert_eq!(Maglev::new(&[], 997).walk(5).next(), None);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// The paper's pseudo code: each one's whole permutation, written out.
        fn table(members: &[(SocketAddr, u32)], size: u64) -> Vec<usize> {
            let wishes: Vec<Vec<u64>> = members
                .iter()
                .map(|(address, _)| {
                    let name = address.to_string();
                    let (offset, skip) = (xxh64(name.as_bytes(), 0) % size, xxh64(name.as_bytes(), 1) % (size - 1) + 1);
                    (0..size).map(|k| (offset + k * skip) % size).collect()
                })
                .collect();
            let mut found = vec![usize::MAX; size as usize];
            while found.contains(&usize::MAX) {
                for (who, wishes) in wishes.iter().enumerate() {
                    let Some(place) = wishes.iter().find(|place| found[**place as usize] == usize::MAX) else { break };
                    found[*place as usize] = who;
                }
            }
            found
        }

        proptest! {
            #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

            #[test]
            fn it_is_the_paper_s_table(n in 1_usize..12, size in prop::sample::select(vec![2_u32, 13, 101, 251])) {
                let members = members(&vec![1; n]);
                let ours: Vec<usize> = Maglev::new(&members, size).walk(0).collect();
                prop_assert_eq!(ours, table(&members, u64::from(size)));
            }

            #[test]
            fn who_leaves_moves_few_keys_of_others(n in 3_usize..12, gone in any::<prop::sample::Index>()) {
                let all = members(&vec![1; n]);
                let gone = gone.index(n);
                let mut left = all.clone();
                left.remove(gone);
                let (before, after) = (Maglev::new(&all, 4099), Maglev::new(&left, 4099));
                let moved = (0..4099_u64)
                    .filter(|key| {
                        let home = all[before.walk(*key).next().expect("not empty")].0;
                        home != all[gone].0 && left[after.walk(*key).next().expect("not empty")].0 != home
                    })
                    .count();
                prop_assert!(moved < 4099 / 5, "{} of 4099", moved);
            }
        }
    }
}
