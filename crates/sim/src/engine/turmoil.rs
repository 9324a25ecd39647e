//! The reference engine: [turmoil](https://docs.rs/turmoil) behind the same seam.
//!
//! Coarser and slower than the event engine, and independent of it: a scenario that both can express gets the same
//! verdict from both. Its time moves in whole milliseconds; [`Engine::run`] rounds up to one. What it cannot do is refused
//! by name. Where it does the same thing differently:
//!
//! | | event | turmoil |
//! |---|---|---|
//! | connecting into a cut | SYNs are repeated, `TimedOut` after 127 s | waits for its end |
//! | data into a cut | sent again, less and less often | held, arrives the moment it is lifted |
//! | established | after a round trip | when the peer accepts, one way later |
//! | a crash, an abort | RST | FIN, unless data was left unread |
//! | full accept queue | SYNs are repeated | the run fails |
//! | window | 256 KiB | 1024 writes of up to 32 KiB |
//! | loopback | takes no time | takes a millisecond |
//! | a task that never waits | `Livelock` | hangs |

mod host;
mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{Instant, Rng};

use self::host::Shared;
use super::{
    Action, CrashMode, Delay, Engine, EngineError, HostId, HostSpec, Interrupt, Link, LinkCount, Stopped, Unsupported,
};
use crate::trace::{Mode, Trace};

const TICK: Duration = Duration::from_millis(1);
/// Writes under way or unread per direction, and connections waiting per listener.
const CAPACITY: usize = 1024;

/// A world run by turmoil.
pub struct TurmoilEngine {
    sim: ::turmoil::Sim<'static>,
    shared: Arc<Shared>,
    trace: Arc<Trace>,
    interrupt: Interrupt,
    root: Arc<Rng>,
    hosts: Vec<HostSpec>,
    links: BTreeMap<(u32, u32), Wanted>,
    /// Pairs, smaller number first, whose link the simulation has not been told yet.
    changed: BTreeSet<(u32, u32)>,
    refused: Option<Unsupported>,
}

/// What turmoil can do for a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    latency: Duration,
    cut: bool,
}

impl TurmoilEngine {
    /// An empty world. `epoch` is the wall clock at its beginning, since 1970. All dice come from `seed`.
    #[must_use]
    pub fn new(seed: u64, epoch: Duration) -> Self {
        #[expect(clippy::disallowed_types, reason = "turmoil wants its epoch as one; no clock is read")]
        let begin = std::time::SystemTime::UNIX_EPOCH + epoch;
        let sim = ::turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(begin)
            .tick_duration(TICK)
            .simulation_duration(Duration::MAX)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(Duration::ZERO)
            .ephemeral_ports(socket::CLIENT_PORTS)
            .tcp_capacity(CAPACITY)
            .build();
        let trace = Arc::new(Trace::new(Mode::Digest));
        Self {
            sim,
            shared: Arc::new(Shared::new(epoch, Arc::clone(&trace))),
            trace,
            interrupt: Interrupt::default(),
            root: Arc::new(Rng::from_seed(seed)),
            hosts: Vec::new(),
            links: BTreeMap::new(),
            changed: BTreeSet::new(),
            refused: None,
        }
    }

    /// Tells the simulation of changed links; turmoil knows only links that are alike both ways.
    fn tell_links(&mut self) -> Result<(), Unsupported> {
        for &(a, b) in &self.changed {
            let wanted = |from, to| self.links.get(&(from, to)).copied().unwrap_or_default();
            let (there, back) = (wanted(a, b), wanted(b, a));
            let between = || format!("between {} and {}", self.hosts[a as usize].name, self.hosts[b as usize].name);
            if there.cut != back.cut {
                return Err(refuse(
                    "one-way partition",
                    &format!("it holds messages back both ways or not at all; {}", between()),
                ));
            }
            if there.latency != back.latency {
                return Err(refuse("latency", &format!("it is the same both ways; {} it would not be", between())));
            }
        }
        for (a, b) in std::mem::take(&mut self.changed) {
            let wanted = self.links.get(&(a, b)).copied().unwrap_or_default();
            let (from, to) = (self.hosts[a as usize].address, self.hosts[b as usize].address);
            self.sim.set_link_latency(from, to, wanted.latency);
            if self.shared.set_cut(a, b, wanted.cut) {
                if wanted.cut {
                    self.sim.hold(from, to);
                } else {
                    self.sim.release(from, to);
                }
            }
        }
        Ok(())
    }

    fn set_link(&mut self, from: &[HostId], to: &[HostId], link: &Link) -> Result<(), Unsupported> {
        let wanted = wanted(link)?;
        for &HostId(a) in from {
            for &HostId(b) in to {
                if a != b && self.links.get(&(a, b)).copied().unwrap_or_default() != wanted {
                    self.links.insert((a, b), wanted);
                    self.changed.insert((a.min(b), a.max(b)));
                }
            }
        }
        Ok(())
    }
}

fn refuse(knob: &str, why: &str) -> Unsupported {
    Unsupported { engine: "turmoil", knob: knob.to_owned(), why: why.to_owned() }
}

fn wanted(link: &Link) -> Result<Wanted, Unsupported> {
    let Link { latency, jitter, loss_ppm, bandwidth_bps, cut } = link;
    let latency = match latency {
        Delay::Constant(span) if span.subsec_nanos().is_multiple_of(1_000_000) => *span,
        Delay::Constant(_) => return Err(refuse("latency", "it counts in whole milliseconds")),
        Delay::Uniform(..)
        | Delay::Normal { .. }
        | Delay::LogNormal { .. }
        | Delay::Exponential(_)
        | Delay::Sum(..) => {
            return Err(refuse("latency distribution", "only one constant delay per link can be set"));
        }
    };
    if !jitter.is_zero() {
        return Err(refuse("jitter", "only one constant delay per link can be set"));
    }
    if *loss_ppm > 0 {
        return Err(refuse("loss", "it never retransmits: a lost message hangs its connection for ever"));
    }
    if bandwidth_bps.is_some() {
        return Err(refuse("bandwidth", "its links have no limit"));
    }
    Ok(Wanted { latency, cut: *cut })
}

impl Engine for TurmoilEngine {
    fn name(&self) -> &'static str {
        "turmoil"
    }

    fn add_host(&mut self, spec: HostSpec) -> HostId {
        if !spec.clock_ahead.is_zero() {
            self.refused = Some(refuse("clock skew", "all its hosts share one clock"));
        }
        if !spec.cpu_per_poll.is_zero() {
            self.refused = Some(refuse("cpu", "its tasks take no time"));
        }
        let id = self.shared.add_host(&spec);
        let (shared, root, boot) = (Arc::clone(&self.shared), Arc::clone(&self.root), Arc::clone(&spec.boot));
        let name = format!("host {}", spec.name);
        self.sim.host(spec.address, move || {
            host::supervise(Arc::clone(&shared), id, Arc::clone(&root), name.clone(), Arc::clone(&boot))
        });
        self.hosts.push(spec);
        HostId(id)
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.sim.elapsed()
    }

    fn run(&mut self, until: Instant) -> Result<Stopped, EngineError> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone().into());
        }
        self.tell_links()?;
        while self.now() < until {
            if self.interrupt.is_raised() && self.interrupt.take() {
                return Ok(Stopped::Interrupted);
            }
            let broken = match catch_unwind(AssertUnwindSafe(|| self.sim.step())) {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(super::panic_message(panic.as_ref())),
            };
            self.shared.set_now(self.sim.elapsed());
            if let Some(panicked) = self.shared.take_panic() {
                return Err(panicked);
            }
            if let Some(message) = broken {
                return Err(EngineError::Panicked {
                    at: self.now(),
                    host: "turmoil".to_owned(),
                    task: "step",
                    message,
                });
            }
        }
        Ok(Stopped::Reached)
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn apply(&mut self, action: Action) -> Result<(), Unsupported> {
        match action {
            Action::Crash(HostId(host), CrashMode::Reset) => self.shared.crash(host),
            Action::Crash(_, CrashMode::Silent) => {
                return Err(refuse("silent crash", "its peers would wait for ever; partition the host instead"));
            }
            Action::Restart(HostId(host)) => self.shared.restart(host),
            Action::Pause(_) | Action::Resume(_) => return Err(refuse("pause", "a host runs or is gone")),
            Action::SetLink { from, to, link } => self.set_link(&from, &to, &link)?,
            Action::SetCpu(_, cost) if cost.is_zero() => {}
            Action::SetCpu(..) => return Err(refuse("cpu", "its tasks take no time")),
        }
        Ok(())
    }

    fn count(&self, from: HostId, to: HostId) -> LinkCount {
        self.shared.count(from.0, to.0)
    }

    fn crash_count(&self, host: HostId) -> u64 {
        self.shared.crash_count(host.0)
    }

    fn trace(&self) -> &Arc<Trace> {
        &self.trace
    }
}
