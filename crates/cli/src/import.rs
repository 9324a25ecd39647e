//! `squall import`: a scenario from what there is: manifests, a service graph, traces, access logs.

mod access_log;
mod calls;
mod isotope;
mod kubernetes;
mod spans;
mod tally;
mod time;
mod traces;

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::draft::{Draft, Load, NotWritten, label};
use crate::exit::Exit;
use crate::screen::Screen;

/// Write a scenario from manifests, a service graph, traces or an access log
///
/// DIR gets `scenario.yaml` and `mesh.yaml`, as of `squall new`. What the files say is taken; what they do not say (who calls whom, in the
/// case of manifests; how many requests at once a pod serves) stands there as a comment for you to fill in. Files are read in one pass, in bounded
/// memory. A line that cannot be read is counted and the first is shown with its place; nothing is left out silently.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall import k8s deploy/*.yaml --out shop        replicas, Services, routes; calls by their env
  squall import isotope graph.yaml --rate 200/s     a MockServiceGraph, as a scenario to go on with
  squall import traces spans.json                   Jaeger's JSON, or OTLP's: calls, times, errors
  squall import access-log access.log --out edge    arrivals, errors and times by path

Exit codes:
  0  both files are written
  2  nothing could be made of the files, or files are in the way
  4  nothing can be written there (a full disk, say)")]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Deployments, StatefulSets, Services, EndpointSlices, routes and policies of Kubernetes
    ///
    /// Services with their routes and policies become the mesh, workloads the services of the scenario. Manifests do not say who calls whom: an
    /// environment variable that names another Service (`CART_ADDR: cart:7070`) is taken for a call, and a comment says so.
    #[command(name = "k8s")]
    Kubernetes {
        /// YAML files, or directories of them
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        out: Out,
    },
    /// A service graph of Istio's isotope (a MockServiceGraph)
    Isotope {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        out: Out,
    },
    /// Spans: Jaeger's JSON (`{"data": […]}`), or OTLP's JSON, whole or a line per batch
    ///
    /// Who calls whom, how often, in which order and what at once; how long each service takes by itself (its span without the calls it makes), how
    /// often it fails by itself, and how often requests arrive. Links get what calls take beyond their servers.
    Traces {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        out: Out,
    },
    /// An access log: Squall's (JSON), Envoy's default format, or the common and combined log format
    ///
    /// How often requests arrive, by path, how many fail with which status, and how long they take (the common format does not say).
    #[command(name = "access-log")]
    AccessLog {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        out: Out,
    },
}

#[derive(clap::Args)]
struct Out {
    /// Where the files go [default: the scenario's name]
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,

    /// The scenario's name [default: that of the first file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Requests per second, in place of what the files say [default: as they say, else 100/s]
    #[arg(long, value_name = "RATE", value_parser = crate::args::rate)]
    rate: Option<u64>,

    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

/// How long the scenarios last.
const SECONDS: f64 = 30.0;

/// What an import came to.
struct Imported {
    draft: Draft,
    /// What a person should know: what was read, what was left out and why.
    notes: Vec<String>,
}

pub(crate) fn run(args: &ImportArgs, screen: &mut Screen) -> Exit {
    let (out, first, imported) = match &args.what {
        What::Kubernetes { files, out } => (out, files.first(), kubernetes::import(files, out.rate)),
        What::Isotope { file, out } => (out, Some(file), isotope::import(file, out.rate, screen)),
        What::Traces { files, out } => (out, files.first(), traces::import(files, out.rate)),
        What::AccessLog { files, out } => (out, files.first(), access_log::import(files, out.rate)),
    };
    let name = out.name.clone().unwrap_or_else(|| name_of(first.map(PathBuf::as_path)));
    let directory = out.out.clone().unwrap_or_else(|| PathBuf::from(&name));
    let written = imported.map_err(NotWritten::from).and_then(|mut imported| {
        if label(&name) != name {
            let near = label(&name);
            let why = format!("`{name}` cannot be a name: lower-case letters, digits and `-`, such as `{near}`");
            return Err(why.into());
        }
        imported.draft.name.clone_from(&name);
        if imported.draft.namespace.is_empty() {
            imported.draft.namespace.clone_from(&name);
        }
        let paths = imported.draft.write(&directory, out.force, screen)?;
        Ok((imported, paths))
    });
    match written {
        Ok((imported, paths)) => {
            for note in &imported.notes {
                screen.say(note);
            }
            for path in &paths {
                screen.say_whole(&format!("wrote {}", path.display()));
            }
            let scenario = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            screen.say_whole(&format!("\nNext: read it, then squall test {scenario}"));
            Exit::Pass
        }
        Err(why) => why.told(screen),
    }
}

/// That about as many are answered without error as were: two percent fewer, and three standard deviations of as many requests as arrive in
/// the scenario.
fn expected(good: u64, of: u64, loads: &[Load]) -> String {
    let rate = |load: &Load| load.arrivals.rsplit_once("rate: ")?.1.strip_suffix("/s")?.parse::<f64>().ok();
    let requests = (loads.iter().filter_map(rate).sum::<f64>() * SECONDS).max(1.0);
    let share = good as f64 / (of as f64).max(1.0);
    let least = share - 0.02 - 3.0 * (share * (1.0 - share) / requests).sqrt();
    format!("{{overall: 'successRate >= {:.3}'}}", least.max(0.0))
}

fn name_of(file: Option<&Path>) -> String {
    let stem = file.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    label(stem.as_deref().unwrap_or("imported"))
}

/// A file, opened.
fn open(path: &Path) -> Result<std::io::BufReader<std::fs::File>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if path.is_dir() {
        return Err(format!("cannot read {}: it is a directory", path.display()));
    }
    Ok(std::io::BufReader::with_capacity(1 << 16, file))
}
