//! What `kubectl get -o yaml` prints is taken as it is: what the cluster wrote there for itself sets nothing.

use squall_control::{NodeInfo, RegistrySnapshot, Resources, compile};
use squall_policy::BackendName;

const PRINTED: &str = r#"
apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata:
    annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
    creationTimestamp: "2026-11-20T10:00:00Z"
    labels: {app: front}
    name: front
    namespace: shop
    resourceVersion: "4711"
    uid: 6ecf2e1c-2f0c-4c5e-8ccd-2d9fdd0a2f2c
  spec:
    clusterIP: 10.96.0.17
    clusterIPs: [10.96.0.17]
    internalTrafficPolicy: Cluster
    ipFamilies: [IPv4]
    ipFamilyPolicy: SingleStack
    ports: [{name: http, port: 80, protocol: TCP, targetPort: 8080}]
    selector: {app: front}
    sessionAffinity: None
    type: ClusterIP
  status: {loadBalancer: {}}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - addresses: [10.244.0.5]
    conditions: {ready: true, serving: true, terminating: false}
    nodeName: kind-worker
    targetRef: {kind: Pod, name: front-7c9d, namespace: shop, uid: 9a4f3c0e-7a57-4a5e-9c39-2b1d6d2a1111}
    zone: a
  kind: EndpointSlice
  metadata:
    creationTimestamp: "2026-11-20T10:00:00Z"
    generateName: front-
    generation: 3
    labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io, kubernetes.io/service-name: front}
    name: front-x7k2p
    namespace: shop
    ownerReferences: [{apiVersion: v1, blockOwnerDeletion: true, controller: true, kind: Service, name: front, uid: 6ecf2e1c}]
    resourceVersion: "4712"
    uid: 3d0c7a40-6a0e-4b0e-8a0b-0d9a5a9b2222
  ports: [{name: http, port: 8080, protocol: TCP}]
kind: List
metadata: {resourceVersion: ""}
"#;

#[test]
fn what_kubectl_prints_is_a_mesh() {
    let resources = Resources::read(&[("get.yaml", PRINTED)]).expect("no mistakes");
    let node = NodeInfo { namespace: "shop".to_owned(), pod: "front-7c9d".to_owned() };
    let mesh = compile(&resources, &RegistrySnapshot::default(), &node).expect("a mesh");
    let endpoints = &mesh.endpoints[&BackendName::new("shop", "front", 80)];
    assert_eq!(endpoints.len(), 1);
    assert_eq!((endpoints[0].address.to_string().as_str(), &*endpoints[0].zone), ("10.244.0.5:8080", "a"));
}

#[test]
fn mistakes_in_a_list_have_their_place() {
    let text = PRINTED.replace("sessionAffinity: None", "sessionAffinity: ClientIP");
    let mistakes = Resources::read(&[("get.yaml", &text)]).expect_err("not supported");
    let line = text.lines().position(|line| line.contains("ClientIP")).expect("just written") + 1;
    assert_eq!((mistakes.len(), mistakes[0].place.line), (1, line));
}
