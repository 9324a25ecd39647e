//! What `squall tune` can be told.

use std::path::PathBuf;

pub(super) const EVALUATIONS: usize = 200;
pub(super) const PATIENCE: u32 = 8;
pub(super) const FINALISTS: u32 = 4;

/// Find the values that policies should have
///
/// Tries other values in the policies of scenarios, in rounds, and says which to deploy: with numbers from the full world, on
/// seeds and scenarios that the search has not seen, and with the YAML. A file of `kind: Tuning` says what varies and what
/// is wanted (see scenarios/README.md); with --auto the usual settings of every policy vary, for the best success rate, then p99, then
/// amplification, within amplification <= 1.2 and recovery <= 10 s.
///
/// The search runs on the fast model, on the same seeds for everybody. Its best, and the policies as they are, then run in the full
/// world, and on seeds and scenarios held out. The recommended one is the best by the first objective; among those that
/// cannot be told apart by it (95 %, paired) the best by the second; and so on.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall tune scenarios/boutique/tuning.yaml         what the file says
  squall tune scenarios/boutique --auto              the usual settings, over all scenarios there
  squall tune tuning.yaml --minutes 10               as good as it gets in ten minutes
  squall tune tuning.yaml --evaluations 500          the same result every time, whatever --jobs is
  squall tune tuning.yaml --resume                   go on after a kill; nothing is run twice

What it writes into --out:
  recommended.yaml      the manifests to deploy; it says at its top where they come from
  pareto.csv            the current policies and the front of the search: values, and means of the objectives
  pareto.svg            the front, the current and the recommended policies and what was tried, as a picture: the first
                        objective against each other one, on the fast model; a point says its values
  confirmed.csv         the finalists in the full world: each objective with its 95 and 99 % intervals, on the seeds of the
                        search, on other seeds and on other scenarios, and paired less the current policies
  sensitivity.csv       what moving each knob alone does, with paired intervals
  evaluations.csv       everything that was tried
  counter-examples/     for each policy that is not recommended, files of a scenario that shows why
  journal.jsonl         every run; --resume goes on from it

Exit codes:
  0  there is a policy that breaks no constraint
  1  there is none; the one that breaks least is recommended all the same
  2  the arguments or the files are wrong
  4  the machine failed (a full disk, say); --resume goes on")]
pub(crate) struct TuneArgs {
    /// A file of `kind: Tuning`; or, with --auto, scenario files and directories
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Vary the usual settings of every policy
    #[arg(long)]
    pub(crate) auto: bool,

    /// Candidates to try, the current policies among them [default: 200]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) evaluations: Option<u32>,

    /// Search for so long, to the end of a round
    #[arg(long, short, value_name = "M", conflicts_with = "evaluations", value_parser = minutes)]
    pub(crate) minutes: Option<f64>,

    /// With --auto: seeds of each scenario, and as many more held out [default: 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) seeds: Option<u32>,

    /// End the search after so many rounds without an improvement
    #[arg(long, value_name = "N", default_value_t = PATIENCE, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) patience: u32,

    /// Ask the full world about so many of the front
    #[arg(long, value_name = "N", default_value_t = FINALISTS, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) finalists: u32,

    /// Where to write
    #[arg(long, short, value_name = "DIR", default_value = "reports/tune")]
    pub(crate) out: PathBuf,

    /// Go on from the journal there
    #[arg(long, conflicts_with = "fresh")]
    pub(crate) resume: bool,

    /// Begin anew, whatever is there
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Worlds to run at once. Default: one per core. The results do not depend on it
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 10_080.0 => Ok(minutes),
        Ok(_) | Err(_) => Err("minutes are a number above 0, up to 10080 (a week)".to_owned()),
    }
}
