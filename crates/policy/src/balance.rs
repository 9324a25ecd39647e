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

use crate::Rng;
use crate::mesh::Balancing;

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
}

impl Balancer {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, order: Vec::new(), eligible: Vec::new(), turn: None }
    }

    /// There are `n` endpoints now.
    pub(crate) fn resize(&mut self, n: usize) {
        self.order = (0..u32::try_from(n).expect("fewer endpoints than 2^32")).collect();
        self.eligible = Vec::with_capacity(n);
    }

    /// Picks one for which `eligible` holds; `None` if there is none.
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
            Balancing::Random => {
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

    fn least_of(
        &mut self,
        choices: usize,
        eligible: impl Fn(usize) -> bool,
        cost: impl Fn(usize) -> Cost,
    ) -> Option<Choice> {
        let choices = choices.max(1);
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
