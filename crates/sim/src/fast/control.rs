//! The control plane: compiles the mesh of each kind of host when the registry changes, and pushes it over the links. Sidecars
//! that lose it keep the last mesh and try again with the production proxy's back-off.

use std::sync::Arc;
use std::time::Duration;

use squall_control::{NodeInfo, RegistrySnapshot, compile};
use squall_policy::{BackendName, BackendPolicy, Endpoint, Instant, Mesh};

use super::World;
use super::clock::Event;
use super::plan::{nanos, shares_connections};
use super::state::{Cell, NEVER, PLAIN_HANDSHAKE, Prepared, State, TLS_HANDSHAKE};
use super::tell::First;
use crate::engine::CrashMode;
use crate::note::Note;

/// The control plane's host.
const CONTROL: u32 = 0;
/// Messages, there and back, until a sidecar that boots has certificate and mesh: a connection (TCP, TLS) and a call for each.
const BOOT_MESSAGES: u32 = 12;
/// The same for a sidecar that has its certificate.
const JOIN_MESSAGES: u32 = 6;
/// How long a connection to the control plane may take (the proxy's own limit).
const CONNECT_TIMEOUT: u64 = 5_000_000_000;
/// How long a sidecar waits for a silent control plane (the proxy's own watch: 10 s of silence, 5 s of patience).
const WATCH: u64 = 15_000_000_000;
/// The proxy's back-off: full jitter up to 20 ms, doubling up to 5 s.
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_LAST: Duration = Duration::from_secs(5);
/// Before a push that met a cut link is sent again.
const PUSH_AGAIN: u64 = 200_000_000;

/// Hosts whose meshes are alike.
pub(super) struct Group {
    pub(super) namespace: Arc<str>,
    /// The pods' service and version; `None`: load hosts.
    pub(super) kind: Option<(usize, usize)>,
    /// One of them.
    pub(super) pod: Arc<str>,
}

/// What the control plane has compiled.
#[derive(Default)]
pub(super) struct Control {
    groups: Vec<Group>,
    /// By version, then by group.
    versions: Vec<Vec<Arc<Prepared>>>,
    known: RegistrySnapshot,
}

impl Control {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        Self { groups, ..Self::default() }
    }

    /// The first meshes, by group.
    pub(super) fn first(&self) -> &[Arc<Prepared>] {
        self.versions.first().map_or(&[], Vec::as_slice)
    }
}

impl World {
    /// The registry may have changed: compiles, and pushes what is new.
    pub(super) fn watch_registry(&mut self) {
        if self.nodes[CONTROL as usize].state != State::Up {
            return;
        }
        let snapshot = self.registry.snapshot();
        if !self.control.versions.is_empty() && snapshot == self.control.known {
            return;
        }
        let last = self.control.versions.last();
        let mut meshes = Vec::new();
        for (number, group) in self.control.groups.iter().enumerate() {
            let node = NodeInfo { namespace: group.namespace.to_string(), pod: group.pod.to_string() };
            let before = last.map(|meshes| &meshes[number]);
            let mesh = match compile(&self.resources, &snapshot, &node) {
                Ok(mesh) => mesh,
                Err(mistakes) => {
                    let why: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                    let (node, why) = (node.id(), why.join("\n"));
                    self.shared.breaks(format!("the control plane has no mesh for {node}: {why}"));
                    before.map(|before| before.mesh.clone()).unwrap_or_default()
                }
            };
            meshes.push(match before {
                Some(before) if before.mesh == mesh => Arc::clone(before),
                Some(_) | None => Arc::new(Prepared::new(mesh)),
            });
        }
        self.control.versions.push(meshes);
        self.control.known = snapshot;
        for host in 1..self.nodes.len() {
            self.tell_mesh(u32::try_from(host).expect("hosts are numbered in 32 bits"));
        }
    }

    fn latest(&self) -> u32 {
        u32::try_from(self.control.versions.len()).expect("there are fewer versions") - 1
    }

    /// Pushes the latest mesh to a sidecar, if it is connected and the mesh is news to it.
    fn tell_mesh(&mut self, host: u32) {
        let latest = self.latest();
        let (boot, control_boot) = (self.nodes[host as usize].boot, self.nodes[CONTROL as usize].boot);
        let node = &mut self.nodes[host as usize];
        if node.stream.control_boot != Some(control_boot) {
            return;
        }
        let is_news = node.stream.told.is_none_or(|told| {
            let (old, new) = (&self.control.versions[told as usize], &self.control.versions[latest as usize]);
            !Arc::ptr_eq(&old[node.group], &new[node.group])
        });
        if is_news {
            node.stream.told = Some(latest);
            self.push_mesh(host, boot);
        }
    }

    /// Sends a sidecar what it was told last.
    pub(super) fn push_mesh(&mut self, host: u32, boot: u32) {
        let node = &self.nodes[host as usize];
        let is_whole = node.stream.control_boot == Some(self.nodes[CONTROL as usize].boot);
        let Some(version) = node.stream.told.filter(|_| node.boot == boot && is_whole) else { return };
        match self.links.send(&self.root, self.now, CONTROL, host, 0) {
            Some(at) => self.clock.push(at, Event::Push(host, boot, version)),
            None => self.clock.push(self.now + PUSH_AGAIN, Event::PushAgain(host, boot)),
        }
    }

    /// A mesh reaches a sidecar.
    pub(super) fn take_mesh(&mut self, host: u32, boot: u32, version: u32) {
        let node = &self.nodes[host as usize];
        if node.boot != boot || node.mesh.is_some() && version <= node.version || matches!(node.state, State::Down(_)) {
            return;
        }
        self.apply_mesh(host, version);
    }

    /// Puts a mesh in force, as the proxy does.
    pub(super) fn apply_mesh(&mut self, host: u32, version: u32) {
        let now = self.local(host);
        let node = &mut self.nodes[host as usize];
        let prepared = Arc::clone(&self.control.versions[version as usize][node.group]);
        let Mesh { backends, endpoints, inbound, .. } = &prepared.mesh;
        for (name, policy) in backends {
            let known = endpoints.get(name).map_or(&[][..], Vec::as_slice);
            node.update(now, name, policy, known);
        }
        node.inbound = None;
        if let Some((port, address)) = self.applications[host as usize]
            && let Some(settings) = inbound.get(&port)
        {
            let own = Endpoint {
                address,
                name: Arc::clone(&node.name),
                zone: "".into(),
                weight: 1,
                identity: "".into(),
                draining: false,
            };
            let name = BackendName::from_wire(&format!("inbound:{port}"));
            let policy = squall_proxy::application_policy(settings);
            node.inbound = Some(node.update(now, &name, &policy, &[own]));
        }
        node.mesh = Some(prepared);
        node.version = version;
        node.ways.iter_mut().for_each(|way| *way = None);
        self.pen.note(self.now, host, "mesh-applied", u64::from(version), 0);
        if self.keeps {
            let text = (version + 1).to_string();
            self.keep_record(host, 0, &squall_proxy::Record::MeshApplied { version: &text });
        }
        self.shared.mesh_applied(Instant::from_nanos(self.now));
        let cells = u32::try_from(self.nodes[host as usize].cells.len()).expect("there are fewer backends");
        (0..cells).for_each(|cell| self.settle(host, cell));
    }

    /// A sidecar tries to reach the control plane.
    pub(super) fn join(&mut self, host: u32, boot: u32) {
        if self.nodes[host as usize].boot != boot || matches!(self.nodes[host as usize].state, State::Down(_)) {
            return;
        }
        let messages = if self.nodes[host as usize].mesh.is_some() { JOIN_MESSAGES } else { BOOT_MESSAGES };
        let control = &self.nodes[CONTROL as usize];
        let control_boot = control.boot;
        let silent = match control.state {
            State::Up => false,
            State::Down(CrashMode::Reset) => {
                // Refused at once.
                let back = self.links.send(&self.root, self.now, host, CONTROL, 0);
                let at = back.and_then(|at| self.links.send(&self.root, at, CONTROL, host, 0));
                let at = at.unwrap_or(self.now + CONNECT_TIMEOUT);
                self.clock.push(at, Event::Lost(host, boot));
                return;
            }
            State::Paused | State::Down(CrashMode::Silent) => true,
        };
        let mut at = Some(self.now).filter(|_| !silent);
        for message in 0..messages {
            let (a, b) = if message % 2 == 0 { (host, CONTROL) } else { (CONTROL, host) };
            at = at.and_then(|at| self.links.send(&self.root, at, a, b, 0));
        }
        match at {
            Some(at) if at <= self.now + 2 * CONNECT_TIMEOUT => {
                self.clock.push(at, Event::Joined(host, boot, control_boot));
            }
            Some(_) | None => self.clock.push(self.now + CONNECT_TIMEOUT, Event::Lost(host, boot)),
        }
    }

    /// A sidecar has reached the control plane.
    pub(super) fn joined(&mut self, host: u32, boot: u32, control_boot: u32) {
        let control = &self.nodes[CONTROL as usize];
        if self.nodes[host as usize].boot != boot {
            return;
        }
        if control.boot != control_boot || control.state != State::Up {
            self.lost(host, boot);
            return;
        }
        self.watch_registry();
        let latest = self.latest();
        let stream = &mut self.nodes[host as usize].stream;
        stream.control_boot = Some(control_boot);
        stream.failures = 0;
        stream.told = Some(latest);
        let boots = self.nodes[host as usize].mesh.is_none();
        self.take_mesh(host, boot, latest);
        if boots {
            self.ready(host);
        }
    }

    /// A sidecar has lost the control plane, or could not reach it.
    pub(super) fn lost(&mut self, host: u32, boot: u32) {
        let node = &mut self.nodes[host as usize];
        if node.boot != boot || matches!(node.state, State::Down(_)) {
            return;
        }
        node.stream.control_boot = None;
        let most = BACKOFF_FIRST.saturating_mul(1 << node.stream.failures.min(16)).min(BACKOFF_LAST);
        node.stream.failures += 1;
        let root = &node.root;
        let dice = node.stream.dice.get_or_insert_with(|| root.fork("proxy subscribe"));
        let wait = nanos(dice.between(Duration::ZERO, most));
        self.clock.push(self.now + wait, Event::Join(host, boot));
        self.tell_first(First::ControlLost);
    }

    /// The control plane's process, or its machine, has died.
    pub(super) fn control_crashed(&mut self, mode: CrashMode, boot_before: u32) -> u64 {
        let mut streams = 0;
        for host in 1..u32::try_from(self.nodes.len()).expect("hosts are numbered in 32 bits") {
            let node = &self.nodes[host as usize];
            if node.stream.control_boot != Some(boot_before) {
                continue;
            }
            streams += 1;
            let boot = node.boot;
            let reset = (mode == CrashMode::Reset).then(|| self.links.send(&self.root, self.now, CONTROL, host, 0));
            let at = reset.flatten().unwrap_or(self.now + WATCH);
            self.clock.push(at, Event::Lost(host, boot));
        }
        streams
    }

    /// A pod is up: its sidecar has mesh and certificate, its application listens.
    pub(super) fn ready(&mut self, host: u32) {
        let status = Arc::clone(&self.nodes[host as usize].status);
        status.up();
        let now = Instant::from_nanos(self.now);
        self.shared.journal.note_in(&mut self.pen.0, now, host, &Note::Ready);
        if let Some(pod) = self.pods.get(&host) {
            self.registry.put(pod.entry(true, false));
            let note = Note::Registered { ready: true, terminating: false };
            self.shared.journal.note_in(&mut self.pen.0, now, host, &note);
        }
        self.watch_registry();
    }
}

impl super::state::Node {
    /// Gives a backend its policy and endpoints; makes it, if it is new.
    fn update(&mut self, now: Instant, name: &BackendName, policy: &BackendPolicy, endpoints: &[Endpoint]) -> u32 {
        let known = self.cell_of.get(name).copied();
        let number = known.unwrap_or_else(|| {
            let rng = self.root.fork(&format!("backend {name}"));
            self.cells.push(Cell {
                name: name.clone(),
                backend: squall_policy::Backend::new(name.clone(), policy.clone(), rng).at(self.here.clone()),
                waiting: std::collections::BTreeMap::new(),
                alarm: NEVER,
                handshake: if policy.mutual_tls { TLS_HANDSHAKE } else { PLAIN_HANDSHAKE },
                shares: shares_connections(policy.protocol),
                pool_idle: policy.pool_idle.map_or(NEVER, nanos),
            });
            let number = u32::try_from(self.cells.len() - 1).expect("there are fewer backends");
            self.cell_of.insert(name.clone(), number);
            number
        });
        let cell = &mut self.cells[number as usize];
        if *cell.backend.policy() != *policy {
            cell.backend.set_policy(now, policy.clone());
        }
        cell.backend.set_endpoints(now, endpoints);
        number
    }
}
