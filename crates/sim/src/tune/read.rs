//! Reads `kind: Tuning`. Every mistake is collected, with its place.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use squall_control::yaml::{self, Fields, Kind, Node, Value};
use squall_control::{Mistake, Mistakes, Place, closest};

use super::edit::{Found, Path, find};
use super::knob::{Knob, Resource, range};
use super::start::start;
use super::want::{Across, Constraint, Margin, Objective};
use super::{KIND, Rival, Tuning, auto, variant};
use crate::scenario::{
    Files, IsotopeLoad, Measured, MeshFile, Refusal, Scenario, beside, expression, header, load_file, once,
};

/// The most seeds of a scenario.
const SEEDS_MAX: u32 = 1000;
/// The most knobs: a search over more would take longer than anyone waits.
const KNOBS_MAX: usize = 64;

/// The files that a document of `kind: Tuning` names, relative to it. What cannot be read is left out.
pub(crate) fn files_of(document: &Node) -> Vec<&str> {
    fn at<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
        let Some((first, rest)) = path.split_first() else { return Some(node) };
        let Kind::Map(entries) = &node.kind else { return None };
        at(&entries.iter().find(|(key, _)| key.name == *first)?.1, rest)
    }
    fn texts<'n>(node: &'n Node, into: &mut Vec<&'n str>) {
        match &node.kind {
            Kind::Scalar { text, .. } => into.push(text),
            Kind::List(items) => items.iter().for_each(|item| texts(item, into)),
            Kind::Map(entries) => entries.iter().for_each(|(_, value)| texts(value, into)),
        }
    }
    let mut files = Vec::new();
    for path in
        [&["spec", "policies"][..], &["spec", "against"], &["spec", "scenarios"], &["spec", "holdOut", "scenarios"]]
    {
        if let Some(node) = at(document, path) {
            texts(node, &mut files);
        }
    }
    files
}

/// Reads the file at `path` and all it names.
///
/// # Errors
/// All mistakes of all files.
pub(super) fn load(path: &FilePath, files: &dyn Files) -> Result<Tuning, Refusal> {
    let name: Arc<str> = path.to_string_lossy().into();
    let text = files.read(path).map_err(|error| {
        let mistakes = vec![Mistake::new(&Place::whole(&name), format!("cannot read it: {error}"))];
        Refusal { mistakes, sources: BTreeMap::new() }
    })?;
    let reader = Reader { files, mistakes: Mistakes::new(), sources: std::cell::RefCell::default() };
    reader.sources.borrow_mut().insert(Arc::clone(&name), text.as_str().into());
    let tuning = match yaml::parse(&name, &text) {
        Ok(documents) => reader.tuning(&documents, &name, &text),
        Err(syntax) => {
            reader.mistakes.extend(syntax);
            None
        }
    };
    if tuning.is_none() && reader.mistakes.is_empty() {
        reader.mistakes.push(Mistake::new(&Place::whole(&name), "there is nothing to tune in it"));
    }
    let sources = reader.sources.into_inner();
    match reader.mistakes.check(tuning) {
        Ok(tuning) => Ok(tuning.expect("without a tuning there is a mistake")),
        Err(mistakes) => Err(Refusal { mistakes: once(mistakes), sources }),
    }
}

/// The manifests of a file, or of a directory.
pub(super) fn manifests(path: &FilePath, files: &dyn Files) -> Result<Vec<MeshFile>, Refusal> {
    let mistakes = Mistakes::new();
    let mut sources = BTreeMap::new();
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let paths = match files.list(path) {
        Ok(all) if !all.is_empty() && all != [path.to_path_buf()] => all.into_iter().filter(is_yaml).collect(),
        Ok(_) | Err(_) => vec![path.to_path_buf()],
    };
    let mut found = Vec::new();
    for path in paths {
        let name: Arc<str> = path.to_string_lossy().into();
        match files.read(&path) {
            Ok(text) => {
                let text: Arc<str> = text.into();
                sources.insert(Arc::clone(&name), Arc::clone(&text));
                if let Err(syntax) = yaml::parse(&name, &text) {
                    mistakes.extend(syntax);
                }
                let file = MeshFile { name, text };
                if variant::resources(&file).is_empty() && mistakes.is_empty() {
                    mistakes.push(Mistake::new(&Place::whole(&file.name), "there is no manifest in it"));
                }
                found.push(file);
            }
            Err(error) => mistakes.push(Mistake::new(&Place::whole(&name), format!("cannot read it: {error}"))),
        }
    }
    mistakes.check(found).map_err(|mistakes| Refusal { mistakes, sources })
}

struct Reader<'f> {
    files: &'f dyn Files,
    mistakes: Mistakes,
    sources: std::cell::RefCell<BTreeMap<Arc<str>, Arc<str>>>,
}

impl Reader<'_> {
    fn tuning(&self, documents: &[Node], file: &str, text: &str) -> Option<Tuning> {
        let [document] = documents else {
            let second = documents.get(1)?;
            self.mistakes.push(Mistake::new(&second.place, "one tuning per file"));
            return None;
        };
        let whole = Value::new(document, &self.mistakes);
        let fields = whole.fields("a tuning", &["apiVersion", "kind", "metadata", "spec"])?;
        header(fields, KIND);
        let metadata = fields.required("metadata")?.fields("metadata", &["name"])?;
        let name = metadata.required("name").and_then(|value| value.name());
        let known = &[
            "scenarios",
            "policies",
            "holdOut",
            "seeds",
            "vary",
            "objectives",
            "constraints",
            "against",
            "start",
            "noWorseThan",
            "undominatedBy",
        ];
        let fields = fields.required("spec")?.fields("a tuning's spec", known)?;
        let policies = fields.get("policies").map_or_else(Vec::new, |list| self.manifests(list));
        let scenarios = self.scenarios(fields.required("scenarios"), &policies);
        let seeds = fields.get("seeds").map_or(Some(6), |value| value.integer_u32(2, SEEDS_MAX));
        let (hold_out, hold_out_seeds) = self.hold_out(fields.get("holdOut"), &policies)?;
        for one in &hold_out {
            if let Some(other) = scenarios.iter().find(|other| other.name.value == one.name.value) {
                let message = format!("`{}` is held out and searched over", one.name.value);
                self.mistakes.push(Mistake::new(&one.name.place, message).label(&other.name.place, "the same one"));
            }
        }
        let against = fields.get("against").map_or_else(Vec::new, |value| self.rivals(value));
        let objectives = self.objectives(fields.get("objectives"), &scenarios);
        let constraints = self.constraints(fields.get("constraints"), &scenarios);
        // What follows looks into the scenarios, all of them.
        if scenarios.is_empty() || !self.mistakes.is_empty() {
            return None;
        }
        for rival in &against {
            for scenario in &scenarios {
                if let Err(found) = scenario.over(variant::replaced(&scenario.mesh, &rival.mesh)) {
                    self.mistakes.extend(found);
                }
            }
        }
        let knobs = match fields.get("vary") {
            Some(list) => self.knobs(list, &scenarios, text),
            None => auto::knobs(&scenarios),
        };
        if knobs.is_empty() && self.mistakes.is_empty() {
            let mistake = Mistake::new(fields.whole().place(), "nothing varies: no policy here has a setting to tune");
            self.mistakes.push(mistake.help("name policies and fields under `vary`"));
        }
        let named = |field| fields.get(field).map_or_else(Vec::new, |list| self.named(list, &against));
        let start = named("start").into_iter().filter_map(|(at, place)| {
            let found = start(&against[at], &place, &knobs, &scenarios);
            found.map_err(|mistakes| self.mistakes.extend(mistakes)).ok()
        });
        let start = start.collect();
        let numbers = |field| named(field).into_iter().map(|(at, _)| at).collect();
        let (no_worse_than, undominated_by) = (numbers("noWorseThan"), numbers("undominatedBy"));
        Some(Tuning {
            name: name?.to_owned(),
            file: file.into(),
            scenarios,
            hold_out,
            seeds: seeds?,
            hold_out_seeds,
            knobs,
            objectives: objectives?,
            constraints,
            against,
            start,
            no_worse_than,
            undominated_by,
        })
    }

    /// Names of policies under `against`, as numbers, each with its place.
    fn named(&self, value: Value<'_>, against: &[Rival]) -> Vec<(usize, Place)> {
        let mut found: Vec<(usize, Place)> = Vec::new();
        for value in value.list().unwrap_or_default() {
            let Some(name) = value.name() else { continue };
            let names: Vec<&str> = against.iter().map(|rival| rival.name.as_str()).collect();
            match names.iter().position(|known| *known == name) {
                Some(at) if found.iter().any(|(known, _)| *known == at) => {
                    let _ = value.refuse::<()>(format!("`{name}` is named twice"));
                }
                Some(at) => found.push((at, value.place().clone())),
                None => {
                    let mistake = Mistake::new(value.place(), format!("there is no `{name}` under `against`"));
                    self.mistakes.push(match names.is_empty() {
                        true => mistake.help("name its manifests there: against: {NAME: FILE}"),
                        false => mistake.suggest(name, names.iter().copied()),
                    });
                }
            }
        }
        found
    }

    /// A list of manifests, or one.
    fn manifests(&self, value: Value<'_>) -> Vec<MeshFile> {
        let list = if value.is_list() { value.list().unwrap_or_default() } else { vec![value] };
        list.into_iter().filter_map(|value| self.manifest(value)).collect()
    }

    fn manifest(&self, value: Value<'_>) -> Option<MeshFile> {
        let path = beside(&value.place().file, value.name()?);
        let text: Arc<str> = match self.files.read(&path) {
            Ok(text) => text.into(),
            Err(error) => return value.refuse(format!("cannot read {}: {error}", path.display())),
        };
        let name: Arc<str> = path.to_string_lossy().into();
        self.sources.borrow_mut().insert(Arc::clone(&name), Arc::clone(&text));
        match yaml::parse(&name, &text) {
            Ok(_) => Some(MeshFile { name, text }),
            Err(syntax) => {
                self.mistakes.extend(syntax);
                None
            }
        }
    }

    fn scenarios(&self, list: Option<Value<'_>>, policies: &[MeshFile]) -> Vec<Arc<Scenario>> {
        let Some(value) = list else { return Vec::new() };
        let list = value.list().unwrap_or_default();
        if value.is_list() && list.is_empty() {
            let _ = value.refuse::<()>("without a scenario there is nothing to measure");
        }
        let mut found: Vec<(PathBuf, Arc<Scenario>)> = Vec::new();
        for value in list {
            let Some(text) = value.name() else { continue };
            let path = beside(&value.place().file, text);
            if found.iter().any(|(known, _)| *known == path) {
                let _ = value.refuse::<()>(format!("{} is given twice", path.display()));
                continue;
            }
            let loaded = match self.files.read(&path) {
                Ok(_) => load_file(&path, self.files, &IsotopeLoad::default()),
                Err(error) => {
                    let _ = value.refuse::<()>(format!("cannot read {}: {error}", path.display()));
                    continue;
                }
            };
            match loaded {
                Ok(scenario) => {
                    for file in &scenario.mesh {
                        self.sources.borrow_mut().insert(Arc::clone(&file.name), Arc::clone(&file.text));
                    }
                    let given = if policies.is_empty() {
                        Ok(scenario)
                    } else {
                        scenario.over(variant::replaced(&scenario.mesh, policies))
                    };
                    match given {
                        Ok(scenario) => found.push((path, Arc::new(scenario))),
                        Err(mistakes) => self.mistakes.extend(mistakes),
                    }
                }
                Err(refusal) => {
                    self.mistakes.extend(refusal.mistakes);
                    self.sources.borrow_mut().extend(refusal.sources);
                }
            }
        }
        let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
        for (_, scenario) in &found {
            if let Some(first) = seen.insert(&scenario.name.value, &scenario.name.place) {
                let message = format!("there are two scenarios called `{}`", scenario.name.value);
                self.mistakes.push(Mistake::new(&scenario.name.place, message).label(first, "the other one"));
            }
        }
        found.into_iter().map(|(_, scenario)| scenario).collect()
    }

    fn hold_out(&self, value: Option<Value<'_>>, policies: &[MeshFile]) -> Option<(Vec<Arc<Scenario>>, u32)> {
        const SEEDS: u32 = 6;
        let Some(value) = value else { return Some((Vec::new(), SEEDS)) };
        let fields = value.fields("holdOut", &["scenarios", "seeds"])?;
        let seeds = fields.get("seeds").map_or(Some(SEEDS), |value| value.integer_u32(2, SEEDS_MAX));
        let scenarios = fields.get("scenarios").map_or_else(Vec::new, |list| self.scenarios(Some(list), policies));
        Some((scenarios, seeds?))
    }

    fn rivals(&self, value: Value<'_>) -> Vec<Rival> {
        let entries = value.entries().unwrap_or_default();
        let rival = |(key, value): (&yaml::Key, Value<'_>)| {
            let plain = key.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !plain || ["current", "recommended"].contains(&key.name.as_str()) {
                let message = format!("`{}` cannot be a name here: use lower-case letters, digits and `-`", key.name);
                self.mistakes.push(Mistake::new(&key.place, message).help("`current` and `recommended` are taken"));
            }
            Rival { name: key.name.clone(), mesh: self.manifests(value) }
        };
        entries.into_iter().map(rival).collect()
    }

    fn objectives(&self, value: Option<Value<'_>>, scenarios: &[Arc<Scenario>]) -> Option<Vec<Objective>> {
        let Some(value) = value else { return Some(Objective::usual()) };
        let list = value.list()?;
        if list.is_empty() {
            return value.refuse("without an objective nothing is better than anything else");
        }
        if list.len() > 6 {
            return value
                .refuse(format!("{} objectives: with more than 6 nearly everything is on the front", list.len()));
        }
        list.into_iter().map(|value| self.objective(value, scenarios)).collect::<Vec<_>>().into_iter().collect()
    }

    fn objective(&self, value: Value<'_>, scenarios: &[Arc<Scenario>]) -> Option<Objective> {
        let fields = value.fields("an objective", &["minimize", "maximize", "across", "within", "margin"])?;
        let (expression, maximize) = match (fields.get("minimize"), fields.get("maximize")) {
            (Some(it), None) => (it, false),
            (None, Some(it)) => (it, true),
            (_, _) => return value.refuse("write {minimize: '…'} or {maximize: '…'}"),
        };
        let across = fields
            .get("across")
            .map_or(Some(Across::Mean), |value| value.choice(&[("mean", Across::Mean), ("worst", Across::Worst)]));
        let within = fields.get("within").map_or(Some(0), |value| value.permille(1000));
        let that = expression.name()?;
        let kind = self.measured(expression, that, scenarios)?;
        match kind {
            Measured::Number | Measured::Span => {
                let is_span = kind == Measured::Span;
                let margin = fields
                    .get("margin")
                    .map_or(Some(Margin::Value(0.0)), |value| value.parsed(|text| Margin::parse(text, is_span)));
                Some(Objective {
                    that: that.to_owned(),
                    maximize,
                    across: across?,
                    within_permille: within?,
                    margin: margin?,
                    is_span,
                })
            }
            Measured::Truth => {
                let mistake =
                    Mistake::new(expression.place(), "an objective is a number or a duration, this is true or false");
                self.mistakes.push(mistake.help("what must hold belongs under `constraints`"));
                None
            }
        }
    }

    fn constraints(&self, value: Option<Value<'_>>, scenarios: &[Arc<Scenario>]) -> Vec<Constraint> {
        let list = value.and_then(|value| value.list()).unwrap_or_default();
        list.into_iter().filter_map(|value| self.constraint(value, scenarios)).collect()
    }

    fn constraint(&self, value: Value<'_>, scenarios: &[Arc<Scenario>]) -> Option<Constraint> {
        let that = value.name()?;
        match self.measured(value, that, scenarios)? {
            Measured::Truth => Some(Constraint::new(that)),
            Measured::Number | Measured::Span => {
                let mistake =
                    Mistake::new(value.place(), "a constraint is true or false, this is a number or a duration");
                self.mistakes.push(mistake.help("such as: amplification <= 1.2"));
                None
            }
        }
    }

    /// Checks an expression in every scenario: it may name services. The mistakes of the first that refuses it are reported.
    fn measured(&self, value: Value<'_>, that: &str, scenarios: &[Arc<Scenario>]) -> Option<Measured> {
        let mut kind = Some(Measured::Truth);
        for scenario in scenarios {
            kind = expression(value, that, scenario);
            kind?;
        }
        if scenarios.is_empty() { None } else { kind }
    }

    fn knobs(&self, value: Value<'_>, scenarios: &[Arc<Scenario>], text: &str) -> Vec<Knob> {
        let list = value.list().unwrap_or_default();
        let given = list.len();
        let mut knobs: Vec<Knob> = Vec::new();
        for knob in list.into_iter().filter_map(|value| self.knob(value, scenarios, text)) {
            let same = |other: &&Knob| {
                other.path == knob.path && other.resources.iter().any(|resource| knob.resources.contains(resource))
            };
            match knobs.iter().find(same) {
                Some(first) => {
                    let mistake = Mistake::new(&knob.place, format!("`{}` varies twice", knob.path));
                    self.mistakes.push(mistake.label(&first.place, "first here"));
                }
                None => knobs.push(knob),
            }
        }
        if knobs.len() > KNOBS_MAX {
            let _ = value.refuse::<()>(format!("{} knobs are more than {KNOBS_MAX}", knobs.len()));
        }
        if knobs.len() == given {
            self.refused_ends(&value, &knobs, scenarios);
        }
        knobs
    }

    fn knob(&self, value: Value<'_>, scenarios: &[Arc<Scenario>], text: &str) -> Option<Knob> {
        let known = &["policy", "route", "field", "from", "to", "scale", "choices", "absent"];
        let fields = value.fields("a knob", known)?;
        let (kinds, named) = match (fields.get("policy"), fields.get("route")) {
            (Some(policy), None) => (&["TrafficPolicy"][..], policy),
            (None, Some(route)) => (&["HTTPRoute", "GRPCRoute"][..], route),
            (_, _) => return value.refuse("a knob needs a `policy` or a `route`"),
        };
        let field = fields.required("field");
        let path = field.and_then(|field| field.parsed(Path::parse));
        let names = if named.is_list() { named.list()? } else { vec![named] };
        let resources: Option<Vec<Resource>> =
            names.iter().map(|name| self.resource(*name, kinds, scenarios)).collect();
        let levels = self.levels(&fields, text);
        let (path, resources, (levels, ordered)) = (path?, resources?, levels?);
        if resources.is_empty() {
            return named.refuse("a knob needs a policy");
        }
        for resource in &resources {
            for scenario in scenarios {
                for standing in scenario.mesh.iter().flat_map(variant::resources) {
                    if standing.resource == *resource
                        && let Some(Found::Nowhere(node)) = standing.spec().map(|spec| find(spec, &path))
                    {
                        let message = format!("`{path}` leads nowhere in `{}`", resource.name);
                        let mistake = Mistake::new(field?.place(), message);
                        self.mistakes.push(mistake.label(&node.place, "there is no such part of this"));
                        return None;
                    }
                }
            }
        }
        let place = value.place().clone();
        let name = named_for_people(&resources, &path);
        let mut knob = Knob { name, resources, path, levels, ordered, absent: None, place };
        // `~` is a value here.
        let written = value.entries().unwrap_or_default().into_iter().find(|(key, _)| key.name == "absent");
        if let Some((_, absent)) = written {
            let written = if absent.is_null() { "~" } else { &text[absent.place().start..absent.place().end] };
            if !knob.has(written) {
                let all = if ordered { "does not lie between `from` and `to`" } else { "is none of the choices" };
                return absent.refuse(format!("`{written}` {all}"));
            }
            knob.absent = knob.at(written);
        }
        Some(knob)
    }

    /// `NAME` or `NAMESPACE/NAME`.
    fn resource(&self, value: Value<'_>, kinds: &[&str], scenarios: &[Arc<Scenario>]) -> Option<Resource> {
        let text = value.name()?;
        let (namespace, name) = text.split_once('/').map_or((None, text), |(namespace, name)| (Some(namespace), name));
        let mut found: Vec<(Resource, Place)> = Vec::new();
        let mut known: Vec<String> = Vec::new();
        for file in scenarios.iter().flat_map(|scenario| &scenario.mesh) {
            for standing in variant::resources(file) {
                if !kinds.contains(&standing.resource.kind.as_str()) {
                    continue;
                }
                known.push(standing.resource.name.clone());
                let fits =
                    standing.resource.name == name && namespace.is_none_or(|it| it == standing.resource.namespace);
                let seen = found
                    .iter()
                    .any(|(_, place)| place.file == standing.place.file && place.start == standing.place.start);
                if fits && !seen {
                    found.push((standing.resource, standing.place));
                }
            }
        }
        match found.as_slice() {
            [(one, _)] => Some(one.clone()),
            [] => {
                known.sort();
                known.dedup();
                let what = if kinds.contains(&"TrafficPolicy") { "TrafficPolicy" } else { "route" };
                let mistake =
                    Mistake::new(value.place(), format!("there is no {what} `{text}` in the scenarios' manifests"));
                let names: Vec<&str> = known.iter().map(String::as_str).collect();
                self.mistakes.push(match closest(name, &names) {
                    Some(near) => mistake.help(format!("did you mean `{near}`?")),
                    None if names.is_empty() => mistake.help("none of them has any"),
                    None => mistake.help(format!("there are {}", names.join(", "))),
                });
                None
            }
            [(one, first), (other, second), ..] => {
                let mut mistake = Mistake::new(value.place(), format!("`{text}` is not one resource"))
                    .label(first, "one is here")
                    .label(second, "another here");
                mistake = if one.namespace == other.namespace {
                    mistake.help("scenarios with different policies: name the files to tune under `policies`")
                } else {
                    mistake.help(format!("write {}/{name}", one.namespace))
                };
                self.mistakes.push(mistake);
                None
            }
        }
    }

    /// The values of a knob, and whether they are in an order.
    fn levels(&self, fields: &Fields<'_>, text: &str) -> Option<(Vec<String>, bool)> {
        if let Some((_, choices)) = fields.keyed("choices") {
            for name in ["from", "to", "scale"] {
                if let Some((key, _)) = fields.keyed(name) {
                    let mistake = Mistake::new(&key.place, format!("`{name}` has no meaning beside `choices`"));
                    self.mistakes.push(mistake.label(choices.place(), "these are all the values"));
                }
            }
            let list = choices.list()?;
            let words: Vec<String> = list
                .iter()
                .map(|value| {
                    if value.is_null() { "~" } else { &text[value.place().start..value.place().end] }.to_owned()
                })
                .collect();
            if words.len() < 2 {
                return choices.refuse("one choice is none");
            }
            if words.len() > 256 {
                return choices.refuse("more than 256 choices");
            }
            if let Some(twice) = (1..words.len()).find(|at| words[..*at].contains(&words[*at])) {
                return list[twice].refuse(format!("`{}` is given twice", words[twice]));
            }
            if let Some(broken) = list.iter().zip(&words).find(|(_, word)| word.contains(['\n', '#'])) {
                return broken.0.refuse("a choice stands on one line, without a comment: write [a, b] or {a: b}");
            }
            return Some((words, false));
        }
        let (from, to) = (fields.required("from"), fields.required("to"));
        let log = fields.get("scale").map_or(Some(false), |value| value.choice(&[("linear", false), ("log", true)]));
        let (from, to) = (from?, to?);
        match range(from.scalar()?, to.scalar()?, log?) {
            Ok(levels) => Some((levels, true)),
            Err(why) => to.refuse(why),
        }
    }

    /// Refuses bounds and choices that the control plane does not take, whatever the other knobs are.
    fn refused_ends(&self, list: &Value<'_>, knobs: &[Knob], scenarios: &[Arc<Scenario>]) {
        let entries = list.list().unwrap_or_default();
        for (at, (knob, entry)) in knobs.iter().zip(entries).enumerate() {
            let ends: Vec<usize> =
                if knob.ordered { vec![0, knob.levels.len() - 1] } else { (0..knob.levels.len()).collect() };
            for level in ends {
                let Some(why) = super::refused(knobs, at, level, scenarios) else { continue };
                let node = entry.node();
                let path = match (knob.ordered, level) {
                    (false, level) => format!("choices[{level}]"),
                    (true, 0) => "from".to_owned(),
                    (true, _) => "to".to_owned(),
                };
                let path = Path::parse(&path).expect("it is a path");
                let place = match find(node, &path) {
                    Found::There(node) => node.place.clone(),
                    Found::Missing(..) | Found::Off | Found::Nowhere(_) => node.place.clone(),
                };
                let unknown = why.message.contains("is not a field of");
                let (message, place) = if unknown {
                    let field = Path::parse("field").expect("it is a path");
                    let place = match find(node, &field) {
                        Found::There(node) => node.place.clone(),
                        Found::Missing(..) | Found::Off | Found::Nowhere(_) => place,
                    };
                    (why.message.clone(), place)
                } else {
                    (format!("`{}` is refused for `{}`: {}", knob.levels[level], knob.path, why.message), place)
                };
                let mut mistake = Mistake::new(&place, message);
                mistake.help.clone_from(&why.help);
                self.mistakes.push(mistake);
                if unknown {
                    break;
                }
            }
        }
    }
}

/// `shop retries.attempts`; of several `3 × rules[0].timeouts.request`.
pub(super) fn named_for_people(resources: &[Resource], path: &Path) -> String {
    match resources {
        [one] => format!("{} {path}", one.name),
        many => format!("{} × {path}", many.len()),
    }
}
