//! A scenario over the application it builds on.

use squall_control::yaml::{Kind, Node};

/// `over`, completed with what only `base` has: mappings to a depth of three (the spec's fields, the services by name, a
/// service's fields); everything else is replaced whole.
pub(super) fn over(base: Node, over: Node) -> Node {
    merged(base, over, 3)
}

fn merged(base: Node, over: Node, depth: u32) -> Node {
    match (base.kind, over.kind) {
        (Kind::Map(below), Kind::Map(above)) if depth > 0 => {
            let mut entries = below;
            for (key, value) in above {
                match entries.iter().position(|(known, _)| known.name == key.name) {
                    Some(at) => {
                        let (_, old) = entries.remove(at);
                        entries.insert(at, (key, merged(old, value, depth - 1)));
                    }
                    None => entries.push((key, value)),
                }
            }
            Node { place: over.place, kind: Kind::Map(entries) }
        }
        (base, kind) => {
            // `services: {ratings: }` says nothing, so it takes nothing away.
            let silent = matches!(&kind, Kind::Scalar { text, plain: true } if text.is_empty());
            Node { place: over.place, kind: if silent { base } else { kind } }
        }
    }
}
