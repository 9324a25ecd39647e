//! YAML with places: a tree whose every node knows where it stands, and typed readers over it that collect mistakes.
//!
//! ```
//! use squall_control::Mistakes;
//! use squall_control::yaml;
//!
//! let mistakes = Mistakes::new();
//! let documents = yaml::parse("demo.yaml", "wait: 250ms\nrate: 3\nwiat: 1s\n").expect("it is YAML");
//! let demo = yaml::Value::new(&documents[0], &mistakes);
//! let fields = demo.fields("Demo", &["wait", "rate"]).expect("it is a mapping");
//! let wait = fields.get("wait").and_then(|value| value.duration());
//! let rate = fields.required("rate").and_then(|value| value.integer(1, 1000));
//! assert_eq!((wait, rate), (Some(std::time::Duration::from_millis(250)), Some(3)));
//! let refused = mistakes.check(()).expect_err("`wiat` is not a field");
//! assert_eq!(refused[0].to_string(), "demo.yaml:3:1: `wiat` is not a field of Demo (did you mean `wait`?)");
//! ```

use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::units;
use crate::{Mistake, Mistakes, Place};

/// A node of a document, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it stands. Of a mapping or list: from its first to its last entry.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text or number; not yet interpreted.
    Scalar {
        /// After unescaping.
        text: String,
        /// Written without quotes, so that it may be a number, a bool or null.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file. Keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// How deep a document may nest.
const DEPTH_MAX: usize = 64;

/// Parses the documents of a file. Empty documents are left out. Duplicate keys, anchors, aliases, tags and keys that are not scalars are
/// mistakes: no manifest needs them, and what cannot be shown with one place cannot be explained.
///
/// # Errors
/// The first mistake of syntax, or all duplicate keys and the like.
pub fn parse(file: &str, text: &str) -> Result<Vec<Node>, Vec<Mistake>> {
    let mut tree = Tree { file: file.into(), text, mistakes: Mistakes::new() };
    let mut documents = Vec::new();
    let mut events = Parser::new_from_str(text);
    while let Some(event) = events.next() {
        let (event, span) = event.map_err(|error| vec![tree.syntax(&error)])?;
        let frame = matches!(
            event,
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd | Event::Comment(..)
        );
        if !frame {
            let node = tree.node(event, span, &mut events, 0)?;
            let empty = matches!(&node.kind, Kind::Scalar { text, plain: true } if is_null(text));
            if !empty {
                documents.push(node);
            }
        }
    }
    tree.mistakes.check(documents)
}

struct Tree<'t> {
    file: Arc<str>,
    text: &'t str,
    mistakes: Mistakes,
}

type Events<'t> = Parser<'t, serde_saphyr::granit_parser::StrInput<'t>>;

impl<'t> Tree<'t> {
    fn place(&self, span: Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0).min(self.text.len());
        let end = span.end.byte_offset().unwrap_or(start).clamp(start, self.text.len());
        let text = self.text.get(start..end).unwrap_or_default();
        let (trimmed, first) = (text.trim_end(), text.lines().next().unwrap_or_default().trim_end());
        Place {
            file: Arc::clone(&self.file),
            line: span.start.line(),
            column: span.start.col() + 1,
            length: first.chars().count().max(1),
            start,
            end: start + trimmed.len(),
        }
    }

    fn syntax(&self, error: &serde_saphyr::granit_parser::ScanError) -> Mistake {
        Mistake::new(&self.place(Span::empty(*error.marker())), format!("not YAML: {}", error.info()))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the parser's events are non-exhaustive")]
    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        events: &mut Events<'t>,
        depth: usize,
    ) -> Result<Node, Vec<Mistake>> {
        let place = self.place(span);
        if depth > DEPTH_MAX {
            return Err(vec![Mistake::new(&place, format!("nested deeper than {DEPTH_MAX} levels"))]);
        }
        let (kind, tagged, anchored) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (Kind::Scalar { text: text.into_owned(), plain }, tag.is_some(), anchor != 0)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let mut items = Vec::new();
                let end = loop {
                    match self.next(events)? {
                        (Event::SequenceEnd, span) => break span,
                        (event, span) => items.push(self.node(event, span, events, depth + 1)?),
                    }
                };
                return self.collection(place, end, Kind::List(items), tag.is_some(), anchor != 0);
            }
            Event::MappingStart(_, anchor, tag) => {
                let mut entries: Vec<(Key, Node)> = Vec::new();
                let end = loop {
                    let (event, span) = match self.next(events)? {
                        (Event::MappingEnd, span) => break span,
                        other => other,
                    };
                    let key = self.node(event, span, events, depth + 1)?;
                    let (event, span) = self.next(events)?;
                    let value = self.node(event, span, events, depth + 1)?;
                    let Kind::Scalar { text: name, .. } = key.kind else {
                        self.mistakes.push(Mistake::new(&key.place, "a key must be text"));
                        continue;
                    };
                    if let Some((first, _)) = entries.iter().find(|(known, _)| known.name == name) {
                        let mistake = Mistake::new(&key.place, format!("`{name}` is given twice"));
                        self.mistakes.push(mistake.label(&first.place, "first given here"));
                        continue;
                    }
                    entries.push((Key { name, place: key.place }, value));
                };
                return self.collection(place, end, Kind::Map(entries), tag.is_some(), anchor != 0);
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.mistakes.push(Mistake::new(&place, "aliases (`*name`) are not supported"));
                (Kind::Scalar { text: String::new(), plain: false }, false, false)
            }
            event => unreachable!("{event:?} is no node: the parser pairs starts with ends"),
        };
        self.properties(&place, tagged, anchored);
        Ok(Node { place, kind })
    }

    fn collection(
        &self,
        start: Place,
        end: Span,
        kind: Kind,
        tagged: bool,
        anchored: bool,
    ) -> Result<Node, Vec<Mistake>> {
        self.properties(&start, tagged, anchored);
        let last = match &kind {
            Kind::List(items) => items.last().map(|item| item.place.end),
            Kind::Map(entries) => entries.last().map(|(_, value)| value.place.end),
            Kind::Scalar { .. } => None,
        };
        let closing = end.end.byte_offset().unwrap_or(start.start).min(self.text.len());
        let flow = matches!(self.text.as_bytes().get(start.start), Some(b'[' | b'{'));
        let end = if flow { closing } else { last.unwrap_or(closing) }.max(start.start);
        let first = self.text.get(start.start..end).unwrap_or_default().lines().next().unwrap_or_default();
        let length = first.chars().count().max(1);
        Ok(Node { place: Place { end, length, ..start }, kind })
    }

    fn properties(&self, place: &Place, tagged: bool, anchored: bool) {
        if tagged {
            self.mistakes.push(Mistake::new(place, "tags (`!name`) are not supported"));
        }
        if anchored {
            self.mistakes.push(Mistake::new(place, "anchors (`&name`) are not supported"));
        }
    }

    fn next(&self, events: &mut Events<'t>) -> Result<(Event<'t>, Span), Vec<Mistake>> {
        loop {
            let event = events.next().expect("the parser ends a document before it ends");
            match event.map_err(|error| vec![self.syntax(&error)])? {
                (Event::Comment(..), _) => {}
                event => return Ok(event),
            }
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// How YAML (1.2, core schema) would take a plain scalar that is not text: `Some("a number")` and so on.
fn not_text(text: &str) -> Option<&'static str> {
    match text {
        text if is_null(text) => Some("nothing"),
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Some("true or false"),
        text if text.bytes().next().is_some_and(|first| b"+-.0123456789".contains(&first))
            && text.parse::<f64>().is_ok() =>
        {
            Some("a number")
        }
        _ => None,
    }
}

/// A node being read: what is wrong with it goes to the shared [`Mistakes`], and `None` says that something was.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    node: &'a Node,
    mistakes: &'a Mistakes,
}

impl<'a> Value<'a> {
    /// Reads `node`.
    #[must_use]
    pub fn new(node: &'a Node, mistakes: &'a Mistakes) -> Self {
        Self { node, mistakes }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &'a Place {
        &self.node.place
    }

    /// Where its mistakes go.
    #[must_use]
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// Reports a mistake at this node; always `None`, to end a reader with it.
    pub fn refuse<T>(&self, message: impl Into<String>) -> Option<T> {
        self.mistakes.push(Mistake::new(&self.node.place, message));
        None
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        let found = match &self.node.kind {
            Kind::Scalar { text, plain } => match not_text(text) {
                Some("nothing") if *plain => "nothing".to_owned(),
                Some(_) | None => format!("`{text}`"),
            },
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a mapping".to_owned(),
        };
        self.refuse(format!("expected {what}, found {found}"))
    }

    /// Whether it is null (nothing after the colon, `~` or `null`).
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.node.kind, Kind::Scalar { text, plain: true } if is_null(text))
    }

    /// Whether it is a scalar.
    #[must_use]
    pub fn is_scalar(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar { .. })
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    /// Whether it is a mapping.
    #[must_use]
    pub fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// A scalar as it is written, number or text. Null is refused.
    #[must_use]
    pub fn scalar(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, plain } if !plain || !is_null(text) => Some(text),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => self.expected("a value"),
        }
    }

    /// Text. What YAML takes for a number, a bool or null must be quoted, as in Kubernetes.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => match not_text(text) {
                Some("nothing") => self.expected("text"),
                Some(what) => {
                    let mistake = Mistake::new(&self.node.place, format!("expected text, found {what}"));
                    self.mistakes.push(mistake.help(format!("write \"{text}\" with quotes")));
                    None
                }
                None => Some(text),
            },
            Kind::Scalar { text, plain: false } => Some(text),
            Kind::List(_) | Kind::Map(_) => self.expected("text"),
        }
    }

    /// Text that is not empty.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() { self.refuse("expected text, found nothing") } else { Some(text) }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(true),
            Kind::Scalar { text, plain: true } if text == "false" => Some(false),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => self.expected("`true` or `false`"),
        }
    }

    /// A whole number from `least` to `most`, without quotes.
    #[must_use]
    pub fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let what = if most == u64::MAX {
            format!("a whole number from {least}")
        } else {
            format!("a whole number from {least} to {most}")
        };
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => match text.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Some(number),
                Ok(_) | Err(_) => self.expected(&what),
            },
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => self.expected(&what),
        }
    }

    /// As [`Value::integer`], for 32 bits.
    #[must_use]
    pub fn integer_u32(&self, least: u32, most: u32) -> Option<u32> {
        self.integer(u64::from(least), u64::from(most)).and_then(|number| u32::try_from(number).ok())
    }

    /// A span of time with units: `250ms`, `1s`, `1m30s`. See [`units::duration`].
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.parsed(units::duration)
    }

    /// A span of time from `least` to `most`.
    #[must_use]
    pub fn duration_within(&self, least: Duration, most: Duration) -> Option<Duration> {
        let span = self.duration()?;
        if (least..=most).contains(&span) {
            return Some(span);
        }
        let limits = format!("{} to {}", units::show(least), units::show(most));
        self.refuse(format!("{} is out of range: {limits}", units::show(span)))
    }

    /// A share with a percent sign, `50%` or `12.5%`, in thousandths. See [`units::percent`].
    #[must_use]
    pub fn permille(&self, most: u32) -> Option<u32> {
        let share = self.parsed(units::percent)?;
        if share > most { self.refuse(format!("more than {} %", f64::from(most) / 10.0)) } else { Some(share) }
    }

    /// A scalar that `parser` understands; its error is the mistake's message.
    #[must_use]
    pub fn parsed<T>(&self, parser: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        match parser(self.scalar()?) {
            Ok(value) => Some(value),
            Err(message) => self.refuse(message),
        }
    }

    /// One of these words.
    #[must_use]
    pub fn choice<T: Clone>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.scalar()?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(value.clone());
        }
        let mistake = Mistake::new(&self.node.place, format!("`{text}` is not supported here"));
        self.mistakes.push(mistake.suggest(text, choices.iter().map(|(word, _)| *word)));
        None
    }

    /// The items of a list.
    #[must_use]
    pub fn list(&self) -> Option<Vec<Value<'a>>> {
        match &self.node.kind {
            Kind::List(items) => Some(items.iter().map(|node| Value { node, mistakes: self.mistakes }).collect()),
            Kind::Scalar { .. } | Kind::Map(_) => self.expected("a list"),
        }
    }

    /// The entries of a mapping whose keys are names of the user's choice.
    #[must_use]
    pub fn entries(&self) -> Option<Vec<(&'a Key, Value<'a>)>> {
        match &self.node.kind {
            Kind::Map(entries) => {
                Some(entries.iter().map(|(key, node)| (key, Value { node, mistakes: self.mistakes })).collect())
            }
            Kind::Scalar { .. } | Kind::List(_) => self.expected("a mapping"),
        }
    }

    /// The fields of a mapping called `what` in messages. Fields not in `known` are reported here, each with a suggestion.
    #[must_use]
    pub fn fields(&self, what: &'a str, known: &'a [&'a str]) -> Option<Fields<'a>> {
        self.fields_beside(what, known, &[])
    }

    /// As [`Value::fields`]; `refused` are fields that exist elsewhere but are not supported here, each with the reason.
    #[must_use]
    pub fn fields_beside(&self, what: &'a str, known: &'a [&'a str], refused: &[(&str, &str)]) -> Option<Fields<'a>> {
        let Kind::Map(entries) = &self.node.kind else {
            return self.expected(&format!("a mapping ({what})"));
        };
        for (key, _) in entries {
            if known.contains(&key.name.as_str()) {
                continue;
            }
            self.mistakes.push(match refused.iter().find(|(name, _)| *name == key.name) {
                Some((name, why)) => {
                    Mistake::new(&key.place, format!("`{name}` of {what} is not supported")).help(*why)
                }
                None => Mistake::new(&key.place, format!("`{}` is not a field of {what}", key.name))
                    .suggest(&key.name, known.iter().copied()),
            });
        }
        Some(Fields { whole: *self, entries, what, known })
    }
}

/// The fields of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    whole: Value<'a>,
    entries: &'a [(Key, Node)],
    what: &'a str,
    known: &'a [&'a str],
}

impl<'a> Fields<'a> {
    /// The mapping itself.
    #[must_use]
    pub fn whole(&self) -> Value<'a> {
        self.whole
    }

    /// The field, if it is there and not null. `name` must be one of the known ones.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.keyed(name).map(|(_, value)| value)
    }

    /// The field with its key.
    #[must_use]
    pub fn keyed(&self, name: &str) -> Option<(&'a Key, Value<'a>)> {
        assert!(self.known.contains(&name), "{} reads `{name}`, which it does not list as known", self.what);
        let (key, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        let value = Value { node, mistakes: self.whole.mistakes };
        (!value.is_null()).then_some((key, value))
    }

    /// The field; that it is missing is a mistake.
    #[must_use]
    pub fn required(&self, name: &str) -> Option<Value<'a>> {
        let value = self.get(name);
        if value.is_none() {
            self.whole.mistakes.push(Mistake::new(self.whole.place(), format!("{} needs `{name}`", self.what)));
        }
        value
    }

    /// The place of the field's key, or of the whole mapping if it is not there.
    #[must_use]
    pub fn place_of(&self, name: &str) -> &'a Place {
        self.keyed(name).map_or(self.whole.place(), |(key, _)| &key.place)
    }
}
