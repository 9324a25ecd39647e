//! The cut of pages that would be too large.

use std::path::Path;

use squall_sim::scenario::{Memory, load_file};
use squall_sim::{EngineKind, Model};

use super::*;

const MESH: &str = "\
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 80}]}
";
const SCENARIO: &str = "\
apiVersion: squall.dev/v1alpha1
kind: Scenario
metadata: {name: one}
spec:
  mesh: [mesh.yaml]
  duration: 20s
  services:
    api: {entry: true, replicas: 2, slots: 4, time: {p50: 4ms, p99: 90ms}}
  load:
    - {rate: 60/s}
  faults:
    - {at: 5s, for: 5s, errors: {target: api, rate: 50%}}
  expect:
    - overall: successRate > 0.99
";
const BY: MadeBy = MadeBy { engine: EngineKind::Event, model: Model::Fast };

/// A campaign of so many scenarios that are alike but for their names, on so many seeds. The last scenario failed on its last seed, with
/// the observed run.
fn campaign(scenarios: usize, seeds: u64) -> (Campaign, Vec<Case>, Observed) {
    let files = Memory::new([("mesh.yaml", MESH), ("one.yaml", SCENARIO)]);
    let load = squall_sim::scenario::IsotopeLoad::default();
    let one =
        load_file(Path::new("one.yaml"), &files, &load).unwrap_or_else(|refusal| panic!("{:?}", refusal.mistakes));
    let options = RunOptions { engine: BY.engine, model: BY.model, keep_history: true };
    let seen = observe(&Arc::new(one.clone()), seeds, options, detail(scenarios)).expect("it runs");
    assert!(!seen.outcome.passed(), "half of the answers are errors for a quarter of the time");
    let mut good = seen.outcome.clone();
    good.verdict.checks.iter_mut().for_each(|check| check.passed = true);
    let named = |number: usize| {
        let mut scenario = one.clone();
        scenario.name.value = format!("scenario-{number}");
        Arc::new(scenario)
    };
    let case = |number: usize, seed: u64| {
        let bad = number + 1 == scenarios && seed == seeds;
        let outcome = if bad { seen.outcome.clone() } else { good.clone() };
        Case { scenario: format!("scenario-{number}"), seed, result: Ok(outcome), verification: None }
    };
    let cases = (0..scenarios).flat_map(|number| (1..=seeds).map(move |seed| (number, seed)));
    let cases = cases.map(|(number, seed)| case(number, seed)).collect();
    let campaign = Campaign {
        scenarios: (0..scenarios).map(named).collect(),
        seeds: (1..=seeds).collect(),
        engine: BY.engine,
        model: BY.model,
        verify: false,
        keep_history: false,
    };
    (campaign, cases, seen)
}

/// The page of a campaign, every scenario of which was looked at.
fn page(scenarios: usize, seeds: u64) -> String {
    let (campaign, cases, seen) = campaign(scenarios, seeds);
    let mut chapters: Vec<Chapter<'_>> = campaign
        .scenarios
        .iter()
        .zip(by_scenario(&cases))
        .map(|(scenario, cases)| Chapter {
            scenario,
            cases,
            replay: "squall replay one.yaml --seed 1".to_owned(),
            observed: Some(seen.clone()),
        })
        .collect();
    fitting(&mut chapters, &campaign, BY)
}

/// How often a heading of details is there.
fn detailed(page: &str) -> usize {
    page.matches("<section aria-label=\"Timeline\">").count()
}

#[test]
fn a_page_that_fits_has_everything() {
    let page = page(3, 4);
    assert!(page.len() <= SIZE_MAX);
    assert_eq!((detailed(&page), page.matches("too large").count()), (3, 0));
}

#[test]
fn of_many_scenarios_those_that_passed_lose_their_details_first() {
    let page = page(200, 1);
    assert!(page.len() <= SIZE_MAX, "{} bytes", page.len());
    let kept = detailed(&page);
    assert!((10..200).contains(&kept), "{kept} of 200 scenarios have details");
    let failed = page.split("<details class=\"scenario\"").nth(1).expect("there are chapters");
    assert!(failed.contains("scenario-199") && detailed(failed) == 1, "what failed is not shown");
    // A link for each, and why there is no more behind it.
    assert_eq!(page.matches("<a href=\"#s").count(), 200);
    assert_eq!(page.matches("the page would be too large").count(), 200 - kept);
}

#[test]
fn of_many_seeds_those_that_failed_are_listed() {
    let page = page(12, 700);
    assert!(page.len() <= SIZE_MAX, "{} bytes", page.len());
    assert_eq!(detailed(&page), 12, "details went before seeds");
    assert!(page.contains("699 of 700") && page.contains("700 of 700"), "the verdicts are of all seeds");
    assert!(page.contains("\"verdict\":\"fail\""), "the seed that failed is not listed");
    assert_eq!(page.matches(" more, of which 0 failed: the page would be too large").count(), 12);
}

#[test]
fn of_very_many_scenarios_only_some_are_listed_and_those_that_failed_are_among_them() {
    let (campaign, cases, _) = campaign(3500, 1);
    let of = |(scenario, cases)| Chapter { scenario, cases, replay: "squall replay".to_owned(), observed: None };
    let scenarios = campaign.scenarios.iter().map(|scenario| &**scenario);
    let mut chapters: Vec<Chapter<'_>> = scenarios.zip(by_scenario(&cases)).map(of).collect();
    let page = fitting(&mut chapters, &campaign, BY);
    assert!(page.len() <= SIZE_MAX, "{} bytes", page.len());
    let listed = page.matches("<a href=\"#s").count();
    assert!((100..3500).contains(&listed) && page.contains("scenario-3499<"), "{listed} of 3500 are listed");
    assert!(page.contains(&format!("{} scenarios more: the page would be too large", 3500 - listed)));
}
