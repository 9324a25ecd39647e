//! What resources and pods become.

use std::collections::BTreeMap;
use std::time::Duration;

use squall_control::{NodeInfo, Pod, RegistrySnapshot, Resources, compile, coverage};
use squall_policy::{
    BackendName, Balancing, BreakerConfig, Budget, HeaderChange, Jitter, Mesh, PathMatch, Protocol, RetryOn, Route,
};

const SHOP: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: shop}
spec: {selector: {app: catalog}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: catalog-v1, namespace: shop}
spec: {selector: {app: catalog, version: v1}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: catalog-v2, namespace: shop}
spec: {selector: {app: catalog, version: v2}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: rates, namespace: money}
spec: {selector: {app: rates}, ports: [{name: grpc, port: 9000}, {name: admin, port: 9001}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: catalog, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: catalog, port: 80}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /}}]
      timeouts: {request: 1s, backendRequest: 250ms}
      backendRefs: [{name: catalog-v1, port: 80, weight: 95}, {name: catalog-v2, port: 80, weight: 5}]
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: catalog, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: catalog}]
  loadBalancing: {algorithm: PeakEwma, decay: 5s}
  retries:
    attempts: 2
    on: [connect-failure, reset, "503"]
    backoff: {base: 25ms, max: 250ms, jitter: equal}
    budget: {percent: 10, minPerSecond: 5, window: 10s}
  circuitBreaker: {consecutiveFailures: 7, open: {min: 1s, max: 60s, jitter: 50%}, probes: 1}
  limits: {inFlight: 100, pending: 25}
  inbound: {inFlight: 8, pending: 16}
"#;

fn pod(namespace: &str, name: &str, last: u8, labels: &[(&str, &str)]) -> Pod {
    Pod {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        address: [10, 0, 0, last].into(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ports: BTreeMap::from([("web".to_owned(), 8080)]),
        zone: "a".to_owned(),
        service_account: labels[0].1.to_owned(),
        weight: 1,
        ready: true,
        terminating: false,
    }
}

fn pods() -> Vec<Pod> {
    vec![
        pod("shop", "catalog-v1-0", 3, &[("app", "catalog"), ("version", "v1")]),
        pod("shop", "catalog-v1-1", 2, &[("app", "catalog"), ("version", "v1")]),
        pod("shop", "catalog-v2-0", 4, &[("app", "catalog"), ("version", "v2")]),
        pod("money", "rates-0", 5, &[("app", "rates")]),
    ]
}

fn resources(text: &str) -> Resources {
    Resources::read(&[("shop.yaml", text)]).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

#[track_caller]
fn mesh(text: &str, pods: Vec<Pod>, node: &str) -> Mesh {
    let node = NodeInfo::from_id(node).expect("a node");
    compile(&resources(text), &RegistrySnapshot::new(pods), &node).expect("it compiles")
}

fn domains<'m>(mesh: &'m Mesh, host: &str) -> Vec<&'m str> {
    let host = mesh.hosts.iter().find(|found| found.name == host).expect("the host");
    host.domains.iter().map(String::as_str).collect()
}

#[test]
fn a_service_is_reached_by_its_cluster_ip_too() {
    let service = |ip: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: '{ip}', ports: [{{port: 8080}}]}}\n"
        )
    };
    let of = |ip: &str| {
        let mesh = mesh(&service(ip), Vec::new(), "other/x");
        mesh.hosts[0].domains.iter().filter(|domain| !domain.starts_with("web")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("10.0.0.1"), ["10.0.0.1", "10.0.0.1:8080"]);
    assert_eq!(of("fd00::1"), ["[fd00::1]", "[fd00::1]:8080"]);
    assert_eq!(of("None"), [""; 0]);
}

/// A route of `catalog` with these rules.
fn routed(rules: &str) -> Vec<Route> {
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n";
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web}\nspec:\n  \
                 parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n";
    let mesh = mesh(&format!("{service}{route}{rules}"), Vec::new(), "default/x");
    mesh.hosts.into_iter().next().expect("one host").routes
}

#[test]
fn the_policy_of_a_service_holds_for_it_and_for_the_backends_behind_its_routes() {
    let mesh = mesh(SHOP, pods(), "shop/catalog-v1-0");
    for name in ["catalog", "catalog-v1", "catalog-v2"] {
        let policy = &mesh.backends[&BackendName::new("shop", name, 80)];
        assert_eq!(policy.limits.in_flight, 100, "{name}");
        assert_eq!(policy.breaker, Some(BreakerConfig::default()), "{name}");
        assert_eq!(
            policy.budget,
            Some(Budget { percent: 10, min_per_second: 5, window: Duration::from_secs(10) }),
            "{name}"
        );
        let decay = Duration::from_secs(5);
        let default_rtt = Duration::from_millis(30);
        assert_eq!(policy.balancing, Balancing::PeakEwma { decay, default_rtt, choices: 2 }, "{name}");
    }
    let rates = &mesh.backends[&BackendName::new("money", "rates", 9000)];
    assert_eq!((rates.breaker, rates.limits.in_flight, rates.mutual_tls), (None, 1024, true));
}

#[test]
fn a_route_has_its_own_time_limits_and_the_retries_of_the_policy() {
    let mesh = mesh(SHOP, pods(), "shop/catalog-v1-0");
    let host = mesh.hosts.iter().find(|host| host.name == "shop/catalog:80").expect("the host");
    let [route] = &host.routes[..] else { panic!("one route") };
    assert_eq!(&*route.name, "shop/catalog rule 0");
    assert_eq!(route.timeouts.request, Some(Duration::from_secs(1)));
    assert_eq!(route.timeouts.per_try, Some(Duration::from_millis(250)));
    let retry = route.retry.as_ref().expect("retried");
    assert_eq!((retry.retries, retry.backoff.jitter), (2, Jitter::Equal));
    assert_eq!(retry.on, [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Status(503)]);
    let weights: Vec<(&str, u32)> = route.backends.iter().map(|b| (b.backend.as_str(), b.weight)).collect();
    assert_eq!(weights, [("shop/catalog-v1:80", 95), ("shop/catalog-v2:80", 5)]);
}

#[test]
fn short_names_are_for_the_own_namespace_and_bare_names_for_port_80_or_the_only_one() {
    let shop = mesh(SHOP, pods(), "shop/catalog-v1-0");
    assert_eq!(
        domains(&shop, "shop/catalog:80"),
        [
            "catalog",
            "catalog.shop",
            "catalog.shop.svc",
            "catalog.shop.svc.cluster.local",
            "catalog:80",
            "catalog.shop:80",
            "catalog.shop.svc:80",
            "catalog.shop.svc.cluster.local:80",
        ]
    );
    assert_eq!(
        domains(&shop, "money/rates:9000"),
        ["rates.money:9000", "rates.money.svc:9000", "rates.money.svc.cluster.local:9000"]
    );
    let money = mesh(SHOP, pods(), "money/rates-0");
    assert!(domains(&money, "money/rates:9001").contains(&"rates:9001"));
    assert!(!domains(&money, "shop/catalog:80").contains(&"catalog"));
}

#[test]
fn services_select_ready_pods_by_labels_in_the_order_of_their_addresses() {
    let mut pods = pods();
    let all = |pods: &[Pod]| {
        let mesh = mesh(SHOP, pods.to_vec(), "shop/x");
        let found = mesh.endpoints.get(&BackendName::new("shop", "catalog", 80)).cloned().unwrap_or_default();
        let found = found
            .iter()
            .map(|e| format!("{} {} {}{}", e.name, e.address, e.identity, if e.draining { " draining" } else { "" }));
        found.collect::<Vec<_>>()
    };
    let id = "spiffe://cluster.local/ns/shop/sa/catalog";
    assert_eq!(
        all(&pods),
        [
            format!("catalog-v1-1 10.0.0.2:8080 {id}"),
            format!("catalog-v1-0 10.0.0.3:8080 {id}"),
            format!("catalog-v2-0 10.0.0.4:8080 {id}"),
        ]
    );
    pods[0].ready = false;
    pods[1].terminating = true;
    assert_eq!(
        all(&pods),
        [format!("catalog-v1-1 10.0.0.2:8080 {id} draining"), format!("catalog-v2-0 10.0.0.4:8080 {id}")]
    );
    assert_eq!(all(&[]), [""; 0]);
}

#[test]
fn endpoint_slices_go_before_selectors() {
    let slice = r#"
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: catalog-abc, namespace: shop, labels: {kubernetes.io/service-name: catalog}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
  - {addresses: [10.0.0.4], zone: b, targetRef: {kind: Pod, name: catalog-v2-0}}
  - {addresses: [10.0.0.9], conditions: {ready: false}}
  - {addresses: [10.0.0.8], conditions: {ready: false, serving: true, terminating: true}}
"#;
    let mesh = mesh(&format!("{SHOP}{slice}"), pods(), "shop/x");
    let found: Vec<String> = mesh.endpoints[&BackendName::new("shop", "catalog", 80)]
        .iter()
        .map(|e| format!("{} {} {} {}", e.name, e.zone, e.identity.rsplit('/').next().unwrap_or(""), e.draining))
        .collect();
    assert_eq!(found, ["catalog-v2-0 b catalog false", "10.0.0.8:8080  default true"]);
}

#[test]
fn endpoints_weigh_what_their_slice_says_or_else_their_pod() {
    let heavy: Vec<Pod> = pods().into_iter().map(|pod| Pod { weight: 7, ..pod }).collect();
    let weights = |text: &str| -> Vec<u32> {
        let mesh = mesh(text, heavy.clone(), "shop/x");
        mesh.endpoints[&BackendName::new("shop", "catalog", 80)].iter().map(|endpoint| endpoint.weight).collect()
    };
    assert!(!weights(SHOP).is_empty() && weights(SHOP).iter().all(|weight| *weight == 7));
    let slice = |annotation: &str| {
        format!(
            "{}---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: c, namespace: shop, labels: \
             {{kubernetes.io/service-name: catalog}}{annotation}}}\naddressType: IPv4\nports: [{{port: 8080}}]\nendpoints:\n  \
             - {{addresses: [10.0.0.4], targetRef: {{kind: Pod, name: catalog-v2-0}}}}\n  - {{addresses: [10.0.0.9]}}\n",
            SHOP.replace("{algorithm: PeakEwma, decay: 5s}", "{algorithm: RoundRobin}"),
        )
    };
    assert_eq!(weights(&slice("")), [7, 1]);
    assert_eq!(weights(&slice(", annotations: {squall.dev/weight: '3'}")), [3, 3]);
}

#[test]
fn where_no_registry_knows_the_pods_slices_say_who_they_are_and_where_they_listen() {
    let slice = r#"
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: catalog-abc
  namespace: shop
  labels: {kubernetes.io/service-name: catalog}
  annotations: {squall.dev/service-account: books}
addressType: IPv4
ports: [{port: 15006}]
endpoints:
  - {addresses: [127.0.0.1], targetRef: {kind: Pod, name: catalog-0}}
"#;
    let text = format!("{SHOP}{slice}");
    let of = |node| mesh(&text, Vec::new(), node);
    let endpoints = &of("shop/x").endpoints[&BackendName::new("shop", "catalog", 80)];
    assert_eq!(endpoints[0].identity.as_ref(), "spiffe://cluster.local/ns/shop/sa/books");
    let inbound = of("shop/catalog-0").inbound;
    assert_eq!(inbound.keys().collect::<Vec<_>>(), [&15006], "the port of the slice, not the Service's targetPort");
    assert_eq!(inbound[&15006].limits.in_flight, 8, "with the limits of the Service's policy");
    assert_eq!(of("shop/catalog-1").inbound.len(), 0, "a pod that no slice names");
}

#[test]
fn inbound_limits_are_those_of_the_pods_services() {
    let catalog = mesh(SHOP, pods(), "shop/catalog-v1-0");
    assert_eq!(catalog.inbound.keys().collect::<Vec<_>>(), [&8080]);
    assert_eq!((catalog.inbound[&8080].limits.in_flight, catalog.inbound[&8080].limits.pending), (8, 16));
    let rates = mesh(SHOP, pods(), "money/rates-0");
    assert_eq!((rates.inbound[&9000].protocol, rates.inbound[&9001].protocol), (Protocol::Http2, Protocol::Http1));
    assert_eq!(mesh(SHOP, pods(), "shop/load").inbound.len(), 0);
}

#[test]
fn two_services_that_want_different_things_of_a_port_are_refused() {
    let text = format!(
        "{SHOP}---\napiVersion: v1\nkind: Service\nmetadata: {{name: other, namespace: shop}}\n\
         spec: {{selector: {{app: catalog}}, ports: [{{port: 81, targetPort: 8080, appProtocol: grpc}}]}}\n"
    );
    let node = NodeInfo::from_id("shop/catalog-v1-0").expect("a node");
    let mistakes = compile(&resources(&text), &RegistrySnapshot::new(pods()), &node).expect_err("two protocols");
    let messages: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(messages, ["port 8080 of pod `shop/catalog-v1-0` cannot speak two protocols"]);
}

#[test]
fn a_service_without_pods_and_a_pod_without_service_are_named() {
    let mut pods = pods();
    pods.remove(3);
    pods.push(pod("shop", "stray-0", 9, &[("app", "stray")]));
    let found = coverage(&resources(SHOP), &RegistrySnapshot::new(pods));
    let unserved: Vec<&str> = found.unserved.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(unserved, ["Service `rates` selects no workload"]);
    assert_eq!(found.unselected, ["shop/stray-0"]);
}

#[test]
fn rules_stand_in_the_gateway_apis_order_of_precedence() {
    let back = "backendRefs: [{name: web, port: 80}]";
    let rules = format!(
        "    - {{{back}}}\n\
         \x20   - {{matches: [{{path: {{value: /a}}}}], {back}}}\n\
         \x20   - {{matches: [{{path: {{value: /a/b/}}}}], {back}}}\n\
         \x20   - {{matches: [{{path: {{type: Exact, value: /}}}}], {back}}}\n\
         \x20   - {{matches: [{{path: {{value: /a}}, headers: [{{name: X, value: '1'}}]}}, {{method: GET}}], {back}}}\n\
         \x20   - {{matches: [{{path: {{value: /a}}, queryParams: [{{name: q, value: '1'}}]}}], {back}}}\n\
         \x20   - {{matches: [{{path: {{value: /a}}, method: POST}}], {back}}}\n"
    );
    let order: Vec<String> = routed(&rules)
        .iter()
        .map(|route| {
            let path = match &route.matches.path {
                PathMatch::Exact(path) => format!("={path}"),
                PathMatch::Prefix(path) => path.clone(),
            };
            let rule = route.name.rsplit(' ').next().unwrap_or_default().to_owned();
            format!("{rule} {path}")
        })
        .collect();
    assert_eq!(order, ["3 =/", "2 /a/b", "6 /a", "4 /a", "5 /a", "1 /a", "4 /", "0 /"]);
}

#[test]
fn filters_and_retries_of_a_rule_are_honoured() {
    let rules = "    - filters:\n\
        \x20       - {type: RequestHeaderModifier, requestHeaderModifier: {add: [{name: X-A, value: '1'}], set: [{name: b, value: '2'}], remove: [C]}}\n\
        \x20     retry: {codes: [503, 500], attempts: 3, backoff: 100ms}\n\
        \x20     timeouts: {request: 0s}\n";
    let [route] = &routed(rules)[..] else { panic!("one route") };
    assert_eq!(
        route.request_headers,
        [
            HeaderChange::Remove { name: "c".to_owned() },
            HeaderChange::Set { name: "b".to_owned(), value: "2".to_owned() },
            HeaderChange::Add { name: "x-a".to_owned(), value: "1".to_owned() },
        ]
    );
    let retry = route.retry.as_ref().expect("retried");
    assert_eq!(
        (retry.retries, retry.backoff.first, retry.backoff.last),
        (3, Duration::from_millis(100), Duration::from_secs(1))
    );
    assert!(retry.on.contains(&RetryOn::Status(500)) && retry.on.contains(&RetryOn::PerTryTimeout));
    assert_eq!((route.timeouts.request, route.backends.len()), (None, 0), "no backend: answered with 500");
}

#[test]
fn what_is_compiled_can_be_said_on_the_wire() {
    for node in ["shop/catalog-v1-0", "money/rates-0", "shop/load"] {
        let mesh = mesh(SHOP, pods(), node);
        assert_eq!(squall_xds::decode(&squall_xds::encode(&mesh)), Ok(mesh));
    }
}
