//! Hosts that crash, boot, stand still and go on.

use std::collections::BTreeMap;

use super::World;
use super::clock::Event;
use super::slab::Key;
use super::state::{App, Asker, Pool, Stage, State, Stream};
use crate::engine::CrashMode;

impl World {
    /// A host boots, the first time or again.
    pub(super) fn boot(&mut self, host: u32) {
        let node = &mut self.nodes[host as usize];
        node.state = State::Up;
        node.boot += 1;
        node.root = self.root.fork(&format!("host {}", node.name));
        node.dice = node.root.fork("proxy");
        node.exchanges = 0;
        node.status.boot();
        let boot = node.boot;
        node.pools = vec![Pool::default(); self.identities.len()];
        if let Some(pod) = self.pods.get(&host) {
            let spec = &self.shared.scenario.services[pod.pod.service];
            node.app = Some(App {
                version: pod.pod.version,
                knobs: pod.knobs.clone(),
                free: spec.slots,
                waiting: std::collections::VecDeque::new(),
                time: node.root.fork("application time"),
                errors: node.root.fork("application errors"),
                faults: node.root.fork("application faults"),
                calls: node.root.fork("application calls"),
                rows: node.root.fork("application rows"),
                headers: node.root.fork("application headers"),
                shut_out: Vec::new(),
                routes: vec![0; self.plan.questions.len()],
            });
        }
        self.pen.note(self.now, host, "boot", u64::from(boot), 0);
    }

    /// A crashed host boots again; it is ready when it has a mesh.
    pub(super) fn restart(&mut self, host: u32) {
        if !matches!(self.nodes[host as usize].state, State::Down(_)) {
            return;
        }
        self.boot(host);
        if host == 0 {
            self.watch_registry();
        } else {
            let boot = self.nodes[host as usize].boot;
            self.clock.push(self.now, Event::Join(host, boot));
        }
    }

    /// A host's process, or the machine, dies.
    pub(super) fn crash(&mut self, host: u32, mode: CrashMode) {
        self.pen.note(self.now, host, "crash", u64::from(mode == CrashMode::Silent), 0);
        let was_down = matches!(self.nodes[host as usize].state, State::Down(_));
        let boot = self.nodes[host as usize].boot;
        self.nodes[host as usize].state = State::Down(mode);
        if was_down {
            return;
        }
        // Its sidecar (or the control plane), its application, and all that goes on in them.
        let mut touched = 1 + u64::from(self.nodes[host as usize].app.take().is_some());
        touched += self.cut_off(host, boot, mode);
        for key in self.works.keys(|work| work.host == host) {
            touched += 1;
            self.drop_work(key);
        }
        for key in self.holds.keys(|hold| hold.host == host) {
            touched += 1;
            if let Some(hold) = self.holds.get_mut(key) {
                hold.asker = Asker::Nobody;
            }
            self.leave_hold(key);
        }
        self.drop_load(host);
        if host == 0 {
            touched += self.control_crashed(mode, boot);
        }
        let node = &mut self.nodes[host as usize];
        node.cells = Vec::new();
        node.cell_of = BTreeMap::new();
        node.inbound = None;
        node.mesh = None;
        node.ways.iter_mut().for_each(|way| *way = None);
        node.stream = Stream::default();
        node.held = Vec::new();
        node.boot += 1;
        node.crash_count += touched;
    }

    /// Its connections: those who use them learn of it, or do not. Gives their number.
    fn cut_off(&mut self, host: u32, boot: u32, mode: CrashMode) -> u64 {
        let mut connections = 0;
        for key in self.tries.keys(|state| state.to == host || state.from == host) {
            let Some(state) = self.tries.get_mut(key) else { continue };
            connections += 1;
            if state.from == host {
                // Who dies in silence says no goodbye.
                if mode == CrashMode::Silent {
                    self.tries.remove(key);
                }
                continue;
            }
            state.inbound = Key::NONE;
            let from = state.from;
            if state.gone {
                self.tries.remove(key);
                continue;
            }
            if mode == CrashMode::Reset
                && matches!(state.stage, Stage::Asking | Stage::Working)
                && let Some(at) = self.links.send(&self.root, self.now, host, from, 0)
            {
                self.clock.push(at, Event::Broken(key));
            }
        }
        for peer in 0..u32::try_from(self.nodes.len()).expect("hosts are numbered in 32 bits") {
            let pool = &self.nodes[peer as usize].pools[host as usize];
            let open = pool.idle.len() as u64 + u64::from(pool.shared.is_some());
            connections += open;
            if open > 0
                && mode == CrashMode::Reset
                && let Some(at) = self.links.send(&self.root, self.now, host, peer, 0)
            {
                self.clock.push(at, Event::PoolReset(peer, host, boot));
            }
        }
        connections += self.nodes[host as usize].pools.iter().map(|pool| pool.idle.len() as u64).sum::<u64>();
        connections
    }

    /// A host's pooled connections to a boot of another are gone.
    pub(super) fn pool_reset(&mut self, host: u32, other: u32, boot: u32) {
        let Some(pool) = self.nodes[host as usize].pools.get_mut(other as usize) else { return };
        pool.idle.retain(|(_, of)| *of != boot);
        if pool.shared.is_some_and(|(_, of)| of == boot) {
            pool.shared = None;
        }
    }

    /// A host stands still.
    pub(super) fn pause(&mut self, host: u32) {
        let node = &mut self.nodes[host as usize];
        if node.state == State::Up {
            node.state = State::Paused;
            self.paused += 1;
        }
    }

    /// A host goes on.
    pub(super) fn resume(&mut self, host: u32) {
        let node = &mut self.nodes[host as usize];
        if node.state == State::Paused {
            node.state = State::Up;
            self.paused -= 1;
            for event in std::mem::take(&mut node.held) {
                self.clock.push(self.now, event);
            }
        }
        if host == 0 {
            self.watch_registry();
        }
    }

    /// If what happens would happen on a host that stands still, it happens when that goes on.
    pub(super) fn is_held_up(&mut self, event: Event) -> bool {
        let hold = |key| self.holds.get(key).map(|hold| hold.host);
        let host = match event {
            Event::Arrival(host)
            | Event::Backend(host, ..)
            | Event::PoolReset(host, ..)
            | Event::Push(host, ..)
            | Event::Join(host, ..)
            | Event::Joined(host, ..)
            | Event::Lost(host, ..) => Some(host),
            Event::Client(client) => Some(self.clients[client as usize].host),
            Event::GiveUp(key) => self.asked.get(key).map(|asked| asked.host),
            Event::Alarm(key) => hold(key),
            Event::Worked(key) => self.works.get(key).map(|work| work.host),
            Event::Strand(key, _) => {
                self.strands.get(key).and_then(|strand| self.works.get(strand.work)).map(|work| work.host)
            }
            Event::Hop(key) => self.tries.get(key).map(|state| state.receiver()),
            Event::Quit(key) => self.tries.get(key).map(|state| state.to),
            Event::Broken(key) | Event::ConnectLate(key) => self.tries.get(key).map(|state| state.from),
            // Kernels go on.
            Event::Resend(_) | Event::Goodbye(_) | Event::PushAgain(..) | Event::Lane(_) => None,
        };
        let Some(node) = host.map(|host| &mut self.nodes[host as usize]) else { return false };
        if node.state != State::Paused {
            return false;
        }
        node.held.push(event);
        node.pause_count += 1;
        true
    }
}
