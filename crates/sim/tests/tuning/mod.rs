//! A small tuning with a known answer, for the tests of the library and of the command.

/// The only service of the mesh.
pub(crate) const MESH: &str = "\
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: test}
spec: {selector: {app: shop}, ports: [{port: 80}]}
";

/// What it has for a policy.
pub(crate) const POLICY: &str = "\
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: shop, namespace: test}
spec:
  targetRefs: [{group: \"\", kind: Service, name: shop}]
  retries:
    attempts: 4 # as many as anybody dares
    on: [5xx]
    budget: {unlimited: true}
";

/// What it has to stand.
pub(crate) const SCENARIO: &str = "\
# Three of ten calls fail.
apiVersion: squall.dev/v1alpha1
kind: Scenario
metadata: {name: failing}
spec:
  mesh: [mesh.yaml, policy.yaml]
  duration: 3s
  services:
    shop: {time: 1ms, errorRate: 30%, entry: true}
  load: [{rate: 250/s}]
  expect: [{overall: 'requests > 0'}]
";

/// What varies, and what is wanted.
pub(crate) const TUNING: &str = "\
apiVersion: squall.dev/v1alpha1
kind: Tuning
metadata: {name: retries}
spec:
  scenarios: [failing.yaml]
  seeds: 3
  holdOut: {seeds: 2}
  vary:
    - {policy: shop, field: retries.attempts, from: 1, to: 5}
    - {policy: shop, field: retries.backoff.base, from: 1ms, to: 50ms, scale: log}
  objectives: [{maximize: successRate}, {minimize: p99}]
  constraints: [amplification <= 1.345]
";
