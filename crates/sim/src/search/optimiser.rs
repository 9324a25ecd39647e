//! Asks for candidates, and is told what they came to.

use std::collections::BTreeSet;

use squall_policy::Rng;

use super::rank::{Score, best_first};

/// What can be chosen for one knob: one of so many levels, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// How many levels there are.
    pub levels: u16,
    /// Whether neighbours are alike, as numbers are; words are not.
    pub ordered: bool,
}

/// A level for each knob.
pub type Point = Vec<u16>;

/// How many of a round come at random: one in so many.
const RANDOM_EVERY: u64 = 8;
/// How often a candidate that was tried before is drawn again before another way is taken.
const TRIES: usize = 32;
/// Spaces up to so large are looked through to their last point.
const SMALL: u64 = 100_000;

/// A search, as it stands.
#[derive(Debug)]
pub struct Optimiser {
    dimensions: Vec<Dimension>,
    rng: Rng,
    /// How many are kept.
    size: usize,
    population: Vec<(Point, Score)>,
    tried: BTreeSet<Point>,
    asked: bool,
}

impl Optimiser {
    /// A search over these knobs, at least one, that keeps `size` candidates, at least 4.
    #[must_use]
    pub fn new(dimensions: Vec<Dimension>, size: usize, rng: Rng) -> Self {
        assert!(!dimensions.is_empty() && dimensions.iter().all(|dimension| dimension.levels > 0), "something varies");
        assert!(size >= 4, "differential evolution takes a candidate and three others");
        Self { dimensions, rng, size, population: Vec::new(), tried: BTreeSet::new(), asked: false }
    }

    /// How many candidates are kept, and a round has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// At most `count` candidates for the next round, none of which was asked for before. Fewer, if there are no more.
    pub fn ask(&mut self, count: usize) -> Vec<Point> {
        let first = !std::mem::replace(&mut self.asked, true);
        let wanted: Vec<Point> = if first { self.hypercube(count) } else { Vec::new() };
        let mut points = Vec::new();
        for nth in 0..count {
            let drawn = wanted.get(nth).cloned();
            let Some(point) = self.fresh(drawn) else { break };
            self.tried.insert(point.clone());
            points.push(point);
        }
        points
    }

    /// What candidates came to; also of candidates that were not asked for, such as what is in use today.
    pub fn tell(&mut self, scored: impl IntoIterator<Item = (Point, Score)>) {
        for (point, score) in scored {
            self.tried.insert(point.clone());
            self.population.push((point, score));
        }
        let scores: Vec<Score> = self.population.iter().map(|(_, score)| score.clone()).collect();
        let mut keep = best_first(&scores);
        keep.truncate(self.size);
        self.population = keep.into_iter().map(|number| self.population[number].clone()).collect();
    }

    /// A point that was not tried: the given one, a child of the population, one at random, or the first there is.
    fn fresh(&mut self, drawn: Option<Point>) -> Option<Point> {
        if let Some(point) = drawn.filter(|point| !self.tried.contains(point)) {
            return Some(point);
        }
        let by_chance = self.population.len() < 4 || self.rng.below(RANDOM_EVERY) == 0;
        if !by_chance {
            for _ in 0..TRIES {
                let child = self.child();
                if !self.tried.contains(&child) {
                    return Some(child);
                }
            }
        }
        for _ in 0..TRIES {
            let point = self.random();
            if !self.tried.contains(&point) {
                return Some(point);
            }
        }
        self.first_untried()
    }

    /// Evenly over each range: the `count` slices of a knob's range are each taken once, in an order of the knob's own.
    fn hypercube(&mut self, count: usize) -> Vec<Point> {
        let mut points = vec![Point::new(); count];
        for dimension in self.dimensions.clone() {
            let mut order: Vec<usize> = (0..count).collect();
            for last in (1..count).rev() {
                order.swap(last, self.rng.below(last as u64 + 1) as usize);
            }
            for (point, slice) in points.iter_mut().zip(order) {
                let within = (slice as f64 + self.rng.unit()) / count as f64;
                point.push(level(within * f64::from(dimension.levels) - 0.5, dimension));
            }
        }
        points
    }

    fn random(&mut self) -> Point {
        let Self { dimensions, rng, .. } = self;
        dimensions.iter().map(|dimension| rng.below(u64::from(dimension.levels)) as u16).collect()
    }

    /// DE/rand/1/bin: a parent, of which some levels are replaced by those of `a + weight × (b − c)`. Words, which cannot be
    /// added, are taken from one of the three.
    fn child(&mut self) -> Point {
        let Self { dimensions, rng, population, .. } = self;
        let mut pick = || &population[rng.below(population.len() as u64) as usize].0;
        let (parent, a, b, c) = (pick(), pick(), pick(), pick());
        // Dither: a weight of its own for each child, so that no scale of steps is left out.
        let weight = 0.3 + 0.6 * rng.unit();
        let rate = if rng.chance(500) { 0.9 } else { 0.3 };
        let forced = rng.below(dimensions.len() as u64) as usize;
        let mut child = parent.clone();
        for (at, dimension) in dimensions.iter().enumerate() {
            if at != forced && rng.unit() >= rate {
                continue;
            }
            let of = |point: &Point| f64::from(point[at]);
            child[at] = if dimension.ordered {
                let mut value = of(a) + weight * (of(b) - of(c));
                // A step of nothing where the population agrees would end the search there.
                if a[at] == child[at] && b[at] == c[at] {
                    value += if rng.chance(500) { 1.0 } else { -1.0 };
                }
                level(value, *dimension)
            } else if rng.chance(200) {
                rng.below(u64::from(dimension.levels)) as u16
            } else {
                [a, b, c][rng.below(3) as usize][at]
            };
        }
        child
    }

    /// The first point nobody tried, if the space is small.
    fn first_untried(&self) -> Option<Point> {
        let all = self.dimensions.iter().try_fold(1_u64, |all, dimension| {
            all.checked_mul(u64::from(dimension.levels)).filter(|all| *all <= SMALL)
        })?;
        (0..all).map(|number| self.nth(number)).find(|point| !self.tried.contains(point))
    }

    fn nth(&self, mut number: u64) -> Point {
        let digit = |dimension: &Dimension| {
            let levels = u64::from(dimension.levels);
            let digit = (number % levels) as u16;
            number /= levels;
            digit
        };
        self.dimensions.iter().map(digit).collect()
    }
}

/// The nearest level. What lies outside is reflected at the end, so that bounds do not attract.
fn level(value: f64, dimension: Dimension) -> u16 {
    let most = f64::from(dimension.levels) - 1.0;
    let mirrored = if value < 0.0 { -value } else { value };
    let mirrored = if mirrored > most { (2.0 * most - mirrored).max(0.0) } else { mirrored };
    mirrored.round().clamp(0.0, most) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Dimension = Dimension { levels: 129, ordered: true };

    /// Runs a search of so many evaluations; gives everything it tried.
    fn search(
        dimensions: &[Dimension],
        evaluations: usize,
        seed: u64,
        score: impl Fn(&[f64]) -> Score,
    ) -> Vec<(Point, Score)> {
        let mut optimiser = Optimiser::new(dimensions.to_vec(), 16, Rng::from_seed(seed));
        let mut all = Vec::new();
        while all.len() < evaluations {
            let points = optimiser.ask(optimiser.size().min(evaluations - all.len()));
            if points.is_empty() {
                break;
            }
            let unit = |point: &Point| -> Vec<f64> {
                let pairs = point.iter().zip(dimensions);
                pairs.map(|(level, of)| f64::from(*level) / (f64::from(of.levels) - 1.0).max(1.0)).collect()
            };
            let scored: Vec<(Point, Score)> =
                points.into_iter().map(|point| (point.clone(), score(&unit(&point)))).collect();
            all.extend(scored.clone());
            optimiser.tell(scored);
        }
        all
    }

    fn one(value: f64) -> Score {
        Score { objectives: vec![value], violation: 0.0 }
    }

    fn least(found: &[(Point, Score)]) -> f64 {
        found
            .iter()
            .filter(|(_, score)| score.is_feasible())
            .map(|(_, score)| score.objectives[0])
            .fold(f64::MAX, f64::min)
    }

    #[test]
    fn finds_the_bottom_of_a_bowl_on_every_seed() {
        for seed in 1..=20 {
            let bowl = |x: &[f64]| one(x.iter().zip([0.2, 0.7, 0.5, 0.9]).map(|(x, at)| (x - at).powi(2)).sum());
            let best = least(&search(&[FINE; 4], 600, seed, bowl));
            assert!(best < 1e-3, "seed {seed}: {best}");
        }
    }

    #[test]
    fn finds_the_bottom_of_a_bent_valley() {
        // Rosenbrock's function over [-2, 2]²: 0 at (1, 1), along a valley that no single knob follows.
        let valley = |x: &[f64]| {
            let (x, y) = (4.0 * x[0] - 2.0, 4.0 * x[1] - 2.0);
            one((1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2))
        };
        for seed in 1..=10 {
            let best = least(&search(&[FINE; 2], 1200, seed, valley));
            assert!(best < 0.02, "seed {seed}: {best}");
        }
    }

    #[test]
    fn finds_the_best_of_many_hollows() {
        // Rastrigin's function: a hollow every fifth of the range, the deepest in the middle.
        let hollows = |x: &[f64]| {
            let part = |x: &f64| {
                let x = 5.0 * (x - 0.5);
                x * x - 10.0 * (2.0 * std::f64::consts::PI * x).cos() + 10.0
            };
            one(x.iter().map(part).sum())
        };
        let found = (1..=10).filter(|seed| least(&search(&[FINE; 3], 1500, *seed, hollows)) < 1.0).count();
        assert!(found >= 9, "{found} of 10");
    }

    #[test]
    fn finds_the_best_that_breaks_no_constraint() {
        // The sum is least at the constraint x + y >= 1; the least of x² + y² there is 0.5.
        let edge =
            |x: &[f64]| Score { objectives: vec![x[0] * x[0] + x[1] * x[1]], violation: (1.0 - x[0] - x[1]).max(0.0) };
        let best = least(&search(&[FINE; 2], 500, 3, edge));
        assert!((0.5..0.51).contains(&best), "{best}");
    }

    #[test]
    fn words_are_chosen_together_with_numbers() {
        let word = Dimension { levels: 5, ordered: false };
        let mixed = |x: &[f64]| one(if x[0] == 0.5 { (x[1] - 0.3).powi(2) } else { 1.0 + x[1] });
        let found = search(&[word, FINE], 300, 1, mixed);
        assert!(least(&found) < 1e-3);
    }

    #[test]
    fn a_front_is_covered_from_end_to_end() {
        // Schaffer's: the front is every x from 0 to 1/2 of the range (x² against (x - 2)², x of [-2, 6], front from 0 to 2).
        let two = |x: &[f64]| {
            let at = 8.0 * x[0] - 2.0;
            Score { objectives: vec![at * at, (at - 2.0).powi(2)], violation: 0.0 }
        };
        let found = search(&[FINE], 100, 5, two);
        let scores: Vec<Score> = found.iter().map(|(_, score)| score.clone()).collect();
        let front: Vec<u16> = super::super::front(&scores).into_iter().map(|at| found[at].0[0]).collect();
        assert!(front.iter().all(|level| (32..=64).contains(level)), "{front:?}");
        assert!(front.len() >= 16 && front.contains(&32) && front.contains(&64), "{front:?}");
    }

    #[test]
    fn nothing_is_tried_twice_and_a_small_space_to_its_end() {
        let few = [Dimension { levels: 3, ordered: true }, Dimension { levels: 4, ordered: false }];
        let found = search(&few, 100, 9, |x| one(x[0]));
        let points: BTreeSet<Point> = found.iter().map(|(point, _)| point.clone()).collect();
        assert_eq!((found.len(), points.len()), (12, 12));
    }

    #[test]
    fn the_first_round_covers_every_range_evenly() {
        let mut optimiser = Optimiser::new(vec![FINE; 3], 16, Rng::from_seed(4));
        let points = optimiser.ask(16);
        for knob in 0..3 {
            let slices: BTreeSet<u16> = points.iter().map(|point| (2 * point[knob] + 1) * 16 / 258).collect();
            assert!(slices.len() >= 13, "knob {knob}: {slices:?}");
        }
    }

    #[test]
    fn the_same_seed_asks_for_the_same_points() {
        let bowl = |x: &[f64]| one((x[0] - 0.4).powi(2) + x[1]);
        assert_eq!(search(&[FINE; 2], 200, 7, bowl), search(&[FINE; 2], 200, 7, bowl));
        assert_ne!(search(&[FINE; 2], 200, 7, bowl), search(&[FINE; 2], 200, 8, bowl));
    }
}
