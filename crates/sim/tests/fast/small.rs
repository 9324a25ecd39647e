//! Small scenarios with one service.

use std::path::Path;
use std::sync::Arc;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};
use squall_sim::{Model, Outcome, RunOptions, Scenario, run};

/// One service and its load, over a mesh with one Service and perhaps more.
pub(crate) struct Small<'s> {
    pub(crate) duration: &'s str,
    pub(crate) service: &'s str,
    pub(crate) load: &'s str,
    /// Lines of the scenario's `spec`.
    pub(crate) more: &'s str,
    /// YAML documents of the mesh.
    pub(crate) policy: &'s str,
}

impl Default for Small<'_> {
    fn default() -> Self {
        Self { duration: "1s", service: "{}", load: "{rate: 10/s}", more: "", policy: "" }
    }
}

impl Small<'_> {
    pub(crate) fn scenario(&self) -> Arc<Scenario> {
        let mesh = "{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: test}, \
                    spec: {selector: {app: shop}, ports: [{port: 80}]}}";
        let mesh = format!("{mesh}\n---\n{}", self.policy);
        let Self { duration, service, load, more, .. } = self;
        let text = format!(
            "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: small}}\nspec:\n  mesh: [mesh.yaml]\n  \
             duration: {duration}\n  services:\n    shop: {service}\n  load:\n    - {load}\n{more}  expect:\n    \
             - {{overall: 'requests > 0'}}\n"
        );
        let files = Memory::new([("mesh.yaml", mesh.as_str()), ("small.yaml", &text)]);
        let scenario = load_file(Path::new("small.yaml"), &files, &IsotopeLoad::default());
        Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")))
    }

    pub(crate) fn ran(&self, seed: u64, keep_history: bool) -> Outcome {
        let options = RunOptions { model: Model::Fast, keep_history, ..RunOptions::default() };
        run(&self.scenario(), seed, options).unwrap_or_else(|error| panic!("{error}"))
    }
}
