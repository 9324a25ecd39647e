//! `squall merge`: one result of the parts that `squall test --shard` ran.

use std::collections::BTreeMap;
use std::path::PathBuf;

use squall_sim::Case;

use crate::ending::Ending;
use crate::exit::Exit;
use crate::github::Job;
use crate::numbers;
use crate::results::{Results, Wanted};
use crate::screen::Screen;
use crate::shard::Part;
use crate::told::Told;

/// Make one result of the parts of `squall test --shard`
///
/// Takes the file of every part and says, writes and ends with what `squall test` would have without --shard, byte for byte. Parts
/// of other scenarios, seeds or sources of squall, parts that are there twice and parts that are missing are refused, by name.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall test scenarios/ --seeds 1..100 --shard 1/2      on one machine
  squall test scenarios/ --seeds 1..100 --shard 2/2      on another
  squall merge squall-shard-*.jsonl --junit out.xml --csv out.csv

A part is a file of JSON lines:
  the head      squall_shard (the format, 1), shard, of, squall (version), code (digest of its
                sources), engine, model, verify, seeds, seed_list (digest), scenarios
  a run         number (in the whole campaign, from 0), scenario, seed, ended, verification, told
  the end       {\"end\": runs}")]
pub(crate) struct MergeArgs {
    /// The files of all parts, in any order
    #[arg(required = true, value_name = "FILE")]
    parts: Vec<PathBuf>,

    /// Say only what failed, and the totals
    #[arg(long, short)]
    pub(crate) quiet: bool,

    /// In GitHub Actions: annotate the lines of what failed, and append to the job's summary
    #[arg(long)]
    github: bool,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the results as CSV; columns as in `squall test --help`
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write the results as Parquet, in the columns of the CSV
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,

    /// What parts do not have; refused with the reason.
    #[arg(long, value_name = "FILE", hide = true)]
    html: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true)]
    history: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true)]
    hdr: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true)]
    perfetto: Option<PathBuf>,
    #[arg(long, value_name = "FILE", hide = true)]
    otlp: Option<PathBuf>,
}

pub(crate) fn run(args: &MergeArgs, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &MergeArgs, screen: &mut Screen) -> Result<Exit, Exit> {
    screen.github = args.github.then(Job::of_environment);
    let refuse = |why: String, screen: &mut Screen| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    };
    for (given, name, what) in [
        (&args.html, "html", "timelines and stories of runs"),
        (&args.history, "history", "records of runs"),
        (&args.hdr, "hdr", "latencies of requests"),
        (&args.perfetto, "perfetto", "records of runs"),
        (&args.otlp, "otlp", "records of runs"),
    ] {
        if given.is_some() {
            let why = format!("--{name} needs the {what}, which parts do not have: give it to `squall test --shard`");
            return Err(refuse(why, screen));
        }
    }
    let parts = read(&args.parts).map_err(|why| refuse(why, screen))?;
    let (junit, csv, parquet) = (args.junit.as_deref(), args.csv.as_deref(), args.parquet.as_deref());
    let results = Results::start(&Wanted { junit, csv, parquet, ..Wanted::default() });
    let results = results.map_err(|why| refuse(why, screen))?;
    let Some(head) = parts.first().map(|part| part.head.clone()) else { return Ok(Exit::Pass) };
    let Some(by) = head.by() else { return Ok(Exit::Pass) };
    let mut runs: Vec<(usize, Case, Told)> = parts.into_iter().flat_map(|part| part.runs).collect();
    runs.sort_by_key(|(number, _, _)| *number);
    let (cases, told): (Vec<Case>, Vec<Told>) = runs.into_iter().map(|(_, case, told)| (case, told)).unzip();
    if !screen.quiet {
        screen.say(&format!("{}\n", head.heading(by)));
        screen.aside(&format!("{} of {}", numbers::count(cases.len(), "run"), numbers::count(head.of, "shard")));
    }
    let questions = head.scenarios.iter().map(|asked| (asked.name.as_str(), asked.question.as_str())).collect();
    let ending = Ending { questions, cases: &cases, told: &told, by };
    ending.show(screen);
    if let Err(why) = ending.write(results, screen) {
        screen.aside(&format!("error: {why}"));
        return Err(Exit::Infrastructure);
    }
    ending.total(screen);
    Ok(ending.exit())
}

/// All parts of one campaign, each once.
fn read(paths: &[PathBuf]) -> Result<Vec<Part>, String> {
    let mut parts: BTreeMap<usize, (&PathBuf, Part)> = BTreeMap::new();
    for path in paths {
        let part = Part::read(path)?;
        if let Some((first, other)) = parts.values().next()
            && let Some(what) = other.head.differs(&part.head)
        {
            let (one, two) = (first.display(), path.display());
            return Err(format!("{one} and {two} are not of the same runs; they differ in {what}"));
        }
        let nth = part.head.shard;
        if let Some((first, _)) = parts.get(&nth) {
            return Err(format!("shard {nth} is there twice: {} and {}", first.display(), path.display()));
        }
        parts.insert(nth, (path, part));
    }
    let of = parts.values().next().map_or(0, |(_, part)| part.head.of);
    let missing: Vec<String> = (1..=of).filter(|nth| !parts.contains_key(nth)).map(|nth| nth.to_string()).collect();
    if !missing.is_empty() {
        let shards = if missing.len() == 1 { "shard" } else { "shards" };
        return Err(format!("of {of} shards there is no {shards} {}", missing.join(", ")));
    }
    Ok(parts.into_values().map(|(_, part)| part).collect())
}
