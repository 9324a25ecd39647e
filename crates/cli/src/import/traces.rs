//! Traces as a scenario: the call graph with its times, and how often requests arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use squall_control::units;

use super::calls::{Calls, Gather, Graph, Known};
use super::tally::{Bad, count, rate_milli, rounded, share};
use super::{Imported, expected, open, spans};
use crate::draft::{Draft, Load, Service, Step, label};
use crate::new::rate_text;

pub(super) fn import(files: &[PathBuf], rate: Option<u64>) -> Result<Imported, String> {
    let (mut gather, mut bad) = (Gather::default(), Bad::default());
    for path in files {
        let mut reader = open(path)?;
        spans::read(path, &mut reader, &mut bad, &mut |span| gather.add(span))?;
    }
    let graph = gather.finish();
    let mut notes = vec![format!("read {} of {}", count(graph.spans, "span"), count(graph.traces, "trace"))];
    notes.extend(bad.note("span"));
    let said = |number: u64, what: &str| (number > 0).then(|| format!("{what}: {number}"));
    notes.extend(said(graph.orphans, "spans whose parent is not there, so that nobody is known to have called"));
    notes.extend(said(graph.late, "spans left out that came long after the others of their traces"));
    notes.extend(said(graph.beyond, "requests left out, since there are more services than can be taken"));
    notes.extend(said(
        graph.retries,
        "tries after the first, put to their calls, since retries belong into a TrafficPolicy",
    ));
    if graph.services.is_empty() {
        return Err(format!("no service serves anything in these traces: {}", notes.join("; ")));
    }
    let draft = draft(&graph, rate, &mut notes)?;
    Ok(Imported { draft, notes })
}

/// Names as scenarios have them; two that come to the same get numbers.
fn names(graph: &Graph) -> BTreeMap<&str, String> {
    let mut taken = BTreeSet::new();
    let mut names = BTreeMap::new();
    for service in graph.services.keys() {
        let plain = label(service);
        let mut name = plain.clone();
        let mut nth = 2;
        while !taken.insert(name.clone()) {
            name = format!("{plain}-{nth}");
            nth += 1;
        }
        names.insert(service.as_str(), name);
    }
    names
}

fn draft(graph: &Graph, rate: Option<u64>, notes: &mut Vec<String>) -> Result<Draft, String> {
    let names = names(graph);
    let mut draft = Draft { duration: "30s".to_owned(), ..Draft::default() };
    draft.question = vec!["What do the services of the traces do under the load of the traces?".to_owned()];
    for (service, known) in &graph.services {
        draft.services.push(of_service(&names[service.as_str()], known, &names));
    }
    while let Some(circle) = draft.circle() {
        // Two operations of the same services call each other: a script for all requests of a service cannot say that.
        let [.., from, to] = circle.as_slice() else { break };
        for service in draft.services.iter_mut().filter(|service| service.name == *from) {
            service.steps = without(&service.steps, to);
            service
                .notes
                .push(format!("It also calls {to}, which calls it: left out, since calls must not go in a circle."));
        }
        notes.push(format!("calls go in a circle, {}: that of {from} to {to} was left out", circle.join(" → ")));
    }
    let during = Duration::from_nanos(graph.last.saturating_sub(graph.first)).max(Duration::from_secs(1));
    let arrivals: Vec<(&String, &(u64, u64))> =
        graph.arrivals.iter().filter(|(service, _)| graph.services.contains_key(*service)).collect();
    for (service, (requests, _)) in &arrivals {
        let measured = rate_milli(*requests, during);
        draft.loads.push(Load {
            to: names[service.as_str()].clone(),
            arrivals: format!("rate: {}", rate_text(rate.unwrap_or(measured))),
            mix: Vec::new(),
            note: format!(
                "{} in {}. If traces were sampled, this is that share of the requests.",
                count(*requests, "trace"),
                units::show(rounded(during))
            ),
        });
    }
    if draft.loads.is_empty() {
        // No trace has its beginning.
        let called: BTreeSet<String> =
            draft.services.iter().flat_map(|service| service.calls().into_iter().map(str::to_owned)).collect();
        for service in draft.services.iter().filter(|service| !called.contains(&service.name)) {
            draft.loads.push(Load {
                to: service.name.clone(),
                arrivals: format!("rate: {}", rate_text(rate.unwrap_or(100_000))),
                mix: Vec::new(),
                note: "No trace has its first span: the rate is made up.".to_owned(),
            });
        }
    }
    if let [load] = draft.loads.as_slice() {
        let to = load.to.clone();
        draft.services.iter_mut().filter(|service| service.name == to).for_each(|service| service.entry = true);
    }
    let one_way = graph.on_the_way.percentile(500) / 2;
    if graph.on_the_way.total() > 0 {
        let latency = units::show(rounded(one_way));
        draft.network = vec![
            "# Half of what calls took beyond their servers, in the median: the way there, or back.".to_owned(),
            format!("links: [{{latency: {latency}}}]"),
        ];
    }
    let (requests, failed) =
        arrivals.iter().fold((0, 0), |sum, (_, (requests, failed))| (sum.0 + requests, sum.1 + failed));
    let limit = rounded((graph.took.percentile(990) * 3).max(Duration::from_millis(100)));
    draft.expect = vec![
        (
            "As good as in the traces, but for two percent.".to_owned(),
            expected(requests - failed, requests, &draft.loads),
        ),
        (
            "Three times the 99th percentile of the traces.".to_owned(),
            format!("{{overall: 'p99 < duration(\"{}\")'}}", units::show(limit)),
        ),
    ];
    Ok(draft)
}

fn without(steps: &[Step], to: &str) -> Vec<Step> {
    let keep = |step: &Step| match step {
        Step::Call(name, more) => (name != to).then(|| Step::Call(name.clone(), more.clone())),
        Step::Sleep(_) => Some(step.clone()),
        Step::Parallel(branches) => {
            let left: Vec<Vec<Step>> =
                branches.iter().map(|branch| without(branch, to)).filter(|branch| !branch.is_empty()).collect();
            (!left.is_empty()).then_some(Step::Parallel(left))
        }
    };
    steps.iter().filter_map(keep).collect()
}

fn of_service(name: &str, known: &Known, names: &BTreeMap<&str, String>) -> Service {
    let mut notes = Vec::new();
    if known.silent {
        notes.push(
            "It tells of nothing itself: times are those that its callers saw, the way there and back included."
                .to_owned(),
        );
    }
    notes.push(format!(
        "{} in the traces. `slots` (requests at once, per pod) is not in them: give it.",
        count(known.served, "request")
    ));
    let mut fields = vec![(format!("time: {}", known.own.distribution()), "its own, without its calls".to_owned())];
    if let Some(rate) = share(known.failed, known.served) {
        fields.push((format!("errorRate: {rate}"), "by itself, without a failed call".to_owned()));
    }
    Service {
        name: name.to_owned(),
        notes,
        replicas: u32::try_from(known.instances.len()).unwrap_or(1000).clamp(1, 1000),
        port: 8080,
        fields,
        steps: steps(known, names),
        retries: false,
        ..Service::default()
    }
}

/// Its calls, those that are mostly made at once as such.
fn steps(known: &Known, names: &BTreeMap<&str, String>) -> Vec<Step> {
    let mut order: Vec<(&String, &Calls)> =
        known.calls.iter().filter(|(to, _)| names.contains_key(to.as_str())).collect();
    order.sort_by_key(|(to, calls)| (calls.places / calls.requests.max(1), (*to).clone()));
    let mut groups: Vec<Vec<(&String, &Calls)>> = Vec::new();
    for call in order {
        match groups.last_mut() {
            Some(group) if group.iter().all(|(other, _)| known.at_once(other, call.0)) => group.push(call),
            _ => groups.push(vec![call]),
        }
    }
    let mut steps = Vec::new();
    for group in groups {
        let mut branches: Vec<Vec<Step>> = group
            .iter()
            .map(|(to, calls)| call_steps(&names[to.as_str()], calls, known.served))
            .filter(|steps| !steps.is_empty())
            .collect();
        match branches.len() {
            0 => {}
            1 => steps.append(&mut branches[0]),
            _ => steps.push(Step::Parallel(branches)),
        }
    }
    steps
}

/// So many calls per request: whole ones are repeated (at once, if they mostly were), and what is left is a probability.
fn call_steps(to: &str, calls: &Calls, served: u64) -> Vec<Step> {
    let mean_milli = calls.count * 1000 / served.max(1);
    let (mut whole, mut part) = (mean_milli / 1000, mean_milli % 1000);
    // A few requests that were cut short are no other shape.
    if part >= 980 {
        (whole, part) = (whole + 1, 0);
    } else if part <= 20 && whole > 0 {
        part = 0;
    }
    let repeated = calls.count.saturating_sub(calls.requests);
    let word = if repeated > 0 && calls.at_once * 2 > repeated { "fanOut" } else { "repeat" };
    // Where the caller goes on without it, mostly, it can do without it.
    let optional = (calls.tolerated * 2 > calls.failed).then(|| "optional: true".to_owned());
    let call = |more: Option<String>| {
        let fields: Vec<String> = more.into_iter().chain(optional.clone()).collect();
        Step::Call(to.to_owned(), fields.join(", "))
    };
    let mut steps = Vec::new();
    match whole {
        0 => {}
        1 => steps.push(call(None)),
        many => steps.push(call(Some(format!("{word}: {}", many.min(10_000))))),
    }
    if let Some(probability) = share(part, 1000) {
        steps.push(call(Some(format!("probability: {probability}"))));
    }
    steps
}
