//! From YAML to a checked [`Scenario`]. Every mistake is collected; a part that cannot be read does not hide the others.

mod answer;
mod expect;
mod fault;
mod load;
mod merge;
mod mesh;
mod names;
mod network;
mod service;
mod value;

use std::sync::Arc;
use std::time::Duration;

use squall_control::yaml::{self, Node, Value};
use squall_control::{Mistake, Mistakes};

pub(crate) use self::expect::Measured;
pub(super) use self::load::default_mix;
use self::names::Names;
pub(super) use self::value::dns_label;
use super::discover::kind;
use super::files::Reading;
use super::isotope;
use super::{ControlSpec, Located, MeshFile, Network, Scenario, ServiceSpec, Suite};

/// The API version of scenarios and applications.
const API_VERSION: &str = "squall.dev/v1alpha1";

/// The longest a scenario may last, in virtual time.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// The body of an answer of an isotope service that says nothing of it.
pub(super) const RESPONSE_BYTES_OF_ISOTOPE: u64 = 0;

/// The one zone of a scenario without zones.
pub(super) fn zone_default() -> Arc<str> {
    "zone".into()
}

const SPEC: &[&str] = &[
    "base",
    "isotope",
    "suite",
    "mesh",
    "duration",
    "drain",
    "resolution",
    "network",
    "control",
    "services",
    "load",
    "faults",
    "expect",
    "layers",
    "answers",
];

/// The parts of an [application](application) that scenarios share.
const APPLICATION: &[&str] = &["mesh", "network", "control", "services", "load"];

/// Reads the scenario in `documents`, which are those of one file with this text.
pub(super) fn scenario(documents: &[Node], text: &str, reading: &Reading<'_>, mistakes: &Mistakes) -> Option<Scenario> {
    let [document] = documents else {
        let second = documents.get(1)?;
        mistakes.push(
            Mistake::new(&second.place, "one scenario per file").help("manifests stand in files named under `mesh`"),
        );
        return None;
    };
    let whole = Value::new(document, mistakes);
    let fields = whole.fields("a scenario", &["apiVersion", "kind", "metadata", "spec"])?;
    header(fields, "Scenario");
    let metadata = fields.required("metadata")?.fields("metadata", &["name"])?;
    let name = metadata.required("name").and_then(|value| Some((value::dns_label(value)?, value.place().clone())));
    let spec = fields.required("spec")?;

    let given = spec.fields("spec", SPEC)?;
    let mut merged = spec.node().clone();
    if let Some((key, base)) = given.keyed("base") {
        if let Some((other, _)) = given.keyed("isotope") {
            let mistake = Mistake::new(&key.place, "`base` and `isotope` both bring services: give one");
            mistakes.push(mistake.label(&other.place, "the other one"));
        }
        merged = merge::over(application(base, reading)?, merged);
    }
    let mut generated = None;
    if let Some(graph) = given.get("isotope") {
        let (file, text) = reading.referred(graph)?;
        let documents = parsed(&file, &text, mistakes)?;
        generated = isotope::graph(&documents, &file, mistakes);
        generated.as_ref()?;
    }

    let spec = Value::new(&merged, mistakes);
    let fields = spec.fields("spec", SPEC)?;
    let suite = fields
        .get("suite")
        .and_then(|suite| suite.choice(&[("test", Suite::Test), ("validate", Suite::Validate)]))
        .unwrap_or_default();
    let mesh = mesh::files(fields, generated.as_ref(), reading);
    let named = fields.get("mesh").and_then(|mesh| mesh.list()).map_or(1, |list| list.len());
    let resources = mesh::resources(&mesh, named, mistakes);
    let duration = fields.required("duration").and_then(|value| value::duration_positive(value, DURATION_MAX));
    let zones = network::zones(fields);
    let control = fields.get("control").map_or_else(
        || Some(ControlSpec { zone: Arc::clone(&zones[0]) }),
        |control| {
            let zone = control.fields("control", &["zone"])?.get("zone");
            Some(ControlSpec {
                zone: zone.map_or_else(|| Some(Arc::clone(&zones[0])), |zone| value::zone(zone, &zones))?,
            })
        },
    );

    let mut services = match &generated {
        Some(graph) => graph.services.clone(),
        None => Vec::new(),
    };
    if generated.is_none() {
        let entries = fields.required("services").and_then(|services| services.entries()).unwrap_or_default();
        services.extend(service::services(&entries, &zones, &resources));
    } else if let Some((key, _)) = fields.keyed("services") {
        mistakes.push(Mistake::new(&key.place, "`isotope` brings the services: `services` cannot be given as well"));
    }
    for service in &mut services {
        if service.zones.is_empty() {
            service.zones = zones.clone();
        }
    }
    // Without a duration much would be reported that is not wrong.
    let duration = duration?;
    if services.is_empty() {
        return None;
    }
    mesh::check(&resources, &services, mistakes);
    service::check_calls(&services, &resources, mistakes);
    let load = load::loads(fields, duration, &zones, &services, &resources, reading);
    let names = Names::new(&services, &load, &zones);
    let links = network::links(fields, &names);
    let faults = fault::faults(fields, duration, &names);
    let given = fields.get("faults").and_then(|faults| faults.list()).map_or(0, |list| list.len());
    let known = (faults.len() == given).then_some(faults.as_slice());
    let expect = expect::expectations(fields, duration, known, &names);
    let context = answer::Context { duration, services: &services, loads: &load, faults: &faults, names: &names };
    let (layers, warm_up) = answer::layers(fields, &context);
    let answers = answer::answers(fields, &layers, warm_up, &context);
    if let (Suite::Test, Some((key, _))) = (suite, fields.keyed("answers")) {
        let mistake = Mistake::new(&key.place, "known answers are for `squall validate`");
        mistakes.push(mistake.help("give `suite: validate`"));
    }
    let drain = fields.get("drain").and_then(|value| value.duration_within(Duration::ZERO, DURATION_MAX));
    let resolution = fields.get("resolution").and_then(|value| value::duration_positive(value, DURATION_MAX));
    let longest = load.iter().map(|load| load.timeout).max().unwrap_or_default();
    let (name, place) = name?;
    Some(Scenario {
        name: Located { value: name.to_owned(), place },
        question: question(text),
        suite,
        mesh,
        duration,
        drain: drain.unwrap_or(longest + Duration::from_secs(1)),
        resolution,
        network: Network { zones, links },
        control: control?,
        services,
        load,
        faults,
        expect,
        layers,
        answers,
    })
}

/// What a scenario reads of its manifests and how they fit its services, for other manifests.
pub(super) fn check_again(mesh: &[MeshFile], services: &[ServiceSpec], mistakes: &Mistakes) {
    let resources = mesh::resources(mesh, mesh.len(), mistakes);
    mesh::check(&resources, services, mistakes);
    service::check_calls(services, &resources, mistakes);
}

/// Checks a CEL expression over the measures of a whole run of a scenario. The mistakes are reported.
pub(crate) fn expression(value: Value<'_>, text: &str, scenario: &Scenario) -> Option<Measured> {
    expect::measured(value, text, &Names::new(&scenario.services, &scenario.load, &scenario.network.zones))
}

/// That calls lead somewhere and in no circle.
pub(super) fn check_mesh(mesh: &MeshFile, services: &[ServiceSpec], mistakes: &Mistakes) {
    let resources = mesh::resources(std::slice::from_ref(mesh), 1, mistakes);
    mesh::check(&resources, services, mistakes);
    service::check_calls(services, &resources, mistakes);
}

/// The spec of the application a scenario builds on (`kind: Application`): the mesh, network, control plane, services and load
/// that several scenarios share. A scenario's own fields win: services are merged by name and field by field, network and control
/// field by field; `mesh` and `load` replace the application's.
fn application(base: Value<'_>, reading: &Reading<'_>) -> Option<Node> {
    let mistakes = base.mistakes();
    let (file, text) = reading.referred(base)?;
    let documents = parsed(&file, &text, mistakes)?;
    let [document] = documents.as_slice() else {
        return base.refuse(format!("{file} does not hold one application"));
    };
    if kind(document) != Some("Application") {
        return base.refuse(format!("{file} is not of `kind: Application`"));
    }
    let whole = Value::new(document, mistakes);
    let fields = whole.fields("an application", &["apiVersion", "kind", "metadata", "spec"])?;
    header(fields, "Application");
    let _ = fields.required("metadata")?.fields("metadata", &["name"])?.required("name")?.name()?;
    let spec = fields.required("spec")?;
    let _ = spec.fields("an application's spec", APPLICATION)?;
    Some(spec.node().clone())
}

/// Checks what every file of ours begins with.
pub(crate) fn header(fields: yaml::Fields<'_>, kind: &str) {
    for (field, want) in [("apiVersion", API_VERSION), ("kind", kind)] {
        let Some(value) = fields.required(field) else { continue };
        let _ = value.choice(&[(want, ())]);
    }
}

fn parsed(file: &str, text: &str, mistakes: &Mistakes) -> Option<Vec<Node>> {
    yaml::parse(file, text).map_err(|syntax| mistakes.extend(syntax)).ok()
}

/// The comment at the top of a file, without its marks, as one paragraph.
fn question(text: &str) -> String {
    let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty());
    let comment: Vec<&str> = lines.map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
    comment.join(" ").trim().to_owned()
}
