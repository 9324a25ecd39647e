//! AuthorizationPolicies, as the proxies get them, and what a person reads when they are wrong.

use std::collections::BTreeMap;

use squall_control::{Mistake, NodeInfo, Pod, RegistrySnapshot, Resources, compile};
use squall_policy::{Asked, Authorization};

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}, {name: http-admin, port: 81}]}
";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: squall.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {spec}\n"
    )
}

fn compiled(text: &str, pods: Vec<Pod>) -> Result<BTreeMap<u16, Authorization>, Vec<Mistake>> {
    let resources = Resources::read(&[("shop.yaml", text)])?;
    let node = NodeInfo::from_id("shop/cart-0").expect("a node");
    let mesh = compile(&resources, &RegistrySnapshot::new(pods), &node)?;
    Ok(mesh.inbound.into_iter().map(|(port, inbound)| (port, inbound.access)).collect())
}

fn pod() -> Pod {
    Pod {
        name: "cart-0".to_owned(),
        namespace: "shop".to_owned(),
        address: [10, 0, 0, 1].into(),
        labels: BTreeMap::from([("app".to_owned(), "cart".to_owned())]),
        ports: BTreeMap::new(),
        zone: String::new(),
        service_account: "cart".to_owned(),
        weight: 1,
        ready: true,
        terminating: false,
    }
}

/// Who decides about `peer` asking at `port`: `+RULE` lets it pass, `-RULE` refuses it.
#[track_caller]
fn decides(policies: &[(&str, &str)], port: u16, peer: &str, line: (&str, &str), want: &str) {
    let text = policies.iter().fold(SHOP.to_owned(), |text, (name, spec)| text + &policy(name, spec));
    let access = compiled(&text, vec![pod()]).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let peer = format!("spiffe://cluster.local/ns/{peer}");
    let found = access[&port].decide(Asked { peer: Some(&peer), http: Some(line) });
    let found = format!("{}{}", if found.allowed { '+' } else { '-' }, found.by.unwrap_or(""));
    assert_eq!(found, want, "{policies:?} {port} {peer} {line:?}");
}

#[test]
fn policies_decide_for_the_pods_and_ports_that_they_name() {
    let get = ("GET", "/cart/1");
    let web = (
        "web",
        "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {methods: [GET]}}]}]}",
    );
    decides(&[], 80, "shop/sa/bot", get, "+");
    decides(&[("default-deny", "{}")], 80, "shop/sa/web", get, "-");
    decides(&[("default-deny", "{}"), web], 80, "shop/sa/web", get, "+shop/web rule 0");
    decides(&[("default-deny", "{}"), web], 80, "shop/sa/bot", get, "-");
    decides(&[web], 80, "shop/sa/web", ("POST", "/"), "-");
    let other = ("other", "{selector: {matchLabels: {app: stock}}, rules: [{}]}");
    decides(&[other], 80, "shop/sa/bot", get, "+");
    let ours = (
        "ours",
        "{selector: {matchLabels: {app: cart}}, action: DENY, rules: [{from: [{source: {notNamespaces: [shop]}}]}]}",
    );
    decides(&[ours], 80, "bank/sa/web", get, "-shop/ours rule 0");
    decides(&[ours], 80, "shop/sa/web", get, "+");
    let admin = (
        "admin",
        "{targetRefs: [{group: '', kind: Service, name: cart}], action: DENY, rules: [{to: [{operation: {ports: [81]}}]}]}",
    );
    decides(&[admin, web], 81, "shop/sa/web", get, "-shop/admin rule 0");
    decides(&[admin, web], 80, "shop/sa/web", get, "+shop/web rule 0");
    let paths = ("paths", "{action: DENY, rules: [{to: [{operation: {paths: ['/cart/*'], notMethods: [GET]}}]}]}");
    decides(&[paths], 80, "shop/sa/web", ("PUT", "/cart/1"), "-shop/paths rule 0");
    decides(&[paths], 80, "shop/sa/web", get, "+");
}

#[track_caller]
fn refused(spec: &str, want: &str) {
    let mistakes = compiled(&(SHOP.to_owned() + &policy("p", spec)), vec![pod()]).expect_err(spec);
    let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(found, [want], "{spec}");
}

#[test]
fn what_would_not_protect_is_refused() {
    refused("{action: DENY}", "a policy that names nothing has no effect, unless it is an ALLOW");
    refused("{rules: []}", "an empty list names nothing: leave it out to mean all");
    refused("{rules: [{when: [{key: a}]}]}", "`when` is not a field of rule");
    let source = |source: &str| format!("{{rules: [{{from: [{{source: {source}}}]}}]}}");
    refused(&source("{ipBlocks: [10.0.0.0/8]}"), "`ipBlocks` is not a field of source");
    refused(
        &source("{principals: ['spiffe://cluster.local/ns/shop/sa/web']}"),
        "an identity is written without `spiffe://`, as in Istio",
    );
    refused(&source("{namespaces: [a*b]}"), "`a*b` may have one `*`, at its beginning or end");
    refused("{rules: [{to: [{operation: {paths: [admin]}}]}]}", "a path begins with `/` or `*`");
    refused(
        "{targetRefs: [{group: '', kind: Service, name: card}]}",
        "targetRef refers to `card`, which is not a Service in namespace `shop`",
    );
}

#[test]
fn a_selector_that_nobody_can_look_at_is_refused() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: c, namespace: shop, labels: \
                 {kubernetes.io/service-name: cart}}\naddressType: IPv4\nports: [{name: http, port: 80}]\nendpoints:\n  \
                 - {addresses: [10.0.0.1], targetRef: {kind: Pod, name: cart-0}}\n";
    let by_label = policy("p", "{selector: {matchLabels: {app: cart}}}");
    let mistakes = compiled(&format!("{SHOP}{slice}{by_label}"), Vec::new()).expect_err("labels are not known");
    assert!(mistakes[0].message.starts_with("whether it is for pod `cart-0` is not known"), "{mistakes:?}");
}
