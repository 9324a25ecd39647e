//! The reference as chapters of the guide.

use squall_control::reference::{Field, Reference};
use squall_sim::scenario::variables::VARIABLES;

use super::{gives, written};

/// A chapter: a section for each part, with a table of its fields.
pub(super) fn reference(kind: &Reference) -> String {
    let mut text = format!("# {}\n\n{}\n", kind.kind, kind.says);
    let top = kind.children("");
    let (parts, plain): (Vec<&Field>, Vec<&Field>) = top.into_iter().partition(|field| has_own(kind, field));
    if !plain.is_empty() {
        text.push('\n');
        table(&plain, &mut text);
    }
    for part in parts {
        text.push_str(&format!("\n## `{}`\n\n{}. Default: {}.\n", part.path, part.says, part.default.describe()));
        if let Some((like, but)) = part.like {
            let but = match but {
                [] => String::new(),
                but => {
                    format!(", without {}", but.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
                }
            };
            text.push_str(&format!("\nFields as of [`{like}`](#{}){but}.\n", like.to_lowercase()));
        }
        peers(part, &mut text);
        let prefix = format!("{}.", part.path);
        let below: Vec<&Field> = kind.fields().filter(|field| field.path.starts_with(&prefix)).collect();
        if !below.is_empty() {
            text.push('\n');
            table(&below, &mut text);
        }
    }
    text
}

fn has_own(kind: &Reference, field: &Field) -> bool {
    !kind.children(field.path).is_empty()
}

fn peers(field: &Field, text: &mut String) {
    if !field.peers.is_empty() {
        let list: Vec<String> = field.peers.iter().map(|(peer, value)| format!("{peer}: {value}")).collect();
        text.push_str(&format!("\nElsewhere: {}.\n", list.join("; ")));
    }
}

fn table(fields: &[&Field], text: &mut String) {
    let elsewhere = fields.iter().any(|field| !field.peers.is_empty());
    text.push_str("| field | meaning | written | default |");
    text.push_str(if elsewhere { " elsewhere |\n|---|---|---|---|---|\n" } else { "\n|---|---|---|---|\n" });
    for field in fields {
        let (says, written) = (field.says, field.kind.describe());
        let like = field.like.map_or_else(String::new, |(like, _)| format!(". Fields as of `{like}`"));
        let default = field.default.describe();
        text.push_str(&format!("| `{}` | {says}{like} | {written} | {default} |", field.path));
        if elsewhere {
            let list: Vec<String> = field.peers.iter().map(|(peer, value)| format!("{peer} {value}")).collect();
            text.push_str(&format!(" {} |", list.join("; ")));
        }
        text.push('\n');
    }
}

/// The chapter of the measures.
pub(super) fn measures() -> String {
    let mut text = "# Measures\n\nWhat expectations, objectives and known answers may name, in CEL: numbers, durations (`duration(\"120ms\")`), \
                    `+ - * /`, comparisons, `&&`, `||`, `!`, `? :`, `double()`, `int()`. `\"a\"` and `\"b\"` are services or loads. Without one: seen by \
                    all loads. With one: of the requests to it. With two: of those from the first to the second.\n\n| measure | gives | meaning |\n|---|---|---|\n"
        .to_owned();
    for known in VARIABLES {
        text.push_str(&format!("| `{}` | {} | {} |\n", written(known), gives(known), known.meaning));
    }
    text
}
