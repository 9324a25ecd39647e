//! From a path to scenarios: `squall test` is given directories and files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use squall_control::yaml::{Kind, Node};
use squall_control::{Mistake, Mistakes, Place, yaml};

use super::files::{Reading, once};
use super::isotope::{self, IsotopeLoad};
use super::{Files, Refusal, Scenario, read};

/// The scenarios in a directory and everywhere below it, in the order of their paths, of every suite. Each YAML file there is
/// a scenario (`kind: Scenario`), or one of them refers to it; anything else is a mistake. Other files are not looked at.
///
/// # Errors
/// All mistakes of all files.
pub fn load_dir(directory: &Path, files: &dyn Files) -> Result<Vec<Scenario>, Refusal> {
    let (reading, mistakes) = (Reading::new(files), Mistakes::new());
    let mut scenarios = Vec::new();
    let mut others = Vec::new();
    let found = reading.list(directory).unwrap_or_else(|error| {
        mistakes.push(Mistake::new(&Place::whole(&directory.to_string_lossy()), format!("cannot read it: {error}")));
        Vec::new()
    });
    let is_yaml = |path: &Path| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    for path in found.iter().filter(|path| is_yaml(path)) {
        let Some((file, text)) = open(path, &reading, &mistakes) else { continue };
        match yaml::parse(&file, &text) {
            Ok(documents) if documents.iter().any(|document| kind(document) == Some("Scenario")) => {
                scenarios.extend(read::scenario(&documents, &text, &reading, &mistakes));
            }
            // What to tune is no scenario, but names what belongs to it. Whether it is right `squall tune` and `check` say.
            Ok(documents) if documents.iter().any(|document| kind(document) == Some(crate::tune::KIND)) => {
                documents.iter().for_each(|document| reading.refer(&file, crate::tune::files_of(document)));
            }
            Ok(_) => others.push((path, file, None)),
            Err(syntax) => others.push((path, file, Some(syntax))),
        }
    }
    for (path, file, syntax) in others {
        // What a scenario refers to was parsed there, with its mistakes.
        if reading.is_referred(path) {
            continue;
        }
        match syntax {
            Some(syntax) => mistakes.extend(syntax),
            None => mistakes.push(
                Mistake::new(&Place::whole(&file), "this is no scenario, and no scenario here refers to it")
                    .help("a scenario has `kind: Scenario`; an isotope graph runs when its file is named"),
            ),
        }
    }
    if scenarios.is_empty() && mistakes.is_empty() {
        let place = Place::whole(&directory.to_string_lossy());
        mistakes.push(Mistake::new(&place, "there is no scenario in it").help("a scenario has `kind: Scenario`"));
    }
    unique(&scenarios, &mistakes);
    mistakes.check(scenarios).map_err(|mistakes| reading.refusal(once(mistakes)))
}

/// The scenario in a file: of `kind: Scenario`, or an isotope graph, which runs under `load`.
///
/// # Errors
/// All mistakes of this file and those it refers to.
pub fn load_file(path: &Path, files: &dyn Files, load: &IsotopeLoad) -> Result<Scenario, Refusal> {
    let (reading, mistakes) = (Reading::new(files), Mistakes::new());
    let scenario = open(path, &reading, &mistakes).and_then(|(file, text)| match yaml::parse(&file, &text) {
        Ok(documents) if documents.iter().any(isotope::is_graph) => isotope::scenario(&documents, load, &mistakes),
        Ok(documents) => read::scenario(&documents, &text, &reading, &mistakes),
        Err(syntax) => {
            mistakes.extend(syntax);
            None
        }
    });
    if scenario.is_none() && mistakes.is_empty() {
        mistakes.push(Mistake::new(&Place::whole(&path.to_string_lossy()), "there is no scenario in it"));
    }
    match mistakes.check(scenario) {
        Ok(scenario) => Ok(scenario.expect("without a scenario there is a mistake")),
        Err(mistakes) => Err(reading.refusal(once(mistakes))),
    }
}

fn open(path: &Path, reading: &Reading<'_>, mistakes: &Mistakes) -> Option<(Arc<str>, Arc<str>)> {
    let opened = reading.text(path);
    if let Err(error) = &opened {
        mistakes.push(Mistake::new(&Place::whole(&path.to_string_lossy()), format!("cannot read it: {error}")));
    }
    opened.ok()
}

/// The text of a document's `kind`.
pub(super) fn kind(document: &Node) -> Option<&str> {
    let Kind::Map(entries) = &document.kind else { return None };
    let (_, value) = entries.iter().find(|(key, _)| key.name == "kind")?;
    match &value.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::List(_) | Kind::Map(_) => None,
    }
}

fn unique(scenarios: &[Scenario], mistakes: &Mistakes) {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for scenario in scenarios {
        let name = &scenario.name;
        if let Some(first) = seen.insert(&name.value, &name.place) {
            let mistake = Mistake::new(&name.place, format!("there are two scenarios called `{}`", name.value));
            mistakes.push(mistake.label(first, "the other one"));
        }
    }
}
