//! Istio isotope's service graphs (`MockServiceGraph`), run as they are, over a generated mesh of plain Services.
//!
//! Source: istio/tools, isotope/README.md and its example topologies. Every service listens at 8080, as isotope's do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_control::units::{scaled, show};
use squall_control::yaml::{Fields, Key, Kind, Node, Value};
use squall_control::{Mistake, Mistakes};
use squall_policy::Protocol;

use super::read::{RESPONSE_BYTES_OF_ISOTOPE, check_mesh, default_mix, dns_label, zone_default};
use super::{
    Arrivals, Call, ControlSpec, Distribution, Expectation, Load, Located, MeshFile, Network, Phase, Rate,
    RequestMatch, RouteScript, Scenario, ServiceSpec, Spacing, Step, Suite, Version, Window, Work, units,
};

/// Where isotope's services listen.
const PORT: u16 = 8080;

/// How an isotope graph without a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsotopeLoad {
    /// Poisson arrivals at each entry point, more than 0. Default 100/s.
    pub rate: Rate,
    /// For so long, more than 0. Default 30 s.
    pub duration: Duration,
}

impl Default for IsotopeLoad {
    fn default() -> Self {
        Self { rate: Rate(100_000), duration: Duration::from_secs(30) }
    }
}

/// The services of a graph, and the mesh made for them.
pub(super) struct Graph {
    pub(super) services: Vec<ServiceSpec>,
    pub(super) mesh: MeshFile,
}

/// Whether a document is an isotope graph: by its kind, or, as in isotope's own examples, by having `services` in a list and no
/// kind at all.
pub(super) fn is_graph(document: &Node) -> bool {
    let Kind::Map(entries) = &document.kind else { return false };
    let field = |name: &str| entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| &value.kind);
    match field("kind") {
        Some(Kind::Scalar { text, .. }) => text == "MockServiceGraph",
        Some(_) => false,
        None => matches!(field("services"), Some(Kind::List(_))),
    }
}

/// What a graph's `defaults` say; a service may say otherwise.
#[derive(Clone, Default)]
struct Defaults<'a> {
    grpc: bool,
    replicas: u32,
    error_ppm: u32,
    response_bytes: u64,
    request_bytes: u64,
    script: Option<Value<'a>>,
}

/// Reads the graph in `documents`.
pub(super) fn graph(documents: &[Node], file: &Arc<str>, mistakes: &Mistakes) -> Option<Graph> {
    let [document] = documents else {
        mistakes.push(Mistake::new(&squall_control::Place::whole(file), "an isotope file holds one graph"));
        return None;
    };
    let whole = Value::new(document, mistakes);
    let fields =
        whole.fields("a service graph", &["apiVersion", "kind", "metadata", "default", "defaults", "services"])?;
    let defaults = match fields.get("defaults").or(fields.get("default")) {
        Some(defaults) => read_defaults(defaults)?,
        None => Defaults { replicas: 1, ..Defaults::default() },
    };
    let list = fields.required("services")?.list()?;
    let mut grpc: BTreeMap<&str, bool> = BTreeMap::new();
    for service in &list {
        if let Some((name, of)) = kind_of(*service, &defaults) {
            grpc.insert(name, of);
        }
    }
    let mut services: Vec<ServiceSpec> = Vec::new();
    for value in &list {
        let Some(service) = read_service(*value, &defaults, &grpc) else { continue };
        if let Some(first) = services.iter().find(|known| known.name.value == service.name.value) {
            let mistake = Mistake::new(&service.name.place, format!("`{}` is given twice", service.name.value));
            mistakes.push(mistake.label(&first.name.place, "first given here"));
            continue;
        }
        services.push(service);
    }
    if services.is_empty() {
        return whole.refuse("a graph needs one service or more");
    }
    if services.len() < list.len() {
        return None;
    }
    if services.iter().all(|service| !service.entry) {
        let mistake = Mistake::new(whole.place(), "the graph has no entry point");
        mistakes.push(mistake.help("mark one service with `isEntrypoint: true`"));
        return None;
    }
    let name: Arc<str> = format!("{file}#mesh").into();
    let text: Arc<str> = services.iter().map(manifest).collect::<Vec<_>>().join("---\n").into();
    Some(Graph { services, mesh: MeshFile { name, text } })
}

/// A scenario of the graph alone: every entry point gets `load`, and every request must be answered without error unless the
/// graph itself has errors.
pub(super) fn scenario(documents: &[Node], load: &IsotopeLoad, mistakes: &Mistakes) -> Option<Scenario> {
    let document = documents.first()?;
    let file = Arc::clone(&document.place.file);
    let Graph { mut services, mesh } = graph(documents, &file, mistakes)?;
    check_mesh(&mesh, &services, mistakes);
    let zones = vec![zone_default()];
    for service in &mut services {
        service.zones = zones.clone();
    }
    let healthy =
        services.iter().flat_map(|service| &service.versions[0].routes).all(|route| route.work.error_ppm == 0);
    let entries: Vec<&ServiceSpec> = services.iter().filter(|service| service.entry).collect();
    let loads = entries
        .iter()
        .map(|entry| Load {
            place: entry.name.place.clone(),
            name: if entries.len() == 1 { "load".into() } else { format!("load-{}", entry.name.value).into() },
            namespace: Arc::clone(&entry.namespace),
            to: Located { value: format!("{}:{PORT}", entry.name.value), place: entry.name.place.clone() },
            arrivals: Arrivals::Open {
                phases: vec![Phase { from: Duration::ZERO, until: load.duration, first: load.rate, last: load.rate }],
                spacing: Spacing::Poisson,
            },
            mix: default_mix(&[entry]),
            timeout: Duration::from_secs(30),
            hosts: 1,
            http: entry.protocol,
            zones: zones.clone(),
            from: Duration::ZERO,
            until: load.duration,
            requests: None,
            batch: 1,
            spread: super::Spread::Turn,
        })
        .collect();
    let stem = std::path::Path::new(&*file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let that = if healthy { "successRate == 1.0" } else { "unanswered == 0" };
    let place = document.place.clone();
    Some(Scenario {
        name: Located { value: stem.unwrap_or_else(|| "isotope".to_owned()), place: place.clone() },
        question: format!(
            "Does the isotope graph of {} services answer {} requests per second for {}?",
            services.len(),
            load.rate.per_second(),
            show(load.duration)
        ),
        suite: Suite::Test,
        mesh: vec![mesh],
        duration: load.duration,
        drain: Duration::from_secs(31),
        resolution: None,
        network: Network { zones: zones.clone(), links: Vec::new() },
        control: ControlSpec { zone: zone_default() },
        services,
        load: loads,
        faults: Vec::new(),
        layers: super::PerLayer::default(),
        answers: Vec::new(),
        expect: vec![Expectation {
            place: place.clone(),
            window: Window::Overall,
            that: Located { value: that.to_owned(), place },
        }],
    })
}

fn read_defaults(value: Value<'_>) -> Option<Defaults<'_>> {
    let fields = value.fields(
        "defaults",
        &["type", "numReplicas", "errorRate", "responseSize", "requestSize", "script", "numRbacPolicies"],
    )?;
    policies(fields);
    Some(Defaults {
        grpc: fields.get("type").map_or(Some(false), is_grpc)?,
        replicas: fields.get("numReplicas").map_or(Some(1), |count| count.integer_u32(1, 1000))?,
        error_ppm: fields.get("errorRate").map_or(Some(0), |rate| rate.parsed(percentage))?,
        response_bytes: fields
            .get("responseSize")
            .map_or(Some(RESPONSE_BYTES_OF_ISOTOPE), |size| size.parsed(units::isotope_bytes))?,
        request_bytes: fields.get("requestSize").map_or(Some(0), |size| size.parsed(units::isotope_bytes))?,
        script: fields.get("script"),
    })
}

/// `numRbacPolicies` makes isotope generate policies that allow nothing new, to measure what evaluating them costs. They do not
/// change which request is answered how, and the simulator charges no time for policies, so there is nothing to do.
fn policies(fields: Fields<'_>) {
    let _ = fields.get("numRbacPolicies").and_then(|count| count.integer(0, 100_000));
}

fn is_grpc(value: Value<'_>) -> Option<bool> {
    value.choice(&[("http", false), ("grpc", true)])
}

/// `0.1%`, or the share itself, `0.001`.
fn percentage(text: &str) -> Result<u32, String> {
    if text.ends_with('%') {
        return units::share(text);
    }
    match scaled(text, 1_000_000).and_then(|ppm| u32::try_from(ppm).ok()) {
        Some(ppm) if ppm <= 1_000_000 => Ok(ppm),
        Some(_) | None => Err(format!("`{text}` is not a percentage: write 0.1%")),
    }
}

fn kind_of<'a>(service: Value<'a>, defaults: &Defaults<'_>) -> Option<(&'a str, bool)> {
    let Kind::Map(entries) = &service.node().kind else { return None };
    let text = |name: &str| {
        let (_, value) = entries.iter().find(|(key, _): &&(Key, Node)| key.name == name)?;
        match &value.kind {
            Kind::Scalar { text, .. } => Some(text.as_str()),
            Kind::List(_) | Kind::Map(_) => None,
        }
    };
    Some((text("name")?, text("type").map_or(defaults.grpc, |kind| kind == "grpc")))
}

fn read_service(value: Value<'_>, defaults: &Defaults<'_>, grpc: &BTreeMap<&str, bool>) -> Option<ServiceSpec> {
    const SERVICE: &[&str] = &[
        "name",
        "namespace",
        "type",
        "numReplicas",
        "isEntrypoint",
        "errorRate",
        "responseSize",
        "script",
        "numRbacPolicies",
    ];
    let refused = [("cluster", "one mesh is one cluster here"), ("clusters", "one mesh is one cluster here")];
    let fields = value.fields_beside("a service of the graph", SERVICE, &refused)?;
    policies(fields);
    let named = fields.required("name")?;
    let name = dns_label(named)?;
    if name == ControlSpec::HOST || name == "load" {
        return named.refuse(format!("`{name}` is taken by the simulator"));
    }
    let is_grpc = fields.get("type").map_or(Some(defaults.grpc), is_grpc)?;
    let work = Work {
        time: Distribution::Constant(Duration::ZERO),
        error_ppm: fields.get("errorRate").map_or(Some(defaults.error_ppm), |rate| rate.parsed(percentage))?,
        error_status: 500,
        contention: None,
        response_bytes: fields
            .get("responseSize")
            .map_or(Some(defaults.response_bytes), |size| size.parsed(units::isotope_bytes))?,
    };
    let steps = match fields.get("script").or(defaults.script) {
        Some(script) => {
            script.list()?.into_iter().map(|value| step(value, defaults, grpc, true)).collect::<Option<Vec<_>>>()?
        }
        None => Vec::new(),
    };
    let matches = RequestMatch { method: None, path: None, prefix: false };
    let route = RouteScript { place: value.place().clone(), matches, weight: 1, work, steps };
    let replicas = fields.get("numReplicas").map_or(Some(defaults.replicas), |count| count.integer_u32(1, 1000))?;
    Some(ServiceSpec {
        name: Located { value: name.to_owned(), place: named.place().clone() },
        namespace: fields.get("namespace").map_or(Some("default"), dns_label)?.into(),
        labels: vec![("app".to_owned(), name.to_owned())],
        port: PORT,
        port_name: None,
        protocol: if is_grpc { Protocol::Http2 } else { Protocol::Http1 },
        grpc: is_grpc,
        zones: Vec::new(),
        versions: vec![Version { name: "".into(), replicas, endpoint_weight: 1, routes: vec![route] }],
        slots: None,
        queue: None,
        finishes_abandoned: true,
        cpu_per_poll: Duration::ZERO,
        clock_ahead: Duration::ZERO,
        health_check: None,
        entry: fields.get("isEntrypoint").map_or(Some(false), |entry| entry.boolean())?,
    })
}

fn step(value: Value<'_>, defaults: &Defaults<'_>, grpc: &BTreeMap<&str, bool>, nest: bool) -> Option<Step> {
    if value.is_list() {
        if !nest {
            return value.refuse("lists are nested once only");
        }
        let branches = value.list()?.into_iter().map(|value| Some(vec![step(value, defaults, grpc, false)?]));
        return Some(Step::Parallel(branches.collect::<Option<Vec<_>>>()?));
    }
    let fields = value.fields("a step", &["sleep", "call"])?;
    match (fields.get("sleep"), fields.get("call")) {
        (Some(sleep), None) => Some(Step::Sleep(Distribution::Constant(sleep.duration()?))),
        (None, Some(call)) => call_step(call, defaults, grpc).map(Step::Call),
        (_, _) => value.refuse("a step is `sleep` or `call`"),
    }
}

fn call_step(value: Value<'_>, defaults: &Defaults<'_>, grpc: &BTreeMap<&str, bool>) -> Option<Call> {
    let (named, size, probability, host) = if value.is_scalar() {
        (value, defaults.request_bytes, 1_000_000, None)
    } else {
        let fields = value.fields("a call", &["service", "size", "payloadSize", "probability", "call-override"])?;
        let size = fields.get("size").or(fields.get("payloadSize"));
        let size = size.map_or(Some(defaults.request_bytes), |size| size.parsed(units::isotope_bytes))?;
        // In percent; isotope takes 0 for "always".
        let probability = fields.get("probability").map_or(Some(0), |percent| percent.integer_u32(0, 100))?;
        let probability = if probability == 0 { 1_000_000 } else { probability * 10_000 };
        (fields.required("service")?, size, probability, fields.get("call-override"))
    };
    let name = named.name()?;
    let Some(called) = grpc.get(name) else {
        let mistake = Mistake::new(named.place(), format!("`{name}` is not a service of the graph"));
        named.mistakes().push(mistake.suggest(name, grpc.keys().copied()));
        return None;
    };
    let host = match host {
        Some(host) => Located { value: host.name()?.to_owned(), place: host.place().clone() },
        None => Located { value: format!("{name}:{PORT}"), place: named.place().clone() },
    };
    Some(Call {
        place: named.place().clone(),
        host,
        method: if *called { "POST" } else { "GET" }.to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        drawn: Vec::new(),
        request_bytes: size,
        timeout: None,
        tries: 1,
        optional: false,
        repeat: 1,
        fan_out: 1,
        probability_ppm: probability,
    })
}

/// A Service as a person would write it for this workload.
fn manifest(service: &ServiceSpec) -> String {
    let (name, namespace) = (&service.name.value, &service.namespace);
    let protocol = if service.grpc { "\n    appProtocol: kubernetes.io/h2c" } else { "" };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  selector:\n    app: {name}\n  \
         ports:\n  - port: {PORT}\n    targetPort: {PORT}{protocol}\n"
    )
}
