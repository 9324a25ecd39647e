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

/// The only pod of an application of `shop`.
pub(crate) fn pods(app: &str) -> RegistrySnapshot {
    RegistrySnapshot::new([Pod {
        name: format!("{app}-0"),
        namespace: "shop".to_owned(),
        address: [10, 0, 0, 1].into(),
        labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
        ports: BTreeMap::new(),
        zone: String::new(),
        service_account: app.to_owned(),
        weight: 1,
        ready: true,
        terminating: false,
    }])
}

/// What the only pod of `catalog` gets of a file.
pub(crate) fn mesh(text: &str) -> Result<Mesh, Vec<Mistake>> {
    let node = NodeInfo::from_id("shop/catalog-0").expect("a node");
    compile(&Resources::read(&[("shop.yaml", text)])?, &pods("catalog"), &node)
}

/// What the sidecars of a client and of the only pod of `cart` are told.
pub(crate) fn told(resources: &Resources) -> Result<String, Vec<Mistake>> {
    let pods = pods("cart");
    let to = |node: &str| compile(resources, &pods, &NodeInfo::from_id(node).expect("a node"));
    Ok(format!("{:?}\n{:?}", to("web/web-0")?, to("shop/cart-0")?))
}
