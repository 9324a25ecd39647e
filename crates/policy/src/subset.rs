//! Which of many endpoints one proxy uses.
//!
//! Every endpoint has a score for this proxy, xxh64 of its address with the proxy's id as seed; the highest win (rendezvous
//! hashing). The choice needs no coordination, does not depend on the list's order, and an endpoint that comes or goes changes
//! at most one place in it. How even it is: with C proxies that each use N of n endpoints, an endpoint has a binomial number
//! of clients, C·N/n on average with a deviation of √(C·N/n·(1 − N/n)): at 100 proxies and 20 of 100 endpoints, 20 ± 4. Choose
//! N so that the deviation is bearable, or use all endpoints. Sources: gRFC A68 "random subsetting" (the same method); the SRE
//! book, ch. 20 "deterministic subsetting" and Finagle's "deterministic aperture" spread exactly, but move many connections when
//! their lists change.

use std::net::SocketAddr;

use crate::hash::xxh64;

/// For each endpoint whether it is one of the `size` used ones. Those that are draining (`true` beside the address) are no
/// candidates, and stay: what is in flight there may end.
pub(crate) fn choose(proxy: &str, size: u32, endpoints: &[(SocketAddr, bool)]) -> Vec<bool> {
    let seed = xxh64(proxy.as_bytes(), 0);
    let candidates = endpoints.iter().enumerate().filter(|(_, (_, draining))| !draining);
    let mut scores: Vec<(u64, SocketAddr, usize)> =
        candidates.map(|(index, (at, _))| (xxh64(at.to_string().as_bytes(), seed), *at, index)).collect();
    scores.sort_unstable_by(|a, b| b.cmp(a));
    let mut chosen: Vec<bool> = endpoints.iter().map(|(_, draining)| *draining).collect();
    scores.iter().take(size as usize).for_each(|(_, _, index)| chosen[*index] = true);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(n: u8) -> Vec<(SocketAddr, bool)> {
        (0..n).map(|n| (([10, 0, 0, n], 80).into(), false)).collect()
    }

    #[test]
    fn clients_spread_over_endpoints_as_a_binomial_does() {
        let endpoints = endpoints(100);
        let mut clients = [0_i64; 100];
        for proxy in 0..1000 {
            let chosen = choose(&format!("shop/web-{proxy}"), 20, &endpoints);
            assert_eq!(chosen.iter().filter(|chosen| **chosen).count(), 20);
            chosen.iter().zip(&mut clients).for_each(|(chosen, clients)| *clients += i64::from(*chosen));
        }
        let variance = clients.iter().map(|count| (count - 200).pow(2)).sum::<i64>() / 100;
        // 1000 · .2 · .8 = 160.
        assert!((100..240).contains(&variance), "{variance}: {clients:?}");
    }

    #[test]
    fn who_drains_is_replaced_and_stays() {
        let mut all = endpoints(10);
        let before = choose("a", 3, &all);
        let leaver = before.iter().position(|chosen| *chosen).expect("three are");
        all[leaver].1 = true;
        let after = choose("a", 3, &all);
        assert!(after[leaver]);
        assert_eq!(after.iter().filter(|chosen| **chosen).count(), 4);
        assert!(before.iter().zip(&after).all(|(before, after)| *after || !*before), "the others stay");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn one_that_comes_changes_one_place_and_order_none(
                n in 1_u8..60,
                size in 1_u32..20,
                proxy in "[a-z]{1,8}",
                new in any::<prop::sample::Index>(),
            ) {
                let all = endpoints(n);
                let chosen = |list: &[(SocketAddr, bool)]| -> Vec<SocketAddr> {
                    let mut found: Vec<_> = list.iter().zip(choose(&proxy, size, list)).filter(|(_, in_)| *in_).map(|(e, _)| e.0).collect();
                    found.sort_unstable();
                    found
                };
                let with = chosen(&all);
                prop_assert_eq!(with.len(), (size as usize).min(all.len()));
                let back: Vec<_> = all.iter().rev().copied().collect();
                prop_assert_eq!(&chosen(&back), &with);
                let mut fewer = all.clone();
                fewer.remove(new.index(all.len()));
                let without = chosen(&fewer);
                let moved = with.iter().filter(|at| !without.contains(at)).count();
                prop_assert!(moved <= 1);
            }
        }
    }
}
