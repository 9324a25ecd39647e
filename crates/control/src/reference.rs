//! What may stand in the files that people write: every field with its meaning, unit, range and default, and what other meshes have
//! there. `squall explain` prints it, and the guide's reference is made from it.
//!
//! The tables stand beside the readers and are held against them (`tests/reference.rs`): a field that a reader takes is in its
//! table and the other way round; a range is where the reader begins to refuse; a default is what leaving the field out means.

mod access;
mod edge;
mod limits;
mod routes;
mod traffic_policy;

pub use access::{AUTHORIZATION_POLICY, FAULT_INJECTION, PEER_AUTHENTICATION};
pub use edge::{GATEWAY, SERVICE};
pub use routes::{GRPC_ROUTE, HTTP_ROUTE};
pub use traffic_policy::TRAFFIC_POLICY;

use crate::{closest, units};

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its path below `spec`, without places in lists and names of the user's choice: `retries.budget.percent`.
    pub path: &'static str,
    /// What is written there.
    pub kind: Kind,
    /// What holds without it.
    pub default: Default,
    /// What it does: one to three sentences, without the full stop of the last.
    pub says: &'static str,
    /// A value that is not the default, as YAML has it; empty for what has fields of its own.
    pub such_as: &'static str,
    /// Other fields that it needs, by path, each with a value that suits it.
    pub with: &'static [(&'static str, &'static str)],
    /// What other meshes have, each with its value there.
    pub peers: &'static [(&'static str, &'static str)],
    /// It also has the fields of this one, but for those in the list.
    pub like: Option<(&'static str, &'static [&'static str])>,
}

/// What is written in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mapping of the fields below it.
    Map,
    /// A list of mappings with the fields below it.
    List,
    /// A mapping of names, such as this one, to mappings with the fields below it.
    Named(&'static str),
    /// A whole number, both ends included; `u64::MAX` and `u32::MAX`: no upper end.
    Whole(u64, u64),
    /// A span of time, both ends included; empty: no end. A beginning of `1ns` is "more than 0".
    Span(&'static str, &'static str),
    /// A share with a percent sign, to a tenth of a percent.
    Percent(&'static str, &'static str),
    /// A share with a percent sign, whole.
    WholePercent(&'static str, &'static str),
    /// A share with a percent sign, to a ten-thousandth of a percent.
    FinePercent(&'static str, &'static str),
    /// A number with at most three decimals.
    Decimal(&'static str, &'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Truth,
    /// Something else, in words.
    Other(&'static str),
}

/// What holds without a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It must be given.
    Required,
    /// This value, as it would be written.
    Is(&'static str),
    /// Something that cannot be written there, in words.
    Absent(&'static str),
}

impl Field {
    const fn new(path: &'static str, kind: Kind, default: Default, such_as: &'static str, says: &'static str) -> Self {
        Self { path, kind, default, says, such_as, with: &[], peers: &[], like: None }
    }

    /// A field with fields of its own.
    #[must_use]
    pub const fn group(path: &'static str, absent: &'static str, says: &'static str) -> Self {
        Self::new(path, Kind::Map, Default::Absent(absent), "", says)
    }

    /// A field that must be given.
    #[must_use]
    pub const fn required(path: &'static str, kind: Kind, such_as: &'static str, says: &'static str) -> Self {
        Self::new(path, kind, Default::Required, such_as, says)
    }

    /// A field whose default can be written.
    #[must_use]
    pub const fn usual(
        path: &'static str,
        kind: Kind,
        default: &'static str,
        such_as: &'static str,
        says: &'static str,
    ) -> Self {
        Self::new(path, kind, Default::Is(default), such_as, says)
    }

    /// A field whose absence is something else.
    #[must_use]
    pub const fn optional(
        path: &'static str,
        kind: Kind,
        absent: &'static str,
        such_as: &'static str,
        says: &'static str,
    ) -> Self {
        Self::new(path, kind, Default::Absent(absent), such_as, says)
    }

    /// With other fields that it needs.
    #[must_use]
    pub const fn with(mut self, with: &'static [(&'static str, &'static str)]) -> Self {
        self.with = with;
        self
    }

    /// With what other meshes have.
    #[must_use]
    pub const fn peers(mut self, peers: &'static [(&'static str, &'static str)]) -> Self {
        self.peers = peers;
        self
    }

    /// With the fields of another one, but for some.
    #[must_use]
    pub const fn like(mut self, path: &'static str, but: &'static [&'static str]) -> Self {
        self.like = Some((path, but));
        self
    }

    /// A list, or a mapping of names, in place of one mapping.
    #[must_use]
    pub const fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// That must be given, with a value for examples of others.
    #[must_use]
    pub const fn needed(mut self, such_as: &'static str) -> Self {
        self.default = Default::Required;
        self.such_as = such_as;
        self
    }

    /// Its name: the last part of its path.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }
}

impl Kind {
    /// What is written, with unit and range, for people: `a duration, 1ms to 5m`.
    #[must_use]
    pub fn describe(&self) -> String {
        let range = |what: &str, least: &str, most: &str| match (least, most) {
            ("", "") => what.to_owned(),
            (least, "") => format!("{what}, {least} or more"),
            ("", most) => format!("{what}, up to {most}"),
            (least, most) => format!("{what}, {least} to {most}"),
        };
        match *self {
            Self::Map => "a mapping".to_owned(),
            Self::List => "a list of mappings".to_owned(),
            Self::Named(name) => format!("a mapping of names, such as `{name}`"),
            Self::Whole(least, most) if most == u64::MAX || most == u64::from(u32::MAX) => {
                format!("a whole number, {least} or more")
            }
            Self::Whole(least, most) => format!("a whole number, {least} to {most}"),
            Self::Span("1ns", "") => "a duration, more than 0".to_owned(),
            Self::Span("1ns", most) => format!("a duration, more than 0, up to {most}"),
            Self::Span(least, most) => range("a duration", least, most),
            Self::Percent(least, most) => range("a percentage", least, most),
            Self::WholePercent(least, most) => range("a whole percentage", least, most),
            Self::FinePercent(least, most) => range("a percentage", least, most),
            Self::Decimal(least, most) => range("a number", least, most),
            Self::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Self::Truth => "`true` or `false`".to_owned(),
            Self::Other(what) => what.to_owned(),
        }
    }
}

impl Kind {
    /// The values at both ends of the range, each with the one just beyond that is no longer taken, if there is one. What tests hold
    /// against the readers.
    #[must_use]
    pub fn ends(&self) -> Vec<(String, Option<String>)> {
        let decimal = |text: &str, unit: &str, step: u64, places: u32| -> Vec<(String, Option<String>)> {
            let scale = 10_u64.pow(places);
            let scaled = |text: &str| units::scaled(text.trim_end_matches('%'), scale);
            let show = |value: u64| match value % scale {
                0 => format!("{}{unit}", value / scale),
                part => format!("{}.{part:0width$}{unit}", value / scale, width = places as usize),
            };
            scaled(text)
                .map(|value| {
                    vec![(show(value), value.checked_sub(step).map(show)), (show(value), Some(show(value + step)))]
                })
                .unwrap_or_default()
        };
        let both = |least: &str, most: &str, unit: &str, step: u64, places: u32| {
            let (low, high) = (decimal(least, unit, step, places), decimal(most, unit, step, places));
            low.into_iter().take(1).chain(high.into_iter().skip(1)).collect()
        };
        match *self {
            Self::Whole(least, most) => vec![
                (least.to_string(), least.checked_sub(1).map(|below| below.to_string())),
                (most.to_string(), most.checked_add(1).map(|above| above.to_string())),
            ],
            Self::Span(least, most) => {
                let nanos = |text: &str| units::duration(text).ok().map(|span| span.as_nanos());
                let low =
                    nanos(least).map(|low| (least.to_owned(), low.checked_sub(1).map(|below| format!("{below}ns"))));
                let high = nanos(most).map(|high| (most.to_owned(), Some(format!("{}ns", high + 1))));
                low.into_iter().chain(high).collect()
            }
            Self::Percent(least, most) => both(least, most, "%", 1, 1),
            Self::WholePercent(least, most) => both(least, most, "%", 1, 0),
            Self::FinePercent(least, most) => both(least, most, "%", 1, 4),
            Self::Decimal(least, most) => both(least, most, "", 1, 3),
            Self::Map | Self::List | Self::Named(_) | Self::Choice(_) | Self::Truth | Self::Other(_) => Vec::new(),
        }
    }
}

impl Default {
    /// For people: `required`, `25ms`, `none`.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match *self {
            Self::Required => "required",
            Self::Is(value) | Self::Absent(value) => value,
        }
    }
}

/// The fields of one kind of file or resource.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// `TrafficPolicy`.
    pub kind: &'static str,
    /// What it is for, as paragraphs of Markdown.
    pub says: &'static str,
    /// Its fields, in the order in which they are explained; a group before what is in it.
    pub parts: &'static [&'static [Field]],
}

impl Reference {
    /// Its fields, in the order in which they are explained.
    pub fn fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// The field at `path`; one that is inherited from another group is that group's.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&'static Field> {
        if let Some(field) = self.fields().find(|field| field.path == path) {
            return Some(field);
        }
        let (above, name) = path.rsplit_once('.')?;
        let group = self.find(above)?;
        if group.path != above {
            return self.find(&format!("{}.{name}", group.path));
        }
        let (like, but) = group.like?;
        if but.contains(&name) { None } else { self.find(&format!("{like}.{name}")) }
    }

    /// The fields directly below `path` (empty: those of `spec`), those that it has like another included.
    #[must_use]
    pub fn children(&self, path: &str) -> Vec<&'static Field> {
        let is_below = |field: &&Field| match field.path.rsplit_once('.') {
            Some((above, _)) => above == path,
            None => path.is_empty(),
        };
        let mut found: Vec<&'static Field> = self.fields().filter(is_below).collect();
        if !path.is_empty()
            && let Some(group) = self.find(path)
        {
            if found.is_empty() && group.path != path {
                return self.children(group.path);
            }
            if let Some((like, but)) = group.like {
                let own: Vec<&str> = found.iter().map(|field| field.name()).collect();
                let others = self.children(like).into_iter();
                found.extend(others.filter(|field| !but.contains(&field.name()) && !own.contains(&field.name())));
            }
        }
        found
    }

    /// The paths of fields that a person may mean by `words`: exactly that path; else all that end with it.
    #[must_use]
    pub fn meant(&self, words: &str) -> Vec<&'static str> {
        if let Some(field) = self.fields().find(|field| field.path == words) {
            return vec![field.path];
        }
        let tail = format!(".{words}");
        self.fields().map(|field| field.path).filter(|path| path.ends_with(&tail)).collect()
    }

    /// The path nearest to what a person wrote: of the whole path, else of the last name below the same group.
    #[must_use]
    pub fn nearest(&self, words: &str) -> Option<&'static str> {
        let all: Vec<&'static str> = self.fields().map(|field| field.path).collect();
        if let Some((above, name)) = words.rsplit_once('.')
            && self.find(above).is_some()
        {
            let children = self.children(above);
            let names: Vec<&str> = children.iter().map(|field| field.name()).collect();
            let near = closest(name, &names)?;
            return children.iter().find(|field| field.name() == near).map(|field| field.path);
        }
        let names: Vec<&'static str> = self.fields().map(Field::name).collect();
        match closest(words, &all) {
            Some(path) => Some(path),
            None => closest(words, &names)
                .and_then(|near| all.into_iter().find(|path| path.rsplit('.').next() == Some(near))),
        }
    }

    /// A `spec` as YAML, in which `path` is `value` and what it needs is there too: fields beside it that are required, and those it
    /// goes with. `also` are more fields that shall be there. `None`: there is no such field.
    #[must_use]
    pub fn example(&self, path: &str, value: &str, also: &[(&str, &str)]) -> Option<String> {
        let field = self.find(path)?;
        let mut tree = Tree::default();
        self.put(&mut tree, path, value);
        for (other, value) in also.iter().chain(field.with) {
            if !path.starts_with(&format!("{other}.")) {
                self.put(&mut tree, other, value);
            }
        }
        Some(tree.flow())
    }

    /// As [`Reference::example`], over several lines, each indented by `indent`, and without what is required elsewhere in the `spec`.
    #[must_use]
    pub fn example_block(&self, path: &str, value: &str, indent: usize) -> Option<String> {
        let field = self.find(path)?;
        let mut tree = Tree::default();
        for (path, value) in std::iter::once((path, value)).chain(field.with.iter().copied()) {
            self.put(&mut tree, path, value);
        }
        let root = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
        let mut roots: Vec<String> = field.with.iter().map(|(path, _)| root(path)).collect();
        roots.push(root(path));
        tree.entries.retain(|(name, _)| roots.contains(name));
        let mut lines = String::new();
        tree.block(&mut lines, &" ".repeat(indent), &" ".repeat(indent));
        Some(lines)
    }

    fn put(&self, tree: &mut Tree, path: &str, value: &str) {
        let mut at = tree;
        let mut walked = String::new();
        for name in path.split('.') {
            self.complete(at, &walked);
            if !walked.is_empty() {
                walked.push('.');
            }
            walked.push_str(name);
            let kind = self.find(&walked).map_or(Kind::Map, |field| field.kind);
            at = at.below(name, kind);
        }
        if value.is_empty() {
            self.complete(at, path);
        }
        if at.entries.is_empty() || !value.is_empty() {
            at.value = Some(value.to_owned());
        }
    }

    /// Adds what is required beside others in the group `path`.
    fn complete(&self, tree: &mut Tree, path: &str) {
        tree.value = None;
        for field in self.children(path).into_iter().filter(|field| field.default == Default::Required) {
            let own = tree.below(field.name(), field.kind);
            if own.value.is_none() && own.entries.is_empty() {
                own.value = Some(field.such_as.to_owned());
            }
        }
    }
}

/// YAML to be.
#[derive(Debug, Default)]
struct Tree {
    value: Option<String>,
    wrap: Wrap,
    entries: Vec<(String, Tree)>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Wrap {
    #[default]
    Plain,
    List,
    Named(&'static str),
}

impl Tree {
    fn below(&mut self, name: &str, kind: Kind) -> &mut Self {
        let at = match self.entries.iter().position(|(known, _)| known == name) {
            Some(at) => at,
            None => {
                let wrap = if let Kind::Named(name) = kind {
                    Wrap::Named(name)
                } else if kind == Kind::List {
                    Wrap::List
                } else {
                    Wrap::Plain
                };
                self.entries.push((name.to_owned(), Self { wrap, ..Self::default() }));
                self.entries.len() - 1
            }
        };
        &mut self.entries[at].1
    }

    fn flow(&self) -> String {
        if let Some(value) = &self.value {
            return if value.is_empty() { "{}".to_owned() } else { value.clone() };
        }
        let entries: Vec<String> = self.entries.iter().map(|(name, tree)| format!("{name}: {}", tree.flow())).collect();
        let inner = format!("{{{}}}", entries.join(", "));
        match self.wrap {
            Wrap::Plain => inner,
            Wrap::List => format!("[{inner}]"),
            Wrap::Named(name) => format!("{{{name}: {inner}}}"),
        }
    }

    /// Lines that begin with `first`, then with `rest`.
    fn block(&self, lines: &mut String, first: &str, rest: &str) {
        for (nth, (name, tree)) in self.entries.iter().enumerate() {
            lines.push_str(if nth == 0 { first } else { rest });
            if tree.entries.is_empty() || tree.value.is_some() {
                lines.push_str(&format!("{name}: {}\n", tree.flow()));
                continue;
            }
            lines.push_str(&format!("{name}:\n"));
            let below = format!("{rest}  ");
            match tree.wrap {
                Wrap::Plain => tree.block(lines, &below, &below),
                Wrap::List => tree.block(lines, &format!("{below}- "), &format!("{below}  ")),
                Wrap::Named(name) => {
                    lines.push_str(&format!("{below}{name}:\n"));
                    tree.block(lines, &format!("{below}  "), &format!("{below}  "));
                }
            }
        }
    }
}
