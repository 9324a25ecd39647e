//! A scenario in the making: what `squall new` and `squall import` know of services, written as a commented scenario and its manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};

use crate::exit::Exit;
use crate::files::Pending;
use crate::mistakes;
use crate::screen::Screen;

/// The name of the scenario's file.
const SCENARIO: &str = "scenario.yaml";
/// The name of the file of manifests.
const MESH: &str = "mesh.yaml";

/// A scenario and its manifests.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// `metadata.name`.
    pub(crate) name: String,
    /// The comment at the top, a line each.
    pub(crate) question: Vec<String>,
    /// The namespace of all services.
    pub(crate) namespace: String,
    /// As YAML has it.
    pub(crate) duration: String,
    /// Lines of `network`, if there is something to say.
    pub(crate) network: Vec<String>,
    pub(crate) services: Vec<Service>,
    pub(crate) loads: Vec<Load>,
    /// Each with its comment.
    pub(crate) faults: Vec<(String, String)>,
    /// Each with its comment.
    pub(crate) expect: Vec<(String, String)>,
    /// The manifests, if there are any already; else they are made.
    pub(crate) manifests: Option<String>,
    /// Files beside, by name.
    pub(crate) beside: Vec<(String, String)>,
}

/// A workload and its Service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// What is not known for sure, or from where it is.
    pub(crate) notes: Vec<String>,
    pub(crate) replicas: u32,
    /// The application's port.
    pub(crate) port: u16,
    pub(crate) entry: bool,
    pub(crate) grpc: bool,
    /// Fields of the scenario between `port` and `steps`, as YAML has them, each with a comment or none.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
    /// Time-outs of its HTTPRoute: of the whole request, of a try.
    pub(crate) timeouts: Option<(String, String)>,
    /// Whether it has a policy with retries.
    pub(crate) retries: bool,
}

impl Service {
    /// A field, without a comment.
    pub(crate) fn say(&mut self, field: impl Into<String>) {
        self.fields.push((field.into(), String::new()));
    }
}

/// What a service does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A call, and more fields of it (`repeat: 2`).
    Call(String, String),
    /// A wait.
    Sleep(String),
    /// Branches at once.
    Parallel(Vec<Vec<Step>>),
}

/// A source of requests.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) to: String,
    /// `rate: 100/s`.
    pub(crate) arrivals: String,
    /// Kinds of requests by weight; empty: the target's.
    pub(crate) mix: Vec<(String, u64)>,
    pub(crate) note: String,
}

impl Step {
    fn called<'s>(&'s self, into: &mut Vec<&'s str>) {
        match self {
            Self::Call(name, _) => into.push(name),
            Self::Sleep(_) => {}
            Self::Parallel(branches) => branches.iter().flatten().for_each(|step| step.called(into)),
        }
    }

    fn flow(&self) -> String {
        match self {
            Self::Call(name, more) if more.is_empty() => format!("{{call: {name}}}"),
            Self::Call(name, more) => format!("{{call: {name}, {more}}}"),
            Self::Sleep(time) => format!("{{sleep: {time}}}"),
            Self::Parallel(branches) => {
                let branch = |steps: &Vec<Self>| match steps.as_slice() {
                    [one] => one.flow(),
                    many => format!("[{}]", many.iter().map(Self::flow).collect::<Vec<_>>().join(", ")),
                };
                format!("{{parallel: [{}]}}", branches.iter().map(branch).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Service {
    /// Whom it calls, each once, in order.
    pub(crate) fn calls(&self) -> Vec<&str> {
        let mut all = Vec::new();
        self.steps.iter().for_each(|step| step.called(&mut all));
        let mut seen = BTreeSet::new();
        all.retain(|name| seen.insert(*name));
        all
    }
}

/// A name as Kubernetes and scenarios have it, of whatever a file calls a service.
pub(crate) fn label(text: &str) -> String {
    let mut name: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name: String = name.trim_matches('-').chars().take(50).collect();
    match name.trim_end_matches('-') {
        "" => "service".to_owned(),
        "control" | "load" => format!("{name}-service"),
        found if found.starts_with(|c: char| c.is_ascii_digit()) => format!("s-{found}"),
        found => found.to_owned(),
    }
}

impl Draft {
    /// Services in a circle of calls, if there is one: the first again at the end.
    pub(crate) fn circle(&self) -> Option<Vec<String>> {
        let calls: BTreeMap<&str, Vec<&str>> =
            self.services.iter().map(|service| (service.name.as_str(), service.calls())).collect();
        fn walk<'s>(
            at: &'s str,
            calls: &BTreeMap<&'s str, Vec<&'s str>>,
            path: &mut Vec<&'s str>,
            done: &mut BTreeSet<&'s str>,
        ) -> bool {
            if let Some(from) = path.iter().position(|known| *known == at) {
                path.drain(..from);
                path.push(at);
                return true;
            }
            if !done.insert(at) {
                return false;
            }
            path.push(at);
            let found = calls.get(at).into_iter().flatten().any(|next| walk(next, calls, path, done));
            if !found {
                path.pop();
            }
            found
        }
        let mut done = BTreeSet::new();
        for service in &self.services {
            let mut path = Vec::new();
            if walk(&service.name, &calls, &mut path, &mut done) {
                return Some(path.into_iter().map(str::to_owned).collect());
            }
        }
        None
    }

    /// The scenario's file.
    pub(crate) fn scenario(&self) -> String {
        let mut text = String::new();
        for line in &self.question {
            let _ = writeln!(text, "{}", format!("# {line}").trim_end());
        }
        let _ = write!(
            text,
            "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: {}}}\nspec:\n  # The manifests that would be deployed; they are \
             used as they are.\n  mesh: [{MESH}]\n  # How long load arrives, in the world's time.\n  duration: {}\n",
            self.name, self.duration
        );
        if !self.network.is_empty() {
            text.push_str("  network:\n");
            self.network.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        }
        text.push_str("\n  # The applications: what they do with a request. `squall explain services`\n  services:\n");
        for service in &self.services {
            service.write(&mut text);
        }
        text.push_str("\n  # Who asks. `squall explain load`\n  load:\n");
        for load in &self.loads {
            load.write(self.loads.len() > 1, &mut text);
        }
        if !self.faults.is_empty() {
            text.push_str("\n  # What goes wrong. `squall explain faults`\n  faults:\n");
            entries(&self.faults, &mut text);
        }
        text.push_str("\n  # What must hold. `squall explain expect`, `squall explain measures`\n  expect:\n");
        entries(&self.expect, &mut text);
        text
    }

    /// The file of manifests.
    pub(crate) fn mesh(&self) -> String {
        if let Some(given) = &self.manifests {
            return given.clone();
        }
        let mut text = String::from(
            "# What a cluster would get: a Service each, how long requests may take, and what the Gateway API has no word for.\n",
        );
        for (nth, service) in self.services.iter().enumerate() {
            if nth > 0 {
                text.push_str("---\n");
            }
            service.manifests(&self.namespace, &mut text);
        }
        text
    }

    /// Writes both files, and those beside, into `directory`, after reading them as every command would. `force`: over files that are
    /// there.
    ///
    /// # Errors
    /// What is in the way, or the mistakes in what would be written, which were shown; or what the machine says.
    pub(crate) fn write(&self, directory: &Path, force: bool, screen: &mut Screen) -> Result<Vec<PathBuf>, NotWritten> {
        let (scenario, mesh) = (self.scenario(), self.mesh());
        let mut texts = vec![(SCENARIO.to_owned(), scenario), (MESH.to_owned(), mesh)];
        texts.extend(self.beside.iter().cloned());
        let files = Memory::new(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        if let Err(refusal) = load_file(Path::new(SCENARIO), &files, &IsotopeLoad::default()) {
            mistakes::show(screen, &refusal);
            return Err("nothing was written: scenario.yaml and mesh.yaml, as they would be, have these mistakes"
                .to_owned()
                .into());
        }
        let paths: Vec<PathBuf> = texts.iter().map(|(name, _)| directory.join(name)).collect();
        if let Some(there) = paths.iter().find(|path| path.exists()).filter(|_| !force) {
            let why = format!("{} is there already: give another --out, or --force to write over it", there.display());
            return Err(why.into());
        }
        match put(directory, &paths, &texts) {
            Ok(()) => Ok(paths),
            Err(why) => Err(NotWritten { why, exit: Exit::Infrastructure }),
        }
    }
}

/// Writes each file whole, and none unless all can be.
fn put(directory: &Path, paths: &[PathBuf], texts: &[(String, String)]) -> Result<(), String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    let mut pending = Vec::new();
    for (path, (_, text)) in paths.iter().zip(texts) {
        let mut file = Pending::start(path)?;
        file.write_all(text.as_bytes()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        pending.push(file);
    }
    pending.into_iter().try_for_each(Pending::finish)
}

/// Why there are no files.
#[derive(Debug)]
pub(crate) struct NotWritten {
    why: String,
    exit: Exit,
}

impl NotWritten {
    /// Says it; how the process ends.
    pub(crate) fn told(&self, screen: &mut Screen) -> Exit {
        screen.aside(&format!("error: {}", self.why));
        self.exit
    }
}

/// The arguments or the files are wrong.
impl From<String> for NotWritten {
    fn from(why: String) -> Self {
        Self { why, exit: Exit::BadInput }
    }
}

fn entries(list: &[(String, String)], text: &mut String) {
    for (comment, entry) in list {
        if !comment.is_empty() {
            let _ = writeln!(text, "    # {comment}");
        }
        let _ = writeln!(text, "    - {entry}");
    }
}

impl Service {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "    {}:", self.name);
        for note in &self.notes {
            let _ = writeln!(text, "      # {note}");
        }
        let _ = writeln!(text, "      port: {}", self.port);
        if self.grpc {
            text.push_str("      protocol: grpc\n");
        }
        if self.entry {
            text.push_str("      entry: true\n");
        }
        let _ = writeln!(text, "      replicas: {}", self.replicas);
        for (field, comment) in &self.fields {
            let comment = if comment.is_empty() { String::new() } else { format!("  # {comment}") };
            let _ = writeln!(text, "      {field}{comment}");
        }
        if !self.steps.is_empty() {
            text.push_str("      steps:\n");
            for step in &self.steps {
                let _ = writeln!(text, "        - {}", step.flow());
            }
        }
    }

    fn manifests(&self, namespace: &str, text: &mut String) {
        let name = &self.name;
        let protocol = if self.grpc { "grpc" } else { "http" };
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  selector: {{app: {name}}}\n  ports:\n    - \
             {{name: {protocol}, port: 80, targetPort: {}, appProtocol: {protocol}}}\n",
            self.port
        );
        let route = if self.grpc { "GRPCRoute" } else { "HTTPRoute" };
        if let Some((request, attempt)) = self.timeouts.as_ref().filter(|_| !self.grpc) {
            let _ = write!(
                text,
                "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {route}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  parentRefs: \
                 [{{group: \"\", kind: Service, name: {name}, port: 80}}]\n  rules:\n    # The whole request, over all tries; and one try.\n    - timeouts: \
                 {{request: {request}, backendRequest: {attempt}}}\n      backendRefs: [{{name: {name}, port: 80}}]\n"
            );
        }
        if self.retries {
            let _ = write!(
                text,
                "---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  targetRefs: \
                 [{{group: \"\", kind: Service, name: {name}}}]\n  # Tries after the first, within a budget, so that they cannot become a storm.\n  # `squall \
                 explain retries`\n  retries:\n    attempts: 2\n    on: [connect-failure, refused-stream, reset, \"503\"]\n    budget: {{percent: 20, \
                 minPerSecond: 10, window: 10s}}\n"
            );
        }
    }
}

impl Load {
    fn write(&self, named: bool, text: &mut String) {
        if !self.note.is_empty() {
            let _ = writeln!(text, "    # {}", self.note);
        }
        let _ = writeln!(text, "    - to: {}", self.to);
        if named && !self.arrivals.starts_with("name:") {
            let _ = writeln!(text, "      name: load-{}", self.to);
        }
        let _ = writeln!(text, "      {}", self.arrivals);
        if !self.mix.is_empty() {
            text.push_str("      mix:\n");
            for (request, weight) in &self.mix {
                let _ = writeln!(
                    text,
                    "        - {{request: \"{}\", weight: {weight}}}",
                    request.replace('\\', "\\\\").replace('"', "\\\"")
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, calls: &[&str]) -> Service {
        let steps = calls.iter().map(|call| Step::Call((*call).to_owned(), String::new())).collect();
        Service { name: name.to_owned(), steps, ..Service::default() }
    }

    #[test]
    fn a_circle_of_calls_is_found() {
        let services = vec![service("a", &["b"]), service("b", &["c", "d"]), service("c", &[]), service("d", &["b"])];
        let draft = Draft { services, ..Draft::default() };
        assert_eq!(draft.circle(), Some(["b", "d", "b"].map(str::to_owned).to_vec()));
        let services = vec![service("a", &["b", "c"]), service("b", &["c"]), service("c", &[])];
        assert_eq!(Draft { services, ..Draft::default() }.circle(), None);
    }

    #[test]
    fn whatever_a_file_calls_a_service_becomes_a_name() {
        for (given, want) in [
            ("ProductCatalog", "productcatalog"),
            ("cart_service.v1", "cart-service-v1"),
            ("--", "service"),
            ("7up", "s-7up"),
            ("control", "control-service"),
            ("GET /x", "get-x"),
        ] {
            assert_eq!(label(given), want);
        }
    }
}
