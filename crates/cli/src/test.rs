//! `squall test`: scenarios × seeds; what failed and why, a line for each scenario, the whole story of what failed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use squall_sim::{Campaign, Case, EngineKind, Model, RunError, Verification};

use crate::args::{Isotope, Test};
use crate::exit::Exit;
use crate::explain;
use crate::github::Job;
use crate::input::{self, Input};
use crate::numbers;
use crate::progress::Progress;
use crate::report::Report;
use crate::results::{MadeBy, Results, findings};
use crate::screen::{Paint, Screen};
use crate::table;
use crate::threads;
use crate::told::{self, Told};

pub(crate) fn run(args: &Test, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &Test, screen: &mut Screen) -> Result<Exit, Exit> {
    screen.github = args.github.then(Job::of_environment);
    let engine = if args.real { EngineKind::Real } else { args.engine.into() };
    if args.real && args.jobs.is_some_and(|jobs| jobs > 1) {
        screen.aside("error: --real runs share one clock and one loopback: use --jobs 1");
        return Err(Exit::BadInput);
    }
    let inputs = chosen(args, screen)?;
    let results =
        Results::start(args.junit.as_deref(), args.csv.as_deref(), args.history.as_deref()).map_err(|why| {
            screen.aside(&format!("error: {why}"));
            Exit::BadInput
        })?;
    if let Some(html) = args.html.as_deref()
        && [&args.junit, &args.csv, &args.history].into_iter().any(|other| other.as_deref() == Some(html))
    {
        let why = "is to be written twice; give each result a file of its own";
        screen.aside(&format!("error: {} {why}", html.display()));
        return Err(Exit::BadInput);
    }
    let page = args.html.as_deref().map(Report::start).transpose().map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    })?;
    let campaign = Campaign {
        scenarios: inputs.iter().map(|input| input.scenario.clone()).collect(),
        seeds: args.seeds.0.clone(),
        engine,
        model: args.model.into(),
        verify: args.verify,
        keep_history: results.wants_history(),
    };
    let jobs = match (args.real, args.jobs) {
        (true, _) => 1,
        (false, Some(jobs)) => jobs.into(),
        (false, None) => threads::cores(),
    };
    let cases = run_all(&campaign, jobs, &results, screen);
    let exit = verdict(&cases);
    let seeds = campaign.seeds.len();
    let told = told::all(&inputs, &cases, seeds, &|file, case| replay(file, case, &args.isotope, made_by(&campaign)));
    show(&inputs, &cases, &told, seeds, screen);
    let mut written = results.finish(&cases, &told, made_by(&campaign));
    if let Some(job) = &screen.github {
        written = written.and(job.summarise(&cases, &told, seeds));
        let annotations = job.annotations(&cases, &told, seeds);
        annotations.iter().for_each(|line| screen.say_whole(line));
    }
    if let Err(why) = written {
        screen.aside(&format!("error: {why}"));
        return Err(Exit::Infrastructure);
    }
    if let Some(page) = page {
        let command = |number: usize, case: &Case| {
            let line = replay(&inputs[number].file, case, &args.isotope, made_by(&campaign));
            line.strip_prefix("replay: ").unwrap_or(&line).to_owned()
        };
        if let Err(why) = page.finish(&campaign, &cases, jobs, command) {
            screen.aside(&format!("error: {why}"));
            return Err(Exit::Infrastructure);
        }
    }
    total(&cases, &told, seeds, screen);
    Ok(exit)
}

/// What makes the results of a campaign.
fn made_by(campaign: &Campaign) -> MadeBy {
    MadeBy { engine: campaign.engine, model: campaign.model }
}

/// The scenarios of the paths that `--filter` lets through.
fn chosen(args: &Test, screen: &mut Screen) -> Result<Vec<Input>, Exit> {
    let mut inputs = input::scenarios(&args.paths, &args.isotope, screen)?;
    if let Some(text) = &args.filter {
        let names: Vec<String> = inputs.iter().map(|input| input.scenario.name.value.clone()).collect();
        inputs.retain(|input| input.scenario.name.value.contains(text.as_str()));
        if inputs.is_empty() {
            screen.aside(&format!("error: no scenario has `{text}` in its name; there are {}", names.join(", ")));
            return Err(Exit::BadInput);
        }
    }
    Ok(inputs)
}

/// Runs everything. What fails is named beside the results as soon as it does.
fn run_all(campaign: &Campaign, jobs: usize, results: &Results, screen: &mut Screen) -> Vec<Case> {
    let (scenarios, seeds) = (campaign.scenarios.len(), campaign.seeds.len());
    if !screen.quiet {
        let each = if campaign.verify { ", each run twice" } else { "" };
        let what = format!("{} × {}", numbers::count(scenarios, "scenario"), numbers::count(seeds, "seed"));
        let world = match campaign.engine {
            EngineKind::Event if campaign.model == Model::Fast => "fast model".into(),
            EngineKind::Event | EngineKind::Turmoil => {
                format!("{} model, {} engine", campaign.model.name(), campaign.engine.name())
            }
            EngineKind::Real => "real sockets, real time".into(),
        };
        screen.say(&format!("{what}, {world}{each}\n"));
    }
    let progress = Progress::new(screen, scenarios * seeds);
    let state = Mutex::new(State { screen, progress, failed: BTreeSet::new() });
    let cases = campaign.run(&|count, work| threads::spread(jobs, count, work), &|number, case| {
        results.add(number, case, made_by(campaign));
        state.lock().unwrap_or_else(PoisonError::into_inner).done(number / seeds, case);
    });
    let State { screen, progress, .. } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let time = progress.end();
    if !screen.quiet {
        screen.aside(&format!("{time} on {}", numbers::count(jobs.min(cases.len()), "thread")));
    }
    cases
}

/// What the threads share while they run.
struct State<'s> {
    screen: &'s mut Screen,
    progress: Progress,
    /// The scenarios of which a case has failed.
    failed: BTreeSet<usize>,
}

impl State<'_> {
    fn done(&mut self, scenario: usize, case: &Case) {
        let Self { screen, progress, failed } = self;
        let bad = explain::failed(case);
        progress.tick(screen, !bad);
        if bad && failed.insert(scenario) && !screen.quiet {
            let line = format!("... {}, seed {} failed: {}", case.scenario, case.seed, told::cut(&findings(case)));
            progress.around(|| screen.aside(&line));
        }
    }
}

/// At most so many reasons stand above the table.
const REASONS_MAX: usize = 20;

/// What failed and why, in short; the table; each failure from first to last.
fn show(inputs: &[Input], cases: &[Case], told: &[Told], seeds: usize, screen: &mut Screen) {
    let failed = |cases: &&[Case]| cases.iter().any(explain::failed);
    let scenarios = cases.chunks(seeds);
    let bad = scenarios.clone().filter(failed).count();
    if bad > 0 {
        let title = format!("{bad} of {} failed:", numbers::count(inputs.len(), "scenario"));
        screen.say(&screen.paint(Paint::Bad, &title));
    }
    for (cases, told) in scenarios.clone().zip(told.chunks(seeds)).filter(|(cases, _)| failed(cases)).take(REASONS_MAX)
    {
        let mut at = cases.iter().zip(told).filter(|(case, _)| explain::failed(case));
        let Some((case, words)) = at.next() else { continue };
        let title = format!("{}, seed {}", case.scenario, case.seed);
        screen.say(&format!("  {}{}", screen.paint(Paint::Strong, &title), explain::also(at.map(|(case, _)| case))));
        screen.say(&format!("    {}", words.short));
    }
    if bad > REASONS_MAX {
        screen.say(&format!("  … and {} more, which stand below the table", bad - REASONS_MAX));
    }
    if bad > 0 {
        screen.say("");
    }
    let shown = scenarios.filter(|cases| !screen.quiet || failed(cases));
    let lines = table::lines(screen, shown);
    if !(screen.quiet && bad == 0) {
        lines.iter().for_each(|line| screen.say(line));
    }
    for (input, cases) in inputs.iter().zip(cases.chunks(seeds)) {
        if cases.iter().all(is_refused) {
            continue;
        }
        let lines = explain::failure(screen, &input.scenario.question, cases);
        if !lines.is_empty() {
            screen.say("");
        }
        lines.iter().for_each(|line| screen.say(line));
    }
}

/// How many scenarios passed; then, if one did not, the command that replays it.
fn total(cases: &[Case], told: &[Told], seeds: usize, screen: &mut Screen) {
    let (mut passed, mut failed, mut refused) = (0, 0, 0);
    for cases in cases.chunks(seeds) {
        match (cases.iter().any(explain::failed), cases.iter().all(is_refused)) {
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
    let ran = cases.iter().position(|case| explain::failed(case) && !is_refused(case));
    if let Some(number) = ran.or_else(|| cases.iter().position(explain::failed)) {
        screen.say_command(&told[number].replay);
    }
}

/// Whether a case never ran, because of its input. The line of the table says why.
fn is_refused(case: &Case) -> bool {
    case.result.as_ref().is_err_and(RunError::is_bad_input)
}

/// The command that shows a failure again.
fn replay(file: &str, case: &Case, isotope: &Isotope, by: MadeBy) -> String {
    let engine = by.engine;
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    let file = match file.chars().all(plain) {
        true => file.to_string(),
        false => format!("'{}'", file.replace('\'', r"'\''")),
    };
    let diverged = matches!(case.verification, Some(Verification::Diverged { .. }));
    let mut command = match engine {
        EngineKind::Real => format!("replay: squall test --real {file} --seeds {}", case.seed),
        EngineKind::Event | EngineKind::Turmoil if diverged => {
            format!("replay: squall test {file} --seeds {} --verify", case.seed)
        }
        EngineKind::Event | EngineKind::Turmoil => format!("replay: squall replay {file} --seed {}", case.seed),
    };
    if engine == EngineKind::Turmoil {
        command.push_str(" --engine turmoil");
    }
    if by.model == Model::Fast {
        command.push_str(" --model fast");
    }
    if let Some(rate) = isotope.rate {
        command.push_str(&format!(" --rate {}", numbers::rate(rate)));
    }
    if let Some(duration) = isotope.duration {
        command.push_str(&format!(" --duration {}", squall_control::units::show(duration)));
    }
    command
}

/// The worst that happened.
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
    use std::time::Duration;

    fn case(verification: Option<Verification>) -> Case {
        let error = squall_sim::engine::EngineError::Livelock { at: squall_policy::Instant::ZERO, events: 1 };
        Case { scenario: "s".into(), seed: 7, result: Err(error.into()), verification }
    }

    #[test]
    fn the_replay_line_repeats_what_the_run_was_asked() {
        let none = Isotope { rate: None, duration: None };
        let check = |file, case: &Case, isotope: &Isotope, engine, want: &str| {
            let by = MadeBy { engine, model: Model::Full };
            assert_eq!(replay(file, case, isotope, by), format!("replay: squall {want}"));
        };
        let broken = case(None);
        check("a/b.yaml", &broken, &none, EngineKind::Event, "replay a/b.yaml --seed 7");
        check("it's.yaml", &broken, &none, EngineKind::Turmoil, r"replay 'it'\''s.yaml' --seed 7 --engine turmoil");
        check("a.yaml", &broken, &none, EngineKind::Real, "test --real a.yaml --seeds 7");
        let isotope = Isotope { rate: Some(500), duration: Some(Duration::from_millis(1500)) };
        check("a.yaml", &broken, &isotope, EngineKind::Event, "replay a.yaml --seed 7 --rate 0.5/s --duration 1500ms");
        let by = MadeBy { engine: EngineKind::Event, model: Model::Fast };
        let want = "replay: squall replay a.yaml --seed 7 --model fast";
        assert_eq!(replay("a.yaml", &broken, &none, by), want);
        let diverged = case(Some(Verification::Diverged { record: 3, first: None, second: None }));
        check("a.yaml", &diverged, &none, EngineKind::Event, "test a.yaml --seeds 7 --verify");
    }

    #[test]
    fn nondeterminism_hides_every_other_verdict() {
        let diverged = case(Some(Verification::Diverged { record: 3, first: None, second: None }));
        assert_eq!(verdict(&[case(None), diverged, case(None)]), Exit::Nondeterminism);
        assert_eq!(verdict(&[case(None)]), Exit::Failed);
        assert_eq!(verdict(&[]), Exit::Pass);
    }
}
