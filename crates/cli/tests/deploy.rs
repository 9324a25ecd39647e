//! The mesh as processes: `squall control` and `squall proxy` on loopback, with ports that the kernel gives. Nothing sleeps:
//! every step waits for a line of a log, or for an answer.

#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use squall_control::Authority;
use squall_net::pem;
use squall_net::tcp::Tcp;
use squall_net::tls::KeyAlgorithm;
use stage::{App, Process, control, directory, get, member, port_of, post, send, service, slice, write};

/// A route that sets a header on every answer of `stock`.
fn route(value: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: stock, namespace: shop}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: stock}}]\n  rules:\n    - filters: [{{type: ResponseHeaderModifier, \
         responseHeaderModifier: {{set: [{{name: x-shop, value: {value}}}]}}}}]\n      backendRefs: [{{name: stock, port: 80}}]\n"
    )
}

/// Who asks, and who is asked.
fn services() -> String {
    service("front", "port: 80") + &service("stock", "port: 80")
}

const FRONT: &str = "spiffe://cluster.local/ns/shop/sa/front";

#[test]
fn a_mesh_of_processes_serves_changes_and_outlives_its_control_plane() {
    let dir = directory("deploy-mesh");
    let app = App::start();
    write(&dir.join("mesh/services.yaml"), &services());
    write(&dir.join("tokens"), "0123456789abcdef0 shop/front\n0123456789abcdef1 shop/stock # ours\n");
    write(&dir.join("front.token"), "0123456789abcdef0\n");
    write(&dir.join("stock.token"), "0123456789abcdef1\n");
    let mut plane = Process::start("control", &control(&dir, "127.0.0.1:0", &[]));
    let plane_admin = plane.line("the admin pages are served").text("at");
    let plane_at = plane.line("the control plane listens").text("at");

    // Two sidecars; where stock's listens is known only now, and is told through the directory.
    let inbound = format!("127.0.0.1:0={}", app.address);
    let sidecar = |name: &str, more: &[&str]| {
        let pod = format!("{name}-0");
        let own = ["--pod", &pod, "--outbound", "127.0.0.1:0", "--access-log", "json"];
        Process::start("proxy", &member(&dir, &plane_at, name, &[&own[..], more].concat()))
    };
    let (mut front, mut stock) = (sidecar("front", &[]), sidecar("stock", &["--inbound", &inbound]));
    let listens = stock.line("the proxy listens");
    let stock_port = port_of(&listens.text("inbound"));
    let stock_admin = listens.text("admin");
    let listens = front.line("the proxy listens");
    let (outbound, front_admin) = (listens.text("outbound"), listens.text("admin"));
    front.line("the proxy is ready");
    stock.line("the proxy is ready");
    assert_eq!(get(&outbound, "stock", "/").status, 503, "nobody serves stock yet");
    write(&dir.join("mesh/slices.yaml"), &slice("stock", "stock", "stock-0", stock_port));
    front.line("a mesh is in force");
    stock.line("a mesh is in force");

    // Through both sidecars. The application sees who called, as his certificate proved.
    let mut answer = get(&outbound, "stock", "/items");
    while answer.header("squall-reason") == "unknown-port" {
        // The endpoints have come to both, and the port to serve not yet.
        assert_eq!(answer.status, 503, "{answer:?}");
        stock.line("a mesh is in force");
        answer = get(&outbound, "stock", "/items");
    }
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.line("path"), "/items");
    assert!(answer.line("x-forwarded-client-cert").contains(FRONT), "{answer:?}");
    let logged = stock.access_log();
    assert_eq!((logged["side"].as_str(), logged["path"].as_str()), (Some("inbound"), Some("/items")), "{logged}");
    assert_eq!(logged["peer"].as_str(), Some(FRONT), "{logged}");
    assert!(stage::try_get(&format!("127.0.0.1:{stock_port}"), "stock", "/").is_none(), "plain text gets no answer");
    assert_eq!(get(&outbound, "stok", "/").status, 404);

    // A policy change takes effect.
    write(&dir.join("mesh/route.yaml"), &route("open"));
    front.line("a mesh is in force");
    assert_eq!(get(&outbound, "stock", "/").header("x-shop"), "open");

    // Half a file, then a file that refers to nothing: shown with their places, and the last good mesh stays.
    plane.line("the files are in force");
    let whole = route("closed");
    write(&dir.join("mesh/route.yaml"), &whole[..whole.len() - 20]);
    plane.line("the files are refused");
    assert_eq!(get(&outbound, "stock", "/").header("x-shop"), "open");
    write(&dir.join("mesh/route.yaml"), &whole.replace("name: stock, port", "name: stok, port"));
    let shown = plane.line("backendRef refers to `stok`");
    assert!(shown.text("place").ends_with("mesh/route.yaml:8:28"), "{shown:?}");
    assert_eq!(shown.text("help"), "did you mean `stock`?");
    plane.line("the files are refused");
    assert_eq!(get(&outbound, "stock", "/").header("x-shop"), "open");
    assert!(get(&plane_admin, "x", "/metrics").body.contains("\nsquall_control_mistakes 1\n"));
    write(&dir.join("mesh/route.yaml"), &whole);
    front.line("a mesh is in force");
    assert_eq!(get(&outbound, "stock", "/").header("x-shop"), "closed");

    // The control plane dies: traffic goes on.
    plane.kill();
    front.line("no control plane");
    stock.line("no control plane");
    for _ in 0..20 {
        assert_eq!(get(&outbound, "stock", "/").status, 200);
    }
    assert_eq!(get(&front_admin, "x", "/ready").status, 200);
    let metrics = get(&front_admin, "x", "/metrics").body;
    assert!(metrics.contains("\nsquall_control_connected 0\n"), "{metrics}");
    assert!(
        metrics.contains("squall_requests_total{side=\"outbound\",route=\"shop/stock rule 0\",backend=\"shop/stock:80\",status=\"200\""),
        "{metrics}"
    );

    // It comes back with the root it kept, and proxies find it.
    let mut plane = Process::start("control", &control(&dir, &plane_at, &[]));
    plane.line("the control plane listens");
    front.line("the control plane answers");
    stock.line("the control plane answers");
    write(&dir.join("mesh/route.yaml"), &route("again"));
    front.line("a mesh is in force");
    assert_eq!(get(&outbound, "stock", "/").header("x-shop"), "again");
    let clusters = get(&front_admin, "x", "/clusters").body;
    assert!(clusters.contains("\"name\":\"shop/stock:80\"") && clusters.contains("\"ejected\":false"), "{clusters}");

    // SIGTERM drains: the request in flight ends well, then the process does.
    let slow = app.hold(&outbound);
    stock.terminate();
    stock.line("the proxy drains");
    assert_eq!(get(&stock_admin, "x", "/ready").status, 503);
    app.release();
    assert_eq!(slow.join().expect("no panic").status, 200);
    assert_eq!(stock.ends(), Some(0));
    assert_eq!(get(&outbound, "stock", "/").status, 503, "nobody serves stock any more");
    front.terminate();
    assert_eq!(front.ends(), Some(0));
    plane.terminate();
    assert_eq!(plane.ends(), Some(0));
}

#[test]
fn a_proxy_runs_from_a_mesh_file_on_several_workers_and_drains_when_asked_by_its_admin() {
    let dir = directory("deploy-static");
    let app = App::start();
    let mesh = dir.join("mesh.yaml");
    let text = |port| services() + &slice("stock", "stock", "stock-0", port);
    write(&mesh, &text(1));
    let mesh_name = mesh.to_str().expect("UTF-8");
    let inbound = format!("127.0.0.1:0={}", app.address);
    let args = ["--mesh", mesh_name, "--plaintext", "--service-account", "shop/stock", "--pod", "stock-0"];
    let more = ["--outbound", "127.0.0.1:0", "--inbound", &inbound, "--admin", "127.0.0.1:0", "--workers", "3"];
    let mut proxy = Process::start("proxy", &[&args[..], &more].concat());
    let listens = proxy.line("the proxy listens");
    let (outbound, admin) = (listens.text("outbound"), listens.text("admin"));
    let port = port_of(&listens.text("inbound"));
    proxy.line("the proxy is ready");
    assert_eq!(get(&outbound, "stock", "/").status, 503, "the mesh file leads to a port where nobody listens");
    write(&mesh, &text(port));
    proxy.line("the mesh files are in force");
    // Out of this proxy and in again, whichever worker takes it.
    for _ in 0..32 {
        let answer = get(&outbound, "stock", "/");
        assert_eq!((answer.status, answer.line("path")), (200, "/".to_owned()), "{answer:?}");
    }
    write(&mesh, "kind: Nothing\n");
    proxy.line("the mesh files are refused");
    assert_eq!(get(&outbound, "stock", "/").status, 200, "the last good mesh stays");
    assert_eq!(get(&admin, "x", "/drain").status, 405, "nobody drains it by looking");
    assert_eq!(get(&admin, "x", "/nothing").status, 404);
    assert_eq!(post(&admin, "/drain").status, 200);
    proxy.line("the proxy drains");
    assert_eq!(proxy.ends(), Some(0));
}

#[test]
fn what_is_in_the_log_is_changed_while_the_process_runs_and_nonsense_is_refused() {
    let dir = directory("deploy-log-level");
    let at = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    write(&dir.join("mesh/a.yaml"), &services());
    write(&dir.join("tokens"), "");
    let mesh = at("mesh");
    let args = ["--mesh", &mesh, "--plaintext", "--service-account", "shop/front", "--outbound", "127.0.0.1:0"];
    let mut proxy = Process::start("proxy", &[&args[..], &["--admin", "127.0.0.1:0"]].concat());
    let proxy_admin = proxy.line("the proxy listens").text("admin");
    let mut control = Process::start("control", &control(&dir, "127.0.0.1:0", &[]));
    let control_admin = control.line("the admin pages are served").text("at");
    for (process, admin) in [(&mut proxy, &proxy_admin), (&mut control, &control_admin)] {
        assert_eq!(get(admin, "x", "/log-level").body, "info\n");
        let answer = send(Method::POST, admin, "/log-level", "squall_net=debug,info");
        assert_eq!((answer.status, answer.body.as_str()), (200, "squall_net=debug,info\n"));
        assert_eq!(get(admin, "x", "/log-level").body, "squall_net=debug,info\n");
        assert_eq!(process.line("what is in the log was changed").text("filter"), "squall_net=debug,info");
        // More of a request line than is taken: of interest to who debugs only.
        assert!(
            stage::try_get(admin, "x", &format!("/{}", "x".repeat(20_000))).is_none_or(|answer| answer.status >= 400)
        );
        assert_eq!(process.line("an admin connection ended").text("level"), "DEBUG");

        // The info line that tells of `warn` is not said any more; the next that is said tells of `info`.
        assert_eq!(send(Method::PUT, admin, "/log-level", "warn\n").status, 200);
        for (words, want) in
            [("wran", "did you mean `warn`?"), ("", "nothing was said"), ("squall_prxy=off", "`squall_proxy`")]
        {
            let answer = send(Method::PUT, admin, "/log-level", words);
            assert!(answer.status == 400 && answer.body.contains(want), "{words}: {answer:?}");
        }
        assert_eq!(send(Method::PUT, admin, "/log-level", &"x".repeat(5_000)).status, 413);
        assert_eq!(send(Method::DELETE, admin, "/log-level", "").status, 405);
        assert_eq!(get(admin, "x", "/log-level").body, "warn\n", "what was refused changed nothing");
        assert_eq!(send(Method::PUT, admin, "/log-level", "info").status, 200);
        assert_eq!(process.line("what is in the log was changed").text("filter"), "info");
    }
}

#[test]
fn certificates_from_files_prove_who_is_who_without_a_control_plane() {
    let dir = directory("deploy-files");
    let at = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let host = Tcp::host();
    let wall = Arc::clone(host.wall());
    let authority = Authority::new(KeyAlgorithm::P256, wall, host.rng("authority"), Duration::from_secs(3600));
    let authority = authority.expect("a root");
    write(&dir.join("root.pem"), &pem::encode("CERTIFICATE", &authority.roots()[0]));
    for name in ["front", "stock"] {
        let id = squall_control::spiffe_id("shop", name);
        let identity = authority.identity(&host, &id).expect("a certificate");
        write(&dir.join(format!("{name}.pem")), &pem::encode("CERTIFICATE", &identity.chain[0]));
        write(&dir.join(format!("{name}.key")), &pem::encode("PRIVATE KEY", identity.key.as_pkcs8()));
    }
    let app = App::start();
    let (mesh, trust) = (dir.join("mesh.yaml"), at("root.pem"));
    write(&mesh, &services());
    let sidecar = |name: &str, more: &[&str]| {
        let (account, pod) = (format!("shop/{name}"), format!("{name}-0"));
        let (mesh, cert, key) = (at("mesh.yaml"), at(&format!("{name}.pem")), at(&format!("{name}.key")));
        let args = ["--mesh", &mesh, "--cert", &cert, "--key", &key, "--trust", &trust, "--service-account", &account];
        let own = ["--pod", &pod, "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Process::start("proxy", &[&args[..], &own, more].concat())
    };
    let mut stock = sidecar("stock", &["--inbound", &format!("127.0.0.1:0={}", app.address)]);
    let inbound = stock.line("the proxy listens").text("inbound");
    let port = port_of(&inbound);
    write(&mesh, &(services() + &slice("stock", "stock", "stock-0", port)));
    stock.line("the mesh files are in force");
    let mut front = sidecar("front", &[]);
    let outbound = front.line("the proxy listens").text("outbound");
    front.line("the proxy is ready");
    let answer = get(&outbound, "stock", "/");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.line("x-forwarded-client-cert").contains(FRONT), "{answer:?}");
    assert!(stage::try_get(&inbound, "stock", "/").is_none(), "plain text gets no answer");
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let dir = directory("deploy-refused");
    write(&dir.join("mesh/a.yaml"), "apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n");
    write(&dir.join("tokens"), "short shop/front\n");
    let mut control = Process::start("control", &control(&dir, "127.0.0.1:0", &[]));
    assert_eq!(control.line("resources of kind `Servce`").text("help"), "did you mean `Service`?");
    control.line("the token has fewer than 16 characters");
    assert_eq!(control.ends(), Some(2));
    let mut proxy =
        Process::start("proxy", &["--control", "c:1", "--service-account", "a/b", "--outbound", "0.0.0.0:1"]);
    proxy.line("is not on loopback");
    assert_eq!(proxy.ends(), Some(2));
}

#[test]
fn the_root_is_kept_where_nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = directory("deploy-root");
    write(&dir.join("mesh/a.yaml"), &services());
    write(&dir.join("tokens"), "");
    let args = control(&dir, "127.0.0.1:0", &[]);
    let mut first = Process::start("control", &args);
    first.line("made a new root");
    first.line("the control plane listens");
    first.terminate();
    assert_eq!(first.ends(), Some(0));

    // It is changed when it is asked to be: a new one beside it, also after a restart.
    let roots = || std::fs::read_to_string(dir.join("state/root.pem")).expect("it was made");
    let one = roots();
    let mut second = Process::start("control", &args);
    let admin = second.line("the admin pages are served").text("at");
    assert_eq!(post(&admin, "/change-root").status, 200);
    assert_eq!(post(&admin, "/change-root").status, 409, "it is being changed already");
    assert!(roots().starts_with(&one) && roots().matches("BEGIN CERTIFICATE").count() == 2, "{}", roots());
    second.terminate();
    assert_eq!(second.ends(), Some(0));
    let mut third = Process::start("control", &args);
    let admin = third.line("the admin pages are served").text("at");
    assert_eq!(post(&admin, "/change-root").status, 409, "it is still being changed");
    third.terminate();
    assert_eq!(third.ends(), Some(0));
    let key = dir.join("state/root-key.pem");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(&dir.join("state"))), (0o600, 0o700));
    assert_eq!(mode(&dir.join("state/next-root-key.pem")), 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    let mut again = Process::start("control", &args);
    again.line("can be read by others (mode 644): chmod 600");
    assert_eq!(again.ends(), Some(2));
}
