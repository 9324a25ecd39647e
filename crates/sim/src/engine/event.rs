//! The default engine: an executor and a queue of events in nanoseconds.
//!
//! Time stands still while tasks run and jumps to the next event when none can go on. Nothing here is static or bound to a
//! thread: one thread runs one world, and any number of worlds may run in one process. The order of everything is the order
//! of (time, sequence) in the event queue and of wake-ups in the ready queue; both depend on nothing but the seed.

mod host;
mod link;
mod queue;
mod slab;
mod socket;
mod task;
mod tcp;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use squall_policy::Instant;

use self::queue::Key;
use self::task::{Body, Turn};
use self::world::{Shared, State, World};
use super::{
    Action, CrashMode, Engine, EngineError, HostId, HostSpec, Interrupt, Link, LinkCount, Stopped, Unsupported,
};
use crate::trace::{Mode, Trace};

/// More events than this without time passing are a livelock.
const LIVELOCK: u64 = 10_000_000;

/// What a run took, for measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Events: timers, arrivals, retransmissions.
    pub events: u64,
    /// Polls of tasks.
    pub polls: u64,
}

/// A world of our own making.
pub struct EventEngine {
    shared: Arc<Shared>,
    trace: Arc<Trace>,
    interrupt: Interrupt,
    wakes: Vec<Waker>,
    booted: bool,
    /// Events and polls since time last moved.
    standstill: u64,
    livelock: u64,
    effort: Effort,
}

impl EventEngine {
    /// An empty world. `epoch` is the wall clock at its beginning, since 1970. All dice come from `seed`.
    #[must_use]
    pub fn new(seed: u64, epoch: Duration) -> Self {
        Self::with_trace(seed, epoch, Mode::Digest)
    }

    /// As [`EventEngine::new`], keeping the events that `mode` says.
    #[must_use]
    pub fn with_trace(seed: u64, epoch: Duration, mode: Mode) -> Self {
        let trace = Arc::new(Trace::new(mode));
        let shared = Arc::new(Shared::new(seed, epoch, Arc::clone(&trace)));
        let interrupt = Interrupt::default();
        Self {
            shared,
            trace,
            interrupt,
            wakes: Vec::new(),
            booted: false,
            standstill: 0,
            livelock: LIVELOCK,
            effort: Effort::default(),
        }
    }

    /// Changes how many events without time passing are a livelock. Default 10 million.
    pub fn set_livelock(&mut self, events: u64) {
        self.livelock = events;
    }

    /// How many events and polls it took so far.
    #[must_use]
    pub fn effort(&self) -> Effort {
        self.effort
    }

    fn boot(&mut self, id: u32) {
        let mut world = self.shared.world();
        let root = world.root.fork(&format!("host {}", world.hosts[id as usize].spec.name));
        let host = &mut world.hosts[id as usize];
        host.boot += 1;
        host.state = State::Up;
        let (boot, ahead, start) = (host.boot, host.spec.clock_ahead, Arc::clone(&host.spec.boot));
        world.note(id, "boot", u64::from(boot), 0);
        let handle = host::handle(&self.shared, id, boot, ahead, root);
        // The boot function is the host's code too: it runs as a part of its task.
        let main = Box::pin(async move { start(handle).await });
        world.tasks.add(&self.shared.ready, id, "main", main);
    }

    fn crash(&mut self, id: u32, mode: CrashMode) {
        let left = self.shared.act(|world| {
            let was_down = matches!(world.hosts[id as usize].state, State::Down(_));
            world.note(id, "crash", u64::from(mode == CrashMode::Silent), 0);
            world.hosts[id as usize].state = State::Down(mode);
            if was_down {
                return None;
            }
            let connections = world.tcp_crash(id, mode == CrashMode::Reset);
            let bodies = world.tasks.drain(Some(id));
            let host = &mut world.hosts[id as usize];
            // Handles of this boot die now; the next boot counts on from here.
            host.boot += 1;
            host.line.clear();
            host.core_busy = false;
            host.crash_count += connections + bodies.len() as u64;
            Some((bodies, std::mem::take(&mut host.ports)))
        });
        // Futures run code when they are dropped, so not under the lock.
        drop(left);
    }

    /// Polls a task, or drops it.
    fn work(&mut self, key: Key, turn: Turn) -> Result<(), EngineError> {
        let (mut body, host, name, is_dropped) = match turn {
            Turn::Stale => return Ok(()),
            Turn::Poll(body, host, name) => (body, host, name, false),
            Turn::Drop(body, host, name) => (body, host, name, true),
        };
        if is_dropped {
            return catch_unwind(AssertUnwindSafe(|| drop(body)))
                .map_err(|panic| self.panicked(host, name, panic.as_ref()));
        }
        body.unqueue();
        self.effort.polls += 1;
        let waker = body.waker.clone();
        let mut cx = Context::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| body.future.as_mut().poll(&mut cx))) {
            Ok(std::task::Poll::Pending) => {
                let mut world = self.shared.world();
                if world.tasks.is_aborted(key) {
                    world.tasks.end(key);
                    drop(world);
                    return self.finish(body, host, name);
                }
                world.tasks.put_back(key, body);
                Ok(())
            }
            Ok(std::task::Poll::Ready(())) => {
                self.shared.world().tasks.end(key);
                self.finish(body, host, name)
            }
            Err(panic) => {
                self.shared.world().tasks.end(key);
                self.finish(body, host, name)?;
                Err(self.panicked(host, name, panic.as_ref()))
            }
        }
    }

    fn finish(&self, body: Body, host: u32, name: &'static str) -> Result<(), EngineError> {
        catch_unwind(AssertUnwindSafe(|| drop(body))).map_err(|panic| self.panicked(host, name, panic.as_ref()))
    }

    fn panicked(&self, host: u32, task: &'static str, panic: &(dyn Any + Send)) -> EngineError {
        let message = super::panic_message(panic);
        let host = self.shared.world().hosts[host as usize].spec.name.to_string();
        EngineError::Panicked { at: self.now(), host, task, message }
    }

    fn escaped(&self, key: Key) -> EngineError {
        let world = self.shared.world();
        let (host, task) = world
            .tasks
            .label(key)
            .map_or(("a host", "a task that has ended"), |(host, task)| (&*world.hosts[host as usize].spec.name, task));
        EngineError::Escaped { at: self.now(), host: host.to_owned(), task }
    }

    /// Wakes and drops, with the lock free, what an event left.
    fn settle(&mut self, mut world: std::sync::MutexGuard<'_, World>) {
        std::mem::swap(&mut self.wakes, &mut world.wakes);
        let trash = world.take_trash();
        drop(world);
        drop(trash);
        for waker in self.wakes.drain(..) {
            waker.wake();
        }
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.standstill += 1;
        if self.standstill > self.livelock {
            return Err(EngineError::Livelock { at: self.now(), events: self.standstill });
        }
        Ok(())
    }
}

impl World {
    /// What a key of the ready queue leads to now: a poll, or a place in its host's line.
    fn admit(&mut self, key: Key) -> Turn {
        let Some(id) = self.tasks.host(key) else { return Turn::Stale };
        let host = &mut self.hosts[id as usize];
        if host.state == State::Up && host.spec.cpu_per_poll.is_zero() && host.line.is_empty() {
            return self.tasks.take(key);
        }
        host.pause_count += u64::from(host.state == State::Paused);
        host.line.push_back(key);
        self.start_core(id);
        Turn::Stale
    }

    fn set_link(&mut self, from: &[HostId], to: &[HostId], link: &Link) {
        for &HostId(a) in from {
            for &HostId(b) in to {
                if a != b {
                    self.way(a, b).link = link.clone();
                }
            }
        }
    }
}

impl Engine for EventEngine {
    fn name(&self) -> &'static str {
        "event"
    }

    fn add_host(&mut self, spec: HostSpec) -> HostId {
        assert!(!self.booted, "hosts are added before the world runs");
        HostId(self.shared.world().add_host(spec))
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.shared.now())
    }

    fn run(&mut self, until: Instant) -> Result<Stopped, EngineError> {
        let until = until.as_nanos();
        self.shared.ready.settle_here();
        if !self.booted {
            self.booted = true;
            let hosts = self.shared.world().hosts.len() as u32;
            (0..hosts).for_each(|id| self.boot(id));
        }
        let shared = Arc::clone(&self.shared);
        while shared.now() < until {
            if self.interrupt.is_raised() && self.interrupt.take() {
                return Ok(Stopped::Interrupted);
            }
            if let Some(key) = shared.ready.pop().map_err(|key| self.escaped(key))? {
                self.alive()?;
                let turn = shared.world().admit(key);
                self.work(key, turn)?;
                continue;
            }
            let mut world = shared.world();
            let Some((at, event)) = world.queue.pop(until) else {
                shared.set_now(&mut world, until);
                self.standstill = 0;
                break;
            };
            if at > world.now {
                shared.set_now(&mut world, at);
                self.standstill = 0;
            }
            self.effort.events += 1;
            let task = world.happen(event);
            let turn = task.map(|key| (key, world.tasks.take(key)));
            self.settle(world);
            self.alive()?;
            if let Some((key, turn)) = turn {
                self.work(key, turn)?;
            }
        }
        Ok(Stopped::Reached)
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn apply(&mut self, action: Action) -> Result<(), Unsupported> {
        self.shared.ready.settle_here();
        match action {
            Action::Crash(HostId(id), mode) => self.crash(id, mode),
            Action::Restart(HostId(id)) => {
                if matches!(self.shared.world().hosts[id as usize].state, State::Down(_)) {
                    self.boot(id);
                }
            }
            Action::Pause(HostId(id)) => {
                let host = &mut self.shared.world().hosts[id as usize];
                if host.state == State::Up {
                    host.state = State::Paused;
                }
            }
            Action::Resume(HostId(id)) => {
                let mut world = self.shared.world();
                if world.hosts[id as usize].state == State::Paused {
                    world.hosts[id as usize].state = State::Up;
                    world.start_core(id);
                }
            }
            Action::SetLink { from, to, link } => {
                check(&link)?;
                self.shared.world().set_link(&from, &to, &link);
            }
            Action::SetCpu(HostId(id), cost) => self.shared.world().hosts[id as usize].spec.cpu_per_poll = cost,
        }
        Ok(())
    }

    fn count(&self, from: HostId, to: HostId) -> LinkCount {
        self.shared.world().known_way(from.0, to.0).map_or_else(LinkCount::default, |way| way.count)
    }

    fn crash_count(&self, host: HostId) -> u64 {
        self.shared.world().hosts[host.0 as usize].crash_count
    }

    fn pause_count(&self, host: HostId) -> u64 {
        self.shared.world().hosts[host.0 as usize].pause_count
    }

    fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }
}

/// Refuses links that mean nothing.
fn check(link: &Link) -> Result<(), Unsupported> {
    let refuse =
        |knob: &str, why: &str| Err(Unsupported { engine: "event", knob: knob.to_owned(), why: why.to_owned() });
    if let Some(why) = link.latency.mistake() {
        return refuse("latency", why);
    }
    if link.loss_ppm > 1_000_000 {
        return refuse("loss", "more than all packets cannot be lost");
    }
    if link.bandwidth_bps == Some(0) {
        return refuse("bandwidth", "0 bits per second never send a packet; cut the link instead");
    }
    Ok(())
}

impl Drop for EventEngine {
    /// Tasks hold the world and the world holds the tasks: this ends the circle.
    fn drop(&mut self) {
        let mut world = self.shared.world();
        for host in &mut world.hosts {
            host.state = State::Down(CrashMode::Silent);
            host.boot += 1;
        }
        let bodies = world.tasks.drain(None);
        let boots: Vec<_> = world.hosts.iter().map(|host| Arc::clone(&host.spec.boot)).collect();
        drop(world);
        drop(bodies);
        let mut world = self.shared.world();
        let nothing: super::Boot = Arc::new(|_| Box::pin(std::future::ready(())));
        for host in &mut world.hosts {
            host.spec.boot = Arc::clone(&nothing);
        }
        let trash = world.take_trash();
        drop(world);
        drop((boots, trash));
    }
}
