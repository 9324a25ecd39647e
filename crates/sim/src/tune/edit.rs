//! Changes single values in the text of a manifest. All else stays as its owner wrote it, comments too.

use std::fmt;

use squall_control::yaml::{Kind, Node};

/// A field of a resource: `retries.backoff.base`, `rules[0].timeouts.request`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Key(String),
    Index(usize),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a field: write retries.attempts, or rules[0].timeouts.request");
        let mut parts = Vec::new();
        for part in text.split('.') {
            let (key, indices) = part.split_once('[').map_or((part, ""), |(key, rest)| (key, rest));
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                return Err(wrong());
            }
            parts.push(Part::Key(key.to_owned()));
            if part.contains('[') {
                for index in indices.strip_suffix(']').ok_or_else(wrong)?.split("][") {
                    parts.push(Part::Index(index.parse().map_err(|_| wrong())?));
                }
            }
        }
        Ok(Self(parts))
    }

    /// How many parts it has.
    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether another path leads on from this one.
    pub(super) fn holds(&self, other: &Self) -> bool {
        other.0.len() > self.0.len() && other.0.starts_with(&self.0)
    }

    /// Its first key.
    #[must_use]
    pub fn first(&self) -> &str {
        match self.0.first() {
            Some(Part::Key(key)) => key,
            Some(Part::Index(_)) | None => "",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) if nth == 0 => f.write_str(key)?,
                Part::Key(key) => write!(f, ".{key}")?,
                Part::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// What a path leads to.
pub(super) enum Found<'n> {
    /// A value.
    There(&'n Node),
    /// Nothing, but this mapping would take it: the rest of the path.
    Missing(&'n Node, &'n [Part]),
    /// What should hold it is switched off (`~`).
    Off,
    /// What should hold it is no mapping or list, or has no such entry.
    Nowhere(&'n Node),
}

/// Follows a path.
pub(super) fn find<'n>(root: &'n Node, path: &'n Path) -> Found<'n> {
    let mut node = root;
    for (nth, part) in path.0.iter().enumerate() {
        let next = match (&node.kind, part) {
            (Kind::Map(entries), Part::Key(name)) => {
                match entries.iter().find(|(key, _)| key.name == *name) {
                    Some((_, value)) => value,
                    // A list cannot be made up.
                    None if path.0[nth..].iter().all(|part| matches!(part, Part::Key(_))) => {
                        return Found::Missing(node, &path.0[nth..]);
                    }
                    None => return Found::Nowhere(node),
                }
            }
            (Kind::List(items), Part::Index(index)) => match items.get(*index) {
                Some(item) => item,
                None => return Found::Nowhere(node),
            },
            (Kind::Scalar { text, plain: true }, _) if text.is_empty() || text == "~" || text == "null" => {
                return Found::Off;
            }
            (Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_), _) => return Found::Nowhere(node),
        };
        node = next;
    }
    Found::There(node)
}

/// The text in which `path` below `root`, a node of it, is `value`; `None` if it leads nowhere or what should hold it is off.
pub(super) fn set(text: &str, root: &Node, path: &Path, value: &str) -> Option<String> {
    match find(root, path) {
        Found::There(node) => Some(splice(text, node.place.start, node.place.end, value)),
        Found::Missing(map, rest) => insert(text, map, rest, value),
        Found::Off | Found::Nowhere(_) => None,
    }
}

fn insert(text: &str, map: &Node, rest: &[Part], value: &str) -> Option<String> {
    let (first, deeper) = rest.split_first()?;
    let name = |part: &Part| match part {
        Part::Key(key) => key.clone(),
        Part::Index(index) => index.to_string(),
    };
    let nested = deeper.iter().rev().fold(value.to_owned(), |value, part| format!("{{{}: {value}}}", name(part)));
    let entry = format!("{}: {nested}", name(first));
    let Kind::Map(entries) = &map.kind else { return None };
    let is_flow = text.as_bytes().get(map.place.start) == Some(&b'{');
    let Some((key, last)) = entries.last() else {
        return is_flow.then(|| splice(text, map.place.start, map.place.end, &format!("{{{entry}}}")));
    };
    let end = last.place.end.max(key.place.end);
    if is_flow {
        return Some(splice(text, end, end, &format!(", {entry}")));
    }
    // After the last entry's line, so that a comment behind it stays with it.
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
    let indent = " ".repeat(entries.first()?.0.place.column - 1);
    Some(splice(text, line_end, line_end, &format!("\n{indent}{entry}")))
}

fn splice(text: &str, start: usize, end: usize, with: &str) -> String {
    format!("{}{with}{}", &text[..start], &text[end..])
}

/// The text without what stands from `start` to `end`, line by line as long as before, so that places stay.
pub(super) fn blank(text: &str, start: usize, end: usize) -> String {
    let blanks: String = text[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
    splice(text, start, end, &blanks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use squall_control::yaml;

    #[track_caller]
    fn check(text: &str, path: &str, value: &str, want: &str) {
        let documents = yaml::parse("t.yaml", text).expect("it is YAML");
        let path = Path::parse(path).expect("it is a path");
        let edited = set(text, &documents[0], &path, value).expect("the path leads somewhere");
        assert_eq!(edited, want);
        let again = yaml::parse("t.yaml", &edited).expect("it is still YAML");
        match find(&again[0], &path) {
            Found::There(node) => assert_eq!(&edited[node.place.start..node.place.end], value),
            Found::Missing(..) | Found::Off | Found::Nowhere(_) => panic!("it is not there: {edited}"),
        }
    }

    #[test]
    fn a_value_is_changed_where_it_stands() {
        check("a: 1 # one\nb: 2\n", "a", "7", "a: 7 # one\nb: 2\n");
        check("a: {b: \"x y\", c: 2}\n", "a.b", "z", "a: {b: z, c: 2}\n");
        check("rules:\n  - x: 1\n  - x: 2 # second\n", "rules[1].x", "3", "rules:\n  - x: 1\n  - x: 3 # second\n");
        check("on: [a, b]\n", "on", "[c]", "on: [c]\n");
        check("on:\n  - a\n  - b # last\nz: 1\n", "on", "[c]", "on:\n  [c] # last\nz: 1\n");
    }

    #[test]
    fn a_value_that_is_missing_comes_after_the_others() {
        check("a: {b: 1}\n", "a.c", "2", "a: {b: 1, c: 2}\n");
        check("a: {}\n", "a.c", "2", "a: {c: 2}\n");
        check("a:\n  b: 1 # one\nz: 9\n", "a.c", "2", "a:\n  b: 1 # one\n  c: 2\nz: 9\n");
        check("a:\n  b: {x: 1}\n", "a.d.e.f", "5ms", "a:\n  b: {x: 1}\n  d: {e: {f: 5ms}}\n");
        check("a:\n  b: 1", "a.c", "2", "a:\n  b: 1\n  c: 2");
        check("rules:\n  - x: 1\n    y: 2\n", "rules[0].z", "3", "rules:\n  - x: 1\n    y: 2\n    z: 3\n");
    }

    #[test]
    fn what_leads_nowhere_is_left_alone() {
        for (text, path) in [("a: 1\n", "a.b"), ("a: ~\n", "a.b"), ("a: [1]\n", "a[3]"), ("a: {}\n", "b[0].c")] {
            let documents = yaml::parse("t.yaml", text).expect("it is YAML");
            let path = Path::parse(path).expect("it is a path");
            assert_eq!(set(text, &documents[0], &path, "1"), None, "{text}");
        }
    }

    #[test]
    fn a_path_reads_as_it_is_written() {
        for text in ["retries.attempts", "rules[0].timeouts.request", "a[1][2]"] {
            assert_eq!(Path::parse(text).map(|path| path.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "a.", ".a", "a[x]", "a[1", "a b"] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn blanks_keep_every_line() {
        assert_eq!(blank("a: 1\nb: ü\nc", 5, 10), "a: 1\n    \nc");
    }
}
