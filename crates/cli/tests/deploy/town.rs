//! A control plane, a sidecar that asks, and services behind sidecars that come and go: what the tests of processes under load stand on.

use std::path::{Path, PathBuf};

use super::load::{Load, Plan};
use super::stage::{App, Process, directory, member, service, slice, write};

/// The services, whose requests are repeated so often.
fn mesh(attempts: u32) -> String {
    let services = ["port: 80", "port: 80, appProtocol: http", "port: 80, appProtocol: kubernetes.io/h2c"];
    let services = ["front", "stock", "cart"].iter().zip(services).map(|(name, port)| service(name, port));
    services.collect::<String>()
        + &format!(
            "---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: both, namespace: shop}}\nspec:\n  \
             targetRefs: [{{kind: Service, name: stock}}, {{kind: Service, name: cart}}]\n  retries: {{attempts: {attempts}}}\n"
        )
}

/// A pod of both services: its sidecar's port of each.
pub(crate) struct Pod {
    name: String,
    pub(crate) stock: u16,
    pub(crate) cart: u16,
}

fn slices(pods: &[Pod]) -> String {
    let of = |pod: &Pod| slice("stock", "pod", &pod.name, pod.stock) + &slice("cart", "pod", &pod.name, pod.cart);
    pods.iter().map(of).collect()
}

/// The control plane, a sidecar that asks, and what is asked behind others.
pub(crate) struct Town {
    pub(crate) dir: PathBuf,
    apps: [App; 2],
    /// Where the control plane listens.
    control: String,
    pub(crate) front: Process,
    /// The asking sidecar's outbound side.
    pub(crate) outbound: String,
    pub(crate) plane: Process,
    /// The control plane's admin pages.
    pub(crate) pages: String,
}

impl Town {
    pub(crate) fn start(name: &str, certificate_life: &str) -> Self {
        let dir = directory(name);
        write(&dir.join("mesh/services.yaml"), &mesh(2));
        write(&dir.join("tokens"), "0123456789abcdef0 shop/front\n0123456789abcdef1 shop/pod\n");
        write(&dir.join("front.token"), "0123456789abcdef0\n");
        write(&dir.join("pod.token"), "0123456789abcdef1\n");
        let more = ["--certificate-life", certificate_life];
        let mut plane = Process::start("control", &super::stage::control(&dir, "127.0.0.1:0", &more));
        let pages = plane.line("the admin pages are served").text("at");
        let control = plane.line("the control plane listens").text("at");
        let mut front = sidecar(&dir, &control, "front", "front-0", &[]);
        let outbound = front.line("the proxy listens").text("outbound");
        front.line("the proxy is ready");
        Self { dir, apps: [App::start(), App::start()], control, front, outbound, plane, pages }
    }

    /// A sidecar with both applications behind it.
    pub(crate) fn server(&self, pod: &str) -> (Process, Pod) {
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
    pub(crate) fn publish(&mut self, pods: &[Pod]) {
        // Whole at once: of a file that is half written for longer than a look takes, the control plane would take the half.
        write(&self.dir.join("slices.yaml"), &slices(pods));
        std::fs::rename(self.dir.join("slices.yaml"), self.dir.join("mesh/slices.yaml"))
            .expect("in one directory tree");
        self.front.line("a mesh is in force");
    }

    /// Lets the mesh repeat requests so often, and waits until `front` has heard it.
    pub(crate) fn repeat(&mut self, attempts: u32) {
        write(&self.dir.join("services.yaml"), &mesh(attempts));
        std::fs::rename(self.dir.join("services.yaml"), self.dir.join("mesh/services.yaml"))
            .expect("in one directory tree");
        self.front.line("a mesh is in force");
    }

    pub(crate) fn load(&self, rate: u32, requests_per_connection: usize) -> Load {
        let (at, services) = (self.outbound.clone(), &["stock", "cart"]);
        Load::start(Plan { at, services, rate, clients: 32, requests_per_connection })
    }
}

fn sidecar(dir: &Path, control: &str, account: &str, pod: &str, more: &[&str]) -> Process {
    let own = ["--pod", pod, "--outbound", "127.0.0.1:0"];
    Process::start("proxy", &member(dir, control, account, &[&own[..], more].concat()))
}
