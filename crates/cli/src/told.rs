//! What result files say of a case: where it stands, what failed first, and the command that shows it again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use squall_sim::{Case, CheckResult, Scenario};

use crate::explain;
use crate::input::Input;
use crate::results;
use crate::screen::Screen;

/// A first line longer than this is cut: lists of failures show one line each.
const SHORT_MAX: usize = 160;

/// One case in words. Without failure `short` and `text` are empty.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Told {
    pub(crate) scenario: String,
    /// The file and line of the expectation that failed first, or of the scenario's name.
    pub(crate) file: String,
    pub(crate) line: usize,
    /// What failed first, in one line.
    pub(crate) short: String,
    /// Everything that failed and the story, as the terminal has it.
    pub(crate) text: String,
    pub(crate) replay: String,
}

/// Each case, in order. `inputs` are the scenarios.
pub(crate) fn all(inputs: &[Input], cases: &[Case], replay: &dyn Fn(&str, &Case) -> String) -> Vec<Told> {
    let inputs: BTreeMap<&str, &Input> =
        inputs.iter().map(|input| (input.scenario.name.value.as_str(), input)).collect();
    let told = |case: &Case| {
        let input = inputs[case.scenario.as_str()];
        one(input, case, replay(&input.file, case))
    };
    cases.iter().map(told).collect()
}

fn one(input: &Input, case: &Case, replay: String) -> Told {
    let scenario = &input.scenario;
    let (mut short, mut text) = (String::new(), String::new());
    let mut place = &scenario.name.place;
    if explain::failed(case) {
        text = explain::failure(&Screen::plain(), &scenario.question, std::slice::from_ref(case)).join("\n");
        short = results::findings(case);
        if let Some((nth, check)) = first(case) {
            short = format!("{}: {} {}", check.when, check.that, check.finding());
            place = place_of(scenario, case, nth, check).unwrap_or(place);
        }
    }
    // Forges make links of paths from the top of the repository.
    let file = place.file.strip_prefix("./").unwrap_or(&place.file).to_owned();
    let line = place.line;
    Told { scenario: scenario.name.value.clone(), file, line, short: cut(&short), text, replay }
}

/// The check that failed first, and which of all checks it is.
fn first(case: &Case) -> Option<(usize, &CheckResult)> {
    let outcome = case.result.as_ref().ok().filter(|_| explain::same_twice(case))?;
    let failed = outcome.verdict.checks.iter().enumerate().filter(|(_, check)| !check.passed);
    failed.min_by_key(|(_, check)| (check.at.is_none(), check.at))
}

/// Where the expectation of a check stands. Two may say the same of different windows: they are checked in order.
fn place_of<'s>(
    scenario: &'s Scenario,
    case: &Case,
    nth: usize,
    check: &CheckResult,
) -> Option<&'s squall_control::Place> {
    let checks = &case.result.as_ref().ok()?.verdict.checks;
    let before = checks[..nth].iter().filter(|other| other.that == check.that).count();
    let same = scenario.expect.iter().filter(|expectation| expectation.that.value == check.that);
    same.map(|expectation| &expectation.that.place).nth(before)
}

/// The first line, of at most [`SHORT_MAX`] characters.
pub(crate) fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(SHORT_MAX) {
        Some((at, _)) => format!("{}…", line[..at].trim_end()),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_short_line_is_one_line_and_short() {
        assert_eq!(cut("a\nb"), "a");
        assert_eq!(cut(&"ö".repeat(161)).chars().count(), SHORT_MAX + 1);
        assert_eq!(cut(&"ö".repeat(160)).chars().count(), SHORT_MAX);
    }

    #[test]
    fn what_failed_first_in_time_comes_first() {
        let case = sample::failed(1);
        let (nth, check) = first(&case).expect("it failed");
        assert_eq!((nth, check.when.as_str()), (2, "always"));
        assert!(first(&sample::diverged(1)).is_none(), "nothing of a diverged run can be trusted");
    }
}
