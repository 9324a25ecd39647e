//! Mistakes in files, drawn with the line, a caret and advice.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};
use squall_control::{Mistake, Place};
use squall_sim::scenario::Refusal;

use crate::fold::WIDTH;
use crate::screen::Screen;

/// Shows every mistake on stderr, and how many there were if more than one.
pub(crate) fn show(screen: &mut Screen, refusal: &Refusal) {
    for mistake in &refusal.mistakes {
        if let Some(annotation) = screen.github.as_ref().map(|job| job.of_mistake(mistake)) {
            screen.say_whole(&annotation);
        }
        screen.aside_whole(&draw(mistake, &refusal.sources, screen.color_stderr));
    }
    if refusal.mistakes.len() > 1 {
        screen.aside(&format!("{} mistakes", refusal.mistakes.len()));
    }
}

/// The texts of files by name.
pub(crate) type Sources = BTreeMap<Arc<str>, Arc<str>>;

pub(crate) fn draw(mistake: &Mistake, sources: &Sources, color: bool) -> String {
    let mut here = vec![(mistake.place.clone(), mistake.note.clone())];
    let mut elsewhere = Vec::new();
    for (place, words) in &mistake.labels {
        match place.file == mistake.place.file {
            true => here.push((place.clone(), words.clone())),
            false => elsewhere.push(Report::new(
                Severity::Advice,
                words.clone(),
                vec![(place.clone(), String::new())],
                sources,
            )),
        }
    }
    let mut report = Report::new(Severity::Error, mistake.message.clone(), here, sources);
    report.help.clone_from(&mistake.help);
    report.elsewhere = elsewhere;
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(WIDTH);
    let mut text = String::new();
    match handler.render_report(&mut text, &report) {
        Ok(()) => text,
        Err(fmt::Error) => mistake.to_string(),
    }
}

/// A mistake (or the other end of one, in another file) as miette wants it.
#[derive(Debug)]
struct Report {
    severity: Severity,
    message: String,
    help: Option<String>,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
    elsewhere: Vec<Report>,
}

impl Report {
    /// About `spans` of one file, the first of them in the middle of it.
    fn new(severity: Severity, mut message: String, spans: Vec<(Place, String)>, sources: &Sources) -> Self {
        let mut source = None;
        let mut labels = Vec::new();
        if let Some((place, _)) = spans.first() {
            match sources.get(&place.file) {
                Some(text) if place.end <= text.len() && !text.is_empty() && !holds_a_key(text) => {
                    source = Some(NamedSource::new(&*place.file, Arc::clone(text)));
                    labels =
                        spans.iter().enumerate().map(|(nth, (place, words))| label(nth == 0, place, words)).collect();
                }
                // The file is gone, or no file at all: then its name and line must do.
                _ => message = format!("{place}: {message}"),
            }
        }
        Self { severity, message, help: None, source, labels, elsewhere: Vec::new() }
    }
}

/// Whether a file has a private key in it: then no line of it is shown.
fn holds_a_key(text: &str) -> bool {
    text.contains("PRIVATE KEY") || text.contains("tls.key")
}

/// The primary one gives the line number in the frame.
fn label(primary: bool, place: &Place, words: &str) -> LabeledSpan {
    let words = (!words.is_empty()).then(|| words.to_string());
    let span = (place.start, (place.end - place.start).max(1));
    match primary {
        true => LabeledSpan::new_primary_with_span(words, span),
        false => LabeledSpan::new_with_span(words, span),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl Diagnostic for Report {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let others = self.elsewhere.iter().map(|report| report as &dyn Diagnostic);
        (!self.elsewhere.is_empty()).then(|| Box::new(others) as Box<dyn Iterator<Item = &dyn Diagnostic>>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, text: &str, what: &str) -> Place {
        let start = text.find(what).expect("the text has it");
        let line = text[..start].matches('\n').count() + 1;
        let column = start - text[..start].rfind('\n').map_or(0, |n| n + 1) + 1;
        Place { file: file.into(), line, column, length: what.len(), start, end: start + what.len() }
    }

    #[test]
    fn both_ends_of_a_conflict_are_shown_with_their_lines() {
        let (a, b) = ("services: {}\nfaults:\n  - slow: catlog\n", "metadata:\n  name: catalog\n");
        let mut sources = Sources::default();
        sources.insert("a.yaml".into(), a.into());
        sources.insert("b.yaml".into(), b.into());
        let mistake = Mistake::new(&place("a.yaml", a, "catlog"), "`catlog` is not a service")
            .note("not in `services`")
            .label(&place("a.yaml", a, "services"), "here")
            .label(&place("b.yaml", b, "catalog"), "the mesh has this one")
            .help("did you mean `catalog`?");
        let text = draw(&mistake, &sources, false);
        for want in [
            "`catlog` is not a service",
            "a.yaml:3:11",
            "slow: catlog",
            "not in `services`",
            "here",
            "b.yaml:2:9",
            "the mesh has this one",
            "help: did you mean `catalog`?",
        ] {
            assert!(text.contains(want), "no `{want}` in\n{text}");
        }
        assert!(!text.contains('\x1b'), "colours were not asked for:\n{text}");
    }

    #[test]
    fn a_file_that_is_gone_is_named_all_the_same() {
        let mistake = Mistake::new(&Place::whole("nowhere/to/be/found.yaml"), "cannot be read");
        let text = draw(&mistake, &Sources::default(), false);
        assert!(text.contains("nowhere/to/be/found.yaml:1:1: cannot be read"), "{text}");
    }
}
