//! Readers of single values.

use std::sync::Arc;
use std::time::Duration;

use squall_control::units::{scaled, show};
use squall_control::yaml::Value;
use squall_control::{Mistake, Place};

use crate::engine::Delay;
use crate::scenario::{Distribution, Drawn};

/// A name of lower-case letters, digits and `-`, as Kubernetes has them (RFC 1123 label).
pub(in crate::scenario) fn dns_label<'a>(value: Value<'a>) -> Option<&'a str> {
    let name = value.name()?;
    if is_dns_label(name) {
        return Some(name);
    }
    value.refuse(format!(
        "`{name}` is not a name: lower-case letters, digits and `-`, at most 63, beginning with a letter"
    ))
}

pub(super) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// A span of more than 0, at most `most`.
pub(super) fn duration_positive(value: Value<'_>, most: Duration) -> Option<Duration> {
    let span = value.duration()?;
    if span.is_zero() {
        return value.refuse("must be more than 0");
    }
    if span > most {
        return value.refuse(format!("{} is more than {}", show(span), show(most)));
    }
    Some(span)
}

/// One of the scenario's zones.
pub(super) fn zone(value: Value<'_>, zones: &[Arc<str>]) -> Option<Arc<str>> {
    let name = value.scalar()?;
    if let Some(zone) = zones.iter().find(|zone| &***zone == name) {
        return Some(Arc::clone(zone));
    }
    let mistake = Mistake::new(value.place(), format!("`{name}` is not a zone"));
    value.mistakes().push(mistake.suggest(name, zones.iter().map(|zone| &**zone)));
    None
}

/// Headers to be sent: those that are always the same, and those drawn for each request.
#[derive(Default)]
pub(super) struct Headers {
    pub(super) fixed: Vec<(String, String)>,
    pub(super) drawn: Vec<(String, Drawn)>,
}

/// A mapping of lower-case names to values, or to `{below: 1000}`, `{oneOf: [a, b]}`, `{oneOf: {a: 9, b: 1}}`.
pub(super) fn headers(value: Value<'_>) -> Option<Headers> {
    let mut headers = Headers::default();
    for (key, value) in value.entries()? {
        if http::HeaderName::from_lowercase(key.name.as_bytes()).is_err() {
            let message = format!("`{}` is not a header's name in lower case", key.name);
            value.mistakes().push(Mistake::new(&key.place, message));
        } else if value.is_map() {
            headers.drawn.push((key.name.clone(), drawn(value)?));
        } else {
            headers.fixed.push((key.name.clone(), header_value(value)?.to_owned()));
        }
    }
    Some(headers)
}

fn header_value<'v>(value: Value<'v>) -> Option<&'v str> {
    let text = value.scalar()?;
    if http::HeaderValue::from_str(text).is_err() { value.refuse("not a header's value") } else { Some(text) }
}

fn drawn(value: Value<'_>) -> Option<Drawn> {
    let fields = value.fields("a drawn header", &["below", "oneOf"])?;
    match (fields.get("below"), fields.get("oneOf")) {
        (Some(bound), None) => Some(Drawn::Below(bound.integer(1, u64::MAX)?)),
        (None, Some(values)) if values.is_list() => {
            let values = values.list()?.into_iter().map(|value| Some((1, header_value(value)?.to_owned())));
            one_of(value, values.collect::<Option<Vec<_>>>()?)
        }
        (None, Some(values)) => {
            let mut weighted = Vec::new();
            for (key, weight) in values.entries()? {
                if http::HeaderValue::from_str(&key.name).is_err() {
                    value.mistakes().push(Mistake::new(&key.place, "not a header's value"));
                    return None;
                }
                weighted.push((weight.integer_u32(1, 1_000_000)?, key.name.clone()));
            }
            one_of(value, weighted)
        }
        (_, _) => value.refuse("a drawn header is {below: 1000} or {oneOf: [a, b]}"),
    }
}

fn one_of(value: Value<'_>, values: Vec<(u32, String)>) -> Option<Drawn> {
    if values.is_empty() { value.refuse("needs one value or more") } else { Some(Drawn::OneOf(values)) }
}

/// The most one draw may be, so that sums do not overflow.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// A distribution of spans; see [`Distribution`] for how each is written.
pub(super) fn distribution(value: Value<'_>) -> Option<Distribution> {
    if value.is_scalar() {
        return Some(Distribution::Constant(span(value)?));
    }
    const KINDS: &[&str] = &[
        "p50",
        "p99",
        "exponential",
        "normal",
        "lognormal",
        "uniform",
        "bimodal",
        "empirical",
        "percentiles",
        "gamma",
        "erlang",
        "hyperexponential",
        "weibull",
        "pareto",
    ];
    let fields = value.fields("a distribution of times", KINDS)?;
    let given: Vec<&str> = KINDS.iter().copied().filter(|name| fields.get(name).is_some()).collect();
    let one = |name: &str| fields.get(name).expect("it is the field that is given");
    match given.as_slice() {
        ["p50", "p99"] => {
            let (p50, p99) = (positive(one("p50"))?, positive(one("p99"))?);
            if p99 < p50 {
                let mistake = Mistake::new(one("p99").place(), "the 99th percentile is less than the median");
                value.mistakes().push(mistake.label(one("p50").place(), "the median"));
                return None;
            }
            Some(Distribution::LogNormal { p50, p99 })
        }
        ["p50"] => one("p50").refuse("a lognormal distribution needs `p99` too"),
        ["p99"] => one("p99").refuse("a lognormal distribution needs `p50` too"),
        ["exponential"] => Some(Distribution::Exponential { mean: positive(one("exponential"))? }),
        ["normal"] => {
            let fields = one("normal").fields("normal", &["mean", "deviation"])?;
            let (mean, deviation) = (fields.required("mean")?, fields.required("deviation")?);
            Some(Distribution::Normal { mean: span(mean)?, deviation: span(deviation)? })
        }
        ["lognormal"] => {
            let (mean, permille) = mean_and_variation(one("lognormal"), "lognormal", 0)?;
            Some(Distribution::log_normal(mean, f64::from(permille) / 1000.0))
        }
        ["gamma"] => {
            let (mean, permille) = mean_and_variation(one("gamma"), "gamma", 10)?;
            Some(Distribution::Gamma { mean, shape_ppm: shape_ppm(permille) })
        }
        ["erlang"] => {
            let fields = one("erlang").fields("erlang", &["mean", "stages"])?;
            let (mean, stages) = (fields.required("mean")?, fields.required("stages")?);
            let stages = stages.integer_u32(1, 1000)?;
            Some(Distribution::Gamma { mean: positive(mean)?, shape_ppm: u64::from(stages) * 1_000_000 })
        }
        ["hyperexponential"] => {
            let (mean, permille) = mean_and_variation(one("hyperexponential"), "hyperexponential", 1000)?;
            Some(Distribution::hyperexponential(mean, f64::from(permille) / 1000.0))
        }
        ["weibull"] => {
            let fields = one("weibull").fields("weibull", &["scale", "shape"])?;
            let (scale, shape) = (fields.required("scale")?, fields.required("shape")?);
            Some(Distribution::Weibull { scale: positive(scale)?, shape_permille: permille(shape, 100, 100_000)? })
        }
        ["pareto"] => {
            let fields = one("pareto").fields("pareto", &["least", "shape"])?;
            let (least, shape) = (fields.required("least")?, fields.required("shape")?);
            Some(Distribution::Pareto { least: positive(least)?, shape_permille: permille(shape, 1001, 100_000)? })
        }
        ["uniform"] => {
            let fields = one("uniform").fields("uniform", &["from", "to"])?;
            let (least, most) = (fields.required("from")?, fields.required("to")?);
            let (from, to) = (span(least)?, span(most)?);
            if to < from {
                return most.refuse(format!("ends before it begins ({})", show(from)));
            }
            Some(Distribution::Uniform { least: from, most: to })
        }
        ["bimodal"] => {
            let mut parts = Vec::new();
            for part in one("bimodal").list()? {
                let fields = part.fields("a part of a bimodal distribution", &["weight", "time"])?;
                let weight = fields.required("weight")?.integer_u32(1, 1_000_000)?;
                let time = fields.required("time")?;
                let drawn = distribution(time)?;
                if matches!(drawn, Distribution::Mixture(_)) {
                    return time.refuse("a part cannot be bimodal itself");
                }
                parts.push((weight, drawn));
            }
            if parts.len() < 2 {
                return one("bimodal").refuse("needs two parts or more");
            }
            Some(Distribution::Mixture(parts))
        }
        ["empirical"] => {
            let values = one("empirical").list()?.into_iter().map(span).collect::<Option<Vec<_>>>()?;
            if values.is_empty() {
                one("empirical").refuse("needs one value or more")
            } else {
                Some(Distribution::Empirical(values))
            }
        }
        ["percentiles"] => percentiles(one("percentiles")),
        [] => value.refuse("needs a distribution, such as {p50: 4ms, p99: 40ms} or {exponential: 4ms}"),
        [other] => unreachable!("`{other}` is not among the kinds"),
        [first, second, ..] => value.refuse(format!("cannot be `{first}` and `{second}` at once")),
    }
}

/// `{mean: 4ms, cv: 2}`: the mean, and the coefficient of variation in thousandths.
fn mean_and_variation(value: Value<'_>, what: &str, least_permille: u32) -> Option<(Duration, u32)> {
    let fields = value.fields(what, &["mean", "cv"])?;
    let (mean, cv) = (fields.required("mean")?, fields.required("cv")?);
    Some((positive(mean)?, permille(cv, least_permille, 100_000)?))
}

/// A number with at most three decimals, in thousandths.
pub(super) fn permille(value: Value<'_>, least: u32, most: u32) -> Option<u32> {
    let permille =
        value.parsed(|text| scaled(text, 1000).ok_or(format!("`{text}` is not a number such as 2 or 0.5")))?;
    match u32::try_from(permille) {
        Ok(permille) if (least..=most).contains(&permille) => Some(permille),
        Ok(_) | Err(_) => {
            let limits = (f64::from(least) / 1000.0, f64::from(most) / 1000.0);
            value.refuse(format!("out of range: {} to {}", limits.0, limits.1))
        }
    }
}

/// The shape of a gamma distribution with this coefficient of variation, in millionths.
pub(super) fn shape_ppm(cv_permille: u32) -> u64 {
    let square = u64::from(cv_permille) * u64::from(cv_permille);
    (1_000_000_000_000 + square / 2) / square
}

fn percentiles(value: Value<'_>) -> Option<Distribution> {
    let mut points: Vec<(u32, Duration)> = Vec::new();
    for (key, value) in value.entries()? {
        let point = scaled(&key.name, 10_000).and_then(|ppm| u32::try_from(ppm).ok()).filter(|ppm| *ppm <= 1_000_000);
        let Some(point) = point else {
            value
                .mistakes()
                .push(Mistake::new(&key.place, format!("`{}` is not a percentile from 0 to 100", key.name)));
            return None;
        };
        let time = span(value)?;
        if points.last().is_some_and(|(last, before)| point <= *last || time < *before) {
            return value.refuse("percentiles and their values must ascend");
        }
        points.push((point, time));
    }
    match (points.first(), points.last()) {
        (Some((0, _)), Some((1_000_000, _))) => Some(Distribution::Percentiles(points)),
        _ => value.refuse("percentiles must begin with 0 and end with 100"),
    }
}

/// How long a packet takes.
pub(super) fn delay(value: Value<'_>) -> Option<Delay> {
    match distribution(value)? {
        Distribution::Constant(span) => Some(Delay::Constant(span)),
        Distribution::Exponential { mean } => Some(Delay::Exponential(mean)),
        Distribution::Normal { mean, deviation } => Some(Delay::Normal { mean, deviation }),
        Distribution::LogNormal { p50, p99 } => Some(Delay::LogNormal { p50, p99 }),
        Distribution::Uniform { least, most } => Some(Delay::Uniform(least, most)),
        Distribution::Mixture(_)
        | Distribution::Empirical(_)
        | Distribution::Percentiles(_)
        | Distribution::Gamma { .. }
        | Distribution::Weibull { .. }
        | Distribution::Pareto { .. } => {
            value.refuse("a link's latency is constant, uniform, normal, lognormal or exponential")
        }
    }
}

pub(super) fn span(value: Value<'_>) -> Option<Duration> {
    value.duration_within(Duration::ZERO, SPAN_MAX)
}

pub(super) fn positive(value: Value<'_>) -> Option<Duration> {
    duration_positive(value, SPAN_MAX)
}

/// The place of the first occurrence of `word` in a scalar's `text`, or of the whole scalar.
pub(super) fn word(value: Value<'_>, text: &str, word: &str) -> Place {
    let whole = value.place();
    // With quotes it is two longer; escapes and folded lines make it longer still, and no place can be told.
    let quote = match (whole.end - whole.start).checked_sub(text.len()) {
        Some(0) => 0,
        Some(2) => 1,
        Some(_) | None => return whole.clone(),
    };
    let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    let mut found = text
        .match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| is_edge(text[..*at].chars().next_back()) && is_edge(text[at + word.len()..].chars().next()));
    match found.next() {
        Some(at) if text.is_ascii() && !word.is_empty() => whole.part(at + quote, word.len()),
        Some(_) | None => whole.clone(),
    }
}
