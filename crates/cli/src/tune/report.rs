//! The files that a tuning writes.

use std::fs;
use std::io::Write;
use std::path::Path;

use squall_sim::scenario::{Disk, MeshFile};
use squall_sim::tune::{CounterExample, Finalist, Found, Tuning, contrast, counter_example, kept};

use super::picture;
use super::tables::{evidence, value};
use crate::files::Pending;

/// Writes everything but the journal; gives the counter-examples.
pub(super) fn write(out: &Path, tuning: &Tuning, found: &Found, again: &str) -> Result<Vec<CounterExample>, String> {
    let file = |name: &str, text: &str| put(&out.join(name), text);
    file("recommended.yaml", &recommended(tuning, found, again))?;
    file("evaluations.csv", &evaluations(tuning, found))?;
    file("pareto.csv", &pareto(tuning, found))?;
    file("pareto.svg", &picture::pareto(tuning, found))?;
    file("confirmed.csv", &confirmed(tuning, found))?;
    file("sensitivity.csv", &sensitivity(tuning, found))?;
    let examples = examples(tuning, found);
    let directory = out.join("counter-examples");
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| format!("cannot clear {}: {error}", directory.display()))?;
    }
    for example in &examples {
        for (path, text) in &example.files {
            put(&directory.join(&example.name).join(path), text)?;
        }
    }
    Ok(examples)
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
    }
    let mut pending = Pending::start(path)?;
    pending.write_all(text.as_bytes()).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    pending.finish()
}

fn texts(values: &[Option<String>]) -> Vec<Option<&str>> {
    values.iter().map(Option::as_deref).collect()
}

fn recommended(tuning: &Tuning, found: &Found, again: &str) -> String {
    let best = &found.finalists[found.recommended];
    let current = &found.finalists[0];
    let mut text = format!("# Found by: {again}\n#\n# Over ");
    let names: Vec<&str> = tuning.scenarios.iter().map(|scenario| scenario.name.value.as_str()).collect();
    text.push_str(&format!(
        "{},\n# each on seeds 1 to {}, in the full world (current → recommended):\n",
        names.join(", "),
        tuning.seeds
    ));
    for (at, objective) in tuning.objectives.iter().enumerate() {
        let mean = |of: &Finalist| value(objective, evidence(&of.searched, at, objective).mean);
        text.push_str(&format!("#   {}: {} → {}\n", objective.that, mean(current), mean(best)));
    }
    for (constraint, keeps) in kept(tuning, best, &found.rivals) {
        text.push_str(&format!("#   {}: {constraint}\n", if keeps { "keeps" } else { "BREAKS" }));
    }
    text.push_str("#\n# What was changed:\n");
    let now = tuning.current();
    for (at, knob) in tuning.knobs.iter().enumerate() {
        let before = now[at].as_deref().unwrap_or("(default)");
        let after = best.values[at].as_deref().unwrap_or(before);
        if before != after {
            text.push_str(&format!("#   {}: {before} → {after}\n", knob.name));
        }
    }
    for (nth, file) in tuning.manifests(&texts(&best.values)).iter().enumerate() {
        let mark = if nth == 0 { "" } else { "---\n" };
        text.push_str(&format!("{mark}# From {}:\n{}", file.name, file.text));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

/// A table as CSV.
struct Csv(csv::Writer<Vec<u8>>);

impl Csv {
    fn new(head: impl IntoIterator<Item = String>) -> Self {
        let mut csv = Self(csv::Writer::from_writer(Vec::new()));
        csv.row(head);
        csv
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.write_record(cells).expect("memory takes every row, and rows have as many cells as the head");
    }

    fn text(self) -> String {
        let bytes = self.0.into_inner().expect("memory takes every row");
        String::from_utf8(bytes).expect("the cells are text")
    }
}

/// Every digit, as short as it reads back.
fn digits(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// The columns of objectives (durations in seconds) and knobs.
pub(super) fn columns(tuning: &Tuning) -> Vec<String> {
    let objectives = tuning.objectives.iter().map(|objective| {
        let unit = if objective.is_span { " [s]" } else { "" };
        format!("{}{unit}", objective.that)
    });
    objectives.chain(tuning.knobs.iter().map(|knob| knob.name.clone())).collect()
}

pub(super) fn cells(tuning: &Tuning, means: &[f64], values: &[Option<String>]) -> Vec<String> {
    let now = tuning.current();
    let means = (0..tuning.objectives.len()).map(|at| means.get(at).map_or(String::new(), |mean| digits(*mean)));
    let value = |at: usize| values.get(at).cloned().flatten().or_else(|| now[at].clone()).unwrap_or_default();
    means.chain((0..tuning.knobs.len()).map(value)).collect()
}

fn evaluations(tuning: &Tuning, found: &Found) -> String {
    let head = ["evaluation", "round", "seeds", "violation", "on_front", "refused"].map(str::to_owned);
    let mut csv = Csv::new(head.into_iter().chain(columns(tuning)));
    for (number, one) in found.evaluations.iter().enumerate() {
        let row = [
            number.to_string(),
            one.round.to_string(),
            one.seeds.to_string(),
            digits(one.score.violation),
            found.front.contains(&number).to_string(),
            one.refused.clone().unwrap_or_default(),
        ];
        csv.row(row.into_iter().chain(cells(tuning, &one.means, &one.values)));
    }
    csv.text()
}

fn pareto(tuning: &Tuning, found: &Found) -> String {
    let head = ["candidate", "evaluation", "model", "recommended", "violation"].map(str::to_owned);
    let mut csv = Csv::new(head.into_iter().chain(columns(tuning)));
    let name = |number: usize| {
        let finalist = found.finalists.iter().find(|finalist| finalist.evaluation == Some(number));
        finalist.map_or(String::new(), |finalist| finalist.name.clone())
    };
    let recommended = found.finalists[found.recommended].evaluation;
    let mut shown = found.front.clone();
    if !shown.contains(&0) {
        shown.insert(0, 0);
    }
    for number in shown {
        let one = &found.evaluations[number];
        let row = [
            name(number),
            number.to_string(),
            "fast".to_owned(),
            (Some(number) == recommended).to_string(),
            digits(one.score.violation),
        ];
        csv.row(row.into_iter().chain(cells(tuning, &one.means, &one.values)));
    }
    let finalists = found.finalists.iter().chain(&found.rivals).enumerate();
    for (at, one) in finalists.filter(|(_, one)| one.refused.is_none()) {
        let mean = |at: usize| evidence(&one.searched, at, &tuning.objectives[at]).mean;
        let means: Vec<f64> = (0..tuning.objectives.len()).map(mean).collect();
        let row = [
            one.name.clone(),
            one.evaluation.map_or(String::new(), |number| number.to_string()),
            "full".to_owned(),
            (at == found.recommended).to_string(),
            digits(one.score.violation),
        ];
        // What a rival sets stands in its own files.
        let values =
            if one.evaluation.is_some() { one.values.clone() } else { vec![Some(String::new()); tuning.knobs.len()] };
        csv.row(row.into_iter().chain(cells(tuning, &means, &values)));
    }
    csv.text()
}

fn confirmed(tuning: &Tuning, found: &Found) -> String {
    let head = [
        "candidate",
        "recommended",
        "part",
        "objective",
        "unit",
        "mean",
        "half_width_95",
        "half_width_99",
        "less_current",
        "less_current_half_width_95",
        "less_current_half_width_99",
        "runs",
    ];
    let mut csv = Csv::new(head.map(str::to_owned));
    let current = &found.finalists[0];
    for (at, one) in found.finalists.iter().chain(&found.rivals).enumerate() {
        let parts = [
            ("searched", &one.searched, &current.searched),
            ("other-seeds", &one.other_seeds, &current.other_seeds),
            ("other-scenarios", &one.other_scenarios, &current.other_scenarios),
        ];
        for (part, ours, theirs) in parts.into_iter().filter(|(_, ours, _)| !ours.is_empty()) {
            for (nth, objective) in tuning.objectives.iter().enumerate() {
                let mean = evidence(ours, nth, objective);
                let (a, b) = (Finalist::values_of(ours, nth), Finalist::values_of(theirs, nth));
                let less = contrast(&a, &b, objective.across, objective.maximize);
                csv.row([
                    one.name.clone(),
                    (at == found.recommended).to_string(),
                    part.to_owned(),
                    objective.that.clone(),
                    if objective.is_span { "s" } else { "" }.to_owned(),
                    digits(mean.mean),
                    digits(mean.half_width_95),
                    digits(mean.half_width_99),
                    digits(less.mean),
                    digits(less.half_width_95),
                    digits(less.half_width_99),
                    ours.iter().map(Vec::len).sum::<usize>().to_string(),
                ]);
            }
        }
    }
    csv.text()
}

fn sensitivity(tuning: &Tuning, found: &Found) -> String {
    let head =
        ["knob", "recommended", "value", "objective", "unit", "effect", "half_width_95", "half_width_99", "violation"];
    let mut csv = Csv::new(head.map(str::to_owned));
    let now = tuning.current();
    let best = &found.finalists[found.recommended];
    for moved in &found.moved {
        let knob = &tuning.knobs[moved.knob];
        let here = best.values[moved.knob].clone().or_else(|| now[moved.knob].clone()).unwrap_or_default();
        let violation = if moved.contrasts.is_empty() { "refused".to_owned() } else { digits(moved.violation) };
        for (objective, effect) in tuning.objectives.iter().zip(&moved.contrasts) {
            csv.row([
                knob.name.clone(),
                here.clone(),
                moved.value.clone(),
                objective.that.clone(),
                if objective.is_span { "s" } else { "" }.to_owned(),
                digits(effect.mean),
                digits(effect.half_width_95),
                digits(effect.half_width_99),
                violation.clone(),
            ]);
        }
        if moved.contrasts.is_empty() {
            let empty = || String::new();
            csv.row([
                knob.name.clone(),
                here,
                moved.value.clone(),
                empty(),
                empty(),
                empty(),
                empty(),
                empty(),
                violation,
            ]);
        }
    }
    csv.text()
}

/// One for the current policies and each rival, unless it is what is recommended.
fn examples(tuning: &Tuning, found: &Found) -> Vec<CounterExample> {
    let recommended = &found.finalists[found.recommended];
    let mut examples = Vec::new();
    if found.recommended != 0 {
        let none = vec![None; tuning.knobs.len()];
        let mesh = |at: usize| -> Vec<MeshFile> { tuning.with_values(&tuning.scenarios[at], &none) };
        examples.extend(counter_example(tuning, &found.finalists[0], recommended, &mesh, &Disk));
    }
    for (finalist, rival) in found.rivals.iter().zip(&tuning.against) {
        let mesh = |at: usize| -> Vec<MeshFile> { rival.instead(&tuning.scenarios[at]) };
        examples.extend(counter_example(tuning, finalist, recommended, &mesh, &Disk));
    }
    examples
}
