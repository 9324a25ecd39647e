//! A quantity of a scenario that varies.

use std::time::Duration;

use squall_control::units;

use crate::scenario::{Arrivals, CLIENTS_MAX, FaultKind, Rate, Scenario, Strike};
use crate::tune::{Path, set_field};

/// The longest that a span in a file may be.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// What varies.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    /// Every rate of the load, and every number of clients, times this.
    Load,
    /// How much every fault does: `by` of `slow`, `rate` of `errors` in percent.
    Fault,
    /// How long every fault lasts, in seconds.
    FaultLasts,
    /// A number of a TrafficPolicy: its name, and the field of its `spec`.
    Policy(String, Path),
}

/// A quantity, and from where to where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What varies.
    pub quantity: Quantity,
    /// The first value.
    pub from: f64,
    /// The last, more than the first.
    pub to: f64,
    /// How many values, at least 1.
    pub steps: u32,
    /// Each is so many times the one before, instead of so much more.
    pub log: bool,
    /// Values are durations, in seconds.
    pub is_span: bool,
    /// As it was said.
    pub said: String,
}

impl Axis {
    /// Reads `load=0.5..2`, `fault=2..20`, `fault.for=1s..30s` or `policy/NAME/FIELD=…`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hint = "say load=0.5..2, fault=2..20, fault.for=1s..30s or policy/NAME/retries.attempts=1..5";
        let (name, range) = text.split_once('=').ok_or_else(|| format!("`{text}` has no range: {hint}"))?;
        let quantity = match name {
            "load" => Quantity::Load,
            "fault" => Quantity::Fault,
            "fault.for" => Quantity::FaultLasts,
            _ => match name.strip_prefix("policy/").and_then(|rest| rest.split_once('/')) {
                Some((policy, field)) if !policy.is_empty() => Quantity::Policy(policy.to_owned(), Path::parse(field)?),
                Some(_) | None => return Err(format!("there is no `{name}` to vary: {hint}")),
            },
        };
        let (first, last) =
            range.split_once("..").ok_or_else(|| format!("`{range}` is no range such as 0.5..2: {hint}"))?;
        let ends = [first, last].map(|end| match quantity {
            Quantity::FaultLasts => units::duration(end).map(|span| (span.as_secs_f64(), true)),
            Quantity::Load | Quantity::Fault => number(end).map(|number| (number, false)),
            Quantity::Policy(..) => match units::duration(end) {
                Ok(span) => Ok((span.as_secs_f64(), true)),
                Err(_) => number(end).map(|number| (number, false)),
            },
        });
        let [first, last] = ends;
        let ((from, is_span), (to, other)) = (first?, last?);
        if is_span != other {
            return Err(format!("`{range}` begins as one kind of value and ends as another"));
        }
        if from >= to {
            return Err(format!("`{range}` does not go up"));
        }
        Ok(Self { quantity, from, to, steps: 20, log: false, is_span, said: text.to_owned() })
    }

    /// Its name, with its unit.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.quantity {
            Quantity::Load => "load (times the scenario's)".to_owned(),
            Quantity::Fault => "fault (how much)".to_owned(),
            Quantity::FaultLasts => "fault (s)".to_owned(),
            Quantity::Policy(name, field) if self.is_span => format!("{name} {field} (s)"),
            Quantity::Policy(name, field) => format!("{name} {field}"),
        }
    }

    /// What its values are multiples of; `None`: they may be anything.
    fn grain(&self) -> Option<f64> {
        match &self.quantity {
            Quantity::Load | Quantity::Fault | Quantity::FaultLasts => None,
            Quantity::Policy(..) if self.is_span => None,
            Quantity::Policy(..) if self.from.fract() == 0.0 && self.to.fract() == 0.0 => Some(1.0),
            Quantity::Policy(..) => Some(0.001),
        }
    }

    /// The value that is applied for this one.
    fn rounded(&self, value: f64) -> f64 {
        match self.grain() {
            Some(grain) if grain < 1.0 => (value / grain).round() / (1.0 / grain).round(),
            Some(_) => value.round(),
            None => value,
        }
    }

    /// Whether there are as many values as steps.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.log && self.from <= 0.0 {
            return Err(format!(
                "`{}` begins at 0, of which nothing is a multiple: begin above it, or leave the scale linear",
                self.said
            ));
        }
        let Some(grain) = self.grain() else { return Ok(()) };
        let values = ((self.to - self.from) / grain).round() + 1.0;
        if f64::from(self.steps) <= values {
            return Ok(());
        }
        let kind = if grain < 1.0 { "values (thousandths are the finest)" } else { "whole numbers" };
        let side = "--cells COLUMNSxROWS";
        Err(format!("`{}` has {values} {kind}, and {} are asked for: say so by {side}", self.said, self.steps))
    }

    /// Its values as they are applied, ascending, each once: [`Axis::steps`], or fewer where rounding makes neighbours the same.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        let last = f64::from(self.steps.saturating_sub(1)).max(1.0);
        let value = |step: u32| {
            let part = f64::from(step) / last;
            // The ends exactly.
            match step {
                0 => self.from,
                _ if step + 1 == self.steps => self.to,
                _ if self.log => self.from * (self.to / self.from).powf(part),
                _ => self.from + (self.to - self.from) * part,
            }
        };
        let mut values: Vec<f64> = (0..self.steps).map(|step| self.rounded(value(step))).collect();
        values.dedup();
        values
    }

    /// The place between two; `None`: there is none.
    pub(super) fn middle(&self, low: f64, high: f64) -> Option<f64> {
        let between = if self.log { (low * high).sqrt() } else { f64::midpoint(low, high) };
        let middle = self.rounded(between);
        (low < middle && middle < high).then_some(middle)
    }

    /// It is about the faults, so that it says nothing where there are none.
    pub(super) fn is_of_faults(&self) -> bool {
        matches!(self.quantity, Quantity::Fault | Quantity::FaultLasts)
    }

    /// Gives the scenario this value.
    ///
    /// # Errors
    /// A scenario's file could not have it.
    pub(super) fn apply(&self, value: f64, scenario: &mut Scenario) -> Result<(), String> {
        // Only a policy's span may be 0. A load of nothing asks nothing, and a fault of no length or strength is none: what is without
        // faults is shown by every map anyway.
        let is_policy = matches!(self.quantity, Quantity::Policy(..));
        if !value.is_finite() || value < 0.0 || value == 0.0 && !(is_policy && self.is_span) {
            return Err(format!("{} cannot be {value}: a number above 0", self.name()));
        }
        let span = || {
            let span = Duration::try_from_secs_f64(value).ok().filter(|span| *span <= SPAN_MAX);
            let span = span.filter(|span| is_policy || !span.is_zero());
            span.ok_or_else(|| format!("{} cannot be {value}: seconds, up to 86400 (a day)", self.name()))
        };
        match &self.quantity {
            Quantity::Load => load(value, scenario),
            Quantity::Fault => {
                scenario.faults.iter_mut().try_for_each(|fault| strength(value, &mut fault.kind, &mut fault.name))
            }
            Quantity::FaultLasts => scenario.faults.iter_mut().try_for_each(|fault| {
                fault.lasts = match fault.lasts {
                    Some(_) => Some(span()?),
                    None => return Err(format!("{} has no `for` that could vary", fault.name)),
                };
                Ok(())
            }),
            Quantity::Policy(name, field) => {
                let text = if self.is_span { units::show(span()?) } else { self.rounded(value).to_string() };
                let mesh = set_field(&scenario.mesh, name, field, &text)?;
                *scenario = scenario.over(mesh).map_err(|mistakes| {
                    let said: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                    format!("{name} {field} cannot be {text}: {}", said.join("; "))
                })?;
                Ok(())
            }
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| format!("`{text}` is no number above 0"))
}

fn load(times: f64, scenario: &mut Scenario) -> Result<(), String> {
    for load in &mut scenario.load {
        match &mut load.arrivals {
            Arrivals::Open { phases, .. } => {
                for phase in phases.iter_mut() {
                    for rate in [&mut phase.first, &mut phase.last] {
                        // A float beyond an integer's end becomes that end.
                        *rate = Rate((rate.0 as f64 * times).round() as u64);
                    }
                }
                let most = phases.iter().map(|phase| phase.first.max(phase.last)).max();
                match most {
                    Some(Rate(0)) | None => return Err(out_of_range(&load.name, times, "less than 0.001/s")),
                    Some(most) if most > Rate::MAX => {
                        let said = format!("more than {}/s", Rate::MAX.0 / 1000);
                        return Err(out_of_range(&load.name, times, &said));
                    }
                    Some(_) => {}
                }
            }
            Arrivals::Closed { clients, .. } => {
                *clients = ((f64::from(*clients) * times).round() as u32).max(1);
                if *clients > CLIENTS_MAX {
                    return Err(out_of_range(&load.name, times, &format!("more than {CLIENTS_MAX} clients")));
                }
            }
            Arrivals::Trace(_) => {
                return Err(format!("the load `{}` is a trace, which has no rate to vary", load.name));
            }
        }
    }
    Ok(())
}

fn out_of_range(load: &str, times: f64, said: &str) -> String {
    format!("`{load}` times {times} is {said}, which no scenario may ask for: say less, such as load=0.5..2")
}

fn strength(value: f64, kind: &mut FaultKind, name: &mut String) -> Result<(), String> {
    if let FaultKind::Slow { target, strike: Strike::Times(times) } = kind {
        if value <= 1.0 {
            return Err(format!("{name} by {value} times is no fault: more than 1"));
        }
        let permille = (value * 1000.0).round();
        if permille > f64::from(u32::MAX) {
            return Err(format!("{name} by {value} times is too much: up to {}", u32::MAX / 1000));
        }
        *times = (permille as u32).max(1001);
        *name = format!("slow {target} ×{value:.3}");
        return Ok(());
    }
    if let FaultKind::Errors { target, ppm, .. } = kind {
        if value > 100.0 {
            return Err(format!("{name} in {value} % of the requests is more than all"));
        }
        *ppm = ((value * 10_000.0).round() as u32).max(1);
        *name = format!("errors {target} {value:.3} %");
        return Ok(());
    }
    Err(format!(
        "{name} has no strength that could vary, as `slow` by a factor and `errors` have; fault.for varies how long it lasts"
    ))
}
