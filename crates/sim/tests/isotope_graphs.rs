//! Istio isotope's service graphs are read as they are, and refused where they cannot run.

use std::path::Path;

use squall_sim::scenario::{IsotopeLoad, Memory, Rate, load_file};

#[track_caller]
fn check_graph(text: &str, want: &str) {
    let files = Memory::new([("g.yaml", text)]);
    match load_file(Path::new("g.yaml"), &files, &IsotopeLoad::default()) {
        Ok(_) => panic!("the graph was accepted"),
        Err(refusal) => assert_eq!(refusal.to_string().trim(), want.trim(), "\n{refusal}"),
    }
}

#[test]
fn an_isotope_graph_that_cannot_run_is_refused() {
    check_graph(
        "services:\n- name: a\n  isEntrypoint: true\n  script:\n  - call: catlog\n- name: catalog\n",
        "g.yaml:5:11: `catlog` is not a service of the graph\n5 |   - call: catlog\n              ^^^^^^\nhelp: did you mean `catalog`?",
    );
    check_graph(
        "services:\n- name: a\n",
        "g.yaml:1:1: the graph has no entry point\n1 | services:\n    ^^^^^^^^^\nhelp: mark one service with `isEntrypoint: true`",
    );
    check_graph(
        "services:\n- name: a\n  isEntrypoint: true\n  cluster: one\n",
        "g.yaml:4:3: `cluster` of a service of the graph is not supported\n4 |   cluster: one\n      ^^^^^^^\nhelp: one mesh is one cluster here",
    );
    check_graph(
        "services:\n- name: a\n  isEntrypoint: true\n  script: [{call: b}]\n- name: b\n  script: [{call: a}]\n",
        "g.yaml:6:19: services call each other in a circle: a → b → a\n6 |   script: [{call: a}]\n                      ^",
    );
}

#[test]
fn an_isotope_graph_runs_as_it_is() {
    let text = "defaults:
  type: grpc
  requestSize: 1 KB
  responseSize: 16 KB
  numReplicas: 2
  numRbacPolicies: 3
services:
- name: a
  errorRate: 0.01%
  script: [{sleep: 100ms}]
- name: b
  type: http
- name: d
  isEntrypoint: true
  numReplicas: 1
  script:
  - - call: {service: a, size: 10K, probability: 50}
    - call: b
  - call: b
";
    let load = IsotopeLoad { rate: Rate(7_000), ..IsotopeLoad::default() };
    let graph = load_file(Path::new("g.yaml"), &Memory::new([("g.yaml", text)]), &load);
    let graph = graph.unwrap_or_else(|refusal| panic!("{refusal}"));
    let shown: Vec<String> = graph
        .services
        .iter()
        .map(|service| {
            let route = &service.versions[0].routes[0];
            let (replicas, work) = (service.versions[0].replicas, &route.work);
            format!("{} {} {replicas} {} {}", service.name.value, service.grpc, work.error_ppm, work.response_bytes)
        })
        .collect();
    assert_eq!(shown, ["a true 2 100 16384", "b false 2 0 16384", "d true 1 0 16384"]);
    let steps = format!("{:?}", graph.services[2].versions[0].routes[0].steps);
    for want in ["request_bytes: 10240", "probability_ppm: 500000", "request_bytes: 1024", "\"a:8080\"", "Parallel"] {
        assert!(steps.contains(want), "{want} in {steps}");
    }
    assert_eq!(graph.load[0].to.value, "d:8080");
    assert_eq!(graph.expect[0].that.value, "unanswered == 0", "a graph with errors of its own cannot be without");
}
