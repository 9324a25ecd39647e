//! Hosts inside turmoil: their clocks and tasks, and what all handles share.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use squall_net::{BoxFuture, Clock, Host, Task, Tasks, Wall, catch_panic};
use squall_policy::{Instant, Rng};

use super::socket::{Ports, SimNet};
use crate::engine::{Boot, EngineError, HostSpec, LinkCount};
use crate::trace::Trace;

/// What all handles of a world share.
pub(super) struct Shared {
    state: Mutex<State>,
    epoch: Duration,
    trace: Arc<Trace>,
}

struct State {
    /// When the last step ended; inside a step turmoil knows better.
    now: Duration,
    hosts: Vec<Machine>,
    addresses: BTreeMap<IpAddr, u32>,
    ways: BTreeMap<(u32, u32), Way>,
    panicked: Option<EngineError>,
}

#[derive(Default)]
struct Way {
    cut: bool,
    count: LinkCount,
}

struct Machine {
    name: Arc<str>,
    address: IpAddr,
    up: bool,
    /// Handles of an earlier boot are dead.
    boot: u32,
    booted: u32,
    supervisor: Option<Waker>,
    tasks: BTreeMap<u64, tokio::task::AbortHandle>,
    next_task: u64,
    crash_count: u64,
    ports: Ports,
}

impl Shared {
    pub(super) fn new(epoch: Duration, trace: Arc<Trace>) -> Self {
        let state = State {
            now: Duration::ZERO,
            hosts: Vec::new(),
            addresses: BTreeMap::new(),
            ways: BTreeMap::new(),
            panicked: None,
        };
        Self { state: Mutex::new(state), epoch, trace }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_host(&self, spec: &HostSpec) -> u32 {
        let mut state = self.state();
        let id = u32::try_from(state.hosts.len()).expect("fewer than 2^32 hosts fit in memory");
        let taken = state.addresses.insert(spec.address, id);
        assert!(taken.is_none(), "two hosts have the address {}", spec.address);
        state.hosts.push(Machine {
            name: Arc::clone(&spec.name),
            address: spec.address,
            up: true,
            boot: 1,
            booted: 0,
            supervisor: None,
            tasks: BTreeMap::new(),
            next_task: 0,
            crash_count: 0,
            ports: Ports::default(),
        });
        id
    }

    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + ::turmoil::sim_elapsed().unwrap_or_else(|| self.state().now)
    }

    pub(super) fn set_now(&self, now: Duration) {
        self.state().now = now;
    }

    pub(super) fn note(&self, host: u32, kind: &'static str, a: u64, b: u64) {
        self.trace.note(self.now(), host, kind, a, b);
    }

    pub(super) fn take_panic(&self) -> Option<EngineError> {
        self.state().panicked.take()
    }

    /// Remembers whether the link is cut both ways; true if that is new.
    pub(super) fn set_cut(&self, a: u32, b: u32, cut: bool) -> bool {
        let mut state = self.state();
        let was = std::mem::replace(&mut state.ways.entry((a, b)).or_default().cut, cut);
        state.ways.entry((b, a)).or_default().cut = cut;
        was != cut
    }

    pub(super) fn count(&self, from: u32, to: u32) -> LinkCount {
        self.state().ways.get(&(from, to)).map_or_else(LinkCount::default, |way| way.count)
    }

    /// A message of `bytes` bytes goes to the host with that address.
    pub(super) fn sent(&self, from: u32, to: IpAddr, bytes: u64) {
        let mut state = self.state();
        let Some(to) = state.addresses.get(&to).copied().filter(|to| *to != from) else { return };
        let way = state.ways.entry((from, to)).or_default();
        way.count.packets += 1;
        way.count.bytes += bytes;
        way.count.cut += u64::from(way.cut);
    }

    pub(super) fn crash_count(&self, host: u32) -> u64 {
        self.state().hosts[host as usize].crash_count
    }

    /// Drops the host's tasks at the beginning of its next turn; none of them runs again.
    pub(super) fn crash(&self, host: u32) {
        self.note(host, "crash", 0, 0);
        let mut state = self.state();
        let machine = &mut state.hosts[host as usize];
        if !machine.up {
            return;
        }
        machine.up = false;
        machine.boot += 1;
        machine.crash_count += machine.tasks.len() as u64;
        let tasks = std::mem::take(&mut machine.tasks);
        drop(state);
        tasks.into_values().for_each(|task| task.abort());
    }

    pub(super) fn restart(&self, host: u32) {
        let mut state = self.state();
        let machine = &mut state.hosts[host as usize];
        if machine.up {
            return;
        }
        machine.up = true;
        let supervisor = machine.supervisor.take();
        drop(state);
        supervisor.into_iter().for_each(Waker::wake);
    }

    fn poll_boot(&self, host: u32, cx: &mut Context<'_>) -> Poll<u32> {
        let mut state = self.state();
        let machine = &mut state.hosts[host as usize];
        if machine.up && machine.booted != machine.boot {
            machine.booted = machine.boot;
            return Poll::Ready(machine.boot);
        }
        machine.supervisor = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn is_current(&self, host: u32, boot: u32) -> bool {
        let machine = &self.state().hosts[host as usize];
        machine.up && machine.boot == boot
    }

    pub(super) fn address(&self, host: u32) -> IpAddr {
        self.state().hosts[host as usize].address
    }

    pub(super) fn resolve(&self, name: &str) -> Option<IpAddr> {
        self.state().hosts.iter().find(|host| *host.name == *name).map(|host| host.address)
    }

    pub(super) fn ports<T>(&self, host: u32, work: impl FnOnce(&mut Ports) -> T) -> T {
        work(&mut self.state().hosts[host as usize].ports)
    }

    /// Where a connection of `host` to `to` really goes; `None`: nobody listens on the loopback.
    pub(super) fn real_target(&self, host: u32, to: SocketAddr) -> Option<SocketAddr> {
        let state = self.state();
        let machine = &state.hosts[host as usize];
        machine.ports.real_target(machine.address, to)
    }
}

/// The software of a host: boots it, and boots it again after a crash. Its dice are forked from `root` by its `name`, as on the
/// other engines, so that one seed throws the same dice in every world.
pub(super) async fn supervise(
    shared: Arc<Shared>,
    host: u32,
    root: Arc<Rng>,
    name: String,
    boot: Boot,
) -> ::turmoil::Result {
    loop {
        let number = std::future::poll_fn(|cx| shared.poll_boot(host, cx)).await;
        shared.note(host, "boot", u64::from(number), 0);
        let clock = Arc::new(SimClock(Arc::clone(&shared)));
        let net = Arc::new(SimNet::new(Arc::clone(&shared), host, number));
        let tasks = Arc::new(SimTasks { shared: Arc::clone(&shared), host, boot: number });
        let handle = Host::new(net, Arc::clone(&clock) as Arc<dyn Clock>, clock, tasks, root.fork(&name));
        let main = Arc::clone(&boot);
        let tasks = Arc::clone(handle.tasks());
        tasks.spawn("main", Box::pin(async move { main(handle).await }));
    }
}

struct SimClock(Arc<Shared>);

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let span = at.since(shared.now());
            if !span.is_zero() {
                #[expect(clippy::disallowed_methods, reason = "turmoil's time is tokio's")]
                tokio::time::sleep(span).await;
            }
        })
    }
}

impl Wall for SimClock {
    fn since_epoch(&self) -> Duration {
        self.0.epoch + self.0.now().since(Instant::ZERO)
    }
}

struct SimTasks {
    shared: Arc<Shared>,
    host: u32,
    boot: u32,
}

/// Takes the task off its host's list when it is dropped.
struct Listed {
    shared: Arc<Shared>,
    host: u32,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let _ended = self.shared.state().hosts[self.host as usize].tasks.remove(&self.number);
    }
}

impl Tasks for SimTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        if !self.shared.is_current(self.host, self.boot) {
            // The host has crashed; its futures are being dropped, and so is this one.
            drop(future);
            return Task::new(|| {});
        }
        let mut state = self.shared.state();
        let machine = &mut state.hosts[self.host as usize];
        let number = machine.next_task;
        machine.next_task += 1;
        drop(state);
        self.shared.note(self.host, "spawn", number, 0);
        let listed = Listed { shared: Arc::clone(&self.shared), host: self.host, number };
        let task = SimTask { running: Box::pin(catch_panic(future)), listed, name };
        #[expect(clippy::disallowed_methods, reason = "this is where turmoil runs a host's tasks")]
        let handle = tokio::task::spawn_local(task).abort_handle();
        self.shared.state().hosts[self.host as usize].tasks.insert(number, handle.clone());
        Task::new(move || handle.abort())
    }
}

struct SimTask {
    /// Before `listed`: what the task owns is dropped first.
    running: BoxFuture<'static, Result<(), String>>,
    listed: Listed,
    name: &'static str,
}

impl Future for SimTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Poll::Ready(result) = self.running.as_mut().poll(cx) else { return Poll::Pending };
        if let Err(message) = result {
            let shared = &self.listed.shared;
            let at = shared.now();
            let mut state = shared.state();
            let host = state.hosts[self.listed.host as usize].name.to_string();
            state.panicked.get_or_insert(EngineError::Panicked { at, host, task: self.name, message });
        }
        Poll::Ready(())
    }
}
