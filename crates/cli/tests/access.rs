//! Who may ask for what, from the file of an AuthorizationPolicy to a refusal: control plane, xDS and sidecars as processes.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;

use http::Method;
use stage::{App, Process, control, directory, get, member, port_of, service, slice, status, try_get, write};

const POLICIES: &str = "\
---
apiVersion: squall.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: stock}]
  action: ALLOW
  rules:
    - from: [{source: {principals: [cluster.local/ns/shop/sa/web], notNamespaces: [bots]}}]
      to: [{operation: {methods: [GET], notPaths: [/internal*]}}, {operation: {paths: [/open/*]}}]
---
apiVersion: squall.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec: {targetRefs: [{kind: Service, name: stock}], action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]}
---
apiVersion: squall.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: watched, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: stock}]
  action: AUDIT
  rules: [{to: [{operation: {methods: [GET], paths: [/items]}}]}]
---
apiVersion: squall.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: db, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: db}]
  rules: [{from: [{source: {principals: ['*/sa/web']}}]}, {to: [{operation: {methods: [GET]}}]}]
";

#[test]
fn a_policy_holds_from_its_file_to_the_application() {
    let dir = directory("access");
    let (app, bytes) = (App::start(), App::start());
    write(
        &dir.join("mesh/services.yaml"),
        &(service("stock", "port: 80, appProtocol: http") + &service("db", "port: 5432, appProtocol: tcp") + POLICIES),
    );
    let names = ["web", "bot", "stock"];
    let tokens: String = names.iter().map(|name| format!("0123456789abcdef-{name} shop/{name}\n")).collect();
    write(&dir.join("tokens"), &tokens);
    for name in names {
        write(&dir.join(format!("{name}.token")), &format!("0123456789abcdef-{name}\n"));
    }
    let mut plane = Process::start("control", &control(&dir, "127.0.0.1:0", &[]));
    let plane_at = plane.line("the control plane listens").text("at");
    let inbound = format!("127.0.0.1:0={}", app.address);
    let sidecar = |name: &str, more: &[&str]| {
        let pod = format!("{name}-0");
        let own = ["--pod", &pod, "--outbound", "127.0.0.1:0", "--access-log", "json"];
        Process::start("proxy", &member(&dir, &plane_at, name, &[&own[..], more].concat()))
    };
    // The second is only bytes to its sidecar.
    let of_bytes = format!("127.0.0.1:0={}", bytes.address);
    let mut stock = sidecar("stock", &["--inbound", &inbound, "--inbound", &of_bytes]);
    let listens = stock.line("the proxy listens");
    let (ports, admin) = (listens.text("inbound"), listens.text("admin"));
    let ports: Vec<u16> = ports.split(' ').map(port_of).collect();
    // Addresses at which nobody else listens: where these listen is not told.
    let id = std::process::id();
    let [tcp_of_web, tcp_of_bot] = [5, 6].map(|n| format!("127.{}.{}.{n}:5432", 64 + (id >> 8) % 128, id % 256));
    let tcp = [&tcp_of_web, &tcp_of_bot].map(|at| format!("{at}=shop/db:5432"));
    let mut web = sidecar("web", &["--outbound-tcp", &tcp[0]]);
    let mut bot = sidecar("bot", &["--outbound-tcp", &tcp[1]]);
    let slices = slice("stock", "stock", "stock-0", ports[0]) + &slice("db", "stock", "stock-0", ports[1]);
    write(&dir.join("mesh/slices.yaml"), &slices);
    let listens = [&mut web, &mut bot].map(|process| process.line("the proxy listens"));
    let [of_web, of_bot] = listens.map(|line| line.text("outbound"));
    for process in [&mut web, &mut bot, &mut stock] {
        process.line("the proxy is ready");
    }
    // Nobody who follows the mesh knows the ports before all of it has come.
    while get(&of_web, "stock", "/items").status != 200 {}
    for (at, method, path, want) in [
        (&of_web, Method::GET, "/items", 200),
        (&of_web, Method::HEAD, "/items", 403),
        (&of_web, Method::POST, "/items", 403),
        (&of_web, Method::POST, "/open/box", 200),
        (&of_web, Method::GET, "/internal/x", 403),
        (&of_web, Method::GET, "/admin", 403),
        (&of_web, Method::GET, "/x/..%2f%61dmin", 403),
    ] {
        assert_eq!(status(&method, at, "stock", path), want, "{method} {path}");
    }
    while get(&of_bot, "stock", "/items").header("squall-reason") != "rbac-denied" {}
    // By who it is and nothing else: a rule about methods lets no bytes in.
    while try_get(&tcp_of_web, "db", "/").is_none_or(|answer| answer.status != 200) {}
    assert!(try_get(&tcp_of_bot, "db", "/").is_none());
    let metrics = get(&admin, "x", "/metrics").body;
    for rule in [
        "squall_access_total{rule=\"shop/no-admin rule 0\",effect=\"denied\"} 2\n",
        "squall_access_total{rule=\"shop/watched rule 0\",effect=\"audited\"}",
    ] {
        assert!(metrics.contains(rule), "no {rule} in {metrics}");
    }
    assert!(try_get(&format!("127.0.0.1:{}", ports[0]), "stock", "/items").is_none(), "nobody without an identity");
}
