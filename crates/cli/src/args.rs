//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ColorChoice, Parser, Subcommand, ValueEnum};
use squall_sim::EngineKind;

use crate::seeds::Seeds;
use crate::shard::Shard;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Rehearse a service mesh before it is deployed.
///
/// A scenario is a question about a mesh ("does a dead zone start a retry storm?") with the answer it must get. It runs in
/// virtual time, with the real proxy and the real control plane, on as many seeds as you like, and a failure replays bit
/// for bit.
#[derive(Parser)]
#[command(name = "squall", version, styles = STYLES, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Colours and progress bars
    ///
    /// `auto` uses them on a terminal, unless NO_COLOR or CI is set.
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto, global = true, value_name = "WHEN")]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  squall new                                         a first scenario of your own
  squall import traces spans.json --out shop         one from traces, manifests or access logs
  squall test scenarios/                             every scenario there, one seed each
  squall test scenarios/ --seeds 1..100              a hundred seeds each, on all cores
  squall replay shop.yaml --seed 7                   what happened on seed 7
  squall replay shop.yaml --seed 7 --request 311     what happened to one request, and why
  squall merge squall-shard-*.jsonl --junit out.xml  one result of the parts that --shard ran
  squall check scenarios/ mesh/                      only read the files
  squall explain retries.budget                      what a field means, its range, its default
  squall tune scenarios/boutique/tuning.yaml         which values should the policies have?
  squall compare current new.yaml -s scenarios/shop  two policies, pair by pair
  squall map outage.yaml --x load=0.5..2 --y fault.for=1s..20s
                                                     where does it not come back?
  squall validate                                    is the simulator right where the answer is known?
  squall control --from mesh/ --tokens tokens        the control plane, as a process
  squall proxy --config proxy.yaml                   a sidecar, as a process
  squall gateway --config edge.yaml                  where requests come in from outside, as a process
  squall tap --status 5xx                            watch the requests of a running proxy

Exit codes:
  0  every expectation held
  1  an expectation failed, or a run broke
  2  the arguments or the files are wrong
  3  the same seed gave two different histories
  4  the machine failed (a full disk, say); try again";

#[derive(Subcommand)]
pub(crate) enum Command {
    Test(Test),
    Replay(Replay),
    Merge(crate::merge::MergeArgs),
    Check(Check),
    Explain(crate::fields::ExplainArgs),
    New(crate::new::NewArgs),
    Import(crate::import::ImportArgs),
    Validate(Validate),
    Tune(crate::tune::TuneArgs),
    Compare(crate::compare::CompareArgs),
    Map(crate::map::MapArgs),
    Proxy(Box<crate::proxy::ProxyArgs>),
    Gateway(Box<crate::proxy::GatewayArgs>),
    ProxyInit(crate::proxy_init::ProxyInit),
    Control(crate::control::ControlArgs),
    Tap(Box<crate::tap::TapArgs>),
    /// Print the version
    Version,
}

/// Run scenarios and say whether their expectations held
///
/// Runs every file of `kind: Scenario` under each PATH on every seed. When all is done it says at the top what failed and why,
/// in a line or two of each; then one line per scenario: how many seeds passed, and of the worst of them success rate, 99th
/// percentile of the latency, amplification (attempts sent by all sidecars ÷ the same calls without retries) and recovery
/// after the last fault. Then each failure is told from first to last, with its success over time, and the end is the
/// command that replays the first. While it runs, stderr names what fails.
///
/// Lines fit 80 columns, on a wider terminal up to 100; what is too long goes on further in. Curves are drawn with block
/// characters; where the locale is not UTF-8, with digits: tenths of the requests that succeeded, # for all.
///
/// Files that a scenario refers to are not scenarios themselves. Scenarios marked `suite: validate` run only when their
/// file is named. An Istio isotope file (a MockServiceGraph) runs when it is named, under --rate for --duration.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall test scenarios/
  squall test scenarios/shop.yaml --seeds 1..100
  squall test scenarios/ --filter zone --csv out.csv
  squall test scenarios/ --github --junit squall.xml in a job of GitHub or (without --github) GitLab
  squall test scenarios/ --model fast --seeds 1..100 without bytes, where that will do
  squall test scenarios/ --seeds 1..100 --shard 2/5  a fifth of it; squall merge puts them together
  squall test scenarios/ --verify                    the same seed, the same history?
  squall test graph.yaml --rate 200/s --duration 10s an isotope file

Result files appear only when all runs are done, so that half a result never looks whole.

  --junit FILE    one test suite per scenario, one test case per seed, with the file and line of
                  what failed first, everything that failed, and the command that replays it

  --csv FILE      one row per scenario and seed:
    scenario, seed, engine
    model         full or fast
    verdict       pass, fail, refused (bad input), broken (a bug), diverged (see --verify) or
                  no-world (the machine gives none)
    digest        of every event of the run, in hexadecimal; records: how many they were
    simulated_s, requests, succeeded, unanswered, success_ratio, goodput_per_s
    latency_mean_ms, and so on for p50, p90, p95, p99, p999, max
    amplification_ratio
    recovery      no-fault, recovered (after recovery_s) or never
    failed        the checks that failed, with their values

  --parquet FILE  the same table in the same columns; what is empty in the CSV is null. seed,
    records, requests, succeeded and unanswered are whole numbers, what ends with _s, _ms, _ratio or
    _per_s a number with fractions, the rest text

  --hdr FILE      a log of HdrHistogram (1.3, V2): latencies in ns of the requests that arrived in
    a second of the scenario, to three digits; the Tag is scenario/seed. One that failed counts what
    it took, one without answer its time-out, as in the CSV

  --perfetto FILE JSON for ui.perfetto.dev: a process per host of each run; slices (category request,
    call, wait, attempt, serve, work) with request, span, parent, good, status and end; instants for
    breakers, ejections and the story; counters. Times are the scenario's

  --otlp FILE     a line per request: a trace with a span for each of those slices, with
    squall.scenario, squall.seed, squall.request and squall.kind. Times are the clock of the
    simulated world, which begins with 2026

  --html FILE     one page of at most 5 MB that asks no network: verdicts, then for each scenario
    one seed in detail (the first that failed, else the one with the lowest success rate), which
    runs once more to be looked at. Times in it are the scenario's; not with --real. What finds no
    room is said there: seeds that are like others, then details of what passed

  --history FILE  one JSON object per line. A run begins with its head, which has run (the
    scenario), seed, engine, model, digest and records; then come its records, each with at_ns,
    host, kind, request and more")]
pub(crate) struct Test {
    /// Scenario files, or directories to look for them in
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Which seeds: `7`, `1..100` (both ends included) or `1,3,9..12`
    #[arg(long, short, default_value = "1", value_name = "SEEDS")]
    pub(crate) seeds: Seeds,

    /// Worlds to run at once. Default: one per core; with --real 1. The results do not depend on it
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,

    /// Which simulated world: `event` is exact and fast, `turmoil` an independent reference with fewer powers
    #[arg(long, value_enum, default_value_t = Engine::Event)]
    pub(crate) engine: Engine,

    /// How much is simulated: `full` is the production proxy and control plane, byte for byte; `fast` the same policies without
    /// bytes, ten to twenty times cheaper. What needs HTTP, TLS or TCP (loss, narrow links, drains) `fast` refuses by name
    #[arg(long, value_enum, default_value_t = Model::Full)]
    pub(crate) model: Model,

    /// Run on this machine's loopback in real time instead, with the same proxy and control plane
    #[arg(long, conflicts_with_all = ["engine", "model", "verify"])]
    pub(crate) real: bool,

    /// Run each seed twice and compare the histories; a difference is exit code 3
    #[arg(long)]
    pub(crate) verify: bool,

    /// Run the I-th of N parts of these runs, and write what `squall merge` makes one result of: 2/5
    ///
    /// Runs (a scenario on a seed each) are dealt out in turn, so that parts take about as long as each other. Other result files
    /// are of this part alone.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,

    /// Where to write the part [default: squall-shard-I-of-N.jsonl]
    #[arg(long, value_name = "FILE", requires = "shard")]
    pub(crate) shard_file: Option<PathBuf>,

    /// Run only scenarios with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Say only what failed, and the totals
    #[arg(long, short)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) isotope: Isotope,

    /// In GitHub Actions: annotate the lines of what failed, and append to the job's summary
    ///
    /// One annotation per scenario, at the expectation that failed first; mistakes in files at their places. The summary, a
    /// table and every failure, goes to the file that GITHUB_STEP_SUMMARY names, if it is set.
    #[arg(long)]
    pub(crate) github: bool,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Write the results as CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// Write the results as Parquet, in the columns of the CSV
    #[arg(long, value_name = "FILE")]
    pub(crate) parquet: Option<PathBuf>,

    /// Write the latencies of all requests as a log of HdrHistogram
    #[arg(long, value_name = "FILE")]
    pub(crate) hdr: Option<PathBuf>,

    /// Write every request, call and attempt as slices for ui.perfetto.dev (some kB per request)
    #[arg(long, value_name = "FILE")]
    pub(crate) perfetto: Option<PathBuf>,

    /// Write every request as a trace of OpenTelemetry: OTLP as JSON lines (some kB per request)
    #[arg(long, value_name = "FILE")]
    pub(crate) otlp: Option<PathBuf>,

    /// Write a page to read: verdicts, timelines, who called whom, the worst requests
    #[arg(long, value_name = "FILE", conflicts_with = "real")]
    pub(crate) html: Option<PathBuf>,

    /// Write every record of every run as JSON lines (some hundred bytes per record)
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

/// Tell the story of one run
///
/// Runs a scenario on one seed and prints what happened in order of time, then the verdict. The same binary, file and seed
/// give the same story every time.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall replay scenarios/shop.yaml --seed 7
  squall replay scenarios/shop.yaml --seed 7 --request 311
  squall replay scenarios/shop.yaml --seed 7 --service catalog")]
pub(crate) struct Replay {
    /// A scenario file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The seed of every die in the world
    #[arg(long, short)]
    pub(crate) seed: u64,

    /// What happened to this request of the load (they are numbered from 1 in order of arrival), over all hosts
    #[arg(long, value_name = "K", conflicts_with = "service")]
    pub(crate) request: Option<u64>,

    /// Everything that happened on the hosts of this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,

    /// Which simulated world
    #[arg(long, value_enum, default_value_t = Engine::Event)]
    pub(crate) engine: Engine,

    /// How much is simulated; see `squall test --help`
    #[arg(long, value_enum, default_value_t = Model::Full)]
    pub(crate) model: Model,

    #[command(flatten)]
    pub(crate) isotope: Isotope,
}

/// Read files and show every mistake in them, without running anything
///
/// Scenarios are read with everything they refer to; any other YAML is read as mesh manifests (Kubernetes Service,
/// Gateway API HTTPRoute, Squall's TrafficPolicy), all files together, as they would be deployed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall check scenarios/
  squall check mesh/shop.yaml mesh/policy.yaml
  squall check scenarios/ mesh/ --sarif out.sarif    for code scanning, from the top of the repository")]
pub(crate) struct Check {
    /// Scenario or mesh files, or directories of them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Write the mistakes as SARIF 2.1.0, also if there are none
    #[arg(long, value_name = "FILE")]
    pub(crate) sarif: Option<PathBuf>,
}

/// Measure what is known from formulas and published experiments
///
/// Runs every scenario of `suite: validate` under each PATH and compares what it measures with the answers it states: in two
/// layers, `fast` (policy core and service model, without bytes) and `full` (the whole thing, real proxies over the event
/// engine), so that a mismatch says which is wrong.
///
/// Replications run on the fixed seeds 1, 2, 3 … An answer passes when the mean is off by at most 1.5 × its tolerance plus
/// the error that its source states; the 99 % confidence half-width must be within the tolerance, or it is `imprecise`. What
/// is exact (`tolerance: exact`, `pathwise`, `littlesLaw`) must hold in every replication.
///
/// How scenarios state answers is in scenarios/README.md.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall validate                                    all known answers, on all cores
  squall validate --quick                            without those marked `slow`
  squall validate --filter mm1 --layer full          some of them, in one layer
  squall validate my/answers.yaml                    answers of your own

Result files (written by default if nothing is left out; name them to have them anyway):
  --csv FILE    one row per answer and layer: case, layer, source, expected, measured, half_width_99,
                sigmas_off, verdict (pass, fail, imprecise, exempt), reason, replications
  --table FILE  the same as a Markdown table

Exit codes:
  0  every answer is as known
  1  one is not, or could not be measured
  2  the arguments or the files are wrong")]
pub(crate) struct Validate {
    /// Scenario files, or directories to look for them in [default: scenarios/known-answers]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,

    /// Leave out what is marked `slow`
    #[arg(long)]
    pub(crate) quick: bool,

    /// Only this layer
    #[arg(long, value_enum)]
    pub(crate) layer: Option<Layer>,

    /// Only scenarios with this text in their name
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,

    /// Worlds to run at once. Default: one per core. The results do not depend on it
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,

    /// Write the results as CSV [default: reports/known_answers.csv]
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// Write the results as a Markdown table [default: reports/known_answers.md]
    #[arg(long, value_name = "FILE")]
    pub(crate) table: Option<PathBuf>,

    /// Say how long each scenario took, on stderr
    #[arg(long)]
    pub(crate) times: bool,
}

/// The layers of a validation.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Layer {
    /// Policy core and service model, without bytes
    Fast,
    /// Real proxies over the event engine
    Full,
}

impl From<Layer> for squall_sim::scenario::Layer {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Fast => Self::Fast,
            Layer::Full => Self::Full,
        }
    }
}

/// How an isotope file is asked; it has no load of its own.
#[derive(clap::Args)]
pub(crate) struct Isotope {
    /// Isotope files only: requests per second, Poisson [default: 100/s]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) rate: Option<u64>,

    /// Isotope files only: for how long [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
}

/// The simulated worlds.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Engine {
    Event,
    Turmoil,
}

/// How much of a mesh is simulated.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Model {
    Full,
    Fast,
}

impl From<Model> for squall_sim::Model {
    fn from(model: Model) -> Self {
        match model {
            Model::Full => Self::Full,
            Model::Fast => Self::Fast,
        }
    }
}

impl From<Engine> for EngineKind {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Event => Self::Event,
            Engine::Turmoil => Self::Turmoil,
        }
    }
}

/// `200/s` or `200`, in thousandths of a request per second.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    squall_control::units::scaled(number, 1000)
        .filter(|rate| (1..=1_000_000_000).contains(rate))
        .ok_or_else(|| "a rate is a number per second, such as 200/s or 0.5/s, up to 1000000/s".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    squall_control::units::duration(text).and_then(|d| match d.is_zero() {
        true => Err("must be more than 0".into()),
        false => Ok(d),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn real_runs_refuse_what_needs_a_simulated_world() {
        for more in [&["--verify"][..], &["--engine", "turmoil"], &["--model", "fast"]] {
            assert!(Args::try_parse_from(["squall", "test", "x", "--real"].iter().chain(more)).is_err(), "{more:?}");
        }
    }

    #[test]
    fn rates_are_per_second() {
        assert_eq!(rate("200/s"), Ok(200_000));
        assert_eq!(rate("0.5"), Ok(500));
        for bad in ["0", "200/m", "-1", "", "2000000/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
