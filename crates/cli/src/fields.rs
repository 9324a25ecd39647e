//! `squall explain`: what a field means, from the tables that the readers are held against.

mod markdown;

use squall_control::closest;
use squall_control::reference::{
    AUTHORIZATION_POLICY, Default, FAULT_INJECTION, Field, GATEWAY, GRPC_ROUTE, HTTP_ROUTE, PEER_AUTHENTICATION,
    Reference, SERVICE, TRAFFIC_POLICY,
};
use squall_sim::reference::{DISTRIBUTION, SCENARIO, TUNING};
use squall_sim::scenario::variables::{Argument, Kind, VARIABLES, Variable};

use crate::exit::Exit;
use crate::screen::{Paint, Screen};

/// Say what a field of a scenario, route, policy or tuning means: unit, range, default, and what other meshes have
///
/// FIELD is a path as the file has it, below `spec` and without the places in lists and the names you chose: `retries.attempts`,
/// `faults.slow`, `services.time`. Its last parts are enough where only one field ends with them; otherwise they are listed. The name of a
/// measure (`p99`, `amplification`) says what it measures. Without FIELD: what there is.
///
/// Files are read by the same tables: what is said here is what they may hold.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall explain                            the kinds of files, and their parts
  squall explain retries.budget.percent     one field
  squall explain circuitBreaker             a part and its fields
  squall explain TrafficPolicy              all parts of a kind; also HTTPRoute, Gateway, Tuning …
  squall explain HTTPRoute.rules.timeouts   a field of that kind
  squall explain Distribution               how service times are written
  squall explain measures                   what expectations may name

Exit codes:
  0  it was found
  2  there is no such field")]
pub(crate) struct ExplainArgs {
    /// A field, a kind (`Scenario`, `HTTPRoute`, `TrafficPolicy` …), a measure, or `measures`
    #[arg(value_name = "FIELD")]
    field: Option<String>,

    /// Print the whole reference of a kind, or of `measures`, as Markdown
    #[arg(long, requires = "field")]
    markdown: bool,
}

/// The kinds that are explained.
const KINDS: [&Reference; 11] = [
    &SCENARIO,
    &TUNING,
    &SERVICE,
    &HTTP_ROUTE,
    &GRPC_ROUTE,
    &TRAFFIC_POLICY,
    &AUTHORIZATION_POLICY,
    &PEER_AUTHENTICATION,
    &FAULT_INJECTION,
    &GATEWAY,
    &DISTRIBUTION,
];

/// How wide the text is.
const WIDTH: usize = 78;

pub(crate) fn run(args: &ExplainArgs, screen: &mut Screen) -> Exit {
    let Some(words) = args.field.as_deref() else {
        overview(screen);
        return Exit::Pass;
    };
    let kind = KINDS.into_iter().find(|kind| kind.kind.eq_ignore_ascii_case(words));
    if args.markdown {
        return match (kind, words) {
            (Some(kind), _) => print(screen, &markdown::reference(kind)),
            (None, "measures") => print(screen, &markdown::measures()),
            (None, _) => unknown(words, screen),
        };
    }
    if let Some(kind) = kind {
        whole(kind, screen);
        return Exit::Pass;
    }
    if words == "measures" {
        measures(screen);
        return Exit::Pass;
    }
    // `TrafficPolicy.retries` and `spec.retries` are as good as `retries`.
    let (only, path) = match words.split_once('.') {
        Some((first, rest)) => match KINDS.into_iter().find(|kind| kind.kind.eq_ignore_ascii_case(first)) {
            Some(kind) => (Some(kind), rest),
            None => (None, words),
        },
        None => (None, words),
    };
    let path = path.strip_prefix("spec.").unwrap_or(path);
    let path = without_places(path);
    let asked: Vec<&Reference> =
        KINDS.into_iter().filter(|kind| only.is_none_or(|only| only.kind == kind.kind)).collect();
    let exact: Vec<(&Reference, String)> =
        asked.iter().filter(|kind| kind.find(&path).is_some()).map(|kind| (*kind, path.clone())).collect();
    let measured: Vec<&Variable> = VARIABLES.iter().filter(|known| known.name == path).collect();
    let found = match (exact.is_empty() && measured.is_empty(), only) {
        (true, _) => {
            asked.iter().flat_map(|kind| kind.meant(&path).into_iter().map(|found| (*kind, found.to_owned()))).collect()
        }
        (false, _) => exact,
    };
    if found.is_empty() && measured.is_empty() {
        return unknown(words, screen);
    }
    if !measured.is_empty() {
        measure(&measured, screen);
    }
    match found.as_slice() {
        [] => {}
        [(kind, path)] => one(kind, path, screen),
        many => {
            screen.say(&format!("{} fields end with `{path}`:\n", many.len()));
            for (kind, path) in many {
                let says = kind.find(path).map_or("", |field| field.says);
                listed(&format!("{} {path}", kind.kind), says, screen);
            }
        }
    }
    Exit::Pass
}

fn print(screen: &mut Screen, text: &str) -> Exit {
    screen.say_whole(text.trim_end());
    Exit::Pass
}

/// `faults[0].slow` is `faults.slow`.
fn without_places(path: &str) -> String {
    path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".")
}

fn unknown(words: &str, screen: &mut Screen) -> Exit {
    let path = without_places(words.strip_prefix("spec.").unwrap_or(words));
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.kind).chain(["measures"]).collect();
    let known: Vec<&str> = VARIABLES.iter().map(|known| known.name).collect();
    let near = closest(&path, &kinds)
        .or_else(|| KINDS.iter().find_map(|kind| kind.nearest(&path)))
        .or_else(|| closest(&path, &known))
        .map(str::to_owned);
    screen.aside(&format!("error: there is no field `{words}`"));
    screen.aside(&match near {
        Some(near) => format!("help: did you mean `{near}`?"),
        None => "help: `squall explain` shows what there is".to_owned(),
    });
    Exit::BadInput
}

fn overview(screen: &mut Screen) {
    for kind in KINDS {
        let title = screen.paint(Paint::Strong, kind.kind);
        screen.say(&title);
        paragraph(first_sentence(kind.says), 2, screen);
        if kind.kind != DISTRIBUTION.kind {
            let parts: Vec<&str> = kind.children("").iter().map(|field| field.name()).collect();
            paragraph(&parts.join(", "), 2, screen);
        }
        screen.say("");
    }
    let title = screen.paint(Paint::Strong, "measures");
    screen.say(&title);
    paragraph("What expectations and objectives may name: successRate, p99, amplification …", 2, screen);
    screen.say("\nMore: squall explain retries.budget, squall explain faults.slow, squall explain p99");
}

fn first_sentence(text: &str) -> &str {
    text.split_inclusive(". ").next().unwrap_or(text).trim_end()
}

fn whole(kind: &Reference, screen: &mut Screen) {
    let title = screen.paint(Paint::Strong, kind.kind);
    screen.say(&title);
    paragraph(kind.says, 2, screen);
    screen.say("");
    children(kind, "", screen);
    screen.say(&format!(
        "\nMore of one: squall explain {}.{}",
        kind.kind,
        kind.children("").first().map_or("FIELD", |field| field.path)
    ));
}

/// One field, at the path at which it was asked for.
fn one(kind: &Reference, path: &str, screen: &mut Screen) {
    let Some(field) = kind.find(path) else { return };
    let title = screen.paint(Paint::Strong, path);
    screen.say(&format!("{title}  ({})", kind.kind));
    paragraph(&format!("{}.", field.says), 2, screen);
    screen.say("");
    entry("written", &field.kind.describe(), screen);
    match field.default {
        Default::Required => entry("required", "yes", screen),
        Default::Is(value) => entry("default", value, screen),
        Default::Absent(value) => entry("without it", value, screen),
    }
    if !field.such_as.is_empty() && field.such_as.len() < 60 {
        entry("such as", field.such_as, screen);
    }
    if !field.peers.is_empty() {
        screen.say("");
        for (peer, value) in field.peers {
            entry(peer, value, screen);
        }
    }
    if !kind.children(path).is_empty() {
        screen.say("\n  Its fields:\n");
        children(kind, path, screen);
    }
    let value = field.such_as;
    if let Some(text) = kind.example_block(path, value, 4).filter(|_| !value.is_empty()) {
        let place = if kind.kind == DISTRIBUTION.kind { "Written" } else { "In the `spec`" };
        screen.say(&format!("\n  {place}:\n"));
        screen.say_whole(text.trim_end());
    }
}

fn children(kind: &Reference, path: &str, screen: &mut Screen) {
    for field in kind.children(path) {
        listed(field.name(), &summary(field), screen);
    }
}

fn summary(field: &Field) -> String {
    let says = first_sentence(field.says).trim_end_matches('.');
    match field.default {
        Default::Required => format!("{says} (required)"),
        Default::Is(value) => format!("{says} (default {value})"),
        Default::Absent(value) => format!("{says} (without it: {value})"),
    }
}

fn listed(name: &str, says: &str, screen: &mut Screen) {
    let shown = screen.paint(Paint::Strong, name);
    screen.say(&format!("  {shown}"));
    paragraph(says, 6, screen);
}

fn entry(name: &str, value: &str, screen: &mut Screen) {
    let lines = wrapped(value, WIDTH - 16);
    for (nth, line) in lines.iter().enumerate() {
        let name = if nth == 0 { name } else { "" };
        screen.say(&format!("  {name:<13} {line}"));
    }
}

fn paragraph(text: &str, indent: usize, screen: &mut Screen) {
    for line in wrapped(text, WIDTH - indent) {
        screen.say(&format!("{}{line}", " ".repeat(indent)));
    }
}

/// Lines of at most `width` characters, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = |line: &String| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width;
        if !lines.last().is_some_and(fits) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn measures(screen: &mut Screen) {
    let title = screen.paint(Paint::Strong, "measures");
    screen.say(&title);
    paragraph(
        "What expectations, objectives and known answers may name, in CEL. \"a\" and \"b\" are services or loads.",
        2,
        screen,
    );
    screen.say("");
    for known in VARIABLES {
        listed(&written(known), &format!("{} ({})", known.meaning, gives(known)), screen);
    }
}

fn measure(forms: &[&Variable], screen: &mut Screen) {
    for known in forms {
        let title = screen.paint(Paint::Strong, &written(known));
        screen.say(&format!("{title}  (a measure)"));
        paragraph(&format!("{}.", capital(known.meaning)), 2, screen);
        entry("gives", gives(known), screen);
    }
    let example = match forms.first() {
        Some(first) if first.gauge => format!("{{always: '{} <= 600'}}", written(first)),
        Some(first) if first.kind == Kind::Duration => {
            format!("{{overall: '{} < duration(\"120ms\")'}}", written(first))
        }
        Some(first) => format!("{{overall: '{} >= 0.9'}}", written(first)),
        None => return,
    };
    screen.say(&format!("\n  expect: [{example}]"));
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// `p99("a")`.
fn written(known: &Variable) -> String {
    let mut names = ["\"a\"", "\"b\""].into_iter();
    let arguments: Vec<&str> = known
        .arguments
        .iter()
        .map(|argument| match argument {
            Argument::Name => names.next().unwrap_or("\"c\""),
            Argument::Status => "503",
            Argument::Count => "5",
            Argument::Share => "0.95",
            Argument::Span => "duration(\"1s\")",
        })
        .collect();
    if arguments.is_empty() { known.name.to_owned() } else { format!("{}({})", known.name, arguments.join(", ")) }
}

fn gives(known: &Variable) -> &'static str {
    match (known.kind, known.gauge) {
        (_, true) => "whole number, at one instant",
        (Kind::Double, false) => "number",
        (Kind::Int, false) => "whole number",
        (Kind::Duration, false) => "duration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrapped("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert_eq!(wrapped("a-very-long-word b", 5), ["a-very-long-word", "b"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn places_in_lists_do_not_matter() {
        assert_eq!(without_places("faults[0].slow.by"), "faults.slow.by");
    }
}
