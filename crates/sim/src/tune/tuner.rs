//! The run of a tuning: search, confirmation, sensitivity.

use std::sync::{Arc, Mutex, PoisonError};

use squall_policy::Rng;

use super::beside::{Samples, behind};
use super::evidence::{Contrast, Evidence, contrast};
use super::{Rival, Tuning, want};
use crate::campaign::ParallelMap;
use crate::outcome::{Model, RunError};
use crate::scenario::Scenario;
use crate::search::{Optimiser, Point, Score, best_first, front};

/// How long to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Candidates to try, the current policies among them.
    pub evaluations: usize,
    /// Rounds without an improvement after which the search ends.
    pub patience: usize,
    /// Of how many of the front the full world is asked, at most.
    pub finalists: usize,
}

impl Plan {
    /// The candidates of a round: more knobs, more candidates.
    fn round(tuning: &Tuning) -> usize {
        (8 + 2 * tuning.knobs.len()).clamp(12, 40)
    }
}

/// One run of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    /// The candidate: its values, or its name.
    pub variant: String,
    /// How much of the mesh is simulated.
    pub model: &'static str,
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
}

/// What a run came to: the objectives in their own units, then by how much each constraint was broken; or why there was no run.
pub type Sample = Result<Vec<f64>, String>;

/// Who keeps what was measured, and says when to stop. Called from any thread.
pub trait Desk: Sync {
    /// What is known of a run.
    fn known(&self, key: &RunKey) -> Option<Sample>;
    /// A run ended.
    fn measured(&self, key: &RunKey, sample: &Sample);
    /// A part of the work begins, of at most so many runs. Search: empty.
    fn begins(&self, what: &str, runs: usize);
    /// A round of the search ended; whether to go on.
    fn round(&self, progress: &Progress<'_>) -> bool;
}

/// How far the search is.
#[derive(Debug)]
pub struct Progress<'p> {
    /// Rounds so far.
    pub round: usize,
    /// Everything tried so far.
    pub evaluations: &'p [Evaluation],
    /// The number of the best so far, by the order of objectives.
    pub best: usize,
    /// Whether it is better than before this round.
    pub improved: bool,
}

/// A candidate and what it came to.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The round in which it was tried.
    pub round: usize,
    /// A value for each knob; `None`: as it is.
    pub values: Vec<Option<String>>,
    /// On how many seeds of each scenario it ran: fewer than all if it was left behind.
    pub seeds: usize,
    /// Mean objectives, in their own units; empty if it was refused.
    pub means: Vec<f64>,
    /// The objectives as costs, and by how much constraints were broken.
    pub score: Score,
    /// Why it was not run.
    pub refused: Option<String>,
    samples: Vec<Vec<Vec<f64>>>,
}

impl Evaluation {
    /// One objective's values by scenario and seed.
    fn of(&self, objective: usize) -> Vec<Vec<f64>> {
        column(&self.samples, objective)
    }
}

fn column(samples: &[Vec<Vec<f64>>], at: usize) -> Vec<Vec<f64>> {
    samples.iter().map(|seeds| seeds.iter().map(|sample| sample[at]).collect()).collect()
}

/// Why the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As many candidates were tried as were asked for.
    Evaluations,
    /// Nothing got better for a while.
    Patience,
    /// The desk said so.
    Told,
    /// Every candidate there is was tried.
    Exhausted,
}

/// A candidate in the full world.
#[derive(Clone, Debug)]
pub struct Finalist {
    /// `current`, `A` and so on, or a rival's name.
    pub name: String,
    /// Its number in the search; `None` for rivals.
    pub evaluation: Option<usize>,
    /// A value for each knob.
    pub values: Vec<Option<String>>,
    /// By scenario, seed and measure: what it was searched on, other seeds, other scenarios.
    pub searched: Vec<Vec<Vec<f64>>>,
    /// The same scenarios on seeds that the search has not seen.
    pub other_seeds: Vec<Vec<Vec<f64>>>,
    /// The scenarios that the search has not seen.
    pub other_scenarios: Vec<Vec<Vec<f64>>>,
    /// Over the scenarios and seeds of the search.
    pub score: Score,
    /// Why it has no numbers.
    pub refused: Option<String>,
}

impl Finalist {
    /// One objective's values by scenario and seed, of one of its three parts.
    #[must_use]
    pub fn values_of(part: &[Vec<Vec<f64>>], objective: usize) -> Vec<Vec<f64>> {
        column(part, objective)
    }
}

/// A knob moved alone.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The knob's number.
    pub knob: usize,
    /// To this value.
    pub value: String,
    /// By how much each objective is more than with the recommended value. Empty: it was refused.
    pub contrasts: Vec<Contrast>,
    /// By how much constraints are broken then.
    pub violation: f64,
}

/// What a tuning found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Everything that was tried, in order; the first is what is in use.
    pub evaluations: Vec<Evaluation>,
    /// The front of the search: the numbers of those whom nobody dominates.
    pub front: Vec<usize>,
    /// The current policies, then those of the front.
    pub finalists: Vec<Finalist>,
    /// Which of them to deploy.
    pub recommended: usize,
    /// The others to compare with.
    pub rivals: Vec<Finalist>,
    /// What moving single knobs does.
    pub moved: Vec<Moved>,
    /// Why the search ended.
    pub ended: Ended,
    /// Scenarios that the fast model refuses, with the reason.
    pub full_only: Vec<(String, String)>,
}

/// Searches, confirms and explains. The result depends on nothing but the tuning, the plan and when the desk says to stop.
///
/// # Errors
/// The current policies cannot be run: why.
pub fn tune(tuning: &Tuning, plan: Plan, map: ParallelMap<'_>, desk: &dyn Desk) -> Result<Found, String> {
    let mut tuner = Tuner { tuning, map, desk, full_only: Vec::new(), beside: Vec::new() };
    tuner.full_only = tuner.refused_by_fast()?;
    tuner.beside = tuner.rivals_searched()?;
    let (evaluations, ended) = tuner.search(plan)?;
    let front = tuner.front_of(&evaluations);
    let (finalists, rivals) = tuner.confirm(plan, &evaluations, &front)?;
    let recommended = tuner.choose(&finalists);
    let moved = tuner.sensitivity(&finalists[recommended].values);
    let full_only =
        tuner.full_only.iter().map(|(at, why)| (tuning.scenarios[*at].name.value.clone(), why.clone())).collect();
    Ok(Found { evaluations, front, finalists, recommended, rivals, moved, ended, full_only })
}

/// A candidate's scenarios.
struct Variant {
    key: String,
    scenarios: Vec<Result<Arc<Scenario>, String>>,
}

/// A name, its number in the search, its values, its scenarios.
type Named = (String, Option<usize>, Vec<Option<String>>, Variant);

/// One run to do.
struct Job<'v> {
    variant: &'v Variant,
    scenario: usize,
    seed: u64,
    model: Model,
}

struct Tuner<'t> {
    tuning: &'t Tuning,
    map: ParallelMap<'t>,
    desk: &'t dyn Desk,
    full_only: Vec<(usize, String)>,
    /// What those came to whom no candidate may fall behind, on the seeds of the search; empty for the others.
    beside: Vec<Samples>,
}

impl Tuner<'_> {
    /// Runs those whom no candidate may fall behind, as candidates run.
    fn rivals_searched(&self) -> Result<Vec<Samples>, String> {
        let Tuning { scenarios, against, .. } = self.tuning;
        let seeds = self.seeds();
        let needed = |at: &usize| self.tuning.no_worse_than.contains(at) || self.tuning.undominated_by.contains(at);
        let numbers: Vec<usize> = (0..against.len()).filter(needed).collect();
        let variants: Vec<Variant> = numbers.iter().map(|at| self.rival(&against[*at], scenarios)).collect();
        let mut jobs = Vec::new();
        for variant in &variants {
            for scenario in 0..scenarios.len() {
                let model = self.model(scenario);
                jobs.extend(seeds.iter().map(|seed| Job { variant, scenario, seed: *seed, model }));
            }
        }
        if jobs.is_empty() {
            return Ok(vec![Vec::new(); against.len()]);
        }
        self.desk.begins("run those not to fall behind", jobs.len());
        let samples = self.run(scenarios, &jobs);
        let mut found = vec![Vec::new(); against.len()];
        for (at, samples) in numbers.into_iter().zip(samples.chunks(seeds.len() * scenarios.len())) {
            let all: Result<Vec<Vec<f64>>, String> = samples.iter().cloned().collect();
            let all = all.map_err(|why| format!("`{}` cannot be run: {why}", against[at].name))?;
            found[at] = all.chunks(seeds.len()).map(<[Vec<f64>]>::to_vec).collect();
        }
        Ok(found)
    }

    fn rival(&self, rival: &Rival, scenarios: &[Arc<Scenario>]) -> Variant {
        let over = |scenario: &Arc<Scenario>| changed(scenario, rival.instead(scenario));
        Variant { key: format!("against {}", rival.name), scenarios: scenarios.iter().map(over).collect() }
    }

    /// Which scenarios must be searched in the full world, and why.
    fn refused_by_fast(&self) -> Result<Vec<(usize, String)>, String> {
        let tried: Mutex<Vec<(usize, RunError)>> = Mutex::default();
        self.desk.begins("try the fast model", self.tuning.scenarios.len());
        (self.map)(self.tuning.scenarios.len(), &|at| {
            let scenario = &self.tuning.scenarios[at];
            if let Err(error) =
                want::measure(scenario, 1, Model::Fast, &self.tuning.objectives, &self.tuning.constraints)
            {
                tried.lock().unwrap_or_else(PoisonError::into_inner).push((at, error));
            }
        });
        let mut tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
        tried.sort_by_key(|(at, _)| *at);
        let reason = |(at, error): (usize, RunError)| match error {
            RunError::Unsupported(why) => Ok((at, why.to_string())),
            RunError::Engine(crate::engine::EngineError::Unsupported(why)) => Ok((at, why.to_string())),
            RunError::Engine(_)
            | RunError::Mesh { .. }
            | RunError::Check { .. }
            | RunError::Untouched { .. }
            | RunError::NoWorld { .. }
            | RunError::NotReady { .. }
            | RunError::Elsewhere { .. } => {
                Err(format!("{} cannot be run: {error}", self.tuning.scenarios[at].name.value))
            }
        };
        tried.into_iter().map(reason).collect()
    }

    fn model(&self, scenario: usize) -> Model {
        if self.full_only.iter().any(|(at, _)| *at == scenario) { Model::Full } else { Model::Fast }
    }

    fn variant(&self, values: &[Option<String>], scenarios: &[Arc<Scenario>]) -> Variant {
        let texts: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        let key = if texts.iter().all(Option::is_none) {
            "current".to_owned()
        } else {
            texts.iter().map(|text| text.unwrap_or("=")).collect::<Vec<_>>().join(" | ")
        };
        let over = |scenario: &Arc<Scenario>| changed(scenario, self.tuning.with_values(scenario, &texts));
        Variant { key, scenarios: scenarios.iter().map(over).collect() }
    }

    /// Runs what is not known yet; the samples in the order of the jobs.
    fn run(&self, scenarios: &[Arc<Scenario>], jobs: &[Job<'_>]) -> Vec<Sample> {
        let slots: Mutex<Vec<Option<Sample>>> = Mutex::new(jobs.iter().map(|_| None).collect());
        (self.map)(jobs.len(), &|number| {
            let job = &jobs[number];
            let key = RunKey {
                variant: job.variant.key.clone(),
                model: job.model.name(),
                scenario: scenarios[job.scenario].name.value.clone(),
                seed: job.seed,
            };
            let sample = self.desk.known(&key).unwrap_or_else(|| {
                let sample = match &job.variant.scenarios[job.scenario] {
                    Ok(scenario) => {
                        let Tuning { objectives, constraints, .. } = self.tuning;
                        want::measure(scenario, job.seed, job.model, objectives, constraints)
                            .map_err(|error| error.to_string())
                    }
                    Err(why) => Err(why.clone()),
                };
                self.desk.measured(&key, &sample);
                sample
            });
            slots.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(sample);
        });
        let slots = slots.into_inner().unwrap_or_else(PoisonError::into_inner);
        slots.into_iter().map(|slot| slot.expect("the map runs every job")).collect()
    }

    fn seeds(&self) -> Vec<u64> {
        (1..=u64::from(self.tuning.seeds)).collect()
    }

    /// Candidates race over the seeds: of each rung the better half goes on.
    fn race(&self, round: usize, candidates: Vec<Vec<Option<String>>>, halving: bool) -> Vec<Evaluation> {
        let scenarios = &self.tuning.scenarios;
        let all = self.seeds();
        let variants: Vec<Variant> = candidates.iter().map(|values| self.variant(values, scenarios)).collect();
        let mut found: Vec<Evaluation> = candidates
            .into_iter()
            .zip(&variants)
            .map(|(values, variant)| Evaluation {
                round,
                values,
                seeds: 0,
                means: Vec::new(),
                score: Score::refused(self.tuning.objectives.len()),
                refused: variant.scenarios.iter().find_map(|scenario| scenario.as_ref().err().cloned()),
                samples: vec![Vec::new(); scenarios.len()],
            })
            .collect();
        let mut rungs: Vec<usize> =
            if halving { vec![all.len().div_ceil(4), all.len().div_ceil(2), all.len()] } else { vec![all.len()] };
        rungs.dedup();
        let mut alive: Vec<usize> = (0..found.len()).filter(|at| found[*at].refused.is_none()).collect();
        let mut done = 0;
        for (nth, rung) in rungs.iter().enumerate() {
            let jobs: Vec<Job<'_>> = alive
                .iter()
                .flat_map(|at| {
                    let variant = &variants[*at];
                    (0..scenarios.len())
                        .flat_map(move |scenario| (done..*rung).map(move |seed| (variant, scenario, seed)))
                })
                .map(|(variant, scenario, seed)| Job {
                    variant,
                    scenario,
                    seed: all[seed],
                    model: self.model(scenario),
                })
                .collect();
            let each = (rung - done) * scenarios.len();
            let samples = self.run(scenarios, &jobs);
            for (at, samples) in alive.iter().zip(samples.chunks(each.max(1))) {
                let evaluation = &mut found[*at];
                for (job, sample) in samples.iter().enumerate() {
                    match sample {
                        Ok(sample) => evaluation.samples[job / (rung - done)].push(sample.clone()),
                        Err(why) => evaluation.refused = Some(why.clone()),
                    }
                }
                if evaluation.refused.is_none() {
                    evaluation.seeds = *rung;
                    (evaluation.score, evaluation.means) = self.score(&evaluation.samples, &self.beside);
                }
            }
            alive.retain(|at| found[*at].refused.is_none());
            if nth + 1 < rungs.len() {
                let scores: Vec<Score> = alive.iter().map(|at| found[*at].score.clone()).collect();
                let mut order = best_first(&scores);
                order.truncate(alive.len().div_ceil(2));
                order.sort_unstable();
                alive = order.into_iter().map(|at| alive[at]).collect();
            }
            done = *rung;
        }
        for refused in found.iter_mut().filter(|evaluation| evaluation.refused.is_some()) {
            refused.score = Score::refused(self.tuning.objectives.len());
            refused.means = Vec::new();
        }
        found
    }

    /// Costs, broken constraints and means, of samples by scenario and seed, beside those of the rivals.
    fn score(&self, samples: &[Vec<Vec<f64>>], beside: &[Samples]) -> (Score, Vec<f64>) {
        let objectives = &self.tuning.objectives;
        let means: Vec<f64> = objectives
            .iter()
            .enumerate()
            .map(|(at, objective)| Evidence::of(&column(samples, at), objective.across, objective.maximize).mean)
            .collect();
        let broken = |scenario: &Vec<Vec<f64>>| {
            let of = |sample: &Vec<f64>| sample[objectives.len()..].iter().sum::<f64>();
            scenario.iter().map(of).sum::<f64>() / scenario.len() as f64
        };
        let violation = samples.iter().map(broken).sum::<f64>() + behind(self.tuning, samples, beside);
        let costs = objectives.iter().zip(&means).map(|(objective, mean)| objective.cost(*mean)).collect();
        (Score { objectives: costs, violation }, means)
    }

    fn search(&self, plan: Plan) -> Result<(Vec<Evaluation>, Ended), String> {
        let knobs = &self.tuning.knobs;
        self.desk.begins("", plan.evaluations * self.tuning.scenarios.len() * self.tuning.seeds as usize);
        let now: Point = knobs.iter().map(|knob| super::start::own(knob, &self.tuning.scenarios)).collect();
        let values = |point: &Point| -> Vec<Option<String>> {
            point.iter().zip(knobs).map(|(level, knob)| Some(knob.levels[usize::from(*level)].clone())).collect()
        };
        let mut starts: Vec<Point> = Vec::new();
        for start in &self.tuning.start {
            if !starts.contains(&start.levels) {
                starts.push(start.levels.clone());
            }
        }
        starts.truncate(plan.evaluations.saturating_sub(1));
        let mut first = vec![vec![None; knobs.len()]];
        first.extend(starts.iter().map(values));
        let mut all = self.race(0, first, false);
        if let Some(why) = &all[0].refused {
            return Err(format!("the policies as they are cannot be run: {why}"));
        }
        let dimensions = knobs.iter().map(super::Knob::dimension).collect();
        let mut optimiser = Optimiser::new(dimensions, Plan::round(self.tuning), Rng::from_seed(1).fork("squall tune"));
        // What is in use is a parent, but its neighbours on the grid may be asked for: it may not be on it.
        optimiser.tell(std::iter::once(now).chain(starts).zip(all.iter().map(|one| one.score.clone())));
        let (mut still, mut best) = (0, 0);
        for round in 1.. {
            let wanted = optimiser.size().min(plan.evaluations.saturating_sub(all.len()));
            if wanted == 0 {
                return Ok((all, Ended::Evaluations));
            }
            let points = optimiser.ask(wanted);
            if points.is_empty() {
                return Ok((all, Ended::Exhausted));
            }
            let found = self.race(round, points.iter().map(values).collect(), true);
            optimiser.tell(points.into_iter().zip(found.iter().map(|evaluation| evaluation.score.clone())));
            let before = all.len();
            all.extend(found);
            let improved = self.improved(&all, before);
            still = if improved { 0 } else { still + 1 };
            best = self.best(&all, best);
            if !self.desk.round(&Progress { round, evaluations: &all, best, improved }) {
                return Ok((all, Ended::Told));
            }
            if still >= plan.patience {
                return Ok((all, Ended::Patience));
            }
        }
        unreachable!("rounds go on until one of the ends above")
    }

    /// Whether those from `before` on have one that is better than all others by more than a hundredth of an objective's range.
    fn improved(&self, all: &[Evaluation], before: usize) -> bool {
        let seeds = self.tuning.seeds as usize;
        let whole = |evaluation: &&Evaluation| evaluation.seeds == seeds;
        let feasible = |part: &[Evaluation]| -> Vec<Vec<f64>> {
            let good = part.iter().filter(whole).filter(|evaluation| evaluation.score.is_feasible());
            good.map(|evaluation| evaluation.score.objectives.clone()).collect()
        };
        let (old, new) = (feasible(&all[..before]), feasible(&all[before..]));
        if old.is_empty() {
            let least = |part: &[Evaluation]| part.iter().map(|one| one.score.violation).fold(f64::INFINITY, f64::min);
            return !new.is_empty() || least(&all[before..]) < 0.99 * least(&all[..before]);
        }
        let range = |at: usize| {
            let values = || old.iter().chain(&new).map(|costs| costs[at]);
            values().fold(f64::NEG_INFINITY, f64::max) - values().fold(f64::INFINITY, f64::min)
        };
        let slack: Vec<f64> = (0..self.tuning.objectives.len()).map(|at| 0.01 * range(at)).collect();
        new.iter().any(|new| !old.iter().any(|old| (0..slack.len()).all(|at| old[at] <= new[at] + slack[at])))
    }

    /// The numbers of those that ran on every seed and whom nobody dominates.
    fn front_of(&self, all: &[Evaluation]) -> Vec<usize> {
        let whole: Vec<usize> = (0..all.len()).filter(|at| all[*at].seeds == self.tuning.seeds as usize).collect();
        let scores: Vec<Score> = whole.iter().map(|at| all[*at].score.clone()).collect();
        front(&scores).into_iter().map(|at| whole[at]).collect()
    }

    /// The best of those that ran on every seed, by the order of the objectives.
    fn best(&self, all: &[Evaluation], known: usize) -> usize {
        let mut members = self.front_of(all);
        if !members.contains(&known) {
            members.push(known);
        }
        members.sort_unstable();
        let columns = |at: usize, objective: usize| all[members[at]].of(objective);
        let scores: Vec<&Score> = members.iter().map(|at| &all[*at].score).collect();
        members[self.by_objectives(&scores, &columns)]
    }

    /// Among those that break no constraint (else those that break least) the best by the first objective; among those as good, as
    /// far as can be told (95 %, paired), the best by the second; and so on. Of equals the first.
    fn by_objectives(&self, scores: &[&Score], columns: &dyn Fn(usize, usize) -> Vec<Vec<f64>>) -> usize {
        let least = scores.iter().map(|score| score.violation).fold(f64::INFINITY, f64::min);
        let mut left: Vec<usize> = (0..scores.len()).filter(|at| scores[*at].violation <= least).collect();
        for (nth, objective) in self.tuning.objectives.iter().enumerate() {
            let cost = |at: &usize| scores[*at].objectives[nth];
            let Some(best) = left.iter().copied().min_by(|a, b| cost(a).total_cmp(&cost(b))) else { return 0 };
            if !cost(&best).is_finite() {
                return best;
            }
            let last = nth + 1 == self.tuning.objectives.len();
            let near = cost(&best) + cost(&best).abs() * f64::from(objective.within_permille) / 1000.0;
            let of_best = columns(best, nth);
            left.retain(|at| {
                *at == best
                    || cost(at) == cost(&best)
                    || !last && cost(at) <= near
                    || !last
                        && contrast(&columns(*at, nth), &of_best, objective.across, objective.maximize).is_nothing()
            });
        }
        left.first().copied().unwrap_or(0)
    }

    fn choose(&self, finalists: &[Finalist]) -> usize {
        let columns = |at: usize, objective: usize| column(&finalists[at].searched, objective);
        let scores: Vec<&Score> = finalists.iter().map(|finalist| &finalist.score).collect();
        self.by_objectives(&scores, &columns)
    }

    /// The current policies and the best of the front in the full world, and the rivals.
    fn confirm(
        &self,
        plan: Plan,
        all: &[Evaluation],
        front: &[usize],
    ) -> Result<(Vec<Finalist>, Vec<Finalist>), String> {
        let best = self.best(all, 0);
        let mut chosen = vec![0];
        if best != 0 {
            chosen.push(best);
        }
        let scores: Vec<Score> = front.iter().map(|at| all[*at].score.clone()).collect();
        for at in best_first(&scores).into_iter().map(|at| front[at]) {
            if !chosen.contains(&at) && chosen.len() <= plan.finalists {
                chosen.push(at);
            }
        }
        let scenarios: Vec<Arc<Scenario>> =
            self.tuning.scenarios.iter().chain(&self.tuning.hold_out).cloned().collect();
        let mut named: Vec<Named> = Vec::new();
        for (nth, at) in chosen.into_iter().enumerate() {
            let name = if at == 0 { "current".to_owned() } else { letter(nth) };
            named.push((name, Some(at), all[at].values.clone(), self.variant(&all[at].values, &scenarios)));
        }
        let finalists = named.len();
        for rival in &self.tuning.against {
            named.push((rival.name.clone(), None, Vec::new(), self.rival(rival, &scenarios)));
        }
        let (searched, held) = (u64::from(self.tuning.seeds), u64::from(self.tuning.hold_out_seeds));
        let of_search = self.tuning.scenarios.len();
        let mut jobs = Vec::new();
        for (_, _, _, variant) in &named {
            for scenario in 0..scenarios.len() {
                let first = if scenario < of_search { 1 } else { searched + 1 };
                jobs.extend((first..=searched + held).map(|seed| Job { variant, scenario, seed, model: Model::Full }));
            }
        }
        self.desk.begins("confirm in the full world", jobs.len());
        let samples = self.run(&scenarios, &jobs);
        let each = jobs.len() / named.len();
        drop(jobs);
        let mut found: Vec<Finalist> = Vec::new();
        for ((name, evaluation, values, _), samples) in named.into_iter().zip(samples.chunks(each.max(1))) {
            found.push(self.finalist(name, evaluation, values, samples));
        }
        if let Some(why) = &found[0].refused {
            return Err(format!("the policies as they are cannot be run: {why}"));
        }
        let beside: Vec<Samples> = found[finalists..].iter().map(|rival| rival.searched.clone()).collect();
        for finalist in found.iter_mut().filter(|finalist| finalist.refused.is_none()) {
            finalist.score = self.score(&finalist.searched, &beside).0;
        }
        let rivals = found.split_off(finalists);
        Ok((found, rivals))
    }

    fn finalist(
        &self,
        name: String,
        evaluation: Option<usize>,
        values: Vec<Option<String>>,
        samples: &[Sample],
    ) -> Finalist {
        let (searched, held) = (self.tuning.seeds as usize, self.tuning.hold_out_seeds as usize);
        let scenarios = self.tuning.scenarios.len();
        let mut finalist = Finalist {
            name,
            evaluation,
            values,
            searched: Vec::new(),
            other_seeds: Vec::new(),
            other_scenarios: Vec::new(),
            score: Score::refused(self.tuning.objectives.len()),
            refused: samples.iter().find_map(|sample| sample.as_ref().err().cloned()),
        };
        if finalist.refused.is_some() {
            return finalist;
        }
        let good: Vec<Vec<f64>> = samples.iter().filter_map(|sample| sample.as_ref().ok().cloned()).collect();
        let (of_search, others) = good.split_at(scenarios * (searched + held));
        for seeds in of_search.chunks(searched + held) {
            let (seen, unseen) = seeds.split_at(searched);
            finalist.searched.push(seen.to_vec());
            finalist.other_seeds.push(unseen.to_vec());
        }
        finalist.other_scenarios = others.chunks(held.max(1)).map(<[Vec<f64>]>::to_vec).collect();
        finalist
    }

    /// What moving each knob alone does, on the model of the search.
    fn sensitivity(&self, values: &[Option<String>]) -> Vec<Moved> {
        let mut moves: Vec<(usize, String)> = Vec::new();
        for (at, knob) in self.tuning.knobs.iter().enumerate() {
            let here = usize::from(knob.nearest(values[at].as_deref()));
            let last = knob.levels.len() - 1;
            let step = (knob.levels.len() / 8).max(1);
            let mut levels = if knob.ordered {
                vec![0, here.saturating_sub(step), (here + step).min(last), last]
            } else {
                (0..=last).take(16).collect()
            };
            levels.dedup();
            let moved = levels.into_iter().map(|level| knob.levels[level].clone());
            moves.extend(moved.filter(|value| values[at].as_ref() != Some(value)).map(|value| (at, value)));
        }
        let runs = (moves.len() + 1) * self.tuning.scenarios.len() * self.tuning.seeds as usize;
        self.desk.begins("move each knob alone", runs);
        let mut candidates = vec![values.to_vec()];
        candidates.extend(moves.iter().map(|(at, value)| {
            let mut values = values.to_vec();
            values[*at] = Some(value.clone());
            values
        }));
        let mut found = self.race(0, candidates, false).into_iter();
        let Some(base) = found.next() else { return Vec::new() };
        let moved = |((knob, value), evaluation): ((usize, String), Evaluation)| {
            let objectives = self.tuning.objectives.iter().enumerate();
            let contrasts = match &evaluation.refused {
                Some(_) => Vec::new(),
                None => objectives
                    .map(|(at, objective)| {
                        contrast(&evaluation.of(at), &base.of(at), objective.across, objective.maximize)
                    })
                    .collect(),
            };
            Moved { knob, value, contrasts, violation: evaluation.score.violation }
        };
        moves.into_iter().zip(found).map(moved).collect()
    }
}

/// A scenario over other manifests; the reason why not in one line.
pub(super) fn changed(scenario: &Arc<Scenario>, mesh: Vec<crate::scenario::MeshFile>) -> Result<Arc<Scenario>, String> {
    let why = |mistakes: Vec<squall_control::Mistake>| {
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    scenario.over(mesh).map(Arc::new).map_err(why)
}

/// `A`, `B`, …
fn letter(nth: usize) -> String {
    let at = nth.saturating_sub(1);
    match u8::try_from(at) {
        Ok(small) if small < 26 => char::from(b'A' + small).to_string(),
        Ok(_) | Err(_) => format!("F{at}"),
    }
}
