//! `squall check`: reads files and shows every mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_control::{Mistake, Place, Resources, yaml};
use squall_sim::scenario::{Disk, Files, Refusal};
use squall_sim::tune::Tuning;

use crate::args::{Check, Isotope};
use crate::exit::Exit;
use crate::input;
use crate::mistakes;
use crate::numbers;
use crate::screen::Screen;

pub(crate) fn run(args: &Check, screen: &mut Screen) -> Exit {
    let mut refused = false;
    let mut scenarios: Vec<PathBuf> = Vec::new();
    let mut tunings: Vec<PathBuf> = Vec::new();
    let mut mesh = Mesh::default();
    for path in &args.files {
        tunings.extend(tunings_of(path));
        if tunings.last().is_some_and(|last| last == path) {
            continue;
        }
        match sort(path, &mut mesh) {
            Ok(true) => scenarios.push(path.clone()),
            Ok(false) => {}
            Err(mistake) => {
                let refusal = Refusal { mistakes: vec![*mistake], sources: BTreeMap::new() };
                mistakes::show(screen, &refusal);
                refused = true;
            }
        }
    }
    let mut read = 0;
    if !scenarios.is_empty() {
        let no_load = Isotope { rate: None, duration: None };
        match input::read(&scenarios, &no_load, false, screen) {
            Ok(inputs) => read = inputs.len(),
            Err(_) => refused = true,
        }
    }
    for path in &tunings {
        if let Err(refusal) = Tuning::load(path, &Disk) {
            mistakes::show(screen, &refusal);
            refused = true;
        }
    }
    let texts: Vec<(&str, &str)> = mesh.0.iter().map(|(name, text)| (&**name, &**text)).collect();
    // Files that cannot even be read would make others look as if they referred to nothing.
    if !texts.is_empty()
        && !refused
        && let Err(mistakes) = Resources::read(&texts)
    {
        mistakes::show(screen, &Refusal { mistakes, sources: mesh.0 });
        return Exit::BadInput;
    }
    if refused {
        return Exit::BadInput;
    }
    let counts = [(read, "scenario"), (tunings.len(), "tuning"), (texts.len(), "mesh file")];
    let counts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| numbers::count(*n, what)).collect();
    screen.say(&format!("no mistakes in {}", counts.join(" and ")));
    Exit::Pass
}

/// The files of `kind: Tuning` at a path: itself, or those in a directory.
fn tunings_of(path: &Path) -> Vec<PathBuf> {
    let files = if path.is_dir() { Disk.list(path).unwrap_or_default() } else { vec![path.to_path_buf()] };
    let is_yaml = |file: &PathBuf| file.extension().is_some_and(|end| end == "yaml" || end == "yml");
    files.into_iter().filter(is_yaml).filter(|file| crate::tune::is_tuning(file)).collect()
}

/// Mesh files by name, with their texts. They are checked together, since they refer to each other.
#[derive(Default)]
struct Mesh(BTreeMap<Arc<str>, Arc<str>>);

/// Whether a path holds scenarios (true) or went to the mesh files (false). A directory without a scenario is one of mesh files.
fn sort(path: &Path, mesh: &mut Mesh) -> Result<bool, Box<Mistake>> {
    let wrong = |path: &Path, what: String| Box::new(Mistake::new(&Place::whole(&path.to_string_lossy()), what));
    let cannot = |path: &Path, error| wrong(path, format!("cannot read it: {error}"));
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let files = match path.is_dir() {
        true => Disk.list(path).map_err(|e| cannot(path, e))?.into_iter().filter(is_yaml).collect(),
        false => vec![path.to_path_buf()],
    };
    let mut texts = BTreeMap::new();
    for file in &files {
        let text = Disk.read(file).map_err(|e| cannot(file, e))?;
        let name: Arc<str> = file.to_string_lossy().into();
        // A file that is no YAML at all is shown with its place by whoever reads it in earnest.
        let documents = yaml::parse(&name, &text).unwrap_or_default();
        let kinds = input::kinds(&documents);
        let isotope = input::holds_graph(&kinds) && !documents.is_empty() && !path.is_dir();
        if isotope || kinds.contains(&"Scenario") {
            return Ok(true);
        }
        texts.insert(name, text.into());
    }
    if texts.is_empty() {
        return Err(wrong(path, "there is no YAML file in it".into()));
    }
    mesh.0.extend(texts);
    Ok(false)
}
