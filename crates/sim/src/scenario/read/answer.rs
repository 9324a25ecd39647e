//! Reads `layers` and `answers`: what is known of a scenario, and how much is measured to see it.

use std::time::Duration;

use squall_control::Mistake;
use squall_control::units::{self as spans, scaled, show};
use squall_control::yaml::{Fields, Value};

use super::expect::{Measured, measured};
use super::names::Names;
use super::value;
use crate::scenario::{
    Answer, Control, Expected, Fault, Layer, Load, Located, PerLayer, Question, Sample, Sampling, ServiceSpec, Start,
    Tolerance, Window,
};

const LAYERS: &[&str] = &["warmUp", "fast", "full"];
const SAMPLE: &[&str] = &["replications", "duration", "slow", "exempt"];
const ANSWER: &[&str] = &[
    "case",
    "source",
    "that",
    "pathwise",
    "littlesLaw",
    "from",
    "to",
    "expected",
    "tolerance",
    "statedError",
    "control",
    "only",
    "because",
];

/// The most replications of one scenario.
const REPLICATIONS_MAX: u32 = 100_000;

/// What an answer is checked against.
pub(super) struct Context<'c> {
    pub(super) duration: Duration,
    pub(super) services: &'c [ServiceSpec],
    pub(super) loads: &'c [Load],
    pub(super) faults: &'c [Fault],
    pub(super) names: &'c Names,
}

/// How often the scenario runs in each layer, and from when on answers are measured unless they say so.
pub(super) fn layers(spec: Fields<'_>, context: &Context<'_>) -> (PerLayer<Sampling>, Duration) {
    let default = || Sampling::Runs(Sample::default());
    let mut layers = PerLayer { fast: default(), full: default() };
    let Some(fields) = spec.get("layers").and_then(|given| given.fields("layers", LAYERS)) else {
        return (layers, Duration::ZERO);
    };
    let warm_up = fields.get("warmUp").and_then(|span| within(span, context.duration)).unwrap_or_default();
    let read = |name: &str| fields.get(name).and_then(|given| sampling(given, warm_up, context));
    layers.fast = read("fast").unwrap_or_else(default);
    layers.full = read("full").unwrap_or_else(default);
    if let (Sampling::Exempt(_), Sampling::Exempt(_)) = (&layers.fast, &layers.full) {
        let _ = fields.whole().refuse::<()>("a scenario that is exempt from both layers is never run");
    }
    (layers, warm_up)
}

fn within(span: Value<'_>, duration: Duration) -> Option<Duration> {
    let from = value::span(span)?;
    if from < duration {
        return Some(from);
    }
    span.refuse(format!("the scenario lasts only {}", show(duration)))
}

fn sampling(given: Value<'_>, warm_up: Duration, context: &Context<'_>) -> Option<Sampling> {
    let fields = given.fields("a layer", SAMPLE)?;
    if let Some(why) = fields.get("exempt") {
        for name in ["replications", "duration", "slow"] {
            if let Some((key, _)) = fields.keyed(name) {
                given.mistakes().push(Mistake::new(&key.place, format!("`{name}` has no meaning with `exempt`")));
            }
        }
        return Some(Sampling::Exempt(why.name()?.to_owned()));
    }
    let replications = fields.get("replications").map_or(Some(1), |count| count.integer_u32(1, REPLICATIONS_MAX))?;
    let duration = match fields.get("duration") {
        None => None,
        Some(span) => Some(shorter(span, warm_up, context)?),
    };
    let slow = fields.get("slow").and_then(|slow| slow.boolean()).unwrap_or(false);
    Some(Sampling::Runs(Sample { replications, duration, slow }))
}

/// A duration that cuts nothing off but time.
fn shorter(span: Value<'_>, warm_up: Duration, context: &Context<'_>) -> Option<Duration> {
    let duration = value::duration_positive(span, context.duration)?;
    if duration <= warm_up {
        return span.refuse(format!("not longer than the warm-up, {}", show(warm_up)));
    }
    for fault in context.faults {
        let Start::At(at) = fault.start else { continue };
        if at + fault.lasts.unwrap_or_default() >= duration {
            let mistake = Mistake::new(span.place(), format!("{} cuts a fault off", show(duration)));
            span.mistakes().push(mistake.label(&fault.place, "this fault"));
            return None;
        }
    }
    if let Some(load) = context.loads.iter().find(|load| load.from >= duration) {
        let mistake = Mistake::new(span.place(), format!("{} cuts a load off", show(duration)));
        span.mistakes().push(mistake.label(&load.place, format!("this load begins at {}", show(load.from))));
        return None;
    }
    Some(duration)
}

/// The known answers of the scenario.
pub(super) fn answers(
    spec: Fields<'_>,
    layers: &PerLayer<Sampling>,
    warm_up: Duration,
    context: &Context<'_>,
) -> Vec<Answer> {
    let Some(given) = spec.get("answers") else {
        if let Some((key, _)) = spec.keyed("layers") {
            let mistake = Mistake::new(&key.place, "`layers` without `answers`");
            spec.whole().mistakes().push(mistake.help("layers say how often known answers are measured"));
        }
        return Vec::new();
    };
    let list = given.list().unwrap_or_default();
    if given.is_list() && list.is_empty() {
        let _ = given.refuse::<()>("needs one answer or more");
    }
    let mut answers: Vec<Answer> = Vec::new();
    for value in list {
        let Some(answer) = answer(value, layers, warm_up, context) else { continue };
        if let Some(other) = answers.iter().find(|other| other.case.value == answer.case.value) {
            let mistake = Mistake::new(&answer.case.place, "this case is given twice");
            value.mistakes().push(mistake.label(&other.case.place, "the other one"));
        }
        answers.push(answer);
    }
    answers
}

fn answer(value: Value<'_>, layers: &PerLayer<Sampling>, warm_up: Duration, context: &Context<'_>) -> Option<Answer> {
    let fields = value.fields("an answer", ANSWER)?;
    let case = fields.required("case")?;
    let case = Located { value: case.name()?.to_owned(), place: case.place().clone() };
    let source = fields.required("source")?.name()?.to_owned();
    let only = only(fields)?;
    let question = match (fields.get("that"), fields.get("pathwise"), fields.get("littlesLaw")) {
        (Some(that), None, None) => measure(that, fields, warm_up, context)?,
        (None, Some(given), None) => {
            alone(fields, "pathwise");
            pathwise(given, context)?
        }
        (None, None, Some(given)) => {
            alone(fields, "littlesLaw");
            if !given.boolean()? {
                return given.refuse("Little's law holds whether one likes it or not: leave it out");
            }
            Question::LittlesLaw
        }
        (None, None, None) => return value.refuse("an answer needs `that`, `pathwise` or `littlesLaw`"),
        (_, _, _) => return value.refuse("an answer has only one of `that`, `pathwise` and `littlesLaw`"),
    };
    if let Question::Measure { that, window: Window::Between(_, to), .. } = &question {
        for layer in Layer::ALL {
            let Sampling::Runs(Sample { duration: Some(lasts), .. }) = layers.of(layer) else { continue };
            if fields.get("to").is_some() && to > lasts {
                let message = format!("in the {} layer the scenario lasts only {}", layer.name(), show(*lasts));
                value.mistakes().push(Mistake::new(fields.place_of("to"), message).label(&that.place, "this answer"));
            }
        }
    }
    Some(Answer { place: value.place().clone(), case, source, question, only })
}

/// `only: fast, because: "…"`.
fn only(fields: Fields<'_>) -> Option<Option<(Layer, String)>> {
    match (fields.get("only"), fields.get("because")) {
        (None, None) => Some(None),
        (Some(layer), Some(why)) => {
            let layer = layer.choice(&Layer::ALL.map(|layer| (layer.name(), layer)))?;
            Some(Some((layer, why.name()?.to_owned())))
        }
        (Some(layer), None) => {
            let mistake = Mistake::new(layer.place(), "an exemption needs its reason");
            layer.mistakes().push(mistake.help("give `because: \"…\"`"));
            None
        }
        (None, Some(why)) => why.refuse("`because` goes with `only`"),
    }
}

fn alone(fields: Fields<'_>, what: &str) {
    for name in ["from", "to", "expected", "tolerance", "statedError", "control"] {
        if let Some((key, _)) = fields.keyed(name) {
            let mistake = Mistake::new(&key.place, format!("`{name}` does not go with `{what}`"));
            fields.whole().mistakes().push(mistake.help("it is exact, over the whole run"));
        }
    }
}

fn measure(that: Value<'_>, fields: Fields<'_>, warm_up: Duration, context: &Context<'_>) -> Option<Question> {
    let text = that.name()?;
    let unit = measured(that, text, context.names)?;
    let from = fields.get("from").map_or(Some(warm_up), value::span)?;
    let to = fields.get("to").map_or(Some(context.duration), value::span)?;
    if to > context.duration {
        let message = format!("the scenario lasts only {}", show(context.duration));
        fields.whole().mistakes().push(Mistake::new(fields.place_of("to"), message));
        return None;
    }
    if from >= to {
        return fields.whole().refuse(format!("from {} to {} is no time", show(from), show(to)));
    }
    let window = if from.is_zero() && to == context.duration { Window::Overall } else { Window::Between(from, to) };
    let expected = expected(fields.required("expected")?, unit)?;
    let tolerance = match (&expected, fields.get("tolerance")) {
        (Expected::Rank { .. }, Some(given)) => return given.refuse("a place in an order has no tolerance"),
        (Expected::Rank { .. }, None) => PerLayer::default(),
        (_, Some(given)) => tolerances(given, unit)?,
        (_, None) => {
            let mistake = Mistake::new(fields.whole().place(), "an answer needs `tolerance`");
            let help = "give 1%, 0.2 points, a number in the answer's unit, `exact`, or {fast: 1%, full: 3%}";
            fields.whole().mistakes().push(mistake.help(help));
            return None;
        }
    };
    let stated_error = fields.get("statedError").map_or(Some(0.0), |given| number(given, unit))?;
    let control = match fields.get("control") {
        None => None,
        Some(given) => {
            let means = matches!(expected, Expected::Value(_));
            if !means || [tolerance.fast, tolerance.full].contains(&Tolerance::Exact) {
                return given.refuse("only a mean is controlled: a value with a tolerance, no limit and nothing exact");
            }
            Some(Box::new(control(given, context)?))
        }
    };
    let that = Located { value: text.to_owned(), place: that.place().clone() };
    Some(Question::Measure { that, window, expected, tolerance, stated_error, control })
}

/// `control: {that: '…', expected: 0.9}`.
fn control(given: Value<'_>, context: &Context<'_>) -> Option<Control> {
    let fields = given.fields("a control", &["that", "expected"])?;
    let that = fields.required("that")?;
    let text = that.name()?;
    let unit = measured(that, text, context.names)?;
    if unit == Measured::Truth {
        return that.refuse("true or false has no mean");
    }
    let expected = number(fields.required("expected")?, unit)?;
    Some(Control { that: Located { value: text.to_owned(), place: that.place().clone() }, expected })
}

fn expected(value: Value<'_>, unit: Measured) -> Option<Expected> {
    if !value.is_map() {
        return number(value, unit).map(Expected::Value);
    }
    let fields = value.fields("an expected value", &["atMost", "atLeast", "rank"])?;
    match (fields.get("atMost"), fields.get("atLeast"), fields.get("rank")) {
        (Some(most), None, None) => number(most, unit).map(Expected::AtMost),
        (None, Some(least), None) => number(least, unit).map(Expected::AtLeast),
        (None, None, Some(rank)) => {
            let fields = rank.fields("a rank", &["in", "place"])?;
            let order = fields.required("in")?.name()?.to_owned();
            Some(Expected::Rank { order, place: fields.required("place")?.integer_u32(1, 1000)? })
        }
        (_, _, _) => value.refuse("write a value, {atMost: …}, {atLeast: …} or {rank: {in: …, place: 1}}"),
    }
}

/// A value in the unit of the measure: seconds of a duration, 1 for true, a number, or a percentage as a share of 1.
fn number(value: Value<'_>, unit: Measured) -> Option<f64> {
    match unit {
        Measured::Span => value.duration().map(|span| span.as_secs_f64()),
        Measured::Truth => value.boolean().map(f64::from),
        Measured::Number => value.parsed(plain),
    }
}

fn plain(text: &str) -> Result<f64, String> {
    let (digits, scale) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits.trim_end(), 0.01));
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number * scale),
        Ok(_) | Err(_) => Err(format!("`{text}` is not a number such as 2.5 or 9.1%")),
    }
}

fn tolerances(value: Value<'_>, unit: Measured) -> Option<PerLayer<Tolerance>> {
    if !value.is_map() {
        let both = tolerance(value, unit)?;
        return Some(PerLayer { fast: both, full: both });
    }
    let fields = value.fields("tolerances", &["fast", "full"])?;
    let (fast, full) = (fields.required("fast")?, fields.required("full")?);
    Some(PerLayer { fast: tolerance(fast, unit)?, full: tolerance(full, unit)? })
}

/// `exact`; `1%`, of the expected value; `0.2 points`, hundredths of 1; or an amount in the unit of the measure.
fn tolerance(value: Value<'_>, unit: Measured) -> Option<Tolerance> {
    let text = value.scalar()?;
    if text == "exact" {
        return Some(Tolerance::Exact);
    }
    if unit == Measured::Truth {
        return value.refuse("true or false is `exact`");
    }
    if let Some(share) = text.strip_suffix('%') {
        return match scaled(share.trim_end(), 10_000).and_then(|ppm| u32::try_from(ppm).ok()) {
            Some(ppm) if (1..=1_000_000).contains(&ppm) => Some(Tolerance::Relative(ppm)),
            Some(_) | None => value.refuse(format!("`{text}` is not a share from 0.0001% to 100%")),
        };
    }
    let amount = match text.strip_suffix("points").or_else(|| text.strip_suffix("point")) {
        Some(points) if unit == Measured::Number => plain(points.trim_end()).ok().map(|points| points / 100.0),
        Some(_) => return value.refuse("points are of shares, and this is a duration"),
        None if unit == Measured::Span => spans::duration(text).ok().map(|span| span.as_secs_f64()),
        None => plain(text).ok(),
    };
    match amount {
        Some(amount) if amount > 0.0 => Some(Tolerance::Absolute(amount)),
        Some(_) | None => {
            value.refuse(format!("`{text}` is not a tolerance: write 1%, 0.2 points, an amount above 0 or `exact`"))
        }
    }
}

/// `pathwise: db`, `pathwise: {service: db, from: load}` or `pathwise: {service: db, limit: 10}`.
fn pathwise(given: Value<'_>, context: &Context<'_>) -> Option<Question> {
    let (named, load, limit) = if given.is_map() {
        let fields = given.fields("pathwise", &["service", "from", "limit"])?;
        (fields.required("service")?, fields.get("from"), fields.get("limit"))
    } else {
        (given, None, None)
    };
    let name = named.name()?;
    let Some(service) = context.services.iter().position(|service| service.name.value == name) else {
        let mistake = Mistake::new(named.place(), format!("`{name}` is not a service"));
        let known = context.services.iter().map(|service| service.name.value.as_str());
        named.mistakes().push(mistake.suggest(name, known));
        return None;
    };
    let spec = &context.services[service];
    if let Some(limit) = limit {
        if spec.slots.is_some() || load.is_some() {
            return limit.refuse("a limit of the mesh goes with a service without `slots`, and without `from`");
        }
        return Some(Question::Pathwise { service, from: None, limit: Some(limit.integer_u32(1, 1_000_000)?) });
    }
    if spec.slots.is_none() {
        return named.refuse(format!("`{name}` has no `slots`: nobody waits there"));
    }
    if !spec.finishes_abandoned {
        return named.refuse(format!("`{name}` drops abandoned requests, which the recursion does not"));
    }
    if spec.versions.iter().flat_map(|version| &version.routes).any(|route| !route.steps.is_empty()) {
        return named.refuse(format!("`{name}` has steps, whose time nobody knows beforehand"));
    }
    let from = match load {
        None => None,
        Some(load) => {
            let name = load.name()?;
            let Some(found) = context.loads.iter().position(|known| &*known.name == name) else {
                let mistake = Mistake::new(load.place(), format!("`{name}` is not a load"));
                load.mistakes().push(mistake.suggest(name, context.loads.iter().map(|known| &*known.name)));
                return None;
            };
            Some(found)
        }
    };
    Some(Question::Pathwise { service, from, limit: None })
}
