//! Which endpoint gets the next try.
//!
//! ```text
//!  endpoints ─▶ draw `choices` without replacement ─▶ all eligible? ─yes─▶ least cost wins, ties to the first drawn
//!                                                          └─no─▶ list the eligible ones, draw again from those
//! ```
//!
//! Drawing first and listing only on a miss leaves the distribution uniform over the eligible ones (a draw is kept exactly
//! when all of it is eligible, and each such draw is equally likely), and costs O(choices) while everything is healthy.
//!
//! Sources: Mitzenmacher, "The power of two choices in randomized load balancing" (2001); costs in `ewma`. Round robin
//! starts at a random endpoint, lest a fleet of fresh proxies start at the same one.
//!
//! Endpoints of unequal weight share by it under round robin (smooth, as nginx interleaves them: in every whole number of
//! cycles each goes just as often as its weight says), least request (the same, by weight ÷ (requests + 1)^bias at each pick:
//! Envoy's weighted least request) and random. Peak EWMA measures what an endpoint can bear instead of being told.

use crate::Rng;
use crate::mesh::Balancing;
use crate::powers::ONE;

/// What a candidate costs. A due probe goes before everything: it is rare, and without it a recovered endpoint would
/// wait until its estimate is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) probe: bool,
    pub(crate) value: u64,
}

impl Cost {
    fn less_than(self, other: Self) -> bool {
        (!self.probe, self.value) < (!other.probe, other.value)
    }
}

/// The chosen index, and the best of those it was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) index: usize,
    /// The runner-up, the chosen one's cost, the runner-up's cost.
    pub(crate) over: Option<(usize, u64, u64)>,
}

/// Picks among `0..n`; knows nothing of endpoints.
#[derive(Debug)]
pub(crate) struct Balancer {
    rng: Rng,
    /// A permutation of `0..n`. Its first places are redrawn at each pick; any permutation is as good a start as another.
    order: Vec<u32>,
    /// Room for the slow path.
    eligible: Vec<u32>,
    turn: Option<usize>,
    /// Empty if all weigh the same.
    weights: Vec<u32>,
    /// What each is owed where they take turns by weight, in Q32.
    credit: Vec<i128>,
}

impl Balancer {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, order: Vec::new(), eligible: Vec::new(), turn: None, weights: Vec::new(), credit: Vec::new() }
    }

    /// These are the endpoints' weights now.
    pub(crate) fn set_weights(&mut self, mut weights: Vec<u32>) {
        let n = weights.len();
        self.order = (0..u32::try_from(n).expect("fewer endpoints than 2^32")).collect();
        self.eligible = Vec::with_capacity(n);
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            weights.clear();
        }
        if weights != self.weights {
            self.credit =
                weights.iter().map(|&weight| i128::from(self.rng.below(u64::from(weight.max(1)))) << 32).collect();
            self.weights = weights;
        }
        self.credit.resize(n, 0);
    }

    /// Whether weights differ.
    pub(crate) fn is_uneven(&self) -> bool {
        !self.weights.is_empty()
    }

    /// Picks one for which `eligible` holds; `None` if there is none. A request that should go by a key and has none goes to
    /// any.
    pub(crate) fn pick(
        &mut self,
        balancing: &Balancing,
        eligible: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> Cost,
    ) -> Option<Choice> {
        match *balancing {
            Balancing::PeakEwma { choices, .. } | Balancing::LeastRequest { choices } => {
                self.least_of(choices as usize, eligible, cost)
            }
            Balancing::Random | Balancing::Hash(_) if !self.weights.is_empty() => self.by_weight(eligible),
            Balancing::RoundRobin if !self.weights.is_empty() => {
                let weights = std::mem::take(&mut self.weights);
                let choice = self.by_credit(eligible, |index| u128::from(weights[index]) << 32);
                self.weights = weights;
                choice
            }
            Balancing::Random | Balancing::Hash(_) => {
                let drawn = self.least_of(1, eligible, cost)?;
                Some(Choice { index: drawn.index, over: None })
            }
            Balancing::RoundRobin => self.next_in_turn(eligible),
        }
    }

    fn next_in_turn(&mut self, eligible: impl Fn(usize) -> bool) -> Option<Choice> {
        let n = self.order.len();
        if n == 0 {
            return None;
        }
        let start = match self.turn {
            Some(turn) => turn,
            None => self.rng.below(n as u64) as usize,
        };
        let index = (0..n).map(|step| (start + step) % n).find(|&index| eligible(index))?;
        self.turn = Some(index + 1);
        Some(Choice { index, over: None })
    }

    fn by_weight(&mut self, eligible: impl Fn(usize) -> bool) -> Option<Choice> {
        let weights = || self.weights.iter().enumerate().filter(|(index, _)| eligible(*index));
        let total: u64 = weights().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = (total > 0).then(|| self.rng.below(total))?;
        for (index, &weight) in weights() {
            match left.checked_sub(u64::from(weight)) {
                Some(rest) => left = rest,
                None => return Some(Choice { index, over: None }),
            }
        }
        unreachable!("a draw below the sum of the weights falls to one of them")
    }

    /// In turns by weight, in Q32: everyone eligible earns its weight, the richest goes and pays what all earned.
    pub(crate) fn by_credit(
        &mut self,
        eligible: impl Fn(usize) -> bool,
        weight: impl Fn(usize) -> u128,
    ) -> Option<Choice> {
        let mut earned = 0;
        let mut richest: Option<usize> = None;
        for index in (0..self.credit.len()).filter(|&index| eligible(index)) {
            let weight = i128::try_from(weight(index)).unwrap_or(i128::MAX >> 32);
            self.credit[index] += weight;
            earned += weight;
            if richest.is_none_or(|best| self.credit[index] > self.credit[best]) {
                richest = Some(index);
            }
        }
        let index = richest?;
        self.credit[index] -= earned;
        Some(Choice { index, over: None })
    }

    /// The least of a few, where a draw counts only with the likelihood `share`, in Q32. Without one that counts, the first.
    pub(crate) fn least_of_likely(
        &mut self,
        choices: u32,
        eligible: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> Cost,
        share: impl Fn(usize) -> u64,
    ) -> Option<Choice> {
        let count = u32::try_from(self.order.len()).expect("fewer endpoints than 2^32");
        self.eligible.clear();
        self.eligible.extend((0..count).filter(|&index| eligible(index as usize)));
        let drawn = draw(&mut self.rng, &mut self.eligible, choices.max(1) as usize).len();
        let mut kept = 0;
        for place in 0..drawn {
            let share = share(self.eligible[place] as usize);
            if share >= ONE || self.rng.below(ONE) < share {
                self.eligible.swap(kept, place);
                kept += 1;
            }
        }
        least(&self.eligible[..kept.max(1).min(drawn)], cost)
    }

    fn least_of(
        &mut self,
        choices: usize,
        eligible: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> Cost,
    ) -> Option<Choice> {
        let choices = mutant!("one-choice-is-no-choice", choices.max(1), 1);
        let drawn = draw(&mut self.rng, &mut self.order, choices);
        if !drawn.is_empty() && drawn.iter().all(|&index| eligible(index as usize)) {
            return least(drawn, cost);
        }
        self.eligible.clear();
        let count = u32::try_from(self.order.len()).expect("fewer endpoints than 2^32");
        self.eligible.extend((0..count).filter(|&index| eligible(index as usize)));
        least(draw(&mut self.rng, &mut self.eligible, choices), cost)
    }
}

/// A uniform ordered sample without replacement: the first places of a partial Fisher-Yates shuffle.
fn draw<'p>(rng: &mut Rng, pool: &'p mut [u32], choices: usize) -> &'p [u32] {
    let choices = choices.min(pool.len());
    for place in 0..choices {
        let left = pool.len() - place;
        if left > 1 {
            let other = place + rng.below(left as u64) as usize;
            pool.swap(place, other);
        }
    }
    &pool[..choices]
}

fn least(drawn: &[u32], cost: impl Fn(usize) -> Cost) -> Option<Choice> {
    let (&first, rest) = drawn.split_first()?;
    let (mut best, mut best_cost) = (first as usize, cost(first as usize));
    let mut runner_up: Option<(usize, Cost)> = None;
    for &index in rest {
        let index = index as usize;
        let this = cost(index);
        let (loser, loser_cost) = if this.less_than(best_cost) {
            let loser = (best, best_cost);
            (best, best_cost) = (index, this);
            loser
        } else {
            (index, this)
        };
        if runner_up.is_none_or(|(_, known)| loser_cost.less_than(known)) {
            runner_up = Some((loser, loser_cost));
        }
    }
    Some(Choice { index: best, over: runner_up.map(|(index, other)| (index, best_cost.value, other.value)) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const EWMA: Balancing =
        Balancing::PeakEwma { decay: Duration::from_secs(10), default_rtt: Duration::from_millis(30), choices: 2 };

    fn balancer(n: usize) -> Balancer {
        let mut balancer = Balancer::new(Rng::from_seed(4));
        balancer.set_weights(vec![1; n]);
        balancer
    }

    fn plain(value: u64) -> Cost {
        Cost { probe: false, value }
    }

    /// How often each index is picked in 10,000 picks.
    fn share(
        balancing: &Balancing,
        n: usize,
        eligible: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> Cost,
    ) -> Vec<u32> {
        let mut balancer = balancer(n);
        let mut seen = vec![0; n];
        for _ in 0..10_000 {
            seen[balancer.pick(balancing, &eligible, &cost).expect("some are eligible").index] += 1;
        }
        seen
    }

    #[test]
    fn the_dearest_of_all_is_never_picked_and_the_cheapest_wins_its_draws() {
        let seen = share(&EWMA, 4, |_| true, |index| plain(index as u64));
        // Pairs of four: the cheapest is in 3 of 6, the next wins 2 of 6, then 1 of 6.
        for (got, want) in seen.iter().zip([5000_i64, 3333, 1667, 0]) {
            assert!((i64::from(*got) - want).abs() < 200, "{seen:?}");
        }
    }

    #[test]
    fn with_as_many_choices_as_endpoints_the_cheapest_always_wins() {
        let all = Balancing::LeastRequest { choices: 9 };
        assert_eq!(share(&all, 4, |_| true, |index| plain((index as u64).abs_diff(2))), [0, 0, 10_000, 0]);
    }

    #[test]
    fn equal_costs_and_random_picks_are_uniform_also_with_some_out() {
        for balancing in [EWMA, Balancing::LeastRequest { choices: 3 }, Balancing::Random] {
            let seen = share(&balancing, 5, |_| true, |_| plain(7));
            assert!(seen.iter().all(|count| (1800..2200).contains(count)), "{balancing:?} {seen:?}");
            let seen = share(&balancing, 5, |index| index != 1, |_| plain(7));
            assert_eq!(seen[1], 0);
            assert!(seen.iter().filter(|count| (2300..2700).contains(*count)).count() == 4, "{balancing:?} {seen:?}");
        }
    }

    #[test]
    fn round_robin_goes_round_and_skips_who_is_out() {
        let mut balancer = balancer(4);
        let mut next = |eligible: fn(usize) -> bool| {
            balancer.pick(&Balancing::RoundRobin, eligible, |_| plain(0)).map(|choice| choice.index)
        };
        let start = next(|_| true).expect("all are eligible");
        for step in 1..9 {
            assert_eq!(next(|_| true), Some((start + step) % 4));
        }
        let two: Vec<_> = (0..4).map(|_| next(|index| index % 2 == 1)).collect();
        assert!(two == [Some(1), Some(3), Some(1), Some(3)] || two == [Some(3), Some(1), Some(3), Some(1)], "{two:?}");
        assert_eq!(next(|_| false), None);
    }

    #[test]
    fn unequal_weights_share_under_random_and_round_robin() {
        let shares = |balancing: &Balancing, out: usize| {
            let mut balancer = Balancer::new(Rng::from_seed(4));
            balancer.set_weights(vec![1, 5, 4]);
            let mut seen = [0_i64; 3];
            for _ in 0..10_000 {
                seen[balancer.pick(balancing, |index| index != out, |_| plain(0)).expect("two are left").index] += 1;
            }
            assert_eq!(balancer.pick(balancing, |_| false, |_| plain(0)), None);
            seen
        };
        for (out, want) in [(9, [1000, 5000, 4000]), (2, [1667, 8333, 0])] {
            let close = |seen: [i64; 3], by: i64| seen.iter().zip(want).all(|(seen, want)| (seen - want).abs() <= by);
            let seen = shares(&Balancing::RoundRobin, out);
            assert!(close(seen, 2), "{seen:?}");
            let seen = shares(&Balancing::Random, out);
            assert!(close(seen, 200), "{seen:?}");
        }
    }

    #[test]
    fn a_due_probe_goes_first_whatever_it_costs() {
        let mut balancer = balancer(2);
        let cost = |index| Cost { probe: index == 1, value: if index == 1 { u64::MAX } else { 1 } };
        let choice = balancer.pick(&EWMA, |_| true, cost);
        assert_eq!(choice, Some(Choice { index: 1, over: Some((0, u64::MAX, 1)) }));
    }

    #[test]
    fn nothing_is_picked_from_nothing() {
        for balancing in [EWMA, Balancing::RoundRobin, Balancing::Random] {
            assert_eq!(balancer(0).pick(&balancing, |_| true, |_| plain(0)), None);
            assert_eq!(balancer(3).pick(&balancing, |_| false, |_| plain(0)), None);
        }
    }

    mod properties {
        use std::collections::BTreeSet;

        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            #[test]
            fn the_pick_is_eligible_and_beats_as_many_as_were_drawn(
                seed in any::<u64>(),
                costs in prop::collection::vec((any::<bool>(), 0_u64..50), 1..12),
                choices in 1_u32..6,
            ) {
                let mut balancer = Balancer::new(Rng::from_seed(seed));
                balancer.set_weights(vec![1; costs.len()]);
                let balancing = Balancing::LeastRequest { choices };
                for _ in 0..20 {
                    let choice = balancer.pick(&balancing, |index| costs[index].0, |index| plain(costs[index].1));
                    let eligible: Vec<_> = costs.iter().filter(|(eligible, _)| *eligible).map(|(_, cost)| *cost).collect();
                    let Some(choice) = choice else {
                        prop_assert!(eligible.is_empty());
                        continue;
                    };
                    prop_assert!(costs[choice.index].0);
                    let drawn = eligible.len().min(choices as usize);
                    let no_cheaper = eligible.iter().filter(|cost| **cost >= costs[choice.index].1).count();
                    prop_assert!(no_cheaper >= drawn, "the least of {} is among the dearest", drawn);
                    prop_assert_eq!(choice.over.is_some(), drawn > 1);
                    if let Some((other, own, its)) = choice.over {
                        prop_assert!(other != choice.index && costs[other].0);
                        prop_assert_eq!((own, its), (costs[choice.index].1, costs[other].1));
                        prop_assert!(own <= its);
                    }
                }
            }

            /// Whatever the weights: over a cycle each goes as often as it weighs, give or take one for the random start.
            #[test]
            fn turns_by_weight_are_exact(seed in any::<u64>(), weights in prop::collection::vec(1_u32..20, 2..8)) {
                let cycle: u32 = weights.iter().sum();
                let mut balancer = Balancer::new(Rng::from_seed(seed));
                balancer.set_weights(weights.clone());
                let mut seen = vec![0_u32; weights.len()];
                for turn in 1..=5 * cycle {
                    seen[balancer.pick(&Balancing::RoundRobin, |_| true, |_| plain(0)).expect("all are").index] += 1;
                    if turn % cycle == 0 {
                        for (seen, weight) in seen.iter().zip(&weights) {
                            prop_assert!(seen.abs_diff(turn / cycle * weight) <= 1, "{:?} of {:?}", seen, weight);
                        }
                    }
                }
            }

            /// A draw that counts half the time is picked half as often as one that always does.
            #[test]
            fn a_half_share_is_half(seed in any::<u64>()) {
                let mut balancer = Balancer::new(Rng::from_seed(seed));
                balancer.set_weights(vec![1; 10]);
                let mut seen = [0_u32; 10];
                for _ in 0..20_000 {
                    let share = |index| if index == 3 { ONE / 2 } else { ONE };
                    let choice = balancer.least_of_likely(2, |_| true, |_| plain(0), share);
                    seen[choice.expect("all are").index] += 1;
                }
                // First drawn and counting 1/2 · 1/10; or second, when … : 1/20 of all, + nothing: ties go to the first that counts.
                let others = (20_000 - seen[3]) / 9;
                prop_assert!((others * 2 / 5..others * 3 / 5).contains(&seen[3]), "{:?}", seen);
            }

            #[test]
            fn a_draw_has_no_repetition(seed in any::<u64>(), n in 1_u32..20, choices in 1_usize..25) {
                let mut rng = Rng::from_seed(seed);
                let mut pool: Vec<u32> = (0..n).collect();
                let drawn: BTreeSet<u32> = draw(&mut rng, &mut pool, choices).iter().copied().collect();
                prop_assert_eq!(drawn.len(), choices.min(n as usize));
            }
        }
    }
}
