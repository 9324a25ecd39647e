//! `squall gateway`: the proxy where requests come in from outside. What it can be told, and what it takes of the files it follows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use squall_control::watch::{Files, Taker, Texts};
use squall_control::{Mistake, Place, RegistrySnapshot, Resources, compile_gateway};
use squall_net::edge::ServerCertificate;
use squall_policy::Mesh;
use squall_proxy::{Entrance, Proxy};

use super::args::ProxyArgs;
use super::settings::{self, Settings, Wrong};
use crate::disk::{self, Followed, Shown};

/// What stands in `squall gateway --help`.
const ABOUT: &str = "Run a gateway: the proxy where requests come in from outside the mesh";

const LONG_ABOUT: &str = "\
Run a gateway: the proxy where requests come in from outside the mesh

It serves the listeners of a Gateway (Gateway API), over HTTP/1.1 and HTTP/2, ends TLS with the certificate of the name that a \
client asks for, and sends each request on as the HTTPRoutes and GRPCRoutes say that name the Gateway in their parentRefs: by the policies \
of the mesh (retries, breakers, limits, balancing), with mutual TLS, as itself. Which Gateway that is, its service account says: \
shop/edge is that of Gateway `edge` in namespace `shop`, or of the one whose annotation squall.dev/service-account says `edge`.

A name that no listener is for gets no TLS connection; a host that no route is for gets 404; a request for another listener than \
its connection's gets 421. Nothing that comes from outside is believed of what only the mesh may say: who called, for how long, how \
urgently (x-forwarded-*, x-envoy-*, squall-*, grpc-timeout, x-request-id).

With --mesh the Gateway, its routes and Services are a file, or a directory of them, followed as it changes; with --control they come \
from `squall control`. Certificates are files (--certificate), with --mesh also Secrets of type kubernetes.io/tls beside the Gateway; they are \
followed as well, and no connection breaks when they change.

Every setting is a flag, an environment variable or a line of the file that --config names (`tokenFile: /var/run/token`), in \
this order: what a flag says, the file cannot change.";

const AFTER_HELP: &str = "\
Examples:
  squall gateway --mesh mesh/ --plaintext --service-account shop/edge --listen 0.0.0.0:8080=80
  squall gateway --mesh mesh/ --cert edge.pem --key edge.key --trust root.pem --service-account shop/edge \\
    --listen 0.0.0.0:8080=80 --listen 0.0.0.0:8443=443 --certificate shop/web-tls=web.pem,web.key
  squall gateway --mesh mesh/ --plaintext --service-account shop/edge --listen 0.0.0.0:8080=80 --proxy-protocol
  squall gateway --control control.squall:15010 --trust root.pem --token-file token --service-account shop/edge \\
    --listen 0.0.0.0:8443=443 --certificate web-tls=/certs/tls.crt,/certs/tls.key

A mesh with a gateway, to begin with; `shop` is a Service:
  apiVersion: gateway.networking.k8s.io/v1
  kind: Gateway
  metadata: {name: edge, namespace: shop}
  spec:
    gatewayClassName: squall
    listeners:
      - {name: web, port: 443, protocol: HTTPS, hostname: \"*.example.com\",
         tls: {certificateRefs: [{name: web-tls}]}}
  ---
  apiVersion: gateway.networking.k8s.io/v1
  kind: HTTPRoute
  metadata: {name: shop, namespace: shop}
  spec:
    parentRefs: [{name: edge}]
    hostnames: [shop.example.com]
    rules: [{backendRefs: [{name: shop, port: 80}]}]

Pages, signals and exit codes are those of squall proxy.";

#[derive(clap::Args, Default)]
#[command(about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
#[command(
    mut_arg("outbound", |arg| arg.hide(true)),
    mut_arg("inbound", |arg| arg.hide(true)),
    mut_arg("outbound_tcp", |arg| arg.hide(true)),
    mut_arg("intercept", |arg| arg.hide(true)),
    mut_arg("intercept_outbound", |arg| arg.hide(true)),
    mut_arg("intercept_inbound", |arg| arg.hide(true)),
    mut_arg("strangers", |arg| arg.hide(true)),
    mut_arg("detect_timeout", |arg| arg.hide(true)),
)]
pub(crate) struct GatewayArgs {
    /// Where clients connect, and which port of the Gateway that is, if it is another; may be given several times
    #[arg(long, value_name = "ADDRESS[=PORT]", env = "SQUALL_LISTEN", value_delimiter = ' ', value_parser = entrance)]
    listen: Vec<Entrance>,

    /// A certificate that a listener names in its certificateRefs: its namespace (or else that of --service-account) and name, the file of
    /// the certificate and those between it and its root, and the file of its key, PEM; may be given several times
    #[arg(long, value_name = "[NS/]NAME=CERT,KEY", env = "SQUALL_CERTIFICATE", value_delimiter = ' ', value_parser = certificate)]
    certificate: Vec<CertificateFiles>,

    /// Every connection must begin with a header of the PROXY protocol, version 1 or 2, as load balancers send it: the client is who it
    /// names. One that does not is reset and counted. Nothing proves what stands there: let nobody but the balancer connect
    #[arg(long, env = "SQUALL_PROXY_PROTOCOL")]
    proxy_protocol: bool,

    #[command(flatten)]
    base: ProxyArgs,
}

/// A certificate in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertificateFiles {
    name: String,
    chain: PathBuf,
    key: PathBuf,
}

/// What a gateway has beside what every proxy has.
pub(super) struct Outside {
    pub(super) entrances: Vec<Entrance>,
    pub(super) certificates: Vec<CertificateFiles>,
}

/// Where clients connect, as it is written: `ADDRESS`, or `ADDRESS=PORT`.
fn entrance(text: &str) -> Result<Entrance, String> {
    let said = "say ADDRESS:PORT, or ADDRESS:PORT=PORT-OF-THE-GATEWAY, such as 0.0.0.0:8443=443";
    let (listen, port) = text.split_once('=').map_or((text, None), |(listen, port)| (listen, Some(port)));
    let listen: SocketAddr = listen.parse().map_err(|_| format!("`{listen}` is not ADDRESS:PORT; {said}"))?;
    let port =
        port.map_or(Ok(listen.port()), |port| port.parse().map_err(|_| format!("`{port}` is not a port; {said}")))?;
    if port == 0 {
        Err(format!("no Gateway has port 0; {said}"))
    } else {
        Ok(Entrance { listen, port, proxy_protocol: false })
    }
}

/// A certificate in files, as it is written: `NAME=CERT,KEY`.
fn certificate(text: &str) -> Result<CertificateFiles, String> {
    let said = "say NAME=CERT,KEY, such as shop/web-tls=web.pem,web.key";
    let (name, files) = text.split_once('=').ok_or(said)?;
    let (chain, key) = files.split_once(',').ok_or(said)?;
    let is_name = !name.is_empty() && name.split('/').count() <= 2 && name.split('/').all(|part| !part.is_empty());
    if !is_name || chain.is_empty() || key.is_empty() {
        return Err(said.to_owned());
    }
    Ok(CertificateFiles { name: name.to_owned(), chain: chain.into(), key: key.into() })
}

impl GatewayArgs {
    /// These, and from `file` what these do not say.
    fn or(self, file: Self) -> Self {
        Self {
            listen: if self.listen.is_empty() { file.listen } else { self.listen },
            certificate: if self.certificate.is_empty() { file.certificate } else { self.certificate },
            proxy_protocol: self.proxy_protocol || file.proxy_protocol,
            base: self.base.or(file.base),
        }
    }
}

/// The settings of arguments, environment and file.
pub(super) fn of(args: GatewayArgs) -> Result<Settings, Wrong> {
    let args = match args.base.config.clone() {
        Some(path) => args.or(settings::read(&path, "gateway")?),
        None => args,
    };
    let GatewayArgs { mut listen, mut certificate, proxy_protocol, base } = args;
    listen.iter_mut().for_each(|entrance| entrance.proxy_protocol = proxy_protocol);
    let of_sidecars = [
        (base.outbound.is_some(), "--outbound"),
        (!base.inbound.is_empty(), "--inbound"),
        (!base.outbound_tcp.is_empty(), "--outbound-tcp"),
        (base.intercept, "--intercept"),
        (base.intercept_outbound.is_some(), "--intercept-outbound"),
        (base.intercept_inbound.is_some(), "--intercept-inbound"),
        (base.strangers.is_some(), "--strangers"),
        (base.detect_timeout.is_some(), "--detect-timeout"),
    ];
    settings::not_with("squall gateway, which is nobody's sidecar", &of_sidecars)?;
    if listen.is_empty() {
        return Err("it has nothing to do: say --listen ADDRESS=PORT for each port of the Gateway".into());
    }
    let mut ports = BTreeSet::new();
    if let Some(twice) = listen.iter().find(|entrance| !ports.insert((entrance.listen, entrance.port))) {
        return Err(format!("--listen {} is given twice", twice.listen).into());
    }
    let namespace =
        base.service_account.as_ref().and_then(|account| account.split_once('/')).map(|(ns, _)| ns.to_owned());
    for files in certificate.iter_mut().filter(|files| !files.name.contains('/')) {
        files.name = format!("{}/{}", namespace.as_deref().unwrap_or_default(), files.name);
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = certificate.iter().find(|files| !names.insert(&files.name)) {
        return Err(format!("--certificate {} is given twice", twice.name).into());
    }
    settings::settle(base, Some(Outside { entrances: listen, certificates: certificate }))
}

/// The files that a gateway follows.
pub(super) struct Watched {
    /// `None`: the mesh comes from a control plane.
    pub(super) mesh: Option<Followed>,
    pub(super) certificates: Vec<CertificateFiles>,
}

impl Files for Watched {
    fn read(&self) -> Result<Texts, Box<Mistake>> {
        let mut texts = self.mesh.as_ref().map_or_else(|| Ok(Texts::new()), Files::read)?;
        for path in self.certificates.iter().flat_map(|files| [&files.chain, &files.key]) {
            texts.insert(path.to_string_lossy().into(), disk::read(path)?.into());
        }
        Ok(texts)
    }
}

/// Certificates by name.
pub(super) type Certificates = BTreeMap<String, ServerCertificate>;

/// Takes the mesh and the certificates of a gateway.
pub(super) struct Edge {
    pub(super) namespace: String,
    pub(super) account: String,
    /// The ports at which it listens.
    pub(super) ports: BTreeSet<u16>,
    pub(super) certificates: Vec<CertificateFiles>,
    /// The mesh is among the files.
    pub(super) is_static: bool,
    pub(super) plaintext: bool,
    /// Told of all that is good, once it runs.
    pub(super) proxy: OnceLock<Arc<Proxy>>,
    /// The last good ones.
    pub(super) good: Mutex<(Mesh, Certificates)>,
    pub(super) shown: Shown,
}

impl Edge {
    /// The certificates of the files.
    fn read_files(&self, texts: &Texts, mistakes: &mut Vec<Mistake>) -> Certificates {
        let mut found = Certificates::new();
        for files in &self.certificates {
            let (chain, key) = (files.chain.to_string_lossy(), files.key.to_string_lossy());
            let text = |name: &str| texts.get(name).map(|text| &**text).unwrap_or_default();
            match ServerCertificate::from_pem(text(&chain), text(&key)) {
                Ok(certificate) => drop(found.insert(files.name.clone(), certificate)),
                Err(error) => {
                    let message = format!("{error}, with the key in {key}");
                    mistakes.push(Mistake::new(&Place::whole(&chain), message));
                }
            }
        }
        found
    }

    /// The mesh of the other files; adds the certificates that are in them.
    fn read_mesh(&self, texts: &Texts, found: &mut Certificates, mistakes: &mut Vec<Mistake>) -> Mesh {
        let is_pem = |name: &str| {
            let mut paths = self.certificates.iter().flat_map(|files| [&files.chain, &files.key]);
            paths.any(|path| path.to_string_lossy() == name)
        };
        let files: Vec<(&str, &str)> =
            texts.iter().filter(|(name, _)| !is_pem(name)).map(|(name, text)| (&**name, &**text)).collect();
        let resources = match Resources::read(&files) {
            Ok(resources) => resources,
            Err(more) => {
                mistakes.extend(more);
                return Mesh::default();
            }
        };
        let first = Place::whole(files.first().map_or("mesh", |(name, _)| name));
        self.check_ports(&resources, &first, mistakes);
        self.add_secrets(&resources, found, mistakes);
        let mut mesh = compile_gateway(&resources, &RegistrySnapshot::default(), &self.namespace, &self.account);
        if self.plaintext {
            mesh.backends.values_mut().for_each(|backend| backend.mutual_tls = false);
        }
        mesh
    }

    /// That the gateway listens where its listeners are.
    fn check_ports(&self, resources: &Resources, first: &Place, mistakes: &mut Vec<Mistake>) {
        let Some(ports) = resources.gateway_ports(&self.namespace, &self.account) else {
            let message = format!("no Gateway runs as `{}/{}`", self.namespace, self.account);
            let help = "name it so, or give it the annotation `squall.dev/service-account`";
            return mistakes.push(Mistake::new(first, message).help(help));
        };
        for (port, place) in ports.iter().filter(|(port, _)| !self.ports.contains(port)) {
            let mistake = Mistake::new(place, format!("nothing listens for this listener's port {port}"));
            mistakes.push(mistake.help(format!("say --listen 0.0.0.0:{port}, or --listen ADDRESS={port}")));
        }
        for port in self.ports.iter().filter(|port| !ports.contains_key(port)) {
            let known: Vec<String> = ports.keys().map(u16::to_string).collect();
            let mistake =
                Mistake::new(first, format!("the Gateway has no listener of port {port}, which --listen names"));
            mistakes.push(mistake.help(format!("its listeners have {}", known.join(", "))));
        }
    }

    /// The certificates that listeners want and Secrets hold. One that is nowhere is a mistake, and so is one that nobody wants.
    fn add_secrets(&self, resources: &Resources, found: &mut Certificates, mistakes: &mut Vec<Mistake>) {
        let wanted = resources.wanted_certificates(&self.namespace, &self.account);
        let names: BTreeSet<&str> = wanted.iter().map(|certificate| certificate.name.as_str()).collect();
        for files in self.certificates.iter().filter(|files| !names.contains(files.name.as_str())) {
            let message = format!("no listener names the certificate `{}`", files.name);
            mistakes.push(
                Mistake::new(&Place::whole(&files.chain.to_string_lossy()), message)
                    .suggest(&files.name, names.iter().copied()),
            );
        }
        for secret in resources.given_certificates().filter(|secret| names.contains(secret.name.as_str())) {
            if self.certificates.iter().any(|files| files.name == secret.name) {
                let message = format!("`{}` is given by --certificate as well", secret.name);
                mistakes.push(Mistake::new(secret.place, message));
                continue;
            }
            match ServerCertificate::from_pem(secret.chain, secret.key) {
                Ok(certificate) => drop(found.insert(secret.name, certificate)),
                Err(error) => mistakes.push(Mistake::new(secret.place, error.to_string())),
            }
        }
        let secrets: BTreeSet<String> = resources.given_certificates().map(|secret| secret.name).collect();
        let is_given = |name: &str| secrets.contains(name) || self.certificates.iter().any(|files| files.name == name);
        for certificate in wanted.iter().filter(|certificate| !is_given(&certificate.name)) {
            let mistake = Mistake::new(certificate.place, format!("no certificate `{}` is given", certificate.name));
            let help = format!("say --certificate {}=CERT,KEY, or add a Secret of that name", certificate.name);
            mistakes.push(mistake.help(help));
        }
    }
}

impl Taker for Edge {
    fn take(&self, files: &Texts) -> Result<(), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut certificates = self.read_files(files, &mut mistakes);
        let mesh = self.is_static.then(|| self.read_mesh(files, &mut certificates, &mut mistakes));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        if let Some(proxy) = self.proxy.get() {
            // First, so that no listener is there before its certificate.
            proxy.certify(certificates.clone());
            if let Some(mesh) = &mesh {
                proxy.update(mesh);
            }
        }
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = (mesh.unwrap_or_default(), certificates);
        Ok(())
    }

    fn taken(&self, files: &Texts) {
        tracing::info!(files = files.len(), "the files of the gateway are in force");
    }

    fn refused(&self, found: &[Mistake], files: &Texts) {
        self.shown.show(found, files);
        tracing::warn!(mistakes = found.len(), "the files of the gateway are refused; what was good stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &str) -> GatewayArgs {
        let words: Vec<String> = ["gateway"].into_iter().chain(words.split_whitespace()).map(str::to_owned).collect();
        settings::parse(&words).expect("flags that exist")
    }

    #[test]
    fn what_is_no_gateways_is_refused_by_its_name() {
        let base = "--mesh m --plaintext --service-account shop/edge";
        let listens = format!("{base} --listen 127.0.0.1:8080=80");
        for (words, want) in [
            (base.to_owned(), "say --listen"),
            (format!("{listens} --outbound 127.0.0.1:1"), "--outbound has no meaning with squall gateway"),
            (format!("{listens} --inbound 127.0.0.1:1=127.0.0.1:2"), "--inbound has no meaning"),
            (format!("{listens} --intercept"), "--intercept has no meaning"),
            (format!("{listens} --listen 127.0.0.1:8080=80"), "given twice"),
            (format!("{listens} --listen 0.0.0.0:8080=81"), "cannot listen at one address"),
            (format!("{listens} --listen 0.0.0.0:15000"), "cannot listen at one address"),
            (format!("{listens} --certificate a=b,c --certificate shop/a=d,e"), "shop/a is given twice"),
            ("--service-account shop/edge --listen 127.0.0.1:80".to_owned(), "--control HOST:PORT or --mesh"),
            ("--mesh m --plaintext --listen 127.0.0.1:80".to_owned(), "--service-account"),
        ] {
            match of(args(&words)) {
                Err(Wrong::Words(why)) => assert!(why.contains(want), "`{words}` is refused with: {why}"),
                Err(Wrong::File(refusal)) => panic!("{:?}", refusal.mistakes),
                Ok(_) => panic!("`{words}` is taken"),
            }
        }
    }

    #[test]
    fn an_entrance_is_an_address_and_perhaps_another_port() {
        let at = |text: &str, port| {
            let listen = text.parse().expect("an address");
            Entrance { listen, port, proxy_protocol: false }
        };
        assert_eq!(entrance("0.0.0.0:8443=443"), Ok(at("0.0.0.0:8443", 443)));
        assert_eq!(entrance("[::]:80"), Ok(at("[::]:80", 80)));
        for wrong in ["80", "0.0.0.0", "0.0.0.0:0", "0.0.0.0:1=x", "0.0.0.0:1=0", "0.0.0.0:1=70000"] {
            assert!(entrance(wrong).is_err(), "{wrong}");
        }
        for wrong in ["a", "a=b", "a=b,", "=b,c", "a/b/c=d,e", "/a=b,c"] {
            assert!(certificate(wrong).is_err(), "{wrong}");
        }
    }
}
