//! Ports of TCP: what a port speaks, where its connections go, and what cannot be said of them.

use std::net::IpAddr;

use squall_policy::{
    BackendName, Balancing, Destination, OPAQUE_PORTS, Probe, Protocol, RetryOn, Speaks, StreamPolicy,
};

use crate::resources::{Resources, Service, ServicePort, ServiceRef, TrafficPolicy};
use crate::{Mistake, Mistakes};

/// What `appProtocol` may say, or the first part of a port's name (`grpc-internal`), as Kubernetes and Istio have it.
pub(crate) const SPOKEN: &[(&str, Protocol)] = &[
    ("http", Protocol::Http1),
    ("http2", Protocol::Http2),
    ("grpc", Protocol::Http2),
    ("grpc-web", Protocol::Http1),
    ("kubernetes.io/h2c", Protocol::Http2),
    ("kubernetes.io/ws", Protocol::Http1),
    ("kubernetes.io/wss", Protocol::Tcp),
    ("https", Protocol::Tcp),
    ("tls", Protocol::Tcp),
    ("tcp", Protocol::Tcp),
    ("mongo", Protocol::Tcp),
    ("mysql", Protocol::Tcp),
    ("redis", Protocol::Tcp),
];

/// What a port speaks, and whether anybody said so.
pub(crate) fn spoken(declared: Option<Protocol>, name: &str, number: u16) -> (Protocol, bool) {
    let by_name = || {
        let first = if name.starts_with("grpc-web") { "grpc-web" } else { name.split('-').next().unwrap_or_default() };
        // What Squall's own names meant before.
        let first = if first == "h2c" { "http2" } else { first };
        SPOKEN.iter().find(|(word, _)| *word == first).map(|(_, protocol)| *protocol)
    };
    match declared.or_else(by_name) {
        Some(protocol) => (protocol, true),
        None if OPAQUE_PORTS.contains(&number) => (Protocol::Tcp, true),
        None => (Protocol::Http1, false),
    }
}

/// Where connections to a Service port go.
pub(crate) fn destination(
    service: &Service,
    port: &ServicePort,
    names: Vec<String>,
    policy: Option<&TrafficPolicy>,
) -> Destination {
    let (namespace, name) = &service.id;
    Destination {
        backend: BackendName::new(namespace, name, port.number),
        addresses: service.addresses.clone(),
        port: port.number,
        names,
        speaks: match (port.protocol, port.declared) {
            (Protocol::Tcp, _) => Speaks::Tcp,
            (Protocol::Http1 | Protocol::Http2, true) => Speaks::Http,
            (Protocol::Http1 | Protocol::Http2, false) => Speaks::Unknown,
        },
        stream: stream_policy(policy),
    }
}

fn stream_policy(policy: Option<&TrafficPolicy>) -> StreamPolicy {
    let default = StreamPolicy::default();
    let Some(policy) = policy else { return default };
    let (retries, backoff) = match &policy.retries {
        Some(retries) if retries.on.contains(&RetryOn::ConnectFailure) => (retries.attempts, retries.backoff),
        Some(_) => (0, default.backoff),
        None => (default.retries, default.backoff),
    };
    StreamPolicy { idle: policy.timeouts.idle.or(default.idle), longest: policy.timeouts.stream, retries, backoff }
}

/// How connections are spread where nobody says: to the endpoint with the fewest, of two.
pub(crate) const BY_CONNECTIONS: Balancing = Balancing::LeastRequest { choices: 2 };

/// The addresses of a Service, for `clusterIP` and `clusterIPs`.
pub(crate) fn addresses(one: Option<IpAddr>, all: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut addresses = all;
    if let Some(one) = one.filter(|one| !addresses.contains(one)) {
        addresses.insert(0, one);
    }
    addresses
}

/// What is said of HTTP where nobody speaks it.
pub(crate) fn check(resources: &Resources, mistakes: &Mistakes) {
    for route in &resources.routes {
        for parent in &route.parents {
            if is_all_tcp(resources, parent) {
                let message = format!("Service `{}` speaks TCP here: no request would ever be seen", parent.service.1);
                let mistake = Mistake::new(&parent.place, message);
                mistakes.push(mistake.help("an HTTPRoute needs a port that speaks HTTP: see its name and appProtocol"));
            }
        }
        for (backend, _) in route.rules.iter().flat_map(|rule| &rule.backends) {
            if is_all_tcp(resources, backend) {
                let message = format!("Service `{}` speaks TCP here: no request can be sent to it", backend.service.1);
                mistakes.push(Mistake::new(&backend.place, message));
            }
        }
    }
    for policy in &resources.policies {
        let mut targets = policy.targets.iter().peekable();
        if targets.peek().is_none() || !targets.all(|target| is_all_tcp(resources, target)) {
            continue;
        }
        let adaptive = |limits: &crate::resources::LimitsSpec| limits.limits.adaptive.is_some();
        let said = [
            (policy.timeouts.request.is_some(), "timeouts.request", "use `stream` for the longest connection"),
            (policy.timeouts.per_try.is_some(), "timeouts.perTry", "use `connect`"),
            (policy.hedging.is_some(), "hedging", "a connection cannot be made twice"),
            (policy.throttle.is_some(), "clientThrottling", "no connection says that there are too many"),
            (
                policy.balancing.as_ref().is_some_and(|wanted| matches!(wanted.balancing, Balancing::Hash(_))),
                "loadBalancing.key",
                "bytes have no key",
            ),
            (
                policy.health.as_ref().is_some_and(|health| match health.probe {
                    Probe::Http { .. } | Probe::Grpc { .. } => true,
                    Probe::Connect => false,
                }),
                "healthCheck",
                "use `connect: true`",
            ),
            (
                [&policy.limits, &policy.inbound].into_iter().flatten().any(adaptive),
                "limits.inFlight.adaptive",
                "how long a connection lasts is no latency",
            ),
        ];
        for (_, field, help) in said.into_iter().filter(|(said, ..)| *said) {
            let message = format!("`{field}` has no meaning for connections, and all targets speak TCP");
            mistakes.push(Mistake::new(&policy.place, message).help(help));
        }
    }
}

/// Whether every port that is meant speaks TCP.
fn is_all_tcp(resources: &Resources, to: &ServiceRef) -> bool {
    let Some(service) = resources.services.get(&to.service) else { return false };
    let mut ports = service.ports.iter().filter(|port| to.port.is_none_or(|wanted| wanted == port.number)).peekable();
    ports.peek().is_some() && ports.all(|port| port.protocol == Protocol::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_speaks_is_declared_or_by_its_name_or_unknown() {
        for (declared, name, number, want) in [
            (None, "", 80, (Protocol::Http1, false)),
            (None, "web", 80, (Protocol::Http1, false)),
            (None, "http", 80, (Protocol::Http1, true)),
            (None, "http-web", 80, (Protocol::Http1, true)),
            (None, "grpc-web-shop", 80, (Protocol::Http1, true)),
            (None, "grpc", 80, (Protocol::Http2, true)),
            (None, "tcp-db", 80, (Protocol::Tcp, true)),
            (None, "mysql", 80, (Protocol::Tcp, true)),
            (None, "https", 443, (Protocol::Tcp, true)),
            (None, "db", 5432, (Protocol::Tcp, true)),
            (None, "http", 5432, (Protocol::Http1, true)),
            (Some(Protocol::Http2), "tcp", 5432, (Protocol::Http2, true)),
        ] {
            assert_eq!(spoken(declared, name, number), want, "{declared:?} {name} {number}");
        }
    }
}
