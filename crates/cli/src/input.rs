//! From paths to scenarios.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use squall_control::yaml::{self, Kind};
use squall_control::{Mistake, Place};
use squall_sim::Scenario;
use squall_sim::scenario::{Disk, IsotopeLoad, Rate, Refusal, Suite, load_dir, load_file};

use crate::args::Isotope;
use crate::exit::Exit;
use crate::mistakes;
use crate::screen::Screen;

/// A scenario and the file a person would name to run it again.
pub(crate) struct Input {
    pub(crate) file: String,
    pub(crate) scenario: Arc<Scenario>,
}

/// The scenarios that `squall test` and `squall replay` run: those of named files, whatever their suite, and those of
/// directories that are of the suite `test`. Mistakes are shown, all of them.
pub(crate) fn scenarios(
    paths: &[impl AsRef<Path>],
    isotope: &Isotope,
    screen: &mut Screen,
) -> Result<Vec<Input>, Exit> {
    let found = read(paths, isotope, true, screen)?;
    if found.is_empty() {
        screen.aside("error: every scenario there is of another suite than `test`; to run one, name its file");
        return Err(Exit::BadInput);
    }
    if isotope.is_set() && !paths.iter().any(|path| is_isotope(path.as_ref())) {
        screen.aside(
            "error: --rate and --duration are for isotope files, and none is named; a scenario has its own load",
        );
        return Err(Exit::BadInput);
    }
    Ok(found)
}

/// The scenarios of files and directories, each once, in the order of the paths. Mistakes are shown, all of them.
pub(crate) fn read(
    paths: &[impl AsRef<Path>],
    isotope: &Isotope,
    only_test_suite: bool,
    screen: &mut Screen,
) -> Result<Vec<Input>, Exit> {
    let (found, refusals) = gather(paths, isotope, only_test_suite);
    for refusal in &refusals {
        mistakes::show(screen, refusal);
    }
    if refusals.is_empty() { Ok(found) } else { Err(Exit::BadInput) }
}

/// The same, with what is refused as it was found.
pub(crate) fn gather(
    paths: &[impl AsRef<Path>],
    isotope: &Isotope,
    only_test_suite: bool,
) -> (Vec<Input>, Vec<Refusal>) {
    let mut found: Vec<Input> = Vec::new();
    let mut refusals: Vec<Refusal> = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        let loaded = match path.is_dir() {
            true => load_dir(path, &Disk).map(|mut all| {
                all.retain(|scenario| scenario.suite == Suite::Test || !only_test_suite);
                all
            }),
            false => one(path, isotope).map(|scenario| vec![scenario]),
        };
        let scenarios = loaded.unwrap_or_else(|refusal| {
            refusals.push(refusal);
            Vec::new()
        });
        for scenario in scenarios {
            let file = scenario.name.place.file.to_string();
            if !found.iter().any(|input| input.file == file) {
                found.push(Input { file, scenario: Arc::new(scenario) });
            }
        }
    }
    if let Some(twice) = same_name(&found) {
        refusals.push(Refusal { mistakes: vec![twice], sources: BTreeMap::new() });
    }
    (found, refusals)
}

fn one(path: &Path, isotope: &Isotope) -> Result<Scenario, Refusal> {
    let default = IsotopeLoad::default();
    let load = IsotopeLoad {
        rate: isotope.rate.map_or(default.rate, Rate),
        duration: isotope.duration.unwrap_or(default.duration),
    };
    load_file(path, &Disk, &load)
}

/// Results go by name, so two scenarios of one name could not be told apart.
fn same_name(found: &[Input]) -> Option<Mistake> {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    found.iter().find_map(|input| {
        let name = &input.scenario.name;
        let first = seen.insert(&name.value, &name.place)?;
        Some(
            Mistake::new(&name.place, format!("there are two scenarios called `{}`", name.value))
                .label(first, "the other one"),
        )
    })
}

/// Whether a file is no Kubernetes resource: isotope's own example graphs have no `kind`, others call it `MockServiceGraph`.
fn is_isotope(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    yaml::parse(&path.to_string_lossy(), &text).is_ok_and(|documents| holds_graph(&kinds(&documents)))
}

/// Whether documents of these kinds are an isotope graph.
pub(crate) fn holds_graph(kinds: &[&str]) -> bool {
    kinds.is_empty() || kinds.contains(&"MockServiceGraph")
}

/// What the documents of a file say they are.
pub(crate) fn kinds(documents: &[yaml::Node]) -> Vec<&str> {
    documents.iter().filter_map(kind).collect()
}

fn kind(document: &yaml::Node) -> Option<&str> {
    let Kind::Map(entries) = &document.kind else { return None };
    match &entries.iter().find(|(key, _)| key.name == "kind")?.1.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::List(_) | Kind::Map(_) => None,
    }
}

impl Isotope {
    pub(crate) fn is_set(&self) -> bool {
        self.rate.is_some() || self.duration.is_some()
    }
}
