//! The same world on this machine: loopback TCP in real time, behind the same trait. Not a simulation, so no run is like
//! another; it shows that what was simulated is what happens.
//!
//! It does latency and jitter (on the receiver's side), crash with reset, restart and pause. What only a model of a network
//! or of a CPU can do is refused by name.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use squall_net::loopback::{Loopback, Paths};
use squall_policy::{Instant, Rng};

use super::{
    Action, CrashMode, Engine, EngineError, HostId, HostSpec, Interrupt, Link, LinkCount, Stopped, Unsupported,
};
use crate::trace::{Mode, Trace};

/// Counted for the headers of every part that crosses a link, as the event engine does per packet.
const HEADER_BYTES: u64 = 40;

/// A world on loopback.
pub struct RealEngine {
    loopback: Loopback,
    hosts: Vec<HostSpec>,
    crash_counts: Vec<u64>,
    ways: Arc<Ways>,
    trace: Arc<Trace>,
    interrupt: Interrupt,
    root: Rng,
    booted: bool,
    /// A host asked for what cannot be; the first action says so.
    refused: Option<Unsupported>,
}

impl RealEngine {
    /// An empty world. The dice of its hosts come from `seed`, as on the other engines; its network and clocks are real.
    ///
    /// # Errors
    /// The OS gives no runtime or no block of loopback addresses.
    pub fn new(seed: u64) -> io::Result<Self> {
        let root = Rng::from_seed(seed);
        let ways = Arc::new(Ways { ways: Mutex::default(), dice: Mutex::new(root.fork("links")) });
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        Ok(Self {
            loopback: Loopback::new(Arc::clone(&ways) as _, move || raised.is_raised())?,
            hosts: Vec::new(),
            crash_counts: Vec::new(),
            ways,
            trace: Arc::new(Trace::new(Mode::Digest)),
            interrupt,
            root,
            booted: false,
            refused: None,
        })
    }

    fn boot(&self, host: usize) {
        let spec = &self.hosts[host];
        let rng = self.root.fork(&format!("host {}", spec.name));
        self.trace.note(self.now(), host as u32, "boot", 0, 0);
        self.loopback.boot(host, rng, |handle| (spec.boot)(handle));
    }
}

impl Engine for RealEngine {
    fn name(&self) -> &'static str {
        "real"
    }

    /// A host with a cost per poll makes the next [`Engine::apply`] fail: the CPU is real here.
    fn add_host(&mut self, spec: HostSpec) -> HostId {
        assert!(!self.booted, "hosts are added before the world runs");
        if !spec.cpu_per_poll.is_zero() {
            self.refused = Some(no_cpu());
        }
        let number = self.loopback.add(Arc::clone(&spec.name), spec.address, spec.clock_ahead);
        self.hosts.push(spec);
        self.crash_counts.push(0);
        HostId(u32::try_from(number).expect("no more than 16000 hosts"))
    }

    fn now(&self) -> Instant {
        self.loopback.now()
    }

    fn run(&mut self, until: Instant) -> Result<Stopped, EngineError> {
        if !self.booted {
            self.booted = true;
            (0..self.hosts.len()).for_each(|host| self.boot(host));
        }
        if self.interrupt.take() {
            return Ok(Stopped::Interrupted);
        }
        match self.loopback.run(until) {
            Ok(true) => {
                // Taken here, as the world stopped for it.
                let _ = self.interrupt.take();
                Ok(Stopped::Interrupted)
            }
            Ok(false) => Ok(Stopped::Reached),
            Err(panicked) => Err(EngineError::Panicked {
                at: self.now(),
                host: self.loopback.name_of(panicked.host).to_string(),
                task: panicked.task,
                message: panicked.message,
            }),
        }
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn apply(&mut self, action: Action) -> Result<(), Unsupported> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        match action {
            Action::Crash(_, CrashMode::Silent) => {
                let why = "a process on loopback cannot fall silent: its kernel lives on and resets";
                return Err(unsupported("silent crash", why));
            }
            Action::Crash(HostId(id), CrashMode::Reset) => {
                let crashed = self.loopback.crash(id as usize);
                self.crash_counts[id as usize] += crashed.tasks + crashed.connections;
                self.trace.note(self.now(), id, "crash", crashed.tasks, crashed.connections);
            }
            Action::Restart(HostId(id)) => self.boot(id as usize),
            Action::Pause(HostId(id)) => self.loopback.pause(id as usize),
            Action::Resume(HostId(id)) => self.loopback.resume(id as usize),
            Action::SetLink { from, to, link } => {
                check(&link)?;
                self.ways.set(&from, &to, &link);
            }
            Action::SetCpu(_, cost) if cost.is_zero() => {}
            Action::SetCpu(..) => return Err(no_cpu()),
        }
        Ok(())
    }

    fn count(&self, from: HostId, to: HostId) -> LinkCount {
        self.ways.all().get(&(from.0, to.0)).map_or_else(LinkCount::default, |way| way.count)
    }

    fn crash_count(&self, host: HostId) -> u64 {
        self.crash_counts[host.0 as usize]
    }

    fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }
}

fn unsupported(knob: &str, why: &str) -> Unsupported {
    Unsupported { engine: "real", knob: knob.to_owned(), why: why.to_owned() }
}

fn no_cpu() -> Unsupported {
    unsupported("CPU cost per poll", "this machine's CPU takes the time that it takes")
}

/// Refuses links that loopback cannot play.
fn check(link: &Link) -> Result<(), Unsupported> {
    let Link { latency, jitter: _, loss_ppm, bandwidth_bps, cut } = link;
    if let Some(why) = latency.mistake() {
        return Err(unsupported("latency", why));
    }
    if *loss_ppm > 0 {
        return Err(unsupported("loss", "loopback loses nothing"));
    }
    if bandwidth_bps.is_some() {
        return Err(unsupported("bandwidth", "loopback has no bandwidth to set"));
    }
    if *cut {
        return Err(unsupported("partition", "loopback cannot be cut"));
    }
    Ok(())
}

/// The one-way links between hosts, and what went over them.
struct Ways {
    ways: Mutex<BTreeMap<(u32, u32), Way>>,
    dice: Mutex<Rng>,
}

#[derive(Default)]
struct Way {
    link: Link,
    count: LinkCount,
}

impl Ways {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(u32, u32), Way>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, from: &[HostId], to: &[HostId], link: &Link) {
        let mut ways = self.all();
        for from in from {
            for to in to.iter().filter(|to| *to != from) {
                ways.entry((from.0, to.0)).or_default().link = link.clone();
            }
        }
    }
}

impl Paths for Ways {
    fn carry(&self, from: usize, to: usize, bytes: usize) -> Duration {
        let mut ways = self.all();
        let way = ways.entry((from as u32, to as u32)).or_default();
        way.count.packets += 1;
        way.count.bytes += bytes as u64 + HEADER_BYTES;
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        let jitter = dice.between(Duration::ZERO, way.link.jitter);
        way.link.latency.draw(&mut dice) + jitter
    }
}
