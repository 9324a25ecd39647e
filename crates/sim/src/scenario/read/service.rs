//! Reads `services`: workloads, their versions and their scripts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_control::yaml::{Key, Kind, Value};
use squall_control::{Mistake, Mistakes};
use squall_policy::Protocol;

use super::mesh::Resources;
use super::value;
use crate::scenario::{
    Call, Contention, ControlSpec, Distribution, Located, RequestMatch, RouteScript, ServiceSpec, Step, Version, Work,
    units,
};

const SERVICE: &[&str] = &[
    "namespace",
    "labels",
    "port",
    "portName",
    "protocol",
    "replicas",
    "endpointWeight",
    "zones",
    "versions",
    "slots",
    "queue",
    "abandoned",
    "cpuPerPoll",
    "clockAhead",
    "healthCheck",
    "entry",
    "time",
    "errorRate",
    "errorStatus",
    "contention",
    "responseSize",
    "steps",
    "routes",
];
const VERSION: &[&str] = &[
    "replicas",
    "endpointWeight",
    "time",
    "errorRate",
    "errorStatus",
    "contention",
    "responseSize",
    "steps",
    "routes",
];
const ROUTE: &[&str] = &["match", "weight", "time", "errorRate", "errorStatus", "contention", "responseSize", "steps"];

/// What answers without one are long.
pub(in crate::scenario) const RESPONSE_BYTES: u64 = 128;

/// The services of the scenario.
pub(super) fn services(entries: &[(&Key, Value<'_>)], zones: &[Arc<str>], resources: &Resources) -> Vec<ServiceSpec> {
    let grpc: Vec<&str> =
        entries.iter().filter(|(_, value)| is_grpc(*value)).map(|(key, _)| key.name.as_str()).collect();
    let mut services: Vec<ServiceSpec> = Vec::new();
    for (key, value) in entries {
        services.extend(service(key, *value, zones, resources, &grpc));
    }
    services
}

/// Known before the service is read, since calls to it are POSTs.
fn is_grpc(service: Value<'_>) -> bool {
    match &service.node().kind {
        Kind::Map(entries) => entries.iter().any(|(key, value)| {
            key.name == "protocol" && matches!(&value.kind, Kind::Scalar { text, .. } if text == "grpc")
        }),
        Kind::Scalar { .. } | Kind::List(_) => false,
    }
}

/// What a service, a version or a route says of its work; `None`: as the level above.
#[derive(Clone, Default)]
struct Said {
    time: Option<Distribution>,
    error_ppm: Option<u32>,
    error_status: Option<u16>,
    contention: Option<Contention>,
    response_bytes: Option<u64>,
}

impl Said {
    fn read(fields: squall_control::yaml::Fields<'_>) -> Self {
        Self {
            time: fields.get("time").and_then(value::distribution),
            error_ppm: fields.get("errorRate").and_then(|rate| rate.parsed(units::share)),
            error_status: fields.get("errorStatus").and_then(status),
            contention: fields.get("contention").and_then(contention),
            response_bytes: fields.get("responseSize").and_then(|size| size.parsed(units::bytes)),
        }
    }

    fn or(self, above: &Work) -> Work {
        Work {
            time: self.time.unwrap_or_else(|| above.time.clone()),
            error_ppm: self.error_ppm.unwrap_or(above.error_ppm),
            error_status: self.error_status.unwrap_or(above.error_status),
            contention: self.contention.or(above.contention),
            response_bytes: self.response_bytes.unwrap_or(above.response_bytes),
        }
    }
}

fn status(value: Value<'_>) -> Option<u16> {
    value.integer(400, 599).and_then(|status| u16::try_from(status).ok())
}

/// `optimistic`, or `{optimistic: {rows: 10, status: 412}}`.
fn contention(value: Value<'_>) -> Option<Contention> {
    let plain = Contention { rows: 1, status: 409 };
    if value.is_scalar() {
        return value.choice(&[("optimistic", plain)]);
    }
    let fields = value.fields("contention", &["optimistic"])?;
    let fields = fields.required("optimistic")?.fields("optimistic contention", &["rows", "status"])?;
    Some(Contention {
        rows: fields.get("rows").map_or(Some(plain.rows), |rows| rows.integer_u32(1, u32::MAX))?,
        status: fields.get("status").map_or(Some(plain.status), status)?,
    })
}

struct Context<'c> {
    namespace: &'c str,
    grpc: &'c [&'c str],
    resources: &'c Resources,
}

fn service(
    key: &Key,
    value: Value<'_>,
    zones: &[Arc<str>],
    resources: &Resources,
    grpc: &[&str],
) -> Option<ServiceSpec> {
    let mistakes = value.mistakes();
    let name = &key.name;
    if !value::is_dns_label(name) || name == ControlSpec::HOST {
        let message =
            format!("`{name}` cannot be a service's name: lower-case letters, digits and `-`, and not `control`");
        mistakes.push(Mistake::new(&key.place, message));
    }
    let empty = squall_control::yaml::Node { place: value.place().clone(), kind: Kind::Map(Vec::new()) };
    let value = if value.is_null() { Value::new(&empty, mistakes) } else { value };
    // The borrow of `empty` ends with this function, so nothing read from it may leave it; all that leaves is owned.
    let fields = value.fields_beside("a service", SERVICE, &[("name", "the key is the name")])?;

    let namespaces = resources.namespaces();
    let namespace: Arc<str> = match (fields.get("namespace"), namespaces.as_slice()) {
        (Some(namespace), known) => {
            let text = namespace.name()?;
            if !known.contains(&text) {
                let mistake = Mistake::new(namespace.place(), format!("the mesh has no namespace `{text}`"));
                mistakes.push(mistake.suggest(text, known.iter().copied()));
            }
            text.into()
        }
        (None, [only]) => (*only).into(),
        (None, []) => "default".into(),
        (None, known) => {
            let mistake = Mistake::new(&key.place, format!("`{name}` needs `namespace`: the mesh has several"));
            mistakes.push(mistake.help(format!("one of {}", known.join(", "))));
            known[0].into()
        }
    };
    let mut labels: Vec<(String, String)> = match fields.get("labels") {
        None => vec![("app".to_owned(), name.clone())],
        Some(labels) => labels
            .entries()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(key, value)| Some((key.name.clone(), value.scalar()?.to_owned())))
            .collect(),
    };
    labels.sort();
    let (protocol, is_grpc) = fields
        .get("protocol")
        .and_then(|protocol| {
            protocol.choice(&[
                ("http1", (Protocol::Http1, false)),
                ("http2", (Protocol::Http2, false)),
                ("grpc", (Protocol::Http2, true)),
                ("tcp", (Protocol::Tcp, false)),
            ])
        })
        .unwrap_or((Protocol::Http1, false));
    let own_zones: Option<Vec<Arc<str>>> =
        fields.get("zones").and_then(|list| list.list()?.into_iter().map(|zone| value::zone(zone, zones)).collect());
    let slots = fields.get("slots").and_then(|slots| slots.integer_u32(1, 1_000_000));
    let queue = fields.get("queue").and_then(|queue| queue.integer_u32(0, 10_000_000));
    if let (Some((queue, _)), None) = (fields.keyed("queue"), fields.get("slots")) {
        let mistake = Mistake::new(&queue.place, "a queue without `slots` never fills");
        mistakes.push(mistake.help("give `slots`: how many requests a pod serves at once"));
    }

    let context = Context { namespace: &namespace, grpc, resources };
    let plain = Work {
        time: Distribution::Constant(Duration::ZERO),
        error_ppm: 0,
        error_status: 500,
        contention: None,
        response_bytes: RESPONSE_BYTES,
    };
    let work = Said::read(fields).or(&plain);
    let routes = routes(fields, &work, &context);
    let replicas = fields.get("replicas").and_then(|replicas| replicas.integer_u32(1, 1000));
    let weight = fields.get("endpointWeight").and_then(|weight| weight.integer_u32(1, 1000));
    let endpoint_weight = weight.unwrap_or(1);
    let versions = match fields.get("versions") {
        None => {
            let routes = routes.unwrap_or_else(|| vec![everything(key, work)]);
            vec![Version { name: "".into(), replicas: replicas.unwrap_or(1), endpoint_weight, routes }]
        }
        Some(list) => {
            let entries = list.entries().unwrap_or_default();
            let versions: Vec<Version> = entries
                .into_iter()
                .filter_map(|(key, value)| version(key, value, routes.as_deref(), endpoint_weight, &work, &context))
                .collect();
            let sum: u32 = versions.iter().map(|version| version.replicas).sum();
            if let (Some(replicas), Some(given)) = (replicas, fields.get("replicas"))
                && replicas != sum
            {
                let mistake = Mistake::new(given.place(), format!("{replicas} replicas, but the versions have {sum}"));
                mistakes.push(mistake.label(list.place(), "the versions"));
            }
            if versions.is_empty() {
                return list.refuse("needs one version or more");
            }
            versions
        }
    };
    Some(ServiceSpec {
        name: Located { value: name.clone(), place: key.place.clone() },
        labels,
        port: fields
            .get("port")
            .and_then(|port| port.integer(1, 65_535))
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(80),
        port_name: fields.get("portName").and_then(port_name),
        protocol,
        grpc: is_grpc,
        zones: own_zones.unwrap_or_else(|| zones.to_vec()),
        versions,
        slots,
        queue,
        finishes_abandoned: fields
            .get("abandoned")
            .and_then(|abandoned| abandoned.choice(&[("finish", true), ("stop", false)]))
            .unwrap_or(true),
        cpu_per_poll: fields.get("cpuPerPoll").and_then(value::span).unwrap_or_default(),
        clock_ahead: fields.get("clockAhead").and_then(value::span).unwrap_or_default(),
        health_check: fields.get("healthCheck").and_then(|value| health_path(value, is_grpc)),
        entry: fields.get("entry").and_then(|entry| entry.boolean()).unwrap_or(false),
        namespace,
    })
}

/// A name of a container's port, as Kubernetes takes it (IANA_SVC_NAME, RFC 6335 §5.1).
fn port_name(value: Value<'_>) -> Option<Arc<str>> {
    let name = value.name()?;
    let is_name = name.len() <= 15
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if !is_name {
        return value.refuse(format!(
            "`{name}` is no name of a port: up to 15 of a-z, 0-9 and single `-` within, and one letter"
        ));
    }
    Some(name.into())
}

fn health_path(value: Value<'_>, is_grpc: bool) -> Option<String> {
    match (value.text()?, is_grpc) {
        ("grpc", true) => Some("/grpc.health.v1.Health/Check".to_owned()),
        ("grpc", false) => value.refuse("only a service that speaks gRPC answers by it: `protocol: grpc`"),
        (path, false) if path.starts_with('/') => Some(path.to_owned()),
        (_, false) => value.refuse("a path begins with `/`"),
        (_, true) => value.refuse("a service that speaks gRPC answers health checks by it: `healthCheck: grpc`"),
    }
}

fn version(
    key: &Key,
    value: Value<'_>,
    inherited: Option<&[RouteScript]>,
    endpoint_weight: u32,
    work: &Work,
    context: &Context<'_>,
) -> Option<Version> {
    if !value::is_dns_label(&key.name) {
        value.mistakes().push(Mistake::new(&key.place, format!("`{}` cannot be a version's name", key.name)));
    }
    let name: Arc<str> = key.name.as_str().into();
    if value.is_scalar() {
        let replicas = if value.is_null() { 1 } else { value.integer_u32(1, 1000)? };
        let routes = inherited.map_or_else(|| vec![everything(key, work.clone())], <[RouteScript]>::to_vec);
        return Some(Version { name, replicas, endpoint_weight, routes });
    }
    let fields = value.fields("a version", VERSION)?;
    let replicas = fields.get("replicas").map_or(Some(1), |replicas| replicas.integer_u32(1, 1000))?;
    let own_weight = fields.get("endpointWeight").map_or(Some(endpoint_weight), |weight| weight.integer_u32(1, 1000));
    let own = Said::read(fields);
    let all = own.clone().or(work);
    let routes = match (routes(fields, &all, context), inherited) {
        (Some(routes), _) => routes,
        (None, Some(inherited)) => {
            inherited.iter().map(|route| RouteScript { work: own.clone().or(&route.work), ..route.clone() }).collect()
        }
        (None, None) => vec![everything(key, all)],
    };
    Some(Version { name, replicas, endpoint_weight: own_weight?, routes })
}

fn everything(key: &Key, work: Work) -> RouteScript {
    let matches = RequestMatch { method: None, path: None, prefix: false };
    RouteScript { place: key.place.clone(), matches, weight: 1, work, steps: Vec::new() }
}

/// The scripts of a service or version: `routes`, or `steps` for every request; `None` if it has neither.
fn routes(fields: squall_control::yaml::Fields<'_>, work: &Work, context: &Context<'_>) -> Option<Vec<RouteScript>> {
    let mistakes = fields.whole().mistakes();
    if let (Some((key, _)), Some((other, _))) = (fields.keyed("steps"), fields.keyed("routes")) {
        let mistake = Mistake::new(&key.place, "`steps` beside `routes`");
        mistakes.push(mistake.label(&other.place, "the routes").help("put the steps into a route with `match: \"*\"`"));
    }
    if let Some((key, steps)) = fields.keyed("steps") {
        let matches = RequestMatch { method: None, path: None, prefix: false };
        let steps = script(steps, context).unwrap_or_default();
        return Some(vec![RouteScript { place: key.place.clone(), matches, weight: 1, work: work.clone(), steps }]);
    }
    let list = fields.get("routes")?;
    let mut routes: Vec<RouteScript> = Vec::new();
    for route in list.list()? {
        let Some(fields) = route.fields("a route", ROUTE) else { continue };
        let Some(matched) = fields.required("match") else { continue };
        let Some(matches) = matched.parsed(units::request_match) else { continue };
        let before = routes
            .iter()
            .find(|known| known.matches == matches || known.matches.method.is_none() && known.matches.path.is_none());
        if let Some(before) = before {
            let mistake = Mistake::new(matched.place(), "no request gets here: the route before takes them all");
            mistakes.push(mistake.label(&before.place, "that route"));
        }
        routes.push(RouteScript {
            place: route.place().clone(),
            matches,
            weight: fields.get("weight").and_then(|weight| weight.integer_u32(0, 1_000_000)).unwrap_or(1),
            work: Said::read(fields).or(work),
            steps: fields.get("steps").and_then(|steps| script(steps, context)).unwrap_or_default(),
        });
    }
    if routes.is_empty() { list.refuse("needs one route or more") } else { Some(routes) }
}

fn script(steps: Value<'_>, context: &Context<'_>) -> Option<Vec<Step>> {
    Some(steps.list()?.into_iter().filter_map(|value| step(value, context)).collect())
}

fn step(value: Value<'_>, context: &Context<'_>) -> Option<Step> {
    if value.is_list() {
        return parallel(value, context);
    }
    const STEP: &[&str] = &[
        "call",
        "sleep",
        "parallel",
        "request",
        "headers",
        "requestSize",
        "timeout",
        "tries",
        "optional",
        "repeat",
        "fanOut",
        "probability",
    ];
    let fields = value.fields("a step", STEP)?;
    let alone = |what: &str| {
        for name in STEP.iter().filter(|name| **name != what) {
            if let Some((key, _)) = fields.keyed(name) {
                value.mistakes().push(Mistake::new(&key.place, format!("`{name}` does not go with `{what}`")));
            }
        }
    };
    match (fields.get("call"), fields.get("sleep"), fields.get("parallel")) {
        (Some(host), None, None) => call(host, fields, context).map(Step::Call),
        (None, Some(sleep), None) => {
            alone("sleep");
            value::distribution(sleep).map(Step::Sleep)
        }
        (None, None, Some(list)) => {
            alone("parallel");
            parallel(list, context)
        }
        (_, _, _) => value.refuse("a step is one of `call`, `sleep` and `parallel`"),
    }
}

fn parallel(list: Value<'_>, context: &Context<'_>) -> Option<Step> {
    let mut branches = Vec::new();
    for branch in list.list()? {
        let steps = if branch.is_list() { script(branch, context)? } else { vec![step(branch, context)?] };
        branches.push(steps);
    }
    if branches.is_empty() { list.refuse("nothing to do") } else { Some(Step::Parallel(branches)) }
}

fn call(host: Value<'_>, fields: squall_control::yaml::Fields<'_>, context: &Context<'_>) -> Option<Call> {
    let (service, name) = context.resources.host(host, context.namespace)?;
    let (method, path) = match fields.get("request") {
        Some(request) => request.parsed(units::request)?,
        None => (None, "/".to_owned()),
    };
    let grpc = context.grpc.contains(&service.name.as_str());
    let count = |name: &str, most: u32| fields.get(name).map_or(Some(1), |count| count.integer_u32(1, most));
    let headers = fields.get("headers").and_then(value::headers).unwrap_or_default();
    Some(Call {
        place: host.place().clone(),
        host: Located { value: name, place: host.place().clone() },
        method: method.unwrap_or_else(|| if grpc { "POST" } else { "GET" }.to_owned()),
        path,
        headers: headers.fixed,
        drawn: headers.drawn,
        request_bytes: fields.get("requestSize").and_then(|size| size.parsed(units::bytes)).unwrap_or(0),
        timeout: fields.get("timeout").and_then(value::positive),
        tries: count("tries", 10_000)?,
        optional: fields.get("optional").and_then(|optional| optional.boolean()).unwrap_or(false),
        repeat: count("repeat", 10_000)?,
        fan_out: count("fanOut", 10_000)?,
        probability_ppm: fields.get("probability").and_then(|share| share.parsed(units::share)).unwrap_or(1_000_000),
    })
}

/// Every call finds a route at the service it names, and no service calls itself over others.
pub(super) fn check_calls(services: &[ServiceSpec], resources: &Resources, mistakes: &Mistakes) {
    let mut edges: BTreeMap<&str, Vec<(&str, &Call)>> = BTreeMap::new();
    for service in services {
        let scripts = service.versions.iter().flat_map(|version| &version.routes);
        for call in scripts.flat_map(|route| calls(&route.steps)) {
            for called in called(call, service, services, resources) {
                let known = edges.entry(&service.name.value).or_default();
                if !known.iter().any(|(name, _)| *name == called.name.value) {
                    known.push((&called.name.value, call));
                }
                serves(called, &call.method, &call.path, &call.place, mistakes);
            }
        }
    }
    let mut done: Vec<&str> = Vec::new();
    for service in services {
        let mut path = vec![service.name.value.as_str()];
        if let Some((call, names)) = cycle(&edges, &mut path, &mut done) {
            let message = format!("services call each other in a circle: {}", names.join(" → "));
            mistakes.push(Mistake::new(&call.place, message));
            return;
        }
    }
}

/// All calls of a script.
fn calls(steps: &[Step]) -> Vec<&Call> {
    let mut found = Vec::new();
    for step in steps {
        match step {
            Step::Call(call) => found.push(call),
            Step::Parallel(branches) => found.extend(branches.iter().flat_map(|branch| calls(branch))),
            Step::Sleep(_) => {}
        }
    }
    found
}

fn called<'s>(
    call: &Call,
    from: &ServiceSpec,
    services: &'s [ServiceSpec],
    resources: &Resources,
) -> Vec<&'s ServiceSpec> {
    let host = call.host.value.split(':').next().unwrap_or_default();
    let mut labels = host.split('.');
    let (name, namespace) = (labels.next().unwrap_or_default(), labels.next().unwrap_or(&from.namespace));
    resources
        .services
        .iter()
        .filter(|service| service.name == name && service.namespace == namespace)
        .flat_map(|service| resources.selected(service, services))
        .collect()
}

/// Reports that no version of `service` answers such a request.
pub(super) fn serves(
    service: &ServiceSpec,
    method: &str,
    path: &str,
    place: &squall_control::Place,
    mistakes: &Mistakes,
) {
    let mut routes = service.versions.iter().flat_map(|version| &version.routes);
    if !routes.any(|route| route.matches.matches(method, path)) {
        let mistake = Mistake::new(place, format!("`{}` has no route for `{method} {path}`", service.name.value));
        mistakes.push(mistake.label(&service.name.place, "the service").help("its answer would be 404"));
    }
}

fn cycle<'s>(
    edges: &BTreeMap<&'s str, Vec<(&'s str, &'s Call)>>,
    path: &mut Vec<&'s str>,
    done: &mut Vec<&'s str>,
) -> Option<(&'s Call, Vec<&'s str>)> {
    let from = *path.last().expect("a path begins somewhere");
    if done.contains(&from) {
        return None;
    }
    for (to, call) in edges.get(from).into_iter().flatten() {
        if let Some(at) = path.iter().position(|name| name == to) {
            let mut names = path[at..].to_vec();
            names.push(to);
            return Some((call, names));
        }
        path.push(to);
        if let Some(found) = cycle(edges, path, done) {
            return Some(found);
        }
        path.pop();
    }
    done.push(from);
    None
}
