//! The scenarios of the repository are read, and say what they are meant to say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use squall_control::Resources;
use squall_sim::scenario::{Disk, Files, IsotopeLoad, Memory, Scenario, Step, Target, load_dir, load_file};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

fn shipped() -> Vec<Scenario> {
    load_dir(&root(), &Disk).unwrap_or_else(|refusal| panic!("{refusal}"))
}

#[test]
fn every_shipped_scenario_is_read_and_asks_a_question() {
    let scenarios = shipped();
    assert!(scenarios.len() >= 15, "{} scenarios", scenarios.len());
    for scenario in &scenarios {
        assert!(scenario.question.contains('?'), "{} asks nothing: {}", scenario.name.value, scenario.question);
    }
}

#[test]
fn every_shipped_mesh_is_one_the_control_plane_takes() {
    for scenario in shipped() {
        let files: Vec<(&str, &str)> = scenario.mesh.iter().map(|file| (&*file.name, &*file.text)).collect();
        let resources = Resources::read(&files).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let services: Vec<(&str, &str)> = resources.services().collect();
        assert!(!services.is_empty(), "{}", scenario.name.value);
    }
}

#[test]
fn bookinfo_is_four_services_in_six_deployments() {
    let scenarios = shipped();
    let bookinfo = scenarios.iter().find(|scenario| &*scenario.name.value == "bookinfo-ratings-delayed-7s");
    let bookinfo = bookinfo.expect("it is shipped");
    let pods: Vec<String> = bookinfo.pods().iter().map(|pod| pod.name.to_string()).collect();
    assert_eq!(pods, ["productpage-0", "details-0", "reviews-v1-0", "reviews-v2-0", "reviews-v3-0", "ratings-0"]);
    let page = &bookinfo.service("productpage").expect("it is there").versions[0].routes[0];
    let Step::Call(reviews) = &page.steps[1] else { panic!("{:?}", page.steps[1]) };
    assert_eq!((reviews.host.value.as_str(), reviews.tries), ("reviews:9080", 2));
    let versions = &bookinfo.service("reviews").expect("it is there").versions;
    let calls: Vec<usize> = versions.iter().map(|version| version.routes[0].steps.len()).collect();
    assert_eq!(calls, [0, 1, 1]);
}

#[test]
fn the_shop_makes_as_many_calls_as_it_is_known_for() {
    let scenarios = shipped();
    let shop = scenarios.iter().find(|scenario| &*scenario.name.value == "boutique-healthy").expect("it is shipped");
    let frontend = &shop.service("frontend").expect("it is there").versions[0];
    let calls = |path: &str| -> u32 {
        let route = frontend.routes.iter().find(|route| route.matches.matches("GET", path)).expect("it is there");
        let calls = route.steps.iter().map(|step| match step {
            Step::Call(call) => call.repeat,
            Step::Sleep(_) | Step::Parallel(_) => 0,
        });
        calls.sum()
    };
    // The product page's twelfth is the one of recommendation.
    assert_eq!((calls("/"), calls("/product"), calls("/cart")), (13, 11, 14));
    assert_eq!(shop.services.len(), 11);
    assert_eq!(shop.pods().iter().filter(|pod| &*pod.zone == "b").count(), 10);
}

#[test]
fn what_a_scenario_says_wins_over_its_application() {
    let scenarios = shipped();
    let storm = scenarios.iter().find(|scenario| &*scenario.name.value == "boutique-retry-storm-budget-on");
    let storm = storm.expect("it is shipped");
    let catalog = storm.service("catalog").expect("it is there");
    assert_eq!((catalog.slots, catalog.queue), (Some(4), Some(200)));
    let replicas: u32 = catalog.versions.iter().map(|version| version.replicas).sum();
    assert_eq!(replicas, 3, "what it does not say stays");
    let mesh: Vec<&str> = storm.mesh.iter().filter_map(|file| file.name.rsplit('/').next()).collect();
    assert_eq!(mesh, ["shop.yaml", "retries-budgeted.yaml"]);
}

#[test]
fn an_isotope_file_runs_when_it_is_named() {
    let file = root().join("isotope/tree-13.yaml");
    let tree = load_file(&file, &Disk, &IsotopeLoad::default()).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!((tree.services.len(), tree.load.len()), (13, 1));
    assert_eq!(tree.load[0].to.value, "root:8080");
    let Step::Parallel(branches) = &tree.services[0].versions[0].routes[0].steps[0] else { panic!("not at once") };
    assert_eq!(branches.len(), 3);
    assert!(tree.mesh[0].text.contains("name: leaf-c3"));
}

#[test]
fn faults_hit_whom_they_name() {
    let scenarios = shipped();
    let crash = scenarios.iter().find(|scenario| &*scenario.name.value == "hello-crash").expect("it is shipped");
    assert_eq!(crash.faults[0].name, "crash greeting[1]");
    let slow =
        scenarios.iter().find(|scenario| &*scenario.name.value == "boutique-slow-replica").expect("it is shipped");
    assert_eq!(slow.faults[0].name, "catalog[0] slow ×20");
    assert_eq!(Target::Replica("catalog".into(), 0).to_string(), "catalog[0]");
    assert_eq!(slow.last_fault_end().map(|end| end.as_secs()), Some(45));
}

/// The shipped files, under short names.
fn files() -> BTreeMap<PathBuf, String> {
    let root = root();
    let list = Disk.list(&root).expect("the folder is there");
    let read = |path: PathBuf| {
        let text = Disk.read(&path).expect("the file is there");
        (path.strip_prefix(&root).expect("it is below").to_path_buf(), text)
    };
    list.into_iter().map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_refused_or_read_but_never_panics(
        file in any::<prop::sample::Index>(),
        damages in prop::collection::vec((0..6_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut files = files();
        let path = file.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
        // Only its own folder: the others would be read again for each case for nothing.
        files.retain(|other, _| other.components().next() == path.components().next());
        let mut text = files[&path].clone();
        for (kind, at, other) in &damages {
            text = damaged(&text, *kind, at, other);
        }
        files.insert(path, text);
        match load_dir(Path::new(""), &Memory(files)) {
            Ok(scenarios) => prop_assert!(!scenarios.is_empty()),
            Err(refusal) => prop_assert!(!refusal.mistakes.is_empty() && !refusal.to_string().is_empty()),
        }
    }
}

/// One change: a line lost, doubled, moved or replaced by another, a character lost or replaced.
fn damaged(text: &str, kind: u8, at: &prop::sample::Index, other: &prop::sample::Index) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut characters: Vec<char> = text.chars().collect();
    if lines.is_empty() {
        return String::new();
    }
    let (line, from) = (at.index(lines.len()), other.index(lines.len()));
    let (index, source) = (at.index(characters.len()), other.index(characters.len()));
    match kind {
        0 => _ = lines.remove(line),
        1 => lines.insert(line, lines[line]),
        2 => lines.swap(line, from),
        3 => lines[line] = lines[from],
        4 => {
            characters.remove(index);
            return characters.into_iter().collect();
        }
        _ => {
            characters[index] = ['{', '}', '-', ':', '"', '0', '9', ' ', 'x', '\n', '[', '%', 'é', '#'][source % 14];
            return characters.into_iter().collect();
        }
    }
    lines.join("\n")
}
