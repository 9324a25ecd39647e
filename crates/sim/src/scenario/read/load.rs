//! Reads `load`: who asks, when, and for what.

use std::sync::Arc;
use std::time::Duration;

use squall_control::Mistake;
use squall_control::units::{self as spans, scaled, show};
use squall_control::yaml::{Fields, Value};
use squall_policy::Protocol;

use super::mesh::Resources;
use super::service::serves;
use super::value;
use crate::scenario::files::Reading;
use crate::scenario::{
    Arrivals, CLIENTS_MAX, ControlSpec, Distribution, Load, Located, Phase, Rate, Request, RouteScript, ServiceSpec,
    Spacing, Spread, units,
};

const LOAD: &[&str] = &[
    "name",
    "to",
    "namespace",
    "rate",
    "arrivals",
    "trace",
    "clients",
    "think",
    "mix",
    "timeout",
    "hosts",
    "http",
    "zones",
    "from",
    "until",
    "requests",
    "batch",
    "spread",
];

/// How long a client waits for an answer unless it says so.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Context<'c, 'f> {
    duration: Duration,
    zones: &'c [Arc<str>],
    services: &'c [ServiceSpec],
    resources: &'c Resources,
    reading: &'c Reading<'f>,
}

/// The loads of the scenario.
pub(super) fn loads(
    spec: Fields<'_>,
    duration: Duration,
    zones: &[Arc<str>],
    services: &[ServiceSpec],
    resources: &Resources,
    reading: &Reading<'_>,
) -> Vec<Load> {
    let context = Context { duration, zones, services, resources, reading };
    let Some(given) = spec.required("load") else { return Vec::new() };
    let list = given.list().unwrap_or_default();
    if given.is_list() && list.is_empty() {
        let _ = given.refuse::<()>("without load nothing happens");
    }
    let mut loads: Vec<Load> = Vec::new();
    for value in &list {
        let Some(load) = load(*value, &context) else { continue };
        let taken = loads.iter().any(|known| known.name == load.name)
            || services.iter().any(|service| service.name.value == *load.name)
            || *load.name == *ControlSpec::HOST;
        if taken {
            let mistake = Mistake::new(&load.place, format!("there is already something called `{}`", load.name));
            value.mistakes().push(mistake.help("give this load a `name`"));
        }
        loads.push(load);
    }
    loads
}

fn load(value: Value<'_>, context: &Context<'_, '_>) -> Option<Load> {
    let fields = value.fields("a load", LOAD)?;
    let name: Arc<str> = fields.get("name").map_or(Some("load"), value::dns_label)?.into();
    let (to, namespace, targets) = target(fields, context)?;

    let from = fields.get("from").and_then(value::span).unwrap_or_default();
    let until = fields.get("until").and_then(value::span).unwrap_or(context.duration);
    if until > context.duration {
        let message = format!("after the end of the scenario, which lasts {}", show(context.duration));
        value.mistakes().push(Mistake::new(fields.place_of("until"), message));
    }
    if from >= until {
        let message = format!("from {} to {}: there is no time for load", show(from), show(until));
        value.mistakes().push(Mistake::new(fields.place_of("from"), message));
        return None;
    }
    let arrivals = arrivals(fields, from, until, context)?;
    let mix = match fields.get("mix") {
        Some(mix) => mix.list()?.into_iter().filter_map(|kind| request(kind, &targets)).collect(),
        None => default_mix(&targets),
    };
    if mix.is_empty() {
        if value.mistakes().is_empty() {
            let mistake = Mistake::new(value.place(), "nothing to ask for: all routes of the target have weight 0");
            value.mistakes().push(mistake.help("give `mix`"));
        }
        return None;
    }
    let zones: Option<Vec<Arc<str>>> = match fields.get("zones") {
        None => Some(vec![Arc::clone(&context.zones[0])]),
        Some(zones) => zones.list()?.into_iter().map(|zone| value::zone(zone, context.zones)).collect(),
    };
    let zones = zones.filter(|zones| !zones.is_empty());
    Some(Load {
        place: value.place().clone(),
        name,
        namespace,
        to,
        arrivals,
        mix,
        timeout: fields.get("timeout").map_or(Some(TIMEOUT), value::positive)?,
        hosts: fields.get("hosts").map_or(Some(1), |hosts| hosts.integer_u32(1, 1000))?,
        http: fields
            .get("http")
            .and_then(|http| http.choice(&[("http1", Protocol::Http1), ("http2", Protocol::Http2)]))
            .unwrap_or_else(
                || if targets.iter().any(|target| target.grpc) { Protocol::Http2 } else { Protocol::Http1 },
            ),
        zones: zones.or_else(|| fields.get("zones")?.refuse("needs one zone or more"))?,
        from,
        until,
        requests: fields.get("requests").and_then(|requests| requests.integer(1, u64::MAX)),
        batch: fields.get("batch").and_then(|batch| batch.integer_u32(1, 100_000)).unwrap_or(1),
        spread: fields
            .get("spread")
            .and_then(|spread| spread.choice(&[("turn", Spread::Turn), ("random", Spread::Random)]))
            .unwrap_or_default(),
    })
}

/// Whom the load asks: the host, the namespace it asks from, and the workloads that answer.
fn target<'c>(
    fields: Fields<'_>,
    context: &Context<'c, '_>,
) -> Option<(Located<String>, Arc<str>, Vec<&'c ServiceSpec>)> {
    let whole = fields.whole();
    let entries: Vec<&ServiceSpec> = context.services.iter().filter(|service| service.entry).collect();
    let namespaces = context.resources.namespaces();
    let namespace: Option<&str> = match fields.get("namespace") {
        Some(namespace) => {
            let text = namespace.name()?;
            if !namespaces.contains(&text) {
                let mistake = Mistake::new(namespace.place(), format!("the mesh has no namespace `{text}`"));
                whole.mistakes().push(mistake.suggest(text, namespaces.iter().copied()));
                return None;
            }
            Some(text)
        }
        None => None,
    };
    if let Some(to) = fields.get("to") {
        let within = to.name()?.split('.').nth(1).and_then(|rest| rest.split(':').next());
        let entry = context.services.iter().find(|service| to.name() == Some(&*service.name.value));
        let namespace = namespace
            .or(within)
            .or(entry.map(|entry| &*entry.namespace))
            .or(namespaces.first().copied())
            .unwrap_or("default");
        let (service, host) = context.resources.host(to, namespace)?;
        let targets = context.resources.selected(service, context.services);
        return Some((Located { value: host, place: to.place().clone() }, namespace.into(), targets));
    }
    let [entry] = entries.as_slice() else {
        let names: Vec<&str> = entries.iter().map(|service| service.name.value.as_str()).collect();
        let mistake = Mistake::new(whole.place(), "this load needs `to`");
        whole.mistakes().push(mistake.help(match names.len() {
            0 => "or mark one service with `entry: true`".to_owned(),
            _ => format!("several services are marked with `entry`: {}", names.join(", ")),
        }));
        return None;
    };
    let service = context.resources.services.iter().find(|service| {
        let selected = context.resources.selected(service, context.services);
        selected.iter().any(|workload| workload.name.value == entry.name.value)
    })?;
    let node = squall_control::yaml::Node {
        place: entry.name.place.clone(),
        kind: squall_control::yaml::Kind::Scalar {
            text: format!("{}.{}", service.name, service.namespace),
            plain: true,
        },
    };
    let (_, host) = context.resources.host(Value::new(&node, whole.mistakes()), &entry.namespace)?;
    let namespace: Arc<str> = namespace.map_or_else(|| Arc::clone(&entry.namespace), Into::into);
    let short = match host.strip_prefix(&format!("{}.{}", service.name, service.namespace)) {
        Some(port) if *namespace == *service.namespace => format!("{}{port}", service.name),
        Some(_) | None => host.clone(),
    };
    let targets = context.resources.selected(service, context.services);
    Some((Located { value: short, place: whole.place().clone() }, namespace, targets))
}

fn arrivals(fields: Fields<'_>, from: Duration, until: Duration, context: &Context<'_, '_>) -> Option<Arrivals> {
    let whole = fields.whole();
    let spacing = fields.get("arrivals").and_then(spacing);
    let misplaced = |name: &str, of: &str| {
        if let Some((key, _)) = fields.keyed(name) {
            whole.mistakes().push(Mistake::new(&key.place, format!("`{name}` does not go with `{of}`")));
        }
    };
    match (fields.get("rate"), fields.get("trace"), fields.get("clients")) {
        (Some(rate), None, None) => {
            misplaced("think", "rate");
            let phases = phases(rate, from, until)?;
            Some(Arrivals::Open { phases, spacing: spacing.unwrap_or_default() })
        }
        (None, Some(trace), None) => {
            misplaced("think", "trace");
            misplaced("arrivals", "trace");
            let instants = trace_of(trace, context)?;
            match instants.last() {
                None => trace.refuse("the trace is empty"),
                Some(last) if *last >= until => {
                    trace.refuse(format!("the trace lasts to {}, the load only to {}", show(*last), show(until)))
                }
                Some(_) if instants[0] < from => {
                    trace.refuse(format!("the trace begins at {}, the load at {}", show(instants[0]), show(from)))
                }
                Some(_) => Some(Arrivals::Trace(instants)),
            }
        }
        (None, None, Some(clients)) => {
            misplaced("arrivals", "clients");
            misplaced("batch", "clients");
            misplaced("spread", "clients");
            let think =
                fields.get("think").map_or(Some(Distribution::Constant(Duration::ZERO)), value::distribution)?;
            Some(Arrivals::Closed { clients: clients.integer_u32(1, CLIENTS_MAX)?, think })
        }
        (None, None, None) => whole.refuse("a load needs one of `rate`, `clients` and `trace`"),
        (_, _, _) => whole.refuse("a load has only one of `rate`, `clients` and `trace`"),
    }
}

/// `poisson`, `constant` or `{cv: 0.5}`.
fn spacing(value: Value<'_>) -> Option<Spacing> {
    if value.is_map() {
        let cv = value.fields("arrivals", &["cv"])?.required("cv")?;
        return Some(Spacing::Gamma { shape_ppm: value::shape_ppm(value::permille(cv, 10, 100_000)?) });
    }
    value.choice(&[("poisson", Spacing::Poisson), ("constant", Spacing::Constant)])
}

/// `300/s`; `{steps: [{for: 10s, rate: 100/s}, {for: 5s, from: 100/s, to: 900/s}, {rate: 100/s}]}`;
/// `{ramp: {from: 10/s, to: 500/s}}`; `{bursts: {base: 50/s, peak: 500/s, every: 10s, for: 1s}}`.
fn phases(value: Value<'_>, from: Duration, until: Duration) -> Option<Vec<Phase>> {
    let phases = if value.is_scalar() {
        let rate = value.parsed(units::rate)?;
        vec![Phase { from, until, first: rate, last: rate }]
    } else {
        let fields = value.fields("a rate", &["steps", "ramp", "bursts"])?;
        match (fields.get("steps"), fields.get("ramp"), fields.get("bursts")) {
            (Some(list), None, None) => steps(list, from, until)?,
            (None, Some(ramp), None) => {
                let fields = ramp.fields("a ramp", &["from", "to"])?;
                let first = fields.required("from")?.parsed(units::rate)?;
                vec![Phase { from, until, first, last: fields.required("to")?.parsed(units::rate)? }]
            }
            (None, None, Some(given)) => bursts(given, from, until)?,
            (_, _, _) => return value.refuse("a rate is one of `300/s`, `steps`, `ramp` and `bursts`"),
        }
    };
    if phases.iter().all(|phase| phase.first == Rate(0) && phase.last == Rate(0)) {
        return value.refuse("a rate of 0 is no load");
    }
    if phases.iter().any(|phase| phase.first.max(phase.last) > Rate::MAX) {
        return value.refuse("more than 1000000/s");
    }
    Some(phases)
}

fn steps(list: Value<'_>, from: Duration, until: Duration) -> Option<Vec<Phase>> {
    let mut phases: Vec<Phase> = Vec::new();
    let steps = list.list()?;
    for (index, step) in steps.iter().enumerate() {
        let fields = step.fields("a step of the rate", &["for", "rate", "from", "to"])?;
        let begin = phases.last().map_or(from, |phase| phase.until);
        let end = match fields.get("for") {
            Some(span) => begin + value::positive(span)?,
            None if index + 1 == steps.len() => until,
            None => return step.refuse("only the last step may last to the end: this one needs `for`"),
        };
        if begin >= until || end > until {
            return step.refuse(format!("this step ends after the load, which ends at {}", show(until)));
        }
        let (first, last) = match (fields.get("rate"), fields.get("from"), fields.get("to")) {
            (Some(rate), None, None) => {
                let rate = rate.parsed(units::rate)?;
                (rate, rate)
            }
            (None, Some(first), Some(last)) => (first.parsed(units::rate)?, last.parsed(units::rate)?),
            (_, _, _) => return step.refuse("needs `rate`, or `from` and `to`"),
        };
        phases.push(Phase { from: begin, until: end, first, last });
    }
    match phases.last() {
        None => list.refuse("needs one step or more"),
        Some(last) if last.until < until => {
            let message = format!("the steps end at {}, the load at {}", show(last.until), show(until));
            list.mistakes().push(Mistake::new(list.place(), message).help("leave out `for` of the last step"));
            None
        }
        Some(_) => Some(phases),
    }
}

fn bursts(given: Value<'_>, from: Duration, until: Duration) -> Option<Vec<Phase>> {
    let fields = given.fields("bursts", &["base", "peak", "every", "for"])?;
    let (base, peak) = (fields.required("base")?.parsed(units::rate)?, fields.required("peak")?.parsed(units::rate)?);
    let every = value::positive(fields.required("every")?)?;
    let lasts = value::positive(fields.required("for")?)?;
    if lasts >= every {
        return given.refuse(format!("a burst of {} every {} never ends", show(lasts), show(every)));
    }
    if (until - from).as_nanos() / every.as_nanos() > 100_000 {
        return given.refuse("more than 100000 bursts");
    }
    let mut phases = Vec::new();
    let mut begin = from;
    while begin < until {
        // The burst stands at the end of its period, so that the base can be seen first.
        let (burst, end) = ((begin + (every - lasts)).min(until), (begin + every).min(until));
        phases.push(Phase { from: begin, until: burst, first: base, last: base });
        if burst < end {
            phases.push(Phase { from: burst, until: end, first: peak, last: peak });
        }
        begin = end;
    }
    Some(phases)
}

/// A list of instants, or a file with one per line: `125ms`, or seconds as a plain number, in its first column.
fn trace_of(value: Value<'_>, context: &Context<'_, '_>) -> Option<Vec<Duration>> {
    let mut instants: Vec<Duration> = Vec::new();
    if value.is_list() {
        for instant in value.list()? {
            let span = value::span(instant)?;
            if instants.last().is_some_and(|last| *last > span) {
                return instant.refuse("earlier than the one before");
            }
            instants.push(span);
        }
        return Some(instants);
    }
    let (file, text) = context.reading.referred(value)?;
    for (index, line) in text.lines().enumerate() {
        let cell = line.split(',').next().unwrap_or_default().trim();
        if cell.is_empty() || cell.starts_with('#') {
            continue;
        }
        let seconds = scaled(cell, 1_000_000_000).map(Duration::from_nanos);
        let Some(span) = seconds.or_else(|| spans::duration(cell).ok()) else {
            return value.refuse(format!("{file}:{}: `{cell}` is not a time in seconds", index + 1));
        };
        if instants.last().is_some_and(|last| *last > span) {
            return value.refuse(format!("{file}:{}: earlier than the line before", index + 1));
        }
        instants.push(span);
    }
    Some(instants)
}

fn request(kind: Value<'_>, targets: &[&ServiceSpec]) -> Option<Request> {
    let fields = kind.fields("a kind of request", &["request", "weight", "headers", "requestSize", "name"])?;
    let asked = fields.required("request")?;
    let (method, path) = asked.parsed(units::request)?;
    let grpc = targets.iter().any(|target| target.grpc);
    let method = method.unwrap_or_else(|| if grpc { "POST" } else { "GET" }.to_owned());
    if let Some(target) = targets.first() {
        // With several workloads behind one Service, any of them may answer.
        if !targets.iter().any(|target| answers(target, &method, &path)) {
            serves(target, &method, &path, asked.place(), kind.mistakes());
        }
    }
    let headers = fields.get("headers").and_then(value::headers).unwrap_or_default();
    Some(Request {
        place: kind.place().clone(),
        name: fields.get("name").map_or(Some(format!("{method} {path}")), |name| Some(name.name()?.to_owned()))?.into(),
        weight: fields.get("weight").map_or(Some(1), |weight| weight.integer_u32(1, 1_000_000))?,
        method,
        path,
        headers: headers.fixed,
        drawn: headers.drawn,
        request_bytes: fields.get("requestSize").and_then(|size| size.parsed(units::bytes)).unwrap_or(0),
    })
}

fn answers(service: &ServiceSpec, method: &str, path: &str) -> bool {
    let mut routes = service.versions.iter().flat_map(|version| &version.routes);
    routes.any(|route| route.matches.matches(method, path))
}

/// The routes of the target's first version, by their weights.
pub(in crate::scenario) fn default_mix(targets: &[&ServiceSpec]) -> Vec<Request> {
    let Some(target) = targets.first() else { return Vec::new() };
    let asked = |route: &&RouteScript| route.weight > 0;
    let method = if target.grpc { "POST" } else { "GET" };
    let request = |route: &RouteScript| {
        let method = route.matches.method.clone().unwrap_or_else(|| method.to_owned());
        let path = route.matches.path.clone().unwrap_or_else(|| "/".to_owned());
        Request {
            place: route.place.clone(),
            name: format!("{method} {path}").into(),
            weight: route.weight,
            method,
            path,
            headers: Vec::new(),
            drawn: Vec::new(),
            request_bytes: 0,
        }
    };
    target.versions[0].routes.iter().filter(asked).map(request).collect()
}
