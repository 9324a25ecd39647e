//! Every file under `scenarios/` is run or is used by one that is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::{expect_none, files_under, root};

/// Files of `files` (path → text) that are neither a scenario, nor named by another file or by `listed`; and scenarios
/// that `listed` does not name. A reference counts with the last two parts of a path, or the last if it is a neighbour.
fn unused(files: &BTreeMap<String, String>, listed: &str, ci: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in files {
        let name = Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if name == "README.md" {
            continue;
        }
        let scenario = text.lines().any(|l| l.trim_end() == "kind: Scenario");
        let stem = name.trim_end_matches(".yaml");
        let inside = path.strip_prefix("scenarios/").unwrap_or(path);
        match scenario {
            true if !listed.contains(inside) => wrong.push(format!("{path} is not listed in scenarios/README.md")),
            true => {}
            false => {
                let named = files.iter().any(|(other, text)| {
                    other != path && other.ends_with(".yaml") && mentions(Path::new(other), text, Path::new(path))
                });
                // Of tunings one is run, since each takes minutes; all are read.
                let is_read = text.lines().any(|l| l.trim_end() == "kind: Tuning") && ci.contains("check scenarios/");
                if !named && !is_read && !ci.contains(path.as_str()) {
                    wrong.push(format!(
                        "{path} ({stem}) is no scenario, no scenario names it, and .ci/run does not run it"
                    ));
                }
            }
        }
    }
    wrong
}

/// Whether `text`, which stands in `from`, names `to` by its path relative to `from`'s directory.
fn mentions(from: &Path, text: &str, to: &Path) -> bool {
    let mut base = from.parent();
    let mut up = String::new();
    while let Some(dir) = base {
        if let Ok(rest) = to.strip_prefix(dir) {
            let name = format!("{up}{}", rest.display());
            return text.match_indices(&name).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let after = text[at + name.len()..].chars().next();
                let part = |c: char| c.is_alphanumeric() || "-_./".contains(c);
                // `./` in front is the same place.
                (!before.is_some_and(part) || text[..at].ends_with(" ./")) && !after.is_some_and(part)
            });
        }
        up.push_str("../");
        base = dir.parent();
    }
    false
}

#[test]
fn every_scenario_is_listed_and_run() {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let files: BTreeMap<String, String> = files_under("scenarios")
        .into_iter()
        .map(|p| (p.strip_prefix(root()).expect("found under the root").display().to_string(), read(&p)))
        .collect();
    let ci = read(&root().join(".ci/run"));
    assert!(ci.contains("test scenarios/"), ".ci/run does not run `squall test scenarios/`");
    expect_none("files under scenarios/", unused(&files, &read(&root().join("scenarios/README.md")), &ci));
}

#[test]
fn the_checker_sees_a_file_that_nothing_uses() {
    let files = [
        ("scenarios/a/run.yaml", "kind: Scenario\nspec:\n  mesh: [../mesh/shop.yaml, mine.yaml]"),
        ("scenarios/a/mine.yaml", "kind: Service"),
        ("scenarios/mesh/shop.yaml", "kind: Service"),
        ("scenarios/mesh/old.yaml", "kind: Service # not run.yaml but old.yaml"),
        ("scenarios/b/shop.yaml", "kind: Service"),
        ("scenarios/b/unlisted.yaml", "kind: Scenario"),
        ("scenarios/isotope/chain.yaml", "services: []"),
        ("scenarios/README.md", ""),
    ];
    let files = files.iter().map(|(p, t)| (p.to_string(), t.to_string())).collect();
    let wrong = unused(&files, "- a/run.yaml", "squall test scenarios/isotope/chain.yaml");
    let paths: Vec<&str> = wrong.iter().map(|w| w.split(' ').next().expect("a message has words")).collect();
    assert_eq!(paths, ["scenarios/b/shop.yaml", "scenarios/b/unlisted.yaml", "scenarios/mesh/old.yaml"]);
}
