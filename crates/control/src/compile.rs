//! Compiles resources and registry to the mesh of one proxy.

use squall_policy::Mesh;

use crate::{Mistake, RegistrySnapshot, Resources};

/// Which proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeInfo {
    /// Its pod's namespace: short Service names mean this one.
    pub namespace: String,
    /// Its pod's name.
    pub pod: String,
}

impl NodeInfo {
    /// From Envoy's `Node.id`: `namespace/pod`, or Istio's form, which Squall's proxies use too,
    /// `sidecar~10.0.0.3~pod.namespace~namespace.svc.cluster.local`. `None`: of neither form.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        let (namespace, pod) = match id.strip_prefix("sidecar~") {
            // A pod's name may have dots, a namespace's has none.
            Some(rest) => rest.split('~').nth(1)?.rsplit_once('.').map(|(pod, namespace)| (namespace, pod))?,
            None => id.split_once('/')?,
        };
        let good = !namespace.is_empty() && !pod.is_empty() && !pod.contains('/');
        good.then(|| Self { namespace: namespace.to_owned(), pod: pod.to_owned() })
    }

    /// Envoy's `Node.id`: `namespace/pod`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

/// The mesh of `node`.
///
/// # Errors
/// What cannot be said to this proxy, such as two Services that want different limits on one of its ports.
pub fn compile(resources: &Resources, pods: &RegistrySnapshot, node: &NodeInfo) -> Result<Mesh, Vec<Mistake>> {
    let _ = (resources, pods, node);
    todo!()
}

/// Services without a pod, by place, and pods without a Service, by name: no mistake in a cluster, where both come and go, but one in a
/// scenario, where nothing else would tell.
#[must_use]
pub fn coverage(resources: &Resources, pods: &RegistrySnapshot) -> Coverage {
    let _ = (resources, pods);
    todo!()
}

/// See [`coverage`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// One for each Service that selects no pod.
    pub unserved: Vec<Mistake>,
    /// `namespace/name` of each pod that no Service selects.
    pub unselected: Vec<String>,
}

#[cfg(test)]
mod node_tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_either_form_of_its_id() {
        let node = |namespace: &str, pod: &str| Some(NodeInfo { namespace: namespace.into(), pod: pod.into() });
        for (id, want) in [
            ("shop/cart-0", node("shop", "cart-0")),
            ("sidecar~10.0.0.3~cart-0.shop~shop.svc.cluster.local", node("shop", "cart-0")),
            ("sidecar~10.0.0.3~cart.v1.shop~shop.svc.cluster.local", node("shop", "cart.v1")),
            ("sidecar~10.0.0.3", None),
            ("sidecar~10.0.0.3~cart~x", None),
            ("cart-0", None),
            ("/cart-0", None),
        ] {
            assert_eq!(NodeInfo::from_id(id), want, "{id}");
        }
    }
}
