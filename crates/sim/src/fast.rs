//! The fast model: the same scenario on the same policy core, control plane and service model, without bytes.
//!
//! What is the production code here: `policy` (routes, exchanges, backends) and `control`'s compiler. What is the full world's:
//! the draws of arrivals and service times, the schedule of faults, the book, the measures. What is modelled: a request between
//! two sidecars is one message there and one back over a link with delay and cuts; a new connection costs the round trips of its
//! handshakes; a message that meets a cut link is sent again as TCP would. There is no HTTP, TLS or TCP and no task: one loop
//! over events, so that a request costs a microsecond or two. What needs the rest is refused by name ([`refuse`]).
//!
//! ```text
//!   load ─▶ sidecar ─▶ wire ─▶ sidecar ─▶ app ─▶ script ─▶ sidecar ─▶ wire …
//!    │         └── policy::Exchange ──┘     └ slots, time     (each arrow back carries the answer)
//!    └ arrivals           control ─ push ─▶ sidecar           clock: what happens next
//! ```

mod app;
mod clock;
mod control;
mod link;
mod load;
mod outage;
mod plan;
mod refuse;
mod script;
mod sidecar;
mod slab;
mod state;
mod tell;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use squall_control::{Registry, Resources, spiffe_id};
use squall_policy::{Instant, Rng};

use self::clock::{Clock, Event};
use self::control::{Control, Group};
use self::link::Ways;
use self::load::Generator;
use self::plan::{Plan, nanos};
use self::slab::Slab;
use self::state::{Asked, Asker, Client, Hold, Next, Node, State, Strand, Stream, Try, Work};
use self::tell::{Pen, Told};
use crate::engine::{Action, Engine, EngineError, HostId, HostSpec, Interrupt, LinkCount, Stopped, Unsupported};
use crate::ledger::{Book, Gauge, Party};
use crate::pod::PodPlan;
use crate::scenario::{Pod, Scenario};
use crate::shared::Shared;
use crate::trace::{Mode, Trace};

pub(crate) use self::refuse::refuse;

/// As refusals write it.
const NAME: &str = crate::engine::FAST;
/// More events than this without time passing are a livelock.
const LIVELOCK: u64 = 10_000_000;

/// The world of the fast model, as an engine: hosts are added and links set as in any other, then [`FastEngine::bind`] gives
/// them their roles, and nothing is booted but the model.
pub(crate) struct FastEngine {
    seed: u64,
    trace: Arc<Trace>,
    interrupt: Interrupt,
    hosts: Vec<(Arc<str>, u64)>,
    links: Ways,
    now: u64,
    world: Option<Box<World>>,
}

/// The state of a world. Its methods are in the files that their subjects name.
struct World {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    resources: Resources,
    pods: BTreeMap<u32, Arc<PodPlan>>,
    /// The SPIFFE id of each host.
    identities: Vec<String>,
    /// The port of each host's application, and where it listens.
    applications: Vec<Option<(u16, SocketAddr)>>,
    root: Rng,
    now: u64,
    start: u64,
    has_begun: bool,
    /// Every record is kept.
    keeps: bool,
    /// Somebody looks at more gauges than the summary does.
    gauges_all: bool,
    /// An answer triggered a fault.
    interrupted: bool,
    /// How many hosts stand still.
    paused: u32,
    clock: Clock,
    next: VecDeque<Next>,
    links: Ways,
    plan: Plan,
    control: Control,
    nodes: Vec<Node>,
    generators: Vec<Option<Generator>>,
    clients: Vec<Client>,
    asked: Slab<Asked>,
    holds: Slab<Hold>,
    tries: Slab<Try>,
    works: Slab<Work>,
    strands: Slab<Strand>,
    /// Routes that were found for one request only.
    forget: Vec<(u32, u32)>,
    told: Told,
    book: Book,
    pen: Pen,
}

impl FastEngine {
    /// An empty world. All dice come from `seed`.
    pub(crate) fn new(seed: u64, mode: Mode) -> Self {
        Self {
            seed,
            trace: Arc::new(Trace::new(mode)),
            interrupt: Interrupt::default(),
            hosts: Vec::new(),
            links: Ways::default(),
            now: 0,
            world: None,
        }
    }

    /// Gives the hosts their roles.
    ///
    /// # Errors
    /// What this model cannot do, by name.
    pub(crate) fn bind(&mut self, world: &crate::world::World) -> Result<(), Unsupported> {
        let crate::world::World { shared, hosts, control, .. } = world;
        let scenario = &shared.scenario;
        let plan = Plan::new(scenario, &shared.targets);
        let root = Rng::from_seed(self.seed);
        let questions = plan.questions.len();
        let roles = Roles::new(scenario, hosts);
        let nodes = (0..).zip(&self.hosts).map(|(number, (name, ahead))| {
            let status = Arc::clone(&hosts.status[number]);
            Node {
                name: Arc::clone(name),
                ahead: *ahead,
                here: hosts.here[number].clone(),
                party: roles.parties[number],
                state: State::Down(crate::engine::CrashMode::Silent),
                boot: 0,
                root: root.fork("nobody"),
                dice: root.fork("nobody"),
                exchanges: 0,
                mesh: None,
                version: 0,
                cells: Vec::new(),
                cell_of: BTreeMap::new(),
                inbound: None,
                ways: vec![None; questions],
                pools: Vec::new(),
                status,
                group: roles.groups_of[number],
                stream: Stream::default(),
                app: None,
                held: Vec::new(),
                crash_count: 0,
                pause_count: 0,
            }
        });
        let mut world = World {
            registry: Arc::clone(&control.registry),
            resources: control.resources.clone(),
            pods: hosts.pods.clone(),
            identities: roles.identities,
            applications: roles.applications,
            now: self.now,
            start: 0,
            has_begun: false,
            keeps: shared.journal.keeps(),
            gauges_all: !scenario.answers.is_empty() || scenario.expect.iter().any(|one| one.that.contains("inFlight")),
            interrupted: false,
            paused: 0,
            clock: Clock::default(),
            next: VecDeque::new(),
            links: std::mem::take(&mut self.links),
            plan,
            control: Control::new(roles.groups),
            nodes: nodes.collect(),
            root,
            generators: roles.generators,
            clients: Vec::new(),
            asked: Slab::default(),
            holds: Slab::default(),
            tries: Slab::default(),
            works: Slab::default(),
            strands: Slab::default(),
            forget: Vec::new(),
            told: BTreeSet::new(),
            book: Book::default(),
            pen: Pen(self.trace.take()),
            shared: Arc::clone(shared),
        };
        world.open();
        world.begin();
        world.settle_all();
        world.close_book();
        self.trace.put(std::mem::replace(&mut world.pen.0, crate::trace::Recording::nothing()));
        let refused = world.control.first().iter().try_for_each(|prepared| refuse::refuse_mesh(&prepared.mesh));
        self.world = Some(Box::new(world));
        refused
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut World) -> T) -> T {
        let world = self.world.as_mut().expect("worlds are bound before they run");
        world.pen.0 = self.trace.take();
        world.open();
        world.now = self.now;
        let result = act(world);
        world.settle_all();
        world.close_book();
        self.trace.put(std::mem::replace(&mut world.pen.0, crate::trace::Recording::nothing()));
        result
    }
}

/// Who the hosts are: the control plane, pods, clients, in this order.
struct Roles {
    parties: Vec<Party>,
    identities: Vec<String>,
    applications: Vec<Option<(u16, SocketAddr)>>,
    groups: Vec<Group>,
    groups_of: Vec<usize>,
    generators: Vec<Option<Generator>>,
}

impl Roles {
    fn new(scenario: &Scenario, hosts: &crate::fault::Hosts) -> Self {
        let party = |index: usize| Party(u16::try_from(index).expect("scenarios have fewer services and loads"));
        let services = scenario.services.len();
        let mut roles = Self {
            parties: vec![party(usize::from(u16::MAX))],
            identities: vec![squall_control::CONTROL_ID.to_owned()],
            applications: vec![None],
            groups: Vec::new(),
            groups_of: vec![0],
            generators: vec![None],
        };
        for Pod { service, version, name, .. } in scenario.pods() {
            let spec = &scenario.services[service];
            roles.parties.push(party(service));
            roles.identities.push(spiffe_id(&spec.namespace, &spec.name.value));
            roles.applications.push(Some((spec.port, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), spec.port))));
            roles.generators.push(None);
            roles.join(&spec.namespace, Some((service, version)), &name);
        }
        for (load, spec) in scenario.load.iter().enumerate() {
            for index in 0..spec.hosts as usize {
                roles.parties.push(party(services + load));
                roles.identities.push(spiffe_id(&spec.namespace, &spec.name));
                roles.applications.push(None);
                roles.generators.push(Some(Generator::new(load, index)));
                roles.join(&spec.namespace, None, &spec.name);
            }
        }
        assert_eq!(roles.parties.len(), hosts.groups.len(), "both count the same hosts");
        roles
    }

    fn join(&mut self, namespace: &Arc<str>, kind: Option<(usize, usize)>, pod: &Arc<str>) {
        let known = self.groups.iter().position(|group| group.namespace == *namespace && group.kind == kind);
        let number = known.unwrap_or_else(|| {
            self.groups.push(Group { namespace: Arc::clone(namespace), kind, pod: Arc::clone(pod) });
            self.groups.len() - 1
        });
        self.groups_of.push(number);
    }
}

impl World {
    /// Takes the book out of the ledger, for as long as events happen.
    fn open(&mut self) {
        self.book = std::mem::take(&mut *self.shared.ledger.book());
    }

    fn close_book(&mut self) {
        *self.shared.ledger.book() = std::mem::take(&mut self.book);
    }

    /// Everybody is up, has the first mesh, and is registered.
    fn begin(&mut self) {
        let scenario = Arc::clone(&self.shared.scenario);
        for load in &scenario.load {
            self.clock.add_lane(nanos(load.timeout));
        }
        let timeouts: Vec<u64> = self.plan.calls.iter().filter_map(|call| call.timeout).collect();
        timeouts.into_iter().for_each(|timeout| self.clock.add_lane(timeout));
        for host in 0..u32::try_from(self.nodes.len()).expect("hosts are numbered in 32 bits") {
            self.boot(host);
            if let Some(pod) = self.pods.get(&host) {
                self.registry.put(pod.entry(true, false));
            }
        }
        self.watch_registry();
        self.add_policy_lanes();
        for host in 1..u32::try_from(self.nodes.len()).expect("hosts are numbered in 32 bits") {
            let control_boot = self.nodes[0].boot;
            let stream = &mut self.nodes[host as usize].stream;
            stream.control_boot = Some(control_boot);
            stream.told = Some(0);
            self.apply_mesh(host, 0);
            self.ready(host);
        }
    }

    /// Time-outs of routes and connections are timers of few different lengths.
    fn add_policy_lanes(&mut self) {
        let mut spans = BTreeSet::new();
        for prepared in self.control.first() {
            let routes = prepared.mesh.hosts.iter().flat_map(|host| &host.routes);
            for timeouts in routes.map(|route| &route.timeouts) {
                spans.extend([timeouts.request, timeouts.per_try].into_iter().flatten().map(nanos));
            }
            spans.extend(prepared.mesh.backends.values().map(|policy| nanos(policy.connect_timeout)));
        }
        spans.into_iter().for_each(|span| self.clock.add_lane(span));
    }

    /// What happens in this instant, until nothing more does.
    fn settle_all(&mut self) {
        while let Some(next) = self.next.pop_front() {
            match next {
                Next::Drive(key) => self.drive(key),
                Next::Serve(key) => self.serve(key),
                Next::Client(client) => self.client(client),
                Next::Answer(Asker::Load(key), reply) => self.answer_load(key, reply),
                Next::Answer(Asker::Strand(key), reply) => self.answer_strand(key, reply),
                Next::Answer(Asker::Try(key), reply) => self.answer_try(key, reply),
                Next::Answer(Asker::Nobody, _) => {}
            }
        }
        for (host, question) in self.forget.drain(..) {
            self.nodes[host as usize].ways[question as usize] = None;
        }
    }

    fn happen(&mut self, event: Event) {
        if self.paused > 0 && self.is_held_up(event) {
            return;
        }
        match event {
            Event::Arrival(host) => self.arrival(host),
            Event::Client(client) => self.client(client),
            Event::GiveUp(key) => self.give_up(key),
            Event::Hop(key) => self.hop(key),
            Event::Resend(key) => self.resend(key),
            Event::Goodbye(key) => self.say_goodbye(key),
            Event::Quit(key) => self.quit(key),
            Event::Broken(key) => self.broken(key),
            Event::ConnectLate(key) => self.connect_late(key),
            Event::Alarm(key) => self.alarm(key),
            Event::Backend(host, boot, cell) => self.backend_alarm(host, boot, cell),
            Event::Worked(key) => self.worked(key),
            Event::Strand(key, waits) => self.strand_alarm(key, waits),
            Event::PoolReset(host, other, boot) => self.pool_reset(host, other, boot),
            Event::Push(host, boot, version) => self.take_mesh(host, boot, version),
            Event::PushAgain(host, boot) => self.push_mesh(host, boot),
            Event::Join(host, boot) => self.join(host, boot),
            Event::Joined(host, boot, control) => self.joined(host, boot, control),
            Event::Lost(host, boot) => self.lost(host, boot),
            Event::Lane(_) => unreachable!("lanes are the clock's own business"),
        }
        self.settle_all();
    }

    /// Sets a timer that is likely not to matter when it expires.
    fn arm(&mut self, at: u64, event: Event) {
        let Self { clock, holds, tries, strands, asked, now, .. } = self;
        clock.arm(*now, at, event, |at, event| is_live(at, event, holds, tries, strands, asked));
    }

    fn run(&mut self, until: u64) -> Result<Stopped, EngineError> {
        if !self.has_begun
            && let Some(start) = self.shared.start.get()
        {
            self.has_begun = true;
            self.begin_loads(start);
        }
        self.watch_registry();
        self.open_doors();
        self.settle_all();
        let mut standstill = 0;
        loop {
            let Self { clock, holds, tries, strands, asked, .. } = self;
            let next = clock.pop(until, |at, event| is_live(at, event, holds, tries, strands, asked));
            let Some((at, event)) = next else {
                self.now = self.now.max(until);
                return Ok(Stopped::Reached);
            };
            standstill = if at > self.now { 0 } else { standstill + 1 };
            if standstill > LIVELOCK {
                return Err(EngineError::Livelock { at: Instant::from_nanos(self.now), events: standstill });
            }
            self.now = at;
            if !is_live(at, event, &self.holds, &self.tries, &self.strands, &self.asked) {
                continue;
            }
            self.happen(event);
            if std::mem::take(&mut self.interrupted) {
                return Ok(Stopped::Interrupted);
            }
        }
    }

    fn gauge(&mut self, gauge: Gauge, up: bool) {
        let is_wanted = match gauge {
            Gauge::Inside(_) | Gauge::Queued(_) => true,
            Gauge::Asked | Gauge::Between(..) => self.gauges_all,
        };
        if is_wanted {
            self.book.gauges.step(Instant::from_nanos(self.now), gauge, up);
        }
    }

    /// The host with this address, if a pod listens there.
    fn host_at(&self, address: SocketAddr) -> Option<u32> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        let [_, _, high, low] = ip.octets();
        let host = u32::from_be_bytes([0, 0, high, low]).checked_sub(1)?;
        let pod = self.pods.get(&host)?;
        (pod.sidecar.addresses.pod == address.ip()
            && self.applications[host as usize].is_some_and(|(port, _)| port == address.port()))
        .then_some(host)
    }
}

impl Drop for World {
    /// Requests under way hand back what they hold: an exchange must not be dropped with a place in its hand.
    fn drop(&mut self) {
        let now = Instant::from_nanos(self.now);
        for key in self.holds.keys(|_| true) {
            let Some(hold) = self.holds.get_mut(key) else { continue };
            let Some(cell) = self.nodes[hold.host as usize].cells.get_mut(hold.cell as usize) else { continue };
            hold.exchange.cancel(now, &mut cell.backend);
            while hold.exchange.step(now, &mut cell.backend) != squall_policy::Step::Done {}
        }
    }
}

/// Whether a timer that was set for this time still matters. Other events look for themselves.
fn is_live(
    at: u64,
    event: Event,
    holds: &Slab<Hold>,
    tries: &Slab<Try>,
    strands: &Slab<Strand>,
    asked: &Slab<Asked>,
) -> bool {
    match event {
        Event::Alarm(key) => holds.get(key).is_some_and(|hold| hold.alarm == at),
        Event::ConnectLate(key) => {
            tries.get(key).is_some_and(|state| matches!(state.stage, state::Stage::Connecting(_)))
        }
        Event::Strand(key, waits) => strands.get(key).is_some_and(|strand| strand.waits == waits),
        Event::GiveUp(key) => asked.get(key).is_some(),
        Event::Arrival(_)
        | Event::Client(_)
        | Event::Hop(_)
        | Event::Resend(_)
        | Event::Goodbye(_)
        | Event::Quit(_)
        | Event::Broken(_)
        | Event::Backend(..)
        | Event::Worked(_)
        | Event::PoolReset(..)
        | Event::Push(..)
        | Event::PushAgain(..)
        | Event::Join(..)
        | Event::Joined(..)
        | Event::Lost(..)
        | Event::Lane(_) => true,
    }
}

impl Engine for FastEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add_host(&mut self, spec: HostSpec) -> HostId {
        self.hosts.push((spec.name, nanos(spec.clock_ahead)));
        self.links = Ways::new(self.hosts.len());
        HostId(u32::try_from(self.hosts.len() - 1).expect("hosts are numbered in 32 bits"))
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    fn run(&mut self, until: Instant) -> Result<Stopped, EngineError> {
        let (stopped, now) = self.with(|world| (world.run(until.as_nanos()), world.now));
        self.now = now;
        stopped
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn apply(&mut self, action: Action) -> Result<(), Unsupported> {
        match action {
            Action::SetLink { from, to, link } => {
                return match &mut self.world {
                    Some(world) => world.links.set(&from, &to, &link),
                    None => self.links.set(&from, &to, &link),
                };
            }
            Action::Crash(HostId(id), mode) => self.with(|world| world.crash(id, mode)),
            Action::Restart(HostId(id)) => self.with(|world| world.restart(id)),
            Action::Pause(HostId(id)) => self.with(|world| world.pause(id)),
            Action::Resume(HostId(id)) => self.with(|world| world.resume(id)),
            Action::SetCpu(_, cost) if cost.is_zero() => {}
            Action::SetCpu(..) => {
                let (knob, why) = ("cpuPerPoll".to_owned(), "it has no tasks to poll".to_owned());
                return Err(Unsupported { engine: NAME, knob, why });
            }
        }
        Ok(())
    }

    fn count(&self, from: HostId, to: HostId) -> LinkCount {
        self.world.as_ref().map_or_else(LinkCount::default, |world| world.links.count(from.0, to.0))
    }

    fn crash_count(&self, host: HostId) -> u64 {
        self.world.as_ref().map_or(0, |world| world.nodes[host.0 as usize].crash_count)
    }

    fn pause_count(&self, host: HostId) -> u64 {
        self.world.as_ref().map_or(0, |world| world.nodes[host.0 as usize].pause_count)
    }

    fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }
}
