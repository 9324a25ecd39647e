//! `squall map`: where does a mesh not come back after what went wrong is over?
//!
//! A scenario runs on a grid of two quantities, with its faults and (once for each column) without. As Bronson et al. have it
//! ("Metastable failures in distributed systems", HotOS 2021), a system is *metastable* where it holds without a trigger, and does not
//! hold long after the trigger is gone. Whether it holds is looked at in the last stretch of the load: the share of requests that
//! succeed, of those that arrive then. The boundary of each row is found by bisection.
//!
//! A fault that touched nothing fails the map, as it fails a run: what holds after it would say nothing. So a fault has some length and
//! strength everywhere on an axis, and 0 is refused; how it is without faults is shown by the runs without them.

mod axis;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::campaign::ParallelMap;
use crate::outcome::{EngineKind, Model, RunError, RunOptions};
use crate::run::run_looked_at;
use crate::scenario::{Scenario, Window};
use crate::trace::Mode;

pub use axis::{Axis, Quantity};

/// A bracket is narrow enough when its ends are this far apart, as a share of the upper one.
pub const BRACKET: f64 = 0.02;
/// More halvings than this find nothing more in a float.
const HALVINGS: u32 = 60;

/// What to map.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Over what; its faults are the trigger.
    pub scenario: Arc<Scenario>,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The seeds of each cell, at least one.
    pub seeds: Vec<u64>,
    /// How much is simulated.
    pub model: Model,
    /// The share of requests that must succeed at the end, 0 to 1.
    pub holds: f64,
    /// How long the last stretch is; the faults are over before it.
    pub last: Duration,
}

/// How a cell ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds again, on every seed.
    Holds,
    /// On some seeds it holds, with the faults or without, on others not.
    Undecided,
    /// It does not on any seed, though it does on every one without the faults.
    Metastable,
    /// It does not on any seed, even without the faults.
    Overloaded,
}

impl State {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Undecided => "undecided",
            Self::Metastable => "metastable",
            Self::Overloaded => "overloaded",
        }
    }
}

/// A cell of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its place on the axes.
    pub at: [f64; 2],
    /// How it ends.
    pub state: State,
    /// The mean over seeds of the share that succeeds at the end, with the faults and without.
    pub success: [f64; 2],
    /// On so many seeds it does not hold.
    pub stuck: usize,
}

/// Where a row stops holding, from left to right.
#[derive(Clone, Debug, PartialEq)]
pub struct Boundary {
    /// The row.
    pub y: f64,
    /// It holds at the first and not at the second, which are no further apart than [`BRACKET`], or neighbours where the quantity has
    /// nothing between them; `None`: all of the row is alike.
    pub between: Option<[f64; 2]>,
    /// How it is beyond.
    pub beyond: State,
    /// Further right it holds again somewhere, so that there is more than one boundary.
    pub holds_again: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// By row from below and column from the left.
    pub cells: Vec<Vec<Cell>>,
    /// By row from below.
    pub boundary: Vec<Boundary>,
    /// Runs made.
    pub runs: usize,
}

/// One place on the axes, run on every seed.
struct Ends {
    success: f64,
    stuck: usize,
}

impl Plan {
    /// The scenario at a place on the axes, and whether its faults happen.
    ///
    /// # Errors
    /// Why there is none, naming the axis: a value that no file could have, or faults that are not over before the last stretch.
    pub fn at(&self, [x, y]: [f64; 2], with_faults: bool) -> Result<Arc<Scenario>, String> {
        let mut scenario = (*self.scenario).clone();
        self.x.apply(x, &mut scenario)?;
        self.y.apply(y, &mut scenario)?;
        match with_faults {
            true => self.over_in_time(&scenario)?,
            false => scenario.faults.clear(),
        }
        // They are about other values.
        scenario.expect.clear();
        Ok(Arc::new(scenario))
    }

    fn over_in_time(&self, scenario: &Scenario) -> Result<(), String> {
        let from = scenario.duration.saturating_sub(self.last);
        for fault in &scenario.faults {
            let name = &fault.name;
            let over = fault
                .over_at()
                .ok_or_else(|| format!("{name} has no end that is known beforehand: give it `at` and `for`"))?;
            if over >= from {
                return Err(format!(
                    "{name} is over at {over:?}, and the last {:?} begin at {from:?}: there must be time between them",
                    self.last
                ));
            }
        }
        Ok(())
    }

    /// Whether everything can be run: the axes have as many values as are asked for, both ends of both make a scenario, and its
    /// faults are over in time.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        if self.scenario.faults.is_empty() {
            return Err("the scenario has no fault that could be over".to_owned());
        }
        self.x.check()?;
        self.y.check()?;
        for x in [self.x.from, self.x.to] {
            for y in [self.y.from, self.y.to] {
                self.at([x, y], true)?;
            }
        }
        Ok(())
    }

    fn ends(&self, at: [f64; 2], with_faults: bool) -> Result<Ends, RunError> {
        let broken = |why: String| RunError::Check { that: "the map".to_owned(), why };
        let scenario = self.at(at, with_faults).map_err(broken)?;
        let window = Window::Between(scenario.duration.saturating_sub(self.last), scenario.duration);
        let options = RunOptions { engine: EngineKind::Event, model: self.model, keep_history: false };
        let mut shares = Vec::new();
        for seed in &self.seeds {
            let mut look = |measures: &Arc<_>| {
                shares.push(crate::evaluate::value_of("successRate", window, measures)?);
                Ok(())
            };
            let (outcome, _) = run_looked_at(&scenario, *seed, options, Mode::Digest, &mut look)?;
            // What holds after a trigger that was none says nothing.
            if let Some(fault) = outcome.faults.iter().find(|fault| fault.touched == 0) {
                return Err(RunError::Untouched { fault: fault.what.clone(), at: self.place(at), seed: *seed });
            }
        }
        let stuck = shares.iter().filter(|share| **share < self.holds).count();
        Ok(Ends { success: shares.iter().sum::<f64>() / shares.len() as f64, stuck })
    }

    /// A place for people.
    fn place(&self, [x, y]: [f64; 2]) -> String {
        format!("{} {x}, {} {y}", self.x.name(), self.y.name())
    }

    /// Runs the grid, then bisects each row; work is spread by `map`, and `done` is called at the end of each cell.
    ///
    /// # Errors
    /// The first run, from below and from the left, that came to no end.
    pub fn run(&self, map: ParallelMap<'_>, done: &(dyn Fn() + Sync)) -> Result<Found, RunError> {
        let (xs, ys) = (self.x.values(), self.y.values());
        // The quantities of the faults say nothing where there are none, but those of policies do.
        let calm_rows = if self.y.is_of_faults() { 1 } else { ys.len() };
        let calm = collect(map, calm_rows * xs.len(), &|nth| {
            let ends = self.ends([xs[nth % xs.len()], ys[nth / xs.len()]], false);
            done();
            ends
        })?;
        let calm_at = |row: usize, column: usize| &calm[row.min(calm_rows - 1) * xs.len() + column];
        let ends = collect(map, ys.len() * xs.len(), &|nth| {
            let ends = self.ends([xs[nth % xs.len()], ys[nth / xs.len()]], true);
            done();
            ends
        })?;
        let cell = |row: usize, column: usize| {
            let (calm, ends) = (calm_at(row, column), &ends[row * xs.len() + column]);
            let success = [ends.success, calm.success];
            Cell {
                at: [xs[column], ys[row]],
                state: state(calm.stuck, ends.stuck, self.seeds.len()),
                success,
                stuck: ends.stuck,
            }
        };
        let cells: Vec<Vec<Cell>> =
            (0..ys.len()).map(|row| (0..xs.len()).map(|column| cell(row, column)).collect()).collect();
        let runs = Mutex::new((calm.len() + ends.len()) * self.seeds.len());
        let boundary = collect(map, ys.len(), &|row| {
            let (boundary, more) = self.bisect(&cells[row], ys[row])?;
            *runs.lock().unwrap_or_else(PoisonError::into_inner) += more * self.seeds.len();
            done();
            Ok(boundary)
        })?;
        Ok(Found { cells, boundary, runs: runs.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }

    /// The first boundary of a row, and how many places were run for it.
    fn bisect(&self, row: &[Cell], y: f64) -> Result<(Boundary, usize), RunError> {
        let holds = |cell: &Cell| cell.state == State::Holds;
        let none = |beyond| Boundary { y, between: None, beyond, holds_again: false };
        let Some(first) = row.iter().position(|cell| !holds(cell)) else { return Ok((none(State::Holds), 0)) };
        let holds_again = row[first..].iter().any(holds);
        if first == 0 {
            return Ok((Boundary { holds_again, ..none(row[0].state) }, 0));
        }
        let (mut low, mut high, mut beyond) = (row[first - 1].at[0], row[first].at[0], row[first].state);
        let mut places = 0;
        while high - low > BRACKET * high.abs() && places < 2 * HALVINGS as usize {
            let Some(middle) = self.x.middle(low, high) else { break };
            let (calm, ends) = (self.ends([middle, y], false)?, self.ends([middle, y], true)?);
            places += 2;
            match state(calm.stuck, ends.stuck, self.seeds.len()) {
                State::Holds => low = middle,
                other @ (State::Undecided | State::Metastable | State::Overloaded) => (high, beyond) = (middle, other),
            }
        }
        Ok((Boundary { y, between: Some([low, high]), beyond, holds_again }, places))
    }
}

/// Of so many seeds that do not hold without the faults, and with them, of `all`.
fn state(calm: usize, stuck: usize, all: usize) -> State {
    match (calm, stuck) {
        (0, 0) => State::Holds,
        (0, stuck) if stuck == all => State::Metastable,
        (calm, _) if calm == all => State::Overloaded,
        (_, _) => State::Undecided,
    }
}

/// All results, or the first error in their order.
fn collect<T: Send>(
    map: ParallelMap<'_>,
    count: usize,
    work: &(dyn Fn(usize) -> Result<T, RunError> + Sync),
) -> Result<Vec<T>, RunError> {
    let slots: Mutex<Vec<Option<Result<T, RunError>>>> = Mutex::new((0..count).map(|_| None).collect());
    map(count, &|nth| {
        let result = work(nth);
        slots.lock().unwrap_or_else(PoisonError::into_inner)[nth] = Some(result);
    });
    let slots = slots.into_inner().unwrap_or_else(PoisonError::into_inner);
    slots.into_iter().map(|slot| slot.expect("the map does all of it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_seeds_is_undecided_with_the_faults_and_without() {
        for (calm, stuck, want) in [
            (0, 0, State::Holds),
            (0, 1, State::Undecided),
            (0, 3, State::Metastable),
            (1, 1, State::Undecided),
            (1, 3, State::Undecided),
            (3, 3, State::Overloaded),
        ] {
            assert_eq!(state(calm, stuck, 3), want, "{calm} and {stuck} of 3");
        }
        assert_eq!([state(0, 1, 1), state(1, 1, 1)], [State::Metastable, State::Overloaded]);
    }
}
