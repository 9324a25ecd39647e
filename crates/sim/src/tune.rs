//! `squall tune`: which values should the policies have?
//!
//! ```text
//!   Tuning (what varies, what is wanted) ─▶ search on the fast model ─▶ finalists in the full world, also on what was held out
//!                                                                    ─▶ recommendation, front, sensitivity, counter-examples
//! ```
//!
//! A candidate is the scenarios' own manifests with some values changed in their text, so that what is measured is what is
//! deployed. How the search works is in [`crate::search`]; what a Tuning says is in scenarios/README.md.

mod auto;
mod beside;
mod edit;
mod evidence;
mod examples;
mod knob;
mod read;
mod start;
mod tuner;
mod variant;
mod versus;
mod want;

use std::path::Path as FilePath;
use std::sync::Arc;

use squall_control::Mistake;

use crate::scenario::{Files, MeshFile, Refusal, Scenario};

pub use beside::kept;
pub use edit::Path;
pub use evidence::{Contrast, Evidence, contrast};
pub use examples::{CounterExample, counter_example};
pub use knob::{Knob, Resource};
pub(crate) use read::files_of;
pub use start::Start;
pub use tuner::{Desk, Ended, Evaluation, Finalist, Found, Moved, Plan, Progress, RunKey, Sample, tune};
pub use versus::{Better, Compared, Comparison};
pub use want::{Across, Constraint, Margin, Objective};

/// The `kind` of a file that says what to tune.
pub const KIND: &str = "Tuning";

/// Manifests as people name them: a file, or all of a directory, with every mistake of syntax.
///
/// # Errors
/// All mistakes.
pub fn manifests(path: &FilePath, files: &dyn Files) -> Result<Vec<MeshFile>, Refusal> {
    read::manifests(path, files)
}

/// Manifests in which the TrafficPolicies of this name have this value in a field of their `spec`.
///
/// # Errors
/// There is none, or it has no such field.
pub(crate) fn set_field(mesh: &[MeshFile], policy: &str, path: &Path, value: &str) -> Result<Vec<MeshFile>, String> {
    let found = mesh.iter().flat_map(variant::resources).map(|standing| standing.resource);
    let resources: Vec<Resource> =
        found.filter(|resource| resource.kind == "TrafficPolicy" && resource.name == policy).collect();
    if resources.is_empty() {
        return Err(format!("there is no TrafficPolicy `{policy}` in the scenario's mesh"));
    }
    let place = squall_control::Place::whole("");
    let (name, levels) = (policy.to_owned(), Vec::new());
    let knob = Knob { name, resources, path: path.clone(), levels, ordered: true, absent: None, place };
    let changed = variant::set(mesh, std::slice::from_ref(&knob), &[Some(value)]);
    let is_there = |resource: &Resource| variant::current(&changed, resource, path).is_some_and(|now| now == value);
    match knob.resources.iter().all(is_there) {
        true => Ok(changed),
        false => Err(format!("the TrafficPolicy `{policy}` has no place for {path}")),
    }
}

/// What to tune, checked.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Its name.
    pub name: String,
    /// The file it stands in; empty if there is none.
    pub file: String,
    /// The scenarios to search over, at least one, with the policies to tune.
    pub scenarios: Vec<Arc<Scenario>>,
    /// Scenarios that only the finalists run, to see whether what was found holds elsewhere.
    pub hold_out: Vec<Arc<Scenario>>,
    /// Seeds of each scenario in the search: 1 to so many. At least 2, default 6.
    pub seeds: u32,
    /// Seeds that only the finalists run, those after the others. At least 2, default 6.
    pub hold_out_seeds: u32,
    /// What varies, at least one.
    pub knobs: Vec<Knob>,
    /// What is wanted, the most important first. At least one.
    pub objectives: Vec<Objective>,
    /// What must hold in every run.
    pub constraints: Vec<Constraint>,
    /// Other policies to compare with.
    pub against: Vec<Rival>,
    /// Of those, where the search begins, besides what is in use.
    pub start: Vec<Start>,
    /// Of those, by number, whom the recommended policy must not be worse than: on no scenario in any objective.
    pub no_worse_than: Vec<usize>,
    /// Of those, by number, who must not dominate it: on no scenario better in some objective and worse in none.
    pub undominated_by: Vec<usize>,
}

/// Policies with a name, in place of the scenarios' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The name.
    pub name: String,
    /// The manifests.
    pub mesh: Vec<MeshFile>,
}

impl Rival {
    /// The manifests of a scenario with these policies in place of its own: of those of the same kind with the same name, or for
    /// the same Service.
    #[must_use]
    pub fn instead(&self, scenario: &Scenario) -> Vec<MeshFile> {
        variant::replaced(&scenario.mesh, &self.mesh)
    }
}

impl Tuning {
    /// Reads a file of `kind: Tuning` and all that it names.
    ///
    /// # Errors
    /// All mistakes of all files.
    pub fn load(path: &FilePath, files: &dyn Files) -> Result<Self, Refusal> {
        read::load(path, files)
    }

    /// The usual settings of every policy of these scenarios, under the usual objectives: success rate, then p99, then
    /// amplification; amplification at most 1.2 and recovery within 10 s. `None` if there is no setting to tune.
    #[must_use]
    pub fn automatic(scenarios: Vec<Arc<Scenario>>) -> Option<Self> {
        let knobs = auto::knobs(&scenarios);
        (!knobs.is_empty()).then(|| Self {
            name: "automatic".to_owned(),
            file: String::new(),
            scenarios,
            hold_out: Vec::new(),
            seeds: 6,
            hold_out_seeds: 6,
            knobs,
            objectives: Objective::usual(),
            constraints: Constraint::usual(),
            against: Vec::new(),
            start: Vec::new(),
            no_worse_than: Vec::new(),
            undominated_by: Vec::new(),
        })
    }

    /// What each knob is now, as it is written in the manifests, on one line; `None`: it is not there, so that its default holds.
    #[must_use]
    pub fn current(&self) -> Vec<Option<String>> {
        let now = |knob: &Knob| {
            let resource = knob.resources.first()?;
            let text =
                self.scenarios.iter().find_map(|scenario| variant::current(&scenario.mesh, resource, &knob.path))?;
            Some(start::flow(&text))
        };
        self.knobs.iter().map(now).collect()
    }

    /// The manifests of a scenario with these values.
    #[must_use]
    pub fn with_values(&self, scenario: &Scenario, values: &[Option<&str>]) -> Vec<MeshFile> {
        variant::set(&scenario.mesh, &self.knobs, values)
    }

    /// The manifests that hold what varies, each once, with these values.
    #[must_use]
    pub fn manifests(&self, values: &[Option<&str>]) -> Vec<MeshFile> {
        let mut files: Vec<MeshFile> = Vec::new();
        for scenario in self.scenarios.iter().chain(&self.hold_out) {
            for file in self.with_values(scenario, values) {
                let holds = |knob: &Knob| {
                    variant::resources(&file).iter().any(|standing| knob.resources.contains(&standing.resource))
                };
                if !files.iter().any(|known| known.name == file.name) && self.knobs.iter().any(holds) {
                    files.push(file);
                }
            }
        }
        files
    }
}

/// Why the control plane takes no mesh in which knob `at` is at `level`: neither with the others as they are, nor with one of them at
/// an end of its own.
fn refused(knobs: &[Knob], at: usize, level: usize, scenarios: &[Arc<Scenario>]) -> Option<Mistake> {
    let knob = &knobs[at];
    let scenario = scenarios.iter().find(|scenario| {
        scenario.mesh.iter().flat_map(variant::resources).any(|standing| knob.resources.contains(&standing.resource))
    })?;
    let mut values: Vec<Option<&str>> = vec![None; knobs.len()];
    values[at] = Some(&knob.levels[level]);
    let why = |values: &[Option<&str>]| {
        let found = scenario.over(variant::set(&scenario.mesh, knobs, values));
        found.err().and_then(|mistakes| mistakes.into_iter().next())
    };
    let first = why(&values)?;
    for (other, beside) in knobs.iter().enumerate().filter(|(other, _)| *other != at) {
        for end in [beside.levels.first(), beside.levels.last()].into_iter().flatten() {
            let mut values = values.clone();
            values[other] = Some(end);
            why(&values)?;
        }
    }
    Some(first)
}
