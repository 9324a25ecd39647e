//! What `--auto` varies: the settings that policies have, within bounds that people use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::Path;
use super::knob::{Knob, Resource, range};
use super::read::named_for_people;
use super::{refused, variant};
use crate::scenario::Scenario;
use squall_control::Place;

/// A setting worth tuning.
struct Row {
    /// Where: of a policy, or of a route.
    of: Of,
    field: &'static str,
    values: Values,
    /// Only where this is there already: what protects is tuned, not brought in unasked.
    where_is: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Policy,
    Route,
}

enum Values {
    Range(&'static str, &'static str, bool),
    Words(&'static [&'static str]),
}

const fn row(field: &'static str, where_is: &'static str, values: Values) -> Row {
    Row { of: Of::Policy, field, values, where_is }
}

use Values::{Range, Words};

/// Bounds are from a tenth of the usual to ten times as much, as far as that makes sense.
const TABLE: &[Row] = &[
    row("retries.attempts", "retries", Range("1", "5", false)),
    row("retries.backoff.base", "retries.backoff", Range("2ms", "250ms", true)),
    row("retries.budget.percent", "retries.budget.percent", Range("0", "50", false)),
    row("retries.budget.minPerSecond", "retries.budget.minPerSecond", Range("0", "20", false)),
    row("retries.budget", "retries", Words(&["{unlimited: true}", "{percent: 5}", "{percent: 10}", "{percent: 20}"])),
    row("timeouts.request", "timeouts.request", Range("100ms", "10s", true)),
    row("timeouts.perTry", "timeouts.perTry", Range("20ms", "5s", true)),
    row("hedging.delay", "hedging.delay", Range("5ms", "1s", true)),
    row("circuitBreaker.consecutiveFailures", "circuitBreaker", Range("2", "50", true)),
    row("circuitBreaker.open.min", "circuitBreaker", Range("100ms", "10s", true)),
    row("outlierDetection.consecutive5xx", "outlierDetection", Range("2", "50", true)),
    row("outlierDetection.baseEjection", "outlierDetection", Range("1s", "60s", true)),
    row("outlierDetection.maxEjectionPercent", "outlierDetection", Range("0", "100", false)),
    row("limits.inFlight", "limits.inFlight", Range("4", "1024", true)),
    row("limits.pending", "limits.pending", Range("0", "256", false)),
    row("inbound.inFlight", "inbound.inFlight", Range("2", "512", true)),
    row("inbound.pending", "inbound.pending", Range("0", "256", false)),
    row("loadBalancing.decay", "loadBalancing", Range("500ms", "30s", true)),
    row("loadBalancing.algorithm", "loadBalancing", Words(&["PeakEwma", "LeastRequest", "RoundRobin"])),
    row("clientThrottling.k", "clientThrottling", Range("1.1", "4.0", true)),
    Row { of: Of::Route, field: "rules[0].timeouts.request", values: Range("200ms", "20s", true), where_is: "" },
    Row { of: Of::Route, field: "rules[0].timeouts.backendRequest", values: Range("20ms", "5s", true), where_is: "" },
];

/// The knobs of these scenarios' policies and routes. Routes with the same time-out share a knob.
pub(super) fn knobs(scenarios: &[Arc<Scenario>]) -> Vec<Knob> {
    let mut known: Vec<(Resource, Place)> = Vec::new();
    for standing in scenarios.iter().flat_map(|scenario| &scenario.mesh).flat_map(variant::resources) {
        match known.iter().find(|(resource, _)| *resource == standing.resource) {
            Some(_) => {}
            None => known.push((standing.resource, standing.place)),
        }
    }
    let mut found: Vec<Knob> = Vec::new();
    for row in TABLE {
        let path = Path::parse(row.field).expect("the table's fields are paths");
        let is_of = |resource: &Resource| match row.of {
            Of::Policy => resource.kind == "TrafficPolicy",
            Of::Route => resource.kind == "HTTPRoute" || resource.kind == "GRPCRoute",
        };
        let now = |resource: &Resource, path: &Path| {
            scenarios.iter().find_map(|scenario| variant::current(&scenario.mesh, resource, path))
        };
        let gate = Path::parse(row.where_is).ok();
        let mut groups: BTreeMap<String, Vec<(Resource, Place)>> = BTreeMap::new();
        for (resource, place) in known.iter().filter(|(resource, _)| is_of(resource)) {
            let there = now(resource, &path);
            let wanted = match &gate {
                Some(gate) => now(resource, gate).is_some(),
                None => there.is_some(),
            };
            if !wanted {
                continue;
            }
            // Each policy has a knob of its own; routes with the same value have one together.
            let key = match row.of {
                Of::Policy => format!("{}/{}", resource.namespace, resource.name),
                Of::Route => there.unwrap_or_default(),
            };
            groups.entry(key).or_default().push((resource.clone(), place.clone()));
        }
        for group in groups.into_values() {
            let place = group[0].1.clone();
            let resources: Vec<Resource> = group.into_iter().map(|(resource, _)| resource).collect();
            let (levels, ordered) = match row.values {
                Range(from, to, log) => (range(from, to, log).expect("the table's ranges are ranges"), true),
                Words(words) => (words.iter().map(|word| (*word).to_owned()).collect(), false),
            };
            // A budget's kind, or its numbers; an algorithm, or what belongs to one.
            let covered = found.iter().any(|other| {
                other.resources == resources && other.path.to_string().starts_with(&format!("{path}."))
                    || other.resources == resources
                        && path.to_string() == "loadBalancing.algorithm"
                        && other.path.to_string() == "loadBalancing.decay"
            });
            if !covered {
                found.push(Knob {
                    name: named_for_people(&resources, &path),
                    resources,
                    path: path.clone(),
                    levels,
                    ordered,
                    absent: None,
                    place,
                });
            }
        }
        // What the control plane refuses at its ends, or where the policy is, is no knob.
        let fits = |at: usize| {
            [0, found[at].levels.len() - 1].into_iter().all(|end| refused(&found, at, end, scenarios).is_none())
        };
        let unfit: Vec<usize> = (0..found.len()).filter(|at| found[*at].path == path && !fits(*at)).collect();
        for at in unfit.into_iter().rev() {
            found.remove(at);
        }
    }
    found
}
