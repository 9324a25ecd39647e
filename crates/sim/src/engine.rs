//! Where a world runs: hosts, links and time. Two engines implement [`Engine`]; scenarios cannot tell which they run on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use squall_net::{BoxFuture, Host};
use squall_policy::Instant;

use crate::trace::Trace;

mod delay;
mod event;
mod real;
mod turmoil;

pub use event::{Effort, EventEngine};
pub use real::RealEngine;
pub use turmoil::TurmoilEngine;

/// A host of one engine; numbered from 0 in the order of [`Engine::add_host`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// A host's main task. Called at the start of the world and at every restart, with a fresh [`Host`].
pub type Boot = Arc<dyn Fn(Host) -> BoxFuture<'static, ()> + Send + Sync>;

/// A host to be.
#[derive(Clone)]
pub struct HostSpec {
    /// Unique: `catalog-v1-0`. Resolvable by `Net::resolve`.
    pub name: Arc<str>,
    /// Unique. `127.0.0.1` is the host itself, everywhere.
    pub address: IpAddr,
    /// What runs on it.
    pub boot: Boot,
    /// How much its clocks run ahead of the world's.
    pub clock_ahead: Duration,
    /// CPU time charged per poll of one of its tasks, on one virtual core; zero: free.
    pub cpu_per_poll: Duration,
}

/// A span drawn anew for each packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Delay {
    /// Always this.
    Constant(Duration),
    /// Uniform in [least, most].
    Uniform(Duration, Duration),
    /// Normal, cut at 0.
    Normal {
        /// Mean.
        mean: Duration,
        /// Standard deviation.
        deviation: Duration,
    },
    /// Lognormal through these two percentiles.
    LogNormal {
        /// Median.
        p50: Duration,
        /// 99th percentile, at least `p50`.
        p99: Duration,
    },
    /// Exponential with this mean.
    Exponential(Duration),
    /// One and then the other: a link and the fault on it.
    Sum(Box<Delay>, Box<Delay>),
}

/// One way from one host to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Propagation delay of a packet. TCP delivers in order all the same.
    pub latency: Delay,
    /// Added to `latency`, uniform in [0, jitter].
    pub jitter: Duration,
    /// Packets lost, in millionths, 0 to 1,000,000. TCP retransmits them.
    pub loss_ppm: u32,
    /// Bits per second; `None`: unlimited. Packets queue behind each other.
    pub bandwidth_bps: Option<u64>,
    /// Nothing gets through: packets (SYN included) are lost until it is lifted.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Delay::Constant(Duration::ZERO),
            jitter: Duration::ZERO,
            loss_ppm: 0,
            bandwidth_bps: None,
            cut: false,
        }
    }
}

/// How peers notice a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// The process dies: its kernel resets open connections and refuses new ones.
    Reset,
    /// The machine dies: silence. Peers stay half-open until they time out.
    Silent,
}

/// A change of the world from outside, between two events.
#[derive(Clone, Debug)]
pub enum Action {
    /// Drops every task of the host.
    Crash(HostId, CrashMode),
    /// Boots a crashed host again.
    Restart(HostId),
    /// The host's tasks are not polled; its kernel still acknowledges (SIGSTOP).
    Pause(HostId),
    /// Ends a pause.
    Resume(HostId),
    /// Replaces the one-way link between each pair of `from` × `to` (a host's link to itself is left alone). An engine
    /// whose links are alike both ways sees only when it next runs whether they are; [`Engine::run`] then refuses.
    SetLink {
        /// Senders.
        from: Vec<HostId>,
        /// Receivers.
        to: Vec<HostId>,
        /// The new link.
        link: Link,
    },
    /// Changes how much CPU time a poll costs.
    SetCpu(HostId, Duration),
}

/// Who refuses what the fast model cannot do.
pub(crate) const FAST: &str = "fast";

/// Why an action or a world is not possible on this engine. Shown as `the ENGINE engine cannot do KNOB: WHY`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {engine} {} cannot do {knob}: {why}", if *engine == FAST { "model" } else { "engine" })]
pub struct Unsupported {
    /// `event` or `turmoil`, or `fast`, the model.
    pub engine: &'static str,
    /// The setting, as the scenario calls it: `loss`, `bandwidth`, `one-way partition`.
    pub knob: String,
    /// Why not.
    pub why: String,
}

/// Why a run stopped before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A task panicked. A panic is a bug of Squall's; the run fails.
    #[error("{at} s: task `{task}` of {host} panicked: {message}")]
    Panicked {
        /// When.
        at: Instant,
        /// On which host.
        host: String,
        /// The task's name.
        task: &'static str,
        /// The panic's message.
        message: String,
    },
    /// The world does not move: more than this many events without time passing.
    #[error("{at} s: {events} events without time passing")]
    Livelock {
        /// When.
        at: Instant,
        /// How many.
        events: u64,
    },
    /// A task was woken from a thread that is not the world's: something in it waits for real time. The run is void.
    #[error("{at} s: task `{task}` of {host} was woken from another thread")]
    Escaped {
        /// When it was noticed.
        at: Instant,
        /// On which host.
        host: String,
        /// The task's name.
        task: &'static str,
    },
    /// The world asks for what the engine cannot do, which showed only as it was to run.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// What a panic said.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Why [`Engine::run`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The time is reached.
    Reached,
    /// [`Interrupt::raise`] was called in the world; the current event was finished.
    Interrupted,
}

/// Lets a task in the world hand control to the outside, between two events: for actions triggered by what happens.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<std::sync::atomic::AtomicBool>);

impl Interrupt {
    /// Makes [`Engine::run`] return after the current event.
    pub fn raise(&self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }

    /// Whether it was raised since the last call.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.swap(false, std::sync::atomic::Ordering::SeqCst)
    }

    fn is_raised(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// What a link change or crash touched, counted since the start of the world; a fault proves its effect with the
/// difference over its time. One-way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCount {
    /// Packets sent.
    pub packets: u64,
    /// Packets lost to `loss_ppm` (each lost transmission counts).
    pub lost: u64,
    /// Packets (SYNs included) that met a cut link.
    pub cut: u64,
    /// Bytes sent, with 40 bytes of headers per packet.
    pub bytes: u64,
    /// Packets that waited for bandwidth.
    pub queued: u64,
    /// SYNs dropped because the accept queue was full.
    pub overflowed: u64,
}

/// A simulated world.
pub trait Engine {
    /// `event` or `turmoil`.
    fn name(&self) -> &'static str;

    /// Adds a host; it boots when the world first runs. Only before that.
    fn add_host(&mut self, spec: HostSpec) -> HostId;

    /// The time now.
    fn now(&self) -> Instant;

    /// Runs to `until` (events at `until` itself are left), or to an [`Interrupt`].
    ///
    /// # Errors
    /// A panic in a task, or a world that does not move.
    fn run(&mut self, until: Instant) -> Result<Stopped, EngineError>;

    /// The flag that stops [`Engine::run`].
    fn interrupt(&self) -> Interrupt;

    /// Changes the world, now.
    ///
    /// # Errors
    /// What this engine cannot honour, by name. The world is unchanged then.
    fn apply(&mut self, action: Action) -> Result<(), Unsupported>;

    /// What went over the one-way link so far.
    fn count(&self, from: HostId, to: HostId) -> LinkCount;

    /// Tasks dropped by crashes, connections reset by them: what a crash of this host touched so far.
    fn crash_count(&self, host: HostId) -> u64;

    /// Polls that pauses held up: what a pause of this host touched so far. 0 on an engine that cannot pause.
    fn pause_count(&self, host: HostId) -> u64 {
        let _ = host;
        0
    }

    /// The record of this run. Proxies and services note what they do there too.
    fn trace(&self) -> &Arc<Trace>;
}
