//! What may vary: a field of one or several resources, and its values.

use std::time::Duration;

use squall_control::Place;
use squall_control::units::{self, scaled, show};

use super::edit::Path;
use super::start::alike_texts;
use crate::search::Dimension;

/// How many steps a range of numbers is divided into at most.
const STEPS: u32 = 128;

/// A resource of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// `TrafficPolicy`, `HTTPRoute` or `GRPCRoute`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A field that varies.
#[derive(Clone, Debug, PartialEq)]
pub struct Knob {
    /// For people: `shop retries.attempts`; of several resources `3 routes rules[0].timeouts.request`.
    pub name: String,
    /// In which resources; all of them get the same value. At least one.
    pub resources: Vec<Resource>,
    /// Which field of their `spec`.
    pub path: Path,
    /// The values, at least two, each as YAML has it; numbers ascending.
    pub levels: Vec<String>,
    /// Whether they are numbers.
    pub ordered: bool,
    /// The level that stands for a policy without this field; `None`: nothing is known of it.
    pub absent: Option<u16>,
    /// Where it is declared.
    pub place: Place,
}

impl Knob {
    /// For the search.
    #[must_use]
    pub fn dimension(&self) -> Dimension {
        let levels = u16::try_from(self.levels.len()).expect("a range has a few hundred levels at most");
        Dimension { levels, ordered: self.ordered }
    }

    /// The level nearest to a value as it is written; the middle one for what cannot be compared.
    #[must_use]
    pub fn nearest(&self, text: Option<&str>) -> u16 {
        let middle = (self.levels.len() / 2) as u16;
        match text {
            Some(text) => self.at(text).unwrap_or(middle),
            None => self.absent.unwrap_or(middle),
        }
    }

    /// The level of a value as it is written: of a range the nearest, of choices the one that says the same.
    pub(super) fn at(&self, text: &str) -> Option<u16> {
        if let Some(same) = self.levels.iter().position(|level| level == text || alike_texts(level, text)) {
            return Some(same as u16);
        }
        let number = |text: &str| Number::parse(text).ok();
        let wanted = number(text).filter(|_| self.ordered)?;
        let off = |level: &String| number(level).map_or(u64::MAX, |level| level.base.abs_diff(wanted.base));
        (0..self.levels.len()).min_by_key(|at| off(&self.levels[*at])).map(|at| at as u16)
    }

    /// Whether a value lies within the range, or is one of the choices.
    pub(super) fn has(&self, text: &str) -> bool {
        let number = |text: &String| Number::parse(text).ok();
        match (Number::parse(text), self.levels.first().and_then(number), self.levels.last().and_then(number)) {
            (Ok(value), Some(first), Some(last)) if self.ordered => {
                value.unit == first.unit && (first.base..=last.base).contains(&value.base)
            }
            (_, _, _) => self.levels.iter().any(|level| alike_texts(level, text)),
        }
    }
}

/// A number with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    unit: Unit,
    /// In whole units, thousandths, thousandths, or nanoseconds.
    base: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Whole,
    Decimal,
    Percent,
    Span,
}

impl Number {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a number, a percentage or a duration, such as 3, 1.5, 20% or 250ms");
        if let Some(percent) = text.ends_with('%').then(|| units::percent(text)) {
            return Ok(Self { unit: Unit::Percent, base: percent?.into() });
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(wrong());
        }
        if let Ok(whole) = text.parse() {
            return Ok(Self { unit: Unit::Whole, base: whole });
        }
        if let Some(base) = scaled(text, 1000) {
            return Ok(Self { unit: Unit::Decimal, base });
        }
        let span = units::duration(text).map_err(|_| wrong())?;
        Ok(Self { unit: Unit::Span, base: u64::try_from(span.as_nanos()).map_err(|_| wrong())? })
    }

    fn show(self) -> String {
        match self.unit {
            Unit::Whole => self.base.to_string(),
            // With a point, so that it reads back as what it is.
            Unit::Decimal if self.base.is_multiple_of(1000) => format!("{}.0", self.base / 1000),
            Unit::Decimal => decimal(self.base, 1000),
            Unit::Percent => format!("{}%", decimal(self.base, 10)),
            Unit::Span => show(Duration::from_nanos(self.base)),
        }
    }

    fn what(self) -> &'static str {
        match self.unit {
            Unit::Whole => "a whole number",
            Unit::Decimal => "a decimal number",
            Unit::Percent => "a percentage",
            Unit::Span => "a duration",
        }
    }

    /// As a person would round it: whole percent, else two digits, unless the whole range has few of those; not beyond the ends.
    fn rounded(value: f64, from: Self, to: Self) -> Self {
        let unit = unit_step(from, to);
        let mut step = match from.unit {
            Unit::Percent => unit,
            Unit::Whole | Unit::Decimal | Unit::Span => 10_f64.powf(value.max(1.0).log10().floor() - 1.0).max(unit),
        };
        while step > unit && (to.base - from.base) as f64 / step < 16.0 {
            step = (step / 10.0).max(unit);
        }
        let base = (value / step).round() * step;
        Self { unit: from.unit, base: (base as u64).clamp(from.base, to.base) }
    }
}

fn unit_step(from: Number, to: Number) -> f64 {
    match from.unit {
        Unit::Percent if from.base.is_multiple_of(10) && to.base.is_multiple_of(10) => 10.0,
        Unit::Span if from.base.is_multiple_of(1_000_000) && to.base - from.base >= 1_000_000 => 1_000_000.0,
        Unit::Whole | Unit::Decimal | Unit::Percent | Unit::Span => 1.0,
    }
}

fn decimal(base: u64, scale: u64) -> String {
    let digits = scale.ilog10() as usize;
    let text = format!("{}.{:0digits$}", base / scale, base % scale);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The values from `from` to `to`, both included.
///
/// # Errors
/// Why there are none, for a person.
pub(super) fn range(from: &str, to: &str, log: bool) -> Result<Vec<String>, String> {
    let (mut first, mut last) = (Number::parse(from)?, Number::parse(to)?);
    // `1` and `2.5` are both decimal.
    let units = (last.unit, first.unit);
    for (one, other) in [(&mut first, units.0), (&mut last, units.1)] {
        if one.unit == Unit::Whole && other == Unit::Decimal {
            *one = Number { unit: Unit::Decimal, base: one.base.saturating_mul(1000) };
        }
    }
    if first.unit != last.unit {
        return Err(format!("`from` is {}, `to` is {}", first.what(), last.what()));
    }
    if first.base >= last.base {
        return Err(format!("from {from} to {to} there is nothing to choose"));
    }
    if log && first.base == 0 {
        return Err("a logarithmic scale cannot begin at 0: begin at a small value, or use `scale: linear`".to_owned());
    }
    let (low, high) = (first.base as f64, last.base as f64);
    let steps = if log { u64::from(STEPS) } else { (last.base - first.base).min(STEPS.into()) };
    let mut levels: Vec<String> = Vec::new();
    for step in 0..=steps {
        let share = step as f64 / steps as f64;
        let value = if log { low * (high / low).powf(share) } else { low + (high - low) * share };
        let number = match step {
            0 => first,
            step if step == steps => last,
            _ => Number::rounded(value, first, last),
        };
        let text = number.show();
        if levels.last() != Some(&text) {
            levels.push(text);
        }
    }
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(from: &str, to: &str, log: bool, begins: &[&str], at_least: usize) {
        let levels = range(from, to, log).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(levels[..begins.len()], *begins, "{levels:?}");
        assert!(levels.len() >= at_least && levels.len() <= 129, "{} levels", levels.len());
        assert_eq!(levels.last().map(String::as_str), Some(to));
        let long = |level: &&String| level.chars().filter(char::is_ascii_digit).count() > 4;
        assert_eq!(levels.iter().find(long), None, "nobody would write that");
        let numbers: Vec<u64> = levels.iter().map(|level| Number::parse(level).expect("it is a number").base).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{levels:?}");
    }

    #[test]
    fn a_range_has_both_ends_and_round_numbers_between() {
        check("1", "5", false, &["1", "2", "3", "4", "5"], 5);
        check("0%", "50%", false, &["0%", "1%", "2%"], 51);
        check("10ms", "1s", true, &["10ms", "11ms", "12ms"], 60);
        check("8", "512", true, &["8", "9", "10"], 60);
        check("1", "2.5", false, &["1.0"], 60);
        check("100", "110", false, &["100", "101"], 11);
    }

    #[test]
    fn an_impossible_range_says_why() {
        for (from, to, log, want) in [
            ("1", "1s", false, "`from` is a whole number, `to` is a duration"),
            ("5", "5", false, "nothing to choose"),
            ("5", "1", false, "nothing to choose"),
            ("0", "5", true, "cannot begin at 0"),
            ("x", "5", false, "`x` is not a number"),
            ("-1", "5", false, "`-1` is not a number"),
        ] {
            let why = range(from, to, log).expect_err("it is impossible");
            assert!(why.contains(want), "{why}");
        }
    }

    #[test]
    fn the_nearest_level_stands_for_what_is_in_use() {
        let path = Path::parse("a").expect("it is a path");
        let levels = range("10ms", "100ms", false).expect("it is a range");
        let place = Place::whole("t.yaml");
        let mut knob =
            Knob { name: "a".into(), resources: Vec::new(), path, levels, ordered: true, absent: None, place };
        let at = |knob: &Knob, text| knob.levels[usize::from(knob.nearest(text))].clone();
        assert_eq!(at(&knob, Some("0.05s")), "50ms");
        assert_eq!(at(&knob, Some("9s")), "100ms");
        knob.levels = vec!["a".into(), "b".into(), "c".into()];
        knob.ordered = false;
        assert_eq!((at(&knob, Some("c")), at(&knob, None)), ("c".into(), "b".into()));
    }
}
