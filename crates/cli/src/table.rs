//! One line per scenario.

use squall_sim::{Case, rows};

use crate::grid::{Grid, Row};
use crate::numbers;
use crate::screen::{Paint, Screen};

/// What stands above the table; `squall test --help` says what each is.
const HEADS: [&str; 6] = ["scenario", "seeds", "success", "p99", "ampl.", "recovery"];

/// The table of these scenarios, each with all its cases.
pub(crate) fn lines<'c>(screen: &Screen, scenarios: impl Iterator<Item = &'c [Case]>) -> Vec<String> {
    let mut grid = Grid::new(HEADS);
    for cases in scenarios {
        let Some(row) = rows(cases).pop() else { continue };
        let (word, paint) = match cases.iter().find_map(|c| c.result.as_ref().err().filter(|e| e.is_bad_input())) {
            Some(_) => ("ERROR", Paint::Bad),
            None if row.passed == row.cases && cases.iter().all(same_twice) => ("PASS ", Paint::Good),
            None => ("FAIL ", Paint::Bad),
        };
        let mut cells = vec![format!("{}/{}", row.passed, row.cases)];
        let mut note = String::new();
        if cases.iter().all(|case| case.result.is_err()) {
            note = cases.iter().find_map(|c| c.result.as_ref().err()).map(ToString::to_string).unwrap_or_default();
        } else {
            cells.extend([
                numbers::percent_of(row.success_rate),
                numbers::span(row.p99),
                format!("{:.2}", row.amplification),
                numbers::recovered(row.recovery),
            ]);
        }
        grid.row(Row { mark: format!("{} ", screen.paint(paint, word)), name: row.scenario, cells, note });
    }
    grid.lines(screen.width)
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
    fn check(cases: &[Case], want: &[&str]) {
        assert_eq!(lines(&Screen::plain(), std::iter::once(cases)), want);
    }

    #[test]
    fn a_line_shows_the_worst_seed() {
        check(
            &[sample::passed(1), sample::passed(2)],
            &[
                "      scenario      seeds  success      p99  ampl.  recovery",
                "PASS  slow-replica    2/2  99.99 %  41.0 ms   1.00    2.10 s",
            ],
        );
        check(
            &[sample::passed(1), sample::failed(2)],
            &[
                "      scenario      seeds  success     p99  ampl.  recovery",
                "FAIL  slow-replica    1/2  91.20 %  1.00 s   2.71     never",
            ],
        );
    }

    #[test]
    fn two_histories_of_one_seed_are_a_failure() {
        let found = lines(&Screen::plain(), std::iter::once(&[sample::diverged(1)][..]));
        assert!(found[1].starts_with("FAIL  slow-replica    1/1  99.99 %"), "{found:?}");
    }

    #[test]
    fn what_an_engine_cannot_do_is_said_instead_of_numbers() {
        let mut case = sample::passed(1);
        let why = Unsupported { engine: "turmoil", knob: "loss".into(), why: "it never retransmits".into() };
        case.result = Err(why.into());
        check(
            &[case],
            &[
                "      scenario      seeds  success  p99  ampl.  recovery",
                "ERROR slow-replica    0/1",
                "      the turmoil engine cannot do loss: it never retransmits",
            ],
        );
    }
}
