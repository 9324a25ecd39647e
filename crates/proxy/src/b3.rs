//! B3, the trace context of Zipkin (openzipkin/b3-propagation): one header, `b3`, or several, `x-b3-…`.
//!
//! A request with a sound `traceparent` follows that, as Linkerd has it. One without follows B3, the single header before the others, as
//! the specification has it, and what it leaves open (defer) is decided as for a trace that begins here. On go the formats in which the
//! caller spoke, plus `traceparent`, with the same trace, so that what is behind may understand either. Envoy's Zipkin tracer speaks
//! B3 only, or with `USE_B3_WITH_W3C_PROPAGATION` reads B3 first and writes both; here nothing needs to be chosen, and who never speaks B3
//! pays nothing for it. What is no sound B3 is not passed on, as a broken `traceparent` is not.
//!
//! All this is so in a proxy that traces; another leaves what came as it is.
//!
//! Client and server share no span here, as B3 would have it: a span of OpenTelemetry has a side of its own.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::headers::{unique, write_hex};
use crate::seen::Seen;

pub(crate) const SINGLE: HeaderName = HeaderName::from_static("b3");
pub(crate) const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
pub(crate) const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
pub(crate) const PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
pub(crate) const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
pub(crate) const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// The several headers.
pub(crate) const SEVERAL: [HeaderName; 5] = [TRACE_ID, SPAN_ID, PARENT_SPAN_ID, SAMPLED, FLAGS];

/// What a caller said about sampling. None of these: it left that to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Deny,
    Accept,
    /// Sampled, whatever a collector thinks of it.
    Debug,
}

/// A trace, and a span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// The trace's id has 64 bits: 16 digits.
    is_short: bool,
}

/// What one format says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// `None`: only a decision, about a trace that begins here.
    pub(crate) ids: Option<Ids>,
    /// `None`: defer.
    pub(crate) decision: Option<Decision>,
}

/// How to speak to what is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Formats {
    single: bool,
    several: bool,
    is_short: bool,
    is_debug: bool,
}

/// What a caller says, if it speaks B3, and in which formats. Those that are not sound are removed.
#[inline]
pub(crate) fn read(headers: &mut HeaderMap, seen: Seen) -> (Said, Formats) {
    if seen.any(Seen::B3) { read_seen(headers) } else { Default::default() }
}

#[cold]
fn read_seen(headers: &mut HeaderMap) -> (Said, Formats) {
    let single = headers.get(SINGLE).map(|value| single(value.as_bytes()));
    if single == Some(None) {
        headers.remove(SINGLE);
    }
    let several = SEVERAL.iter().any(|name| headers.contains_key(name)).then(|| several(headers));
    if several == Some(None) {
        remove_several(headers);
    }
    let (single, several) = (single.flatten(), several.flatten());
    let said = single.or(several).unwrap_or_default();
    let formats = Formats {
        single: single.is_some(),
        several: several.is_some(),
        is_short: said.ids.is_some_and(|ids| ids.is_short),
        is_debug: said.decision == Some(Decision::Debug),
    };
    (said, formats)
}

impl Formats {
    /// For a request that follows `traceparent`, which says the `trace`: B3 is one view of it, or of something else.
    pub(crate) fn beside(self, said: Said, trace: u128) -> Self {
        let is_of_it = said.ids.is_some_and(|ids| ids.trace == trace);
        Self { is_short: self.is_short && is_of_it, is_debug: self.is_debug && is_of_it, ..self }
    }

    /// Says in a head, in these formats, that `span` of `trace`, whose parent is `parent`, is that of the request.
    pub(crate) fn write(self, headers: &mut HeaderMap, trace: u128, span: u64, parent: Option<u64>, is_sampled: bool) {
        if !self.single && !self.several {
            return;
        }
        let (mut trace_digits, mut span_digits, mut parent_digits) = ([0; 32], [0; 16], [0; 16]);
        write_hex((trace >> 64) as u64, &mut trace_digits[..16]);
        write_hex(trace as u64, &mut trace_digits[16..]);
        write_hex(span, &mut span_digits);
        let trace = if self.is_short { &trace_digits[16..] } else { &trace_digits };
        let parent = parent.map(|parent| {
            write_hex(parent, &mut parent_digits);
            &parent_digits[..]
        });
        let is_debug = self.is_debug && is_sampled;
        if self.single {
            let decision: &[u8] = if is_debug { b"d" } else { sampled(is_sampled).as_bytes() };
            let mut line = Vec::with_capacity(68);
            let parts = [Some(trace), Some(&span_digits), Some(decision), parent];
            for (index, part) in parts.into_iter().flatten().enumerate() {
                if index > 0 {
                    line.push(b'-');
                }
                line.extend_from_slice(part);
            }
            headers.insert(SINGLE, unique(&line));
        }
        if self.several {
            headers.insert(TRACE_ID, unique(trace));
            headers.insert(SPAN_ID, unique(&span_digits));
            match parent {
                Some(parent) => headers.insert(PARENT_SPAN_ID, unique(parent)),
                None => headers.remove(PARENT_SPAN_ID),
            };
            // Debug implies that it is sampled: that is not said too.
            if is_debug {
                headers.insert(FLAGS, HeaderValue::from_static("1"));
                headers.remove(SAMPLED);
            } else {
                headers.remove(FLAGS);
                headers.insert(SAMPLED, HeaderValue::from_static(sampled(is_sampled)));
            }
        }
    }
}

const fn sampled(is_sampled: bool) -> &'static str {
    if is_sampled { "1" } else { "0" }
}

fn remove_several(headers: &mut HeaderMap) {
    for name in &SEVERAL {
        headers.remove(name);
    }
}

/// `{trace}-{span}`, `{trace}-{span}-{decision}`, `{trace}-{span}-{decision}-{parent}` or `{decision}`.
fn single(line: &[u8]) -> Option<Said> {
    let mut parts = line.split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span) = parts.next() else {
        return Some(Said { ids: None, decision: Some(decision(first)?) });
    };
    let ids = ids(first, span)?;
    let decision = parts.next().map_or(Some(None), |part| decision(part).map(Some))?;
    parts.next().map_or(Some(0), id)?;
    parts.next().is_none().then_some(Said { ids: Some(ids), decision })
}

fn decision(part: &[u8]) -> Option<Decision> {
    match part {
        b"0" => Some(Decision::Deny),
        b"1" => Some(Decision::Accept),
        b"d" => Some(Decision::Debug),
        _ => None,
    }
}

/// The several headers. Of those that come twice the first counts.
fn several(headers: &HeaderMap) -> Option<Said> {
    let of = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    // Tracers from before there was a specification say `true` and `false`.
    let sampled = of(&SAMPLED).map(|word| match word {
        b"1" => Some(Decision::Accept),
        b"0" => Some(Decision::Deny),
        _ if word.eq_ignore_ascii_case(b"true") => Some(Decision::Accept),
        _ if word.eq_ignore_ascii_case(b"false") => Some(Decision::Deny),
        _ => None,
    });
    let sampled = sampled.map_or(Some(None), |sampled| sampled.map(Some))?;
    // Whatever else is said there means nothing.
    let decision = if of(&FLAGS) == Some(b"1") { Some(Decision::Debug) } else { sampled };
    of(&PARENT_SPAN_ID).map_or(Some(0), id)?;
    let ids = match (of(&TRACE_ID), of(&SPAN_ID)) {
        (Some(trace), Some(span)) => Some(ids(trace, span)?),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return None,
    };
    Some(Said { ids, decision })
}

fn ids(trace: &[u8], span: &[u8]) -> Option<Ids> {
    let is_short = trace.len() == 16;
    if !is_short && trace.len() != 32 {
        return None;
    }
    let trace = digits(trace).filter(|trace| *trace != 0)?;
    Some(Ids { trace, span: id(span)?, is_short })
}

/// 16 digits that are not all 0.
fn id(digits: &[u8]) -> Option<u64> {
    let id = if digits.len() == 16 { self::digits(digits)? as u64 } else { 0 };
    (id != 0).then_some(id)
}

fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |sum, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u128::from(digit))
    })
}

#[cfg(test)]
#[path = "b3/tests.rs"]
mod tests;
