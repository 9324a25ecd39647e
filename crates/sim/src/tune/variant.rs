//! Other settings for a scenario: its manifests with some values changed, or with other policies in place of its own.

use std::sync::Arc;

use squall_control::Place;
use squall_control::yaml::{self, Kind, Node};

use super::edit::{self, Found, Path};
use super::knob::{Knob, Resource};
use crate::scenario::MeshFile;

/// The kinds that hold settings, and where they say whom they are for.
const SETTINGS: [(&str, &str); 3] =
    [("TrafficPolicy", "targetRefs"), ("HTTPRoute", "parentRefs"), ("GRPCRoute", "parentRefs")];

/// A resource as it stands in a file.
pub(super) struct Standing {
    pub(super) resource: Resource,
    pub(super) place: Place,
    document: Node,
    /// The Services it is for, with their namespaces.
    targets: Vec<(String, String)>,
}

impl Standing {
    pub(super) fn targets(&self) -> &[(String, String)] {
        &self.targets
    }

    pub(super) fn spec(&self) -> Option<&Node> {
        entry(&self.document, "spec")
    }
}

/// Every resource of a file that has a name. A file that is no YAML has none.
pub(super) fn resources(file: &MeshFile) -> Vec<Standing> {
    let documents = yaml::parse(&file.name, &file.text).unwrap_or_default();
    documents.into_iter().filter_map(standing).collect()
}

fn standing(document: Node) -> Option<Standing> {
    let kind = text(entry(&document, "kind")?)?.to_owned();
    let metadata = entry(&document, "metadata")?;
    let name = text(entry(metadata, "name")?)?.to_owned();
    let namespace = entry(metadata, "namespace").and_then(text).unwrap_or("default").to_owned();
    let mut targets = Vec::new();
    if let Some((_, list)) = SETTINGS.iter().find(|(known, _)| *known == kind)
        && let Some(Node { kind: Kind::List(items), .. }) = entry(&document, "spec").and_then(|spec| entry(spec, list))
    {
        for item in items {
            let of = |field: &str| entry(item, field).and_then(text);
            if of("kind").unwrap_or("Service") == "Service"
                && let Some(name) = of("name")
            {
                targets.push((of("namespace").unwrap_or(&namespace).to_owned(), name.to_owned()));
            }
        }
    }
    let place = document.place.clone();
    Some(Standing { resource: Resource { kind, namespace, name }, place, document, targets })
}

fn entry<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Kind::Map(entries) = &node.kind else { return None };
    entries.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
}

fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Scalar { text, .. } => Some(text),
        Kind::List(_) | Kind::Map(_) => None,
    }
}

/// Manifests with other ones in place of those that have the same name, or are settings of the same kind for the same Service.
pub(super) fn replaced(mesh: &[MeshFile], with: &[MeshFile]) -> Vec<MeshFile> {
    let new: Vec<Standing> = with.iter().flat_map(resources).collect();
    let is_replaced = |old: &Standing| {
        new.iter().any(|new| {
            new.resource == old.resource
                || new.resource.kind == old.resource.kind && new.targets.iter().any(|to| old.targets.contains(to))
        })
    };
    let mut files: Vec<MeshFile> = Vec::new();
    for file in mesh.iter().filter(|file| !with.iter().any(|new| new.name == file.name)) {
        let mut text = file.text.to_string();
        for old in resources(file).iter().filter(|old| is_replaced(old)) {
            text = edit::blank(&text, old.place.start, old.place.end);
        }
        files.push(MeshFile { name: Arc::clone(&file.name), text: text.into() });
    }
    files.extend(with.iter().cloned());
    files
}

/// The manifests with these values: one for each knob, `None` leaves it as it is.
pub(super) fn set(mesh: &[MeshFile], knobs: &[Knob], values: &[Option<&str>]) -> Vec<MeshFile> {
    let mut files = mesh.to_vec();
    let mut changes: Vec<(&Knob, &str)> =
        knobs.iter().zip(values).filter_map(|(knob, value)| Some((knob, (*value)?))).collect();
    // What holds others comes before them: switched off, they go with it.
    changes.sort_by_key(|(knob, _)| knob.path.depth());
    for (knob, value) in changes {
        for resource in &knob.resources {
            // Most files do not even have the name in them.
            for file in files.iter_mut().filter(|file| file.text.contains(&resource.name)) {
                let found = resources(file);
                let Some(standing) = found.iter().find(|standing| standing.resource == *resource) else { continue };
                let edited = standing.spec().and_then(|spec| edit::set(&file.text, spec, &knob.path, value));
                if let Some(text) = edited {
                    file.text = text.into();
                }
                break;
            }
        }
    }
    files
}

/// What a field is now, as it is written; `None`: it is not there.
pub(super) fn current(mesh: &[MeshFile], resource: &Resource, path: &Path) -> Option<String> {
    mesh.iter().find_map(|file| {
        let found = resources(file);
        let standing = found.iter().find(|standing| standing.resource == *resource)?;
        match edit::find(standing.spec()?, path) {
            Found::There(node) => Some(file.text[node.place.start..node.place.end].to_owned()),
            Found::Missing(..) | Found::Off | Found::Nowhere(_) => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> MeshFile {
        MeshFile { name: name.into(), text: text.into() }
    }

    #[test]
    fn settings_for_the_same_service_are_replaced_whatever_their_name() {
        let policy = |name: &str, to: &str| {
            format!(
                "kind: TrafficPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: [{{kind: Service, name: {to}}}]}}\n"
            )
        };
        let old = format!("kind: Service\nmetadata: {{name: a}}\n---\n{}---\n{}", policy("x", "a"), policy("y", "b"));
        let files = replaced(&[file("m.yaml", &old)], &[file("n.yaml", &policy("z", "a"))]);
        let names: Vec<String> = files.iter().flat_map(resources).map(|found| found.resource.name).collect();
        assert_eq!(names, ["a", "y", "z"]);
        assert_eq!(files[0].text.lines().count(), old.lines().count(), "places stay");
    }
}
