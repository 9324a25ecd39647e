//! What is wanted: objectives and constraints, in the CEL of expectations.

use std::sync::Arc;

use squall_control::units;

use crate::outcome::{EngineKind, Model, RunError, RunOptions};
use crate::run::run_measured;
use crate::scenario::Scenario;

/// How an objective's values in several scenarios become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Across {
    /// Their mean; every scenario counts as much.
    #[default]
    Mean,
    /// That of the scenario in which it is worst.
    Worst,
}

/// A difference that does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// A share of the other's value, in thousandths.
    Share(u32),
    /// So much, in the objective's units (durations: seconds).
    Value(f64),
}

impl Margin {
    /// Reads a share of the other's value, `2%`, or a value of the objective's kind: a number, or a duration.
    pub(super) fn parse(text: &str, is_span: bool) -> Result<Self, String> {
        if text.ends_with('%') {
            return units::percent(text).map(Self::Share);
        }
        if is_span {
            return units::duration(text).map(|span| Self::Value(span.as_secs_f64()));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(Self::Value(value)),
            Ok(_) | Err(_) => Err(format!("`{text}` is not a number from 0, nor a share such as 2%")),
        }
    }

    /// In the objective's units, beside such a value of the other's.
    pub(super) fn of(self, theirs: f64) -> f64 {
        match self {
            Self::Share(permille) => theirs.abs() * f64::from(permille) / 1000.0,
            Self::Value(value) => value,
        }
    }
}

/// A measure that should be small or large.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The expression.
    pub that: String,
    /// Whether more is better.
    pub maximize: bool,
    /// Over several scenarios.
    pub across: Across,
    /// Who is behind the best by no more than this share of its value, in thousandths, is as good. Default 0.
    pub within_permille: u32,
    /// What a difference to another policy must be more than to count, on one scenario. Default 0.
    pub margin: Margin,
    /// Whether it is a duration, whose value is in seconds.
    pub is_span: bool,
}

impl Objective {
    fn new(that: &str, maximize: bool, is_span: bool) -> Self {
        Self {
            that: that.to_owned(),
            maximize,
            across: Across::Mean,
            within_permille: 0,
            margin: Margin::Value(0.0),
            is_span,
        }
    }

    pub(super) fn usual() -> Vec<Self> {
        vec![
            Self::new("successRate", true, false),
            Self::new("p99", false, true),
            Self::new("amplification", false, false),
        ]
    }

    /// What policies are compared by.
    #[must_use]
    pub fn compared() -> Vec<Self> {
        let mut measures = Self::usual();
        measures.push(Self::new("recovery", false, true));
        measures
    }

    /// A value as the search takes it: less is better.
    #[must_use]
    pub fn cost(&self, value: f64) -> f64 {
        if self.maximize { -value } else { value }
    }
}

/// What must hold in every run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// The expression, true or false.
    pub that: String,
    /// Its two sides, if it is one comparison: then it is known by how much it is broken.
    sides: Option<(String, Sign, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Below(bool),
    Above(bool),
}

impl Constraint {
    /// Of an expression that is checked.
    pub(super) fn new(that: &str) -> Self {
        Self { that: that.to_owned(), sides: sides(that) }
    }

    pub(super) fn usual() -> Vec<Self> {
        [r"amplification <= 1.2", r#"recovery <= duration("10s")"#].map(Self::new).into()
    }

    /// By how much it is broken, relative to what it is compared with: 0 if it holds.
    fn violation(&self, values: &mut impl Iterator<Item = f64>) -> f64 {
        let mut next = || values.next().unwrap_or(f64::NAN);
        let Some((_, sign, _)) = &self.sides else { return if next() == 1.0 { 0.0 } else { 1.0 } };
        let (left, right) = (next(), next());
        let (holds, over) = match sign {
            Sign::Below(equal) => (left < right || *equal && left == right, left - right),
            Sign::Above(equal) => (left > right || *equal && left == right, right - left),
        };
        match (holds, over / right.abs().max(1e-9)) {
            (true, _) => 0.0,
            (false, over) if over.is_finite() => over.max(1e-6),
            (false, _) => 1e9,
        }
    }

    fn asks(&self) -> Vec<&str> {
        match &self.sides {
            Some((left, _, right)) => vec![left, right],
            None => vec![&self.that],
        }
    }
}

/// The sides of a single comparison.
fn sides(that: &str) -> Option<(String, Sign, String)> {
    let mut found: Option<(usize, usize, Sign)> = None;
    let mut quote = None;
    let bytes = that.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let equal = bytes.get(at + 1) == Some(&b'=');
        match (quote, byte) {
            (Some(mark), byte) if byte == mark => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'&' | b'|' | b'?' | b'!') => return None,
            (None, b'=') => return None,
            (None, b'<' | b'>') => {
                if found.is_some() {
                    return None;
                }
                let sign = if byte == b'<' { Sign::Below(equal) } else { Sign::Above(equal) };
                found = Some((at, at + 1 + usize::from(equal), sign));
                at += usize::from(equal);
            }
            (None, _) => {}
        }
        at += 1;
    }
    let (end, begin, sign) = found?;
    let (left, right) = (that[..end].trim(), that[begin..].trim());
    // `(a <= b)`: the sides alone are no expressions.
    let whole = |text: &str| text.matches('(').count() == text.matches(')').count() && !text.is_empty();
    (whole(left) && whole(right)).then(|| (left.to_owned(), sign, right.to_owned()))
}

/// What one run came to: the objectives in their own units, then by how much each constraint was broken.
pub(super) fn measure(
    scenario: &Arc<Scenario>,
    seed: u64,
    model: Model,
    objectives: &[Objective],
    constraints: &[Constraint],
) -> Result<Vec<f64>, RunError> {
    let options = RunOptions { engine: EngineKind::Event, model, keep_history: false };
    let mut those: Vec<&str> = objectives.iter().map(|objective| objective.that.as_str()).collect();
    those.extend(constraints.iter().flat_map(Constraint::asks));
    let (_, values) = run_measured(scenario, seed, options, &those)?;
    let mut values = values.into_iter();
    let mut found: Vec<f64> = values.by_ref().take(objectives.len()).collect();
    found.extend(constraints.iter().map(|constraint| constraint.violation(&mut values)));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_comparison_says_by_how_much() {
        #[track_caller]
        fn check(that: &str, values: &[f64], want: f64) {
            let found = Constraint::new(that).violation(&mut values.iter().copied());
            assert!((found - want).abs() < 1e-9, "{that}: {found}");
        }
        check("amplification <= 1.2", &[1.2, 1.2], 0.0);
        check("amplification <= 1.2", &[1.8, 1.2], 0.5);
        check("amplification < 1.2", &[1.2, 1.2], 1e-6);
        check("successRate >= 0.8", &[0.4, 0.8], 0.5);
        check("recovery <= duration(\"10s\")", &[12.0, 10.0], 0.2);
        check("successRate >= 0.8 && p99 < duration(\"1s\")", &[0.0], 1.0);
        check("successRate >= 0.8 && p99 < duration(\"1s\")", &[1.0], 0.0);
        check("(p50 < p99)", &[1.0], 0.0);
    }
}
