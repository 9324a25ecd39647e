//! A mistake in a file, with its place: what a person must change, and where.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// A span of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// The line of the first character, from 1.
    pub line: usize,
    /// The column of the first character, in characters from 1.
    pub column: usize,
    /// How many characters of that line are meant, at least 1.
    pub length: usize,
    /// The first byte in the file.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Place {
    /// The beginning of a file, for a mistake that concerns the whole of it.
    #[must_use]
    pub fn whole(file: &str) -> Self {
        Self { file: file.into(), line: 1, column: 1, length: 1, start: 0, end: 0 }
    }

    /// `length` characters (and bytes: the text there is ASCII) from the `offset`-th of this place on. For a part of a scalar,
    /// such as an operand in an expression. Beyond the end of this place it is cut to it.
    #[must_use]
    pub fn part(&self, offset: usize, length: usize) -> Self {
        let width = self.end - self.start;
        let offset = offset.min(width);
        let length = length.min(width - offset);
        Self {
            file: Arc::clone(&self.file),
            line: self.line,
            column: self.column + offset,
            length: length.max(1),
            start: self.start + offset,
            end: self.start + offset + length,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One mistake, to be shown with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, in one sentence without a full stop: `` `catlog` is not a service ``.
    pub message: String,
    /// Where it is.
    pub place: Place,
    /// What to say at the place itself; empty: only the caret.
    pub note: String,
    /// Other places that have to do with it, such as the other end of a conflict, each with its words.
    pub labels: Vec<(Place, String)>,
    /// What to do about it: `` did you mean `catalog`? ``.
    pub help: Option<String>,
    /// What would have been right at the place, if that is a list of words or fields; else empty.
    pub known: Vec<String>,
}

impl Mistake {
    /// A mistake at `place`.
    #[must_use]
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: place.clone(),
            note: String::new(),
            labels: Vec::new(),
            help: None,
            known: Vec::new(),
        }
    }

    /// With words at the place itself.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// With another place that has to do with it.
    #[must_use]
    pub fn label(mut self, place: &Place, words: impl Into<String>) -> Self {
        self.labels.push((place.clone(), words.into()));
        self
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With ``did you mean `x`?`` if one of `known` is close to `wrong`; else with the list of them, if it is short.
    #[must_use]
    pub fn suggest<'k>(mut self, wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        self.known = known.iter().map(|name| (*name).to_owned()).collect();
        if let Some(near) = closest(wrong, &known) {
            return self.help(format!("did you mean `{near}`?"));
        }
        match known.len() {
            0 => self,
            1 => self.help(format!("only `{}` is known here", known[0])),
            2..=20 => {
                let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                self.help(format!("known here: {}", list.join(", ")))
            }
            _ => self,
        }
    }

    /// The mistake as plain text, with the line of `source` (the whole text of [`Place::file`]) and a caret under the place.
    /// What tests compare; `squall` draws it with colours.
    #[must_use]
    pub fn render(&self, source: &str) -> String {
        let mut text = format!("{}: {}\n", self.place, self.message);
        caret(&mut text, source, &self.place, &self.note);
        for (place, words) in &self.labels {
            if place.file == self.place.file {
                caret(&mut text, source, place, words);
            } else {
                text.push_str(&format!("  {place}: {words}\n"));
            }
        }
        if let Some(help) = &self.help {
            text.push_str(&format!("help: {help}\n"));
        }
        text
    }
}

impl fmt::Display for Mistake {
    /// One line: place, message, help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mistake {}

fn caret(text: &mut String, source: &str, place: &Place, words: &str) {
    let line = source.lines().nth(place.line - 1).unwrap_or_default();
    let number = place.line.to_string();
    text.push_str(&format!("{number} | {line}\n"));
    let indent = " ".repeat(number.len() + 3 + place.column - 1);
    let gap = if words.is_empty() { "" } else { " " };
    text.push_str(&format!("{indent}{}{gap}{words}\n", "^".repeat(place.length.max(1))));
}

/// The name in `known` that a person who wrote `wrong` most likely meant, if any is near enough. Ties go to the first.
#[must_use]
pub fn closest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = wrong.to_lowercase();
    let mut best: Option<(usize, &'k str)> = None;
    for name in known {
        let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
        if distance <= lower.chars().count().max(3) / 3 && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    if let Some((_, name)) = best {
        return Some(name);
    }
    // Another form of the word: `retry` for `retries`.
    let mut best: Option<(f64, &'k str)> = None;
    for name in known {
        let likeness = strsim::jaro_winkler(&lower, &name.to_lowercase());
        if likeness >= 0.88 && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Collects mistakes, so that all of them are reported and not only the first. Shared by reference among readers.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// Adds several.
    pub fn extend(&self, mistakes: impl IntoIterator<Item = Mistake>) {
        self.0.borrow_mut().extend(mistakes);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `value` if there was no mistake.
    ///
    /// # Errors
    /// All mistakes, those of one file in the order of their places.
    pub fn check<T>(self, value: T) -> Result<T, Vec<Mistake>> {
        let mut mistakes = self.0.into_inner();
        if mistakes.is_empty() {
            return Ok(value);
        }
        mistakes.sort_by(|a, b| (&a.place.file, a.place.start).cmp(&(&b.place.file, b.place.start)));
        Err(mistakes)
    }
}
