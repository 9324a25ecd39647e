//! A Service with a TrafficPolicy that a test writes the rest of, and its pod.

use std::collections::BTreeMap;

use squall_control::{Mistake, NodeInfo, Pod, RegistrySnapshot, Resources, compile};
use squall_policy::Mesh;

/// The Service `catalog` at port 80 of the namespace `shop`, and its policy as far as it says for whom it is.
pub(crate) const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{port: 80}]}
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: '', kind: Service, name: catalog}]
";

/// What the only pod of `catalog` gets of a file.
pub(crate) fn mesh(text: &str) -> Result<Mesh, Vec<Mistake>> {
    let pod = Pod {
        name: "catalog-0".to_owned(),
        namespace: "shop".to_owned(),
        address: [10, 0, 0, 1].into(),
        labels: BTreeMap::from([("app".to_owned(), "catalog".to_owned())]),
        ports: BTreeMap::new(),
        zone: String::new(),
        service_account: "catalog".to_owned(),
        weight: 1,
        ready: true,
        terminating: false,
    };
    let node = NodeInfo::from_id("shop/catalog-0").expect("a node");
    compile(&Resources::read(&[("shop.yaml", text)])?, &RegistrySnapshot::new(vec![pod]), &node)
}
