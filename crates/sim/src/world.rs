//! Builds the world of a scenario on any engine: one host per pod, one per client of the load, one for the control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use squall_control::{Mistake, NodeInfo, Place, Registry, RegistrySnapshot, Resources, compile, coverage, spiffe_id};
use squall_net::{BoxFuture, Host};
use squall_policy::{Here, Instant, Rng, Speaks};
use squall_proxy::Node;

use crate::arrivals;
use crate::engine::{Boot, Engine, HostSpec};
use crate::fault::Hosts;
use crate::journal::Journal;
use crate::knobs::{Gate, Knobs};
use crate::ledger::{Ledger, Party};
use crate::links::Links;
use crate::outcome::RunError;
use crate::pod::{Addresses, ClientPlan, ControlPlan, PodPlan, SidecarPlan, Status, token};
use crate::scenario::{ControlSpec, Group, Pod, Scenario};
use crate::shared::{Shared, Targets, Triggers};
use crate::trace::Trace;

/// A world that is built and has not begun.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) hosts: Hosts,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) links: Links,
    pub(crate) control: Arc<ControlPlan>,
}

/// One host to be.
struct Plan {
    name: Arc<str>,
    group: Group,
    role: Role,
}

enum Role {
    Control,
    Pod(Pod),
    Client { load: usize, index: u32 },
}

impl World {
    /// Adds every host to `engine` and sets every link.
    ///
    /// # Errors
    /// The mesh does not compile, or the engine cannot do what the network asks.
    pub(crate) fn build(
        scenario: &Arc<Scenario>,
        seed: u64,
        keep_history: bool,
        engine: &mut dyn Engine,
        trace: Arc<Trace>,
    ) -> Result<Self, RunError> {
        let plans = plans(scenario);
        let names: Vec<Arc<str>> = plans.iter().map(|plan| Arc::clone(&plan.name)).collect();
        let addresses: Vec<Addresses> = (0..plans.len()).map(addresses).collect();
        let resources = read(scenario)?;
        let pods = RegistrySnapshot::new((plans.iter().zip(&addresses)).filter_map(|(plan, at)| match &plan.role {
            Role::Pod(pod) => Some(entry(&node(scenario, plan, *at), scenario.services[pod.service].ports())),
            Role::Control | Role::Client { .. } => None,
        }));
        let (targets, plain) = targets(scenario, &resources, &pods)?;
        let shared = Arc::new(Shared {
            scenario: Arc::clone(scenario),
            ledger: Ledger::new(scenario.load.len(), scenario.faults.len()),
            journal: Journal::new(trace, names.clone(), keep_history),
            targets,
            start: Gate::default(),
            schedules: schedules(scenario, seed),
            triggers: Triggers::default(),
            interrupt: engine.interrupt(),
            pods: plans.iter().filter_map(|plan| Some((Arc::clone(&plan.name), pod_party(plan)?))).collect(),
            parties: parties(scenario),
            told: Mutex::default(),
        });
        let control = Arc::new(ControlPlan {
            shared: Arc::clone(&shared),
            id: 0,
            address: addresses[0].pod,
            resources,
            registry: Arc::new(Registry::new()),
            tokens: (plans.iter().zip(&addresses).skip(1))
                .map(|(plan, at)| {
                    let node = node(scenario, plan, *at);
                    (token(&node.pod), spiffe_id(&node.namespace, &node.service_account))
                })
                .collect(),
            authority: OnceLock::new(),
            rooted: Gate::default(),
        });
        let mut hosts = Hosts { groups: Vec::new(), status: Vec::new(), here: Vec::new(), pods: BTreeMap::new() };
        for (id, (plan, addresses)) in (0..).zip(plans.iter().zip(&addresses)) {
            let status = Arc::new(Status::default());
            let (boot, ahead, cpu): (Boot, Duration, Duration) = match &plan.role {
                Role::Control => (booting(&control, ControlPlan::run), Duration::ZERO, Duration::ZERO),
                Role::Pod(pod) => {
                    let spec = &scenario.services[pod.service];
                    let sidecar = sidecar(&control, id, node(scenario, plan, *addresses), *addresses, &status, plan);
                    let pod = Arc::new(PodPlan {
                        sidecar,
                        pod: pod.clone(),
                        mutual_tls: !plain.contains(&plan.name),
                        knobs: Knobs::default(),
                    });
                    control.registry.put(pod.entry(false, false));
                    hosts.pods.insert(id, Arc::clone(&pod));
                    (booting(&pod, PodPlan::run), spec.clock_ahead, spec.cpu_per_poll)
                }
                Role::Client { load, index } => {
                    let sidecar = sidecar(&control, id, node(scenario, plan, *addresses), *addresses, &status, plan);
                    let client = Arc::new(ClientPlan { sidecar, load: *load, index: *index as usize });
                    (booting(&client, ClientPlan::run), Duration::ZERO, Duration::ZERO)
                }
            };
            let (name, address) = (Arc::clone(&plan.name), addresses.pod);
            let added = engine.add_host(HostSpec { name, address, boot, clock_ahead: ahead, cpu_per_poll: cpu });
            assert_eq!(added.0, id, "engines number hosts in the order in which they are added");
            hosts.groups.push(plan.group.clone());
            let node = node(scenario, plan, *addresses);
            hosts.here.push(Here { zone: node.zone.as_str().into(), proxy: node.id().into() });
            hosts.status.push(status);
        }
        let links = Links::new(scenario, hosts.groups.clone());
        links.set_all(engine)?;
        Ok(Self { shared, hosts, names, links, control })
    }

    /// The hosts that must be ready before the load begins: all but the control plane.
    pub(crate) fn missing(&self) -> Vec<&str> {
        let waited_for = self.names.iter().zip(&self.hosts.status).skip(1);
        waited_for.filter(|(_, status)| !status.is_ready()).map(|(name, _)| &**name).collect()
    }
}

fn booting<P, F>(plan: &Arc<P>, main: fn(Arc<P>, Host) -> F) -> Boot
where
    P: Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let plan = Arc::clone(plan);
    Arc::new(move |host: Host| -> BoxFuture<'static, ()> { Box::pin(main(Arc::clone(&plan), host)) })
}

/// The control plane first, then pods, then clients.
fn plans(scenario: &Scenario) -> Vec<Plan> {
    let control = Plan { name: ControlSpec::HOST.into(), group: Group::of_control(scenario), role: Role::Control };
    let pods = scenario.pods().into_iter().map(|pod| Plan {
        name: Arc::clone(&pod.name),
        group: Group::of_pod(scenario, &pod),
        role: Role::Pod(pod),
    });
    let clients = scenario.load.iter().enumerate().flat_map(|(load, spec)| {
        (0..spec.hosts).map(move |index| Plan {
            name: format!("{}-{index}", spec.name).into(),
            group: Group::of_client(scenario, load, index),
            role: Role::Client { load, index },
        })
    });
    [control].into_iter().chain(pods).chain(clients).collect()
}

/// The addresses of host `number`. 127.0.0.1 is the host itself in every world.
fn addresses(number: usize) -> Addresses {
    let [_, _, high, low] = u32::try_from(number + 1).expect("scenarios have fewer hosts").to_be_bytes();
    Addresses { pod: IpAddr::V4(Ipv4Addr::new(10, 1, high, low)), local: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

fn node(scenario: &Scenario, plan: &Plan, addresses: Addresses) -> Node {
    let (namespace, service_account, labels) = match &plan.role {
        Role::Control => ("squall".to_owned(), ControlSpec::HOST.to_owned(), BTreeMap::new()),
        Role::Pod(pod) => {
            let spec = &scenario.services[pod.service];
            (spec.namespace.to_string(), spec.name.value.clone(), pod.labels.iter().cloned().collect())
        }
        Role::Client { load, .. } => {
            let spec = &scenario.load[*load];
            (spec.namespace.to_string(), spec.name.to_string(), BTreeMap::new())
        }
    };
    let zone = plan.group.zone.to_string();
    Node { ip: addresses.pod, pod: plan.name.to_string(), namespace, service_account, zone, labels }
}

fn entry(node: &Node, ports: BTreeMap<String, u16>) -> squall_control::Pod {
    squall_control::Pod {
        name: node.pod.clone(),
        namespace: node.namespace.clone(),
        address: node.ip,
        labels: node.labels.clone(),
        ports,
        zone: node.zone.clone(),
        service_account: node.service_account.clone(),
        weight: 1,
        ready: true,
        terminating: false,
    }
}

fn sidecar(
    control: &Arc<ControlPlan>,
    id: u32,
    node: Node,
    addresses: Addresses,
    status: &Arc<Status>,
    plan: &Plan,
) -> SidecarPlan {
    let shared = &control.shared;
    let services = shared.scenario.services.len();
    let (party, ahead) = match &plan.role {
        Role::Control => unreachable!("the control plane has no sidecar"),
        Role::Pod(pod) => (pod.service, shared.scenario.services[pod.service].clock_ahead),
        Role::Client { load, .. } => (services + load, Duration::ZERO),
    };
    SidecarPlan {
        shared: Arc::clone(shared),
        control: Arc::clone(control),
        id,
        node,
        addresses,
        party: party_of(party),
        ahead,
        status: Arc::clone(status),
    }
}

fn pod_party(plan: &Plan) -> Option<Party> {
    match &plan.role {
        Role::Pod(pod) => Some(party_of(pod.service)),
        Role::Control | Role::Client { .. } => None,
    }
}

fn party_of(index: usize) -> Party {
    Party(u16::try_from(index).expect("scenarios have fewer services and loads"))
}

/// The names of services, then loads.
fn parties(scenario: &Scenario) -> Vec<String> {
    let services = scenario.services.iter().map(|service| service.name.value.clone());
    services.chain(scenario.load.iter().map(|load| load.name.to_string())).collect()
}

fn schedules(scenario: &Scenario, seed: u64) -> Vec<Option<Mutex<arrivals::Schedule>>> {
    let dice = Rng::from_seed(seed).fork("load");
    let schedule = |load| arrivals::Schedule::new(load, &dice.fork(&load.name)).map(Mutex::new);
    scenario.load.iter().map(schedule).collect()
}

fn read(scenario: &Scenario) -> Result<Resources, RunError> {
    let files: Vec<(&str, &str)> = scenario.mesh.iter().map(|file| (&*file.name, &*file.text)).collect();
    Resources::read(&files).map_err(|mistakes| mesh_error(&mistakes))
}

fn mesh_error(mistakes: &[Mistake]) -> RunError {
    RunError::Mesh { mistakes: mistakes.iter().map(ToString::to_string).collect() }
}

/// The workload behind every host name, from the mesh as each namespace sees it with all pods ready.
///
/// Also the pods whose Services' policies say `tls: {mode: None}`, by name: their sidecars take plain connections.
fn targets(
    scenario: &Scenario,
    resources: &Resources,
    pods: &RegistrySnapshot,
) -> Result<(Targets, BTreeSet<Arc<str>>), RunError> {
    let outside = |(name, place): (String, &Place)| {
        let mistake =
            Mistake::new(place, format!("Gateway `{name}` has no effect in a scenario: nobody is outside its mesh"));
        mistake.help("keep Gateways and the routes that name them in a file of their own")
    };
    let outside: Vec<Mistake> = resources.gateways().map(outside).collect();
    if !outside.is_empty() {
        return Err(mesh_error(&outside));
    }
    let covered = coverage(resources, pods);
    if !covered.unserved.is_empty() {
        return Err(mesh_error(&covered.unserved));
    }
    if !covered.unselected.is_empty() {
        let lonely = |pod: &String| format!("no Service selects pod {pod}");
        return Err(RunError::Mesh { mistakes: covered.unselected.iter().map(lonely).collect() });
    }
    let services = scenario.services.iter().map(|service| &service.namespace);
    let mut namespaces: Vec<&Arc<str>> = services.chain(scenario.load.iter().map(|load| &load.namespace)).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let by_name: BTreeMap<Arc<str>, Party> =
        plans(scenario).iter().filter_map(|plan| Some((Arc::clone(&plan.name), pod_party(plan)?))).collect();
    let (mut names, mut plain, mut streams) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for namespace in namespaces {
        let node = NodeInfo { namespace: namespace.to_string(), pod: "nobody".to_owned() };
        let mesh = compile(resources, pods, &node).map_err(|mistakes| mesh_error(&mistakes))?;
        let open = mesh.backends.iter().filter(|(_, policy)| !policy.mutual_tls);
        let endpoints = open.filter_map(|(name, _)| mesh.endpoints.get(name)).flatten();
        plain.extend(endpoints.map(|endpoint| Arc::clone(&endpoint.name)));
        for to in mesh.destinations.iter().filter(|to| to.speaks == Speaks::Tcp) {
            let mut endpoints = mesh.endpoints.get(&to.backend).into_iter().flatten();
            let Some(party) = endpoints.find_map(|endpoint| by_name.get(&endpoint.name)) else { continue };
            streams.entry(*party).or_insert_with(|| to.backend.clone());
            names.extend(to.names.iter().map(|name| ((Arc::clone(namespace), name.clone()), *party)));
        }
        for host in &mesh.hosts {
            let backends = host.routes.iter().flat_map(|route| &route.backends).map(|weighted| &weighted.backend);
            let mut endpoints = backends.filter_map(|backend| mesh.endpoints.get(backend)).flatten();
            let Some(party) = endpoints.find_map(|endpoint| by_name.get(&endpoint.name)) else { continue };
            names.extend(host.domains.iter().map(|domain| ((Arc::clone(namespace), domain.clone()), *party)));
        }
    }
    Ok((Targets::new(names).with_streams(streams), plain))
}

/// The wall clock at the beginning of every simulated world, since 1970: 2026-01-01.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// The next whole second of world time, so that a scenario's times are easy to find in a trace.
pub(crate) fn next_second(now: Instant) -> Instant {
    Instant::from_nanos((now.as_nanos() / 1_000_000_000 + 1) * 1_000_000_000)
}
