//! Counter-examples: what a policy that is not recommended does, as files that run.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path as FilePath, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use squall_control::{units, yaml};

use super::edit::{self, Path};
use super::{Finalist, Tuning};
use crate::scenario::{Files, IsotopeLoad, MeshFile, load_file};

/// A run that shows what is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterExample {
    /// Whose.
    pub name: String,
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// What it fails, one expression for each.
    pub fails: Vec<String>,
    /// The scenario's file, among `files`.
    pub file: PathBuf,
    /// Everything it takes, with paths relative to one directory.
    pub files: BTreeMap<PathBuf, String>,
}

/// The run in which a policy breaks constraints most; if it breaks none, the one in which it is behind the recommended one most, by the
/// first objective by which it is. `None`: there is none, or the scenario is not made of files.
#[must_use]
pub fn counter_example(
    tuning: &Tuning,
    of: &Finalist,
    recommended: &Finalist,
    mesh: &dyn Fn(usize) -> Vec<MeshFile>,
    files: &dyn Files,
) -> Option<CounterExample> {
    let (scenario, seed, fails) = worst(tuning, of, recommended)?;
    let text = &tuning.scenarios[scenario];
    let path = FilePath::new(&*text.name.place.file).to_path_buf();
    let seen = Seen { files, texts: Mutex::default() };
    let own = load_file(&path, &seen, &IsotopeLoad::default()).ok()?;
    let mut texts = seen.texts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let last = own.mesh.last()?.name.to_string();
    // Files that the scenario does not name go behind the last that it does.
    let mut behind = String::new();
    let changed = mesh(scenario);
    for file in &own.mesh {
        let text = changed.iter().find(|new| new.name == file.name).map_or("", |new| &*new.text);
        texts.insert(PathBuf::from(&*file.name), text.to_owned());
    }
    for file in changed.iter().filter(|file| !own.mesh.iter().any(|known| known.name == file.name)) {
        behind.push_str(&format!("\n---\n{}", file.text));
    }
    texts.get_mut(FilePath::new(&last))?.push_str(&behind);
    let whole = texts.get(&path)?.clone();
    let expect: Vec<String> = fails.iter().map(|that| format!("{{overall: '{}'}}", that.replace('\'', "''"))).collect();
    let documents = yaml::parse(&path.to_string_lossy(), &whole).ok()?;
    let spec = Path::parse("spec.expect").expect("it is a path");
    let edited = edit::set(&whole, documents.first()?, &spec, &format!("[{}]", expect.join(", ")))?;
    let note = format!(
        "# What `{}` does here, found by squall tune. It is expected of it what the recommended policy does.\n",
        of.name
    );
    texts.insert(path.clone(), format!("{note}{edited}"));
    let common = common(texts.keys())?;
    let inside = |path: &PathBuf| !path.components().any(|part| part == Component::ParentDir);
    let relative = |path: &FilePath| path.strip_prefix(&common).map(FilePath::to_path_buf).ok().filter(inside);
    let file = relative(&path)?;
    let files: Option<BTreeMap<PathBuf, String>> =
        texts.into_iter().map(|(path, text)| Some((relative(&path)?, text))).collect();
    Some(CounterExample {
        name: of.name.clone(),
        scenario: text.name.value.clone(),
        seed: seed as u64 + 1,
        fails,
        file,
        files: files?,
    })
}

/// Scenario, seed (from 0), and what fails there.
fn worst(tuning: &Tuning, of: &Finalist, recommended: &Finalist) -> Option<(usize, usize, Vec<String>)> {
    let objectives = tuning.objectives.len();
    let runs = || {
        of.searched
            .iter()
            .enumerate()
            .flat_map(|(scenario, seeds)| seeds.iter().enumerate().map(move |(seed, sample)| (scenario, seed, sample)))
    };
    let broken = |sample: &[f64]| sample[objectives..].iter().sum::<f64>();
    let most = runs().max_by(|(.., a), (.., b)| broken(a).total_cmp(&broken(b)))?;
    if broken(most.2) > 0.0 {
        let fails = tuning.constraints.iter().zip(&most.2[objectives..]).filter(|(_, by)| **by > 0.0);
        return Some((most.0, most.1, fails.map(|(constraint, _)| constraint.that.clone()).collect()));
    }
    if recommended.searched.is_empty() {
        return None;
    }
    for (at, objective) in tuning.objectives.iter().enumerate() {
        let theirs = |scenario: usize, seed: usize| recommended.searched[scenario][seed][at];
        let behind = |(scenario, seed, sample): &(usize, usize, &Vec<f64>)| {
            objective.cost(sample[at]) - objective.cost(theirs(*scenario, *seed))
        };
        let most = runs().max_by(|a, b| behind(a).total_cmp(&behind(b)))?;
        let (mine, better) = (most.2[at], theirs(most.0, most.1));
        if behind(&most) <= 1e-3 * better.abs() {
            continue;
        }
        let middle = (mine + better) / 2.0;
        let sign = if objective.maximize { ">=" } else { "<=" };
        let limit = if objective.is_span {
            // Whole microseconds: nobody reads more.
            let span = Duration::from_micros((middle * 1e6).round() as u64);
            format!("duration(\"{}\")", units::show(span))
        } else {
            format!("double({middle:.6})")
        };
        let that = if objective.is_span { objective.that.clone() } else { format!("double({})", objective.that) };
        return Some((most.0, most.1, vec![format!("{that} {sign} {limit}")]));
    }
    None
}

/// The directory that all are in. `None`: they are not under one, by their paths alone.
fn common<'p>(mut paths: impl Iterator<Item = &'p PathBuf>) -> Option<PathBuf> {
    let mut common = paths.next()?.parent()?.to_path_buf();
    for path in paths {
        while !path.starts_with(&common) {
            if !common.pop() {
                return None;
            }
        }
    }
    Some(common)
}

/// Files, and which of them were read.
struct Seen<'f> {
    files: &'f dyn Files,
    texts: Mutex<BTreeMap<PathBuf, String>>,
}

impl Files for Seen<'_> {
    fn read(&self, path: &FilePath) -> io::Result<String> {
        let text = self.files.read(path)?;
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf(), text.clone());
        Ok(text)
    }

    fn list(&self, directory: &FilePath) -> io::Result<Vec<PathBuf>> {
        self.files.list(directory)
    }
}
