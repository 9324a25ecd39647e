//! What GitHub Actions shows: annotations (workflow commands on stdout) and the job's summary (Markdown).

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use squall_control::Mistake;
use squall_sim::{Case, by_scenario, rows};

use crate::ending::told_by_scenario;
use crate::explain;
use crate::numbers;
use crate::told::Told;

/// GitHub refuses a step's summary beyond 1 MiB.
const SUMMARY_BYTES_MAX: usize = 1_000_000;

/// The environment of a job, as far as it matters here. The only place where it is read.
pub(crate) struct Job {
    /// Where the repository is checked out, and where this process runs: paths in annotations start at the former.
    workspace: Option<std::path::PathBuf>,
    here: Option<std::path::PathBuf>,
    summary: Option<std::path::PathBuf>,
}

impl Job {
    pub(crate) fn of_environment() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(std::path::PathBuf::from);
        Self {
            workspace: path("GITHUB_WORKSPACE"),
            here: std::env::current_dir().ok(),
            summary: path("GITHUB_STEP_SUMMARY"),
        }
    }

    /// A path as the repository has it.
    fn file(&self, file: &str) -> String {
        let below = || {
            let whole = self.here.as_ref()?.join(file.strip_prefix("./").unwrap_or(file));
            Some(whole.strip_prefix(self.workspace.as_ref()?).ok()?.to_string_lossy().into_owned())
        };
        below().unwrap_or_else(|| file.to_owned())
    }

    /// `::error file=…,line=…,title=…::…`. Only the title and the first line are seen before a click.
    fn error(&self, file: &str, line: usize, title: &str, text: &str) -> String {
        let (file, title) = (property(&self.file(file)), property(title));
        format!("::error file={file},line={line},title={title}::{}", data(text))
    }

    pub(crate) fn of_mistake(&self, mistake: &Mistake) -> String {
        let mut text = mistake.message.clone();
        for more in [Some(&mistake.note), mistake.help.as_ref()].into_iter().flatten().filter(|more| !more.is_empty()) {
            text.push_str(&format!("\n{more}"));
        }
        let (place, title) = (&mistake.place, "A mistake in a file of the mesh or a scenario");
        let (file, title) = (property(&self.file(&place.file)), property(title));
        let columns = format!("col={},endColumn={}", place.column, place.column + place.length.max(1));
        format!("::error file={file},line={},{columns},title={title}::{}", place.line, data(&text))
    }

    /// One annotation per scenario that failed: GitHub shows ten of a step.
    pub(crate) fn annotations(&self, cases: &[Case], told: &[Told]) -> Vec<String> {
        let failed = failed_scenarios(cases, told);
        let annotation = |(cases, told): (&[Case], &Told)| {
            let bad = cases.iter().filter(|case| explain::failed(case)).count();
            let title = format!("{} failed on {bad} of {}", told.scenario, numbers::count(cases.len(), "seed"));
            self.error(&told.file, told.line, &title, &format!("{}\n\n{}\n{}", told.short, told.text, told.replay))
        };
        failed.map(annotation).collect()
    }

    /// Appends to the job's summary, if there is a job.
    ///
    /// # Errors
    /// Why the file cannot be written, with its name.
    pub(crate) fn summarise(&self, cases: &[Case], told: &[Told]) -> Result<(), String> {
        let Some(path) = &self.summary else { return Ok(()) };
        append(path, &summary(cases, told)).map_err(|e| format!("cannot write {}: {e}", path.display()))
    }
}

fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// The cases of each scenario that failed, with the words about the first that did.
fn failed_scenarios<'a>(cases: &'a [Case], told: &'a [Told]) -> impl Iterator<Item = (&'a [Case], &'a Told)> {
    told_by_scenario(cases, told).filter_map(|(cases, told)| {
        let first = cases.iter().position(explain::failed)?;
        Some((cases, &told[first]))
    })
}

fn summary(cases: &[Case], told: &[Told]) -> String {
    let failed = failed_scenarios(cases, told).count();
    let all = by_scenario(cases).count();
    let head = match failed {
        0 => format!("### ✅ Squall: {} passed", numbers::count(all, "scenario")),
        _ => format!("### ❌ Squall: {failed} of {} failed", numbers::count(all, "scenario")),
    };
    let mut text = format!(
        "{head}\n\nOf each scenario the worst seed.\n\n| | Scenario | Seeds passed | Success | p99 | Amplification | Recovery |\n|---|---|--:|--:|--:|--:|---|\n"
    );
    let mut left = 0;
    for cases in by_scenario(cases) {
        let Some(row) = rows(cases).pop() else { continue };
        let mark = if cases.iter().any(explain::failed) { "❌" } else { "✅" };
        let values = match cases.iter().all(|case| case.result.is_err()) {
            true => "– | – | – |  ".into(),
            false => format!(
                "{} | {} | {:.2} | {}",
                numbers::percent_of(row.success_rate),
                numbers::span(row.p99),
                row.amplification,
                numbers::recovery(row.recovery)
            ),
        };
        let line = format!("| {mark} | {} | {}/{} | {values} |\n", markdown(&row.scenario), row.passed, row.cases);
        left += push(&mut text, &line);
    }
    if left > 0 {
        text.push_str(&format!("\n… {} more\n", numbers::count(left, "scenario")));
    }
    let mut left = 0;
    for (_, told) in failed_scenarios(cases, told) {
        let body = format!("{}\n{}", told.text, told.replay);
        let fence = fence(&body);
        let part = format!(
            "\n#### {}\n\n{}\n\n{fence}text\n{body}\n{fence}\n",
            markdown(&told.scenario),
            markdown(&told.short)
        );
        left += push(&mut text, &part);
    }
    if left > 0 {
        text.push_str(&format!("\n… {} more\n", numbers::count(left, "failure")));
    }
    text
}

/// Adds a part if there is room for it; says how many parts are left out.
fn push(text: &mut String, part: &str) -> usize {
    let fits = text.len() + part.len() <= SUMMARY_BYTES_MAX;
    if fits {
        text.push_str(part);
    }
    usize::from(!fits)
}

/// A fence longer than any run of backticks in the text.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// Text that Markdown shows as it is, in a cell of a table too.
fn markdown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '&' => shown.push_str("&amp;"),
            '\n' | '\r' => shown.push(' '),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '@' | '!' => shown.extend(['\\', c]),
            _ => shown.push(c),
        }
    }
    shown
}

/// The message of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property of a workflow command, where `:` and `,` end something too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use squall_control::Place;

    fn job() -> Job {
        Job { workspace: Some("/w/repo".into()), here: Some("/w/repo/mesh".into()), summary: None }
    }

    fn told(scenario: &str) -> Told {
        Told {
            scenario: scenario.into(),
            file: "a,b.yaml".into(),
            line: 7,
            short: "100 %: was `x|y`".into(),
            text: "one\n```\ntwo".into(),
            replay: "replay: squall replay a.yaml --seed 1".into(),
        }
    }

    #[test]
    fn nothing_in_a_name_or_message_ends_the_command() {
        let cases = [sample::passed(1), sample::failed(2)];
        let lines = job().annotations(&cases, &[told("a: b, c"), told("a: b, c")]);
        let want = "::error file=mesh/a%2Cb.yaml,line=7,title=a%3A b%2C c failed on 1 of 2 seeds::100 %25: was `x|y`%0A%0A\
                    one%0A```%0Atwo%0Areplay: squall replay a.yaml --seed 1";
        assert_eq!(lines, [want]);
    }

    #[test]
    fn what_passed_is_not_annotated() {
        assert_eq!(job().annotations(&[sample::passed(1)], &[told("a")]), [""; 0]);
    }

    #[test]
    fn a_mistake_is_annotated_at_its_columns() {
        let place = Place { line: 3, column: 5, length: 4, ..Place::whole("/w/repo/x.yaml") };
        let line = job().of_mistake(&Mistake::new(&place, "50 % of it").help("did you mean `a`?"));
        let want = "::error file=x.yaml,line=3,col=5,endColumn=9,title=A mistake in a file of the mesh or a scenario::\
                    50 %25 of it%0Adid you mean `a`?";
        assert_eq!(line, want);
    }

    #[test]
    fn a_summary_shows_text_as_it_is() {
        let text = summary(&[sample::failed(1)], &[told("a|b <i>")]);
        assert!(text.contains("### ❌ Squall: 1 of 1 scenario failed"), "{text}");
        assert!(text.contains("\n#### a\\|b &lt;i>\n\n100 %: was \\`x\\|y\\`\n\n````text\none\n```\ntwo\n"), "{text}");
        let row = "| ❌ | slow-replica | 0/1 | 91.20 % | 1.00 s | 2.71 | not recovered |";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn a_summary_stays_within_what_github_takes() {
        let named = |number: u64| Case { scenario: format!("number-{number}"), ..sample::failed(number) };
        let cases: Vec<Case> = (0..300).map(named).collect();
        let long = Told { text: "x".repeat(10_000), ..told("a") };
        let told: Vec<Told> = std::iter::repeat_with(|| long.clone()).take(300).collect();
        let text = summary(&cases, &told);
        assert!(text.len() <= SUMMARY_BYTES_MAX + 100, "{}", text.len());
        assert!(text.trim_end().ends_with("more"), "{}", &text[text.len() - 100..]);
    }
}
