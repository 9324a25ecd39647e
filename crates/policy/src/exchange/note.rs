//! What an exchange decided, for history.

use std::fmt;
use std::time::Duration;

/// What became of a failed try, or of one that takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryNote {
    /// It is repeated.
    Retry {
        /// Which repetition, from 1.
        retry: u32,
        /// Of how many at most.
        of: u32,
        /// Waits so long first.
        wait: Duration,
        /// What is left in the budget, in thousandths of a retry; `None`: no budget.
        budget_left: Option<u64>,
    },
    /// Another is sent beside it.
    Hedge {
        /// Which, from 1.
        hedge: u32,
        /// Of how many at most.
        of: u32,
        /// So long after the try before.
        after: Duration,
        /// What is left in the budget, in thousandths of a retry; `None`: no budget.
        budget_left: Option<u64>,
    },
    /// All retries are used.
    Exhausted,
    /// A budget is empty.
    OverBudget,
    /// Another would be sent beside it, but a budget is empty.
    HedgeOverBudget,
    /// Refused at the client, because the backend accepts too few.
    Throttled,
    /// The request's body was not kept, or its method must not be repeated.
    NotRepeatable,
    /// Waiting would pass the deadline.
    NoTime,
}

impl fmt::Display for RetryNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { retry, of, wait, budget_left } => {
                write!(f, "retry {retry} of {of}, waits {wait:?}")?;
                write_left(f, *budget_left)
            }
            Self::Hedge { hedge, of, after, budget_left } => {
                write!(f, "hedge {hedge} of {of}, after {after:?}")?;
                write_left(f, *budget_left)
            }
            Self::Exhausted => f.write_str("exhausted"),
            Self::OverBudget => f.write_str("over-budget"),
            Self::HedgeOverBudget => f.write_str("hedge-over-budget"),
            Self::Throttled => f.write_str("throttled"),
            Self::NotRepeatable => f.write_str("not-repeatable"),
            Self::NoTime => f.write_str("no-time"),
        }
    }
}

fn write_left(f: &mut fmt::Formatter<'_>, budget_left: Option<u64>) -> fmt::Result {
    match budget_left {
        Some(left) => write!(f, ", budget {}.{:03}", left / 1000, left % 1000),
        None => Ok(()),
    }
}
