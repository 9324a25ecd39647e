//! The production manifests, as far as scenarios refer to them: which Services there are and whom they select. Whether the
//! manifests are right in themselves is the control plane's to say.

use std::collections::BTreeSet;

use squall_control::yaml::{Fields, Kind, Node, Value};
use squall_control::{Mistake, Mistakes, Place, yaml};
use squall_policy::{OPAQUE_PORTS, Protocol};

use crate::scenario::files::Reading;
use crate::scenario::isotope::Graph;
use crate::scenario::{MeshFile, ServiceSpec};

/// One Kubernetes Service.
pub(super) struct MeshService {
    pub(super) name: String,
    pub(super) namespace: String,
    selector: Vec<(String, String)>,
    ports: Vec<ServicePort>,
    place: Place,
    /// Its balancing takes unequal weights into account.
    weighs: bool,
}

struct ServicePort {
    number: u16,
    target: Target,
    protocol: Protocol,
}

/// Which port of a pod is meant.
#[derive(PartialEq)]
enum Target {
    Number(u16),
    Name(String),
}

impl Target {
    fn is(&self, workload: &ServiceSpec) -> bool {
        match self {
            Self::Number(number) => *number == workload.port,
            Self::Name(name) => workload.port_name.as_deref() == Some(name),
        }
    }
}

impl MeshService {
    fn selects(&self, service: &ServiceSpec) -> bool {
        !self.selector.is_empty()
            && *self.namespace == *service.namespace
            && service.versions.iter().any(|version| {
                self.selector.iter().all(|(key, value)| {
                    key == "version" && **value == *version.name
                        || service.labels.iter().any(|(known, have)| known == key && have == value)
                })
            })
    }
}

/// The Services of the mesh files.
pub(super) struct Resources {
    pub(super) services: Vec<MeshService>,
    /// False if a mesh file could not be read, so that nothing can be said of what is missing.
    complete: bool,
}

impl Resources {
    /// The namespaces there are Services in, sorted.
    pub(super) fn namespaces(&self) -> Vec<&str> {
        let all: BTreeSet<&str> = self.services.iter().map(|service| service.namespace.as_str()).collect();
        all.into_iter().collect()
    }

    /// The Service that a client in `namespace` means by `host`, and the host with its port, if that is not 80. The mistake is
    /// reported.
    pub(super) fn host(&self, host: Value<'_>, namespace: &str) -> Option<(&MeshService, String)> {
        let text = host.name()?;
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => match port.parse::<u16>() {
                Ok(port) if port > 0 => (name, Some(port)),
                Ok(_) | Err(_) => return host.refuse(format!("`{port}` is not a port")),
            },
        };
        let mut labels = name.split('.');
        let short = labels.next().unwrap_or_default();
        let within = labels.next().unwrap_or(namespace);
        let found = self.services.iter().find(|service| service.name == short && service.namespace == within);
        let Some(service) = found else {
            if !self.complete {
                return None;
            }
            let mistake = Mistake::new(host.place(), format!("`{name}` is not a Service of the mesh"));
            let known: Vec<&str> = self.services.iter().map(|service| service.name.as_str()).collect();
            let near = squall_control::closest(short, &known);
            let mistake = match self.services.iter().find(|service| Some(service.name.as_str()) == near) {
                Some(near) if near.namespace != within => {
                    mistake.help(format!("did you mean `{}.{}`? ({})", near.name, near.namespace, near.place))
                }
                Some(near) => mistake.help(format!("did you mean `{}`? ({})", near.name, near.place)),
                None => mistake.suggest(short, known),
            };
            host.mistakes().push(mistake);
            return None;
        };
        let ports: Vec<u16> = service.ports.iter().map(|port| port.number).collect();
        let port = match (port, ports.as_slice()) {
            (Some(port), ports) if ports.contains(&port) => port,
            (None, ports) if ports.contains(&80) => 80,
            (None, [only]) => *only,
            (port, ports) => {
                let list: Vec<String> = ports.iter().map(u16::to_string).collect();
                let what = port.map_or("no port 80".to_owned(), |port| format!("no port {port}"));
                let mistake = Mistake::new(host.place(), format!("Service `{short}` has {what}"));
                host.mistakes().push(mistake.help(format!("its ports: {}", list.join(", "))));
                return None;
            }
        };
        Some((service, if port == 80 { name.to_owned() } else { format!("{name}:{port}") }))
    }

    /// The workloads that the Service behind `host` (as [`Resources::host`] gives it) selects.
    pub(super) fn selected<'s>(&self, service: &MeshService, services: &'s [ServiceSpec]) -> Vec<&'s ServiceSpec> {
        services.iter().filter(|workload| service.selects(workload)).collect()
    }
}

/// Reads the files under `mesh`, or takes the generated one.
pub(super) fn files(spec: Fields<'_>, generated: Option<&Graph>, reading: &Reading<'_>) -> Vec<MeshFile> {
    if let Some(graph) = generated {
        let mut files = vec![graph.mesh.clone()];
        files.extend(named(spec, reading));
        return files;
    }
    let files = named(spec, reading);
    if spec.get("mesh").is_none() {
        let _ = spec.required("mesh");
    }
    files
}

fn named(spec: Fields<'_>, reading: &Reading<'_>) -> Vec<MeshFile> {
    let list = spec.get("mesh").and_then(|mesh| mesh.list()).unwrap_or_default();
    let mut files: Vec<MeshFile> = Vec::new();
    for value in list {
        let Some((name, text)) = reading.referred(value) else { continue };
        if files.iter().any(|known| known.name == name) {
            let _ = value.refuse::<()>(format!("{name} is given twice"));
        } else {
            files.push(MeshFile { name, text });
        }
    }
    files
}

/// Finds the Services in the manifests, of which there should be `given`. What the control plane would refuse is reported.
pub(super) fn resources(files: &[MeshFile], given: usize, mistakes: &Mistakes) -> Resources {
    let mut services = Vec::new();
    let mut complete = files.len() >= given;
    for file in files {
        match yaml::parse(&file.name, &file.text) {
            Ok(documents) => services.extend(documents.iter().filter_map(service)),
            Err(syntax) => {
                mistakes.extend(syntax);
                complete = false;
            }
        }
    }
    if complete {
        let files: Vec<(&str, &str)> = files.iter().map(|file| (&*file.name, &*file.text)).collect();
        match squall_control::Resources::read(&files) {
            Ok(known) => {
                services.iter_mut().for_each(|it: &mut MeshService| it.weighs = known.weighs(&it.namespace, &it.name));
            }
            Err(found) => mistakes.extend(found),
        }
    }
    Resources { services, complete }
}

fn service(document: &Node) -> Option<MeshService> {
    if text(document, &["kind"]) != Some("Service") {
        return None;
    }
    let selector = match &at(document, &["spec", "selector"])?.kind {
        Kind::Map(entries) => {
            entries.iter().filter_map(|(key, value)| Some((key.name.clone(), text(value, &[])?.to_owned()))).collect()
        }
        Kind::Scalar { .. } | Kind::List(_) => return None,
    };
    let ports = match &at(document, &["spec", "ports"])?.kind {
        Kind::List(ports) => ports
            .iter()
            .filter_map(|port| {
                let number = text(port, &["port"])?.parse::<u16>().ok()?;
                let target = match text(port, &["targetPort"]) {
                    None => Target::Number(number),
                    Some(target) => target.parse().map_or_else(|_| Target::Name(target.to_owned()), Target::Number),
                };
                Some(ServicePort { number, target, protocol: protocol(port) })
            })
            .collect(),
        Kind::Scalar { .. } | Kind::Map(_) => return None,
    };
    Some(MeshService {
        name: text(document, &["metadata", "name"])?.to_owned(),
        namespace: text(document, &["metadata", "namespace"]).unwrap_or("default").to_owned(),
        selector,
        ports,
        place: at(document, &["metadata", "name"])?.place.clone(),
        weighs: false,
    })
}

/// As the control plane takes it: by `appProtocol`, else by the beginning of the port's name.
fn protocol(port: &Node) -> Protocol {
    let is_tcp = |word: &str| ["tcp", "tls", "https", "kubernetes.io/wss", "mongo", "mysql", "redis"].contains(&word);
    let said = text(port, &["appProtocol"]);
    let first = text(port, &["name"]).and_then(|name| name.split('-').next());
    let undeclared = said.is_none() && first.is_none_or(|first| !["http", "grpc", "http2", "h2c"].contains(&first));
    let number = text(port, &["port"]).and_then(|number| number.parse().ok());
    if said.or(first).is_some_and(is_tcp) || undeclared && number.is_some_and(|number| OPAQUE_PORTS.contains(&number)) {
        return Protocol::Tcp;
    }
    let http2 = match text(port, &["appProtocol"]) {
        Some(protocol) => ["http2", "grpc", "kubernetes.io/h2c"].contains(&protocol),
        None => {
            let prefix = text(port, &["name"]).and_then(|name| name.split('-').next());
            prefix.is_some_and(|prefix| ["grpc", "http2", "h2c"].contains(&prefix))
        }
    };
    if http2 { Protocol::Http2 } else { Protocol::Http1 }
}

fn at<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    let Some((first, rest)) = path.split_first() else { return Some(node) };
    match &node.kind {
        Kind::Map(entries) => at(&entries.iter().find(|(key, _)| key.name == *first)?.1, rest),
        Kind::Scalar { .. } | Kind::List(_) => None,
    }
}

fn text<'n>(node: &'n Node, path: &[&str]) -> Option<&'n str> {
    match &at(node, path)?.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::List(_) | Kind::Map(_) => None,
    }
}

/// Every Service has pods, every workload has a Service, and they agree on the port.
pub(super) fn check(resources: &Resources, services: &[ServiceSpec], mistakes: &Mistakes) {
    if !resources.complete {
        return;
    }
    for service in &resources.services {
        let selected = resources.selected(service, services);
        if selected.is_empty() {
            let list: Vec<String> = service.selector.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let mistake =
                Mistake::new(&service.place, format!("no pod of the scenario serves Service `{}`", service.name));
            mistakes.push(mistake.help(format!(
                "add a service with the labels {{{}}} in namespace `{}`",
                list.join(", "),
                service.namespace
            )));
        }
        for workload in selected {
            port(service, workload, mistakes);
            let is_weighted = workload.versions.iter().any(|version| version.endpoint_weight > 1);
            if is_weighted && !service.weighs {
                let message = format!("`endpointWeight` of `{}` has no meaning with `PeakEwma`", workload.name.value);
                let mistake = Mistake::new(&workload.name.place, message).label(&service.place, "its Service");
                mistakes.push(mistake.help("give the Service a TrafficPolicy with another `loadBalancing.algorithm`"));
            }
        }
    }
    for workload in services {
        if !resources.services.iter().any(|service| service.selects(workload)) {
            let labels: Vec<String> = workload.labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let mistake =
                Mistake::new(&workload.name.place, format!("no Service of the mesh selects `{}`", workload.name.value));
            mistakes.push(mistake.help(format!(
                "its pods are in namespace `{}`, labelled {{{}}}",
                workload.namespace,
                labels.join(", ")
            )));
        }
    }
}

/// That the Service leads to the workload's port, and that both mean the same protocol.
fn port(service: &MeshService, workload: &ServiceSpec, mistakes: &Mistakes) {
    let place = &workload.name.place;
    let Some(port) = service.ports.iter().find(|port| port.target.is(workload)) else {
        let name = workload.port_name.as_ref().map(|name| format!(", which is called `{name}`")).unwrap_or_default();
        let message = format!("no port of Service `{}` leads to port {}{name}", service.name, workload.port);
        let mistake = Mistake::new(place, message).label(&service.place, "the Service");
        mistakes.push(match service.ports.first().map(|port| &port.target) {
            Some(Target::Number(number)) => {
                mistake.help(format!("write `port: {number}` here, or change its `targetPort`"))
            }
            Some(Target::Name(name)) => {
                mistake.help(format!("write `portName: {name}` here, or a number as its `targetPort`"))
            }
            None => mistake,
        });
        return;
    };
    if port.protocol != workload.protocol {
        let word = |protocol| match protocol {
            Protocol::Http1 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
            Protocol::Tcp => "TCP",
        };
        let said = word(workload.protocol);
        let meant = word(port.protocol);
        let message = format!("`{}` speaks {said}, its Service says {meant}", workload.name.value);
        let mistake = Mistake::new(place, message).label(&service.place, "the Service");
        mistakes
            .push(mistake.help("set `protocol` here, or `appProtocol` (http, http2, grpc, tcp) of the Service's port"));
    }
}
