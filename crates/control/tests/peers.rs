//! PeerAuthentications, as the proxies of both ends get them, and what a person reads when they are wrong.

use std::collections::BTreeMap;

use squall_control::{Mistake, NodeInfo, Pod, RegistrySnapshot, Resources, compile};
use squall_policy::{BackendName, PeerMode};

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}, {name: http-admin, port: 81}]}
";

const SLICE: &str = "\
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: c, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: http-admin, port: 81}]
endpoints:
  - {addresses: [10.0.0.1], targetRef: {kind: Pod, name: cart-0}}
";

fn policy(id: &str, spec: &str) -> String {
    let (namespace, name) = id.split_once('/').expect("namespace and name");
    format!(
        "---\napiVersion: squall.dev/v1alpha1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n"
    )
}

fn pod() -> Pod {
    let labels = [("app", "cart"), ("version", "v1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Pod {
        name: "cart-0".to_owned(),
        namespace: "shop".to_owned(),
        address: [10, 0, 0, 1].into(),
        labels: BTreeMap::from(labels),
        ports: BTreeMap::new(),
        zone: String::new(),
        service_account: "cart".to_owned(),
        weight: 1,
        ready: true,
        terminating: false,
    }
}

/// For 8080 and 81: the pod's mode, and whether clients use mutual TLS.
type Found = [(Option<PeerMode>, bool); 2];

fn compiled(text: &str, pods: Vec<Pod>) -> Result<Found, Vec<Mistake>> {
    let resources = Resources::read(&[("shop.yaml", text)])?;
    let pods = RegistrySnapshot::new(pods);
    let mesh = compile(&resources, &pods, &NodeInfo::from_id("shop/cart-0").expect("a node"))?;
    let client = compile(&resources, &pods, &NodeInfo::from_id("web/web-0").expect("a node"))?;
    let of = |port, service| {
        (mesh.inbound[&port].peers, client.backends[&BackendName::new("shop", "cart", service)].mutual_tls)
    };
    Ok([of(8080, 80), of(81, 81)])
}

fn with(policies: &[(&str, &str)]) -> String {
    policies.iter().fold(SHOP.to_owned(), |text, (id, spec)| text + &policy(id, spec))
}

const STRICT: (Option<PeerMode>, bool) = (Some(PeerMode::Strict), true);
const PERMISSIVE: (Option<PeerMode>, bool) = (Some(PeerMode::Permissive), true);
const DISABLE: (Option<PeerMode>, bool) = (Some(PeerMode::Disable), false);

/// Pods that a registry knows, and those that only slices show, are treated alike.
#[track_caller]
fn check(policies: &[(&str, &str)], want: Found) {
    let text = with(policies);
    for (text, pods) in [(text.clone(), vec![pod()]), (text + SLICE, Vec::new())] {
        let found = compiled(&text, pods).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        assert_eq!(found, want, "{policies:?}");
    }
}

#[test]
fn the_nearest_policy_that_says_something_decides() {
    let mesh = ("squall/default", "{mtls: {mode: PERMISSIVE}}");
    let namespace = ("shop/default", "{mtls: {mode: DISABLE}}");
    let workload = ("shop/cart", "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}");
    let port = (
        "shop/cart",
        "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {81: {mode: DISABLE}}}",
    );
    let only_port = ("shop/cart", "{selector: {matchLabels: {app: cart}}, portLevelMtls: {8080: {mode: STRICT}}}");
    check(&[], [(None, true); 2]);
    check(&[mesh], [PERMISSIVE; 2]);
    check(&[mesh, namespace], [DISABLE; 2]);
    check(&[mesh, namespace, workload], [STRICT; 2]);
    check(&[mesh, namespace, port], [STRICT, DISABLE]);
    check(&[mesh, namespace, only_port], [STRICT, DISABLE]);
    check(&[mesh, only_port], [STRICT, PERMISSIVE]);
    check(&[("bank/default", "{mtls: {mode: DISABLE}}")], [(None, true); 2]);
    // In the mesh's own namespace too, a selector is for pods of that namespace.
    check(&[("squall/x", "{selector: {matchLabels: {app: cart}}, mtls: {mode: DISABLE}}")], [(None, true); 2]);
    // What says nothing decides nothing.
    check(&[mesh, ("shop/default", "{mtls: {mode: UNSET}}")], [PERMISSIVE; 2]);
    check(&[namespace, ("shop/cart", "{selector: {matchLabels: {app: cart}}}")], [DISABLE; 2]);
    check(&[("shop/x", "{selector: {matchLabels: {app: stock}}, mtls: {mode: DISABLE}}")], [(None, true); 2]);
}

#[test]
fn a_port_that_its_service_calls_by_name_is_the_pods() {
    let text = with(&[("shop/cart", "{selector: {matchLabels: {app: cart}}, portLevelMtls: {9000: {mode: DISABLE}}}")]);
    let text = text.replace("targetPort: 8080", "targetPort: web");
    let mut pod = pod();
    pod.ports.insert("web".to_owned(), 9000);
    let resources = Resources::read(&[("shop.yaml", &text)]).expect("no mistake");
    let pods = RegistrySnapshot::new([pod]);
    let mesh = compile(&resources, &pods, &NodeInfo::from_id("shop/cart-0").expect("a node")).expect("no mistake");
    assert_eq!(mesh.inbound[&9000].peers, Some(PeerMode::Disable));
    assert!(!mesh.backends[&BackendName::new("shop", "cart", 80)].mutual_tls);
    assert!(mesh.backends[&BackendName::new("shop", "cart", 81)].mutual_tls);
}

#[track_caller]
fn refused(policies: &[(&str, &str)], more: &str, pods: Vec<Pod>, want: &str) {
    let mistakes = compiled(&(with(policies) + more), pods).expect_err("a mistake");
    let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].contains(want), "{shown:?}");
}

#[test]
fn what_cannot_be_kept_is_refused_with_its_place() {
    let one = |spec: &str, want: &str| refused(&[("shop/p", spec)], "", vec![pod()], want);
    one("{mtls: {mode: MUTUAL}}", "`MUTUAL` is not supported here");
    one("{mtls: {}}", "`mode`");
    one(
        "{portLevelMtls: {80: {mode: STRICT}}}",
        "shop.yaml:9:8: ports are those of a workload: a selector must say which",
    );
    one("{selector: {matchLabels: {}}, mtls: {mode: STRICT}}", "a selector without labels");
    let by_port = |port: &str| {
        format!("{{selector: {{matchLabels: {{app: cart}}}}, portLevelMtls: {{{port}: {{mode: STRICT}}}}}}")
    };
    one(&by_port("http"), "`http` is not a port number");
    one(&by_port("0"), "`0` is not a port number");
    one(
        &by_port("80"),
        "no Service leads to port 80 of these pods (a port of the pod is meant, 8080, not the Service's)",
    );
    one("{jwt: {}}", "`jwt` is not a field of PeerAuthentication spec");
    let whole = "{mtls: {mode: STRICT}}";
    refused(
        &[("shop/a", whole), ("shop/b", whole)],
        "",
        vec![pod()],
        "namespace `shop` has two PeerAuthentications without a selector",
    );
    let cart = "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}";
    let mistakes = compiled(&with(&[("shop/a", cart), ("shop/b", cart)]), vec![pod()]).expect_err("two");
    assert!(mistakes[0].message.contains("two PeerAuthentications"), "{mistakes:?}");
}

#[test]
fn a_policy_for_some_pods_of_a_service_may_not_decide_what_its_clients_do() {
    let some = |mode| format!("{{selector: {{matchLabels: {{version: v1}}}}, mtls: {{mode: {mode}}}}}");
    refused(&[("shop/p", &some("DISABLE"))], "", vec![pod()], "it may be for some pods of Service `cart` only");
    // Clients use mutual TLS with either.
    let text = with(&[("shop/p", &some("PERMISSIVE"))]);
    let found = compiled(&text, vec![pod()]).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(found, [PERMISSIVE; 2]);
    // Of slices nobody can tell.
    let mistakes = compiled(&(text + SLICE), Vec::new()).expect_err("labels are not known");
    assert!(mistakes[0].message.starts_with("whether it is for pod `cart-0` is not known"), "{mistakes:?}");
}

#[test]
fn a_traffic_policy_that_says_the_contrary_is_refused() {
    let traffic = |mode| {
        format!(
            "---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: t, namespace: shop}}\nspec: {{targetRefs: \
             [{{group: '', kind: Service, name: cart}}], tls: {{mode: {mode}}}}}\n"
        )
    };
    let by_port =
        |mode| format!("{{selector: {{matchLabels: {{app: cart}}}}, portLevelMtls: {{81: {{mode: {mode}}}}}}}");
    let wrong = "clients are to use no mutual TLS, but STRICT is the mode of port 81 of Service `cart`";
    refused(&[("shop/p", &by_port("STRICT"))], &traffic("None"), vec![pod()], wrong);
    let wrong = "clients are to use mutual TLS, but DISABLE is the mode of port 81 of Service `cart`";
    refused(&[("shop/p", &by_port("DISABLE"))], &traffic("Mutual"), vec![pod()], wrong);
    let found = compiled(&(with(&[("shop/p", &by_port("PERMISSIVE"))]) + &traffic("None")), vec![pod()]);
    assert_eq!(found.expect("both fit"), [(None, false), (Some(PeerMode::Permissive), false)]);
}
