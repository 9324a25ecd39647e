//! `squall compare`: policies against each other, on the same scenarios and seeds.

mod markdown;

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use squall_control::units;
use squall_sim::Model;
use squall_sim::scenario::{Disk, Refusal};
use squall_sim::tune::{Better, Compared, Comparison, Objective, Rival, manifests};

use crate::args::{self, Isotope};
use crate::exit::Exit;
use crate::files::Pending;
use crate::fold::columns;
use crate::progress::Progress;
use crate::screen::{Paint, Screen};
use crate::seeds::Seeds;
use crate::tune::{quoted, value};
use crate::{input, mistakes, numbers, threads};

/// The name of what the scenarios have themselves.
const CURRENT: &str = "current";

/// Compare policies pair by pair
///
/// Runs every scenario under every policy on the same seeds, and says for each pair on which scenarios one is better: in success rate,
/// 99th percentile, amplification or recovery with 99 % confidence, paired by seed, and worse in none of them. The smallest difference
/// counts, if it is sure; --margin says otherwise.
///
/// A policy is a file or a directory of manifests. They stand in place of the scenarios' own of the same kind that have the same
/// name, or are for the same Service. `current` is what the scenarios have themselves.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall compare current reports/tune/recommended.yaml -s scenarios/boutique/zone-lost.yaml
  squall compare old=v1/policies new=v2/policies -s scenarios/ --seeds 1..20
  squall compare current envoy.yaml linkerd.yaml -s scenarios/ --model fast --csv compared.csv
  squall compare current new.yaml -s scenarios/ --margin amplification=0.05 --margin p99=5ms

  --csv FILE    one row per scenario, policy (or pair of them) and measure:
    scenario, policy, than (the other one of a pair, or nothing), measure, unit
    mean (of a pair: the policy's less the other's), half_width_95, half_width_99
    better        of a pair: the name of the one that is better with 99 % confidence, or nothing
    seeds         how many; refused: why there are no numbers

Exit codes:
  0  everything ran
  2  the arguments or the files are wrong; a policy that does not fit a scenario is refused there, and compared on the others")]
pub(crate) struct CompareArgs {
    /// Policies: a file or directory of manifests, NAME=PATH, or `current`
    #[arg(required = true, num_args = 2.., value_name = "POLICY")]
    policies: Vec<String>,

    /// Scenario files, or directories to look for them in
    #[arg(long, short, required = true, num_args = 1.., value_name = "PATH")]
    scenarios: Vec<PathBuf>,

    /// Which seeds, at least two: `1..100` (both ends included) or `1,3,9..12`
    #[arg(long, default_value = "1..10", value_name = "SEEDS")]
    seeds: Seeds,

    /// How much is simulated; see `squall test --help`
    #[arg(long, value_enum, default_value_t = args::Model::Full)]
    model: args::Model,

    /// Worlds to run at once. Default: one per core. The results do not depend on it
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,

    /// How large a difference must be to count, with 99 % confidence: successRate, p99, amplification or recovery, and how much of it;
    /// may be given several times [default: any]
    #[arg(long, value_name = "MEASURE=AMOUNT", value_parser = margin)]
    margin: Vec<Margin>,

    /// Write the results as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write the results as a Markdown page
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

/// What a difference in one measure must be more than to count.
#[derive(Clone)]
struct Margin {
    /// Its place among the measures that are compared.
    measure: usize,
    /// In the measure's unit.
    amount: f64,
    /// As it was written.
    text: String,
}

fn margin(text: &str) -> Result<Margin, String> {
    let measures = Objective::compared();
    let names: Vec<&str> = measures.iter().map(|measure| measure.that.as_str()).collect();
    let hint = format!("say one of {}, and how much of it, such as amplification=0.05 or p99=5ms", names.join(", "));
    let (name, amount) = text.split_once('=').ok_or_else(|| hint.clone())?;
    let measure =
        names.iter().position(|known| *known == name).ok_or_else(|| format!("no measure `{name}`: {hint}"))?;
    let amount = match measures[measure].is_span {
        true => units::duration(amount)?.as_secs_f64(),
        false => amount.parse().ok().filter(|amount: &f64| amount.is_finite() && *amount >= 0.0).ok_or(hint)?,
    };
    Ok(Margin { measure, amount, text: text.to_owned() })
}

pub(crate) fn run(args: &CompareArgs, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &CompareArgs, screen: &mut Screen) -> Result<Exit, Exit> {
    if args.seeds.0.len() < 2 {
        screen.aside("error: one seed says nothing about differences: give --seeds 1..10, say");
        return Err(Exit::BadInput);
    }
    let policies = policies(&args.policies, screen)?;
    let inputs = input::scenarios(&args.scenarios, &Isotope { rate: None, duration: None }, screen)?;
    let mut start = |path: &Option<PathBuf>| {
        path.as_deref().map(Pending::start).transpose().map_err(|why| {
            screen.aside(&format!("error: {why}"));
            Exit::BadInput
        })
    };
    let (csv, page) = (start(&args.csv)?, start(&args.table)?);
    let comparison = Comparison {
        scenarios: inputs.iter().map(|input| input.scenario.clone()).collect(),
        policies,
        seeds: args.seeds.0.clone(),
        model: args.model.into(),
        margins: args.margin.iter().fold(vec![0.0; Objective::compared().len()], |mut margins, said| {
            margins[said.measure] = said.amount;
            margins
        }),
    };
    let jobs = args.jobs.map_or_else(threads::cores, usize::from);
    let runs = comparison.scenarios.len() * comparison.policies.len() * comparison.seeds.len();
    let what = [(comparison.scenarios.len(), "scenario"), (comparison.seeds.len(), "seed")];
    let what: Vec<String> = what.iter().map(|(count, what)| numbers::count(*count, what)).collect();
    let model = if comparison.model == Model::Fast { "fast model" } else { "full model" };
    screen.say(&format!("{} × {} policies, {model}", what.join(" × "), comparison.policies.len()));
    let progress = Progress::new(screen, runs);
    let state = Mutex::new((screen, progress));
    let compared = comparison.run(&|count, work| threads::spread(jobs, count, work), &|sample| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (screen, progress) = &mut *state;
        progress.tick(screen, sample.is_ok());
    });
    let (screen, progress) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let time = progress.end();
    screen.aside(&format!("{time} on {}", numbers::count(jobs, "thread")));
    show(&comparison, &compared, screen);
    if let Some(mut file) = csv {
        let written = write_csv(&mut file, &comparison, &compared).map_err(|error| error.to_string());
        if let Err(why) = written.and_then(|()| file.finish()) {
            screen.aside(&format!("error: {why}"));
            return Err(Exit::Infrastructure);
        }
    }
    if let Some(mut file) = page {
        let written =
            markdown::write(&mut file, &comparison, &compared, &again(args)).map_err(|error| error.to_string());
        if let Err(why) = written.and_then(|()| file.finish()) {
            screen.aside(&format!("error: {why}"));
            return Err(Exit::Infrastructure);
        }
    }
    let refused = compared.values.iter().flatten().any(Result::is_err);
    Ok(if refused { Exit::BadInput } else { Exit::Pass })
}

/// The command that gives the same result.
fn again(args: &CompareArgs) -> String {
    let mut command = "squall compare".to_owned();
    args.policies.iter().for_each(|policy| command.push_str(&format!(" {}", quoted(policy))));
    command.push_str(" -s");
    args.scenarios.iter().for_each(|path| command.push_str(&format!(" {}", quoted(&path.to_string_lossy()))));
    let seeds: Vec<String> = args.seeds.0.iter().map(u64::to_string).collect();
    let (first, last) = (args.seeds.0[0], args.seeds.0[args.seeds.0.len() - 1]);
    let whole = last - first + 1 == args.seeds.0.len() as u64;
    command.push_str(&format!(" --seeds {}", if whole { format!("{first}..{last}") } else { seeds.join(",") }));
    if matches!(args.model, args::Model::Fast) {
        command.push_str(" --model fast");
    }
    args.margin.iter().for_each(|said| command.push_str(&format!(" --margin {}", quoted(&said.text))));
    if let Some(table) = &args.table {
        command.push_str(&format!(" --table {}", quoted(&table.to_string_lossy())));
    }
    command
}

/// The policies that are named, each with a name of its own.
fn policies(named: &[String], screen: &mut Screen) -> Result<Vec<Rival>, Exit> {
    let mut policies: Vec<Rival> = Vec::new();
    let mut refuse = |why: String| {
        screen.aside(&format!("error: {why}"));
        Exit::BadInput
    };
    let mut refusals: Vec<Refusal> = Vec::new();
    for text in named {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name.to_owned(), PathBuf::from(path)),
            None => {
                let path = PathBuf::from(text);
                (path.file_stem().map_or(text.clone(), |stem| stem.to_string_lossy().into_owned()), path)
            }
        };
        if name.is_empty() || policies.iter().any(|known| known.name == name) {
            return Err(refuse(format!("two policies are called `{name}`: write NAME=PATH")));
        }
        let mesh = match text == CURRENT {
            true => Vec::new(),
            false if name == CURRENT => {
                return Err(refuse("`current` is what the scenarios have themselves".to_owned()));
            }
            false => manifests(&path, &Disk).unwrap_or_else(|refusal| {
                refusals.push(refusal);
                Vec::new()
            }),
        };
        policies.push(Rival { name, mesh });
    }
    refusals.iter().for_each(|refusal| mistakes::show(screen, refusal));
    if refusals.is_empty() { Ok(policies) } else { Err(Exit::BadInput) }
}

/// A name with its numbers beside it, or below it if it takes more than `width` columns.
pub(crate) fn named(name: &str, width: usize, numbers: &str, screen: &mut Screen) {
    if columns(name) >= width {
        screen.say(name);
        screen.say(format!("{:width$}{numbers}", "").trim_end());
    } else {
        screen.say(format!("{name:<width$}{numbers}").trim_end());
    }
}

fn show(comparison: &Comparison, compared: &Compared, screen: &mut Screen) {
    let titles: String = compared.measures.iter().map(|measure| format!("{:>14}", measure.that)).collect();
    for (at, scenario) in comparison.scenarios.iter().enumerate() {
        let scenario_name = scenario.name.value.as_str();
        screen.say("");
        named(scenario_name, 22, &titles, screen);
        for (policy, rival) in comparison.policies.iter().enumerate() {
            let name = format!("  {}", rival.name);
            if let Err(why) = &compared.values[policy][at] {
                screen.aside(&format!("error: {} on {}: {why}", rival.name, scenario.name.value));
                named(&name, 22, &format!(" {}", screen.paint(Paint::Bad, "refused")), screen);
                continue;
            }
            let cells: String = (0..compared.measures.len())
                .filter_map(|measure| Some((measure, compared.evidence(policy, at, measure)?.mean)))
                .map(|(measure, mean)| format!("{:>14}", value(&compared.measures[measure], mean)))
                .collect();
            named(&name, 22, &cells, screen);
        }
    }
    for pair in pairs(comparison) {
        let (first, second) = (&comparison.policies[pair.0].name, &comparison.policies[pair.1].name);
        let verdicts: Vec<Better> =
            (0..comparison.scenarios.len()).map(|scenario| compared.dominates(pair, scenario)).collect();
        let count = |which: Better| verdicts.iter().filter(|verdict| **verdict == which).count();
        let title = format!("\n{} against {} (99 %, paired)", first, second);
        screen.say(&screen.paint(Paint::Strong, &title));
        screen.say(&format!(
            "  better on {}, worse on {}, neither on {}",
            count(Better::First),
            count(Better::Second),
            count(Better::Neither)
        ));
        for (at, verdict) in verdicts.iter().enumerate() {
            let of = |which: Better| -> Vec<&str> {
                let all = compared.measures.iter().enumerate();
                all.filter(|(nth, _)| compared.better(pair, at, *nth) == which)
                    .map(|(_, it)| it.that.as_str())
                    .collect()
            };
            let (good, bad) = (of(Better::First), of(Better::Second));
            if good.is_empty() && bad.is_empty() {
                continue;
            }
            let mark = match verdict {
                Better::First => "+",
                Better::Second => "-",
                Better::Neither => "·",
            };
            let name = &comparison.scenarios[at].name.value;
            let side = |word: &str, list: &[&str]| (!list.is_empty()).then(|| format!("{word} {}", list.join(", ")));
            let parts: Vec<String> = [side("better", &good), side("worse", &bad)].into_iter().flatten().collect();
            screen.say(&format!("  {mark} {name}"));
            screen.say(&format!("      {}", parts.join("; ")));
        }
    }
}

fn pairs(comparison: &Comparison) -> Vec<(usize, usize)> {
    let count = comparison.policies.len();
    (0..count).flat_map(|first| (first + 1..count).map(move |second| (first, second))).collect()
}

fn write_csv(out: &mut dyn Write, comparison: &Comparison, compared: &Compared) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "scenario",
        "policy",
        "than",
        "measure",
        "unit",
        "mean",
        "half_width_95",
        "half_width_99",
        "better",
        "seeds",
        "refused",
    ])?;
    let seeds = comparison.seeds.len().to_string();
    let name = |policy: usize| comparison.policies[policy].name.as_str();
    for (at, scenario) in comparison.scenarios.iter().enumerate() {
        for (nth, measure) in compared.measures.iter().enumerate() {
            let unit = if measure.is_span { "s" } else { "" };
            let mut row = |policy: &str,
                           than: &str,
                           found: Option<squall_sim::tune::Evidence>,
                           better: &str,
                           why: &str| {
                let cell = |pick: fn(squall_sim::tune::Evidence) -> f64| {
                    found.map_or(String::new(), |it| pick(it).to_string())
                };
                let (mean, small, large) =
                    (cell(|it| it.mean), cell(|it| it.half_width_95), cell(|it| it.half_width_99));
                let name = scenario.name.value.as_str();
                csv.write_record([name, policy, than, &measure.that, unit, &mean, &small, &large, better, &seeds, why])
            };
            for policy in 0..comparison.policies.len() {
                let why = compared.values[policy][at].as_ref().err().map_or("", String::as_str);
                row(name(policy), "", compared.evidence(policy, at, nth), "", why)?;
            }
            for pair in pairs(comparison) {
                let better = match compared.better(pair, at, nth) {
                    Better::First => name(pair.0),
                    Better::Second => name(pair.1),
                    Better::Neither => "",
                };
                row(name(pair.0), name(pair.1), compared.contrast(pair, at, nth), better, "")?;
            }
        }
    }
    csv.flush()
}
