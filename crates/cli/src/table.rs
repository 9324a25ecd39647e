//! One line per scenario.

use squall_sim::{Case, rows};

use crate::numbers;
use crate::screen::{Paint, Screen};

/// Columns as wide as the widest scenario and the number of seeds need.
pub(crate) struct Table {
    name_width: usize,
    seeds_width: usize,
}

impl Table {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>, seeds: usize) -> Self {
        let name_width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        Self { name_width, seeds_width: seeds.to_string().len() }
    }

    /// The line of one scenario, all of whose cases these are.
    pub(crate) fn line(&self, screen: &Screen, cases: &[Case]) -> String {
        let Some(row) = rows(cases).pop() else { return String::new() };
        let (word, paint) = match cases.iter().find_map(|c| c.result.as_ref().err().filter(|e| e.is_bad_input())) {
            Some(_) => ("ERROR", Paint::Bad),
            None if row.passed == row.cases && cases.iter().all(same_twice) => ("PASS ", Paint::Good),
            None => ("FAIL ", Paint::Bad),
        };
        let head = format!(
            "{} {:<name$}  {:>seeds$}/{}",
            screen.paint(paint, word),
            row.scenario,
            row.passed,
            row.cases,
            name = self.name_width,
            seeds = self.seeds_width
        );
        if cases.iter().all(|case| case.result.is_err()) {
            let why = cases.iter().find_map(|c| c.result.as_ref().err()).map(ToString::to_string).unwrap_or_default();
            return format!("{head}  {why}");
        }
        let line = format!(
            "{head}  {:>8}  p99 {:>7}  amplification {:>5.2}  {}",
            numbers::percent_of(row.success_rate),
            numbers::span(row.p99),
            row.amplification,
            numbers::recovery(row.recovery),
        );
        line.trim_end().to_string()
    }
}

/// Whether the second run, if there was one, gave the same history.
pub(crate) fn same_twice(case: &Case) -> bool {
    !matches!(case.verification, Some(squall_sim::Verification::Diverged { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use squall_sim::engine::Unsupported;

    #[track_caller]
    fn check(cases: &[Case], want: &str) {
        let names = ["slow-replica", "a-longer-name"];
        assert_eq!(Table::new(names.into_iter(), 20).line(&Screen::plain(), cases), want);
    }

    #[test]
    fn a_line_shows_the_worst_seed() {
        check(
            &[sample::passed(1), sample::passed(2)],
            "PASS  slow-replica    2/2   99.99 %  p99 41.0 ms  amplification  1.00  recovered in 2.10 s",
        );
        check(
            &[sample::passed(1), sample::failed(2)],
            "FAIL  slow-replica    1/2   91.20 %  p99  1.00 s  amplification  2.71  not recovered",
        );
    }

    #[test]
    fn two_histories_of_one_seed_are_a_failure() {
        check(
            &[sample::diverged(1)],
            "FAIL  slow-replica    1/1   99.99 %  p99 41.0 ms  amplification  1.00  recovered in 2.10 s",
        );
    }

    #[test]
    fn what_an_engine_cannot_do_is_said_instead_of_numbers() {
        let mut case = sample::passed(1);
        let why = Unsupported { engine: "turmoil", knob: "loss".into(), why: "it never retransmits".into() };
        case.result = Err(why.into());
        check(&[case], "ERROR slow-replica    0/1  the turmoil engine cannot do loss: it never retransmits");
    }
}
