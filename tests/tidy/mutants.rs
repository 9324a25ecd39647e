//! The planted bugs of `tests/mutants`: each is listed, once, beside the test that catches it, and all are in the decision core.

use std::collections::BTreeSet;

use crate::{expect_none, root, rust_files};

/// How many there are at least.
const LEAST: usize = 25;

/// The names in `mutant!("name", …)` of a source text.
fn planted(text: &str) -> impl Iterator<Item = &str> {
    text.split("mutant!(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

/// Mistakes of the list (CSV: mutant, caught_by, what) against the planted names and the source of the tests.
fn mistakes(list: &str, sites: &[&str], source: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut listed = BTreeSet::new();
    for line in list.lines().skip(1) {
        let mut fields = line.splitn(3, ',');
        let (name, catcher, what) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""), fields.next());
        if !listed.insert(name) {
            mistakes.push(format!("{name} is listed twice"));
        }
        if !sites.contains(&name) {
            mistakes.push(format!("{name} is listed and not planted"));
        }
        let test = catcher.rsplit("::").next().unwrap_or("");
        if test.is_empty() || !source.contains(&format!("fn {test}(")) {
            mistakes.push(format!("{name} is caught by `{catcher}`, which does not exist"));
        }
        if what.is_none_or(str::is_empty) {
            mistakes.push(format!("{name}: what does it break?"));
        }
    }
    for (index, site) in sites.iter().enumerate() {
        if !listed.contains(site) {
            mistakes.push(format!("{site} is planted and not listed"));
        }
        if sites[..index].contains(site) {
            mistakes.push(format!("{site} is planted twice"));
        }
    }
    mistakes
}

#[test]
fn every_mutant_is_planted_in_the_core_and_listed_with_what_catches_it() {
    let list = std::fs::read_to_string(root().join("tests/mutants/mutants.csv")).expect("the list of mutants");
    let files: Vec<_> = rust_files().into_iter().filter(|(path, _)| path.starts_with("crates")).collect();
    let core = |path: &std::path::Path| path.starts_with("crates/policy/src");
    let outside = files.iter().filter(|(path, text)| !core(path) && planted(text).next().is_some());
    expect_none("mutants outside the decision core", outside.map(|(path, _)| path.display().to_string()).collect());
    let core: Vec<_> = files.iter().filter(|(path, _)| core(path) && !path.ends_with("mutant.rs")).collect();
    let sites: Vec<&str> = core.iter().flat_map(|(_, text)| planted(text)).collect();
    let policy = files.iter().filter(|(path, _)| path.starts_with("crates/policy"));
    let source: String = policy.map(|(_, text)| text.as_str()).collect();
    expect_none("mistakes in the list of mutants", mistakes(&list, &sites, &source));
    assert!(sites.len() >= LEAST, "{} mutants, fewer than {LEAST}", sites.len());
}

#[test]
fn sees_a_mutant_that_is_not_listed_and_a_catcher_that_is_gone() {
    let list = "mutant,caught_by,what\na,m::tests::stays,waits not\nb,m::tests::gone,waits twice\nb,m::tests::stays,\n";
    let found = mistakes(list, &["a", "c"], "fn stays() {}");
    assert_eq!(found.len(), 6, "{found:#?}");
    assert_eq!(planted("let x = mutant!(\n    \"late\", 1, 2);").collect::<Vec<_>>(), ["late"]);
}
