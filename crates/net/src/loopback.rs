//! A world of many hosts on this machine: real TCP on loopback, the OS clock, and addresses, boots and delays of their own.
//!
//! Each host sees the addresses it has in its cluster, and its own `127.0.0.1`; both are translated to addresses in
//! `127.0.0.0/8` that are private to the world. So a program that runs in the simulator runs here as it is.

mod address;
mod stream;
mod task;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use squall_policy::{Instant, Rng};
use tokio::runtime::Runtime;

use self::address::Addresses;
use self::stream::BootNet;
use self::task::{BootTasks, Gate, Machine};
use crate::{BoxFuture, Clock, Host, Tasks as _, Wall};

pub use self::stream::Paths;
pub use self::task::Panicked;

/// The hosts, and the runtime that they share. They only run inside [`Loopback::run`].
pub struct Loopback {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    addresses: Arc<Addresses>,
    machines: Vec<Arc<Machine>>,
    ahead: Vec<Duration>,
    paths: Arc<dyn Paths>,
    gate: Arc<Gate>,
    begun: Arc<OnceLock<tokio::time::Instant>>,
}

impl Loopback {
    /// A world without hosts. `paths` delays what goes between them. `interrupted` is asked after every poll of a task; `true`
    /// ends [`Loopback::run`] before any other task is polled.
    ///
    /// # Errors
    /// The OS gives no runtime, or no block of loopback addresses is free.
    pub fn new(paths: Arc<dyn Paths>, interrupted: impl Fn() -> bool + Send + Sync + 'static) -> io::Result<Self> {
        Ok(Self {
            runtime: Some(tokio::runtime::Builder::new_current_thread().enable_all().build()?),
            addresses: Arc::new(Addresses::claim()?),
            machines: Vec::new(),
            ahead: Vec::new(),
            paths,
            gate: Arc::new(Gate::new(interrupted)),
            begun: Arc::default(),
        })
    }

    /// Adds a host, before any has booted. `name` and `address` are unique; its clocks run `ahead` of the world's. Its number
    /// counts up from 0.
    pub fn add(&mut self, name: Arc<str>, address: IpAddr, ahead: Duration) -> usize {
        let addresses = Arc::get_mut(&mut self.addresses).expect("hosts are added before any has booted");
        let host = addresses.add(name, address);
        self.machines.push(Arc::new(Machine::new(host, Arc::clone(&self.gate))));
        self.ahead.push(ahead);
        host
    }

    /// Its name.
    #[must_use]
    pub fn name_of(&self, host: usize) -> &Arc<str> {
        self.addresses.name(host)
    }

    /// The time since the world first ran.
    #[must_use]
    pub fn now(&self) -> Instant {
        since(&self.begun)
    }

    /// Boots a host that is down: `start` is its main task. Nothing happens if it is up.
    pub fn boot(&self, host: usize, rng: Rng, start: impl FnOnce(Host) -> BoxFuture<'static, ()>) {
        let machine = &self.machines[host];
        let Some(boot) = machine.begin() else { return };
        let clock = Arc::new(WorldClock { begun: Arc::clone(&self.begun), ahead: self.ahead[host] });
        let net = BootNet {
            host,
            boot,
            machine: Arc::clone(machine),
            addresses: Arc::clone(&self.addresses),
            paths: Arc::clone(&self.paths),
        };
        let runtime = self.runtime().handle().clone();
        let tasks = Arc::new(BootTasks { machine: Arc::clone(machine), boot, runtime });
        let main = start(Host::new(Arc::new(net), Arc::clone(&clock) as _, clock, Arc::clone(&tasks) as _, rng));
        tasks.spawn("main", main);
    }

    /// The host's process dies: its tasks are dropped, its connections reset, its ports closed, before this returns.
    pub fn crash(&mut self, host: usize) -> Crashed {
        let machine = &self.machines[host];
        let resets_before = machine.resets.load(Ordering::SeqCst);
        let tasks = machine.end() as u64;
        self.runtime().block_on(async {
            // The gate is closed: this only drops what was aborted, one turn of the runtime or a few.
            while !machine.is_empty() {
                tokio::task::yield_now().await;
            }
        });
        Crashed { tasks, connections: machine.resets.load(Ordering::SeqCst) - resets_before }
    }

    /// Its tasks are not polled until [`Loopback::resume`]; the kernel still acknowledges for it.
    pub fn pause(&mut self, host: usize) {
        self.machines[host].pause();
    }

    /// Ends a pause.
    pub fn resume(&mut self, host: usize) {
        self.machines[host].resume();
    }

    /// Runs until `until`, an interrupt or a panic. `Ok(true)`: it was interrupted. Time goes on while it does not run.
    ///
    /// # Errors
    /// A task panicked.
    pub fn run(&mut self, until: Instant) -> Result<bool, Panicked> {
        let gate = Arc::clone(&self.gate);
        let reached = self.runtime().block_on(async {
            let begun = *self.begun.get_or_init(tokio::time::Instant::now);
            gate.open();
            self.machines.iter().for_each(|machine| machine.wake());
            let end = begun + Duration::from_nanos(until.as_nanos());
            let reached = tokio::time::timeout_at(end, gate.closed()).await.is_err();
            gate.close();
            reached
        });
        match gate.take_panic() {
            Some(panicked) => Err(panicked),
            None => Ok(!reached),
        }
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the world is dropped")
    }
}

impl Drop for Loopback {
    /// Ends everything at once, without waiting for look-ups under way.
    fn drop(&mut self) {
        for machine in &self.machines {
            machine.end();
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a crash hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed {
    /// Tasks that were dropped.
    pub tasks: u64,
    /// Connections that were reset.
    pub connections: u64,
}

fn since(begun: &OnceLock<tokio::time::Instant>) -> Instant {
    begun.get().map_or(Instant::ZERO, |begun| Instant::ZERO + begun.elapsed())
}

/// Both clocks of a host.
struct WorldClock {
    begun: Arc<OnceLock<tokio::time::Instant>>,
    ahead: Duration,
}

impl Clock for WorldClock {
    fn now(&self) -> Instant {
        since(&self.begun) + self.ahead
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let begun = Arc::clone(&self.begun);
        let span = Duration::from_nanos((at - self.ahead).as_nanos());
        Box::pin(async move {
            let begun = *begun.get_or_init(tokio::time::Instant::now);
            match begun.checked_add(span) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        })
    }
}

impl Wall for WorldClock {
    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.ahead
    }
}
