//! The end of a campaign, whether it ran here or in parts elsewhere: what failed and why in short, the table, each failure from first
//! to last, the result files, and the worst that happened.

use std::collections::BTreeMap;

use squall_sim::{Case, RunError, Verification, by_scenario};

use crate::exit::Exit;
use crate::explain;
use crate::input::Input;
use crate::numbers;
use crate::results::{MadeBy, Results};
use crate::screen::{Paint, Screen};
use crate::table;
use crate::told::Told;

/// At most so many reasons stand above the table.
const REASONS_MAX: usize = 20;

/// Cases in order of scenarios, then seeds, and what is said of them.
pub(crate) struct Ending<'e> {
    /// What each scenario asks, by its name.
    pub(crate) questions: BTreeMap<&'e str, &'e str>,
    pub(crate) cases: &'e [Case],
    /// As many, in the same order.
    pub(crate) told: &'e [Told],
    pub(crate) by: MadeBy,
}

/// What the scenarios ask, by name.
pub(crate) fn questions(inputs: &[Input]) -> BTreeMap<&str, &str> {
    inputs.iter().map(|input| (input.scenario.name.value.as_str(), input.scenario.question.as_str())).collect()
}

/// The cases of each scenario with the words about them.
pub(crate) fn told_by_scenario<'e>(
    cases: &'e [Case],
    told: &'e [Told],
) -> impl Iterator<Item = (&'e [Case], &'e [Told])> {
    let mut begun = 0;
    by_scenario(cases).map(move |cases| {
        let words = &told[begun..begun + cases.len()];
        begun += cases.len();
        (cases, words)
    })
}

fn any_failed(cases: &[Case]) -> bool {
    cases.iter().any(explain::failed)
}

impl Ending<'_> {
    /// What failed and why, in short; the table; each failure from first to last.
    pub(crate) fn show(&self, screen: &mut Screen) {
        let scenarios = by_scenario(self.cases);
        let bad = scenarios.clone().filter(|cases| any_failed(cases)).count();
        if bad > 0 {
            self.reasons(bad, scenarios.clone().count(), screen);
        }
        let shown = scenarios.filter(|cases| !screen.quiet || any_failed(cases));
        let lines = table::lines(screen, shown);
        if !(screen.quiet && bad == 0) {
            lines.iter().for_each(|line| screen.say(line));
        }
        for cases in by_scenario(self.cases).filter(|cases| !cases.iter().all(is_refused)) {
            let question = self.questions.get(cases[0].scenario.as_str()).copied().unwrap_or_default();
            let lines = explain::failure(screen, question, cases);
            if !lines.is_empty() {
                screen.say("");
            }
            lines.iter().for_each(|line| screen.say(line));
        }
    }

    fn reasons(&self, bad: usize, of: usize, screen: &mut Screen) {
        let title = format!("{bad} of {} failed:", numbers::count(of, "scenario"));
        screen.say(&screen.paint(Paint::Bad, &title));
        let failed = told_by_scenario(self.cases, self.told).filter(|(cases, _)| any_failed(cases));
        for (cases, told) in failed.take(REASONS_MAX) {
            let mut at = cases.iter().zip(told).filter(|(case, _)| explain::failed(case));
            let Some((case, words)) = at.next() else { continue };
            let title = format!("{}, seed {}", case.scenario, case.seed);
            screen.say(&format!(
                "  {}{}",
                screen.paint(Paint::Strong, &title),
                explain::also(at.map(|(case, _)| case))
            ));
            screen.say(&format!("    {}", words.short));
        }
        if bad > REASONS_MAX {
            screen.say(&format!("  … and {} more, which stand below the table", bad - REASONS_MAX));
        }
        screen.say("");
    }

    /// Writes the result files, and what a job of GitHub shows.
    ///
    /// # Errors
    /// What the machine says.
    pub(crate) fn write(&self, results: Results, screen: &mut Screen) -> Result<(), String> {
        let mut written = results.finish(self.cases, self.told, self.by);
        if let Some(job) = &screen.github {
            written = written.and(job.summarise(self.cases, self.told));
            let annotations = job.annotations(self.cases, self.told);
            annotations.iter().for_each(|line| screen.say_whole(line));
        }
        written
    }

    /// How many scenarios passed; then, if one did not, the command that replays it.
    pub(crate) fn total(&self, screen: &mut Screen) {
        let (mut passed, mut failed, mut refused) = (0, 0, 0);
        for cases in by_scenario(self.cases) {
            match (any_failed(cases), cases.iter().all(is_refused)) {
                (_, true) => refused += 1,
                (true, false) => failed += 1,
                (false, false) => passed += 1,
            }
        }
        let text = format!("{passed} passed");
        let mut parts = vec![if failed + refused == 0 { screen.paint(Paint::Good, &text) } else { text }];
        for (count, what) in [(failed, "failed"), (refused, "refused")] {
            if count > 0 {
                parts.push(screen.paint(Paint::Bad, &format!("{count} {what}")));
            }
        }
        screen.say(&format!("\n{}", parts.join(", ")));
        // A scenario that never ran teaches less than one that failed.
        let ran = self.cases.iter().position(|case| explain::failed(case) && !is_refused(case));
        if let Some(number) = ran.or_else(|| self.cases.iter().position(explain::failed)) {
            screen.say_command(&self.told[number].replay);
        }
    }

    /// The worst that happened.
    pub(crate) fn exit(&self) -> Exit {
        verdict(self.cases)
    }
}

/// Whether a case never ran, because of its input. The line of the table says why.
fn is_refused(case: &Case) -> bool {
    case.result.as_ref().is_err_and(RunError::is_bad_input)
}

fn verdict(cases: &[Case]) -> Exit {
    let of_case = |case: &Case| match (&case.result, &case.verification) {
        (_, Some(Verification::Diverged { .. })) => Exit::Nondeterminism,
        (Err(error), _) => Exit::of(error),
        (Ok(outcome), _) if outcome.passed() => Exit::Pass,
        (Ok(_), _) => Exit::Failed,
    };
    cases.iter().map(of_case).max().unwrap_or(Exit::Pass)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn nondeterminism_hides_every_other_verdict() {
        let cases = [sample::failed(1), sample::diverged(2), sample::passed(3)];
        assert_eq!(verdict(&cases), Exit::Nondeterminism);
        assert_eq!(verdict(&cases[..1]), Exit::Failed);
        assert_eq!(verdict(&cases[2..]), Exit::Pass);
        assert_eq!(verdict(&[]), Exit::Pass);
    }
}
