//! Who is better: constrained domination, fronts and crowding (Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm:
//! NSGA-II", 2002).

/// What a candidate came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Its objectives; smaller is better. All candidates have as many.
    pub objectives: Vec<f64>,
    /// By how much it breaks constraints: 0 if it breaks none, infinite if it cannot be run.
    pub violation: f64,
}

impl Score {
    /// Of a candidate that cannot be run.
    #[must_use]
    pub fn refused(objectives: usize) -> Self {
        Self { objectives: vec![f64::INFINITY; objectives], violation: f64::INFINITY }
    }

    /// Whether it breaks no constraint.
    #[must_use]
    pub fn is_feasible(&self) -> bool {
        self.violation <= 0.0
    }

    /// Whether this one is better in something and worse in nothing, or breaks less.
    #[must_use]
    pub fn dominates(&self, other: &Self) -> bool {
        match (self.is_feasible(), other.is_feasible()) {
            (true, false) => true,
            (false, true) => false,
            (false, false) => self.violation < other.violation,
            (true, true) => {
                let pairs = || self.objectives.iter().zip(&other.objectives);
                pairs().all(|(mine, its)| mine <= its) && pairs().any(|(mine, its)| mine < its)
            }
        }
    }
}

/// The numbers of those whom nobody dominates, in order. Of equals all.
#[must_use]
pub fn front(scores: &[Score]) -> Vec<usize> {
    (0..scores.len()).filter(|mine| !scores.iter().any(|other| other.dominates(&scores[*mine]))).collect()
}

/// All numbers, best first: by front, within a front the lonelier first (so that what is kept is spread out), then by number.
#[must_use]
pub fn best_first(scores: &[Score]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..scores.len()).collect();
    let mut order = Vec::with_capacity(scores.len());
    while !left.is_empty() {
        let best: Vec<usize> = left
            .iter()
            .copied()
            .filter(|mine| !left.iter().any(|other| scores[*other].dominates(&scores[*mine])))
            .collect();
        left.retain(|number| !best.contains(number));
        let crowding = crowding(scores, &best);
        let mut ranked: Vec<(usize, f64)> = best.into_iter().zip(crowding).collect();
        ranked.sort_by(|(a, lonely_a), (b, lonely_b)| lonely_b.total_cmp(lonely_a).then(a.cmp(b)));
        order.extend(ranked.into_iter().map(|(number, _)| number));
    }
    order
}

/// How far each of a front's members is from its neighbours, in units of the front's width, over all objectives; infinite at the ends.
fn crowding(scores: &[Score], members: &[usize]) -> Vec<f64> {
    let mut distance = vec![0.0; members.len()];
    let objectives = members.first().map_or(0, |first| scores[*first].objectives.len());
    for objective in 0..objectives {
        let value = |at: usize| scores[members[at]].objectives[objective];
        let mut sorted: Vec<usize> = (0..members.len()).collect();
        sorted.sort_by(|a, b| value(*a).total_cmp(&value(*b)).then(members[*a].cmp(&members[*b])));
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { continue };
        let width = value(*last) - value(*first);
        distance[*first] = f64::INFINITY;
        distance[*last] = f64::INFINITY;
        if width <= 0.0 || !width.is_finite() {
            continue;
        }
        for three in sorted.windows(3) {
            distance[three[1]] += (value(three[2]) - value(three[0])) / width;
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(objectives: &[f64], violation: f64) -> Score {
        Score { objectives: objectives.to_vec(), violation }
    }

    #[test]
    fn who_breaks_nothing_is_better_than_who_breaks_something() {
        let (good, bad, worse) = (score(&[9.0], 0.0), score(&[1.0], 0.1), score(&[0.0], 0.2));
        assert!(good.dominates(&bad) && bad.dominates(&worse) && !worse.dominates(&good));
        assert!(worse.dominates(&Score::refused(1)));
        assert_eq!(best_first(&[worse, bad, good]), [2, 1, 0]);
    }

    #[test]
    fn a_front_is_whom_nobody_dominates() {
        let scores = [
            score(&[1.0, 4.0], 0.0),
            score(&[2.0, 2.0], 0.0),
            score(&[3.0, 3.0], 0.0),
            score(&[4.0, 1.0], 0.0),
            score(&[2.0, 2.0], 0.0),
        ];
        assert_eq!(front(&scores), [0, 1, 3, 4]);
        // The ends first, then those between, then who is dominated.
        assert_eq!(best_first(&scores), [0, 3, 4, 1, 2]);
    }
}
