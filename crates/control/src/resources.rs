//! The resources of a mesh, as they were read, each with its place.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use squall_policy::{
    Backoff, Balancing, BreakerConfig, Budget, Candidates, ClientThrottle, HeaderChange, HealthCheck, Hedging, Limits,
    OutlierConfig, Protocol, RateLimit, Redirect, RetryLimits, RetryOn, RouteFault, RouteMatch,
};
use squall_policy::{Caller, Operation, PeerMode};

use crate::gateway::{Gateway, GatewayRef, Secret};
use crate::{Mistake, Place, Pod, check, read};

/// Namespace and name.
pub(crate) type Id = (String, String);

/// The resources of a mesh: Services, EndpointSlices, HTTPRoutes and TrafficPolicies that fit together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    pub(crate) services: BTreeMap<Id, Service>,
    pub(crate) slices: Vec<Slice>,
    pub(crate) routes: Vec<HttpRoute>,
    pub(crate) policies: Vec<TrafficPolicy>,
    pub(crate) faults: BTreeMap<Id, FaultInjection>,
    pub(crate) access: Vec<AccessPolicy>,
    pub(crate) peers: Vec<PeerPolicy>,
    pub(crate) gateways: BTreeMap<Id, Gateway>,
    pub(crate) secrets: BTreeMap<Id, Secret>,
    /// The policy in force for each Service: its own, or inherited.
    pub(crate) policy_of: BTreeMap<Id, usize>,
}

impl Resources {
    /// Reads files of Kubernetes YAML, each with its name and text. Documents are `v1` Services, `discovery.k8s.io/v1`
    /// EndpointSlices, `gateway.networking.k8s.io/v1` HTTPRoutes, GRPCRoutes and Gateways, `v1` Secrets of type `kubernetes.io/tls`, and `squall.dev/v1alpha1` [TrafficPolicies](crate::traffic_policy) and
    /// [FaultInjections](crate::fault_injection); anything else is refused by name. References between them are checked.
    ///
    /// # Errors
    /// All mistakes, in the order of the files.
    pub fn read(files: &[(&str, &str)]) -> Result<Self, Vec<Mistake>> {
        check::resources(read::files(files)?)
    }

    /// Namespace and name of every Service, sorted.
    pub fn services(&self) -> impl Iterator<Item = (&str, &str)> {
        self.services.keys().map(|(namespace, name)| (namespace.as_str(), name.as_str()))
    }

    /// A pod as the EndpointSlices show it, where no registry knows pods; `None`: no slice names it.
    pub(crate) fn sliced(&self, namespace: &str, name: &str) -> Option<Pod> {
        let slices = self.slices.iter().filter(|slice| slice.service.0 == namespace);
        let mut found = slices.flat_map(|slice| slice.endpoints.iter().map(move |endpoint| (slice, endpoint)));
        let (slice, endpoint) = found.find(|(_, endpoint)| endpoint.pod.as_deref() == Some(name))?;
        Some(Pod {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            address: endpoint.address,
            labels: BTreeMap::new(),
            ports: BTreeMap::new(),
            zone: endpoint.zone.clone(),
            service_account: slice.service_account.clone(),
            weight: slice.weight.as_ref().map_or(1, |(weight, _)| *weight),
            ready: endpoint.ready,
            terminating: endpoint.terminating,
        })
    }

    /// Whether the balancing of this Service takes unequal weights of endpoints into account: all but `PeakEwma` does.
    #[must_use]
    pub fn weighs(&self, namespace: &str, service: &str) -> bool {
        let policy = self.policy(&(namespace.to_owned(), service.to_owned()));
        let balancing = policy.and_then(|policy| policy.balancing.as_ref()).map(|wanted| &wanted.balancing);
        balancing.is_some_and(|balancing| !matches!(balancing, Balancing::PeakEwma { .. }))
    }

    /// The policy in force for a Service.
    pub(crate) fn policy(&self, service: &Id) -> Option<&TrafficPolicy> {
        self.policy_of.get(service).map(|index| &self.policies[*index])
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) id: Id,
    pub(crate) place: Place,
    /// Empty: it selects nothing; its endpoints come from EndpointSlices.
    pub(crate) selector: BTreeMap<String, String>,
    /// Its own; none: it is headless, or nobody says.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<ServicePort>,
}

impl Service {
    pub(crate) fn port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServicePort {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) target: TargetPort,
    pub(crate) protocol: Protocol,
    /// Somebody said what it speaks; else it is taken for HTTP where nothing else can be told.
    pub(crate) declared: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TargetPort {
    Number(u16),
    Name(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) service: Id,
    pub(crate) place: Place,
    /// Whose pods these are: the last part of their SPIFFE id. Kubernetes gives pods that say nothing else `default`.
    pub(crate) service_account: String,
    /// Of each of its endpoints; `None`: that of its pod, or 1.
    pub(crate) weight: Option<(u32, Place)>,
    /// Name and number.
    pub(crate) ports: Vec<(String, u16)>,
    pub(crate) endpoints: Vec<SliceEndpoint>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SliceEndpoint {
    pub(crate) address: IpAddr,
    pub(crate) pod: Option<String>,
    pub(crate) zone: String,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpRoute {
    pub(crate) id: Id,
    pub(crate) place: Place,
    pub(crate) parents: Vec<ServiceRef>,
    pub(crate) gateways: Vec<GatewayRef>,
    /// Lower case, with their places; only gateways have them. Empty: every name.
    pub(crate) hostnames: Vec<(String, Place)>,
    /// It is a GRPCRoute.
    pub(crate) is_grpc: bool,
    pub(crate) rules: Vec<Rule>,
}

/// A reference to a Service, and to one port of it if there is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceRef {
    pub(crate) service: Id,
    pub(crate) port: Option<u16>,
    pub(crate) place: Place,
    pub(crate) port_place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) place: Place,
    /// With the place of each; never empty.
    pub(crate) matches: Vec<(RouteMatch, Place)>,
    pub(crate) request_headers: Vec<HeaderChange>,
    pub(crate) response_headers: Vec<HeaderChange>,
    pub(crate) backends: Vec<(ServiceRef, u32)>,
    /// A FaultInjection, and where it is named.
    pub(crate) fault: Option<(Id, Place)>,
    /// Nothing else is said then.
    pub(crate) redirect: Option<(Redirect, Place)>,
    pub(crate) timeouts: RuleTimeouts,
    pub(crate) retry: Option<RuleRetry>,
}

/// What a rule says about time. Outer `None`: nothing; inner `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuleTimeouts {
    pub(crate) request: Option<(Option<Duration>, Place)>,
    pub(crate) per_try: Option<(Option<Duration>, Place)>,
}

/// A rule's `retry` (GEP-1731).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleRetry {
    pub(crate) place: Place,
    pub(crate) codes: Vec<u16>,
    pub(crate) attempts: u32,
    pub(crate) backoff: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FaultInjection {
    pub(crate) id: Id,
    pub(crate) place: Place,
    pub(crate) fault: RouteFault,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrafficPolicy {
    pub(crate) id: Id,
    pub(crate) place: Place,
    pub(crate) targets: Vec<ServiceRef>,
    pub(crate) balancing: Option<LoadBalancing>,
    pub(crate) health: Option<HealthCheck>,
    /// Of `healthCheck`, or of the policy.
    pub(crate) health_place: Place,
    pub(crate) retries: Option<Retries>,
    pub(crate) breaker: Option<BreakerConfig>,
    pub(crate) service_breaker: Option<BreakerConfig>,
    pub(crate) outliers: Option<OutlierConfig>,
    pub(crate) throttle: Option<ClientThrottle>,
    pub(crate) hedging: Option<Hedging>,
    pub(crate) limits: Option<LimitsSpec>,
    pub(crate) timeouts: PolicyTimeouts,
    pub(crate) inbound: Option<LimitsSpec>,
    pub(crate) mutual_tls: Option<bool>,
}

/// How much at once and per time, and where it is said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitsSpec {
    pub(crate) limits: Limits,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoadBalancing {
    pub(crate) balancing: Balancing,
    /// Its own panic threshold is not asked.
    pub(crate) candidates: Candidates,
    pub(crate) panic_percent: Option<u32>,
}

/// Outer `None`: nothing said; `Some(None)`: no budget.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retries {
    pub(crate) place: Place,
    pub(crate) attempts: u32,
    pub(crate) on: Vec<RetryOn>,
    pub(crate) backoff: Backoff,
    pub(crate) budget: Option<Option<Budget>>,
    pub(crate) limits: RetryLimits,
    pub(crate) non_idempotent: bool,
    pub(crate) buffer_bytes: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PolicyTimeouts {
    pub(crate) request: Option<(Duration, Place)>,
    pub(crate) per_try: Option<(Duration, Place)>,
    pub(crate) idle: Option<Duration>,
    pub(crate) stream: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) pool_idle: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessPolicy {
    pub(crate) id: Id,
    pub(crate) place: Place,
    /// Empty: see `labels`.
    pub(crate) targets: Vec<ServiceRef>,
    /// `None`, and no targets: all pods of its namespace.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) action: AccessAction,
    pub(crate) rules: Vec<AccessPolicyRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessAction {
    Allow,
    Deny,
    Audit,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AccessPolicyRule {
    pub(crate) from: Vec<Caller>,
    pub(crate) to: Vec<PortOperation>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerPolicy {
    pub(crate) id: Id,
    pub(crate) place: Place,
    /// `None`: all pods of its namespace, or of the mesh.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// `None`: it says nothing.
    pub(crate) mode: Option<PeerMode>,
    /// Of single ports, with the place of each.
    pub(crate) ports: BTreeMap<u16, (Option<PeerMode>, Place)>,
}

/// At some of the ports.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PortOperation {
    pub(crate) http: Operation,
    pub(crate) ports: Vec<u16>,
    pub(crate) not_ports: Vec<u16>,
}
