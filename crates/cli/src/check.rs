//! `squall check`: reads files and shows every mistake.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use squall_control::{Mistake, Place, Resources, yaml};
use squall_sim::scenario::{Disk, Files, Refusal};
use squall_sim::tune::Tuning;

use crate::args::{Check, Isotope};
use crate::exit::Exit;
use crate::files::Pending;
use crate::input;
use crate::mistakes;
use crate::numbers;
use crate::sarif;
use crate::screen::Screen;

pub(crate) fn run(args: &Check, screen: &mut Screen) -> Exit {
    // Begun before anything is read, so that a wrong path is known at once.
    let sarif = match args.sarif.as_deref().map(Pending::start).transpose() {
        Ok(sarif) => sarif,
        Err(why) => {
            screen.aside(&format!("error: {why}"));
            return Exit::BadInput;
        }
    };
    let (counts, refusals) = read(args);
    for refusal in &refusals {
        mistakes::show(screen, refusal);
    }
    if let Some(mut out) = sarif {
        let written =
            writeln!(out, "{:#}", sarif::log(&refusals)).map_err(|e| format!("cannot write the SARIF log: {e}"));
        if let Err(why) = written.and_then(|()| out.finish()) {
            screen.aside(&format!("error: {why}"));
            return Exit::Infrastructure;
        }
    }
    if !refusals.is_empty() {
        return Exit::BadInput;
    }
    screen.say(&format!("no mistakes in {counts}"));
    Exit::Pass
}

/// How much there is, in words, and what is wrong with it.
fn read(args: &Check) -> (String, Vec<Refusal>) {
    let mut refusals = Vec::new();
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
            Err(mistake) => refusals.push(Refusal { mistakes: vec![*mistake], sources: BTreeMap::new() }),
        }
    }
    let texts: Vec<(&str, &str)> = mesh.0.iter().map(|(name, text)| (&**name, &**text)).collect();
    // Files that cannot even be read would make others look as if they referred to nothing.
    let mistakes = match refusals.is_empty() && !texts.is_empty() {
        true => Resources::read(&texts).err(),
        false => None,
    };
    let no_load = Isotope { rate: None, duration: None };
    let (inputs, refused) = input::gather(&scenarios, &no_load, false);
    refusals.extend(refused);
    refusals.extend(tunings.iter().filter_map(|path| Tuning::load(path, &Disk).err()));
    let counts = [(inputs.len(), "scenario"), (tunings.len(), "tuning"), (texts.len(), "mesh file")];
    let counts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| numbers::count(*n, what)).collect();
    if let Some(mistakes) = mistakes {
        refusals.push(Refusal { mistakes, sources: mesh.0 });
    }
    (counts.join(" and "), refusals)
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
        let documents = yaml::parse(&name, &text);
        // Whoever names a file means to have something in it.
        if files.len() == 1 && documents.as_ref().is_ok_and(|documents| documents.is_empty()) {
            return Err(wrong(file, "there is nothing in it".into()));
        }
        let documents = documents.unwrap_or_default();
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
