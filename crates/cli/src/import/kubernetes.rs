//! Manifests of Kubernetes: Services with their routes and policies are the mesh, workloads the services of the scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use squall_control::yaml::{self, Kind, Node};
use squall_sim::scenario::{Disk, Files};

use super::Imported;
use crate::draft::{Draft, Load, Service, Step, label};
use crate::new::rate_text;
use crate::numbers::count;

/// What becomes part of the mesh as it is.
const OURS: [&str; 6] =
    ["HTTPRoute", "GRPCRoute", "TrafficPolicy", "FaultInjection", "AuthorizationPolicy", "PeerAuthentication"];

/// A workload.
struct Workload {
    kind: String,
    namespace: String,
    name: String,
    replicas: u32,
    labels: BTreeMap<String, String>,
    /// The first container port.
    port: Option<u16>,
    /// Ports by name.
    ports: BTreeMap<String, u16>,
    /// Environment variables with text values, in the order of the file.
    env: Vec<(String, String)>,
}

/// A Service that selects pods.
struct Found {
    namespace: String,
    name: String,
    selector: BTreeMap<String, String>,
    /// Number, target as written, protocol in scenarios' words.
    ports: Vec<(u16, String, &'static str)>,
    /// Its manifest.
    text: String,
}

#[derive(Default)]
struct Manifests {
    workloads: Vec<Workload>,
    services: Vec<Found>,
    /// Endpoints by namespace and Service.
    slices: BTreeMap<(String, String), u32>,
    /// Routes and policies: kind, namespace/name, text.
    ours: Vec<(String, String, String)>,
    /// Kinds that mean nothing here, with how many there are.
    left: BTreeMap<String, u32>,
    notes: Vec<String>,
}

pub(super) fn import(paths: &[PathBuf], rate: Option<u64>) -> Result<Imported, String> {
    let mut manifests = Manifests::default();
    let mut files = 0;
    for path in paths {
        let all = if path.is_dir() {
            let all = Disk.list(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            all.into_iter().filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml")).collect()
        } else {
            vec![path.clone()]
        };
        for path in all {
            files += 1;
            manifests.read(&path)?;
        }
    }
    let Manifests { workloads, services, .. } = &manifests;
    if services.is_empty() {
        return Err("there is no Service that selects pods in these files: a mesh is made of Services".to_owned());
    }
    let mut notes = vec![format!(
        "read {} and {} of {}",
        count(workloads.len(), "workload"),
        count(services.len(), "Service"),
        count(files, "file")
    )];
    let draft = draft(&mut manifests, rate)?;
    notes.append(&mut manifests.notes);
    if !manifests.left.is_empty() {
        let list: Vec<String> = manifests.left.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        notes.push(format!("left out, since a rehearsal has no use for it: {}", list.join(", ")));
    }
    Ok(Imported { draft, notes })
}

fn at<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    let Some((first, rest)) = path.split_first() else { return Some(node) };
    let Kind::Map(entries) = &node.kind else { return None };
    at(&entries.iter().find(|(key, _)| key.name == *first)?.1, rest)
}

fn text<'n>(node: &'n Node, path: &[&str]) -> Option<&'n str> {
    match &at(node, path)?.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::List(_) | Kind::Map(_) => None,
    }
}

fn items<'n>(node: &'n Node, path: &[&str]) -> &'n [Node] {
    match at(node, path).map(|node| &node.kind) {
        Some(Kind::List(items)) => items,
        Some(Kind::Scalar { .. } | Kind::Map(_)) | None => &[],
    }
}

fn texts(node: &Node, path: &[&str]) -> BTreeMap<String, String> {
    match at(node, path).map(|node| &node.kind) {
        Some(Kind::Map(entries)) => {
            entries.iter().filter_map(|(key, value)| Some((key.name.clone(), text(value, &[])?.to_owned()))).collect()
        }
        Some(Kind::Scalar { .. } | Kind::List(_)) | None => BTreeMap::new(),
    }
}

impl Manifests {
    fn read(&mut self, path: &Path) -> Result<(), String> {
        let file = path.to_string_lossy();
        let source = Disk.read(path).map_err(|error| format!("cannot read {file}: {error}"))?;
        let documents = yaml::parse(&file, &source).map_err(|mistakes| {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            format!(
                "{first}{}",
                if mistakes.len() > 1 { format!(" (and {} more)", mistakes.len() - 1) } else { String::new() }
            )
        })?;
        for document in &documents {
            match text(document, &["kind"]) {
                Some("List") => items(document, &["items"]).iter().for_each(|item| self.take(item, &source)),
                _ => self.take(document, &source),
            }
        }
        Ok(())
    }

    fn take(&mut self, node: &Node, source: &str) {
        let kind = text(node, &["kind"]).unwrap_or("documents without a kind").to_owned();
        let namespace = text(node, &["metadata", "namespace"]).unwrap_or("default").to_owned();
        let name = text(node, &["metadata", "name"]).unwrap_or_default().to_owned();
        let own = own_text(node, source);
        match kind.as_str() {
            "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet" => {
                self.workloads.push(workload(node, kind, namespace, name));
            }
            "Service" => match service(node, &namespace, &name, own) {
                Some(service) => self.services.push(service),
                None => self.notes.push(format!("Service {namespace}/{name} selects no pods and was left out")),
            },
            "EndpointSlice" => {
                let of =
                    text(node, &["metadata", "labels", "kubernetes.io/service-name"]).unwrap_or_default().to_owned();
                let count: usize =
                    items(node, &["endpoints"]).iter().map(|endpoint| items(endpoint, &["addresses"]).len()).sum();
                *self.slices.entry((namespace, of)).or_default() += u32::try_from(count).unwrap_or(1000);
            }
            known if OURS.contains(&known) => self.ours.push((kind, format!("{namespace}/{name}"), own)),
            _ => *self.left.entry(kind).or_default() += 1,
        }
    }
}

/// The text of a document, or of an item of a List, from the left.
fn own_text(node: &Node, source: &str) -> String {
    let body = source.get(node.place.start..node.place.end).unwrap_or_default();
    let indent = node.place.column.saturating_sub(1);
    let mut text = String::new();
    for (nth, line) in body.split_inclusive('\n').enumerate() {
        let blank = if nth == 0 { 0 } else { (line.len() - line.trim_start_matches(' ').len()).min(indent) };
        text.push_str(&line[blank..]);
    }
    text.push('\n');
    text
}

fn workload(node: &Node, kind: String, namespace: String, name: String) -> Workload {
    let containers = items(node, &["spec", "template", "spec", "containers"]);
    let ports = containers.iter().flat_map(|container| items(container, &["ports"]));
    let number = |port: &Node| text(port, &["containerPort"]).and_then(|port| port.parse().ok());
    Workload {
        kind,
        namespace,
        name,
        replicas: text(node, &["spec", "replicas"]).and_then(|count| count.parse().ok()).unwrap_or(1),
        labels: texts(node, &["spec", "template", "metadata", "labels"]),
        port: ports.clone().find_map(number),
        ports: ports.filter_map(|port| Some((text(port, &["name"])?.to_owned(), number(port)?))).collect(),
        env: containers
            .iter()
            .flat_map(|container| items(container, &["env"]))
            .filter_map(|entry| Some((text(entry, &["name"])?.to_owned(), text(entry, &["value"])?.to_owned())))
            .collect(),
    }
}

fn service(node: &Node, namespace: &str, name: &str, own: String) -> Option<Found> {
    let selector = texts(node, &["spec", "selector"]);
    let ports: Vec<(u16, String, &'static str)> = items(node, &["spec", "ports"])
        .iter()
        .filter_map(|port| {
            let number: u16 = text(port, &["port"])?.parse().ok()?;
            let target = text(port, &["targetPort"]).map_or_else(|| number.to_string(), str::to_owned);
            Some((number, target, spoken(port, number)))
        })
        .collect();
    if selector.is_empty() || ports.is_empty() {
        return None;
    }
    Some(Found { namespace: namespace.to_owned(), name: name.to_owned(), selector, ports, text: own })
}

/// What is spoken at a port, as the control plane takes it, in the words of scenarios.
fn spoken(port: &Node, number: u16) -> &'static str {
    let said = text(port, &["appProtocol"]).or_else(|| text(port, &["name"])?.split('-').next());
    match said {
        Some("grpc") => "grpc",
        Some("http2" | "h2c" | "kubernetes.io/h2c") => "http2",
        Some("tcp" | "tls" | "https" | "mongo" | "mysql" | "redis" | "kubernetes.io/wss") => "tcp",
        Some("http" | "grpc-web" | "kubernetes.io/ws") => "http1",
        _ if squall_policy::OPAQUE_PORTS.contains(&number) => "tcp",
        _ => "http1",
    }
}

impl Found {
    fn selects(&self, labels: &BTreeMap<String, String>, namespace: &str) -> bool {
        self.namespace == namespace && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The Service as scenarios of several namespaces name it.
    fn host(&self, from: &str, port: Option<u16>) -> String {
        let name = if self.namespace == from { self.name.clone() } else { format!("{}.{}", self.name, self.namespace) };
        let known = |port: u16| self.ports.iter().any(|(number, _, _)| *number == port);
        match port.filter(|port| known(*port)).or_else(|| (!known(80)).then(|| self.ports[0].0)) {
            Some(port) if port != 80 => format!("{name}:{port}"),
            _ => name,
        }
    }
}

/// What a value of the environment names, if it is a Service: `http://cart.shop:7070/x`, `cart:7070`, `cart`.
fn named<'s>(value: &str, from: &str, services: &'s [Found]) -> Option<(&'s Found, Option<u16>)> {
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (authority, None),
    };
    let mut labels = host.split('.');
    let name = labels.next()?;
    let namespace = labels.next().unwrap_or(from);
    let tail: Vec<&str> = labels.collect();
    if !tail.is_empty() && tail[0] != "svc" {
        return None;
    }
    let found = services.iter().find(|service| service.name == name && service.namespace == namespace)?;
    Some((found, port))
}

fn draft(manifests: &mut Manifests, rate: Option<u64>) -> Result<Draft, String> {
    let mut draft = Draft { duration: "30s".to_owned(), ..Draft::default() };
    draft.question =
        vec!["What do the manifests' services do under load? (who calls whom is guessed: see the comments)".to_owned()];
    let mut mesh = String::from("# The Services, routes and policies of the manifests, as they were.\n");
    let mut kept = Vec::new();
    let mut taken = BTreeSet::new();
    let services = std::mem::take(&mut manifests.services);
    for service in services {
        let pods = manifests
            .workloads
            .iter()
            .filter(|workload| service.selects(&workload.labels, &workload.namespace))
            .count();
        let slices = manifests.slices.get(&(service.namespace.clone(), service.name.clone())).copied();
        if pods == 0 && slices.is_none() {
            manifests.notes.push(format!(
                "Service {}/{} selects no workload in these files and was left out",
                service.namespace, service.name
            ));
            continue;
        }
        if pods == 0 {
            manifests.workloads.push(Workload {
                kind: "EndpointSlice".to_owned(),
                namespace: service.namespace.clone(),
                name: service.name.clone(),
                replicas: slices.unwrap_or(1),
                labels: service.selector.clone(),
                port: service.ports[0].1.parse().ok(),
                ports: BTreeMap::new(),
                env: Vec::new(),
            });
        }
        kept.push(service);
    }
    for service in &kept {
        push(
            &mut mesh,
            &service.text,
            &mut taken,
            &format!("Service {}/{}", service.namespace, service.name),
            &mut manifests.notes,
        );
    }
    for (kind, id, own) in &manifests.ours {
        push(&mut mesh, own, &mut taken, &format!("{kind} {id}"), &mut manifests.notes);
    }
    draft.manifests = Some(mesh);
    let namespaces: BTreeSet<&str> = kept.iter().map(|service| service.namespace.as_str()).collect();
    let mut names = BTreeSet::new();
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    for workload in &manifests.workloads {
        let selected: Vec<&Found> =
            kept.iter().filter(|service| service.selects(&workload.labels, &workload.namespace)).collect();
        let Some(first) = selected.first() else {
            manifests.notes.push(format!(
                "{} {}/{} is selected by no Service and was left out",
                workload.kind, workload.namespace, workload.name
            ));
            continue;
        };
        let name = unique(&label(&workload.name), &workload.namespace, &mut names);
        for service in &selected {
            hosts.insert(format!("{}/{}", service.namespace, service.name), name.clone());
        }
        draft.services.push(of_workload(workload, &name, first, &kept, namespaces.len() > 1));
    }
    break_circles(&mut draft, &kept, &hosts, &mut manifests.notes);
    loads(&mut draft, manifests, &kept, &hosts, rate)?;
    draft.expect =
        vec![("Without faults everybody is served.".to_owned(), "{overall: 'successRate >= 0.99'}".to_owned())];
    Ok(draft)
}

/// Takes a manifest into the mesh; one that the control plane would refuse by itself is an error further on, with its place.
fn push(mesh: &mut String, own: &str, taken: &mut BTreeSet<String>, id: &str, notes: &mut Vec<String>) {
    if !taken.insert(id.to_owned()) {
        notes.push(format!("{id} is given twice: the first is taken"));
        return;
    }
    if taken.len() > 1 {
        mesh.push_str("---\n");
    }
    mesh.push_str(own);
}

fn unique(name: &str, namespace: &str, names: &mut BTreeSet<String>) -> String {
    let mut found = name.to_owned();
    let mut nth = 1;
    while !names.insert(found.clone()) {
        nth += 1;
        found = if nth == 2 { format!("{name}-{}", label(namespace)) } else { format!("{name}-{nth}") };
    }
    found
}

fn of_workload(workload: &Workload, name: &str, service: &Found, services: &[Found], says_namespace: bool) -> Service {
    let (_, target, protocol) = &service.ports[0];
    let port = target.parse().ok().or_else(|| workload.ports.get(target).copied()).or(workload.port).unwrap_or(80);
    let mut found = Service {
        name: name.to_owned(),
        replicas: workload.replicas.clamp(1, 1000),
        port,
        notes: vec!["`time` and `slots` are not in manifests: this is made up, put in what you measure.".to_owned()],
        ..Service::default()
    };
    if says_namespace {
        found.say(format!("namespace: {}", workload.namespace));
    }
    // A pod that only slices show has whatever name its Service asks for; another has those of its containers.
    if target.parse::<u16>().is_err() && (workload.kind == "EndpointSlice" || workload.ports.contains_key(target)) {
        found.say(format!("portName: {target}"));
    }
    if *protocol != "http1" {
        found.say(format!("protocol: {protocol}"));
    }
    let labels: Vec<String> = workload.labels.iter().map(|(key, value)| format!("\"{key}\": \"{value}\"")).collect();
    found.say(format!("labels: {{{}}}", labels.join(", ")));
    found.say("time: {p50: 4ms, p99: 20ms}");
    let mut called = BTreeSet::new();
    for (variable, value) in &workload.env {
        let Some((to, port)) = named(value, &workload.namespace, services) else { continue };
        let id = format!("{}/{}", to.namespace, to.name);
        if to.selects(&workload.labels, &workload.namespace) || !called.insert(id.clone()) {
            continue;
        }
        found.notes.push(format!("Calls {}: guessed from {variable}={value}.", to.name));
        found.steps.push(Step::Call(to.host(&workload.namespace, port), String::new()));
    }
    if found.steps.is_empty() {
        found.notes.push("Calls nobody, as far as its environment says: add `steps: [{call: NAME}]`.".to_owned());
    }
    found
}

/// Of calls in a circle the last is left out: a script cannot have it.
fn break_circles(draft: &mut Draft, services: &[Found], hosts: &BTreeMap<String, String>, notes: &mut Vec<String>) {
    // In terms of workloads, for which the draft looks for circles.
    let namespace_of = |draft: &Draft, name: &str| -> Vec<(String, String)> {
        let Some(service) = draft.services.iter().find(|service| service.name == name) else { return Vec::new() };
        service.calls().into_iter().map(|host| (host.to_owned(), workload_of(host, services, hosts))).collect()
    };
    loop {
        let shape = Draft {
            services: draft
                .services
                .iter()
                .map(|service| Service {
                    name: service.name.clone(),
                    steps: namespace_of(draft, &service.name)
                        .into_iter()
                        .map(|(_, to)| Step::Call(to, String::new()))
                        .collect(),
                    ..Service::default()
                })
                .collect(),
            ..Draft::default()
        };
        let Some(circle) = shape.circle() else { return };
        let [.., from, to] = circle.as_slice() else { return };
        let hosts_of: BTreeMap<String, String> = namespace_of(draft, from).into_iter().collect();
        for service in draft.services.iter_mut().filter(|service| service.name == *from) {
            service.steps.retain(|step| !matches!(step, Step::Call(host, _) if hosts_of.get(host) == Some(to)));
            service
                .notes
                .push(format!("It names {to} too, which calls it: left out, since calls must not go in a circle."));
        }
        notes.push(format!("calls go in a circle, {}: that of {from} to {to} was left out", circle.join(" → ")));
    }
}

fn workload_of(host: &str, services: &[Found], hosts: &BTreeMap<String, String>) -> String {
    let plain = host.split(':').next().unwrap_or(host);
    let (name, namespace) = plain.split_once('.').map_or((plain, None), |(name, namespace)| (name, Some(namespace)));
    let found = services
        .iter()
        .find(|service| service.name == name && namespace.is_none_or(|wanted| wanted == service.namespace));
    let id = found.map(|service| format!("{}/{}", service.namespace, service.name)).unwrap_or_default();
    hosts.get(&id).cloned().unwrap_or_else(|| name.to_owned())
}

/// Load at every Service that nobody calls and that speaks HTTP.
fn loads(
    draft: &mut Draft,
    manifests: &mut Manifests,
    services: &[Found],
    hosts: &BTreeMap<String, String>,
    rate: Option<u64>,
) -> Result<(), String> {
    let called: BTreeSet<String> = draft
        .services
        .iter()
        .flat_map(|service| {
            service.calls().into_iter().map(|host| workload_of(host, services, hosts)).collect::<Vec<_>>()
        })
        .collect();
    let mut seen = BTreeSet::new();
    for service in services {
        let Some(workload) = hosts.get(&format!("{}/{}", service.namespace, service.name)) else { continue };
        if called.contains(workload) || !seen.insert(workload.clone()) {
            continue;
        }
        draft.loads.push(Load {
            to: service.host("", None),
            arrivals: format!("name: load-{workload}\n      rate: {}", rate_text(rate.unwrap_or(100_000))),
            mix: Vec::new(),
            note: "Nobody is known to call it, so requests arrive here. The rate is made up, unless --rate said it."
                .to_owned(),
        });
    }
    if draft.loads.is_empty() {
        return Err("there is no Service for requests to arrive at".to_owned());
    }
    if draft.loads.len() > 1 {
        manifests
            .notes
            .push(format!("requests arrive at {} Services, since nobody is known to call them", draft.loads.len()));
    }
    Ok(())
}
