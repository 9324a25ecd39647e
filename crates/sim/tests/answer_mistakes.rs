//! Known answers are read, and what a person reads when one is wrong.

use std::path::Path;
use std::time::Duration;

use squall_sim::scenario::{Arrivals, FaultKind};
use squall_sim::scenario::{
    Drawn, Expected, IsotopeLoad, Layer, Memory, OutageArrivals, Question, Sampling, Scenario, Spacing, Spread,
    Tolerance, Window, load_file,
};

const MESH: &str = r"apiVersion: v1
kind: Service
metadata: {name: db, namespace: answers}
spec: {selector: {app: db}, ports: [{port: 80}]}
";

const GOOD: &str = r#"# Is this known?
apiVersion: squall.dev/v1alpha1
kind: Scenario
metadata: {name: good}
spec:
  suite: validate
  mesh: [mesh.yaml]
  duration: 100s
  services:
    db: {entry: true, slots: 2, queue: 3, time: {gamma: {mean: 10ms, cv: 0.5}}, errorRate: 1%, errorStatus: 503, contention: {optimistic: {rows: 5, status: 412}}}
  load:
    - rate: 10/s
      arrivals: {cv: 2}
      batch: 3
      spread: random
      hosts: 2
      mix: [{request: GET /, headers: {x-key: {below: 100}, x-kind: {oneOf: {a: 9, b: 1}}, x-same: yes}}]
  faults:
    - {at: 20s, for: 5s, outage: {target: db, arrivals: held}}
  layers:
    warmUp: 5s
    fast: {replications: 20}
    full: {replications: 3, duration: 50s, slow: true}
  answers:
    - {case: wait, source: me, that: 'waitMean("db")', expected: 5ms, tolerance: {fast: 1%, full: 3%}}
    - {case: share, source: me, that: 'waited("db")', from: 10s, to: 40s, expected: 71.1%, tolerance: 0.2 points, statedError: 0.1%}
    - {case: most, source: me, that: amplification, expected: {atMost: 1.2}, tolerance: exact}
    - {case: order, source: me, that: max, expected: {rank: {in: time, place: 1}}, only: fast, because: it takes long}
    - {case: path, source: Lindley, pathwise: {service: db, from: load}}
    - {case: little, source: Little, littlesLaw: true}
"#;

fn read(text: &str) -> Result<Scenario, String> {
    let files = Memory::new([("s.yaml", text), ("mesh.yaml", MESH)]);
    load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()).map_err(|refusal| refusal.to_string())
}

/// `GOOD` with `from` replaced by `to` must be refused with these words, at the place marked in `line`.
#[track_caller]
fn check(from: &str, to: &str, words: &[&str]) {
    assert!(GOOD.contains(from), "{from} is not in the scenario");
    let refusal = read(&GOOD.replacen(from, to, 1)).expect_err("it was accepted");
    for word in words {
        assert!(refusal.contains(word), "no `{word}` in:\n{refusal}");
    }
}

#[test]
fn a_known_answer_says_what_is_compared_with_what() {
    let scenario = read(GOOD).unwrap_or_else(|refusal| panic!("{refusal}"));
    let Sampling::Runs(full) = scenario.layers.full else { panic!("it is not exempt") };
    assert_eq!((full.replications, full.duration, full.slow), (3, Some(Duration::from_secs(50)), true));
    let Question::Measure { window, expected, tolerance, .. } = &scenario.answers[0].question else { panic!() };
    let from = Duration::from_secs(5);
    assert_eq!(*window, Window::Between(from, Duration::from_secs(100)), "the warm-up is left out");
    assert_eq!(*expected, Expected::Value(0.005));
    assert_eq!(*tolerance.of(Layer::Full), Tolerance::Relative(30_000));
    let Question::Measure { expected, tolerance, stated_error, .. } = &scenario.answers[1].question else { panic!() };
    assert!(matches!(expected, Expected::Value(share) if (share - 0.711).abs() < 1e-12));
    assert!(matches!(tolerance.of(Layer::Fast), Tolerance::Absolute(points) if (points - 0.002).abs() < 1e-12));
    assert!((stated_error - 0.001).abs() < 1e-12);
    assert_eq!(scenario.answers[3].only, Some((Layer::Fast, "it takes long".to_owned())));
    assert_eq!(scenario.answers[4].question, Question::Pathwise { service: 0, from: Some(0), limit: None });
}

#[test]
fn what_a_load_and_a_service_may_say_is_read() {
    let scenario = read(GOOD).unwrap_or_else(|refusal| panic!("{refusal}"));
    let load = &scenario.load[0];
    assert_eq!((load.batch, load.spread), (3, Spread::Random));
    let Arrivals::Open { spacing, .. } = load.arrivals else { panic!("it is open") };
    assert_eq!(spacing, Spacing::Gamma { shape_ppm: 250_000 });
    assert_eq!(load.mix[0].headers, [("x-same".to_owned(), "yes".to_owned())]);
    assert_eq!(load.mix[0].drawn[0], ("x-key".to_owned(), Drawn::Below(100)));
    let work = &scenario.services[0].versions[0].routes[0].work;
    assert_eq!(work.error_status, 503);
    assert_eq!(work.contention.map(|contention| (contention.rows, contention.status)), Some((5, 412)));
    assert!(matches!(scenario.faults[0].kind, FaultKind::Outage { arrivals: OutageArrivals::Held, .. }));
}

#[test]
fn a_shorter_run_ends_its_loads_earlier() {
    let scenario = read(GOOD).unwrap_or_else(|refusal| panic!("{refusal}"));
    let short = scenario.lasting(Duration::from_secs(50));
    assert_eq!((short.duration, short.load[0].until), (Duration::from_secs(50), Duration::from_secs(50)));
    let Arrivals::Open { phases, .. } = &short.load[0].arrivals else { panic!("it is open") };
    assert_eq!(phases.last().map(|phase| phase.until), Some(Duration::from_secs(50)));
}

#[test]
fn mistakes_in_answers_are_shown_with_their_place_and_a_hint() {
    check(
        "suite: validate\n",
        "suite: test\n",
        &["known answers are for `squall validate`", "help: give `suite: validate`"],
    );
    check("waitMean", "waitMeen", &["s.yaml:25:39", "`waitMeen` is not a function", "did you mean `waitMean`?"]);
    check(r#"'waitMean("db")'"#, r#"'waitMean("bd")'"#, &["`bd` is not a service or load", "did you mean `db`?"]);
    check("expected: 5ms", "expected: 5", &["`5` has no unit"]);
    check("expected: 71.1%", "expected: often", &["`often` is not a number such as 2.5 or 9.1%"]);
    check("tolerance: {fast: 1%, full: 3%}", "tolerance: {fast: 1%}", &["needs `full`"]);
    check(", tolerance: exact", "", &["an answer needs `tolerance`", "give 1%, 0.2 points"]);
    check("tolerance: 0.2 points", "tolerance: 0%", &["not a share from 0.0001% to 100%"]);
    check(", because: it takes long", "", &["an exemption needs its reason"]);
    check("case: share", "case: wait", &["this case is given twice", "the other one"]);
    check("source: me, that: amplification", "that: amplification", &["`source`"]);
    check("littlesLaw: true", "littlesLaw: true, tolerance: 1%", &["`tolerance` does not go with `littlesLaw`"]);
    check("littlesLaw: true", "that: mean, littlesLaw: true", &["only one of `that`, `pathwise` and `littlesLaw`"]);
    check("to: 40s", "to: 60s", &["in the full layer the scenario lasts only 50s"]);
    check("to: 40s", "to: 600s", &["the scenario lasts only 100s"]);
}

#[test]
fn what_the_recursion_cannot_know_is_refused() {
    check("slots: 2, queue: 3, ", "", &["`db` has no `slots`"]);
    check("slots: 2", "abandoned: stop, slots: 2", &["drops abandoned requests"]);
    check("slots: 2", "steps: [{sleep: 1ms}], slots: 2", &["has steps"]);
    check("from: load}", "from: laod}", &["`laod` is not a load"]);
}

#[test]
fn a_mean_may_have_a_control_and_nothing_else_may() {
    let with = |control: &str| GOOD.replacen("expected: 5ms, ", &format!("expected: 5ms, control: {control}, "), 1);
    let scenario = read(&with("{that: 'inFlightMean(\"db\")', expected: 20%}")).unwrap_or_else(|why| panic!("{why}"));
    let Question::Measure { control: Some(control), .. } = &scenario.answers[0].question else { panic!() };
    assert_eq!((control.that.value.as_str(), control.expected), ("inFlightMean(\"db\")", 0.2));
    let refused = |text: &str| read(text).expect_err("it was accepted");
    assert!(refused(&with("{that: 'max > p50', expected: 1}")).contains("true or false has no mean"));
    assert!(refused(&with("{that: max}")).contains("`expected`"));
    check("tolerance: exact", "tolerance: exact, control: {that: mean, expected: 1s}", &["only a mean is controlled"]);
    check("littlesLaw: true", "littlesLaw: true, control: {that: mean}", &["`control` does not go with `littlesLaw`"]);
}

#[test]
fn a_limit_of_the_mesh_is_checked_path_by_path_where_the_service_has_no_slots() {
    let bare = GOOD.replacen("slots: 2, queue: 3, ", "", 1);
    let scenario = read(&bare.replacen("from: load}", "limit: 10}", 1)).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!(scenario.answers[4].question, Question::Pathwise { service: 0, from: None, limit: Some(10) });
    check("from: load}", "limit: 10}", &["goes with a service without `slots`"]);
}

#[test]
fn mistakes_in_layers_are_shown_with_their_place() {
    check("duration: 50s", "duration: 22s", &["22s cuts a fault off", "this fault"]);
    check("duration: 50s", "duration: 200s", &["more than 100s"]);
    check("replications: 20", "replications: 0", &["a whole number from 1 to 100000"]);
    check(
        "fast: {replications: 20}",
        "fast: {exempt: too slow, replications: 2}",
        &["`replications` has no meaning with `exempt`"],
    );
    check("warmUp: 5s", "warmUp: 500s", &["the scenario lasts only 100s"]);
}

#[test]
fn mistakes_in_what_answers_need_are_shown() {
    check("arrivals: {cv: 2}", "arrivals: {cv: 0}", &["out of range: 0.01 to 100"]);
    check("{below: 100}", "{under: 100}", &["`under`", "a drawn header"]);
    check("{below: 100}", "{oneOf: []}", &["needs one value or more"]);
    check("arrivals: held", "arrivals: hold", &["`hold` is not supported here", "did you mean `held`?"]);
    check("arrivals: held", "arrivals: held, status: 500", &["`status` goes with `arrivals: refused`"]);
    check("errorStatus: 503", "errorStatus: 200", &["a whole number from 400 to 599"]);
    check("rows: 5", "row: 5", &["`row`", "rows"]);
    check("cv: 0.5}", "cv: 0}", &["out of range"]);
}
