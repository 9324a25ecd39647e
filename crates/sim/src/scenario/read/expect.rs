//! Reads `expect`, and checks each expression: that it is CEL, that all its names are known, and that its types fit.

use std::time::Duration;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use squall_control::units::{self as spans, show};
use squall_control::yaml::{Fields, Value};
use squall_control::{Mistake, Place, closest};

use super::names::Names;
use super::value;
use crate::scenario::variables::{Argument, Kind, VARIABLES};
use crate::scenario::{Expectation, Fault, FaultKind, Located, Start, Window};

const EXPECT: &[&str] = &["always", "overall", "from", "to", "afterFaults", "duringFaults", "that"];

/// The functions of CEL itself that make sense here, and what they give.
const OWN: &[(&str, Type)] = &[("duration", Type::Duration), ("double", Type::Double), ("int", Type::Int)];

/// The expectations of the scenario. `faults` is `None` if some could not be read, so that nothing follows from them.
pub(super) fn expectations(
    spec: Fields<'_>,
    duration: Duration,
    faults: Option<&[Fault]>,
    names: &Names,
) -> Vec<Expectation> {
    if spec.get("answers").is_some() && spec.get("expect").is_none() {
        return Vec::new();
    }
    let Some(given) = spec.required("expect") else { return Vec::new() };
    let list = given.list().unwrap_or_default();
    if given.is_list() && list.is_empty() {
        let _ = given.refuse::<()>("a scenario without an expectation asks nothing");
    }
    list.into_iter().filter_map(|entry| expectation(entry, duration, faults, names)).collect()
}

fn expectation(entry: Value<'_>, duration: Duration, faults: Option<&[Fault]>, names: &Names) -> Option<Expectation> {
    let fields = entry.fields("an expectation", EXPECT)?;
    let given: Vec<&str> = EXPECT.iter().copied().filter(|name| fields.get(name).is_some()).collect();
    let one = |name: &str| fields.get(name).expect("it is the field that is given");
    let (window, that) = match given.as_slice() {
        ["always"] => (Window::Always, one("always")),
        ["overall"] => (Window::Overall, one("overall")),
        ["duringFaults"] => {
            if faults.is_some_and(<[Fault]>::is_empty) {
                return entry.refuse("`duringFaults`, but there are no faults");
            }
            (Window::DuringFaults, one("duringFaults"))
        }
        ["from", "that"] | ["to", "that"] | ["from", "to", "that"] => {
            let from = fields.get("from").map_or(Some(Duration::ZERO), value::span)?;
            let to = fields.get("to").map_or(Some(duration), value::span)?;
            if to > duration {
                return one("to").refuse(format!("the scenario lasts only {}", show(duration)));
            }
            if from >= to {
                return entry.refuse(format!("from {} to {} is no time", show(from), show(to)));
            }
            (Window::Between(from, to), one("that"))
        }
        ["afterFaults", "that"] => (after_faults(one("afterFaults"), duration, faults)?, one("that")),
        ["that"] | [] => {
            let mistake = Mistake::new(entry.place(), "an expectation needs a time and an expression");
            entry.mistakes().push(
                mistake.help("write {overall: '…'}, {from: 0s, to: 15s, that: '…'} or {afterFaults: 10s, that: '…'}"),
            );
            return None;
        }
        ["from" | "to" | "afterFaults"] | ["from", "to"] => return entry.refuse("an expectation needs `that`"),
        many => return entry.refuse(format!("cannot be {} at once", many.join(" and "))),
    };
    let text = that.name()?;
    let always = window == Window::Always;
    check(that, text, always, names)?;
    Some(Expectation {
        place: entry.place().clone(),
        window,
        that: Located { value: text.to_owned(), place: that.place().clone() },
    })
}

fn after_faults(value: Value<'_>, duration: Duration, faults: Option<&[Fault]>) -> Option<Window> {
    let settle = value::span(value)?;
    let Some(faults) = faults else { return Some(Window::AfterFaults(settle)) };
    let mut end = Duration::ZERO;
    for fault in faults {
        if fault.lasts.is_none() && !matches!(fault.kind, FaultKind::RollingRestart(_)) {
            let mistake = Mistake::new(value.place(), "there is no time after a fault that lasts to the end");
            value.mistakes().push(mistake.label(&fault.place, "this fault has no `for`"));
            return None;
        }
        if let Start::At(at) = fault.start {
            end = end.max(at + fault.lasts.unwrap_or_default());
        }
    }
    if faults.is_empty() {
        return value.refuse("`afterFaults`, but there are no faults");
    }
    if end + settle >= duration {
        let message = format!("the faults end at {}, the scenario at {}: no time is left", show(end), show(duration));
        return value.refuse(message);
    }
    Some(Window::AfterFaults(settle))
}

/// What a part of an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Double,
    Int,
    Duration,
    Text,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Double => "a number",
            Self::Int => "a whole number",
            Self::Duration => "a duration",
            Self::Text => "text",
        }
    }
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Double => Self::Double,
            Kind::Int => Self::Int,
            Kind::Duration => Self::Duration,
        }
    }
}

struct Checker<'c> {
    value: Value<'c>,
    text: &'c str,
    always: bool,
    names: &'c Names,
}

/// What kind of value a measure has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    Number,
    Span,
    Truth,
}

/// Checks the expression of a known answer.
pub(super) fn measured(value: Value<'_>, text: &str, names: &Names) -> Option<Measured> {
    match kind(value, text, false, names)? {
        Type::Double | Type::Int => Some(Measured::Number),
        Type::Duration => Some(Measured::Span),
        Type::Bool => Some(Measured::Truth),
        Type::Text => value.refuse("an answer is a number, a duration, or true or false; this is text"),
    }
}

fn check(value: Value<'_>, text: &str, always: bool, names: &Names) -> Option<()> {
    match kind(value, text, always, names)? {
        Type::Bool => Some(()),
        kind @ (Type::Double | Type::Int | Type::Duration | Type::Text) => {
            value.refuse(format!("an expectation is true or false, this is {}", kind.name()))
        }
    }
}

fn kind(value: Value<'_>, text: &str, always: bool, names: &Names) -> Option<Type> {
    let program = match cel::Program::compile(text) {
        Ok(program) => program,
        Err(errors) => {
            let first = errors.errors.first().map_or_else(|| errors.to_string(), |error| error.msg.clone());
            // The parser goes on with a list of everything it would have liked better.
            let first = first.lines().next().unwrap_or_default().split(" expecting ").next().unwrap_or_default();
            let why =
                first.trim_start_matches("Syntax error: ").replace("mismatched input '<EOF>'", "it ends too early");
            let mistake = Mistake::new(value.place(), format!("not a CEL expression: {why}"));
            value.mistakes().push(mistake.help("such as: successRate >= 0.999 && p99 < duration(\"120ms\")"));
            return None;
        }
    };
    Checker { value, text, always, names }.kind(program.expression())
}

impl Checker<'_> {
    fn place(&self, word: &str) -> Place {
        value::word(self.value, self.text, word)
    }

    fn refuse<T>(&self, word: &str, message: String) -> Option<T> {
        self.value.mistakes().push(Mistake::new(&self.place(word), message));
        None
    }

    fn kind(&self, expression: &IdedExpr) -> Option<Type> {
        match &expression.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Some(Type::Bool),
                LiteralValue::Double(_) => Some(Type::Double),
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Some(Type::Int),
                LiteralValue::String(_) => Some(Type::Text),
                LiteralValue::Bytes(_) | LiteralValue::Null => {
                    self.refuse("", "bytes and null mean nothing here".to_owned())
                }
            },
            Expr::Ident(name) => self.variable(name),
            Expr::Call(call) => self.call(call),
            Expr::Select(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_)
            | Expr::Unspecified => {
                let message = "expectations have numbers, durations and comparisons; no lists, maps, fields or macros";
                self.refuse("", message.to_owned())
            }
        }
    }

    fn variable(&self, name: &str) -> Option<Type> {
        if let Some(known) = VARIABLES.iter().find(|known| known.name == name && known.arguments.is_empty()) {
            return self.allowed(name, known.gauge).map(|()| known.kind.into());
        }
        if VARIABLES.iter().any(|known| known.name == name) {
            return self.refuse(name, format!("`{name}` needs a service: {name}(\"…\")"));
        }
        self.unknown(name, format!("`{name}` is not a variable"), true)
    }

    fn unknown<T>(&self, name: &str, message: String, plain: bool) -> Option<T> {
        let mut known: Vec<&str> =
            VARIABLES.iter().filter(|known| known.arguments.is_empty() == plain).map(|known| known.name).collect();
        known.dedup();
        let mistake = Mistake::new(&self.place(name), message);
        self.value.mistakes().push(match closest(name, &known).filter(|near| *near != name) {
            Some(near) => mistake.help(format!("did you mean `{near}`?")),
            None => mistake.help(format!("known here: {}", known.join(", "))),
        });
        None
    }

    fn allowed(&self, name: &str, gauge: bool) -> Option<()> {
        if self.always && !gauge {
            let message =
                format!("`{name}` is measured over a time: under `always` only `inFlight` and `queued` can stand");
            return self.refuse(name, message);
        }
        Some(())
    }

    fn call(&self, call: &CallExpr) -> Option<Type> {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            let _ = self.kind(target);
            return self.refuse(name, format!("`.{name}()` is not a function here"));
        }
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return self.operator(name, &call.args);
        }
        if let Some((_, gives)) = OWN.iter().find(|(own, _)| *own == name) {
            return self.own(name, *gives, &call.args);
        }
        if !VARIABLES.iter().any(|known| known.name == name && !known.arguments.is_empty()) {
            if VARIABLES.iter().any(|known| known.name == name) {
                return self.refuse(name, format!("`{name}` takes no arguments"));
            }
            return self.unknown(name, format!("`{name}` is not a function"), false);
        }
        let kinds: Vec<Option<Type>> = call.args.iter().map(|argument| self.kind(argument)).collect();
        let fits = |arguments: &[Argument]| {
            arguments.len() == kinds.len()
                && arguments.iter().zip(&kinds).all(|(argument, kind)| {
                    *kind
                        == Some(match argument {
                            Argument::Name => Type::Text,
                            Argument::Status | Argument::Count => Type::Int,
                            Argument::Share => Type::Double,
                            Argument::Span => Type::Duration,
                        })
                })
        };
        let overloads: Vec<_> = VARIABLES.iter().filter(|known| known.name == name).collect();
        let Some(known) = overloads.iter().find(|known| fits(known.arguments)) else {
            let forms: Vec<String> = overloads
                .iter()
                .map(|known| match known.arguments {
                    [] => format!("`{name}`"),
                    arguments => {
                        let list: Vec<&str> = arguments
                            .iter()
                            .map(|argument| match argument {
                                Argument::Name => "\"service\"",
                                Argument::Status => "503",
                                Argument::Count => "5",
                                Argument::Share => "0.95",
                                Argument::Span => "duration(\"1s\")",
                            })
                            .collect();
                        format!("`{name}({})`", list.join(", "))
                    }
                })
                .collect();
            return self.refuse(name, format!("`{name}` is written {}", forms.join(" or ")));
        };
        for (argument, given) in known.arguments.iter().zip(&call.args) {
            self.argument(*argument, given)?;
        }
        self.allowed(name, known.gauge).map(|()| known.kind.into())
    }

    /// That a name is one, and a status too.
    fn argument(&self, argument: Argument, given: &IdedExpr) -> Option<()> {
        match (argument, &given.expr) {
            (Argument::Name, Expr::Literal(LiteralValue::String(text))) => {
                let text: &str = text.inner();
                if self.names.measured().any(|name| name == text) {
                    return Some(());
                }
                let mistake = Mistake::new(&self.place(text), format!("`{text}` is not a service or load"));
                self.value.mistakes().push(mistake.suggest(text, self.names.measured()));
                None
            }
            (Argument::Status, Expr::Literal(LiteralValue::Int(status))) => {
                let status = *status.inner();
                if (100..=599).contains(&status) {
                    return Some(());
                }
                self.refuse(&status.to_string(), format!("{status} is not a status"))
            }
            (Argument::Count, Expr::Literal(LiteralValue::Int(count))) => {
                let count = *count.inner();
                if (1..=1_000_000).contains(&count) {
                    return Some(());
                }
                self.refuse(&count.to_string(), format!("{count} is not from 1 to 1000000"))
            }
            (Argument::Share, Expr::Literal(LiteralValue::Double(share))) => {
                let share = *share.inner();
                if (0.0..=1.0).contains(&share) {
                    return Some(());
                }
                self.refuse("", format!("{share} is not a share from 0.0 to 1.0"))
            }
            // That it is one was checked where it was read.
            (Argument::Span, Expr::Call(call)) if call.func_name == "duration" => Some(()),
            (Argument::Name | Argument::Status | Argument::Count | Argument::Share | Argument::Span, _) => self.refuse(
                "",
                "arguments are written out: a name in quotes, a status, a count, a share, or duration(\"1s\")"
                    .to_owned(),
            ),
        }
    }

    fn own(&self, name: &str, gives: Type, arguments: &[IdedExpr]) -> Option<Type> {
        let [argument] = arguments else {
            return self.refuse(name, format!("`{name}` takes one argument"));
        };
        if let (Type::Duration, Expr::Literal(LiteralValue::String(text))) = (gives, &argument.expr) {
            let text: &str = text.inner();
            if let Err(message) = spans::duration(text) {
                return self.refuse(text, message);
            }
            return Some(Type::Duration);
        }
        match (gives, self.kind(argument)?) {
            (Type::Double | Type::Int, Type::Double | Type::Int) => Some(gives),
            (Type::Duration, _) => self.refuse(name, "`duration` takes text: duration(\"120ms\")".to_owned()),
            (_, other) => self.refuse(name, format!("`{name}` takes a number, not {}", other.name())),
        }
    }

    fn operator(&self, operator: &str, arguments: &[IdedExpr]) -> Option<Type> {
        let sign = operator.trim_matches('_');
        let kinds: Vec<Option<Type>> = arguments.iter().map(|argument| self.kind(argument)).collect();
        let kinds: Vec<Type> = kinds.into_iter().collect::<Option<_>>()?;
        let wrong = || {
            let list: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            self.refuse("", format!("`{sign}` cannot be between {}", list.join(" and ")))
        };
        match (operator, kinds.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [Type::Bool, Type::Bool]) => Some(Type::Bool),
            (operators::LOGICAL_NOT, [Type::Bool]) => Some(Type::Bool),
            (operators::NEGATE, [kind @ (Type::Double | Type::Int)]) => Some(*kind),
            (operators::CONDITIONAL, [Type::Bool, then, other]) if then == other => Some(*then),
            (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [a, b]) => {
                match (a, b) {
                    (Type::Double | Type::Int, Type::Double | Type::Int) | (Type::Duration, Type::Duration) => {
                        Some(Type::Bool)
                    }
                    (_, _) => wrong(),
                }
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b]) => match (a, b) {
                (Type::Double | Type::Int, Type::Double | Type::Int) => Some(Type::Bool),
                (a, b) if a == b => Some(Type::Bool),
                (_, _) => wrong(),
            },
            (operators::ADD | operators::SUBSTRACT, [Type::Duration, Type::Duration]) => Some(Type::Duration),
            (
                operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE,
                [a @ (Type::Double | Type::Int), b @ (Type::Double | Type::Int)],
            ) => {
                if a == b {
                    return Some(*a);
                }
                let message = format!("`{sign}` between a whole number and a decimal one");
                let mistake = Mistake::new(&self.place(""), message);
                self.value.mistakes().push(mistake.help("write double(…) around the whole number, or 2.0 for 2"));
                None
            }
            (operators::MODULO, [Type::Int, Type::Int]) => Some(Type::Int),
            (_, _) => wrong(),
        }
    }
}
