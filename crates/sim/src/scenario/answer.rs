//! Answers that are known: from a formula, an exact argument or a published experiment.

use std::time::Duration;

use super::{Located, Place, Window};

/// In which of two worlds a known answer is checked, so that a mismatch says which is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The policy core and the service model alone, without bytes.
    Fast,
    /// The whole thing: real proxies over the event engine.
    Full,
}

impl Layer {
    /// Both, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Fast, Self::Full];

    /// As files and reports write it: `fast`, `full`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Full => "full",
        }
    }
}

/// One value per layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerLayer<T> {
    /// In [`Layer::Fast`].
    pub fast: T,
    /// In [`Layer::Full`].
    pub full: T,
}

impl<T> PerLayer<T> {
    /// The value of one layer.
    pub fn of(&self, layer: Layer) -> &T {
        match layer {
            Layer::Fast => &self.fast,
            Layer::Full => &self.full,
        }
    }
}

/// How a scenario with known answers runs in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// So often.
    Runs(Sample),
    /// Not at all, for this reason.
    Exempt(String),
}

impl Default for Sampling {
    fn default() -> Self {
        Self::Runs(Sample::default())
    }
}

/// How much is measured, fixed in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Independent runs, on the seeds 1 to this; at least 1. Default 1.
    pub replications: u32,
    /// Instead of the scenario's `duration`, and shorter; `None` (default): as long as the scenario says.
    pub duration: Option<Duration>,
    /// Left out by `squall validate --quick`. Default false.
    pub slow: bool,
}

impl Default for Sample {
    fn default() -> Self {
        Self { replications: 1, duration: None, slow: false }
    }
}

/// A known answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Where it stands.
    pub place: Place,
    /// What is asked, for people: `M/M/1, rho 0.8: W`. Unique over all scenarios that are validated together.
    pub case: Located<String>,
    /// Where the answer is from.
    pub source: String,
    /// What is compared with what.
    pub question: Question,
    /// The only layer in which it is asked, and why not in the other; `None`: in both.
    pub only: Option<(Layer, String)>,
}

/// What is compared with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// A measure with a value.
    Measure {
        /// A CEL expression that gives a number, a duration (its seconds count) or true or false (1 or 0).
        that: Located<String>,
        /// Over which requests. Not [`Window::Always`].
        window: Window,
        /// The answer.
        expected: Expected,
        /// How far off the mean of the replications may be: 1.5 times this, and `stated_error`.
        tolerance: PerLayer<Tolerance>,
        /// How far off the expected value itself may be, by its source's own account. In the same unit. Default 0.
        stated_error: f64,
        /// A measure of the same run whose mean is known too, and with which this one goes up and down. Boxed: rare.
        control: Option<Box<Control>>,
    },
    /// Every request of a service with the textbook's recursion, fed with its arrivals and service times.
    Pathwise {
        /// Whose requests: the index of the service.
        service: usize,
        /// Also the way there and back: what a request of this load takes beside its stay in the service is the same for
        /// all. The index of the load.
        from: Option<usize>,
        /// Nobody waits, and this many are let in at once, by the mesh: who finds as many is refused. `None`: the service's
        /// own `slots` and `queue` say who begins when.
        limit: Option<u32>,
    },
    /// L = λ·W for every load, service and link, in integers, over the whole, drained run.
    LittlesLaw,
}

/// A control variate: what the dice of a run gave, where it is known what they should have given.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// A CEL expression as in [`Question::Measure`], over the same window.
    pub that: Located<String>,
    /// Its mean.
    pub expected: f64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This.
    Value(f64),
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// In the order of this name, which spans scenarios, the means ascend with the places, from 1.
    Rank {
        /// The name of the order.
        order: String,
        /// The place in it, from 1.
        place: u32,
    },
}

/// How far off a mean may be before the factor of 1.5.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Tolerance {
    /// Not at all, in any replication.
    #[default]
    Exact,
    /// A share of the expected value, in millionths.
    Relative(u32),
    /// So much, in the unit of the expected value.
    Absolute(f64),
}

impl Tolerance {
    /// In the unit of the expected value.
    #[must_use]
    pub fn around(self, expected: f64) -> f64 {
        match self {
            Self::Exact => 0.0,
            Self::Relative(ppm) => expected.abs() * f64::from(ppm) / 1e6,
            Self::Absolute(span) => span,
        }
    }
}
