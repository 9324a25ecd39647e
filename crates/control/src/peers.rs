//! Which PeerAuthentication holds where: for the ports of a pod, and for clients of a Service.

use std::collections::BTreeMap;

use squall_policy::PeerMode;

use crate::resources::{Id, PeerPolicy, Resources, Service, ServicePort, TargetPort};
use crate::{Mistake, Mistakes, Pod};

/// Whose policies without a selector are the whole mesh's.
const ROOT_NAMESPACE: &str = "squall";

type Labels = BTreeMap<String, String>;

/// Whether a selector is for somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// Some of the labels are not known.
    Perhaps,
}

/// `is_all`: there are no other labels than those `known`.
fn fit(wanted: &Labels, known: &Labels, is_all: bool) -> Fit {
    let mut fits = Fit::Yes;
    for (key, value) in wanted {
        match known.get(key) {
            Some(found) if found == value => {}
            Some(_) => return Fit::No,
            None if is_all => return Fit::No,
            None => fits = Fit::Perhaps,
        }
    }
    fits
}

/// The policies of a namespace that have a selector.
fn selective<'r>(resources: &'r Resources, namespace: &str) -> impl Iterator<Item = (&'r PeerPolicy, &'r Labels)> {
    let here = resources.peers.iter().filter(move |policy| policy.id.0 == namespace);
    here.filter_map(|policy| Some((policy, policy.labels.as_ref()?)))
}

/// What holds for a port, if `nearest` is the policy of its workload.
fn settle(resources: &Resources, namespace: &str, nearest: Option<&PeerPolicy>, port: u16) -> Option<PeerMode> {
    let wide = |namespace: &str| {
        let mut found = resources.peers.iter().filter(|policy| policy.id.0 == namespace && policy.labels.is_none());
        found.find_map(|policy| policy.mode)
    };
    let of_port = |policy: &PeerPolicy| policy.ports.get(&port).and_then(|(mode, _)| *mode);
    let near = nearest.and_then(|policy| of_port(policy).or(policy.mode));
    near.or_else(|| wide(namespace)).or_else(|| wide(ROOT_NAMESPACE))
}

fn takes_mutual_tls(mode: Option<PeerMode>) -> bool {
    mode.is_none_or(PeerMode::takes_mutual_tls)
}

/// What holds for a port of `pod` that `services` lead to. `is_known`: its labels are.
pub(crate) fn of_port(
    resources: &Resources,
    pod: &Pod,
    is_known: bool,
    services: &[&Id],
    port: u16,
    mistakes: &Mistakes,
) -> Option<PeerMode> {
    let mut nearest: Option<&PeerPolicy> = None;
    for (policy, labels) in selective(resources, &pod.namespace) {
        let fits = if is_known {
            fit(labels, &pod.labels, true)
        } else {
            // A pod of a Service has the labels of its selector.
            let known = services.iter().filter_map(|id| resources.services.get(*id)).flat_map(|found| &found.selector);
            fit(labels, &known.map(|(key, value)| (key.clone(), value.clone())).collect(), false)
        };
        match (fits, nearest) {
            (Fit::No, _) => {}
            (Fit::Yes, None) => nearest = Some(policy),
            (Fit::Yes, Some(first)) => {
                let message = format!("pod `{}` has two PeerAuthentications", pod.name);
                mistakes.push(Mistake::new(&policy.place, message).label(&first.place, "the first"));
            }
            (Fit::Perhaps, _) => {
                let message =
                    format!("whether it is for pod `{}` is not known: EndpointSlices have no labels of pods", pod.name);
                mistakes.push(Mistake::new(&policy.place, message).help(BY_SERVICE));
            }
        }
    }
    settle(resources, &pod.namespace, nearest, port)
}

const BY_SERVICE: &str = "select by labels that a Service's selector has";

/// The policy that is for all pods of a Service.
fn of_service<'r>(resources: &'r Resources, service: &Service) -> Option<&'r PeerPolicy> {
    let mut found = selective(resources, &service.id.0);
    found.find(|(_, labels)| fit(labels, &service.selector, false) == Fit::Yes).map(|(policy, _)| policy)
}

/// Whether clients begin mutual TLS with the pods of a Service, at whose ports `at` it is served.
pub(crate) fn for_clients(resources: &Resources, service: &Service, at: impl Iterator<Item = u16>) -> bool {
    let nearest = of_service(resources, service);
    let mut modes = at.map(|port| settle(resources, &service.id.0, nearest, port)).peekable();
    // Nobody is there: it does not matter. Where only some of the pods' ports are DISABLE, all get mutual TLS: their sidecars take it.
    modes.peek().is_none() || modes.any(takes_mutual_tls)
}

/// The pods' ports that a Service port means, as far as resources tell.
fn numbers(resources: &Resources, service: &Service, port: &ServicePort) -> Vec<u16> {
    let slices: Vec<_> = resources.slices.iter().filter(|slice| slice.service == service.id).collect();
    let mut found: Vec<u16> = match &port.target {
        TargetPort::Number(number) if slices.is_empty() => vec![*number],
        TargetPort::Number(_) | TargetPort::Name(_) => {
            let ports = slices.iter().flat_map(|slice| &slice.ports).filter(|(name, _)| *name == port.name);
            ports.map(|(_, number)| *number).collect()
        }
    };
    found.sort_unstable();
    found.dedup();
    found
}

/// What cannot be kept.
pub(crate) fn check(resources: &Resources, mistakes: &Mistakes) {
    let mut wide: BTreeMap<&str, &PeerPolicy> = BTreeMap::new();
    for policy in resources.peers.iter().filter(|policy| policy.labels.is_none()) {
        if let Some(first) = wide.insert(&policy.id.0, policy) {
            let message = format!("namespace `{}` has two PeerAuthentications without a selector", policy.id.0);
            mistakes.push(Mistake::new(&policy.place, message).label(&first.place, "the first"));
        }
    }
    for service in resources.services.values() {
        of_one_service(resources, service, mistakes);
    }
    for (policy, labels) in resources.peers.iter().filter_map(|policy| Some((policy, policy.labels.as_ref()?))) {
        ports_are_served(resources, policy, labels, mistakes);
    }
}

fn of_one_service(resources: &Resources, service: &Service, mistakes: &Mistakes) {
    let (namespace, name) = &service.id;
    let nearest = of_service(resources, service);
    for (policy, labels) in selective(resources, namespace) {
        match fit(labels, &service.selector, false) {
            Fit::No => {}
            Fit::Yes => {
                if let Some(first) = nearest.filter(|first| first.id != policy.id) {
                    let message = format!("the pods of Service `{name}` have two PeerAuthentications");
                    mistakes.push(Mistake::new(&policy.place, message).label(&first.place, "the first"));
                }
            }
            Fit::Perhaps => {
                let taken = |with, port| takes_mutual_tls(settle(resources, namespace, with, port));
                let mut ports = service.ports.iter().flat_map(|port| numbers(resources, service, port));
                if ports.any(|port| taken(nearest, port) != taken(Some(policy), port)) {
                    let message = format!(
                        "it may be for some pods of Service `{name}` only, whose clients then cannot tell whether to begin \
                         mutual TLS"
                    );
                    let mistake = Mistake::new(&policy.place, message).label(&service.place, "the Service");
                    mistakes.push(mistake.help(BY_SERVICE));
                }
            }
        }
    }
    for port in &service.ports {
        let modes: Vec<_> = numbers(resources, service, port)
            .into_iter()
            .map(|number| (number, settle(resources, namespace, nearest, number)))
            .collect();
        let plain = modes.iter().find(|(_, mode)| !takes_mutual_tls(*mode));
        let secure = modes.iter().find(|(_, mode)| takes_mutual_tls(*mode));
        if let (Some((plain, _)), Some((secure, _)), Some(policy)) = (plain, secure, nearest) {
            let message = format!(
                "Service `{name}` leads to port {plain}, which takes no mutual TLS, and to port {secure}, which does: its clients \
                 cannot tell"
            );
            mistakes.push(Mistake::new(&policy.place, message).label(&port.place, "the Service's port"));
        }
        let Some(said) = resources.policy(&service.id).filter(|policy| policy.mutual_tls.is_some()) else { continue };
        for (number, mode) in modes {
            let wrong = match (said.mutual_tls, mode) {
                (Some(true), Some(PeerMode::Disable)) => "clients are to use mutual TLS, but DISABLE is the mode of",
                (Some(false), Some(PeerMode::Strict)) => "clients are to use no mutual TLS, but STRICT is the mode of",
                (_, _) => continue,
            };
            let message = format!("{wrong} port {number} of Service `{name}`");
            let mut mistake = Mistake::new(&said.place, message).help("leave `tls` out: clients follow the mode");
            if let Some(policy) = nearest {
                mistake = mistake.label(&policy.place, "the PeerAuthentication");
            }
            mistakes.push(mistake);
        }
    }
}

/// A port number of a Service in place of the pod's would do nothing.
fn ports_are_served(resources: &Resources, policy: &PeerPolicy, labels: &Labels, mistakes: &Mistakes) {
    let near = resources.services.values().filter(|service| service.id.0 == policy.id.0);
    let near: Vec<_> = near.filter(|service| fit(labels, &service.selector, false) != Fit::No).collect();
    let ports = || near.iter().flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let mut served = Vec::new();
    for (service, port) in ports() {
        let found = numbers(resources, service, port);
        if found.is_empty() {
            // A port of a name: which number that is, pods tell.
            return;
        }
        served.extend(found);
    }
    if served.is_empty() {
        return;
    }
    for (port, (_, place)) in policy.ports.iter().filter(|(port, _)| !served.contains(port)) {
        let mistake = Mistake::new(place, format!("no Service leads to port {port} of these pods"));
        mistakes.push(match ports().find(|(_, service_port)| service_port.number == *port) {
            Some((service, service_port)) => {
                let target = numbers(resources, service, service_port);
                let target: Vec<String> = target.iter().map(ToString::to_string).collect();
                mistake.help(format!("a port of the pod is meant, {}, not the Service's", target.join(" or ")))
            }
            None => mistake,
        });
    }
}
