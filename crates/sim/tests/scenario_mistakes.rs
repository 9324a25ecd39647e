//! What a person reads when a scenario is wrong.

use std::path::Path;

use squall_sim::scenario::{IsotopeLoad, Memory, load_dir, load_file};

const MESH: &str = r"apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {selector: {app: front}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: back, namespace: shop}
spec: {selector: {app: back}, ports: [{port: 80, targetPort: 80}]}
";

const GOOD: &str = r#"# Is this read?
apiVersion: squall.dev/v1alpha1
kind: Scenario
metadata: {name: good}
spec:
  mesh: [mesh.yaml]
  duration: 10s
  network:
    zones: [east, west]
    links: [{within: zone, latency: 1ms}]
  services:
    front:
      entry: true
      routes:
        - match: GET /
          steps: [{call: back}]
    back:
      replicas: 2
      zones: [east]
      slots: 4
      queue: 8
      routes:
        - {match: GET /, time: {p50: 4ms, p99: 20ms}, errorRate: 1%}
  load:
    - {rate: 10/s}
  faults:
    - {at: 2s, for: 3s, slow: {target: "back[0]", by: 5x}}
  expect:
    - {overall: 'successRate >= 0.9'}
    - {afterFaults: 2s, that: 'successRate >= 0.9'}
"#;

/// `GOOD` with `from` replaced by `to` must be refused with `want`: every mistake, rendered.
#[track_caller]
fn check(from: &str, to: &str, want: &str) {
    assert!(GOOD.contains(from), "{from} is not in the scenario");
    let text = GOOD.replacen(from, to, 1);
    let files = Memory::new([("s.yaml", text.as_str()), ("mesh.yaml", MESH)]);
    match load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()) {
        Ok(_) => panic!("`{to}` was accepted"),
        Err(refusal) => assert_eq!(refusal.to_string().trim(), want.trim(), "\n{refusal}"),
    }
}

#[test]
fn the_scenario_is_good_before_it_is_spoilt() {
    let files = Memory::new([("s.yaml", GOOD), ("mesh.yaml", MESH)]);
    let scenario = load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default());
    let scenario = scenario.unwrap_or_else(|refusal| panic!("{refusal}"));
    assert_eq!((scenario.question.as_str(), scenario.load[0].mix[0].path.as_str()), ("Is this read?", "/"));
    assert_eq!(scenario.load[0].namespace.to_string(), "shop");
}

#[test]
fn unknown_fields_and_values_out_of_range_are_refused() {
    check(
        "duration: 10s",
        "duraton: 10s",
        r#"
s.yaml:6:3: spec needs `duration`
6 |   mesh: [mesh.yaml]
      ^^^^^^^^^^^^^^^^^

s.yaml:7:3: `duraton` is not a field of spec
7 |   duraton: 10s
      ^^^^^^^
help: did you mean `duration`?
"#,
    );
    check(
        "rate: 10/s",
        "rate: 0/s",
        r#"
s.yaml:25:14: a rate of 0 is no load
25 |     - {rate: 0/s}
                  ^^^
"#,
    );
    check(
        "rate: 10/s",
        "rate: 10",
        r#"
s.yaml:25:14: `10` is not a rate: write 300/s or 90/m
25 |     - {rate: 10}
                  ^^
"#,
    );
    check(
        "duration: 10s",
        "duration: 0s",
        r#"
s.yaml:7:13: must be more than 0
7 |   duration: 0s
                ^^
"#,
    );
    check(
        "p99: 20ms",
        "p99: 2ms",
        r#"
s.yaml:23:48: the 99th percentile is less than the median
23 |         - {match: GET /, time: {p50: 4ms, p99: 2ms}, errorRate: 1%}
                                                    ^^^
23 |         - {match: GET /, time: {p50: 4ms, p99: 2ms}, errorRate: 1%}
                                          ^^^ the median
"#,
    );
    check(
        "time: {p50: 4ms, p99: 20ms}",
        "time: {p50: 4ms}",
        r#"
s.yaml:23:38: a lognormal distribution needs `p99` too
23 |         - {match: GET /, time: {p50: 4ms}, errorRate: 1%}
                                          ^^^
"#,
    );
    check(
        "errorRate: 1%",
        "errorRate: 101%",
        r#"
s.yaml:23:66: 101% is more than 100%
23 |         - {match: GET /, time: {p50: 4ms, p99: 20ms}, errorRate: 101%}
                                                                      ^^^^
"#,
    );
    check(
        "squall.dev/v1alpha1",
        "squall.dev/v1",
        r#"
s.yaml:2:13: `squall.dev/v1` is not supported here
2 | apiVersion: squall.dev/v1
                ^^^^^^^^^^^^^
help: did you mean `squall.dev/v1alpha1`?
"#,
    );
    check(
        "      - match",
        "      match: [",
        r#"
s.yaml:16:16: not YAML: while parsing a flow mapping, did not find expected ',' or '}'
16 |           steps: [{call: back}]
                    ^
"#,
    );
}

#[test]
fn a_fault_that_cannot_happen_is_refused() {
    check(
        "for: 3s",
        "for: 9s",
        r#"
s.yaml:27:21: the fault ends at 11s, the scenario at 10s
27 |     - {at: 2s, for: 9s, slow: {target: "back[0]", by: 5x}}
                         ^^
"#,
    );
    check(
        "{at: 2s, for: 3s",
        "{at: 20s, for: 3s",
        r#"
s.yaml:27:12: the scenario lasts only 10s
27 |     - {at: 20s, for: 3s, slow: {target: "back[0]", by: 5x}}
                ^^^
"#,
    );
    check(
        r#"target: "back[0]""#,
        r#"target: "bakc[0]""#,
        r#"
s.yaml:27:41: `bakc` is not a service, load or `control`
27 |     - {at: 2s, for: 3s, slow: {target: "bakc[0]", by: 5x}}
                                             ^^^^
help: did you mean `back`?
"#,
    );
    check(
        r#"target: "back[0]""#,
        r#"target: "back[2]""#,
        r#"
s.yaml:27:40: there is no back[2]: back[0] to back[1] are there
27 |     - {at: 2s, for: 3s, slow: {target: "back[2]", by: 5x}}
                                            ^^^^^^^^^
"#,
    );
    check(
        r#"target: "back[0]""#,
        "target: back/v1",
        r#"
s.yaml:27:45: `back` has no version `v1`
27 |     - {at: 2s, for: 3s, slow: {target: back/v1, by: 5x}}
                                                 ^^
"#,
    );
    check(
        r#"target: "back[0]""#,
        "target: east",
        r#"
s.yaml:27:40: `east` is not a service, load or `control`
27 |     - {at: 2s, for: 3s, slow: {target: east, by: 5x}}
                                            ^^^^
help: a zone is written {zone: east}
"#,
    );
    check(
        "by: 5x",
        "by: 1x",
        r#"
s.yaml:27:55: 1x is no slow-down: a factor is more than 1x
27 |     - {at: 2s, for: 3s, slow: {target: "back[0]", by: 1x}}
                                                           ^^
"#,
    );
    check(
        r#"target: "back[0]""#,
        "target: load",
        r#"
s.yaml:27:40: `load` is a load: `slow` is for services
27 |     - {at: 2s, for: 3s, slow: {target: load, by: 5x}}
                                            ^^^^
"#,
    );
    check(
        "slow: {",
        "pause: back, slow: {",
        r#"
s.yaml:27:38: `pause` and `slow` in one fault
27 |     - {at: 2s, for: 3s, pause: back, slow: {target: "back[0]", by: 5x}}
                                          ^^^^
27 |     - {at: 2s, for: 3s, pause: back, slow: {target: "back[0]", by: 5x}}
                             ^^^^^ the first
help: write two faults
"#,
    );
    check(
        r#", slow: {target: "back[0]", by: 5x}"#,
        "",
        r#"
s.yaml:27:7: this fault does nothing
27 |     - {at: 2s, for: 3s}
           ^^^^^^^^^^^^^^^^^
help: give one of latency, jitter, loss, bandwidth, partition, crash, pause, errors, slow, outage, controlDown, rollingRestart
"#,
    );
    check(
        r#"slow: {target: "back[0]", by: 5x}"#,
        "partition: {}",
        r#"
s.yaml:27:36: a partition of everyone from everyone
27 |     - {at: 2s, for: 3s, partition: {}}
                                        ^^
help: name its ends: `zone`, `target`, `between`, or `from` and `to`
"#,
    );
}

#[test]
fn a_service_that_cannot_serve_is_refused() {
    check(
        "    back:\n",
        "    back:\n      protocol: http2\n",
        r#"
s.yaml:17:5: `back` speaks HTTP/2, its Service says HTTP/1.1
17 |     back:
         ^^^^
  mesh.yaml:8:18: the Service
help: set `protocol` here, or `appProtocol` (http, http2, grpc, tcp) of the Service's port
"#,
    );
    check(
        "zones: [east]",
        "zones: [eats]",
        r#"
s.yaml:19:15: `eats` is not a zone
19 |       zones: [eats]
                   ^^^^
help: did you mean `east`?
"#,
    );
    check(
        "{call: back}",
        "{call: bcak}",
        r#"
s.yaml:16:26: `bcak` is not a Service of the mesh
16 |           steps: [{call: bcak}]
                              ^^^^
help: did you mean `back`? (mesh.yaml:8:18)
"#,
    );
    check(
        "{call: back}",
        r#"{call: "back:81"}"#,
        r#"
s.yaml:16:26: Service `back` has no port 81
16 |           steps: [{call: "back:81"}]
                              ^^^^^^^^^
help: its ports: 80
"#,
    );
    check(
        "{call: back}",
        "{call: back, request: GET /nothing}",
        r#"
s.yaml:16:26: `back` has no route for `GET /nothing`
16 |           steps: [{call: back, request: GET /nothing}]
                              ^^^^
17 |     back:
         ^^^^ the service
help: its answer would be 404
"#,
    );
    check(
        "{match: GET /, time:",
        "{match: GET /, steps: [{call: front}], time:",
        r#"
s.yaml:23:41: services call each other in a circle: front → back → front
23 |         - {match: GET /, steps: [{call: front}], time: {p50: 4ms, p99: 20ms}, errorRate: 1%}
                                             ^^^^^
"#,
    );
    check(
        "        - match: GET /\n          steps",
        "        - match: \"*\"\n        - match: GET /\n          steps",
        r#"
s.yaml:16:18: no request gets here: the route before takes them all
16 |         - match: GET /
                      ^^^^^
15 |         - match: "*"
               ^^^^^^^^^^ that route
"#,
    );
    check(
        "    back:\n",
        "    back:\n      steps: []\n",
        r#"
s.yaml:18:7: `steps` beside `routes`
18 |       steps: []
           ^^^^^
23 |       routes:
           ^^^^^^ the routes
help: put the steps into a route with `match: "*"`
"#,
    );
    check(
        "      slots: 4\n",
        "",
        r#"
s.yaml:20:7: a queue without `slots` never fills
20 |       queue: 8
           ^^^^^
help: give `slots`: how many requests a pod serves at once
"#,
    );
    check(
        "    back:\n",
        "    lonely: {}\n    back:\n",
        r#"
s.yaml:17:5: no Service of the mesh selects `lonely`
17 |     lonely: {}
         ^^^^^^
help: its pods are in namespace `shop`, labelled {app: lonely}
"#,
    );
    check(
        "    back:\n",
        "    back:\n      port: 81\n",
        r#"
s.yaml:17:5: no port of Service `back` leads to port 81
17 |     back:
         ^^^^
  mesh.yaml:8:18: the Service
help: write `port: 80` here, or change its `targetPort`
"#,
    );
    check(
        "replicas: 2",
        "replicas: 2\n      versions: {v1: 2, v2: 1}",
        r#"
s.yaml:18:17: 2 replicas, but the versions have 3
18 |       replicas: 2
                     ^
19 |       versions: {v1: 2, v2: 1}
                     ^^^^^^^^^^^^^^ the versions
"#,
    );
    check(
        "mesh: [mesh.yaml]",
        "mesh: [mesh.yml]",
        r#"
s.yaml:6:10: cannot read mesh.yml: no such file
6 |   mesh: [mesh.yml]
             ^^^^^^^^
"#,
    );
}

#[test]
fn a_load_that_cannot_be_is_refused() {
    check(
        "entry: true",
        "entry: false",
        r#"
s.yaml:25:7: this load needs `to`
25 |     - {rate: 10/s}
           ^^^^^^^^^^^^
help: or mark one service with `entry: true`
"#,
    );
    check(
        "{rate: 10/s}",
        "{rate: 10/s, mix: [{request: GET /x}]}",
        r#"
s.yaml:25:36: `front` has no route for `GET /x`
25 |     - {rate: 10/s, mix: [{request: GET /x}]}
                                        ^^^^^^
12 |     front:
         ^^^^^ the service
help: its answer would be 404
"#,
    );
    check(
        "{rate: 10/s}",
        "{rate: 10/s, clients: 5}",
        r#"
s.yaml:25:7: a load has only one of `rate`, `clients` and `trace`
25 |     - {rate: 10/s, clients: 5}
           ^^^^^^^^^^^^^^^^^^^^^^^^
"#,
    );
    check(
        "{rate: 10/s}",
        "{rate: 10/s, until: 11s}",
        r#"
s.yaml:25:20: after the end of the scenario, which lasts 10s
25 |     - {rate: 10/s, until: 11s}
                        ^^^^^
"#,
    );
    check(
        "{rate: 10/s}",
        "{rate: {steps: [{for: 5s, rate: 10/s}]}}",
        r#"
s.yaml:25:22: the steps end at 5s, the load at 10s
25 |     - {rate: {steps: [{for: 5s, rate: 10/s}]}}
                          ^^^^^^^^^^^^^^^^^^^^^^^
help: leave out `for` of the last step
"#,
    );
}

#[test]
fn an_expectation_that_cannot_be_measured_is_refused() {
    check(
        "'successRate >= 0.9'",
        "'successRate >= '",
        r#"
s.yaml:29:17: not a CEL expression: it ends too early
29 |     - {overall: 'successRate >= '}
                     ^^^^^^^^^^^^^^^^^
help: such as: successRate >= 0.999 && p99 < duration("120ms")
"#,
    );
    check(
        "'successRate >= 0.9'",
        "'sucessRate >= 0.9'",
        r#"
s.yaml:29:18: `sucessRate` is not a variable
29 |     - {overall: 'sucessRate >= 0.9'}
                      ^^^^^^^^^^
help: did you mean `successRate`?
"#,
    );
    check(
        "'successRate >= 0.9'",
        r#"'p99("bakc") < duration("1s")'"#,
        r#"
s.yaml:29:23: `bakc` is not a service or load
29 |     - {overall: 'p99("bakc") < duration("1s")'}
                           ^^^^
help: did you mean `back`?
"#,
    );
    check(
        "'successRate >= 0.9'",
        r#"'attempts("a", "b", "c") > 1'"#,
        r#"
s.yaml:29:18: `attempts` is written `attempts` or `attempts("service")` or `attempts("service", "service")`
29 |     - {overall: 'attempts("a", "b", "c") > 1'}
                      ^^^^^^^^
"#,
    );
    check(
        "'successRate >= 0.9'",
        "'queued < 5'",
        r#"
s.yaml:29:18: `queued` needs a service: queued("…")
29 |     - {overall: 'queued < 5'}
                      ^^^^^^
"#,
    );
    check(
        "'successRate >= 0.9'",
        "'p99 < 120'",
        r#"
s.yaml:29:17: `<` cannot be between a duration and a whole number
29 |     - {overall: 'p99 < 120'}
                     ^^^^^^^^^^^
"#,
    );
    check(
        "'successRate >= 0.9'",
        r#"'p99 < duration("120")'"#,
        r#"
s.yaml:29:34: `120` has no unit: write 120ms, 120s or 120m
29 |     - {overall: 'p99 < duration("120")'}
                                      ^^^
"#,
    );
    check(
        "'successRate >= 0.9'",
        "'attempts >= 1.5 * requests'",
        r#"
s.yaml:29:17: `*` between a whole number and a decimal one
29 |     - {overall: 'attempts >= 1.5 * requests'}
                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: write double(…) around the whole number, or 2.0 for 2
"#,
    );
    check(
        "'successRate >= 0.9'",
        "'successRate'",
        r#"
s.yaml:29:17: an expectation is true or false, this is a number
29 |     - {overall: 'successRate'}
                     ^^^^^^^^^^^^^
"#,
    );
    check(
        "overall: 'successRate >= 0.9'",
        "always: 'successRate >= 0.9'",
        r#"
s.yaml:29:17: `successRate` is measured over a time: under `always` only `inFlight` and `queued` can stand
29 |     - {always: 'successRate >= 0.9'}
                     ^^^^^^^^^^^
"#,
    );
    check(
        "'successRate >= 0.9'",
        "'[1, 2].exists(x, x > 1)'",
        r#"
s.yaml:29:17: expectations have numbers, durations and comparisons; no lists, maps, fields or macros
29 |     - {overall: '[1, 2].exists(x, x > 1)'}
                     ^^^^^^^^^^^^^^^^^^^^^^^^^
"#,
    );
    check(
        ", for: 3s",
        "",
        r#"
s.yaml:30:21: there is no time after a fault that lasts to the end
30 |     - {afterFaults: 2s, that: 'successRate >= 0.9'}
                         ^^
27 |     - {at: 2s, slow: {target: "back[0]", by: 5x}}
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this fault has no `for`
"#,
    );
    check(
        "afterFaults: 2s",
        "afterFaults: 5s",
        r#"
s.yaml:30:21: the faults end at 5s, the scenario at 10s: no time is left
30 |     - {afterFaults: 5s, that: 'successRate >= 0.9'}
                         ^^
"#,
    );
    check(
        "{overall: 'successRate >= 0.9'}",
        "{that: 'successRate >= 0.9'}",
        r#"
s.yaml:29:7: an expectation needs a time and an expression
29 |     - {that: 'successRate >= 0.9'}
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
help: write {overall: '…'}, {from: 0s, to: 15s, that: '…'} or {afterFaults: 10s, that: '…'}
"#,
    );
    check(
        "{overall: 'successRate >= 0.9'}",
        "{from: 5s, to: 2s, that: 'successRate >= 0.9'}",
        r#"
s.yaml:29:7: from 5s to 2s is no time
29 |     - {from: 5s, to: 2s, that: 'successRate >= 0.9'}
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"#,
    );
}

#[test]
fn a_link_that_cannot_be_is_refused() {
    check(
        "{within: zone, latency: 1ms}",
        "{within: zone}",
        r#"
s.yaml:10:13: this link says nothing
10 |     links: [{within: zone}]
                 ^^^^^^^^^^^^^^
help: give `latency`, `jitter`, `loss` or `bandwidth`
"#,
    );
    check(
        "{within: zone, latency: 1ms}",
        "{within: zone, latency: {empirical: [1ms]}}",
        r#"
s.yaml:10:37: a link's latency is constant, uniform, normal, lognormal or exponential
10 |     links: [{within: zone, latency: {empirical: [1ms]}}]
                                         ^^^^^^^^^^^^^^^^^^
"#,
    );
    check(
        "{within: zone, latency: 1ms}",
        "{within: zone, bandwidth: 0bps}",
        r#"
s.yaml:10:39: a bandwidth of 0 lets nothing through: use a partition
10 |     links: [{within: zone, bandwidth: 0bps}]
                                           ^^^^
"#,
    );
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let text = GOOD.replace("rate: 10/s", "rate: x").replace("5x", "0x").replace(">= 0.9", ">").replace("1%", "1");
    let files = Memory::new([("s.yaml", text.as_str()), ("mesh.yaml", MESH)]);
    let refusal = load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()).expect_err("it is full of mistakes");
    let lines: Vec<usize> = refusal.mistakes.iter().map(|mistake| mistake.place.line).collect();
    assert_eq!(lines, [23, 25, 27, 29, 30], "\n{refusal}");
}

#[track_caller]
fn check_dir(files: &[(&str, &str)], want: &str) {
    let refusal = load_dir(Path::new("all"), &Memory::new(files.iter().copied())).expect_err("there is a mistake");
    assert_eq!(refusal.to_string().trim(), want.trim(), "\n{refusal}");
}

#[test]
fn a_file_that_no_scenario_refers_to_is_refused() {
    check_dir(
        &[("all/s.yaml", GOOD), ("all/mesh.yaml", MESH), ("all/left.yaml", "kind: Service\n"), ("all/README.md", "")],
        "all/left.yaml:1:1: this is no scenario, and no scenario here refers to it
1 | kind: Service
    ^
help: a scenario has `kind: Scenario`; an isotope graph runs when its file is named",
    );
}

#[test]
fn two_scenarios_of_one_name_are_refused() {
    check_dir(
        &[("all/a.yaml", GOOD), ("all/b.yaml", GOOD), ("all/mesh.yaml", MESH)],
        "all/b.yaml:4:18: there are two scenarios called `good`
4 | metadata: {name: good}
                     ^^^^
  all/a.yaml:4:18: the other one",
    );
}

#[test]
fn a_folder_without_scenarios_is_refused() {
    check_dir(
        &[("all/README.md", "")],
        "all:1:1: there is no scenario in it\n1 | \n    ^\nhelp: a scenario has `kind: Scenario`",
    );
}

/// The checker's types are those of the `cel` crate: what it lets through can be evaluated, what it refuses cannot.
#[test]
fn what_is_accepted_can_be_evaluated() {
    let evaluated = |text: &str| {
        let mut context = cel::Context::default();
        context.add_variable("attempts", 7_i64).expect("a number is a value");
        context.add_variable("successRate", 0.5_f64).expect("a number is a value");
        context.add_function("max", |_: std::sync::Arc<String>| 3_i64).expect("the name is free");
        let program = cel::Program::compile(text).expect("it is CEL");
        program.execute(&context)
    };
    for text in [
        "attempts > 6.5 && successRate < 1",
        "double(attempts) * 1.5 == 10.5",
        "duration(\"1m30s\") - duration(\"30s\") == duration(\"60s\")",
        "attempts % 2 == 1 ? successRate == 0.5 : false",
        "!(-attempts > 0)",
        "max(\"catalog\") == 3",
    ] {
        assert_eq!(evaluated(text), Ok(cel::Value::Bool(true)), "{text}");
    }
    for text in ["attempts * 1.5 > 1.0", "duration(\"1s\") > 1", "successRate && true"] {
        assert!(!matches!(evaluated(text), Ok(cel::Value::Bool(true))), "{text}");
    }
}

#[test]
fn a_mistake_in_a_manifest_is_shown_with_its_place_too() {
    let mesh = format!(
        "{MESH}---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: p, namespace: shop}}\nspec:\n  \
         targetRefs: [{{group: \"\", kind: Service, name: bakc}}]\n"
    );
    let files = Memory::new([("s.yaml", GOOD), ("mesh.yaml", mesh.as_str())]);
    let refusal =
        load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()).expect_err("the policy has no target");
    assert_eq!(
        refusal.to_string().trim(),
        "mesh.yaml:15:49: targetRef refers to `bakc`, which is not a Service in namespace `shop`
15 |   targetRefs: [{group: \"\", kind: Service, name: bakc}]
                                                     ^^^^
8 | metadata: {name: back, namespace: shop}
                     ^^^^ `back` is here
help: did you mean `back`?"
    );
}
