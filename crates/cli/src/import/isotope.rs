//! An isotope graph written out as a scenario, to go on with.

use std::path::Path;

use squall_control::units;
use squall_sim::Scenario;
use squall_sim::scenario::{self, Call, Disk, Distribution, IsotopeLoad, Rate, ServiceSpec, load_file};

use super::Imported;
use crate::draft::{Draft, Load, Service, Step};
use crate::mistakes;
use crate::new::rate_text;
use crate::screen::Screen;

pub(super) fn import(file: &Path, rate: Option<u64>, screen: &mut Screen) -> Result<Imported, String> {
    let load = IsotopeLoad { rate: Rate(rate.unwrap_or(100_000)), ..IsotopeLoad::default() };
    let scenario = load_file(file, &Disk, &load).map_err(|refusal| {
        mistakes::show(screen, &refusal);
        format!("{} is not a graph that runs", file.display())
    })?;
    if !scenario.mesh.first().is_some_and(|mesh| mesh.name.ends_with("#mesh")) {
        return Err(format!("{} is a scenario, not a graph of isotope", file.display()));
    }
    let notes = vec![format!("read a graph of {} services", scenario.services.len())];
    Ok(Imported { draft: draft(&scenario, load.rate.0)?, notes })
}

fn draft(scenario: &Scenario, rate: u64) -> Result<Draft, String> {
    let mut draft = Draft { duration: "30s".to_owned(), ..Draft::default() };
    draft.question = vec![scenario.question.clone()];
    let namespaces: std::collections::BTreeSet<&str> =
        scenario.services.iter().map(|service| &*service.namespace).collect();
    for spec in &scenario.services {
        let service = service(spec, namespaces.len() > 1)?;
        if spec.entry {
            draft.loads.push(Load {
                to: format!("{}.{}:{}", spec.name.value, spec.namespace, spec.port),
                arrivals: format!("name: load-{}\n      rate: {}", spec.name.value, rate_text(rate)),
                mix: Vec::new(),
                note: String::new(),
            });
        }
        draft.services.push(service);
    }
    draft.manifests = scenario.mesh.first().map(|mesh| mesh.text.to_string());
    draft.expect = scenario
        .expect
        .iter()
        .map(|expectation| (String::new(), format!("{{overall: '{}'}}", expectation.that.value)))
        .collect();
    Ok(draft)
}

fn service(spec: &ServiceSpec, says_namespace: bool) -> Result<Service, String> {
    let only = "an isotope service has one version with one script";
    let version = spec.versions.first().ok_or(only)?;
    let route = version.routes.first().ok_or(only)?;
    let mut service = Service {
        name: spec.name.value.clone(),
        replicas: version.replicas,
        port: spec.port,
        grpc: spec.grpc,
        entry: spec.entry,
        notes: vec![
            "`time` and `slots` are not in a graph: give `time: {p50: 4ms, p99: 40ms}`, `slots: 8`.".to_owned(),
        ],
        ..Service::default()
    };
    if says_namespace {
        service.say(format!("namespace: {}", spec.namespace));
    }
    if route.work.error_ppm > 0 {
        service.say(format!("errorRate: {}", percent(route.work.error_ppm)));
    }
    service.say(format!("responseSize: {}", route.work.response_bytes));
    service.steps = route.steps.iter().map(step).collect::<Result<_, _>>()?;
    Ok(service)
}

/// Millionths as a percentage.
fn percent(ppm: u32) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn step(step: &scenario::Step) -> Result<Step, String> {
    match step {
        scenario::Step::Sleep(Distribution::Constant(span)) => Ok(Step::Sleep(units::show(*span))),
        scenario::Step::Sleep(_) => Err("an isotope service sleeps for a constant time".to_owned()),
        scenario::Step::Call(call) => Ok(Step::Call(call.host.value.clone(), fields(call))),
        scenario::Step::Parallel(branches) => {
            let branches = branches.iter().map(|branch| branch.iter().map(self::step).collect::<Result<Vec<_>, _>>());
            Ok(Step::Parallel(branches.collect::<Result<_, _>>()?))
        }
    }
}

fn fields(call: &Call) -> String {
    let mut fields = Vec::new();
    if call.request_bytes > 0 {
        fields.push(format!("requestSize: {}", call.request_bytes));
    }
    if call.probability_ppm < 1_000_000 {
        fields.push(format!("probability: {}", percent(call.probability_ppm)));
    }
    fields.join(", ")
}
