//! Gateways: what they are, whether routes fit them, and the listeners that a `squall gateway` gets.
//!
//! A gateway runs as a service account of its Gateway's namespace: that of the Gateway's own name, or the one in its annotation
//! `squall.dev/service-account`. By this it is known, since it proves it; so an account has one Gateway.
//!
//! Sources: Gateway API, `Gateway`, `HTTPRoute.hostnames` and `allowedRoutes`.

use std::collections::{BTreeMap, BTreeSet};

use squall_policy::{GatewayListener, Mesh, RouteMatch, VirtualHost};

use crate::compile::{Candidate, compiled_route, precedence};
use crate::resources::{HttpRoute, Id, Resources, Rule, TrafficPolicy};
use crate::{Mistake, Mistakes, Place, RegistrySnapshot, compile};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) id: Id,
    pub(crate) place: Place,
    /// As whom it runs.
    pub(crate) account: String,
    /// Never empty.
    pub(crate) listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    pub(crate) place: Place,
    pub(crate) name: String,
    /// Empty: every one.
    pub(crate) hostname: String,
    pub(crate) port: u16,
    /// The Secrets of its certificates; `None`: plain HTTP.
    pub(crate) certificates: Option<Vec<(Id, Place)>>,
    pub(crate) from: From,
    pub(crate) kinds: Kinds,
}

/// From which namespaces routes may be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Same,
    All,
    Nobody,
}

/// Which kinds of routes may be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds {
    pub(crate) http: bool,
    pub(crate) grpc: bool,
}

impl Default for Kinds {
    fn default() -> Self {
        Self { http: true, grpc: true }
    }
}

/// A route's reference to a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayRef {
    pub(crate) gateway: Id,
    pub(crate) place: Place,
    pub(crate) port: Option<(u16, Place)>,
    pub(crate) section: Option<(String, Place)>,
}

/// A certificate with its key, both PEM.
#[derive(Clone, PartialEq)]
pub(crate) struct Secret {
    pub(crate) id: Id,
    pub(crate) place: Place,
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({}/{})", self.id.0, self.id.1)
    }
}

/// A certificate that comes with the resources.
pub struct GivenCertificate<'r> {
    /// `namespace/name` of its Secret.
    pub name: String,
    /// Where that is.
    pub place: &'r Place,
    /// The certificate and those between it and its root, PEM.
    pub chain: &'r str,
    /// Its key, PEM. Not to be shown.
    pub key: &'r str,
}

/// A certificate that a listener is to show.
pub struct WantedCertificate<'r> {
    /// `namespace/name`.
    pub name: String,
    /// Where it is named.
    pub place: &'r Place,
}

impl Resources {
    /// The certificates of Secrets.
    pub fn given_certificates(&self) -> impl Iterator<Item = GivenCertificate<'_>> {
        self.secrets.values().map(|secret| GivenCertificate {
            name: written(&secret.id),
            place: &secret.place,
            chain: &secret.chain,
            key: &secret.key,
        })
    }

    /// The certificates that the gateway of this service account shows.
    pub fn wanted_certificates(&self, namespace: &str, account: &str) -> Vec<WantedCertificate<'_>> {
        let listeners = self.gateway_of(namespace, account).map_or(&[][..], |gateway| &gateway.listeners);
        let refs = listeners.iter().filter_map(|listener| listener.certificates.as_ref()).flatten();
        refs.map(|(id, place)| WantedCertificate { name: written(id), place }).collect()
    }

    /// The ports of the gateway of this service account, sorted, each with the first place that names it; `None`: there is no such
    /// gateway.
    #[must_use]
    pub fn gateway_ports(&self, namespace: &str, account: &str) -> Option<BTreeMap<u16, &Place>> {
        let gateway = self.gateway_of(namespace, account)?;
        let mut ports = BTreeMap::new();
        for listener in &gateway.listeners {
            ports.entry(listener.port).or_insert(&listener.place);
        }
        Some(ports)
    }

    /// `namespace/name` of every Gateway, sorted, with its place.
    pub fn gateways(&self) -> impl Iterator<Item = (String, &Place)> {
        self.gateways.values().map(|gateway| (written(&gateway.id), &gateway.place))
    }

    fn gateway_of(&self, namespace: &str, account: &str) -> Option<&Gateway> {
        self.gateways.values().find(|gateway| gateway.id.0 == namespace && gateway.account == account)
    }
}

fn written((namespace, name): &Id) -> String {
    format!("{namespace}/{name}")
}

/// The mesh of the gateway that runs as this service account: every backend, and its listeners.
#[must_use]
pub fn compile_gateway(resources: &Resources, pods: &RegistrySnapshot, namespace: &str, account: &str) -> Mesh {
    let gateway = gateway_listeners(resources, namespace, account);
    Mesh { gateway, ..compile::outbound(resources, pods, namespace) }
}

/// The listeners of the gateway of this service account, sorted by name; none if there is no such gateway.
pub(crate) fn gateway_listeners(resources: &Resources, namespace: &str, account: &str) -> Vec<GatewayListener> {
    let Some(gateway) = resources.gateway_of(namespace, account) else { return Vec::new() };
    let mut routes: Vec<&HttpRoute> = resources.routes.iter().collect();
    routes.sort_by_key(|route| &route.id);
    let listeners = gateway.listeners.iter().map(|listener| {
        let name = format!("{} {}", written(&gateway.id), listener.name);
        let mut hosts: BTreeMap<String, Vec<Candidate<'_>>> = BTreeMap::new();
        for route in routes.iter().filter(|route| is_attached(route, gateway, listener)) {
            for domain in domains(route, listener) {
                let rules = hosts.entry(domain).or_default();
                for (index, rule) in route.rules.iter().enumerate() {
                    rules.extend(rule.matches.iter().map(|(matches, _)| Candidate { route, rule, index, matches }));
                }
            }
        }
        let hosts = hosts.into_iter().map(|(domain, mut rules)| {
            // Stable: ties stay in the order of the routes' names and their rules.
            rules.sort_by_key(|rule| precedence(rule.matches));
            let routes = rules.iter().map(|rule| compiled_route(resources, rule, policy_of(resources, rule.rule), 0));
            VirtualHost { name: format!("{name} {domain}"), domains: vec![domain], routes: routes.collect() }
        });
        GatewayListener {
            port: listener.port,
            hostname: listener.hostname.clone(),
            certificates: listener
                .certificates
                .as_ref()
                .map(|certificates| certificates.iter().map(|(id, _)| written(id).into()).collect()),
            hosts: hosts.collect(),
            name: name.into(),
        }
    });
    let mut listeners: Vec<GatewayListener> = listeners.collect();
    listeners.sort_by(|one, other| one.name.cmp(&other.name));
    listeners
}

/// The policy whose time-outs and retries hold for a rule: that of its backends, if they all have the same.
fn policy_of<'r>(resources: &'r Resources, rule: &Rule) -> Option<&'r TrafficPolicy> {
    let mut of_backends = rule.backends.iter().map(|(backend, _)| resources.policy_of.get(&backend.service));
    let first = of_backends.next()??;
    of_backends.all(|other| other == Some(first)).then(|| &resources.policies[*first])
}

fn is_attached(route: &HttpRoute, gateway: &Gateway, listener: &Listener) -> bool {
    allows(gateway, listener, route)
        && route.gateways.iter().any(|to| to.gateway == gateway.id && is_meant(to, listener))
}

/// Whether a reference means this listener of its Gateway.
fn is_meant(to: &GatewayRef, listener: &Listener) -> bool {
    to.section.as_ref().is_none_or(|(name, _)| *name == listener.name)
        && to.port.as_ref().is_none_or(|(port, _)| *port == listener.port)
}

fn allows(gateway: &Gateway, listener: &Listener, route: &HttpRoute) -> bool {
    let is_kind = if route.is_grpc { listener.kinds.grpc } else { listener.kinds.http };
    is_kind
        && match listener.from {
            From::Same => route.id.0 == gateway.id.0,
            From::All => true,
            From::Nobody => false,
        }
}

/// The domains that a route serves at a listener: what the names of both have in common.
fn domains(route: &HttpRoute, listener: &Listener) -> BTreeSet<String> {
    if route.hostnames.is_empty() {
        let all = if listener.hostname.is_empty() { "*" } else { &listener.hostname };
        return BTreeSet::from([all.to_owned()]);
    }
    route.hostnames.iter().filter_map(|(name, _)| in_common(&listener.hostname, name)).map(str::to_owned).collect()
}

/// The names that both stand for. Empty is every name.
fn in_common<'n>(one: &'n str, other: &'n str) -> Option<&'n str> {
    let is_within = |name: &str, of: &str| match of.strip_prefix('*') {
        Some(suffix) => name.ends_with(suffix) && name.len() > suffix.len(),
        None => of.is_empty() || name == of,
    };
    if is_within(other, one) { Some(other) } else { is_within(one, other).then_some(one) }
}

/// Whether Gateways, Secrets and routes fit together.
pub(crate) fn check(resources: &Resources, mistakes: &Mistakes) {
    accounts_once(resources, mistakes);
    secrets_are_used(resources, mistakes);
    for route in &resources.routes {
        for to in &route.gateways {
            refers(resources, route, to, mistakes);
        }
    }
    matches_once(resources, mistakes);
}

fn accounts_once(resources: &Resources, mistakes: &Mistakes) {
    let mut seen: BTreeMap<(&str, &str), &Gateway> = BTreeMap::new();
    for gateway in resources.gateways.values() {
        if let Some(first) = seen.insert((&gateway.id.0, &gateway.account), gateway) {
            let message = format!("two Gateways run as `{}/{}`", gateway.id.0, gateway.account);
            let mistake = Mistake::new(&gateway.place, message).label(&first.place, "the first");
            mistakes.push(mistake.help("give one another account, by the annotation `squall.dev/service-account`"));
        }
    }
}

fn secrets_are_used(resources: &Resources, mistakes: &Mistakes) {
    let listeners = resources.gateways.values().flat_map(|gateway| &gateway.listeners);
    let used: BTreeSet<&Id> =
        listeners.filter_map(|listener| listener.certificates.as_ref()).flatten().map(|(id, _)| id).collect();
    for secret in resources.secrets.values().filter(|secret| !used.contains(&secret.id)) {
        let mistake = Mistake::new(&secret.place, format!("no listener names `{}`: it has no effect", secret.id.1));
        mistakes.push(mistake.help("name it in the `tls.certificateRefs` of a Gateway's listener"));
    }
}

/// That a reference leads to a listener that takes the route.
fn refers(resources: &Resources, route: &HttpRoute, to: &GatewayRef, mistakes: &Mistakes) {
    let (namespace, name) = &to.gateway;
    let Some(gateway) = resources.gateways.get(&to.gateway) else {
        let message = format!("parentRef refers to `{name}`, which is not a Gateway in namespace `{namespace}`");
        let mistake = Mistake::new(&to.place, message);
        mistakes.push(if resources.services.contains_key(&to.gateway) {
            mistake.help(format!("for the Service of that name write {{group: \"\", kind: Service, name: {name}}}"))
        } else {
            let known = resources.gateways.keys().filter(|(found, _)| found == namespace);
            mistake.suggest(name, known.map(|(_, name)| name.as_str()))
        });
        return;
    };
    let names = || gateway.listeners.iter().map(|listener| listener.name.as_str());
    if let Some((section, place)) = to.section.as_ref().filter(|(section, _)| !names().any(|name| name == section)) {
        let message = format!("Gateway `{name}` has no listener `{section}`");
        mistakes.push(Mistake::new(place, message).label(&gateway.place, "the Gateway").suggest(section, names()));
        return;
    }
    let meant: Vec<&Listener> = gateway.listeners.iter().filter(|listener| is_meant(to, listener)).collect();
    if meant.is_empty() {
        let place = to.port.as_ref().map_or(&to.place, |(_, place)| place);
        let ports: BTreeSet<u16> = gateway.listeners.iter().map(|listener| listener.port).collect();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let message = format!("no listener of Gateway `{name}` is meant by this port");
        mistakes.push(Mistake::new(place, message).label(&gateway.place, format!("it has {}", ports.join(", "))));
        return;
    }
    let allowing: Vec<&&Listener> = meant.iter().filter(|listener| allows(gateway, listener, route)).collect();
    if allowing.is_empty() {
        let kind = if route.is_grpc { "GRPCRoutes" } else { "HTTPRoutes" };
        let message = format!("Gateway `{name}` does not take {kind} of namespace `{}` here", route.id.0);
        let mistake = Mistake::new(&to.place, message).label(&meant[0].place, "the listener");
        mistakes
            .push(mistake.help("see the listener's `allowedRoutes`: without them it takes those of its own namespace"));
        return;
    }
    if allowing.iter().all(|listener| domains(route, listener).is_empty()) {
        let place = route.hostnames.first().map_or(&to.place, |(_, place)| place);
        let message = format!("none of the route's host names is one that Gateway `{name}` listens for");
        let host = &allowing[0].hostname;
        mistakes.push(Mistake::new(place, message).label(&allowing[0].place, format!("this listener is for {host}")));
    }
}

/// No two rules of one host match the same: the second would never be reached.
fn matches_once(resources: &Resources, mistakes: &Mistakes) {
    let mut reported: BTreeSet<(&Place, &Place)> = BTreeSet::new();
    for gateway in resources.gateways.values() {
        for listener in &gateway.listeners {
            let mut seen: BTreeMap<String, Vec<(RouteMatch, &Place)>> = BTreeMap::new();
            for route in resources.routes.iter().filter(|route| is_attached(route, gateway, listener)) {
                for domain in domains(route, listener) {
                    let before = seen.entry(domain.clone()).or_default();
                    for (matched, place) in route.rules.iter().flat_map(|rule| &rule.matches) {
                        let normal = normal(matched);
                        match before.iter().find(|(known, _)| *known == normal) {
                            Some((_, first)) if reported.insert((*first, place)) => {
                                let message =
                                    format!("`{domain}` has this match already at Gateway `{}`", gateway.id.1);
                                let first = (*first, "the first, which takes every request");
                                mistakes.push(Mistake::new(place, message).label(first.0, first.1));
                            }
                            Some(_) => {}
                            None => before.push((normal, place)),
                        }
                    }
                }
            }
        }
    }
}

fn normal(matched: &RouteMatch) -> RouteMatch {
    let mut normal = matched.clone();
    normal.headers.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
    normal.query.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_host_names_have_in_common_is_the_more_precise_one() {
        for (one, other, want) in [
            ("", "a.b", Some("a.b")),
            ("a.b", "a.b", Some("a.b")),
            ("a.b", "c.b", None),
            ("*.b", "a.b", Some("a.b")),
            ("*.b", "x.a.b", Some("x.a.b")),
            ("*.b", "b", None),
            ("*.b", "*.b", Some("*.b")),
            ("*.b", "*.a.b", Some("*.a.b")),
            ("*.a.b", "*.b", Some("*.a.b")),
            ("a.b", "*.b", Some("a.b")),
            ("*.a.b", "*.c.b", None),
            ("b", "*.b", None),
            ("*.b", "*.xb", None),
        ] {
            assert_eq!(in_common(one, other), want, "{one:?} {other:?}");
        }
    }
}
