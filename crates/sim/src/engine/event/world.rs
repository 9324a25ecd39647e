//! The state of a world: its hosts, what connects them, and what will happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use squall_policy::{Instant, Rng};

use super::link::{Fate, Way};
use super::queue::{Event, Key, Queue};
use super::slab::Slab;
use super::task::{Ready, Tasks};
use super::tcp::Connection;
use crate::engine::{CrashMode, HostSpec};
use crate::trace::Trace;

/// The host of an address that nobody has.
pub(super) const NOWHERE: u32 = u32::MAX;
/// Connections that wait to be accepted at one listener, half-made ones included.
const BACKLOG: usize = 1024;
const FIRST_PORT: u16 = 32_768;
const LAST_PORT: u16 = 60_999;
const TIME_WAIT: u64 = 60_000_000_000;

/// What all handles of a world share.
pub(super) struct Shared {
    world: Mutex<World>,
    pub(super) ready: Arc<Ready>,
    now: AtomicU64,
    pub(super) epoch: Duration,
}

impl Shared {
    pub(super) fn new(seed: u64, epoch: Duration, trace: Arc<Trace>) -> Self {
        let world = World {
            now: 0,
            queue: Queue::default(),
            tasks: Tasks::default(),
            hosts: Vec::new(),
            addresses: BTreeMap::new(),
            ways: Vec::new(),
            connections: Slab::default(),
            wakes: Vec::new(),
            trash: Vec::new(),
            graveyard: Vec::new(),
            root: Rng::from_seed(seed),
            trace,
        };
        Self { world: Mutex::new(world), ready: Arc::default(), now: AtomicU64::new(0), epoch }
    }

    /// The world. Never held while a task is polled or a future is dropped.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the world, then wakes and drops with the lock free what that left.
    pub(super) fn act<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let result = work(&mut world);
        let wakes = std::mem::take(&mut world.wakes);
        let trash = world.take_trash();
        drop(world);
        wakes.into_iter().for_each(Waker::wake);
        drop(trash);
        result
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn set_now(&self, world: &mut World, now: u64) {
        world.now = now;
        self.now.store(now, Ordering::Relaxed);
    }
}

/// Whether a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Paused,
    Down(CrashMode),
}

/// A port that is listened at.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    pub(super) waiting: VecDeque<Key>,
    half_made: usize,
    pub(super) waker: Option<Waker>,
}

impl Port {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, waiting: VecDeque::new(), half_made: 0, waker: None }
    }
}

/// A host.
pub(super) struct Machine {
    pub(super) spec: HostSpec,
    pub(super) state: State,
    /// How often it booted; handles of an earlier boot are dead.
    pub(super) boot: u32,
    pub(super) ports: Slab<Port>,
    next_port: u16,
    used: BTreeSet<(SocketAddr, SocketAddr)>,
    time_wait: VecDeque<(u64, SocketAddr, SocketAddr)>,
    /// Tasks that wait for the core, or for the end of a pause.
    pub(super) line: VecDeque<Key>,
    pub(super) core_busy: bool,
    pub(super) crash_count: u64,
    /// Polls that had to wait for the end of a pause.
    pub(super) pause_count: u64,
}

impl Machine {
    pub(super) fn is_silent(&self) -> bool {
        self.state == State::Down(CrashMode::Silent)
    }
}

/// What a SYN finds.
pub(super) enum Admission {
    Open(Key),
    Full,
    Closed,
}

/// Everything that is simulated.
pub(super) struct World {
    pub(super) now: u64,
    pub(super) queue: Queue,
    pub(super) tasks: Tasks,
    pub(super) hosts: Vec<Machine>,
    addresses: BTreeMap<IpAddr, u32>,
    ways: Vec<Vec<Option<Box<Way>>>>,
    pub(super) connections: Slab<Connection>,
    /// To be woken when the lock is released.
    pub(super) wakes: Vec<Waker>,
    /// To be dropped when the lock is released.
    pub(super) trash: Vec<Waker>,
    /// To be dropped when the lock is released.
    pub(super) graveyard: Vec<Connection>,
    pub(super) root: Rng,
    pub(super) trace: Arc<Trace>,
}

impl World {
    pub(super) fn note(&self, host: u32, kind: &'static str, a: u64, b: u64) {
        self.trace.note(Instant::from_nanos(self.now), host, kind, a, b);
    }

    pub(super) fn add_host(&mut self, spec: HostSpec) -> u32 {
        let id = u32::try_from(self.hosts.len()).expect("fewer than 2^32 hosts fit in memory");
        assert!(!spec.address.is_loopback(), "host {} needs an address of its own, not {}", spec.name, spec.address);
        assert!(self.hosts.iter().all(|host| host.spec.name != spec.name), "two hosts are called {}", spec.name);
        let taken = self.addresses.insert(spec.address, id);
        assert!(taken.is_none(), "two hosts have the address {}", spec.address);
        self.hosts.push(Machine {
            spec,
            state: State::Up,
            boot: 0,
            ports: Slab::default(),
            next_port: FIRST_PORT,
            used: BTreeSet::new(),
            time_wait: VecDeque::new(),
            line: VecDeque::new(),
            core_busy: false,
            crash_count: 0,
            pause_count: 0,
        });
        id
    }

    /// The host that `address` means on `from`.
    pub(super) fn host_of(&self, from: u32, address: IpAddr) -> u32 {
        if address.is_loopback() { from } else { self.addresses.get(&address).copied().unwrap_or(NOWHERE) }
    }

    pub(super) fn way(&mut self, from: u32, to: u32) -> &mut Way {
        let (row, column) = (from as usize, to as usize);
        if self.ways.len() <= row {
            self.ways.resize_with(row + 1, Vec::new);
        }
        if self.ways[row].len() <= column {
            self.ways[row].resize_with(column + 1, || None);
        }
        let (hosts, root) = (&self.hosts, &self.root);
        self.ways[row][column].get_or_insert_with(|| {
            let name = format!("link {} to {}", hosts[row].spec.name, hosts[column].spec.name);
            Box::new(Way::new(root.fork(&name)))
        })
    }

    /// The link if anything was ever set or sent on it.
    pub(super) fn known_way(&self, from: u32, to: u32) -> Option<&Way> {
        self.ways.get(from as usize)?.get(to as usize)?.as_deref()
    }

    /// Sends packets; a host's way to itself takes no time.
    pub(super) fn packet(&mut self, from: u32, to: u32, count: u64, payload: u64) -> Fate {
        let now = self.now;
        if from == to { Fate::Arrives(now) } else { self.way(from, to).send(now, count, payload) }
    }

    /// How long a bare acknowledgement takes; `None` if the way is cut.
    pub(super) fn ack_delay(&mut self, from: u32, to: u32) -> Option<u64> {
        if from == to {
            return Some(0);
        }
        let way = self.way(from, to);
        (!way.link.cut).then(|| way.delay())
    }

    pub(super) fn is_cut(&self, from: u32, to: u32) -> bool {
        from != to && self.known_way(from, to).is_some_and(|way| way.link.cut)
    }

    pub(super) fn overflowed(&mut self, from: u32, to: u32) {
        self.note(to, "overflow", u64::from(from), 0);
        if from != to {
            self.way(from, to).count.overflowed += 1;
        }
    }

    /// A free port towards `to`, or the one asked for. `None` if there is none.
    pub(super) fn take_port(&mut self, host: u32, address: IpAddr, to: SocketAddr) -> Option<SocketAddr> {
        let now = self.now;
        let host = &mut self.hosts[host as usize];
        while let Some(&(until, mine, other)) = host.time_wait.front()
            && until <= now
        {
            host.used.remove(&(mine, other));
            host.time_wait.pop_front();
        }
        for _ in FIRST_PORT..=LAST_PORT {
            let port = host.next_port;
            host.next_port = if port == LAST_PORT { FIRST_PORT } else { port + 1 };
            let mine = SocketAddr::new(address, port);
            let listened = host.ports.iter().any(|(_, other)| other.address.port() == port);
            if !listened && host.used.insert((mine, to)) {
                return Some(mine);
            }
        }
        None
    }

    pub(super) fn release_port(&mut self, host: u32, mine: SocketAddr, other: SocketAddr, clean: bool) {
        let until = self.now + TIME_WAIT;
        let host = &mut self.hosts[host as usize];
        if clean {
            host.time_wait.push_back((until, mine, other));
        } else {
            host.used.remove(&(mine, other));
        }
    }

    /// A free port to listen at.
    pub(super) fn free_port(&mut self, host: u32, address: IpAddr) -> Option<u16> {
        let host = &mut self.hosts[host as usize];
        for _ in FIRST_PORT..=LAST_PORT {
            let port = host.next_port;
            host.next_port = if port == LAST_PORT { FIRST_PORT } else { port + 1 };
            let listened = host.ports.iter().any(|(_, other)| other.address.port() == port);
            let used = host.used.iter().any(|(mine, _)| mine.port() == port && mine.ip() == address);
            if !listened && !used {
                return Some(port);
            }
        }
        None
    }

    /// Whether something listens where a SYN goes, and has room for it.
    pub(super) fn admit_syn(&mut self, host: u32, dialed: SocketAddr) -> Admission {
        let machine = &mut self.hosts[host as usize];
        if matches!(machine.state, State::Down(_)) {
            return Admission::Closed;
        }
        let exact = machine.ports.iter().find(|(_, port)| port.address == dialed);
        let found = exact.or_else(|| {
            machine.ports.iter().find(|(_, port)| {
                port.address.port() == dialed.port()
                    && port.address.ip().is_unspecified()
                    && port.address.is_ipv4() == dialed.is_ipv4()
            })
        });
        let Some((key, _)) = found else { return Admission::Closed };
        match machine.ports.get_mut(key) {
            Some(port) if port.waiting.len() + port.half_made < BACKLOG => {
                port.half_made += 1;
                Admission::Open(key)
            }
            Some(_) => Admission::Full,
            None => Admission::Closed,
        }
    }

    /// A handshake is over: the connection waits to be accepted. False if nobody listens any more.
    pub(super) fn queue_accept(&mut self, host: u32, listener: Key, connection: Key) -> bool {
        let Some(port) = self.hosts[host as usize].ports.get_mut(listener) else { return false };
        port.half_made = port.half_made.saturating_sub(1);
        port.waiting.push_back(connection);
        self.wakes.extend(port.waker.take());
        true
    }

    /// A half-made connection of this listener will never be whole.
    pub(super) fn forget_half_made(&mut self, host: u32, listener: Key) {
        if let Some(port) = self.hosts[host as usize].ports.get_mut(listener) {
            port.half_made = port.half_made.saturating_sub(1);
        }
    }

    /// What is to be dropped once the lock is free.
    pub(super) fn take_trash(&mut self) -> (Vec<Waker>, Vec<Connection>) {
        (std::mem::take(&mut self.trash), std::mem::take(&mut self.graveyard))
    }

    /// Closes a port; what waits there is reset.
    pub(super) fn close_port(&mut self, host: u32, listener: Key) {
        let Some(port) = self.hosts[host as usize].ports.remove(listener) else { return };
        self.trash.extend(port.waker);
        for key in port.waiting {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.sides[1].held = false;
            }
            self.send_reset(key, 1);
        }
    }

    /// Does what an event means; a core's event gives the task to poll.
    pub(super) fn happen(&mut self, event: Event) -> Option<Key> {
        use std::io::ErrorKind;
        match event {
            Event::Timer(key) => {
                if let Some((host, waker)) = self.queue.fire(key) {
                    self.note(host, "timer", u64::from(key.index), 0);
                    self.wakes.extend(waker);
                }
            }
            Event::Syn(key) => self.on_syn(key),
            Event::SynAck(key) => self.on_syn_ack(key),
            Event::SynRetry(key) => self.on_syn_retry(key),
            Event::Refused(key) => self.on_connect_error(key, ErrorKind::ConnectionRefused),
            Event::Unreachable(key) => self.on_connect_error(key, ErrorKind::HostUnreachable),
            Event::Deliver(key, side) => self.on_deliver(key, usize::from(side)),
            Event::Retry(key, side) => self.on_retry(key, usize::from(side)),
            Event::Window(key, side) => self.on_window(key, usize::from(side)),
            Event::Probe(key, side) => self.on_probe(key, usize::from(side)),
            Event::Reset(key, side) => self.on_reset(key, usize::from(side)),
            Event::Core(key) => return self.on_core(key),
        }
        None
    }

    /// The core of a host has worked for one poll: the task at the head of the line takes its effect.
    fn on_core(&mut self, key: Key) -> Option<Key> {
        let host = &mut self.hosts[key.index as usize];
        if host.boot != key.generation {
            return None;
        }
        host.core_busy = false;
        if host.state != State::Up {
            return None;
        }
        let task = host.line.pop_front();
        self.start_core(key.index);
        task
    }

    /// Starts the core on the next task in line, if it is free.
    pub(super) fn start_core(&mut self, id: u32) {
        let now = self.now;
        let host = &mut self.hosts[id as usize];
        if !host.core_busy && !host.line.is_empty() && host.state == State::Up {
            host.core_busy = true;
            let cost = u64::try_from(host.spec.cpu_per_poll.as_nanos()).unwrap_or(u64::MAX);
            let event = Event::Core(Key { index: id, generation: host.boot });
            self.queue.push(now.saturating_add(cost), event);
        }
    }
}
