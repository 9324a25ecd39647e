//! Ports of TCP: what the mesh says of them, and what cannot be said.

use std::time::Duration;

use squall_control::{NodeInfo, Pod, RegistrySnapshot, Resources, compile};
use squall_policy::{BackendName, Balancing, Mesh, Protocol, Speaks, StreamPolicy};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  selector: {app: db}
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd00::10']
  ports:
    - {name: tcp-db, port: 7000}
    - {name: web, port: 80, targetPort: 8080}
    - {name: admin, port: 81, appProtocol: http}
";
const ONLY_TCP: &str = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec:
  selector: {app: db}
  ports: [{port: 5432}]
";

fn policy(spec: &str) -> String {
    format!(
        "
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {{name: db, namespace: shop}}
spec:
  targetRefs: [{{group: '', kind: Service, name: db}}]
  {spec}
"
    )
}

fn mesh(text: &str) -> Mesh {
    let resources = Resources::read(&[("mesh.yaml", text)]).expect("a good mesh");
    let pod = Pod {
        name: "db-0".into(),
        namespace: "shop".into(),
        address: [10, 0, 0, 3].into(),
        labels: [("app".to_owned(), "db".to_owned())].into(),
        ports: [].into(),
        zone: String::new(),
        service_account: "db".into(),
        weight: 1,
        ready: true,
        terminating: false,
    };
    let node = NodeInfo { namespace: "shop".into(), pod: "db-0".into() };
    compile(&resources, &RegistrySnapshot::new([pod]), &node).expect("a good mesh")
}

fn refusals(text: &str) -> Vec<String> {
    match Resources::read(&[("mesh.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.into_iter().map(|mistake| mistake.message).collect(),
    }
}

#[test]
fn each_port_is_a_destination_that_says_what_it_speaks() {
    let mesh = mesh(SERVICE);
    let said: Vec<(u16, Speaks)> = mesh.destinations.iter().map(|to| (to.port, to.speaks)).collect();
    assert_eq!(said, [(7000, Speaks::Tcp), (80, Speaks::Unknown), (81, Speaks::Http)], "by their backends' names");
    let to = &mesh.destinations[0];
    assert_eq!(
        to.addresses,
        ["10.96.0.10".parse::<std::net::IpAddr>(), "fd00::10".parse()].map(|ip| ip.expect("good"))
    );
    assert_eq!(to.names.last().map(String::as_str), Some("db.shop.svc.cluster.local"));
    assert_eq!(to.stream, StreamPolicy::default());
    let treated = |port: u16| (mesh.inbound[&port].protocol, mesh.inbound[&port].detect);
    assert_eq!(treated(7000), (Protocol::Tcp, false));
    assert_eq!(treated(8080), (Protocol::Http1, true));
    assert_eq!(treated(81), (Protocol::Http1, false));
    let hosts: Vec<&str> = mesh.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(hosts, ["shop/db:80", "shop/db:81"], "no request is for a port of TCP");
    let balancing = |port| &mesh.backends[&BackendName::new("shop", "db", port)].balancing;
    assert_eq!(balancing(7000), &Balancing::LeastRequest { choices: 2 }, "least connections");
    assert_eq!(balancing(80), &Balancing::default());
}

#[test]
fn a_policy_says_how_connections_are_treated() {
    let text = "
  retries: {attempts: 5, on: [connect-failure], backoff: {base: 1ms, max: 2ms, jitter: none}}
  timeouts: {idle: 5m, stream: 1h, connect: 100ms}";
    let mesh = mesh(&format!("{ONLY_TCP}{}", policy(text)));
    let stream = mesh.destinations[0].stream;
    assert_eq!((stream.idle, stream.longest), (Some(Duration::from_secs(300)), Some(Duration::from_secs(3600))));
    assert_eq!((stream.retries, stream.backoff.last), (5, Duration::from_millis(2)));
}

#[test]
fn what_has_no_meaning_for_connections_is_refused_by_name() {
    for (spec, field) in [
        ("timeouts: {request: 1s}", "timeouts.request"),
        ("timeouts: {perTry: 1s}", "timeouts.perTry"),
        ("hedging: {}", "hedging"),
        ("clientThrottling: {}", "clientThrottling"),
        ("loadBalancing: {algorithm: Maglev, key: path}", "loadBalancing.key"),
        ("healthCheck: {path: /healthz}", "healthCheck"),
        ("limits: {inFlight: {adaptive: Gradient}}", "limits.inFlight.adaptive"),
    ] {
        let found = refusals(&format!("{ONLY_TCP}{}", policy(spec)));
        assert_eq!(found, [format!("`{field}` has no meaning for connections, and all targets speak TCP")], "{spec}");
        // Other ports of the Service obey.
        assert_eq!(refusals(&format!("{SERVICE}{}", policy(spec))), Vec::<String>::new(), "{spec}");
    }
    let route = |port: u16| {
        format!(
            "
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: db, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: db, port: {port}}}]
  rules: [{{backendRefs: [{{name: db, port: {port}}}]}}]
"
        )
    };
    let found = refusals(&format!("{SERVICE}{}", route(7000)));
    assert_eq!(found.len(), 2, "parent and backend: {found:?}");
    assert!(found.iter().all(|why| why.starts_with("Service `db` speaks TCP here")), "{found:?}");
    assert_eq!(refusals(&format!("{SERVICE}{}", route(80))), Vec::<String>::new());
}
