//! Services whose `targetPort` is a name: each of their pods says which number that is.

use std::path::Path;
use std::sync::Arc;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};
use squall_sim::{Model, RunOptions, Scenario, run};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {selector: {tier: stock}, ports: [{name: http, port: 80, targetPort: web}]}
";

/// Two workloads behind one Service, with these fields each.
fn read(old: &str, new: &str, mesh: &str) -> Result<Scenario, String> {
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: ports}}\nspec:\n  mesh: [mesh.yaml]\n  \
         duration: 5s\n  services:\n    old: {{entry: true, labels: {{tier: stock}}, {old}, time: 2ms}}\n    \
         new: {{labels: {{tier: stock}}, {new}, time: 2ms}}\n  load: [{{to: stock, rate: 50/s}}]\n  \
         expect: [{{overall: 'successRate == 1.0'}}]\n"
    );
    let files = Memory::new([("s.yaml", text.as_str()), ("mesh.yaml", mesh)]);
    load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_named_port_is_found_in_each_pod_in_both_models() {
    let scenario = read("port: 8080, portName: web", "port: 9090, portName: web", MESH);
    let scenario = Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")));
    for model in [Model::Full, Model::Fast] {
        let outcome = run(&scenario, 1, RunOptions { model, ..RunOptions::default() });
        let outcome = outcome.unwrap_or_else(|error| panic!("{model:?}: {error}"));
        assert!(outcome.passed(), "{model:?}: {:#?}", outcome.verdict);
        let served =
            |to: &str| outcome.summary.edges.iter().find(|edge| edge.to == to).map_or(0, |edge| edge.succeeded);
        assert!(served("old") > 50 && served("new") > 50, "{model:?}: {:?}", outcome.summary.edges);
    }
}

#[test]
fn of_a_named_port_some_pods_may_take_no_mutual_tls() {
    let modes = format!(
        "{MESH}---\napiVersion: squall.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: stock, namespace: shop}}\n\
         spec:\n  selector: {{matchLabels: {{tier: stock}}}}\n  portLevelMtls: {{9090: {{mode: DISABLE}}}}\n"
    );
    let scenario = read("port: 8080, portName: web", "port: 9090, portName: web", &modes);
    let scenario = Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")));
    let outcome = run(&scenario, 1, RunOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.passed(), "{:#?}", outcome.verdict);
}

#[test]
fn a_pod_that_does_not_name_the_port_and_a_name_that_is_none_are_shown_with_their_place() {
    let refused = |old: &str| read(old, "port: 9090, portName: web", MESH).expect_err("no port leads there");
    let said = refused("port: 8080");
    assert!(said.contains("s.yaml:8:5: no port of Service `stock` leads to port 8080"), "{said}");
    assert!(said.contains("write `portName: web` here, or a number as its `targetPort`"), "{said}");
    let said = refused("port: 8080, portName: http");
    assert!(said.contains("leads to port 8080, which is called `http`"), "{said}");
    for name in ["Web", "80", "a--b", "-a", "a-", "a_b", "much-too-long-for-it"] {
        let said = refused(&format!("port: 8080, portName: {name:?}"));
        assert!(said.contains(&format!("`{name}` is no name of a port")), "{name}: {said}");
    }
}
