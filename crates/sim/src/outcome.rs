//! What one run of a scenario gave.

use std::borrow::Cow;
use std::time::Duration;

use squall_policy::Instant;

use crate::check::Verdict;
use crate::engine::{EngineError, Unsupported};
use crate::history::{History, StoryLine};
use crate::measure::Summary;
use crate::pulse::Pulse;
use crate::spans::Arrival;
use crate::validate::Found;
use crate::world::EPOCH;

/// Which world a scenario runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKind {
    /// The discrete-event engine: virtual time, exact to the nanosecond, replayable.
    #[default]
    Event,
    /// The reference engine on turmoil: virtual time in whole milliseconds, fewer powers.
    Turmoil,
    /// Loopback TCP in real time; not replayable.
    Real,
}

impl EngineKind {
    /// As the command line and reports write it: `event`, `turmoil`, `real`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Turmoil => "turmoil",
            Self::Real => "real",
        }
    }
}

/// How much of a mesh is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// The production proxy and control plane, byte for byte, in the world that [`RunOptions::engine`] names.
    #[default]
    Full,
    /// The same policy core, compiler and service model without bytes: no HTTP, TLS or TCP. Ten to twenty times cheaper per
    /// request; what needs bytes is refused by name. It has a world of its own, so the engine must be the default.
    Fast,
}

impl Model {
    /// As the command line and reports write it: `full`, `fast`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Fast => "fast",
        }
    }
}

/// How to run a scenario, besides its seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// In which world. Default event.
    pub engine: EngineKind,
    /// How much of the mesh is simulated. Default full.
    pub model: Model,
    /// Keep every record of the run for stories and JSON lines (some hundred bytes per record). Default false: only the
    /// rolling hash, the measures and the story of the run are kept.
    pub keep_history: bool,
}

/// What a run gave: verdict, measures, proof of faults, and the fingerprint of all that happened.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: String,
    /// The seed of every die in the world.
    pub seed: u64,
    /// Where it ran.
    pub engine: EngineKind,
    /// How much of the mesh was simulated.
    pub model: Model,
    /// Whether each expectation held and each fault took effect.
    pub verdict: Verdict,
    /// What was found for each of the scenario's known answers, in its order. Their verdict is over all replications;
    /// what is exact is in `verdict` too.
    pub answers: Vec<Found>,
    /// The measures over the whole run.
    pub summary: Summary,
    /// How many requests succeeded over time.
    pub pulse: Pulse,
    /// What each fault did, in the scenario's order.
    pub faults: Vec<FaultReport>,
    /// What a person needs to know of the run, in order of time: faults, breaker transitions, first retries, full queues.
    pub story: Vec<StoryLine>,
    /// The rolling hash over every (time, host, event) of the run. Equal for equal binary, scenario and seed.
    pub digest: u64,
    /// The rolling hash on the way, to find where two runs part.
    pub checkpoints: Vec<Checkpoint>,
    /// How many records went into the hash.
    pub records: u64,
    /// The scenario's time 0 in world time, which checkpoints use.
    pub start: Instant,
    /// The names of the hosts, by their number.
    pub hosts: Vec<std::sync::Arc<str>>,
    /// Scenario time that passed, from the start of the load (or of the measuring) to the last answer.
    pub simulated: Duration,
    /// The requests of the load in order of arrival, if [`RunOptions::keep_history`] asked for it; else none.
    pub requests: Vec<Arrival>,
    /// Every record, if [`RunOptions::keep_history`] asked for it.
    pub history: Option<History>,
}

impl Outcome {
    /// A time of the scenario by the clock of the simulated world, since 1970: worlds begin with 2026.
    #[must_use]
    pub fn since_1970(&self, at: Instant) -> Duration {
        EPOCH + self.start.since(Instant::ZERO) + at.since(Instant::ZERO)
    }

    /// Whether every expectation held and every fault took effect.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.verdict.passed()
    }
}

/// The rolling hash after so many records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Records so far.
    pub records: u64,
    /// World time of the last of them.
    pub at: Instant,
    /// The hash.
    pub digest: u64,
}

/// What a fault did. A fault that touched nothing fails the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// `catalog[0] slow ×20`.
    pub what: String,
    /// Scenario time at which it began; `None`: its trigger never came.
    pub began: Option<Instant>,
    /// Scenario time at which it ended; `None`: it lasted to the end.
    pub ended: Option<Instant>,
    /// How much it touched.
    pub touched: u64,
    /// What was counted: `requests`, `packets`, `tasks`, `polls`.
    pub unit: Cow<'static, str>,
}

/// Why a run came to no verdict.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The engine cannot do what the scenario asks. Bad input: exit code 2.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A panic, or a world that does not move: a bug of Squall's. The run failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The mesh's manifests do not compile. Bad input: exit code 2.
    #[error("the mesh does not compile: {}", mistakes.join("; "))]
    Mesh {
        /// What is wrong with them, each with its place.
        mistakes: Vec<String>,
    },
    /// A check cannot be evaluated. Bad input: exit code 2.
    #[error("`{that}` cannot be evaluated: {why}")]
    Check {
        /// The expression.
        that: String,
        /// What CEL says.
        why: String,
    },
    /// At a place of a map a fault did nothing, so that nothing can be said of what comes after it. The run failed.
    #[error(
        "{fault} touched nothing at {at}, seed {seed}, so that the map would say nothing of it: give it a target that is \
         asked, or begin its axis higher"
    )]
    Untouched {
        /// Which.
        fault: String,
        /// The place on the axes.
        at: String,
        /// The seed.
        seed: u64,
    },
    /// The machine gives no such world. Infrastructure: exit code 4.
    #[error("no {engine} world on this machine: {why}")]
    NoWorld {
        /// Which engine.
        engine: &'static str,
        /// What is missing.
        why: String,
    },
    /// A pod did not become ready before the load. The run failed.
    #[error("{who} not ready {after:?} after the start of the world: {why}")]
    NotReady {
        /// The pods that are missing.
        who: String,
        /// How long it was waited for.
        after: Duration,
        /// What is known about it.
        why: String,
    },
    /// A run in another process came to no verdict.
    #[error("{said}")]
    Elsewhere {
        /// What was said there.
        said: String,
        /// What is to blame.
        blame: ToBlame,
    },
}

/// What is to blame for a run without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToBlame {
    /// The files or arguments: exit code 2.
    Input,
    /// The machine: exit code 4.
    Machine,
    /// The run itself: exit code 1.
    Run,
}

impl RunError {
    /// Whether the input is to blame (exit code 2) and not the run (exit code 1).
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        self.blame() == ToBlame::Input
    }

    /// Whether the machine is to blame (exit code 4) and another try may do better.
    #[must_use]
    pub fn is_infrastructure(&self) -> bool {
        self.blame() == ToBlame::Machine
    }

    /// What is to blame.
    #[must_use]
    pub fn blame(&self) -> ToBlame {
        match self {
            Self::Unsupported(_)
            | Self::Engine(EngineError::Unsupported(_))
            | Self::Mesh { .. }
            | Self::Check { .. } => ToBlame::Input,
            Self::NoWorld { .. } => ToBlame::Machine,
            Self::Engine(EngineError::Panicked { .. } | EngineError::Livelock { .. } | EngineError::Escaped { .. })
            | Self::Untouched { .. }
            | Self::NotReady { .. } => ToBlame::Run,
            Self::Elsewhere { blame, .. } => *blame,
        }
    }
}
