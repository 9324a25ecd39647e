//! What the language of scenarios must be able to say: the setups of cases with known answers, and their readings.

use std::path::Path;
use std::time::Duration;

use squall_sim::scenario::{
    Arrivals, Between, Distribution, Ends, FaultKind, Group, IsotopeLoad, Memory, Network, Rate, Scenario, Start, Step,
    Strike, Target, Window, load_file,
};

const MESH: &str = "apiVersion: v1
kind: Service
metadata: {name: server, namespace: n}
spec: {selector: {app: server}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: leaf, namespace: n}
spec: {selector: {app: leaf}, ports: [{port: 80}]}
";

/// A scenario with this service `server`, load and rest of the spec.
#[track_caller]
fn read(server: &str, load: &str, rest: &str) -> Scenario {
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: x}}\nspec:\n  mesh: [mesh.yaml]\n  duration: 100s\n  \
         services:\n    server: {server}\n    leaf:\n  load: [{load}]\n  expect: [{{overall: requests > 0}}]\n{rest}"
    );
    let files = Memory::new([("s.yaml", text.as_str()), ("mesh.yaml", MESH), ("trace.csv", "# s\n0.5\n1.25,x\n2s\n")]);
    load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()).unwrap_or_else(|refusal| panic!("{refusal}"))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_queue_of_the_textbook_can_be_said() {
    // M/M/5 with an unlimited queue; M/M/1/10; Erlang-B.
    let mmc = read("{slots: 5, time: {exponential: 1s}}", "{to: server, rate: 4/s}", "");
    assert_eq!((mmc.services[0].slots, mmc.services[0].queue), (Some(5), None));
    assert_eq!(mmc.services[0].versions[0].routes[0].work.time, Distribution::Exponential { mean: secs(1) });
    let loss = read("{slots: 1, queue: 9, time: {exponential: 1s}}", "{to: server, rate: 2/s}", "");
    assert_eq!(loss.services[0].queue, Some(9));
    let erlang = read("{slots: 10, queue: 0, time: {lognormal: {mean: 1s, cv: 2}}}", "{to: server, rate: 5/s}", "");
    assert_eq!(erlang.services[0].queue, Some(0));
    assert_eq!(erlang.services[0].versions[0].routes[0].work.time.mean().as_millis(), 999);
}

#[test]
fn loads_of_every_shape_can_be_said() {
    let arrivals = |load: &str| read("{}", load, "").load[0].arrivals.clone();
    let phases = |load: &str| match arrivals(load) {
        Arrivals::Open { phases, .. } => {
            let shown = phases.iter().map(|phase| {
                let (from, until) = (phase.from.as_secs(), phase.until.as_secs());
                format!("{from}-{until} {}-{}", phase.first.per_second(), phase.last.per_second())
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        Arrivals::Trace(_) | Arrivals::Closed { .. } => panic!("not an open loop"),
    };
    assert_eq!(phases("{to: server, rate: 0.5/s, from: 10s, until: 20s}"), "10-20 0.5-0.5");
    assert_eq!(
        phases("{to: server, rate: {steps: [{for: 10s, rate: 1/s}, {for: 5s, from: 1/s, to: 9/s}, {rate: 1/s}]}}"),
        "0-10 1-1, 10-15 1-9, 15-100 1-1"
    );
    assert_eq!(phases("{to: server, rate: {ramp: {from: 0/s, to: 10/s}}}"), "0-100 0-10");
    assert_eq!(
        phases("{to: server, until: 25s, rate: {bursts: {base: 1/s, peak: 9/s, every: 10s, for: 2s}}}"),
        "0-8 1-1, 8-10 9-9, 10-18 1-1, 18-20 9-9, 20-25 1-1"
    );
    let think = Distribution::Uniform { least: secs(1), most: secs(10) };
    assert_eq!(
        arrivals("{to: server, clients: 100, think: {uniform: {from: 1s, to: 10s}}}"),
        Arrivals::Closed { clients: 100, think }
    );
    let trace = [500, 1250, 2000].map(Duration::from_millis).to_vec();
    assert_eq!(arrivals("{to: server, trace: trace.csv}"), Arrivals::Trace(trace.clone()));
    assert_eq!(arrivals("{to: server, trace: [500ms, 1250ms, 2s]}"), Arrivals::Trace(trace));
}

#[test]
fn fan_out_tries_and_probabilities_can_be_said() {
    let server = "{steps: [{call: leaf, fanOut: 100}, {call: leaf, tries: 3, timeout: 1s, repeat: 2, probability: 12.5%}, \
                  [{call: leaf}, {sleep: 5ms}], {parallel: [[{sleep: 1ms}, {call: leaf}], {call: leaf}]}]}";
    let scenario = read(server, "{to: server, rate: 1/s}", "");
    let steps = &scenario.services[0].versions[0].routes[0].steps;
    let [Step::Call(fan), Step::Call(tries), Step::Parallel(two), Step::Parallel(branches)] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!((fan.fan_out, fan.tries, tries.tries, tries.repeat), (100, 1, 3, 2));
    assert_eq!((tries.probability_ppm, tries.timeout), (125_000, Some(secs(1))));
    assert_eq!((two.len(), branches[0].len(), branches[1].len()), (2, 2, 1));
}

#[test]
fn every_fault_can_be_said() {
    let faults = "  network: {zones: [a, b]}
  faults:
    - {at: 1s, for: 1s, latency: {between: [server, leaf], add: {p50: 10ms, p99: 90ms}}}
    - {at: 1s, for: 1s, jitter: {target: server, add: 5ms}}
    - {at: 1s, for: 1s, loss: {from: server, to: \"leaf[0]\", rate: 5%}}
    - {at: 1s, for: 1s, bandwidth: {limit: 1Mbps}}
    - {at: 1s, for: 1s, partition: {zone: b}}
    - {at: 1s, for: 1s, partition: {from: {zone: a}, to: leaf}}
    - {afterRequest: 7, for: 1s, crash: {target: leaf, mode: silent}}
    - {at: 1s, for: 1s, pause: leaf}
    - {at: 1s, for: 1s, errors: {target: leaf, rate: 50%, status: 503}}
    - {at: 1s, for: 1s, slow: {target: leaf, add: 100ms}}
    - {at: 1s, for: 1s, controlDown: }
    - {at: 1s, rollingRestart: leaf}
";
    let scenario = read("{}", "{to: server, rate: 1/s}", faults);
    let names: Vec<&str> = scenario.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "latency between server and leaf",
            "jitter +5ms around server",
            "loss 5% from server to leaf[0]",
            "bandwidth 1Mbps everywhere",
            "partition around zone b",
            "partition from zone a to leaf",
            "crash leaf",
            "pause leaf",
            "errors 50% of leaf",
            "leaf slow +100ms",
            "control plane down",
            "rolling restart of leaf",
        ]
    );
    assert_eq!(scenario.faults[6].start, Start::AfterRequest(7));
    assert!(matches!(scenario.faults[9].kind, FaultKind::Slow { strike: Strike::Add(_), .. }));
}

fn group(name: &str, zone: &str) -> Group {
    Group { name: name.into(), version: "".into(), replica: 0, zone: zone.into() }
}

#[test]
fn a_partition_of_a_zone_leaves_its_inside_alone() {
    let ends = Ends { from: Target::Zone("b".into()), to: Target::All, both: true };
    let (here, there, beside) = (group("x", "a"), group("y", "b"), group("z", "b"));
    assert!(ends.matches(&here, &there) && ends.matches(&there, &here));
    assert!(!ends.matches(&there, &beside) && !ends.matches(&here, &here));
    let one_way = Ends { from: Target::Service("x".into()), to: Target::Service("y".into()), both: false };
    assert!(one_way.matches(&here, &there) && !one_way.matches(&there, &here));
}

#[test]
fn a_later_link_changes_only_what_it_names() {
    let links = "  network:
    zones: [a, b]
    links:
      - {latency: 2ms, loss: 1%}
      - {between: zones, latency: {normal: {mean: 10ms, deviation: 2ms}}}
      - {from: server, to: leaf, bandwidth: 1Gbps}
";
    let network = read("{}", "{to: server, rate: 1/s}", links).network;
    let link = network.link(&group("server", "a"), &group("leaf", "b"));
    assert_eq!((link.loss_ppm, link.bandwidth_bps), (10_000, Some(1_000_000_000)));
    assert!(format!("{:?}", link.latency).contains("10ms"));
    let back = network.link(&group("leaf", "a"), &group("server", "a"));
    assert_eq!((back.bandwidth_bps, format!("{:?}", back.latency)), (None, "Constant(2ms)".to_owned()));
    assert!(matches!(network.links[1].between, Between::Zones));
    assert_eq!(format!("{:?}", Network::default_link().latency), "Constant(1ms)");
}

#[test]
fn what_is_not_said_has_its_default() {
    let scenario = read("{}", "{to: server, rate: 1/s}", "");
    let load = &scenario.load[0];
    assert_eq!((load.timeout, load.hosts, &*load.name, &*load.zones[0]), (secs(30), 1, "load", "zone"));
    assert_eq!((scenario.drain, scenario.services[0].port), (secs(31), 80));
    assert_eq!(scenario.expect[0].window, Window::Overall);
    assert_eq!(IsotopeLoad::default(), IsotopeLoad { rate: Rate(100_000), duration: secs(30) });
    assert_eq!(scenario.services[1].labels, [("app".to_owned(), "leaf".to_owned())]);
}
