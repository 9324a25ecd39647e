//! What goes on in production under load, on real sockets, and no caller notices: sidecars that end while others take their
//! place, and certificates that are renewed.

#[path = "deploy/load.rs"]
mod load;
#[path = "deploy/stage.rs"]
#[expect(dead_code, reason = "shared with the other tests of processes, which use the rest")]
mod stage;

use std::path::{Path, PathBuf};

use load::{Load, Plan};
use stage::{App, Process, directory, write};

const MESH: &str = "\
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: stock, namespace: shop}
spec: {ports: [{port: 80, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {ports: [{port: 80, appProtocol: kubernetes.io/h2c}]}
---
apiVersion: squall.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: both, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: stock}, {kind: Service, name: cart}]
  retries: {attempts: 2}
";

/// A pod of both services: its sidecar's port of each.
struct Pod {
    name: String,
    stock: u16,
    cart: u16,
}

fn slices(pods: &[Pod]) -> String {
    let mut text = String::new();
    for Pod { name: pod, stock, cart } in pods {
        for (service, port) in [("stock", stock), ("cart", cart)] {
            text.push_str(&format!(
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-{pod}\n  namespace: shop\n  \
                 labels: {{kubernetes.io/service-name: {service}}}\n  annotations: {{squall.dev/service-account: pod}}\n\
                 addressType: IPv4\nports: [{{port: {port}}}]\nendpoints:\n  - addresses: [127.0.0.1]\n    \
                 targetRef: {{kind: Pod, name: {pod}}}\n"
            ));
        }
    }
    text
}

/// The control plane, a sidecar that asks, and what is asked behind others.
struct Town {
    dir: PathBuf,
    apps: [App; 2],
    /// Where the control plane listens.
    control: String,
    front: Process,
    /// The asking sidecar's outbound side.
    outbound: String,
    _plane: Process,
}

impl Town {
    fn start(name: &str, certificate_life: &str) -> Self {
        let dir = directory(name);
        write(&dir.join("mesh/services.yaml"), MESH);
        write(&dir.join("tokens"), "0123456789abcdef0 shop/front\n0123456789abcdef1 shop/pod\n");
        write(&dir.join("front.token"), "0123456789abcdef0\n");
        write(&dir.join("pod.token"), "0123456789abcdef1\n");
        let (mesh, tokens, state) = (text(&dir, "mesh"), text(&dir, "tokens"), text(&dir, "state"));
        let args = ["--from", &mesh, "--tokens", &tokens, "--state", &state, "--listen", "127.0.0.1:0"];
        let more = ["--admin", "127.0.0.1:0", "--certificate-life", certificate_life];
        let mut plane = Process::start("control", &[&args[..], &more].concat());
        let control = plane.line("the control plane listens").text("at");
        let mut front = sidecar(&dir, &control, "front", "front-0", &[]);
        let outbound = front.line("the proxy listens").text("outbound");
        front.line("the proxy is ready");
        Self { dir, apps: [App::start(), App::start()], control, front, outbound, _plane: plane }
    }

    /// A sidecar with both applications behind it.
    fn server(&self, pod: &str) -> (Process, Pod) {
        let [stock, cart] = self.apps.each_ref().map(|app| format!("127.0.0.1:0={}", app.address));
        let inbound = ["--inbound", &stock, "--inbound", &cart];
        let mut process = sidecar(&self.dir, &self.control, "pod", pod, &inbound);
        let listens = process.line("the proxy listens").text("inbound");
        process.line("the proxy is ready");
        let mut ports = listens.split(' ').map(|at| at.rsplit_once(':').and_then(|(_, port)| port.parse().ok()));
        let mut port = || ports.next().flatten().expect("two ports");
        let (stock, cart) = (port(), port());
        (process, Pod { name: pod.to_owned(), stock, cart })
    }

    /// Lets the mesh know who serves, and waits until `front` has heard it.
    fn publish(&mut self, pods: &[Pod]) {
        write(&self.dir.join("mesh/slices.yaml"), &slices(pods));
        self.front.line("a mesh is in force");
    }

    fn load(&self) -> Load {
        Load::start(Plan { at: self.outbound.clone(), services: &["stock", "cart"], rate: 2000, clients: 32 })
    }
}

fn text(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().expect("UTF-8").to_owned()
}

fn sidecar(dir: &Path, control: &str, account: &str, pod: &str, more: &[&str]) -> Process {
    let (trust, token) = (text(dir, "state/root.pem"), text(dir, &format!("{account}.token")));
    let account = format!("shop/{account}");
    let args = ["--control", control, "--trust", &trust, "--token-file", &token, "--service-account", &account];
    let own = ["--pod", pod, "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    Process::start("proxy", &[&args[..], &own, more].concat())
}

/// Ends the load. Every request was answered by an application.
#[track_caller]
fn none_lost(load: Load) {
    let tally = load.end();
    let sent: u64 = tally.values().sum();
    assert_eq!(tally.get("200"), Some(&sent), "{tally:#?}");
}

#[test]
fn a_rolling_restart_loses_no_request() {
    let mut town = Town::start("rolling", "24h");
    let (mut servers, mut pods): (Vec<_>, Vec<_>) = (0..3).map(|number| town.server(&format!("pod-{number}"))).unzip();
    town.publish(&pods);
    let load = town.load();
    for number in 0..3 {
        // The new one is there first, as a Deployment's `maxUnavailable: 0` has it. The old one is asked to end before anybody
        // hears of it.
        let (server, pod) = town.server(&format!("pod-{}", number + 3));
        let mut old = std::mem::replace(&mut servers[number], server);
        pods[number] = pod;
        old.terminate();
        town.publish(&pods);
        assert_eq!(old.ends(), Some(0));
    }
    none_lost(load);
}

#[test]
fn certificates_that_change_lose_no_request() {
    let mut town = Town::start("renewal", "2s");
    let (mut server, pod) = town.server("pod-0");
    town.publish(&[pod]);
    let load = town.load();
    for _ in 0..3 {
        server.line("a certificate was issued");
        town.front.line("a certificate was issued");
    }
    none_lost(load);
}
