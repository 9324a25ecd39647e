//! `squall tune`: which values should the policies have?

mod args;
mod journal;
mod picture;
mod report;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use squall_control::yaml;
use squall_sim::scenario::Disk;
use squall_sim::tune::{Desk, Ended, Found, Plan, Progress, RunKey, Sample, Tuning, tune};

pub(crate) use self::args::TuneArgs;
use self::journal::Journal;
pub(crate) use self::tables::value;
use crate::args::Isotope;
use crate::exit::Exit;
use crate::screen::Screen;
use crate::{input, mistakes, numbers, threads};

/// Without a limit the search goes on until nothing gets better.
const EVALUATIONS_MAX: usize = 100_000;
/// Between lines about runs.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &TuneArgs, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &TuneArgs, screen: &mut Screen) -> Result<Exit, Exit> {
    let tuning = read(args, screen)?;
    let journal = Journal::open(&args.out, &tuning, args.resume, args.fresh).map_err(|why| why.say(screen))?;
    let evaluations = match (args.evaluations, args.minutes) {
        (Some(count), _) => count as usize,
        (None, Some(_)) => EVALUATIONS_MAX,
        (None, None) => args::EVALUATIONS,
    };
    let plan = Plan { evaluations, patience: args.patience as usize, finalists: args.finalists as usize };
    let jobs = args.jobs.map_or_else(threads::cores, usize::from);
    tables::head(&tuning, screen);
    if journal.known() > 0 {
        screen.aside(&format!("{} in the journal", numbers::count(journal.known(), "run")));
    }
    let began = Instant::now();
    let minutes = args.minutes.map(|minutes| began + Duration::from_secs_f64(minutes * 60.0));
    let limit = args.evaluations.or(args.minutes.is_none().then_some(args::EVALUATIONS as u32));
    let desk = Clerk(Mutex::new(Work {
        screen,
        journal,
        began,
        until: minutes,
        limit: limit.map(|limit| limit as usize),
        tuning: &tuning,
        what: String::new(),
        done: 0,
        of: 0,
        last_line: began,
    }));
    let found = tune(&tuning, plan, &|count, work| threads::spread(jobs, count, work), &desk);
    let Work { screen, mut journal, .. } = desk.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    journal.keep().map_err(|why| infrastructure(&why, screen))?;
    let found = found.map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    })?;
    screen.aside(&format!("{} on {}", numbers::span(began.elapsed()), numbers::count(jobs, "thread")));
    let again = again(args, &found);
    tables::show(&tuning, &found, screen);
    let examples = report::write(&args.out, &tuning, &found, &again).map_err(|why| infrastructure(&why, screen))?;
    tables::tail(&args.out, &tuning, &found, &examples, screen);
    screen.say("");
    screen.say_command(&format!("the same again: {again}"));
    journal.done().map_err(|why| infrastructure(&why, screen))?;
    Ok(if found.finalists[found.recommended].score.is_feasible() { Exit::Pass } else { Exit::Failed })
}

fn infrastructure(why: &str, screen: &mut Screen) -> Exit {
    screen.aside(&format!("error: {why}"));
    Exit::Infrastructure
}

/// The tuning of a file, or of scenarios with `--auto`.
fn read(args: &TuneArgs, screen: &mut Screen) -> Result<Tuning, Exit> {
    let tunings: Vec<&PathBuf> = args.paths.iter().filter(|path| is_tuning(path)).collect();
    if let Some(file) = tunings.first() {
        if args.paths.len() > 1 {
            screen.aside(&format!("error: {} says what to tune: name nothing beside it", file.display()));
            return Err(Exit::BadInput);
        }
        if args.auto || args.seeds.is_some() {
            screen.aside(&format!("error: --auto and --seeds are for scenarios; {} has its own", file.display()));
            return Err(Exit::BadInput);
        }
        return Tuning::load(file, &Disk).map_err(|refusal| {
            mistakes::show(screen, &refusal);
            Exit::BadInput
        });
    }
    if !args.auto {
        match args.paths.iter().find(|path| is_broken(path)).map(|path| Tuning::load(path, &Disk)) {
            Some(Err(refusal)) => mistakes::show(screen, &refusal),
            Some(Ok(_)) | None => screen
                .aside("error: no file of `kind: Tuning` is named; with --auto the usual settings of scenarios vary"),
        }
        return Err(Exit::BadInput);
    }
    let inputs = input::scenarios(&args.paths, &Isotope { rate: None, duration: None }, screen)?;
    let mut tuning = Tuning::automatic(inputs.into_iter().map(|input| input.scenario).collect()).ok_or_else(|| {
        screen.aside("error: nothing varies: the scenarios have no TrafficPolicy with a setting to tune");
        Exit::BadInput
    })?;
    if let Some(seeds) = args.seeds {
        (tuning.seeds, tuning.hold_out_seeds) = (seeds, seeds);
    }
    Ok(tuning)
}

/// Whether a file is of `kind: Tuning`.
pub(crate) fn is_tuning(path: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(path) else { return false };
    let documents = yaml::parse(&path.to_string_lossy(), &text).unwrap_or_default();
    input::kinds(&documents).contains(&squall_sim::tune::KIND)
}

/// Whether nothing can be known of a file, since it cannot be read or is no YAML.
fn is_broken(path: &Path) -> bool {
    let parses = |text: String| yaml::parse(&path.to_string_lossy(), &text).is_ok();
    !path.is_dir() && !std::fs::read_to_string(path).is_ok_and(parses)
}

/// The command that gives the same result.
fn again(args: &TuneArgs, found: &Found) -> String {
    let mut command = "squall tune".to_owned();
    for path in &args.paths {
        command.push_str(&format!(" {}", quoted(&path.to_string_lossy())));
    }
    if args.auto {
        command.push_str(" --auto");
    }
    if let Some(seeds) = args.seeds {
        command.push_str(&format!(" --seeds {seeds}"));
    }
    let evaluations = match found.ended {
        Ended::Evaluations | Ended::Told => found.evaluations.len(),
        // It would have ended by itself, with more of them too.
        Ended::Patience | Ended::Exhausted => args.evaluations.map_or(found.evaluations.len(), |count| count as usize),
    };
    command.push_str(&format!(" --evaluations {evaluations}"));
    if args.patience != args::PATIENCE {
        command.push_str(&format!(" --patience {}", args.patience));
    }
    if args.finalists != args::FINALISTS {
        command.push_str(&format!(" --finalists {}", args.finalists));
    }
    command
}

/// As a shell takes it.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Keeps the journal, shows progress and looks at the clock.
struct Clerk<'c>(Mutex<Work<'c>>);

struct Work<'c> {
    screen: &'c mut Screen,
    journal: Journal,
    began: Instant,
    until: Option<Instant>,
    limit: Option<usize>,
    tuning: &'c Tuning,
    what: String,
    done: usize,
    of: usize,
    last_line: Instant,
}

impl Clerk<'_> {
    fn work<T>(&self, act: impl FnOnce(&mut Work<'_>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Desk for Clerk<'_> {
    fn known(&self, key: &RunKey) -> Option<Sample> {
        self.work(|work| {
            work.done += 1;
            work.journal.find(key)
        })
    }

    fn measured(&self, key: &RunKey, sample: &Sample) {
        self.work(|work| {
            work.journal.add(key, sample);
            if !work.what.is_empty() && work.last_line.elapsed() >= LINE_EVERY {
                work.last_line = Instant::now();
                let line = format!("... {}: {}/{} runs", work.what, work.done, work.of);
                work.screen.aside(&line);
            }
        });
    }

    fn begins(&self, what: &str, runs: usize) {
        self.work(|work| {
            work.journal.sync();
            (work.what, work.done, work.of) = (what.to_owned(), 0, runs);
            work.last_line = Instant::now();
            if !what.is_empty() {
                let line = format!("{what}: {}", numbers::count(runs, "run"));
                work.screen.aside(&line);
            }
        });
    }

    fn round(&self, progress: &Progress<'_>) -> bool {
        self.work(|work| {
            work.journal.sync();
            let now = Instant::now();
            let tried = progress.evaluations.len();
            let spent = now - work.began;
            let by_count = work.limit.map(|limit| spent.mul_f64((limit.saturating_sub(tried)) as f64 / tried as f64));
            let by_clock = work.until.map(|until| until.saturating_duration_since(now));
            let left = by_count.into_iter().chain(by_clock).min().unwrap_or_default();
            let best = &progress.evaluations[progress.best];
            let line = tables::round(work.tuning, progress, best, left);
            work.screen.aside(&line);
            work.until.is_none_or(|until| now < until)
        })
    }
}
