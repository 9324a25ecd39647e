//! `squall test`: scenarios × seeds; what failed and why, a line for each scenario, the whole story of what failed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use squall_sim::{Campaign, Case, EngineKind, Model, Verification};

use crate::args::{Isotope, Test};
use crate::ending::{Ending, questions};
use crate::exit::Exit;
use crate::explain;
use crate::files::Pending;
use crate::github::Job;
use crate::input::{self, Input};
use crate::numbers;
use crate::progress::Progress;
use crate::report::Report;
use crate::results::{MadeBy, Results, Wanted, findings};
use crate::screen::Screen;
use crate::shard::{self, Head, Shard};
use crate::threads;
use crate::told;

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
    let part_file = args.shard.map(|shard| part_file(args, shard));
    let wanted = Wanted {
        junit: args.junit.as_deref(),
        csv: args.csv.as_deref(),
        parquet: args.parquet.as_deref(),
        history: args.history.as_deref(),
        hdr: args.hdr.as_deref(),
        perfetto: args.perfetto.as_deref(),
        otlp: args.otlp.as_deref(),
        elsewhere: args.html.iter().chain(&part_file).map(PathBuf::as_path).collect(),
    };
    let results = Results::start(&wanted).map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    })?;
    let page = args.html.as_deref().map(Report::start).transpose().map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    })?;
    let part = part_file.as_deref().map(Pending::start).transpose().map_err(|why| {
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
    let by = made_by(&campaign);
    let numbers: Vec<usize> = match args.shard {
        Some(shard) => shard.numbers(campaign.len()).collect(),
        None => (0..campaign.len()).collect(),
    };
    let cases = run_all(&campaign, &numbers, args.shard, jobs, &results, screen);
    let told = told::all(&inputs, &cases, &|file, case| replay(file, case, &args.isotope, by));
    let ending = Ending { questions: questions(&inputs), cases: &cases, told: &told, by };
    ending.show(screen);
    let mut written = ending.write(results, screen);
    if let (Some(part), Some(shard)) = (part, args.shard) {
        let head = Head::new(&inputs, &campaign, shard);
        written = written.and_then(|()| shard::write(part, &head, &numbers, &ending));
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
    ending.total(screen);
    Ok(ending.exit())
}

/// The file that `squall merge` takes.
fn part_file(args: &Test, shard: Shard) -> PathBuf {
    let default = || PathBuf::from(format!("squall-shard-{}-of-{}.jsonl", shard.nth, shard.of));
    args.shard_file.clone().unwrap_or_else(default)
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

/// What runs where, in words.
fn heading(campaign: &Campaign) -> String {
    shard::heading(campaign.scenarios.len(), campaign.seeds.len(), made_by(campaign), campaign.verify)
}

/// Runs the cases of these numbers. What fails is named beside the results as soon as it does.
fn run_all(
    campaign: &Campaign,
    those: &[usize],
    shard: Option<Shard>,
    jobs: usize,
    results: &Results,
    screen: &mut Screen,
) -> Vec<Case> {
    if !screen.quiet {
        let part = shard.map_or_else(String::new, |shard| {
            format!("; shard {} of {}: {}", shard.nth, shard.of, numbers::count(those.len(), "run"))
        });
        screen.say(&format!("{}{part}\n", heading(campaign)));
    }
    let progress = Progress::new(screen, those.len());
    let state = Mutex::new(State { screen, progress, failed: BTreeSet::new() });
    let cases = campaign.run_those(those, &|count, work| threads::spread(jobs, count, work), &|at, case| {
        let scenario = those[at] / campaign.seeds.len();
        results.add(at, &campaign.scenarios[scenario], case, made_by(campaign));
        state.lock().unwrap_or_else(PoisonError::into_inner).done(scenario, case);
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
}
