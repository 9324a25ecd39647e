//! Tunings from their file to what they find.

mod tuning;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use squall_sim::in_turn;
use squall_sim::scenario::Memory;
use squall_sim::tune::{Desk, Ended, Found, Plan, Progress, RunKey, Sample, Tuning, counter_example, kept, tune};
use tuning::{MESH, POLICY, SCENARIO, TUNING};

fn files(tuning: &str) -> Memory {
    Memory::new([
        ("mesh.yaml", MESH),
        ("policy.yaml", POLICY),
        ("failing.yaml", SCENARIO),
        ("other.yaml", &SCENARIO.replace("failing", "other")),
        ("rival.yaml", &POLICY.replace("attempts: 4 # as many as anybody dares", "attempts: 2")),
        // As what is in use, but patient: its settings are laid out otherwise.
        (
            "patient.yaml",
            &POLICY.replace("on: [5xx]", "on: [5xx]\n    backoff: {base: 90ms}").replace("attempts: 4", "attempts: 1"),
        ),
        ("tuning.yaml", tuning),
    ])
}

fn read(tuning: &str) -> Tuning {
    Tuning::load(Path::new("tuning.yaml"), &files(tuning)).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// Knows what it is given, keeps what is measured, and stops after so many rounds.
#[derive(Default)]
struct Book {
    known: BTreeMap<RunKey, Sample>,
    measured: Mutex<BTreeMap<RunKey, Sample>>,
    rounds: Option<usize>,
}

impl Desk for Book {
    fn known(&self, key: &RunKey) -> Option<Sample> {
        self.known.get(key).cloned()
    }

    fn measured(&self, key: &RunKey, sample: &Sample) {
        let before = self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), sample.clone());
        assert!(before.is_none_or(|before| before == *sample), "a run gave two results: {key:?}");
    }

    fn begins(&self, _: &str, _: usize) {}

    fn round(&self, progress: &Progress<'_>) -> bool {
        self.rounds.is_none_or(|rounds| progress.round < rounds)
    }
}

const PLAN: Plan = Plan { evaluations: 26, patience: 100, finalists: 2 };

fn found(tuning: &Tuning, plan: Plan, book: &Book) -> Found {
    tune(tuning, plan, &in_turn, book).unwrap_or_else(|why| panic!("{why}"))
}

/// The same in the other order, on two threads.
fn backwards(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).rev().for_each(work);
}

#[test]
fn as_many_retries_as_the_constraint_lets() {
    // One retry is 1 + 0.3 attempts for a call, two are 1.39, and success is 1 - 0.3^(attempts + 1).
    let tuning = read(TUNING);
    let found = found(&tuning, PLAN, &Book::default());
    let best = &found.finalists[found.recommended];
    assert_eq!(best.values[0].as_deref(), Some("1"), "{:?}", best.values);
    assert!(best.score.is_feasible());
    assert!(!found.finalists[0].score.is_feasible(), "four retries break the constraint");
    // The constraint is about attempts, the wait about latency: each knob moved alone shows in its own.
    let up = found.moved.iter().find(|moved| moved.knob == 0 && moved.value == "5").expect("it was moved to its end");
    assert!(up.violation > 0.0 && up.contrasts[0].mean > 0.05 && up.contrasts[0].half_width_99 < 0.05, "{up:?}");
}

#[test]
fn neither_order_nor_what_is_known_changes_the_result() {
    let tuning = read(TUNING);
    let whole = Book::default();
    let first = found(&tuning, PLAN, &whole);
    let same = |other: &Found| assert_eq!(format!("{first:?}"), format!("{other:?}"));
    same(&tune(&tuning, PLAN, &backwards, &Book::default()).expect("it runs"));
    // Half of the runs are known from before a kill: the others are run, and no known one again.
    let all = whole.measured.into_inner().unwrap_or_else(PoisonError::into_inner);
    let known: BTreeMap<RunKey, Sample> =
        all.iter().take(all.len() / 2).map(|(key, sample)| (key.clone(), sample.clone())).collect();
    let resumed = Book { known, ..Book::default() };
    same(&found_by(&tuning, &resumed));
    let again = resumed.measured.into_inner().unwrap_or_else(PoisonError::into_inner);
    let keys: BTreeSet<&RunKey> = again.keys().collect();
    assert!(keys.iter().all(|key| !resumed.known.contains_key(key)) && keys.len() == all.len() - resumed.known.len());
}

fn found_by(tuning: &Tuning, book: &Book) -> Found {
    found(tuning, PLAN, book)
}

#[test]
fn a_search_that_is_stopped_is_one_of_as_many_evaluations() {
    let tuning = read(TUNING);
    let stopped = found(&tuning, Plan { evaluations: 1000, ..PLAN }, &Book { rounds: Some(2), ..Book::default() });
    assert_eq!(stopped.ended, Ended::Told);
    let counted = found(&tuning, Plan { evaluations: stopped.evaluations.len(), ..PLAN }, &Book::default());
    assert_eq!(counted.ended, Ended::Evaluations);
    assert_eq!(
        format!("{:?}{:?}", stopped.evaluations, stopped.finalists),
        format!("{:?}{:?}", counted.evaluations, counted.finalists)
    );
}

#[test]
fn the_manifests_keep_their_comments() {
    let tuning = read(TUNING);
    let manifests = tuning.manifests(&[Some("1"), Some("7ms")]);
    assert_eq!(manifests.len(), 1, "the mesh's own file holds nothing that varies");
    let want = POLICY.replace("attempts: 4 #", "attempts: 1 #") + "    backoff: {base: 7ms}\n";
    assert_eq!(manifests[0].text.trim_end(), want.trim_end());
}

#[test]
fn what_is_in_use_is_shown_on_one_line() {
    let tuning = read(
        &TUNING
            .replace(
                "{policy: shop, field: retries.attempts, from: 1, to: 5}",
                "{policy: shop, field: retries, choices: [~, {attempts: 1, on: [5xx]}]}",
            )
            .replace("    - {policy: shop, field: retries.backoff.base, from: 1ms, to: 50ms, scale: log}\n", ""),
    );
    let now = Some("{attempts: 4, on: [5xx], budget: {unlimited: true}}".to_owned());
    assert_eq!(tuning.current(), [now], "a line break would end the comment of recommended.yaml that it stands in");
}

#[test]
fn a_rejected_policy_comes_with_a_run_that_shows_why() {
    let rival = TUNING.replace("  seeds: 3\n", "  seeds: 3\n  against: {two: rival.yaml}\n");
    let tuning = read(&rival);
    let found = found(&tuning, PLAN, &Book::default());
    let recommended = &found.finalists[found.recommended];
    let mesh = |at: usize| tuning.against[0].instead(&tuning.scenarios[at]);
    let example =
        counter_example(&tuning, &found.rivals[0], recommended, &mesh, &files(&rival)).expect("two retries break it");
    assert_eq!((example.name.as_str(), &*example.fails), ("two", &["amplification <= 1.345".to_owned()][..]));
    let files = Memory(example.files.clone());
    let scenario =
        squall_sim::scenario::load_file(&example.file, &files, &squall_sim::scenario::IsotopeLoad::default());
    let scenario = std::sync::Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")));
    let outcome = squall_sim::run(&scenario, example.seed, squall_sim::RunOptions::default()).expect("it runs");
    assert_eq!(
        outcome.verdict.failures().map(|check| check.that.as_str()).collect::<Vec<_>>(),
        ["amplification <= 1.345"]
    );
}

#[test]
fn a_search_with_nothing_left_to_try_ends() {
    let few =
        TUNING.replace("    - {policy: shop, field: retries.backoff.base, from: 1ms, to: 50ms, scale: log}\n", "");
    let found = found(&read(&few), PLAN, &Book::default());
    assert_eq!((found.ended, found.evaluations.len()), (Ended::Exhausted, 5), "four is what there is already");
}

#[test]
fn what_is_automatic_is_what_the_policies_have() {
    let without = TUNING
        .lines()
        .filter(|line| !line.contains("vary") && !line.contains("policy: shop"))
        .map(|line| format!("{line}\n"));
    let tuning = read(&without.collect::<String>());
    let names: Vec<&str> = tuning.knobs.iter().map(|knob| knob.name.as_str()).collect();
    assert_eq!(names, ["shop retries.attempts", "shop retries.budget"]);
}

#[test]
fn who_is_near_enough_is_as_good() {
    let near = TUNING
        .replace("{maximize: successRate}", "{maximize: successRate, within: 30%}")
        .replace("[amplification <= 1.345]", "[]");
    let near = near.replace("{minimize: p99}", "{minimize: attempts}");
    let found = found(&read(&near), Plan { evaluations: 14, ..PLAN }, &Book::default());
    assert_eq!(
        found.finalists[found.recommended].values[0].as_deref(),
        Some("1"),
        "all succeed within 30 %, one retry is least"
    );
}

#[track_caller]
fn refused(from: &str, to: &str, want: &[&str]) {
    let text = TUNING.replace(from, to);
    assert_ne!(text, TUNING, "`{from}` stands in it");
    let refusal = Tuning::load(Path::new("tuning.yaml"), &files(&text)).expect_err(to).to_string();
    for want in want {
        assert!(refusal.contains(want), "no `{want}` in\n{refusal}");
    }
}

#[test]
fn every_mistake_has_a_place_and_most_a_hint() {
    refused(
        "retries.attempts",
        "retries.attempst",
        &["tuning.yaml:9:29", "`attempst` is not a field of retries", "did you mean `attempts`?"],
    );
    refused(
        "from: 1, to",
        "from: 0, to",
        &["tuning.yaml:9:53", "`0` is refused for `retries.attempts`", "from 1 to 1000"],
    );
    refused("to: 5}", "to: 2000}", &["`2000` is refused"]);
    refused("to: 5}", "to: 5ms}", &["`from` is a whole number, `to` is a duration"]);
    refused("from: 1ms", "from: 0ms", &["cannot begin at 0"]);
    refused(
        "{policy: shop, field: retries.attempts",
        "{policy: shp, field: retries.attempts",
        &["no TrafficPolicy `shp`", "did you mean `shop`?"],
    );
    refused(
        "{policy: shop, field: retries.attempts",
        "{route: shop, field: retries.attempts",
        &["no route `shop`", "none of them has any"],
    );
    refused("from: 1, to: 5}", "choices: [1, x]}", &["`x` is refused", "found `x`"]);
    refused("from: 1, to: 5}", "choices: [1]}", &["one choice is none"]);
    refused("retries.backoff.base", "retries.attempts.base", &["leads nowhere"]);
    refused("retries.backoff.base, from: 1ms, to: 50ms", "retries.attempts, from: 1, to: 50", &["varies twice"]);
    refused("successRate", "succesRate", &["`succesRate` is not a variable", "did you mean `successRate`?"]);
    refused(
        "maximize: successRate",
        "maximize: 'successRate > 0.5'",
        &["this is true or false", "belongs under `constraints`"],
    );
    refused("amplification <= 1.345", "amplification", &["a constraint is true or false", "such as"]);
    refused(
        "amplification <= 1.345",
        "'retries(\"shp\") <= 5'",
        &["`shp` is not a service or load", "did you mean `shop`?"],
    );
    refused("seeds: 3", "seeds: 1", &["from 2 to 1000"]);
    refused("[failing.yaml]", "[nowhere.yaml]", &["cannot read nowhere.yaml"]);
    refused("[failing.yaml]", "[]", &["without a scenario"]);
    refused("holdOut: {seeds: 2}", "holdOut: {scenarios: [failing.yaml]}", &["held out and searched over"]);
    refused("seeds: 3", "seeds: 3\n  against: {current: rival.yaml}", &["cannot be a name"]);
    refused("objectives:", "objective:", &["`objective` is not a field", "did you mean `objectives`?"]);
    refused("maximize: successRate}", "maximize: successRate, minimize: p99}", &["write {minimize:"]);
}

#[test]
fn a_search_begins_at_named_policies_as_far_as_its_knobs_reach() {
    let text = TUNING.replace("from: 1ms, to: 50ms", "from: 1ms, to: 50ms, absent: 25ms").replace(
        "  constraints:",
        "  against: {fewer: rival.yaml, patient: patient.yaml}\n  start: [fewer, patient]\n  constraints:",
    );
    let tuning = read(&text);
    let values = |at: usize| -> Vec<&str> {
        let pairs = tuning.knobs.iter().zip(&tuning.start[at].levels);
        pairs.map(|(knob, level)| knob.levels[usize::from(*level)].as_str()).collect()
    };
    assert_eq!((values(0), values(1)), (vec!["2", "25ms"], vec!["1", "50ms"]));
    assert_eq!(tuning.start[0].differs, [""; 0]);
    assert_eq!(tuning.start[1].differs, ["retries.backoff.base 90ms, searched from 50ms"]);
    // They are tried before anything else.
    let found = found(&tuning, Plan { evaluations: 3, ..PLAN }, &Book::default());
    let tried: Vec<Vec<&str>> =
        found.evaluations.iter().map(|one| one.values.iter().flatten().map(String::as_str).collect()).collect();
    assert_eq!(tried, [vec![], values(0), values(1)]);
    // What no knob reaches is told.
    let one = text.replace(
        "    - {policy: shop, field: retries.backoff.base, from: 1ms, to: 50ms, absent: 25ms, scale: log}\n",
        "",
    );
    assert_eq!(read(&one).start[1].differs, ["retries.backoff.base 90ms"]);
}

#[test]
fn what_is_recommended_is_held_to_named_policies() {
    // Without the constraint four retries or five are best; whoever is never worse than two in amplification has two at most.
    let text = TUNING
        .replace("  constraints: [amplification <= 1.345]\n", "  against: {fewer: rival.yaml}\n  HELD: [fewer]\n")
        .replace("{minimize: p99}", "{minimize: amplification, margin: 1%}");
    let best = |text: &str| {
        let found = found(&read(text), PLAN, &Book::default());
        let best = &found.finalists[found.recommended];
        (best.values[0].clone(), best.score.is_feasible())
    };
    assert_eq!(best(&text.replace("HELD", "noWorseThan")), (Some("2".to_owned()), true));
    let more = best(&text.replace("HELD", "undominatedBy"));
    // `None`: the four in use.
    assert!(
        more.1 && more.0.as_deref().is_none_or(|retries| retries > "2"),
        "more retries are worse in one and better in the other: {more:?}"
    );
    // Better in both there is nothing: the one that is least behind.
    let never = text.replace("from: 1, to: 5", "from: 3, to: 5").replace("HELD", "noWorseThan");
    assert_eq!(best(&never), (Some("3".to_owned()), false));
    // It is said which constraint that is: not those that are kept.
    let tuning = read(&never.replace("  against:", "  constraints: [amplification <= 9]\n  against:"));
    let found = found(&tuning, PLAN, &Book::default());
    let kept = kept(&tuning, &found.finalists[found.recommended], &found.rivals);
    assert_eq!(kept, [("amplification <= 9".to_owned(), true), ("no worse than fewer".to_owned(), false)]);
}

#[test]
fn a_policy_that_no_knob_has_a_place_for_is_a_mistake() {
    let begin = "  against: {fewer: rival.yaml}\n  start: [fewer]\n  objectives:";
    refused(
        "  objectives:",
        begin,
        &["tuning.yaml:12:11", "`fewer` does not set retries.backoff.base", "`absent: VALUE`"],
    );
    refused(
        "  objectives:",
        &begin.replace("[fewer]", "[fever]"),
        &["no `fever` under `against`", "did you mean `fewer`?"],
    );
    refused("  objectives:", &begin.replace("[fewer]", "[fewer, fewer]"), &["`fewer` is named twice"]);
    refused(
        "  objectives:",
        "  noWorseThan: [fewer]\n  objectives:",
        &["no `fewer` under `against`", "name its manifests there"],
    );
    refused("to: 5}", "to: 5, absent: 9}", &["`9` does not lie between `from` and `to`"]);
    refused("from: 1, to: 5}", "choices: [1, 3], absent: 2}", &["`2` is none of the choices"]);
    refused("{minimize: p99}", "{minimize: p99, margin: 0.1}", &["tuning.yaml:11", "0.1"]);
    refused("{maximize: successRate}", "{maximize: successRate, margin: -1}", &["`-1` is not a number from 0"]);
    let text = TUNING
        .replace("from: 1, to: 5}", "choices: [1, 3]}")
        .replace("from: 1ms, to: 50ms", "from: 1ms, to: 50ms, absent: 25ms")
        .replace("  objectives:", begin);
    let refusal = Tuning::load(Path::new("tuning.yaml"), &files(&text)).expect_err("two is no choice").to_string();
    assert!(refusal.contains("`fewer` has `2` for retries.attempts, which is none of the choices"), "{refusal}");
}

#[test]
fn a_search_over_two_scenarios_and_a_third_held_out() {
    let two = TUNING
        .replace("  seeds: 3\n  holdOut: {seeds: 2}", "  seeds: 2\n  holdOut: {seeds: 2, scenarios: [other.yaml]}");
    let found = found(&read(&two), Plan { evaluations: 14, ..PLAN }, &Book::default());
    let best = &found.finalists[found.recommended];
    assert_eq!((best.searched.len(), best.other_seeds.len(), best.other_scenarios.len()), (1, 1, 1));
    assert_eq!(best.other_scenarios[0].len(), 2);
}
