//! Whether a run met its expectations.

use squall_policy::Instant;

/// What became of every expectation and every fault of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// One per expectation, in the scenario's order, then one per fault that touched nothing, then one per record of an
    /// error that no expectation covers.
    pub checks: Vec<CheckResult>,
}

impl Verdict {
    /// Whether every check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|check| !check.passed)
    }
}

/// One expectation and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckResult {
    /// Over which time: `afterFaults 10s`, `always`, `overall`, `0s to 15s`; or `fault`.
    pub when: String,
    /// The CEL expression, or for a fault what it was meant to do.
    pub that: String,
    /// Whether it held.
    pub passed: bool,
    /// The values of the expression's variables where it failed (or in the last window looked at): `successRate` `0.412`.
    pub was: Vec<(String, String)>,
    /// Scenario time at the end of the window in which it failed; `None`: it held, or concerns the whole run.
    pub at: Option<Instant>,
}

impl CheckResult {
    /// `was 0.412 at 55.0 s`; of several variables `successRate was 0.412, p99 was 1.000 s, at 55.0 s`.
    #[must_use]
    pub fn finding(&self) -> String {
        let mut text = match self.was.as_slice() {
            [] => String::new(),
            [(_, value)] => format!("was {value}"),
            many => many.iter().map(|(name, value)| format!("{name} was {value}")).collect::<Vec<_>>().join(", "),
        };
        if let Some(at) = self.at {
            let tenths = at.as_nanos() / 100_000_000;
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&format!("at {}.{} s", tenths / 10, tenths % 10));
        }
        text
    }
}
