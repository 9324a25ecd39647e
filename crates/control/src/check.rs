//! Whether the resources fit together: references, duplicates, conflicts. Every mistake shows both ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use squall_policy::{Probe, Protocol, RouteMatch};

use crate::resources::{HttpRoute, Id, Resources, Rule, Service, ServiceRef, Slice};
use crate::{Mistake, Mistakes, Place, gateway, peers, stream, units};

/// Checks what was read, and settles which policy holds for which Service.
pub(crate) fn resources(mut resources: Resources) -> Result<Resources, Vec<Mistake>> {
    let mistakes = Mistakes::new();
    for route in &resources.routes {
        for parent in &route.parents {
            refers(&resources, parent, "parentRef", &mistakes);
        }
        for rule in &route.rules {
            for (backend, _) in &rule.backends {
                refers(&resources, backend, "backendRef", &mistakes);
            }
            backends_once(rule, &mistakes);
            fault_is_known(&resources, rule, &mistakes);
        }
    }
    for slice in &resources.slices {
        if !resources.services.contains_key(&slice.service) {
            let message = format!("EndpointSlice of `{}`, which is not a Service", slice.service.1);
            let mistake = Mistake::new(&slice.place, message);
            mistakes.push(mistake.suggest(&slice.service.1, names(&resources, &slice.service.0)));
        }
    }
    for target in resources.access.iter().flat_map(|policy| &policy.targets) {
        refers(&resources, target, "targetRef", &mistakes);
    }
    faults_are_used(&resources, &mistakes);
    one_account_each(&resources, &mistakes);
    own_cluster_ips(&resources, &mistakes);
    resources.policy_of = policies(&resources, &mistakes);
    for route in &resources.routes {
        for rule in &route.rules {
            against_policy(&resources, route, rule, &mistakes);
        }
    }
    weights_are_used(&resources, &mistakes);
    grpc_checks_have_http2(&resources, &mistakes);
    matches_once(&resources, &mistakes);
    stream::check(&resources, &mistakes);
    peers::check(&resources, &mistakes);
    gateway::check(&resources, &mistakes);
    mistakes.check(resources)
}

/// A pod has one service account, whichever slice names it.
fn one_account_each(resources: &Resources, mistakes: &Mistakes) {
    let mut seen: BTreeMap<(&str, &str), &Slice> = BTreeMap::new();
    for slice in &resources.slices {
        for pod in slice.endpoints.iter().filter_map(|endpoint| endpoint.pod.as_deref()) {
            let first = *seen.entry((&slice.service.0, pod)).or_insert(slice);
            if first.service_account != slice.service_account {
                let (one, other) = (&first.service_account, &slice.service_account);
                let message = format!("pod `{pod}` cannot run as `{other}` and as `{one}`");
                mistakes.push(Mistake::new(&slice.place, message).label(&first.place, format!("`{one}` here")));
            }
        }
    }
}

/// An address leads to one Service.
fn own_cluster_ips(resources: &Resources, mistakes: &Mistakes) {
    let mut seen: BTreeMap<IpAddr, &Service> = BTreeMap::new();
    for service in resources.services.values() {
        for address in &service.addresses {
            if let Some(first) = seen.insert(*address, service) {
                let message = format!("`{address}` is the cluster IP of two Services");
                let first = (&first.place, format!("`{}` has it", first.id.1));
                mistakes.push(Mistake::new(&service.place, message).label(first.0, first.1));
            }
        }
    }
}

/// The names of the Services of a namespace.
fn names<'r>(resources: &'r Resources, namespace: &str) -> Vec<&'r str> {
    resources.services.keys().filter(|(found, _)| found == namespace).map(|(_, name)| name.as_str()).collect()
}

fn refers(resources: &Resources, to: &ServiceRef, what: &str, mistakes: &Mistakes) {
    let (namespace, name) = &to.service;
    let Some(service) = resources.services.get(&to.service) else {
        let message = format!("{what} refers to `{name}`, which is not a Service in namespace `{namespace}`");
        let known = names(resources, namespace);
        let mut mistake = Mistake::new(&to.place, message).suggest(name, known.iter().copied());
        if let Some(near) = crate::closest(name, &known)
            && let Some(service) = resources.services.get(&(namespace.clone(), near.to_owned()))
        {
            mistake = mistake.label(&service.place, format!("`{near}` is here"));
        }
        mistakes.push(mistake);
        return;
    };
    if let Some(port) = to.port
        && service.port(port).is_none()
    {
        let ports: Vec<String> = service.ports.iter().map(|port| port.number.to_string()).collect();
        let mistake = Mistake::new(&to.port_place, format!("Service `{name}` has no port {port}"))
            .label(&service.place, format!("it has {}", ports.join(", ")));
        mistakes.push(mistake);
    }
}

fn backends_once(rule: &Rule, mistakes: &Mistakes) {
    let mut seen: BTreeMap<(&Id, Option<u16>), &Place> = BTreeMap::new();
    for (backend, _) in &rule.backends {
        if let Some(first) = seen.insert((&backend.service, backend.port), &backend.place) {
            let message = format!("backend `{}` is given twice: add the weights up", backend.service.1);
            mistakes.push(Mistake::new(&backend.place, message).label(first, "first given here"));
        }
    }
}

fn fault_is_known(resources: &Resources, rule: &Rule, mistakes: &Mistakes) {
    let Some((id, place)) = rule.fault.as_ref().filter(|(id, _)| !resources.faults.contains_key(id)) else { return };
    let known = resources.faults.keys().filter(|(namespace, _)| *namespace == id.0).map(|(_, name)| name.as_str());
    let message = format!("`{}` is not a FaultInjection in namespace `{}`", id.1, id.0);
    mistakes.push(Mistake::new(place, message).suggest(&id.1, known));
}

fn faults_are_used(resources: &Resources, mistakes: &Mistakes) {
    let rules = resources.routes.iter().flat_map(|route| &route.rules);
    let used: BTreeSet<&Id> = rules.filter_map(|rule| rule.fault.as_ref()).map(|(id, _)| id).collect();
    for fault in resources.faults.values().filter(|fault| !used.contains(&fault.id)) {
        let mistake = Mistake::new(&fault.place, format!("no rule names `{}`: it has no effect", fault.id.1));
        mistakes.push(mistake.help("name it in a rule's `filters`, by an extensionRef"));
    }
}

/// The policy of each Service: its own, or that of the one Service whose routes lead to it.
fn policies(resources: &Resources, mistakes: &Mistakes) -> BTreeMap<Id, usize> {
    let mut own: BTreeMap<Id, usize> = BTreeMap::new();
    let mut targets: BTreeMap<&Id, &Place> = BTreeMap::new();
    for (index, policy) in resources.policies.iter().enumerate() {
        for target in &policy.targets {
            refers(resources, target, "targetRef", mistakes);
            if let Some(first) = targets.insert(&target.service, &target.place) {
                let message = format!("Service `{}` has two policies", target.service.1);
                mistakes.push(Mistake::new(&target.place, message).label(first, "the first"));
                continue;
            }
            own.insert(target.service.clone(), index);
        }
    }
    let mut inherited: BTreeMap<&Id, BTreeSet<usize>> = BTreeMap::new();
    for route in &resources.routes {
        for policy in route.parents.iter().filter_map(|parent| own.get(&parent.service)) {
            for (backend, _) in route.rules.iter().flat_map(|rule| &rule.backends) {
                if !own.contains_key(&backend.service) {
                    inherited.entry(&backend.service).or_default().insert(*policy);
                }
            }
        }
    }
    let mut all = own.clone();
    for (service, candidates) in inherited {
        let mut candidates = candidates.into_iter();
        let Some(first) = candidates.next() else { continue };
        if let (Some(second), Some(found)) = (candidates.next(), resources.services.get(service)) {
            let message = format!("Service `{}` has no policy of its own and is reached through two", service.1);
            let mistake = Mistake::new(&found.place, message)
                .label(&resources.policies[first].place, "one policy")
                .label(&resources.policies[second].place, "another")
                .help(format!("give `{}` a TrafficPolicy", service.1));
            mistakes.push(mistake);
            continue;
        }
        all.insert(service.clone(), first);
    }
    all
}

/// A weight that balancing does not look at is a mistake.
fn weights_are_used(resources: &Resources, mistakes: &Mistakes) {
    for slice in &resources.slices {
        let Some((_, place)) = &slice.weight else { continue };
        let (namespace, name) = &slice.service;
        let Some(service) = resources.services.get(&slice.service) else { continue };
        if !resources.weighs(namespace, name) {
            let mistake = Mistake::new(place, "a weight has no meaning with `PeakEwma`, which goes by latency alone");
            let mistake = mistake.label(&service.place, "the Service");
            mistakes.push(mistake.help("give it a TrafficPolicy with another `loadBalancing.algorithm`"));
        }
    }
}

/// gRPC is spoken over HTTP/2 only.
fn grpc_checks_have_http2(resources: &Resources, mistakes: &Mistakes) {
    for (id, policy) in &resources.policy_of {
        let policy = &resources.policies[*policy];
        let by_grpc = policy.health.as_ref().is_some_and(|check| matches!(check.probe, Probe::Grpc { .. }));
        let Some(service) = resources.services.get(id).filter(|_| by_grpc) else { continue };
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Http1) {
            let message =
                format!("port {} of Service `{}` speaks HTTP/1.1, so it cannot be asked by gRPC", port.number, id.1);
            let mistake = Mistake::new(&policy.health_place, message).label(&service.place, "the Service");
            mistakes.push(mistake.help("give the port `appProtocol: grpc`, or ask for a `path`"));
        }
    }
}

/// What a rule says beside what the policy of its parent says.
fn against_policy(resources: &Resources, route: &HttpRoute, rule: &Rule, mistakes: &Mistakes) {
    let mut seen = BTreeSet::new();
    for policy in route.parents.iter().map(|parent| resources.policy(&parent.service)) {
        let timeouts = policy.map(|policy| &policy.timeouts);
        let by_policy =
            |limit: Option<&(std::time::Duration, Place)>| limit.map(|(limit, place)| (*limit, place.clone()));
        let request = match &rule.timeouts.request {
            Some((limit, place)) => limit.map(|limit| (limit, place.clone())),
            None => by_policy(timeouts.and_then(|timeouts| timeouts.request.as_ref())),
        };
        let per_try = match &rule.timeouts.per_try {
            Some((limit, place)) => limit.map(|limit| (limit, place.clone())),
            None => by_policy(timeouts.and_then(|timeouts| timeouts.per_try.as_ref())),
        };
        // What stands only in the policy was checked there.
        let ours = rule.timeouts.request.is_some() || rule.timeouts.per_try.is_some();
        if let (Some((request, whole)), Some((per_try, part))) = (request, per_try)
            && ours
            && per_try > request
            && seen.insert((whole.clone(), part.clone()))
        {
            let (per_try, request) = (units::show(per_try), units::show(request));
            let message = format!("one try may take {per_try}, longer than the whole request ({request})");
            mistakes.push(Mistake::new(&part, message).label(&whole, "the whole request"));
        }
        if let (Some(retry), Some(retries)) = (&rule.retry, policy.and_then(|policy| policy.retries.as_ref()))
            && seen.insert((retry.place.clone(), retries.place.clone()))
        {
            let message = "retries are set on the rule and in the policy of its Service";
            mistakes.push(
                Mistake::new(&retry.place, message).label(&retries.place, "the policy's").help("keep one of them"),
            );
        }
    }
}

/// No two rules of one Service port match the same: the second would never be reached.
fn matches_once(resources: &Resources, mistakes: &Mistakes) {
    let mut reported: BTreeSet<(&Place, &Place)> = BTreeSet::new();
    let mut seen: BTreeMap<(&Id, u16), Vec<(RouteMatch, &Place)>> = BTreeMap::new();
    for route in &resources.routes {
        for parent in &route.parents {
            let Some(service) = resources.services.get(&parent.service) else { continue };
            let ports = service.ports.iter().filter(|port| parent.port.is_none_or(|wanted| wanted == port.number));
            for port in ports {
                let before = seen.entry((&parent.service, port.number)).or_default();
                for (matched, place) in route.rules.iter().flat_map(|rule| &rule.matches) {
                    let mut normal = matched.clone();
                    normal.headers.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
                    normal.query.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
                    match before.iter().find(|(known, _)| *known == normal) {
                        Some((_, first)) if reported.insert((*first, place)) => {
                            let message = format!("Service `{}` has this match already", parent.service.1);
                            mistakes.push(
                                Mistake::new(place, message).label(first, "the first, which takes every request"),
                            );
                        }
                        Some(_) => {}
                        None => before.push((normal, place)),
                    }
                }
            }
        }
    }
}
