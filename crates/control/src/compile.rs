//! Compiles resources and registry to the mesh of one proxy.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use squall_policy::{
    Authorization, BackendName, BackendPolicy, Backoff, Candidates, Endpoint, Inbound, Jitter, Limits, Mesh, PathMatch,
    Protocol, RetryOn, RetryPolicy, Route, RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};

use crate::resources::{HttpRoute, Id, Resources, Rule, Service, ServicePort, TargetPort, TrafficPolicy};
use crate::{Mistake, Mistakes, Place, Pod, RegistrySnapshot, access, peers, spiffe_id, stream};

/// Which proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeInfo {
    /// Its pod's namespace: short Service names mean this one.
    pub namespace: String,
    /// Its pod's name.
    pub pod: String,
}

impl NodeInfo {
    /// From Envoy's `Node.id`: `namespace/pod`, or Istio's form, which Squall's proxies use too,
    /// `sidecar~10.0.0.3~pod.namespace~namespace.svc.cluster.local`. `None`: of neither form.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        let (namespace, pod) = match id.strip_prefix("sidecar~") {
            // A pod's name may have dots, a namespace's has none.
            Some(rest) => rest.split('~').nth(1)?.rsplit_once('.').map(|(pod, namespace)| (namespace, pod))?,
            None => id.split_once('/')?,
        };
        let good = !namespace.is_empty() && !pod.is_empty() && !pod.contains('/');
        good.then(|| Self { namespace: namespace.to_owned(), pod: pod.to_owned() })
    }

    /// Envoy's `Node.id`: `namespace/pod`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.pod)
    }
}

/// The mesh of `node`.
///
/// Every Service port is a backend and a virtual host. The host's names are `NAME.NS`, `NAME.NS.svc`,
/// `NAME.NS.svc.cluster.local` and, for proxies of the same namespace, `NAME`; each with `:PORT`, and bare for port 80, or for
/// the only port. A port of TCP has no virtual host; connections reach any port by its [`Destination`](squall_policy::Destination). Without an HTTPRoute a host leads to its own Service; with one, a request that no rule matches gets 404.
///
/// # Errors
/// What cannot be said to this proxy: two Services want different things of one of its ports.
pub fn compile(resources: &Resources, pods: &RegistrySnapshot, node: &NodeInfo) -> Result<Mesh, Vec<Mistake>> {
    let mut mesh = outbound(resources, pods, &node.namespace);
    mesh.inbound = inbound(resources, pods, node)?;
    Ok(mesh)
}

/// The part of the mesh that all proxies of a namespace share.
pub(crate) fn outbound(resources: &Resources, pods: &RegistrySnapshot, namespace: &str) -> Mesh {
    let mut mesh = Mesh::default();
    let routes = routes_by_port(resources);
    for service in resources.services.values() {
        let policy = resources.policy(&service.id);
        for port in &service.ports {
            let name = backend_name(service, port.number);
            let endpoints = endpoints(resources, service, port, pods);
            let at = endpoints.iter().map(|endpoint| endpoint.address.port());
            let mut treated = backend_policy(port, policy);
            treated.mutual_tls &= peers::for_clients(resources, service, at);
            mesh.backends.insert(name.clone(), treated);
            if !endpoints.is_empty() {
                mesh.endpoints.insert(name.clone(), endpoints);
            }
            mesh.destinations.push(stream::destination(service, port, host_names(service, namespace), policy));
            if port.protocol == Protocol::Tcp {
                continue;
            }
            let rules = routes.get(&(&service.id, port.number));
            mesh.hosts.push(VirtualHost {
                name: name.to_string(),
                domains: domains(service, port.number, namespace),
                routes: match rules {
                    Some(rules) => {
                        rules.iter().map(|rule| compiled_route(resources, rule, policy, port.number)).collect()
                    }
                    None => vec![default_route(service, port, policy)],
                },
            });
        }
    }
    mesh.destinations.sort_by(|one, other| one.backend.cmp(&other.backend));
    mesh
}

fn backend_name(service: &Service, port: u16) -> BackendName {
    BackendName::new(&service.id.0, &service.id.1, port)
}

/// What proxies of a namespace call it, the longest last.
fn host_names(service: &Service, from: &str) -> Vec<String> {
    let (namespace, name) = &service.id;
    let mut names = vec![
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.cluster.local"),
    ];
    if namespace == from {
        names.insert(0, name.clone());
    }
    names
}

fn domains(service: &Service, port: u16, from: &str) -> Vec<String> {
    let mut names = host_names(service, from);
    // As an authority writes them (RFC 3986 §3.2.2).
    let addresses = service.addresses.iter();
    names.extend(addresses.map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }));
    // A host without a port means 80; a Service with only one port can mean no other.
    let bare = if service.port(80).is_some() { port == 80 } else { service.ports.len() == 1 };
    let with_port: Vec<String> = names.iter().map(|name| format!("{name}:{port}")).collect();
    let mut domains = if bare { names } else { Vec::new() };
    domains.extend(with_port);
    domains
}

fn backend_policy(port: &ServicePort, policy: Option<&TrafficPolicy>) -> BackendPolicy {
    let mut default = BackendPolicy { mutual_tls: true, protocol: port.protocol, ..BackendPolicy::default() };
    if port.protocol == Protocol::Tcp {
        default.balancing = stream::BY_CONNECTIONS;
    }
    let Some(policy) = policy else { return default };
    BackendPolicy {
        balancing: policy.balancing.as_ref().map_or(default.balancing, |wanted| wanted.balancing.clone()),
        candidates: candidates(policy),
        health: policy.health.clone(),
        breaker: policy.breaker,
        service_breaker: policy.service_breaker,
        outliers: policy.outliers,
        limits: policy.limits.as_ref().map_or(default.limits, |wanted| wanted.limits),
        rate: policy.limits.as_ref().and_then(|wanted| wanted.rate.clone()),
        budget: policy.retries.as_ref().and_then(|retries| retries.budget).unwrap_or(default.budget),
        retry_limits: policy.retries.as_ref().map(|retries| retries.limits).unwrap_or_default(),
        throttle: policy.throttle,
        hedging: policy.hedging,
        connect_timeout: policy.timeouts.connect.unwrap_or(default.connect_timeout),
        pool_idle: policy.timeouts.pool_idle.or(default.pool_idle),
        protocol: default.protocol,
        mutual_tls: policy.mutual_tls.unwrap_or(default.mutual_tls),
    }
}

/// Panic is Envoy's default where health checks or zones say who is healthy; outlier detection alone has a floor of its own.
fn candidates(policy: &TrafficPolicy) -> Candidates {
    let (candidates, said) = match &policy.balancing {
        Some(wanted) => (wanted.candidates.clone(), wanted.panic_percent),
        None => (Candidates::default(), None),
    };
    let by_default = if policy.health.is_some() || candidates.zones.is_some() { 50 } else { 0 };
    Candidates { panic_percent: said.unwrap_or(by_default), ..candidates }
}

/// A rule with one of its matches.
pub(crate) struct Candidate<'r> {
    pub(crate) route: &'r HttpRoute,
    pub(crate) rule: &'r Rule,
    pub(crate) index: usize,
    pub(crate) matches: &'r RouteMatch,
}

/// The rules of each Service port in the order of precedence (Gateway API, `HTTPRouteRule.matches`).
fn routes_by_port(resources: &Resources) -> BTreeMap<(&(String, String), u16), Vec<Candidate<'_>>> {
    let mut found: BTreeMap<(&(String, String), u16), Vec<Candidate<'_>>> = BTreeMap::new();
    let mut routes: Vec<&HttpRoute> = resources.routes.iter().collect();
    routes.sort_by_key(|route| &route.id);
    for route in routes {
        for parent in &route.parents {
            let Some(service) = resources.services.get(&parent.service) else { continue };
            for port in service.ports.iter().filter(|port| parent.port.is_none_or(|wanted| wanted == port.number)) {
                let rules = found.entry((&service.id, port.number)).or_default();
                for (index, rule) in route.rules.iter().enumerate() {
                    rules.extend(rule.matches.iter().map(|(matches, _)| Candidate { route, rule, index, matches }));
                }
            }
        }
    }
    for rules in found.values_mut() {
        // Stable: ties stay in the order of the routes' names and their rules.
        rules.sort_by_key(|rule| precedence(rule.matches));
    }
    found
}

pub(crate) type Precedence = (bool, Reverse<usize>, bool, Reverse<usize>, Reverse<usize>);

/// Exact paths first, then the longest prefix, a method, the most headers, the most query parameters.
pub(crate) fn precedence(matches: &RouteMatch) -> Precedence {
    let (prefix, length) = match &matches.path {
        PathMatch::Exact(path) => (false, path.chars().count()),
        PathMatch::Prefix(path) => (true, path.chars().count()),
    };
    let (headers, query) = (matches.headers.len(), matches.query.len());
    (prefix, Reverse(length), matches.method.is_none(), Reverse(headers), Reverse(query))
}

pub(crate) fn compiled_route(
    resources: &Resources,
    candidate: &Candidate<'_>,
    policy: Option<&TrafficPolicy>,
    port: u16,
) -> Route {
    let rule = candidate.rule;
    let by_policy = policy_timeouts(policy);
    let limit = |found: &Option<(Option<Duration>, Place)>, else_by: Option<Duration>| match found {
        Some((limit, _)) => *limit,
        None => else_by,
    };
    let backends = rule.backends.iter().map(|(backend, weight)| WeightedBackend {
        backend: BackendName::new(&backend.service.0, &backend.service.1, backend.port.unwrap_or(port)),
        weight: *weight,
    });
    let retry = match &rule.retry {
        Some(retry) => {
            let first = retry.backoff.unwrap_or(Duration::from_millis(25));
            let mut on = vec![RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::RefusedStream, RetryOn::PerTryTimeout];
            on.extend(retry.codes.iter().map(|code| RetryOn::Status(*code)));
            on.sort();
            on.dedup();
            Some(RetryPolicy {
                retries: retry.attempts,
                on,
                backoff: Backoff { first, last: first.saturating_mul(10), jitter: Jitter::Full },
                non_idempotent: false,
                buffer_bytes: 64 * 1024,
            })
        }
        None => policy_retry(policy),
    };
    let name = format!("{}/{} rule {}", candidate.route.id.0, candidate.route.id.1, candidate.index).into();
    if let Some((redirect, _)) = &rule.redirect {
        // Answered at once: nothing else that is said of the rule's requests comes to bear.
        return Route {
            name,
            matches: candidate.matches.clone(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            backends: Vec::new(),
            timeouts: RouteTimeouts::default(),
            retry: None,
            fault: None,
            redirect: Some(redirect.clone()),
        };
    }
    Route {
        name,
        matches: candidate.matches.clone(),
        request_headers: rule.request_headers.clone(),
        response_headers: rule.response_headers.clone(),
        backends: backends.collect(),
        timeouts: RouteTimeouts {
            request: limit(&rule.timeouts.request, by_policy.request),
            per_try: limit(&rule.timeouts.per_try, by_policy.per_try),
            idle: by_policy.idle,
            stream: by_policy.stream,
        },
        retry,
        fault: rule.fault.as_ref().and_then(|(id, _)| Some(resources.faults.get(id)?.fault.clone())),
        redirect: None,
    }
}

fn default_route(service: &Service, port: &ServicePort, policy: Option<&TrafficPolicy>) -> Route {
    Route {
        name: format!("{}/{}", service.id.0, service.id.1).into(),
        matches: RouteMatch {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        backends: vec![WeightedBackend { backend: backend_name(service, port.number), weight: 1 }],
        timeouts: policy_timeouts(policy),
        retry: policy_retry(policy),
        fault: None,
        redirect: None,
    }
}

fn policy_timeouts(policy: Option<&TrafficPolicy>) -> RouteTimeouts {
    let Some(TrafficPolicy { timeouts, .. }) = policy else { return RouteTimeouts::default() };
    RouteTimeouts {
        request: timeouts.request.as_ref().map(|(limit, _)| *limit),
        per_try: timeouts.per_try.as_ref().map(|(limit, _)| *limit),
        idle: timeouts.idle,
        stream: timeouts.stream,
    }
}

fn policy_retry(policy: Option<&TrafficPolicy>) -> Option<RetryPolicy> {
    let retries = policy?.retries.as_ref()?;
    Some(RetryPolicy {
        retries: retries.attempts,
        on: retries.on.clone(),
        backoff: retries.backoff,
        non_idempotent: retries.non_idempotent,
        buffer_bytes: retries.buffer_bytes,
    })
}

fn selects(service: &Service, pod: &Pod) -> bool {
    pod.namespace == service.id.0
        && !service.selector.is_empty()
        && service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

/// The port of `pod` that a Service port means. `None`: the pod has no port of that name.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => pod.ports.get(name).copied(),
    }
}

/// In the order of their addresses, each once.
fn endpoints(resources: &Resources, service: &Service, port: &ServicePort, pods: &RegistrySnapshot) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    let mut add = |endpoint: Endpoint| {
        found.insert(endpoint.address, endpoint);
    };
    let mut sliced = false;
    for slice in resources.slices.iter().filter(|slice| slice.service == service.id) {
        sliced = true;
        for (_, number) in slice.ports.iter().filter(|(name, _)| *name == port.name) {
            for endpoint in &slice.endpoints {
                let draining = endpoint.terminating && endpoint.serving;
                if !draining && (!endpoint.ready || endpoint.terminating) {
                    continue;
                }
                let address = SocketAddr::new(endpoint.address, *number);
                let key = endpoint.pod.as_ref().map(|pod| (service.id.0.clone(), pod.clone()));
                let pod = key.as_ref().and_then(|key| pods.pods.get(key));
                add(Endpoint {
                    address,
                    name: endpoint.pod.clone().unwrap_or_else(|| address.to_string()).into(),
                    zone: endpoint.zone.as_str().into(),
                    weight: match &slice.weight {
                        Some((weight, _)) => *weight,
                        None => pod.map_or(1, |pod| pod.weight),
                    },
                    identity: pod
                        .map_or_else(|| spiffe_id(&service.id.0, &slice.service_account), Pod::spiffe_id)
                        .into(),
                    draining,
                });
            }
        }
    }
    // A cluster keeps slices for Services with selectors too; where there are any, they are the truth.
    if !sliced {
        for pod in pods.pods.values().filter(|pod| selects(service, pod) && pod.ready) {
            let Some(number) = target_port(port, pod) else { continue };
            add(Endpoint {
                address: SocketAddr::new(pod.address, number),
                name: pod.name.as_str().into(),
                zone: pod.zone.as_str().into(),
                weight: pod.weight,
                identity: pod.spiffe_id().into(),
                draining: pod.terminating,
            });
        }
    }
    found.into_values().collect()
}

/// What the Services of this pod want of its ports.
pub(crate) fn inbound(
    resources: &Resources,
    pods: &RegistrySnapshot,
    node: &NodeInfo,
) -> Result<BTreeMap<u16, Inbound>, Vec<Mistake>> {
    let known = pods.pods.get(&(node.namespace.clone(), node.pod.clone())).cloned();
    let is_known = known.is_some();
    let Some(pod) = &known.or_else(|| resources.sliced(&node.namespace, &node.pod)) else {
        return Ok(BTreeMap::new());
    };
    let mistakes = Mistakes::new();
    let mut found: BTreeMap<u16, (Inbound, Option<&Place>, &ServicePort)> = BTreeMap::new();
    let mut served: BTreeMap<u16, Vec<&Id>> = BTreeMap::new();
    for service in resources.services.values().filter(|service| serves(resources, service, pod)) {
        let wanted = resources.policy(&service.id).and_then(|policy| policy.inbound.as_ref());
        for (port, number) in ports_of(resources, service, pod) {
            let limits = wanted.map_or_else(Limits::default, |wanted| wanted.limits);
            let rate = wanted.and_then(|wanted| wanted.rate.clone());
            served.entry(number).or_default().push(&service.id);
            let access = Authorization::default();
            let inbound =
                Inbound { limits, rate, protocol: port.protocol, detect: !port.declared, access, peers: None };
            let new = (inbound, wanted.map(|wanted| &wanted.place), port);
            let Some(known) = found.get_mut(&number) else {
                found.insert(number, new);
                continue;
            };
            if known.0.protocol != new.0.protocol {
                let message = format!("port {number} of pod `{}` cannot speak two protocols", node.id());
                mistakes.push(Mistake::new(&new.2.place, message).label(&known.2.place, "another protocol here"));
            }
            // It is enough that one says so.
            let detect = known.0.detect && new.0.detect;
            match (known.1, new.1) {
                (_, None) => {}
                (None, Some(_)) => *known = new.clone(),
                (Some(_), Some(_)) if (known.0.limits, &known.0.rate) == (new.0.limits, &new.0.rate) => {}
                (Some(first), Some(second)) => {
                    let message = format!("port {number} of pod `{}` has two inbound limits", node.id());
                    mistakes.push(Mistake::new(second, message).label(first, "the first"));
                }
            }
            known.0.detect = detect;
        }
    }
    for (number, (inbound, _, _)) in &mut found {
        let services = served.get(number).map_or(&[][..], Vec::as_slice);
        inbound.access = access::of_port(resources, pod, is_known, services, *number, &mistakes);
        inbound.peers = peers::of_port(resources, pod, is_known, services, *number, &mistakes);
    }
    mistakes.check(found.into_iter().map(|(number, (inbound, _, _))| (number, inbound)).collect())
}

/// The Service's ports with those of the pod that they mean: as its slices say, if it has any.
fn ports_of<'r>(resources: &'r Resources, service: &'r Service, pod: &Pod) -> Vec<(&'r ServicePort, u16)> {
    let mut found = Vec::new();
    let mut sliced = false;
    for slice in resources.slices.iter().filter(|slice| slice.service == service.id) {
        sliced = true;
        if slice.endpoints.iter().any(|endpoint| endpoint.pod.as_ref() == Some(&pod.name)) {
            for (name, number) in &slice.ports {
                found.extend(service.ports.iter().filter(|port| port.name == *name).map(|port| (port, *number)));
            }
        }
    }
    if !sliced {
        found.extend(service.ports.iter().filter_map(|port| Some((port, target_port(port, pod)?))));
    }
    found
}

fn serves(resources: &Resources, service: &Service, pod: &Pod) -> bool {
    let mut slices = resources.slices.iter().filter(|slice| slice.service == service.id).peekable();
    if slices.peek().is_none() {
        return selects(service, pod);
    }
    pod.namespace == service.id.0
        && slices.any(|slice| slice.endpoints.iter().any(|endpoint| endpoint.pod.as_ref() == Some(&pod.name)))
}

/// Services without a pod, by place, and pods without a Service, by name: no mistake in a cluster, where both come and go, but one in a
/// scenario, where nothing else would tell. Readiness does not matter.
#[must_use]
pub fn coverage(resources: &Resources, pods: &RegistrySnapshot) -> Coverage {
    let served = |service: &&Service| {
        let slices = resources.slices.iter().any(|slice| slice.service == service.id && !slice.endpoints.is_empty());
        slices || pods.pods.values().any(|pod| serves(resources, service, pod))
    };
    let unserved = resources.services.values().filter(|service| !served(service)).map(|service| {
        Mistake::new(&service.place, format!("Service `{}` selects no workload", service.id.1))
            .help("give the workload the labels of the Service's selector")
    });
    let unselected =
        pods.pods.values().filter(|pod| !resources.services.values().any(|service| serves(resources, service, pod)));
    Coverage {
        unserved: unserved.collect(),
        unselected: unselected.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect(),
    }
}

/// See [`coverage`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// One for each Service that selects no pod.
    pub unserved: Vec<Mistake>,
    /// `namespace/name` of each pod that no Service selects.
    pub unselected: Vec<String>,
}

#[cfg(test)]
mod node_tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_either_form_of_its_id() {
        let node = |namespace: &str, pod: &str| Some(NodeInfo { namespace: namespace.into(), pod: pod.into() });
        for (id, want) in [
            ("shop/cart-0", node("shop", "cart-0")),
            ("sidecar~10.0.0.3~cart-0.shop~shop.svc.cluster.local", node("shop", "cart-0")),
            ("sidecar~10.0.0.3~cart.v1.shop~shop.svc.cluster.local", node("shop", "cart.v1")),
            ("sidecar~10.0.0.3", None),
            ("sidecar~10.0.0.3~cart~x", None),
            ("cart-0", None),
            ("/cart-0", None),
        ] {
            assert_eq!(NodeInfo::from_id(id), want, "{id}");
        }
    }
}
