//! Maps of stability against what is known: Bronson et al., Metastable failures in distributed systems, HotOS 2021.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use squall_sim::map::{Axis, BRACKET, Plan, State};
use squall_sim::scenario::{Disk, IsotopeLoad, Start, load_file};
use squall_sim::{Model, Scenario};

fn shipped() -> Arc<Scenario> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/metastable/outage.yaml");
    load_file(&path, &Disk, &IsotopeLoad::default()).unwrap_or_else(|refusal| panic!("{refusal:?}")).into()
}

fn axis(text: &str, steps: u32) -> Axis {
    Axis { steps, ..Axis::parse(text).expect(text) }
}

fn plan(x: Axis, y: Axis) -> Plan {
    let (seeds, last) = (vec![1], Duration::from_secs(6));
    Plan { scenario: shipped(), x, y, seeds, model: Model::Fast, holds: 0.95, last }
}

/// All on this thread, in order.
fn in_order(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(work);
}

/// All on this thread, the last first.
fn backwards(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).rev().for_each(work);
}

#[test]
fn the_boundary_is_where_twice_the_load_leaves_just_enough_to_work_off_the_outage() {
    let plan = plan(axis("load=0.5..2", 4), axis("fault.for=5s..10s", 2));
    plan.check().expect("sound");
    let found = plan.run(&in_order, &|| {}).expect("runs");
    assert_eq!(found, plan.run(&backwards, &|| {}).expect("runs"), "whatever the order of the runs");
    for row in &found.boundary {
        let [low, high] = row.between.expect("there is one");
        assert!(low < high && high - low <= BRACKET * high && row.beyond == State::Metastable && !row.holds_again);
        // Each request is sent twice: after `y` seconds 2·x·y wait, and go at 300 − 2·x a second until the last 6 of 60 s begin.
        let left = 54.0 - 10.0 - row.y;
        let want = 3.0 * left / (2.0 * left + 2.0 * row.y);
        assert!((low / want - 1.0).abs() < 0.05, "{} s: {low} to {high}, and {want} by arithmetic", row.y);
    }
    let states: Vec<State> = found.cells[1].iter().map(|cell| cell.state).collect();
    assert_eq!(states, [State::Holds, State::Holds, State::Metastable, State::Metastable]);
}

#[test]
fn what_does_not_hold_without_faults_is_overloaded() {
    let plan = plan(axis("load=2..4", 2), axis("policy/impatient/retries.attempts=1..2", 2));
    let found = plan.run(&in_order, &|| {}).expect("runs");
    for row in &found.cells {
        assert_eq!([row[0].state, row[1].state], [State::Metastable, State::Overloaded]);
        assert!(row[0].success[1] > 0.99 && row[1].success[1] < 0.95, "{row:?}");
    }
    assert!(found.boundary.iter().all(|row| row.between.is_none() && row.beyond == State::Metastable));
}

#[test]
fn what_cannot_be_mapped_is_refused_by_name() {
    let load = || axis("load=0.5..2", 2);
    for (y, want) in [
        ("fault=2..20", "outage of db has no strength that could vary"),
        ("fault.for=5s..45s", "there must be time between them"),
        ("policy/impatent/retries.attempts=1..2", "there is no TrafficPolicy `impatent`"),
        ("policy/impatient/retries.atempts=1..2", "`atempts` is not a field of retries (did you mean"),
        ("policy/impatient/retries.attempts=1..5000", "cannot be 5000"),
        ("fault.for=0s..5s", "fault (s) cannot be 0: a number above 0"),
    ] {
        let why = plan(load(), axis(y, 2)).check().expect_err(y);
        assert!(why.contains(want), "{y}: {why}");
    }
    for (x, want) in [("load=0.5..1e18", "is more than 1000000/s"), ("load=1e-9..1", "is less than 0.001/s")] {
        let why = plan(axis(x, 2), axis("fault.for=5s..10s", 2)).check().expect_err(x);
        assert!(why.contains(want) && why.contains("such as load=0.5..2"), "{x}: {why}");
    }
    for (text, want) in [
        ("load", "has no range"),
        ("laod=1..2", "there is no `laod` to vary"),
        ("load=2", "is no range"),
        ("load=2..1", "does not go up"),
        ("load=0..1", "is no number above 0"),
        ("fault.for=1..2", "has no unit"),
        ("policy/x/limits.inFlight=1..2s", "begins as one kind of value"),
        ("policy/x=1..2", "there is no `policy/x` to vary"),
    ] {
        let why = Axis::parse(text).expect_err(text);
        assert!(why.contains(want), "{text}: {why}");
    }
}

#[test]
fn whole_numbers_are_taken_as_they_are_applied_and_their_neighbours_end_the_bisection() {
    let attempts = |steps| axis("policy/impatient/retries.attempts=1..5", steps);
    assert_eq!(attempts(5).values(), [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(attempts(3).values(), [1.0, 3.0, 5.0]);
    let log = Axis { log: true, ..axis("policy/impatient/limits.inFlight=1..64", 10) };
    assert_eq!(log.values(), [1.0, 2.0, 3.0, 4.0, 6.0, 10.0, 16.0, 25.0, 40.0, 64.0]);
    assert_eq!(axis("policy/impatient/x=0.5..0.502", 3).values(), [0.5, 0.501, 0.502]);
    let crowded = Axis { log: true, steps: 12, ..axis("policy/impatient/limits.inFlight=1..16", 12) }.values();
    assert!(crowded.len() < 12 && crowded.windows(2).all(|pair| pair[0] < pair[1]), "{crowded:?}");
    let why = plan(axis("load=0.5..2", 2), attempts(6)).check().expect_err("five numbers, six rows");
    assert!(why.contains("has 5 whole numbers, and 6 are asked for"), "{why}");

    // From the left: a row of attempts, which holds with few and not with many.
    let found = plan(attempts(2), axis("load=0.8..0.9", 2)).run(&in_order, &|| {}).expect("runs");
    for row in &found.boundary {
        let [low, high] = row.between.unwrap_or_else(|| panic!("{row:?}"));
        assert!(low.fract() == 0.0 && high == low + 1.0, "{row:?}");
    }
}

#[test]
fn a_place_is_checked_as_a_scenario_is() {
    let plan = plan(axis("load=0.5..2", 2), axis("fault.for=5s..10s", 2));
    for (at, want) in [
        ([1.0, -5.0], "fault (s) cannot be -5"),
        ([1.0, f64::NAN], "fault (s) cannot be NaN"),
        ([1.0, 1e300], "fault (s) cannot be 1"),
        ([1.0, 1e-12], "fault (s) cannot be"),
        ([1.0, 50.0], "there must be time between them"),
        ([f64::INFINITY, 5.0], "cannot be inf"),
        ([1e18, 5.0], "is more than 1000000/s"),
    ] {
        let why = plan.at(at, true).expect_err(want);
        assert!(why.contains(want), "{at:?}: {why}");
    }
    assert!(plan.at([1.0, 5.0], true).is_ok());
}

#[test]
fn a_fault_that_touches_nothing_fails_the_map_by_name() {
    let mut plan = plan(axis("load=0.5..1", 2), axis("fault.for=1ns..5s", 2));
    // A nanosecond between two arrivals.
    let mut scenario = (*plan.scenario).clone();
    scenario.faults[0].start = Start::At(Duration::from_millis(10_001));
    plan.scenario = scenario.into();
    plan.check().expect("sound");
    let why = plan.run(&in_order, &|| {}).expect_err("nothing arrives in a nanosecond").to_string();
    assert!(
        why.contains("outage of db touched nothing at load (times the scenario's) 0.5, fault (s) 0.000000001"),
        "{why}"
    );
}
