//! Why a run failed, from first to last, with values.

use squall_sim::{Case, FaultReport, Outcome, Verification};

use crate::fold::{columns, fold};
use crate::numbers;
use crate::plot;
use crate::screen::{Paint, Screen};
pub(crate) use crate::table::same_twice;

/// A story longer than this is cut; `squall replay` has all of it.
const STORY_LINES_MAX: usize = 24;

/// Whether there is anything to explain.
pub(crate) fn failed(case: &Case) -> bool {
    !case.passed() || !same_twice(case)
}

/// What the first failed case of one scenario was about, and which other seeds failed. `question` may be empty. No line is wider than
/// the screen.
pub(crate) fn failure(screen: &Screen, question: &str, cases: &[Case]) -> Vec<String> {
    let mut bad = cases.iter().filter(|case| failed(case));
    let Some(first) = bad.next() else { return Vec::new() };
    let also = also(bad);
    let title = format!("{}, seed {}", first.scenario, first.seed);
    let mut lines = vec![format!("{} {}{also}", screen.paint(Paint::Bad, "FAIL"), screen.paint(Paint::Strong, &title))];
    lines.extend(wrap(question, screen.width - 2).iter().map(|line| format!("  {}", screen.paint(Paint::Faint, line))));
    match &first.result {
        Err(error) => lines.push(format!("  {error}")),
        Ok(outcome) => {
            lines.extend(checks(outcome, false, screen.width));
            lines.extend(plot::success(outcome, screen.unicode));
            // The story has the others.
            lines.extend(faults(outcome, |fault| fault.touched == 0));
            lines.extend(story(outcome, STORY_LINES_MAX));
        }
    }
    if let Some(Verification::Diverged { record, first, second }) = &first.verification {
        let show = |record: &Option<String>| record.clone().unwrap_or_else(|| "(the run ended before)".into());
        lines.push(format!("  two runs of this seed differ from record {record} on; nothing else can be trusted:"));
        lines.push(format!("    first   {}", show(first)));
        lines.push(format!("    second  {}", show(second)));
    }
    lines.iter().flat_map(|line| fold(line, screen.width)).collect()
}

/// Which other seeds failed.
pub(crate) fn also<'c>(others: impl Iterator<Item = &'c Case>) -> String {
    let others: Vec<String> = others.map(|case| case.seed.to_string()).collect();
    match others.as_slice() {
        [] => String::new(),
        [one] => format!("; also seed {one}"),
        few if few.len() <= 12 => format!("; also seeds {}", few.join(", ")),
        many => format!("; also {} other seeds: {}, …", many.len(), many[..8].join(", ")),
    }
}

/// The failed checks (or all of them) in order of time, those without a time last. What was found stands beside them, or below where
/// the width does not suffice for all.
pub(crate) fn checks(outcome: &Outcome, all: bool, line_width: usize) -> Vec<String> {
    let mut checks: Vec<_> = outcome.verdict.checks.iter().filter(|check| all || !check.passed).collect();
    if !all {
        checks.sort_by_key(|check| (check.at.is_none(), check.at));
    }
    let texts: Vec<String> = checks.iter().map(|check| format!("{}: {}", check.when, check.that)).collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).min(64);
    let findings: Vec<String> = checks.iter().map(|check| check.finding()).collect();
    let mark_width = if all { 8 } else { 0 };
    let fits = |(text, finding): (&String, &String)| {
        finding.is_empty() || 2 + mark_width + width.max(columns(text)) + 3 + columns(finding) <= line_width
    };
    let beside = texts.iter().zip(&findings).all(fits);
    let lines = texts.iter().zip(&checks).zip(&findings).flat_map(|((text, check), finding)| {
        let mark = match (all, check.passed) {
            (false, _) => "",
            (true, true) => "ok      ",
            (true, false) => "FAILED  ",
        };
        if beside || finding.is_empty() {
            return vec![format!("  {mark}{text:<width$}   {finding}").trim_end().to_owned()];
        }
        vec![format!("  {mark}{text}"), format!("  {}    {finding}", " ".repeat(mark_width))]
    });
    lines.collect()
}

/// What each of these faults did.
pub(crate) fn faults(outcome: &Outcome, which: impl Fn(&FaultReport) -> bool) -> Vec<String> {
    let faults = outcome.faults.iter().filter(|fault| which(fault));
    faults.map(|fault| format!("  {}: {}", fault.what, effect(fault))).collect()
}

/// Lines of at most `width` characters, broken at spaces.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_string()),
        }
    }
    lines
}

fn effect(fault: &FaultReport) -> String {
    let Some(began) = fault.began else { return "its trigger never came".into() };
    let until = fault.ended.map_or_else(|| "to the end".into(), |ended| format!("to {ended} s"));
    let unit = if fault.touched == 1 { fault.unit.trim_end_matches('s') } else { &*fault.unit };
    format!("{began} s {until}, touched {} {unit}", fault.touched)
}

/// What a person needs to know of the run, at most `most` lines of it.
pub(crate) fn story(outcome: &Outcome, most: usize) -> Vec<String> {
    let times: Vec<String> = outcome.story.iter().map(|line| line.at.to_string()).collect();
    let width = times.iter().map(String::len).max().unwrap_or(0);
    let mut lines: Vec<String> =
        times.iter().zip(&outcome.story).map(|(at, line)| format!("  {at:>width$} s  {}", line.text)).collect();
    if lines.len() > most {
        let left = lines.len() - most;
        lines.truncate(most);
        lines.push(format!("  … {} more (`squall replay` shows all)", numbers::count(left, "line")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn explain(question: &str, cases: &[Case]) -> String {
        failure(&Screen::plain(), question, cases).join("\n")
    }

    #[test]
    fn a_failure_is_told_from_first_to_last_with_values() {
        let cases = [sample::passed(1), sample::failed(7), sample::failed(9)];
        let want = "\
FAIL slow-replica, seed 7; also seed 9
  Does one slow replica take the shop down?
  always: inFlight(\"catalog\") <= 600      was 601 at 16.4 s
  afterFaults 10s: successRate >= 0.999   was 0.412 at 55.0 s
   7.250 s  catalog[0] first retry
  16.400 s  catalog[1] queue full";
        assert_eq!(explain("Does one slow replica take the shop down?", &cases), want);
    }

    #[test]
    fn a_fault_that_touched_nothing_is_named() {
        let mut case = sample::failed(1);
        let Ok(outcome) = &mut case.result else { panic!("the sample has an outcome") };
        outcome.faults[0].touched = 0;
        let text = explain("", &[case]);
        assert!(text.contains("\n  catalog[0] slow ×20: 15.000 s to 45.000 s, touched 0 requests\n"), "{text}");
    }

    #[test]
    fn a_long_question_is_broken_at_spaces() {
        assert_eq!(wrap("one two  three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("", 8), [""; 0]);
    }

    #[test]
    fn what_passed_needs_no_words() {
        assert_eq!(explain("?", &[sample::passed(1)]), "");
    }

    #[test]
    fn a_divergence_shows_both_records() {
        let text = explain("", &[sample::diverged(3)]);
        assert!(text.contains("differ from record 42 on"), "{text}");
        assert!(text.contains("first   1.000 front-0 pick a\n    second  (the run ended before)"), "{text}");
    }

    #[test]
    fn a_long_story_is_cut_and_says_so() {
        let mut case = sample::failed(1);
        let Ok(outcome) = &mut case.result else { panic!("the sample has an outcome") };
        let line = outcome.story[0].clone();
        outcome.story = vec![line; 100];
        let text = explain("", &[case]);
        assert_eq!(text.matches("first retry").count(), STORY_LINES_MAX);
        assert!(text.ends_with("… 76 lines more (`squall replay` shows all)"), "{text}");
    }
}
