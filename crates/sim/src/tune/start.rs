//! Where a search begins: named policies, as far as the knobs reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use squall_control::yaml::{self, Kind, Node};
use squall_control::{Mistake, Place};

use super::edit::{Found, find};
use super::knob::{Knob, Resource};
use super::{Rival, variant};
use crate::scenario::{MeshFile, Scenario};
use crate::search::Point;

/// How many differences are told one by one.
const TOLD_MAX: usize = 8;

/// A policy at which the search begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its name under `against`.
    pub name: String,
    /// The level of each knob that is nearest to it.
    pub levels: Point,
    /// What is not as in the policy there: values between two levels, and what no knob reaches. For people.
    pub differs: Vec<String>,
}

/// Whom a resource is for, by kind: what has the same kind and a Service in common stands for it.
fn stands_for<'s>(found: &'s [variant::Standing], own: &variant::Standing) -> Option<&'s variant::Standing> {
    let same = |other: &&variant::Standing| other.resource == own.resource;
    found.iter().find(same).or_else(|| {
        found.iter().find(|other| {
            other.resource.kind == own.resource.kind && other.targets().iter().any(|to| own.targets().contains(to))
        })
    })
}

fn standings(mesh: &[MeshFile]) -> Vec<(Arc<str>, variant::Standing)> {
    let of = |file: &MeshFile| {
        let text = Arc::clone(&file.text);
        variant::resources(file).into_iter().map(move |standing| (Arc::clone(&text), standing))
    };
    mesh.iter().flat_map(of).collect()
}

/// The point of these knobs that is nearest to a policy.
///
/// # Errors
/// A knob cannot tell where it is: the policy does not set its field and the knob does not say what that is, or what is set is none of the
/// choices, or several resources that share a knob have different values.
pub(super) fn start(
    rival: &Rival,
    place: &Place,
    knobs: &[Knob],
    scenarios: &[Arc<Scenario>],
) -> Result<Start, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut levels: Vec<Option<u16>> = vec![None; knobs.len()];
    let mut differs = BTreeSet::new();
    let mut order: Vec<usize> = (0..knobs.len()).collect();
    order.sort_by_key(|at| knobs[*at].path.depth());
    for at in order {
        let knob = &knobs[at];
        let values = values_there(rival, knob, scenarios);
        let refuse =
            |message: String, help: &str| Mistake::new(place, message).label(&knob.place, "this knob").help(help);
        let level = match values.as_slice() {
            [] => own(knob, scenarios),
            [None] => {
                // What is switched off with what holds it has no value of its own.
                let is_off = |other: usize| {
                    let above = &knobs[other];
                    let off = || levels[other].is_some_and(|level| is_null(&above.levels[usize::from(level)]));
                    above.path.holds(&knob.path)
                        && above.resources.iter().any(|resource| knob.resources.contains(resource))
                        && off()
                };
                match knob.absent {
                    _ if (0..knobs.len()).any(is_off) => own(knob, scenarios),
                    Some(level) => level,
                    None => {
                        let message = format!("`{}` does not set {}", rival.name, knob.path);
                        mistakes
                            .push(refuse(message, "say where the search begins then, in the knob: `absent: VALUE`"));
                        continue;
                    }
                }
            }
            [Some(text)] => match knob.at(text) {
                Some(level) => {
                    let taken = &knob.levels[usize::from(level)];
                    if !alike_texts(taken, text) {
                        differs.insert(format!("{} {}, searched from {taken}", knob.path, one_line(text)));
                    }
                    level
                }
                None => {
                    let message = format!(
                        "`{}` has `{}` for {}, which is none of the choices",
                        rival.name,
                        one_line(text),
                        knob.path
                    );
                    mistakes.push(refuse(message, "add it to the knob's choices, or do not begin there"));
                    continue;
                }
            },
            [first, second, ..] => {
                let show = |value: &Option<String>| value.as_deref().map_or("nothing".to_owned(), one_line);
                let message = format!(
                    "`{}` has different values for {}: {} and {}, which one knob cannot give",
                    rival.name,
                    knob.path,
                    show(first),
                    show(second)
                );
                mistakes.push(refuse(message, "give those resources knobs of their own"));
                continue;
            }
        };
        levels[at] = Some(level);
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let levels: Point = levels.into_iter().flatten().collect();
    differs.extend(unreached(rival, &levels, knobs, scenarios));
    let mut told: Vec<String> = differs.iter().take(TOLD_MAX).cloned().collect();
    if differs.len() > TOLD_MAX {
        told.push(format!("{} more", differs.len() - TOLD_MAX));
    }
    Ok(Start { name: rival.name.clone(), levels, differs: told })
}

/// The level of what is in use.
pub(super) fn own(knob: &Knob, scenarios: &[Arc<Scenario>]) -> u16 {
    let resource = knob.resources.first();
    let now = resource.and_then(|resource| {
        scenarios.iter().find_map(|scenario| variant::current(&scenario.mesh, resource, &knob.path))
    });
    knob.nearest(now.as_deref())
}

/// What the policy has where the knob is; each value once. `None`: it is not set.
fn values_there(rival: &Rival, knob: &Knob, scenarios: &[Arc<Scenario>]) -> Vec<Option<String>> {
    let mut values: Vec<Option<String>> = Vec::new();
    for scenario in scenarios {
        let own = standings(&scenario.mesh);
        let (texts, there): (Vec<Arc<str>>, Vec<variant::Standing>) =
            standings(&rival.instead(scenario)).into_iter().unzip();
        let of = |resource: &Resource| own.iter().find(|(_, standing)| standing.resource == *resource);
        for (_, own) in knob.resources.iter().filter_map(of) {
            let Some(found) = stands_for(&there, own) else { continue };
            let text = there.iter().position(|other| std::ptr::eq(other, found)).map(|at| &texts[at]);
            let value = match found.spec().map(|spec| find(spec, &knob.path)) {
                Some(Found::There(node)) if !is_null_node(node) => {
                    text.map(|text| text[node.place.start..node.place.end].to_owned())
                }
                Some(Found::There(_) | Found::Missing(..) | Found::Off | Found::Nowhere(_)) | None => None,
            };
            let is_known = values.iter().any(|known| match (known, &value) {
                (Some(known), Some(value)) => alike_texts(known, value),
                (None, None) => true,
                (_, _) => false,
            });
            if !is_known {
                values.push(value);
            }
        }
    }
    values
}

/// What the policy has, or has not, that no knob reaches: leaves of its settings that are not so in the scenarios' own at this point.
fn unreached(rival: &Rival, levels: &Point, knobs: &[Knob], scenarios: &[Arc<Scenario>]) -> BTreeSet<String> {
    let mut differs = BTreeSet::new();
    let values: Vec<Option<&str>> =
        knobs.iter().zip(levels).map(|(knob, level)| Some(knob.levels[usize::from(*level)].as_str())).collect();
    for scenario in scenarios {
        let here: Vec<variant::Standing> = standings(&variant::set(&scenario.mesh, knobs, &values))
            .into_iter()
            .map(|(_, standing)| standing)
            .collect();
        for theirs in rival.mesh.iter().flat_map(variant::resources) {
            if theirs.targets().is_empty() {
                continue;
            }
            let nothing = BTreeMap::new();
            let of = |standing: &variant::Standing| standing.spec().map_or_else(BTreeMap::new, leaves);
            let (there, here) = (of(&theirs), stands_for(&here, &theirs).map_or(nothing, of));
            let is_new = |path: &str| {
                let reached = |knob: &Knob| knob.path.to_string() == path;
                !knobs.iter().any(reached)
            };
            for (path, text) in &there {
                if here.get(path) != Some(text) && is_new(path) {
                    differs.insert(format!("{path} {text}"));
                }
            }
            for path in here.keys().filter(|path| !there.contains_key(*path) && is_new(path)) {
                differs.insert(format!("no {path}"));
            }
        }
    }
    differs
}

/// The scalars of a resource's settings by path; lists as a whole. Whom it is for is left out, and what is off.
fn leaves(spec: &Node) -> BTreeMap<String, String> {
    fn walk(node: &Node, path: &str, into: &mut BTreeMap<String, String>) {
        match &node.kind {
            Kind::Map(entries) => {
                for (key, value) in entries {
                    if ["targetRefs", "parentRefs", "backendRefs"].contains(&key.name.as_str()) {
                        continue;
                    }
                    let below = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
                    walk(value, &below, into);
                }
            }
            Kind::List(items) if items.iter().any(|item| matches!(item.kind, Kind::Map(_))) => {
                for (nth, item) in items.iter().enumerate() {
                    walk(item, &format!("{path}[{nth}]"), into);
                }
            }
            Kind::List(_) | Kind::Scalar { .. } if is_null_node(node) => {}
            Kind::List(_) | Kind::Scalar { .. } => {
                into.insert(path.to_owned(), show(node));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(spec, "", &mut found);
    found
}

fn show(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { text, plain: true } => text.clone(),
        Kind::Scalar { text, plain: false } => format!("{text:?}"),
        Kind::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Kind::Map(entries) => {
            let entry = |(key, value): &(yaml::Key, Node)| format!("{}: {}", key.name, show(value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn is_null(text: &str) -> bool {
    ["", "~", "null"].contains(&text)
}

fn is_null_node(node: &Node) -> bool {
    matches!(&node.kind, Kind::Scalar { text, plain: true } if is_null(text))
}

/// Whether two values say the same, however they are laid out. The order of a mapping's keys does not matter.
pub(super) fn alike_texts(one: &str, other: &str) -> bool {
    let parsed = |text: &str| yaml::parse("", &format!("v: {}", one_line(text))).ok().and_then(|mut all| all.pop());
    // A block mapping does not fit on one line: it is laid out again below its key.
    let block = |text: &str| yaml::parse("", &format!("v:\n{text}")).ok().and_then(|mut all| all.pop());
    let read =
        |text: &str| if text.contains('\n') { dedented(text).and_then(|text| block(&text)) } else { parsed(text) };
    match (read(one), read(other)) {
        (Some(one), Some(other)) => alike(&one, &other),
        (_, _) => one == other,
    }
}

/// A value on one line.
pub(super) fn flow(text: &str) -> String {
    if !text.contains('\n') {
        return text.to_owned();
    }
    let read =
        dedented(text).and_then(|text| yaml::parse("", &format!("v:\n{text}")).ok()).and_then(|mut all| all.pop());
    match read.map(|node| node.kind) {
        Some(Kind::Map(entries)) => entries.first().map_or_else(|| one_line(text), |(_, value)| show(value)),
        Some(Kind::Scalar { .. } | Kind::List(_)) | None => one_line(text),
    }
}

/// A node's text begins where its first key stands; the lines after it are further right.
fn dedented(text: &str) -> Option<String> {
    let indent =
        text.lines().skip(1).filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len());
    Some(format!("{}{text}", " ".repeat(indent.min()?)))
}

fn alike(one: &Node, other: &Node) -> bool {
    match (&one.kind, &other.kind) {
        (Kind::Scalar { text: one, .. }, Kind::Scalar { text: other, .. }) => {
            one == other || is_null(one) && is_null(other)
        }
        (Kind::List(ones), Kind::List(others)) => {
            ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| alike(one, other))
        }
        (Kind::Map(ones), Kind::Map(others)) => {
            let same = |(key, value): &(yaml::Key, Node)| {
                others.iter().any(|(other, its)| other.name == key.name && alike(value, its))
            };
            ones.len() == others.len() && ones.iter().all(same)
        }
        (Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_value_in_another_layout_is_the_same() {
        #[track_caller]
        fn check(one: &str, other: &str, want: bool) {
            assert_eq!(alike_texts(one, other), want, "{one} and {other}");
        }
        check("{a: 1, b: [x, y]}", "{b: [x,  y], a: 1}", true);
        check("{a: 1, b: {c: 2}}", "a: 1\n    b: {c: 2}", true);
        check("{a: 1}", "{a: 2}", false);
        check("{a: 1}", "{a: 1, b: 2}", false);
        check("~", "null", true);
        check("5s", "5s", true);
        check("[a, b]", "[b, a]", false);
    }

    #[test]
    fn a_block_is_shown_on_one_line() {
        let block = "attempts: 2\n    on: [reset, \"503\"]\n    budget:\n      percent: 5";
        assert_eq!(flow(block), "{attempts: 2, on: [reset, \"503\"], budget: {percent: 5}}");
        assert_eq!(flow("a: \"1\\n2\"\n    b: 3"), "{a: \"1\\n2\", b: 3}");
        assert_eq!(flow("{a:  1}"), "{a:  1}", "as it is written");
    }
}
