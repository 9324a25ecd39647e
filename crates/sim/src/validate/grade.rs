//! From what replications found to a verdict on each known answer.
//!
//! An answer passes when its mean is off by at most 1.5 × its tolerance plus the error that its source states. The number of
//! replications is fixed in advance such that the 99 % half-width of the mean is within the tolerance: one that is wider
//! cannot tell, and fails as `imprecise`, whatever its mean. What is exact holds in every single replication.

use super::answers::Found;
use super::stats::Estimate;
use crate::check::CheckResult;
use crate::scenario::{Answer, Expected, Layer, Question, Sampling, Scenario, Tolerance};

/// How a known answer fared in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As known.
    Pass,
    /// Not asked in this layer, with a reason.
    Exempt,
    /// Too few replications for the tolerance.
    Imprecise,
    /// Off.
    Fail,
}

impl Verdict {
    /// As reports write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Exempt => "exempt",
            Self::Imprecise => "imprecise",
            Self::Fail => "fail",
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(self) -> bool {
        match self {
            Self::Pass | Self::Exempt => true,
            Self::Imprecise | Self::Fail => false,
        }
    }
}

/// One row of the report: a known answer in a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseReport {
    /// What was asked.
    pub case: String,
    /// In which layer.
    pub layer: Layer,
    /// Where the answer is from.
    pub source: String,
    /// The answer, as a number: seconds of a duration. Empty of what is no number.
    pub expected: String,
    /// The mean over the replications; `None`: there is none.
    pub measured: Option<f64>,
    /// Its 99 % half-width; `None`: there is none, or it is one replication.
    pub half_width_99: Option<f64>,
    /// How many standard errors it is off; `None`: there is none.
    pub sigmas_off: Option<f64>,
    /// Replications.
    pub replications: u32,
    /// How it fared.
    pub verdict: Verdict,
    /// Why it is exempt, or what is wrong; for people.
    pub reason: String,
    /// Its place in an order, checked by [`ranks`].
    pub rank: Option<(String, u32)>,
}

/// The rows of a scenario in a layer, one per answer. `runs`: what each replication found; `Err`: why one came to no end.
#[must_use]
pub fn report(scenario: &Scenario, layer: Layer, runs: &[Result<Vec<Found>, String>]) -> Vec<CaseReport> {
    let row = |(index, answer): (usize, &Answer)| {
        let blank = CaseReport {
            case: answer.case.value.clone(),
            layer,
            source: answer.source.clone(),
            expected: expected(answer),
            measured: None,
            half_width_99: None,
            sigmas_off: None,
            replications: 0,
            verdict: Verdict::Exempt,
            reason: String::new(),
            rank: None,
        };
        if let Sampling::Exempt(why) = scenario.layers.of(layer) {
            return CaseReport { reason: why.clone(), ..blank };
        }
        if let Some((_, why)) = answer.only.as_ref().filter(|(only, _)| *only != layer) {
            return CaseReport { reason: why.clone(), ..blank };
        }
        let replications = u32::try_from(runs.len()).unwrap_or(u32::MAX);
        let blank = CaseReport { replications, verdict: Verdict::Fail, ..blank };
        if let Some(why) = runs.iter().find_map(|run| run.as_ref().err()) {
            return CaseReport { reason: why.clone(), ..blank };
        }
        let found: Vec<&Found> = runs.iter().flatten().filter_map(|run| run.get(index)).collect();
        graded(answer, layer, &found, blank)
    };
    scenario.answers.iter().enumerate().map(row).collect()
}

fn graded(answer: &Answer, layer: Layer, found: &[&Found], blank: CaseReport) -> CaseReport {
    let mut values = Vec::new();
    let mut controls = Vec::new();
    let mut told = String::new();
    for (seed, found) in (1..).zip(found) {
        match found {
            Found::Value(value) => values.push(*value),
            Found::Controlled { value, control } => {
                values.push(*value);
                controls.push(*control);
            }
            Found::Held { told: what, .. } => told.clone_from(what),
            Found::Astray(why) => return CaseReport { reason: format!("seed {seed}: {why}"), ..blank },
            Found::NotAsked => return CaseReport { reason: format!("seed {seed} did not ask it"), ..blank },
        }
    }
    let Question::Measure { expected, tolerance, stated_error, control, .. } = &answer.question else {
        return CaseReport { verdict: Verdict::Pass, reason: told, ..blank };
    };
    if values.is_empty() {
        return CaseReport { reason: "it never ran".to_owned(), ..blank };
    }
    let plain = Estimate::of(&values);
    let estimate = match control {
        Some(control) if controls.len() == values.len() => Estimate::controlled(&values, &controls, control.expected),
        Some(_) | None => plain,
    };
    let target = match expected {
        Expected::Value(value) | Expected::AtMost(value) | Expected::AtLeast(value) => Some(*value),
        Expected::Rank { .. } => None,
    };
    let row = CaseReport {
        measured: Some(estimate.mean),
        half_width_99: Some(estimate.half_width_99).filter(|width| width.is_finite()),
        sigmas_off: target.and_then(|target| sigmas(estimate, target)),
        ..blank
    };
    let Some(target) = target else {
        let rank = match expected {
            Expected::Rank { order, place } => Some((order.clone(), *place)),
            Expected::Value(_) | Expected::AtMost(_) | Expected::AtLeast(_) => None,
        };
        return CaseReport { verdict: Verdict::Pass, rank, ..row };
    };
    let (verdict, reason) = judge(expected, target, *tolerance.of(layer), *stated_error, &values, estimate);
    let reason = match control {
        Some(control) if verdict == Verdict::Pass => {
            let (mean, width) = (plain.mean, plain.half_width_99);
            format!("controlled by {}; without: {mean:.6} ± {width:.6}", control.that.value)
        }
        Some(_) | None => reason,
    };
    CaseReport { verdict, reason, ..row }
}

/// The verdict on values whose mean should be `target`.
fn judge(
    expected: &Expected,
    target: f64,
    tolerance: Tolerance,
    stated_error: f64,
    values: &[f64],
    estimate: Estimate,
) -> (Verdict, String) {
    // Sums of decimal fractions differ in their last bits.
    let rounding = 1e-9 * target.abs().max(1e-9);
    let off = |value: f64| match expected {
        Expected::Value(_) => (value - target).abs(),
        Expected::AtMost(_) => value - target,
        Expected::AtLeast(_) => target - value,
        Expected::Rank { .. } => 0.0,
    };
    if tolerance == Tolerance::Exact {
        let astray = (1..).zip(values).find(|(_, value)| off(**value) > stated_error + rounding);
        return match astray {
            None => (Verdict::Pass, String::new()),
            Some((seed, value)) => (Verdict::Fail, format!("seed {seed}: {value}, and it is exact")),
        };
    }
    let tolerance = tolerance.around(target);
    let allowed = 1.5 * tolerance + stated_error + rounding;
    if off(estimate.mean) > allowed {
        return (Verdict::Fail, format!("off by {:.6}, {allowed:.6} is allowed", off(estimate.mean)));
    }
    // Beyond a limit by so much that no error of measurement matters.
    let clear = match expected {
        Expected::Value(_) | Expected::Rank { .. } => false,
        Expected::AtMost(_) | Expected::AtLeast(_) => off(estimate.mean) + estimate.half_width_99 <= 0.0,
    };
    if estimate.half_width_99 > tolerance + rounding && !clear {
        let wide = estimate.half_width_99 / tolerance;
        let needed = (values.len() as f64 * wide * wide).ceil();
        let why = match needed.is_finite() {
            true => format!(
                "99 % half-width {:.6} over the tolerance {tolerance:.6}: about {needed} replications are needed",
                estimate.half_width_99
            ),
            false => "one replication has no half-width: two or more are needed".to_owned(),
        };
        return (Verdict::Imprecise, why);
    }
    (Verdict::Pass, String::new())
}

fn sigmas(estimate: Estimate, target: f64) -> Option<f64> {
    let off = estimate.mean - target;
    if !estimate.error.is_finite() {
        return None;
    }
    if estimate.error == 0.0 { (off.abs() <= 1e-9 * target.abs()).then_some(0.0) } else { Some(off / estimate.error) }
}

/// Checks that the means of each order ascend with their places; a row that is out of order fails. Rows of a layer in which
/// an order is not whole, because some are exempt, are compared as far as they go.
pub fn ranks(rows: &mut [CaseReport]) {
    let mut ordered: Vec<(String, Layer, u32, f64, usize)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if let (Some((order, place)), Some(measured)) = (&row.rank, row.measured) {
            ordered.push((order.clone(), row.layer, *place, measured, index));
        }
    }
    ordered.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    for pair in ordered.windows(2) {
        let [before, after] = pair else { unreachable!("windows of two") };
        if (&before.0, before.1) != (&after.0, after.1) {
            continue;
        }
        let wrong = if before.2 == after.2 {
            format!("place {} of {} is taken twice", after.2, after.0)
        } else if before.3 >= after.3 {
            format!("not more than {}, which is at place {} of {}", before.3, before.2, after.0)
        } else {
            continue;
        };
        rows[after.4].verdict = Verdict::Fail;
        rows[after.4].reason = wrong;
    }
}

/// What is exact, as checks of a single run.
pub(crate) fn exact_checks(scenario: &Scenario, layer: Layer, found: &[Found]) -> Vec<CheckResult> {
    let check = |(answer, found): (&Answer, &Found)| {
        let (passed, was) = match (&answer.question, found) {
            (_, Found::NotAsked) => return None,
            (_, Found::Astray(why)) => (false, why.clone()),
            (_, Found::Held { told, .. }) => (true, told.clone()),
            (Question::Measure { expected, tolerance, stated_error, .. }, Found::Value(value)) => {
                if *tolerance.of(layer) != Tolerance::Exact {
                    return None;
                }
                let target = match expected {
                    Expected::Value(target) | Expected::AtMost(target) | Expected::AtLeast(target) => *target,
                    Expected::Rank { .. } => return None,
                };
                let values = [*value];
                let judged = judge(expected, target, Tolerance::Exact, *stated_error, &values, Estimate::of(&values));
                (judged.0 == Verdict::Pass, value.to_string())
            }
            // What has a control is a mean over many runs.
            (_, Found::Controlled { .. }) => return None,
            (Question::Pathwise { .. } | Question::LittlesLaw, Found::Value(_)) => return None,
        };
        Some(CheckResult {
            when: "answer".to_owned(),
            that: answer.case.value.clone(),
            passed,
            was: vec![("answer".to_owned(), was)],
            at: None,
        })
    };
    scenario.answers.iter().zip(found).filter_map(check).collect()
}

/// The answer for people and tables.
fn expected(answer: &Answer) -> String {
    match &answer.question {
        Question::Measure { expected: Expected::Value(value), .. } => value.to_string(),
        Question::Measure { expected: Expected::AtMost(value), .. } => format!("at most {value}"),
        Question::Measure { expected: Expected::AtLeast(value), .. } => format!("at least {value}"),
        Question::Measure { expected: Expected::Rank { order, place }, .. } => format!("place {place} of {order}"),
        Question::Pathwise { .. } => "the recursion, request by request".to_owned(),
        Question::LittlesLaw => "L = λ·W".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expected: Expected, tolerance: Tolerance, stated_error: f64, values: &[f64], want: Verdict) {
        let target = match expected {
            Expected::Value(value) | Expected::AtMost(value) | Expected::AtLeast(value) => value,
            Expected::Rank { .. } => 0.0,
        };
        let (verdict, why) = judge(&expected, target, tolerance, stated_error, values, Estimate::of(values));
        assert_eq!(verdict, want, "{why}");
    }

    const PERCENT: Tolerance = Tolerance::Relative(10_000);

    #[test]
    fn a_mean_within_one_and_a_half_tolerances_passes() {
        let around = |mean: f64| [mean - 0.001, mean, mean + 0.001];
        check(Expected::Value(1.0), PERCENT, 0.0, &around(1.014), Verdict::Pass);
        check(Expected::Value(1.0), PERCENT, 0.0, &around(1.016), Verdict::Fail);
        check(Expected::Value(1.0), PERCENT, 0.0, &around(0.984), Verdict::Fail);
        check(Expected::Value(1.0), PERCENT, 0.002, &around(1.016), Verdict::Pass);
        check(Expected::Value(-2.0), PERCENT, 0.0, &around(-2.02), Verdict::Pass);
    }

    #[test]
    fn too_few_replications_are_no_pass() {
        check(Expected::Value(1.0), PERCENT, 0.0, &[1.0], Verdict::Imprecise);
        check(Expected::Value(1.0), PERCENT, 0.0, &[0.98, 1.0, 1.02], Verdict::Imprecise);
        check(Expected::Value(1.0), PERCENT, 0.0, &[1.98, 2.0, 2.02], Verdict::Fail);
    }

    #[test]
    fn what_is_exact_holds_in_every_replication() {
        check(Expected::Value(27.0), Tolerance::Exact, 0.0, &[27.0], Verdict::Pass);
        check(Expected::Value(27.0), Tolerance::Exact, 0.0, &[27.0, 26.0, 28.0], Verdict::Fail);
        check(Expected::Value(0.3), Tolerance::Exact, 0.0, &[0.1 + 0.2], Verdict::Pass);
    }

    #[test]
    fn limits_hold_on_one_side() {
        let absolute = Tolerance::Absolute(0.01);
        check(Expected::AtMost(1.2), absolute, 0.0, &[0.5, 0.9, 1.1], Verdict::Imprecise);
        check(Expected::AtMost(1.2), absolute, 0.0, &[0.5, 0.501, 0.5], Verdict::Pass);
        check(Expected::AtMost(1.2), absolute, 0.0, &[1.3, 1.3, 1.3], Verdict::Fail);
        check(Expected::AtLeast(1.2), absolute, 0.0, &[1.3, 1.3, 1.3], Verdict::Pass);
        check(Expected::AtLeast(1.2), Tolerance::Exact, 0.0, &[1.2, 1.1], Verdict::Fail);
    }

    fn row(place: u32, measured: f64, layer: Layer) -> CaseReport {
        CaseReport {
            case: format!("place {place}"),
            layer,
            source: String::new(),
            expected: String::new(),
            measured: Some(measured),
            half_width_99: None,
            sigmas_off: None,
            replications: 1,
            verdict: Verdict::Pass,
            reason: String::new(),
            rank: Some(("time".to_owned(), place)),
        }
    }

    #[test]
    fn an_order_ascends_with_its_places_in_each_layer() {
        let mut rows = vec![row(3, 9.0, Layer::Fast), row(1, 1.0, Layer::Fast), row(2, 5.0, Layer::Fast)];
        rows.push(row(1, 7.0, Layer::Full));
        ranks(&mut rows);
        assert!(rows.iter().all(|row| row.verdict == Verdict::Pass));
        rows.push(row(2, 6.0, Layer::Full));
        ranks(&mut rows);
        assert_eq!(rows[4].verdict, Verdict::Fail);
        assert!(rows[4].reason.contains("not more than 7"), "{}", rows[4].reason);
    }
}
