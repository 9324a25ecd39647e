//! `squall map`: where a mesh does not come back.

mod picture;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use squall_control::units;
use squall_sim::map::{Axis, BRACKET, Found, Plan, State};
use squall_sim::{EngineKind, Model, RunOptions};

use crate::args::{self, Isotope};
use crate::exit::Exit;
use crate::files::Pending;
use crate::input::{self, Input};
use crate::progress::Progress;
use crate::screen::{Paint, Screen};
use crate::seeds::Seeds;
use crate::tune::quoted;
use crate::{numbers, replay, threads};

/// Show where a mesh does not come back after what went wrong is over
///
/// Runs a scenario on a grid of two quantities, and finds for each row where it stops holding, by bisection to 2 %. A place
/// holds if enough requests succeed in the last stretch of the load, long after the faults are over. Where it holds without the
/// faults and not with them it is metastable: what keeps it down is its own doing (retries, queues), and an operator has to break
/// it. Where it does not hold even without the faults it is overloaded.
///
/// The quantities: `load` (every rate and number of clients, times this), `fault` (`by` of slow faults, per cent of `errors`), `fault.for`
/// (how long faults last), and policy/NAME/FIELD, a number or duration of a TrafficPolicy: whole numbers if both ends are, else to
/// thousandths. A fault that touches nothing at some place fails the map, as it fails a run.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall map outage.yaml --x load=0.5..2 --y fault.for=1s..20s --duration 10m
  squall map storm.yaml --x load=0.5..1.5 --y policy/shop/retries.attempts=1..5 --cells 20x5
  squall map storm.yaml --x load=0.5..2 --y fault=2..50 --log-y --seeds 1..5
  squall map storm.yaml --x load=0.5..2 --y fault=2..50 --at 1.4,12    the story of one place

What it writes into --out:
  index.html     the picture and its numbers, in one page that asks no network
  map.svg        the picture
  cells.csv      x, y, state (holds, undecided, metastable, overloaded), success (the share at the
                 end, mean over seeds), success_without_faults, stuck (seeds on which it does not
                 hold), seeds
  boundary.csv   for each y the x at which it still holds and the one at which it does not, no more
                 than 2 % apart or neighbours of whole numbers (empty: the row has none), the state
                 beyond, and whether it holds again further right

Exit codes:
  0  the map is drawn, whatever it shows
  1  a run broke, or a fault touched nothing somewhere
  2  the arguments or the file are wrong
  4  the machine failed (a full disk, say)

Metastable as of Bronson et al., Metastable failures in distributed systems, HotOS 2021.")]
pub(crate) struct MapArgs {
    /// A scenario file; its faults are the trigger
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// From left to right: load=0.5..2, fault=2..20, fault.for=1s..30s or policy/NAME/FIELD=FROM..TO
    #[arg(long, value_name = "AXIS", value_parser = Axis::parse)]
    x: Axis,

    /// From bottom to top, as --x
    #[arg(long, value_name = "AXIS", value_parser = Axis::parse)]
    y: Axis,

    /// Each column is so many times the one before, instead of so much more
    #[arg(long)]
    log_x: bool,

    /// The same of rows
    #[arg(long)]
    log_y: bool,

    /// Columns and rows, 2 to 200 each, and at most as many as an axis has values
    #[arg(long, value_name = "NxM", default_value = "20x20", value_parser = cells)]
    cells: (u32, u32),

    /// Which seeds each place runs on: `7`, `1..5` or `1,3`
    #[arg(long, default_value = "1", value_name = "SEEDS")]
    seeds: Seeds,

    /// Let the load go on for so long, or end so soon, instead of the scenario's duration
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    duration: Option<Duration>,

    /// How long the last stretch is in which it must hold [default: a tenth of the duration]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    last: Option<Duration>,

    /// Which share of its requests must succeed
    #[arg(long, value_name = "PERCENT", default_value = "95%", value_parser = share)]
    holds: f64,

    /// How much is simulated; see `squall test --help`
    #[arg(long, value_enum, default_value_t = args::Model::Fast)]
    model: args::Model,

    /// Worlds to run at once. Default: one per core. The results do not depend on it
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// Instead of a map: the story of this place, on the first seed
    #[arg(long, value_name = "X,Y", value_parser = place)]
    at: Option<Place>,

    /// Where to write
    #[arg(long, short, value_name = "DIR", default_value = "reports/map")]
    out: PathBuf,
}

/// A place on the axes.
type Place = [f64; 2];

fn cells(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('x').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
    let fits = |(x, y): &(u32, u32)| (2..=200).contains(x) && (2..=200).contains(y);
    parts.filter(fits).ok_or_else(|| "say COLUMNSxROWS, from 2x2 to 200x200, such as 20x20".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let permille = units::percent(text)?;
    match permille {
        1..=1000 => Ok(f64::from(permille) / 1000.0),
        _ => Err("a share from 0.1% to 100%".to_owned()),
    }
}

fn place(text: &str) -> Result<Place, String> {
    let parts = text.split_once(',').and_then(|(x, y)| Some([x.trim().parse().ok()?, y.trim().parse().ok()?]));
    parts.ok_or_else(|| "say X,Y as in cells.csv, such as 1.4,12".to_owned())
}

pub(crate) fn run(args: &MapArgs, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &MapArgs, screen: &mut Screen) -> Result<Exit, Exit> {
    let plan = plan(args, screen)?;
    if let Some(at) = args.at {
        return story(&plan, at, screen);
    }
    // What cannot be written is known before anything is run.
    let files = Files::start(&args.out).map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::Infrastructure
    })?;
    let jobs = args.jobs.map_or_else(threads::cores, usize::from);
    let (columns, rows) = (plan.x.values().len(), plan.y.values().len());
    let places = columns * (rows + 1) + rows;
    let model = if plan.model == Model::Fast { "fast model" } else { "full model" };
    let seeds = numbers::count(plan.seeds.len(), "seed");
    screen.say(&format!("{}, {columns} × {rows} cells, {seeds} each, {model}", plan.scenario.name.value));
    let progress = Mutex::new((Progress::new(screen, places), &mut *screen));
    let found = plan.run(&|count, work| threads::spread(jobs, count, work), &|| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let (progress, screen) = &mut *progress;
        progress.tick(screen, true);
    });
    let (progress, screen) = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    let time = progress.end();
    let found = found.map_err(|error| {
        screen.aside(&format!("error: {error}"));
        Exit::of(&error)
    })?;
    let runs = numbers::count(found.runs, "run");
    screen.aside(&format!("{time}, {runs} of scenarios on {}", numbers::count(jobs, "thread")));
    show(&plan, &found, screen);
    let again = again(args);
    files.write(&plan, &found, &again).map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::Infrastructure
    })?;
    screen.say("");
    screen.say(&format!("picture {}", args.out.join("index.html").display()));
    if let Some(beyond) = beyond(&found) {
        screen.say_command(&format!("a place beyond: {again} --at {},{}", beyond[0], beyond[1]));
    }
    screen.say_command(&format!("the same again: {again}"));
    Ok(Exit::Pass)
}

fn plan(args: &MapArgs, screen: &mut Screen) -> Result<Plan, Exit> {
    let isotope = Isotope { rate: None, duration: None };
    let inputs = input::scenarios(std::slice::from_ref(&args.file), &isotope, screen)?;
    let mut refuse = |why: String| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    };
    let [Input { scenario, .. }] = inputs.as_slice() else {
        let count = inputs.len();
        return Err(refuse(format!("{} holds {count} scenarios; name the file of one", args.file.display())));
    };
    let scenario = match args.duration {
        Some(duration) if duration < scenario.duration => scenario.lasting(duration),
        Some(duration) => scenario.going_on(duration),
        None => (**scenario).clone(),
    };
    let plan = Plan {
        x: Axis { steps: args.cells.0, log: args.log_x, ..args.x.clone() },
        y: Axis { steps: args.cells.1, log: args.log_y, ..args.y.clone() },
        seeds: args.seeds.0.clone(),
        model: args.model.into(),
        holds: args.holds,
        last: args.last.unwrap_or(scenario.duration / 10),
        scenario: scenario.into(),
    };
    if plan.x.quantity == plan.y.quantity {
        return Err(refuse("--x and --y are the same quantity".to_owned()));
    }
    plan.check().map_err(refuse)?;
    Ok(plan)
}

/// What happens at one place.
fn story(plan: &Plan, at: Place, screen: &mut Screen) -> Result<Exit, Exit> {
    let scenario = plan.at(at, true).map_err(|why| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    })?;
    let options = RunOptions { engine: EngineKind::Event, model: plan.model, keep_history: true };
    let outcome = squall_sim::run(&scenario, plan.seeds[0], options).map_err(|error| {
        screen.aside(&format!("error: {error}"));
        Exit::of(&error)
    })?;
    let title = format!(
        "{}, {} {}, {} {}, seed {}",
        outcome.scenario,
        plan.x.name(),
        at[0],
        plan.y.name(),
        at[1],
        outcome.seed
    );
    screen.say(&screen.paint(Paint::Strong, &title));
    replay::whole(&scenario.question, &outcome, screen);
    Ok(Exit::Pass)
}

/// A place that does not come back: the first in the middle of its kind, if there is any.
fn beyond(found: &Found) -> Option<Place> {
    let stuck: Vec<Place> =
        found.cells.iter().flatten().filter(|cell| cell.state == State::Metastable).map(|cell| cell.at).collect();
    stuck.get(stuck.len() / 2).copied()
}

/// The command that draws the same map.
fn again(args: &MapArgs) -> String {
    let axis = |axis: &Axis| quoted(&axis.said);
    let mut command =
        format!("squall map {} --x {} --y {}", quoted(&args.file.to_string_lossy()), axis(&args.x), axis(&args.y));
    for (is_said, flag) in [(args.log_x, " --log-x"), (args.log_y, " --log-y")] {
        if is_said {
            command.push_str(flag);
        }
    }
    command.push_str(&format!(" --cells {}x{}", args.cells.0, args.cells.1));
    let seeds: Vec<String> = args.seeds.0.iter().map(u64::to_string).collect();
    command.push_str(&format!(" --seeds {}", seeds.join(",")));
    for (span, flag) in [(args.duration, "--duration"), (args.last, "--last")] {
        if let Some(span) = span {
            command.push_str(&format!(" {flag} {}", units::show(span)));
        }
    }
    command.push_str(&format!(" --holds {}%", args.holds * 100.0));
    if matches!(args.model, args::Model::Full) {
        command.push_str(" --model full");
    }
    command
}

/// The picture in characters, and the boundary.
fn show(plan: &Plan, found: &Found, screen: &mut Screen) {
    let columns = plan.x.values().len();
    screen.say("");
    screen.say(&plan.y.name());
    for row in found.cells.iter().rev() {
        let marks: String = row.iter().map(|cell| mark(cell.state)).collect();
        screen.say_whole(&format!("{:>8} |{marks}", short(row[0].at[1])));
    }
    screen.say_whole(&format!("{:>8} +{}", "", "-".repeat(columns)));
    let (from, to) = (short(plan.x.from), short(plan.x.to));
    let gap = columns.saturating_sub(from.len()).max(to.len() + 1);
    screen.say_whole(&format!("{:>8}  {from}{to:>gap$}  {}", "", plan.x.name()));
    screen.say(". holds  ? on some seeds  # metastable: holds without the faults  x overloaded");
    screen.say("");
    screen.say(&screen.paint(Paint::Strong, &format!("Where each row stops holding, to {} %", BRACKET * 100.0)));
    for row in found.boundary.iter().rev() {
        let more = if row.holds_again { "; it holds again further right" } else { "" };
        let line = match row.between {
            Some([low, high]) => {
                format!("between {} and {}: {} beyond{more}", short(low), short(high), row.beyond.word())
            }
            None if row.beyond == State::Holds => "holds everywhere".to_owned(),
            None => format!("{} from the left on{more}", row.beyond.word()),
        };
        screen.say(&format!("{:>8}  {line}", short(row.y)));
    }
}

/// One character.
fn mark(state: State) -> char {
    match state {
        State::Holds => '.',
        State::Undecided => '?',
        State::Metastable => '#',
        State::Overloaded => 'x',
    }
}

/// Four significant digits.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        ..1.0 => 4,
        1.0..10.0 => 3,
        10.0..100.0 => 2,
        100.0..1000.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// What is written, each file whole or not at all.
struct Files {
    cells: Pending,
    boundary: Pending,
    svg: Pending,
    page: Pending,
}

impl Files {
    fn start(out: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(out).map_err(|error| format!("cannot make {}: {error}", out.display()))?;
        let start = |name: &str| Pending::start(&out.join(name));
        let (cells, boundary) = (start("cells.csv")?, start("boundary.csv")?);
        Ok(Self { cells, boundary, svg: start("map.svg")?, page: start("index.html")? })
    }

    fn write(mut self, plan: &Plan, found: &Found, again: &str) -> Result<(), String> {
        let svg = picture::svg(plan, found);
        let written = write_cells(&mut self.cells, plan, found)
            .and_then(|()| write_boundary(&mut self.boundary, found))
            .and_then(|()| self.svg.write_all(svg.as_bytes()))
            .and_then(|()| self.page.write_all(picture::page(plan, found, &svg, again).as_bytes()));
        written.map_err(|error| error.to_string())?;
        [self.cells, self.boundary, self.svg, self.page].into_iter().try_for_each(Pending::finish)
    }
}

fn write_cells(out: &mut dyn Write, plan: &Plan, found: &Found) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["x", "y", "state", "success", "success_without_faults", "stuck", "seeds"])?;
    for cell in found.cells.iter().flatten() {
        let numbers = [cell.at[0], cell.at[1], cell.success[0], cell.success[1]].map(|number| number.to_string());
        let (stuck, seeds) = (cell.stuck.to_string(), plan.seeds.len().to_string());
        csv.write_record([&numbers[0], &numbers[1], cell.state.word(), &numbers[2], &numbers[3], &stuck, &seeds])?;
    }
    csv.flush()
}

fn write_boundary(out: &mut dyn Write, found: &Found) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(["y", "holds_at", "not_at", "beyond", "holds_again"])?;
    for row in &found.boundary {
        let end = |nth: usize| row.between.map_or_else(String::new, |between| between[nth].to_string());
        csv.write_record([&row.y.to_string(), &end(0), &end(1), row.beyond.word(), &row.holds_again.to_string()])?;
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_but_tell_neighbours_apart() {
        for (value, want) in [(0.5, "0.5000"), (1.4749, "1.475"), (12.0, "12.00"), (150.25, "150.2"), (1234.5, "1234")]
        {
            assert_eq!(short(value), want);
        }
    }

    #[test]
    fn what_is_no_place_or_size_is_refused_with_a_hint() {
        assert_eq!(cells("20x5"), Ok((20, 5)));
        for text in ["20", "1x20", "20x201", "axb", "20x-5"] {
            assert!(cells(text).expect_err(text).contains("such as 20x20"));
        }
        assert_eq!(place("1.4, 12"), Ok([1.4, 12.0]));
        assert!(place("1.4").is_err() && place("a,b").is_err());
        assert!(share("0%").is_err() && share("101%").is_err() && share("95").is_err());
    }
}
